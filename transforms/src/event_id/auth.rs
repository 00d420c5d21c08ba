//! Who logged in, who failed to, and who became somebody else.
//!
//! Facts: `PVE/API2/AccessControl.pm`, `PVE/API2/OpenId.pm`, `PVE/HTTPServer.pm`, OpenSSH's `auth.c`, sudo's log format.

use super::lines::{Line, ident};
use super::names::NAMES;
use super::seen::Seen;

/// How a reason begins, as PVE's own code writes them. Only these end a user name that an attacker chose.
const REASONS: &[&str] = &[
    "Authentication failure",
    "authentication failure",
    "invalid credentials",
    "no such user (",
    "user '",
    "auth domain '",
    "no password",
    "bad otp response",
    "no such challenge",
    "failed 2nd factor",
    "failed 1nd factor",
    "failed 1st factor",
    "no permission (",
    "no tokenid specified",
    "no such token '",
    "invalid token value",
    "token '",
    "value '",
    "user name '",
    "login failed",
    "permission denied",
    "500 ",
    "401 ",
    "ldap",
    "LDAP",
    "80090308",
    "unable to",
    "can't",
    "Connection",
    "error",
    "malformed",
    "missing",
    "TFA",
    "tfa",
];

/// Lines of PVE's own daemons about logins.
pub(super) fn pve(line: Line<'_>) -> Option<Seen> {
    let text = line.text.trim_end_matches("#012").trim_end();
    if let Some(rest) = text.strip_prefix("openid authentication failure; rhost=") {
        let (address, reason) = rest.split_once(" msg=").unwrap_or((rest, ""));
        let seen = Seen::new("PVE-1002", "failure")
            .object("user", "")
            .from(address);
        return Some(seen.because(reason));
    }
    if let Some(rest) = text.strip_prefix("authentication failure; rhost=") {
        return Some(refused(rest));
    }
    if let Some(reason) = text.strip_prefix("authentication failure: ") {
        // A token or a ticket, not a login; a forgotten browser tab does it all day. Its 401 line knows the address.
        let seen = Seen::new("PVE-1011", "failure")
            .object("user", "")
            .evidence();
        return Some(seen.because(reason));
    }
    if let Some(rest) = text.strip_prefix("pam_unix(proxmox-ve-auth:auth): authentication failure;")
    {
        // The same attempt a second time, in PAM's words.
        let part = |name: &str| rest.split(name).nth(1)?.split_whitespace().next();
        let user = rest.rsplit(" user=").next().unwrap_or_default();
        let seen = Seen::new("PVE-1002", "failure").object("user", format!("{user}@pam"));
        let seen = seen.user(format!("{user}@pam")).evidence();
        return Some(seen.from(part("rhost=").unwrap_or_default()));
    }
    let (_, rest) = ident(text)?;
    let quoted = |before: &str| rest.strip_prefix(before)?.strip_suffix('\'');
    // The name in angle brackets is always root@pam; who logged in stands in the quotes.
    if let Some(user) =
        quoted("successful auth for user '").or_else(|| quoted("successful openid auth for user '"))
    {
        return Some(
            Seen::new("PVE-1001", "success")
                .object("user", user)
                .user(user),
        );
    }
    if let Some(user) = quoted("changed password for user '") {
        let mut seen = Seen::new("PVE-3006", "success")
            .object("user", user)
            .actor("unknown");
        seen.target = Some(user.to_owned());
        return Some(seen);
    }
    None
}

/// `ADDRESS user=NAME msg=REASON`. The name is what somebody typed and may hold ` msg=` itself; the reason is the text
/// behind the first ` msg=` that a reason of PVE's follows. Where several do, nobody can tell, and the name is kept whole.
fn refused(rest: &str) -> Seen {
    let (address, rest) = rest.split_once(' ').unwrap_or((rest, ""));
    let rest = rest.strip_prefix("user=").unwrap_or(rest);
    let begins = |at: &usize| {
        let reason = &rest[at + " msg=".len()..];
        REASONS.iter().any(|known| reason.starts_with(known))
    };
    let places: Vec<usize> = rest.match_indices(" msg=").map(|(at, _)| at).collect();
    let known: Vec<usize> = places.iter().copied().filter(begins).collect();
    let (user, reason) = match (known.as_slice(), places.as_slice()) {
        ([at], _) | ([], [at]) => (&rest[..*at], &rest[at + " msg=".len()..]),
        _ => (rest, ""),
    };
    let seen = Seen::new("PVE-1002", "failure")
        .object("user", user)
        .user(user);
    seen.from(address).because(reason)
}

