//! Tasks: joined with their call at the start, remembered until the end.

use std::sync::Arc;

use pipeline::pve::{TaskType, Upid};
use pipeline::{Event, EventId, Outputs, StateError, Time};

use smallvec::SmallVec;

use super::basis::{Basis, Ground, make_evidence};
use super::begun::{Begun, begun};
use super::codec::{Put, Take};
use super::decide::Pass;
use super::due::Due;
use super::login::Console;
use super::look;
use super::names::NAMES;
use super::pool::{At, Window};
use super::refine::Refined;
use super::{Correlate, SECOND};

/// A task of which something was read.
pub(super) struct Task {
    pub(super) upid: Box<str>,
    pub(super) begun: Begun,
    /// Where it came from, once that is decided.
    pub(super) basis: Option<Box<Basis>>,
    /// What its call says it is, where that is more than the task says.
    pub(super) refined: Option<Arc<Refined>>,
    /// Events that wait for that.
    pub(super) held: Vec<Event>,
    /// The event that told its start and the one that told its end.
    pub(super) started: Option<EventId>,
    pub(super) ended: Option<EventId>,
    /// When it ended [ns].
    pub(super) end_at: Option<i64>,
    /// All records of it.
    pub(super) seen: SmallVec<[EventId; 1]>,
    /// Whether it stands in the pools.
    pub(super) pooled: bool,
    /// When the first and the latest record of it came, by our own clock.
    pub(super) came: Time,
    pub(super) heard: Time,
}

/// What the lists hold of a task beside itself [bytes].
const PLACES: usize = 160;
/// Most records of one task that are remembered; an end of a backup has one for each guest.
const MOST_SEEN: usize = 64;
/// So long before an action of the HA manager is its request at most [ns].
const HA: i64 = 120 * SECOND;

impl Task {
    /// Memory it stands for [bytes].
    pub(super) fn size(&self) -> usize {
        let basis = self.basis.as_ref().map_or(0, |basis| {
            size_of::<Basis>() + basis.evidence.len() * 16 + basis.candidates.len() * 17
        });
        let refined = self.refined.as_deref().map_or(0, Refined::size);
        let more = match self.seen.spilled() {
            true => self.seen.len() * 16,
            false => 0,
        };
        size_of::<Task>()
            + refined
            + self.upid.len()
            + PLACES
            + basis
            + more
            + self.held.iter().map(Event::size).sum::<usize>()
    }

    pub(super) fn at(&self, no: u64) -> At {
        let start = Upid::parse(&self.upid).map_or(0, |upid| upid.start.0);
        (start, no)
    }

    /// The record that others are linked with.
    fn record(&self) -> Option<EventId> {
        let waiting = || {
            self.held
                .iter()
                .map(|event| (look::rank(event), event.id()))
                .min()
        };
        self.ended
            .or(self.started)
            .or_else(|| waiting().map(|(_, id)| id))
            .or_else(|| self.seen.first().copied())
    }

    pub(super) fn save(&self, to: &mut Vec<u8>) {
        to.put_str(&self.upid);
        to.put_u8(self.begun as u8);
        to.put_option(self.basis.as_deref(), |to, basis| basis.save(to));
        to.put_option(self.refined.as_deref(), |to, refined| refined.save(to));
        to.put_all(&self.held, |to, event| {
            pipeline::state::write_event(event, to);
        });
        to.put_option(self.started, Put::put_id);
        to.put_option(self.ended, Put::put_id);
        to.put_option(self.end_at, Put::put_i64);
        to.put_all(&self.seen, |to, id| to.put_id(*id));
        to.put_u8(u8::from(self.pooled));
        to.put_time(self.came);
        to.put_time(self.heard);
    }

