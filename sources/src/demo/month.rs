//! An ordinary month: people who work by day and administer little, machines that never rest, and attacks of many kinds,
//! each on a day of its own.

use super::changes::{self, row};
use super::entry::Kind;
use super::people::task;
use super::tasks::{Caller, Task};
use super::world::{Act, Guest, HOUR, MINUTE, SECOND, World, until};

/// The attack that every day of the demo has; in a month it comes once.
pub(super) const STOLEN_ACCOUNT: &str = "stolen-account";

/// An attack: its name, on which day after the first, and when in local time [min after midnight].
struct Plant {
    name: &'static str,
    day: i64,
    minute: i64,
}

const fn plant(name: &'static str, day: i64, hour: i64, minute: i64) -> Plant {
    let minute = 60 * hour + minute;
    Plant { name, day, minute }
}

/// What is planted besides the stolen account.
const PLANTED: [Plant; 10] = [
    plant("right-for-oneself", 4, 11, 10),
    plant("password-spray", 7, 13, 5),
    plant("backups-purged", 9, 14, 30),
    plant("firewall-off", 11, 15, 20),
    plant("consoles-in-a-row", 14, 12, 30),
    plant("protection-off", 16, 10, 50),
    plant("guests-stopped", 18, 3, 15),
    plant("snapshots-purged", 22, 14, 5),
    plant("token-with-full-rights", 24, 11, 40),
    plant("realm-added", 28, 13, 50),
];

/// The day of the stolen account.
const STOLEN_ON: i64 = 3;
/// `root@pam` is used on few days: every so many.
const ROOT_DAYS: i64 = 10;

const DAY: i64 = 24 * HOUR;
/// When people come, and when the last of them goes [ms after midnight, local time].
const MORNING: i64 = 9 * HOUR + 30 * MINUTE;
const EVENING: i64 = 16 * HOUR + 30 * MINUTE;

impl World {
    pub(super) fn plan_month(&mut self) {
        let midnight = until(self.now, 0);
        let address = self.random.u8(2..250);
        let night = midnight + STOLEN_ON * DAY + 2 * HOUR + 20 * MINUTE;
        self.plan(night, Act::Scan { address });
        for (number, plant) in PLANTED.iter().enumerate() {
            let at = midnight + plant.day * DAY + plant.minute * MINUTE;
            self.plan(at, Act::Planted(number));
        }
    }

    /// How long a session lasts that ends before the evening [ms].
    pub(super) fn session(&mut self) -> i64 {
        let session = self.random.i64(40 * MINUTE..3 * HOUR);
        session.min(until(self.now, EVENING))
    }

    /// From now to a person's first login of the next day at work [ms].
    pub(super) fn next_morning(&mut self, person: usize) -> i64 {
        let mut delay = until(self.now, MORNING) + self.random.i64(0..HOUR);
        if person == 0 {
            delay += ROOT_DAYS * DAY;
        }
        while is_weekend(self.now + delay) {
            delay += DAY;
        }
        delay
    }

    /// From now to a person's next login, after a session [ms].
    pub(super) fn next_login(&mut self, person: usize, session: i64) -> i64 {
        let pause = self.random.i64(HOUR / 2..2 * HOUR);
        let left = until(self.now, EVENING);
        // With less than an hour left it is not worth it.
        if person != 0 && left < EVENING - MORNING && session + pause + HOUR < left {
            session + pause
        } else {
            self.next_morning(person)
        }
    }

    /// Whether nobody works today.
    pub(super) fn is_day_off(&self) -> bool {
        self.laws.month && is_weekend(self.now)
    }

    pub(super) fn planted(&mut self, number: usize) {
        let Some(plant) = PLANTED.get(number) else {
            return;
        };
        self.attack = Some(plant.name);
        match plant.name {
            "right-for-oneself" => self.right_for_oneself(),
            "password-spray" => self.password_spray(),
            "backups-purged" => self.backups_purged(),
            "firewall-off" => self.firewall_off(),
            "consoles-in-a-row" => self.consoles_in_a_row(),
            "protection-off" => self.protection_off(),
            "guests-stopped" => self.guests_stopped(),
            "snapshots-purged" => self.snapshots_purged(),
            "token-with-full-rights" => self.token_with_full_rights(),
            _ => self.realm_added(),
        }
    }

