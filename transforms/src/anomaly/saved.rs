//! The state of all rules, written down and read again. Each rule's part stands under the hash of what the rule means: a
//! changed threshold drops it, a changed name keeps it.

use std::collections::VecDeque;
use std::sync::Arc;

use pipeline::StateError;

use super::alert::{Alert, Ended};
use super::codec::{Put, Take};
use super::engine::{Engine, Memory};
use super::faces::Pinned;
use super::recent::Recent;
use super::rows::{Row, Rows};
use super::sequence::Sequence;
use super::spec::{Grade, Stamp};
use super::store::{Extra, Spike};
use super::terms::Terms;

/// The form of the state; another one is not read.
const VERSION: u8 = 5;

/// Writes everything down.
pub(super) fn save(engine: &Engine, to: &mut Vec<u8>) {
    let mut put = Put(to);
    put.u8(VERSION);
    put.i64(engine.watermark);
    put.len(engine.rules.len());
    for (rule, memory) in engine.rules.iter().zip(&engine.memory) {
        put.text(&rule.spec.id);
        put.0.extend_from_slice(&rule.spec.meaning);
        let at = put.0.len();
        put.u32(0);
        save_rule(memory, &mut put);
        let len = u32::try_from(put.0.len() - at - 4).unwrap_or(u32::MAX);
        put.0[at..at + 4].copy_from_slice(&len.to_le_bytes());
    }
    put.len(engine.faces.len());
    for face in engine.faces.iter() {
        pipeline::state::write_event(face, put.0);
    }
}

fn save_rule(memory: &Memory, put: &mut Put<'_>) {
    put.i64(memory.since);
    put.u8(u8::from(memory.degraded));
    put.len(memory.store.len());
    for slot in memory.store.in_order() {
        let Some(group) = memory.store.get(slot) else {
            continue;
        };
        put.text(&group.key);
        put.i64(group.due);
        let rows = &group.rows;
        let flags = u8::from(rows.saturated)
            | u8::from(rows.falling) << 1
            | u8::from(rows.session.is_some()) << 2;
        put.u8(flags);
        let (start, last) = rows.session.unwrap_or_default();
        put.i64(start);
        put.i64(last);
        put.len(group.rows.rows.len());
        for row in &group.rows.rows {
            put.stamp(row.stamp);
            put.u64(row.value);
            put.u32(row.n);
            let flags =
                u8::from(row.fired) | u8::from(row.counted) << 1 | u8::from(row.decided) << 2;
            put.u8(flags);
        }
        save_extra(&group.extra, put);
        put.len(group.alerts.len());
        for alert in &group.alerts {
            save_alert(alert, put);
        }
        put.len(group.pinned.0.len());
        for (stamp, face) in &group.pinned.0 {
            put.stamp(*stamp);
            pipeline::state::write_event(face, put.0);
        }
        put.u64(group.input);
        put.len(group.late.len());
        group.late.iter().for_each(|stamp| put.stamp(*stamp));
    }
    memory.terms.save(put);
    memory.known.save(put);
    memory.recent.save(put);
    put.len(memory.singles.len());
    for (due, key, alert) in &memory.singles {
        put.i64(*due);
        put.text(key);
        save_alert(alert, put);
    }
}

fn save_extra(extra: &Extra, put: &mut Put<'_>) {
    let stamps = |put: &mut Put<'_>, held: &VecDeque<Stamp>| {
        put.len(held.len());
        held.iter().for_each(|stamp| put.stamp(*stamp));
    };
    match extra {
        Extra::None => put.u8(0),
        Extra::Seen {
            first,
            last,
            expected,
            missing,
        } => {
            put.u8(1);
            put.stamp(*first);
            put.stamp(*last);
            put.u8(u8::from(*expected) | u8::from(*missing) << 1);
        }
        Extra::Sequence(sequence) => {
            put.u8(2);
            put.len(sequence.stages.len());
            for held in &sequence.stages {
                stamps(put, held);
            }
            stamps(put, &sequence.fired);
        }
        Extra::Unless(held) => {
            put.u8(3);
            stamps(put, held);
        }
        Extra::Spike(spike) => {
            put.u8(4);
            put.i64(spike.since);
            put.len(spike.windows.len());
            for (start, count, counted, open) in &spike.windows {
                put.i64(*start);
                put.u32(*count);
                put.u32(*counted);
                put.u8(u8::from(*open));
            }
        }
    }
}

