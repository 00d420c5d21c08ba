//! Lines of the cluster: HA, pmxcfs, corosync, the watchdog.
//!
//! Facts: `PVE/HA/*.pm`, `pmxcfs/*.c`, corosync's `totemsrp.c` and `vsf_quorum.c`, kronosnet.

use pipeline::Value;

use super::lines::Line;
use super::names::NAMES;
use super::seen::Seen;

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(before)?;
    Some(rest.split_once(after)?.0)
}

fn changed(seen: Seen, old: &str, new: &str) -> Seen {
    let n = &*NAMES;
    let row = [
        ("key", "state"),
        ("op", "change"),
        ("old", old),
        ("new", new),
    ];
    let row = row.map(|(key, value)| (key.to_owned(), Value::Str(value.to_owned())));
    seen.with(n.changes, Value::List(vec![Value::Map(row.to_vec())]))
        .with(n.change_keys, Value::List(vec!["state".into()]))
}

/// pve-ha-crm and pve-ha-lrm.
pub(super) fn ha(line: Line<'_>) -> Option<Seen> {
    let text = line.text;
    if let Some(node) = text
        .strip_prefix("node '")
        .and_then(|rest| rest.split('\'').next())
        && let Some(old) = between(text, "state changed from '", "'")
        && let Some(new) = between(text, "=> '", "'")
    {
        let code = if new == "fence" {
            "PVE-6032"
        } else {
            "PVE-6031"
        };
        let kind = if new == "fence" {
            "node"
        } else {
            "ha_resource"
        };
        let seen = Seen::new(code, "success")
            .object(kind, node)
            .actor("ha")
            .local();
        return Some(changed(seen, old, new));
    }
    if let Some(sid) = text
        .strip_prefix("service '")
        .and_then(|rest| rest.split('\'').next())
        && let Some(old) = between(text, "state changed from '", "'")
        && let Some(new) = between(text, " to '", "'")
    {
        return Some(changed(service("PVE-6037", sid), old, new));
    }
    if let Some(node) = between(
        text,
        "fencing: acknowledged - got agent lock for node '",
        "'",
    ) {
        return Some(
            Seen::new("PVE-6032", "success")
                .object("node", node)
                .actor("ha")
                .local()
                .evidence(),
        );
    }
    for before in ["adding new service '", "removing stale service '"] {
        if let Some(sid) = text
            .strip_prefix(before)
            .and_then(|rest| rest.split('\'').next())
        {
            // The call, or the changed file, says who.
            return Some(service("PVE-6033", sid).evidence());
        }
    }
    if let Some(rest) = text.strip_prefix("got crm command: ") {
        let mut parts = rest.split(' ');
        let (command, sid) = (parts.next()?, parts.next()?);
        return Some(
            service("PVE-6035", sid)
                .with(NAMES.command, command)
                .evidence(),
        );
    }
    if text.starts_with("recover service '") || text.starts_with("unable to start service ") {
        let sid = between(text, "service '", "'").or_else(|| between(text, "service ", " "))?;
        let outcome = if text.starts_with("unable") {
            "failure"
        } else {
            "success"
        };
        let mut seen = service("PVE-6037", sid);
        seen.outcome = outcome;
        return Some(seen.because(text));
    }
    if let Some(rest) = text.strip_prefix("status change ") {
        let (old, new) = rest.split_once(" => ")?;
        let seen = Seen::new("PVE-6031", "success")
            .object("ha_resource", line.node)
            .actor("ha")
            .local();
        return Some(changed(seen, old, new));
    }
    if let Some(rest) = text.strip_prefix("crm command ") {
        let (command, why) = rest.split_once(" error - ")?;
        let sid = command.split(' ').nth(1)?.trim_matches('\'');
        let mut seen = service("PVE-6035", sid)
            .with(NAMES.command, command)
            .evidence();
        seen.outcome = "failure";
        return Some(seen.because(why));
    }
    for (before, code) in [
        ("migrate service '", "PVE-6035"),
        ("relocate service '", "PVE-6035"),
        ("service status ", "PVE-6037"),
    ] {
        if let Some(rest) = text.strip_prefix(before) {
            let sid = rest.split(['\'', ' ']).next()?;
            return Some(service(code, sid).evidence().because(text));
        }
    }
    if text.contains("lost lock '") || text.contains("master seems offline") {
        let seen = Seen::new("PVE-6031", "success")
            .object("ha_resource", line.node)
            .actor("ha")
            .local();
        return Some(seen.because(text).evidence());
    }
    super::system::daemon(line)
}

