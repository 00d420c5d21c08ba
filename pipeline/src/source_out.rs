//! What a source hands its events to.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use crate::ack::{Ack, Creditor, Verdict};
use crate::batch::Batch;
use crate::clock::{Clock, Time};
use crate::component::Reason;
use crate::event::{Event, Value, ValueRef};
use crate::lines::{LineBatch, LineConstants, LineMemory};
use crate::mark::{LaneId, Mark};
use crate::position::Tracker;
use crate::redact::Redactor;
use crate::telemetry::{ComponentMetrics, Stage};
use crate::topology::DeadLetterBox;
use crate::topology::chain::Chain;
use crate::topology::guard::Hold;

/// The source has to end its run: the program stops, reloads, or reads again from what is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("told to stop")]
pub struct Stopped;

/// What a source hands its events to: redaction, marks, answers and back-pressure are done here.
pub struct SourceOut {
    pub(crate) source: Arc<str>,
    pub(crate) start: u32,
    pub(crate) tracker: Arc<Tracker>,
    pub(crate) chain: Chain,
    pub(crate) redactor: Arc<Redactor>,
    pub(crate) clock: Clock,
    /// Set when the source shall end.
    pub(crate) stop: CancellationToken,
    /// Set when even waiting for room must end.
    pub(crate) abort: CancellationToken,
    /// Set while nothing may be taken in; a source that is never held has none.
    pub(crate) hold: Option<Arc<Hold>>,
    pub(crate) metrics: Arc<ComponentMetrics>,
    pub(crate) memory: LineMemory,
    pub(crate) hits: Vec<Range<usize>>,
    pub(crate) type_name: &'static str,
    pub(crate) dead_letters: Arc<dyn DeadLetterBox>,
    pub(crate) beside: Arc<Beside>,
    /// Lanes it has spoken of.
    pub(crate) lanes: Arc<parking_lot::Mutex<BTreeSet<LaneId>>>,
}

/// What sources have to finish after their own end: it runs on the program's runtime, and the program waits for it once
/// all answers are in.
pub(crate) struct Beside {
    runtime: tokio::runtime::Handle,
    tasks: parking_lot::Mutex<Vec<tokio::task::JoinHandle<()>>>,
}

impl Beside {
    /// On the runtime it is called in.
    pub(crate) fn here() -> Arc<Beside> {
        Arc::new(Beside {
            runtime: tokio::runtime::Handle::current(),
            tasks: parking_lot::Mutex::default(),
        })
    }

    /// Waits until all of it is done.
    pub(crate) async fn done(&self) {
        let tasks = std::mem::take(&mut *self.tasks.lock());
        for task in tasks {
            if let Err(why) = task.await {
                tracing::error!(%why, "what a source had to finish died");
            }
        }
    }
}

impl SourceOut {
    /// The lane called `key`, a name that stays the same over restarts.
    pub fn lane(&self, key: &str) -> LaneId {
        let lane = LaneId::new(&self.source, key);
        self.lanes.lock().insert(lane);
        lane
    }

    /// Room for lines of one lane.
    pub fn lines(&mut self, constants: &LineConstants) -> LineBatch {
        LineBatch::new(constants, &mut self.memory)
    }

    /// Makes events of the lines and sends them; `position` is where reading goes on when all of them are answered.
    pub async fn send_lines(
        &mut self,
        lane: LaneId,
        lines: LineBatch,
        position: &impl Serialize,
    ) -> Result<(), Stopped> {
        self.send_lines_with(lane, lines, position, |_, _, _| {})
            .await
    }

    /// The same for lines that their source itself reads further: `see` is shown the events, one for each line in order,
    /// before anyone else does, with the time of reading and the source's counters.
    pub async fn send_lines_with(
        &mut self,
        lane: LaneId,
        lines: LineBatch,
        position: &impl Serialize,
        see: impl FnOnce(&mut [Event], Time, &ComponentMetrics),
    ) -> Result<(), Stopped> {
        let now = self.clock.now();
        let mut made = lines.finish(&mut self.memory, &self.redactor, &mut self.hits, now);
        self.metrics.redacted.add(made.redacted);
        if made.undecodable > 0 {
            self.metrics
                .error("invalid_utf8", Stage::Receiving, made.undecodable);
        }
        see(&mut made.events, now, &self.metrics);
        let bytes = made.text + made.events.len() * FIELDS_OF_A_LINE;
        let ack = self.owe(lane, position);
        let mark = Mark {
            lane,
            start: self.start,
            seen_to: now,
            idle: false,
            over: false,
        };
        let batch = Batch {
            events: made.events,
            mark,
            ack,
            bytes,
            home: Some(Arc::clone(&self.memory.husks)),
            input: 0,
        };
        self.hand_over(batch, made.text).await
    }

