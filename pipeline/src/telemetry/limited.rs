//! One message per place and ten seconds: a server that is down for a night must not fill the disk with its log.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Shortest time between two messages of one place [ms].
const PAUSE: u64 = 10_000;

static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Decides which messages of one place are written. The macro [`log_limited!`](crate::log_limited) makes one for itself; a
/// component that wants a limit per instance keeps one as a field.
#[derive(Debug, Default)]
pub struct Limited {
    /// When the next message may go [ms since the first use], 0 before the first.
    next: AtomicU64,
    held_back: AtomicU64,
}

impl Limited {
    /// Lets the first message through.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            next: AtomicU64::new(0),
            held_back: AtomicU64::new(0),
        }
    }

    /// Whether this message may be written, and how many were held back since the last one.
    pub fn pass(&self) -> Option<u64> {
        let now = u64::try_from(BEGAN.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.pass_at(now)
    }

    fn pass_at(&self, now: u64) -> Option<u64> {
        let next = self.next.load(Ordering::Relaxed);
        if now < next
            || self
                .next
                .compare_exchange(next, now + PAUSE, Ordering::Relaxed, Ordering::Relaxed)
                .is_err()
        {
            self.held_back.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        Some(self.held_back.swap(0, Ordering::Relaxed))
    }
}

/// As `tracing::warn!(…)` and its kin, at most once in 10 s per place; says how many were held back in between.
///
/// ```
/// # let path = "/var/log/x";
/// pipeline::log_limited!(warn, path, "cannot be read");
/// ```
#[macro_export]
macro_rules! log_limited {
    ($level:ident, $($what:tt)+) => {{
        static PLACE: $crate::telemetry::Limited = $crate::telemetry::Limited::new();
        match PLACE.pass() {
            None => {}
            Some(0) => $crate::telemetry::tracing::$level!($($what)+),
            Some(held_back) => $crate::telemetry::tracing::$level!(held_back, $($what)+),
        }
    }};
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_goes_and_the_next_ones_are_counted() {
        let place = Limited::new();
        assert_eq!(place.pass_at(5), Some(0));
        assert_eq!(place.pass_at(6), None);
        assert_eq!(place.pass_at(10_004), None);
        assert_eq!(place.pass_at(10_005), Some(2));
    }
}
