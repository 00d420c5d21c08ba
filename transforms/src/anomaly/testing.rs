//! The tests that rules bring along, each in a time of its own.

use std::sync::Arc;

use pipeline::Time;

use super::replay::{Alert, Replay};
use super::spec::SECOND;
use crate::rules::{LoadCx, Options, Rule, RuleSet, RuleTest};

/// Event time lies so far behind the newest event, as it does for lines of a file [ns].
const BEHIND: i64 = 10 * SECOND;

/// What became of one test.
#[derive(Clone, Debug)]
pub struct Tested {
    /// The rule's id.
    pub rule: String,
    /// The test's name.
    pub test: String,
    /// Where it stands.
    pub place: String,
    /// What is not as it should be.
    pub wrong: Vec<String>,
    /// Alerts that opened.
    pub alerts: usize,
}

/// Runs the tests of these rules; `only`: of this one.
pub fn run_tests(
    options: &Options,
    cx: &LoadCx,
    set: &Arc<RuleSet>,
    only: Option<&str>,
) -> Vec<Tested> {
    let mut done = Vec::new();
    for rule in set.rules() {
        if only.is_some_and(|id| id != &*rule.id) {
            continue;
        }
        for test in &rule.tests {
            done.push(run(options, cx, set, rule, test));
        }
    }
    done
}

fn run(
    options: &Options,
    cx: &LoadCx,
    set: &Arc<RuleSet>,
    rule: &Arc<Rule>,
    test: &RuleTest,
) -> Tested {
    let mut set = Arc::clone(set);
    if !test.lists.is_empty() {
        // Other lists make other selections.
        let mut cx = cx.clone();
        cx.lists.extend(test.lists.clone());
        set = Arc::new(RuleSet::load(options, &cx).0);
    }
    let mut events = test.events(&rule.id);
    events.sort_by_key(|event| (event.timestamp(), event.id()));
    let mut replay = Replay::new(&set, "test");
    let mut last = test.start;
    for event in &events {
        last = last.max(event.timestamp());
        replay.see(event, event.timestamp());
        replay.advance(Time(event.timestamp().0.saturating_sub(BEHIND)));
    }
    match test.advance {
        Some(length) => replay.advance(last.after(length.get())),
        None => replay.finish(),
    }
    replay.flush();
    let alerts: Vec<&Alert> = replay
        .alerts()
        .filter(|alert| alert.rule == rule.id)
        .collect();
    let mut wrong = Vec::new();
    if alerts.len() != test.alerts {
        wrong.push(format!(
            "{} alerts instead of {}",
            alerts.len(),
            test.alerts
        ));
    }
    if let Some(count) = test.count {
        let most = alerts.iter().map(|alert| alert.count).max().unwrap_or(0);
        if most != count {
            wrong.push(format!("a count of {most} instead of {count}"));
        }
    }
    if let Some(severity) = test.severity {
        let order = ["info", "low", "medium", "high", "critical"];
        let place = |word: &str| order.iter().position(|held| *held == word);
        let gravest = alerts.iter().max_by_key(|alert| place(alert.severity));
        let gravest = gravest.map_or("none", |alert| alert.severity);
        if gravest != severity.name() {
            wrong.push(format!("severity {gravest} instead of {}", severity.name()));
        }
    }
    if let Some(groups) = &test.groups {
        let mut came: Vec<&str> = alerts.iter().map(|alert| &*alert.group).collect();
        let mut wanted: Vec<&str> = groups.iter().map(|key| key.canonical_json()).collect();
        came.sort_unstable();
        wanted.sort_unstable();
        if came != wanted {
            wrong.push(format!(
                "groups {} instead of {}",
                came.join(" "),
                wanted.join(" ")
            ));
        }
    }
    Tested {
        rule: rule.id.to_string(),
        test: test.name.clone(),
        place: test.place.clone(),
        wrong,
        alerts: alerts.len(),
    }
}
