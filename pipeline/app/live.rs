//! A running graph and what comes to it from outside: signals, reloads, the end.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use pipeline::topology::{Options, Topology};
use pipeline::{Clock, Diagnostics, Graph, Telemetry};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::admin::{self, ReloadRequest, Reloaded};
use crate::exit::Exit;
use crate::past;
use crate::say;
use crate::watchman::Watchman;

/// How long a shutdown waits for what is on its way.
const GRACE: Duration = Duration::from_secs(30);

/// Reads the configuration once more.
pub(crate) type Reader = Box<dyn Fn() -> Result<Graph, Diagnostics> + Send>;

/// What `live` needs.
pub(crate) struct Job {
    pub graph: Graph,
    /// Where the configuration comes from; `None` where it cannot change.
    pub reader: Option<Reader>,
    pub telemetry: Arc<Telemetry>,
    /// Asks for a reload, besides the signal and the admin server.
    pub reloads: (mpsc::Sender<ReloadRequest>, mpsc::Receiver<ReloadRequest>),
    /// How long a shutdown waits.
    pub grace: Duration,
}

impl Job {
    pub(crate) fn new(graph: Graph, reader: Option<Reader>) -> Self {
        let telemetry = Telemetry::new(&graph.globals.host, env!("CARGO_PKG_VERSION"));
        Job {
            graph,
            reader,
            telemetry,
            reloads: mpsc::channel(4),
            grace: GRACE,
        }
    }
}

/// Runs the graph until it is told to stop, or until its sources have nothing more.
pub(crate) async fn run(job: Job) -> Exit {
    match try_run(job).await {
        Ok(true) => Exit::Done,
        Ok(false) => Exit::Found,
        Err(why) => {
            say::error(why);
            Exit::Failed
        }
    }
}

/// Whether everything was delivered.
async fn try_run(job: Job) -> Result<bool, String> {
    let Job {
        graph,
        reader,
        telemetry,
        reloads: (ask, mut asked),
        grace,
    } = job;
    let _claim = claim(&graph.globals.data_dir)?;
    // Taken before anything starts, so that no signal finds the program without an ear for it.
    let mut signals = Signals::new()?;
    let admin = graph.globals.admin.clone();
    let (sources, transforms, sinks) = (
        graph.sources.len(),
        graph.transforms.len(),
        graph.sinks.len(),
    );
    let data_dir = &graph.globals.data_dir;
    let mut server = admin::Server::start(&admin, Arc::clone(&telemetry), ask, data_dir)?;
    if let Some(address) = server.address() {
        tracing::info!(%address, "metrics, health and reload");
    }
    let options = Options {
        telemetry: Arc::clone(&telemetry),
        clock: Clock::system(),
        grace,
    };
    let watchman = Watchman::start(&graph, &telemetry);
    past::offer(&graph);
    let mut topology = Topology::start(graph, options).await?;
    tracing::info!(sources, transforms, sinks, "started");
    loop {
        let answer = tokio::select! {
            word = signals.next() => match word {
                Word::Stop => break,
                Word::Reload => None,
            },
            Some(answer) = asked.recv() => Some(answer),
            () = topology.sources_ended() => {
                tracing::info!("the sources have nothing more");
                break;
            }
        };
        let result = reload(&mut topology, reader.as_ref(), &telemetry, &mut server).await;
        if let Some(answer) = answer {
            // Who asked may have gone; the log has it too.
            let _ = answer.send(result);
        }
    }
    tracing::info!("stopping; once more the signal leaves at once");
    drop(watchman);
    let stopped = topology.stop();
    tokio::pin!(stopped);
    loop {
        tokio::select! {
            whole = &mut stopped => {
                if whole {
                    tracing::info!("stopped; everything was delivered");
                } else {
                    tracing::warn!("stopped; what was not delivered is read again at the next start");
                }
                return Ok(whole);
            }
            word = signals.next() => if word == Word::Stop {
                tracing::warn!("left at once; what was not delivered is read again at the next start");
                return Ok(false);
            },
        }
    }
}

/// Reads the configuration and changes the graph; one that does not hold changes nothing.
async fn reload(
    topology: &mut Topology,
    reader: Option<&Reader>,
    telemetry: &Telemetry,
    server: &mut admin::Server,
) -> Reloaded {
    let Some(reader) = reader else {
        return Err(json!({ "error": "this graph has no files to read again" }));
    };
    let graph = match reader() {
        Ok(graph) => graph,
        Err(mistakes) => {
            telemetry.load_error();
            tracing::error!("the new configuration does not hold; the old one goes on");
            say::aside(&mistakes.render(say::colour_on_stderr()));
            return Err(
                json!({ "error": "the new configuration does not hold", "mistakes": mistakes.to_json() }),
            );
        }
    };
    // Certificates change without any word of the configuration changing.
    pipeline::net::reload_files();
    let before = Arc::clone(&topology.graph().globals);
    match topology.reload(graph).await {
        Ok(changes) => {
            let now = &topology.graph().globals;
            if before.log != now.log {
                tracing::warn!("what changed in [log] takes effect at the next start");
            }
            if before.admin != now.admin
                && let Err(why) = server.change(&now.admin).await
            {
                telemetry.load_error();
                tracing::error!("{why}; the admin server goes on as it was");
                return Err(json!({ "error": why }));
            }
            tracing::info!(added = ?changes.added, changed = ?changes.changed, removed = ?changes.removed, "reloaded");
            Ok(
                json!({ "added": changes.added, "changed": changes.changed, "removed": changes.removed, "unchanged": changes.unchanged }),
            )
        }
        Err(why) => {
            telemetry.load_error();
            tracing::error!(why, "the new configuration could not be started");
            Err(json!({ "error": why }))
        }
    }
}

/// What a signal means here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    Stop,
    Reload,
}

struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    hang_up: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> Result<Self, String> {
        let listen = |kind| signal(kind).map_err(|why| format!("cannot listen to signals: {why}"));
        Ok(Signals {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hang_up: listen(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Word {
        tokio::select! {
            _ = self.terminate.recv() => Word::Stop,
            _ = self.interrupt.recv() => Word::Stop,
            _ = self.hang_up.recv() => Word::Reload,
        }
    }
}

/// Makes the folder of data, and keeps every other program of this kind out of it while the claim is held.
fn claim(data_dir: &Path) -> Result<File, String> {
    let path = data_dir.join("lock");
    let failed = |why: std::io::Error| {
        format!(
            "data_dir {}: {why}; give a folder that can be written, with data_dir or --data-dir",
            data_dir.display()
        )
    };
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(data_dir)
        .map_err(failed)?;
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let holder = match file.read_to_string(&mut holder) {
                Ok(_) => holder.trim(),
                Err(_) => "",
            };
            return Err(format!(
                "data_dir {} is in use by another pvetrail (process {holder}); stop it, or give another data_dir",
                data_dir.display()
            ));
        }
        Err(TryLockError::Error(why)) => return Err(failed(why)),
    }
    // For the message above only, so a failure costs nothing but its clearness.
    let _ = file
        .set_len(0)
        .and_then(|()| writeln!(file, "{}", std::process::id()));
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_programs_never_share_a_folder_of_data() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("a/b");
        let first = claim(&dir).unwrap();
        let why = claim(&dir).unwrap_err();
        assert!(
            why.contains(&format!("(process {})", std::process::id())),
            "{why}"
        );
        drop(first);
        assert!(claim(&dir).is_ok());
    }
}
