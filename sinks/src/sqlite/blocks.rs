//! Whole events as JSON, many of them compressed together: an event of 1.3 KiB takes about 150 bytes so.
//!
//! A block is the JSON of some events that were written one after the other, each on a line; a row of `events` says in which
//! block and at which line its own stands.

use std::io;

use rusqlite::Connection;

/// A block is closed once it holds this much [bytes].
const FULL: usize = 64 << 10;
/// Most events of one block: reading one means unpacking all.
const MOST: i64 = 128;
/// Longest block that is unpacked [bytes]: what a damaged file claims is not believed.
const LONGEST: usize = 256 << 20;

/// Fills blocks and writes them.
pub(super) struct Blocks {
    packer: zstd::bulk::Compressor<'static>,
    /// The block being filled.
    pub(super) block: i64,
    /// The line the next event gets.
    pub(super) place: i64,
    lines: Vec<u8>,
    packed: Vec<u8>,
}

impl Blocks {
    pub(super) fn new() -> io::Result<Blocks> {
        Ok(Blocks {
            packer: zstd::bulk::Compressor::new(1)?,
            block: 0,
            place: 0,
            lines: Vec::new(),
            packed: Vec::new(),
        })
    }

    /// Begins a transaction.
    pub(super) fn begin(&mut self, db: &Connection) -> rusqlite::Result<()> {
        self.lines.clear();
        self.place = 0;
        self.block = db
            .prepare_cached("SELECT coalesce(max(block), 0) + 1 FROM blocks")?
            .query_row([], |row| row.get(0))?;
        Ok(())
    }

    /// Adds one event: `write` appends its JSON, which has no line break.
    pub(super) fn add(
        &mut self,
        db: &Connection,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> rusqlite::Result<()> {
        write(&mut self.lines);
        self.lines.push(b'\n');
        self.place += 1;
        if self.place == MOST || self.lines.len() >= FULL {
            self.flush(db)?;
        }
        Ok(())
    }

    /// Writes what was added since.
    pub(super) fn flush(&mut self, db: &Connection) -> rusqlite::Result<()> {
        if self.place == 0 {
            return Ok(());
        }
        let size = zstd::zstd_safe::compress_bound(self.lines.len());
        self.packed.clear();
        self.packed.reserve(size);
        self.packer
            .compress_to_buffer(&self.lines, &mut self.packed)
            .map_err(|why| rusqlite::Error::ToSqlConversionFailure(Box::new(why)))?;
        db.prepare_cached("INSERT INTO blocks (block, size, body) VALUES (?1, ?2, ?3)")?
            .execute(rusqlite::params![
                self.block,
                self.lines.len() as i64,
                self.packed
            ])?;
        self.lines.clear();
        self.lines.shrink_to(1 << 20);
        self.packed.shrink_to(1 << 20);
        (self.block, self.place) = (self.block + 1, 0);
        Ok(())
    }
}

/// Reads events out of blocks and keeps the last block, for neighbours are asked for together.
#[derive(Default)]
pub(super) struct Unpacker {
    block: Option<i64>,
    lines: Vec<u8>,
    ends: Vec<usize>,
}

impl Unpacker {
    /// The JSON of the event at this place.
    pub(super) fn line(
        &mut self,
        db: &Connection,
        block: i64,
        place: i64,
    ) -> rusqlite::Result<&str> {
        if self.block != Some(block) {
            self.block = None;
            let (size, body): (i64, Vec<u8>) = db
                .prepare_cached("SELECT size, body FROM blocks WHERE block = ?1")?
                .query_row([block], |row| Ok((row.get(0)?, row.get(1)?)))?;
            let size = usize::try_from(size).unwrap_or(usize::MAX).min(LONGEST);
            self.lines = zstd::bulk::decompress(&body, size).map_err(|why| damaged(&why))?;
            self.ends.clear();
            self.ends.extend(memchr::memchr_iter(b'\n', &self.lines));
            self.block = Some(block);
        }
        let n = usize::try_from(place).unwrap_or(usize::MAX);
        let begin = match n {
            0 => 0,
            _ => self.ends.get(n - 1).map_or(usize::MAX, |end| end + 1),
        };
        let line = self
            .ends
            .get(n)
            .and_then(|end| self.lines.get(begin..*end))
            .and_then(|line| std::str::from_utf8(line).ok());
        line.ok_or_else(|| damaged(&io::Error::other("an event is not where its row says")))
    }
}

fn damaged(why: &io::Error) -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(
        rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT),
        Some(format!("a block of events: {why}")),
    )
}
