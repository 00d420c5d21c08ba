//! Changes that fork no task.

use pipeline::testing::json;

use super::made::{difference, forks, run, said, task, text, told, upid, writes};

const CT: &str = "PUT /api2/extjs/nodes/pve1/lxc/200/config";
const VM: &str = "PUT /api2/extjs/nodes/pve1/qemu/210/config";

#[test]
fn a_call_and_a_difference_are_one_event() {
    let out = run(
        "",
        [
            writes("pve1", "192.0.2.20", "ops@pve", CT, 10.0),
            difference("pve1", "PVE-2114", ("ct", "200"), "a", 11.5),
        ],
    );
    assert_eq!(told(&out[0]), ["primary", "direct", "192.0.2.20"]);
    assert_eq!(text(&out[0], "pve.change_keys"), "cores");
    assert_eq!(told(&out[1])[0], "evidence");
    assert_eq!(text(&out[1], "pve.links"), out[0].id().to_string());
}

#[test]
fn a_difference_says_what_the_call_does_not() {
    let acl = "PUT /api2/extjs/access/acl";
    let out = run(
        "",
        [
            writes("pve1", "192.0.2.20", "ops@pve", acl, 10.0),
            difference("pve1", "PVE-3032", ("acl", "/|a@pve|PVEAdmin"), "a", 11.5),
        ],
    );
    assert_eq!(told(&out[0]), ["primary", "direct", "192.0.2.20"]);
    assert_eq!(text(&out[0], "event.code"), "PVE-3032");
    assert_eq!(text(&out[0], "pve.object.id"), "/|a@pve|PVEAdmin");
}

#[test]
fn of_two_permissions_in_one_writing_none_is_the_call_s_for_sure() {
    let acl = "PUT /api2/extjs/access/acl";
    let out = run(
        "",
        [
            writes("pve1", "192.0.2.20", "ops@pve", acl, 10.0),
            difference("pve1", "PVE-3032", ("acl", "/|a@pve|PVEAdmin"), "a", 11.5),
            difference("pve1", "PVE-3032", ("acl", "/|b@pve|PVEAdmin"), "a", 11.5),
        ],
    );
    assert_eq!(told(&out[0]), ["primary", "direct", "192.0.2.20"]);
    for difference in &out[1..] {
        assert_eq!(told(difference), ["primary", "ambiguous", "-"]);
        assert_eq!(text(difference, "user.id"), "-");
    }
}

#[test]
fn a_difference_alone_has_no_author() {
    let out = run(
        "",
        [
            writes("pve1", "192.0.2.20", "ops@pve", CT, 10.0),
            difference("pve1", "PVE-2114", ("ct", "201"), "a", 11.5),
            difference("pve1", "PVE-2114", ("ct", "200"), "b", 40.0),
        ],
    );
    for difference in &out[1..] {
        assert_eq!(told(difference), ["primary", "none", "-"]);
        assert_eq!(text(difference, "pve.actor.kind"), "unknown");
    }
}

#[test]
fn an_edit_by_hand_beside_a_call_accuses_nobody() {
    let out = run(
        "",
        [
            writes("pve1", "192.0.2.20", "ops@pve", CT, 10.0),
            difference("pve1", "PVE-2114", ("ct", "200"), "a", 11.5),
            difference("pve1", "PVE-2114", ("ct", "200"), "b", 17.5),
        ],
    );
    assert_eq!(told(&out[1]), ["primary", "ambiguous", "-"]);
    assert_eq!(told(&out[2]), ["primary", "ambiguous", "-"]);
    let out = run(
        "",
        [
            writes("pve1", "192.0.2.20", "ops@pve", CT, 10.0),
            writes("pve1", "192.0.2.21", "alice@pve", CT, 12.0),
            difference("pve1", "PVE-2114", ("ct", "200"), "a", 13.0),
        ],
    );
    assert_eq!(told(&out[2]), ["primary", "ambiguous", "-"]);
    assert_eq!(told(&out[0]), ["primary", "direct", "192.0.2.20"]);
}

#[test]
fn the_journal_tells_what_and_who_the_call_from_where_the_file_what_was_before() {
    let out = run(
        "",
        [
            writes("pve1", "192.0.2.20", "ops@pve", VM, 10.0),
            said("journal", "pvedaemon", "pve1", "ops@pve", 210, 10.2),
            difference("pve1", "PVE-2014", ("vm", "210"), "a", 11.5),
            said("api", "pvedaemon", "pve1", "ops@pve", 210, 10.0),
        ],
    );
    assert_eq!(told(&out[0])[0], "evidence");
    assert_eq!(told(&out[1]), ["primary", "matched", "192.0.2.20"]);
    assert_eq!(text(&out[1], "pve.change_keys"), "cores");
    assert_eq!(told(&out[2])[0], "evidence");
    assert_eq!(told(&out[3])[0], "evidence");
    assert_eq!(text(&out[3], "pve.links"), out[1].id().to_string());
}

#[test]
fn a_tool_on_the_shell_has_no_address() {
    let mut qm = said("journal", "qm", "pve1", "root@pam", 210, 10.2);
    qm["pve.source.attribution"] = json!("local");
    let out = run("", [writes("pve1", "192.0.2.20", "root@pam", VM, 10.0), qm]);
    assert_eq!(told(&out[1]), ["primary", "local", "-"]);
    assert_eq!(told(&out[0]), ["primary", "direct", "192.0.2.20"]);
}

