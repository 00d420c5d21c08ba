//! Events as `event_id` makes them, by the second of the test at which they happen.

use std::time::Duration;

use pipeline::testing::{Json, StatefulBench, events, json};
use pipeline::{Event, Time};

use super::super::Config;

/// A second of the test; fractions are milliseconds.
pub(in super::super) fn time(at: f64) -> Time {
    pipeline::testing::at("0 s").after(Duration::from_millis((at * 1000.0 + 7_200_000.0) as u64))
}

/// The UPID of a task that begins at a second of the test.
pub(in super::super) fn upid(node: &str, at: f64, kind: &str, id: &str, user: &str) -> String {
    upid_of(node, 0x1A6B3, at, kind, id, user)
}

/// The same with a process of its own.
pub(in super::super) fn upid_of(
    node: &str,
    pid: u32,
    at: f64,
    kind: &str,
    id: &str,
    user: &str,
) -> String {
    let start = time(at).0 / 1_000_000_000;
    format!("UPID:{node}:{pid:08X}:00F3C1D2:{start:08X}:{kind}:{id}:{user}:")
}

/// A line of the access log.
pub(in super::super) struct Access<'a> {
    pub(in super::super) node: &'a str,
    pub(in super::super) ip: &'a str,
    pub(in super::super) user: &'a str,
    pub(in super::super) request: &'a str,
    pub(in super::super) status: i64,
    pub(in super::super) bytes: usize,
}

impl Access<'_> {
    /// As an event at a second of the test.
    pub(in super::super) fn at(&self, at: f64) -> Json {
        let (method, path) = self.request.split_once(' ').unwrap();
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let user = pipeline::pve::User::parse(self.user);
        let mut event = json!({
            "@timestamp": time(at.floor()).to_string(), "host.name": self.node, "pve.origin": "access",
            "pve.record": "primary", "pve.source.attribution": "direct", "source.ip": self.ip,
            "related.ip": [self.ip], "http.request.method": method, "url.path": path, "url.query": query,
            "http.response.status_code": self.status, "http.response.body.bytes": self.bytes,
            "event.code": "PVE-1013", "event.outcome": "success", "pve.actor.kind": "user",
        });
        let fields = event.as_object_mut().unwrap();
        if self.user != "-" {
            fields.insert("user.id".into(), user.id().into_owned().into());
            if let Some(token) = user.token {
                fields.insert("pve.token.id".into(), token.into());
            }
        }
        if let Some(call) = pipeline::pve::Endpoint::find(method, path) {
            let act = call.act();
            fields.insert("event.code".into(), act.code.into());
            fields.insert("pve.object.type".into(), act.object_type.into());
            fields.insert("pve.object.id".into(), act.object_id.as_ref().into());
            if let Some(vmid) = act.vmid {
                fields.insert("pve.vmid".into(), vmid.into());
            }
        }
        event
    }
}

/// A call that is answered with the UPID.
pub(in super::super) fn forks(
    node: &str,
    ip: &str,
    user: &str,
    request: &str,
    upid: &str,
    at: f64,
) -> Json {
    let around = if request.contains("/extjs/") { 23 } else { 11 };
    let bytes = upid.len() + around;
    Access {
        node,
        ip,
        user,
        request,
        status: 200,
        bytes,
    }
    .at(at)
}

/// A call that is answered with nothing.
pub(in super::super) fn writes(node: &str, ip: &str, user: &str, request: &str, at: f64) -> Json {
    Access {
        node,
        ip,
        user,
        request,
        status: 200,
        bytes: 25,
    }
    .at(at)
}

/// A record of a task, by its origin.
pub(in super::super) fn task(origin: &str, upid: &str, phase: &str, at: f64) -> Json {
    let parsed = pipeline::pve::Upid::parse(upid).unwrap();
    let kind = pipeline::pve::TaskType::find(parsed.kind).unwrap();
    let exit = (phase != "start").then_some(pipeline::pve::Exit::Ok);
    let act = kind.act(parsed.id, parsed.node, exit);
    let user = pipeline::pve::User::parse(parsed.user);
    let mut event = json!({
        "@timestamp": time(at).to_string(), "host.name": parsed.node, "pve.origin": origin, "pve.record": "primary",
        "pve.source.attribution": "none", "pve.task.upid": upid, "pve.task.phase": phase, "pve.task.type": parsed.kind,
        "user.id": user.id(), "event.code": act.code, "event.outcome": if phase == "start" { "unknown" } else { "success" },
        "pve.object.type": act.object_type, "pve.object.id": act.object_id, "pve.actor.kind": "user",
    });
    let fields = event.as_object_mut().unwrap();
    if let Some(vmid) = act.vmid {
        fields.insert("pve.vmid".into(), vmid.into());
    }
    if origin == "journal" && phase == "start" {
        fields.insert("process.name".into(), "pvedaemon".into());
    }
    event
}

/// A login as the journal tells it.
pub(in super::super) fn logged_in(node: &str, user: &str, at: f64) -> Json {
    json!({
        "@timestamp": time(at).to_string(), "host.name": node, "pve.origin": "journal", "pve.record": "primary",
        "pve.source.attribution": "none", "event.code": "PVE-1001", "event.action": "login", "event.outcome": "success",
        "user.id": user, "pve.actor.kind": "user", "pve.object.type": "user", "pve.object.id": user,
    })
}

