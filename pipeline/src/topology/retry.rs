//! How long to wait before something is tried again.

use std::time::Duration;

/// Bounds of the wait before a repetition.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Longest wait before the first repetition.
    pub initial: Duration,
    /// Longest wait before any.
    pub max: Duration,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace {
            initial: Duration::from_secs(1),
            max: Duration::from_secs(60),
        }
    }
}

/// Shortest wait: chance may say zero, a busy loop may not follow from it.
const SHORTEST: Duration = Duration::from_millis(10);
/// The other side may ask for this much patience; more is taken for a mistake of its own.
const LONGEST_ASKED: Duration = Duration::from_secs(600);

/// Waits that grow, with full jitter: anything between nothing and a bound that doubles, so that many writers which
/// failed together do not come back together.
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    pace: Pace,
    failures: u32,
}

impl Backoff {
    pub(crate) fn new(pace: Pace) -> Backoff {
        Backoff { pace, failures: 0 }
    }

    /// How long to wait after one more failure; not shorter than `after`, which the other side asked for.
    pub(crate) fn next(&mut self, after: Option<Duration>) -> Duration {
        let bound = self
            .pace
            .initial
            .saturating_mul(1_u32.checked_shl(self.failures).unwrap_or(u32::MAX))
            .min(self.pace.max);
        self.failures = self.failures.saturating_add(1);
        match after {
            None => chance(bound).max(SHORTEST),
            // Everyone was told the same, so a little is added at random.
            Some(after) => {
                after.clamp(SHORTEST, LONGEST_ASKED) + chance(self.pace.initial.min(self.pace.max))
            }
        }
    }

    /// It went well: the next failure is the first again.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }

    /// Failures in a row.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }
}

/// Anything between nothing and `bound`.
pub(crate) fn chance(bound: Duration) -> Duration {
    bound.mul_f64(fastrand::f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_bound_and_honour_what_was_asked() {
        let pace = Pace {
            initial: Duration::from_millis(100),
            max: Duration::from_secs(2),
        };
        let mut longest = [Duration::ZERO; 40];
        for _ in 0..200 {
            let mut backoff = Backoff::new(pace);
            for (n, longest) in longest.iter_mut().enumerate() {
                let wait = backoff.next(None);
                let bound = pace.initial.saturating_mul(1 << n.min(10)).min(pace.max);
                assert!(wait >= SHORTEST && wait <= bound, "{n}: {wait:?}");
                *longest = wait.max(*longest);
            }
        }
        assert!(
            longest[0] > Duration::from_millis(50) && longest[39] > Duration::from_secs(1),
            "{longest:?}"
        );
        let mut backoff = Backoff::new(pace);
        let asked = backoff.next(Some(Duration::from_secs(30)));
        assert!(
            asked >= Duration::from_secs(30) && asked <= Duration::from_millis(30_100),
            "{asked:?}"
        );
        assert!(
            backoff.next(Some(Duration::MAX)) < LONGEST_ASKED * 2,
            "a year is no answer"
        );
    }
}
