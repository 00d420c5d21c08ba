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

/// Whose reader is at work where, in this process: a source that is built again must not start a second one beside a
/// stuck one.
static AT_WORK: LazyLock<Mutex<HashSet<(String, PathBuf)>>> = LazyLock::new(Mutex::default);

/// At work until it is dropped, even by a panic.
struct Busy((String, PathBuf));

impl Busy {
    fn new(who: &(String, PathBuf)) -> Busy {
        AT_WORK.lock().insert(who.clone());
        Busy(who.clone())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        AT_WORK.lock().remove(&self.0);
    }
}

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
    /// The thread is gone.
    Died,
}

impl Reader {
    /// Whether the reader of an earlier start of this source is still in this folder.
    pub(super) fn is_busy(id: &str, root: &Path) -> bool {
        AT_WORK.lock().contains(&(id.to_owned(), root.to_owned()))
    }

    pub(super) fn start(
        (id, root): (&str, &Path),
        mut scanner: Scanner,
        progress: Arc<AtomicU64>,
        limit: Duration,
    ) -> std::io::Result<Reader> {
        let (ask, asked) = mpsc::channel::<oneshot::Sender<Answer>>();
        let who = (id.to_owned(), root.to_owned());
        std::thread::Builder::new()
            .name("pve_config".to_owned())
            .spawn(move || {
                while let Ok(answer) = asked.recv() {
                    let busy = Busy::new(&who);
                    let look = scanner.look();
                    drop(busy);
                    // Whoever asked may have ended.
                    let _ = answer.send(look);
                }
            })?;
        Ok(Reader {
            ask,
            progress,
            under_way: None,
            limit,
        })
    }

    /// One look, or word that nothing comes back.
    pub(super) async fn look(&mut self) -> Came {
        let mut answer = match self.under_way.take() {
            Some(answer) => answer,
            None => {
                let (tell, told) = oneshot::channel();
                if self.ask.send(tell).is_err() {
                    return Came::Died;
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
                Ok(Err(_)) => return Came::Died,
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

#[cfg(test)]
mod tests {
    use super::super::guard::Guard;
    use super::*;

    #[tokio::test]
    async fn a_frozen_folder_holds_up_nobody_and_is_read_when_it_answers() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("user.cfg"), "user:a@pam:1:0:::::\n").unwrap();
        let guard = Arc::new(Guard::new(Arc::default(), b"k"));
        let progress = Arc::new(AtomicU64::new(0));
        let mut scanner = Scanner::new(
            folder.path(),
            guard,
            false,
            Vec::new(),
            Arc::clone(&progress),
        );
        let (thaw, frozen) = mpsc::channel::<()>();
        let mut frozen = Some(frozen);
        scanner.before_look = Some(Box::new(move || {
            // Only the first look hangs.
            if let Some(frozen) = frozen.take() {
                let _ = frozen.recv();
            }
        }));
        let limit = Duration::from_millis(200);
        let who = ("frozen", folder.path());
        let mut reader = Reader::start(who, scanner, progress, limit).unwrap();
        assert!(matches!(reader.look().await, Came::Stuck));
        assert!(Reader::is_busy(who.0, who.1));
        assert!(matches!(reader.look().await, Came::Stuck));
        thaw.send(()).unwrap();
        let Came::Look(look) = reader.look().await else {
            panic!("it answers again");
        };
        assert_eq!(look.changed.len(), 1);
        assert!(!Reader::is_busy(who.0, who.1));
    }
}
