//! One worker of a sink: writes until every event of a job has an end, whatever the sink says or does.
//!
//! The sink's word decides: delivered; again, in place and without end; refused, which halves the write until the one
//! event is found that becomes a dead letter. A panic is caught, the sink is built anew and the same events are written
//! again; the third panic on the same events is taken for a refusal of the whole. A write that does not come back is
//! told of but never broken off while the program runs, for nobody could say which of its events went out.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::health::WorkerHealth;
use super::job::{Job, Set};
use super::node::panic_text;
use super::retry::{Backoff, Pace, chance};
use crate::component::{Fate, Reason, ReasonKind, Sink, WriteError, Written};
use crate::dlq::{DeadLetters, Death};
use crate::events::Events;
use crate::telemetry::{ComponentMetrics, Limited, Stage};

/// Makes a sink. It was made once when the configuration was read, so a failure here is news, and is tried again.
pub type BuildSink = Arc<dyn Fn() -> Result<Box<dyn Sink>, String> + Send + Sync>;

/// What all workers of one sink share.
pub(crate) struct Shared {
    pub(crate) id: String,
    pub(crate) type_name: &'static str,
    pub(crate) build: BuildSink,
    pub(crate) pace: Pace,
    /// Where the refused go. `None`: they stay in the job, for whoever looks there.
    pub(crate) dead_letters: Option<Arc<DeadLetters>>,
    /// Finish what is going well, give back what is not.
    pub(crate) hand_over: CancellationToken,
    /// Give up.
    pub(crate) abort: CancellationToken,
    pub(crate) known_size: KnownSize,
    pub(crate) logs: Logs,
}

/// At most one line of each in ten seconds, for each sink.
#[derive(Default)]
pub(crate) struct Logs {
    pub(super) panicked: Limited,
    refused: Limited,
    odd: Limited,
    slow: Limited,
}

/// So many panics on the same events are no accident.
const PANICS: u32 = 3;
/// A write that takes longer is told of; sinks have a timeout of their own, which is shorter.
const SLOW: Duration = Duration::from_secs(180);
/// A write under way may take this much longer when everything is given up.
const GRACE: Duration = Duration::from_secs(1);
/// Longest wait for a sink to close.
const CLOSING: Duration = Duration::from_secs(10);
/// Longest wait for the answer to a check.
const CHECKING: Duration = Duration::from_secs(10);

pub(crate) struct Writer {
    shared: Arc<Shared>,
    metrics: Arc<ComponentMetrics>,
    health: WorkerHealth,
    sink: Option<Box<dyn Sink>>,
    backoff: Backoff,
    /// The dead letters could not be written the last time.
    grave_shut: bool,
}

/// How one call of the sink ended.
enum Outcome {
    Said(Result<Written, WriteError>),
    Panicked(String),
    GivenUp,
}

impl Writer {
    pub(crate) fn new(
        shared: Arc<Shared>,
        metrics: Arc<ComponentMetrics>,
        health: WorkerHealth,
    ) -> Writer {
        let backoff = Backoff::new(shared.pace);
        Writer {
            shared,
            metrics,
            health,
            sink: None,
            backoff,
            grave_shut: false,
        }
    }

    pub(crate) fn metrics(&self) -> Arc<ComponentMetrics> {
        Arc::clone(&self.metrics)
    }

    pub(crate) fn is_failing(&self) -> bool {
        self.health.is_failing()
    }

    /// Writes until every event of the job has an end; `false` if it was told to stop before.
    pub(crate) async fn work(&mut self, job: &mut Job) -> bool {
        if let Some(most) = self.shared.known_size.get() {
            job.cap(most);
        }
        let mut sizes = Sizes::default();
        while let Some(mut set) = job.next() {
            set.attempts += 1;
            let outcome = self.write(job.of(&set)).await;
            if !self.judge(job, set, outcome, &mut sizes).await {
                return false;
            }
        }
        if let Some(most) = sizes.lesson() {
            self.shared.known_size.remember(most);
        }
        while !self.bury(job).await {
            if !self.pause(None).await {
                return false;
            }
        }
        true
    }

