//! `stdin` reads lines from standard input, and ends the graph in good order when they end.
//!
//! - in: text; each line an event, several lines where `multiline` says so
//! - out: `message`, `host.name`; `@timestamp` is the time of reading
//! - nothing can be read twice, so a line that is under way when the program dies is lost; use `file` where that matters

use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use pipeline::units::Bytes;
use pipeline::{
    BuildErrors, Context, EventId, LaneId, LineBatch, LineConstants, LineIds, Source, SourceConfig,
    SourceError, SourceOut, Stopped,
};
use regex::bytes::Regex;
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::sync::{Mutex, mpsc};

use crate::file::check_line_size;
use crate::file::identity::Tail;
use crate::file::lines::Lines;
use crate::file::multiline::{Group, Multiline};
use crate::file::page::Page as _;

/// Read at once [bytes].
const CHUNK: usize = 64 * 1024;
/// Chunks read ahead [chunks].
const AHEAD: usize = 4;
/// Silence is told of this often.
const IDLE: Duration = Duration::from_secs(1);

/// Reads lines from standard input, and ends the graph in good order when they end.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Of a longer line the head is kept, with the length and the hash of the whole.
    #[serde(default = "max_line_size")]
    max_line_size: Bytes,
    /// Several lines that are one event.
    multiline: Option<Multiline>,
    /// `host.name` of the events, where they come from another host.
    host: Option<String>,
}

fn max_line_size() -> Bytes {
    Bytes::mib(1)
}

impl SourceConfig for Config {
    const TYPE: &'static str = "stdin";
    const EXAMPLE: &'static str = r#"host = "pve1""#;

    fn build(&self, cx: &Context) -> Result<Box<dyn Source>, BuildErrors> {
        let mut errors = BuildErrors::new();
        errors.take(check_line_size(self.max_line_size));
        let multiline = match &self.multiline {
            Some(multiline) => errors.take(multiline.compile()),
            None => None,
        };
        let stdin = Stdin {
            id: cx.id().to_owned(),
            host: self.host.clone().unwrap_or_else(|| cx.host().to_owned()),
            max_line: self.max_line_size.as_usize(),
            multiline,
        };
        errors.finish(Box::new(stdin) as Box<dyn Source>)
    }
}

struct Stdin {
    id: String,
    host: String,
    max_line: usize,
    multiline: Option<(Regex, Duration)>,
}

type Chunk = std::io::Result<Vec<u8>>;

/// What the reading thread has read. It outlives a restart of the source, so nothing read ahead is lost by one.
static INPUT: OnceLock<Mutex<mpsc::Receiver<Chunk>>> = OnceLock::new();

fn input() -> &'static Mutex<mpsc::Receiver<Chunk>> {
    INPUT.get_or_init(|| {
        let (send, receive) = mpsc::channel(AHEAD);
        // A read of standard input cannot be called off, so it has a thread that nobody waits for.
        std::thread::spawn(move || read_all(std::io::stdin().lock(), &send));
        Mutex::new(receive)
    })
}

