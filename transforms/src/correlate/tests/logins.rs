//! Logins, renewals, second factors.

use super::super::Config;
use pipeline::testing::events;

use super::made::{feed, logged_in, run, task, text, ticket, told, upid};

fn code(event: &pipeline::Event) -> String {
    text(event, "event.code")
}

#[test]
fn a_login_has_the_address_of_the_only_ticket_given_then() {
    let out = run(
        "",
        [
            logged_in("pve1", "alice@pve", 10.4),
            ticket("pve1", "192.0.2.10", 10.0),
        ],
    );
    assert_eq!(told(&out[0]), ["primary", "matched", "192.0.2.10"]);
    assert_eq!(code(&out[0]), "PVE-1001");
    assert_eq!(told(&out[1])[0], "evidence");
    assert_eq!(text(&out[1], "pve.links"), out[0].id().to_string());
    let out = run(
        "",
        [
            logged_in("pve1", "alice@pve", 10.4),
            ticket("pve2", "192.0.2.10", 10.0),
        ],
    );
    assert_eq!(told(&out[0]), ["primary", "none", "-"]);
    let out = run(
        "",
        [
            logged_in("pve1", "alice@pve", 10.4),
            ticket("pve1", "192.0.2.10", 14.0),
        ],
    );
    assert_eq!(told(&out[0]), ["primary", "none", "-"]);
}

#[test]
fn two_at_once_are_not_told_apart_unless_they_share_an_address() {
    let two = |first, second| {
        run(
            "",
            [
                logged_in("pve1", "alice@pve", 10.4),
                logged_in("pve1", "bob@pve", 10.6),
                ticket("pve1", first, 10.0),
                ticket("pve1", second, 10.0),
            ],
        )
    };
    let out = two("192.0.2.10", "192.0.2.11");
    assert_eq!(told(&out[0])[1], "ambiguous");
    assert_eq!(told(&out[1])[1], "ambiguous");
    assert_eq!(
        text(&out[1], "pve.source.candidates"),
        "192.0.2.10 192.0.2.11"
    );
    let out = two("192.0.2.10", "192.0.2.10");
    assert_eq!(told(&out[0])[2], "192.0.2.10");
    assert_eq!(told(&out[1])[2], "192.0.2.10");
    // One of two only checked the ticket of a console: whose login was it?
    let out = run(
        "",
        [
            logged_in("pve1", "alice@pve", 10.4),
            logged_in("pve1", "bob@pve", 10.6),
            ticket("pve1", "192.0.2.10", 10.0),
        ],
    );
    assert_eq!(told(&out[0])[1], "ambiguous");
    assert_eq!(told(&out[1])[1], "ambiguous");
}

#[test]
fn a_second_login_of_user_and_address_within_two_hours_renews() {
    let mut bench = pipeline::testing::stateful::<Config>("");
    let mut once = |ip: &str, at: f64| {
        let out = feed(
            &mut bench,
            [logged_in("pve1", "alice@pve", at), ticket("pve1", ip, at)],
        );
        code(&out[0])
    };
    assert_eq!(once("192.0.2.10", 0.0), "PVE-1001");
    assert_eq!(once("192.0.2.10", 900.0), "PVE-1003");
    assert_eq!(once("192.0.2.11", 950.0), "PVE-1001");
    assert_eq!(once("192.0.2.10", 8000.0), "PVE-1003");
    assert_eq!(once("192.0.2.10", 16000.0), "PVE-1001");
}

#[test]
fn the_first_of_two_factors_is_no_login() {
    let out = run(
        "",
        [
            logged_in("pve1", "alice@pve", 10.4),
            ticket("pve1", "192.0.2.10", 10.0),
            logged_in("pve1", "alice@pve", 16.4),
            ticket("pve1", "192.0.2.10", 16.0),
        ],
    );
    assert_eq!(
        (code(&out[0]), code(&out[2])),
        ("PVE-1005".into(), "PVE-1001".into())
    );
}

