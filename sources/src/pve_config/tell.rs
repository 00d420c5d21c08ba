//! From a changed object to its event.

use std::path::Path;

use pipeline::{Event, EventId, Field, Time, Value, fields};
use serde::{Deserialize, Serialize};

use super::diff::Changed;
use super::model::Doc;

/// The tag of what changed while nobody looked.
pub(super) const WHILE_STOPPED: &str = "changed_while_stopped";
/// Keys named in the sentence.
const NAMED: usize = 8;

/// One event as it is written down before it is sent, so that after a crash the same one is sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Change {
    /// Ascending from 1 over the life of the state.
    pub(super) seq: u64,
    pub(super) at: Time,
    /// The file, in full.
    pub(super) path: String,
    /// The node in whose folder it lies, or the one that saw it.
    pub(super) host: String,
    /// The one that saw it: `at` is by its clock. Empty in what was written down before this was said.
    #[serde(default)]
    pub(super) observer: String,
    /// Hashes of what the file says; empty where it is not there.
    pub(super) before: String,
    pub(super) after: String,
    /// When the file was written [ns since 1970], of a file that is gone when it last was.
    pub(super) modified: i64,
    /// Found at the start, or when the file could be read again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) late: bool,
    #[serde(flatten)]
    pub(super) what: Changed,
}

/// What holds for all changes of one file.
pub(super) struct About<'a> {
    pub(super) root: &'a Path,
    pub(super) host: &'a str,
    pub(super) at: Time,
    pub(super) late: bool,
    pub(super) old: Option<&'a Doc>,
    pub(super) new: Option<&'a Doc>,
}

impl About<'_> {
    /// Numbers and completes them.
    pub(super) fn changes(&self, changed: Vec<Changed>, seq: &mut u64) -> Vec<Change> {
        if changed.is_empty() {
            return Vec::new();
        }
        let Some(doc) = self.new.or(self.old) else {
            return Vec::new();
        };
        let hash = |doc: Option<&Doc>| doc.map(Doc::sha256).unwrap_or_default();
        let (before, after) = (hash(self.old), hash(self.new));
        let path = self.root.join(&doc.path).to_string_lossy().into_owned();
        let one = |what| {
            *seq += 1;
            Change {
                seq: *seq,
                at: self.at,
                path: path.clone(),
                host: doc.node.clone().unwrap_or_else(|| self.host.to_owned()),
                observer: self.host.to_owned(),
                before: before.clone(),
                after: after.clone(),
                modified: doc.modified,
                late: self.late,
                what,
            }
        };
        changed.into_iter().map(one).collect()
    }
}

/// Makes events.
pub(super) struct Teller {
    cluster: String,
    observer: Field,
    origin: Field,
    path: Field,
    hash: Field,
    kind: Field,
    id: Field,
    name: Field,
    object_path: Field,
    vmid: Field,
    class: Field,
    changes: Field,
    keys: Field,
    target: [Field; 3],
    group: Field,
    rule: Field,
}

impl Teller {
    /// `cluster` is the operator's name for it; it is part of every id.
    pub(super) fn new(cluster: &str) -> Teller {
        Teller {
            cluster: cluster.to_owned(),
            observer: Field::new("observer.hostname"),
            origin: Field::new("pve.origin"),
            path: Field::new("file.path"),
            hash: Field::new("file.hash.sha256"),
            kind: Field::new("pve.object.type"),
            id: Field::new("pve.object.id"),
            name: Field::new("pve.object.name"),
            object_path: Field::new("pve.object.path"),
            vmid: Field::new("pve.vmid"),
            class: Field::new("event.type"),
            changes: Field::new("pve.changes"),
            keys: Field::new("pve.change_keys"),
            target: ["id", "name", "domain"].map(|part| Field::new(&format!("user.target.{part}"))),
            group: Field::new("group.name"),
            rule: Field::new("pve.firewall.rule"),
        }
    }

    /// The parts of `audit_event.md` 6, the way, and when the file was written: a value that goes there and back and there
    /// again is three changes, and every node of a cluster sees the same time.
    fn event_id(&self, change: &Change) -> EventId {
        EventId::of_parts(&[
            b"pve-audit/1",
            b"config",
            self.cluster.as_bytes(),
            change.path.as_bytes(),
            change.before.as_bytes(),
            change.after.as_bytes(),
            change.what.kind.as_bytes(),
            change.what.id.as_bytes(),
            change.what.way.name().as_bytes(),
            &change.modified.to_le_bytes(),
        ])
    }

