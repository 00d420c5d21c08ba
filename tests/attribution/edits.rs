//! Changes of the configuration, over the API and by hand.

use super::files::Touch;
use super::{Class, JOURNALS, NODES, Person, Way, World};

/// A change without a task: how it is called, what the journal says of it, and what it writes.
struct Edit {
    method: &'static str,
    path: String,
    /// The answer is more than nothing.
    answers: bool,
    said: Option<String>,
    touches: Vec<Touch>,
}

impl Edit {
    fn new(method: &'static str, path: String, touches: Vec<Touch>) -> Edit {
        Edit {
            method,
            path,
            answers: false,
            said: None,
            touches,
        }
    }
}

/// Everybody that is changed by others.
fn staff(n: u32) -> String {
    format!("staff{}@pve", n % 40)
}

/// What of a guest a call may have changed: of a machine the journal tells the keys, where it is read.
fn upon_guest(kind: &str, node: usize, guest: u32, key: &str) -> String {
    match kind {
        "vm" if JOURNALS[node] => format!("{guest}/{key}"),
        _ => guest.to_string(),
    }
}

/// What a call without a guest may have changed: which entries of the ACL, no call says.
fn upon(touch: &Touch) -> String {
    match touch.name() {
        ("acl", _) => "acl".to_owned(),
        (kind, id) => format!("{kind}/{id}"),
    }
}

impl World {
    /// Somebody changes something over the API; without `effect`, to what it is already.
    fn edit(&mut self, who: &Person, way: Way, at: i64, effect: bool, edit: Edit, fact: usize) {
        self.acts += 1;
        let slow = if self.rng.u32(0..50) == 0 { 2500 } else { 400 };
        let answer = at + self.rng.i64(5..slow);
        let bytes = match edit.answers {
            true => self.rng.u32(60..300),
            false => 25,
        };
        let rest = format!(
            "\"{} /api2/extjs{} HTTP/1.1\" 200 {bytes}",
            edit.method, edit.path
        );
        if let Some(said) = &edit.said {
            self.journal(way.node, at, "pvedaemon", said, fact);
        }
        self.lines(who, way, answer, &rest, fact);
        if effect {
            self.write(at, way.node, edit.touches);
        }
    }

