//! Calls that one node relayed to another, and clocks that differ.

use super::super::Config;
use super::made::{Access, feed, forks, run, task, text, told, upid, upid_of, writes};
use pipeline::testing::json;

const NODES: &str = r#"cluster_nodes = ["pve1=10.0.0.1", "pve2=10.0.0.2", "pve3=10.0.0.3"]"#;
const CALL: &str = "DELETE /api2/extjs/nodes/pve2/qemu/104";

#[test]
fn a_relayed_call_has_the_address_its_twin_has() {
    let id = upid("pve2", 10.0, "qmdestroy", "104", "alice@pve");
    let out = run(
        NODES,
        [
            forks("pve1", "192.0.2.10", "alice@pve", CALL, &id, 10.0),
            forks("pve2", "10.0.0.1", "alice@pve", CALL, &id, 10.0),
            task("task", &id, "end", 12.0),
        ],
    );
    assert_eq!(told(&out[2]), ["primary", "matched", "192.0.2.10"]);
    assert_eq!(text(&out[2], "pve.source.via"), "pve1");
    assert_eq!(text(&out[2], "pve.source.evidence").split(' ').count(), 2);
    assert_eq!(told(&out[0])[0], "evidence");
    assert_eq!(told(&out[1]), ["evidence", "matched", "192.0.2.10"]);
}

#[test]
fn the_address_of_a_node_is_nobodys() {
    let id = upid("pve2", 10.0, "qmdestroy", "104", "alice@pve");
    let out = run(
        NODES,
        [
            forks("pve2", "10.0.0.1", "alice@pve", CALL, &id, 10.0),
            task("task", &id, "end", 12.0),
        ],
    );
    assert_eq!(told(&out[1]), ["primary", "ambiguous", "-"]);
    assert_eq!(text(&out[1], "pve.source.candidates"), "10.0.0.1");
    let change = "PUT /api2/extjs/nodes/pve2/lxc/200/config";
    let out = run(
        NODES,
        [writes("pve2", "10.0.0.1", "alice@pve", change, 10.0)],
    );
    assert_eq!(told(&out[0]), ["primary", "ambiguous", "-"]);
}

#[test]
fn a_relayed_change_without_a_task_is_one_event() {
    let change = "PUT /api2/extjs/nodes/pve2/lxc/200/config";
    let out = run(
        NODES,
        [
            writes("pve1", "192.0.2.10", "alice@pve", change, 10.0),
            writes("pve2", "10.0.0.1", "alice@pve", change, 10.0),
        ],
    );
    assert_eq!(told(&out[0])[0], "evidence");
    assert_eq!(text(&out[0], "pve.links"), out[1].id().to_string());
    assert_eq!(told(&out[1]), ["primary", "matched", "192.0.2.10"]);
    assert_eq!(text(&out[1], "pve.source.via"), "pve1");
    // The second node's log is not read.
    let out = run(
        NODES,
        [writes("pve1", "192.0.2.10", "alice@pve", change, 10.0)],
    );
    assert_eq!(told(&out[0]), ["primary", "direct", "192.0.2.10"]);
}

#[test]
fn clocks_minutes_apart_tell_the_one_and_not_the_other() {
    let id = upid("pve2", 10.0, "qmdestroy", "104", "alice@pve");
    let twin = |ip, at| forks("pve1", ip, "alice@pve", CALL, &id, at);
    let own = forks("pve2", "10.0.0.1", "alice@pve", CALL, &id, 10.0);
    let out = run(
        NODES,
        [
            twin("192.0.2.10", 290.0),
            own.clone(),
            task("task", &id, "end", 12.0),
        ],
    );
    assert_eq!(told(&out[2])[2], "192.0.2.10");
    // Two that fit, and nobody knows how the clocks differ.
    let out = run(
        NODES,
        [
            twin("192.0.2.10", 290.0),
            twin("192.0.2.11", 10.0),
            own,
            task("task", &id, "end", 12.0),
        ],
    );
    assert_eq!(told(&out[3])[1..], ["ambiguous", "-"]);
}

