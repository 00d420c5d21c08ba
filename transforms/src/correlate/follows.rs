//! What can only follow from something else: rows that the end of a user or a guest writes along with it, and what the API
//! says of a change that the file has told.

use std::collections::BTreeSet;

use pipeline::Event;

use super::names::NAMES;
use super::wrote::{Way, rows, way};

/// An object by type and id, and what must have become of it.
pub(super) type Cause = (&'static str, String, Way);

/// Objects whose end, or beginning, writes this difference along with it into the same file.
pub(super) fn causes(event: &Event) -> Vec<Cause> {
    let id = event.str(NAMES.object_id).unwrap_or_default();
    let user = |id: &str| {
        let name = id.split(['!', '/']).next().unwrap_or(id);
        ("user", name.to_owned(), Way::Deletion)
    };
    let gone = way(event) == Way::Deletion;
    match event.str(NAMES.object_type).unwrap_or_default() {
        "token" | "tfa" if gone => vec![user(id)],
        "acl" if gone => {
            let mut parts = id.split('|');
            let mut part = || parts.next().unwrap_or_default();
            let (path, member, role) = (part(), part(), part());
            let mut causes = vec![("role", role.to_owned(), Way::Deletion)];
            match member.strip_prefix('@') {
                Some(group) => causes.push(("group", group.to_owned(), Way::Deletion)),
                None => causes.push(user(member)),
            }
            if member.contains('!') {
                causes.push(("token", member.to_owned(), Way::Deletion));
            }
            if let Some(pool) = path.strip_prefix("/pool/") {
                causes.push(("pool", pool.to_owned(), Way::Deletion));
            }
            causes
        }
        "group" if way(event) == Way::Change => {
            let all = rows(event);
            match all.as_slice() {
                [row] if row.key == "members" => match (row.old, row.new) {
                    (Some(one), None) => vec![user(one)],
                    (None, Some(one)) => vec![("user", one.to_owned(), Way::Creation)],
                    _ => Vec::new(),
                },
                _ => Vec::new(),
            }
        }
        _ => Vec::new(),
    }
}

/// The guest whose end alone makes such a difference of something else: a permission upon it, its place in a pool or in a
/// job, its replication, its care.
pub(super) fn gone_with(event: &Event) -> Option<String> {
    let id = event.str(NAMES.object_id).unwrap_or_default();
    let way = way(event);
    let all = rows(event);
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
        digits.then(|| text.to_owned())
    };
    match event.str(NAMES.object_type).unwrap_or_default() {
        "acl" if way == Way::Deletion => number(id.split('|').next()?.strip_prefix("/vms/")?),
        "pool" if way == Way::Change => match all.as_slice() {
            [row] if row.key == "vms" && row.new.is_none() => number(row.old?),
            _ => None,
        },
        "backup_job" if way != Way::Creation => {
            let row = all.iter().find(|row| row.key == "vmid")?;
            if way == Way::Change && all.len() > 1 {
                return None;
            }
            let list = |value: Option<&str>| -> BTreeSet<String> {
                let parts = value.unwrap_or_default().split([',', ' ', ';']);
                let parts = parts.map(str::trim).filter(|part| !part.is_empty());
                parts.map(str::to_owned).collect()
            };
            let (old, new) = (list(row.old), list(row.new));
            let mut left = old.difference(&new);
            match (left.next(), left.next(), new.is_subset(&old)) {
                (Some(one), None, true) => number(one),
                _ => None,
            }
        }
        "replication_job" if way == Way::Deletion => number(id.split('-').next()?),
        "replication_job" => match all.as_slice() {
            [row] if row.key == "remove_job" => number(id.split('-').next()?),
            _ => None,
        },
        "ha_resource" if way == Way::Deletion => number(id.split_once(':')?.1),
        _ => None,
    }
}

