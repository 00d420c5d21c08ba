//! Which file says what, by its place below the watched folder.

/// How a file is understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// The configuration of a guest.
    Guest { kind: &'static str, vmid: String },
    /// Sections `type: id` with indented keys; the word says which ones.
    Sections(&'static str),
    /// `user.cfg`.
    Users,
    /// Firewall rules of one scope, like `cluster`, `node/pve1`, `guest/210`, `vnet/blue`.
    Firewall(String),
    /// `key: value` of one object.
    Plain { kind: &'static str, id: String },
    /// `corosync.conf`.
    Corosync,
    /// The old list of backup jobs.
    Cron,
    /// Sections `[name]` with `key = value`.
    Ini,
    /// A certificate of this node, or of the cluster.
    Certificate(String),
    /// A private key: never opened.
    Key,
    /// Anything else: its hash.
    Other,
}

/// A file that is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) form: Form,
    /// The node whose folder it lies in.
    pub(super) node: Option<String>,
    /// What it is known by: its path, but a guest by its number, on whatever node it is.
    pub(super) key: String,
}

/// Folders that are never entered, at any depth.
pub(super) fn is_closed(name: &str) -> bool {
    name == "priv"
}

/// What `path`, below the watched folder, is; `None` for what changes all the time and says nothing.
pub(super) fn place(path: &str) -> Option<Place> {
    let parts: Vec<&str> = path.split('/').collect();
    let name = *parts.last()?;
    if parts.iter().any(|part| is_closed(part)) || is_volatile(&parts, name) {
        return None;
    }
    let mut node = None;
    let mut key = path.to_owned();
    let form = match parts[..] {
        _ if name.ends_with(".key") || is_private(name) => Form::Key,
        ["nodes", at, folder @ ("qemu-server" | "lxc"), file] => {
            node = Some(at.to_owned());
            match file.strip_suffix(".conf").filter(|vmid| is_vmid(vmid)) {
                Some(vmid) => {
                    let kind = if folder == "lxc" { "ct" } else { "vm" };
                    key = format!("guest/{vmid}");
                    Form::Guest {
                        kind,
                        vmid: vmid.to_owned(),
                    }
                }
                None => Form::Other,
            }
        }
        ["nodes", at, "host.fw"] => Form::Firewall(format!("node/{at}")),
        ["nodes", at, "config"] => Form::Plain {
            kind: "node",
            id: at.to_owned(),
        },
        ["nodes", at, "pve-ssl.pem" | "pveproxy-ssl.pem"] => Form::Certificate(at.to_owned()),
        ["pve-root-ca.pem"] => Form::Certificate("cluster".to_owned()),
        ["firewall", "cluster.fw"] => Form::Firewall("cluster".to_owned()),
        ["firewall", file] => match file.strip_suffix(".fw").filter(|vmid| is_vmid(vmid)) {
            Some(vmid) => Form::Firewall(format!("guest/{vmid}")),
            None => Form::Other,
        },
        ["sdn", "firewall", file] => match file.strip_suffix(".fw") {
            Some(vnet) => Form::Firewall(format!("vnet/{vnet}")),
            None => Form::Other,
        },
        ["user.cfg"] => Form::Users,
        ["storage.cfg"] => Form::Sections("storage"),
        ["jobs.cfg"] => Form::Sections("jobs"),
        ["replication.cfg"] => Form::Sections("replication"),
        ["domains.cfg"] => Form::Sections("domains"),
        ["status.cfg"] => Form::Sections("status"),
        ["notifications.cfg"] => Form::Sections("notifications"),
        ["ha", "resources.cfg"] => Form::Sections("ha/resources"),
        ["ha", "groups.cfg"] => Form::Sections("ha/groups"),
        ["ha", "rules.cfg"] => Form::Sections("ha/rules"),
        ["mapping", "pci.cfg"] => Form::Sections("mapping/pci"),
        ["mapping", "usb.cfg"] => Form::Sections("mapping/usb"),
        ["mapping", "dir.cfg"] => Form::Sections("mapping/dir"),
        ["virtual-guest", "cpu-models.conf"] => Form::Sections("cpu"),
        ["sdn", "zones.cfg"] => Form::Sections("sdn/zones"),
        ["sdn", "vnets.cfg"] => Form::Sections("sdn/vnets"),
        ["sdn", "subnets.cfg"] => Form::Sections("sdn/subnets"),
        ["sdn", "controllers.cfg"] => Form::Sections("sdn/controllers"),
        ["sdn", "ipams.cfg"] => Form::Sections("sdn/ipams"),
        ["sdn", "dns.cfg"] => Form::Sections("sdn/dns"),
        ["sdn", "fabrics.cfg"] => Form::Sections("sdn/fabrics"),
        ["sdn", file] if file.ends_with(".cfg") => Form::Sections("sdn/other"),
        ["datacenter.cfg"] => Form::Plain {
            kind: "cluster",
            id: "datacenter".to_owned(),
        },
        ["corosync.conf" | "corosync.conf.new"] => Form::Corosync,
        ["vzdump.cron"] => Form::Cron,
        ["ceph.conf"] => Form::Ini,
        _ => Form::Other,
    };
    if let ["nodes", at, ..] = parts[..]
        && parts.len() > 2
    {
        node = Some(at.to_owned());
    }
    Some(Place { form, node, key })
}

fn is_vmid(text: &str) -> bool {
    (1..=9).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Names under which people keep private keys.
fn is_private(name: &str) -> bool {
    name.starts_with("id_rsa") && !name.ends_with(".pub") || name == "authkey"
}

/// Made by PVE itself from what it knows at the moment, or on its way to another name.
fn is_volatile(parts: &[&str], name: &str) -> bool {
    let made = parts.len() == 1 && name.starts_with('.');
    let aside = name.contains(".tmp.") || name.ends_with(".tmp");
    let manager = matches!(
        parts,
        ["ha", "manager_status" | "crm_commands"] | ["nodes", _, "lrm_status"]
    );
    made || aside || manager
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_and_noise_are_never_looked_at() {
        for path in [
            "priv/shadow.cfg",
            "nodes/pve1/priv/ssh",
            "priv",
            ".members",
            ".vmlist",
            "ha/manager_status",
            "ha/crm_commands",
            "nodes/pve1/lrm_status",
            "nodes/pve1/qemu-server/100.conf.tmp.123",
        ] {
            assert_eq!(place(path), None, "{path}");
        }
        for path in ["nodes/pve1/pve-ssl.key", "pve-www.key", "x/id_rsa"] {
            assert_eq!(place(path).unwrap().form, Form::Key, "{path}");
        }
    }

    #[test]
    fn a_guest_is_known_by_its_number_on_whatever_node() {
        let one = place("nodes/pve1/qemu-server/100.conf").unwrap();
        let two = place("nodes/pve2/lxc/100.conf").unwrap();
        assert_eq!((&*one.key, one.key == two.key), ("guest/100", true));
        assert_eq!(two.node.as_deref(), Some("pve2"));
        assert_eq!(place("nodes/pve2/lxc/x.conf").unwrap().form, Form::Other);
        assert_eq!(
            place("firewall/100.fw").unwrap().form,
            Form::Firewall("guest/100".into())
        );
    }
}
