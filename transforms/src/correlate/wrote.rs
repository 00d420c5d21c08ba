//! Which keys of a configuration a task writes, and which a call names: what a difference says decides whose it can be,
//! never its time alone.

use std::collections::BTreeSet;

use pipeline::{Catalogue, Event, ValueRef, fields};

use super::follows;
use super::names::NAMES;

/// One key that differs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row<'a> {
    pub(super) key: &'a str,
    pub(super) old: Option<&'a str>,
    pub(super) new: Option<&'a str>,
}

/// What became of the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Change,
    Creation,
    Deletion,
}

impl Way {
    pub(super) const ALL: [Way; 3] = [Way::Change, Way::Creation, Way::Deletion];
}

/// How much of a difference a task can have written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Share {
    None,
    Part,
    All,
}

/// The rows of a difference; of one that has none, its keys.
pub(super) fn rows(event: &Event) -> Vec<Row<'_>> {
    if let Some(ValueRef::List(list)) = event.get(NAMES.changes) {
        let row = |value| {
            let ValueRef::Map(parts) = value else {
                return None;
            };
            let part = |name: &str| {
                let found = parts.iter().find(|(held, _)| held == name);
                found.and_then(|(_, value)| value.as_ref().as_str())
            };
            Some(Row {
                key: part("key")?,
                old: part("old"),
                new: part("new"),
            })
        };
        return list.iter().filter_map(|one| row(one.as_ref())).collect();
    }
    let Some(ValueRef::List(keys)) = event.get(NAMES.change_keys) else {
        return Vec::new();
    };
    let keys = keys.iter().filter_map(|key| key.as_ref().as_str());
    keys.map(|key| Row {
        key,
        old: None,
        new: None,
    })
    .collect()
}

/// What became of the object, by its code; where one code stands for all, by whether all keys came or went.
pub(super) fn way(event: &Event) -> Way {
    let code = event.str(fields::EVENT_CODE).unwrap_or_default();
    match code {
        "PVE-3032" => return Way::Creation,
        "PVE-3033" => return Way::Deletion,
        _ => {}
    }
    let kinds = Catalogue::builtin().get(code).map(|row| &row.kinds[..]);
    let is = |word: &str| kinds.is_some_and(|kinds| kinds.iter().any(|kind| kind == word));
    if is("creation") {
        return Way::Creation;
    }
    if is("deletion") {
        return Way::Deletion;
    }
    let object = event.str(NAMES.object_type).unwrap_or_default();
    if !matches!(object, "ha_resource" | "firewall_options") {
        return Way::Change;
    }
    let rows = rows(event);
    match (
        rows.iter().all(|row| row.new.is_none()),
        rows.iter().all(|row| row.old.is_none()),
    ) {
        (true, _) => Way::Deletion,
        (_, true) => Way::Creation,
        _ => Way::Change,
    }
}

/// The verb of a type of task upon a guest.
fn verb(kind: &str) -> &str {
    match kind {
        "qmigrate" | "vzmigrate" => "migrate",
        _ => kind
            .strip_prefix("qm")
            .or_else(|| kind.strip_prefix("vz"))
            .unwrap_or(kind),
    }
}

/// Whether the key is that of a disk or a mounted volume.
fn is_volume(key: &str) -> bool {
    let name = key.trim_end_matches(|c: char| c.is_ascii_digit());
    match name.len() == key.len() {
        true => matches!(key, "rootfs" | "vmstate"),
        false => matches!(
            name,
            "scsi" | "sata" | "ide" | "virtio" | "efidisk" | "tpmstate" | "mp" | "unused"
        ),
    }
}

/// The snapshot whose section a key stands in, and the key there, if it names one.
fn snapshot(key: &str) -> Option<(&str, Option<&str>)> {
    let rest = key.strip_prefix("snapshot/")?;
    Some(match rest.rsplit_once('/') {
        Some((name, key)) => (name, Some(key)),
        None => (rest, None),
    })
}

/// Whether only the name of the volume is another, and all its options are what they were.
fn has_moved(row: &Row<'_>) -> bool {
    let key = snapshot(row.key).map_or(row.key, |(_, key)| key.unwrap_or_default());
    let options = |value: &str| value.split_once(',').map(|(_, rest)| rest.to_owned());
    is_volume(key)
        && row
            .old
            .zip(row.new)
            .is_some_and(|(old, new)| options(old) == options(new))
}

