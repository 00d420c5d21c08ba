//! From news to events: the last lines of logs, the guests of a backup, and what is missing.

use std::time::Duration;

use jiff::tz::TimeZone;
use pipeline::pve::Upid;
use pipeline::telemetry::Stage;
use pipeline::{Event, Field, Outcome, SourceOut, Time, Told as OwnEvent, fields};

use super::PveTasks;
use super::lists::Lists;
use super::logs::{End, Logs};
use super::reading::{Found, Gap, News, What};
use super::task::{Task, Tasks, tail, wants_log};
use super::told::Told;

/// What PVE writes where the log of a task has no last line.
pub(super) const UNEXPECTED: &str = "unexpected status";
/// A tool that ran in the foreground writes the last line of its log a little after PVE looked for it.
const RACE: Duration = Duration::from_secs(10);
/// The tag of an end that only the log of the task tells.
const FROM_LOG: &str = "end_from_log";

/// Makes events.
pub(super) struct Teller {
    id: String,
    host: String,
    tasks: Tasks,
    logs: Logs,
    zone: TimeZone,
    actor: Field,
    /// The end of a task is held, for its log may get a last line.
    waits: bool,
    /// That a list is too long was told.
    told_cut: bool,
    /// That a log cannot be read was told in this look.
    told_log: bool,
}

impl Teller {
    pub(super) fn new(source: &PveTasks, logs: Logs) -> Teller {
        Teller {
            id: source.id.clone(),
            host: source.host.clone(),
            tasks: Tasks::new(&source.cluster),
            logs,
            zone: source.zone.clone(),
            actor: Field::new("pve.actor.kind"),
            waits: false,
            told_cut: false,
            told_log: false,
        }
    }

    pub(super) fn waits(&self) -> bool {
        self.waits
    }

    /// Another look begins.
    pub(super) fn begin(&mut self) {
        (self.waits, self.told_log) = (false, false);
    }

    /// What has ended before the very first look is left out.
    pub(super) fn leave_out(&self, found: &mut Found, told: &mut Told) {
        found.news.retain(|news| {
            let keep = news.what == What::Start;
            if !keep {
                news.remember(told);
            }
            keep
        });
    }

    /// Adds the events of one piece of news; false if it has to be told later.
    pub(super) fn events(&mut self, news: &News, out: &SourceOut, events: &mut Vec<Event>) -> bool {
        let mut event = match &news.what {
            What::Broken(place, why) => {
                out.metrics().error("parser_failed", Stage::Receiving, 1);
                let at = if news.at == Time(0) {
                    out.now()
                } else {
                    news.at
                };
                let place = (*place, self.host.as_str());
                self.tasks.broken(place, &news.text, why, at)
            }
            What::Start | What::End(_) | What::Unlisted => {
                let upid = match Upid::parse(&news.text) {
                    Ok(upid) => upid,
                    // It was parsed when it was found.
                    Err(_) => return true,
                };
                let task = Task {
                    upid: &news.text,
                    node: upid.node,
                    start: upid.start,
                };
                match &news.what {
                    What::End(status) => match self.end(news, (&upid, task), status, out, events) {
                        Some(event) => event,
                        None => return false,
                    },
                    What::Unlisted => self.unlisted(news, task, out),
                    _ => self.tasks.start(task, &news.line),
                }
            }
        };
        if self.by_ha(news, out) {
            event.set(self.actor, "ha");
        }
        if let Some(raw) = &news.raw {
            event.set(fields::PVE_RAW_B64, raw.as_str());
        }
        if news.partial {
            event.add_tag("partial");
        }
        events.push(event);
        true
    }

    fn end(
        &mut self,
        news: &News,
        (upid, task): (&Upid<'_>, Task<'_>),
        status: &str,
        out: &SourceOut,
        events: &mut Vec<Event>,
    ) -> Option<Event> {
        let log = match wants_log(status) {
            true => self.log(task, out),
            false => None,
        };
        let mut status = status;
        if status == UNEXPECTED {
            let now = out.now();
            let fresh = now.0.abs_diff(news.at.0) < RACE.as_nanos() as u64;
            match log.as_ref().and_then(|log| log.status.as_deref()) {
                Some(better) => status = better,
                None if fresh && log.is_some() => {
                    self.waits = true;
                    return None;
                }
                None => {}
            }
        }
        if upid.kind == "vzdump" && upid.id.is_empty() {
            self.guests(task, news.at, status, out, events);
        }
        let mut event = self.tasks.end(task, news.at, status, &news.line);
        if let Some(log) = &log
            && wants_log(status)
        {
            let log = tail(&out.redact(&log.text));
            self.tasks.add_log(&mut event, log);
        }
        Some(event)
    }

