//! What happens without anybody: monitoring, automation, daemons, the nightly backup.

use super::changes::row;
use super::entry::{Kind, Packet, Phase, Request, Shares, StateFact, What};
use super::people::task;
use super::tasks::{Caller, Task};
use super::world::{Act, Guest, HOUR, MINUTE, SECOND, World, until_hour};

impl World {
    pub(super) fn monitor(&mut self) {
        for node in 0..self.nodes.len() {
            let call = format!("GET /api2/json/nodes/{}/status", self.nodes[node].name);
            let length = Some(self.random.u32(900..1400));
            let delay = self.random.i64(0..400);
            let caller = Caller {
                user: "monitoring@pve!prom".to_owned(),
                client: "::ffff:192.168.10.60".to_owned(),
                node,
            };
            self.request(delay, &caller, node, call, 200, length);
        }
        // A forgotten script with an old ticket.
        if self.random.u8(0..20) == 0 {
            self.on_behalf(Some(("-", "192.168.10.61")));
            let pid = 1601 + self.random.u32(0..3);
            self.journal(
                200,
                0,
                "pveproxy",
                pid,
                "authentication failure: token 'nagios' access expired".to_owned(),
            );
            let call = "GET /api2/json/version".to_owned();
            let request = Request {
                client: "::ffff:192.168.10.61".to_owned(),
                user: "-".to_owned(),
                call,
                status: 401,
                length: None,
            };
            self.access(205, 0, request);
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
                let task = task("qmconfig", &guest, takes);
                self.on_behalf_of(&caller);
                let pid = self.daemon_pid(node);
                let cores = 1 << self.random.u32(0..4);
                let text = format!("<{}> update VM {vmid}: -cores {cores}", caller.user);
                self.journal(0, node, "pvedaemon", pid, text);
                let call = Some((&caller, format!("POST {path}/config")));
                self.task(4, call, &caller.user, "pvedaemon", task);
                if cores != guest.cores {
                    self.guests[at].cores = cores;
                    let (old, new) = (guest.cores.to_string(), cores.to_string());
                    let rows = vec![row("cores", Some(&old), Some(&new))];
                    let change = self.guest_change(&guest, Kind::Change, rows);
                    self.change(30, node, change);
                }
            } else if !guest.running {
                self.guests[at].running = true;
                let task = Task {
                    says: Some(format!("start VM {vmid}:")),
                    ..task("qmstart", &guest, 3 * SECOND)
                };
                let call = Some((&caller, format!("POST {path}/status/start")));
                let run = self.task(0, call, &caller.user, "pvedaemon", task);
                self.state(run.end + 700, &guest, "running");
            } else {
                let read = format!("GET {path}/config");
                self.request(0, &caller, node, read, 200, Some(812));
                let refused = format!("PUT {path}/firewall/options");
                self.request(300, &caller, node, refused, 403, Some(64));
            }
        }
        let pause = self.random.i64(2 * MINUTE..12 * MINUTE);
        self.plan(pause, Act::Automate);
    }

    /// Root of one node logs in to another, as nodes do all day.
    pub(super) fn node_login(&mut self, delay: i64, from: usize, to: usize) {
        let address = self.nodes[from].address.clone();
        self.on_behalf(Some(("root", &address)));
        let address = address.trim_start_matches("::ffff:").to_owned();
        let pid = self.new_pid(to);
        let port = self.random.u32(40_000..60_000);
        let key = ["Qk3w", "b81Z", "xT0e"][from % 3];
        let text = format!(
            "Accepted publickey for root from {address} port {port} ssh2: RSA SHA256:{key}n4J9mXvYpLr7TcB2sWqHdEoUfGiKaZ5NjM"
        );
        self.syslog(delay, to, "sshd-session", pid, text);
        let opened = "pam_unix(sshd:session): session opened for user root(uid=0) by root(uid=0)";
        self.syslog(delay + 20, to, "sshd-session", pid, opened.to_owned());
        let closed = "pam_unix(sshd:session): session closed for user root";
        self.syslog(delay + 1900, to, "sshd-session", pid, closed.to_owned());
    }

    pub(super) fn replicate(&mut self, node: usize) {
        let to = (node + 1) % self.nodes.len();
        self.node_login(0, node, to);
        self.plan(15 * MINUTE, Act::Replicate(node));
    }

    /// What every guest and node is doing, once an hour, with what it takes.
    pub(super) fn inventory(&mut self) {
        for guest in self.guests.clone() {
            let shares = guest.running.then(|| self.shares());
            let fact = StateFact {
                object: guest.object(),
                id: guest.vmid.to_string(),
                name: guest.name.to_owned(),
                vmid: Some(guest.vmid),
                node: self.nodes[guest.node].name.clone(),
                status: if guest.running { "running" } else { "stopped" },
                shares,
            };
            self.write(0, guest.node, What::State(fact));
        }
        for node in 0..self.nodes.len() {
            let name = self.nodes[node].name.clone();
            let fact = StateFact {
                object: "node",
                id: name.clone(),
                name: name.clone(),
                vmid: None,
                node: name,
                status: "online",
                shares: Some(self.shares()),
            };
            self.write(0, node, What::State(fact));
        }
        self.plan(HOUR, Act::Inventory);
    }

    fn shares(&mut self) -> Shares {
        Shares([
            self.random.u16(5..700),
            self.random.u16(200..900),
            self.random.u16(100..800),
        ])
    }

    /// The nightly look at the packages, and the old task logs that go.
    pub(super) fn update(&mut self, node: usize) {
        let task = Task {
            kind: "aptupdate",
            id: String::new(),
            node,
            says: None,
            takes: 9 * SECOND,
            ends: "OK",
        };
        self.on_behalf(Some(("root@pam", "")));
        let run = self.task(0, None, "root@pam", "pveupdate", task);
        let pid = self.nodes[node].next_pid;
        let text = "cleanup removed 41 task logs".to_owned();
        self.journal(run.end + 900, node, "pveupdate", pid, text);
        self.plan(24 * HOUR, Act::Update(node));
    }

    /// A packet from outside that met no rule.
    pub(super) fn dropped(&mut self, delay: i64, node: usize, from: &str, port: u16) {
        let to = self.nodes[node]
            .address
            .trim_start_matches("::ffff:")
            .to_owned();
        let (spt, id) = (self.random.u16(30_000..), self.random.u16(..));
        let text = format!(
            "policy DROP: IN=vmbr0 MAC=24:8a:07:00:00:02:24:8a:07:00:00:01:08:00 SRC={from} DST={to} LEN=60 TOS=0x00 PREC=0x00 TTL=53 ID={id} DF PROTO=TCP SPT={spt} DPT={port} SEQ=3673568222 ACK=0 WINDOW=64240 SYN "
        );
        let chain = "PVEFW-HOST-IN".to_owned();
        self.packet(
            delay,
            node,
            Packet {
                vmid: 0,
                chain,
                text,
            },
        );
    }

    pub(super) fn daemon(&mut self, node: usize) {
        let worker = 1601 + self.random.u32(0..3);
        match self.random.u8(0..9) {
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
            6 => {
                let from = format!("198.51.100.{}", self.random.u8(2..250));
                let port = [22, 23, 445, 3389, 8006][self.random.usize(0..5)];
                self.on_behalf(Some(("-", &from)));
                self.dropped(0, node, &from, port);
            }
            7 => self.journal(0, node, "pve-firewall", 1488, "firewall update time (6.120 seconds)".to_owned()),
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
        self.on_behalf(Some(("root@pam", "")));
        // The worker that the task will have.
        let pid = self.new_pid(node);
        let list = guests
            .iter()
            .map(|guest| guest.vmid.to_string())
            .collect::<Vec<_>>()
            .join(" ");
        self.journal(10, node, "pvescheduler", pid, format!("INFO: starting new backup job: vzdump {list} --mode snapshot --storage nas1 --quiet 1"));
        let mut at = SECOND;
        let mut told: Vec<(u32, i64, i64, &'static str)> = Vec::new();
        for Guest {
            vmid, container, ..
        } in guests
        {
            let kind = if container { "lxc" } else { "qemu" };
            let text = format!("INFO: Starting Backup of VM {vmid} ({kind})");
            self.journal(at, node, "pvescheduler", pid, text);
            let began = at;
            let takes = self.random.i64(30 * SECOND..4 * MINUTE);
            at += takes;
            let why = "job failed with err -28 - No space left on device";
            let one_of = if self.laws.month { 400 } else { 15 };
            let fails = self.random.u16(0..one_of) == 0;
            let text = if fails {
                format!("ERROR: Backup of VM {vmid} failed - {why}")
            } else {
                let secs = takes / 1000;
                let (h, m, s) = (secs / 3600, secs / 60 % 60, secs % 60);
                format!("INFO: Finished Backup of VM {vmid} ({h:02}:{m:02}:{s:02})")
            };
            self.journal(at, node, "pvescheduler", pid, text);
            told.push((vmid, began, at, if fails { why } else { "OK" }));
        }
        let failed = told.iter().any(|(.., status)| *status != "OK");
        let word = if failed {
            "with errors"
        } else {
            "successfully"
        };
        let text = format!("INFO: Backup job finished {word}");
        self.journal(at + 20, node, "pvescheduler", pid, text);
        let task = Task {
            kind: "vzdump",
            id: String::new(),
            node,
            says: None,
            takes: at + 40,
            ends: if failed { "job errors" } else { "OK" },
        };
        let run = self.task(0, None, "root@pam", "pvescheduler", task);
        for (vmid, began, ended, status) in told {
            let phase = Phase::Guest {
                vmid,
                began: (self.now + began).div_euclid(1000),
                ended: (self.now + ended).div_euclid(1000),
                status: status.to_owned(),
            };
            self.task_fact(run.end + 6, node, &run.upid, run.start, phase);
        }
        let next = until_hour(self.now + HOUR, 1) + HOUR + self.random.i64(0..3 * SECOND);
        self.plan(next, Act::Backup(node));
    }
}
