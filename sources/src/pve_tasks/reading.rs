//! From the lists of one moment to what has not been told yet, oldest first.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use pipeline::lines::base64;
use pipeline::{EventId, Time};

use super::lists::{List, Lists};
use super::logs::{self, Logs};
use super::row;
use super::tell::UNEXPECTED;
use super::told::{Told, key};
use pipeline::pve::Upid;

/// After this time in none of the lists, a task that ran has ended without a word.
const GONE: Duration = Duration::from_secs(60);
/// After a gap, logs are looked at from this long before the last end that was told.
const BEFORE: Duration = Duration::from_secs(60);

/// Something to tell.
#[derive(Clone, Debug)]
pub(super) struct News {
    /// When it happened; of a line that is no task, the time of the task before it.
    pub(super) at: Time,
    pub(super) what: What,
    /// What it is known by from now on: the UPID, or the line that holds none.
    pub(super) text: String,
    /// The line it was found in.
    pub(super) line: String,
    /// Its bytes, where they are no UTF-8.
    pub(super) raw: Option<String>,
    /// The line has no end, and never will.
    pub(super) partial: bool,
}

/// What there is to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// A task runs.
    Start,
    /// It ended, with this exit text.
    End(String),
    /// It ended, which only its log says.
    Unlisted,
    /// A line of this list is no task, and why.
    Broken(&'static str, String),
}

impl News {
    /// What began in the second in which it ended began first.
    fn order(&self) -> (Time, bool, &str) {
        (self.at, self.what != What::Start, &self.text)
    }

    /// Remembers that it was told.
    pub(super) fn remember(&self, told: &mut Told) {
        match &self.what {
            What::Start => told.started(&self.text),
            What::End(_) => told.ended(&self.text, Some(self.at)),
            What::Unlisted => told.ended_unlisted(&self.text, self.at),
            What::Broken(..) => told.ended(&self.text, None),
        }
    }
}

/// What a look has found.
pub(super) struct Found {
    pub(super) news: Vec<News>,
    /// The first line of `index` and of `index.1`: which files they are.
    pub(super) index: Option<EventId>,
    pub(super) previous: Option<EventId>,
    /// Everything that stands in the lists.
    pub(super) listed: HashSet<Box<str>>,
    pub(super) gap: Option<Gap>,
}

/// Lines that nobody has read are gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Gap {
    /// They certainly are; else nobody knows.
    pub(super) certain: bool,
    /// The last end that was told before it, and the first that is there after it.
    pub(super) from: Option<Time>,
    pub(super) to: Option<Time>,
    /// Tasks in it whose logs are still there.
    pub(super) found: usize,
    /// Why their logs could not be looked at.
    pub(super) trouble: Option<String>,
}

/// A line of a list.
struct Line<'a> {
    place: &'static str,
    text: std::borrow::Cow<'a, str>,
    raw: Option<&'a [u8]>,
    partial: bool,
}

/// Compares lists with what was told.
pub(super) struct Reading {
    logs: Logs,
    host: String,
    /// Since when tasks that ran are in none of the lists.
    missing: HashMap<String, Instant>,
}

impl Reading {
    pub(super) fn new(logs: Logs, host: &str) -> Reading {
        Reading {
            logs,
            host: host.to_owned(),
            missing: HashMap::new(),
        }
    }

    /// Something has to be looked at again although no list changes.
    pub(super) fn waits(&self) -> bool {
        !self.missing.is_empty()
    }

    pub(super) fn read(&mut self, lists: &Lists, told: &mut Told, now: Time) -> Found {
        let lines = lines(lists);
        let mut found = Found {
            news: Vec::new(),
            index: first(&lists.index),
            previous: first(&lists.previous),
            listed: HashSet::with_capacity(lines.len()),
            gap: None,
        };
        let (mut ended, mut runs) = (HashSet::new(), HashSet::new());
        let mut unexpected = HashMap::new();
        let (mut oldest, mut last) = (None, Time(0));
        for line in &lines {
            let parse = match line.place {
                "active" => row::active,
                _ => row::index,
            };
            let (mut broken, mut row) = match parse(&line.text) {
                Ok(row) => (None, Some(row)),
                Err(why) => (Some((line.text.as_ref(), why)), None),
            };
            // A crash cut a line off, and PVE wrote on behind it. An exit text could be made to look so; a log cannot.
            if broken.is_some()
                && let Some(at) = row::glued(&line.text)
                && let Ok(behind) = parse(&line.text[at..])
                && matches!(self.logs.end(behind.text, behind.upid.start), Ok(Some(_)))
            {
                broken = Some((&line.text[..at], "it is cut off".to_owned()));
                row = Some(behind);
            }
            let news = |at, what, text: &str| News {
                at,
                what,
                text: text.to_owned(),
                line: line.text.as_ref().to_owned(),
                raw: line.raw.map(base64),
                partial: line.partial,
            };
            if let Some((text, why)) = broken
                && found.listed.insert(text.into())
                && !told.knows(text)
            {
                found
                    .news
                    .push(news(last, What::Broken(line.place, why), text));
            }
            let Some(row) = row else { continue };
            found.listed.insert(row.text.into());
            let Some((end, status)) = row.end else {
                runs.insert(row.text);
                continue;
            };
            last = end;
            if line.place != "active" && oldest.is_none() {
                oldest = Some(end);
            }
            if ended.insert(row.text) {
                if !told.knows(row.text) {
                    if status == UNEXPECTED {
                        unexpected.insert(row.text, found.news.len());
                    }
                    let what = What::End(status.to_owned());
                    found.news.push(news(end, what, row.text));
                }
            } else if status != UNEXPECTED
                && let Some(place) = unexpected.remove(row.text)
            {
                // PVE looked twice, and knew better the second time.
                found.news[place] = news(end, What::End(status.to_owned()), row.text);
            }
        }
        for line in lines.iter().filter(|line| line.place == "active") {
            if let Ok(row) = row::active(&line.text)
                && row.end.is_none()
                && !ended.contains(row.text)
                && !told.running.contains(row.text)
                && !told.knows(row.text)
            {
                found.news.push(News {
                    at: row.upid.start,
                    what: What::Start,
                    text: row.text.to_owned(),
                    line: line.text.as_ref().to_owned(),
                    raw: line.raw.map(base64),
                    partial: line.partial,
                });
            }
        }
        found.gap = gap(&found, told, oldest);
        if let Some(gap) = &mut found.gap {
            self.search(gap, told, &ended, &runs, &mut found.news);
        }
        if !lists.active.cut {
            self.gone(told, &ended, &runs, now, &mut found.news);
        }
        found.news.sort_by(|a, b| a.order().cmp(&b.order()));
        // An active list may hold a line twice.
        found
            .news
            .dedup_by(|a, b| a.text == b.text && a.what == b.what);
        found
    }

