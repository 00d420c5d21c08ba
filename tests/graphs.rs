//! The graphs of `configs/graphs`, unchanged, with the demo cluster in front and their real servers behind: what goes in
//! comes out, each event once.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

#[allow(dead_code, reason = "each test uses its part")]
mod support;

use std::collections::HashMap;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use support::Ground;
use support::nats::Nats;
use support::service::Service;
use support::syslog::Pki;

/// Entries of each source, where a day has as many.
const LINES: u64 = 1500;

/// `pvetrail demo` with one of the shipped graphs.
/// Each of these starts servers of several hundred MiB, and a day takes what the machine has: side by side they would
/// only wait for each other.
fn one_at_a_time() -> std::sync::MutexGuard<'static, ()> {
    static ONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
    ONE.lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn demo(ground: &Ground, graph: &str, variables: &[(&str, String)]) -> Command {
    let mut command = support::program();
    command
        .args(["demo", "--rate", "0", "--count", &LINES.to_string()])
        .arg(format!(
            "{}/configs/graphs/{graph}.toml",
            env!("CARGO_MANIFEST_DIR")
        ))
        .current_dir(ground.path(""))
        .env("PVETRAIL_ADMIN", "127.0.0.1:0")
        .envs(variables.iter().map(|(name, value)| (*name, value)));
    command
}

/// What the summary at the end says: events of each source and deliveries of each sink.
struct Told {
    made: HashMap<String, u64>,
    delivered: HashMap<String, u64>,
}

impl Told {
    fn of(Output { status, stderr, .. }: &Output) -> Told {
        let text = String::from_utf8_lossy(stderr);
        assert!(status.success(), "{status}: {text}");
        let (mut made, mut delivered) = (HashMap::new(), HashMap::new());
        for line in text.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words[..] {
                ["source", id, events, "events"] => {
                    made.insert(id.to_owned(), events.parse().unwrap());
                }
                ["sink", id, events, "delivered,", dead, "dead", "letters"] => {
                    assert_eq!(dead, "0", "{text}");
                    delivered.insert(id.to_owned(), events.parse().unwrap());
                }
                _ => {}
            }
        }
        assert_eq!((made["access"], made["journal"]), (LINES, LINES), "{text}");
        for id in ["self", "tasks", "config", "firewall"] {
            assert!(made[id] > 0, "{text}");
        }
        Told { made, delivered }
    }

    /// All that was made.
    fn all(&self) -> u64 {
        self.made.values().sum()
    }
}

#[test]
fn elk_brings_a_day_into_opensearch_and_elasticsearch() {
    let _one = one_at_a_time();
    for server in ["opensearch", "elasticsearch"] {
        let Some(service) = Service::start(server, &[]) else {
            continue;
        };
        let ground = Ground::new();
        let told = demo(&ground, "elk", &[("PVETRAIL_ES", service.url.clone())]);
        let told = Told::of(&{ told }.output().unwrap());
        assert_eq!(told.delivered["search"], told.all());
        assert_eq!(service.documents("pve-audit-*"), told.all(), "{server}");
    }
}

#[test]
fn loki_has_every_line_of_the_day() {
    let _one = one_at_a_time();
    let Some(service) = Service::start("loki", &[]) else {
        return;
    };
    let ground = Ground::new();
    let mut told = demo(&ground, "loki", &[("PVETRAIL_LOKI", service.url.clone())]);
    // Loki looks for what is older than some hours on its disk, where it has not put it yet: so the day begins now.
    told.args(["--start", &pipeline::Clock::system().now().to_string()]);
    let told = Told::of(&{ told }.output().unwrap());
    assert_eq!(told.delivered["loki"], told.all());
    // A day that is told at once runs ahead of the clock, so the question is asked from its end.
    let then = std::time::SystemTime::now() + std::time::Duration::from_secs(25 * 3600);
    let then = then
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let query = format!(
        "/loki/api/v1/query?time={then}&query=sum(count_over_time(%7Bnode%3D~%22.%2B%22%7D%5B2d%5D))"
    );
    let answer = service.ask("GET", &query, "");
    let count = answer["data"]["result"][0]["value"][1].as_str().unwrap();
    assert_eq!(count.parse::<u64>().unwrap(), told.all(), "{answer}");
}

#[test]
fn siem_gets_every_event_as_cef_over_tls() {
    let _one = one_at_a_time();
    let ground = Ground::new();
    let pki = Pki::new();
    for (from, to) in [
        ("server.pem", "server.crt"),
        ("server.key", "server.key"),
        ("ca.pem", "ca.crt"),
    ] {
        std::fs::create_dir_all(ground.path("certs")).unwrap();
        std::fs::copy(pki.file(from), ground.path("certs").join(to)).unwrap();
    }
    let certificates = ground.path("certs").display().to_string();
    let Some(server) = Service::start_with("syslog-ng", &[], &[("CERTS", &certificates)]) else {
        return;
    };
    let variables = [
        ("PVETRAIL_SIEM", server.url.replace("tcp://", "")),
        ("PVETRAIL_SIEM_CA", pki.file("ca.pem").display().to_string()),
        ("PVETRAIL_SYSLOG", "127.0.0.1:0".to_owned()),
        ("PVETRAIL_KEPT", ground.path("kept").display().to_string()),
    ];
    let told = Told::of(&demo(&ground, "siem", &variables).output().unwrap());
    assert_eq!(told.delivered["siem"], told.all());
    assert_eq!(told.delivered["kept"], told.all());
    let ids = |text: &str| -> std::collections::HashSet<String> {
        let id = |line: &str| {
            Some(
                line.split("externalId=")
                    .nth(1)?
                    .split(' ')
                    .next()?
                    .to_owned(),
            )
        };
        text.lines().filter_map(id).collect()
    };
    ground.until("the server has written every event", || {
        ids(&server.text("out.log")).len() as u64 == told.all()
    });
    assert_eq!(server.text("out.log").lines().count() as u64, told.all());
}

#[test]
fn fleet_goes_through_jetstream_into_opensearch() {
    let _one = one_at_a_time();
    let (Some(nats), Some(service)) = (Nats::start(&["-js"]), Service::start("opensearch", &[]))
    else {
        return;
    };
    let ground = Ground::new();
    let variables = [
        ("PVETRAIL_NATS", nats.url.clone()),
        ("PVETRAIL_ES", service.url.clone()),
    ];
    // The collector's half has no end of its own.
    let mut running = Running(
        demo(&ground, "fleet", &variables)
            .stderr(Stdio::null())
            .spawn()
            .unwrap(),
    );
    let count = |query: &str| service.ask("POST", "/pve-audit-*/_count", query)["count"].clone();
    ground.until("the day is in the store", || {
        assert!(running.0.try_wait().unwrap().is_none(), "the program ended");
        // The documents are there to be counted once the server has looked at them anew.
        service.documents("pve-audit-*") > LINES
            && count(r#"{"query":{"match":{"pve.origin":"access"}}}"#) == LINES
    });
    running.end();
    let documents = service.documents("pve-audit-*");
    // Whatever came through has a meaning.
    let none = count(r#"{"query":{"bool":{"must_not":{"exists":{"field":"event.code"}}}}}"#);
    assert_eq!(none, Value::from(0), "of {documents} documents");
}

struct Running(Child);

impl Running {
    fn end(&mut self) {
        let pid = self.0.id().to_string();
        Command::new("kill")
            .args(["-s", "TERM", &pid])
            .status()
            .unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
