//! What was last seen and what is not delivered yet, over restarts.
//!
//! A file of lines, each with its checksum: a record holds what a file says now and the events that this made, so that both
//! are durable or neither. Only then are the events sent; after a crash those that were not answered are sent again as
//! they are. A torn last line is what was not durable: the difference is found again. When the file has grown it is
//! written anew, with what still counts.
//!
//! It holds no secret: values are masked and carry a keyed digest ([`super::guard`]). Mode 0600.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use xxhash_rust::xxh3::xxh3_64;

use super::model::Doc;
use super::tell::Change;

/// The file is written anew when it is this much longer than what counts [bytes].
const SLACK: usize = 4 << 20;
/// A longer state file was not written by us [bytes].
const LONGEST: u64 = 1 << 30;

/// The first line.
#[derive(Debug, Serialize, Deserialize)]
struct Head {
    version: u32,
    /// The folder that was watched.
    root: PathBuf,
    seq: u64,
    /// Whether the folder was the cluster file system.
    pmxcfs: bool,
}

#[derive(Serialize, Deserialize)]
struct Record<'r> {
    key: String,
    /// `null` where the file is gone.
    #[serde(borrow)]
    doc: Option<&'r RawValue>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    changes: Vec<Change>,
}

/// What is known.
pub(super) struct Kept {
    path: PathBuf,
    root: PathBuf,
    pub(super) pmxcfs: bool,
    /// The number of the latest change.
    pub(super) seq: u64,
    /// Documents by key, as their JSON.
    docs: HashMap<String, Box<str>>,
    /// Events that may not be delivered yet, ascending.
    pub(super) open: VecDeque<Change>,
    file: Option<File>,
    /// Bytes in the file, and of what counts of it.
    written: usize,
    counts: usize,
    /// There was no state, or none that could be used: why.
    pub(super) fresh: Option<String>,
}

impl Kept {
    /// Reads what was kept in `folder` by the source `id`. `acked` is the last change that was delivered.
    pub(super) fn open(folder: &Path, id: &str, root: &Path, acked: u64) -> io::Result<Kept> {
        let mut kept = Kept {
            path: folder.join("pve_config").join(format!("{id}.state")),
            root: root.to_owned(),
            pmxcfs: false,
            seq: acked,
            docs: HashMap::new(),
            open: VecDeque::new(),
            file: None,
            written: 0,
            counts: 0,
            fresh: None,
        };
        match std::fs::metadata(&kept.path) {
            Ok(found) if found.len() > LONGEST => {
                kept.begin_again("it is longer than anything this program writes")?;
                return Ok(kept);
            }
            Ok(_) => {}
            Err(why) if why.kind() == io::ErrorKind::NotFound => {
                kept.fresh = Some(String::new());
                return Ok(kept);
            }
            Err(why) => return Err(why),
        }
        let text = std::fs::read(&kept.path)?;
        if let Err(why) = kept.read(&text, acked) {
            kept.begin_again(&why)?;
            return Ok(kept);
        }
        kept.write_anew()?;
        Ok(kept)
    }

    /// What is there cannot be used, and is put aside.
    fn begin_again(&mut self, why: &str) -> io::Result<()> {
        self.docs.clear();
        self.open.clear();
        self.counts = 0;
        let aside = self.path.with_extension("state.damaged");
        std::fs::rename(&self.path, &aside)?;
        self.fresh = Some(format!("{why}; it is kept as {}", aside.display()));
        Ok(())
    }

