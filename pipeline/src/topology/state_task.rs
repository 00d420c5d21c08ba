//! Runs a transform that remembers: feeds its wrapper, sends on what comes out, and does the wrapper's blocking steps
//! elsewhere.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::node::{Node, panic_text};
use crate::ack::Verdict;
use crate::batch::Batch;
use crate::component::{Component, Reason, ReasonKind};
use crate::lane::LaneReceiver;
use crate::outputs::Outputs;
use crate::state::{Done, Setup, Wrapper};
use crate::telemetry::Stage;

/// A transform that remembers, about to run.
pub(crate) struct StateTask {
    node: Arc<Node>,
    lane: LaneReceiver,
    hand_over: CancellationToken,
    abort: CancellationToken,
    wrapper: Wrapper,
    out: Outputs,
    step: Option<JoinHandle<Done>>,
}

/// After so long without an event what is held is saved early, so that positions do not lag on a quiet cluster.
const QUIET: Duration = Duration::from_millis(500);
/// Longest time between two looks at the clock.
const TICK: Duration = Duration::from_secs(1);

impl StateTask {
    pub(crate) fn new(
        node: Arc<Node>,
        lane: LaneReceiver,
        hand_over: CancellationToken,
        abort: CancellationToken,
        data_dir: &Path,
    ) -> Result<StateTask, String> {
        let maker = Arc::clone(&node);
        let setup = Setup {
            id: node.id.clone(),
            type_name: node.type_name,
            folder: data_dir.join("state"),
            sources: node.sources(),
            inputs: node.inputs(),
            outputs: node.ports.named.len(),
            interval: crate::state::INTERVAL,
            build: Box::new(move || match maker.build()? {
                Component::Stateful(stateful) => Ok(stateful),
                _ => Err(format!("{} is no transform that remembers", maker.id)),
            }),
        };
        let mut out = Outputs::new(node.type_name, false);
        out.set_now(node.clock.now());
        let (wrapper, trouble) = Wrapper::open(setup, node.clock.now(), &mut out)
            .map_err(|trouble| trouble.to_string())?;
        if let Some(trouble) = trouble {
            tracing::error!(component_id = node.id, "{trouble}");
        }
        Ok(StateTask {
            node,
            lane,
            hand_over,
            abort,
            wrapper,
            out,
            step: None,
        })
    }

    /// Works until the lane ends or has to be handed over, then saves, and gives the lane back.
    pub(crate) async fn run(mut self) -> LaneReceiver {
        let abort = self.abort.clone();
        tokio::select! {
            () = self.work() => {}
            () = abort.cancelled() => {}
        }
        self.lane
    }

    async fn work(&mut self) {
        let wake = self.wrapper.wake();
        let mut taking = true;
        let mut fed = tokio::time::Instant::now();
        loop {
            self.out.set_now(self.node.clock.now());
            self.out.set_want_errors(self.node.ports.errors.is_taken());
            self.hand_out().await;
            if self.step.is_none()
                && let Some(step) = self.wrapper.next_step(self.node.clock.now())
            {
                self.step = Some(tokio::task::spawn_blocking(move || step.run()));
            }
            if !taking && self.step.is_none() && self.wrapper.is_settled() {
                return;
            }
            if fed.elapsed() > QUIET {
                self.wrapper.hurry();
            }
            let wait = self
                .wrapper
                .next_due()
                .map_or(TICK, |due| due.since(self.node.clock.now()).min(TICK));
            tokio::select! {
                biased;
                done = finished(&mut self.step) => self.done(done),
                () = self.hand_over.cancelled(), if taking => {
                    taking = false;
                    self.wrapper.stop();
                }
                () = wake.notified() => self.wrapper.tick(&mut self.out),
                batch = self.lane.recv(), if taking => match batch {
                    Some(batch) => {
                        if !batch.events.is_empty() {
                            fed = tokio::time::Instant::now();
                        }
                        self.feed(batch);
                    }
                    None => {
                        taking = false;
                        self.wrapper.stop();
                    }
                },
                () = tokio::time::sleep(wait) => self.wrapper.tick(&mut self.out),
            }
        }
    }

