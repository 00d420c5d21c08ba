//! From our own sink to our own source, over TCP, TLS and UDP: random events, and every field is what it was.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::support::Ground;
use crate::support::syslog::{Pki, free_port};
use crate::{at, post};

/// Pieces of which texts are made, many of them such as mean something to somebody on the way.
const PIECES: &[&str] = &[
    "a",
    "B7",
    " ",
    "  ",
    "\"",
    "\\",
    "]",
    "[",
    "=",
    "|",
    "<13>1 ",
    "{",
    "}",
    "\n",
    "\r\n",
    "\t",
    "\0",
    "\u{1b}[0m",
    "ü",
    "漢",
    "🔒",
    "\u{85}",
    "\u{2028}",
    "#012",
    "#011",
    "\\n",
    "%s",
    "'",
    ",",
    ":",
    "@cee:",
    "CEF:0|",
    "\u{feff}",
    "-",
    "/",
];

const TEXTS: &[&str] = &[
    "event.action",
    "event.reason",
    "event.original",
    "user.id",
    "user.name",
    "user.target.id",
    "group.name",
    "url.path",
    "url.query",
    "pve.object.type",
    "pve.object.id",
    "pve.task.upid",
    "process.name",
    "host.name",
    "rule.id",
    "message",
    "error.message",
    "user_agent.original",
];
const NUMBERS: &[&str] = &[
    "source.port",
    "event.severity",
    "pve.vmid",
    "process.pid",
    "http.response.status_code",
];

fn text(random: &mut fastrand::Rng) -> String {
    let n = random.usize(0..12);
    (0..n)
        .map(|_| PIECES[random.usize(..PIECES.len())])
        .collect()
}

fn value(random: &mut fastrand::Rng, depth: usize) -> Value {
    match random.u8(0..if depth == 0 { 5 } else { 7 }) {
        0 => json!(random.bool()),
        1 => json!(random.i64(..)),
        2 => json!(random.f64() * 1e6),
        3 => Value::Null,
        4 => json!(text(random)),
        5 => (0..random.usize(0..4))
            .map(|_| value(random, depth - 1))
            .collect(),
        _ => {
            let n = random.usize(0..4);
            let pair = |random: &mut fastrand::Rng| {
                (
                    format!("k{}{}", random.u8(..), text(random).replace('.', "_")),
                    value(random, depth - 1),
                )
            };
            Value::Object((0..n).map(|_| pair(random)).collect())
        }
    }
}

fn set(event: &mut Value, path: &str, value: Value) {
    let mut place = event;
    for part in path.split('.') {
        if !place.is_object() {
            *place = Value::Object(Map::new());
        }
        place = &mut place[part];
    }
    *place = value;
}

fn event(n: usize, random: &mut fastrand::Rng) -> Value {
    let mut event = json!({
        "@timestamp": format!("2026-03-14T22:{:02}:{:02}.{:03}Z", n / 60 % 60, n % 60, random.u16(0..1000)),
        "event": { "id": format!("{:032x}", n + 1), "code": format!("PVE-{:04}", random.u16(0..9999)) },
    });
    for path in TEXTS {
        if random.bool() {
            let text = text(random);
            set(&mut event, path, json!(text));
        }
    }
    for path in NUMBERS {
        if random.bool() {
            let number = random.i64(0..70_000);
            set(&mut event, path, json!(number));
        }
    }
    if random.bool() {
        set(
            &mut event,
            "source.ip",
            json!(format!("2001:db8::{:x}", random.u16(1..))),
        );
    }
    if random.bool() {
        set(
            &mut event,
            "pve.params",
            json!({ "a": value(random, 3), "b": value(random, 3) }),
        );
    }
    event
}

