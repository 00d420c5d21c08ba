//! `console` writes each event as a line to standard output or standard error.
//!
//! - `encoding.codec`: `json` (default), `text`, `logfmt`, `pretty` for people
//! - whatever the log text holds, no control character and no escape sequence of it reaches the terminal
//! - nobody reads any more (`pvetrail run … | head`): the program is told to stop, and what was not written counts as not
//!   delivered

use std::fs::File;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::os::fd::{AsFd, BorrowedFd};

use async_trait::async_trait;
use pipeline::{
    BatchDefaults, BuildError, BuildErrors, Bytes, Context, Duration, Encoding, Events, Reason,
    ReasonKind, Sink, SinkConfig, Workers, WriteError, Written,
};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::encode::{LineEncoder, Reader};

/// Writes events as lines to standard output or standard error.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where to write.
    target: Target,
    /// How an event becomes a line.
    encoding: Encoding,
    /// When to use colours (`pretty` only).
    color: Color,
}

/// Where to write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Target {
    /// Standard output.
    #[default]
    Stdout,
    /// Standard error, which the program's own log uses too.
    Stderr,
}

/// When to use colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Color {
    /// On a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl SinkConfig for Config {
    const TYPE: &'static str = "console";
    const WORKERS: Workers = Workers::One;
    const EXAMPLE: &'static str = "encoding = { codec = \"pretty\" }";
    const BATCH: BatchDefaults = BatchDefaults {
        max_events: 1000,
        max_size: Bytes::mib(1),
        // A person watches.
        timeout: Duration::from_millis(50),
    };

    fn build(&self, _: &Context) -> Result<Box<dyn Sink>, BuildErrors> {
        let opened = match self.target {
            Target::Stdout => io::stdout().as_fd().try_clone_to_owned(),
            Target::Stderr => io::stderr().as_fd().try_clone_to_owned(),
        };
        let out =
            File::from(opened.map_err(|why| {
                BuildError::key("target", format!("cannot be written to: {why}"))
            })?);
        let terminal = out.is_terminal();
        let colour = match self.color {
            Color::Auto => {
                terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
            }
            Color::Always => true,
            Color::Never => false,
        };
        Ok(Box::new(Console {
            encoder: LineEncoder::new(
                &self.encoding,
                Reader {
                    terminal: true,
                    colour,
                },
            ),
            out,
            terminal,
            text: Vec::new(),
        }))
    }
}

struct Console {
    encoder: LineEncoder,
    out: File,
    terminal: bool,
    /// The lines of one write; its memory goes to the writing thread and comes back.
    text: Vec<u8>,
}

#[async_trait]
impl Sink for Console {
    async fn write(&mut self, events: Events) -> Result<Written, WriteError> {
        if self.terminal {
            self.encoder.set_width(width(self.out.as_fd()));
        }
        self.text.clear();
        for event in events.iter() {
            self.encoder.write(event, &mut self.text);
        }
        // A terminal may be stopped (Ctrl-S), a pipe may be full: that must hold up nobody else.
        let text = std::mem::take(&mut self.text);
        let out = self.out.try_clone();
        let done = tokio::task::spawn_blocking(move || {
            let result = out.and_then(|mut out| write_all(&mut out, &text));
            (result, text)
        })
        .await;
        let (result, text) = match done {
            Ok(done) => done,
            Err(why) => return Err(retry(&why.to_string())),
        };
        self.text = text;
        match result {
            Ok(()) => Ok(Written {
                bytes: self.text.len() as u64,
                ..Written::default()
            }),
            Err(why) if why.kind() == ErrorKind::BrokenPipe => {
                stop_program();
                Err(retry("nobody reads it any more"))
            }
            Err(why) => Err(retry(&why.to_string())),
        }
    }
}

fn retry(why: &str) -> WriteError {
    WriteError::Retry {
        reason: Reason::new(ReasonKind::Connection, why),
        after: None,
    }
}

/// All of `text`, also where the other end of a terminal has set it to not block.
fn write_all(out: &mut impl Write, mut text: &[u8]) -> io::Result<()> {
    while !text.is_empty() {
        match out.write(text) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => text = &text[written..],
            Err(why) if why.kind() == ErrorKind::Interrupted => {}
            Err(why) if why.kind() == ErrorKind::WouldBlock => {
                std::thread::sleep(std::time::Duration::from_millis(5))
            }
            Err(why) => return Err(why),
        }
    }
    Ok(())
}

/// The terminal's width now [columns].
fn width(out: BorrowedFd<'_>) -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(out).ok()?;
    (size.ws_col > 0).then_some(usize::from(size.ws_col))
}

/// As if the operator had asked for it, so everything ends in order.
fn stop_program() {
    tracing::info!("nobody reads the output any more; stopping");
    if let Err(why) =
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::TERM)
    {
        tracing::warn!(%why, "could not stop");
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Seek};

    use pipeline::{Event, EventId, Time, fields};

    use super::*;

    #[tokio::test]
    async fn a_batch_is_written_in_order_and_nothing_unprintable_with_it() {
        let mut file = tempfile::tempfile().unwrap();
        let mut console = Console {
            encoder: LineEncoder::new(
                &toml_encoding("text"),
                Reader {
                    terminal: true,
                    colour: false,
                },
            ),
            out: file.try_clone().unwrap(),
            terminal: false,
            text: Vec::new(),
        };
        let event = |text: &str| {
            let mut event = Event::new(EventId::parse(&"0".repeat(32)).unwrap(), Time(0));
            event.set_str(fields::MESSAGE, text);
            event
        };
        let written = console
            .write(Events::of(vec![event("one\x1b[0m"), event("two")]))
            .await
            .unwrap();
        let mut text = String::new();
        file.rewind().unwrap();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "one\\x1b[0m\ntwo\n");
        assert_eq!(written.bytes, text.len() as u64);
    }

    fn toml_encoding(codec: &str) -> Encoding {
        serde_json::from_value(serde_json::json!({ "codec": codec })).unwrap()
    }

    #[test]
    fn a_terminal_that_does_not_block_gets_everything() {
        struct Shy(Vec<u8>, bool);
        impl Write for Shy {
            fn write(&mut self, text: &[u8]) -> io::Result<usize> {
                self.1 = !self.1;
                if self.1 {
                    return Err(ErrorKind::WouldBlock.into());
                }
                let n = text.len().min(3);
                self.0.extend_from_slice(&text[..n]);
                Ok(n)
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut shy = Shy(Vec::new(), false);
        write_all(&mut shy, b"hello world").unwrap();
        assert_eq!(shy.0, b"hello world");
    }
}
