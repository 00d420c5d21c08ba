//! The sink against a server that says what it is told to, and that reads protobuf by itself.

use pipeline::net::receiver::{Answer, Received, Receiver, receiver};
use pipeline::{Event, Kind, testing};
use prost::Message;
use serde_json::{Value, json};

use super::*;

mod answers;
mod build;
mod spread;

#[derive(Clone, PartialEq, Message)]
struct PushRequest {
    #[prost(message, repeated, tag = "1")]
    streams: Vec<Pushed>,
}

#[derive(Clone, PartialEq, Message)]
struct Pushed {
    #[prost(string, tag = "1")]
    labels: String,
    #[prost(message, repeated, tag = "2")]
    entries: Vec<Line>,
}

#[derive(Clone, PartialEq, Message)]
struct Line {
    #[prost(message, optional, tag = "1")]
    time: Option<Stamp>,
    #[prost(string, tag = "2")]
    text: String,
    #[prost(message, repeated, tag = "3")]
    metadata: Vec<Pair>,
}

#[derive(Clone, PartialEq, Message)]
struct Stamp {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

#[derive(Clone, PartialEq, Message)]
struct Pair {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

impl Line {
    fn nanos(&self) -> i64 {
        let time = self.time.as_ref().unwrap();
        time.seconds * 1_000_000_000 + i64::from(time.nanos)
    }

    fn metadata(&self, name: &str) -> Option<&str> {
        let found = self.metadata.iter().find(|pair| pair.name == name);
        found.map(|pair| pair.value.as_str())
    }