    pub(super) fn event(&self, change: &Change) -> Event {
        let what = &change.what;
        let mut event = Event::new(self.event_id(change), change.at);
        event.set_str(fields::MESSAGE, &sentence(change));
        event.set_str(fields::HOST_NAME, &change.host);
        if !change.observer.is_empty() {
            event.set_str(self.observer, &change.observer);
        }
        event.set(self.origin, "config");
        event.set(self.class, Value::List(vec![what.way.name().into()]));
        event.set_str(self.path, &change.path);
        if !change.after.is_empty() {
            event.set_str(self.hash, &change.after);
        }
        event.set_str(self.kind, &what.kind);
        event.set_str(self.id, &what.id);
        if let Some(name) = &what.name {
            event.set_str(self.name, name);
        }
        if let Some(rule) = &what.rule {
            event.set_str(self.rule, rule);
        }
        if let Some(vmid) = vmid(&what.kind, &what.id) {
            event.set(self.vmid, vmid);
        }
        if let Some(path) = permission_path(&what.kind, &what.id) {
            event.set(self.object_path, path);
        }
        self.target(&mut event, &what.kind, &what.id);
        let mut keys: Vec<&str> = what.rows.iter().map(|row| &*row.key).collect();
        keys.sort_unstable();
        keys.dedup();
        event.set(
            self.keys,
            Value::List(keys.into_iter().map(Value::from).collect()),
        );
        event.set(self.changes, Value::List(rows(what)));
        if change.late {
            event.add_tag(WHILE_STOPPED);
        }
        event
    }

    fn target(&self, event: &mut Event, kind: &str, id: &str) {
        let account = match kind {
            "user" => id,
            "token" => id.split('!').next().unwrap_or(id),
            "acl" => {
                let member = id.split('|').nth(1).unwrap_or_default();
                if let Some(group) = member.strip_prefix('@') {
                    event.set_str(self.group, group);
                    return;
                }
                member.split('!').next().unwrap_or(member)
            }
            "group" => {
                event.set_str(self.group, id);
                return;
            }
            _ => return,
        };
        let [whole, name, domain] = self.target;
        event.set_str(whole, account);
        if let Some((user, realm)) = account.rsplit_once('@') {
            event.set_str(name, user);
            event.set_str(domain, realm);
        }
    }
}

fn rows(what: &Changed) -> Vec<Value> {
    let row = |row: &super::diff::Row| {
        let mut map: Vec<(String, Value)> = vec![
            ("key".to_owned(), row.key.as_str().into()),
            ("op".to_owned(), row.op().into()),
        ];
        for (side, value) in [("old", &row.old), ("new", &row.new)] {
            if let Some(value) = value {
                map.push((side.to_owned(), value.as_str().into()));
            }
        }
        if row.redacted {
            map.push(("redacted".to_owned(), true.into()));
        }
        Value::Map(map)
    };
    what.rows.iter().map(row).collect()
}

/// The guest that an object is or belongs to.
fn vmid(kind: &str, id: &str) -> Option<i64> {
    let digits = match kind {
        "vm" | "ct" => id,
        "ha_resource" => id.strip_prefix("vm:").or_else(|| id.strip_prefix("ct:"))?,
        "replication_job" => id.split('-').next()?,
        "firewall_rule" | "firewall_options" | "ipset" | "alias" => {
            let rest = id.strip_prefix("vm/").or_else(|| id.strip_prefix("ct/"))?;
            rest.split('/').next()?
        }
        _ => return None,
    };
    digits.parse().ok().filter(|vmid| *vmid >= 0)
}

/// The path that permissions are given on.
fn permission_path(kind: &str, id: &str) -> Option<String> {
    match kind {
        "storage" => Some(format!("/storage/{id}")),
        "pool" => Some(format!("/pool/{id}")),
        "node" => Some(format!("/nodes/{id}")),
        "group" => Some(format!("/access/groups/{id}")),
        "realm" => Some(format!("/access/realm/{id}")),
        "mapping" => Some(format!("/mapping/{id}")),
        "acl" => id.split('|').next().map(str::to_owned),
        _ => vmid(kind, id).map(|vmid| format!("/vms/{vmid}")),
    }
}

fn sentence(change: &Change) -> String {
    let what = &change.what;
    let (kind, id) = (&what.kind, &what.id);
    match what.way {
        super::diff::Way::Creation => format!("{kind} {id} created ({})", change.path),
        super::diff::Way::Deletion => format!("{kind} {id} deleted ({})", change.path),
        super::diff::Way::Change => {
            let mut keys: Vec<&str> = what.rows.iter().map(|row| &*row.key).collect();
            keys.dedup();
            let more = keys.len().saturating_sub(NAMED);
            keys.truncate(NAMED);
            let more = match more {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            format!(
                "{kind} {id} changed: {}{more} ({})",
                keys.join(", "),
                change.path
            )
        }
    }
}
