//! What happens once a day: work on a node's own shell, a guest that the cluster keeps running, a file edited by hand.

use super::changes::{self, row};
use super::entry::Kind;
use super::people::task;
use super::tasks::Task;
use super::world::{Act, HOUR, SECOND, World};

impl World {
    /// An administrator on a node: what is done there is root's, and no access log has it.
    pub(super) fn shell(&mut self) {
        if self.is_day_off() {
            return self.plan(24 * HOUR, Act::Shell);
        }
        let (user, client) = ("root", "192.168.20.21");
        let node = 0;
        self.on_behalf(Some((user, client)));
        let pid = self.new_pid(node);
        let text = format!(
            "Accepted publickey for root from {client} port 50122 ssh2: ED25519 SHA256:mT4qVb8zRk2wYc6nXe0uLpJs9aHdGfKi7oN3xQ5rEtU"
        );
        self.syslog(0, node, "sshd-session", pid, text);
        let opened = "pam_unix(sshd:session): session opened for user root(uid=0) by root(uid=0)";
        self.syslog(30, node, "sshd-session", pid, opened.to_owned());
        let text = "    ops : TTY=pts/1 ; PWD=/home/ops ; USER=root ; COMMAND=/usr/sbin/qm list";
        self.on_behalf(Some(("ops", "")));
        self.syslog(9 * SECOND, node, "sudo", 0, text.to_owned());
        self.on_behalf(Some(("root@pam", client)));
        let here = |guest: &super::world::Guest| guest.node == node && !guest.container;
        if let Some(guest) = self.guests.iter().find(|guest| here(guest)).cloned() {
            let pid = self.new_pid(node);
            let text = format!("<root@pam> update VM {}: -onboot 1", guest.vmid);
            self.journal(20 * SECOND, node, "qm", pid, text);
            let rows = vec![row("onboot", None, Some("1"))];
            let change = self.guest_change(&guest, Kind::Change, rows);
            self.change(20 * SECOND, node, change);
            let task = task("qmsnapshot", &guest, 4 * SECOND);
            self.task(40 * SECOND, None, "root@pam", "qm", task);
        }
        let closed = "pam_unix(sshd:session): session closed for user root";
        self.syslog(300 * SECOND, node, "sshd-session", pid, closed.to_owned());
        let days = if self.laws.month { 7 } else { 1 };
        self.plan(days * 24 * HOUR, Act::Shell);
    }

    /// A file below `/etc/pve` in an editor: nothing but the difference is left of it.
    pub(super) fn edit(&mut self) {
        self.on_behalf(Some(("root@pam", "")));
        let rows = vec![row("keyboard", Some("en-us"), Some("de"))];
        let path = "/etc/pve/datacenter.cfg";
        let change = changes::object(path, "cluster", "options", Kind::Change, rows);
        self.change(0, 0, change);
        self.plan(24 * HOUR, Act::Edit);
    }

    /// A guest under the cluster's care is asked to move: the request is a person's, the move is the cluster's.
    pub(super) fn ha(&mut self) {
        self.plan(24 * HOUR, Act::Ha);
        if self.is_day_off() {
            return;
        }
        let found = self.guests.iter().position(|guest| !guest.container);
        let (Some(at), true) = (found, self.nodes.len() > 1) else {
            return;
        };
        let guest = self.guests[at].clone();
        let (from, to) = (guest.node, (guest.node + 1) % self.nodes.len());
        let (vmid, target) = (guest.vmid, self.nodes[to].name.clone());
        let caller = self.caller(1);
        self.good_login(0, caller.node, &caller.client, &caller.user, "extjs");
        let call = format!(
            "POST /api2/extjs/nodes/{}/qemu/{vmid}/migrate",
            self.nodes[from].name
        );
        let asked = task("hamigrate", &guest, SECOND);
        let call = Some((&caller, call));
        self.task(5 * SECOND, call, &caller.user, "pvedaemon", asked);
        self.on_behalf(Some(("root@pam", "")));
        let said = [
            (
                8,
                0,
                "pve-ha-crm",
                format!("got crm command: migrate vm:{vmid} {target}"),
            ),
            (
                8,
                0,
                "pve-ha-crm",
                format!(
                    "service 'vm:{vmid}': state changed from 'started' to 'migrate'  (node = {}, target = {target})",
                    self.nodes[from].name
                ),
            ),
            (
                50,
                0,
                "pve-ha-crm",
                format!(
                    "service 'vm:{vmid}': state changed from 'migrate' to 'started'  (node = {target})"
                ),
            ),
        ];
        for (seconds, node, ident, text) in said {
            self.journal(seconds * SECOND, node, ident, 1402, text);
        }
        let moved = Task {
            takes: 30 * SECOND,
            ..task("qmigrate", &guest, 0)
        };
        let run = self.task(12 * SECOND, None, "root@pam", "pve-ha-lrm", moved);
        self.guests[at].node = to;
        let guest = self.guests[at].clone();
        self.state(run.end + 900, &guest, "running");
    }
}
