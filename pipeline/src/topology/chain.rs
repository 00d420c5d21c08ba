//! Stateless transforms that run one after the other in one task, and the output behind the last of them.
//!
//! A panic stays inside: the batch fails, so its source reads it again; a component that panicked twice is fed one event
//! at a time, and the event on which it panics then becomes a dead letter with the panic as its reason.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::group::Group;
use super::node::{Node, panic_text};
use crate::ack::Ack;
use crate::batch::Batch;
use crate::component::{Component, Reason, ReasonKind, Transform};
use crate::outputs::Outputs;

/// The outputs of `from`, and the transforms fused behind it.
pub(crate) struct Chain {
    from: Arc<Node>,
    stages: Vec<Stage>,
}

struct Stage {
    node: Arc<Node>,
    transform: Box<dyn Transform>,
    out: Outputs,
}

impl Chain {
    /// A chain that begins behind `from` and runs through `transforms`.
    pub(crate) fn behind(from: Arc<Node>, transforms: &[Arc<Node>]) -> Result<Chain, String> {
        Ok(Chain {
            from,
            stages: transforms
                .iter()
                .map(Stage::new)
                .collect::<Result<_, _>>()?,
        })
    }

    /// A chain that begins with the first of `transforms`.
    pub(crate) fn of(transforms: &[Arc<Node>]) -> Result<Chain, String> {
        let first = transforms.first().ok_or("a chain needs a component")?;
        Chain::behind(Arc::clone(first), transforms)
    }

    /// Sends the batch through the transforms and on to whoever takes their outputs, waiting for room. False when a
    /// transform panicked on it, so that it failed.
    pub(crate) async fn send(&mut self, batch: Batch) -> bool {
        let mut batches = vec![batch];
        for n in 0..self.stages.len() {
            for batch in std::mem::take(&mut batches) {
                if n > 0 || !Arc::ptr_eq(&self.from, &self.stages[0].node) {
                    let from = if n == 0 {
                        &self.from
                    } else {
                        &self.stages[n - 1].node
                    };
                    from.ports.main.count(&batch);
                }
                let stage = &mut self.stages[n];
                if !stage.apply(batch) {
                    return false;
                }
                stage.send_aside().await;
                batches.append(&mut stage.out.main);
            }
        }
        let last = self.stages.last().map_or(&self.from, |stage| &stage.node);
        for batch in batches {
            last.ports.main.send(batch).await;
        }
        true
    }

    /// What the last transform lets through, without sending it on: for workers whose batches are put in order first.
    /// `None` when a transform panicked.
    pub(crate) async fn run(&mut self, batch: Batch) -> Option<Vec<Batch>> {
        let mut batches = vec![batch];
        for stage in &mut self.stages {
            for batch in std::mem::take(&mut batches) {
                if !stage.apply(batch) {
                    return None;
                }
                stage.send_aside().await;
                batches.append(&mut stage.out.main);
            }
        }
        Some(batches)
    }
}

impl Stage {
    fn new(node: &Arc<Node>) -> Result<Stage, String> {
        Ok(Stage {
            node: Arc::clone(node),
            transform: build(node)?,
            out: Outputs::new(node.type_name, false),
        })
    }

    /// Runs the transform; what it lets through is in `out` afterwards. False when it panicked.
    fn apply(&mut self, batch: Batch) -> bool {
        self.out.set_now(self.node.clock.now());
        let want_errors = self.node.ports.errors.is_taken();
        self.out.set_want_errors(want_errors);
        self.node
            .metrics
            .received_events
            .add(batch.events.len() as u64);
        self.node
            .metrics
            .received_event_bytes
            .add(batch.bytes as u64);
        if self.node.is_careful() && !batch.events.is_empty() {
            return self.apply_one_by_one(batch);
        }
        let beside = want_errors.then(|| batch.beside(Vec::new()));
        let events = batch.events.len() as u64;
        match catch_unwind(AssertUnwindSafe(|| {
            self.transform.apply(batch, &mut self.out)
        })) {
            Ok(()) => {
                self.node.went_well();
                self.settle(beside);
                true
            }
            Err(panic) => {
                // The copy for `.errors` is dropped unanswered, like everything else of this batch.
                self.node.metrics.failed_events.add(events);
                self.recover(&panic_text(&*panic));
                false
            }
        }
    }

