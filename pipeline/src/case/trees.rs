//! Sources that read folders: the real source, in the real engine, on a copy of what the case holds.
//!
//! `in/1`, `in/2` and so on (or `in.<source>/1`) are what lies there when the case begins, a minute later, and so on. The
//! source finds it under `${TREE}`. A state gives way to the next one when the source has said often enough that there is
//! nothing more to read; the clock it sees stands still until then, so the same comes out every time.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::Deserialize;

use super::input::{Input, Item};
use crate::batch::Batch;
use crate::clock::{Clock, Time};
use crate::component::{
    BuildErrors, Context, Registry, Sink, SinkConfig, Source, SourceConfig, SourceError, Transform,
    TransformConfig, Workers, WriteError, Written,
};
use crate::config::{FakeEnv, Globals, Graph, Node, load};
use crate::events::Events;
use crate::outputs::Outputs;
use crate::source_out::SourceOut;
use crate::telemetry::Telemetry;
use crate::topology::{Options, Topology};

/// From one state to the next.
const STEP: Duration = Duration::from_secs(60);
/// So many words of silence after a state was laid out say that it is read: sources look at least every two seconds, and say
/// once a second that there is nothing.
const WORDS: u64 = 4;
/// A source that does not come to rest within this has hung.
const PATIENCE: Duration = Duration::from_secs(60);
/// What stands for the folder in what comes out.
const TREE: &str = "${TREE}";

/// What the watching transform of one run has seen.
#[derive(Default)]
struct Seen {
    events: Mutex<Vec<serde_json::Value>>,
    silences: AtomicU64,
}

static ALL: LazyLock<Mutex<HashMap<u64, Arc<Seen>>>> = LazyLock::new(Mutex::default);
static NUMBERS: AtomicU64 = AtomicU64::new(1);

/// The states of a source's folder, in their order; none where the case has no such folder.
pub(super) fn states(case: &Path, source: &str) -> Vec<PathBuf> {
    for name in [format!("in.{source}"), "in".to_owned()] {
        let folder = case.join(name);
        let numbered = (1..).map(|n: u32| folder.join(n.to_string()));
        let states: Vec<PathBuf> = numbered.take_while(|state| state.is_dir()).collect();
        if !states.is_empty() {
            return states;
        }
    }
    Vec::new()
}

/// What the source makes of the states, as the input of its case. `source` is its place in the graph.
pub(super) fn read(
    mut graph: Graph,
    source: usize,
    states: &[PathBuf],
    tree: &Path,
    start: Time,
) -> Result<Input, String> {
    let node = graph.sources.swap_remove(source);
    let globals = Arc::clone(&graph.globals);
    // Whoever runs cases may have a runtime of its own.
    std::thread::scope(|scope| {
        let work = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .map_err(|why| format!("cannot start a runtime: {why}"))?;
            runtime.block_on(run(node, &globals, states, tree, start))
        });
        work.join()
            .unwrap_or_else(|panic| Err(crate::topology::node::panic_text(&*panic)))
    })
}

async fn run(
    node: Node,
    globals: &Globals,
    states: &[PathBuf],
    tree: &Path,
    start: Time,
) -> Result<Input, String> {
    let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
    let seen = Arc::new(Seen::default());
    ALL.lock().insert(number, Arc::clone(&seen));
    let data = tree.with_extension("data");
    let clock = Clock::manual(start);
    lay_out(&states[0], tree)?;
    let options = Options {
        telemetry: Telemetry::new("case", "0"),
        clock: clock.clone(),
        grace: PATIENCE,
    };
    let topology = Topology::start(around(node, globals, number, &data)?, options)
        .await
        .map_err(|why| why.to_string())?;
    let place = tree.display().to_string();
    let mut items = Vec::new();
    let mut now = start;
    let mut trouble = None;
    for (n, state) in states.iter().enumerate() {
        if n > 0 {
            now = now.after(STEP);
            clock.set(now);
            if let Err(why) = lay_out(state, tree) {
                trouble = Some(why);
                break;
            }
        }
        if !rests(&seen).await {
            trouble = Some(format!(
                "the source does not come to rest on {}",
                state.display()
            ));
            break;
        }
        for mut event in seen.events.lock().drain(..) {
            let mut text = event.to_string();
            if text.contains(&place) {
                // An id made of the path would be another one in every run; the case gives it one of its own.
                if let Some(event) = event["event"].as_object_mut() {
                    event.remove("id");
                }
                text = event.to_string().replace(&place, TREE);
            }
            items.push(Item {
                time: now,
                offset: items.len() as u64,
                text: text.into_bytes(),
                is_event: true,
            });
        }
    }
    topology.stop().await;
    ALL.lock().remove(&number);
    match trouble {
        Some(why) => Err(why),
        None => Ok(Input {
            items,
            end: Some(now),
        }),
    }
}

