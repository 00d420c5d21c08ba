//! Whole graphs of small components, run for real: faults, restarts, reloads.
mod fused;
mod gaps;
mod ready;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Options, Topology};
use crate::clock::Clock;
use crate::component::*;
use crate::config::FakeEnv;
use crate::telemetry::Telemetry;
use crate::*;

/// What the sinks of a test wrote, by the test's name.
static WRITTEN: LazyLock<Mutex<HashMap<String, Vec<i64>>>> = LazyLock::new(Mutex::default);
/// Panics still to come, by the test's name.
static PANICS: LazyLock<Mutex<HashMap<String, u32>>> = LazyLock::new(Mutex::default);

fn written(test: &str) -> Vec<i64> {
    let mut all = WRITTEN.lock().get(test).cloned().unwrap_or_default();
    all.sort_unstable();
    all
}

/// Whether a panic is due for this test; counts it.
fn panic_is_due(test: &str) -> bool {
    let mut panics = PANICS.lock();
    let left = panics.get_mut(test);
    left.is_some_and(|left| {
        let due = *left > 0;
        *left = left.saturating_sub(1);
        due
    })
}

const NUMBER: &str = "test.n";

/// Counts from 1 to `count` in batches, from its stored position on.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Numbers {
    count: u64,
    #[serde(default)]
    endless: bool,
}

impl SourceConfig for Numbers {
    const TYPE: &'static str = "numbers";
    const EXAMPLE: &'static str = "count = 10";

    fn build(&self, _: &Context) -> Result<Box<dyn Source>, BuildErrors> {
        Ok(Box::new(self.clone()))
    }
}

#[async_trait]
impl Source for Numbers {
    async fn run(&mut self, mut out: SourceOut) -> Result<(), SourceError> {
        let lane = out.lane("all");
        let mut at: u64 = out.position("all").unwrap_or(0);
        while at < self.count && !out.stopping() {
            let end = (at + 7).min(self.count);
            let events = (at + 1..=end)
                .map(|n| {
                    let mut event = Event::new(EventId([1, n]), out.now());
                    event.set_ordinal(n);
                    event.set(Field::new(NUMBER), n as i64);
                    event
                })
                .collect();
            if out.send(lane, events, &end).await.is_err() {
                return Ok(());
            }
            at = end;
        }
        while self.endless && out.idle(lane).await.is_ok() && !out.stopping() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }
}

/// Passes everything on and panics as told, always on `poison`.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Fragile {
    test: String,
    #[serde(default)]
    poison: Option<i64>,
}

impl TransformConfig for Fragile {
    const TYPE: &'static str = "fragile";
    const EXAMPLE: &'static str = "test = 'x'";

    fn build(&self, _: &Context) -> Result<Box<dyn Transform>, BuildErrors> {
        Ok(Box::new(self.clone()))
    }
}

impl Transform for Fragile {
    fn apply(&mut self, batch: Batch, out: &mut Outputs) {
        let number = Field::new(NUMBER);
        let poisoned = |event: &Event| {
            self.poison.is_some() && event.get(number).and_then(ValueRef::as_int) == self.poison
        };
        assert!(!batch.events.iter().any(poisoned), "poison");
        assert!(
            batch.events.is_empty() || !panic_is_due(&self.test),
            "told to"
        );
        out.push(batch);
    }
}

/// Lets each number through once, and remembers which.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Seen {}

impl StatefulConfig for Seen {
    const TYPE: &'static str = "seen";
    const EXAMPLE: &'static str = "";

    fn build(&self, _: &Context) -> Result<Box<dyn Stateful>, BuildErrors> {
        Ok(Box::new(Remembers(std::collections::BTreeSet::new())))
    }
}

struct Remembers(std::collections::BTreeSet<i64>);

impl Stateful for Remembers {
    fn apply(&mut self, event: Event, out: &mut Outputs) {
        let number = event
            .get(Field::new(NUMBER))
            .and_then(ValueRef::as_int)
            .unwrap();
        if self.0.insert(number) {
            out.emit(event);
        } else {
            out.filtered(1);
        }
    }

    fn advance(&mut self, _: Time, _: &mut Outputs) {}

    fn save(&self, to: &mut Vec<u8>) {
        serde_json::to_writer(to, &self.0).unwrap();
    }

    fn load(&mut self, from: &[u8]) -> Result<(), StateError> {
        self.0 = serde_json::from_slice(from).map_err(|why| StateError(why.to_string()))?;
        Ok(())
    }
}

/// Remembers what it is given.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Memory {
    test: String,
    #[serde(default)]
    panics: bool,
}

impl SinkConfig for Memory {
    const TYPE: &'static str = "memory";
    const EXAMPLE: &'static str = "test = 'x'";
    const WORKERS: Workers = Workers::Any;

