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
        // The same attempt a second time, in PAM's words. The address is safe from the left, the name is all that follows.
        let (address, user) = pam_failure(rest);
        let mut seen = Seen::new("PVE-1002", "failure").object("user", "");
        if let Some(user) = user {
            let user = format!("{user}@pam");
            seen = tried(seen.object("user", user.clone()), &user);
        }
        return Some(seen.evidence().from(address));
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
    let parts = |at: usize| (&rest[..at], &rest[at + " msg=".len()..]);
    let (user, reason) = match (known.as_slice(), places.as_slice()) {
        ([at], _) if explained(parts(*at)) => parts(*at),
        ([], [at]) => parts(*at),
        _ => (rest, ""),
    };
    let seen = tried(Seen::new("PVE-1002", "failure").object("user", user), user);
    seen.from(address).because(reason)
}

/// Whether a reason has no ` msg=` but those of the name that it repeats: one more may be the true beginning, of a reason that
/// is not known here.
fn explained((user, reason): (&str, &str)) -> bool {
    let count = |text: &str| text.matches(" msg=").count();
    count(reason) == 0 || count(user) > 0 && count(reason) == count(user) && reason.contains(user)
}

/// Who somebody said to be. A text that is no name of a user is kept as it was typed: taking it apart would make up a name.
fn tried(seen: Seen, user: &str) -> Seen {
    let realm = |text: &str| {
        text.starts_with(|c: char| c.is_ascii_alphabetic())
            && text
                .bytes()
                .all(|c| c.is_ascii_alphanumeric() || b"._-".contains(&c))
    };
    let is_name = user.rsplit_once('@').is_some_and(|(name, last)| {
        realm(last) && !name.is_empty() && !name.contains([' ', ':', '/', '\t', '\n', '\r'])
    });
    if is_name {
        return seen.user(user);
    }
    let n = &*NAMES;
    seen.actor("user")
        .with(n.user, user)
        .with(n.user_name, user)
}

/// `logname= uid=0 euid=0 tty= ruser= rhost=ADDRESS  user=NAME`: PAM leaves the name out where there is no such user.
fn pam_failure(rest: &str) -> (&str, Option<&str>) {
    let rest = rest.split_once(" rhost=").map_or("", |(_, rest)| rest);
    match rest.split_once(' ') {
        Some((address, user)) => (address, user.trim_start().strip_prefix("user=")),
        None => (rest, None),
    }
}

/// Lines of `pam_unix` about a session or a refusal: evidence of what the program itself tells.
fn pam(text: &str, code: &'static str, refused: &'static str) -> Option<Seen> {
    let (_, rest) = text.strip_prefix("pam_unix(")?.split_once("): ")?;
    let mut seen = Seen::new(code, "success").object("user", "").evidence();
    if let Some(rest) = rest.strip_prefix("authentication failure;") {
        let (address, user) = pam_failure(rest);
        seen = Seen::new(refused, "failure").object("user", "").evidence();
        if let Some(user) = user {
            seen = seen.object("user", user).user(user);
        }
        return Some(seen.from(address).because("authentication failure"));
    }
    if let Some(why) = rest.strip_prefix("check pass; ") {
        return Some(
            Seen {
                code: refused,
                outcome: "failure",
                ..seen
            }
            .because(why),
        );
    }
    let rest = rest.split_once(" for user ")?.1;
    // `root(uid=0) by alice(uid=1000)`: where one acts for another, the other is the user.
    let (effective, by) = rest.split_once(" by ").unwrap_or((rest, ""));
    let name = |text: &str| text.split('(').next().unwrap_or_default().trim().to_owned();
    let (effective, by) = (name(effective), name(by));
    let user = match (by.is_empty(), code) {
        (false, "PVE-1023" | "PVE-1024") => {
            seen = seen.with(NAMES.effective, effective);
            by
        }
        _ => effective,
    };
    Some(seen.object("user", user.clone()).user(user))
}

