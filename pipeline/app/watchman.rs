//! What the running program looks after besides its graph: its own line in the journal, and room on the disks.
//!
//! - every five minutes a line `canary N` goes to the local log socket. It comes back through the inputs like any other line
//!   (`PVE-9071`), and the rule PVR-901 says so when it does not. Only where a `journald` source reads that journal
//! - every minute the file systems of `data_dir` and of `/var/log` are looked at; each step down is told once (`PVE-9061`)

use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use pipeline::{Graph, Telemetry, Told};

/// Between two lines in the journal.
const CANARY: Duration = Duration::from_secs(300);
/// Between two looks at the disks.
const LOOK: Duration = Duration::from_secs(60);
/// Where syslog messages go on this machine.
const SOCKET: &str = "/dev/log";
/// Steps at which a file system is told of [% free]; the first one holds also below [`LEAST`].
const STEPS: [u64; 3] = [10, 5, 2];
/// Free room that is little, however small its share [bytes].
const LEAST: u64 = 1 << 30;

/// Looks after them until it is dropped.
pub(crate) struct Watchman(Vec<tokio::task::JoinHandle<()>>);

impl Watchman {
    pub(crate) fn start(graph: &Graph, telemetry: &Arc<Telemetry>) -> Watchman {
        let mut tasks = Vec::new();
        if graph
            .sources
            .iter()
            .any(|node| node.type_name == "journald")
        {
            tasks.push(tokio::spawn(sing()));
        }
        let folders = [graph.globals.data_dir.clone(), PathBuf::from("/var/log")];
        tasks.push(tokio::spawn(look(folders, Arc::clone(telemetry))));
        Watchman(tasks)
    }
}

impl Drop for Watchman {
    fn drop(&mut self) {
        for task in &self.0 {
            task.abort();
        }
    }
}

async fn sing() {
    let mut every = tokio::time::interval(CANARY);
    for number in 1_u64.. {
        every.tick().await;
        // Silence is what PVR-901 is for; the program's own log says why.
        if let Err(why) = write_canary(Path::new(SOCKET), number) {
            tracing::warn!("the canary line could not be written to {SOCKET}: {why}");
        }
    }
}

/// Facility daemon, severity info.
fn write_canary(socket: &Path, number: u64) -> std::io::Result<()> {
    let to = UnixDatagram::unbound()?;
    // A socket whose buffer is full must not hold up the program.
    to.set_nonblocking(true)?;
    let line = format!("<30>pvetrail[{}]: canary {number}", std::process::id());
    to.send_to(line.as_bytes(), socket).map(|_| ())
}

async fn look(folders: [PathBuf; 2], telemetry: Arc<Telemetry>) {
    let mut every = tokio::time::interval(LOOK);
    let mut steps = [0; 2];
    loop {
        every.tick().await;
        for (folder, step) in folders.iter().zip(&mut steps) {
            let Some((free, all)) = room(folder) else {
                continue;
            };
            for percent in steps_down(free, all, step) {
                let share = free.saturating_mul(100) / all.max(1);
                telemetry.tell(
                    Told::new(
                        "PVE-9061",
                        format!(
                            "{share} % of the file system under {} are free",
                            folder.display()
                        ),
                    )
                    .failed(format!("{free} of {all} bytes are free, below {percent} %")),
                );
            }
        }
    }
}

/// Free and all room of the file system that a folder is or will be on [bytes].
fn room(folder: &Path) -> Option<(u64, u64)> {
    let there = folder.ancestors().find(|folder| folder.exists())?;
    let found = rustix::fs::statvfs(there).ok()?;
    let size = found.f_frsize;
    Some((
        found.f_bavail.saturating_mul(size),
        found.f_blocks.saturating_mul(size),
    ))
}

/// The steps that were gone down since the last look, each once. Going up again forgets them, with a margin of 1 %, so that a
/// file system that wavers at a step is not told of every minute.
fn steps_down(free: u64, all: u64, step: &mut usize) -> Vec<u64> {
    let below = |percent: u64| u128::from(free) * 100 < u128::from(all) * u128::from(percent);
    let is_at = |at: usize, margin: u64| {
        let least = at == 0 && free < LEAST.min(all);
        least || below(STEPS[at] + margin)
    };
    let mut told = Vec::new();
    while *step < STEPS.len() && is_at(*step, 0) {
        told.push(STEPS[*step]);
        *step += 1;
    }
    if told.is_empty() {
        while *step > 0 && !is_at(*step - 1, 1) {
            *step -= 1;
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_step_down_is_told_once_and_again_after_it_went_up() {
        let all = 1000 << 30;
        let percent = |share: u64| all / 100 * share;
        let mut step = 0;
        assert!(steps_down(percent(10), all, &mut step).is_empty());
        assert_eq!(steps_down(percent(10) - 1, all, &mut step), [10]);
        assert!(steps_down(percent(9), all, &mut step).is_empty());
        assert_eq!(steps_down(percent(1), all, &mut step), [5, 2]);
        assert!(steps_down(percent(2) + 1, all, &mut step).is_empty());
        assert!(steps_down(percent(20), all, &mut step).is_empty());
        assert_eq!(steps_down(percent(9), all, &mut step), [10]);
        // 1 GiB is little, whatever share it is.
        let mut step = 0;
        assert_eq!(steps_down((1 << 30) - 1, 4 << 30, &mut step), [10]);
    }

    #[test]
    fn the_line_goes_to_the_socket() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let socket = UnixDatagram::bind(&path).unwrap();
        write_canary(&path, 7).unwrap();
        let mut read = [0; 128];
        let bytes = socket.recv(&mut read).unwrap();
        let line = std::str::from_utf8(&read[..bytes]).unwrap();
        assert!(
            line.starts_with("<30>pvetrail[") && line.ends_with("]: canary 7"),
            "{line}"
        );
        assert!(write_canary(&folder.path().join("none"), 1).is_err());
    }
}
