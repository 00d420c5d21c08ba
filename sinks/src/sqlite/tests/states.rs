//! What objects were like, also where events come late.

use super::*;

fn state(n: u64, status: &str, more: Json) -> Event {
    let mut all = json!({
        "event": { "kind": "state" },
        "pve": { "record": "primary", "origin": "api", "vmid": 104, "object": { "type": "vm", "id": "104" },
            "state": { "status": status, "node": "pve1", "name": "db" } },
    });
    merge(&mut all, more);
    event(n, all)
}

fn change(n: u64, key: &str, new: Option<&str>) -> Event {
    let op = if new.is_some() { "change" } else { "remove" };
    event(
        n,
        json!({ "pve": { "record": "primary", "origin": "config", "object": { "type": "vm", "id": "104" },
            "changes": [{ "key": key, "op": op, "old": "1", "new": new }] } }),
    )
}

/// From, to (minutes), and the whole state.
fn history(ground: &Ground) -> Vec<(i64, Option<i64>, String)> {
    let minute = |time: pipeline::Time| {
        let midnight = pipeline::Time::parse("2026-03-14T00:00:00Z").unwrap();
        (time.0 - midnight.0) / 30_000_000_000
    };
    let states = ground.reader().history("vm", "104").unwrap();
    states
        .into_iter()
        .map(|state| {
            let said = if state.gone {
                "gone".to_owned()
            } else {
                state.state.to_string()
            };
            (minute(state.valid_from), state.valid_to.map(minute), said)
        })
        .collect()
}

#[tokio::test]
async fn states_follow_one_another_without_gaps() {
    let ground = Ground::new();
    let all = [
        state(
            10,
            "running",
            json!({ "pve": { "state": { "lock": "backup" } } }),
        ),
        // Nothing new.
        state(
            11,
            "running",
            json!({ "pve": { "state": { "lock": "backup" } } }),
        ),
        change(20, "cores", Some("8")),
        state(30, "stopped", json!({})),
        change(35, "cores", None),
        event(
            40,
            json!({ "event": { "code": "PVE-2002", "type": ["deletion"], "outcome": "success" },
            "pve": { "record": "primary", "origin": "task", "object": { "type": "vm", "id": "104" } } }),
        ),
        // Seen twice: by the task and by the file.
        event(
            41,
            json!({ "event": { "type": ["deletion"] }, "pve": { "origin": "config", "object": { "type": "vm", "id": "104" } } }),
        ),
        state(50, "running", json!({})),
    ];
    ground.sink().write(events(all)).await.unwrap();
    let wanted = [
        (
            10,
            Some(20),
            r#"{"lock":"backup","name":"db","node":"pve1","status":"running"}"#,
        ),
        (
            20,
            Some(30),
            r#"{"cores":"8","lock":"backup","name":"db","node":"pve1","status":"running"}"#,
        ),
        (
            30,
            Some(35),
            r#"{"cores":"8","name":"db","node":"pve1","status":"stopped"}"#,
        ),
        (
            35,
            Some(40),
            r#"{"name":"db","node":"pve1","status":"stopped"}"#,
        ),
        (40, Some(50), "gone"),
        (
            50,
            None,
            r#"{"name":"db","node":"pve1","status":"running"}"#,
        ),
    ]
    .map(|(from, to, state)| (from, to, state.to_owned()));
    assert_eq!(history(&ground), wanted);
    assert_eq!(ground.reader().types_of("104").unwrap(), ["vm"]);
}

#[tokio::test]
async fn what_comes_late_is_put_where_it_belongs() {
    let in_order = [
        state(10, "running", json!({})),
        change(20, "cores", Some("8")),
        change(30, "memory", Some("4096")),
        state(40, "stopped", json!({})),
    ];
    let ground = Ground::new();
    ground.sink().write(events(in_order.clone())).await.unwrap();
    let wanted = history(&ground);
    assert_eq!(wanted.len(), 4);
    for order in [[3, 2, 1, 0], [1, 3, 0, 2], [2, 0, 3, 1]] {
        let late = Ground::new();
        let mut sink = late.sink();
        for n in order {
            sink.write(events([in_order[n].clone()])).await.unwrap();
        }
        assert_eq!(history(&late), wanted, "{order:?}");
    }
}

