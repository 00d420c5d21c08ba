//! What is asked for is found, and nothing else; however the store finds it.

use jiff::tz::TimeZone;
use pipeline::Time;
use proptest::prelude::*;

use super::*;

/// Eight events that differ in everything.
fn day() -> Events {
    let rows = [
        (
            "alice@pve",
            "192.0.2.1",
            "PVE-2002",
            "vm-destroy",
            "success",
            "vm",
            "104",
            "db-prod-1",
            "pve1",
            "primary",
        ),
        (
            "alice@pam",
            "192.0.2.2",
            "PVE-1001",
            "login",
            "success",
            "user",
            "alice@pam",
            "",
            "pve1",
            "primary",
        ),
        (
            "alice2@pve",
            "198.51.100.7",
            "PVE-1002",
            "login",
            "failure",
            "user",
            "alice2@pve",
            "",
            "pve2",
            "primary",
        ),
        (
            "root@pam",
            "2001:db8::1",
            "PVE-2102",
            "ct-destroy",
            "success",
            "ct",
            "104",
            "web",
            "pve2",
            "primary",
        ),
        (
            "root@pam",
            "",
            "PVE-2011",
            "vm-migrate",
            "failure",
            "vm",
            "105",
            "web",
            "pve3",
            "primary",
        ),
        (
            "root",
            "203.0.113.9",
            "PVE-1020",
            "ssh-login",
            "success",
            "node",
            "pve3",
            "",
            "pve3",
            "primary",
        ),
        (
            "bob@pve",
            "192.0.2.1",
            "PVE-2014",
            "vm-config-change",
            "success",
            "vm",
            "104",
            "db-prod-1",
            "pve1",
            "evidence",
        ),
        ("", "", "", "", "", "", "", "", "pve1", ""),
    ];
    events(rows.iter().enumerate().map(|(n, row)| {
        let (user, ip, code, action, outcome, kind, id, name, node, record) = *row;
        let mut more = json!({ "host": { "name": node }, "message": format!("{user} {action} {name} disk-full") });
        let mut set = |pointer: [&str; 3], value: &str| {
            if !value.is_empty() {
                let [a, b, c] = pointer;
                let leaf = if c.is_empty() { json!({ b: value }) } else { json!({ b: { c: value } }) };
                merge(&mut more, json!({ a: leaf }));
            }
        };
        set(["user", "id", ""], user);
        set(["source", "ip", ""], ip);
        set(["event", "code", ""], code);
        set(["event", "action", ""], action);
        set(["event", "outcome", ""], outcome);
        set(["pve", "object", "type"], kind);
        set(["pve", "object", "id"], id);
        set(["pve", "object", "name"], name);
        set(["pve", "record", ""], record);
        if let Ok(vmid) = id.parse::<i64>() {
            merge(&mut more, json!({ "pve": { "vmid": vmid } }));
        }
        event(n as u64 * 600, more)
    }))
}

/// The places of the events above that a question finds.
fn asked(ground: &Ground, set: impl FnOnce(&mut Filter)) -> Vec<u64> {
    let mut filter = Filter::default();
    set(&mut filter);
    let all = ground.found(&filter, 0);
    // The same by the other way, and a page is its end.
    assert_eq!(ground.found(&filter, 1000), all);
    let page = ground.found(&filter, 2);
    assert_eq!(page, all[all.len().saturating_sub(2)..]);
    let counted: i64 = ground
        .reader()
        .groups(&filter, By::Node, 1, 0)
        .unwrap()
        .iter()
        .map(|group| group.count)
        .sum();
    assert_eq!(counted, all.len() as i64);
    all.iter().map(|n| n / 600).collect()
}