    fn build(&self, _: &Context) -> Result<Box<dyn Sink>, BuildErrors> {
        Ok(Box::new(self.clone()))
    }
}

#[async_trait]
impl Sink for Memory {
    async fn write(&mut self, events: Events) -> Result<Written, WriteError> {
        assert!(!(self.panics && panic_is_due(&self.test)), "told to");
        let number = Field::new(NUMBER);
        let numbers = events
            .iter()
            .filter_map(|event| event.get(number)?.as_int());
        WRITTEN
            .lock()
            .entry(self.test.clone())
            .or_default()
            .extend(numbers);
        Ok(Written::default())
    }
}

fn graph(folder: &Path, toml: &str) -> Graph {
    let mut registry = Registry::new();
    registry.source::<Numbers>();
    registry.transform::<Fragile>();
    registry.stateful::<Seen>();
    registry.sink::<Memory>();
    let text = format!("data_dir = {:?}\n{toml}", folder.display().to_string());
    let env = FakeEnv::new().with_file("t.toml", &text);
    match load(&[PathBuf::from("t.toml")], &registry, &env) {
        Ok((graph, _)) => graph,
        Err(why) => panic!("{}", why.render(false)),
    }
}

fn options() -> Options {
    Options {
        telemetry: Telemetry::new("here", "0"),
        clock: Clock::system(),
        grace: Duration::from_secs(10),
    }
}

async fn run(folder: &Path, toml: &str) -> (bool, Options) {
    let options = options();
    let mut topology = Topology::start(graph(folder, toml), options.clone())
        .await
        .unwrap();
    topology.sources_ended().await;
    (topology.stop().await, options)
}

const ROAD: &str = "
[sources.in]
type = 'numbers'
count = 100
[transforms.mid]
type = 'fragile'
inputs = ['in']
test = 'TEST'
[sinks.out]
type = 'memory'
inputs = ['mid']
test = 'TEST'
";

