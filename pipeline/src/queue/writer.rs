//! The way in: takes batches out of the lane, makes records of them, and answers once they are durable.
//!
//! While one write is on its way to the disk the next is put together, so the disk does not wait for this program nor
//! this program for the disk.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::files::{Files, Unwritten};
use super::format::{RECORD_HEAD, RecordHead};
use super::trouble::{Part, Trouble, code};
use crate::ack::{Ack, Verdict};
use crate::batch::Batch;
use crate::event::pack::Packer;
use crate::lane::LaneReceiver;
use crate::telemetry::ComponentMetrics;
use crate::topology::{Backoff, Pace};

/// A write goes to the disk when it is this large … [bytes]
pub(super) const COMMIT: usize = 1 << 20;
/// … or when its first event has waited this long.
pub(super) const WAIT: Duration = Duration::from_millis(50);
/// A record is closed once it is this large; it is what is read, delivered and answered together [bytes].
const RECORD: usize = 256 << 10;

/// What fails is tried again after a while.
const PACE: Pace = Pace {
    initial: Duration::from_millis(200),
    max: Duration::from_secs(5),
};

/// Events on their way to the disk, and the answers owed for them.
#[derive(Default)]
struct Write {
    records: Vec<u8>,
    events: u64,
    acks: Vec<Ack>,
}

/// Puts records together.
pub(super) struct Framer {
    packer: Packer,
    salt: u64,
    /// Number of the next event that is framed.
    next: u64,
}

impl Framer {
    pub(super) fn new(salt: u64, next: u64) -> Framer {
        Framer {
            packer: Packer::default(),
            salt,
            next,
        }
    }

    /// Adds a batch; records that became full are appended to `out`.
    pub(super) fn push(&mut self, batch: &Batch, out: &mut Vec<u8>) {
        let Some(share) = batch.bytes.checked_div(batch.events.len()) else {
            return;
        };
        let (mut noted, seen_to) = (0, batch.mark.seen_to);
        for (n, event) in batch.events.iter().enumerate() {
            if self.packer.size() >= RECORD || !self.packer.has_room_for(event) {
                if n > noted {
                    self.packer.note(seen_to, share * (n - noted));
                    noted = n;
                }
                self.frame(out);
            }
            self.packer.push(event);
        }
        self.packer
            .note(seen_to, batch.bytes.saturating_sub(share * noted));
    }

    /// Appends what there is as a record.
    pub(super) fn frame(&mut self, out: &mut Vec<u8>) {
        if self.packer.is_empty() {
            return;
        }
        let events = self.packer.len() as u32;
        let start = out.len();
        out.extend_from_slice(&[0; RECORD_HEAD]);
        self.packer.finish(out);
        let (head, block) = out[start..].split_at_mut(RECORD_HEAD);
        head.copy_from_slice(&RecordHead::of(block, self.next, events, self.salt).bytes(self.salt));
        self.next += u64::from(events);
    }

    /// Bytes of the record in the making.
    pub(super) fn size(&self) -> usize {
        if self.packer.is_empty() {
            0
        } else {
            self.packer.size()
        }
    }
}

/// The task that fills a queue.
pub(super) struct Writer {
    pub(super) id: String,
    pub(super) lane: LaneReceiver,
    /// What comes before the lane.
    pub(super) left: Vec<Batch>,
    pub(super) files: Arc<Files>,
    pub(super) metrics: Arc<ComponentMetrics>,
    pub(super) trouble: Arc<Trouble>,
    pub(super) hand_over: CancellationToken,
    pub(super) abort: CancellationToken,
}

/// How it ended.
pub(super) enum Ended {
    /// The lane has ended, and everything is durable.
    Lane,
    /// Told to: the lane goes to a successor.
    HandedOver(LaneReceiver),
    /// Given up; what was not durable has failed.
    Aborted,
}

