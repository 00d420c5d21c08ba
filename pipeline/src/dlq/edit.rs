//! Removing and changing dead letters while another program may be appending more.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use super::letter::{Letter, Line, Lines};
use super::segment::{Lock, sync_folder};

/// What becomes of a letter.
#[derive(Debug)]
pub enum Decision {
    /// It stays as it is.
    Keep,
    /// It goes.
    Remove,
    /// It stays, changed.
    Change(Box<Letter>),
}

/// What an edit did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Edited {
    /// Lines that are gone.
    pub removed: u64,
    /// Lines that are still there, letters or not.
    pub kept: u64,
}

/// Goes through the lines of one file under the folder's lock and writes anew what stays. `decide` is given the number
/// of the line from 0 and what stands there; lines that another program has appended meanwhile come last and are the
/// caller's to keep. A file of which nothing stays is removed. A crash leaves the file as it was.
///
/// # Errors
/// The file cannot be read or written anew; it is then as it was.
pub fn edit(path: &Path, mut decide: impl FnMut(usize, &Line) -> Decision) -> io::Result<Edited> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let _lock = Lock::take(folder)?;
    let mut lines = Lines::open(path)?;
    let aside = path.with_extension("new");
    let mut edited = Edited::default();
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&aside)?;
    let done = copy(&mut lines, file, &mut decide, &mut edited).and_then(|changed| match changed {
        false => std::fs::remove_file(&aside),
        true if edited.kept == 0 => {
            std::fs::remove_file(path).and_then(|()| std::fs::remove_file(&aside))
        }
        true => std::fs::rename(&aside, path),
    });
    if done.is_err() {
        let _ = std::fs::remove_file(&aside);
    }
    done?;
    sync_folder(folder)?;
    Ok(edited)
}

/// Writes what stays into `file` and says whether that differs from what was there.
fn copy(
    lines: &mut Lines,
    file: File,
    decide: &mut impl FnMut(usize, &Line) -> Decision,
    edited: &mut Edited,
) -> io::Result<bool> {
    let mut out = BufWriter::with_capacity(256 << 10, file);
    let mut changed = false;
    let mut n = 0;
    while let Some(line) = lines.next() {
        match decide(n, &line?) {
            Decision::Keep => {
                out.write_all(lines.text())?;
                out.write_all(b"\n")?;
                edited.kept += 1;
            }
            Decision::Change(letter) => {
                serde_json::to_writer(&mut out, &letter)?;
                out.write_all(b"\n")?;
                edited.kept += 1;
                changed = true;
            }
            Decision::Remove => {
                edited.removed += 1;
                changed = true;
            }
        }
        n += 1;
    }
    out.into_inner()
        .map_err(io::IntoInnerError::into_error)?
        .sync_data()?;
    Ok(changed)
}

/// Held by a command that retries or purges, so that two of them never work on the same letters.
#[derive(Debug)]
pub struct AtWork(#[allow(dead_code, reason = "held for its drop")] Lock);

impl AtWork {
    /// Takes the dead letters of one component, or says that another command has them.
    ///
    /// # Errors
    /// Another command is at work, or the folder cannot be written.
    pub fn on(data_dir: &Path, component: &str) -> io::Result<AtWork> {
        let folder = super::folder(data_dir).join(component);
        Lock::named(&folder, ".work", Duration::ZERO).map(AtWork)
    }
}
