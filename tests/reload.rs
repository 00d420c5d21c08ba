//! Reload while lines keep coming: nothing is lost or stored twice, what has not changed is left alone, and a file that does
//! not hold changes nothing.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

#[allow(dead_code, reason = "each test uses its part")]
mod support;

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::Value;
use support::store::Store;
use support::{Ground, append};

/// Two roads from one source; only the first is ever changed.
fn graph(ground: &Ground, store: &Store, pattern: &str, batch: u32) -> String {
    format!(
        r#"
[admin]
address = "127.0.0.1:0"

[sources.in]
type = "file"
include = ["{input}"]

[transforms.parsed]
type = "grok"
inputs = ["in"]
patterns = ['{pattern}']

[transforms.once]
type = "dedupe"
inputs = ["parsed"]

[sinks.store]
type = "elasticsearch"
inputs = ["once"]
endpoints = ["{uri}"]
batch = {{ max_events = {batch} }}

[sinks.lines]
type = "file"
inputs = ["in"]
path = "{output}"
encoding.codec = "text"
"#,
        input = ground.path("in.log").display(),
        uri = store.uri(),
        output = ground.path("out.log").display(),
    )
}

/// `POST /reload`: what changed, or why nothing did.
fn reload(ground: &Ground) -> (u16, Value) {
    let address = ground.admin();
    let mut stream = std::net::TcpStream::connect(&address).unwrap();
    write!(
        stream,
        "POST /reload HTTP/1.0\r\nhost: {address}\r\ncontent-length: 0\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (
        status,
        serde_json::from_str(body).unwrap_or_else(|_| Value::from(body)),
    )
}

fn names(changes: &Value, what: &str) -> Vec<String> {
    let mut names: Vec<String> = changes[what]
        .as_array()
        .unwrap()
        .iter()
        .map(|v| v.as_str().unwrap().to_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn reloads_under_load_lose_nothing_and_leave_alone_what_has_not_changed() {
    let (ground, store) = (Ground::new(), Store::start());
    let patterns = [
        r"^line %{INT:number:int} of the log$",
        r"^line %{INT:n:int} of the %{WORD:what}$",
    ];
    ground.configure(&graph(&ground, &store, patterns[0], 500));
    append(&ground.path("in.log"), "");
    let (stop, written) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
    );
    let program = ground.start();
    ground.until("it runs", || ground.log().contains("\"started\""));
    let writer = std::thread::spawn({
        let (path, stop, written) = (ground.path("in.log"), stop.clone(), written.clone());
        move || {
            let mut file = std::fs::File::options().append(true).open(path).unwrap();
            while !stop.load(Ordering::SeqCst) {
                let from = written.load(Ordering::SeqCst);
                let text: String = (from..from + 200)
                    .map(|n| format!("line {n:07} of the log\n"))
                    .collect();
                file.write_all(text.as_bytes()).unwrap();
                written.store(from + 200, Ordering::SeqCst);
                std::thread::sleep(std::time::Duration::from_millis(2));
            }
        }
    });

    for n in 1..=10u32 {
        let before = store.len();
        ground.until("lines flow", || store.len() > before + 500);
        if n % 3 == 0 {
            // A file that does not hold: everything goes on, and it is told why.
            ground.configure(&graph(&ground, &store, "%{NOTHING_LIKE_IT:x}", 500));
            let (status, why) = reload(&ground);
            assert!(status >= 400, "{status} {why}");
            assert!(why.to_string().contains("NOTHING_LIKE_IT"), "{why}");
            continue;
        }
        // Both the pattern and the size of batches change every time.
        ground.configure(&graph(&ground, &store, patterns[n as usize % 2], 500 + n));
        let (status, changes) = reload(&ground);
        assert_eq!(status, 200, "{changes}");
        let (changed, unchanged) = (names(&changes, "changed"), names(&changes, "unchanged"));
        assert!(
            changed.iter().any(|name| name.contains("store")),
            "{changes}"
        );
        assert!(
            unchanged.iter().any(|name| name.contains("lines")),
            "{changes}"
        );
        assert!(
            names(&changes, "added").is_empty() && names(&changes, "removed").is_empty(),
            "{changes}"
        );
    }
    stop.store(true, Ordering::SeqCst);
    writer.join().unwrap();
    let count = usize::try_from(written.load(Ordering::SeqCst)).unwrap();
    ground.until("everything is stored", || store.len() >= count);
    let in_file = || {
        std::fs::read_to_string(ground.path("out.log"))
            .unwrap_or_default()
            .lines()
            .count()
    };
    ground.until("everything is in the file", || in_file() >= count);
    ground.balances();
    assert_eq!(program.stop(), Some(0), "{}", ground.log());

    let expected: Vec<String> = (0..count)
        .map(|n| format!("line {n:07} of the log"))
        .collect();
    assert_eq!(store.messages(), expected);
    let text = std::fs::read_to_string(ground.path("out.log")).unwrap();
    // The road that was left alone is in order, and has nothing twice.
    assert_eq!(
        text.lines().map(str::to_owned).collect::<Vec<_>>(),
        expected
    );
}

#[test]
fn a_component_that_is_added_gets_what_comes_and_one_that_is_removed_leaves_nothing_behind() {
    let (ground, store) = (Ground::new(), Store::start());
    let first = graph(&ground, &store, "%{INT:number}", 500);
    ground.configure(&first);
    append(
        &ground.path("in.log"),
        &(0..1000)
            .map(|n| format!("line {n:04}\n"))
            .collect::<String>(),
    );
    let program = ground.start();
    ground.until("the first lines are stored", || store.len() == 1000);

    let second = first.clone()
        + &format!(
            "\n[sinks.more]\ntype = \"file\"\ninputs = [\"in\"]\npath = \"{}\"\nencoding.codec = \"text\"\n",
            ground.path("more.log").display()
        );
    ground.configure(&second);
    let (status, changes) = reload(&ground);
    assert_eq!(
        (status, names(&changes, "added")),
        (200, vec!["more".to_owned()]),
        "{changes}"
    );
    append(
        &ground.path("in.log"),
        &(1000..2000)
            .map(|n| format!("line {n:04}\n"))
            .collect::<String>(),
    );
    ground.until("all are stored", || store.len() == 2000);
    let more = || std::fs::read_to_string(ground.path("more.log")).unwrap_or_default();
    ground.until("the added sink has what came since", || {
        more().contains("line 1999")
    });

    ground.configure(&first);
    program.signal("HUP");
    ground.until("it is removed", || {
        ground
            .metrics_text()
            .matches("component_id=\"more\"")
            .count()
            == 0
    });
    append(&ground.path("in.log"), "line 2000\n");
    ground.until("the last is stored", || store.len() == 2001);
    assert_eq!(program.stop(), Some(0), "{}", ground.log());
    assert!(!more().contains("line 2000"));
    assert!((1000..2000).all(|n| more().contains(&format!("line {n:04}"))));
}
