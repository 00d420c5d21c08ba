//! One generation being read: the file it is in, where it stands, and what is held back of it.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use memchr::memchr;

use super::family::Rank;
use super::identity::{FileId, Hash, Head, LaneKey, Tail};
use super::lines::Lines;
use super::page::Page;
use super::position::{Position, Seen};
use super::reader::{Reader, mtime};

/// Read at once [bytes]: stays in the caches on its way to the sinks.
pub(crate) const CHUNK: usize = 64 * 1024;
/// As much of a first line as its generation is known by [bytes].
const FIRST: usize = 1024;

/// What is to become of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is where it is written to.
    Live,
    /// Put aside; somebody may still hold it open and write.
    Rotated,
    /// Its name is gone.
    Deleted,
    /// Its text is gone: it was truncated, and no copy was found.
    Lost,
}

/// What came of a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// There may be more.
    Read,
    /// All that was written so far is read.
    End,
    /// The text before the offset is another; nothing on the page counts.
    Truncated,
    /// What was held back is told; this generation is done with.
    Finished,
}

/// A generation and its file.
pub(crate) struct Follow {
    pub(crate) id: u64,
    pub(crate) path: PathBuf,
    /// Where the youngest generation is written.
    pub(crate) base: PathBuf,
    pub(crate) family: String,
    pub(crate) rank: Rank,
    pub(crate) file: FileId,
    /// None while it is closed to keep within the limit of open files, and for lost text.
    pub(crate) reader: Option<Reader>,
    pub(crate) gzip: bool,
    /// None until the first line is whole.
    pub(crate) lane: Option<LaneKey>,
    pub(crate) lines: Lines,
    pub(crate) head: Head,
    /// Other files that hold this generation.
    pub(crate) others: Vec<Seen>,
    pub(crate) size: u64,
    pub(crate) mtime: i64,
    pub(crate) fate: Fate,
    /// When something was last read from it.
    pub(crate) grown: Duration,
    /// There is something to read.
    pub(crate) pending: bool,
    /// Not before this time: the last read failed.
    pub(crate) retry: Duration,
    /// It will be done with once its end is reached.
    pub(crate) finishing: bool,
    /// The open group of lines has waited long enough.
    pub(crate) group_is_over: bool,
    /// How far the search for the first line has come.
    pub(crate) first_at: u64,
    /// The offset of the last position that was handed over.
    pub(crate) told: Option<u64>,
}

impl Follow {
    pub(crate) fn seen(&self, done: bool) -> Seen {
        Seen {
            id: self.file,
            size: self.size,
            mtime: self.mtime,
            done,
        }
    }

    /// What to store once everything before it is answered. None before the first line is known.
    pub(crate) fn position(&mut self, wall: i64, done: bool) -> Option<Position> {
        let lane = self.lane.as_ref()?;
        let mut position = Position {
            family: lane.family.clone(),
            path: self.path.clone(),
            first: lane.first,
            counter: lane.counter,
            offset: self.lines.offset(),
            head: self.head.print(self.lines.offset()),
            anchor: self.lines.tail().print(),
            files: self.others.clone(),
            seen: wall,
        };
        if self.fate != Fate::Lost {
            position.read_from(self.seen(done));
        }
        Some(position)
    }

    /// Looks at the file, if it is open, without reading it. False if the text before the offset is another.
    pub(crate) fn look(&mut self) -> io::Result<bool> {
        use std::os::unix::fs::MetadataExt as _;
        let Some(reader) = &self.reader else {
            return Ok(true);
        };
        let meta = reader.metadata()?;
        self.is_now(meta.len(), mtime(&meta));
        if meta.nlink() == 0 {
            self.fate = Fate::Deleted;
        }
        if self.pending {
            self.is_intact()
        } else {
            Ok(true)
        }
    }

