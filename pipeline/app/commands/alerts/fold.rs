//! Transitions of alerts, put together: one alert each, and totals by severity and rule.

use std::collections::{BTreeMap, HashMap};

use pipeline::Time;
use serde_json::Value;
use sinks::sqlite::{Filter, Reader};

use super::super::query::failed;
use crate::exit::Exit;
use crate::say;

/// Most alerts put together at once.
const MOST: usize = 100_000;

/// One alert.
pub(super) struct Alert {
    pub(super) id: String,
    pub(super) rule: String,
    pub(super) name: String,
    pub(super) severity: String,
    pub(super) open: bool,
    /// Its newest transition's number.
    turn: i64,
    pub(super) count: i64,
    pub(super) opened: Time,
    pub(super) last: Time,
    /// Its newest transition as JSON.
    pub(super) newest: String,
    says: Value,
}

impl Alert {
    pub(super) fn state(&self) -> &'static str {
        if self.open { "open" } else { "resolved" }
    }

    /// What its newest transition says there.
    pub(super) fn says(&self, pointer: &str) -> String {
        match self.says.pointer(pointer) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Null) | None => String::new(),
            Some(other) => other.to_string(),
        }
    }

    pub(super) fn object(&self) -> String {
        let (kind, id) = (self.says("/pve/object/type"), self.says("/pve/object/id"));
        let both = format!("{kind}/{id}");
        both.trim_matches('/').to_owned()
    }
}

fn time(value: &Value, pointer: &str) -> Option<Time> {
    Time::parse(value.pointer(pointer)?.as_str()?)
}

/// The alerts to which these transitions belong, the one opened first in front.
pub(super) fn alerts(reader: &Reader, filter: &Filter) -> Result<Vec<Alert>, Exit> {
    let mut alerts: HashMap<String, Alert> = HashMap::new();
    let mut left_out = 0_u64;
    walk(reader, filter, &mut |at, code, says, json| {
        left_out += u64::from(!take(&mut alerts, at, code, says, json));
    })?;
    if left_out > 0 {
        say::aside(&format!(
            "note: more than {MOST} alerts; {left_out} transitions of others are left out, ask for a shorter time with --since\n"
        ));
    }
    let mut alerts: Vec<Alert> = alerts.into_values().collect();
    alerts.sort_by(|a, b| (a.opened, &a.id).cmp(&(b.opened, &b.id)));
    Ok(alerts)
}

