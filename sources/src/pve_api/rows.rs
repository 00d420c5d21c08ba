//! Rows of a task list, as any release writes them, and what is new in them.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use pipeline::pve::Upid;
use pipeline::{EventId, Time};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What PVE writes where the log of a task has no last line.
pub(super) const UNEXPECTED: &str = "unexpected status";
/// Ends remembered by which the next answer is known to join the last one.
const ANCHORS: usize = 8;
/// Most tasks remembered as running on one node.
const MOST_RUNNING: usize = 20_000;

/// A number, whether it came as one or as a text.
pub(super) fn number(value: Option<&Value>) -> Option<i64> {
    match value? {
        Value::Number(n) => n.as_i64().or_else(|| n.as_f64().map(|f| f as i64)),
        Value::String(text) => text.trim().parse().ok(),
        Value::Bool(b) => Some(i64::from(*b)),
        _ => None,
    }
}

/// A text, also where PVE writes a number for it.
pub(super) fn text(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::String(text) => Some(text.clone()),
        Value::Number(n) => Some(n.to_string()),
        Value::Bool(b) => Some(u8::from(*b).to_string()),
        _ => None,
    }
}

/// Stands for a UPID.
pub(super) fn key(upid: &str) -> EventId {
    EventId::of_parts(&[b"pvetrail pve_api task", upid.as_bytes()])
}

/// One task of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) upid: String,
    pub(super) start: Time,
    /// When it ended and its exit text; `None` while it runs.
    pub(super) end: Option<(Time, String)>,
}

/// An answer, each task in it once.
#[derive(Clone, Debug, Default)]
pub(super) struct Rows {
    /// In the order of the answer: what runs, then the latest archived first.
    pub(super) rows: Vec<Row>,
    /// Rows that are no tasks, and why.
    pub(super) broken: Vec<(String, String)>,
}

/// Reads the rows of an answer about the tasks of `node`.
pub(super) fn read(data: &Value, node: &str) -> Rows {
    let mut out = Rows::default();
    let mut places: HashMap<String, usize> = HashMap::new();
    for found in data.as_array().map_or(&[][..], Vec::as_slice) {
        let Some(upid) = found.get("upid").and_then(Value::as_str) else {
            let why = "it has no UPID".to_owned();
            out.broken.push((found.to_string(), why));
            continue;
        };
        let parsed = match Upid::parse(upid) {
            Ok(parsed) if parsed.node == node => parsed,
            // A node tells of its own tasks only; whoever claims another's is not believed.
            Ok(parsed) => {
                let why = format!("it is of the node {}", parsed.node);
                out.broken.push((upid.to_owned(), why));
                continue;
            }
            Err(why) => {
                out.broken.push((upid.to_owned(), why.to_string()));
                continue;
            }
        };
        let end = number(found.get("endtime")).map(|end| {
            let status = text(found.get("status")).unwrap_or_default();
            (Time::from_secs(end.clamp(0, 1 << 33)), status)
        });
        let row = Row {
            upid: upid.to_owned(),
            start: parsed.start,
            end,
        };
        match places.get(upid) {
            // The lists are read one after another without a lock: the same task may run in one and have ended in the next.
            Some(place) => {
                let held: &mut Row = &mut out.rows[*place];
                let better = match (&held.end, &row.end) {
                    (None, Some(_)) => true,
                    (Some((_, old)), Some((_, new))) => old == UNEXPECTED && new != UNEXPECTED,
                    _ => false,
                };
                if better {
                    held.end = row.end;
                }
            }
            None => {
                places.insert(upid.to_owned(), out.rows.len());
                out.rows.push(row);
            }
        }
    }
    out
}

/// What is written down of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Position {
    /// Tasks of which the end was told, and rows that are none.
    ended: Vec<EventId>,
    /// UPIDs of which the start was told and the end was not.
    running: BTreeSet<String>,
    /// The latest archived tasks of the last whole answer.
    anchors: Vec<EventId>,
    /// The latest end that was told.
    newest: Option<Time>,
}

