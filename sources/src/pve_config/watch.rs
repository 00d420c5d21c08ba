//! The source at work: looks, remembers, tells.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use pipeline::telemetry::Stage;
use pipeline::{LaneId, Outcome, SourceError, SourceOut, Stopped, Time, Told as OwnEvent};
use serde::{Deserialize, Serialize};

use super::PveConfig;
use super::diff::diff;
use super::guard::Guard;
use super::keep::Kept;
use super::names::Names;
use super::reader::{Came, Reader};
use super::scan::{Look, Scanner};
use super::tell::{About, Change, Teller};

/// The key of the only lane.
const LANE: &str = "config";
/// Events sent at once.
const CHUNK: usize = 500;
/// While there is nothing to do, silence is told so often.
const IDLE: std::time::Duration = std::time::Duration::from_secs(1);
/// What was not looked at for more intervals than this may have changed at any time of it.
const INTERVALS: u32 = 5;
/// The time of a file counts as that of the change if it is not older than the last look by more than this [ns].
const BEFORE_LOOK: i64 = 3_000_000_000;

/// Where the source stands: the number of the last change that was delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Position {
    seq: u64,
}

struct Watch<'s> {
    source: &'s PveConfig,
    lane: LaneId,
    guard: Arc<Guard>,
    kept: Kept,
    names: Names,
    teller: Teller,
    /// The first look of this start is still to come.
    first: bool,
    looked: Time,
    /// When the folder answered last, whether or not there was anything to see.
    answered: Time,
    troubles: std::collections::BTreeMap<String, String>,
    /// Since when each of them cannot be read.
    troubled: std::collections::BTreeMap<String, Time>,
    /// Why the folder says nothing, as it was told.
    unreadable: Option<String>,
    /// It said nothing for long, and was not walked through since.
    missed: bool,
}

pub(super) async fn watch(source: &PveConfig, out: &mut SourceOut) -> Result<(), SourceError> {
    let key = pipeline::installation_key(&source.data_dir).map_err(SourceError)?;
    let guard = Arc::new(Guard::new(Arc::clone(out.redactor()), &key));
    let stored: Option<Position> = out.position(LANE);
    let acked = stored.unwrap_or_default().seq;
    let root = source.config.path.clone();
    let kept = Kept::open(&source.data_dir, &source.id, &root, acked)?;
    let mut watch = Watch {
        source,
        lane: out.lane(LANE),
        guard,
        kept,
        names: Names::new(Arc::clone(&source.inventory), &source.id),
        teller: Teller::new(&source.cluster),
        first: true,
        looked: Time(0),
        answered: Time(0),
        troubles: Default::default(),
        troubled: Default::default(),
        unreadable: None,
        missed: false,
    };
    watch.say_fresh(stored.is_some(), out);
    for (key, _) in watch.kept.places() {
        if let Some(doc) = watch.kept.get(&key) {
            watch.names.learn(&key, &doc);
        }
    }
    match watch.run(&root, out).await {
        Ok(()) | Err(End::Stopped) => Ok(()),
        Err(End::Failed(why)) => Err(why),
    }
}

enum End {
    Stopped,
    Failed(SourceError),
}

impl From<Stopped> for End {
    fn from(_: Stopped) -> End {
        End::Stopped
    }
}

impl From<std::io::Error> for End {
    fn from(why: std::io::Error) -> End {
        End::Failed(SourceError(format!("cannot write what was seen: {why}")))
    }
}

