//! The answers a wrapper is owed for its outputs, counted by epoch.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::ack::{Ack, Creditor, Verdict};

/// Answers owed for outputs. After a roll-back a new book is opened; what is said to the old one counts no more.
pub(super) struct Book {
    inner: Mutex<Inner>,
    wake: Arc<Notify>,
}

#[derive(Default)]
struct Inner {
    /// Epoch of the first count.
    first: u64,
    /// Answers owed, by epoch.
    open: VecDeque<u64>,
    failed: bool,
}

impl Book {
    pub(super) fn new(wake: &Arc<Notify>) -> Arc<Book> {
        Arc::new(Book {
            inner: Mutex::default(),
            wake: Arc::clone(wake),
        })
    }

    /// One more answer owed, for something given away in `epoch`.
    pub(super) fn owe(self: &Arc<Self>, epoch: u64) -> Ack {
        let mut inner = self.inner.lock();
        if inner.open.is_empty() {
            inner.first = epoch;
        }
        debug_assert!(epoch >= inner.first, "epochs only grow");
        let place = (epoch - inner.first) as usize;
        while inner.open.len() <= place {
            inner.open.push_back(0);
        }
        inner.open[place] += 1;
        drop(inner);
        Ack::new(Arc::clone(self) as Arc<dyn Creditor>, epoch)
    }

    /// Whether an output failed.
    pub(super) fn has_failed(&self) -> bool {
        self.inner.lock().failed
    }

    /// Whether everything given away up to and in `epoch` is answered, and well.
    pub(super) fn is_settled(&self, epoch: u64) -> bool {
        let inner = self.inner.lock();
        !inner.failed && (inner.open.is_empty() || inner.first > epoch)
    }
}

impl Creditor for Book {
    fn failing(&self) {
        self.inner.lock().failed = true;
        self.wake.notify_one();
    }

    fn is_spoilt(&self) -> bool {
        self.has_failed()
    }

    fn answered(&self, epoch: u64, verdict: Verdict) {
        let mut inner = self.inner.lock();
        inner.failed |= verdict == Verdict::Failed;
        let place = (epoch - inner.first) as usize;
        inner.open[place] -= 1;
        let mut tell = inner.failed;
        while inner.open.front() == Some(&0) {
            inner.open.pop_front();
            inner.first += 1;
            tell = true;
        }
        drop(inner);
        if tell {
            self.wake.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_is_settled_when_it_and_all_before_it_are_answered() {
        let book = Book::new(&Arc::new(Notify::new()));
        let first = book.owe(4);
        let second = book.owe(6);
        assert!(book.is_settled(3));
        second.delivered();
        assert!(!book.is_settled(4) && !book.is_settled(6));
        first.delivered();
        assert!(book.is_settled(6));
        book.owe(7).failed();
        assert!(book.has_failed() && !book.is_settled(7));
    }
}
