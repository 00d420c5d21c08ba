//! Spreads writes over the workers of a sink by key: what has the same key goes to the same worker, in order.
//!
//! A write is put together as for any other sink and then dealt out, without moving an event. A worker has at most one
//! job waiting behind the one it writes; a worker that cannot write holds the others up after that, so memory is bounded.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tokio::sync::{Mutex, mpsc};

use super::super::batcher::Batcher;
use super::super::job::Job;
use super::super::node::panic_text;
use super::super::writer::Shared;
use crate::batch::Batch;
use crate::component::Key;
use crate::telemetry::{ComponentMetrics, Stage};

/// Jobs that wait behind the one a worker writes [jobs].
const WAITING: usize = 1;

/// The jobs of one worker. Whoever takes its place takes these too.
pub(super) type Queue = Arc<Mutex<mpsc::Receiver<Job>>>;

/// How spreading ended: the batcher, and what was taken out of it but given to nobody, in order.
pub(super) type Spread = (Batcher, Vec<Batch>);

/// Deals jobs out.
pub(super) struct Spreader {
    key: Box<dyn Key>,
    workers: Vec<mpsc::Sender<Job>>,
    /// For each event of a job the worker, used again for each.
    to: Vec<u32>,
}

impl Spreader {
    /// For so many workers; each reads one of the queues.
    pub(super) fn new(key: Box<dyn Key>, workers: usize) -> (Spreader, Vec<Queue>) {
        let (workers, queues) = (0..workers)
            .map(|_| mpsc::channel(WAITING))
            .map(|(sender, receiver)| (sender, Arc::new(Mutex::new(receiver))))
            .unzip();
        let to = Vec::new();
        (Spreader { key, workers, to }, queues)
    }

    /// Deals out what the batcher brings until the lane has ended or it is told to stop.
    pub(super) async fn run(
        mut self,
        mut batcher: Batcher,
        shared: Arc<Shared>,
        metrics: Arc<ComponentMetrics>,
    ) -> Spread {
        loop {
            let batches = tokio::select! {
                biased;
                () = shared.abort.cancelled() => return (batcher, Vec::new()),
                () = shared.hand_over.cancelled() => return (batcher, Vec::new()),
                batches = batcher.next(&metrics) => batches,
            };
            let Some(batches) = batches else {
                return (batcher, Vec::new());
            };
            let mut jobs = self.deal(Job::new(batches), &shared, &metrics).into_iter();
            while let Some((worker, job)) = jobs.next() {
                let place = tokio::select! {
                    biased;
                    () = shared.abort.cancelled() => None,
                    () = shared.hand_over.cancelled() => None,
                    place = self.workers[worker].reserve() => place.ok(),
                };
                match place {
                    Some(place) => place.send(job),
                    None => {
                        let rest = std::iter::once(job).chain(jobs.map(|(_, job)| job));
                        return (batcher, rest.flat_map(Job::give_up).collect());
                    }
                }
            }
        }
    }

    fn deal(&mut self, job: Job, shared: &Shared, metrics: &ComponentMetrics) -> Vec<(usize, Job)> {
        let Spreader { key, workers, to } = self;
        let workers = workers.len() as u64;
        to.clear();
        let keys = job.events.iter().map(|event| {
            // The upper half of the product depends on every bit of the key, so keys may be small numbers.
            let mixed = key.of(event).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
            ((mixed * workers) >> 32) as u32
        });
        let asked = catch_unwind(AssertUnwindSafe(|| to.extend(keys)));
        if let Err(panic) = asked {
            // All to one worker: that keeps their order, and nothing is lost.
            to.clear();
            to.resize(job.events.len(), 0);
            metrics.panics.add(1);
            metrics.error("panic", Stage::Processing, 1);
            if shared.logs.panicked.pass().is_some() {
                tracing::error!(
                    component_id = shared.id,
                    "asking for the key of an event panicked; one worker writes all of this batch: {}",
                    panic_text(&*panic)
                );
            }
        }
        job.deal(to, self.workers.len())
    }
}
