//! The wrapper itself: feeding, saving, releasing, rolling back. The reasoning is in the [module](super).

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::book::Book;
use super::file::{self, Done, Image, Made, Outcome, StateTrouble, Step, Work};
use super::lanes::{Lanes, NO_OPINION};
use crate::ack::Ack;
use crate::batch::Batch;
use crate::clock::Time;
use crate::component::run::Stateful;
use crate::event::{Event, EventId};
use crate::mark::{LaneId, Mark};
use crate::outputs::Outputs;

/// Time between snapshots, unless the operator or the source in front says otherwise.
pub const INTERVAL: Duration = Duration::from_secs(30);
/// After a start the first snapshots come sooner, so that a program that is killed again and again gets on.
const FIRST_INTERVAL: Duration = Duration::from_secs(1);
/// How long made events wait for company before they are saved together.
const GROUP: Duration = Duration::from_millis(50);
/// Inputs held, at least, before that alone causes a snapshot [bytes].
const HELD_BYTES: usize = 64 << 20;
/// A large state is saved when this many times its size is held.
const HELD_PER_STATE: usize = 32;
/// Answers held before that alone causes a snapshot.
const HELD_ACKS: usize = 65_536;
/// Snapshots for the sake of what is held come at most so often.
const LEAST_INTERVAL: Duration = Duration::from_secs(1);
/// Wait after a snapshot that could not be written.
const RETRY: Duration = Duration::from_secs(5);
/// An event on which the transform panicked this often is left out.
const PANICS: u32 = 3;
/// After a panic so many batches are fed one event at a time [batches].
const CAREFUL: u32 = 256;
/// Events remembered for having caused a panic; more begin anew [events].
const MOST_SUSPECTS: usize = 10_000;

/// What a [`Wrapper`] is built from.
pub struct Setup {
    /// The component's id.
    pub id: String,
    /// The component's type.
    pub type_name: &'static str,
    /// Where snapshots are kept; the file is called after the id.
    pub folder: PathBuf,
    /// Names of the inputs, as the configuration lists them; [`Wrapper::feed`] takes their places.
    pub inputs: Vec<String>,
    /// Number of named outputs.
    pub outputs: usize,
    /// Time between snapshots ([`INTERVAL`]).
    pub interval: Duration,
    /// Makes a fresh transform.
    pub build: Box<dyn Fn() -> Result<Box<dyn Stateful>, String> + Send>,
}

/// What happened since the counts were last [taken](Wrapper::take_counts).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Events that the state knew already.
    pub replayed: u64,
    /// Events of a start that had failed; they come again.
    pub rejected: u64,
    /// Snapshots that became current.
    pub snapshots: u64,
    /// Bytes of these snapshots [bytes].
    pub snapshot_bytes: u64,
    /// Snapshots that could not be written.
    pub failed_snapshots: u64,
    /// Returns to the current snapshot.
    pub rollbacks: u64,
    /// Saved states that were of no use.
    pub useless: u64,
    /// Events left out because the transform panics on them.
    pub poisoned: u64,
}

struct Held {
    epoch: u64,
    ack: Ack,
}

/// A snapshot on its way.
struct Pending {
    epoch: u64,
    stage: Stage,
    bytes: u64,
}

enum Stage {
    Writing,
    Written(PathBuf),
    Committing,
}

/// Stands around a transform that remembers. See the [module](super) for what it promises and why it holds.
pub struct Wrapper {
    setup: Setup,
    path: PathBuf,
    transform: Box<dyn Stateful>,
    lanes: Lanes,
    wake: Arc<Notify>,
    book: Arc<Book>,
    /// Lane of what the transform makes.
    own_lane: LaneId,
    epoch: u64,
    /// Grows with every roll-back, so that steps begun before it are recognised.
    generation: u64,
    held: VecDeque<Held>,
    held_bytes: usize,
    outbox: Vec<Made>,
    pending: Option<Pending>,
    in_flight: bool,
    roll_back_due: bool,
    /// Why there is no state to work on; tried again with every batch.
    broken: bool,
    dirty: bool,
    stopping: bool,
    made_at: Option<Time>,
    saved_at: Time,
    interval: Duration,
    not_before: Option<Time>,
    last_size: usize,
    steps: u64,
    applying: Option<EventId>,
    /// Batches that are still fed one event at a time.
    careful: u32,
    suspects: HashMap<EventId, u32>,
    poisoned: Vec<Batch>,
    counts: Counts,
}

