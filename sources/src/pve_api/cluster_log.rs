//! The cluster log: what each node told all others, in a ring of 128 KiB that no disk keeps.

use std::collections::HashSet;

use pipeline::pve::Upid;
use pipeline::{Event, EventId, Field, Time, fields};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::client::{Client, Queue, Trouble};
use super::rows::{number, text};

/// The key of its lane.
pub(super) const LANE: &str = "cluster_log";
/// Entries asked for when little can have happened.
const FEW: usize = 50;
/// More entries than the ring holds.
const WHOLE: usize = 1500;
/// Most entries remembered.
const MOST: usize = 20_000;
/// Longest message that is kept; PVE cuts at 4 KiB [bytes].
const LONGEST: usize = 64 << 10;

/// What was told, as it is written down.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Position {
    told: Vec<EventId>,
}

/// An answer.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    /// Latest first.
    pub(super) data: Value,
    pub(super) asked: usize,
    /// Why no more entries can be had: one further back breaks the answer.
    pub(super) broken: Option<Trouble>,
}

/// Asks for so many entries; where one of them breaks the answer, for as many as stand in front of it.
pub(super) async fn ask(client: &Client, most: usize) -> Result<Answer, Trouble> {
    let mut broken = None;
    // Nothing can always be had; from `breaks` on it is known that nothing can.
    let (mut good, mut breaks) = (0, most + 1);
    let mut data = Value::Array(Vec::new());
    let mut asked = most;
    while asked > good {
        let max = asked.to_string();
        match client
            .list(Queue::Own, "cluster/log", &[("max", &max)])
            .await
        {
            Ok(list) => (data, good) = (list, asked),
            // One entry with a backslash in it, and PVE cannot read what it has written.
            Err(why @ (Trouble::Refused(500, _) | Trouble::TooLong)) => {
                (broken, breaks) = (Some(why), asked);
            }
            Err(why) => return Err(why),
        }
        asked = good + (breaks - good) / 2;
    }
    Ok(Answer {
        data,
        asked: good,
        broken,
    })
}

/// What an answer has brought.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Oldest first.
    pub(super) events: Vec<Event>,
    /// UPIDs of tasks that are spoken of, with their nodes.
    pub(super) upids: Vec<(String, String)>,
    /// There may be more behind the end of the answer.
    pub(super) more: bool,
    /// Entries were lost before they were read.
    pub(super) gap: bool,
    /// Rows that are no entries.
    pub(super) broken: u64,
}

/// Reads the log.
pub(super) struct ClusterLog {
    cluster: String,
    told: HashSet<EventId>,
    /// How many entries the next question is for.
    pub(super) limit: usize,
    origin: Field,
    tag: Field,
    pid: Field,
    severity: Field,
}

impl ClusterLog {
    pub(super) fn new(cluster: &str, position: Option<Position>) -> ClusterLog {
        ClusterLog {
            cluster: cluster.to_owned(),
            told: position.unwrap_or_default().told.into_iter().collect(),
            limit: WHOLE,
            origin: Field::new("pve.origin"),
            tag: Field::new("process.name"),
            pid: Field::new("process.pid"),
            severity: Field::new("log.syslog.severity.code"),
        }
    }

    pub(super) fn position(&self) -> Position {
        let mut told: Vec<EventId> = self.told.iter().copied().collect();
        told.sort_unstable();
        Position { told }
    }

    /// Asks for the whole ring next time: entries that merge in late stand anywhere in it.
    pub(super) fn whole(&mut self) {
        self.limit = WHOLE;
    }

    /// What is new.
    pub(super) fn take(&mut self, answer: &Answer) -> Found {
        let mut found = Found::default();
        let rows = answer.data.as_array().map_or(&[][..], Vec::as_slice);
        let mut listed = HashSet::with_capacity(rows.len());
        let mut known = 0;
        let mut last_known = false;
        let mut entries = Vec::new();
        for row in rows {
            let Some(entry) = Entry::read(row) else {
                found.broken += 1;
                continue;
            };
            let id = entry.id(&self.cluster);
            if !listed.insert(id) {
                continue;
            }
            last_known = self.told.contains(&id);
            if last_known {
                known += 1;
            } else {
                entries.push((id, entry));
            }
        }
        let cut = rows.len() >= answer.asked;
        let whole = answer.asked >= WHOLE || answer.broken.is_some();
        found.more = cut && !whole && !last_known;
        if found.more {
            self.limit = WHOLE;
            return found;
        }
        found.gap = !self.told.is_empty()
            && known == 0
            && answer.broken.is_none()
            && (!rows.is_empty() || whole);
        if found.gap {
            self.told.clear();
        }
        entries.sort_by(|(a_id, a), (b_id, b)| (a.time, a.uid, a_id).cmp(&(b.time, b.uid, b_id)));
        for (id, entry) in entries {
            if let Some((upid, parsed)) = Upid::find(&entry.message) {
                let node = parsed.node.to_owned();
                found.upids.push((node, upid.to_owned()));
            }
            found.events.push(self.event(id, &entry));
            self.told.insert(id);
        }
        if !cut && !rows.is_empty() && answer.broken.is_none() {
            self.told.retain(|id| listed.contains(id));
        } else if self.told.len() > MOST {
            self.told = listed;
        }
        self.limit = FEW;
        found
    }

