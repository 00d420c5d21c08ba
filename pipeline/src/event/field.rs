//! A field is a dotted ECS path, interned once when the graph is built.
//!
//! Names that come from data are never interned: an attacker would fill the table. They live in a map under their
//! nearest known parent ([`crate::Event::set_dynamic`]).

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, RwLock};

/// An interned field path. Copying and comparing it costs nothing.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Field(pub(crate) u16);

/// Most names known at once [fields]. A configuration that needs more is refused names, not memory.
const MOST_FIELDS: usize = 60_000;

impl Field {
    /// What every name becomes once the table is full.
    pub const OVERFLOW: Field = Field(1);

    /// Interns `path`, like `source.ip`. Call it while building, never with a name that comes from an event.
    pub fn new(path: &str) -> Field {
        if let Some(known) = read_table(|table| table.by_path.get(path).copied()) {
            return known;
        }
        let mut shared = TABLE
            .write()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(known) = shared.by_path.get(path) {
            return *known;
        }
        if shared.paths.len() >= MOST_FIELDS {
            return Field::OVERFLOW;
        }
        let mut next = Table::clone(&shared);
        let field = next.intern(path);
        *shared = Arc::new(next);
        VERSION.store(shared.paths.len(), Ordering::Release);
        field
    }

    /// The field of a path that was interned before.
    pub fn find(path: &str) -> Option<Field> {
        read_table(|table| table.by_path.get(path).copied())
    }

    /// Whether the path itself was interned.
    pub(crate) fn known(path: &str) -> bool {
        Field::find(path).is_some()
    }

    /// Whether a path below this one was interned.
    pub fn known_below(path: &str) -> bool {
        read_table(|table| table.above.contains(path))
    }

    /// How many names are known so far. It only grows; what was looked up by name is good as long as it stays the same.
    pub fn count() -> usize {
        read_table(|table| table.paths.len())
    }

    /// Its place among the known names, for tables by field.
    pub fn number(self) -> usize {
        usize::from(self.0)
    }

    /// The path it was interned with.
    pub fn path(self) -> &'static str {
        read_table(|table| table.paths[usize::from(self.0)])
    }

    /// Interned fields that lie above and below this one: setting one removes the others.
    pub(crate) fn with_relatives<T>(self, use_them: impl FnOnce(&Relatives) -> T) -> T {
        read_table(|table| use_them(&table.relatives[usize::from(self.0)]))
    }
}

impl fmt::Debug for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.path())
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.path())
    }
}

/// Fields above and below another.
#[derive(Clone, Default)]
pub(crate) struct Relatives {
    pub(crate) above: Vec<Field>,
    pub(crate) below: Vec<Field>,
}

#[derive(Clone, Default)]
struct Table {
    paths: Vec<&'static str>,
    by_path: HashMap<&'static str, Field>,
    relatives: Vec<Relatives>,
    /// Every path that an interned one lies below, interned itself or not.
    above: HashSet<&'static str>,
}

impl Table {
    fn intern(&mut self, path: &str) -> Field {
        // Leaked on purpose: names come from configurations, so their number is small and bounded.
        let path: &'static str = Box::leak(path.to_owned().into_boxed_str());
        let field = Field(
            u16::try_from(self.paths.len()).expect("the table is bounded below 65 536 names"),
        );
        let mut relatives = Relatives::default();
        for (other, known) in self.paths.iter().enumerate() {
            if is_above(path, known) {
                relatives.below.push(Field(other as u16));
                self.relatives[other].above.push(field);
            } else if is_above(known, path) {
                relatives.above.push(Field(other as u16));
                self.relatives[other].below.push(field);
            }
        }
        self.above
            .extend(path.match_indices('.').map(|(dot, _)| &path[..dot]));
        self.paths.push(path);
        self.by_path.insert(path, field);
        self.relatives.push(relatives);
        field
    }
}

/// `http` is above `http.request.method`.
fn is_above(upper: &str, lower: &str) -> bool {
    lower.len() > upper.len() && lower.starts_with(upper) && lower.as_bytes()[upper.len()] == b'.'
}

static TABLE: LazyLock<RwLock<Arc<Table>>> = LazyLock::new(|| {
    let mut table = Table::default();
    for path in fields::ALL {
        table.intern(path);
    }
    VERSION.store(table.paths.len(), Ordering::Release);
    RwLock::new(Arc::new(table))
});
static VERSION: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static SEEN: RefCell<(usize, Arc<Table>)> = RefCell::new((0, Arc::new(Table::default())));
}

