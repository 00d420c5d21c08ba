//! Messages over UDP, TCP, TLS and Unix sockets into the real program: all of them arrive, whatever is sent.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub, dead_code)]

mod support;

use std::io::Write as _;
use std::net::{TcpStream, UdpSocket};

use serde_json::Value;
use support::{Ground, Program};

/// A program with one `syslog` source, whose events end up in a file.
struct Road {
    ground: Ground,
    program: Program,
    port: u16,
}

impl Road {
    /// `source` are the source's own keys; `PORT` in them is a free one.
    fn start(source: &str) -> Road {
        let ground = Ground::new();
        let port = free_port();
        let source = source
            .replace("PORT", &port.to_string())
            .replace("GROUND", &ground.path("").display().to_string());
        ground.configure(&format!(
            r#"
[admin]
address = "127.0.0.1:0"

[sources.in]
type = "syslog"
timezone = "UTC"
{source}

[sinks.out]
type = "console"
inputs = ["in"]
encoding = {{ codec = "json" }}
batch = {{ timeout = "10ms" }}
"#
        ));
        let program = ground.start();
        ground.until("the source listens", || {
            ground.log().contains("listening for syslog")
        });
        Road {
            ground,
            program,
            port,
        }
    }

    fn events(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.ground.path("printed")).unwrap_or_default();
        // The last line may still be on its way.
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        text[..whole]
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// Waits for so many events.
    fn expect(&self, n: usize) -> Vec<Value> {
        self.ground.until(&format!("{n} events are there"), || {
            self.events().len() >= n
        });
        self.events()
    }

    fn tcp(&self) -> TcpStream {
        TcpStream::connect(("127.0.0.1", self.port)).unwrap()
    }

    fn errors(&self, kind: &str) -> f64 {
        let label = format!("error_type=\"{kind}\"");
        let metrics = self.ground.metrics();
        let of = metrics.iter().filter(|(name, _)| {
            name.starts_with("component_errors_total") && name.contains(&label)
        });
        of.map(|(_, value)| value).sum()
    }
}

fn free_port() -> u16 {
    // One that is free for both.
    loop {
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = tcp.local_addr().unwrap().port();
        if UdpSocket::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

fn messages(events: &[Value]) -> Vec<&str> {
    events
        .iter()
        .map(|event| event["message"].as_str().unwrap())
        .collect()
}

#[test]
fn messages_over_tcp_arrive_in_order_with_their_fields() {
    let road = Road::start("mode = \"tcp\"\naddress = \"127.0.0.1:PORT\"");
    let mut sender = road.tcp();
    let own = sender.local_addr().unwrap().to_string();
    sender
        .write_all(b"<30>1 2026-11-20T10:00:00.5Z pve1 pvedaemon 812 - - starting task\n")
        .unwrap();
    let counted = "<38>Nov 20 10:00:01 pve2 sshd[99]: two\nlines in a frame";
    write!(sender, "{} {counted}", counted.len()).unwrap();
    for n in 0..20_000 {
        writeln!(sender, "<13>1 - - - - - - number {n}").unwrap();
    }
    sender.write_all(b"<13>1 - - - - - - the last one").unwrap();
    drop(sender);
    let events = road.expect(20_003);
    assert_eq!(events[0]["message"], "starting task");
    assert_eq!(events[0]["@timestamp"], "2026-11-20T10:00:00.500Z");
    assert_eq!(events[0]["host"]["name"], "pve1");
    assert_eq!(events[0]["process"]["name"], "pvedaemon");
    assert_eq!(events[0]["process"]["pid"], 812);
    assert_eq!(events[0]["log"]["source"]["address"], own);
    assert_eq!(events[1]["message"], "two\nlines in a frame");
    assert_eq!(events[2]["host"]["name"], "127.0.0.1");
    let texts = messages(&events);
    assert!((0..20_000).all(|n| texts[n + 2] == format!("number {n}")));
    assert_eq!(texts[20_002], "the last one");
    let ids: std::collections::BTreeSet<_> = events
        .iter()
        .map(|e| e["event"]["id"].as_str().unwrap())
        .collect();
    assert_eq!(ids.len(), events.len());
    road.ground.balances();
    assert_eq!(road.program.stop(), Some(0));
}
