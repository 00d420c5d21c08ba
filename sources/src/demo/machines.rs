//! What happens without anybody: monitoring, automation, daemons, the nightly backup.

use super::tasks::{Caller, Task};
use super::world::{Act, Guest, HOUR, MINUTE, Request, SECOND, World, until_hour};

impl World {
    pub(super) fn monitor(&mut self) {
        for node in 0..self.nodes.len() {
            let call = format!("GET /api2/json/nodes/{}/status", self.nodes[node].name);
            let length = Some(self.random.u32(900..1400));
            let delay = self.random.i64(0..400);
            self.plan(
                delay,
                Act::Access(Request {
                    node,
                    client: "::ffff:192.168.10.60".to_owned(),
                    user: "monitoring@pve!prom".to_owned(),
                    call,
                    status: 200,
                    length,
                }),
            );
        }
        // A forgotten script with an old ticket.
        if self.random.u8(0..20) == 0 {
            let pid = 1601 + self.random.u32(0..3);
            self.journal(
                200,
                0,
                "pveproxy",
                pid,
                "authentication failure: token 'nagios' access expired".to_owned(),
            );
            let call = "GET /api2/json/version".to_owned();
            self.plan(
                205,
                Act::Access(Request {
                    node: 0,
                    client: "::ffff:192.168.10.61".to_owned(),
                    user: "-".to_owned(),
                    call,
                    status: 401,
                    length: None,
                }),
            );
        }
        self.plan(15 * SECOND, Act::Monitor);
    }

    pub(super) fn automate(&mut self) {
        let caller = Caller {
            user: "automation@pve!terraform".to_owned(),
            client: "::ffff:192.168.10.50".to_owned(),
            node: 0,
        };
        if let Some((at, guest)) = self.some_guest().filter(|(_, guest)| !guest.container) {
            let Guest { vmid, node, .. } = guest;
            let path = format!("/api2/json/nodes/{}/qemu/{vmid}", self.nodes[node].name);
            if self.random.bool() {
                let takes = self.random.i64(2 * SECOND..20 * SECOND);
                let task = Task {
                    kind: "qmconfig",
                    id: vmid.to_string(),
                    node,
                    says: None,
                    takes,
                    ends: "OK",
                };
                let call = format!("POST {path}/config");
                let pid = self.daemon_pid(node);
                self.journal(
                    0,
                    node,
                    "pvedaemon",
                    pid,
                    format!(
                        "<{}> update VM {vmid}: -cores 4 -name {} -tags terraform",
                        caller.user, guest.name
                    ),
                );
                self.task(4, Some((&caller, call)), &caller.user, "pvedaemon", task);
            } else if !guest.running {
                self.guests[at].running = true;
                let task = Task {
                    kind: "qmstart",
                    id: vmid.to_string(),
                    node,
                    says: Some(format!("start VM {vmid}:")),
                    takes: 3 * SECOND,
                    ends: "OK",
                };
                self.task(
                    0,
                    Some((&caller, format!("POST {path}/status/start"))),
                    &caller.user,
                    "pvedaemon",
                    task,
                );
            } else {
                self.request(
                    0,
                    &caller,
                    node,
                    format!("GET {path}/config"),
                    200,
                    Some(812),
                );
                self.request(
                    300,
                    &caller,
                    node,
                    format!("PUT {path}/firewall/options"),
                    403,
                    Some(64),
                );
            }
        }
        let pause = self.random.i64(40 * SECOND..6 * MINUTE);
        self.plan(pause, Act::Automate);
    }

    pub(super) fn daemon(&mut self, node: usize) {
        let worker = 1601 + self.random.u32(0..3);
        match self.random.u8(0..8) {
            0 => {
                let secs = self.random.u32(5000..12_000);
                self.journal(0, node, "pvestatd", 1490, format!("status update time ({}.{:03} seconds)", secs / 1000, secs % 1000));
            }
            1 => self.journal(0, node, "pmxcfs", 1201, "[status] notice: received log".to_owned()),
            2 => {
                self.journal(0, node, "pveproxy", worker, "worker exit".to_owned());
                self.journal(40, node, "pveproxy", 1600, format!("worker {worker} finished"));
                self.journal(45, node, "pveproxy", 1600, "starting 1 worker(s)".to_owned());
                self.journal(60, node, "pveproxy", 1600, format!("worker {} started", worker + 3));
            }
            3 => self.journal(0, node, "pveproxy", worker, "proxy detected vanished client connection".to_owned()),
            4 => self.journal(0, node, "pmxcfs", 1201, "[dcdb] notice: data verification successful".to_owned()),
            5 => self.journal(0, node, "corosync", 1298, "  [TOTEM ] Retransmit List: 1a 1b".to_owned()),
            6 => self.journal(0, node, "pve-firewall", 1488, "firewall update time (6.120 seconds)".to_owned()),
            _ => self.journal(0, node, "smartd", 874, "Device: /dev/sda [SAT], SMART Usage Attribute: 194 Temperature_Celsius changed from 71 to 70".to_owned()),
        }
        let pause = self.random.i64(20 * SECOND..2 * MINUTE);
        self.plan(pause, Act::Daemon(node));
    }

    /// All guests of a node, one after the other; now and then one fails and with it the job.
    pub(super) fn backup(&mut self, node: usize) {
        let guests: Vec<Guest> = self
            .guests
            .iter()
            .filter(|guest| guest.node == node)
            .cloned()
            .collect();
        let pid = self.nodes[node].next_pid;
        let list = guests
            .iter()
            .map(|guest| guest.vmid.to_string())
            .collect::<Vec<_>>()
            .join(" ");
        self.journal(10, node, "pvescheduler", pid, format!("INFO: starting new backup job: vzdump {list} --mode snapshot --storage nas1 --quiet 1"));
        let mut at = SECOND;
        let mut failed = false;
        for Guest {
            vmid, container, ..
        } in guests
        {
            let kind = if container { "lxc" } else { "qemu" };
            self.journal(
                at,
                node,
                "pvescheduler",
                pid,
                format!("INFO: Starting Backup of VM {vmid} ({kind})"),
            );
            let takes = self.random.i64(30 * SECOND..6 * MINUTE);
            at += takes;
            if self.random.u8(0..15) == 0 {
                failed = true;
                self.journal(at, node, "pvescheduler", pid, format!("ERROR: Backup of VM {vmid} failed - job failed with err -28 - No space left on device"));
            } else {
                let secs = takes / 1000;
                self.journal(
                    at,
                    node,
                    "pvescheduler",
                    pid,
                    format!(
                        "INFO: Finished Backup of VM {vmid} ({:02}:{:02}:{:02})",
                        secs / 3600,
                        secs / 60 % 60,
                        secs % 60
                    ),
                );
            }
        }
        let word = if failed {
            "with errors"
        } else {
            "successfully"
        };
        self.journal(
            at + 20,
            node,
            "pvescheduler",
            pid,
            format!("INFO: Backup job finished {word}"),
        );
        let ends = if failed { "job errors" } else { "OK" };
        let task = Task {
            kind: "vzdump",
            id: String::new(),
            node,
            says: None,
            takes: at + 40,
            ends,
        };
        self.task(0, None, "root@pam", "pvescheduler", task);
        let next = until_hour(self.now + HOUR, 1) + HOUR + self.random.i64(0..3 * SECOND);
        self.plan(next, Act::Backup(node));
    }
}
