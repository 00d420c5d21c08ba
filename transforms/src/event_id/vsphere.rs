//! Lines of ESXi hosts and vCenter (`hostd`, `vpxd`, `vobd`, the shell), as they arrive by syslog.
//!
//! The texts are those of the published lists of events; what they mean is read by the patterns of
//! `configs/patterns/pve/vmware`, one after the other. Names of machines and users may hold spaces.

use std::cell::RefCell;
use std::sync::LazyLock;

use super::lines::Line;
use super::names::NAMES;
use super::seen::Seen;
use crate::grok::{Grok, Library, Options, Outcome, Pattern, Scratch, Spelling};

/// What an event of ESXi or vCenter tells of.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Login,
    Logout,
    LoginFailed,
    Password,
    Console,
    Migrate,
    Migrated,
    Created,
    Removed,
    Reconfigured,
    Power,
    Task,
    Service,
    SshSession,
}

/// The patterns, in the order in which they are asked: `POWER` and `MIGRATE` take nearly any text, so they come late.
const KINDS: [(Kind, &str); 15] = [
    (Kind::Login, "VSPHERE_LOGIN"),
    (Kind::Logout, "VSPHERE_LOGOUT"),
    (Kind::LoginFailed, "VSPHERE_LOGIN_FAILED"),
    (Kind::Password, "VSPHERE_PASSWORD"),
    (Kind::Console, "VSPHERE_TICKET"),
    (Kind::Console, "VSPHERE_CONSOLE"),
    (Kind::Created, "VSPHERE_CREATED"),
    (Kind::Removed, "VSPHERE_REMOVED"),
    (Kind::Reconfigured, "VSPHERE_RECONFIGURED"),
    (Kind::Task, "VSPHERE_TASK"),
    (Kind::Service, "VSPHERE_SERVICE"),
    (Kind::SshSession, "VSPHERE_SSH_SESSION"),
    (Kind::Migrate, "VSPHERE_MIGRATE"),
    (Kind::Migrated, "VSPHERE_MIGRATED"),
    (Kind::Power, "VSPHERE_POWER"),
];

static PATTERNS: LazyLock<Grok> = LazyLock::new(|| {
    let library = Library::builtin(Spelling::default());
    let compiled = KINDS.map(|(_, name)| {
        Pattern::new(
            &format!(r"\A%{{{name}}}[\s.]*\z"),
            &library,
            Options::default(),
        )
        .expect("a test compiles every pattern of the library that is named here")
    });
    Grok::new(compiled.into())
});

thread_local! {
    static SCRATCH: RefCell<Option<Scratch>> = const { RefCell::new(None) };
}

/// Longest text that is read; longer ones are kept unread [bytes].
const LONGEST: usize = 16 << 10;

/// An event in its parts.
struct Told<'a> {
    user: Option<&'a str>,
    text: &'a str,
}

pub(super) fn understand(line: Line<'_>) -> Option<Seen> {
    if line.text.len() > LONGEST {
        return None;
    }
    match line.program {
        "shell" | "ESXShell" => shell(line),
        "vobd" | "Vobd" => vob(line),
        _ => {
            let told = vcenter(line.text).or_else(|| hostd(line.text))?;
            read(line, &told)
        }
    }
}

/// `[root]: esxcli system account add -i eve`
fn shell(line: Line<'_>) -> Option<Seen> {
    let (user, command) = line.text.strip_prefix('[')?.split_once("]: ")?;
    Some(
        Seen::new("PVE-8541", "success")
            .object("node", line.node)
            .user(user)
            .local()
            .with(NAMES.command, command),
    )
}

/// `[UserLevelCorrelator] 512345us: [esx.audit.ssh.enabled] SSH access has been enabled.`
fn vob(line: Line<'_>) -> Option<Seen> {
    let (kind, text) = line.text.split_once("[esx.")?.1.split_once("] ")?;
    if kind.starts_with("audit.ssh.") || kind.starts_with("audit.shell.") {
        let service = if kind.starts_with("audit.ssh.") {
            "SSH"
        } else {
            "ESXi Shell"
        };
        let word = match kind.rsplit('.').next() {
            Some(word @ ("enabled" | "disabled")) => word,
            _ => return Some(host(line, text)),
        };
        // hostd tells the same, with the one who did it.
        return Some(
            Seen::new("PVE-8531", "success")
                .object("service", service)
                .actor("unknown")
                .because(word)
                .evidence(),
        );
    }
    Some(host(line, text))
}