    fn read(&mut self, text: &[u8], acked: u64) -> Result<(), String> {
        let mut lines = text.split_inclusive(|byte| *byte == b'\n').filter_map(body);
        let head = lines.next().ok_or("its first line is damaged")?;
        let head: Head = serde_json::from_str(head).map_err(|why| why.to_string())?;
        if head.version != 1 {
            return Err(format!("it is of version {}", head.version));
        }
        if head.root != self.root {
            return Err(format!("it is of {}", head.root.display()));
        }
        self.pmxcfs = head.pmxcfs;
        self.seq = self.seq.max(head.seq);
        // A damaged line in the middle costs what it said: the difference is found again, from an older state.
        for line in lines {
            let record: Record<'_> = match serde_json::from_str(line) {
                Ok(record) => record,
                Err(why) => return Err(why.to_string()),
            };
            self.set(record.key, record.doc.map(|doc| doc.get().into()));
            for change in record.changes {
                self.seq = self.seq.max(change.seq);
                if change.seq > acked {
                    self.open.push_back(change);
                }
            }
        }
        self.open.make_contiguous().sort_by_key(|change| change.seq);
        Ok(())
    }

    fn set(&mut self, key: String, doc: Option<Box<str>>) {
        let weigh = |key: &str, doc: &str| key.len() + doc.len() + 48;
        let new = doc.as_ref().map_or(0, |doc| weigh(&key, doc));
        let old = match doc {
            Some(doc) => self.docs.insert(key.clone(), doc),
            None => self.docs.remove(&key),
        };
        let old = old.map_or(0, |doc| weigh(&key, &doc));
        self.counts = self.counts + new - old;
    }

    /// Files known.
    pub(super) fn len(&self) -> usize {
        self.docs.len()
    }

    pub(super) fn get(&self, key: &str) -> Option<Doc> {
        let text = self.docs.get(key)?;
        // It was written by this program and its checksum was right.
        serde_json::from_str(text).ok()
    }

    /// The keys and paths of everything known.
    pub(super) fn places(&self) -> Vec<(String, String)> {
        #[derive(Deserialize)]
        struct At {
            path: String,
        }
        let mut places = Vec::with_capacity(self.docs.len());
        for (key, doc) in &self.docs {
            // It was written by this program and its checksum was right.
            if let Ok(at) = serde_json::from_str::<At>(doc) {
                places.push((key.clone(), at.path));
            }
        }
        places
    }

    /// Adds what changed to `lines`; it counts after [`Kept::commit`].
    pub(super) fn add(
        &mut self,
        key: &str,
        doc: Option<&Doc>,
        changes: Vec<Change>,
        lines: &mut Vec<u8>,
    ) {
        let doc: Option<Box<str>> = doc.map(|doc| {
            let text = serde_json::to_string(doc).expect("a document is maps and texts");
            text.into()
        });
        let raw = doc.as_ref().map(|doc| {
            let raw: &RawValue = serde_json::from_str(doc).expect("it was just written");
            raw
        });
        let record = Record {
            key: key.to_owned(),
            doc: raw,
            changes,
        };
        line(&record, lines);
        self.open.extend(record.changes);
        self.set(record.key, doc);
    }

    /// Makes what was added durable.
    pub(super) fn commit(&mut self, lines: &[u8], acked: u64) -> io::Result<()> {
        while self.open.front().is_some_and(|change| change.seq <= acked) {
            self.open.pop_front();
        }
        let long = self.written + lines.len() > 2 * self.counts + SLACK;
        let Some(file) = self.file.as_mut().filter(|_| !long) else {
            return self.write_anew();
        };
        let done = file.write_all(lines).and_then(|()| file.sync_data());
        if let Err(why) = done {
            // Half a line may be there; whatever comes next begins with all of it.
            self.file = None;
            return Err(why);
        }
        self.written += lines.len();
        Ok(())
    }

    /// Writes all that counts into a new file, which takes the place of the old one.
    fn write_anew(&mut self) -> io::Result<()> {
        self.file = None;
        let mut text = Vec::with_capacity(self.counts + 4096);
        let head = Head {
            version: 1,
            root: self.root.clone(),
            seq: self.seq,
            pmxcfs: self.pmxcfs,
        };
        line(&head, &mut text);
        let mut keys: Vec<&String> = self.docs.keys().collect();
        keys.sort_unstable();
        for key in keys {
            let doc = self
                .docs
                .get(key)
                .and_then(|doc| serde_json::from_str(doc).ok());
            let changes = Vec::new();
            let key = key.clone();
            line(&Record { key, doc, changes }, &mut text);
        }
        if !self.open.is_empty() {
            // Of no file: what it says is written above.
            let record = Record {
                key: String::new(),
                doc: None,
                changes: self.open.iter().cloned().collect(),
            };
            line(&record, &mut text);
        }
        pipeline::write_durably(&self.path, &text)?;
        let mut options = File::options();
        self.file = Some(options.append(true).mode(0o600).open(&self.path)?);
        self.written = text.len();
        Ok(())
    }
}

fn line(what: &impl Serialize, to: &mut Vec<u8>) {
    let json = serde_json::to_string(what).expect("records are maps and texts");
    let sum = xxh3_64(json.as_bytes());
    to.extend_from_slice(format!("{sum:016x} {json}\n").as_bytes());
}

/// The JSON of a line whose checksum is right.
fn body(line: &[u8]) -> Option<&str> {
    let line = std::str::from_utf8(line.strip_suffix(b"\n")?).ok()?;
    let (sum, json) = line.split_once(' ')?;
    let sum = u64::from_str_radix(sum, 16).ok()?;
    (xxh3_64(json.as_bytes()) == sum).then_some(json)
}
