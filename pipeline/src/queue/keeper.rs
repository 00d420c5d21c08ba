//! Remembers how far a queue was emptied, deletes what is no longer needed, and tells how full it is.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::answers::Answers;
use super::files::Files;
use super::trouble::{Part, Trouble, code};
use crate::lane::Gauge;
use crate::telemetry::ComponentMetrics;
use crate::told::Told;

/// The position is stored this often at most, unless a file can be deleted.
const STORES: Duration = Duration::from_secs(1);
/// Gauges are set this often.
const TICKS: Duration = Duration::from_secs(1);

/// A queue this full is told of …
const HIGH: f64 = 0.8;
/// … and again only when it was this empty in between.
const LOW: f64 = 0.5;

/// The task that looks after the files of a queue.
pub(super) struct Keeper {
    pub(super) id: String,
    pub(super) files: Arc<Files>,
    pub(super) answers: Arc<Answers>,
    /// What was read out already waits there.
    pub(super) ahead: Arc<Gauge>,
    pub(super) metrics: Arc<ComponentMetrics>,
    pub(super) trouble: Arc<Trouble>,
    pub(super) stop: CancellationToken,
}

impl Keeper {
    pub(super) async fn run(self) {
        let mut stored = None;
        let mut stored_at = Instant::now();
        let mut fails = false;
        let mut told_high = false;
        let mut tick = tokio::time::interval(TICKS);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let ends = tokio::select! {
                () = self.answers.changed.notified() => false,
                () = self.files.pressed.notified() => false,
                _ = tick.tick() => {
                    self.tell(&mut told_high);
                    false
                }
                () = self.stop.cancelled() => true,
            };
            let reached = self.answers.reached();
            let due = stored != Some(reached) && stored_at.elapsed() >= STORES;
            // While the disk refuses, it is asked once a second.
            let may = !fails || stored_at.elapsed() >= STORES;
            let deletes = self.files.holds_done(reached.event);
            if !ends && !(may && (due || deletes)) {
                continue;
            }
            stored_at = Instant::now();
            let files = Arc::clone(&self.files);
            let done = tokio::task::spawn_blocking(move || {
                if ends {
                    files.close(reached)
                } else {
                    files.release(reached)
                }
            });
            match done
                .await
                .unwrap_or_else(|why| Err(std::io::Error::other(why)))
            {
                Ok(()) => {
                    stored = Some(reached);
                    self.metrics.checkpoints.add(1);
                    if std::mem::take(&mut fails) {
                        self.trouble.well(Part::Release);
                    }
                }
                Err(why) => {
                    fails = true;
                    self.trouble.fails(Part::Release, code(&why), &why);
                }
            }
            if ends {
                self.tell(&mut told_high);
                return;
            }
        }
    }

    fn tell(&self, told_high: &mut bool) {
        let (events, bytes) = self.files.waiting(self.answers.reached());
        let most = self.files.bytes().1;
        // The sink's own gauges count what is read already and waits for it.
        let (ahead, ahead_bytes) = (self.ahead.events() as u64, self.ahead.bytes() as u64);
        let metrics = &self.metrics;
        metrics
            .buffer_events
            .set(events.saturating_sub(ahead) as f64);
        metrics
            .buffer_bytes
            .set(bytes.saturating_sub(ahead_bytes) as f64);
        if most == u64::MAX {
            // It is only emptied.
            return;
        }
        metrics.buffer_max_bytes.set(most as f64);
        let share = bytes as f64 / most as f64;
        if share >= HIGH && !*told_high {
            *told_high = true;
            let percent = (share * 100.0) as u64;
            tracing::warn!(
                component_id = self.id,
                "the disk queue is {percent} % full: {events} events wait"
            );
            let message = format!(
                "the disk queue of sink {} is {percent} % full: {events} events wait",
                self.id
            );
            metrics.tell(Told::new("PVE-9023", message));
        } else if share < LOW {
            *told_high = false;
        }
    }
}