#[test]
fn what_a_task_says_and_changes_is_evidence_of_it() {
    let id = upid("pve1", 10.0, "qmconfig", "210", "ops@pve");
    let call = "POST /api2/extjs/nodes/pve1/qemu/210/config";
    let out = run(
        "",
        [
            forks("pve1", "192.0.2.20", "ops@pve", call, &id, 10.0),
            task("task", &id, "end", 11.0),
            said("journal", "pvedaemon", "pve1", "ops@pve", 210, 10.2),
            difference("pve1", "PVE-2014", ("vm", "210"), "a", 11.5),
        ],
    );
    assert_eq!(told(&out[1]), ["primary", "matched", "192.0.2.20"]);
    for part in [&out[0], &out[2], &out[3]] {
        assert_eq!(told(part)[0], "evidence", "{part:?}");
        assert_eq!(text(part, "pve.links"), out[1].id().to_string());
    }
}

#[test]
fn a_call_beside_a_task_of_another_user_is_not_taken_for_the_author() {
    let id = upid("pve1", 11.0, "vzrollback", "200", "alice@pve");
    let out = run(
        "",
        [
            writes("pve1", "192.0.2.20", "ops@pve", CT, 10.0),
            task("task", &id, "end", 12.0),
            difference("pve1", "PVE-2114", ("ct", "200"), "a", 12.5),
        ],
    );
    assert_eq!(told(&out[2]), ["primary", "ambiguous", "-"]);
    assert_eq!(text(&out[2], "pve.source.candidates"), "192.0.2.20");
    assert!(text(&out[2], "pve.source.evidence").contains(&out[1].id().to_string()));
    assert_eq!(told(&out[0]), ["primary", "direct", "192.0.2.20"]);
    assert_eq!(text(&out[0], "pve.change_keys"), "-");
}

#[test]
fn what_writes_no_file_is_not_the_author_of_an_edit_by_hand() {
    let agent = "POST /api2/extjs/nodes/pve1/qemu/210/agent/exec";
    let password = "PUT /api2/extjs/access/password";
    let out = run(
        "",
        [
            writes("pve1", "192.0.2.20", "ops@pve", agent, 10.0),
            difference("pve1", "PVE-2014", ("vm", "210"), "a", 11.5),
            writes("pve1", "192.0.2.21", "ops@pve", password, 50.0),
            difference("pve1", "PVE-3002", ("user", "eve@pve"), "b", 51.5),
        ],
    );
    for edit in [&out[1], &out[3]] {
        assert_eq!(told(edit), ["primary", "none", "-"]);
        assert_eq!(text(edit, "pve.actor.kind"), "unknown");
    }
}

#[test]
fn of_two_users_in_one_writing_a_call_that_makes_one_is_the_author_of_neither() {
    let make = "POST /api2/extjs/access/users";
    let user = |id, hash, at| difference("pve1", "PVE-3001", ("user", id), hash, at);
    let out = run(
        "",
        [
            writes("pve1", "192.0.2.20", "ops@pve", make, 10.0),
            user("newbie@pve", "a", 11.5),
            user("evil@pve", "a", 11.5),
            writes("pve1", "192.0.2.20", "ops@pve", make, 100.0),
            user("third@pve", "b", 101.5),
        ],
    );
    for made in &out[1..3] {
        assert_eq!(told(made), ["primary", "ambiguous", "-"]);
        assert_eq!(text(made, "user.id"), "-");
    }
    // One alone is its own.
    assert_eq!(told(&out[3]), ["primary", "direct", "192.0.2.20"]);
    assert_eq!(text(&out[3], "pve.object.id"), "third@pve");
}

#[test]
fn what_changed_while_nobody_looked_is_nobody_s_for_sure() {
    let acl = "PUT /api2/extjs/access/acl";
    let mut late = difference(
        "pve1",
        "PVE-3032",
        ("acl", "/|evil@pve|Administrator"),
        "a",
        11.5,
    );
    late["tags"] = json!(["changed_while_stopped"]);
    let mut polled = difference("pve1", "PVE-3032", ("acl", "/|b@pve|PVEAdmin"), "b", 101.5);
    polled["pve.origin"] = json!("api");
    let out = run(
        "",
        [
            writes("pve1", "192.0.2.20", "ops@pve", acl, 10.0),
            late,
            writes("pve1", "192.0.2.20", "ops@pve", acl, 100.0),
            polled,
        ],
    );
    for change in [&out[1], &out[3]] {
        assert_eq!(told(change), ["primary", "ambiguous", "-"]);
        assert_eq!(text(change, "user.id"), "-");
    }
}

#[test]
fn a_call_after_a_change_did_not_make_it() {
    let out = run(
        "",
        [
            difference("pve1", "PVE-2114", ("ct", "200"), "a", 10.0),
            writes("pve1", "192.0.2.20", "ops@pve", CT, 20.0),
        ],
    );
    assert_eq!(told(&out[0]), ["primary", "none", "-"]);
}
