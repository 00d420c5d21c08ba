//! The end of the road: takes what comes out of a lane, writes it with one sink or several side by side, and answers.
//!
//! Workers ask one [`Batcher`] for their next write, so a write goes to whoever is free. With one worker, events leave
//! in the order they came, and none overtakes one that is tried again. Where a key says what belongs together, each worker
//! has a queue of its own, and the same holds for whatever has the same key ([`spread`]).

mod spread;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{Id, JoinHandle, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::spread::{Spread, Spreader};
use super::batcher::Batcher;
pub use super::batcher::Limits;
use super::health::SinkHealth;
use super::job::Job;
use super::retry::Pace;
use super::writer::{BuildSink, KnownSize, Logs, Shared, Writer};
use crate::batch::Batch;
use crate::component::Key;
use crate::config::EngineOptions;
use crate::dlq::DeadLetters;
use crate::lane::LaneReceiver;
use crate::telemetry::{ComponentMetrics, Kind, Telemetry};

/// Everything a sink needs to run.
pub struct SinkTask {
    /// The component's id.
    pub id: String,
    /// Its type.
    pub type_name: &'static str,
    /// Where its events come from.
    pub lane: LaneReceiver,
    /// What a predecessor has left unwritten; it is written first, and is not counted as received again.
    pub left: Vec<Batch>,
    /// Makes one sink; called once per worker, and after a panic.
    pub build: BuildSink,
    /// Sinks side by side; see [`workers`].
    pub workers: usize,
    /// What belongs together, if several may write but not anything in any order.
    pub key: Option<Box<dyn Key>>,
    /// When a write is full.
    pub limits: Limits,
    /// How fast a write is tried again.
    pub pace: Pace,
    /// Whether the other side is asked at start whether it is there.
    pub healthcheck: bool,
    /// Where events go that are refused.
    pub dead_letters: Arc<DeadLetters>,
    /// Where it counts; every worker on its own.
    pub telemetry: Arc<Telemetry>,
    /// Where it says how it is.
    pub health: SinkHealth,
    /// Cancelled: take no more, finish what goes well, give back what does not.
    pub hand_over: CancellationToken,
    /// Cancelled: give up. What has no end yet fails, so its position is not stored and it is read again.
    pub abort: CancellationToken,
}

/// How it ended.
#[derive(Default)]
pub struct SinkEnd {
    /// The lane, for a successor.
    pub lane: Option<LaneReceiver>,
    /// What was taken out of it and has no end yet, in order, for a successor; dropping it fails it. Empty unless the
    /// task was told to hand over.
    pub left: Vec<Batch>,
    /// Events that were given up [events].
    pub given_up: usize,
}

/// How many workers a sink gets; `keyed`: it says what belongs together.
pub fn workers(options: &EngineOptions, keyed: bool) -> usize {
    use crate::component::Workers;
    /// One writes while the other's answer is under way.
    const USUAL: usize = 2;
    /// Keys are not spread evenly, and each waits for its own answers.
    const USUAL_BY_KEY: usize = 4;
    let asked = options.workers.or(options.request.concurrency);
    match options.kind {
        Workers::One => 1,
        Workers::ByKey if !keyed => 1,
        Workers::ByKey => asked.map_or(USUAL_BY_KEY, usize::from),
        Workers::Any => asked.map_or(USUAL, usize::from),
    }
}

/// Where a worker takes its next job from.
#[derive(Clone)]
enum Feed {
    /// Whatever comes next; all workers ask the same batcher.
    Next(Arc<tokio::sync::Mutex<Batcher>>),
    /// What was dealt out to this worker.
    Dealt(spread::Queue),
}

impl Feed {
    /// `None` when there will be no more. Dropping the future loses nothing.
    async fn next(&self, metrics: &ComponentMetrics) -> Option<Job> {
        match self {
            Feed::Next(batcher) => batcher.lock().await.next(metrics).await.map(Job::new),
            Feed::Dealt(queue) => queue.lock().await.recv().await,
        }
    }
}

/// While a sink fails and has nothing to write, it is checked this often.
const CHECKS: Duration = Duration::from_secs(15);
/// What waits in front of it is told this often.
const GAUGES: Duration = Duration::from_secs(1);

impl SinkTask {
    /// Runs until the lane has ended, or as told by `hand_over` and `abort`. Every event taken is answered for, or is in
    /// what this returns.
    pub async fn run(self) -> SinkEnd {
        let batcher = Batcher::new(self.lane, self.limits, self.left);
        let gauge = Arc::clone(batcher.gauge());
        let shared = Arc::new(Shared {
            id: self.id,
            type_name: self.type_name,
            build: self.build,
            pace: self.pace,
            dead_letters: Some(self.dead_letters),
            hand_over: self.hand_over,
            abort: self.abort,
            known_size: KnownSize::default(),
            logs: Logs::default(),
        });
        let mut workers = JoinSet::new();
        // Which worker each task is.
        let mut numbers: HashMap<Id, usize> = HashMap::new();
        let start = |feed: &Feed, check: bool, workers: &mut JoinSet<Vec<Batch>>| {
            let metrics = self
                .telemetry
                .component(&shared.id, Kind::Sink, shared.type_name);
            let health = self.health.worker(Arc::clone(&metrics));
            let writer = Writer::new(Arc::clone(&shared), Arc::clone(&metrics), health);
            let (feed, shared, health) = (feed.clone(), Arc::clone(&shared), self.health.clone());
            let task = workers.spawn(worker(writer, feed, shared, health, check));
            (task.id(), metrics)
        };
        let count = self.workers.max(1);
        let (spreader, feeds, mut batcher) = match self.key {
            Some(key) if count > 1 => {
                let (spreader, queues) = Spreader::new(key, count);
                let feeds: Vec<Feed> = queues.into_iter().map(Feed::Dealt).collect();
                (Some(spreader), feeds, Some(batcher))
            }
            _ => {
                let batcher = Arc::new(tokio::sync::Mutex::new(batcher));
                (None, vec![Feed::Next(batcher); count], None)
            }
        };
        let mut metrics = None;
        for (number, feed) in feeds.iter().enumerate() {
            let (id, of_worker) = start(feed, self.healthcheck && number == 0, &mut workers);
            numbers.insert(id, number);
            metrics.get_or_insert(of_worker);
        }
        let metrics = metrics.expect("there is at least one worker");
        let mut spreader = spreader.zip(batcher.take()).map(|(spreader, batcher)| {
            let spread = spreader.run(batcher, Arc::clone(&shared), Arc::clone(&metrics));
            tokio::spawn(spread)
        });
        let mut end = SinkEnd::default();
        let mut tick = tokio::time::interval(GAUGES);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                ended = workers.join_next() => match ended {
                    None => break,
                    Some(Ok(left)) => end.left.extend(left),
                    // What it held was dropped and so has failed: its source reads it again.
                    Some(Err(why)) => {
                        tracing::error!(component_id = shared.id, %why, "a worker of the sink broke off; another takes its place");
                        let number = numbers.remove(&why.id()).unwrap_or_default();
                        let (id, _) = start(&feeds[number], false, &mut workers);
                        numbers.insert(id, number);
                    }
                },
                _ = tick.tick() => {
                    metrics.buffer_events.set(gauge.events() as f64);
                    metrics.buffer_bytes.set(gauge.bytes() as f64);
                }
            }
        }
        end.collect(feeds, spreader.take()).await;
        if shared.abort.is_cancelled() {
            end.given_up = end.left.iter().map(|batch| batch.events.len()).sum();
            end.left.clear();
        }
        end
    }
}

