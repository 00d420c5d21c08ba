//! A sink with a disk queue, and everything going wrong around it: nothing is lost, and nothing is stored twice.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]
#![allow(
    clippy::print_stdout,
    reason = "the curve of memory is worth a look when the test is run by hand"
)]

#[allow(dead_code, reason = "each test uses its part")]
mod support;

use std::time::{Duration, Instant};

use support::small::Small;
use support::store::{Store, Trouble};
use support::{Ground, Program, append, lines, long, messages};

const DISK: &str = "buffer = { type = \"disk\", max_size = \"64MiB\" }";

/// Most memory of its own that the program may hold, beside its text, which is some 20 MiB of the 64 it may hold in all
/// (and more in a debug build) [KiB].
const MOST: u64 = 40 << 10;

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

#[test]
fn memory_stays_flat_while_the_store_is_away() {
    let (ground, store) = (Ground::new(), Store::start());
    ground.configure(&graph(
        &ground,
        &store,
        "buffer = { type = \"disk\", max_size = \"4GiB\" }",
    ));
    away(&store);
    let log = ground.path("in.log");
    append(&log, &lines(0..1000));
    let program = start(&ground);
    let lasts = Duration::from_secs(if long() { 600 } else { 12 });
    let (began, mut n, mut curve) = (Instant::now(), 1000, Vec::new());
    while began.elapsed() < lasts {
        append(&log, &lines(n..n + 5000));
        n += 5000;
        curve.push(program.memory());
        std::thread::sleep(Duration::from_millis(100));
    }
    ground.until("the queue has it all", || all_is_answered(&ground));
    let (start, end) = (curve[curve.len() / 4], curve[curve.len() - 1]);
    let most = *curve.iter().max().unwrap();
    println!(
        "{n} events, {} KiB after a quarter, {end} KiB at the end, {most} KiB at most",
        start
    );
    assert!(most < MOST, "KiB: {curve:?}");
    assert!(end < start + (8 << 10), "KiB: {curve:?}");
    ground.until("all of them wait", || {
        ground.metric("buffer_size_events", "es") as usize == n
    });
    if long() {
        // As many as a stand-in can hold in this test's memory; that they arrive is shown by the others.
        program.kill();
        return;
    }
    store.heal();
    ground.until("everything has arrived", || store.len() == n);
    let drained = program.memory();
    println!("{drained} KiB when it was empty");
    assert!(drained < MOST, "{drained} KiB while it emptied");
    ground.balances();
    assert_eq!(program.stop(), Some(0), "{}", ground.log());
    assert!(store.messages() == messages(0..n));
}

/// The store goes, the disk fills up; then either comes back first.
#[test]
fn with_the_store_away_and_the_disk_full_nothing_is_lost_whichever_comes_back_first() {
    for store_first in [true, false] {
        let (ground, store) = (Ground::new(), Store::start());
        let Some(disk) = Small::mount(&ground.path("data"), "3m") else {
            return;
        };
        ground.configure(&graph(&ground, &store, DISK));
        away(&store);
        let all = 60_000;
        append(&ground.path("in.log"), &lines(0..all));
        let program = start(&ground);
        ground.until("the disk is full", || {
            ground.metric("buffer_errors_total", "es") > 0.0
        });
        let full = ground.metrics().into_iter().any(|(name, n)| {
            name.starts_with("buffer_errors_total") && name.contains("disk_full") && n > 0.0
        });
        assert!(full, "{}", ground.metrics_text());
        assert!(
            ground.log().contains("the disk queue cannot take events"),
            "{}",
            ground.log()
        );
        assert!(!all_is_answered(&ground));
        if store_first {
            // What was delivered is deleted, though not even a position can be written at first.
            store.heal();
        } else {
            disk.resize("64m");
            ground.until("the queue has it all", || all_is_answered(&ground));
            store.heal();
        }
        ground.until("everything has arrived", || store.len() == all);
        ground.balances();
        assert_eq!(program.stop(), Some(0), "{}", ground.log());
        assert!(store.messages() == messages(0..all), "each line once");
    }
}

