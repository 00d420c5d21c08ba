//! What rsyslog and syslog-ng read in our messages is what was sent.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::sent::{HOSTILE, bare, data, event, extension, header};
use crate::support::Ground;
use crate::support::siem::{Receiver, Which, id};
use crate::support::syslog::{Pki, free_port};
use crate::{at, post};

fn sink(name: &str, port: u16, more: &str) -> String {
    format!(
        "[sinks.{name}]\ntype = 'syslog'\ninputs = ['in']\naddress = 'localhost:{port}'\napp_name = '{name}'\n\
         max_length = '60KiB'\nrequest = {{ retry_initial_backoff = '20ms' }}\nbatch = {{ timeout = '20ms' }}\n{more}\n"
    )
}

fn source(port: u16) -> String {
    format!(
        "[admin]\naddress = '127.0.0.1:0'\n[sources.in]\ntype = 'http'\naddress = '127.0.0.1:{port}'\nanonymous = true\n"
    )
}

/// Posts the events and gives what the receiver has read of them, by sink and id.
fn read(
    receiver: &Receiver,
    ground: &Ground,
    from: u16,
    events: &[Value],
    sinks: usize,
) -> BTreeMap<(String, String), Value> {
    let program = ground.start();
    ground.until("it runs", || ground.log().contains("\"started\""));
    for some in events.chunks(7) {
        post(from, some);
    }
    ground.until("all is written", || {
        receiver.count() >= events.len() * sinks
    });
    ground.balances();
    assert_eq!(program.stop(), Some(0), "{}", ground.log());
    let (written, bad) = receiver.written();
    assert_eq!(bad, 0, "lines that are no JSON");
    assert_eq!(
        written.len(),
        events.len() * sinks,
        "one message for one event"
    );
    let lines = written.into_iter();
    lines
        .map(|line| ((line["app"].as_str().unwrap().to_owned(), id(&line)), line))
        .collect()
}

#[test]
fn rsyslog_reads_every_field_of_cef_and_json_over_tcp_tls_and_udp() {
    let pki = Pki::new();
    let Some(receiver) = Receiver::start(Which::Rsyslog, &pki) else {
        return;
    };
    let ground = Ground::new();
    let from = free_port();
    let ca = format!("ca_file = {:?}", pki.file("ca.pem"));
    let own = format!(
        "{ca}, crt_file = {:?}, key_file = {:?}",
        pki.file("client.pem"),
        pki.file("client.key")
    );
    let json = "encoding = { codec = 'json' }";
    ground.configure(
        &[
            source(from),
            sink("cef_tcp", receiver.port, ""),
            sink("cef_tls", receiver.tls, &format!("tls = {{ {ca} }}")),
            sink("cef_mutual", receiver.mutual, &format!("tls = {{ {own} }}")),
            sink("cef_udp", receiver.port, "mode = 'udp'"),
            sink("cef_lines", receiver.port, "framing = 'newline_delimited'"),
            sink("json_tcp", receiver.port, json),
            sink("json_udp", receiver.port, &format!("mode = 'udp'\n{json}")),
        ]
        .concat(),
    );
    let mut events: Vec<Value> = Vec::new();
    for (n, text) in HOSTILE.iter().enumerate() {
        events.push(event(n, text));
        events.push(bare(1000 + n, text));
    }
    // Longer than the longest column of CEF, and yet a datagram.
    let mut long = event(500, &"long ü=|\\".repeat(410));
    long["event"]["original"] = json!("short");
    events.push(long);
    let read = read(&receiver, &ground, from, &events, 7);

    for event in &events {
        let id = at(event, "event.id").as_str().unwrap();
        for name in ["cef_tcp", "cef_tls", "cef_mutual", "cef_udp", "cef_lines"] {
            let line = found(&read, name, id);
            let tree: Value = serde_json::from_str(line["tree"].as_str().unwrap()).unwrap();
            let cef = &tree["cef"]["f"];
            let (signature, title) = header(event);
            assert_eq!(cef["DeviceVendor"], "pvetrail", "{line}");
            assert_eq!(cef["DeviceProduct"], "audit");
            assert_eq!(cef["DeviceVersion"], env!("CARGO_PKG_VERSION"));
            assert_eq!(cef["SignatureID"], signature.as_str());
            assert_eq!(cef["Name"], title.as_str());
            let severity = at(event, "event.severity").as_i64().unwrap_or(1);
            assert_eq!(cef["Severity"], severity.to_string());
            let mut got = cef["Extensions"].as_object().unwrap().clone();
            // liblognorm takes the first letter of the first key for a blank.
            let time = got.remove("t").unwrap();
            let second = event["@timestamp"].as_str().unwrap();
            let second = pipeline::Time::parse(second).unwrap().0 / 1_000_000;
            assert_eq!(time, second.to_string());
            if event["event"].get("start").is_some() {
                assert_eq!(got.remove("start"), Some(json!("1773528067000")));
            }
            assert_eq!(got, extension(event), "{name}: {line}");
            header_and_data(line, &tree, event);
        }
        for name in ["json_tcp", "json_udp"] {
            let line = found(&read, name, id);
            let body: Value = serde_json::from_str(line["msg"].as_str().unwrap()).unwrap();
            holds(&body, event, name);
            let tree: Value = serde_json::from_str(line["tree"].as_str().unwrap()).unwrap();
            header_and_data(line, &tree, event);
        }
    }
}

