//! A sink with its queue: one task for whoever wires the graph.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::answers::Answers;
use super::files::Size;
use super::keeper::Keeper;
use super::open::{OpenError, Opened, open};
use super::reader::Reader;
use super::trouble::{Part, Trouble};
use super::writer::{Ended, Writer};
use crate::batch::Batch;
use crate::clock::Clock;
use crate::lane::{LaneReceiver, LaneSender, lane};
use crate::telemetry::ComponentMetrics;
use crate::topology::{HealthState, SinkHealth, SinkTask};

/// Read ahead of the sink [bytes].
const AHEAD: usize = 4 << 20;
/// A queue that cannot be opened is tried again after this long.
const AGAIN: Duration = Duration::from_secs(2);
/// While everything ends, the sink is looked after this often.
const LOOKS: Duration = Duration::from_millis(100);

/// Makes the task of the sink behind a lane; the second is given up when its token is cancelled.
pub(crate) type MakeSink =
    Box<dyn Fn(LaneReceiver, Vec<Batch>, CancellationToken) -> SinkTask + Send + Sync>;

/// A sink with its queue.
pub(crate) struct QueuedSink {
    pub(crate) id: String,
    pub(crate) folder: PathBuf,
    /// How large the queue may be; `None`: the sink has none any more, and what an earlier one holds is delivered first.
    pub(crate) max_size: Option<u64>,
    pub(crate) clock: Clock,
    pub(crate) lane: Option<LaneReceiver>,
    /// What a predecessor left; it comes before the lane.
    pub(crate) left: Vec<Batch>,
    pub(crate) metrics: Arc<ComponentMetrics>,
    /// The health of the queue, which owes the sources their answers, and of the sink behind it.
    pub(crate) health: SinkHealth,
    pub(crate) sink_health: SinkHealth,
    pub(crate) make: MakeSink,
    pub(crate) hand_over: CancellationToken,
    pub(crate) abort: CancellationToken,
}

/// How it ended.
#[derive(Default)]
pub(crate) struct QueueEnd {
    /// The lane, for a successor.
    pub(crate) lane: Option<LaneReceiver>,
    /// What was taken out of it, for a successor.
    pub(crate) left: Vec<Batch>,
    /// Events that stay in the queue.
    pub(crate) stay: u64,
}

impl QueuedSink {
    /// Runs until the lane has ended, or as told.
    pub(crate) async fn run(mut self) -> QueueEnd {
        let trouble = Arc::new(Trouble::new(self.health.clone(), Arc::clone(&self.metrics)));
        let Some(opened) = self.open(&trouble).await else {
            return QueueEnd {
                lane: self.lane,
                left: self.left,
                stay: 0,
            };
        };
        if self.max_size.is_some() {
            let lane = self.lane.take();
            let left = std::mem::take(&mut self.left);
            return self
                .work(opened, lane.map(|lane| (lane, left)), trouble)
                .await;
        }
        let end = self.work(opened, None, trouble).await;
        if end.stay > 0 || self.hand_over.is_cancelled() || self.abort.is_cancelled() {
            return QueueEnd {
                lane: self.lane,
                left: self.left,
                stay: end.stay,
            };
        }
        tracing::info!(
            component_id = self.id,
            folder = %self.folder.display(),
            "the disk queue of an earlier configuration is empty now; the sink goes on without it"
        );
        if let Err(why) = super::remove_empty(&self.folder) {
            tracing::warn!(component_id = self.id, %why, folder = %self.folder.display(), "the folder of the disk queue stays");
        }
        let Some(lane) = self.lane else {
            return end;
        };
        let end = (self.make)(lane, self.left, self.abort.clone()).run().await;
        QueueEnd {
            lane: end.lane,
            left: end.left,
            stay: 0,
        }
    }

    /// Opens the queue, however long that takes; `None`: told to end.
    async fn open(&self, trouble: &Trouble) -> Option<Opened> {
        loop {
            let (folder, clock) = (self.folder.clone(), self.clock.clone());
            let size = Size::new(self.max_size.unwrap_or(u64::MAX));
            let opened = tokio::task::spawn_blocking(move || open(&folder, size, clock));
            match opened.await {
                Ok(Ok(opened)) => {
                    trouble.well(Part::Open);
                    return Some(opened);
                }
                Ok(Err(why)) => {
                    let code = match &why {
                        OpenError::InUse { .. } => "in_use",
                        OpenError::Version { .. } => "version",
                        OpenError::Io { source, .. } => super::trouble::code(source),
                    };
                    trouble.fails(Part::Open, code, &why);
                }
                Err(why) => trouble.fails(Part::Open, "io", &why),
            }
            tokio::select! {
                () = self.hand_over.cancelled() => return None,
                () = self.abort.cancelled() => return None,
                () = tokio::time::sleep(AGAIN) => {}
            }
        }
    }

