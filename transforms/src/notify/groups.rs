//! What comes in and what goes out: alerts enter the ledger, groups leave as messages when their time has come.

use std::collections::{BTreeMap, BTreeSet};

use pipeline::told::Told as OwnEvent;
use pipeline::{Event, EventId, Field, Language, Outputs, Time, Value, ValueRef, fields};
use serde::{Deserialize, Serialize};

use super::ledger::{About, Alert, KEPT, Told};
use super::look::text;
use super::message::{self, Severity, What};
use super::sentences;
use super::silence::Silence;
use super::{Notify, Plan, Way};

/// Most alerts of one message.
const MOST: usize = 20;
/// How often silences, calendars and reminders are looked at.
const PACE: std::time::Duration = std::time::Duration::from_secs(1);
/// Longest name of an alert, and longest name of a group [bytes].
const LONGEST_ID: usize = 128;
const LONGEST_GROUP: usize = 1024;

/// Alerts that leave together.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct Group {
    /// When something of it is to be told.
    pub(super) at: Option<Time>,
    /// When something was last told.
    pub(super) last: Option<Time>,
    pub(super) alerts: BTreeSet<String>,
}

/// All groups, by receiver and by what their alerts have in common.
#[derive(Default)]
pub(super) struct Groups {
    pub(super) all: BTreeMap<(String, String), Group>,
}

impl Groups {
    /// Something of a group is to be told.
    fn plan(&mut self, key: (&str, &str), id: &str, way: &Way, urgent: bool, now: Time) {
        let group = self
            .all
            .entry((key.0.to_owned(), key.1.to_owned()))
            .or_default();
        group.alerts.insert(id.to_owned());
        let wait = match (urgent, group.last) {
            (true, _) => now,
            (false, None) => now.after(way.wait.get()),
            (false, Some(last)) => last.after(way.interval.get()).max(now),
        };
        group.at = Some(group.at.map_or(wait, |at| at.min(wait)));
    }
}

/// Why a message is held back.
enum Why<'a> {
    Silence(&'a Silence),
    Inhibited(String),
    Muted,
}

impl Notify {
    /// An alert event comes in.
    pub(super) fn take(&mut self, event: &mut Event, out: &mut Outputs) -> Result<(), String> {
        let now = out.now();
        let opens = match event.str(fields::EVENT_CODE) {
            Some("PVE-9101" | "PVE-9102") => true,
            Some("PVE-9103") => false,
            _ => return Err("is no event of an alert: PVE-9101, 9102 and 9103 are".to_owned()),
        };
        let id = text(event, "pve.alert.id");
        if id.is_empty() || id.len() > LONGEST_ID || id.bytes().any(|b| !(0x21..0x7f).contains(&b))
        {
            return Err("has no pve.alert.id".to_owned());
        }
        let flag = |path: &str| text(event, path) == "true";
        let spared = flag("pve.alert.record_only") || flag("pve.alert.replayed");
        let newest = time_at(event, "event.end")
            .unwrap_or(Time::MIN)
            .max(event.timestamp());
        let stale = now.since(newest) > self.plan.max_age.get();
        if !self.ledger.alerts.contains_key(&id) {
            if !opens {
                // Nobody was told that it stands.
                return Ok(());
            }
            let (mut gone, lost) = self.ledger.make_room();
            gone.sort_unstable();
            // Only now and then: a twentieth goes at once.
            if !gone.is_empty() {
                self.groups.all.retain(|_, group| {
                    group.alerts.retain(|id| gone.binary_search(id).is_err());
                    !group.alerts.is_empty()
                });
            }
            out.evicted(gone.len());
            if lost > 0 {
                pipeline::log_limited!(
                    error,
                    lost,
                    "too many alerts: messages about the oldest are given up; mend the rule that fires so often"
                );
                let why = format!(
                    "{lost} messages about alerts were given up: more than 10 000 alerts are remembered"
                );
                out.tell(OwnEvent::new("PVE-9024", why).failed("too many alerts"));
            }
        }
        event.remove(fields::EVENT_ORIGINAL);
        let alert = self
            .ledger
            .alerts
            .entry(id.clone())
            .or_insert_with(|| Alert {
                event: event.clone(),
                about: About {
                    quiet: true,
                    ..About::default()
                },
            });
        alert.event = event.clone();
        let about = &mut alert.about;
        (about.heard, about.open) = (now, opens);
        if !opens {
            for (receiver, told) in &mut about.to {
                // One that was never told of is spared its end too.
                told.due = told.said.map(|_| What::Resolved);
                if told.due.is_some() {
                    let key = (receiver.as_str(), told.group.as_str());
                    self.groups
                        .plan(key, &id, &self.plan.routes[told.way], false, now);
                }
            }
            return Ok(());
        }
        about.quiet = spared || (about.quiet && stale);
        if about.quiet {
            return Ok(());
        }
        let severity = Severity::of(event);
        for n in self.plan.ways(event) {
            let way = &self.plan.routes[n];
            let receiver = &self.plan.receivers[way.receiver];
            let told = about.to.entry(receiver.clone()).or_insert_with(|| Told {
                group: group_name(way, event),
                ..Told::default()
            });
            told.way = n;
            told.due = match told.said {
                None => Some(What::Opened),
                Some(said) if severity as u8 > said => Some(What::Updated),
                // It was to be told that it is over, and is not.
                Some(_) => None,
            };
            if told.due.is_some() {
                let urgent = severity == Severity::Critical;
                self.groups
                    .plan((receiver, &told.group), &id, way, urgent, now);
            }
        }
        Ok(())
    }

