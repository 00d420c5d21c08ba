//! What was sent last and may not have been read: it is sent once more when a connection breaks.
//!
//! TCP tells what the other machine has, not what the program there has read of it. A program that dies, or closes with
//! bytes unread, makes its kernel answer with a reset; then the last seconds go once more over the new connection, and
//! the receiver tells doubles by the id of the event. A connection that ends in order was read to its end; but a program
//! that is killed while it works on what it has just read ends its connections in the same way, so what was sent
//! immediately before goes once more then, too.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// What was sent earlier than this before the newest counts as read.
const SPAN: Duration = Duration::from_secs(10);
/// What was sent earlier than this before a connection ended in order was not only read but worked off.
const WORK: Duration = Duration::from_secs(2);

/// The writes of the last seconds, oldest first.
pub(super) struct Recent {
    writes: VecDeque<Sent>,
    /// Memory of all of them [bytes].
    held: usize,
    /// Most memory for all of them [bytes]; the newest is kept in any case, unless this is 0.
    most: usize,
    /// A connection broke, so they have to go out again.
    owed: bool,
}

struct Sent {
    at: Instant,
    /// Whole messages with their framing.
    bytes: Vec<u8>,
    events: usize,
}

impl Recent {
    pub(super) fn new(most: usize) -> Recent {
        Recent {
            writes: VecDeque::new(),
            held: 0,
            most,
            owed: false,
        }
    }

    /// Keeps what was sent just now, and leaves in `bytes` an empty buffer with memory to write into.
    pub(super) fn keep(&mut self, bytes: &mut Vec<u8>, events: usize, now: Instant) {
        if self.most == 0 || bytes.is_empty() {
            bytes.clear();
            return;
        }
        // A little in a large buffer would hold all of its memory.
        let kept = if bytes.len() < bytes.capacity() / 2 {
            bytes.as_slice().to_vec()
        } else {
            std::mem::take(bytes)
        };
        self.held += kept.capacity();
        self.writes.push_back(Sent {
            at: now,
            bytes: kept,
            events,
        });
        while let Some(oldest) = self.writes.front()
            && self.writes.len() > 1
            && (self.held > self.most || now.duration_since(oldest.at) > SPAN)
        {
            let gone = self.forget_oldest();
            if bytes.capacity() < gone.capacity() {
                *bytes = gone;
            }
        }
        bytes.clear();
    }

    fn forget_oldest(&mut self) -> Vec<u8> {
        let oldest = self.writes.pop_front();
        let gone = oldest.map(|sent| sent.bytes).unwrap_or_default();
        self.held -= gone.capacity();
        gone
    }

    /// The connection ended, as was noticed just now. In order: the other side had read all of it.
    pub(super) fn ended(&mut self, in_order: bool, now: Instant) {
        // While they are owed nobody has seen them arrive, however the next connection ends.
        while in_order
            && !self.owed
            && let Some(oldest) = self.writes.front()
            && now.duration_since(oldest.at) > WORK
        {
            self.forget_oldest();
        }
        self.owed = !self.writes.is_empty();
    }

    /// What has to go out again in front of anything new; nothing if no connection broke.
    pub(super) fn owed(&self) -> impl Iterator<Item = &[u8]> {
        let writes = self.owed.then_some(&self.writes);
        writes
            .into_iter()
            .flatten()
            .map(|sent| sent.bytes.as_slice())
    }

    /// It has gone out again: how many events, how many bytes.
    pub(super) fn paid(&mut self, now: Instant) -> Option<(usize, usize)> {
        if !std::mem::take(&mut self.owed) {
            return None;
        }
        let mut sum = (0, 0);
        for sent in &mut self.writes {
            sent.at = now;
            sum = (sum.0 + sent.events, sum.1 + sent.bytes.len());
        }
        Some(sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keep(recent: &mut Recent, text: &str, now: Instant) {
        recent.keep(&mut text.as_bytes().to_vec(), 1, now);
    }

    fn owed(recent: &Recent) -> Vec<u8> {
        recent.owed().flatten().copied().collect()
    }

    #[test]
    fn after_a_break_the_last_seconds_go_again() {
        let start = Instant::now();
        let later = start + SPAN + Duration::from_secs(1);
        let mut recent = Recent::new(100);
        keep(&mut recent, "old ", start);
        keep(&mut recent, "one ", start + SPAN);
        keep(&mut recent, "two ", later);
        assert!(owed(&recent).is_empty());
        // However late it is noticed: nothing has been sent since.
        recent.ended(false, later + 9 * SPAN);
        assert_eq!(owed(&recent), b"one two ");
        // Not yet gone out, so the end of the next connection says nothing of it.
        recent.ended(true, later + 9 * SPAN);
        assert_eq!(owed(&recent), b"one two ");
        assert_eq!(recent.paid(later + 10 * SPAN), Some((2, 8)));
        assert_eq!(recent.paid(later + 10 * SPAN), None);
    }

    #[test]
    fn after_an_end_in_order_only_what_was_being_worked_on_goes_again() {
        let start = Instant::now();
        let mut recent = Recent::new(100);
        keep(&mut recent, "one ", start);
        keep(&mut recent, "two ", start + 2 * WORK);
        recent.ended(true, start + 2 * WORK);
        assert_eq!(owed(&recent), b"two ");
        assert_eq!(recent.paid(start + 2 * WORK), Some((1, 4)));
        // A receiver that closes what is idle.
        recent.ended(true, start + 4 * WORK);
        assert!(owed(&recent).is_empty());
        recent.ended(false, start + 4 * WORK);
        assert!(owed(&recent).is_empty());
        assert_eq!(recent.held, 0);
    }

    #[test]
    fn memory_is_bounded_and_the_newest_always_kept() {
        let now = Instant::now();
        let mut recent = Recent::new(10);
        for text in ["four", "five", "six!", "and one that is longer"] {
            keep(&mut recent, text, now);
            assert!(recent.held <= 10 || recent.writes.len() == 1);
        }
        recent.ended(false, now);
        assert_eq!(owed(&recent), b"and one that is longer");
        let mut none = Recent::new(0);
        keep(&mut none, "four", now);
        none.ended(false, now);
        assert!(owed(&none).is_empty());
    }
}
