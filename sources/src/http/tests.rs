//! The source with requests as they come.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use pipeline::testing::{self, SourceBench};
use pipeline::{Event, Kind};
use serde_json::{Value, json};

use super::*;

/// A running source and its address.
struct Running {
    bench: SourceBench,
    address: SocketAddr,
}

/// A port nobody listens on now.
fn free() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

async fn start(more: &str) -> Running {
    let address = free();
    let bench = testing::source::<Config>(&format!("address = '{address}'\n{more}")).await;
    let until = std::time::Instant::now() + Duration::from_secs(20);
    while TcpStream::connect(address).is_err() {
        assert!(std::time::Instant::now() < until, "it does not listen");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Running { bench, address }
}

/// The answer to some bytes: its status, its head, its body.
async fn say(address: SocketAddr, bytes: impl Into<Vec<u8>>) -> (u16, String, String) {
    let bytes = bytes.into();
    tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        // It may be answered before it was heard to its end.
        let _ = stream.write_all(&bytes);
        answer(&mut stream)
    })
    .await
    .unwrap()
}

fn answer(stream: &mut TcpStream) -> (u16, String, String) {
    let mut text = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let whole = String::from_utf8_lossy(&text).into_owned();
        if let Some((head, body)) = whole.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("Content-Length: "));
            if body.len() >= length.unwrap().parse::<usize>().unwrap() {
                let status = head.split(' ').nth(1).unwrap().parse().unwrap();
                return (status, head.to_owned(), body.to_owned());
            }
        }
        match stream.read(&mut piece) {
            Ok(n) if n > 0 => text.extend_from_slice(&piece[..n]),
            other => panic!("{other:?} after {:?}", String::from_utf8_lossy(&text)),
        }
    }
}

