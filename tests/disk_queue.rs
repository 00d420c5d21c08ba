//! A sink with a disk queue, and everything going wrong around it: nothing is lost, and nothing is stored twice.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

#[allow(dead_code, reason = "each test uses its part")]
mod support;

use std::time::{Duration, Instant};

use support::store::{Store, Trouble};
use support::{Ground, Program, append, lines, long, messages};

const DISK: &str = "buffer = { type = \"disk\", max_size = \"64MiB\" }";

/// A graph from `in.log*` to the store through a queue. The waits are short, because a test waits for them.
fn graph(ground: &Ground, store: &Store, more: &str) -> String {
    format!(
        r#"
[admin]
address = "127.0.0.1:0"

[sources.in]
type = "file"
include = ["{}*"]

[sinks.es]
type = "elasticsearch"
inputs = ["in"]
endpoints = ["{}"]
request = {{ retry_initial_backoff = "10ms", retry_max_backoff = "50ms" }}
{more}
"#,
        ground.path("in.log").display(),
        store.uri()
    )
}

/// Starts the program and waits until it runs: a signal would find it without an ear before.
fn start(ground: &Ground) -> Program {
    let starts = || ground.log().matches("\"started\"").count();
    let before = starts();
    let program = ground.start();
    ground.until("it runs", || starts() > before);
    program
}

fn away(store: &Store) {
    store.on_request(|_| Some(Trouble::Status(503, "away".to_owned())));
}

/// Whether the source's position says that everything in `in.log` was answered for.
fn all_is_answered(ground: &Ground) -> bool {
    let len = std::fs::metadata(ground.path("in.log")).unwrap().len();
    std::fs::read_to_string(ground.path("data/positions/in.json"))
        .is_ok_and(|text| text.contains(&format!("\"offset\":{len}")))
}

#[test]
fn what_is_in_the_queue_needs_its_source_no_more() {
    let (ground, store) = (Ground::new(), Store::start());
    ground.configure(&graph(&ground, &store, DISK));
    away(&store);
    append(&ground.path("in.log"), &lines(0..20_000));
    let program = ground.start();
    ground.until("the source's position is stored", || {
        all_is_answered(&ground)
    });
    program.kill();
    std::fs::remove_file(ground.path("in.log")).unwrap();
    assert_eq!(store.len(), 0);
    // An orderly end with a store that is away does not wait for it, and says that something is left.
    let began = Instant::now();
    let program = start(&ground);
    let failures = || ground.log().matches("the sink does not deliver").count();
    ground.until("the sink fails again", || failures() > 1);
    assert_eq!(program.stop(), Some(1), "{}", ground.log());
    assert!(
        began.elapsed() < Duration::from_secs(20),
        "{:?}",
        began.elapsed()
    );
    assert!(
        ground.log().contains("20000 events stay in the disk queue"),
        "{}",
        ground.log()
    );
    store.heal();
    let program = start(&ground);
    ground.until("everything has arrived", || store.len() == 20_000);
    ground.balances();
    assert_eq!(program.stop(), Some(0), "{}", ground.log());
    assert!(store.messages() == messages(0..20_000));
    let left = support::files(&ground.path("data/queue"));
    assert!(
        !left
            .iter()
            .any(|path| path.extension().is_some_and(|end| end == "seg")),
        "{left:?}"
    );
}

#[test]
fn killed_again_and_again_while_it_fills_and_while_it_empties_it_loses_nothing() {
    let (kills, per_kill) = if long() { (300, 2000) } else { (25, 4000) };
    let (ground, store) = (Ground::new(), Store::start());
    ground.configure(&graph(&ground, &store, DISK));
    let mut random = fastrand::Rng::with_seed(11);
    let log = ground.path("in.log");
    for n in 0..kills {
        let text = lines(n * per_kill..(n + 1) * per_kill);
        let torn = random.usize(..text.len());
        append(&log, &text[..torn]);
        // It fills while the store is away, it empties while the store is there, and both at once.
        if n % 3 == 0 {
            away(&store);
        } else {
            let mut trouble = fastrand::Rng::with_seed(n as u64);
            store.on_request(move |_| match trouble.u32(..10) {
                0 => Some(Trouble::HalfAnAnswer),
                1 => Some(Trouble::Closed),
                _ => None,
            });
        }
        let program = ground.start();
        let most = if random.u32(..4) == 0 { 2000 } else { 400 };
        std::thread::sleep(Duration::from_millis(random.u64(20..most)));
        append(&log, &text[torn..]);
        std::thread::sleep(Duration::from_millis(random.u64(0..100)));
        program.kill();
    }
    store.heal();
    let program = start(&ground);
    ground.until("everything has arrived", || store.len() == kills * per_kill);
    ground.until("the queue is empty", || {
        ground.metric("buffer_size_events", "es") == 0.0
    });
    assert_eq!(program.stop(), Some(0), "{}", ground.log());
    assert!(
        store.messages() == messages(0..kills * per_kill),
        "each line once"
    );
    assert!(
        !ground.log().contains("events are lost"),
        "{}",
        ground.log()
    );
}
