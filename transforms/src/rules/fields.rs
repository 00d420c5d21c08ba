//! Fields that an event can have: those of the schema, and those that rule files declare (`fields = […]`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use pipeline::config::nearest;

/// The mapping of the search index is the list of the schema's fields.
const MAPPINGS: &str = include_str!("../../../configs/setup/elasticsearch/mappings.json");

/// Fields that the index leaves out, or keeps as one.
const MORE: &[&str] = &[
    "@timestamp",
    "event.id",
    "pve.params",
    "pve.extra",
    "pve.changes.key",
    "pve.changes.op",
    "pve.changes.old",
    "pve.changes.new",
    "pve.changes.redacted",
    "pve.overflow",
    "labels",
    "message",
    "pve.firewall.rule",
    "process.command_line",
    "process.executable",
    "process.user.id",
    "process.group.id",
    "host.boot.id",
    "host.id",
    "network.type",
    "observer.ingress.interface.name",
    "observer.egress.interface.name",
    "tls.client.subject",
    "tls.client.x509.alternative_names",
    "log.logger",
];

/// Names below these come from the data.
const OPEN: &[&str] = &[
    "pve.params.",
    "pve.extra.",
    "labels.",
    "log.syslog.structured_data.",
];

static SCHEMA: LazyLock<BTreeSet<String>> = LazyLock::new(|| {
    let mut all: BTreeSet<String> = MORE.iter().map(|name| (*name).to_owned()).collect();
    let json = serde_json::from_str(MAPPINGS).expect("a test reads the mapping that is built in");
    walk(&json, "", &mut all);
    all
});

fn walk(mapping: &serde_json::Value, path: &str, all: &mut BTreeSet<String>) {
    let mapping = mapping.get("mappings").unwrap_or(mapping);
    let Some(properties) = mapping["properties"].as_object() else {
        if !path.is_empty() {
            all.insert(path.to_owned());
        }
        return;
    };
    if mapping["type"].as_str() == Some("nested") {
        all.insert(path.to_owned());
    }
    for (name, inner) in properties {
        let path = if path.is_empty() {
            name.clone()
        } else {
            format!("{path}.{name}")
        };
        walk(inner, &path, all);
    }
}

/// Names that count as known.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    pub(super) declared: BTreeSet<String>,
}

/// Values that fields of a fixed set can have.
static VALUES: LazyLock<BTreeMap<&str, &[&str]>> = LazyLock::new(|| {
    BTreeMap::from([
        ("event.outcome", &["success", "failure", "unknown"][..]),
        ("pve.task.phase", &["start", "end"][..]),
        (
            "pve.actor.kind",
            &[
                "user", "token", "schedule", "ha", "system", "pipeline", "unknown",
            ][..],
        ),
        ("pve.record", &["primary", "evidence"][..]),
        (
            "event.kind",
            &["event", "alert", "state", "pipeline_error"][..],
        ),
    ])
});

impl Known {
    /// Whether an event can have it; otherwise what to write.
    pub(super) fn check(&self, name: &str) -> Result<(), String> {
        let open = OPEN
            .iter()
            .any(|open| name.len() > open.len() && name.starts_with(open));
        if open || SCHEMA.contains(name) || self.declared.contains(name) {
            return Ok(());
        }
        // The last word alone says more than the whole: "user" is nearer to "user.id" than to "user.name".
        let names = || SCHEMA.iter().chain(&self.declared).map(String::as_str);
        Err(match nearest(name, names()) {
            Some(meant) => format!("did you mean \"{meant}\"?"),
            None => format!(
                "declare it, if something makes it: fields = [\"{name}\"] at the top of the file"
            ),
        })
    }

    /// The values that the field can have, if they are a fixed set.
    pub(super) fn values(name: &str) -> Option<&'static [&'static str]> {
        VALUES.get(name).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_is_known_and_a_misspelling_is_told() {
        let known = Known::default();
        for name in [
            "user.id",
            "event.code",
            "pve.task.phase",
            "pve.changes",
            "pve.changes.key",
            "pve.params.role",
            "pve.change_keys",
            "pve.vmid",
            "source.ip",
            "pve.token.id",
            "host.name",
        ] {
            assert_eq!(known.check(name), Ok(()), "{name}");
        }
        assert_eq!(
            known.check("user.ids"),
            Err("did you mean \"user.id\"?".to_owned())
        );
        assert_eq!(
            known.check("event.outcom"),
            Err("did you mean \"event.outcome\"?".to_owned())
        );
        assert!(
            known
                .check("zzz")
                .is_err_and(|help| help.contains("fields = [\"zzz\"]"))
        );
    }
}
