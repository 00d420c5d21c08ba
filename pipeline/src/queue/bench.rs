//! The parts of a queue as its benchmark takes them.

use std::io;
use std::path::Path;
use std::sync::Arc;

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::answers::Answers;
use super::files::{Files, Size};
use super::format::{RECORD_HEAD, RecordHead};
use super::open::{OpenError, open};
use super::reader::Reader;
use super::trouble::Trouble;
use super::writer::{Framer, Writer};
use crate::batch::Batch;
use crate::clock::Clock;
use crate::event::pack::Unpacker;
use crate::event::{Event, Pool};
use crate::lane::{LaneReceiver, LaneSender};
use crate::telemetry::ComponentMetrics;
use crate::topology::SinkHealth;

/// An open queue.
pub(crate) struct Queue {
    files: Arc<Files>,
    answers: Arc<Answers>,
    trouble: Arc<Trouble>,
    metrics: Arc<ComponentMetrics>,
}

impl Queue {
    pub(crate) fn open(
        folder: &Path,
        health: SinkHealth,
        metrics: Arc<ComponentMetrics>,
    ) -> Result<Queue, OpenError> {
        let opened = open(folder, Size::new(16 << 30), Clock::system())?;
        Ok(Queue {
            files: Arc::new(opened.files),
            answers: Answers::new(opened.place),
            trouble: Arc::new(Trouble::new(health, Arc::clone(&metrics))),
            metrics,
        })
    }

    /// Fills it until the lane ends.
    pub(crate) fn writer(
        &self,
        lane: LaneReceiver,
        never: CancellationToken,
    ) -> impl Future<Output = ()> + Send + 'static {
        let writer = Writer {
            id: "bench".to_owned(),
            lane,
            left: Vec::new(),
            files: Arc::clone(&self.files),
            metrics: Arc::clone(&self.metrics),
            trouble: Arc::clone(&self.trouble),
            hand_over: never.clone(),
            abort: never,
        };
        async move { drop(writer.run().await) }
    }

    /// Empties it into the lane.
    pub(crate) fn reader(&self, lane: LaneSender) -> io::Result<oneshot::Receiver<()>> {
        self.files.end();
        let reader = Reader {
            id: "bench".to_owned(),
            files: Arc::clone(&self.files),
            answers: Arc::clone(&self.answers),
            lane,
            metrics: Arc::clone(&self.metrics),
            trouble: Arc::clone(&self.trouble),
            stop: CancellationToken::new(),
        };
        reader.spawn()
    }

    pub(crate) fn close(&self) -> io::Result<()> {
        self.files.close(self.answers.reached())
    }
}

/// Records without a disk.
pub(crate) struct Framing {
    framer: Framer,
    unpacker: Unpacker,
}

const SALT: u64 = 0x0123_4567_89ab_cdef;

impl Framing {
    pub(crate) fn new() -> Framing {
        Framing {
            framer: Framer::new(SALT, 0),
            unpacker: Unpacker::default(),
        }
    }

    pub(crate) fn write(&mut self, batch: &Batch, out: &mut Vec<u8>) {
        self.framer.push(batch, out);
        self.framer.frame(out);
    }

    pub(crate) fn read(
        &mut self,
        mut records: &[u8],
        husks: &mut Vec<Event>,
        pool: &Arc<Pool>,
    ) -> Result<usize, &'static str> {
        let mut events = 0;
        while !records.is_empty() {
            let head = RecordHead::parse(records, SALT).ok_or("no record")?;
            let (record, rest) = records.split_at(RECORD_HEAD + head.len as usize);
            let block = &record[RECORD_HEAD..];
            if !head.fits(block, SALT) {
                return Err("a damaged record");
            }
            let block = self.unpacker.unpack(block, std::mem::take(husks), pool)?;
            events += block.events.len();
            *husks = block.events;
            records = rest;
        }
        Ok(events)
    }
}