impl Wrapper {
    /// Builds the transform and gives it the saved state, if there is one. Events that had been made and not known to
    /// have left are in `out` afterwards. The second value tells of a saved state that was of no use and put aside.
    pub fn open(
        mut setup: Setup,
        now: Time,
        out: &mut Outputs,
    ) -> Result<(Wrapper, Option<StateTrouble>), StateTrouble> {
        if setup.inputs.is_empty() {
            setup.inputs.push(String::new());
        }
        let path = setup.folder.join(format!("{}.state", setup.id));
        file::remove_leftovers(&path);
        let wake = Arc::new(Notify::new());
        let transform = build(&setup)?;
        let mut wrapper = Wrapper {
            path,
            transform,
            lanes: Lanes::default(),
            book: Book::new(&wake),
            wake,
            own_lane: LaneId::new(&setup.id, "made"),
            epoch: 1,
            generation: 0,
            held: VecDeque::new(),
            held_bytes: 0,
            outbox: Vec::new(),
            pending: None,
            in_flight: false,
            roll_back_due: false,
            broken: false,
            dirty: false,
            stopping: false,
            made_at: None,
            saved_at: now,
            interval: FIRST_INTERVAL.min(setup.interval),
            not_before: None,
            last_size: 0,
            steps: 0,
            applying: None,
            careful: 0,
            suspects: HashMap::new(),
            poisoned: Vec::new(),
            counts: Counts::default(),
            setup,
        };
        let trouble = wrapper.load(now, out)?;
        Ok((wrapper, trouble))
    }

    /// Told when [`next_step`](Self::next_step) or [`tick`](Self::tick) may have something to do because of an answer.
    pub fn wake(&self) -> Arc<Notify> {
        Arc::clone(&self.wake)
    }

    /// Applies a batch that came by the input `input`. What the transform lets go is in `out` afterwards, as batches.
    pub fn feed(&mut self, input: usize, mut batch: Batch, out: &mut Outputs) {
        let now = out.now();
        self.tick(out);
        if batch.ack.is_spoilt() || self.roll_back_due || self.broken {
            // Dropped unanswered: its source starts again, and reads it again.
            self.counts.rejected += batch.events.len() as u64;
            return;
        }
        let input = u16::try_from(input).unwrap_or(u16::MAX);
        let lane = self
            .lanes
            .hear(input, batch.mark.lane, batch.mark.seen_to, now);
        let received = batch.events.len();
        let mut events = std::mem::take(&mut batch.events);
        let lanes = &mut self.lanes;
        events.retain(|event| !lanes.knows(lane, event, now));
        self.counts.replayed += (received - events.len()) as u64;
        self.careful = self.careful.saturating_sub(1);
        let one_by_one = self.careful > 0 || !self.suspects.is_empty();
        if one_by_one || !self.transform.apply_all(&mut events, out) {
            self.apply_one_by_one(&mut events, &batch.mark, out);
        }
        let left = events.len();
        batch.events = events;
        self.advance(out);
        let later: usize = out.emitted.iter().map(Event::size).sum();
        batch.events.append(&mut out.emitted);
        let ack = self.answer_for(!batch.events.is_empty());
        let input_ack = std::mem::replace(&mut batch.ack, ack);
        if received == 0 {
            // Nothing of it is in the state, so there is nothing to wait for.
            input_ack.delivered();
        } else {
            self.held.push_back(Held {
                epoch: self.epoch,
                ack: input_ack,
            });
            self.held_bytes += batch.bytes;
            self.dirty = true;
        }
        // Events that go on are taken to be as large as the others of their batch.
        batch.bytes = (batch.bytes * left).checked_div(received).unwrap_or(0) + later;
        let tell = received == 0 || self.lanes.is_due_to_tell(lane);
        self.hand_out(batch, tell, out);
    }

    /// Leaves in `events` what goes on.
    fn apply_one_by_one(&mut self, events: &mut Vec<Event>, mark: &Mark, out: &mut Outputs) {
        for event in events.drain(..) {
            if !self.suspects.is_empty() && self.is_poison(event.id()) {
                self.leave_out(event, mark);
                continue;
            }
            self.applying = Some(event.id());
            self.transform.apply(event, out);
        }
        self.applying = None;
        // The emptied list is where the next events that go on are collected.
        std::mem::swap(&mut out.emitted, events);
    }

    /// Takes note of answers and of time. Call it when [woken](Self::wake) and about once a second.
    pub fn tick(&mut self, out: &mut Outputs) {
        if self.broken || self.roll_back_due && !self.in_flight || self.book.has_failed() {
            self.roll_back(out);
        }
    }

