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

/// Feeds matches of one group in order, and moves event time behind them by 10 s.
fn feed(engine: &mut Engine, events: impl IntoIterator<Item = Event>) {
    for event in events {
        see(engine, &event);
        engine.advance(Time(event.timestamp().0 - 10 * SECOND));
    }
}

/// Everything that can be decided is, and told.
fn alerts(engine: &mut Engine) -> Vec<(u64, i64, i64)> {
    engine.advance(at(40 * 86_400_000));
    let ms = |time: i64| (time - START * SECOND) / 1_000_000;
    let resolved = engine
        .told
        .iter()
        .filter(|told| told.turn == Turn::Resolved);
    resolved
        .map(|told| {
            let alert = &told.alert;
            (alert.count, ms(alert.first.time), ms(alert.last.time))
        })
        .collect()
}

#[test]
fn a_thousand_repeats_do_not_push_another_value_out_of_its_window() {
    let mut engine = engine(
        "type = \"value_count\"\ntimespan = \"8h\"\ncondition = { field = \"pve.vmid\", gte = 3 }",
        64 * MIB,
    );
    let repeats = (0..20_000).map(|n| event(10 + n, 1_000 + n as i64 * 500, "a", 1));
    feed(&mut engine, [event(0, 0, "a", 1), event(1, 1, "a", 2)]);
    feed(&mut engine, repeats);
    let held = engine.bytes();
    assert!(held < 200_000, "{held} bytes");
    feed(&mut engine, [event(30_000, 11_000_000, "a", 3)]);
    let found = alerts(&mut engine);
    assert_eq!(found, [(3, 0, 11_000_000)]);
}

#[test]
fn a_sum_over_many_matches_is_their_sum() {
    let mut engine = engine(
        "type = \"value_sum\"\ntimespan = \"1h\"\ncondition = { field = \"pve.vmid\", gte = 50000 }",
        64 * MIB,
    );
    feed(
        &mut engine,
        (0..50_000).map(|n| event(n, n as i64 * 50, "a", 1)),
    );
    assert_eq!(engine.told.len(), 1);
    assert_eq!(engine.told[0].at, at(49_999 * 50).0);
    let mut mean = self::engine(
        "type = \"value_avg\"\nwindow = \"tumbling\"\ntimespan = \"1h\"\ncondition = { field = \"pve.vmid\", lte = 1.5 }",
        64 * MIB,
    );
    // The mean of all is 1.5, that of the last thousands is 2.
    let events = (0..40_000).map(|n| event(n, n as i64 * 50, "a", 1 + i64::from(n >= 20_000)));
    feed(&mut mean, events);
    assert_eq!(alerts(&mut mean), [(40_000, 0, 39_999 * 50)]);
}

#[test]
fn more_than_a_few_are_not_less_than_many() {
    for keys in [
        "type = \"event_count\"\ntimespan = \"1h\"\ncondition = { gt = 1500, lt = 2000 }",
        "type = \"event_count\"\nwindow = \"tumbling\"\ntimespan = \"1h\"\ncondition = { lt = 4000, gt = 999 }",
    ] {
        let mut engine = engine(keys, 64 * MIB);
        // All between two marks.
        for n in 0..5_000 {
            see(&mut engine, &event(n, n as i64, "a", 1));
        }
        let found = alerts(&mut engine);
        let expected = if keys.contains("tumbling") { 0 } else { 1 };
        assert_eq!(found.len(), expected, "{keys}: {found:?}");
    }
}

#[test]
fn a_number_below_zero_makes_a_sum_wait_and_not_silent() {
    let mut engine = engine(
        "type = \"value_sum\"\ntimespan = \"1h\"\ncondition = { field = \"pve.vmid\", gte = 10 }",
        64 * MIB,
    );
    for (n, value) in [4, -1, 5, 3].into_iter().enumerate() {
        see(&mut engine, &event(n as u64, n as i64 * 1_000, "a", value));
    }
    assert!(engine.told.is_empty());
    assert_eq!(alerts(&mut engine), [(4, 0, 3_000)]);
}

#[test]
fn a_session_that_is_longer_than_its_timespan_is_cut_where_it_began_to_be() {
    let keys = "type = \"event_count\"\nwindow = { type = \"session\", gap = \"5m\" }\ntimespan = \"1h\"\nlateness = \"1m\"\nresolve_after = \"1m\"\nreopen = \"1s\"\ncondition = { eq = 60 }";
    let mut engine = engine(keys, 64 * MIB);
    // One a minute for ten hours without a pause: ten sessions of an hour.
    feed(
        &mut engine,
        (0..600).map(|n| event(n, n as i64 * 60_000, "a", 1)),
    );
    let found = alerts(&mut engine);
    assert_eq!(found.len(), 10, "{found:?}");
    assert!(
        found.iter().enumerate().all(
            |(n, alert)| *alert == (60, n as i64 * 3_600_000, n as i64 * 3_600_000 + 3_540_000)
        )
    );
}

