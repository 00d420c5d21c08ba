//! What a token of the API may see, as `/etc/pve/user.cfg` says.

use std::collections::BTreeSet;

use super::Findings;
use crate::node::Root;

const CHECK: &str = "api token";

/// Privileges that matter, and what is not seen without them.
const WANTED: [(&str, &str); 4] = [
    (
        "Sys.Audit",
        "tasks of others, cluster status, permissions, firewall and jobs are not seen",
    ),
    (
        "Sys.Syslog",
        "of the cluster log only its own entries are seen: no logins and no acts of others",
    ),
    (
        "VM.Audit",
        "guests, their names and their configuration are not seen",
    ),
    ("Datastore.Audit", "storages are not seen"),
];

/// `named` is the token asked about; `given` whether a configuration is there that could name one.
pub(super) fn look(root: &Root, named: Option<&str>, given: bool, findings: &mut Findings) {
    let Some(token) = named.map(|token| token.split('=').next().unwrap_or(token)) else {
        let what = match given {
            true => "the configuration asks no API (no source pve_api)",
            false => "no token was named (--token, or -c with a source pve_api)",
        };
        findings.note(
            CHECK,
            what,
            "other nodes, names and pools of guests, and what a node did while this program was away are not known",
            &[
                "pveum user add audit@pve",
                "pveum user token add audit@pve trail",
                "pveum role add PvetrailSyslog --privs Sys.Syslog",
                "pveum acl modify / --users audit@pve --tokens 'audit@pve!trail' --roles PVEAuditor,PvetrailSyslog",
            ],
        );
        return;
    };
    let text = match root.text("/etc/pve/user.cfg") {
        Ok(text) => text,
        Err(why) => {
            findings.note(
                CHECK,
                format!("what {token} may see is not known: user.cfg: {why}"),
                "",
                &[],
            );
            return;
        }
    };
    let cfg = UserCfg::read(&text);
    let user = token.split('!').next().unwrap_or(token);
    let Some((expire, separate)) = cfg.token(token) else {
        let make = format!(
            "pveum user token add {user} {}",
            token.split_once('!').map_or("trail", |t| t.1)
        );
        findings.problem(
            CHECK,
            format!("there is no token {token}"),
            "the API answers 401: nothing of the cluster is seen",
            &[&make],
        );
        return;
    };
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    if expire > 0 && expire < now {
        let renew = format!(
            "pveum user token modify {user} {} --expire 0",
            token.split_once('!').map_or("", |t| t.1)
        );
        findings.problem(
            CHECK,
            format!("{token} has expired"),
            "the API answers 401: nothing of the cluster is seen",
            &[&renew],
        );
        return;
    }
    if !cfg.enabled(user) {
        let enable = format!("pveum user modify {user} --enable 1");
        findings.problem(
            CHECK,
            format!("the user {user} is disabled"),
            "the API answers 401: nothing of the cluster is seen",
            &[&enable],
        );
        return;
    }
    let of_user = cfg.privileges(user);
    let held = match separate {
        true => cfg.privileges(token).meet(&of_user),
        false => of_user,
    };
    let missing: Vec<_> = WANTED
        .iter()
        .filter(|(privilege, _)| !held.has(privilege))
        .collect();
    if missing.is_empty() {
        findings.good(CHECK, format!("{token} sees what an auditor needs on /"));
    }
    for (privilege, costs) in missing {
        let role = match *privilege {
            "Sys.Syslog" => "PvetrailSyslog",
            _ => "PVEAuditor",
        };
        let grant = format!("pveum acl modify / --users {user} --tokens '{token}' --roles {role}");
        let mut remedy = vec![grant.as_str()];
        if role == "PvetrailSyslog" && !cfg.has_role(role) {
            remedy.insert(0, "pveum role add PvetrailSyslog --privs Sys.Syslog");
        }
        findings.problem(
            CHECK,
            format!("{token} lacks {privilege} on /"),
            costs,
            &remedy,
        );
    }
}

/// Privileges on `/`.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Held {
    All,
    These(BTreeSet<String>),
}

impl Held {
    fn has(&self, privilege: &str) -> bool {
        match self {
            Held::All => true,
            Held::These(these) => these.contains(privilege),
        }
    }

    fn meet(self, other: &Held) -> Held {
        match (self, other) {
            (Held::All, other) => other.clone(),
            (this, Held::All) => this,
            (Held::These(a), Held::These(b)) => Held::These(a.intersection(b).cloned().collect()),
        }
    }
}

