//! `demo` tells the day of a three-node cluster: logins, tasks, backups at night, polling, an attack, and what all of it
//! leaves in PVE's seven records.
//!
//! - out: what the readers of these records make of them. Lines of the access log, of `auth.log` and of the firewall's log
//!   stand in `message` byte for byte, with `log.file.path`; the journal's entries, tasks, the cluster's log, states and
//!   changes of configuration are the events of `journald`, `pve_tasks`, `pve_api` and `pve_config`, with `pve.origin`
//! - the same seed and start give the same bytes and the same event ids, also after a restart in the middle

mod agenda;
mod attack;
mod changes;
mod entry;
mod machines;
mod maker;
mod month;
mod people;
mod rare;
mod stage;
mod tasks;
#[cfg(test)]
mod tests;
mod text;
mod truth;
mod world;

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use pipeline::pve::Inventory;
use pipeline::{
    BuildError, BuildErrors, Context, Event, LaneId, LineBatch, LineConstants, LineIds, Source,
    SourceConfig, SourceError, SourceOut, Spanned, Stopped, Time,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use entry::{Entry, Log};
use maker::Maker;
use stage::Part;
pub use truth::{Day, Truth};
use world::{Laws, World};

/// Tells the day of a Proxmox VE cluster, without one.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Another number is another day.
    seed: u64,
    /// When the day begins, like `"2026-03-14T22:30:00Z"`; now, where it is not said.
    start: Option<Spanned<String>>,
    /// How long it lasts, like `"24h"`; without end, where it is not said.
    lasts: Option<pipeline::Duration>,
    /// How long the source stays after its last entry, with nothing more to tell; what waits for other records needs that.
    stays: pipeline::Duration,
    /// Entries a second; 0 is as fast as they are taken.
    rate: Spanned<f64>,
    /// How many entries to write before it ends; without end, where it is not said.
    count: Option<u64>,
    /// Nodes of the cluster, 1 to 9.
    nodes: Spanned<usize>,
    /// Whether somebody breaks in at night.
    attacks: bool,
    /// Whether open browsers and the monitoring ask for news all the time, as they do: nine entries of ten.
    noise: bool,
    /// Which records it writes, one or a list: `all`, `access`, `journal`, `syslog`, `firewall`, `tasks`, `cluster`, `config`.
    format: Formats,
    /// How many sources of this graph tell the same day, each its own records: none of them then runs ahead of the others.
    together: usize,
}

/// One or several.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
enum Formats {
    One(Format),
    Many(Vec<Format>),
}

/// Which records it writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Format {
    /// All seven.
    #[default]
    All,
    /// pveproxy's access log.
    Access,
    /// The journal of PVE's daemons.
    Journal,
    /// `auth.log`: ssh, sudo, PAM.
    Syslog,
    /// The firewall's log.
    Firewall,
    /// The task lists.
    Tasks,
    /// The cluster's log, and what guests and nodes are doing.
    Cluster,
    /// The files below `/etc/pve`.
    Config,
}

impl Formats {
    fn has(&self, log: Log) -> bool {
        let is = |format: &Format| match format {
            Format::All => true,
            Format::Access => log == Log::Access,
            Format::Journal => log == Log::Journal,
            Format::Syslog => log == Log::Syslog,
            Format::Firewall => log == Log::Firewall,
            Format::Tasks => log == Log::Tasks,
            Format::Cluster => log == Log::Cluster,
            Format::Config => log == Log::Config,
        };
        match self {
            Formats::One(format) => is(format),
            Formats::Many(formats) => formats.iter().any(is),
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Config {
            seed: 1,
            start: None,
            lasts: None,
            stays: pipeline::Duration::from_secs(0),
            rate: Spanned::from(10.0),
            count: None,
            nodes: Spanned::from(3),
            attacks: true,
            noise: true,
            format: Formats::One(Format::All),
            together: 1,
        }
    }
}

impl SourceConfig for Config {
    const TYPE: &'static str = "demo";
    const EXAMPLE: &'static str =
        "seed = 7\nstart = \"2026-03-14T22:30:00Z\"\nrate = 20\nformat = [\"access\", \"tasks\"]";

