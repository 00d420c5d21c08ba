//! What core NATS brought and nobody read: counted each second, told as a gap.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use async_nats::Statistics;
use pipeline::telemetry::Stage;
use pipeline::{ComponentMetrics, Told};

use super::IDLE;

/// A gap is told of this often at most; the rest at the end.
const TELL: Duration = Duration::from_secs(60);

/// The losses of one connection.
pub(super) struct Losses {
    client: Arc<Statistics>,
    metrics: Arc<ComponentMetrics>,
    /// Most messages that may wait unread.
    room: u64,
    /// Messages that were read and not given up.
    taken: u64,
    /// Those that are counted.
    lost: u64,
    untold: u64,
    looked: Instant,
    told: Option<Instant>,
}

impl Losses {
    pub(super) fn new(client: Arc<Statistics>, metrics: Arc<ComponentMetrics>, room: u64) -> Self {
        Losses {
            client,
            metrics,
            room,
            taken: 0,
            lost: 0,
            untold: 0,
            looked: Instant::now(),
            told: None,
        }
    }

    pub(super) fn took(&mut self, messages: u64) {
        self.taken += messages;
    }

    /// Messages that were read and went nowhere.
    pub(super) fn gave_up(&mut self, messages: u64) {
        self.taken = self.taken.saturating_sub(messages);
    }

    /// While messages come all the time: each second, what cannot be waiting any more is counted.
    pub(super) fn glance(&mut self) {
        if self.looked.elapsed() >= IDLE {
            self.count(self.room);
            self.tell(TELL);
        }
    }

    /// Nothing waits: the client reads on this very thread, so what came and was not taken is lost.
    pub(super) fn look(&mut self) {
        self.count(0);
        self.tell(TELL);
    }

    /// What waits now is given up.
    pub(super) fn end(&mut self) {
        self.count(0);
        self.tell(Duration::ZERO);
    }

    /// Counts what is lost for certain, if so many may still wait.
    fn count(&mut self, waiting: u64) {
        self.looked = Instant::now();
        let came = self.client.in_messages.load(Ordering::Relaxed);
        let lost = came.saturating_sub(self.taken).saturating_sub(waiting);
        let more = lost.saturating_sub(self.lost);
        self.lost += more;
        self.untold += more;
        self.metrics.discarded.add(more);
        if more > 0 {
            self.metrics.error("slow_consumer", Stage::Receiving, more);
        }
    }

    fn tell(&mut self, rest: Duration) {
        let rests = self.told.is_some_and(|told| told.elapsed() < rest);
        if self.untold == 0 || rests {
            return;
        }
        let why = format!(
            "{} messages of core NATS came faster than they were taken, or waited when listening ended",
            self.untold
        );
        tracing::error!("{why}; they are lost, and JetStream would have kept them");
        self.metrics.gaps.add(["core"], 1);
        self.metrics
            .tell(Told::new("PVE-9014", format!("Input is missing: {why}")).failed(why));
        self.untold = 0;
        self.told = Some(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pipeline::{Kind, Telemetry};

    #[test]
    fn what_is_thrown_away_is_counted_while_more_comes_and_the_rest_at_the_end() {
        let metrics = Telemetry::new("", "").component("in", Kind::Source, "nats");
        let client = Arc::new(Statistics::default());
        let mut losses = Losses::new(Arc::clone(&client), Arc::clone(&metrics), 100);
        let came = |more: u64| {
            client.in_messages.add(more, Ordering::Relaxed);
        };
        let second = |losses: &mut Losses| {
            losses.looked = losses.looked.checked_sub(IDLE).unwrap_or(losses.looked);
            losses.glance();
            (metrics.discarded.get(), metrics.gaps.total())
        };
        came(150);
        losses.took(50);
        assert_eq!(second(&mut losses), (0, 0), "all of it may still wait");
        came(30);
        assert_eq!(second(&mut losses), (30, 1));
        // Not within the same second.
        came(10);
        losses.glance();
        assert_eq!(metrics.discarded.get(), 30);
        assert_eq!(second(&mut losses), (40, 1), "counted, and told of later");
        // A quiet second: what waited was taken, so that the count stays.
        losses.took(100);
        losses.look();
        assert_eq!(metrics.discarded.get(), 40);
        // 7 wait at the end, and 5 that were read could not be handed over any more.
        came(7);
        losses.gave_up(5);
        losses.end();
        assert_eq!((metrics.discarded.get(), metrics.gaps.total()), (52, 2));
        losses.end();
        assert_eq!((metrics.discarded.get(), metrics.gaps.total()), (52, 2));
    }
}
