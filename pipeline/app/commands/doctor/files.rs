//! The files that PVE itself writes.

use std::io::ErrorKind;
use std::time::SystemTime;

use sources::pve_tasks::{Survey, survey};

use super::{Findings, RIGHTS};
use crate::node::{Node, Root, at_least, package};

/// Seconds of a day.
const DAY: u64 = 86_400;

/// Which node it is.
pub(super) fn node(root: &Root, node: &Node, findings: &mut Findings) {
    let name = node.name.as_deref().unwrap_or("a node without a name");
    match package(root, "pve-manager") {
        Some(version) => {
            let cluster = node.cluster.as_deref().map_or("no cluster".to_owned(), |cluster| {
                format!("cluster {cluster}, {} nodes", node.members.len().max(1))
            });
            findings.good("node", format!("{name}: pve-manager {version}, {cluster}"));
            if !at_least(&version, &[9, 1, 5]) {
                findings.note(
                    "node",
                    format!("pve-manager {version} writes no journal line for a refused token or ticket; 9.1.5 and later do"),
                    "such attempts are known by lines of the access log with status 401 alone, which name no user",
                    &[],
                );
            }
        }
        None => findings.problem(
            "node",
            format!("{name} has no pve-manager installed"),
            "this is no node of Proxmox VE; what follows is about a machine that only looks like one",
            &["pvetrail doctor --root DIR     # for a tree of files of a node"],
        ),
    }
}

/// Who asked, from where.
pub(super) fn access(root: &Root, findings: &mut Findings) {
    const CHECK: &str = "access log";
    const COSTS: &str = "no source address is ever known, and calls that start no task (users, permissions, firewall, storage) are known by the files they change, without who asked";
    const LOG: &str = "/var/log/pveproxy/access.log";
    if let Err(why) = root.readable(LOG) {
        let path = root.path(LOG);
        let (what, remedy): (String, &[&str]) = match why.kind() {
            ErrorKind::NotFound => (
                format!("{} is not there", path.display()),
                &[
                    "systemctl status pveproxy",
                    "ls -ld /var/log/pveproxy          # should be 0700 www-data",
                    "systemctl restart pveproxy",
                ],
            ),
            _ => (format!("{} cannot be read: {why}", path.display()), RIGHTS),
        };
        findings.problem(CHECK, what, COSTS, remedy);
        return;
    }
    let files = root.list("/var/log/pveproxy").unwrap_or_default();
    let ages = files
        .iter()
        .filter(|(name, _)| name.starts_with("access.log"))
        .filter_map(|(_, about)| about.modified().ok())
        .filter_map(|at| SystemTime::now().duration_since(at).ok());
    let kept = files
        .iter()
        .filter(|(name, _)| name.starts_with("access.log"))
        .count();
    let oldest = ages.map(|age| age.as_secs() / DAY).max().unwrap_or(0);
    findings.good(
        CHECK,
        format!("{LOG} can be read; {kept} generations, the oldest {oldest} days old"),
    );
    let rotation = root.text("/etc/logrotate.d/pve").unwrap_or_default();
    let rotate = rotation.lines().find_map(|line| {
        line.trim()
            .strip_prefix("rotate ")?
            .trim()
            .parse::<u32>()
            .ok()
    });
    if let Some(days) = rotate {
        findings.note(
            CHECK,
            format!(
                "it is rotated daily, and {days} are kept: the program may be away for {days} days"
            ),
            "",
            match days {
                0..7 => &["sed -i 's/rotate [0-9]*/rotate 7/' /etc/logrotate.d/pve"],
                _ => &[],
            },
        );
    }
    let (lines, odd) = odd_lines(&root.end(LOG, 256 << 10).unwrap_or_default());
    if odd > 0 {
        findings.problem(
            CHECK,
            format!("{odd} of its last {lines} lines are not as pveproxy writes them"),
            "they go through the trail with the tag grok_failed and without user and address",
            &["tail -n 1000 /var/log/pveproxy/access.log | pvetrail grok try '%{PVEPROXY_ACCESS}'"],
        );
    } else if lines > 0 {
        findings.good(CHECK, format!("its last {lines} lines are as pveproxy writes them, day first and month as a number"));
    }
}