impl Watch<'_> {
    async fn run(&mut self, root: &Path, out: &mut SourceOut) -> Result<(), End> {
        let again: Vec<Change> = self.kept.open.iter().cloned().collect();
        self.send(&again, out).await?;
        let progress = Arc::new(AtomicU64::new(0));
        let scanner = Scanner::new(
            root,
            Arc::clone(&self.guard),
            self.kept.pmxcfs,
            self.kept.places(),
            Arc::clone(&progress),
        );
        let limit = self.source.config.timeout.get();
        let who = (self.source.id.as_str(), root);
        let began = tokio::time::Instant::now();
        while Reader::is_busy(who.0, who.1) {
            if began.elapsed() >= limit {
                self.unreadable("the reader of an earlier start is stuck in it", out);
            }
            self.rest(out, IDLE).await?;
        }
        let mut reader = Reader::start(who, scanner, progress, limit)?;
        while !out.stopping() {
            let came = {
                let stopped = out.stopped();
                tokio::select! {
                    came = reader.look() => came,
                    () = stopped => return Ok(()),
                }
            };
            match came {
                Came::Look(look) => self.see(*look, out).await?,
                Came::Unreadable(why) => self.unreadable(&why, out),
                Came::Died => {
                    let why = "the reader has died; the source starts again".to_owned();
                    return Err(End::Failed(SourceError(why)));
                }
                Came::Stuck => {
                    let limit = self.source.config.timeout;
                    self.unreadable(&format!("it has not answered for {limit}"), out);
                }
            }
            self.rest(out, self.source.config.interval.get()).await?;
        }
        Ok(())
    }

    /// Waits for the next look, and says every second that nothing comes.
    async fn rest(&mut self, out: &mut SourceOut, time: std::time::Duration) -> Result<(), End> {
        let until = tokio::time::Instant::now() + time;
        loop {
            out.idle(self.lane).await?;
            let now = tokio::time::Instant::now();
            if now >= until {
                return Ok(());
            }
            tokio::select! {
                () = tokio::time::sleep(IDLE.min(until - now)) => {}
                () = out.stopped() => return Err(End::Stopped),
            }
        }
    }

    async fn see(&mut self, look: Look, out: &mut SourceOut) -> Result<(), End> {
        let now = out.now();
        out.metrics().received_bytes.add(["file"], look.bytes);
        // An outage ends with a look that saw everything.
        let outage = self.unreadable.is_some() && self.is_long(self.answered, now);
        self.missed |= outage;
        self.readable(out);
        self.answered = now;
        if !look.walked {
            return Ok(());
        }
        let begins = self.first && self.kept.fresh.take().is_some();
        let opens = std::mem::take(&mut self.first);
        let late = std::mem::take(&mut self.missed) || opens;
        self.kept.pmxcfs |= look.pmxcfs;
        let mut lines = Vec::new();
        let mut told = Vec::new();
        let mut objects = 0;
        for (key, doc) in &look.changed {
            self.names.learn(key, doc);
            objects += doc.objects.len() + doc.rules.iter().map(|r| r.list.len()).sum::<usize>();
            let old = self.kept.get(key);
            if old.as_ref() == Some(doc) {
                continue;
            }
            let late = late || self.was_troubled(&doc.path, now);
            let changes = match begins {
                true => Vec::new(),
                false => {
                    let at = self.time(
                        old.as_ref().map(|old| old.modified),
                        doc.modified,
                        late,
                        now,
                    );
                    let about = About {
                        root: &self.source.config.path,
                        host: &self.source.host,
                        at,
                        late,
                        old: old.as_ref(),
                        new: Some(doc),
                    };
                    let changed = diff(old.as_ref(), Some(doc), &self.guard);
                    about.changes(changed, &mut self.kept.seq)
                }
            };
            told.extend(changes.iter().cloned());
            self.kept.add(key, Some(doc), changes, &mut lines);
        }
        for key in &look.gone {
            self.names.forget(key);
            let Some(old) = self.kept.get(key) else {
                continue;
            };
            let about = About {
                root: &self.source.config.path,
                host: &self.source.host,
                at: now,
                late: late || self.was_troubled(&old.path, now),
                old: Some(&old),
                new: None,
            };
            let changes = about.changes(diff(Some(&old), None, &self.guard), &mut self.kept.seq);
            told.extend(changes.iter().cloned());
            self.kept.add(key, None, changes, &mut lines);
        }
        self.looked = now;
        if (late || !look.changed.is_empty() || !look.gone.is_empty())
            && let Err(why) = self.names.keep(now)
        {
            out.metrics()
                .error("inventory_not_kept", Stage::Receiving, 1);
            tracing::warn!(component_id = self.source.id, %why, "the inventory cannot be kept; a restart will not know it");
        }
        let acked = out.position::<Position>(LANE).unwrap_or_default().seq;
        if !lines.is_empty() || begins {
            self.kept.commit(&lines, acked)?;
        }
        if opens {
            self.say_open(begins, objects, out);
        }
        let still = |path: &String, _: &mut Time| look.trouble.contains_key(path);
        self.troubled.retain(still);
        for path in look.trouble.keys() {
            self.troubled.entry(path.clone()).or_insert(now);
        }
        self.say_troubles(look.trouble, out);
        self.send(&told, out).await
    }

    /// Whether a moment lies more than a few looks back.
    fn is_long(&self, since: Time, now: Time) -> bool {
        now.since(since) > self.source.config.interval.get() * INTERVALS
    }

    /// Whether the file could not be read for more than a few looks.
    fn was_troubled(&self, path: &str, now: Time) -> bool {
        let since = self.troubled.get(path);
        since.is_some_and(|since| self.is_long(*since, now))
    }

    /// When it happened: when the file was written, if that can be.
    fn time(&self, before: Option<i64>, modified: i64, late: bool, now: Time) -> Time {
        let from = match late {
            // Copies and moved files bring an old time with them.
            true => before.map_or(i64::MAX, |before| before.saturating_add(1)),
            false => self.looked.0.saturating_sub(BEFORE_LOOK),
        };
        if (from..=now.0).contains(&modified) {
            Time(modified)
        } else {
            now
        }
    }

    async fn send(&self, changes: &[Change], out: &mut SourceOut) -> Result<(), End> {
        for part in changes.chunks(CHUNK) {
            let Some(last) = part.last() else { continue };
            let events = part
                .iter()
                .map(|change| self.teller.event(change))
                .collect();
            let position = Position { seq: last.seq };
            out.send(self.lane, events, &position).await?;
        }
        Ok(())
    }

    fn say_fresh(&self, stood: bool, out: &SourceOut) {
        let why = match &self.kept.fresh {
            Some(why) if !why.is_empty() => {
                format!("the state of {} cannot be used: {why}", self.source.id)
            }
            Some(_) if stood => format!("the state of {} is gone", self.source.id),
            _ => return,
        };
        let why = format!("{why}; what changed since the last run is not known");
        tracing::error!(component_id = self.source.id, "{why}");
        out.metrics().gaps.add(["state_lost"], 1);
        out.metrics().tell(
            OwnEvent::new("PVE-9014", format!("Input is missing: {why}"))
                .failed(why)
                .object("source", self.source.id.clone()),
        );
    }

    fn say_open(&self, begins: bool, objects: usize, out: &SourceOut) {
        let (files, path) = (self.kept.len(), self.source.config.path.display());
        let told = match begins {
            true => "this first look is not told as changes",
            false => "what differs from the last run is told",
        };
        tracing::info!(
            component_id = self.source.id,
            files,
            objects,
            begins,
            "the configuration was read"
        );
        out.metrics().tell(
            OwnEvent::new(
                "PVE-9011",
                format!(
                    "Source {} opened: {objects} objects in {files} files under {path}; {told}",
                    self.source.id
                ),
            )
            .object("source", self.source.id.clone()),
        );
    }

    /// Files that cannot be read, each told once, and once when it is over.
    fn say_troubles(
        &mut self,
        troubles: std::collections::BTreeMap<String, String>,
        out: &SourceOut,
    ) {
        /// Most that are told one by one at once.
        const MOST: usize = 50;
        let new: Vec<_> = troubles
            .iter()
            .filter(|(path, why)| self.troubles.get(*path) != Some(why))
            .collect();
        for (path, why) in new.iter().take(MOST) {
            out.metrics().error("file_unreadable", Stage::Receiving, 1);
            self.say_unreadable(
                format!("{}: {why}", self.source.config.path.join(path).display()),
                out,
            );
        }
        if new.len() > MOST {
            let more = new.len() - MOST;
            out.metrics()
                .error("file_unreadable", Stage::Receiving, more as u64);
            self.say_unreadable(
                format!("{more} more files cannot be read or are told in part"),
                out,
            );
        }
        let over = self
            .troubles
            .keys()
            .filter(|path| !troubles.contains_key(*path));
        for path in over.take(MOST) {
            let path = self.source.config.path.join(path);
            self.say_readable(&format!("{} is read again, or gone", path.display()), out);
        }
        self.troubles = troubles;
    }

    fn unreadable(&mut self, why: &str, out: &SourceOut) {
        if self.unreadable.as_deref() == Some(why) {
            return;
        }
        self.unreadable = Some(why.to_owned());
        out.metrics()
            .error("folder_unreadable", Stage::Receiving, 1);
        self.say_unreadable(format!("{}: {why}", self.source.config.path.display()), out);
    }

    fn readable(&mut self, out: &SourceOut) {
        if self.unreadable.take().is_some() {
            let path = self.source.config.path.display();
            self.say_readable(
                &format!("{path} can be read again; what changed meanwhile is told"),
                out,
            );
        }
    }

    fn say_unreadable(&self, why: String, out: &SourceOut) {
        tracing::error!(component_id = self.source.id, "cannot read {why}");
        out.metrics().tell(
            OwnEvent::new(
                "PVE-9012",
                format!("Source {} cannot be read: {why}", self.source.id),
            )
            .failed(why)
            .object("source", self.source.id.clone()),
        );
    }

    fn say_readable(&self, what: &str, out: &SourceOut) {
        tracing::info!(component_id = self.source.id, "{what}");
        out.metrics().tell(
            OwnEvent::new("PVE-9012", format!("Source {}: {what}", self.source.id))
                .outcome(Outcome::Success)
                .object("source", self.source.id.clone()),
        );
    }
}