    fn build(&self, cx: &Context) -> Result<Box<dyn Source>, BuildErrors> {
        let mut errors = BuildErrors::new();
        let mut start = None;
        if let Some(text) = &self.start {
            start = Time::parse(text.get());
            if start.is_none() {
                let error = BuildError::at(text, format!("\"{}\" is no time", text.get()));
                errors.push(error.help("write it like \"2026-03-14T22:30:00Z\""));
            }
        }
        if !(0.0..=1e9).contains(self.rate.get()) {
            errors.push(BuildError::at(
                &self.rate,
                "must be 0 or more entries a second",
            ));
        }
        if !(1..=9).contains(self.nodes.get()) {
            errors.push(BuildError::at(&self.nodes, "must be 1 to 9"));
        }
        if matches!(&self.format, Formats::Many(formats) if formats.is_empty()) {
            let error = BuildError::key("format", "names no record, so nothing would be written");
            errors.push(error.help("write \"all\", or those you want"));
        }
        errors.finish(Box::new(Demo {
            config: self.clone(),
            cluster: cx.cluster().unwrap_or_default().to_owned(),
            id: cx.id().to_owned(),
            inventory: cx.inventory(),
            start,
        }))
    }
}

struct Demo {
    config: Config,
    cluster: String,
    id: String,
    inventory: Arc<Inventory>,
    start: Option<Time>,
}

/// Where a lane has got to; enough to write the rest of the same day.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Position {
    seed: u64,
    /// [ms since 1970]
    start: i64,
    /// The first entry of the world that this lane has not handed over.
    next: u64,
}

/// One record of one node.
struct Lane {
    id: LaneId,
    constants: LineConstants,
    /// The first entry of the world that is new to it.
    next: u64,
    lines: Option<LineBatch>,
    events: Vec<Event>,
    last_word: Instant,
}

/// Entries made before they are handed over.
const CHUNK: u64 = 1000;
/// The day's own time told before it is handed over, so that records which belong together travel together [ms].
const STEP: i64 = 2000;
/// Between two looks at the clock where there is a rate.
const TICK: Duration = Duration::from_millis(50);

#[async_trait]
impl Source for Demo {
    async fn run(&mut self, mut out: SourceOut) -> Result<(), SourceError> {
        let start = self.begin(&out);
        let mut telling = Telling::new(self, start, &out);
        if let Err(why) = self
            .inventory
            .update(&self.id, truth::names(&telling.world))
        {
            tracing::warn!(component_id = self.id, %why, "the inventory cannot be kept");
        }
        let config = &self.config;
        let part = Part::join((config.seed, start), config.together);
        let rate = *config.rate.get();
        let began = Instant::now();
        let mut held = None;
        while !out.stopping() {
            let due = match rate > 0.0 {
                true => due(began.elapsed(), rate).min(telling.sent + CHUNK),
                false => telling.sent + CHUNK,
            };
            let stop = telling.tell(due, &part, &mut held, &mut out);
            if telling.hand_over(&mut out).await.is_err() {
                return Ok(());
            }
            if stop == Why::Over {
                drop(part);
                return telling.stay(config.stays.get(), &mut out).await;
            }
            if stop == Why::Ahead {
                tokio::select! {
                    () = part.moved() => {}
                    () = out.stopped() => {}
                }
            } else if rate > 0.0 {
                tokio::select! {
                    () = tokio::time::sleep(TICK) => {}
                    () = out.stopped() => {}
                }
            }
        }
        Ok(())
    }
}

impl Demo {
    /// When the day began [ms since 1970]: as the operator says, as it was before a restart, or now.
    fn begin(&self, out: &SourceOut) -> i64 {
        let millis = |time: Time| time.0.div_euclid(1_000_000);
        if let Some(start) = self.start {
            return millis(start);
        }
        let stored = out.positions::<Position>();
        let newest = stored
            .iter()
            .map(|(_, position)| position)
            .filter(|position| position.seed == self.config.seed);
        newest
            .map(|position| position.start)
            .max()
            .unwrap_or_else(|| millis(out.now()))
    }
}

/// The half of an id that is the same for all entries of a day.
fn run(seed: u64, start: i64) -> u64 {
    let mut run = [0; 16];
    run[..8].copy_from_slice(&seed.to_le_bytes());
    run[8..].copy_from_slice(&start.to_le_bytes());
    xxh3_64(&run)
}

/// Why telling pauses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    /// It has told as much as it may at once.
    Enough,
    /// Others, who tell the same day, are not so far.
    Ahead,
    /// The day is over, or its entries are.
    Over,
}

/// A day that is being told.
struct Telling {
    config: Config,
    start: i64,
    /// The first moment that is not of this day [ms since 1970].
    end: i64,
    world: World,
    maker: Maker,
    /// Node by node, record by record.
    lanes: Vec<Lane>,
    written: u64,
    sent: u64,
    text: Vec<u8>,
}

