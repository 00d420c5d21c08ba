//! What the people of the world do on a day.

use super::tasks::VERBS;
use super::{Class, Person, Way, World, ip};

/// Everybody there is.
struct People {
    /// Names that one person uses, ten of them behind one address.
    single: Vec<Person>,
    /// Names and tokens that several use, root last but for the tokens.
    shared: Vec<Vec<Person>>,
    everyone: Vec<Person>,
}

/// The place of root among the names that are shared.
const ROOT: usize = 6;

impl People {
    fn new() -> People {
        let one = |n: u32| Person {
            user: format!("user{n}@pve"),
            ip: if n < 10 { ip(0) } else { ip(n) },
            class: Class::Call,
        };
        let single: Vec<Person> = (0..30).map(one).collect();
        let mut shared: Vec<Vec<Person>> = Vec::new();
        for n in 0..6 {
            let one = |k: u32| Person {
                user: format!("team{n}@pam"),
                ip: ip(100 + n * 5 + k),
                class: Class::Shared,
            };
            shared.push((0..3).map(one).collect());
        }
        let root = |k: u32| Person {
            user: "root@pam".into(),
            ip: ip(140 + k),
            class: Class::Shared,
        };
        shared.push((0..2).map(root).collect());
        for n in 0..6 {
            let token = |k: u32| Person {
                user: format!("user{n}@pve!ci{n}"),
                ip: ip(160 + n * 3 + k),
                class: Class::Token,
            };
            shared.push((0..1 + n % 2).map(token).collect());
        }
        let everyone = single.iter().chain(shared.iter().flatten()).cloned();
        People {
            everyone: everyone.collect(),
            single,
            shared,
        }
    }

    /// Anybody, from where he is at that time.
    fn any(&self, rng: &mut fastrand::Rng, at: i64) -> Person {
        let mut who = self.everyone[rng.usize(0..self.everyone.len())].clone();
        who.walk(at);
        who
    }
}

impl Person {
    /// Some change their place every hour.
    fn walk(&mut self, at: i64) {
        let walkers = ["user26@pve", "user27@pve", "user28@pve", "user29@pve"];
        if let Some(n) = (200..).zip(walkers).find(|(_, user)| *user == self.user)
            && at / 3_600_000 % 2 == 1
        {
            self.ip = ip(n.0);
        }
    }
}

impl World {
    /// A whole day with about so many acts.
    pub(super) fn live(&mut self) {
        let people = People::new();
        self.renewals(&people);
        while self.acts < self.setup.acts {
            let at = self.rng.i64(0..self.setup.length);
            let who = people.any(&mut self.rng, at);
            let way = self.way();
            let guest = self.new_guest();
            let verb = self.rng.usize(0..VERBS.len());
            match self.rng.u32(0..1000) {
                0..380 => self.call(&who, verb, way, guest, at),
                380..440 => self.two_of_a_team(&people, verb, way.node, guest, at),
                440..500 => {
                    let kind = ["vm", "ct"][self.rng.usize(0..2)];
                    let effect = self.rng.u32(0..8) > 0;
                    self.change_guest(&who, way, (kind, guest), at, effect);
                }
                500..540 => self.change_access(&who, way.node, guest, at),
                540..570 => self.change_setting(&who, way.node, guest, at),
                570..585 => self.change_rule(&who, way, guest, at),
                585..600 => self.change_tfa(&who, way.node, guest, at),
                600..640 if self.setup.crowds => self.crowd_of_a_guest(&people, guest, at),
                640..670 if self.setup.crowds => self.crowd_of_a_list(&people, guest, at),
                670..690 => self.hand_guest("vm", way.node, guest, at),
                690..710 => self.hand_list(way.node, guest, at),
                710..720 => self.tool(way.node, guest, at),
                // Whom HA manages nobody else starts.
                720..750 => self.ha(&who, way, 200_000 + guest, at),
                750..780 => self.failed(&who, way.node, guest, at),
                780..820 if !who.user.contains('!') => self.console(&who, way.node, guest, at),
                820..880 => {
                    let tool = VERBS[verb].2;
                    self.rivals = true;
                    self.shell(tool, "qm", way.node, &guest.to_string(), at);
                    if self.rng.u32(0..3) == 0 {
                        // And root does the same in the browser.
                        let root = people.shared[ROOT][self.rng.usize(0..2)].clone();
                        let later = at + self.rng.i64(0..6000);
                        self.call(&root, verb, way, guest, later);
                    }
                    self.rivals = false;
                }
                880..900 => self.shell("vzdump", "pvescheduler", way.node, "", at),
                900..920 => self.shell("aptupdate", "pveupdate", way.node, "", at),
                920..940 => {
                    let team = &people.shared[self.rng.usize(0..people.shared.len())];
                    self.rivals = true;
                    match self.rng.bool() {
                        true => self.bulk(&team[0].clone(), team.last(), way, at),
                        false => self.bulk(&who, None, way, at),
                    }
                    self.rivals = false;
                }
                940..960 => self.guess(&who, "user1@pve", way.node, at),
                960..975 => self.forge(&who, way.node, guest, at),
                975..985 => self.password(&who, "staff7@pve", way.node, at),
                988..994 => self.console_and_login(&people, way.node, guest, at),
                994..997 if !who.user.contains('!') => self.two_factors(&who, way.node, at),
                985..987 => self.own_call(way.node, guest, at),
                987..988 => {
                    let (script, other) = (&people.single[11], &people.single[12]);
                    self.flood(script, other, way.node, at);
                }
                _ => {}
            }
        }
    }