fn host(line: Line<'_>, text: &str) -> Seen {
    Seen::new("PVE-8541", "success")
        .object("node", line.node)
        .actor("system")
        .because(text)
}

/// `info hostd[2099857] [Originator@6876 sub=Vimsvc opID=x user=root] Event 184 : text`
fn hostd(line: &str) -> Option<Told<'_>> {
    let (_, rest) = line.split_once("[Originator@")?;
    let (header, rest) = rest.split_once("] ")?;
    let user = header.split_once(" user=").map(|(_, user)| user);
    let user = user.map(|user| user.split(" reason=").next().unwrap_or(user));
    let (number, text) = rest.strip_prefix("Event ")?.split_once(" : ")?;
    number
        .bytes()
        .all(|c| c.is_ascii_digit())
        .then_some(Told { user, text })
}

/// `Event [8675309] [1-1] [time] [type] [level] [user] [datacenter] [chain] [text]`
fn vcenter(line: &str) -> Option<Told<'_>> {
    let rest = line.strip_prefix("Event [")?;
    let parts: Vec<&str> = rest.splitn(9, "] [").collect();
    let [_, _, _, _, _, user, _, _, text] = parts[..] else {
        return None;
    };
    let text = text.trim_end();
    Some(Told {
        user: Some(user),
        text: text.strip_suffix(']').unwrap_or(text),
    })
}

