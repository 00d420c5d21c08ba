//! What stands in a file of the queue: a head, then records.
//!
//! ```text
//! file    "pvtqueue" · version u32 · 0 u32 · number u64 · first event u64 · salt u64 · made at i64 · checksum u32
//! record  mark 4 bytes · length u32 · first event u64 · events u32 · checksum of the block u32 · checksum of this head u32,
//!         then the block (`event::pack`), which is `length` bytes long
//! ```
//! A record without a block says that its events are known to be lost. All numbers are little-endian. Events of a queue are numbered from 0 through its whole life; so a gap in the numbers
//! says how many are missing, whatever became of the bytes. Checksums are CRC-32 that begin with a secret of the queue
//! (`salt`), so a log line that looks like a record is none: whoever writes it cannot know the salt.

use crate::clock::Time;

/// The format that this program writes, and the only one it reads.
pub(super) const VERSION: u32 = 1;
/// Bytes of a file before its first record.
pub(super) const FILE_HEAD: usize = 52;
/// Bytes of a record before its block.
pub(super) const RECORD_HEAD: usize = 28;

const MAGIC: &[u8; 8] = b"pvtqueue";
/// Begins a record. None of these bytes but the last occurs in UTF-8, so text is never looked at twice.
pub(super) const MARK: [u8; 4] = [0xf5, 0xc1, 0xff, 0x51];

/// What the head of a file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileHead {
    pub(super) number: u64,
    /// Number of the first event.
    pub(super) first: u64,
    pub(super) salt: u64,
    pub(super) made_at: Time,
}

/// Why the head of a file cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadHead {
    /// Another version's file.
    Version(u32),
    /// Damaged, or no file of a queue at all.
    Damaged,
}

fn word(bytes: &[u8], at: usize) -> u32 {
    bytes
        .get(at..at + 4)
        .and_then(|bytes| bytes.try_into().ok())
        .map_or(0, u32::from_le_bytes)
}

fn long(bytes: &[u8], at: usize) -> u64 {
    u64::from(word(bytes, at)) | u64::from(word(bytes, at + 4)) << 32
}

impl FileHead {
    pub(super) fn bytes(&self) -> [u8; FILE_HEAD] {
        let mut out = [0; FILE_HEAD];
        out[..8].copy_from_slice(MAGIC);
        out[8..12].copy_from_slice(&VERSION.to_le_bytes());
        out[16..24].copy_from_slice(&self.number.to_le_bytes());
        out[24..32].copy_from_slice(&self.first.to_le_bytes());
        out[32..40].copy_from_slice(&self.salt.to_le_bytes());
        out[40..48].copy_from_slice(&self.made_at.0.to_le_bytes());
        let sum = crc32fast::hash(&out[..48]);
        out[48..].copy_from_slice(&sum.to_le_bytes());
        out
    }

    /// The place of the version and of the checksum is the same in every version, so that another version's file is told
    /// from a damaged one.
    pub(super) fn parse(bytes: &[u8]) -> Result<FileHead, BadHead> {
        let Some(bytes) = bytes.get(..FILE_HEAD) else {
            return Err(BadHead::Damaged);
        };
        if bytes[..8] != *MAGIC || crc32fast::hash(&bytes[..48]) != word(bytes, 48) {
            return Err(BadHead::Damaged);
        }
        match word(bytes, 8) {
            VERSION => Ok(FileHead {
                number: long(bytes, 16),
                first: long(bytes, 24),
                salt: long(bytes, 32),
                made_at: Time(long(bytes, 40) as i64),
            }),
            other => Err(BadHead::Version(other)),
        }
    }
}

/// What the head of a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RecordHead {
    /// Bytes of the block.
    pub(super) len: u32,
    /// Number of the first event.
    pub(super) first: u64,
    pub(super) events: u32,
    sum: u32,
}