/// Lines, and how many of them do not look as pveproxy writes them: `… [dd/mm/yyyy:…] "…" status length`.
fn odd_lines(text: &str) -> (usize, usize) {
    let digits = |word: &str| !word.is_empty() && word.bytes().all(|c| c.is_ascii_digit());
    let stamp = |text: &str| {
        let stamp = text.get(..26).unwrap_or_default();
        let number = |range| stamp.get(range).is_some_and(digits);
        number(0..2) && number(3..5) && number(6..10) && stamp.ends_with(']')
    };
    let good = |line: &str| {
        let mut words = line.rsplitn(3, ' ');
        let (Some(length), Some(status), Some(head)) = (words.next(), words.next(), words.next())
        else {
            return false;
        };
        // A user's name may hold brackets as well.
        let mut stamps = head.match_indices(" [");
        stamps.any(|(at, _)| stamp(&head[at + 2..]))
            && head.ends_with('"')
            && status.len() == 3
            && digits(status)
            && (length == "-" || digits(length))
    };
    let lines: Vec<&str> = text.lines().collect();
    let odd = lines.iter().filter(|line| !good(line)).count();
    (lines.len(), odd)
}

/// What ran.
pub(super) fn tasks(root: &Root, findings: &mut Findings) -> Option<Survey> {
    const CHECK: &str = "tasks";
    const COSTS: &str = "how an act ended, when, and why it failed is not known; backups are known by their journal lines alone";
    let folder = root.path("/var/log/pve/tasks");
    let survey = match crate::node::patiently({
        let folder = folder.clone();
        move || survey(&folder)
    }) {
        Ok(Ok(survey)) => survey,
        Ok(Err(why)) => {
            let gone = !root.exists("/var/log/pve/tasks");
            let why = match gone {
                true => format!("{} is not there", folder.display()),
                false => why,
            };
            findings.problem(
                CHECK,
                why,
                COSTS,
                if gone {
                    &["systemctl restart pvedaemon pvestatd     # they make the folder"]
                } else {
                    RIGHTS
                },
            );
            return None;
        }
        Err(why) => {
            findings.problem(CHECK, format!("{}: {why}", folder.display()), COSTS, &[]);
            return None;
        }
    };
    let days = match (survey.oldest, survey.newest) {
        (Some(oldest), Some(newest)) => newest.since(oldest).as_secs() / DAY,
        _ => 0,
    };
    findings.good(
        CHECK,
        format!(
            "{} tasks of {days} days in the lists, {} running",
            survey.ended.len(),
            survey.running
        ),
    );
    if survey.ended.len() >= 400 {
        findings.note(
            CHECK,
            format!("PVE keeps two lists of 50 000 bytes, whatever their age: here about {days} days; the program may be away that long"),
            "",
            &[],
        );
    }
    if survey.unreadable_logs > 0 {
        findings.problem(
            CHECK,
            format!("{} logs of tasks that did not end well cannot be read", survey.unreadable_logs),
            "why they failed is known by one line alone, and of a backup of several guests not which of them failed",
            RIGHTS,
        );
    }
    Some(survey)
}

/// Users, permissions, guests, firewall, storage: `/etc/pve`.
pub(super) fn config(root: &Root, node: &Node, findings: &mut Findings) {
    const CHECK: &str = "/etc/pve";
    const COSTS: &str = "what changed in guests, users, permissions, firewall and storage is not known, nor edits by hand";
    if let Err(why) = root.readable("/etc/pve") {
        let remedy: &[&str] = match why.kind() {
            ErrorKind::PermissionDenied => RIGHTS,
            _ => &[
                "systemctl status pve-cluster",
                "systemctl restart pve-cluster",
            ],
        };
        findings.problem(
            CHECK,
            format!("{}: {why}", root.path("/etc/pve").display()),
            COSTS,
            remedy,
        );
        return;
    }
    match root.text("/etc/pve/user.cfg") {
        Ok(_) => findings.good(CHECK, "users, permissions and guests can be read; /etc/pve/priv never is"),
        Err(why) => findings.problem(
            CHECK,
            format!("{}: {why}", root.path("/etc/pve/user.cfg").display()),
            COSTS,
            match why.kind() {
                ErrorKind::PermissionDenied => RIGHTS,
                _ => &["systemctl status pve-cluster     # an empty /etc/pve is one that is not mounted"],
            },
        ),
    }
    if !root.exists("/etc/pve/.version") {
        findings.note(
            CHECK,
            "there is no .version, so this is no mounted cluster file system",
            "changes are looked for by reading all files, which is slower",
            &[],
        );
    }
    if node.quorate == Some(false) {
        findings.problem(
            CHECK,
            "the cluster has no quorum: /etc/pve is read-only and may be old",
            "changes made by the other nodes are not seen until there is one again",
            &["pvecm status"],
        );
    }
}