/// Puts a transition to its alert; `false`: there are too many alerts.
fn take(
    alerts: &mut HashMap<String, Alert>,
    at: Time,
    code: &str,
    says: Value,
    json: &str,
) -> bool {
    let text = |pointer: &str| {
        says.pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let number = |pointer: &str| says.pointer(pointer).and_then(Value::as_i64);
    let id = text("/pve/alert/id");
    if id.is_empty() {
        return true;
    }
    if !alerts.contains_key(&id) && alerts.len() >= MOST {
        return false;
    }
    let turn = number("/pve/alert/transition").unwrap_or(0);
    let before = alerts.get(&id);
    // Event time does not order them: an alert that is over at once ends when it began.
    if before.is_some_and(|before| before.turn > turn) {
        return true;
    }
    let opened = time(&says, "/pve/alert/opened").or(before.map(|alert| alert.opened));
    let alert = Alert {
        rule: text("/rule/id"),
        name: text("/rule/name"),
        severity: severity(&says),
        open: code != "PVE-9103",
        turn,
        count: number("/pve/alert/count").unwrap_or(1),
        opened: opened.unwrap_or(at),
        last: at,
        newest: json.to_owned(),
        says,
        id,
    };
    alerts.insert(alert.id.clone(), alert);
    true
}

/// The word for how grave it is: as the alert says it, or by its number.
fn severity(says: &Value) -> String {
    if let Some(word) = says.pointer("/pve/alert/severity").and_then(Value::as_str) {
        return word.to_owned();
    }
    let level = says.pointer("/event/severity").and_then(Value::as_i64);
    let word = match level.unwrap_or(0) {
        ..=1 => "info",
        2..=3 => "low",
        4..=5 => "medium",
        6..=8 => "high",
        _ => "critical",
    };
    word.to_owned()
}

/// Goes through events from the oldest on: time, code, the event, and the same as text.
fn walk(
    reader: &Reader,
    filter: &Filter,
    each: &mut dyn FnMut(Time, &str, Value, &str),
) -> Result<(), Exit> {
    let mut bodies = reader.bodies();
    let mut trouble = None;
    let walked = reader.rows(filter, 0, &mut |row| match bodies.json(row) {
        Ok(json) => {
            let says = serde_json::from_str(json).unwrap_or_default();
            each(row.time(), &row.code, says, json);
            true
        }
        Err(why) => {
            trouble = Some(why);
            false
        }
    });
    walked.map_err(failed)?;
    trouble.map_or(Ok(()), |why| Err(failed(why)))
}

/// When, by which code, how grave.
pub(super) type Transition = (Time, String, String);

/// The alert whose id begins so, with its transitions; `None`, and a word why, where that is none or several.
pub(super) fn one(
    reader: &Reader,
    filter: &Filter,
    beginning: &str,
) -> Result<Option<(Alert, Vec<Transition>)>, Exit> {
    let mut found = alerts(reader, filter)?;
    found.retain(|alert| alert.id.starts_with(beginning));
    let alert = match found.len() {
        1 => found.remove(0),
        0 => {
            say::aside("no alert has an id that begins so\n");
            return Ok(None);
        }
        n => {
            say::error(format!(
                "{n} alerts have an id that begins so; write more of it"
            ));
            return Err(Exit::Failed);
        }
    };
    let mut transitions = Vec::new();
    walk(reader, filter, &mut |at, code, says, _| {
        let id = says.pointer("/pve/alert/id").and_then(Value::as_str);
        if id == Some(&alert.id) && transitions.len() < super::MOST_SHOWN {
            transitions.push((at, code.to_owned(), severity(&says)));
        }
    })?;
    Ok(Some((alert, transitions)))
}

/// How many messages were held back, by rule.
pub(super) fn held_back(reader: &Reader, since: Time) -> Result<BTreeMap<String, i64>, Exit> {
    let filter = Filter {
        codes: vec!["PVE-9104".to_owned()],
        from: Some(since),
        ..Filter::default()
    };
    let mut held = BTreeMap::new();
    walk(reader, &filter, &mut |_, _, says, _| {
        let rule = says
            .pointer("/rule/id")
            .and_then(Value::as_str)
            .unwrap_or_default();
        *held.entry(rule.to_owned()).or_default() += 1;
    })?;
    Ok(held)
}

/// The alerts of one rule and severity, or of one severity.
#[derive(Default)]
pub(super) struct Total {
    pub(super) severity: String,
    /// Empty: all rules.
    pub(super) rule: String,
    pub(super) name: String,
    pub(super) alerts: i64,
    pub(super) open: i64,
    pub(super) events: i64,
    pub(super) held_back: i64,
    pub(super) first: Option<Time>,
    pub(super) last: Option<Time>,
}

impl Total {
    fn add(&mut self, alert: &Alert) {
        self.alerts += 1;
        self.open += i64::from(alert.open);
        self.events = self.events.saturating_add(alert.count);
        self.first = Some(
            self.first
                .map_or(alert.opened, |first| first.min(alert.opened)),
        );
        self.last = Some(self.last.map_or(alert.last, |last| last.max(alert.last)));
    }
}

/// Totals, the gravest first: each severity, and below it its rules.
pub(super) fn totals(alerts: &[Alert], held: &BTreeMap<String, i64>) -> Vec<Total> {
    let rank = |word: &str| {
        let words = ["critical", "high", "medium", "low", "info"];
        words
            .iter()
            .position(|known| *known == word)
            .unwrap_or(words.len())
    };
    let mut totals: BTreeMap<(usize, String, String), Total> = BTreeMap::new();
    for alert in alerts {
        for rule in [String::new(), alert.rule.clone()] {
            let key = (rank(&alert.severity), alert.severity.clone(), rule.clone());
            let total = totals.entry(key).or_default();
            total.severity.clone_from(&alert.severity);
            if !rule.is_empty() {
                total.name.clone_from(&alert.name);
                total.held_back = held.get(&rule).copied().unwrap_or_default();
            }
            total.rule = rule;
            total.add(alert);
        }
    }
    totals.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fold(transitions: &[(&str, i64)]) -> bool {
        let mut alerts = HashMap::new();
        for (code, turn) in transitions {
            let says = serde_json::json!({"pve": {"alert": {"id": "a", "transition": turn}}});
            assert!(take(&mut alerts, Time(7), code, says, ""));
        }
        alerts["a"].open
    }

    #[test]
    fn an_alert_is_what_its_last_transition_says_in_whatever_order_they_are_read() {
        assert!(!fold(&[("PVE-9101", 1), ("PVE-9103", 2)]));
        assert!(!fold(&[("PVE-9103", 2), ("PVE-9101", 1)]));
        assert!(fold(&[("PVE-9102", 3), ("PVE-9103", 2), ("PVE-9101", 1)]));
    }
}
