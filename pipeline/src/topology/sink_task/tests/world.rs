//! A sink that answers as a test says, and everything that can be seen of it from outside.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::super::*;
use crate::ack::{Ack, Creditor, Verdict};
use crate::clock::{Clock, Time};
use crate::component::{Fate, Key, Reason, ReasonKind, Sink, WriteError, Written};
use crate::dlq;
use crate::event::{Event, EventId};
use crate::events::Events;
use crate::lane::{LaneSender, lane};
use crate::mark::{LaneId, Mark};
use crate::topology::HealthState;

/// What the sink does with one write.
pub(super) enum Answer {
    Ok,
    Fail(WriteError),
    Panic,
    /// Answers `Ok`, but only when told to.
    Hang,
    /// Answers `Ok` and keeps the events.
    Keep,
}

pub(super) fn retry() -> Answer {
    Answer::Fail(WriteError::Retry {
        reason: Reason::new(ReasonKind::Connection, "refused"),
        after: None,
    })
}

pub(super) fn retry_after(after: Duration) -> Answer {
    Answer::Fail(WriteError::Retry {
        reason: Reason::new(ReasonKind::Busy, "429"),
        after: Some(after),
    })
}

pub(super) fn refused(kind: ReasonKind) -> Answer {
    Answer::Fail(WriteError::Refused {
        reason: Reason::new(kind, "no"),
    })
}

pub(super) fn partly(again: &[u32], refused: &[u32]) -> Answer {
    let again = again
        .iter()
        .map(|n| (*n, Fate::Retry(Reason::new(ReasonKind::Busy, "later"))));
    let refused = refused
        .iter()
        .map(|n| (*n, Fate::Refused(Reason::new(ReasonKind::Mapping, "never"))));
    Answer::Fail(WriteError::Partly(
        again.chain(refused).collect(),
        Written::default(),
    ))
}

type Script = Box<dyn FnMut(usize, &[u64]) -> Answer + Send>;

#[derive(Clone)]
pub(super) struct World(Arc<Inner>);

struct Inner {
    script: Mutex<Script>,
    seen: Mutex<Seen>,
    go: Notify,
    telemetry: Arc<Telemetry>,
    health: SinkHealth,
    folder: tempfile::TempDir,
}

#[derive(Default)]
struct Seen {
    calls: Vec<Vec<u64>>,
    accepted: Vec<u64>,
    answered: Vec<(u64, Verdict)>,
    kept: Vec<Events>,
    built: usize,
    closed: usize,
    build_fails: usize,
    unhealthy: bool,
}

impl Creditor for Inner {
    fn answered(&self, ticket: u64, verdict: Verdict) {
        self.seen.lock().answered.push((ticket, verdict));
    }
}

/// An event whose id is this number.
pub(super) fn event(n: u64) -> Event {
    let mut event = Event::new(EventId([0, n]), Time::from_secs(1));
    event.set_str(crate::fields::MESSAGE, "some line that is a little longer");
    event
}

fn ids<'a>(events: impl Iterator<Item = &'a Event>) -> Vec<u64> {
    events.map(|event| event.id().0[1]).collect()
}

struct Scripted(Arc<Inner>);

#[async_trait]
impl Sink for Scripted {
    async fn write(&mut self, events: Events) -> Result<Written, WriteError> {
        let ids = ids(events.iter());
        let answer = {
            let n = self.0.seen.lock().calls.len();
            self.0.seen.lock().calls.push(ids.clone());
            (self.0.script.lock())(n, &ids)
        };
        match answer {
            Answer::Ok => {}
            Answer::Hang => self.0.go.notified().await,
            Answer::Keep => self.0.seen.lock().kept.push(events),
            Answer::Panic => panic!("told to"),
            Answer::Fail(why) => {
                if let WriteError::Partly(fates, _) = &why {
                    let named: Vec<u64> = fates.iter().map(|(n, _)| u64::from(*n)).collect();
                    let taken = (0..)
                        .zip(&ids)
                        .filter(|(n, _)| !named.contains(n))
                        .map(|(_, id)| *id);
                    self.0.seen.lock().accepted.extend(taken);
                }
                return Err(why);
            }
        }
        self.0.seen.lock().accepted.extend(ids);
        Ok(Written::default())
    }

