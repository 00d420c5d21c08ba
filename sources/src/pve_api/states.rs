//! The inventory: guests, nodes and storages as they are, told when that changes and once an hour.

use std::collections::{BTreeMap, BTreeSet};

use pipeline::pve::{Guest, Known};
use pipeline::{Event, EventId, Field, SourceOut, Time, Value as Held, fields};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::objects::{Keys, Objects, keep};
use super::rows::{number, text};

/// The keys of the lanes.
pub(super) const LANE: &str = "inventory";
pub(super) const STATUS_LANE: &str = "status";
/// Looks at which an object must be missing before it counts as gone: an answer may be incomplete for a moment.
const GONE: u8 = 2;
/// The same where all guests are missing at once.
const ALL_GONE: u8 = 10;
/// Most objects remembered.
const MOST: usize = 100_000;
/// What makes a change when it changes.
const WATCHED: [&str; 7] = ["status", "node", "name", "pool", "lock", "template", "tags"];

/// An object as it was told.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Seen {
    /// Grows with each change.
    #[serde(rename = "r")]
    revision: u32,
    /// Stands for the values of [`WATCHED`].
    #[serde(rename = "h")]
    hash: u64,
    #[serde(rename = "m", default)]
    missing: u8,
    #[serde(rename = "n", default)]
    node: String,
}

/// What is written down.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Position {
    objects: BTreeMap<String, Seen>,
    /// Where the revisions of new objects begin: one that is gone and comes back does not begin again with its first.
    first: u32,
    /// The hour whose ratios were told.
    hour: i64,
}

/// Makes events of states.
pub(super) struct States {
    cluster: String,
    pub(super) position: Position,
    /// The names stand for themselves: event.kind, pve.origin, pve.object.{type,id,name}, pve.vmid.
    kind: Field,
    origin: Field,
    object: [Field; 3],
    vmid: Field,
    way: Field,
    watched: [Field; WATCHED.len()],
    ratios: [Field; 4],
}

impl States {
    pub(super) fn new(cluster: &str, position: Option<Position>) -> States {
        let state = |name: &str| Field::new(&format!("pve.state.{name}"));
        States {
            cluster: cluster.to_owned(),
            position: position.unwrap_or_default(),
            kind: fields::EVENT_KIND,
            origin: Field::new("pve.origin"),
            object: ["pve.object.type", "pve.object.id", "pve.object.name"].map(Field::new),
            vmid: Field::new("pve.vmid"),
            way: Field::new("event.type"),
            watched: WATCHED.map(state),
            ratios: ["cpu", "mem", "disk", "uptime"].map(state),
        }
    }

    /// The events of what changed since the last answer, and of the hour; true too if only the position changed.
    /// Without `whole` nothing that is missing counts as gone: the token may not see all.
    pub(super) fn take(
        &mut self,
        data: &Value,
        whole: bool,
        out: &SourceOut,
    ) -> (Vec<Event>, bool) {
        let now = out.now();
        let hour = now.0.div_euclid(3600 * 1_000_000_000);
        let hourly = hour != self.position.hour;
        let mut events = Vec::new();
        let mut listed = BTreeSet::new();
        let mut dirty = hourly;
        for row in data.as_array().map_or(&[][..], Vec::as_slice) {
            let Some(object) = Object::read(row, out) else {
                continue;
            };
            let known = self.position.objects.len();
            if !listed.insert(object.place.clone())
                || known >= MOST && !self.position.objects.contains_key(&object.place)
            {
                continue;
            }
            let hash = object.hash();
            let begins = !self.position.objects.contains_key(&object.place);
            let first = self.position.first;
            let seen = self.position.objects.entry(object.place.clone());
            let seen = seen.or_insert_with(|| Seen {
                revision: first,
                ..Seen::default()
            });
            dirty |= std::mem::take(&mut seen.missing) > 0;
            if begins || seen.hash != hash {
                (seen.hash, seen.revision) = (hash, seen.revision.wrapping_add(1));
                seen.node.clone_from(&object.node);
                let what = format!("{}:{hash:x}", seen.revision);
                events.push(self.event(&object, &what, hourly, now));
            } else if hourly {
                events.push(self.event(&object, &format!("hour {hour}"), true, now));
            }
        }
        self.position.hour = hour;
        if whole {
            let guests = |place: &str| place.starts_with("qemu/") || place.starts_with("lxc/");
            let all = !listed.iter().any(|place| guests(place));
            let mut gone = Vec::new();
            for (place, seen) in &mut self.position.objects {
                if listed.contains(place) {
                    continue;
                }
                seen.missing = seen.missing.saturating_add(1);
                dirty = true;
                let bound = if all && guests(place) { ALL_GONE } else { GONE };
                if seen.missing >= bound {
                    gone.push((place.clone(), seen.clone()));
                }
            }
            for (place, seen) in gone {
                let revision = seen.revision;
                if let Some(object) = Object::gone(&place, seen.node) {
                    events.push(self.event(&object, &format!("{revision}:gone"), false, now));
                }
                let next = revision.wrapping_add(1);
                self.position.first = self.position.first.max(next);
                self.position.objects.remove(&place);
            }
        }
        let dirty = dirty || !events.is_empty();
        (events, dirty)
    }

