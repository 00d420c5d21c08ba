//! The sink against a server that says what it is told to.

use pipeline::net::receiver::{Answer, Builder, Received, Receiver, receiver};
use pipeline::{Event, Kind};
use serde_json::{Value, json};

use super::*;

mod answers;

const CLEAN: &str = r#"{"took":1,"errors":false,"items":[]}"#;

fn build(options: Value) -> Result<Box<dyn Sink>, BuildErrors> {
    let config: Config = serde_json::from_value(options).unwrap();
    config.build(&Context::for_tests(Kind::Sink, "elasticsearch"))
}

fn sink(server: &Receiver, more: Value) -> Box<dyn Sink> {
    let mut options = json!({ "endpoints": [server.uri()] });
    options
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    build(options).unwrap()
}

fn event(n: u64, more: Value) -> Event {
    let mut json = json!({ "@timestamp": "2026-03-14T22:58:03.412Z", "event": { "id": format!("{n:032x}") }, "message": format!("line {n}") });
    for (key, value) in more.as_object().unwrap() {
        match (
            json.get_mut(key).and_then(Value::as_object_mut),
            value.as_object(),
        ) {
            (Some(old), Some(new)) => old.extend(new.clone()),
            _ => json[key] = value.clone(),
        }
    }
    Event::from_json(json).unwrap()
}

fn events(n: u64) -> Events {
    Events::of((0..n).map(|n| event(n, json!({}))).collect())
}

