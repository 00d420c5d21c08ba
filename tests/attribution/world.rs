//! A day of a cluster of three nodes of which everything is known: who did what from where, and what each node wrote about
//! it by its own clock.

#[path = "day.rs"]
mod day;
#[path = "edits.rs"]
mod edits;
#[path = "files.rs"]
mod files;
#[path = "logins.rs"]
mod logins;
#[path = "tasks.rs"]
mod tasks;

use std::collections::BTreeMap;
use std::net::IpAddr;

use pipeline::{Event, EventId, Field, Time, Value};

use files::{Upon, Writing};

/// What an event is counted under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Calls that fork a task.
    Call,
    Relayed,
    Shared,
    Token,
    Console,
    /// Tasks of many guests, and what they fork.
    Bulk,
    Child,
    Shell,
    Ha,
    /// What a task wrote into the file of its guest.
    TaskFile,
    /// Changes of guests, of who may do what, of the rest of the configuration.
    Change,
    Access,
    Setting,
    Tfa,
    /// Such changes by names and tokens that several use.
    SharedChange,
    /// What had to go with what was deleted.
    Pulled,
    /// Acts upon one object by several people within seconds.
    Crowd,
    /// Edits by hand, alone and beside such acts.
    Edit,
    CrowdEdit,
    /// Calls that changed nothing.
    Idle,
    Password,
    Login,
    /// Many renewals within seconds, and a login among them.
    Flood,
    BadLogin,
    Forged,
    /// What was written while nobody looked.
    Late,
    /// What a line was lost of.
    Lost,
}

/// What happened, and what is true of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// Who did it; `None` for a hand on a shell that no record names.
    pub user: Option<String>,
    /// From where; `None`: nobody over the network.
    pub from: Option<IpAddr>,
    pub class: Class,
    /// What somebody only claims to have happened.
    pub forged: bool,
}

/// Something a node wrote, and when it reaches us.
pub struct Record {
    /// Real time since the beginning [ms].
    pub arrives: i64,
    pub lane: Lane,
    written: i64,
    pub event: Written,
    pub fact: usize,
}

/// Where it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    Access(usize),
    Journal(usize),
    Tasks(usize),
    Config,
    Api,
}

pub enum Written {
    /// A line of the access log.
    Line(String),
    /// A finished event.
    Event(Box<Event>),
}

/// What kind of day it is.
#[derive(Clone, Debug)]
pub struct Setup {
    pub seed: u64,
    pub acts: usize,
    /// [ms]
    pub length: i64,
    /// Clocks of the nodes against real time [ms], before and after the middle of the day.
    pub clocks: [[i64; 2]; 3],
    /// How often the tasks of each node are listed [ms].
    pub lists: [i64; 3],
    /// Whether files are watched, on the first node, and whether the API is asked who may do what.
    pub config: bool,
    pub api: bool,
    /// Whether people, tasks and hands meet at one object, and tasks of one guest write its file one after the other.
    pub crowds: bool,
    /// From when to when the program stands still [ms].
    pub stops: Vec<(i64, i64)>,
    /// From when to when `/etc/pve` does not answer [ms].
    pub hangs: Vec<(i64, i64)>,
}

impl Setup {
    /// A quiet day with right clocks, on which everything is watched.
    pub fn new(seed: u64, acts: usize, hours: i64) -> Setup {
        Setup {
            seed,
            acts,
            length: hours * 3_600_000,
            clocks: [[0; 2]; 3],
            lists: [2000; 3],
            config: true,
            api: false,
            crowds: false,
            stops: Vec::new(),
            hangs: Vec::new(),
        }
    }
}

pub struct World {
    pub setup: Setup,
    rng: fastrand::Rng,
    pub records: Vec<Record>,
    pub facts: Vec<Fact>,
    pub acts: usize,
    writings: Vec<Writing>,
    upon: BTreeMap<String, Vec<Upon>>,
    /// From when to when a task works on a guest [ms].
    locked: BTreeMap<u32, (i64, i64)>,
    pid: u32,
    guest: u32,
    name: u32,
    /// Several people are at it: what happens now is counted as such.
    crowd: bool,
    /// Several tasks of one guest follow one another.
    rivals: bool,
}

pub const NODES: [&str; 3] = ["pve1", "pve2", "pve3"];
pub const MEMBERS: [&str; 3] = ["10.0.0.11", "10.0.0.12", "10.0.0.13"];
/// The journal of the third node is not read.
const JOURNALS: [bool; 3] = [true, true, false];
pub const START: i64 = 1_773_529_200_000;

/// Somebody at work.
#[derive(Clone)]
pub struct Person {
    pub user: String,
    pub ip: IpAddr,
    pub class: Class,
}

/// A call to a node, perhaps by way of another one.
#[derive(Clone, Copy)]
struct Way {
    node: usize,
    via: usize,
}

fn ip(last: u32) -> IpAddr {
    IpAddr::from([192, 0, (2 + last / 250) as u8, (1 + last % 250) as u8])
}

impl World {
    /// The whole of it, in the order in which it reaches us.
    pub fn new(setup: Setup) -> World {
        let mut world = World {
            rng: fastrand::Rng::with_seed(setup.seed),
            records: Vec::new(),
            facts: Vec::new(),
            acts: 0,
            writings: Vec::new(),
            upon: BTreeMap::new(),
            locked: BTreeMap::new(),
            pid: 1000,
            guest: 100,
            name: 0,
            crowd: false,
            rivals: false,
            setup,
        };
        world.live();
        world.look_at_files();
        world.deliver();
        world
    }

