//! What everything that keeps files needs: folders that outlive a crash, numbered files, one lock for each folder.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Longest wait for whoever else holds a lock that is held for one write.
const PATIENCE: Duration = Duration::from_secs(5);

/// Makes the folder and those above it, durably; mode 0700.
pub(crate) fn make_folder(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    for above in folder.ancestors().skip(1).take(2) {
        sync_folder(above)?;
    }
    Ok(())
}

/// The files of a folder that are called `<number>.<ending>`, ascending by number.
pub(crate) fn numbered(folder: &Path, ending: &str) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let number = path
            .file_stem()
            .and_then(|stem| stem.to_str())
            .and_then(|stem| stem.parse().ok());
        match number {
            Some(number) if path.extension().is_some_and(|it| it == ending) => {
                files.push((number, path));
            }
            _ => {}
        }
    }
    files.sort_unstable();
    Ok(files)
}

/// Makes names in the folder durable.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    let folder = if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    };
    File::open(folder)?.sync_all()
}

/// The lock of a folder; given back when dropped.
#[derive(Debug)]
pub(crate) struct Lock(File);

impl Lock {
    /// Waits a few seconds for it at most: holders keep it for one write.
    pub(crate) fn take(folder: &Path) -> io::Result<Lock> {
        Lock::named(folder, ".lock", PATIENCE)
    }

    /// The lock file `name` of the folder, waiting for it as long as `patience`.
    pub(crate) fn named(folder: &Path, name: &str, patience: Duration) -> io::Result<Lock> {
        let path = folder.join(name);
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)?;
        let began = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Lock(file)),
                Err(std::fs::TryLockError::WouldBlock) if began.elapsed() < patience => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(std::fs::TryLockError::WouldBlock) => {
                    let why = format!("another program holds {}", path.display());
                    return Err(io::Error::new(io::ErrorKind::WouldBlock, why));
                }
                Err(std::fs::TryLockError::Error(why)) => return Err(why),
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing the file gives the lock back too; this only does it at once.
        let _ = self.0.unlock();
    }
}
