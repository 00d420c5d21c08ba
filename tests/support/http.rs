//! A pvetrail that takes events by HTTP, another that sends them, and requests of the test's own.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

use super::Ground;
#[allow(unused_imports, reason = "each test uses its part")]
pub use super::syslog::free_port;

/// Who may send to a [`receiver`].
pub const TOKEN: &str = "a-token-of-the-test";

/// A graph from `http` to `out.jsonl`.
pub fn receiver(ground: &Ground, port: u16, more: &str) -> String {
    format!(
        r#"
[admin]
address = "127.0.0.1:0"

[sources.in]
type = "http"
address = "127.0.0.1:{port}"
auth = [{{ strategy = "bearer", token = "{TOKEN}" }}]
{more}

[sinks.out]
type = "file"
inputs = ["in"]
path = {:?}
batch = {{ timeout = "20ms" }}
"#,
        ground.path("out.jsonl")
    )
}

/// A graph from `in.log` to `webhook`.
pub fn sender(ground: &Ground, uri: &str, more: &str) -> String {
    format!(
        r#"
[admin]
address = "127.0.0.1:0"

[sources.in]
type = "file"
include = [{:?}]

[sinks.hook]
type = "webhook"
inputs = ["in"]
uri = "{uri}"
auth = {{ strategy = "bearer", token = "{TOKEN}" }}
request = {{ retry_initial_backoff = "20ms", retry_max_backoff = "100ms" }}
batch = {{ max_events = 200, timeout = "50ms" }}
{more}
"#,
        ground.path("in.log")
    )
}

/// What was written: each message by its id. A line that a kill has torn is no event yet.
pub fn written(ground: &Ground) -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(ground.path("out.jsonl")).unwrap_or_default();
    let events = text
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    events
        .map(|event| (text(&event["event"]["id"]), text(&event["message"])))
        .collect()
}

/// An answer: its status, its head, its body.
pub type Answer = (u16, String, String);

/// POSTs something with the right token; `None` while nobody listens or the answer does not come whole.
pub fn post(port: u16, body: &[u8]) -> Option<Answer> {
    let head = format!(
        "POST / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .ok()?;
    stream.write_all(head.as_bytes()).ok()?;
    // It may be answered before it was heard to its end.
    let _ = stream.write_all(body);
    let mut text = String::new();
    let _ = stream.read_to_string(&mut text);
    let (head, body) = text.split_once("\r\n\r\n")?;
    Some((
        head.split(' ').nth(1)?.parse().ok()?,
        head.to_owned(),
        body.to_owned(),
    ))
}

/// Requests answered by status.
pub fn answered(ground: &Ground, status: u16) -> f64 {
    let label = format!("status=\"{status}\"");
    let metrics = ground.metrics();
    let of = metrics.iter().filter(|(name, _)| {
        name.starts_with("http_server_requests_total") && name.contains(&label)
    });
    of.map(|(_, value)| value).sum()
}

/// Most memory a process has had [KiB].
pub fn peak_memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.unwrap()
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap()
}
