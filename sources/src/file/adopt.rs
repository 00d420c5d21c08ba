//! What files there are, and what each of them is: known, a copy, still being written, or new.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use super::discover::{self, Found};
use super::family::Rank;
use super::files::{Aside, Files};
use super::follow::{Fate, Follow};
use super::identity::{ANCHOR, FileId, HEAD, Head, Tail};
use super::lines::Lines;
use super::multiline::Group;
use super::position::Position;
use super::reader::{Reader, mtime};
use super::recognise::{Probe, Verdict};

/// A closed file is looked at for late lines so long after it was last read [ns].
const REVISIT: i64 = 24 * 3600 * 1_000_000_000;
/// Most closed files that are looked at for late lines [files].
const REVISITED: usize = 256;
/// Files left alone that are remembered, at least [files].
const ASIDE: usize = 4096;
/// Old positions are looked through this often.
const PRUNE: Duration = Duration::from_secs(60);

impl Files {
    pub(super) fn scan(&mut self, now: Duration, wall: i64) {
        let first = self.scanned.is_none();
        let began = Instant::now();
        let found = self.settings.globs.list(now, &mut self.notes);
        self.cost = began.elapsed();
        let mut by_id: HashMap<FileId, Vec<usize>> = HashMap::new();
        for (at, file) in found.iter().enumerate() {
            by_id.entry(file.id).or_default().push(at);
        }
        let mut changed = Vec::new();
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
                    let path = std::mem::replace(&mut follow.path, file.path.clone());
                    follow.rank = file.name.rank.clone();
                    if follow.is_now(file.size, file.mtime) && follow.reader.is_none() {
                        changed.push((follow.id, path));
                    }
                    if file.name.base == follow.base && !file.name.is_rotated() {
                        Fate::Live
                    } else {
                        Fate::Rotated
                    }
                }
                None if follow.reader.is_some() => Fate::Rotated,
                None => match std::fs::metadata(&follow.path) {
                    Ok(meta) if FileId::of(&meta) == follow.file => {
                        follow.is_now(meta.len(), mtime(&meta));
                        Fate::Rotated
                    }
                    _ => Fate::Deleted,
                },
            };
            if fate != Fate::Live && follow.fate == Fate::Live {
                if follow.rank.is_current() {
                    follow.rank = Rank::Numbered(0);
                }
                self.chains.insert(follow.base.clone());
            }
            follow.fate = fate;
        }
        let mut gone = self.doubt_closed(changed, now);
        gone.extend(self.gone_while_closed());
        for follow in &mut gone {
            if let Some(position) = follow.position(wall, false) {
                self.stored.insert(position.lane(), position);
            }
        }
        let followed: HashSet<FileId> = self.follows.iter().map(|follow| follow.file).collect();
        let mut fresh: Vec<&Found> = by_id
            .iter()
            .filter(|(id, _)| !followed.contains(id))
            .map(|(_, names)| &found[names[0]])
            .filter(|file| !self.is_aside(file))
            .collect();
        fresh.sort_by(|a, b| {
            (&a.name.base, &a.name.rank, a.mtime).cmp(&(&b.name.base, &b.name.rank, b.mtime))
        });
        self.spare = self.settings.max_open.saturating_sub(self.open());
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
        self.watch_folders();
        self.revisit(wall);
        for base in std::mem::take(&mut self.chains) {
            if self.chain(&base, now, wall) {
                self.chains.insert(base);
            }
        }
        for follow in gone {
            self.was_gone(follow, now);
        }
        self.order();
        let live: HashSet<FileId> = by_id.into_keys().collect();
        // What is not listed may be a sibling; a used inode is told by size and time.
        if self.aside.len() > ASIDE.max(2 * live.len()) {
            self.aside.retain(|id, _| live.contains(id));
        }
        if now >= self.pruned + PRUNE {
            self.pruned = now;
            self.prune(&live, wall);
        }
    }

    /// A file that changed while it was closed may be another by now, under a used inode: then it is looked at as any new
    /// one. What was read before it is given back.
    fn doubt_closed(&mut self, changed: Vec<(u64, PathBuf)>, now: Duration) -> Vec<Follow> {
        let mut others = Vec::new();
        for (id, path) in changed {
            let Some(at) = self.follows.iter().position(|follow| follow.id == id) else {
                continue;
            };
            // Of one that nothing was read of, nothing can be said.
            let unread = self.follows[at].lines.scanned() == 0;
            if unread
                || self.ensure_open(at, now) && matches!(self.follows[at].is_intact(), Ok(false))
            {
                let mut follow = self.follows.remove(at);
                follow.reader = None;
                follow.path = path;
                others.push(follow);
            }
        }
        others
    }

    /// Where something came, went or changed its name, a generation may have passed by between two looks.
    fn watch_folders(&mut self) {
        let bases: BTreeSet<PathBuf> = self
            .follows
            .iter()
            .map(|follow| follow.base.clone())
            .collect();
        let mut seen: HashMap<PathBuf, SystemTime> = HashMap::new();
        for base in bases {
            let Some(folder) = base.parent() else {
                continue;
            };
            let changed = match seen.get(folder) {
                Some(time) => *time,
                // One that cannot be looked at is told of elsewhere.
                None => match std::fs::metadata(folder).and_then(|meta| meta.modified()) {
                    Ok(time) => time,
                    Err(_) => continue,
                },
            };
            seen.insert(folder.to_owned(), changed);
            if self
                .folders
                .get(folder)
                .is_some_and(|before| *before != changed)
            {
                self.chains.insert(base);
            }
        }
        self.folders = seen;
    }

    /// Somebody may write to a rotated log long after it was closed here, and `include` may not name it any more.
    fn revisit(&mut self, wall: i64) {
        let recent = self
            .stored
            .values()
            .filter(|position| wall.saturating_sub(position.seen) < REVISIT)
            .filter(|position| {
                !self
                    .follows
                    .iter()
                    .any(|follow| position.holds(follow.file))
            });
        for position in recent.take(REVISITED) {
            let Ok(meta) = std::fs::metadata(&position.path) else {
                continue;
            };
            let file = Found::new(position.path.clone(), &meta);
            if position.holds(file.id) && file.name.is_rotated() && !self.is_aside(&file) {
                self.chains.insert(file.name.base);
            }
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
                self.add(follow);
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

    pub(super) fn put_aside(&mut self, file: &Found, why: Aside) {
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
        self.add(follow);
    }

    /// Beyond the limit of open files a new one waits closed for its turn.
    fn add(&mut self, mut follow: Follow) {
        if self.spare == 0 {
            follow.reader = None;
        }
        self.spare = self.spare.saturating_sub(1);
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
    let mut head = vec![0; HEAD.min(offset as usize)];
    let n = reader.read_full(0, &mut head)?;
    head.truncate(n);
    let before = offset.min(ANCHOR as u64);
    let n = reader.read_full(offset - before, &mut buffer[..before as usize])?;
    Ok(Some((offset, head, Tail::of(&buffer[..n]))))
}
