//! Lines of the access log: held until it is told whose they are, remembered longer for tasks of which more comes later.

use std::net::IpAddr;
use std::sync::Arc;

use pipeline::{Event, EventId, Outputs, StateError, Time, fields};

use super::basis::{Basis, make_evidence};
use super::codec::{Put, Take};
use super::look::{self, Call, Role};
use super::names::NAMES;
use super::pool::Window;
use super::refine::Refined;
use super::{Correlate, Due, SECOND};

/// A line that may be somebody's.
pub(super) struct Line {
    pub(super) id: EventId,
    pub(super) time: Time,
    /// When it came here, by our own clock.
    pub(super) arrived: Time,
    /// The node that logged it.
    pub(super) host: Box<str>,
    pub(super) ip: Option<IpAddr>,
    pub(super) user: Box<str>,
    pub(super) role: Role,
    /// The node it was relayed to.
    pub(super) target: Option<Box<str>>,
    /// What it has in common with its twin on another node.
    pub(super) twin: Option<Box<str>>,
    /// Pools it lies in.
    pub(super) keys: Vec<Box<str>>,
    pub(super) firm: bool,
    /// Whether the clocks of the two nodes were compared by it.
    pub(super) compared: bool,
    /// What it says that its task does.
    pub(super) refined: Option<Arc<Refined>>,
    /// Until it is told.
    pub(super) event: Option<Box<Event>>,
    /// Records that it is evidence of.
    pub(super) claims: Vec<EventId>,
}

impl Line {
    /// Memory it stands for [bytes].
    pub(super) fn size(&self) -> usize {
        size_of::<Line>()
            + self.host.len()
            + self.user.len()
            + self.twin.as_ref().map_or(0, |twin| twin.len())
            + self.keys.iter().map(|key| key.len() + 16).sum::<usize>()
            + self.refined.as_deref().map_or(0, Refined::size)
            + self.event.as_deref().map_or(0, Event::size)
    }

    pub(super) fn save(&self, to: &mut Vec<u8>) {
        to.put_id(self.id);
        to.put_time(self.time);
        to.put_time(self.arrived);
        to.put_str(&self.host);
        to.put_option(self.ip, Put::put_ip);
        to.put_str(&self.user);
        to.put_u8(self.role as u8);
        to.put_option(self.target.as_deref(), Put::put_str);
        to.put_option(self.twin.as_deref(), Put::put_str);
        to.put_all(&self.keys, |to, key| to.put_str(key));
        to.put_u8(u8::from(self.firm) | u8::from(self.compared) << 1);
        to.put_option(self.refined.as_deref(), |to, refined| refined.save(to));
        to.put_option(self.event.as_deref(), |to, event| {
            pipeline::state::write_event(event, to);
        });
        to.put_all(&self.claims, |to, id| to.put_id(*id));
    }

    pub(super) fn load(from: &mut Take<'_>) -> Result<Line, StateError> {
        let text = |from: &mut Take<'_>| -> Result<Box<str>, StateError> { Ok(from.str()?.into()) };
        let (id, time, arrived) = (from.id()?, from.time()?, from.time()?);
        let host = text(from)?;
        let ip = from.option(Take::ip)?;
        let user = text(from)?;
        let role = *Role::ALL
            .get(usize::from(from.u8()?))
            .ok_or_else(|| StateError("a saved line has no known role".to_owned()))?;
        let target = from.option(text)?;
        let twin = from.option(text)?;
        let keys = from.all(text)?;
        let flags = from.u8()?;
        Ok(Line {
            id,
            time,
            arrived,
            host,
            ip,
            user,
            role,
            target,
            twin,
            keys,
            firm: flags & 1 != 0,
            compared: flags & 2 != 0,
            refined: from.option(|from| Ok(Arc::new(Refined::load(from)?)))?,
            event: from.option(Take::event)?.map(Box::new),
            claims: from.all(Take::id)?,
        })
    }
}

/// The log's times have whole seconds, and the line comes after the line in the journal.
pub(super) const LOGINS: Window = Window {
    before: SECOND,
    after: 3 * SECOND,
};