#[test]
fn the_number_of_a_flood_is_exact_in_any_order_and_costs_little() {
    let keys = "type = \"event_count\"\ntimespan = \"15m\"\ncondition = { gte = 100 }";
    let mut events: Vec<Event> = (0..30_000)
        .map(|n| event(n, n as i64 * 20, "a", 1))
        .collect();
    let mut random = fastrand::Rng::with_seed(7);
    for turn in 0..3 {
        let mut engine = engine(keys, 64 * MIB);
        for event in &events {
            see(&mut engine, event);
        }
        let held = engine.bytes();
        // Most of it are the ids, so that none counts twice.
        assert!(held < 1_500_000, "{held} bytes");
        assert_eq!(alerts(&mut engine), [(30_000, 0, 29_999 * 20)], "{turn}");
        random.shuffle(&mut events);
    }
}

#[test]
fn a_number_that_cannot_be_held_is_refused() {
    let refused = |keys: &str| {
        let text = format!(
            "schema = 1\n[[rule]]\nid = \"T-1\"\nname = \"test\"\nseverity = \"low\"\nversion = 1\nexplain = \"x\"\nwhen = \"a\"\ntimespan = \"1h\"\n{keys}\n[rule.select.a]\n\"event.code\" = \"PVE-2001\"\n"
        );
        let cx = LoadCx {
            texts: vec![("test.toml".to_owned(), text)],
            ..LoadCx::default()
        };
        let options = Options {
            rules: Vec::new(),
            ..Options::default()
        };
        let (_, found) = RuleSet::load(&options, &cx);
        (found.errors(), found.to_string())
    };
    let counted = |n: u32| format!("type = \"event_count\"\ncondition = {{ gte = {n} }}");
    assert_eq!(refused(&counted(100_000)).0, 0);
    let (errors, text) = refused(&counted(100_001));
    assert_eq!(errors, 1);
    assert!(text.contains("100000"), "{text}");
    let values = "type = \"value_count\"\ncondition = { field = \"pve.vmid\", gte = 2000 }";
    let (errors, text) = refused(values);
    assert_eq!(errors, 1);
    assert!(text.contains("max_values"), "{text}");
    assert_eq!(refused(&format!("{values}\nmax_values = 2000")).0, 0);
}

#[test]
fn rows_terms_and_ids_of_many_groups_stay_within_the_budget() {
    let budget = 4 * MIB;
    let count = "type = \"event_count\"\ngroup_by = [\"user.id\"]\ntimespan = \"1d\"\ncondition = { gte = 5000 }";
    let mut engine = engine(count, budget);
    // Groups first, then more matches for each: it is not groups that take the memory.
    let mut most = 0;
    for round in 0..40 {
        for group in 0..2_000 {
            let n = round * 2_000 + group;
            see(
                &mut engine,
                &event(n, n as i64 * 10, &format!("u{group}"), 1),
            );
            most = most.max(engine.bytes());
        }
    }
    assert!(most <= budget, "{most} bytes");
    assert!(engine.memory[0].evicted > 0 && engine.memory[0].degraded);
}

#[test]
fn a_million_groups_of_a_day_stay_within_the_budget_and_are_counted() {
    let budget = 16 * MIB;
    let keys = "type = \"event_count\"\ngroup_by = [\"user.id\"]\ntimespan = \"1d\"\ncondition = { gte = 3 }\nmax_groups = 2000000";
    let mut engine = engine(keys, budget);
    let mut most = 0;
    let groups = if cfg!(debug_assertions) {
        200_000
    } else {
        1_000_000
    };
    for n in 0..groups {
        see(&mut engine, &event(n, n as i64 * 86, &format!("u{n}"), 1));
        if n % 1_000 == 0 {
            engine.advance(at(n as i64 * 86 - 10_000));
        }
        most = most.max(engine.bytes());
    }
    assert!(most <= budget, "{most} bytes");
    let memory = &engine.memory[0];
    assert_eq!(memory.evicted + memory.store.len() as u64, groups);
}

