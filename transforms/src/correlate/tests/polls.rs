//! Whose a change is that the API was asked for, once a minute.

use pipeline::Event;
use pipeline::testing::{Json, json};

use super::made::{edit, polled, run, text, told, writes};

const MAKE: &str = "POST /api2/extjs/access/tfa/alice@pve";

/// The log of a node, read from long before to long behind.
fn read(node: &str) -> [Json; 2] {
    let look = "PUT /api2/json/access/users/mon@pve";
    [-3000.0, 200.0].map(|at| writes(node, "192.0.2.30", "mon@pve", look, at))
}

fn factor(id: &str, since: f64, at: f64) -> Json {
    let rows = [("type", None, Some("totp"))];
    polled(
        "PVE-3051",
        ("tfa", &format!("alice@pve/{id}")),
        &rows,
        since,
        at,
    )
}

fn call(user: &str, ip: &str, at: f64) -> Json {
    writes("pve1", ip, user, MAKE, at)
}

/// What comes of the list, with the log of `pve1` read over all of it, which is left out.
fn tell(list: impl IntoIterator<Item = Json>) -> Vec<Event> {
    let all = read("pve1").into_iter().chain(list);
    run("", all)[2..].to_vec()
}

#[test]
fn a_factor_is_its_call_s_though_the_api_shows_it_a_minute_later() {
    let out = tell([call("alice@pve", "192.0.2.20", 5.0), factor("a", 0.0, 55.0)]);
    assert_eq!(told(&out[0]), ["primary", "direct", "192.0.2.20"]);
    assert_eq!(told(&out[1])[0], "evidence");
    assert_eq!(text(&out[1], "pve.links"), out[0].id().to_string());
}

#[test]
fn a_factor_whose_call_was_told_before_is_told_with_its_author() {
    let mut bench = pipeline::testing::stateful::<super::super::Config>("");
    let first = read("pve1")
        .into_iter()
        .chain([call("alice@pve", "192.0.2.20", 5.0)]);
    let line = super::made::feed(&mut bench, first).remove(2);
    assert_eq!(told(&line), ["primary", "direct", "192.0.2.20"]);
    let out = super::made::feed(&mut bench, [factor("a", 0.0, 55.0)]);
    assert_eq!(told(&out[0]), ["evidence", "matched", "192.0.2.20"]);
    assert_eq!(text(&out[0], "user.id"), "alice@pve");
    assert_eq!(text(&out[0], "pve.links"), line.id().to_string());
}

#[test]
fn of_several_calls_between_two_looks_none_is_the_author() {
    let out = tell([
        call("alice@pve", "192.0.2.20", 5.0),
        call("ops@pve", "192.0.2.21", 30.0),
        factor("a", 0.0, 55.0),
    ]);
    assert_eq!(told(&out[2]), ["primary", "ambiguous", "-"]);
    assert_eq!(
        text(&out[2], "pve.source.candidates"),
        "192.0.2.20 192.0.2.21"
    );
    assert_eq!(text(&out[2], "user.id"), "-");
    // And of two factors one may be made on the node itself.
    let out = tell([
        call("alice@pve", "192.0.2.20", 5.0),
        factor("a", 0.0, 55.0),
        factor("b", 0.0, 55.0),
    ]);
    for one in &out[1..] {
        assert_eq!(told(one), ["primary", "ambiguous", "-"]);
    }
}

#[test]
fn without_a_call_between_the_looks_it_is_nobody_s() {
    for at in [-30.0, 90.0] {
        let out = tell([call("alice@pve", "192.0.2.20", at), factor("a", 0.0, 55.0)]);
        assert_eq!(told(&out[1]), ["primary", "none", "-"], "{at}");
        assert_eq!(text(&out[1], "pve.actor.kind"), "unknown");
    }
}

