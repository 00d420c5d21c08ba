//! Real rsyslog and syslog-ng receive what the `syslog` sink sends, read it with readers of their own, and every field is
//! what was sent; our own source reads it, too.
//!
//! CEF is read by liblognorm's `cef` parser inside rsyslog (mmnormalize), structured data by mmpstrucdata.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    missing_docs,
    unreachable_pub,
    reason = "a test; what it measured is shown where somebody looks"
)]

#[path = "syslog_sink/loss.rs"]
mod loss;
#[path = "syslog_sink/own_source.rs"]
mod own_source;
#[path = "syslog_sink/reads.rs"]
mod reads;
#[path = "syslog_sink/round.rs"]
mod round;
#[path = "syslog_sink/sent.rs"]
mod sent;
#[allow(dead_code, reason = "each test uses its part")]
mod support;

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::Value;
use support::Ground;

/// POSTs events to an `http` source and waits until they are delivered.
fn post(port: u16, events: &[Value]) {
    let body: String = events.iter().map(|event| format!("{event}\n")).collect();
    let began = std::time::Instant::now();
    let mut stream = loop {
        match TcpStream::connect(("127.0.0.1", port)) {
            Ok(stream) => break stream,
            // It listens a moment after the program says that it has started.
            Err(_) if began.elapsed().as_secs() < 30 => std::thread::yield_now(),
            Err(why) => panic!("nobody listens on {port}: {why}"),
        }
    };
    write!(
        stream,
        "POST / HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-ndjson\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

/// A member of a nested document, like `event.code`; null where there is none.
fn at<'a>(event: &'a Value, path: &str) -> &'a Value {
    let mut value = event;
    for part in path.split('.') {
        value = &value[part];
    }
    value
}

#[test]
fn validate_says_that_syslog_is_best_effort() {
    let ground = Ground::new();
    ground.configure(
        "[sources.in]\ntype = 'syslog'\nmode = 'udp'\naddress = '127.0.0.1:5514'\n\
         [sinks.siem]\ntype = 'syslog'\ninputs = ['in']\naddress = 'siem.example:514'\n",
    );
    let (code, told) = ground.pvetrail(&["validate", "graph.toml"]);
    assert_eq!(code, Some(0), "{told}");
    assert_eq!(told.matches("warning").count(), 3, "{told}");
    for wanted in [
        "sources.in",
        "syslog over UDP is best effort",
        "sinks.siem.address",
        "best effort: syslog has no answers",
        "JetStream",
    ] {
        assert!(told.contains(wanted), "{wanted}: {told}");
    }
}
