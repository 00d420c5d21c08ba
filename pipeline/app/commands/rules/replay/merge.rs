//! Lines of several files as one stream, by time, then file, then place in it.
//!
//! - memory: at most [`HELD`] lines, besides one per file. A line that stands more than that behind its place comes late

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use pipeline::Time;
use serde::Deserialize;

use crate::exit::Exit;
use crate::say;

/// Lines that are put in order among one another [lines].
const HELD: usize = 16_384;
/// Longest line [bytes].
const LONGEST: u64 = 16 << 20;

/// One line, in its order.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Line {
    time: Time,
    file: usize,
    /// From 1.
    number: u64,
    pub(super) text: String,
}

impl Line {
    /// Where it stands.
    pub(super) fn place(&self, files: &[PathBuf]) -> String {
        let file = files.get(self.file).map(|file| file.display().to_string());
        format!("{}:{}", file.unwrap_or_default(), self.number)
    }
}

struct Open {
    lines: BufReader<File>,
    number: u64,
    /// The time of the line before.
    before: Time,
}

/// All lines of all files.
pub(super) struct Lines {
    open: Vec<Option<Open>>,
    names: Vec<PathBuf>,
    now: Time,
    /// The next line of each file.
    heads: BinaryHeap<Reverse<Line>>,
    /// Lines that wait for earlier ones behind them.
    held: BinaryHeap<Reverse<Line>>,
}

/// What is read of a line to put it in its place.
#[derive(Deserialize)]
struct Head {
    #[serde(rename = "@timestamp")]
    time: Option<String>,
}

impl Lines {
    pub(super) fn open(files: &[PathBuf], now: Time) -> Result<Lines, Exit> {
        let mut lines = Lines {
            open: Vec::new(),
            names: files.to_vec(),
            now,
            heads: BinaryHeap::new(),
            held: BinaryHeap::new(),
        };
        for (n, file) in files.iter().enumerate() {
            let open = File::open(file).map_err(|why| failed(file, &why))?;
            lines.open.push(Some(Open {
                lines: BufReader::with_capacity(1 << 20, open),
                number: 0,
                before: Time::MIN,
            }));
            lines.fetch(n)?;
        }
        Ok(lines)
    }

    /// The next line of all.
    pub(super) fn next(&mut self) -> Result<Option<Line>, Exit> {
        while self.held.len() < HELD
            && let Some(Reverse(line)) = self.heads.pop()
        {
            let file = line.file;
            self.held.push(Reverse(line));
            self.fetch(file)?;
        }
        Ok(self.held.pop().map(|Reverse(line)| line))
    }

    /// Reads the next line of a file.
    fn fetch(&mut self, file: usize) -> Result<(), Exit> {
        let (Some(slot), Some(name)) = (self.open.get_mut(file), self.names.get(file)) else {
            return Ok(());
        };
        while let Some(open) = slot {
            let mut text = String::new();
            open.number += 1;
            let read = std::io::Read::take(&mut open.lines, LONGEST).read_line(&mut text);
            if read.map_err(|why| failed(name, &why))? == 0 {
                *slot = None;
            } else if !text.trim().is_empty() {
                // A clock that is ahead must not hold up the lines behind it: it stays where it stands.
                let time = Some(time(&text)).filter(|time| *time <= self.now);
                let time = time.unwrap_or(open.before);
                open.before = time;
                let line = Line {
                    time,
                    file,
                    number: open.number,
                    text,
                };
                self.heads.push(Reverse(line));
                return Ok(());
            }
        }
        Ok(())
    }
}

/// What is no event comes first: it is told with its place, and ends the replay.
fn time(text: &str) -> Time {
    let head = serde_json::from_str::<Head>(text).ok();
    let time = head.and_then(|head| Time::parse(&head.time?));
    time.unwrap_or(Time::MIN)
}

fn failed(file: &Path, why: &std::io::Error) -> Exit {
    say::error(format!("{}: {why}", file.display()));
    Exit::Failed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_side_by_side_in_the_order_of_time() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, seconds: &[u32]| {
            let path = folder.path().join(name);
            let line = |s: &u32| format!("{{\"@timestamp\":\"2026-03-02T00:00:{s:02}Z\"}}\n");
            std::fs::write(&path, seconds.iter().map(line).collect::<String>()).unwrap();
            path
        };
        let files = [
            file("a", &[3, 1, 5]),
            file("b", &[1, 2, 4, 5]),
            file("c", &[]),
        ];
        let now = Time::parse("2026-03-03T00:00:00Z").unwrap();
        let mut lines = Lines::open(&files, now).unwrap();
        let mut order = Vec::new();
        while let Some(line) = lines.next().unwrap() {
            let second = line.time.0 / 1_000_000_000 % 60;
            order.push((second, line.file, line.number));
        }
        let expected = [
            (1, 0, 2),
            (1, 1, 1),
            (2, 1, 2),
            (3, 0, 1),
            (4, 1, 3),
            (5, 0, 3),
            (5, 1, 4),
        ];
        assert_eq!(order, expected);
        assert!(Lines::open(&[folder.path().join("none")], now).is_err());
        // A line from the future holds up nothing.
        let now = Time::parse("2026-03-02T00:00:30Z").unwrap();
        let files = [file("d", &[1, 59, 3]), file("e", &[2, 4])];
        let mut lines = Lines::open(&files, now).unwrap();
        let mut order = Vec::new();
        while let Some(line) = lines.next().unwrap() {
            order.push((line.file, line.number));
        }
        assert_eq!(order, [(0, 1), (0, 2), (1, 1), (0, 3), (1, 2)]);
    }
}