    async fn healthcheck(&mut self) -> Result<(), Reason> {
        match self.0.seen.lock().unhealthy {
            true => Err(Reason::new(ReasonKind::Connection, "not there")),
            false => Ok(()),
        }
    }

    async fn close(&mut self) -> Result<(), Reason> {
        self.0.seen.lock().closed += 1;
        Ok(())
    }
}

impl World {
    pub(super) fn answering(script: impl FnMut(usize, &[u64]) -> Answer + Send + 'static) -> World {
        World(Arc::new(Inner {
            script: Mutex::new(Box::new(script)),
            seen: Mutex::default(),
            go: Notify::new(),
            telemetry: Telemetry::new("pve1", "0"),
            health: SinkHealth::new("out", Clock::system()),
            folder: tempfile::tempdir().unwrap(),
        }))
    }

    pub(super) fn answer(&self, script: impl FnMut(usize, &[u64]) -> Answer + Send + 'static) {
        *self.0.script.lock() = Box::new(script);
    }

    pub(super) fn limits(&self, max_events: usize, max_bytes: usize, timeout: Duration) -> Task {
        let (sender, receiver) = lane(64 << 20);
        Task {
            world: self.clone(),
            sender,
            receiver,
            left: Vec::new(),
            limits: Limits {
                max_events,
                max_bytes,
                timeout,
            },
            workers: 1,
            key: None,
            healthcheck: false,
        }
    }

    pub(super) fn let_go(&self) {
        self.0.go.notify_one();
    }

    pub(super) fn build_fails(&self, times: usize) {
        self.0.seen.lock().build_fails = times;
    }

    pub(super) fn unhealthy(&self, yes: bool) {
        self.0.seen.lock().unhealthy = yes;
    }

    /// Puts a file where the folder of the dead letters should be.
    pub(super) fn close_grave(&self) {
        std::fs::write(dlq::folder(self.data_dir()), "in the way").unwrap();
    }

    pub(super) fn open_grave(&self) {
        std::fs::remove_file(dlq::folder(self.data_dir())).unwrap();
    }

    fn data_dir(&self) -> &Path {
        self.0.folder.path()
    }

    pub(super) async fn until(&self, holds: impl Fn() -> bool) {
        let waiting = async {
            while !holds() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), waiting)
            .await
            .expect("it comes to hold");
    }

    pub(super) fn calls(&self) -> usize {
        self.0.seen.lock().calls.len()
    }

    pub(super) fn calls_made(&self) -> Vec<Vec<u64>> {
        self.0.seen.lock().calls.clone()
    }

    pub(super) fn sizes(&self) -> Vec<usize> {
        self.0.seen.lock().calls.iter().map(Vec::len).collect()
    }

    /// Every event handed to the sink, as often as it was.
    pub(super) fn written(&self) -> Vec<u64> {
        self.0.seen.lock().calls.concat()
    }

    /// Every event the other side took, in the order it did.
    pub(super) fn accepted(&self) -> Vec<u64> {
        self.0.seen.lock().accepted.clone()
    }

    pub(super) fn answered(&self) -> Vec<(u64, Verdict)> {
        self.0.seen.lock().answered.clone()
    }

    /// The answers by ticket.
    pub(super) fn verdicts(&self) -> Vec<Verdict> {
        let mut answered = self.answered();
        answered.sort_by_key(|(ticket, _)| *ticket);
        answered.into_iter().map(|(_, verdict)| verdict).collect()
    }

    pub(super) fn built(&self) -> usize {
        self.0.seen.lock().built
    }

    pub(super) fn closed(&self) -> usize {
        self.0.seen.lock().closed
    }

    pub(super) fn health(&self) -> HealthState {
        self.0.health.state()
    }

    /// Events received, delivered, and dead, as counted.
    pub(super) fn totals(&self) -> (u64, u64, u64) {
        let totals = self.0.telemetry.totals("out");
        (totals.received, totals.sent, totals.dead_lettered)
    }

    /// The dead letters: id, kind of reason, attempts.
    pub(super) fn dead(&self) -> Vec<(u64, String, u32)> {
        let files = dlq::lines(self.data_dir(), "out").unwrap();
        let lines = files.into_iter().flat_map(|(_, lines)| lines);
        lines
            .map(|line| match line.unwrap() {
                dlq::Line::Letter(letter) => {
                    let id = EventId::parse(letter.id()).unwrap();
                    (id.0[1], letter.reason.kind, letter.attempts)
                }
                dlq::Line::Unreadable(why) => panic!("{why}"),
            })
            .collect()
    }
}