/// The header of RFC 5424 and the structured data, as rsyslog has read them.
fn header_and_data(line: &Value, tree: &Value, event: &Value) {
    assert_eq!(line["version"], "1");
    let severity = match at(event, "event.severity").as_i64() {
        Some(10) => 2,
        Some(8) => 3,
        Some(5) => 4,
        Some(3) => 5,
        _ => 6,
    };
    assert_eq!(line["pri"], (13 * 8 + severity).to_string());
    let same = |a: &Value, b: &Value| {
        let time = |value: &Value| pipeline::Time::parse(value.as_str().unwrap()).unwrap();
        time(a) == time(b)
    };
    assert!(same(&line["time"], &event["@timestamp"]), "{line}");
    if let Some(host) = at(event, "host.name").as_str() {
        assert_eq!(line["host"], host);
    }
    let code = header(event).0;
    assert_eq!(line["msgid"], code.as_str());
    let data_read = &tree["rfc5424-sd"];
    assert_eq!(data_read["origin"]["software"], "pvetrail");
    let ours: BTreeMap<&str, String> = data_read["pvetrail@32473"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str().unwrap().to_owned()))
        .collect();
    assert_eq!(ours, data(event), "{line}");
}

/// Whether a document holds everything that another one says.
fn holds(got: &Value, wanted: &Value, what: &str) {
    match wanted {
        Value::Object(members) => {
            for (name, value) in members {
                if name == "@timestamp" || name == "start" {
                    let time = |value: &Value| pipeline::Time::parse(value.as_str().unwrap());
                    assert_eq!(time(&got[name]), time(value), "{what}: {name}");
                } else {
                    holds(&got[name], value, what);
                }
            }
        }
        _ => assert_eq!(got, wanted, "{what}"),
    }
}

#[test]
fn syslog_ng_reads_the_same_over_tcp_tls_and_udp() {
    let pki = Pki::new();
    let Some(receiver) = Receiver::start(Which::SyslogNg, &pki) else {
        return;
    };
    let ground = Ground::new();
    let from = free_port();
    let own = format!(
        "tls = {{ ca_file = {:?}, crt_file = {:?}, key_file = {:?} }}",
        pki.file("ca.pem"),
        pki.file("client.pem"),
        pki.file("client.key")
    );
    let json = "encoding = { codec = 'json' }";
    ground.configure(
        &[
            source(from),
            sink("json_tcp", receiver.port, json),
            sink("json_mutual", receiver.mutual, &format!("{own}\n{json}")),
            sink("json_udp", receiver.port, &format!("mode = 'udp'\n{json}")),
            sink("cef_tcp", receiver.port, ""),
        ]
        .concat(),
    );
    let events: Vec<Value> = HOSTILE
        .iter()
        .enumerate()
        .map(|(n, text)| event(n, text))
        .collect();
    let read = read(&receiver, &ground, from, &events, 4);
    for event in &events {
        let id = at(event, "event.id").as_str().unwrap();
        for name in ["json_tcp", "json_mutual", "json_udp"] {
            let line = found(&read, name, id);
            let body: Value = serde_json::from_str(line["msg"].as_str().unwrap()).unwrap();
            holds(&body, event, name);
            assert_eq!(line["host"], "pve1");
            assert_eq!(line["msgid"], header(event).0.as_str());
            for (parameter, value) in data(event) {
                let got = &line["_SDATA"]["pvetrail@32473"][parameter];
                // syslog-ng knows no difference between an empty value and none.
                let got = got.as_str().unwrap_or_default();
                assert_eq!(got, value, "{line}");
            }
        }
        let line = found(&read, "cef_tcp", id);
        assert!(
            line["msg"]
                .as_str()
                .unwrap()
                .starts_with("CEF:0|pvetrail|audit|"),
            "{line}"
        );
    }
}

