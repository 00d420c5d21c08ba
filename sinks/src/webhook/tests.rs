//! The sink against a receiver that answers what it is told to.

use pipeline::net::receiver::{Answer, Received, Receiver, receiver};
use pipeline::{Event, Kind, Reason, ReasonKind, events, testing};
use serde_json::{Value, json};

use super::*;

mod forms;
mod slack_rules;

fn build(options: Value) -> Result<Box<dyn Sink>, BuildErrors> {
    let config: Config = serde_json::from_value(options).unwrap();
    config.build(&Context::for_tests(Kind::Sink, "webhook"))
}

fn sink(server: &Receiver, more: Value) -> Box<dyn Sink> {
    let mut options = json!({ "uri": server.url("hook").to_string() });
    options
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    build(options).unwrap_or_else(|why| panic!("{why}"))
}

fn event(n: u64, more: Value) -> Event {
    let mut json = json!({ "@timestamp": "2026-03-14T22:58:03.412Z", "event.id": format!("{n:032x}"), "message": format!("line {n}") });
    let members = json.as_object_mut().unwrap();
    members.extend(more.as_object().unwrap().clone());
    Event::from_json(json).unwrap()
}

fn some(n: u64) -> Events {
    Events::of((0..n).map(|n| event(n, json!({}))).collect())
}

fn body(request: &Received) -> Value {
    serde_json::from_slice(&request.body).unwrap()
}

async fn answer(status: Answer) -> WriteError {
    let server = receiver().then(status).start().await;
    sink(&server, json!({})).write(some(3)).await.unwrap_err()
}

