//! `pve_config` in the whole program, on a copy of a tree like `/etc/pve` that is edited: what is told, what is never told,
//! and that a kill -9 costs nothing.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

#[allow(dead_code, reason = "each test uses its part")]
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use support::store::Store;
use support::{Ground, files};

/// A folder like `/etc/pve`, and the secrets that were put into it.
struct Tree {
    root: PathBuf,
    secrets: BTreeSet<String>,
}

impl Tree {
    fn new(root: PathBuf) -> Tree {
        fs::create_dir_all(&root).unwrap();
        Tree {
            root,
            secrets: BTreeSet::new(),
        }
    }

    /// Writes a file as pmxcfs does: all of it or nothing.
    fn write(&self, path: &str, text: impl AsRef<[u8]>) {
        let path = self.root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let aside = path.with_file_name("aside.tmp.7");
        fs::write(&aside, text).unwrap();
        fs::rename(aside, path).unwrap();
    }

    /// A new secret, which is found nowhere by accident.
    fn secret(&mut self) -> String {
        let secret = format!("Zq{:04}hunterX", self.secrets.len());
        self.secrets.insert(secret.clone());
        secret
    }

    /// The same, as it stands in base64.
    fn secret64(&mut self) -> String {
        let secret = format!("WnF7{:04}aHVudGVyWA", self.secrets.len());
        self.secrets.insert(secret.clone());
        secret
    }

    /// Every kind of file with secrets wherever PVE or people put them; `n` is a number that changes besides.
    fn fill(&mut self, n: u32) {
        let guests = (100..110).map(|vmid| {
            let s: Vec<String> = (0..6).map(|_| self.secret()).collect();
            let text = format!(
                "#Web shop%3A password%3A {}\n#see http://root:{}@wiki/x\nargs: -object secret,id=s0,data={} -vnc :1,password={}\ncipassword: {}\ncores: {n}\nmemory: 2048\nname: vm{vmid}\nsshkeys: ssh-ed25519%20{}\n\n[snap]\n#token = {}\ncipassword: {}\ncores: 1\nsnaptime: 17\n",
                s[0], s[1], s[2], s[3], s[4], s[5], self.secret(), self.secret()
            );
            (format!("nodes/pve1/qemu-server/{vmid}.conf"), text)
        });
        let guests: Vec<_> = guests.collect();
        for (path, text) in guests {
            self.write(&path, text);
        }
        let ct = format!(
            "cores: {n}\nhostname: ct1\nlxc.environment: DB_PASSWORD={}\nlxc.environment: API_TOKEN={}\n#root-pw: {}\n",
            self.secret(),
            self.secret(),
            self.secret()
        );
        self.write("nodes/pve2/lxc/200.conf", ct);
        let storage = format!(
            "dir: local\n\tpath /var/lib/vz\n\tcontent iso\n\tmaxfiles {n}\n\ncifs: nas\n\tserver 10.0.0.9\n\tpassword {}\n\npbs: pbs1\n\tencryption-key {}\n\tmaster-pubkey {}\n\tserver root:{}@pbs\n\nstrange: x\n\tclient_secret {}\n",
            self.secret(),
            self.secret(),
            self.secret(),
            self.secret(),
            self.secret()
        );
        self.write("storage.cfg", storage);
        let users = format!(
            "user:ops@pve:1:{n}:::ops@example.org:password is {}:x!{}:\nuser:contractor@pve:1:0:::::\ngroup:admins:ops@pve:key token={}:\ntoken:ops@pve!ci:{n}:1:secret: {}:\nacl:1:/:ops@pve:PVEAuditor:\nmystery:password={}:\n",
            self.secret(),
            self.secret(),
            self.secret(),
            self.secret(),
            self.secret()
        );
        self.write("user.cfg", users);
        let realms = format!(
            "ldap: corp\n\tbind_dn cn=x\n\tpassword {}\n\tcomment {n}\n\nopenid: sso\n\tclient-id x\n\tclient-key {}\n",
            self.secret(),
            self.secret()
        );
        self.write("domains.cfg", realms);
        let hooks = format!(
            "webhook: hook\n\turl https://u:{}@hooks/x?token={}\n\theader name=Authorization,value={}\n\tbody {}\n\tsecret name=t,value={}\n\tcomment {n}\n\nsmtp: mail\n\tusername x\n\tpassword {}\n\ngotify: g\n\ttoken {}\n",
            self.secret(),
            self.secret(),
            self.secret64(),
            self.secret64(),
            self.secret64(),
            self.secret(),
            self.secret()
        );
        self.write("notifications.cfg", hooks);
        let metrics = format!(
            "influxdb: i\n\tport {n}\n\ttoken {}\n\nopentelemetry: o\n\totel-headers {}\n",
            self.secret(),
            self.secret64()
        );
        self.write("status.cfg", metrics);
        let jobs = format!(
            "vzdump: backup-1\n\tschedule 21:00\n\tcomment passwd%3D{}\n\tmaxfiles {n}\n\tmailto a@b\n",
            self.secret()
        );
        self.write("jobs.cfg", jobs);
        let dns = format!("powerdns: p\n\tkey {}\n\tttl {n}\n", self.secret());
        self.write("sdn/dns.cfg", dns);
        let ipam = format!("netbox: nb\n\ttoken {}\n\turl http://{n}\n", self.secret());
        self.write("sdn/ipams.cfg", ipam);
        let datacenter = format!(
            "http_proxy: http://u:{}@proxy:3128\nmax_workers: {n}\n#Passwort: {}\n",
            self.secret(),
            self.secret()
        );
        self.write("datacenter.cfg", datacenter);
        let rules = format!(
            "[OPTIONS]\n\nenable: 1\n\n[RULES]\n\nIN ACCEPT -source 10.0.0.{n} # password={}\nIN DROP -p tcp # secret: {}\n",
            self.secret(),
            self.secret()
        );
        self.write("firewall/100.fw", rules);
        let cron = format!(
            "{n} 1 * * * root vzdump --all --password {}\n",
            self.secret()
        );
        self.write("vzdump.cron", cron);
        let ceph = format!("[client]\n\tkey = {}\n\tx = {n}\n", self.secret());
        self.write("ceph.conf", ceph);
        let pem = format!(
            "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
            self.secret()
        );
        self.write("nodes/pve1/pve-ssl.pem", &pem);
        self.write(
            "nodes/pve1/config",
            format!("#{}\ndescription: {n}\n", pem.replace('\n', "\n#")),
        );
        for path in [
            "nodes/pve1/pve-ssl.key",
            "priv/shadow.cfg",
            "nodes/pve1/priv/x",
        ] {
            let line = format!("{}\n", self.secret());
            self.write(path, line);
        }
        let other = format!("{n}\nmy password: {}\n", self.secret());
        self.write("notes.txt", other);
    }
}

