//! What is bounded, what is told of it, and in which order what is left goes on.

use std::time::Duration;

use pipeline::testing::{events, json};

use super::super::Config;
use super::made::{
    Access, feed, forks, logged_in, task, text, ticket, told, upid, upid_of, writes,
};

#[test]
fn what_was_given_up_in_a_minute_is_told_at_its_end_with_its_number() {
    let mut bench = pipeline::testing::stateful::<Config>("max_tasks = 10");
    let mut given_up = 0;
    for second in 0..30_u32 {
        let tasks = (0..5).map(|n| {
            let id = upid_of("pve1", second * 5 + n, 10.0, "qmstart", "100", "alice@pve");
            task("task", &id, "end", 12.0)
        });
        let out = bench.feed(events(tasks));
        given_up += out.evicted();
        assert!(out.told().is_empty(), "{:?}", out.told());
        if second == 7 {
            bench.restart();
        }
        assert!(bench.wait(Duration::from_secs(1)).told().is_empty());
    }
    assert_eq!(given_up, 140);
    let out = bench.wait(Duration::from_secs(40));
    let told = out.told();
    assert_eq!((told.len(), told[0].0), (1, "PVE-9018"), "{told:?}");
    assert!(told[0].1.starts_with("140 "), "{told:?}");
    assert!(bench.wait(Duration::from_secs(90)).told().is_empty());
}

#[test]
fn sessions_count_as_what_is_remembered() {
    let mut bench = pipeline::testing::stateful::<Config>("max_held = '256KiB'");
    let call = "PUT /api2/extjs/nodes/pve1/lxc/200/config";
    let mut evicted = 0;
    for part in 0..20 {
        // Each of these is refused, and shows where somebody is at work.
        let failed = (0..500).map(|n| {
            let user = format!("somebody-with-a-long-name-{part}-{n}@pve");
            let mut line = writes("pve1", "192.0.2.10", &user, call, 10.0);
            line["event.outcome"] = json!("failure");
            line
        });
        evicted += bench.feed(events(failed)).evicted();
    }
    bench.wait(Duration::from_secs(60));
    assert!(evicted > 5_000, "{evicted}");
    // Names of 40 bytes and their entries are all that is in it.
    assert!(bench.saved().len() < 96 << 10, "{}", bench.saved().len());
}

#[test]
fn lists_of_what_is_forgotten_do_not_grow_with_what_is_gone_already() {
    let mut bench = pipeline::testing::stateful::<Config>("");
    let refused = |n: u32| {
        let mut line = ticket("pve1", "203.0.113.9", 10.0);
        line["http.request.method"] = "GET".into();
        line["url.path"] = format!("/api2/json/cluster/tasks/{n}").into();
        line["http.response.status_code"] = 401.into();
        line["event.code"] = "PVE-1011".into();
        line
    };
    for part in 0..30 {
        bench.feed(events((0..2000).map(|n| refused(part * 2000 + n))));
    }
    let few = bench.saved().len();
    for part in 30..90 {
        bench.feed(events((0..2000).map(|n| refused(part * 2000 + n))));
    }
    let many = bench.saved().len();
    // 5000 of them are remembered, and twice 8192 entries at most are listed.
    assert!(many < few + (512 << 10), "{few} {many}");
}

#[test]
fn what_goes_on_at_once_keeps_its_place_in_its_lane() {
    let mut bench = pipeline::testing::stateful::<Config>("");
    let read = |path: &str| {
        Access {
            node: "pve1",
            ip: "192.0.2.10",
            user: "alice@pve",
            request: path,
            status: 200,
            bytes: 99,
        }
        .at(10.0)
    };
    let mut failed = writes(
        "pve1",
        "192.0.2.10",
        "alice@pve",
        "PUT /api2/extjs/nodes/pve1/lxc/200/config",
        10.0,
    );
    failed["event.outcome"] = json!("failure");
    let held = writes(
        "pve1",
        "192.0.2.10",
        "alice@pve",
        "PUT /api2/extjs/nodes/pve1/lxc/201/config",
        10.0,
    );
    let fed = events([
        read("GET /api2/json/version"),
        failed,
        read("GET /api2/json/nodes"),
        held,
        read("GET /api2/json/cluster/status"),
    ]);
    let out = bench.feed(fed.clone());
    let ids = |list: &[pipeline::Event]| list.iter().map(|event| event.id()).collect::<Vec<_>>();
    let at_once = [0, 1, 2, 4].map(|n| fed[n].id());
    assert_eq!(ids(out.events()), at_once);
}

