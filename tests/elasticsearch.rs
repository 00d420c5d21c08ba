//! The `elasticsearch` sink against real servers: OpenSearch and Elasticsearch, plain and behind TLS and users.
//!
//! A server that is not installed (`tests/services/NAME.sh install`) is told, and its tests end there.

#![allow(clippy::unwrap_used, clippy::print_stderr, missing_docs)]

use std::path::{Path, PathBuf};
use std::process::Command;

use pipeline::net::{Http, HttpOptions};
use pipeline::{
    Context, Event, Events, Fate, Kind, ReasonKind, Sink, SinkConfig, Tls, Url, WriteError, Written,
};
use serde_json::{Value, json};
use sinks::elasticsearch::{Config, setup};

/// A running server, stopped when it goes out of scope.
struct Server {
    name: &'static str,
    folder: tempfile::TempDir,
    url: String,
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/services")
        .join(format!("{name}.sh"))
}

fn installed(folder: &str) -> bool {
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(std::env::home_dir()?.join(".cache")));
    cache.is_some_and(|cache| cache.join("pvetrail").join(folder).is_dir())
}

impl Server {
    /// `None` where it is not installed.
    fn start(name: &'static str, security: bool, settings: &[&str]) -> Option<Self> {
        let needed = match (name, security) {
            ("opensearch", false) => "opensearch-2.19.4",
            ("opensearch", true) => "opensearch-2.19.4-security",
            _ => "elasticsearch-8.19.4",
        };
        if !installed(needed) {
            eprintln!("skipped: {needed} is not installed");
            if let Some(list) = std::env::var_os("PVETRAIL_SKIPS") {
                let line = format!("elasticsearch: {needed} is not installed\n");
                let old = std::fs::read_to_string(&list).unwrap_or_default();
                std::fs::write(list, old + &line).unwrap();
            }
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new(script(name));
        command
            .args(["start", "0"])
            .arg(folder.path())
            .args(settings);
        command.env("OWNER", std::process::id().to_string());
        if security {
            command.env("SECURITY", "1");
        }
        let out = command.output().unwrap();
        assert!(
            out.status.success(),
            "{name} starts: {}",
            String::from_utf8_lossy(&out.stderr)
        );
        let url = std::fs::read_to_string(folder.path().join("url"))
            .unwrap()
            .trim()
            .to_owned();
        Some(Self { name, folder, url })
    }

    fn file(&self, name: &str) -> String {
        self.folder
            .path()
            .join("config")
            .join(name)
            .display()
            .to_string()
    }

    fn config(&self, more: Value) -> Config {
        let mut options = json!({ "endpoints": [self.url] });
        options
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        serde_json::from_value(options).unwrap()
    }

    fn sink(&self, more: Value) -> Box<dyn Sink> {
        self.config(more).build(&context()).unwrap()
    }

    fn http(&self) -> Http {
        let mut options = HttpOptions::default();
        if self.url.starts_with("https") {
            options.tls = Tls {
                ca_file: Some(self.file("ca.pem").into()),
                ..Tls::default()
            };
            options.auth = serde_json::from_value(
                json!({ "strategy": "basic", "user": "admin", "password": "admin" }),
            )
            .unwrap();
        }
        Http::new(&options).unwrap()
    }

    async fn ask(&self, method: &'static str, path: &str, body: Option<Value>) -> Value {
        let (http, url) = (
            self.http(),
            Url::parse(&format!("{}/{path}", self.url)).unwrap(),
        );
        let text = body.map(|b| b.to_string()).unwrap_or_default();
        let answer = http
            .request(method, &url)
            .body("application/json", text.as_bytes())
            .send()
            .await
            .unwrap();
        let said = answer.bytes(8 << 20).await.unwrap();
        serde_json::from_slice(&said).unwrap_or_default()
    }

    async fn count(&self, index: &str) -> u64 {
        self.ask("POST", &format!("{index}/_refresh"), None).await;
        self.ask("GET", &format!("{index}/_count"), None).await["count"]
            .as_u64()
            .unwrap_or(0)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = Command::new(script(self.name))
            .arg("stop")
            .arg(self.folder.path())
            .output();
    }
}

fn context() -> Context {
    Context::for_tests(Kind::Sink, "elasticsearch")
}

fn event(n: u64, more: Value) -> Event {
    let mut json = json!({
        "@timestamp": "2026-03-14T22:58:03.412Z",
        "event": { "id": format!("{n:032x}"), "code": "PVE-1002", "kind": "event", "severity": 5 },
        "message": format!("root@pam failed to log in, time {n}"),
        "source": { "ip": "203.0.113.45" },
        "pve": { "vmid": 104, "object": { "type": "vm", "id": "104" }, "params": { "purge": "1" } },
    });
    json.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    Event::from_json(json).unwrap()
}

fn events(range: std::ops::Range<u64>) -> Events {
    Events::of(range.map(|n| event(n, json!({}))).collect())
}

const BOTH: [&str; 2] = ["opensearch", "elasticsearch"];

#[tokio::test]
async fn events_are_stored_once_under_the_installed_mapping_in_both_modes() {
    for name in BOTH {
        let Some(server) = Server::start(name, false, &[]) else {
            continue;
        };
        for (mode, index) in [
            ("bulk", "pve-audit-2026.03"),
            ("data_stream", "logs-pve.audit-default"),
        ] {
            let options = json!({ "mode": mode, "compression": "gzip" });
            for expected in ["created", "updated"] {
                let done = setup(&server.config(options.clone()), &context(), false)
                    .await
                    .unwrap();
                assert!(done.server.to_lowercase().contains(name), "{}", done.server);
                let template = done
                    .steps
                    .iter()
                    .find(|step| step.path.starts_with("_index_template"))
                    .unwrap();
                assert_eq!(template.outcome.as_deref(), Some(expected), "{name} {mode}");
            }
            let mut sink = server.sink(options);
            assert_eq!(sink.healthcheck().await, Ok(()));
            assert_eq!(sink.write(events(0..500)).await.unwrap().duplicates, 0);
            // What was delivered before comes again after a crash.
            assert_eq!(
                sink.write(events(250..750)).await.unwrap().duplicates,
                250,
                "{name} {mode}"
            );
            assert_eq!(server.count(index).await, 750, "{name} {mode}");
            let found = server
                .ask(
                    "GET",
                    &format!("{index}/_search?q=source.ip:203.0.113.0%5C/24&size=1"),
                    None,
                )
                .await;
            assert_eq!(
                found["hits"]["total"]["value"], 750,
                "the mapping knows addresses: {found}"
            );
            let mapping = server
                .ask(
                    "GET",
                    &format!("{index}/_mapping/field/pve.params,pve.vmid"),
                    None,
                )
                .await
                .to_string();
            let flat = if name == "opensearch" {
                "flat_object"
            } else {
                "flattened"
            };
            assert!(
                mapping.contains(flat) && mapping.contains("long"),
                "{mapping}"
            );
        }
    }
}

#[tokio::test]
async fn one_bulk_is_answered_in_four_ways_and_each_event_gets_its_own() {
    for name in BOTH {
        let settings = ["thread_pool.write.size=1", "thread_pool.write.queue_size=1"];
        let Some(server) = Server::start(name, false, &settings) else {
            continue;
        };
        let mapping = json!({
            "settings": { "number_of_shards": 8, "number_of_replicas": 0 },
            "mappings": { "properties": { "pve": { "properties": { "vmid": { "type": "long" } } } } },
        });
        server.ask("PUT", "pve-audit-2026.03", Some(mapping)).await;
        let mut sink = server.sink(json!({}));
        // A few at first, so that none of them is refused for the queue.
        while sink.write(events(0..1)).await.is_err() {}
        let mut left: Vec<u64> = (0..400).collect();
        let (mut duplicates, mut busy, mut dead) = (0, 0, Vec::new());
        while !left.is_empty() {
            let batch = left.iter().map(|n| match n {
                7 => event(7, json!({ "pve": { "vmid": "no number" } })),
                n => event(*n, json!({})),
            });
            match sink.write(Events::of(batch.collect())).await {
                Ok(written) => {
                    duplicates += written.duplicates;
                    left.clear();
                }
                Err(WriteError::Partly(fates, written)) => {
                    duplicates += written.duplicates;
                    let mut again = Vec::new();
                    for (place, fate) in fates {
                        match fate {
                            Fate::Retry(reason) => {
                                assert_eq!(reason.kind, ReasonKind::Busy, "{reason}");
                                busy += 1;
                                again.push(left[place as usize]);
                            }
                            Fate::Refused(reason) => dead.push((left[place as usize], reason)),
                        }
                    }
                    left = again;
                }
                Err(WriteError::Retry { reason, .. }) => {
                    assert_eq!(reason.kind, ReasonKind::Busy, "{reason}")
                }
                Err(WriteError::Refused { reason }) => panic!("{reason}"),
            }
        }
        assert_eq!(duplicates, 1, "{name}: event 0 was there");
        assert!(busy > 0, "{name}: a queue of one is full");
        assert_eq!(dead.len(), 1, "{name}: {dead:?}");
        assert_eq!((dead[0].0, dead[0].1.kind), (7, ReasonKind::Mapping));
        assert!(dead[0].1.text.contains("vmid"), "{}", dead[0].1);
        assert_eq!(server.count("pve-audit-2026.03").await, 399, "{name}");
    }
}

#[tokio::test]
async fn a_blocked_index_is_waited_for_and_a_large_body_is_parted() {
    for name in BOTH {
        let Some(server) = Server::start(name, false, &["http.max_content_length=64kb"]) else {
            continue;
        };
        let mut sink = server.sink(json!({}));
        sink.write(events(0..10)).await.unwrap();
        for block in ["write", "read_only_allow_delete"] {
            let setting = |value: Value| json!({ format!("index.blocks.{block}"): value });
            server
                .ask(
                    "PUT",
                    "pve-audit-2026.03/_settings",
                    Some(setting(json!(true))),
                )
                .await;
            match sink.write(events(5..15)).await {
                Err(WriteError::Retry { reason, after }) => {
                    assert_eq!(reason.kind, ReasonKind::Blocked, "{reason}");
                    assert!(after.is_some());
                }
                other => panic!("{name} {block}: {other:?}"),
            }
            server
                .ask(
                    "PUT",
                    "pve-audit-2026.03/_settings",
                    Some(setting(Value::Null)),
                )
                .await;
            sink.write(events(5..15)).await.unwrap();
        }
        // 2000 events are about 600 KiB; the server takes 64.
        let parts = sink.write(events(0..2000)).await.unwrap();
        assert_eq!(parts.duplicates, 15, "{name}");
        assert_eq!(server.count("pve-audit-2026.03").await, 2000, "{name}");
    }
}

#[tokio::test]
async fn users_certificates_and_fingerprints_open_a_secured_server() {
    let Some(server) = Server::start("opensearch", true, &[]) else {
        return;
    };
    let basic = |user: &str, password: &str| json!({ "strategy": "basic", "user": user, "password": password });
    let ca = json!({ "ca_file": server.file("ca.pem") });
    let kind = |result: Result<Written, WriteError>| match result {
        Err(WriteError::Retry { reason, .. }) => reason,
        other => panic!("{other:?}"),
    };

    let mut by_password = server.sink(json!({ "tls": ca, "auth": basic("writer", "writer") }));
    assert_eq!(by_password.healthcheck().await, Ok(()));
    by_password.write(events(0..10)).await.unwrap();

    let own = json!({ "ca_file": server.file("ca.pem"), "crt_file": server.file("client.pem"), "key_file": server.file("client.key") });
    assert_eq!(
        server
            .sink(json!({ "tls": own }))
            .write(events(0..10))
            .await
            .unwrap()
            .duplicates,
        10
    );

    // The error for a wrong pin names the right one, which is how an operator finds it.
    let pin =
        |pin: &str| json!({ "tls": { "fingerprint": [pin] }, "auth": basic("writer", "writer") });
    let reason = kind(server.sink(pin(&"00".repeat(32))).write(events(0..1)).await);
    let told = reason
        .text
        .split_whitespace()
        .find(|word| word.len() >= 95)
        .unwrap()
        .trim_end_matches(',')
        .to_owned();
    assert_eq!(
        server
            .sink(pin(&told))
            .write(events(0..1))
            .await
            .unwrap()
            .duplicates,
        1
    );

    let stranger = server
        .sink(json!({ "auth": basic("writer", "writer") }))
        .write(events(0..1))
        .await;
    assert_eq!(kind(stranger).kind, ReasonKind::Connection);
    let mut wrong = server.sink(json!({ "tls": ca, "auth": basic("writer", "wrong") }));
    assert_eq!(
        wrong.healthcheck().await.unwrap_err().kind,
        ReasonKind::Forbidden
    );
    let reason = kind(wrong.write(events(0..1)).await);
    assert_eq!(reason.kind, ReasonKind::Forbidden);
    assert!(!reason.text.contains("wrong"), "{reason}");

    let elsewhere =
        json!({ "tls": ca, "auth": basic("writer", "writer"), "bulk": { "index": "secret" } });
    let reason = kind(server.sink(elsewhere).write(events(0..3)).await);
    assert_eq!(reason.kind, ReasonKind::Forbidden, "{reason}");
    assert_eq!(server.count("pve-audit-2026.03").await, 10);
}

#[tokio::test]
async fn of_two_addresses_one_may_die() {
    let (Some(one), Some(two)) = (
        Server::start("opensearch", false, &[]),
        Server::start("opensearch", false, &[]),
    ) else {
        return;
    };
    let mut sink = one.sink(json!({ "endpoints": [one.url, two.url] }));
    sink.write(events(0..100)).await.unwrap();
    sink.write(events(0..100)).await.unwrap();
    assert_eq!(
        (
            one.count("pve-audit-2026.03").await,
            two.count("pve-audit-2026.03").await
        ),
        (100, 100)
    );
    assert!(
        Command::new(script("opensearch"))
            .arg("kill")
            .arg(one.folder.path())
            .status()
            .unwrap()
            .success()
    );
    for n in 1..6 {
        sink.write(events(n * 100..n * 100 + 100)).await.unwrap();
    }
    assert_eq!(two.count("pve-audit-2026.03").await, 600);
}
