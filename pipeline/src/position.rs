//! Positions: how far each lane of a source has been answered, and the file that remembers it.
//!
//! Only the contiguous prefix counts: a position is stored when everything before it has come to a good end. The file
//! is written aside, synced, and renamed, so a crash leaves the old one or the new one.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::value::RawValue;
use tokio::sync::Notify;

use crate::ack::{Ack, Creditor, Verdict};
use crate::mark::LaneId;

/// Where a source stands, and what it is owed answers for.
pub(crate) struct Tracker {
    state: Mutex<State>,
    /// Told when an answer came that changed something.
    pub(crate) changed: Notify,
}

#[derive(Default)]
struct State {
    lanes: Vec<Lane>,
    by_id: HashMap<LaneId, usize>,
    open: usize,
    failed: bool,
    dirty: bool,
    stored: BTreeMap<String, Box<RawValue>>,
}

struct Lane {
    key: Arc<str>,
    /// Number of the entry at the front.
    front: u64,
    entries: VecDeque<Entry>,
}

struct Entry {
    position: Option<Box<RawValue>>,
    answer: Option<Verdict>,
}

/// The lane's number stands above these bits of a ticket, the number of the entry in its lane below.
const ENTRY_BITS: u32 = 40;

impl Tracker {
    pub(crate) fn new(stored: BTreeMap<String, Box<RawValue>>) -> Arc<Tracker> {
        Arc::new(Tracker {
            state: Mutex::new(State {
                stored,
                ..State::default()
            }),
            changed: Notify::new(),
        })
    }

    /// The tracker of the next start: it stands where this one has come to, and what is not written yet still has to be.
    pub(crate) fn successor(&self) -> Arc<Tracker> {
        let mut state = self.state.lock();
        let dirty = std::mem::take(&mut state.dirty);
        let next = Tracker::new(state.stored.clone());
        next.state.lock().dirty = dirty;
        next
    }

    /// An answer owed for what lies before `position`.
    pub(crate) fn owe(self: &Arc<Self>, lane: LaneId, position: Option<Box<RawValue>>) -> Ack {
        let mut state = self.state.lock();
        let place = match state.by_id.get(&lane) {
            Some(place) => *place,
            None => {
                let place = state.lanes.len();
                state.lanes.push(Lane {
                    key: lane.key(),
                    front: 0,
                    entries: VecDeque::new(),
                });
                state.by_id.insert(lane, place);
                place
            }
        };
        state.open += 1;
        let lane = &mut state.lanes[place];
        let number = lane.front + lane.entries.len() as u64;
        lane.entries.push_back(Entry {
            position,
            answer: None,
        });
        drop(state);
        Ack::new(
            Arc::clone(self) as Arc<dyn Creditor>,
            (place as u64) << ENTRY_BITS | number,
        )
    }

    /// Answers that are still owed.
    pub(crate) fn open(&self) -> usize {
        self.state.lock().open
    }

    /// Whether an answer was "failed": the source has to start again from what is stored.
    pub(crate) fn has_failed(&self) -> bool {
        self.state.lock().failed
    }

    /// The stored position of every lane, as JSON.
    pub(crate) fn stored(&self) -> BTreeMap<String, Box<RawValue>> {
        self.state.lock().stored.clone()
    }

    /// The stored position of one lane.
    pub(crate) fn position(&self, key: &str) -> Option<Box<RawValue>> {
        self.state.lock().stored.get(key).cloned()
    }

    /// Forgets a lane that will not come back.
    pub(crate) fn forget(&self, key: &str) {
        let mut state = self.state.lock();
        if state.stored.remove(key).is_some() {
            state.dirty = true;
        }
    }

    /// What has to be written, if anything changed since the last time.
    pub(crate) fn take_changes(&self) -> Option<BTreeMap<String, Box<RawValue>>> {
        let mut state = self.state.lock();
        std::mem::take(&mut state.dirty).then(|| state.stored.clone())
    }