/// Whether what waited for the next start is in effect now.
fn is_applied(row: &Row<'_>, all: &[Row<'_>]) -> bool {
    if row.key.starts_with("pending/") {
        return row.new.is_none();
    }
    let waited = |other: &Row<'_>| match other.key.strip_prefix("pending/") {
        Some("delete") => {
            let gone = other.old.filter(|_| other.new.is_none());
            let names = |list: &str| list.split([',', ' ', ';']).any(|one| one == row.key);
            row.new.is_none() && gone.is_some_and(names)
        }
        Some(key) => key == row.key && other.new.is_none() && other.old == row.new,
        None => false,
    };
    all.iter().any(waited)
}

/// How much of a difference of its guest a task of this type can have written.
pub(super) fn by_task(kind: &str, guest: &str, event: &Event) -> Share {
    let all = rows(event);
    let verb = verb(kind);
    let way = way(event);
    match event.str(NAMES.object_type).unwrap_or_default() {
        "vm" | "ct" => of_guest(verb, way, &all),
        "firewall_rule" | "firewall_options" | "ipset" | "alias" => match verb {
            // A backup brings the rules of its guest back.
            "restore" => Share::All,
            "destroy" if way == Way::Deletion => Share::All,
            _ => Share::None,
        },
        // A guest that moves turns the direction of its replication.
        "replication_job" if verb == "migrate" => {
            let turned = |row: &Row<'_>| matches!(row.key, "source" | "target");
            share(all.iter().map(turned))
        }
        _ if verb == "destroy" && follows::gone_with(event).as_deref() == Some(guest) => Share::All,
        _ => Share::None,
    }
}

fn share(rows: impl Iterator<Item = bool>) -> Share {
    let (mut some, mut all, mut any) = (false, true, false);
    for wrote in rows {
        any = true;
        some |= wrote;
        all &= wrote;
    }
    match (any && all, some) {
        (true, _) => Share::All,
        (_, true) => Share::Part,
        _ => Share::None,
    }
}

