//! How far a queue has been answered, and the small file that remembers it.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::position::write_durably;

/// How far a queue has been answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    /// Number of the first event without an answer.
    pub(super) event: u64,
    /// The file it is in, and where; only for the size of what waits.
    pub(super) file: u64,
    pub(super) offset: u64,
}

/// What is in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kept {
    #[serde(flatten)]
    pub(super) place: Place,
    /// The secret of this queue's checksums.
    pub(super) salt: u64,
}

const NAME: &str = "position";
const HEAD: &str = "pvetrail-queue 1";

pub(super) fn path(folder: &Path) -> PathBuf {
    folder.join(NAME)
}

/// Reads it; `Err` says why it cannot be used, `None` that there is none.
pub(super) fn read(folder: &Path) -> io::Result<Option<Result<Kept, String>>> {
    match std::fs::read_to_string(path(folder)) {
        Ok(text) => Ok(Some(parse(&text))),
        Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(why) if why.kind() == io::ErrorKind::InvalidData => {
            Ok(Some(Err("it is not text".to_owned())))
        }
        Err(why) => Err(why),
    }
}

fn parse(text: &str) -> Result<Kept, String> {
    let (head, body) = text.split_once('\n').ok_or("it has no first line")?;
    let sum = head
        .strip_prefix(HEAD)
        .ok_or_else(|| format!("it does not begin with {HEAD:?}"))?;
    let body = body.trim_end();
    if u32::from_str_radix(sum.trim(), 16) != Ok(crc32fast::hash(body.as_bytes())) {
        return Err("its checksum does not fit".to_owned());
    }
    serde_json::from_str(body).map_err(|why| why.to_string())
}

/// Writes it so that a crash leaves the old one or the new one.
pub(super) fn write(folder: &Path, kept: &Kept) -> io::Result<()> {
    let body = serde_json::to_string(kept).expect("numbers are always valid JSON");
    let text = format!("{HEAD} {:08x}\n{body}\n", crc32fast::hash(body.as_bytes()));
    write_durably(&path(folder), text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_file_is_told_from_a_missing_one() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read(folder.path()).unwrap(), None);
        let kept = Kept {
            place: Place {
                event: u64::MAX,
                file: 3,
                offset: 52,
            },
            salt: u64::MAX - 1,
        };
        write(folder.path(), &kept).unwrap();
        assert_eq!(read(folder.path()).unwrap(), Some(Ok(kept)));
        let text = std::fs::read_to_string(path(folder.path())).unwrap();
        std::fs::write(path(folder.path()), text.replace(":3", ":4")).unwrap();
        assert!(read(folder.path()).unwrap().unwrap().is_err());
        std::fs::write(path(folder.path()), [0xff, 0xfe]).unwrap();
        assert!(read(folder.path()).unwrap().unwrap().is_err());
    }
}
