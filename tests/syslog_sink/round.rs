//! rsyslog sends to us over TLS, and we store in a real OpenSearch: as many come out as went in.

use std::io::Write;
use std::net::TcpStream;

use serde_json::json;

use crate::support::service::Service;
use crate::support::siem::{Receiver, Which};
use crate::support::syslog::{Pki, free_port};
use crate::support::{Ground, long};

#[test]
fn rsyslog_sends_over_tls_and_every_message_is_a_document_once() {
    let Some(server) = Service::start("opensearch", &[]) else {
        return;
    };
    let pki = Pki::new();
    let ground = Ground::new();
    let port = free_port();
    let source = pki
        .source(&["agent.example"])
        .replace("PORT", &port.to_string());
    ground.configure(&format!(
        "[admin]\naddress = '127.0.0.1:0'\n[sources.in]\ntype = 'syslog'\n{source}\n\
         [sinks.es]\ntype = 'elasticsearch'\ninputs = ['in']\nendpoints = [{:?}]\n",
        server.url
    ));
    let (code, out) = ground.pvetrail(&["setup", "elasticsearch", "graph.toml"]);
    assert_eq!(code, Some(0), "{out}");
    let program = ground.start();
    ground.until("the source listens", || {
        ground.log().contains("listening for syslog")
    });
    let Some(mut sender) = Receiver::ready(Which::Brief, &pki) else {
        return;
    };
    sender.configure(&format!(
        r#"global(workDirectory={work:?} maxMessageSize="64k"
  DefaultNetstreamDriverCAFile={ca:?} DefaultNetstreamDriverCertFile={crt:?} DefaultNetstreamDriverKeyFile={key:?})
module(load="imtcp")
input(type="imtcp" address="127.0.0.1" port="{from}")
action(type="omfwd" target="127.0.0.1" port="{port}" protocol="tcp" TCP_Framing="octet-counted"
  template="RSYSLOG_SyslogProtocol23Format" action.resumeRetryCount="-1" action.resumeInterval="1"
  StreamDriver="ossl" StreamDriverMode="1" StreamDriverAuthMode="x509/name" StreamDriverPermittedPeers="localhost")
"#,
        work = ground.path(""),
        ca = pki.file("ca.pem"),
        crt = pki.file("client.pem"),
        key = pki.file("client.key"),
        from = sender.port,
    ));
    sender.again();
    let all: u64 = if long() { 1_000_000 } else { 10_000 };
    let mut stream =
        std::io::BufWriter::new(TcpStream::connect(("127.0.0.1", sender.port)).unwrap());
    for n in 0..all {
        writeln!(
            stream,
            "<86>1 2026-11-20T10:00:00.{:06}Z pve{} app {n} ID - number {n}",
            n % 1_000_000,
            n % 3
        )
        .unwrap();
    }
    drop(stream);
    let indices = "pve-audit-*";
    ground.until("all are documents", || server.documents(indices) >= all);
    ground.balances();
    assert_eq!(
        ground.metric("component_received_events_total", "es"),
        all as f64
    );
    assert_eq!(program.stop(), Some(0), "{}", ground.log());
    assert_eq!(server.documents(indices), all);
    // Each number once: as many, with the right sum and the right sum of squares.
    let query = json!({ "size": 0, "aggs": {
        "n": { "extended_stats": { "field": "process.pid" } },
        "hosts": { "terms": { "field": "host.name" } },
    } });
    let answer = server.ask("POST", &format!("/{indices}/_search"), &query.to_string());
    let n = &answer["aggregations"]["n"];
    let told = |what: &str| n[what].as_f64().unwrap();
    assert_eq!(
        (told("count"), told("sum"), told("sum_of_squares")),
        (
            all as f64,
            (all * (all - 1) / 2) as f64,
            ((all - 1) * all * (2 * all - 1) / 6) as f64
        ),
        "{n}"
    );
    assert_eq!(
        answer["aggregations"]["hosts"]["buckets"]
            .as_array()
            .unwrap()
            .len(),
        3
    );
}