fn read(line: Line<'_>, told: &Told<'_>) -> Option<Seen> {
    let n = &*NAMES;
    let text = told.text.trim();
    SCRATCH.with_borrow_mut(|scratch| {
        let scratch = scratch.get_or_insert_with(|| PATTERNS.scratch());
        let Outcome::Match(at) = PATTERNS.matches(scratch, text) else {
            return Some(host(line, text).evidence());
        };
        let groups = PATTERNS.patterns()[at].groups();
        let part = |field: &str| {
            let group = groups.iter().position(|group| group.field == field)?;
            let (start, length) = scratch.span(group)?;
            text.get(start as usize..(start + length) as usize)
        };
        let action = part("event.action").unwrap_or_default();
        let by = |seen: Seen| match part("user.id").or(told.user).filter(|by| !by.is_empty()) {
            Some(user) => seen.user(user),
            None => seen,
        };
        let login = |code, outcome| {
            let user = part("user.id").unwrap_or_default();
            by(Seen::new(code, outcome).object("user", user))
                .from(part("source.ip").unwrap_or_default())
        };
        let machine = |code| {
            let name = part("pve.object.name").unwrap_or_default();
            let seen = by(Seen::new(code, "success").object("vm", name));
            match part("pve.vsphere.host") {
                Some(host) => seen.with(n.vsphere_host, host),
                None => seen,
            }
        };
        Some(match KINDS[at].0 {
            Kind::Login => login("PVE-8501", "success"),
            Kind::LoginFailed => {
                login("PVE-8502", "failure").because(part("event.reason").unwrap_or_default())
            }
            // The event of the login, or of its failure, comes besides.
            Kind::Password if action == "Accepted" => login("PVE-8501", "success").evidence(),
            Kind::Password => login("PVE-8502", "failure").evidence(),
            Kind::Logout => by(host(line, text))
                .from(part("source.ip").unwrap_or_default())
                .evidence(),
            Kind::SshSession if action == "opened" => login("PVE-1020", "success").evidence(),
            Kind::SshSession => login("PVE-1022", "success").evidence(),
            Kind::Console if action == "closed" => machine("PVE-8511").evidence(),
            Kind::Console => machine("PVE-8511"),
            Kind::Migrate => {
                let mut begun = machine("PVE-8521").evidence();
                begun.outcome = "unknown";
                begun
            }
            Kind::Migrated => machine("PVE-8521"),
            Kind::Created => machine("PVE-8522"),
            Kind::Removed => machine("PVE-8523"),
            Kind::Power => {
                let seen = machine("PVE-8524").because(action);
                // What is only under way is told again when it is done.
                match action {
                    "starting" | "stopping" => seen.evidence(),
                    _ => seen,
                }
            }
            Kind::Reconfigured => machine("PVE-8525"),
            Kind::Task if action.to_ascii_lowercase().contains("snapshot") => {
                by(Seen::new("PVE-8526", "unknown").object("vm", "")).because(action)
            }
            Kind::Task => by(host(line, text)).evidence(),
            Kind::Service => {
                let service = part("service.name").unwrap_or_default();
                by(Seen::new("PVE-8531", "success").object("service", service)).because(action)
            }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(program: &str, text: &str) -> Seen {
        let node = "esx1";
        understand(Line {
            program,
            node,
            text,
        })
        .unwrap()
    }

    #[test]
    fn every_event_has_its_code_and_who_did_it() {
        for (text, code, user, object) in [
            (
                "User root@192.0.2.10 logged in as Mozilla/5.0 (X11; Linux)",
                "PVE-8501",
                "root",
                "root",
            ),
            (
                "Cannot login eve@example@2001:db8::7",
                "PVE-8502",
                "eve@example",
                "eve@example",
            ),
            (
                "A ticket for db 1 of type webmks on esx1.example in dc has been acquired",
                "PVE-8511",
                "op",
                "db 1",
            ),
            (
                "Remote console to db 1 on esx1.example in dc has been opened",
                "PVE-8511",
                "op",
                "db 1",
            ),
            (
                "Migrating db 1 from esx0.example, ds 0 to esx1.example, ds 1 in dc",
                "PVE-8521",
                "op",
                "db 1",
            ),
            (
                "Created virtual machine db 1 on esx1.example in dc",
                "PVE-8522",
                "op",
                "db 1",
            ),
            (
                "Removed db 1 on esx1.example from dc",
                "PVE-8523",
                "op",
                "db 1",
            ),
            (
                "db 1 on  esx1.example in dc is powered on",
                "PVE-8524",
                "op",
                "db 1",
            ),
            (
                "Reconfigured db 1 on esx1.example in dc.  \n\nModified:\nconfig.memory: 1 -> 2",
                "PVE-8525",
                "op",
                "db 1",
            ),
            (
                "Task: Create virtual machine snapshot",
                "PVE-8526",
                "op",
                "",
            ),
            (
                "SSH access has been enabled.",
                "PVE-8531",
                "op",
                "SSH access",
            ),
            ("Something else happened", "PVE-8541", "", "esx1"),
        ] {
            let line = format!(
                "info hostd[2099857] [Originator@6876 sub=Vimsvc opID=x user=op] Event 184 : {text}"
            );
            let one = seen("Hostd", &line);
            assert_eq!(
                (one.code, one.user.as_deref().unwrap_or_default()),
                (code, user),
                "{text}"
            );
            assert_eq!(one.object_id.as_deref(), Some(object), "{text}");
            let line = format!(
                r"Event [8675309] [1-1] [2026-03-14T22:58:03.4Z] [vim.event.Some] [info] [op] [DC 1] [8675308] [{text}]"
            );
            assert_eq!(seen("vpxd", &line).code, code, "{text}");
        }
    }

    #[test]
    fn the_shell_and_the_kernels_correlator_are_read() {
        let one = seen("shell", "[root]: esxcli system account add -i eve");
        assert_eq!((one.code, one.user.as_deref()), ("PVE-8541", Some("root")));
        let one = seen(
            "Vobd",
            "[UserLevelCorrelator] 512345us: [esx.audit.ssh.enabled] SSH access has been enabled.",
        );
        assert_eq!(
            (one.code, one.object_id.as_deref()),
            ("PVE-8531", Some("SSH"))
        );
        let line = |text| Line {
            program: "hostd",
            node: "esx1",
            text,
        };
        assert!(understand(line("Event [1] [2] [x")).is_none());
        assert!(understand(line("[Originator@1 user=] Event x : y")).is_none());
    }
}
