//! The clocks of the nodes, held against ours: times are evidence, and a clock that is behind shows nowhere else.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pipeline::{Field, Told};
use serde_json::Value;

use super::{Answer, Asked, Job, Poller};
use crate::pve_api::client::{Client, Queue, Trouble};

/// Clocks are compared this often.
const EVERY: Duration = Duration::from_secs(300);
/// A difference that stays is told again after this time.
const AGAIN: Duration = Duration::from_secs(3600);
/// A difference that is told [ms]. A node answers whole seconds.
const LEAST: i64 = 10_000;
/// An answer that took longer says too little about now.
const SLOW: Duration = Duration::from_secs(5);

/// Asks a node for its time.
pub(super) fn ask(client: Arc<Client>, queue: Queue, name: String) -> Asked {
    Box::pin(async move {
        let began = Instant::now();
        let path = format!("nodes/{name}/time");
        let answer = client.get(queue, &path, &[]).await;
        Answer::Clock(name, Instant::now(), began.elapsed(), answer)
    })
}

/// How far a clock of whole seconds is ahead of ours [ms]; negative: behind.
fn ahead(theirs: i64, ours_ms: i64) -> i64 {
    theirs
        .saturating_mul(1000)
        .saturating_add(500)
        .saturating_sub(ours_ms)
}

impl Poller<'_> {
    /// A node that does not say its time costs the comparison, and nothing else: its other answers say what is wrong.
    pub(super) fn take_clock(
        &mut self,
        name: &str,
        at: Instant,
        took: Duration,
        answer: Result<Value, Trouble>,
    ) {
        self.again(&Job::Clock(name.to_owned()), Some(EVERY), EVERY);
        let theirs = answer
            .ok()
            .and_then(|answer| answer["data"]["time"].as_i64());
        let (Some(theirs), true) = (theirs, took <= SLOW) else {
            return;
        };
        let past = at.elapsed() + took / 2;
        let ours = self.out.now().0 / 1_000_000 - i64::try_from(past.as_millis()).unwrap_or(0);
        let skew = ahead(theirs, ours);
        if skew.abs() < LEAST {
            self.skewed.remove(name);
            return;
        }
        let told = self.skewed.get(name);
        if told.is_some_and(|told| told.elapsed() < AGAIN) {
            return;
        }
        self.skewed.insert(name.to_owned(), Instant::now());
        let word = if skew > 0 { "ahead of" } else { "behind" };
        let seconds = skew.abs() / 1000;
        let text = format!("the clock of {name} is {seconds} s {word} that of the collector");
        tracing::warn!(component_id = self.source.id, skew_ms = skew, "{text}");
        self.out.metrics().tell(
            Told::new("PVE-9051", text)
                .object("node", name)
                .field(Field::new("pve.time.skew_ms"), skew),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_seconds_are_taken_for_their_middle() {
        assert_eq!(ahead(100, 100_500), 0);
        assert_eq!(ahead(100, 100_000), 500);
        assert_eq!(ahead(161, 100_000), 61_500);
        assert_eq!(ahead(40, 100_000), -59_500);
        assert_eq!(ahead(i64::MAX, 0), i64::MAX);
    }
}