    /// Of a guest: a container, of which the journal says nothing, or a machine.
    pub(super) fn change_guest(
        &mut self,
        who: &Person,
        way: Way,
        (kind, guest): (&'static str, u32),
        at: i64,
        effect: bool,
    ) {
        let key = ["cores", "memory", "onboot", "tags"][self.rng.usize(0..4)];
        if !self.can_be_told(upon_guest(kind, way.node, guest, key), at, false, effect) {
            return;
        }
        let class = if effect { Class::Change } else { Class::Idle };
        let fact = self.by(who, class);
        let folder = if kind == "vm" { "qemu" } else { "lxc" };
        let path = format!("/nodes/{}/{folder}/{guest}/config", NODES[way.node]);
        let touch = Touch::guest(kind, way.node, guest, &[key], fact);
        let mut edit = Edit::new("PUT", path, vec![touch]);
        if kind == "vm" {
            edit.said = Some(format!("<{}> update VM {guest}: -{key} 4", who.user));
        }
        self.edit(who, way, at, effect, edit, fact);
    }

    /// Of a firewall rule of a guest.
    pub(super) fn change_rule(&mut self, who: &Person, way: Way, guest: u32, at: i64) {
        let fact = self.by(who, Class::Setting);
        let scope = format!("/nodes/{}/qemu/{guest}/firewall/rules", NODES[way.node]);
        let file = format!("firewall/{guest}.fw");
        let id = format!("vm/{guest}/rules/0");
        let edit = match self.rng.u32(0..3) {
            0 => {
                let touch = Touch::new(&file, ("firewall_rule", &id), &["action", "type"], fact);
                Edit::new("POST", scope, vec![touch.creates()])
            }
            1 => {
                let touch = Touch::new(&file, ("firewall_rule", &id), &["action", "type"], fact);
                let path = format!("{scope}/0");
                Edit::new("DELETE", path, vec![touch.deletes()])
            }
            _ => {
                let touch = Touch::new(&file, ("firewall_rule", &id), &["source"], fact);
                Edit::new("PUT", format!("{scope}/0"), vec![touch])
            }
        };
        if self.can_be_told(upon(&edit.touches[0]), at, false, true) {
            self.edit(who, way, at, true, edit, fact);
        }
    }

    /// Of a storage or a backup job.
    pub(super) fn change_setting(&mut self, who: &Person, node: usize, n: u32, at: i64) {
        let fact = self.by(who, Class::Setting);
        let way = Way { node, via: node };
        let new = self.new_name();
        let storage = |id: &str, keys: &[&'static str]| {
            Touch::new("storage.cfg", ("storage", id), keys, fact)
        };
        let job = |id: &str, keys: &[&'static str]| {
            Touch::new("jobs.cfg", ("backup_job", id), keys, fact)
        };
        let make = |method, path: String, touch| Edit::new(method, path, vec![touch]);
        let edit = match self.rng.u32(0..5) {
            0 => {
                let touch = storage(&format!("new{new}"), &["type", "path"]).creates();
                let mut edit = make("POST", "/storage".to_owned(), touch);
                edit.answers = true;
                edit
            }
            1 => {
                let id = format!("store{}", n % 20);
                let mut edit = make("PUT", format!("/storage/{id}"), storage(&id, &["content"]));
                edit.answers = true;
                edit
            }
            2 => {
                let id = format!("old{new}");
                make(
                    "DELETE",
                    format!("/storage/{id}"),
                    storage(&id, &["type"]).deletes(),
                )
            }
            3 => {
                let touch = job(&format!("backup-{new}"), &["schedule", "vmid"]).creates();
                make("POST", "/cluster/backup".to_owned(), touch)
            }
            _ => {
                let id = format!("backup-old{}", n % 20);
                make(
                    "PUT",
                    format!("/cluster/backup/{id}"),
                    job(&id, &["enabled"]),
                )
            }
        };
        if self.can_be_told(upon(&edit.touches[0]), at, false, true) {
            self.edit(who, way, at, true, edit, fact);
        }
    }

    /// Of who may do what. `n` says upon whom.
    pub(super) fn change_access(&mut self, who: &Person, node: usize, n: u32, at: i64) {
        let way = Way { node, via: node };
        let new = self.new_name();
        let user = staff(n);
        let kind = self.rng.u32(0..9);
        let effect = matches!(kind, 0 | 3 | 6 | 7) || self.rng.u32(0..8) > 0;
        let class = if effect { Class::Access } else { Class::Idle };
        let fact = self.by(who, class);
        let touch =
            |kind, id: &str, keys: &[&'static str]| Touch::new("user.cfg", (kind, id), keys, fact);
        let make = |method, path: String, touches| Edit::new(method, path, touches);
        let mut edit = match kind {
            0 => {
                let touch = touch("user", &format!("new{new}@pve"), &["enable"]).creates();
                make("POST", "/access/users".to_owned(), vec![touch])
            }
            1 | 2 => {
                let path = format!("/access/users/{user}");
                make("PUT", path, vec![touch("user", &user, &["comment"])])
            }
            3 => {
                // What names the user goes with it.
                let gone = format!("gone{new}@pve");
                let pulled = self.by(who, Class::Pulled);
                let pull = |kind, id: &str, keys: &[&'static str]| {
                    Touch::new("user.cfg", (kind, id), keys, pulled)
                };
                let touches = vec![
                    touch("user", &gone, &["enable"]).deletes(),
                    pull("token", &format!("{gone}!ci"), &["privsep"]).deletes(),
                    pull("acl", &format!("/vms/{n}|{gone}|PVEVMAdmin"), &["acl"]).deletes(),
                    pull("group", &format!("team{}", n % 5), &["members"]).removes(&gone),
                ];
                make("DELETE", format!("/access/users/{gone}"), touches)
            }
            4 | 5 => {
                let id = format!("/vms/{new}|{user}|PVEVMUser");
                let touch = touch("acl", &id, &["acl"]).creates();
                make("PUT", "/access/acl".to_owned(), vec![touch])
            }
            6 => {
                let touch = touch("group", &format!("new{new}"), &["comment"]).creates();
                make("POST", "/access/groups".to_owned(), vec![touch])
            }
            7 => {
                let id = format!("{user}!new{new}");
                let touch = touch("token", &id, &["privsep"]).creates();
                make(
                    "POST",
                    format!("/access/users/{user}/token/new{new}"),
                    vec![touch],
                )
            }
            _ => {
                let role = format!("role{}", n % 6);
                let touch = touch("role", &role, &["privs"]);
                make("PUT", format!("/access/roles/{role}"), vec![touch])
            }
        };
        edit.answers = kind == 7;
        let object = upon(&edit.touches[0]);
        if self.can_be_told(object, at, false, effect) {
            self.edit(who, way, at, effect, edit, fact);
        }
    }

    /// Of a second factor, of which no file that is read tells.
    pub(super) fn change_tfa(&mut self, who: &Person, node: usize, n: u32, at: i64) {
        let fact = self.by(who, Class::Tfa);
        let way = Way { node, via: node };
        let new = self.new_name();
        let user = staff(n);
        let id = format!("{user}/totp{new}");
        let touch = Touch::new("", ("tfa", &id), &["type", "description"], fact);
        let path = format!("/access/tfa/{user}");
        let edit = match self.rng.u32(0..3) {
            0 => {
                let mut edit = Edit::new("POST", path, vec![touch.creates()]);
                edit.answers = true;
                edit
            }
            1 => Edit::new("DELETE", format!("/access/tfa/{id}"), vec![touch.deletes()]),
            _ => Edit::new("PUT", format!("/access/tfa/{id}"), vec![touch]),
        };
        self.edit(who, way, at, true, edit, fact);
    }

    /// A hand on a shell writes into the file of a guest, or of its firewall.
    pub(super) fn hand_guest(&mut self, kind: &'static str, node: usize, guest: u32, at: i64) {
        self.acts += 1;
        let fact = self.fact(None, None, Class::Edit);
        let touch = match self.rng.u32(0..5) {
            0 if kind == "vm" => {
                let id = format!("vm/{guest}/rules/0");
                let file = format!("firewall/{guest}.fw");
                Touch::new(&file, ("firewall_rule", &id), &["action", "type"], fact).creates()
            }
            n => {
                let keys = ["hookscript", "cores", "args", "memory", "protection"];
                Touch::guest(kind, node, guest, &[keys[n as usize]], fact)
            }
        };
        let object = match touch.name() {
            (kind @ ("vm" | "ct"), _) => upon_guest(kind, node, guest, touch.key()),
            _ => upon(&touch),
        };
        if self.can_be_told(object, at, true, true) {
            self.write(at, node, vec![touch]);
        }
    }

    /// A hand writes into the lists of the cluster: who may do what, storages, second factors.
    pub(super) fn hand_list(&mut self, node: usize, n: u32, at: i64) {
        self.acts += 1;
        let fact = self.fact(None, None, Class::Edit);
        let new = self.new_name();
        let user = staff(n);
        let touch =
            |kind, id: &str, keys: &[&'static str]| Touch::new("user.cfg", (kind, id), keys, fact);
        let touch = match self.rng.u32(0..7) {
            0 => touch("user", &format!("evil{new}@pve"), &["enable"]).creates(),
            1 => touch("acl", &format!("/|{user}|Administrator"), &["acl"]).creates(),
            2 => touch("user", &user, &["enable"]),
            3 => touch("group", &format!("team{}", n % 5), &["members"]),
            4 => touch("token", &format!("{user}!evil{new}"), &["privsep"]).creates(),
            5 => {
                let id = format!("store{}", n % 20);
                Touch::new("storage.cfg", ("storage", &id), &["path"], fact)
            }
            _ => {
                let id = format!("{user}/totp{new}");
                Touch::new("", ("tfa", &id), &["type"], fact).deletes()
            }
        };
        if self.can_be_told(upon(&touch), at, true, true) {
            self.write(at, node, vec![touch]);
        }
    }

    /// A tool on a shell, which says so in the journal.
    pub(super) fn tool(&mut self, node: usize, guest: u32, at: i64) {
        if !self.can_be_told(upon_guest("vm", node, guest, "cores"), at, false, true) {
            return;
        }
        self.acts += 1;
        let fact = self.fact(Some("root@pam"), None, Class::Shell);
        let said = format!("<root@pam> update VM {guest}: -cores 4");
        self.journal(node, at, "qm", &said, fact);
        let touch = Touch::guest("vm", node, guest, &["cores"], fact);
        self.write(at, node, vec![touch]);
    }
}