fn graph(store: &Store, root: &Path) -> String {
    format!(
        r#"
[admin]
address = "127.0.0.1:0"

[sources.config]
type = "pve_config"
path = {root:?}
interval = "50ms"

[sources.self]
type = "internal"

[transforms.audit]
type = "event_id"
inputs = ["config"]

[sinks.es]
type = "elasticsearch"
inputs = ["config", "self"]
endpoints = ["{}"]
buffer = {{ type = "disk", max_size = "64MiB" }}
request = {{ retry_initial_backoff = "10ms", retry_max_backoff = "50ms" }}

[sinks.audited]
type = "file"
inputs = ["audit"]
path = {:?}
"#,
        store.uri(),
        root.with_file_name("audited.jsonl"),
    )
}

fn told(store: &Store, code: &str) -> Vec<Value> {
    let documents = store.documents().into_iter().map(|(_, document)| document);
    documents
        .filter(|document| document["event"]["code"] == code)
        .collect()
}

/// The events of changes.
fn changes(store: &Store) -> Vec<Value> {
    let documents = store.documents().into_iter().map(|(_, document)| document);
    documents
        .filter(|document| document["pve"]["origin"] == "config")
        .collect()
}

/// `key` as `old>new` in the change of one object.
fn row(changes: &[Value], kind: &str, id: &str, key: &str) -> Vec<String> {
    let of = changes.iter().filter(|change| {
        change["pve"]["object"]["type"] == kind && change["pve"]["object"]["id"] == id
    });
    let rows = of.flat_map(|change| change["pve"]["changes"].as_array().unwrap());
    let rows = rows.filter(|row| row["key"] == key);
    rows.map(|row| {
        let side = |side: &str| row[side].as_str().unwrap_or("-");
        format!("{}>{}", side("old"), side("new"))
    })
    .collect()
}

