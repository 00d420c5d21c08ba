//! Alerts as Alertmanager's API v2 takes them: `[{"labels": {…}, "annotations": {…}, "startsAt": …, "endsAt": …}]`.
//!
//! - Alertmanager tells alerts apart by their labels, so what opens an alert and what resolves it must have the same ones:
//!   labels come from fields that both carry, and an absent one is left out
//! - an alert ends by `endsAt`: in the future while it stands, the time of the event once it is resolved

use std::collections::BTreeMap;

use pipeline::{BuildError, BuildErrors, Clock, Event, Field, Time, ValueRef, fields};
use serde_json::{Map, Value as Json, json};

use super::config::Encoding;

/// Longest value of a label [characters]; it becomes part of every page and message.
const MAX_LABEL: usize = 256;

/// Longest annotation [characters].
const MAX_ANNOTATION: usize = 4096;

/// Most labels or annotations of an alert.
const MAX_NAMES: usize = 32;

const LABELS: [(&str, &str); 4] = [
    ("rule_id", "rule.id"),
    ("alert_id", "pve.alert.id"),
    ("severity", "event.severity"),
    ("cluster", "orchestrator.cluster.name"),
];

/// Who, what and where may change while an alert stands, so they are no labels.
const ANNOTATIONS: [(&str, &str); 8] = [
    ("summary", "rule.name"),
    ("description", "message"),
    ("reason", "event.reason"),
    ("node", "host.name"),
    ("user", "user.id"),
    ("object", "pve.object.id"),
    ("address", "source.ip"),
    ("event_id", "event.id"),
];

/// How long an alert stands that nobody resolves.
const STANDS_FOR: std::time::Duration = std::time::Duration::from_secs(24 * 3600);

/// Writes alerts.
pub(super) struct Alerts {
    labels: Vec<(String, Field)>,
    annotations: Vec<(String, Field)>,
    stands_for: std::time::Duration,
    /// Where the name of an alert is looked for, best first.
    names: [Field; 4],
    state: Field,
    started: Field,
    alert_id: Field,
    clock: Clock,
}

impl Alerts {
    pub(super) fn new(encoding: &Encoding) -> Result<Alerts, BuildErrors> {
        let mut errors = BuildErrors::new();
        let mut read =
            |key: &str, said: Option<&BTreeMap<String, String>>, usual: &[(&str, &str)]| {
                let pairs: Vec<(String, Field)> = match said {
                    None => usual
                        .iter()
                        .map(|(name, path)| ((*name).to_owned(), Field::new(path)))
                        .collect(),
                    Some(said) => said
                        .iter()
                        .map(|(name, path)| (name.clone(), Field::new(path)))
                        .collect(),
                };
                if pairs.len() > MAX_NAMES {
                    let why = format!(
                        "has {} names, an alert has at most {MAX_NAMES}",
                        pairs.len()
                    );
                    errors.push(BuildError::key(format!("encoding.{key}"), why));
                }
                for (name, _) in &pairs {
                    let key = format!("encoding.{key}.{name}");
                    if !is_label(name) {
                        errors.push(
                            BuildError::key(key, "is no name of a label")
                                .help("letters, digits and `_`, no digit first"),
                        );
                    } else if name == "alertname" {
                        errors.push(BuildError::key(
                            key,
                            "is made of the rule's name, or of the event's code",
                        ));
                    }
                }
                pairs
            };
        let labels = read("labels", encoding.labels.as_ref(), &LABELS);
        let annotations = read("annotations", encoding.annotations.as_ref(), &ANNOTATIONS);
        let stands_for = encoding
            .stands_for
            .map_or(STANDS_FOR, pipeline::Duration::get);
        errors.finish(Alerts {
            labels,
            annotations,
            stands_for,
            names: ["rule.name", "rule.id", "event.action", "event.code"].map(Field::new),
            state: Field::new("pve.alert.state"),
            started: Field::new("event.start"),
            alert_id: Field::new("pve.alert.id"),
            clock: Clock::system(),
        })
    }

    /// Appends the event as one alert.
    pub(super) fn write(&self, event: &Event, out: &mut Vec<u8>) {
        let name = self
            .names
            .iter()
            .find_map(|field| text(event, *field, MAX_LABEL));
        let mut labels = pick(event, &self.labels, MAX_LABEL);
        // What is no alert of ours has its own id, so that no two events become one alert.
        for (label, field) in &self.labels {
            if *field == self.alert_id {
                let own = || event.id().to_string().into();
                labels.entry(label.as_str()).or_insert_with(own);
            }
        }
        labels.insert(
            "alertname".to_owned(),
            name.unwrap_or_else(|| "pvetrail".to_owned()).into(),
        );
        let annotations = pick(event, &self.annotations, MAX_ANNOTATION);
        let at = event.timestamp();
        let resolved = event.str(self.state) == Some("resolved")
            || event.str(fields::EVENT_CODE) == Some("PVE-9103");
        let began = match event.get(self.started) {
            Some(ValueRef::Time(time)) => Some(time),
            Some(ValueRef::Str(text)) => Time::parse(text),
            _ => None,
        };
        let starts = began.map_or(at, |began| began.min(at));
        // From now on, or an alert that waited for a day would be over before anybody is told of it.
        let now = self.clock.now();
        let ends = if resolved {
            at.min(now)
        } else {
            at.max(now).after(self.stands_for)
        };
        let starts = starts.min(ends);
        let alert = json!({
            "labels": labels,
            "annotations": annotations,
            "startsAt": starts.to_string(),
            "endsAt": ends.to_string(),
        });
        out.extend_from_slice(alert.to_string().as_bytes());
    }
}

fn pick(event: &Event, pairs: &[(String, Field)], most: usize) -> Map<String, Json> {
    let value =
        |(name, field): &(String, Field)| Some((name.clone(), text(event, *field, most)?.into()));
    pairs.iter().filter_map(value).collect()
}

/// A field as text in one piece, `None` where there is nothing to say: an empty label counts as none.
fn text(event: &Event, field: Field, most: usize) -> Option<String> {
    if field == fields::EVENT_ID {
        return Some(event.id().to_string());
    }
    if field == fields::EVENT_SEVERITY
        && let Some(ValueRef::Int(level)) = event.get(field)
    {
        return Some(severity(level).to_owned());
    }
    let text = match event.get(field)? {
        ValueRef::Null => return None,
        ValueRef::Str(text) => text.to_owned(),
        ValueRef::Time(time) => time.to_string(),
        other => other.to_json().to_string(),
    };
    let text = text.trim();
    if text.is_empty() {
        return None;
    }
    Some(cut(text, most))
}

/// At most `most` characters, the last an ellipsis if something is missing.
pub(super) fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_owned(),
        Some(_) => {
            let keep = most.saturating_sub(1);
            let end = text
                .char_indices()
                .nth(keep)
                .map_or(text.len(), |(at, _)| at);
            format!("{}…", &text[..end])
        }
    }
}

/// The word for `event.severity` (`audit_event` 2).
pub(super) fn severity(level: i64) -> &'static str {
    match level {
        ..=1 => "info",
        2..=3 => "low",
        4..=5 => "medium",
        6..=8 => "high",
        _ => "critical",
    }
}

fn is_label(name: &str) -> bool {
    let mut bytes = name.bytes();
    let first = bytes
        .next()
        .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    // What begins with two underscores belongs to Prometheus itself.
    first && !name.starts_with("__") && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}
