//! Saved states that are of no use, disks that do not write, transforms that panic.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::{Counts, Setup, StateTrouble, Wrapper};
use crate::ack::{Ack, Creditor, Verdict};
use crate::batch::Batch;
use crate::clock::Time;
use crate::component::{StateError, Stateful};
use crate::event::{Event, EventId};
use crate::mark::{LaneId, Mark};
use crate::outputs::Outputs;

/// Lets everything through, remembers how much that was, panics on number 13.
struct Count(u64);

impl Stateful for Count {
    fn apply(&mut self, event: Event, out: &mut Outputs) {
        assert_ne!(event.id().0[1], 13, "unlucky");
        self.0 += 1;
        out.emit(event);
    }

    fn advance(&mut self, _: Time, _: &mut Outputs) {}

    fn save(&self, to: &mut Vec<u8>) {
        to.extend_from_slice(&self.0.to_le_bytes());
    }

    fn load(&mut self, from: &[u8]) -> Result<(), StateError> {
        let bytes = from
            .try_into()
            .map_err(|_| StateError("it has another length".to_owned()))?;
        self.0 = u64::from_le_bytes(bytes);
        Ok(())
    }
}

#[derive(Default)]
struct Answers(Mutex<Vec<(u64, Verdict)>>);

impl Creditor for Answers {
    fn answered(&self, ticket: u64, verdict: Verdict) {
        self.0.lock().push((ticket, verdict));
    }
}

const NOW: Time = Time(1_773_529_200_000_000_000);

struct Bench {
    wrapper: Wrapper,
    out: Outputs,
    now: Time,
    answers: Arc<Answers>,
    flying: Vec<Batch>,
}

fn setup(folder: &Path, type_name: &'static str) -> Setup {
    Setup {
        id: "count".to_owned(),
        type_name,
        folder: folder.to_owned(),
        sources: Vec::new(),
        inputs: vec!["a".to_owned(), "b".to_owned()],
        outputs: 0,
        interval: Duration::from_secs(30),
        build: Box::new(|| Ok(Box::new(Count(0)))),
    }
}

impl Bench {
    fn open(folder: &Path, type_name: &'static str) -> (Bench, Option<StateTrouble>) {
        let mut out = Outputs::new(type_name, false);
        out.set_now(NOW);
        let (wrapper, trouble) = Wrapper::open(setup(folder, type_name), NOW, &mut out).unwrap();
        (
            Bench {
                wrapper,
                out,
                now: NOW,
                answers: Arc::default(),
                flying: Vec::new(),
            },
            trouble,
        )
    }

    /// Feeds events by their numbers, each number being its place in the lane too.
    fn feed(&mut self, input: usize, numbers: &[u64]) {
        let events = numbers.iter().map(|n| {
            let mut event = Event::new(EventId([0, *n]), NOW);
            event.set_ordinal(*n);
            event
        });
        let mark = Mark {
            lane: LaneId::new("count-tests", "lane"),
            start: 1,
            seen_to: NOW,
            idle: false,
            over: false,
        };
        let ack = Ack::new(self.answers.clone(), numbers[0]);
        let batch = Batch::new(events.collect(), mark, ack);
        let fed = catch_unwind(AssertUnwindSafe(|| {
            self.wrapper.feed(input, batch, &mut self.out)
        }));
        if fed.is_err() {
            self.wrapper.panicked(&mut self.out);
        }
        self.flying.append(&mut self.out.main);
    }

    fn deliver(&mut self) -> Vec<u64> {
        let batches = std::mem::take(&mut self.flying);
        let numbers = batches
            .iter()
            .flat_map(|batch| batch.events.iter().map(|event| event.id().0[1]))
            .collect();
        batches
            .into_iter()
            .for_each(|batch| batch.end(Verdict::Delivered));
        numbers
    }

    fn steps(&mut self) {
        while let Some(step) = self.wrapper.next_step(self.now) {
            self.wrapper.done(step.run(), &mut self.out);
        }
    }

    fn save(&mut self) -> Counts {
        self.wrapper.stop();
        self.steps();
        self.wrapper.take_counts()
    }

    fn answers(&self) -> Vec<(u64, Verdict)> {
        std::mem::take(&mut *self.answers.0.lock())
    }
}

fn aside(folder: &Path) -> usize {
    let names = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names
        .filter(|name| name.starts_with("count.state.corrupt-"))
        .count()
}

#[test]
fn inputs_are_answered_when_outputs_are_and_the_state_is_on_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let (mut bench, _) = Bench::open(folder.path(), "count");
    bench.feed(0, &[1, 2]);
    bench.save();
    assert!(bench.answers().is_empty(), "the outputs are not answered");
    assert!(!folder.path().join("count.state").exists());
    assert_eq!(bench.deliver(), [1, 2]);
    assert!(bench.answers().is_empty(), "the state is not current");
    assert_eq!(bench.save().snapshots, 1);
    assert_eq!(bench.answers(), [(1, Verdict::Delivered)]);
    assert!(bench.wrapper.is_settled());
    let (mut bench, _) = Bench::open(folder.path(), "count");
    bench.feed(0, &[1, 2, 3]);
    bench.feed(1, &[2]);
    assert_eq!(
        bench.deliver(),
        [3, 2],
        "the other input knows nothing of this lane"
    );
    assert_eq!(bench.wrapper.take_counts().replayed, 2);
}

