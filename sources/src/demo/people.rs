//! People at work: they log in, their browsers poll and renew, they start and change guests, they mistype passwords.

use super::tasks::{Caller, Task};
use super::world::{Act, Guest, HOUR, MINUTE, Request, SECOND, World};

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
        if self.random.u8(0..5) == 0 {
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
        let session = self.random.i64(20 * MINUTE..3 * HOUR);
        self.people[person].until = self.now + delay + session;
        if self.laws.noise {
            self.plan(delay + 6 * SECOND, Act::Poll(person));
        }
        self.plan(delay + 15 * MINUTE, Act::Renew(person));
        let work = self.random.i64(10 * SECOND..90 * SECOND);
        self.plan(delay + work, Act::Work(person));
        // At night people come back later.
        let away = if (7..19).contains(&self.hour()) {
            HOUR
        } else {
            5 * HOUR
        };
        let back = session + self.random.i64(away / 2..2 * away);
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
                node: caller.node,
                client: caller.client.clone(),
                user: "-".to_owned(),
                call: format!("GET {file}"),
                status: 200,
                length,
            };
            self.plan(delay + n * 70, Act::Access(request));
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
        self.plan(
            delay + 30,
            Act::Access(Request {
                node,
                client: client.to_owned(),
                user: "-".to_owned(),
                call,
                status: 200,
                length,
            }),
        );
    }

    pub(super) fn failed_login(&mut self, delay: i64, node: usize, client: &str, user: &str) {
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
        self.plan(
            delay + 8,
            Act::Access(Request {
                node,
                client: client.to_owned(),
                user: "-".to_owned(),
                call,
                status: 200,
                length,
            }),
        );
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
        self.plan(pause, Act::Work(person));
    }

    fn deed(&mut self, caller: &Caller, at: usize, guest: &Guest) {
        let Guest {
            vmid,
            node,
            container,
            ..
        } = *guest;
        let path = format!(
            "/api2/extjs/nodes/{}/{}/{vmid}",
            self.nodes[node].name,
            guest.kind()
        );
        let short = self.random.i64(SECOND..6 * SECOND);
        let user = caller.user.as_str();
        let task = |kind, says: Option<String>, takes, ends| Task {
            kind,
            id: vmid.to_string(),
            node,
            says,
            takes,
            ends,
        };
        match self.random.u8(0..12) {
            0..=2 if guest.running => {
                let (kind, says) = if container {
                    ("vzshutdown", format!("shutdown CT {vmid}:"))
                } else {
                    ("qmshutdown", format!("shutdown VM {vmid}:"))
                };
                self.guests[at].running = false;
                let call = format!("POST {path}/status/shutdown");
                self.task(
                    0,
                    Some((caller, call)),
                    user,
                    "pvedaemon",
                    task(kind, Some(says), 4 * short, "OK"),
                );
            }
            0..=2 => {
                let (kind, says) = if container {
                    ("vzstart", format!("starting CT {vmid}:"))
                } else {
                    ("qmstart", format!("start VM {vmid}:"))
                };
                self.guests[at].running = true;
                let call = format!("POST {path}/status/start");
                self.task(
                    0,
                    Some((caller, call)),
                    user,
                    "pvedaemon",
                    task(kind, Some(says), short, "OK"),
                );
            }
            3 | 4 => {
                let memory = [2048, 4096, 8192, 16_384][self.random.usize(0..4)];
                if !container {
                    let pid = self.daemon_pid(node);
                    self.journal(
                        0,
                        node,
                        "pvedaemon",
                        pid,
                        format!("<{user}> update VM {vmid}: -delete balloon -memory {memory}"),
                    );
                }
                self.request(
                    15,
                    caller,
                    node,
                    format!("PUT {path}/config"),
                    200,
                    Some(25),
                );
            }
            5 | 6 => {
                let name = ["before-upgrade", "nightly", "test", "clean"][self.random.usize(0..4)];
                let pid = self.daemon_pid(node);
                let word = if container { "container" } else { "VM" };
                self.journal(
                    0,
                    node,
                    "pvedaemon",
                    pid,
                    format!("<{user}> snapshot {word} {vmid}: {name}"),
                );
                let kind = if container {
                    "vzsnapshot"
                } else {
                    "qmsnapshot"
                };
                self.task(
                    8,
                    Some((caller, format!("POST {path}/snapshot"))),
                    user,
                    "pvedaemon",
                    task(kind, None, short, "OK"),
                );
            }
            7 if !container && self.nodes.len() > 1 => {
                let to = (node + self.random.usize(1..self.nodes.len())) % self.nodes.len();
                self.guests[at].node = to;
                let call = format!("POST {path}/migrate");
                self.task(
                    0,
                    Some((caller, call)),
                    user,
                    "pvedaemon",
                    task("qmigrate", None, 8 * short, "OK"),
                );
            }
            8 | 9 => {
                let call = format!("POST {path}/vncproxy");
                let end = self.task(
                    0,
                    Some((caller, call)),
                    user,
                    "pvedaemon",
                    task(
                        "vncproxy",
                        Some("starting vnc proxy".to_owned()),
                        30 * short,
                        "OK",
                    ),
                );
                // The ticket stands in the query; what reads this log has to take it out.
                let port = self.random.u32(5900..5999);
                let signature: String = (0..64)
                    .map(|_| {
                        char::from(
                            *b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
                                .get(self.random.usize(0..62))
                                .unwrap_or(&b'A'),
                        )
                    })
                    .collect();
                let time = (self.now / 1000).unsigned_abs();
                let socket = format!(
                    "GET /api2/json/nodes/{}/{}/{vmid}/vncwebsocket?port={port}&vncticket=PVEVNC%3A{time:08X}%3A%3A{signature}%3D%3D",
                    self.nodes[node].name,
                    guest.kind()
                );
                self.request(end, caller, node, socket, 101, None);
            }
            10 => {
                let why = if container {
                    "unable to open file '/etc/pve/local/lxc.lock' - got timeout"
                } else {
                    "can't lock file '/var/lock/qemu-server/lock.conf' - got timeout"
                };
                let (kind, call) = if container {
                    ("vzreboot", "reboot")
                } else {
                    ("qmreboot", "reboot")
                };
                self.task(
                    0,
                    Some((caller, format!("POST {path}/status/{call}"))),
                    user,
                    "pvedaemon",
                    task(kind, None, 10 * SECOND, why),
                );
            }
            _ => {
                // Users and permissions leave no task, only the call.
                let calls = [
                    "PUT /api2/extjs/access/acl",
                    "PUT /api2/extjs/access/users/alice%40pve",
                    "PUT /api2/extjs/cluster/firewall/options",
                    "PUT /api2/extjs/storage/nas1",
                ];
                let call = calls[self.random.usize(0..calls.len())].to_owned();
                self.request(0, caller, caller.node, call, 200, Some(25));
            }
        }
    }
}
