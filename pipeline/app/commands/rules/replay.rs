//! `rules run --replay`: what the rules, or changed ones, would have made of events that are past.

mod merge;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::PathBuf;
use std::sync::Arc;

use pipeline::{Event, Time, ValueRef};
use sinks::sqlite::{Filter, Reader};
use transforms::anomaly::{LeftOut, Replay};
use transforms::rules::{Path, RuleSet};

use super::{From, unknown};
use crate::commands::query;
use crate::exit::Exit;
use crate::say;

/// Event time lies so far behind the newest event [ns].
const BEHIND: i64 = 10 * pipeline::clock::SECOND;

/// Arguments of `rules run`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Files of events, one JSON object a line; they are read side by side, in the order of their time. Without one, the search
    /// store.
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Over what is past; nothing is written and nobody is told.
    #[arg(long, required = true)]
    replay: bool,
    /// From this time on: `2026-03-01`, `2026-03-01T08:00:00Z`.
    #[arg(long = "from", value_name = "TIME", value_parser = time)]
    since: Option<Time>,
    /// Up to this time.
    #[arg(long, value_name = "TIME", value_parser = time)]
    to: Option<Time>,
    /// The last so long, like 7d, counted from now.
    #[arg(long, value_name = "TIME", conflicts_with = "since")]
    last: Option<pipeline::Duration>,
    /// Only this rule.
    #[arg(long, value_name = "ID")]
    rule: Option<String>,
    /// The file of the store.
    #[arg(long, value_name = "FILE", conflicts_with = "files")]
    store: Option<PathBuf>,
    /// Each alert, not only their number.
    #[arg(long)]
    alerts: bool,
    #[command(flatten)]
    from: From,
}

fn time(text: &str) -> Result<Time, String> {
    let whole = match text.len() {
        10 => format!("{text}T00:00:00Z"),
        _ => text.to_owned(),
    };
    Time::parse(&whole)
        .ok_or_else(|| "write a time like 2026-03-01 or 2026-03-01T08:00:00Z".to_owned())
}

/// 0 done, 2 failed, 78 a rule cannot be loaded.
pub(super) fn run(args: &Args) -> Result<Exit, Exit> {
    let (walk, exit) = walk(args)?;
    if let Some(walk) = walk {
        say::write(&table(&walk, args));
    }
    Ok(exit)
}

/// Everything but the telling.
pub(super) fn walk(args: &Args) -> Result<(Option<Walk>, Exit), Exit> {
    let found = args.from.find()?;
    let (set, told) = RuleSet::load(&found.options, &found.cx);
    if !told.is_empty() {
        say::aside(&told.render(say::colour_on_stderr()));
    }
    if told.errors() > 0 {
        return Ok((None, Exit::BadConfig));
    }
    if let Some(id) = &args.rule
        && set.rule(id).is_none()
    {
        return Err(unknown(&set, id));
    }
    let set = Arc::new(set);
    let cluster = found.cluster.as_deref().unwrap_or("default");
    let now = pipeline::Clock::system().now();
    let mut walk = Walk {
        replay: Replay::within(&set, cluster, found.budget),
        set,
        since: args.since.unwrap_or(Time::MIN),
        to: args.to.unwrap_or(Time(i64::MAX)),
        now,
        created: Path::new("event.created"),
        events: 0,
        newest: i64::MIN,
    };
    if let Some(last) = args.last {
        walk.since = Time(now.0.saturating_sub(last.as_nanos()));
    }
    if args.files.is_empty() {
        walk.store(args)?;
    } else {
        walk.files(&args.files)?;
    }
    walk.replay.end(args.to.map(|to| to.min(now)));
    walk.replay.flush();
    Ok((Some(walk), Exit::Done))
}

pub(super) struct Walk {
    pub(super) replay: Replay,
    set: Arc<RuleSet>,
    since: Time,
    to: Time,
    now: Time,
    created: Path,
    events: u64,
    newest: i64,
}

impl Walk {
    fn see(&mut self, event: &Event) {
        let at = event.timestamp();
        if at < self.since || at >= self.to {
            return;
        }
        self.events += 1;
        let at = self.replay.see(event, self.arrived(event));
        if at.0 > self.newest {
            self.newest = at.0;
            self.replay.advance(Time(at.0.saturating_sub(BEHIND)));
        }
    }

    /// When it was read. Where nothing says so it was not read before its own time, unless that is yet to come: then its clock
    /// is wrong, and it came with those around it.
    fn arrived(&self, event: &Event) -> Time {
        let created = self.created.first(event, |value| match value {
            ValueRef::Time(time) => Some(time),
            ValueRef::Str(text) => Time::parse(text),
            _ => None,
        });
        let newest = Time(self.newest.max(self.since.0));
        match created.flatten() {
            Some(created) if created <= self.now => created,
            _ if event.timestamp() > self.now => newest,
            _ => event.timestamp(),
        }
    }