    /// The number in its text, `… line 7 …`.
    fn n(&self) -> u64 {
        let rest = self.text.split("line ").nth(1).unwrap();
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().unwrap()
    }
}

/// What a push holds, in whatever form it came.
fn pushed(request: &Received) -> Pushed {
    if request.header("content-type") == Some("application/x-protobuf") {
        let raw = snap::raw::Decoder::new()
            .decompress_vec(&request.body)
            .unwrap();
        let mut push = PushRequest::decode(&raw[..]).unwrap();
        assert_eq!(push.streams.len(), 1, "one stream per push");
        return push.streams.remove(0);
    }
    let text = match request.header("content-encoding") {
        Some("gzip") => {
            std::io::read_to_string(flate2::read::GzDecoder::new(&request.body[..])).unwrap()
        }
        _ => request.text().into_owned(),
    };
    let push: Value = serde_json::from_str(&text).unwrap();
    let stream = &push["streams"][0];
    let entries = stream["values"].as_array().unwrap().iter().map(|entry| {
        let nanos: i64 = entry[0].as_str().unwrap().parse().unwrap();
        Line {
            time: Some(Stamp {
                seconds: nanos.div_euclid(1_000_000_000),
                nanos: nanos.rem_euclid(1_000_000_000) as i32,
            }),
            text: entry[1].as_str().unwrap().to_owned(),
            metadata: entry[2]
                .as_object()
                .unwrap()
                .iter()
                .map(|(name, value)| Pair {
                    name: name.clone(),
                    value: value.as_str().unwrap().to_owned(),
                })
                .collect(),
        }
    });
    Pushed {
        labels: stream["stream"].to_string(),
        entries: entries.collect(),
    }
}

fn pushes(server: &Receiver) -> Vec<Pushed> {
    let all = server.requests();
    all.iter()
        .filter(|request| request.method == "POST")
        .map(pushed)
        .collect()
}

fn build(options: Value) -> Result<Box<dyn Sink>, BuildErrors> {
    let config: Config = serde_json::from_value(options).unwrap();
    config.build(&Context::for_tests(Kind::Sink, "loki"))
}

fn sink(server: &Receiver, more: Value) -> Box<dyn Sink> {
    let mut options = json!({ "endpoint": server.uri() });
    options
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    build(options).unwrap()
}

/// An event of this moment, with `n` in its text.
fn event(n: u64, more: Value) -> Event {
    let now = Clock::system().now();
    let mut json = json!({ "@timestamp": now.to_string(), "event": { "id": format!("{n:032x}") }, "message": format!("line {n} ") });
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

fn ago(secs: i64) -> String {
    Time(Clock::system().now().0 - secs * 1_000_000_000).to_string()
}

async fn taking() -> Receiver {
    receiver()
        .answers(|_| Some(Answer::new(204, "")))
        .start()
        .await
}

#[tokio::test]
async fn each_stream_goes_alone_with_few_labels_and_the_rest_beside_the_line() {
    let server = taking().await;
    let mut sink = sink(&server, json!({}));
    let rich = json!({
        "host": { "name": "pve\"1" }, "user": { "id": "root@pam" }, "source": { "ip": "192.0.2.1" }, "pve": { "vmid": 104 },
        "event": { "code": "PVE-2002", "outcome": "success", "original": "secret copy" },
    });
    let time = "2026-03-14T22:58:03.412345Z";
    let batch = Events::of(vec![
        event(1, rich.clone()),
        event(2, json!({})),
        event(3, rich),
        event(4, json!({})),
    ]);
    let written = sink.write(batch).await.unwrap();
    let seen = pushes(&server);
    assert_eq!(
        written.bytes,
        server
            .requests()
            .iter()
            .map(|r| r.body.len() as u64)
            .sum::<u64>()
    );
    assert_eq!(server.requests()[0].path, "/loki/api/v1/push");
    assert_eq!(seen.len(), 2);
    assert_eq!(
        seen[0].labels,
        r#"{code_family="PVE-20", node="pve\"1", outcome="success", service_name="pvetrail"}"#
    );
    assert_eq!(seen[1].labels, r#"{service_name="pvetrail"}"#);
    let n: Vec<Vec<u64>> = seen
        .iter()
        .map(|push| push.entries.iter().map(Line::n).collect())
        .collect();
    assert_eq!(n, [[1, 3], [2, 4]]);
    let line = &seen[0].entries[0];
    let told =
        ["event_id", "code", "user", "source_ip", "vmid"].map(|name| line.metadata(name).unwrap());
    assert_eq!(
        told,
        [
            "00000000000000000000000000000001",
            "PVE-2002",
            "root@pam",
            "192.0.2.1",
            "104"
        ]
    );
    assert_eq!(
        line.metadata("event_time"),
        None,
        "its own time is the one it goes under"
    );
    let document: Value = serde_json::from_str(&line.text).unwrap();
    assert_eq!(document["event"]["id"], "00000000000000000000000000000001");
    assert!(
        document["event"].get("original").is_none(),
        "the raw line stays out"
    );
    assert!(Time::parse(time).is_some());
}

#[tokio::test]
async fn both_forms_say_the_same() {
    let batch = || {
        Events::of(vec![
            event(
                1,
                json!({ "message": "line 1 \"q\" \\ \n\u{7}ü", "user": { "id": "a\"b" }, "@timestamp": ago(5) }),
            ),
            event(2, json!({ "@timestamp": ago(8 * 86_400) })),
        ])
    };
    let batch = batch();
    let mut all = Vec::new();
    for options in [
        json!({}),
        json!({ "format": "json" }),
        json!({ "format": "json", "compression": "none" }),
    ] {
        let server = taking().await;
        sink(&server, options).write(batch.clone()).await.unwrap();
        all.push(pushes(&server).remove(0).entries);
    }
    for entry in all.iter_mut().flatten() {
        entry.metadata.sort_by(|a, b| a.name.cmp(&b.name));
    }
    // The second goes under the time of sending, which is the same for some minutes but not for ever.
    assert_eq!(all[0][0], all[1][0]);
    assert_eq!(all[1][0], all[2][0]);
    assert_eq!(all[0][1].text, all[1][1].text);
    assert_eq!(all[0][1].metadata, all[2][1].metadata);
}

#[tokio::test]
async fn a_time_the_server_would_refuse_is_replaced_and_the_true_one_stands_beside_it() {
    let server = taking().await;
    let mut sink = sink(&server, json!({}));
    let before = Clock::system().now().0;
    let times = [ago(1), ago(8 * 86_400), ago(-1200), ago(2 * 3600)];
    for (n, time) in (0..).zip(&times) {
        // One write each, so that the latest of the stream is known.
        sink.write(Events::of(vec![event(n, json!({ "@timestamp": time }))]))
            .await
            .unwrap();
    }
    let seen: Vec<Line> = pushes(&server)
        .into_iter()
        .flat_map(|push| push.entries)
        .collect();
    assert_eq!(seen[0].nanos(), Time::parse(&times[0]).unwrap().0);
    assert_eq!(seen[0].metadata("event_time"), None);
    for (line, time) in seen.iter().zip(&times).skip(1) {
        assert_eq!(line.metadata("event_time"), Some(time.as_str()));
        let age = before - line.nanos();
        assert!((-2_000_000_000..=300_000_000_000).contains(&age), "{age}");
    }
}

#[tokio::test]
async fn old_events_go_where_they_are_told_to() {
    let batch = || {
        Events::of(vec![
            event(0, json!({})),
            event(1, json!({ "@timestamp": ago(8 * 86_400) })),
        ])
    };
    let server = taking().await;
    let refused = sink(&server, json!({ "old_events": "dlq" }))
        .write(batch())
        .await;
    let Err(WriteError::Partly(fates, _)) = refused else {
        panic!("{refused:?}")
    };
    assert!(
        matches!(&fates[..], [(1, Fate::Refused(reason))] if reason.text.contains("limits.max_age")),
        "{fates:?}"
    );
    assert_eq!(pushes(&server)[0].entries.len(), 1);
    let server = taking().await;
    sink(&server, json!({ "old_events": "accept" }))
        .write(batch())
        .await
        .unwrap();
    let entries = &pushes(&server)[0].entries;
    assert!(entries[1].nanos() < entries[0].nanos() - 7 * 86_400_000_000_000);
}

#[tokio::test]
async fn an_event_sent_again_goes_under_the_same_time_and_no_two_under_the_same_text_and_time() {
    let server = taking().await;
    let text = json!({ "encoding": { "codec": "text" } });
    let time = ago(3);
    let same = |n: u64| {
        event(
            n,
            json!({ "@timestamp": time, "message": "line 0 the same" }),
        )
    };
    for _ in 0..2 {
        sink(&server, text.clone())
            .write(Events::of((1..50).map(same).collect()))
            .await
            .unwrap();
    }
    let seen = pushes(&server);
    assert_eq!(
        seen[0], seen[1],
        "made once more by another sink, as after a restart"
    );
    let mut times: Vec<i64> = seen[0].entries.iter().map(Line::nanos).collect();
    let millis = Time::parse(&time).unwrap().0 / 1_000_000;
    assert!(times.iter().all(|nanos| nanos / 1_000_000 == millis));
    times.sort_unstable();
    times.dedup();
    assert_eq!(times.len(), 49);
}

#[tokio::test]
async fn a_line_is_never_empty_for_loki_forgets_those() {
    let server = taking().await;
    let mut sink = sink(&server, json!({ "encoding": { "codec": "text" } }));
    sink.write(Events::of(vec![
        event(1, json!({ "message": "", "n": 7 })),
        event(2, json!({})),
    ]))
    .await
    .unwrap();
    let entries = &pushes(&server)[0].entries;
    assert!(entries[0].text.contains(r#""n":7"#), "{}", entries[0].text);
    assert_eq!(entries[1].text, "line 2 ");
}

#[tokio::test]
async fn pushes_are_cut_by_size_and_keep_their_order() {
    let server = taking().await;
    let mut sink = sink(&server, json!({ "limits": { "max_push_size": "4KiB" } }));
    let batch: Vec<Event> = (0..100)
        .map(|n| event(n, json!({ "pad": "x".repeat(300 + n as usize) })))
        .collect();
    sink.write(Events::of(batch)).await.unwrap();
    let seen = pushes(&server);
    assert!(seen.len() > 10 && seen.iter().all(|push| push.encoded_len() < 4600));
    let n: Vec<u64> = seen
        .iter()
        .flat_map(|push| push.entries.iter().map(Line::n))
        .collect();
    assert_eq!(n, (0..100).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_is_too_long_goes_to_the_dead_letters_before_it_is_sent() {
    for options in [json!({}), json!({ "format": "json" })] {
        let server = taking().await;
        let mut sink = sink(&server, options);
        let batch = vec![
            event(0, json!({})),
            event(1, json!({ "pad": "x".repeat(300_000) })),
            event(2, json!({})),
        ];
        let refused = sink.write(Events::of(batch)).await;
        let Err(WriteError::Partly(fates, _)) = refused else {
            panic!("{refused:?}")
        };
        assert!(
            matches!(&fates[..], [(1, Fate::Refused(reason))] if reason.kind == ReasonKind::TooLarge),
            "{fates:?}"
        );
        assert_eq!(
            pushes(&server)[0]
                .entries
                .iter()
                .map(Line::n)
                .collect::<Vec<_>>(),
            [0, 2]
        );
    }
}

#[tokio::test]
async fn metadata_that_finds_no_room_stays_in_the_line() {
    let server = taking().await;
    let metadata = json!({ "structured_metadata": { "big": "{{ big }}", "small": "{{ small }}" }, "limits": { "max_metadata_size": "100B" } });
    let mut sink = sink(&server, metadata);
    let metrics = pipeline::Telemetry::new("", "").component("out", Kind::Sink, "loki");
    sink.counts(&metrics);
    sink.write(Events::of(vec![event(
        1,
        json!({ "big": "y".repeat(90), "small": "z" }),
    )]))
    .await
    .unwrap();
    let line = pushes(&server).remove(0).entries.remove(0);
    assert_eq!(
        (line.metadata("big"), line.metadata("small")),
        (None, Some("z"))
    );
    assert!(line.metadata("event_id").is_some());
    assert!(line.text.contains("yyy"));
    assert_eq!(metrics.metadata_left_out.get(), 1);
}