    /// Counts what the transform said, and readies the copies for `.errors`.
    fn settle(&mut self, beside: Option<Batch>) {
        let out = &mut self.out;
        let metrics = &self.node.metrics;
        out.count(metrics);
        let errors = std::mem::take(&mut out.errors);
        if errors > 0 {
            metrics.errors.add([out.tag(), "processing"], errors);
        }
        let Some(beside) = beside else { return };
        let erred = std::mem::take(&mut out.erred);
        let copies = if erred.is_empty() {
            None
        } else {
            Some(beside.beside(erred))
        };
        beside.ack.delivered();
        out.aside_errors = copies;
    }

    /// Throws away what a panicking transform left behind and builds it anew.
    fn recover(&mut self, why: &str) {
        self.node.panicked(why);
        self.out = Outputs::new(self.node.type_name, false);
        match build(&self.node) {
            Ok(transform) => self.transform = transform,
            Err(why) => tracing::error!(
                component_id = self.node.id,
                why,
                "cannot build the component again; the panicked one goes on"
            ),
        }
    }

    /// Feeds one event at a time; one that panics becomes a dead letter. False when that could not be written.
    fn apply_one_by_one(&mut self, batch: Batch) -> bool {
        let Batch {
            events, mark, ack, ..
        } = batch;
        let (group, answers) = Group::new(ack, events.len());
        let mut through = Vec::new();
        let mut well = true;
        for ((n, event), answer) in events.into_iter().enumerate().zip(answers) {
            let copy = event.clone();
            let mut mark = mark.clone();
            // Only the last event may say that everything up to here was seen; the order makes that true.
            mark.seen_to = mark.seen_to.min(copy.timestamp());
            let single = Batch::new(vec![event], mark, answer);
            let beside = self
                .node
                .ports
                .errors
                .is_taken()
                .then(|| single.beside(Vec::new()));
            self.out.set_now(self.node.clock.now());
            match catch_unwind(AssertUnwindSafe(|| {
                self.transform.apply(single, &mut self.out)
            })) {
                Ok(()) => {
                    self.node.went_well();
                    self.settle(beside);
                    through.append(&mut self.out.main);
                }
                Err(panic) => {
                    drop(beside);
                    let why = panic_text(&*panic);
                    self.recover(&why);
                    let reason = Reason::new(ReasonKind::Panic, why);
                    match self.node.dead_letters.append(
                        &self.node.id,
                        self.node.type_name,
                        &reason,
                        3,
                        std::slice::from_ref(&copy),
                    ) {
                        Ok(()) => {
                            self.node
                                .metrics
                                .dead_lettered
                                .add([ReasonKind::Panic.name()], 1);
                            group.forgive(n);
                        }
                        Err(why) => {
                            well = false;
                            tracing::error!(component_id = self.node.id, %why, "cannot write the dead letters; the batch is sent again");
                        }
                    }
                }
            }
        }
        through.push(Batch::empty(mark, Ack::nobody()));
        if well {
            self.out.main = through;
        } else {
            // The whole batch is sent again, so nothing of it may go on now: whoever remembers places behind a gap would
            // take the event in it for known when it comes again.
            drop(through);
            self.out = Outputs::new(self.node.type_name, false);
        }
        group.seal();
        well
    }

    /// Sends what leaves by other outputs than the unnamed one.
    async fn send_aside(&mut self) {
        for (n, batch) in std::mem::take(&mut self.out.named) {
            match self.node.ports.named.get(n) {
                Some(port) => port.send(batch).await,
                None => tracing::error!(
                    component_id = self.node.id,
                    output = n,
                    "a batch was pushed to an output that does not exist"
                ),
            }
        }
        if let Some(copies) = self.out.aside_errors.take() {
            self.node.ports.errors.send(copies).await;
        }
    }
}

fn build(node: &Node) -> Result<Box<dyn Transform>, String> {
    match node.build()? {
        Component::Transform(transform) => Ok(transform),
        _ => Err(format!("{} is no stateless transform", node.id)),
    }
}