/// What has been told of a node.
#[derive(Clone, Debug, Default)]
pub(super) struct Told {
    ended: HashSet<EventId>,
    running: BTreeSet<String>,
    anchors: Vec<EventId>,
    pub(super) newest: Option<Time>,
    /// It has to be written down, whatever the next answer says.
    dirty: bool,
}

/// Something to tell of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct News {
    pub(super) upid: String,
    pub(super) start: Time,
    pub(super) what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// It runs.
    Start,
    /// It ended then, with this exit text.
    End(Time, String),
    /// No list holds it any more; its own status is asked.
    Missing,
    /// A row that is no task, and why.
    Broken(String),
}

impl News {
    fn order(&self) -> (Time, bool, &str) {
        let at = match &self.what {
            What::End(at, _) => *at,
            _ => self.start,
        };
        (at, self.what != What::Start, &self.upid)
    }
}

/// What an answer has brought.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// Oldest first.
    pub(super) news: Vec<News>,
    /// There may be more behind the end of the answer: it has to be asked for whole.
    pub(super) more: bool,
    /// Archived tasks were overwritten unread: after the first time, before the second.
    pub(super) gap: Option<(Option<Time>, Option<Time>)>,
    /// Tasks that ran and are in the answer no more.
    pub(super) missing: Vec<String>,
}

impl Told {
    pub(super) fn new(position: Position) -> Told {
        Told {
            ended: position.ended.into_iter().collect(),
            running: position.running,
            anchors: position.anchors,
            newest: position.newest,
            dirty: false,
        }
    }

    pub(super) fn position(&self) -> Position {
        let mut ended: Vec<EventId> = self.ended.iter().copied().collect();
        ended.sort_unstable();
        Position {
            ended,
            running: self.running.clone(),
            anchors: self.anchors.clone(),
            newest: self.newest,
        }
    }

    /// A gap was told: the next answer has to join nothing.
    pub(super) fn begin_anew(&mut self) {
        self.anchors.clear();
        self.dirty = true;
    }

    /// That the node was asked has to be known after a restart.
    pub(super) fn write_down(&mut self) {
        self.dirty = true;
    }

    pub(super) fn has_ended(&self, upid: &str) -> bool {
        self.ended.contains(&key(upid))
    }

    pub(super) fn runs(&self, upid: &str) -> bool {
        self.running.contains(upid)
    }

    pub(super) fn remember(&mut self, news: &News, end: Option<Time>) {
        match news.what {
            What::Start => {
                if self.running.len() < MOST_RUNNING {
                    self.running.insert(news.upid.clone());
                }
            }
            What::End(..) | What::Missing | What::Broken(_) => {
                self.running.remove(&news.upid);
                self.ended.insert(key(&news.upid));
                self.newest = self.newest.max(end);
            }
        }
    }

    /// Compares an answer with what was told. `asked` is how many rows were asked for, `whole` whether that is more than
    /// both lists can hold.
    pub(super) fn compare(&self, rows: &Rows, asked: usize, whole: bool) -> Found {
        let mut found = Found::default();
        let archived: Vec<&Row> = rows.rows.iter().filter(|row| row.end.is_some()).collect();
        let cut = rows.rows.len() + rows.broken.len() >= asked;
        // Behind several that are known in a row only what is known can come, but for a line that PVE wrote twice.
        let joins = archived.len() >= 5
            && archived[archived.len() - 5..]
                .iter()
                .all(|row| self.ended.contains(&key(&row.upid)));
        found.more = !whole && cut && !joins;
        if found.more {
            return found;
        }
        let joins_last = || {
            archived
                .iter()
                .any(|row| self.anchors.contains(&key(&row.upid)))
        };
        if !self.anchors.is_empty() && (whole || !cut) && !joins_last() {
            let first = archived.iter().filter_map(|row| row.end.as_ref());
            found.gap = Some((self.newest, first.map(|(at, _)| *at).min()));
        }
        for row in &rows.rows {
            let what = match &row.end {
                Some(_) if self.ended.contains(&key(&row.upid)) => continue,
                Some((at, status)) => What::End(*at, status.clone()),
                None if self.running.contains(&row.upid) => continue,
                None if self.ended.contains(&key(&row.upid)) => continue,
                None => What::Start,
            };
            found.news.push(News {
                upid: row.upid.clone(),
                start: row.start,
                what,
            });
        }
        for (text, why) in &rows.broken {
            if !self.ended.contains(&key(text)) {
                found.news.push(News {
                    upid: text.clone(),
                    start: self.newest.unwrap_or_default(),
                    what: What::Broken(why.clone()),
                });
            }
        }
        found.news.sort_by(|a, b| a.order().cmp(&b.order()));
        let listed: HashSet<&str> = rows.rows.iter().map(|row| row.upid.as_str()).collect();
        let missing = self.running.iter().filter(|r| !listed.contains(r.as_str()));
        found.missing = missing.cloned().collect();
        found
    }

