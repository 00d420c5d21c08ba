//! Lines about tasks, guests, snapshots and backups (`PVE/RESTEnvironment.pm`, `PVE/API2/Qemu.pm`, `PVE/VZDump.pm`).

use pipeline::Value;
use pipeline::pve::{Exit, TaskType, Upid};

use super::lines::{Line, ident};
use super::names::NAMES;
use super::seen::Seen;

/// Lines of PVE's own programs about guests.
pub(super) fn pve(line: Line<'_>) -> Option<Seen> {
    let text = line.text;
    if let Some(seen) = task(line) {
        return Some(seen);
    }
    if let Some((user, rest)) = ident(text)
        && let Some(seen) = change(user, rest)
    {
        return Some(local_tool(line, seen));
    }
    if let Some(seen) = backup(line) {
        return Some(seen);
    }
    for (tool, kind) in [("qm", "vm"), ("pct", "ct")] {
        let unlock = text.strip_prefix("executed '").and_then(|rest| {
            rest.strip_prefix(tool)?
                .strip_prefix(" unlock ")?
                .strip_suffix('\'')
        });
        if let Some(vmid) = unlock.and_then(|vmid| vmid.parse().ok()) {
            let code = if kind == "vm" { "PVE-2020" } else { "PVE-2120" };
            return Some(
                Seen::new(code, "success")
                    .guest(kind, vmid)
                    .user("root@pam")
                    .local(),
            );
        }
    }
    None
}

/// What a tool on the node did was done there, whoever sat at it.
fn local_tool(line: Line<'_>, seen: Seen) -> Seen {
    match line.program {
        "pvedaemon" | "pveproxy" => seen,
        _ => seen.local(),
    }
}

/// What a task is, for whoever tells of it.
pub(super) fn of_task(upid: Upid<'_>, exit: Option<Exit>) -> Seen {
    let n = &*NAMES;
    let outcome = exit.map_or("unknown", Exit::outcome);
    let mut seen = match TaskType::find(upid.kind) {
        Some(kind) => {
            let act = kind.act(upid.id, upid.node, exit);
            let mut seen = Seen::new(act.code, outcome).object(act.object_type, act.object_id);
            seen.vmid = act.vmid;
            seen
        }
        None => Seen::new("PVE-0000", outcome).object("node", upid.node),
    };
    seen = seen
        .user(upid.user)
        .with(n.task_type, upid.kind)
        .with(n.pid, i64::from(upid.pid));
    seen = seen.with(n.start, Value::Time(upid.start));
    // What runs at boot and at shutdown, and the daily list of packages.
    if upid.user == "root@pam" && matches!(upid.kind, "startall" | "stopall" | "aptupdate") {
        seen.actor = Some("system");
    }
    seen
}

/// `starting task UPID…`, `end task UPID… OK`, and the worker's own first line.
fn task(line: Line<'_>) -> Option<Seen> {
    let n = &*NAMES;
    let (before, rest) = line.text.split_at(line.text.find("UPID:")?);
    // Text that a user chose stands behind `<user> update VM`; a name in angle brackets holds no space.
    let (phase, known) = match ident(before).map(|(_, words)| words) {
        Some("starting task ") => ("start", true),
        Some("end task ") => ("end", true),
        Some(_) => return None,
        None if before == "end task " => ("end", true),
        None => ("start", is_begin(before)),
    };
    if !known {
        return None;
    }
    let (upid, after) = Upid::read(rest).ok()?;
    let whole = &rest[..rest.len() - after.len()];
    let exit = (phase == "end").then(|| Exit::of(after.trim()));
    let mut seen = of_task(upid, exit).evidence();
    seen = seen.with(n.upid, whole).with(n.phase, phase);
    if let Some(exit) = exit {
        let status = after.trim();
        if !status.is_empty() {
            seen = seen.with(n.status, status).with(n.result, exit.result());
            if exit == Exit::Error {
                seen = seen.because(status);
            }
        }
    }
    if line.program == "pvescheduler" && upid.user == "root@pam" {
        seen.actor = Some("schedule");
    }
    Some(local_tool(line, seen))
}

/// The worker's own first words, before its UPID: `start VM 100: `, `starting vnc proxy `, `re-starting service ssh: `.
fn is_begin(before: &str) -> bool {
    const VERBS: [&str; 15] = [
        "start ",
        "stop ",
        "shutdown ",
        "reset ",
        "requesting reboot of ",
        "suspend ",
        "resume ",
        "destroy ",
        "migrate ",
        "clone ",
        "starting ",
        "stopping ",
        "re-starting ",
        "reloading ",
        "update new package list: ",
    ];
    before.len() < 128
        && !before.contains(['<', '>', '\n'])
        && VERBS.iter().any(|verb| before.starts_with(verb))
}

/// `100: text`
fn number(text: &str) -> Option<(i64, &str)> {
    let (vmid, rest) = text.split_once(':')?;
    Some((vmid.trim().parse().ok()?, rest.trim_start()))
}

