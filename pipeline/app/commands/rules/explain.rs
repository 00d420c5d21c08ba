//! `rules explain`: one event against one rule.

use std::fmt::Write;
use std::io::Read;
use std::path::{Path, PathBuf};

use pipeline::{Event, printable};
use transforms::rules::{self, Explanation, Rule};

use super::{From, unknown};
use crate::commands::query;
use crate::exit::Exit;
use crate::say;

/// Largest event that is read [bytes].
const LARGEST: u64 = 16 << 20;

/// Arguments of `rules explain`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The rule's id or name.
    #[arg(value_name = "ID")]
    id: String,
    /// A file with one event as JSON, `-` for standard input, or the id of an event in the search store.
    #[arg(long, value_name = "FILE|-|EVENT_ID")]
    event: String,
    /// The file of the store, for an event id.
    #[arg(long, value_name = "FILE")]
    store: Option<PathBuf>,
    #[command(flatten)]
    from: From,
}

/// 0 it is a match, 1 it is none.
pub(super) fn run(args: &Args) -> Result<Exit, Exit> {
    // Rules make their fields known before the event is read.
    let set = args.from.load()?;
    let named = || set.rules().iter().find(|rule| *rule.name == *args.id);
    let Some(rule) = set.rule(&args.id).or_else(named) else {
        return Err(unknown(&set, &args.id));
    };
    let event = event(args)?;
    let told = rule.explain(&event);
    say::write(&text(rule, &event, &told));
    Ok(if told.matches && rules::sees(&event) {
        Exit::Done
    } else {
        Exit::Found
    })
}

fn event(args: &Args) -> Result<Event, Exit> {
    let failed = |why: String| {
        say::error(why);
        Exit::Failed
    };
    let mut text = String::new();
    if args.event == "-" {
        let read = std::io::stdin().take(LARGEST).read_to_string(&mut text);
        read.map_err(|why| failed(format!("standard input: {why}")))?;
    } else if Path::new(&args.event).exists() {
        let file = std::fs::File::open(&args.event);
        let read = file.and_then(|file| file.take(LARGEST).read_to_string(&mut text));
        read.map_err(|why| failed(format!("{}: {why}", printable(&args.event))))?;
    } else if args.event.len() >= 4 && args.event.bytes().all(|c| c.is_ascii_hexdigit()) {
        text = query::one_event(&args.from.config, args.store.as_deref(), &args.event)?;
    } else {
        let what = printable(&args.event);
        return Err(failed(format!(
            "{what} is neither a file nor the id of an event; write \"-\" for standard input"
        )));
    }
    let json = serde_json::from_str(&text)
        .map_err(|why| failed(format!("the event is no JSON: {why}")))?;
    Event::from_json(json).map_err(failed)
}

fn text(rule: &Rule, event: &Event, told: &Explanation) -> String {
    let mut out = String::new();
    let mark = |holds: bool| if holds { "yes" } else { "no " };
    _ = writeln!(
        out,
        "{} {} on event {} of {}\n",
        rule.id,
        printable(&rule.name),
        event.id(),
        event.timestamp()
    );
    if !rules::sees(event) {
        _ = writeln!(
            out,
            "no   rules see primary events only (pve.record = \"primary\"), and no alerts"
        );
    }
    if !rule.enabled {
        _ = writeln!(out, "no   the rule is switched off");
    }
    for one in &told.selections {
        let role = if one.excludes {
            " (takes the event out where it holds)"
        } else {
            ""
        };
        _ = writeln!(out, "{}  {}{role}", mark(one.holds), printable(&one.name));
        for (n, tests) in one.either.iter().enumerate() {
            if n > 0 {
                _ = writeln!(out, "     or");
            }
            for line in tests {
                let found = match line.found.as_slice() {
                    [] => "the event has no such field".to_owned(),
                    found => format!("found {}", found.join(", ")),
                };
                _ = writeln!(
                    out,
                    "     {}  {}: {}",
                    mark(line.holds),
                    printable(&line.test),
                    printable(&found)
                );
            }
        }
    }
    if let Some(when) = rule.source.lines().find(|line| line.starts_with("when = ")) {
        _ = writeln!(out, "\n{}", printable(when));
    }
    if let Some(in_time) = told.in_time {
        _ = writeln!(
            out,
            "{}  the time is {}allowed by the calendar",
            mark(in_time),
            if in_time { "" } else { "not " }
        );
    }
    match &told.group {
        Some(group) => _ = writeln!(out, "group {}", printable(group)),
        None => _ = writeln!(out, "no   it has not all fields of group_by"),
    }
    let verdict = match (
        told.matches && rules::sees(event) && rule.enabled,
        rule.timespan.is_zero(),
    ) {
        (true, true) => "it is a match",
        (true, false) => "it is a match, and counts in its window",
        (false, _) => "it is no match",
    };
    _ = writeln!(out, "\n{verdict}");
    out
}