    /// The end of a task that is in no list, as PVE would have written it.
    fn unlisted(&mut self, news: &News, task: Task<'_>, out: &SourceOut) -> Event {
        let log = self.log(task, out);
        let (status, at) = match &log {
            Some(log) => (
                log.status.as_deref().unwrap_or(UNEXPECTED),
                log.modified.max(task.start),
            ),
            None => (UNEXPECTED, news.at),
        };
        let line = format!("{} {status}", task.upid);
        let mut event = self.tasks.end(task, at, status, &line);
        event.add_tag(FROM_LOG);
        event.set(
            fields::ERROR_MESSAGE,
            match &log {
                Some(_) => "none of PVE's lists holds the end of this task; it is taken from its log",
                None => "none of PVE's lists holds the end of this task, and its log is gone: when and how it ended is not known",
            },
        );
        if let Some(log) = log
            && wants_log(log.status.as_deref().unwrap_or(UNEXPECTED))
        {
            let log = tail(&out.redact(&log.text));
            self.tasks.add_log(&mut event, log);
        }
        event
    }

    /// One event for each guest of a backup.
    fn guests(
        &mut self,
        task: Task<'_>,
        end: Time,
        status: &str,
        out: &SourceOut,
        events: &mut Vec<Event>,
    ) {
        let guests = match self.logs.guests(task.upid, task.start, &self.zone) {
            Ok(guests) => guests,
            Err(why) => {
                self.log_trouble(task, &why, out);
                return;
            }
        };
        for guest in guests {
            let at = guest.end.unwrap_or(end);
            // Whose backup was under way when the job ended shares its fate.
            let result = match (guest.status.as_deref(), status) {
                (Some(result), _) => result,
                (None, "OK" | "job errors") => UNEXPECTED,
                (None, status) => status,
            };
            events.push(
                self.tasks
                    .guest(task, guest.vmid, (guest.began, at), result),
            );
        }
    }

    /// What HA does to guests it does as root.
    fn by_ha(&mut self, news: &News, out: &SourceOut) -> bool {
        let Ok(upid) = Upid::parse(&news.text) else {
            return false;
        };
        if upid.user != "root@pam" || !(upid.kind.starts_with("qm") || upid.kind.starts_with("vz"))
        {
            return false;
        }
        let task = Task {
            upid: &news.text,
            node: upid.node,
            start: upid.start,
        };
        match self.logs.by_ha(task.upid, task.start) {
            Ok(by_ha) => by_ha,
            Err(why) => {
                self.log_trouble(task, &why, out);
                false
            }
        }
    }

    fn log(&mut self, task: Task<'_>, out: &SourceOut) -> Option<End> {
        match self.logs.end(task.upid, task.start) {
            Ok(log) => log,
            Err(why) => {
                self.log_trouble(task, &why, out);
                None
            }
        }
    }

    fn log_trouble(&mut self, task: Task<'_>, why: &std::io::Error, out: &SourceOut) {
        out.metrics().error("log_unreadable", Stage::Receiving, 1);
        if !std::mem::replace(&mut self.told_log, true) {
            tracing::warn!(component_id = self.id, upid = task.upid, %why, "the log of this task cannot be read; its end is told without it");
        }
    }

    /// A list is longer than what is read of it.
    pub(super) fn cut(&mut self, lists: &Lists, out: &SourceOut) {
        let cut = lists.active.cut || lists.index.cut || lists.previous.cut;
        if !cut || std::mem::replace(&mut self.told_cut, true) {
            return;
        }
        self.tell_missing(
            "too_long",
            "a task list is longer than 16 MiB, and only its end is read".to_owned(),
            Outcome::Failure,
            out,
        );
    }

    pub(super) fn gap(&self, gap: &Gap, out: &SourceOut) {
        let time = |time: Option<Time>| time.map_or("the beginning".to_owned(), |t| t.to_string());
        let mut why = match gap.certain {
            true => "PVE overwrote task lists before they were read".to_owned(),
            false => "PVE may have overwritten task lists before they were read".to_owned(),
        };
        why.push_str(&format!(
            " (between {} and {})",
            time(gap.from),
            gap.to.map_or("now".to_owned(), |to| to.to_string())
        ));
        match (&gap.trouble, gap.found) {
            (Some(trouble), found) => why.push_str(&format!(
                "; logs of {found} tasks were found, others could not be looked for: {trouble}"
            )),
            (None, 0) => why.push_str("; no logs of further tasks are left"),
            (None, 1) => why.push_str("; 1 task was found by its log"),
            (None, found) => why.push_str(&format!("; {found} tasks were found by their logs")),
        }
        let outcome = match gap.certain {
            true => Outcome::Failure,
            false => Outcome::Unknown,
        };
        self.tell_missing("overwritten", why, outcome, out);
    }

    fn tell_missing(&self, kind: &'static str, why: String, outcome: Outcome, out: &SourceOut) {
        let metrics = out.metrics();
        metrics.gaps.add([kind], 1);
        tracing::error!(component_id = self.id, kind, "{why}");
        metrics.tell(
            OwnEvent::new("PVE-9014", format!("Input is missing: {why}"))
                .failed(why)
                .outcome(outcome)
                .object("source", self.id.clone()),
        );
    }
}
