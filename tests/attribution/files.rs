//! What is written under `/etc/pve`, as `pve_config` on the first node sees it every two seconds, and as `pve_api` asks for it
//! every minute: what was written between two looks is one difference. Every changed key holds, beside what a key holds, the
//! number of its fact.

use std::collections::{BTreeMap, BTreeSet};

use pipeline::{Event, Field, Time, Value};

use super::{Class, Lane, NODES, World, Written};

/// `pve_config` looks so often [ms].
const LOOKS: i64 = 2000;
/// The API is asked so often who may do what [ms].
const ASKS: i64 = 60_000;
/// What changed in longer than this was not looked at in time [ms].
const IN_TIME: i64 = 10_000;

/// A call without effect and a hand so near one another are alike [ms].
const ALIKE: i64 = 20_000;

/// What became of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Becomes {
    Creation,
    Change,
    Deletion,
}

/// One object as a writing leaves it.
#[derive(Clone, Debug)]
pub struct Touch {
    /// Below `/etc/pve`; empty for what no readable file holds.
    file: String,
    kind: &'static str,
    id: String,
    keys: Vec<&'static str>,
    becomes: Becomes,
    /// What is added or taken away, where that matters.
    value: Option<String>,
    fact: usize,
}

impl Touch {
    pub(super) fn new(
        file: &str,
        (kind, id): (&'static str, &str),
        keys: &[&'static str],
        fact: usize,
    ) -> Touch {
        Touch {
            file: file.to_owned(),
            kind,
            id: id.to_owned(),
            keys: keys.to_vec(),
            becomes: Becomes::Change,
            value: None,
            fact,
        }
    }

    pub(super) fn removes(mut self, value: &str) -> Touch {
        self.value = Some(value.to_owned());
        self
    }

    /// The configuration of a guest.
    pub(super) fn guest(
        kind: &'static str,
        node: usize,
        guest: u32,
        keys: &[&'static str],
        fact: usize,
    ) -> Touch {
        let folder = if kind == "vm" { "qemu-server" } else { "lxc" };
        let file = format!("nodes/{}/{folder}/{guest}.conf", NODES[node]);
        Touch::new(&file, (kind, &guest.to_string()), keys, fact)
    }

    pub(super) fn creates(mut self) -> Touch {
        self.becomes = Becomes::Creation;
        self
    }

    pub(super) fn deletes(mut self) -> Touch {
        self.becomes = Becomes::Deletion;
        self
    }

    pub(super) fn name(&self) -> (&'static str, &str) {
        (self.kind, &self.id)
    }

    /// Its first key.
    pub(super) fn key(&self) -> &'static str {
        self.keys[0]
    }

    /// The file is gone with its only object.
    fn is_gone(&self) -> bool {
        self.becomes == Becomes::Deletion && matches!(self.kind, "vm" | "ct")
    }

    /// A guest is the same on whatever node.
    fn file_key(&self) -> String {
        match self.kind {
            "vm" | "ct" => format!("guest/{}", self.id),
            _ => self.file.clone(),
        }
    }
}

/// Something was written at one moment.
pub struct Writing {
    /// Real time [ms].
    at: i64,
    /// The node that wrote it.
    node: usize,
    touches: Vec<Touch>,
}

/// Types of objects of which the API is asked.
const ASKED: [&str; 7] = ["user", "token", "acl", "role", "group", "realm", "tfa"];

/// All that one look finds of one object: the keys, what was taken out of them, and whose they are.
struct Found {
    becomes: Becomes,
    keys: BTreeMap<&'static str, (Option<String>, usize)>,
}

impl Found {
    fn fact(&self) -> usize {
        self.keys.values().next().map_or(0, |(_, fact)| *fact)
    }
}

type Objects = BTreeMap<(&'static str, String), Found>;

/// Somebody's act upon an object of which no record says which keys it set.
pub struct Upon {
    at: i64,
    hand: bool,
    effect: bool,
}

impl World {
    /// Whether an act can be told from the others upon the same object. What a call set is in no record, so a call without
    /// effect and a hand within the same seconds look like one call that set it, and so do a call and a hand between two
    /// looks: whatever is told of these is a guess, and the world has none of them.
    pub(super) fn can_be_told(
        &mut self,
        object: String,
        at: i64,
        hand: bool,
        effect: bool,
    ) -> bool {
        let looked = self.look(at, LOOKS).0;
        let held = self.upon.entry(object).or_default();
        let next = |other: &Upon| (other.at / LOOKS + 1) * LOOKS;
        let alike = |other: &&Upon| {
            let near = (other.at - at).abs() < ALIKE && !(effect && other.effect);
            other.hand != hand && (near || next(other) == looked)
        };
        if held.iter().any(|other| alike(&other)) {
            return false;
        }
        held.push(Upon { at, hand, effect });
        true
    }

    pub(super) fn write(&mut self, at: i64, node: usize, touches: Vec<Touch>) {
        self.writings.push(Writing { at, node, touches });
    }

    /// What all looks find.
    pub(super) fn look_at_files(&mut self) {
        let mut writings = std::mem::take(&mut self.writings);
        writings.sort_by_key(|writing| writing.at);
        if self.setup.config {
            self.watch(&writings);
        }
        if self.setup.api {
            self.ask(&writings);
        }
    }

    /// The first look after `at`, the last one before it, and whether the program stood still between them.
    fn look(&self, at: i64, every: i64) -> (i64, i64, bool) {
        let next = (at / every + 1) * every;
        let inside = |(from, to): &&(i64, i64)| (*from..*to).contains(&next);
        if let Some((from, to)) = self.setup.stops.iter().find(inside) {
            return (to + 700, from - from % every, true);
        }
        let hangs = self.setup.hangs.iter().filter(|_| every == LOOKS);
        if let Some((from, to)) = hangs.into_iter().find(inside) {
            return (to + 700, from - from % every, false);
        }
        (next, next - every, false)
    }

    fn watch(&mut self, writings: &[Writing]) {
        // By the look and the file: the writings that it finds.
        let mut looks: BTreeMap<(i64, String), Vec<(&Writing, &Touch)>> = BTreeMap::new();
        for writing in writings {
            let (next, ..) = self.look(writing.at, LOOKS);
            for touch in writing.touches.iter().filter(|t| !t.file.is_empty()) {
                let place = looks.entry((next, touch.file_key())).or_default();
                place.push((writing, touch));
            }
        }
        let mut modified: BTreeMap<String, i64> = BTreeMap::new();
        for ((look, key), found) in looks {
            let Some((last, touch)) = found.last() else {
                continue;
            };
            let (_, before, stopped) = self.look(last.at, LOOKS);
            let (now, looked) = (self.clock(0, look), self.clock(0, before));
            let mtime = self.clock(last.node, last.at) / 1000 * 1000;
            let from = match (stopped, modified.get(&key)) {
                (true, Some(before)) => before + 1,
                (true, None) => i64::MAX,
                _ => looked - 3000,
            };
            let time = match (from..=now).contains(&mtime) && !touch.is_gone() {
                true => mtime,
                false => now,
            };
            modified.insert(key, mtime);
            let late = stopped || look - before > IN_TIME;
            let hash = format!("{:064x}", self.rng.u128(..));
            let path = touch.file.clone();
            for ((kind, id), object) in objects(found.iter().map(|(_, touch)| *touch)) {
                let host = path
                    .strip_prefix("nodes/")
                    .and_then(|p| p.split('/').next());
                let mut event = self.difference(
                    (host.unwrap_or(NODES[0]), time, "config"),
                    (kind, &id),
                    &object,
                    late,
                );
                event.set(
                    Field::new("file.path"),
                    Value::Str(format!("/etc/pve/{path}")),
                );
                if !touch.is_gone() {
                    event.set(Field::new("file.hash.sha256"), Value::Str(hash.clone()));
                }
                if late {
                    event.add_tag("changed_while_stopped");
                }
                let fact = object.fact();
                self.push(
                    Lane::Config,
                    look,
                    100,
                    Written::Event(Box::new(event)),
                    fact,
                );
            }
        }
    }

    fn ask(&mut self, writings: &[Writing]) {
        // By the question and the one before it, and whether the program stood still between them.
        let mut looks: BTreeMap<(i64, i64, bool), Vec<&Touch>> = BTreeMap::new();
        for writing in writings {
            let look = self.look(writing.at, ASKS);
            let asked = writing.touches.iter().filter(|t| ASKED.contains(&t.kind));
            looks.entry(look).or_default().extend(asked);
        }
        for ((look, before, stopped), touches) in looks {
            let time = self.clock(0, look);
            for ((kind, id), object) in objects(touches.into_iter()) {
                let mut event =
                    self.difference((NODES[0], time, "api"), (kind, &id), &object, false);
                if stopped {
                    event.add_tag("changed_while_stopped");
                } else {
                    let since = Time(self.clock(0, before) * 1_000_000);
                    event.set(Field::new("event.start"), Value::Time(since));
                }
                let fact = object.fact();
                self.push(Lane::Api, look, 900, Written::Event(Box::new(event)), fact);
            }
        }
    }

    /// The event of one object, as the sources make it.
    fn difference(
        &mut self,
        (host, time, origin): (&str, i64, &str),
        (kind, id): (&'static str, &str),
        object: &Found,
        late: bool,
    ) -> Event {
        let mut event = self.event(host, time, origin, &format!("{kind} {id} differs"));
        let way = match object.becomes {
            Becomes::Creation => "creation",
            Becomes::Change => "change",
            Becomes::Deletion => "deletion",
        };
        event.set(Field::new("event.type"), Value::List(vec![way.into()]));
        event.set(Field::new("observer.hostname"), Value::Str(NODES[0].into()));
        event.set(Field::new("pve.object.type"), Value::Str(kind.into()));
        event.set(Field::new("pve.object.id"), Value::Str(id.into()));
        let guest = match kind {
            "vm" | "ct" => id.parse().ok(),
            _ => id
                .strip_prefix("vm/")
                .and_then(|rest| rest.split('/').next()?.parse().ok()),
        };
        if let Some(guest) = guest {
            event.set(Field::new("pve.vmid"), Value::Int(guest));
        }
        let mut keys = Vec::new();
        let mut rows = Vec::new();
        for (key, (removed, fact)) in &object.keys {
            if late {
                self.facts[*fact].class = Class::Late;
            }
            let (op, side) = match object.becomes {
                _ if removed.is_some() => ("remove", "old"),
                Becomes::Creation => ("add", "new"),
                Becomes::Change => ("change", "new"),
                Becomes::Deletion => ("remove", "old"),
            };
            let value = removed.clone().unwrap_or_else(|| format!("x{fact}"));
            keys.push(Value::from(*key));
            rows.push(Value::Map(vec![
                ("key".to_owned(), (*key).into()),
                ("op".to_owned(), op.into()),
                (side.to_owned(), Value::Str(value)),
                ("fact".to_owned(), Value::Int(*fact as i64)),
            ]));
        }
        event.set(Field::new("pve.change_keys"), Value::List(keys));
        event.set(Field::new("pve.changes"), Value::List(rows));
        event
    }
}

/// What is left of several writings for whoever looks only afterwards.
fn objects<'t>(touches: impl Iterator<Item = &'t Touch>) -> Objects {
    let mut objects = Objects::new();
    let mut fleeting = BTreeSet::new();
    for touch in touches {
        let name = (touch.kind, touch.id.clone());
        let whose = || (touch.value.clone(), touch.fact);
        let keys = touch.keys.iter().map(|key| (*key, whose()));
        match (objects.get_mut(&name), touch.becomes) {
            (Some(found), Becomes::Deletion) => {
                if found.becomes == Becomes::Creation {
                    fleeting.insert(name);
                } else {
                    found.becomes = Becomes::Deletion;
                    found.keys = keys.collect();
                }
            }
            (Some(found), _) => {
                if found.becomes == Becomes::Deletion {
                    found.becomes = Becomes::Change;
                }
                found.keys.extend(keys);
            }
            (None, becomes) => {
                let keys = keys.collect();
                objects.insert(name, Found { becomes, keys });
            }
        }
    }
    objects.retain(|name, _| !fleeting.contains(name));
    objects
}
