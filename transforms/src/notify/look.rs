//! What routes, inhibitions and silences look at: the fields of an alert, by short names or by their paths.

use std::collections::BTreeMap;

use pipeline::{Event, Field, Value, ValueRef, config, fields};
use serde::Deserialize;

/// Short names and what they stand for.
const NAMES: [(&str, &str); 14] = [
    ("severity", "pve.alert.severity"),
    ("rule", "rule.id"),
    ("rule_name", "rule.name"),
    ("cluster", "orchestrator.cluster.name"),
    ("node", "host.name"),
    ("user", "user.id"),
    ("address", "source.ip"),
    ("object", "pve.object.id"),
    ("object_type", "pve.object.type"),
    ("vmid", "pve.vmid"),
    ("action", "event.action"),
    ("technique", "threat.technique.id"),
    ("alert", "pve.alert.id"),
    ("profile", "pve.alert.profile"),
];

/// Most fields of one matcher.
const MOST: usize = 32;
/// Most values of one field, and longest value [bytes].
const MOST_VALUES: usize = 256;
const LONGEST: usize = 512;

/// One value or several, of which one has to fit.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, schemars::JsonSchema, serde::Serialize)]
#[serde(untagged)]
pub enum Values {
    /// One.
    One(String),
    /// One of several.
    Several(Vec<String>),
}

impl Values {
    fn each(&self) -> &[String] {
        match self {
            Values::One(value) => std::slice::from_ref(value),
            Values::Several(values) => values,
        }
    }
}

/// What an alert has to be like, as it is written.
pub type Written = BTreeMap<String, Values>;

/// What an alert has to be like: every field has one of its values; `*` and `?` stand for any text and any letter, and
/// capitals do not count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Matcher(Vec<(Look, Vec<String>)>);

impl Matcher {
    /// Reads it; every mistake is the name of the field and a sentence.
    pub fn new(written: &Written) -> Result<Matcher, Vec<(String, String)>> {
        let (mut fields, mut wrong) = (Vec::new(), Vec::new());
        if written.len() > MOST {
            wrong.push((String::new(), format!("has more than {MOST} fields")));
        }
        for (name, values) in written.iter().take(MOST) {
            let values = values.each();
            if values.is_empty() || values.len() > MOST_VALUES {
                let why = format!("has {} values, not 1 to {MOST_VALUES}", values.len());
                wrong.push((name.clone(), why));
            }
            if values.iter().any(|value| value.len() > LONGEST) {
                let why = format!("has a value of more than {LONGEST} bytes");
                wrong.push((name.clone(), why));
            }
            match Look::new(name) {
                Ok(look) => fields.push((look, values.iter().map(|v| v.to_lowercase()).collect())),
                Err(why) => wrong.push((name.clone(), why)),
            }
        }
        match wrong.is_empty() {
            true => Ok(Matcher(fields)),
            false => Err(wrong),
        }
    }

    /// Whether the alert is like that.
    pub fn holds(&self, alert: &Event) -> bool {
        self.0.iter().all(|(look, values)| {
            let found = look.texts(alert);
            found.iter().any(|text| {
                let text = text.to_lowercase();
                values.iter().any(|value| fits(value, &text))
            })
        })
    }
}

/// One field of an alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    path: String,
}

impl Look {
    /// A short name or a dotted path; `label.team` and `group.user.id` lie in the alert.
    pub fn new(name: &str) -> Result<Look, String> {
        if let Some((_, path)) = NAMES.iter().find(|(short, _)| *short == name) {
            return Ok(Look {
                path: (*path).to_owned(),
            });
        }
        let letter = |c: char| c.is_ascii_alphanumeric() || "._-@".contains(c);
        if !name.contains('.') || name.len() > 200 || !name.chars().all(letter) {
            let known = || NAMES.iter().map(|(short, _)| *short);
            let help = match config::nearest(name, known()) {
                Some(meant) => format!("did you mean \"{meant}\"?"),
                None => format!(
                    "write a path like \"event.action\", \"label.NAME\", \"group.FIELD\", or one of {}",
                    known().collect::<Vec<_>>().join(", ")
                ),
            };
            return Err(format!("is no field of an alert; {help}"));
        }
        let path = match name.split_once('.') {
            Some(("label" | "labels", rest)) => format!("pve.alert.labels.{rest}"),
            Some(("group", rest)) => format!("pve.alert.group.{rest}"),
            _ => name.to_owned(),
        };
        Ok(Look { path })
    }

    /// What the alert says there, as text; several where it is a list.
    pub fn texts(&self, alert: &Event) -> Vec<String> {
        if self.path == "pve.alert.severity" {
            return vec![super::message::Severity::of(alert).name().to_owned()];
        }
        value_at(alert, &self.path).map_or_else(Vec::new, |value| match value {
            ValueRef::List(list) => list.iter().filter_map(|v| plain(v.as_ref())).collect(),
            other => plain(other).into_iter().collect(),
        })
    }

    /// The same in one piece.
    pub fn text(&self, alert: &Event) -> String {
        self.texts(alert).join(",")
    }
}

