//! A model of everything around the wrapper that can go wrong, in any order: answers that come late, failures, holes,
//! sources that start again, crashes before and after every step. In the end everything must have happened once.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use proptest::prelude::*;

use super::{Setup, Step, Wrapper, file, read_event, write_event};
use crate::ack::{Ack, Creditor, Verdict};
use crate::batch::Batch;
use crate::clock::Time;
use crate::component::{StateError, Stateful};
use crate::event::{Event, EventId, Value, fields};
use crate::mark::{LaneId, Mark};
use crate::outputs::Outputs;

/// Inputs of each source.
const INPUTS: u64 = 60;
/// High half of the ids of made events; inputs have the number of their source there.
const MADE: u64 = 99;

/// Counts every input, keeps some back until time moves on, and makes an event of its own of every seventh.
#[derive(Default)]
struct Counting {
    counts: BTreeMap<(u64, u64), u64>,
    total: u64,
    kept: Vec<Event>,
}

impl Stateful for Counting {
    fn apply(&mut self, event: Event, out: &mut Outputs) {
        let [source, number] = event.id().0;
        *self.counts.entry((source, number)).or_default() += 1;
        self.total += 1;
        if self.total.is_multiple_of(7) {
            // Which event is the seventh depends on the order in which the lanes were read.
            let mut made = Event::new(EventId([MADE, self.total]), event.timestamp());
            made.set(fields::MESSAGE, Value::Str(event.id().to_string()));
            out.make(0, made);
        }
        if number % 5 == 0 {
            self.kept.push(event)
        } else {
            out.emit(event)
        }
    }

    fn advance(&mut self, watermark: Time, out: &mut Outputs) {
        for event in std::mem::take(&mut self.kept) {
            if event.timestamp() <= watermark {
                out.emit(event)
            } else {
                self.kept.push(event)
            }
        }
    }

    fn save(&self, to: &mut Vec<u8>) {
        to.extend_from_slice(&(self.counts.len() as u32).to_le_bytes());
        for ((source, number), count) in &self.counts {
            [source, number, count]
                .iter()
                .for_each(|n| to.extend_from_slice(&n.to_le_bytes()));
        }
        self.kept.iter().for_each(|event| write_event(event, to));
    }

    fn load(&mut self, mut from: &[u8]) -> Result<(), StateError> {
        fn take<const N: usize>(from: &mut &[u8]) -> [u8; N] {
            let (head, rest) = from.split_first_chunk().unwrap();
            *from = rest;
            *head
        }
        *self = Counting::default();
        for _ in 0..u32::from_le_bytes(take(&mut from)) {
            let [source, number, count] = [(); 3].map(|()| u64::from_le_bytes(take(&mut from)));
            self.counts.insert((source, number), count);
            self.total += count;
        }
        while !from.is_empty() {
            self.kept.push(read_event(&mut from)?);
        }
        Ok(())
    }
}

/// One start of a source: what it sent and how that was answered. Its position is the contiguous prefix.
struct Ledger(Mutex<Entries>);

struct Entries {
    position: u64,
    entries: VecDeque<(u64, Option<Verdict>)>,
    answered: u64,
    failed: bool,
}

impl Ledger {
    fn new(position: u64) -> Arc<Ledger> {
        Arc::new(Ledger(Mutex::new(Entries {
            position,
            entries: VecDeque::new(),
            answered: 0,
            failed: false,
        })))
    }

    fn owe(self: &Arc<Self>, to: u64) -> Ack {
        let mut inner = self.0.lock();
        let ticket = inner.answered + inner.entries.len() as u64;
        inner.entries.push_back((to, None));
        Ack::new(self.clone(), ticket)
    }
}

impl Creditor for Ledger {
    fn answered(&self, ticket: u64, verdict: Verdict) {
        let mut inner = self.0.lock();
        let place = (ticket - inner.answered) as usize;
        inner.entries[place].1 = Some(verdict);
        inner.failed |= verdict == Verdict::Failed;
        while inner
            .entries
            .front()
            .is_some_and(|(_, answer)| *answer == Some(Verdict::Delivered))
        {
            inner.position = inner.entries.pop_front().unwrap().0;
            inner.answered += 1;
        }
    }

    fn failing(&self) {
        self.0.lock().failed = true;
    }

    fn is_spoilt(&self) -> bool {
        self.0.lock().failed
    }
}

struct Source {
    number: u64,
    lane: LaneId,
    has_ordinals: bool,
    /// On the disk: what is left after a crash.
    stored: u64,
    ledger: Arc<Ledger>,
    start: u32,
    sent: u64,
}

