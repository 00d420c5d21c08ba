//! The wrapper itself: feeding, saving, releasing, rolling back. The reasoning is in the [module](super).

mod back;
mod saving;

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::book::Book;
use super::file::{self, Made, StateTrouble};
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

/// What a [`Wrapper`] is built from.
pub struct Setup {
    /// The component's id.
    pub id: String,
    /// The component's type.
    pub type_name: &'static str,
    /// Where snapshots are kept; the file is called after the id.
    pub folder: PathBuf,
    /// The sources whose events come here, by way of whatever stands between.
    pub sources: Vec<String>,
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
    /// The transform wants event time to be that of events.
    dated: bool,
    /// It wants to know how far old files have been read.
    reads: bool,
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
            dated: transform.by_event_time(),
            reads: transform.by_reading(),
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
        let lane = self.lanes.hear(input, &batch.mark, now);
        let received = batch.events.len();
        let mut events = std::mem::take(&mut batch.events);
        let lanes = &mut self.lanes;
        events.retain(|event| !lanes.knows(lane, event, now));
        self.counts.replayed += (received - events.len()) as u64;
        if self.dated || self.reads {
            self.lanes.date(lane, &events, batch.mark.idle, now);
            if !events.is_empty() {
                self.transform.comes_from(&batch.mark.lane.source());
            }
        }
        if batch.mark.seen_to != NO_OPINION {
            self.transform.heard(batch.mark.lane, batch.mark.seen_to);
        }
        self.careful = self.careful.saturating_sub(1);
        let one_by_one = self.careful > 0 || !self.suspects.is_empty();
        if one_by_one || !self.transform.apply_all(&mut events, out) {
            self.apply_one_by_one(&mut events, &batch.mark, out);
        }
        let left = events.len();
        batch.events = events;
        self.advance(out);
        self.transform.tick(out);
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
        if !self.broken && !self.roll_back_due {
            self.transform.tick(out);
            self.keep_made(out);
        }
    }

    /// What the transform has made waits for its snapshot.
    fn keep_made(&mut self, out: &mut Outputs) {
        let now = out.now();
        for (output, event) in out.made.drain(..) {
            self.made_at = self.made_at.or(Some(now));
            self.dirty = true;
            self.outbox.push(Made {
                epoch: self.epoch,
                output,
                event,
            });
        }
    }

    /// Tells the transform how far event time has come.
    fn advance(&mut self, out: &mut Outputs) {
        if self.reads
            && let Some(at) = self.lanes.read_to(&self.setup.sources)
        {
            self.transform.read_to(at, out);
        }
        if self.dated {
            if let Some((watermark, silent)) = self.lanes.advance_dated() {
                self.transform.silent(&silent);
                self.transform.advance(watermark, out);
            }
        } else if let Some(watermark) = self.lanes.advance() {
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
        self.dirty |= !main.events.is_empty();
        // Whoever comes behind must not trust in places: after a restart they may come in another order.
        main.events
            .iter_mut()
            .for_each(|event| event.set_ordinal(0));
        self.keep_made(out);
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

    /// How many things the transform remembers.
    pub fn remembered(&self) -> usize {
        self.transform.remembered()
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
