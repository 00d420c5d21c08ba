//! Makes writes of batches: as many events as a write may hold, or as many as came before it became quiet.
//!
//! Batches are put together whole; no event is copied, and none is looked at unless its batch alone is larger than a
//! write may be. Whoever asks for the next write is a free worker, so nothing is put together while all are busy: it
//! waits in the lane, whose bound is felt by the source.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::ack::Verdict;
use crate::batch::Batch;
use crate::lane::LaneReceiver;
use crate::telemetry::ComponentMetrics;

/// When a write is full.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most events of one write.
    pub max_events: usize,
    /// Most bytes of one write, as the events are held in memory [bytes].
    pub max_bytes: usize,
    /// Longest wait of the first event of a write.
    pub timeout: Duration,
}

/// After this part of the timeout without a new batch a write goes out early: on a quiet lane nobody waits for company
/// that does not come.
const QUIET_PART: u32 = 20;
/// A gap between two batches shorter than this is not quiet: it is a source that is still reading.
const LEAST_QUIET: Duration = Duration::from_millis(10);

/// Puts together what one lane brings.
pub(crate) struct Batcher {
    lane: LaneReceiver,
    limits: Limits,
    quiet: Duration,
    /// The write in the making; holds at least one event unless it is empty.
    pending: Vec<Batch>,
    events: usize,
    bytes: usize,
    /// When its first event came, and its last.
    first: Instant,
    last: Instant,
    /// What comes before the lane: what a predecessor left over, what did not fit, parts of what was too large.
    held: VecDeque<Batch>,
}

impl Batcher {
    /// `left` is what a predecessor has not written; it comes first.
    pub(crate) fn new(lane: LaneReceiver, limits: Limits, left: Vec<Batch>) -> Batcher {
        let limits = Limits {
            max_events: limits.max_events.max(1),
            max_bytes: limits.max_bytes.max(1),
            ..limits
        };
        let quiet = (limits.timeout / QUIET_PART).max(LEAST_QUIET);
        let now = Instant::now();
        Batcher {
            lane,
            limits,
            quiet,
            pending: Vec::new(),
            events: 0,
            bytes: 0,
            first: now,
            last: now,
            held: left.into(),
        }
    }

    /// The next write, or `None` when the lane has ended and everything was handed out. Dropping the future loses nothing.
    pub(crate) async fn next(&mut self, metrics: &ComponentMetrics) -> Option<Vec<Batch>> {
        loop {
            while let Some(batch) = self
                .held
                .pop_front()
                .or_else(|| received(self.lane.try_recv(), metrics))
            {
                if let Some(write) = self.take_in(batch) {
                    return Some(write);
                }
            }
            let batch = if self.pending.is_empty() {
                received(self.lane.recv().await, metrics)
            } else {
                let due = (self.first + self.limits.timeout).min(self.last + self.quiet);
                tokio::select! {
                    biased;
                    batch = self.lane.recv() => received(batch, metrics),
                    () = sleep_until(due) => return Some(self.flush()),
                }
            };
            match batch {
                Some(batch) => {
                    if let Some(write) = self.take_in(batch) {
                        return Some(write);
                    }
                }
                None => return (!self.pending.is_empty()).then(|| self.flush()),
            }
        }
    }

    /// The lane, and what was taken out of it but not handed out, in order.
    pub(crate) fn end(self) -> (LaneReceiver, Vec<Batch>) {
        let mut left = self.pending;
        left.extend(self.held);
        (self.lane, left)
    }

    /// Adds a batch; says what to write when that made a write full.
    fn take_in(&mut self, batch: Batch) -> Option<Vec<Batch>> {
        let len = batch.events.len();
        if len == 0 {
            // It only carries its mark, which ends here. Behind events that wait, it waits with them.
            if self.pending.is_empty() {
                batch.end(Verdict::Delivered);
            } else {
                self.pending.push(batch);
            }
            return None;
        }
        if self.events + len > self.limits.max_events
            || self.bytes + batch.bytes > self.limits.max_bytes
        {
            if self.events > 0 {
                self.held.push_front(batch);
                return Some(self.flush());
            }
            if len > 1 {
                self.split(batch);
                return None;
            }
        }
        self.last = Instant::now();
        if self.events == 0 {
            self.first = self.last;
        }
        self.events += len;
        self.bytes += batch.bytes;
        self.pending.push(batch);
        (self.events >= self.limits.max_events || self.bytes >= self.limits.max_bytes)
            .then(|| self.flush())
    }

    fn flush(&mut self) -> Vec<Batch> {
        (self.events, self.bytes) = (0, 0);
        std::mem::take(&mut self.pending)
    }

    /// Cuts a batch that is larger than a write into parts that are not, each owing an answer of its own.
    #[cold]
    fn split(&mut self, batch: Batch) {
        let Batch {
            events,
            mark,
            ack,
            bytes,
            home,
            input,
        } = batch;
        let len = events.len();
        // What the source said is shared out by the size of the events, so that the parts add up to it.
        let sizes: Option<Vec<usize>> = (bytes > self.limits.max_bytes)
            .then(|| events.iter().map(crate::Event::size).collect());
        let all = sizes
            .as_ref()
            .map_or(len, |sizes| sizes.iter().sum())
            .max(1) as u128;
        let share = |n: usize| {
            (bytes as u128 * sizes.as_ref().map_or(1, |sizes| sizes[n]) as u128 / all) as usize
        };
        let mut parts: Vec<Batch> = Vec::new();
        for (n, event) in events.into_iter().enumerate() {
            let share = share(n);
            match parts.last_mut() {
                Some(part)
                    if part.events.len() < self.limits.max_events
                        && (sizes.is_none() || part.bytes + share <= self.limits.max_bytes) =>
                {
                    part.events.push(event);
                    part.bytes += share;
                }
                _ => {
                    let mut events = Vec::with_capacity(self.limits.max_events.min(len - n));
                    events.push(event);
                    parts.push(Batch {
                        events,
                        mark: mark.clone(),
                        ack: ack.clone(),
                        bytes: share,
                        home: home.clone(),
                        input,
                    });
                }
            }
        }
        ack.delivered();
        for part in parts.into_iter().rev() {
            self.held.push_front(part);
        }
    }
}

fn received(batch: Option<Batch>, metrics: &ComponentMetrics) -> Option<Batch> {
    if let Some(batch) = &batch {
        metrics.received_events.add(batch.events.len() as u64);
        metrics.received_event_bytes.add(batch.bytes as u64);
    }
    batch
}
