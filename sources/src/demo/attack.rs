//! An attack now and then: passwords are tried from one address, one works, and what the account may delete is deleted.

use super::tasks::{Caller, Task};
use super::world::{Act, Guest, HOUR, MINUTE, SECOND, World};

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

impl World {
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
        let mut delay = 0;
        self.request(
            delay,
            &caller,
            0,
            "GET /api2/json/cluster/resources".to_owned(),
            200,
            Some(5120),
        );
        // A door to come back through.
        delay += 6 * SECOND;
        self.request(
            delay,
            &caller,
            0,
            "POST /api2/json/access/users/m.keller%40pam/token/sync".to_owned(),
            200,
            Some(139),
        );
        let victims = self.random.usize(4..8).min(self.guests.len());
        for _ in 0..victims {
            let at = self.random.usize(0..self.guests.len());
            let guest = self.guests.swap_remove(at);
            let (vmid, node) = (guest.vmid, guest.node);
            let path = format!(
                "/api2/json/nodes/{}/{}/{vmid}",
                self.nodes[node].name,
                guest.kind()
            );
            let (stop, destroy, word) = if guest.container {
                ("vzstop", "vzdestroy", "CT")
            } else {
                ("qmstop", "qmdestroy", "VM")
            };
            delay += self.random.i64(2 * SECOND..9 * SECOND);
            let task = |kind, verb: &str, takes| Task {
                kind,
                id: vmid.to_string(),
                node,
                says: Some(format!("{verb} {word} {vmid}:")),
                takes,
                ends: "OK",
            };
            if guest.running {
                let call = format!("POST {path}/status/stop");
                delay = self.task(
                    delay,
                    Some((&caller, call)),
                    VICTIM,
                    "pvedaemon",
                    task(stop, "stop", 2 * SECOND),
                );
            }
            let call = format!("DELETE {path}?purge=1&destroy-unreferenced-disks=1");
            delay = self.task(
                delay + 300,
                Some((&caller, call)),
                VICTIM,
                "pvedaemon",
                task(destroy, "destroy", 4 * SECOND),
            );
            self.destroyed.push(guest);
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
        self.task(
            delay + 4 * SECOND,
            Some((&caller, call)),
            VICTIM,
            "pvedaemon",
            task,
        );
        let repair = self.random.i64(30 * MINUTE..2 * HOUR);
        self.plan(delay + repair, Act::Restore);
        let next = self.random.i64(5 * HOUR..11 * HOUR);
        self.plan_attack(delay + next);
    }

    /// The morning after: everything comes back from the backup.
    pub(super) fn restore(&mut self) {
        let caller = self.caller(0);
        let mut delay = 0;
        for guest in std::mem::take(&mut self.destroyed) {
            let (vmid, node) = (guest.vmid, guest.node);
            let kind = if guest.container {
                "vzrestore"
            } else {
                "qmrestore"
            };
            let call = format!(
                "POST /api2/extjs/nodes/{}/{}",
                self.nodes[node].name,
                guest.kind()
            );
            let takes = self.random.i64(MINUTE..8 * MINUTE);
            let task = Task {
                kind,
                id: vmid.to_string(),
                node,
                says: None,
                takes,
                ends: "OK",
            };
            delay = self.task(
                delay + 20 * SECOND,
                Some((&caller, call)),
                &caller.user,
                "pvedaemon",
                task,
            );
            self.guests.push(Guest {
                running: false,
                ..guest
            });
        }
    }
}
