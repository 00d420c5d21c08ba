//! Objects and their keys: what changed between two looks, as events like those of changed files.

use std::collections::BTreeMap;

use aws_lc_rs::hmac;
use pipeline::lines::{hex, sha256};
use pipeline::{Event, EventId, Field, SourceOut, Time, Value as Held, fields};
use serde::{Deserialize, Serialize};

/// Most objects of one kind of question that are remembered.
pub(super) const MOST: usize = 100_000;
/// Longest value that is kept [bytes].
const LONGEST: usize = 4096;
/// The tag of what changed while nobody looked.
const WHILE_STOPPED: &str = "changed_while_stopped";
/// Keys whose values are never told; that they changed is.
const SECRET: [&str; 1] = ["keys"];
/// What the text that stands for a secret begins with.
const SEALED: &str = "sealed:";

/// The keys of an object.
pub(super) type Keys = BTreeMap<String, String>;
/// Objects by their type and id.
pub(super) type Objects = BTreeMap<(&'static str, String), Keys>;

/// What stands for a secret, so that it can be told that it changed: an HMAC under the key of this installation, so that
/// nobody without that key can try short ones.
pub(super) struct Seal(hmac::Key);

impl Seal {
    pub(super) fn new(installation_key: &[u8]) -> Seal {
        let own = hmac::Key::new(hmac::HMAC_SHA256, installation_key);
        // Another use of the same key gets another key.
        let key = hmac::sign(&own, b"pvetrail pve_api 1");
        Seal(hmac::Key::new(hmac::HMAC_SHA256, key.as_ref()))
    }

    /// Seals the secrets among the keys of an object; what is sealed already stays.
    fn keys(&self, keys: &mut Keys) {
        for secret in SECRET {
            if let Some(value) = keys.get_mut(secret)
                && !value.is_empty()
                && !value.starts_with(SEALED)
            {
                let tag = hmac::sign(&self.0, value.as_bytes());
                *value = format!("{SEALED}{}", hex(&tag.as_ref()[..16]));
            }
        }
    }

    /// The same of all objects.
    pub(super) fn objects(&self, objects: &mut Objects) {
        objects.values_mut().for_each(|keys| self.keys(keys));
    }
}

/// An object as it is remembered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    /// Grows with each change, so that each has an id of its own, whenever it is seen.
    revision: u32,
    /// `None`: it was deleted.
    keys: Option<Keys>,
}

/// What is remembered, written down as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Memory {
    /// Types that were read once; before that nothing is a change.
    types: Vec<String>,
    objects: BTreeMap<String, Kept>,
    /// No object that was forgotten had changed more often: whoever comes anew begins here, so that no id comes twice.
    #[serde(default)]
    floor: u32,
    /// Objects that found no room when they were compared last.
    #[serde(skip)]
    left_out: u64,
}

/// One changed object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) kind: &'static str,
    pub(super) id: String,
    /// `creation`, `change`, `deletion`; `state` where it is seen for the first time as one of a type that never was read.
    pub(super) way: &'static str,
    /// Key, old and new value.
    rows: Vec<(String, Option<String>, Option<String>)>,
    revision: u32,
}

impl Memory {
    /// How many objects found no room when they were compared last.
    pub(super) fn left_out(&self) -> u64 {
        self.left_out
    }

    /// Those that were deleted make room.
    fn forget_deleted(&mut self) {
        let floor = &mut self.floor;
        self.objects.retain(|_, kept| {
            if kept.keys.is_none() {
                *floor = (*floor).max(kept.revision);
            }
            kept.keys.is_some()
        });
    }

    /// Whether the same is remembered.
    pub(super) fn is_as(&self, other: &Memory) -> bool {
        self.types == other.types && self.objects == other.objects
    }

    /// Seals secrets that an earlier version has written down otherwise.
    pub(super) fn seal(&mut self, seal: &Seal) {
        let kept = self.objects.values_mut();
        kept.filter_map(|kept| kept.keys.as_mut())
            .for_each(|keys| seal.keys(keys));
    }

