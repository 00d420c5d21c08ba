//! Benches for sources and sinks: the real engine around them, with a list at the other end.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::sync::Notify;

use super::Names;
use crate::clock::Clock;
use crate::component::{
    BuildErrors, Context, Registry, Sink, SinkConfig, Source, SourceConfig, SourceError, Workers,
    WriteError, Written,
};
use crate::config::{Env, SystemEnv, load};
use crate::dlq::{Letter, Line, lines};
use crate::event::Event;
use crate::events::Events;
use crate::source_out::SourceOut;
use crate::telemetry::Telemetry;
use crate::topology::{Options, Topology};

/// Longest wait for a condition; what takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(30);

/// What tests give to their source and find at their sink, by a number of their own.
static LISTS: LazyLock<Mutex<HashMap<u64, Arc<List>>>> = LazyLock::new(Mutex::default);
static NUMBERS: AtomicU64 = AtomicU64::new(1);

#[derive(Default)]
struct List {
    events: Mutex<Vec<Event>>,
    more: Notify,
}

/// A number and its list, as long as the test lives; a folder for what the engine stores.
struct Place {
    number: u64,
    list: Arc<List>,
    folder: PathBuf,
}

impl Place {
    fn new() -> Place {
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        let list = Arc::new(List::default());
        LISTS.lock().insert(number, Arc::clone(&list));
        let folder =
            std::env::temp_dir().join(format!("pvetrail-test-{}-{number}", std::process::id()));
        Place {
            number,
            list,
            folder,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        LISTS.lock().remove(&self.number);
        // What stays is in the folder for temporary files.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Given {
    list: u64,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Found {
    list: u64,
}

struct Ends(Arc<List>);

fn list(number: u64) -> Box<Ends> {
    Box::new(Ends(LISTS.lock().get(&number).cloned().unwrap_or_default()))
}

impl SourceConfig for Given {
    const TYPE: &'static str = "given";
    const EXAMPLE: &'static str = "list = 1";

    fn build(&self, _: &Context) -> Result<Box<dyn Source>, BuildErrors> {
        Ok(list(self.list))
    }
}

impl SinkConfig for Found {
    const TYPE: &'static str = "found";
    const EXAMPLE: &'static str = "list = 1";
    const WORKERS: Workers = Workers::One;

    fn build(&self, _: &Context) -> Result<Box<dyn Sink>, BuildErrors> {
        Ok(list(self.list))
    }
}

#[async_trait]
impl Source for Ends {
    async fn run(&mut self, mut out: SourceOut) -> Result<(), SourceError> {
        let lane = out.lane("given");
        if out.position::<bool>("given").is_none() {
            let events = self.0.events.lock().clone();
            out.send(lane, events, &true).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl Sink for Ends {
    async fn write(&mut self, events: Events) -> Result<Written, WriteError> {
        self.0.events.lock().extend(events.iter().cloned());
        self.0.more.notify_one();
        Ok(Written::default())
    }
}

async fn start(toml: &str, folder: &Path, registry: &Registry) -> Topology {
    let text = format!(
        "data_dir = {:?}\nadmin = {{ enabled = false }}\n{toml}",
        folder.display().to_string()
    );
    let graph = match load(&[PathBuf::from("test.toml")], registry, &TestEnv(text)) {
        Ok((graph, _)) => graph,
        Err(found) => panic!("{found}"),
    };
    let options = Options {
        telemetry: Telemetry::new("test", "0"),
        clock: Clock::system(),
        grace: PATIENCE,
    };
    match Topology::start(graph, options).await {
        Ok(topology) => topology,
        Err(why) => panic!("{why}"),
    }
}

/// The machine as it is, with one file more.
struct TestEnv(String);

impl Env for TestEnv {
    fn var(&self, name: &str) -> Option<String> {
        SystemEnv.var(name)
    }

    fn read(&self, path: &Path) -> std::io::Result<String> {
        if path == Path::new("test.toml") {
            Ok(self.0.clone())
        } else {
            SystemEnv.read(path)
        }
    }

    fn folder(&self, path: &Path) -> Option<std::io::Result<Vec<PathBuf>>> {
        SystemEnv.folder(path)
    }

    fn host(&self) -> String {
        crate::case::HOST.to_owned()
    }
}

/// A sink to deliver to.
pub struct SinkBench {
    toml: String,
    registry: Registry,
}

/// A sink configured by `toml`: its own keys and the engine's (`batch`, `request`), tables written inline.
pub fn sink<C: SinkConfig>(toml: &str) -> SinkBench {
    let mut registry = Registry::new();
    registry.source::<Given>();
    registry.sink::<C>();
    let toml = format!(
        "[sinks.out]\ntype = {:?}\ninputs = ['given']\n{toml}\n",
        C::TYPE
    );
    SinkBench { toml, registry }
}

impl SinkBench {
    /// Delivers the events through the whole of the engine, until each has an end.
    pub async fn deliver(&self, events: Vec<Event>) -> SinkOutcome {
        let place = Place::new();
        let names = Names::of(&events);
        *place.list.events.lock() = events;
        let toml = format!(
            "[sources.given]\ntype = 'given'\nlist = {}\n{}",
            place.number, self.toml
        );
        let mut topology = start(&toml, &place.folder, &self.registry).await;
        let ended = tokio::time::timeout(PATIENCE, topology.sources_ended()).await;
        assert!(
            ended.is_ok(),
            "after {PATIENCE:?} the events have no end yet"
        );
        let all = topology.stop().await;
        let mut letters = Vec::new();
        let files = lines(&place.folder, "out").expect("the dead letters can be read");
        for line in files.into_iter().flat_map(|(_, lines)| lines) {
            match line.expect("the dead letters can be read") {
                Line::Letter(letter) => letters.push(*letter),
                Line::Unreadable(why) => panic!("a dead letter cannot be read: {why}"),
            }
        }
        SinkOutcome {
            names,
            all,
            letters,
        }
    }
}

/// What became of the events.
pub struct SinkOutcome {
    names: Names,
    all: bool,
    letters: Vec<Letter>,
}

impl SinkOutcome {
    /// What the events are called that the sink has answered for, in the order of the input.
    pub fn delivered(&self) -> Vec<i64> {
        assert!(self.all, "some events have no end");
        let dead = |id: &str| self.letters.iter().any(|letter| letter.id() == id);
        self.names
            .0
            .iter()
            .filter(|(id, _)| !dead(&id.to_string()))
            .map(|(_, name)| *name)
            .collect()
    }

    /// What the events are called that became dead letters, in the order in which they did.
    pub fn dead_letters(&self) -> Vec<i64> {
        let name = |letter: &Letter| {
            crate::event::EventId::parse(letter.id()).and_then(|id| self.names.get(id))
        };
        self.letters.iter().filter_map(name).collect()
    }

    /// The dead letters themselves.
    pub fn letters(&self) -> &[Letter] {
        &self.letters
    }
}

/// A source at work.
pub struct SourceBench {
    place: Place,
    topology: Topology,
}

/// Starts a source configured by `toml`, its own keys, tables written inline.
pub async fn source<C: SourceConfig>(toml: &str) -> SourceBench {
    let mut registry = Registry::new();
    registry.source::<C>();
    registry.sink::<Found>();
    let place = Place::new();
    let toml = format!(
        "[sinks.found]\ntype = 'found'\nlist = {}\ninputs = ['in']\nbatch = {{ timeout = '10ms' }}\n[sources.in]\ntype = {:?}\n{toml}\n",
        place.number,
        C::TYPE
    );
    let topology = start(&toml, &place.folder, &registry).await;
    SourceBench { place, topology }
}

impl SourceBench {
    /// The data folder it works with.
    pub fn data_dir(&self) -> &std::path::Path {
        &self.place.folder
    }

    /// Waits until what has arrived is as wanted.
    pub async fn until(&self, mut wanted: impl FnMut(&[Event]) -> bool) {
        let waits = async {
            loop {
                let more = self.place.list.more.notified();
                if wanted(&self.place.list.events.lock()) {
                    return;
                }
                more.await;
            }
        };
        if tokio::time::timeout(PATIENCE, waits).await.is_err() {
            panic!(
                "after {PATIENCE:?} this has arrived: {:?}",
                self.place.list.events.lock()
            );
        }
    }

    /// Waits for `n` events, ends the source, and gives all that has arrived.
    pub async fn collect(self, n: usize) -> Vec<Event> {
        self.until(|events| events.len() >= n).await;
        self.stop().await
    }

    /// Ends the source, and gives all that has arrived.
    pub async fn stop(self) -> Vec<Event> {
        let SourceBench { place, topology } = self;
        assert!(topology.stop().await, "some events have no end");
        std::mem::take(&mut *place.list.events.lock())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::component::{Reason, ReasonKind};
    use crate::event::{Field, ValueRef};
    use crate::events;

    /// Refuses whatever says `poison`.
    #[derive(Clone, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    struct Picky {}

    impl SinkConfig for Picky {
        const TYPE: &'static str = "picky";
        const EXAMPLE: &'static str = "";
        const WORKERS: Workers = Workers::Any;

        fn build(&self, _: &Context) -> Result<Box<dyn Sink>, BuildErrors> {
            Ok(Box::new(Picky {}))
        }
    }

    #[async_trait]
    impl Sink for Picky {
        async fn write(&mut self, events: Events) -> Result<Written, WriteError> {
            match events
                .iter()
                .any(|event| event.str(Field::new("text")) == Some("poison"))
            {
                true => Err(WriteError::Refused {
                    reason: Reason::new(ReasonKind::Rejected, "poison"),
                }),
                false => Ok(Written::default()),
            }
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_sink_is_given_events_and_the_dead_letters_are_found() {
        let outcome = super::sink::<Picky>("")
            .deliver(events![{"n": 1}, {"n": 2, "text": "poison"}, {"n": 3}])
            .await;
        assert_eq!(outcome.delivered(), [1, 3]);
        assert_eq!(outcome.dead_letters(), [2]);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_source_is_listened_to() {
        let given = Place::new();
        *given.list.events.lock() = events![{"n": 7}, {"n": 8}];
        let found = super::source::<Given>(&format!("list = {}", given.number))
            .await
            .collect(2)
            .await;
        let n: Vec<_> = found
            .iter()
            .filter_map(|event| event.get(Field::new("n")).and_then(ValueRef::as_int))
            .collect();
        assert_eq!(n, [7, 8]);
    }
}
