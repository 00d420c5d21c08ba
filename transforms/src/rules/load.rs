//! From files to rules: what stands in them, in which order it counts, and everything that is wrong with them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use pipeline::Place;
use pipeline::config::document::{Documents, Entry, Node, Table, Value};
use pipeline::config::{Diagnostic, Env, SystemEnv, nearest};

use super::build::{self, Around, Written};
use super::calendar::{self, Calendar};
use super::compile::Names;
use super::fields::Known;
use super::fold;
use super::pack;
use super::rule::{Kind, Rule, Stage};
use super::table::{CalendarTable, FileTable};
use super::{LoadCx, Options, Profile};

/// Keys that an override may change.
const OVERRIDE: [&str; 5] = ["condition", "timespan", "severity", "enabled", "exclude"];
/// Keys that a profile may change.
const PROFILE: [&str; 7] = [
    "condition",
    "timespan",
    "severity",
    "enabled",
    "exclude",
    "dedupe",
    "record_only",
];
/// Most entries of all lists together.
const MOST_ENTRIES: usize = 1_000_000;

/// A rule's table with its file.
struct Found {
    table: Table,
    place: Place,
    path: String,
    overridden: Vec<(String, String)>,
}

/// Other values for rules whose id is like this.
struct Change {
    id: Entry,
    section: String,
    /// Where a profile says so it counts less than what the operator says.
    profile: bool,
}

/// All that stands in the files.
#[derive(Default)]
pub(super) struct Loading {
    docs: Documents,
    known: Known,
    /// Name → values, where it was written, and whether it may be replaced (it is the pack's).
    lists: BTreeMap<String, (Vec<String>, Place, bool)>,
    calendars: BTreeMap<String, (Arc<Calendar>, Place, bool)>,
    rules: Vec<Found>,
    changes: Vec<Change>,
    entries: usize,
    /// Files that were read, to be watched.
    pub(super) read: Vec<PathBuf>,
}

/// What came of it.
pub(super) struct Loaded {
    pub(super) rules: Vec<Rule>,
    pub(super) lists: BTreeMap<String, Vec<String>>,
    pub(super) calendars: BTreeMap<String, Arc<Calendar>>,
    pub(super) files: Vec<PathBuf>,
    pub(super) docs: Documents,
}

pub(super) fn load(options: &Options, cx: &LoadCx) -> Loaded {
    let mut loading = Loading::default();
    for pattern in &options.rules {
        if pattern.as_str() == "builtin" {
            for (name, text) in pack::FILES {
                loading.file(&format!("builtin/{name}"), text, options.profile, None);
            }
            continue;
        }
        loading.pattern(pattern, &cx.base, options.profile);
    }
    for (name, text) in &cx.texts {
        loading.file(name, text, options.profile, None);
    }
    if let Some(path) = options.overrides.as_ref().or(cx.overrides.as_ref()) {
        let path = cx.base.join(path);
        match SystemEnv.read(&path) {
            Ok(text) => loading.file(
                &path.display().to_string(),
                &text,
                options.profile,
                path.parent(),
            ),
            Err(why) if why.kind() == std::io::ErrorKind::NotFound => {}
            Err(why) => loading.say(
                Place::NONE,
                "",
                format!("{} cannot be read: {why}", path.display()),
                "let this user read it, or remove it",
            ),
        }
        loading.read.push(path);
    }
    for (name, list) in options.lists.iter().chain(&cx.lists) {
        let values = list.iter().flat_map(|one| match one.strip_prefix("file:") {
            Some(file) => loading.lines(&cx.base.join(file), Place::NONE, name),
            None => vec![one.clone()],
        });
        let values: Vec<String> = values.collect();
        loading
            .lists
            .insert(name.clone(), (values, Place::NONE, false));
    }
    loading.finish()
}

impl Loading {
    fn say(
        &mut self,
        place: Place,
        path: &str,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.docs
            .say(Diagnostic::error(place, path, message).with_help(help));
    }

