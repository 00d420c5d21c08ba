//! A rule's own tests: rows of events with times of their own, and what must come of them.

use std::collections::BTreeMap;

use pipeline::catalogue::Catalogue;
use pipeline::config::document::{Documents, Node, Table, Value as Toml};
use pipeline::config::{Diagnostic, nearest};
use pipeline::{Duration, Event, EventId, Field, Time, Value};

use super::group::{Group, GroupKey, key_of};
use super::path::Path;
use super::rule::Severity;
use super::table::TestTable;

/// When a test begins that does not say: Monday, 2 March 2026, 12:00 UTC.
pub const START: Time = Time(1_772_452_800 * pipeline::clock::SECOND);
/// Most events of one row.
const MOST: i64 = 100_000;

/// One test of a rule.
#[derive(Clone, Debug)]
pub struct RuleTest {
    /// What it shows; the number of the test where it has no name.
    pub name: String,
    /// When it begins.
    pub start: Time,
    /// Its rows.
    pub rows: Vec<Row>,
    /// How many alerts it opens.
    pub alerts: usize,
    /// How long event time goes on after the last event; `None`: as long as it takes.
    pub advance: Option<Duration>,
    /// Lists that are other ones in this test.
    pub lists: BTreeMap<String, Vec<String>>,
    /// The greatest count that one of the alerts has at the end.
    pub count: Option<u64>,
    /// The gravest severity at the end.
    pub severity: Option<Severity>,
    /// Groups of the alerts, in any order.
    pub groups: Option<Vec<GroupKey>>,
    /// `rules/site.toml:41:1`.
    pub place: String,
}

/// So many events alike.
#[derive(Clone, Debug)]
pub struct Row {
    /// The first one, after the start.
    pub at: Duration,
    /// How many.
    pub n: u32,
    /// How far apart.
    pub every: Duration,
    /// Fields as written; `{n}` in a text is the number of the event in its row, from 0.
    pub fields: Vec<(String, Value)>,
}

impl RuleTest {
    /// Its events in the order of rows: `@timestamp`, an id made of `seed` and their place, and what every event has.
    pub fn events(&self, seed: &str) -> Vec<Event> {
        let mut events = Vec::new();
        for row in &self.rows {
            for n in 0..row.n {
                let at = row
                    .at
                    .as_nanos()
                    .saturating_add(row.every.as_nanos().saturating_mul(i64::from(n)));
                let place = (events.len() as u64).to_be_bytes();
                let id = EventId::of_parts(&[
                    b"rule test",
                    seed.as_bytes(),
                    self.name.as_bytes(),
                    &place,
                ]);
                let mut event = Event::new(id, Time(self.start.0.saturating_add(at)));
                row.fill(n, &mut event);
                events.push(event);
            }
        }
        events
    }
}

impl Row {
    fn fill(&self, n: u32, event: &mut Event) {
        let code = self.fields.iter().find_map(|(name, value)| match value {
            Value::Str(code) if name == "event.code" => Some(code.as_str()),
            _ => None,
        });
        for (name, value) in [
            ("event.kind", "event"),
            ("event.dataset", "pve.audit"),
            ("event.outcome", "success"),
            ("pve.record", "primary"),
            ("pve.task.phase", "end"),
            ("pve.actor.kind", "user"),
            ("host.name", "pve1"),
        ] {
            event.set(Field::new(name), value);
        }
        if let Some(row) = code.and_then(|code| Catalogue::builtin().get(code)) {
            event.set(Field::new("event.action"), row.action.as_str());
            event.set(Field::new("event.severity"), i64::from(row.severity));
            event.set(Field::new("pve.object.type"), row.object.as_str());
        }
        for (name, value) in &self.fields {
            if name == "event.id" {
                // The same id twice is an event that came twice.
                if let Some(id) = numbered(value, n)
                    .as_ref()
                    .as_str()
                    .and_then(EventId::parse)
                {
                    event.set_id(id);
                }
                continue;
            }
            event.set_tree(name, numbered(value, n));
        }
    }
}

