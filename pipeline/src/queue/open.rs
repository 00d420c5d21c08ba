//! Opens the queue of a folder after whatever has happened to it, and says what it found.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::cursor::{Cursor, Damage, Found, UNKNOWN};
use super::files::{DAMAGED, ENDING, Files, One, Size, State, has_no_room, keep_aside};
use super::format::{BadHead, FILE_HEAD, FileHead, RECORD_HEAD, RecordHead, VERSION};
use super::place::{self, Place};
use crate::clock::Clock;
use crate::disk::{Lock, make_folder, numbered, sync_folder};

/// Why a queue cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another program works on it.
    #[error(
        "the queue {folder} is in use by another program; two must not share a data_dir, stop one of them"
    )]
    InUse {
        /// Its folder.
        folder: PathBuf,
    },
    /// Another version of this program wrote it.
    #[error(
        "{path} is of format {found}, and this version reads format {VERSION}; let the version that wrote it empty the queue, or move the folder away"
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// The file system says no.
    #[error("the queue {folder} cannot be opened: {source}")]
    Io {
        /// Its folder.
        folder: PathBuf,
        /// What it says.
        source: io::Error,
    },
}

/// Something that is not as it was left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Note {
    /// The word for the metric.
    pub(super) code: &'static str,
    /// Events that are lost, as far as it is known.
    pub(super) lost: u64,
    pub(super) text: String,
}

/// A whole file is put aside.
const UNREADABLE: &str = "unreadable";

/// An open queue.
pub(super) struct Opened {
    pub(super) files: Files,
    /// Where reading begins.
    pub(super) place: Place,
    pub(super) notes: Vec<Note>,
}

/// What the folder of a queue holds, before anything is changed.
pub(super) struct Listing {
    pub(super) files: Vec<Listed>,
    /// What the position says, or why it cannot be used.
    pub(super) kept: Option<Result<place::Kept, String>>,
    /// The salt for files that do not say theirs.
    pub(super) salt: Option<u64>,
}

/// One file, as its name and its head have it.
pub(super) struct Listed {
    pub(super) number: u64,
    pub(super) path: PathBuf,
    pub(super) len: u64,
    pub(super) head: Option<FileHead>,
}

impl Listed {
    /// Opens it for reading; `None` where the salt is not known.
    pub(super) fn cursor(&self, listing: &Listing) -> io::Result<Option<Cursor>> {
        let (first, salt) = match (self.head, listing.salt) {
            (Some(head), _) => (head.first, head.salt),
            (None, Some(salt)) => (UNKNOWN, salt),
            (None, None) => return Ok(None),
        };
        Ok(Some(Cursor::new(File::open(&self.path)?, salt, first)))
    }
}

/// Looks at a folder without changing anything. Files that vanish meanwhile are left out.
pub(super) fn list(folder: &Path) -> Result<Listing, OpenError> {
    let io = |source| OpenError::Io {
        folder: folder.to_owned(),
        source,
    };
    let kept = place::read(folder).map_err(io)?;
    let mut files = Vec::new();
    for (number, path) in numbered(folder, ENDING).map_err(io)? {
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(why) if why.kind() == io::ErrorKind::NotFound => continue,
            Err(why) => return Err(io(why)),
        };
        let mut head = Vec::with_capacity(FILE_HEAD);
        let len = file.metadata().map_err(io)?.len();
        file.take(FILE_HEAD as u64)
            .read_to_end(&mut head)
            .map_err(io)?;
        let head = match FileHead::parse(&head) {
            Ok(head) => Some(head),
            Err(BadHead::Version(found)) => return Err(OpenError::Version { path, found }),
            Err(BadHead::Damaged) => None,
        };
        files.push(Listed {
            number,
            path,
            len,
            head,
        });
    }
    let of_position = kept.as_ref().and_then(|kept| kept.as_ref().ok());
    let salt = of_position
        .map(|kept| kept.salt)
        .or_else(|| files.iter().find_map(|file| Some(file.head?.salt)));
    Ok(Listing { files, kept, salt })
}

