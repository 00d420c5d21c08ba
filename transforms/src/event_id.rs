//! `event_id` says what an event means: which act, on what, by whom, with which outcome, under a number that never changes.
//!
//! - in: lines of the access log that `grok` took apart, lines of the journal, of syslog files and of the firewall log, tasks,
//!   changed objects, states, and the program's own events
//! - out: all of them, each an audit event of the catalogue (`pvetrail list events`); what is in no catalogue is `PVE-0000`,
//!   kept and counted
//! - the line itself goes to `event.original`; `message` becomes the sentence of the catalogue

mod access;
mod auth;
mod cluster;
mod config;
mod firewall;
mod guests;
mod header;
mod lines;
pub(crate) mod names;
mod seen;
mod system;
mod tasks;

use pipeline::{Batch, BuildErrors, Context, Event, Outputs, Time, Transform, TransformConfig};
use schemars::JsonSchema;
use serde::Deserialize;

use access::Access;
use names::NAMES;
use seen::{Seen, Writer};

/// Says what an event means, under an event ID that never changes.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {}

impl TransformConfig for Config {
    const TYPE: &'static str = "event_id";
    const EXAMPLE: &'static str = "";

    fn build(&self, cx: &Context) -> Result<Box<dyn Transform>, BuildErrors> {
        let writer = Writer::new(cx);
        Ok(Box::new(EventIds {
            access: Access::new(&writer, "metadata"),
            writer,
        }))
    }
}

struct EventIds {
    access: Access,
    writer: Writer,
}

/// What nothing in the catalogue fits.
const UNCLASSIFIED: &str = pipeline::catalogue::UNCLASSIFIED;

impl Transform for EventIds {
    fn apply(&mut self, mut batch: Batch, out: &mut Outputs) {
        let now = out.now();
        for event in &mut batch.events {
            self.map(event, now);
        }
        out.push(batch);
    }
}

impl EventIds {
    fn map(&mut self, event: &mut Event, now: Time) {
        let n = &*NAMES;
        // The program's own events, and those that another pvetrail has mapped, are whole.
        if event.has(n.record) {
            return;
        }
        if Access::is_one(event) {
            if let Some(seen) = self.access.map(event, now) {
                self.finish(event, seen, now);
            }
            return;
        }
        let seen = understand(event, now);
        self.finish(event, seen, now);
    }

    fn finish(&mut self, event: &mut Event, seen: Seen, now: Time) {
        self.writer.write(event, seen, now);
        event.set_str(NAMES.level, "params");
    }
}

fn understand(event: &mut Event, now: Time) -> Seen {
    let n = &*NAMES;
    let origin = event.str(n.origin).map(str::to_owned);
    match origin.as_deref() {
        Some("task") => return tasks::understand(event).unwrap_or_else(|| unknown(event)),
        Some("config") => return config::understand(event),
        Some("api") if event.str(n.kind) == Some("state") => return config::state(event),
        Some("api") if config::is_one(event) => return config::understand(event),
        _ => {}
    }
    let named = event
        .str(n.file)
        .is_some_and(|path| path.contains("pve-firewall.log"));
    let known = event.has(n.process) || event.has(n.appname);
    if (named || !known)
        && let Some(seen) = firewall::understand(event)
    {
        return seen;
    }
    if !known && !header::take_off(event, now) {
        return origin_of(unknown(event), event, "syslog");
    }
    let journal = event.has(n.unit) || origin.as_deref() == Some("journal");
    let line = lines::Line::of(event);
    let seen = lines::understand(line).unwrap_or_else(|| unknown(event));
    origin_of(seen, event, if journal { "journal" } else { "syslog" })
}

fn origin_of(seen: Seen, event: &Event, origin: &'static str) -> Seen {
    match event.has(NAMES.origin) {
        true => seen,
        false => seen.with(NAMES.origin, origin),
    }
}

fn unknown(event: &Event) -> Seen {
    let node = event.str(NAMES.node).unwrap_or_default();
    Seen::new(UNCLASSIFIED, "unknown")
        .object("node", node)
        .evidence()
}

#[cfg(test)]
mod tests;
