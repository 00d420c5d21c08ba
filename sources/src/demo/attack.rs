//! A night's attack: doors are tried, passwords are tried from one address, one works, and what the account may delete is
//! deleted: ten guests, and a way back in is left behind.

use super::changes::{self, row};
use super::entry::Kind;
use super::people::task;
use super::tasks::{Caller, Task};
use super::world::{Act, HOUR, MINUTE, SECOND, World};

/// What is tried before the name that works.
const NAMES: [&str; 8] = [
    "root@pam",
    "admin@pve",
    "administrator@pve",
    "root@pam",
    "backup@pam",
    "pveuser@pve",
    "root@pam",
    "m.keller@pam",
];
/// Whose password was "spring2026".
const VICTIM: &str = "m.keller@pam";
/// Guests that do not survive it.
const DELETED: usize = 10;

impl World {
    /// The doors that are closed, then the one that is not.
    pub(super) fn scan(&mut self, address: u8) {
        let from = format!("203.0.113.{address}");
        self.on_behalf(Some(("-", &from)));
        let mut delay = 0;
        for port in [21, 22, 23, 111, 3128, 5900, 85] {
            self.dropped(delay, 0, &from, port);
            delay += self.random.i64(200..900);
        }
        for name in ["admin", "ubuntu", "root"] {
            let pid = self.new_pid(0);
            let port = self.random.u32(40_000..60_000);
            let invalid = if name == "root" { "" } else { "invalid user " };
            let text = format!("Failed password for {invalid}{name} from {from} port {port} ssh2");
            self.on_behalf(Some((name, &from)));
            self.syslog(delay, 0, "sshd-session", pid, text);
            delay += self.random.i64(900..2500);
        }
        let tries_left = self.random.u32(25..60);
        self.plan(
            delay + 3 * SECOND,
            Act::Guess {
                tries_left,
                address,
            },
        );
    }

    pub(super) fn guess(&mut self, tries_left: u32, address: u8) {
        let client = format!("::ffff:203.0.113.{address}");
        if tries_left == 0 {
            self.good_login(0, 0, &client, VICTIM, "json");
            let pause = self.random.i64(15 * SECOND..40 * SECOND);
            self.plan(pause, Act::Rampage { address });
            return;
        }
        let name = NAMES[self.random.usize(0..NAMES.len())];
        self.failed_login(0, 0, &client, name);
        let pause = self.random.i64(400..2200);
        self.plan(
            pause,
            Act::Guess {
                tries_left: tries_left - 1,
                address,
            },
        );
    }

    pub(super) fn rampage(&mut self, address: u8) {
        let caller = Caller {
            user: VICTIM.to_owned(),
            client: format!("::ffff:203.0.113.{address}"),
            node: 0,
        };
        let look = "GET /api2/json/cluster/resources".to_owned();
        self.request(0, &caller, 0, look, 200, Some(5120));
        let mut delay = self.back_doors(6 * SECOND, &caller);
        delay = self.node_shell(delay, &caller);
        // The guests that hurt most: none of the containers.
        let mut victims: Vec<u32> = self
            .guests
            .iter()
            .filter(|guest| !guest.container)
            .map(|guest| guest.vmid)
            .collect();
        self.random.shuffle(&mut victims);
        for vmid in victims.into_iter().take(DELETED) {
            delay = self.destroy(delay, &caller, vmid);
        }
        let call = "DELETE /api2/json/nodes/pve1/storage/nas1/content/backup/vzdump-qemu-102-2026_03_14-01_00_04.vma.zst".to_owned();
        let task = Task {
            kind: "imgdel",
            id: "102@nas1".to_owned(),
            node: 0,
            says: None,
            takes: SECOND,
            ends: "OK",
        };
        let call = Some((&caller, call));
        self.task(delay + 4 * SECOND, call, VICTIM, "pvedaemon", task);
        let repair = self.random.i64(30 * MINUTE..2 * HOUR);
        self.plan(delay + repair, Act::Restore);
        if !self.laws.month {
            self.plan_attack(24 * HOUR);
        }
    }

