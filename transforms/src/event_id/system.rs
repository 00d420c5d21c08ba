//! Lines of systemd, of the journal itself, and of the life of PVE's daemons.

use super::lines::Line;
use super::names::NAMES;
use super::seen::Seen;

/// How a daemon lives: starts, reloads, workers come and go.
pub(super) fn daemon(line: Line<'_>) -> Option<Seen> {
    let text = line.text.trim();
    let life = [
        "starting server",
        "restarting server",
        "server stopped",
        "server closing",
        "received signal ",
        "received terminate request",
        "received reload",
        "shutdown",
        "starting ",
        "watchdog active",
        "watchdog closed",
        "successfully acquired lock",
        "loop take too long",
        "got shutdown request",
        "server received shutdown request",
    ];
    let worker = ["started", "finished", "exit"];
    let worker = text.starts_with("worker ") && worker.iter().any(|known| text.ends_with(known));
    if let Some(count) = text
        .strip_prefix("cleanup removed ")
        .and_then(|rest| rest.strip_suffix(" task logs"))
    {
        let count = count.parse::<i64>().unwrap_or_default();
        return Some(of("PVE-6076", line).with(NAMES.count, count));
    }
    if let Some(seen) = trouble(line, text) {
        return Some(seen);
    }
    if worker || life.iter().any(|known| text.starts_with(known)) {
        return Some(of("PVE-6078", line).object_service(line.program).evidence());
    }
    None
}

/// What daemons say when something is amiss.
fn trouble(line: Line<'_>, text: &str) -> Option<Seen> {
    // What can no longer be read from a log is a gap in the trail.
    if text.starts_with("writing cluster log failed")
        || text.starts_with("error writing access log")
    {
        return Some(failed(of("PVE-6077", line)).because(text));
    }
    if let Some(rest) = text.strip_prefix("multipart upload complete (") {
        let file = rest.split_once("filename: ").map_or("", |(_, file)| file);
        let file = file.trim_end_matches(')');
        let seen = Seen::new("PVE-5011", "success").object("volume", file);
        return Some(seen.actor("unknown").evidence());
    }
    if let Some((job, why)) = text.split_once(": got unexpected replication job error - ") {
        let vmid = job.split('-').next().and_then(|vmid| vmid.parse().ok());
        let seen = Seen {
            vmid,
            ..failed(Seen::new("PVE-5204", "success").object("replication_job", job))
        };
        return Some(seen.actor("schedule").local().because(why.trim()));
    }
    if text.starts_with("clear PVE-generated firewall rules") {
        return Some(
            of("PVE-6042", line)
                .object_service("pve-firewall")
                .evidence(),
        );
    }
    let amiss = [
        " status update error: ",
        "rotation error: ",
        "cleanup failed, terminating pid ",
        "problem with client ",
        "proxy detected vanished client connection",
        "skipped ",
    ];
    if amiss.iter().any(|known| text.contains(known)) {
        let seen = failed(of("PVE-6078", line).object_service(line.program));
        return Some(seen.because(text).evidence());
    }
    let routine = ["status update time (", "modified cpu set for lxc/"];
    routine
        .iter()
        .any(|known| text.starts_with(known))
        .then(|| of("PVE-6078", line).object_service(line.program).evidence())
}

fn failed(seen: Seen) -> Seen {
    Seen {
        outcome: "failure",
        ..seen
    }
}

fn of(code: &'static str, line: Line<'_>) -> Seen {
    Seen::new(code, "success")
        .object("node", line.node)
        .actor("system")
        .local()
}

impl Seen {
    fn object_service(self, name: &str) -> Seen {
        self.object("service", name)
    }
}