/// Longest wait for a predecessor to let go.
const PATIENCE: Duration = Duration::from_secs(2);

/// The lock of a queue, made with its folder.
pub(super) fn lock(folder: &Path) -> Result<Lock, OpenError> {
    make_folder(folder)
        .and_then(|()| Lock::named(folder, ".lock", PATIENCE))
        .map_err(|source| match source.kind() {
            io::ErrorKind::WouldBlock => OpenError::InUse {
                folder: folder.to_owned(),
            },
            _ => OpenError::Io {
                folder: folder.to_owned(),
                source,
            },
        })
}

/// Opens the queue in `folder`, which is made if it is not there. Blocks.
pub(super) fn open(folder: &Path, size: Size, clock: Clock) -> Result<Opened, OpenError> {
    let lock = lock(folder)?;
    let listing = list(folder)?;
    let io = |source| OpenError::Io {
        folder: folder.to_owned(),
        source,
    };
    let mut notes = Vec::new();
    let kept = match &listing.kept {
        Some(Ok(kept)) => Some(kept.place),
        Some(Err(why)) => {
            let path = place::path(folder);
            let aside = path.with_extension(DAMAGED);
            std::fs::rename(&path, &aside).map_err(io)?;
            let text = format!(
                "{} is damaged ({why}) and kept as {}; the queue is read from its oldest event, and what was delivered already comes again with the same ids",
                path.display(),
                aside.display()
            );
            notes.push(Note {
                code: "position",
                lost: 0,
                text,
            });
            None
        }
        None => None,
    };
    let salt = listing.salt.map_or_else(new_salt, Ok).map_err(io)?;
    let mut state = State {
        next_file: listing.files.last().map_or(0, |file| file.number + 1),
        ..State::default()
    };
    let reached = kept.map_or(0, |place| place.event);
    for file in listing.files.iter().rev() {
        let is_last = state.files.is_empty();
        if let Some(one) = take_in(file, &listing, is_last, reached, &mut notes).map_err(io)? {
            state.files.push_front(one);
        }
    }
    // A file ends where the next one begins, whatever is left of it.
    for n in 1..state.files.len() {
        let next = state.files[n].first;
        state.files[n - 1].end = next;
    }
    let end = state.files.back().map_or(0, |one| one.end);
    if let (Some(kept), Some(first), Some(listed)) =
        (kept, state.files.front_mut(), listing.files.first())
        && listed.head.is_none()
    {
        // Where its head is damaged nobody says what was in it before its first good record, but it was not answered.
        first.first = first.first.min(kept.event);
    }
    let oldest = state.files.front().map_or(end, |one| one.first);
    let mut place = kept.unwrap_or(Place {
        event: oldest,
        ..Place::default()
    });
    if place.event < oldest {
        // Where a file had to be put aside as a whole it is known why they are missing.
        let lost = if notes.iter().any(|note| note.code == UNREADABLE) {
            oldest - place.event
        } else {
            0
        };
        let why = if lost > 0 {
            "the files between cannot be read"
        } else {
            "the files between were delivered and deleted before the position could be written, or somebody took them away"
        };
        let text = format!(
            "the oldest event in {} is number {oldest}, and the position stands at {}: {why}",
            folder.display(),
            place.event
        );
        notes.push(Note {
            code: "position",
            lost,
            text,
        });
        place.event = oldest;
    }
    state.next = end.max(place.event);
    if let Some(last) = state.files.back_mut() {
        // What was answered lies behind its end: nothing may be appended to it, or numbers would come twice.
        last.sealed = state.next > last.end || last.len >= size.file;
    }
    let files = Files::new(folder, salt, size, clock, state, lock);
    files.resume().map_err(io)?;
    if kept != Some(place) {
        // From the beginning there are two places that know the salt, and one that knows where reading began. Where the
        // disk is full it is written with the first answer.
        let written = files.release(place);
        written.or_else(|why| {
            if has_no_room(&why) {
                Ok(())
            } else {
                Err(io(why))
            }
        })?;
    }
    Ok(Opened {
        files,
        place,
        notes,
    })
}

