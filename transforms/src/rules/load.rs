//! From files to rules: what stands in them, in which order it counts, and everything that is wrong with them.

mod changes;
mod lists;
mod refers;

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
    for (name, more) in &cx.added {
        let (values, ..) = loading
            .lists
            .entry(name.clone())
            .or_insert_with(|| (Vec::new(), Place::NONE, true));
        let new = more.iter().filter(|value| !values.contains(value));
        values.extend(new.cloned().collect::<Vec<_>>());
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
        refers::circles(&mut rules, &places, &mut self.docs);
        refers::feed(&mut rules);
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
}

fn id_of(table: &Table) -> Option<(String, Place)> {
    let entry = table.get("id")?;
    match &entry.node.value {
        Value::Text(id) => Some((id.clone(), entry.node.place)),
        _ => None,
    }
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
