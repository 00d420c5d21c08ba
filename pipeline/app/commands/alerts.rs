//! `pvetrail alerts`: what was raised, what stands, how often, and of what nobody is to be told for a while.
//!
//! Alerts are read from the store that the `sqlite` sink writes, where each transition is an event (`PVE-9101` to `9103`);
//! silences lie in the folder of data, where the running program finds them within a second.

mod fold;
mod silence;

use clap::Subcommand;
use pipeline::{EventId, Time};
use serde_json::{Value, json};
use sinks::sqlite::{Filter, Reader};

use super::query::out::{Cell, Format, Out};
use super::query::when::Zone;
use super::query::{Place, failed};
use crate::exit::Exit;
use crate::say;

use fold::Alert;

/// Arguments of `alerts`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// The alerts, the newest last.
    Ls(Ls),
    /// One alert: what, who, from where, its transitions and its events.
    Show(Show),
    /// How many alerts, by severity and rule.
    Summary(Summary),
    /// Hold back messages about some alerts for a while; the alerts themselves are recorded all the same.
    #[command(subcommand)]
    Silence(silence::What),
}

/// How it is shown.
#[derive(Clone, Debug, clap::Args)]
struct Look {
    #[command(flatten)]
    place: Place,
    /// Whose clock: `UTC`, `local`, `Europe/Berlin`.
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    zone: Zone,
    /// table, json, ndjson, csv.
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: Format,
}

#[derive(Debug, clap::Args)]
struct Ls {
    #[command(flatten)]
    look: Look,
    /// Alerts of which something happened in the last so many hours or days.
    #[arg(long, alias = "last", value_name = "DURATION", default_value = "24h")]
    since: pipeline::Duration,
    /// Only those that stand.
    #[arg(long)]
    open: bool,
    /// Only of these rules: `PVR-201`.
    #[arg(long, value_name = "RULE", value_delimiter = ',')]
    rule: Vec<String>,
    /// Only of these severities.
    #[arg(long, value_name = "SEVERITY", value_delimiter = ',', value_parser = ["info", "low", "medium", "high", "critical"])]
    severity: Vec<String>,
}

#[derive(Debug, clap::Args)]
struct Show {
    #[command(flatten)]
    look: Look,
    /// The id of the alert, or its beginning.
    id: String,
}

#[derive(Debug, clap::Args)]
struct Summary {
    #[command(flatten)]
    look: Look,
    /// Alerts raised in the last so many hours or days.
    #[arg(long, alias = "last", value_name = "DURATION", default_value = "24h")]
    since: pipeline::Duration,
}

/// 0 found, 1 nothing found, 2 failed, 78 bad configuration.
pub(crate) fn run(args: &Args) -> Exit {
    pipeline::Catalogue::builtin();
    let done = match &args.what {
        What::Ls(args) => ls(args),
        What::Show(args) => show(args),
        What::Summary(args) => summary(args),
        What::Silence(what) => silence::run(what),
    };
    done.unwrap_or_else(|exit| exit)
}

fn back(span: pipeline::Duration) -> Time {
    let now = pipeline::Clock::system().now();
    Time(now.0.saturating_sub(span.as_nanos()))
}

/// The transitions of alerts since then.
fn transitions(since: Option<Time>) -> Filter {
    Filter {
        kinds: vec!["alert".to_owned()],
        codes: ["PVE-9101", "PVE-9102", "PVE-9103"]
            .map(str::to_owned)
            .to_vec(),
        from: since,
        ..Filter::default()
    }
}

fn ls(args: &Ls) -> Result<Exit, Exit> {
    let store = args.look.place.find()?;
    let reader = store.open()?;
    let mut alerts = fold::alerts(&reader, &transitions(Some(back(args.since))))?;
    let rule = |alert: &Alert| {
        args.rule.is_empty()
            || args
                .rule
                .iter()
                .any(|rule| rule.eq_ignore_ascii_case(&alert.rule))
    };
    let severity =
        |alert: &Alert| args.severity.is_empty() || args.severity.contains(&alert.severity);
    alerts.retain(|alert| (!args.open || alert.open) && rule(alert) && severity(alert));
    let zone = &args.look.zone;
    let names = vec![
        "opened", "state", "severity", "rule", "name", "user", "source", "basis", "object", "node",
        "count", "last", "id",
    ];
    let mut out = Out::new(args.look.format, names);
    for alert in &alerts {
        let time = |at: Time| match args.look.format {
            Format::Table => zone.short(at),
            _ => zone.exact(at),
        };
        let goes_on = match args.look.format {
            Format::Json | Format::Ndjson => out.json(&alert.newest),
            Format::Table | Format::Csv => out.row(&[
                Cell::Owned(time(alert.opened)),
                Cell::Text(alert.state()),
                Cell::Text(&alert.severity),
                Cell::Text(&alert.rule),
                Cell::Text(&alert.name),
                Cell::Owned(alert.says("/user/id")),
                Cell::Owned(alert.says("/source/ip")),
                Cell::Owned(alert.says("/pve/source/attribution")),
                Cell::Owned(alert.object()),
                Cell::Owned(alert.says("/host/name")),
                Cell::Number(alert.count),
                Cell::Owned(time(alert.last)),
                Cell::Text(&alert.id),
            ]),
        };
        if !goes_on {
            break;
        }
    }
    let rows = out.finish()?;
    end(&store, &reader, rows)
}

