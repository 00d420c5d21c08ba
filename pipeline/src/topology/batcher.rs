//! Makes writes of batches: as many events as a write may hold, or as many as came before it became quiet.
//!
//! Batches are put together whole; no event is copied, and none is looked at unless its batch alone is larger than a
//! write may be. Whoever asks for the next write is a free worker, so nothing is put together while all are busy: it
//! waits in the lane, whose bound is felt by the source.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::ack::Verdict;
use crate::batch::Batch;
use crate::event::Event;
use crate::lane::{Gauge, LaneReceiver};
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
            mut events,
            mark,
            ack,
            bytes,
            home,
            input,
        } = batch;
        for (at, bytes) in self.cuts(&events, bytes).into_iter().rev() {
            // The first part keeps the memory; only the list of the others is moved, not what it refers to.
            let events = if at == 0 {
                std::mem::take(&mut events)
            } else {
                events.split_off(at)
            };
            let (mark, ack, home) = (mark.clone(), ack.clone(), home.clone());
            self.held.push_front(Batch {
                events,
                mark,
                ack,
                bytes,
                home,
                input,
            });
        }
        ack.delivered();
    }

    /// Where each part begins, from 0, and its bytes.
    fn cuts(&self, events: &[Event], bytes: usize) -> Vec<(usize, usize)> {
        let Limits {
            max_events,
            max_bytes,
            ..
        } = self.limits;
        if bytes <= max_bytes {
            let starts = (0..events.len()).step_by(max_events);
            return starts
                .map(|at| (at, bytes / events.len() * max_events.min(events.len() - at)))
                .collect();
        }
        // What the source said is shared out by the size of the events.
        let sizes: Vec<usize> = events.iter().map(Event::size).collect();
        let all = sizes.iter().sum::<usize>().max(1) as u128;
        let mut cuts: Vec<(usize, usize)> = Vec::new();
        for (n, size) in sizes.into_iter().enumerate() {
            let share = (bytes as u128 * size as u128 / all) as usize;
            match cuts.last_mut() {
                Some((at, bytes)) if n - *at < max_events && *bytes + share <= max_bytes => {
                    *bytes += share
                }
                _ => cuts.push((n, share)),
            }
        }
        cuts
    }

    /// What waits in the lane.
    pub(crate) fn gauge(&self) -> &Arc<Gauge> {
        self.lane.gauge()
    }
}

fn received(batch: Option<Batch>, metrics: &ComponentMetrics) -> Option<Batch> {
    if let Some(batch) = &batch {
        metrics.received_events.add(batch.events.len() as u64);
        metrics.received_event_bytes.add(batch.bytes as u64);
    }
    batch
}
