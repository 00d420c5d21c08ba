//! Attribution against a known truth: real lines go through `grok`, `event_id` and `correlate`, and every address that comes
//! out is compared with where the act really came from. Not knowing is allowed; a wrong address is not.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]
#![allow(
    clippy::print_stdout,
    reason = "the counts of right and wrong answers are what it shows"
)]

#[path = "attribution/world.rs"]
mod world;

use std::collections::BTreeMap;
use std::time::Duration;

use pipeline::testing::{self, StatefulBench, TransformBench};
use pipeline::{Event, EventId};
use world::{Class, Fact, MEMBERS, NODES, Record, Truth, World, Written};

/// How often each answer was given.
#[derive(Clone, Copy, Debug, Default)]
struct Score {
    right: usize,
    ambiguous: usize,
    none: usize,
    wrong: usize,
}

struct Road {
    grok: TransformBench,
    event_id: TransformBench,
    correlate: StatefulBench,
    now: i64,
    numbers: Vec<usize>,
}

impl Road {
    fn new() -> Road {
        let nodes: Vec<String> = (NODES.iter().zip(MEMBERS))
            .map(|(node, ip)| format!("\"{node}={ip}\""))
            .collect();
        let nodes = format!("cluster_nodes = [{}]", nodes.join(", "));
        Road {
            grok: testing::transform::<transforms::grok::Config>(
                "patterns = ['%{PVEPROXY_ACCESS}']",
            ),
            event_id: testing::transform::<transforms::event_id::Config>("policy = []"),
            correlate: testing::stateful::<transforms::correlate::Config>(&nodes),
            now: 0,
            numbers: Vec::new(),
        }
    }

    /// Everything that reached us within one second.
    fn second(&mut self, records: Vec<Record>) -> Vec<Event> {
        let mut lines: [Vec<(String, usize)>; 3] = Default::default();
        let mut events = Vec::new();
        for record in records {
            match record.event {
                Written::Access(node, line, fact) => lines[node].push((line, fact)),
                Written::Event(event, fact) => events.push((*event, fact)),
            }
        }
        let mut fed = Vec::new();
        for (node, lines) in lines
            .into_iter()
            .enumerate()
            .filter(|(_, lines)| !lines.is_empty())
        {
            let texts = lines.iter().map(|(line, _)| line.as_bytes());
            let parsed = self.grok.run(testing::line_events(NODES[node], texts));
            fed.extend(
                parsed
                    .into_iter()
                    .zip(lines)
                    .map(|(event, (_, fact))| (event, fact)),
            );
        }
        fed.extend(events);
        let fed: Vec<Event> = fed
            .into_iter()
            .map(|(mut event, fact)| {
                self.numbers.push(fact);
                event.set_id(EventId([1, self.numbers.len() as u64 - 1]));
                event.set_ordinal(0);
                event
            })
            .collect();
        let mapped = self.event_id.run(fed);
        let mut out = self.correlate.feed(mapped).events().to_vec();
        self.now += 1;
        out.extend(
            self.correlate
                .wait(Duration::from_secs(1))
                .events()
                .iter()
                .cloned(),
        );
        out
    }
}

fn text<'a>(json: &'a testing::Json, path: &str) -> Option<&'a str> {
    json.pointer(path)?.as_str()
}

