//! One answer split over the events of a batch, so that one of them may be forgiven.

use std::collections::HashSet;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::ack::{Ack, Creditor, Verdict};

/// Answers for single events, owed together to whoever is owed the answer for their batch.
pub(crate) struct Group(Mutex<Inner>);

struct Inner {
    parent: Option<Ack>,
    open: usize,
    failed: HashSet<u64>,
    sealed: bool,
}

impl Group {
    /// Splits `parent` into `n` answers.
    pub(crate) fn new(parent: Ack, n: usize) -> (Arc<Group>, Vec<Ack>) {
        let inner = Inner {
            parent: Some(parent),
            open: n,
            failed: HashSet::new(),
            sealed: false,
        };
        let group = Arc::new(Group(Mutex::new(inner)));
        let answers = (0..n)
            .map(|n| Ack::new(Arc::clone(&group) as Arc<dyn Creditor>, n as u64))
            .collect();
        (group, answers)
    }

    /// The event `n` failed, and has found another end.
    pub(crate) fn forgive(&self, n: usize) {
        self.0.lock().failed.remove(&(n as u64));
    }

    /// Nobody will be forgiven any more.
    pub(crate) fn seal(&self) {
        let mut inner = self.0.lock();
        inner.sealed = true;
        let parent = inner.finish();
        drop(inner);
        answer(parent);
    }
}

impl Inner {
    fn finish(&mut self) -> Option<(Ack, Verdict)> {
        if !self.sealed || self.open > 0 {
            return None;
        }
        let verdict = if self.failed.is_empty() {
            Verdict::Delivered
        } else {
            Verdict::Failed
        };
        self.parent.take().map(|parent| (parent, verdict))
    }
}

fn answer(parent: Option<(Ack, Verdict)>) {
    if let Some((parent, verdict)) = parent {
        parent.answer(verdict);
    }
}

impl Creditor for Group {
    fn is_spoilt(&self) -> bool {
        self.0.lock().parent.as_ref().is_some_and(Ack::is_spoilt)
    }

    fn answered(&self, ticket: u64, verdict: Verdict) {
        let mut inner = self.0.lock();
        inner.open -= 1;
        if verdict == Verdict::Failed {
            inner.failed.insert(ticket);
        }
        let parent = inner.finish();
        drop(inner);
        answer(parent);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Book(Mutex<Vec<Verdict>>);

    impl Creditor for Book {
        fn answered(&self, _: u64, verdict: Verdict) {
            self.0.lock().push(verdict);
        }
    }

    #[test]
    fn a_forgiven_event_does_not_fail_its_batch() {
        let book = Arc::new(Book::default());
        for forgiven in [true, false] {
            let (group, mut answers) = Group::new(Ack::new(book.clone(), 0), 3);
            answers.remove(1).failed();
            if forgiven {
                group.forgive(1);
            }
            group.seal();
            for answer in answers {
                answer.delivered();
            }
        }
        assert_eq!(*book.0.lock(), [Verdict::Delivered, Verdict::Failed]);
    }
}