    /// Sends what is due: for each receiver at most one message in an epoch of the engine.
    pub(super) fn send_what_is_due(&mut self, out: &mut Outputs) {
        let now = out.now();
        // A clock that was set back is followed.
        if now < self.looked || now.since(self.looked) >= PACE || self.looked == Time::MIN {
            self.looked = now;
            let changed = self.silences.look();
            self.tell_silences(changed, out);
            self.remind(now);
        }
        let epoch = self.saves.get();
        let due = self
            .groups
            .all
            .iter()
            .filter(|(_, group)| group.at.is_some_and(|at| at <= now));
        let mut due: Vec<_> = due.map(|(key, group)| (group.at, key.clone())).collect();
        due.sort();
        for (_, key) in due {
            let Some(receiver) = self.plan.receivers.iter().position(|name| *name == key.0) else {
                continue;
            };
            if self.made[receiver].is_none_or(|made| made < epoch) && self.send(&key, receiver, out)
            {
                self.made[receiver] = Some(epoch);
            }
        }
    }

    /// One message about a group; says whether there was one.
    fn send(&mut self, key: &(String, String), receiver: usize, out: &mut Outputs) -> bool {
        let now = out.now();
        let Some(group) = self.groups.all.get(key) else {
            return false;
        };
        let (mut ready, mut held, mut rest) = (Vec::new(), false, false);
        let mut untold = Vec::new();
        for id in &group.alerts {
            let Some(alert) = self.ledger.alerts.get(id) else {
                continue;
            };
            let Some(told) = alert.about.to.get(&key.0) else {
                continue;
            };
            let Some(what) = told.due else { continue };
            let why = self.why_held(id, alert, &self.plan.routes[told.way], now);
            match why {
                None if ready.len() < MOST => ready.push((id.clone(), what)),
                None => rest = true,
                Some(why) => {
                    held = true;
                    if !told.held {
                        tell_held(alert, &key.0, &why, self.language, out);
                        untold.push(id.clone());
                    }
                }
            }
        }
        for id in untold {
            let alert = self.ledger.alerts.get_mut(&id);
            if let Some(told) = alert.and_then(|alert| alert.about.to.get_mut(&key.0)) {
                told.held = true;
            }
        }
        let message = ready.first().map(|(id, _)| {
            let at = now.0.to_le_bytes();
            let parts = [
                b"pvetrail/notify",
                key.0.as_bytes(),
                key.1.as_bytes(),
                id.as_bytes(),
                &at,
            ];
            EventId::of_parts(&parts).to_string()
        });
        let sent = !ready.is_empty();
        for (id, what) in ready {
            let Some(alert) = self.ledger.alerts.get_mut(&id) else {
                continue;
            };
            let severity = Severity::of(&alert.event);
            let Some(told) = alert.about.to.get_mut(&key.0) else {
                continue;
            };
            told.messages += 1;
            let first = told.messages == 1 || (what == What::Resolved && told.messages == 2);
            let number = match first {
                true => String::new(),
                false => format!("-{}", told.messages),
            };
            let transition = format!("{}{number}", what.name());
            (told.due, told.at, told.held) = (None, now, false);
            told.said = (what != What::Resolved).then_some(severity as u8);
            let mut event = alert.event.clone();
            event.set_ordinal(0);
            let line = message::plain(&event, what, self.language);
            event.set(field(TEXT), line);
            event.set(field(RECEIVER), key.0.as_str());
            event.set(field(TRANSITION), what.name());
            event.set(field(KEY), format!("{id}-{transition}"));
            event.set(field(MESSAGE), message.clone().unwrap_or_default());
            event.set(field(GROUP), key.1.as_str());
            if what == What::Reminder {
                // The same event again, but no copy of it.
                event.set_id(EventId::of_parts(&[
                    b"pvetrail/notify",
                    id.as_bytes(),
                    transition.as_bytes(),
                ]));
            }
            out.make(receiver, event);
        }
        if let Some(group) = self.groups.all.get_mut(key) {
            group.last = if sent { Some(now) } else { group.last };
            group.at = match (rest, held) {
                (true, _) => Some(now),
                (false, true) => Some(now.after(PACE)),
                (false, false) => None,
            };
        }
        sent
    }

