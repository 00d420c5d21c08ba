//! The program as its user meets it: shipped graphs, the demo, exit codes.

#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

fn pvetrail(args: &[&str]) -> Output {
    let program =
        std::env::var_os("PVETRAIL_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_pvetrail").into());
    Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn shipped_graphs() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/graphs");
    let mut graphs: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    graphs.sort();
    graphs
}

#[test]
fn every_shipped_graph_holds_and_so_do_its_tests() {
    let graphs = shipped_graphs();
    assert!(graphs.len() >= 3);
    for graph in graphs {
        let path = graph.to_str().unwrap();
        let output = pvetrail(&["validate", path]);
        assert_eq!(output.status.code(), Some(0), "{path}: {}", text(&output));
        if std::fs::read_to_string(&graph)
            .unwrap()
            .contains("[[tests]]")
        {
            let output = pvetrail(&["test", path]);
            assert_eq!(output.status.code(), Some(0), "{path}: {}", text(&output));
        }
    }
}

#[test]
fn the_demo_needs_nothing_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let program =
        std::env::var_os("PVETRAIL_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_pvetrail").into());
    let output = Command::new(program)
        .args(["demo", "--rate", "0", "--count", "3000"])
        .env("TMPDIR", folder.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let (shown, told) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert_eq!(output.status.code(), Some(0), "{told}");
    // A line for each day of the demo stands between the events.
    let events = shown.lines().filter(|line| !line.starts_with("──")).count();
    assert_eq!(events, 3000, "{told}");
    assert!(
        told.contains("3000 events in ")
            && told.contains("of the failed logins came from 203.0.113."),
        "{told}"
    );
    assert!(
        shown.contains("/vncwebsocket?") && !shown.contains("PVEVNC"),
        "a ticket came through"
    );
    assert!(!shown.contains('\x1b'), "colours without a terminal");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn the_same_seed_shows_the_same_day() {
    let day = || {
        let output = pvetrail(&["demo", "--rate", "0", "--count", "500", "--codec", "json"]);
        let mut lines: Vec<String> = String::from_utf8_lossy(&output.stdout)
            .lines()
            .map(str::to_owned)
            .collect();
        // Lanes run side by side; what is promised is the order inside each.
        lines.sort_unstable();
        lines
    };
    let first = day();
    assert_eq!(first.len(), 500);
    assert_eq!(first, day());
}

#[test]
fn a_reader_that_leaves_ends_the_demo() {
    let program =
        std::env::var_os("PVETRAIL_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_pvetrail").into());
    let mut demo = Command::new(program)
        .args(["demo", "--rate", "1000"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines();
    for _ in 0..3 {
        lines.next().unwrap().unwrap();
    }
    drop(lines);
    // Hangs the test, and the machinery around it says so, if it does not end.
    assert!(demo.wait().unwrap().code().is_some());
}

#[test]
fn the_exit_code_says_what_went_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let broken = write(
        "broken.toml",
        "[sinks.out]\ntype = \"consol\"\ninputs = [\"in\"]\n",
    );
    let untrue = write(
        "untrue.toml",
        "[sources.in]\ntype = \"demo\"\n[sinks.out]\ntype = \"console\"\ninputs = [\"in\"]\n[[tests]]\nname = \"never\"\n\
         inputs = [{ insert_at = \"in\", line = \"x\" }]\nno_outputs_from = [\"in\"]\n",
    );
    assert_eq!(pvetrail(&["validate", &broken]).status.code(), Some(78));
    assert_eq!(pvetrail(&["run", &broken]).status.code(), Some(78));
    assert_eq!(pvetrail(&["test", &untrue]).status.code(), Some(1));
    assert_eq!(pvetrail(&["test", "nothing-here"]).status.code(), Some(2));
    assert_eq!(pvetrail(&["nonsense"]).status.code(), Some(2));
    assert_eq!(pvetrail(&["list", "nonsense"]).status.code(), Some(2));
    assert_eq!(pvetrail(&["--version"]).status.code(), Some(0));
}

#[test]
fn what_a_component_takes_is_its_manual_page() {
    let list = text(&pvetrail(&["list"]));
    for name in [
        "demo",
        "file",
        "stdin",
        "grok",
        "dedupe",
        "console",
        "elasticsearch",
        "blackhole",
    ] {
        assert!(list.contains(name), "{name}: {list}");
        let page = text(&pvetrail(&["list", name]));
        assert!(page.contains(&format!("type = \"{name}\"")), "{page}");
    }
}
