//! `demo` writes what a three-node cluster would: logins, tasks, backups at night, polling, and an attack now and then.
//!
//! - out: lines of pveproxy's access log and of the journal, byte for byte as the product writes them, in `message`, with
//!   `host.name` and `log.file.path`
//! - the same seed and start give the same lines and the same event ids, also after a restart in the middle

mod attack;
mod machines;
mod people;
mod tasks;
mod text;
mod world;

use std::time::{Duration, Instant};

use async_trait::async_trait;
use pipeline::{
    BuildError, BuildErrors, Context, LaneId, LineBatch, LineConstants, LineIds, Source,
    SourceConfig, SourceError, SourceOut, Spanned, Stopped, Time,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use world::{Laws, Log, World};

/// Writes what a believable Proxmox VE cluster would, without one.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Another number is another day.
    seed: u64,
    /// When the day begins, like `"2026-03-14T22:30:00Z"`; now, where it is not said.
    start: Option<Spanned<String>>,
    /// Lines a second; 0 is as fast as they are taken.
    rate: Spanned<f64>,
    /// How many lines to write before it ends; without end, where it is not said.
    count: Option<u64>,
    /// Nodes of the cluster, 1 to 9.
    nodes: Spanned<usize>,
    /// Whether somebody breaks in now and then.
    attacks: bool,
    /// Whether open browsers and the monitoring ask for news all the time, as they do: nine lines of ten.
    noise: bool,
    /// Which logs it writes.
    format: Format,
}

/// Which logs it writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Format {
    /// Both.
    #[default]
    All,
    /// pveproxy's access log.
    Access,
    /// The journal, as rsyslog writes it.
    Journal,
}

impl Format {
    fn has(self, log: Log) -> bool {
        match self {
            Format::All => true,
            Format::Access => log == Log::Access,
            Format::Journal => log == Log::Journal,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Config {
            seed: 1,
            start: None,
            rate: Spanned::from(10.0),
            count: None,
            nodes: Spanned::from(3),
            attacks: true,
            noise: true,
            format: Format::All,
        }
    }
}

impl SourceConfig for Config {
    const TYPE: &'static str = "demo";
    const EXAMPLE: &'static str = "seed = 7\nstart = \"2026-03-14T22:30:00Z\"\nrate = 20";

    fn build(&self, _: &Context) -> Result<Box<dyn Source>, BuildErrors> {
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
                "must be 0 or more lines a second",
            ));
        }
        if !(1..=9).contains(self.nodes.get()) {
            errors.push(BuildError::at(&self.nodes, "must be 1 to 9"));
        }
        errors.finish(Box::new(Demo {
            config: self.clone(),
            start,
        }))
    }
}

struct Demo {
    config: Config,
    start: Option<Time>,
}

/// Where a lane has got to; enough to write the rest of the same day.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Position {
    seed: u64,
    /// [ms since 1970]
    start: i64,
    /// The first line of the world that this lane has not handed over.
    next: u64,
}

/// One log of one node.
struct Lane {
    id: LaneId,
    constants: LineConstants,
    /// The first line of the world that is new to it.
    next: u64,
    lines: Option<LineBatch>,
    last_word: Instant,
}

/// Lines made before they are handed over.
const CHUNK: u64 = 1000;
/// Between two looks at the clock where there is a rate.
const TICK: Duration = Duration::from_millis(50);

