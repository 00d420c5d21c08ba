//! `pve_tasks` reads PVE's task lists and the logs of tasks: what ran, who started it, when it ended and how.
//!
//! - in: `index`, `index.1`, `active` and the logs under one folder, each task known by its UPID
//! - out: one event when a task runs, one when it has ended, and of a backup of several guests one for each; of a task that
//!   did not end well the last 20 lines of its log (`pve.task.log`); a line that is no task with the tag `parse_error`
//! - state: what has been told and is still in the lists, so a restart tells nothing twice. Lists overwritten before they
//!   were read are told of (PVE-9014), and what can be is read from the logs

mod lists;
mod logs;
mod reading;
mod row;
mod survey;
pub(crate) mod task;
mod tell;
mod told;
pub(crate) mod vzdump;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use jiff::tz::TimeZone;
use pipeline::{
    BuildError, BuildErrors, Context, Event, Source, SourceConfig, SourceError, SourceOut,
};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::file::wake::Wake;
use lists::Looker;
use logs::Logs;
use reading::{Found, Reading};
use tell::Teller;
use told::{Position, Told};

pub use survey::{Survey, survey};

/// The key of the only lane.
const LANE: &str = "tasks";
/// The lists are looked at this often at least, and silence is told of.
const LOOK: Duration = Duration::from_secs(1);
/// Between two looks, however often the lists change.
const REST: Duration = Duration::from_millis(100);
/// Tasks are told in parts of this size [bytes]: each carries what is told by then, so few of them are better.
const PART: usize = 1 << 20;

/// Reads PVE's task lists and the logs of tasks.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The folder with `index`, `index.1`, `active` and the logs.
    path: PathBuf,
    /// Without a stored position, begin with what runs now, and leave out what has ended.
    since_now: bool,
    /// The zone in which the logs of backups write their times: a name like `Europe/Berlin`, `UTC`, or `local`.
    timezone: String,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            path: PathBuf::from("/var/log/pve/tasks"),
            since_now: false,
            timezone: "local".to_owned(),
        }
    }
}

impl SourceConfig for Config {
    const TYPE: &'static str = "pve_tasks";
    const EXAMPLE: &'static str = r#"path = "/var/log/pve/tasks""#;

    fn build(&self, cx: &Context) -> Result<Box<dyn Source>, BuildErrors> {
        let mut errors = BuildErrors::new();
        if !self.path.is_absolute() {
            errors.push(
                BuildError::key("path", format!("{:?} is no absolute path", self.path))
                    .help(r#"write where PVE keeps its lists, like "/var/log/pve/tasks""#),
            );
        }
        let zone = match self.timezone.as_str() {
            "local" => Ok(TimeZone::system()),
            "UTC" => Ok(TimeZone::UTC),
            name => TimeZone::get(name).map_err(|_| {
                BuildError::key("timezone", format!("there is no time zone {name:?}")).help(
                    r#"write a name like "Europe/Berlin", "UTC", or "local" for this machine's"#,
                )
            }),
        };
        let Some(zone) = errors.take(zone) else {
            return Err(errors);
        };
        let source = PveTasks {
            id: cx.id().to_owned(),
            cluster: cx.cluster().unwrap_or_default().to_owned(),
            host: cx.host().to_owned(),
            config: self.clone(),
            zone,
        };
        errors.finish(Box::new(source) as Box<dyn Source>)
    }
}

struct PveTasks {
    id: String,
    cluster: String,
    host: String,
    config: Config,
    zone: TimeZone,
}

#[async_trait]
impl Source for PveTasks {
    async fn run(&mut self, mut out: SourceOut) -> Result<(), SourceError> {
        let stored: Option<Position> = out.position(LANE);
        let begins = stored.is_none();
        let mut told = Told::new(stored.unwrap_or_default());
        let logs = Logs::new(&self.config.path);
        let mut reading = Reading::new(logs.clone(), &self.host);
        let mut teller = Teller::new(self, logs);
        let mut looker = Looker::new(&self.config.path);
        let lane = out.lane(LANE);
        let wake = Wake::new(std::slice::from_ref(&self.config.path));
        let mut silent = begins && self.config.since_now;
        while !out.stopping() {
            let began = Instant::now();
            let anyway = teller.waits() || reading.waits();
            let lists = looker.look(anyway).map_err(SourceError)?;
            match lists {
                Some(lists) => {
                    let bytes = lists.size() as u64;
                    out.metrics().received_bytes.add(["file"], bytes);
                    teller.cut(&lists, &out);
                    let mut found = reading.read(&lists, &mut told, out.now());
                    if std::mem::take(&mut silent) {
                        teller.leave_out(&mut found, &mut told);
                    }
                    let sent = self
                        .send(&mut out, lane, &mut teller, found, &mut told)
                        .await;
                    if sent.is_err() {
                        return Ok(());
                    }
                }
                None => {
                    if out.idle(lane).await.is_err() {
                        return Ok(());
                    }
                }
            }
            tokio::select! {
                _ = wake.next(began + REST, Instant::now() + LOOK) => {}
                () = out.stopped() => break,
            }
        }
        Ok(())
    }
}

impl PveTasks {
    /// Tells what is new, in parts, each with what is told by then.
    async fn send(
        &self,
        out: &mut SourceOut,
        lane: pipeline::LaneId,
        teller: &mut Teller,
        found: Found,
        told: &mut Told,
    ) -> Result<(), pipeline::Stopped> {
        teller.begin();
        if let Some(gap) = &found.gap {
            teller.gap(gap, out);
        }
        let (mut events, mut size) = (Vec::new(), 0);
        for news in &found.news {
            let before = events.len();
            if !teller.events(news, out, &mut events) {
                continue;
            }
            news.remember(told);
            size += events[before..].iter().map(Event::size).sum::<usize>();
            if size >= PART {
                let part = std::mem::take(&mut events);
                out.send(lane, part, &told.position()).await?;
                size = 0;
            }
        }
        if told.settle(&found) || !events.is_empty() {
            return out.send(lane, events, &told.position()).await;
        }
        out.idle(lane).await
    }
}
