//! `rules list` and `rules show`.

use std::fmt::Write;

use pipeline::printable;
use serde_json::json;
use transforms::rules::{Kind, Rule};

use super::{From, unknown};
use crate::exit::Exit;
use crate::say;

/// Arguments of `rules list`.
#[derive(Debug, clap::Args)]
pub(super) struct List {
    #[command(flatten)]
    from: From,
    /// One JSON object per line.
    #[arg(long)]
    json: bool,
}

/// Arguments of `rules show`.
#[derive(Debug, clap::Args)]
pub(super) struct Show {
    /// Its id or its name.
    #[arg(value_name = "ID")]
    id: String,
    #[command(flatten)]
    from: From,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// Prints all rules.
pub(super) fn list(args: &List) -> Result<Exit, Exit> {
    let set = args.from.load()?;
    if args.json {
        for rule in set.rules() {
            say::line(say::safe_json(&as_json(rule).to_string()));
        }
        return Ok(Exit::Done);
    }
    let width = |of: fn(&Rule) -> usize| {
        set.rules()
            .iter()
            .map(|rule| of(rule))
            .max()
            .unwrap_or(0)
            .min(40)
    };
    let (ids, names) = (width(|rule| rule.id.len()), width(|rule| rule.name.len()));
    let mut out = format!(
        "{:<ids$}  {:<8}  {:<names$}  {:<16}  {}\n",
        "ID", "SEVERITY", "NAME", "TYPE", "STATE"
    );
    for rule in set.rules() {
        let (id, name) = (printable(&rule.id), printable(&rule.name));
        _ = writeln!(
            out,
            "{id:<ids$}  {:<8}  {name:<names$}  {:<16}  {}",
            rule.severity.name(),
            sort(&rule.kind),
            state(rule)
        );
    }
    say::write(&out);
    Ok(Exit::Done)
}

fn state(rule: &Rule) -> String {
    let mut words = vec![if rule.enabled { "on" } else { "off" }];
    for (is, word) in [
        (rule.record_only, "recorded only"),
        (rule.internal, "internal"),
        (rule.feeds, "feeds others"),
        (!rule.overridden.is_empty(), "changed"),
    ] {
        if is {
            words.push(word);
        }
    }
    words.join(", ")
}

fn sort(kind: &Kind) -> &'static str {
    match kind {
        Kind::Event { .. } => "event",
        Kind::EventCount { .. } => "event_count",
        Kind::ValueCount { .. } => "value_count",
        Kind::ValueSum { .. } => "value_sum",
        Kind::ValueAvg { .. } => "value_avg",
        Kind::Temporal { ordered: false, .. } => "temporal",
        Kind::Temporal { .. } => "temporal_ordered",
        Kind::Absence { .. } => "absence",
        Kind::NewTerm { .. } => "new_term",
        Kind::Spike { .. } => "spike",
    }
}

fn as_json(rule: &Rule) -> serde_json::Value {
    let changed: Vec<_> = rule
        .overridden
        .iter()
        .map(|(key, place)| json!({ "key": key, "place": place }))
        .collect();
    json!({
        "id": rule.id,
        "name": rule.name,
        "severity": rule.severity,
        "version": rule.version,
        "type": sort(&rule.kind),
        "enabled": rule.enabled,
        "feeds": rule.feeds,
        "internal": rule.internal,
        "record_only": rule.record_only,
        "tags": rule.tags,
        "techniques": rule.techniques().collect::<Vec<_>>(),
        "status": rule.status,
        "timespan": rule.timespan,
        "group_by": rule.group_by.iter().map(|group| &*group.name).collect::<Vec<_>>(),
        "explain": rule.explain,
        "false_positives": rule.false_positives,
        "response": rule.response,
        "tests": rule.tests.len(),
        "changed": changed,
        "place": rule.place,
        "codes": rule.codes.as_ref().map(|codes| codes.iter().map(|code| format!("PVE-{code:04}")).collect::<Vec<_>>()),
    })
}

/// Prints one rule.
pub(super) fn show(args: &Show) -> Result<Exit, Exit> {
    let set = args.from.load()?;
    let named = || set.rules().iter().find(|rule| *rule.name == *args.id);
    let Some(rule) = set.rule(&args.id).or_else(named) else {
        return Err(unknown(&set, &args.id));
    };
    if args.json {
        let mut json = as_json(rule);
        json["toml"] = rule.source.as_str().into();
        say::line(say::safe_json(&json.to_string()));
    } else {
        say::write(&page(rule));
    }
    Ok(Exit::Done)
}

fn page(rule: &Rule) -> String {
    let mut out = String::new();
    _ = writeln!(
        out,
        "{} {}: {}, {}",
        rule.id,
        printable(&rule.name),
        rule.severity.name(),
        state(rule)
    );
    for text in [&rule.explain].into_iter().filter(|text| !text.is_empty()) {
        _ = writeln!(out, "{}", printable(text));
    }
    let mut list = |title: &str, texts: &[Box<str>]| {
        if !texts.is_empty() {
            _ = writeln!(out, "\n{title}:");
        }
        for text in texts {
            _ = writeln!(out, "  - {}", printable(text));
        }
    };
    list("Fires without reason", &rule.false_positives);
    list("What to do", &rule.response);
    _ = writeln!(
        out,
        "\nWhere: {}; {} test{} of its own",
        printable(&rule.place),
        rule.tests.len(),
        if rule.tests.len() == 1 { "" } else { "s" }
    );
    for (key, place) in &rule.overridden {
        _ = writeln!(out, "Changed: {} by {}", printable(key), printable(place));
    }
    _ = writeln!(out, "\nAs it is in force:\n");
    // Texts were shown above.
    let told = ["explain = ", "false_positives = ", "response = "];
    for line in rule
        .source
        .lines()
        .filter(|line| !told.iter().any(|key| line.starts_with(key)))
    {
        _ = writeln!(out, "  {}", printable(line));
    }
    out
}
