//! What a real NATS may be set up to do to us: consumers that lose messages, streams that forget, core's queue groups.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

#[allow(dead_code, reason = "each test uses its part")]
mod support;

use std::time::Duration;

use async_nats::client::RequestErrorKind;
use async_nats::jetstream::{consumer, stream};
use support::Ground;
use support::nats::{Nats, Which, all_there, audit, bodies, graph, started};
use support::store::{Store, Trouble};

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

#[test]
fn what_core_throws_away_is_counted_to_the_last_one() {
    let Some(nats) = Nats::start(&[]) else {
        return;
    };
    let (store, ground) = (Store::start(), Ground::new());
    let mut graph = graph(&nats, &store, "subject = \"pve.*\"");
    // Little room, so that it is full soon.
    graph = graph.replace(
        "batch = { timeout",
        "buffer = { max_size = \"1MiB\" }\nbatch = { timeout",
    );
    ground.configure(&graph);
    store.on_request(|_| Some(Trouble::Status(503, "{}".to_owned())));
    let program = started(&ground);
    let client = nats.client();
    let publish = |range: std::ops::Range<usize>| {
        nats.wait(async {
            for (_, body) in bodies(range) {
                client.publish("pve.x", body.into()).await.unwrap();
            }
            client.flush().await.unwrap();
        });
    };
    // As long as nobody listens the server says so; the first that is heard is an event like the others.
    ground.until("it listens", || {
        let asked = nats.wait(async {
            let asked = client.request("pve.first", "{\"message\":\"first\"}".into());
            tokio::time::timeout(Duration::from_millis(200), asked).await
        });
        !matches!(asked, Ok(Err(why)) if why.kind() == RequestErrorKind::NoResponders)
    });
    let mut sent = 1;
    ground.until("some come faster than they are taken", || {
        publish(sent..sent + 10_000);
        sent += 10_000;
        ground.log().contains("came faster than they were taken")
    });
    store.heal();
    let lost = || ground.metric("component_discarded_events_total", "in");
    ground.until("each is there, or counted as lost", || {
        lost() > 0.0 && store.len() as f64 + lost() == sent as f64
    });
    assert_eq!(program.stop(), Some(0), "{}", ground.log());
}

#[test]
fn what_an_older_server_would_ignore_is_refused() {
    let several = r#"subject = ["pve.x", "pve.y"]
jetstream = { stream = "AUDIT", consumer = "agg", create = true }"#;
    for (which, why) in [
        (
            Which::Floor,
            "a consumer with several subjects needs nats-server 2.10 or newer, and this one is 2.9.10",
        ),
        (Which::Newest, "made the consumer"),
    ] {
        let Some(nats) = Nats::start_as(which, &[], |_| Vec::new()) else {
            return;
        };
        let (store, ground) = (Store::start(), Ground::new());
        nats.stream("AUDIT", &["pve.>"]);
        ground.configure(&graph(&nats, &store, several));
        let program = ground.start();
        ground.until(why, || ground.log().contains(why));
        nats.publish("pve.x", bodies(0..10));
        nats.publish("pve.z", bodies(10..20));
        if which == Which::Newest {
            all_there(&ground, &nats, &store, 10);
        }
        drop(program);
    }
}

#[test]
fn validate_warns_of_what_works_but_not_well() {
    let ground = Ground::new();
    let graph = |source: &str| {
        format!(
            r#"
[sources.in]
type = "nats"
url = "nats://127.0.0.1:4222"
{source}

[transforms.once]
type = "dedupe"
inputs = ["in"]

[sinks.out]
type = "blackhole"
inputs = ["once"]
"#
        )
    };
    for (source, code, word) in [
        (
            r#"jetstream = { stream = "A", consumer = "c" }"#,
            0,
            "set it to 50000",
        ),
        (r#"subject = "pve.>""#, 0, "core NATS keeps nothing"),
        (r#"subject = "pve..x""#, 78, "nothing between two dots"),
        (
            r#"subject = "x"
jetstream = { stream = "A", consumer = "c" }"#,
            78,
            "has no effect on a consumer",
        ),
        (
            r#"jetstream = { stream = "A.B", consumer = "c", batch_config = { batch = 20000 } }"#,
            78,
            "is at most 10000",
        ),
        ("", 78, "neither `subject` nor `jetstream`"),
    ] {
        ground.configure(&graph(source));
        let (exit, said) = ground.pvetrail(&["validate", "graph.toml"]);
        assert!(said.contains(word), "{word}: {said}");
        assert_eq!(exit, Some(code), "{said}");
    }
    ground.configure(&graph(
        r#"jetstream = { stream = "A", consumer = "c", max_ack_pending = 50000 }"#,
    ));
    let (exit, said) = ground.pvetrail(&["validate", "graph.toml"]);
    assert!(
        exit == Some(0) && !said.contains("max_ack_pending"),
        "{said}"
    );
}