fn save_alert(alert: &Alert, put: &mut Put<'_>) {
    put.id(alert.id);
    for stamp in [alert.opening, alert.first, alert.last, alert.newest] {
        put.stamp(stamp);
    }
    put.u64(alert.count);
    put.u64(alert.value.to_bits());
    put.i64(alert.opened);
    put.i64(alert.until);
    put.u8(u8::from(alert.resolved.is_some()));
    put.i64(alert.resolved.unwrap_or(0));
    put.u8(alert.grade as u8);
    put.u8(u8::from(alert.saturated)
        | u8::from(alert.late) << 1
        | u8::from(alert.incomplete) << 2
        | u8::from(alert.untold) << 3);
    put.i64(alert.told);
    put.i64(alert.touched);
    put.u32(alert.turns);
    put.u64(alert.overflow);
    put.u64(alert.selections);
    put.len(alert.values.len());
    let mut values: Vec<u64> = alert.values.iter().copied().collect();
    values.sort_unstable();
    values.into_iter().for_each(|value| put.u64(value));
    put.len(alert.ids.len());
    alert.ids.iter().for_each(|id| put.id(*id));
    put.len(alert.firings.len());
    alert.firings.iter().for_each(|stamp| put.stamp(*stamp));
    put.u8(Ended::number(alert.ended));
    put.u8(u8::from(alert.event.is_some()));
    if let Some(event) = &alert.event {
        pipeline::state::write_event(event, put.0);
    }
}

/// A rule whose state is of no use any more, and the alerts that were open.
#[derive(Debug)]
pub(super) struct Dropped {
    pub(super) id: String,
    /// It begins anew, or is gone; otherwise it only alerts nobody any more.
    pub(super) anew: bool,
    pub(super) alerts: Vec<(Arc<str>, Alert)>,
}

/// Reads everything again. Rules that mean something else now or are gone begin anew, those that are switched off have no
/// alerts any more; says which these are.
pub(super) fn load(engine: &mut Engine, from: &[u8]) -> Result<Vec<Dropped>, StateError> {
    let mut take = Take(from);
    let version = take.u8()?;
    if version != VERSION {
        return Err(StateError(format!(
            "the state of the rules is of version {version}, this program reads version {VERSION}"
        )));
    }
    engine.watermark = take.i64()?;
    let mut dropped = Vec::new();
    for _ in 0..take.len()? {
        let id = take.text()?;
        let meaning: [u8; 16] = take.array()?;
        let mut part = Take(take.slice()?);
        let place = engine.rules.iter().position(|rule| &*rule.spec.id == id);
        let same = place.filter(|place| engine.rules[*place].spec.meaning == meaning);
        match same {
            Some(place) => {
                load_rule(&mut engine.memory[place], &mut part)?;
                if !engine.rules[place].spec.enabled {
                    let alerts = open(&mut engine.memory[place]);
                    if !alerts.is_empty() {
                        dropped.push(Dropped {
                            id: id.to_owned(),
                            anew: false,
                            alerts,
                        });
                    }
                }
            }
            None => {
                let mut memory = Memory::default();
                load_rule(&mut memory, &mut part)?;
                dropped.push(Dropped {
                    id: id.to_owned(),
                    anew: true,
                    alerts: open(&mut memory),
                });
            }
        }
    }
    for _ in 0..take.len()? {
        engine.faces.put(Arc::new(take.event()?));
    }
    Ok(dropped)
}

/// Takes out the alerts, and says which are open.
fn open(memory: &mut Memory) -> Vec<(Arc<str>, Alert)> {
    let slots: Vec<u32> = memory.store.in_order().collect();
    let mut found = Vec::new();
    for slot in slots {
        if let Some(group) = memory.store.get_mut(slot) {
            let key = Arc::clone(&group.key);
            let alerts = group.alerts.drain(..).filter(Alert::is_open);
            found.extend(alerts.map(|alert| (Arc::clone(&key), alert)));
        }
    }
    found.extend(memory.singles.drain(..).map(|(_, key, alert)| (key, alert)));
    memory.store.open = 0;
    found
}