fn end(store: &super::query::Store, reader: &Reader, rows: u64) -> Result<Exit, Exit> {
    if rows == 0 {
        match reader.span() {
            Ok(Some((first, last))) => {
                say::aside(&format!("no alerts; the store holds {first} to {last}\n"))
            }
            _ => say::aside("no alerts; the store is empty\n"),
        }
    }
    store.leave_trace(rows);
    Ok(if rows == 0 { Exit::Found } else { Exit::Done })
}

fn summary(args: &Summary) -> Result<Exit, Exit> {
    let store = args.look.place.find()?;
    let reader = store.open()?;
    let since = back(args.since);
    let mut alerts = fold::alerts(&reader, &transitions(Some(since)))?;
    alerts.retain(|alert| alert.opened >= since);
    let held = fold::held_back(&reader, since)?;
    let totals = fold::totals(&alerts, &held);
    let names = vec![
        "severity",
        "rule",
        "name",
        "alerts",
        "open",
        "events",
        "held_back",
        "first",
        "last",
    ];
    let mut out = Out::new(args.look.format, names);
    for total in &totals {
        let time = |at: Option<Time>| match (at, args.look.format) {
            (None, _) => String::new(),
            (Some(at), Format::Table) => args.look.zone.short(at),
            (Some(at), _) => args.look.zone.exact(at),
        };
        let goes_on = match args.look.format {
            Format::Json | Format::Ndjson => {
                let row = json!({
                    "severity": total.severity, "rule": total.rule, "name": total.name, "alerts": total.alerts, "open": total.open,
                    "events": total.events, "held_back": total.held_back, "first": time(total.first), "last": time(total.last),
                });
                out.json(&row.to_string())
            }
            Format::Table | Format::Csv => out.row(&[
                Cell::Text(&total.severity),
                Cell::Text(&total.rule),
                Cell::Text(&total.name),
                Cell::Number(total.alerts),
                Cell::Number(total.open),
                Cell::Number(total.events),
                Cell::Number(total.held_back),
                Cell::Owned(time(total.first)),
                Cell::Owned(time(total.last)),
            ]),
        };
        if !goes_on {
            break;
        }
    }
    let rows = out.finish()?;
    end(&store, &reader, rows)
}

/// Most transitions and events of one alert that are shown.
const MOST_SHOWN: usize = 1000;

fn show(args: &Show) -> Result<Exit, Exit> {
    let store = args.look.place.find()?;
    let reader = store.open()?;
    let found = fold::one(&reader, &transitions(None), &args.id)?;
    let Some((alert, transitions)) = found else {
        store.leave_trace(0);
        return Ok(Exit::Found);
    };
    let newest: Value = serde_json::from_str(&alert.newest).unwrap_or_default();
    let ids = newest
        .pointer("/pve/alert/events")
        .and_then(Value::as_array);
    let ids: Vec<EventId> = ids
        .into_iter()
        .flatten()
        .filter_map(|id| EventId::parse(id.as_str()?))
        .take(MOST_SHOWN)
        .collect();
    let events = reader.by_ids(&ids).map_err(failed)?;
    if matches!(args.look.format, Format::Json | Format::Ndjson) {
        let mut out = Out::new(args.look.format, Vec::new());
        let mut bodies = reader.bodies();
        out.json(&alert.newest);
        for row in &events {
            out.json(bodies.json(row).map_err(failed)?);
        }
        let rows = out.finish()?;
        store.leave_trace(rows);
        return Ok(Exit::Done);
    }
    let zone = &args.look.zone;
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        if !value.is_empty() {
            text.push_str(&format!("{name:<12} {}\n", pipeline::printable(value)));
        }
    };
    line("alert", &alert.id);
    line("rule", &format!("{} {}", alert.rule, alert.name));
    line("severity", &alert.severity);
    line("state", alert.state());
    line("opened", &zone.short(alert.opened));
    line("last", &zone.short(alert.last));
    line("count", &alert.count.to_string());
    line(
        "group",
        &newest
            .pointer("/pve/alert/group")
            .map(Value::to_string)
            .unwrap_or_default(),
    );
    line("user", &alert.says("/user/id"));
    line(
        "from",
        format!(
            "{} {}",
            alert.says("/source/ip"),
            alert.says("/pve/source/attribution")
        )
        .trim(),
    );
    line("object", &alert.object());
    line("node", &alert.says("/host/name"));
    line("says", &alert.says("/message"));
    for (at, code, severity) in &transitions {
        let what = match code.as_str() {
            "PVE-9101" => "opened",
            "PVE-9102" => "updated",
            _ => "resolved",
        };
        line(
            "transition",
            &format!("{} {what} {severity}", zone.short(*at)),
        );
    }
    for row in &events {
        line(
            "event",
            &format!(
                "{} {} {} {}",
                zone.short(row.time()),
                row.code,
                row.id_hex(),
                row.message
            ),
        );
    }
    if events.len() < ids.len() {
        line(
            "note",
            &format!(
                "{} of its events are not in this store",
                ids.len() - events.len()
            ),
        );
    }
    say::write(&text);
    store.leave_trace(1 + events.len() as u64);
    Ok(Exit::Done)
}
