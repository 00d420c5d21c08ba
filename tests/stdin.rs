//! Lines piped into the program: each is delivered, and the program ends when they do.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Runs a graph with `input` on standard input, which is closed behind it.
fn run(folder: &Path, graph: &str, input: &[u8]) -> Output {
    let path = folder.join("graph.toml");
    let data = folder.join("data");
    std::fs::write(
        &path,
        format!("data_dir = {data:?}\n[admin]\nenabled = false\n{graph}"),
    )
    .unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_pvetrail"))
        .arg("run")
        .arg(path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // Beside reading: the program takes no more than it can get rid of.
    std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(input).unwrap());
        child.wait_with_output().unwrap()
    })
}

const GRAPH: &str = r#"
[sources.in]
type = "stdin"

[sinks.out]
type = "console"
inputs = ["in"]
encoding = { codec = "json" }
"#;

fn events(output: &Output) -> Vec<serde_json::Value> {
    let text = std::str::from_utf8(&output.stdout).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn every_line_arrives_and_the_end_of_the_input_is_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let lines: Vec<String> = (0..100_000).map(|n| format!("line {n}")).collect();
    // The last line lacks its end, as from `printf`.
    let output = run(folder.path(), GRAPH, lines.join("\n").as_bytes());
    let log = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{log}");
    let events = events(&output);
    let messages: Vec<&str> = events
        .iter()
        .map(|event| event["message"].as_str().unwrap())
        .collect();
    assert_eq!(messages, lines);
    let ids: std::collections::BTreeSet<_> = events
        .iter()
        .map(|event| event["event"]["id"].as_str().unwrap())
        .collect();
    assert_eq!(ids.len(), lines.len());
    assert!(events.iter().all(|event| event.get("tags").is_none()));
}

#[test]
fn the_same_lines_in_another_run_are_other_events() {
    let folder = tempfile::tempdir().unwrap();
    let [one, two] = [0, 1].map(|_| events(&run(folder.path(), GRAPH, b"same\n")));
    assert_eq!((one.len(), two.len()), (1, 1));
    assert_ne!(one[0]["event"]["id"], two[0]["event"]["id"]);
}

#[test]
fn an_empty_input_is_an_end_too() {
    let folder = tempfile::tempdir().unwrap();
    let output = run(folder.path(), GRAPH, b"");
    assert_eq!((output.status.code(), output.stdout), (Some(0), Vec::new()));
}

#[test]
fn lines_that_belong_together_are_one_event_to_the_last() {
    let folder = tempfile::tempdir().unwrap();
    let graph = GRAPH.replace("\"stdin\"", "\"stdin\"\nmultiline = { start = '^\\S' }");
    let events = events(&run(folder.path(), &graph, b"a\n b\nc\n d"));
    assert_eq!(events.len(), 2);
    assert_eq!(events[0]["message"], "a\n b");
    assert_eq!(events[1]["message"], "c\n d");
}
