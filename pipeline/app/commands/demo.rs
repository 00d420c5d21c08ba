//! `pvetrail demo`: a believable cluster on the terminal, without a configuration, a node or a trace left behind.
//!
//! With files it runs their graph instead, with the cluster in the place of what reads from a node.
//!
//! It runs the shipped graph `configs/graphs/demo.toml`, with one sink more that counts what is worth a look, for the line at
//! the bottom of a terminal and the summary at the end.

mod stand_in;
mod status;
mod tally;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pipeline::config::FakeEnv;
use pipeline::{Clock, Graph, Registry, Time};
use toml::{Table, Value};

use crate::exit::Exit;
use crate::live::{self, Job};
use crate::{load, say};

use status::StatusLine;
use tally::Tally;

/// The shipped graph.
const GRAPH: &str = include_str!("../../../configs/graphs/demo.toml");
/// What the errors call it.
const NAME: &str = "configs/graphs/demo.toml";

/// Arguments of `demo`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A graph of your own, or one of configs/graphs: the cluster takes the place of its sources that read from a node.
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,

    /// Entries a second, of each source; 0 is as fast as they are taken. 8 where it is not said.
    #[arg(long, value_name = "N")]
    rate: Option<f64>,

    /// Another number is another day.
    #[arg(long, value_name = "N")]
    seed: Option<i64>,

    /// When the day begins, like 2026-03-14T21:52:00Z.
    #[arg(long, value_name = "TIME")]
    start: Option<String>,

    /// End after so many entries of each source.
    #[arg(long, value_name = "N")]
    count: Option<i64>,

    /// Show also what open browsers and the monitoring ask for all the time.
    #[arg(long)]
    noise: bool,

    /// Show events in another form: json, logfmt, text.
    #[arg(long, value_name = "FORM", default_value = "pretty")]
    codec: String,

    /// Print the graph instead of running it.
    #[arg(long)]
    print_config: bool,
}

/// Entries a second, where nobody says how many.
const RATE: f64 = 8.0;
/// The seed of a day, where nobody says which.
const SEED: i64 = 7;
/// How long a day lasts.
const DAY: Duration = Duration::from_secs(24 * 3600);

impl Args {
    /// When the day begins: as it is said, now where it is to be watched, and else so that it ends now.
    fn start(&self) -> String {
        let now = Clock::system().now();
        let start = match self.rate() > 0.0 {
            true => now,
            false => Time(now.0.saturating_sub(DAY.as_nanos() as i64)),
        };
        self.start.clone().unwrap_or_else(|| start.to_string())
    }

    /// Whether it comes to an end by itself.
    fn ends(&self) -> bool {
        self.count.is_some() || self.rate() <= 0.0
    }

    fn rate(&self) -> f64 {
        self.rate.unwrap_or(RATE)
    }

    /// A source of the demo; `again` is another day.
    fn source(&self, again: usize) -> Table {
        let again = i64::try_from(again).unwrap_or(0);
        let seed = self.seed.unwrap_or(SEED).wrapping_add(again);
        let mut source = Table::from_iter([
            ("type".to_owned(), Value::from("demo")),
            ("start".to_owned(), self.start().into()),
            ("rate".to_owned(), self.rate().into()),
            ("noise".to_owned(), self.noise.into()),
            ("seed".to_owned(), seed.into()),
        ]);
        if let Some(count) = self.count {
            source.insert("count".to_owned(), count.into());
        } else if self.rate() <= 0.0 {
            source.insert("lasts".to_owned(), "24h".into());
        }
        source
    }
}

/// Shows the cluster until Ctrl-C.
pub(crate) fn run(args: &Args, level: Option<&str>) -> Exit {
    if args.print_config {
        say::write(GRAPH);
        return Exit::Done;
    }
    let folder = match tempdir() {
        Ok(folder) => folder,
        Err(why) => {
            say::error(why);
            return Exit::Failed;
        }
    };
    if !args.files.is_empty() {
        return stand_in::run(args, level, &folder.0);
    }
    let tally = Arc::new(Tally::default());
    let exit = match graph(args, &folder.0, &tally) {
        Ok(graph) => show(graph, level, &tally),
        Err(exit) => exit,
    };
    drop(folder);
    exit
}

