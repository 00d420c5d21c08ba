//! `Inventory`: what is known of guests, nodes and pools, shared by all components of the program.
//!
//! - written by whoever asks the cluster (`pve_api`), read by whoever needs a name or the address of a node
//! - a guest that was destroyed is remembered for 24 h, so that the events about its end still have its name
//! - kept in the data folder with a checksum; a file that does not agree with it counts as none and is told of

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Weak};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use serde::{Deserialize, Serialize};

use crate::clock::Time;
use crate::lines::sha256;
use crate::position::write_durably;

/// A destroyed guest is remembered this long.
const REMEMBERED: Duration = Duration::from_secs(24 * 3600);
/// Most guests, nodes, pools, users of one writer; what is more is left out.
const MOST: usize = 65_536;
/// Longest name [bytes].
const LONGEST: usize = 256;
/// Largest file that is read [bytes].
const MOST_BYTES: u64 = 64 << 20;
/// The name of the file in the data folder.
const FILE: &str = "inventory.json";
/// What the file begins with; a checksum of the rest follows.
const HEAD: &str = "pvetrail inventory 1 ";

/// A guest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guest {
    /// Whether it is a container, else a virtual machine.
    pub ct: bool,
    /// Its name, `""` where none is known.
    pub name: String,
    /// The pool it is in.
    pub pool: Option<String>,
    /// Its tags, in their order.
    pub tags: Vec<String>,
    /// The node it is on.
    pub node: String,
    /// Since when it is gone.
    pub gone: Option<Time>,
}

/// A node of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Its address in the cluster.
    pub address: Option<IpAddr>,
    /// Whether the cluster sees it.
    pub online: bool,
}

/// What one writer knows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// Guests by their number.
    pub guests: BTreeMap<u32, Guest>,
    /// Nodes by their name.
    pub nodes: BTreeMap<String, Node>,
    /// Names of pools.
    pub pools: BTreeSet<String>,
    /// Users, as `alice@pve`.
    pub users: BTreeSet<String>,
}

impl Known {
    /// Brings the guests up to date: those that are not in `now` any more are gone from `at` on, and remembered for 24 h.
    pub fn renew_guests(&mut self, now: BTreeMap<u32, Guest>, at: Time) {
        let before = std::mem::replace(&mut self.guests, now);
        for (vmid, mut guest) in before {
            if self.guests.contains_key(&vmid) {
                continue;
            }
            let gone = *guest.gone.get_or_insert(at);
            if at.since(gone) < REMEMBERED {
                self.guests.insert(vmid, guest);
            }
        }
    }

    fn bound(&mut self) {
        while self.guests.len() > MOST {
            self.guests.pop_last();
        }
        while self.nodes.len() > MOST {
            self.nodes.pop_last();
        }
        while self.pools.len() > MOST {
            self.pools.pop_last();
        }
        while self.users.len() > MOST {
            self.users.pop_last();
        }
        for guest in self.guests.values_mut() {
            for text in [&mut guest.name, &mut guest.node]
                .into_iter()
                .chain(guest.pool.as_mut())
                .chain(&mut guest.tags)
            {
                text.truncate(text.floor_char_boundary(LONGEST));
            }
            guest.tags.truncate(64);
        }
    }
}

/// The whole inventory at one moment. Reading it costs a look into a map.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    by_writer: BTreeMap<String, Arc<Known>>,
    addresses: HashMap<IpAddr, Arc<str>>,
}

impl Snapshot {
    /// The guest of this number, also one that is gone since less than a day. `None` too where two clusters have one of
    /// this number: which of them is meant nobody can say. Two writers that call it the same know the same one.
    pub fn guest(&self, vmid: u32) -> Option<&Guest> {
        let mut found = self.by_writer.values().filter_map(|k| k.guests.get(&vmid));
        let first = found.next()?;
        found.try_fold(first, |one, other| {
            let named = |guest: &Guest| !guest.name.is_empty();
            let same =
                one.ct == other.ct && (one.name == other.name || !named(one) || !named(other));
            // The one that is there, and of those the one that has a name and a pool.
            let rank = |guest: &Guest| (guest.gone.is_none(), named(guest), guest.pool.is_some());
            let better = if rank(other) > rank(one) { other } else { one };
            same.then_some(better)
        })
    }