    /// Tasks of a gap, by their logs.
    fn search(
        &self,
        gap: &mut Gap,
        told: &mut Told,
        ended: &HashSet<&str>,
        runs: &HashSet<&str>,
        news: &mut Vec<News>,
    ) {
        let from = gap.from.map_or(Time(0), |from| {
            Time(from.0.saturating_sub(BEFORE.as_nanos() as i64))
        });
        let logs = match self.logs.since(from) {
            Ok((logs, more)) => {
                gap.trouble = more.then(|| "there are too many logs".to_owned());
                logs
            }
            Err(why) => {
                gap.trouble = Some(why.to_string());
                return;
            }
        };
        for (upid, at) in logs {
            // What ended after the first line of the lists is in them, or will be.
            if gap.to.is_some_and(|to| at > to.after(BEFORE))
                || ended.contains(upid.as_str())
                || runs.contains(upid.as_str())
                || told.knows(&upid)
            {
                continue;
            }
            if let Ok(parsed) = Upid::parse(&upid)
                && !self.alive(&parsed)
            {
                gap.found += 1;
                news.push(unlisted(upid, at));
            }
        }
    }

    /// Tasks that ran and are in none of the lists any more: their node died, or a list was lost.
    fn gone(
        &mut self,
        told: &Told,
        ended: &HashSet<&str>,
        runs: &HashSet<&str>,
        now: Time,
        news: &mut Vec<News>,
    ) {
        let known: HashSet<String> = news.iter().map(|news| news.text.clone()).collect();
        let mut missing = std::mem::take(&mut self.missing);
        for upid in &told.running {
            if ended.contains(upid.as_str()) || runs.contains(upid.as_str()) || known.contains(upid)
            {
                continue;
            }
            let since = missing.remove(upid).unwrap_or_else(Instant::now);
            let alive = || Upid::parse(upid).is_ok_and(|parsed| self.alive(&parsed));
            if since.elapsed() < GONE || alive() {
                self.missing.insert(upid.clone(), since);
            } else {
                news.push(unlisted(upid.clone(), now));
            }
        }
    }

    fn alive(&self, upid: &Upid<'_>) -> bool {
        upid.node == self.host && logs::is_alive(upid.pid, upid.pstart)
    }
}

/// Whether a list was overwritten that had not been read to its end.
fn gap(found: &Found, told: &Told, oldest: Option<Time>) -> Option<Gap> {
    let there = |list| Some(list) == found.index || Some(list) == found.previous;
    let certain = match (told.lists.index, told.lists.previous) {
        // A rotation writes a line first, so the list that was read last goes with lines in it that were not.
        (Some(index), _) => match there(index) {
            true => return None,
            false => true,
        },
        // `index` was empty: what became of it once is all there, what became of it twice is not, and both look alike.
        (None, Some(previous)) => match there(previous) {
            true => return None,
            false => false,
        },
        (None, None) => return None,
    };
    Some(Gap {
        certain,
        from: told.lists.newest,
        to: oldest,
        found: 0,
        trouble: None,
    })
}

fn unlisted(upid: String, at: Time) -> News {
    News {
        at,
        what: What::Unlisted,
        text: upid,
        line: String::new(),
        raw: None,
        partial: false,
    }
}

/// Which file it is.
fn first(list: &List) -> Option<EventId> {
    let (mut lines, _) = list.lines();
    match list.cut {
        // Its first line was not read.
        true => None,
        false => lines.next().map(|line| key(&row::text(line).0)),
    }
}

/// All lines, the oldest list first.
fn lines(lists: &Lists) -> Vec<Line<'_>> {
    let mut all = Vec::new();
    for (list, place) in [
        (&lists.previous, "index.1"),
        (&lists.index, "index"),
        (&lists.active, "active"),
    ] {
        let (whole, rest) = list.lines();
        // What PVE has not written to its end yet is no line; a list that grows no more, or is written at once, has none such.
        let rest = (place != "index" && !rest.is_empty()).then_some(rest);
        let whole = whole.map(|line| (line, false));
        for (line, partial) in whole.chain(rest.map(|line| (line, true))) {
            // A crash may leave a run of zeros behind.
            let zeros = line.iter().take_while(|byte| **byte == 0).count();
            let line = line[zeros..].trim_ascii_end();
            if line.is_empty() {
                continue;
            }
            let (text, latin) = row::text(line);
            all.push(Line {
                place,
                text,
                raw: latin.then_some(line),
                partial,
            });
        }
    }
    all
}

#[cfg(test)]
mod tests;
