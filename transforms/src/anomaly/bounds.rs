//! What is held stays within its bounds, and what is found does not change where they are met.

use pipeline::{Event, EventId, Field, Time};

use super::alert::Turn;
use super::engine::{Engine, MOST_OPEN};
use super::judge;
use super::spec::SECOND;
use crate::rules::{LoadCx, Options, RuleSet};

/// A Monday [s].
const START: i64 = 1_772_409_600;
const MIB: usize = 1 << 20;

fn set(rules: &str) -> RuleSet {
    let options = Options {
        rules: Vec::new(),
        ..Options::default()
    };
    let cx = LoadCx {
        texts: vec![("test.toml".to_owned(), format!("schema = 1\n{rules}"))],
        ..LoadCx::default()
    };
    let (set, found) = RuleSet::load(&options, &cx);
    assert!(found.errors() == 0, "{found}");
    set
}

/// An engine with one rule: its keys, and one selection of all `PVE-2001`.
fn engine(keys: &str, budget: usize) -> Engine {
    let set = set(&format!(
        "[[rule]]\nid = \"T-1\"\nname = \"test\"\nseverity = \"low\"\nversion = 1\nexplain = \"x\"\nwhen = \"a\"\n{keys}\n[rule.select.a]\n\"event.code\" = \"PVE-2001\"\n[rule.select.b]\n\"event.code\" = \"PVE-2002\"\n"
    ));
    Engine::new(
        set.rules().iter().map(judge::watch).collect(),
        "test",
        budget,
    )
}

fn at(ms: i64) -> Time {
    Time(START * SECOND + ms * 1_000_000)
}

/// An event at so many milliseconds, by this user, with this number.
fn event(n: u64, ms: i64, user: &str, vmid: i64) -> Event {
    let mut event = Event::new(EventId([n.wrapping_mul(0x9e37_79b9_7f4a_7c15), n]), at(ms));
    for (name, value) in [
        ("event.code", "PVE-2001"),
        ("event.kind", "event"),
        ("pve.record", "primary"),
        ("user.id", user),
    ] {
        event.set(Field::new(name), value);
    }
    event.set(Field::new("pve.vmid"), vmid);
    event
}

fn see(engine: &mut Engine, event: &Event) {
    engine.see(0, event, event.timestamp());
}

/// What was told so far: opened, updated, resolved.
fn turns(engine: &Engine) -> (usize, usize, usize) {
    let of = |turn| engine.told.iter().filter(|told| told.turn == turn).count();
    (of(Turn::Opened), of(Turn::Updated), of(Turn::Resolved))
}

#[test]
fn a_flood_of_single_alerts_is_told_as_one_with_its_number_and_a_second_flood_too() {
    let mut engine = engine("type = \"event\"\ndedupe = \"none\"", 64 * MIB);
    let flood = |engine: &mut Engine, from: u64, ms: i64| {
        for n in from..from + 5_000 {
            see(engine, &event(n, ms, "a", 1));
        }
    };
    flood(&mut engine, 0, 0);
    let (opened, updated, _) = turns(&engine);
    assert_eq!((opened, updated), (MOST_OPEN + 1, 0));
    engine.flush();
    let overflow = engine.told.last().expect("the overflow alert is open");
    assert_eq!(overflow.alert.count, 5_000 - MOST_OPEN as u64);
    // All are over, and as many come again before the first flood is forgotten.
    engine.advance(at(1_000_000));
    assert_eq!(turns(&engine).2, MOST_OPEN + 1);
    engine.told.clear();
    flood(&mut engine, 10_000, 1_060_000);
    let told: Vec<_> = engine
        .told
        .iter()
        .filter(|told| told.alert.overflow > 0)
        .collect();
    assert_eq!(told.len(), 1, "the second flood is told");
    assert!(told[0].alert.is_open());
}