/// What a difference of users and their rights says, row by row, as numbers: the file and the API write the same change in
/// other words, and have the same numbers here.
pub(super) fn marks(event: &Event) -> Vec<u64> {
    let object = event.str(NAMES.object_type).unwrap_or_default();
    if !matches!(
        object,
        "user" | "token" | "acl" | "role" | "group" | "realm"
    ) {
        return Vec::new();
    }
    let id = event.str(NAMES.object_id).unwrap_or_default();
    let mark = |object: &str, id: &str, key: &str, value: &str| {
        let whole = format!("{object}\n{id}\n{key}\n{value}");
        xxhash_rust::xxh3::xxh3_64(whole.as_bytes())
    };
    match (way(event), object) {
        (Way::Creation, _) => return vec![mark(object, id, "", "new")],
        (Way::Deletion, _) => return vec![mark(object, id, "", "gone")],
        (Way::Change, "acl") => return vec![mark(object, id, "", "changed")],
        (Way::Change, _) => {}
    }
    let mut marks = Vec::new();
    for row in rows(event) {
        let key = match row.key {
            "users" => "members",
            key => key,
        };
        if !matches!(key, "members" | "groups" | "privs") {
            // Of what is hidden only the key counts.
            let value = match row.new.unwrap_or("-") {
                hidden if hidden.contains("[redacted") => "",
                value => value,
            };
            marks.push(mark(object, id, key, value));
            continue;
        }
        let list = |value: Option<&str>| -> BTreeSet<String> {
            let parts = value.unwrap_or_default().split([',', ' ', ';']);
            let parts = parts.filter(|part| !part.is_empty());
            parts.map(str::to_owned).collect()
        };
        let (old, new) = (list(row.old), list(row.new));
        let mut both = |members: std::collections::btree_set::Difference<'_, String>, sign| {
            for member in members {
                marks.push(match key {
                    // The file has it with the group.
                    "groups" => mark("group", member, "members", &format!("{sign}{id}")),
                    key => mark(object, id, key, &format!("{sign}{member}")),
                });
            }
        };
        both(new.difference(&old), '+');
        both(old.difference(&new), '-');
    }
    marks
}

#[cfg(test)]
mod tests {
    use pipeline::testing::{Json, events, json};

    use super::super::wrote::{Share, by_task};
    use super::*;

    fn difference(code: &str, object: (&str, &str), changes: Json) -> Event {
        let mut made = events([json!({
            "event.code": code, "pve.object.type": object.0, "pve.object.id": object.1, "pve.changes": changes,
        })]);
        made.remove(0)
    }

    #[test]
    fn what_goes_with_a_guest_is_known_by_naming_it_alone() {
        let job = |old: &str, new: &str| {
            difference(
                "PVE-5122",
                ("backup_job", "nightly"),
                json!([{"key": "vmid", "old": old, "new": new}]),
            )
        };
        let right = difference(
            "PVE-3033",
            ("acl", "/vms/104|bob@pve|PVEVMUser"),
            json!([{"key": "acl", "old": "x"}]),
        );
        let pool = difference(
            "PVE-7006",
            ("pool", "blue"),
            json!([{"key": "vms", "op": "remove", "old": "104"}]),
        );
        let care = difference(
            "PVE-6033",
            ("ha_resource", "vm:104"),
            json!([{"key": "state", "op": "remove", "old": "started"}]),
        );
        let copy = difference(
            "PVE-5203",
            ("replication_job", "104-0"),
            json!([{"key": "target", "old": "pve2"}]),
        );
        for one in [&job("103,104", "103"), &right, &pool, &care, &copy] {
            assert_eq!(gone_with(one).as_deref(), Some("104"), "{one:?}");
            assert_eq!(by_task("qmdestroy", "104", one), Share::All);
            assert_eq!(by_task("qmdestroy", "105", one), Share::None);
            assert_eq!(by_task("qmsnapshot", "104", one), Share::None);
        }
        assert_eq!(gone_with(&job("103,104", "103,105")), None);
        assert_eq!(gone_with(&job("103,104,105", "103")), None);
    }

    #[test]
    fn the_file_and_the_api_say_the_same_change() {
        let file = difference(
            "PVE-3012",
            ("group", "admins"),
            json!([{"key": "members", "op": "add", "new": "bob@pve"}]),
        );
        let group = difference(
            "PVE-3012",
            ("group", "admins"),
            json!([{"key": "users", "op": "change", "old": "a@pve", "new": "a@pve,bob@pve"}]),
        );
        let user = difference(
            "PVE-3002",
            ("user", "bob@pve"),
            json!([{"key": "groups", "op": "add", "new": "admins"}]),
        );
        assert_eq!(marks(&file).len(), 1);
        assert_eq!(marks(&file), marks(&group));
        assert_eq!(marks(&file), marks(&user));
        let off = |value: &str| {
            difference(
                "PVE-3002",
                ("user", "bob@pve"),
                json!([{"key": "comment", "new": value}]),
            )
        };
        assert_eq!(marks(&off("x")), marks(&off("x")));
        assert_ne!(marks(&off("x")), marks(&off("y")));
    }
}
