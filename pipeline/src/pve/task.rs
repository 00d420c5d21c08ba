//! Types of tasks, what they mean, and what their exit texts do.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use serde::Deserialize;

use crate::catalogue::{Catalogue, Row};

/// A type of task; the rows stand in `configs/catalogue/tasks.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskType {
    /// As it stands in the UPID.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its event ID, where it ended well.
    pub code: String,
    /// What its id names: an object type, or `guest` for a VM or a container.
    pub object: String,
    /// The id names nothing; the object is the node that ran it.
    #[serde(default)]
    pub here: bool,
    /// Whether its start is an event of its own: consoles, migrations, backups, bulk actions.
    #[serde(default)]
    pub start: bool,
}

/// What was done, and to what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Act<'a> {
    /// The event ID.
    pub code: &'static str,
    /// `pve.object.type`; `guest` where nothing tells whether it is a VM or a container.
    pub object_type: &'static str,
    /// `pve.object.id`; empty where only the body of the call knows it.
    pub object_id: Cow<'a, str>,
    /// The number of the guest.
    pub vmid: Option<i64>,
}

impl Act<'_> {
    /// Its row in the catalogue.
    #[must_use]
    pub fn row(&self) -> &'static Row {
        let row = Catalogue::builtin().get(self.code);
        row.expect("a test looks up the code of every task and endpoint")
    }

    /// The same once it is known whether the guest is a `vm` or a `ct`, for types of task that both share.
    #[must_use]
    pub fn of_guest(mut self, kind: &'static str) -> Self {
        if self.object_type == "guest" {
            self.object_type = kind;
            // The last two digits of 20xx and 21xx are one verb.
            if kind == "ct" && self.code == VM_RESIZED {
                self.code = CT_RESIZED;
            }
        }
        self
    }
}

/// The class of an exit text (`PVE/UPID.pm`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// `OK`.
    Ok,
    /// `WARNINGS: n`.
    Warnings(u32),
    /// Anything else.
    Error,
    /// `unexpected status`, `0` or nothing.
    Unknown,
}

impl Exit {
    /// Of an exit text as PVE keeps it.
    #[must_use]
    pub fn of(status: &str) -> Exit {
        let warnings = || status.strip_prefix("WARNINGS: ")?.parse().ok();
        match status {
            "OK" => Exit::Ok,
            "" | "0" | "unexpected status" => Exit::Unknown,
            _ => warnings().map_or(Exit::Error, Exit::Warnings),
        }
    }

    /// `ok`, `warning`, `error` or `unknown`, for `pve.task.result`.
    #[must_use]
    pub fn result(self) -> &'static str {
        match self {
            Exit::Ok => "ok",
            Exit::Warnings(_) => "warning",
            Exit::Error => "error",
            Exit::Unknown => "unknown",
        }
    }

    /// `success`, `failure` or `unknown`, for `event.outcome`.
    #[must_use]
    pub fn outcome(self) -> &'static str {
        match self {
            Exit::Ok | Exit::Warnings(_) => "success",
            Exit::Error => "failure",
            Exit::Unknown => "unknown",
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    task: Vec<TaskType>,
}

static TYPES: LazyLock<Vec<TaskType>> = LazyLock::new(|| {
    TaskType::parse(include_str!("../../../configs/catalogue/tasks.toml"))
        .expect("a test reads the table that is built in")
});
static BY_KIND: LazyLock<HashMap<&str, &TaskType>> =
    LazyLock::new(|| TYPES.iter().map(|one| (one.kind.as_str(), one)).collect());

const BACKUP_STARTED: &str = "PVE-5101";
const BACKUP_FAILED: &str = "PVE-5103";
const BACKUP_WARNINGS: &str = "PVE-5104";
const VM_RESIZED: &str = "PVE-2015";
const CT_RESIZED: &str = "PVE-2115";
const NETWORK_APPLIED: &str = "PVE-4104";

impl TaskType {
    /// Reads a table and holds it to its rules: one row for each type, and codes that there are.
    fn parse(text: &str) -> Result<Vec<TaskType>, String> {
        let file: File = toml::from_str(text).map_err(|why| why.to_string())?;
        let mut seen = HashSet::new();
        for row in &file.task {
            if !seen.insert(&row.kind) {
                return Err(format!("task \"{}\" stands twice", row.kind));
            }
            let mut codes = row.codes().into_iter();
            if let Some(code) = codes.find(|code| Catalogue::builtin().get(code).is_none()) {
                return Err(format!("task \"{}\": {code} is no event ID", row.kind));
            }
        }
        Ok(file.task)
    }

