//! Somebody's own graph, with the demo cluster in the place of what would read from a node.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use pipeline::config::FakeEnv;
use pipeline::{Graph, SystemEnv, Telemetry};
use toml::{Table, Value};

use super::Args;
use crate::exit::Exit;
use crate::live::{self, Job};
use crate::{load, say};

/// Sources that read from a node or from other machines, and which of the cluster's logs takes their place: the access
/// log for what reads files, the journal for the others.
const NODE: &[(&str, &str)] = &[
    ("file", "access"),
    ("stdin", "access"),
    ("journald", "journal"),
    ("syslog", "journal"),
];

/// Runs the graph until Ctrl-C, or until the asked number of lines has come through.
pub(super) fn run(args: &Args, level: Option<&str>, data_dir: &Path) -> Exit {
    let graph = match graph(args, data_dir) {
        Ok(graph) => graph,
        Err(exit) => return exit,
    };
    if let Err(why) = load::logs(&graph.globals.log, Some(level.unwrap_or("warn"))) {
        say::error(why);
        return Exit::Failed;
    }
    let ids = |nodes: &[pipeline::config::Node]| -> Vec<String> {
        nodes.iter().map(|node| node.id.clone()).collect()
    };
    let (sources, sinks) = (ids(&graph.sources), ids(&graph.sinks));
    say::aside(&format!(
        "Events that never were go to the sinks of this graph: {}.\n",
        sinks.join(", ")
    ));
    let mut job = Job::new(graph, None);
    // With a number of lines the receivers get the time to take them all.
    job.grace = Duration::from_secs(if args.count.is_some() { 60 } else { 2 });
    let telemetry = Arc::clone(&job.telemetry);
    let exit = load::block_on(live::run(job));
    say::aside(&summary(&telemetry, &sources, &sinks));
    match exit {
        // Whoever ends a demo without end has seen enough; what was still on its way is no loss.
        Exit::Found if args.count.is_none() => Exit::Done,
        exit => exit,
    }
}

fn summary(telemetry: &Telemetry, sources: &[String], sinks: &[String]) -> String {
    let mut text = String::from("\n");
    for id in sources {
        let made = telemetry.totals(id).received;
        text.push_str(&format!("  source {id:<16} {made:>9} events\n"));
    }
    for id in sinks {
        let totals = telemetry.totals(id);
        text.push_str(&format!(
            "  sink   {id:<16} {:>9} delivered, {} dead letters\n",
            totals.sent, totals.dead_lettered
        ));
    }
    text
}

/// The graph of the files with the cluster's sources in it.
fn graph(args: &Args, data_dir: &Path) -> Result<Graph, Exit> {
    let registry = crate::registry();
    let mut graph = load::graph(&args.files, &registry, &SystemEnv)?;
    let globals = Arc::make_mut(&mut graph.globals);
    data_dir.clone_into(&mut globals.data_dir);
    let replaced: Vec<(String, &str)> = graph
        .sources
        .iter()
        .filter_map(|node| {
            let (_, log) = NODE.iter().find(|(name, _)| *name == node.type_name)?;
            Some((node.id.clone(), *log))
        })
        .collect();
    if replaced.is_empty() && !graph.sources.iter().any(|node| node.type_name == "demo") {
        say::error(
            "no source of this graph reads from a node, so there is nothing to stand in for",
        );
        return Err(Exit::BadConfig);
    }
    let text = stand_ins(args, &replaced);
    let name = PathBuf::from("demo");
    let env = FakeEnv::new().with_file("demo", &text);
    let cast = load::graph(&[name], &registry, &env)?;
    for node in cast.sources {
        if let Some(place) = graph.sources.iter_mut().find(|one| one.id == node.id) {
            *place = node;
        }
    }
    Ok(graph)
}

/// Sources of the demo under the names of those they stand in for. One that is alone writes both logs.
fn stand_ins(args: &Args, replaced: &[(String, &str)]) -> String {
    let mut sources = Table::new();
    // A second one of a kind gets another day, or everything would be told twice.
    let mut seen: Vec<&str> = Vec::new();
    for (id, log) in replaced {
        let again = seen.iter().filter(|one| *one == log).count();
        seen.push(log);
        let format = if replaced.len() == 1 { "all" } else { log };
        let mut source = Table::new();
        source.insert("type".to_owned(), "demo".into());
        source.insert("format".to_owned(), format.into());
        source.insert("rate".to_owned(), args.rate.into());
        source.insert("noise".to_owned(), args.noise.into());
        let seed = args
            .seed
            .unwrap_or(7)
            .wrapping_add(i64::try_from(again).unwrap_or(0));
        source.insert("seed".to_owned(), seed.into());
        if let Some(count) = args.count {
            source.insert("count".to_owned(), count.into());
        }
        sources.insert(id.clone(), Value::Table(source));
    }
    let inputs: Vec<Value> = replaced.iter().map(|(id, _)| id.as_str().into()).collect();
    let mut nowhere = Table::new();
    nowhere.insert("type".to_owned(), "blackhole".into());
    nowhere.insert("inputs".to_owned(), Value::Array(inputs));
    let sinks = Table::from_iter([("nowhere".to_owned(), Value::Table(nowhere))]);
    let graph = Table::from_iter([
        ("sources".to_owned(), Value::Table(sources)),
        ("sinks".to_owned(), Value::Table(sinks)),
    ]);
    graph.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(files: &[&str]) -> Args {
        Args {
            files: files.iter().map(PathBuf::from).collect(),
            rate: 0.0,
            seed: None,
            count: Some(10),
            noise: false,
            codec: "pretty".to_owned(),
            print_config: false,
        }
    }

    #[test]
    fn the_cluster_takes_the_place_of_what_reads_from_a_node_and_of_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("graph.toml");
        std::fs::write(
            &file,
            "[sources.access]\ntype = 'file'\ninclude = ['/nonexistent/access.log*']\n\
             [sources.self]\ntype = 'internal'\n\
             [sinks.out]\ntype = 'blackhole'\ninputs = ['access', 'self']\n",
        )
        .unwrap();
        let graph = graph(&args(&[file.to_str().unwrap()]), folder.path()).unwrap();
        let types: Vec<&str> = graph.sources.iter().map(|node| node.type_name).collect();
        assert_eq!(types, ["demo", "internal"]);
        assert_eq!(graph.globals.data_dir, folder.path());
    }

    #[test]
    fn two_of_a_kind_do_not_tell_the_same_day() {
        let replaced = [("a".to_owned(), "access"), ("b".to_owned(), "access")];
        let text: Table = stand_ins(&args(&[]), &replaced).parse().unwrap();
        assert_ne!(text["sources"]["a"]["seed"], text["sources"]["b"]["seed"]);
    }
}
