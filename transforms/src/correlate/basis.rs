//! What is known of where an act came from, and on what ground. Every address that is shown has its ground beside it.

use std::net::IpAddr;

use pipeline::{Event, EventId, StateError, Value, ValueRef};

use super::codec::{Put, Take};
use super::names::NAMES;

/// Most ids and addresses named as ground of one claim.
const MOST_NAMED: usize = 16;

/// On what ground an address is claimed, or why none is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ground {
    /// The line itself carries it.
    Direct,
    /// Exactly one address made a call that fits.
    Matched,
    /// No call fits, and the user was logged in from exactly one address.
    Session,
    /// Several fit, or it cannot be ruled out that the one which fits belongs to another act.
    Ambiguous,
    /// Begun on the node itself.
    Local,
    /// Nothing is known.
    None,
}

impl Ground {
    const ALL: [(Ground, &str); 6] = [
        (Ground::Direct, "direct"),
        (Ground::Matched, "matched"),
        (Ground::Session, "session"),
        (Ground::Ambiguous, "ambiguous"),
        (Ground::Local, "local"),
        (Ground::None, "none"),
    ];

    /// The word in `pve.source.attribution`.
    pub(super) fn name(self) -> &'static str {
        Self::ALL[self as usize].1
    }
}

/// Where an act came from, as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Basis {
    pub(super) ground: Ground,
    /// There with `Direct`, `Matched` and `Session`, and only there.
    pub(super) ip: Option<IpAddr>,
    /// Addresses that it may have been, with `Ambiguous`.
    pub(super) candidates: Vec<IpAddr>,
    /// Events on which the claim rests.
    pub(super) evidence: Vec<EventId>,
    /// The node that relayed the call.
    pub(super) via: Option<Box<str>>,
}

impl Basis {
    fn of(ground: Ground, ip: Option<IpAddr>) -> Basis {
        Basis {
            ground,
            ip,
            candidates: Vec::new(),
            evidence: Vec::new(),
            via: None,
        }
    }

    /// Nothing is known.
    pub(super) fn none() -> Basis {
        Basis::of(Ground::None, None)
    }

    /// Begun on the node itself.
    pub(super) fn local() -> Basis {
        Basis::of(Ground::Local, None)
    }

    /// A call from this address fits.
    pub(super) fn matched(ip: IpAddr, evidence: Vec<EventId>, via: Option<Box<str>>) -> Basis {
        Basis {
            evidence,
            via,
            ..Basis::of(Ground::Matched, Some(ip))
        }
    }

    /// The only address of the user.
    pub(super) fn session(ip: IpAddr, evidence: EventId) -> Basis {
        Basis {
            evidence: vec![evidence],
            ..Basis::of(Ground::Session, Some(ip))
        }
    }

    /// It may have been any of these.
    pub(super) fn ambiguous(mut candidates: Vec<IpAddr>, evidence: Vec<EventId>) -> Basis {
        candidates.sort_unstable();
        candidates.dedup();
        if candidates.is_empty() {
            return Basis {
                evidence,
                ..Basis::none()
            };
        }
        Basis {
            candidates,
            evidence,
            ..Basis::of(Ground::Ambiguous, None)
        }
    }

    /// Writes it into an event. What the event said of its own source before is replaced.
    pub(super) fn write(&self, event: &mut Event) {
        let names = &*NAMES;
        event.set_str(names.attribution, self.ground.name());
        match self.ip {
            Some(ip) => {
                let text = ip.to_string();
                event.set_str(pipeline::fields::SOURCE_IP, &text);
                add_text(event, names.related_ip, &text);
            }
            None => {
                let before = event.str(pipeline::fields::SOURCE_IP).map(str::to_owned);
                if event.remove(pipeline::fields::SOURCE_IP) {
                    event.remove(pipeline::fields::SOURCE_PORT);
                    if let Some(before) = before {
                        remove_text(event, names.related_ip, &before);
                    }
                }
            }
        }
        let texts = |list: &mut dyn Iterator<Item = String>| {
            let list: Vec<Value> = list.take(MOST_NAMED).map(Value::Str).collect();
            (!list.is_empty()).then_some(list)
        };
        let mut set = |field, list: Option<Vec<Value>>| match list {
            Some(list) => event.set(field, Value::List(list)),
            None => {
                event.remove(field);
            }
        };
        let mut addresses = self.candidates.iter().map(ToString::to_string);
        set(names.candidates, texts(&mut addresses));
        let mut ids: Vec<EventId> = self.evidence.clone();
        ids.sort_unstable();
        ids.dedup();
        set(
            names.evidence,
            texts(&mut ids.iter().map(ToString::to_string)),
        );
        match &self.via {
            Some(via) => event.set_str(names.via, via),
            None => {
                event.remove(names.via);
            }
        }
    }

    pub(super) fn save(&self, to: &mut Vec<u8>) {
        to.put_u8(self.ground as u8);
        to.put_option(self.ip, Put::put_ip);
        to.put_all(&self.candidates, |to, ip| to.put_ip(*ip));
        to.put_all(&self.evidence, |to, id| to.put_id(*id));
        to.put_option(self.via.as_deref(), Put::put_str);
    }

    pub(super) fn load(from: &mut Take<'_>) -> Result<Basis, StateError> {
        let ground = from.u8()?;
        let (ground, _) = Ground::ALL
            .get(usize::from(ground))
            .ok_or_else(|| StateError(format!("{ground} is no ground of a claim")))?;
        Ok(Basis {
            ground: *ground,
            ip: from.option(Take::ip)?,
            candidates: from.all(Take::ip)?,
            evidence: from.all(Take::id)?,
            via: from.option(|from| Ok(from.str()?.into()))?,
        })
    }
}

/// Adds a text to the list a field holds, unless it is there.
pub(super) fn add_text(event: &mut Event, field: pipeline::Field, text: &str) {
    let there = match event.get(field) {
        Some(ValueRef::List(list)) => list.iter().any(|held| held.as_ref().as_str() == Some(text)),
        Some(ValueRef::Str(held)) => held == text,
        _ => false,
    };
    if !there {
        event.append(field, Value::Str(text.to_owned()));
    }
}

/// Takes a text out of the list a field holds.
fn remove_text(event: &mut Event, field: pipeline::Field, text: &str) {
    let Some(ValueRef::List(list)) = event.get(field) else {
        return;
    };
    let rest: Vec<Value> = list
        .iter()
        .filter(|held| held.as_ref().as_str() != Some(text))
        .cloned()
        .collect();
    if rest.is_empty() {
        event.remove(field);
    } else {
        event.set(field, Value::List(rest));
    }
}

/// Makes an event the evidence of others.
pub(super) fn make_evidence(event: &mut Event, of: &[EventId]) {
    event.set_str(NAMES.record, "evidence");
    link(event, of);
}

/// Names other events that have to do with it.
pub(super) fn link(event: &mut Event, of: &[EventId]) {
    for id in of.iter().take(MOST_NAMED) {
        if *id != event.id() {
            add_text(event, NAMES.links, &id.to_string());
        }
    }
}
