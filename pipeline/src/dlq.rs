//! Dead letters: events that the other side of a sink will never take, and events on which a component panics.
//!
//! - where: `data_dir/dlq/<component>/00000001.jsonl`, folders 0700, files 0600, a new file every 16 MiB
//! - what: one JSON object a line, as [`Letter`] has it; the event is redacted, like everything behind a source
//! - when: appended and fsynced before the answer is given; if that fails, nothing is written and the batch waits
//!
//! One program appends while another (`pvetrail dlq`) reads and removes. Appending and rewriting hold the lock file
//! `.lock` of the folder, each for one write; a reader needs no lock, for a line is there once its newline is. A file is
//! rewritten aside and renamed, and whoever appends looks before every write whether its file is still the one at that
//! path. A crash leaves the old file or the new one, and at worst a last line without its newline, which was never
//! answered for and is cut off before the next one is appended.

mod again;
mod edit;
mod letter;
mod segment;

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::clock::Clock;
use crate::component::Reason;
use crate::event::{Event, JsonWriter};
use crate::topology::DeadLetterBox;

pub use again::{Tally, again};
pub use edit::{AtWork, Decision, Edited, edit};
pub use letter::{Filter, Letter, Line, Lines, Why, components, lines};
use segment::Segment;

/// The dead letters of all components of one data folder, for appending.
pub struct DeadLetters {
    root: PathBuf,
    clock: Clock,
    segments: Mutex<HashMap<String, Arc<Mutex<Segment>>>>,
}

/// One event and why it is dead.
pub(crate) struct Death<'a> {
    pub(crate) event: &'a Event,
    pub(crate) reason: &'a Reason,
    /// How often it was tried.
    pub(crate) attempts: u32,
}

/// The folder of the dead letters below a data folder.
pub fn folder(data_dir: &Path) -> PathBuf {
    data_dir.join("dlq")
}

impl DeadLetters {
    /// The dead letters below `data_dir`. Touches nothing before the first one.
    pub fn new(data_dir: &Path, clock: Clock) -> DeadLetters {
        DeadLetters {
            root: folder(data_dir),
            clock,
            segments: Mutex::default(),
        }
    }

    /// Makes events durable, each with its reason. Blocks for one fsync; after an error none of them was written.
    ///
    /// # Errors
    /// The folder cannot be written, the disk is full, or another program holds the lock for long.
    pub(crate) fn append_all<'a>(
        &self,
        component: &str,
        type_name: &str,
        deaths: impl Iterator<Item = Death<'a>>,
    ) -> io::Result<()> {
        if component.is_empty() || component.starts_with('.') || component.contains(['/', '\0']) {
            let why = format!("{component:?} cannot be the name of a folder");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        let dead_at = self.clock.now().to_string();
        let mut json = JsonWriter::new(None, None);
        let mut lines = Vec::new();
        for death in deaths {
            let head = letter::Head {
                dead_at: &dead_at,
                component,
                type_name,
                reason: letter::Why::from(death.reason),
                attempts: death.attempts,
            };
            head.write(&mut lines, |lines| json.write(death.event, lines));
        }
        if lines.is_empty() {
            return Ok(());
        }
        let segment = Arc::clone(
            self.segments
                .lock()
                .entry(component.to_owned())
                .or_insert_with(|| Arc::new(Mutex::new(Segment::new(self.root.join(component))))),
        );
        // One group at a time for each component; the others do not wait.
        let mut segment = segment.lock();
        segment.append(&lines)
    }
}

impl DeadLetterBox for DeadLetters {
    fn append(
        &self,
        component: &str,
        type_name: &str,
        reason: &Reason,
        attempts: u32,
        events: &[Event],
    ) -> Result<(), String> {
        let deaths = events.iter().map(|event| Death {
            event,
            reason,
            attempts,
        });
        self.append_all(component, type_name, deaths)
            .map_err(|why| why.to_string())
    }
}

impl std::fmt::Debug for DeadLetters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DeadLetters({})", self.root.display())
    }
}

#[cfg(test)]
mod tests;