    pub(super) fn load(from: &mut Take<'_>) -> Result<Task, StateError> {
        let upid = from.str()?;
        if let Err(why) = Upid::parse(upid) {
            return Err(StateError(format!("a saved task is none: {why}")));
        }
        Ok(Task {
            upid: upid.into(),
            begun: *Begun::ALL
                .get(usize::from(from.u8()?))
                .ok_or_else(|| StateError("a saved task was begun by nobody".to_owned()))?,
            basis: from.option(|from| Ok(Box::new(Basis::load(from)?)))?,
            refined: from.option(|from| Ok(Arc::new(Refined::load(from)?)))?,
            held: from.all(Take::event)?,
            started: from.option(Take::id)?,
            ended: from.option(Take::id)?,
            end_at: from.option(Take::i64)?,
            seen: from.all(Take::id)?.into(),
            pooled: from.u8()? != 0,
            came: from.time()?,
            heard: from.time()?,
        })
    }
}

/// How much earlier and later than the start of the task its line may be. The log has whole seconds, and so has the UPID.
pub(super) fn window(class: &str) -> Window {
    Window {
        before: SECOND,
        after: if look::waits(class) { 30 } else { 5 } * SECOND,
    }
}

/// The class in the key of a pool.
pub(super) fn class_of(key: &str) -> &str {
    let key = key.strip_prefix("far\n").unwrap_or(key);
    key.split('\n').nth(2).unwrap_or_default()
}

impl Correlate {
    /// Takes a record of a task.
    pub(super) fn task(&mut self, mut event: Event, out: &mut Outputs) {
        let text = event.str(NAMES.upid).unwrap_or_default();
        let Ok(upid) = Upid::parse(text) else {
            return out.emit(event);
        };
        self.handed.brings(upid.node);
        let known = self.by_upid.find(text, &self.tasks);
        let wait = if look::waits(look::class(upid.kind)) {
            30
        } else {
            5
        };
        let upid: Box<str> = text.into();
        let no = known.unwrap_or_else(|| {
            let no = self.next();
            self.enter_task(
                no,
                Task {
                    upid: upid.clone(),
                    begun: Begun::Unknown,
                    basis: None,
                    refined: None,
                    held: Vec::new(),
                    started: None,
                    ended: None,
                    end_at: None,
                    seen: SmallVec::new(),
                    pooled: true,
                    came: out.now(),
                    heard: out.now(),
                },
            );
            self.push_due(out.now(), wait, Due::Task(no));
            self.push_forget(out.now(), Due::CoolTask(no));
            self.push_forget(out.now(), Due::Task(no));
            no
        });
        let Some(task) = self.tasks.get_mut(&no) else {
            return out.emit(event);
        };
        if task.seen.contains(&event.id()) {
            // The same record of PVE's list, read by two sources.
            return self.copy_left_out(out);
        }
        let before = task.size();
        if task.seen.len() < MOST_SEEN {
            task.seen.push(event.id());
        }
        task.heard = out.now();
        let begun = begun(&event);
        if task.begun == Begun::Unknown {
            task.begun = begun;
        }
        let phase = event.str(NAMES.phase).unwrap_or_default();
        if phase == "end" {
            task.end_at = task.end_at.or(Some(event.timestamp().0));
        }
        if begun == Begun::Ha && task.begun != Begun::Ha {
            // Only its log tells, at its end: whatever was claimed before is void.
            task.begun = Begun::Ha;
            if task.basis.is_some() {
                task.basis = Some(Box::new(Basis::local()));
            }
        }
        let decided = task.basis.is_some();
        // A better record of the end may come in a moment.
        let wait_for_better = phase == "end" && look::rank(&event) > 0 && task.ended.is_none();
        if !decided || wait_for_better {
            event.detach();
            task.held.push(event);
            let after = task.size();
            self.size = self.size + after - before;
            if decided {
                self.push_due(out.now(), 2, Due::Task(no));
            }
        } else {
            let after = task.size();
            self.size = self.size + after - before;
            self.release(no, event, out);
        }
        if matches!(begun, Begun::Local | Begun::Ha) {
            self.unpool(no);
        }
        self.bound(out);
    }

