//! The one thread that touches the watched folder, so that a frozen file system holds up nobody else.
//!
//! Whoever asks for a look waits as long as calls come back. When none has come back for the time limit, the thread is
//! left alone with the call it is stuck in, and no second one is started: looking goes on when it returns.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, mpsc};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::scan::{Look, Scanner};

/// Folders whose reader is at work, in this process: a source that is built again must not start a second one beside a
/// stuck one.
static AT_WORK: LazyLock<Mutex<HashSet<PathBuf>>> = LazyLock::new(Mutex::default);

/// How often progress is looked at.
const GLANCE: Duration = Duration::from_millis(100);

type Answer = Result<Look, String>;

pub(super) struct Reader {
    ask: mpsc::Sender<oneshot::Sender<Answer>>,
    progress: Arc<AtomicU64>,
    /// The look that is under way, though nobody waited for its end.
    under_way: Option<oneshot::Receiver<Answer>>,
    limit: Duration,
}

/// A look.
#[derive(Debug)]
pub(super) enum Came {
    /// It ended.
    Look(Box<Look>),
    /// The folder cannot be read.
    Unreadable(String),
    /// Nothing came back for the time limit.
    Stuck,
}

impl Reader {
    /// `None` while the reader of an earlier start is stuck in this folder.
    pub(super) fn start(
        root: &Path,
        mut scanner: Scanner,
        progress: Arc<AtomicU64>,
        limit: Duration,
    ) -> std::io::Result<Option<Reader>> {
        if AT_WORK.lock().contains(root) {
            return Ok(None);
        }
        let (ask, asked) = mpsc::channel::<oneshot::Sender<Answer>>();
        let root = root.to_owned();
        std::thread::Builder::new()
            .name("pve_config".to_owned())
            .spawn(move || {
                while let Ok(answer) = asked.recv() {
                    AT_WORK.lock().insert(root.clone());
                    let look = scanner.look();
                    AT_WORK.lock().remove(&root);
                    // Whoever asked may have ended.
                    let _ = answer.send(look);
                }
            })?;
        Ok(Some(Reader {
            ask,
            progress,
            under_way: None,
            limit,
        }))
    }

    /// One look, or word that nothing comes back.
    pub(super) async fn look(&mut self) -> Came {
        let mut answer = match self.under_way.take() {
            Some(answer) => answer,
            None => {
                let (tell, told) = oneshot::channel();
                if self.ask.send(tell).is_err() {
                    return Came::Unreadable("the reader has died".to_owned());
                }
                told
            }
        };
        let mut seen = self.progress.load(Ordering::Relaxed);
        let mut since = tokio::time::Instant::now();
        loop {
            match tokio::time::timeout(GLANCE, &mut answer).await {
                Ok(Ok(Ok(look))) => return Came::Look(Box::new(look)),
                Ok(Ok(Err(why))) => return Came::Unreadable(why),
                Ok(Err(_)) => return Came::Unreadable("the reader has died".to_owned()),
                Err(_) => {}
            }
            let now = self.progress.load(Ordering::Relaxed);
            if now != seen {
                (seen, since) = (now, tokio::time::Instant::now());
            } else if since.elapsed() >= self.limit {
                self.under_way = Some(answer);
                return Came::Stuck;
            }
        }
    }
}
