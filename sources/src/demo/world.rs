//! The cluster that never was: three nodes, the people who work on it, its guests, and an agenda of what happens next.
//!
//! Everything follows from the seed and the start time, so two runs write the same bytes. Time is the world's own and runs
//! as fast as entries are asked for. An act leaves all its traces here, whoever reads them: the request, its twin on the
//! node that it was handed on to, what the daemons say, the task, what the file below `/etc/pve` became.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

pub(super) use super::agenda::Act;
use super::agenda::Planned;
use super::entry::{Change, Entry, Packet, Phase, Request, Said, StateFact, TaskFact, What, Who};
use super::tasks::Caller;

/// Milliseconds in a second, a minute, an hour.
pub(super) const SECOND: i64 = 1000;
pub(super) const MINUTE: i64 = 60 * SECOND;
pub(super) const HOUR: i64 = 60 * MINUTE;

/// From the number of one entry to that of the next: places are counted in bytes, as in a file, and no line is shorter.
const PLACE: u64 = 8;

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
    /// [MiB]
    pub memory: u32,
    pub cores: u32,
}

impl Guest {
    /// `qemu` or `lxc`, as paths name it.
    pub(super) fn kind(&self) -> &'static str {
        if self.container { "lxc" } else { "qemu" }
    }

    /// `vm` or `ct`, as an auditor names it.
    pub(super) fn object(&self) -> &'static str {
        if self.container { "ct" } else { "vm" }
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
    /// Whether it is an ordinary month with attacks of many kinds, instead of days that are each full of everything.
    pub month: bool,
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
    /// On whose behalf everything is that is being planned.
    by: Option<Arc<Who>>,
    /// The attack that goes on.
    pub(super) attack: Option<&'static str>,
    agenda: BinaryHeap<Reverse<Planned>>,
    planned: u64,
    written: u64,
}

const PEOPLE: [(&str, u8); 6] = [
    ("root@pam", 10),
    ("ops@pve", 21),
    ("alice@pve", 22),
    ("bob@corp-ad", 23),
    ("m.keller@pam", 31),
    ("j.santos@corp-ad", 32),
];