    pub(super) fn enter_task(&mut self, no: u64, task: Task) {
        self.size += task.size();
        self.by_upid.insert(&task.upid, no);
        if let Ok(upid) = Upid::parse(&task.upid) {
            let guest = look::guest(upid.id);
            if !guest.is_empty() {
                self.guests.entry(guest.into()).or_default().push(no);
            }
            if look::is_console(upid.kind) {
                self.consoles.push_back(Console {
                    user: upid.user.into(),
                    node: upid.node.into(),
                    at: upid.start.0,
                    task: no,
                });
                while self.consoles.len() > super::MOST_CONSOLES {
                    self.consoles.pop_front();
                }
            }
        }
        if task.pooled
            && let Ok(upid) = Upid::parse(&task.upid)
        {
            let mut key = std::mem::take(&mut self.key);
            look::task_key(&upid, task.upid.len(), &mut key);
            self.pools.add_act(&key, (upid.start.0, no));
            self.key = key;
        }
        self.tasks.insert(no, Box::new(task));
    }

    /// Takes a task out of the pools: it has no call, or its time is long past.
    pub(super) fn unpool(&mut self, no: u64) {
        let Some(task) = self.tasks.get_mut(&no) else {
            return;
        };
        if std::mem::replace(&mut task.pooled, false)
            && let Ok(upid) = Upid::parse(&task.upid)
        {
            let mut key = std::mem::take(&mut self.key);
            look::task_key(&upid, task.upid.len(), &mut key);
            self.pools.remove_act(&key, (upid.start.0, no));
            self.key = key;
        }
    }

    pub(super) fn forget_task(&mut self, no: u64) {
        self.unpool(no);
        let Some(task) = self.tasks.remove(&no) else {
            return;
        };
        self.size -= task.size();
        self.by_upid.remove(&task.upid, no);
        let guest = Upid::parse(&task.upid).map(|upid| look::guest(upid.id).to_owned());
        if let Ok(guest) = guest
            && let Some(tasks) = self.guests.get_mut(guest.as_str())
        {
            tasks.retain(|held| *held != no);
            if tasks.is_empty() {
                self.guests.remove(guest.as_str());
            }
        }
    }

    /// The record of an act that its evidence is linked with.
    pub(super) fn record(&self, act: u64) -> Option<EventId> {
        match self.tasks.get(&act) {
            Some(task) => task.record(),
            None => self.logins.get(&act).map(|login| login.id),
        }
    }

    /// Tasks whose time is up: first it is seen who of them has no call, then the others are decided.
    pub(super) fn tasks_due(&mut self, due: &[u64], forced: bool, out: &mut Outputs) {
        for no in due {
            self.find_request(*no);
        }
        let mut pass = Pass::default();
        let mut claims = Vec::new();
        for no in due {
            if self.tasks.get(no).is_some_and(|task| task.basis.is_none()) {
                let early = self.is_early(*no);
                let (basis, line) = self.decide(*no, forced || early, &mut pass);
                let refined = line.and_then(|line| self.lines.get(&line)?.refined.clone());
                if let Some(task) = self.tasks.get_mut(no) {
                    self.size -= task.size();
                    task.basis = Some(Box::new(basis));
                    task.refined = refined;
                    self.size += task.size();
                }
                claims.extend(line.map(|line| (line, *no)));
            }
        }
        for (line, no) in claims {
            if let Some(by) = self.record(no) {
                self.claim(line, by, out);
            }
        }
        for no in due {
            let Some(task) = self.tasks.get_mut(no) else {
                continue;
            };
            let mut held = std::mem::take(&mut task.held);
            let freed: usize = held.iter().map(Event::size).sum();
            self.size -= freed;
            // What one was read from first must not matter.
            held.sort_by_cached_key(|event| {
                let phase = event.str(NAMES.phase).unwrap_or_default().to_owned();
                let order = match phase.as_str() {
                    "start" => 0,
                    "end" => 2,
                    _ => 1,
                };
                (order, phase, look::rank(event), event.id())
            });
            for event in held {
                self.release(*no, event, out);
            }
        }
    }

