//! The files of one open queue: appended to, sealed, read, and deleted when everything in them was answered.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::cursor::{Cursor, Damage};
use super::format::{FILE_HEAD, FileHead};
use super::place::{self, Kept, Place};
use crate::clock::Clock;
use crate::disk::{Lock, sync_folder};

/// How the files of a queue end.
pub(super) const ENDING: &str = "seg";
/// How files end that hold what could not be read.
pub(super) const DAMAGED: &str = "damaged";

/// How large a queue may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    /// Most bytes of all files together [bytes].
    pub(super) most: u64,
    /// A file is not appended to once it is this long [bytes].
    pub(super) file: u64,
}

/// The usual length of a file [bytes].
const FILE: u64 = 32 << 20;
/// A small queue has smaller files, or nothing of it could be deleted before nearly all was answered.
const LEAST_FILES: u64 = 8;

impl Size {
    pub(super) fn new(most: u64) -> Size {
        Size {
            most,
            file: (most / LEAST_FILES).clamp(64 << 10, FILE),
        }
    }
}

/// One file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct One {
    pub(super) number: u64,
    pub(super) salt: u64,
    /// Number of its first event, and of the one after its last.
    pub(super) first: u64,
    pub(super) end: u64,
    /// What of it is durable [bytes].
    pub(super) len: u64,
    /// Nothing is appended any more.
    pub(super) sealed: bool,
    /// It holds damaged bytes that could not be kept elsewhere, so it is put aside and not deleted.
    pub(super) keep: bool,
}

/// The files of one open queue.
pub(super) struct Files {
    folder: PathBuf,
    salt: u64,
    size: Size,
    clock: Clock,
    state: Mutex<State>,
    /// The file that is appended to.
    active: Mutex<Option<File>>,
    /// Told when there is more to read, or when no more will come.
    pub(super) grown: Notify,
    /// Told when files were deleted.
    pub(super) freed: Notify,
    /// Told when there was no room.
    pub(super) pressed: Notify,
    _lock: Lock,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) files: VecDeque<One>,
    /// Number of the next event.
    pub(super) next: u64,
    /// Number of the next file.
    pub(super) next_file: u64,
    /// No more comes.
    pub(super) ended: bool,
}

impl State {
    pub(super) fn bytes(&self) -> u64 {
        self.files.iter().map(|one| one.len).sum()
    }

    fn seal(&mut self) {
        if let Some(last) = self.files.back_mut() {
            last.sealed = true;
        }
    }

    /// How many files at the front hold nothing but what was answered.
    fn done(&self, reached: u64) -> usize {
        let done = |one: &&One| one.sealed && one.end <= reached;
        self.files.iter().take_while(done).count()
    }
}

/// Why something was not appended.
#[derive(Debug)]
pub(super) enum Unwritten {
    /// The queue is as large as it may be.
    Full,
    /// The disk does not take it.
    Io(io::Error),
}

impl Files {
    pub(super) fn new(
        folder: &Path,
        salt: u64,
        size: Size,
        clock: Clock,
        state: State,
        lock: Lock,
    ) -> Files {
        Files {
            folder: folder.to_owned(),
            salt,
            size,
            clock,
            state: Mutex::new(state),
            active: Mutex::new(None),
            grown: Notify::new(),
            freed: Notify::new(),
            pressed: Notify::new(),
            _lock: lock,
        }
    }

    /// Goes on with the last file, if it is not sealed.
    pub(super) fn resume(&self) -> io::Result<()> {
        let last = self.state.lock().files.back().copied();
        if let Some(one) = last.filter(|one| !one.sealed) {
            let file = OpenOptions::new()
                .write(true)
                .open(path(&self.folder, one.number))?;
            *self.active.lock() = Some(file);
        }
        Ok(())
    }

    pub(super) fn salt(&self) -> u64 {
        self.salt
    }

    /// Number of the next event that is appended.
    pub(super) fn next(&self) -> u64 {
        self.state.lock().next
    }

    /// Bytes on the disk, and most of them.
    pub(super) fn bytes(&self) -> (u64, u64) {
        (self.state.lock().bytes(), self.size.most)
    }