    /// Fills the queue from the lane, if there is one, and empties it into the sink.
    async fn work(
        &self,
        opened: Opened,
        lane_in: Option<(LaneReceiver, Vec<Batch>)>,
        trouble: Arc<Trouble>,
    ) -> QueueEnd {
        let Opened {
            files,
            place,
            notes,
        } = opened;
        let files = Arc::new(files);
        let waiting = files.waiting(place).0;
        for note in notes {
            self.metrics.buffer_errors.add([note.code], 1);
            self.metrics.buffer_discarded.add(note.lost);
            tracing::error!(component_id = self.id, "the disk queue: {}", note.text);
        }
        if waiting > 0 {
            tracing::info!(
                component_id = self.id,
                "{waiting} events wait in the disk queue from the last time"
            );
        }
        let answers = Answers::new(place);
        let (to_sink, from_queue): (LaneSender, LaneReceiver) = lane(AHEAD);
        let (stop_sink, stop) = (self.abort.child_token(), CancellationToken::new());
        let keeper = tokio::spawn(
            Keeper {
                id: self.id.clone(),
                files: Arc::clone(&files),
                answers: Arc::clone(&answers),
                ahead: Arc::clone(to_sink.gauge()),
                metrics: Arc::clone(&self.metrics),
                trouble: Arc::clone(&trouble),
                stop: stop.clone(),
            }
            .run(),
        );
        // It ends when the sink does.
        let stop_reader = CancellationToken::new();
        let reader = loop {
            let reader = Reader {
                id: self.id.clone(),
                files: Arc::clone(&files),
                answers: Arc::clone(&answers),
                lane: to_sink.clone(),
                metrics: Arc::clone(&self.metrics),
                trouble: Arc::clone(&trouble),
                stop: stop_reader.clone(),
            };
            match reader.spawn() {
                Ok(reader) => break reader,
                Err(why) => trouble.fails(Part::Read, "io", &why),
            }
            tokio::time::sleep(AGAIN).await;
        };
        // The sink ends when the reader does.
        drop(to_sink);
        let mut sink = tokio::spawn((self.make)(from_queue, Vec::new(), stop_sink.clone()).run());
        let mut end = QueueEnd::default();
        if let Some((lane, left)) = lane_in {
            let writer = Writer {
                id: self.id.clone(),
                lane,
                left,
                files: Arc::clone(&files),
                metrics: Arc::clone(&self.metrics),
                trouble,
                hand_over: self.hand_over.clone(),
                abort: self.abort.clone(),
            };
            match writer.run().await {
                Ended::HandedOver(lane) => end.lane = Some(lane),
                Ended::Lane => {}
                Ended::Aborted => {}
            }
        }
        files.end();
        // What is in the queue is safe: it is delivered while that goes well, and otherwise stays for the next start.
        let sink_end = loop {
            tokio::select! {
                ended = &mut sink => break ended,
                () = tokio::time::sleep(LOOKS) => {
                    if self.max_size.is_some() && matches!(self.sink_health.state(), HealthState::Failing { .. }) {
                        stop_sink.cancel();
                    }
                }
            }
        };
        stop_reader.cancel();
        match sink_end {
            // What it could not get rid of is still in the queue.
            Ok(ended) => drop(ended),
            Err(why) => {
                tracing::error!(component_id = self.id, %why, "the sink's task died; its events stay in the disk queue");
            }
        }
        // It is gone either way.
        let _ = reader.await;
        stop.cancel();
        if let Err(why) = keeper.await {
            tracing::error!(component_id = self.id, %why, "a task of the disk queue died");
        }
        end.stay = files.waiting(answers.reached()).0;
        if end.stay > 0 && !self.hand_over.is_cancelled() {
            tracing::warn!(
                component_id = self.id,
                folder = %self.folder.display(),
                "{} events stay in the disk queue; they are delivered when a sink of this name runs again",
                end.stay
            );
        }
        end
    }
}