/// The value with `{n}` filled in; a text that is nothing else becomes the number.
fn numbered(value: &Value, n: u32) -> Value {
    match value {
        Value::Str(text) if text == "{n}" => Value::Int(i64::from(n)),
        Value::Str(text) if text.contains("{n}") => Value::Str(text.replace("{n}", &n.to_string())),
        Value::List(items) => Value::List(items.iter().map(|item| numbered(item, n)).collect()),
        Value::Map(map) => Value::Map(
            map.iter()
                .map(|(key, value)| (key.clone(), numbered(value, n)))
                .collect(),
        ),
        other => other.clone(),
    }
}

/// Reads the tests of a rule.
pub(super) fn read(
    rule: &Table,
    path: &str,
    groups: &[Group],
    docs: &mut Documents,
) -> Vec<RuleTest> {
    let Some(entry) = rule.get("test") else {
        return Vec::new();
    };
    let Toml::List(items) = &entry.node.value else {
        docs.say(
            Diagnostic::error(
                entry.key_place,
                format!("{path}.test"),
                "tests are a list of tables",
            )
            .with_help("write [[rule.test]]"),
        );
        return Vec::new();
    };
    let mut tests = Vec::new();
    for (n, item) in items.iter().enumerate() {
        let path = format!("{path}.test[{n}]");
        match &item.value {
            Toml::Table(table) => tests.extend(
                Reading {
                    path: &path,
                    groups,
                    docs,
                }
                .test(table, item, n),
            ),
            _ => docs.say(
                Diagnostic::error(item.place, path, "a test is a table")
                    .with_help("write [[rule.test]]"),
            ),
        }
    }
    tests
}

struct Reading<'a> {
    path: &'a str,
    groups: &'a [Group],
    docs: &'a mut Documents,
}

impl Reading<'_> {
    fn wrong(
        &mut self,
        place: pipeline::Place,
        key: &str,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.docs
            .say(Diagnostic::error(place, format!("{}.{key}", self.path), message).with_help(help));
    }

    fn test(mut self, table: &Table, node: &Node, n: usize) -> Option<RuleTest> {
        let (read, _) = self
            .docs
            .read::<TestTable>(table, node.place, self.path, "this test")?;
        let start = match &read.start {
            None => START,
            Some(text) => Time::parse(text).unwrap_or_else(|| {
                self.wrong(
                    text.place(),
                    "start",
                    format!("{:?} is no time", text.get()),
                    "write one like \"2026-03-27T16:59:59Z\"",
                );
                START
            }),
        };
        let mut rows = Vec::new();
        let events = table.get("events").map(|entry| &entry.node);
        match events.map(|node| (&node.value, node.place)) {
            Some((Toml::List(items), _)) => {
                for item in items {
                    rows.extend(self.row(item));
                }
            }
            Some((_, place)) => self.wrong(
                place,
                "events",
                "`events` is a list of tables",
                "write events = [{ code = \"PVE-2002\" }]",
            ),
            None => {}
        }
        let mut groups = None;
        if let Some(entry) = table.get("groups") {
            let mut keys = Vec::new();
            if let Toml::List(items) = &entry.node.value {
                for item in items {
                    match group(item, self.groups) {
                        Ok(key) => keys.push(key),
                        Err((message, help)) => self.wrong(item.place, "groups", message, help),
                    }
                }
            }
            groups = Some(keys);
        }
        Some(RuleTest {
            name: if read.name.is_empty() {
                format!("test {}", n + 1)
            } else {
                read.name
            },
            start,
            rows,
            alerts: read.alerts as usize,
            advance: read.advance,
            lists: read.lists,
            count: read.count,
            severity: read.severity,
            groups,
            place: self.docs.describe(node.place),
        })
    }

    fn row(&mut self, node: &Node) -> Option<Row> {
        let Toml::Table(table) = &node.value else {
            self.wrong(
                node.place,
                "events",
                "a row is a table",
                "write { code = \"PVE-2002\" }",
            );
            return None;
        };
        let zero = Duration::from_secs(0);
        let mut row = Row {
            at: zero,
            n: 1,
            every: Duration::from_secs(1),
            fields: Vec::new(),
        };
        for entry in &table.0 {
            let place = entry.node.place;
            match (entry.key.as_str(), &entry.node.value) {
                ("n", Toml::Int(n)) if (1..=MOST).contains(n) => row.n = *n as u32,
                ("n", _) => self.wrong(
                    place,
                    "events.n",
                    format!("`n` is a number from 1 to {MOST}"),
                    "write n = 5",
                ),
                (key @ ("at" | "every"), Toml::Text(text)) => match text.parse::<Duration>() {
                    Ok(time) if key == "at" => row.at = time,
                    Ok(time) => row.every = time,
                    Err(why) => {
                        let why = why.to_string();
                        let (message, help) =
                            why.split_once('\n').unwrap_or((&why, "write \"60s\""));
                        self.wrong(place, &format!("events.{key}"), message, help);
                    }
                },
                (key @ ("at" | "every"), _) => self.wrong(
                    place,
                    &format!("events.{key}"),
                    format!("`{key}` is a duration in quotes"),
                    format!("write {key} = \"60s\""),
                ),
                ("code" | "event.code", Toml::Text(code)) => {
                    if Catalogue::builtin().get(code).is_none() {
                        let codes = Catalogue::builtin()
                            .rows()
                            .iter()
                            .map(|row| row.code.as_str());
                        let help = match nearest(code, codes) {
                            Some(meant) => format!("did you mean \"{meant}\"?"),
                            None => "`pvetrail list events` names them all".to_owned(),
                        };
                        self.wrong(
                            place,
                            "events.code",
                            format!("there is no event ID \"{code}\""),
                            help,
                        );
                    }
                    row.fields
                        .push(("event.code".to_owned(), Value::Str(code.clone())));
                }
                (name, value) => {
                    // A name without a dot is most likely a misspelt key.
                    if !name.contains('.') && !["message", "tags", "labels"].contains(&name) {
                        let help = match nearest(name, ["n", "at", "every", "code"]) {
                            Some(meant) => format!("did you mean `{meant}`?"),
                            None => {
                                "a row has n, at, every, code and dotted fields like \"user.id\""
                                    .to_owned()
                            }
                        };
                        self.wrong(
                            entry.key_place,
                            "events",
                            format!("a row has no key `{name}`"),
                            help,
                        );
                        continue;
                    }
                    // The name is known from now on, so that it becomes a field of its own.
                    Path::new(name);
                    row.fields.push((name.to_owned(), value_of(value)));
                }
            }
        }
        Some(row)
    }
}

