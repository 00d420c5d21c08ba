//! A table that is open: its rows of now, whoever wants something of them, and how it is read again.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::{AnyTable, Index, Rows, TableError, Wanted};
use crate::component::Place;
use crate::config::nearest;
use crate::telemetry::Counter;

/// A file that grows while it is read is read again so often before that is an error [readings].
const READINGS: usize = 5;
/// A file written in place is read when it has lain still for so long.
const STILL: Duration = Duration::from_millis(800);

/// A table and everybody who uses it.
pub struct Table {
    id: String,
    type_name: &'static str,
    config: Box<dyn AnyTable>,
    /// Held by whoever reads the file, which may take a while; the state is locked for moments only.
    reading: Mutex<()>,
    state: Mutex<State>,
    loads: Counter,
    failures: Counter,
}

struct State {
    rows: Arc<dyn Rows>,
    /// Of the file that `rows` stand for, or of the one that was refused after it.
    stamp: Stamp,
    /// Whether it is the stamp of a refused file.
    refused: bool,
    /// A change that was seen and not read yet, and since when it looks like this.
    changing: Option<(Option<Stamp>, Instant)>,
    lookups: Vec<(Wanted, Weak<Lookup>)>,
    trouble: Option<String>,
}

impl State {
    /// Those who still want something.
    fn live(&self) -> Vec<(Wanted, Arc<Lookup>)> {
        let lookups = self.lookups.iter();
        lookups
            .filter_map(|(wanted, lookup)| Some((wanted.clone(), lookup.upgrade()?)))
            .collect()
    }
}

/// Tells two states of a file apart without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(meta: &std::fs::Metadata) -> Stamp {
        Stamp {
            device: meta.dev(),
            inode: meta.ino(),
            size: meta.size(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        }
    }
}

/// How a table is, for metrics and health.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableState {
    /// Its name.
    pub id: String,
    /// The word after `type =`.
    pub type_name: &'static str,
    /// Rows in force.
    pub rows: usize,
    /// Files that took effect, the first one included.
    pub loads: u64,
    /// Files that were refused, so that the rows before stayed in force.
    pub failures: u64,
    /// Why the newest file is not in force.
    pub trouble: Option<String>,
}

/// Two looks at a file that is being copied to its place are so far apart that it has grown.
const COPIED: Duration = Duration::from_millis(20);

/// Tables that are open, by what they mean: two readings of a configuration share one that has not changed.
static OPEN: LazyLock<Mutex<HashMap<String, Weak<Table>>>> = LazyLock::new(Mutex::default);

impl Table {
    /// The table that `meaning` stands for, as it is in memory or else as it is in its file.
    pub(crate) fn open(
        id: &str,
        type_name: &'static str,
        config: Box<dyn AnyTable>,
        meaning: String,
    ) -> Result<Arc<Table>, TableError> {
        let mut open = OPEN.lock();
        open.retain(|_, table| table.strong_count() > 0);
        if let Some(table) = open.get(&meaning).and_then(Weak::upgrade) {
            drop(open);
            table.refresh();
            return Ok(table);
        }
        let table = Arc::new(Table::read(id, type_name, config)?);
        open.insert(meaning, Arc::downgrade(&table));
        Ok(table)
    }

    pub(super) fn read(
        id: &str,
        type_name: &'static str,
        config: Box<dyn AnyTable>,
    ) -> Result<Table, TableError> {
        config.check()?;
        let (file, stamp) = read_file(&*config)?;
        let rows = config.read(file)?;
        let loads = Counter::default();
        loads.add(1);
        Ok(Table {
            id: id.to_owned(),
            type_name,
            config,
            reading: Mutex::default(),
            state: Mutex::new(State {
                rows,
                stamp,
                refused: false,
                changing: None,
                lookups: Vec::new(),
                trouble: None,
            }),
            loads,
            failures: Counter::default(),
        })
    }

    /// The operator's name for it.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Names of its columns now.
    pub fn columns(&self) -> Vec<String> {
        self.state.lock().rows.columns()
    }

    /// Whether rows are found by an address instead of by the values of columns.
    pub fn by_address(&self) -> bool {
        self.state.lock().rows.by_address()
    }

    /// Whether its columns are called like fields below that of the address.
    pub fn columns_are_fields(&self) -> bool {
        self.state.lock().rows.columns_are_fields()
    }

