//! Logins, floods of them, failed ones, and lines that somebody made up.

use super::{Class, Person, World};

impl World {
    /// A login or a renewal.
    pub(super) fn login(&mut self, who: &Person, node: usize, at: i64) {
        self.acts += 1;
        self.ticket(who, node, at, Class::Login);
    }

    fn ticket(&mut self, who: &Person, node: usize, at: i64, class: Class) {
        let fact = self.fact(Some(&who.user), Some(who.ip), class);
        let text = format!("<root@pam> successful auth for user '{}'", who.user);
        if !self.lost() {
            self.journal(node, at, "pvedaemon", &text, fact);
        }
        let bytes = self.rng.u32(700..900);
        let rest = format!("\"POST /api2/extjs/access/ticket HTTP/1.1\" 200 {bytes}");
        let later = at + self.rng.i64(2..200);
        self.access(node, later, &who.ip.to_string(), "-", &rest, fact);
    }

    /// A login with a second factor, of which the journal tells both.
    pub(super) fn two_factors(&mut self, who: &Person, node: usize, at: i64) {
        self.acts += 1;
        self.ticket(who, node, at, Class::Login);
        let later = at + self.rng.i64(2000..60_000);
        self.ticket(who, node, later, Class::Login);
    }

    /// A script renews its ticket hundreds of times within four seconds, and somebody else logs in meanwhile.
    pub(super) fn flood(&mut self, script: &Person, other: &Person, node: usize, at: i64) {
        self.acts += 1;
        for _ in 0..300 {
            let when = at + self.rng.i64(0..4000);
            self.ticket(script, node, when, Class::Flood);
        }
        let when = at + self.rng.i64(500..5000);
        self.ticket(other, node, when, Class::Flood);
    }

    /// Somebody tries the name of somebody else, a few times.
    pub(super) fn guess(&mut self, attacker: &Person, name: &str, node: usize, at: i64) {
        self.acts += 1;
        for n in 0..self.rng.i64(1..6) {
            let fact = self.fact(Some(name), Some(attacker.ip), Class::BadLogin);
            let when = at + n * 3500;
            let from = attacker.ip.to_string();
            let text = format!(
                "authentication failure; rhost=::ffff:{from} user={name} msg=Authentication failure"
            );
            self.journal(node, when, "pvedaemon", &text, fact);
            let rest = match self.rng.bool() {
                true => "\"POST /api2/json/access/ticket HTTP/1.1\" 401 50",
                false => "\"POST /api2/extjs/access/ticket HTTP/1.1\" 200 77",
            };
            let later = when + self.rng.i64(2..200);
            self.access(node, later, &from, "-", rest, fact);
        }
    }

    /// Somebody with an account on a node calls himself by another name in the journal.
    pub(super) fn forge(&mut self, victim: &Person, node: usize, guest: u32, at: i64) {
        self.acts += 1;
        let user = &victim.user;
        let fact = self.fact(None, None, Class::Forged);
        self.facts[fact].forged = true;
        let seconds = self.clock(node, at) / 1000;
        let upid = format!("UPID:pve1:000F0000:00F3C1D2:{seconds:08X}:qmdestroy:{guest}:{user}:");
        let (program, text) = match self.rng.u32(0..6) {
            0 => (
                "pvedaemon",
                format!("<root@pam> successful auth for user '{user}'"),
            ),
            1 => (
                "pvedaemon",
                format!("<{user}> update VM {guest}: -memory 1"),
            ),
            2 => ("pvedaemon", format!("<{user}> starting task {upid}")),
            3 => (
                "sudo",
                format!(
                    "{user} : TTY=pts/0 ; PWD=/ ; USER=root ; COMMAND=/usr/sbin/qm destroy {guest}"
                ),
            ),
            4 => (
                "sshd",
                "Accepted publickey for root from 203.0.113.66 port 222 ssh2".to_owned(),
            ),
            _ => ("su", format!("(to root) {user} on pts/1")),
        };
        let uid = ["1001", "1234500001"][self.rng.usize(0..2)];
        self.journal_by(node, at, program, (uid, "/usr/bin/logger"), &text, fact);
    }

    /// A password is changed: the journal says whose, the call by whom.
    pub(super) fn password(&mut self, who: &Person, of: &str, node: usize, at: i64) {
        self.acts += 1;
        let fact = self.by(who, Class::Password);
        let text = format!("<root@pam> changed password for user '{of}'");
        self.journal(node, at, "pvedaemon", &text, fact);
        let rest = "\"PUT /api2/extjs/access/password HTTP/1.1\" 200 25";
        let later = at + self.rng.i64(5..400);
        self.access(node, later, &who.ip.to_string(), &who.user, rest, fact);
    }
}