    /// Does what the outcome of one write asks for; `false`: stop.
    async fn judge(
        &mut self,
        job: &mut Job,
        mut set: Set,
        outcome: Outcome,
        sizes: &mut Sizes,
    ) -> bool {
        let said = match outcome {
            Outcome::Said(said) => said,
            Outcome::GivenUp => {
                job.again(set);
                return false;
            }
            Outcome::Panicked(why) => {
                set.panics += 1;
                self.panicked(&why, set.places.len());
                if set.panics < PANICS {
                    job.again(set);
                    return self.sleep(chance(self.shared.pace.initial)).await;
                }
                Err(WriteError::Refused {
                    reason: Reason::new(ReasonKind::Panic, why),
                })
            }
        };
        match said {
            Ok(written) => {
                self.delivered(set.places.len(), job.share(set.places.len()), written);
                if sizes.too_large {
                    sizes.went_well = sizes.went_well.max(job.size(&set));
                }
                job.delivered(&set);
                true
            }
            Err(WriteError::Retry { reason, after }) => {
                job.again(set);
                self.again(job, &reason, after).await
            }
            Err(WriteError::Refused { reason }) => {
                let one = set.places.len() == 1;
                if reason.kind == ReasonKind::TooLarge {
                    sizes.too_large = true;
                    sizes.one_alone |= one;
                }
                if one {
                    job.refused(&set, &reason);
                } else {
                    set.panics = if reason.kind == ReasonKind::Panic {
                        set.panics
                    } else {
                        0
                    };
                    tracing::debug!(component_id = self.shared.id, events = set.places.len(), %reason, "refused; the halves are tried");
                    job.halve(set);
                }
                true
            }
            Err(WriteError::Partly(fates, written)) => {
                let (again, refused, reason) = self.sort(fates, set.places.len());
                let delivered = set.places.len() - again.len() - refused.len();
                if delivered > 0 {
                    self.delivered(delivered, job.share(delivered), written);
                }
                job.partly(&set, &again, refused);
                let Some(reason) = reason else { return true };
                self.again(job, &reason, None).await
            }
        }
    }

    /// What is written again and what is refused, ascending and each place once, and the reason of the former.
    fn sort(
        &self,
        fates: Vec<(u32, Fate)>,
        len: usize,
    ) -> (Vec<u32>, Vec<(u32, Reason)>, Option<Reason>) {
        let (mut again, mut refused, mut reason) = (Vec::new(), Vec::new(), None);
        for (place, fate) in fates {
            if place as usize >= len {
                self.odd("the sink names an event that it was not given; that is ignored");
                continue;
            }
            match fate {
                Fate::Retry(why) => {
                    again.push(place);
                    reason.get_or_insert(why);
                }
                Fate::Refused(why) => refused.push((place, why)),
            }
        }
        again.sort_unstable();
        again.dedup();
        refused.sort_by_key(|(place, _)| *place);
        refused.dedup_by_key(|(place, _)| *place);
        // Named twice with two fates: writing once more does no harm, a wrong dead letter does.
        refused.retain(|(place, _)| again.binary_search(place).is_err());
        (again, refused, reason)
    }

    /// Calls the sink once.
    async fn write(&mut self, events: Events) -> Outcome {
        let shared = Arc::clone(&self.shared);
        self.health.began();
        let sink = match self.sink() {
            Ok(sink) => sink,
            Err(reason) => {
                return Outcome::Said(Err(WriteError::Retry {
                    reason,
                    after: None,
                }));
            }
        };
        let began = Instant::now();
        let mut write = AssertUnwindSafe(sink.write(events)).catch_unwind();
        let mut tell_at = began + SLOW;
        let mut end_at = None;
        loop {
            let deadline = end_at.unwrap_or(tell_at);
            tokio::select! {
                biased;
                done = &mut write => {
                    return match done {
                        Ok(said) => Outcome::Said(said),
                        Err(panic) => Outcome::Panicked(panic_text(&*panic)),
                    };
                }
                () = shared.abort.cancelled(), if end_at.is_none() => end_at = Some(Instant::now() + GRACE),
                () = tokio::time::sleep_until(deadline) => {
                    if end_at.is_some() {
                        return Outcome::GivenUp;
                    }
                    tell_at += SLOW;
                    if shared.logs.slow.pass().is_some() {
                        let secs = began.elapsed().as_secs();
                        tracing::warn!(component_id = shared.id, "a write has been under way for {secs} s; its events wait for its answer");
                    }
                }
            }
        }
    }

