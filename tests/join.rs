//! `join` in a running program that is killed while it holds parts of messages.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

#[allow(dead_code, reason = "each test uses its part")]
mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use support::store::Store;
use support::{Ground, append};

/// A header of ESXi's.
const HEADER: &str = "info hostd[7] [Originator@6876 sub=Vimsvc opID=k1]";

fn graph(ground: &Ground, store: &Store) -> String {
    format!(
        r#"
[admin]
address = "127.0.0.1:0"

[sources.in]
type = "file"
include = ["{}"]

[transforms.header]
type = "grok"
inputs = ["in"]
patterns = ['^%{{TIMESTAMP_ISO8601:stamp}} %{{NOTSPACE:host.name}} %{{WORD:process.name}}\[%{{INT:process.pid:int}}\]: %{{GREEDYDATA:message}}']
timestamp = {{ field = "stamp", format = "iso8601" }}
overwrite = ["message", "host.name"]

[transforms.mended]
type = "join"
inputs = ["header"]
timeout = "8s"

[sinks.es]
type = "elasticsearch"
inputs = ["mended"]
endpoints = ["{}"]
"#,
        ground.path("in.log").display(),
        store.uri()
    )
}

#[test]
fn killed_while_it_holds_parts_it_loses_none_and_makes_every_message_once() {
    let (ground, store) = (Ground::new(), Store::start());
    ground.configure(&graph(&ground, &store));
    let mut random = fastrand::Rng::with_seed(5);
    let (mut expected, mut parts) = (Vec::new(), 0_usize);
    // Three hosts speak in turn; the lines of their messages are mixed.
    let mut queues: [Vec<String>; 3] = Default::default();
    let mut messages = 0;
    let mut next = |random: &mut fastrand::Rng, host: usize| {
        let n = messages;
        messages += 1;
        let front = format!("2026-03-14T22:58:03.412Z esx{host} Hostd[7]: ");
        let lines = random.usize(0..6);
        let further: Vec<String> = (0..lines)
            .map(|line| format!("line {line} of {n}"))
            .collect();
        let first = format!("{HEADER} message {n}");
        expected.push(
            [std::slice::from_ref(&first), &further[..]]
                .concat()
                .join("\n"),
        );
        let mut all = vec![format!("{front}{first}\n")];
        all.extend(further.iter().map(|line| format!("{front}--> {line}\n")));
        all.reverse();
        all
    };
    let kills = if support::long() { 200 } else { 12 };
    for _ in 0..kills {
        let mut text = String::new();
        for _ in 0..3000 {
            let host = random.usize(..3);
            if queues[host].is_empty() {
                queues[host] = next(&mut random, host);
            }
            text.push_str(&queues[host].pop().unwrap());
            parts += 1;
        }
        // The kill finds messages whose further lines are not written yet.
        let torn = random.usize(..text.len());
        append(&ground.path("in.log"), &text[..torn]);
        let program = ground.start();
        let most = if random.u32(..3) == 0 { 2500 } else { 300 };
        std::thread::sleep(Duration::from_millis(random.u64(20..most)));
        append(&ground.path("in.log"), &text[torn..]);
        std::thread::sleep(Duration::from_millis(random.u64(0..100)));
        program.kill();
    }
    let rest: String = queues
        .iter_mut()
        .flat_map(|queue| queue.drain(..).rev())
        .collect();
    parts += rest.lines().count();
    append(&ground.path("in.log"), &rest);
    let starts = || ground.log().matches("\"started\"").count();
    let before = starts();
    let program = ground.start();
    ground.until("it runs", || starts() > before);
    ground.until("everything has arrived", || store.len() >= expected.len());
    assert_eq!(program.stop(), Some(0), "{}", ground.log());
    expected.sort();
    assert_eq!(store.messages(), expected);
    let mut ids: BTreeMap<String, usize> = BTreeMap::new();
    for (id, document) in store.documents() {
        assert_eq!(
            document["pve"]["truncated"],
            serde_json::Value::Null,
            "{document}"
        );
        *ids.entry(id).or_default() += 1;
        for link in document["pve"]["links"].as_array().into_iter().flatten() {
            *ids.entry(link.as_str().unwrap().to_owned()).or_default() += 1;
        }
    }
    // Every part is in one message, once.
    assert_eq!(ids.len(), parts);
    assert!(ids.values().all(|n| *n == 1));
}

