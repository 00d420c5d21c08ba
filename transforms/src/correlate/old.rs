//! Lines of old files: whoever reads the logs of last week at full speed need not let each line wait for seconds of today.
//!
//! What belongs to a line lies within seconds of it by the clocks of the nodes. Where one file is all there is, and has been
//! read past that, nobody is left to bring it, and the line goes on as it would have gone on had it been read when it was
//! written. A line that comes later than others had been read to waits by our own clock, as all lines do that are read as
//! they are written.

use std::collections::BTreeMap;
use std::time::Duration;

use hashbrown::HashMap;
use pipeline::{Outputs, Time};

use super::sessions::CLOCKS;
use super::{Correlate, Due};

/// Lines that wait for the reading of old files.
#[derive(Debug, Default)]
pub(super) struct Old {
    /// How far everything has been read, by the times of events.
    read_to: Option<Time>,
    /// Where the line stands in [`Correlate::due`], by when it may go on and its number.
    lines: BTreeMap<(Time, u64), (Time, u64)>,
    /// When each of them may go on.
    ready: HashMap<u64, Time>,
}

impl Old {
    /// The line waits no more.
    pub(super) fn remove(&mut self, no: u64) {
        if let Some(ready) = self.ready.remove(&no) {
            self.lines.remove(&(ready, no));
        }
    }
}

impl Correlate {
    /// A line waits until everything that was there `wait` seconds after now has been handed over, or everything up to as many
    /// seconds after the line has been read.
    pub(super) fn push_line(&mut self, now: Time, wait: u64, no: u64) {
        let place = self.push_due(now, wait, Due::Line(no));
        let Some(line) = self.lines.get(&no) else {
            return;
        };
        let ready = line.time.after(Duration::from_secs(wait));
        // Late behind what was read, so that nobody knows what comes as late as this.
        if self.old_border().is_some_and(|border| ready <= border) {
            return;
        }
        self.old.lines.insert((ready, no), place);
        self.old.ready.insert(no, ready);
    }

    /// Up to here nothing comes any more. The clocks of two nodes differ, so that what belongs to a line of one may have a time
    /// of much later.
    fn old_border(&self) -> Option<Time> {
        let read_to = self.old.read_to?;
        Some(match self.hosts.are_several() {
            true => Time(read_to.0.saturating_sub(CLOCKS)),
            false => read_to,
        })
    }

    /// Everything up to `at` has been read: lines of long before it go on.
    pub(super) fn old_read_to(&mut self, at: Time, out: &mut Outputs) {
        self.old.read_to = self.old.read_to.max(Some(at));
        let Some(border) = self.old_border() else {
            return;
        };
        let mut up = Vec::new();
        while let Some(entry) = self.old.lines.first_entry() {
            if entry.key().0 > border {
                break;
            }
            let ((_, no), place) = entry.remove_entry();
            self.old.ready.remove(&no);
            up.extend(self.due.remove(&place));
        }
        if !up.is_empty() {
            self.settle(&up, false, out);
        }
    }
}