    /// Compares what was read of these types with what is remembered, and remembers it.
    pub(super) fn compare(&mut self, types: &[&'static str], now: Objects) -> Vec<Change> {
        let mut changes = Vec::new();
        self.left_out = 0;
        for kind in types {
            let begins = !self.types.iter().any(|known| known == kind);
            if begins {
                self.types.push((*kind).to_owned());
            }
            let prefix = format!("{kind}\n");
            for (name, kept) in self.objects.range_mut(prefix.clone()..) {
                let Some(id) = name.strip_prefix(&prefix) else {
                    break;
                };
                if kept.keys.is_some() && !now.contains_key(&(*kind, id.to_owned())) {
                    let old = kept.keys.take().unwrap_or_default();
                    kept.revision += 1;
                    changes.push(Change {
                        kind,
                        id: id.to_owned(),
                        way: "deletion",
                        rows: old.into_iter().map(|(k, v)| (k, Some(v), None)).collect(),
                        revision: kept.revision,
                    });
                }
            }
            for ((_, id), keys) in now.iter().filter(|((held, _), _)| held == kind) {
                let name = format!("{prefix}{id}");
                if !self.objects.contains_key(&name) {
                    if self.objects.len() >= MOST && self.left_out == 0 {
                        self.forget_deleted();
                    }
                    if self.objects.len() >= MOST {
                        self.left_out += 1;
                        continue;
                    }
                }
                let floor = self.floor;
                let kept = self.objects.entry(name).or_insert_with(|| Kept {
                    revision: floor,
                    keys: None,
                });
                if kept.keys.as_ref() == Some(keys) {
                    continue;
                }
                let way = if kept.keys.is_some() {
                    "change"
                } else {
                    "creation"
                };
                let old = kept.keys.replace(keys.clone()).unwrap_or_default();
                if !begins {
                    kept.revision += 1;
                }
                changes.push(Change {
                    kind,
                    id: id.clone(),
                    way: if begins { "state" } else { way },
                    rows: difference(old, keys),
                    revision: kept.revision,
                });
            }
        }
        changes
    }
}

fn difference(mut old: Keys, new: &Keys) -> Vec<(String, Option<String>, Option<String>)> {
    let mut rows = Vec::new();
    for (key, value) in new {
        match old.remove(key) {
            Some(held) if held == *value => {}
            held => rows.push((key.clone(), held, Some(value.clone()))),
        }
    }
    rows.extend(old.into_iter().map(|(key, held)| (key, Some(held), None)));
    rows.sort();
    rows
}

/// A value as it is kept: without secrets, and not endless. Of a secret a hash is, to be [sealed](Seal).
pub(super) fn keep(key: &str, value: &str, out: &SourceOut) -> String {
    if SECRET.contains(&key) {
        return sha256(value.as_bytes());
    }
    let clean = out.redact(value);
    clean[..clean.floor_char_boundary(LONGEST)].to_owned()
}

/// Makes events of changed objects.
pub(super) struct Maker {
    cluster: String,
    origin: Field,
    kind: Field,
    id: Field,
    path: Field,
    way: Field,
    changes: Field,
    change_keys: Field,
    observer: Field,
    start: Field,
}

/// Between which two times something changed, for nobody says when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen<'a> {
    /// Who told of it.
    pub(super) host: &'a str,
    /// The host whose clock it is.
    pub(super) observer: &'a str,
    pub(super) since: Since,
    pub(super) at: Time,
}

/// The earlier of the two.
#[derive(Clone, Copy, Debug)]
pub(super) enum Since {
    /// When it was asked the last time, with an answer.
    Asked(Time),
    /// Before this start.
    Stopped,
    /// So shortly before that nobody asks.
    Now,
}

impl Maker {
    pub(super) fn new(cluster: &str) -> Maker {
        Maker {
            cluster: cluster.to_owned(),
            origin: Field::new("pve.origin"),
            kind: Field::new("pve.object.type"),
            id: Field::new("pve.object.id"),
            path: Field::new("pve.object.path"),
            way: Field::new("event.type"),
            changes: Field::new("pve.changes"),
            change_keys: Field::new("pve.change_keys"),
            observer: Field::new("observer.hostname"),
            start: Field::new("event.start"),
        }
    }

    pub(super) fn event(&self, change: &Change, seen: &Seen<'_>) -> Event {
        let id = EventId::of_parts(&[
            b"pve-audit/1",
            b"api",
            self.cluster.as_bytes(),
            b"object",
            change.kind.as_bytes(),
            change.id.as_bytes(),
            &change.revision.to_le_bytes(),
            format!("{:?}", change.rows).as_bytes(),
        ]);
        let mut event = Event::new(id, seen.at);
        event.set(self.origin, "api");
        event.set(self.kind, change.kind);
        event.set(self.id, change.id.as_str());
        if let ("acl", Some((path, _))) = (change.kind, change.id.split_once('|')) {
            event.set(self.path, path);
        }
        event.set_str(fields::HOST_NAME, seen.host);
        event.set_str(self.observer, seen.observer);
        if change.way == "state" {
            event.set(fields::EVENT_KIND, "state");
        } else {
            match seen.since {
                Since::Asked(since) => event.set(self.start, Held::Time(since)),
                Since::Stopped => event.add_tag(WHILE_STOPPED),
                Since::Now => {}
            }
            event.set(self.way, Held::List(vec![change.way.into()]));
        }
        let rows = change.rows.iter().map(|(key, old, new)| {
            let op = match (old, new) {
                (None, _) => "add",
                (_, None) => "remove",
                _ => "change",
            };
            let secret = SECRET.contains(&key.as_str());
            let mut row = vec![
                ("key".into(), Held::from(key.as_str())),
                ("op".into(), Held::from(op)),
            ];
            for (name, value) in [("old", old), ("new", new)] {
                if let Some(value) = value {
                    let value = if secret { "[redacted]" } else { value.as_str() };
                    row.push((name.into(), Held::from(value)));
                }
            }
            if secret {
                row.push(("redacted".into(), Held::Bool(true)));
            }
            Held::Map(row)
        });
        event.set(self.changes, Held::List(rows.collect()));
        let keys = change.rows.iter().map(|(key, ..)| Held::from(key.as_str()));
        event.set(self.change_keys, Held::List(keys.collect()));
        let what = match change.way {
            "creation" => "is new",
            "deletion" => "is gone",
            "state" => "is there",
            _ => "changed",
        };
        event.set(
            fields::MESSAGE,
            format!("{} {} {what}", change.kind, change.id),
        );
        event
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Type, id, keys.
    type Given<'a> = (&'static str, &'a str, &'a [(&'a str, &'a str)]);

