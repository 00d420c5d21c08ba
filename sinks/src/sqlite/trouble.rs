//! What goes wrong with a store, in the words of the one who has to mend it.

use std::path::Path;

use pipeline::{Reason, ReasonKind, WriteError};
use rusqlite::ErrorCode;

use crate::SLOW;

/// What kind of trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TroubleKind {
    /// There is no such file.
    Missing,
    /// It may not be read or written.
    Forbidden,
    /// Another process holds it.
    Locked,
    /// The disk is full or broken.
    Disk,
    /// The file is damaged.
    Damaged,
    /// It is no store of ours.
    Foreign,
    /// A newer pvetrail wrote it.
    Newer,
    /// What was asked for makes no sense.
    Question,
    /// Anything else.
    Other,
}

/// Why a store cannot be written or read.
#[derive(Clone, Debug)]
pub struct Trouble {
    /// What kind.
    pub kind: TroubleKind,
    /// What is wrong and what to do about it.
    pub text: String,
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Trouble {}

impl Trouble {
    pub(crate) fn new(kind: TroubleKind, text: String) -> Trouble {
        Trouble { kind, text }
    }

    pub(crate) fn io(path: &Path, why: &std::io::Error) -> Trouble {
        use std::io::ErrorKind;
        let kind = match why.kind() {
            ErrorKind::NotFound => TroubleKind::Missing,
            ErrorKind::PermissionDenied => TroubleKind::Forbidden,
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::ReadOnlyFilesystem => {
                TroubleKind::Disk
            }
            _ => TroubleKind::Other,
        };
        Trouble::new(kind, format!("{}: {why}", path.display()))
    }

    pub(crate) fn of(path: &Path, why: &rusqlite::Error) -> Trouble {
        let place = path.display();
        let (kind, text) = match why.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => (
                TroubleKind::Disk,
                format!("{place}: the disk is full; events wait until there is room"),
            ),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => (
                TroubleKind::Locked,
                format!(
                    "{place}: another process holds the lock of the store; `fuser -v` on the file names it"
                ),
            ),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => (
                TroubleKind::Damaged,
                format!(
                    "{place}: is damaged or no store at all ({why}); move it away with its -wal and -shm, and a new one \
                     is begun; `sqlite3 FILE .recover` saves what can be read"
                ),
            ),
            Some(ErrorCode::ReadOnly) => (
                TroubleKind::Forbidden,
                format!(
                    "{place}: may only be read; see owner and mode of the file and its folder ({why})"
                ),
            ),
            Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => (
                TroubleKind::Forbidden,
                format!(
                    "{place}: cannot be opened; see owner and mode of the file and its folder ({why})"
                ),
            ),
            Some(ErrorCode::SystemIoFailure) => (
                TroubleKind::Disk,
                format!("{place}: the disk fails or is full ({why}); look at the kernel's log"),
            ),
            _ => (TroubleKind::Other, format!("{place}: {why}")),
        };
        Trouble::new(kind, text)
    }

    /// As the answer of a sink: the events wait.
    pub(super) fn retry(self) -> WriteError {
        let (kind, after) = match self.kind {
            TroubleKind::Locked => (ReasonKind::Busy, None),
            TroubleKind::Disk => (ReasonKind::Disk, None),
            TroubleKind::Forbidden => (ReasonKind::Forbidden, Some(SLOW)),
            TroubleKind::Missing => (ReasonKind::Missing, Some(SLOW)),
            _ => (ReasonKind::Blocked, Some(SLOW)),
        };
        WriteError::Retry {
            reason: Reason::new(kind, self.text),
            after,
        }
    }
}