    /// What holds back messages about an alert.
    fn why_held(&self, id: &str, alert: &Alert, way: &Way, now: Time) -> Option<Why<'_>> {
        if let Some(silence) = self.silences.of(&alert.event, now) {
            return Some(Why::Silence(silence));
        }
        if let Some(by) = self.inhibited_by(id, &alert.event) {
            return Some(Why::Inhibited(by));
        }
        way.mute
            .iter()
            .any(|calendar| calendar.holds(now))
            .then_some(Why::Muted)
    }

    fn inhibited_by(&self, id: &str, event: &Event) -> Option<String> {
        for (source, target, equal) in &self.plan.inhibits {
            // What would hold back itself holds back nothing.
            if !target.holds(event) || source.holds(event) {
                continue;
            }
            // What nobody knows of either is not the same in both.
            let same = |other: &Event| {
                equal.iter().all(|look| {
                    let here = look.text(event);
                    !here.is_empty() && look.text(other) == here
                })
            };
            let by = self.ledger.alerts.iter().find(|(other, alert)| {
                *other != id && alert.about.open && source.holds(&alert.event) && same(&alert.event)
            });
            if let Some((_, alert)) = by {
                return Some(text(&alert.event, "rule.id"));
            }
        }
        None
    }

    /// Open alerts that were told long ago are told again; what is over is forgotten.
    fn remind(&mut self, now: Time) {
        let Plan { routes, .. } = &self.plan;
        let mut over = Vec::new();
        for (id, alert) in &mut self.ledger.alerts {
            let about = &mut alert.about;
            let due = about.to.values().any(|told| told.due.is_some());
            if !about.open && !due && now.since(about.heard) >= KEPT {
                over.push(id.clone());
            }
            if !about.open || about.quiet {
                continue;
            }
            for (receiver, told) in &mut about.to {
                let way = &routes[told.way];
                if told.said.is_some()
                    && told.due.is_none()
                    && !way.repeat.is_zero()
                    && now.since(told.at) >= way.repeat.get()
                {
                    told.due = Some(What::Reminder);
                    self.groups
                        .plan((receiver, &told.group), id, way, true, now);
                }
            }
        }
        if over.is_empty() {
            return;
        }
        over.iter()
            .for_each(|id| drop(self.ledger.alerts.remove(id)));
        self.groups.all.retain(|_, group| {
            group.alerts.retain(|id| over.binary_search(id).is_err());
            !group.alerts.is_empty()
        });
    }

    /// Tells of silences that were made, that were taken back, and that are over.
    fn tell_silences(&mut self, changed: bool, out: &mut Outputs) {
        let (now, language) = (out.now(), self.language);
        for (silence, _) in &self.silences.all {
            let told = |what: String, by: &str| {
                OwnEvent::new("PVE-9105", what)
                    .object("rule", silence.id.as_str())
                    .field(fields::USER_NAME, by)
                    .field(fields::EVENT_REASON, silence.reason.as_str())
            };
            if !self.told_silences.contains_key(&silence.id) {
                out.tell(told(sentences::made(silence, language), &silence.author));
                self.told_silences.insert(silence.id.clone(), false);
            }
            let ended = !silence.is_active(now);
            if ended && self.told_silences.insert(silence.id.clone(), true) == Some(false) {
                let by = silence
                    .removed
                    .as_ref()
                    .map_or(&silence.author, |(_, by)| by);
                out.tell(told(sentences::ended(silence, language), by));
            }
        }
        if changed {
            let all = &self.silences.all;
            self.told_silences
                .retain(|id, _| all.iter().any(|(silence, _)| silence.id == *id));
        }
    }
}

