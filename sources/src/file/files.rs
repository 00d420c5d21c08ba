//! All files of one source, as a machine that is stepped: `poll` looks around, `next` says whose turn it is, `read` takes it.
//!
//! - families take turns, one read each; inside a family the older generation is read to its end before the younger
//! - state: one follow per open generation, one position per known one, one note per file that is left alone

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use regex::bytes::Regex;

use super::discover::{self, Globs};
use super::follow::{Fate, Follow, Turn};
use super::identity::{FileId, Hash, LaneKey};
use super::notes::Notes;
use super::page::Page;
use super::position::Position;

/// Folders are looked through this often.
const SCAN: Duration = Duration::from_secs(1);
/// A scan that takes less is made whenever something is told to have changed.
const CHEAP: Duration = Duration::from_millis(5);
/// Most lanes of which is told every second that they are idle; nobody waits for the others until they grow [lanes].
const IDLE: usize = 64;
/// A file that could not be read is tried again after this.
pub(super) const RETRY: Duration = Duration::from_secs(1);

/// What an operator can set.
pub(crate) struct Settings {
    pub(crate) globs: Globs,
    /// The name all files of the source share, instead of their paths without rotation suffix.
    pub(crate) family: Option<String>,
    /// Files that are there at the first start are read from their end.
    pub(crate) from_end: bool,
    /// Files that have not changed for so long are left alone.
    pub(crate) ignore_older: Option<Duration>,
    /// [bytes]
    pub(crate) max_line: usize,
    /// A rotated file is closed after so much silence.
    pub(crate) rotate_wait: Duration,
    /// What begins an event of several lines, and how long its last line waits for more.
    pub(crate) multiline: Option<(Regex, Duration)>,
    pub(crate) max_open: usize,
}

/// A generation with something to read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Ready {
    pub(crate) id: u64,
    pub(crate) lane: LaneKey,
    pub(crate) path: PathBuf,
}

/// Why a file is not opened while it stays as it is.
pub(super) enum Aside {
    /// Read to its end, or not to be read at all.
    Done,
    /// The follow of this id reads the same text.
    Copy(u64),
    /// A gzip file that stops short.
    Unfinished,
}

/// The machine.
pub(crate) struct Files {
    pub(crate) settings: Arc<Settings>,
    pub(crate) notes: Notes,
    pub(super) follows: Vec<Follow>,
    /// Positions of generations that are not being read.
    pub(super) stored: BTreeMap<LaneKey, Position>,
    pub(super) aside: HashMap<FileId, (u64, i64, Aside)>,
    /// Logs whose siblings are to be looked through for generations that were missed.
    pub(super) chains: BTreeSet<PathBuf>,
    /// Folders with a followed log, and when something last came, went or changed its name there.
    pub(super) folders: HashMap<PathBuf, SystemTime>,
    pub(super) forgotten: Vec<LaneKey>,
    pub(super) next_id: u64,
    /// How many more files may be opened in this scan.
    pub(super) spare: usize,
    pub(super) turn: usize,
    pub(super) scratch: Vec<u8>,
    /// Wall clock at the start, ns since 1970.
    pub(super) started: i64,
    pub(super) scanned: Option<Duration>,
    /// What it took to list the files; where that is dear it is not done often.
    pub(super) cost: Duration,
    pub(super) pruned: Duration,
}

impl Files {
    /// `stored` is what earlier runs left; `wall` is now, ns since 1970.
    pub(crate) fn new(settings: Arc<Settings>, stored: Vec<Position>, wall: i64) -> Self {
        let mut aside = HashMap::new();
        for position in &stored {
            for seen in position.files.iter().filter(|seen| seen.done) {
                aside.insert(seen.id, (seen.size, seen.mtime, Aside::Done));
            }
        }
        Self {
            settings,
            notes: Notes::default(),
            follows: Vec::new(),
            stored: stored
                .into_iter()
                .map(|position| (position.lane(), position))
                .collect(),
            aside,
            chains: BTreeSet::new(),
            folders: HashMap::new(),
            forgotten: Vec::new(),
            next_id: 0,
            spare: usize::MAX,
            turn: 0,
            scratch: vec![0; 64 * 1024],
            started: wall,
            scanned: None,
            cost: Duration::ZERO,
            pruned: Duration::ZERO,
        }
    }

    /// Files open now.
    pub(crate) fn open(&self) -> usize {
        self.follows
            .iter()
            .filter(|follow| follow.reader.is_some())
            .count()
    }

