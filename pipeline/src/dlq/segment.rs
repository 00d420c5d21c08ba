//! The file that dead letters are appended to.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

pub(super) use crate::disk::{Lock, sync_folder};
use crate::disk::{make_folder, numbered};

/// A file is not appended to once it is this long [bytes].
pub(super) const SEGMENT: u64 = 16 << 20;
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
pub(super) fn segments(folder: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    numbered(folder, ENDING)
}

fn name(number: u64) -> String {
    format!("{number:08}.{ENDING}")
}