    fn event(&self, object: &Object, what: &str, ratios: bool, now: Time) -> Event {
        let id = EventId::of_parts(&[
            b"pve-audit/1",
            b"api",
            self.cluster.as_bytes(),
            b"state",
            object.place.as_bytes(),
            what.as_bytes(),
        ]);
        let mut event = Event::new(id, now);
        event.set(self.kind, "state");
        event.set(self.origin, "api");
        event.set(self.object[0], object.kind);
        event.set(self.object[1], object.id.as_str());
        if let Some(name) = &object.name {
            event.set(self.object[2], name.as_str());
        }
        if let Some(vmid) = object.vmid {
            event.set(self.vmid, vmid);
        }
        event.set_str(fields::HOST_NAME, &object.node);
        for (field, value) in self.watched.iter().zip(&object.watched) {
            if let Some(value) = value {
                event.set(*field, value.as_str());
            }
        }
        if ratios {
            for (field, value) in self.ratios.iter().zip(&object.ratios) {
                if let Some(value) = value {
                    event.set(*field, value.clone());
                }
            }
        }
        let status = object.watched[0].as_deref().unwrap_or("unknown");
        if status == "gone" {
            event.set(self.way, Held::List(vec!["deletion".into()]));
        }
        event.set(
            fields::MESSAGE,
            format!("{} {} is {status}", object.kind, object.id),
        );
        event
    }
}

/// A row of `/cluster/resources`.
struct Object {
    /// PVE's own name for it, like `qemu/104` or `storage/pve1/local`.
    place: String,
    kind: &'static str,
    id: String,
    name: Option<String>,
    node: String,
    vmid: Option<i64>,
    watched: [Option<String>; WATCHED.len()],
    ratios: [Option<Held>; 4],
}

impl Object {
    fn read(row: &Value, out: &SourceOut) -> Option<Object> {
        let word = |name: &str| text(row.get(name)).filter(|text| !text.is_empty());
        let (kind, name) = match row.get("type")?.as_str()? {
            "qemu" => ("vm", "name"),
            "lxc" => ("ct", "name"),
            "node" => ("node", "node"),
            "storage" => ("storage", "storage"),
            _ => return None,
        };
        let vmid = number(row.get("vmid"));
        let node = word("node")?;
        let id = match kind {
            "vm" | "ct" => vmid?.to_string(),
            _ => word(name)?,
        };
        let share = |part: &str, whole: &str| {
            let value = |name: &str| row.get(name).and_then(Value::as_f64);
            let (part, whole) = (value(part)?, value(whole)?);
            (whole > 0.0 && part >= 0.0).then(|| Held::Float((part / whole).min(1.0)))
        };
        let cpu = row.get("cpu").and_then(Value::as_f64);
        Some(Object {
            place: word("id")?,
            kind,
            id,
            name: word(name),
            vmid: vmid.filter(|_| kind == "vm" || kind == "ct"),
            watched: WATCHED.map(|name| word(name).map(|value| keep(name, &value, out))),
            ratios: [
                cpu.map(|cpu| Held::Float(cpu.clamp(0.0, 1.0))),
                share("mem", "maxmem"),
                share("disk", "maxdisk"),
                number(row.get("uptime")).map(Held::Int),
            ],
            node,
        })
    }