#[tokio::test]
async fn each_filter_finds_its_events() {
    let ground = Ground::new();
    ground.sink().write(day()).await.unwrap();
    let words = |list: &[&str]| {
        list.iter()
            .map(|word| (*word).to_owned())
            .collect::<Vec<_>>()
    };
    let ask = |set: &dyn Fn(&mut Filter)| asked(&ground, set);
    assert_eq!(ask(&|_| {}), [0, 1, 2, 3, 4, 5, 7]);
    assert_eq!(ask(&|f| f.all = true), [0, 1, 2, 3, 4, 5, 6, 7]);
    for (users, found) in [
        (vec!["alice"], vec![0, 1]),
        (vec!["alice@pve"], vec![0]),
        (vec!["alice*"], vec![0, 1, 2]),
        (vec!["*@pve"], vec![0, 2]),
        (vec!["root"], vec![3, 4, 5]),
        (vec!["root@pam", "alice2"], vec![2, 3, 4]),
        (vec!["nobody"], vec![]),
    ] {
        assert_eq!(ask(&|f| f.users = words(&users)), found, "{users:?}");
    }
    for (sources, found) in [
        (vec!["192.0.2.1"], vec![0]),
        (vec!["192.0.2.0/24"], vec![0, 1]),
        (vec!["2001:db8::/32"], vec![3]),
        (vec!["::ffff:192.0.2.2"], vec![1]),
        (vec!["198.51.*"], vec![2]),
        (vec!["10.0.0.0/8"], vec![]),
    ] {
        assert_eq!(ask(&|f| f.sources = words(&sources)), found, "{sources:?}");
    }
    for (actions, found) in [
        (vec!["vm-destroy"], vec![0]),
        (vec!["*-destroy"], vec![0, 3]),
        (vec!["login"], vec![1, 2]),
        (vec!["ssh-l*"], vec![5]),
        (vec!["no-such-action"], vec![]),
    ] {
        assert_eq!(ask(&|f| f.actions = words(&actions)), found, "{actions:?}");
    }
    for (codes, found) in [
        (vec!["PVE-2002"], vec![0]),
        (vec!["2002", "1001"], vec![0, 1]),
        (vec!["10??"], vec![1, 2, 5]),
        (vec!["pve-20*"], vec![0, 4]),
    ] {
        assert_eq!(ask(&|f| f.codes = words(&codes)), found, "{codes:?}");
    }
    for (objects, found) in [
        (vec!["vm/104"], vec![0]),
        (vec!["104"], vec![0, 3]),
        (vec!["guest/104"], vec![0, 3]),
        (vec!["vm/*"], vec![0, 4]),
        (vec!["vm"], vec![0, 4]),
        (vec!["web"], vec![3, 4]),
        (vec!["user/alice*"], vec![1, 2]),
        (vec!["vm/104", "user/alice@pam"], vec![0, 1]),
        (vec!["nothing"], vec![]),
    ] {
        assert_eq!(ask(&|f| f.objects = words(&objects)), found, "{objects:?}");
    }
    assert_eq!(ask(&|f| f.vmids = vec![104]), [0, 3]);
    assert_eq!(ask(&|f| f.nodes = words(&["pve3"])), [4, 5]);
    assert_eq!(ask(&|f| f.outcomes = words(&["failure"])), [2, 4]);
    assert_eq!(
        ask(&|f| (f.users, f.outcomes) = (words(&["root*"]), words(&["failure"]))),
        [4]
    );
    assert_eq!(ask(&|f| f.text = Some("db-prod-1".into())), [0]);
    assert_eq!(ask(&|f| f.text = Some("DISK full alice".into())), [0, 1]);
    assert_eq!(ask(&|f| f.text = Some("alic*".into())), [0, 1, 2]);
    assert_eq!(
        ask(&|f| f.text = Some("message:alice".into())),
        Vec::<u64>::new()
    );
    // Event n happens at 5 n h.
    let at = |hour: i64| {
        Some(Time(
            Time::parse("2026-03-14T00:00:00Z").unwrap().0 + hour * 3_600_000_000_000,
        ))
    };
    assert_eq!(ask(&|f| (f.from, f.to) = (at(5), at(15))), [1, 2]);
    let hours = |from: i64, to: i64, zone: TimeZone| {
        move |f: &mut Filter| {
            f.between = Some(Hours {
                from: from * 60,
                to: to * 60,
                zone: zone.clone(),
            });
        }
    };
    // 0 5 10 15 20 (1) 6 11 o'clock.
    assert_eq!(ask(&hours(8, 18, TimeZone::UTC)), [2, 3, 7]);
    assert_eq!(ask(&hours(18, 8, TimeZone::UTC)), [0, 1, 4, 5]);
    let berlin = TimeZone::get("Europe/Berlin").unwrap();
    assert_eq!(ask(&hours(11, 12, berlin)), [2]);
}