    /// One of the people, at the usual desk, with a login of a moment ago.
    fn insider(&mut self, person: usize) -> Caller {
        let caller = self.caller(person);
        let (client, user) = (caller.client.clone(), caller.user.clone());
        self.good_login(0, caller.node, &client, &user, "extjs");
        caller
    }

    fn right_for_oneself(&mut self) {
        let caller = self.insider(3);
        let call = "PUT /api2/extjs/access/acl".to_owned();
        self.request(30 * SECOND, &caller, caller.node, call, 200, Some(25));
        let grant = changes::acl("/", &caller.user, "Administrator", Kind::Creation);
        self.change(30 * SECOND + 5, 0, grant);
    }

    fn password_spray(&mut self) {
        let client = "::ffff:203.0.113.77";
        let mut delay = 0;
        for user in [
            "alice@pve",
            "ops@pve",
            "bob@corp-ad",
            "m.keller@pam",
            "j.santos@corp-ad",
            "backup@pam",
            "admin@pve",
            "svc@pve",
        ] {
            self.failed_login(delay, 1 % self.nodes.len(), client, user);
            delay += self.random.i64(20 * SECOND..70 * SECOND);
        }
    }

    fn backups_purged(&mut self) {
        let caller = self.insider(5);
        let node = self.nodes[caller.node].name.clone();
        let mut delay = 20 * SECOND;
        for vmid in 102..107 {
            let volume = format!("vzdump-qemu-{vmid}-2026_03_10-01_00_04.vma.zst");
            let call =
                format!("DELETE /api2/extjs/nodes/{node}/storage/nas1/content/backup/{volume}");
            let task = Task {
                kind: "imgdel",
                id: format!("{vmid}@nas1"),
                node: caller.node,
                says: None,
                takes: SECOND,
                ends: "OK",
            };
            let run = self.task(
                delay,
                Some((&caller, call)),
                &caller.user,
                "pvedaemon",
                task,
            );
            delay = run.end + self.random.i64(10 * SECOND..40 * SECOND);
        }
        let call = "DELETE /api2/extjs/cluster/backup/backup-4f1a2b3c-9d8e".to_owned();
        self.request(delay, &caller, caller.node, call, 200, Some(25));
        let rows = vec![row("schedule", Some("01:00"), None)];
        let path = "/etc/pve/jobs.cfg";
        let gone = changes::object(
            path,
            "backup_job",
            "backup-4f1a2b3c-9d8e",
            Kind::Deletion,
            rows,
        );
        self.change(delay + 5, 0, gone);
    }

    fn firewall_off(&mut self) {
        let caller = self.insider(2);
        let call = "PUT /api2/extjs/cluster/firewall/options".to_owned();
        self.request(25 * SECOND, &caller, caller.node, call, 200, Some(25));
        let rows = vec![row("enable", Some("1"), Some("0"))];
        let path = "/etc/pve/firewall/cluster.fw";
        let off = changes::object(path, "firewall_options", "cluster", Kind::Change, rows);
        self.change(25 * SECOND + 5, 0, off);
    }

    fn consoles_in_a_row(&mut self) {
        let caller = self.insider(4);
        let guests: Vec<Guest> = self.guests.iter().take(7).cloned().collect();
        for (n, guest) in (0..).zip(guests) {
            self.console(MINUTE * n, &caller, &guest);
        }
    }