    /// From now on `wanted` can be asked, of this state of the table and of all that come.
    pub fn lookup(&self, wanted: Wanted) -> Result<Arc<Lookup>, TableError> {
        let mut state = self.state.lock();
        state.lookups.retain(|(_, held)| held.strong_count() > 0);
        let known = state.lookups.iter().find(|(held, _)| *held == wanted);
        if let Some(lookup) = known.and_then(|(_, held)| held.upgrade()) {
            return Ok(lookup);
        }
        let index = index(&state.rows, &wanted)?;
        let lookup = Arc::new(Lookup {
            generation: AtomicU64::new(1),
            index: Mutex::new(index),
        });
        state.lookups.push((wanted, Arc::downgrade(&lookup)));
        Ok(lookup)
    }

    /// How it is.
    pub fn state(&self) -> TableState {
        let state = self.state.lock();
        TableState {
            id: self.id.clone(),
            type_name: self.type_name,
            rows: state.rows.len(),
            loads: self.loads.get(),
            failures: self.failures.get(),
            trouble: state.trouble.clone(),
        }
    }

    /// Looks whether the file has changed and come to rest; if so, reads it. Called a few times a second.
    pub(crate) fn look(&self) {
        let seen = std::fs::metadata(self.config.path());
        let stamp = seen.as_ref().ok().map(Stamp::of);
        let mut state = self.state.lock();
        if stamp == Some(state.stamp) {
            state.changing = None;
            if !state.refused {
                // It was away, and came back as it was.
                state.trouble = None;
            }
            return;
        }
        if stamp.is_some_and(|stamp| stamp.inode != state.stamp.inode) {
            // Another file in its place is whole, as a rule, since it was renamed; one that is being copied grows.
            drop(state);
            std::thread::sleep(COPIED);
            let again = std::fs::metadata(self.config.path());
            if again.ok().as_ref().map(Stamp::of) == stamp {
                self.refresh();
            }
            return;
        }
        // Gone, or written in place: it may be on its way.
        let now = Instant::now();
        match state.changing {
            Some((held, since)) if held == stamp => {
                if now.duration_since(since) < STILL {
                    return;
                }
            }
            _ => {
                state.changing = Some((stamp, now));
                return;
            }
        }
        if let Err(why) = seen {
            return self.refuse(&mut state, &said(&why));
        }
        drop(state);
        self.refresh();
    }

    /// Reads the file again if it is another one than before. What is wrong with it leaves the rows of before in force.
    pub fn refresh(&self) {
        let _alone = self.reading.lock();
        let (file, stamp) = match read_file(&*self.config) {
            Ok(read) => read,
            Err(why) => {
                let mut state = self.state.lock();
                return self.refuse(&mut state, &why.to_string());
            }
        };
        if stamp == self.state.lock().stamp {
            return;
        }
        let made = self.config.read(file).and_then(|rows| {
            let live = self.state.lock().live();
            let make = |(wanted, lookup)| Ok((index(&rows, &wanted)?, lookup));
            let made = live
                .into_iter()
                .map(make)
                .collect::<Result<Vec<_>, TableError>>()?;
            Ok((rows, made))
        });
        let mut state = self.state.lock();
        let made = made.and_then(|(rows, mut made)| {
            // Who came meanwhile.
            for (wanted, lookup) in state.live() {
                if !made.iter().any(|(_, held)| Arc::ptr_eq(held, &lookup)) {
                    made.push((index(&rows, &wanted)?, lookup));
                }
            }
            Ok((rows, made))
        });
        state.stamp = stamp;
        state.changing = None;
        match made {
            Ok((rows, made)) => {
                for (index, lookup) in made {
                    *lookup.index.lock() = index;
                    lookup.generation.fetch_add(1, Ordering::Release);
                }
                tracing::info!(
                    table = self.id,
                    rows = rows.len(),
                    "the enrichment table was read again"
                );
                self.loads.add(1);
                state.rows = rows;
                state.refused = false;
                state.trouble = None;
            }
            Err(why) => {
                state.refused = true;
                // The next file, though its mistake may be the same.
                state.trouble = None;
                self.refuse(&mut state, &why.to_string());
            }
        }
    }

    /// Counts and says a trouble, once as long as it is the same.
    fn refuse(&self, state: &mut State, why: &str) {
        let path = self.config.path().display();
        let trouble = format!("{path}: {why}; the rows of before stay in force");
        if state.trouble.as_ref() == Some(&trouble) {
            return;
        }
        self.failures.add(1);
        tracing::error!(table = self.id, %path, why, "the enrichment table cannot be read again; the rows of before stay in force");
        state.trouble = Some(trouble);
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.type_name, self.id)
    }
}

