//! From a file to a search store, with everything going wrong on the way: nothing is lost, and nothing is stored twice.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

#[allow(dead_code, reason = "each test uses its part")]
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use support::store::{Store, Trouble};
use support::{Ground, append, lines, long, messages};

/// A graph from `in.log*` to the store. The waits are short, because a test waits for them.
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

/// What `dlq ls --json` counts, by reason.
fn dead(ground: &Ground) -> BTreeMap<String, u64> {
    let (_, out) = ground.pvetrail(&["dlq", "ls", "--json", "--data-dir", "data"]);
    let rows = out
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    rows.map(|row| {
        (
            row["reason"].as_str().unwrap().to_owned(),
            row["events"].as_u64().unwrap(),
        )
    })
    .collect()
}

/// Writes lines and kills the program, again and again; starts it once more and waits until `done`.
fn kill_and_kill_again(ground: &Ground, kills: usize, per_kill: usize, done: impl FnMut() -> bool) {
    let mut random = fastrand::Rng::with_seed(7);
    let log = ground.path("in.log");
    for n in 0..kills {
        if n % 7 == 3 {
            std::fs::rename(&log, ground.path(&format!("in.log.{n}"))).unwrap();
        }
        // The last line is torn at the time of the kill, now and then.
        let text = lines(n * per_kill..(n + 1) * per_kill);
        let torn = random.usize(..text.len());
        append(&log, &text[..torn]);
        let program = ground.start();
        // Mostly before a position could be stored, sometimes after: that happens once a second.
        let most = if random.u32(..4) == 0 { 2000 } else { 300 };
        std::thread::sleep(Duration::from_millis(random.u64(20..most)));
        append(&log, &text[torn..]);
        std::thread::sleep(Duration::from_millis(random.u64(0..100)));
        program.kill();
    }
    let starts = || ground.log().matches("\"started\"").count();
    let before = starts();
    let program = ground.start();
    // A signal would find it without an ear before.
    ground.until("it runs", || starts() > before);
    ground.until("everything has arrived", done);
    assert_eq!(program.stop(), Some(0), "{}", ground.log());
}

#[test]
fn killed_again_and_again_it_loses_nothing_and_stores_nothing_twice() {
    let (kills, per_kill) = if long() { (1000, 300) } else { (25, 4000) };
    let (ground, store) = (Ground::new(), Store::start());
    ground.configure(&graph(&ground, &store, ""));
    let mut trouble = fastrand::Rng::with_seed(8);
    store.on_request(move |_| match trouble.u32(..20) {
        0 => Some(Trouble::Status(503, "later".to_owned())),
        1 => Some(Trouble::HalfAnAnswer),
        2 => Some(Trouble::Closed),
        _ => None,
    });
    let mut trouble = fastrand::Rng::with_seed(9);
    store.on_item(move |message| match message {
        message if message.contains("99 of") => Some((
            400,
            "document_parsing_exception",
            "failed to parse field [x]",
        )),
        _ if trouble.u32(..5000) == 0 => Some((429, "es_rejected_execution_exception", "full")),
        _ => None,
    });
    let all = messages(0..kills * per_kill);
    let (poison, good): (Vec<_>, Vec<_>) =
        all.iter().cloned().partition(|line| line.contains("99 of"));
    // A kill between the dead letter and its answer buries an event twice, under the same id.
    let buried = || {
        let (_, out) = ground.pvetrail(&[
            "dlq",
            "show",
            "--json",
            "--limit",
            "0",
            "--data-dir",
            "data",
        ]);
        let letters = out
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        let event = |letter: serde_json::Value| {
            (
                text(&letter["event"]["message"]),
                text(&letter["event"]["event"]["id"]),
            )
        };
        letters.map(event).collect::<BTreeSet<_>>()
    };
    kill_and_kill_again(&ground, kills, per_kill, || {
        store.len() >= good.len() && ground.books_balance("es") && buried().len() >= poison.len()
    });
    // A line that was stored under two ids would be there twice.
    assert_eq!(store.messages(), good);
    assert_eq!(
        buried()
            .into_iter()
            .map(|(line, _)| line)
            .collect::<Vec<_>>(),
        poison
    );
    store.heal();
    let (code, out) = ground.pvetrail(&["dlq", "retry", "graph.toml"]);
    assert_eq!(code, Some(0), "{out}");
    assert_eq!(store.messages(), all);
    assert!(dead(&ground).is_empty());
}

