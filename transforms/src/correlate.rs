//! `correlate` tells one act as one event: who, what and from where, with the ground of every claim.
//!
//! - in: events of `event_id`; others, and reading over the API, go through untouched
//! - out: the same events. One of each act is `primary`, the others are `evidence` with `pve.links`; primaries have
//!   `source.ip` and `pve.source.{attribution,candidates,evidence,via}`. Records that came twice are left out and counted
//! - state: open tasks, lines of the access log of the last two hours, sessions of two hours, and events that wait for
//!   what belongs to them, at most `max_tasks`, `max_lines` and `max_held`

mod author;
mod basis;
mod begun;
mod bounds;
mod change;
mod client;
mod codec;
mod decide;
mod due;
mod facts;
mod far;
mod fold;
mod follows;
mod handed;
mod hosts;
mod line;
mod login;
mod look;
mod members;
mod names;
mod old;
mod part;
mod polled;
mod pool;
mod refine;
mod relay;
mod resolved;
mod saved;
mod sessions;
mod task;
#[cfg(test)]
mod tests;
mod upids;
mod words;
mod wrote;

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};
use pipeline::{
    BuildError, BuildErrors, Bytes, Context, Event, EventId, LaneId, Language, Outputs, Spanned,
    StateError, Stateful, StatefulConfig, Time, fields,
};
use schemars::JsonSchema;
use serde::Deserialize;
use smallvec::SmallVec;

use change::Change;
use due::Due;
use handed::Handed;
use hosts::Hosts;
use line::Line;
use login::{Console, Login};
use pool::Pools;
use sessions::Sessions;
use task::Task;
use words::Words;

/// One second [ns].
const SECOND: i64 = 1_000_000_000;
/// A held event waits at most so much longer than what it waits for, by our own clock.
const GRACE: std::time::Duration = std::time::Duration::from_secs(5);
/// Lines of calls and their tasks are remembered for so long after they came.
const REMEMBERED: std::time::Duration = std::time::Duration::from_secs(2 * 3600);
/// Tasks that have ended are remembered a little longer than any line that they may claim, and again for as long as one
/// is there: else a late record of somebody else would be taken for the owner of that line.
const OWNERS: std::time::Duration = std::time::Duration::from_secs(2 * 3600 + 15 * 60);
/// An owner whose line is still there is looked at again after this.
const AGAIN: std::time::Duration = std::time::Duration::from_secs(15 * 60);
/// Lines that forked nothing, and what they are joined with.
const COOLING: std::time::Duration = std::time::Duration::from_secs(30 * 60);
/// A task whose end never comes is forgotten after this.
const LONGEST: std::time::Duration = std::time::Duration::from_secs(7 * 86_400);
/// Words of the journal that are remembered, because the cluster log may say them again.
const MOST_SAID: usize = 20_000;
/// Refused lines remembered: what the journal says of one comes within seconds, and anyone can send them without end.
const MOST_REFUSED: usize = 5_000;
/// Consoles remembered for the checks of their tickets.
const MOST_CONSOLES: usize = 1_000;

/// Tells one act as one event: who, what and from where, with the ground of every claim.
///
/// It joins what comes to it: a call that one node relayed to another stands in the access logs of both, and a file of the
/// cluster is seen by all nodes. So a cluster has one of these, behind the sources of all its nodes; one on each node names
/// nobody for what another node relayed. It waits up to 20 s for what belongs together. Where the lists of a node's tasks are
/// read more rarely than every ten seconds (`interval` of `pve_api`) and its journal is not read, nothing is claimed of them.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Addresses of the nodes of the cluster, as `"pve1=192.0.2.11"` or an address alone. A node logs a call that another
    /// one relayed with that node as its client, so these addresses are nobody's. Nodes in `members` need not be named; a
    /// collector that is no node of the cluster and asks no API has no such list, and must be told them here, or it may
    /// take a node for a client.
    cluster_nodes: Vec<Spanned<String>>,
    /// The cluster's own list of its nodes and their addresses. Read where it exists.
    members: PathBuf,
    /// Most tasks remembered; those of which nothing was read for longest go first [tasks].
    max_tasks: usize,
    /// Most lines of the access log remembered; the oldest go first [lines].
    max_lines: usize,
    /// Most memory of all that is remembered or held: a quarter of it at most for lines that wait, a quarter for sessions, an
    /// eighth for words that two sources tell. Where it is full, the oldest go on as they are, and are forgotten.
    max_held: Bytes,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            cluster_nodes: Vec::new(),
            members: "/etc/pve/.members".into(),
            max_tasks: 200_000,
            max_lines: 100_000,
            max_held: Bytes::mib(64),
        }
    }
}

impl StatefulConfig for Config {
    const TYPE: &'static str = "correlate";
    const EXAMPLE: &'static str = r#"cluster_nodes = ["pve1=192.0.2.11", "pve2=192.0.2.12"]"#;

