//! The disk queue in front of a sink: `data_dir/queue/<sink>/`, on when its `buffer` is of the type `disk`.
//!
//! - what is in it: every batch that the sink was given and has not answered for, in the order it came
//! - *delivered*, for the source, means: in the queue and fsynced; that happens for at most 50 ms or 1 MiB at once
//! - full, or no room on the disk: whatever feeds the queue waits; nothing is ever thrown away
//! - after a crash: what was fsynced is there; a record cut short was never answered for, and is cut off
//! - damage: what can be read is read; what cannot is kept aside, counted and told of with the number of events
//! - again: events that were delivered in the last second before a crash come again, with the same ids
//!
//! ```text
//! lane → writer → 0000000001.seg … 0000000042.seg → reader → lane → sink task
//!           │ fsync                                              │ answers
//!           ▼                                                    ▼
//!    source's position                             position, and files that are deleted
//! ```
//!
//! `format` says what the bytes are; `files` are the open files, `open` finds out what has happened to them, `cursor` reads
//! one past its damages, `writer` and `reader` are the two tasks, `answers` knows what may be forgotten, and `keeper`
//! forgets it. `task` is all of that with a sink behind it. Whoever has to block does so on a thread for that.
//!
//! **Idle marks** end in front of the queue: a mark moves the watermarks of transforms, and behind a queue there is only
//! a sink, which ignores them. The answer to an empty batch comes when what came before it is durable.
//!
//! **Reload.** A sink that changes lets go of its queue before its successor opens it; what was read out of it and not
//! answered is read again. A sink whose buffer becomes `memory` delivers what the queue still holds before anything else,
//! and then removes it. A sink that is removed leaves its queue where it is if it cannot be emptied within 10 s; it is
//! told of then, at every start and by `pvetrail validate`, until a sink of that name takes it up again.
//! `pvetrail queue dump` shows what is in it.

mod answers;
pub(crate) mod bench;
mod cursor;
mod files;
mod format;
mod inspect;
mod keeper;
mod open;
mod orphan;
mod place;
mod reader;
pub(crate) mod task;
mod trouble;
mod writer;

use std::path::{Path, PathBuf};

pub use inspect::{Finding, Mended, Report, is_queue, queues, read, repair};
pub use open::OpenError;
pub(crate) use orphan::readable;
pub use orphan::{Orphan, orphans, warnings};

/// The folder of all queues below a data folder.
pub fn folder(data_dir: &Path) -> PathBuf {
    data_dir.join("queue")
}

/// Smallest size of a queue [bytes].
pub const LEAST: u64 = 1 << 20;

/// Whether there is something in the folder of a sink's queue.
pub(crate) fn holds_something(folder: &Path) -> bool {
    crate::disk::numbered(folder, files::ENDING).is_ok_and(|files| !files.is_empty())
}

/// Removes the folder of a queue that is empty, unless damaged bytes are kept in it: whether those are needed is the
/// operator's to say.
pub(crate) fn remove_empty(folder: &Path) -> std::io::Result<()> {
    for file in [place::path(folder), folder.join(".lock")] {
        match std::fs::remove_file(file) {
            Err(why) if why.kind() != std::io::ErrorKind::NotFound => return Err(why),
            _ => {}
        }
    }
    std::fs::remove_dir(folder)
}

#[cfg(test)]
mod tests;