    fn pattern(&mut self, pattern: &str, base: &FilePath, profile: Profile) {
        let files = match files(&base.join(pattern)) {
            Ok(files) => files,
            Err(why) => {
                return self.say(
                    Place::NONE,
                    "rules",
                    format!("{pattern}: {why}"),
                    "name a file, a folder or a pattern like \"rules/*.toml\"",
                );
            }
        };
        if files.is_empty() {
            let help = match nearest(pattern, ["builtin"]) {
                Some(_) => "did you mean \"builtin\"?",
                None => {
                    "name a file, a folder or a pattern like \"rules/*.toml\"; \"builtin\" is the pack that is built in"
                }
            };
            return self.say(
                Place::NONE,
                "rules",
                format!("there is no rule file {pattern:?}"),
                help,
            );
        }
        for path in files {
            match SystemEnv.read(&path) {
                Ok(text) => self.file(&path.display().to_string(), &text, profile, path.parent()),
                Err(why) => self.say(
                    Place::NONE,
                    "rules",
                    format!("{} cannot be read: {why}", path.display()),
                    "let this user read it; rule files are UTF-8",
                ),
            }
            self.read.push(path);
        }
    }

    fn file(&mut self, name: &str, text: &str, profile: Profile, folder: Option<&FilePath>) {
        let builtin = folder.is_none() && name.starts_with("builtin/");
        let (place, table) = self.docs.add(name, text);
        let read = self
            .docs
            .read::<FileTable>(&table, place, "", "a rule file");
        if let Some((file, _)) = read {
            if *file.schema != 1 {
                let message = format!(
                    "this file is of schema {}, and this program reads 1",
                    file.schema.get()
                );
                self.say(
                    file.schema.place(),
                    "schema",
                    message,
                    "write schema = 1, or use a newer program",
                );
                return;
            }
            self.known.declared.extend(file.fields);
        }
        for entry in table.0 {
            match entry.key.as_str() {
                "lists" => self.lists(&entry, builtin, folder),
                "calendar" => self.calendars(&entry, builtin),
                "rule" => self.rules(entry),
                "override" => self.overrides(entry, "override", false),
                "profile" => self.profiles(entry, profile),
                _ => {}
            }
        }
    }

    fn lists(&mut self, entry: &Entry, builtin: bool, folder: Option<&FilePath>) {
        let Value::Table(lists) = &entry.node.value else {
            return self.say(
                entry.key_place,
                "lists",
                "`lists` is a table of lists",
                "write [lists]",
            );
        };
        for list in &lists.0 {
            let path = format!("lists.{}", list.key);
            let values = match &list.node.value {
                Value::List(items) => self.texts(items, &path),
                Value::Table(table) => self.list_table(table, list, &path, folder),
                _ => {
                    self.say(
                        list.node.place,
                        &path,
                        "a list is a list",
                        "write [\"…\"], or { file = \"one value a line\" }",
                    );
                    continue;
                }
            };
            self.entries += values.len();
            if self.entries > MOST_ENTRIES {
                self.say(
                    list.key_place,
                    &path,
                    format!("all lists together have more than {MOST_ENTRIES} entries"),
                    "use networks instead of single addresses",
                );
                continue;
            }
            match self.lists.get(&list.key) {
                Some((_, first, false)) if !builtin => {
                    let first = *first;
                    let message = format!("there is a list \"{}\" already", list.key);
                    self.docs.say(
                        Diagnostic::error(list.key_place, path, message)
                            .with_also(first, "the first")
                            .with_help("keep one of the two"),
                    );
                }
                // What an operator says counts more than what is built in, whichever is read first.
                Some((_, _, false)) => {}
                _ => {
                    _ = self
                        .lists
                        .insert(list.key.clone(), (values, list.key_place, builtin))
                }
            }
        }
    }

    fn texts(&mut self, items: &[Node], path: &str) -> Vec<String> {
        let mut all = Vec::with_capacity(items.len());
        for item in items {
            match &item.value {
                Value::Text(text) | Value::Date(text) => all.push(text.clone()),
                Value::Int(number) => all.push(number.to_string()),
                _ => self.say(
                    item.place,
                    path,
                    "an entry of a list is text",
                    "write it in quotes",
                ),
            }
        }
        all
    }

