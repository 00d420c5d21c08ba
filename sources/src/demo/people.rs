//! People at work: they log in, their browsers poll and renew, they start and change guests, they mistype passwords.

use super::changes::{self, row};
use super::entry::{Kind, Request};
use super::tasks::{Caller, Task};
use super::world::{Act, Guest, HOUR, MINUTE, SECOND, World, until_hour};

/// What an open browser tab asks for.
const NEWS: [&str; 6] = [
    "GET /api2/json/cluster/resources",
    "GET /api2/json/cluster/tasks",
    "GET /api2/json/cluster/log?max=40",
    "GET /api2/json/nodes/{node}/status",
    "GET /api2/json/nodes/{node}/{kind}/{vmid}/status/current",
    "GET /api2/json/nodes/{node}/{kind}/{vmid}/rrddata?timeframe=hour&cf=AVERAGE",
];

impl World {
    pub(super) fn caller(&self, person: usize) -> Caller {
        let person = &self.people[person];
        Caller {
            user: person.user.to_owned(),
            client: person.client.clone(),
            node: person.node,
        }
    }

    /// Any guest, or none where the attacker was thorough.
    pub(super) fn some_guest(&mut self) -> Option<(usize, Guest)> {
        if self.guests.is_empty() {
            return None;
        }
        let at = self.random.usize(0..self.guests.len());
        Some((at, self.guests[at].clone()))
    }

    pub(super) fn login(&mut self, person: usize) {
        let node = self.random.usize(0..self.nodes.len());
        self.people[person].node = node;
        let caller = self.caller(person);
        let mut delay = 0;
        if self.random.u8(0..if self.laws.month { 40 } else { 5 }) == 0 {
            self.failed_login(delay, node, &caller.client, &caller.user);
            delay += self.random.i64(4 * SECOND..9 * SECOND);
        }
        self.open_page(delay, &caller);
        self.good_login(
            delay + 4 * SECOND,
            node,
            &caller.client,
            &caller.user,
            "extjs",
        );
        let session = if self.laws.month {
            self.session()
        } else {
            self.random.i64(20 * MINUTE..3 * HOUR)
        };
        self.people[person].until = self.now + delay + session;
        if self.laws.noise {
            self.plan(delay + 6 * SECOND, Act::Poll(person));
        }
        self.plan(delay + 15 * MINUTE, Act::Renew(person));
        let work = self.random.i64(10 * SECOND..90 * SECOND);
        self.plan(delay + work, Act::Work(person));
        // After work people come back the next day.
        let back = if self.laws.month {
            self.next_login(person, session)
        } else if self.at_work() {
            session + self.random.i64(HOUR / 2..2 * HOUR)
        } else {
            until_hour(self.now, 7).max(session) + self.random.i64(0..2 * HOUR)
        };
        self.plan(delay + back, Act::Login(person));
    }

    fn open_page(&mut self, delay: i64, caller: &Caller) {
        if !self.laws.noise {
            return;
        }
        let files = [
            "/",
            "/pve2/ext6/theme-crisp/resources/theme-crisp-all_1.css?ver=7.0.0",
            "/pve2/js/pvemanagerlib.js?ver=9.2.11",
            "/proxmoxlib.js?ver=5.2.7",
        ];
        for (n, file) in (0..).zip(files) {
            let length = Some(self.random.u32(1200..900_000));
            let request = Request {
                client: caller.client.clone(),
                user: "-".to_owned(),
                call: format!("GET {file}"),
                status: 200,
                length,
            };
            self.access(delay + n * 70, caller.node, request);
        }
    }

    /// The line without an address in the journal, and the call without a user in the access log.
    pub(super) fn good_login(
        &mut self,
        delay: i64,
        node: usize,
        client: &str,
        user: &str,
        format: &str,
    ) {
        self.on_behalf(Some((user, client)));
        let pid = self.daemon_pid(node);
        self.journal(
            delay,
            node,
            "pvedaemon",
            pid,
            format!("<root@pam> successful auth for user '{user}'"),
        );
        let length = Some(self.random.u32(740..780));
        let call = format!("POST /api2/{format}/access/ticket");
        let request = Request {
            client: client.to_owned(),
            user: "-".to_owned(),
            call,
            status: 200,
            length,
        };
        self.access(delay + 30, node, request);
    }