    fn build(&self, cx: &Context) -> Result<Box<dyn Stateful>, BuildErrors> {
        // Events that are read from a saved state find their fields only if these are known before.
        std::sync::LazyLock::force(&names::NAMES);
        std::sync::LazyLock::force(&crate::event_id::names::NAMES);
        let mut errors = BuildErrors::new();
        for (key, least) in [
            ("max_tasks", self.max_tasks),
            ("max_lines", self.max_lines),
            ("max_held", self.max_held.as_usize()),
        ] {
            if least == 0 {
                errors.push(
                    BuildError::key(key, "is nothing, so that no two records are ever joined")
                        .help("write how much is remembered, or leave it out"),
                );
            }
        }
        let mut hosts = Hosts::default();
        for node in &self.cluster_nodes {
            let (name, ip) = match node.split_once('=') {
                Some((name, ip)) => (Some(name.trim()), ip.trim()),
                None => (None, node.trim()),
            };
            match ip.parse::<IpAddr>() {
                Ok(ip) if name != Some("") => hosts.add_member(ip.to_canonical(), name, None),
                _ => errors.push(
                    BuildError::at(node, format!("{:?} is no address of a node", node.get()))
                        .help("write \"pve1=192.0.2.11\", or an address alone"),
                ),
            }
        }
        if hosts.forget_members(Time::MIN) {
            let most = hosts::MOST;
            errors.push(
                BuildError::key(
                    "cluster_nodes",
                    format!("names more than {most} addresses, and no more are known apart"),
                )
                .help("write the addresses by which nodes call each other, and no others"),
            );
        }
        errors.finish(Box::new(Correlate {
            most_tasks: self.max_tasks,
            most_lines: self.max_lines,
            most_size: self.max_held.as_usize(),
            language: cx.language(),
            members: self.members.clone(),
            hosts,
            inventory: Some(pipeline::pve::Inventory::shared(cx.data_dir())),
            ..Correlate::default()
        }))
    }
}

#[derive(Default)]
struct Correlate {
    most_tasks: usize,
    most_lines: usize,
    /// [bytes]
    most_size: usize,
    language: Language,
    members: PathBuf,
    /// When the list of members was read last.
    looked: Option<Time>,
    /// The list as somebody is reading it just now.
    reading: Option<members::Reading>,
    /// It could not be read, which was told.
    unreadable: bool,
    /// Since when something was given up that is not told yet, and how much.
    gave_up: Option<(Time, u64)>,
    /// When it was told last that the cluster has more addresses than are remembered.
    crowded: Option<Time>,
    /// What the sources know of the cluster.
    inventory: Option<Arc<pipeline::pve::Inventory>>,
    hosts: Hosts,
    handed: Handed,
    sessions: Sessions,
    pools: Pools,
    twins: Pools,
    said: Pools,
    said_ids: HashMap<u64, (EventId, Box<str>)>,
    said_keys: VecDeque<(u64, Time, Box<str>)>,
    lines: BTreeMap<u64, Box<Line>>,
    words: Words,
    /// Refused lines among them, the oldest in front.
    refused: VecDeque<u64>,
    line_ids: HashSet<EventId>,
    tasks: BTreeMap<u64, Box<Task>>,
    by_upid: upids::Upids,
    /// Tasks upon a guest, the newest last.
    guests: HashMap<Box<str>, SmallVec<[u64; 2]>>,
    logins: HashMap<u64, Login>,
    login_ids: HashSet<EventId>,
    changes: HashMap<u64, Change>,
    change_ids: HashSet<EventId>,
    /// Differences by what they say of users and rights.
    marks: HashMap<u64, Vec<u64>>,
    consoles: VecDeque<Console>,
    /// Clients of consoles, and when their time is up.
    clients: VecDeque<(Time, Event)>,
    /// What waits, by when it is up, by our own clock.
    due: BTreeMap<(Time, u64), Due>,
    /// Tasks that wait, by when it is up. Lists of tasks are read every few seconds, and of a short one only the end is seen:
    /// that everything up to now was handed over does not mean that every task up to now is known.
    ripe: BTreeMap<(Time, u64), Due>,
    /// Lines of old files, which need not wait for our own clock.
    old: old::Old,
    /// What is forgotten, and when: one list for each of the times that something is remembered (and one for
    /// [`AGAIN`]), the next in front.
    forget: [VecDeque<(Time, Due)>; 5],
    /// Where there are more in these, those that are gone already are taken out.
    most_listed: usize,
    numbers: u64,
    watermark: Option<Time>,
    /// Memory of tasks, lines, logins and changes [bytes].
    size: usize,
    /// Memory of the events of lines that wait, which is part of it [bytes].
    waiting: usize,
    /// Just loaded: what waits has waited enough only after the time it waits for anyhow.
    fresh: bool,
    /// When that was.
    resumed: Option<Time>,
    key: String,
}