/// sshd, and its children since OpenSSH 9.8.
pub(super) fn ssh(line: Line<'_>) -> Option<Seen> {
    let text = line.text;
    if let Some(rest) = text.strip_prefix("Accepted ") {
        let (_, rest) = rest.split_once(" for ")?;
        let (user, address, port) = user_from(rest)?;
        let seen = Seen::new("PVE-1020", "success")
            .object("user", user)
            .user(user);
        return Some(with_port(seen.from(address), port));
    }
    if let Some(rest) = text.strip_prefix("Failed ") {
        let (method, rest) = rest.split_once(" for ")?;
        let (user, address, port) = user_from(rest)?;
        let seen = Seen::new("PVE-1021", "failure")
            .object("user", user)
            .user(user);
        let seen = with_port(seen.from(address), port);
        return Some(seen.because(&format!("{method} refused")));
    }
    if let Some(rest) = text.strip_prefix("Invalid user ") {
        let (user, address, port) = user_from(rest)?;
        let seen = Seen::new("PVE-1021", "failure")
            .object("user", user)
            .user(user)
            .evidence();
        return Some(with_port(seen.from(address), port).because("no such user"));
    }
    if text.starts_with("pam_unix(sshd:session): session closed for user ") {
        let user = text.rsplit(' ').next().unwrap_or_default();
        return Some(
            Seen::new("PVE-1022", "success")
                .object("user", user)
                .user(user),
        );
    }
    if let Some(rest) = text.strip_prefix("Disconnected from user ") {
        let mut parts = rest.split(' ');
        let (user, address) = (parts.next()?, parts.next()?);
        let seen = Seen::new("PVE-1022", "success")
            .object("user", user)
            .user(user);
        return Some(seen.from(address).evidence());
    }
    if text.starts_with("pam_unix(sshd:") {
        let user = text
            .split("user ")
            .nth(1)
            .or_else(|| text.split("user=").nth(1))?;
        let user = user.split(['(', ' ']).next().unwrap_or_default();
        let code = if text.contains("session opened") {
            "PVE-1020"
        } else {
            "PVE-1021"
        };
        let outcome = if code == "PVE-1020" {
            "success"
        } else {
            "failure"
        };
        return Some(
            Seen::new(code, outcome)
                .object("user", user)
                .user(user)
                .evidence(),
        );
    }
    None
}

/// `NAME from ADDRESS port N…`; the name may hold ` from ` itself, the address and the port may not.
fn user_from(rest: &str) -> Option<(&str, &str, Option<i64>)> {
    let rest = rest.strip_prefix("invalid user ").unwrap_or(rest);
    let (user, rest) = rest.rsplit_once(" from ")?;
    let (address, rest) = rest.split_once(" port ").unwrap_or((rest, ""));
    let port = rest.split(|c: char| !c.is_ascii_digit()).next();
    Some((user, address, port.and_then(|port| port.parse().ok())))
}

fn with_port(seen: Seen, port: Option<i64>) -> Seen {
    match port {
        Some(port) => seen.with(NAMES.port, port),
        None => seen,
    }
}

/// `alice : TTY=pts/0 ; PWD=/home/alice ; USER=root ; COMMAND=/usr/sbin/qm stop 100`
pub(super) fn sudo(line: Line<'_>) -> Option<Seen> {
    let text = line.text.trim_start();
    if text.starts_with("pam_unix(sudo") {
        let user = text.split(" by ").nth(1).unwrap_or_default();
        let user = user.split('(').next().unwrap_or_default();
        return Some(
            Seen::new("PVE-1023", "success")
                .object("user", user)
                .local()
                .user(user)
                .evidence(),
        );
    }
    let (user, rest) = text.split_once(" : ")?;
    let part = |name: &str| {
        let (_, value) = rest.split_once(name)?;
        Some(value.split(" ; ").next().unwrap_or(value))
    };
    let command = rest.split_once("COMMAND=").map(|(_, command)| command);
    let refused =
        command.is_none() || !rest.trim_start().starts_with("TTY=") && !rest.starts_with("PWD=");
    let mut seen = Seen::new("PVE-1023", if refused { "failure" } else { "success" });
    seen = seen.object("user", user).user(user).local();
    if let Some(effective) = part("USER=") {
        seen = seen.with(NAMES.effective, effective);
    }
    if let Some(command) = command {
        seen = seen.with(NAMES.command, command);
    }
    if refused {
        seen = seen.because(rest.split(" ; ").next().unwrap_or(rest));
    }
    Some(seen)
}

/// `(to root) alice on pts/1`, `FAILED SU (to root) alice on pts/1`
pub(super) fn su(line: Line<'_>) -> Option<Seen> {
    let (failed, text) = match line.text.strip_prefix("FAILED SU ") {
        Some(rest) => (true, rest),
        None => (false, line.text),
    };
    if text.starts_with("pam_unix(su") {
        let user = text.split(" by ").nth(1).unwrap_or_default();
        let user = user.split('(').next().unwrap_or_default();
        let seen = Seen::new("PVE-1024", "success").object("user", user);
        return Some(seen.user(user).local().evidence());
    }
    let (effective, rest) = text.strip_prefix("(to ")?.split_once(") ")?;
    let (user, _) = rest.rsplit_once(" on ").unwrap_or((rest, ""));
    let seen = Seen::new("PVE-1024", if failed { "failure" } else { "success" });
    Some(
        seen.object("user", user)
            .user(user)
            .local()
            .with(NAMES.effective, effective),
    )
}

/// The console of the machine.
pub(super) fn login(line: Line<'_>) -> Option<Seen> {
    let text = line.text;
    if let Some(rest) = text.strip_prefix("pam_unix(login:session): session opened for user ") {
        let user = rest.split(['(', ' ']).next().unwrap_or_default();
        return Some(
            Seen::new("PVE-1025", "success")
                .object("user", user)
                .user(user)
                .local(),
        );
    }
    if text.starts_with("FAILED LOGIN") {
        let user = text
            .split("FOR '")
            .nth(1)?
            .split('\'')
            .next()
            .unwrap_or_default();
        let seen = Seen::new("PVE-1025", "failure")
            .object("user", user)
            .user(user)
            .local();
        return Some(seen.because(text.rsplit(", ").next().unwrap_or_default()));
    }
    None
}
