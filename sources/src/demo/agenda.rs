//! What will happen in the world, and when.

use std::cmp::Ordering;
use std::sync::Arc;

use super::entry::{What, Who};

/// Something that will happen.
#[derive(Debug)]
pub(super) enum Act {
    /// Something is written down.
    Write {
        node: usize,
        by: Option<Arc<Who>>,
        what: What,
    },
    /// A person comes to work.
    Login(usize),
    /// A person's browser asks for news.
    Poll(usize),
    /// A person's browser renews its ticket.
    Renew(usize),
    /// A person does something.
    Work(usize),
    /// Somebody works on a node's own shell.
    Shell,
    /// Somebody edits a file below `/etc/pve` by hand.
    Edit,
    /// Somebody moves a guest that the cluster keeps running.
    Ha,
    /// The monitoring asks.
    Monitor,
    /// The automation does something.
    Automate,
    /// A daemon has something to say.
    Daemon(usize),
    /// Guests are copied to the next node.
    Replicate(usize),
    /// The full hour, at which the inventory is told as it is.
    Inventory,
    /// The nightly backup of a node.
    Backup(usize),
    /// The nightly look at a node's packages.
    Update(usize),
    /// Somebody looks for open doors.
    Scan { address: u8 },
    /// Somebody tries passwords: how many more.
    Guess { tries_left: u32, address: u8 },
    /// The stolen account is used.
    Rampage { address: u8 },
    /// What was destroyed comes back from the backup.
    Restore,
    /// An attack of the month, by its number.
    Planted(usize),
}

/// An act with its place on the agenda.
#[derive(Debug)]
pub(super) struct Planned {
    pub(super) when: i64,
    pub(super) place: u64,
    pub(super) act: Act,
}

impl PartialEq for Planned {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Planned {}

impl PartialOrd for Planned {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Planned {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.when, self.place).cmp(&(other.when, other.place))
    }
}
