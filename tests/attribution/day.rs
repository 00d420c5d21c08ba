//! What the people of the world do on a day.

use super::{Class, Person, VERBS, World, ip};

impl World {
    /// A whole day with about so many acts.
    pub fn live(&mut self, acts: usize, length: i64) {
        let mut people = Vec::new();
        let mut shared: Vec<Vec<Person>> = Vec::new();
        for n in 0..30 {
            // Ten of them sit behind one address.
            let ip = if n < 10 { ip(0) } else { ip(n) };
            people.push(Person {
                user: format!("user{n}@pve"),
                ip,
                class: Class::Call,
            });
        }
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
        let everyone: Vec<Person> = people
            .iter()
            .chain(shared.iter().flatten())
            .cloned()
            .collect();
        // Browsers renew every quarter of an hour.
        for who in everyone.iter().filter(|who| !who.user.contains('!')) {
            let mut at = self.rng.i64(0..900_000);
            let node = self.rng.usize(0..3);
            while at < length {
                if self.rng.u32(0..10) > 2 {
                    self.login(who, node, at);
                }
                at += 900_000 + self.rng.i64(0..2000);
            }
        }
        while self.acts < acts {
            let at = self.rng.i64(0..length);
            let node = self.rng.usize(0..3);
            let via = if self.rng.u32(0..3) == 0 {
                self.rng.usize(0..3)
            } else {
                node
            };
            let guest = self.new_guest();
            let who = everyone[self.rng.usize(0..everyone.len())].clone();
            let verb = self.rng.usize(0..VERBS.len());
            match self.rng.u32(0..100) {
                0..55 => self.call(&who, verb, node, via, guest, at),
                55..63 => {
                    // Two people under one name do the same to the same guest at nearly the same time.
                    let team = &shared[self.rng.usize(0..shared.len())].clone();
                    for _ in 0..2 {
                        let who = &team[self.rng.usize(0..team.len())];
                        let later = at + self.rng.i64(0..9000);
                        let via = if self.rng.bool() {
                            node
                        } else {
                            self.rng.usize(0..3)
                        };
                        self.call(who, verb, node, via, guest, later);
                    }
                }
                63..70 => {
                    let who = (self.rng.u32(0..4) > 0).then_some(&who);
                    self.change(who, node, via, guest, at);
                    if self.rng.u32(0..6) == 0 {
                        // Someone edits the file at nearly the same time.
                        let later = at + self.rng.i64(0..12_000);
                        self.change(None, node, node, guest, later);
                    }
                }
                70..74 => self.ha(&who, node, via, guest, at),
                74..78 => self.failed(&who, node, guest, at),
                78..83 if !who.user.contains('!') => self.console(&who, node, guest, at),
                83..90 => {
                    let tool = VERBS[verb].2;
                    self.shell(tool, "qm", node, &guest.to_string(), at);
                    if self.rng.u32(0..3) == 0 {
                        // And root does the same in the browser.
                        let root = shared[6][self.rng.usize(0..2)].clone();
                        let later = at + self.rng.i64(0..6000);
                        self.call(&root, verb, node, via, guest, later);
                    }
                }
                90..93 => self.shell("vzdump", "pvescheduler", node, "", at),
                _ => self.shell("aptupdate", "pveupdate", node, "", at),
            }
        }
        self.records.sort_by_key(|record| record.arrives);
    }
}
