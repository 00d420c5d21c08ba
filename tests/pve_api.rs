//! `pve_api` in the whole program, on an API that answers as Proxmox VE does: away, broken, distrusted, changed.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

#[allow(dead_code, reason = "each test uses its part")]
mod support;

#[path = "pve_api/load.rs"]
mod load;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use pipeline::Tls;
use serde_json::{Value, json};
use support::Ground;
use support::pve::{Cluster, TOKEN};
use support::store::Store;

fn graph(store: &Store, cluster: &str, more: &str) -> String {
    format!(
        r#"
[admin]
address = "127.0.0.1:0"

[sources.api]
type = "pve_api"
endpoint = "{cluster}"
token = "{TOKEN}"
interval = "200ms"
timezone = "UTC"
{more}

[sources.self]
type = "internal"

[sinks.es]
type = "elasticsearch"
inputs = ["api", "self"]
endpoints = ["{}"]
request = {{ retry_initial_backoff = "10ms", retry_max_backoff = "50ms" }}
batch = {{ timeout = "50ms" }}
"#,
        store.uri()
    )
}

/// Documents of one phase by their UPID; one that was stored under two ids fails the test.
fn phase(store: &Store, phase: &str) -> BTreeMap<String, Value> {
    let mut found = BTreeMap::new();
    for (_, document) in store.documents() {
        let task = &document["pve"]["task"];
        if task["phase"] == phase {
            let upid = task["upid"].as_str().unwrap().to_owned();
            assert!(found.insert(upid, document).is_none(), "told twice");
        }
    }
    found
}

/// The sentences of the program's own events of this code.
fn told(store: &Store, code: &str) -> Vec<String> {
    let documents = store.documents().into_iter().map(|(_, document)| document);
    let own = documents.filter(|document| document["event"]["code"] == code);
    own.map(|document| document["message"].as_str().unwrap().to_owned())
        .collect()
}

fn is_told(store: &Store, code: &str, part: &str) -> bool {
    told(store, code)
        .iter()
        .any(|message| message.contains(part))
}

fn keys(documents: &BTreeMap<String, Value>) -> BTreeSet<String> {
    documents.keys().cloned().collect()
}

#[test]
fn every_task_of_every_node_is_told_once_and_what_cannot_be_read_is_named() {
    let (ground, store) = (Ground::new(), Store::start());
    let cluster = Cluster::start(&["pve1", "pve2", "pve3"]);
    let mut all: BTreeSet<String> = cluster.tasks("pve1", 900).into_iter().collect();
    all.extend(cluster.tasks("pve2", 40));
    all.extend(cluster.tasks("pve3", 3));
    let failed = cluster.begin("pve2", "qmdestroy");
    cluster.end("pve2", &failed, "unable to destroy: \"busy\"", true);
    let backup = cluster.begin("pve1", "vzdump");
    cluster.end("pve1", &backup, "job errors", true);
    cluster.set_log(
        "pve1",
        &backup,
        &[
            "INFO: Starting Backup of VM 100 (qemu)",
            "INFO: Backup started at 2026-01-26 09:17:31",
            "INFO: Finished Backup of VM 100 (00:01:12)",
            "ERROR: Backup of VM 101 failed - no space left on device",
            "TASK ERROR: job errors",
        ],
    );
    all.extend([failed.clone(), backup.clone()]);
    let long = cluster.begin("pve3", "qmigrate");
    ground.configure(&graph(&store, &cluster.uri(), ""));
    let program = ground.start();
    ground.until("all ends", || keys(&phase(&store, "end")) == all);
    ground.until("the start", || phase(&store, "start").contains_key(&long));
    let end = &phase(&store, "end")[&failed];
    assert_eq!(end["pve"]["task"]["status"], "unable to destroy: \"busy\"");
    let log = end["pve"]["task"]["log"].as_str().unwrap();
    assert!(
        log.ends_with("TASK ERROR: unable to destroy: \"busy\""),
        "{log}"
    );
    assert!(
        !log.contains("hunter2") && log.lines().count() == 20,
        "{log}"
    );
    assert_eq!(
        phase(&store, "guest/101")[&backup]["pve"]["task"]["status"],
        "no space left on device"
    );
    assert_eq!(
        phase(&store, "guest/100")[&backup]["pve"]["task"]["status"],
        "OK"
    );

    // Two nodes go away; the third is read on as if nothing were.
    cluster.state().nodes.get_mut("pve2").unwrap().away = Some(595);
    cluster.state().nodes.get_mut("pve3").unwrap().away = Some(596);
    ground.until("both are named", || {
        is_told(&store, "PVE-9012", "the node pve2") && is_told(&store, "PVE-9012", "the node pve3")
    });
    all.extend(cluster.tasks("pve1", 30));
    all.extend(cluster.tasks("pve2", 260));
    cluster.end("pve3", &long, "OK", true);
    all.insert(long);
    let here = |upid: &String| upid.starts_with("UPID:pve1:");
    ground.until("what pve1 did", || {
        let ends = keys(&phase(&store, "end"));
        all.iter()
            .filter(|upid| here(upid))
            .all(|upid| ends.contains(upid))
    });
    for node in ["pve2", "pve3"] {
        cluster.state().nodes.get_mut(node).unwrap().away = None;
    }
    ground.until("all ends", || keys(&phase(&store, "end")) == all);
    ground.until("both are back", || {
        is_told(&store, "PVE-9011", "the node pve2") && is_told(&store, "PVE-9011", "the node pve3")
    });
    // A row that the API drops: it ran, it is in no list, and its own status tells.
    let dropped = cluster.begin("pve1", "qmstop");
    ground.until("the start", || {
        phase(&store, "start").contains_key(&dropped)
    });
    cluster.end("pve1", &dropped, " odd", false);
    ground.until("its end", || phase(&store, "end").contains_key(&dropped));
    assert_eq!(
        phase(&store, "end")[&dropped]["tags"],
        json!(["end_from_status"])
    );
    assert!(told(&store, "PVE-9014").is_empty());
    let ends = ground.metric("component_received_events_total", "api");
    let stored = store
        .documents()
        .iter()
        .filter(|(_, d)| d["event"]["code"].is_null())
        .count();
    assert_eq!(ends, stored as f64, "nothing is sent twice");
    let cursor = "api_poll_cursor_timestamp_seconds";
    assert!(
        ground
            .metrics()
            .iter()
            .any(|(name, _)| name.starts_with(cursor) && name.contains("pve2"))
    );
    assert_eq!(program.stop(), Some(0), "{}", ground.log());
}

