//! Acts that fork tasks: over the API, on a shell, by a timer, by the HA manager.

use pipeline::clock::SECOND;
use pipeline::{Field, Time, Value};

use super::files::Touch;
use super::{Class, Lane, MEMBERS, NODES, Person, Way, World, Written};

/// Method, what stands behind the guest in the path, type of the task.
pub const VERBS: [(&str, &str, &str); 8] = [
    ("POST", "status/start", "qmstart"),
    ("POST", "status/stop", "qmstop"),
    ("POST", "status/reset", "qmreset"),
    ("POST", "status/shutdown", "qmshutdown"),
    ("POST", "snapshot", "qmsnapshot"),
    ("POST", "config", "qmconfig"),
    ("POST", "migrate", "qmigrate"),
    ("DELETE", "?purge=1", "qmdestroy"),
];

/// A task that begins.
struct Begin<'a> {
    node: usize,
    at: i64,
    kind: &'a str,
    id: &'a str,
    user: &'a str,
    /// The program that writes the line of its start.
    by: &'a str,
    fact: usize,
}

/// Whether such a task writes the file of its guest.
fn writes(kind: &str) -> bool {
    matches!(kind, "qmsnapshot" | "qmconfig" | "qmigrate" | "qmdestroy")
}

impl World {
    /// Its line in the journal, and its records in PVE's lists. Returns the UPID and, unless the task gave up, when it ends.
    fn task(&mut self, begin: Begin<'_>) -> (String, Option<i64>) {
        let Begin { node, at, kind, .. } = begin;
        let (id, user, fact) = (begin.id, begin.user, begin.fact);
        self.pid += 1;
        let start = self.clock(node, at) / 1000;
        let upid = format!(
            "UPID:{}:{:08X}:00F3C1D2:{start:08X}:{kind}:{id}:{user}:",
            NODES[node], self.pid
        );
        let text = format!("<{user}> starting task {upid}");
        self.journal(node, at, begin.by, &text, fact);
        let mut lasts = if self.rng.bool() {
            self.rng.i64(300..3000)
        } else {
            self.rng.i64(3000..90_000)
        };
        // One after the other: whoever finds the guest locked gives up.
        let guest: Option<u32> = id.parse().ok().filter(|_| writes(kind));
        let busy = guest.and_then(|guest| self.locked.get(&guest));
        let waits = busy.is_some_and(|(from, to)| at <= *to && at + lasts >= *from);
        let status = match guest.filter(|_| waits) {
            Some(guest) => {
                lasts = 10_000;
                format!("can't lock file '/var/lock/qemu-server/lock-{guest}.conf' - got timeout")
            }
            None => "OK".to_owned(),
        };
        if let Some(guest) = guest.filter(|_| !waits) {
            self.locked.insert(guest, (at, at + lasts));
        }
        let listed = |world: &World, at: i64| {
            let every = world.setup.lists[node];
            (at / every + 1) * every
        };
        let (first, last) = (listed(self, at), listed(self, at + lasts));
        // Of a short one only the end is seen.
        if first <= at + lasts {
            self.listed(node, &upid, None, (at, first), fact);
        }
        self.listed(node, &upid, Some(&status), (at + lasts, last), fact);
        (upid, (!waits).then_some(at + lasts))
    }

    /// A record of PVE's list of tasks: when it happened, and when the list was read.
    fn listed(
        &mut self,
        node: usize,
        upid: &str,
        status: Option<&str>,
        when: (i64, i64),
        fact: usize,
    ) {
        let phase = if status.is_some() { "end" } else { "start" };
        let time = self.clock(node, when.0) / 1000;
        let mut event = self.event(NODES[node], time * 1000, "task", upid);
        event.set_timestamp(Time(time * SECOND));
        event.set(Field::new("pve.task.upid"), Value::Str(upid.into()));
        event.set(Field::new("pve.task.phase"), Value::Str(phase.into()));
        if let Some(status) = status {
            event.set(Field::new("pve.task.status"), Value::Str(status.into()));
        }
        let event = Written::Event(Box::new(event));
        self.push(Lane::Tasks(node), when.1, 500, event, fact);
    }