#[tokio::test]
async fn counting_by_user_shows_repeated_failures() {
    let ground = Ground::new();
    let login = |n: u64, user: &str, ip: &str| {
        event(
            n,
            json!({ "user": { "id": user }, "source": { "ip": ip }, "event": { "outcome": "failure", "code": "PVE-1002" },
            "pve": { "source": { "attribution": "direct" } } }),
        )
    };
    let all = (0..9).map(|n| {
        login(
            n,
            if n < 6 { "root@pam" } else { "bob@pve" },
            if n % 2 == 0 { "192.0.2.1" } else { "192.0.2.2" },
        )
    });
    ground.sink().write(events(all)).await.unwrap();
    let filter = Filter {
        outcomes: vec!["failure".into()],
        ..Filter::default()
    };
    let groups = ground.reader().groups(&filter, By::User, 5, 0).unwrap();
    assert_eq!(groups.len(), 1);
    assert_eq!(
        (
            groups[0].key.as_str(),
            groups[0].count,
            groups[0].failed,
            groups[0].sources
        ),
        ("root@pam", 6, 6, 2)
    );
    let by_source = ground.reader().groups(&filter, By::Source, 1, 0).unwrap();
    assert_eq!(by_source.len(), 2);
    assert!(by_source.iter().all(|group| group.source_basis == "direct"));
    for by in [
        By::Action,
        By::Code,
        By::Object,
        By::Vmid,
        By::Outcome,
        By::Origin,
        By::Kind,
        By::Day,
        By::Hour,
    ] {
        let sum: i64 = ground
            .reader()
            .groups(&filter, by, 1, 0)
            .unwrap()
            .iter()
            .map(|group| group.count)
            .sum();
        assert_eq!(sum, 9, "{by:?}");
    }
}

