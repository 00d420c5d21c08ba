//! Files as a walk through the folder finds them.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::time::{Duration, SystemTime};

/// Paths below the folder.
pub(super) type Walked = BTreeMap<String, Sign>;

/// Whether a file is the one it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sign {
    pub(super) modified: i64,
    pub(super) size: u64,
    inode: u64,
}

impl Sign {
    pub(super) fn of(meta: &fs::Metadata) -> Sign {
        Sign {
            modified: meta
                .mtime()
                .saturating_mul(1_000_000_000)
                .saturating_add(meta.mtime_nsec()),
            size: meta.size(),
            inode: meta.ino(),
        }
    }

    /// How long ago it was written.
    pub(super) fn age(&self) -> Duration {
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let at = Duration::from_nanos(self.modified.max(0).unsigned_abs());
        now.saturating_sub(at)
    }
}

/// `vm` or `ct`, by number.
pub(super) fn guests(found: &Walked) -> HashMap<&str, &'static str> {
    let guest = |path: &str| -> Option<&'static str> {
        match path.split('/').nth(2)? {
            "qemu-server" => Some("vm"),
            "lxc" => Some("ct"),
            _ => None,
        }
    };
    found
        .keys()
        .filter_map(|path| {
            let number = path.rsplit('/').next()?.strip_suffix(".conf")?;
            Some((number, guest(path)?))
        })
        .collect()
}

pub(super) fn is_hidden(path: &str, hidden: &[String]) -> bool {
    hidden.iter().any(|folder| {
        path.strip_prefix(folder.as_str())
            .is_some_and(|rest| rest.starts_with('/'))
    })
}
