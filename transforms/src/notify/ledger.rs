//! The ledger: each alert with what its receivers were told of it, and how it is saved.

use std::collections::{BTreeMap, BTreeSet};

use pipeline::state::{read_event, write_event};
use pipeline::{Event, StateError, Time};
use serde::{Deserialize, Serialize};

use super::Notify;
use super::groups::Group;
use super::message::What;

/// Most alerts remembered.
const MOST: usize = 10_000;
/// How long an alert that is over is remembered.
pub(super) const KEPT: std::time::Duration = std::time::Duration::from_secs(3600);

/// One alert.
pub(super) struct Alert {
    /// Its newest event.
    pub(super) event: Event,
    pub(super) about: About,
}

/// What is known of it besides.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct About {
    /// Whether it stands.
    pub(super) open: bool,
    /// Recorded only.
    pub(super) quiet: bool,
    /// When it was last heard of.
    pub(super) heard: Time,
    /// By receiver.
    pub(super) to: BTreeMap<String, Told>,
}

/// What one receiver was told of it.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct Told {
    /// The group it is told in; the names in it are values.
    pub(super) group: String,
    /// The place of the route; found anew after a start.
    #[serde(skip)]
    pub(super) way: usize,
    /// Whether it was told to stand, and with which severity.
    pub(super) said: Option<u8>,
    /// When something was last told.
    pub(super) at: Time,
    /// What is to be told.
    pub(super) due: Option<What>,
    /// How many messages there were.
    pub(super) messages: u32,
    /// Whether it was told (9104) that a message is held back.
    pub(super) held: bool,
}

/// All alerts by their id.
#[derive(Default)]
pub(super) struct Ledger {
    pub(super) alerts: BTreeMap<String, Alert>,
}

impl Ledger {
    pub(super) fn len(&self) -> usize {
        self.alerts.len()
    }

    /// Makes room for one more; says how many alerts had to go although something was still to be told of them.
    pub(super) fn make_room(&mut self) -> (Vec<String>, usize) {
        if self.alerts.len() < MOST {
            return (Vec::new(), 0);
        }
        let rank = |alert: &Alert| {
            let due = alert.about.to.values().any(|told| told.due.is_some());
            (due, alert.about.open, alert.about.heard)
        };
        let mut all: Vec<_> = self
            .alerts
            .iter()
            .map(|(id, alert)| (rank(alert), id.clone()))
            .collect();
        all.sort_unstable();
        all.truncate(MOST / 20);
        let lost = all.iter().filter(|((due, _, _), _)| *due).count();
        let gone: Vec<String> = all.into_iter().map(|(_, id)| id).collect();
        gone.iter().for_each(|id| drop(self.alerts.remove(id)));
        (gone, lost)
    }
}

/// Everything but the events, as JSON.
#[derive(Serialize, Deserialize)]
struct Head {
    version: u32,
    groups: Vec<((String, String), Group)>,
    silences: BTreeMap<String, bool>,
    /// Receivers to whom a message is on its way.
    on_the_way: BTreeSet<String>,
    alerts: Vec<(String, About)>,
}

#[derive(Serialize)]
struct HeadRef<'a> {
    version: u32,
    groups: Vec<(&'a (String, String), &'a Group)>,
    silences: &'a BTreeMap<String, bool>,
    on_the_way: BTreeSet<&'a str>,
    alerts: Vec<(&'a str, &'a About)>,
}

const VERSION: u32 = 1;

impl Notify {
    pub(super) fn save_all(&self, to: &mut Vec<u8>) {
        let epoch = self.saves.get();
        let names = self.plan.receivers.iter().zip(&self.made);
        let head = HeadRef {
            version: VERSION,
            groups: self.groups.all.iter().collect(),
            silences: &self.told_silences,
            on_the_way: names
                .filter(|(_, made)| **made == Some(epoch))
                .map(|(name, _)| name.as_str())
                .collect(),
            alerts: self
                .ledger
                .alerts
                .iter()
                .map(|(id, alert)| (id.as_str(), &alert.about))
                .collect(),
        };
        let head = serde_json::to_vec(&head).expect("names, numbers and lists are always JSON");
        to.extend_from_slice(&u32::try_from(head.len()).unwrap_or(u32::MAX).to_le_bytes());
        to.extend_from_slice(&head);
        for alert in self.ledger.alerts.values() {
            write_event(&alert.event, to);
        }
    }

    pub(super) fn load_all(&mut self, from: &[u8]) -> Result<(), StateError> {
        let short = || StateError("the ledger of messages is cut short".to_owned());
        let (len, rest) = from.split_first_chunk::<4>().ok_or_else(short)?;
        let (head, mut rest) = rest
            .split_at_checked(u32::from_le_bytes(*len) as usize)
            .ok_or_else(short)?;
        let head: Head = serde_json::from_slice(head).map_err(|why| StateError(why.to_string()))?;
        if head.version != VERSION {
            return Err(StateError(format!(
                "the ledger of messages has version {}, and only {VERSION} can be read",
                head.version
            )));
        }
        self.told_silences = head.silences;
        self.groups.all = head.groups.into_iter().collect();
        for (id, about) in head.alerts {
            let event = read_event(&mut rest)?;
            self.ledger.alerts.insert(id, Alert { event, about });
        }
        if !rest.is_empty() {
            return Err(StateError(
                "something follows the ledger of messages".to_owned(),
            ));
        }
        // What was made for the snapshot leaves again now, in the first epoch.
        let names = self.plan.receivers.iter();
        self.made = names
            .map(|name| head.on_the_way.contains(name).then_some(self.saves.get()))
            .collect();
        self.find_ways();
        Ok(())
    }

    /// Routes may be others than before the start: receivers that are gone are told nothing more.
    fn find_ways(&mut self) {
        let plan = &self.plan;
        for alert in self.ledger.alerts.values_mut() {
            let ways = plan.ways(&alert.event);
            alert.about.to.retain(|name, told| {
                let Some(receiver) = plan.receivers.iter().position(|held| held == name) else {
                    return false;
                };
                let is = |way: &&usize| plan.routes[**way].receiver == receiver;
                let other = plan.routes.iter().position(|way| way.receiver == receiver);
                told.way = ways.iter().find(is).copied().or(other).unwrap_or_default();
                true
            });
        }
        let alerts = &self.ledger.alerts;
        self.groups.all.retain(|(receiver, _), group| {
            group.alerts.retain(|id| {
                alerts
                    .get(id)
                    .is_some_and(|alert| alert.about.to.contains_key(receiver))
            });
            !group.alerts.is_empty()
        });
    }
}