const TEXT: usize = 0;
const RECEIVER: usize = 1;
const TRANSITION: usize = 2;
const KEY: usize = 3;
const MESSAGE: usize = 4;
const GROUP: usize = 5;

/// What a message has besides its alert.
pub(super) const PATHS: [&str; 6] = [
    "pve.alert.text",
    "pve.notify.receiver",
    "pve.notify.transition",
    "pve.notify.key",
    "pve.notify.message",
    "pve.notify.group",
];

fn field(n: usize) -> Field {
    Field::new(PATHS[n])
}

fn tell_held(alert: &Alert, receiver: &str, why: &Why<'_>, language: Language, out: &mut Outputs) {
    let rule = text(&alert.event, "rule.id");
    let id = text(&alert.event, "pve.alert.id");
    out.suppressed(&rule);
    let why = match why {
        Why::Silence(silence) => sentences::by_silence(silence, language),
        Why::Inhibited(by) => sentences::by_alert(by, language),
        Why::Muted => sentences::by_calendar(language).to_owned(),
    };
    let what = sentences::held(receiver, &id, &rule, &why, language);
    out.tell(
        OwnEvent::new("PVE-9104", what)
            .object("rule", rule.as_str())
            .field(Field::new("rule.id"), rule.as_str())
            .field(Field::new("rule.name"), text(&alert.event, "rule.name"))
            .field(Field::new("pve.alert.id"), id)
            .field(
                Field::new("pve.alert.severity"),
                Severity::of(&alert.event).name(),
            )
            .field(fields::EVENT_REASON, why),
    );
}

/// What the alerts of a group have in common, cut where it would be endless.
fn group_name(way: &Way, alert: &Event) -> String {
    let values: Vec<Value> = way
        .group_by
        .iter()
        .map(|look| look.text(alert).into())
        .collect();
    let name = ValueRef::List(&values).to_json().to_string();
    if name.len() <= LONGEST_GROUP {
        return name;
    }
    let id = EventId::of_parts(&[name.as_bytes()]);
    format!(
        "{}…{id}",
        &name[..name.floor_char_boundary(LONGEST_GROUP / 2)]
    )
}

fn time_at(event: &Event, path: &str) -> Option<Time> {
    match super::look::value_at(event, path)? {
        ValueRef::Time(time) => Some(time),
        ValueRef::Str(text) => Time::parse(text),
        _ => None,
    }
}
