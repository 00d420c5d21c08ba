//! `journald` reads the systemd journal, by way of `journalctl -o json`.
//!
//! - in: every entry after the stored cursor; journals that were rotated or vacuumed meanwhile are read on at their oldest
//!   entry, and what is missing is told (PVE-9014)
//! - out: `message`, `@timestamp`, `host.*`, `process.*`, `systemd.*`, `log.syslog.*`; all other fields under `journald`,
//!   as are an entry's further messages; one with more than 1024 fields is cut, marked (`pve.truncated`) and counted
//! - text that is not UTF-8 is read as Latin-1, which is what PVE's daemons write, with its bytes in `pve.raw_b64`

mod child;
mod entry;
mod event;
mod place;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use pipeline::told::Told;
use pipeline::{
    BuildError, BuildErrors, Context, Event, LaneId, Source, SourceConfig, SourceError, SourceOut,
    Stopped, Time,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use child::{Child, Line};
use entry::Entry;
use event::Maker;
use place::{Gap, Gaps, Place};

/// The key of the only lane.
const LANE: &str = "journal";
/// Silence is told of this often.
const IDLE: Duration = Duration::from_secs(1);
/// Waits before a `journalctl` that died is started again.
const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// Gaps of one kind are told of this often at most; in between they are counted.
const TELL: Duration = Duration::from_secs(10);

/// Reads the systemd journal, by way of `journalctl`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Units whose entries are read, without `.service` where it is that; all others are not. With it, or with
    /// `include_matches`, a hole in the numbers of entries cannot be seen.
    include_units: Vec<String>,
    /// Units whose entries are left out.
    exclude_units: Vec<String>,
    /// Fields and the values of which an entry must have one: `{ _TRANSPORT = ["kernel"] }`. Several fields must all agree.
    include_matches: BTreeMap<String, Vec<String>>,
    /// Fields and values with which an entry is left out.
    exclude_matches: BTreeMap<String, Vec<String>>,
    /// Only what was written since the machine started. After a reboot, what was not read before is not read any more.
    current_boot_only: bool,
    /// Without a stored position, begin with what is written from now on.
    since_now: bool,
    /// A folder with journal files, instead of this machine's own.
    journal_directory: Option<PathBuf>,
    /// A journal namespace, instead of the default one.
    journal_namespace: Option<String>,
    /// The program that reads the journal.
    journalctl_path: PathBuf,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            include_units: Vec::new(),
            exclude_units: Vec::new(),
            include_matches: BTreeMap::new(),
            exclude_matches: BTreeMap::new(),
            current_boot_only: false,
            since_now: false,
            journal_directory: None,
            journal_namespace: None,
            journalctl_path: PathBuf::from("journalctl"),
        }
    }
}

impl SourceConfig for Config {
    const TYPE: &'static str = "journald";
    const EXAMPLE: &'static str =
        r#"include_units = ["pvedaemon", "pveproxy", "pve-cluster", "pve-firewall", "ssh"]"#;

    fn build(&self, cx: &Context) -> Result<Box<dyn Source>, BuildErrors> {
        let mut errors = BuildErrors::new();
        for (key, matches) in [
            ("include_matches", &self.include_matches),
            ("exclude_matches", &self.exclude_matches),
        ] {
            for (field, values) in matches {
                let good = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_';
                if field.is_empty() || !field.bytes().all(good) {
                    let message = format!("{field:?} cannot be a field of the journal");
                    errors.push(BuildError::key(key, message).help(
                        "names are capital letters, digits and _, like _SYSTEMD_UNIT or PRIORITY",
                    ));
                }
                if values.is_empty() {
                    errors.push(
                        BuildError::key(key, format!("{field} has no value, so nothing matches"))
                            .help(format!("write {field} = [\"…\"]")),
                    );
                }
            }
        }
        let units = |units: &[String]| units.iter().map(|unit| whole(unit)).collect::<Vec<_>>();
        let (included, excluded) = (units(&self.include_units), units(&self.exclude_units));
        for unit in included.iter().filter(|unit| excluded.contains(unit)) {
            errors.push(
                BuildError::key(
                    "exclude_units",
                    format!("{unit} is included and excluded at once"),
                )
                .help("take it out of one of the two lists"),
            );
        }
        let mut included_fields = self.include_matches.clone();
        if !included.is_empty() {
            included_fields
                .entry(UNIT.to_owned())
                .or_default()
                .extend(included);
        }
        let mut excluded_fields = self.exclude_matches.clone();
        if !excluded.is_empty() {
            excluded_fields
                .entry(UNIT.to_owned())
                .or_default()
                .extend(excluded);
        }
        let source = Journald {
            id: cx.id().to_owned(),
            included: included_fields,
            excluded: excluded_fields,
            config: self.clone(),
            maker: Maker::new(cx.cluster().unwrap_or_default(), cx.host()),
        };
        errors.finish(Box::new(source) as Box<dyn Source>)
    }
}

