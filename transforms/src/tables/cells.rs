//! Rows of typed cells: sixteen bytes for each, and all texts of a table in one buffer.

use std::sync::Arc;

use hashbrown::HashTable;
use pipeline::table::{Index, TableError, Wanted, push_key};
use pipeline::{Value, ValueRef};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::fold_case;

/// One value of one row.
#[derive(Clone, Copy, Debug)]
enum Cell {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    /// Place and length in the table's text [bytes].
    Text(u32, u32),
    /// Place in the list of values that are no plain ones.
    Tree(u32),
}

/// What stood in a file.
#[derive(Debug, Default)]
pub(super) struct Cells {
    pub(super) columns: Vec<String>,
    cells: Vec<Cell>,
    text: String,
    trees: Vec<Value>,
    /// Line of each row from 1; where rows have no lines, their number.
    lines: Vec<u64>,
    /// Whether `lines` are lines.
    pub(super) has_lines: bool,
}

impl Cells {
    pub(super) fn new(columns: Vec<String>, has_lines: bool) -> Cells {
        Cells {
            columns,
            has_lines,
            ..Cells::default()
        }
    }

    pub(super) fn len(&self) -> usize {
        self.lines.len()
    }

    /// Begins a row; a cell for each column follows.
    pub(super) fn row(&mut self, line: u64) {
        self.lines.push(line);
    }

    /// The next cell of the row.
    pub(super) fn push(&mut self, value: Value) -> Result<(), TableError> {
        let cell = match value {
            Value::Null => Cell::None,
            Value::Bool(v) => Cell::Bool(v),
            Value::Int(v) => Cell::Int(v),
            Value::Float(v) => Cell::Float(v),
            Value::Str(v) => return self.push_text(&v),
            tree => {
                self.trees.push(tree);
                Cell::Tree((self.trees.len() - 1) as u32)
            }
        };
        self.cells.push(cell);
        Ok(())
    }

    /// The next cell of the row, a text.
    pub(super) fn push_text(&mut self, text: &str) -> Result<(), TableError> {
        let place = u32::try_from(self.text.len()).ok();
        let (Some(at), Ok(len)) = (place, u32::try_from(text.len())) else {
            return Err(TableError::new("it holds more than 4 GiB of text"));
        };
        self.text.push_str(text);
        self.cells.push(Cell::Text(at, len));
        Ok(())
    }

    /// What stands in a row, if something does.
    #[inline]
    pub(super) fn get(&self, row: usize, column: usize) -> Option<ValueRef<'_>> {
        Some(match self.cells[row * self.columns.len() + column] {
            Cell::None => return None,
            Cell::Bool(v) => ValueRef::Bool(v),
            Cell::Int(v) => ValueRef::Int(v),
            Cell::Float(v) => ValueRef::Float(v),
            Cell::Text(at, len) => ValueRef::Str(&self.text[at as usize..][..len as usize]),
            Cell::Tree(n) => self.trees[n as usize].as_ref(),
        })
    }

    /// A mistake in a row.
    pub(super) fn wrong(&self, row: usize, what: impl std::fmt::Display) -> TableError {
        match self.has_lines {
            true => TableError::at(self.lines[row], what.to_string()),
            false => TableError::new(format!("row {}: {what}", self.lines[row])),
        }
    }

    /// Where a row stands, for a message.
    pub(super) fn place(&self, row: usize) -> String {
        let word = if self.has_lines { "line" } else { "row" };
        format!("{word} {}", self.lines[row])
    }

    /// The place of each of these columns, all of which are there.
    pub(super) fn places(&self, names: &[String]) -> Vec<usize> {
        names
            .iter()
            .filter_map(|name| self.columns.iter().position(|held| held == name))
            .collect()
    }

    /// Shows the cells of a row that hold something.
    #[inline]
    pub(super) fn show(
        &self,
        row: usize,
        columns: &[usize],
        show: &mut dyn FnMut(usize, ValueRef<'_>),
    ) {
        for (place, column) in columns.iter().enumerate() {
            if let Some(value) = self.get(row, *column) {
                show(place, value);
            }
        }
    }
}