/// Makes a file of the folder one of the queue; the end of the last one is looked for. `None` where nothing is in it.
fn take_in(
    file: &Listed,
    listing: &Listing,
    is_last: bool,
    reached: u64,
    notes: &mut Vec<Note>,
) -> io::Result<Option<One>> {
    let scanned = match file.cursor(listing)? {
        Some(cursor) if is_last || file.head.is_none() => Some(scan(cursor, file.len)?),
        _ => None,
    };
    if let Some(head) = file.head {
        let (end, len) = match &scanned {
            Some(scanned) => (scanned.end.unwrap_or(head.first), scanned.len),
            None => (head.first, file.len),
        };
        if let Some(scanned) = scanned
            && let Some(tail) = &scanned.tail
        {
            notes.push(cut(file, tail, scanned.uncounted, reached)?);
        }
        return Ok(Some(One {
            number: file.number,
            salt: head.salt,
            first: head.first,
            end,
            len,
            sealed: !is_last,
            keep: false,
        }));
    }
    let path = file.path.display();
    let found = scanned.and_then(|scanned| Some((scanned.first?, scanned)));
    let Some((first, scanned)) = found else {
        if file.len <= FILE_HEAD as u64 {
            // The program ended while it made the file; there was nothing in it yet.
            std::fs::remove_file(&file.path)?;
            sync_folder(file.path.parent().unwrap_or(Path::new(".")))?;
            return Ok(None);
        }
        let aside = file.path.with_extension(format!("{ENDING}.{DAMAGED}"));
        std::fs::rename(&file.path, &aside)?;
        let text = format!(
            "nothing in {path} can be read, so how many events were in it cannot be told; it is kept as {}",
            aside.display()
        );
        notes.push(Note {
            code: UNREADABLE,
            lost: 0,
            text,
        });
        return Ok(None);
    };
    notes.push(Note {
        code: "checksum",
        lost: 0,
        text: format!("the head of {path} is damaged; its records are read all the same"),
    });
    if is_last && let Some(tail) = &scanned.tail {
        notes.push(cut(file, tail, scanned.uncounted, reached)?);
    }
    Ok(Some(One {
        number: file.number,
        salt: listing.salt.unwrap_or_default(),
        first,
        end: scanned.end.unwrap_or(first),
        len: if is_last { scanned.len } else { file.len },
        // Nothing is appended to a file whose head may never be read again.
        sealed: true,
        keep: false,
    }))
}

/// What a walk through a file found.
#[derive(Default)]
pub(super) struct Scanned {
    /// Number of the first event in it.
    pub(super) first: Option<u64>,
    /// Number of the event after the last in it.
    pub(super) end: Option<u64>,
    pub(super) events: u64,
    pub(super) records: u64,
    /// Where its last good record ends [bytes].
    pub(super) len: u64,
    /// What lies between good records.
    pub(super) damages: Vec<Damage>,
    /// What lies behind the last good record.
    pub(super) tail: Option<Damage>,
    /// In a part of that the number of events cannot be told.
    pub(super) uncounted: bool,
}

/// Walks through a file and checks every record.
pub(super) fn scan(mut cursor: Cursor, len: u64) -> io::Result<Scanned> {
    let mut scanned = Scanned {
        len: cursor.at().min(len),
        ..Scanned::default()
    };
    let mut waiting = Vec::new();
    loop {
        match cursor.next(len)? {
            Found::End => break,
            Found::Damage(damage) => waiting.push(damage),
            Found::Record { head, .. } => {
                scanned.damages.append(&mut waiting);
                scanned.first.get_or_insert(head.first);
                scanned.end = Some(head.end());
                scanned.events += u64::from(head.events);
                scanned.records += 1;
                scanned.len = cursor.at();
            }
        }
    }
    if let (Some(first), Some(last)) = (waiting.first(), waiting.last()) {
        scanned.uncounted = waiting.iter().any(|damage| damage.events == 0);
        scanned.tail = Some(Damage {
            at: first.at,
            len: len - first.at,
            events: waiting.iter().map(|damage| damage.events).sum(),
            next: last.next,
        });
    }
    Ok(scanned)
}