const UNIT: &str = "_SYSTEMD_UNIT";

/// A unit's whole name.
fn whole(unit: &str) -> String {
    match unit.contains('.') {
        true => unit.to_owned(),
        false => format!("{unit}.service"),
    }
}

struct Journald {
    id: String,
    config: Config,
    /// Left to `journalctl`.
    included: BTreeMap<String, Vec<String>>,
    excluded: BTreeMap<String, Vec<String>>,
    maker: Maker,
}

/// Where reading goes on.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Position {
    cursor: String,
    place: Place,
}

#[async_trait]
impl Source for Journald {
    async fn run(&mut self, out: SourceOut) -> Result<(), SourceError> {
        let position: Option<Position> = out.position(LANE);
        let mut reading = Reading {
            lane: out.lane(LANE),
            gaps: Gaps::new(self.included.is_empty()),
            source: self,
            out,
            position,
            untold: BTreeMap::new(),
        };
        match reading.run().await {
            Ok(()) | Err(End::Stopped) => Ok(()),
            Err(End::Failed(why)) => Err(SourceError(why)),
        }
    }
}

/// Why reading ended.
enum End {
    Stopped,
    Failed(String),
}

impl From<Stopped> for End {
    fn from(_: Stopped) -> Self {
        End::Stopped
    }
}

/// One run.
struct Reading<'s> {
    source: &'s Journald,
    out: SourceOut,
    lane: LaneId,
    /// Of the last entry that was handed over.
    position: Option<Position>,
    gaps: Gaps,
    /// When gaps of a kind were told of last, and how many were not since.
    untold: BTreeMap<&'static str, (Instant, u64)>,
}