    /// The name of the node that has this address.
    pub fn node_at(&self, address: IpAddr) -> Option<&str> {
        self.addresses
            .get(&address.to_canonical())
            .map(|name| &**name)
    }

    /// Nodes and their addresses, as far as these are known.
    pub fn nodes(&self) -> impl Iterator<Item = (&str, &Node)> {
        let writers = self.by_writer.values();
        writers.flat_map(|known| known.nodes.iter().map(|(name, node)| (name.as_str(), node)))
    }

    /// Whether a pool is called so.
    pub fn has_pool(&self, name: &str) -> bool {
        self.by_writer.values().any(|k| k.pools.contains(name))
    }

    /// Whether there is such a user, like `alice@pve`.
    pub fn has_user(&self, id: &str) -> bool {
        self.by_writer.values().any(|k| k.users.contains(id))
    }

    /// Whether nothing is known at all.
    pub fn is_empty(&self) -> bool {
        self.by_writer.is_empty()
    }

    fn index(&mut self) {
        self.addresses.clear();
        for known in self.by_writer.values() {
            for (name, node) in &known.nodes {
                if let Some(address) = node.address {
                    self.addresses
                        .insert(address.to_canonical(), name.as_str().into());
                }
            }
        }
    }
}

/// The inventory of one data folder.
#[derive(Debug)]
pub struct Inventory {
    file: PathBuf,
    now: RwLock<Arc<Snapshot>>,
    /// One writes at a time.
    writing: Mutex<()>,
}

impl Inventory {
    /// The one of this data folder; all who ask for it share it. The first reads what was kept.
    pub fn shared(data_dir: &Path) -> Arc<Inventory> {
        static ALL: LazyLock<Mutex<HashMap<PathBuf, Weak<Inventory>>>> =
            LazyLock::new(Mutex::default);
        let mut all = ALL.lock();
        all.retain(|_, inventory| inventory.strong_count() > 0);
        if let Some(known) = all.get(data_dir).and_then(Weak::upgrade) {
            return known;
        }
        let file = data_dir.join(FILE);
        let mut snapshot = Snapshot::default();
        match read(&file) {
            Ok(Some(by_writer)) => snapshot.by_writer = by_writer,
            Ok(None) => {}
            Err(why) => {
                tracing::warn!(file = %file.display(), %why, "the kept inventory cannot be used; names are unknown until the cluster is asked again");
            }
        }
        snapshot.index();
        let inventory = Arc::new(Inventory {
            file,
            now: RwLock::new(Arc::new(snapshot)),
            writing: Mutex::new(()),
        });
        all.insert(data_dir.to_owned(), Arc::downgrade(&inventory));
        inventory
    }

    /// What is known now; take it once per batch.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.now.read())
    }

    /// What `writer`, the id of a source, has told so far.
    pub fn known(&self, writer: &str) -> Known {
        let now = self.snapshot();
        now.by_writer
            .get(writer)
            .map(|known| Known::clone(known))
            .unwrap_or_default()
    }

    /// Replaces what `writer` knows, and keeps it. True if that changed anything. When it cannot be kept it is used all the
    /// same, and the error says why a restart will not know it.
    pub fn update(&self, writer: &str, mut known: Known) -> Result<bool, String> {
        let _one = self.writing.lock();
        known.bound();
        let mut next = Snapshot::clone(&self.snapshot());
        if next.by_writer.get(writer).is_some_and(|old| **old == known) {
            return Ok(false);
        }
        next.by_writer.insert(writer.to_owned(), Arc::new(known));
        next.index();
        let text = serde_json::to_string(&next.by_writer).map_err(|e| e.to_string());
        *self.now.write() = Arc::new(next);
        let text = text?;
        let whole = format!("{HEAD}{}\n{text}", sha256(text.as_bytes()));
        write_durably(&self.file, whole.as_bytes())
            .map(|()| true)
            .map_err(|why| format!("{}: {why}", self.file.display()))
    }
}

