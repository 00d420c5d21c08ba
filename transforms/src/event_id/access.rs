//! Lines of pveproxy's access log, as `grok` with `PVEPROXY_ACCESS` takes them apart.
//!
//! Nine lines of ten are reads that open browsers make all day. They are written in one pass without an allocation: what
//! is fixed is one preset, what changes points into the line.

use std::collections::HashMap;

use pipeline::catalogue::Catalogue;
use pipeline::pve::{Answer, Call, Endpoint, Format, User, Verdict, normalise};
use pipeline::{Event, Field, Preset, Span, Time, ValueRef, fields};

use super::names::NAMES;
use super::policy::{Level, Policy, Subject};
use super::seen::{Record, Seen, Writer, fold, own};

const READ: &str = "PVE-1013";
const WRITE: &str = "PVE-1014";

/// Maps access lines.
pub(super) struct Access {
    /// Presets of reads by status class and whether somebody is named.
    reads: HashMap<(Fate, Who), Preset>,
    levels: [Preset; 3],
    keep: Keep,
}

/// What became of a line.
pub(super) enum Mapped {
    /// It was a read, and is written; `false` where the policy leaves it out.
    Read(bool),
    /// It may have changed something.
    Write(Box<Seen>),
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Fate {
    Done,
    Failed,
    Unauthorized,
    Forbidden,
}

impl Fate {
    /// The event ID and the outcome of a read.
    fn means(self) -> (&'static str, &'static str) {
        match self {
            Fate::Done => (READ, "success"),
            Fate::Failed => (READ, "failure"),
            Fate::Unauthorized => ("PVE-1011", "failure"),
            Fate::Forbidden => ("PVE-1012", "failure"),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Who {
    Nobody,
    User,
    Token,
}

/// Which fields of a line stay, by their number: worked out once for each field.
#[derive(Default)]
struct Keep(Vec<Option<bool>>);

impl Keep {
    fn of(&mut self, field: Field, dropped: &[Field]) -> bool {
        let place = field.number();
        if place >= self.0.len() {
            self.0.resize(place + 1, None);
        }
        *self.0[place].get_or_insert_with(|| {
            let path = field.path();
            // What is written anew, what lies above and below it, and what only repeats the rest.
            !dropped.iter().any(|ours| {
                let ours = ours.path();
                let below = |upper: &str, lower: &str| {
                    lower
                        .strip_prefix(upper)
                        .is_some_and(|rest| rest.starts_with('.'))
                };
                ours == path || below(ours, path) || below(path, ours)
            })
        })
    }
}

impl Access {
    pub(super) fn new(writer: &Writer) -> Access {
        let n = &*NAMES;
        let catalogue = Catalogue::builtin();
        let mut reads = HashMap::new();
        for fate in [
            Fate::Done,
            Fate::Failed,
            Fate::Unauthorized,
            Fate::Forbidden,
        ] {
            let (code, outcome) = fate.means();
            let Some(number) = catalogue.number(code) else {
                continue;
            };
            let row = &catalogue.rows()[number];
            for who in [Who::Nobody, Who::User, Who::Token] {
                let actor = match who {
                    Who::Nobody => "unknown",
                    Who::User => "user",
                    Who::Token => "token",
                };
                let preset = writer
                    .producer
                    .clone()
                    .and(writer.row(number))
                    .constant(n.outcome, outcome)
                    .constant(fields::MESSAGE, writer.name(row))
                    .constant(n.object_type, "node")
                    .constant(n.actor, actor)
                    .constant(
                        n.record,
                        if fate == Fate::Done {
                            "evidence"
                        } else {
                            "primary"
                        },
                    )
                    .constant(n.attribution, "direct")
                    .constant(n.origin, "access")
                    .constant(n.process, "pveproxy");
                reads.insert((fate, who), preset);
            }
        }
        let level = |level: Level| Preset::default().text(n.level, level.name());
        Access {
            reads,
            levels: [Level::Metadata, Level::Params, Level::Full].map(level),
            keep: Keep::default(),
        }
    }

    /// Whether it is one.
    pub(super) fn is_one(event: &Event) -> bool {
        event.has(NAMES.http_status) && event.has(NAMES.address)
    }

    /// Maps a line: a read in place; a write needs more thought.
    pub(super) fn map(&mut self, event: &mut Event, now: Time, policy: &Policy) -> Mapped {
        let n = &*NAMES;
        let status = match event.get(n.http_status) {
            Some(ValueRef::Int(status)) => status,
            _ => 0,
        };
        if matches!(event.str(n.method), Some("POST" | "PUT" | "DELETE")) {
            return Mapped::Write(Box::new(self.write(event, status)));
        }
        let fate = match status {
            401 => Fate::Unauthorized,
            403 => Fate::Forbidden,
            400.. => Fate::Failed,
            _ => Fate::Done,
        };
        let level = match (policy.is_empty(), fate) {
            (true, Fate::Done | Fate::Failed) => Level::Metadata,
            _ => {
                let (code, outcome) = fate.means();
                let subject = Subject {
                    row: Catalogue::builtin().number(code).unwrap_or_default(),
                    node: event.str(n.node).unwrap_or_default(),
                    outcome,
                    ..Subject::default()
                };
                policy.decide(subject).0
            }
        };
        if level > Level::None {
            self.read(event, fate, level, now);
        }
        Mapped::Read(level > Level::None)
    }

    fn read(&mut self, event: &mut Event, fate: Fate, level: Level, now: Time) {
        let n = &*NAMES;
        let line = event
            .span(fields::MESSAGE)
            .filter(|_| level >= Level::Params);
        let user = event.span(n.user);
        let parts = user.map(|span| (span, Parts::of(event.str(n.user).unwrap_or_default())));
        let inline = if user.is_none() {
            event.str(n.user).map(str::to_owned)
        } else {
            None
        };
        let address = event.span(n.address).map(|span| {
            let text = event.str(n.address).unwrap_or_default();
            let shown = fold(text).unwrap_or(text);
            Span {
                at: span.at + (text.len() - shown.len()) as u32,
                len: shown.len() as u32,
            }
        });
        let short = match address {
            Some(_) => None,
            None => event
                .str(n.address)
                .map(|text| fold(text).unwrap_or(text).to_owned()),
        };
        let node = event.str(n.node).map(str::to_owned);
        let dropped = DROPPED.get_or_init(dropped);
        let keep = &mut self.keep;
        event.retain(|field| keep.of(field, dropped));
        if let Some(line) = line {
            event.push_span(n.original, line);
        } else if level < Level::Params {
            event.remove(n.query);
        }
        let mut who = Who::Nobody;
        if let Some((span, parts)) = parts {
            let part = |at: usize, len: usize| Span {
                at: span.at + at as u32,
                len: len as u32,
            };
            event.push_span(n.user, part(0, parts.id));
            event.push_span(n.user_name, part(0, parts.name));
            if parts.id > parts.name {
                event.push_span(
                    n.user_domain,
                    part(parts.name + 1, parts.id - parts.name - 1),
                );
            }
            event.push_span(n.related_user, part(0, parts.id));
            who = Who::User;
            if let Some(token) = parts.token {
                event.push_span(n.token, part(parts.id + 1, token));
                who = Who::Token;
            }
        } else if let Some(text) = inline {
            let user = User::parse(&text);
            event.set_str(n.user, &user.id());
            event.set_str(n.user_name, user.name);
            if let Some(realm) = user.realm {
                event.set_str(n.user_domain, realm);
            }
            event.set_str(n.related_user, &user.id());
            who = Who::User;
            if let Some(token) = user.token {
                event.set_str(n.token, token);
                who = Who::Token;
            }
        }
        if let Some(span) = address {
            event.push_span(n.address, span);
            event.push_span(n.related_ip, span);
        } else if let Some(text) = short {
            event.set_str(n.address, &text);
            event.set_str(n.related_ip, &text);
        }
        if let Some(node) = node {
            event.set_str(n.object_id, &node);
            event.set_str(n.related_hosts, &node);
        }
        event.push_time(n.created, now);
        if let Some(level) = self.levels.get(level as usize - 1) {
            event.push_preset(level);
        }
        if let Some(preset) = self.reads.get(&(fate, who)) {
            event.push_preset(preset);
        }
    }

    fn write(&mut self, event: &mut Event, status: i64) -> Seen {
        let n = &*NAMES;
        let length = match event.get(n.http_bytes) {
            Some(ValueRef::Int(bytes)) => u64::try_from(bytes).ok(),
            _ => None,
        };
        let text = |field| event.str(field).unwrap_or_default().to_owned();
        let (node, method, path) = (text(n.node), text(n.method), text(n.path));
        let (node, path) = (node.as_str(), path.as_str());
        let user = event.str(n.user).map(str::to_owned);
        let user = user.as_deref();
        let call = Endpoint::find(&method, path);
        let mut seen = match &call {
            Some(call) => of_call(call, status, length, node, user.unwrap_or_default()),
            None => {
                let format = normalise(path).map_or(Format::Other, |(format, _)| format);
                let verdict = Verdict::of(format, status, length, Answer::Object, None);
                let shown = normalise(path).map_or(path.to_owned(), |(_, path)| path.into_owned());
                Seen::new(denied(verdict, status, WRITE), verdict.outcome()).object("node", shown)
            }
        };
        if let Some(user) = user {
            seen.user = Some(user.to_owned());
        }
        let address = text(n.address);
        seen = seen
            .from(&address)
            .with(n.origin, "access")
            .with(n.process, "pveproxy");
        if seen.address.is_none() {
            event.remove(n.address);
        }
        for repeated in [n.url, n.http_version] {
            event.remove(repeated);
        }
        seen
    }
}

/// What a refusal is called.
fn denied(verdict: Verdict, status: i64, otherwise: &'static str) -> &'static str {
    match (verdict, status) {
        (Verdict::Denied, 401) => "PVE-1011",
        (Verdict::Denied, 403) => "PVE-1012",
        _ => otherwise,
    }
}

fn of_call(call: &Call<'_>, status: i64, length: Option<u64>, node: &str, user: &str) -> Seen {
    let endpoint = call.endpoint;
    match endpoint.path.as_str() {
        // The journal says whose ticket it was; the line only that one was asked for, and from where.
        "/access/ticket" => {
            let verdict = Verdict::of_ticket(status, length);
            let code = match verdict {
                Verdict::Success | Verdict::Unknown => "PVE-1001",
                _ => "PVE-1002",
            };
            return Seen::new(code, verdict.outcome())
                .object("user", "")
                .evidence();
        }
        "/access/openid/login" | "/access/vncticket" => {
            let verdict = Verdict::of(call.format, status, length, endpoint.answers, None);
            let code = &endpoint.code;
            return Seen::new(code, verdict.outcome())
                .object("user", "")
                .evidence();
        }
        _ => {}
    }
    let lengths = call.upid_lengths(node, user);
    let verdict = Verdict::of(call.format, status, length, endpoint.answers, lengths);
    let act = call.act();
    let code = denied(verdict, status, act.code);
    let mut seen = Seen::new(code, verdict.outcome()).object(act.object_type, act.object_id);
    seen.vmid = act.vmid;
    // The task that it forks tells the act and its end. What failed or was refused forked none.
    if !endpoint.tasks.is_empty() && matches!(verdict, Verdict::Success | Verdict::Unknown) {
        seen.record = Record::Evidence;
    }
    if let Some(target) = call.param("userid") {
        seen.target = Some(target.to_owned());
    }
    seen
}

/// Lengths of the parts of `name@realm!token` [bytes].
struct Parts {
    name: usize,
    id: usize,
    token: Option<usize>,
}

impl Parts {
    fn of(text: &str) -> Parts {
        let user = User::parse(text);
        Parts {
            name: user.name.len(),
            id: user.id().len(),
            token: user.token.map(str::len),
        }
    }
}

static DROPPED: std::sync::OnceLock<Vec<Field>> = std::sync::OnceLock::new();

/// What a read has from here, and what repeats the rest of the line.
fn dropped() -> Vec<Field> {
    let n = &*NAMES;
    let mut fields = own(n).to_vec();
    fields.extend([
        fields::MESSAGE,
        n.outcome,
        n.severity,
        n.object_type,
        n.object_id,
        n.actor,
        n.record,
        n.attribution,
        n.origin,
        n.process,
        n.user,
        n.user_name,
        n.user_domain,
        n.token,
        n.address,
        n.related_ip,
        n.related_user,
        n.related_hosts,
        n.url,
        n.http_version,
        n.original,
    ]);
    fields
}
