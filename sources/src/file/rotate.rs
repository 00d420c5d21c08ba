//! What happens when a log is rotated: the old generation is read to its end wherever it went, and none in between is missed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::discover::{self, Found};
use super::files::{Aside, Files};
use super::follow::{Fate, Follow};
use super::identity::{FileId, LaneKey, Tail};
use super::notes::SHRUNK;
use super::recognise::Verdict;

impl Files {
    /// Looks through the siblings of a log: takes on those that are known, and of the others those that are younger than
    /// the youngest known.
    /// True if that must be done again, because one of them is empty or still being written.
    pub(super) fn chain(&mut self, base: &Path, now: Duration, wall: i64) -> bool {
        let mut siblings = discover::siblings(base);
        let mut missed = Vec::new();
        let (mut known, mut again) = (false, false);
        while let Some(file) = siblings.pop() {
            if file.path == base
                || self.settings.globs.excludes(&file.path)
                || file.name.compressed.is_some_and(|format| format != "gz")
            {
                continue;
            }
            if self.is_unfinished(&file) {
                again = true;
                continue;
            }
            if let Some(follow) = self
                .follows
                .iter_mut()
                .find(|follow| follow.file == file.id)
            {
                // Where only the log itself is included, its rotated names are seen here alone.
                if follow.fate == Fate::Rotated {
                    follow.path.clone_from(&file.path);
                    follow.rank = file.name.rank.clone();
                }
                // What nothing was read of says nothing about what was read.
                known |= follow.lane.is_some();
                continue;
            }
            if self.is_aside(&file) {
                known = true;
                continue;
            }
            let Some((probe, verdict)) = self.probe(&file, now) else {
                again = true;
                continue;
            };
            match verdict {
                Verdict::NotYet => {
                    again = true;
                    self.take(&file, probe, verdict, false, now, wall);
                }
                Verdict::New if known => self.put_aside(&file, Aside::Done),
                Verdict::New => missed.push((file, probe, verdict)),
                Verdict::Copy(of) => {
                    known |= self
                        .follows
                        .iter()
                        .any(|follow| follow.id == of && follow.lane.is_some());
                    self.take(&file, probe, verdict, false, now, wall);
                }
                Verdict::Resume(..) => {
                    self.take(&file, probe, verdict, false, now, wall);
                    known = true;
                }
            }
        }
        if !known {
            // Where the chain is broken, whatever is younger than what was seen last was missed.
            let since = missed
                .iter()
                .map(|(file, ..)| self.last_seen(file))
                .max()
                .unwrap_or(self.started);
            let old: Vec<_> = missed
                .extract_if(.., |(file, ..)| file.mtime < since)
                .collect();
            for (file, ..) in old {
                self.put_aside(&file, Aside::Done);
            }
        }
        while let Some((file, probe, verdict)) = missed.pop() {
            self.take(&file, probe, verdict, false, now, wall);
        }
        again
    }

    fn last_seen(&self, file: &Found) -> i64 {
        let family = self.family(file);
        self.stored
            .values()
            .filter(|position| position.family == family)
            .map(|position| position.seen)
            .max()
            .unwrap_or(self.started)
    }

    /// The text before the offset is another: what was there goes on in a copy if there is one, and the file begins anew.
    pub(super) fn truncated(&mut self, at: usize, now: Duration, wall: i64) {
        self.notes.counts.truncated += 1;
        let fresh = self.lines(0, Tail::new());
        let follow = &mut self.follows[at];
        let (path, base, offset) = (
            follow.path.clone(),
            follow.base.clone(),
            follow.lines.offset(),
        );
        let position = follow.position(wall, false);
        let (family, rank) = (follow.family.clone(), follow.rank.clone());
        let seen = follow.seen(false);
        let (lines, head) = follow.begin_again(fresh);
        let id = follow.id;
        self.doubt_copies(id);
        let mut copy = None;
        if let Some(mut position) = position {
            position.files.retain(|other| other.id != seen.id);
            let lane = position.lane();
            self.stored.insert(lane.clone(), position.clone());
            copy = self.find_copy(&lane, &base, seen.id, now);
            if let Some(copy) = &copy {
                self.chains.insert(base.clone());
                tracing::debug!(path = %path.display(), copy = %copy.display(), "the text before a truncation goes on in a copy");
            } else if lines.holds() {
                // Nothing can complete the line that was held; what there is of it is told.
                self.stored.remove(&lane);
                let id = self.new_id();
                self.follows.push(Follow {
                    id,
                    path: path.clone(),
                    base: base.clone(),
                    family,
                    rank,
                    file: seen.id,
                    reader: None,
                    gzip: false,
                    lane: Some(lane),
                    lines,
                    head,
                    others: position.files,
                    size: seen.size,
                    mtime: seen.mtime,
                    fate: Fate::Lost,
                    grown: now,
                    pending: true,
                    retry: Duration::ZERO,
                    finishing: true,
                    group_is_over: false,
                    first_at: 0,
                    told: None,
                });
            }
        }
        self.chains.insert(base);
        // With a copy it was a rotation; without one a log got shorter.
        let kind = if copy.is_some() { "truncated" } else { SHRUNK };
        self.notes.news(now, kind, &path, || {
            let rest = match &copy {
                Some(copy) => format!("the rest of the old text is read from {}", copy.display()),
                None => "no copy of the old text was found, so what was written after it is lost".to_owned(),
            };
            format!(
                "{} was truncated or rewritten after byte {offset}; it is read from its beginning, {rest}; what was written between copy and \
                 truncation cannot be recovered: prefer logrotate's `create` to `copytruncate`",
                path.display()
            )
        });
    }

    /// Takes on the sibling that holds what a truncated file held, whether `include` names it or not.
    fn find_copy(
        &mut self,
        lane: &LaneKey,
        base: &Path,
        not: FileId,
        now: Duration,
    ) -> Option<PathBuf> {
        let mut siblings = discover::siblings(base);
        while let Some(file) = siblings.pop() {
            if file.id == not || self.follows.iter().any(|follow| follow.file == file.id) {
                continue;
            }
            if let Some((probe, Verdict::Resume(position, tail))) = self
                .probe(&file, now)
                .filter(|(_, verdict)| verdict.resumes(lane))
            {
                self.resume(&file, probe, *position, *tail, now);
                return Some(file.path);
            }
        }
        None
    }
}
