//! What was understood of an event, and how it is written down.

use pipeline::catalogue::{Catalogue, Row};
use pipeline::pve::User;
use pipeline::{Context, Event, Field, Language, Preset, Time, Value, ValueRef, fields};

use super::names::NAMES;

/// Longest reason [bytes]; of a longer one the beginning is kept.
const LONGEST_REASON: usize = 1 << 10;
/// The schema of the events.
const SCHEMA: &str = "1.0";
const ECS: &str = "8.17.0";

/// Whether it tells of an act itself, or speaks of one that another event tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Record {
    #[default]
    Primary,
    Evidence,
}

/// What was understood. Texts are owned: what they were read from is written anew.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) code: &'static str,
    pub(super) outcome: &'static str,
    pub(super) object_type: Option<&'static str>,
    pub(super) object_id: Option<String>,
    pub(super) vmid: Option<i64>,
    /// `name@realm!token`, or a name of the system.
    pub(super) user: Option<String>,
    pub(super) target: Option<String>,
    pub(super) address: Option<String>,
    pub(super) reason: Option<String>,
    pub(super) record: Record,
    /// `direct`, `local`; `none` where it is not said.
    pub(super) attribution: Option<&'static str>,
    /// `pve.actor.kind` where it is no user and no token.
    pub(super) actor: Option<&'static str>,
    pub(super) severity: Option<u8>,
    /// Anything else.
    pub(super) more: Vec<(Field, Value)>,
}

impl Seen {
    pub(super) fn new(code: &'static str, outcome: &'static str) -> Seen {
        Seen {
            code,
            outcome,
            ..Seen::default()
        }
    }

    pub(super) fn object(mut self, kind: &'static str, id: impl Into<String>) -> Seen {
        self.object_type = Some(kind);
        self.object_id = Some(id.into());
        self
    }

    pub(super) fn user(mut self, user: impl Into<String>) -> Seen {
        self.user = Some(user.into());
        self
    }

    pub(super) fn evidence(mut self) -> Seen {
        self.record = Record::Evidence;
        self
    }

    pub(super) fn local(mut self) -> Seen {
        self.attribution = Some("local");
        self
    }

    pub(super) fn actor(mut self, actor: &'static str) -> Seen {
        self.actor = Some(actor);
        self
    }

    pub(super) fn guest(mut self, kind: &'static str, vmid: i64) -> Seen {
        self.vmid = Some(vmid);
        self.object(kind, vmid.to_string())
    }

    /// The address a line names, if it is one.
    pub(super) fn from(mut self, address: &str) -> Seen {
        if let Some(address) = fold(address) {
            self.address = Some(address.to_owned());
            self.attribution = Some("direct");
        }
        self
    }

    pub(super) fn because(mut self, reason: &str) -> Seen {
        let reason = cut(reason.trim(), LONGEST_REASON);
        if !reason.is_empty() {
            self.reason = Some(reason.to_owned());
        }
        self
    }

    pub(super) fn with(mut self, field: Field, value: impl Into<Value>) -> Seen {
        self.more.push((field, value.into()));
        self
    }
}

/// `::ffff:192.0.2.1` is `192.0.2.1`; `None` where the text is no address.
pub(super) fn fold(text: &str) -> Option<&str> {
    let text = match text.get(..7) {
        Some(head) if head.eq_ignore_ascii_case("::ffff:") && text[7..].contains('.') => &text[7..],
        _ => text,
    };
    // A zone (`fe80::1%vmbr0`) is part of the text and not of the address.
    let plain = text.split('%').next().unwrap_or(text);
    plain.parse::<std::net::IpAddr>().is_ok().then_some(plain)
}

/// At most `bytes` of a text, cut between two letters.
pub(super) fn cut(text: &str, bytes: usize) -> &str {
    if text.len() <= bytes {
        return text;
    }
    let end = (0..=bytes).rev().find(|at| text.is_char_boundary(*at));
    &text[..end.unwrap_or(0)]
}

/// Writes down what was understood.
pub(super) struct Writer {
    language: Language,
    /// What every event of this program has.
    pub(super) producer: Preset,
    /// What every event of a row has, by the number of the row.
    rows: Vec<Preset>,
}

/// Fields of [`Writer::producer`] and of the rows, which an event has from here and from nowhere else.
pub(super) fn own(names: &super::names::Names) -> [Field; 14] {
    [
        names.code,
        names.action,
        names.category,
        names.class,
        names.kind,
        names.dataset,
        names.cluster,
        names.schema,
        names.ecs,
        names.agent_type,
        names.agent_version,
        names.agent_id,
        names.level,
        names.created,
    ]
}

impl Writer {
    pub(super) fn new(cx: &Context) -> Writer {
        let n = &*NAMES;
        let producer = Preset::default()
            .constant(n.dataset, "pve.audit")
            .constant(n.ecs, ECS)
            .constant(n.schema, SCHEMA)
            .constant(n.agent_type, "pvetrail")
            .constant(n.agent_version, env!("CARGO_PKG_VERSION"))
            .constant(n.agent_id, cx.agent_id());
        let producer = match cx.cluster() {
            Some(cluster) => producer.constant(n.cluster, cluster),
            None => producer,
        };
        Writer {
            language: cx.language(),
            producer,
            rows: Catalogue::builtin().rows().iter().map(preset).collect(),
        }
    }

