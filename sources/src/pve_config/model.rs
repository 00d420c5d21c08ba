//! What a file of the cluster's configuration says, once it is understood: objects, their keys, and ordered rules.
//!
//! Nothing in here is a secret: what was one is a mask and a keyed digest ([`super::guard`]).

use std::collections::BTreeMap;

use aws_lc_rs::hmac;
use pipeline::lines::hex;
use serde::{Deserialize, Serialize};

use super::guard::Guard;

/// Most keys of one object; the rest is one row that says how many [keys].
const MOST_KEYS: usize = 2_000;
/// Most objects of one file; the rest likewise [objects].
const MOST_OBJECTS: usize = 20_000;
/// Most keys of one file; the rest likewise [keys].
const MOST_IN_FILE: usize = 60_000;
/// Most rules of one list; the rest likewise [rules].
const MOST_RULES: usize = 5_000;
/// Between the name of a key that holds a set and one of its members.
const MEMBER: char = '\u{1}';
/// The key under which lines are kept that are not understood.
const UNPARSED: &str = "unparsed";

/// A value without its secrets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Held {
    /// As it stands.
    Clear(String),
    /// What is left of it, and 128 bits of an HMAC of the whole, in hex.
    Masked(String, String),
}

impl Held {
    /// What may be shown.
    pub(super) fn text(&self) -> &str {
        match self {
            Held::Clear(text) | Held::Masked(text, _) => text,
        }
    }

    pub(super) fn is_masked(&self) -> bool {
        matches!(self, Held::Masked(..))
    }
}

pub(super) type Keys = BTreeMap<String, Held>;

/// Something that has a name in the audit trail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Object {
    /// `pve.object.type`.
    pub(super) kind: String,
    /// `pve.object.id`.
    pub(super) id: String,
    pub(super) keys: Keys,
}

/// Firewall rules in their order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Rules {
    /// `vm/210`, `cluster`, `group/web`.
    pub(super) scope: String,
    pub(super) list: Vec<Keys>,
}

/// One file, understood.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Doc {
    /// Below the watched folder.
    pub(super) path: String,
    /// The node whose folder it lies in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) node: Option<String>,
    /// When it was written [ns since 1970].
    pub(super) modified: i64,
    /// Ascending by kind and id.
    pub(super) objects: Vec<Object>,
    /// Ascending by scope.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) rules: Vec<Rules>,
}

impl Doc {
    /// The hash of what it says, without secrets, as 64 digits. Blank lines and the order of what has none do not count.
    pub(super) fn sha256(&self) -> String {
        let mut text = String::new();
        let mut part = |part: &str| {
            text.push_str(part);
            text.push('\0');
        };
        let mut keys = |keys: &Keys| {
            for (key, held) in keys {
                part(key);
                part(held.text());
            }
            part("\0");
        };
        for object in &self.objects {
            let head = Keys::from([(object.kind.clone(), Held::Clear(object.id.clone()))]);
            keys(&head);
            keys(&object.keys);
        }
        for rules in &self.rules {
            keys(&Keys::from([(
                "rules".to_owned(),
                Held::Clear(rules.scope.clone()),
            )]));
            rules.list.iter().for_each(&mut keys);
        }
        let hash = pipeline::lines::sha256(text.as_bytes());
        hash.strip_prefix("sha256:").unwrap_or(&hash).to_owned()
    }
}

/// The name of a key as it is shown.
pub(super) fn shown(key: &str) -> &str {
    key.split_once(MEMBER).map_or(key, |(name, _)| name)
}

/// Makes a [`Doc`], within bounds.
pub(super) struct Builder<'g> {
    guard: &'g Guard,
    path: String,
    node: Option<String>,
    objects: BTreeMap<(String, String), Keys>,
    rules: BTreeMap<String, Vec<Keys>>,
    keys: usize,
    /// What is past a bound, and how much of it.
    rest: Option<(hmac::Context, u64)>,
}

impl<'g> Builder<'g> {
    pub(super) fn new(guard: &'g Guard, path: &str, node: Option<&str>) -> Builder<'g> {
        Builder {
            guard,
            path: path.to_owned(),
            node: node.map(str::to_owned),
            objects: BTreeMap::new(),
            rules: BTreeMap::new(),
            keys: 0,
            rest: None,
        }
    }

    pub(super) fn guard(&self) -> &'g Guard {
        self.guard
    }

    /// Makes the object known, though it may have no keys.
    pub(super) fn object(&mut self, kind: &str, id: &str) {
        if self.objects.len() < MOST_OBJECTS {
            let name = (kind.to_owned(), bounded(id));
            self.objects.entry(name).or_default();
        } else {
            self.over(&[kind, id]);
        }
    }

    /// Whether there is such an object.
    pub(super) fn has(&self, kind: &str, id: &str) -> bool {
        self.objects.contains_key(&(kind.to_owned(), bounded(id)))
    }

    /// A key and its value; `secret` is the name that decides whether it is one, mostly the key itself.
    pub(super) fn put_as(
        &mut self,
        (kind, id): (&str, &str),
        key: &str,
        secret: &str,
        value: &str,
    ) {
        if self.is_full((kind, id)) {
            return self.over(&[kind, id, key, value]);
        }
        let held = self.guard.hold(secret, value);
        self.insert((kind, id), key, held);
    }

