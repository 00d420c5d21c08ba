//! What really happened on a day of the demo: for every entry, on whose behalf and from where. No record of the cluster
//! tells all of it, which is why the answers of an audit can be compared with it.

use pipeline::pve::{Guest, Known};
use pipeline::{Event, Time};
use serde::Serialize;

use super::entry::{Entry, Log, TaskFact, What};
use super::maker::Maker;
use super::world::{Laws, World};

/// A day to look behind.
#[derive(Clone, Copy, Debug)]
pub struct Day {
    /// As the source's option.
    pub seed: u64,
    /// When it begins.
    pub start: Time,
    /// How long it lasts.
    pub lasts: std::time::Duration,
    /// As the source's option.
    pub nodes: usize,
    /// As the source's option.
    pub attacks: bool,
    /// As the source's option.
    pub noise: bool,
    /// Whether it is a part of an ordinary month, with attacks of many kinds, instead of a day that is full of everything.
    pub month: bool,
}

/// Who stands behind one entry.
#[derive(Clone, Debug, Serialize)]
pub struct Truth {
    /// The id that its event has.
    pub id: String,
    /// When it was written [ms since 1970].
    pub when: i64,
    /// The record: `access`, `journal`, `syslog`, `firewall`, `tasks`, `cluster`, `config`.
    pub log: &'static str,
    /// The node that wrote it.
    pub node: String,
    /// The task, where it is one's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upid: Option<String>,
    /// Whose act it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// From where; absent where the cluster acted by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The attack that it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attack: Option<&'static str>,
}

impl Day {
    /// Every entry of the day as the event of whoever reads its record, with its lane: a record of one node.
    pub fn events(&self, cluster: &str) -> impl Iterator<Item = (Time, String, Event)> + use<> {
        let (mut world, start, end) = self.world();
        let mut maker = Maker::new(cluster, super::run(self.seed, start));
        std::iter::from_fn(move || {
            let entry = world.next();
            if entry.when >= end {
                return None;
            }
            let node = &world.nodes[entry.node].name;
            let lane = format!("{node}/{}", entry.what.log().name());
            let event = maker.whole(&entry, node);
            Some((Time(entry.when.saturating_mul(1_000_000)), lane, event))
        })
    }

    /// What guests of the cluster are called, and on which node they are when the day begins.
    pub fn inventory(&self) -> Known {
        names(&self.world().0)
    }

    /// The world, and from when to when the day lasts [ms since 1970].
    fn world(&self) -> (World, i64, i64) {
        let start = self.start.0.div_euclid(1_000_000);
        let lasts = i64::try_from(self.lasts.as_millis()).unwrap_or(i64::MAX);
        let world = World::new(Laws {
            seed: self.seed,
            start,
            nodes: self.nodes,
            attacks: self.attacks,
            noise: self.noise,
            month: self.month,
        });
        (world, start, start.saturating_add(lasts))
    }

    /// Every entry of the day, in order; `cluster` is the label that the events' ids were made with.
    pub fn truth(&self, cluster: &str) -> impl Iterator<Item = Truth> + use<> {
        let (mut world, start, end) = self.world();
        let maker = Maker::new(cluster, super::run(self.seed, start));
        std::iter::from_fn(move || {
            let entry = world.next();
            (entry.when < end).then(|| truth(&maker, &world, &entry))
        })
    }
}

fn truth(maker: &Maker, world: &World, entry: &Entry) -> Truth {
    let log: Log = entry.what.log();
    Truth {
        id: maker.id(entry).to_string(),
        when: entry.when,
        log: log.name(),
        node: world.nodes[entry.node].name.clone(),
        upid: match &entry.what {
            What::Task(TaskFact { upid, .. }) => Some(upid.clone()),
            _ => None,
        },
        user: entry.by.as_ref().map(|who| who.user.clone()),
        address: entry.by.as_ref().and_then(|who| who.address.clone()),
        attack: entry.by.as_ref().and_then(|who| who.attack),
    }
}

/// The guests of a world, for the inventory.
pub(super) fn names(world: &World) -> Known {
    let guest = |guest: &super::world::Guest| {
        let known = Guest {
            ct: guest.container,
            name: guest.name.to_owned(),
            node: world.nodes[guest.node].name.clone(),
            ..Guest::default()
        };
        (guest.vmid, known)
    };
    Known {
        guests: world.guests.iter().map(guest).collect(),
        ..Known::default()
    }
}