/// `vm:100` or `ct:101`.
fn service(code: &'static str, sid: &str) -> Seen {
    let seen = Seen::new(code, "success")
        .object("ha_resource", sid)
        .actor("ha")
        .local();
    match sid.split_once(':').and_then(|(_, vmid)| vmid.parse().ok()) {
        Some(vmid) => Seen {
            vmid: Some(vmid),
            ..seen
        },
        None => seen,
    }
}

/// What pmxcfs says while all is well.
const ROUTINE: [&str; 18] = [
    "received log",
    "received sync request",
    "received all states",
    "leader is ",
    "synced members",
    "all data is up to date",
    "data verification successful",
    "dfsm_deliver_queue",
    "starting data synchronization",
    "sent all ",
    "waiting for updates from leader",
    "update cluster info",
    "cpg_send_message retr",
    "cpg_join retry",
    "start cluster connection",
    "resolved node name",
    "RRDC update error",
    "RRD update error",
];

/// `[domain] prio: text`
pub(super) fn pmxcfs(line: Line<'_>) -> Option<Seen> {
    let (_, text) = line.text.strip_prefix('[')?.split_once("] ")?;
    let (_, text) = text.split_once(": ")?;
    let of = |code| {
        Some(
            Seen::new(code, "success")
                .object("cluster", line.node)
                .actor("system")
                .local(),
        )
    };
    match text {
        "node lost quorum" => of("PVE-6021"),
        "node has quorum" => of("PVE-6022"),
        _ if text.starts_with("wrote new corosync config") => Some(of("PVE-7011")?.evidence()),
        _ if text.starts_with("members: ") || text.starts_with("starting data syncronisation") => {
            Some(of("PVE-6025")?.evidence())
        }
        _ if line.text.contains("crit: ") => {
            let mut seen = of("PVE-6078")?.object("service", "pmxcfs").because(text);
            seen.outcome = "failure";
            Some(seen)
        }
        _ if ROUTINE.iter().any(|known| text.starts_with(known)) => {
            Some(of("PVE-6078")?.object("service", "pmxcfs").evidence())
        }
        _ => None,
    }
}

/// `[SUBSYS] text`
pub(super) fn corosync(line: Line<'_>) -> Option<Seen> {
    let (subsystem, text) = line.text.trim_start().strip_prefix('[')?.split_once("] ")?;
    let (subsystem, text) = (subsystem.trim(), text.trim());
    let of = |code, id: String| {
        Some(
            Seen::new(code, "success")
                .object("cluster", id)
                .actor("system")
                .local(),
        )
    };
    let link = || {
        // `host: host: 2 has no active links` says the word twice.
        let host = text.rsplit("host: ").next()?.split(' ').next()?;
        // `link: host: 2 link: 0 is down`: the first is no number of a link.
        let link = text
            .rsplit_once("link: ")
            .and_then(|(_, rest)| rest.split(' ').next());
        Some(match link {
            Some(link) if !text.contains("best link") => format!("host {host} link {link}"),
            _ => format!("host {host}"),
        })
    };
    match subsystem {
        "KNET" if text.ends_with("is down") || text.ends_with("has no active links") => {
            of("PVE-6023", link()?)
        }
        "KNET" if text.ends_with("is up") => of("PVE-6024", link()?),
        "QUORUM" if text.contains("non-primary component") => {
            Some(of("PVE-6021", line.node.to_owned())?.evidence())
        }
        "QUORUM" if text.contains("primary component") => {
            Some(of("PVE-6022", line.node.to_owned())?.evidence())
        }
        "TOTEM" if text.starts_with("A new membership") => {
            Some(of("PVE-6025", line.node.to_owned())?.because(text))
        }
        "TOTEM" | "QUORUM"
            if [
                "Members[",
                "Sync ",
                "Token has not",
                "A processor failed",
                "Retransmit List",
                "Failed to receive the leave message",
            ]
            .iter()
            .any(|known| text.starts_with(known)) =>
        {
            Some(
                of("PVE-6025", line.node.to_owned())?
                    .because(text)
                    .evidence(),
            )
        }
        "KNET" | "MAIN" | "CFG" | "SERV" => {
            let seen = of("PVE-6078", "corosync".to_owned())?.object("service", "corosync");
            Some(seen.because(text).evidence())
        }
        _ => None,
    }
}

/// The last words before a node restarts itself.
pub(super) fn watchdog(line: Line<'_>) -> Option<Seen> {
    let text = line.text;
    let expires = text.contains("watchdog is about to expire") || text.contains("watchdog expired");
    // What follows from it.
    let ends = text.starts_with("exit watchdog-mux with active connections");
    let seen = (expires || ends).then(|| {
        Seen::new("PVE-6038", "success")
            .object("node", line.node)
            .actor("system")
            .local()
            .because(text)
    })?;
    Some(if ends { seen.evidence() } else { seen })
}
