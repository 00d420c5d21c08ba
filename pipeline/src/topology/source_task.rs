//! Runs a source on a thread of its own, starts it again where its answers end, and stores its positions.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::chain::Chain;
use super::guard::Hold;
use super::node::Node;
use crate::ack::Ack;
use crate::batch::Batch;
use crate::component::{Component, Source};
use crate::mark::{LaneId, Mark};
use crate::position::{PositionFile, Tracker};
use crate::redact::Redactor;
use crate::source_out::{Beside, SourceOut};
use crate::telemetry::{Health, Stage};
use crate::told::Told;

/// Lanes that a source has spoken of.
type Lanes = Arc<Mutex<BTreeSet<LaneId>>>;

/// A source about to run, with the transforms fused behind it.
pub(crate) struct SourceTask {
    pub(crate) node: Arc<Node>,
    pub(crate) fused: Vec<Arc<Node>>,
    pub(crate) redactor: Arc<Redactor>,
    pub(crate) starts: Arc<AtomicU32>,
    /// The tracker of the present start; the one who stores positions looks here.
    pub(crate) tracker: Arc<Mutex<Arc<Tracker>>>,
    pub(crate) stop: CancellationToken,
    pub(crate) abort: CancellationToken,
    pub(crate) hold: Option<Arc<Hold>>,
    pub(crate) beside: Arc<Beside>,
}

/// Waits between two starts of a source that fails, doubling from the first to the last.
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LAST_WAIT: Duration = Duration::from_secs(30);
/// A source that ran this long without trouble begins again with the shortest wait.
const GOOD_RUN: Duration = Duration::from_secs(60);
/// Positions are stored this often.
const STORE_EVERY: Duration = Duration::from_secs(1);

