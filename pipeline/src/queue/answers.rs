//! Which records of the queue were answered, and so how far it has been emptied: the contiguous prefix.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::place::Place;
use crate::ack::{Ack, Creditor, Verdict};

/// The answers owed for what was read out of a queue.
pub(super) struct Answers {
    state: Mutex<State>,
    /// Told when the queue was emptied further.
    pub(super) changed: Notify,
    /// Told when nothing is owed any more, or when something has to be read again.
    pub(super) emptied: Notify,
}

struct State {
    /// Counts how often reading began anew; an answer to an earlier reading is out of date.
    reading: u32,
    /// Number of the entry at the front.
    front: u64,
    entries: VecDeque<Entry>,
    reached: Place,
    failed: bool,
}

struct Entry {
    /// What is reached when everything up to here was answered.
    end: Place,
    answered: bool,
}

/// The reading stands above these bits of a ticket, the number of the entry below.
const ENTRY_BITS: u32 = 40;

impl Answers {
    pub(super) fn new(reached: Place) -> Arc<Answers> {
        Arc::new(Answers {
            state: Mutex::new(State {
                reading: 0,
                front: 0,
                entries: VecDeque::new(),
                reached,
                failed: false,
            }),
            changed: Notify::new(),
            emptied: Notify::new(),
        })
    }

    /// An answer owed for the record that ends at `end`.
    pub(super) fn owe(self: &Arc<Self>, end: Place) -> Ack {
        let mut state = self.state.lock();
        let number = state.front + state.entries.len() as u64;
        state.entries.push_back(Entry {
            end,
            answered: false,
        });
        let ticket = u64::from(state.reading) << ENTRY_BITS | (number & ((1 << ENTRY_BITS) - 1));
        drop(state);
        Ack::new(Arc::clone(self) as Arc<dyn Creditor>, ticket)
    }

    /// Nothing is owed for what lies before `end`: it is damaged.
    pub(super) fn skip(&self, end: Place) {
        let mut state = self.state.lock();
        state.entries.push_back(Entry {
            end,
            answered: true,
        });
        state.advance();
        drop(state);
        self.changed.notify_one();
    }

    /// How far everything was answered.
    pub(super) fn reached(&self) -> Place {
        self.state.lock().reached
    }

    /// Records that wait for their answer.
    pub(super) fn open(&self) -> usize {
        self.state.lock().entries.len()
    }

    /// Whether an answer was "failed": reading has to begin anew where everything was answered.
    pub(super) fn has_failed(&self) -> bool {
        self.state.lock().failed
    }

    /// Forgets what is owed; says where reading begins anew.
    pub(super) fn begin_anew(&self) -> Place {
        let mut state = self.state.lock();
        state.reading = state.reading.wrapping_add(1) & ((1 << (64 - ENTRY_BITS)) - 1);
        state.front = 0;
        state.entries.clear();
        state.failed = false;
        state.reached
    }
}

impl State {
    fn advance(&mut self) {
        while self.entries.front().is_some_and(|entry| entry.answered) {
            if let Some(entry) = self.entries.pop_front() {
                self.front += 1;
                // What was written twice after a failed write has numbers that were there already.
                if entry.end.event >= self.reached.event {
                    self.reached = entry.end;
                }
            }
        }
    }
}

impl Creditor for Answers {
    fn answered(&self, ticket: u64, verdict: Verdict) {
        let mut state = self.state.lock();
        if ticket >> ENTRY_BITS != u64::from(state.reading) {
            return;
        }
        let number = ticket & ((1 << ENTRY_BITS) - 1);
        let Some(place) = number.checked_sub(state.front) else {
            return;
        };
        if verdict == Verdict::Failed {
            state.failed = true;
        } else if let Some(entry) = state.entries.get_mut(place as usize) {
            entry.answered = true;
            state.advance();
        }
        if state.failed || state.entries.is_empty() {
            self.emptied.notify_one();
        }
        drop(state);
        self.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(event: u64) -> Place {
        Place {
            event,
            ..Place::default()
        }
    }

    #[test]
    fn only_the_contiguous_prefix_counts_and_what_was_skipped_counts_with_it() {
        let answers = Answers::new(end(0));
        let [one, two] = [10, 20].map(|n| answers.owe(end(n)));
        answers.skip(end(25));
        two.delivered();
        assert_eq!(answers.reached(), end(0));
        one.delivered();
        assert_eq!((answers.reached(), answers.open()), (end(25), 0));
    }

    #[test]
    fn after_a_failure_reading_begins_where_everything_was_answered() {
        let answers = Answers::new(end(0));
        let [one, two, three] = [10, 20, 30].map(|n| answers.owe(end(n)));
        one.delivered();
        two.failed();
        assert!(answers.has_failed());
        assert_eq!(answers.begin_anew(), end(10));
        three.delivered();
        assert_eq!(answers.reached(), end(10), "an answer to the last reading");
        answers.owe(end(20)).delivered();
        assert_eq!(answers.reached(), end(20));
        assert!(!answers.has_failed());
    }
}
