//! Lines of pveproxy's access log, as `grok` with `PVEPROXY_ACCESS` takes them apart.
//!
//! They are by far the most, and nine of ten are reads that open browsers make all day. So a line is written in one pass and
//! hardly any allocation: what is fixed is one preset, what changes points into the line. Where one value would be a list
//! of one, it stands alone; ECS and its stores take both.

use pipeline::catalogue::Catalogue;
use pipeline::pve::{Answer, Call, Endpoint, Format, User, Verdict, normalise};
use pipeline::{Event, Field, Preset, Shared, Span, Time, ValueRef, fields};

use super::addresses::Addresses;
use super::names::NAMES;
use super::policy::{Level, Policy, Subject};
use super::seen::{Writer, own};

const READ: &str = "PVE-1013";
const WRITE: &str = "PVE-1014";
const UNAUTHORIZED: &str = "PVE-1011";
const FORBIDDEN: &str = "PVE-1012";

/// Maps access lines.
pub(super) struct Access {
    /// What lines share, by the number of the row.
    presets: Vec<Vec<(Fixed, Level, Shared)>>,
    addresses: Addresses,
    keep: Keep,
    /// `event.code` to the number of its row, for the codes that lines without an endpoint have.
    rows: [usize; 4],
    said: String,
}

/// What many lines share.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Fixed {
    /// Number of the row in the catalogue.
    row: usize,
    /// Another event tells the act.
    evidence: bool,
    who: Who,
    /// Whether the client is a numeric address.
    address: bool,
    outcome: &'static str,
    object_type: &'static str,
}

/// What a line means.
struct Meaning {
    fixed: Fixed,
    /// `None`: the node.
    object_id: Option<String>,
    vmid: Option<i64>,
    target: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
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
            let below = |upper: &str, lower: &str| {
                lower
                    .strip_prefix(upper)
                    .is_some_and(|rest| rest.starts_with('.'))
            };
            // What is written anew, what lies above and below it, and what only repeats the rest.
            !dropped.iter().any(|ours| {
                let ours = ours.path();
                ours == path || below(ours, path) || below(path, ours)
            })
        })
    }
}

impl Access {
    pub(super) fn new() -> Access {
        let row = |code| Catalogue::builtin().number(code).unwrap_or_default();
        Access {
            presets: vec![Vec::new(); Catalogue::builtin().rows().len()],
            addresses: Addresses::default(),
            keep: Keep::default(),
            rows: [READ, WRITE, UNAUTHORIZED, FORBIDDEN].map(row),
            said: String::new(),
        }
    }

    /// Whether it is one.
    pub(super) fn is_one(event: &Event) -> bool {
        event.has(NAMES.http_status) && event.has(NAMES.address)
    }

    /// Makes a line the audit event that it means, and says how much of it is recorded; `none` is left out.
    pub(super) fn map(
        &mut self,
        event: &mut Event,
        now: Time,
        policy: &Policy,
        writer: &Writer,
    ) -> Level {
        let n = &*NAMES;
        let number = |field| match event.get(field) {
            Some(ValueRef::Int(number)) => Some(number),
            _ => None,
        };
        let status = number(n.http_status).unwrap_or_default();
        let meaning = match event.str(n.method) {
            Some(method @ ("POST" | "PUT" | "DELETE")) => {
                let length = number(n.http_bytes).and_then(|bytes| u64::try_from(bytes).ok());
                self.write(event, method, status, length)
            }
            _ => self.read(status),
        };
        let Fixed { row, outcome, .. } = meaning.fixed;
        let level = match row {
            row if policy.is_empty() && row == self.rows[0] => Level::Metadata,
            _ => {
                let node = event.str(n.node).unwrap_or_default();
                let subject = Subject {
                    row,
                    node,
                    vmid: meaning.vmid,
                    outcome,
                    changes: false,
                };
                policy.decide(subject).0
            }
        };
        if level > Level::None {
            self.settle(event, meaning, level, now, writer);
        }
        level
    }

    fn fixed(&self, row: usize, outcome: &'static str, object_type: &'static str) -> Fixed {
        Fixed {
            row,
            outcome,
            object_type,
            evidence: false,
            who: Who::Nobody,
            address: true,
        }
    }

