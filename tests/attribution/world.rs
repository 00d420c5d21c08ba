//! A day of a cluster of three nodes of which everything is known: who did what from where, and what each node wrote about
//! it by its own clock.

#[path = "day.rs"]
mod day;

use std::net::IpAddr;

use pipeline::clock::SECOND;
use pipeline::{Event, EventId, Field, Time, Value};

/// Where an act really came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truth {
    From(IpAddr),
    /// Nobody over the network.
    Local,
}

/// What an event is counted under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    Call,
    Relayed,
    Shared,
    Token,
    Shell,
    Ha,
    Change,
    Edit,
    Login,
    Lost,
}

/// What happened, and what is true of it.
#[derive(Debug)]
pub struct Fact {
    pub truth: Truth,
    pub class: Class,
}

/// Something a node wrote, and when it reaches us.
pub struct Record {
    /// Real time since the beginning [ms].
    pub arrives: i64,
    pub event: Written,
}

pub enum Written {
    /// A line of the access log of a node.
    Access(usize, String, usize),
    /// A finished event, and the fact.
    Event(Box<Event>, usize),
}

pub struct World {
    rng: fastrand::Rng,
    pub records: Vec<Record>,
    pub facts: Vec<Fact>,
    pub acts: usize,
    pid: u32,
    guest: u32,
    /// Clocks of the nodes against real time [ms], before and after the middle of the day.
    clocks: [[i64; 2]; 3],
    middle: i64,
    /// Whether a line in a thousand is lost.
    lossy: bool,
}

pub const NODES: [&str; 3] = ["pve1", "pve2", "pve3"];
pub const MEMBERS: [&str; 3] = ["10.0.0.11", "10.0.0.12", "10.0.0.13"];
/// The journal of the third node is not read.
const JOURNALS: [bool; 3] = [true, true, false];
pub const START: i64 = 1_773_529_200_000;

const VERBS: [(&str, &str, &str); 8] = [
    ("POST", "status/start", "qmstart"),
    ("POST", "status/stop", "qmstop"),
    ("POST", "status/reset", "qmreset"),
    ("POST", "status/shutdown", "qmshutdown"),
    ("POST", "snapshot", "qmsnapshot"),
    ("POST", "config", "qmconfig"),
    ("POST", "migrate", "qmigrate"),
    ("DELETE", "", "qmdestroy"),
];

/// Somebody at work.
#[derive(Clone)]
pub struct Person {
    pub user: String,
    pub ip: IpAddr,
    pub class: Class,
}

fn ip(last: u32) -> IpAddr {
    IpAddr::from([192, 0, (2 + last / 250) as u8, (1 + last % 250) as u8])
}

impl World {
    pub fn new(seed: u64, clocks: [[i64; 2]; 3], length: i64, lossy: bool) -> World {
        World {
            rng: fastrand::Rng::with_seed(seed),
            records: Vec::new(),
            facts: Vec::new(),
            acts: 0,
            pid: 1000,
            guest: 100,
            clocks,
            middle: length / 2,
            lossy,
        }
    }

    /// Real time by the clock of a node [ms since 1970].
    fn clock(&self, node: usize, at: i64) -> i64 {
        START + at + self.clocks[node][usize::from(at >= self.middle)]
    }

    fn fact(&mut self, truth: Truth, class: Class) -> usize {
        self.facts.push(Fact { truth, class });
        self.facts.len() - 1
    }

    fn push(&mut self, written: i64, delay: i64, event: Written) {
        let delay = self.rng.i64(0..=delay);
        self.records.push(Record {
            arrives: written + delay,
            event,
        });
    }

    fn lost(&mut self) -> bool {
        self.lossy && self.rng.u32(0..1000) == 0
    }

    fn access(&mut self, node: usize, at: i64, from: &str, user: &str, rest: &str, fact: usize) {
        if self.lost() {
            self.facts[fact].class = Class::Lost;
            return;
        }
        let time = jiff::Timestamp::from_millisecond(self.clock(node, at)).unwrap();
        let stamp = time.strftime("%d/%m/%Y:%H:%M:%S +0000");
        let line = format!("::ffff:{from} - {user} [{stamp}] {rest}");
        self.push(at, 1500, Written::Access(node, line, fact));
    }

    fn event(&mut self, node: usize, at: i64, origin: &str, message: &str) -> Event {
        let time = Time(self.clock(node, at) * 1_000_000 + self.rng.i64(0..1_000_000));
        let mut event = Event::new(EventId::default(), time);
        event.set(Field::new("host.name"), Value::Str(NODES[node].into()));
        event.set(Field::new("pve.origin"), Value::Str(origin.into()));
        event.set(Field::new("message"), Value::Str(message.into()));
        event
    }

