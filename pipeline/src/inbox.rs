//! Notes that a command leaves for the running program, or for its next start: somebody read events, made a report.
//!
//! A note is a small JSON file in `data_dir/inbox`. The `internal` source makes an event of it and removes the file once that
//! is delivered. Who left it is told by the owner of the file, which nobody but root can choose.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::clock::{Clock, Time};

/// The folder in `data_dir`.
pub const FOLDER: &str = "inbox";
/// Longest note [bytes].
const LONGEST: u64 = 64 << 10;
/// Most notes looked at in one go.
const AT_ONCE: usize = 256;
/// Most notes that wait; without an `internal` source nobody takes them.
const MOST: usize = 10_000;
/// What a note may be about: what a command can do, and nothing that another part of the program would tell.
pub const CODES: [&str; 3] = ["PVE-9041", "PVE-9042", "PVE-9043"];

/// What a command did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Note {
    /// One of [`CODES`].
    pub code: String,
    /// Nanoseconds since 1970, UTC.
    pub at: i64,
    /// The command line, as it was given.
    pub command: String,
    /// What was read: the file of the store.
    pub object: String,
    /// How many rows it gave.
    pub rows: u64,
    /// The process.
    pub pid: u32,
}

/// A note as it was found.
#[derive(Clone, Debug)]
pub struct Found {
    /// Where it lies; [`Found::done`] removes it.
    pub path: PathBuf,
    /// The owner of the file: the user who left it.
    pub uid: u32,
    /// What it says.
    pub note: Note,
}

impl Found {
    /// Its name, which is its own.
    pub fn name(&self) -> &str {
        self.path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default()
    }

    /// It was delivered.
    pub fn done(&self) -> io::Result<()> {
        std::fs::remove_file(&self.path)
    }
}

/// Leaves a note. It is whole or not there.
pub fn leave(data_dir: &Path, note: &Note) -> io::Result<()> {
    let folder = data_dir.join(FOLDER);
    if !folder.is_dir() {
        // Only where there is a folder for data: nobody's copy of a store gets a folder beside it.
        std::fs::create_dir(&folder)?;
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o700))?;
    }
    if std::fs::read_dir(&folder)?.nth(MOST).is_some() {
        return Err(io::Error::other(
            "too many notes wait here; a source of type `internal` takes them",
        ));
    }
    let name = format!("{}-{}-{:08x}", note.at, note.pid, fastrand::u32(..));
    let made = folder.join(format!(".{name}.new"));
    // Read by the program, which may run as somebody else; the folder is its own.
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o644);
    let mut file = options.open(&made)?;
    let text = serde_json::to_vec(note).expect("a note is plain text and numbers");
    let written = file.write_all(&text).and_then(|()| file.sync_all());
    written
        .and_then(|()| std::fs::rename(&made, folder.join(format!("{name}.json"))))
        .inspect_err(|_| {
            // A half note is worth nothing; what cannot be removed is not read either.
            let _ = std::fs::remove_file(&made);
        })
}

/// The notes that lie there, the oldest first, and what is none: that is put aside under another name.
pub fn look(data_dir: &Path) -> (Vec<Found>, Vec<String>) {
    let folder = data_dir.join(FOLDER);
    let mut names: Vec<_> = std::fs::read_dir(&folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| {
            path.extension().is_some_and(|end| end == "json")
                && !path
                    .file_name()
                    .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
        })
        .collect();
    names.sort();
    let (mut found, mut odd) = (Vec::new(), Vec::new());
    for path in names.into_iter().take(AT_ONCE) {
        match read(&path) {
            Ok((note, uid)) => found.push(Found { path, uid, note }),
            Err(why) => {
                odd.push(format!("{}: {why}; it is put aside", path.display()));
                if let Err(why) = std::fs::rename(&path, path.with_extension("bad")) {
                    odd.push(format!("{}: {why}", path.display()));
                }
            }
        }
    }
    (found, odd)
}

fn read(path: &Path) -> io::Result<(Note, u32)> {
    // A link could lead to a pipe, or to the file of somebody else.
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let mut options = File::options();
    options.read(true).custom_flags(flags.bits().cast_signed());
    let file = options.open(path)?;
    let about = file.metadata()?;
    if !about.is_file() || about.len() > LONGEST {
        return Err(io::Error::other("is no note"));
    }
    let mut text = Vec::new();
    file.take(LONGEST).read_to_end(&mut text)?;
    let note: Note = serde_json::from_slice(&text)?;
    if !CODES.contains(&note.code.as_str()) {
        return Err(io::Error::other("is about something that no command does"));
    }
    // Nobody reads in the future; a clock that was set back makes it so.
    let now = Clock::system().now();
    let at = Time(note.at.clamp(0, now.0));
    Ok((Note { at: at.0, ..note }, about.uid()))
}

/// The name of a user of this machine, if the list of users knows it.
pub fn user_name(uid: u32) -> Option<String> {
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    users.lines().find_map(|line| {
        let mut parts = line.split(':');
        let name = parts.next()?;
        (parts.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note() -> Note {
        Note {
            code: "PVE-9041".to_owned(),
            at: 7,
            command: "query --failed".to_owned(),
            object: "search.db".to_owned(),
            rows: 3,
            pid: 1,
        }
    }

    #[test]
    fn a_note_is_found_once_and_says_whose_it_is() {
        let folder = tempfile::tempdir().unwrap();
        leave(folder.path(), &note()).unwrap();
        let (found, odd) = look(folder.path());
        assert_eq!((found.len(), odd.len()), (1, 0));
        assert_eq!(found[0].note, note());
        assert_eq!(found[0].uid, rustix::process::getuid().as_raw());
        found[0].done().unwrap();
        assert!(look(folder.path()).0.is_empty());
    }

    #[test]
    fn what_is_no_note_is_put_aside_and_no_note_speaks_for_others() {
        let folder = tempfile::tempdir().unwrap();
        leave(folder.path(), &note()).unwrap();
        let inbox = folder.path().join(FOLDER);
        std::fs::write(inbox.join("a.json"), "{}").unwrap();
        let forged = Note {
            code: "PVE-1001".to_owned(),
            ..note()
        };
        std::fs::write(inbox.join("b.json"), serde_json::to_vec(&forged).unwrap()).unwrap();
        std::fs::write(inbox.join("c.json"), vec![b' '; 100_000]).unwrap();
        std::os::unix::fs::symlink("/dev/zero", inbox.join("d.json")).unwrap();
        let (found, odd) = look(folder.path());
        assert_eq!((found.len(), odd.len()), (1, 4), "{odd:?}");
        assert_eq!(look(folder.path()).1.len(), 0);
    }

    #[test]
    fn notes_that_nobody_takes_fill_no_disk() {
        let folder = tempfile::tempdir().unwrap();
        let inbox = folder.path().join(FOLDER);
        std::fs::create_dir(&inbox).unwrap();
        for n in 0..=MOST {
            std::fs::write(inbox.join(n.to_string()), "").unwrap();
        }
        let why = leave(folder.path(), &note()).unwrap_err();
        assert!(why.to_string().contains("`internal`"), "{why}");
    }

    #[test]
    fn a_folder_that_is_not_there_is_not_made_for_it() {
        assert!(leave(Path::new("/nonexistent/data"), &note()).is_err());
        assert!(look(Path::new("/nonexistent/data")).0.is_empty());
    }
}
