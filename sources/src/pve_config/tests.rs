//! The source at work on prepared folders.

use std::fs;
use std::path::{Path, PathBuf};

use pipeline::testing::{self, SourceBench};
use pipeline::{Event, Field};

use super::*;

/// A folder like `/etc/pve`.
struct Tree(tempfile::TempDir);

impl Tree {
    fn new() -> Tree {
        let tree = Tree(tempfile::tempdir().unwrap());
        tree.write(
            "nodes/pve1/qemu-server/210.conf",
            "cores: 2\nmemory: 2048\nname: web\ncipassword: geheim1\n",
        );
        tree.write(
            "user.cfg",
            "user:ops@pve:1:0:::::\ngroup:admins:ops@pve:x:\n",
        );
        tree
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn at(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn write(&self, path: &str, text: impl AsRef<[u8]>) {
        let path = self.at(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let aside = path.with_extension("tmp.1");
        fs::write(&aside, text).unwrap();
        fs::rename(aside, path).unwrap();
    }

    async fn start(&self) -> SourceBench {
        testing::source::<Config>(&format!(
            "path = {:?}\ninterval = '20ms'\ntimeout = '5s'",
            self.path()
        ))
        .await
    }

    /// Starts, and waits until the first look was made: `probe` is told, and nothing before it.
    async fn begun(&self) -> SourceBench {
        let bench = self.start().await;
        // Written anew until it is seen as a change, for it may be part of the first look.
        let mut n = 0;
        loop {
            n += 1;
            self.write("probe.txt", n.to_string());
            let told = tokio::time::timeout(
                std::time::Duration::from_secs(2),
                bench.until(|events| !events.is_empty()),
            );
            if told.await.is_ok() {
                return bench;
            }
        }
    }
}

fn text<'e>(event: &'e Event, field: &str) -> &'e str {
    event.str(Field::new(field)).unwrap_or_default()
}

/// Without the probe.
fn real(events: &[Event]) -> Vec<&Event> {
    let of = |event: &&Event| text(event, "pve.object.id") != "probe.txt";
    events.iter().filter(of).collect()
}

/// `vm 210 change cores:2>8` of each event, sorted.
fn words(events: &[Event]) -> Vec<String> {
    let mut words: Vec<String> = real(events)
        .into_iter()
        .map(|event| {
            let json = event.to_json();
            let rows = json["pve"]["changes"].as_array().unwrap().iter();
            let rows: Vec<String> = rows
                .map(|row| {
                    let side = |side: &str| row[side].as_str().unwrap_or("-").to_owned();
                    format!(
                        "{}:{}>{}",
                        row["key"].as_str().unwrap(),
                        side("old"),
                        side("new")
                    )
                })
                .collect();
            format!(
                "{} {} {} {}",
                text(event, "pve.object.type"),
                text(event, "pve.object.id"),
                json["event"]["type"][0].as_str().unwrap(),
                rows.join(" ")
            )
        })
        .collect();
    words.sort();
    words
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_guest_is_told_key_by_key_and_its_secrets_are_not() {
    let tree = Tree::new();
    let bench = tree.begun().await;
    tree.write(
        "nodes/pve1/qemu-server/210.conf",
        "cores: 8\nmemory: 2048\nname: web\ncipassword: geheim2\n",
    );
    bench.until(|events| real(events).len() == 1).await;
    let events = bench.stop().await;
    assert_eq!(
        words(&events),
        ["vm 210 change cipassword:[redacted]>[redacted] cores:2>8"]
    );
    let event = real(&events)[0];
    let json = event.to_json();
    assert_eq!(json["pve"]["changes"][0]["redacted"], true);
    assert_eq!(
        json["pve"]["change_keys"],
        testing::json!(["cipassword", "cores"])
    );
    assert_eq!(json["pve"]["vmid"], 210);
    assert_eq!(text(event, "pve.object.name"), "web");
    assert_eq!(text(event, "pve.object.path"), "/vms/210");
    assert_eq!(text(event, "host.name"), "pve1");
    assert_eq!(text(event, "pve.origin"), "config");
    assert_eq!(text(event, "file.hash.sha256").len(), 64);
    assert!(text(event, "file.path").ends_with("nodes/pve1/qemu-server/210.conf"));
    assert!(!event.to_json().to_string().contains("geheim"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_moves_is_one_change_and_others_come_and_go() {
    let tree = Tree::new();
    tree.write("nodes/pve1/lxc/300.conf", "hostname: db\n");
    fs::create_dir_all(tree.at("nodes/pve2/qemu-server")).unwrap();
    let bench = tree.begun().await;
    fs::rename(
        tree.at("nodes/pve1/qemu-server/210.conf"),
        tree.at("nodes/pve2/qemu-server/210.conf"),
    )
    .unwrap();
    fs::remove_file(tree.at("nodes/pve1/lxc/300.conf")).unwrap();
    tree.write("nodes/pve2/qemu-server/301.conf", "cores: 1\n");
    bench.until(|events| real(events).len() >= 3).await;
    let events = bench.stop().await;
    assert_eq!(
        words(&events),
        [
            "ct 300 deletion hostname:db>-",
            "vm 210 change node:pve1>pve2",
            "vm 301 creation cores:->1",
        ]
    );
    // In whose folder the file lies, and by whose clock it was seen.
    let told = real(&events);
    let mut others = told
        .iter()
        .filter(|event| text(event, "pve.object.id") == "301");
    let other = others.next().unwrap();
    assert_eq!(text(other, "host.name"), "pve2");
    assert_eq!(text(other, "observer.hostname"), "pve1");
}

#[tokio::test(flavor = "multi_thread")]
async fn rights_are_told_one_by_one() {
    let tree = Tree::new();
    let bench = tree.begun().await;
    tree.write(
        "user.cfg",
        "user:ops@pve:0:0:::::\nuser:new@pam:1:0:::::x!kkkk:\ngroup:admins:new@pam,ops@pve:x:\n\nacl:1:/:@admins,new@pam:PVEAdmin:\nstrange:thing:\n",
    );
    bench.until(|events| real(events).len() >= 6).await;
    let events = bench.stop().await;
    assert_eq!(
        words(&events),
        [
            "acl /|@admins|PVEAdmin creation acl:->propagate=1 path=/ member=@admins role=PVEAdmin",
            "acl /|new@pam|PVEAdmin creation acl:->propagate=1 path=/ member=new@pam role=PVEAdmin",
            "file user.cfg creation unparsed:->strange:thing:",
            "group admins change members:->new@pam",
            "user new@pam creation enable:->1 expire:->0 keys:->[redacted]",
            "user ops@pve change enable:1>0",
        ]
    );
    let acl = |member: &str| {
        let id = format!("/|{member}|PVEAdmin");
        let found = events
            .iter()
            .find(|event| text(event, "pve.object.id") == id);
        found.unwrap().to_json()
    };
    assert_eq!(acl("new@pam")["user"]["target"]["name"], "new");
    assert_eq!(acl("@admins")["group"]["name"], "admins");
}

/// Ids and tags of what is told of `path`.
fn tagged(events: &[Event], path: &str) -> Vec<bool> {
    let of = |event: &&Event| text(event, "file.path").ends_with(path);
    let tag = |event: &Event| event.to_json()["tags"] == testing::json!(["changed_while_stopped"]);
    events.iter().filter(of).map(tag).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changed_while_the_folder_or_a_file_could_not_be_read_is_told_so() {
    let tree = Tree::new();
    let bench = tree.begun().await;
    let users = |n: u32| format!("user:ops@pve:{n}:0:::::\ngroup:admins:ops@pve:x:\n");
    tree.write("user.cfg", users(0));
    bench
        .until(|events| tagged(events, "user.cfg").len() == 1)
        .await;
    // The folder is not there; that it is so for many looks is what this is about.
    let aside = tree.path().with_extension("aside");
    fs::rename(tree.path(), &aside).unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
    fs::write(aside.join("user.cfg"), users(1)).unwrap();
    fs::rename(&aside, tree.path()).unwrap();
    bench
        .until(|events| tagged(events, "user.cfg").len() == 2)
        .await;
    // And one file that is too long to be read, for as long.
    let long = fs::File::create(tree.at("nodes/long")).unwrap();
    long.set_len(65 << 20).unwrap();
    fs::rename(tree.at("nodes/long"), tree.at("user.cfg")).unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
    tree.write("user.cfg", users(0));
    bench
        .until(|events| tagged(events, "user.cfg").len() == 3)
        .await;
    tree.write("user.cfg", users(1));
    bench
        .until(|events| tagged(events, "user.cfg").len() == 4)
        .await;
    let events = bench.stop().await;
    assert_eq!(
        tagged(&events, "user.cfg"),
        [false, true, true, false],
        "{:?}",
        words(&events)
    );
}

/// Looks at the folder of this tree without a source around it.
fn scanner(tree: &Tree) -> super::scan::Scanner {
    let guard = std::sync::Arc::new(super::guard::Guard::new(Default::default(), b"k"));
    super::scan::Scanner::new(tree.path(), guard, false, Vec::new(), Default::default())
}

/// The next look that does walk: between two, the scanner rests a while.
fn walked(scanner: &mut super::scan::Scanner) -> Result<super::scan::Look, String> {
    loop {
        let look = scanner.look()?;
        if look.walked {
            return Ok(look);
        }
        std::thread::yield_now();
    }
}

#[test]
fn a_folder_that_is_suddenly_empty_is_no_deletion() {
    let tree = Tree::new();
    let mut scanner = scanner(&tree);
    assert_eq!(walked(&mut scanner).unwrap().changed.len(), 2);
    let aside = tempfile::tempdir().unwrap();
    for name in ["nodes", "user.cfg"] {
        fs::rename(tree.at(name), aside.path().join(name)).unwrap();
    }
    for _ in 0..3 {
        assert!(walked(&mut scanner).unwrap_err().contains("it is empty"));
    }
    for name in ["nodes", "user.cfg"] {
        fs::rename(aside.path().join(name), tree.at(name)).unwrap();
    }
    tree.write("nodes/pve1/qemu-server/999.conf", "cores: 1\n");
    let (mut changed, mut looks) = (Vec::new(), 0);
    while !changed.contains(&"guest/999".to_owned()) {
        let look = walked(&mut scanner).unwrap();
        assert!(look.gone.is_empty(), "{:?}", look.gone);
        changed.extend(look.changed.into_iter().map(|(key, _)| key));
        looks += 1;
        assert!(looks < 20, "{changed:?}");
    }
}

#[test]
fn a_name_that_is_no_text_and_a_folder_too_deep_are_named_and_the_rest_is_read() {
    use std::os::unix::ffi::OsStrExt as _;
    let tree = Tree::new();
    let odd = std::ffi::OsStr::from_bytes(b"j\xFCrgen.cfg");
    fs::write(tree.path().join(odd), "x: 1\n").unwrap();
    let deep = "a/b/c/d/e/f/g/h/i";
    tree.write(&format!("{deep}/x.cfg"), "x: 1\n");
    let look = scanner(&tree).look().unwrap();
    assert_eq!(look.changed.len(), 2);
    let named: Vec<(&str, &str)> = look
        .trouble
        .iter()
        .map(|(path, why)| (path.as_str(), why.as_str()))
        .collect();
    assert_eq!(named.len(), 2, "{named:?}");
    assert_eq!(named[0].0, deep);
    assert!(named[0].1.contains("deep"), "{named:?}");
    assert_eq!(named[1].0, "j\\xfcrgen.cfg");
    assert!(named[1].1.contains("no UTF-8"), "{named:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_guests_are_called_is_in_the_inventory_also_when_they_are_gone() {
    let tree = Tree::new();
    tree.write(
        "nodes/pve2/lxc/300.conf",
        "hostname: mail\ntags: prod;mail\n\n[snapshot1]\nhostname: old\n",
    );
    tree.write(
        "user.cfg",
        "user:ops@pve:1:0:::::\npool:prod:x:210,300:local:\npool:empty:::\n",
    );
    let bench = tree.begun().await;
    let inventory = pipeline::pve::Inventory::shared(bench.data_dir());
    let now = inventory.snapshot();
    let mail = now.guest(300).unwrap();
    assert_eq!(
        (
            mail.name.as_str(),
            mail.pool.as_deref(),
            mail.node.as_str(),
            mail.ct
        ),
        ("mail", Some("prod"), "pve2", true)
    );
    assert_eq!(mail.tags, ["prod", "mail"]);
    assert!(now.has_pool("empty"));
    fs::remove_file(tree.at("nodes/pve2/lxc/300.conf")).unwrap();
    tree.write("nodes/pve1/qemu-server/210.conf", "cores: 2\nname: web-2\n");
    bench.until(|events| real(events).len() == 2).await;
    let now = inventory.snapshot();
    assert_eq!(now.guest(210).unwrap().name, "web-2");
    assert_eq!(now.guest(210).unwrap().pool.as_deref(), Some("prod"));
    let mail = now.guest(300).unwrap();
    assert!(mail.name == "mail" && mail.gone.is_some());
    bench.stop().await;
}