    /// Sends events of one lane; `position` is where reading goes on when all of them are answered. Waits for room.
    pub async fn send(
        &mut self,
        lane: LaneId,
        events: Vec<Event>,
        position: &impl Serialize,
    ) -> Result<(), Stopped> {
        let ack = self.owe(lane, position);
        self.send_owing(lane, events, ack).await
    }

    /// Sends events and waits for the answer, for sources that answer their peer.
    pub async fn send_and_wait(
        &mut self,
        lane: LaneId,
        events: Vec<Event>,
    ) -> Result<Verdict, Stopped> {
        self.send_for_verdict(lane, events).await?.wait().await
    }

    /// Sends events, waiting for room only. The answer is waited for with what this gives, which borrows nothing: several
    /// answers may be awaited at once.
    pub async fn send_for_verdict(
        &mut self,
        lane: LaneId,
        events: Vec<Event>,
    ) -> Result<PendingVerdict, Stopped> {
        let (tell, told) = tokio::sync::oneshot::channel();
        let ack = Ack::new(Arc::new(Waiter(parking_lot::Mutex::new(Some(tell)))), 0);
        self.send_owing(lane, events, ack).await?;
        Ok(PendingVerdict {
            told,
            abort: self.abort.clone(),
        })
    }

    /// As [`send`](Self::send), and `tell` gets the answer, on any thread, when it is there: for sources that answer
    /// their peer, many batches at once.
    pub async fn send_telling(
        &mut self,
        lane: LaneId,
        events: Vec<Event>,
        position: &impl Serialize,
        tell: impl FnOnce(Verdict) + Send + 'static,
    ) -> Result<(), Stopped> {
        let teller = Teller {
            tracker: Arc::clone(&self.tracker),
            tell: parking_lot::Mutex::new(Some((self.owe(lane, position), Box::new(tell)))),
        };
        let ack = Ack::new(Arc::new(teller), 0);
        self.send_owing(lane, events, ack).await
    }

    /// Runs something that outlives the source, like the answers to a peer that come in after the last event was read.
    /// It must end by itself when nothing more can come; the program waits for that at its end, for a while.
    pub fn beside(&self, work: impl Future<Output = ()> + Send + 'static) {
        let task = self.beside.runtime.spawn(work);
        let mut tasks = self.beside.tasks.lock();
        tasks.retain(|task| !task.is_finished());
        tasks.push(task);
    }

    /// Makes dead letters of events that can go nowhere, and says when they are durable. After an error none of them is;
    /// it is worth another try.
    pub fn bury(&self, events: &mut [Event], reason: &Reason, attempts: u32) -> Result<(), String> {
        let redacted = events
            .iter_mut()
            .map(|event| redact_event(event, &self.redactor))
            .sum();
        self.dead_letters
            .append(&self.source, self.type_name, reason, attempts, events)?;
        let count = events.len() as u64;
        self.metrics.redacted.add(redacted);
        self.metrics.received_events.add(count);
        self.metrics.dead_lettered.add([reason.kind.name()], count);
        Ok(())
    }

    async fn send_owing(
        &mut self,
        lane: LaneId,
        mut events: Vec<Event>,
        ack: Ack,
    ) -> Result<(), Stopped> {
        let redacted = events
            .iter_mut()
            .map(|event| redact_event(event, &self.redactor))
            .sum();
        self.metrics.redacted.add(redacted);
        let mark = Mark {
            lane,
            start: self.start,
            seen_to: self.clock.now(),
            idle: false,
            over: false,
        };
        let batch = Batch::new(events, mark, ack);
        let bytes = batch.bytes;
        self.hand_over(batch, bytes).await
    }

    /// Everything in this lane is read; call it about once a second while that is so.
    pub async fn idle(&mut self, lane: LaneId) -> Result<(), Stopped> {
        let mark = Mark {
            lane,
            start: self.start,
            seen_to: self.clock.now(),
            idle: true,
            over: false,
        };
        self.hand_over(Batch::empty(mark, Ack::nobody()), 0).await
    }