    fn list_table(
        &mut self,
        table: &Table,
        list: &Entry,
        path: &str,
        folder: Option<&FilePath>,
    ) -> Vec<String> {
        let mut all = Vec::new();
        for entry in &table.0 {
            match (entry.key.as_str(), &entry.node.value) {
                ("file", Value::Text(file)) => {
                    let file =
                        folder.map_or_else(|| PathBuf::from(file), |folder| folder.join(file));
                    all.extend(self.lines(&file, entry.node.place, &list.key));
                }
                ("values", Value::List(items)) => all.extend(self.texts(items, path)),
                ("file" | "values", _) => self.say(
                    entry.node.place,
                    path,
                    format!("`{}` is of another sort", entry.key),
                    "write file = \"…\", values = [\"…\"]",
                ),
                (key, _) => {
                    let help = nearest(key, ["file", "values"])
                        .map_or("its keys are `file` and `values`".to_owned(), |meant| {
                            format!("did you mean `{meant}`?")
                        });
                    self.say(
                        entry.key_place,
                        path,
                        format!("a list has no key `{key}`"),
                        help,
                    );
                }
            }
        }
        all
    }

    /// One value a line; what follows `#` is a remark.
    fn lines(&mut self, file: &FilePath, place: Place, name: &str) -> Vec<String> {
        self.read.push(file.to_owned());
        match SystemEnv.read(file) {
            Ok(text) => {
                let lines = text
                    .lines()
                    .map(|line| line.split('#').next().unwrap_or_default().trim());
                lines
                    .filter(|line| !line.is_empty())
                    .map(str::to_owned)
                    .collect()
            }
            Err(why) => {
                self.say(
                    place,
                    &format!("lists.{name}"),
                    format!("the list file {} cannot be read: {why}", file.display()),
                    "check the path; one value a line, UTF-8",
                );
                Vec::new()
            }
        }
    }

    fn calendars(&mut self, entry: &Entry, builtin: bool) {
        let Value::List(items) = &entry.node.value else {
            return self.say(
                entry.key_place,
                "calendar",
                "calendars are a list of tables",
                "write [[calendar]]",
            );
        };
        for (n, item) in items.iter().enumerate() {
            let path = format!("calendar[{n}]");
            let Value::Table(table) = &item.value else {
                self.say(
                    item.place,
                    &path,
                    "a calendar is a table",
                    "write [[calendar]]",
                );
                continue;
            };
            let before = self.docs.errors();
            let Some((read, _)) =
                self.docs
                    .read::<CalendarTable>(table, item.place, &path, "this calendar")
            else {
                continue;
            };
            let calendar = self.calendar(&read, &path);
            if self.docs.errors() > before {
                continue;
            }
            let (name, place) = (read.name.get().clone(), read.name.place());
            match self.calendars.get(&name) {
                Some((_, first, false)) if !builtin => {
                    let first = *first;
                    let message = format!("there is a calendar \"{name}\" already");
                    self.docs.say(
                        Diagnostic::error(place, path, message)
                            .with_also(first, "the first")
                            .with_help("keep one of the two"),
                    );
                }
                Some((_, _, false)) => {}
                _ => {
                    _ = self
                        .calendars
                        .insert(name, (Arc::new(calendar), place, builtin))
                }
            }
        }
    }

    fn calendar(&mut self, read: &CalendarTable, path: &str) -> Calendar {
        let zone = calendar::zone(&read.zone).unwrap_or_else(|| {
            self.say(
                read.zone.place(),
                &format!("{path}.zone"),
                format!("there is no time zone \"{}\"", read.zone.get()),
                build::zone_help(&read.zone),
            );
            jiff::tz::TimeZone::UTC
        });
        let mut days = 0;
        for day in &read.days {
            match calendar::DAYS
                .iter()
                .position(|known| known.eq_ignore_ascii_case(day))
            {
                Some(n) => days |= 1 << n,
                None => {
                    let help = match nearest(day, calendar::DAYS) {
                        Some(meant) => format!("did you mean \"{meant}\"?"),
                        None => format!("they are {}", calendar::DAYS.join(", ")),
                    };
                    self.say(
                        day.place(),
                        &format!("{path}.days"),
                        format!("there is no weekday \"{}\"", day.get()),
                        help,
                    );
                }
            }
        }
        if read.days.is_empty() {
            self.say(
                read.name.place(),
                &format!("{path}.days"),
                "a calendar without days holds nothing",
                "write days = [\"mon\", \"tue\"]",
            );
        }
        let mut clock = |text: &pipeline::Spanned<String>, key: &str| {
            minute(text).unwrap_or_else(|| {
                self.say(
                    text.place(),
                    &format!("{path}.{key}"),
                    format!("\"{}\" is no time of day", text.get()),
                    "write one like \"08:00\"; the end of the day is \"24:00\"",
                );
                0
            })
        };
        let (from, to) = (clock(&read.from, "from"), clock(&read.to, "to"));
        if from == to && minute(&read.from).is_some() && minute(&read.to).is_some() {
            self.say(
                read.to.place(),
                &format!("{path}.to"),
                "this calendar has no minute: `from` and `to` are the same",
                "the whole day is from = \"00:00\", to = \"24:00\"",
            );
        }
        let mut holidays = Vec::new();
        for day in &read.holidays {
            match day.parse::<jiff::civil::Date>() {
                Ok(date) => holidays.push(date),
                Err(_) => self.say(
                    day.place(),
                    &format!("{path}.holidays"),
                    format!("\"{}\" is no date", day.get()),
                    "write one like \"2026-12-25\"",
                ),
            }
        }
        holidays.sort_unstable();
        Calendar {
            name: read.name.as_str().into(),
            zone,
            days,
            from,
            to,
            holidays,
        }
    }