/// sshd, and its children since OpenSSH 9.8.
pub(super) fn ssh(line: Line<'_>) -> Option<Seen> {
    let text = line.text;
    if let Some(rest) = text.strip_prefix("Accepted ") {
        let (_, rest) = rest.split_once(" for ")?;
        // Whoever was let in has an account, and its name no blank; what follows may hold words of a certificate.
        let (user, rest) = rest.split_once(" from ")?;
        let (address, port) = address_port(rest);
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
    if let Some(rest) = text.strip_prefix("pam_unix(sshd:session): session closed for user ") {
        let user = rest.trim();
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
        return pam(text, "PVE-1020", "PVE-1021");
    }
    if let Some(rest) = text.strip_prefix("error: PAM: ") {
        let (why, rest) = rest.split_once(" for ")?;
        let rest = rest.strip_prefix("illegal user ").unwrap_or(rest);
        let (user, address) = rest.rsplit_once(" from ")?;
        let seen = Seen::new("PVE-1021", "failure")
            .object("user", user)
            .user(user)
            .evidence();
        return Some(seen.from(address).because(why));
    }
    // The end of an attempt, whose failures are told one by one; of one without a password this is all there is.
    if let Some(rest) = text
        .strip_prefix("Connection closed by ")
        .or_else(|| text.strip_prefix("Connection reset by "))
        .or_else(|| text.strip_prefix("Disconnected from "))
        && let Some(rest) = rest
            .strip_prefix("invalid user ")
            .or_else(|| rest.strip_prefix("authenticating user "))
    {
        let (rest, port) = rest.rsplit_once(" port ")?;
        let (user, address) = rest.rsplit_once(' ')?;
        let seen = Seen::new("PVE-1021", "failure")
            .object("user", user)
            .user(user)
            .evidence();
        let port = port.split(' ').next().and_then(|port| port.parse().ok());
        return Some(with_port(seen.from(address), port));
    }
    if text.starts_with("Server listening on ") || text.starts_with("Received signal ") {
        return Some(
            Seen::new("PVE-6078", "success")
                .object("service", "sshd")
                .actor("system")
                .local()
                .evidence(),
        );
    }
    None
}

/// `NAME from ADDRESS port N…`; the name may hold ` from ` itself, the address and the port may not.
fn user_from(rest: &str) -> Option<(&str, &str, Option<i64>)> {
    let rest = rest.strip_prefix("invalid user ").unwrap_or(rest);
    let (user, rest) = rest.rsplit_once(" from ")?;
    let (address, port) = address_port(rest);
    Some((user, address, port))
}

fn address_port(rest: &str) -> (&str, Option<i64>) {
    let (address, rest) = rest.split_once(" port ").unwrap_or((rest, ""));
    let port = rest.split(|c: char| !c.is_ascii_digit()).next();
    (address, port.and_then(|port| port.parse().ok()))
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
        return pam(text, "PVE-1023", "PVE-1023").map(Seen::local);
    }
    let (user, rest) = text.split_once(" : ")?;
    // The folder and the command are the user's own words and may look like parts themselves. Where a part stands more than
    // once nobody can tell which is sudo's, and it is left out; the whole line is kept.
    let only = |text: &'_ str, name: &str| -> Option<usize> {
        let mut places = text.match_indices(name).map(|(at, _)| at);
        places.next().filter(|_| places.next().is_none())
    };
    const USER: &str = " ; USER=";
    const COMMAND: &str = " ; COMMAND=";
    let is_run = rest.contains(COMMAND);
    let place = only(rest, COMMAND);
    let command = place.map(|at| &rest[at + COMMAND.len()..]);
    let effective = place.and_then(|end| {
        let before = &rest[..end];
        let at = only(before, USER)? + USER.len();
        before[at..].split(" ; ").next()
    });
    let refused = !is_run || !rest.trim_start().starts_with("TTY=") && !rest.starts_with("PWD=");
    let mut seen = Seen::new("PVE-1023", if refused { "failure" } else { "success" });
    seen = seen.object("user", user).user(user).local();
    if let Some(effective) = effective {
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
        return pam(text, "PVE-1024", "PVE-1024").map(Seen::local);
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
    if text.starts_with("pam_unix(login:") {
        return pam(text, "PVE-1025", "PVE-1025").map(Seen::local);
    }
    if let Some(rest) = text.strip_prefix("LOGIN ON ") {
        let (_, user) = rest.split_once(" BY ")?;
        let seen = Seen::new("PVE-1025", "success").object("user", user);
        return Some(seen.user(user).local().evidence());
    }
    if text.starts_with("ROOT LOGIN ") {
        let seen = Seen::new("PVE-1025", "success").object("user", "root");
        return Some(seen.user("root").local().evidence());
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