/// What stands behind `<user@realm> `.
fn change(user: &str, rest: &str) -> Option<Seen> {
    let n = &*NAMES;
    if let Some(rest) = rest.strip_prefix("update ") {
        let (kind, rest) = rest.split_once(' ')?;
        let (kind, base) = match kind {
            "VM" => ("vm", 0),
            "CT" => ("ct", 1),
            _ => return None,
        };
        let (vmid, what) = number(rest)?;
        let code = match (what.starts_with("resize "), base) {
            (true, 0) => "PVE-2015",
            (true, _) => "PVE-2115",
            (false, 0) => "PVE-2014",
            (false, _) => "PVE-2114",
        };
        let mut seen = Seen::new(code, "success").guest(kind, vmid).user(user);
        seen = seen.with(n.command, what);
        let keys = keys(what);
        if !keys.is_empty() {
            seen = seen.with(n.change_keys, Value::List(keys));
        }
        return Some(seen);
    }
    if let Some(rest) = rest.strip_prefix("move disk VM ") {
        let (vmid, what) = number(rest)?;
        return Some(
            Seen::new("PVE-2016", "success")
                .guest("vm", vmid)
                .user(user)
                .with(n.command, what)
                .evidence(),
        );
    }
    if let Some(rest) = rest.strip_prefix("move volume CT ") {
        let (vmid, what) = number(rest)?;
        return Some(
            Seen::new("PVE-2116", "success")
                .guest("ct", vmid)
                .user(user)
                .with(n.command, what)
                .evidence(),
        );
    }
    for (words, verb) in [
        ("snapshot ", 17),
        ("delete snapshot ", 18),
        ("rollback snapshot ", 19),
    ] {
        let Some(rest) = rest.strip_prefix(words) else {
            continue;
        };
        let (kind, rest) = rest.split_once(' ')?;
        let (vmid, name) = number(rest)?;
        // The wording `delete snapshot VM` stands for containers too.
        let kind = match (kind, verb) {
            ("container" | "LXC", _) => "ct",
            ("VM", 18) => "guest",
            ("VM", _) => "vm",
            _ => return None,
        };
        let code = match (kind, verb) {
            ("ct", 17) => "PVE-2117",
            ("ct", _) => "PVE-2119",
            (_, 17) => "PVE-2017",
            (_, 18) => "PVE-2018",
            _ => "PVE-2019",
        };
        // The task of the same name tells the end of it.
        return Some(
            Seen::new(code, "success")
                .guest(kind, vmid)
                .user(user)
                .with(n.snapshot, name)
                .evidence(),
        );
    }
    for (words, code) in [("adding node ", "PVE-6011"), ("deleting node ", "PVE-6012")] {
        if let Some(rest) = rest.strip_prefix(words) {
            let node = rest.split(' ').next().unwrap_or_default();
            return Some(
                Seen::new(code, "success")
                    .object("cluster", node)
                    .user(user),
            );
        }
    }
    None
}

/// The names in `-delete balloon -memory 8192`. Values may hold anything, so a name counts only behind a space or at the
/// beginning, and what an attacker wrote into a description can add one: it shows, and it accuses nobody.
fn keys(what: &str) -> Vec<Value> {
    let mut keys: Vec<Value> = Vec::new();
    let mut words = what.split(' ').peekable();
    while let Some(word) = words.next() {
        let Some(name) = word.strip_prefix('-').filter(|name| {
            !name.is_empty()
                && name
                    .bytes()
                    .all(|c| c.is_ascii_alphanumeric() || c == b'_' || c == b'-')
                && name.starts_with(|c: char| c.is_ascii_alphabetic())
        }) else {
            continue;
        };
        let named = match (name, words.peek()) {
            ("delete", Some(removed)) => removed
                .split(',')
                .map(|one| Value::Str(one.to_owned()))
                .collect(),
            _ => vec![Value::Str(name.to_owned())],
        };
        for one in named {
            if keys.len() < 64 && !keys.contains(&one) {
                keys.push(one);
            }
        }
    }
    keys
}

/// Lines of a backup job. The task tells of it too; which guest failed stands here and in the task's log.
fn backup(line: Line<'_>) -> Option<Seen> {
    let text = line.text;
    let text = text
        .strip_prefix("INFO: ")
        .or_else(|| text.strip_prefix("ERROR: "))
        .unwrap_or(text);
    let guest = |rest: &str| {
        rest.split([' ', ':'])
            .next()
            .and_then(|vmid| vmid.parse::<i64>().ok())
    };
    let of = |code, outcome, vmid: i64| {
        let mut seen = Seen::new(code, outcome)
            .object("backup", vmid.to_string())
            .evidence()
            .local();
        seen.vmid = Some(vmid);
        seen.actor("schedule")
    };
    if let Some(rest) = text.strip_prefix("Starting Backup of VM ") {
        return Some(of("PVE-5101", "unknown", guest(rest)?));
    }
    if let Some(rest) = text.strip_prefix("Finished Backup of VM ") {
        return Some(of("PVE-5102", "success", guest(rest)?));
    }
    if let Some(rest) = text.strip_prefix("Backup of VM ") {
        let (vmid, reason) = rest.split_once(" failed - ")?;
        return Some(of("PVE-5103", "failure", guest(vmid)?).because(reason));
    }
    let job = |code, outcome| {
        Some(
            Seen::new(code, outcome)
                .object("backup", "")
                .evidence()
                .local()
                .actor("schedule"),
        )
    };
    if text.starts_with("starting new backup job: ") {
        return job("PVE-5101", "unknown");
    }
    if text.starts_with("Backup job finished successfully") {
        return job("PVE-5102", "success");
    }
    if text.starts_with("Backup job finished with errors") || text.starts_with("Backup job failed")
    {
        return job("PVE-5103", "failure");
    }
    None
}
