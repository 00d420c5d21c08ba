//! Tasks by their UPIDs. There may be very many, so a UPID is kept once, with its task.

use std::collections::BTreeMap;
use std::hash::BuildHasher as _;

use hashbrown::{DefaultHashBuilder, HashTable};

use super::task::Task;

/// The numbers of tasks by their UPIDs.
#[derive(Default)]
pub(super) struct Upids {
    /// What a UPID hashes to, and the number of its task.
    table: HashTable<(u64, u64)>,
    hasher: DefaultHashBuilder,
}

/// The tasks, whose numbers are looked for.
type Tasks = BTreeMap<u64, Box<Task>>;

impl Upids {
    /// The number of the task that has this UPID.
    pub(super) fn find(&self, upid: &str, tasks: &Tasks) -> Option<u64> {
        let hash = self.hasher.hash_one(upid);
        let is = |(held, no): &(u64, u64)| {
            *held == hash && tasks.get(no).is_some_and(|task| *task.upid == *upid)
        };
        self.table.find(hash, is).map(|(_, no)| *no)
    }

    /// The task has this UPID, which no other has.
    pub(super) fn insert(&mut self, upid: &str, no: u64) {
        let hash = self.hasher.hash_one(upid);
        self.table
            .insert_unique(hash, (hash, no), |(hash, _)| *hash);
    }

    /// The task is forgotten.
    pub(super) fn remove(&mut self, upid: &str, no: u64) {
        let hash = self.hasher.hash_one(upid);
        if let Ok(entry) = self.table.find_entry(hash, |(_, held)| *held == no) {
            entry.remove();
        }
        if self.table.len() * 8 < self.table.capacity() {
            self.table
                .shrink_to(self.table.len() * 2, |(hash, _)| *hash);
        }
    }
}