impl Correlate {
    /// Takes a line of the access log.
    pub(super) fn line(&mut self, mut event: Event, out: &mut Outputs) {
        let Some(host) = event.str(fields::HOST_NAME).map(Box::<str>::from) else {
            return out.emit(event);
        };
        self.hosts.line(&host, event.timestamp());
        let Some(call) = look::call(&event) else {
            return self.connection(event, out);
        };
        if self.line_ids.contains(&event.id()) {
            return self.copy_left_out(out);
        }
        let user = look::user(&event).unwrap_or_default();
        if user.is_empty() && matches!(call.role, Role::Fork | Role::Write | Role::Failed) {
            return out.emit(event);
        }
        let (keys, twin) = self.line_keys(&event, &host, &user, &call);
        event.detach();
        let node = call.node.as_deref();
        let target = node.filter(|node| **node != *host && *node != "localhost");
        let line = Line {
            id: event.id(),
            time: event.timestamp(),
            arrived: out.now(),
            ip: look::address(&event),
            user: user.into(),
            role: call.role,
            target: target.map(Into::into),
            twin,
            keys,
            firm: call.firm,
            compared: false,
            refined: match call.role {
                Role::Fork => Refined::of(&event).map(Arc::new),
                _ => None,
            },
            event: None,
            claims: Vec::new(),
            host,
        };
        let wait = match line.role {
            Role::Fork | Role::Write => 15,
            Role::Ticket | Role::BadTicket | Role::Unknown => 3,
            Role::Failed if line.target.is_some() || self.is_member(line.ip) => 5,
            // It is one line and tells all there is.
            Role::Failed => {
                self.note_work(&line, out);
                return out.emit(event);
            }
        };
        self.note_work(&line, out);
        let no = self.next();
        self.enter_line(
            no,
            Line {
                event: Some(Box::new(event)),
                ..line
            },
        );
        self.push_due(out.now(), wait, Due::Line(no));
        self.bound(out);
    }

    /// The keys by which tasks and twins find a line.
    fn line_keys(
        &mut self,
        event: &Event,
        host: &str,
        user: &str,
        call: &Call,
    ) -> (Vec<Box<str>>, Option<Box<str>>) {
        let mut key = std::mem::take(&mut self.key);
        let mut keys: Vec<Box<str>> = Vec::new();
        let node = call.node.as_deref().filter(|node| *node != "localhost");
        let node = node.unwrap_or(host);
        let vmid = call.vmid.map(|vmid| vmid.to_string()).unwrap_or_default();
        match call.role {
            Role::Fork => {
                for class in &call.classes {
                    look::pool_key(node, user, class, &vmid, call.upid, &mut key);
                    let far = if node == host { "" } else { "far\n" };
                    let maybe = if call.firm { "" } else { "maybe\n" };
                    keys.push(format!("{maybe}{far}{key}").into());
                }
            }
            Role::Write => {
                if let Some(code) = event.str(fields::EVENT_CODE)
                    && !vmid.is_empty()
                    && node == host
                {
                    keys.push(change_key(node, user, code, &vmid).into());
                }
                if let Some(object) = event.str(NAMES.object_type)
                    && look::writes_files(event.str(fields::EVENT_CODE).unwrap_or_default())
                {
                    let id = event.str(NAMES.object_id).unwrap_or_default();
                    let code = event.str(fields::EVENT_CODE).unwrap_or_default();
                    keys.push(super::change::object_key(code, object, id).into());
                }
            }
            Role::Ticket => keys.push(format!("login\n{host}").into()),
            Role::BadTicket => {
                let ip = look::address(event).map(|ip| ip.to_string());
                keys.push(format!("bad\n{host}\n{}", ip.unwrap_or_default()).into());
            }
            Role::Unknown => keys.push(format!("refused\n{host}").into()),
            Role::Failed => {}
        }
        self.key = key;
        let twin = call
            .node
            .as_deref()
            .filter(|node| *node != "localhost")
            .map(|node| {
                let text = |field| event.str(field).unwrap_or_default();
                let (method, path) = (text(fields::HTTP_METHOD), text(fields::URL_PATH));
                let query = text(fields::URL_QUERY);
                format!("{node}\n{user}\n{method} {path}?{query}\n{}", call.upid).into()
            });
        (keys, twin)
    }

    /// A user was at work from the address of a line; what a relaying node logs is its own address, and says nothing.
    fn note_work(&mut self, line: &Line, out: &mut Outputs) {
        if let Some(ip) = line.ip
            && !line.user.is_empty()
            && !self.is_member(Some(ip))
        {
            let gone = self
                .sessions
                .note(&line.user, ip, &line.host, line.time, None);
            out.evicted(gone);
        }
    }

    /// Adds a line under its keys.
    pub(super) fn enter_line(&mut self, no: u64, line: Line) {
        let at = (line.time.0, no);
        for key in &line.keys {
            self.pools.add_line(key, at);
        }
        if let Some(twin) = &line.twin {
            match line.target {
                Some(_) => self.twins.add_line(twin, at),
                None => self.twins.add_act(twin, at),
            }
        }
        self.line_ids.insert(line.id);
        self.waiting += line.event.as_deref().map_or(0, Event::size);
        self.size += line.size();
        self.lines.insert(no, line);
    }

    /// Takes a line out of everything.
    pub(super) fn forget_line(&mut self, no: u64) {
        let Some(line) = self.lines.remove(&no) else {
            return;
        };
        self.waiting -= line.event.as_deref().map_or(0, Event::size);
        self.size -= line.size();
        self.line_ids.remove(&line.id);
        self.hosts.forget(&line.host, line.time);
        let at = (line.time.0, no);
        for key in &line.keys {
            self.pools.remove_line(key, at);
        }
        if let Some(twin) = &line.twin {
            self.twins.remove_line(twin, at);
            self.twins.remove_act(twin, at);
        }
    }