#[test]
fn what_is_too_large_loses_what_can_be_spared_and_is_one_message() {
    const MOST: usize = 4096;
    let pki = Pki::new();
    let Some(receiver) = Receiver::start(Which::Rsyslog, &pki) else {
        return;
    };
    let ground = Ground::new();
    let from = free_port();
    let small = |text: String| text.replace("60KiB", "4KiB");
    ground.configure(
        &[
            source(from),
            small(sink("cef", receiver.port, "")),
            small(sink("json", receiver.port, "encoding = { codec = 'json' }")),
            small(sink(
                "udp",
                receiver.port,
                "mode = 'udp'\nencoding = { codec = 'json' }",
            )),
        ]
        .concat(),
    );
    let huge = "ü=\"|\\".repeat(1500);
    let with = |n: usize, path: &[&str], value: Value| {
        let mut event = event(n * 4, "small");
        let mut place = &mut event;
        for part in path {
            place = &mut place[*part];
        }
        *place = value;
        event
    };
    let events = [
        with(1, &["event", "original"], json!(huge)),
        with(
            2,
            &["pve", "changes"],
            json!([{ "key": "[redacted]", "old": huge, "new": "b" }]),
        ),
        with(3, &["pve", "params"], json!({ "description": huge })),
        with(4, &["message"], json!(huge)),
    ];
    let read = read(&receiver, &ground, from, &events, 3);
    for (n, event) in events.iter().enumerate() {
        let id = at(event, "event.id").as_str().unwrap();
        for name in ["cef", "json", "udp"] {
            let line = found(&read, name, id);
            let what = format!("{name} {n}: {line}");
            assert!(line["raw"].as_str().unwrap().len() <= MOST, "{what}");
            let tree: Value = serde_json::from_str(line["tree"].as_str().unwrap()).unwrap();
            let said = &tree["rfc5424-sd"]["pvetrail@32473"];
            for (parameter, value) in data(event) {
                assert_eq!(said[parameter], value.as_str(), "{what}");
            }
            // CEF has neither the raw line nor the parameters of the body, and cuts its texts by itself.
            let cut = name != "cef" || n == 1;
            assert_eq!(said["truncated"] == "true", cut, "{what}");
            if name == "cef" {
                let got = &tree["cef"]["f"]["Extensions"];
                assert_eq!(got["suser"], "small", "{what}");
                assert_eq!(got.get("cs5").is_some(), n != 1, "{what}");
                continue;
            }
            let body: Value = serde_json::from_str(line["msg"].as_str().unwrap()).unwrap();
            assert_eq!(body["pve"]["truncated"], true, "{what}");
            assert!(body["event"].get("original").is_none(), "{what}");
            assert_eq!(body["pve"].get("changes").is_some(), n == 0, "{what}");
            assert!(body["pve"].get("params").is_none(), "{what}");
            for path in [
                "event.code",
                "event.action",
                "user.id",
                "source.ip",
                "host.name",
                "pve.object.id",
            ] {
                assert_eq!(at(&body, path), at(event, path), "{what}");
            }
            if n == 3 {
                let message = body["message"].as_str().unwrap();
                assert!(message.ends_with('…') && huge.starts_with(message.trim_end_matches('…')));
                // No more than had to go.
                assert!(line["raw"].as_str().unwrap().len() > MOST - 100, "{what}");
            } else {
                assert_eq!(body["message"], event["message"]);
            }
        }
    }
}

#[track_caller]
fn found<'a>(read: &'a BTreeMap<(String, String), Value>, sink: &str, id: &str) -> &'a Value {
    let line = read.get(&(sink.to_owned(), id.to_owned()));
    line.unwrap_or_else(|| panic!("{sink} {id} is not among {:?}", read.values().next()))
}