#[test]
fn a_state_of_no_use_is_put_aside_with_the_reason_and_the_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("count.state");
    let (mut bench, _) = Bench::open(folder.path(), "count");
    bench.feed(0, &[1, 2]);
    bench.deliver();
    bench.save();
    let good = std::fs::read(&path).unwrap();
    let mut flipped = good.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let text = |from: &str, to: &str| {
        String::from_utf8_lossy(&good)
            .replacen(from, to, 1)
            .into_bytes()
    };
    let cases: [(&str, Vec<u8>, &'static str); 6] = [
        ("checksum", flipped, "count"),
        (
            "bytes long instead of",
            good[..good.len() - 1].to_vec(),
            "count",
        ),
        ("does not begin with", b"\x7fELF\n".to_vec(), "count"),
        ("no first line", Vec::new(), "count"),
        ("version \"7\"", text("state 1", "state 7"), "count"),
        ("type \"count\"", good.clone(), "other"),
    ];
    for (n, (why, bytes, type_name)) in cases.into_iter().enumerate() {
        std::fs::write(&path, bytes).unwrap();
        let (mut bench, trouble) = Bench::open(folder.path(), type_name);
        let told = trouble.unwrap().to_string();
        assert!(
            told.contains(why) && told.contains("count.state.corrupt-"),
            "{told}"
        );
        assert_eq!(bench.wrapper.take_counts().useless, 1);
        assert!(!path.exists());
        assert_eq!(aside(folder.path()), n + 1, "none replaces another");
        bench.feed(0, &[1]);
        assert_eq!(bench.deliver(), [1], "it begins without memory");
    }
}

#[test]
fn a_disk_that_does_not_write_holds_the_inputs_until_it_does() {
    let folder = tempfile::tempdir().unwrap();
    let below = folder.path().join("state");
    let (mut bench, _) = Bench::open(&below, "count");
    std::fs::write(&below, "a file where the folder belongs").unwrap();
    bench.feed(0, &[1]);
    bench.deliver();
    let counts = bench.save();
    assert_eq!((counts.snapshots, counts.failed_snapshots), (0, 1));
    assert!(bench.answers().is_empty());
    std::fs::remove_file(&below).unwrap();
    bench.steps();
    assert!(bench.answers().is_empty(), "not before 5 s are over");
    bench.now = bench.now.after(Duration::from_secs(6));
    bench.steps();
    assert_eq!(bench.answers(), [(1, Verdict::Delivered)]);
}

#[test]
fn an_event_on_which_it_panics_three_times_is_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let (mut bench, _) = Bench::open(folder.path(), "count");
    for _ in 0..3 {
        bench.feed(0, &[12, 13, 14]);
        assert!(
            bench.deliver().is_empty(),
            "what came before the panic is not told"
        );
        assert_eq!(bench.answers(), [(12, Verdict::Failed)]);
    }
    bench.feed(0, &[12, 13, 14]);
    assert_eq!(bench.deliver(), [12, 14]);
    bench.save();
    assert!(bench.answers().is_empty(), "the dead letter is not written");
    for batch in bench.wrapper.take_poisoned() {
        assert_eq!(batch.events[0].id(), EventId([0, 13]));
        batch.end(Verdict::Delivered);
    }
    assert_eq!(bench.save().snapshots, 1);
    assert_eq!(bench.answers(), [(12, Verdict::Delivered)]);
}

#[test]
fn a_failed_output_brings_the_saved_state_back() {
    let folder = tempfile::tempdir().unwrap();
    let (mut bench, _) = Bench::open(folder.path(), "count");
    bench.feed(0, &[1, 2]);
    bench.deliver();
    bench.save();
    bench.feed(0, &[3]);
    bench.feed(0, &[4]);
    bench.flying.remove(0).end(Verdict::Failed);
    bench.wrapper.tick(&mut bench.out);
    bench.answers();
    bench.deliver();
    bench.feed(0, &[2, 3, 4]);
    assert_eq!(bench.deliver(), [3, 4]);
    let counts = bench.save();
    assert_eq!((counts.rollbacks, counts.replayed), (1, 1));
}

/// Notes by which lanes batches come.
struct Hears(Arc<Mutex<Vec<(LaneId, Time)>>>);

impl Stateful for Hears {
    fn apply(&mut self, event: Event, out: &mut Outputs) {
        out.emit(event);
    }

    fn heard(&mut self, lane: LaneId, seen_to: Time) {
        self.0.lock().push((lane, seen_to));
    }

    fn advance(&mut self, _: Time, _: &mut Outputs) {}

    fn save(&self, _: &mut Vec<u8>) {}

    fn load(&mut self, _: &[u8]) -> Result<(), StateError> {
        Ok(())
    }
}

#[test]
fn a_transform_hears_how_far_each_lane_was_handed_over() {
    let folder = tempfile::tempdir().unwrap();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hears = Arc::clone(&heard);
    let setup = Setup {
        build: Box::new(move || Ok(Box::new(Hears(Arc::clone(&hears))))),
        ..setup(folder.path(), "hears")
    };
    let mut out = Outputs::new("hears", false);
    out.set_now(NOW);
    let (mut wrapper, _) = Wrapper::open(setup, NOW, &mut out).unwrap();
    let (first, second) = (LaneId::new("hears", "a"), LaneId::new("hears", "b"));
    for (lane, seen_to) in [(first, NOW), (second, Time(NOW.0 + 1))] {
        let mark = Mark {
            lane,
            start: 1,
            seen_to,
            idle: true,
            over: false,
        };
        wrapper.feed(0, Batch::empty(mark, Ack::nobody()), &mut out);
    }
    assert_eq!(*heard.lock(), [(first, NOW), (second, Time(NOW.0 + 1))]);
}
