//! The journal: whether it is kept, whether it is whole, whether it can be read; and what rsyslog writes beside it.

use std::io::{ErrorKind, Read};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::{Findings, RIGHTS};
use crate::node::{Root, package};

const CHECK: &str = "journal";
/// What systemd calls an entry that says how many were thrown away.
const SUPPRESSED: &str = "MESSAGE_ID=a596d6fe7bfa4994828e72309e95d61e";
/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) fn look(root: &Root, findings: &mut Findings) {
    const COSTS: &str =
        "logins and failed logins, ssh, sudo, changed values, HA and quorum are not known";
    let persistent = root
        .list("/var/log/journal")
        .is_ok_and(|files| !files.is_empty());
    let volatile = root
        .list("/run/log/journal")
        .is_ok_and(|files| !files.is_empty());
    let files: Vec<&str> = [
        "/var/log/syslog",
        "/var/log/auth.log",
        "/var/log/daemon.log",
    ]
    .into_iter()
    .filter(|file| root.exists(file))
    .collect();
    match (persistent, volatile) {
        (true, _) => read(root, findings, COSTS),
        (false, true) => {
            findings.problem(
                CHECK,
                "it is kept in memory only",
                "whatever was not read before a reboot or a power failure is lost, and those are the times that matter",
                &[
                    "mkdir -p /var/log/journal && systemd-tmpfiles --create --prefix /var/log/journal && journalctl --flush",
                ],
            );
            read(root, findings, COSTS);
        }
        (false, false) if !files.is_empty() => findings.note(
            CHECK,
            "there is none; rsyslog's files have the same lines",
            "holes in them cannot be seen, for their lines have no numbers",
            &["mkdir -p /var/log/journal && systemctl restart systemd-journald"],
        ),
        (false, false) => {
            let refused = [
                root.readable("/var/log/journal"),
                root.readable("/run/log/journal"),
            ]
            .into_iter()
            .any(|found| found.is_err_and(|why| why.kind() == ErrorKind::PermissionDenied));
            let (what, remedy): (&str, &[&str]) = match refused {
                true => ("it cannot be read", RIGHTS),
                false => (
                    "there is none, nor a file of rsyslog",
                    &[
                        "systemctl status systemd-journald",
                        "mkdir -p /var/log/journal && systemctl restart systemd-journald",
                    ],
                ),
            };
            findings.problem(CHECK, what, COSTS, remedy);
        }
    }
    limits(root, findings);
    for file in &files {
        if let Err(why) = root.readable(file) {
            findings.problem(
                "syslog",
                format!("{}: {why}", root.path(file).display()),
                "nothing, while the journal can be read",
                RIGHTS,
            );
        }
    }
    if !files.is_empty() && (persistent || volatile) {
        findings.note(
            "syslog",
            format!(
                "{} hold the same lines as the journal; read one of the two",
                files.join(", ")
            ),
            "",
            &[],
        );
    }
    if package(root, "rsyslog").is_none() && files.is_empty() && (persistent || volatile) {
        findings.good(
            "syslog",
            "no rsyslog, as is usual since Debian 12: the journal has it all",
        );
    }
}

/// Reads what can be known of it by asking.
fn read(root: &Root, findings: &mut Findings, costs: &str) {
    let oldest = match ask(root, &["--lines=all", "--output=short-unix"], 4096) {
        Ok(text) => text
            .lines()
            .find_map(|line| line.split('.').next()?.trim().parse::<u64>().ok()),
        Err(why) => {
            let missing = why.contains("No such file");
            findings.problem(
                CHECK,
                format!("journalctl does not read it: {why}"),
                costs,
                match missing {
                    true => &["apt install systemd     # brings journalctl"],
                    false => RIGHTS,
                },
            );
            return;
        }
    };
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    match oldest {
        Some(oldest) => findings.good(
            CHECK,
            format!(
                "it can be read and goes back {} days: the program may be away that long",
                now.saturating_sub(oldest) / 86_400
            ),
        ),
        None => findings.problem(
            CHECK,
            "there is no entry in it that may be read",
            costs,
            RIGHTS,
        ),
    }
    if let Ok(text) = ask(root, &["--output=cat", "--lines=1000", SUPPRESSED], 1 << 20) {
        let lines: Vec<&str> = text.lines().filter(|line| !line.is_empty()).collect();
        match lines.last() {
            None => findings.good(CHECK, "journald has thrown nothing away, as far as it goes back"),
            Some(last) => findings.problem(
                CHECK,
                format!("journald threw entries away {} times; the last time: {last}", lines.len()),
                "what a unit wrote too fast is in no trail; whoever wants to hide an act makes noise first",
                &[
                    "mkdir -p /etc/systemd/journald.conf.d && printf '[Journal]\\nRateLimitIntervalSec=0\\n' > /etc/systemd/journald.conf.d/pvetrail.conf",
                    "systemctl restart systemd-journald",
                ],
            ),
        }
    }
}

