//! `pvetrail dlq`: what no sink would take, to be looked at, sent again, or removed.
//!
//! A letter is removed only once its sink has answered for it, so a crash in between costs a duplicate (which the event's id
//! makes harmless) and never an event.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::ValueEnum;
use pipeline::dlq::{self, AtWork, Decision, Filter, Letter, Line, Lines};
use pipeline::topology::{BuildSink, End, Pace, Rewriter};
use pipeline::{Component, Event, Graph, Kind, SystemEnv, Time, printable};

use crate::exit::Exit;
use crate::{load, say};

/// Letters that one write to a sink begins with.
const CHUNK: usize = 500;

/// Arguments of `dlq`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Count the dead letters by component and reason.
    Ls(Place),
    /// Print dead letters.
    Show {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        which: Which,
        /// How they are printed.
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
        /// At most so many.
        #[arg(long, value_name = "N", default_value_t = 100)]
        limit: usize,
    },
    /// Write dead letters to their sinks once more; those that are taken go.
    Retry {
        #[command(flatten)]
        which: Which,
        /// The configuration whose sinks they were meant for.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Where the program keeps its data, instead of what the configuration says.
        #[arg(long, value_name = "DIR")]
        data_dir: Option<PathBuf>,
        /// How long to try [seconds].
        #[arg(long, value_name = "SECONDS", default_value_t = 60)]
        patience: u64,
    },
    /// Remove dead letters for good.
    Purge {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        which: Which,
        /// Needed where no filter says which.
        #[arg(long)]
        all: bool,
    },
}

/// Where the dead letters lie.
#[derive(Debug, clap::Args)]
struct Place {
    /// Where the program keeps its data.
    #[arg(long, value_name = "DIR", default_value = pipeline::config::DATA_DIR)]
    data_dir: PathBuf,
}

/// Which letters are meant.
#[derive(Debug, clap::Args)]
struct Which {
    /// Only those of this component.
    #[arg(long, value_name = "ID")]
    component: Option<String>,
    /// Only those refused for this reason (`mapping`, `too_large`, …).
    #[arg(long, value_name = "REASON")]
    reason: Option<String>,
    /// Only events whose id begins so.
    #[arg(long, value_name = "HEX")]
    id: Option<String>,
    /// Only those refused before this time (RFC 3339).
    #[arg(long, value_name = "TIME", value_parser = time)]
    before: Option<Time>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// Why, when, and the message.
    Text,
    /// One JSON object a line, whole.
    Json,
}

fn time(text: &str) -> Result<Time, String> {
    Time::parse(text).ok_or_else(|| "write it like 2026-03-14T22:30:00Z".to_owned())
}

impl Which {
    fn filter(&self) -> Filter {
        Filter {
            component: self.component.clone(),
            reason: self.reason.clone(),
            id: self.id.clone(),
            before: self.before,
        }
    }
}

/// 0 done, 1 where letters are left after `retry` or found by `ls`, 2 failed.
pub(crate) fn run(args: &Args) -> Exit {
    let done = match &args.what {
        What::Ls(place) => list(&place.data_dir),
        What::Show {
            place,
            which,
            format,
            limit,
        } => show(&place.data_dir, &which.filter(), *format, *limit),
        What::Purge { place, which, all } => purge(&place.data_dir, &which.filter(), *all),
        What::Retry {
            which,
            files,
            data_dir,
            patience,
        } => {
            let graph = match load::graph(files, &crate::registry(), &SystemEnv) {
                Ok(graph) => graph,
                Err(exit) => return exit,
            };
            let data_dir = data_dir
                .clone()
                .unwrap_or_else(|| graph.globals.data_dir.clone());
            retry(
                &Arc::new(graph),
                &data_dir,
                &which.filter(),
                Duration::from_secs(*patience),
            )
        }
    };
    done.unwrap_or_else(|why| {
        say::error(why);
        Exit::Failed
    })
}

