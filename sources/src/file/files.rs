//! All files of one source, as a machine that is stepped: `poll` looks around, `next` says whose turn it is, `read` takes it.
//!
//! - families take turns, one read each; inside a family the older generation is read to its end before the younger
//! - state: one follow per open generation, one position per known one, one note per file that is left alone

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use regex::bytes::Regex;

use super::discover::{self, Found, Globs};
use super::family::Rank;
use super::follow::{Fate, Follow, Turn};
use super::identity::{FileId, Hash, Head, LaneKey, Tail};
use super::lines::Lines;
use super::multiline::Group;
use super::notes::Notes;
use super::page::Page;
use super::position::Position;
use super::reader::{self, Reader};
use super::recognise::{Probe, Verdict};

/// Folders are looked through this often.
const SCAN: Duration = Duration::from_secs(1);
/// A file that could not be read is tried again after this.
const RETRY: Duration = Duration::from_secs(1);
/// Old positions are looked through this often.
const PRUNE: Duration = Duration::from_secs(60);
/// A position is kept so long after its last file is gone [ns].
const KEEP: i64 = 24 * 3600 * 1_000_000_000;
/// Of a family that still lives so many positions are kept whatever their age: they hold the counters of generations.
const KEEP_PER_FAMILY: usize = 64;

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
enum Aside {
    /// Read to its end, or not to be read at all.
    Done,
    /// The follow of this id reads the same text.
    Copy(u64),
    /// A gzip file that stops short.
    Unfinished,
}

/// The machine.
pub(crate) struct Files {
    pub(crate) settings: Settings,
    pub(crate) notes: Notes,
    pub(super) follows: Vec<Follow>,
    /// Positions of generations that are not being read.
    pub(super) stored: BTreeMap<LaneKey, Position>,
    aside: HashMap<FileId, (u64, i64, Aside)>,
    /// Logs whose siblings are to be looked through for generations that were missed.
    pub(super) chains: BTreeSet<PathBuf>,
    forgotten: Vec<LaneKey>,
    next_id: u64,
    turn: usize,
    scratch: Vec<u8>,
    /// Wall clock at the start, ns since 1970.
    pub(super) started: i64,
    scanned: Option<Duration>,
    pruned: Duration,
}