#[test]
fn what_is_held_when_the_program_stops_goes_on_at_the_next_start() {
    let (ground, store) = (Ground::new(), Store::start());
    ground.configure(&graph(&ground, &store));
    let line = |text: &str| format!("2026-03-14T22:58:03.412Z esx1 Hostd[7]: {text}\n");
    append(&ground.path("in.log"), &line(&format!("{HEADER} one")));
    let program = ground.start();
    ground.until("it is held", || {
        ground.log().contains("\"started\"")
            && ground.metric("component_received_events_total", "mended") == 1.0
    });
    ground.until("it is counted", || {
        ground.metric("state_keys", "mended") == 1.0
    });
    assert_eq!(program.stop(), Some(0), "{}", ground.log());
    assert_eq!(store.len(), 0);
    append(&ground.path("in.log"), &line("--> two"));
    let program = ground.start();
    ground.until("it is let go", || store.len() == 1);
    assert_eq!(store.messages(), [format!("{HEADER} one\ntwo")]);
    assert_eq!(ground.metric("events_joined_total", "mended"), 1.0);
    assert_eq!(program.stop(), Some(0), "{}", ground.log());
}

/// Host, program, message, and whether something is missing.
type Whole = (String, String, String, bool);

/// The frames of the case, and what it says comes out: host, program, message, and whether something is missing.
fn case() -> (Vec<String>, Vec<Whole>) {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/cases/join/lines-of-esxi-and-parts-of-vcenter-become-whole-messages");
    let frames = std::fs::read_to_string(folder.join("in.log")).unwrap();
    let frames = frames.lines().filter(|line| !line.starts_with("@ "));
    let out = std::fs::read_to_string(folder.join("out.jsonl")).unwrap();
    let mut whole: Vec<_> = out
        .lines()
        .map(|line| summary(&serde_json::from_str(line).unwrap()))
        .collect();
    whole.sort();
    (frames.map(str::to_owned).collect(), whole)
}

fn summary(event: &serde_json::Value) -> (String, String, String, bool) {
    let text = |path: &str| {
        let value = event.pointer(path).and_then(serde_json::Value::as_str);
        value.unwrap_or_default().to_owned()
    };
    let truncated = event["pve"]["truncated"] == true;
    (
        text("/host/name"),
        text("/process/name"),
        text("/message"),
        truncated,
    )
}

#[test]
fn frames_that_esxi_and_vcenter_send_over_udp_and_tcp_become_whole_messages() {
    let (frames, expected) = case();
    for mode in ["udp", "tcp"] {
        let (ground, store) = (Ground::new(), Store::start());
        let port = {
            // Free for both at the time of asking; a test that loses it fails at its start, and loudly.
            let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            tcp.local_addr().unwrap().port()
        };
        ground.configure(&format!(
            r#"
[admin]
address = "127.0.0.1:0"

[sources.net]
type = "syslog"
mode = "{mode}"
address = "127.0.0.1:{port}"

[transforms.mended]
type = "join"
inputs = ["net"]

[sinks.es]
type = "elasticsearch"
inputs = ["mended"]
endpoints = ["{}"]
"#,
            store.uri()
        ));
        let program = ground.start();
        ground.until("it listens", || {
            ground.log().contains("\"started\"") && is_bound(mode, port)
        });
        if mode == "udp" {
            let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
            for frame in &frames {
                socket
                    .send_to(frame.as_bytes(), ("127.0.0.1", port))
                    .unwrap();
            }
        } else {
            let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
            // Half a frame at a time, so that frames and reads have nothing to do with one another.
            for piece in frames.join("\n").as_bytes().chunks(37) {
                std::io::Write::write_all(&mut stream, piece).unwrap();
            }
            std::io::Write::write_all(&mut stream, b"\n").unwrap();
        }
        ground.until("all messages", || store.len() >= expected.len());
        let parts = ground.metric("component_received_events_total", "mended");
        assert_eq!(parts, frames.len() as f64, "{mode}");
        assert_eq!(program.stop(), Some(0), "{}", ground.log());
        let documents = store.documents();
        let mut came: Vec<_> = documents.iter().map(|(_, d)| summary(d)).collect();
        came.sort();
        assert_eq!(came, expected, "{mode}");
    }
}

/// Whether somebody listens there.
fn is_bound(mode: &str, port: u16) -> bool {
    let table = std::fs::read_to_string(format!("/proc/net/{mode}")).unwrap_or_default();
    table.contains(&format!("0100007F:{port:04X}"))
}
