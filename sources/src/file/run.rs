//! The source between its files and the engine: what is read is handed over, what happened is counted and told.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use pipeline::telemetry::Stage;
use pipeline::{
    ComponentMetrics, EventId, LaneId, LineConstants, LineIds, Source, SourceError, SourceOut,
    Stopped, Told,
};

use super::Encoding;
use super::files::{Files, Ready, Settings};
use super::identity::LaneKey;
use super::notes::{Counts, SHRUNK};
use super::position::Position;
use super::wake::{Hint, Wake};

/// Files are looked at this often, and at once when the kernel tells of a change.
const POLL: Duration = Duration::from_millis(250);
/// However many changes the kernel tells of, there is some time between two looks.
const REST: Duration = Duration::from_millis(20);
/// Idle lanes are told of this often.
const IDLE: Duration = Duration::from_secs(1);
/// Most lanes whose distance to their stored position is measured [lanes].
const MEASURED: usize = 32;

/// Where the files come from; part of every event's id.
pub(super) struct Origin {
    pub(super) cluster: String,
    pub(super) host: String,
}

/// The running source.
pub(super) struct File {
    settings: Arc<Settings>,
    origin: Origin,
    encoding: Encoding,
}

impl File {
    pub(super) fn new(settings: Arc<Settings>, origin: Origin, encoding: Encoding) -> Self {
        Self {
            settings,
            origin,
            encoding,
        }
    }
}

#[async_trait]
impl Source for File {
    async fn run(&mut self, out: SourceOut) -> Result<(), SourceError> {
        let stored: Vec<Position> = out
            .positions::<Position>()
            .into_iter()
            .map(|(_, position)| position)
            .collect();
        let run = Run {
            files: Files::new(Arc::clone(&self.settings), stored, out.now().0),
            wake: Wake::new(&self.settings.globs.folders()),
            origin: &self.origin,
            encoding: self.encoding,
            out,
            began: Instant::now(),
            lanes: HashMap::new(),
            counted: Counts::default(),
            unheard: None,
        };
        // To be told to stop is how every run ends; what has not been answered is read again in the next.
        let Err(Stopped) = run.run().await;
        Ok(())
    }
}

struct Run<'a> {
    files: Files,
    wake: Wake,
    origin: &'a Origin,
    encoding: Encoding,
    out: SourceOut,
    began: Instant,
    lanes: HashMap<LaneKey, Lane>,
    counted: Counts,
    /// Tells that there are logs of which nothing has been read.
    unheard: Option<LaneId>,
}

/// What a lane is to the engine.
struct Lane {
    id: LaneId,
    path: PathBuf,
    constants: LineConstants,
    /// It was told that nothing waits for it.
    over: bool,
}

