//! Lines of the access log: held until it is told whose they are, remembered longer for tasks of which more comes later.

use std::net::IpAddr;
use std::sync::Arc;

use smallvec::SmallVec;

use pipeline::{Event, EventId, Outputs, StateError, Time, fields};

use super::basis::make_evidence;
use super::codec::{Put, Take};
use super::due::Due;
use super::look::{self, Call, Role};
use super::names::NAMES;
use super::pool::Window;
use super::refine::Refined;
pub(super) use super::resolved::Resolved;
use super::words::Words;
use super::{Correlate, SECOND};

/// A line that may be somebody's. There may be very many, so that what few have stands apart.
pub(super) struct Line {
    pub(super) id: EventId,
    pub(super) time: Time,
    /// The node that logged it.
    pub(super) host: Arc<str>,
    pub(super) user: Arc<str>,
    /// Pools it lies in.
    pub(super) keys: SmallVec<[Arc<str>; 1]>,
    pub(super) ip: Option<IpAddr>,
    pub(super) role: Role,
    pub(super) firm: bool,
    /// Whether the clocks of the two nodes were compared by it.
    pub(super) compared: bool,
    /// What it says that its task does.
    pub(super) refined: Option<Arc<Refined>>,
    /// Until it is told.
    pub(super) event: Option<Box<Event>>,
    pub(super) more: Option<Box<More>>,
}

/// What only lines have that say which node they are for, or that something rests on.
#[derive(Default)]
pub(super) struct More {
    /// The node it was relayed to.
    target: Option<Box<str>>,
    /// What it has in common with its twin on another node.
    twin: Option<Box<str>>,
    /// Records that it is evidence of.
    claims: Vec<EventId>,
    /// The keys that it names, of a call that changes something without a task.
    named: Vec<Box<str>>,
}

impl Line {
    /// The node it was relayed to.
    pub(super) fn target(&self) -> Option<&str> {
        self.more.as_ref()?.target.as_deref()
    }

    /// What it has in common with its twin on another node.
    pub(super) fn twin(&self) -> Option<&str> {
        self.more.as_ref()?.twin.as_deref()
    }

    /// The keys that it names, of a call that changes something without a task.
    pub(super) fn named(&self) -> &[Box<str>] {
        self.more.as_ref().map_or(&[], |more| &more.named)
    }

    fn claims(&self) -> &[EventId] {
        self.more.as_ref().map_or(&[], |more| &more.claims)
    }

    /// Memory it stands for, with its places in the lists of what is known [bytes].
    pub(super) fn size(&self) -> usize {
        let more = self.more.as_ref().map_or(0, |more| {
            let twin = more.twin.as_ref().map_or(0, |twin| 2 * twin.len());
            let named: usize = more.named.iter().map(|name| name.len() + 16).sum();
            size_of::<More>() + twin + 16 * more.claims.len() + named
        });
        size_of::<Line>()
            + PLACES
            + self.keys.len().saturating_sub(1) * 2 * size_of::<Arc<str>>()
            + more
            + self.refined.as_deref().map_or(0, Refined::size)
            + self.event.as_deref().map_or(0, Event::size)
    }

    pub(super) fn save(&self, to: &mut Vec<u8>) {
        to.put_id(self.id);
        to.put_time(self.time);
        to.put_str(&self.host);
        to.put_option(self.ip, Put::put_ip);
        to.put_str(&self.user);
        to.put_u8(self.role as u8);
        to.put_option(self.target(), Put::put_str);
        to.put_option(self.twin(), Put::put_str);
        to.put_all(&self.keys, |to, key| to.put_str(key));
        to.put_u8(u8::from(self.firm) | u8::from(self.compared) << 1);
        to.put_option(self.refined.as_deref(), |to, refined| refined.save(to));
        to.put_option(self.event.as_deref(), |to, event| {
            pipeline::state::write_event(event, to);
        });
        to.put_all(self.claims(), |to, id| to.put_id(*id));
        to.put_all(self.named(), |to, name| to.put_str(name));
    }