    /// The changes could not be written: they still have to be.
    pub(crate) fn put_back(&self) {
        self.state.lock().dirty = true;
    }

    /// Waits until nothing is owed any more (true), or until an answer was "failed" (false).
    pub(crate) async fn settled(&self) -> bool {
        loop {
            let changed = self.changed.notified();
            if self.has_failed() {
                return false;
            }
            if self.open() == 0 {
                return true;
            }
            changed.await;
        }
    }
}

impl Creditor for Tracker {
    fn failing(&self) {
        self.state.lock().failed = true;
        self.changed.notify_waiters();
    }

    fn is_spoilt(&self) -> bool {
        self.has_failed()
    }

    fn answered(&self, ticket: u64, verdict: Verdict) {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        state.open -= 1;
        let lane = &mut state.lanes[(ticket >> ENTRY_BITS) as usize];
        let place = (ticket & ((1 << ENTRY_BITS) - 1)) - lane.front;
        lane.entries[place as usize].answer = Some(verdict);
        state.failed |= verdict == Verdict::Failed;
        let mut reached = None;
        while lane
            .entries
            .front()
            .is_some_and(|entry| entry.answer == Some(Verdict::Delivered))
        {
            let entry = lane.entries.pop_front().expect("a front was seen");
            lane.front += 1;
            reached = entry.position.or(reached);
        }
        if let Some(position) = reached {
            state.stored.insert(lane.key.to_string(), position);
            state.dirty = true;
        }
        let tell = state.open == 0 || state.failed;
        drop(guard);
        if tell {
            self.changed.notify_waiters();
        }
    }
}

/// The file in which the positions of one source are kept.
pub(crate) struct PositionFile {
    path: PathBuf,
}

const HEAD: &str = "pvetrail-positions 1";

/// What went wrong with a position file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PositionError {
    #[error("cannot {doing} {path}: {source}; check the folder's owner and free space")]
    Io {
        doing: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },
    #[error(
        "{path} is damaged ({what}); it is kept as {aside}, and the source reads from the beginning (known ids make that harmless)"
    )]
    Damaged {
        path: PathBuf,
        what: String,
        aside: PathBuf,
    },
}

impl PositionFile {
    pub(crate) fn new(data_dir: &Path, source: &str) -> PositionFile {
        PositionFile {
            path: data_dir.join("positions").join(format!("{source}.json")),
        }
    }

    /// Reads the file. A damaged one is put aside, told of, and counts as empty.
    pub(crate) fn read(&self) -> (BTreeMap<String, Box<RawValue>>, Option<PositionError>) {
        let text = match std::fs::read(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Default::default();
            }
            Err(source) => {
                let error = PositionError::Io {
                    doing: "read",
                    path: self.path.clone(),
                    source,
                };
                return (BTreeMap::new(), Some(error));
            }
        };
        match parse(&text) {
            Ok(positions) => (positions, None),
            Err(what) => {
                let aside = self.path.with_extension("json.damaged");
                let path = self.path.clone();
                let error = match std::fs::rename(&self.path, &aside) {
                    Ok(()) => PositionError::Damaged { path, what, aside },
                    Err(source) => PositionError::Io {
                        doing: "put aside the damaged",
                        path,
                        source,
                    },
                };
                (BTreeMap::new(), Some(error))
            }
        }
    }

    /// Writes the file: aside, synced, renamed, folder synced.
    pub(crate) fn write(
        &self,
        positions: &BTreeMap<String, Box<RawValue>>,
    ) -> Result<(), PositionError> {
        let body = serde_json::to_string(positions).expect("raw JSON values are valid JSON");
        let text = format!("{HEAD} {:08x}\n{body}\n", crc32fast::hash(body.as_bytes()));
        write_durably(&self.path, text.as_bytes()).map_err(|source| PositionError::Io {
            doing: "write",
            path: self.path.clone(),
            source,
        })
    }
}

