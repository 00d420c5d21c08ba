//! Lines of the journal, of syslog, and of the cluster log: who wrote them decides how they are read.

use pipeline::{Event, fields};

use super::names::NAMES;
use super::seen::Seen;
use super::{auth, cluster, guests, system, vsphere};

/// A line: who wrote it, and what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line<'a> {
    /// `pvedaemon`, `sshd`.
    pub(super) program: &'a str,
    pub(super) node: &'a str,
    pub(super) text: &'a str,
}

impl<'a> Line<'a> {
    pub(super) fn of(event: &'a Event) -> Line<'a> {
        let n = &*NAMES;
        Line {
            program: event
                .str(n.process)
                .or_else(|| event.str(n.appname))
                .unwrap_or_default(),
            node: event.str(n.node).unwrap_or_default(),
            text: event.str(fields::MESSAGE).unwrap_or_default(),
        }
    }
}

/// What a line says; `None` where no shape that is known fits.
pub(super) fn understand(line: Line<'_>) -> Option<Seen> {
    match line.program {
        "pvedaemon" | "pveproxy" | "spiceproxy" | "pvestatd" | "pvescheduler" | "pveupdate"
        | "pve-guests" | "qm" | "pct" | "vzdump" | "pvesh" | "pvecm" | "pveum" | "ha-manager"
        | "pveam" | "pvenode" | "pvesr" | "pvesm" | "task" | "qmigrate" | "vzmigrate"
        | "IPCC.xs" | "pve-firewall" | "proxmox-firewall" | "pvefw-logger" | "qmeventd" => {
            auth::pve(line)
                .or_else(|| guests::pve(line))
                .or_else(|| system::daemon(line))
        }
        "sshd" | "sshd-session" | "sshd-auth" => auth::ssh(line),
        "sudo" => auth::sudo(line),
        "su" => auth::su(line),
        "login" => auth::login(line),
        // What HA forks runs as root, and it is HA all the same.
        "pve-ha-crm" | "pve-ha-lrm" => guests::pve(line)
            .map(|seen| seen.actor("ha"))
            .or_else(|| cluster::ha(line)),
        "pmxcfs" => cluster::pmxcfs(line),
        "corosync" => cluster::corosync(line),
        "watchdog-mux" => cluster::watchdog(line),
        "systemd" => system::systemd(line),
        "pvetrail" => system::canary(line),
        "systemd-journald" | "systemd-journal" => system::journald(line),
        "systemd-shutdown" | "systemd-logind" => system::logind(line),
        "hostd" | "Hostd" | "vpxa" | "Vpxa" | "vpxd" | "vobd" | "Vobd" | "shell" | "ESXShell" => {
            vsphere::understand(line)
        }
        _ => None,
    }
}

/// `<user@realm> text`: who it is about, and the rest. A name may hold `>` itself, so the last one before a known word
/// counts; the UPID in the text knows better where there is one.
pub(super) fn ident(text: &str) -> Option<(&str, &str)> {
    let inside = text.strip_prefix('<')?;
    inside.split_once("> ")
}