    pub(super) fn load(from: &mut Take<'_>, words: &mut Words) -> Result<Line, StateError> {
        let text = |from: &mut Take<'_>| -> Result<Box<str>, StateError> { Ok(from.str()?.into()) };
        let (id, time) = (from.id()?, from.time()?);
        let host = words.one(from.str()?);
        let ip = from.option(Take::ip)?;
        let user = words.one(from.str()?);
        let role = *Role::ALL
            .get(usize::from(from.u8()?))
            .ok_or_else(|| StateError("a saved line has no known role".to_owned()))?;
        let target = from.option(text)?;
        let twin = from.option(text)?;
        let keys = from.all(|from| Ok(words.one(from.str()?)))?.into();
        let flags = from.u8()?;
        let refined = from.option(|from| Ok(Arc::new(Refined::load(from)?)))?;
        let event = from.option(Take::event)?.map(Box::new);
        let claims = from.all(Take::id)?;
        let more = More {
            target,
            twin,
            claims,
            named: from.all(text)?,
        };
        Ok(Line {
            id,
            time,
            host,
            ip,
            user,
            role,
            keys,
            firm: flags & 1 != 0,
            compared: flags & 2 != 0,
            refined,
            event,
            more: more.worth_keeping(),
        })
    }
}

impl More {
    fn worth_keeping(self) -> Option<Box<More>> {
        let empty = self.target.is_none() && self.twin.is_none();
        (!empty || !self.claims.is_empty() || !self.named.is_empty()).then(|| Box::new(self))
    }
}

/// What lists hold of a line beside itself, but for those of what is due and forgotten [bytes].
const PLACES: usize = 48;

/// The log's times have whole seconds, and the line comes after the line in the journal.
pub(super) const LOGINS: Window = Window {
    before: SECOND,
    after: 3 * SECOND,
};

