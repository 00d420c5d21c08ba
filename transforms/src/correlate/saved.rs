//! The whole state as bytes and back.

use pipeline::{StateError, Time};

use super::Correlate;
use super::change::Change;
use super::codec::{Put, Take};
use super::due::Due;
use super::line::Line;
use super::login::{Console, Login};
use super::look::Role;
use super::task::Task;

/// Grows when the bytes mean something else.
const VERSION: u32 = 6;

impl Due {
    fn parts(self) -> (u8, u64) {
        match self {
            Due::Task(no) => (0, no),
            Due::Login(no) => (1, no),
            Due::Change(no) => (2, no),
            Due::Line(no) => (3, no),
            Due::CoolTask(no) => (4, no),
            Due::ForgetTask(no) => (5, no),
            Due::ForgetLine(no) => (6, no),
            Due::ForgetLogin(no) => (7, no),
            Due::ForgetChange(no) => (8, no),
        }
    }

    fn of(kind: u8, no: u64) -> Result<Due, StateError> {
        Ok(match kind {
            0 => Due::Task(no),
            1 => Due::Login(no),
            2 => Due::Change(no),
            3 => Due::Line(no),
            4 => Due::CoolTask(no),
            5 => Due::ForgetTask(no),
            6 => Due::ForgetLine(no),
            7 => Due::ForgetLogin(no),
            8 => Due::ForgetChange(no),
            other => return Err(StateError(format!("nothing is due as {other}"))),
        })
    }
}

fn put_no(to: &mut Vec<u8>, no: u64) {
    to.put_i64(no as i64);
}

fn put_due(to: &mut Vec<u8>, time: Time, due: Due) {
    to.put_time(time);
    let (kind, of) = due.parts();
    to.put_u8(kind);
    put_no(to, of);
}

fn no(from: &mut Take<'_>) -> Result<u64, StateError> {
    Ok(from.i64()? as u64)
}

fn due(from: &mut Take<'_>) -> Result<(Time, Due), StateError> {
    let (time, kind) = (from.time()?, from.u8()?);
    Ok((time, Due::of(kind, no(from)?)?))
}

impl Correlate {
    pub(super) fn save_all(&self, to: &mut Vec<u8>) {
        to.put_u32(VERSION);
        put_no(to, self.numbers);
        to.put_option(self.watermark, Put::put_time);
        to.put_option(self.gave_up, |to, (since, count)| {
            to.put_time(since);
            put_no(to, count);
        });
        self.hosts.save(to);
        self.handed.save(to);
        self.sessions.save(to);
        to.put_len(self.lines.len());
        for (no, line) in &self.lines {
            put_no(to, *no);
            line.save(to);
        }
        to.put_len(self.tasks.len());
        for (no, task) in &self.tasks {
            put_no(to, *no);
            task.save(to);
        }
        to.put_len(self.logins.len());
        for (no, login) in &self.logins {
            put_no(to, *no);
            login.save(to);
        }
        to.put_len(self.changes.len());
        for (no, change) in &self.changes {
            put_no(to, *no);
            change.save(to);
        }
        to.put_len(self.consoles.len());
        for console in &self.consoles {
            to.put_str(&console.user);
            to.put_str(&console.node);
            to.put_i64(console.at);
            put_no(to, console.task);
        }
        to.put_len(self.clients.len());
        for (due, event) in &self.clients {
            to.put_time(*due);
            pipeline::state::write_event(event, to);
        }
        to.put_len(self.said_keys.len());
        for (no, time, key) in &self.said_keys {
            put_no(to, *no);
            to.put_time(*time);
            to.put_str(key);
            let said = self.said_ids.get(no);
            to.put_option(said, |to, (id, origin)| {
                to.put_id(*id);
                to.put_str(origin);
            });
        }
        for list in [&self.due, &self.ripe] {
            to.put_len(list.len());
            for ((time, no), due) in list {
                put_no(to, *no);
                put_due(to, *time, *due);
            }
        }
        for list in &self.forget {
            to.put_len(list.len());
            for (time, due) in list {
                put_due(to, *time, *due);
            }
        }
    }

    pub(super) fn load_all(&mut self, from: &[u8]) -> Result<(), StateError> {
        let mut from = Take(from);
        let from = &mut from;
        let version = from.u32()?;
        if version != VERSION {
            return Err(StateError(format!(
                "the saved state of the correlation has version {version}, and only {VERSION} can be read"
            )));
        }
        self.numbers = no(from)?;
        self.watermark = from.option(Take::time)?;
        self.gave_up = from.option(|from| Ok((from.time()?, no(from)?)))?;
        self.hosts.load(from)?;
        self.handed.load(from)?;
        self.sessions.load(from)?;
        let words = &mut self.words;
        for (no, line) in from.all(|from| Ok((no(from)?, Line::load(from, words)?)))? {
            if line.role == Role::Unknown {
                self.refused.push_back(no);
            }
            self.enter_line(no, line);
        }
        for (no, task) in from.all(|from| Ok((no(from)?, Task::load(from)?)))? {
            self.enter_task(no, task);
        }
        for (no, login) in from.all(|from| Ok((no(from)?, Login::load(from)?)))? {
            self.enter_login(no, login);
        }
        for (no, change) in from.all(|from| Ok((no(from)?, Change::load(from)?)))? {
            self.enter_change(no, change);
        }
        self.consoles = from
            .all(|from| {
                Ok(Console {
                    user: from.str()?.into(),
                    node: from.str()?.into(),
                    at: from.i64()?,
                    task: no(from)?,
                })
            })?
            .into();
        let clients: Vec<(Time, pipeline::Event)> =
            from.all(|from| Ok((from.time()?, from.event()?)))?;
        self.size += clients.iter().map(|(_, event)| event.size()).sum::<usize>();
        self.clients = clients.into();
        let said = from.all(|from| {
            let entry = (no(from)?, from.time()?, Box::<str>::from(from.str()?));
            let of = from.option(|from| Ok((from.id()?, Box::<str>::from(from.str()?))))?;
            Ok((entry, of))
        })?;
        for ((no, time, key), of) in said {
            self.said.add_line(&key, (time.0, no));
            self.said_ids.extend(of.map(|of| (no, of)));
            self.said_keys.push_back((no, time, key));
        }
        let list = |from: &mut Take<'_>| {
            from.all(|from| {
                let no = no(from)?;
                let (time, due) = due(from)?;
                Ok(((time, no), due))
            })
        };
        self.due = list(from)?.into_iter().collect();
        self.ripe = list(from)?.into_iter().collect();
        for list in &mut self.forget {
            *list = from.all(due)?.into();
        }
        if !from.0.is_empty() {
            return Err(StateError(
                "something follows the saved state of the correlation".to_owned(),
            ));
        }
        self.fresh = true;
        Ok(())
    }
}
