//! The dead letters as an operator handles them: `pvetrail dlq`.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::{Command, Output};

use pipeline::dlq::DeadLetters;
use pipeline::topology::DeadLetterBox;
use pipeline::{Clock, Event, EventId, Reason, ReasonKind, Time, fields};

const GRAPH: &str = r#"
[sources.in]
type = "demo"

[sinks.screen]
type = "console"
inputs = ["in"]

[sinks.other]
type = "console"
inputs = ["in"]
"#;

/// A data folder with dead letters, and a configuration that names it.
struct Ground(tempfile::TempDir);

impl Ground {
    fn new() -> Ground {
        let ground = Ground(tempfile::tempdir().unwrap());
        let graph = format!("data_dir = {:?}\n{GRAPH}", ground.data_dir());
        std::fs::write(ground.graph(), graph).unwrap();
        ground
    }

    fn data_dir(&self) -> std::path::PathBuf {
        self.0.path().join("data")
    }

    fn graph(&self) -> std::path::PathBuf {
        self.0.path().join("graph.toml")
    }

    fn bury(&self, component: &str, kind: ReasonKind, ids: std::ops::Range<u64>) {
        let letters = DeadLetters::new(
            &self.data_dir(),
            Clock::manual(Time::from_secs(1_773_000_000)),
        );
        let events: Vec<Event> = ids
            .map(|n| {
                let mut event = Event::new(EventId([7, n]), Time::from_secs(1_772_000_000));
                event.set_str(
                    fields::MESSAGE,
                    &format!("line {n} \u{1b}]0;title\u{7} \u{9b}2J"),
                );
                event
            })
            .collect();
        let reason = Reason::new(kind, "field [source.ip]: \u{1b}[31mno address");
        letters
            .append(component, "console", &reason, 1, &events)
            .unwrap();
    }

    fn dlq(&self, args: &[&str]) -> (Option<i32>, String, String) {
        let Output {
            status,
            stdout,
            stderr,
        } = Command::new(env!("CARGO_BIN_EXE_pvetrail"))
            .arg("dlq")
            .args(args)
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (status.code(), text(stdout), text(stderr))
    }

    /// With the configuration as its last argument.
    fn on_graph(&self, args: &[&str]) -> (Option<i32>, String, String) {
        let graph = self.graph();
        self.dlq(&[args, &[path(&graph)]].concat())
    }
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn letters_are_counted_shown_and_purged_and_never_reach_the_terminal_raw() {
    let ground = Ground::new();
    let (code, out, _) = ground.on_graph(&["ls"]);
    assert_eq!((code, out.as_str()), (Some(0), "no dead letters\n"));
    ground.bury("screen", ReasonKind::Mapping, 0..3);
    ground.bury("screen", ReasonKind::TooLarge, 3..4);
    ground.bury("parsed", ReasonKind::Panic, 4..5);

    let (code, out, _) = ground.on_graph(&["ls"]);
    assert_eq!(code, Some(1), "there are some");
    let words: Vec<Vec<&str>> = out
        .lines()
        .map(|line| line.split_whitespace().take(3).collect())
        .collect();
    assert_eq!(
        words[1..4],
        [
            ["parsed", "panic", "1"],
            ["screen", "mapping", "3"],
            ["screen", "too_large", "1"]
        ]
    );
    assert!(words[4].starts_with(&["5", "dead", "letters;"]), "{out}");
    let data_dir = ground.data_dir();
    let (_, out, _) = ground.dlq(&["ls", "--json", "--data-dir", path(&data_dir)]);
    let rows: Vec<serde_json::Value> = out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(
        (rows.len(), &rows[1]["events"], &rows[1]["oldest"]),
        (3, &3.into(), &"2026-03-08T20:00:00.000Z".into())
    );

    let (code, out, _) = ground.on_graph(&["show", "--component", "screen", "--limit", "2"]);
    assert_eq!(code, Some(0));
    assert!(
        out.contains("line 0") && out.contains("line 1") && !out.contains("line 2"),
        "{out}"
    );
    assert!(out.contains("and 2 more"), "{out}");
    let raw = |text: &str| text.contains(['\u{1b}', '\u{7}', '\u{9b}']);
    assert!(!raw(&out), "{out:?}");
    let id = EventId([7, 3]).to_string();
    let (_, out, _) = ground.on_graph(&["show", "--json", "--id", &id]);
    let letter: serde_json::Value = serde_json::from_str(out.trim()).unwrap();
    assert_eq!(letter["reason"]["kind"], "too_large");
    assert_eq!(
        letter["event"]["message"],
        "line 3 \u{1b}]0;title\u{7} \u{9b}2J"
    );
    assert!(!raw(&out), "{out:?}");
    assert_eq!(
        ground.on_graph(&["show", "--reason", "timeout"]).0,
        Some(1),
        "none is found"
    );

    let (code, _, err) = ground.on_graph(&["purge"]);
    assert_eq!(code, Some(2));
    assert!(
        err.contains("--component") && err.contains("--all"),
        "{err}"
    );
    assert_eq!(
        ground.on_graph(&["purge", "--reason", "mapping"]).1,
        "3 removed\n"
    );
    assert_eq!(
        ground.on_graph(&["purge", "--older-than", "1h"]).1,
        "2 removed\n"
    );
    ground.bury("screen", ReasonKind::Mapping, 0..3);
    assert_eq!(ground.on_graph(&["purge", "--all"]).1, "3 removed\n");
    assert_eq!(ground.on_graph(&["ls"]).0, Some(0));
}

#[test]
fn what_is_tried_again_is_delivered_and_removed() {
    let ground = Ground::new();
    ground.bury("screen", ReasonKind::Mapping, 0..3);
    ground.bury("screen", ReasonKind::TooLarge, 3..4);
    let (code, out, err) = ground.on_graph(&["retry", "--reason", "mapping"]);
    assert_eq!(code, Some(0), "{out}{err}");
    for n in 0..3 {
        assert_eq!(out.matches(&format!("line {n} ")).count(), 1, "{out}");
    }
    assert!(
        out.contains("screen: 3 delivered and removed, 0 refused again"),
        "{out}"
    );
    assert!(ground.on_graph(&["show"]).1.contains("too_large"));
    let (code, out, _) = ground.on_graph(&["retry", "--reason", "mapping"]);
    assert_eq!((code, out.as_str()), (Some(0), "no such dead letters\n"));
}

#[test]
fn letters_of_what_is_no_sink_need_one_that_takes_them() {
    let ground = Ground::new();
    ground.bury("parsed", ReasonKind::Panic, 0..1);
    let (code, _, err) = ground.on_graph(&["retry"]);
    assert_eq!(code, Some(1));
    assert!(err.contains("--component parsed --to SINK"), "{err}");
    let (code, _, err) = ground.on_graph(&["retry", "--to", "nowhere"]);
    assert_eq!(code, Some(2));
    assert!(err.contains("screen, other"), "{err}");
    let (code, out, _) = ground.on_graph(&["retry", "--component", "parsed", "--to", "other"]);
    assert_eq!(code, Some(0));
    assert!(
        out.contains("parsed: 1 delivered with other and removed"),
        "{out}"
    );
    assert_eq!(ground.on_graph(&["ls"]).0, Some(0));
}
