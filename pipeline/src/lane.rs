//! The way from one task to the next, bounded in bytes.
//!
//! A lane that is full makes its sender wait; nothing is ever thrown away. Senders are served in the order they came.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::batch::Batch;

/// Bytes a lane holds before it makes its senders wait [bytes].
pub const LANE_BYTES: usize = 4 << 20;

/// A batch without events still takes this much [bytes].
const LEAST: usize = 256;

/// The sending end; cloning it lets another component feed the same lane.
#[derive(Clone)]
pub struct LaneSender {
    queue: mpsc::UnboundedSender<(Batch, OwnedSemaphorePermit)>,
    room: Arc<Semaphore>,
    most: usize,
    input: u16,
    shared: Arc<Gauge>,
}

/// The receiving end.
pub struct LaneReceiver {
    queue: mpsc::UnboundedReceiver<(Batch, OwnedSemaphorePermit)>,
    shared: Arc<Gauge>,
}

/// What is in a lane now.
#[derive(Debug, Default)]
pub struct Gauge {
    events: AtomicUsize,
    bytes: AtomicUsize,
}

impl Gauge {
    /// Events waiting.
    pub fn events(&self) -> usize {
        self.events.load(Ordering::Relaxed)
    }

    /// Bytes waiting, as estimated at the source.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }
}

/// A lane that holds at most `bytes`, or one batch if that is larger.
pub fn lane(bytes: usize) -> (LaneSender, LaneReceiver) {
    let (to, from) = mpsc::unbounded_channel();
    let shared = Arc::new(Gauge::default());
    let most = bytes.clamp(LEAST, u32::MAX as usize);
    let room = Arc::new(Semaphore::new(most));
    (
        LaneSender {
            queue: to,
            room,
            most,
            input: 0,
            shared: Arc::clone(&shared),
        },
        LaneReceiver {
            queue: from,
            shared,
        },
    )
}

impl LaneSender {
    /// Waits for room and hands the batch over. A lane whose receiver is gone fails the batch.
    pub async fn send(&self, mut batch: Batch) {
        batch.input = self.input;
        let wanted = u32::try_from(batch.weight().clamp(LEAST, self.most)).unwrap_or(u32::MAX);
        let Ok(permit) = Arc::clone(&self.room).acquire_many_owned(wanted).await else {
            return;
        };
        self.shared
            .events
            .fetch_add(batch.events.len(), Ordering::Relaxed);
        self.shared.bytes.fetch_add(batch.bytes, Ordering::Relaxed);
        // The receiver being gone drops the batch, and with it its answer: failed.
        let _ = self.queue.send((batch, permit));
    }

    /// The same lane for those who feed it as its component's input number `input`.
    pub(crate) fn as_input(&self, input: usize) -> LaneSender {
        LaneSender {
            input: u16::try_from(input).unwrap_or(u16::MAX),
            ..self.clone()
        }
    }

    /// What is in the lane now.
    pub fn gauge(&self) -> &Arc<Gauge> {
        &self.shared
    }

    /// Whether both lead to the same lane.
    pub fn same(&self, other: &LaneSender) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }
}

impl LaneReceiver {
    /// The next batch; `None` when every sender is gone and the lane is empty.
    pub async fn recv(&mut self) -> Option<Batch> {
        let (batch, _room) = self.queue.recv().await?;
        self.shared
            .events
            .fetch_sub(batch.events.len(), Ordering::Relaxed);
        self.shared.bytes.fetch_sub(batch.bytes, Ordering::Relaxed);
        Some(batch)
    }

    /// The next batch if one is waiting.
    pub fn try_recv(&mut self) -> Option<Batch> {
        let (batch, _room) = self.queue.try_recv().ok()?;
        self.shared
            .events
            .fetch_sub(batch.events.len(), Ordering::Relaxed);
        self.shared.bytes.fetch_sub(batch.bytes, Ordering::Relaxed);
        Some(batch)
    }

    /// What is in the lane now.
    pub fn gauge(&self) -> &Arc<Gauge> {
        &self.shared
    }
}