/// The code of what a crash in the middle of a write leaves.
pub(super) const TORN: &str = "torn_tail";

/// Cuts off what follows the last good record; its bytes are kept unless they are nothing. A write that a crash cut short
/// had not been answered for. A record that was written whole may have been, so its events count as lost.
/// `reached` is the number of the first event that is not delivered; `uncounted` says that of a part of the bytes nobody
/// knows how many events were in them.
pub(super) fn cut(file: &Listed, tail: &Damage, uncounted: bool, reached: u64) -> io::Result<Note> {
    let mut kept = String::from("it held nothing but zeros");
    let open = OpenOptions::new().read(true).write(true).open(&file.path)?;
    let mut torn = true;
    if !is_blank(&open, tail)? {
        torn = is_torn(&open, tail, file.head.map(|head| head.salt))?;
        kept = match keep_aside(&file.path, tail.at, tail.len) {
            Ok(aside) => format!("it is kept as {}", aside.display()),
            Err(why) => format!("it could not be kept: {why}"),
        };
    }
    open.set_len(tail.at)?;
    open.sync_data()?;
    let bytes = tail.len;
    let at_the_end = format!("at the end of {}", file.path.display());
    let lost = tail.lost(reached);
    let (code, text) = match (tail.events, torn) {
        (0, true) => (
            TORN,
            format!(
                "{bytes} bytes {at_the_end} were no whole record and were cut off, as after a crash in the middle of a write; then they had not been answered for and come again from their source; {kept}"
            ),
        ),
        (0, false) => (
            "checksum",
            format!(
                "{bytes} bytes {at_the_end} are damaged and were cut off; how many events stood in them cannot be told, and if their source had been answered they are lost; {kept}"
            ),
        ),
        (events, _) => (
            "checksum",
            format!(
                "{bytes} bytes {at_the_end} were written whole and are damaged, and were cut off; of their {events} events {lost} were not delivered and count as lost: they are, unless a power cut came before their source was answered{}; {kept}",
                if uncounted {
                    "; how many more stood in the bytes behind them cannot be told"
                } else {
                    ""
                }
            ),
        ),
    };
    Ok(Note { code, lost, text })
}

/// Whether the bytes look like what a crash leaves: zeros, or the beginning of a record.
pub(super) fn looks_torn(open: &File, tail: &Damage, salt: Option<u64>) -> io::Result<bool> {
    Ok(is_blank(open, tail)? || is_torn(open, tail, salt)?)
}

/// Whether the bytes may be the beginning of a record, which is all that a crash of the program leaves.
fn is_torn(open: &File, tail: &Damage, salt: Option<u64>) -> io::Result<bool> {
    use std::os::unix::fs::FileExt as _;
    if tail.len < RECORD_HEAD as u64 {
        return Ok(true);
    }
    let mut head = [0; RECORD_HEAD];
    open.read_exact_at(&mut head, tail.at)?;
    Ok(salt.is_none_or(|salt| RecordHead::parse(&head, salt).is_some()))
}

fn is_blank(file: &File, tail: &Damage) -> io::Result<bool> {
    use std::os::unix::fs::FileExt as _;
    let mut piece = vec![0; 64 << 10];
    let mut done = 0;
    while done < tail.len {
        let n = piece.len().min((tail.len - done) as usize);
        file.read_exact_at(&mut piece[..n], tail.at + done)?;
        if piece[..n].iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
        done += n as u64;
    }
    Ok(true)
}

fn new_salt() -> io::Result<u64> {
    use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
    let mut salt = [0; 8];
    SystemRandom::new()
        .fill(&mut salt)
        .map_err(|_| io::Error::other("the system gives no random numbers"))?;
    Ok(u64::from_le_bytes(salt))
}