#[test]
fn killed_again_and_again_while_tasks_come_and_go_nothing_is_lost_or_told_under_two_ids() {
    let (ground, store) = (Ground::new(), Store::start());
    let cluster = Cluster::start(&["pve1", "pve2"]);
    ground.configure(&graph(&store, &cluster.uri(), ""));
    let mut random = fastrand::Rng::with_seed(5);
    let mut all: BTreeSet<String> = cluster.tasks("pve1", 200).into_iter().collect();
    let kills = if support::long() { 40 } else { 6 };
    for n in 0..kills {
        let program = ground.start();
        std::thread::sleep(Duration::from_millis(random.u64(20..900)));
        for _ in 0..40 {
            all.extend(cluster.tasks(if n % 2 == 0 { "pve1" } else { "pve2" }, 1));
            std::thread::sleep(Duration::from_millis(random.u64(0..4)));
        }
        program.kill();
        all.extend(cluster.tasks("pve2", 10));
    }
    let program = ground.start();
    ground.until("all ends", || keys(&phase(&store, "end")) == all);
    let entries = |store: &Store| {
        let documents = store.documents();
        let api = documents
            .iter()
            .filter(|(_, d)| d["pve"]["origin"] == "api");
        api.map(|(_, d)| d["message"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    ground.until("the whole log", || {
        let seen: BTreeSet<String> = entries(&store).into_iter().collect();
        all.iter()
            .all(|upid| seen.contains(&format!("<alice@pve!ci> end task {upid} OK")))
    });
    let seen = entries(&store);
    let once: BTreeSet<&String> = seen.iter().collect();
    let spoken = once.iter().filter(|m| m.contains(" task UPID:")).count();
    assert_eq!(
        spoken,
        seen.iter().filter(|m| m.contains(" task UPID:")).count(),
        "told twice"
    );
    assert_eq!(spoken, 2 * all.len());
    assert_eq!(program.stop(), Some(0), "{}", ground.log());
}

#[test]
fn lists_overwritten_while_nobody_looked_are_told() {
    let (ground, store) = (Ground::new(), Store::start());
    let cluster = Cluster::start(&["pve1"]);
    cluster.tasks("pve1", 50);
    ground.configure(&graph(&store, &cluster.uri(), r#"collect = ["tasks"]"#));
    let program = ground.start();
    ground.until("all ends", || phase(&store, "end").len() == 50);
    assert_eq!(program.stop(), Some(0), "{}", ground.log());
    let all = cluster.tasks("pve1", 2500);
    let program = ground.start();
    let last = all.last().unwrap();
    ground.until("the last end", || phase(&store, "end").contains_key(last));
    ground.until("the gap", || told(&store, "PVE-9014").len() == 1);
    assert!(is_told(&store, "PVE-9014", "the task lists of pve1"));
    assert_eq!(program.stop(), Some(0), "{}", ground.log());
}

#[test]
fn a_cluster_log_that_breaks_itself_is_read_as_far_as_it_can_be() {
    let (ground, store) = (Ground::new(), Store::start());
    let cluster = Cluster::start(&["pve1"]);
    for n in 0..100 {
        cluster.say("pve1", &format!("before {n}"));
    }
    ground.configure(&graph(
        &store,
        &cluster.uri(),
        r#"collect = ["cluster_log"]"#,
    ));
    let program = ground.start();
    let messages = |part: &str| {
        let seen = store.messages();
        seen.iter().filter(|message| message.contains(part)).count()
    };
    ground.until("what was there", || messages("before") == 100);
    cluster.say("pve1", r"update VM 100: -description C:\Users");
    for n in 0..60 {
        cluster.say("pve1", &format!("after {n:02}"));
        std::thread::sleep(Duration::from_millis(5));
    }
    ground.until("what came after it", || messages("after") == 60);
    ground.until("it is named", || {
        is_told(&store, "PVE-9012", "illegal backslash")
    });
    assert_eq!(messages("before"), 100);
    assert_eq!(program.stop(), Some(0), "{}", ground.log());
}

fn certificate(ground: &Ground, name: &str) -> (Tls, String) {
    let own = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let (crt, key) = (
        ground.path(&format!("{name}.crt")),
        ground.path(&format!("{name}.key")),
    );
    std::fs::write(&crt, own.cert.pem()).unwrap();
    std::fs::write(&key, own.signing_key.serialize_pem()).unwrap();
    let tls = Tls {
        crt_file: Some(crt),
        key_file: Some(key),
        ..Tls::default()
    };
    let fingerprint = pipeline::net::Fingerprint::of(own.cert.der());
    (tls, fingerprint.to_string())
}

#[test]
fn a_pinned_certificate_that_changed_is_named_and_gets_no_token() {
    let (ground, store) = (Ground::new(), Store::start());
    let (_, old) = certificate(&ground, "old");
    let (tls, new) = certificate(&ground, "new");
    let cluster = Cluster::start_tls(&["pve1"], &tls);
    let all: BTreeSet<String> = cluster.tasks("pve1", 5).into_iter().collect();
    let pin = |pin: &str| format!(r#"tls = {{ fingerprint = ["{pin}"] }}"#);
    ground.configure(&graph(&store, &cluster.uri(), &pin(&old)));
    let program = ground.start();
    ground.until("it is named", || {
        is_told(&store, "PVE-9012", &old) && is_told(&store, "PVE-9012", &new)
    });
    assert!(cluster.state().requests.is_empty(), "it was told the token");
    assert_eq!(program.stop(), Some(0), "{}", ground.log());
    ground.configure(&graph(&store, &cluster.uri(), &pin(&new)));
    let program = ground.start();
    ground.until("all ends", || keys(&phase(&store, "end")) == all);
    assert_eq!(program.stop(), Some(0), "{}", ground.log());
}

#[test]
fn a_token_that_expired_lacks_rights_or_meets_a_page_is_named_and_goes_on_when_mended() {
    let (ground, store) = (Ground::new(), Store::start());
    let cluster = Cluster::start(&["pve1"]);
    let mut all: BTreeSet<String> = cluster.tasks("pve1", 5).into_iter().collect();
    {
        let mut state = cluster.state();
        state.permissions =
            json!({"/": {"Sys.Audit": 1, "VM.Audit": 1, "Datastore.Audit": 1, "Pool.Audit": 1}});
        state.gzip = true;
    }
    ground.configure(&graph(&store, &cluster.uri(), ""));
    let program = ground.start();
    ground.until("all ends", || keys(&phase(&store, "end")) == all);
    ground.until("the right is named", || {
        is_told(
            &store,
            "PVE-9012",
            "the token pvetrail@pve!audit lacks the right Sys.Syslog on /: of the cluster log only",
        )
    });
    cluster.state().token = "another".to_owned();
    ground.until("it is named", || {
        is_told(&store, "PVE-9012", "the token is refused (401)")
    });
    all.extend(cluster.tasks("pve1", 5));
    // Nobody is asked a hundred things with a token that is not believed: only whether it is believed again.
    const RIGHTS: &str = "/api2/json/access/permissions";
    let asked = || cluster.state().requests.clone();
    let asks_again = |times: usize| {
        let before = asked()[RIGHTS];
        ground.until("it is asked again", || asked()[RIGHTS] >= before + times);
    };
    // What was under way when it was refused has come by then.
    asks_again(1);
    let (mut before, mut after) = (asked(), {
        asks_again(2);
        asked()
    });
    before.remove(RIGHTS);
    after.remove(RIGHTS);
    assert_eq!(before, after);
    cluster.state().token = TOKEN.to_owned();
    ground.until("all ends", || keys(&phase(&store, "end")) == all);
    ground.until("it is back", || is_told(&store, "PVE-9011", "the API"));
    cluster.state().page = Some("<html><h1>Maintenance</h1></html>".to_owned());
    ground.until("the page is named", || {
        is_told(&store, "PVE-9012", "Maintenance")
    });
    cluster.state().page = None;
    all.extend(cluster.tasks("pve1", 5));
    ground.until("all ends", || keys(&phase(&store, "end")) == all);
    let log = ground.log();
    assert!(!log.contains("4f1c2a54"), "the secret is in the log");
    assert_eq!(program.stop(), Some(0), "{log}");
}

#[test]
fn access_objects_states_and_quorum_are_told_when_they_change_and_only_then() {
    let (ground, store) = (Ground::new(), Store::start());
    let cluster = Cluster::start(&["pve1", "pve2"]);
    {
        let mut state = cluster.state();
        state.users = json!([
            {"userid": "root@pam", "enable": 1, "expire": 0},
            {"userid": "alice@pve", "enable": 1, "expire": 0, "groups": "ops,dev",
             "tokens": [{"tokenid": "ci", "privsep": 1, "expire": 0}]},
        ]);
        state.acl = (0..20)
            .map(|n| json!({"path": format!("/vms/{n}"), "type": "user", "ugid": "alice@pve", "roleid": "PVEAuditor", "propagate": 1}))
            .collect();
        state.resources = json!([
            {"id": "qemu/104", "type": "qemu", "vmid": 104, "name": "db-prod-1", "node": "pve1", "status": "running",
             "pool": "prod", "cpu": 0.5, "mem": 1024, "maxmem": 4096, "uptime": 77, "template": 0},
            {"id": "node/pve1", "type": "node", "node": "pve1", "status": "online"},
            {"id": "storage/pve1/local", "type": "storage", "storage": "local", "node": "pve1", "status": "available"},
        ]);
    }
    let more = r#"collect = ["status", "inventory", "access"]"#;
    ground.configure(&graph(&store, &cluster.uri(), more));
    let program = ground.start();
    let of = |kind: &str, id: &str| -> Vec<Value> {
        let documents = store.documents().into_iter().map(|(_, d)| d);
        // Of access objects the changes, not what they were first.
        let access = ["user", "token", "acl"].contains(&kind);
        let object = |d: &Value| {
            d["pve"]["object"]["type"] == kind
                && d["pve"]["object"]["id"] == id
                && (!access || d["event"]["kind"] != "state")
        };
        documents.filter(object).collect()
    };
    ground.until("the states", || {
        of("vm", "104").len() == 1 && of("storage", "local").len() == 1
    });
    let vm = &of("vm", "104")[0];
    assert_eq!(vm["event"]["kind"], "state");
    assert_eq!(vm["pve"]["state"]["pool"], "prod");
    assert_eq!(vm["pve"]["state"]["mem"], 0.25);
    ground.until("the access objects are read", || {
        cluster
            .state()
            .requests
            .contains_key("/api2/json/access/tfa")
    });
    assert!(
        of("user", "alice@pve").is_empty() && of("acl", "/vms/3|alice@pve|PVEAuditor").is_empty()
    );
    ground.until("what they are", || {
        let documents = store.documents();
        let states = documents
            .iter()
            .filter(|(_, d)| d["event"]["kind"] == "state" && d["pve"]["object"]["type"] == "acl");
        states.count() == 20
    });
    // A node is lost, and with it the quorum.
    {
        let mut state = cluster.state();
        state.status[1]["online"] = 0.into();
        state.status[2]["quorate"] = 0.into();
    }
    ground.until("the node", || of("node", "pve2").len() == 1);
    ground.until("the quorum", || of("cluster", "prod").len() == 1);
    assert_eq!(
        of("node", "pve2")[0]["pve"]["changes"],
        json!([{"key": "online", "op": "change", "old": "1", "new": "0"}])
    );
    assert_eq!(program.stop(), Some(0), "{}", ground.log());
    // While nobody looks an account is disabled, a token and an ACL entry are made, and the guest is destroyed.
    {
        let mut state = cluster.state();
        state.users[1]["enable"] = 0.into();
        state.users[1]["groups"] = "dev,ops".into();
        state.users[1]["tokens"] = json!([
            {"tokenid": "ci", "privsep": 1, "expire": 0},
            {"tokenid": "door", "privsep": 0, "expire": 0},
        ]);
        state.acl.push(json!({"path": "/", "type": "group", "ugid": "dev", "roleid": "Administrator", "propagate": 1}));
    }
    let program = ground.start();
    ground.until("all changes", || {
        of("user", "alice@pve").len() == 1
            && of("token", "alice@pve!door").len() == 1
            && of("acl", "/|@dev|Administrator").len() == 1
    });
    let user = &of("user", "alice@pve")[0];
    assert_eq!(
        user["pve"]["change_keys"],
        json!(["enable"]),
        "groups in another order are the same"
    );
    assert_eq!(user["event"]["type"], json!(["change"]));
    assert_eq!(
        of("acl", "/|@dev|Administrator")[0]["pve"]["object"]["path"],
        "/"
    );
    assert!(of("acl", "/vms/3|alice@pve|PVEAuditor").is_empty());
    assert_eq!(of("vm", "104").len(), 1);
    let kept = std::fs::read_to_string(ground.path("data").join("inventory.json")).unwrap();
    assert!(kept.contains("db-prod-1") && kept.contains("192.0.2.2") && kept.contains("alice@pve"));
    assert_eq!(program.stop(), Some(0), "{}", ground.log());
}

#[test]
fn when_one_endpoint_is_gone_the_next_is_asked() {
    let (ground, store) = (Ground::new(), Store::start());
    let cluster = Cluster::start(&["pve1"]);
    let all: BTreeSet<String> = cluster.tasks("pve1", 5).into_iter().collect();
    // Nobody listens there.
    let free = support::http::free_port();
    let both = format!(r#"http://127.0.0.1:{free}", "{}"#, cluster.uri());
    let graph = graph(&store, &both, "").replace("endpoint = \"", "endpoints = [\"");
    let line = format!("endpoints = [\"{both}\"");
    ground.configure(&graph.replace(&line, &format!("{line}]")));
    let program = ground.start();
    ground.until("all ends", || keys(&phase(&store, "end")) == all);
    assert_eq!(program.stop(), Some(0), "{}", ground.log());
}

#[test]
fn a_clock_that_is_behind_or_ahead_is_told_with_its_node() {
    let (ground, store) = (Ground::new(), Store::start());
    let cluster = Cluster::start(&["pve1", "pve2", "pve3"]);
    cluster.state().ahead = BTreeMap::from([("pve2".to_owned(), -90), ("pve3".to_owned(), 3600)]);
    ground.configure(&graph(&store, &cluster.uri(), ""));
    let _program = ground.start();
    let skews = || -> BTreeMap<String, i64> {
        let documents = store.documents().into_iter().map(|(_, document)| document);
        documents
            .filter(|document| document["event"]["code"] == "PVE-9051")
            .map(|document| {
                let node = document["pve"]["object"]["id"].as_str().unwrap().to_owned();
                (node, document["pve"]["time"]["skew_ms"].as_i64().unwrap())
            })
            .collect()
    };
    ground.until("both clocks are told", || skews().len() == 2);
    let skews = skews();
    assert!((-92_000..=-88_000).contains(&skews["pve2"]), "{skews:?}");
    assert!(
        (3_598_000..=3_602_000).contains(&skews["pve3"]),
        "{skews:?}"
    );
    assert!(is_told(
        &store,
        "PVE-9051",
        "s behind that of the collector"
    ));
    assert!(is_told(
        &store,
        "PVE-9051",
        "s ahead of that of the collector"
    ));
}