#[test]
fn what_is_asked_for_by_groups_that_are_gone_is_forgotten() {
    let keys = "type = \"event_count\"\ngroup_by = [\"user.id\"]\ntimespan = \"30d\"\ncondition = { gte = 3 }\nmax_groups = 1000";
    let mut engine = engine(keys, 64 * MIB);
    for n in 0..50_000 {
        see(&mut engine, &event(n, n as i64, &format!("u{n}"), 1));
    }
    let held = engine.memory[0].store.bytes();
    assert!(held < 1_000_000, "{held} bytes");
}

#[test]
fn a_term_that_was_given_up_is_not_new_and_an_account_seen_all_along_stays_known() {
    let keys = "type = \"new_term\"\nfields = [\"user.id\", \"pve.vmid\"]\nknown = [\"user.id\"]\nhistory = \"365d\"\nwarmup = \"1s\"\nmax_groups = 500";
    let mut engine = engine(keys, 64 * MIB);
    see(&mut engine, &event(0, 0, "old", 0));
    // It looks since event time is known.
    engine.advance(at(0));
    // Everything but the first two is within warm-up time no more, and all are new.
    for n in 1..20_000 {
        see(&mut engine, &event(n, 2_000 + n as i64, "old", n as i64));
    }
    let memory = &engine.memory[0];
    assert!(memory.terms.len() <= 2_000 && memory.evicted > 10_000);
    engine.told.clear();
    engine.memory[0].recent = Default::default();
    let groups = engine.memory[0].store.open;
    // Seen before, whether given up or not.
    for n in 1..20_000 {
        see(&mut engine, &event(100_000 + n, 50_000, "old", n as i64));
    }
    let firings: u64 = engine.told.iter().map(|told| told.alert.count).sum();
    assert_eq!((engine.told.len(), firings), (0, 0), "{groups}");
    // The account is known: what is new of it is told.
    let before = count(&engine);
    for n in 0..1_000 {
        see(
            &mut engine,
            &event(200_000 + n, 60_000, "old", 1_000_000 + n as i64),
        );
    }
    let new = count(&engine) - before;
    assert!(new > 900, "{new} of 1000 new terms");
}

/// Matches that the one alert of all has counted.
fn count(engine: &Engine) -> u64 {
    let mut counted = 0;
    for memory in &engine.memory {
        for slot in memory.store.in_order() {
            counted += memory
                .store
                .get(slot)
                .and_then(|group| group.alerts.first())
                .map_or(0, |alert| alert.count);
        }
    }
    counted
}

#[test]
fn an_event_that_comes_again_counts_once_however_much_other_rules_see() {
    let mut rules = set(
        "[[rule]]\nid = \"T-1\"\nname = \"a\"\nseverity = \"low\"\nversion = 1\nexplain = \"x\"\ntype = \"event\"\n[rule.select.a]\n\"event.code\" = \"PVE-2001\"\n[[rule]]\nid = \"T-2\"\nname = \"b\"\nseverity = \"low\"\nversion = 1\nexplain = \"x\"\ntype = \"event\"\n[rule.select.a]\n\"event.code\" = \"PVE-2001\"\n",
    );
    let watched: Vec<_> = rules.rules().iter().map(judge::watch).collect();
    let mut engine = Engine::new(watched.clone(), "test", 64 * MIB);
    let rare = event(1, 0, "a", 1);
    see(&mut engine, &rare);
    for n in 0..200_000 {
        let other = event(10 + n, n as i64, "a", 1);
        engine.see(1, &other, other.timestamp());
    }
    let mut state = Vec::new();
    super::saved::save(&engine, &mut state);
    let mut again = Engine::new(watched, "test", 64 * MIB);
    super::saved::load(&mut again, &state).expect("what was saved is read");
    for engine in [&mut engine, &mut again] {
        see(engine, &rare);
        engine.told.clear();
        engine.flush();
        assert_eq!(engine.told[0].alert.count, 1);
    }
    rules = set("");
    assert!(rules.rules().is_empty());
}

#[test]
fn a_sign_of_life_that_comes_again_ends_no_silence() {
    let keys = "type = \"absence\"\ngroup_by = [\"user.id\"]\nevery = \"1m\"\nlearn = \"1s\"";
    let mut engine = engine(keys, 64 * MIB);
    let last = event(1, 5_000, "a", 1);
    see(&mut engine, &event(0, 0, "a", 1));
    see(&mut engine, &last);
    engine.advance(at(80_000));
    assert_eq!(turns(&engine).0, 1);
    see(&mut engine, &last);
    assert_eq!(turns(&engine).2, 0, "the same event is no new sign");
}
