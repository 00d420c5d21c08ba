//! `pvetrail demo`: the day of a believable cluster, without a configuration or a node.
//!
//! Without a word more it tells the whole day into a store and ends in the question that the day asks. With a rate it shows
//! the cluster on the terminal, as if it happened now, and leaves no trace behind. With files it runs their graph, with
//! the cluster in the place of what reads from a node.
//!
//! All but the last run the shipped graph `configs/graphs/demo.toml`.

mod replay;
mod stand_in;
mod status;
mod story;
mod tally;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use pipeline::config::FakeEnv;
use pipeline::{Clock, Graph, Registry, Time};
use sources::demo::Day;
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

    /// Show it on the terminal as if it happened now, so many entries a second; 0 is as fast as they can be shown. With
    /// files it is that of each source, and 8 where it is not said.
    #[arg(long, value_name = "N")]
    rate: Option<f64>,

    /// Another number is another day.
    #[arg(long, value_name = "N")]
    seed: Option<i64>,

    /// When the day begins, like 2026-03-14T21:52:00Z; 24 hours ago where it is not said, so that it ends now.
    #[arg(long, value_name = "TIME")]
    start: Option<String>,

    /// Show it on the terminal, and end after so many entries; with files, of each source, or when its day is over.
    #[arg(long, value_name = "N")]
    count: Option<i64>,

    /// Tell a month of ordinary days instead, with eleven attacks of different kinds, and print what there is to ask; it needs a
    /// store.
    #[arg(long, requires = "store", conflicts_with_all = ["files", "rate", "count"])]
    month: bool,

    /// Tell also what open browsers and the monitoring ask for all the time.
    #[arg(long)]
    noise: bool,

    /// Show it on the terminal in another form: json, logfmt, text.
    #[arg(long, value_name = "FORM")]
    codec: Option<String>,

    /// Where the store is kept; a folder of your own among the temporary files where it is not said.
    #[arg(long, value_name = "FOLDER", conflicts_with = "files")]
    store: Option<PathBuf>,

    /// The language of its sentences: en, de.
    #[arg(long, value_name = "LANG", default_value = "en", value_parser = ["en", "de"])]
    lang: String,

    /// Write down what really happened, one JSON object for each entry: who was behind it, from where. No log tells it.
    #[arg(long, value_name = "FILE", conflicts_with = "files")]
    truth: Option<PathBuf>,

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
/// How long a source stays after its last entry, so that what waits for other records is let go.
const STAYS: &str = "45s";

impl Args {
    /// Whether it is to be seen on the terminal.
    fn is_watched(&self) -> bool {
        self.rate.is_some() || self.count.is_some() || self.codec.is_some()
    }

    /// Whether it comes to an end by itself.
    fn ends(&self) -> bool {
        self.count.is_some() || self.rate() <= 0.0
    }

    fn rate(&self) -> f64 {
        self.rate.unwrap_or(RATE)
    }

    fn seed(&self) -> i64 {
        self.seed.unwrap_or(SEED)
    }

    /// When the day begins: as it is said, or so that it ends now.
    fn day(&self) -> Result<Day, String> {
        let start = match &self.start {
            Some(text) => Time::parse(text).ok_or_else(|| {
                format!("--start \"{text}\" is no time; write it like 2026-03-14T21:52:00Z")
            })?,
            None if self.month => Time(a_day_ago().0.saturating_sub(29 * DAY.as_nanos() as i64)),
            None => a_day_ago(),
        };
        Ok(Day {
            seed: self.seed().cast_unsigned(),
            start,
            lasts: if self.month { 30 * DAY } else { DAY },
            nodes: 3,
            attacks: true,
            noise: self.noise,
            month: self.month,
        })
    }

    /// A source of the demo; `again` is another day.
    fn source(&self, again: usize) -> Table {
        let again = i64::try_from(again).unwrap_or(0);
        // One that is watched happens now.
        let now = Clock::system().now();
        let start = if self.ends() { a_day_ago() } else { now };
        let start = self.start.clone().unwrap_or_else(|| start.to_string());
        let mut source = Table::from_iter([
            ("type".to_owned(), Value::from("demo")),
            ("start".to_owned(), start.into()),
            ("rate".to_owned(), self.rate().into()),
            ("noise".to_owned(), self.noise.into()),
            ("seed".to_owned(), self.seed().wrapping_add(again).into()),
        ]);
        if let Some(count) = self.count {
            source.insert("count".to_owned(), count.into());
        }
        if self.ends() {
            source.insert("lasts".to_owned(), "24h".into());
            source.insert("stays".to_owned(), STAYS.into());
        }
        source
    }
}