    /// Real time by the clock of a node [ms since 1970].
    fn clock(&self, node: usize, at: i64) -> i64 {
        START + at + self.setup.clocks[node][usize::from(at >= self.setup.length / 2)]
    }

    fn fact(&mut self, user: Option<&str>, from: Option<IpAddr>, class: Class) -> usize {
        let class = match class {
            Class::Edit if self.crowd => Class::CrowdEdit,
            _ if self.crowd => Class::Crowd,
            class => class,
        };
        self.facts.push(Fact {
            user: user.map(str::to_owned),
            from,
            class,
            forged: false,
        });
        self.facts.len() - 1
    }

    fn by(&mut self, who: &Person, class: Class) -> usize {
        let class = match (who.class, class) {
            (Class::Call, class) => class,
            (shared, Class::Call | Class::Relayed) => shared,
            (Class::Shared | Class::Token, Class::Change | Class::Access | Class::Setting) => {
                Class::SharedChange
            }
            (_, class) => class,
        };
        self.fact(Some(&who.user), Some(who.ip), class)
    }

    fn push(&mut self, lane: Lane, written: i64, delay: i64, event: Written, fact: usize) {
        let delay = self.rng.i64(0..=delay);
        self.records.push(Record {
            arrives: written + delay,
            lane,
            written,
            event,
            fact,
        });
    }

    /// What is read from one place comes in the order in which it was written; what was written while the program stood
    /// still comes when it runs again, from one place faster than from another.
    fn deliver(&mut self) {
        self.records
            .sort_by_key(|record| (record.lane, record.written));
        let mut last = (Lane::Config, 0);
        for record in &mut self.records {
            if record.lane != last.0 {
                last = (record.lane, 0);
            }
            record.arrives = record.arrives.max(last.1);
            last.1 = record.arrives;
        }
        for (from, to) in self.setup.stops.clone() {
            let mut lanes = BTreeMap::new();
            for record in &mut self.records {
                if (from..to).contains(&record.arrives) {
                    let takes = lanes
                        .entry(record.lane)
                        .or_insert_with(|| self.rng.i64(200..15_000));
                    let part = (record.arrives - from) * *takes / (to - from);
                    record.arrives = to + part;
                }
            }
            // What follows in the lane waits for it.
            let mut last = (Lane::Config, 0);
            for record in &mut self.records {
                if record.lane != last.0 {
                    last = (record.lane, 0);
                }
                record.arrives = record.arrives.max(last.1);
                last.1 = record.arrives;
            }
        }
        self.records.sort_by_key(|record| record.arrives);
    }

    fn access(&mut self, node: usize, at: i64, from: &str, user: &str, rest: &str, fact: usize) {
        if self.lost() {
            self.facts[fact].class = Class::Lost;
            return;
        }
        let time = jiff::Timestamp::from_millisecond(self.clock(node, at)).unwrap();
        let stamp = time.strftime("%d/%m/%Y:%H:%M:%S +0000");
        let line = format!("::ffff:{from} - {user} [{stamp}] {rest}");
        self.push(Lane::Access(node), at, 1500, Written::Line(line), fact);
    }

    /// One line in five hundred never comes.
    fn lost(&mut self) -> bool {
        self.rng.u32(0..500) == 0
    }

    /// The lines of a call: on its node, and on the one that relayed it.
    fn lines(&mut self, who: &Person, way: Way, at: i64, rest: &str, fact: usize) {
        let from = who.ip.to_string();
        if way.node == way.via {
            return self.access(way.node, at, &from, &who.user, rest, fact);
        }
        self.access(way.node, at, MEMBERS[way.via], &who.user, rest, fact);
        let later = at + self.rng.i64(2..60);
        self.access(way.via, later, &from, &who.user, rest, fact);
    }

    fn event(&mut self, host: &str, time: i64, origin: &str, message: &str) -> Event {
        let time = Time(time * 1_000_000 + self.rng.i64(0..1_000_000));
        let mut event = Event::new(EventId::default(), time);
        event.set(Field::new("host.name"), Value::Str(host.into()));
        event.set(Field::new("pve.origin"), Value::Str(origin.into()));
        event.set(Field::new("message"), Value::Str(message.into()));
        event
    }

    fn journal(&mut self, node: usize, at: i64, program: &str, text: &str, fact: usize) {
        self.journal_by(node, at, program, ("0", "/usr/bin/perl"), text, fact);
    }

    /// A line of the journal, which knows the number of the account and the file that runs.
    fn journal_by(
        &mut self,
        node: usize,
        at: i64,
        program: &str,
        runs: (&str, &str),
        text: &str,
        fact: usize,
    ) {
        if !JOURNALS[node] {
            return;
        }
        let mut event = self.event(NODES[node], self.clock(node, at), "journal", text);
        for (field, value) in [
            ("process.name", program),
            ("process.user.id", runs.0),
            ("process.executable", runs.1),
        ] {
            event.set(Field::new(field), Value::Str(value.into()));
        }
        event.set(Field::new("process.pid"), Value::Int(1562));
        self.push(
            Lane::Journal(node),
            at,
            500,
            Written::Event(Box::new(event)),
            fact,
        );
    }

    fn new_guest(&mut self) -> u32 {
        self.guest += 1;
        100 + self.guest % 90_000
    }

    /// A number that nothing else is called by.
    fn new_name(&mut self) -> u32 {
        self.name += 1;
        self.name
    }

    fn node(&mut self) -> usize {
        self.rng.usize(0..3)
    }

    fn way(&mut self) -> Way {
        let node = self.node();
        let via = if self.rng.u32(0..3) == 0 {
            self.node()
        } else {
            node
        };
        Way { node, via }
    }
}