impl SinkEnd {
    /// Adds what no worker has begun, behind what they had begun, and the lane.
    async fn collect(&mut self, feeds: Vec<Feed>, spreader: Option<JoinHandle<Spread>>) {
        // It ends when the lane has, or as its workers were told.
        let spread = match spreader {
            Some(task) => task
                .await
                .inspect_err(|why| tracing::error!(%why, "a task of the engine died; its batches are sent again"))
                .ok(),
            None => None,
        };
        let mut batcher = None;
        for feed in feeds {
            match feed {
                Feed::Dealt(queue) => {
                    let mut queue = queue.lock().await;
                    while let Ok(job) = queue.try_recv() {
                        self.left.extend(job.give_up());
                    }
                }
                Feed::Next(shared) => batcher = Arc::into_inner(shared),
            }
        }
        if let Some((of_spreader, unsent)) = spread {
            self.left.extend(unsent);
            batcher = Some(tokio::sync::Mutex::new(of_spreader));
        }
        if let Some(batcher) = batcher {
            let (lane, left) = batcher.into_inner().end();
            self.left.extend(left);
            self.lane = Some(lane);
        }
    }
}

/// Which share of the time a worker is at work.
#[derive(Default)]
struct WorkClock {
    since: Option<Instant>,
    worked: Duration,
    rested: Duration,
}

/// The share is told for stretches of at least this length.
const STRETCH: Duration = Duration::from_secs(2);

impl WorkClock {
    /// It rested until now.
    fn works(&mut self, metrics: &ComponentMetrics) {
        let rested = self.lap();
        self.rested += rested;
        self.tell(metrics);
    }

    /// It worked until now.
    fn rests(&mut self, metrics: &ComponentMetrics) {
        let worked = self.lap();
        self.worked += worked;
        self.tell(metrics);
    }

    fn lap(&mut self) -> Duration {
        let now = Instant::now();
        let before = self.since.replace(now);
        before.map_or(Duration::ZERO, |before| now - before)
    }

    fn tell(&mut self, metrics: &ComponentMetrics) {
        let all = self.worked + self.rested;
        if all >= STRETCH {
            metrics
                .utilization
                .set(self.worked.as_secs_f64() / all.as_secs_f64());
            (self.worked, self.rested) = (Duration::ZERO, Duration::ZERO);
        }
    }
}

/// Writes until the lane has ended or it is told to stop; returns what has no end yet.
async fn worker(
    mut writer: Writer,
    feed: Feed,
    shared: Arc<Shared>,
    health: SinkHealth,
    check: bool,
) -> Vec<Batch> {
    if check {
        writer.check().await;
    }
    let mut left = Vec::new();
    let metrics = writer.metrics();
    let mut clock = WorkClock::default();
    loop {
        let next = feed.next(&metrics);
        let failing = writer.is_failing();
        let job = tokio::select! {
            biased;
            () = shared.abort.cancelled() => break,
            () = shared.hand_over.cancelled() => break,
            job = next => job,
            () = tokio::time::sleep(CHECKS) => {
                clock.works(&metrics);
                if failing {
                    writer.check().await;
                }
                continue;
            }
        };
        let Some(mut job) = job else { break };
        clock.works(&metrics);
        if !writer.work(&mut job).await {
            left = job.give_up();
            break;
        }
        let now = health.now();
        for (seen_to, events) in job.seen() {
            metrics.latency.observe_many(now.since(seen_to), events);
        }
        job.recycle();
        clock.rests(&metrics);
    }
    writer.close().await;
    left
}

#[cfg(test)]
mod tests;
