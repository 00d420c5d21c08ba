//! What the words of Proxmox VE cost: `cargo bench -p pipeline --bench words`.
//!
//! Each figure is the best of its rounds, in nanoseconds for one call.

#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![allow(clippy::unwrap_used, reason = "a benchmark may end early")]

use std::hint::black_box;
use std::time::Instant;

use pipeline::catalogue::{Catalogue, sentence};
use pipeline::pve::{Endpoint, Exit, TaskType, Upid};
use pipeline::{Event, EventId, Language, Time, Value};

const ROUNDS: usize = 7;
const CALLS: usize = 200_000;

fn main() {
    Catalogue::builtin();
    let mut calls = 0;
    let mut find = |name: &str, method: &str, path: &str| {
        best(name, || {
            calls += usize::from(Endpoint::find(black_box(method), black_box(path)).is_some());
        });
    };
    find(
        "a read",
        "GET",
        "/api2/json/nodes/pve1/qemu/104/status/current",
    );
    find("a short write", "PUT", "/api2/extjs/access/acl");
    find("a write", "DELETE", "/api2/json/nodes/pve1/qemu/104");
    find(
        "a long write",
        "POST",
        "/api2/extjs/nodes/pve1/qemu/104/snapshot/before-upgrade/rollback",
    );
    find(
        "an escaped write",
        "PUT",
        "/api2/extjs//access/users/alice%40pve/token/ci",
    );
    find(
        "an unknown write",
        "POST",
        "/api2/json/nodes/pve1/qemu/104/nothing/of/the/kind",
    );
    println!("({calls} found)");

    let call = Endpoint::find("DELETE", "/api2/extjs/nodes/pve1/qemu/104").unwrap();
    best("what it does", || drop(black_box(call.act())));
    best("what became of it", || {
        black_box(call.verdict(200, Some(83), "pve1", "alice@pve!ci"));
    });
    let text = "UPID:pve1:0003A733:01C904E4:697722D1:qmdestroy:104:alice@pve!automation:";
    best("a UPID", || drop(black_box(Upid::parse(black_box(text)))));
    best("a task", || {
        let one = TaskType::find(black_box("qmdestroy")).unwrap();
        black_box(one.act("104", "pve1", Some(Exit::Ok)).row());
    });
    let mut event = Event::new(EventId::default(), Time(0));
    for (path, text) in [
        ("event.code", "PVE-2002"),
        ("event.outcome", "success"),
        ("user.id", "m.keller@pam"),
        ("pve.object.type", "vm"),
        ("pve.object.id", "104"),
        ("pve.object.name", "db-prod-1"),
        ("host.name", "pve1"),
        ("source.ip", "203.0.113.45"),
    ] {
        event.set_tree(path, Value::Str(text.to_owned()));
    }
    best("a sentence", || {
        drop(black_box(sentence(&event, Language::De)))
    });
}

fn best(name: &str, mut one: impl FnMut()) {
    let mut least = f64::MAX;
    for _ in 0..ROUNDS {
        let began = Instant::now();
        for _ in 0..CALLS {
            one();
        }
        least = least.min(began.elapsed().as_secs_f64());
    }
    println!("{name:<20} {:>7.1} ns", least / CALLS as f64 * 1e9);
}
