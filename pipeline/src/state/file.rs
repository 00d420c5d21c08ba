//! The snapshot file: a readable head, the ids, and the bytes of the transform, under one checksum.
//!
//! ```text
//! pvetrail-state 1 <crc32 of the rest, 8 hex> <length of the rest>\n
//! {"type":…,"meaning":…,"saved":…,"watermark":…,"lanes":[…],"outbox":[…],"ids":n,"state":n}\n
//! <ids, 16 bytes each> <bytes of the transform>
//! ```
//! A snapshot is written beside the current one and replaces it by a rename.

use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use hashbrown::HashSet;
use serde::{Deserialize, Serialize};

use super::lanes::Lanes;
use crate::clock::Time;
use crate::event::{Event, EventId};
use crate::mark::LaneId;

const MAGIC: &str = "pvetrail-state";
const VERSION: u32 = 1;
/// Longest first line [bytes].
const LONGEST_LINE: usize = 64;

/// What keeps a saved state from being used.
#[derive(Debug, thiserror::Error)]
pub enum StateTrouble {
    /// It cannot be read or moved now; perhaps it can be later.
    #[error(
        "cannot {doing} the saved state {path}: {source}; check the folder's owner and the disk"
    )]
    Io {
        /// What was tried.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It is of no use and was put aside; the transform starts without memory.
    #[error(
        "the saved state {path} cannot be used: {why}; it is kept as {aside}, and {type_name:?} starts without memory. To use it after all, stop pvetrail, put the configuration back as it was and rename the file"
    )]
    Useless {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
        /// Where it is now.
        aside: PathBuf,
        /// The type of the component.
        type_name: &'static str,
    },
    /// The component cannot be built.
    #[error("cannot build {id:?} again: {why}")]
    Build {
        /// The component's id.
        id: String,
        /// Why not.
        why: String,
    },
}

#[derive(Serialize, Deserialize)]
struct Head {
    #[serde(rename = "type")]
    type_name: String,
    meaning: String,
    saved: Time,
    watermark: Option<Time>,
    lanes: Vec<LaneHead>,
    outbox: Vec<OutboxHead>,
    ids: usize,
    state: usize,
}

#[derive(Serialize, Deserialize)]
struct LaneHead {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    input: String,
    source: String,
    key: String,
    applied: u64,
    seen_to: Time,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    over: bool,
}

#[derive(Serialize, Deserialize)]
struct OutboxHead {
    output: usize,
    time: Time,
    event: serde_json::Value,
}

/// An event of the transform's own that has not left yet.
#[derive(Clone, Debug)]
pub(super) struct Made {
    pub(super) epoch: u64,
    pub(super) output: usize,
    pub(super) event: Event,
}

/// A state at one moment, on its way to the disk.
pub(super) struct Image {
    head: Head,
    ids: Vec<u8>,
    state: Vec<u8>,
}

impl Image {
    pub(super) fn new(
        type_name: &str,
        meaning: String,
        lanes: &Lanes,
        inputs: &[String],
        outbox: &[Made],
        state: Vec<u8>,
        now: Time,
    ) -> Image {
        let lane_heads = lanes.iter().map(|lane| LaneHead {
            input: inputs
                .get(usize::from(lane.input))
                .cloned()
                .unwrap_or_default(),
            source: lane.id.source().to_string(),
            key: lane.id.key().to_string(),
            applied: lane.applied,
            seen_to: lane.seen_to,
            over: lane.over,
        });
        let outbox = outbox.iter().map(|made| OutboxHead {
            output: made.output,
            time: made.event.timestamp(),
            event: made.event.to_json(),
        });
        let mut ids = Vec::with_capacity(lanes.ids_len() * 16);
        for EventId([high, low]) in lanes.ids() {
            ids.extend_from_slice(&high.to_le_bytes());
            ids.extend_from_slice(&low.to_le_bytes());
        }
        Image {
            head: Head {
                type_name: type_name.to_owned(),
                meaning,
                saved: now,
                watermark: lanes.watermark(),
                lanes: lane_heads.collect(),
                outbox: outbox.collect(),
                ids: ids.len() / 16,
                state: state.len(),
            },
            ids,
            state,
        }
    }