    /// The next blocking work to do, if any; run it elsewhere and call [`done`](Self::done). One at a time.
    pub fn next_step(&mut self, now: Time) -> Option<Step> {
        if self.in_flight || self.broken || self.roll_back_due || self.book.has_failed() {
            return None;
        }
        if let Some(pending) = &mut self.pending {
            let Stage::Written(aside) = &pending.stage else {
                return None;
            };
            if !self.book.is_settled(pending.epoch) || self.not_before.is_some_and(|at| now < at) {
                return None;
            }
            let work = Work::Commit {
                aside: aside.clone(),
                path: self.path.clone(),
            };
            pending.stage = Stage::Committing;
            self.in_flight = true;
            return Some(Step {
                generation: self.generation,
                work,
            });
        }
        if !self.dirty || self.due().is_some_and(|at| now < at) {
            return None;
        }
        Some(self.begin(now))
    }

    /// When a snapshot is due; `None` means at once.
    fn due(&self) -> Option<Time> {
        if self.stopping {
            return self.not_before;
        }
        let mut at = self.saved_at.after(self.interval);
        if let Some(made) = self.made_at {
            at = at.min(made.after(GROUP));
        }
        let enough = HELD_BYTES.max(HELD_PER_STATE * self.last_size);
        if self.held_bytes >= enough || self.held.len() >= HELD_ACKS {
            at = at.min(self.saved_at.after(LEAST_INTERVAL));
        }
        Some(self.not_before.map_or(at, |least| at.max(least)))
    }

    /// When to ask for the next step, if nothing else happens before.
    pub fn next_due(&self) -> Option<Time> {
        if self.in_flight || !self.dirty && self.pending.is_none() {
            return None;
        }
        if self.pending.is_some() {
            return self.not_before;
        }
        self.due()
    }

    /// Ends the epoch and writes down what the state is now.
    fn begin(&mut self, now: Time) -> Step {
        let mut state = Vec::with_capacity(self.last_size + self.last_size / 8);
        self.transform.save(&mut state);
        self.last_size = state.len();
        let meaning = self.transform.meaning();
        let image = Image::new(
            self.setup.type_name,
            meaning,
            &self.lanes,
            &self.setup.inputs,
            &self.outbox,
            state,
            now,
        );
        self.steps += 1;
        let aside = self
            .path
            .with_extension(format!("state.new-{}", self.steps));
        self.pending = Some(Pending {
            epoch: self.epoch,
            stage: Stage::Writing,
            bytes: 0,
        });
        self.epoch += 1;
        self.dirty = false;
        self.made_at = None;
        self.not_before = None;
        self.saved_at = now;
        self.held_bytes = 0;
        self.interval = (self.interval * 2).min(self.setup.interval);
        self.in_flight = true;
        let work = Work::Write {
            image: Box::new(image),
            aside,
        };
        Step {
            generation: self.generation,
            work,
        }
    }

    /// Takes the result of a step. What may leave now is in `out` afterwards.
    pub fn done(&mut self, done: Done, out: &mut Outputs) {
        self.in_flight = false;
        let now = out.now();
        if done.generation != self.generation {
            if let Ok(Outcome::Written(aside, _)) = done.result {
                // Of a state that was given up; if it stays, the next start removes it.
                let _ = std::fs::remove_file(aside);
            }
            return self.tick(out);
        }
        match done.result {
            Ok(Outcome::Written(aside, bytes)) => {
                if let Some(pending) = &mut self.pending {
                    pending.stage = Stage::Written(aside);
                    pending.bytes = bytes;
                }
            }
            Ok(Outcome::Committed) => self.release(now, out),
            Err((path, error)) => self.not_saved(&path, &error, now),
        }
        self.tick(out);
    }

    /// The pending snapshot is current: its inputs are answered, and what was made for it leaves.
    fn release(&mut self, now: Time, out: &mut Outputs) {
        let Some(pending) = self.pending.take() else {
            return;
        };
        self.counts.snapshots += 1;
        self.counts.snapshot_bytes += pending.bytes;
        while self
            .held
            .front()
            .is_some_and(|held| held.epoch <= pending.epoch)
        {
            if let Some(held) = self.held.pop_front() {
                held.ack.delivered();
            }
        }
        self.lanes.released(now);
        let (leaving, staying) = std::mem::take(&mut self.outbox)
            .into_iter()
            .partition(|made: &Made| made.epoch <= pending.epoch);
        self.outbox = staying;
        self.send_made(leaving, out);
    }

