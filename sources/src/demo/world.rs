//! The cluster that never was: three nodes, the people who work on it, its guests, and an agenda of what happens next.
//!
//! Everything follows from the seed and the start time, so two runs write the same bytes. Time is the world's own and runs
//! as fast as lines are asked for.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::text::Stamp;

/// Milliseconds in a second, a minute, an hour.
pub(super) const SECOND: i64 = 1000;
pub(super) const MINUTE: i64 = 60 * SECOND;
pub(super) const HOUR: i64 = 60 * MINUTE;

/// Which log a line is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Log {
    /// `/var/log/pveproxy/access.log`
    Access,
    /// `/var/log/syslog`, as rsyslog writes the journal's lines with ISO times.
    Journal,
}

/// Something that will happen.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Act {
    /// A line of the access log.
    Access(Request),
    /// A line of the journal.
    Journal {
        node: usize,
        ident: &'static str,
        pid: u32,
        text: String,
    },
    /// A person comes to work.
    Login(usize),
    /// A person's browser asks for news.
    Poll(usize),
    /// A person's browser renews its ticket.
    Renew(usize),
    /// A person does something.
    Work(usize),
    /// The monitoring asks.
    Monitor,
    /// The automation does something.
    Automate,
    /// A daemon has something to say.
    Daemon(usize),
    /// The nightly backup of a node.
    Backup(usize),
    /// Somebody tries passwords: how many more.
    Guess { tries_left: u32, address: u8 },
    /// The stolen account is used.
    Rampage { address: u8 },
    /// What was destroyed comes back from the backup.
    Restore,
}

/// A request, as the access log sees it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Request {
    pub node: usize,
    pub client: String,
    /// `-` where nobody was logged in.
    pub user: String,
    /// `GET /api2/json/version`
    pub call: String,
    pub status: u16,
    /// Bytes of the answer.
    pub length: Option<u32>,
}

/// A node of the cluster.
#[derive(Debug)]
pub(super) struct Node {
    pub name: String,
    pub address: String,
    pub next_pid: u32,
    /// When it was booted [ms since 1970].
    pub booted: i64,
}

/// A person.
#[derive(Debug)]
pub(super) struct Person {
    pub user: &'static str,
    pub client: String,
    /// The node that the browser talks to.
    pub node: usize,
    /// Until when this session lasts [ms since 1970].
    pub until: i64,
}

/// A guest.
#[derive(Clone, Debug)]
pub(super) struct Guest {
    pub vmid: u32,
    pub name: &'static str,
    pub container: bool,
    pub node: usize,
    pub running: bool,
}

impl Guest {
    /// `qemu` or `lxc`, as paths name it.
    pub(super) fn kind(&self) -> &'static str {
        if self.container { "lxc" } else { "qemu" }
    }
}

/// What decides the world.
#[derive(Clone, Copy, Debug)]
pub(super) struct Laws {
    pub seed: u64,
    /// [ms since 1970]
    pub start: i64,
    pub nodes: usize,
    pub attacks: bool,
    /// Whether browsers and monitoring ask for news.
    pub noise: bool,
}

/// The cluster and its agenda.
#[derive(Debug)]
pub(super) struct World {
    pub(super) laws: Laws,
    pub(super) random: fastrand::Rng,
    /// [ms since 1970]
    pub(super) now: i64,
    pub(super) nodes: Vec<Node>,
    pub(super) people: Vec<Person>,
    pub(super) guests: Vec<Guest>,
    pub(super) destroyed: Vec<Guest>,
    agenda: BinaryHeap<Reverse<(i64, u64, Act)>>,
    planned: u64,
    stamp: Stamp,
}

const PEOPLE: [(&str, u8); 6] = [
    ("root@pam", 10),
    ("ops@pve", 21),
    ("alice@pve", 22),
    ("bob@corp-ad", 23),
    ("m.keller@pam", 31),
    ("j.santos@corp-ad", 32),
];

const GUESTS: [(&str, bool); 14] = [
    ("web-01", false),
    ("web-02", false),
    ("db-prod-1", false),
    ("db-prod-2", false),
    ("mail", false),
    ("gitlab", false),
    ("runner-1", false),
    ("win-dc1", false),
    ("erp-app", false),
    ("dns-1", true),
    ("proxy-1", true),
    ("wiki", true),
    ("grafana", true),
    ("build-cache", true),
];

