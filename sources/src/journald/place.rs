//! Where an entry stands in the journal, and what is missing between two of them.

use std::fmt;

use pipeline::Time;
use serde::{Deserialize, Serialize};

/// Most numberings followed at once; a folder of journals of more machines than that shows no gaps for the others.
const MOST_STREAMS: usize = 64;

/// Where an entry stands: in one numbering (`seqnum_id`) of one machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    pub(super) machine: String,
    pub(super) boot: String,
    pub(super) seqnum_id: String,
    pub(super) seqnum: u64,
    /// When it was written into the journal [µs since 1970].
    pub(super) micros: u64,
}

impl Place {
    /// From `s=…;i=…;b=…;m=…;t=…;x=…`.
    pub(super) fn of_cursor(cursor: &str) -> Option<Place> {
        let part = |name: &str| {
            let mut parts = cursor.split(';').filter_map(|part| part.split_once('='));
            parts
                .find(|(held, _)| *held == name)
                .map(|(_, value)| value)
        };
        let hex = |name: &str| u64::from_str_radix(part(name)?, 16).ok();
        Some(Place {
            machine: String::new(),
            boot: part("b")?.to_owned(),
            seqnum_id: part("s")?.to_owned(),
            seqnum: hex("i")?,
            micros: hex("t")?,
        })
    }

    pub(super) fn is_same(&self, other: &Place) -> bool {
        (&self.seqnum_id, self.seqnum) == (&other.seqnum_id, other.seqnum)
    }

    fn time(&self) -> Time {
        Time(
            i64::try_from(self.micros)
                .unwrap_or(i64::MAX)
                .saturating_mul(1000),
        )
    }
}

/// Entries that are missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Gap {
    /// A word of a fixed list, because it is a label of a metric.
    pub(super) kind: &'static str,
    /// How many, where that is known.
    pub(super) missing: Option<u64>,
    what: String,
}

impl Gap {
    fn between(
        kind: &'static str,
        missing: Option<u64>,
        why: &str,
        from: &Place,
        to: &Place,
    ) -> Gap {
        let what = format!("{why} (between {} and {})", from.time(), to.time());
        Gap {
            kind,
            missing,
            what,
        }
    }

    /// Thrown away by journald itself.
    pub(super) fn suppressed(at: &Place, missing: Option<u64>, unit: &str) -> Gap {
        let of = if unit.is_empty() { "a unit" } else { unit };
        Gap {
            kind: "suppressed",
            missing,
            what: format!(
                "journald threw away what {of} wrote too fast (before {})",
                at.time()
            ),
        }
    }
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.missing {
            Some(1) => write!(f, "1 entry of the journal is missing: ")?,
            Some(n) => write!(f, "{n} entries of the journal are missing: ")?,
            None => write!(
                f,
                "entries of the journal are missing, nobody knows how many: "
            )?,
        }
        f.write_str(&self.what)
    }
}

/// Finds holes in the numbers of entries.
#[derive(Debug)]
pub(super) struct Gaps {
    /// Whether every entry is seen, so that a number that is not there was never read.
    watch: bool,
    /// The last entry of each numbering, the latest last.
    streams: Vec<Place>,
}

impl Gaps {
    pub(super) fn new(watch: bool) -> Gaps {
        Gaps {
            watch,
            streams: Vec::new(),
        }
    }

    /// Reading goes on behind `last`; the first entry of the journal that is there, at or behind that, is `first`.
    pub(super) fn resume(&mut self, last: &Place, first: &Place) -> Option<Gap> {
        self.streams = vec![last.clone()];
        if first.is_same(last) {
            return None;
        }
        let why = "it was rotated away or deleted while nobody read it";
        let gap = self.compare(last, first, why);
        if gap.is_some() || first.seqnum_id != last.seqnum_id {
            // Told of: what comes first is where reading goes on. It comes again, and is no further gap then.
            let before = Place {
                seqnum: first.seqnum.saturating_sub(1),
                ..first.clone()
            };
            self.streams = vec![before];
        }
        gap
    }

    /// Reading goes on behind `last`, and there is nothing left.
    pub(super) fn emptied(&mut self, last: &Place) -> Gap {
        self.streams.clear();
        Gap {
            kind: "vacuumed",
            missing: None,
            what: format!(
                "the journal is empty, and what was read last is not in it any more (after {})",
                last.time()
            ),
        }
    }

    /// What is missing before this entry.
    pub(super) fn next(&mut self, place: &Place) -> Option<Gap> {
        if !self.watch {
            return None;
        }
        let known = self
            .streams
            .iter()
            .position(|held| held.seqnum_id == place.seqnum_id);
        let last = match known {
            Some(n) => Some(self.streams.remove(n)),
            // A numbering that begins: of this machine another one went before it, or it is the first.
            None => {
                let mut streams = self.streams.iter().rev();
                streams.find(|held| held.machine == place.machine).cloned()
            }
        };
        let newest = match &last {
            // Entries of a clock that was set back come out of order.
            Some(last) if last.seqnum_id == place.seqnum_id && last.seqnum > place.seqnum => {
                last.clone()
            }
            _ => place.clone(),
        };
        if self.streams.len() >= MOST_STREAMS {
            self.streams.remove(0);
        }
        self.streams.push(newest);
        self.compare(&last?, place, "the numbers of the entries have a hole")
    }

    fn compare(&self, last: &Place, next: &Place, why: &str) -> Option<Gap> {
        if last.seqnum_id == next.seqnum_id {
            let missing = next.seqnum.saturating_sub(last.seqnum).saturating_sub(1);
            return (missing > 0).then(|| Gap::between("sequence", Some(missing), why, last, next));
        }
        let (kind, why) = match last.boot == next.boot {
            true => ("sequence", "it was begun anew"),
            false => (
                "boot",
                "it was begun anew with another start of the machine",
            ),
        };
        Some(Gap::between(kind, None, why, last, next))
    }
}