/// Ends with the input, an error, or the receiver.
fn read_all(mut from: impl std::io::Read, to: &mpsc::Sender<Chunk>) {
    loop {
        let mut chunk = vec![0; CHUNK];
        let read = match from.read(&mut chunk) {
            Ok(0) => return,
            Ok(n) => {
                chunk.truncate(n);
                Ok(chunk)
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => Err(error),
        };
        let ends = read.is_err();
        if to.blocking_send(read).is_err() || ends {
            return;
        }
    }
}

#[async_trait]
impl Source for Stdin {
    async fn run(&mut self, out: SourceOut) -> Result<(), SourceError> {
        let Ok(mut input) = input().try_lock() else {
            let why = "standard input is read by another `stdin` source already; keep one of them, and let both \
                       readers take it as their input";
            return Err(SourceError(why.to_owned()));
        };
        match Reading::new(self, out).run(&mut input).await {
            Ok(()) | Err(End::Stopped) => Ok(()),
            Err(End::Failed(why)) => Err(why),
        }
    }
}

/// Why reading ended before the input did.
enum End {
    Stopped,
    Failed(SourceError),
}

impl From<Stopped> for End {
    fn from(_: Stopped) -> Self {
        Self::Stopped
    }
}

/// One run. It has its own lane and its own ids, because nothing of an earlier one comes again.
struct Reading {
    out: SourceOut,
    lane: LaneId,
    constants: LineConstants,
    lines: Lines,
    /// How long the last line of a group waits for more.
    wait: Option<Duration>,
}

impl Reading {
    fn new(source: &Stdin, out: SourceOut) -> Self {
        let run = run_id(&source.host, &source.id);
        for (old, _) in out.positions::<serde::de::IgnoredAny>() {
            out.forget(&old);
        }
        let group = source.multiline.as_ref();
        Self {
            lane: out.lane(&format!("stdin#{run:016x}")),
            out,
            constants: LineConstants {
                host: source.host.clone(),
                path: None,
                ids: LineIds::Counter(run),
            },
            lines: Lines::new(
                source.max_line,
                group.map(|(start, _)| Group::new(start.clone())),
                0,
                Tail::new(),
            ),
            wait: group.map(|(_, timeout)| *timeout),
        }
    }

    async fn run(mut self, input: &mut mpsc::Receiver<Chunk>) -> Result<(), End> {
        loop {
            let wait = self
                .wait
                .filter(|_| self.lines.holds_group())
                .unwrap_or(IDLE);
            let chunk = tokio::select! {
                () = self.out.stopped() => return Err(End::Stopped),
                chunk = tokio::time::timeout(wait, input.recv()) => chunk,
            };
            match chunk {
                Ok(Some(Ok(chunk))) => self.take(&chunk).await?,
                Ok(Some(Err(error))) => {
                    let why = format!("standard input cannot be read: {error}");
                    return Err(End::Failed(SourceError(why)));
                }
                Ok(None) => break,
                Err(_) if self.lines.holds_group() => self.end_group().await?,
                Err(_) => self.out.idle(self.lane).await?,
            }
        }
        if self.lines.holds() {
            // The end of the input ends its last line.
            self.take(b"\n").await?;
        }
        self.end_group().await?;
        Ok(())
    }

    async fn take(&mut self, chunk: &[u8]) -> Result<(), Stopped> {
        let begin = self.lines.scanned();
        self.out
            .metrics()
            .received_bytes
            .add(["stdin"], chunk.len() as u64);
        loop {
            let taken = usize::try_from(self.lines.scanned() - begin).unwrap_or(usize::MAX);
            let Some(rest) = chunk.get(taken..).filter(|rest| !rest.is_empty()) else {
                return Ok(());
            };
            let mut page = self.out.lines(&self.constants);
            self.lines.begin(&mut page);
            page.append(rest);
            self.lines.split(&mut page);
            self.send(page).await?;
        }
    }

    async fn end_group(&mut self) -> Result<(), Stopped> {
        let mut page = self.out.lines(&self.constants);
        self.lines.end_group(&mut page);
        self.send(page).await
    }

    async fn send(&mut self, page: LineBatch) -> Result<(), Stopped> {
        if page.is_empty() {
            return Ok(());
        }
        self.out
            .send_lines(self.lane, page, &self.lines.offset())
            .await
    }
}

/// 64 bits that no other run has.
pub(crate) fn run_id(host: &str, id: &str) -> u64 {
    let start = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos());
    let parts = [
        b"pve-audit/1",
        host.as_bytes(),
        id.as_bytes(),
        &start.to_le_bytes(),
        &std::process::id().to_le_bytes(),
        &fastrand::u64(..).to_le_bytes(),
    ];
    EventId::of_parts(&parts).0[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn input_comes_in_chunks_until_it_ends_or_breaks() {
        struct Breaks(u8);
        impl std::io::Read for Breaks {
            fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
                self.0 += 1;
                match self.0 {
                    1 => Err(std::io::ErrorKind::Interrupted.into()),
                    2 => {
                        into[0] = b'x';
                        Ok(1)
                    }
                    _ => Err(std::io::Error::other("gone")),
                }
            }
        }
        let (send, mut receive) = mpsc::channel(8);
        read_all(Breaks(0), &send);
        assert_eq!(receive.blocking_recv().unwrap().unwrap(), b"x");
        assert!(receive.blocking_recv().unwrap().is_err());
        read_all(&b"one\ntwo"[..], &send);
        assert_eq!(receive.blocking_recv().unwrap().unwrap(), b"one\ntwo");
        drop(send);
        assert!(receive.blocking_recv().is_none());
    }

    #[test]
    fn every_run_has_its_own_ids() {
        assert_ne!(run_id("pve1", "in"), run_id("pve1", "in"));
    }
}
