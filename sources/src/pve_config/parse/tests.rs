//! Files as PVE writes them, and as nobody should.

use std::sync::Arc;

use super::super::diff::{Changed, diff};
use super::super::kinds::place;
use super::*;

fn guard() -> Guard {
    Guard::new(Arc::default(), b"k")
}

fn doc(path: &str, bytes: impl AsRef<[u8]>) -> Doc {
    let place = place(path).unwrap();
    let file = File {
        path,
        place: &place,
        modified: 0,
        guest: "vm",
    };
    parse(&file, bytes.as_ref(), &guard()).0
}

/// `kind id key=value` of everything in a file.
fn said(path: &str, text: &str) -> Vec<String> {
    let doc = doc(path, text);
    let objects = doc.objects.iter().flat_map(|object| {
        let head = format!("{} {}", object.kind, object.id);
        let keys = object.keys.iter();
        let mut said: Vec<String> = keys
            .map(|(key, held)| {
                format!("{head} {}={}", super::super::model::shown(key), held.text())
            })
            .collect();
        if said.is_empty() {
            said.push(head);
        }
        said
    });
    let rules = doc.rules.iter().flat_map(|rules| {
        rules.list.iter().enumerate().map(|(at, rule)| {
            let keys: Vec<String> = rule
                .iter()
                .map(|(k, v)| format!("{k}={}", v.text()))
                .collect();
            format!("{}/{at} {}", rules.scope, keys.join(" "))
        })
    });
    objects.chain(rules).collect()
}

/// `way kind id: key old>new, …` of everything that differs.
fn changed(path: &str, old: &str, new: &str) -> Vec<String> {
    let one = |changed: &Changed| {
        let rows = changed.rows.iter().map(|row| {
            let side = |side: &Option<String>| side.clone().unwrap_or("-".to_owned());
            format!("{} {}>{}", row.key, side(&row.old), side(&row.new))
        });
        let rows: Vec<String> = rows.collect();
        format!(
            "{} {} {}: {}",
            changed.way.name(),
            changed.kind,
            changed.id,
            rows.join(", ")
        )
    };
    let (old, new) = (doc(path, old), doc(path, new));
    diff(Some(&old), Some(&new), &guard())
        .iter()
        .map(one)
        .collect()
}

#[test]
fn a_guest_with_notes_pending_values_and_snapshots() {
    let path = "nodes/pve1/qemu-server/100.conf";
    let text = "#web%3A shop\n#second line\nboot: order=scsi0\nlock: backup\nname: web\nparent: before\n\n[PENDING]\ndelete: net1\nmemory: 4096\n\n[before]\n#old%20notes\nmemory: 1024\nsnaptime: 1700000000\n";
    assert_eq!(
        said(path, text),
        [
            "vm 100 boot=order=scsi0",
            "vm 100 description=web: shop\nsecond line",
            "vm 100 lock=backup",
            "vm 100 name=web",
            "vm 100 parent=before",
            "vm 100 pending/delete=net1",
            "vm 100 pending/memory=4096",
            "vm 100 snapshot/before/description=old notes",
            "vm 100 snapshot/before/memory=1024",
            "vm 100 snapshot/before/snaptime=1700000000",
        ]
    );
    let base = "memory: 1024\n";
    let with = format!("{base}parent: s1\n\n[s1]\nmemory: 1024\nsnaptime: 17\nvmstate: local:1\n");
    assert_eq!(
        changed(path, base, &with),
        ["change vm 100: parent ->s1, snapshot/s1 ->snaptime=17 vmstate=local:1"]
    );
    assert_eq!(
        changed(path, &with, &with.replace("[s1]\n", "[s1]\n#why\n")),
        ["change vm 100: snapshot/s1/description ->why"]
    );
    assert_eq!(changed(path, base, "memory: 1024\nlock: backup\n"), [""; 0]);
    // The same key several times, as in containers.
    assert_eq!(
        changed(
            "nodes/a/lxc/1.conf",
            "lxc.a: 1\nlxc.a: 2\n",
            "lxc.a: 2\nlxc.a: 1\n"
        ),
        ["change ct 1: lxc.a 1\n2>2\n1"]
    );
}

