//! What a component does while it runs: the four traits, and what they are given.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::batch::Batch;
use crate::clock::Time;
use crate::event::Event;
use crate::events::Events;
use crate::mark::LaneId;
use crate::outputs::Outputs;
use crate::source_out::SourceOut;
use crate::telemetry::ComponentMetrics;

/// Reads from outside. It runs on a thread of its own, so that short blocking reads hold up nobody else.
#[async_trait]
pub trait Source: Send {
    /// Runs until told to stop ([`SourceOut::stopping`]) or until there is nothing more to read. An error is retried by
    /// the engine from the stored position, with back-off.
    async fn run(&mut self, out: SourceOut) -> Result<(), SourceError>;
}

/// Same events in, same events out; one per worker, so it may keep caches but no memory.
pub trait Transform: Send {
    /// Turns one batch into others. A batch that is neither pushed on nor answered counts as failed.
    fn apply(&mut self, batch: Batch, out: &mut Outputs);
}

/// Remembers. The engine owns its marks, answers, snapshots and restart.
pub trait Stateful: Send {
    /// Takes one event; `out.emit(event)` lets it go on, `out.make(..)` sends an event of its own.
    fn apply(&mut self, event: Event, out: &mut Outputs);
    /// Takes several events at once, where that is faster: what it leaves in `events` goes on. `false`: it has not touched
    /// them, and wants them one by one.
    fn apply_all(&mut self, _events: &mut Vec<Event>, _out: &mut Outputs) -> bool {
        false
    }
    /// Said before each batch, also an empty one: by which lane it comes, and that with it everything of that lane up to
    /// `seen_to` has come, by the clock of whoever reads it.
    fn heard(&mut self, _lane: LaneId, _seen_to: Time) {}
    /// Event time has moved on to `watermark`, also by idle marks.
    fn advance(&mut self, watermark: Time, out: &mut Outputs);
    /// Whether event time is to be made of the times of events (`detection.md` 3): the newest of each lane minus how late its
    /// events may come, and the clock minus that where a lane has nothing more to read. Otherwise it is how far the sources
    /// have handed over.
    fn by_event_time(&self) -> bool {
        false
    }
    /// Said before [`advance`](Self::advance), where event time is that of events: the sources with a lane that should speak
    /// and has been silent for so long that it is left out.
    fn silent(&mut self, _sources: &[std::sync::Arc<str>]) {}
    /// Said before events are applied, where event time is that of events: the source they come from.
    fn comes_from(&mut self, _source: &std::sync::Arc<str>) {}
    /// Whether it wants to hear, by [`read_to`](Self::read_to), how far files that are read from long ago have come.
    fn by_reading(&self) -> bool {
        false
    }
    /// Nothing that is still handed over is of an earlier time than `at`, by the times of events: the one file that there is
    /// has been read past it in order. Not said where there is more than one.
    fn read_to(&mut self, _at: Time, _out: &mut Outputs) {}
    /// The saved state was of no use and is kept aside: it begins without memory.
    fn forgotten(&mut self, _why: &str, _out: &mut Outputs) {}
    /// Wall time has moved on: called with every batch and about once a second, whatever event time does. What it sends
    /// it makes ([`Outputs::make`]); nothing else may leave here.
    fn tick(&mut self, _out: &mut Outputs) {}
    /// By which output an event leaves that waited in the snapshot for output `output`; `None` where nobody would take it
    /// any more. For those whose outputs are named by the operator, who may have changed them meanwhile.
    fn way_out(&self, output: usize, _event: &Event) -> Option<usize> {
        Some(output)
    }
    /// Writes down everything it must know after a restart, held events included.
    fn save(&self, to: &mut Vec<u8>);
    /// What a saved state depends on in the configuration, like the fields of a key. A state saved under another meaning
    /// is not loaded.
    fn meaning(&self) -> String {
        String::new()
    }
    /// How many things it remembers, for the metric `state_keys`.
    fn remembered(&self) -> usize {
        0
    }
    /// Reads that again.
    fn load(&mut self, from: &[u8]) -> Result<(), StateError>;
}

/// Writes to the outside.
#[async_trait]
pub trait Sink: Send {
    /// Writes these events and says what became of them.
    async fn write(&mut self, events: Events) -> Result<Written, WriteError>;