    /// The HA manager's action upon a request that went before it.
    fn find_request(&mut self, no: u64) {
        let Some(task) = self
            .tasks
            .get(&no)
            .filter(|task| task.begun == Begun::Unknown)
        else {
            return;
        };
        let Ok(upid) = Upid::parse(&task.upid) else {
            return;
        };
        let class = look::class(upid.kind);
        if upid.user != "root@pam" || upid.kind.starts_with("ha") {
            return;
        }
        let request = |other: &&u64| {
            let Some(other) = self.tasks.get(*other) else {
                return false;
            };
            Upid::parse(&other.upid).is_ok_and(|other| {
                if !other.kind.starts_with("ha") {
                    return false;
                }
                let asks = look::class(other.kind);
                let same = asks == class || (asks == "stop" && class.ends_with("shutdown"));
                // The request may have been made on another node, whose clock differs.
                let clocks = if other.node == upid.node {
                    SECOND
                } else {
                    super::sessions::CLOCKS / 2
                };
                let after = upid.start.0 - other.start.0;
                same && after >= -clocks && after <= HA + clocks
            })
        };
        let tasks = self.guests.get(look::guest(upid.id));
        let tasks = tasks.map(SmallVec::as_slice).unwrap_or_default();
        let found = tasks.iter().rev().take(64).find(request).copied();
        if let Some(found) = found {
            let evidence = self.record(found);
            self.unpool(no);
            if let Some(task) = self.tasks.get_mut(&no) {
                task.begun = Begun::Ha;
                if let Some(id) = evidence {
                    self.size -= task.size();
                    task.basis = Some(Box::new(Basis {
                        evidence: vec![id],
                        ..Basis::local()
                    }));
                    self.size += task.size();
                }
            }
        }
    }

    /// Lets a record of a decided task go on.
    fn release(&mut self, no: u64, mut event: Event, out: &mut Outputs) {
        let Some(task) = self.tasks.get_mut(&no) else {
            return out.emit(event);
        };
        if let Some(basis) = &task.basis {
            let silent =
                basis.ground == Ground::None && event.str(NAMES.attribution) == Some("local");
            if !silent {
                basis.write(&mut event);
            }
        }
        if let Some(refined) = &task.refined {
            refined.write(&mut event);
        }
        if task.begun == Begun::Ha {
            event.set_str(NAMES.actor, "ha");
        } else if task.basis.as_ref().is_some_and(|basis| basis.ip.is_some()) {
            // It was taken for a timer's, and a call asked for it.
            let token = event.has(NAMES.token);
            event.set_str(NAMES.actor, if token { "token" } else { "user" });
        }
        let upid = Upid::parse(&task.upid);
        let (console, tells) = upid.map_or((false, false), |upid| {
            let tells = TaskType::find(upid.kind).is_some_and(TaskType::starts);
            (look::is_console(upid.kind), tells)
        });
        let phase = event.str(NAMES.phase).unwrap_or_default();
        match phase {
            "start" => match task.started {
                Some(told) => make_evidence(&mut event, &[told]),
                None if tells => {
                    task.started = Some(event.id());
                    event.set_str(NAMES.record, "primary");
                }
                None => make_evidence(&mut event, task.ended.as_slice()),
            },
            "end" => match (task.ended, task.started) {
                (Some(told), _) => make_evidence(&mut event, &[told]),
                (None, Some(start)) if console => {
                    task.ended = Some(event.id());
                    make_evidence(&mut event, &[start]);
                }
                (None, start) => {
                    task.ended = Some(event.id());
                    event.set_str(NAMES.record, "primary");
                    if let Some(start) = start {
                        super::basis::add_text(&mut event, NAMES.links, &start.to_string());
                    }
                }
            },
            _ => event.set_str(NAMES.record, "primary"),
        }
        if event.str(NAMES.phase) == Some("end") {
            self.push_forget(out.now(), Due::ForgetTask(no));
        }
        self.tell(event, out);
    }
}