    fn write(&self, path: &Path) -> io::Result<u64> {
        let mut head = serde_json::to_vec(&self.head).map_err(io::Error::other)?;
        head.push(b'\n');
        let mut sum = crc32fast::Hasher::new();
        let parts = [&head[..], &self.ids, &self.state];
        parts.iter().for_each(|part| sum.update(part));
        let len: usize = parts.iter().map(|part| part.len()).sum();
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(path)?;
        writeln!(file, "{MAGIC} {VERSION} {:08x} {len}", sum.finalize())?;
        for part in parts {
            file.write_all(part)?;
        }
        file.sync_data()?;
        Ok(len as u64)
    }
}

/// Blocking work on the disk that a [`Wrapper`](super::Wrapper) asks for. Run it off the async threads and hand the
/// result to [`Wrapper::done`](super::Wrapper::done).
#[must_use = "the wrapper waits for it"]
pub struct Step {
    pub(super) generation: u64,
    pub(super) work: Work,
}

pub(super) enum Work {
    /// Write the snapshot aside.
    Write { image: Box<Image>, aside: PathBuf },
    /// Make it the current one.
    Commit { aside: PathBuf, path: PathBuf },
}

/// What came of a [`Step`].
#[must_use = "the wrapper waits for it"]
pub struct Done {
    pub(super) generation: u64,
    pub(super) result: Result<Outcome, (PathBuf, io::Error)>,
}

pub(super) enum Outcome {
    /// Written; length without the first line [bytes].
    Written(PathBuf, u64),
    Committed,
}

impl Step {
    /// Does it. Blocks for as long as the disk takes.
    pub fn run(self) -> Done {
        let result = match self.work {
            Work::Write { image, aside } => match image.write(&aside) {
                Ok(len) => Ok(Outcome::Written(aside, len)),
                Err(error) => {
                    // What is half there is of no use; that it cannot be removed is no further harm.
                    let _ = std::fs::remove_file(&aside);
                    Err((aside, error))
                }
            },
            Work::Commit { aside, path } => commit(&aside, &path)
                .map(|()| Outcome::Committed)
                .map_err(|error| (path, error)),
        };
        Done {
            generation: self.generation,
            result,
        }
    }
}

impl Step {
    /// Says that it was done, without a disk: for tests in which nothing restarts.
    pub(crate) fn pretend(self) -> Done {
        let outcome = match self.work {
            Work::Write { image, aside } => Outcome::Written(aside, image.state.len() as u64),
            Work::Commit { .. } => Outcome::Committed,
        };
        Done {
            generation: self.generation,
            result: Ok(outcome),
        }
    }
}

fn commit(aside: &Path, path: &Path) -> io::Result<()> {
    // After a failed sync of the folder the rename has been done; done again it finds nothing to rename.
    if aside.exists() {
        std::fs::rename(aside, path)?;
    }
    std::fs::File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

/// A snapshot read back.
pub(super) struct Loaded {
    pub(super) lanes: Lanes,
    pub(super) outbox: Vec<(usize, Event)>,
    pub(super) state: Vec<u8>,
}

/// Reads the current snapshot; `Ok(Err(why))` when there is one that is of no use.
pub(super) fn load(
    path: &Path,
    type_name: &str,
    meaning: &str,
    inputs: &[String],
    now: Time,
) -> io::Result<Option<Result<Loaded, String>>> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok(Some(decode(&bytes, type_name, meaning, inputs, now)))
}

