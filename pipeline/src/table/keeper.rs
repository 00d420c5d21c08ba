//! Looks whether the files of tables have changed, on a thread of its own: a file system that does not answer holds up
//! nothing but this.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::Table;

/// Time between two looks. Asking is needed where no file system tells of changes (a cluster's, a network's), and a few
/// `stat` cost less than being told.
const PAUSE: Duration = Duration::from_millis(250);

/// Looks after tables until it is dropped.
#[derive(Debug, Default)]
pub(crate) struct Keeper {
    shared: Arc<Shared>,
    thread: Option<std::thread::Thread>,
}

#[derive(Debug, Default)]
struct Shared {
    tables: Mutex<Vec<Arc<Table>>>,
    ended: AtomicBool,
}

impl Keeper {
    /// From now on these tables and no others.
    pub(crate) fn keep(&mut self, tables: Vec<Arc<Table>>) -> Result<(), String> {
        let any = !tables.is_empty();
        *self.shared.tables.lock() = tables;
        if any && self.thread.is_none() {
            let shared = Arc::clone(&self.shared);
            let handle = std::thread::Builder::new()
                .name("tables".to_owned())
                .spawn(move || run(&shared))
                .map_err(|why| format!("cannot start the thread that looks after tables: {why}"))?;
            self.thread = Some(handle.thread().clone());
        }
        Ok(())
    }
}

fn run(shared: &Shared) {
    while !shared.ended.load(Ordering::Acquire) {
        let tables = shared.tables.lock().clone();
        tables.iter().for_each(|table| table.look());
        drop(tables);
        std::thread::park_timeout(PAUSE);
    }
}

impl Drop for Keeper {
    /// The thread ends by itself soon; one that a file system holds up is not waited for.
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Release);
        if let Some(thread) = &self.thread {
            thread.unpark();
        }
    }
}
