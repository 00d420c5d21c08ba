//! Addresses of the cluster's nodes, from its own list.

use std::path::Path;

/// The addresses in `.members`; none where there is no such file, or where it makes no sense.
pub(super) fn addresses(path: &Path) -> Vec<String> {
    let Ok(Some(text)) = crate::event_id::policy::watch::read(path) else {
        return Vec::new();
    };
    let Ok(json) = serde_json::from_str::<serde_json::Value>(&text) else {
        return Vec::new();
    };
    let nodes = json.get("nodelist").and_then(|nodes| nodes.as_object());
    let ips = nodes.into_iter().flat_map(|nodes| nodes.values());
    let mut ips: Vec<String> = ips
        .filter_map(|node| Some(node.get("ip")?.as_str()?.to_owned()))
        .filter(|ip| ip.parse::<std::net::IpAddr>().is_ok())
        .collect();
    ips.sort();
    ips
}