    /// Browsers renew every quarter of an hour.
    fn renewals(&mut self, people: &People) {
        for who in people.everyone.iter().filter(|who| !who.user.contains('!')) {
            let mut at = self.rng.i64(0..900_000);
            let node = self.node();
            while at < self.setup.length {
                if self.rng.u32(0..10) > 2 {
                    let mut who = who.clone();
                    who.walk(at);
                    self.login(&who, node, at);
                }
                at += 900_000 + self.rng.i64(0..2000);
            }
        }
    }

    /// Two people under one name do the same to the same guest at nearly the same time.
    fn two_of_a_team(&mut self, people: &People, verb: usize, node: usize, guest: u32, at: i64) {
        let team = &people.shared[self.rng.usize(0..people.shared.len())];
        self.rivals = true;
        let mut at = at;
        for _ in 0..2 {
            let who = &team[self.rng.usize(0..team.len())];
            let via = if self.rng.bool() { node } else { self.node() };
            self.call(who, verb, Way { node, via }, guest, at);
            at += self.rng.i64(0..9000);
        }
        self.rivals = false;
    }

    /// Somebody opens a console, and under the same name somebody else logs in just then.
    fn console_and_login(&mut self, people: &People, node: usize, guest: u32, at: i64) {
        let team = &people.shared[self.rng.usize(0..=ROOT)];
        let (one, other) = (&team[0], &team[1]);
        self.console(one, node, guest, at);
        let near = at + self.rng.i64(-1500..2500);
        self.login(other, node, near.max(0));
    }

    /// So much later the next one of a crowd comes [ms].
    fn pause(&mut self) -> i64 {
        let most = [300, 2500, 9000, 20_000][self.rng.usize(0..4)];
        self.rng.i64(0..most)
    }

    /// Several people, tasks and hands at the file of one guest within seconds.
    fn crowd_of_a_guest(&mut self, people: &People, guest: u32, at: i64) {
        self.crowd = true;
        let (node, kind) = (self.node(), ["vm", "ct"][self.rng.usize(0..2)]);
        let mut at = at;
        for _ in 0..self.rng.usize(2..5) {
            let who = people.any(&mut self.rng, at);
            let via = if self.rng.u32(0..4) == 0 {
                self.node()
            } else {
                node
            };
            let way = Way { node, via };
            match self.rng.u32(0..10) {
                0..3 => self.hand_guest(kind, node, guest, at),
                3..6 => {
                    let effect = self.rng.u32(0..3) > 0;
                    self.change_guest(&who, way, (kind, guest), at, effect);
                }
                6 if kind == "vm" => self.change_rule(&who, way, guest, at),
                7 | 8 if kind == "vm" => {
                    let verb = self.rng.usize(4..7);
                    self.call(&who, verb, way, guest, at);
                }
                _ => self.tool(node, guest, at),
            }
            at += self.pause();
        }
        self.crowd = false;
    }

    /// Several people and hands at the lists of the cluster within seconds, mostly upon the same object.
    fn crowd_of_a_list(&mut self, people: &People, n: u32, at: i64) {
        self.crowd = true;
        let mut at = at;
        for _ in 0..self.rng.usize(2..6) {
            let who = people.any(&mut self.rng, at);
            let node = self.node();
            let n = if self.rng.u32(0..4) == 0 { n + 1 } else { n };
            match self.rng.u32(0..10) {
                0..3 => self.hand_list(node, n, at),
                3..8 => self.change_access(&who, node, n, at),
                8 => self.change_setting(&who, node, n, at),
                _ => self.change_tfa(&who, node, n, at),
            }
            at += self.pause();
        }
        self.crowd = false;
    }
}
