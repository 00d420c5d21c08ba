//! From a file into a real NATS: every event once, whatever happens to the server or to us on the way.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

#[allow(dead_code, reason = "each test uses its part")]
mod support;

use std::time::Duration;

use async_nats::jetstream::stream;
use support::nats::{Nats, Which, by_message};
use support::{Ground, append, lines, long, messages};

/// A graph from `in.log` to the stream AUDIT. The waits are short, because a test waits for them.
fn graph(ground: &Ground, nats: &Nats, more: &str) -> String {
    format!(
        r#"
[admin]
address = "127.0.0.1:0"

[sources.in]
type = "file"
include = ["{}"]

[sinks.out]
type = "nats"
inputs = ["in"]
url = "{}"
request = {{ retry_initial_backoff = "20ms", retry_max_backoff = "200ms" }}
batch = {{ timeout = "50ms" }}
{more}
"#,
        ground.path("in.log").display(),
        nats.url
    )
}

const AUDIT: &str = r#"subject = "pve.audit.{{ host.name }}"
jetstream = { stream = "AUDIT" }"#;

fn delivers(which: Which) {
    let Some(nats) = Nats::start_as(which, &[], |_| Vec::new()) else {
        return;
    };
    nats.stream("AUDIT", &["pve.audit.>"]);
    let ground = Ground::new();
    ground.configure(&graph(&ground, &nats, AUDIT));
    append(&ground.path("in.log"), &lines(0..3000));
    let program = ground.start();
    ground.until("all are there", || nats.count("AUDIT") == 3000);
    ground.balances();
    assert_eq!(program.stop(), Some(0), "{}", ground.log());

    let stored = nats.stored("AUDIT");
    let told: Vec<&str> = stored
        .iter()
        .map(|one| one.body["message"].as_str().unwrap())
        .collect();
    assert_eq!(told, messages(0..3000), "in their order");
    for one in &stored {
        assert_eq!(
            one.body["event"]["id"],
            one.id.as_str(),
            "the id of the event is the message's"
        );
        assert!(one.subject.starts_with("pve.audit."), "{}", one.subject);
    }

    // Everything is sent once more by a program that has forgotten where it was.
    std::fs::remove_dir_all(ground.path("data")).unwrap();
    let program = ground.start();
    ground.until("it runs", || {
        ground.log().matches("\"started\"").count() == 2
    });
    ground.until("everything is known already", || {
        ground.metric("events_duplicate_total", "out") == 3000.0
    });
    assert_eq!(program.stop(), Some(0), "{}", ground.log());
    assert_eq!(nats.count("AUDIT"), 3000);
}

#[test]
fn a_stream_gets_every_event_under_its_id_and_knows_it_again() {
    delivers(Which::Newest);
}

#[test]
fn the_oldest_server_that_is_promised_does_too() {
    delivers(Which::Floor);
}

#[test]
fn a_server_that_is_killed_between_message_and_answer_gets_everything_once() {
    let Some(mut nats) = Nats::start(&[]) else {
        return;
    };
    nats.stream("AUDIT", &["pve.audit.>"]);
    let ground = Ground::new();
    ground.configure(&graph(&ground, &nats, AUDIT));
    let (kills, each) = if long() { (20, 20_000) } else { (4, 4000) };
    let program = ground.start();
    let mut random = fastrand::Rng::with_seed(5);
    for n in 0..kills {
        append(&ground.path("in.log"), &lines(n * each..(n + 1) * each));
        let sent = |ground: &Ground| ground.metric("component_sent_events_total", "out");
        if n == 0 {
            ground.until("it runs", || ground.log().contains("\"started\""));
        }
        let before = sent(&ground);
        ground.until("some are on their way", || sent(&ground) > before);
        std::thread::sleep(Duration::from_millis(random.u64(0..30)));
        nats.kill();
        nats.again();
    }
    ground.until("all are there", || {
        nats.count("AUDIT") == (kills * each) as u64
    });
    ground.balances();
    assert_eq!(program.stop(), Some(0), "{}", ground.log());
    let times = by_message(&nats.stored("AUDIT"));
    assert_eq!(times.len(), kills * each);
    assert!(times.values().all(|times| *times == 1));
}

#[test]
fn a_program_that_is_killed_at_work_sends_everything_once() {
    let Some(nats) = Nats::start(&[]) else {
        return;
    };
    nats.stream("AUDIT", &["pve.audit.>"]);
    let ground = Ground::new();
    ground.configure(&graph(&ground, &nats, AUDIT));
    let (kills, each) = if long() { (30, 20_000) } else { (5, 3000) };
    let mut random = fastrand::Rng::with_seed(3);
    for n in 0..kills {
        append(&ground.path("in.log"), &lines(n * each..(n + 1) * each));
        let program = ground.start();
        std::thread::sleep(Duration::from_millis(random.u64(30..500)));
        program.kill();
    }
    let starts = || ground.log().matches("\"started\"").count();
    let before = starts();
    let program = ground.start();
    ground.until("it runs", || starts() > before);
    ground.until("all are there", || {
        nats.count("AUDIT") == (kills * each) as u64
    });
    assert_eq!(program.stop(), Some(0), "{}", ground.log());
    assert_eq!(by_message(&nats.stored("AUDIT")).len(), kills * each);
}