fn post(headers: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let mut bytes = format!(
        "POST / HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

fn messages(events: &[Event]) -> Vec<String> {
    events
        .iter()
        .map(|event| {
            event.to_json()["message"]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_form_and_compression_is_taken_and_counted() {
    let running = start("").await;
    let array = json!([{"message": "a"}, {"message": "b"}]).to_string();
    let (status, _, body) = say(running.address, post("", &array)).await;
    assert_eq!((status, body.as_str()), (200, "{\"events\":2}\n"));
    let lines = "{\"message\":\"c\"}\n{\"message\":\"d\"}\n";
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(lines.as_bytes()).unwrap();
    let gzip = post("Content-Encoding: gzip\r\n", gzip.finish().unwrap());
    assert_eq!(say(running.address, gzip).await.2, "{\"events\":2}\n");
    let zst = zstd::encode_all(&b"{\"message\":\"e\"}"[..], 3).unwrap();
    assert_eq!(
        say(running.address, post("Content-Encoding: zstd\r\n", zst))
            .await
            .2,
        "{\"events\":1}\n"
    );
    let chunked = "POST /?a=b HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"mes\r\nc\r\nsage\": \"f\"}\n\r\n0\r\n\r\n";
    assert_eq!(say(running.address, chunked).await.0, 200);
    assert_eq!(
        say(running.address, post("", "")).await.2,
        "{\"events\":0}\n"
    );
    let events = running.bench.collect(6).await;
    assert_eq!(messages(&events), ["a", "b", "c", "d", "e", "f"]);
    let ids: std::collections::BTreeSet<_> = events.iter().map(Event::id).collect();
    assert_eq!(ids.len(), 6);
    assert!(
        events[0].to_json()["log"]["source"]["address"]
            .as_str()
            .unwrap()
            .starts_with("127.0.0.1:")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn one_connection_carries_many_requests_and_one_that_waits_for_a_word_gets_it() {
    let running = start("").await;
    let address = running.address;
    tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        for n in 0..20 {
            stream
                .write_all(&post("", json!({"message": n.to_string()}).to_string()))
                .unwrap();
            assert_eq!(answer(&mut stream).0, 200);
        }
        stream
            .write_all(b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
            .unwrap();
        let mut word = [0; 25];
        stream.read_exact(&mut word).unwrap();
        assert_eq!(&word, b"HTTP/1.1 100 Continue\r\n\r\n");
        stream.write_all(b"{}").unwrap();
        assert_eq!(answer(&mut stream).0, 200);
    })
    .await
    .unwrap();
    assert_eq!(running.bench.stop().await.len(), 21);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_body_is_told_by_its_place_and_nothing_of_it_is_taken() {
    let running = start("max_size = '64KiB'\nmax_events = 50").await;
    let address = running.address;
    let lines = "{\"message\":\"good\"}\n{\"message\":}\n{\"message\":\"good\"}\n";
    let (status, _, body) = say(address, post("", lines)).await;
    assert_eq!(status, 400);
    assert!(
        body.contains("line 2 column 12") && body.contains("nothing of the request was taken"),
        "{body}"
    );
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    assert_eq!(say(address, post("", deep)).await.0, 400);
    let deep = format!("{}1{}", "{\"a\":".repeat(10_000), "}".repeat(10_000));
    assert_eq!(say(address, post("", deep)).await.0, 400);
    assert_eq!(say(address, post("", "x".repeat(65 << 10))).await.0, 413);
    assert_eq!(
        say(
            address,
            "POST / HTTP/1.1\r\nContent-Length: 209715200\r\n\r\n"
        )
        .await
        .0,
        413
    );
    assert_eq!(say(address, post("", "{}".repeat(51))).await.0, 413);
    let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    bomb.write_all(&vec![b' '; 30 << 20]).unwrap();
    assert_eq!(
        say(
            address,
            post("Content-Encoding: gzip\r\n", bomb.finish().unwrap())
        )
        .await
        .0,
        413
    );
    assert_eq!(
        say(address, post("Content-Encoding: br\r\n", "{}")).await.0,
        415
    );
    assert_eq!(
        say(address, post("Content-Encoding: gzip\r\n", "{}"))
            .await
            .0,
        400
    );
    assert_eq!(say(address, "GET / HTTP/1.1\r\n\r\n").await.0, 405);
    assert_eq!(say(address, "POST /other HTTP/1.1\r\n\r\n").await.0, 404);
    assert_eq!(say(address, "\u{16}\u{3}\u{1}hello\r\n\r\n").await.0, 400);
    // It still takes what is right.
    assert_eq!(
        say(address, post("", "{\"message\":\"still here\"}"))
            .await
            .0,
        200
    );
    assert_eq!(messages(&running.bench.stop().await), ["still here"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_those_who_show_a_right_token_are_heard() {
    let running = start("auth = [{ strategy = 'bearer', token = 'old' }, { strategy = 'basic', user = 'u', password = 'p' }]").await;
    let address = running.address;
    let one = "{\"message\":\"x\"}";
    for (header, status) in [
        ("", 401),
        ("Authorization: Bearer ol\r\n", 401),
        ("Authorization: Bearer older\r\n", 401),
        ("Authorization: old\r\n", 401),
        ("Authorization: Basic dTpxCg==\r\n", 401),
        ("Authorization: Bearer old\r\n", 200),
        ("authorization: Basic dTpw\r\n", 200),
    ] {
        let (said, head, _) = say(address, post(header, one)).await;
        assert_eq!(said, status, "{header}");
        assert_eq!(
            head.contains("WWW-Authenticate: Bearer"),
            status == 401,
            "{head}"
        );
    }
    // Nobody sends a large body only to be refused.
    let (status, _, _) = say(
        address,
        "POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 99\r\n\r\n",
    )
    .await;
    assert_eq!(status, 401);
    assert_eq!(running.bench.stop().await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signature_is_needed_where_one_is_asked_for() {
    let sign = "{ header = 'X-Sign', hmac_sha256 = 'a secret of some length' }";
    let running = start(&format!("sign = {sign}")).await;
    let options = json!({"header": "X-Sign", "hmac_sha256": "a secret of some length"});
    let options: Sign = serde_json::from_value(options).unwrap();
    let signer = Signer::new(&options).unwrap();
    let (body, now) = ("{\"message\":\"x\"}", Clock::system().now());
    let right = format!("X-Sign: {}\r\n", signer.value(body.as_bytes(), now));
    assert_eq!(say(running.address, post(&right, body)).await.0, 200);
    assert_eq!(
        say(running.address, post(&right, "{\"message\":\"y\"}"))
            .await
            .0,
        401
    );
    assert_eq!(say(running.address, post("", body)).await.0, 401);
    let old = pipeline::Time(now.0 - 400 * pipeline::clock::SECOND);
    let old = format!("X-Sign: {}\r\n", signer.value(body.as_bytes(), old));
    let (status, _, said) = say(running.address, post(&old, body)).await;
    assert!(status == 401 && said.contains("5 minutes"), "{said}");
    assert_eq!(running.bench.stop().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_sender_is_told_to_hurry_and_holds_up_nobody() {
    let running = start("body_timeout = '300ms'").await;
    let address = running.address;
    let slow: Vec<_> = (0..20)
        .map(|_| {
            tokio::task::spawn_blocking(move || {
                let mut stream = TcpStream::connect(address).unwrap();
                stream
                    .write_all(b"POST / HTTP/1.1\r\nContent-Length: 1000\r\n\r\n{\"a\":")
                    .unwrap();
                answer(&mut stream).0
            })
        })
        .collect();
    assert_eq!(
        say(address, post("", "{\"message\":\"quick\"}")).await.0,
        200
    );
    for each in slow {
        assert_eq!(each.await.unwrap(), 408);
    }
    assert_eq!(messages(&running.bench.stop().await), ["quick"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_request_again_makes_no_event_twice() {
    let running = start("").await;
    let request = post(
        "Idempotency-Key: k1\r\n",
        "[{\"message\":\"a\"},{\"message\":\"b\"}]",
    );
    let all = (0..8).map(|_| say(running.address, request.clone()));
    for (status, _, body) in futures::future::join_all(all).await {
        assert_eq!((status, body.as_str()), (200, "{\"events\":2}\n"));
    }
    // The same key over another body is another request.
    assert_eq!(
        say(
            running.address,
            post("Idempotency-Key: k1\r\n", "{\"message\":\"c\"}")
        )
        .await
        .0,
        200
    );
    let events = running.bench.stop().await;
    assert_eq!(messages(&events), ["a", "b", "c"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_under_way_are_answered_when_it_stops() {
    let running = start("").await;
    let address = running.address;
    let mut half = TcpStream::connect(address).unwrap();
    half.write_all(b"POST / HTTP/1.1\r\nContent-Length: 1000\r\n\r\n{\"a\":")
        .unwrap();
    let whole = tokio::spawn(say(address, post("", "{\"message\":\"whole\"}")));
    running.bench.until(|events| events.len() == 1).await;
    let idle = TcpStream::connect(address).unwrap();
    let events = running.bench.stop().await;
    assert_eq!(messages(&events), ["whole"]);
    assert_eq!(whole.await.unwrap().0, 200);
    assert_eq!(answer(&mut half).0, 503);
    drop(idle);
    assert!(TcpStream::connect(address).is_err());
}

fn mistakes(options: Value) -> String {
    let config: Config = serde_json::from_value(options).unwrap();
    match config.build(&Context::for_tests(Kind::Source, "http")) {
        Ok(_) => String::new(),
        Err(errors) => errors.to_string(),
    }
}

#[test]
fn an_open_door_has_to_be_wished_for() {
    assert!(mistakes(json!({"address": "0.0.0.0:1"})).contains("could write into the audit trail"));
    assert_eq!(
        mistakes(json!({"address": "0.0.0.0:1", "anonymous": true})),
        ""
    );
    assert_eq!(mistakes(json!({"address": "[::1]:1"})), "");
    assert_eq!(
        mistakes(json!({"address": "0.0.0.0:1", "auth": [{"strategy": "bearer", "token": "t"}]})),
        ""
    );
    let all = mistakes(
        json!({"address": "127.0.0.1:1", "auth": [{"strategy": "bearer", "token": ""}], "path": "x", "max_events": 0, "max_size": "1GiB", "connection_limit": 0, "permit_origin": []}),
    );
    assert_eq!(all.lines().count(), 6, "{all}");
    assert!(all.contains("auth[0].token"), "{all}");
}