#[tokio::test]
async fn failed_deletions_snapshots_and_secrets_are_no_ends() {
    let ground = Ground::new();
    let about = |n: u64, more: Json| {
        let mut all = json!({ "pve": { "record": "primary", "origin": "task", "object": { "type": "vm", "id": "104" } }, "event": { "type": ["deletion"] } });
        merge(&mut all, more);
        event(n, all)
    };
    let all = [
        state(1, "running", json!({})),
        about(
            2,
            json!({ "event": { "code": "PVE-2002", "outcome": "failure" } }),
        ),
        about(
            3,
            json!({ "event": { "code": "PVE-2018", "outcome": "success" } }),
        ),
        about(
            4,
            json!({ "event": { "code": "PVE-2014", "type": ["change"], "outcome": "success" },
            "pve": { "changes": [{ "key": "cipassword", "op": "change", "old": "[redacted]", "new": "[redacted]", "redacted": true }] } }),
        ),
    ];
    ground.sink().write(events(all)).await.unwrap();
    let states = history(&ground);
    assert!(
        states.iter().all(|(.., state)| state != "gone"),
        "{states:?}"
    );
    assert!(
        states[1].2.contains(r#""cipassword":"[redacted]""#),
        "{states:?}"
    );
}

#[tokio::test]
async fn a_guest_that_is_gone_stays_so_whatever_else_tells_of_its_end() {
    let about = |n: u64, code: &str, more: Json| {
        let mut all = json!({ "event": { "code": code, "type": ["deletion"], "outcome": "success" },
            "pve": { "object": { "type": "vm", "id": "104" } } });
        merge(&mut all, more);
        event(n, all)
    };
    let task = about(
        20,
        "PVE-2002",
        json!({ "pve": { "record": "primary", "origin": "task" } }),
    );
    let file = about(
        22,
        "PVE-2002",
        json!({ "pve": { "record": "evidence", "origin": "config",
            "changes": [{ "key": "cores", "op": "remove", "old": "2" }, { "key": "name", "op": "remove", "old": "db" }] } }),
    );
    for order in [[&task, &file], [&file, &task]] {
        let ground = Ground::new();
        let mut sink = ground.sink();
        sink.write(events([state(10, "running", json!({}))]))
            .await
            .unwrap();
        for one in order {
            sink.write(events([one.clone()])).await.unwrap();
        }
        let states = history(&ground);
        assert_eq!(states.len(), 2, "{states:?}");
        assert_eq!(states[1], (20, None, "gone".to_owned()));
    }
    // A snapshot in the cluster log is not its guest.
    let ground = Ground::new();
    let snapshot = about(
        20,
        "PVE-2018",
        json!({ "pve": { "record": "primary", "origin": "api" } }),
    );
    ground
        .sink()
        .write(events([state(10, "running", json!({})), snapshot]))
        .await
        .unwrap();
    assert_eq!(history(&ground).len(), 1);
}

#[tokio::test]
async fn a_late_word_leaves_no_state_that_says_the_same_again() {
    let ground = Ground::new();
    let mut sink = ground.sink();
    for one in [
        change(10, "memory", Some("2048")),
        change(30, "memory", Some("4096")),
        change(20, "memory", Some("4096")),
    ] {
        sink.write(events([one])).await.unwrap();
    }
    let states = history(&ground);
    let wanted = [
        (10, Some(20), r#"{"memory":"2048"}"#.to_owned()),
        (20, None, r#"{"memory":"4096"}"#.to_owned()),
    ];
    assert_eq!(states, wanted);
}

#[tokio::test]
async fn ratios_of_each_hour_become_samples() {
    let ground = Ground::new();
    let hour = |n: u64| {
        state(
            n,
            "running",
            json!({ "pve": { "state": { "cpu": 0.25, "mem": 1, "disk": 0.5, "uptime": 3600 } } }),
        )
    };
    ground
        .sink()
        .write(events([hour(0), hour(120), hour(240)]))
        .await
        .unwrap();
    let samples = ground.reader().samples("vm", "104", 2).unwrap();
    assert_eq!(samples.len(), 2);
    assert_eq!(
        (samples[1].cpu, samples[1].mem, samples[1].uptime),
        (Some(0.25), Some(1.0), Some(3600))
    );
    assert_eq!(samples[0].node.as_deref(), Some("pve1"));
    // States of objects are not what happened.
    assert!(ground.found(&Filter::default(), 0).is_empty());
    let states = Filter {
        kinds: vec!["state".into()],
        ..Filter::default()
    };
    assert_eq!(ground.found(&states, 0).len(), 3);
}

#[tokio::test]
async fn objects_of_access_end_with_their_rows() {
    let ground = Ground::new();
    let id = "/|contractor@pve|PVEAdmin";
    let acl = |n: u64, kind: &str, op: &str, new: Option<&str>| {
        event(
            n,
            json!({ "event": { "type": [kind], "outcome": "success" }, "pve": { "record": "primary", "origin": "access",
            "object": { "type": "acl", "id": id }, "changes": [{ "key": "acl", "op": op, "new": new }] } }),
        )
    };
    ground
        .sink()
        .write(events([
            acl(1, "change", "add", Some("propagate=1")),
            acl(5, "deletion", "remove", None),
        ]))
        .await
        .unwrap();
    let states = ground.reader().history("acl", id).unwrap();
    assert_eq!(states.len(), 2);
    assert!(!states[0].gone && states[1].gone && states[1].valid_to.is_none());
    assert_eq!(states[0].valid_to, Some(states[1].valid_from));
}
