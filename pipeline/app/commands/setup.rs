//! `pvetrail setup`: prepares a store for what a configuration will write into it.

use std::path::PathBuf;

use clap::Subcommand;
use pipeline::{Graph, SystemEnv};
use sinks::elasticsearch::{self, Setup, SetupError};
use sinks::loki;

use crate::exit::Exit;
use crate::{load, say};

/// Arguments of `setup`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    store: Store,
}

/// What to prepare.
#[derive(Debug, Subcommand)]
enum Store {
    /// Install mappings, index templates and a lifecycle policy in Elasticsearch or OpenSearch. Can run again at any time.
    Elasticsearch(Elasticsearch),
    /// Look at the limits of a Loki and say what must change, there or in the configuration. Changes nothing.
    Loki(Loki),
}

#[derive(Debug, clap::Args)]
struct Loki {
    /// Files and folders (`*.toml`) that make up the configuration, for address, credentials and limits.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    /// Only for this sink; all of type `loki` where it is not said.
    #[arg(long, value_name = "ID")]
    sink: Option<String>,
}

#[derive(Debug, clap::Args)]
struct Elasticsearch {
    /// Files and folders (`*.toml`) that make up the configuration, for address, credentials and names.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    /// Only for this sink; all of type `elasticsearch` where it is not said.
    #[arg(long, value_name = "ID")]
    sink: Option<String>,

    /// Change nothing; show what would be sent, as the server's console takes it.
    #[arg(long)]
    dry_run: bool,
}

/// 0 where everything is in place, 1 where something of Loki must change, 2 where a server does not take it, 78 where the
/// configuration does not hold.
pub(crate) fn run(args: &Args) -> Exit {
    let files = match &args.store {
        Store::Elasticsearch(args) => &args.files,
        Store::Loki(args) => &args.files,
    };
    let graph = match load::graph(files, &crate::registry(), &SystemEnv) {
        Ok(graph) => graph,
        Err(exit) => return exit,
    };
    match &args.store {
        Store::Elasticsearch(args) => load::block_on(each_sink(args, &graph)),
        Store::Loki(args) => load::block_on(each_loki(args, &graph)),
    }
}

async fn each_loki(args: &Loki, graph: &Graph) -> Exit {
    let wanted = |id: &str| args.sink.as_deref().is_none_or(|wanted| wanted == id);
    let (mut failed, mut change, mut found) = (None, false, false);
    for node in graph.sinks.iter().filter(|node| wanted(&node.id)) {
        let Some(config) = node.component.as_any().downcast_ref::<loki::Config>() else {
            continue;
        };
        found = true;
        match loki::setup(config, &graph.context(node)).await {
            Ok(seen) => {
                say::line(format!("sink {}: {}", node.id, seen.server));
                for finding in &seen.findings {
                    let (word, text) = match finding {
                        loki::Finding::Good(text) => ("good", text),
                        loki::Finding::Note(text) => ("note", text),
                        loki::Finding::Change(text) => ("change", text),
                    };
                    change |= word == "change";
                    say::line(format!("  {word:<6}  {text}"));
                }
            }
            Err(why) => {
                say::error(format!("sink `{}`: {why}", node.id));
                failed = Some(match why {
                    loki::SetupError::Config(_) => Exit::BadConfig,
                    loki::SetupError::Server(_) => Exit::Failed,
                });
            }
        }
    }
    if !found {
        say::error(match &args.sink {
            Some(id) => format!("no sink of type loki is called `{id}`"),
            None => "the configuration has no sink of type loki".to_owned(),
        });
        return Exit::Failed;
    }
    failed.unwrap_or(if change { Exit::Found } else { Exit::Done })
}

async fn each_sink(args: &Elasticsearch, graph: &Graph) -> Exit {
    let wanted = |id: &str| args.sink.as_deref().is_none_or(|wanted| wanted == id);
    let mut exit = Exit::Done;
    let mut found = false;
    for node in graph.sinks.iter().filter(|node| wanted(&node.id)) {
        let Some(config) = node
            .component
            .as_any()
            .downcast_ref::<elasticsearch::Config>()
        else {
            continue;
        };
        found = true;
        match elasticsearch::setup(config, &graph.context(node), args.dry_run).await {
            Ok(done) => say_done(&node.id, &done, args.dry_run),
            Err(why) => {
                say::error(format!("sink `{}`: {why}", node.id));
                exit = if matches!(why, SetupError::Config(_)) {
                    Exit::BadConfig
                } else {
                    Exit::Failed
                };
            }
        }
    }
    if found {
        return exit;
    }
    say::error(match &args.sink {
        Some(id) => format!("no sink of type elasticsearch is called `{id}`"),
        None => "the configuration has no sink of type elasticsearch".to_owned(),
    });
    Exit::Failed
}

fn say_done(id: &str, done: &Setup, dry_run: bool) {
    if dry_run {
        say::line(format!("# sink {id}: {}", done.server));
        for step in &done.steps {
            let body =
                serde_json::to_string_pretty(&step.body).expect("JSON can be written as JSON");
            say::line(format!(
                "# {}\n{} /{}\n{body}\n",
                step.what, step.method, step.path
            ));
        }
        return;
    }
    say::line(format!("sink {id}: {}", done.server));
    for step in &done.steps {
        say::line(format!(
            "  {}: {}",
            step.what,
            step.outcome.as_deref().unwrap_or("not done")
        ));
    }
}