#[async_trait]
impl Source for Demo {
    async fn run(&mut self, mut out: SourceOut) -> Result<(), SourceError> {
        let start = self.begin(&out);
        let mut lanes = self.lanes(&out, start);
        let config = &self.config;
        let mut world = World::new(Laws {
            seed: config.seed,
            start,
            nodes: *config.nodes.get(),
            attacks: config.attacks,
            noise: config.noise,
        });
        let rate = *config.rate.get();
        let began = Instant::now();
        let (mut counter, mut written, mut sent) = (0_u64, 0_u64, 0_u64);
        let mut text = Vec::new();
        while !out.stopping() {
            let due = if rate > 0.0 {
                due(began.elapsed(), rate).min(sent + CHUNK)
            } else {
                sent + CHUNK
            };
            while sent < due && config.count.is_none_or(|count| written < count) {
                text.clear();
                let (node, log) = world.next(&mut text);
                let number = counter;
                counter += 1;
                if !config.format.has(log) {
                    continue;
                }
                written += 1;
                let lane = &mut lanes[2 * node + usize::from(log == Log::Journal)];
                // Handed over before a restart.
                if number < lane.next {
                    continue;
                }
                lane.add(&text, number, &mut out);
                sent += 1;
            }
            let position = |next| Position {
                seed: config.seed,
                start,
                next,
            };
            if hand_over(&mut lanes, position, &mut out).await.is_err()
                || config.count.is_some_and(|count| written >= count)
            {
                return Ok(());
            }
            if rate > 0.0 {
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

    fn lanes(&self, out: &SourceOut, start: i64) -> Vec<Lane> {
        let seed = self.config.seed;
        let mut run = [0; 16];
        run[..8].copy_from_slice(&seed.to_le_bytes());
        run[8..].copy_from_slice(&start.to_le_bytes());
        let ids = LineIds::Counter(xxh3_64(&run));
        let mut lanes = Vec::new();
        for node in 1..=*self.config.nodes.get() {
            for (log, path) in [
                ("access", "/var/log/pveproxy/access.log"),
                ("journal", "/var/log/syslog"),
            ] {
                let key = format!("pve{node}/{log}#{seed}.{start}");
                lanes.push(Lane {
                    id: out.lane(&key),
                    constants: LineConstants {
                        host: format!("pve{node}"),
                        path: Some(path.to_owned()),
                        ids,
                    },
                    next: out
                        .position::<Position>(&key)
                        .map_or(0, |position| position.next),
                    lines: None,
                    last_word: Instant::now(),
                });
            }
        }
        lanes
    }
}

impl Lane {
    fn add(&mut self, text: &[u8], number: u64, out: &mut SourceOut) {
        let lines = self.lines.get_or_insert_with(|| out.lines(&self.constants));
        let at = lines.text().len();
        lines.extend(text);
        lines.extend(b"\n");
        lines.line(at..at + text.len(), number);
        self.next = number + 1;
    }
}

/// Sends what the lanes have; one with nothing to say for a second says that.
async fn hand_over(
    lanes: &mut [Lane],
    position: impl Fn(u64) -> Position,
    out: &mut SourceOut,
) -> Result<(), Stopped> {
    for lane in lanes {
        if let Some(lines) = lane.lines.take() {
            out.send_lines(lane.id, lines, &position(lane.next)).await?;
        } else if lane.last_word.elapsed() >= Duration::from_secs(1) {
            out.idle(lane.id).await?;
        } else {
            continue;
        }
        lane.last_word = Instant::now();
    }
    Ok(())
}

/// Lines that `rate` allows after this long.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the product of two numbers that are not negative"
)]
fn due(elapsed: Duration, rate: f64) -> u64 {
    (elapsed.as_secs_f64() * rate) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn laws(seed: u64) -> Laws {
        // 2026-03-14T22:30:00Z
        Laws {
            seed,
            start: 1_773_527_400_000,
            nodes: 3,
            attacks: true,
            noise: true,
        }
    }

    fn lines(laws: Laws, n: usize) -> Vec<(usize, Log, String)> {
        let mut world = World::new(laws);
        let mut text = Vec::new();
        let mut line = || {
            text.clear();
            let (node, log) = world.next(&mut text);
            (node, log, String::from_utf8(text.clone()).unwrap())
        };
        (0..n).map(|_| line()).collect()
    }

    #[test]
    fn the_same_seed_writes_the_same_day() {
        assert_eq!(lines(laws(1), 5000), lines(laws(1), 5000));
        assert_ne!(lines(laws(1), 100), lines(laws(2), 100));
    }

    #[test]
    fn every_line_has_the_shape_of_its_log() {
        let access = regex::Regex::new(r#"^(?P<ip>\S+) - (?P<user>.+?) \[\d{2}/\d{2}/\d{4}:\d{2}:\d{2}:\d{2} [+-]\d{4}\] "(?P<req>.*)" (?P<status>\d{3}) (?P<len>\d+|-)$"#).unwrap();
        let journal = regex::Regex::new(
            r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{6}\+01:00 pve[123] [A-Za-z.-]+\[\d+\]: .+$",
        )
        .unwrap();
        let upid = regex::Regex::new(
            r"UPID:pve\d:[0-9A-F]{8}:[0-9A-F]{8,9}:[0-9A-F]{8}:[^:\s/]+:[^:\s/]*:[^:\s/]+:",
        )
        .unwrap();
        for (node, log, text) in lines(laws(3), 50_000) {
            match log {
                Log::Access => assert!(access.is_match(&text), "{text}"),
                Log::Journal => {
                    assert!(journal.is_match(&text), "{text}");
                    assert!(text.contains(&format!(" pve{} ", node + 1)), "{text}");
                    assert_eq!(text.contains("UPID:"), upid.is_match(&text), "{text}");
                }
            }
        }
    }

    #[test]
    fn a_day_holds_what_an_auditor_looks_for() {
        let day = lines(laws(1), 200_000);
        let count = |what: &str| {
            day.iter()
                .filter(|(_, _, text)| text.contains(what))
                .count()
        };
        let destroyed = day
            .iter()
            .filter(|(_, _, text)| text.contains("starting task") && text.contains("destroy:"))
            .count();
        assert!(destroyed >= 4, "{destroyed} guests destroyed");
        assert!(count("rhost=::ffff:203.0.113.") >= 25);
        assert!(count("INFO: Starting Backup") > 10);
        assert!(count("POST /api2/json/access/ticket") > 20);
        assert!(count("vncticket=PVEVNC%3A") > 3);
        assert!(count("\"GET ") > 150_000, "most lines are polling");
        assert!(count(" 403 ") > 0 && count(" 401 ") > 0);
        assert!(count("restore:") > 0);
    }

    #[test]
    fn without_attacks_nothing_is_destroyed() {
        let quiet = Laws {
            attacks: false,
            noise: false,
            ..laws(1)
        };
        assert!(
            !lines(quiet, 20_000)
                .iter()
                .any(|(_, _, text)| text.contains("destroy") || text.contains("203.0.113."))
        );
    }

    #[test]
    fn one_node_is_a_cluster_too() {
        assert!(
            lines(
                Laws {
                    nodes: 1,
                    ..laws(4)
                },
                10_000
            )
            .iter()
            .all(|(node, _, _)| *node == 0)
        );
    }
}