pub(super) struct Task {
    world: World,
    sender: LaneSender,
    receiver: LaneReceiver,
    left: Vec<Batch>,
    limits: Limits,
    pub(super) workers: usize,
    pub(super) key: Option<Box<dyn Key>>,
    pub(super) healthcheck: bool,
}

pub(super) struct Running {
    world: World,
    sender: LaneSender,
    pub(super) hand_over: CancellationToken,
    pub(super) abort: CancellationToken,
    task: JoinHandle<SinkEnd>,
}

async fn send(world: &World, sender: &LaneSender, ticket: u64, ids: Range<u64>) {
    let mark = Mark {
        lane: LaneId::new("test", "test"),
        start: 0,
        seen_to: Time(0),
        idle: false,
        over: false,
    };
    let creditor: Arc<dyn Creditor> = world.0.clone();
    sender
        .send(Batch::new(
            ids.map(event).collect(),
            mark,
            Ack::new(creditor, ticket),
        ))
        .await;
}

impl Task {
    pub(super) async fn send(&self, ticket: u64, ids: Range<u64>) {
        send(&self.world, &self.sender, ticket, ids).await;
    }

    /// Takes over from another task.
    pub(super) fn after(mut self, end: SinkEnd, sender: LaneSender) -> Task {
        self.sender = sender;
        self.receiver = end.lane.unwrap();
        self.left = end.left;
        self
    }

    pub(super) fn start(self) -> Running {
        let (hand_over, abort) = (CancellationToken::new(), CancellationToken::new());
        let inner = Arc::clone(&self.world.0);
        let task = SinkTask {
            id: "out".to_owned(),
            type_name: "scripted",
            lane: self.receiver,
            left: self.left,
            build: Arc::new(move || {
                let mut seen = inner.seen.lock();
                seen.built += 1;
                if seen.built <= seen.build_fails {
                    return Err("told to".to_owned());
                }
                drop(seen);
                Ok(Box::new(Scripted(Arc::clone(&inner))))
            }),
            workers: self.workers,
            key: self.key,
            limits: self.limits,
            pace: Pace {
                initial: Duration::from_millis(1),
                max: Duration::from_millis(4),
            },
            healthcheck: self.healthcheck,
            dead_letters: Arc::new(DeadLetters::new(self.world.data_dir(), Clock::system())),
            telemetry: Arc::clone(&self.world.0.telemetry),
            health: self.world.0.health.clone(),
            hand_over: hand_over.clone(),
            abort: abort.clone(),
        };
        Running {
            world: self.world,
            sender: self.sender,
            hand_over,
            abort,
            task: tokio::spawn(task.run()),
        }
    }
}

impl Running {
    pub(super) async fn send(&self, ticket: u64, ids: Range<u64>) {
        send(&self.world, &self.sender, ticket, ids).await;
    }

    /// No more comes; waits until the task has ended.
    pub(super) async fn end(self) -> SinkEnd {
        drop(self.sender);
        tokio::time::timeout(Duration::from_secs(30), self.task)
            .await
            .expect("it ends")
            .unwrap()
    }

    /// Waits until the task has ended while more could come.
    pub(super) async fn stop(self) -> (LaneSender, SinkEnd) {
        let end = tokio::time::timeout(Duration::from_secs(30), self.task)
            .await
            .expect("it ends")
            .unwrap();
        (self.sender, end)
    }
}