/// The line beside it.
pub(in super::super) fn ticket(node: &str, ip: &str, at: f64) -> Json {
    let request = "POST /api2/extjs/access/ticket";
    let user = "-";
    Access {
        node,
        ip,
        user,
        request,
        status: 200,
        bytes: 763,
    }
    .at(at)
}

/// A difference of a configuration.
pub(in super::super) fn difference(
    node: &str,
    code: &str,
    object: (&str, &str),
    hash: &str,
    at: f64,
) -> Json {
    let mut event = json!({
        "@timestamp": time(at).to_string(), "host.name": node, "pve.origin": "config", "pve.record": "primary",
        "pve.source.attribution": "none", "pve.actor.kind": "unknown", "event.code": code, "event.outcome": "success",
        "pve.object.type": object.0, "pve.object.id": object.1, "file.path": "/etc/pve/user.cfg",
        "file.hash.sha256": hash, "pve.change_keys": ["cores"],
        "pve.changes": [{"key": "cores", "op": "change", "old": "2", "new": "8"}],
    });
    if let Ok(vmid) = object.1.parse::<i64>() {
        event
            .as_object_mut()
            .unwrap()
            .insert("pve.vmid".into(), vmid.into());
    }
    event
}

/// A difference of a file with rows of its own: key, old and new value.
pub(in super::super) fn edit(
    code: &str,
    object: (&str, &str),
    path: &str,
    rows: &[(&str, Option<&str>, Option<&str>)],
    at: f64,
) -> Json {
    let keys: Vec<&str> = rows.iter().map(|row| row.0).collect();
    let changes: Vec<Json> = rows
        .iter()
        .map(|(key, old, new)| {
            let mut row = json!({"key": key});
            for (side, value) in [("old", old), ("new", new)] {
                if let Some(value) = value {
                    row[side] = json!(value);
                }
            }
            row
        })
        .collect();
    let mut event = difference("pve1", code, object, &format!("hash {at}"), at);
    event["file.path"] = json!(path);
    event["pve.change_keys"] = json!(keys);
    event["pve.changes"] = json!(changes);
    event
}

/// A difference that the API shows, which was asked the last time at `since`.
pub(in super::super) fn polled(
    code: &str,
    object: (&str, &str),
    rows: &[(&str, Option<&str>, Option<&str>)],
    since: f64,
    at: f64,
) -> Json {
    let mut event = edit(code, object, "", rows, at);
    let fields = event.as_object_mut().unwrap();
    for file in ["file.path", "file.hash.sha256"] {
        fields.remove(file);
    }
    event["pve.origin"] = json!("api");
    event["event.start"] = json!(time(since).to_string());
    event
}

/// A change that the journal tells with its author.
pub(in super::super) fn said(
    origin: &str,
    program: &str,
    node: &str,
    user: &str,
    vmid: i64,
    at: f64,
) -> Json {
    json!({
        "@timestamp": time(at).to_string(), "host.name": node, "pve.origin": origin, "pve.record": "primary",
        "process.name": program, "process.pid": 1562,
        "pve.source.attribution": "none", "pve.actor.kind": "user", "event.code": "PVE-2014", "event.outcome": "success",
        "user.id": user, "pve.object.type": "vm", "pve.object.id": vmid.to_string(), "pve.vmid": vmid,
        "event.original": format!("<{user}> update VM {vmid}: -cores 8"), "pve.change_keys": ["cores"],
        "process.command_line": "-cores 8",
    })
}

/// Runs events through a correlation, then lets a minute pass; what came out, in the order of the input.
pub(in super::super) fn run(toml: &str, list: impl IntoIterator<Item = Json>) -> Vec<Event> {
    let mut bench = pipeline::testing::stateful::<Config>(toml);
    feed(&mut bench, list)
}

/// The same with a correlation that goes on.
pub(in super::super) fn feed(
    bench: &mut StatefulBench,
    list: impl IntoIterator<Item = Json>,
) -> Vec<Event> {
    let fed = events(list);
    let order: Vec<_> = fed.iter().map(Event::id).collect();
    let mut out: Vec<Event> = bench.feed(fed).events().to_vec();
    for _ in 0..12 {
        out.extend(bench.wait(Duration::from_secs(5)).events().iter().cloned());
    }
    out.sort_by_key(|event| order.iter().position(|id| *id == event.id()));
    out
}

/// A field as text; lists joined by blanks.
pub(in super::super) fn text(event: &Event, path: &str) -> String {
    let json = event.to_json();
    let value = path.split('.').fold(&json, |json, key| &json[key]);
    match value {
        Json::Array(list) => list
            .iter()
            .map(|one| one.as_str().unwrap_or("?"))
            .collect::<Vec<_>>()
            .join(" "),
        Json::String(text) => text.clone(),
        Json::Null => "-".to_owned(),
        other => other.to_string(),
    }
}

/// Record, ground, address.
pub(in super::super) fn told(event: &Event) -> [String; 3] {
    [
        text(event, "pve.record"),
        text(event, "pve.source.attribution"),
        text(event, "source.ip"),
    ]
}
