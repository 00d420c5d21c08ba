//! `loki` pushes events into Grafana Loki, each stream in pushes of its own, in order.
//!
//! - 204: delivered · 429, 5xx, no answer: that stream again, in place · 401, 403, blocked ingestion: held until it heals
//! - 400: of the push, only the lines that the server means go to the dead letters, with its words; the rest is stored
//! - a time the server would refuse: restamped, the true time beside it, unless told otherwise
//! - a label with too many values: the first some are kept apart, the others are one stream

mod answer;
mod body;
mod config;
mod push;
mod setup;
mod streams;
mod template;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use pipeline::{
    Auth, BatchDefaults, BuildErrors, Bytes, Clock, ComponentMetrics, Compression, Context,
    Encoding, Event, Events, Fate, Http, Key, Reason, ReasonKind, Sink, SinkConfig, Time, Tls, Url,
    Workers, WriteError, Written,
};
use schemars::JsonSchema;
use serde::Deserialize;

use self::body::{Body, Entry, restamp};
use self::push::{Outcome, Stop};
use self::streams::{Finder, NoTenant, Stream, Streams};

pub use self::config::{Format, Limits, OldEvents};
pub use self::setup::{Finding, Setup, SetupError, setup};

/// Pushes events into Grafana Loki: few labels, the rest as structured metadata, each stream in order. What must be sent
/// again goes under the same time with the same text, so that Loki stores it once.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Address of Loki or of a gateway in front of it, like `http://loki:3100`.
    pub endpoint: Url,
    /// Where it takes pushes.
    #[serde(default = "push_path")]
    pub path: String,
    /// The form of a push.
    #[serde(default)]
    pub format: Format,
    /// Compression of a push in JSON: `gzip` where it is not said, or `none`.
    #[serde(default)]
    pub compression: Option<Compression>,
    /// The tenant (`X-Scope-OrgID`), like `ops` or `{{ user.domain:-ops }}`. An event without one goes to the dead letters.
    #[serde(default)]
    pub tenant_id: Option<String>,
    /// Labels of the stream by name, like `node = "{{ host.name }}"`. A field with many values is refused here. Where it is
    /// not said: `cluster`, `node`, `dataset`, `severity`, `outcome`, `code_family`, `service_name`.
    #[serde(default)]
    pub labels: Option<BTreeMap<String, String>>,
    /// What goes beside the line by name. Where it is not said: `event_id` (always), `code`, `action`, `user`, `source_ip`,
    /// `vmid`, `upid`.
    #[serde(default)]
    pub structured_metadata: Option<BTreeMap<String, String>>,
    /// What becomes of an event whose time the server would refuse.
    #[serde(default)]
    pub old_events: OldEvents,
    /// What the server allows, and how many streams there may be.
    #[serde(default)]
    pub limits: Limits,
    /// Who we say we are.
    #[serde(default)]
    pub auth: Option<Auth>,
    /// Whom we believe.
    #[serde(default)]
    pub tls: Tls,
    /// The line: `json`, `logfmt` or `text`. Without `except_fields`, `event.original` is left out.
    #[serde(default)]
    pub encoding: Encoding,
    /// The streams of all workers.
    #[serde(skip)]
    streams: OnceLock<Arc<Streams>>,
    /// Whether the server has taken a push of this configuration before.
    #[serde(skip)]
    proven: Arc<AtomicBool>,
}

fn push_path() -> String {
    "/loki/api/v1/push".to_owned()
}

impl SinkConfig for Config {
    const TYPE: &'static str = "loki";
    const WORKERS: Workers = Workers::ByKey;
    const NETWORK: bool = true;
    // It is dealt out to the workers, and then to streams: larger than a push.
    const BATCH: BatchDefaults = BatchDefaults {
        max_events: 10_000,
        max_size: Bytes::mib(2),
        timeout: pipeline::Duration::from_secs(1),
    };
    const EXAMPLE: &'static str = r#"endpoint = "http://loki:3100"
tenant_id = "audit"
labels = { node = "{{ host.name }}", outcome = "{{ event.outcome }}", service_name = "pvetrail" }"#;

    fn build(&self, cx: &Context) -> Result<Box<dyn Sink>, BuildErrors> {
        Ok(Box::new(self.make(cx)?))
    }

    fn key(&self, cx: &Context) -> Result<Option<Box<dyn Key>>, BuildErrors> {
        Ok(Some(Box::new(self.finder(cx)?)))
    }
}

/// Which times the server takes.
struct Times {
    age: Duration,
    future: Duration,
    behind: Duration,
}

struct Loki {
    url: Url,
    /// Where the server says whether it is there, if that is known.
    ready: Option<Url>,
    http: Http,
    finder: Finder,
    body: Body,
    old_events: OldEvents,
    times: Times,
    /// The largest push that is sent now, and ever [bytes].
    limit: usize,
    most: usize,
    proven: Arc<AtomicBool>,
    /// The events of one write by their stream, used again for each.
    groups: Vec<Group>,
    /// For each stream by number its place in `groups`, or more than there are.
    places: Vec<u32>,
    metrics: Option<Arc<ComponentMetrics>>,
}

/// The events of one stream.
struct Group {
    stream: Arc<Stream>,
    entries: Vec<Entry>,
}

#[async_trait]
impl Sink for Loki {
    fn counts(&mut self, metrics: &Arc<ComponentMetrics>) {
        self.metrics = Some(Arc::clone(metrics));
    }

