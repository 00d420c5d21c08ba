//! A source without an engine: a folder, a clock that only the test moves, and all lines that came out.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use flate2::{Compression, write::GzEncoder};
use tempfile::TempDir;

use super::discover::Globs;
use super::files::{Files, Settings};
use super::identity::LaneKey;
use super::page::{Facts, testing::Sheet};
use super::position::Position;

/// 2026-01-26T09:00:00Z; far enough from the time files of the test really have.
pub(crate) const START: i64 = 1_769_418_000 * 1_000_000_000;

/// A line as it came out.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Line {
    pub(crate) lane: LaneKey,
    pub(crate) offset: u64,
    pub(crate) text: String,
    pub(crate) facts: Facts,
}

pub(crate) struct World {
    pub(crate) folder: TempDir,
    pub(crate) files: Files,
    pub(crate) now: Duration,
    pub(crate) lines: Vec<Line>,
    /// What the engine would have stored.
    pub(crate) positions: BTreeMap<LaneKey, Position>,
    change: Box<dyn Fn(&mut Settings)>,
    include: Vec<String>,
}

impl World {
    /// Follows `a.log` and its siblings.
    pub(crate) fn new() -> Self {
        Self::with(&["a.log*"], |_| {})
    }

    pub(crate) fn with(include: &[&str], change: impl Fn(&mut Settings) + 'static) -> Self {
        let folder = TempDir::new().unwrap();
        let include: Vec<_> = include
            .iter()
            .map(|name| folder.path().join(name).display().to_string())
            .collect();
        let change = Box::new(change);
        let files = Files::new(settings(&include, &change), Vec::new(), START);
        Self {
            folder,
            files,
            now: Duration::ZERO,
            lines: Vec::new(),
            positions: BTreeMap::new(),
            change,
            include,
        }
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        fs::write(self.at(name), text).unwrap();
    }

    pub(crate) fn append(&self, name: &str, text: impl AsRef<[u8]>) {
        OpenOptions::new()
            .append(true)
            .create(true)
            .open(self.at(name))
            .unwrap()
            .write_all(text.as_ref())
            .unwrap();
    }

    pub(crate) fn rename(&self, from: &str, to: &str) {
        fs::rename(self.at(from), self.at(to)).unwrap();
    }

    pub(crate) fn remove(&self, name: &str) {
        fs::remove_file(self.at(name)).unwrap();
    }

    pub(crate) fn copytruncate(&self, from: &str, to: &str) {
        fs::copy(self.at(from), self.at(to)).unwrap();
        OpenOptions::new()
            .write(true)
            .truncate(true)
            .open(self.at(from))
            .unwrap();
    }

    pub(crate) fn gzip(&self, name: &str) {
        self.write(&format!("{name}.gz"), gz(&fs::read(self.at(name)).unwrap()));
        self.remove(name);
    }

    /// Looks around and reads until nothing is left to read.
    pub(crate) fn step(&mut self) -> &mut Self {
        self.now += Duration::from_secs(1);
        // However slow this machine is at the moment.
        self.files.cost = Duration::ZERO;
        self.files
            .poll(self.now, START + self.now.as_nanos() as i64, true);
        for turn in 0.. {
            assert!(turn < 100_000, "the machine does not come to rest");
            let Some(ready) = self.files.next(self.now) else {
                break;
            };
            let mut page = Sheet::default();
            let position = self.files.read(
                ready.id,
                &mut page,
                self.now,
                START + self.now.as_nanos() as i64,
            );
            if let Some(position) = position {
                assert_eq!(position.lane(), ready.lane);
                self.positions.insert(ready.lane.clone(), position);
            } else {
                assert!(
                    page.facts.is_empty(),
                    "lines without a position would be read again"
                );
            }
            for ((text, offset), facts) in
                page.texts().into_iter().zip(page.offsets()).zip(page.facts)
            {
                self.lines.push(Line {
                    lane: ready.lane.clone(),
                    offset,
                    text,
                    facts,
                });
            }
        }
        for lane in self.files.take_forgotten() {
            self.positions.remove(&lane);
        }
        self
    }

    /// So much time goes by with nothing to read.
    pub(crate) fn wait(&mut self, seconds: u64) -> &mut Self {
        self.now += Duration::from_secs(seconds);
        self.step().step()
    }

    /// Stops without a word and starts again from what was stored.
    pub(crate) fn restart(&mut self) -> &mut Self {
        let stored = serde_json::to_string(&self.positions.values().collect::<Vec<_>>()).unwrap();
        let positions = serde_json::from_str(&stored).unwrap();
        self.files = Files::new(
            settings(&self.include, &self.change),
            positions,
            START + self.now.as_nanos() as i64,
        );
        self
    }

    /// The lines since the last time this was asked.
    pub(crate) fn texts(&mut self) -> Vec<String> {
        std::mem::take(&mut self.lines)
            .into_iter()
            .map(|line| line.text)
            .collect()
    }

    /// Steps, and says what came.
    pub(crate) fn reads(&mut self) -> Vec<String> {
        self.step().texts()
    }

    pub(crate) fn told(&mut self) -> Vec<&'static str> {
        self.files
            .notes
            .take_warnings()
            .iter()
            .map(|warning| warning.kind)
            .collect()
    }
}

fn settings(include: &[String], change: &dyn Fn(&mut Settings)) -> Arc<Settings> {
    let mut settings = Settings {
        globs: Globs::new(include, &[]).unwrap(),
        family: None,
        from_end: false,
        ignore_older: None,
        max_line: 1 << 20,
        rotate_wait: Duration::from_secs(60),
        multiline: None,
        max_open: 512,
    };
    change(&mut settings);
    Arc::new(settings)
}

pub(crate) fn gz(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

/// Access-log lines, `count` of them, all different.
pub(crate) fn access(from: usize, count: usize) -> String {
    (from..from + count)
        .map(|n| format!("::ffff:192.0.2.10 - root@pam [26/01/2026:09:15:02 +0100] \"GET /api2/json/nodes/pve1/qemu/{n} HTTP/1.1\" 200 {n}\n"))
        .collect()
}

pub(crate) fn lines_of(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}
