//! What is remembered stays within its bounds, and the list of the cluster's nodes is kept up to date.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use pipeline::{Outputs, Time};

use pipeline::pve::Upid;

use super::look::Role;
use super::pool::Window;
use super::{Correlate, Due, hosts, line, look, relay, task};

impl Correlate {
    /// Keeps within bounds: what waits longest goes on as it is, then what was heard of longest ago is forgotten.
    pub(super) fn bound(&mut self, out: &mut Outputs) {
        if self.size + self.pools.size() + self.twins.size() > self.most_size {
            self.shed(out);
        }
        if self.waiting > self.most_size / 4 {
            self.let_go(out);
        }
        while self.lines.len() > self.most_lines {
            let Some(oldest) = self.lines.keys().next().copied() else {
                return;
            };
            self.settle(&[Due::Line(oldest)], true, out);
            self.forget_line(oldest);
            self.gave_up(1, out);
        }
        while self.tasks.len() > self.most_tasks {
            let Some(oldest) = self.tasks.keys().next().copied() else {
                return;
            };
            self.settle(&[Due::Task(oldest)], true, out);
            self.give_up(oldest);
            self.gave_up(1, out);
        }
    }

    /// Too many lines wait, as they do where a log is read anew at full speed: the sixteenth that waits longest goes on, first
    /// those of logins and refusals, which anyone can send without end. Nothing else is decided before its time for them.
    #[cold]
    fn let_go(&mut self, out: &mut Outputs) {
        let most = self.due.len().div_ceil(16);
        let cheap = |role| !matches!(role, Role::Fork | Role::Write);
        let pick = |any: bool| -> Vec<((Time, u64), Due)> {
            let lines = self.due.iter().filter(|(_, due)| match due {
                Due::Line(no) => self
                    .lines
                    .get(no)
                    .is_none_or(|line| any || cheap(line.role)),
                _ => false,
            });
            lines.take(most).map(|(at, due)| (*at, *due)).collect()
        };
        let mut gone = pick(false);
        if gone.is_empty() {
            gone = pick(true);
        }
        for (at, _) in &gone {
            self.due.remove(at);
        }
        let up: Vec<Due> = gone.into_iter().map(|(_, due)| due).collect();
        self.gave_up(up.len(), out);
        self.settle(&up, true, out);
    }

    /// Whether a line of the access log is remembered that this act may claim.
    pub(super) fn may_claim(&self, due: Due) -> bool {
        let any = |key: &str, at: i64, window: Window| {
            self.pools.get(key).is_some_and(|pool| {
                let mut near = pool.near(at, window).iter();
                near.any(|line| self.lines.contains_key(&line.1))
            })
        };
        match due {
            Due::CoolTask(no) | Due::ForgetTask(no) => {
                let Some(task) = self.tasks.get(&no).filter(|task| task.pooled) else {
                    return false;
                };
                let Ok(upid) = Upid::parse(&task.upid) else {
                    return false;
                };
                let mut key = String::new();
                look::task_key(&upid, task.upid.len(), &mut key);
                let window = task::window(look::class(upid.kind));
                any(&key, upid.start.0, window)
                    || any(&format!("far\n{key}"), upid.start.0, relay::WIDE)
            }
            Due::ForgetLogin(no) => self
                .logins
                .get(&no)
                .is_some_and(|login| any(&login.key, login.time.0, line::LOGINS)),
            Due::ForgetChange(no) => self.changes.get(&no).is_some_and(|change| {
                let mut keys = change.keys.iter();
                keys.any(|key| any(key, change.time.0, relay::WIDE))
            }),
            _ => false,
        }
    }

    /// Forgets a task for want of room. While its line is there nothing of that time is claimed any more.
    fn give_up(&mut self, no: u64) {
        if self.may_claim(Due::ForgetTask(no))
            && let Some(task) = self.tasks.get(&no)
            && let Ok(upid) = Upid::parse(&task.upid)
        {
            let after = task::window(look::class(upid.kind)).after;
            self.hosts
                .forget(upid.node, Time(upid.start.0.saturating_add(after)));
        }
        self.forget_task(no);
    }

    /// Too much memory: a sixteenth of what waits goes on, and if nothing waits, a sixteenth of what is remembered goes.
    #[cold]
    fn shed(&mut self, out: &mut Outputs) {
        let mut up = Vec::new();
        for waiting in [&mut self.due, &mut self.ripe] {
            for _ in 0..waiting.len().div_ceil(16) {
                up.extend(waiting.pop_first().map(|(_, due)| due));
            }
        }
        self.gave_up(up.len(), out);
        self.settle(&up, true, out);
        if self.size + self.pools.size() + self.twins.size() <= self.most_size {
            return;
        }
        let lines: Vec<u64> = self
            .lines
            .keys()
            .take(self.lines.len().div_ceil(16))
            .copied()
            .collect();
        for no in &lines {
            self.settle(&[Due::Line(*no)], true, out);
            self.forget_line(*no);
        }
        let tasks: Vec<u64> = match lines.is_empty() {
            true => self
                .tasks
                .keys()
                .take(self.tasks.len().div_ceil(16))
                .copied()
                .collect(),
            false => Vec::new(),
        };
        for no in &tasks {
            self.settle(&[Due::Task(*no)], true, out);
            self.give_up(*no);
        }
        self.gave_up(lines.len() + tasks.len(), out);
    }

