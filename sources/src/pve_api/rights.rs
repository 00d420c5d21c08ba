//! What the token may see, and what it costs where that is not all.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Collect;

/// A right that is needed for something.
struct Need {
    collect: Collect,
    path: &'static str,
    right: &'static str,
    cost: &'static str,
}

const NEEDS: [Need; 9] = [
    Need {
        collect: Collect::Tasks,
        path: "/nodes",
        right: "Sys.Audit",
        cost: "of the tasks only the token's own are seen",
    },
    Need {
        collect: Collect::ClusterLog,
        path: "/",
        right: "Sys.Syslog",
        cost: "of the cluster log only the token's own entries are seen (the role PVEAuditor does not hold this right: add a role with Sys.Syslog)",
    },
    Need {
        collect: Collect::Status,
        path: "/",
        right: "Sys.Audit",
        cost: "nobody sees a node going away or the quorum being lost",
    },
    Need {
        collect: Collect::Inventory,
        path: "/vms",
        right: "VM.Audit",
        cost: "guests have no names, and their states are not seen",
    },
    Need {
        collect: Collect::Inventory,
        path: "/nodes",
        right: "Sys.Audit",
        cost: "the states of nodes are not seen",
    },
    Need {
        collect: Collect::Inventory,
        path: "/storage",
        right: "Datastore.Audit",
        cost: "the states of storages are not seen",
    },
    Need {
        collect: Collect::Inventory,
        path: "/pool",
        right: "Pool.Audit",
        cost: "the pools of guests are not seen",
    },
    Need {
        collect: Collect::Access,
        path: "/access",
        right: "Sys.Audit",
        cost: "changes of users, tokens, groups, roles and ACL entries are not seen",
    },
    Need {
        collect: Collect::Access,
        path: "/access/groups",
        right: "Sys.Audit",
        cost: "changes of users and groups are not seen",
    },
];

/// One right, and whether the token has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Right {
    pub(super) collect: Collect,
    /// Like `Sys.Syslog on /`.
    pub(super) name: String,
    pub(super) held: bool,
    pub(super) cost: &'static str,
}

/// What `/access/permissions` says of all that is needed.
pub(super) fn check(permissions: &Value, collect: &[Collect]) -> Vec<Right> {
    let held: BTreeMap<&str, &Value> = permissions
        .as_object()
        .map(|map| map.iter().map(|(k, v)| (k.as_str(), v)).collect())
        .unwrap_or_default();
    let needs = NEEDS.iter().filter(|need| collect.contains(&need.collect));
    needs
        .map(|need| Right {
            collect: need.collect,
            name: format!("the right {} on {}", need.right, need.path),
            held: has(&held, need.path, need.right),
            cost: need.cost,
        })
        .collect()
}

/// Whether the right is held on the path itself, or further up and handed down. What stands at a path replaces what stands
/// above it.
fn has(held: &BTreeMap<&str, &Value>, path: &str, right: &str) -> bool {
    let mut at = path;
    loop {
        if let Some(rights) = held.get(at) {
            let handed_down = super::rows::number(rights.get(right));
            return match handed_down {
                Some(down) => at == path || down == 1,
                None => false,
            };
        }
        if at == "/" {
            return false;
        }
        at = match at.rfind('/') {
            Some(0) | None => "/",
            Some(slash) => &at[..slash],
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_auditor_without_syslog_is_told_what_it_costs() {
        let all = [
            Collect::Tasks,
            Collect::ClusterLog,
            Collect::Status,
            Collect::Inventory,
            Collect::Access,
        ];
        let auditor =
            json!({"/": {"Sys.Audit": 1, "VM.Audit": 1, "Datastore.Audit": 1, "Pool.Audit": 1}});
        let missing = |permissions: &Value| -> Vec<String> {
            let rights = check(permissions, &all);
            let missing = rights.into_iter().filter(|right| !right.held);
            missing.map(|right| right.name).collect()
        };
        assert_eq!(missing(&auditor), ["the right Sys.Syslog on /"]);
        // Not handed down.
        let only = json!({"/": {"Sys.Audit": 0, "Sys.Syslog": 0}});
        assert!(missing(&only).contains(&"the right Sys.Audit on /nodes".to_owned()));
        assert!(!missing(&only).contains(&"the right Sys.Audit on /".to_owned()));
        assert_eq!(missing(&json!([])).len(), NEEDS.len());
    }
}