fn value_of(value: &Toml) -> Value {
    match value {
        Toml::Text(text) | Toml::Date(text) => Value::Str(text.clone()),
        Toml::Int(number) => Value::Int(*number),
        Toml::Float(number) => Value::Float(*number),
        Toml::Bool(is) => Value::Bool(*is),
        Toml::List(items) => Value::List(items.iter().map(|item| value_of(&item.value)).collect()),
        Toml::Table(table) => Value::Map(
            table
                .0
                .iter()
                .map(|entry| (entry.key.clone(), value_of(&entry.node.value)))
                .collect(),
        ),
    }
}

/// A group as somebody writes it: a table of its names, or the value of its only one.
pub(super) fn group(node: &Node, groups: &[Group]) -> Result<GroupKey, (String, String)> {
    let names: Vec<&str> = groups.iter().map(|group| &*group.name).collect();
    match (&node.value, groups) {
        (Toml::Table(table), _) => {
            if let Some(entry) = table
                .0
                .iter()
                .find(|entry| !names.contains(&entry.key.as_str()))
            {
                let help = match nearest(&entry.key, names.iter().copied()) {
                    Some(meant) => format!("did you mean \"{meant}\"?"),
                    None => format!("`group_by` is {names:?}"),
                };
                return Err((format!("\"{}\" is not in `group_by`", entry.key), help));
            }
            Ok(key_of(groups, |name| {
                Some(value_of(&table.get(name)?.node.value).as_ref().to_json())
            }))
        }
        (Toml::List(_), _) => Err((
            "a group is a value or a table".to_owned(),
            "write { \"user.id\" = \"alice@pve\" }".to_owned(),
        )),
        (value, [_]) => Ok(key_of(groups, |_| Some(value_of(value).as_ref().to_json()))),
        _ => {
            let help = format!(
                "write a table: {{ {} = \"…\" }}",
                names.first().unwrap_or(&"NAME")
            );
            Err((
                format!(
                    "a value alone says nothing where `group_by` has {} fields",
                    groups.len()
                ),
                help,
            ))
        }
    }
}
