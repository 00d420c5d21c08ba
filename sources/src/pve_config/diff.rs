//! What became of the objects of a file: created, changed, deleted, key by key.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::guard::Guard;
use super::model::{Doc, Held, Keys, Object, shown};
use super::rules;

/// Most rows of one event; the rest is one row that says how many [rows].
const MOST_ROWS: usize = 500;
/// Keys of guests that PVE sets and takes away while it works on them: alone they are no change of the configuration.
const AT_WORK: &str = "lock";

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Way {
    Creation,
    Change,
    Deletion,
}

impl Way {
    /// As `event.type` says it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Way::Creation => "creation",
            Way::Change => "change",
            Way::Deletion => "deletion",
        }
    }
}

/// One changed key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Row {
    pub(super) key: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) old: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) new: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) redacted: bool,
}

impl Row {
    /// As `pve.changes` says it.
    pub(super) fn op(&self) -> &'static str {
        match (&self.old, &self.new) {
            (None, _) => "add",
            (_, None) => "remove",
            _ => "change",
        }
    }

    pub(super) fn new(key: &str, old: Option<&Held>, new: Option<&Held>) -> Row {
        let text = |held: Option<&Held>| held.map(|held| held.text().to_owned());
        Row {
            key: shown(key).to_owned(),
            old: text(old),
            new: text(new),
            redacted: [old, new].into_iter().flatten().any(Held::is_masked),
        }
    }

    pub(super) fn plain(key: &str, old: Option<String>, new: Option<String>) -> Row {
        Row {
            key: key.to_owned(),
            old,
            new,
            redacted: false,
        }
    }
}

/// One changed object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Changed {
    pub(super) way: Way,
    pub(super) kind: String,
    pub(super) id: String,
    /// The name of a guest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
    /// A firewall rule as it is now, whole: what a change leaves alone decides what the change means.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) rule: Option<String>,
    pub(super) rows: Vec<Row>,
}

/// Every object that differs; `None` stands for a file that is not there.
pub(super) fn diff(old: Option<&Doc>, new: Option<&Doc>, guard: &Guard) -> Vec<Changed> {
    let mut changed = Vec::new();
    let objects = |doc: Option<&Doc>| -> Vec<Object> {
        doc.map(|doc| doc.objects.clone()).unwrap_or_default()
    };
    let (before, after) = (objects(old), objects(new));
    let name = |object: &Object| (object.kind.clone(), object.id.clone());
    let known: HashMap<_, &Object> = before.iter().map(|object| (name(object), object)).collect();
    let now: HashMap<_, &Object> = after.iter().map(|object| (name(object), object)).collect();
    for object in &before {
        if !now.contains_key(&name(object)) {
            let rows = rows(&object.keys, &Keys::new(), guard);
            changed.push(one(Way::Deletion, object, rows));
        }
    }
    for object in &after {
        match known.get(&name(object)) {
            None => {
                let rows = rows(&Keys::new(), &object.keys, guard);
                changed.push(one(Way::Creation, object, rows));
            }
            Some(before) => {
                let mut rows = rows(&before.keys, &object.keys, guard);
                let guest = matches!(object.kind.as_str(), "vm" | "ct");
                if guest && let (Some(old), Some(new)) = (old, new) {
                    moved(old, new, &mut rows);
                }
                let at_work = guest && rows.iter().all(|row| row.key == AT_WORK);
                if !rows.is_empty() && !at_work {
                    changed.push(one(Way::Change, object, rows));
                }
            }
        }
    }
    rules::diff(old, new, guard, &mut changed);
    for one in &mut changed {
        bound(&mut one.rows);
    }
    changed
}

fn one(way: Way, object: &Object, rows: Vec<Row>) -> Changed {
    let name = match object.kind.as_str() {
        "vm" => object.keys.get("name"),
        "ct" => object.keys.get("hostname"),
        _ => None,
    };
    Changed {
        way,
        kind: object.kind.clone(),
        id: object.id.clone(),
        name: name.map(|name| name.text().to_owned()),
        rule: None,
        rows,
    }
}

/// The file of a guest lies in another node's folder now.
fn moved(old: &Doc, new: &Doc, rows: &mut Vec<Row>) {
    if old.node != new.node {
        rows.push(Row::plain("node", old.node.clone(), new.node.clone()));
        rows.sort_by(|a, b| a.key.cmp(&b.key));
    }
}

/// The keys that differ, ascending.
pub(super) fn rows(old: &Keys, new: &Keys, guard: &Guard) -> Vec<Row> {
    let mut rows = Vec::new();
    for (key, before) in old {
        match new.get(key) {
            None => rows.push(Row::new(key, Some(before), None)),
            Some(after) if !guard.same(before, after) => {
                rows.push(Row::new(key, Some(before), Some(after)));
            }
            Some(_) => {}
        }
    }
    for (key, after) in new {
        if !old.contains_key(key) {
            rows.push(Row::new(key, None, Some(after)));
        }
    }
    rows.sort_by(|a, b| (&a.key, &a.old, &a.new).cmp(&(&b.key, &b.old, &b.new)));
    if old
        .keys()
        .chain(new.keys())
        .any(|key| key.starts_with("snapshot/"))
    {
        fold(old, new, &mut rows);
    }
    rows
}

/// A snapshot that came or went is one row: it repeats the whole configuration.
fn fold(old: &Keys, new: &Keys, rows: &mut Vec<Row>) {
    let name = |key: &str| {
        let rest = key.strip_prefix("snapshot/")?;
        rest.rsplit_once('/').map(|(name, _)| name.to_owned())
    };
    let names = |keys: &Keys| -> HashMap<String, String> {
        let mut names: HashMap<String, String> = HashMap::new();
        for (key, held) in keys {
            let Some(name) = name(key) else { continue };
            let said = names.entry(name).or_default();
            let key = key.rsplit('/').next().unwrap_or(key);
            if matches!(key, "snaptime" | "parent" | "snapstate" | "vmstate") {
                let gap = if said.is_empty() { "" } else { " " };
                said.push_str(&format!("{gap}{key}={}", held.text()));
            }
        }
        names
    };
    let (before, after) = (names(old), names(new));
    rows.retain(|row| {
        name(&row.key).is_none_or(|name| before.contains_key(&name) && after.contains_key(&name))
    });
    for (name, said) in &before {
        if !after.contains_key(name) {
            rows.push(Row::plain(
                &format!("snapshot/{name}"),
                Some(said.clone()),
                None,
            ));
        }
    }
    for (name, said) in &after {
        if !before.contains_key(name) {
            rows.push(Row::plain(
                &format!("snapshot/{name}"),
                None,
                Some(said.clone()),
            ));
        }
    }
    rows.sort_by(|a, b| a.key.cmp(&b.key));
}

fn bound(rows: &mut Vec<Row>) {
    if rows.len() > MOST_ROWS {
        let more = rows.len() - MOST_ROWS;
        rows.truncate(MOST_ROWS);
        rows.push(Row::plain("…", None, Some(format!("{more} more keys"))));
    }
}
