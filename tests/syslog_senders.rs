//! Real senders: rsyslog and syslog-ng send over TLS with certificates of their own, and nothing is missing.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

#[allow(dead_code, reason = "each test uses its part")]
mod support;

use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use support::service::Service;
use support::syslog::{Pki, Road, free_port, messages};

const MESSAGES: usize = 20_000;

/// A daemon in the foreground, ended with the test.
struct Daemon(Child);

impl Daemon {
    /// `tests/services/NAME.sh run ARG…`; `None`, told where the tests look, if this machine has none.
    fn run(name: &str, args: &[&std::path::Path], last: &[&str]) -> Option<Daemon> {
        let script = format!("tests/services/{name}.sh");
        let installed = Command::new(&script).arg("install").output().unwrap();
        if !installed.status.success() {
            support::service::skip(&format!("service: {name} cannot be installed"));
            return None;
        }
        let mut command = Command::new(script);
        command
            .arg("run")
            .args(args)
            .args(last)
            .stdin(Stdio::null());
        Some(Daemon(command.spawn().unwrap()))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Gives the daemon its messages over plain TCP.
fn send(road: &Road, port: u16, name: &str) {
    let mut connection = None;
    road.ground.until(&format!("{name} listens"), || {
        connection = TcpStream::connect(("127.0.0.1", port)).ok();
        connection.is_some()
    });
    let mut sender = connection.unwrap();
    for n in 0..MESSAGES {
        // Every hundredth is long, and has what a frame might stumble over.
        let filling = "<13>ü\\n7 <13>".repeat(if n % 100 == 0 { 300 } else { 1 });
        writeln!(
            sender,
            "<86>1 2026-11-20T10:00:00.{:06}Z pve{} app{} {n} ID [x@1 n=\"{n}\"] number {n} {filling}",
            n % 1_000_000,
            n % 3,
            n % 7
        )
        .unwrap();
    }
}

/// Reads the messages where the daemon sends them to.
fn all_arrive(road: &Road, port: u16, name: &str) {
    send(road, port, name);
    let events = road.expect(MESSAGES);
    assert_eq!(events.len(), MESSAGES);
    let texts: BTreeSet<&str> = messages(&events).into_iter().collect();
    for n in 0..MESSAGES {
        let filling = "<13>ü\\n7 <13>".repeat(if n % 100 == 0 { 300 } else { 1 });
        assert!(
            texts.contains(&*format!("number {n} {filling}")),
            "{name}: number {n} is missing"
        );
    }
    for event in &events {
        let n = event["process"]["pid"].as_u64().unwrap();
        assert_eq!(event["host"]["name"], format!("pve{}", n % 3));
        assert_eq!(event["process"]["name"], format!("app{}", n % 7));
        assert_eq!(
            event["log"]["syslog"]["structured_data"]["x@1"]["n"],
            n.to_string()
        );
        assert_eq!(event["log"]["syslog"]["facility"]["name"], "authpriv");
        assert_eq!(event["tls"]["client"]["subject"], "CN=client,O=Example");
        assert!(event.get("tags").is_none(), "{event}");
    }
    for kind in ["invalid_frame", "incomplete_frame", "parser_failed"] {
        assert_eq!(road.errors(kind), 0.0, "{name}: {kind}");
    }
    road.ground.balances();
}

/// rsyslog, which takes messages at this port and sends them over TLS; `None` if this machine has none.
fn rsyslog(road: &Road, pki: &Pki, port: u16) -> Option<Daemon> {
    let config = road.ground.path("rsyslog.conf");
    std::fs::write(
        &config,
        format!(
            r#"global(workDirectory={work:?} maxMessageSize="64k"
  DefaultNetstreamDriverCAFile={ca:?} DefaultNetstreamDriverCertFile={crt:?} DefaultNetstreamDriverKeyFile={key:?})
module(load="imtcp")
input(type="imtcp" address="127.0.0.1" port="{port}")
action(type="omfwd" target="127.0.0.1" port="{to}" protocol="tcp" TCP_Framing="octet-counted"
  template="RSYSLOG_SyslogProtocol23Format" action.resumeRetryCount="-1" action.resumeInterval="1"
  StreamDriver="ossl" StreamDriverMode="1" StreamDriverAuthMode="x509/name" StreamDriverPermittedPeers="localhost")
"#,
            work = road.ground.path(""),
            ca = pki.file("ca.pem"),
            crt = pki.file("client.pem"),
            key = pki.file("client.key"),
            to = road.port,
        ),
    )
    .unwrap();
    let pid = road.ground.path("rsyslogd.pid").display().to_string();
    Daemon::run("rsyslog", &[&config], &["-i", &pid])
}

#[test]
fn rsyslog_sends_over_tls_and_nothing_is_missing() {
    let pki = Pki::new();
    let road = Road::start(&pki.source(&["agent.example"]));
    let port = free_port();
    let Some(_daemon) = rsyslog(&road, &pki, port) else {
        return;
    };
    all_arrive(&road, port, "rsyslog");
}

#[test]
fn what_rsyslog_sends_over_tls_is_in_opensearch() {
    let Some(server) = Service::start("opensearch", &[]) else {
        return;
    };
    let pki = Pki::new();
    let sink = format!(
        "type = \"elasticsearch\"\nendpoints = [{:?}]\nbulk = {{ index = \"pve-audit-%Y.%m\" }}",
        server.url
    );
    let road = Road::into(&sink, &pki.source(&["agent.example"]));
    let port = free_port();
    let Some(_daemon) = rsyslog(&road, &pki, port) else {
        return;
    };
    send(&road, port, "rsyslog");
    road.ground.until("all is in the index", || {
        server.documents("pve-audit-*") >= MESSAGES as u64
    });
    road.ground.balances();
    assert_eq!(server.documents("pve-audit-2026.11"), MESSAGES as u64);
    let query = r#"{"query":{"term":{"process.pid":7}}}"#;
    let found = server.ask("POST", "/pve-audit-*/_search", query);
    assert_eq!(found["hits"]["total"]["value"], 1, "{found}");
    let event = &found["hits"]["hits"][0]["_source"];
    assert_eq!(event["host"]["name"], "pve1");
    assert_eq!(event["log"]["syslog"]["severity"]["name"], "info");
    assert_eq!(event["tls"]["client"]["subject"], "CN=client,O=Example");
}

#[test]
fn syslog_ng_sends_over_tls_and_nothing_is_missing() {
    let pki = Pki::new();
    let road = Road::start(&pki.source(&["agent.example"]));
    let port = free_port();
    let config = road.ground.path("syslog-ng.conf");
    std::fs::write(
        &config,
        format!(
            r#"@version: @VERSION@
options {{ stats-freq(0); keep-hostname(yes); time-reopen(1); log-msg-size(65536); }};
source from_test {{ network(ip("127.0.0.1") port({port}) transport("tcp") flags(syslog-protocol) log-iw-size(30000)); }};
destination to_us {{ syslog("127.0.0.1" port({to}) transport("tls") log-fifo-size(40000)
  tls(ca-file({ca:?}) cert-file({crt:?}) key-file({key:?}) peer-verify(required-trusted))); }};
log {{ source(from_test); destination(to_us); flags(flow-control); }};
"#,
            to = road.port,
            ca = pki.file("ca.pem"),
            crt = pki.file("client.pem"),
            key = pki.file("client.key"),
        ),
    )
    .unwrap();
    let folder = road.ground.path("");
    let Some(_daemon) = Daemon::run("syslog-ng", &[&config, &folder], &[]) else {
        return;
    };
    all_arrive(&road, port, "syslog-ng");
}