    /// A token to come back with, and the right to do everything with it.
    fn back_doors(&mut self, delay: i64, caller: &Caller) -> i64 {
        let call = "POST /api2/json/access/users/m.keller%40pam/token/sync".to_owned();
        self.request(delay, caller, 0, call, 200, Some(139));
        let rows = vec![row("privsep", None, Some("1"))];
        let path = "/etc/pve/user.cfg";
        let id = "m.keller@pam!sync";
        let token = changes::object(path, "token", id, Kind::Creation, rows);
        self.change(delay + 5, 0, token);
        let delay = delay + 9 * SECOND;
        let call = "PUT /api2/json/access/acl".to_owned();
        self.request(delay, caller, 0, call, 200, Some(13));
        let grant = changes::acl("/", id, "Administrator", Kind::Creation);
        self.change(delay + 5, 0, grant);
        let delay = delay + 7 * SECOND;
        let call = "PUT /api2/json/cluster/firewall/options".to_owned();
        self.request(delay, caller, 0, call, 200, Some(13));
        let rows = vec![row("enable", Some("1"), Some("0"))];
        let path = "/etc/pve/firewall/cluster.fw";
        let off = changes::object(path, "firewall_options", "cluster", Kind::Change, rows);
        self.change(delay + 5, 0, off);
        delay + 5 * SECOND
    }

    fn node_shell(&mut self, delay: i64, caller: &Caller) -> i64 {
        let call = "POST /api2/json/nodes/pve1/termproxy".to_owned();
        let task = Task {
            kind: "vncshell",
            id: String::new(),
            node: 0,
            says: Some("starting termproxy".to_owned()),
            takes: 48 * SECOND,
            ends: "OK",
        };
        let run = self.task(delay, Some((caller, call)), VICTIM, "pvedaemon", task);
        self.websocket(delay + 900, caller, 0, "");
        run.end
    }

    /// Stops and destroys a guest; when it is done.
    pub(super) fn destroy(&mut self, delay: i64, caller: &Caller, vmid: u32) -> i64 {
        let Some(at) = self.guests.iter().position(|guest| guest.vmid == vmid) else {
            return delay;
        };
        let guest = self.guests.swap_remove(at);
        let path = format!(
            "/api2/json/nodes/{}/qemu/{vmid}",
            self.nodes[guest.node].name
        );
        let mut delay = delay + self.random.i64(2 * SECOND..9 * SECOND);
        if guest.running {
            let task = Task {
                says: Some(format!("stop VM {vmid}:")),
                ..task("qmstop", &guest, 2 * SECOND)
            };
            let call = Some((caller, format!("POST {path}/status/stop")));
            let run = self.task(delay, call, &caller.user, "pvedaemon", task);
            self.state(run.end + 500, &guest, "stopped");
            delay = run.end;
        }
        let task = Task {
            says: Some(format!("destroy VM {vmid}:")),
            ..task("qmdestroy", &guest, 4 * SECOND)
        };
        let call = format!("DELETE {path}?purge=1&destroy-unreferenced-disks=1");
        let run = self.task(
            delay + 300,
            Some((caller, call)),
            &caller.user,
            "pvedaemon",
            task,
        );
        let change = self.guest_file(&guest, Kind::Deletion);
        self.change(run.end, guest.node, change);
        self.destroyed.push(guest);
        run.end
    }

    /// Later that night: somebody is woken, and everything comes back from the backup.
    pub(super) fn restore(&mut self) {
        let caller = self.caller(0);
        self.good_login(0, caller.node, &caller.client, &caller.user, "extjs");
        let mut delay = 30 * SECOND;
        for guest in std::mem::take(&mut self.destroyed) {
            let call = format!(
                "POST /api2/extjs/nodes/{}/qemu",
                self.nodes[guest.node].name
            );
            let takes = self.random.i64(MINUTE..4 * MINUTE);
            let task = task("qmrestore", &guest, takes);
            let call = Some((&caller, call));
            let begins = delay + 20 * SECOND;
            let run = self.task(begins, call, &caller.user, "pvedaemon", task);
            delay = run.end;
            // Its number is taken at once, the disks come after.
            let change = self.guest_file(&guest, Kind::Creation);
            self.change(begins + 300, guest.node, change);
            self.state(delay + 500, &guest, "stopped");
            self.guests.push(super::world::Guest {
                running: false,
                ..guest
            });
        }
    }
}
