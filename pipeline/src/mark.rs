//! Where a batch comes from.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use parking_lot::RwLock;

use crate::clock::Time;

/// A file, a connection, a node: order is promised inside one lane. Its name stays the same over restarts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LaneId(u32);

/// Where a batch comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The lane.
    pub lane: LaneId,
    /// How often the lane's source was started by this process; a batch of an earlier start is out of date.
    pub start: u32,
    /// Everything of this lane up to here has been handed over.
    pub seen_to: Time,
    /// Said by a source that has nothing more to read at that time; a batch that was emptied on its way is no such word.
    pub idle: bool,
    /// Said by a source that reads no more of this lane: a file that was rotated away, a node that left. Nothing waits for
    /// it, until it speaks again.
    pub over: bool,
}

#[derive(Default)]
struct Names {
    names: Vec<(Arc<str>, Arc<str>)>,
    by_name: HashMap<(Arc<str>, Arc<str>), LaneId>,
}

static NAMES: LazyLock<RwLock<Names>> = LazyLock::new(RwLock::default);

impl LaneId {
    /// The lane called `key` of the source called `source`.
    pub fn new(source: &str, key: &str) -> LaneId {
        let name: (Arc<str>, Arc<str>) = (source.into(), key.into());
        if let Some(known) = NAMES.read().by_name.get(&name) {
            return *known;
        }
        let mut names = NAMES.write();
        if let Some(known) = names.by_name.get(&name) {
            return *known;
        }
        let lane = LaneId(u32::try_from(names.names.len()).unwrap_or(u32::MAX));
        names.names.push(name.clone());
        names.by_name.insert(name, lane);
        lane
    }

    /// The id of its source.
    pub fn source(self) -> Arc<str> {
        NAMES.read().names[self.0 as usize].0.clone()
    }

    /// Its name inside its source.
    pub fn key(self) -> Arc<str> {
        NAMES.read().names[self.0 as usize].1.clone()
    }
}
