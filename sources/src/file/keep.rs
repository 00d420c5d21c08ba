//! What is let go: open files beyond the limit, and positions of what is long gone.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::discover;
use super::files::{Files, RETRY};
use super::follow::{Fate, Follow};
use super::identity::{FileId, LaneKey};
use super::position::Position;
use super::reader::{self, Reader};

/// A position is kept so long after its last file is gone [ns].
const KEEP: i64 = 24 * 3600 * 1_000_000_000;
/// Of a family that still lives so many positions are kept whatever their age: they hold the counters of generations.
const KEEP_PER_FAMILY: usize = 64;
/// Of a family that is gone altogether the last position is kept so long [ns], and of so many families.
const MEMORY: i64 = 30 * KEEP;
const MEMORIALS: usize = 1000;

impl Files {
    /// Opens a file that was closed to keep within the limit.
    pub(super) fn ensure_open(&mut self, at: usize, now: Duration) -> bool {
        let follow = &mut self.follows[at];
        if follow.reader.is_some() || matches!(follow.fate, Fate::Lost) {
            return true;
        }
        let opened = reader::open(&follow.path).and_then(|(file, meta)| {
            if FileId::of(&meta) == follow.file {
                Reader::new(file).map(Some)
            } else {
                Ok(None)
            }
        });
        match opened {
            Ok(Some(reader)) => {
                follow.reader = Some(reader);
                self.close_some(at);
                true
            }
            // The next scan tells where it went.
            Ok(None) => {
                follow.pending = false;
                false
            }
            Err(error) => {
                follow.retry = now + RETRY;
                discover::cannot_read(now, &mut self.notes, &follow.path, &error);
                false
            }
        }
    }

    pub(super) fn new_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// Keeps within the limit of open files: the one that was quiet longest is closed, never the one at `keep`.
    pub(super) fn close_some(&mut self, keep: usize) {
        let mut over = self.open().saturating_sub(self.settings.max_open.max(1));
        while over > 0 {
            let quietest = (0..self.follows.len())
                .filter(|at| {
                    *at != keep
                        && self.follows[*at].reader.is_some()
                        && self.follows[*at].fate != Fate::Deleted
                })
                .min_by_key(|at| {
                    let follow = &self.follows[*at];
                    (follow.pending, follow.lines.holds(), follow.grown)
                });
            let Some(quietest) = quietest else { return };
            self.follows[quietest].reader = None;
            over -= 1;
        }
    }

    /// Files that went while they were closed.
    pub(super) fn gone_while_closed(&mut self) -> Vec<Follow> {
        let gone = |follow: &mut Follow| follow.fate == Fate::Deleted && follow.reader.is_none();
        let mut all: Vec<Follow> = self.follows.extract_if(.., gone).collect();
        for follow in &mut all {
            self.notes.counts.deleted += 1;
            // Its inode will belong to another file.
            follow.file = FileId { dev: 0, ino: 0 };
        }
        all
    }

    /// What became of a file that went while it was closed, now that all others were looked at.
    pub(super) fn was_gone(&mut self, mut follow: Follow, now: Duration) {
        let free = follow
            .lane
            .as_ref()
            .is_none_or(|lane| self.stored.contains_key(lane));
        if !free {
            return;
        }
        if follow.fate == Fate::Deleted && follow.size > follow.lines.scanned() && !follow.gzip {
            let (path, most) = (&follow.path, self.settings.max_open);
            self.notes.error(now, "gone_while_closed", path, || {
                format!("{} was deleted while it was closed to stay within {most} open files, its end unread; raise `max_open_files`", path.display())
            });
        }
        if let Some(lane) = follow.lane.as_ref().filter(|_| follow.lines.holds()) {
            // Nothing can complete what was held; what there is of it is told.
            self.stored.remove(lane);
            follow.fate = Fate::Lost;
            follow.finishing = true;
            follow.pending = true;
            self.follows.push(follow);
        }
    }

    pub(super) fn prune(&mut self, live: &HashSet<FileId>, wall: i64) {
        let here: HashSet<&str> = self
            .follows
            .iter()
            .map(|follow| follow.family.as_str())
            .collect();
        let age = |position: &Position| wall.saturating_sub(position.seen);
        let mut gone: Vec<&Position> = self
            .stored
            .values()
            .filter(|position| {
                age(position) > KEEP && !position.files.iter().any(|seen| live.contains(&seen.id))
            })
            .collect();
        gone.sort_by_key(|position| std::cmp::Reverse(position.seen));
        // The counter of a generation must not come again as long as anybody may remember its lane.
        let (mut kept, mut memorials): (HashMap<&str, usize>, usize) = Default::default();
        gone.retain(|position| {
            let kept = kept.entry(&position.family).or_default();
            *kept += 1;
            if here.contains(position.family.as_str()) {
                return *kept > KEEP_PER_FAMILY;
            }
            memorials += usize::from(*kept == 1);
            *kept > 1 || memorials > MEMORIALS || age(position) > MEMORY
        });
        let gone: Vec<LaneKey> = gone.iter().map(|position| position.lane()).collect();
        for lane in &gone {
            self.stored.remove(lane);
        }
        self.forgotten.extend(gone);
    }
}
