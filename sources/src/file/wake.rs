//! Changes the kernel tells of. They only shorten the wait: whatever is missed is seen at the next look.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Instant;

use notify::event::{AccessKind, AccessMode, ModifyKind};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;

/// Why to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Hint {
    /// Time went by, or a known file grew.
    Look = 1,
    /// Files came, went or changed their names.
    Scan = 2,
}

#[derive(Default)]
struct Shared {
    hint: AtomicU8,
    bell: Notify,
}

/// Waits for changes in folders.
pub(crate) struct Wake {
    shared: Arc<Shared>,
    /// None where the kernel cannot tell; then only time does.
    _watcher: Option<RecommendedWatcher>,
}

impl Wake {
    pub(crate) fn new(folders: &[PathBuf]) -> Self {
        let shared = Arc::new(Shared::default());
        let ring = Arc::clone(&shared);
        let watcher = notify::recommended_watcher(move |event| {
            if let Some(hint) = meaning(&event) {
                ring.hint.fetch_max(hint as u8, Ordering::AcqRel);
                ring.bell.notify_one();
            }
        });
        let watcher = watcher.map(|mut watcher| {
            for folder in folders {
                // A folder that is not there yet is looked for by time.
                if let Err(why) = watcher.watch(folder, RecursiveMode::NonRecursive) {
                    tracing::debug!(folder = %folder.display(), %why, "changes of this folder are not told");
                }
            }
            watcher
        });
        let watcher = watcher
            .inspect_err(|why| {
                tracing::info!(%why, "the kernel tells of no changes; files are looked at every 250 ms");
            })
            .ok();
        Self {
            shared,
            _watcher: watcher,
        }
    }

    /// Waits for a change, at least until `from` and at most until `to`. Dropping the future is harmless.
    pub(crate) async fn next(&self, from: Instant, to: Instant) -> Hint {
        // Out of time is as good a reason to look as a change.
        let _ = tokio::time::timeout_at(to.into(), self.shared.bell.notified()).await;
        tokio::time::sleep_until(from.into()).await;
        match self.shared.hint.swap(0, Ordering::AcqRel) {
            2 => Hint::Scan,
            _ => Hint::Look,
        }
    }
}

fn meaning(event: &notify::Result<notify::Event>) -> Option<Hint> {
    match event {
        // An overflow says so; an error may hide anything.
        Err(_) => Some(Hint::Scan),
        Ok(event) if event.need_rescan() => Some(Hint::Scan),
        Ok(event) => match event.kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write))
            | EventKind::Modify(ModifyKind::Data(_)) => Some(Hint::Look),
            EventKind::Access(_) | EventKind::Modify(ModifyKind::Metadata(_)) => None,
            _ => Some(Hint::Scan),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn a_new_file_shortens_the_wait_and_so_does_a_line() {
        let folder = tempfile::tempdir().unwrap();
        let wake = Wake::new(&[folder.path().to_owned()]);
        let far = || Instant::now() + Duration::from_secs(600);
        std::fs::write(folder.path().join("a.log"), "one\n").unwrap();
        assert_eq!(wake.next(Instant::now(), far()).await, Hint::Scan);
        while wake.next(Instant::now(), Instant::now()).await == Hint::Scan {}
        let mut file = std::fs::File::options()
            .append(true)
            .open(folder.path().join("a.log"))
            .unwrap();
        std::io::Write::write_all(&mut file, b"two\n").unwrap();
        assert_eq!(wake.next(Instant::now(), far()).await, Hint::Look);
    }

    #[test]
    fn an_overflow_means_to_scan() {
        let event = notify::Event::new(EventKind::Other).set_flag(notify::event::Flag::Rescan);
        assert_eq!(meaning(&Ok(event)), Some(Hint::Scan));
        assert_eq!(meaning(&Err(notify::Error::generic("x"))), Some(Hint::Scan));
        let open = EventKind::Access(AccessKind::Open(AccessMode::Any));
        assert_eq!(meaning(&Ok(notify::Event::new(open))), None);
    }
}
