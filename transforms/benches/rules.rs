//! What rules cost per event. `cargo bench -p transforms --bench rules`
//!
//! - *everything*: one rule of each type that every event matches; promised is 0.5 µs per event for a count
//! - *a day of groups*: a million users in a day of event time, one rule, its memory 64 MiB
//! - *replay*: the whole pack over events of which 1 in 500 means something; promised are 500 k events/s
#![allow(clippy::print_stdout, clippy::expect_used)]

use std::sync::Arc;
use std::time::Instant;

use pipeline::{Event, EventId, Field, Time};
use transforms::anomaly::Replay;
use transforms::rules::{LoadCx, Options, RuleSet};

/// A Monday [ns].
const START: i64 = 1_772_452_800_000_000_000;
const EVENTS: u64 = 1_000_000;

fn rule(keys: &str) -> Arc<RuleSet> {
    let text = format!(
        "schema = 1\n[[rule]]\nid = \"B-1\"\nname = \"bench\"\nseverity = \"low\"\nversion = 1\nexplain = \"x\"\nwhen = \"a\"\nrepeat = \"0s\"\n{keys}\n[rule.select.a]\n\"event.kind\" = \"event\"\n"
    );
    let cx = LoadCx {
        texts: vec![("bench.toml".to_owned(), text)],
        ..LoadCx::default()
    };
    let options = Options {
        rules: Vec::new(),
        ..Options::default()
    };
    let (set, wrong) = RuleSet::load(&options, &cx);
    assert!(wrong.errors() == 0, "{wrong}");
    Arc::new(set)
}

fn event(n: u64, apart: i64, code: &str, user: &str) -> Event {
    let id = EventId([n.wrapping_mul(0x9e37_79b9_7f4a_7c15), n]);
    let mut event = Event::new(id, Time(START + n as i64 * apart));
    for (name, value) in [
        ("event.code", code),
        ("event.kind", "event"),
        ("event.outcome", "success"),
        ("pve.record", "primary"),
        ("user.id", user),
        ("source.ip", "192.0.2.7"),
        ("host.name", "pve1"),
    ] {
        event.set(Field::new(name), value);
    }
    event.set(Field::new("pve.vmid"), (n % 50) as i64);
    event
}

/// Nanoseconds per event, with a watermark a thousand events behind.
fn run(set: &Arc<RuleSet>, events: &[Event]) -> f64 {
    let mut replay = Replay::new(set, "bench");
    let begun = Instant::now();
    for batch in events.chunks(1_000) {
        for event in batch {
            replay.see(event, event.timestamp());
        }
        replay.advance(batch[0].timestamp());
    }
    begun.elapsed().as_nanos() as f64 / events.len() as f64
}

fn main() {
    let every: Vec<Event> = (0..EVENTS)
        .map(|n| event(n, 1_000_000, "PVE-2001", "root@pam"))
        .collect();
    for (name, keys) in [
        ("event", "type = \"event\""),
        (
            "event_count, never reached",
            "type = \"event_count\"\ntimespan = \"1s\"\ncondition = { gte = 2000 }",
        ),
        (
            "event_count, always true",
            "type = \"event_count\"\ntimespan = \"15m\"\ncondition = { gte = 3 }",
        ),
        (
            "value_count, never reached",
            "type = \"value_count\"\ntimespan = \"8h\"\ncondition = { field = \"pve.vmid\", gte = 60 }",
        ),
        (
            "value_count, always true",
            "type = \"value_count\"\ntimespan = \"8h\"\ncondition = { field = \"pve.vmid\", gte = 3 }",
        ),
        (
            "value_sum",
            "type = \"value_sum\"\ntimespan = \"15m\"\ncondition = { field = \"pve.vmid\", gte = 1e12 }",
        ),
    ] {
        let took = run(&rule(keys), &every);
        println!("everything: {name}: {took:.0} ns/event");
    }
    drop(every);
    let groups: Vec<Event> = (0..EVENTS)
        .map(|n| event(n, 86_400_000, "PVE-1002", &format!("u{n}@pve")))
        .collect();
    let took = run(
        &rule(
            "type = \"event_count\"\ngroup_by = [\"user.id\"]\ntimespan = \"1d\"\ncondition = { gte = 3 }\nmax_groups = 2000000",
        ),
        &groups,
    );
    println!("a day of groups: {took:.0} ns/event");
    drop(groups);
    let usual: Vec<Event> = (0..EVENTS)
        .map(|n| {
            let code = if n % 500 == 0 { "PVE-2002" } else { "PVE-0000" };
            event(n, 10_000_000, code, "alice@pve")
        })
        .collect();
    let (pack, wrong) = RuleSet::load(&Options::default(), &LoadCx::default());
    assert!(wrong.errors() == 0, "{wrong}");
    let took = run(&Arc::new(pack), &usual);
    println!("replay: {:.0} k events/s", 1e6 / took);
}