/// Packets.
pub(super) fn firewall(root: &Root, findings: &mut Findings) {
    const CHECK: &str = "firewall";
    let cluster = root
        .text("/etc/pve/firewall/cluster.fw")
        .unwrap_or_default();
    let enabled = cluster.lines().any(|line| {
        let line: String = line.chars().filter(|c| !c.is_whitespace()).collect();
        line == "enable:1"
    });
    if !enabled {
        findings.note(
            CHECK,
            "the firewall of the cluster is off",
            "no packet is refused, so none is logged; changes of rules are seen all the same",
            &[],
        );
        return;
    }
    match root.readable("/var/log/pve-firewall.log") {
        Ok(()) => {
            let end = root.end("/var/log/pve-firewall.log", 1 << 20).unwrap_or_default();
            let skipped = end.lines().filter(|line| line.contains("log entries (queue full)")).count();
            match skipped {
                0 => findings.good(CHECK, "its log can be read; it is rate-limited by PVE and never complete"),
                n => findings.problem(
                    CHECK,
                    format!("it had to leave out lines {n} times lately (`skipped … log entries (queue full)`)"),
                    "an attack hides among packets that were not logged",
                    &["pvesh set /cluster/firewall/options --log_ratelimit enable=1,rate=1/second,burst=5     # or log fewer rules"],
                ),
            }
        }
        Err(why) => findings.problem(
            CHECK,
            format!("{}: {why}", root.path("/var/log/pve-firewall.log").display()),
            "refused packets are not in the trail",
            match why.kind() {
                ErrorKind::NotFound => &[
                    "systemctl status pvefw-logger",
                    "pvesh set /nodes/$(hostname -s)/firewall/options --log_level_in info     # nothing is logged until a level is set",
                ],
                _ => RIGHTS,
            },
        ),
    }
}

/// What makes addresses of the access log untrue.
pub(super) fn proxy(root: &Root, findings: &mut Findings) {
    const CHECK: &str = "addresses";
    if !root.exists("/var/log/pveproxy") {
        return;
    }
    let text = root.text("/etc/default/pveproxy").unwrap_or_default();
    let value = |key: &str| {
        text.lines().find_map(|line| {
            let (name, value) = line.trim().split_once('=')?;
            (name.trim() == key).then(|| value.trim().trim_matches('"').to_owned())
        })
    };
    match (value("PROXY_REAL_IP_HEADER"), value("PROXY_REAL_IP_ALLOW_FROM")) {
        (None, _) => findings.good(CHECK, "the access log names who is connected; behind a reverse proxy that is the proxy"),
        (Some(header), None) => findings.problem(
            CHECK,
            format!("PROXY_REAL_IP_HEADER={header} is set without PROXY_REAL_IP_ALLOW_FROM"),
            "any client can write any address into the access log: no address of it proves anything",
            &[
                "echo 'PROXY_REAL_IP_ALLOW_FROM=\"192.0.2.5\"' >> /etc/default/pveproxy     # the address of your proxy",
                "systemctl restart pveproxy",
            ],
        ),
        (Some(header), Some(from)) => findings.good(
            CHECK,
            format!("addresses come from {header} of {from}; failed logins in the journal name the proxy instead"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_another_form_are_seen() {
        let good = "::ffff:192.0.2.10 - root@pam [26/01/2026:09:15:30 +0100] \"POST /api2/extjs/x HTTP/1.1\" 200 81\n\
            2001:db8::25 - - [26/01/2026:09:18:46 +0100] \"-\" 403 -\n\
            192.0.2.1 - x [y] z@pve [26/01/2026:09:18:46 +0100] \"GET \"a\" HTTP/1.1\" 101 -\n";
        assert_eq!(odd_lines(good), (3, 0));
        let bad = "192.0.2.10 - - [26/Jan/2026:09:15:30 +0100] \"GET / HTTP/1.1\" 200 81\nx\n\n";
        assert_eq!(odd_lines(bad), (3, 3));
        assert_eq!(odd_lines(""), (0, 0));
    }
}
