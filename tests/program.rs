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
    // What the journal said and the cluster's log says again is told once.
    assert!((2500..=3000).contains(&events), "{events}: {told}");
    // Ten guests, and a backup of one of them.
    assert!(
        told.contains(&format!("{events} events in "))
            && told.contains("11 deletions")
            && told.contains("of the failed logins came from 203.0.113."),
        "{told}"
    );
    assert!(shown.contains("m.keller@pam destroyed VM "), "{shown}");
    assert!(!shown.contains('\x1b'), "colours without a terminal");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn the_same_seed_shows_the_same_day() {
    let day = || {
        let output = pvetrail(&["demo", "--rate", "0", "--count", "9000", "--codec", "json"]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines().map(str::to_owned).collect::<Vec<String>>()
    };
    let first = day();
    assert!(first.len() > 7000, "{}", first.len());
    assert_eq!(first, day());
    let consoles = first.iter().any(|line| line.contains("/vncwebsocket"));
    let tickets = first.iter().any(|line| line.contains("PVEVNC"));
    assert!(consoles && !tickets, "a ticket came through");
}

#[test]
fn the_demo_tells_a_day_and_answers_who_did_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    let output = pvetrail(&["demo", "--store", store.to_str().unwrap()]);
    let shown = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let destroyed: Vec<&str> = shown
        .lines()
        .filter(|line| line.starts_with(" 20") && line.contains(" vm-destroy "))
        .collect();
    assert_eq!(destroyed.len(), 10, "{shown}");
    for row in destroyed {
        assert!(
            row.contains("m.keller@pam") && row.contains(" 203.0.113."),
            "{row}"
        );
        assert!(row.contains(" matched "), "{row}");
    }
    // The commands it shows can be typed as they stand.
    let asked = shown
        .lines()
        .filter(|line| line.starts_with("  pvetrail query --store"));
    let mut questions = 0;
    for line in asked {
        let words: Vec<String> = line
            .split_whitespace()
            .skip(1)
            .map(|word| word.trim_matches('\'').to_owned())
            .collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let answer = pvetrail(&words);
        assert_eq!(answer.status.code(), Some(0), "{line}: {}", text(&answer));
        questions += 1;
    }
    assert!(questions >= 6, "{shown}");
    let german = pvetrail(&[
        "query",
        "--store",
        store.join("search.db").to_str().unwrap(),
        "--action",
        "vm-destroy",
        "--lang",
        "de",
        "--format",
        "json",
    ]);
    assert!(
        text(&german).contains("gelöscht") || text(&german).contains("zerstört"),
        "{}",
        text(&german)
    );
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
