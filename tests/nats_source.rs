//! From a real NATS into a store: every message once, answered for when it is there, whoever dies on the way.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

#[allow(dead_code, reason = "each test uses its part")]
mod support;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use support::nats::{Nats, Which, all_there, audit, bodies, graph, started};
use support::store::{Store, Trouble};
use support::{Ground, Program, long};

fn delivers(which: Which, more: &str) {
    let Some(nats) = Nats::start_as(which, &[], |_| Vec::new()) else {
        return;
    };
    let (store, ground) = (Store::start(), Ground::new());
    ground.configure(&graph(&nats, &store, &audit(more)));
    let program = started(&ground);
    ground.until("the stream is made", || {
        ground.log().contains("made the consumer")
    });
    nats.publish("pve.x", bodies(0..3000));
    nats.publish(
        "pve.y",
        [
            (None, "plain text".to_owned()),
            (Some("order-7".to_owned()), "{}".to_owned()),
        ],
    );
    ground.until("all are there", || store.len() == 3002);
    ground.until("every message is answered for", || {
        nats.owed("AUDIT", "agg") == (0, 0)
    });
    ground.balances();
    assert_eq!(program.stop(), Some(0), "{}", ground.log());
    let documents = store.documents();
    for (id, document) in &documents[..3000.min(documents.len())] {
        if document["event"]["code"] == "PVE-2002" {
            assert!(id.starts_with("00000000000000000000"), "{id}");
            assert_eq!(document["@timestamp"], "2026-02-03T04:05:06.000Z");
            assert_eq!(document["nats"]["delivered"], serde_json::Value::Null);
        }
    }
    assert!(
        documents
            .iter()
            .any(|(_, document)| document["message"] == "plain text")
    );
    assert!(!ground.log().contains("\"ERROR\""), "{}", ground.log());
}

#[test]
fn every_message_becomes_an_event_and_is_answered_for() {
    delivers(Which::Newest, "");
}

#[test]
fn the_oldest_server_that_is_promised_does_the_same() {
    delivers(Which::Floor, "");
}

#[test]
fn an_answer_can_be_confirmed() {
    delivers(Which::Newest, ", double_ack = true");
}

#[test]
fn a_program_that_is_killed_at_work_loses_nothing() {
    let Some(nats) = Nats::start(&[]) else {
        return;
    };
    let (store, ground) = (Store::start(), Ground::new());
    nats.stream("AUDIT", &["pve.>"]);
    ground.configure(&graph(&nats, &store, &audit(", ack_wait = \"1s\"")));
    let (kills, each) = if long() { (30, 5000) } else { (5, 1000) };
    let mut random = fastrand::Rng::with_seed(11);
    for n in 0..kills {
        nats.publish("pve.x", bodies(n * each..(n + 1) * each));
        let program = ground.start();
        std::thread::sleep(Duration::from_millis(random.u64(30..700)));
        program.kill();
    }
    let program = started(&ground);
    all_there(&ground, &nats, &store, kills * each);
    assert_eq!(program.stop(), Some(0), "{}", ground.log());
}

#[test]
fn a_server_that_is_killed_at_work_loses_nothing() {
    let Some(mut nats) = Nats::start(&[]) else {
        return;
    };
    let (store, ground) = (Store::start(), Ground::new());
    nats.stream("AUDIT", &["pve.>"]);
    ground.configure(&graph(&nats, &store, &audit(", ack_wait = \"1s\"")));
    let program = started(&ground);
    let (kills, each) = if long() { (20, 5000) } else { (4, 2000) };
    let mut random = fastrand::Rng::with_seed(13);
    for n in 0..kills {
        nats.publish("pve.x", bodies(n * each..(n + 1) * each));
        std::thread::sleep(Duration::from_millis(random.u64(0..100)));
        nats.kill();
        nats.again();
    }
    all_there(&ground, &nats, &store, kills * each);
    ground.balances();
    assert_eq!(program.stop(), Some(0), "{}", ground.log());
}

#[test]
fn what_can_go_nowhere_is_a_dead_letter_before_the_server_may_forget_it() {
    let Some(nats) = Nats::start(&[]) else {
        return;
    };
    let (store, ground) = (Store::start(), Ground::new());
    nats.stream("AUDIT", &["pve.>"]);
    let strict = audit(", ack_wait = \"1s\"") + "\ndecoding = { codec = \"json\" }";
    ground.configure(&graph(&nats, &store, &strict));
    nats.publish("pve.x", bodies(0..10));
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
    let poison = ["no JSON at all", "[1]", "{\"cut\":", &deep];
    nats.publish("pve.x", poison.map(|body| (None, body.to_owned())));
    nats.publish("pve.x", bodies(10..20));
    // The store refuses one: the engine makes a dead letter of it, and that is an end too.
    store.on_item(|message| {
        (message == "line 0000015 of the log").then_some((400, "mapper_parsing_exception", "no"))
    });
    let program = started(&ground);
    ground.until("the good ones are there", || store.len() == 19);
    ground.until("the poison is dead", || {
        ground.metric("events_dead_lettered_total", "in") == 4.0
            && ground.metric("events_dead_lettered_total", "es") == 1.0
    });
    ground.until("every message is answered for", || {
        nats.owed("AUDIT", "agg") == (0, 0)
    });
    let (_, dead) = ground.pvetrail(&["dlq", "show", "graph.toml"]);
    for word in [
        "no JSON at all",
        "but no object",
        "recursion limit",
        "mapping",
    ] {
        assert!(dead.contains(word), "{word}: {dead}");
    }
    ground.balances();
    assert_eq!(program.stop(), Some(0), "{}", ground.log());
}