    /// The sink, built anew if there is none.
    fn sink(&mut self) -> Result<&mut Box<dyn Sink>, Reason> {
        if self.sink.is_none() {
            let build = || (self.shared.build)();
            let built = std::panic::catch_unwind(AssertUnwindSafe(build));
            let built = built.unwrap_or_else(|panic| Err(panic_text(&*panic)));
            let mut sink = built.map_err(|why| {
                Reason::new(ReasonKind::Blocked, format!("cannot be built: {why}"))
            })?;
            sink.counts(&self.metrics);
            self.sink = Some(sink);
        }
        self.sink
            .as_mut()
            .ok_or_else(|| Reason::new(ReasonKind::Blocked, "not built"))
    }

    /// Asks the sink whether the other side is there.
    pub(crate) async fn check(&mut self) {
        let (abort, hand_over) = (self.shared.abort.clone(), self.shared.hand_over.clone());
        let answer = match self.sink() {
            Err(reason) => Err(reason),
            Ok(sink) => {
                let check = AssertUnwindSafe(sink.healthcheck()).catch_unwind();
                let check = tokio::time::timeout(CHECKING, check);
                let answer = tokio::select! {
                    answer = check => answer,
                    () = abort.cancelled() => return,
                    () = hand_over.cancelled() => return,
                };
                match answer {
                    Ok(Ok(answer)) => answer,
                    Ok(Err(panic)) => {
                        self.bury_sink();
                        Err(Reason::new(ReasonKind::Panic, panic_text(&*panic)))
                    }
                    Err(_) => Err(Reason::new(
                        ReasonKind::Timeout,
                        format!("no answer to the check within {CHECKING:?}"),
                    )),
                }
            }
        };
        match answer {
            Ok(()) => self.health.well(),
            Err(reason) => self.health.failing(&reason, 1),
        }
    }

    /// No more events come.
    pub(crate) async fn close(mut self) {
        let Some(mut sink) = self.sink.take() else {
            return;
        };
        let close = AssertUnwindSafe(async { sink.close().await }).catch_unwind();
        let why = match tokio::time::timeout(CLOSING, close).await {
            Ok(Ok(Ok(()))) => return,
            Ok(Ok(Err(reason))) => reason.to_string(),
            Ok(Err(panic)) => panic_text(&*panic),
            Err(_) => format!("not done within {CLOSING:?}"),
        };
        self.metrics.error("close_failed", Stage::Sending, 1);
        tracing::error!(
            component_id = self.shared.id,
            "the sink did not close well: {why}"
        );
    }

    /// Makes what was refused durable in the dead letters; `false` if they cannot be written now.
    async fn bury(&mut self, job: &mut Job) -> bool {
        let Some(dead_letters) = self.shared.dead_letters.clone() else {
            return true;
        };
        if job.dead.is_empty() {
            return true;
        }
        let (events, dead) = job.funeral();
        let shared = Arc::clone(&self.shared);
        let written = tokio::task::spawn_blocking(move || {
            let deaths = dead.iter().filter_map(|dead| {
                let event = events.get(dead.place as usize)?;
                Some(Death {
                    event,
                    reason: &dead.reason,
                    attempts: dead.attempts,
                })
            });
            dead_letters.append_all(&shared.id, shared.type_name, deaths)
        });
        let written = written
            .await
            .unwrap_or_else(|why| Err(std::io::Error::other(why)));
        if let Err(why) = written {
            self.grave_shut = true;
            self.metrics.error("dead_letters_failed", Stage::Sending, 1);
            let text = format!(
                "{} events were refused and the dead letters cannot be written: {why}",
                job.dead.len()
            );
            self.health.failing(
                &Reason::new(ReasonKind::Disk, text),
                self.backoff.failures() + 1,
            );
            return false;
        }
        for dead in &job.dead {
            self.metrics.dead_lettered.add([dead.reason.kind.name()], 1);
        }
        if let (Some(held_back), Some(last)) = (self.shared.logs.refused.pass(), job.dead.last()) {
            tracing::warn!(
                component_id = self.shared.id,
                held_back,
                "{} events went to the dead letters, the last of them because of {}",
                job.dead.len(),
                last.reason
            );
        }
        job.buried();
        if std::mem::take(&mut self.grave_shut) {
            self.backoff.reset();
            self.health.well();
        }
        true
    }

