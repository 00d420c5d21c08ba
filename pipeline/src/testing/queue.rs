//! The disk queue without a graph around it, for its benchmark.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::ack::{Ack, Verdict};
use crate::batch::Batch;
use crate::clock::{Clock, Time};
use crate::event::{Buffer, Event, EventId, Field, Pool, Span, fields};
use crate::lane::lane;
use crate::mark::{LaneId, Mark};
use crate::queue::bench::{Framing, Queue};
use crate::telemetry::{ComponentMetrics, Kind, Telemetry};
use crate::topology::SinkHealth;

/// A disk queue that is filled and emptied as by the engine.
pub struct QueueBench {
    folder: PathBuf,
    runtime: tokio::runtime::Runtime,
    metrics: Arc<ComponentMetrics>,
}

impl QueueBench {
    /// A queue in this folder.
    pub fn new(folder: &Path) -> QueueBench {
        QueueBench {
            folder: folder.to_owned(),
            runtime: tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .expect("a runtime can be made"),
            metrics: Telemetry::new("", "").component("bench", Kind::Sink, "bench"),
        }
    }

    fn open(&self) -> Queue {
        let health = SinkHealth::new("bench", Clock::system());
        Queue::open(&self.folder, health, Arc::clone(&self.metrics)).expect("it can be opened")
    }

    /// Puts all batches into the queue; they are durable when this returns.
    pub fn fill(&self, batches: Vec<Batch>) {
        self.runtime.block_on(async {
            let queue = self.open();
            let (to, from) = lane(4 << 20);
            let writing = tokio::spawn(queue.writer(from, CancellationToken::new()));
            for batch in batches {
                to.send(batch).await;
            }
            drop(to);
            writing.await.expect("it writes to the end");
        });
    }

    /// Takes everything out of the queue and answers for it; says how many events there were, and how long that took once
    /// it was open. `ready` is called in between: opening reads the last file.
    pub fn empty(&self, ready: impl FnOnce()) -> (usize, Duration) {
        self.runtime.block_on(async {
            let queue = self.open();
            ready();
            let began = Instant::now();
            let (to, mut from) = lane(4 << 20);
            let reading = queue.reader(to).expect("a thread can be made");
            let mut events = 0;
            while let Some(batch) = from.recv().await {
                events += batch.events.len();
                batch.end(Verdict::Delivered);
            }
            // It has ended: its lane has.
            let _ = reading.await;
            queue.close().expect("it can be closed");
            (events, began.elapsed())
        })
    }
}

/// Writing and reading of records alone, without a disk.
pub struct RecordBench {
    framing: Framing,
    pool: Arc<Pool>,
    husks: Vec<Event>,
}

impl Default for RecordBench {
    fn default() -> RecordBench {
        RecordBench {
            framing: Framing::new(),
            pool: Arc::default(),
            husks: Vec::new(),
        }
    }
}

impl RecordBench {
    /// Makes records of a batch.
    pub fn write(&mut self, batch: &Batch, out: &mut Vec<u8>) {
        self.framing.write(batch, out);
    }

    /// Reads the records; says how many events were in them.
    pub fn read(&mut self, records: &[u8]) -> usize {
        self.framing
            .read(records, &mut self.husks, &self.pool)
            .expect("they were written by `write`")
    }
}

/// Lines of an access log as `file → grok` makes events of them: all texts are places in one buffer.
pub fn access_batch(first: u64, events: usize) -> Batch {
    let named = |path: &str| Field::new(path);
    let parts = [
        (named("source.ip"), "203.0.113.42"),
        (named("user.name"), "automation@pve!terraform"),
        (named("pve.access.time"), "14/03/2026:22:58:03 +0100"),
        (named("http.request.method"), "GET"),
        (
            named("url.original"),
            "/api2/json/nodes/pve1/qemu/101/status/current?full=1",
        ),
        (named("http.version"), "1.1"),
        (named("http.response.status_code"), "200"),
        (named("http.response.body.bytes"), "1187"),
    ];
    const HOST: &str = "pve1.example.com";
    const PATH: &str = "/var/log/pveproxy/access.log";
    let mut text = format!("{HOST}{PATH}");
    let mut spans = Vec::with_capacity(events);
    for _ in 0..events {
        let start = text.len();
        let mut places = Vec::new();
        for (field, part) in parts {
            places.push((
                field,
                Span {
                    at: text.len() as u32,
                    len: part.len() as u32,
                },
            ));
            text.push_str(part);
            text.push_str(" - ");
        }
        let line = Span {
            at: start as u32,
            len: (text.len() - start) as u32,
        };
        spans.push((line, places));
        text.push('\n');
    }
    let buffer = Buffer::new(text);
    let (host, path) = (HOST.len() as u32, PATH.len() as u32);
    let make = |(n, (line, places)): (u64, (Span, Vec<(Field, Span)>))| {
        let time = Time(1_700_000_000_000_000_000 + n as i64 * 1_000_000);
        let mut event = Event::fresh(EventId([7, first + n]), time, first + n + 1, buffer.clone());
        event.push_span(fields::MESSAGE, line);
        event.push_span(fields::HOST_NAME, Span { at: 0, len: host });
        event.push_span(
            fields::LOG_FILE_PATH,
            Span {
                at: host,
                len: path,
            },
        );
        for (field, span) in places {
            event.push_span(field, span);
        }
        event
    };
    let events: Vec<Event> = (0..).zip(spans).map(make).collect();
    let mark = Mark {
        lane: LaneId::new("bench", "bench"),
        start: 0,
        seen_to: Time(1),
        idle: false,
        over: false,
    };
    Batch::new(events, mark, Ack::nobody())
}