impl Reading<'_> {
    async fn run(&mut self) -> Result<(), End> {
        self.look_for_the_place().await?;
        let mut wait = FIRST_WAIT;
        loop {
            let began = Instant::now();
            let mut child = Child::start(&self.arguments(), &self.source.config.journalctl_path)
                .map_err(End::Failed)?;
            let some = self.follow(&mut child).await?;
            let why = child.last_words().await;
            if !some {
                // It has not read one entry: nothing that it could be started again for at once.
                return Err(End::Failed(why));
            }
            tracing::warn!(
                component_id = self.source.id,
                why,
                "journalctl ended; it is started again where it was"
            );
            self.out
                .metrics()
                .error("journalctl_ended", pipeline::telemetry::Stage::Receiving, 1);
            if began.elapsed() > LONGEST_WAIT {
                wait = FIRST_WAIT;
            }
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.out.stopped() => return Err(End::Stopped),
            }
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    /// What every call of `journalctl` begins with.
    fn journal(&self) -> Vec<String> {
        let config = &self.source.config;
        // Not `--quiet`: that it may not read everything must be heard.
        let mut arguments: Vec<String> = ["--output=json", "--all", "--no-pager"]
            .map(str::to_owned)
            .to_vec();
        if let Some(folder) = &config.journal_directory {
            arguments.push(format!("--directory={}", folder.display()));
        }
        if let Some(namespace) = &config.journal_namespace {
            arguments.push(format!("--namespace={namespace}"));
        }
        arguments
    }

    fn arguments(&self) -> Vec<String> {
        let config = &self.source.config;
        let mut arguments = self.journal();
        arguments.push("--follow".to_owned());
        match &self.position {
            // The entry itself comes once more and is left out here: `--after-cursor` leaves out the next one instead
            // when the entry is gone, at least in some versions.
            Some(position) => arguments.extend([
                "--no-tail".to_owned(),
                format!("--cursor={}", position.cursor),
            ]),
            None if config.since_now => arguments.push("--lines=0".to_owned()),
            None => arguments.push("--no-tail".to_owned()),
        }
        if config.current_boot_only {
            arguments.push("--boot".to_owned());
        }
        for (field, values) in &self.source.included {
            arguments.extend(values.iter().map(|value| format!("{field}={value}")));
        }
        arguments
    }

    /// Whether the entry at which reading goes on is still there; if not, what is missing is told.
    async fn look_for_the_place(&mut self) -> Result<(), End> {
        let Some(position) = self.position.clone() else {
            return Ok(());
        };
        let mut arguments = self.journal();
        arguments.extend([
            format!("--cursor={}", position.cursor),
            "--lines=1".to_owned(),
        ]);
        let mut child =
            Child::start(&arguments, &self.source.config.journalctl_path).map_err(End::Failed)?;
        let mut first = None;
        loop {
            tokio::select! {
                () = self.out.stopped() => return Err(End::Stopped),
                more = child.read() => if !more.map_err(End::Failed)? { break },
            }
            while let Some(line) = child.line() {
                if let Line::Whole(text) = line
                    && let Ok(entry) = Entry::read(text)
                {
                    first = first.or_else(|| entry.place());
                }
            }
        }
        let well = child.ended_well().await;
        match first {
            Some(first) => {
                if let Some(gap) = self.gaps.resume(&position.place, &first) {
                    self.tell(&gap);
                }
                Ok(())
            }
            None if well => {
                // Nothing is left of it, and nothing came after it.
                let gap = self.gaps.emptied(&position.place);
                self.tell(&gap);
                Ok(())
            }
            None => Err(End::Failed(child.last_words().await)),
        }
    }

    /// Reads until the program ends; whether there was anything to read.
    async fn follow(&mut self, child: &mut Child) -> Result<bool, End> {
        let mut some = false;
        loop {
            let more = tokio::select! {
                () = self.out.stopped() => return Err(End::Stopped),
                more = tokio::time::timeout(IDLE, child.read()) => more,
            };
            match more {
                Ok(Ok(true)) => {}
                Ok(Ok(false)) => return Ok(some),
                Ok(Err(why)) => return Err(End::Failed(why)),
                Err(_) => {
                    self.out.idle(self.lane).await?;
                    continue;
                }
            }
            let (mut events, mut bytes) = (Vec::new(), 0);
            let before = self.position.as_ref().map(|p| p.cursor.clone());
            let now = self.out.now();
            while let Some(line) = child.line() {
                bytes += line.len();
                self.take(line, now, &mut events);
            }
            self.out
                .metrics()
                .received_bytes
                .add(["journald"], bytes as u64);
            let Some(position) = self.position.clone() else {
                continue;
            };
            if events.is_empty() && before.as_ref() == Some(&position.cursor) {
                continue;
            }
            some = true;
            self.out.send(self.lane, events, &position).await?;
        }
    }

    fn take(&mut self, line: Line<'_>, now: Time, events: &mut Vec<Event>) {
        let maker = &self.source.maker;
        let entry = match &line {
            Line::Whole(text) => Entry::read(text),
            Line::Head(..) => Err("it is longer than 32 MiB".to_owned()),
        };
        let entry = match entry {
            Ok(entry) => entry,
            Err(why) => {
                self.out
                    .metrics()
                    .error("parser_failed", pipeline::telemetry::Stage::Receiving, 1);
                let (event, cursor) = maker.broken(&line, &why, now);
                if let Some(position) = cursor.and_then(Position::of) {
                    self.position = Some(position);
                }
                events.push(event);
                return;
            }
        };
        let Some((cursor, place)) = entry.cursor().map(str::to_owned).zip(entry.place()) else {
            // Every entry has a cursor; without one there is nothing to tell it from others.
            let (event, _) = maker.broken(&line, "it has no cursor", now);
            events.push(event);
            return;
        };
        if self
            .position
            .as_ref()
            .is_some_and(|last| last.place.is_same(&place))
        {
            return;
        }
        if let Some(gap) = self.gaps.next(&place) {
            self.tell(&gap);
        }
        if let Some(gap) = entry.suppressed(&place) {
            self.tell(&gap);
        }
        self.position = Some(Position { cursor, place });
        let excluded = self.source.excluded.iter();
        let mut excluded =
            excluded.flat_map(|(field, values)| values.iter().map(move |v| (field, v)));
        if excluded.any(|(field, value)| entry.has(field, value)) {
            return;
        }
        if entry.left_out > 0 {
            self.out
                .metrics()
                .error("fields_left_out", pipeline::telemetry::Stage::Receiving, 1);
        }
        events.push(maker.event(entry, now));
    }

    /// A gap is counted, and told of unless one of its kind was just told of.
    fn tell(&mut self, gap: &Gap) {
        let metrics = self.out.metrics();
        metrics.gaps.add([gap.kind], 1);
        let now = Instant::now();
        let before = match self.untold.get_mut(gap.kind) {
            Some((at, untold)) if now.duration_since(*at) < TELL => {
                *untold += 1;
                return;
            }
            Some((_, untold)) => std::mem::take(untold),
            None => 0,
        };
        self.untold.insert(gap.kind, (now, 0));
        let mut why = gap.to_string();
        if before > 0 {
            why.push_str(&format!(
                "; {before} more since the last time this was told"
            ));
        }
        tracing::error!(component_id = self.source.id, kind = gap.kind, "{why}");
        metrics.tell(
            Told::new("PVE-9014", format!("Input is missing: {why}"))
                .failed(why)
                .object("source", self.source.id.clone()),
        );
    }
}

impl Position {
    /// The position that a cursor stands for.
    fn of(cursor: String) -> Option<Position> {
        let place = Place::of_cursor(&cursor)?;
        Some(Position { cursor, place })
    }
}