    /// Waits before a repetition, having brought to an end what could be; `false`: stop.
    async fn again(&mut self, job: &mut Job, reason: &Reason, after: Option<Duration>) -> bool {
        // If the dead letters cannot be written now, they are again at the end of the job.
        let _ = self.bury(job).await;
        self.metrics.retries.add(1);
        self.metrics.error(reason.kind.name(), Stage::Sending, 1);
        self.health.failing(reason, self.backoff.failures() + 1);
        self.pause(after).await
    }

    async fn pause(&mut self, after: Option<Duration>) -> bool {
        let wait = self.backoff.next(after);
        self.sleep(wait).await
    }

    /// `false`: stop.
    async fn sleep(&mut self, wait: Duration) -> bool {
        tokio::select! {
            biased;
            () = self.shared.abort.cancelled() => false,
            () = self.shared.hand_over.cancelled() => false,
            () = tokio::time::sleep(wait) => true,
        }
    }

    fn delivered(&mut self, events: usize, bytes: usize, written: Written) {
        self.metrics.sent(events as u64);
        self.metrics.sent_event_bytes.add(bytes as u64);
        self.metrics.duplicates.add(written.duplicates);
        self.metrics.redirected.add(written.redirected);
        self.backoff.reset();
        self.health.well();
    }

    fn panicked(&mut self, why: &str, events: usize) {
        self.bury_sink();
        self.metrics.panics.add(1);
        self.metrics.error("panic", Stage::Sending, 1);
        if let Some(held_back) = self.shared.logs.panicked.pass() {
            tracing::error!(
                component_id = self.shared.id,
                component_type = self.shared.type_name,
                events,
                held_back,
                "the sink panicked; it is built anew and the same events are written again: {why}"
            );
        }
    }

    /// Throws a sink away that panicked; it may panic once more over that.
    fn bury_sink(&mut self) {
        let sink = self.sink.take();
        let _ = std::panic::catch_unwind(AssertUnwindSafe(|| drop(sink)));
    }

    fn odd(&self, what: &str) {
        self.metrics.error("bad_answer", Stage::Sending, 1);
        if self.shared.logs.odd.pass().is_some() {
            tracing::error!(
                component_id = self.shared.id,
                component_type = self.shared.type_name,
                "{what}"
            );
        }
    }
}

/// What one job teaches about how large a write may be.
#[derive(Default)]
struct Sizes {
    /// A write was too large.
    too_large: bool,
    /// And so was an event alone, which explains it.
    one_alone: bool,
    /// The largest write since then that went well [bytes].
    went_well: usize,
}

impl Sizes {
    fn lesson(&self) -> Option<usize> {
        (self.too_large && !self.one_alone && self.went_well > 0).then_some(self.went_well)
    }
}

/// The size of a write that is known to be taken, remembered for a while so that not every write is refused once.
#[derive(Default)]
pub(crate) struct KnownSize(Mutex<Option<(usize, Instant)>>);

/// After this long the larger size is tried again.
const REMEMBERED: Duration = Duration::from_secs(600);

impl KnownSize {
    fn get(&self) -> Option<usize> {
        let mut known = self.0.lock();
        known.take_if(|(_, since)| since.elapsed() > REMEMBERED);
        known.map(|(most, _)| most)
    }

    fn remember(&self, most: usize) {
        *self.0.lock() = Some((most, Instant::now()));
    }
}