    fn journal(&mut self, node: usize, at: i64, program: &str, text: &str, fact: usize) {
        if !JOURNALS[node] {
            return;
        }
        let mut event = self.event(node, at, "journal", text);
        event.set(Field::new("process.name"), Value::Str(program.into()));
        event.set(Field::new("process.pid"), Value::Int(1562));
        self.push(at, 500, Written::Event(Box::new(event), fact));
    }

    /// A task: its line in the journal, and its records in PVE's lists. Returns the UPID.
    #[expect(
        clippy::too_many_arguments,
        reason = "the parts of a UPID, and whose it is"
    )]
    fn task(
        &mut self,
        node: usize,
        at: i64,
        kind: &str,
        id: &str,
        user: &str,
        by: &str,
        fact: usize,
    ) -> String {
        self.pid += 1;
        let start = self.clock(node, at) / 1000;
        let upid = format!(
            "UPID:{}:{:08X}:00F3C1D2:{start:08X}:{kind}:{id}:{user}:",
            NODES[node], self.pid
        );
        let text = format!("<{user}> starting task {upid}");
        self.journal(node, at, by, &text, fact);
        let lasts = if self.rng.bool() {
            self.rng.i64(300..3000)
        } else {
            self.rng.i64(3000..90_000)
        };
        let poll = |at: i64| (at / 2000 + 1) * 2000;
        let record = |world: &mut World, phase: &str, at: i64| {
            let mut event = world.event(node, at, "task", &upid);
            let time = match phase {
                "start" => Time(start * SECOND),
                _ => Time(world.clock(node, at) / 1000 * SECOND),
            };
            event.set_timestamp(time);
            event.set(Field::new("pve.task.upid"), Value::Str(upid.clone()));
            event.set(Field::new("pve.task.phase"), Value::Str(phase.into()));
            if phase == "end" {
                event.set(Field::new("pve.task.status"), Value::Str("OK".into()));
            }
            world.push(poll(at), 500, Written::Event(Box::new(event), fact));
        };
        if lasts > 2000 {
            record(self, "start", at);
        }
        record(self, "end", at + lasts);
        upid
    }

    /// A call that forks a task, on `node`, perhaps by way of another one.
    pub fn call(
        &mut self,
        who: &Person,
        verb: usize,
        node: usize,
        via: usize,
        guest: u32,
        at: i64,
    ) {
        self.acts += 1;
        let (method, what, kind) = VERBS[verb % VERBS.len()];
        let class = match (who.class, node == via) {
            (Class::Call, false) => Class::Relayed,
            (class, _) => class,
        };
        let fact = self.fact(Truth::From(who.ip), class);
        let format = if who.user.contains('!') || self.rng.u32(0..4) == 0 {
            "json"
        } else {
            "extjs"
        };
        let fork = at + self.rng.i64(20..300);
        let slow = if self.rng.u32(0..50) == 0 { 2500 } else { 300 };
        let answer = fork + self.rng.i64(5..slow);
        let upid = self.task(
            node,
            fork,
            kind,
            &guest.to_string(),
            &who.user,
            "pvedaemon",
            fact,
        );
        let bytes = upid.len() + if format == "json" { 11 } else { 23 };
        let path = format!("/api2/{format}/nodes/{}/qemu/{guest}/{what}", NODES[node]);
        let path = path.trim_end_matches('/');
        let gone = self.lossy && self.rng.u32(0..500) == 0;
        let rest = match gone {
            // The client went away before the answer.
            true => format!("\"{method} {path} HTTP/1.1\" 500 -"),
            false => format!("\"{method} {path} HTTP/1.1\" 200 {bytes}"),
        };
        self.calls(who, node, via, answer, &rest, fact);
    }

    /// The lines of a call: on its node, and on the one that relayed it.
    fn calls(&mut self, who: &Person, node: usize, via: usize, at: i64, rest: &str, fact: usize) {
        let from = who.ip.to_string();
        if node == via {
            return self.access(node, at, &from, &who.user, rest, fact);
        }
        self.access(node, at, MEMBERS[via], &who.user, rest, fact);
        let later = at + self.rng.i64(2..60);
        self.access(via, later, &from, &who.user, rest, fact);
    }

    /// A call that was refused; the console's form hides that.
    pub fn failed(&mut self, who: &Person, node: usize, guest: u32, at: i64) {
        self.acts += 1;
        let fact = self.fact(Truth::From(who.ip), who.class);
        let path = format!(
            "/api2/extjs/nodes/{}/qemu/{guest}/status/start",
            NODES[node]
        );
        let bytes = self.rng.u32(110..160);
        let rest = format!("\"POST {path} HTTP/1.1\" 200 {bytes}");
        self.access(node, at, &who.ip.to_string(), &who.user, &rest, fact);
    }

    /// Something on a shell or by a timer.
    pub fn shell(&mut self, kind: &str, by: &str, node: usize, id: &str, at: i64) {
        self.acts += 1;
        let fact = self.fact(Truth::Local, Class::Shell);
        self.task(node, at, kind, id, "root@pam", by, fact);
    }

    /// A request to the HA manager, and what the manager does then.
    pub fn ha(&mut self, who: &Person, node: usize, via: usize, guest: u32, at: i64) {
        self.acts += 1;
        let fact = self.fact(Truth::From(who.ip), Class::Ha);
        let upid = self.task(
            node,
            at,
            "hastart",
            &guest.to_string(),
            &who.user,
            "pvedaemon",
            fact,
        );
        let path = format!(
            "/api2/extjs/nodes/{}/qemu/{guest}/status/start",
            NODES[node]
        );
        let rest = format!("\"POST {path} HTTP/1.1\" 200 {}", upid.len() + 23);
        let answer = at + self.rng.i64(5..300);
        self.calls(who, node, via, answer, &rest, fact);
        let does = at + self.rng.i64(800..15_000);
        let fact = self.fact(Truth::Local, Class::Ha);
        self.task(
            node,
            does,
            "qmstart",
            &guest.to_string(),
            "root@pam",
            "pve-ha-lrm",
            fact,
        );
    }

    /// A change of a container: the line says who, the file what. `by_hand`: only the file.
    pub fn change(&mut self, who: Option<&Person>, node: usize, via: usize, guest: u32, at: i64) {
        self.acts += 1;
        let (truth, class) = match who {
            Some(who) => (Truth::From(who.ip), Class::Change),
            None => (Truth::Local, Class::Edit),
        };
        let fact = self.fact(truth, class);
        if let Some(who) = who {
            let path = format!("/api2/extjs/nodes/{}/lxc/{guest}/config", NODES[node]);
            let rest = format!("\"PUT {path} HTTP/1.1\" 200 25");
            self.calls(who, node, via, at, &rest, fact);
        }
        // All files are watched on the first node, every two seconds.
        let seen = (at / 2000 + 1) * 2000;
        let mut event = self.event(0, seen, "config", "");
        let hash = format!("{:064x}", self.rng.u128(..));
        for (path, value) in [
            (
                "file.path",
                format!("/etc/pve/nodes/{}/lxc/{guest}.conf", NODES[node]),
            ),
            ("file.hash.sha256", hash),
            ("pve.object.type", "ct".to_owned()),
            ("pve.object.id", guest.to_string()),
        ] {
            event.set(Field::new(path), Value::Str(value));
        }
        event.set(Field::new("pve.vmid"), Value::Int(i64::from(guest)));
        event.set(Field::new("event.type"), Value::List(vec!["change".into()]));
        event.set(
            Field::new("pve.change_keys"),
            Value::List(vec!["cores".into()]),
        );
        self.push(seen, 800, Written::Event(Box::new(event), fact));
    }

    /// A login or a renewal.
    pub fn login(&mut self, who: &Person, node: usize, at: i64) {
        self.acts += 1;
        let fact = self.fact(Truth::From(who.ip), Class::Login);
        let text = format!("<root@pam> successful auth for user '{}'", who.user);
        if !self.lost() {
            self.journal(node, at, "pvedaemon", &text, fact);
        }
        let bytes = self.rng.u32(700..900);
        let rest = format!("\"POST /api2/extjs/access/ticket HTTP/1.1\" 200 {bytes}");
        let later = at + self.rng.i64(2..200);
        self.access(node, later, &who.ip.to_string(), "-", &rest, fact);
    }

    /// A console: a task, its call, and the check of its ticket, which looks like a login.
    pub fn console(&mut self, who: &Person, node: usize, guest: u32, at: i64) {
        self.acts += 1;
        let fact = self.fact(Truth::From(who.ip), Class::Call);
        self.task(
            node,
            at,
            "vncproxy",
            &guest.to_string(),
            &who.user,
            "pvedaemon",
            fact,
        );
        let path = format!("/api2/json/nodes/{}/qemu/{guest}/vncproxy", NODES[node]);
        let rest = format!("\"POST {path} HTTP/1.1\" 200 1432");
        let answer = at + self.rng.i64(5..300);
        self.access(node, answer, &who.ip.to_string(), &who.user, &rest, fact);
        let text = format!("<root@pam> successful auth for user '{}'", who.user);
        let later = at + self.rng.i64(300..1500);
        self.journal(node, later, "pvedaemon", &text, fact);
    }

    pub fn new_guest(&mut self) -> u32 {
        self.guest += 1;
        100 + self.guest % 9000
    }
}