    /// A call that forks a task, and what the task writes.
    pub(super) fn call(&mut self, who: &Person, verb: usize, way: Way, guest: u32, at: i64) {
        self.acts += 1;
        let (method, what, kind) = VERBS[verb % VERBS.len()];
        let class = if way.node == way.via {
            Class::Call
        } else {
            Class::Relayed
        };
        let fact = self.by(who, class);
        let path = format!("/nodes/{}/qemu/{guest}/{what}", NODES[way.node]).replace("/?", "?");
        let fork = at + self.rng.i64(20..300);
        let begin = Begin {
            node: way.node,
            at: fork,
            kind,
            id: &guest.to_string(),
            user: &who.user,
            by: "pvedaemon",
            fact,
        };
        let (upid, end) = self.task(begin);
        self.answer(who, way, fork, (method, &path), &upid, fact);
        let written = self.by(who, Class::TaskFile);
        self.task_writes(kind, way.node, guest, (fork, end), written);
    }

    /// The line of a call whose answer is a UPID.
    fn answer(
        &mut self,
        who: &Person,
        way: Way,
        fork: i64,
        (method, path): (&str, &str),
        upid: &str,
        fact: usize,
    ) {
        let json = who.user.contains('!') || self.rng.u32(0..4) == 0;
        let (format, around) = if json { ("json", 11) } else { ("extjs", 23) };
        let slow = if self.rng.u32(0..50) == 0 { 2500 } else { 300 };
        let answer = fork + self.rng.i64(5..slow);
        let rest = match self.rng.u32(0..500) {
            // The client went away before the answer.
            0 => format!("\"{method} /api2/{format}{path} HTTP/1.1\" 500 -"),
            _ => {
                let bytes = upid.len() + around;
                format!("\"{method} /api2/{format}{path} HTTP/1.1\" 200 {bytes}")
            }
        };
        self.lines(who, way, answer, &rest, fact);
    }