/// Makes the index; a column that is not there is told with the one that was probably meant.
fn index(rows: &Arc<dyn Rows>, wanted: &Wanted) -> Result<Arc<dyn Index>, TableError> {
    let columns = rows.columns();
    for column in wanted.by.iter().chain(&wanted.columns) {
        if columns.contains(column) {
            continue;
        }
        let help = match nearest(column, columns.iter().map(String::as_str)) {
            Some(meant) => format!("did you mean {meant:?}?"),
            None => format!("its columns are {}", columns.join(", ")),
        };
        return Err(TableError::new(format!("there is no column {column:?}")).help(help));
    }
    Arc::clone(rows).index(wanted)
}

fn said(why: &io::Error) -> String {
    match why.kind() {
        io::ErrorKind::NotFound => "there is no such file".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => why.to_string(),
    }
}

/// The whole file, and the stamp of just what was read.
fn read_file(config: &dyn AnyTable) -> Result<(Vec<u8>, Stamp), TableError> {
    let most = config.max_size().get();
    let read = || -> io::Result<Option<(Vec<u8>, Stamp)>> {
        let mut file = std::fs::File::open(config.path())?;
        let meta = file.metadata()?;
        if !meta.is_file() {
            return Err(io::Error::other("it is no regular file"));
        }
        let mut bytes = Vec::with_capacity(meta.len().min(most) as usize);
        (&mut file).take(most + 1).read_to_end(&mut bytes)?;
        let stamp = Stamp::of(&meta);
        Ok((Stamp::of(&file.metadata()?) == stamp).then_some((bytes, stamp)))
    };
    for _ in 0..READINGS {
        match read() {
            Ok(Some((bytes, _))) if bytes.len() as u64 > most => {
                return Err(
                    TableError::new(format!("it is larger than {}", config.max_size()))
                        .help("raise max_size, or keep in it only what is looked up"),
                );
            }
            Ok(Some(read)) => return Ok(read),
            Ok(None) => std::thread::sleep(Duration::from_millis(20)),
            Err(why) => return Err(TableError::new(said(&why))),
        }
    }
    Err(TableError::new("it is being written all the time")
        .help("write it beside its place and rename it, so that it is whole whenever it is read"))
}

/// One question that is asked again and again; the answers come from the table's newest state.
pub struct Lookup {
    generation: AtomicU64,
    index: Mutex<Arc<dyn Index>>,
}

impl Lookup {
    /// For one worker.
    pub fn reader(self: &Arc<Self>) -> LookupReader {
        let generation = self.generation.load(Ordering::Acquire);
        LookupReader {
            index: Arc::clone(&self.index.lock()),
            lookup: Arc::clone(self),
            generation,
        }
    }
}

impl fmt::Debug for Lookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lookup")
    }
}

/// What one worker asks with: it holds one state of the table until it is told to look for a newer one.
pub struct LookupReader {
    lookup: Arc<Lookup>,
    generation: u64,
    index: Arc<dyn Index>,
}

impl LookupReader {
    /// Takes the newest state of the table; one atomic read if that is the one it has. Call it once per batch, so that a
    /// batch sees one state.
    #[inline]
    pub fn renew(&mut self) {
        let generation = self.lookup.generation.load(Ordering::Acquire);
        if generation != self.generation {
            self.generation = generation;
            self.index = Arc::clone(&self.lookup.index.lock());
        }
    }

    /// What answers.
    #[inline]
    pub fn index(&self) -> &dyn Index {
        &*self.index
    }
}

impl fmt::Debug for LookupReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LookupReader")
    }
}

/// The tables of a configuration.
#[derive(Clone, Debug, Default)]
pub struct Tables {
    pub(crate) open: BTreeMap<String, Arc<Table>>,
    /// Written, but of no use; their own mistakes have been told.
    pub(crate) broken: Vec<String>,
    /// What each means, to see whether it changed.
    pub(crate) meanings: BTreeMap<String, String>,
    /// Where each is written.
    pub(crate) places: Vec<(String, Place)>,
}

impl Tables {
    /// The table called `id`.
    pub fn get(&self, id: &str) -> Option<&Arc<Table>> {
        self.open.get(id)
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Table>> {
        self.open.values()
    }

    /// Names, by name.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.open.keys().map(String::as_str)
    }
}