/// What journald is told to throw away.
fn limits(root: &Root, findings: &mut Findings) {
    let mut files = vec![
        "/usr/lib/systemd/journald.conf".to_owned(),
        "/etc/systemd/journald.conf".to_owned(),
    ];
    for folder in [
        "/usr/lib/systemd/journald.conf.d",
        "/etc/systemd/journald.conf.d",
    ] {
        let inside = root.list(folder).unwrap_or_default();
        files.extend(
            inside
                .into_iter()
                .map(|(name, _)| format!("{folder}/{name}")),
        );
    }
    let (mut interval, mut burst) = ("30s".to_owned(), "10000".to_owned());
    for file in files {
        for line in root.text(&file).unwrap_or_default().lines() {
            match line.trim().split_once('=') {
                Some(("RateLimitIntervalSec", value)) => value.trim().clone_into(&mut interval),
                Some(("RateLimitBurst", value)) => value.trim().clone_into(&mut burst),
                _ => {}
            }
        }
    }
    let off = |value: &str| {
        value
            .trim_end_matches(|c: char| c.is_ascii_alphabetic())
            .trim()
            == "0"
    };
    if off(&interval) || off(&burst) {
        findings.good(CHECK, "journald has no rate limit");
    } else {
        findings.note(
            CHECK,
            format!("journald keeps at most {burst} entries in {interval} of each unit"),
            "what is beyond that is thrown away, with one line that says how many; the trail tells it as PVE-9014",
            &[
                "mkdir -p /etc/systemd/journald.conf.d && printf '[Journal]\\nRateLimitIntervalSec=0\\n' > /etc/systemd/journald.conf.d/pvetrail.conf",
                "systemctl restart systemd-journald",
            ],
        );
    }
}

/// What `journalctl` says, the first `most` bytes of it.
pub(super) fn ask(root: &Root, arguments: &[&str], most: u64) -> Result<String, String> {
    let mut command = Command::new("journalctl");
    command
        .args(["--no-pager", "--quiet", "--all"])
        .args(arguments);
    if !root.is_live() {
        let folder = match root.exists("/var/log/journal") {
            true => root.path("/var/log/journal"),
            false => root.path("/run/log/journal"),
        };
        command.arg("--directory").arg(folder);
    }
    answer(command, most)
}

/// What a program prints, the first `most` bytes of it; it is ended when there is more or when it takes too long.
pub(super) fn answer(mut command: Command, most: u64) -> Result<String, String> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|why| format!("{}: {why}", command.get_program().display()))?;
    let (tell, told) = mpsc::channel();
    let (out, err) = (child.stdout.take(), child.stderr.take());
    std::thread::spawn(move || {
        let mut text = Vec::new();
        let read = out.map(|out| out.take(most).read_to_end(&mut text));
        // Nobody waits any more: nothing to do about that.
        let _ = tell.send((text, matches!(read, Some(Ok(_)))));
    });
    let complaint = std::thread::spawn(move || {
        let mut text = Vec::new();
        // What it could not say is not needed.
        let _ = err.map(|err| err.take(4096).read_to_end(&mut text));
        String::from_utf8_lossy(&text).trim().to_owned()
    });
    let read = told.recv_timeout(PATIENCE);
    let full = read
        .as_ref()
        .is_ok_and(|(text, _)| text.len() as u64 >= most);
    let deadline = Instant::now() + Duration::from_secs(2);
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break Some(status),
            Ok(None) if !full && read.is_ok() && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(2));
            }
            _ => {
                // It has printed enough, or takes too long; it may be gone by itself meanwhile.
                let _ = child.kill();
                let _ = child.wait();
                break None;
            }
        }
    };
    let Ok((text, true)) = read else {
        return Err(format!("no answer within {} s", PATIENCE.as_secs()));
    };
    if status.is_some_and(|status| !status.success()) && text.is_empty() {
        let why = complaint.join().unwrap_or_default();
        // It ends with 1 also where nothing fits.
        if !why.is_empty() {
            return Err(why);
        }
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}