    fn read(&self, status: i64) -> Meaning {
        let (place, outcome) = match status {
            401 => (2, "failure"),
            403 => (3, "failure"),
            400.. => (0, "failure"),
            _ => (0, "success"),
        };
        let mut fixed = self.fixed(self.rows[place], outcome, "node");
        // Nobody asks for each of them; a refusal is asked for.
        fixed.evidence = place == 0;
        Meaning {
            fixed,
            object_id: None,
            vmid: None,
            target: None,
        }
    }

    fn write(&self, event: &Event, method: &str, status: i64, length: Option<u64>) -> Meaning {
        let n = &*NAMES;
        let path = event.str(n.path).unwrap_or_default();
        if let Some(call) = Endpoint::find(method, path) {
            let node = event.str(n.node).unwrap_or_default();
            let user = event.str(n.user).unwrap_or_default();
            return self.call(&call, status, length, node, user);
        }
        let api = normalise(path);
        let format = api.as_ref().map_or(Format::Other, |(format, _)| *format);
        let verdict = Verdict::of(format, status, length, Answer::Object, None);
        let row = self.denied(verdict, status).unwrap_or(self.rows[1]);
        Meaning {
            fixed: self.fixed(row, verdict.outcome(), "node"),
            object_id: None,
            vmid: None,
            target: None,
        }
    }

    /// What a refusal is called.
    fn denied(&self, verdict: Verdict, status: i64) -> Option<usize> {
        match (verdict, status) {
            (Verdict::Denied, 401) => Some(self.rows[2]),
            (Verdict::Denied, 403) => Some(self.rows[3]),
            _ => None,
        }
    }

    fn call(
        &self,
        call: &Call<'_>,
        status: i64,
        length: Option<u64>,
        node: &str,
        user: &str,
    ) -> Meaning {
        let endpoint = call.endpoint;
        let verdict = call.verdict(status, length, node, user);
        let row = |code: &str| Catalogue::builtin().number(code).unwrap_or_default();
        // The journal says whose ticket it was; the line only that one was asked for, and from where.
        if let "/access/ticket" | "/access/openid/login" | "/access/vncticket" =
            endpoint.path.as_str()
        {
            let refused = matches!(verdict, Verdict::Denied | Verdict::Failure);
            let code = match (refused, endpoint.path.as_str()) {
                (true, "/access/ticket" | "/access/openid/login") => "PVE-1002",
                _ => &endpoint.code,
            };
            let mut fixed = self.fixed(row(code), verdict.outcome(), "user");
            fixed.evidence = true;
            let object_id = Some(String::new());
            return Meaning {
                fixed,
                object_id,
                vmid: None,
                target: None,
            };
        }
        let act = call.act();
        let row = self
            .denied(verdict, status)
            .unwrap_or_else(|| row(act.code));
        let mut fixed = self.fixed(row, verdict.outcome(), act.object_type);
        // The task that it forks tells the act and its end. What failed or was refused forked none.
        fixed.evidence =
            !endpoint.tasks.is_empty() && matches!(verdict, Verdict::Success | Verdict::Unknown);
        Meaning {
            fixed,
            object_id: Some(act.object_id.into_owned()),
            vmid: act.vmid,
            target: call.param("userid").map(str::to_owned),
        }
    }