fn decode(
    bytes: &[u8],
    type_name: &str,
    meaning: &str,
    inputs: &[String],
    now: Time,
) -> Result<Loaded, String> {
    let body = body(bytes)?;
    let end = memchr::memchr(b'\n', body).ok_or("its head has no end")?;
    let head: Head = serde_json::from_slice(&body[..end])
        .map_err(|error| format!("its head cannot be read: {error}"))?;
    if head.type_name != type_name {
        return Err(format!(
            "it was saved by a component of type {:?}",
            head.type_name
        ));
    }
    if head.meaning != meaning {
        return Err(format!(
            "it was saved under another configuration ({:?}, now {meaning:?})",
            head.meaning
        ));
    }
    let rest = &body[end + 1..];
    let ids_len = head.ids.checked_mul(16).ok_or("its head makes no sense")?;
    let (ids, state) = rest
        .split_at_checked(ids_len)
        .ok_or("it ends inside its ids")?;
    if state.len() != head.state {
        return Err(format!(
            "it holds {} bytes of state instead of {}",
            state.len(),
            head.state
        ));
    }
    let ids: HashSet<EventId> = ids
        .chunks_exact(16)
        .map(|id| {
            let half = |at: usize| {
                id[at..at + 8]
                    .iter()
                    .rev()
                    .fold(0_u64, |word, byte| word << 8 | u64::from(*byte))
            };
            EventId([half(0), half(8)])
        })
        .collect();
    // An input that is gone takes its lanes with it; a new one knows nothing.
    let lanes = head.lanes.iter().filter_map(|lane| {
        let input = inputs.iter().position(|name| *name == lane.input)?;
        let id = LaneId::new(&lane.source, &lane.key);
        Some((input as u16, id, lane.applied, lane.seen_to, lane.over))
    });
    let outbox = head.outbox.into_iter().map(|made| {
        let mut event = Event::from_json(made.event)?;
        event.set_timestamp(made.time);
        Ok((made.output, event))
    });
    Ok(Loaded {
        lanes: Lanes::restore(lanes, ids, head.watermark, now),
        outbox: outbox.collect::<Result<_, String>>()?,
        state: state.to_vec(),
    })
}

/// What the first line says about the rest is checked here.
fn body(bytes: &[u8]) -> Result<&[u8], String> {
    let line = &bytes[..bytes.len().min(LONGEST_LINE)];
    let end = memchr::memchr(b'\n', line).ok_or("it has no first line")?;
    let line = std::str::from_utf8(&line[..end]).map_err(|_| "its first line is no text")?;
    let mut words = line.split(' ');
    if words.next() != Some(MAGIC) {
        return Err(format!("it does not begin with {MAGIC:?}"));
    }
    let version = words.next().unwrap_or_default();
    if version != VERSION.to_string() {
        return Err(format!(
            "it is of version {version:?}, this program reads version {VERSION}"
        ));
    }
    let sum = words
        .next()
        .and_then(|word| u32::from_str_radix(word, 16).ok());
    let len = words.next().and_then(|word| word.parse::<usize>().ok());
    let (Some(sum), Some(len)) = (sum, len) else {
        return Err("its first line is damaged".to_owned());
    };
    let body = &bytes[end + 1..];
    if body.len() != len {
        return Err(format!("it is {} bytes long instead of {len}", body.len()));
    }
    if crc32fast::hash(body) != sum {
        return Err("its checksum does not fit".to_owned());
    }
    Ok(body)
}

/// Puts a useless file aside and says where.
pub(super) fn put_aside(path: &Path, now: Time) -> Result<PathBuf, StateTrouble> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let stamp = now.to_string().replace([':', '.'], "");
    // A clock that stands or goes back must not make one replace another.
    let aside = (1..)
        .map(|n: u32| match n {
            1 => path.with_file_name(format!("{name}.corrupt-{stamp}")),
            n => path.with_file_name(format!("{name}.corrupt-{stamp}-{n}")),
        })
        .find(|aside| !aside.exists())
        .expect("a folder does not hold four thousand million files");
    match std::fs::rename(path, &aside) {
        Ok(()) => Ok(aside),
        Err(source) => Err(StateTrouble::Io {
            doing: "put aside",
            path: path.to_owned(),
            source,
        }),
    }
}

/// Removes what an earlier process wrote aside and never made current.
pub(super) fn remove_leftovers(path: &Path) {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return;
    };
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    let prefix = format!("{}.new-", name.to_string_lossy());
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with(&prefix) {
            // It is overwritten or ignored if it stays.
            let _ = std::fs::remove_file(entry.path());
        }
    }
}
