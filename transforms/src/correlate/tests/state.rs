//! What is remembered: saved, loaded, damaged, bounded.

use std::time::Duration;

use pipeline::testing::{Json, events, json};
use pipeline::{Context, Kind, Stateful, StatefulConfig};

use super::super::Config;
use super::made::{
    difference, feed, forks, logged_in, task, ticket, time, told, upid, upid_of, writes,
};

fn mixed() -> Vec<Json> {
    let mut list = Vec::new();
    for n in 0..40 {
        let at = f64::from(n);
        let guest = (100 + n).to_string();
        let id = upid_of("pve1", n as u32, at, "qmstart", &guest, "alice@pve");
        let call = format!("POST /api2/extjs/nodes/pve1/qemu/{guest}/status/start");
        list.push(forks("pve1", "192.0.2.10", "alice@pve", &call, &id, at));
        list.push(task("journal", &id, "start", at));
        list.push(task("task", &id, "end", at + 2.0));
        list.push(logged_in("pve1", &format!("user{n}@pve"), at));
        list.push(ticket("pve1", "192.0.2.10", at));
        let call = format!("PUT /api2/extjs/nodes/pve1/lxc/{guest}/config");
        list.push(writes("pve1", "192.0.2.10", "alice@pve", &call, at));
        list.push(difference(
            "pve1",
            "PVE-2114",
            ("ct", &guest),
            &guest,
            at + 1.0,
        ));
    }
    list
}

#[test]
fn a_restart_in_between_changes_nothing() {
    let list = mixed();
    let all = events(list);
    let run = |restart_after: Option<usize>| {
        let mut bench = pipeline::testing::stateful::<Config>("");
        let mut out = Vec::new();
        for (n, event) in all.iter().enumerate() {
            out.extend(bench.feed(vec![event.clone()]).events().to_vec());
            if restart_after == Some(n) {
                bench.restart();
            }
        }
        for _ in 0..12 {
            out.extend(bench.wait(Duration::from_secs(5)).events().iter().cloned());
        }
        let mut out: Vec<String> = out
            .iter()
            .map(|event| event.to_json().to_string())
            .collect();
        out.sort();
        out
    };
    let whole = run(None);
    assert_eq!(whole.len(), all.len());
    for after in [0, 3, 77, 150, all.len() - 1] {
        assert_eq!(run(Some(after)), whole, "{after}");
    }
}

#[test]
fn a_damaged_state_is_an_error_and_never_a_panic() {
    let mut bench = pipeline::testing::stateful::<Config>("");
    bench.feed(events(mixed()));
    let saved = bench.saved();
    let cx = Context::for_tests(Kind::Transform, "correlate");
    let fresh = || -> Box<dyn Stateful> { Config::default().build(&cx).unwrap() };
    fresh().load(&saved).unwrap();
    assert!(fresh().load(&[]).is_err());
    let wrong = fresh().load(&[9, 0, 0, 0]).unwrap_err().to_string();
    assert!(wrong.contains("version 9"), "{wrong}");
    for cut in (0..saved.len()).step_by(997) {
        assert!(fresh().load(&saved[..cut]).is_err(), "{cut}");
    }
    for at in (4..saved.len()).step_by(211) {
        let mut broken = saved.clone();
        broken[at] ^= 0x5a;
        // Whatever it is taken for, it is taken or refused.
        let _ = fresh().load(&broken);
    }
}

#[test]
fn what_is_held_is_bounded_and_goes_on_without_a_claim() {
    let mut bench = pipeline::testing::stateful::<Config>("max_tasks = 10");
    let mut list = Vec::new();
    for n in 0..30 {
        let id = upid_of(
            "pve1",
            n,
            10.0,
            "qmstart",
            &(100 + n).to_string(),
            "alice@pve",
        );
        let call = format!("POST /api2/extjs/nodes/pve1/qemu/{}/status/start", 100 + n);
        list.push(forks("pve1", "192.0.2.10", "alice@pve", &call, &id, 10.0));
        list.push(task("task", &id, "end", 12.0));
    }
    let fed = events(list);
    let out = bench.feed(fed.clone());
    assert_eq!(out.evicted(), 20);
    assert_eq!(out.events().len(), 20);
    for event in out.events() {
        // It was not waited for what else might come.
        assert_eq!(told(event)[1], "ambiguous");
    }
    let mut rest = 0;
    for _ in 0..10 {
        rest += bench.wait(Duration::from_secs(5)).events().len();
    }
    assert_eq!(rest + 20, fed.len());
}