#[test]
fn known_clocks_tell_apart_what_else_would_be_ambiguous() {
    let mut bench = pipeline::testing::stateful::<Config>(NODES);
    // Two calls, minutes apart, show that the clock of pve1 is 290 s ahead.
    for (n, at) in [(1, 0.0), (2, 1000.0)] {
        let call = format!("PUT /api2/extjs/nodes/pve2/lxc/20{n}/config");
        feed(
            &mut bench,
            [
                writes("pve1", "192.0.2.10", "alice@pve", &call, at + 290.0),
                writes("pve2", "10.0.0.1", "alice@pve", &call, at),
            ],
        );
    }
    let id = upid("pve2", 2000.0, "qmdestroy", "104", "alice@pve");
    let twin = |ip, at| forks("pve1", ip, "alice@pve", CALL, &id, at);
    let out = feed(
        &mut bench,
        [
            twin("192.0.2.10", 2290.0),
            twin("192.0.2.11", 2000.0),
            forks("pve2", "10.0.0.1", "alice@pve", CALL, &id, 2000.0),
            task("task", &id, "end", 2002.0),
        ],
    );
    assert_eq!(told(&out[3]), ["primary", "matched", "192.0.2.10"]);
}

#[test]
fn a_task_of_a_node_whose_log_is_not_read_has_its_call_on_the_relaying_node() {
    let id = upid("pve2", 10.0, "qmdestroy", "104", "alice@pve");
    let out = run(
        NODES,
        [
            forks("pve1", "192.0.2.10", "alice@pve", CALL, &id, 100.0),
            task("task", &id, "end", 12.0),
        ],
    );
    assert_eq!(told(&out[1]), ["primary", "matched", "192.0.2.10"]);
    assert_eq!(text(&out[1], "pve.source.via"), "pve1");
    let out = run(
        NODES,
        [
            forks("pve1", "192.0.2.10", "alice@pve", CALL, &id, 100.0),
            forks("pve3", "192.0.2.11", "alice@pve", CALL, &id, 10.0),
            task("task", &id, "end", 12.0),
        ],
    );
    assert_eq!(told(&out[2])[1], "ambiguous");
}

#[test]
fn without_a_list_of_nodes_a_relay_that_shows_makes_it_ambiguous() {
    let id = upid("pve2", 10.0, "qmdestroy", "104", "alice@pve");
    let out = run(
        "",
        [
            forks("pve1", "192.0.2.10", "alice@pve", CALL, &id, 10.0),
            forks("pve2", "10.0.0.1", "alice@pve", CALL, &id, 10.0),
            task("task", &id, "end", 12.0),
        ],
    );
    assert_eq!(told(&out[2])[1], "ambiguous");
}

#[test]
fn reading_that_a_node_relayed_has_no_address() {
    let read = super::made::Access {
        node: "pve2",
        ip: "10.0.0.1",
        user: "alice@pve",
        request: "GET /api2/json/nodes/pve2/status",
        status: 200,
        bytes: 99,
    };
    let out = run(NODES, [read.at(1.0)]);
    assert_eq!(told(&out[0])[1..], ["none", "-"]);
    assert_eq!(text(&out[0], "pve.source.via"), "pve1");
}

#[test]
fn a_log_of_the_relaying_node_that_stands_still_tells_nothing() {
    let id = upid("pve2", 100.0, "qmdestroy", "104", "alice@pve");
    // An earlier call, then nothing more of pve1 is read: the one in question is not among what was read.
    let before = forks("pve1", "192.0.2.10", "alice@pve", CALL, &id, 0.0);
    let out = run(
        NODES,
        [
            before.clone(),
            forks("pve2", "10.0.0.1", "alice@pve", CALL, &id, 100.0),
            task("task", &id, "end", 102.0),
        ],
    );
    assert_eq!(told(&out[2])[1..], ["ambiguous", "-"]);
    assert_eq!(told(&out[1])[1..], ["ambiguous", "-"]);
    let out = run(NODES, [before, task("task", &id, "end", 102.0)]);
    assert_eq!(told(&out[1])[1..], ["ambiguous", "-"]);
}

#[test]
fn the_list_of_nodes_is_tried_again_and_outlives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let list = folder.path().join(".members");
    // A folder cannot be read as a file.
    std::fs::create_dir(&list).unwrap();
    let mut bench = pipeline::testing::stateful::<Config>(&format!("members = {list:?}"));
    let id = upid("pve2", 10.0, "qmdestroy", "104", "alice@pve");
    let call = forks("pve2", "10.0.0.1", "alice@pve", CALL, &id, 10.0);
    let out = feed(&mut bench, [call, task("task", &id, "end", 12.0)]);
    assert_eq!(told(&out[1])[1], "matched");
    std::fs::remove_dir(&list).unwrap();
    std::fs::write(&list, r#"{"nodelist": {"pve1": {"ip": "10.0.0.1"}}}"#).unwrap();
    bench.wait(std::time::Duration::from_secs(2));
    std::fs::remove_file(&list).unwrap();
    bench.restart();
    let id = upid("pve2", 510.0, "qmdestroy", "105", "alice@pve");
    let call = CALL.replace("104", "105");
    let call = forks("pve2", "10.0.0.1", "alice@pve", &call, &id, 510.0);
    let out = feed(&mut bench, [call, task("task", &id, "end", 512.0)]);
    assert_eq!(told(&out[1])[1..], ["ambiguous", "-"]);
}