impl Run<'_> {
    async fn run(mut self) -> Result<std::convert::Infallible, Stopped> {
        let mut hint = Hint::Scan;
        let mut idle = Duration::ZERO;
        loop {
            let looked = Instant::now();
            let now = self.began.elapsed();
            self.files.poll(now, self.out.now().0, hint == Hint::Scan);
            if self.lanes.is_empty() && self.unheard.is_none() && self.files.unheard(now).0 > 1 {
                // Each of them is a lane that nobody knows before its first line.
                let lane = self.out.lane("(all)");
                self.unheard = Some(lane);
                self.out.unheard(lane).await?;
            }
            while let Some(ready) = self.files.next(now) {
                self.read(&ready).await?;
                // A long backlog must not hide a rotation.
                if looked.elapsed() >= POLL {
                    break;
                }
            }
            self.tell();
            if now >= idle {
                idle = now + IDLE;
                self.mark_idle().await?;
                self.measure();
            }
            if self.out.stopping() {
                return Err(Stopped);
            }
            hint = if self.files.next_is_ready(self.began.elapsed()) {
                Hint::Look
            } else {
                tokio::select! {
                    () = self.out.stopped() => return Err(Stopped),
                    hint = self.wake.next(looked + REST, looked + POLL) => hint,
                }
            };
        }
    }

    async fn read(&mut self, ready: &Ready) -> Result<(), Stopped> {
        let (now, wall) = (self.began.elapsed(), self.out.now().0);
        let lane = self
            .lanes
            .entry(ready.lane.clone())
            .or_insert_with(|| lane(&self.out, self.origin, ready));
        lane.over = false;
        if lane.path != ready.path {
            lane.path.clone_from(&ready.path);
            lane.constants.path = Some(ready.path.to_string_lossy().into_owned());
        }
        let mut page = self.out.lines(&lane.constants);
        if self.encoding == Encoding::Latin1 {
            page.read_latin1();
        }
        let position = self.files.read(ready.id, &mut page, now, wall);
        let Some(position) = position else {
            return Ok(());
        };
        if page.is_empty() {
            self.out.send(lane.id, Vec::new(), &position).await
        } else {
            self.out.send_lines(lane.id, page, &position).await
        }
    }

    /// Counts and tells what happened since the last time.
    fn tell(&mut self) {
        let metrics = self.out.metrics();
        let (now, before) = (self.files.notes.counts, self.counted);
        count(metrics, now, before);
        self.counted = now;
        metrics.open_files.set(self.files.open() as f64);
        for (kind, times) in self.files.notes.take_errors() {
            metrics.error(kind, Stage::Receiving, times);
        }
        for warning in self.files.notes.take_warnings() {
            tracing::warn!(
                kind = warning.kind,
                kept_back = warning.kept_back,
                "{}",
                pipeline::printable(&warning.text)
            );
            if warning.kind == SHRUNK {
                let path = warning.path.to_string_lossy();
                let text = format!("{} got shorter", pipeline::printable(&path));
                let told = Told::new("PVE-9015", text).failed(warning.text.as_str());
                metrics.tell(told.object("file", path));
            }
        }
        for lane in self.files.take_forgotten() {
            self.out.forget(&lane.to_string());
        }
    }

    /// Says which lanes have nothing to read. Of those that are read no more, and of more than a few that have been quiet
    /// the longest, it is said once that nobody waits for them.
    async fn mark_idle(&mut self) -> Result<(), Stopped> {
        let mut idle = Vec::new();
        for key in self.files.idle() {
            if let Some(lane) = self.lanes.get_mut(key) {
                lane.over = false;
                idle.push(lane.id);
            }
        }
        let pending = self.files.pending();
        let over: Vec<LaneId> = self
            .lanes
            .iter_mut()
            .filter(|(key, lane)| !lane.over && !pending.contains(key))
            .filter(|(_, lane)| !idle.contains(&lane.id))
            .map(|(_, lane)| {
                lane.over = true;
                lane.id
            })
            .collect();
        let read: BTreeSet<&LaneKey> = self.files.reading().map(|(lane, _)| lane).collect();
        self.lanes
            .retain(|key, lane| !lane.over || read.contains(key));
        let all = self
            .unheard
            .filter(|_| self.files.unheard(self.began.elapsed()).1 == 0);
        for lane in over {
            self.out.over(lane).await?;
        }
        for lane in idle.into_iter().chain(all) {
            self.out.idle(lane).await?;
        }
        Ok(())
    }

    /// How far the stored positions lie behind what was read.
    fn measure(&mut self) {
        let behind = self.files.reading().take(MEASURED).map(|(lane, offset)| {
            let stored = self.out.position::<Position>(&lane.to_string());
            offset - stored.map_or(0, |position| position.offset).min(offset)
        });
        let most = behind.max().unwrap_or(0);
        self.out.metrics().checkpoint_lag_bytes.set(most as f64);
    }
}

fn lane(out: &SourceOut, origin: &Origin, ready: &Ready) -> Lane {
    let parts = [
        "pve-audit/1",
        &origin.cluster,
        &origin.host,
        &ready.lane.family,
        &ready.lane.generation(),
    ];
    let base = EventId::of_parts(&parts.map(str::as_bytes));
    Lane {
        id: out.lane(&ready.lane.to_string()),
        path: ready.path.clone(),
        over: false,
        constants: LineConstants {
            host: origin.host.clone(),
            path: Some(ready.path.to_string_lossy().into_owned()),
            ids: LineIds::Place(base.0[0]),
        },
    }
}

fn count(metrics: &ComponentMetrics, now: Counts, before: Counts) {
    metrics.files_added.add(now.added - before.added);
    metrics.files_resumed.add(now.resumed - before.resumed);
    metrics
        .files_unwatched
        .add(now.unwatched - before.unwatched);
    metrics.files_deleted.add(now.deleted - before.deleted);
    metrics
        .files_truncated
        .add(now.truncated - before.truncated);
    metrics
        .checksum_errors
        .add(now.checksum_errors - before.checksum_errors);
    let bytes = now.bytes - before.bytes;
    if bytes > 0 {
        metrics.received_bytes.add(["file"], bytes);
    }
}