    /// Nothing more of this lane is read: a file was rotated away and read to its end, a node has left. Nobody waits for it
    /// from now on, unless it speaks again.
    pub async fn over(&mut self, lane: LaneId) -> Result<(), Stopped> {
        let mark = Mark {
            lane,
            start: self.start,
            seen_to: self.clock.now(),
            idle: true,
            over: true,
        };
        self.hand_over(Batch::empty(mark, Ack::nobody()), 0).await
    }

    /// There is more to read than anybody behind this source has heard of, so that no lane of it tells how far it has come.
    /// Say [`idle`](Self::idle) of the same lane when that is over, and then once a second.
    pub async fn unheard(&mut self, lane: LaneId) -> Result<(), Stopped> {
        let mark = Mark {
            lane,
            start: self.start,
            seen_to: self.clock.now(),
            idle: false,
            over: false,
        };
        self.hand_over(Batch::empty(mark, Ack::nobody()), 0).await
    }

    async fn hand_over(&mut self, batch: Batch, text: usize) -> Result<(), Stopped> {
        if self.tracker.has_failed() {
            // Dropped unanswered: the source starts again from what is stored, and reads this again.
            return Err(Stopped);
        }
        self.held().await?;
        self.metrics.received_events.add(batch.events.len() as u64);
        self.metrics.received_event_bytes.add(text as u64);
        let abort = self.abort.clone();
        tokio::select! {
            biased;
            well = self.chain.send(batch) => if well { Ok(()) } else { Err(Stopped) },
            () = abort.cancelled() => Err(Stopped),
        }
    }

    /// Waits while a sink that must not miss anything cannot take it (`on_failure = "hold"`). Whoever stops goes on, to
    /// hand over what it has read.
    async fn held(&mut self) -> Result<(), Stopped> {
        let Some(hold) = self.hold.as_ref().filter(|hold| hold.is_held()) else {
            return Ok(());
        };
        let (hold, stop, abort) = (Arc::clone(hold), self.stop.clone(), self.abort.clone());
        tokio::select! {
            () = hold.released() => Ok(()),
            () = stop.cancelled() => Ok(()),
            () = abort.cancelled() => Err(Stopped),
        }
    }

    fn owe(&self, lane: LaneId, position: &impl Serialize) -> Ack {
        let position = serde_json::value::to_raw_value(position);
        if let Err(why) = &position {
            tracing::error!(component_id = &*self.source, %why, "a position cannot be written down; after a restart this lane is read again from the one before");
        }
        self.tracker.owe(lane, position.ok())
    }

    /// The stored position of a lane. One that cannot be understood is told of and counts as none.
    pub fn position<T: DeserializeOwned>(&self, key: &str) -> Option<T> {
        let raw = self.tracker.position(key)?;
        self.read_position(key, raw.get())
    }

    /// The stored positions of all lanes.
    pub fn positions<T: DeserializeOwned>(&self) -> Vec<(String, T)> {
        let stored = self.tracker.stored();
        stored
            .into_iter()
            .filter_map(|(key, raw)| Some((self.read_position(&key, raw.get())?, key)))
            .map(|(position, key)| (key, position))
            .collect()
    }

    fn read_position<T: DeserializeOwned>(&self, key: &str, raw: &str) -> Option<T> {
        match serde_json::from_str(raw) {
            Ok(position) => Some(position),
            Err(why) => {
                self.metrics.error("invalid_position", Stage::Receiving, 1);
                tracing::warn!(component_id = &*self.source, lane = key, %why, "a stored position cannot be understood; this lane is read from the beginning");
                None
            }
        }
    }

    /// Forgets the position of a lane that will not come back.
    pub fn forget(&self, key: &str) {
        self.tracker.forget(key);
    }

    /// Whether the run has to end.
    pub fn stopping(&self) -> bool {
        self.stop.is_cancelled() || self.tracker.has_failed()
    }

    /// Waits until the run has to end. Dropping the future is harmless; it borrows nothing, so that a source may wait
    /// for it beside other things.
    pub fn stopped(&self) -> impl Future<Output = ()> + Send + use<> {
        let tracker = Arc::clone(&self.tracker);
        let stop = self.stop.clone();
        async move {
            loop {
                let changed = tracker.changed.notified();
                if stop.is_cancelled() || tracker.has_failed() {
                    return;
                }
                tokio::select! {
                    () = changed => {}
                    () = stop.cancelled() => return,
                }
            }
        }
    }

