//! What happened, for counters and for the log. A message says what, where and what to do, and is not said every second.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The same message about the same path is said again after this time.
const AGAIN: Duration = Duration::from_secs(600);
/// Most (message, path) pairs remembered; a hostile folder must not fill the memory [pairs].
const PAIRS: usize = 4096;

/// The kind of news that a log got shorter, and that was no rotation.
pub(crate) const SHRUNK: &str = "shrunk";

/// Numbers that only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Text read, decompressed [bytes].
    pub(crate) bytes: u64,
    pub(crate) added: u64,
    pub(crate) resumed: u64,
    pub(crate) unwatched: u64,
    pub(crate) deleted: u64,
    /// A file lost text that was, or should have been, read.
    pub(crate) truncated: u64,
    /// A stored print does not fit the file, or a gzip file is broken.
    pub(crate) checksum_errors: u64,
}

/// One thing to tell.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Warning {
    /// Label of the error counter, or the kind of news.
    pub(crate) kind: &'static str,
    pub(crate) path: PathBuf,
    pub(crate) text: String,
    /// How many of the same kind and path were kept back before it.
    pub(crate) kept_back: u64,
}

/// Collects until somebody asks.
#[derive(Default)]
pub(crate) struct Notes {
    pub(crate) counts: Counts,
    warnings: Vec<Warning>,
    errors: BTreeMap<&'static str, u64>,
    said: HashMap<(&'static str, PathBuf), (Duration, u64)>,
}

impl Notes {
    /// Something went wrong with `path`; it is tried again.
    pub(crate) fn error(
        &mut self,
        now: Duration,
        kind: &'static str,
        path: &Path,
        text: impl FnOnce() -> String,
    ) {
        *self.errors.entry(kind).or_default() += 1;
        self.news(now, kind, path, text);
    }

    /// Something a person should know about `path`.
    pub(crate) fn news(
        &mut self,
        now: Duration,
        kind: &'static str,
        path: &Path,
        text: impl FnOnce() -> String,
    ) {
        if self.said.len() >= PAIRS {
            self.said.retain(|_, (at, _)| now < *at + AGAIN);
            if self.said.len() >= PAIRS {
                return;
            }
        }
        let key = (kind, path.to_owned());
        let mut kept_back = 0;
        if let Some((at, times)) = self.said.get_mut(&key) {
            if now < *at + AGAIN {
                *times += 1;
                return;
            }
            kept_back = *times;
        }
        self.said.insert(key, (now, 0));
        self.warnings.push(Warning {
            kind,
            path: path.to_owned(),
            text: text(),
            kept_back,
        });
    }

    /// Errors since the last time, by kind.
    pub(crate) fn take_errors(&mut self) -> BTreeMap<&'static str, u64> {
        std::mem::take(&mut self.errors)
    }

    pub(crate) fn take_warnings(&mut self) -> Vec<Warning> {
        std::mem::take(&mut self.warnings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_message_is_not_said_every_second_but_counted_every_time() {
        let mut notes = Notes::default();
        for second in 0..1300 {
            notes.error(
                Duration::from_secs(second),
                "permission",
                Path::new("/a"),
                || format!("at {second}"),
            );
        }
        let told = notes.take_warnings();
        assert_eq!(
            told.iter()
                .map(|warning| warning.text.as_str())
                .collect::<Vec<_>>(),
            ["at 0", "at 600", "at 1200"]
        );
        assert_eq!(told[1].kept_back, 599);
        assert_eq!(notes.take_errors()["permission"], 1300);
    }

    #[test]
    fn a_flood_of_paths_is_bounded() {
        let mut notes = Notes::default();
        for n in 0..10_000 {
            notes.error(
                Duration::ZERO,
                "permission",
                Path::new(&format!("/{n}")),
                String::new,
            );
        }
        assert_eq!(
            (notes.said.len(), notes.take_errors()["permission"]),
            (PAIRS, 10_000)
        );
    }
}