    fn rules(&mut self, entry: Entry) {
        let Value::List(items) = entry.node.value else {
            return self.say(
                entry.key_place,
                "rule",
                "rules are a list of tables",
                "write [[rule]]",
            );
        };
        for (n, item) in items.into_iter().enumerate() {
            let path = format!("rule[{n}]");
            match item.value {
                Value::Table(table) => self.rules.push(Found {
                    table,
                    place: item.place,
                    path,
                    overridden: Vec::new(),
                }),
                _ => self.say(item.place, &path, "a rule is a table", "write [[rule]]"),
            }
        }
    }

    fn overrides(&mut self, entry: Entry, section: &str, profile: bool) {
        let Value::Table(table) = entry.node.value else {
            return self.say(
                entry.key_place,
                section,
                format!("`{section}` is a table by id of rules"),
                format!("write [{section}.\"PVR-103\"]"),
            );
        };
        let allowed: &[&str] = if profile { &PROFILE } else { &OVERRIDE };
        for id in table.0 {
            let section = format!("{section}.\"{}\"", id.key);
            let Value::Table(keys) = &id.node.value else {
                self.say(
                    id.key_place,
                    &section,
                    "this is a table of other values",
                    format!("write [{section}]"),
                );
                continue;
            };
            for key in &keys.0 {
                if !allowed.contains(&key.key.as_str()) {
                    let help = match nearest(&key.key, allowed.iter().copied()) {
                        Some(meant) => format!("did you mean `{meant}`?"),
                        None => format!(
                            "what can be changed is {}; for more copy the rule under an id of its own",
                            allowed.join(", ")
                        ),
                    };
                    self.say(
                        key.key_place,
                        &format!("{section}.{}", key.key),
                        format!("`{}` cannot be changed here", key.key),
                        help,
                    );
                }
            }
            self.changes.push(Change {
                id,
                section,
                profile,
            });
        }
    }

    fn profiles(&mut self, entry: Entry, profile: Profile) {
        let Value::Table(table) = entry.node.value else {
            return self.say(
                entry.key_place,
                "profile",
                "`profile` is a table by name of profiles",
                "write [profile.quiet.\"PVR-201\"]",
            );
        };
        for one in table.0 {
            if !["quiet", "strict"].contains(&one.key.as_str()) {
                let help = nearest(&one.key, ["quiet", "strict"])
                    .map_or("there are quiet and strict".to_owned(), |meant| {
                        format!("did you mean \"{meant}\"?")
                    });
                self.say(
                    one.key_place,
                    "profile",
                    format!("there is no profile \"{}\"", one.key),
                    help,
                );
            } else if one.key == profile.name() {
                let section = format!("profile.{}", one.key);
                self.overrides(one, &section, true);
            }
        }
    }