    pub(super) fn failed_login(&mut self, delay: i64, node: usize, client: &str, user: &str) {
        self.on_behalf(Some((user, client)));
        let pid = self.daemon_pid(node);
        let (name, realm) = user.split_once('@').unwrap_or((user, ""));
        let known = self.people.iter().any(|person| person.user == user);
        let reason = match realm {
            _ if !known => format!("no such user ('{user}')"),
            "pam" => "Authentication failure".to_owned(),
            "pve" => "invalid credentials".to_owned(),
            _ => "80090308: LdapErr: DSID-0C090439, comment: AcceptSecurityContext error, data 52e, v4563".to_owned(),
        };
        if known && realm == "pam" {
            let text = format!(
                "pam_unix(proxmox-ve-auth:auth): authentication failure; logname= uid=0 euid=0 tty= ruser= rhost={client}  user={name}"
            );
            self.journal(delay, node, "IPCC.xs", pid, text);
        }
        let text = format!("authentication failure; rhost={client} user={user} msg={reason}");
        self.journal(delay + 5, node, "pvedaemon", pid, text);
        // The web client's format answers 200 whatever happened; only the length tells.
        let call = "POST /api2/extjs/access/ticket".to_owned();
        let length = Some(self.random.u32(75..78));
        let request = Request {
            client: client.to_owned(),
            user: "-".to_owned(),
            call,
            status: 200,
            length,
        };
        self.access(delay + 8, node, request);
    }

    pub(super) fn poll(&mut self, person: usize) {
        if self.now > self.people[person].until {
            return;
        }
        let caller = self.caller(person);
        if let Some((_, guest)) = self.some_guest() {
            let news = NEWS[self.random.usize(0..NEWS.len())];
            let target = if news.contains("{node}") {
                guest.node
            } else {
                caller.node
            };
            let call = news
                .replace("{node}", &self.nodes[guest.node].name)
                .replace("{kind}", guest.kind())
                .replace("{vmid}", &guest.vmid.to_string());
            let length = Some(self.random.u32(180..6000));
            self.request(0, &caller, target, call, 200, length);
        }
        let pause = self.random.i64(900..2600);
        self.plan(pause, Act::Poll(person));
    }

    pub(super) fn renew(&mut self, person: usize) {
        if self.now > self.people[person].until {
            return;
        }
        let caller = self.caller(person);
        self.good_login(0, caller.node, &caller.client, &caller.user, "json");
        self.plan(15 * MINUTE, Act::Renew(person));
    }

    pub(super) fn work(&mut self, person: usize) {
        if self.now > self.people[person].until {
            return;
        }
        let caller = self.caller(person);
        if let Some((at, guest)) = self.some_guest() {
            self.deed(&caller, at, &guest);
        }
        let pause = self.random.i64(20 * SECOND..4 * MINUTE);
        let slower = if self.laws.month { 8 } else { 1 };
        self.plan(slower * pause, Act::Work(person));
    }

    fn deed(&mut self, caller: &Caller, at: usize, guest: &Guest) {
        match self.random.u8(0..12) {
            0..=2 => self.switch(caller, at, guest),
            3 | 4 => self.reconfigure(caller, at, guest),
            5 | 6 => self.snapshot(caller, guest),
            7 if !guest.container && self.nodes.len() > 1 => self.migrate(caller, at, guest),
            8 | 9 => self.console(0, caller, guest),
            10 => self.reboot_in_vain(caller, guest),
            _ if self.laws.month && self.random.u8(0..20) != 0 => self.snapshot(caller, guest),
            _ => self.administer(caller),
        }
    }

    fn call(&self, guest: &Guest, method: &str, rest: &str) -> String {
        format!(
            "{method} /api2/extjs/nodes/{}/{}/{}{rest}",
            self.nodes[guest.node].name,
            guest.kind(),
            guest.vmid
        )
    }