#[test]
fn killed_again_and_again_every_sink_of_a_source_gets_everything() {
    let (kills, per_kill) = if long() { (200, 300) } else { (10, 1000) };
    let (ground, store, slow) = (Ground::new(), Store::start(), Store::start());
    let out = ground.path("out.jsonl");
    let more = format!(
        r#"
[sinks.slow]
type = "elasticsearch"
inputs = ["in"]
endpoints = ["{}"]
batch = {{ max_events = 200 }}

[sinks.out]
type = "file"
inputs = ["in"]
path = "{}"
"#,
        slow.uri(),
        out.display()
    );
    ground.configure(&graph(&ground, &store, &more));
    slow.on_request(|_| {
        std::thread::sleep(Duration::from_millis(30));
        None
    });
    let all = messages(0..kills * per_kill);
    // The same event may stand in the file more than once, but always under the same id.
    let written = || {
        let text = std::fs::read_to_string(&out).unwrap_or_default();
        let lines = text
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        lines
            .map(|line| (text(&line["message"]), text(&line["event"]["id"])))
            .collect::<BTreeSet<_>>()
    };
    kill_and_kill_again(&ground, kills, per_kill, || {
        store.len() >= all.len() && slow.len() >= all.len() && ground.books_balance("out")
    });
    assert_eq!(store.messages(), all);
    assert_eq!(slow.messages(), all);
    assert_eq!(
        written()
            .into_iter()
            .map(|(message, _)| message)
            .collect::<Vec<_>>(),
        all
    );
    assert!(dead(&ground).is_empty());
}

#[test]
fn every_kind_of_trouble_at_once_ends_with_each_event_stored_or_dead() {
    let (ground, store) = (Ground::new(), Store::start());
    ground.configure(&graph(&ground, &store, "batch = { max_events = 1000 }"));
    store.largest(60_000);
    store.on_request(|n| match n {
        2 => Some(Trouble::Status(
            200,
            "<html>proxy says no</html>".to_owned(),
        )),
        3 => Some(Trouble::HalfAnAnswer),
        5 => Some(Trouble::Closed),
        6 | 7 => Some(Trouble::Status(429, String::new())),
        8 => Some(Trouble::Status(503, String::new())),
        _ => None,
    });
    let mut random = fastrand::Rng::with_seed(3);
    store.on_item(move |message| match message {
        message if message.contains("99 of") => Some((
            400,
            "document_parsing_exception",
            "failed to parse field [x]",
        )),
        _ if random.u32(..50) == 0 => Some((429, "es_rejected_execution_exception", "full")),
        _ => None,
    });
    append(&ground.path("in.log"), &lines(0..20_000));
    let program = ground.start();
    ground.until("everything has an end", || {
        store.len() == 19_800 && dead(&ground).get("mapping") == Some(&200)
    });
    ground.until("the books balance", || ground.books_balance("es"));
    assert_eq!(
        ground.metric("component_received_events_total", "es"),
        20_000.0
    );
    assert_eq!(program.stop(), Some(0));
    let poisoned = |message: &String| message.contains("99 of");
    assert_eq!(
        store.messages(),
        messages(0..20_000)
            .into_iter()
            .filter(|m| !poisoned(m))
            .collect::<Vec<_>>()
    );

    let (code, out) = ground.pvetrail(&["dlq", "retry", "graph.toml"]);
    assert_eq!(code, Some(1), "the mapping is as it was: {out}");
    assert!(
        out.contains("es: 0 delivered and removed, 200 refused again"),
        "{out}"
    );
    assert!(out.contains("200 × mapping: "), "{out}");
    store.heal();
    let (code, out) = ground.pvetrail(&["dlq", "retry", "graph.toml"]);
    assert_eq!(code, Some(0), "{out}");
    assert_eq!(store.messages(), messages(0..20_000));
    assert!(dead(&ground).is_empty());
}

