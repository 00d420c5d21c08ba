//! What is remembered stays within its bounds, and the list of the cluster's nodes is kept up to date.

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
            out.evicted(1);
        }
        while self.tasks.len() > self.most_tasks {
            let Some(oldest) = self.tasks.keys().next().copied() else {
                return;
            };
            self.settle(&[Due::Task(oldest)], true, out);
            self.give_up(oldest);
            out.evicted(1);
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
        out.evicted(up.len());
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
        out.evicted(up.len());
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
        out.evicted(lines.len() + tasks.len());
    }

    /// Reads the cluster's list of its nodes, once a minute.
    pub(super) fn read_members(&mut self, now: Time) {
        const EVERY: std::time::Duration = std::time::Duration::from_secs(60);
        if self
            .looked
            .as_ref()
            .is_some_and(|(at, _)| now.since(*at) < EVERY && *at <= now)
        {
            return;
        }
        let before = self.looked.take().map(|(_, text)| text);
        let text = hosts::read_members(&self.members).unwrap_or_default();
        if before.as_ref() != Some(&text) {
            for (node, ip) in hosts::parse_members(&text) {
                self.hosts.add_member(ip, Some(&node));
            }
        }
        if let Some(inventory) = &self.inventory {
            for (name, node) in inventory.snapshot().nodes() {
                if let Some(ip) = node.address {
                    self.hosts.add_member(ip.to_canonical(), Some(name));
                }
            }
        }
        self.looked = Some((now, text));
    }
}