    fn objects(some: &[Given<'_>]) -> Objects {
        let keys = |keys: &[(&str, &str)]| {
            let pairs = keys.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
            pairs.collect::<Keys>()
        };
        some.iter()
            .map(|(kind, id, k)| ((*kind, (*id).to_owned()), keys(k)))
            .collect()
    }

    #[test]
    fn of_a_second_factor_nothing_is_kept_that_could_be_tried() {
        let seal = Seal::new(b"key");
        let mut now = objects(&[("user", "a@pve", &[("keys", "x!yubico"), ("enable", "1")])]);
        // As an earlier version had written it down.
        let mut memory = Memory::default();
        memory.compare(&["user"], now.clone());
        memory.seal(&seal);
        seal.objects(&mut now);
        assert!(memory.compare(&["user"], now.clone()).is_empty());
        let kept = serde_json::to_string(&memory).unwrap();
        assert!(
            kept.contains("sealed:") && !kept.contains("yubico"),
            "{kept}"
        );
        // Another installation says something else of the same.
        let mut other = objects(&[("user", "a@pve", &[("keys", "x!yubico"), ("enable", "1")])]);
        Seal::new(b"other").objects(&mut other);
        assert_ne!(other, now);
        // Once is enough.
        let sealed = now.clone();
        seal.objects(&mut now);
        assert_eq!(now, sealed);
        let mut changed = objects(&[("user", "a@pve", &[("keys", "y"), ("enable", "1")])]);
        seal.objects(&mut changed);
        assert_eq!(memory.compare(&["user"], changed).len(), 1);
    }

    #[test]
    fn objects_without_room_are_counted() {
        let mut memory = Memory::default();
        let many = |n: usize| -> Objects {
            let one = |n| (("user", format!("u{n}@pve")), Keys::new());
            (0..n).map(one).collect()
        };
        memory.compare(&["user"], many(MOST + 7));
        assert_eq!(memory.left_out(), 7);
        // Those that are gone make room, and who comes back is a change of its own.
        let changes = memory.compare(&["user"], many(MOST));
        assert_eq!((memory.left_out(), changes.len()), (0, 14));
        let new = changes.iter().filter(|change| change.way == "creation");
        assert_eq!(new.map(|change| change.revision).min(), Some(2));
    }

    #[test]
    fn what_was_there_first_is_no_change_and_each_change_has_its_own_id() {
        let mut memory = Memory::default();
        let maker = Maker::new("prod");
        let first = objects(&[
            ("user", "a@pve", &[("enable", "1")]),
            ("user", "b@pve", &[]),
        ]);
        let begin = memory.compare(&["user"], first.clone());
        assert!(begin.len() == 2 && begin.iter().all(|change| change.way == "state"));
        assert!(memory.compare(&["user"], first.clone()).is_empty());
        let next = objects(&[
            ("user", "a@pve", &[("comment", "x"), ("enable", "0")]),
            ("user", "c@pve", &[]),
        ]);
        let again = memory.clone();
        let changes = memory.compare(&["user"], next.clone());
        let ways: Vec<_> = changes.iter().map(|c| (c.id.as_str(), c.way)).collect();
        assert_eq!(
            ways,
            [
                ("b@pve", "deletion"),
                ("a@pve", "change"),
                ("c@pve", "creation")
            ]
        );
        // Killed before it was remembered: the same changes under the same ids.
        let seen = Seen {
            host: "pve1",
            observer: "pve1",
            since: Since::Now,
            at: Time(0),
        };
        let ids = |changes: &[Change]| -> Vec<EventId> {
            changes.iter().map(|c| maker.event(c, &seen).id()).collect()
        };
        assert_eq!(
            ids(&again.clone().compare(&["user"], next.clone())),
            ids(&changes)
        );
        // Back and forth: the same difference, but another change.
        memory.compare(&["user"], first);
        let third = memory.compare(&["user"], next);
        assert!(ids(&third).iter().all(|id| !ids(&changes).contains(id)));
        // A type that was not read says nothing.
        assert!(memory.compare(&["role"], Objects::new()).is_empty());
    }
}