/// The source with somebody who watches behind it.
fn around(node: Node, globals: &Globals, number: u64, data: &Path) -> Result<Graph, String> {
    let mut registry = Registry::new();
    registry.source::<Nothing>();
    registry.transform::<Watch>();
    registry.sink::<End>();
    let text = format!(
        "[sources.{id}]\ntype = 'nothing'\n\
         [transforms.watch_of_case]\ntype = 'watch'\nnumber = {number}\ninputs = ['{id}']\n\
         [sinks.end_of_case]\ntype = 'end'\ninputs = ['watch_of_case']\n",
        id = node.id,
    );
    let env = FakeEnv::new().with_file("case", &text);
    let (mut graph, _) =
        load(&[PathBuf::from("case")], &registry, &env).map_err(|found| found.to_string())?;
    graph.sources[0] = node;
    // Cluster, host and redaction are those of the case.
    let mut of_case = Globals::clone(globals);
    data.clone_into(&mut of_case.data_dir);
    graph.globals = Arc::new(of_case);
    Ok(graph)
}

async fn rests(seen: &Seen) -> bool {
    let before = seen.silences.load(Ordering::Relaxed);
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        if seen.silences.load(Ordering::Relaxed) >= before + WORDS {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    false
}

/// Makes the folder look like the state: what is new or different is put there under a name of its own and renamed, as
/// careful writers do; what the state does not have goes away.
fn lay_out(state: &Path, tree: &Path) -> Result<(), String> {
    copy(state, tree).map_err(|why| format!("cannot lay out {}: {why}", state.display()))
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(to)? {
        let entry = entry?;
        if from.join(entry.file_name()).symlink_metadata().is_err() {
            match entry.file_type()?.is_dir() {
                true => std::fs::remove_dir_all(entry.path())?,
                false => std::fs::remove_file(entry.path())?,
            }
        }
    }
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let place = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &place)?;
            continue;
        }
        let text = std::fs::read(entry.path())?;
        if std::fs::read(&place).is_ok_and(|there| there == text) {
            continue;
        }
        let aside = to.join(".laying-out.tmp.1");
        std::fs::write(&aside, text)?;
        std::fs::rename(aside, place)?;
    }
    Ok(())
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Nothing {}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Watch {
    number: u64,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct End {}

impl SourceConfig for Nothing {
    const TYPE: &'static str = "nothing";
    const EXAMPLE: &'static str = "";

    fn build(&self, _: &Context) -> Result<Box<dyn Source>, BuildErrors> {
        Ok(Box::new(Nothing {}))
    }
}

impl TransformConfig for Watch {
    const TYPE: &'static str = "watch";
    const EXAMPLE: &'static str = "number = 1";

    fn build(&self, _: &Context) -> Result<Box<dyn Transform>, BuildErrors> {
        Ok(Box::new(Watching(
            ALL.lock().get(&self.number).cloned().unwrap_or_default(),
        )))
    }
}

impl SinkConfig for End {
    const TYPE: &'static str = "end";
    const EXAMPLE: &'static str = "";
    const WORKERS: Workers = Workers::One;

    fn build(&self, _: &Context) -> Result<Box<dyn Sink>, BuildErrors> {
        Ok(Box::new(End {}))
    }
}

struct Watching(Arc<Seen>);

#[async_trait]
impl Source for Nothing {
    async fn run(&mut self, _: SourceOut) -> Result<(), SourceError> {
        Ok(())
    }
}

impl Transform for Watching {
    fn apply(&mut self, batch: Batch, out: &mut Outputs) {
        let events = batch.events.iter().map(crate::event::Event::to_json);
        self.0.events.lock().extend(events);
        if batch.mark.idle {
            self.0.silences.fetch_add(1, Ordering::Relaxed);
        }
        out.push(batch);
    }
}

#[async_trait]
impl Sink for End {
    async fn write(&mut self, _: Events) -> Result<Written, WriteError> {
        Ok(Written::default())
    }
}
