//! Tables that events are looked up in (`[enrichment_tables.NAME]`): read from a file, shared by whoever uses them, and
//! replaced when the file changes.
//!
//! This crate knows no format. A [`TableConfig`] reads a file's bytes into [`Rows`]; a user says what it will ask for
//! ([`Wanted`]) while it is built, so that a column that is not there is a mistake of the configuration, and gets a
//! [`Lookup`]. When the file changes, everything that was wanted is made anew beside the old and swapped in one step;
//! whatever is wrong with the new file leaves the old table in force. A reader asks one atomic number per batch and takes
//! no lock while nothing changes.

mod entry;
mod keeper;
mod shared;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use crate::event::ValueRef;
use crate::units::Bytes;

pub(crate) use entry::AnyTable;
pub use entry::TableEntry;
pub(crate) use keeper::Keeper;
pub use shared::{Lookup, LookupReader, Table, TableState, Tables};

/// The configuration of a table.
pub trait TableConfig: DeserializeOwned + JsonSchema + Send + Sync + 'static {
    /// The word after `type =`.
    const TYPE: &'static str;
    /// The table's own keys as an operator writes them, for the manual page; tested to parse.
    const EXAMPLE: &'static str;
    /// The key that names the file, for errors: `path`, `file.path`.
    const PATH_KEY: &'static str;

    /// The file it is read from.
    fn path(&self) -> &Path;
    /// Largest file that is read.
    fn max_size(&self) -> Bytes;
    /// What is wrong with the options, before any file is read.
    fn check(&self) -> Result<(), TableError> {
        Ok(())
    }
    /// Reads the whole file. Pure.
    fn read(&self, file: Vec<u8>) -> Result<Arc<dyn Rows>, TableError>;
}

/// One state of a table: what stood in its file at one moment. It never changes.
pub trait Rows: Send + Sync {
    /// Names of its columns.
    fn columns(&self) -> Vec<String>;
    /// Whether rows are found by an address instead of by the values of columns.
    fn by_address(&self) -> bool;
    /// Whether its columns are called like fields below that of the address (`source.ip` → `source.geo.country_name`).
    fn columns_are_fields(&self) -> bool {
        false
    }
    /// Number of rows.
    fn len(&self) -> usize;
    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Makes what answers `wanted`, whose columns are all there.
    fn index(self: Arc<Self>, wanted: &Wanted) -> Result<Arc<dyn Index>, TableError>;
}

/// What a user of a table will ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Columns whose values make a row's key; none for a table that is asked by address.
    pub by: Vec<String>,
    /// Whether `A` and `a` are two keys.
    pub case_sensitive: bool,
    /// Whether two rows with the same key are a mistake; otherwise the first one counts.
    pub unique: bool,
    /// Columns whose values are shown.
    pub columns: Vec<String>,
}

/// Answers one kind of question about one state of a table.
pub trait Index: Send + Sync {
    /// Looks for `key` ([`push_key`]; for a table that is asked by address, the address as text) and shows the wanted
    /// columns that have a value, each with its place in [`Wanted::columns`]. False if there is no such row.
    fn find(&self, key: &[u8], show: &mut dyn FnMut(usize, ValueRef<'_>)) -> bool;
}

/// Appends one value of a key that is made of several: length and text. A key of one value is that text alone.
#[inline]
pub fn push_key(key: &mut Vec<u8>, part: &[u8]) {
    key.extend_from_slice(&(part.len() as u64).to_le_bytes());
    key.extend_from_slice(part);
}

/// Why a file is no table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableError {
    /// Which line of the file, from 1.
    pub line: Option<u64>,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

impl TableError {
    /// A mistake of the file as a whole.
    pub fn new(message: impl Into<String>) -> TableError {
        TableError {
            line: None,
            message: message.into(),
            help: None,
        }
    }

    /// A mistake in one line, counted from 1.
    pub fn at(line: u64, message: impl Into<String>) -> TableError {
        TableError {
            line: Some(line),
            ..TableError::new(message)
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> TableError {
        self.help = Some(help.into());
        self
    }
}

impl fmt::Display for TableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for TableError {}