/// Writes a value as a key is written; false if it cannot be one.
#[inline]
pub(crate) fn write_key(value: ValueRef<'_>, fold: bool, key: &mut Vec<u8>) -> bool {
    use std::io::Write as _;
    match value {
        ValueRef::Str(text) if fold => fold_case(text.as_bytes(), key),
        ValueRef::Str(text) => key.extend_from_slice(text.as_bytes()),
        // Writing into memory does not fail.
        ValueRef::Int(v) => _ = write!(key, "{v}"),
        ValueRef::Float(v) => _ = write!(key, "{v}"),
        ValueRef::Bool(v) => _ = write!(key, "{v}"),
        ValueRef::Null | ValueRef::Time(_) | ValueRef::List(_) | ValueRef::Map(_) => return false,
    }
    true
}

/// Rows by the values of some of their columns.
pub(super) struct ByValue {
    cells: Arc<Cells>,
    columns: Vec<usize>,
    table: HashTable<Entry>,
    /// All keys, one after the other.
    keys: Vec<u8>,
    seed: u64,
}

struct Entry {
    at: usize,
    len: u32,
    row: u32,
}

impl ByValue {
    pub(super) fn new(cells: Arc<Cells>, wanted: &Wanted) -> Result<ByValue, TableError> {
        let by = cells.places(&wanted.by);
        let mut index = ByValue {
            columns: cells.places(&wanted.columns),
            table: HashTable::with_capacity(cells.len()),
            keys: Vec::new(),
            // A table's keys are its operator's, but what is looked for is whatever an attacker likes.
            seed: fastrand::u64(..),
            cells,
        };
        let (mut key, mut part) = (Vec::new(), Vec::new());
        for row in 0..index.cells.len() {
            key.clear();
            let whole = by.iter().all(|column| {
                let Some(value) = index.cells.get(row, *column) else {
                    return false;
                };
                if by.len() == 1 {
                    return write_key(value, !wanted.case_sensitive, &mut key);
                }
                part.clear();
                let can = write_key(value, !wanted.case_sensitive, &mut part);
                push_key(&mut key, &part);
                can
            });
            if whole {
                index.add(&key, row, wanted)?;
            }
        }
        Ok(index)
    }

    fn add(&mut self, key: &[u8], row: usize, wanted: &Wanted) -> Result<(), TableError> {
        if let Some(first) = self.row(key) {
            if !wanted.unique {
                return Ok(());
            }
            let names = wanted.by.join(", ");
            let values: Vec<String> = self
                .cells
                .places(&wanted.by)
                .into_iter()
                .filter_map(|column| self.cells.get(row, column))
                .map(|value| value.to_json().to_string())
                .collect();
            let message = format!(
                "{names} is {} also in {}",
                values.join(", "),
                self.cells.place(first)
            );
            return Err(self.cells.wrong(row, message).help(
                "keep one of the two rows, or write on_duplicate = \"first\" where it is looked up",
            ));
        }
        let Self {
            table, keys, seed, ..
        } = self;
        let entry = Entry {
            at: keys.len(),
            len: key.len() as u32,
            row: row as u32,
        };
        keys.extend_from_slice(key);
        let (keys, seed) = (&*keys, *seed);
        table.insert_unique(xxh3_64_with_seed(key, seed), entry, |held| {
            xxh3_64_with_seed(&keys[held.at..][..held.len as usize], seed)
        });
        Ok(())
    }

    #[inline]
    fn row(&self, key: &[u8]) -> Option<usize> {
        let hash = xxh3_64_with_seed(key, self.seed);
        let is = |held: &Entry| &self.keys[held.at..][..held.len as usize] == key;
        self.table.find(hash, is).map(|entry| entry.row as usize)
    }
}

impl Index for ByValue {
    #[inline]
    fn find(&self, key: &[u8], show: &mut dyn FnMut(usize, ValueRef<'_>)) -> bool {
        let Some(row) = self.row(key) else {
            return false;
        };
        self.cells.show(row, &self.columns, show);
        true
    }
}