fn parse(text: &[u8]) -> Result<BTreeMap<String, Box<RawValue>>, String> {
    let text = std::str::from_utf8(text).map_err(|_| "it is not text".to_owned())?;
    let (head, body) = text.split_once('\n').ok_or("it has no first line")?;
    let sum = head
        .strip_prefix(HEAD)
        .ok_or_else(|| format!("it does not begin with {HEAD:?}"))?;
    let body = body.trim_end();
    let sum =
        u32::from_str_radix(sum.trim(), 16).map_err(|_| "its checksum is unreadable".to_owned())?;
    if sum != crc32fast::hash(body.as_bytes()) {
        return Err("its checksum does not fit".to_owned());
    }
    serde_json::from_str(body).map_err(|error| error.to_string())
}

/// Puts `bytes` at `path` so that a crash leaves either what was there or all of this; mode 0600.
pub fn write_durably(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let aside = path.with_extension("new");
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&aside)?;
    file.write_all(bytes)?;
    file.sync_data()?;
    std::fs::rename(&aside, path)?;
    std::fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(n: u64) -> Option<Box<RawValue>> {
        Some(serde_json::value::to_raw_value(&n).unwrap())
    }

    fn stored(tracker: &Tracker, key: &str) -> Option<String> {
        tracker.position(key).map(|raw| raw.get().to_owned())
    }

    #[test]
    fn only_the_contiguous_prefix_is_stored() {
        let tracker = Tracker::new(BTreeMap::new());
        let lane = LaneId::new("prefix", "a");
        let [one, two, three] = [1, 2, 3].map(|n| tracker.owe(lane, position(n)));
        three.delivered();
        assert_eq!(stored(&tracker, "a"), None);
        one.delivered();
        assert_eq!(stored(&tracker, "a").as_deref(), Some("1"));
        two.delivered();
        assert_eq!(stored(&tracker, "a").as_deref(), Some("3"));
        assert_eq!(tracker.open(), 0);
    }

    #[test]
    fn what_was_answered_before_a_failure_is_still_written_after_it() {
        let tracker = Tracker::new(BTreeMap::new());
        let lane = LaneId::new("successor", "a");
        tracker.owe(lane, position(1)).delivered();
        tracker.owe(lane, position(2)).failed();
        let next = tracker.successor();
        assert_eq!(stored(&next, "a").as_deref(), Some("1"));
        assert_eq!(next.take_changes().unwrap()["a"].get(), "1");
        assert!(next.take_changes().is_none() && !next.has_failed());
    }

    #[test]
    fn a_failure_holds_its_lane_where_it_stands() {
        let tracker = Tracker::new(BTreeMap::new());
        let (bad, good) = (LaneId::new("hold", "bad"), LaneId::new("hold", "good"));
        let failing = tracker.owe(bad, position(1));
        let after = tracker.owe(bad, position(2));
        tracker.owe(good, position(7)).delivered();
        failing.failed();
        after.delivered();
        assert!(tracker.has_failed());
        assert_eq!(stored(&tracker, "bad"), None);
        assert_eq!(stored(&tracker, "good").as_deref(), Some("7"));
    }

    #[test]
    fn a_damaged_file_is_put_aside_and_told_of() {
        let folder = tempfile::tempdir().unwrap();
        let file = PositionFile::new(folder.path(), "access");
        assert!(file.read().0.is_empty());
        let positions = BTreeMap::from([("a".to_owned(), position(5).unwrap())]);
        file.write(&positions).unwrap();
        assert_eq!(file.read().0["a"].get(), "5");
        let path = folder.path().join("positions/access.json");
        let text = std::fs::read_to_string(&path).unwrap().replace(":5", ":6");
        std::fs::write(&path, text).unwrap();
        let (read, error) = file.read();
        assert!(read.is_empty());
        assert!(error.unwrap().to_string().contains("checksum does not fit"));
        assert!(path.with_extension("json.damaged").exists());
        assert!(!path.exists());
    }
}
