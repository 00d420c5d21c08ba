//! Whose a difference is, by the keys that differ.

use pipeline::Event;
use pipeline::testing::{Json, json};

use super::made::{difference, edit, forks, run, said, task, text, told, upid, writes};

const CT: &str = "PUT /api2/extjs/nodes/pve1/lxc/200/config";
const VM: &str = "PUT /api2/extjs/nodes/pve1/qemu/210/config";
const FILE: &str = "/etc/pve/nodes/pve1/qemu-server/210.conf";

/// Key, old and new value.
type Row<'a> = (&'a str, Option<&'a str>, Option<&'a str>);

fn new(key: &str) -> Row<'_> {
    (key, None, Some("x"))
}

fn vm(rows: &[Row<'_>], at: f64) -> Json {
    edit("PVE-2014", ("vm", "210"), FILE, rows, at)
}

fn by_nobody(event: &Event) {
    assert_eq!(told(event), ["primary", "none", "-"], "{event:?}");
    assert_eq!(text(event, "user.id"), "-");
    assert_eq!(text(event, "pve.actor.kind"), "unknown");
}

/// A task by the browser, with its call.
fn done(kind: &str, call: &str, at: f64) -> [Json; 2] {
    let id = upid("pve1", at, kind, "210", "alice@pve");
    let call = format!("{call}?x=1");
    [
        forks("pve1", "192.0.2.22", "alice@pve", &call, &id, at),
        task("task", &id, "end", at + 2.0),
    ]
}

#[test]
fn beside_a_task_only_what_such_a_task_writes_is_part_of_it() {
    let snapshot = "POST /api2/extjs/nodes/pve1/qemu/210/snapshot";
    let own = [new("snapshot/daily"), new("parent")];
    let rule = edit(
        "PVE-4001",
        ("firewall_rule", "vm/210/rules/0"),
        "/etc/pve/firewall/210.fw",
        &[new("action")],
        12.0,
    );
    let mut rule = rule;
    rule["pve.vmid"] = json!(210);
    let merged = [new("hookscript"), new("parent"), new("snapshot/daily")];
    let [call, end] = done("qmsnapshot", snapshot, 10.0);
    let list = [
        call,
        end,
        vm(&own, 11.0),
        vm(&[new("hookscript")], 11.5),
        rule,
        vm(&merged, 12.5),
    ];
    let out = run("", list);
    assert_eq!(told(&out[1]), ["primary", "matched", "192.0.2.22"]);
    assert_eq!(told(&out[2])[0], "evidence");
    assert_eq!(text(&out[2], "pve.links"), out[1].id().to_string());
    for edited in &out[3..] {
        by_nobody(edited);
        assert_eq!(text(edited, "pve.links"), out[1].id().to_string());
    }
}

#[test]
fn a_guest_s_whole_file_belongs_to_what_makes_or_destroys_it() {
    let destroy = "DELETE /api2/extjs/nodes/pve1/qemu/210";
    let gone = [("cores", Some("2"), None), ("hookscript", Some("x"), None)];
    let [call, end] = done("qmdestroy", destroy, 10.0);
    let file = edit("PVE-2002", ("vm", "210"), FILE, &gone, 11.0);
    let out = run("", [call, end, file]);
    assert_eq!(told(&out[2])[0], "evidence");
    assert_eq!(text(&out[2], "pve.links"), out[1].id().to_string());
}

#[test]
fn every_task_that_may_have_written_it_is_named() {
    let ids = [
        upid("pve1", 10.0, "qmrollback", "210", "alice@pve"),
        upid("pve1", 12.0, "qmsnapshot", "210", "bob@pve"),
    ];
    let out = run(
        "",
        [
            task("task", &ids[0], "end", 11.0),
            task("task", &ids[1], "end", 13.0),
            vm(&[new("parent")], 13.5),
            vm(&[new("parent"), new("snapshot/a"), new("args")], 14.0),
        ],
    );
    for one in &out[2..] {
        for task in &out[..2] {
            let links = text(one, "pve.links");
            assert!(links.contains(&task.id().to_string()), "{one:?}");
        }
    }
    assert_eq!(told(&out[2])[0], "evidence");
    by_nobody(&out[3]);
}

#[test]
fn what_the_words_of_a_call_do_not_name_is_not_its_own() {
    let call = || writes("pve1", "192.0.2.20", "ops@pve", VM, 10.0);
    let words = || said("journal", "pvedaemon", "pve1", "ops@pve", 210, 10.2);
    for (keys, own) in [
        (&["cores"][..], true),
        (&["cores", "vmgenid", "digest"], true),
        (&["pending/cores"], true),
        (&["cores", "hookscript"], false),
        (&["hookscript"], false),
        (&["args", "meta"], false),
    ] {
        let rows: Vec<Row<'_>> = keys.iter().map(|key| new(key)).collect();
        let out = run("", [call(), words(), vm(&rows, 11.0)]);
        assert_eq!(told(&out[1]), ["primary", "matched", "192.0.2.20"]);
        if own {
            assert_eq!(told(&out[2])[0], "evidence", "{keys:?}");
            continue;
        }
        assert_eq!(told(&out[2]), ["primary", "ambiguous", "-"], "{keys:?}");
        assert_eq!(text(&out[2], "user.id"), "-");
        assert_eq!(text(&out[1], "pve.change_keys"), "cores");
    }
}

#[test]
fn the_query_of_a_call_is_its_words() {
    let ct = "/etc/pve/nodes/pve1/lxc/200.conf";
    let call = || {
        let path = format!("{CT}?cores=4&delete=tags");
        writes("pve1", "192.0.2.20", "ops@pve", &path, 10.0)
    };
    let ct = |rows: &[Row<'_>]| edit("PVE-2114", ("ct", "200"), ct, rows, 11.0);
    let out = run("", [call(), ct(&[new("cores"), ("tags", Some("x"), None)])]);
    assert_eq!(told(&out[1])[0], "evidence");
    let out = run("", [call(), ct(&[new("cores"), new("lxc.hook.start")])]);
    assert_eq!(told(&out[1]), ["primary", "ambiguous", "-"]);
}

#[test]
fn no_call_that_sets_options_writes_into_a_snapshot_or_another_node_s_folder() {
    for key in ["snapshot/a/cores", "parent", "node"] {
        let call = writes("pve1", "192.0.2.20", "ops@pve", CT, 10.0);
        let path = "/etc/pve/nodes/pve1/lxc/200.conf";
        let out = run(
            "",
            [
                call,
                edit("PVE-2114", ("ct", "200"), path, &[new(key)], 11.0),
            ],
        );
        by_nobody(&out[1]);
        assert_eq!(told(&out[0]), ["primary", "direct", "192.0.2.20"]);
    }
}

#[test]
fn a_call_whose_change_would_have_been_seen_before_is_not_surely_the_author() {
    let call = |at| writes("pve1", "192.0.2.20", "ops@pve", CT, at);
    let edit = || difference("pve1", "PVE-2114", ("ct", "200"), "a", 20.0);
    for (at, word) in [(8.0, "ambiguous"), (15.0, "ambiguous"), (17.0, "none")] {
        let out = run("", [call(at), edit()]);
        assert_eq!(told(&out[1])[1], word, "{at}");
    }
    let out = run("", [call(17.0), edit()]);
    assert_eq!(told(&out[1])[0], "evidence");
}

/// Rows of `user.cfg` in one writing.
fn users(hash: &str, at: f64, list: &[(&str, (&str, &str), Row<'_>)]) -> Vec<Json> {
    let path = "/etc/pve/user.cfg";
    let one = |(code, object, row): &(&str, (&str, &str), Row<'_>)| {
        let mut one = edit(code, *object, path, &[*row], at);
        one["file.hash.sha256"] = json!(hash);
        one
    };
    list.iter().map(one).collect()
}

#[test]
fn what_goes_with_a_user_is_part_of_the_user_s_end() {
    let was = |key| (key, Some("x"), None);
    let rows = [
        ("PVE-3033", ("acl", "/|bob@pve|PVEAdmin"), was("acl")),
        ("PVE-3033", ("acl", "/vms|bob@pve!ci|PVEVMUser"), was("acl")),
        (
            "PVE-3012",
            ("group", "admins"),
            ("members", Some("bob@pve"), None),
        ),
        ("PVE-3043", ("token", "bob@pve!ci"), was("privsep")),
        ("PVE-3003", ("user", "bob@pve"), was("enable")),
        // Nobody's: it has nothing to do with the user.
        (
            "PVE-3012",
            ("group", "staff"),
            ("members", Some("eve@pve"), None),
        ),
    ];
    let delete = "DELETE /api2/extjs/access/users/bob@pve";
    let mut list = vec![writes("pve1", "192.0.2.20", "ops@pve", delete, 10.0)];
    list.extend(users("a", 11.0, &rows));
    let out = run("", list);
    assert_eq!(told(&out[0]), ["primary", "direct", "192.0.2.20"]);
    for gone in &out[1..6] {
        assert_eq!(told(gone)[0], "evidence", "{gone:?}");
        assert_eq!(text(gone, "pve.links"), out[0].id().to_string());
    }
    by_nobody(&out[6]);
    // By hand, all of it is.
    let out = run("", users("a", 11.0, &rows));
    for gone in &out {
        by_nobody(gone);
    }
}

#[test]
fn what_a_user_s_end_takes_along_is_no_call_s_and_a_call_beside_it_keeps_its_own() {
    let row = |id, code, old, new| (code, ("acl", id), ("acl", old, new));
    let mut list = vec![
        writes(
            "pve1",
            "192.0.2.20",
            "ops@pve",
            "DELETE /api2/extjs/access/users/bob@pve",
            10.0,
        ),
        writes(
            "pve1",
            "192.0.2.21",
            "alice@pve",
            "PUT /api2/extjs/access/acl",
            10.0,
        ),
    ];
    list.extend(users(
        "a",
        11.0,
        &[
            row("/|bob@pve|PVEAdmin", "PVE-3033", Some("x"), None),
            row("/|dan@pve|PVEAdmin", "PVE-3032", None, Some("x")),
            ("PVE-3003", ("user", "bob@pve"), ("enable", Some("1"), None)),
        ],
    ));
    let out = run("", list);
    assert_eq!(told(&out[2])[0], "evidence");
    assert_eq!(text(&out[2], "pve.links"), out[0].id().to_string());
    assert_eq!(told(&out[3])[0], "evidence");
    assert_eq!(text(&out[3], "pve.links"), out[1].id().to_string());
    assert_eq!(text(&out[1], "pve.object.id"), "/|dan@pve|PVEAdmin");
}

#[test]
fn what_a_purge_takes_out_of_other_files_is_part_of_it() {
    let destroy = "DELETE /api2/extjs/nodes/pve1/qemu/210";
    let [call, end] = done("qmdestroy", destroy, 10.0);
    let part = |code, object, path, row| edit(code, object, path, &[row], 12.0);
    let jobs = |new| {
        let row = ("vmid", Some("100,210"), Some(new));
        part(
            "PVE-5122",
            ("backup_job", "nightly"),
            "/etc/pve/jobs.cfg",
            row,
        )
    };
    let mut firewall = part(
        "PVE-4003",
        ("firewall_rule", "vm/210/rules/0"),
        "/etc/pve/firewall/210.fw",
        ("action", Some("DROP"), None),
    );
    firewall["pve.vmid"] = json!(210);
    let out = run(
        "",
        [
            call,
            end,
            part(
                "PVE-3033",
                ("acl", "/vms/210|eve@pve|PVEVMUser"),
                "/etc/pve/user.cfg",
                ("acl", Some("x"), None),
            ),
            part(
                "PVE-7006",
                ("pool", "blue"),
                "/etc/pve/user.cfg",
                ("vms", Some("210"), None),
            ),
            part(
                "PVE-6033",
                ("ha_resource", "vm:210"),
                "/etc/pve/ha/resources.cfg",
                ("state", Some("started"), None),
            ),
            part(
                "PVE-5203",
                ("replication_job", "210-0"),
                "/etc/pve/replication.cfg",
                ("target", Some("pve2"), None),
            ),
            jobs("100"),
            firewall,
            // These are not.
            jobs("100,300"),
            part(
                "PVE-3033",
                ("acl", "/vms/211|eve@pve|PVEVMUser"),
                "/etc/pve/user.cfg",
                ("acl", Some("x"), None),
            ),
        ],
    );
    for gone in &out[2..8] {
        assert_eq!(told(gone)[0], "evidence", "{gone:?}");
        assert_eq!(text(gone, "pve.links"), out[1].id().to_string());
    }
    for other in &out[8..] {
        by_nobody(other);
    }
}

#[test]
fn a_task_whose_end_nobody_saw_has_not_written_all_the_time_since() {
    let id = upid("pve1", 10.0, "qmrestore", "210", "alice@pve");
    let out = run(
        "",
        [
            task("journal", &id, "start", 10.0),
            vm(&[new("args")], 15.0),
            vm(&[new("args")], 500.0),
        ],
    );
    assert_eq!(told(&out[1])[0], "evidence");
    by_nobody(&out[2]);
}