    /// The counters of this worker, lent once, before the first write: for what the engine cannot count by itself, and for
    /// the program's own events ([`ComponentMetrics::tell`]).
    fn counts(&mut self, _metrics: &Arc<ComponentMetrics>) {}

    /// Looks whether the other side is there; the engine calls it at start and while writes fail.
    async fn healthcheck(&mut self) -> Result<(), Reason> {
        Ok(())
    }

    /// Called once when no more events will come: what is open is closed and made durable.
    async fn close(&mut self) -> Result<(), Reason> {
        Ok(())
    }
}

/// Says which events belong together, for a sink several of which write side by side ([`Workers::ByKey`]): what has the
/// same key goes to the same worker, in order. Asked once for each event, before any worker sees it.
///
/// [`Workers::ByKey`]: super::Workers::ByKey
pub trait Key: Send {
    /// The key; any number. The same for the same event, however often it is asked.
    fn of(&mut self, event: &Event) -> u64;
}

/// Why a source gave up; it is started again.
#[derive(Clone, Debug)]
pub struct SourceError(pub String);

impl<E: std::error::Error> From<E> for SourceError {
    fn from(error: E) -> SourceError {
        SourceError(error.to_string())
    }
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a saved state cannot be read.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct StateError(pub String);

/// Every event of the write was delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Bytes that went out, as sent [bytes].
    pub bytes: u64,
    /// Events that were there already, under the same id.
    pub duplicates: u64,
    /// Events that the other side put somewhere else than asked.
    pub redirected: u64,
}

/// What became of a write that did not go well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriteError {
    /// The whole write again, in place, without end.
    Retry {
        /// Why.
        reason: Reason,
        /// Not before this long, if the other side said so.
        after: Option<Duration>,
    },
    /// The other side will never take it as it is. More than one event: the engine halves it and writes again. One: it
    /// becomes a dead letter.
    Refused {
        /// Why.
        reason: Reason,
    },
    /// Some events, by place; what is not named is delivered.
    Partly(Vec<(u32, Fate)>, Written),
}

/// What became of one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It must be written again.
    Retry(Reason),
    /// It becomes a dead letter.
    Refused(Reason),
}

/// Why something did not work: a word for the metric, a sentence for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// What kind of trouble.
    pub kind: ReasonKind,
    /// What the other side said, and what to do about it.
    pub text: String,
}

impl Reason {
    /// A reason of some kind.
    pub fn new(kind: ReasonKind, text: impl Into<String>) -> Reason {
        Reason {
            kind,
            text: text.into(),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.name(), self.text)
    }
}

macro_rules! reason_kinds {
    ($($(#[$doc:meta])* $kind:ident = $name:literal),* $(,)?) => {
        /// Kinds of trouble, a fixed set, because they are metric labels.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum ReasonKind { $($(#[$doc])* $kind),* }

        impl ReasonKind {
            /// All of them.
            pub const ALL: &[ReasonKind] = &[$(ReasonKind::$kind),*];

            /// The metric label.
            pub fn name(self) -> &'static str {
                match self { $(ReasonKind::$kind => $name),* }
            }

            /// The kind with this label.
            pub fn parse(name: &str) -> Option<ReasonKind> {
                match name { $($name => Some(ReasonKind::$kind),)* _ => None }
            }
        }
    };
}

reason_kinds! {
    /// No connection, or it broke.
    Connection = "connection",
    /// No answer in time.
    Timeout = "timeout",
    /// Wrong or missing credentials, or a missing right.
    Forbidden = "forbidden",
    /// The other side asks for patience (429, 503).
    Busy = "busy",
    /// The other side cannot write now (read-only, disk full).
    Blocked = "blocked",
    /// The other side failed (5xx).
    Server = "server",
    /// An answer that makes no sense.
    Nonsense = "nonsense",
    /// The event does not fit what the other side expects (mapping, schema).
    Mapping = "mapping",
    /// The place to write to does not exist.
    Missing = "missing",
    /// Too large even alone.
    TooLarge = "too_large",
    /// The disk is full or broken.
    Disk = "disk",
    /// The component panicked on it three times.
    Panic = "panic",
    /// The other side refused it for another reason.
    Rejected = "rejected",
}
