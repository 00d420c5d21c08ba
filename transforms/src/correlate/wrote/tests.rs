//! Types of tasks and words of calls against the keys that differ.

use pipeline::testing::{Json, events, json};

use super::*;

fn difference(code: &str, object: (&str, &str), changes: Json) -> Event {
    let mut made = events([json!({
        "event.code": code, "pve.object.type": object.0, "pve.object.id": object.1, "pve.changes": changes,
    })]);
    made.remove(0)
}

/// Of VM 104: key, old and new value.
fn vm(rows: &[(&str, Option<&str>, Option<&str>)]) -> Event {
    let row = |(key, old, new): &(&str, Option<&str>, Option<&str>)| {
        let mut row = json!({"key": key});
        for (side, value) in [("old", old), ("new", new)] {
            if let Some(value) = value {
                row[side] = json!(value);
            }
        }
        row
    };
    let rows: Vec<Json> = rows.iter().map(row).collect();
    difference("PVE-2014", ("vm", "104"), json!(rows))
}

#[test]
fn a_task_has_written_what_such_tasks_write_and_nothing_else() {
    let new = |key: &'static str| (key, None, Some("x"));
    let hook = new("hookscript");
    let moved = (
        "scsi0",
        Some("a:vm-104-disk-0,size=8G"),
        Some("b:vm-104-disk-1,size=8G"),
    );
    let grown = (
        "scsi0",
        Some("a:vm-104-disk-0,size=8G"),
        Some("a:vm-104-disk-0,size=9G"),
    );
    for (kind, own) in [
        (
            "qmsnapshot",
            vec![new("snapshot/one"), new("parent"), new("lock")],
        ),
        (
            "qmdelsnapshot",
            vec![
                ("snapshot/one", Some("x"), None),
                new("snapshot/two/parent"),
                new("parent"),
            ],
        ),
        ("qmrollback", vec![new("memory"), new("parent")]),
        ("resize", vec![grown]),
        ("qmmove", vec![moved, new("unused0")]),
        (
            "qmigrate",
            vec![("node", Some("pve1"), Some("pve2")), moved],
        ),
        ("qmtemplate", vec![new("template"), moved]),
        (
            "qmstart",
            vec![
                ("pending/memory", Some("8192"), None),
                ("memory", Some("1"), Some("8192")),
            ],
        ),
        ("vzdump", vec![new("snapshot/vzdump"), new("lock")]),
    ] {
        assert_eq!(by_task(kind, "104", &vm(&own)), Share::All, "{kind}");
        let firewall = difference(
            "PVE-4001",
            ("firewall_rule", "vm/104/rules/0"),
            json!([{"key": "action", "new": "ACCEPT"}]),
        );
        assert_eq!(by_task(kind, "104", &firewall), Share::None, "{kind}");
        if kind == "qmrollback" {
            continue;
        }
        assert_eq!(by_task(kind, "104", &vm(&[hook])), Share::None, "{kind}");
        let both: Vec<_> = own.iter().copied().chain([hook]).collect();
        assert_eq!(by_task(kind, "104", &vm(&both)), Share::Part, "{kind}");
    }
    // Of two disks, or two snapshots, one is somebody else's.
    let other = ("scsi1", grown.1, grown.2);
    assert_ne!(by_task("resize", "104", &vm(&[grown, other])), Share::All);
    assert_ne!(
        by_task(
            "qmsnapshot",
            "104",
            &vm(&[new("snapshot/one"), new("snapshot/two")])
        ),
        Share::All
    );
    // A disk that moved and was changed besides.
    let tuned = (
        "scsi0",
        Some("a:vm-104-disk-0,size=8G"),
        Some("b:vm-104-disk-1,size=8G,cache=unsafe"),
    );
    assert_eq!(by_task("qmigrate", "104", &vm(&[tuned])), Share::None);
    // It was never pending.
    assert_eq!(
        by_task(
            "qmstart",
            "104",
            &vm(&[("memory", Some("1"), Some("8192"))])
        ),
        Share::None
    );
    for kind in ["qmcreate", "qmrestore", "qmdestroy"] {
        assert_eq!(by_task(kind, "104", &vm(&[hook])), Share::All, "{kind}");
    }
}

#[test]
fn the_words_of_a_call_name_its_keys() {
    let named: Vec<Box<str>> = ["memory", "scsi1"].map(Into::into).into();
    let changed = |key: &'static str| vm(&[(key, Some("1"), Some("2"))]);
    for key in [
        "memory",
        "pending/memory",
        "scsi1",
        "unused0",
        "boot",
        "vmgenid",
        "digest",
        "pending/delete",
    ] {
        assert!(by_words(&named, &changed(key)), "{key}");
    }
    for key in [
        "hookscript",
        "args",
        "pending/args",
        "snapshot/a/memory",
        "parent",
        "net0",
    ] {
        assert!(!by_words(&named, &changed(key)), "{key}");
    }
    // It says nothing of itself.
    assert!(by_words(&[], &changed("hookscript")));
    assert!(!by_words(&[], &changed("snapshot/a/memory")));
}