    fn finish(mut self) -> Loaded {
        let ids = self.ids();
        self.change(&ids);
        let lists: BTreeMap<String, Vec<String>> = self
            .lists
            .into_iter()
            .map(|(name, (values, ..))| (name, values))
            .collect();
        let calendars: BTreeMap<String, Arc<Calendar>> = self
            .calendars
            .into_iter()
            .map(|(name, (one, ..))| (name, one))
            .collect();
        let around = Around {
            names: Names {
                fields: &self.known,
                lists: &lists,
            },
            calendars: &calendars,
            ids: &ids,
        };
        let (mut rules, mut places) = (Vec::new(), HashMap::new());
        let mut seen: BTreeSet<String> = BTreeSet::new();
        for found in &mut self.rules {
            let twice = id_of(&found.table).is_some_and(|(id, _)| !seen.insert(id));
            let written = Written {
                table: &found.table,
                place: found.place,
                path: found.path.clone(),
                overridden: std::mem::take(&mut found.overridden),
            };
            if let Some(rule) = build::rule(written, &around, &mut self.docs)
                && !twice
            {
                let place = found
                    .table
                    .get("rules")
                    .map_or(found.place, |entry| entry.node.place);
                places.insert(rule.id.clone(), (place, found.path.clone()));
                rules.push(rule);
            }
        }
        circles(&mut rules, &places, &mut self.docs);
        Loaded {
            rules,
            lists,
            calendars,
            files: self.read,
            docs: self.docs,
        }
    }

    /// Ids of all rules; one that stands twice is told, and its first place counts.
    fn ids(&mut self) -> Vec<String> {
        let mut first: BTreeMap<String, Place> = BTreeMap::new();
        for found in &self.rules {
            let Some((id, place)) = id_of(&found.table) else {
                continue;
            };
            match first.get(&id) {
                None => _ = first.insert(id, place),
                Some(there) => {
                    let message = format!("there is a rule with the id \"{id}\" already");
                    let path = format!("{}.id", found.path);
                    let help = "give it another one; a rule that is built in is changed with [override.\"ID\"]";
                    self.docs.say(
                        Diagnostic::error(place, path, message)
                            .with_also(*there, "the first")
                            .with_help(help),
                    );
                }
            }
        }
        first.into_keys().collect()
    }

    /// Puts the values of profile and overrides into the rules' tables, so that what is wrong with them has its place.
    fn change(&mut self, ids: &[String]) {
        let mut changes = std::mem::take(&mut self.changes);
        changes.sort_by_key(|change| !change.profile);
        for change in changes {
            let pattern: Vec<char> = change.id.key.chars().collect();
            let like = |id: &str| fold::glob(id.chars(), &pattern);
            let Value::Table(keys) = &change.id.node.value else {
                continue;
            };
            if !ids.iter().any(|id| like(id)) {
                // A profile may speak of rules of the pack that are not loaded.
                if !change.profile {
                    let help = match nearest(&change.id.key, ids.iter().map(String::as_str)) {
                        Some(meant) => format!("did you mean \"{meant}\"?"),
                        None => "`pvetrail rules list` names them all".to_owned(),
                    };
                    self.say(
                        change.id.key_place,
                        &change.section,
                        format!("there is no rule \"{}\"", change.id.key),
                        help,
                    );
                }
                continue;
            }
            let mut used: BTreeSet<&str> = BTreeSet::new();
            for found in &mut self.rules {
                if !id_of(&found.table).is_some_and(|(id, _)| like(&id)) {
                    continue;
                }
                for key in keys
                    .0
                    .iter()
                    .filter(|key| PROFILE.contains(&key.key.as_str()))
                {
                    used.insert(&key.key);
                    // Of a selection that takes things out, another one takes out more.
                    let mut entry = key.clone();
                    if let (true, Some(before)) = (key.key == "exclude", found.table.get("exclude"))
                    {
                        entry.node.value =
                            Value::List(tables(before).chain(tables(key)).cloned().collect());
                    }
                    // The field of a condition stays the rule's, where only the number changes.
                    if let (true, Some(Value::Table(before))) = (
                        key.key == "condition",
                        found.table.get("condition").map(|entry| &entry.node.value),
                    ) && let (Some(field), Value::Table(table)) =
                        (before.get("field"), &mut entry.node.value)
                        && table.get("field").is_none()
                    {
                        table.0.push(field.clone());
                    }
                    let place = self.docs.describe(key.key_place);
                    found.table.take(&key.key);
                    found.table.0.push(entry);
                    found.overridden.push((key.key.clone(), place));
                }
            }
        }
    }
}