    /// The event of a line, if it is not told yet.
    pub(super) fn take_event(&mut self, no: u64) -> Option<Event> {
        let line = self.lines.get_mut(&no)?;
        let event = *line.event.take()?;
        self.size -= event.size();
        self.waiting -= event.size();
        Some(event)
    }

    /// A record rests on this line: the line goes on as its evidence, unless it is told already.
    pub(super) fn claim(&mut self, no: u64, by: EventId, out: &mut Outputs) {
        let Some(line) = self.lines.get_mut(&no) else {
            return;
        };
        if !line.claims.contains(&by) {
            line.claims.push(by);
            line.claims.truncate(8);
        }
        let claims = line.claims.clone();
        if let Some(mut event) = self.take_event(no) {
            self.resolve_into(no, &mut event);
            make_evidence(&mut event, &claims);
            self.tell(event, out);
        }
    }

    /// The time of a line is up: nobody claimed it.
    pub(super) fn line_due(&mut self, no: u64, forced: bool, out: &mut Outputs) {
        let Some(line) = self.lines.get(&no) else {
            return;
        };
        if line.event.is_none() {
            return;
        }
        if line.role == Role::Write {
            return self.write_due(no, forced, out);
        }
        let takers = self.takers(no);
        let arrivals = self.arrivals(no);
        let stranger = match self.lines.get(&no) {
            Some(line) if line.role == Role::Ticket => line.ip.map(|ip| (ip, line.time)),
            _ => None,
        };
        if let Some((ip, time)) = stranger {
            self.sessions.note_stranger(ip, time);
        }
        let Some(mut event) = self.take_event(no) else {
            return;
        };
        let resolved = self.resolve_into(no, &mut event);
        let of = if arrivals.is_empty() {
            takers
        } else {
            arrivals
        };
        if of.is_empty() {
            let role = self.lines.get(&no).map(|line| line.role);
            if role == Some(Role::Unknown) && !resolved {
                // It goes on as it came, with the sentence it has.
                return out.emit(event);
            }
            if matches!(role, Some(Role::Fork | Role::Failed)) {
                event.set_str(NAMES.record, "primary");
            }
            if role == Some(Role::Fork) {
                // What became of the task is not known.
                event.set_str(fields::EVENT_OUTCOME, "unknown");
            }
        } else {
            make_evidence(&mut event, &of);
        }
        self.tell(event, out);
    }

    /// Records that this line may belong to.
    fn takers(&self, no: u64) -> Vec<EventId> {
        let Some(line) = self.lines.get(&no) else {
            return Vec::new();
        };
        let mut takers = Vec::new();
        for key in &line.keys {
            let key = key.strip_prefix("maybe\n").unwrap_or(key);
            let Some(pool) = self.pools.get(key) else {
                continue;
            };
            let window = match line.role {
                Role::Fork => super::task::window(super::task::class_of(key)),
                _ => LOGINS,
            };
            for (_, act) in pool.takers(line.time.0, window).iter().take(8) {
                takers.extend(self.record(*act));
            }
        }
        takers
    }

    /// Writes into the event of a line what is known of where it came from; `false` where the line says all itself.
    pub(super) fn resolve_into(&mut self, no: u64, event: &mut Event) -> bool {
        self.compare(no);
        let basis = self.resolve(no).basis();
        if let Some(basis) = &basis {
            basis.write(event);
        }
        basis.is_some()
    }
}

/// The key of a change that the journal tells with its author.
pub(super) fn change_key(node: &str, user: &str, code: &str, vmid: &str) -> String {
    format!("change\n{node}\n{user}\n{code}\n{vmid}")
}

/// What a line says of where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Resolved {
    /// From this address.
    One {
        ip: IpAddr,
        via: Option<Box<str>>,
        /// Twins on the relaying node.
        twins: Vec<EventId>,
    },
    /// From one of these, or nobody knows.
    Open {
        candidates: Vec<IpAddr>,
        twins: Vec<EventId>,
    },
}

impl Resolved {
    /// What the line itself is told to rest on; `None` where what it says of itself is right.
    fn basis(&self) -> Option<Basis> {
        match self {
            Resolved::One { via: None, .. } => None,
            Resolved::One { ip, via, twins } => {
                (!twins.is_empty()).then(|| Basis::matched(*ip, twins.clone(), via.clone()))
            }
            Resolved::Open { candidates, twins } => {
                Some(Basis::ambiguous(candidates.clone(), twins.clone()))
            }
        }
    }

    pub(super) fn addresses(&self) -> &[IpAddr] {
        match self {
            Resolved::One { ip, .. } => std::slice::from_ref(ip),
            Resolved::Open { candidates, .. } => candidates,
        }
    }
}
