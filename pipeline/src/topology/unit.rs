//! One task of the running graph, and how to end it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::health::SinkHealth;
use super::node::Node;
use super::plan::{UnitKind, UnitPlan};
use super::retry::Pace;
use super::sink_task::{Limits, SinkEnd, SinkTask, workers};
use super::source_task::{Keeper, SourceTask};
use super::state_task::StateTask;
use super::{Shared, transform_task};
use crate::batch::Batch;
use crate::component::Component;
use crate::config::{Buffer, BufferKind};
use crate::dlq::DeadLetters;
use crate::lane::{LaneReceiver, LaneSender, lane};
use crate::position::{PositionFile, Tracker};
use crate::queue;
use crate::queue::task::QueuedSink;
use crate::source_out::Beside;
use crate::telemetry::{Health, Telemetry};

/// One task of the running graph.
pub(crate) struct Unit {
    pub(crate) plan: UnitPlan,
    pub(crate) nodes: Vec<Arc<Node>>,
    /// The lane in front of it; a source has none.
    pub(crate) inlet: Option<LaneSender>,
    /// What waits in front of it: the lane's end, and what its forerunner did not get written.
    waiting: Option<Waiting>,
    running: Option<Running>,
    hand_over: CancellationToken,
    abort: CancellationToken,
    /// Events that stayed in its disk queue when it ended.
    stay: Arc<AtomicU64>,
}

/// What a task that ended leaves to its successor.
#[derive(Default)]
pub(crate) struct Waiting {
    lane: Option<LaneReceiver>,
    left_over: Vec<Batch>,
}

enum Running {
    Source {
        ended: oneshot::Receiver<()>,
        tracker: Arc<Mutex<Arc<Tracker>>>,
        keeper: JoinHandle<()>,
        keeper_end: CancellationToken,
        beside: Arc<Beside>,
    },
    Task(JoinHandle<Waiting>),
}

impl Unit {
    /// A task that does not run yet. `inlet` is the lane of the task in whose place it comes, if there is one; what
    /// waits there comes by [`take_over`](Self::take_over).
    pub(crate) fn new(plan: UnitPlan, nodes: Vec<Arc<Node>>, inlet: Option<LaneSender>) -> Unit {
        let mut waiting = Waiting::default();
        let inlet = match (plan.kind, inlet) {
            (UnitKind::Source, _) => None,
            (_, Some(inlet)) => Some(inlet),
            (_, None) => {
                let size = nodes.first().map_or(crate::lane::LANE_BYTES, |node| {
                    match node.engine().buffer {
                        Buffer {
                            kind: BufferKind::Memory,
                            max_size,
                        } => max_size.as_usize(),
                        // It leads into the queue.
                        _ => crate::lane::LANE_BYTES,
                    }
                });
                let (to, from) = lane(size);
                waiting.lane = Some(from);
                Some(to)
            }
        };
        Unit {
            plan,
            nodes,
            inlet,
            waiting: Some(waiting),
            running: None,
            hand_over: CancellationToken::new(),
            abort: CancellationToken::new(),
            stay: Arc::default(),
        }
    }

    /// Events that stayed in its disk queue when it ended.
    pub(crate) fn stay(&self) -> u64 {
        self.stay.load(Ordering::Relaxed)
    }

    /// Whether a task of that plan comes in the place of this one.
    pub(crate) fn has_successor(&self, plan: &UnitPlan) -> bool {
        let behind_a_lane = |kind| kind != UnitKind::Source;
        behind_a_lane(self.plan.kind)
            && behind_a_lane(plan.kind)
            && self.plan.nodes.first() == plan.nodes.first()
    }

    /// Takes what its forerunner left. If that broke off and left no lane, a new one is made, to be wired anew.
    pub(crate) fn take_over(&mut self, mut left: Waiting) {
        if left.lane.is_none() {
            let (to, from) = lane(crate::lane::LANE_BYTES);
            self.inlet = Some(to);
            left.lane = Some(from);
        }
        self.waiting = Some(left);
    }