    /// What a task leaves in the files of its guest.
    fn task_writes(
        &mut self,
        kind: &str,
        node: usize,
        guest: u32,
        (from, to): (i64, Option<i64>),
        fact: usize,
    ) {
        let quiet = self.rivals && !self.setup.crowds;
        let Some(to) = to.filter(|_| !quiet) else {
            return;
        };
        let soon = (from + self.rng.i64(100..1500)).min(to);
        let touch = |keys: &[&'static str]| Touch::guest("vm", node, guest, keys, fact);
        match kind {
            "qmsnapshot" => {
                let name = ["snapshot/s1", "snapshot/before", "snapshot/daily"];
                let keys = [name[self.rng.usize(0..3)], "parent"];
                self.write(soon, node, vec![touch(&keys)]);
            }
            "qmconfig" => {
                let key = ["scsi1", "net1", "ide2"][self.rng.usize(0..3)];
                let user = self.facts[fact].user.clone().unwrap_or_default();
                let said = format!("<{user}> update VM {guest}: -{key} local:8");
                self.journal(node, soon, "pvedaemon", &said, fact);
                self.write(soon, node, vec![touch(&[key])]);
            }
            "qmigrate" => {
                let moved = Touch::guest("vm", (node + 1) % 3, guest, &["node"], fact);
                self.write(to, node, vec![moved]);
            }
            "qmdestroy" => {
                self.write(
                    to,
                    node,
                    vec![touch(&["cores", "memory", "name"]).deletes()],
                );
            }
            _ => {}
        }
    }

    /// A call that was refused; the console's form hides that.
    pub(super) fn failed(&mut self, who: &Person, node: usize, guest: u32, at: i64) {
        self.acts += 1;
        let fact = self.by(who, Class::Call);
        let path = format!(
            "/api2/extjs/nodes/{}/qemu/{guest}/status/start",
            NODES[node]
        );
        let bytes = self.rng.u32(110..160);
        let rest = format!("\"POST {path} HTTP/1.1\" 200 {bytes}");
        self.access(node, at, &who.ip.to_string(), &who.user, &rest, fact);
    }

    /// Something on a shell or by a timer.
    pub(super) fn shell(&mut self, kind: &str, by: &str, node: usize, id: &str, at: i64) {
        self.acts += 1;
        let fact = self.fact(Some("root@pam"), None, Class::Shell);
        let (_, end) = self.task(Begin {
            node,
            at,
            kind,
            id,
            user: "root@pam",
            by,
            fact,
        });
        if kind != "qmconfig"
            && let Ok(guest) = id.parse()
        {
            let written = self.fact(Some("root@pam"), None, Class::TaskFile);
            self.task_writes(kind, node, guest, (at, end), written);
        }
    }

    /// A request to the HA manager, and what the manager does then.
    pub(super) fn ha(&mut self, who: &Person, way: Way, guest: u32, at: i64) {
        self.acts += 1;
        let fact = self.by(who, Class::Ha);
        let id = guest.to_string();
        let begin = Begin {
            node: way.node,
            at,
            kind: "hastart",
            id: &id,
            user: &who.user,
            by: "pvedaemon",
            fact,
        };
        let (upid, _) = self.task(begin);
        let path = format!("/nodes/{}/qemu/{guest}/status/start", NODES[way.node]);
        self.answer(who, way, at, ("POST", &path), &upid, fact);
        let fact = self.fact(Some("root@pam"), None, Class::Ha);
        let does = at + self.rng.i64(800..15_000);
        self.task(Begin {
            node: way.node,
            at: does,
            kind: "qmstart",
            id: &id,
            user: "root@pam",
            by: "pve-ha-lrm",
            fact,
        });
    }

    /// A console: a task, its call, and the check of its ticket, which looks like a login.
    pub(super) fn console(&mut self, who: &Person, node: usize, guest: u32, at: i64) {
        self.acts += 1;
        let fact = self.by(who, Class::Console);
        self.task(Begin {
            node,
            at,
            kind: "vncproxy",
            id: &guest.to_string(),
            user: &who.user,
            by: "pvedaemon",
            fact,
        });
        let path = format!("/api2/json/nodes/{}/qemu/{guest}", NODES[node]);
        let rest = format!("\"POST {path}/vncproxy HTTP/1.1\" 200 1432");
        let answer = at + self.rng.i64(5..300);
        let from = who.ip.to_string();
        self.access(node, answer, &from, &who.user, &rest, fact);
        let text = format!("<root@pam> successful auth for user '{}'", who.user);
        let later = at + self.rng.i64(300..1500);
        self.journal(node, later, "pvedaemon", &text, fact);
        let rest = format!("\"GET {path}/vncwebsocket?port=5900 HTTP/1.1\" 101 -");
        self.access(node, later + 200, &from, &who.user, &rest, fact);
    }

    /// All guests of a node at once: one call, one task, and a task for each guest, under the name of whoever called. Another
    /// one may ask for one of these guests meanwhile.
    pub(super) fn bulk(&mut self, who: &Person, other: Option<&Person>, way: Way, at: i64) {
        self.acts += 1;
        let fact = self.by(who, Class::Bulk);
        let (what, child, verb) = match self.rng.u32(0..3) {
            0 => ("migrateall", "qmigrate", 6),
            1 => ("stopall", "qmshutdown", 3),
            _ => ("startall", "qmstart", 0),
        };
        let begin = Begin {
            node: way.node,
            at,
            kind: what,
            id: "",
            user: &who.user,
            by: "pvedaemon",
            fact,
        };
        let (upid, _) = self.task(begin);
        let path = format!("/nodes/{}/{what}", NODES[way.node]);
        self.answer(who, way, at, ("POST", &path), &upid, fact);
        let count = self.rng.usize(2..10);
        let beside = self.rng.usize(0..count);
        let mut next = at;
        for n in 0..count {
            next += self.rng.i64(100..2500);
            let guest = self.new_guest();
            let fact = self.by(who, Class::Child);
            let (_, end) = self.task(Begin {
                node: way.node,
                at: next,
                kind: child,
                id: &guest.to_string(),
                user: &who.user,
                by: "pvedaemon",
                fact,
            });
            self.task_writes(child, way.node, guest, (next, end), fact);
            if let Some(other) = other.filter(|_| n == beside) {
                let near = (next + self.rng.i64(-6000..8000)).max(0);
                let node = way.node;
                self.call(other, verb, Way { node, via: node }, guest, near);
            }
        }
    }

    /// A file of the cluster's own that a node calls itself by its address.
    pub(super) fn own_call(&mut self, node: usize, guest: u32, at: i64) {
        self.acts += 1;
        let from = MEMBERS[node].parse().unwrap();
        let fact = self.fact(Some("root@pam"), Some(from), Class::Call);
        let begin = Begin {
            node,
            at,
            kind: "qmreset",
            id: &guest.to_string(),
            user: "root@pam",
            by: "pvedaemon",
            fact,
        };
        let (upid, _) = self.task(begin);
        let who = Person {
            user: "root@pam".into(),
            ip: from,
            class: Class::Call,
        };
        let path = format!("/nodes/{}/qemu/{guest}/status/reset", NODES[node]);
        self.answer(
            &who,
            Way { node, via: node },
            at,
            ("POST", &path),
            &upid,
            fact,
        );
    }
}