#[test]
fn nothing_is_held_longer_than_its_window_and_five_seconds() {
    let id = upid("pve1", 10.0, "qmstart", "100", "alice@pve");
    let mut bench = pipeline::testing::stateful::<Config>("");
    assert!(
        bench
            .feed(events([task("task", &id, "end", 12.0)]))
            .events()
            .is_empty()
    );
    assert_eq!(bench.wait(Duration::from_secs(10)).events().len(), 1);
}

#[test]
fn others_and_reading_go_through_as_they_are() {
    let mut bench = pipeline::testing::stateful::<Config>("");
    let read = json!({"event.code": "PVE-1013", "pve.record": "primary", "pve.origin": "access", "message": "m"});
    let fed = events([
        json!({"message": "no record"}),
        read,
        json!({"event.code": "PVE-0000", "pve.record": "primary"}),
    ]);
    let out = bench.feed(fed.clone());
    let json = |list: &[pipeline::Event]| {
        list.iter()
            .map(pipeline::Event::to_json)
            .collect::<Vec<_>>()
    };
    assert_eq!(json(out.events()), json(&fed));
}

#[test]
fn ten_thousand_tasks_at_once_have_their_address() {
    let mut bench = pipeline::testing::stateful::<Config>("");
    let mut list = Vec::new();
    for n in 0..10_000 {
        // Creation: the guest is not in the path, so all of them fit all calls.
        let id = upid_of(
            "pve1",
            n,
            10.0,
            "qmcreate",
            &(10_000 + n).to_string(),
            "alice@pve!ci",
        );
        list.push(forks(
            "pve1",
            "192.0.2.10",
            "alice@pve!ci",
            "POST /api2/json/nodes/pve1/qemu",
            &id,
            11.0,
        ));
        list.push(task("task", &id, "end", 12.0));
    }
    let begun = std::time::Instant::now();
    let out = feed(&mut bench, list);
    assert_eq!(out.len(), 20_000);
    let right = out
        .iter()
        .filter(|event| told(event) == ["primary", "matched", "192.0.2.10"])
        .count();
    assert_eq!(right, 10_000);
    assert!(
        begun.elapsed() < Duration::from_secs(60),
        "{:?}",
        begun.elapsed()
    );
}

#[test]
fn a_hundred_thousand_open_tasks_fit_into_64_mib() {
    let cx = Context::for_tests(Kind::Transform, "correlate");
    let mut out = pipeline::testing::stateful::<Config>("");
    let _ = (&cx, time(0.0));
    for batch in 0..100 {
        let list = (0..1000).flat_map(|n| {
            let n = batch * 1000 + n;
            let id = upid_of(
                "pve1",
                n,
                f64::from(n) / 100.0,
                "qmstart",
                &(100 + n).to_string(),
                "alice@pve",
            );
            let call = format!("POST /api2/extjs/nodes/pve1/qemu/{}/status/start", 100 + n);
            [
                forks(
                    "pve1",
                    "192.0.2.10",
                    "alice@pve",
                    &call,
                    &id,
                    f64::from(n) / 100.0,
                ),
                task("journal", &id, "start", f64::from(n) / 100.0),
            ]
        });
        out.feed(events(list));
        out.wait(Duration::from_secs(11));
    }
    out.wait(Duration::from_secs(3600 * 3));
    let saved = out.saved();
    assert!(saved.len() < 64 << 20, "{} bytes", saved.len());
}