    /// Events and bytes that were not answered yet.
    pub(super) fn waiting(&self, reached: Place) -> (u64, u64) {
        let state = self.state.lock();
        let mut bytes = 0;
        for one in &state.files {
            bytes += match one.number.cmp(&reached.file) {
                std::cmp::Ordering::Less => 0,
                std::cmp::Ordering::Equal => one.len.saturating_sub(reached.offset),
                std::cmp::Ordering::Greater => one.len,
            };
        }
        let events = state.next.saturating_sub(reached.event);
        (events, if events == 0 { 0 } else { bytes })
    }

    /// Says that no more will be appended.
    pub(super) fn end(&self) {
        self.state.lock().ended = true;
        self.grown.notify_one();
    }

    /// Whether no more will be appended.
    pub(super) fn has_ended(&self) -> bool {
        self.state.lock().ended
    }

    /// Appends whole records and makes them durable, or changes nothing that a reader could see. Blocks.
    pub(super) fn append(&self, records: &[u8], events: u64) -> Result<(), Unwritten> {
        let mut active = self.active.lock();
        let mut state = self.state.lock();
        let long = |one: &One| one.sealed || one.len >= self.size.file;
        if active.is_none() || state.files.back().is_none_or(long) {
            *active = None;
            state.seal();
        }
        let head = if active.is_none() { FILE_HEAD } else { 0 };
        let bytes = state.bytes();
        // A write that is larger than the queue may be goes into an empty one.
        if bytes > 0 && bytes + (head + records.len()) as u64 > self.size.most {
            *active = None;
            state.seal();
            self.pressed.notify_one();
            return Err(Unwritten::Full);
        }
        let (next, next_file) = (state.next, state.next_file);
        drop(state);
        let file = match &mut *active {
            Some(file) => file,
            none => {
                let file = self.create(next_file, next).map_err(Unwritten::Io)?;
                let mut state = self.state.lock();
                state.next_file = next_file + 1;
                state.files.push_back(One {
                    number: next_file,
                    salt: self.salt,
                    first: next,
                    end: next,
                    len: FILE_HEAD as u64,
                    sealed: false,
                    keep: false,
                });
                none.insert(file)
            }
        };
        let len = self
            .state
            .lock()
            .files
            .back()
            .map_or(FILE_HEAD as u64, |one| one.len);
        let written = file.write_all_at(records, len);
        let synced = written.and_then(|()| {
            file.sync_data().inspect_err(|_| {
                // Nobody knows what of it the disk has now; what comes next goes elsewhere.
                self.state.lock().seal();
            })
        });
        if let Err(why) = synced {
            if has_no_room(&why) && len > FILE_HEAD as u64 {
                // Once what is in this file was delivered, deleting it makes room.
                self.state.lock().seal();
                self.pressed.notify_one();
            }
            // What came half is taken back. Where even that fails it is overwritten, or found to be no record.
            let _ = file.set_len(len).and_then(|()| file.sync_data());
            return Err(Unwritten::Io(why));
        }
        let mut state = self.state.lock();
        state.next += events;
        let next = state.next;
        if let Some(one) = state.files.back_mut() {
            one.len += records.len() as u64;
            one.end = next;
        }
        drop(state);
        self.grown.notify_one();
        Ok(())
    }

    /// Makes the file `number`, whose first event has the number `first`.
    fn create(&self, number: u64, first: u64) -> io::Result<File> {
        let path = path(&self.folder, number);
        let head = FileHead {
            number,
            first,
            salt: self.salt,
            made_at: self.clock.now(),
        };
        let mut options = OpenOptions::new();
        // A file of that number was never counted, so nothing was answered for what is in it.
        options.write(true).create(true).truncate(true).mode(0o600);
        let file = options.open(&path)?;
        let made = file
            .write_all_at(&head.bytes(), 0)
            .and_then(|()| file.sync_data())
            .and_then(|()| sync_folder(&self.folder));
        match made {
            Ok(()) => Ok(file),
            Err(why) => {
                let _ = std::fs::remove_file(&path);
                Err(why)
            }
        }
    }

    /// The file that the event is in, or will be.
    pub(super) fn with(&self, event: u64) -> Option<One> {
        let state = self.state.lock();
        let n = state.files.partition_point(|one| one.first <= event);
        state.files.get(n.saturating_sub(1)).copied()
    }