    /// Begins.
    pub(crate) fn start(&mut self, shared: &Shared) -> Result<(), String> {
        let nodes = self.nodes.clone();
        let first = Arc::clone(nodes.first().ok_or("a task needs a component")?);
        if self.plan.kind == UnitKind::Source {
            self.abort = shared.abort.child_token();
            // The source speaks for itself, once it runs.
            for node in &nodes[1..] {
                node.metrics.health().set(Health::Healthy);
            }
            self.running = Some(start_source(
                &first,
                &nodes[1..],
                shared,
                &self.hand_over,
                &self.abort,
            )?);
            return Ok(());
        }
        self.abort = shared.abort.child_token();
        let abort = self.abort.clone();
        let waiting = self.waiting.take().ok_or("the task runs already")?;
        let lane = waiting
            .lane
            .ok_or("the lane in front of the task is gone")?;
        for node in &nodes {
            node.metrics.health().set(Health::Healthy);
        }
        let hand_over = self.hand_over.clone();
        let task = match self.plan.kind {
            UnitKind::Sink if has_queue(&first, shared) => {
                let left = waiting.left_over;
                let task = queued_sink(&first, lane, left, shared, (hand_over, abort));
                let stay = Arc::clone(&self.stay);
                tokio::spawn(async move {
                    let end = task.run().await;
                    stay.store(end.stay, Ordering::Relaxed);
                    Waiting {
                        lane: end.lane,
                        left_over: end.left,
                    }
                })
            }
            UnitKind::Sink => {
                let left = waiting.left_over;
                let task = SinkParts::new(&first, shared, hand_over).task(lane, left, abort);
                tokio::spawn(async move {
                    let SinkEnd { lane, left, .. } = task.run().await;
                    Waiting {
                        lane,
                        left_over: left,
                    }
                })
            }
            UnitKind::State => {
                let work = StateTask::new(first, lane, hand_over, abort, &shared.data_dir)?;
                tokio::spawn(async move {
                    Waiting {
                        lane: Some(work.run().await),
                        left_over: Vec::new(),
                    }
                })
            }
            UnitKind::Chain(_) | UnitKind::Source => {
                let workers = if let UnitKind::Chain(workers) = self.plan.kind {
                    workers
                } else {
                    1
                };
                tokio::spawn(async move {
                    let mut lane = lane;
                    let ended = tokio::select! {
                        ended = transform_task::run(nodes, &mut lane, workers, hand_over) => ended,
                        // What it holds is dropped, and so it has failed and is read again.
                        () = abort.cancelled() => Ok(()),
                    };
                    match ended {
                        Ok(()) => Waiting {
                            lane: Some(lane),
                            left_over: Vec::new(),
                        },
                        Err(why) => {
                            first.metrics.health().set(Health::Failing(why.clone()));
                            tracing::error!(
                                component_id = first.id,
                                why,
                                "the task ended; what feeds it fails until the next reload or restart"
                            );
                            Waiting::default()
                        }
                    }
                })
            }
        };
        self.running = Some(Running::Task(task));
        Ok(())
    }

    /// Whether it was started.
    pub(crate) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Whoever waits for room in a lane that nobody empties, or for an answer that nobody gives, gives up; what it holds
    /// is read again.
    pub(crate) fn abort(&self) {
        self.abort.cancel();
    }

    /// Tells it to end: a source stops reading, another hands its lane over.
    pub(crate) fn tell_to_end(&self) {
        self.hand_over.cancel();
    }

    /// Whether it is a source that has ended, by itself or told to.
    pub(crate) async fn source_ended(&mut self) {
        if let Some(Running::Source { ended, .. }) = &mut self.running
            && !ended.is_terminated()
        {
            // The thread is gone either way.
            let _ = ended.await;
        }
    }

    /// Waits for the task to end; its outputs lead nowhere afterwards, so that what comes behind it ends too.
    pub(crate) async fn ended(&mut self) -> Waiting {
        self.source_ended().await;
        let waiting = match &mut self.running {
            Some(Running::Task(task)) => task.await.unwrap_or_else(|why| {
                tracing::error!(%why, "a task of the engine died; its batches are sent again");
                Waiting::default()
            }),
            _ => Waiting::default(),
        };
        for node in &self.nodes {
            for port in node.ports.all() {
                port.lead_to(Vec::new());
            }
        }
        if !matches!(self.running, Some(Running::Source { .. })) {
            self.running = None;
        }
        waiting
    }

    /// A source's last word: waits until its answers are in, and stores where it stands. Says whether all were in.
    pub(crate) async fn settle(&mut self, patience: std::time::Duration) -> bool {
        let Some(Running::Source {
            tracker,
            keeper,
            keeper_end,
            beside,
            ..
        }) = &mut self.running
        else {
            return true;
        };
        let tracker = Arc::clone(&tracker.lock());
        let deadline = tokio::time::Instant::now() + patience;
        let settled = tokio::time::timeout_at(deadline, tracker.settled()).await == Ok(true);
        if tokio::time::timeout_at(deadline, beside.done())
            .await
            .is_err()
        {
            tracing::warn!(
                "a source could not tell its peer about every answer; what it did not tell comes again, under the same ids"
            );
        }
        keeper_end.cancel();
        if let Err(why) = keeper.await {
            tracing::error!(%why, "the task that stores positions died");
        }
        self.running = None;
        settled
    }
}

