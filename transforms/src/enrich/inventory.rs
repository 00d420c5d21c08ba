//! Names and pools of guests, as the cluster's own inventory knows them.

use std::sync::Arc;

use pipeline::pve::{Inventory, Snapshot};
use pipeline::{Batch, Event, Field, Language, Outputs, Value, ValueRef, catalogue, fields};

/// What misses are counted under.
const NAME: &str = "inventory";

/// Asks the inventory.
pub(super) struct Names {
    inventory: Arc<Inventory>,
    language: Language,
    vmid: Field,
    object: Field,
    name: Field,
    pool: Field,
    tags: Field,
}

impl Names {
    pub(super) fn new(inventory: Arc<Inventory>, language: Language) -> Names {
        Names {
            inventory,
            language,
            vmid: Field::new("pve.vmid"),
            object: Field::new("pve.object.type"),
            name: Field::new("pve.object.name"),
            pool: Field::new("pve.object.pool"),
            tags: Field::new("pve.object.tags"),
        }
    }

    pub(super) fn apply(&self, batch: &mut Batch, out: &mut Outputs) {
        let now = self.inventory.snapshot();
        let mut missed = 0;
        for event in &mut batch.events {
            if self.add(event, &now) == Some(false) {
                missed += 1;
            }
        }
        out.missed(NAME, missed);
    }

    /// True if the event got a name; `None` if it is about no guest.
    fn add(&self, event: &mut Event, now: &Snapshot) -> Option<bool> {
        // An object of another type has a name of its own: a volume of a guest is not the guest.
        if !matches!(event.str(self.object), None | Some("vm" | "ct" | "guest")) {
            return None;
        }
        let vmid = match event.get(self.vmid)? {
            ValueRef::Int(vmid) => u32::try_from(vmid).ok()?,
            ValueRef::Str(vmid) => vmid.parse().ok()?,
            _ => return None,
        };
        let Some(guest) = now.guest(vmid) else {
            return Some(false);
        };
        if !guest.name.is_empty() && !event.has(self.name) {
            event.set_str(self.name, &guest.name);
            // The sentence of `event_id` names the guest; without a code the message is somebody's own.
            if event.has(fields::EVENT_CODE)
                && let Some(said) = catalogue::sentence(event, self.language)
            {
                event.set_str(fields::MESSAGE, &said);
            }
        }
        if let Some(pool) = &guest.pool
            && !event.has(self.pool)
        {
            event.set_str(self.pool, pool);
        }
        if !guest.tags.is_empty() && !event.has(self.tags) {
            let tags = guest.tags.iter().map(|tag| Value::from(tag.as_str()));
            event.set(self.tags, Value::List(tags.collect()));
        }
        Some(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pipeline::pve::{Guest, Known};
    use pipeline::{Time, events};

    #[test]
    fn a_guest_has_its_name_also_when_it_is_gone_and_a_volume_has_not() {
        let folder = tempfile::tempdir().unwrap();
        let inventory = Inventory::shared(folder.path());
        let mut known = Known::default();
        let guest = Guest {
            name: "db-prod-1".to_owned(),
            pool: Some("prod".to_owned()),
            tags: vec!["pci".to_owned()],
            ..Guest::default()
        };
        known.renew_guests([(104, guest)].into(), Time::from_secs(0));
        known.renew_guests(Default::default(), Time::from_secs(60));
        inventory.update("api", known).unwrap();
        let names = Names::new(Arc::clone(&inventory), Language::De);
        let now = inventory.snapshot();
        let mut events = events![
            {"pve": {"vmid": 104, "object": {"type": "vm", "id": "104"}}, "message": "said", "user": {"id": "a@pve"},
                "event": {"code": "PVE-2002", "outcome": "success"}},
            {"pve": {"vmid": 104, "object": {"type": "volume", "id": "x"}}},
            {"pve": {"vmid": 105}},
            {"pve": {"vmid": 104, "object": {"type": "guest", "id": "104"}}},
            {"user": {"id": "a@pve"}},
            {"pve": {"vmid": 104, "object": {"type": "vm", "name": "of the event"}}},
        ];
        let added: Vec<_> = events.iter_mut().map(|e| names.add(e, &now)).collect();
        assert_eq!(
            added,
            [Some(true), None, Some(false), Some(true), None, Some(true)]
        );
        let object = &events[0].to_json()["pve"]["object"];
        assert_eq!(object["name"], "db-prod-1");
        assert_eq!(object["pool"], "prod");
        assert_eq!(object["tags"][0], "pci");
        assert_eq!(
            events[0].str(fields::MESSAGE),
            Some("a@pve hat VM 104 (db-prod-1) gelöscht")
        );
        let object = &events[5].to_json()["pve"]["object"];
        assert_eq!(object["name"], "of the event");
    }
}
