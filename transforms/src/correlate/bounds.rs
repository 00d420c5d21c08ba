//! What is remembered stays within its bounds.

use std::collections::VecDeque;
use std::time::Duration;

use pipeline::{Outputs, Time};

use pipeline::pve::Upid;

use super::due::Due;
use super::fold::SAID;
use super::look::Role;
use super::pool::Window;
use super::{Correlate, line, look, relay, task};

/// What is given up is told this often.
const MINUTE: Duration = Duration::from_secs(60);
/// What an entry in the lists of what is due and of what is to be forgotten takes [bytes].
const LISTED: usize = 40;
/// Shorter lists of what is to be forgotten are left as they are [entries].
const LEAST_LISTED: usize = 8192;

impl Correlate {
    /// Memory of all that is remembered, held, or listed [bytes].
    fn memory(&self) -> usize {
        let listed =
            self.due.len() + self.ripe.len() + self.forget.iter().map(VecDeque::len).sum::<usize>();
        self.size
            + self.pools.size()
            + self.twins.size()
            + self.said_size()
            + self.sessions.size()
            + self.words.size()
            + listed * LISTED
    }

    /// Memory of words that were said [bytes].
    fn said_size(&self) -> usize {
        self.said.size() + self.said_keys.len() * SAID
    }

    /// Keeps within bounds: what waits longest goes on as it is, then what was heard of longest ago is forgotten.
    pub(super) fn bound(&mut self, out: &mut Outputs) {
        self.tidy();
        // What acts are rarely joined by is held to its share first, for anyone can make it grow.
        while self.sessions.size() > self.most_size / 4 {
            let gone = self.sessions.prune();
            self.gave_up(gone, out);
            if gone == 0 {
                break;
            }
        }
        while self.said_size() > self.most_size / 8 {
            self.forget_said();
            self.gave_up(1, out);
        }
        if self.memory() > self.most_size {
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

    /// Takes out of the lists what is gone already, when they have become twice as long as they were after the last time.
    fn tidy(&mut self) {
        let listed =
            |lists: &[VecDeque<(Time, Due)>]| lists.iter().map(VecDeque::len).sum::<usize>();
        if listed(&self.forget) < self.most_listed.max(LEAST_LISTED) {
            return;
        }
        let (lines, tasks, logins, changes) =
            (&self.lines, &self.tasks, &self.logins, &self.changes);
        for list in &mut self.forget {
            list.retain(|(_, due)| match due {
                Due::Line(no) | Due::ForgetLine(no) => lines.contains_key(no),
                Due::Login(no) | Due::ForgetLogin(no) => logins.contains_key(no),
                Due::Change(no) | Due::ForgetChange(no) => changes.contains_key(no),
                Due::Task(no) | Due::CoolTask(no) | Due::ForgetTask(no) => tasks.contains_key(no),
            });
            list.shrink_to(list.len() * 2);
        }
        self.most_listed = 2 * listed(&self.forget);
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
        self.words.sweep();
        if self.memory() <= self.most_size {
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

    /// Something was given up for want of room: never in silence, and told once a minute, all of it.
    fn gave_up(&mut self, count: usize, out: &mut Outputs) {
        out.evicted(count);
        if count > 0 {
            let (_, told) = self.gave_up.get_or_insert((out.now(), 0));
            *told += count as u64;
        }
    }

    /// Tells what was given up in the last minute.
    pub(super) fn tell_given_up(&mut self, out: &mut Outputs) {
        let now = out.now();
        let just = |at: Time| at <= now && now.since(at) < MINUTE;
        let Some((_, count)) = self.gave_up.take_if(|(since, _)| !just(*since)) else {
            return;
        };
        let text = format!(
            "{count} remembered or waiting records were given up within a minute for want of room; they went on as they were, and nothing is claimed from them"
        );
        tracing::warn!(count, "records were given up for want of room");
        out.tell(pipeline::Told::new("PVE-9018", text));
    }
}