const GUESTS: [(&str, bool); 22] = [
    ("web-01", false),
    ("web-02", false),
    ("db-prod-1", false),
    ("db-prod-2", false),
    ("mail", false),
    ("gitlab", false),
    ("runner-1", false),
    ("runner-2", false),
    ("win-dc1", false),
    ("win-dc2", false),
    ("erp-app", false),
    ("erp-db", false),
    ("files", false),
    ("crm", false),
    ("monitor", false),
    ("vpn-gw", false),
    ("dns-1", true),
    ("dns-2", true),
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
                memory: 1024 << random.u32(0..5),
                cores: 1 << random.u32(0..4),
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
            by: None,
            attack: None,
            agenda: BinaryHeap::new(),
            planned: 0,
            written: 0,
        };
        world.begin();
        world
    }

    /// The first acts of the agenda.
    fn begin(&mut self) {
        let at_work = self.at_work() && !self.laws.month;
        for person in 0..self.people.len() {
            if self.laws.month {
                let first = self.next_morning(person);
                self.plan(first, Act::Login(person));
                continue;
            }
            // One of them works late, so that there is something to see at any hour.
            let first = if at_work || person == 1 {
                self.random.i64(0..40 * SECOND)
            } else {
                until_hour(self.now, 7) + self.random.i64(0..2 * HOUR)
            };
            self.plan(first, Act::Login(person));
        }
        for node in 0..self.nodes.len() {
            let first = self.random.i64(0..20 * SECOND);
            self.plan(first, Act::Daemon(node));
            let backup = until(self.now, HOUR + self.random.i64(0..3 * SECOND));
            self.plan(backup, Act::Backup(node));
            let update = until(self.now, 3 * HOUR + self.random.i64(0..HOUR));
            self.plan(update, Act::Update(node));
            if self.nodes.len() > 1 {
                let replicate = self.random.i64(0..15 * MINUTE);
                self.plan(replicate, Act::Replicate(node));
            }
        }
        if self.laws.noise {
            self.plan(5 * SECOND, Act::Monitor);
        }
        self.plan(until_hour(self.now, 0) % HOUR, Act::Inventory);
        let automation = self.random.i64(20 * SECOND..60 * SECOND);
        self.plan(automation, Act::Automate);
        for (hour, act) in [(10, Act::Shell), (11, Act::Ha), (15, Act::Edit)] {
            let at = until(self.now, hour * HOUR + self.random.i64(0..50 * MINUTE));
            self.plan(at, act);
        }
        if self.laws.attacks && self.laws.month {
            self.plan_month();
        } else if self.laws.attacks {
            // At night, when nobody is there; who begins to watch at night need not wait.
            let first = if (22..24).contains(&self.hour()) || self.hour() < 4 {
                self.random.i64(60 * SECOND..150 * SECOND)
            } else {
                until_hour(self.now, 2) + self.random.i64(5 * MINUTE..50 * MINUTE)
            };
            self.plan_attack(first);
        }
    }

    pub(super) fn plan_attack(&mut self, delay: i64) {
        let address = self.random.u8(2..250);
        self.plan(delay, Act::Scan { address });
    }

    /// Puts `act` on the agenda, `delay` [ms] from now.
    pub(super) fn plan(&mut self, delay: i64, act: Act) {
        self.planned += 1;
        self.agenda.push(Reverse(Planned {
            when: self.now + delay.max(0),
            place: self.planned,
            act,
        }));
    }

    /// What will be written `delay` [ms] from now, on behalf of whoever acts.
    pub(super) fn write(&mut self, delay: i64, node: usize, what: What) {
        let by = self.by.clone();
        self.plan(delay, Act::Write { node, by, what });
    }

    /// From here on everything planned is on behalf of `user` at `client`; `None` is the cluster itself.
    pub(super) fn on_behalf(&mut self, who: Option<(&str, &str)>) {
        let attack = self.attack;
        self.by = who.map(|(user, client)| {
            let client = client.strip_prefix("::ffff:").unwrap_or(client);
            Arc::new(Who {
                user: user.to_owned(),
                address: (!client.is_empty()).then(|| client.to_owned()),
                attack,
            })
        });
    }

    /// The same of a caller.
    pub(super) fn on_behalf_of(&mut self, caller: &Caller) {
        self.on_behalf(Some((&caller.user, &caller.client)));
    }

    /// Lets the world go on until something is written.
    pub(super) fn next(&mut self) -> Entry {
        loop {
            let Some(Reverse(Planned { when, act, .. })) = self.agenda.pop() else {
                // Every act plans its successor, so this is a world whose nodes all left; it starts over.
                self.begin();
                continue;
            };
            self.now = when;
            if let Act::Write { node, by, what } = act {
                let number = self.written;
                self.written += PLACE;
                return Entry {
                    number,
                    when,
                    node,
                    by,
                    what,
                };
            }
            self.by = None;
            self.happen(act);
            (self.by, self.attack) = (None, None);
        }
    }

    fn happen(&mut self, act: Act) {
        self.attack = match act {
            Act::Scan { .. } | Act::Guess { .. } | Act::Rampage { .. } | Act::Restore => {
                Some(super::month::STOLEN_ACCOUNT)
            }
            _ => None,
        };
        match act {
            Act::Write { .. } => {}
            Act::Login(person) => self.login(person),
            Act::Poll(person) => self.poll(person),
            Act::Renew(person) => self.renew(person),
            Act::Work(person) => self.work(person),
            Act::Shell => self.shell(),
            Act::Edit => self.edit(),
            Act::Ha => self.ha(),
            Act::Monitor => self.monitor(),
            Act::Automate => self.automate(),
            Act::Daemon(node) => self.daemon(node),
            Act::Replicate(node) => self.replicate(node),
            Act::Inventory => self.inventory(),
            Act::Backup(node) => self.backup(node),
            Act::Update(node) => self.update(node),
            Act::Scan { address } => self.scan(address),
            Act::Guess {
                tries_left,
                address,
            } => self.guess(tries_left, address),
            Act::Rampage { address } => self.rampage(address),
            Act::Restore => self.restore(),
            Act::Planted(number) => self.planted(number),
        }
    }

    /// A journal line `delay` [ms] from now. What begins with a user is also in the cluster's log, which the API gives
    /// some seconds later.
    pub(super) fn journal(
        &mut self,
        delay: i64,
        node: usize,
        ident: &'static str,
        pid: u32,
        text: String,
    ) {
        let said = Said { ident, pid, text };
        if said.text.starts_with('<') {
            let at = (self.now + delay).div_euclid(1000);
            let asked = self.random.i64(300..5000);
            let said = said.clone();
            self.write(delay + asked, node, What::ClusterLog { said, at });
        }
        self.write(delay, node, What::Journal(said));
    }

    /// A line of ssh, sudo and the like.
    pub(super) fn syslog(
        &mut self,
        delay: i64,
        node: usize,
        ident: &'static str,
        pid: u32,
        text: String,
    ) {
        self.write(delay, node, What::Syslog(Said { ident, pid, text }));
    }

    /// A line of the access log.
    pub(super) fn access(&mut self, delay: i64, node: usize, request: Request) {
        self.write(delay, node, What::Access(request));
    }

    /// A packet in the firewall's log.
    pub(super) fn packet(&mut self, delay: i64, node: usize, packet: Packet) {
        self.write(delay, node, What::Firewall(packet));
    }

    /// What the task lists have.
    pub(super) fn task_fact(
        &mut self,
        delay: i64,
        node: usize,
        upid: &str,
        start: i64,
        phase: Phase,
    ) {
        let upid = upid.to_owned();
        self.write(delay, node, What::Task(TaskFact { upid, start, phase }));
    }

    /// What a file below `/etc/pve` became, which is noticed up to two seconds later.
    pub(super) fn change(&mut self, delay: i64, node: usize, change: Change) {
        let noticed = self.random.i64(300..2000);
        self.write(delay + noticed, node, What::Config(change));
    }

    /// A guest's state, as it is now.
    pub(super) fn state(&mut self, delay: i64, guest: &Guest, status: &'static str) {
        let fact = StateFact {
            object: guest.object(),
            id: guest.vmid.to_string(),
            name: guest.name.to_owned(),
            vmid: Some(guest.vmid),
            node: self.nodes[guest.node].name.clone(),
            status,
            shares: None,
        };
        self.write(delay, guest.node, What::State(fact));
    }

    /// The pid of one of a node's three `pvedaemon` workers.
    pub(super) fn daemon_pid(&mut self, node: usize) -> u32 {
        1562 + u32::try_from(node).unwrap_or(0) * 40 + self.random.u32(0..3)
    }

    /// A pid nobody has had on this node.
    pub(super) fn new_pid(&mut self, node: usize) -> u32 {
        let step = self.random.u32(3..40);
        self.nodes[node].next_pid += step;
        self.nodes[node].next_pid
    }

    /// The local hour of the day.
    pub(super) fn hour(&self) -> i64 {
        (self.now + super::text::ZONE).rem_euclid(24 * HOUR) / HOUR
    }

    /// Whether people are at work.
    pub(super) fn at_work(&self) -> bool {
        (7..19).contains(&self.hour())
    }
}

/// From `now` to the next full `hour` of local time [ms].
pub(super) fn until_hour(now: i64, hour: i64) -> i64 {
    until(now, hour * HOUR)
}

/// From `now` to the next time that it is so long after midnight of local time [ms]: what happens once a day happens once
/// in every 24 hours, whenever they begin.
pub(super) fn until(now: i64, of_day: i64) -> i64 {
    let today = (now + super::text::ZONE).rem_euclid(24 * HOUR);
    (of_day - today).rem_euclid(24 * HOUR)
}
