//! Looks at the folder: which files are there, which of them changed, and what they say now.
//!
//! All of this runs on the reader's thread ([`super::reader`]): under a frozen cluster file system any call may hang.

mod sign;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use aws_lc_rs::hmac;

use super::guard::Guard;
use super::kinds::{Form, Place, place};
use super::model::Doc;
use super::parse::{self, MOST_PARSED};
use sign::{Hidden, Sign, Walked, guests, is_hidden};

/// Longer files are not read [bytes].
const MOST_READ: u64 = 64 << 20;
/// What all documents together may weigh, in bytes of their files; what comes after is told by hash alone.
const MOST_KEPT: u64 = 256 << 20;
/// Between two looks at what may be half written.
const SETTLE: Duration = Duration::from_millis(250);
/// A file that is being written is taken as it is after so many looks.
const PATIENCE: u32 = 5;
/// A file that was written so shortly before it was read may be written again without a trace.
const RACY: Duration = Duration::from_secs(3);
/// Under the cluster file system most changes show in `.version`; the others are looked for this often.
const WALK: Duration = Duration::from_secs(10);
/// Walking takes at most one part in so many of the time.
const SHARE: u32 = 20;

#[derive(Clone, Debug)]
struct Seen {
    sign: Sign,
    key: String,
    /// It may have been written again since, with the same signs.
    racy: bool,
}

/// What one look found.
#[derive(Debug, Default)]
pub(super) struct Look {
    /// Files that are new or were written, understood.
    pub(super) changed: Vec<(String, Doc)>,
    /// Keys of files that are gone.
    pub(super) gone: Vec<String>,
    /// Files that could not be read or understood whole, and why; complete when `walked`.
    pub(super) trouble: BTreeMap<String, String>,
    /// Whether the folder was walked through, or nothing said that this would be worth while.
    pub(super) walked: bool,
    /// Whether the folder is the cluster file system.
    pub(super) pmxcfs: bool,
    /// Bytes read.
    pub(super) bytes: u64,
}

pub(super) struct Scanner {
    root: PathBuf,
    guard: Arc<Guard>,
    seen: HashMap<String, Seen>,
    /// Files that cannot be read: looked at again when they change.
    broken: HashMap<String, (Sign, String)>,
    unsettled: HashMap<String, u32>,
    counters: Option<HashMap<String, i64>>,
    /// The folder was the cluster file system once.
    pmxcfs: bool,
    /// What was known from before, by key: told as gone if the first look does not find it.
    known: HashMap<String, String>,
    first: bool,
    walked: Option<(Instant, Duration)>,
    /// Grows with every call that came back, so that whoever waits can tell slow from stuck.
    progress: Arc<AtomicU64>,
    #[cfg(test)]
    pub(super) before_look: Option<Box<dyn FnMut() + Send>>,
}

impl Scanner {
    /// `known` are keys and paths of an earlier run.
    pub(super) fn new(
        root: &Path,
        guard: Arc<Guard>,
        pmxcfs: bool,
        known: Vec<(String, String)>,
        progress: Arc<AtomicU64>,
    ) -> Scanner {
        Scanner {
            root: root.to_owned(),
            guard,
            seen: HashMap::new(),
            broken: HashMap::new(),
            unsettled: HashMap::new(),
            counters: None,
            pmxcfs,
            known: known.into_iter().collect(),
            first: true,
            walked: None,
            progress,
            #[cfg(test)]
            before_look: None,
        }
    }

    fn alive(&self) {
        self.progress.fetch_add(1, Ordering::Relaxed);
    }