    /// Reads the cluster's list of its nodes once a minute, and every second while no node is known. The cluster file system
    /// may hang, so whoever reads it is no thread of ours, and is waited for no longer than [`LIMIT`].
    pub(super) fn read_members(&mut self, now: Time, out: &mut Outputs) {
        let every = Duration::from_secs(if self.hosts.knows_members() { 60 } else { 1 });
        let early = |(at, _): &(Time, Vec<u8>)| now.since(*at) < every && *at <= now;
        if self.reading.is_none() && self.looked.as_ref().is_some_and(early) {
            return;
        }
        if let Some(inventory) = &self.inventory {
            for (name, node) in inventory.snapshot().nodes() {
                if let Some(ip) = node.address {
                    self.hosts.add_member(ip.to_canonical(), Some(name));
                }
            }
        }
        let before = self.looked.take().map(|(_, text)| text).unwrap_or_default();
        let (reading, wait) = match self.reading.take() {
            Some(reading) => (reading, Duration::ZERO),
            None => match self.ask_members() {
                Ok(reading) => (reading, LIMIT),
                Err(why) => {
                    self.looked = Some((now, before));
                    return self.tell_unreadable(&why.to_string(), out);
                }
            },
        };
        let text = match reading.recv_timeout(wait) {
            Ok(Ok(text)) => text,
            Ok(Err(why)) => {
                self.looked = Some((now, before));
                return self.tell_unreadable(&why.to_string(), out);
            }
            Err(RecvTimeoutError::Timeout) => {
                (self.looked, self.reading) = (Some((now, before)), Some(reading));
                return self.tell_unreadable("the cluster file system does not answer", out);
            }
            Err(RecvTimeoutError::Disconnected) => {
                self.looked = Some((now, before));
                return self.tell_unreadable("whoever was to read it is gone", out);
            }
        };
        let Some(text) = text else {
            // No node of a cluster.
            self.looked = Some((now, before));
            return;
        };
        let nodes = hosts::parse_members(&text);
        if nodes.is_empty() {
            self.tell_unreadable("it names no node", out);
        } else {
            self.unreadable = false;
        }
        if before != text {
            for (node, ip) in nodes {
                self.hosts.add_member(ip, Some(&node));
            }
        }
        self.looked = Some((now, text));
    }

    /// Begins to read the list.
    fn ask_members(&self) -> std::io::Result<Reading> {
        let (send, receive) = std::sync::mpsc::sync_channel(1);
        let path = self.members.clone();
        let read = move || {
            // Nobody waits for it any more where this fails.
            let _ = send.send(hosts::read_members(&path));
        };
        std::thread::Builder::new()
            .name("members".to_owned())
            .spawn(read)?;
        Ok(receive)
    }

    /// The list cannot be read: that is told once, until it can.
    fn tell_unreadable(&mut self, why: &str, out: &mut Outputs) {
        if std::mem::replace(&mut self.unreadable, true) {
            return;
        }
        let path = self.members.display().to_string();
        tracing::warn!(%path, %why, "the cluster's list of its nodes cannot be read");
        let text = format!(
            "the cluster's list of its nodes cannot be read: {path}: {why}; nodes that are not known may be taken for clients"
        );
        out.tell(pipeline::Told::new("PVE-9012", text).failed(why));
    }

    /// Something was given up for want of room: never in silence, and told once a minute at most.
    fn gave_up(&mut self, count: usize, out: &mut Outputs) {
        out.evicted(count);
        let now = out.now();
        let just = |at: Time| at <= now && now.since(at) < Duration::from_secs(60);
        if count == 0 || self.gave_up.is_some_and(just) {
            return;
        }
        self.gave_up = Some(now);
        let text = format!(
            "{count} remembered or waiting records were given up for want of room; they went on as they were, and nothing is claimed from them"
        );
        tracing::warn!(count, "records were given up for want of room");
        out.tell(pipeline::Told::new("PVE-9018", text));
    }
}

/// The list of members as it will have been read.
pub(super) type Reading = Receiver<std::io::Result<Option<Vec<u8>>>>;

/// So long the cluster file system is waited for.
const LIMIT: Duration = Duration::from_secs(1);