/// The lines of `user.cfg`, split.
struct UserCfg<'a>(Vec<Vec<&'a str>>);

impl<'a> UserCfg<'a> {
    fn read(text: &'a str) -> UserCfg<'a> {
        let lines = text.lines().map(|line| line.trim().split(':').collect());
        UserCfg(lines.collect())
    }

    fn rows(&self, kind: &str) -> impl Iterator<Item = &Vec<&'a str>> {
        self.0.iter().filter(move |row| row.first() == Some(&kind))
    }

    fn part(row: &[&'a str], n: usize) -> &'a str {
        row.get(n).copied().unwrap_or_default()
    }

    /// When a token expires [s since 1970; 0 is never], and whether it has privileges of its own alone.
    fn token(&self, token: &str) -> Option<(u64, bool)> {
        let row = self.rows("token").find(|row| Self::part(row, 1) == token)?;
        Some((
            Self::part(row, 2).parse().unwrap_or(0),
            Self::part(row, 3) != "0",
        ))
    }

    fn enabled(&self, user: &str) -> bool {
        user == "root@pam"
            || self
                .rows("user")
                .any(|row| Self::part(row, 1) == user && Self::part(row, 2) == "1")
    }

    fn has_role(&self, role: &str) -> bool {
        self.rows("role").any(|row| Self::part(row, 1) == role)
    }

    fn privileges(&self, who: &str) -> Held {
        if who == "root@pam" {
            return Held::All;
        }
        let groups: Vec<String> = self
            .rows("group")
            .filter(|row| Self::part(row, 2).split(',').any(|member| member == who))
            .map(|row| format!("@{}", Self::part(row, 1)))
            .collect();
        let mut held = BTreeSet::new();
        for row in self.rows("acl").filter(|row| Self::part(row, 2) == "/") {
            let mine = |name: &str| name == who || groups.iter().any(|group| group == name);
            if !Self::part(row, 3).split(',').any(mine) {
                continue;
            }
            for role in Self::part(row, 4).split(',') {
                match role {
                    "Administrator" => return Held::All,
                    "NoAccess" => return Held::These(BTreeSet::new()),
                    "PVEAuditor" => {
                        held.extend(["Sys.Audit", "VM.Audit", "Datastore.Audit"].map(str::to_owned))
                    }
                    "PVEAdmin" => held.extend(WANTED.map(|(privilege, _)| privilege.to_owned())),
                    "PVESysAdmin" => held.extend(["Sys.Audit", "Sys.Syslog"].map(str::to_owned)),
                    role => {
                        let privileges = self.rows("role").find(|row| Self::part(row, 1) == role);
                        let privileges = privileges.map_or("", |row| Self::part(row, 2));
                        held.extend(privileges.split(',').map(str::to_owned));
                    }
                }
            }
        }
        Held::These(held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CFG: &str = "user:root@pam:1:0:::a@b.example:::\nuser:audit@pve:1:0::::::\ntoken:audit@pve!trail:0:1::\ntoken:audit@pve!all:0:0::\n\
        group:auditors:audit@pve,x@pve:comment:\n\nrole:PvetrailSyslog:Sys.Syslog:\n\n\
        acl:1:/:@auditors:PVEAuditor,PvetrailSyslog:\nacl:1:/:audit@pve!trail:PVEAuditor:\nacl:1:/vms:x@pve:Administrator:\n";

    #[test]
    fn a_token_has_what_both_it_and_its_user_have() {
        let cfg = UserCfg::read(CFG);
        assert_eq!(cfg.token("audit@pve!trail"), Some((0, true)));
        let held = cfg
            .privileges("audit@pve!trail")
            .meet(&cfg.privileges("audit@pve"));
        assert!(held.has("Sys.Audit") && held.has("VM.Audit") && !held.has("Sys.Syslog"));
        assert!(cfg.privileges("audit@pve").has("Sys.Syslog"));
        assert!(cfg.privileges("root@pam").has("Sys.Syslog"));
        assert!(!cfg.privileges("y@pve").has("Sys.Audit"));
        assert_eq!(Held::All.meet(&held), held);
    }

    #[test]
    fn a_broken_file_holds_nobody() {
        let cfg = UserCfg::read(":::\nacl\nacl:1:/\ntoken:\n\u{0}");
        assert!(cfg.token("a@b!c").is_none() && !cfg.enabled("a@b"));
        assert_eq!(cfg.privileges("a@b"), Held::These(BTreeSet::new()));
    }
}
