//! Files as a walk through the folder finds them.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::super::kinds::{is_closed, place};

/// Most files and folders that are looked at [entries].
const MOST_ENTRIES: usize = 200_000;
/// Deepest folder that is entered.
const DEEPEST: usize = 8;

/// Paths below the folder.
pub(super) type Walked = BTreeMap<String, Sign>;

/// Files and folders that could not be looked at, and why; what is in them is not gone.
pub(super) type Hidden = BTreeMap<String, String>;

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

/// Every file below the folder, and what could not be looked at; `alive` is called whenever something came back.
pub(super) fn walk(root: &Path, alive: impl Fn()) -> Result<(Walked, Hidden), String> {
    let mut found = Walked::new();
    let mut hidden = Hidden::new();
    let mut folders = vec![(String::new(), 0)];
    let mut entries = 0;
    while let Some((folder, depth)) = folders.pop() {
        alive();
        let list = match fs::read_dir(root.join(&folder)) {
            Ok(list) => list,
            Err(why) if folder.is_empty() => {
                return Err(format!("cannot read {}: {why}", root.display()));
            }
            Err(why) if why.kind() == io::ErrorKind::NotFound => continue,
            Err(why) => {
                hidden.insert(folder, format!("the folder cannot be read: {why}"));
                continue;
            }
        };
        for entry in list {
            entries += 1;
            if entries > MOST_ENTRIES {
                return Err(format!(
                    "there are more than {MOST_ENTRIES} files and folders"
                ));
            }
            let entry = match entry {
                Ok(entry) => entry,
                Err(why) => {
                    hidden.insert(folder, format!("the folder cannot be read: {why}"));
                    break;
                }
            };
            let name = entry.file_name();
            let (name, is_text) = match name.to_str() {
                Some(name) => (name.to_owned(), true),
                None => (name.as_bytes().escape_ascii().to_string(), false),
            };
            let path = match folder.is_empty() {
                true => name.clone(),
                false => format!("{folder}/{name}"),
            };
            // Links are PVE's own shorthand for folders of this node.
            let kind = entry.file_type();
            if kind.as_ref().is_ok_and(fs::FileType::is_symlink) {
                continue;
            }
            if !is_text {
                let why = "its name is no UTF-8, which none of PVE's is; it is not read";
                hidden.insert(path, why.to_owned());
                continue;
            }
            if kind.is_ok_and(|kind| kind.is_dir()) {
                if is_closed(&name) {
                    continue;
                }
                if depth < DEEPEST {
                    folders.push((path, depth + 1));
                } else {
                    let why = format!("more than {DEEPEST} folders deep; it is not entered");
                    hidden.insert(path, why);
                }
                continue;
            }
            if place(&path).is_none() {
                continue;
            }
            match entry.metadata() {
                Ok(meta) => drop(found.insert(path, Sign::of(&meta))),
                // It went away since the folder was read.
                Err(why) if why.kind() == io::ErrorKind::NotFound => {}
                // What cannot be looked at is not gone.
                Err(why) => drop(hidden.insert(path, format!("cannot look at it: {why}"))),
            }
            if entries % 64 == 0 {
                alive();
            }
        }
    }
    Ok((found, hidden))
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

/// Whether it, or a folder it is in, could not be looked at.
pub(super) fn is_hidden(path: &str, hidden: &Hidden) -> bool {
    let folders = path.match_indices('/').map(|(at, _)| &path[..at]);
    !hidden.is_empty()
        && (hidden.contains_key(path)
            || folders
                .into_iter()
                .any(|folder| hidden.contains_key(folder)))
}
