//! What guests are called, in which pool and on which node they are: for all who ask the inventory.

use std::collections::BTreeMap;
use std::sync::Arc;

use pipeline::Time;
use pipeline::pve::{Guest, Inventory, Known};

use super::model::{Doc, Object, shown};

/// Keeps the inventory of the files.
pub(super) struct Names {
    inventory: Arc<Inventory>,
    /// The id of the source.
    writer: String,
    known: Known,
    /// Guests by the key of the document they stand in.
    guests: BTreeMap<String, (u32, Guest)>,
    /// The pool of a guest, and the key of the document that says so.
    pools: (String, BTreeMap<u32, String>),
}

impl Names {
    pub(super) fn new(inventory: Arc<Inventory>, writer: &str) -> Names {
        Names {
            known: inventory.known(writer),
            inventory,
            writer: writer.to_owned(),
            guests: BTreeMap::new(),
            pools: Default::default(),
        }
    }

    /// Learns what a document says.
    pub(super) fn learn(&mut self, key: &str, doc: &Doc) {
        self.guests.remove(key);
        let users = doc.path == "user.cfg";
        if users {
            self.pools = (key.to_owned(), BTreeMap::new());
            self.known.pools.clear();
        }
        for object in &doc.objects {
            match object.kind.as_str() {
                "vm" | "ct" if doc.node.is_some() => {
                    if let Some((vmid, guest)) = guest(object, doc) {
                        self.guests.insert(key.to_owned(), (vmid, guest));
                    }
                }
                "pool" if users => {
                    self.known.pools.insert(object.id.clone());
                    let members = object.keys.iter().filter(|(key, _)| shown(key) == "vms");
                    let vmids = members.filter_map(|(_, held)| held.text().parse().ok());
                    let pool = vmids.map(|vmid: u32| (vmid, object.id.clone()));
                    self.pools.1.extend(pool);
                }
                _ => {}
            }
        }
    }

    /// Forgets a document that is gone.
    pub(super) fn forget(&mut self, key: &str) {
        self.guests.remove(key);
        if self.pools.0 == key {
            self.pools.1.clear();
            self.known.pools.clear();
        }
    }

    /// Tells the inventory; the error says why a restart will not know it.
    pub(super) fn keep(&mut self, now: Time) -> Result<(), String> {
        let with_pool = |(vmid, guest): &(u32, Guest)| {
            let pool = self.pools.1.get(vmid).cloned();
            (
                *vmid,
                Guest {
                    pool,
                    ..guest.clone()
                },
            )
        };
        let guests = self.guests.values().map(with_pool).collect();
        self.known.renew_guests(guests, now);
        let known = self.known.clone();
        self.inventory.update(&self.writer, known).map(drop)
    }
}

fn guest(object: &Object, doc: &Doc) -> Option<(u32, Guest)> {
    let text = |key: &str| object.keys.get(key).map_or("", |held| held.text());
    let ct = object.kind == "ct";
    let tags = text("tags").split([';', ',', ' ']);
    let guest = Guest {
        ct,
        name: text(if ct { "hostname" } else { "name" }).to_owned(),
        pool: None,
        tags: tags
            .filter(|tag| !tag.is_empty())
            .map(str::to_owned)
            .collect(),
        node: doc.node.clone().unwrap_or_default(),
        gone: None,
    };
    Some((object.id.parse().ok()?, guest))
}