impl World {
    pub(super) fn new(laws: Laws) -> Self {
        let mut random = fastrand::Rng::with_seed(laws.seed);
        let nodes = (1..=laws.nodes)
            .map(|n| Node {
                name: format!("pve{n}"),
                address: format!("::ffff:192.168.10.{}", n + 1),
                next_pid: random.u32(90_000..220_000),
                booted: laws.start - random.i64(20 * 24 * HOUR..60 * 24 * HOUR),
            })
            .collect();
        let people = PEOPLE
            .iter()
            .map(|(user, address)| Person {
                user,
                client: format!("::ffff:192.168.20.{address}"),
                node: random.usize(0..laws.nodes),
                until: i64::MIN,
            })
            .collect();
        let guests = (100..)
            .zip(GUESTS)
            .map(|(vmid, (name, container))| Guest {
                vmid,
                name,
                container,
                node: random.usize(0..laws.nodes),
                running: true,
            })
            .collect();
        let mut world = World {
            laws,
            random,
            now: laws.start,
            nodes,
            people,
            guests,
            destroyed: Vec::new(),
            agenda: BinaryHeap::new(),
            planned: 0,
            stamp: Stamp::default(),
        };
        world.begin();
        world
    }

    /// The first entries of the agenda.
    fn begin(&mut self) {
        for person in 0..self.people.len() {
            let first = self.random.i64(0..40 * SECOND);
            self.plan(first, Act::Login(person));
        }
        for node in 0..self.nodes.len() {
            let first = self.random.i64(0..20 * SECOND);
            self.plan(first, Act::Daemon(node));
            let backup = until_hour(self.now, 1) + self.random.i64(0..3 * SECOND);
            self.plan(backup, Act::Backup(node));
        }
        if self.laws.noise {
            self.plan(5 * SECOND, Act::Monitor);
        }
        let automation = self.random.i64(20 * SECOND..60 * SECOND);
        self.plan(automation, Act::Automate);
        if self.laws.attacks {
            let first = self.random.i64(60 * SECOND..150 * SECOND);
            self.plan_attack(first);
        }
    }

    pub(super) fn plan_attack(&mut self, delay: i64) {
        let tries_left = self.random.u32(25..60);
        let address = self.random.u8(2..250);
        self.plan(
            delay,
            Act::Guess {
                tries_left,
                address,
            },
        );
    }

    /// Puts `act` on the agenda, `delay` [ms] from now.
    pub(super) fn plan(&mut self, delay: i64, act: Act) {
        self.planned += 1;
        self.agenda
            .push(Reverse((self.now + delay, self.planned, act)));
    }

    /// Lets the world go on until it writes a line; the line, without its end, is appended to `out`.
    pub(super) fn next(&mut self, out: &mut Vec<u8>) -> (usize, Log) {
        loop {
            let Some(Reverse((when, _, act))) = self.agenda.pop() else {
                // Every act plans its successor, so this is a world whose nodes all left; it starts over.
                self.begin();
                continue;
            };
            self.now = when;
            match act {
                Act::Access(request) => {
                    self.stamp.access(when, &request, out);
                    return (request.node, Log::Access);
                }
                Act::Journal {
                    node,
                    ident,
                    pid,
                    text,
                } => {
                    self.stamp
                        .journal(when, &self.nodes[node].name, ident, pid, &text, out);
                    return (node, Log::Journal);
                }
                other => self.happen(other),
            }
        }
    }

    fn happen(&mut self, act: Act) {
        match act {
            Act::Access(_) | Act::Journal { .. } => {}
            Act::Login(person) => self.login(person),
            Act::Poll(person) => self.poll(person),
            Act::Renew(person) => self.renew(person),
            Act::Work(person) => self.work(person),
            Act::Monitor => self.monitor(),
            Act::Automate => self.automate(),
            Act::Daemon(node) => self.daemon(node),
            Act::Backup(node) => self.backup(node),
            Act::Guess {
                tries_left,
                address,
            } => self.guess(tries_left, address),
            Act::Rampage { address } => self.rampage(address),
            Act::Restore => self.restore(),
        }
    }

    /// A journal line `delay` [ms] from now.
    pub(super) fn journal(
        &mut self,
        delay: i64,
        node: usize,
        ident: &'static str,
        pid: u32,
        text: String,
    ) {
        self.plan(
            delay,
            Act::Journal {
                node,
                ident,
                pid,
                text,
            },
        );
    }

    /// The pid of one of a node's three `pvedaemon` workers.
    pub(super) fn daemon_pid(&mut self, node: usize) -> u32 {
        1562 + u32::try_from(node).unwrap_or(0) * 40 + self.random.u32(0..3)
    }

    /// The local hour of the day.
    pub(super) fn hour(&self) -> i64 {
        (self.now + super::text::ZONE).rem_euclid(24 * HOUR) / HOUR
    }
}

/// From `now` to the next full `hour` of local time [ms].
pub(super) fn until_hour(now: i64, hour: i64) -> i64 {
    let of_day = (now + super::text::ZONE).rem_euclid(24 * HOUR);
    (hour * HOUR - of_day).rem_euclid(24 * HOUR)
}
