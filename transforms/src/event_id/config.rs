//! Changed objects as `pve_config` and `pve_api` tell them, and states.

use pipeline::{Event, Value, ValueRef};

use super::names::NAMES;
use super::seen::Seen;

/// Whether it tells of changed keys.
pub(super) fn is_one(event: &Event) -> bool {
    event.has(NAMES.changes) || event.str(NAMES.origin) == Some("config")
}

/// What was done to the object.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Created,
    Changed,
    Deleted,
}

/// What a changed object says: the code by the type of the object, what was done to it, and which keys.
pub(super) fn understand(event: &Event) -> Seen {
    let n = &*NAMES;
    let way = way(event);
    let object = event.str(n.object_type).unwrap_or("file");
    let value = |key: &str, side: &str| {
        let Some(ValueRef::List(rows)) = event.get(n.changes) else {
            return None;
        };
        rows.iter().find_map(|row| {
            let Value::Map(row) = row else { return None };
            let part = |name: &str| {
                row.iter()
                    .find(|(held, _)| held == name)
                    .and_then(|(_, value)| value.as_ref().as_str())
            };
            (part("key") == Some(key)).then(|| part(side).unwrap_or_default().to_owned())
        })
    };
    let set = |key: &str| value(key, "new");
    let three = |codes: [&'static str; 3]| codes[way as usize];
    let code = match object {
        // Its file lies in another node's folder now.
        "vm" if way == Way::Changed && set("node").is_some_and(|node| !node.is_empty()) => {
            "PVE-2011"
        }
        "ct" if way == Way::Changed && set("node").is_some_and(|node| !node.is_empty()) => {
            "PVE-2111"
        }
        "vm" => three(["PVE-2001", "PVE-2014", "PVE-2002"]),
        "ct" => three(["PVE-2101", "PVE-2114", "PVE-2102"]),
        "user" => match (way, set("enable").as_deref()) {
            (Way::Changed, Some("0")) => "PVE-3005",
            (Way::Changed, Some("1")) => "PVE-3004",
            _ => three(["PVE-3001", "PVE-3002", "PVE-3003"]),
        },
        "group" => three(["PVE-3011", "PVE-3012", "PVE-3013"]),
        "role" => three(["PVE-3021", "PVE-3022", "PVE-3023"]),
        "acl" => three(["PVE-3032", "PVE-3031", "PVE-3033"]),
        "token" => match (way, set("privsep").as_deref()) {
            (Way::Changed, Some("0")) => "PVE-3044",
            _ => three(["PVE-3041", "PVE-3042", "PVE-3043"]),
        },
        "tfa" => three(["PVE-3051", "PVE-3052", "PVE-3053"]),
        // A job that reads users in, not a realm.
        "realm" if file(event).is_some_and(|path| path.ends_with("jobs.cfg")) => "PVE-7004",
        "realm" => three(["PVE-3061", "PVE-3062", "PVE-3063"]),
        "firewall_rule" => match way {
            Way::Changed if value("pos", "new").is_some() => "PVE-4004",
            _ => three(["PVE-4001", "PVE-4002", "PVE-4003"]),
        },
        "firewall_options" => match set("enable").as_deref() {
            Some("0") => "PVE-4006",
            Some("1") => "PVE-4007",
            // Off is what counts where nothing is said, but on nodes.
            _ if value("enable", "old").as_deref() == Some("1")
                && set("enable").is_none_or(|new| new.is_empty())
                && !event
                    .str(NAMES.object_id)
                    .is_some_and(|id| id.starts_with("node/")) =>
            {
                "PVE-4006"
            }
            _ => "PVE-4005",
        },
        "firewall_group" => three(["PVE-4011", "PVE-4012", "PVE-4013"]),
        "ipset" => three(["PVE-4021", "PVE-4022", "PVE-4023"]),
        "alias" => three(["PVE-4031", "PVE-4032", "PVE-4033"]),
        "network" => three(["PVE-4101", "PVE-4102", "PVE-4103"]),
        "sdn" => "PVE-4201",
        "pool" => three(["PVE-7005", "PVE-7006", "PVE-7007"]),
        "storage" => three(["PVE-5001", "PVE-5002", "PVE-5003"]),
        "backup_job" => match (way, set("enabled").as_deref()) {
            (Way::Changed, Some("0")) => "PVE-5124",
            _ => three(["PVE-5121", "PVE-5122", "PVE-5123"]),
        },
        "replication_job" => three(["PVE-5201", "PVE-5202", "PVE-5203"]),
        "ha_resource" => "PVE-6033",
        "certificate" => "PVE-6061",
        "notification" => "PVE-6092",
        "mapping"
            if event
                .str(NAMES.object_id)
                .is_some_and(|id| id.starts_with("cpu/")) =>
        {
            "PVE-7002"
        }
        "mapping" => "PVE-7003",
        "node" => match (way, set("online").as_deref()) {
            (Way::Changed, Some("0")) => "PVE-6004",
            (Way::Changed, Some("1")) => "PVE-6005",
            (Way::Created, _) if value("online", "new").is_some() => "PVE-6011",
            (Way::Deleted, _) if value("online", "old").is_some() => "PVE-6012",
            _ => "PVE-6072",
        },
        "cluster" if set("quorate").as_deref() == Some("0") => "PVE-6021",
        "cluster" if set("quorate").as_deref() == Some("1") => "PVE-6022",
        "cluster"
            if event
                .str(NAMES.object_id)
                .is_some_and(|id| id.starts_with("metrics/")) =>
        {
            "PVE-6091"
        }
        "cluster"
            if event.str(NAMES.object_id) == Some("corosync")
                || file(event).is_some_and(|path| path.ends_with("corosync.conf")) =>
        {
            "PVE-7011"
        }
        "cluster" => "PVE-7001",
        _ => "PVE-7099",
    };
    // Who did it is found by whoever joins it with a call or a task.
    let mut seen = Seen::new(code, "success");
    if let Some(target) = target(object, event) {
        seen.target = Some(target);
    }
    seen.actor("unknown")
}

fn file(event: &Event) -> Option<&str> {
    event.str(NAMES.changed_file)
}

fn way(event: &Event) -> Way {
    let has = |word: &str| match event.get(NAMES.class) {
        Some(ValueRef::List(words)) => words
            .iter()
            .any(|held| held.as_ref().as_str() == Some(word)),
        Some(ValueRef::Str(held)) => held == word,
        _ => false,
    };
    if has("creation") {
        Way::Created
    } else if has("deletion") {
        Way::Deleted
    } else {
        Way::Changed
    }
}

/// Whose account an object of the access rules is.
fn target(object: &str, event: &Event) -> Option<String> {
    let id = event.str(NAMES.object_id)?;
    match object {
        "user" => Some(id.to_owned()),
        "token" => Some(id.split('!').next().unwrap_or(id).to_owned()),
        "tfa" => Some(id.split('/').next().unwrap_or(id).to_owned()),
        "acl" => id
            .split('|')
            .nth(1)
            .filter(|member| member.contains('@'))
            .map(str::to_owned),
        _ => None,
    }
}

/// A state: the inventory as it is, not an act.
pub(super) fn state(event: &Event) -> Seen {
    let code = match event.str(NAMES.object_type) {
        Some("vm" | "ct") => "PVE-6081",
        Some("storage") => "PVE-6082",
        Some("user" | "token" | "acl" | "role" | "group" | "realm" | "tfa") => "PVE-3071",
        _ => "PVE-6079",
    };
    let seen = Seen::new(code, "success")
        .actor("system")
        .with(NAMES.kind, "state");
    match way(event) {
        // It is there no more, which is its last state.
        Way::Deleted => seen.with(NAMES.class, Value::List(vec!["deletion".into()])),
        _ => seen,
    }
}

#[cfg(test)]
mod tests {
    use pipeline::{events, testing};

    #[test]
    fn a_state_is_no_act_and_the_last_one_says_so() {
        for (kind, code) in [
            ("vm", "PVE-6081"),
            ("acl", "PVE-3071"),
            ("node", "PVE-6079"),
        ] {
            let mut event_id = testing::transform::<super::super::Config>("");
            let input = events![{
                "pve": {"origin": "api", "object": {"type": kind, "id": "x"}, "state": {"status": "gone"}},
                "event": {"kind": "state", "type": ["deletion"]}, "host": {"name": "pve1"}, "message": "m",
            }];
            let event = event_id.feed(input).events()[0].to_json();
            assert_eq!(event["event"]["code"], code);
            assert_eq!(event["event"]["kind"], "state");
            assert_eq!(event["event"]["type"], serde_json::json!(["deletion"]));
        }
    }

    #[test]
    fn a_node_that_goes_and_a_quorum_that_is_lost_over_the_api_have_their_codes() {
        let change = |kind: &str, key: &str, new: &str| {
            events![{
                "pve": {"origin": "api", "object": {"type": kind, "id": "pve2"},
                    "changes": [{"key": key, "op": "change", "old": "", "new": new}]},
                "event": {"type": ["change"]}, "host": {"name": "pve1"}, "message": "node pve2 changed",
            }]
        };
        for (kind, key, new, code) in [
            ("node", "online", "0", "PVE-6004"),
            ("node", "online", "1", "PVE-6005"),
            ("node", "ip", "192.0.2.7", "PVE-6072"),
            ("cluster", "quorate", "0", "PVE-6021"),
            ("cluster", "quorate", "1", "PVE-6022"),
        ] {
            let mut event_id = testing::transform::<super::super::Config>("");
            let out = event_id.feed(change(kind, key, new));
            let event = out.events()[0].to_json();
            assert_eq!(event["event"]["code"], code, "{kind} {key}");
        }
    }
}
