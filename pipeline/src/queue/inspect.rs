//! What `pvetrail queue` does with the files of a queue: verify, show, mend.
//!
//! Verifying and showing change nothing and may be done beside a running program: a file that it deletes meanwhile was
//! answered for, and what it is just writing is no damage. Mending takes the queue's lock.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::cursor::{Cursor, Damage, Found};
use super::files::{DAMAGED, ENDING, keep_aside};
use super::format::{FILE_HEAD, FileHead, RECORD_HEAD, RecordHead};
use super::open::{Listed, Listing, OpenError, TORN, cut, list, lock, looks_torn, scan};
use super::place;
use crate::clock::Clock;
use crate::disk::sync_folder;
use crate::event::Event;
use crate::event::pack::Unpacker;

/// What is wrong with a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The word of the metric.
    pub code: &'static str,
    /// Where, and what.
    pub text: String,
    /// Events that cannot be read, as far as it is known [events].
    pub lost: u64,
}

/// What is in a queue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Files with records [files].
    pub files: u64,
    /// Their size [bytes].
    pub bytes: u64,
    /// Good records [records].
    pub records: u64,
    /// Events in them [events].
    pub events: u64,
    /// Those of them that wait for their sink [events].
    pub waiting: u64,
    /// Events that an earlier mending found to be lost [events].
    pub lost: u64,
    /// Files with damaged bytes that were put aside earlier [files].
    pub aside: u64,
    /// Whether a program has the queue open.
    pub in_use: bool,
    /// What is wrong.
    pub findings: Vec<Finding>,
}

/// What mending did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mended {
    /// What was done, one sentence each; empty where nothing was wrong.
    pub deeds: Vec<String>,
}

/// The queues below a data folder, by the names of their sinks.
pub fn queues(data_dir: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let mut queues = Vec::new();
    let entries = match std::fs::read_dir(super::folder(data_dir)) {
        Ok(entries) => entries,
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(queues),
        Err(why) => return Err(why),
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            let name = entry.file_name().to_string_lossy().into_owned();
            queues.push((name, entry.path()));
        }
    }
    queues.sort();
    Ok(queues)
}

/// Whether the folder is one of a queue.
pub fn is_queue(folder: &Path) -> bool {
    super::holds_something(folder) || place::path(folder).is_file()
}

/// Whether a program has the queue open.
fn in_use(folder: &Path) -> bool {
    let lock = File::open(folder.join(".lock"));
    lock.is_ok_and(|file| {
        matches!(
            file.try_lock_shared(),
            Err(std::fs::TryLockError::WouldBlock)
        )
    })
}

/// Walks through a whole queue and says what is in it and what is wrong with it. `each` is given every event that waits
/// (or every event there is) until it says that it is enough.
pub fn read(
    folder: &Path,
    all: bool,
    mut each: impl FnMut(&Event) -> bool,
) -> Result<Report, OpenError> {
    let listing = list(folder)?;
    let io = |source| OpenError::Io {
        folder: folder.to_owned(),
        source,
    };
    let mut report = Report {
        in_use: in_use(folder),
        aside: count_aside(folder).map_err(io)?,
        ..Report::default()
    };
    let mut reached = 0;
    match &listing.kept {
        Some(Ok(kept)) => reached = kept.place.event,
        Some(Err(why)) => report.find("position", 0, format!("the position is damaged: {why}")),
        None => {}
    }
    let mut walk = Walk {
        report,
        reached,
        all,
        next: None,
        enough: false,
        unpacker: Unpacker::default(),
    };
    for (n, file) in listing.files.iter().enumerate() {
        let is_last = n + 1 == listing.files.len();
        match walk.file(file, &listing, is_last, &mut each) {
            Ok(()) => {}
            // A running program has delivered what was in it.
            Err(why) if why.kind() == io::ErrorKind::NotFound => {}
            Err(why) => return Err(io(why)),
        }
        if walk.enough {
            break;
        }
    }
    Ok(walk.report)
}

struct Walk {
    report: Report,
    reached: u64,
    all: bool,
    /// Number of the event that comes next.
    next: Option<u64>,
    enough: bool,
    unpacker: Unpacker,
}

