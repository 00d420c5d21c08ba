//! What makes a file the same file: device and inode, a print of its head, a print of the text just before the offset.
//!
//! None of the three is enough alone. Inodes are reused, generations of one log often begin with the same line, and a
//! file may be truncated and grow past the old offset. Prints are hashes because a position file must hold no log text.

use std::fmt;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;

use aws_lc_rs::digest;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Longest head that is compared [bytes].
pub(crate) const HEAD: usize = 1024;
/// Longest stretch before the offset that is compared [bytes]; as much as this also counts as strong evidence.
pub(crate) const ANCHOR: usize = 256;

/// Where a file lives on this machine. Only as good as long as the file exists: inodes are reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct FileId {
    pub(crate) dev: u64,
    pub(crate) ino: u64,
}

impl FileId {
    pub(crate) fn of(meta: &Metadata) -> Self {
        Self {
            dev: meta.dev(),
            ino: meta.ino(),
        }
    }
}

/// 128 bits of a SHA-256; 32 hex digits outside.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub(crate) struct Hash([u8; 16]);

impl Hash {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let whole = digest::digest(&digest::SHA256, bytes);
        let mut half = [0; 16];
        half.copy_from_slice(&whole.as_ref()[..16]);
        Self(half)
    }

    pub(crate) fn parse(hex: &str) -> Option<Self> {
        if hex.len() != 32 || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        let mut bytes = [0; 16];
        for (byte, pair) in bytes.iter_mut().zip(hex.as_bytes().chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(Self(bytes))
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Hash {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let hex = String::deserialize(from)?;
        Self::parse(&hex).ok_or_else(|| serde::de::Error::custom("a print is 32 hex digits"))
    }
}

/// A stretch of a file, known by its length and hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Print {
    /// [bytes]
    pub(crate) len: u32,
    pub(crate) hash: Hash,
}

impl Print {
    /// `bytes` are at most [`HEAD`] long.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self {
            len: u32::try_from(bytes.len()).unwrap_or(u32::MAX),
            hash: Hash::of(bytes),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len as usize
    }

    pub(crate) fn is_of(&self, bytes: &[u8]) -> bool {
        bytes.len() == self.len() && Hash::of(bytes) == self.hash
    }
}

/// The last bytes of what has gone by, at most [`ANCHOR`] of them.
#[derive(Clone)]
pub(crate) struct Tail {
    bytes: [u8; ANCHOR],
    len: usize,
}

impl Tail {
    pub(crate) fn new() -> Self {
        Self {
            bytes: [0; ANCHOR],
            len: 0,
        }
    }

    pub(crate) fn of(bytes: &[u8]) -> Self {
        let mut tail = Self::new();
        tail.push(bytes);
        tail
    }

    pub(crate) fn push(&mut self, more: &[u8]) {
        if more.len() >= ANCHOR {
            self.bytes.copy_from_slice(&more[more.len() - ANCHOR..]);
            self.len = ANCHOR;
            return;
        }
        let drop = (self.len + more.len()).saturating_sub(ANCHOR);
        self.bytes.copy_within(drop..self.len, 0);
        self.len -= drop;
        self.bytes[self.len..self.len + more.len()].copy_from_slice(more);
        self.len += more.len();
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    pub(crate) fn print(&self) -> Print {
        Print::of(self.bytes())
    }
}

/// The head of a generation as far as it has been read; its print covers only what lies before the offset.
#[derive(Clone, Default)]
pub(crate) struct Head {
    raw: Vec<u8>,
    print: Print,
}

impl Head {
    /// A head known only by its print, because the offset lies past it.
    pub(crate) fn known(print: Print, raw: &[u8]) -> Self {
        Self {
            raw: raw[..raw.len().min(HEAD)].to_vec(),
            print,
        }
    }

    pub(crate) fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// `bytes` were read at `at`.
    pub(crate) fn feed(&mut self, at: u64, bytes: &[u8]) {
        let have = self.raw.len();
        let Ok(at) = usize::try_from(at) else { return };
        if have >= HEAD || at > have || at + bytes.len() <= have {
            return;
        }
        let fresh = &bytes[have - at..];
        self.raw
            .extend_from_slice(&fresh[..fresh.len().min(HEAD - have)]);
    }

    /// The print of what lies before `offset`.
    pub(crate) fn print(&mut self, offset: u64) -> Print {
        let want = offset.min(HEAD as u64) as usize;
        if self.print.len() != want && self.raw.len() >= want {
            self.print = Print::of(&self.raw[..want]);
        }
        self.print
    }
}

/// A generation of a family of files: what a lane is to the engine.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct LaneKey {
    /// The path without its rotation suffix, or what the operator calls it.
    pub(crate) family: String,
    /// Of the first complete line, at most 1 KiB of it.
    pub(crate) first: Hash,
    /// How many earlier generations of this family began with the same line.
    pub(crate) counter: u32,
}

impl LaneKey {
    /// The part of the event id that tells generations of one family apart.
    pub(crate) fn generation(&self) -> String {
        format!("{}.{}", self.first, self.counter)
    }
}

impl fmt::Display for LaneKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}.{}", self.family, self.first, self.counter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_keeps_the_last_bytes_however_they_come() {
        let text: Vec<u8> = (0..2000u32).map(|n| (n % 251) as u8).collect();
        for step in [1, 7, 255, 256, 257, 900] {
            let mut tail = Tail::new();
            text.chunks(step).for_each(|chunk| tail.push(chunk));
            assert_eq!(
                tail.bytes(),
                &text[text.len() - ANCHOR..],
                "in steps of {step}"
            );
        }
        assert_eq!(Tail::of(b"abc").bytes(), b"abc");
    }

    #[test]
    fn a_head_covers_what_lies_before_the_offset_and_stops_growing() {
        let text: Vec<u8> = (0..3000u32).map(|n| (n % 241) as u8).collect();
        let mut head = Head::default();
        head.feed(0, &text[..100]);
        assert!(head.print(40).is_of(&text[..40]));
        head.feed(40, &text[40..700]);
        head.feed(700, &text[700..3000]);
        assert!(head.print(900).is_of(&text[..900]));
        assert!(head.print(2500).is_of(&text[..HEAD]));
        assert_eq!(head.raw().len(), HEAD);
    }

    #[test]
    fn a_hash_is_read_back_from_its_hex() {
        let hash = Hash::of(b"::ffff:192.0.2.10 - root@pam");
        assert_eq!(Hash::parse(&hash.to_string()), Some(hash));
        assert_eq!(Hash::parse("zz"), None);
        assert_eq!(Hash::parse("+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1"), None);
    }
}
