//! The file that dead letters are appended to.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A file is not appended to once it is this long [bytes].
pub(super) const SEGMENT: u64 = 16 << 20;
/// Longest wait for whoever else holds the lock.
const PATIENCE: Duration = Duration::from_secs(5);
const ENDING: &str = "jsonl";

/// The folder of one component, and the file open for appending.
pub(super) struct Segment {
    folder: PathBuf,
    open: Option<Open>,
}

struct Open {
    file: File,
    path: PathBuf,
    len: u64,
}

impl Segment {
    pub(super) fn new(folder: PathBuf) -> Segment {
        Segment { folder, open: None }
    }

    /// Appends whole lines and makes them durable, or changes nothing.
    pub(super) fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        self.try_append(lines).map_err(|why| {
            self.open = None;
            io::Error::new(why.kind(), format!("{}: {why}", self.folder.display()))
        })
    }

    fn try_append(&mut self, lines: &[u8]) -> io::Result<()> {
        make_folder(&self.folder)?;
        let _lock = Lock::take(&self.folder)?;
        let open = match self.open.take().filter(Open::is_current) {
            Some(open) if open.len < SEGMENT => open,
            _ => Open::last(&self.folder)?,
        };
        let open = self.open.insert(open);
        let written = open
            .file
            .write_all(lines)
            .and_then(|()| open.file.sync_data());
        match written {
            Ok(()) => open.len += lines.len() as u64,
            // What came half is taken back; where even that fails, the torn line is cut when the file is opened again.
            Err(_) => open
                .file
                .set_len(open.len)
                .and_then(|()| open.file.sync_data())
                .unwrap_or_default(),
        }
        written
    }
}

impl Open {
    /// The last file of the folder with its torn end cut off, or a new one where that is full or there is none.
    fn last(folder: &Path) -> io::Result<Open> {
        let mut number = 1;
        if let Some((last, path)) = segments(folder)?.pop() {
            let mut file = OpenOptions::new().read(true).append(true).open(&path)?;
            let len = cut_torn_end(&mut file, &path)?;
            if len < SEGMENT {
                return Ok(Open { file, path, len });
            }
            number = last + 1;
        }
        let path = folder.join(name(number));
        let file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        sync_folder(folder)?;
        Ok(Open { file, path, len: 0 })
    }

    /// Whether the file at this path is still this one, as long as we left it.
    fn is_current(&self) -> bool {
        let (Ok(ours), Ok(there)) = (self.file.metadata(), std::fs::metadata(&self.path)) else {
            return false;
        };
        ours.dev() == there.dev() && ours.ino() == there.ino() && there.len() == self.len
    }
}

/// Makes the folder and those above it, durably.
fn make_folder(folder: &Path) -> io::Result<()> {
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

/// Cuts off what follows the last newline: a write that was cut short by a crash, and so was never answered for.
fn cut_torn_end(file: &mut File, path: &Path) -> io::Result<u64> {
    let len = file.metadata()?.len();
    let mut end = len;
    let mut block = [0; 4096];
    while end > 0 {
        let start = end.saturating_sub(block.len() as u64);
        let block = &mut block[..(end - start) as usize];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(block)?;
        if let Some(at) = memchr::memrchr(b'\n', block) {
            end = start + at as u64 + 1;
            break;
        }
        end = start;
    }
    if end < len {
        tracing::warn!(
            path = %path.display(),
            bytes = len - end,
            "an unfinished last line was cut off the dead letters; its event had not been answered for and comes again"
        );
        file.set_len(end)?;
        file.sync_data()?;
    }
    Ok(end)
}

/// The files of a folder by number, ascending.
pub(super) fn segments(folder: &Path) -> io::Result<Vec<(u32, PathBuf)>> {
    let mut segments = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let number = path
            .file_stem()
            .and_then(|stem| stem.to_str())
            .and_then(|stem| stem.parse().ok());
        match number {
            Some(number) if path.extension().is_some_and(|ending| ending == ENDING) => {
                segments.push((number, path))
            }
            _ => {}
        }
    }
    segments.sort_unstable();
    Ok(segments)
}

fn name(number: u32) -> String {
    format!("{number:08}.{ENDING}")
}

pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    let folder = if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    };
    File::open(folder)?.sync_all()
}

/// The lock of a folder; given back when dropped.
#[derive(Debug)]
pub(super) struct Lock(File);

impl Lock {
    /// Waits a few seconds for it at most: holders keep it for one write.
    pub(super) fn take(folder: &Path) -> io::Result<Lock> {
        Lock::named(folder, ".lock", PATIENCE)
    }

    pub(super) fn named(folder: &Path, name: &str, patience: Duration) -> io::Result<Lock> {
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