    /// `text` without its secrets, for a source that cuts texts itself: half a secret might not be known for one any more.
    pub fn redact<'t>(&self, text: &'t str) -> Cow<'t, str> {
        self.redactor
            .redact_str(text)
            .map_or(text.into(), Cow::Owned)
    }

    /// What finds secrets here, for a source that reads texts further than the engine could.
    pub fn redactor(&self) -> &Arc<Redactor> {
        &self.redactor
    }

    /// The time now.
    pub fn now(&self) -> Time {
        self.clock.now()
    }

    /// The source's counters.
    pub fn metrics(&self) -> &Arc<ComponentMetrics> {
        &self.metrics
    }
}

/// What the fields of a parsed line take beside its text, for the bounds of lanes [bytes].
const FIELDS_OF_A_LINE: usize = 384;

type Tell = Box<dyn FnOnce(Verdict) + Send>;

/// Passes an answer on to whoever wants to know, then to the one who counts them.
struct Teller {
    tracker: Arc<Tracker>,
    tell: parking_lot::Mutex<Option<(Ack, Tell)>>,
}

impl Creditor for Teller {
    fn answered(&self, _: u64, verdict: Verdict) {
        let told = self.tell.lock().take();
        if let Some((owed, tell)) = told {
            tell(verdict);
            owed.answer(verdict);
        }
    }

    fn failing(&self) {
        self.tracker.failing();
    }

    fn is_spoilt(&self) -> bool {
        self.tracker.is_spoilt()
    }
}

/// The answer that is owed for events that were sent. Dropping it waits for nothing; the events go on.
pub struct PendingVerdict {
    told: tokio::sync::oneshot::Receiver<Verdict>,
    abort: CancellationToken,
}

impl PendingVerdict {
    /// Waits for the answer; [`Stopped`] when the program gives up before there is one.
    pub async fn wait(self) -> Result<Verdict, Stopped> {
        tokio::select! {
            biased;
            verdict = self.told => Ok(verdict.unwrap_or(Verdict::Failed)),
            () = self.abort.cancelled() => Err(Stopped),
        }
    }
}

struct Waiter(parking_lot::Mutex<Option<tokio::sync::oneshot::Sender<Verdict>>>);

impl Creditor for Waiter {
    fn answered(&self, _: u64, verdict: Verdict) {
        if let Some(tell) = self.0.lock().take() {
            // A source that stopped waiting has no use for the answer.
            let _ = tell.send(verdict);
        }
    }
}

/// Redacts every text of an event; says 1 if something was redacted.
pub(crate) fn redact_event(event: &mut Event, redactor: &Redactor) -> u64 {
    let changes: Vec<_> = event
        .iter()
        .filter_map(|(field, value)| {
            if let ValueRef::Str(text) = value
                && let Some(clean) = redactor.redact_str(text)
            {
                return Some((field, Value::Str(clean)));
            }
            let mut owned =
                matches!(value, ValueRef::List(_) | ValueRef::Map(_)).then(|| value.to_owned())?;
            let rows = field.path() == CHANGES;
            redact_tree(&mut owned, redactor, rows).then_some((field, owned))
        })
        .collect();
    let changed = !changes.is_empty();
    for (field, value) in changes {
        event.set(field, value);
    }
    if changed {
        // The buffer still holds the clear text.
        event.detach();
    }
    u64::from(changed)
}

/// Rows of changes; there a `key` is the name of what was changed, and no key of a certificate.
const CHANGES: &str = "pve.changes";

fn redact_tree(value: &mut Value, redactor: &Redactor, rows: bool) -> bool {
    match value {
        Value::Str(text) => match redactor.redact_str(text) {
            Some(clean) => {
                *text = clean;
                true
            }
            None => false,
        },
        Value::List(values) => values.iter_mut().fold(false, |changed, value| {
            redact_tree(value, redactor, rows) | changed
        }),
        Value::Map(members) => members.iter_mut().fold(false, |changed, (key, value)| {
            if let Value::Str(text) = value
                && redactor.is_secret_key(key)
                && !(rows && key == "key")
            {
                *text = redactor.redact_value(text);
                return true;
            }
            redact_tree(value, redactor, key == "changes") | changed
        }),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