#[tokio::test]
async fn an_event_is_found_by_the_beginning_of_its_id_and_leads_to_its_evidence() {
    let ground = Ground::new();
    let id = |n: u64| format!("{n:032x}");
    let primary = event(
        0xab,
        json!({ "pve": { "source": { "evidence": [id(0xac), "nonsense"] }, "links": [id(0xad)], "task": { "upid": "UPID:x" } } }),
    );
    let line = event(0xac, json!({ "pve": { "record": "evidence" } }));
    let start = event(0xad, json!({ "pve": { "task": { "upid": "UPID:x" } } }));
    ground
        .sink()
        .write(events([primary, line, start]))
        .await
        .unwrap();
    let reader = ground.reader();
    let prefix = &id(0xab)[..31];
    assert_eq!(reader.find(prefix, 9).unwrap().len(), 3);
    assert_eq!(reader.find(&id(0xab).to_uppercase(), 9).unwrap().len(), 1);
    assert!(
        reader.find("xyz", 9).is_err()
            && reader.find("", 9).is_err()
            && reader.find(&"0".repeat(33), 9).is_err()
    );
    let evidence = pipeline::EventId::parse(&id(0xac)).unwrap();
    let from = reader.linked_from(evidence, 9).unwrap();
    assert_eq!(from.iter().map(Row::id_hex).collect::<Vec<_>>(), [id(0xab)]);
    assert_eq!(reader.of_task("UPID:x", 9).unwrap().len(), 2);
    assert_eq!(
        reader
            .by_ids(&[evidence, pipeline::EventId([1, 1])])
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test]
async fn events_of_one_moment_come_in_the_order_of_their_ids() {
    let ground = Ground::new();
    let same = |n: u64| {
        event(
            n,
            json!({ "@timestamp": "2026-03-14T00:00:00Z", "user": { "id": if n.is_multiple_of(2) { "a" } else { "b" } } }),
        )
    };
    ground
        .sink()
        .write(events([5, 3, 9, 1, 7, 2].map(same)))
        .await
        .unwrap();
    assert_eq!(ground.found(&Filter::default(), 0), [1, 2, 3, 5, 7, 9]);
    assert_eq!(ground.found(&Filter::default(), 3), [5, 7, 9]);
    let users = Filter {
        users: vec!["a".into(), "b".into()],
        ..Filter::default()
    };
    assert_eq!(ground.found(&users, 3), [5, 7, 9]);
    assert_eq!(ground.found(&users, 0), [1, 2, 3, 5, 7, 9]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    /// Whatever index is walked, a page is the end of what going through everything finds.
    #[test]
    fn every_way_finds_the_same(rows in proptest::collection::vec((0..4_u64, 0..4_u64, 0..3_u64, any::<bool>()), 1..60), user in 0..4_u64, vmid in 0..4_u64, kinds in 0..8_u8) {
        let ground = Ground::new();
        let mut writer = ground.writer();
        let all: Vec<Event> = rows.iter().enumerate().map(|(n, (user, vmid, minute, failed))| event(n as u64, json!({
            "@timestamp": format!("2026-03-14T00:0{minute}:00Z"), "user": { "id": format!("u{user}@pve") },
            "pve": { "vmid": vmid, "object": { "type": if vmid % 2 == 0 { "vm" } else { "ct" }, "id": vmid.to_string() } },
            "event": { "outcome": if *failed { "failure" } else { "success" } },
        }))).collect();
        writer.write(&events(all)).unwrap();
        let mut filter = Filter::default();
        if kinds & 1 != 0 { filter.users = vec![format!("u{user}"), "u1@pve".into()]; }
        if kinds & 2 != 0 { filter.vmids = vec![vmid as i64, 2]; }
        if kinds & 4 != 0 { filter.outcomes = vec!["failure".into()]; }
        let mut wanted: Vec<(u64, u64)> = rows.iter().enumerate().filter(|(_, (u, v, _, failed))| {
            (kinds & 1 == 0 || *u == user || *u == 1) && (kinds & 2 == 0 || *v == vmid || *v == 2) && (kinds & 4 == 0 || *failed)
        }).map(|(n, (_, _, minute, _))| (*minute, n as u64)).collect();
        wanted.sort_unstable();
        let wanted: Vec<u64> = wanted.into_iter().map(|(_, n)| n).collect();
        prop_assert_eq!(&ground.found(&filter, 0), &wanted);
        prop_assert_eq!(&ground.found(&filter, 5), &wanted[wanted.len().saturating_sub(5)..]);
    }
}

#[tokio::test]
async fn a_token_is_asked_for_beside_users() {
    let ground = Ground::new();
    let who = |n: u64, user: &str, token: Option<&str>| {
        event(
            n,
            json!({ "user": { "id": user }, "pve": { "token": { "id": token } } }),
        )
    };
    ground
        .sink()
        .write(events([
            who(1, "alice@pve", None),
            who(2, "alice@pve", Some("ci")),
            who(3, "alice@pve", Some("backup")),
            who(4, "bob@pve", Some("ci")),
            who(5, "carol@pve", None),
        ]))
        .await
        .unwrap();
    for (words, found) in [
        (&["alice@pve!ci"][..], &[2][..]),
        (&["alice@pve!*"], &[2, 3]),
        (&["*@pve!ci"], &[2, 4]),
        (&["alice@pve!ci", "carol"], &[2, 5]),
        (&["alice@pve"], &[1, 2, 3]),
        (&["alice@pve!none"], &[]),
        (&["alice@pve![c]i"], &[]),
    ] {
        let filter = Filter {
            users: words.iter().map(|word| (*word).to_owned()).collect(),
            ..Filter::default()
        };
        assert_eq!(ground.found(&filter, 0), found, "{words:?}");
        assert_eq!(ground.found(&filter, 10), found, "{words:?}");
    }
    let mut who = Vec::new();
    ground
        .reader()
        .rows(&Filter::default(), 2, &mut |row| {
            who.push(row.who());
            true
        })
        .unwrap();
    assert_eq!(who, ["bob@pve!ci", "carol@pve"]);
}

#[tokio::test]
async fn guests_and_names_are_found_by_an_index() {
    let ground = Ground::new();
    let about = |n: u64, kind: &str, id: &str, name: &str, vmid: Option<i64>| {
        event(
            n,
            json!({ "pve": { "vmid": vmid, "object": { "type": kind, "id": id, "name": name } } }),
        )
    };
    ground
        .sink()
        .write(events([
            about(1, "vm", "104", "db-prod-1", Some(104)),
            about(2, "guest", "104", "", Some(104)),
            about(3, "volume", "x", "db-prod-1.qcow2", Some(104)),
            about(4, "ct", "200", "db-prod", Some(200)),
            about(5, "user", "104@pve", "", None),
            about(6, "storage", "db-prod", "", None),
        ]))
        .await
        .unwrap();
    for (words, index, found) in [
        (&["guest/104"][..], Some("events_vmid"), &[1, 2, 3][..]),
        (
            &["guest/104", "guest/200"],
            Some("events_vmid"),
            &[1, 2, 3, 4],
        ),
        (&["guest/*"], None, &[1, 2, 3, 4]),
        (&["guest/1*"], None, &[1, 2, 3]),
        (&["db-prod-1"], Some(""), &[1]),
        // An id is meant before a name.
        (&["db-prod"], Some("events_object"), &[6]),
        (&["db-*"], None, &[1, 3, 4, 6]),
        (&["vm/104"], Some("events_object"), &[1]),
    ] {
        let filter = Filter {
            objects: words.iter().map(|word| (*word).to_owned()).collect(),
            ..Filter::default()
        };
        assert_eq!(ground.found(&filter, 0), found, "{words:?}");
        assert_eq!(ground.found(&filter, 10), found, "{words:?}");
        if let Some(index) = index {
            let reader = ground.reader();
            assert_eq!(filter.plan(&reader.db).unwrap().index, index, "{words:?}");
        }
    }
}