impl Walk {
    fn file(
        &mut self,
        file: &Listed,
        listing: &Listing,
        is_last: bool,
        each: &mut impl FnMut(&Event) -> bool,
    ) -> io::Result<()> {
        let path = file.path.display();
        self.report.files += 1;
        self.report.bytes += file.len;
        if file.head.is_none() && file.len > 0 {
            self.report
                .find("checksum", 0, format!("{path}: its head is damaged"));
        }
        let Some(mut cursor) = file.cursor(listing)? else {
            self.report.find(
                "checksum",
                0,
                format!(
                    "{path}: nothing in it can be read, for no file says the salt of its checksums"
                ),
            );
            return Ok(());
        };
        if let (Some(next), Some(head)) = (self.next, file.head)
            && head.first > next
        {
            let lost = head.first - next;
            self.report.find(
                "gap",
                lost,
                format!("{path}: {lost} events before it are missing"),
            );
        }
        // Whether the end is torn or damaged is known when nothing good follows.
        let mut open: Vec<Damage> = Vec::new();
        loop {
            match cursor.next(file.len)? {
                Found::End => break,
                Found::Damage(damage) => open.push(damage),
                Found::Record { at, head } => {
                    for damage in open.drain(..) {
                        self.report.damage(file, &damage);
                    }
                    self.next = Some(head.end());
                    if head.is_grave() {
                        self.report.lost += u64::from(head.events);
                        continue;
                    }
                    let block = cursor.block(at, &head);
                    match self.unpacker.unpack(block, Vec::new(), &Arc::default()) {
                        Ok(block) if block.events.len() == head.events as usize => {
                            self.report.records += 1;
                            self.report.events += u64::from(head.events);
                            for (number, event) in (head.first..).zip(&block.events) {
                                let waits = number >= self.reached;
                                self.report.waiting += u64::from(waits);
                                if (waits || self.all) && !each(event) {
                                    self.enough = true;
                                    return Ok(());
                                }
                            }
                        }
                        _ => {
                            let text =
                                format!("{path}: the record at {at} is whole and makes no sense");
                            self.report.find("bad_record", u64::from(head.events), text);
                        }
                    }
                }
            }
        }
        if is_last && !open.is_empty() {
            // What a running program is just writing looks like that too.
            if !self.report.in_use {
                let at = open[0].at;
                let lost: u64 = open.iter().map(|damage| damage.lost(self.reached)).sum();
                if open.iter().any(|damage| damage.events > 0) {
                    let bytes = file.len - at;
                    let text = format!(
                        "{path}: {bytes} bytes from {at} on were written whole and are damaged; {lost} events that were not delivered stood in them"
                    );
                    self.report.find("checksum", lost, text);
                    return Ok(());
                }
                let bytes = file.len - at;
                let salt = file.head.map(|head| head.salt);
                if looks_torn(&File::open(&file.path)?, &open[0], salt)? {
                    let text = format!(
                        "{path}: {bytes} bytes from {at} on are no whole record, as after a crash in the middle of a write"
                    );
                    self.report.find(TORN, 0, text);
                } else {
                    let text = format!(
                        "{path}: {bytes} bytes from {at} on are damaged; how many events stood in them cannot be told"
                    );
                    self.report.find("checksum", 0, text);
                }
            }
            return Ok(());
        }
        for damage in open {
            self.report.damage(file, &damage);
            self.next = self.next.map(|next| next.max(damage.next));
        }
        Ok(())
    }
}

impl Report {
    fn find(&mut self, code: &'static str, lost: u64, text: String) {
        self.findings.push(Finding { code, text, lost });
    }

    fn damage(&mut self, file: &Listed, damage: &Damage) {
        let path = file.path.display();
        let Damage {
            at, len, events, ..
        } = *damage;
        let (code, text) = if len == 0 {
            (
                "gap",
                format!("{path}: {events} events before {at} are missing"),
            )
        } else {
            (
                "checksum",
                format!("{path}: {len} bytes at {at} are damaged"),
            )
        };
        self.find(code, events, text);
    }
}

fn count_aside(folder: &Path) -> io::Result<u64> {
    let mut count = 0;
    for entry in std::fs::read_dir(folder)? {
        count += u64::from(entry?.path().extension().is_some_and(|end| end == DAMAGED));
    }
    Ok(count)
}

/// Puts every damaged part of a queue aside; good records stay where they are. Refuses while a program has it open.
pub fn repair(folder: &Path) -> Result<Mended, OpenError> {
    if !folder.is_dir() {
        let source = io::Error::new(io::ErrorKind::NotFound, "there is no such folder");
        return Err(OpenError::Io {
            folder: folder.to_owned(),
            source,
        });
    }
    let _lock = lock(folder)?;
    let listing = list(folder)?;
    let io = |source| OpenError::Io {
        folder: folder.to_owned(),
        source,
    };
    let mut mended = Mended::default();
    for (n, file) in listing.files.iter().enumerate() {
        let is_last = n + 1 == listing.files.len();
        mend(file, &listing, is_last, &mut mended).map_err(io)?;
    }
    if let Some(Err(why)) = &listing.kept {
        let path = place::path(folder);
        let aside = path.with_extension(DAMAGED);
        std::fs::rename(&path, &aside)
            .and_then(|()| sync_folder(folder))
            .map_err(io)?;
        mended.deeds.push(format!(
            "{}: damaged ({why}), kept as {}; everything in the queue is delivered again, with the same ids",
            path.display(),
            aside.display()
        ));
    }
    Ok(mended)
}