    /// What was seen of the file from outside. True if that has changed.
    pub(crate) fn is_now(&mut self, size: u64, mtime: i64) -> bool {
        let changed = (self.size, self.mtime) != (size, mtime);
        (self.size, self.mtime) = (size, mtime);
        self.pending |= changed;
        changed
    }

    /// Is what was read of the file still in it?
    pub(crate) fn is_intact(&mut self) -> io::Result<bool> {
        match &mut self.reader {
            Some(reader) if !self.gzip => {
                still_there(reader, self.lines.scanned(), &self.lines.scanned_tail())
            }
            _ => Ok(true),
        }
    }

    /// Looks for the first line. `scratch` is room to read into.
    pub(crate) fn first_line(&mut self, scratch: &mut [u8]) -> io::Result<Option<Hash>> {
        let Some(reader) = &mut self.reader else {
            self.pending = false;
            return Ok(None);
        };
        loop {
            let n = reader.read_full(self.first_at, scratch)?;
            let text = &scratch[..n];
            let blank = text
                .iter()
                .take_while(|byte| matches!(byte, 0 | b'\n' | b'\r'))
                .count();
            let line = &text[blank..];
            if line.is_empty() && n == scratch.len() {
                self.first_at += n as u64;
                continue;
            }
            self.first_at += blank as u64;
            let whole = memchr(b'\n', &line[..line.len().min(FIRST)])
                .or((line.len() >= FIRST).then_some(FIRST));
            // At its end a finished generation has no more than this.
            let end = whole.or((self.finishing || self.gzip)
                .then_some(line.len())
                .filter(|len| *len > 0));
            if end.is_none() {
                if line.len() < scratch.len() && n == scratch.len() {
                    continue;
                }
                self.pending = false;
            }
            return Ok(end.map(|end| Hash::of(&line[..end])));
        }
    }

    /// Reads on and makes lines of it.
    pub(crate) fn turn(&mut self, page: &mut impl Page, now: Duration) -> io::Result<Turn> {
        let at = self.lines.scanned();
        self.lines.begin(page);
        let n = match &mut self.reader {
            Some(reader) => {
                let room = page.space(CHUNK);
                let room = &mut room[..CHUNK];
                let n = reader.read(at, room);
                page.filled(*n.as_ref().unwrap_or(&0));
                let n = n?;
                if !self.gzip && !still_there(reader, at, &self.lines.scanned_tail())? {
                    return Ok(Turn::Truncated);
                }
                n
            }
            None => 0,
        };
        if n > 0 {
            self.grown = now;
            self.head.feed(at, &page.text()[page.text().len() - n..]);
            self.lines.split(page);
            return Ok(Turn::Read);
        }
        if self.gzip {
            self.finishing = true;
        }
        self.pending = false;
        if self.finishing {
            self.lines.finish(page);
            return Ok(Turn::Finished);
        }
        if std::mem::take(&mut self.group_is_over) {
            self.lines.end_group(page);
        }
        Ok(Turn::End)
    }

    /// The same file from its beginning: what was there before is gone.
    pub(crate) fn begin_again(&mut self, lines: Lines) -> (Lines, Head) {
        self.lane = None;
        self.first_at = 0;
        self.pending = true;
        self.finishing = false;
        self.told = Some(0);
        self.others.clear();
        (
            std::mem::replace(&mut self.lines, lines),
            std::mem::take(&mut self.head),
        )
    }

    pub(crate) fn is_at(&self, path: &Path) -> bool {
        self.path == path
    }
}

/// Are these still the bytes before `at`? Asked after each read, so that a read from a rewritten file is never believed.
fn still_there(reader: &mut Reader, at: u64, tail: &Tail) -> io::Result<bool> {
    let tail = tail.bytes();
    let mut buffer = [0; super::identity::ANCHOR];
    let buffer = &mut buffer[..tail.len()];
    let n = reader.read_full(at - tail.len() as u64, buffer)?;
    Ok(n == tail.len() && buffer == tail)
}