/// Whether there is a queue in front of the sink, or one of an earlier configuration that is not empty.
fn has_queue(node: &Node, shared: &Shared) -> bool {
    node.engine().buffer.kind == BufferKind::Disk
        || queue::holds_something(&queue::folder(&shared.data_dir).join(&node.id))
}

fn queued_sink(
    node: &Arc<Node>,
    lane: LaneReceiver,
    left: Vec<Batch>,
    shared: &Shared,
    (hand_over, abort): (CancellationToken, CancellationToken),
) -> QueuedSink {
    let buffer = &node.engine().buffer;
    let parts = SinkParts::new(node, shared, hand_over.clone());
    QueuedSink {
        id: node.id.clone(),
        folder: queue::folder(&shared.data_dir).join(&node.id),
        max_size: (buffer.kind == BufferKind::Disk).then(|| buffer.max_size.get()),
        clock: node.clock.clone(),
        lane: Some(lane),
        left,
        metrics: Arc::clone(&node.metrics),
        health: shared.queue_health(node),
        sink_health: shared.health(node),
        make: Box::new(move |lane, left, abort| parts.task(lane, left, abort)),
        hand_over,
        abort,
    }
}

/// What a sink's task is made of, besides its lane.
struct SinkParts {
    node: Arc<Node>,
    dead_letters: Arc<DeadLetters>,
    telemetry: Arc<Telemetry>,
    health: SinkHealth,
    hand_over: CancellationToken,
}

impl SinkParts {
    fn new(node: &Arc<Node>, shared: &Shared, hand_over: CancellationToken) -> SinkParts {
        SinkParts {
            node: Arc::clone(node),
            dead_letters: Arc::clone(&shared.dead_letters),
            telemetry: Arc::clone(&shared.telemetry),
            health: shared.health(node),
            hand_over,
        }
    }

    fn task(&self, lane: LaneReceiver, left: Vec<Batch>, abort: CancellationToken) -> SinkTask {
        let node = &self.node;
        let engine = node.engine();
        let maker = Arc::clone(node);
        // It was made once when the configuration was read. Without it one worker keeps everything in order.
        let key = node.key().unwrap_or_else(|why| {
            tracing::error!(component_id = node.id, %why, "the sink does not know any more what belongs together; one worker writes all of it");
            None
        });
        SinkTask {
            id: node.id.clone(),
            type_name: node.type_name,
            lane,
            left,
            build: Arc::new(move || match maker.build()? {
                Component::Sink(sink) => Ok(sink),
                _ => Err(format!("{} is no sink", maker.id)),
            }),
            workers: workers(engine, key.is_some()),
            key,
            limits: Limits {
                max_events: engine.batch.max_events,
                max_bytes: engine.batch.max_size.as_usize(),
                timeout: engine.batch.timeout.get(),
            },
            pace: Pace {
                initial: engine.request.retry_initial_backoff.get(),
                max: engine.request.retry_max_backoff.get(),
            },
            healthcheck: engine.healthcheck,
            dead_letters: Arc::clone(&self.dead_letters),
            telemetry: Arc::clone(&self.telemetry),
            health: self.health.clone(),
            hand_over: self.hand_over.clone(),
            abort,
        }
    }
}

fn start_source(
    node: &Arc<Node>,
    fused: &[Arc<Node>],
    shared: &Shared,
    stop: &CancellationToken,
    abort: &CancellationToken,
) -> Result<Running, String> {
    let file = Arc::new(PositionFile::new(&shared.data_dir, &node.id));
    let (stored, trouble) = file.read();
    if let Some(trouble) = trouble {
        node.metrics.checksum_errors.add(1);
        tracing::error!(component_id = node.id, "{trouble}");
    }
    let tracker = Arc::new(Mutex::new(Tracker::new(stored)));
    let keeper_end = CancellationToken::new();
    let keeper = Keeper {
        node: Arc::clone(node),
        file,
        tracker: Arc::clone(&tracker),
    };
    let keeper = tokio::spawn(keeper.run(keeper_end.clone()));
    let starts = Arc::clone(
        shared
            .starts
            .lock()
            .entry(node.id.clone())
            .or_insert_with(|| Arc::new(AtomicU32::new(0))),
    );
    let beside = Beside::here();
    let task = SourceTask {
        beside: Arc::clone(&beside),
        node: Arc::clone(node),
        fused: fused.to_vec(),
        redactor: Arc::clone(&shared.redactor),
        starts,
        tracker: Arc::clone(&tracker),
        stop: stop.clone(),
        abort: abort.clone(),
        // It tells why the others wait.
        hold: (node.type_name != "internal").then(|| Arc::clone(&shared.hold)),
    };
    let ended = task
        .spawn()
        .map_err(|why| format!("cannot start a thread for the source {}: {why}", node.id))?;
    Ok(Running::Source {
        ended,
        tracker,
        keeper,
        keeper_end,
        beside,
    })
}