    async fn write(&mut self, events: Events) -> Result<Written, WriteError> {
        let mut out = Outcome::default();
        let mut groups = self.sort(&events, &mut out);
        let mut stop = None;
        for group in &mut groups {
            match &stop {
                Some(Stop { reason, .. }) => out.again(&group.entries, reason),
                None => stop = self.push(&events, group, &mut out).await,
            }
        }
        self.count(&groups, &out);
        for group in &groups {
            self.places[group.stream.number] = u32::MAX;
        }
        self.groups = groups;
        out.said(events.len(), stop)
    }

    async fn healthcheck(&mut self) -> Result<(), Reason> {
        let Some(ready) = &self.ready else {
            return Ok(());
        };
        let origin = ready.origin();
        match self.http.get(ready).send().await {
            Ok(answer) => match answer.status() {
                401 | 403 => Err(Reason::new(
                    ReasonKind::Forbidden,
                    format!(
                        "{origin} does not know these credentials ({})",
                        answer.status()
                    ),
                )),
                status @ 500..=599 => {
                    let text = format!(
                        "{origin} is not ready ({status}): {}",
                        answer.excerpt(200).await
                    );
                    Err(Reason::new(ReasonKind::Server, text))
                }
                // A gateway need not know this address.
                _ => Ok(()),
            },
            Err(why) => Err(why.reason()),
        }
    }
}

impl Loki {
    /// Puts the events to their streams, in order, with the times they go under.
    fn sort(&mut self, events: &Events, out: &mut Outcome) -> Vec<Group> {
        let mut groups = std::mem::take(&mut self.groups);
        // Memory of the last write, for as many streams as this one has.
        let mut spare: Vec<Vec<Entry>> = groups.drain(..).map(|group| group.entries).collect();
        let now = Clock::system().now();
        for (place, event) in (0..).zip(events.iter()) {
            let stream = match self.finder.find(event) {
                Ok(stream) => stream,
                Err(why) => {
                    out.refuse(place, no_tenant(&why));
                    continue;
                }
            };
            if self.places.len() <= stream.number {
                self.places.resize(stream.number + 1, u32::MAX);
            }
            let at = &mut self.places[stream.number];
            if *at as usize >= groups.len() {
                *at = groups.len() as u32;
                let mut entries = spare.pop().unwrap_or_default();
                entries.clear();
                let stream = Arc::clone(stream);
                groups.push(Group { stream, entries });
            }
            let group = &mut groups[*at as usize];
            let time = event.timestamp();
            let mut entry = Entry {
                place,
                time: time.0,
                moved: 0,
                done: false,
                line: 0,
            };
            if let Some(why) = self
                .times
                .refuse(time, now, group.stream.newest.load(Relaxed))
            {
                match self.old_events {
                    OldEvents::Accept => {}
                    OldEvents::Restamp => {
                        entry.time = restamp(event, now);
                        entry.moved = 1;
                    }
                    OldEvents::Dlq => {
                        let text = format!("timestamp {time} {why}; `old_events = \"dlq\"`");
                        out.refuse(place, Reason::new(ReasonKind::Rejected, text));
                        continue;
                    }
                }
            }
            group.entries.push(entry);
        }
        groups
    }

    /// Counts what the engine cannot see.
    fn count(&mut self, groups: &[Group], out: &Outcome) {
        let left_out = std::mem::take(&mut self.body.left_out);
        let Some(metrics) = &self.metrics else { return };
        metrics.restamped.add(out.restamped);
        metrics.metadata_left_out.add(left_out);
        for group in groups {
            // What goes once more is counted when it comes to its end.
            let ended = group.entries.iter().filter(|entry| entry.done).count();
            for label in &group.stream.overflow {
                metrics.label_overflow.add([label.as_str()], ended as u64);
            }
            if !group.stream.overflow.is_empty() {
                pipeline::log_limited!(
                    warn,
                    labels = group.stream.labels,
                    "a label has more values than are kept apart; further ones are one stream (`limits.max_label_values`, `limits.max_streams`)"
                );
            }
        }
    }
}

impl Times {
    /// Why the server would refuse this time.
    fn refuse(&self, time: Time, now: Time, newest: i64) -> Option<&'static str> {
        if now.since(time) > self.age {
            Some("is older than the server takes (`limits.max_age`)")
        } else if time.since(now) > self.future {
            Some("lies further in the future than the server takes (`limits.max_future`)")
        } else if newest > i64::MIN && Time(newest).since(time) > self.behind {
            Some("is too far behind the latest of its stream (`limits.max_behind`)")
        } else {
            None
        }
    }
}

fn no_tenant(why: &NoTenant) -> Reason {
    let text = match why {
        NoTenant::Absent => "it has no tenant: a field that `tenant_id` names is absent; write `{{ field:-other }}` for such events".to_owned(),
        NoTenant::Odd(said) => format!("`{said}` cannot be a tenant"),
        NoTenant::TooMany(said) => format!("`{said}` is one tenant too many (`limits.max_tenants`)"),
    };
    Reason::new(ReasonKind::Rejected, text)
}

/// The event of an entry, which is always there.
fn event_of<'a>(events: &'a Events, entry: &Entry) -> Option<&'a Event> {
    events.get(entry.place as usize)
}

/// What became of one event.
type Fates = Vec<(u32, Fate)>;