/// A named pipe that nobody writes into.
fn pipe(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

#[test]
fn every_edit_is_told_and_two_hundred_secrets_are_found_nowhere() {
    let store = Store::start();
    let ground = Ground::new();
    let mut tree = Tree::new(ground.path("pve"));
    tree.fill(1);
    pipe(&tree.root.join("pipe.cfg"));
    ground.configure(&graph(&store, &tree.root));
    let program = ground.start();
    ground.until("the first look is over", || {
        told(&store, "PVE-9011").iter().any(|event| {
            let message = event["message"].as_str().unwrap_or_default();
            message.contains("objects in")
        })
    });
    assert_eq!(changes(&store).len(), 0, "what was there is no change");
    let unreadable = told(&store, "PVE-9012");
    assert!(
        unreadable
            .iter()
            .any(|event| event["message"].as_str().unwrap().contains("pipe.cfg")),
        "{unreadable:?}"
    );

    tree.fill(2);
    ground.until("every file's change is told", || {
        let told: BTreeSet<String> = changes(&store)
            .iter()
            .filter_map(|change| Some(change["file"]["path"].as_str()?.to_owned()))
            .collect();
        told.len() >= 27
    });
    assert!(tree.secrets.len() >= 200, "{}", tree.secrets.len());
    let found = changes(&store);
    for (kind, id, key, want) in [
        ("vm", "104", "cores", "1>2"),
        ("vm", "104", "cipassword", "[redacted]>[redacted]"),
        (
            "vm",
            "104",
            "snapshot/snap/cipassword",
            "[redacted]>[redacted]",
        ),
        ("ct", "200", "cores", "1>2"),
        ("user", "ops@pve", "expire", "1>2"),
        ("user", "ops@pve", "keys", "[redacted]>[redacted]"),
        ("token", "ops@pve!ci", "expire", "1>2"),
        ("storage", "local", "maxfiles", "1>2"),
        ("storage", "nas", "password", "[redacted]>[redacted]"),
        ("backup_job", "backup-1", "maxfiles", "1>2"),
        (
            "firewall_rule",
            "vm/100/rules/0",
            "source",
            "10.0.0.1>10.0.0.2",
        ),
        ("realm", "sso", "client-key", "[redacted]>[redacted]"),
        ("notification", "hook", "body", "[redacted]>[redacted]"),
        ("certificate", "pve1", "content", "[redacted]>[redacted]"),
    ] {
        assert_eq!(row(&found, kind, id, key), [want], "{kind} {id} {key}");
    }
    // Rights given by hand, with vi.
    let users = fs::read_to_string(tree.root.join("user.cfg")).unwrap();
    tree.write(
        "user.cfg",
        format!("{users}acl:1:/:contractor@pve:PVEAdmin:\n"),
    );
    let id = "/|contractor@pve|PVEAdmin";
    ground.until("the right is told", || {
        !row(&changes(&store), "acl", id, "acl").is_empty()
    });
    assert_eq!(
        row(&changes(&store), "acl", id, "acl"),
        ["->propagate=1 path=/ member=contractor@pve role=PVEAdmin"]
    );
    ground.until("the audit events are written", || {
        let text = fs::read_to_string(ground.path("audited.jsonl")).unwrap_or_default();
        text.contains("PVE-3032")
    });
    let state = ground.path("data/pve_config/config.state");
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&state).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let metrics = ground.metrics_text();
    assert_eq!(program.stop(), Some(0));

    let mut places: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for (id, document) in store.documents() {
        places.insert(format!("document {id}"), document.to_string().into_bytes());
    }
    for name in ["log", "printed", "audited.jsonl"] {
        places.insert(name.to_owned(), fs::read(ground.path(name)).unwrap());
    }
    for file in files(&ground.path("data")) {
        places.insert(file.display().to_string(), fs::read(&file).unwrap());
    }
    places.insert("metrics".to_owned(), metrics.into_bytes());
    assert!(places.keys().any(|place| place.ends_with("config.state")));
    for (place, bytes) in &places {
        let text = String::from_utf8_lossy(bytes);
        // Whatever is left of one is too much.
        for part in ["hunterX", "aHVudGVyWA"] {
            if let Some(at) = text.find(part) {
                let from = text.floor_char_boundary(at.saturating_sub(300));
                panic!("{place}: …{}", &text[from..at + part.len()]);
            }
        }
    }
}