#[test]
fn where_a_log_was_not_read_over_all_of_the_time_nobody_is_named() {
    // Nothing was read before the call.
    let list = [call("alice@pve", "192.0.2.20", 5.0), factor("a", 0.0, 55.0)];
    let out = run("", list.clone());
    assert_eq!(told(&out[1]), ["primary", "ambiguous", "-"]);
    // There is a node whose log nobody reads.
    let nodes = r#"cluster_nodes = ["pve1=192.0.2.11", "pve2=192.0.2.12"]"#;
    let out = run(nodes, read("pve1").into_iter().chain(list.clone()));
    assert_eq!(told(&out[3]), ["primary", "ambiguous", "-"]);
    let both = read("pve1").into_iter().chain(read("pve2"));
    let out = run(nodes, both.chain(list));
    assert_eq!(told(&out[5])[0], "evidence");
    // How its clock goes is not known, and it has such a call just before.
    let other = writes("pve2", "192.0.2.21", "ops@pve", MAKE, -60.0);
    let both = read("pve1").into_iter().chain(read("pve2"));
    let all = both.chain([
        other,
        call("alice@pve", "192.0.2.20", 5.0),
        factor("a", 0.0, 55.0),
    ]);
    let out = run(nodes, all);
    assert_eq!(told(&out[6]), ["primary", "ambiguous", "-"]);
}

#[test]
fn what_pve_itself_locks_after_wrong_codes_is_no_call_s() {
    let put = |path: &str, at| writes("pve1", "192.0.2.20", "ops@pve", path, at);
    let user = "PUT /api2/extjs/access/users/alice@pve";
    let lock = |old, new| {
        polled(
            "PVE-3002",
            ("user", "alice@pve"),
            &[("totp-locked", old, new)],
            0.0,
            55.0,
        )
    };
    let out = tell([put(user, 5.0), lock(None, Some("1"))]);
    assert_eq!(told(&out[1]), ["primary", "none", "-"]);
    let out = tell([
        put(&format!("{user}/unlock-tfa"), 5.0),
        lock(Some("1"), None),
    ]);
    assert_eq!(told(&out[1])[0], "evidence");
}

#[test]
fn what_the_file_has_told_is_told_once_more_as_its_evidence() {
    let acl = "PUT /api2/extjs/access/acl";
    let id = ("acl", "/|eve@pve|PVEAdmin");
    let file = |at| {
        edit(
            "PVE-3032",
            id,
            "/etc/pve/user.cfg",
            &[("acl", None, Some("propagate=1"))],
            at,
        )
    };
    let api = |at| polled("PVE-3032", id, &[("propagate", None, Some("1"))], 0.0, at);
    let ops = || writes("pve1", "192.0.2.20", "ops@pve", acl, 2.0);
    // Soon or late, and beside a call of somebody else that did nothing.
    let bob = writes("pve1", "192.0.2.21", "bob@pve", acl, 50.0);
    for (at, more) in [(10.0, None), (58.0, None), (58.0, Some(bob))] {
        let out = tell([ops(), file(3.0), api(at)].into_iter().chain(more));
        assert_eq!(told(&out[0]), ["primary", "direct", "192.0.2.20"], "{at}");
        for copy in &out[1..3] {
            assert_eq!(told(copy)[0], "evidence", "{at}");
            assert_eq!(text(copy, "pve.links"), out[0].id().to_string());
        }
    }
    // By hand, the file alone tells it.
    let out = tell([file(3.0), api(58.0)]);
    assert_eq!(told(&out[0]), ["primary", "none", "-"]);
    assert_eq!(told(&out[1])[0], "evidence");
    // The API shows another one.
    let other = polled(
        "PVE-3032",
        ("acl", "/|dan@pve|PVEAdmin"),
        &[("propagate", None, Some("1"))],
        0.0,
        58.0,
    );
    let out = tell([file(3.0), other]);
    assert_eq!(told(&out[1]), ["primary", "none", "-"]);
}

#[test]
fn a_change_of_a_user_is_the_same_by_its_new_value() {
    let row = |new| [("comment", Some("a"), Some(new))];
    let file = |new, at| {
        edit(
            "PVE-3002",
            ("user", "bob@pve"),
            "/etc/pve/user.cfg",
            &row(new),
            at,
        )
    };
    let api = |new| polled("PVE-3002", ("user", "bob@pve"), &row(new), 0.0, 55.0);
    let out = tell([file("b", 10.0), file("c", 20.0), api("c")]);
    assert_eq!(told(&out[2])[0], "evidence");
    assert_eq!(text(&out[2], "pve.links"), out[1].id().to_string());
    let out = tell([file("b", 10.0), api("d")]);
    assert_eq!(told(&out[1]), ["primary", "none", "-"]);
}

#[test]
fn the_first_look_after_a_stop_accuses_nobody() {
    let mut late = factor("a", 0.0, 55.0);
    late["tags"] = json!(["changed_while_stopped"]);
    let out = tell([call("alice@pve", "192.0.2.20", 5.0), late]);
    assert_eq!(told(&out[1]), ["primary", "ambiguous", "-"]);
}
