//! Differences of files that lie in the folder of one node and are seen by another, whose clock is another one.

use pipeline::testing::{Json, StatefulBench, json};

use super::super::Config;
use super::made::{difference, feed, run, task, text, told, upid, writes};

const NODES: &str = r#"cluster_nodes = ["pve1=10.0.0.1", "pve2=10.0.0.2", "pve3=10.0.0.3"]"#;
const CT: &str = "PUT /api2/extjs/nodes/pve2/lxc/200/config";

/// A difference of a container of `pve2`, as `observer` saw it by its own clock.
fn seen_by(observer: &str, hash: &str, at: f64) -> Json {
    let mut seen = difference("pve2", "PVE-2114", ("ct", "200"), hash, at);
    seen["observer.hostname"] = json!(observer);
    seen["file.path"] = json!("/etc/pve/nodes/pve2/lxc/200.conf");
    seen
}

/// A correlation that has seen by two relayed calls that the clock of `pve2` is so much ahead of that of `pve1` [s].
fn compared(ahead: f64) -> StatefulBench {
    let mut bench = pipeline::testing::stateful::<Config>(NODES);
    for (n, at) in [(1, 0.0), (2, 1000.0)] {
        let call = format!("PUT /api2/extjs/nodes/pve2/lxc/30{n}/config");
        feed(
            &mut bench,
            [
                writes("pve1", "192.0.2.10", "alice@pve", &call, at),
                writes("pve2", "10.0.0.1", "alice@pve", &call, at + ahead),
            ],
        );
    }
    bench
}

#[test]
fn an_edit_by_hand_is_not_given_to_a_call_that_another_clock_puts_beside_it() {
    for ahead in [290.0, -290.0] {
        let mut bench = compared(ahead);
        let out = feed(
            &mut bench,
            [
                writes("pve2", "192.0.2.20", "bob@pve", CT, 2000.0 + ahead),
                seen_by("pve1", "a", 2001.0),
                seen_by("pve1", "b", 2001.0 + ahead),
            ],
        );
        // Bob's own, by the time of who saw it; and the other is nobody's.
        assert_eq!(
            told(&out[0]),
            ["primary", "direct", "192.0.2.20"],
            "{ahead}"
        );
        assert_eq!(text(&out[0], "pve.change_keys"), "cores", "{ahead}");
        assert_eq!(told(&out[1])[0], "evidence", "{ahead}");
        assert_eq!(told(&out[2]), ["primary", "none", "-"], "{ahead}");
        assert_eq!(text(&out[2], "user.id"), "-", "{ahead}");
    }
}

#[test]
fn where_it_is_not_known_how_the_clocks_differ_nobody_is_accused() {
    for edit in [2001.0, 2291.0] {
        let out = run(
            NODES,
            [
                writes("pve2", "192.0.2.20", "bob@pve", CT, 2000.0),
                seen_by("pve1", "a", edit),
            ],
        );
        assert_eq!(told(&out[0]), ["primary", "direct", "192.0.2.20"], "{edit}");
        assert_eq!(text(&out[0], "pve.change_keys"), "-", "{edit}");
        assert_eq!(told(&out[1]), ["primary", "ambiguous", "-"], "{edit}");
        assert_eq!(text(&out[1], "pve.source.candidates"), "192.0.2.20");
    }
}

#[test]
fn who_saw_it_by_the_clock_of_the_call_needs_no_comparison() {
    for observer in ["pve2", "pve2.example.org"] {
        let out = run(
            NODES,
            [
                writes("pve2", "192.0.2.20", "bob@pve", CT, 2000.0),
                seen_by(observer, "a", 2001.0),
            ],
        );
        assert_eq!(told(&out[0]), ["primary", "direct", "192.0.2.20"]);
        assert_eq!(text(&out[0], "pve.change_keys"), "cores", "{observer}");
    }
}

#[test]
fn a_file_that_a_task_of_another_clock_wrote_is_evidence_of_that_task() {
    for ahead in [290.0, -290.0] {
        let mut bench = compared(ahead);
        let id = upid("pve2", 2000.0 + ahead, "vzsnapshot", "200", "bob@pve");
        let mut own = seen_by("pve1", "a", 2003.0);
        let mut edit = seen_by("pve1", "b", 2003.0 + ahead);
        for seen in [&mut own, &mut edit] {
            seen["pve.change_keys"] = json!(["lock"]);
            seen["pve.changes"] = json!([{"key": "lock", "new": "snapshot"}]);
        }
        let out = feed(
            &mut bench,
            [task("task", &id, "end", 2004.0 + ahead), own, edit],
        );
        assert_eq!(told(&out[1])[0], "evidence", "{ahead}");
        assert_eq!(text(&out[1], "pve.links"), out[0].id().to_string());
        assert_eq!(told(&out[2]), ["primary", "none", "-"], "{ahead}");
    }
}
