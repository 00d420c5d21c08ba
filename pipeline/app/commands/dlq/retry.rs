//! Dead letters written once more.

use std::path::PathBuf;
use std::sync::Arc;

use pipeline::dlq::{self, Filter, Tally};
use pipeline::topology::{BuildSink, Pace, Rewriter};
use pipeline::{Component, Duration, Graph, Kind, SystemEnv, printable};

use super::{Which, components, failed};
use crate::exit::Exit;
use crate::{load, say};

/// Arguments of `dlq retry`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The configuration: where the data is, and how to reach the other side.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    which: Which,
    /// Write them with this sink instead of the one that refused them; needed for letters of a transform.
    #[arg(long, value_name = "SINK")]
    to: Option<String>,
    /// Most letters to try.
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// How long to go on while the other side does not answer or asks for patience.
    #[arg(long, value_name = "DURATION", default_value = "30s")]
    patience: Duration,
}

/// 0 if every letter meant was delivered, 1 if some stay.
pub(super) fn run(args: &Args) -> Result<Exit, Exit> {
    let graph = Arc::new(load::graph(&args.files, &crate::registry(), &SystemEnv)?);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|why| {
            say::error(format!("cannot start: {why}"));
            Exit::Failed
        })?;
    runtime.block_on(retry(args, &graph))
}

async fn retry(args: &Args, graph: &Arc<Graph>) -> Result<Exit, Exit> {
    if let Some(to) = &args.to {
        sink(graph, to, args)?;
    }
    let data_dir = &graph.globals.data_dir;
    let filter: Filter = args.which.filter();
    let mut limit = args.limit.unwrap_or(u64::MAX);
    let (mut clean, mut none) = (true, true);
    for component in components(data_dir, &filter)? {
        let to = args.to.as_ref().unwrap_or(&component);
        if graph.node(to).is_none_or(|node| node.kind != Kind::Sink) {
            let id = printable(&component);
            say::error(format!(
                "\"{id}\" is no sink of this configuration; name one that shall take its letters: --component {id} --to SINK"
            ));
            clean = false;
            continue;
        }
        let mut rewriter = sink(graph, to, args)?;
        let mut tally = Tally::default();
        let done = dlq::again(
            data_dir,
            &component,
            &filter,
            &mut limit,
            &mut rewriter,
            &mut tally,
        )
        .await;
        rewriter.close().await;
        if tally != Tally::default() {
            none = false;
            tell(&component, to, &tally);
        }
        done.map_err(failed)?;
        clean &= tally.refused == 0 && tally.undone == 0 && tally.unreadable == 0;
    }
    if none && clean {
        say::line("no such dead letters");
    }
    Ok(if clean { Exit::Done } else { Exit::Found })
}

/// The sink of that id, ready to write.
fn sink(graph: &Arc<Graph>, id: &str, args: &Args) -> Result<Rewriter, Exit> {
    let Some(node) = graph.sinks.iter().find(|node| node.id == id) else {
        let sinks: Vec<&str> = graph.sinks.iter().map(|node| node.id.as_str()).collect();
        say::error(format!(
            "there is no sink \"{}\"; there are {}",
            printable(id),
            sinks.join(", ")
        ));
        return Err(Exit::Failed);
    };
    let (graph, name) = (Arc::clone(graph), id.to_owned());
    let build: BuildSink = Arc::new(move || {
        let node = graph.node(&name).ok_or("it is not there")?;
        match node.component.build(&graph.context(node)) {
            Ok(Component::Sink(sink)) => Ok(sink),
            Ok(_) => Err("it is no sink".to_owned()),
            Err(why) => Err(why.to_string()),
        }
    });
    let request = &node.engine.request;
    let pace = Pace {
        initial: request.retry_initial_backoff.get(),
        max: request.retry_max_backoff.get(),
    };
    Ok(Rewriter::new(
        &node.id,
        node.type_name,
        build,
        pace,
        args.patience.get(),
    ))
}

fn tell(component: &str, to: &str, tally: &Tally) {
    let Tally {
        delivered,
        refused,
        undone,
        unreadable,
        reasons,
        trouble,
    } = tally;
    let by = if component == to {
        String::new()
    } else {
        format!(" with {}", printable(to))
    };
    say::line(format!(
        "{}: {delivered} delivered{by} and removed, {refused} refused again, {undone} not tried to the end",
        printable(component)
    ));
    for ((kind, text), events) in reasons {
        say::line(format!(
            "  {events} × {}: {}",
            printable(kind),
            printable(text)
        ));
    }
    if let Some(trouble) = trouble.as_ref().filter(|_| *undone > 0) {
        say::line(format!(
            "  time was up, the last trouble was {}; --patience gives it longer",
            printable(trouble)
        ));
    }
    if *unreadable > 0 {
        say::line(format!(
            "  {unreadable} lines cannot be read as letters and stay; `dlq purge --all` removes them"
        ));
    }
}