fn mend(file: &Listed, listing: &Listing, is_last: bool, mended: &mut Mended) -> io::Result<()> {
    let path = file.path.display();
    let whole = |deeds: &mut Vec<String>| {
        let aside = file.path.with_extension(format!("{ENDING}.{DAMAGED}"));
        std::fs::rename(&file.path, &aside)?;
        sync_folder(file.path.parent().unwrap_or(Path::new(".")))?;
        deeds.push(format!(
            "{path}: nothing in it can be read; it is kept as {}",
            aside.display()
        ));
        Ok(())
    };
    let Some(cursor) = file.cursor(listing)? else {
        return whole(&mut mended.deeds);
    };
    let scanned = scan(cursor, file.len)?;
    if file.head.is_none() && scanned.first.is_none() {
        return whole(&mut mended.deeds);
    }
    let mut damages = scanned.damages;
    let mut end = file.len;
    match scanned.tail {
        // Nobody knows of events in it, so nothing is to be written down in its place.
        Some(tail) if is_last && tail.events == 0 => {
            let reached = match &listing.kept {
                Some(Ok(kept)) => kept.place.event,
                _ => 0,
            };
            mended
                .deeds
                .push(cut(file, &tail, scanned.uncounted, reached)?.text);
            end = scanned.len;
        }
        tail => damages.extend(tail),
    }
    if let Some(cursor) = file.cursor(listing)? {
        damages.extend(senseless(cursor, scanned.len)?);
    }
    if file.head.is_some() && damages.is_empty() {
        return Ok(());
    }
    for damage in &damages {
        if damage.len == 0 {
            mended.deeds.push(format!(
                "{path}: {} events before {} are missing; that is written down there",
                damage.events, damage.at
            ));
            continue;
        }
        let aside = keep_aside(&file.path, damage.at, damage.len)?;
        mended.deeds.push(format!(
            "{path}: {} bytes at {} ({} events) are kept as {}",
            damage.len,
            damage.at,
            damage.events,
            aside.display()
        ));
    }
    let head = file.head.unwrap_or(FileHead {
        number: file.number,
        first: scanned.first.unwrap_or_default(),
        salt: listing.salt.unwrap_or_default(),
        made_at: Clock::system().now(),
    });
    if file.head.is_none() {
        keep_aside(&file.path, 0, FILE_HEAD as u64)?;
        mended
            .deeds
            .push(format!("{path}: its head is written anew"));
    }
    rewrite(file, &head, end, &mut damages)
}

/// Records whose checksum is good and which are none.
fn senseless(mut cursor: Cursor, len: u64) -> io::Result<Vec<Damage>> {
    let mut unpacker = Unpacker::default();
    let mut found = Vec::new();
    loop {
        match cursor.next(len)? {
            Found::End => return Ok(found),
            Found::Damage(_) => {}
            Found::Record { head, .. } if head.is_grave() => {}
            Found::Record { at, head } => {
                let block = unpacker.unpack(cursor.block(at, &head), Vec::new(), &Arc::default());
                if !block.is_ok_and(|block| block.events.len() == head.events as usize) {
                    found.push(Damage {
                        at,
                        len: RECORD_HEAD as u64 + u64::from(head.len),
                        events: u64::from(head.events),
                        next: head.end(),
                    });
                }
            }
        }
    }
}

/// Writes the file anew without its damaged parts, in whose place it says how many events are lost: aside, synced, renamed.
fn rewrite(file: &Listed, head: &FileHead, end: u64, damages: &mut Vec<Damage>) -> io::Result<()> {
    let folder = file.path.parent().unwrap_or(Path::new("."));
    let aside = file.path.with_extension("new");
    let from = File::open(&file.path)?;
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut to = options.open(&aside)?;
    to.write_all(&head.bytes())?;
    damages.sort_unstable_by_key(|damage| damage.at);
    let mut at = FILE_HEAD as u64;
    for damage in damages {
        copy(&from, at, damage.at, &mut to)?;
        at = at.max(damage.at + damage.len);
        if damage.events > 0 {
            let first = damage.next.saturating_sub(damage.events);
            let events = u32::try_from(damage.events).unwrap_or(u32::MAX);
            let grave = RecordHead::of(&[], first, events, head.salt);
            to.write_all(&grave.bytes(head.salt))?;
        }
    }
    copy(&from, at, end, &mut to)?;
    to.sync_data()?;
    std::fs::rename(&aside, &file.path)?;
    sync_folder(folder)
}

fn copy(from: &File, mut at: u64, end: u64, to: &mut File) -> io::Result<()> {
    let mut piece = vec![0; 64 << 10];
    while at < end {
        let n = piece.len().min((end - at) as usize);
        from.read_exact_at(&mut piece[..n], at)?;
        to.write_all(&piece[..n])?;
        at += n as u64;
    }
    Ok(())
}