    fn json(&mut self, text: &str, place: &dyn std::fmt::Display) -> Result<(), Exit> {
        let event = serde_json::from_str(text)
            .map_err(|why| why.to_string())
            .and_then(Event::from_json);
        match event {
            Ok(event) => {
                self.see(&event);
                Ok(())
            }
            Err(why) => {
                say::error(format!("{place}: is no event: {why}"));
                Err(Exit::Failed)
            }
        }
    }

    /// All files together in the order of time; of the same time those of the first file first.
    fn files(&mut self, files: &[PathBuf]) -> Result<(), Exit> {
        let mut lines = merge::Lines::open(files, self.now)?;
        while let Some(line) = lines.next()? {
            self.json(&line.text, &line.place(files))?;
        }
        Ok(())
    }

    fn store(&mut self, args: &Args) -> Result<(), Exit> {
        let store = query::store(&args.from.config, args.store.as_deref())?;
        let reader = store.open()?;
        let filter = Filter {
            from: (self.since > Time::MIN).then_some(self.since),
            to: (self.to < Time(i64::MAX)).then_some(self.to),
            ..Filter::default()
        };
        let read = self.rows(&reader, &filter);
        store.leave_trace(self.events);
        read
    }

    fn rows(&mut self, reader: &Reader, filter: &Filter) -> Result<(), Exit> {
        let mut bodies = reader.bodies();
        let mut failed = None;
        let walked = reader.rows(filter, 0, &mut |row| {
            let place = row.id_hex();
            let read = match bodies.json(row) {
                Ok(json) => self.json(json, &place),
                Err(why) => {
                    say::error(why);
                    Err(Exit::Failed)
                }
            };
            failed = read.err();
            failed.is_none()
        });
        if let Err(why) = walked {
            say::error(why);
            return Err(Exit::Failed);
        }
        failed.map_or(Ok(()), Err)
    }
}

/// Alerts by day and rule.
fn table(walk: &Walk, args: &Args) -> String {
    let wanted = |rule: &str| args.rule.as_deref().is_none_or(|id| id == rule);
    let mut days: BTreeSet<String> = BTreeSet::new();
    let mut counts: BTreeMap<(String, String), u64> = BTreeMap::new();
    let mut recorded = 0;
    let mut out = String::new();
    // What only feeds other rules alerts nobody.
    let tells = |id: &str| {
        walk.set
            .rule(id)
            .is_some_and(|rule| !rule.internal && rule.enabled)
    };
    let told = walk
        .replay
        .alerts()
        .filter(|alert| tells(&alert.rule) && wanted(&alert.rule));
    for alert in told {
        let day = alert.opened.to_string()[..10].to_owned();
        *counts
            .entry((alert.rule.to_string(), day.clone()))
            .or_default() += 1;
        days.insert(day);
        recorded += u64::from(alert.record_only);
        if args.alerts {
            _ = writeln!(
                out,
                "{}  {}  {:<8}  {}  {}  {} events  first {}  last {}  {}",
                alert.opened,
                if alert.record_only {
                    "record"
                } else {
                    "notify"
                },
                alert.severity,
                alert.rule,
                pipeline::printable(&alert.group),
                alert.count,
                alert.first.1,
                alert.last.1,
                alert.id
            );
        }
    }
    let rules: BTreeSet<&String> = counts.keys().map(|(rule, _)| rule).collect();
    let width = rules
        .iter()
        .map(|rule| rule.len())
        .max()
        .unwrap_or(4)
        .max(4);
    _ = write!(out, "{:<width$}", "RULE");
    for day in &days {
        _ = write!(out, "  {day}");
    }
    out.push_str("       all\n");
    for rule in &rules {
        _ = write!(out, "{rule:<width$}");
        let mut all = 0;
        for day in &days {
            let count = counts
                .get(&((*rule).clone(), day.clone()))
                .copied()
                .unwrap_or(0);
            all += count;
            _ = write!(out, "  {count:>10}");
        }
        _ = writeln!(out, "  {all:>8}");
    }
    let alerts: u64 = counts.values().sum();
    _ = write!(out, "{} events, {alerts} alerts", walk.events);
    if recorded > 0 {
        _ = write!(out, ", {recorded} of them are recorded and sent to nobody");
    }
    out.push('\n');
    let LeftOut {
        late,
        evicted,
        ahead,
    } = walk.replay.left_out();
    for (number, what) in [
        (
            late,
            "matches came too late for their windows and were not judged; give the files in the order of their time",
        ),
        (
            evicted,
            "groups were given up to stay within state_budget and max_groups: alerts may be missing",
        ),
        (
            ahead,
            "events have a clock that was ahead; they counted as of when they were read",
        ),
    ] {
        if number > 0 {
            _ = writeln!(out, "{number} {what}");
        }
    }
    out
}
