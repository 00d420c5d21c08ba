//! The tasks of one node: from answers to events, nothing twice and nothing lost while it is away.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use pipeline::pve::Upid;
use pipeline::telemetry::Stage;
use pipeline::{Event, LaneId, Outcome, SourceOut, Time, Told as OwnEvent, fields};

use super::details::{Detail, last_word};
use super::rows::{Found, News, Position, Rows, Told, UNEXPECTED, What};
use crate::pve_tasks::task::{Task, Tasks, tail, wants_log};

/// More rows than both lists of a node can hold.
pub(super) const WHOLE: usize = 5000;
/// Rows asked for when little can have happened.
pub(super) const FEW: usize = 100;
/// A tool that ran in the foreground writes the last line of its log a little after PVE looked for it.
const RACE: Duration = Duration::from_secs(10);
/// So long a task that ran may be in no list before its status is asked.
const GONE: Duration = Duration::from_secs(20);
/// News worked on at once: their details are asked for, then they are told, with the position behind them.
pub(super) const CHUNK: usize = 100;
/// Times the log of a task is asked for before its end is told without it.
const TRIES: u32 = 3;
/// The tag of an end that no list told.
const FROM_STATUS: &str = "end_from_status";

/// One node.
pub(super) struct Node {
    pub(super) name: String,
    pub(super) lane: LaneId,
    pub(super) told: Told,
    /// What is left of the last answer, and that answer.
    pub(super) pending: VecDeque<News>,
    answer: Option<(Rows, bool)>,
    /// How many rows the next question is for.
    pub(super) limit: usize,
    /// How many it is for at most: fewer than [`WHOLE`] where an answer was longer than we hold.
    pub(super) most: usize,
    /// When the whole list was read last.
    pub(super) whole_at: Option<Instant>,
    /// Since when tasks that ran are in no list.
    missing: BTreeMap<String, Instant>,
    /// Tasks that only the cluster log has told of, and since when.
    heard: BTreeMap<String, Instant>,
    /// Something has to be looked at again although no list changed.
    pub(super) dirty: bool,
    pub(super) tries: u32,
    /// Tasks told since it was away.
    pub(super) since_away: Option<u64>,
    /// Nothing of it is stored, and it was not asked yet.
    pub(super) begins: bool,
}

impl Node {
    pub(super) fn new(name: &str, out: &SourceOut) -> Node {
        let lane = lane_of(name);
        let position: Option<Position> = out.position(&lane);
        Node {
            name: name.to_owned(),
            begins: position.is_none(),
            lane: out.lane(&lane),
            told: Told::new(position.unwrap_or_default()),
            pending: VecDeque::new(),
            answer: None,
            limit: WHOLE,
            most: WHOLE,
            whole_at: None,
            missing: BTreeMap::new(),
            heard: BTreeMap::new(),
            dirty: false,
            tries: 0,
            since_away: None,
        }
    }

    /// Takes an answer to a question for `asked` rows. What is new waits in `pending`; a gap is given back.
    pub(super) fn take(
        &mut self,
        rows: Rows,
        asked: usize,
    ) -> Option<(Option<Time>, Option<Time>)> {
        let whole = asked >= self.most;
        let found = self.told.compare(&rows, asked, whole);
        if found.more {
            (self.limit, self.dirty) = (self.most, true);
            return None;
        }
        let Found {
            news, gap, missing, ..
        } = found;
        let now = Instant::now();
        let told = &self.told;
        self.heard.retain(|upid, _| {
            !told.runs(upid) && !told.has_ended(upid) && !news.iter().any(|n| n.upid == *upid)
        });
        self.pending = news.into();
        self.missing.retain(|upid, _| missing.contains(upid));
        for upid in &missing {
            self.missing.entry(upid.clone()).or_insert(now);
        }
        let looked_for: Vec<(String, Instant)> = [&self.missing, &self.heard]
            .into_iter()
            .flat_map(|some| some.iter().map(|(upid, since)| (upid.clone(), *since)))
            .collect();
        for (upid, since) in looked_for {
            if now - since < GONE {
                continue;
            }
            if let Ok(parsed) = Upid::parse(&upid) {
                self.pending.push_back(News {
                    start: parsed.start,
                    what: What::Missing,
                    upid: upid.clone(),
                });
                // If it runs still, it is asked again after a while.
                for some in [&mut self.missing, &mut self.heard] {
                    some.entry(upid.clone()).and_modify(|since| *since = now);
                }
            } else {
                self.heard.remove(&upid);
            }
        }
        self.dirty = !(self.missing.is_empty() && self.heard.is_empty());
        if whole {
            self.whole_at = Some(now);
        }
        self.limit = FEW.min(self.most);
        self.answer = Some((rows, whole));
        if gap.is_some() {
            self.told.begin_anew();
        }
        gap
    }

    /// All is told: what has to be remembered of the answer. True if that changes the position.
    pub(super) fn settle(&mut self) -> bool {
        match self.answer.take() {
            Some((rows, whole)) => self.told.settle(&rows, whole),
            None => false,
        }
    }
}

/// The key of the lane of a node.
pub(super) fn lane_of(node: &str) -> String {
    format!("tasks/{node}")
}

/// Makes events of news.
pub(super) struct Maker {
    pub(super) id: String,
    pub(super) tasks: Tasks,
}