fn metric(options: &Options, name: &str, id: &str) -> u64 {
    let text = options.telemetry.encode();
    let rows = text
        .lines()
        .filter(|line| line.starts_with(name) && line.contains(&format!("component_id=\"{id}\"")));
    rows.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum::<f64>() as u64
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_arrives_once_and_the_position_is_stored() {
    let folder = tempfile::tempdir().unwrap();
    let (all, options) = run(folder.path(), &ROAD.replace("TEST", "once")).await;
    assert!(all);
    assert_eq!(written("once"), (1..=100).collect::<Vec<_>>());
    assert_eq!(
        metric(&options, "pvetrail_component_received_events_total", "in"),
        100
    );
    assert_eq!(
        metric(&options, "pvetrail_component_sent_events_total", "out"),
        100
    );
    // A second run goes on where the first one ended: there is nothing left to read.
    let (all, _) = run(folder.path(), &ROAD.replace("TEST", "once")).await;
    assert!(all);
    assert_eq!(written("once").len(), 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transform_that_panics_now_and_then_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    PANICS.lock().insert("now and then".to_owned(), 2);
    let (all, options) = run(folder.path(), &ROAD.replace("TEST", "now and then")).await;
    assert!(all);
    let mut numbers = written("now and then");
    numbers.dedup();
    assert_eq!(numbers, (1..=100).collect::<Vec<_>>());
    assert_eq!(
        metric(&options, "pvetrail_component_panics_total", "mid"),
        2
    );
    assert_eq!(
        metric(&options, "pvetrail_events_dead_lettered_total", "mid"),
        0
    );
    let of_mid = |name: &str| metric(&options, &format!("pvetrail_component_{name}_total"), "mid");
    assert!(of_mid("failed_events") > 0);
    assert_eq!(
        of_mid("received_events"),
        of_mid("sent_events") + of_mid("failed_events")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_on_which_a_transform_panics_becomes_a_dead_letter_and_the_others_arrive() {
    for workers in ["", "workers = 3"] {
        let folder = tempfile::tempdir().unwrap();
        let test = format!("poison {workers}");
        let road = ROAD.replace(
            "test = 'TEST'\n[sinks",
            &format!("test = 'TEST'\npoison = 50\n{workers}\n[sinks"),
        );
        let (all, options) = run(folder.path(), &road.replace("TEST", &test)).await;
        assert!(all);
        let mut numbers = written(&test);
        numbers.dedup();
        assert_eq!(numbers, (1..=100).filter(|n| *n != 50).collect::<Vec<_>>());
        assert_eq!(
            metric(&options, "pvetrail_events_dead_lettered_total", "mid"),
            1
        );
        let letters = std::fs::read_dir(folder.path().join("dlq/mid")).unwrap();
        let text: String = letters
            .filter_map(|entry| std::fs::read_to_string(entry.unwrap().path()).ok())
            .collect();
        assert!(
            text.contains("\"panic\"") && text.contains("\"n\":50"),
            "{text}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_panics_writes_the_same_again() {
    let folder = tempfile::tempdir().unwrap();
    PANICS.lock().insert("sink".to_owned(), 2);
    let road = ROAD.replace(
        "inputs = ['mid']\n",
        "inputs = ['mid']\npanics = true\nrequest = { retry_initial_backoff = '10ms' }\n",
    );
    let road = road
        .replacen("TEST", "transform", 1)
        .replace("TEST", "sink");
    let (all, options) = run(folder.path(), &road).await;
    assert!(all);
    assert_eq!(written("sink"), (1..=100).collect::<Vec<_>>());
    assert!(metric(&options, "pvetrail_component_panics_total", "out") == 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_transform_remembers_and_the_position_are_one() {
    let folder = tempfile::tempdir().unwrap();
    let road = ROAD.replace("inputs = ['mid']", "inputs = ['seen']");
    let road = format!("{road}[transforms.seen]\ntype = 'seen'\ninputs = ['mid']\n");
    let (all, _) = run(folder.path(), &road.replace("TEST", "seen")).await;
    assert!(all);
    assert_eq!(written("seen"), (1..=100).collect::<Vec<_>>());
    // The positions are gone, the state is not: everything is read again, and nothing gets through twice.
    std::fs::remove_dir_all(folder.path().join("positions")).unwrap();
    let (all, options) = run(folder.path(), &road.replace("TEST", "seen")).await;
    assert!(all);
    assert_eq!(
        metric(&options, "pvetrail_component_received_events_total", "seen"),
        100
    );
    assert_eq!(written("seen").len(), 100);
    // A damaged state is told of and put aside.
    std::fs::write(folder.path().join("state/seen.state"), "nonsense").unwrap();
    std::fs::remove_dir_all(folder.path().join("positions")).unwrap();
    let (all, options) = run(folder.path(), &road.replace("TEST", "seen")).await;
    assert!(all);
    assert_eq!(
        metric(&options, "pvetrail_checksum_errors_total", "seen"),
        1
    );
    assert_eq!(written("seen").len(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_behind_a_transform_that_remembers_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    PANICS.lock().insert("behind".to_owned(), 1);
    let road = "
[sources.in]
type = 'numbers'
count = 1000
[transforms.seen]
type = 'seen'
inputs = ['in']
[transforms.mid]
type = 'fragile'
inputs = ['seen']
test = 'behind'
[sinks.out]
type = 'memory'
inputs = ['mid']
test = 'behind'
";
    let (all, _) = run(folder.path(), road).await;
    assert!(all);
    let mut numbers = written("behind");
    numbers.dedup();
    assert_eq!(numbers, (1..=1000).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_sink_gets_everything_too() {
    let folder = tempfile::tempdir().unwrap();
    let road = format!("{ROAD}[sinks.other]\ntype = 'memory'\ninputs = ['in']\ntest = 'other'\n");
    let (all, _) = run(folder.path(), &road.replace("TEST", "both")).await;
    assert!(all);
    assert_eq!(written("both"), written("other"));
    assert_eq!(written("other").len(), 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_changes_what_changed_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let first = ROAD
        .replace("TEST", "reload")
        .replace("count = 100", "count = 20000\nendless = true");
    let mut topology = Topology::start(graph(folder.path(), &first), options())
        .await
        .unwrap();
    let second = first.replace("test = 'reload'\n[sinks", "test = 'changed'\n[sinks");
    let changes = topology
        .reload(graph(folder.path(), &second))
        .await
        .unwrap();
    assert_eq!(changes.changed, ["mid"]);
    let third =
        format!("{second}[sinks.new]\ntype = 'memory'\ninputs = ['mid']\ntest = 'reload new'\n");
    let changes = topology.reload(graph(folder.path(), &third)).await.unwrap();
    assert_eq!(changes.added, ["new"]);
    let fourth = third.replace("[sinks.out]", "[sinks.renamed]");
    let changes = topology
        .reload(graph(folder.path(), &fourth))
        .await
        .unwrap();
    assert_eq!(
        (&changes.added[..], &changes.removed[..]),
        (&["renamed".to_owned()][..], &["out".to_owned()][..])
    );
    tokio::time::timeout(Duration::from_secs(20), async {
        let complete = || {
            let mut numbers = written("reload");
            numbers.dedup();
            numbers.len() == 20_000
        };
        while !complete() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("everything arrives");
    assert!(topology.stop().await);
}
