//! What nobody should write, send or leave behind: each has a message that says what, where and what to do, and where it
//! concerns an event, a count; nothing is lost.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

#[allow(dead_code, reason = "each test uses its part")]
mod support;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use support::store::{Store, Trouble};
use support::{Ground, append, files};

fn graph(ground: &Ground, store: &Store, include: &str) -> String {
    format!(
        r#"
[admin]
address = "127.0.0.1:0"

[sources.in]
type = "file"
include = ["{}"]
max_line_size = "64KiB"

[sinks.es]
type = "elasticsearch"
inputs = ["in"]
endpoints = ["{}"]
request = {{ retry_initial_backoff = "10ms", retry_max_backoff = "50ms" }}
"#,
        ground.path(include).display(),
        store.uri()
    )
}

/// `validate` on a configuration: exit code and words.
fn validated(text: &str) -> (Option<i32>, String) {
    let ground = Ground::new();
    ground.configure(text);
    ground.pvetrail(&["validate", "graph.toml"])
}

#[test]
fn every_mistake_of_a_configuration_is_told_in_one_run_each_at_its_place() {
    let text = r#"
[admin]
adress = "127.0.0.1:0"

[sources.in]
type = "fiel"
include = ["/tmp/x"]

[sources.other]
type = "file"
include = ["/tmp/x"]
max_line_size = 1024
rotate_wait_secs = 60

[transforms.parsed]
type = "grok"
inputs = ["othr"]
patterns = ['%{NO_SUCH_PATTERN:x}', '%{A}']
pattern_definitions = { A = '%{B}', B = '%{A}' }

[transforms.one]
type = "dedupe"
inputs = ["two"]

[transforms.two]
type = "dedupe"
inputs = ["one"]

[sinks.es]
type = "elasticsearch"
inputs = ["parsed"]
endpoints = ["htp:/nowhere"]
compression = "zip"

[sinks.void]
type = "file"
inputs = []
path = "/tmp/y"
workers = 4
"#;
    let (code, said) = validated(text);
    assert_eq!(code, Some(78), "{said}");
    // Each mistake: the words that name it, and the line in `graph.toml` it is at (one line stands before the text).
    for (what, line) in [
        ("adress", 4),
        ("fiel", 7),
        ("max_line_size", 13),
        ("rotate_wait_secs", 14),
        ("othr", 18),
        ("NO_SUCH_PATTERN", 19),
        ("htp", 33),
        ("zip", 34),
        ("workers", 40),
    ] {
        assert!(said.contains(what), "nothing is said about {what}:\n{said}");
        assert!(
            said.contains(&format!("graph.toml:{line}:")),
            "nothing is said about line {line} ({what}):\n{said}"
        );
    }
    for remedy in ["did you mean", "address", "file", "other"] {
        assert!(said.contains(remedy), "no {remedy:?}:\n{said}");
    }
    assert!(
        said.contains("one") && said.contains("two"),
        "the circle is told:\n{said}"
    );
}

#[test]
fn a_file_and_a_folder_that_are_not_there_are_told_and_nothing_runs() {
    let ground = Ground::new();
    let (code, said) = ground.pvetrail(&["run", "missing.toml"]);
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains("missing.toml"), "{said}");
    // A data folder that cannot be one.
    append(&ground.path("data"), "a file stands here");
    ground.configure("[sources.in]\ntype = \"demo\"\n[sinks.out]\ntype = \"blackhole\"\ninputs = [\"in\"]\n[admin]\nenabled = false\n");
    let (code, said) = ground.pvetrail(&["run", "graph.toml"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("data"), "{said}");
}

#[test]
fn nul_broken_text_control_characters_and_endless_lines_become_events() {
    let (ground, store) = (Ground::new(), Store::start());
    ground.configure(&graph(&ground, &store, "in.log"));
    let mut bytes =
        b"plain one\nnul \0 inside\nbroken \xff\xfe text\nescape \x1b[2J\x07 here\r\n\n".to_vec();
    bytes.extend(b"long ");
    bytes.extend(std::iter::repeat_n(b'x', 10 << 20));
    bytes.extend(b" end\nlast one\n");
    std::fs::write(ground.path("in.log"), bytes).unwrap();
    let program = ground.start();
    ground.until("all lines are stored", || {
        store
            .messages()
            .iter()
            .any(|line| line.contains("last one"))
            && store.len() >= 6
    });
    ground.until("the books balance", || ground.books_balance("es"));
    assert_eq!(program.stop(), Some(0), "{}", ground.log());
    let documents = store.documents();
    let of = |start: &str| {
        let mut found = documents
            .iter()
            .map(|(_, document)| document)
            .filter(|d| d["message"].as_str().is_some_and(|m| m.starts_with(start)));
        found
            .next()
            .unwrap_or_else(|| panic!("no line begins with {start:?}"))
    };
    assert_eq!(of("nul")["message"], "nul \0 inside");
    assert_eq!(of("broken")["message"], "broken \u{fffd}\u{fffd} text");
    assert!(
        of("broken")["pve"]["raw_b64"].is_string(),
        "the bytes are kept"
    );
    assert_eq!(of("escape")["message"], "escape \u{1b}[2J\u{7} here");
    let long = of("long");
    assert_eq!(long["pve"]["original_bytes"], 10 * (1 << 20) + 9);
    assert_eq!(long["pve"]["truncated"], true);
    assert!(long["message"].as_str().unwrap().len() <= 64 << 10);
    assert!(long["event"]["hash"].is_string());
    // What the log says about all this is printable.
    assert!(!ground.log().contains('\u{1b}'));
}