    fn feed(&mut self, batch: Batch) {
        let metrics = &self.node.metrics;
        metrics.received_events.add(batch.events.len() as u64);
        metrics.received_event_bytes.add(batch.bytes as u64);
        let input = usize::from(batch.input);
        let events = batch.events.len() as u64;
        self.out.set_now(self.node.clock.now());
        let fed = catch_unwind(AssertUnwindSafe(|| {
            self.wrapper.feed(input, batch, &mut self.out)
        }));
        if let Err(panic) = fed {
            let why = panic_text(&*panic);
            self.node.metrics.failed_events.add(events);
            self.node.panicked(&why);
            let times = self.wrapper.panicked(&mut self.out);
            tracing::warn!(
                component_id = self.node.id,
                times,
                "back to the saved state; the event is fed again, and left out after the third time"
            );
        }
        for batch in self.wrapper.take_poisoned() {
            self.bury(batch);
        }
    }

    /// Makes events durable on which the transform panics again and again.
    fn bury(&self, batch: Batch) {
        let reason = Reason::new(
            ReasonKind::Panic,
            "the transform panicked on it three times",
        );
        let node = &self.node;
        // Rare enough to hold up this task for one fsync.
        match node
            .dead_letters
            .append(&node.id, node.type_name, &reason, 3, &batch.events)
        {
            Ok(()) => {
                node.metrics
                    .dead_lettered
                    .add([ReasonKind::Panic.name()], batch.events.len() as u64);
                batch.end(Verdict::Delivered);
            }
            Err(why) => {
                tracing::error!(component_id = node.id, %why, "cannot write the dead letters; the event is read again")
            }
        }
    }

    fn done(&mut self, done: Result<Done, tokio::task::JoinError>) {
        self.step = None;
        match done {
            Ok(done) => self.wrapper.done(done, &mut self.out),
            Err(why) => {
                self.node
                    .metrics
                    .error("snapshot_failed", Stage::Processing, 1);
                tracing::error!(component_id = self.node.id, %why, "saving the state panicked");
                self.wrapper.panicked(&mut self.out);
            }
        }
    }

    /// Counts and sends on what the wrapper lets go.
    async fn hand_out(&mut self) {
        let node = Arc::clone(&self.node);
        let counts = self.wrapper.take_counts();
        let metrics = &node.metrics;
        self.out.count(metrics);
        metrics.state_keys.set(self.wrapper.remembered() as f64);
        metrics.filtered.add(counts.replayed);
        metrics.checkpoints.add(counts.snapshots);
        metrics.checksum_errors.add(counts.useless);
        metrics.failed_events.add(counts.rejected);
        if counts.failed_snapshots > 0 {
            metrics.error(
                "snapshot_failed",
                Stage::Processing,
                counts.failed_snapshots,
            );
        }
        if counts.snapshots > 0 {
            metrics
                .state_bytes
                .set(counts.snapshot_bytes as f64 / counts.snapshots as f64);
        }
        let errors = std::mem::take(&mut self.out.errors);
        if errors > 0 {
            metrics.errors.add([self.out.tag(), "processing"], errors);
        }
        for (n, batch) in std::mem::take(&mut self.out.named) {
            if let Some(port) = node.ports.named.get(n) {
                port.send(batch).await;
            }
        }
        if let Some(copies) = self.out.aside_errors.take() {
            node.ports.errors.send(copies).await;
        }
        for batch in std::mem::take(&mut self.out.main) {
            node.ports.main.send(batch).await;
        }
    }
}

/// The end of the step that runs, if one runs; otherwise never.
async fn finished(step: &mut Option<JoinHandle<Done>>) -> Result<Done, tokio::task::JoinError> {
    match step {
        Some(step) => step.await,
        None => std::future::pending().await,
    }
}
