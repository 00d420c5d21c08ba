//! What a real NATS may be set up to do to us: consumers that lose messages, streams that forget, core's queue groups.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

#[allow(dead_code, reason = "each test uses its part")]
mod support;

use async_nats::jetstream::{consumer, stream};
use support::Ground;
use support::nats::{Nats, all_there, audit, bodies, graph, started};
use support::store::Store;

#[test]
fn consumers_that_would_lose_something_are_refused_in_plain_words() {
    let Some(nats) = Nats::start(&[]) else {
        return;
    };
    let context = nats.jetstream();
    nats.stream("AUDIT", &["pve.>"]);
    nats.stream_of(stream::Config {
        name: "QUEUE".to_owned(),
        subjects: vec!["queue.>".to_owned()],
        retention: stream::RetentionPolicy::WorkQueue,
        ..stream::Config::default()
    });
    nats.wait(async {
        let audit = context.get_stream("AUDIT").await.unwrap();
        let none = consumer::pull::Config {
            durable_name: Some("careless".to_owned()),
            ack_policy: consumer::AckPolicy::None,
            ..consumer::pull::Config::default()
        };
        audit.create_consumer(none).await.unwrap();
        let push = consumer::push::Config {
            durable_name: Some("pushing".to_owned()),
            deliver_subject: "deliver.here".to_owned(),
            ..consumer::push::Config::default()
        };
        audit.create_consumer(push).await.unwrap();
        let queue = context.get_stream("QUEUE").await.unwrap();
        let first = consumer::pull::Config {
            durable_name: Some("first".to_owned()),
            ..consumer::pull::Config::default()
        };
        queue.create_consumer(first).await.unwrap();
    });
    let store = Store::start();
    for (stream, consumer, create, why) in [
        (
            "AUDIT",
            "careless",
            false,
            "does not want an explicit acknowledgement",
        ),
        (
            "AUDIT",
            "pushing",
            false,
            "pushes; make one that is pulled from",
        ),
        ("AUDIT", "absent", false, "has no consumer absent"),
        ("NONE", "absent", false, "there is no stream NONE"),
        (
            "QUEUE",
            "second",
            true,
            "is a work queue, where each message goes to one consumer",
        ),
    ] {
        let ground = Ground::new();
        let more = format!(
            "jetstream = {{ stream = \"{stream}\", consumer = \"{consumer}\", create = {create} }}"
        );
        ground.configure(&graph(&nats, &store, &more));
        let program = ground.start();
        ground.until(why, || ground.log().contains(why));
        drop(program);
    }
}

#[test]
fn messages_that_a_stream_threw_away_unread_are_told() {
    let Some(nats) = Nats::start(&[]) else {
        return;
    };
    let (store, ground) = (Store::start(), Ground::new());
    let small = stream::Config {
        name: "AUDIT".to_owned(),
        subjects: vec!["pve.>".to_owned()],
        max_messages: 100,
        ..stream::Config::default()
    };
    nats.stream_of(small);
    let own = "\n[sources.own]\ntype = \"internal\"\n[sinks.told]\ntype = \"file\"\ninputs = [\"own\"]\npath = ";
    let told = ground.path("told.jsonl");
    ground.configure(&graph(
        &nats,
        &store,
        &(audit("") + own + &format!("{told:?}")),
    ));
    nats.publish("pve.x", bodies(0..50));
    let program = started(&ground);
    all_there(&ground, &nats, &store, 50);
    assert_eq!(program.stop(), Some(0), "{}", ground.log());
    nats.publish("pve.x", bodies(50..250));
    let program = started(&ground);
    ground.until("what is left is there", || store.len() == 150);
    ground.until("the gap is told", || {
        std::fs::read_to_string(&told)
            .unwrap_or_default()
            .contains("lost 100 messages (51 to 150)")
    });
    assert_eq!(ground.metric("gap_detected_total", "in"), 1.0);
    assert_eq!(program.stop(), Some(0), "{}", ground.log());
}

#[test]
fn core_shares_its_messages_in_a_queue_group() {
    let Some(nats) = Nats::start(&[]) else {
        return;
    };
    let store = Store::start();
    let grounds = [Ground::new(), Ground::new()];
    let mut programs = Vec::new();
    for ground in &grounds {
        ground.configure(&graph(
            &nats,
            &store,
            "subject = \"pve.*\"\nqueue = \"agg\"",
        ));
        programs.push(started(ground));
    }
    let client = nats.client();
    // Nothing tells when a subscription has reached the server but a message that comes through it.
    let probe = |n: usize| {
        nats.wait(async {
            client
                .publish("pve.probe", format!("{{\"message\":\"probe {n}\"}}").into())
                .await
                .unwrap();
            client.flush().await.unwrap();
        });
    };
    let mut probes = 0;
    grounds[0].until("both listen", || {
        probes += 1;
        probe(probes);
        grounds
            .iter()
            .all(|ground| ground.metric("component_received_events_total", "in") > 0.0)
    });
    nats.wait(async {
        for (_, body) in bodies(0..1000) {
            client.publish("pve.x", body.into()).await.unwrap();
        }
        client.flush().await.unwrap();
    });
    let lines = || {
        store
            .messages()
            .iter()
            .filter(|m| m.starts_with("line"))
            .count()
    };
    grounds[0].until("all are there, each once", || lines() == 1000);
    let sum: f64 = grounds
        .iter()
        .map(|g| g.metric("component_received_events_total", "in"))
        .sum();
    assert_eq!(sum, 1000.0 + probes as f64);
    for (program, ground) in programs.into_iter().zip(&grounds) {
        assert_eq!(program.stop(), Some(0), "{}", ground.log());
        assert!(
            ground.log().contains("core NATS keeps nothing"),
            "{}",
            ground.log()
        );
    }
}
