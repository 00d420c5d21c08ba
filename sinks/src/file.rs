//! `file` appends each event as a line to a file whose name may follow the time of the event.
//!
//! - one write and one `fsync` for each file of a batch; delivered means that it is on the disk
//! - a full or broken disk: the half line is cut off again, and the batch is tried again without end
//! - after a crash the last line of a file may be torn: it was never delivered, so it is cut off before anything is added

mod log;

use std::collections::HashMap;
use std::path::PathBuf;

use async_trait::async_trait;
use pipeline::{
    BuildError, BuildErrors, Bytes, Codec, Context, Encoding, Events, Fate, Reason, ReasonKind,
    Sink, SinkConfig, Workers, WriteError, Written,
};
use schemars::JsonSchema;
use serde::Deserialize;

use self::log::{Log, Rotation};
use crate::encode::{LineEncoder, Reader};
use crate::template::{Named, Template};

/// Files held open at once; a batch that spans more closes those it used first.
const OPEN: usize = 32;

/// Appends events as lines to a file.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where to write, `%Y` `%m` `%d` `%H` by the time of the event (UTC): `/var/log/pvetrail/%Y-%m-%d.log`.
    path: String,
    /// How an event becomes a line: `json`, `text` or `logfmt`.
    #[serde(default)]
    encoding: Encoding,
    /// When a file becomes too large.
    #[serde(default)]
    rotate: Rotate,
    /// Who may read the file, as `chmod` writes it.
    #[serde(default = "private")]
    mode: String,
}

fn private() -> String {
    "0600".to_owned()
}

/// `rotate = { … }`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Rotate {
    /// A file that would become larger is renamed to `<path>.1`, `.1` to `.2` and so on. Without it files only grow.
    max_size: Option<Bytes>,
    /// Renamed files that are kept; older ones are deleted. All are kept where it is not said.
    keep: Option<u32>,
}

impl SinkConfig for Config {
    const TYPE: &'static str = "file";
    const WORKERS: Workers = Workers::One;
    const EXAMPLE: &'static str =
        "path = \"/var/log/pvetrail/%Y-%m-%d.log\"\nrotate = { max_size = \"1GiB\" }";

    fn build(&self, _: &Context) -> Result<Box<dyn Sink>, BuildErrors> {
        let mut errors = BuildErrors::new();
        let template = match Template::parse(&self.path) {
            Ok(template) if self.path.is_empty() || self.path.ends_with('/') => {
                errors.push(
                    BuildError::key("path", "names no file")
                        .help("like `/var/log/pvetrail/%Y-%m-%d.log`"),
                );
                Some(template)
            }
            Ok(template) => Some(template),
            Err((range, why)) => {
                let rest = self.path.get(range.start..).unwrap_or_default();
                errors.push(BuildError::key(
                    "path",
                    format!("{why} (at `{rest}`); a percent sign is `%%`"),
                ));
                None
            }
        };
        if self.encoding.codec == Codec::Pretty {
            errors.push(
                BuildError::key("encoding.codec", "`pretty` is for a terminal")
                    .help("write `json`, `text` or `logfmt`"),
            );
        }
        let mode = u32::from_str_radix(&self.mode, 8)
            .ok()
            .filter(|mode| *mode <= 0o777 && mode & 0o600 == 0o600);
        if mode.is_none() {
            errors.push(
                BuildError::key("mode", "is no mode of a file that we can read and write")
                    .help("like `0600` or `0640`"),
            );
        }
        if self.rotate.keep.is_some() && self.rotate.max_size.is_none() {
            errors.push(BuildError::key("rotate.keep", "needs `rotate.max_size`"));
        }
        let (Some(template), Some(mode)) = (template, mode) else {
            return Err(errors);
        };
        let rotation = Rotation {
            max_size: self.rotate.max_size.map(Bytes::get),
            keep: self.rotate.keep,
        };
        errors.finish(Box::new(File {
            writer: Some(Writer {
                names: Vec::new(),
                template,
                encoder: LineEncoder::new(&self.encoding, Reader::default()),
                whole_line: if self.encoding.codec == Codec::Json {
                    Some(b'{')
                } else {
                    None
                },
                mode,
                rotation,
                logs: Vec::new(),
                parts: Vec::new(),
            }),
        }))
    }
}

struct File {
    /// Away only while it writes.
    writer: Option<Writer>,
}

