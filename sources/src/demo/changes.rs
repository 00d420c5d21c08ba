//! What acts leave in the files below `/etc/pve`.

use super::entry::{Change, Kind, Row};
use super::world::{Guest, World};

/// A row of a key that was not there before, or is not any more, or is another.
pub(super) fn row(key: &'static str, old: Option<&str>, new: Option<&str>) -> Row {
    Row {
        key,
        old: old.map(str::to_owned),
        new: new.map(str::to_owned),
    }
}

impl World {
    /// The file of a guest.
    pub(super) fn guest_change(&self, guest: &Guest, kind: Kind, rows: Vec<Row>) -> Change {
        let folder = if guest.container {
            "lxc"
        } else {
            "qemu-server"
        };
        let node = &self.nodes[guest.node].name;
        Change {
            path: format!("/etc/pve/nodes/{node}/{folder}/{}.conf", guest.vmid),
            object: guest.object(),
            id: guest.vmid.to_string(),
            object_path: Some(format!("/vms/{}", guest.vmid)),
            vmid: Some(guest.vmid),
            kind,
            rows,
            target: None,
        }
    }

    /// The file of a guest that comes or goes.
    pub(super) fn guest_file(&self, guest: &Guest, kind: Kind) -> Change {
        let name = if guest.container { "hostname" } else { "name" };
        let cores = guest.cores.to_string();
        let memory = guest.memory.to_string();
        let rows = [
            ("cores", cores.as_str()),
            ("memory", &memory),
            (name, guest.name),
        ];
        let rows = rows.map(|(key, value)| match kind {
            Kind::Deletion => row(key, Some(value), None),
            Kind::Creation | Kind::Change => row(key, None, Some(value)),
        });
        self.guest_change(guest, kind, rows.into())
    }
}

/// A permission in `user.cfg`.
pub(super) fn acl(path: &str, member: &str, role: &str, kind: Kind) -> Change {
    let value = format!("propagate=1 path={path} member={member} role={role}");
    let (old, new) = match kind {
        Kind::Deletion => (Some(value.as_str()), None),
        Kind::Creation | Kind::Change => (None, Some(value.as_str())),
    };
    Change {
        path: "/etc/pve/user.cfg".to_owned(),
        object: "acl",
        id: format!("{path}|{member}|{role}"),
        object_path: Some(path.to_owned()),
        vmid: None,
        kind,
        rows: vec![row("acl", old, new)],
        target: Some(member.split('!').next().unwrap_or(member).to_owned()),
    }
}

/// Something else that has a name in a file of its kind.
pub(super) fn object(
    path: &str,
    object: &'static str,
    id: &str,
    kind: Kind,
    rows: Vec<Row>,
) -> Change {
    let target = match object {
        "user" | "token" => Some(id.split('!').next().unwrap_or(id).to_owned()),
        _ => None,
    };
    Change {
        path: path.to_owned(),
        object,
        id: id.to_owned(),
        object_path: None,
        vmid: None,
        kind,
        rows,
        target,
    }
}