#[test]
fn the_check_of_a_consoles_ticket_belongs_to_the_console() {
    let id = upid("pve1", 10.0, "vncproxy", "104", "alice@pve");
    let out = run(
        "",
        [
            task("journal", &id, "start", 10.0),
            logged_in("pve1", "alice@pve", 11.0),
        ],
    );
    assert_eq!(told(&out[1])[0], "evidence");
    assert_eq!(text(&out[1], "pve.links"), out[0].id().to_string());
}

#[test]
fn a_ticket_of_somebody_unknown_is_not_taken_for_the_login_after_the_check_of_a_console() {
    let id = upid("pve1", 10.0, "vncproxy", "104", "carol@pve");
    let out = run(
        "",
        [
            task("journal", &id, "start", 10.0),
            logged_in("pve1", "carol@pve", 10.9),
            logged_in("pve1", "alice@pve", 13.2),
            ticket("pve1", "192.0.2.10", 13.0),
            // A name that the journal cannot write: this line is nobody's.
            ticket("pve1", "203.0.113.9", 15.0),
        ],
    );
    assert_eq!(told(&out[2])[1], "ambiguous");
}

#[test]
fn a_failed_login_is_told_once() {
    let mut failed = logged_in("pve1", "root@pam", 10.2);
    failed["event.code"] = "PVE-1002".into();
    failed["source.ip"] = "203.0.113.9".into();
    failed["pve.source.attribution"] = "direct".into();
    let line = |ip| {
        let mut line = ticket("pve1", ip, 10.0);
        line["http.response.body.bytes"] = 77.into();
        line["event.code"] = "PVE-1002".into();
        line
    };
    let out = run("", [failed.clone(), line("203.0.113.9")]);
    assert_eq!(told(&out[0]), ["primary", "direct", "203.0.113.9"]);
    assert_eq!(told(&out[1])[0], "evidence");
    // Not the same one; and names with wide letters leave no line in the journal.
    let out = run("", [failed, line("203.0.113.10")]);
    assert_eq!(told(&out[1]), ["primary", "direct", "203.0.113.10"]);
}

#[test]
fn a_refusal_is_told_once_and_its_line_does_not_wait() {
    let mut said = logged_in("pve1", "-", 10.0);
    said["event.code"] = "PVE-1011".into();
    let line = |ip: &str| {
        let mut line = ticket("pve1", ip, 10.0);
        line["http.request.method"] = "GET".into();
        line["url.path"] = "/api2/json/cluster/tasks".into();
        line["http.response.status_code"] = 401.into();
        line["event.code"] = "PVE-1011".into();
        line["pve.record"] = "primary".into();
        line
    };
    let mut bench = pipeline::testing::stateful::<Config>("");
    let at_once = bench.feed(events([line("203.0.113.9")]));
    assert_eq!(
        told(&at_once.events()[0]),
        ["primary", "direct", "203.0.113.9"]
    );
    bench.feed(events([said.clone()]));
    let later = bench.wait(std::time::Duration::from_secs(9));
    assert_eq!(told(&later.events()[0])[0], "evidence");
    // The journal alone, told before its line came.
    let mut bench = pipeline::testing::stateful::<Config>("");
    bench.feed(events([said]));
    let alone = bench.wait(std::time::Duration::from_secs(9));
    assert_eq!(told(&alone.events()[0])[0], "primary");
    let late = bench.feed(events([line("203.0.113.9")]));
    assert_eq!(told(&late.events()[0])[0], "evidence");
}

#[test]
fn a_login_that_the_cluster_log_tells_again_is_one_login() {
    let copy = |seconds| {
        let mut copy = logged_in("pve1", "alice@pve", seconds);
        copy["pve.origin"] = "api".into();
        copy
    };
    let journal = || logged_in("pve1", "alice@pve", 10.4);
    let ticket = || ticket("pve1", "192.0.2.10", 10.0);
    for order in [
        vec![journal(), copy(10.0), ticket()],
        vec![copy(10.0), journal(), ticket()],
        vec![copy(10.0), ticket()],
    ] {
        let out = run("", order);
        let logins = out
            .iter()
            .filter(|event| code(event) == "PVE-1001" && told(event)[0] == "primary");
        let logins: Vec<_> = logins.map(told).collect();
        assert_eq!(logins, [["primary", "matched", "192.0.2.10"]]);
    }
}