#[test]
fn every_field_survives_from_our_own_sink_to_our_own_source() {
    let pki = Pki::new();
    let ground = Ground::new();
    let [from, tcp, tls, udp] = [(); 4].map(|()| free_port());
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let count = if crate::support::long() { 20_000 } else { 1000 };
    let events: Vec<Value> = (0..count).map(|n| event(n, &mut random)).collect();

    let mut graph = format!(
        "[admin]\naddress = '127.0.0.1:0'\n\
         [sources.in]\ntype = 'http'\naddress = '127.0.0.1:{from}'\nanonymous = true\n\
         [sinks.reference]\ntype = 'file'\ninputs = ['in']\npath = {:?}\n\
         [sinks.out]\ntype = 'file'\ninputs = ['from_tcp', 'from_tls', 'from_udp']\npath = {:?}\n",
        ground.path("reference"),
        ground.path("out"),
    );
    for (name, port) in [("tcp", tcp), ("tls", tls), ("udp", udp)] {
        let (theirs, ours) = match name {
            "tls" => (
                format!(
                    "tls = {{ ca_file = {:?}, crt_file = {:?}, key_file = {:?} }}",
                    pki.file("ca.pem"),
                    pki.file("client.pem"),
                    pki.file("client.key")
                ),
                format!(
                    "mode = 'tcp'\ntls = {{ ca_file = {:?}, crt_file = {:?}, key_file = {:?}, allowed_names = ['agent.example'] }}",
                    pki.file("ca.pem"),
                    pki.file("server.pem"),
                    pki.file("server.key")
                ),
            ),
            "udp" => ("mode = 'udp'".to_owned(), "mode = 'udp'".to_owned()),
            _ => (String::new(), "mode = 'tcp'".to_owned()),
        };
        graph += &format!(
            "[sinks.{name}]\ntype = 'syslog'\ninputs = ['in']\naddress = 'localhost:{port}'\napp_name = '{name}'\n\
             encoding = {{ codec = 'json' }}\nmax_length = '60KiB'\nbatch = {{ timeout = '20ms' }}\n{theirs}\n\
             [sources.from_{name}]\ntype = 'syslog'\naddress = '127.0.0.1:{port}'\n{ours}\n"
        );
    }
    ground.configure(&graph);
    let program = ground.start();
    ground.until("it runs", || {
        ground.log().contains("\"started\"")
            && ground.log().matches("listening for syslog").count() == 3
    });
    // So few at once that no datagram is lost for want of room.
    for some in events.chunks(100) {
        post(from, some);
    }
    let read = |name: &str| -> Vec<Value> {
        let text = std::fs::read_to_string(ground.path(name)).unwrap_or_default();
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        text[..whole]
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    };
    let lines = |name: &str| {
        std::fs::read(ground.path(name)).map_or(0, |text| memchr::memchr_iter(b'\n', &text).count())
    };
    ground.until("all have made their round", || {
        lines("out") >= 3 * count && lines("reference") >= count
    });
    assert_eq!(program.stop(), Some(0), "{}", ground.log());

    let id = |event: &Value| at(event, "event.id").as_str().unwrap().to_owned();
    let reference: BTreeMap<String, Value> = read("reference")
        .into_iter()
        .map(|event| (id(&event), event))
        .collect();
    assert_eq!(reference.len(), count);
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for got in read("out") {
        assert!(got.get("tags").is_none(), "{got}");
        let body = got["message"].as_str().unwrap();
        let body: Value =
            serde_json::from_str(body).unwrap_or_else(|why| panic!("{why}: {body:?}"));
        let wanted = &reference[&id(&body)];
        assert_eq!(&body, wanted);
        let way = at(&got, "process.name").as_str().unwrap();
        *seen.entry(way.to_owned()).or_default() += 1;
        // The header, and what stands in structured data.
        assert_eq!(got["@timestamp"], wanted["@timestamp"], "{got}");
        assert_eq!(at(&got, "log.syslog.msgid"), at(wanted, "event.code"));
        assert_eq!(at(&got, "log.syslog.facility.code"), 13);
        let data = &got["log"]["syslog"]["structured_data"]["pvetrail@32473"];
        assert_eq!(data["id"], id(&body).as_str());
        for (parameter, path) in [
            ("user", "user.id"),
            ("action", "event.action"),
            ("object", "pve.object.id"),
        ] {
            if let Some(text) = at(wanted, path).as_str() {
                let blank = |letter: char| if letter.is_control() { ' ' } else { letter };
                let text: String = text.chars().map(blank).collect();
                assert_eq!(data[parameter], text.as_str(), "{got}");
            }
        }
        if way == "tls" {
            assert_eq!(at(&got, "tls.client.subject"), "CN=client,O=Example");
        }
    }
    for way in ["tcp", "tls", "udp"] {
        assert_eq!(seen.get(way), Some(&count), "{way}");
    }
}