impl Files {
    /// `stored` is what earlier runs left; `wall` is now, ns since 1970.
    pub(crate) fn new(settings: Settings, stored: Vec<Position>, wall: i64) -> Self {
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
            forgotten: Vec::new(),
            next_id: 0,
            turn: 0,
            scratch: vec![0; 64 * 1024],
            started: wall,
            scanned: None,
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

    /// Lanes that have nothing to read.
    pub(crate) fn idle(&self) -> impl Iterator<Item = &LaneKey> {
        self.follows
            .iter()
            .filter(|follow| !follow.pending)
            .filter_map(|follow| follow.lane.as_ref())
    }

    /// Lanes whose position need not be kept any longer.
    pub(crate) fn take_forgotten(&mut self) -> Vec<LaneKey> {
        std::mem::take(&mut self.forgotten)
    }

    /// Looks around. `now` is a clock that never goes back; `hinted`: something told that folders changed.
    pub(crate) fn poll(&mut self, now: Duration, wall: i64, hinted: bool) {
        for at in 0..self.follows.len() {
            match self.follows[at].look() {
                Ok(true) => {}
                Ok(false) => self.truncated(at, now, wall),
                Err(error) => {
                    discover::cannot_read(now, &mut self.notes, &self.follows[at].path, &error)
                }
            }
        }
        self.order();
        if hinted || self.scanned.is_none_or(|at| now >= at + SCAN) {
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

    fn scan(&mut self, now: Duration, wall: i64) {
        let first = self.scanned.is_none();
        let found = self.settings.globs.list(now, &mut self.notes);
        let mut by_id: HashMap<FileId, Vec<usize>> = HashMap::new();
        for (at, file) in found.iter().enumerate() {
            by_id.entry(file.id).or_default().push(at);
        }
        for follow in self
            .follows
            .iter_mut()
            .filter(|follow| !matches!(follow.fate, Fate::Deleted | Fate::Lost))
        {
            let names = by_id
                .get(&follow.file)
                .map(Vec::as_slice)
                .unwrap_or_default();
            let name = names
                .iter()
                .find(|at| follow.is_at(&found[**at].path))
                .or(names.first());
            let fate = match name {
                Some(at) => {
                    let file = &found[*at];
                    follow.path.clone_from(&file.path);
                    if file.name.base == follow.base && !file.name.is_rotated() {
                        Fate::Live
                    } else {
                        follow.rank = file.name.rank.clone();
                        Fate::Rotated
                    }
                }
                None if follow.reader.is_some() => Fate::Rotated,
                None => Fate::Deleted,
            };
            if fate != Fate::Live && follow.fate == Fate::Live {
                if follow.rank.is_current() {
                    follow.rank = Rank::Numbered(0);
                }
                self.chains.insert(follow.base.clone());
            }
            follow.fate = fate;
        }
        let mut fresh: Vec<&Found> = by_id
            .iter()
            .filter(|(id, _)| !self.follows.iter().any(|follow| follow.file == **id))
            .map(|(_, names)| &found[names[0]])
            .filter(|file| !self.is_aside(file))
            .collect();
        fresh.sort_by(|a, b| {
            (&a.name.base, &a.name.rank, a.mtime).cmp(&(&b.name.base, &b.name.rank, b.mtime))
        });
        // What is known by its inode first, so that nothing else takes its place.
        let (known, unknown): (Vec<_>, Vec<_>) = fresh
            .into_iter()
            .partition(|file| self.stored.values().any(|p| p.holds(file.id)));
        for file in known.into_iter().chain(unknown) {
            self.adopt(file, first, now, wall);
        }
        if first {
            let bases: Vec<_> = found
                .iter()
                .filter(|file| self.has_history(&self.family(file)))
                .map(|file| file.name.base.clone())
                .collect();
            self.chains.extend(bases);
        }
        for base in std::mem::take(&mut self.chains) {
            if self.chain(&base, now, wall) {
                self.chains.insert(base);
            }
        }
        self.order();
        let live: HashSet<FileId> = by_id.into_keys().collect();
        self.aside.retain(|id, _| {
            live.contains(id) || self.stored.values().any(|position| position.holds(*id))
        });
        if now >= self.pruned + PRUNE {
            self.pruned = now;
            self.prune(&live, wall);
        }
    }

    pub(super) fn is_aside(&self, file: &Found) -> bool {
        match self.aside.get(&file.id) {
            Some((size, mtime, why)) if (*size, *mtime) == (file.size, file.mtime) => match why {
                Aside::Done | Aside::Unfinished => true,
                Aside::Copy(of) => self.follows.iter().any(|follow| follow.id == *of),
            },
            _ => false,
        }
    }

    pub(super) fn is_unfinished(&self, file: &Found) -> bool {
        self.is_aside(file) && matches!(self.aside.get(&file.id), Some((.., Aside::Unfinished)))
    }

    /// What was taken for a copy of what this follow reads is looked at again.
    pub(super) fn doubt_copies(&mut self, of: u64) {
        self.aside
            .retain(|_, (.., why)| !matches!(why, Aside::Copy(id) if *id == of));
    }

    pub(super) fn family(&self, file: &Found) -> String {
        self.settings
            .family
            .clone()
            .unwrap_or_else(|| file.name.base.to_string_lossy().into_owned())
    }

    fn has_history(&self, family: &str) -> bool {
        self.stored.keys().any(|lane| lane.family == family)
    }

    /// Opens a file and finds out what it is; None if that cannot be done now.
    pub(super) fn probe(&mut self, file: &Found, now: Duration) -> Option<(Probe, Verdict)> {
        let family = self.family(file);
        let opened = Probe::open(file).and_then(|probe| {
            let Some(mut probe) = probe else {
                return Ok(None);
            };
            let free = self
                .stored
                .values()
                .filter(|position| position.family == family || position.holds(file.id));
            let follows = self
                .follows
                .iter_mut()
                .filter(|follow| follow.family == family);
            let verdict = probe.recognise(file, free, follows)?;
            Ok(Some((probe, verdict)))
        });
        opened.unwrap_or_else(|error| {
            discover::cannot_read(now, &mut self.notes, &file.path, &error);
            None
        })
    }

    fn adopt(&mut self, file: &Found, first: bool, now: Duration, wall: i64) {
        if let Some(format) = file.name.compressed.filter(|format| *format != "gz") {
            self.notes.error(now, "unknown_compression", &file.path, || {
                format!("{} is compressed with {format}, and only gzip is read; exclude it or decompress it", file.path.display())
            });
            return self.put_aside(file, Aside::Done);
        }
        let Some((probe, verdict)) = self.probe(file, now) else {
            return;
        };
        if !matches!(verdict, Verdict::Resume(..) | Verdict::NotYet) {
            self.tell_if_rewritten(file, &probe, now);
        }
        self.take(file, probe, verdict, first, now, wall);
    }

    /// Does with a file what the verdict says.
    pub(super) fn take(
        &mut self,
        file: &Found,
        probe: Probe,
        verdict: Verdict,
        first: bool,
        now: Duration,
        wall: i64,
    ) {
        match verdict {
            Verdict::NotYet if probe.gzip => {
                self.notes.error(now, "gzip_cut_short", &file.path, || {
                    format!("{} stops short: it is still being written, or damaged; it is read once it changes", file.path.display())
                });
                self.put_aside(file, Aside::Unfinished);
            }
            Verdict::NotYet => {}
            Verdict::Copy(of) => self.put_aside(file, Aside::Copy(of)),
            Verdict::Resume(position, tail) => self.resume(file, probe, *position, *tail, now),
            Verdict::New => {
                let old = self.settings.ignore_older.is_some_and(|age| {
                    i128::from(file.mtime) + age.as_nanos() as i128 <= i128::from(wall)
                });
                if old || first && self.settings.from_end && probe.gzip {
                    self.notes.counts.unwatched += 1;
                    return self.put_aside(file, Aside::Done);
                }
                let mut follow = self.follow(file, probe, now);
                if first && self.settings.from_end {
                    self.go_to_end(&mut follow, now);
                }
                self.notes.counts.added += 1;
                self.follows.push(follow);
            }
        }
    }

    /// A known file whose text is another now: truncated, or its inode belongs to a new file.
    fn tell_if_rewritten(&mut self, file: &Found, probe: &Probe, now: Duration) {
        let Some(position) = self
            .stored
            .values()
            .find(|position| position.holds(file.id) && position.offset > 0)
        else {
            return;
        };
        self.chains.insert(file.name.base.clone());
        if probe.gzip || position.path != file.path {
            return;
        }
        self.notes.counts.truncated += 1;
        let offset = position.offset;
        self.notes.news(now, "truncated", &file.path, || {
            format!(
                "{} was truncated or rewritten while nothing read it: its text up to byte {offset} is another; it is read from its \
                 beginning, a rotated copy is looked for; prefer logrotate's `create` to `copytruncate`",
                file.path.display()
            )
        });
    }

    fn put_aside(&mut self, file: &Found, why: Aside) {
        self.aside.insert(file.id, (file.size, file.mtime, why));
    }

    pub(super) fn lines(&self, offset: u64, before: Tail) -> Lines {
        let group = self
            .settings
            .multiline
            .as_ref()
            .map(|(start, _)| Group::new(start.clone()));
        Lines::new(self.settings.max_line, group, offset, before)
    }

    fn follow(&mut self, file: &Found, probe: Probe, now: Duration) -> Follow {
        let id = self.new_id();
        self.aside.remove(&file.id);
        Follow {
            id,
            path: file.path.clone(),
            base: file.name.base.clone(),
            family: self.family(file),
            rank: file.name.rank.clone(),
            file: file.id,
            gzip: probe.gzip,
            reader: Some(probe.reader),
            lane: None,
            lines: self.lines(0, Tail::new()),
            head: Head::default(),
            others: Vec::new(),
            size: file.size,
            mtime: file.mtime,
            fate: if file.name.is_rotated() {
                Fate::Rotated
            } else {
                Fate::Live
            },
            grown: now,
            pending: true,
            retry: Duration::ZERO,
            finishing: false,
            group_is_over: false,
            first_at: 0,
            told: Some(0),
        }
    }

    pub(super) fn resume(
        &mut self,
        file: &Found,
        probe: Probe,
        position: Position,
        tail: Tail,
        now: Duration,
    ) {
        let lines = self.lines(position.offset, tail);
        let before = probe
            .head
            .len()
            .min(usize::try_from(position.offset).unwrap_or(usize::MAX));
        let head = Head::known(position.head, &probe.head[..before]);
        let lane = position.lane();
        self.stored.remove(&lane);
        let mut follow = self.follow(file, probe, now);
        follow.family.clone_from(&lane.family);
        follow.lane = Some(lane);
        follow.lines = lines;
        follow.head = head;
        follow.told = Some(position.offset);
        follow.others = position.files;
        self.notes.counts.resumed += 1;
        self.follows.push(follow);
    }

    /// Goes on from the last line that is whole, if there is one.
    fn go_to_end(&mut self, follow: &mut Follow, now: Duration) {
        let found = follow.reader.as_mut().map_or(Ok(None), |reader| {
            end_of_last_line(reader, follow.size, self.settings.max_line as u64)
        });
        match found {
            Ok(Some((offset, head, tail))) => {
                follow.head.feed(0, &head);
                follow.told = None;
                follow.lines = self.lines(offset, tail);
            }
            Ok(None) => {}
            Err(error) => discover::cannot_read(now, &mut self.notes, &follow.path, &error),
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
            Ok(Turn::Finished) => self.retire(at, wall),
            Ok(Turn::Read | Turn::End) => {
                let follow = &mut self.follows[at];
                let offset = follow.lines.offset();
                if follow.told == Some(offset) {
                    return None;
                }
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
        let position = follow.position(wall, true);
        if let Some(position) = &position {
            self.stored.insert(position.lane(), position.clone());
            for seen in position.files.iter().filter(|seen| seen.done) {
                self.aside
                    .insert(seen.id, (seen.size, seen.mtime, Aside::Done));
            }
        }
        match follow.fate {
            Fate::Deleted => self.notes.counts.deleted += 1,
            Fate::Lost => return position,
            _ => self.notes.counts.unwatched += 1,
        }
        self.aside
            .insert(follow.file, (follow.size, follow.mtime, Aside::Done));
        position
    }

    /// Opens a file that was closed to keep within the limit.
    fn ensure_open(&mut self, at: usize, now: Duration) -> bool {
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
            Ok(None) => {
                follow.pending = follow.finishing;
                follow.fate = if follow.finishing {
                    Fate::Lost
                } else {
                    follow.fate
                };
                follow.finishing
            }
            Err(error) if follow.finishing && error.kind() == io::ErrorKind::NotFound => {
                follow.fate = Fate::Lost;
                if follow.size > follow.lines.scanned() {
                    let (path, most) = (follow.path.clone(), self.settings.max_open);
                    self.notes.error(now, "gone_while_closed", &path, || {
                        format!("{} was deleted while it was closed to stay within {most} open files, its end unread; raise `max_open_files`", path.display())
                    });
                }
                true
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
    fn close_some(&mut self, keep: usize) {
        let mut over = self.open().saturating_sub(self.settings.max_open.max(1));
        while over > 0 {
            let quietest = (0..self.follows.len())
                .filter(|at| {
                    *at != keep
                        && self.follows[*at].reader.is_some()
                        && self.follows[*at].fate != Fate::Deleted
                })
                .min_by_key(|at| (self.follows[*at].pending, self.follows[*at].grown));
            let Some(quietest) = quietest else { return };
            self.follows[quietest].reader = None;
            over -= 1;
        }
    }

    fn prune(&mut self, live: &HashSet<FileId>, wall: i64) {
        let here: HashSet<&str> = self
            .follows
            .iter()
            .map(|follow| follow.family.as_str())
            .collect();
        let mut gone: Vec<&Position> = self
            .stored
            .values()
            .filter(|position| {
                wall.saturating_sub(position.seen) > KEEP
                    && !position.files.iter().any(|seen| live.contains(&seen.id))
            })
            .collect();
        gone.sort_by_key(|position| (position.family.clone(), std::cmp::Reverse(position.seen)));
        let mut kept: HashMap<&str, usize> = HashMap::new();
        gone.retain(|position| {
            let kept = kept.entry(&position.family).or_default();
            *kept += 1;
            !here.contains(position.family.as_str()) || *kept > KEEP_PER_FAMILY
        });
        let gone: Vec<LaneKey> = gone.iter().map(|position| position.lane()).collect();
        for lane in &gone {
            self.stored.remove(lane);
        }
        self.forgotten.extend(gone);
    }
}

/// Is there another file where this one was written?
fn has_successor(follow: &Follow) -> bool {
    follow.gzip
        || std::fs::metadata(&follow.base).is_ok_and(|meta| FileId::of(&meta) != follow.file)
}

/// The offset after the last whole line, the first bytes and the bytes before that offset. None if no line is whole.
fn end_of_last_line(
    reader: &mut Reader,
    size: u64,
    max_line: u64,
) -> io::Result<Option<(u64, Vec<u8>, Tail)>> {
    let mut buffer = vec![0; 64 * 1024];
    let mut end = size;
    let offset = loop {
        let from = end.saturating_sub(buffer.len() as u64);
        let n = reader.read_full(from, &mut buffer[..(end - from) as usize])?;
        if let Some(at) = memchr::memrchr(b'\n', &buffer[..n]) {
            break from + at as u64 + 1;
        }
        if from == 0 {
            return Ok(None);
        }
        if size - from > max_line {
            break size;
        }
        end = from;
    };
    let mut head = vec![0; super::identity::HEAD.min(offset as usize)];
    let n = reader.read_full(0, &mut head)?;
    head.truncate(n);
    let before = offset.min(super::identity::ANCHOR as u64);
    let n = reader.read_full(offset - before, &mut buffer[..before as usize])?;
    Ok(Some((offset, head, Tail::of(&buffer[..n]))))
}
