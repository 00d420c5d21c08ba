//! The rule files, looked at by a thread of their own: a cluster's file system may hang, and nobody waits for it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use super::{Loading, Wrong};
use crate::rules::{OVERRIDES, RuleSet};

/// How often the files are looked at.
const EVERY: Duration = if cfg!(test) {
    Duration::from_millis(50)
} else {
    Duration::from_secs(5)
};
/// What is in a file counts up to this length; of a longer one its length and time [bytes].
const READ: u64 = 1 << 20;
/// Rules are read again so often where the list of their files changes with them.
const ROUNDS: usize = 4;

/// Rules, and what is wrong with them; no rules: those before go on.
type Loaded = (Option<RuleSet>, Option<Wrong>);

/// Rules that have changed, as long as this is held.
pub(super) struct Watch {
    shared: Arc<Shared>,
    /// Its end ends the thread.
    _stop: Sender<()>,
}

#[derive(Default)]
struct Shared {
    changed: AtomicBool,
    loaded: Mutex<Option<Loaded>>,
}

/// A file's length, when it was written, and a hash of what is in it: the cluster's file system has no times that say
/// anything. `None`: it is not there.
type Print = Option<(u64, Option<SystemTime>, u64)>;

/// What files and their folders look like from outside.
pub(super) type Prints = Vec<(PathBuf, Print)>;

/// Rules as they were read.
pub(super) struct Read {
    pub(super) set: RuleSet,
    pub(super) wrong: Option<Wrong>,
    pub(super) files: Vec<PathBuf>,
    pub(super) prints: Prints,
}

/// Reads the rules, and what their files looked like before: what changes meanwhile is seen the next time. `files` are those
/// of the last time.
pub(super) fn read(loading: &mut Loading, mut files: Vec<PathBuf>) -> Read {
    let mut rounds = 0;
    loop {
        rounds += 1;
        let prints = prints(&files, loading);
        let (set, wrong) = loading.load();
        if set.files() == files || rounds == ROUNDS {
            return Read {
                set,
                wrong,
                files,
                prints,
            };
        }
        // A file that was read now and not known before has no look from before.
        files = set.files().to_vec();
    }
}

fn prints(files: &[PathBuf], loading: &Loading) -> Prints {
    let mut paths: Vec<PathBuf> = files.to_vec();
    for rule in loading
        .config
        .rules
        .iter()
        .filter(|rule| rule.as_str() != "builtin")
    {
        let path = PathBuf::from(rule.as_str());
        // A new file in a folder shows in the folder.
        paths.extend(path.parent().map(PathBuf::from));
        paths.push(path);
    }
    paths.extend(loading.config.overrides.clone());
    paths.extend([
        loading.data_dir.join(OVERRIDES),
        loading.config.members.clone(),
    ]);
    paths.sort();
    paths.dedup();
    paths
        .into_iter()
        .map(|path| {
            let print = print(&path);
            (path, print)
        })
        .collect()
}

fn print(path: &Path) -> Print {
    let meta = path.metadata().ok()?;
    let text = match meta.is_file() && meta.len() <= READ {
        true => std::fs::read(path).unwrap_or_default(),
        false => Vec::new(),
    };
    let hash = xxhash_rust::xxh3::xxh3_64(&text);
    Some((meta.len(), meta.modified().ok(), hash))
}

impl Watch {
    /// Begins to look. A rule set is made anew where something changed, and only then.
    ///
    /// Rules with a mistake that was not there before do not count: those before go on. What was wrong from the start keeps
    /// nobody from changing something else.
    pub(super) fn start(
        mut loading: Loading,
        mut files: Vec<PathBuf>,
        mut before: Prints,
        wrong: Option<Wrong>,
    ) -> Watch {
        let shared = Arc::new(Shared::default());
        let (stop, stopped) = channel::<()>();
        let theirs = Arc::clone(&shared);
        let work = move || {
            let mut known: BTreeSet<String> = wrong.map(|wrong| wrong.mistakes).unwrap_or_default();
            while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(EVERY) {
                if prints(&files, &loading) == before {
                    continue;
                }
                let read = read(&mut loading, files.clone());
                (files, before) = (read.files, read.prints);
                let mistakes = read.wrong.as_ref().map(|wrong| wrong.mistakes.clone());
                let mistakes = mistakes.unwrap_or_default();
                let loaded = if mistakes.is_subset(&known) {
                    known = mistakes;
                    (Some(read.set), read.wrong)
                } else {
                    (None, read.wrong)
                };
                *theirs.loaded.lock().unwrap_or_else(PoisonError::into_inner) = Some(loaded);
                theirs.changed.store(true, Ordering::Release);
            }
        };
        if let Err(why) = std::thread::Builder::new()
            .name("rules".to_owned())
            .spawn(work)
        {
            tracing::error!(%why, "rule files are not looked at again: no thread could be started");
        }
        Watch {
            shared,
            _stop: stop,
        }
    }

    /// Rules that were loaded since this was asked last.
    pub(super) fn take(&self) -> Option<Loaded> {
        if !self.shared.changed.swap(false, Ordering::Acquire) {
            return None;
        }
        let mut loaded = self
            .shared
            .loaded
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        loaded.take()
    }
}