    pub(super) fn row(&self, number: usize) -> &Preset {
        &self.rows[number]
    }

    /// What a row is called, in the operator's language.
    pub(super) fn name(&self, row: &Row) -> String {
        match self.language {
            Language::En => row.text.en.clone(),
            Language::De => row.text.de.clone(),
        }
    }

    /// Makes the event the audit event that was understood. `original` is the line it was read from.
    pub(super) fn write(&self, event: &mut Event, seen: Seen, now: Time) {
        let n = &*NAMES;
        let catalogue = Catalogue::builtin();
        let number = catalogue
            .number(seen.code)
            .or_else(|| catalogue.number("PVE-0000"));
        let Some(number) = number else { return };
        let row = &catalogue.rows()[number];
        if !event.has(n.original)
            && let Some(span) = event.span(fields::MESSAGE)
        {
            event.set_span(n.original, span);
        } else if !event.has(n.original)
            && let Some(text) = event.str(fields::MESSAGE).map(str::to_owned)
        {
            event.set(n.original, text);
        }
        event.set_preset(&self.producer);
        event.set_preset(&self.rows[number]);
        event.set(n.created, Value::Time(now));
        event.set_str(n.outcome, seen.outcome);
        if let Some(severity) = seen.severity {
            event.set(n.severity, i64::from(severity));
        }
        if let Some(kind) = seen.object_type {
            event.set_str(n.object_type, kind);
        } else if !event.has(n.object_type) {
            event.set_str(n.object_type, &row.object);
        }
        match seen.object_id {
            Some(id) => event.set(n.object_id, id),
            None if !event.has(n.object_id) => event.set_str(n.object_id, ""),
            None => {}
        }
        if let Some(vmid) = seen.vmid {
            event.set(n.vmid, vmid);
        }
        for (field, value) in seen.more {
            event.set(field, value);
        }
        let has_user = seen.user.is_some();
        let token = seen.user.as_deref().map(|user| set_user(event, user));
        if let Some(target) = seen.target {
            let user = User::parse(&target);
            event.set_str(n.target, &user.id());
            event.set_str(n.target_name, user.name);
            if let Some(realm) = user.realm {
                event.set_str(n.target_domain, realm);
            }
        }
        if let Some(address) = seen.address {
            event.set(n.address, address);
        }
        if let Some(reason) = seen.reason {
            event.set(n.reason, reason);
        }
        event.set_str(n.attribution, seen.attribution.unwrap_or("none"));
        let actor = seen.actor.unwrap_or(match token {
            Some(true) => "token",
            _ if has_user => "user",
            _ => "unknown",
        });
        event.set_str(n.actor, actor);
        let record = match seen.record {
            Record::Primary => "primary",
            Record::Evidence => "evidence",
        };
        event.set_str(n.record, record);
        relate(event);
        self.say(event, number, &mut String::with_capacity(128));
    }

    /// Writes the sentence of a row into `message`; `said` is its scratch paper.
    pub(super) fn say(&self, event: &mut Event, number: usize, said: &mut String) {
        if self.sentence(event, number, said) {
            event.set_str(fields::MESSAGE, said);
        }
    }

    /// Writes the sentence of a row into `said`; `false` where it has none.
    pub(super) fn sentence(&self, event: &Event, number: usize, said: &mut String) -> bool {
        said.clear();
        Catalogue::builtin().say(number, event, self.language, said)
    }
}

/// What every event of a row has.
fn preset(row: &Row) -> Preset {
    let n = &*NAMES;
    let list =
        |words: &[String]| Value::List(words.iter().map(|word| word.as_str().into()).collect());
    Preset::default()
        .constant(n.code, row.code.as_str())
        .constant(n.action, row.action.as_str())
        .constant(n.kind, "event")
        .constant(n.category, list(&row.category))
        .constant(n.class, list(&row.kinds))
        .int(n.severity, i64::from(row.severity))
}

/// Writes `user.id`, `.name`, `.domain` and the token; says whether there is one.
fn set_user(event: &mut Event, text: &str) -> bool {
    let n = &*NAMES;
    let user = User::parse(text);
    event.set_str(n.user, &user.id());
    event.set_str(n.user_name, user.name);
    if let Some(realm) = user.realm {
        event.set_str(n.user_domain, realm);
    }
    if let Some(token) = user.token {
        event.set_str(n.token, token);
    }
    user.token.is_some()
}

/// Writes every address, user and host of the event once more, for whoever searches across fields.
fn relate(event: &mut Event) {
    let n = &*NAMES;
    for (to, from) in [
        (n.related_ip, &[n.address, n.destination][..]),
        (
            n.related_user,
            &[n.user_name, n.user, n.target_name, n.target, n.effective][..],
        ),
        (n.related_hosts, &[n.node][..]),
    ] {
        let mut list: Vec<Value> = match event.get(to) {
            Some(ValueRef::List(held)) => held.to_vec(),
            _ => Vec::new(),
        };
        for field in from {
            if let Some(text) = event.str(*field)
                && !text.is_empty()
                && !list.iter().any(|held| held.as_ref().as_str() == Some(text))
            {
                list.push(Value::Str(text.to_owned()));
            }
        }
        if !list.is_empty() {
            event.set(to, Value::List(list));
        }
    }
}