impl Telling {
    fn new(demo: &Demo, start: i64, out: &SourceOut) -> Telling {
        let config = &demo.config;
        let lasts = config.lasts.map_or(i64::MAX, |lasts| {
            i64::try_from(lasts.get().as_millis()).unwrap_or(i64::MAX)
        });
        let world = World::new(Laws {
            seed: config.seed,
            start,
            nodes: *config.nodes.get(),
            attacks: config.attacks,
            noise: config.noise,
            month: false,
        });
        let run = run(config.seed, start);
        let mut lanes = Vec::new();
        for node in &world.nodes {
            for log in Log::ALL {
                let key = format!("{}/{}#{}.{start}", node.name, log.name(), config.seed);
                let position = out.position::<Position>(&key);
                lanes.push(Lane {
                    id: out.lane(&key),
                    constants: LineConstants {
                        host: node.name.clone(),
                        path: log.path().map(str::to_owned),
                        ids: LineIds::Counter(run),
                    },
                    next: position.map_or(0, |position| position.next),
                    lines: None,
                    events: Vec::new(),
                    last_word: Instant::now(),
                });
            }
        }
        Telling {
            config: config.clone(),
            start,
            end: start.saturating_add(lasts),
            world,
            maker: Maker::new(&demo.cluster, run),
            lanes,
            written: 0,
            sent: 0,
            text: Vec::new(),
        }
    }

    /// Tells until `due` entries were sent, or until others have to come up to here. `held` is the entry that may not be
    /// told yet.
    fn tell(
        &mut self,
        due: u64,
        part: &Part,
        held: &mut Option<Entry>,
        out: &mut SourceOut,
    ) -> Why {
        let mut step = None;
        while self.sent < due {
            if self.config.count.is_some_and(|count| self.written >= count) {
                return Why::Over;
            }
            let entry = held.take().unwrap_or_else(|| self.world.next());
            if entry.when >= self.end {
                return Why::Over;
            }
            let ahead = !part.reaches(entry.when);
            if ahead || entry.when >= *step.get_or_insert(entry.when + STEP) {
                *held = Some(entry);
                return if ahead { Why::Ahead } else { Why::Enough };
            }
            let log = entry.what.log();
            if !self.config.format.has(log) {
                continue;
            }
            self.written += 1;
            let lane = &mut self.lanes[Log::ALL.len() * entry.node + log as usize];
            // Handed over before a restart.
            if entry.number < lane.next {
                continue;
            }
            lane.next = entry.number + 1;
            self.sent += 1;
            let node = &self.world.nodes[entry.node].name;
            self.text.clear();
            if self.maker.line(&entry, node, &mut self.text) {
                lane.add(&self.text, entry.number, out);
            } else {
                lane.events.extend(self.maker.event(&entry, node));
            }
        }
        Why::Enough
    }

    /// Has nothing to tell for a while.
    async fn stay(&mut self, long: Duration, out: &mut SourceOut) -> Result<(), SourceError> {
        let until = Instant::now() + long;
        while !out.stopping() && Instant::now() < until {
            tokio::select! {
                () = tokio::time::sleep(4 * TICK) => {}
                () = out.stopped() => {}
            }
            if self.hand_over(out).await.is_err() {
                break;
            }
        }
        Ok(())
    }

    /// Sends what the lanes have; one with nothing to say for a second says that.
    async fn hand_over(&mut self, out: &mut SourceOut) -> Result<(), Stopped> {
        for (n, lane) in self.lanes.iter_mut().enumerate() {
            if !self.config.format.has(Log::ALL[n % Log::ALL.len()]) {
                continue;
            }
            let position = Position {
                seed: self.config.seed,
                start: self.start,
                next: lane.next,
            };
            if let Some(lines) = lane.lines.take() {
                out.send_lines(lane.id, lines, &position).await?;
            } else if !lane.events.is_empty() {
                let events = std::mem::take(&mut lane.events);
                out.send(lane.id, events, &position).await?;
            } else if lane.last_word.elapsed() >= Duration::from_secs(1) {
                out.idle(lane.id).await?;
            } else {
                continue;
            }
            lane.last_word = Instant::now();
        }
        Ok(())
    }
}

impl Lane {
    fn add(&mut self, text: &[u8], number: u64, out: &mut SourceOut) {
        let lines = self.lines.get_or_insert_with(|| out.lines(&self.constants));
        let at = lines.text().len();
        lines.extend(text);
        lines.extend(b"\n");
        lines.line(at..at + text.len(), number);
    }
}

/// Entries that `rate` allows after this long.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the product of two numbers that are not negative"
)]
fn due(elapsed: Duration, rate: f64) -> u64 {
    (elapsed.as_secs_f64() * rate) as u64
}
