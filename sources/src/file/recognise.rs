//! Is this file something that is known already? Asked once for every file that turns up.
//!
//! A file taken for new by mistake costs duplicates; one taken for known by mistake costs lines. So every doubt makes it new.

use std::io;

use super::discover::Found;
use super::follow::{Fate, Follow};
use super::identity::{ANCHOR, FileId, HEAD, LaneKey, Tail};
use super::position::{Position, Seen};
use super::reader::{self, Reader};

/// A file that was opened to be recognised.
pub(crate) struct Probe {
    pub(crate) reader: Reader,
    pub(crate) gzip: bool,
    /// [bytes on disk]
    pub(crate) size: u64,
    /// The first bytes, decompressed; all of them if the file is shorter than this.
    pub(crate) head: Vec<u8>,
    /// A gzip file that stops short: it is still being written.
    cut: bool,
}

/// What a file turned out to be.
pub(crate) enum Verdict {
    /// A generation that was read before, and the bytes before its offset.
    Resume(Box<Position>, Box<Tail>),
    /// Holds nothing but what the follow of this id is reading elsewhere.
    Copy(u64),
    /// Cannot be told yet: it is still being written.
    NotYet,
    /// Nothing is known of it.
    New,
}

impl Verdict {
    pub(crate) fn resumes(&self, lane: &LaneKey) -> bool {
        matches!(self, Self::Resume(position, _) if position.lane() == *lane)
    }
}

/// Does the text of a file agree with a position?
enum Agreement {
    Yes(Box<Tail>),
    No,
    NotYet,
}

