//! Reads one file of the queue, record by record, past whatever is damaged.
//!
//! A record whose head is good and whose block is not is skipped by its length. Where the head itself is damaged, the
//! next good head is looked for. Either way it is known which bytes were skipped, and by the numbers of the events
//! before and after how many events were in them.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::format::{FILE_HEAD, MARK, RECORD_HEAD, RecordHead};

/// Read at once [bytes].
const CHUNK: usize = 1 << 20;
/// More memory is given back once it is not needed any more [bytes].
const LARGEST_KEPT: usize = 4 << 20;

static MARKS: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(&MARK));

/// One file, and how far it is read.
pub(super) struct Cursor {
    file: File,
    salt: u64,
    /// Where the next record begins.
    at: u64,
    /// Number of the event that comes next, if everything is as it should be.
    expected: u64,
    /// A piece of the file, and where it begins.
    chunk: Vec<u8>,
    chunk_at: u64,
}

/// Stands for the number of a first event that is not known.
pub(super) const UNKNOWN: u64 = u64::MAX;

/// What was found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// A good record; its block is [`Cursor::block`].
    Record { at: u64, head: RecordHead },
    /// Bytes that are no record.
    Damage(Damage),
    /// No more.
    End,
}

/// Bytes that are no record, and the events that are known to be missing there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Damage {
    pub(super) at: u64,
    /// May be 0: events are missing, but no bytes are left of them.
    pub(super) len: u64,
    /// Events that are missing, as far as the numbers say. At the end of a file only whoever knows what comes behind it
    /// can say.
    pub(super) events: u64,
    /// Number of the event that comes next.
    pub(super) next: u64,
}

impl Damage {
    /// How many of the missing events were not delivered; `reached` is the first that is not.
    pub(super) fn lost(&self, reached: u64) -> u64 {
        let first = self.next.saturating_sub(self.events);
        self.next.saturating_sub(first.max(reached))
    }
}

impl Cursor {
    /// Begins with the first record, which is expected to begin with the event `first`, unless that is [`UNKNOWN`].
    pub(super) fn new(file: File, salt: u64, first: u64) -> Cursor {
        Cursor {
            file,
            salt,
            at: FILE_HEAD as u64,
            expected: first,
            chunk: Vec::new(),
            chunk_at: 0,
        }
    }

    /// Where the next record begins.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// Number of the event that comes next.
    pub(super) fn expected(&self) -> u64 {
        self.expected
    }

    /// Goes back to where a record was found, so that it is found again.
    pub(super) fn back_to(&mut self, at: u64, first: u64) {
        (self.at, self.expected) = (at, first);
    }

    /// Says which event comes next, by somebody who knows better.
    pub(super) fn expect(&mut self, event: u64) {
        self.expected = event;
    }

    /// The next thing in the file, which is looked at as far as `end`.
    pub(super) fn next(&mut self, end: u64) -> io::Result<Found> {
        if self.at >= end {
            return Ok(Found::End);
        }
        let Some(head) = self.head(self.at, end)? else {
            return self.search(end).map(Found::Damage);
        };
        if head.first > self.expected {
            // Nothing is left of them, not even damaged bytes.
            let events = head.first - self.expected;
            self.expected = head.first;
            return Ok(Found::Damage(Damage {
                at: self.at,
                len: 0,
                events,
                next: head.first,
            }));
        }
        let (at, salt) = (self.at, self.salt);
        let block = self.load(at + RECORD_HEAD as u64, head.len as usize, end)?;
        let fits = head.fits(block, salt);
        self.at = at + head.size();
        let before = std::mem::replace(&mut self.expected, head.end());
        Ok(if fits {
            Found::Record { at, head }
        } else {
            Found::Damage(Damage {
                at,
                len: head.size(),
                events: if before == UNKNOWN {
                    u64::from(head.events)
                } else {
                    head.end().saturating_sub(before)
                },
                next: head.end(),
            })
        })
    }

    /// The block of the record that was found last.
    pub(super) fn block(&self, at: u64, head: &RecordHead) -> &[u8] {
        let start = (at + RECORD_HEAD as u64).saturating_sub(self.chunk_at) as usize;
        self.chunk
            .get(start..start + head.len as usize)
            .unwrap_or_default()
    }

    fn head(&mut self, at: u64, end: u64) -> io::Result<Option<RecordHead>> {
        if end - at < RECORD_HEAD as u64 {
            return Ok(None);
        }
        let salt = self.salt;
        let head = RecordHead::parse(self.load(at, RECORD_HEAD, end)?, salt);
        Ok(head.filter(|head| head.size() <= end - at))
    }

    /// Looks for the next good head, from the byte after the bad one.
    fn search(&mut self, end: u64) -> io::Result<Damage> {
        let start = self.at;
        let mut from = start + 1;
        let mut found = None;
        while found.is_none() && end.saturating_sub(from) >= RECORD_HEAD as u64 {
            let len = CHUNK.min((end - from) as usize);
            let chunk = self.load(from, len, end)?;
            let marks: Vec<u64> = MARKS.find_iter(chunk).map(|n| from + n as u64).collect();
            for mark in marks {
                if let Some(head) = self.head(mark, end)? {
                    found = Some((mark, head.first));
                    break;
                }
            }
            // A mark may lie over the end of the piece.
            from += (len - (MARK.len() - 1).min(len - 1)) as u64;
        }
        let (at, next) = found.unwrap_or((end, self.expected));
        let damage = Damage {
            at: start,
            len: at - start,
            events: next.saturating_sub(self.expected),
            next: if self.expected == UNKNOWN {
                next
            } else {
                next.max(self.expected)
            },
        };
        (self.at, self.expected) = (at, damage.next);
        Ok(damage)
    }

    /// `len` bytes of the file from `at` on; reads more of it, as far as `end`, where it has to read.
    fn load(&mut self, at: u64, len: usize, end: u64) -> io::Result<&[u8]> {
        let held = self.chunk_at..self.chunk_at + self.chunk.len() as u64;
        if !(held.contains(&at) && at + len as u64 <= held.end) {
            let wanted = len.max(CHUNK.min((end - at) as usize));
            // What is there already is not read again.
            let kept = if held.contains(&at) {
                self.chunk.copy_within((at - held.start) as usize.., 0);
                ((held.end - at) as usize).min(wanted)
            } else {
                0
            };
            if self.chunk.capacity() > LARGEST_KEPT.max(wanted) {
                self.chunk.truncate(kept);
                self.chunk.shrink_to(wanted);
            }
            self.chunk.resize(wanted, 0);
            self.chunk_at = at;
            let read = self
                .file
                .read_exact_at(&mut self.chunk[kept..], at + kept as u64);
            if let Err(why) = read {
                self.chunk.clear();
                return Err(why);
            }
        }
        let start = (at - self.chunk_at) as usize;
        Ok(&self.chunk[start..start + len])
    }
}