impl Source {
    fn start_again(&mut self) {
        self.store();
        self.ledger = Ledger::new(self.stored);
        self.sent = self.stored;
        self.start += 1;
    }

    fn store(&mut self) {
        self.stored = self.stored.max(self.ledger.0.lock().position);
    }

    fn batch(&mut self, most: u64) -> Batch {
        let to = (self.sent + most).min(INPUTS);
        let events = (self.sent + 1..=to).map(|n| {
            let mut event = Event::new(EventId([self.number, n]), Time::from_secs(n as i64));
            event.set_ordinal(if self.has_ordinals { n } else { 0 });
            event
        });
        let events = events.collect();
        self.sent = to;
        let mark = Mark {
            lane: self.lane,
            start: self.start,
            seen_to: Time::from_secs(to as i64),
        };
        Batch::new(events, mark, self.ledger.owe(to))
    }
}

struct World<'a> {
    folder: &'a Path,
    sources: Vec<Source>,
    wrapper: Wrapper,
    out: Outputs,
    step: Option<Step>,
    flying: Vec<Batch>,
    /// What the sink has: ids, and for made events what they were made of.
    store: BTreeMap<EventId, BTreeSet<String>>,
    now: Time,
}

fn open(folder: &Path, out: &mut Outputs, now: Time) -> Wrapper {
    out.set_now(now);
    let setup = Setup {
        id: "model".to_owned(),
        type_name: "counting",
        folder: folder.to_owned(),
        inputs: vec!["in".to_owned()],
        outputs: 1,
        interval: Duration::from_secs(2),
        build: Box::new(|| Ok(Box::new(Counting::default()))),
    };
    let (wrapper, trouble) = Wrapper::open(setup, now, out).unwrap();
    assert!(trouble.is_none(), "{trouble:?}");
    wrapper
}

#[derive(Clone, Debug)]
enum Op {
    Feed(usize, u64),
    /// The batch is lost on its way, behind a later one's back.
    Hole(usize, u64),
    Idle(usize),
    Deliver(usize),
    Fail(usize),
    BeginStep,
    FinishStep,
    StorePositions,
    SourceFails(usize),
    /// `true`: the step that had begun did all of its work before the end.
    Crash(bool),
}

fn ops() -> impl Strategy<Value = Op> {
    prop_oneof![
        12 => (0_usize..2, 1_u64..6).prop_map(|(s, n)| Op::Feed(s, n)),
        1 => (0_usize..2, 1_u64..4).prop_map(|(s, n)| Op::Hole(s, n)),
        2 => (0_usize..2).prop_map(Op::Idle),
        12 => (0_usize..4).prop_map(Op::Deliver),
        1 => (0_usize..4).prop_map(Op::Fail),
        6 => Just(Op::BeginStep),
        6 => Just(Op::FinishStep),
        3 => Just(Op::StorePositions),
        1 => (0_usize..2).prop_map(Op::SourceFails),
        1 => any::<bool>().prop_map(Op::Crash),
    ]
}