    fn protection_off(&mut self) {
        let caller = self.insider(5);
        let Some(guest) = self.guests.iter().find(|guest| !guest.container).cloned() else {
            return;
        };
        let (vmid, node) = (guest.vmid, self.nodes[guest.node].name.clone());
        let begins = 40 * SECOND;
        let pid = self.daemon_pid(guest.node);
        let text = format!("<{}> update VM {vmid}: -delete protection", caller.user);
        self.on_behalf_of(&caller);
        self.journal(begins, guest.node, "pvedaemon", pid, text);
        let call = format!("PUT /api2/extjs/nodes/{node}/qemu/{vmid}/config");
        self.request(begins + 15, &caller, guest.node, call, 200, Some(25));
        let rows = vec![row("protection", Some("1"), None)];
        let change = self.guest_change(&guest, Kind::Change, rows);
        self.change(begins + 20, guest.node, change);
        self.destroy(begins + 5 * MINUTE, &caller, vmid);
        // It comes back, as an attack of the night would have it.
        self.plan(2 * HOUR, Act::Restore);
    }

    fn guests_stopped(&mut self) {
        let caller = Caller {
            user: "automation@pve!terraform".to_owned(),
            client: "::ffff:203.0.113.90".to_owned(),
            node: 0,
        };
        let mut delay = 0;
        for at in 0..self.guests.len() {
            let guest = self.guests[at].clone();
            if guest.container || !guest.running {
                continue;
            }
            self.guests[at].running = false;
            let (vmid, node) = (guest.vmid, &self.nodes[guest.node].name);
            let call = format!("POST /api2/json/nodes/{node}/qemu/{vmid}/status/stop");
            let task = Task {
                says: Some(format!("stop VM {vmid}:")),
                ..task("qmstop", &guest, 2 * SECOND)
            };
            let run = self.task(
                delay,
                Some((&caller, call)),
                &caller.user,
                "pvedaemon",
                task,
            );
            self.state(run.end + 500, &guest, "stopped");
            delay = run.end + self.random.i64(SECOND..6 * SECOND);
        }
    }

    fn snapshots_purged(&mut self) {
        let caller = self.insider(3);
        let guests: Vec<Guest> = self
            .guests
            .iter()
            .filter(|guest| !guest.container)
            .take(6)
            .cloned()
            .collect();
        let mut delay = 30 * SECOND;
        for guest in guests {
            let (vmid, node) = (guest.vmid, &self.nodes[guest.node].name);
            let call = format!("DELETE /api2/extjs/nodes/{node}/qemu/{vmid}/snapshot/nightly");
            let task = task("qmdelsnapshot", &guest, 3 * SECOND);
            let run = self.task(
                delay,
                Some((&caller, call)),
                &caller.user,
                "pvedaemon",
                task,
            );
            delay = run.end + self.random.i64(10 * SECOND..60 * SECOND);
        }
    }

    fn token_with_full_rights(&mut self) {
        let caller = self.insider(2);
        let call = "POST /api2/extjs/access/users/alice%40pve/token/laptop".to_owned();
        self.request(35 * SECOND, &caller, caller.node, call, 200, Some(160));
        let rows = vec![row("privsep", None, Some("0"))];
        let path = "/etc/pve/user.cfg";
        let token = changes::object(path, "token", "alice@pve!laptop", Kind::Creation, rows);
        self.change(35 * SECOND + 5, 0, token);
    }

    fn realm_added(&mut self) {
        let caller = self.insider(1);
        let call = "POST /api2/extjs/access/domains".to_owned();
        self.request(45 * SECOND, &caller, caller.node, call, 200, Some(25));
        let rows = vec![row("server1", None, Some("203.0.113.5"))];
        let path = "/etc/pve/domains.cfg";
        let realm = changes::object(path, "realm", "partner", Kind::Creation, rows);
        self.change(45 * SECOND + 5, 0, realm);
    }
}

/// Whether it is Saturday or Sunday where the cluster stands.
fn is_weekend(now: i64) -> bool {
    // The first of January 1970 was a Thursday.
    let days = (now + super::text::ZONE).div_euclid(DAY).rem_euclid(7);
    (2..4).contains(&days)
}
