//! What waits for a time, and what happens when it is up.

use pipeline::{Outputs, Time};

use super::{AGAIN, COOLING, Correlate, GRACE, LONGEST, OWNERS, REMEMBERED, handed, look};

/// What a time is up for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Due {
    Task(u64),
    Login(u64),
    Change(u64),
    Line(u64),
    CoolTask(u64),
    ForgetTask(u64),
    ForgetLine(u64),
    ForgetLogin(u64),
    ForgetChange(u64),
}

impl Correlate {
    /// Something is up when everything that was there `wait` seconds after now has been handed over. Gives its place among
    /// what waits.
    pub(super) fn push_due(&mut self, now: Time, wait: u64, due: Due) -> (Time, u64) {
        let at = now.after(std::time::Duration::from_secs(wait));
        let no = self.next();
        let (waiting, at) = match due {
            Due::Task(_) => (&mut self.ripe, at.after(GRACE)),
            _ => (&mut self.due, at),
        };
        waiting.insert((at, no), due);
        (at, no)
    }

    pub(super) fn push_forget(&mut self, now: Time, due: Due) {
        let (list, after) = self.remembered_for(due);
        self.forget[list].push_back((now.after(after), due));
    }

    /// For how long something is remembered, and in which list that stands.
    fn remembered_for(&self, due: Due) -> (usize, std::time::Duration) {
        match due {
            Due::ForgetLine(no) => match self.lines.get(&no).map(|line| line.role) {
                Some(look::Role::Fork) => (1, REMEMBERED),
                _ => (0, COOLING),
            },
            Due::Task(_) => (2, LONGEST),
            Due::CoolTask(_) | Due::ForgetTask(_) => (3, OWNERS),
            _ => (0, COOLING),
        }
    }

    /// Lets go of everything whose time is up.
    pub(super) fn expire(&mut self, out: &mut Outputs) {
        let now = out.now();
        let grace = Time(now.0.saturating_sub(GRACE.as_nanos() as i64));
        let horizon = self
            .watermark
            .map_or(grace, |mark| mark.min(now).max(grace));
        let mut up = Vec::new();
        while let Some(entry) = self.due.first_entry() {
            if entry.key().0 > horizon {
                break;
            }
            up.push(entry.remove());
        }
        let mut early = Vec::new();
        while let Some(entry) = self.ripe.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let (at, due) = entry.remove_entry();
            match due {
                Due::Task(no) if self.is_early(no) && now < self.longest_wait(no) => {
                    early.push(((now.after(handed::LOOK), at.1), due));
                }
                _ => up.push(due),
            }
        }
        self.ripe.extend(early);
        if !up.is_empty() {
            self.settle(&up, false, out);
        }
        self.clients_due(out);
        // Each line has a host, a user and a few keys.
        self.words.trim(8 * self.lines.len());
        self.tell_given_up(out);
        for list in 0..self.forget.len() {
            while let Some((_, due)) = self.forget[list].pop_front_if(|(at, _)| *at <= now) {
                self.forget_one(due, now);
            }
        }
    }

    /// Decides what is up: logins first, for tasks may rest on them; then tasks, for whoever is the line of a task is no act
    /// of its own.
    pub(super) fn settle(&mut self, up: &[Due], forced: bool, out: &mut Outputs) {
        let now = out.now();
        let mut up = up.to_vec();
        up.sort_unstable();
        for due in &up {
            if let Due::Login(no) = *due {
                self.login_due(no, forced, out);
                self.push_forget(now, Due::ForgetLogin(no));
            }
        }
        let tasks: Vec<u64> = up
            .iter()
            .filter_map(|due| match due {
                Due::Task(no) => Some(*no),
                _ => None,
            })
            .collect();
        self.tasks_due(&tasks, forced, out);
        for due in up {
            match due {
                Due::Change(no) => {
                    self.change_due(no, forced, out);
                    self.change_end(no, out);
                    self.push_forget(now, Due::ForgetChange(no));
                }
                Due::Line(no) => {
                    self.old.remove(no);
                    self.line_due(no, forced, out);
                    if let Some(mut event) = self.take_event(no) {
                        // Whoever was taken for its author has told it otherwise.
                        self.resolve_into(no, &mut event);
                        self.tell(event, out);
                    }
                    self.push_forget(now, Due::ForgetLine(no));
                }
                _ => {}
            }
        }
    }

    fn forget_one(&mut self, due: Due, now: Time) {
        if self.may_claim(due) {
            self.forget[4].push_back((now.after(AGAIN), due));
            return;
        }
        match due {
            Due::CoolTask(no) => self.unpool(no),
            Due::ForgetTask(no) => self.forget_task(no),
            Due::ForgetLine(no) => self.forget_line(no),
            Due::ForgetLogin(no) => self.forget_login(no),
            Due::ForgetChange(no) => self.forget_change(no),
            // A task of which nothing was heard for a week.
            Due::Task(no) => {
                let heard = self.tasks.get(&no).map(|task| task.heard);
                if heard.is_some_and(|heard| now.since(heard) >= LONGEST) {
                    self.forget_task(no);
                }
            }
            Due::Login(_) | Due::Change(_) | Due::Line(_) => {}
        }
    }
}