fn of_guest(verb: &str, way: Way, all: &[Row<'_>]) -> Share {
    match verb {
        "create" | "restore" | "destroy" | "tunnel" | "mtunnel" => return Share::All,
        // A guest comes and goes by no other task.
        _ if way != Way::Change => return Share::None,
        _ => {}
    }
    // A task makes, or takes away, one snapshot; whatever hung on it hangs on another one now.
    let named = |row: &&Row<'_>| !matches!(snapshot(row.key), Some((_, Some("parent"))));
    let snapshots: BTreeSet<&str> = all
        .iter()
        .filter(named)
        .filter_map(|row| snapshot(row.key))
        .map(|(name, _)| name)
        .collect();
    let volumes: BTreeSet<&str> = all
        .iter()
        .map(|row| row.key)
        .filter(|key| is_volume(key) && !key.starts_with("unused"))
        .collect();
    share(all.iter().map(|row| {
        let key = row.key;
        if key == "lock" {
            return true;
        }
        match verb {
            "snapshot" => key == "parent" || snapshots.len() == 1 && snapshot(key).is_some(),
            "delsnapshot" => key == "parent" || snapshots.len() <= 1 && snapshot(key).is_some(),
            "rollback" => snapshot(key).is_none(),
            "resize" => volumes.len() == 1 && is_volume(key),
            "move" | "move_volume" => volumes.len() <= 1 && is_volume(key),
            "migrate" => key == "node" || has_moved(row),
            "template" => key == "template" || has_moved(row),
            "config" => is_set_by_call(key),
            "dump" => key == "parent" || snapshot(key).is_some_and(|(name, _)| name == "vzdump"),
            "start" | "stop" | "shutdown" | "reboot" | "suspend" | "resume" | "reset" => {
                is_applied(row, all) || matches!(key, "vmstate" | "runningmachine" | "runningcpu")
            }
            _ => false,
        }
    }))
}

/// Whether setting options of a guest can touch this key: sections of snapshots and the place of the file are others' work.
fn is_set_by_call(key: &str) -> bool {
    snapshot(key).is_none() && !matches!(key, "parent" | "node" | "snapstate")
}

/// Whether a call that sets options of a guest writes none of the keys of a difference.
pub(super) fn is_out_of_reach(named: &[Box<str>], event: &Event) -> bool {
    let guest = matches!(event.str(NAMES.object_type), Some("vm" | "ct"));
    let reached =
        |row: &Row<'_>| is_set_by_call(row.key) || named.iter().any(|name| **name == *row.key);
    guest && way(event) == Way::Change && !rows(event).iter().any(reached)
}

/// Whether such a task writes the configuration of its guest, and whether it may be any key of it.
pub(super) fn writes(kind: &str) -> (bool, bool) {
    match verb(kind) {
        "create" | "restore" | "destroy" | "tunnel" | "mtunnel" | "rollback" | "config" => {
            (true, true)
        }
        "clone" | "template" | "snapshot" | "delsnapshot" | "migrate" | "resize" | "move"
        | "move_volume" => (true, false),
        _ => (false, false),
    }
}

/// Whether such a task says in the journal what has this code.
pub(super) fn says(kind: &str, code: &str) -> bool {
    let verb = verb(kind);
    match code {
        "PVE-2014" | "PVE-2114" => verb == "config",
        "PVE-2015" | "PVE-2115" => verb == "resize",
        "PVE-2016" | "PVE-2116" => matches!(verb, "move" | "move_volume"),
        "PVE-2017" | "PVE-2117" => verb == "snapshot",
        "PVE-2018" | "PVE-2019" | "PVE-2118" | "PVE-2119" => {
            matches!(verb, "delsnapshot" | "rollback")
        }
        _ => writes(kind).0,
    }
}

/// Keys that a call names by its own words: what the journal says of it, or the query of its line.
pub(super) fn named(event: &Event) -> Vec<Box<str>> {
    if let Some(path) = event.str(fields::URL_PATH) {
        if event.str(fields::HTTP_METHOD) != Some("PUT") {
            return Vec::new();
        }
        let mut parts = path.split('/').skip_while(|part| *part != "snapshot");
        if let (Some(_), Some(name), Some("config")) = (parts.next(), parts.next(), parts.next()) {
            return vec![format!("snapshot/{name}/description").into()];
        }
        if path.ends_with("/unlock-tfa") {
            return ["totp-locked", "tfa-locked-until"].map(Into::into).into();
        }
        let query = event.str(fields::URL_QUERY).unwrap_or_default();
        let mut names: Vec<Box<str>> = Vec::new();
        for pair in query.split('&').take(256).filter(|pair| !pair.is_empty()) {
            match pair.split_once('=').unwrap_or((pair, "")) {
                // What keeps a browser from answering out of its cache.
                ("_dc", _) => {}
                ("delete", list) => {
                    let list = list.replace("%2C", ",").replace("%2c", ",");
                    names.extend(list.split([',', ' ', ';', '+']).map(Box::<str>::from));
                }
                (name, _) => names.push(name.into()),
            }
        }
        return names;
    }
    let words = event.str(NAMES.command).unwrap_or_default();
    // `resize --disk scsi0 --size +10G`
    if let Some(rest) = words.strip_prefix("resize ") {
        let mut words = rest.split(' ').skip_while(|word| *word != "--disk");
        return words.nth(1).map(Box::from).into_iter().collect();
    }
    let Some(ValueRef::List(keys)) = event.get(NAMES.change_keys) else {
        return Vec::new();
    };
    let keys = keys.iter().filter_map(|key| key.as_ref().as_str());
    keys.map(Box::from).collect()
}

/// Whether a call that named these keys can have written all of a difference; one that says nothing of its keys may have
/// written any that such calls do write.
pub(super) fn by_words(named: &[Box<str>], event: &Event) -> bool {
    let object = event.str(NAMES.object_type).unwrap_or_default();
    let guest = matches!(object, "vm" | "ct");
    let plain = matches!(
        object,
        "storage" | "cluster" | "node" | "backup_job" | "user" | "firewall_options"
    );
    if !guest && !plain || way(event) != Way::Change {
        return true;
    }
    let has = |key: &str| named.iter().any(|name| **name == *key);
    let volume = named.iter().any(|name| is_volume(name));
    let bootable = volume || named.iter().any(|name| name.starts_with("net"));
    rows(event).iter().all(|row| {
        let key = row.key;
        if has(key) {
            return true;
        }
        // What PVE itself writes after wrong codes.
        if matches!(key, "totp-locked" | "tfa-locked-until") {
            return false;
        }
        if !guest {
            return named.is_empty() || key == "digest";
        }
        if !is_set_by_call(key) {
            return false;
        }
        let bare = key.strip_prefix("pending/").unwrap_or(key);
        named.is_empty()
            || has(bare)
            || key.starts_with("cloudinit/")
            || matches!(bare, "digest" | "meta" | "vmgenid" | "lock" | "delete")
            || volume && bare.starts_with("unused")
            || bootable && matches!(bare, "boot" | "bootdisk")
            || key != bare && row.new.is_none() && has("revert")
    })
}

#[cfg(test)]
mod tests;