    /// Looks once. An error means that the folder as a whole says nothing.
    pub(super) fn look(&mut self) -> Result<Look, String> {
        #[cfg(test)]
        if let Some(before) = &mut self.before_look {
            before();
        }
        let mut look = Look::default();
        let named = self.named()?;
        look.pmxcfs = self.pmxcfs;
        if !self.is_due(&named) {
            return Ok(look);
        }
        let began = Instant::now();
        let mut slept = Duration::ZERO;
        let (mut found, mut hidden) = self.walk()?;
        let mut doubtful = self.doubtful(&found, &named);
        let missing = |scanner: &Scanner, found: &Walked, hidden: &Hidden| -> Vec<String> {
            let known = scanner.seen.keys().chain(scanner.known.values());
            let gone = known.filter(|path| !found.contains_key(*path) && !is_hidden(path, hidden));
            gone.cloned().collect()
        };
        let mut gone = missing(self, &found, &hidden);
        if !gone.is_empty() || (!doubtful.is_empty() && !self.first) {
            // What is moved may be seen in neither place, or in both, and what is copied may be half there.
            std::thread::sleep(SETTLE);
            slept = SETTLE;
            let before = std::mem::take(&mut found);
            (found, hidden) = self.walk()?;
            doubtful = self.doubtful(&found, &named);
            let first_gone: HashSet<String> = gone.into_iter().collect();
            gone = missing(self, &found, &hidden);
            gone.retain(|path| first_gone.contains(path));
            doubtful.retain(|path| {
                let settled = before.get(path) == found.get(path);
                settled || self.is_out_of_patience(path)
            });
        }
        self.alive();
        let guests = guests(&found);
        let mut kept: u64 = 0;
        let mut taken: HashSet<String> = HashSet::new();
        for (path, seen) in &self.seen {
            if found.contains_key(path) && !doubtful.contains(path) {
                taken.insert(seen.key.clone());
                kept += seen.sign.size;
            }
        }
        for path in &doubtful {
            let (Some(sign), Some(place)) = (found.get(path), place(path)) else {
                continue;
            };
            if self.is_emptied(path, sign) && !self.is_out_of_patience(path) {
                continue;
            }
            self.alive();
            match self.read(path, &place, *sign, &guests, kept, &mut look) {
                Ok(Some(doc)) => {
                    kept += sign.size;
                    self.unsettled.remove(path);
                    self.broken.remove(path);
                    // A second file of the same guest is a file of its own.
                    let was = self.seen.get(path).map(|seen| seen.key.clone());
                    let key = match was.filter(|key| !taken.contains(key)) {
                        Some(key) => key,
                        None if taken.contains(&place.key) => path.clone(),
                        None => place.key,
                    };
                    taken.insert(key.clone());
                    let racy = sign.age() < RACY;
                    let sign = *sign;
                    self.seen.insert(
                        path.clone(),
                        Seen {
                            sign,
                            key: key.clone(),
                            racy,
                        },
                    );
                    look.changed.push((key, doc));
                }
                // It is being written; the next look takes it.
                Ok(None) => {
                    *self.unsettled.entry(path.clone()).or_default() += 1;
                }
                Err(why) => {
                    self.broken.insert(path.clone(), (*sign, why));
                    if let Some(seen) = self.seen.get(path) {
                        taken.insert(seen.key.clone());
                    }
                }
            }
        }
        self.gone(&gone, &taken, &mut look);
        self.broken.retain(|path, _| found.contains_key(path));
        let broken = self.broken.iter();
        look.trouble
            .extend(broken.map(|(path, (_, why))| (path.clone(), why.clone())));
        look.trouble.extend(hidden);
        look.walked = true;
        self.first = false;
        // Sleeping is no walking: what changes next must not be seen later for it.
        let took = began.elapsed().saturating_sub(slept);
        self.walked = Some((Instant::now(), took));
        Ok(look)
    }