/// Reads this thread's copy of the table, fetching a new one only when names were added.
fn read_table<T>(look: impl FnOnce(&Table) -> T) -> T {
    SEEN.with_borrow_mut(|(version, table)| {
        let now = VERSION.load(Ordering::Acquire);
        if now == 0 || *version != now {
            let shared = TABLE
                .read()
                .unwrap_or_else(|poisoned| poisoned.into_inner());
            *table = Arc::clone(&shared);
            *version = table.paths.len();
        }
        look(table)
    })
}

macro_rules! known_fields {
    ($($name:ident = $path:literal),* $(,)?) => {
        /// The fields this program itself reads or writes, as constants.
        pub mod fields {
            use super::Field;
            #[allow(non_camel_case_types, clippy::upper_case_acronyms, reason = "the arms are named like the constants they number")]
            enum Place { $($name),* }
            $(#[doc = concat!("`", $path, "`")] pub const $name: Field = Field(Place::$name as u16);)*
            pub(super) const ALL: &[&str] = &[$($path),*];
        }
    };
}

known_fields! {
    MESSAGE = "message",
    OVERFLOW = "pve.overflow",
    TIMESTAMP = "@timestamp",
    EVENT_ID = "event.id",
    HOST_NAME = "host.name",
    LOG_FILE_PATH = "log.file.path",
    LOG_OFFSET = "log.offset",
    TAGS = "tags",
    ERROR_MESSAGE = "error.message",
    EVENT_ORIGINAL = "event.original",
    EVENT_HASH = "event.hash",
    EVENT_CODE = "event.code",
    EVENT_KIND = "event.kind",
    EVENT_ACTION = "event.action",
    EVENT_OUTCOME = "event.outcome",
    EVENT_SEVERITY = "event.severity",
    EVENT_CREATED = "event.created",
    EVENT_REASON = "event.reason",
    EVENT_DATASET = "event.dataset",
    USER_ID = "user.id",
    USER_NAME = "user.name",
    USER_DOMAIN = "user.domain",
    SOURCE_IP = "source.ip",
    SOURCE_PORT = "source.port",
    HTTP_METHOD = "http.request.method",
    HTTP_STATUS = "http.response.status_code",
    HTTP_BYTES = "http.response.body.bytes",
    HTTP_VERSION = "http.version",
    URL_PATH = "url.path",
    URL_QUERY = "url.query",
    URL_ORIGINAL = "url.original",
    PROCESS_NAME = "process.name",
    PROCESS_PID = "process.pid",
    CLUSTER_NAME = "orchestrator.cluster.name",
    PVE_TRUNCATED = "pve.truncated",
    PVE_ORIGINAL_BYTES = "pve.original_bytes",
    PVE_RAW_B64 = "pve.raw_b64",
    PVE_EXTRA = "pve.extra",
    LOG_SOURCE_ADDRESS = "log.source.address",
    SYSLOG_PRIORITY = "log.syslog.priority",
    SYSLOG_FACILITY_CODE = "log.syslog.facility.code",
    SYSLOG_FACILITY_NAME = "log.syslog.facility.name",
    SYSLOG_SEVERITY_CODE = "log.syslog.severity.code",
    SYSLOG_SEVERITY_NAME = "log.syslog.severity.name",
    SYSLOG_VERSION = "log.syslog.version",
    SYSLOG_HOSTNAME = "log.syslog.hostname",
    SYSLOG_APPNAME = "log.syslog.appname",
    SYSLOG_PROCID = "log.syslog.procid",
    SYSLOG_MSGID = "log.syslog.msgid",
    SYSLOG_STRUCTURED_DATA = "log.syslog.structured_data",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_constant_is_the_field_of_its_path() {
        for (place, path) in fields::ALL.iter().enumerate() {
            assert_eq!(Field::new(path), Field(place as u16), "{path}");
        }
        assert_eq!(fields::OVERFLOW, Field::OVERFLOW);
        assert_eq!(fields::SOURCE_IP.path(), "source.ip");
    }

    #[test]
    fn relatives_are_what_lies_above_or_below() {
        let upper = Field::new("above.here");
        let lower = Field::new("above.here.now");
        let beside = Field::new("above.hereafter");
        assert!(upper.with_relatives(|relatives| relatives.below.contains(&lower)));
        assert!(lower.with_relatives(|relatives| relatives.above.contains(&upper)));
        assert!(!upper.with_relatives(|relatives| relatives.below.contains(&beside)));
        assert!(Field::known_below("above") && Field::known_below("above.here"));
        assert!(!Field::known_below("above.hereafter") && !Field::known_below("abov"));
    }

    #[test]
    fn every_thread_sees_a_name_added_by_another() {
        let here = Field::new("thread.one");
        let there = std::thread::spawn(|| (Field::new("thread.one"), Field::new("thread.two")))
            .join()
            .expect("no panic");
        assert_eq!(here, there.0);
        assert_eq!(there.1.path(), "thread.two");
    }
}
