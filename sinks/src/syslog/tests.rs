//! The `syslog` sink against sockets of the test: framing, a receiver that closes, datagrams, every mistake.

use super::*;
use pipeline::{Context, Kind, SinkConfig as _, events, testing};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;

fn to(port: u16, more: &str) -> String {
    format!("address = '127.0.0.1:{port}'\nencoding.codec = 'text'\n{more}")
}

/// The texts behind the headers of octet-counted messages, as far as they are whole.
fn texts(mut bytes: &[u8]) -> Vec<String> {
    let mut texts = Vec::new();
    while let Some(blank) = bytes.iter().position(|byte| *byte == b' ') {
        let length = std::str::from_utf8(&bytes[..blank]).unwrap();
        let end = blank + 1 + length.parse::<usize>().unwrap();
        let Some(message) = bytes.get(blank + 1..end) else {
            break;
        };
        let message = std::str::from_utf8(message).unwrap();
        texts.push(message.rsplit("] ").next().unwrap().to_owned());
        bytes = &bytes[end..];
    }
    texts
}

#[tokio::test]
async fn messages_are_counted_and_come_in_order() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let read = async {
        let mut all = Vec::new();
        let (mut stream, _) = listener.accept().await.unwrap();
        while texts(&all).len() < 3 {
            stream.read_buf(&mut all).await.unwrap();
        }
        all
    };
    let sink = testing::sink::<Config>(&to(port, ""));
    let sent =
        sink.deliver(events![{"message": "one"}, {"message": "two\nlines"}, {"message": "three"}]);
    let (all, outcome) = futures::join!(read, sent);
    assert_eq!(texts(&all), ["one", "two\\nlines", "three"]);
    assert_eq!(outcome.delivered(), [0, 1, 2]);
}

#[tokio::test]
async fn a_receiver_that_closes_before_it_has_all_gets_all_once_more() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let read = async {
        // It closes with data unread, so the kernel answers with a reset.
        let (stream, _) = listener.accept().await.unwrap();
        stream.readable().await.unwrap();
        drop(stream);
        let mut all = Vec::new();
        let (mut stream, _) = listener.accept().await.unwrap();
        while texts(&all).len() < 2 {
            stream.read_buf(&mut all).await.unwrap();
        }
        // Held open until the sender has looked.
        (all, stream)
    };
    let long = "x".repeat(6 << 20);
    let sink = testing::sink::<Config>(&to(port, "max_length = '16MiB'"));
    let sent = sink.deliver(events![{"message": long.as_str()}, {"message": "two"}]);
    let ((all, _stream), outcome) = futures::join!(read, sent);
    assert_eq!(texts(&all), [long, "two".to_owned()]);
    assert_eq!(outcome.delivered(), [0, 1]);
}

#[tokio::test]
async fn datagrams_that_fit_are_sent_and_others_are_dead_letters() {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let port = socket.local_addr().unwrap().port();
    let sink = testing::sink::<Config>(
        &to(
            port,
            "mode = 'udp'\nmax_length = '480B'\nencoding = { codec = 'json' }",
        )
        .replace("encoding.codec = 'text'\n", ""),
    );
    let long = "u".repeat(1000);
    let outcome = sink
        .deliver(events![{"message": "one"}, {"user": {"id": long.as_str()}}, {"message": long.as_str()}])
        .await;
    assert_eq!(outcome.delivered(), [0, 2]);
    assert_eq!(outcome.dead_letters(), [1]);
    let mut bytes = [0; 1000];
    let read = socket.recv(&mut bytes).await.unwrap();
    let first = std::str::from_utf8(&bytes[..read]).unwrap();
    assert!(
        first.starts_with("<110>1 ") && first.ends_with('}'),
        "{first}"
    );
    let read = socket.recv(&mut bytes).await.unwrap();
    let second = std::str::from_utf8(&bytes[..read]).unwrap();
    assert!(
        read <= 480 && second.contains("\"truncated\":true"),
        "{second}"
    );
}

#[test]
fn every_mistake_is_told() {
    let told = |more: serde_json::Value| {
        let mut options = serde_json::json!({ "address": "siem:514" });
        let members = options.as_object_mut().unwrap();
        members.extend(more.as_object().unwrap().clone());
        let config: Config = serde_json::from_value(options).unwrap();
        match config.build(&Context::for_tests(Kind::Sink, "syslog")) {
            Ok(_) => String::new(),
            Err(errors) => errors.to_string(),
        }
    };
    assert_eq!(told(serde_json::json!({})), "");
    for (options, wanted) in [
        (serde_json::json!({"address": "siem"}), "no host and port"),
        (
            serde_json::json!({"address": "::1:514"}),
            "no host and port",
        ),
        (serde_json::json!({"address": "siem:0"}), "no host and port"),
        (serde_json::json!({"facility": 24}), "from 0 to 23"),
        (serde_json::json!({"app_name": "a b"}), "no blank"),
        (
            serde_json::json!({"mode": "udp", "tls": {}}),
            "no TLS over datagrams",
        ),
        (
            serde_json::json!({"mode": "udp", "max_length": "1MiB"}),
            "at most 65507",
        ),
        (serde_json::json!({"max_length": "100B"}), "at least"),
        (
            serde_json::json!({"encoding": {"codec": "pretty"}}),
            "for people",
        ),
        (
            serde_json::json!({"structured_data": {"audit": {}}}),
            "number of an enterprise",
        ),
        (
            serde_json::json!({"structured_data": {"a@1": {"x=y": "user.id"}}}),
            "1 to 32 printable",
        ),
    ] {
        let why = told(options.clone());
        assert!(why.contains(wanted), "{options}: {why}");
    }
}