/// Runs a whole world and counts.
fn run(mut world: World, acts: usize, length: i64) -> BTreeMap<Class, Score> {
    world.live(acts, length);
    let acts = world.acts;
    let facts = std::mem::take(&mut world.facts);
    let mut records: std::collections::VecDeque<Record> = world.records.into();
    let mut road = Road::new();
    let mut scores: BTreeMap<Class, Score> = BTreeMap::new();
    let (mut fed, mut seen) = (0, std::collections::BTreeSet::new());
    let mut second = 0;
    let mut idle = 0;
    while idle < 60 {
        second += 1;
        let mut now = Vec::new();
        while records
            .front()
            .is_some_and(|record| record.arrives < second * 1000)
        {
            now.extend(records.pop_front());
        }
        fed += now.len();
        idle = if records.is_empty() { idle + 1 } else { 0 };
        for event in road.second(now) {
            assert!(seen.insert(event.id()), "twice: {event:?}");
            judge(&event, &road.numbers, &facts, &mut scores);
        }
    }
    let missing: Vec<&Fact> = (0..fed)
        .filter(|n| !seen.contains(&EventId([1, *n as u64])))
        .map(|n| &facts[road.numbers[n]])
        .collect();
    assert!(missing.is_empty(), "held for ever: {missing:?}");
    println!("{acts} acts, {fed} records");
    for (class, score) in &scores {
        println!("{class:?}: {score:?}");
    }
    scores
}

fn judge(event: &Event, numbers: &[usize], facts: &[Fact], scores: &mut BTreeMap<Class, Score>) {
    let json = event.to_json();
    let fact = &facts[numbers[event.id().0[1] as usize]];
    let address = text(&json, "/source/ip");
    let ground = text(&json, "/pve/source/attribution").unwrap_or("none");
    let wrong = match (address, fact.truth) {
        (Some(address), Truth::From(ip)) => address != ip.to_string(),
        (Some(_), Truth::Local) => true,
        (None, Truth::From(_)) => ground == "local",
        (None, Truth::Local) => false,
    };
    // An address without a ground, or a ground without an address, is as bad as a wrong one.
    let grounded = matches!(ground, "direct" | "matched" | "session") == address.is_some();
    let score = scores.entry(fact.class).or_default();
    if wrong || !grounded {
        score.wrong += 1;
        println!("WRONG {:?} {:?}: {json}", fact.class, fact.truth);
        return;
    }
    if text(&json, "/pve/record") != Some("primary") {
        return;
    }
    match (ground, fact.truth) {
        ("ambiguous", _) => score.ambiguous += 1,
        ("none", Truth::From(_)) => score.none += 1,
        // Nobody over the network: nothing is claimed.
        _ => score.right += 1,
    }
}

fn check(scores: &BTreeMap<Class, Score>) {
    let sum = |of: fn(&Score) -> usize| -> usize { scores.values().map(of).sum() };
    let (right, wrong) = (sum(|score| score.right), sum(|score| score.wrong));
    let open = sum(|score| score.ambiguous + score.none);
    println!("right {right}, open {open}, wrong {wrong}");
    assert_eq!(wrong, 0, "an address that is wrong accuses a person");
    let share = |class: Class| {
        let score = scores.get(&class).copied().unwrap_or_default();
        let all = score.right + score.ambiguous + score.none + score.wrong;
        score.right as f64 / all.max(1) as f64
    };
    for (class, least) in [
        (Class::Call, 0.97),
        (Class::Relayed, 0.9),
        (Class::Token, 0.9),
        (Class::Shell, 0.85),
        (Class::Ha, 0.9),
        (Class::Login, 0.9),
        (Class::Edit, 0.5),
    ] {
        assert!(
            share(class) >= least,
            "{class:?}: {} < {least}",
            share(class)
        );
    }
}

/// Five minutes ahead, four behind, and set right at noon.
const APART: [[i64; 2]; 3] = [[0, 0], [290_000, 290_000], [-240_000, 0]];

#[test]
fn no_address_is_wrong_whatever_clocks_and_shared_names_do() {
    let hour = 3_600_000;
    check(&run(
        World::new(1, [[0; 2]; 3], 4 * hour, true),
        2500,
        4 * hour,
    ));
    check(&run(World::new(2, APART, 4 * hour, true), 2500, 4 * hour));
}

#[test]
#[ignore = "a whole day, some minutes: cargo test --test attribution -- --ignored --nocapture"]
fn a_hundred_thousand_acts_and_no_address_is_wrong() {
    let day = 24 * 3_600_000;
    check(&run(World::new(3, APART, day, true), 100_000, day));
}
