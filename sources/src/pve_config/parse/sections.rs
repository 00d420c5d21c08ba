//! Sections `type: id` with indented keys: storage, jobs, realms, HA, SDN, mappings, notifications, metrics.

use std::collections::HashMap;

use super::super::model::Builder;

/// Keys whose value is a list in which order means nothing.
const LISTS: &[&str] = &[
    "content",
    "nodes",
    "vmid",
    "exclude",
    "resources",
    "groups",
    "peers",
    "mailto",
    "target",
];

/// Keys that may stand in a section several times.
const SETS: &[&str] = &[
    "map",
    "header",
    "secret",
    "match-field",
    "match-calendar",
    "match-severity",
    "mailto-user",
];

/// One section on its way.
#[derive(Default)]
struct Section<'t> {
    kind: &'t str,
    id: &'t str,
    keys: Vec<(&'t str, &'t str)>,
}

/// `which` says what the sections are.
pub(super) fn parse(text: &str, which: &str, to: &mut Builder<'_>) {
    let mut section: Option<Section<'_>> = None;
    for line in text.lines() {
        let line = line.trim_end();
        if line.is_empty() {
            continue;
        }
        if line.starts_with([' ', '\t']) {
            let line = line.trim_start();
            let (key, value) = line.split_once([' ', '\t']).unwrap_or((line, ""));
            match &mut section {
                Some(section) => section.keys.push((key, value.trim_start())),
                None => to.unparsed(line),
            }
            continue;
        }
        if let Some(done) = section.take() {
            put(&done, which, to);
        }
        match head(line, which) {
            Some((kind, id)) => {
                section = Some(Section {
                    kind,
                    id,
                    keys: Vec::new(),
                });
            }
            None => to.unparsed(line),
        }
    }
    if let Some(done) = section {
        put(&done, which, to);
    }
}

fn head<'t>(line: &'t str, which: &str) -> Option<(&'t str, &'t str)> {
    if line.starts_with('#') {
        return None;
    }
    let (kind, id) = match line.split_once(':') {
        Some((kind, id)) => (kind, id.trim()),
        None if which.starts_with("mapping/") => ("", line),
        None => return None,
    };
    (!id.is_empty() && !id.contains(char::is_whitespace)).then_some((kind, id))
}

/// The object that a section is: `audit_event.md` 2, and the ids that the API's calls give it.
fn name(section: &Section<'_>, which: &str) -> (&'static str, String) {
    let id = section.id;
    match which {
        "storage" => ("storage", id.to_owned()),
        "jobs" if section.kind == "vzdump" => ("backup_job", id.to_owned()),
        "jobs" if section.kind == "realm-sync" => ("realm", id.to_owned()),
        "jobs" => ("file", format!("jobs.cfg/{id}")),
        "replication" => ("replication_job", id.to_owned()),
        "domains" => ("realm", id.to_owned()),
        "status" => ("cluster", format!("metrics/{id}")),
        "notifications" => ("notification", id.to_owned()),
        "ha/resources" => ("ha_resource", format!("{}:{id}", section.kind)),
        "ha/groups" => ("ha_resource", format!("group/{id}")),
        "ha/rules" => ("ha_resource", format!("rule/{id}")),
        "cpu" => ("mapping", format!("cpu/{id}")),
        "sdn/subnets" => {
            let vnet = section.keys.iter().find(|(key, _)| *key == "vnet");
            let vnet = vnet.map_or("?", |(_, vnet)| vnet);
            ("sdn", format!("vnets/{vnet}/subnets/{id}"))
        }
        "sdn/other" => ("sdn", format!("{}/{id}", section.kind)),
        _ => match which.split_once('/') {
            Some(("mapping", kind)) => ("mapping", format!("{kind}/{id}")),
            Some(("sdn", kind)) => ("sdn", format!("{kind}/{id}")),
            _ => ("file", id.to_owned()),
        },
    }
}

fn put(section: &Section<'_>, which: &str, to: &mut Builder<'_>) {
    let (kind, mut id) = name(section, which);
    // A target and a matcher of notifications may have the same name.
    if to.has(kind, &id) {
        id = format!("{id} ({})", section.kind);
    }
    let name = (kind, &*id);
    to.object(kind, &id);
    if !section.kind.is_empty() {
        to.put(name, "type", section.kind);
    }
    let mut times: HashMap<&str, u32> = HashMap::new();
    for (key, _) in &section.keys {
        *times.entry(key).or_default() += 1;
    }
    for (key, value) in &section.keys {
        // Notes of jobs and storages escape what is special.
        let value = match *key {
            "comment" | "notes" => super::unescape(value),
            _ => (*value).into(),
        };
        if times[key] > 1 || SETS.contains(key) {
            to.member(name, key, &value);
        } else if LISTS.contains(key) {
            to.put(name, key, &sorted(&value));
        } else {
            to.put(name, key, &value);
        }
    }
}

fn sorted(list: &str) -> String {
    let mut parts: Vec<&str> = list.split(',').map(str::trim).collect();
    parts.sort_unstable();
    parts.dedup();
    parts.join(",")
}