impl World<'_> {
    fn new(folder: &Path) -> World<'_> {
        let mut out = Outputs::new("counting", false);
        let now = Time::from_secs(1000);
        let source = |number: u64, has_ordinals| Source {
            number,
            lane: LaneId::new("model", &number.to_string()),
            has_ordinals,
            stored: 0,
            ledger: Ledger::new(0),
            start: 0,
            sent: 0,
        };
        World {
            folder,
            sources: vec![source(1, true), source(2, false)],
            wrapper: open(folder, &mut out, now),
            out,
            step: None,
            flying: Vec::new(),
            store: BTreeMap::new(),
            now,
        }
    }

    fn act(&mut self, op: Op) {
        self.now = self.now.after(Duration::from_millis(120));
        self.out.set_now(self.now);
        match op {
            Op::Feed(source, most) => {
                self.restart_failed();
                let batch = self.sources[source].batch(most);
                self.wrapper.feed(0, batch, &mut self.out);
            }
            Op::Hole(source, most) => {
                self.restart_failed();
                drop(self.sources[source].batch(most));
                let behind = self.sources[source].batch(most);
                self.wrapper.feed(0, behind, &mut self.out);
            }
            Op::Idle(source) => {
                self.restart_failed();
                let source = &self.sources[source];
                let seen_to = Time::from_secs(if source.sent == INPUTS {
                    1_000_000
                } else {
                    source.sent as i64
                });
                let mark = Mark {
                    lane: source.lane,
                    start: source.start,
                    seen_to,
                };
                self.wrapper
                    .feed(0, Batch::empty(mark, Ack::nobody()), &mut self.out);
            }
            Op::Deliver(n) if n < self.flying.len() => {
                let batch = self.flying.remove(n);
                for event in &batch.events {
                    let what = event.str(fields::MESSAGE).unwrap_or_default().to_owned();
                    self.store.entry(event.id()).or_default().insert(what);
                }
                batch.end(Verdict::Delivered);
            }
            Op::Fail(n) if n < self.flying.len() => drop(self.flying.remove(n)),
            Op::BeginStep if self.step.is_none() => self.step = self.wrapper.next_step(self.now),
            Op::FinishStep => {
                if let Some(step) = self.step.take() {
                    let done = step.run();
                    self.wrapper.done(done, &mut self.out);
                }
            }
            Op::StorePositions => self.sources.iter_mut().for_each(Source::store),
            Op::SourceFails(source) => self.sources[source].ledger.failing(),
            Op::Crash(step_done) => self.crash(step_done),
            Op::Deliver(_) | Op::Fail(_) | Op::BeginStep => self.wrapper.tick(&mut self.out),
        }
        self.collect();
    }

    fn restart_failed(&mut self) {
        for source in &mut self.sources {
            if source.ledger.is_spoilt() {
                source.start_again();
            }
        }
    }

    fn crash(&mut self, step_done: bool) {
        if let Some(step) = self.step.take()
            && step_done
        {
            let _ = step.run();
        }
        for source in &mut self.sources {
            // Nothing is stored on the way down: what was answered after the last time is not known any more.
            source.ledger = Ledger::new(source.stored);
            source.sent = source.stored;
            source.start = 0;
        }
        self.flying.clear();
        self.out = Outputs::new("counting", false);
        self.wrapper = open(self.folder, &mut self.out, self.now);
    }

    fn collect(&mut self) {
        let main = std::mem::take(&mut self.out.main);
        let named = std::mem::take(&mut self.out.named);
        for batch in main
            .into_iter()
            .chain(named.into_iter().map(|(_, batch)| batch))
        {
            assert!(batch.events.iter().all(|event| event.ordinal().is_none()));
            if batch.events.is_empty() {
                batch.end(Verdict::Delivered);
            } else {
                self.flying.push(batch);
            }
        }
    }

    /// From here on nothing goes wrong any more.
    fn finish(&mut self) {
        self.wrapper.stop();
        for _ in 0..2000 {
            for op in [
                Op::Feed(0, 7),
                Op::Feed(1, 7),
                Op::Idle(0),
                Op::Idle(1),
                Op::Deliver(0),
                Op::Deliver(0),
            ] {
                self.act(op);
            }
            self.act(Op::BeginStep);
            self.act(Op::FinishStep);
            self.now = self.now.after(Duration::from_secs(6));
            self.sources.iter_mut().for_each(Source::store);
            let all = self.sources.iter().all(|source| source.stored == INPUTS);
            if all && self.flying.is_empty() && self.wrapper.is_settled() {
                return;
            }
        }
        panic!(
            "it never comes to rest: {} held, {} flying",
            self.wrapper.held(),
            self.flying.len()
        );
    }

    fn check(&self) {
        let path = self.folder.join("model.state");
        let loaded = file::load(&path, "counting", "", &["in".to_owned()], self.now)
            .unwrap()
            .unwrap()
            .unwrap();
        let mut state = Counting::default();
        state.load(&loaded.state).unwrap();
        let all: BTreeMap<_, _> = (1..=2)
            .flat_map(|s| (1..=INPUTS).map(move |n| ((s, n), 1)))
            .collect();
        assert_eq!(state.counts, all, "every input is counted once");
        assert!(state.kept.is_empty() && loaded.outbox.is_empty());
        for ((source, number), _) in all {
            assert!(
                self.store.contains_key(&EventId([source, number])),
                "{source}/{number} never arrived"
            );
        }
        let made: Vec<_> = self
            .store
            .iter()
            .filter(|(id, _)| id.0[0] == MADE)
            .collect();
        let numbers: Vec<u64> = made.iter().map(|(id, _)| id.0[1]).collect();
        assert_eq!(
            numbers,
            (1..=INPUTS * 2 / 7).map(|n| n * 7).collect::<Vec<_>>()
        );
        for (id, what) in made {
            assert_eq!(what.len(), 1, "{id} was made of {what:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]
    #[test]
    fn everything_happens_once_whatever_goes_wrong(ops in proptest::collection::vec(ops(), 1..160)) {
        let shm = Path::new("/dev/shm");
        let folder = if shm.is_dir() { tempfile::tempdir_in(shm) } else { tempfile::tempdir() }.unwrap();
        let mut world = World::new(folder.path());
        ops.into_iter().for_each(|op| world.act(op));
        world.finish();
        world.check();
    }
}
