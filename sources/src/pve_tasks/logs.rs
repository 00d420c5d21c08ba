//! The log files of tasks: opened when something is to be known, read from their end, closed at once.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;
use pipeline::Time;

use super::lists::plain;
use super::row;
use super::vzdump::{Guest, Guests};

/// Read of a log's end: enough for twenty lines, and for the beginning of a key that spans more of them [bytes].
const END: u64 = 64 << 10;
/// Most of a backup's log that is read for its guests [bytes].
const MOST: u64 = 256 << 20;
/// Most files looked at when tasks are searched by their logs.
const MOST_FILES: usize = 200_000;

/// The logs under one folder.
#[derive(Clone, Debug)]
pub(super) struct Logs {
    folder: PathBuf,
}

/// The end of a log.
#[derive(Clone, Debug)]
pub(super) struct End {
    /// Whole lines, as text; secrets are still in it.
    pub(super) text: String,
    /// What the last line says, as PVE reads it; `None` where it is not the line that ends a log.
    pub(super) status: Option<String>,
    /// When it was written last.
    pub(super) modified: Time,
}

impl Logs {
    pub(super) fn new(folder: &Path) -> Logs {
        Logs {
            folder: folder.to_owned(),
        }
    }

    /// Where the log of a task is. `upid` has been parsed, so it holds no `/`.
    fn path(&self, upid: &str, start: Time) -> PathBuf {
        let digit = (start.0.div_euclid(pipeline::clock::SECOND) & 15) as u8;
        self.folder.join(format!("{digit:X}")).join(upid)
    }

    /// The end of a task's log; `None` if there is none.
    pub(super) fn end(&self, upid: &str, start: Time) -> io::Result<Option<End>> {
        let mut file = match plain(&self.path(upid, start)) {
            Ok(file) => file,
            Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(why) => return Err(why),
        };
        let found = file.metadata()?;
        let modified = Time(
            found
                .mtime()
                .saturating_mul(pipeline::clock::SECOND)
                .saturating_add(found.mtime_nsec()),
        );
        let mut bytes = Vec::new();
        if found.len() > END {
            file.seek(SeekFrom::Start(found.len() - END))?;
        }
        file.take(END).read_to_end(&mut bytes)?;
        if found.len() > END {
            // The first line is the rest of one, unless nothing else is there.
            let line = memchr::memchr(b'\n', &bytes).map_or(0, |at| at + 1);
            bytes.drain(..line);
        }
        Ok(Some(End {
            status: last_word(&bytes),
            text: bytes
                .split_inclusive(|byte| *byte == b'\n')
                .map(|line| row::text(line).0)
                .collect(),
            modified,
        }))
    }

    /// Whether the HA stack started the task, in the name of root: it says so in the first line of the log.
    pub(super) fn by_ha(&self, upid: &str, start: Time) -> io::Result<bool> {
        const WORDS: &[u8] = b"task started by HA resource agent";
        let file = match plain(&self.path(upid, start)) {
            Ok(file) => file,
            Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(why) => return Err(why),
        };
        let mut head = Vec::with_capacity(WORDS.len());
        file.take(WORDS.len() as u64).read_to_end(&mut head)?;
        Ok(head == WORDS)
    }

    /// What a backup came to for each of its guests.
    pub(super) fn guests(
        &self,
        upid: &str,
        start: Time,
        zone: &TimeZone,
    ) -> io::Result<Vec<Guest>> {
        let file = match plain(&self.path(upid, start)) {
            Ok(file) => file,
            Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(why) => return Err(why),
        };
        let mut guests = Guests::new(zone.clone());
        each_line(file, |line| guests.line(&row::text(line).0))?;
        Ok(guests.finish())
    }

    /// UPIDs and times of the logs last written at `from` or later; true if there are more than are looked at.
    pub(super) fn since(&self, from: Time) -> io::Result<(Vec<(String, Time)>, bool)> {
        let mut found = Vec::new();
        let mut looked_at = 0;
        for digit in 0..16 {
            let folder = self.folder.join(format!("{digit:X}"));
            let files = match std::fs::read_dir(&folder) {
                Ok(files) => files,
                Err(why) if why.kind() == io::ErrorKind::NotFound => continue,
                Err(why) => return Err(why),
            };
            for file in files {
                looked_at += 1;
                if looked_at > MOST_FILES {
                    return Ok((found, true));
                }
                let file = file?;
                // One that is gone by now, or has a name that is no text, is no log of a task.
                let (Ok(about), Ok(name)) = (file.metadata(), file.file_name().into_string())
                else {
                    continue;
                };
                let at = Time::from_secs(about.mtime());
                if about.is_file() && at >= from {
                    found.push((name, at));
                }
            }
        }
        found.sort_by(|a, b| (a.1, &a.0).cmp(&(b.1, &b.0)));
        Ok((found, false))
    }
}

