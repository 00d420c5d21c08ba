//! Somebody's own graph, with the demo cluster in the place of what would read from a node.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use pipeline::config::{FakeEnv, Node};
use pipeline::{Graph, SystemEnv, Telemetry};
use toml::{Table, Value};

use super::Args;
use crate::exit::Exit;
use crate::live::{self, Job};
use crate::{load, say};

/// The records of the cluster that take the place of a source, in the words of the demo's `format`; none for what does
/// not read from a node.
fn records(node: &Node) -> &'static [&'static str] {
    match node.type_name {
        "file" => {
            let include = node.texts("include");
            let reads = |name: &str| include.iter().any(|path| path.contains(name));
            if reads("firewall") {
                &["firewall"]
            } else if ["syslog", "auth.log", "messages", "daemon.log"]
                .into_iter()
                .any(reads)
            {
                &["syslog"]
            } else {
                &["access"]
            }
        }
        "stdin" => &["access"],
        "journald" => &["journal"],
        "syslog" => &["syslog"],
        "pve_tasks" => &["tasks"],
        "pve_api" => &["cluster"],
        "pve_config" => &["config"],
        _ => &[],
    }
}

/// Who writes what: every record once where one source stands for it. A source that is alone writes them all, and what no
/// source reads from its own file comes the way it would come without that file: ssh by the journal, tasks by the API.
fn cast(nodes: &[Node]) -> Vec<(String, Vec<&'static str>)> {
    let mut cast: Vec<(String, Vec<&str>)> = nodes
        .iter()
        .map(|node| (node.id.clone(), records(node).to_vec()))
        .filter(|(_, records)| !records.is_empty())
        .collect();
    if let [(_, records)] = &mut cast[..] {
        *records = vec!["all"];
        return cast;
    }
    for (record, otherwise) in [("syslog", "journal"), ("tasks", "cluster")] {
        if cast.iter().any(|(_, records)| records.contains(&record)) {
            continue;
        }
        let by = cast
            .iter_mut()
            .find(|(_, records)| records.contains(&otherwise));
        if let Some((_, records)) = by {
            records.push(record);
        }
    }
    cast
}

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
    job.grace = Duration::from_secs(if args.ends() { 60 } else { 2 });
    let telemetry = Arc::clone(&job.telemetry);
    let exit = load::block_on(live::run(job));
    say::aside(&summary(&telemetry, &sources, &sinks));
    match exit {
        // Whoever ends a demo without end has seen enough; what was still on its way is no loss.
        Exit::Found if !args.ends() => Exit::Done,
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
    let replaced = cast(&graph.sources);
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

/// Sources of the demo under the names of those they stand in for.
fn stand_ins(args: &Args, replaced: &[(String, Vec<&str>)]) -> String {
    let mut sources = Table::new();
    // A second one of a record gets another day, or everything would be told twice.
    let mut seen: Vec<&[&str]> = Vec::new();
    for (id, records) in replaced {
        let again = seen
            .iter()
            .filter(|one| **one == records.as_slice())
            .count();
        seen.push(records);
        let format: Vec<Value> = records.iter().map(|record| (*record).into()).collect();
        let mut source = args.source(again);
        source.insert("format".to_owned(), Value::Array(format));
        sources.insert(id.clone(), Value::Table(source));
    }
    let first = seen
        .iter()
        .enumerate()
        .filter(|(n, one)| !seen[..*n].contains(one));
    let together = i64::try_from(first.count()).unwrap_or(1);
    for (n, (id, records)) in replaced.iter().enumerate() {
        // Those of another day tell theirs alone.
        let alone = seen[..n].contains(&records.as_slice());
        if let Some(Value::Table(source)) = sources.get_mut(id) {
            let together = if alone { 1 } else { together };
            source.insert("together".to_owned(), together.into());
        }
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
    use super::super::tests::args;
    use super::*;

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
    fn each_source_gets_its_own_records_of_one_day() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("graph.toml");
        let text = "[sources.access]\ntype = 'file'\ninclude = ['/nonexistent/access.log*']\n\
             [sources.fw]\ntype = 'file'\ninclude = ['/nonexistent/pve-firewall.log']\n\
             [sources.journal]\ntype = 'journald'\n\
             [sources.tasks]\ntype = 'pve_tasks'\n\
             [sinks.out]\ntype = 'blackhole'\ninputs = ['*']\n";
        std::fs::write(&file, text).unwrap();
        let graph = load::graph(&[file], &crate::registry(), &SystemEnv).unwrap();
        let cast = cast(&graph.sources);
        let of = |id: &str| cast.iter().find(|(of, _)| of == id).unwrap().1.clone();
        assert_eq!(of("access"), ["access"]);
        assert_eq!(of("fw"), ["firewall"]);
        // There is no file of ssh's lines, so they come by the journal.
        assert_eq!(of("journal"), ["journal", "syslog"]);
        assert_eq!(of("tasks"), ["tasks"]);
        let text: Table = stand_ins(&args(&[]), &cast).parse().unwrap();
        for id in ["access", "fw", "journal", "tasks"] {
            assert_eq!(text["sources"][id]["seed"], Value::from(7));
            assert_eq!(text["sources"][id]["together"], Value::from(4));
        }
    }

    #[test]
    fn two_of_a_kind_do_not_tell_the_same_day() {
        let access = vec!["access"];
        let replaced = [("a".to_owned(), access.clone()), ("b".to_owned(), access)];
        let text: Table = stand_ins(&args(&[]), &replaced).parse().unwrap();
        assert_ne!(text["sources"]["a"]["seed"], text["sources"]["b"]["seed"]);
    }
}
