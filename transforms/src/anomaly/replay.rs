//! Events from a store or a test through the rules, without an engine around them: the watermark comes from the data alone.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use pipeline::{Event, EventId, Time};

use super::alert::{Ended, Told, Turn};
use super::engine::Engine;
use super::judge;
use super::spec::SECOND;
use crate::rules::{self, Rule, RuleSet};

/// Memory for the rules where nobody says how much [bytes].
const BUDGET: usize = 64 << 20;

/// What comes in, in the order in which it arrives.
#[derive(Clone, Debug)]
pub enum Arrival {
    /// An event, and when it arrived.
    Event(Event, Time),
    /// Everything before this time is there.
    Watermark(Time),
}

/// One alert as it stands at the end.
#[derive(Clone, Debug, PartialEq)]
pub struct Alert {
    /// `pve.alert.id`.
    pub id: EventId,
    /// The rule's id.
    pub rule: Box<str>,
    /// The group as canonical JSON.
    pub group: Arc<str>,
    /// First event: id and time.
    pub first: (EventId, Time),
    /// Last firing: id and time.
    pub last: (EventId, Time),
    /// Matches counted (distinct values where these are counted).
    pub count: u64,
    /// When it opened, in event time.
    pub opened: Time,
    /// When it was over, in event time, if it was.
    pub resolved: Option<Time>,
    /// Its severity's word at the end.
    pub severity: &'static str,
    /// Whether some of it came late.
    pub late: bool,
    /// Whether it is recorded and not sent.
    pub record_only: bool,
}

/// Rules that are fed by hand.
pub struct Replay {
    engine: Engine,
    rules: Arc<RuleSet>,
    alerts: BTreeMap<u64, Alert>,
    places: HashMap<EventId, u64>,
    next: u64,
    newest: i64,
    ahead: u64,
}

/// What a replay could not judge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Matches that came too late for their windows.
    pub late: u64,
    /// Groups and terms that were given up to stay within bounds.
    pub evicted: u64,
    /// Events whose clock was ahead, and which counted as of then.
    pub ahead: u64,
}

impl Replay {
    /// Rules that have seen nothing yet; `cluster` goes into the ids of alerts.
    pub fn new(rules: &Arc<RuleSet>, cluster: &str) -> Replay {
        Replay::within(rules, cluster, BUDGET)
    }

    /// The same, with so much memory for all rules together [bytes].
    pub fn within(rules: &Arc<RuleSet>, cluster: &str, budget: usize) -> Replay {
        let watched = rules.rules().iter().map(judge::watch).collect();
        Replay {
            engine: Engine::new(watched, cluster, budget),
            ahead: 0,
            rules: Arc::clone(rules),
            alerts: BTreeMap::new(),
            places: HashMap::new(),
            next: 0,
            newest: i64::MIN,
        }
    }

    /// One event, which arrived at `arrived`; the time that counts for it. An event from the future counts as of its arrival,
    /// so that one wrong clock moves nothing.
    pub fn see(&mut self, event: &Event, arrived: Time) -> Time {
        let mut at = event.timestamp();
        if at.0 > arrived.0.saturating_add(super::FUTURE) {
            at = arrived;
            self.ahead += 1;
        }
        self.newest = self.newest.max(at.0);
        let rules = Arc::clone(&self.rules);
        let meeting = rules.meeting(rules::code(event));
        if meeting.is_empty() || !rules::sees(event) {
            return at;
        }
        for n in meeting {
            self.engine.see(*n as usize, event, at);
        }
        self.take();
        at
    }

    /// The newest time that counted so far.
    pub fn newest(&self) -> Time {
        Time(self.newest)
    }

    /// What it could not judge so far.
    pub fn left_out(&self) -> LeftOut {
        let mut left = LeftOut {
            ahead: self.ahead,
            ..LeftOut::default()
        };
        for memory in &self.engine.memory {
            left.late += memory.late;
            left.evicted += memory.evicted;
        }
        left
    }

    /// Everything before this time is there.
    pub fn advance(&mut self, to: Time) {
        self.engine.advance(to);
        self.take();
    }

    /// Alerts as they stand now, also what was counted since they were last told of.
    pub fn flush(&mut self) {
        self.engine.flush();
        self.take();
    }

    /// Nothing is known of what comes after `to` (or after the newest event): what is held and what is in windows is decided,
    /// and nothing counts as missing that may still have come.
    pub fn end(&mut self, to: Option<Time>) {
        self.engine.ends = to.map_or(self.newest, |to| to.0);
        self.finish();
    }

    /// Nothing more comes, ever: everything that can be decided is, and what is expected is missing.
    pub fn finish(&mut self) {
        if self.newest > i64::MIN {
            self.advance(Time(self.newest.saturating_add(366 * 86_400 * SECOND)));
        }
    }

    fn take(&mut self) {
        for told in self.engine.told.drain(..) {
            let Told {
                rule, group, alert, ..
            } = &told;
            let rule = &self.rules.rules()[*rule];
            let place = *self.places.entry(alert.id).or_insert_with(|| {
                self.next += 1;
                self.next
            });
            let stands = Alert {
                id: alert.id,
                rule: rule.id.clone(),
                group: Arc::clone(group),
                first: (alert.first.id, Time(alert.first.time)),
                last: (alert.last.id, Time(alert.last.time)),
                count: alert.count,
                opened: Time(alert.opened),
                resolved: alert.resolved.map(Time),
                severity: alert.grade.word(),
                late: alert.late,
                record_only: rule.record_only,
            };
            if matches!(alert.ended, Some(Ended::PartOf(_))) {
                self.alerts.remove(&place);
            } else if told.turn == Turn::Opened || self.alerts.contains_key(&place) {
                self.alerts.insert(place, stands);
            }
        }
    }

    /// All alerts so far, in the order in which they were opened. [`flush`](Self::flush) first.
    pub fn alerts(&self) -> impl Iterator<Item = &Alert> {
        self.alerts.values()
    }
}

/// What the rules make of these arrivals; a watermark behind the last event decides everything.
pub fn replay(rules: &Arc<RuleSet>, arrivals: &[Arrival]) -> Vec<Alert> {
    let mut replay = Replay::new(rules, "default");
    for arrival in arrivals {
        match arrival {
            Arrival::Event(event, at) => _ = replay.see(event, *at),
            Arrival::Watermark(to) => replay.advance(*to),
        }
    }
    replay.finish();
    replay.flush();
    let rules = &replay.rules;
    replay
        .alerts
        .values()
        .filter(|alert| {
            rules
                .rule(&alert.rule)
                .is_some_and(|rule: &Arc<Rule>| !rule.internal)
        })
        .cloned()
        .collect()
}