    fn event(&self, id: EventId, entry: &Entry) -> Event {
        let mut event = Event::new(id, entry.time);
        event.set(self.origin, "api");
        event.set(self.tag, entry.tag.as_str());
        if let Some(pid) = entry.pid {
            event.set(self.pid, pid);
        }
        if let Some(severity) = entry.severity {
            event.set(self.severity, severity);
        }
        event.set_str(fields::HOST_NAME, &entry.node);
        let mut message = match entry.user.as_str() {
            "" => entry.message.clone(),
            user => format!("<{user}> {}", entry.message),
        };
        if message.len() > LONGEST {
            event.set(fields::PVE_TRUNCATED, true);
            event.set(fields::PVE_ORIGINAL_BYTES, message.len() as i64);
            message.truncate(message.floor_char_boundary(LONGEST));
        }
        event.set_str(fields::MESSAGE, &message);
        event
    }
}

struct Entry {
    uid: i64,
    time: Time,
    node: String,
    tag: String,
    pid: Option<i64>,
    severity: Option<i64>,
    user: String,
    message: String,
}

impl Entry {
    fn read(row: &Value) -> Option<Entry> {
        Some(Entry {
            uid: number(row.get("uid")).unwrap_or_default(),
            time: Time::from_secs(number(row.get("time"))?.clamp(0, 1 << 33)),
            node: text(row.get("node"))?,
            tag: text(row.get("tag")).unwrap_or_default(),
            pid: number(row.get("pid")),
            severity: number(row.get("pri")).filter(|n| (0..8).contains(n)),
            user: text(row.get("user")).unwrap_or_default(),
            message: text(row.get("msg"))?,
        })
    }

    /// Numbers begin again when the log daemon of a node is started anew, so a number alone names nothing.
    fn id(&self, cluster: &str) -> EventId {
        EventId::of_parts(&[
            b"pve-audit/1",
            b"api",
            cluster.as_bytes(),
            b"cluster_log",
            self.node.as_bytes(),
            &self.uid.to_le_bytes(),
            &self.time.0.to_le_bytes(),
            &self.pid.unwrap_or(-1).to_le_bytes(),
            self.tag.as_bytes(),
            self.user.as_bytes(),
            self.message.as_bytes(),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn entry(uid: u32, time: u32, message: &str) -> Value {
        json!({"uid": uid, "time": time, "pri": 6, "tag": "pvedaemon", "pid": 7, "node": "pve1",
            "user": "alice@pve!ci", "msg": message, "id": format!("{uid}:pve1")})
    }

    fn answer(data: Value, asked: usize) -> Answer {
        Answer {
            data,
            asked,
            broken: None,
        }
    }

    #[test]
    fn each_entry_is_told_once_also_when_the_numbers_begin_again_or_it_merges_in_late() {
        let mut log = ClusterLog::new("prod", None);
        let first = json!([entry(2, 20, "b"), entry(1, 10, "a")]);
        let found = log.take(&answer(first.clone(), WHOLE));
        assert_eq!(found.events.len(), 2);
        assert_eq!(
            found.events[0].str(fields::MESSAGE),
            Some("<alice@pve!ci> a")
        );
        let mut log = ClusterLog::new("prod", Some(log.position()));
        assert!(log.take(&answer(first, WHOLE)).events.is_empty());
        // The daemon was started anew: 1 comes again. One of another node merges in with an old time.
        let late = json!({"uid": "9", "time": "5", "node": "pve2", "msg": "late"});
        let next = json!([entry(1, 30, "c"), entry(2, 20, "b"), entry(1, 10, "a"), late, {"x": 1}]);
        let found = log.take(&answer(next, WHOLE));
        assert_eq!((found.events.len(), found.broken, found.gap), (2, 1, false));
        assert_eq!(found.events[0].str(fields::MESSAGE), Some("late"));
        // Nothing that was known is left.
        assert!(log.take(&answer(json!([entry(7, 90, "z")]), WHOLE)).gap);
    }

    #[test]
    fn a_short_answer_that_does_not_join_is_asked_again_whole() {
        let mut log = ClusterLog::new("", None);
        log.take(&answer(json!([entry(1, 10, "a")]), WHOLE));
        let many: Value = (0..50).rev().map(|n| entry(10 + n, 20 + n, "x")).collect();
        let found = log.take(&answer(many, 50));
        assert!(found.more && found.events.is_empty());
        assert_eq!(log.limit, WHOLE);
    }
}