    pub(super) fn put(&mut self, name: (&str, &str), key: &str, value: &str) {
        self.put_as(name, key, key, value);
    }

    /// A value that is kept as its keyed digest alone.
    pub(super) fn put_secret(&mut self, name: (&str, &str), key: &str, value: &[u8]) {
        let held = self.guard.mask(value);
        self.insert(name, key, held);
    }

    /// One member of a set: order and repetition mean nothing.
    pub(super) fn member(&mut self, name: (&str, &str), key: &str, value: &str) {
        if self.is_full(name) {
            return self.over(&[name.0, name.1, key, value]);
        }
        let held = self.guard.hold(key, value);
        let key = format!("{key}{MEMBER}{}", held.text());
        self.insert(name, &key, held);
    }

    /// Members of a list that is written with commas or blanks.
    pub(super) fn members(&mut self, name: (&str, &str), key: &str, list: &str) {
        let split = list.split([',', ' ', ';']).map(str::trim);
        for one in split.filter(|one| !one.is_empty()) {
            self.member(name, key, one);
        }
    }

    /// A line that nobody understands.
    pub(super) fn unparsed(&mut self, line: &str) {
        let path = self.path.clone();
        self.member(("file", &path), UNPARSED, line);
    }

    /// Whether the file, or this object, has as many keys as are told one by one. Asked before a value is looked through,
    /// which is the dear part.
    fn is_full(&self, (kind, id): (&str, &str)) -> bool {
        if self.keys >= MOST_IN_FILE {
            return true;
        }
        match self.objects.get(&(kind.to_owned(), bounded(id))) {
            Some(keys) => keys.len() >= MOST_KEYS,
            None => self.objects.len() >= MOST_OBJECTS,
        }
    }

    fn insert(&mut self, (kind, id): (&str, &str), key: &str, held: Held) {
        let keys = self
            .objects
            .entry((kind.to_owned(), bounded(id)))
            .or_default();
        let key = bounded(key);
        match keys.get(&key) {
            // The same key twice: what both say counts, in their order.
            Some(first) if !key.contains(MEMBER) => {
                let both = self.guard.join(first, &held);
                keys.insert(key, both);
            }
            // A secret may stand behind either mask.
            Some(first) if first.is_masked() => {
                let both = self.guard.twin(first, &held);
                keys.insert(key, both);
            }
            _ => {
                self.keys += 1;
                keys.insert(key, held);
            }
        }
    }

    /// Makes the list of rules known, though it may be empty.
    pub(super) fn list(&mut self, scope: &str) {
        if self.rules.len() < MOST_OBJECTS {
            self.rules.entry(bounded(scope)).or_default();
        }
    }

    /// The next rule of a list.
    pub(super) fn rule(&mut self, scope: &str, parts: &[(&str, &str)]) {
        let full = self.keys >= MOST_IN_FILE
            || self.rules.len() >= MOST_OBJECTS
            || self
                .rules
                .get(scope)
                .is_some_and(|list| list.len() >= MOST_RULES);
        if full {
            self.over(&[scope]);
            for (key, value) in parts {
                self.over_part(key);
                self.over_part(value);
            }
            return;
        }
        self.keys += parts.len();
        let keys = parts
            .iter()
            .map(|(key, value)| ((*key).to_owned(), self.guard.hold(key, value)))
            .collect();
        self.rules.entry(bounded(scope)).or_default().push(keys);
    }

    fn over(&mut self, parts: &[&str]) {
        let guard = self.guard;
        let (_, count) = self.rest.get_or_insert_with(|| (guard.digest(), 0));
        *count += 1;
        for part in parts {
            self.over_part(part);
        }
    }

    fn over_part(&mut self, part: &str) {
        if let Some((digest, _)) = &mut self.rest {
            digest.update(&(part.len() as u64).to_le_bytes());
            digest.update(part.as_bytes());
        }
    }

    /// Whether something was past a bound.
    pub(super) fn is_over(&self) -> bool {
        self.rest.is_some()
    }

    pub(super) fn finish(mut self, modified: i64) -> Doc {
        if let Some((digest, count)) = self.rest.take() {
            let name = ("file".to_owned(), bounded(&self.path));
            let mac = hex(&digest.sign().as_ref()[..16]);
            let held = Held::Masked(format!("{count} more than are told one by one"), mac);
            self.objects
                .entry(name)
                .or_default()
                .insert("rest".to_owned(), held);
        }
        let objects = self.objects.into_iter();
        Doc {
            path: self.path,
            node: self.node,
            modified,
            objects: objects
                .map(|((kind, id), keys)| Object { kind, id, keys })
                .collect(),
            rules: self
                .rules
                .into_iter()
                .map(|(scope, list)| Rules { scope, list })
                .collect(),
        }
    }
}

/// Names are cut where nobody writes such long ones, with a hash of the whole, so that two stay two.
fn bounded(name: &str) -> String {
    const LONGEST: usize = 512;
    if name.len() <= LONGEST {
        return name.to_owned();
    }
    let hash = pipeline::lines::sha256(name.as_bytes());
    let head = &name[..name.floor_char_boundary(LONGEST / 2)];
    format!("{head}…{}", &hash[7..39])
}