/// A server that tells who it is and answers bulks as told.
fn server() -> Builder {
    receiver()
        .answers(|r| (r.path == "/").then(|| Answer::json(r#"{"version":{"number":"8.19.4"}}"#)))
}

fn bulks(server: &Receiver) -> Vec<Received> {
    server
        .requests()
        .into_iter()
        .filter(|r| r.method == "POST")
        .collect()
}

/// As the real servers write items: for each document of the body what `status` says.
fn judged(request: &Received, status: impl Fn(usize, &Value) -> (u16, &'static str)) -> Answer {
    let text = request.text();
    let lines: Vec<&str> = text.lines().collect();
    let mut errors = false;
    let items: Vec<Value> = lines
        .chunks(2)
        .enumerate()
        .map(|(n, pair)| {
            let action: Value = serde_json::from_str(pair[0]).unwrap();
            let (verb, target) = action.as_object().unwrap().iter().next().unwrap();
            let (status, kind) = status(n, &serde_json::from_str(pair[1]).unwrap());
            let mut item = json!({ "_id": target["_id"], "status": status });
            if status >= 300 {
                errors = true;
                item["error"] = json!({ "type": kind, "reason": "because" });
            }
            json!({ verb: item })
        })
        .collect();
    Answer::json(json!({ "took": 1, "errors": errors, "items": items }).to_string())
}

async fn written_after(answer: Answer) -> Result<Written, WriteError> {
    let server = server()
        .answers(move |_| Some(answer.clone()))
        .start()
        .await;
    sink(&server, json!({})).write(events(2)).await
}

fn retry(result: Result<Written, WriteError>) -> (ReasonKind, String, Option<Duration>) {
    match result {
        Err(WriteError::Retry { reason, after }) => (reason.kind, reason.text, after),
        other => panic!("{other:?} is no retry of all"),
    }
}

#[tokio::test]
async fn each_event_goes_under_its_id_into_the_index_of_its_month() {
    let server = server()
        .answers(|_| Some(Answer::json(CLEAN)))
        .start()
        .await;
    let mut sink = sink(
        &server,
        json!({ "pipeline": "p", "query": { "routing": "r" } }),
    );
    let batch = Events::of(vec![
        event(1, json!({ "user": { "name": "a\"b" } })),
        event(2, json!({ "@timestamp": "2026-04-01T00:00:00Z" })),
        event(3, json!({ "event": { "kind": "alert" } })),
    ]);
    let written = sink.write(batch).await.unwrap();
    let seen = &bulks(&server)[0];
    assert_eq!(
        written,
        Written {
            bytes: seen.body.len() as u64,
            ..Written::default()
        }
    );
    assert!(
        seen.path.starts_with("/_bulk?filter_path=errors"),
        "{}",
        seen.path
    );
    assert!(
        seen.path.ends_with("&pipeline=p&routing=r"),
        "{}",
        seen.path
    );
    assert_eq!(seen.header("content-type"), Some("application/x-ndjson"));
    let text = seen.text();
    let lines: Vec<Value> = text
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    assert!(
        text.ends_with('\n'),
        "a bulk without its last line end is refused"
    );
    let target = |n: usize| {
        (
            lines[n]["create"]["_index"].as_str().unwrap(),
            lines[n]["create"]["_id"].as_str().unwrap(),
        )
    };
    assert_eq!(
        target(0),
        ("pve-audit-2026.03", "00000000000000000000000000000001")
    );
    assert_eq!(target(2).0, "pve-audit-2026.04");
    assert_eq!(target(4).0, "pve-alert-2026.03");
    assert_eq!(lines[1]["user"]["name"], "a\"b");
    assert_eq!(lines[1]["@timestamp"], "2026-03-14T22:58:03.412Z");
}

#[tokio::test]
async fn a_data_stream_is_created_into_by_name() {
    let server = server()
        .answers(|_| Some(Answer::json(CLEAN)))
        .start()
        .await;
    let mut sink = sink(
        &server,
        json!({ "mode": "data_stream", "data_stream": { "namespace": "prod" }, "bulk": { "action": "index" } }),
    );
    sink.write(Events::of(vec![
        event(1, json!({})),
        event(2, json!({ "event": { "kind": "alert" } })),
    ]))
    .await
    .unwrap();
    let text = bulks(&server)[0].text().into_owned();
    assert!(
        text.starts_with(r#"{"create":{"_index":"logs-pve.audit-prod","_id":"#),
        "{text}"
    );
    assert!(
        text.contains(r#"{"create":{"_index":"logs-pve.alert-prod","_id":"#),
        "{text}"
    );
}

#[tokio::test]
async fn chosen_fields_are_written_and_the_time_always_is() {
    let server = server()
        .answers(|_| Some(Answer::json(CLEAN)))
        .start()
        .await;
    let encoding = json!({ "encoding": { "only_fields": ["user"] }, "bulk": { "index": "fixed", "action": "index" } });
    sink(&server, encoding)
        .write(Events::of(vec![event(1, json!({ "user": { "id": "a" } }))]))
        .await
        .unwrap();
    let text = bulks(&server)[0].text().into_owned();
    assert!(
        text.starts_with(r#"{"index":{"_index":"fixed","_id":"#),
        "{text}"
    );
    let document: Value = serde_json::from_str(text.lines().nth(1).unwrap()).unwrap();
    assert_eq!(
        document,
        json!({ "@timestamp": "2026-03-14T22:58:03.412Z", "user": { "id": "a" } })
    );
}

#[tokio::test]
async fn bodies_are_compressed_by_choice() {
    for (name, level) in [("gzip", 6), ("zstd", 3)] {
        let server = server()
            .answers(|_| Some(Answer::json(CLEAN)))
            .start()
            .await;
        let mut sink = sink(
            &server,
            json!({ "compression": name, "compression_level": level }),
        );
        sink.write(events(100)).await.unwrap();
        let written = sink.write(events(100)).await.unwrap();
        let seen = &bulks(&server)[1];
        assert_eq!(seen.header("content-encoding"), Some(name));
        assert_eq!(written.bytes, seen.body.len() as u64);
        let mut plain = Vec::new();
        match name {
            "gzip" => std::io::copy(
                &mut flate2::read::GzDecoder::new(&seen.body[..]),
                &mut plain,
            )
            .unwrap(),
            _ => std::io::copy(
                &mut zstd::stream::read::Decoder::new(&seen.body[..]).unwrap(),
                &mut plain,
            )
            .unwrap(),
        };
        assert_eq!(plain.iter().filter(|b| **b == b'\n').count(), 200);
        assert!(seen.body.len() < plain.len() / 4);
    }
}

#[tokio::test]
async fn one_dead_address_of_two_costs_nothing() {
    let alive = server()
        .answers(|_| Some(Answer::json(CLEAN)))
        .start()
        .await;
    let gone = server().start().await;
    let mut sink = build(json!({ "endpoints": [gone.uri(), alive.uri()] })).unwrap();
    drop(gone);
    for _ in 0..5 {
        sink.write(events(1)).await.unwrap();
    }
    assert_eq!(bulks(&alive).len(), 5);
}

#[tokio::test]
async fn a_health_check_says_what_is_wrong() {
    let server = receiver()
        .then(Answer::json(r#"{"version":{"number":"8.19.4"}}"#))
        .then(Answer::new(401, "Unauthorized"))
        .then(Answer::new(403, ""))
        .then(Answer::new(500, ""))
        .start()
        .await;
    let config: Config = serde_json::from_value(json!({ "endpoints": [server.uri()] })).unwrap();
    let mut sink = config
        .make(&Context::for_tests(Kind::Sink, "elasticsearch"))
        .unwrap();
    sink.pool.introduced();
    assert_eq!(sink.healthcheck().await, Ok(()));
    assert_eq!(
        sink.healthcheck().await.unwrap_err().kind,
        ReasonKind::Forbidden
    );
    assert_eq!(sink.healthcheck().await, Ok(()));
    assert_eq!(
        sink.healthcheck().await.unwrap_err().kind,
        ReasonKind::Server
    );
}

#[test]
fn every_mistake_of_a_configuration_is_told_at_once() {
    let errors = build(json!({
        "endpoints": [],
        "bulk": { "index": "Pve-%Q" },
        "tls": { "fingerprint": ["7D"], "ca_file": "/nowhere/ca.pem", "crt_file": "/nowhere/crt.pem" },
        "auth": { "strategy": "basic", "user": "a:b", "password": "hunter2" },
        "compression": "gzip",
        "compression_level": 12,
        "encoding": { "codec": "text" },
    }))
    .err()
    .unwrap()
    .to_string();
    for key in [
        "endpoints",
        "bulk.index",
        "tls.fingerprint",
        "tls.ca_file",
        "tls.key_file",
        "auth.user",
        "compression_level",
        "encoding.codec",
    ] {
        assert!(errors.contains(key), "{key} in:\n{errors}");
    }
    let stream = build(
        json!({ "endpoints": ["http://x"], "mode": "data_stream", "data_stream": { "dataset": "a-b" } }),
    );
    assert!(
        stream
            .err()
            .unwrap()
            .to_string()
            .contains("data_stream.dataset")
    );
}