    /// The file as it is now; `None` once it is deleted.
    pub(super) fn get(&self, number: u64) -> Option<One> {
        let state = self.state.lock();
        state.files.iter().find(|one| one.number == number).copied()
    }

    /// The file behind this one.
    pub(super) fn after(&self, number: u64) -> Option<One> {
        let state = self.state.lock();
        state.files.iter().find(|one| one.number > number).copied()
    }

    /// Opens a file for reading.
    pub(super) fn open(&self, one: &One) -> io::Result<Cursor> {
        let file = File::open(path(&self.folder, one.number))?;
        Ok(Cursor::new(file, one.salt, one.first))
    }

    /// Whether something could be deleted once `reached` is stored.
    pub(super) fn holds_done(&self, reached: u64) -> bool {
        self.state.lock().done(reached) > 0
    }

    /// Stores how far everything was answered, and deletes what is no longer needed. Blocks.
    pub(super) fn release(&self, reached: Place) -> io::Result<()> {
        let kept = Kept {
            place: reached,
            salt: self.salt,
        };
        let stored = place::write(&self.folder, &kept);
        match &stored {
            // Where there is no room for a small file, deleting makes some. A crash now finds the oldest file further on
            // than the position says, and takes that for what it is.
            Err(why) if !has_no_room(why) => return stored,
            _ => {}
        }
        let gone: Vec<One> = {
            let mut state = self.state.lock();
            let done = state.done(reached.event);
            state.files.drain(..done).collect()
        };
        let mut deleted = Ok(());
        for one in &gone {
            let path = path(&self.folder, one.number);
            let done = if one.keep {
                std::fs::rename(&path, path.with_extension(format!("{ENDING}.{DAMAGED}")))
            } else {
                std::fs::remove_file(&path)
            };
            deleted = deleted.and(done);
        }
        if !gone.is_empty() {
            deleted = deleted.and(sync_folder(&self.folder));
            self.freed.notify_one();
        }
        match stored {
            Ok(()) => deleted,
            Err(_) => place::write(&self.folder, &kept).and(deleted),
        }
    }

    /// The last word: stores the position, and deletes the last file as well if all of it was answered. Blocks.
    pub(super) fn close(&self, reached: Place) -> io::Result<()> {
        let mut active = self.active.lock();
        let mut state = self.state.lock();
        if reached.event == state.next {
            *active = None;
            state.seal();
        }
        drop(state);
        self.release(reached)
    }

    /// Keeps damaged bytes aside; where there is no room for them, their whole file is kept in the end. Says where they
    /// are. Blocks.
    pub(super) fn keep_aside(&self, number: u64, damage: &Damage) -> io::Result<PathBuf> {
        let from = path(&self.folder, number);
        match keep_aside(&from, damage.at, damage.len) {
            Ok(to) => Ok(to),
            Err(why) if has_no_room(&why) => {
                let mut state = self.state.lock();
                if let Some(one) = state.files.iter_mut().find(|one| one.number == number) {
                    one.keep = true;
                }
                Ok(from.with_extension(format!("{ENDING}.{DAMAGED}")))
            }
            Err(why) => Err(why),
        }
    }
}

/// Whether the disk, or the share of it that this program may have, is full.
pub(super) fn has_no_room(why: &io::Error) -> bool {
    matches!(
        why.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// Where the file with this number is.
pub(super) fn path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:010}.{ENDING}"))
}

/// Copies bytes of a file into one beside it, durably: `0000000001.seg` → `0000000001.at-4711.damaged`.
pub(super) fn keep_aside(from: &Path, at: u64, len: u64) -> io::Result<PathBuf> {
    let to = from.with_extension(format!("at-{at}.{DAMAGED}"));
    let source = File::open(from)?;
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let copy = || {
        let target = options.open(&to)?;
        let mut piece = vec![0; 64 << 10];
        let mut done = 0;
        while done < len {
            let n = piece.len().min((len - done) as usize);
            source.read_exact_at(&mut piece[..n], at + done)?;
            target.write_all_at(&piece[..n], done)?;
            done += n as u64;
        }
        target.sync_data()?;
        sync_folder(to.parent().unwrap_or(Path::new(".")))
    };
    match copy() {
        Ok(()) => Ok(to),
        Err(why) => {
            let _ = std::fs::remove_file(&to);
            Err(why)
        }
    }
}