    #[cold]
    fn not_saved(&mut self, path: &std::path::Path, error: &std::io::Error, now: Time) {
        self.counts.failed_snapshots += 1;
        self.not_before = Some(now.after(RETRY));
        tracing::error!(
            component_id = self.setup.id, path = %path.display(), %error,
            "cannot save the state; its inputs stay unanswered and it is tried again in 5 s; free space on the disk or mend the folder"
        );
        match &mut self.pending {
            Some(Pending {
                stage: stage @ Stage::Committing,
                ..
            }) => {
                // The file is there and good; only making it current failed. `commit` may be repeated.
                *stage = Stage::Written(
                    self.path
                        .with_extension(format!("state.new-{}", self.steps)),
                );
            }
            _ => {
                // The next snapshot covers this epoch too.
                self.pending = None;
                self.dirty = true;
            }
        }
    }

    /// Events of the transform's own leave.
    fn send_made(&mut self, made: Vec<Made>, out: &mut Outputs) {
        if made.is_empty() {
            return;
        }
        // The next snapshot is the first that need not hold them.
        self.dirty = true;
        let mut by_output: Vec<(usize, Vec<Event>)> = Vec::new();
        for Made { output, event, .. } in made {
            match by_output.iter_mut().find(|(held, _)| *held == output) {
                Some((_, events)) => events.push(event),
                None => by_output.push((output, vec![event])),
            }
        }
        for (output, events) in by_output {
            let mark = Mark {
                lane: self.own_lane,
                start: 0,
                seen_to: NO_OPINION,
            };
            out.named
                .push((output, Batch::new(events, mark, self.book.owe(self.epoch))));
        }
    }

    /// Tells the transform how far event time has come.
    fn advance(&mut self, out: &mut Outputs) {
        if let Some(watermark) = self.lanes.advance() {
            self.transform.advance(watermark, out);
        }
    }

    fn answer_for(&self, something: bool) -> Ack {
        if something {
            self.book.owe(self.epoch)
        } else {
            Ack::nobody()
        }
    }

    /// Makes batches of what the transform has put into `out`.
    fn hand_out(&mut self, mut main: Batch, tell: bool, out: &mut Outputs) {
        let now = out.now();
        self.dirty |= !main.events.is_empty();
        // Whoever comes behind must not trust in places: after a restart they may come in another order.
        main.events
            .iter_mut()
            .for_each(|event| event.set_ordinal(0));
        for (output, event) in out.made.drain(..) {
            self.made_at = self.made_at.or(Some(now));
            self.dirty = true;
            self.outbox.push(Made {
                epoch: self.epoch,
                output,
                event,
            });
        }
        if tell || !out.sent.is_empty() {
            let mut named: Vec<Vec<Event>> = vec![Vec::new(); self.setup.outputs];
            for (output, mut event) in out.sent.drain(..) {
                event.set_ordinal(0);
                match named.get_mut(output) {
                    Some(events) => events.push(event),
                    None => tracing::error!(
                        component_id = self.setup.id,
                        output,
                        "an event was emitted to an output that does not exist"
                    ),
                }
            }
            for (output, events) in named.into_iter().enumerate() {
                if tell || !events.is_empty() {
                    self.dirty |= !events.is_empty();
                    let ack = self.answer_for(!events.is_empty());
                    out.named
                        .push((output, Batch::new(events, main.mark.clone(), ack)));
                }
            }
        }
        if !out.erred.is_empty() {
            let mut erred = std::mem::take(&mut out.erred);
            erred.iter_mut().for_each(|event| event.set_ordinal(0));
            let ack = self.answer_for(true);
            out.aside_errors = Some(Batch::new(erred, main.mark.clone(), ack));
        }
        out.main.push(main);
    }

    /// Back to the current snapshot; everything held fails, so that its sources repeat it.
    fn roll_back(&mut self, out: &mut Outputs) {
        let committing = matches!(
            self.pending,
            Some(Pending {
                stage: Stage::Committing,
                ..
            })
        );
        if committing && self.in_flight {
            // Which of the two snapshots is the current one shows when the step is done.
            self.roll_back_due = true;
            return;
        }
        self.roll_back_due = false;
        if !self.broken {
            self.counts.rollbacks += 1;
            tracing::warn!(
                component_id = self.setup.id,
                held = self.held.len(),
                "an output failed; back to the saved state, and the inputs since then are read again"
            );
        }
        self.generation += 1;
        self.book = Book::new(&self.wake);
        if let Some(Pending {
            stage: Stage::Written(aside),
            ..
        }) = self.pending.take()
        {
            // If it stays, the next start removes it.
            let _ = std::fs::remove_file(aside);
        }
        self.held.clear();
        self.held_bytes = 0;
        self.outbox.clear();
        out.clear();
        self.dirty = false;
        self.made_at = None;
        self.applying = None;
        match build(&self.setup) {
            Ok(transform) => self.transform = transform,
            Err(trouble) => return self.break_down(&trouble),
        }
        self.broken = false;
        match self.load(out.now(), out) {
            Ok(None) => {}
            Ok(Some(trouble)) => {
                tracing::error!(component_id = self.setup.id, "{trouble}");
            }
            Err(trouble) => self.break_down(&trouble),
        }
    }

