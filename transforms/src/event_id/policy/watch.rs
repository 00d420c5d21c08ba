//! The policy files, read by a thread of their own: the cluster's file system may hang, and nobody waits for it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::Policy;

/// How often the files are looked at.
const EVERY: Duration = if cfg!(test) {
    Duration::from_millis(50)
} else {
    Duration::from_secs(5)
};
/// How long the first events wait for them. After that the events go by what is known, and the files count once read.
const FIRST: Duration = Duration::from_secs(2);
/// Largest file [bytes].
const LARGEST: u64 = 1 << 20;

/// The policy in force, kept up to date as long as this is held.
#[derive(Debug)]
pub(crate) struct Watch {
    shared: Arc<Shared>,
    /// Its end ends the thread.
    _stop: Sender<()>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    read: Condvar,
}

#[derive(Debug, Default)]
struct State {
    policy: Arc<Policy>,
    /// Grows with every change, and with everything that is told; 0 before anything was read.
    version: u64,
}

impl Shared {
    /// Something was said, or holds from now on.
    fn grow(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.version += 1;
        drop(state);
        self.read.notify_all();
    }
}

impl Watch {
    /// Begins to read. A file that is not there says nothing; one that is wrong leaves what held before.
    pub(crate) fn start(files: Vec<PathBuf>, say: impl Fn(Said) + Send + 'static) -> Watch {
        let shared = Arc::new(Shared::default());
        let (stop, stopped) = channel::<()>();
        let theirs = Arc::clone(&shared);
        let work = move || {
            let mut before: Vec<Option<String>> = vec![None; files.len()];
            let mut first = true;
            let mut trouble: Vec<String> = Vec::new();
            loop {
                let mut troubles = Vec::new();
                let now: Vec<Option<String>> = files
                    .iter()
                    .zip(&before)
                    .map(|(file, before)| match read(file) {
                        Ok(text) => text,
                        Err(why) => {
                            troubles.push(format!(
                                "{}: {why}; what it said before holds",
                                file.display()
                            ));
                            before.clone()
                        }
                    })
                    .collect();
                if first || now != before {
                    match policy(&files, &now) {
                        Ok(policy) => {
                            let mut state =
                                theirs.state.lock().unwrap_or_else(PoisonError::into_inner);
                            state.policy = Arc::new(policy);
                            drop(state);
                            if !first {
                                say(Said::Changed);
                            }
                            theirs.grow();
                        }
                        Err(why) => {
                            say(Said::Wrong(format!("{why}; the policy before holds")));
                            theirs.grow();
                        }
                    }
                    before = now;
                    first = false;
                }
                // Once, not every few seconds.
                for why in troubles.iter().filter(|why| !trouble.contains(why)) {
                    say(Said::Unreadable(why.clone()));
                    theirs.grow();
                }
                trouble = troubles;
                match stopped.recv_timeout(EVERY) {
                    Err(RecvTimeoutError::Timeout) => {}
                    _ => return,
                }
            }
        };
        // Without a thread the built-in levels hold, and that is said.
        if let Err(why) = std::thread::Builder::new()
            .name("policy".to_owned())
            .spawn(work)
        {
            tracing::error!(%why, "the policy files are not read: no thread could be started; the built-in levels hold");
        }
        Watch {
            shared,
            _stop: stop,
        }
    }

    /// The policy, and its version.
    pub(crate) fn current(&self) -> (Arc<Policy>, u64) {
        let state = self
            .shared
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        (Arc::clone(&state.policy), state.version)
    }

    /// Waits until the files were read once, for a moment.
    pub(crate) fn wait(&self) {
        let state = self
            .shared
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let unread = |state: &mut State| state.version == 0;
        let waited = self.shared.read.wait_timeout_while(state, FIRST, unread);
        if waited.is_ok_and(|(_, limit)| limit.timed_out()) {
            tracing::warn!(
                "the policy files could not be read within 2 s; the built-in levels hold until they are"
            );
        }
    }
}

/// What the thread has to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// The policy is another one now.
    Changed,
    /// A file cannot be read.
    Unreadable(String),
    /// A file is wrong.
    Wrong(String),
}

fn policy(files: &[PathBuf], texts: &[Option<String>]) -> Result<Policy, String> {
    let mut all = Policy::default();
    for (file, text) in files.iter().zip(texts) {
        if let Some(text) = text {
            all = all.then(Policy::parse(text, file)?);
        }
    }
    Ok(all)
}

/// The text of a file; `None` where there is none.
pub(crate) fn read(file: &Path) -> io::Result<Option<String>> {
    use std::io::Read as _;
    let open = match std::fs::File::open(file) {
        Ok(open) => open,
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(why) => return Err(why),
    };
    let mut text = String::new();
    open.take(LARGEST + 1).read_to_string(&mut text)?;
    if text.len() as u64 > LARGEST {
        return Err(io::Error::other("it is larger than 1 MiB"));
    }
    Ok(Some(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event_id::policy::{Level, Subject};

    #[test]
    fn a_file_that_comes_later_counts_and_one_that_is_wrong_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("policy.toml");
        std::fs::write(&file, "[[rule]]\nlevel = \"metadata\"").unwrap();
        let (told, heard) = channel();
        let watch = Watch::start(
            vec![folder.path().join("none"), file.clone()],
            move |said| {
                let _ = told.send(said);
            },
        );
        watch.wait();
        let row = pipeline::catalogue::Catalogue::builtin()
            .number("PVE-2004")
            .unwrap();
        let level = || {
            watch
                .current()
                .0
                .decide(Subject {
                    row,
                    ..Subject::default()
                })
                .0
        };
        assert_eq!(level(), Level::Metadata);
        std::fs::write(&file, "[[rule]]\nlevel = \"nonsense\"").unwrap();
        let said = heard.recv_timeout(Duration::from_secs(30)).unwrap();
        assert!(matches!(said, Said::Wrong(_)), "{said:?}");
        assert_eq!(level(), Level::Metadata);
        std::fs::remove_file(&file).unwrap();
        assert_eq!(
            heard.recv_timeout(Duration::from_secs(30)).unwrap(),
            Said::Changed
        );
        assert_eq!(level(), Level::Params);
    }
}