#[async_trait]
impl Sink for File {
    async fn write(&mut self, events: Events) -> Result<Written, WriteError> {
        let lost = || Reason::new(ReasonKind::Disk, "the task that wrote has failed");
        let Some(mut writer) = self.writer.take() else {
            return Err(WriteError::Retry {
                reason: lost(),
                after: None,
            });
        };
        let work = tokio::task::spawn_blocking(move || {
            let result = writer.write(&events);
            (writer, result)
        });
        // A panic in there goes on here, and the engine builds the sink anew.
        match work.await {
            Ok((writer, result)) => {
                self.writer = Some(writer);
                result
            }
            Err(why) => match why.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Err(WriteError::Retry {
                    reason: lost(),
                    after: None,
                }),
            },
        }
    }
}

/// All of it but the trait: what runs where it may wait for a disk.
struct Writer {
    template: Template,
    /// Names made lately, the last one used first.
    names: Vec<Named>,
    encoder: LineEncoder,
    /// The byte each line begins with, where the format has one.
    whole_line: Option<u8>,
    mode: u32,
    rotation: Rotation,
    /// Open files, the one used last at the end.
    logs: Vec<Log>,
    /// What goes where, its memory used again.
    parts: Vec<Part>,
}

#[derive(Default)]
struct Part {
    path: PathBuf,
    lines: Vec<u8>,
    places: Vec<u32>,
}

impl Writer {
    fn write(&mut self, events: &Events) -> Result<Written, WriteError> {
        let used = self.divide(events);
        let mut parts = std::mem::take(&mut self.parts);
        let mut written = Written::default();
        let mut fates = Vec::new();
        let mut failed = None;
        for part in &parts[..used] {
            let result = match &failed {
                // What failed for one file fails for the next on the same disk, and order is kept by waiting.
                Some(reason) => Err(Reason::clone(reason)),
                None => self.append(part),
            };
            match result {
                Ok(()) => written.bytes += part.lines.len() as u64,
                Err(reason) => {
                    fates.extend(
                        part.places
                            .iter()
                            .map(|place| (*place, Fate::Retry(reason.clone()))),
                    );
                    failed = Some(reason);
                }
            }
        }
        for part in &mut parts {
            part.lines.clear();
            part.lines.shrink_to(1 << 20);
            part.places.clear();
        }
        parts.truncate(OPEN);
        self.parts = parts;
        match failed {
            None => Ok(written),
            Some(reason) if fates.len() == events.len() => Err(WriteError::Retry {
                reason,
                after: None,
            }),
            Some(_) => {
                fates.sort_unstable_by_key(|(place, _)| *place);
                Err(WriteError::Partly(fates, written))
            }
        }
    }

    /// Writes each event as a line into the part of its file, and says how many parts there are.
    fn divide(&mut self, events: &Events) -> usize {
        let mut used = 0;
        let mut by_path: HashMap<PathBuf, usize> = HashMap::new();
        let mut current: Option<(Named, usize)> = None;
        for (place, event) in events.iter().enumerate() {
            let time = event.timestamp();
            let at = match &current {
                Some((named, at)) if named.holds(time) => *at,
                _ => {
                    let named = self.named(time);
                    let path = PathBuf::from(&named.name);
                    let at = *by_path.entry(path.clone()).or_insert_with(|| {
                        if used == self.parts.len() {
                            self.parts.push(Part::default());
                        }
                        self.parts[used].path = path;
                        used += 1;
                        used - 1
                    });
                    current = Some((named, at));
                    at
                }
            };
            let part = &mut self.parts[at];
            self.encoder.write(event, &mut part.lines);
            part.places.push(u32::try_from(place).unwrap_or(u32::MAX));
        }
        used
    }

    fn named(&mut self, time: pipeline::Time) -> Named {
        if let Some(named) = self.names.iter().find(|named| named.holds(time)) {
            return named.clone();
        }
        let named = self.template.name(time);
        self.names.insert(0, named.clone());
        self.names.truncate(OPEN);
        named
    }

    fn append(&mut self, part: &Part) -> Result<(), Reason> {
        let failed =
            |why: std::io::Error| Reason::new(ReasonKind::Disk, log::explain(&part.path, &why));
        // A file that was renamed or deleted by somebody else is left to them.
        let known = self.logs.iter().position(|log| log.path() == part.path);
        let mut log = match known
            .map(|at| self.logs.remove(at))
            .filter(Log::is_in_place)
        {
            Some(log) => log,
            None => Log::open(&part.path, self.mode, self.whole_line).map_err(failed)?,
        };
        let appended = log.append(&part.lines, &self.rotation);
        // After a failure nobody knows what the system still holds of the file, so it is opened anew.
        appended.map_err(failed)?;
        if self.logs.len() >= OPEN {
            self.logs.remove(0);
        }
        self.logs.push(log);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