impl RecordHead {
    /// The head of a record that holds `block`.
    pub(super) fn of(block: &[u8], first: u64, events: u32, salt: u64) -> RecordHead {
        RecordHead {
            len: block.len() as u32,
            first,
            events,
            sum: checksum(salt >> 32, block),
        }
    }

    pub(super) fn bytes(&self, salt: u64) -> [u8; RECORD_HEAD] {
        let mut out = [0; RECORD_HEAD];
        out[..4].copy_from_slice(&MARK);
        out[4..8].copy_from_slice(&self.len.to_le_bytes());
        out[8..16].copy_from_slice(&self.first.to_le_bytes());
        out[16..20].copy_from_slice(&self.events.to_le_bytes());
        out[20..24].copy_from_slice(&self.sum.to_le_bytes());
        let sum = checksum(salt, &out[..24]);
        out[24..].copy_from_slice(&sum.to_le_bytes());
        out
    }

    /// `None` if no record begins here.
    pub(super) fn parse(bytes: &[u8], salt: u64) -> Option<RecordHead> {
        let bytes = bytes.get(..RECORD_HEAD)?;
        let good = bytes[..4] == MARK && checksum(salt, &bytes[..24]) == word(bytes, 24);
        let head = RecordHead {
            len: word(bytes, 4),
            first: long(bytes, 8),
            events: word(bytes, 16),
            sum: word(bytes, 20),
        };
        (good && head.events > 0).then_some(head)
    }

    /// Whether it only says that so many events are lost: `queue repair` puts such a record where damaged ones were.
    pub(super) fn is_grave(&self) -> bool {
        self.len == 0
    }

    /// Whether `block` is the one this head was written for.
    pub(super) fn fits(&self, block: &[u8], salt: u64) -> bool {
        checksum(salt >> 32, block) == self.sum
    }

    /// Number of the event after the last of this record.
    pub(super) fn end(&self) -> u64 {
        self.first.saturating_add(u64::from(self.events))
    }

    /// Bytes of the whole record.
    pub(super) fn size(&self) -> u64 {
        RECORD_HEAD as u64 + u64::from(self.len)
    }
}

fn checksum(salt: u64, bytes: &[u8]) -> u32 {
    let mut sum = crc32fast::Hasher::new_with_initial(salt as u32);
    sum.update(bytes);
    sum.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_read_as_written_and_no_flipped_bit_goes_unseen() {
        let salt = 0x0123_4567_89ab_cdef;
        let file = FileHead {
            number: 7,
            first: 1 << 40,
            salt,
            made_at: Time(5),
        };
        let record = RecordHead::of(b"a block", 12, 3, salt);
        assert_eq!(FileHead::parse(&file.bytes()), Ok(file));
        assert_eq!(RecordHead::parse(&record.bytes(salt), salt), Some(record));
        assert!(record.fits(b"a block", salt) && !record.fits(b"a blocK", salt));
        assert!(
            !record.fits(b"a block", salt ^ 1 << 40),
            "another queue's record"
        );
        assert_eq!(RecordHead::parse(&record.bytes(salt), salt ^ 1), None);
        for bit in 0..FILE_HEAD * 8 {
            let mut bytes = file.bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(FileHead::parse(&bytes), Err(BadHead::Damaged), "bit {bit}");
        }
        for bit in 0..RECORD_HEAD * 8 {
            let mut bytes = record.bytes(salt);
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(RecordHead::parse(&bytes, salt), None, "bit {bit}");
        }
    }

    #[test]
    fn another_versions_file_is_called_so_and_not_damaged() {
        let file = FileHead {
            number: 1,
            first: 0,
            salt: 0,
            made_at: Time(0),
        };
        let mut bytes = file.bytes();
        bytes[8] = 9;
        let sum = crc32fast::hash(&bytes[..48]);
        bytes[48..].copy_from_slice(&sum.to_le_bytes());
        assert_eq!(FileHead::parse(&bytes), Err(BadHead::Version(9)));
    }
}