#[test]
fn a_reload_lets_go_of_the_queue_and_takes_it_up_again_whatever_becomes_of_the_sink() {
    let (ground, store) = (Ground::new(), Store::start());
    let configure = |more: &str| ground.configure(&graph(&ground, &store, more));
    let reloads = || ground.log().matches("reloaded").count();
    let reload = |program: &Program| {
        let before = reloads();
        program.signal("HUP");
        ground.until("it is reloaded", || reloads() > before);
    };
    configure(DISK);
    away(&store);
    append(&ground.path("in.log"), &lines(0..10_000));
    let program = start(&ground);
    ground.until("the queue has it all", || all_is_answered(&ground));
    // Another option: the queue is closed and opened again.
    configure(&format!("{DISK}\nbatch = {{ max_events = 500 }}"));
    reload(&program);
    append(&ground.path("in.log"), &lines(10_000..20_000));
    ground.until("the queue has it all", || all_is_answered(&ground));
    // No queue any more: what is in it is delivered first.
    configure("");
    reload(&program);
    append(&ground.path("in.log"), &lines(20_000..30_000));
    store.heal();
    ground.until("everything has arrived", || store.len() == 30_000);
    ground.until("the queue is gone", || {
        !ground.path("data/queue/es").exists()
    });
    // And back again, with events on the way.
    away(&store);
    append(&ground.path("in.log"), &lines(30_000..40_000));
    configure(DISK);
    reload(&program);
    ground.until("the queue has it all", || all_is_answered(&ground));
    assert_eq!(program.stop(), Some(1), "{}", ground.log());
    // The sink is renamed: its queue has no sink, which is told, and nothing of it is lost.
    let text = std::fs::read_to_string(ground.path("graph.toml")).unwrap();
    std::fs::write(
        ground.path("graph.toml"),
        text.replace("[sinks.es]", "[sinks.other]"),
    )
    .unwrap();
    let (code, out) = ground.pvetrail(&["validate", "graph.toml"]);
    assert_eq!(code, Some(0));
    assert!(
        out.contains("the disk queue of \"es\" holds events, and no sink is called that"),
        "{out}"
    );
    let program = start(&ground);
    assert!(
        ground.log().contains("no sink is called that"),
        "{}",
        ground.log()
    );
    program.stop();
    store.heal();
    configure(DISK);
    let program = start(&ground);
    ground.until("everything has arrived", || store.len() == 40_000);
    ground.balances();
    assert_eq!(program.stop(), Some(0), "{}", ground.log());
    assert!(store.messages() == messages(0..40_000), "each line once");
}

#[test]
fn damaged_files_are_found_shown_and_mended_by_hand_and_passed_by_the_program() {
    let (ground, store) = (Ground::new(), Store::start());
    ground.configure(&graph(&ground, &store, DISK));
    away(&store);
    append(&ground.path("in.log"), &lines(0..20_000));
    let program = start(&ground);
    ground.until("the queue has it all", || all_is_answered(&ground));
    // Beside the running program, which is not disturbed.
    let (code, out) = ground.pvetrail(&["queue", "check", "graph.toml"]);
    assert_eq!(code, Some(0), "{out}");
    assert!(
        out.contains("es: 20000 events wait") && out.contains("in use"),
        "{out}"
    );
    let (code, out) = ground.pvetrail(&["queue", "repair", "graph.toml"]);
    assert_eq!(code, Some(2), "{out}");
    assert!(out.contains("in use by another program"), "{out}");
    program.kill();
    let (code, out) = ground.pvetrail(&["queue", "dump", "graph.toml", "--limit", "3"]);
    let first: serde_json::Value = serde_json::from_str(out.lines().next().unwrap()).unwrap();
    assert_eq!((code, out.lines().count()), (Some(0), 3), "{out}");
    assert_eq!(first["message"], "line 0000000 of the log");
    // A byte in the middle, and a torn end.
    let segment = ground.path("data/queue/es/0000000000.seg");
    let mut bytes = std::fs::read(&segment).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    bytes.extend_from_slice(b"half a record");
    std::fs::write(&segment, &bytes).unwrap();
    let (code, out) = ground.pvetrail(&["queue", "check", "graph.toml", "--json"]);
    assert_eq!(code, Some(1), "{out}");
    let report: serde_json::Value = serde_json::from_str(out.trim()).unwrap();
    let codes: Vec<&str> = report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["code"].as_str().unwrap())
        .collect();
    assert_eq!(codes, ["checksum", "torn_tail"], "{out}");
    let lost = report["findings"][0]["events"].as_u64().unwrap();
    assert!(lost > 0 && lost < 5000, "{out}");
    let (code, out) = ground.pvetrail(&["queue", "repair", "graph.toml"]);
    assert_eq!(code, Some(0), "{out}");
    assert!(
        out.contains("are kept as") && out.contains("were cut off"),
        "{out}"
    );
    let (code, out) = ground.pvetrail(&["queue", "check", "data/queue/es"]);
    assert_eq!(code, Some(0), "{out}");
    assert!(
        out.contains(&format!("{lost} events were found lost")),
        "{out}"
    );
    // Another byte, which the program itself has to pass.
    let mut bytes = std::fs::read(&segment).unwrap();
    let early = bytes.len() / 5;
    bytes[early] ^= 1;
    std::fs::write(&segment, &bytes).unwrap();
    let (_, out) = ground.pvetrail(&["queue", "check", "graph.toml", "--json"]);
    let report: serde_json::Value = serde_json::from_str(out.trim()).unwrap();
    let more = report["findings"][0]["events"].as_u64().unwrap();
    store.heal();
    let program = start(&ground);
    let good = 20_000 - (lost + more) as usize;
    ground.until("what is good has arrived", || store.len() == good);
    ground.until("what is lost is counted", || {
        ground.metric("buffer_discarded_events_total", "es") as u64 == lost + more
    });
    assert_eq!(ground.metric("checksum_errors_total", "es"), 1.0);
    assert!(
        ground.log().contains(&format!("{more} events are lost")),
        "{}",
        ground.log()
    );
    assert_eq!(program.stop(), Some(0), "{}", ground.log());
    assert_eq!(store.len(), good);
}