#[test]
fn what_changed_while_it_was_stopped_is_told_once_at_the_next_start() {
    let store = Store::start();
    let ground = Ground::new();
    let tree = Tree::new(ground.path("pve"));
    let guest =
        |cores: u32| tree.write("nodes/a/qemu-server/100.conf", format!("cores: {cores}\n"));
    guest(1);
    tree.write("nodes/a/qemu-server/101.conf", "cores: 1\n");
    ground.configure(&graph(&store, &tree.root));
    let opened = |n: usize| {
        ground.until("it is opened", || {
            let all = told(&store, "PVE-9011");
            all.iter()
                .filter(|event| event["message"].to_string().contains("objects in"))
                .count()
                == n
        });
    };
    let program = ground.start();
    opened(1);
    assert_eq!(program.stop(), Some(0));
    guest(2);
    fs::remove_file(tree.root.join("nodes/a/qemu-server/101.conf")).unwrap();
    let program = ground.start();
    opened(2);
    ground.until("both are told", || changes(&store).len() == 2);
    for change in changes(&store) {
        assert_eq!(change["tags"], serde_json::json!(["changed_while_stopped"]));
    }
    program.kill();
    let program = ground.start();
    opened(3);
    guest(3);
    ground.until("the next is told", || changes(&store).len() == 3);
    assert_eq!(program.stop(), Some(0));
    let mut rows = row(&changes(&store), "vm", "100", "cores");
    rows.sort();
    assert_eq!(rows, ["1>2", "2>3"]);
    assert_eq!(row(&changes(&store), "vm", "101", "cores"), ["1>-"]);
}

#[test]
fn killed_again_and_again_every_value_leads_to_the_next_one() {
    let store = Store::start();
    let ground = Ground::new();
    let tree = Tree::new(ground.path("pve"));
    let write = |n: u32| {
        for vmid in 100..105 {
            tree.write(
                &format!("nodes/a/qemu-server/{vmid}.conf"),
                format!("cores: {n}\n"),
            );
        }
    };
    write(1);
    ground.configure(&graph(&store, &tree.root));
    let program = ground.start();
    ground.until("it is opened", || !told(&store, "PVE-9011").is_empty());
    let ready = || row(&changes(&store), "vm", "100", "cores").len();
    // The first look is over when a change is told.
    let mut n = 1;
    while ready() == 0 {
        n += 1;
        write(n);
        std::thread::sleep(std::time::Duration::from_millis(300));
    }
    program.kill();
    let kills = if support::long() { 60 } else { 10 };
    for round in 0..kills {
        let program = ground.start();
        let before = ready();
        n += 1;
        write(n);
        std::thread::sleep(std::time::Duration::from_millis(fastrand(round) % 400));
        n += 1;
        write(n);
        // Sometimes at once, sometimes when something has arrived.
        if round % 3 == 0 {
            ground.until("something arrives", || ready() > before);
        } else {
            std::thread::sleep(std::time::Duration::from_millis(fastrand(round) % 700));
        }
        program.kill();
    }
    let program = ground.start();
    let last = n.to_string();
    ground.until("all has arrived", || {
        (100..105).all(|vmid| {
            let rows = row(&changes(&store), "vm", &vmid.to_string(), "cores");
            rows.iter().any(|row| row.ends_with(&format!(">{last}")))
        })
    });
    assert_eq!(program.stop(), Some(0));
    for vmid in 100..105 {
        let rows = row(&changes(&store), "vm", &vmid.to_string(), "cores");
        let steps: BTreeMap<u32, u32> = rows
            .iter()
            .map(|row| {
                let (old, new) = row.split_once('>').unwrap();
                (old.parse().unwrap(), new.parse().unwrap())
            })
            .collect();
        assert_eq!(steps.len(), rows.len(), "told twice: {rows:?}");
        let mut value = 1;
        for _ in 0..steps.len() {
            value = *steps
                .get(&value)
                .unwrap_or_else(|| panic!("a gap at {value}: {rows:?}"));
        }
        assert_eq!(value, n);
    }
}

/// Some number that looks arbitrary and is the same every time.
fn fastrand(seed: u64) -> u64 {
    (seed + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 33
}
