//! `event_id` says what an event means: which act, on what, by whom, with which outcome, under a number that never changes.
//!
//! - in: lines of the access log that `grok` took apart, lines of the journal, of syslog files and of the firewall log, tasks,
//!   changed objects, states, and the program's own events
//! - out: all of them, each an audit event of the catalogue (`pvetrail list events`); what is in no catalogue is `PVE-0000`,
//!   kept and counted
//! - the line itself goes to `event.original`; `message` becomes the sentence of the catalogue

mod access;
mod addresses;
mod auth;
mod cluster;
mod config;
mod firewall;
mod guests;
mod header;
mod lines;
pub(crate) mod names;
pub mod policy;
mod secrets;
mod seen;
mod system;
mod tasks;
mod vsphere;

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use jiff::tz::TimeZone;
use parking_lot::Mutex;
use pipeline::catalogue::Catalogue;
use pipeline::{
    Batch, BuildError, BuildErrors, Context, Event, Outputs, Spanned, Time, Told, Transform,
    TransformConfig, ValueRef, fields,
};
use schemars::JsonSchema;
use serde::Deserialize;

use access::Access;
use names::NAMES;
use policy::watch::{Said, Watch};
use policy::{Level, Policy, Subject};
use secrets::Secrets;
use seen::{Seen, Writer};

/// Says what an event means, under an event ID that never changes.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Files that say how much of which event is recorded; the first rule that fits decides. Without it
    /// `/etc/pvetrail/policy.toml` and then `/etc/pve/pvetrail/policy.toml`, if they are there. A changed file counts within
    /// 5 s.
    policy: Option<Vec<PathBuf>>,
    /// Zone of times in syslog files that are written without one (`Jan 26 09:45:10`): a name like `Europe/Berlin`; without
    /// it that of this host.
    timezone: Option<Spanned<String>>,
    /// One for all workers, started with the first event.
    #[serde(skip)]
    #[schemars(skip)]
    watch: Arc<OnceLock<Watch>>,
    #[serde(skip)]
    #[schemars(skip)]
    said: Arc<Mutex<Vec<Said>>>,
}

impl TransformConfig for Config {
    const TYPE: &'static str = "event_id";
    const EXAMPLE: &'static str = r#"policy = ["/etc/pvetrail/policy.toml"]"#;

    fn build(&self, cx: &Context) -> Result<Box<dyn Transform>, BuildErrors> {
        self.check()?;
        let zone = match &self.timezone {
            None => TimeZone::system(),
            Some(name) => TimeZone::get(name).map_err(|_| {
                BuildError::at(name, format!("no time zone is called {:?}", name.get()))
                    .help("for example \"Europe/Berlin\" or \"UTC\"")
            })?,
        };
        Ok(Box::new(EventIds {
            access: Access::new(),
            writer: Writer::new(cx),
            secrets: Secrets::new(cx),
            zone,
            unclassified: 0,
            files: self.policy.clone().unwrap_or_else(policy::default_files),
            watch: Arc::clone(&self.watch),
            said: Arc::clone(&self.said),
            policy: Arc::default(),
            version: 0,
        }))
    }
}

impl Config {
    /// Files that the operator named must hold; a cluster file system may hang, so its files are read beside the road only.
    fn check(&self) -> Result<(), BuildErrors> {
        let mut errors = BuildErrors::new();
        for (n, file) in self.policy.iter().flatten().enumerate() {
            if file.starts_with("/etc/pve") {
                continue;
            }
            let wrong = match policy::read_file(file) {
                Ok(Some(text)) => Policy::parse(&text, file).err(),
                Ok(None) => None,
                Err(why) => Some(format!("{}: {why}", file.display())),
            };
            if let Some(why) = wrong {
                errors.push(
                    BuildError::key(format!("policy[{n}]"), why)
                        .help("`pvetrail policy show` tells what a policy means"),
                );
            }
        }
        errors.finish(())
    }
}

struct EventIds {
    access: Access,
    writer: Writer,
    secrets: Secrets,
    zone: TimeZone,
    /// Events of this batch that nothing in the catalogue fits.
    unclassified: usize,
    files: Vec<PathBuf>,
    watch: Arc<OnceLock<Watch>>,
    said: Arc<Mutex<Vec<Said>>>,
    policy: Arc<Policy>,
    version: u64,
}

/// What nothing in the catalogue fits.
const UNCLASSIFIED: &str = pipeline::catalogue::UNCLASSIFIED;

impl Transform for EventIds {
    fn apply(&mut self, mut batch: Batch, out: &mut Outputs) {
        if !batch.events.is_empty() {
            self.renew(out);
        }
        let now = out.now();
        let left_out = batch.retain(|event| self.map(event, now));
        out.filtered(left_out);
        out.unclassified(std::mem::take(&mut self.unclassified));
        out.push(batch);
    }
}