#[test]
fn a_message_that_never_reaches_an_end_becomes_a_dead_letter() {
    let Some(nats) = Nats::start(&[]) else {
        return;
    };
    let (store, ground) = (Store::start(), Ground::new());
    nats.stream("AUDIT", &["pve.>"]);
    ground.configure(&graph(
        &nats,
        &store,
        &audit(", ack_wait = \"1s\", max_deliveries = 2"),
    ));
    nats.publish("pve.x", bodies(0..1));
    // Nothing gets through, and the program dies over it again and again.
    store.on_request(|_| Some(Trouble::Status(503, "{}".to_owned())));
    let redelivered = || {
        let context = nats.jetstream();
        nats.wait(async {
            let stream = context.get_stream("AUDIT").await.unwrap();
            let info = stream.consumer_info("agg").await;
            info.map_or(0, |info| info.delivered.consumer_sequence)
        })
    };
    for times in 1..=2 {
        let program = ground.start();
        ground.until("it was delivered", || redelivered() >= times);
        program.kill();
    }
    let program = started(&ground);
    ground.until("it is dead", || {
        ground.metric("events_dead_lettered_total", "in") == 1.0
    });
    ground.until("it is answered for", || nats.owed("AUDIT", "agg") == (0, 0));
    let (_, dead) = ground.pvetrail(&["dlq", "show", "graph.toml"]);
    assert!(
        dead.contains("delivered 3 times, and never reached an end"),
        "{dead}"
    );
    assert_eq!(program.stop(), Some(0), "{}", ground.log());
    assert_eq!(store.len(), 0);
}

#[test]
fn a_delivery_that_takes_longer_than_the_servers_patience_is_not_repeated() {
    let Some(nats) = Nats::start(&[]) else {
        return;
    };
    let (store, ground) = (Store::start(), Ground::new());
    nats.stream("AUDIT", &["pve.>"]);
    ground.configure(&graph(&nats, &store, &audit(", ack_wait = \"1s\"")));
    nats.publish("pve.x", bodies(0..2000));
    store.on_request(|_| Some(Trouble::Status(503, "{}".to_owned())));
    let program = started(&ground);
    ground.until("many are under way", || nats.owed("AUDIT", "agg").0 >= 500);
    let away = Instant::now();
    ground.until("the store is away for four times the patience", || {
        away.elapsed() > Duration::from_secs(4)
    });
    store.heal();
    all_there(&ground, &nats, &store, 2000);
    for (_, document) in store.documents() {
        assert!(
            document.get("nats").is_none(),
            "delivered again: {document}"
        );
    }
    assert_eq!(ground.metric("events_duplicate_total", "es"), 0.0);
    assert_eq!(program.stop(), Some(0), "{}", ground.log());
}

#[test]
fn three_share_a_consumer_and_one_dies_every_few_seconds() {
    let Some(nats) = Nats::start(&[]) else {
        return;
    };
    let store = Store::start();
    nats.stream("AUDIT", &["pve.>"]);
    let grounds = [Ground::new(), Ground::new(), Ground::new()];
    for ground in &grounds {
        ground.configure(&graph(&nats, &store, &audit(", ack_wait = \"2s\"")));
    }
    let mut programs: Vec<Program> = grounds.iter().map(started).collect();
    let (rounds, pause) = if long() { (15, 4000) } else { (5, 1000) };
    let mut random = fastrand::Rng::with_seed(17);
    let mut sent = 0;
    for round in 0..rounds {
        let until = Instant::now() + Duration::from_millis(pause);
        while Instant::now() < until {
            nats.publish("pve.x", bodies(sent..sent + 200));
            sent += 200;
            std::thread::sleep(Duration::from_millis(random.u64(0..50)));
        }
        let victim = round % 3;
        programs.remove(victim).kill();
        programs.insert(victim, grounds[victim].start());
    }
    all_there(&grounds[0], &nats, &store, sent);
    for (program, ground) in programs.into_iter().zip(&grounds) {
        ground.until("it runs", || ground.log().lines().last().is_some());
        drop(program);
    }
    let ids: BTreeSet<String> = store.documents().into_iter().map(|(id, _)| id).collect();
    assert_eq!(ids.len(), sent);
}

#[test]
fn an_end_in_good_order_answers_for_everything_under_way() {
    let Some(nats) = Nats::start(&[]) else {
        return;
    };
    let (store, ground) = (Store::start(), Ground::new());
    nats.stream("AUDIT", &["pve.>"]);
    ground.configure(&graph(&nats, &store, &audit("")));
    nats.publish("pve.x", bodies(0..5000));
    let program = started(&ground);
    ground.until("some are there", || store.len() > 500);
    assert_eq!(program.stop(), Some(0), "{}", ground.log());
    let there = store.len();
    // What was delivered to us and not taken any more comes again; what is in the store does not. The server takes the
    // answers out of a queue of its own, so it may need a moment to have counted them.
    ground.until("the server has counted every answer", || {
        let (under_way, waiting) = nats.owed("AUDIT", "agg");
        there + under_way + waiting as usize == 5000
    });
}
