//! What the running program looks after besides its graph: its own line in the journal, and room on the disks.
//!
//! - every five minutes a line `canary N` goes to the local log socket. It comes back through the inputs like any other line
//!   (`PVE-9071`), and the rule PVR-901 says so when it does not. Only where a `journald` source reads that journal
//! - every minute the file systems of `data_dir`, of `/var/log` and of search stores are looked at, each once, however many
//!   folders lie on it; a step down is told once (`PVE-9061`), with the share that is left, about the place where it is mounted.
//!   A file system that does not answer holds up nobody: a thread of its own asks, and there is never more than one

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use pipeline::{Field, Graph, Telemetry, Told, Value};
use sinks::sqlite;

/// Between two lines in the journal.
const CANARY: Duration = Duration::from_secs(300);
/// Between two looks at the disks.
const LOOK: Duration = Duration::from_secs(60);
/// Where syslog messages go on this machine.
const SOCKET: &str = "/dev/log";
/// Steps at which a file system is told of [% free]; the first one holds also below [`LEAST`].
const STEPS: [u64; 3] = [10, 5, 2];
/// The field with the share that is free [%].
const SHARE: &str = "pve.disk.free_percent";
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
        tasks.push(tokio::spawn(look(folders(graph), Arc::clone(telemetry))));
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

/// Folders without which nothing can be read or kept.
fn folders(graph: &Graph) -> Vec<PathBuf> {
    let data_dir = &graph.globals.data_dir;
    let stores = graph
        .sinks
        .iter()
        .filter_map(|node| node.component.as_any().downcast_ref::<sqlite::Config>())
        .filter_map(|config| Some(config.file(data_dir).parent()?.to_owned()));
    [data_dir.clone(), PathBuf::from("/var/log")]
        .into_iter()
        .chain(stores)
        .collect()
}

/// One file system.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Room {
    device: u64,
    /// Where it is mounted.
    place: PathBuf,
    /// [bytes]
    free: u64,
    /// [bytes]
    all: u64,
}

async fn look(folders: Vec<PathBuf>, telemetry: Arc<Telemetry>) {
    let mut every = tokio::time::interval(LOOK);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut steps = HashMap::new();
    loop {
        every.tick().await;
        let (answer, found) = tokio::sync::oneshot::channel();
        let asked = folders.clone();
        let work = move || {
            // Nobody waits for it any more where the program ends.
            _ = answer.send(rooms(&asked));
        };
        if let Err(why) = std::thread::Builder::new()
            .name("disks".to_owned())
            .spawn(work)
        {
            tracing::warn!("the disks cannot be looked at: no thread could be started: {why}");
            continue;
        }
        let Ok(rooms) = found.await else { continue };
        for told in low(&rooms, &mut steps) {
            telemetry.tell(told);
        }
    }
}

/// What has to be told of the file systems, each step once.
fn low(rooms: &[Room], steps: &mut HashMap<u64, usize>) -> Vec<Told> {
    let mut told = Vec::new();
    for room in rooms {
        let step = steps.entry(room.device).or_default();
        let Some(percent) = step_down(room.free, room.all, step) else {
            continue;
        };
        let share = room.free.saturating_mul(100) / room.all.max(1);
        let place = room.place.display();
        let text = format!("{share} % of the file system at {place} are free");
        let why = format!(
            "{} of {} bytes are free, below {percent} %",
            room.free, room.all
        );
        told.push(
            Told::new("PVE-9061", text)
                .failed(why)
                .object("pipeline", place.to_string())
                .field(
                    Field::new(SHARE),
                    Value::Int(i64::try_from(share).unwrap_or(100)),
                ),
        );
    }
    told
}

/// The file systems that folders are or will be on, each once.
fn rooms(folders: &[PathBuf]) -> Vec<Room> {
    let mut all: Vec<Room> = Vec::new();
    for folder in folders {
        let Some(there) = folder.ancestors().find(|folder| folder.exists()) else {
            continue;
        };
        let there = there.canonicalize().unwrap_or_else(|_| there.to_owned());
        let device = |path: &Path| path.metadata().map(|meta| meta.dev()).ok();
        let Some(id) = device(&there) else { continue };
        if all.iter().any(|room| room.device == id) {
            continue;
        }
        let Ok(found) = rustix::fs::statvfs(&there) else {
            continue;
        };
        let place = there
            .ancestors()
            .take_while(|path| device(path) == Some(id))
            .last();
        all.push(Room {
            device: id,
            place: place.unwrap_or(&there).to_owned(),
            free: found.f_bavail.saturating_mul(found.f_frsize),
            all: found.f_blocks.saturating_mul(found.f_frsize),
        });
    }
    all
}

/// The lowest step that was gone down since the last look. Going up again forgets them, with a margin of 1 %, so that a file
/// system that wavers at a step is not told of every minute.
fn step_down(free: u64, all: u64, step: &mut usize) -> Option<u64> {
    let below = |percent: u64| u128::from(free) * 100 < u128::from(all) * u128::from(percent);
    let is_at = |at: usize, margin: u64| {
        let least = at == 0 && free < LEAST.min(all);
        least || below(STEPS[at] + margin)
    };
    let mut told = None;
    while *step < STEPS.len() && is_at(*step, 0) {
        told = Some(STEPS[*step]);
        *step += 1;
    }
    if told.is_none() {
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
        assert_eq!(step_down(percent(10), all, &mut step), None);
        assert_eq!(step_down(percent(10) - 1, all, &mut step), Some(10));
        assert_eq!(step_down(percent(9), all, &mut step), None);
        assert_eq!(step_down(percent(1), all, &mut step), Some(2));
        assert_eq!(step_down(percent(2) + 1, all, &mut step), None);
        assert_eq!(step_down(percent(20), all, &mut step), None);
        assert_eq!(step_down(percent(9), all, &mut step), Some(10));
        // 1 GiB is little, whatever share it is.
        let mut step = 0;
        assert_eq!(step_down((1 << 30) - 1, 4 << 30, &mut step), Some(10));
    }

    #[test]
    fn one_file_system_is_told_of_once_with_what_is_left_and_where() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("not/there/yet");
        let found = rooms(&[folder.path().to_owned(), inner]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].all >= found[0].free && found[0].all > 0);
        assert!(
            folder
                .path()
                .canonicalize()
                .unwrap()
                .starts_with(&found[0].place)
        );
        let room = |device, free: u64| Room {
            device,
            place: format!("/mnt/{device}").into(),
            free: free << 30,
            all: 1000 << 30,
        };
        let mut steps = HashMap::new();
        let told = low(&[room(1, 99), room(2, 100), room(3, 15)], &mut steps);
        let facts = |told: &[Told]| -> Vec<(String, i64)> {
            told.iter()
                .map(|told| {
                    let (_, place) = told.object.clone().unwrap();
                    let (field, share) = &told.fields[0];
                    assert_eq!(*field, Field::new("pve.disk.free_percent"));
                    (place, share.as_ref().as_int().unwrap())
                })
                .collect()
        };
        assert_eq!(facts(&told), [("/mnt/1".into(), 9), ("/mnt/3".into(), 1)]);
        assert_eq!(facts(&low(&[room(1, 98), room(3, 14)], &mut steps)), []);
        assert_eq!(
            facts(&low(&[room(1, 19)], &mut steps)),
            [("/mnt/1".into(), 1)]
        );
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