fn plain(value: ValueRef<'_>) -> Option<String> {
    Some(match value {
        ValueRef::Null => return None,
        ValueRef::Str(text) => text.to_owned(),
        ValueRef::Time(time) => time.to_string(),
        other => other.to_json().to_string(),
    })
}

/// What stands at a path: a field of that name, or a part of the map that a field above it holds.
pub(super) fn value_at<'a>(event: &'a Event, path: &str) -> Option<ValueRef<'a>> {
    if let Some(found) = Field::find(path).and_then(|field| event.get(field)) {
        return Some(found);
    }
    let mut ends: Vec<usize> = path.match_indices('.').map(|(at, _)| at).collect();
    while let Some(end) = ends.pop() {
        let Some(ValueRef::Map(map)) = Field::find(&path[..end]).and_then(|f| event.get(f)) else {
            continue;
        };
        if let Some(found) = below(map, &path[end + 1..]) {
            return Some(found);
        }
    }
    // A name whose first word nobody knew when the event was born.
    match event.get(fields::PVE_EXTRA) {
        Some(ValueRef::Map(map)) => below(map, path),
        _ => None,
    }
}

/// Makes the names known that alerts are looked at by and messages have, before any is born or read from a saved state.
pub(super) fn make_known() {
    let more = [
        "event.end",
        "pve.alert.labels",
        "pve.alert.group",
        "pve.alert.route",
        "pve.alert.count",
    ];
    let names = NAMES.iter().map(|(_, path)| *path).chain(more);
    for path in names.chain([
        "pve.alert.record_only",
        "pve.alert.replayed",
        "pve.alert.saturated",
    ]) {
        Field::new(path);
    }
    let written = super::groups::PATHS;
    for path in ["pve.source.attribution", "pve.object.name"]
        .into_iter()
        .chain(written)
    {
        Field::new(path);
    }
}

/// Names in a group have dots of their own (`user.id`), so the longest name counts first.
fn below<'a>(map: &'a [(String, Value)], path: &str) -> Option<ValueRef<'a>> {
    if let Some((_, value)) = map.iter().find(|(key, _)| key == path) {
        return Some(value.as_ref());
    }
    map.iter().find_map(|(key, value)| {
        let rest = path.strip_prefix(key.as_str())?.strip_prefix('.')?;
        match value {
            Value::Map(inner) => below(inner, rest),
            _ => None,
        }
    })
}

/// `*` stands for any text, `?` for any letter; both are in lower case. Linear in the text for each `*`.
fn fits(pattern: &str, text: &str) -> bool {
    if !pattern.contains(['*', '?']) {
        return pattern == text;
    }
    let (pattern, text): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), text.chars().take(4096).collect());
    let (mut p, mut t, mut back) = (0, 0, None);
    while t < text.len() {
        if p < pattern.len() && pattern[p] == '*' {
            back = Some((p + 1, t));
            p += 1;
        } else if p < pattern.len() && (pattern[p] == '?' || pattern[p] == text[t]) {
            (p, t) = (p + 1, t + 1);
        } else if let Some((star, from)) = back {
            (p, t, back) = (star, from + 1, Some((star, from + 1)));
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

/// The text of a field, empty where there is none.
pub(super) fn text(event: &Event, path: &str) -> String {
    if path == fields::EVENT_ID.path() {
        return event.id().to_string();
    }
    value_at(event, path).and_then(plain).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use pipeline::events;

    fn matcher(json: serde_json::Value) -> Result<Matcher, Vec<(String, String)>> {
        Matcher::new(&serde_json::from_value(json).unwrap())
    }

    #[test]
    fn fields_are_found_by_short_names_paths_and_below_maps() {
        let alert = &events![{
            "rule": {"id": "PVR-201"}, "event": {"severity": 8}, "user": {"id": "Eve@pve"},
            "pve": {"vmid": 104, "alert": {"id": "a", "group": {"user.id": "eve@pve"}, "labels": {"team": "night"}}},
            "threat": {"technique": {"id": ["T1485", "T1078"]}}
        }][0];
        for yes in [
            serde_json::json!({"severity": "high", "rule": ["PVR-9*", "pvr-2?1"]}),
            serde_json::json!({"user": "eve@*", "vmid": "104"}),
            serde_json::json!({"group.user.id": "eve@pve", "label.team": "night"}),
            serde_json::json!({"technique": "T1078"}),
            serde_json::json!({}),
        ] {
            assert!(matcher(yes.clone()).unwrap().holds(alert), "{yes}");
        }
        for no in [
            serde_json::json!({"severity": "critical"}),
            serde_json::json!({"user": "eve"}),
            serde_json::json!({"node": "*"}),
            serde_json::json!({"rule": "PVR-201", "vmid": "10"}),
        ] {
            assert!(!matcher(no.clone()).unwrap().holds(alert), "{no}");
        }
    }

    #[test]
    fn a_slip_of_the_pen_is_told_with_what_was_meant() {
        let wrong = matcher(serde_json::json!({"severty": "high"})).unwrap_err();
        assert!(
            wrong[0].1.contains("did you mean \"severity\""),
            "{wrong:?}"
        );
        assert!(matcher(serde_json::json!({"rule": []})).is_err());
    }
}