#[test]
fn a_full_stream_is_waited_for_and_what_never_fits_is_a_dead_letter() {
    let Some(nats) = Nats::start(&[]) else {
        return;
    };
    let config = stream::Config {
        name: "AUDIT".to_owned(),
        subjects: vec!["pve.audit.>".to_owned()],
        duplicate_window: Duration::from_secs(900),
        discard: stream::DiscardPolicy::New,
        max_messages: 50,
        max_message_size: 2000,
        ..stream::Config::default()
    };
    nats.stream_of(config.clone());
    let ground = Ground::new();
    ground.configure(&graph(&ground, &nats, AUDIT));
    let large = format!("{}\n", "x".repeat(5000));
    append(
        &ground.path("in.log"),
        &(lines(0..20) + &large + &lines(20..80)),
    );
    let program = ground.start();
    ground.until("the stream is full", || nats.count("AUDIT") == 50);
    ground.until("it is said", || {
        ground.log().contains("maximum messages exceeded")
    });
    ground.until("the large one is a dead letter", || {
        ground.metric("events_dead_lettered_total", "out") == 1.0
    });
    nats.stream_of(stream::Config {
        max_messages: -1,
        ..config
    });
    ground.until("the others are there", || nats.count("AUDIT") == 80);
    ground.balances();
    let (_, dead) = ground.pvetrail(&["dlq", "show", "graph.toml"]);
    assert!(
        dead.contains("too_large") && dead.contains("message size exceeds maximum allowed"),
        "{dead}"
    );
    assert_eq!(program.stop(), Some(0), "{}", ground.log());
    assert_eq!(by_message(&nats.stored("AUDIT")).len(), 80);
}

#[test]
fn what_belongs_to_another_stream_is_refused_by_event() {
    let Some(nats) = Nats::start(&[]) else {
        return;
    };
    nats.stream("AUDIT", &["pve.audit.>"]);
    nats.stream("OTHER", &["pve.audit2.>"]);
    let ground = Ground::new();
    let more = AUDIT.replace("pve.audit.", "pve.audit2.");
    ground.configure(&graph(&ground, &nats, &more));
    append(&ground.path("in.log"), &lines(0..10));
    let program = ground.start();
    ground.until("all are dead letters", || {
        ground.log().contains("\"started\"")
            && ground.metric("events_dead_lettered_total", "out") == 10.0
    });
    ground.until("the check says why", || {
        ground.log().contains("does not listen to")
    });
    let (_, dead) = ground.pvetrail(&["dlq", "show", "graph.toml", "--limit", "1"]);
    assert!(dead.contains("expected stream does not match"), "{dead}");
    assert_eq!(program.stop(), Some(0));
    assert_eq!(nats.count("OTHER") + nats.count("AUDIT"), 0);
}

#[test]
fn a_missing_stream_holds_everything_until_it_is_made() {
    let Some(nats) = Nats::start(&[]) else {
        return;
    };
    let ground = Ground::new();
    ground.configure(&graph(&ground, &nats, "subject = \"pve.audit\""));
    append(&ground.path("in.log"), &lines(0..100));
    let program = ground.start();
    ground.until("it says what is missing", || {
        ground
            .log()
            .contains("no stream listens to \\\"pve.audit\\\"")
    });
    nats.stream("LATE", &["pve.>"]);
    ground.until("all are there", || nats.count("LATE") == 100);
    ground.balances();
    assert_eq!(program.stop(), Some(0), "{}", ground.log());
}

#[test]
fn a_stream_is_made_when_asked_for_and_a_careless_one_is_warned_about() {
    let Some(nats) = Nats::start(&[]) else {
        return;
    };
    let ground = Ground::new();
    let made = r#"subject = "made.{{ host.name }}"
jetstream = { stream = "MADE", create = true }"#;
    ground.configure(&graph(&ground, &nats, made));
    append(&ground.path("in.log"), &lines(0..10));
    let program = ground.start();
    ground.until("all are there", || {
        ground.log().contains("made the stream") && nats.count("MADE") == 10
    });
    assert_eq!(program.stop(), Some(0), "{}", ground.log());
    assert!(!ground.log().contains("duplicates"), "{}", ground.log());

    nats.stream_of(stream::Config {
        name: "LOOSE".to_owned(),
        subjects: vec!["pve.>".to_owned()],
        max_messages: 1000,
        discard: stream::DiscardPolicy::Old,
        ..stream::Config::default()
    });
    let ground = Ground::new();
    ground.configure(&graph(&ground, &nats, "subject = \"pve.audit\""));
    append(&ground.path("in.log"), &lines(0..10));
    let program = ground.start();
    ground.until("both are warned about", || {
        let log = ground.log();
        log.contains("knows duplicates for 120s only") && log.contains("discard = old")
    });
    ground.until("all are there", || nats.count("LOOSE") == 10);
    assert_eq!(program.stop(), Some(0), "{}", ground.log());
}

#[test]
fn core_publishes_what_somebody_hears_and_says_what_it_cannot_promise() {
    let Some(nats) = Nats::start(&[]) else {
        return;
    };
    let client = nats.client();
    let mut heard = nats.wait(async {
        let heard = client.subscribe("pve.core").await.unwrap();
        client.flush().await.unwrap();
        heard
    });
    let ground = Ground::new();
    ground.configure(&graph(
        &ground,
        &nats,
        "subject = \"pve.core\"\njetstream = false",
    ));
    append(&ground.path("in.log"), &lines(0..500));
    let program = ground.start();
    let told: Vec<String> = nats.wait(async {
        let mut told = Vec::new();
        while told.len() < 500 {
            let message = futures::StreamExt::next(&mut heard).await.unwrap();
            let body: serde_json::Value = serde_json::from_slice(&message.payload).unwrap();
            assert!(message.headers.unwrap().get("Nats-Msg-Id").is_some());
            told.push(body["message"].as_str().unwrap().to_owned());
        }
        told
    });
    assert_eq!(told, messages(0..500));
    ground.balances();
    assert_eq!(program.stop(), Some(0), "{}", ground.log());
    assert!(
        ground.log().contains("core NATS keeps nothing"),
        "{}",
        ground.log()
    );
}