/// Units that matter here, by their description in PVE's packages.
const DESCRIPTIONS: [(&str, &str); 16] = [
    ("pvedaemon", "PVE API Daemon"),
    ("pveproxy", "PVE API Proxy Server"),
    ("pvestatd", "PVE Status Daemon"),
    ("spiceproxy", "PVE SPICE Proxy Server"),
    ("pve-cluster", "The Proxmox VE cluster filesystem"),
    ("pve-ha-crm", "PVE Cluster HA Resource Manager Daemon"),
    ("pve-ha-lrm", "PVE Local HA Resource Manager Daemon"),
    ("pve-firewall", "Proxmox VE firewall"),
    ("pvefw-logger", "Proxmox VE firewall logger"),
    ("pvescheduler", "Proxmox VE scheduler"),
    ("pve-guests", "PVE guests"),
    ("watchdog-mux", "Proxmox VE watchdog multiplexer"),
    ("qmeventd", "PVE Qemu Event Daemon"),
    ("corosync", "Corosync Cluster Engine"),
    ("ssh", "OpenBSD Secure Shell server"),
    ("rsyslog", "System Logging Service"),
];

/// What systemd says of services and of the machine. Only services that matter to an auditor are told apart; the words
/// are those of systemd's catalogue in English.
pub(super) fn systemd(line: Line<'_>) -> Option<Seen> {
    let text = line.text.trim();
    // The manager of a user's session says the same without a kernel.
    if text.starts_with("Startup finished in ") && text.contains("(kernel)") {
        return Some(of("PVE-6003", line));
    }
    if text.starts_with("Reached target ")
        && (text.contains("System Reboot")
            || text.contains("System Power Off")
            || text == "Reached target Reboot."
            || text == "Reached target Power-Off."
            || text.contains("reboot.target")
            || text.contains("poweroff.target"))
        || text == "Shutting down."
    {
        return Some(of("PVE-6002", line));
    }
    let service = |rest: &str| {
        let rest = rest.trim_end_matches(['.', '…']);
        // With PVE 7 systemd says the description alone.
        if let Some((name, _)) = DESCRIPTIONS.iter().find(|(_, held)| *held == rest) {
            return Some((*name).to_owned());
        }
        let name = rest.split(" - ").next().unwrap_or_default();
        name.strip_suffix(".service").map(str::to_owned)
    };
    for (word, code) in [
        ("Started ", "PVE-6041"),
        ("Stopped ", "PVE-6042"),
        ("Reloaded ", "PVE-6044"),
    ] {
        if let Some(rest) = text.strip_prefix(word) {
            return Some(of(code, line).object("service", service(rest)?));
        }
    }
    if let Some(rest) = text.strip_prefix("Failed to start ") {
        let seen = of("PVE-6045", line).object("service", service(rest)?);
        return Some(failed(seen).because(text));
    }
    for word in ["Starting ", "Stopping ", "Reloading "] {
        if let Some(rest) = text.strip_prefix(word) {
            return Some(
                of("PVE-6078", line)
                    .object("service", service(rest)?)
                    .evidence(),
            );
        }
    }
    if let Some((name, rest)) = text.split_once(".service: ") {
        if rest.starts_with("Failed with result ") {
            return Some(
                Seen {
                    outcome: "failure",
                    ..of("PVE-6045", line).object("service", name)
                }
                .because(rest),
            );
        }
        return Some(of("PVE-6078", line).object("service", name).evidence());
    }
    None
}

/// The journal about itself.
pub(super) fn journald(line: Line<'_>) -> Option<Seen> {
    let text = line.text;
    text.starts_with("Suppressed ").then(|| {
        Seen {
            outcome: "failure",
            ..of("PVE-6077", line)
        }
        .because(text)
    })
}

/// The line that this program writes to the journal every five minutes, to see that it comes back through the inputs.
pub(super) fn canary(line: Line<'_>) -> Option<Seen> {
    line.text.starts_with("canary ").then(|| {
        Seen::new("PVE-9071", "success")
            .object("source", line.node)
            .actor("pipeline")
            .local()
    })
}

/// Power keys and the end of the machine.
pub(super) fn logind(line: Line<'_>) -> Option<Seen> {
    let text = line.text;
    let down = [
        "System is rebooting",
        "System is powering down",
        "The system will reboot now",
        "The system will power off now",
    ];
    down.iter()
        .any(|known| text.starts_with(known))
        .then(|| of("PVE-6002", line).evidence())
}