#[test]
fn refused_credentials_hold_everything_until_they_are_mended() {
    let (ground, store) = (Ground::new(), Store::start());
    ground.configure(&graph(&ground, &store, ""));
    store.on_request(|_| {
        Some(Trouble::Status(
            401,
            r#"{"error":{"type":"security_exception","reason":"who?"}}"#.to_owned(),
        ))
    });
    append(&ground.path("in.log"), &lines(0..3000));
    let program = ground.start();
    ground.until("it was refused", || {
        store.requests() > 0 && ground.log().contains("does not deliver")
    });
    assert!(
        store.len() == 0 && dead(&ground).is_empty(),
        "held, not dropped"
    );
    // Stopped now, nothing is lost either.
    program.signal("TERM");
    program.kill();
    store.heal();
    let program = ground.start();
    ground.until("everything is stored", || store.len() == 3000);
    assert_eq!(program.stop(), Some(0));
    assert_eq!(store.messages(), messages(0..3000));
}

#[test]
fn a_half_filled_write_goes_out_when_the_program_is_told_to_stop() {
    let (ground, store) = (Ground::new(), Store::start());
    ground.configure(&graph(&ground, &store, r#"batch = { timeout = "1h" }"#));
    append(&ground.path("in.log"), &lines(0..100));
    let program = ground.start();
    ground.until("it runs", || ground.log().contains("\"started\""));
    ground.until("the lines are there", || {
        ground.metric("component_received_events_total", "es") == 100.0
    });
    assert_eq!(
        (store.len(), store.requests()),
        (0, 0),
        "the write is not full"
    );
    assert_eq!(program.stop(), Some(0), "{}", ground.log());
    assert_eq!(store.messages(), messages(0..100));
}

#[test]
fn a_reload_while_the_store_is_down_loses_nothing() {
    let (ground, store) = (Ground::new(), Store::start());
    ground.configure(&graph(&ground, &store, "batch = { max_events = 500 }"));
    store.on_request(|n| (n > 2).then(|| Trouble::Status(503, String::new())));
    append(&ground.path("in.log"), &lines(0..5000));
    let mut program = ground.start();
    ground.until("it fails", || store.requests() > 5);
    for size in [100, 700, 50] {
        let before = store.requests();
        ground.configure(&graph(
            &ground,
            &store,
            &format!("batch = {{ max_events = {size} }}"),
        ));
        program.signal("HUP");
        ground.until("the reloaded sink has tried", || {
            store.requests() > before + 4
        });
    }
    // One that does not hold changes nothing.
    ground.configure("[sinks.es]\ntype = \"elasticsaerch\"\n");
    program.signal("HUP");
    ground.until("it is told", || ground.log().contains("does not hold"));
    assert!(program.is_running());
    store.heal();
    append(&ground.path("in.log"), &lines(5000..6000));
    ground.until("everything is stored", || store.len() >= 6000);
    ground.until("the books balance", || ground.books_balance("es"));
    assert_eq!(
        ground.metric("component_received_events_total", "es"),
        6000.0,
        "what was handed over is not counted twice"
    );
    assert_eq!(program.stop(), Some(0), "{}", ground.log());
    assert_eq!(store.messages(), messages(0..6000));
}

#[test]
fn reloads_under_load_lose_nothing_whatever_they_change() {
    let (ground, store, other) = (Ground::new(), Store::start(), Store::start());
    let out = ground.path("out.jsonl");
    let always = format!(
        r#"
[sinks.out]
type = "file"
inputs = ["in"]
path = "{}"
"#,
        out.display()
    );
    // The number is read out of every line, or the line goes on as it is; with a second store and without.
    let parsed = |pattern: &str| {
        format!(
            r#"
[transforms.parsed]
type = "grok"
inputs = ["in"]
patterns = ['{pattern}']

[sinks.other]
type = "elasticsearch"
inputs = ["parsed"]
endpoints = ["{}"]
"#,
            other.uri()
        )
    };
    let variants = [
        String::new(),
        parsed("^line %{INT:event.sequence:int}"),
        parsed("^line %{INT:event.sequence:int} of the (?<log.logger>log)$"),
        "[transforms.seen]\ntype = \"dedupe\"\ninputs = [\"in\"]\n[sinks.hole]\ntype = \"blackhole\"\ninputs = [\"seen\"]\n".to_owned(),
    ];
    let configure = |n: usize| {
        let size = 100 + n * 37 % 400;
        let more = format!(
            "batch = {{ max_events = {size} }}\n{always}{}",
            variants[n % variants.len()]
        );
        ground.configure(&graph(&ground, &store, &more));
    };
    configure(0);
    let mut program = ground.start();
    ground.until("it runs", || ground.log().contains("\"started\""));
    let reloads = if long() { 100 } else { 12 };
    let per_reload = 2000;
    let reloaded = || ground.log().matches("reloaded").count();
    for n in 0..reloads {
        append(
            &ground.path("in.log"),
            &lines(n * per_reload..(n + 1) * per_reload),
        );
        configure(n + 1);
        let before = reloaded();
        program.signal("HUP");
        ground.until("it has reloaded", || reloaded() > before);
        assert!(program.is_running());
    }
    let all = messages(0..reloads * per_reload);
    ground.until("everything is stored", || {
        store.len() >= all.len() && ground.books_balance("out")
    });
    assert_eq!(program.stop(), Some(0), "{}", ground.log());
    assert_eq!(store.messages(), all);
    // Nobody was killed, so nothing was written twice either.
    let text = std::fs::read_to_string(&out).unwrap();
    assert_eq!(text.lines().count(), all.len());
}

#[test]
fn a_sink_that_never_answers_can_be_taken_out_by_a_reload() {
    let (ground, store, dead_end) = (Ground::new(), Store::start(), Store::start());
    dead_end.on_request(|_| Some(Trouble::Status(503, String::new())));
    let through = "[transforms.once]\ntype = \"dedupe\"\ninputs = [\"in\"]\n";
    let more = format!(
        "{through}\n[sinks.gone]\ntype = \"elasticsearch\"\ninputs = [\"once\"]\nendpoints = [\"{}\"]\n",
        dead_end.uri()
    );
    ground.configure(&graph(&ground, &store, &more));
    // More than the lanes hold, so that everybody waits for everybody.
    let all = 60_000;
    append(&ground.path("in.log"), &lines(0..all));
    let program = ground.start();
    ground.until("nothing moves any more", || {
        let before = store.len();
        std::thread::sleep(Duration::from_millis(300));
        before > 0 && store.len() == before
    });
    assert!(store.len() < all);
    ground.configure(&graph(&ground, &store, ""));
    program.signal("HUP");
    ground.until("it has reloaded", || ground.log().contains("\"reloaded\""));
    ground.until("everything is stored", || store.len() == all);
    assert_eq!(program.stop(), Some(0), "{}", ground.log());
    assert_eq!(store.messages(), messages(0..all));
}

#[test]
fn what_remembers_survives_reloads_and_kills_while_the_store_is_down() {
    let (ground, store) = (Ground::new(), Store::start());
    let configure = |size: usize| {
        let text = graph(
            &ground,
            &store,
            &format!("batch = {{ max_events = {size} }}"),
        );
        let text = text.replace("inputs = [\"in\"]", "inputs = [\"once\"]");
        ground.configure(&format!(
            "{text}\n[transforms.once]\ntype = \"dedupe\"\ninputs = [\"in\"]\ncache = {{ num_events = {} }}\n",
            100_000 + size
        ));
    };
    configure(500);
    store.on_request(|n| (n > 2).then(|| Trouble::Status(503, String::new())));
    append(&ground.path("in.log"), &lines(0..5000));
    let program = ground.start();
    ground.until("it fails", || store.requests() > 5);
    for n in 1..4 {
        configure(500 + n);
        program.signal("HUP");
        ground.until("it has reloaded", || {
            ground.log().matches("\"reloaded\"").count() == n
        });
    }
    program.kill();
    let program = ground.start();
    store.heal();
    append(&ground.path("in.log"), &lines(5000..6000));
    ground.until("everything is stored", || store.len() >= 6000);
    ground.until("the books balance", || ground.books_balance("es"));
    assert_eq!(program.stop(), Some(0), "{}", ground.log());
    assert_eq!(store.messages(), messages(0..6000));
}

#[test]
fn stopped_while_the_store_is_down_it_says_so_and_loses_nothing() {
    let (ground, store) = (Ground::new(), Store::start());
    ground.configure(&graph(&ground, &store, ""));
    store.on_request(|n| (n > 0).then(|| Trouble::Status(503, String::new())));
    append(&ground.path("in.log"), &lines(0..20_000));
    let program = ground.start();
    ground.until("it fails", || store.requests() > 3);
    assert_eq!(program.stop(), Some(1), "{}", ground.log());
    store.heal();
    let program = ground.start();
    ground.until("everything is stored", || store.len() == 20_000);
    ground.until("the books balance", || ground.books_balance("es"));
    assert_eq!(program.stop(), Some(0), "{}", ground.log());
    assert_eq!(store.messages(), messages(0..20_000));
}