impl Maker {
    /// Adds the events of one piece of news, and remembers that it was told. False if it has to be told later.
    pub(super) fn events(
        &self,
        node: &mut Node,
        news: &News,
        detail: Detail,
        out: &SourceOut,
        events: &mut Vec<Event>,
    ) -> bool {
        if let Some(why) = &detail.trouble {
            out.metrics().error("log_unreadable", Stage::Receiving, 1);
            tracing::warn!(component_id = self.id, upid = news.upid, %why, "the log of this task cannot be read; its end is told without it");
        }
        let task = Task {
            upid: &news.upid,
            node: &node.name,
            start: news.start,
        };
        let mut told_end = None;
        match &news.what {
            What::Start => {
                let line = format!("{} 0", news.upid);
                events.push(self.tasks.start(task, &line));
            }
            What::Broken(why) => {
                out.metrics().error("parser_failed", Stage::Receiving, 1);
                let at = match news.start {
                    Time(0) => out.now(),
                    at => at,
                };
                let place = ("the API's task list", node.name.as_str());
                events.push(self.tasks.broken(place, &news.upid, why, at));
            }
            What::End(at, status) => {
                let mut status = status.as_str();
                if status == UNEXPECTED {
                    let fresh = out.now().0.abs_diff(at.0) < RACE.as_nanos() as u64;
                    match detail.log.as_deref().and_then(last_word) {
                        Some(better) => status = better,
                        None if fresh && detail.log.is_some() => {
                            node.dirty = true;
                            return false;
                        }
                        None => {}
                    }
                }
                // As it stands in the list that PVE keeps.
                let seconds = at.0.div_euclid(1_000_000_000);
                let line = format!("{} {seconds:08X} {status}", news.upid);
                self.end(task, *at, (status, &line), &detail, out, events);
                told_end = Some(*at);
            }
            What::Missing => {
                let Some(Some(status)) = &detail.status else {
                    // It runs, or nobody knows; it stays what it was.
                    return false;
                };
                if status.is_empty() && detail.trouble.is_some() && !node.told.runs(&news.upid) {
                    // The log speaks of a task that PVE itself has forgotten.
                    node.heard.remove(&news.upid);
                    return true;
                }
                let word = detail.log.as_deref().and_then(last_word);
                let status = match (status.as_str(), word) {
                    ("" | UNEXPECTED, Some(word)) => word,
                    ("", None) => UNEXPECTED,
                    (status, _) => status,
                };
                let at = out.now();
                let line = format!("{} {status}", news.upid);
                self.end(task, at, (status, &line), &detail, out, events);
                if let Some(event) = events.last_mut() {
                    event.add_tag(FROM_STATUS);
                    event.set(fields::ERROR_MESSAGE, "the task list of the node does not hold the end of this task; its own status does, which does not say when it ended");
                }
            }
        }
        node.told.remember(news, told_end);
        node.missing.remove(&news.upid);
        node.heard.remove(&news.upid);
        if let (Some(n), What::End(..)) = (&mut node.since_away, &news.what) {
            *n += 1;
        }
        true
    }

    fn end(
        &self,
        task: Task<'_>,
        at: Time,
        (status, line): (&str, &str),
        detail: &Detail,
        out: &SourceOut,
        events: &mut Vec<Event>,
    ) {
        for guest in &detail.guests {
            // Whose backup was under way when the job ended shares its fate.
            let result = match (guest.status.as_deref(), status) {
                (Some(result), _) => result,
                (None, "OK" | "job errors") => UNEXPECTED,
                (None, status) => status,
            };
            let times = (guest.began, guest.end.unwrap_or(at));
            events.push(self.tasks.guest(task, guest.vmid, times, result));
        }
        let mut event = self.tasks.end(task, at, status, line);
        if let Some(log) = &detail.log
            && wants_log(status)
        {
            self.tasks.add_log(&mut event, tail(&out.redact(log)));
        }
        events.push(event);
    }

    /// Tasks that ended between these times were overwritten before they were read.
    pub(super) fn gap(
        &self,
        node: &str,
        (from, to): (Option<Time>, Option<Time>),
        out: &SourceOut,
    ) {
        let time = |time: Option<Time>, none: &str| time.map_or(none.to_owned(), |t| t.to_string());
        let why = format!(
            "the task lists of {node} hold nothing any more that was read before: tasks that ended between {} and {} may have been overwritten unread",
            time(from, "the beginning"),
            time(to, "now"),
        );
        missing(&self.id, "overwritten", why, out);
    }

    /// Whether details are given up on, and news told without.
    pub(super) fn gives_up(node: &mut Node) -> bool {
        node.tries += 1;
        node.tries >= TRIES
    }
}

impl Node {
    /// A task that the cluster log speaks of, and no list: it is asked for when it does not show up.
    pub(super) fn heard_of(&mut self, upid: &str) {
        if !self.told.runs(upid) && !self.told.has_ended(upid) && self.heard.len() < WHOLE {
            self.heard
                .entry(upid.to_owned())
                .or_insert_with(Instant::now);
            self.dirty = true;
        }
    }
}

/// Tells that input is missing.
pub(super) fn missing(id: &str, kind: &'static str, why: String, out: &SourceOut) {
    let metrics = out.metrics();
    metrics.gaps.add([kind], 1);
    tracing::error!(component_id = id, kind, "{why}");
    metrics.tell(
        OwnEvent::new("PVE-9014", format!("Input is missing: {why}"))
            .failed(why)
            .outcome(Outcome::Unknown)
            .object("source", id.to_owned()),
    );
}
