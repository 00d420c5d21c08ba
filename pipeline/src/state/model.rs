//! A model of everything around the wrapper that can go wrong, in any order: answers that come late, failures, holes,
//! sources that start again, crashes before and after every step. In the end everything must have happened once.

mod parts;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;

use self::parts::{Counting, Ledger, Source};
use super::{Setup, Step, Wrapper, file};
use crate::ack::{Ack, Creditor, Verdict};
use crate::batch::Batch;
use crate::clock::Time;
use crate::component::Stateful;
use crate::event::{EventId, fields};
use crate::mark::{LaneId, Mark};
use crate::outputs::Outputs;

/// Inputs of each source.
const INPUTS: u64 = 60;
/// High half of the ids of made events; inputs have the number of their source there.
const MADE: u64 = 99;

/// One transform in its wrapper.
struct Stage {
    id: &'static str,
    wrapper: Wrapper,
    out: Outputs,
    step: Option<Step>,
    /// What waits in front of it, with the input by which it came.
    waiting: VecDeque<(usize, Batch)>,
}

struct World<'a> {
    folder: &'a Path,
    sources: Vec<Source>,
    stages: Vec<Stage>,
    flying: Vec<Batch>,
    /// What the sink has: ids, and for made events what they were made of.
    store: BTreeMap<EventId, BTreeSet<String>>,
    now: Time,
}

/// Ids of the transforms; the one behind counts what the first lets through by one input, and what it makes by another.
const STAGES: [&str; 2] = ["model", "behind"];

impl Stage {
    fn open(id: &'static str, folder: &Path, now: Time) -> Stage {
        let mut out = Outputs::new("counting", false);
        out.set_now(now);
        let makes = id == STAGES[0];
        let setup = Setup {
            id: id.to_owned(),
            type_name: "counting",
            folder: folder.to_owned(),
            sources: Vec::new(),
            inputs: vec!["main".to_owned(), "made".to_owned()],
            outputs: 1,
            interval: Duration::from_secs(2),
            build: Box::new(move || {
                Ok(Box::new(Counting {
                    makes,
                    ..Counting::default()
                }))
            }),
        };
        let (wrapper, trouble) = Wrapper::open(setup, now, &mut out).unwrap();
        assert!(trouble.is_none(), "{trouble:?}");
        Stage {
            id,
            wrapper,
            out,
            step: None,
            waiting: VecDeque::new(),
        }
    }
}

#[derive(Clone, Debug)]
enum Op {
    Feed(usize, u64),
    /// The batch is lost on its way, behind a later one's back.
    Hole(usize, u64),
    Idle(usize),
    Deliver(usize),
    Fail(usize),
    /// What waits longest in front of the second transform goes in.
    Forward,
    BeginStep(usize),
    FinishStep(usize),
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
        12 => Just(Op::Forward),
        6 => (0_usize..2).prop_map(Op::BeginStep),
        6 => (0_usize..2).prop_map(Op::FinishStep),
        3 => Just(Op::StorePositions),
        1 => (0_usize..2).prop_map(Op::SourceFails),
        1 => any::<bool>().prop_map(Op::Crash),
    ]
}

