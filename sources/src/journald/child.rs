//! `journalctl` as a child process: its lines, and what it says when it ends.

use std::path::Path;
use std::process::Stdio;

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{ChildStdout, Command};
use tokio::task::JoinHandle;

/// Read at once [bytes].
const CHUNK: usize = 256 * 1024;
/// Longest line; of a longer one only the head is kept [bytes]. A field of 8 MiB that is no text still fits.
const LONGEST_LINE: usize = 32 << 20;
/// What is kept of a longer line [bytes].
const HEAD: usize = 64 * 1024;
/// What is kept of what it says about errors [bytes].
const WORDS: usize = 4096;

/// One line of its output.
pub(super) enum Line<'l> {
    Whole(&'l [u8]),
    /// The head of a line that is too long, and the length of the whole [bytes].
    Head(&'l [u8], u64),
}

impl Line<'_> {
    pub(super) fn len(&self) -> usize {
        match self {
            Line::Whole(text) => text.len() + 1,
            Line::Head(_, len) => usize::try_from(*len).unwrap_or(usize::MAX),
        }
    }
}

/// A running `journalctl`. It is ended when this is dropped.
pub(super) struct Child {
    process: tokio::process::Child,
    stdout: ChildStdout,
    lines: Lines,
    words: Option<JoinHandle<String>>,
    program: String,
}

impl Child {
    /// Starts one.
    pub(super) fn start(arguments: &[String], program: &Path) -> Result<Child, String> {
        let mut process = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|why| {
                format!(
                    "cannot start {}: {why}; install systemd's journalctl, or say where it is with journalctl_path",
                    program.display()
                )
            })?;
        let (Some(stdout), Some(stderr)) = (process.stdout.take(), process.stderr.take()) else {
            return Err("a pipe to journalctl is missing".to_owned());
        };
        Ok(Child {
            process,
            stdout,
            lines: Lines::default(),
            words: Some(tokio::spawn(listen(stderr))),
            program: program.display().to_string(),
        })
    }

    /// Waits for more output; false at its end. Dropping the future loses nothing.
    pub(super) async fn read(&mut self) -> Result<bool, String> {
        self.lines
            .read(&mut self.stdout)
            .await
            .map_err(|why| format!("cannot read what {} prints: {why}", self.program))
    }

    /// The next whole line that has been read.
    pub(super) fn line(&mut self) -> Option<Line<'_>> {
        self.lines.next()
    }

    /// Whether it ended as it should.
    pub(super) async fn ended_well(&mut self) -> bool {
        self.process
            .wait()
            .await
            .is_ok_and(|status| status.success())
    }

    /// Why it ended, in its own words.
    pub(super) async fn last_words(&mut self) -> String {
        let status = match self.process.wait().await {
            Ok(status) => status.to_string(),
            Err(why) => why.to_string(),
        };
        let words = match self.words.take() {
            // What was said is for people; a listener that died says nothing.
            Some(words) => words.await.unwrap_or_default(),
            None => String::new(),
        };
        let words = words.trim().replace('\n', "; ");
        let program = &self.program;
        match words.is_empty() {
            true => format!("{program} ended ({status}) without a word"),
            false => format!("{program} ended ({status}): {words}"),
        }
    }
}

/// The end of what is said, read to its end so that nobody is held up by it.
async fn listen(mut from: impl AsyncRead + Unpin) -> String {
    let (mut words, mut chunk) = (Vec::new(), [0; 1024]);
    loop {
        match from.read(&mut chunk).await {
            Ok(0) | Err(_) => return String::from_utf8_lossy(&words).into_owned(),
            Ok(n) => {
                let said = String::from_utf8_lossy(&chunk[..n]);
                // Like that there are entries which this user may not read.
                pipeline::log_limited!(warn, said = said.trim(), "journalctl has something to say");
                words.extend_from_slice(&chunk[..n]);
                let more = words.len().saturating_sub(WORDS);
                words.drain(..more);
            }
        }
    }
}

/// Lines out of chunks.
#[derive(Default)]
pub(super) struct Lines {
    buffer: Vec<u8>,
    /// Where the next line begins.
    at: usize,
    /// Up to here there is no further line end.
    searched: usize,
    /// What was thrown away of the line at hand [bytes].
    gone: u64,
}

impl Lines {
    pub(super) async fn read(
        &mut self,
        from: &mut (impl AsyncRead + Unpin),
    ) -> std::io::Result<bool> {
        self.make_room();
        self.buffer.reserve(CHUNK);
        Ok(from.read_buf(&mut self.buffer).await? > 0)
    }

    /// Forgets the lines that were taken, and the rest of one that is too long.
    fn make_room(&mut self) {
        if self.at > 0 {
            self.buffer.drain(..self.at);
            self.searched -= self.at;
            self.at = 0;
        }
        if self.buffer.len() > LONGEST_LINE || self.gone > 0 && self.buffer.len() > HEAD {
            self.gone += (self.buffer.len() - HEAD) as u64;
            self.buffer.truncate(HEAD);
            self.searched = HEAD;
        }
        if self.buffer.is_empty() && self.buffer.capacity() > 4 * CHUNK {
            self.buffer = Vec::new();
        }
    }

    pub(super) fn next(&mut self) -> Option<Line<'_>> {
        let (start, end) = loop {
            let Some(end) = memchr::memchr(b'\n', &self.buffer[self.searched..]) else {
                self.searched = self.buffer.len();
                return None;
            };
            let (start, end) = (self.at, self.searched + end);
            self.at = end + 1;
            self.searched = self.at;
            // `-- No entries --` and its like are said between the entries.
            if self.gone > 0 || !self.buffer[start..end].starts_with(b"-- ") {
                break (start, end);
            }
        };
        let text = &self.buffer[start..end];
        match std::mem::take(&mut self.gone) {
            0 => Some(Line::Whole(text)),
            gone => Some(Line::Head(
                &text[..text.len().min(HEAD)],
                gone + text.len() as u64,
            )),
        }
    }
}