fn a_day_ago() -> Time {
    let now = Clock::system().now();
    Time(now.0.saturating_sub(DAY.as_nanos() as i64))
}

/// Tells the day, shows the cluster until Ctrl-C, or runs the files.
pub(crate) fn run(args: &Args, level: Option<&str>) -> Exit {
    if args.print_config {
        say::write(GRAPH);
        return Exit::Done;
    }
    if args.files.is_empty() && !args.is_watched() {
        return story::run(args);
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
        Ok(graph) if args.ends() && args.rate() <= 0.0 => replay_to_screen(args, &graph, &tally),
        Ok(graph) => show(graph, level, &tally),
        Err(exit) => exit,
    };
    drop(folder);
    exit
}

/// As fast as it can be shown: the day's own time passes, and nobody waits for the clock on the wall.
fn replay_to_screen(args: &Args, graph: &Graph, tally: &Arc<Tally>) -> Exit {
    let began = Instant::now();
    let mut day = match args.day() {
        Ok(day) => day,
        Err(why) => {
            say::error(why);
            return Exit::Failed;
        }
    };
    if args.start.is_none() {
        // The day of the shipped graph, the same whenever it is shown.
        day.start = Time::parse(START).unwrap_or(day.start);
    }
    let told = load::block_on_any(replay::run(graph, &day, args.count));
    say::aside(&format!("\n{}\n", tally.summary(began.elapsed())));
    match told {
        Ok(_) => Exit::Done,
        Err(why) => {
            say::error(why);
            Exit::Failed
        }
    }
}

/// When the day of the shipped graph begins.
const START: &str = "2026-03-14T21:52:00Z";

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
fn graph(args: &Args, data_dir: &Path, tally: &Arc<Tally>) -> Result<Graph, Exit> {
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

fn wishes(args: &Args, data_dir: &Path) -> Result<String, String> {
    let mut graph = shipped(data_dir)?;
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
        source.insert("stays".to_owned(), STAYS.into());
    }
    let screen = table(&mut graph, &["sinks", "screen"])?;
    let inputs = screen
        .get("inputs")
        .cloned()
        .ok_or("the screen has no inputs")?;
    if let Some(codec) = &args.codec {
        table(&mut graph, &["sinks", "screen", "encoding"])?
            .insert("codec".to_owned(), codec.clone().into());
    }
    graph.insert("language".to_owned(), args.lang.as_str().into());
    let mut counter = Table::new();
    counter.insert("type".to_owned(), "demo_tally".into());
    counter.insert("inputs".to_owned(), inputs);
    let sinks = table(&mut graph, &["sinks"])?;
    sinks.insert("tally".to_owned(), Value::Table(counter));
    sinks.remove("store");
    toml::to_string(&graph).map_err(|why| why.to_string())
}

/// The shipped graph, keeping what it has to keep in `data_dir`.
fn shipped(data_dir: &Path) -> Result<Table, String> {
    let mut graph: Table = GRAPH
        .parse()
        .map_err(|why: toml::de::Error| why.to_string())?;
    graph.insert(
        "data_dir".to_owned(),
        data_dir.to_string_lossy().into_owned().into(),
    );
    Ok(graph)
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
pub(super) mod tests {
    use super::*;

    /// Arguments as they are without any.
    pub(super) fn args(files: &[&str]) -> Args {
        Args {
            files: files.iter().map(PathBuf::from).collect(),
            rate: Some(0.0),
            seed: None,
            start: None,
            count: Some(10),
            month: false,
            noise: false,
            codec: None,
            store: None,
            lang: "en".to_owned(),
            truth: None,
            print_config: false,
        }
    }

    #[test]
    fn the_shipped_graph_holds() {
        let args = Args {
            seed: Some(3),
            noise: true,
            codec: Some("json".to_owned()),
            ..args(&[])
        };
        let tally = Arc::new(Tally::default());
        let graph = graph(&args, Path::new("/nonexistent"), &tally).unwrap();
        assert_eq!(graph.sinks.len(), 2);
        // As it stands in the repository, with none of the demo's own parts.
        let env = FakeEnv::new().with_file(NAME, GRAPH);
        assert!(pipeline::load(&[PathBuf::from(NAME)], &crate::registry(), &env).is_ok());
        assert!(GRAPH.contains(START));
    }
}