#[test]
fn two_relayed_calls_of_one_user_and_their_two_tasks_are_two_acts() {
    // The log of pve2 is not read; both clocks are minutes apart, which nobody knows.
    for ahead in [0.0, 290.0, -290.0] {
        let task_of = |pid, at| upid_of("pve2", pid, at, "qmstart", "104", "alice@pve");
        let (one, two) = (task_of(1, 1000.0), task_of(2, 1003.0));
        let call = "POST /api2/extjs/nodes/pve2/qemu/104/status/start";
        let line = |ip, at| forks("pve1", ip, "alice@pve", call, &one, at + ahead);
        let out = run(
            NODES,
            [
                line("192.0.2.10", 1000.0),
                line("192.0.2.11", 1003.0),
                task("task", &one, "end", 1002.0),
                task("task", &two, "end", 1005.0),
            ],
        );
        let ids = [out[2].id().to_string(), out[3].id().to_string()];
        for call in &out[..2] {
            assert_eq!(told(call)[0], "evidence", "{ahead}");
            let links = text(call, "pve.links");
            assert!(ids.iter().all(|id| links.contains(id)), "{ahead}: {links}");
        }
        for act in &out[2..] {
            assert_eq!(told(act), ["primary", "ambiguous", "-"], "{ahead}");
        }
    }
}

#[test]
fn a_relayed_call_that_forked_nothing_is_not_given_to_the_task_of_another() {
    let id = upid("pve2", 1000.0, "qmstart", "104", "alice@pve");
    let call = "POST /api2/extjs/nodes/pve2/qemu/104/status/start";
    let line = |ip, at| forks("pve1", ip, "alice@pve", call, &id, at);
    let mut bench = pipeline::testing::stateful::<Config>(NODES);
    let first = feed(
        &mut bench,
        [line("192.0.2.10", 1000.0), task("task", &id, "end", 1002.0)],
    );
    assert_eq!(told(&first[1]), ["primary", "matched", "192.0.2.10"]);
    let out = feed(&mut bench, [line("192.0.2.10", 1300.0)]);
    assert_eq!(told(&out[0]), ["primary", "direct", "192.0.2.10"]);
    assert_eq!(text(&out[0], "event.outcome"), "unknown");
}

#[test]
fn a_relayed_call_whose_answer_was_never_logged_can_be_anybodys() {
    let id = upid("pve2", 1000.0, "qmstart", "104", "alice@pve");
    let call = "POST /api2/extjs/nodes/pve2/qemu/104/status/start";
    let gone = |ip| {
        let mut gone = Access {
            node: "pve1",
            ip,
            user: "alice@pve",
            request: call,
            status: 500,
            bytes: 0,
        }
        .at(1001.0);
        gone["event.outcome"] = json!("unknown");
        gone.as_object_mut()
            .unwrap()
            .remove("http.response.body.bytes");
        gone
    };
    let line = forks("pve1", "192.0.2.10", "alice@pve", call, &id, 1000.0);
    let end = task("task", &id, "end", 1002.0);
    // From elsewhere, and from the same address.
    let out = run(NODES, [gone("192.0.2.11"), line.clone(), end.clone()]);
    assert_eq!(told(&out[2]), ["primary", "ambiguous", "-"]);
    assert_eq!(
        text(&out[2], "pve.source.candidates"),
        "192.0.2.10 192.0.2.11"
    );
    // Nor are the calls told as acts of their own.
    assert_eq!(told(&out[0])[0], "evidence");
    assert_eq!(told(&out[1])[0], "evidence");
    let out = run(NODES, [gone("192.0.2.10"), line, end.clone()]);
    assert_eq!(told(&out[2]), ["primary", "matched", "192.0.2.10"]);
    let out = run(NODES, [gone("192.0.2.11"), end]);
    assert_eq!(told(&out[1]), ["primary", "ambiguous", "-"]);
    assert_eq!(told(&out[0])[0], "evidence");
}