    /// Files that `.version` says were written, or `None` where there is no such file.
    fn named(&mut self) -> Result<Option<HashSet<String>>, String> {
        let text = match fs::read(self.root.join(".version")) {
            Ok(text) if text.len() <= 1 << 20 => text,
            Ok(_) => return Err(".version is longer than 1 MiB".to_owned()),
            Err(why) if why.kind() == io::ErrorKind::NotFound && !self.pmxcfs => return Ok(None),
            Err(why) if why.kind() == io::ErrorKind::NotFound => {
                return Err(".version is gone: the cluster file system is not mounted".to_owned());
            }
            Err(why) => return Err(format!("cannot read .version: {why}")),
        };
        self.alive();
        self.pmxcfs = true;
        let json: serde_json::Value = serde_json::from_slice(&text)
            .map_err(|why| format!("cannot understand .version: {why}"))?;
        let counters: HashMap<String, i64> = json
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(name, _)| place(name).is_some() && *name != "clinfo")
            .filter_map(|(name, count)| Some((name.clone(), count.as_i64()?)))
            .collect();
        let before = self.counters.replace(counters);
        let Some(before) = before else {
            return Ok(Some(HashSet::new()));
        };
        let now = self.counters.iter().flatten();
        let changed = now.filter(|(name, count)| before.get(*name) != Some(count));
        Ok(Some(changed.map(|(name, _)| name.clone()).collect()))
    }

    fn is_due(&self, named: &Option<HashSet<String>>) -> bool {
        let Some((at, took)) = self.walked else {
            return true;
        };
        let quiet = named.as_ref().is_some_and(HashSet::is_empty) && self.unsettled.is_empty();
        let every = if quiet { WALK } else { Duration::ZERO };
        at.elapsed() >= every.max(took * SHARE)
    }

    /// Every file below the folder, and what could not be looked at.
    fn walk(&self) -> Result<(Walked, Hidden), String> {
        let (found, hidden) = sign::walk(&self.root, || self.alive())?;
        if found.is_empty() && !(self.seen.is_empty() && self.known.is_empty()) {
            return Err("it is empty: the cluster file system is not mounted".to_owned());
        }
        Ok((found, hidden))
    }

    /// Files that are new, look different, or may have been written unseen.
    fn doubtful(&self, found: &Walked, named: &Option<HashSet<String>>) -> Vec<String> {
        let doubtful = |path: &String, sign: &Sign| {
            if let Some((broken, _)) = self.broken.get(path) {
                return broken != sign;
            }
            match self.seen.get(path) {
                None => true,
                Some(seen) => {
                    seen.sign != *sign
                        || seen.racy
                        || named.as_ref().is_some_and(|named| named.contains(path))
                }
            }
        };
        let found = found.iter().filter(|(path, sign)| doubtful(path, sign));
        found.map(|(path, _)| path.clone()).collect()
    }

    fn is_out_of_patience(&mut self, path: &str) -> bool {
        let looks = self.unsettled.entry(path.to_owned()).or_default();
        *looks += 1;
        *looks > PATIENCE
    }

    /// A file that held something is empty, since a moment ago.
    fn is_emptied(&self, path: &str, sign: &Sign) -> bool {
        let held = self.seen.get(path).is_some_and(|seen| seen.sign.size > 0);
        held && sign.size == 0
    }

    fn gone(&mut self, gone: &[String], taken: &HashSet<String>, look: &mut Look) {
        for path in gone {
            self.unsettled.remove(path);
            if let Some(seen) = self.seen.remove(path)
                && !taken.contains(&seen.key)
            {
                look.gone.push(seen.key);
            }
        }
        if self.first {
            let gone: HashSet<&String> = gone.iter().collect();
            let known = std::mem::take(&mut self.known);
            let lost = known.into_iter();
            let lost = lost.filter(|(key, path)| gone.contains(path) && !taken.contains(key));
            look.gone.extend(lost.map(|(key, _)| key));
        }
        look.gone.sort_unstable();
        look.gone.dedup();
    }

    /// Reads and understands one file; `None` if it was written meanwhile.
    fn read(
        &self,
        path: &str,
        place: &Place,
        sign: Sign,
        guests: &HashMap<&str, &'static str>,
        kept: u64,
        look: &mut Look,
    ) -> Result<Option<Doc>, String> {
        let guest = match &place.form {
            Form::Firewall(scope) => scope
                .strip_prefix("guest/")
                .and_then(|vmid| guests.get(vmid).copied())
                .unwrap_or("vm"),
            _ => "vm",
        };
        let file = parse::File {
            path,
            place,
            modified: sign.modified,
            guest,
        };
        if place.form == Form::Key {
            // What cannot be opened cannot leak; that it was written shows all the same.
            let signs = format!("{} {}", sign.modified, sign.size);
            return Ok(Some(parse::parse(&file, signs.as_bytes(), &self.guard).0));
        }
        if sign.size > MOST_READ {
            return Err(format!("it is longer than {MOST_READ} bytes, and not read"));
        }
        let mut options = fs::File::options();
        // A pipe would wait for its writer.
        options.read(true).custom_flags(
            rustix::fs::OFlags::NONBLOCK
                .union(rustix::fs::OFlags::NOFOLLOW)
                .bits() as i32,
        );
        let opened = match options.open(self.root.join(path)) {
            Ok(opened) => opened,
            Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(why) => return Err(format!("cannot open it: {why}")),
        };
        let before = opened
            .metadata()
            .map_err(|why| format!("cannot look at it: {why}"))?;
        if !before.is_file() {
            return Err("it is no regular file, and not read".to_owned());
        }
        let mut bytes = Vec::new();
        let mut digest = self.guard.digest();
        let long = sign.size > MOST_PARSED as u64 || kept > MOST_KEPT;
        let read = self.drain(&opened, long, &mut bytes, &mut digest)?;
        look.bytes += read;
        let after = opened
            .metadata()
            .map_err(|why| format!("cannot look at it: {why}"))?;
        if Sign::of(&after) != sign && !self.is_worn(path) {
            return Ok(None);
        }
        self.alive();
        if long || read > MOST_PARSED as u64 {
            let why = match kept > MOST_KEPT {
                true => "all files together are too long; this one is told by its hash alone",
                false => "it is longer than 4 MiB; it is told by its hash alone",
            };
            look.trouble.insert(path.to_owned(), why.to_owned());
            let mac = digest.sign();
            return Ok(Some(parse::opaque(&file, read, mac.as_ref(), &self.guard)));
        }
        let (doc, over) = parse::parse(&file, &bytes, &self.guard);
        if over {
            let why = "it says more than is told one by one; the rest is told by its hash";
            look.trouble.insert(path.to_owned(), why.to_owned());
        }
        Ok(Some(doc))
    }

    fn is_worn(&self, path: &str) -> bool {
        self.unsettled
            .get(path)
            .is_some_and(|looks| *looks > PATIENCE)
    }

    fn drain(
        &self,
        mut file: &fs::File,
        long: bool,
        bytes: &mut Vec<u8>,
        digest: &mut hmac::Context,
    ) -> Result<u64, String> {
        let mut page = vec![0; 64 << 10];
        let mut read = 0_u64;
        loop {
            let n = match file.read(&mut page) {
                Ok(0) => return Ok(read),
                Ok(n) => n,
                Err(why) if why.kind() == io::ErrorKind::Interrupted => continue,
                Err(why) => return Err(format!("cannot read it: {why}")),
            };
            self.alive();
            read += n as u64;
            if read > MOST_READ {
                return Err(format!("it is longer than {MOST_READ} bytes, and not read"));
            }
            digest.update(&page[..n]);
            if !long && bytes.len() <= MOST_PARSED {
                bytes.extend_from_slice(&page[..n]);
            }
        }
    }
}