impl Correlate {
    /// Takes a line of the access log.
    pub(super) fn line(&mut self, mut event: Event, out: &mut Outputs) {
        let Some(host) = event
            .str(fields::HOST_NAME)
            .map(|host| self.words.one(host))
        else {
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
        let node = call.node.as_deref();
        let target = node.filter(|node| **node != *host && *node != "localhost");
        let more = More {
            target: target.map(Into::into),
            twin,
            claims: Vec::new(),
            named: match call.role {
                Role::Write => super::wrote::named(&event),
                _ => Vec::new(),
            },
        };
        let line = Line {
            id: event.id(),
            time: event.timestamp(),
            ip: look::address(&event),
            user: self.words.one(&user),
            role: call.role,
            keys,
            firm: call.firm,
            compared: false,
            refined: match call.role {
                Role::Fork => Refined::of(&event).map(Arc::new),
                _ => None,
            },
            event: None,
            more: more.worth_keeping(),
            host,
        };
        let wait = match line.role {
            Role::Fork | Role::Write => 15,
            Role::Ticket | Role::BadTicket => 3,
            Role::Unknown => {
                self.note_work(&line, out);
                return self.refused(event, line, out);
            }
            Role::Failed if line.target().is_some() || self.is_member(line.ip) => 5,
            // It is one line and tells all there is.
            Role::Failed => {
                self.note_work(&line, out);
                self.bound(out);
                return out.emit(event);
            }
        };
        self.note_work(&line, out);
        let no = self.next();
        // Only what is kept must not hold on to the text that was read.
        event.detach();
        self.enter_line(
            no,
            Line {
                event: Some(Box::new(event)),
                ..line
            },
        );
        self.push_line(out.now(), wait, no);
        self.bound(out);
    }

    /// A line that was refused for want of a valid login tells all there is, and need not wait: what the journal says of it
    /// will be its evidence, or has been told before it came.
    fn refused(&mut self, mut event: Event, line: Line, out: &mut Outputs) {
        let no = self.next();
        self.enter_line(no, line);
        self.push_forget(out.now(), Due::ForgetLine(no));
        self.refused.push_back(no);
        if self.refused.len() > super::MOST_REFUSED
            && let Some(oldest) = self.refused.pop_front()
        {
            self.forget_line(oldest);
        }
        let mut changed = self.resolve_into(no, &mut event);
        let told = self.takers(no, |login| login.event.is_none());
        if !told.is_empty() {
            make_evidence(&mut event, &told);
            changed = true;
        }
        match changed {
            true => self.tell(event, out),
            // With the sentence it has.
            false => out.emit(event),
        }
        self.bound(out);
    }

    /// The keys by which tasks and twins find a line.
    fn line_keys(
        &mut self,
        event: &Event,
        host: &str,
        user: &str,
        call: &Call,
    ) -> (SmallVec<[Arc<str>; 1]>, Option<Box<str>>) {
        let mut key = std::mem::take(&mut self.key);
        let mut keys: SmallVec<[Arc<str>; 1]> = SmallVec::new();
        let words = &mut self.words;
        let node = call.node.as_deref().filter(|node| *node != "localhost");
        let node = node.unwrap_or(host);
        let vmid = call.vmid.map(|vmid| vmid.to_string()).unwrap_or_default();
        match call.role {
            Role::Fork => {
                let owner = call
                    .owner
                    .map(|owner| owner.to_string())
                    .unwrap_or_default();
                for class in &call.classes {
                    look::pool_key(node, user, class, &owner, call.upid, &mut key);
                    let far = if node == host { "" } else { "far\n" };
                    let maybe = if call.firm { "" } else { "maybe\n" };
                    keys.push(words.one(&format!("{maybe}{far}{key}")));
                }
            }
            Role::Write => {
                if let Some(code) = event.str(fields::EVENT_CODE)
                    && !vmid.is_empty()
                    && node == host
                {
                    keys.push(words.one(&change_key(node, user, code, &vmid)));
                }
                if let Some(object) = event.str(NAMES.object_type)
                    && look::writes_files(event.str(fields::EVENT_CODE).unwrap_or_default())
                {
                    let id = event.str(NAMES.object_id).unwrap_or_default();
                    let code = event.str(fields::EVENT_CODE).unwrap_or_default();
                    keys.push(words.one(&super::change::object_key(code, object, id)));
                }
            }
            Role::Ticket => keys.push(words.one(&format!("login\n{host}"))),
            Role::BadTicket => {
                let ip = look::address(event).map(|ip| ip.to_string());
                keys.push(words.one(&format!("bad\n{host}\n{}", ip.unwrap_or_default())));
            }
            Role::Unknown => keys.push(words.one(&format!("refused\n{host}"))),
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
        if let Some(twin) = line.twin() {
            match line.target() {
                Some(_) => self.twins.add_line(twin, at),
                None => self.twins.add_act(twin, at),
            }
        }
        self.line_ids.insert(line.id);
        self.waiting += line.event.as_deref().map_or(0, Event::size);
        self.size += line.size();
        self.lines.insert(no, Box::new(line));
    }

    /// Takes a line out of everything.
    pub(super) fn forget_line(&mut self, no: u64) {
        let Some(line) = self.lines.remove(&no) else {
            return;
        };
        self.waiting -= line.event.as_deref().map_or(0, Event::size);
        self.size -= line.size();
        self.line_ids.remove(&line.id);
        if line.role != Role::Unknown {
            // A refused call forked nothing and changed nothing, so that nobody misses it.
            self.hosts.forget(&line.host, line.time);
        }
        let at = (line.time.0, no);
        for key in &line.keys {
            self.pools.remove_line(key, at);
        }
        if let Some(twin) = line.twin() {
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
        let before = line.size();
        let held = &mut line.more.get_or_insert_default().claims;
        if !held.contains(&by) {
            held.push(by);
            held.truncate(8);
        }
        let claims = held.clone();
        self.size = self.size + line.size() - before;
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
        let takers = self.takers(no, |_| true);
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
        self.resolve_into(no, &mut event);
        let of = if arrivals.is_empty() {
            takers
        } else {
            arrivals
        };
        if of.is_empty() {
            let role = self.lines.get(&no).map(|line| line.role);
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