    /// The row of a type; `None` for one that PVE's sources did not have.
    #[must_use]
    pub fn find(kind: &str) -> Option<&'static TaskType> {
        BY_KIND.get(kind).copied()
    }

    /// All, in the order of the table.
    #[must_use]
    pub fn all() -> &'static [TaskType] {
        &TYPES
    }

    /// Whether its start is an event of its own.
    #[must_use]
    pub fn starts(&self) -> bool {
        self.start
    }

    /// Every event ID that a task of this type can have, its usual one first.
    #[must_use]
    pub fn codes(&self) -> Vec<&str> {
        let others: &[&str] = match self.kind.as_str() {
            "vzdump" => &[BACKUP_STARTED, BACKUP_FAILED, BACKUP_WARNINGS],
            "resize" => &[CT_RESIZED],
            "srvreload" => &[NETWORK_APPLIED],
            _ => &[],
        };
        std::iter::once(self.code.as_str())
            .chain(others.iter().copied())
            .collect()
    }

    /// What a task of this type with this id on this node does. `exit` is `None` at its start.
    #[must_use]
    pub fn act<'a>(&'static self, id: &'a str, node: &'a str, exit: Option<Exit>) -> Act<'a> {
        let code = match (self.kind.as_str(), exit) {
            ("vzdump", None) => BACKUP_STARTED,
            ("vzdump", Some(Exit::Error | Exit::Unknown)) => BACKUP_FAILED,
            ("vzdump", Some(Exit::Warnings(_))) => BACKUP_WARNINGS,
            // PVE applies its network configuration by reloading this one "service".
            ("srvreload", _) if id == "networking" => {
                return Act {
                    code: NETWORK_APPLIED,
                    object_type: "network",
                    object_id: Cow::Borrowed(node),
                    vmid: None,
                };
            }
            _ => &self.code,
        };
        let guest = matches!(
            self.object.as_str(),
            "guest" | "vm" | "ct" | "backup" | "volume"
        );
        let digits = id.find(|c: char| !c.is_ascii_digit()).unwrap_or(id.len());
        // `100`, `100-scsi0>101-scsi1` and `104@local-lvm` name a guest; a volume or a file may begin with digits.
        let names_one = matches!(id.as_bytes().get(digits), None | Some(b'-' | b'@'))
            && (self.object != "volume" || id.as_bytes().get(digits) == Some(&b'@'));
        let vmid = id[..digits].parse().ok().filter(|_| guest && names_one);
        let object_id = match (self.object.as_str(), vmid) {
            ("vm" | "ct" | "guest", Some(_)) => Cow::Borrowed(&id[..digits]),
            ("node", _) if id.is_empty() => Cow::Borrowed(node),
            _ if self.here => Cow::Borrowed(node),
            _ => Cow::Borrowed(id),
        };
        Act {
            code,
            object_type: &self.object,
            object_id,
            vmid,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exit_text_has_one_of_four_results() {
        assert_eq!(Exit::of("OK"), Exit::Ok);
        assert_eq!(Exit::of("WARNINGS: 12"), Exit::Warnings(12));
        assert_eq!(Exit::of("WARNINGS: x"), Exit::Error);
        assert_eq!(Exit::of("unexpected status"), Exit::Unknown);
        assert_eq!(Exit::of(" OK"), Exit::Error);
        assert_eq!(Exit::of("").outcome(), "unknown");
        assert_eq!(Exit::of("job errors").result(), "error");
    }

    #[test]
    fn the_id_of_a_task_names_its_object() {
        let act = |kind: &str, id: &'static str, exit| {
            TaskType::find(kind).unwrap().act(id, "pve1", exit)
        };
        let one = act("qmdestroy", "104", Some(Exit::Ok));
        assert_eq!(
            (one.code, one.object_type, &*one.object_id, one.vmid),
            ("PVE-2002", "vm", "104", Some(104))
        );
        let one = act("qmmove", "100-scsi0>101-scsi1", None);
        assert_eq!((&*one.object_id, one.vmid), ("100", Some(100)));
        let one = act("imgdel", "104@local-lvm", None);
        assert_eq!(
            (one.object_type, &*one.object_id, one.vmid),
            ("volume", "104@local-lvm", Some(104))
        );
        assert_eq!(act("download", "13-debian.iso", None).vmid, None);
        assert_eq!(act("aptupdate", "", None).object_id, "pve1");
        let one = act("srvreload", "networking", Some(Exit::Ok));
        assert_eq!(
            (one.code, one.object_type, &*one.object_id),
            ("PVE-4104", "network", "pve1")
        );
        assert_eq!(act("srvreload", "ssh", Some(Exit::Ok)).code, "PVE-6044");
        assert_eq!(act("clusterjoin", "", Some(Exit::Ok)).object_id, "pve1");
        assert_eq!(act("acmerenew", "", Some(Exit::Ok)).object_id, "pve1");
        assert_eq!(act("vzdump", "", None).code, "PVE-5101");
        assert_eq!(act("vzdump", "", Some(Exit::Error)).code, "PVE-5103");
        assert_eq!(act("vzdump", "104", Some(Exit::Ok)).vmid, Some(104));
    }

    #[test]
    fn a_table_that_breaks_a_rule_is_refused_with_the_reason() {
        let row = |code: &str| format!("{{ type = \"x\", code = \"{code}\", object = \"vm\" }},");
        let parse = |rows: String| TaskType::parse(&format!("task = [{rows}]"));
        let one = row("PVE-2001");
        assert_eq!(parse(one.clone()).unwrap().len(), 1);
        assert_eq!(parse(one.repeat(2)).unwrap_err(), "task \"x\" stands twice");
        assert_eq!(
            parse(row("PVE-2999")).unwrap_err(),
            "task \"x\": PVE-2999 is no event ID"
        );
        assert!(parse(one.replace("object", "objekt")).is_err());
        let applied = Catalogue::builtin().get(NETWORK_APPLIED).unwrap();
        assert_eq!(applied.action, "network-apply");
        for code in [BACKUP_STARTED, BACKUP_FAILED, BACKUP_WARNINGS] {
            assert_eq!(Catalogue::builtin().get(code).unwrap().object, "backup");
        }
    }
}