impl SourceTask {
    /// Starts the thread. What it gives is told when the source has ended for good.
    pub(crate) fn spawn(self) -> std::io::Result<oneshot::Receiver<()>> {
        let (tell, told) = oneshot::channel();
        let name = format!("source {}", self.node.id);
        std::thread::Builder::new().name(name).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            match runtime {
                Ok(runtime) => runtime.block_on(self.run()),
                Err(why) => {
                    self.node.metrics.health().set(Health::Failing(why.to_string()));
                    tracing::error!(component_id = self.node.id, %why, "cannot start the source's runtime; raise the limits on threads and open files");
                }
            }
            // Nobody listening means the program is gone already.
            let _ = tell.send(());
        })?;
        Ok(told)
    }

    async fn run(self) {
        let mut wait = FIRST_WAIT;
        // One event for each time it breaks, not for each attempt.
        let mut failed = false;
        let message = format!("source {} was opened", self.node.id);
        self.node.metrics.tell(Told::new("PVE-9011", message));
        let lanes = Lanes::default();
        while !self.stop.is_cancelled() {
            let began = std::time::Instant::now();
            let why = match self.run_once(&lanes).await {
                Ok(true) => break,
                Ok(false) => None,
                Err(why) => Some(why),
            };
            if self.stop.is_cancelled() {
                break;
            }
            if began.elapsed() > GOOD_RUN {
                wait = FIRST_WAIT;
                failed = false;
            }
            match why {
                Some(why) => {
                    self.node
                        .metrics
                        .error("source_failed", Stage::Receiving, 1);
                    self.node.metrics.health().set(Health::Failing(why.clone()));
                    if !std::mem::replace(&mut failed, true) {
                        let message = format!(
                            "source {} cannot be read; it starts again from its stored position",
                            self.node.id
                        );
                        self.node
                            .metrics
                            .tell(Told::new("PVE-9012", message).failed(why.as_str()));
                    }
                    tracing::error!(component_id = self.node.id, why, wait = ?wait, "the source failed; it starts again from its stored position");
                }
                None => {
                    self.node.metrics.failed_batches.add(1);
                    tracing::warn!(component_id = self.node.id, wait = ?wait, "a batch failed; the source reads it again from its stored position");
                }
            }
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.stop.cancelled() => break,
            }
            wait = (wait * 2).min(LAST_WAIT);
        }
        self.end_lanes(&lanes).await;
        self.node.metrics.health().set(Health::Finished);
    }

    /// Nobody waits for what a source that has read everything could still say: others may go on for long. One that was
    /// told to stop has more to say after a restart, so time may not pass it by.
    async fn end_lanes(&self, lanes: &Lanes) {
        let lanes = std::mem::take(&mut *lanes.lock());
        if lanes.is_empty() || self.stop.is_cancelled() || self.abort.is_cancelled() {
            return;
        }
        let mut chain = match Chain::behind(Arc::clone(&self.node), &self.fused) {
            Ok(chain) => chain,
            Err(why) => {
                tracing::warn!(
                    component_id = self.node.id,
                    why,
                    "the end of the source is not told; what waits for event time waits a while longer"
                );
                return;
            }
        };
        let seen_to = self.node.clock.now();
        let start = self.starts.load(Ordering::Relaxed);
        for lane in lanes {
            let mark = Mark {
                lane,
                start,
                seen_to,
                idle: true,
                over: true,
            };
            tokio::select! {
                biased;
                _ = chain.send(Batch::empty(mark, Ack::nobody())) => {}
                () = self.abort.cancelled() => return,
            }
        }
    }

    /// One start; true when the source has ended for good.
    async fn run_once(&self, lanes: &Lanes) -> Result<bool, String> {
        let mut source = self.build()?;
        let tracker = {
            let mut present = self.tracker.lock();
            *present = present.successor();
            Arc::clone(&present)
        };
        let out = SourceOut {
            source: self.node.id.as_str().into(),
            start: self.starts.fetch_add(1, Ordering::Relaxed) + 1,
            tracker: Arc::clone(&tracker),
            chain: Chain::behind(Arc::clone(&self.node), &self.fused)?,
            redactor: Arc::clone(&self.redactor),
            clock: self.node.clock.clone(),
            stop: self.stop.clone(),
            abort: self.abort.clone(),
            hold: self.hold.clone(),
            metrics: Arc::clone(&self.node.metrics),
            memory: Default::default(),
            hits: Vec::new(),
            type_name: self.node.type_name,
            dead_letters: Arc::clone(&self.node.dead_letters),
            beside: Arc::clone(&self.beside),
            lanes: Arc::clone(lanes),
        };
        self.node.metrics.health().set(Health::Healthy);
        let ran = std::panic::AssertUnwindSafe(source.run(out));
        let ended = futures::FutureExt::catch_unwind(ran).await;
        match ended {
            // A failure may still come; what was read to its end has to be read again then.
            Ok(Ok(())) => tokio::select! {
                well = tracker.settled() => Ok(well),
                () = self.stop.cancelled() => Ok(true),
            },
            Ok(Err(why)) => Err(why.0),
            Err(panic) => {
                let why = super::node::panic_text(&*panic);
                self.node.panicked(&why);
                Err(format!("it panicked: {why}"))
            }
        }
    }

    fn build(&self) -> Result<Box<dyn Source>, String> {
        match self.node.build()? {
            Component::Source(source) => Ok(source),
            _ => Err(format!("{} is no source", self.node.id)),
        }
    }
}

/// Stores the positions of one source once a second until told to end; then once more when all that is owed is answered.
pub(crate) struct Keeper {
    pub(crate) node: Arc<Node>,
    pub(crate) file: Arc<PositionFile>,
    pub(crate) tracker: Arc<Mutex<Arc<Tracker>>>,
}

impl Keeper {
    pub(crate) async fn run(self, end: CancellationToken) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(STORE_EVERY) => self.store().await,
                () = end.cancelled() => break,
            }
        }
        self.store().await;
    }

    async fn store(&self) {
        let tracker = Arc::clone(&self.tracker.lock());
        let Some(positions) = tracker.take_changes() else {
            return;
        };
        let file = Arc::clone(&self.file);
        let written = tokio::task::spawn_blocking(move || file.write(&positions)).await;
        match written {
            Ok(Ok(())) => self.node.metrics.checkpoints.add(1),
            Ok(Err(why)) => {
                tracker.put_back();
                self.node
                    .metrics
                    .error("position_not_stored", Stage::Receiving, 1);
                tracing::error!(component_id = self.node.id, %why, "positions cannot be stored; after a restart the events since the last one are sent again");
            }
            Err(why) => {
                tracker.put_back();
                tracing::error!(component_id = self.node.id, %why, "the task that stores positions died; it is tried again");
            }
        }
    }
}