    /// Some seconds.
    fn short(&mut self) -> i64 {
        self.random.i64(SECOND..6 * SECOND)
    }

    fn switch(&mut self, caller: &Caller, at: usize, guest: &Guest) {
        let vmid = guest.vmid;
        let (kind, says, call, status) = match (guest.running, guest.container) {
            (true, true) => ("vzshutdown", "shutdown CT", "shutdown", "stopped"),
            (true, false) => ("qmshutdown", "shutdown VM", "shutdown", "stopped"),
            (false, true) => ("vzstart", "starting CT", "start", "running"),
            (false, false) => ("qmstart", "start VM", "start", "running"),
        };
        let takes = self.short() * if guest.running { 4 } else { 1 };
        self.guests[at].running = !guest.running;
        let call = self.call(guest, "POST", &format!("/status/{call}"));
        let task = Task {
            says: Some(format!("{says} {vmid}:")),
            ..task(kind, guest, takes)
        };
        let run = self.task(0, Some((caller, call)), &caller.user, "pvedaemon", task);
        self.state(run.end + 800, guest, status);
    }

    fn reconfigure(&mut self, caller: &Caller, at: usize, guest: &Guest) {
        let memory = [2048, 4096, 8192, 16_384][self.random.usize(0..4)];
        self.on_behalf_of(caller);
        if !guest.container {
            let pid = self.daemon_pid(guest.node);
            let text = format!(
                "<{}> update VM {}: -delete balloon -memory {memory}",
                caller.user, guest.vmid
            );
            self.journal(0, guest.node, "pvedaemon", pid, text);
        }
        let call = self.call(guest, "PUT", "/config");
        self.request(15, caller, guest.node, call, 200, Some(25));
        if memory != guest.memory {
            self.guests[at].memory = memory;
            let (old, new) = (guest.memory.to_string(), memory.to_string());
            let rows = vec![row("memory", Some(&old), Some(&new))];
            let change = self.guest_change(guest, Kind::Change, rows);
            self.change(20, guest.node, change);
        }
    }

    fn snapshot(&mut self, caller: &Caller, guest: &Guest) {
        let name = ["before-upgrade", "nightly", "test", "clean"][self.random.usize(0..4)];
        self.on_behalf_of(caller);
        let pid = self.daemon_pid(guest.node);
        let (word, kind) = match guest.container {
            true => ("container", "vzsnapshot"),
            false => ("VM", "qmsnapshot"),
        };
        let text = format!("<{}> snapshot {word} {}: {name}", caller.user, guest.vmid);
        self.journal(0, guest.node, "pvedaemon", pid, text);
        let call = self.call(guest, "POST", "/snapshot");
        let takes = self.short();
        let task = task(kind, guest, takes);
        self.task(8, Some((caller, call)), &caller.user, "pvedaemon", task);
    }

    fn migrate(&mut self, caller: &Caller, at: usize, guest: &Guest) {
        let to = (guest.node + self.random.usize(1..self.nodes.len())) % self.nodes.len();
        self.guests[at].node = to;
        let call = self.call(guest, "POST", "/migrate");
        let takes = 8 * self.short();
        let task = task("qmigrate", guest, takes);
        let run = self.task(0, Some((caller, call)), &caller.user, "pvedaemon", task);
        self.node_login(run.end / 2, guest.node, to);
        self.on_behalf_of(caller);
        let moved = self.guests[at].clone();
        self.state(
            run.end + 600,
            &moved,
            if moved.running { "running" } else { "stopped" },
        );
    }

