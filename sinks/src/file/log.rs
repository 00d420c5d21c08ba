//! One file of whole lines.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The longest torn line that is cut off [bytes]; what is longer was not written by us.
const MAX_TORN: u64 = 64 << 20;

/// When a file is renamed, and how many of those are kept.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rotation {
    pub(super) max_size: Option<u64>,
    pub(super) keep: Option<u32>,
}

/// An open file that ends with a whole line.
#[derive(Debug)]
pub(super) struct Log {
    path: PathBuf,
    file: File,
    mode: u32,
    /// Where the last delivered line ends.
    length: u64,
    /// Whether the folder must be synced too, because the name is new.
    new_name: bool,
    /// So many bytes fit on the disk.
    #[cfg(test)]
    pub(super) room: Option<u64>,
}

impl Log {
    /// Opens or makes it, takes it for us alone, and cuts a torn last line off. `first` is the byte lines begin with.
    pub(super) fn open(path: &Path, mode: u32, first: Option<u8>) -> io::Result<Self> {
        if let Some(folder) = path.parent().filter(|f| !f.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder)?;
        }
        let new_name = !path.exists();
        // Never waits for the other end of a pipe.
        let nonblock = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or(0);
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(mode)
            .custom_flags(nonblock)
            .open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("is no regular file"));
        }
        match file.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => {
                return Err(io::Error::other(
                    "another program, or another sink, writes to it",
                ));
            }
            // A file system without locks.
            Err(std::fs::TryLockError::Error(_)) => {}
        }
        let length = whole_lines(&mut file, first)?;
        let torn = file.metadata()?.len() - length;
        if torn > 0 {
            tracing::warn!(
                "{}: the last line was torn by a crash, so its {torn} bytes are cut off; it was not delivered and comes again",
                path.display()
            );
            file.set_len(length)?;
            file.sync_all()?;
        }
        Ok(Self {
            path: path.to_owned(),
            file,
            mode,
            length,
            new_name,
            #[cfg(test)]
            room: None,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the path still leads to this very file.
    pub(super) fn is_in_place(&self) -> bool {
        let (Ok(there), Ok(here)) = (std::fs::metadata(&self.path), self.file.metadata()) else {
            return false;
        };
        (there.dev(), there.ino()) == (here.dev(), here.ino()) && here.len() == self.length
    }

    /// Appends whole lines and waits until they are on the disk; after an error none of them is in the file.
    pub(super) fn append(&mut self, lines: &[u8], rotation: &Rotation) -> io::Result<()> {
        let after = self.length + lines.len() as u64;
        if rotation.max_size.is_some_and(|max| after > max) && self.length > 0 {
            self.rotate(rotation.keep)?;
        }
        let written = self.write(lines).and_then(|()| self.sync());
        if written.is_err()
            && self
                .file
                .set_len(self.length)
                .and_then(|()| self.file.sync_data())
                .is_err()
        {
            // Opening it again will try the same.
            tracing::error!(
                "{}: what was half written cannot be taken back now",
                self.path.display()
            );
        }
        written?;
        self.length += lines.len() as u64;
        Ok(())
    }

    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        #[cfg(test)]
        if let Some(room) = self.room
            && self.length + lines.len() as u64 > room
        {
            let fits = usize::try_from(room.saturating_sub(self.length)).unwrap_or(0);
            self.file.write_all(&lines[..fits])?;
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.file.write_all(lines)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()?;
        if self.new_name {
            sync_folder(&self.path)?;
            self.new_name = false;
        }
        Ok(())
    }

    /// `x` becomes `x.1`, `x.1` becomes `x.2`, and so on; a new `x` is made.
    fn rotate(&mut self, keep: Option<u32>) -> io::Result<()> {
        let numbered = |n: u32| {
            let mut name = self.path.clone().into_os_string();
            name.push(format!(".{n}"));
            PathBuf::from(name)
        };
        // Up to the first gap.
        let mut last = 0;
        while numbered(last + 1).exists() {
            last += 1;
        }
        for n in (1..=last).rev() {
            if keep.is_some_and(|keep| n >= keep) {
                std::fs::remove_file(numbered(n))?;
            } else {
                std::fs::rename(numbered(n), numbered(n + 1))?;
            }
        }
        if keep == Some(0) {
            std::fs::remove_file(&self.path)?;
        } else {
            std::fs::rename(&self.path, numbered(1))?;
        }
        sync_folder(&self.path)?;
        let fresh = Self::open(&self.path, self.mode, None)?;
        #[cfg(test)]
        let room = self.room;
        *self = fresh;
        #[cfg(test)]
        {
            self.room = room;
        }
        Ok(())
    }
}

fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path
        .parent()
        .filter(|f| !f.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

/// Where the last whole line of a file ends.
fn whole_lines(file: &mut File, first: Option<u8>) -> io::Result<u64> {
    let length = file.metadata()?.len();
    let mut piece = vec![0; 64 << 10];
    let mut end = length;
    while end > 0 {
        let start = end.saturating_sub(piece.len() as u64);
        let piece = &mut piece[..usize::try_from(end - start).unwrap_or(0)];
        file.read_exact_at(piece, start)?;
        if let Some(at) = memchr::memrchr(b'\n', piece) {
            return Ok(start + at as u64 + 1);
        }
        end = start;
        if length - end > MAX_TORN {
            return Err(io::Error::other(
                "does not end with a line, so it is not ours; nothing is cut off a file of others",
            ));
        }
    }
    // One piece without a line end: our first line, torn, or something that was never lines.
    let mut begin = [0; 1];
    file.seek(SeekFrom::Start(0))?;
    if file.read(&mut begin)? == 1 && first.is_some_and(|first| first != begin[0]) {
        return Err(io::Error::other(
            "holds something that is no line of ours; nothing is cut off a file of others",
        ));
    }
    Ok(0)
}

/// What is wrong and what to do about it.
pub(super) fn explain(path: &Path, why: &io::Error) -> String {
    let path = path.display();
    match why.kind() {
        io::ErrorKind::StorageFull => {
            format!("{path}: the disk is full; events wait until there is room ({why})")
        }
        io::ErrorKind::QuotaExceeded => {
            format!("{path}: the quota is used up; events wait until there is room ({why})")
        }
        io::ErrorKind::ReadOnlyFilesystem => format!(
            "{path}: the file system is read-only, perhaps after an error of the disk ({why})"
        ),
        io::ErrorKind::PermissionDenied => format!(
            "{path}: we may not write there; see owner and mode of the file and its folder ({why})"
        ),
        io::ErrorKind::IsADirectory => format!("{path}: is a folder; name a file in it"),
        _ if why.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()) => {
            format!("{path}: the disk fails; look at the kernel's log ({why})")
        }
        _ => format!("{path}: {why}"),
    }
}