fn read(file: &Path) -> Result<Option<BTreeMap<String, Arc<Known>>>, String> {
    match std::fs::metadata(file) {
        Ok(found) if found.len() > MOST_BYTES => {
            return Err(format!("it is longer than {MOST_BYTES} bytes"));
        }
        Ok(_) => {}
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(why) => return Err(why.to_string()),
    }
    let text = std::fs::read_to_string(file).map_err(|why| why.to_string())?;
    let broken = || "its checksum does not agree with it".to_owned();
    let (head, body) = text.split_once('\n').ok_or_else(broken)?;
    if head.strip_prefix(HEAD) != Some(sha256(body.as_bytes()).as_str()) {
        return Err(broken());
    }
    let read: BTreeMap<String, Known> =
        serde_json::from_str(body).map_err(|why| why.to_string())?;
    let read = read.into_iter().map(|(writer, mut known)| {
        known.bound();
        (writer, Arc::new(known))
    });
    Ok(Some(read.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guest(name: &str) -> Guest {
        Guest {
            name: name.to_owned(),
            pool: Some("prod".to_owned()),
            node: "pve1".to_owned(),
            ..Guest::default()
        }
    }

    #[test]
    fn a_destroyed_guest_is_remembered_for_a_day() {
        let mut known = Known::default();
        known.renew_guests([(104, guest("db"))].into(), Time::from_secs(0));
        known.renew_guests(BTreeMap::new(), Time::from_secs(10));
        assert_eq!(known.guests[&104].gone, Some(Time::from_secs(10)));
        known.renew_guests(BTreeMap::new(), Time::from_secs(10 + 86_399));
        assert_eq!(known.guests[&104].name, "db");
        known.renew_guests(BTreeMap::new(), Time::from_secs(10 + 86_400));
        assert!(known.guests.is_empty());
        known.renew_guests([(104, guest("a"))].into(), Time::from_secs(1));
        known.renew_guests(BTreeMap::new(), Time::from_secs(2));
        known.renew_guests([(104, guest("b"))].into(), Time::from_secs(3));
        assert_eq!(known.guests[&104], guest("b"));
    }

    #[test]
    fn a_restart_knows_it_and_a_damaged_file_counts_as_none() {
        let folder = tempfile::tempdir().unwrap();
        let inventory = Inventory::shared(folder.path());
        let mut known = Known::default();
        known.guests.insert(104, guest("db"));
        let node = Node {
            address: "::ffff:192.0.2.1".parse().ok(),
            online: true,
        };
        known.nodes.insert("pve1".to_owned(), node);
        known.users.insert("alice@pve".to_owned());
        assert_eq!(inventory.update("api", known.clone()), Ok(true));
        assert_eq!(inventory.update("api", known.clone()), Ok(false));
        assert!(Arc::ptr_eq(&inventory, &Inventory::shared(folder.path())));
        drop(inventory);
        let again = Inventory::shared(folder.path());
        assert_eq!(again.known("api"), known);
        let now = again.snapshot();
        assert_eq!(now.guest(104).unwrap().name, "db");
        assert_eq!(now.node_at("192.0.2.1".parse().unwrap()), Some("pve1"));
        assert!(now.has_user("alice@pve") && !now.has_pool("x"));
        // The same guest, known from its file too.
        let mut file = Known::default();
        let in_file = Guest {
            pool: None,
            ..guest("db")
        };
        file.guests.insert(104, in_file);
        assert_eq!(again.update("config", file), Ok(true));
        assert_eq!(again.snapshot().guest(104), Some(&guest("db")));
        // Another cluster has a guest of this number.
        let mut other = Known::default();
        other.guests.insert(104, guest("mail"));
        assert_eq!(again.update("other", other), Ok(true));
        assert!(again.snapshot().guest(104).is_none());
        drop(again);
        let file = folder.path().join(FILE);
        let mut bytes = std::fs::read(&file).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(&file, bytes).unwrap();
        assert!(Inventory::shared(folder.path()).snapshot().is_empty());
    }
}