    /// Lanes that have nothing to read, of many those that last grew.
    pub(crate) fn idle(&self) -> Vec<&LaneKey> {
        let mut idle: Vec<_> = self
            .follows
            .iter()
            .filter(|follow| !follow.pending)
            .collect();
        if idle.len() > IDLE {
            idle.select_nth_unstable_by_key(IDLE, |follow| std::cmp::Reverse(follow.grown));
            idle.truncate(IDLE);
        }
        idle.into_iter()
            .filter_map(|follow| follow.lane.as_ref())
            .collect()
    }

    /// Lanes that have something to read.
    pub(crate) fn pending(&self) -> BTreeSet<&LaneKey> {
        let pending = self.follows.iter().filter(|follow| follow.pending);
        pending.filter_map(|follow| follow.lane.as_ref()).collect()
    }

    /// What is being read, and the start of the first line that is not made yet.
    pub(crate) fn reading(&self) -> impl Iterator<Item = (&LaneKey, u64)> {
        self.follows
            .iter()
            .filter_map(|follow| Some((follow.lane.as_ref()?, follow.lines.offset())))
    }

    /// Logs that are there to be read, and of how many of them nothing has been read yet.
    pub(crate) fn unheard(&self, now: Duration) -> (usize, usize) {
        let logs = self.follows.chunk_by(|a, b| a.family == b.family);
        let unheard = |log: &[Follow]| {
            log.iter().all(|follow| follow.lane.is_none())
                && log
                    .iter()
                    .any(|follow| follow.pending && follow.retry <= now)
        };
        let unheard = logs.clone().filter(|log| unheard(log)).count();
        (logs.count(), unheard)
    }

    /// Is it anybody's turn?
    pub(crate) fn next_is_ready(&self, now: Duration) -> bool {
        (0..self.follows.len()).any(|at| self.may_go(at, now))
    }

    /// Lanes whose position need not be kept any longer.
    pub(crate) fn take_forgotten(&mut self) -> Vec<LaneKey> {
        std::mem::take(&mut self.forgotten)
    }

    /// Looks around. `now` is a clock that never goes back; `hinted`: something told that folders changed.
    pub(crate) fn poll(&mut self, now: Duration, wall: i64, hinted: bool) {
        for at in 0..self.follows.len() {
            let follow = &mut self.follows[at];
            let fate = follow.fate;
            let looked = follow.look();
            if fate == Fate::Live && follow.fate == Fate::Deleted {
                self.chains.insert(follow.base.clone());
            }
            match looked {
                Ok(true) => {}
                Ok(false) => self.truncated(at, now, wall),
                Err(error) => {
                    discover::cannot_read(now, &mut self.notes, &self.follows[at].path, &error)
                }
            }
        }
        self.order();
        if hinted && self.cost < CHEAP
            || self
                .scanned
                .is_none_or(|at| now >= at + SCAN.max(self.cost * 20))
        {
            self.scan(now, wall);
            self.scanned = Some(now);
        }
        let group_wait = self
            .settings
            .multiline
            .as_ref()
            .map_or(Duration::MAX, |(_, timeout)| *timeout);
        for follow in self.follows.iter_mut().filter(|follow| !follow.pending) {
            let quiet = now.saturating_sub(follow.grown);
            let over = match follow.fate {
                Fate::Live => false,
                Fate::Rotated => quiet >= self.settings.rotate_wait && has_successor(follow),
                Fate::Deleted => quiet >= self.settings.rotate_wait,
                Fate::Lost => true,
            };
            follow.finishing |= over;
            follow.group_is_over = follow.lines.holds_group() && quiet >= group_wait;
            follow.pending = over || follow.group_is_over;
        }
    }

    /// Families stand together, in each the oldest first.
    pub(super) fn order(&mut self) {
        self.follows
            .sort_by(|a, b| (&a.family, &a.rank, a.id).cmp(&(&b.family, &b.rank, b.id)));
    }

    /// Whose turn is it? Families take turns.
    pub(crate) fn next(&mut self, now: Duration) -> Option<Ready> {
        loop {
            let count = self.follows.len();
            let at = (0..count)
                .map(|step| (self.turn + step) % count)
                .find(|at| self.may_go(*at, now))?;
            self.turn = at
                + self.follows[at..]
                    .iter()
                    .take_while(|other| other.family == self.follows[at].family)
                    .count();
            if !self.ensure_open(at, now) {
                continue;
            }
            let follow = &mut self.follows[at];
            if follow.lane.is_none() {
                match follow.first_line(&mut self.scratch) {
                    Ok(Some(first)) => self.name(at, first),
                    Ok(None)
                        if !self.follows[at].pending
                            && (self.follows[at].finishing || self.follows[at].gzip) =>
                    {
                        self.retire(at, 0);
                        continue;
                    }
                    Ok(None) => continue,
                    Err(error) => {
                        self.failed(at, &error, now);
                        continue;
                    }
                }
            }
            let follow = &self.follows[at];
            let lane = follow.lane.clone()?;
            return Some(Ready {
                id: follow.id,
                lane,
                path: follow.path.clone(),
            });
        }
    }

