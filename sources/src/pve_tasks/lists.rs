//! The three lists, read so that they fit together, and only when one of them changed.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

/// Most that is read of one list, its end; PVE keeps each below 100 KiB, but for what ended at once [bytes].
const MOST: u64 = 16 << 20;
/// Tries to find the lists as they are between two rotations.
const TRIES: usize = 8;

/// What tells one state of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

/// The text of a list.
#[derive(Clone, Debug, Default)]
pub(super) struct List {
    pub(super) text: Vec<u8>,
    /// Its beginning was left out, for it is longer than [`MOST`].
    pub(super) cut: bool,
}

impl List {
    /// Whole lines, without their ends; and what stands behind the last of them.
    pub(super) fn lines(&self) -> (impl Iterator<Item = &[u8]>, &[u8]) {
        let end = memchr::memrchr(b'\n', &self.text).map_or(0, |at| at + 1);
        let (whole, rest) = self.text.split_at(end);
        let lines = whole.split(|byte| *byte == b'\n');
        (lines.filter(|line| !line.is_empty()), rest)
    }
}

/// The lists of one moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Lists {
    /// Read first: a task that leaves it stands in `index` by then.
    pub(super) active: List,
    pub(super) index: List,
    pub(super) previous: List,
}

impl Lists {
    pub(super) fn size(&self) -> usize {
        self.active.text.len() + self.index.text.len() + self.previous.text.len()
    }
}

/// Looks at the lists of one folder.
#[derive(Debug)]
pub(super) struct Looker {
    folder: PathBuf,
    paths: [PathBuf; 3],
    seen: Option<[Option<Stamp>; 3]>,
}

impl Looker {
    pub(super) fn new(folder: &Path) -> Looker {
        Looker {
            folder: folder.to_owned(),
            paths: ["active", "index", "index.1"].map(|name| folder.join(name)),
            seen: None,
        }
    }

    /// The lists, if one of them changed since the last time, or if `anyway`.
    pub(super) fn look(&mut self, anyway: bool) -> Result<Option<Lists>, String> {
        if !anyway && self.seen.is_some() && self.seen == Some(self.stamps()?) {
            return Ok(None);
        }
        for _ in 0..TRIES {
            let mut lists = Lists::default();
            let mut stamps = [None; 3];
            let mut files = [None, None, None];
            for (n, path) in self.paths.iter().enumerate() {
                if let Some((file, stamp)) = open(path)? {
                    (files[n], stamps[n]) = (Some(file), Some(stamp));
                }
            }
            // Opened one after another: a rotation in between would hide what was moved.
            let now = self.stamps()?;
            let same = |n: usize| stamps[n].map(place) == now[n].map(place);
            if !(same(1) && same(2)) {
                continue;
            }
            let into = [&mut lists.active, &mut lists.index, &mut lists.previous];
            for ((file, list), path) in files.into_iter().zip(into).zip(&self.paths) {
                if let Some(file) = file {
                    *list = read(file).map_err(|why| unreadable(path, &why))?;
                }
            }
            // What was written since is another state, which the next look sees.
            self.seen = Some(stamps);
            return Ok(Some(lists));
        }
        Err(format!(
            "{} was renamed each time it was opened",
            self.paths[1].display()
        ))
    }

    fn stamps(&self) -> Result<[Option<Stamp>; 3], String> {
        // A list may be missing, the folder may not: without it nobody knows what runs.
        match std::fs::metadata(&self.folder) {
            Ok(found) if found.is_dir() => {}
            Ok(_) => return Err(format!("{} is no folder", self.folder.display())),
            Err(why) => return Err(unreadable(&self.folder, &why)),
        }
        let mut stamps = [None; 3];
        for (stamp, path) in stamps.iter_mut().zip(&self.paths) {
            *stamp = match std::fs::symlink_metadata(path) {
                Ok(found) => Some(stamp_of(&found)),
                Err(why) if why.kind() == io::ErrorKind::NotFound => None,
                Err(why) => return Err(unreadable(path, &why)),
            };
        }
        Ok(stamps)
    }
}

fn place(stamp: Stamp) -> (u64, u64) {
    (stamp.device, stamp.inode)
}

fn stamp_of(found: &std::fs::Metadata) -> Stamp {
    Stamp {
        device: found.dev(),
        inode: found.ino(),
        size: found.size(),
        modified: (found.mtime(), found.mtime_nsec()),
    }
}

/// What is wrong, and what to do about it.
pub(super) fn unreadable(path: &Path, why: &io::Error) -> String {
    let help = match why.kind() {
        io::ErrorKind::PermissionDenied => {
            "; the program needs CAP_DAC_READ_SEARCH, or to run as root"
        }
        io::ErrorKind::NotFound => "; it is looked for again and again",
        _ => "",
    };
    format!("{}: {why}{help}", path.display())
}

fn open(path: &Path) -> Result<Option<(File, Stamp)>, String> {
    match plain(path) {
        Ok(file) => {
            let found = file.metadata().map_err(|why| unreadable(path, &why))?;
            Ok(Some((file, stamp_of(&found))))
        }
        Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(why) => Err(unreadable(path, &why)),
    }
}

/// Opens a plain file: no link, and nothing that would block.
pub(super) fn plain(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("this is no plain file"));
    }
    Ok(file)
}

fn read(mut file: File) -> io::Result<List> {
    let size = file.metadata()?.len();
    let cut = size > MOST;
    if cut {
        file.seek(SeekFrom::Start(size - MOST))?;
    }
    let mut text = Vec::with_capacity(usize::try_from(size.min(MOST)).unwrap_or(0));
    file.take(MOST).read_to_end(&mut text)?;
    if cut {
        let line = memchr::memchr(b'\n', &text).map_or(text.len(), |at| at + 1);
        text.drain(..line);
    }
    Ok(List { text, cut })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_again_only_when_it_changed() {
        let folder = tempfile::tempdir().unwrap();
        let mut looker = Looker::new(folder.path());
        assert!(looker.look(false).unwrap().is_some());
        assert!(looker.look(false).unwrap().is_none());
        std::fs::write(folder.path().join("index"), "a\nb\nhalf").unwrap();
        let lists = looker.look(false).unwrap().unwrap();
        let (lines, rest) = lists.index.lines();
        assert_eq!(lines.collect::<Vec<_>>(), [b"a", b"b"]);
        assert_eq!(rest, b"half");
        std::fs::rename(folder.path().join("index"), folder.path().join("index.1")).unwrap();
        let lists = looker.look(false).unwrap().unwrap();
        assert!(lists.index.text.is_empty() && !lists.previous.text.is_empty());
        assert!(looker.look(false).unwrap().is_none() && looker.look(true).unwrap().is_some());
    }

    #[test]
    fn of_a_monstrous_list_the_end_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let mut text = vec![b'x'; MOST as usize + 10];
        text.extend_from_slice(b"\nlast\n");
        std::fs::write(folder.path().join("index"), text).unwrap();
        let lists = Looker::new(folder.path()).look(true).unwrap().unwrap();
        assert_eq!(
            (lists.index.text.as_slice(), lists.index.cut),
            (&b"last\n"[..], true)
        );
    }

    #[test]
    fn what_is_no_plain_file_is_not_opened() {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc/passwd", folder.path().join("index")).unwrap();
        assert!(Looker::new(folder.path()).look(true).is_err());
        let other = tempfile::tempdir().unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, other.path().join("active"), Mode::RUSR).unwrap();
        let why = Looker::new(other.path()).look(true).unwrap_err();
        assert!(why.contains("no plain file"), "{why}");
    }
}