#[test]
fn sections_of_every_kind() {
    for (path, text, want) in [
        (
            "storage.cfg",
            "dir: local\n\tpath /var/lib/vz\n\tcontent iso,backup\n\ncifs: nas\n\tpassword geheim\n\tserver u:geheim@nas\n\tdisable\n",
            &[
                "storage local content=backup,iso",
                "storage local path=/var/lib/vz",
                "storage local type=dir",
                "storage nas disable=",
                "storage nas password=[redacted]",
                "storage nas server=u:[redacted]@nas",
                "storage nas type=cifs",
            ][..],
        ),
        (
            "jobs.cfg",
            "vzdump: backup-1\n\tschedule 21:00\n\tvmid 3,1\n\nrealm-sync: s\n\trealm ad\n",
            &[
                "backup_job backup-1 schedule=21:00",
                "backup_job backup-1 type=vzdump",
                "backup_job backup-1 vmid=1,3",
                "realm s realm=ad",
                "realm s type=realm-sync",
            ],
        ),
        (
            "replication.cfg",
            "local: 100-0\n\ttarget pve2\n",
            &[
                "replication_job 100-0 target=pve2",
                "replication_job 100-0 type=local",
            ],
        ),
        (
            "ha/resources.cfg",
            "vm: 100\n\tstate started\n",
            &[
                "ha_resource vm:100 state=started",
                "ha_resource vm:100 type=vm",
            ],
        ),
        (
            "ha/rules.cfg",
            "node-affinity: r\n\tnodes b:2,a\n",
            &[
                "ha_resource rule/r nodes=a,b:2",
                "ha_resource rule/r type=node-affinity",
            ],
        ),
        (
            "mapping/pci.cfg",
            "gpu\n\tmap id=1,node=a\n\tmap id=2,node=b\n",
            &[
                "mapping pci/gpu map=id=1,node=a",
                "mapping pci/gpu map=id=2,node=b",
            ],
        ),
        (
            "sdn/subnets.cfg",
            "subnet: z-10.0.0.0-24\n\tvnet blue\n",
            &[
                "sdn vnets/blue/subnets/z-10.0.0.0-24 type=subnet",
                "sdn vnets/blue/subnets/z-10.0.0.0-24 vnet=blue",
            ],
        ),
        (
            "notifications.cfg",
            "webhook: w\n\theader name=X-A,value=Z2VoZWlt\n\tbody Z2VoZWlt\n\tsecret name=t,value=Z2VoZWlt\n\nmatcher: w\n\ttarget b,a\n",
            &[
                "notification w body=[redacted]",
                "notification w header=name=X-A,value=[redacted]",
                "notification w secret=[redacted]",
                "notification w type=webhook",
                "notification w (matcher) target=a,b",
                "notification w (matcher) type=matcher",
            ],
        ),
        (
            "status.cfg",
            "influxdb: i\n\ttoken geheim\n",
            &[
                "cluster metrics/i token=[redacted]",
                "cluster metrics/i type=influxdb",
            ],
        ),
        (
            "domains.cfg",
            "openid: o\n\tclient-key geheim\n",
            &["realm o client-key=[redacted]", "realm o type=openid"],
        ),
    ] {
        assert_eq!(said(path, text), want, "{path}");
    }
    assert_eq!(
        said("storage.cfg", "\torphan 1\nnonsense\nnew: a b\nzfs: ok\n"),
        [
            "file storage.cfg unparsed=new: a b",
            "file storage.cfg unparsed=nonsense",
            "file storage.cfg unparsed=orphan 1",
            "storage ok type=zfs",
        ]
    );
    // The order of sections and of lists means nothing.
    let one = "dir: a\n\tcontent x,y\ndir: b\n";
    assert_eq!(
        changed("storage.cfg", one, "dir: b\n\ndir: a\n\tcontent y,x\n"),
        [""; 0]
    );
}

#[test]
fn firewall_files_and_rules_that_move() {
    let text = "[OPTIONS]\n\nenable: 1\n\n[ALIASES]\n\nNet 10.0.0.0/8 # ours\n\n[IPSET Bad] # them\n\n1.2.3.4 # x\n!1.2.3.5\n\n[RULES]\n\nIN SSH(ACCEPT) -i net0 -source +bad -log nolog # why\n|OUT DROP -p tcp -dport 22\nGROUP web -i net1\n\n[group web]\n\nIN ACCEPT\n";
    assert_eq!(
        said("firewall/cluster.fw", text),
        [
            "alias cluster/net cidr=10.0.0.0/8",
            "alias cluster/net comment=ours",
            "firewall_group web",
            "firewall_options cluster enable=1",
            "ipset cluster/bad cidr=!1.2.3.5",
            "ipset cluster/bad cidr=1.2.3.4 # x",
            "ipset cluster/bad comment=them",
            "cluster/0 action=ACCEPT comment=why enable=1 iface=net0 log=nolog macro=SSH source=+bad type=in",
            "cluster/1 action=DROP dport=22 enable=0 proto=tcp type=out",
            "cluster/2 action=web enable=1 iface=net1 type=group",
            "group/web/0 action=ACCEPT enable=1 type=in",
        ]
    );
    let rules = |list: &[&str]| {
        let lines: String = list
            .iter()
            .map(|rule| format!("IN ACCEPT -source {rule}\n"))
            .collect();
        format!("[RULES]\n{lines}")
    };
    let path = "firewall/210.fw";
    for (old, new, want) in [
        (
            &["1", "2", "3"][..],
            &["0", "1", "2", "3"][..],
            &[
                "creation firewall_rule vm/210/rules/0: action ->ACCEPT, enable ->1, source ->0, type ->in",
            ][..],
        ),
        (
            &["1", "2", "3"],
            &["1", "3"],
            &[
                "deletion firewall_rule vm/210/rules/1: action ACCEPT>-, enable 1>-, source 2>-, type in>-",
            ],
        ),
        (
            &["1", "2", "3"],
            &["1", "9", "3"],
            &["change firewall_rule vm/210/rules/1: source 2>9"],
        ),
        (
            &["1", "2", "3", "4"],
            &["4", "1", "2", "3"],
            &["change firewall_rule vm/210/rules/0: pos 3>0"],
        ),
        (&["1", "1"], &["1", "1"], &[]),
    ] {
        assert_eq!(changed(path, &rules(old), &rules(new)), want);
    }
    assert_eq!(
        changed(path, "[RULES]\nIN ACCEPT\n", "[RULES]\n|IN ACCEPT\n"),
        ["change firewall_rule vm/210/rules/0: enable 1>0"]
    );
}