impl Probe {
    /// None if the path leads to another file by now.
    pub(crate) fn open(found: &Found) -> io::Result<Option<Self>> {
        let (file, meta) = reader::open(&found.path)?;
        if FileId::of(&meta) != found.id {
            return Ok(None);
        }
        let mut reader = Reader::new(file)?;
        let mut head = vec![0; HEAD];
        let (mut len, mut cut) = (0, false);
        while len < HEAD {
            match reader.read(len as u64, &mut head[len..]) {
                Ok(0) => break,
                Ok(n) => len += n,
                Err(_) if reader.is_gzip() => {
                    cut = true;
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        head.truncate(len);
        let gzip = reader.is_gzip();
        Ok(Some(Self {
            gzip,
            reader,
            size: meta.len(),
            head,
            cut,
        }))
    }

    fn agrees(&mut self, position: &Position) -> io::Result<Agreement> {
        if position.offset == 0 || !self.gzip && self.size < position.offset {
            return Ok(Agreement::No);
        }
        let Some(head) = self.head.get(..position.head.len()) else {
            return Ok(if self.cut {
                Agreement::NotYet
            } else {
                Agreement::No
            });
        };
        if !position.head.is_of(head) {
            return Ok(Agreement::No);
        }
        let mut buffer = [0; ANCHOR];
        let want = position.anchor.len().min(ANCHOR);
        let Some(from) = position.offset.checked_sub(want as u64) else {
            return Ok(Agreement::No);
        };
        match self.reader.read_full(from, &mut buffer[..want]) {
            Ok(n) if n == want && position.anchor.is_of(&buffer[..n]) => {
                Ok(Agreement::Yes(Box::new(Tail::of(&buffer[..n]))))
            }
            Ok(_) => Ok(Agreement::No),
            // Its head is that of a known generation, and it stops before it says more.
            Err(_) if self.gzip => Ok(Agreement::NotYet),
            Err(error) => Err(error),
        }
    }

    /// Is all of this file the beginning of what `follow` reads?
    fn is_copy_of(&mut self, found: &Found, follow: &mut Follow) -> io::Result<bool> {
        if follow.gzip {
            // Told apart for good when the other is done with; until then this one waits.
            return Ok(!self.head.is_empty() && self.head == follow.head.raw());
        }
        if self.gzip {
            return self.is_gzip_of(found, follow);
        }
        if !follow.is_intact()? {
            // It was truncated a moment ago, and this may be the copy made before.
            let position = follow.position(0, false);
            return Ok(position
                .is_some_and(|position| matches!(self.agrees(&position), Ok(Agreement::Yes(_)))));
        }
        let Some(other) = &mut follow.reader else {
            return Ok(false);
        };
        if self.size == 0 || other.metadata()?.len() < self.size {
            return Ok(false);
        }
        let mut theirs = [0; HEAD];
        let n = other.read_full(0, &mut theirs[..self.head.len()])?;
        if theirs[..n] != self.head[..] {
            return Ok(false);
        }
        let len = self.size.min(ANCHOR as u64);
        let (mut ours, mut theirs) = ([0; ANCHOR], [0; ANCHOR]);
        let n = self
            .reader
            .read_full(self.size - len, &mut ours[..len as usize])?;
        let m = other.read_full(self.size - len, &mut theirs[..len as usize])?;
        Ok(n == m && n as u64 == len && ours == theirs)
    }

    /// As [`Probe::is_copy_of`]. One that is whole and read elsewhere is noted with that generation: lines written later make
    /// the text longer than this file, and then its end could not be checked any more.
    fn is_gzip_of(&mut self, found: &Found, follow: &mut Follow) -> io::Result<bool> {
        let Some(other) = &mut follow.reader else {
            return Ok(false);
        };
        let mut theirs = [0; HEAD];
        let n = other.read_full(0, &mut theirs[..self.head.len()])?;
        if n == 0 || theirs[..n] != self.head[..] {
            return Ok(false);
        }
        let (mut len, mut tail, mut buffer) = (0, Tail::new(), vec![0; 64 * 1024]);
        loop {
            match self.reader.read(len, &mut buffer) {
                Ok(0) => break,
                Ok(n) => {
                    tail.push(&buffer[..n]);
                    len += n as u64;
                }
                // Not whole yet; looked at again when it changes.
                Err(_) => return Ok(true),
            }
        }
        let ours = tail.bytes();
        let theirs = &mut theirs[..ours.len()];
        if other.read_full(len - ours.len() as u64, theirs)? != ours.len() || theirs != ours {
            return Ok(false);
        }
        if len <= follow.lines.scanned() {
            follow.others.push(Seen {
                id: found.id,
                size: found.size,
                mtime: found.mtime,
                done: true,
            });
        }
        Ok(true)
    }

    /// `free` are the positions of this family that nothing is read for, `follows` what is being read of it.
    pub(crate) fn recognise<'a>(
        &mut self,
        found: &Found,
        free: impl Iterator<Item = &'a Position>,
        follows: impl Iterator<Item = &'a mut Follow>,
    ) -> io::Result<Verdict> {
        let mut best: Option<(bool, &Position, Box<Tail>)> = None;
        for position in free {
            let same_file = position.holds(found.id);
            // A few bytes prove nothing about another file in the place where logs begin.
            let strong = position.offset >= ANCHOR as u64;
            if !same_file && !strong && !found.name.is_rotated() {
                continue;
            }
            match self.agrees(position)? {
                Agreement::Yes(tail) => {
                    let better = best.as_ref().is_none_or(|(same, known, _)| {
                        (same_file, position.offset) > (*same, known.offset)
                    });
                    if better {
                        best = Some((same_file, position, tail));
                    }
                }
                Agreement::No => {}
                Agreement::NotYet => return Ok(Verdict::NotYet),
            }
        }
        if let Some((_, position, tail)) = best {
            return Ok(Verdict::Resume(Box::new(position.clone()), tail));
        }
        if found.name.is_rotated() {
            for follow in follows {
                let source = match (self.gzip, follow.gzip) {
                    (false, false) => follow.fate == Fate::Live && follow.rank.is_current(),
                    (gzip, other) => gzip != other && follow.reader.is_some(),
                };
                if source && self.is_copy_of(found, follow)? {
                    return Ok(Verdict::Copy(follow.id));
                }
            }
        }
        if self.cut && self.head.len() < HEAD || self.size == 0 && found.name.is_rotated() {
            return Ok(Verdict::NotYet);
        }
        Ok(Verdict::New)
    }
}