    /// Writes what a line means in place of what `grok` found.
    fn settle(
        &mut self,
        event: &mut Event,
        meaning: Meaning,
        level: Level,
        now: Time,
        writer: &Writer,
    ) {
        let n = &*NAMES;
        let Meaning {
            mut fixed,
            object_id,
            vmid,
            target,
        } = meaning;
        let line = Text::of(event, fields::MESSAGE).filter(|_| level >= Level::Params);
        let query = Text::of(event, n.query).filter(|_| level >= Level::Params);
        let user = Text::of(event, n.user);
        let parts = event.str(n.user).map(Parts::of);
        let addresses = &mut self.addresses;
        let address = event.str(n.address).and_then(|text| {
            let shown = addresses.fold(text)?;
            Text::of(event, n.address).map(|held| held.part(shown.start, shown.len()))
        });
        let node = Text::of(event, n.node);
        let dropped = DROPPED.get_or_init(dropped);
        let keep = &mut self.keep;
        event.retain(|field| keep.of(field, dropped));
        for (field, text) in [
            (n.original, line),
            (n.query, query),
            (n.object_id, node.clone()),
            (n.related_hosts, node),
        ] {
            if let Some(text) = text.filter(|_| field != n.object_id || object_id.is_none()) {
                text.put(event, field);
            }
        }
        if let (Some(user), Some(parts)) = (user, parts) {
            user.part(0, parts.id).put(event, n.user);
            user.part(0, parts.id).put(event, n.related_user);
            user.part(0, parts.name).put(event, n.user_name);
            if parts.id > parts.name {
                user.part(parts.name + 1, parts.id - parts.name - 1)
                    .put(event, n.user_domain);
            }
            fixed.who = Who::User;
            if let Some(token) = parts.token {
                user.part(parts.id + 1, token).put(event, n.token);
                fixed.who = Who::Token;
            }
        }
        fixed.address = address.is_some();
        if let Some(address) = address {
            address.put(event, n.address);
            address.put(event, n.related_ip);
        }
        event.push_time(n.created, now);
        let known = &mut self.presets[fixed.row];
        let of = known
            .iter()
            .position(|(held, of, _)| *of == level && *held == fixed);
        let of = of.unwrap_or_else(|| {
            known.push((fixed, level, preset(fixed, level, writer).shared()));
            known.len() - 1
        });
        event.push_shared(&known[of].2);
        if let Some(id) = object_id {
            event.push_str(n.object_id, &id);
        }
        if let Some(vmid) = vmid {
            event.push_int(n.vmid, vmid);
        }
        if let Some(target) = target {
            let user = User::parse(&target);
            event.push_str(n.target, &user.id());
            event.push_str(n.target_name, user.name);
            if let Some(realm) = user.realm {
                event.push_str(n.target_domain, realm);
            }
        }
        // What is only evidence has the name of its row; an act has its sentence.
        if !fixed.evidence && writer.sentence(event, fixed.row, &mut self.said) {
            event.push_str(fields::MESSAGE, &self.said);
        }
    }
}

fn preset(fixed: Fixed, level: Level, writer: &Writer) -> Preset {
    let n = &*NAMES;
    let row = &Catalogue::builtin().rows()[fixed.row];
    let actor = match fixed.who {
        Who::Nobody => "unknown",
        Who::User => "user",
        Who::Token => "token",
    };
    let preset = Preset::default()
        .text(n.level, level.name())
        .and(&writer.producer)
        .and(writer.row(fixed.row))
        .constant(n.outcome, fixed.outcome)
        .constant(n.object_type, fixed.object_type)
        .constant(n.actor, actor)
        .constant(
            n.record,
            if fixed.evidence {
                "evidence"
            } else {
                "primary"
            },
        )
        .constant(n.attribution, if fixed.address { "direct" } else { "none" })
        .constant(n.origin, "access")
        .constant(n.process, "pveproxy");
    match fixed.evidence {
        true => preset.constant(fields::MESSAGE, writer.name(row)),
        false => preset,
    }
}

/// The text of a field: a place in the event's buffer, or its own.
#[derive(Clone)]
enum Text {
    Span(Span),
    Own(String),
}

impl Text {
    fn of(event: &Event, field: Field) -> Option<Text> {
        match event.span(field) {
            Some(span) => Some(Text::Span(span)),
            None => event.str(field).map(|text| Text::Own(text.to_owned())),
        }
    }

    fn part(&self, at: usize, len: usize) -> Text {
        match self {
            Text::Span(span) => Text::Span(Span {
                at: span.at + at as u32,
                len: len as u32,
            }),
            Text::Own(text) => Text::Own(text.get(at..at + len).unwrap_or_default().to_owned()),
        }
    }

    /// Adds it; the field is not there.
    fn put(&self, event: &mut Event, field: Field) {
        match self {
            Text::Span(span) => event.push_span(field, *span),
            Text::Own(text) => event.set_str(field, text),
        }
    }
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

/// What a line has from here, and what repeats the rest of it.
fn dropped() -> Vec<Field> {
    let n = &*NAMES;
    let mut fields = own(n).to_vec();
    fields.extend([
        fields::MESSAGE,
        n.outcome,
        n.severity,
        n.object_type,
        n.object_id,
        n.vmid,
        n.actor,
        n.record,
        n.attribution,
        n.origin,
        n.process,
        n.user,
        n.user_name,
        n.user_domain,
        n.token,
        n.target,
        n.target_name,
        n.target_domain,
        n.address,
        n.related_ip,
        n.related_user,
        n.related_hosts,
        n.query,
        n.url,
        n.http_version,
        n.original,
    ]);
    fields
}