#[test]
fn other_files() {
    assert_eq!(
        said(
            "datacenter.cfg",
            "#note%3A\nkeyboard: de\nhttp_proxy: http://u:geheim@p:3128\n"
        ),
        [
            "cluster datacenter description=note:",
            "cluster datacenter http_proxy=http://u:[redacted]@p:3128",
            "cluster datacenter keyboard=de",
        ]
    );
    assert_eq!(
        said(
            "corosync.conf",
            "totem {\n  token: 3000\n  interface {\n    linknumber: 0\n  }\n}\nnodelist {\n  node {\n    name: pve1\n    nodeid: 1\n  }\n  node {\n    name: pve2\n    nodeid: 2\n  }\n}\n"
        ),
        [
            "cluster corosync nodelist.node[pve1].name=pve1",
            "cluster corosync nodelist.node[pve1].nodeid=1",
            "cluster corosync nodelist.node[pve2].name=pve2",
            "cluster corosync nodelist.node[pve2].nodeid=2",
            "cluster corosync totem.interface[0].linknumber=0",
            "cluster corosync totem.token=3000",
        ]
    );
    assert_eq!(
        said(
            "ceph.conf",
            "[global]\n\tfsid = x\n[client]\n\tkey = geheim\n"
        ),
        [
            "file ceph.conf client/key=[redacted]",
            "file ceph.conf global/fsid=x"
        ]
    );
    assert_eq!(
        said(
            "vzdump.cron",
            "PATH=\"/usr\"\n\n0 1 * * * root vzdump 100 --password geheim\n"
        ),
        ["backup_job vzdump.cron line=0 1 * * * root vzdump 100 --password [redacted]"]
    );
    assert_eq!(
        said("nodes/pve1/config", "wakeonlan: 00:11\n"),
        ["node pve1 wakeonlan=00:11"]
    );
    let hash = pipeline::lines::sha256(b"x");
    assert_eq!(
        said("x.txt", "x"),
        [
            "file x.txt bytes=1".to_owned(),
            format!("file x.txt content={hash}")
        ]
    );
    assert_eq!(
        said("x.txt", "password=x")[1],
        "file x.txt content=[redacted]"
    );
    assert_eq!(
        said("nodes/p/pve-ssl.pem", "no certificate")[0],
        "certificate p content=[redacted]"
    );
}

#[test]
fn hostile_files_are_bounded_and_every_change_in_them_shows() {
    let million: String = (0..1_000_000).map(|n| format!("k{n}: {n}\n")).collect();
    let path = "nodes/a/qemu-server/1.conf";
    let many = doc(path, &million[..MOST_PARSED]);
    let size = serde_json::to_string(&many).unwrap().len();
    assert!(size < 1 << 20, "{size}");
    let other = doc(
        path,
        million[..MOST_PARSED].replace("k99999: 99999", "k99999: 0"),
    );
    let rows = diff(Some(&many), Some(&other), &guard());
    assert_eq!(rows.len(), 1);
    assert_eq!(
        (&*rows[0].rows[0].key, rows[0].rows[0].redacted),
        ("rest", true)
    );
    for bytes in [
        &b"\0\0\0"[..],
        b"a: \xff\xfe\n\x00b: \x1b[31m\n[\n]\n[]\n[[\n",
        &vec![b'['; MOST_PARSED],
        &vec![b':'; MOST_PARSED],
        &b"{\n".repeat(MOST_PARSED / 2),
        &b"acl:1:/:a,b,c:d,e,f:\n".repeat(100_000),
    ] {
        for path in [
            path,
            "user.cfg",
            "storage.cfg",
            "firewall/cluster.fw",
            "corosync.conf",
            "ceph.conf",
            "vzdump.cron",
            "datacenter.cfg",
            "x",
            "nodes/a/pve-ssl.pem",
        ] {
            let size = serde_json::to_string(&doc(path, bytes)).unwrap().len();
            assert!(size < 1 << 20, "{path} {size}");
        }
    }
    let rules = "IN ACCEPT -source 1\n".repeat(100_000);
    let many = doc("firewall/cluster.fw", format!("[RULES]\n{rules}"));
    assert_eq!(many.rules[0].list.len(), 5_000);
    let none = doc("firewall/cluster.fw", "");
    let changes = diff(Some(&many), Some(&none), &guard());
    assert!(changes.len() < 5_010);
}