fn show(graph: Graph, level: Option<&str>, tally: &Arc<Tally>) -> Exit {
    if let Err(why) = load::logs(&graph.globals.log, Some(level.unwrap_or("warn"))) {
        say::error(why);
        return Exit::Failed;
    }
    let began = Instant::now();
    let mut job = Job::new(graph, None);
    job.grace = Duration::from_secs(2);
    let exit = load::block_on(async {
        let status = StatusLine::start(Arc::clone(tally));
        let exit = live::run(job).await;
        drop(status);
        exit
    });
    say::aside(&format!("\n{}\n", tally.summary(began.elapsed())));
    // Whoever ends a demo has seen enough; what was still on its way is no loss.
    if exit == Exit::Found {
        Exit::Done
    } else {
        exit
    }
}

/// The shipped graph with the wishes of the command line.
fn graph(args: &Args, data_dir: &std::path::Path, tally: &Arc<Tally>) -> Result<Graph, Exit> {
    let text = wishes(args, data_dir).map_err(|why| {
        say::error(format!("{NAME}: {why}"));
        Exit::Failed
    })?;
    let env = FakeEnv::new().with_file(NAME, &text);
    let registry = registry(tally);
    load::graph(&[PathBuf::from(NAME)], &registry, &env)
}

fn registry(tally: &Arc<Tally>) -> Registry {
    tally::offer(tally);
    let mut registry = crate::registry();
    registry.sink::<tally::Config>();
    registry
}

fn wishes(args: &Args, data_dir: &std::path::Path) -> Result<String, String> {
    let mut graph: Table = GRAPH
        .parse()
        .map_err(|why: toml::de::Error| why.to_string())?;
    graph.insert(
        "data_dir".to_owned(),
        data_dir.to_string_lossy().into_owned().into(),
    );
    let source = table(&mut graph, &["sources", "cluster"])?;
    source.insert("rate".to_owned(), args.rate().into());
    source.insert("noise".to_owned(), args.noise.into());
    if let Some(seed) = args.seed {
        source.insert("seed".to_owned(), seed.into());
    }
    if let Some(start) = &args.start {
        source.insert("start".to_owned(), start.as_str().into());
    }
    if let Some(count) = args.count {
        source.insert("count".to_owned(), count.into());
    }
    let screen = table(&mut graph, &["sinks", "screen"])?;
    let inputs = screen
        .get("inputs")
        .cloned()
        .ok_or("the screen has no inputs")?;
    table(&mut graph, &["sinks", "screen", "encoding"])?
        .insert("codec".to_owned(), args.codec.clone().into());
    let mut counter = Table::new();
    counter.insert("type".to_owned(), "demo_tally".into());
    counter.insert("inputs".to_owned(), inputs);
    table(&mut graph, &["sinks"])?.insert("tally".to_owned(), Value::Table(counter));
    toml::to_string(&graph).map_err(|why| why.to_string())
}

fn table<'a>(graph: &'a mut Table, path: &[&str]) -> Result<&'a mut Table, String> {
    let mut here = graph;
    for name in path {
        here = here
            .get_mut(*name)
            .and_then(Value::as_table_mut)
            .ok_or_else(|| format!("there is no [{}]", path.join(".")))?;
    }
    Ok(here)
}

/// A folder that goes with the demo.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        // What stays is a few small files in the folder for temporary ones.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn tempdir() -> Result<Folder, String> {
    let path = std::env::temp_dir().join(format!("pvetrail-demo-{}", std::process::id()));
    std::fs::create_dir(&path).map_err(|why| format!("{}: {why}", path.display()))?;
    Ok(Folder(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_graph_holds() {
        let args = Args {
            files: Vec::new(),
            rate: Some(0.0),
            seed: Some(3),
            start: None,
            count: Some(10),
            noise: true,
            codec: "json".to_owned(),
            print_config: false,
        };
        let tally = Arc::new(Tally::default());
        let graph = graph(&args, std::path::Path::new("/nonexistent"), &tally).unwrap();
        assert_eq!(graph.sinks.len(), 2);
        // As it stands in the repository, with none of the demo's own parts.
        let env = FakeEnv::new().with_file(NAME, GRAPH);
        assert!(pipeline::load(&[PathBuf::from(NAME)], &crate::registry(), &env).is_ok());
    }
}