fn tables(entry: &Entry) -> Box<dyn Iterator<Item = &Node> + '_> {
    match &entry.node.value {
        Value::List(items) => Box::new(items.iter()),
        _ => Box::new(std::iter::once(&entry.node)),
    }
}

fn id_of(table: &Table) -> Option<(String, Place)> {
    let entry = table.get("id")?;
    match &entry.node.value {
        Value::Text(id) => Some((id.clone(), entry.node.place)),
        _ => None,
    }
}

/// `"08:00"` as seconds after midnight.
fn minute(text: &str) -> Option<i32> {
    let (hours, minutes) = text.split_once(':')?;
    let two = |text: &str| {
        (text.len() == 2 && text.bytes().all(|c| c.is_ascii_digit()))
            .then(|| text.parse::<i32>().ok())
            .flatten()
    };
    let (hours, minutes) = (two(hours)?, two(minutes)?);
    let seconds = hours * 3600 + minutes * 60;
    (minutes < 60 && seconds <= 86_400).then_some(seconds)
}

/// Files of a path, a folder or a pattern whose last part has `*` or `?`, by name.
fn files(path: &FilePath) -> Result<Vec<PathBuf>, String> {
    if let Some(list) = SystemEnv.folder(path) {
        return list.map_err(|why| why.to_string());
    }
    let name = path
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    if !name.contains(['*', '?']) {
        return Ok(if path.exists() {
            vec![path.to_owned()]
        } else {
            Vec::new()
        });
    }
    let pattern: Vec<char> = name.chars().collect();
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(FilePath::new("."));
    let mut all = Vec::new();
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => return Ok(all),
        Err(why) => return Err(why.to_string()),
    };
    for entry in entries {
        let path = entry.map_err(|why| why.to_string())?.path();
        let like = path
            .file_name()
            .is_some_and(|name| fold::glob(name.to_string_lossy().chars(), &pattern));
        if like && path.is_file() {
            all.push(path);
        }
    }
    all.sort();
    Ok(all)
}

/// Takes out rules that refer to rules which could not be loaded, and those that refer to themselves through others.
fn circles(
    rules: &mut Vec<Rule>,
    places: &HashMap<Box<str>, (Place, String)>,
    docs: &mut Documents,
) {
    let refers = |rule: &Rule| -> Vec<Box<str>> {
        match &rule.kind {
            Kind::Temporal { stages, .. } => stages
                .iter()
                .filter_map(|stage| match stage {
                    Stage::Rule(id) => Some(id.clone()),
                    Stage::Selection(_) => None,
                })
                .collect(),
            _ => Vec::new(),
        }
    };
    let tell = |docs: &mut Documents, id: &str, message: String, help: &str| {
        let (place, path) = places
            .get(id)
            .cloned()
            .unwrap_or((Place::NONE, String::new()));
        docs.say(Diagnostic::error(place, format!("{path}.rules"), message).with_help(help));
    };
    loop {
        let missing = rules.iter().position(|rule| {
            refers(rule)
                .iter()
                .any(|id| !rules.iter().any(|other| other.id == *id))
        });
        let Some(n) = missing else {
            break;
        };
        let gone = refers(&rules[n])
            .into_iter()
            .find(|id| !rules.iter().any(|other| other.id == *id))
            .unwrap_or_default();
        tell(
            docs,
            &rules[n].id,
            format!(
                "rule \"{}\" refers to \"{gone}\", which could not be loaded",
                rules[n].id
            ),
            "mend that one first",
        );
        rules.remove(n);
    }
    // What refers to nothing that is left is in no circle; what remains at the end is in one, or leads to one.
    let mut open: Vec<usize> = (0..rules.len()).collect();
    loop {
        let before = open.len();
        let ids: BTreeSet<Box<str>> = open.iter().map(|n| rules[*n].id.clone()).collect();
        open.retain(|n| refers(&rules[*n]).iter().any(|id| ids.contains(id)));
        if open.len() == before {
            break;
        }
    }
    for n in open.iter().rev() {
        let rule = rules.remove(*n);
        let message = format!(
            "rule \"{}\" refers to itself through \"{}\"",
            rule.id,
            refers(&rule).join("\", \"")
        );
        tell(docs, &rule.id, message, "take one of them out of `rules`");
    }
}