    /// All of a whole answer is told: remembers where the next one has to join, forgets what is in it no more. True if
    /// that changes anything.
    pub(super) fn settle(&mut self, rows: &Rows, whole: bool) -> bool {
        let archived = rows.rows.iter().filter(|row| row.end.is_some());
        let anchors: Vec<EventId> = archived.take(ANCHORS).map(|row| key(&row.upid)).collect();
        // An empty list after a full one is a node installed anew, or a fault; what was there is not forgotten for that.
        let mut changed = std::mem::take(&mut self.dirty);
        if !anchors.is_empty() && anchors != self.anchors {
            (self.anchors, changed) = (anchors, true);
        }
        if whole && !rows.rows.is_empty() {
            let listed = rows.rows.iter().map(|row| key(&row.upid));
            let broken = rows.broken.iter().map(|(text, _)| key(text));
            let listed: HashSet<EventId> = listed.chain(broken).collect();
            let before = self.ended.len();
            self.ended.retain(|key| listed.contains(key));
            changed |= self.ended.len() != before;
        }
        changed
    }
}

/// What `/cluster/tasks` says of each node, as a number: it changes when a task begins or ends there.
pub(super) fn digests(data: &Value) -> BTreeMap<String, u64> {
    let mut out: BTreeMap<String, u64> = BTreeMap::new();
    for row in data.as_array().map_or(&[][..], Vec::as_slice) {
        let upid = row.get("upid").and_then(Value::as_str).unwrap_or_default();
        let node = row.get("node").and_then(Value::as_str);
        let node = node.or_else(|| upid.split(':').nth(1)).unwrap_or_default();
        let end = number(row.get("endtime")).unwrap_or(-1);
        let row = xxhash_rust::xxh3::xxh3_64_with_seed(upid.as_bytes(), end as u64);
        // The order does not matter.
        let sum = out.entry(node.to_owned()).or_default();
        *sum = sum.wrapping_add(row);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn upid(n: u32) -> String {
        format!("UPID:pve1:{n:08X}:01C8F2A4:697722A2:qmstart:{n}:alice@pve!ci:")
    }

    fn ended(n: u32) -> Value {
        json!({"upid": upid(n), "endtime": 1_769_415_386 + n, "status": "OK", "user": "alice@pve"})
    }

    fn remember_all(told: &mut Told, found: &Found, rows: &Rows, whole: bool) {
        for news in &found.news {
            told.remember(news, None);
        }
        told.settle(rows, whole);
    }

    fn learn(told: &mut Told, rows: &Rows) {
        let found = told.compare(rows, 5000, true);
        remember_all(told, &found, rows, true);
    }

    #[test]
    fn a_task_that_comes_twice_in_one_answer_is_one_and_its_end_counts() {
        let data = json!([
            {"upid": upid(1), "status": "RUNNING", "saved": "0", "user": "alice@pve!ci"},
            ended(1),
            {"upid": upid(2), "endtime": "1769415386", "status": "unexpected status"},
            {"upid": upid(2), "endtime": 1_769_415_387, "status": "OK"},
            {"id": "100"},
            {"upid": "UPID:pve1:nonsense"},
            {"upid": upid(3).replace("pve1", "pve2")},
            7,
        ]);
        let rows = read(&data, "pve1");
        assert_eq!(rows.rows.len(), 2);
        assert!(
            rows.rows
                .iter()
                .all(|row| row.end.as_ref().unwrap().1 == "OK")
        );
        assert_eq!(rows.broken.len(), 4);
    }

    #[test]
    fn a_short_answer_suffices_only_where_it_joins_what_is_known() {
        let data: Value = (0..100).rev().map(ended).collect();
        let whole = read(&data, "pve1");
        let mut told = Told::default();
        assert!(told.compare(&whole, 100, false).more);
        let found = told.compare(&whole, 5000, true);
        assert_eq!((found.news.len(), found.gap), (100, None));
        learn(&mut told, &whole);
        // Ten are new, and twenty are asked for.
        let data: Value = (90..110).rev().map(ended).collect();
        let found = told.compare(&read(&data, "pve1"), 20, false);
        assert_eq!((found.news.len(), found.more), (10, false));
        // Thirty are new: the last of twenty is not known.
        let data: Value = (110..130).rev().map(ended).collect();
        assert!(told.compare(&read(&data, "pve1"), 20, false).more);
    }

    #[test]
    fn what_was_overwritten_unread_is_a_gap_and_what_was_forgotten_is_none() {
        let mut told = Told::default();
        let first = read(&(0..10).rev().map(ended).collect(), "pve1");
        learn(&mut told, &first);
        told = Told::new(
            serde_json::from_str(&serde_json::to_string(&told.position()).unwrap()).unwrap(),
        );
        // The oldest are gone, as they go each day.
        let next = read(&(5..15).rev().map(ended).collect(), "pve1");
        assert_eq!(told.compare(&next, 5000, true).gap, None);
        let after = read(&(40..50).rev().map(ended).collect(), "pve1");
        assert!(told.compare(&after, 5000, true).gap.is_some());
        assert!(told.compare(&Rows::default(), 5000, true).gap.is_some());
    }

    #[test]
    fn what_ran_and_is_listed_no_more_is_missing() {
        let mut told = Told::default();
        let rows = read(&json!([{"upid": upid(1), "status": "RUNNING"}]), "pve1");
        let found = told.compare(&rows, 5000, true);
        assert_eq!(found.news[0].what, What::Start);
        remember_all(&mut told, &found, &rows, true);
        assert!(told.compare(&rows, 5000, true).news.is_empty());
        let found = told.compare(&Rows::default(), 5000, true);
        assert_eq!(found.missing, [upid(1)]);
    }

    #[test]
    fn nodes_change_their_number_when_a_task_ends_and_not_by_their_order() {
        let running = json!({"upid": upid(1), "node": "pve1", "saved": "0"});
        let a = digests(&json!([running, ended(2)]));
        let b = digests(&json!([ended(2), running]));
        assert_eq!(a, b);
        assert_ne!(a["pve1"], digests(&json!([ended(1), ended(2)]))["pve1"]);
    }

    #[test]
    fn hostile_rows_are_told_as_broken_and_nothing_panics() {
        let far = json!([
            {"upid": upid(1), "endtime": i64::MAX, "status": null},
            {"upid": upid(2), "endtime": -5, "status": {"a": 1}},
            {"upid": upid(3), "endtime": 1e300, "status": [1]},
            {"upid": upid(4), "endtime": "x"},
            {"upid": "UPID:pve1:0000000A:0000000B:FFFFFFFF:x:1:a@b:", "endtime": u64::MAX},
            {"upid": 7}, null, [], "UPID",
        ]);
        let rows = read(&far, "pve1");
        assert_eq!((rows.rows.len(), rows.broken.len()), (5, 4));
        let mut told = Told::default();
        learn(&mut told, &rows);
        assert!(told.compare(&rows, 5000, true).news.is_empty());
        assert!(read(&json!({"data": 1}), "pve1").rows.is_empty());
        digests(&far);
    }
}
