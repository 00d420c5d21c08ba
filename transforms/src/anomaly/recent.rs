//! Ids of matches that one rule has counted lately, so that an event that comes twice counts once.
//!
//! - state: the last 32 768 to 65 536 ids of each rule; where events may be late by so much only, none that is older

use hashbrown::HashSet;
use pipeline::{EventId, StateError};

use super::codec::{Put, Take};

/// Ids of one generation [ids].
const MOST: usize = 32_768;

/// Two generations of ids.
#[derive(Default)]
pub(super) struct Recent {
    newer: HashSet<EventId>,
    older: HashSet<EventId>,
    /// The newest time of each generation [ns].
    until: (i64, i64),
}

impl Recent {
    /// Whether the id is new, and it is known from now on.
    pub(super) fn is_new(&mut self, id: EventId, at: i64) -> bool {
        if self.older.contains(&id) || !self.newer.insert(id) {
            return false;
        }
        self.until.0 = match self.newer.len() {
            1 => at,
            _ => self.until.0.max(at),
        };
        if self.newer.len() >= MOST {
            self.turn();
        }
        true
    }

    fn turn(&mut self) {
        self.older = std::mem::take(&mut self.newer);
        self.until.1 = self.until.0;
    }

    /// What is older than this comes no more.
    pub(super) fn forget(&mut self, edge: i64) {
        if self.until.1 < edge && !self.older.is_empty() {
            self.older = HashSet::new();
        }
        if self.until.0 < edge && !self.newer.is_empty() {
            self.newer = HashSet::new();
        }
    }

    /// Gives up the older half.
    pub(super) fn halve(&mut self) {
        self.turn();
    }

    pub(super) fn bytes(&self) -> usize {
        self.newer.allocation_size() + self.older.allocation_size()
    }

    pub(super) fn save(&self, put: &mut Put<'_>) {
        for (ids, until) in [(&self.newer, self.until.0), (&self.older, self.until.1)] {
            put.i64(until);
            put.len(ids.len());
            let mut sorted: Vec<&EventId> = ids.iter().collect();
            sorted.sort_unstable();
            sorted.into_iter().for_each(|id| put.id(*id));
        }
    }

    pub(super) fn load(take: &mut Take<'_>) -> Result<Recent, StateError> {
        let mut recent = Recent::default();
        let Recent {
            newer,
            older,
            until,
        } = &mut recent;
        for (ids, until) in [(newer, &mut until.0), (older, &mut until.1)] {
            *until = take.i64()?;
            *ids = (0..take.len()?)
                .map(|_| take.id())
                .collect::<Result<_, _>>()?;
        }
        Ok(recent)
    }
}
