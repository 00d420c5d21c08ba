//! The rule files, looked at by a thread of their own: a cluster's file system may hang, and nobody waits for it.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use super::Loading;
use crate::rules::RuleSet;

/// How often the files are looked at.
const EVERY: Duration = if cfg!(test) {
    Duration::from_millis(50)
} else {
    Duration::from_secs(5)
};

/// Rules, and what is wrong with them.
type Loaded = (RuleSet, Option<String>);

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

/// A file's length and when it was written; `None`: it is not there.
type Print = Option<(u64, Option<SystemTime>)>;

/// What the files and their folders look like from outside.
fn prints(files: &[PathBuf], loading: &Loading) -> Vec<(PathBuf, Print)> {
    let mut paths: Vec<PathBuf> = files.to_vec();
    for rule in loading
        .options
        .rules
        .iter()
        .filter(|rule| rule.as_str() != "builtin")
    {
        let path = PathBuf::from(rule.as_str());
        // A new file in a folder shows in the folder.
        paths.extend(path.parent().map(PathBuf::from));
        paths.push(path);
    }
    paths.extend([loading.overrides.clone(), loading.members.clone()]);
    paths.sort();
    paths.dedup();
    paths
        .into_iter()
        .map(|path| {
            let print = path
                .metadata()
                .ok()
                .map(|meta| (meta.len(), meta.modified().ok()));
            (path, print)
        })
        .collect()
}

impl Watch {
    /// Begins to look. A rule set is made anew where something changed, and only then.
    pub(super) fn start(loading: Loading, files: Vec<PathBuf>) -> Watch {
        let shared = Arc::new(Shared::default());
        let (stop, stopped) = channel::<()>();
        let theirs = Arc::clone(&shared);
        let mut before = prints(&files, &loading);
        let work = move || {
            let mut files = files;
            while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(EVERY) {
                let now = prints(&files, &loading);
                if now == before {
                    continue;
                }
                let (set, wrong) = loading.load();
                if wrong.is_none() {
                    files = set.files().to_vec();
                }
                before = prints(&files, &loading);
                *theirs.loaded.lock().unwrap_or_else(PoisonError::into_inner) = Some((set, wrong));
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