    pub(super) fn console(&mut self, delay: i64, caller: &Caller, guest: &Guest) {
        let call = self.call(guest, "POST", "/vncproxy");
        let takes = 30 * self.short();
        let task = Task {
            says: Some("starting vnc proxy".to_owned()),
            ..task("vncproxy", guest, takes)
        };
        self.task(delay, Some((caller, call)), &caller.user, "pvedaemon", task);
        let rest = format!("/{}/{}", guest.kind(), guest.vmid);
        self.websocket(delay + 900, caller, guest.node, &rest);
        // The console asks whether its ticket is good, and that looks like a login.
        let pid = self.daemon_pid(guest.node);
        let text = format!("<root@pam> successful auth for user '{}'", caller.user);
        self.journal(delay + 880, guest.node, "pvedaemon", pid, text);
    }

    /// The ticket stands in the query; what reads this log has to take it out.
    pub(super) fn websocket(&mut self, delay: i64, caller: &Caller, node: usize, rest: &str) {
        let port = self.random.u32(5900..5999);
        let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
        let signature: String = (0..64)
            .map(|_| char::from(letters[self.random.usize(0..letters.len())]))
            .collect();
        let time = (self.now / 1000).unsigned_abs();
        let call = format!(
            "GET /api2/json/nodes/{}{rest}/vncwebsocket?port={port}&vncticket=PVEVNC%3A{time:08X}%3A%3A{signature}%3D%3D",
            self.nodes[node].name,
        );
        self.request(delay, caller, node, call, 101, None);
    }

    fn reboot_in_vain(&mut self, caller: &Caller, guest: &Guest) {
        let (kind, ends) = match guest.container {
            true => (
                "vzreboot",
                "unable to open file '/etc/pve/local/lxc.lock' - got timeout",
            ),
            false => (
                "qmreboot",
                "can't lock file '/var/lock/qemu-server/lock.conf' - got timeout",
            ),
        };
        let call = self.call(guest, "POST", "/status/reboot");
        let task = Task {
            ends,
            ..task(kind, guest, 10 * SECOND)
        };
        self.task(0, Some((caller, call)), &caller.user, "pvedaemon", task);
    }

    /// Users, permissions, the firewall and storages leave no task: only the call says who, only the file says what.
    fn administer(&mut self, caller: &Caller) {
        let (call, change) = match self.random.u8(0..4) {
            0 => {
                let vmid = 100 + self.random.u32(0..16);
                let members = ["bob@corp-ad", "j.santos@corp-ad"];
                let mut member = members[self.random.usize(0..2)];
                if self.laws.month && member == caller.user {
                    member = "m.keller@pam";
                }
                let kind = match self.random.bool() {
                    true => Kind::Creation,
                    false => Kind::Deletion,
                };
                let change = changes::acl(&format!("/vms/{vmid}"), member, "PVEVMUser", kind);
                ("PUT /api2/extjs/access/acl", change)
            }
            1 => {
                let comment = format!("seen {}", self.now / 1000);
                let rows = vec![row("comment", None, Some(&comment))];
                let path = "/etc/pve/user.cfg";
                let change = changes::object(path, "user", "alice@pve", Kind::Change, rows);
                ("PUT /api2/extjs/access/users/alice%40pve", change)
            }
            2 => {
                let rows = vec![row(
                    "log_ratelimit",
                    Some("enable=1"),
                    Some("enable=1,rate=5/second"),
                )];
                let path = "/etc/pve/firewall/cluster.fw";
                let change =
                    changes::object(path, "firewall_options", "cluster", Kind::Change, rows);
                ("PUT /api2/extjs/cluster/firewall/options", change)
            }
            _ => {
                let rows = vec![row(
                    "prune-backups",
                    Some("keep-last=3"),
                    Some("keep-last=7"),
                )];
                let path = "/etc/pve/storage.cfg";
                let change = changes::object(path, "storage", "nas1", Kind::Change, rows);
                ("PUT /api2/extjs/storage/nas1", change)
            }
        };
        self.request(0, caller, caller.node, call.to_owned(), 200, Some(25));
        self.change(5, 0, change);
    }
}

/// A task about a guest, on its node, that goes well.
pub(super) fn task(kind: &'static str, guest: &Guest, takes: i64) -> Task {
    Task {
        kind,
        id: guest.vmid.to_string(),
        node: guest.node,
        says: None,
        takes,
        ends: "OK",
    }
}