    #[cold]
    fn break_down(&mut self, trouble: &StateTrouble) {
        if !std::mem::replace(&mut self.broken, true) {
            tracing::error!(
                component_id = self.setup.id,
                "{trouble}; nothing is taken in until that is mended"
            );
        }
    }

    /// Gives the transform, which is fresh, the current snapshot.
    fn load(&mut self, now: Time, out: &mut Outputs) -> Result<Option<StateTrouble>, StateTrouble> {
        self.lanes = Lanes::default();
        let meaning = self.transform.meaning();
        let (path, type_name) = (&self.path, self.setup.type_name);
        let found =
            file::load(path, type_name, &meaning, &self.setup.inputs, now).map_err(|source| {
                StateTrouble::Io {
                    doing: "read",
                    path: path.clone(),
                    source,
                }
            })?;
        let Some(found) = found else {
            return Ok(None);
        };
        let loaded = found.and_then(|loaded| {
            self.transform
                .load(&loaded.state)
                .map_err(|error| error.to_string())?;
            Ok(loaded)
        });
        match loaded {
            Ok(loaded) => {
                self.last_size = loaded.state.len();
                self.lanes = loaded.lanes;
                let made = loaded.outbox.into_iter();
                let made = made.map(|(output, event)| Made {
                    epoch: self.epoch,
                    output,
                    event,
                });
                self.send_made(made.collect(), out);
                Ok(None)
            }
            Err(why) => {
                self.counts.useless += 1;
                let aside = file::put_aside(path, now)?;
                // It may have read half of what it could not use.
                self.transform = build(&self.setup)?;
                Ok(Some(StateTrouble::Useless {
                    path: path.clone(),
                    why,
                    aside,
                    type_name,
                }))
            }
        }
    }

    /// The transform panicked in [`feed`](Self::feed). Says how often it did so on the same event.
    pub fn panicked(&mut self, out: &mut Outputs) -> u32 {
        let mut times = 1;
        // Fed one by one, the next time shows which event it was.
        self.careful = CAREFUL;
        if let Some(id) = self.applying.take() {
            if self.suspects.len() >= MOST_SUSPECTS {
                self.suspects.clear();
            }
            let suspect = self.suspects.entry(id).or_insert(0);
            *suspect += 1;
            times = *suspect;
        }
        self.roll_back(out);
        times
    }

    fn is_poison(&self, id: EventId) -> bool {
        self.suspects.get(&id).is_some_and(|times| *times >= PANICS)
    }

    #[cold]
    fn leave_out(&mut self, event: Event, mark: &Mark) {
        self.counts.poisoned += 1;
        let ack = self.book.owe(self.epoch);
        self.poisoned
            .push(Batch::new(vec![event], mark.clone(), ack));
    }

    /// Events left out because the transform panics on them: make them durable in the dead letters, then answer.
    pub fn take_poisoned(&mut self) -> Vec<Batch> {
        std::mem::take(&mut self.poisoned)
    }

    /// Nothing comes in: what is held is saved soon rather than at the end of the interval.
    pub fn hurry(&mut self) {
        self.interval = self.interval.min(LEAST_INTERVAL);
    }

    /// From now on everything is saved and released as soon as it can be.
    pub fn stop(&mut self) {
        self.stopping = true;
        self.not_before = None;
    }

    /// Whether everything is saved, answered and released.
    pub fn is_settled(&self) -> bool {
        !self.dirty
            && self.pending.is_none()
            && !self.in_flight
            && self.held.is_empty()
            && self.outbox.is_empty()
    }

    /// Inputs that are held unanswered [batches].
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// What happened since this was last called.
    pub fn take_counts(&mut self) -> Counts {
        std::mem::take(&mut self.counts)
    }
}

fn build(setup: &Setup) -> Result<Box<dyn Stateful>, StateTrouble> {
    (setup.build)().map_err(|why| StateTrouble::Build {
        id: setup.id.clone(),
        why,
    })
}