    /// Something to read, and no older generation of its family before it.
    fn may_go(&self, at: usize, now: Duration) -> bool {
        let follow = &self.follows[at];
        let ready = |follow: &Follow| follow.pending && follow.retry <= now;
        ready(follow)
            && !self.follows[..at]
                .iter()
                .rev()
                .take_while(|older| older.family == follow.family)
                .any(ready)
    }

    fn name(&mut self, at: usize, first: Hash) {
        let family = self.follows[at].family.clone();
        let known = self.stored.keys().chain(
            self.follows
                .iter()
                .filter_map(|follow| follow.lane.as_ref()),
        );
        let counter = known
            .filter(|lane| lane.family == family && lane.first == first)
            .map(|lane| lane.counter + 1)
            .max()
            .unwrap_or(0);
        self.follows[at].lane = Some(LaneKey {
            family,
            first,
            counter,
        });
    }

    /// Takes a turn: lines go on the page; a position to store with them comes back if it moved.
    pub(crate) fn read(
        &mut self,
        id: u64,
        page: &mut impl Page,
        now: Duration,
        wall: i64,
    ) -> Option<Position> {
        let at = self.follows.iter().position(|follow| follow.id == id)?;
        match self.follows[at].turn(page, now) {
            Err(error) => {
                self.failed(at, &error, now);
                None
            }
            Ok(Turn::Truncated) => {
                self.truncated(at, now, wall);
                self.order();
                None
            }
            Ok(Turn::Finished) => {
                let follow = &self.follows[at];
                let offset = follow.lines.offset();
                self.notes.counts.bytes += offset - follow.told.unwrap_or(offset).min(offset);
                self.retire(at, wall)
            }
            Ok(Turn::Read | Turn::End) => {
                let follow = &mut self.follows[at];
                let offset = follow.lines.offset();
                if follow.told == Some(offset) {
                    return None;
                }
                self.notes.counts.bytes += offset - follow.told.unwrap_or(offset).min(offset);
                follow.told = Some(offset);
                let position = follow.position(wall, false);
                self.close_some(at);
                position
            }
        }
    }

    fn failed(&mut self, at: usize, error: &io::Error, now: Duration) {
        let follow = &mut self.follows[at];
        if !follow.gzip {
            follow.retry = now + RETRY;
            return discover::cannot_read(now, &mut self.notes, &follow.path, error);
        }
        // Begun anew once the file has changed.
        follow.pending = false;
        follow.reader = None;
        let path = follow.path.clone();
        let offset = follow.lines.scanned();
        if error.kind() == io::ErrorKind::UnexpectedEof {
            self.notes.error(now, "gzip_cut_short", &path, || {
                format!("{} stops short after {offset} bytes of text: it is still being written, or damaged; it is read on once it changes", path.display())
            });
        } else {
            self.notes.counts.checksum_errors += 1;
            self.notes.error(now, "gzip_damaged", &path, || {
                format!("{} is damaged after {offset} bytes of text ({error}); put a whole copy in its place, and it is read on from there", path.display())
            });
        }
    }

    /// Done with: the position stays, the file is let go.
    fn retire(&mut self, at: usize, wall: i64) -> Option<Position> {
        let mut follow = self.follows.remove(at);
        let mut position = follow.position(wall, true);
        match (follow.fate, &mut position) {
            (Fate::Lost, _) => {}
            (Fate::Deleted, position) => {
                self.notes.counts.deleted += 1;
                // Its inode will belong to another file.
                if let Some(position) = position {
                    position.files.retain(|seen| seen.id != follow.file);
                }
            }
            _ => {
                self.notes.counts.unwatched += 1;
                self.aside
                    .insert(follow.file, (follow.size, follow.mtime, Aside::Done));
            }
        }
        if let Some(position) = &position {
            self.stored.insert(position.lane(), position.clone());
            for seen in position.files.iter().filter(|seen| seen.done) {
                self.aside
                    .insert(seen.id, (seen.size, seen.mtime, Aside::Done));
            }
        }
        position
    }
}

/// Is there another file where this one was written?
fn has_successor(follow: &Follow) -> bool {
    follow.gzip
        || std::fs::metadata(&follow.base).is_ok_and(|meta| FileId::of(&meta) != follow.file)
}