impl World<'_> {
    fn new(folder: &Path, stages: usize) -> World<'_> {
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
            stages: STAGES[..stages]
                .iter()
                .map(|id| Stage::open(id, folder, now))
                .collect(),
            flying: Vec::new(),
            store: BTreeMap::new(),
            now,
        }
    }

    fn act(&mut self, op: Op) {
        self.now = self.now.after(Duration::from_millis(120));
        self.stages
            .iter_mut()
            .for_each(|stage| stage.out.set_now(self.now));
        match op {
            Op::Feed(source, most) => {
                self.restart_failed();
                let batch = self.sources[source].batch(most);
                self.feed(0, batch);
            }
            Op::Hole(source, most) => {
                self.restart_failed();
                drop(self.sources[source].batch(most));
                let behind = self.sources[source].batch(most);
                self.feed(0, behind);
            }
            Op::Idle(source) => {
                self.restart_failed();
                let source = &self.sources[source];
                let seen_to = Time::from_secs(if source.sent == INPUTS {
                    self.now.0 / 1_000_000_000
                } else {
                    source.sent as i64
                });
                let mark = Mark {
                    lane: source.lane,
                    start: source.start,
                    seen_to,
                    idle: false,
                    over: false,
                };
                self.feed(0, Batch::empty(mark, Ack::nobody()));
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
            Op::Forward => {
                let waiting = self
                    .stages
                    .get_mut(1)
                    .and_then(|stage| stage.waiting.pop_front());
                if let Some((input, batch)) = waiting {
                    let stage = &mut self.stages[1];
                    stage.wrapper.feed(input, batch, &mut stage.out);
                }
            }
            Op::BeginStep(n) => {
                if let Some(stage) = self.stages.get_mut(n).filter(|stage| stage.step.is_none()) {
                    stage.step = stage.wrapper.next_step(self.now);
                }
            }
            Op::FinishStep(n) => {
                if let Some(stage) = self.stages.get_mut(n)
                    && let Some(step) = stage.step.take()
                {
                    stage.wrapper.done(step.run(), &mut stage.out);
                }
            }
            Op::StorePositions => self.sources.iter_mut().for_each(Source::store),
            Op::SourceFails(source) => self.sources[source].ledger.failing(),
            Op::Crash(step_done) => self.crash(step_done),
            Op::Deliver(_) | Op::Fail(_) => {
                self.stages
                    .iter_mut()
                    .for_each(|stage| stage.wrapper.tick(&mut stage.out));
            }
        }
        self.collect();
    }

    fn feed(&mut self, input: usize, batch: Batch) {
        let stage = &mut self.stages[0];
        stage.wrapper.feed(input, batch, &mut stage.out);
    }

    fn restart_failed(&mut self) {
        for source in &mut self.sources {
            if source.ledger.is_spoilt() {
                source.start_again();
            }
        }
    }

    fn crash(&mut self, step_done: bool) {
        for stage in &mut self.stages {
            if let Some(step) = stage.step.take()
                && step_done
            {
                let _ = step.run();
            }
        }
        for source in &mut self.sources {
            // Nothing is stored on the way down: what was answered after the last time is not known any more.
            source.ledger = Ledger::new(source.stored);
            source.sent = source.stored;
            source.start = 0;
        }
        self.flying.clear();
        for stage in &mut self.stages {
            *stage = Stage::open(stage.id, self.folder, self.now);
        }
    }

    fn collect(&mut self) {
        for n in 0..self.stages.len() {
            let main = std::mem::take(&mut self.stages[n].out.main);
            let named = std::mem::take(&mut self.stages[n].out.named);
            let main = main.into_iter().map(|batch| (0, batch));
            for (input, batch) in main.chain(named.into_iter().map(|(_, batch)| (1, batch))) {
                assert!(batch.events.iter().all(|event| event.ordinal().is_none()));
                if let Some(next) = self.stages.get_mut(n + 1) {
                    next.waiting.push_back((input, batch));
                } else if batch.events.is_empty() {
                    batch.end(Verdict::Delivered);
                } else {
                    self.flying.push(batch);
                }
            }
        }
    }

    /// From here on nothing goes wrong any more.
    fn finish(&mut self) {
        let mut quiet = 0;
        for _ in 0..2000 {
            self.stages
                .iter_mut()
                .for_each(|stage| stage.wrapper.stop());
            for source in 0..2 {
                self.act(Op::Feed(source, 7));
                self.act(Op::Idle(source));
            }
            while self
                .stages
                .get(1)
                .is_some_and(|stage| !stage.waiting.is_empty())
            {
                self.act(Op::Forward);
            }
            while !self.flying.is_empty() {
                self.act(Op::Deliver(0));
            }
            for stage in 0..2 {
                self.act(Op::BeginStep(stage));
                self.act(Op::FinishStep(stage));
            }
            self.now = self.now.after(Duration::from_secs(6));
            self.sources.iter_mut().for_each(Source::store);
            let all = self.sources.iter().all(|source| source.stored == INPUTS);
            let settled = self
                .stages
                .iter()
                .all(|stage| stage.wrapper.is_settled() && stage.waiting.is_empty());
            // What is kept back waits for the marks of the next round.
            quiet = if all && settled && self.flying.is_empty() {
                quiet + 1
            } else {
                0
            };
            if quiet == 4 {
                return;
            }
        }
        let held: Vec<_> = self
            .stages
            .iter()
            .map(|stage| stage.wrapper.held())
            .collect();
        panic!(
            "it never comes to rest: {held:?} held, {} flying",
            self.flying.len()
        );
    }

    fn check(&self) {
        let of = |s: u64, numbers: u64| (1..=numbers).map(move |n| ((s, n), 1_u64));
        let all: BTreeMap<_, _> = of(1, INPUTS).chain(of(2, INPUTS)).collect();
        let made = (1..=INPUTS * 2 / 7).map(|n| ((MADE, n * 7), 1));
        for stage in &self.stages {
            let path = self.folder.join(format!("{}.state", stage.id));
            let inputs = ["main".to_owned(), "made".to_owned()];
            let loaded = file::load(&path, "counting", "", &inputs, self.now)
                .unwrap()
                .unwrap()
                .unwrap();
            let mut state = Counting::default();
            state.load(&loaded.state).unwrap();
            let mut expected = all.clone();
            if stage.id == STAGES[1] {
                expected.extend(made.clone());
            }
            assert_eq!(state.counts, expected, "every input is counted once");
            assert!(state.kept.is_empty() && loaded.outbox.is_empty());
        }
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
    fn everything_happens_once_whatever_goes_wrong(
        stages in 1_usize..=2,
        ops in proptest::collection::vec(ops(), 1..200),
    ) {
        let shm = Path::new("/dev/shm");
        let folder = if shm.is_dir() { tempfile::tempdir_in(shm) } else { tempfile::tempdir() }.unwrap();
        let mut world = World::new(folder.path(), stages);
        ops.into_iter().for_each(|op| world.act(op));
        world.finish();
        world.check();
    }
}