    /// What is known of one that is listed no more.
    fn gone(place: &str, node: String) -> Option<Object> {
        let (kind, rest) = place.split_once('/')?;
        let (kind, id) = match kind {
            "qemu" => ("vm", rest),
            "lxc" => ("ct", rest),
            "node" => ("node", rest),
            "storage" => ("storage", rest.split_once('/')?.1),
            _ => return None,
        };
        let mut watched = [const { None }; WATCHED.len()];
        watched[0] = Some("gone".to_owned());
        Some(Object {
            place: place.to_owned(),
            kind,
            id: id.to_owned(),
            name: None,
            node,
            vmid: (kind == "vm" || kind == "ct")
                .then(|| id.parse().ok())
                .flatten(),
            watched,
            ratios: [const { None }; 4],
        })
    }

    fn hash(&self) -> u64 {
        let mut all = String::new();
        for value in &self.watched {
            all.push_str(value.as_deref().unwrap_or("\u{1}"));
            all.push('\0');
        }
        xxhash_rust::xxh3::xxh3_64(all.as_bytes())
    }
}

/// Guests and pools, for whoever needs a name.
pub(super) fn learn(data: &Value, known: &mut Known, now: Time) {
    let mut guests = BTreeMap::new();
    let mut pools = BTreeSet::new();
    for row in data.as_array().map_or(&[][..], Vec::as_slice) {
        let word = |name: &str| text(row.get(name)).filter(|text| !text.is_empty());
        let kind = row.get("type").and_then(Value::as_str);
        pools.extend(word("pool"));
        if let ("qemu" | "lxc", Some(vmid)) = (
            kind.unwrap_or_default(),
            number(row.get("vmid")).and_then(|n| u32::try_from(n).ok()),
        ) {
            let tags = word("tags").unwrap_or_default();
            let tags = tags.split([';', ',', ' ']).filter(|tag| !tag.is_empty());
            guests.insert(
                vmid,
                Guest {
                    ct: kind == Some("lxc"),
                    name: word("name").unwrap_or_default(),
                    pool: word("pool"),
                    tags: tags.map(str::to_owned).collect(),
                    node: word("node").unwrap_or_default(),
                    gone: None,
                },
            );
        }
    }
    known.renew_guests(guests, now);
    known.pools = pools;
}

/// Nodes and the cluster as objects of which changes are told, and the nodes for the inventory.
pub(super) fn status(data: &Value, known: &mut Known, out: &SourceOut) -> Objects {
    let mut objects = Objects::new();
    let mut nodes = BTreeMap::new();
    for row in data.as_array().map_or(&[][..], Vec::as_slice) {
        let Some(name) = text(row.get("name")) else {
            continue;
        };
        let keys = |names: &[&str]| -> Keys {
            let held = names.iter().filter_map(|name| {
                let value = text(row.get(*name))?;
                Some(((*name).to_owned(), keep(name, &value, out)))
            });
            held.collect()
        };
        match row.get("type").and_then(Value::as_str) {
            Some("node") => {
                let address = text(row.get("ip")).and_then(|ip| ip.parse().ok());
                let online = number(row.get("online")) == Some(1);
                nodes.insert(name.clone(), pipeline::pve::Node { address, online });
                objects.insert(("node", name), keys(&["online", "ip", "nodeid"]));
            }
            Some("cluster") => {
                objects.insert(("cluster", name), keys(&["quorate"]));
            }
            _ => {}
        }
    }
    if !nodes.is_empty() {
        known.nodes = nodes;
    }
    objects
}