/// Calls `see` with every line of the dead letters of the components that `filter` means.
fn each(
    data_dir: &Path,
    filter: &Filter,
    mut see: impl FnMut(&str, Line) -> bool,
) -> Result<(), String> {
    for component in components(data_dir, filter)? {
        let files = dlq::lines(data_dir, &component)
            .map_err(|why| format!("dead letters of {component}: {why}"))?;
        for (path, lines) in files {
            for line in lines {
                let line = line.map_err(|why| format!("{}: {why}", path.display()))?;
                if !see(&component, line) {
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}

fn components(data_dir: &Path, filter: &Filter) -> Result<Vec<String>, String> {
    let mut all = dlq::components(data_dir)
        .map_err(|why| format!("{}: {why}", dlq::folder(data_dir).display()))?;
    all.retain(|component| {
        filter
            .component
            .as_ref()
            .is_none_or(|wanted| wanted == component)
    });
    Ok(all)
}

fn list(data_dir: &Path) -> Result<Exit, String> {
    let mut counts: BTreeMap<(String, String), (u64, String, String)> = BTreeMap::new();
    each(data_dir, &Filter::default(), |component, line| {
        let (reason, when) = match line {
            Line::Letter(letter) => (letter.reason.kind, letter.dead_at),
            Line::Unreadable(_) => ("(unreadable)".to_owned(), String::new()),
        };
        let entry = counts.entry((component.to_owned(), reason)).or_insert((
            0,
            when.clone(),
            String::new(),
        ));
        entry.0 += 1;
        entry.2 = when;
        true
    })?;
    if counts.is_empty() {
        say::line(format!(
            "no dead letters in {}",
            dlq::folder(data_dir).display()
        ));
        return Ok(Exit::Done);
    }
    say::line(format!(
        "{:<20} {:<14} {:>9}  {:<24}  {:<24}",
        "COMPONENT", "REASON", "LETTERS", "FIRST", "LAST"
    ));
    for ((component, reason), (count, first, last)) in counts {
        let (reason, first, last) = (printable(&reason), printable(&first), printable(&last));
        say::line(format!(
            "{component:<20} {reason:<14} {count:>9}  {first:<24}  {last:<24}"
        ));
    }
    Ok(Exit::Found)
}

fn show(data_dir: &Path, filter: &Filter, format: Format, limit: usize) -> Result<Exit, String> {
    let mut shown = 0;
    let mut unreadable = 0_u64;
    each(data_dir, filter, |_, line| {
        let letter = match line {
            Line::Letter(letter) if filter.takes(&letter) => letter,
            Line::Letter(_) => return true,
            Line::Unreadable(_) => {
                unreadable += 1;
                return true;
            }
        };
        shown += 1;
        shown <= limit && say::line(text(&letter, format))
    })?;
    if shown > limit {
        say::error(format!(
            "only the first {limit} are shown; `--limit` shows more"
        ));
    }
    if unreadable > 0 {
        say::error(format!(
            "{unreadable} lines are no dead letters and were left out"
        ));
    }
    Ok(Exit::Done)
}

fn text(letter: &Letter, format: Format) -> String {
    match format {
        Format::Json => serde_json::to_string(letter).unwrap_or_default(),
        Format::Text => {
            let message = letter
                .event
                .get("message")
                .and_then(|text| text.as_str())
                .unwrap_or_default();
            format!(
                "{} {} {} {}: {}\n    {}",
                printable(&letter.dead_at),
                printable(letter.id()),
                printable(&letter.component),
                printable(&letter.reason.kind),
                printable(&letter.reason.text),
                printable(message)
            )
        }
    }
}

fn purge(data_dir: &Path, filter: &Filter, all: bool) -> Result<Exit, String> {
    if filter.is_open() && !all {
        return Err("say which (--component, --reason, --id, --before), or --all".to_owned());
    }
    let mut removed = 0;
    for component in components(data_dir, filter)? {
        let _work = AtWork::on(data_dir, &component)
            .map_err(|why| format!("dead letters of {component}: {why}"))?;
        for (path, _) in dlq::lines(data_dir, &component)
            .map_err(|why| format!("dead letters of {component}: {why}"))?
        {
            let edited = dlq::edit(&path, |_, line| match line {
                Line::Letter(letter) if filter.takes(letter) => Decision::Remove,
                Line::Unreadable(_) if filter.is_open() => Decision::Remove,
                _ => Decision::Keep,
            });
            removed += edited
                .map_err(|why| format!("{}: {why}", path.display()))?
                .removed;
        }
    }
    say::line(format!("{removed} removed"));
    Ok(Exit::Done)
}

fn retry(
    graph: &Arc<Graph>,
    data_dir: &Path,
    filter: &Filter,
    patience: Duration,
) -> Result<Exit, String> {
    let runtime = tokio::runtime::Runtime::new().map_err(|why| format!("no runtime: {why}"))?;
    let mut tally = Tally::default();
    for component in components(data_dir, filter)? {
        let Some(node) = graph
            .node(&component)
            .filter(|node| node.kind == Kind::Sink)
        else {
            say::error(format!(
                "the configuration has no sink \"{component}\"; its letters stay"
            ));
            tally.left += 1;
            continue;
        };
        let _work = AtWork::on(data_dir, &component)
            .map_err(|why| format!("dead letters of {component}: {why}"))?;
        let request = &node.engine.request;
        let pace = Pace {
            initial: request.retry_initial_backoff.get(),
            max: request.retry_max_backoff.get(),
        };
        let type_name = node.type_name;
        let build = builder(Arc::clone(graph), component.clone());
        let mut sink =
            runtime.block_on(async { Rewriter::new(&component, type_name, build, pace, patience) });
        for (path, lines) in dlq::lines(data_dir, &component)
            .map_err(|why| format!("dead letters of {component}: {why}"))?
        {
            rewrite(&runtime, &mut sink, (&path, lines), filter, &mut tally)?;
        }
        runtime.block_on(sink.close());
    }
    say::line(format!(
        "{} delivered, {} refused again, {} left",
        tally.delivered, tally.refused, tally.left
    ));
    Ok(if tally.refused + tally.left > 0 {
        Exit::Found
    } else {
        Exit::Done
    })
}

#[derive(Default)]
struct Tally {
    delivered: u64,
    refused: u64,
    left: u64,
}

fn builder(graph: Arc<Graph>, id: String) -> BuildSink {
    Arc::new(move || {
        let node = graph.node(&id).ok_or("the sink is gone")?;
        match node.component.build(&graph.context(node)) {
            Ok(Component::Sink(sink)) => Ok(sink),
            Ok(_) => Err(format!("{id} is no sink")),
            Err(why) => Err(why.to_string()),
        }
    })
}

/// Writes the letters of one file, and takes out those that were taken.
fn rewrite(
    runtime: &tokio::runtime::Runtime,
    sink: &mut Rewriter,
    (path, lines): (&Path, Lines),
    filter: &Filter,
    tally: &mut Tally,
) -> Result<(), String> {
    let failed = |why: std::io::Error| format!("{}: {why}", path.display());
    let mut ends: BTreeMap<usize, End> = BTreeMap::new();
    let mut places = Vec::new();
    let mut events = Vec::new();
    let mut lines = lines.enumerate();
    loop {
        let next = lines.next();
        if let Some((n, line)) = &next {
            match line
                .as_ref()
                .map_err(|why| format!("{}: {why}", path.display()))?
            {
                Line::Letter(letter) if filter.takes(letter) => {
                    match Event::from_json(letter.event.clone()) {
                        Ok(event) => {
                            places.push(*n);
                            events.push(event);
                        }
                        Err(why) => {
                            say::error(format!(
                                "{}: line {}: {why}; it stays",
                                path.display(),
                                n + 1
                            ));
                            tally.left += 1;
                        }
                    }
                }
                _ => {}
            }
        }
        if events.len() >= CHUNK || (next.is_none() && !events.is_empty()) {
            let told = runtime.block_on(sink.write(std::mem::take(&mut events)));
            ends.extend(std::mem::take(&mut places).into_iter().zip(told));
        }
        if next.is_none() || sink.is_over() {
            break;
        }
    }
    dlq::edit(path, |n, line| match (ends.get(&n), line) {
        (Some(End::Delivered), _) => {
            tally.delivered += 1;
            Decision::Remove
        }
        (Some(End::Refused(reason)), Line::Letter(letter)) => {
            tally.refused += 1;
            let mut letter = letter.clone();
            letter.attempts += 1;
            reason.kind.name().clone_into(&mut letter.reason.kind);
            letter.reason.text.clone_from(&reason.text);
            Decision::Change(letter)
        }
        (Some(End::Undone(why)), _) => {
            tally.left += 1;
            if tally.left == 1
                && let Some(why) = why
            {
                say::error(format!("given up: {why}"));
            }
            Decision::Keep
        }
        _ => Decision::Keep,
    })
    .map_err(failed)?;
    Ok(())
}
