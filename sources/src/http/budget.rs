//! What all requests together may hold in memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::wire::Broken;

/// Bytes for all requests that have no answer yet.
#[derive(Debug)]
pub(super) struct Budget {
    most: usize,
    held: AtomicUsize,
}

impl Budget {
    pub(super) fn new(most: usize) -> Arc<Budget> {
        Arc::new(Budget {
            most,
            held: AtomicUsize::new(0),
        })
    }

    /// Nothing, to begin with.
    pub(super) fn lease(self: &Arc<Self>) -> Lease {
        Lease {
            budget: Arc::clone(self),
            held: 0,
        }
    }

    /// Bytes held now.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }
}

/// What one request holds; given back when dropped.
#[derive(Debug)]
pub(super) struct Lease {
    budget: Arc<Budget>,
    held: usize,
}

impl Lease {
    /// Takes `more` bytes; where there is no room, the peer is to come again.
    pub(super) fn grow(&mut self, more: usize) -> Result<(), Broken> {
        let most = self.budget.most;
        let held = &self.budget.held;
        let add = |now: usize| now.checked_add(more).filter(|sum| *sum <= most);
        if held
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, add)
            .is_err()
        {
            // A request that would not fit alone will not fit later.
            return Err(if self.held.saturating_add(more) > most {
                Broken::refused(
                    413,
                    "the request takes more memory than all requests may; send less at once",
                )
            } else {
                Broken::refused(
                    429,
                    "too much is waiting to be delivered already; come again",
                )
            });
        }
        self.held += more;
        Ok(())
    }

    /// Gives `less` bytes back.
    pub(super) fn shrink(&mut self, less: usize) {
        let less = less.min(self.held);
        self.held -= less;
        self.budget.held.fetch_sub(less, Ordering::Relaxed);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.shrink(self.held);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_bounded_and_given_back() {
        let budget = Budget::new(100);
        let (mut one, mut two) = (budget.lease(), budget.lease());
        one.grow(60).unwrap();
        assert!(matches!(two.grow(41), Err(Broken::Refused(429, _))));
        assert!(matches!(two.grow(101), Err(Broken::Refused(413, _))));
        two.grow(40).unwrap();
        one.shrink(10);
        two.grow(10).unwrap();
        assert!(matches!(two.grow(60), Err(Broken::Refused(413, _))));
        drop((one, two));
        assert_eq!(budget.held(), 0);
        assert!(matches!(
            budget.lease().grow(usize::MAX),
            Err(Broken::Refused(413, _))
        ));
    }
}
