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
    let worker =
        text.starts_with("worker ") && (text.ends_with("started") || text.ends_with("finished"));
    if let Some(count) = text
        .strip_prefix("cleanup removed ")
        .and_then(|rest| rest.strip_suffix(" task logs"))
    {
        let count = count.parse::<i64>().unwrap_or_default();
        return Some(of("PVE-6076", line).with(NAMES.count, count));
    }
    if worker || life.iter().any(|known| text.starts_with(known)) {
        return Some(of("PVE-6078", line).object_service(line.program).evidence());
    }
    None
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

/// What systemd says of services and of the machine. Only services that matter to an auditor are told apart; the words
/// are those of systemd's catalogue in English.
pub(super) fn systemd(line: Line<'_>) -> Option<Seen> {
    let text = line.text.trim();
    if text.starts_with("Startup finished in ") {
        return Some(of("PVE-6003", line));
    }
    if text.starts_with("Reached target ")
        && (text.contains("System Reboot")
            || text.contains("System Power Off")
            || text.contains("reboot.target")
            || text.contains("poweroff.target"))
        || text == "Shutting down."
    {
        return Some(of("PVE-6002", line));
    }
    let service = |rest: &str| {
        let name = rest
            .trim_end_matches(['.', '…'])
            .split(" - ")
            .next()
            .unwrap_or_default();
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