impl EventIds {
    /// Takes the policy as it is now.
    fn renew(&mut self, out: &mut Outputs) {
        let watch = self.watch.get_or_init(|| {
            let said = Arc::clone(&self.said);
            let watch = Watch::start(self.files.clone(), move |one| said.lock().push(one));
            watch.wait();
            watch
        });
        let (policy, version) = watch.current();
        if version == self.version {
            return;
        }
        // The version grows with everything that is said, so a file that cannot be used is told too.
        (self.policy, self.version) = (policy, version);
        for said in self.said.lock().drain(..) {
            out.tell(match said {
                Said::Changed => {
                    tracing::info!("the policy changed");
                    Told::new("PVE-9003", "the policy of what is recorded changed")
                }
                Said::Unreadable(why) | Said::Wrong(why) => {
                    tracing::error!("the policy of what is recorded: {why}");
                    Told::new("PVE-9003", "the policy of what is recorded cannot be used")
                        .failed(why)
                }
            });
        }
    }

    /// Says what the event means; `false` where the policy leaves it out.
    fn map(&mut self, event: &mut Event, now: Time) -> bool {
        let n = &*NAMES;
        // The program's own events, and those that another pvetrail has mapped, are whole.
        if event.has(n.record) {
            return true;
        }
        shorten(event);
        if Access::is_one(event) {
            let level = self.access.map(event, now, &self.policy, &self.writer);
            if level >= Level::Params {
                self.secrets.of_query(event);
            }
            return level > Level::None;
        }
        let mut seen = understand(event, now, &self.zone);
        if seen.code == UNCLASSIFIED {
            self.unclassified += 1;
        }
        self.secrets.of_line(event, &mut seen);
        let (code, outcome, vmid) = (seen.code, seen.outcome, seen.vmid);
        self.writer.write(event, seen, now);
        let row = Catalogue::builtin().number(code).unwrap_or_default();
        let subject = Subject {
            row,
            node: event.str(n.node).unwrap_or_default(),
            vmid,
            outcome,
            changes: event.has(n.changes),
        };
        let (level, _) = self.policy.decide(subject);
        apply(event, level);
        level > Level::None
    }
}

/// A node is called by its short name, also where a sender writes the long one: one node must not be two.
fn shorten(event: &mut Event) {
    let name = event.str(NAMES.node).unwrap_or_default();
    let cut = short(name);
    if cut.len() < name.len() {
        let cut = cut.to_owned();
        event.set_str(NAMES.node, &cut);
    }
}

/// The part of the name of a host before its domain; an address has none.
pub(crate) fn short(name: &str) -> &str {
    match name.split_once('.') {
        Some((first, _)) if !first.is_empty() && name.parse::<std::net::IpAddr>().is_err() => first,
        _ => name,
    }
}

/// Takes away what the level does not record.
fn apply(event: &mut Event, level: Level) {
    let n = &*NAMES;
    event.set_str(n.level, level.name());
    if level < Level::Full {
        event.remove(n.changes);
    }
    if level < Level::Params {
        for field in [n.original, n.params, n.query, n.command] {
            event.remove(field);
        }
    }
}

fn understand(event: &mut Event, now: Time, zone: &TimeZone) -> Seen {
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
    if named && !known {
        let seen = event.str(fields::MESSAGE).and_then(firewall::conntrack);
        return seen.unwrap_or_else(|| origin_of(unknown(event), event, "firewall"));
    }
    if !known && !header::take_off(event, now, zone) {
        return origin_of(unknown(event), event, "syslog");
    }
    let journal = event.has(n.unit) || origin.as_deref() == Some("journal");
    let line = lines::Line::of(event);
    let forged = is_person(event) && !speaks_for_root(line.program, event);
    let seen = Some(line)
        .filter(|_| !forged)
        .and_then(lines::understand)
        .unwrap_or_else(|| unknown(event));
    origin_of(seen, event, if journal { "journal" } else { "syslog" })
}

/// Whether it is `sudo` or `su`, which speak with the number of the one who calls them. Anyone may call himself so; the
/// journal knows the file that runs.
fn speaks_for_root(program: &str, event: &Event) -> bool {
    let file = event.str(NAMES.executable).unwrap_or_default();
    let file = file.rsplit('/').next().unwrap_or_default();
    match program {
        "sudo" => matches!(file, "sudo" | "sudo-rs"),
        "su" => file == "su",
        _ => false,
    }
}

/// Whether the journal knows that a person's process wrote it. Anyone may call himself `pvedaemon` there.
fn is_person(event: &Event) -> bool {
    let uid = match event.get(NAMES.uid) {
        Some(ValueRef::Str(text)) => text.parse().ok(),
        Some(ValueRef::Int(uid)) => Some(uid),
        _ => None,
    };
    // 65534 is nobody, under whom daemons run; accounts of a directory have numbers far beyond.
    uid.is_some_and(|uid| uid >= 1000 && uid != 65_534)
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