impl Writer {
    pub(super) async fn run(mut self) -> Ended {
        let mut framer = Framer::new(self.files.salt(), self.files.next());
        let mut write = Write::default();
        let mut spare = Write::default();
        let mut under_way: Option<BoxFuture<'static, Write>> = None;
        let mut due = Instant::now();
        let mut open = true;
        for batch in std::mem::take(&mut self.left) {
            self.take(batch, &mut framer, &mut write, &mut due);
        }
        loop {
            let filled = write.records.len() + framer.size();
            let full = filled >= COMMIT;
            let waits = !write.acks.is_empty();
            if under_way.is_none() && waits && (full || !open || Instant::now() >= due) {
                framer.frame(&mut write.records);
                let write = std::mem::replace(&mut write, std::mem::take(&mut spare));
                under_way = Some(self.commit(write).boxed());
                continue;
            }
            if !open && under_way.is_none() {
                return if self.hand_over.is_cancelled() {
                    Ended::HandedOver(self.lane)
                } else {
                    Ended::Lane
                };
            }
            tokio::select! {
                biased;
                () = self.abort.cancelled() => return Ended::Aborted,
                done = async { under_way.as_mut().expect("it is asked only while there is one").await }, if under_way.is_some() => {
                    under_way = None;
                    self.metrics.buffer_received_events.add(done.events);
                    spare = answer(done);
                }
                () = self.hand_over.cancelled(), if open => open = false,
                () = sleep_until(due), if waits && under_way.is_none() => {}
                batch = self.lane.recv(), if open && !full => match batch {
                    None => open = false,
                    Some(batch) => {
                        self.take(batch, &mut framer, &mut write, &mut due);
                        while write.records.len() + framer.size() < COMMIT
                            && let Some(batch) = self.lane.try_recv()
                        {
                            self.take(batch, &mut framer, &mut write, &mut due);
                        }
                    }
                },
            }
        }
    }

    /// Makes a batch part of the write. What its events occupied goes back to their source at once.
    fn take(&self, batch: Batch, framer: &mut Framer, write: &mut Write, due: &mut Instant) {
        if write.acks.is_empty() {
            *due = Instant::now() + WAIT;
        }
        framer.push(&batch, &mut write.records);
        write.events += batch.events.len() as u64;
        let Batch {
            events, ack, home, ..
        } = batch;
        if let Some(home) = home {
            home.put(events);
        }
        write.acks.push(ack);
    }

    /// Makes a write durable, however long that takes.
    fn commit(&self, write: Write) -> impl Future<Output = Write> + Send + 'static {
        let (files, trouble) = (Arc::clone(&self.files), Arc::clone(&self.trouble));
        let id = self.id.clone();
        async move {
            let mut write = Arc::new(write);
            let mut backoff = Backoff::new(PACE);
            // A write of nothing but marks only waited for what came before them.
            let mut done = write.events == 0;
            while !done {
                let freed = files.freed.notified();
                let (to, what) = (Arc::clone(&files), Arc::clone(&write));
                let appended =
                    tokio::task::spawn_blocking(move || to.append(&what.records, what.events));
                match appended.await {
                    Ok(Ok(())) => done = true,
                    Ok(Err(Unwritten::Full)) => {
                        trouble.full(files.bytes().0);
                        freed.await;
                    }
                    Ok(Err(Unwritten::Io(why))) => {
                        trouble.fails(Part::Write, code(&why), &why);
                        // Where the disk is full, deleting may have made room.
                        tokio::select! {
                            () = freed => {}
                            () = sleep(backoff.next(None)) => {}
                        }
                    }
                    Err(why) => {
                        tracing::error!(component_id = id, %why, "a write of the disk queue broke off; it is tried again");
                        sleep(backoff.next(None)).await;
                    }
                }
            }
            if write.events > 0 {
                trouble.well(Part::Write);
            }
            loop {
                match Arc::try_unwrap(write) {
                    Ok(write) => return write,
                    // The blocking thread lets go of it within an instant.
                    Err(shared) => write = shared,
                }
                tokio::task::yield_now().await;
            }
        }
    }
}

/// Answers for what is durable; what is left is memory for the next write.
fn answer(mut write: Write) -> Write {
    for ack in write.acks.drain(..) {
        ack.answer(Verdict::Delivered);
    }
    write.records.clear();
    write.events = 0;
    write
}