#[test]
fn a_node_that_left_is_a_client_a_day_later_and_what_finds_no_room_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let list = folder.path().join(".members");
    let write = |nodes: &[(String, String)]| {
        let nodes: serde_json::Map<_, _> = nodes
            .iter()
            .map(|(name, ip)| (name.clone(), json!({"ip": ip})))
            .collect();
        std::fs::write(&list, json!({"nodelist": nodes}).to_string()).unwrap();
    };
    let pair = |name: &str, ip: &str| (name.to_owned(), ip.to_owned());
    let (one, two) = (pair("pve1", "10.0.0.1"), pair("pve2", "10.0.0.2"));
    write(&[one.clone(), two.clone()]);
    let toml = format!("members = {list:?}\ncluster_nodes = ['pve3=10.0.0.3']");
    let mut bench = pipeline::testing::stateful::<Config>(&toml);
    let ground = |bench: &mut pipeline::testing::StatefulBench, ip: &str, at: f64| {
        let id = upid("pve1", at, "qmdestroy", "104", "alice@pve");
        let call = "DELETE /api2/extjs/nodes/pve1/qemu/104";
        let out = feed(
            bench,
            [
                forks("pve1", ip, "alice@pve", call, &id, at),
                task("task", &id, "end", at + 2.0),
            ],
        );
        told(&out[1])[1].clone()
    };
    assert_eq!(ground(&mut bench, "10.0.0.2", 10.0), "ambiguous");
    write(std::slice::from_ref(&one));
    let hour = Duration::from_secs(3600);
    for _ in 0..23 {
        bench.wait(hour);
    }
    bench.restart();
    assert_eq!(ground(&mut bench, "10.0.0.2", 83_000.0), "ambiguous");
    bench.wait(hour * 2);
    assert_eq!(ground(&mut bench, "10.0.0.2", 93_000.0), "matched");
    // What the configuration says stays, and so does who is there.
    assert_eq!(ground(&mut bench, "10.0.0.3", 93_500.0), "ambiguous");
    let mut many = vec![one];
    many.extend(
        (0..1100).map(|n| pair(&format!("n{n}"), &format!("10.1.{}.{}", n / 250, n % 250))),
    );
    write(&many);
    let crowded = bench.wait(hour);
    let said = crowded.told();
    assert_eq!((said.len(), said[0].0), (1, "PVE-9018"), "{said:?}");
    assert!(said[0].1.contains("1024"), "{said:?}");
    assert!(bench.wait(Duration::from_secs(120)).told().is_empty());
}

#[test]
fn a_second_factor_after_more_logins_than_are_looked_at_is_not_denied() {
    let login = |user: &str, at: f64| {
        [
            logged_in("pve1", user, at),
            ticket("pve1", "192.0.2.10", at.floor()),
        ]
    };
    let mut list: Vec<_> = login("alice@pve", 10.4).into();
    for n in 0..2000 {
        let at = 15.0 + f64::from(n) / 40.0;
        list.extend(login(&format!("user{n}@pve"), at));
    }
    list.extend(login("alice@pve", 90.4));
    let mut bench = pipeline::testing::stateful::<Config>("");
    let out = feed(&mut bench, list);
    assert_eq!(told(&out[0]), ["primary", "ambiguous", "-"]);
    assert_eq!(text(&out[0], "pve.source.candidates"), "192.0.2.10");
    // With as many as are looked at it is seen.
    let mut list: Vec<_> = login("bob@pve", 1010.4).into();
    for n in 0..200 {
        let at = 1015.0 + f64::from(n) / 4.0;
        list.extend(login(&format!("user{n}@pve"), at));
    }
    list.extend(login("bob@pve", 1090.4));
    let out = feed(&mut bench, list);
    assert_eq!(text(&out[0], "event.code"), "PVE-1005");
}

#[test]
fn the_check_of_a_ticket_is_found_behind_many_consoles_and_not_denied_behind_too_many() {
    let open = |n: u32, user: &str, at: f64| {
        let id = upid_of("pve1", n, at, "vncproxy", "104", user);
        task("journal", &id, "start", at)
    };
    for (others, found) in [(200, true), (1500, false)] {
        let mut bench = pipeline::testing::stateful::<Config>("");
        let mut list = vec![open(0, "alice@pve", 10.0)];
        list.extend((1..=others).map(|n| open(n, "else@pve", 11.0)));
        let mut fed = events(list);
        fed.extend(events([
            logged_in("pve1", "alice@pve", 12.0),
            ticket("pve1", "192.0.2.66", 12.0),
        ]));
        let last = fed.len() - 2;
        let (console, login) = (fed[0].id(), fed[last].id());
        let mut out = bench.feed(fed).events().to_vec();
        for _ in 0..12 {
            out.extend(bench.wait(Duration::from_secs(5)).events().to_vec());
        }
        let login = out.iter().find(|event| event.id() == login).unwrap();
        // The line beside it is another one's login: it is not said that alice logged in from there.
        assert_ne!(told(login)[1], "matched", "{others}");
        let linked = text(login, "pve.links") == console.to_string();
        assert!(
            !found || linked || told(login)[1] == "ambiguous",
            "{others}"
        );
    }
}
