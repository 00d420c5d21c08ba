//! The answer owed for a batch.
//!
//! Whoever hands a batch on hands the debt on with it. Cloning an [`Ack`] owes one more answer; dropping it without a
//! word is the word "failed". When the last answer is in, the worst of them reaches whoever is owed it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// How a batch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every event of it was delivered, left out by name, or made durable in the dead letters.
    Delivered,
    /// At least one event has no such end; it must be sent again.
    Failed,
}

/// Whoever is owed answers.
pub trait Creditor: Send + Sync {
    /// The answer for `ticket` is complete. Called once for each ticket, from any thread; it must not block.
    fn answered(&self, ticket: u64, verdict: Verdict);

    /// Somebody has said "failed" for a ticket, while other answers to it may still be owed.
    fn failing(&self) {}

    /// Whether a "failed" was heard: whatever is owed to this creditor has to be done again.
    fn is_spoilt(&self) -> bool {
        false
    }
}

/// One answer owed.
pub struct Ack {
    debt: Option<Arc<Debt>>,
}

struct Debt {
    creditor: Arc<dyn Creditor>,
    ticket: u64,
    failed: AtomicBool,
}

impl Drop for Debt {
    fn drop(&mut self) {
        let failed = self.failed.load(Ordering::Acquire);
        self.creditor.answered(
            self.ticket,
            if failed {
                Verdict::Failed
            } else {
                Verdict::Delivered
            },
        );
    }
}

impl Ack {
    /// A debt to `creditor`, who knows it by `ticket`.
    pub fn new(creditor: Arc<dyn Creditor>, ticket: u64) -> Ack {
        Ack {
            debt: Some(Arc::new(Debt {
                creditor,
                ticket,
                failed: AtomicBool::new(false),
            })),
        }
    }

    /// An answer that nobody waits for.
    pub fn nobody() -> Ack {
        Ack { debt: None }
    }

    /// Everything this answer stands for has come to a good end.
    pub fn delivered(mut self) {
        self.debt = None;
    }

    /// It has not. Dropping the answer says the same.
    pub fn failed(self) {}

    /// Whether what this answer stands for will be done again, whatever is answered.
    pub fn is_spoilt(&self) -> bool {
        self.debt
            .as_ref()
            .is_some_and(|debt| debt.creditor.is_spoilt())
    }

    /// The word itself.
    pub fn answer(self, verdict: Verdict) {
        match verdict {
            Verdict::Delivered => self.delivered(),
            Verdict::Failed => self.failed(),
        }
    }
}

impl Clone for Ack {
    fn clone(&self) -> Ack {
        Ack {
            debt: self.debt.clone(),
        }
    }
}

impl Drop for Ack {
    fn drop(&mut self) {
        if let Some(debt) = &self.debt {
            debt.failed.store(true, Ordering::Release);
            debt.creditor.failing();
        }
    }
}

impl std::fmt::Debug for Ack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.debt {
            Some(debt) => write!(f, "Ack({})", debt.ticket),
            None => f.write_str("Ack(nobody)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;

    #[derive(Default)]
    struct Book(Mutex<Vec<(u64, Verdict)>>);

    impl Creditor for Book {
        fn answered(&self, ticket: u64, verdict: Verdict) {
            self.0.lock().push((ticket, verdict));
        }
    }

    #[test]
    fn the_last_answer_settles_the_debt_and_the_worst_word_wins() {
        let book = Arc::new(Book::default());
        let good = Ack::new(book.clone(), 1);
        let copy = good.clone();
        good.delivered();
        assert!(book.0.lock().is_empty(), "one answer is still owed");
        copy.delivered();
        let bad = Ack::new(book.clone(), 2);
        bad.clone().failed();
        bad.delivered();
        drop(Ack::new(book.clone(), 3));
        assert_eq!(
            *book.0.lock(),
            [
                (1, Verdict::Delivered),
                (2, Verdict::Failed),
                (3, Verdict::Failed)
            ]
        );
    }
}