/// What the last line of a log says of how the task ended.
fn last_word(log: &[u8]) -> Option<String> {
    let log = log.trim_ascii_end();
    let line = memchr::memrchr(b'\n', log).map_or(log, |at| &log[at + 1..]);
    let (line, _) = row::text(line);
    let word = line.strip_prefix("TASK ")?;
    if word == "OK" || word.starts_with("WARNINGS: ") {
        return Some(word.to_owned());
    }
    word.strip_prefix("ERROR: ").map(str::to_owned)
}

/// Shows every line, of a longer one than 16 KiB its head, up to [`MOST`].
fn each_line(file: File, mut see: impl FnMut(&[u8])) -> io::Result<()> {
    const LINE: usize = 16 << 10;
    let mut file = BufReader::with_capacity(64 << 10, file.take(MOST));
    let mut line = Vec::new();
    loop {
        let held = io::BufRead::fill_buf(&mut file)?;
        if held.is_empty() {
            break;
        }
        let end = memchr::memchr(b'\n', held);
        let part = &held[..end.unwrap_or(held.len())];
        let room = LINE.saturating_sub(line.len()).min(part.len());
        line.extend_from_slice(&part[..room]);
        let used = part.len() + usize::from(end.is_some());
        if end.is_some() {
            see(&line);
            line.clear();
        }
        io::BufRead::consume(&mut file, used);
    }
    if !line.is_empty() {
        see(&line);
    }
    Ok(())
}

/// Whether the process of a task still runs: its number is taken, by a process that began at the same tick.
pub(super) fn is_alive(pid: u32, pstart: u64) -> bool {
    let Ok(stat) = std::fs::read(format!("/proc/{pid}/stat")) else {
        return false;
    };
    // The name of the program stands in brackets and may hold anything.
    let after = memchr::memrchr(b')', &stat).map_or(0, |at| at + 1);
    let fields = String::from_utf8_lossy(&stat[after..]);
    let start = fields.split_ascii_whitespace().nth(19);
    start.and_then(|ticks| ticks.parse().ok()) == Some(pstart)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UPID: &str = "UPID:pve1:0003A5B2:01C8F2A4:697722A2:qmstart:100:root@pam:";
    const START: Time = Time(0x6977_22A2 * pipeline::clock::SECOND);

    fn logs(log: &[u8]) -> (tempfile::TempDir, Logs) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("2")).unwrap();
        std::fs::write(folder.path().join("2").join(UPID), log).unwrap();
        let logs = Logs::new(folder.path());
        (folder, logs)
    }

    #[test]
    fn the_last_line_is_the_status_as_pve_reads_it() {
        for (log, status) in [
            (&b"a\nTASK OK\n"[..], Some("OK")),
            (b"TASK WARNINGS: 3", Some("WARNINGS: 3")),
            (b"x\nTASK ERROR: job errors\n\n", Some("job errors")),
            (b"TASK ERROR: k\xf6nnte nicht", Some("k\u{f6}nnte nicht")),
            (b"TASK OK\nbut then\n", None),
            (b"", None),
            (b"TASK \n", None),
        ] {
            let (_folder, logs) = logs(log);
            let end = logs.end(UPID, START).unwrap().unwrap();
            assert_eq!(end.status.as_deref(), status);
        }
        let nothing = Logs::new(Path::new("/nowhere"));
        assert!(nothing.end(UPID, START).unwrap().is_none());
    }

    #[test]
    fn of_a_huge_log_only_the_end_is_read() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("2")).unwrap();
        let file = File::create(folder.path().join("2").join(UPID)).unwrap();
        // A hole of a tebibyte, where the file system allows it.
        file.set_len(1 << 40).unwrap();
        drop(file);
        let mut file = File::options()
            .append(true)
            .open(folder.path().join("2").join(UPID))
            .unwrap();
        io::Write::write_all(&mut file, b"\nlast\nTASK ERROR: no\n").unwrap();
        let end = Logs::new(folder.path()).end(UPID, START).unwrap().unwrap();
        assert_eq!(
            (end.text.as_str(), end.status.as_deref()),
            ("last\nTASK ERROR: no\n", Some("no"))
        );
    }

    #[test]
    fn a_line_of_any_length_costs_no_more_memory_than_a_buffer() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut text = vec![b'x'; 1 << 20];
        text.extend_from_slice(b"\nshort\nno end");
        std::fs::write(&path, text).unwrap();
        let mut seen = Vec::new();
        each_line(File::open(path).unwrap(), |line| seen.push(line.len())).unwrap();
        assert_eq!(seen, [16 << 10, 5, 6]);
    }

    #[test]
    fn this_process_lives_and_another_of_its_number_does_not() {
        let pid = std::process::id();
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let after = stat.rfind(')').unwrap() + 1;
        let start = stat[after..].split_ascii_whitespace().nth(19).unwrap();
        assert!(is_alive(pid, start.parse().unwrap()));
        assert!(!is_alive(pid, 1));
    }
}