fn load_rule(memory: &mut Memory, take: &mut Take<'_>) -> Result<(), StateError> {
    memory.since = take.i64()?;
    memory.degraded = take.flag()?;
    for _ in 0..take.len()? {
        let slot = memory.store.add(take.text()?);
        let due = take.i64()?;
        let flags = take.u8()?;
        let session = (take.i64()?, take.i64()?);
        let mut rows = Rows::default();
        (rows.saturated, rows.falling) = (flags & 1 != 0, flags & 2 != 0);
        rows.session = (flags & 4 != 0).then_some(session);
        for _ in 0..take.len()? {
            let mut row = Row::new(take.stamp()?, take.u64()?);
            row.n = take.u32()?;
            let flags = take.u8()?;
            row.fired = flags & 1 != 0;
            row.counted = flags & 2 != 0;
            row.decided = flags & 4 != 0;
            rows.rows.push_back(row);
        }
        let extra = load_extra(take)?;
        let alerts: Vec<Alert> = (0..take.len()?)
            .map(|_| load_alert(take))
            .collect::<Result<_, _>>()?;
        let pinned = (0..take.len()?)
            .map(|_| Ok((take.stamp()?, Arc::new(take.event()?))))
            .collect::<Result<_, StateError>>()?;
        let input = take.u64()?;
        let late = (0..take.len()?)
            .map(|_| take.stamp())
            .collect::<Result<_, _>>()?;
        memory.store.open += alerts.iter().filter(|alert| alert.is_open()).count();
        if let Some(group) = memory.store.get_mut(slot) {
            (group.rows, group.extra, group.alerts) = (rows, extra, alerts);
            (group.pinned, group.input, group.late) = (Pinned(pinned), input, late);
        }
        memory.store.settle(slot);
        memory.store.ask(slot, due);
    }
    memory.terms = Terms::load(take)?;
    memory.known = Terms::load(take)?;
    memory.recent = Recent::load(take)?;
    for _ in 0..take.len()? {
        let due = take.i64()?;
        let key: Arc<str> = take.text()?.into();
        memory.singles.push_back((due, key, load_alert(take)?));
    }
    Ok(())
}

fn stamps(take: &mut Take<'_>) -> Result<VecDeque<Stamp>, StateError> {
    (0..take.len()?).map(|_| take.stamp()).collect()
}

fn load_extra(take: &mut Take<'_>) -> Result<Extra, StateError> {
    Ok(match take.u8()? {
        0 => Extra::None,
        1 => {
            let (first, last) = (take.stamp()?, take.stamp()?);
            let flags = take.u8()?;
            Extra::Seen {
                first,
                last,
                expected: flags & 1 != 0,
                missing: flags & 2 != 0,
            }
        }
        2 => {
            let stages = take.len()?;
            let stages: Vec<_> = (0..stages)
                .map(|_| stamps(take))
                .collect::<Result<_, _>>()?;
            Extra::Sequence(Box::new(Sequence {
                stages,
                fired: stamps(take)?,
            }))
        }
        3 => Extra::Unless(stamps(take)?),
        4 => {
            let since = take.i64()?;
            let windows = (0..take.len()?)
                .map(|_| Ok((take.i64()?, take.u32()?, take.u32()?, take.flag()?)))
                .collect::<Result<_, StateError>>()?;
            Extra::Spike(Box::new(Spike { since, windows }))
        }
        other => return Err(StateError(format!("{other} is no kind of group"))),
    })
}

fn load_alert(take: &mut Take<'_>) -> Result<Alert, StateError> {
    let id = take.id()?;
    let (opening, first, last, newest) =
        (take.stamp()?, take.stamp()?, take.stamp()?, take.stamp()?);
    let count = take.u64()?;
    let value = f64::from_bits(take.u64()?);
    let (opened, until) = (take.i64()?, take.i64()?);
    let is_resolved = take.flag()?;
    let resolved = take.i64()?;
    let grade = Grade::of(take.u8()?);
    let flags = take.u8()?;
    let (told, touched) = (take.i64()?, take.i64()?);
    let (turns, overflow) = (take.u32()?, take.u64()?);
    let selections = take.u64()?;
    let values = (0..take.len()?)
        .map(|_| take.u64())
        .collect::<Result<_, _>>()?;
    let ids = (0..take.len()?)
        .map(|_| take.id())
        .collect::<Result<_, _>>()?;
    let firings = (0..take.len()?)
        .map(|_| take.stamp())
        .collect::<Result<_, _>>()?;
    let ended = Ended::of(take.u8()?);
    let event = match take.flag()? {
        true => Some(Arc::new(take.event()?)),
        false => None,
    };
    Ok(Alert {
        id,
        opening,
        first,
        last,
        count,
        saturated: flags & 1 != 0,
        selections,
        values,
        value,
        ids,
        opened,
        until,
        resolved: is_resolved.then_some(resolved),
        grade,
        late: flags & 2 != 0,
        incomplete: flags & 4 != 0,
        told,
        untold: flags & 8 != 0,
        turns,
        touched,
        overflow,
        firings,
        ended,
        event,
        newest,
    })
}