#[test]
fn an_unreadable_file_and_a_folder_for_a_file_are_told_and_hold_nothing_up() {
    let (ground, store) = (Ground::new(), Store::start());
    ground.configure(&graph(&ground, &store, "in*"));
    std::fs::create_dir(ground.path("in.folder")).unwrap();
    append(&ground.path("in.log"), "one\ntwo\n");
    append(&ground.path("in.closed"), "three\n");
    std::fs::set_permissions(ground.path("in.closed"), PermissionsExt::from_mode(0o000)).unwrap();
    let program = ground.start();
    // Root reads everything; whoever is not root gets a message about the closed file.
    let readable = std::fs::read(ground.path("in.closed")).is_ok();
    ground.until("what can be read is stored", || {
        store.len() >= if readable { 3 } else { 2 }
    });
    if !readable {
        ground.until("the closed file is told", || {
            ground.log().contains("in.closed")
        });
    }
    assert_eq!(program.stop(), Some(0), "{}", ground.log());
}

#[test]
fn nonsense_from_the_server_loses_nothing() {
    let (ground, store) = (Ground::new(), Store::start());
    ground.configure(&graph(&ground, &store, "in.log"));
    store.on_request(|n| {
        let text = match n {
            0 => "<html>a proxy</html>",
            1 => "{\"errors\": \"perhaps\"}",
            2 => "{\"errors\": true, \"items\": []}",
            3 => "",
            4 => "{\"errors\": true, \"items\": [{\"create\": {\"status\": \"yes\"}}]}",
            5 => "[[[[[[[[[[[[[[[[",
            _ => return None,
        };
        Some(Trouble::Status(200, text.to_owned()))
    });
    append(
        &ground.path("in.log"),
        &(0..500)
            .map(|n| format!("line {n:04}\n"))
            .collect::<String>(),
    );
    let program = ground.start();
    ground.until("everything is stored", || store.len() == 500);
    ground.until("the books balance", || ground.books_balance("es"));
    assert!(
        store.requests() > 6,
        "none of these was taken for an answer"
    );
    assert!(
        ground.metric("component_retries_total", "es") >= 6.0,
        "and each was counted"
    );
    assert_eq!(program.stop(), Some(0), "{}", ground.log());
}

/// Overwrites the middle of every file below `folder` that `wanted` names; says how many.
fn corrupt(folder: &Path, wanted: impl Fn(&Path) -> bool) -> usize {
    let mut count = 0;
    for path in files(folder).into_iter().filter(|path| wanted(path)) {
        let mut bytes = std::fs::read(&path).unwrap();
        if bytes.is_empty() {
            continue;
        }
        let middle = bytes.len() / 2;
        let end = (middle + 8).min(bytes.len());
        bytes[middle..end].fill(b'#');
        std::fs::write(&path, bytes).unwrap();
        count += 1;
    }
    count
}

#[test]
fn a_corrupt_position_or_snapshot_is_told_and_nothing_is_lost_or_stored_twice() {
    let (ground, store) = (Ground::new(), Store::start());
    let with_memory = graph(&ground, &store, "in.log")
        .replace(
            "[sinks.es]",
            "[transforms.once]\ntype = \"dedupe\"\ninputs = [\"in\"]\n\n[sinks.es]",
        )
        .replace(
            "[sinks.es]\ntype = \"elasticsearch\"\ninputs = [\"in\"]",
            "[sinks.es]\ntype = \"elasticsearch\"\ninputs = [\"once\"]",
        );
    ground.configure(&with_memory);
    append(
        &ground.path("in.log"),
        &(0..1000)
            .map(|n| format!("line {n:04}\n"))
            .collect::<String>(),
    );
    let program = ground.start();
    ground.until("everything is stored", || store.len() == 1000);
    assert_eq!(program.stop(), Some(0), "{}", ground.log());

    let spoiled = corrupt(&ground.path("data"), |path| {
        !path.components().any(|part| part.as_os_str() == "dlq")
    });
    assert!(
        spoiled > 0,
        "there are positions and snapshots: {:?}",
        files(&ground.path("data"))
    );
    append(
        &ground.path("in.log"),
        &(1000..1500)
            .map(|n| format!("line {n:04}\n"))
            .collect::<String>(),
    );
    let program = ground.start();
    ground.until("everything is stored", || store.len() == 1500);
    let log = ground.log();
    assert!(
        log.contains("\"log.level\":\"error\"") || log.contains("\"log.level\":\"warn\""),
        "it is told: {log}"
    );
    assert_eq!(program.stop(), Some(0), "{}", ground.log());
    assert_eq!(
        store.messages(),
        (0..1500)
            .map(|n| format!("line {n:04}"))
            .collect::<Vec<_>>()
    );
}

#[test]
fn a_full_disk_under_the_file_sink_is_waited_out() {
    let (ground, store) = (Ground::new(), Store::start());
    let graph = graph(&ground, &store, "in.log")
        + "\n[sinks.lines]\ntype = \"file\"\ninputs = [\"in\"]\npath = \"/dev/full\"\n";
    ground.configure(&graph);
    append(&ground.path("in.log"), "one\ntwo\n");
    let mut program = ground.start();
    ground.until("the full disk is told", || {
        ground.log().contains("/dev/full")
    });
    ground.until("the other sink has everything", || store.len() == 2);
    assert!(program.is_running());
    assert_eq!(
        ground.metric("events_dead_lettered_total", "lines"),
        0.0,
        "a full disk is no reason to bury"
    );
    // Another disk, by a reload.
    let mended = graph.replace("/dev/full", &ground.path("out.log").display().to_string());
    ground.configure(&mended);
    program.signal("HUP");
    ground.until("what waited is written", || {
        std::fs::read_to_string(ground.path("out.log")).is_ok_and(|text| text.lines().count() == 2)
    });
    assert_eq!(program.stop(), Some(0), "{}", ground.log());
}
