//! Positions: what is kept of a generation so that reading goes on where it stood.
//!
//! One per lane, stored by the engine once everything before it is answered. It holds prints, never log text.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::identity::{FileId, Hash, LaneKey, Print};

/// Most files remembered as holding nothing new of one generation [files].
const FILES: usize = 8;

/// Where a generation stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Position {
    pub(crate) family: String,
    pub(crate) path: PathBuf,
    /// Of the first complete line.
    pub(crate) first: Hash,
    pub(crate) counter: u32,
    /// Start of the first line that is not delivered, in decompressed bytes.
    pub(crate) offset: u64,
    /// Of the first bytes, none of them past the offset.
    pub(crate) head: Print,
    /// Of the bytes just before the offset.
    pub(crate) anchor: Print,
    /// Files that hold this generation; the first is the one it is read from.
    pub(crate) files: Vec<Seen>,
    /// When this was written, ns since 1970.
    pub(crate) seen: i64,
}

/// A file as it was when it was last looked at.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Seen {
    #[serde(flatten)]
    pub(crate) id: FileId,
    /// On disk, compressed where it is [bytes].
    pub(crate) size: u64,
    /// ns since 1970.
    pub(crate) mtime: i64,
    /// Read to its end and closed: not opened again while size and time stay.
    pub(crate) done: bool,
}

impl Position {
    pub(crate) fn lane(&self) -> LaneKey {
        LaneKey {
            family: self.family.clone(),
            first: self.first,
            counter: self.counter,
        }
    }

    pub(crate) fn holds(&self, id: FileId) -> bool {
        self.files.iter().any(|seen| seen.id == id)
    }

    /// `seen` is now the file this generation is read from.
    pub(crate) fn read_from(&mut self, seen: Seen) {
        self.files.retain(|other| other.id != seen.id);
        self.files.insert(0, seen);
        self.files.truncate(FILES);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_survives_its_json_and_remembers_few_files() {
        let mut position = Position {
            family: "/log/a".into(),
            path: "/log/a.1".into(),
            first: Hash::of(b"x"),
            counter: 2,
            offset: 17,
            head: Print::of(b"head"),
            anchor: Print::of(b"anchor"),
            files: Vec::new(),
            seen: 5,
        };
        for ino in 0..20 {
            position.read_from(Seen {
                id: FileId {
                    dev: 1,
                    ino: ino % 12,
                },
                size: 3,
                mtime: 4,
                done: true,
            });
        }
        assert_eq!(position.files.len(), FILES);
        assert_eq!(position.files[0].id.ino, 7);
        let json = serde_json::to_string(&position).unwrap();
        assert_eq!(serde_json::from_str::<Position>(&json).unwrap(), position);
    }
}