fn retry(error: WriteError) -> (Reason, Option<Duration>) {
    match error {
        WriteError::Retry { reason, after } => (reason, after),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_array_of_all_events_is_posted_with_a_key_that_stays_the_same() {
    let server = receiver().then(Answer::new(503, "")).start().await;
    let mut sink = sink(&server, json!({}));
    let (reason, _) = retry(sink.write(some(3)).await.unwrap_err());
    assert_eq!(reason.kind, ReasonKind::Server);
    let written = sink.write(some(3)).await.unwrap();
    sink.write(some(1)).await.unwrap();
    let requests = server.requests();
    assert_eq!(written.bytes, requests[1].body.len() as u64);
    assert_eq!(
        (requests[0].method.as_str(), requests[0].path.as_str()),
        ("POST", "/hook")
    );
    assert_eq!(body(&requests[1]).as_array().unwrap().len(), 3);
    assert_eq!(body(&requests[1])[2]["message"], "line 2");
    let key = |n: usize| requests[n].header("idempotency-key").unwrap();
    assert_eq!((key(0), key(0).len()), (key(1), 32));
    // One event alone is known by its own id.
    assert_eq!(key(2), format!("{:032x}", 0));
    assert_eq!(requests[1].header("content-type"), Some("application/json"));
}

#[tokio::test]
async fn what_the_answers_mean() {
    let busy = Answer::new(429, "slow down").header("Retry-After", "7");
    let (reason, after) = retry(answer(busy).await);
    assert_eq!(
        (reason.kind, after),
        (ReasonKind::Busy, Some(Duration::from_secs(7)))
    );
    for (status, kind) in [
        (408, ReasonKind::Timeout),
        (425, ReasonKind::Busy),
        (500, ReasonKind::Server),
        (503, ReasonKind::Server),
    ] {
        assert_eq!(
            retry(answer(Answer::new(status, "")).await).0.kind,
            kind,
            "{status}"
        );
    }
    for status in [401, 403] {
        let (reason, after) = retry(answer(Answer::new(status, "who?")).await);
        assert_eq!(
            (reason.kind, after),
            (ReasonKind::Forbidden, Some(crate::SLOW)),
            "{status}"
        );
        assert!(reason.text.contains("who?"), "{reason}");
    }
    assert_eq!(
        retry(answer(Answer::silent()).await).0.kind,
        ReasonKind::Connection
    );
    for status in [400, 402, 409, 422] {
        let WriteError::Refused { reason } = answer(Answer::new(status, "no\u{1b}[2J")).await
        else {
            panic!("{status} is taken");
        };
        assert!(!reason.text.contains('\u{1b}'), "{reason}");
    }
    for status in [404, 405, 410] {
        let WriteError::Partly(fates, _) = answer(Answer::new(status, "")).await else {
            panic!("{status} is taken");
        };
        assert_eq!(fates.len(), 3);
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_where_it_leads_is_told() {
    let other = receiver().start().await;
    let to = other.url("hook").to_string();
    let error = answer(Answer::new(307, "").header("Location", &to)).await;
    let WriteError::Partly(fates, _) = error else {
        panic!("{error:?}");
    };
    let Fate::Refused(reason) = &fates[2].1 else {
        panic!("{fates:?}");
    };
    assert!(
        reason
            .text
            .contains(&format!("to the same path at {}", other.uri())),
        "{reason}"
    );
    assert_eq!(other.requests().len(), 0);
}

#[tokio::test]
async fn a_body_that_is_too_large_is_sent_in_smaller_ones() {
    let server = receiver()
        .answers(|request| (request.body.len() > 300).then(|| Answer::new(413, "")))
        .start()
        .await;
    let mut sink = sink(&server, json!({}));
    sink.write(some(10)).await.unwrap();
    let taken: usize = server
        .requests()
        .iter()
        .filter(|request| request.body.len() <= 300)
        .map(|request| body(request).as_array().unwrap().len())
        .sum();
    assert_eq!(taken, 10);
    // What was learnt is remembered.
    let before = server.requests().len();
    sink.write(some(2)).await.unwrap();
    assert!(
        server.requests()[before..]
            .iter()
            .all(|request| request.body.len() <= 300)
    );
    // One event that is too large alone is refused.
    let large = Events::of(vec![event(1, json!({ "message": "x".repeat(400) }))]);
    let WriteError::Partly(fates, _) = sink.write(large).await.unwrap_err() else {
        panic!("taken");
    };
    assert!(
        matches!(&fates[..], [(0, Fate::Refused(reason))] if reason.kind == ReasonKind::TooLarge)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_receiver_is_tried_again_and_only_the_poison_is_refused() {
    let receiver = testing::receiver()
        .refuses(|body| body.contains("poison"))
        .busy_first(1)
        .start()
        .await;
    let toml = format!(
        "uri = '{}'\nrequest = {{ retry_initial_backoff = '1ms' }}",
        receiver.uri()
    );
    let outcome = testing::sink::<Config>(&toml)
        .deliver(events![{"n": 1}, {"n": 2, "text": "poison"}, {"n": 3}])
        .await;
    assert_eq!(outcome.delivered(), [1, 3]);
    assert_eq!(outcome.dead_letters(), [2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn among_several_requests_of_a_batch_the_poison_is_found_too() {
    // Bodies of a few events each, because the receiver takes no large ones.
    let receiver = testing::receiver()
        .answers(|request| (request.body.len() > 700).then(|| Answer::new(413, "")))
        .refuses(|body| body.contains("poison"))
        .start()
        .await;
    let list = (0..40).map(|n| match n {
        3 | 4 | 21 | 39 => json!({"n": n, "text": "poison"}),
        _ => json!({"n": n}),
    });
    let toml = format!(
        "uri = '{}'\nrequest = {{ retry_initial_backoff = '1ms' }}",
        receiver.uri()
    );
    let outcome = testing::sink::<Config>(&toml)
        .deliver(testing::events(list))
        .await;
    let mut dead = outcome.dead_letters();
    dead.sort_unstable();
    assert_eq!(dead, [3, 4, 21, 39]);
    assert_eq!(outcome.delivered().len(), 36);
}

#[tokio::test]
async fn what_is_signed_is_what_was_sent_and_when() {
    let server = receiver().start().await;
    let secret = "a secret of some length";
    let sign = json!({ "header": "X-Sign", "hmac_sha256": secret });
    let mut sink = sink(&server, json!({ "sign": sign, "compression": "gzip" }));
    sink.write(some(2)).await.unwrap();
    let request = &server.requests()[0];
    assert_eq!(request.header("content-encoding"), Some("gzip"));
    let header = request.header("x-sign").unwrap();
    let (time, tag) = header
        .strip_prefix("t=")
        .unwrap()
        .split_once(",v1=")
        .unwrap();
    let now = pipeline::Clock::system().now().0 / pipeline::clock::SECOND;
    assert!((now - time.parse::<i64>().unwrap()).abs() < 60, "{header}");
    let tag: Vec<u8> = (0..tag.len())
        .step_by(2)
        .map(|n| u8::from_str_radix(&tag[n..n + 2], 16).unwrap())
        .collect();
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret.as_bytes());
    let signed = [time.as_bytes(), b".", &request.body].concat();
    aws_lc_rs::hmac::verify(&key, &signed, &tag).unwrap();
    let mut plain = Vec::new();
    std::io::Read::read_to_end(
        &mut flate2::read::GzDecoder::new(&request.body[..]),
        &mut plain,
    )
    .unwrap();
    assert_eq!(
        serde_json::from_slice::<Value>(&plain)
            .unwrap()
            .as_array()
            .unwrap()
            .len(),
        2
    );
}

#[test]
fn every_mistake_is_told_in_one_go() {
    let options = json!({
        "uri": "http://127.0.0.1:1/",
        "encoding": { "codec": "slack", "template": "x", "labels": {}, "only_fields": ["message"] },
        "sign": { "hmac_sha256": "short" },
        "compression_level": 3,
    });
    let Err(errors) = build(options) else {
        panic!("it was built");
    };
    assert_eq!(errors.iter().count(), 5, "{errors}");
}

#[test]
fn where_order_counts_one_request_is_under_way_unless_more_are_asked_for() {
    let kind = |more: &str| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("graph.toml");
        let graph = format!(
            "[sources.given]\ntype = 'demo'\n[sinks.hook]\ntype = 'webhook'\ninputs = ['given']\nuri = 'http://127.0.0.1:1/'\n{more}"
        );
        std::fs::write(&path, graph).unwrap();
        let mut registry = pipeline::Registry::new();
        registry.sink::<Config>();
        registry.source::<Demo>();
        let (graph, _) = pipeline::load(&[path], &registry, &pipeline::SystemEnv).unwrap();
        let hook = &graph.sinks[0].engine;
        (hook.kind, hook.workers.map(usize::from))
    };
    let slack = "encoding = { codec = 'slack' }";
    assert_eq!(kind(""), (Workers::Any, None));
    assert_eq!(kind(slack), (Workers::One, None));
    assert_eq!(
        kind(&format!("{slack}\nworkers = 3")),
        (Workers::Any, Some(3))
    );
}

#[derive(Deserialize, JsonSchema)]
struct Demo {}

impl pipeline::SourceConfig for Demo {
    const TYPE: &'static str = "demo";
    const EXAMPLE: &'static str = "";

    fn build(&self, _: &Context) -> Result<Box<dyn pipeline::Source>, BuildErrors> {
        Ok(Box::new(Demo {}))
    }
}

#[async_trait]
impl pipeline::Source for Demo {
    async fn run(&mut self, _: pipeline::SourceOut) -> Result<(), pipeline::SourceError> {
        Ok(())
    }
}

#[tokio::test]
async fn messages_of_notify_have_requests_of_their_own_under_their_own_keys() {
    let server = receiver().start().await;
    let message = |n: u64, key: &str, message: &str| {
        event(
            n,
            json!({ "pve": { "notify": { "key": key, "message": message } } }),
        )
    };
    let events = vec![
        message(1, "a-opened", "one"),
        message(2, "b-opened", "one"),
        message(3, "c-opened", "two"),
        message(4, "bad\r\nkey", "three"),
    ];
    let mut sink = sink(&server, json!({}));
    sink.write(Events::of(events)).await.unwrap();
    let requests = server.requests();
    let keys: Vec<&str> = requests
        .iter()
        .map(|request| request.header("idempotency-key").unwrap())
        .collect();
    assert_eq!(keys.len(), 3, "{keys:?}");
    assert_eq!(keys[1], "c-opened");
    assert!(keys[2].len() == 32 && keys[0].len() == 32 && keys[0] != keys[2]);
}