impl Stateful for Correlate {
    fn apply(&mut self, event: Event, out: &mut Outputs) {
        self.begin(out);
        self.take(event, out);
        self.expire(out);
    }

    fn apply_all(&mut self, events: &mut Vec<Event>, out: &mut Outputs) -> bool {
        self.begin(out);
        // Reading tells nothing but how far the log of a node was read, and one line of a batch tells that.
        if let Some(line) = events
            .iter()
            .rev()
            .find(|event| event.has(fields::HTTP_STATUS))
            && let Some(host) = line.str(fields::HOST_NAME)
        {
            self.hosts.line(host, line.timestamp());
        }
        let relays = self.hosts.knows_members();
        let Some(first) = events.iter().position(|event| !look::passes(event)) else {
            if relays {
                events.iter_mut().for_each(|event| self.mark_relayed(event));
            }
            self.expire(out);
            return true;
        };
        // What goes on at once keeps its place among the others of its lane.
        let rest = events.split_off(first);
        if relays {
            events.iter_mut().for_each(|event| self.mark_relayed(event));
        }
        for mut event in rest {
            if look::passes(&event) {
                if relays {
                    self.mark_relayed(&mut event);
                }
                events.push(event);
            } else {
                self.take(event, out);
                out.take_emitted(events);
            }
        }
        self.expire(out);
        true
    }

    fn heard(&mut self, lane: LaneId, seen_to: Time) {
        self.handed.hear(lane, seen_to);
    }

    fn advance(&mut self, watermark: Time, out: &mut Outputs) {
        self.begin(out);
        self.watermark = self.watermark.max(Some(watermark));
        self.expire(out);
    }

    fn by_reading(&self) -> bool {
        true
    }

    fn read_to(&mut self, at: Time, out: &mut Outputs) {
        self.old_read_to(at, out);
    }

    fn save(&self, to: &mut Vec<u8>) {
        self.save_all(to);
    }

    fn remembered(&self) -> usize {
        self.tasks.len()
            + self.lines.len()
            + self.sessions.len()
            + self.logins.len()
            + self.changes.len()
    }

    fn load(&mut self, from: &[u8]) -> Result<(), StateError> {
        self.load_all(from)
    }
}

impl Correlate {
    /// What was loaded waits from now on: the time in which the program stood still was nobody's pause.
    fn begin(&mut self, out: &mut Outputs) {
        let now = out.now();
        self.read_members(now, out);
        if !std::mem::take(&mut self.fresh) {
            return;
        }
        self.clients_wait(now);
        self.resumed = Some(now);
        for waiting in [&mut self.due, &mut self.ripe] {
            let first = waiting.keys().next().map(|(time, _)| *time);
            let Some(first) = first.filter(|first| *first < now) else {
                continue;
            };
            let late = now.0 - first.0;
            // The order stays; nobody waits longer than the longest wait.
            *waiting = std::mem::take(waiting)
                .into_iter()
                .map(|((time, no), due)| {
                    ((Time((time.0 + late).min(now.0 + 35 * SECOND)), no), due)
                })
                .collect();
        }
    }

    /// Reading that a node relayed: the address of the node is nobody's, and for a twin of it nobody waits.
    fn mark_relayed(&self, event: &mut Event) {
        let Some(ip) = event.str(fields::SOURCE_IP) else {
            return;
        };
        let Some(node) = self.hosts.member_text(ip) else {
            return;
        };
        let access = event.str(names::NAMES.origin) == Some("access");
        if !access || node.is_some() && node == event.str(fields::HOST_NAME) {
            return;
        }
        let via = node.map(Into::into);
        basis::Basis {
            via,
            ..basis::Basis::none()
        }
        .write(event);
    }

    fn take(&mut self, mut event: Event, out: &mut Outputs) {
        match look::kind(&event) {
            look::Kind::Other => {
                self.mark_relayed(&mut event);
                out.emit(event);
            }
            look::Kind::Task => self.task(event, out),
            look::Kind::Line => self.line(event, out),
            look::Kind::Login | look::Kind::Refusal => self.login(event, out),
            look::Kind::Change => self.change(event, out),
            look::Kind::Difference => self.difference(event, out),
        }
    }

    /// A number for what is remembered; numbers grow.
    fn next(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// A record that is there already.
    fn copy_left_out(&mut self, out: &mut Outputs) {
        out.filtered(1);
        out.duplicates(1);
    }

    /// Lets an event go on with a new sentence.
    fn tell(&mut self, mut event: Event, out: &mut Outputs) {
        if let Some(sentence) = pipeline::catalogue::sentence(&event, self.language) {
            event.set(fields::MESSAGE, sentence);
        }
        out.emit(event);
    }
}
