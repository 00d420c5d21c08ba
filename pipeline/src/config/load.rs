//! Files and folders become one tree, the tree becomes a graph.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::check;
use super::de::{Reader, Shared};
use super::diagnostic::{Diagnostic, Diagnostics, Files, Severity};
use super::env::Env;
use super::graph::{Graph, Node};
use super::interpolate;
use super::options::{
    Batch, EngineKeys, EngineOptions, Globals, OnFailure, SINK_KEYS, SOURCE_KEYS, TRANSFORM_KEYS,
    Top,
};
use super::suggest;
use super::tree::{self, Entry, Node as Tree, Table, Value};
use crate::component::{AnyConfig, BuildErrors, Kind, Place, Registry, Workers};
use crate::units::Duration;

const SECTIONS: [Kind; 3] = [Kind::Source, Kind::Transform, Kind::Sink];

/// Sections of other versions, which are better refused by name than as unknown.
const LATER: [&str; 4] = ["enrichment_tables", "report", "peer", "retention"];

/// Reads files and folders (`*.toml`, by name) as one configuration.
///
/// Comes back with the graph and its warnings, or with everything that is wrong. Every component has been built once, and
/// nothing started.
pub fn load(
    paths: &[PathBuf],
    registry: &Registry,
    env: &dyn Env,
) -> Result<(Graph, Diagnostics), Diagnostics> {
    let mut files = Files::default();
    let mut found = Vec::new();
    let tables = read_files(paths, env, &mut files, &mut found);
    // What TOML itself refuses makes everything after it guesswork: say that first, and alone.
    if found
        .iter()
        .any(|d: &Diagnostic| d.severity == Severity::Error)
    {
        return Err(Diagnostics::new(Arc::new(files), found));
    }
    let root = merge(tables, &files, &mut found);
    let shared = Shared::new(env, &files);
    shared.found.borrow_mut().extend(found);
    let mut graph = Assembly {
        registry,
        shared: &shared,
    }
    .graph(root);
    check::graph(&mut graph, &shared);
    check::build(&graph.graph, &shared);
    let (found, revealed) = (shared.found.into_inner(), shared.revealed.into_inner());
    let found = found.into_iter().map(|d| conceal(d, &revealed)).collect();
    let diagnostics = Diagnostics::new(Arc::new(files), found);
    if diagnostics.errors() > 0 {
        Err(diagnostics)
    } else {
        Ok((graph.graph, diagnostics))
    }
}

/// Parses the keys of one component alone, without the engine's: for tests and for manual pages.
pub fn parse_component(
    kind: Kind,
    type_name: &str,
    toml: &str,
    registry: &Registry,
    env: &dyn Env,
) -> Result<Box<dyn AnyConfig>, Diagnostics> {
    let mut files = Files::default();
    let file = files.add(format!("{type_name}.toml"), toml.to_owned());
    let mut found = Vec::new();
    let table = tree::parse(&files, file, &mut found);
    let shared = Shared::new(env, &files);
    shared.found.borrow_mut().extend(found);
    let place = Place {
        file,
        start: 0,
        end: 0,
    };
    let parsed = match registry.find(kind, type_name) {
        Some(entry) => {
            let what = format!("type \"{type_name}\"");
            (entry.parse)(&Reader {
                shared: &shared,
                table: &table,
                place,
                path: String::new(),
                others: &[],
                what,
            })
        }
        None => {
            shared.say(Diagnostic::error(
                Place::NONE,
                "",
                format!("there is no {kind} of type {type_name:?}"),
            ));
            None
        }
    };
    let found = shared.found.into_inner();
    match parsed {
        Some(parsed) if found.is_empty() => Ok(parsed),
        _ => Err(Diagnostics::new(Arc::new(files), found)),
    }
}

/// No message repeats what a variable, a file or a credential stood for.
fn conceal(mut diagnostic: Diagnostic, revealed: &[(String, String)]) -> Diagnostic {
    for (value, written) in revealed {
        // Of short values ("1", "pve") nothing can be learnt, and replacing them would garble the message.
        if value.len() < 6 {
            continue;
        }
        let hide = |text: &mut String| {
            if text.contains(value.as_str()) {
                *text = text.replace(value.as_str(), written);
            }
        };
        hide(&mut diagnostic.message);
        for text in [&mut diagnostic.help, &mut diagnostic.note]
            .into_iter()
            .flatten()
        {
            hide(text);
        }
    }
    diagnostic
}

fn read_files(
    paths: &[PathBuf],
    env: &dyn Env,
    files: &mut Files,
    found: &mut Vec<Diagnostic>,
) -> Vec<(u32, Table)> {
    let mut wanted = Vec::new();
    for path in paths {
        match env.folder(path) {
            None => wanted.push(path.clone()),
            Some(Ok(list)) if list.is_empty() => found.push(
                Diagnostic::error(
                    Place::NONE,
                    "",
                    format!(
                        "the folder {} has no file whose name ends with .toml",
                        path.display()
                    ),
                )
                .with_help("give a file, or put one there"),
            ),
            Some(Ok(list)) => wanted.extend(list),
            Some(Err(error)) => found.push(unreadable(path, &error)),
        }
    }
    if paths.is_empty() {
        found.push(
            Diagnostic::error(Place::NONE, "", "no configuration was given")
                .with_help("name a file or a folder of *.toml files"),
        );
    }
    wanted.dedup();
    let mut tables = Vec::new();
    for path in wanted {
        match env.read(&path) {
            Ok(text) => {
                let file = files.add(path.display().to_string(), text);
                tables.push((file, tree::parse(files, file, found)));
            }
            Err(error) => found.push(unreadable(&path, &error)),
        }
    }
    tables
}

fn unreadable(path: &Path, error: &std::io::Error) -> Diagnostic {
    let help = match error.kind() {
        std::io::ErrorKind::NotFound => {
            "check the path; relative paths start where the program was started"
        }
        std::io::ErrorKind::PermissionDenied => {
            "let this user read it (chmod, chown), or run as one who may"
        }
        std::io::ErrorKind::InvalidData => "save it as UTF-8",
        _ => "a configuration is a text file of at most 16 MiB, or a folder of such files",
    };
    let why = match error.kind() {
        std::io::ErrorKind::NotFound => "there is no such file or folder".to_owned(),
        std::io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    };
    Diagnostic::error(
        Place::NONE,
        "",
        format!("{} cannot be read: {why}", path.display()),
    )
    .with_help(help)
}

/// One tree of all files. Sections of components and lists of tables add up; anything else may be said once.
fn merge(tables: Vec<(u32, Table)>, files: &Files, found: &mut Vec<Diagnostic>) -> Table {
    let mut root = Table::default();
    for (_, table) in tables {
        for entry in table.0 {
            let section = SECTIONS.iter().any(|kind| kind.section() == entry.key);
            let Some(at) = root.0.iter().position(|known| known.key == entry.key) else {
                root.0.push(entry);
                continue;
            };
            let known = &mut root.0[at];
            match (&mut known.node.value, entry.node.value) {
                (Value::Table(known), Value::Table(more)) if section => {
                    for component in more.0 {
                        match known.get(&component.key) {
                            Some(first) => found.push(clash(
                                &format!("{}.{}", entry.key, component.key),
                                first,
                                &component,
                                files,
                            )),
                            None => known.0.push(component),
                        }
                    }
                }
                (Value::List(known), Value::List(more)) if entry.key == "tests" => {
                    known.extend(more)
                }
                (_, value) => {
                    let again = Entry {
                        node: Tree {
                            value,
                            ..entry.node
                        },
                        ..entry
                    };
                    found.push(clash(&again.key, &root.0[at], &again, files));
                }
            }
        }
    }
    root
}

fn clash(path: &str, first: &Entry, again: &Entry, files: &Files) -> Diagnostic {
    Diagnostic::error(
        again.key_place,
        path,
        format!(
            "`{path}` is already set at {}",
            files.describe(first.key_place)
        ),
    )
    .with_also(first.key_place, "first set here")
    .with_help("keep one of the two, or give them different names")
}

/// A graph in the making: what the checks need besides what runs.
pub(crate) struct Draft {
    pub(crate) graph: Graph,
    /// Ids of components that could not be read: no further errors about them.
    pub(crate) broken: Vec<(Kind, String)>,
    /// Per component (in the order of [`Graph::nodes`] by id): its inputs as written, and the place of the key.
    pub(crate) inputs: Vec<WrittenInputs>,
}

pub(crate) struct WrittenInputs {
    pub(crate) id: String,
    pub(crate) kind: Kind,
    pub(crate) place: Place,
    pub(crate) written: Vec<(String, Place)>,
}

struct Assembly<'a> {
    registry: &'a Registry,
    shared: &'a Shared<'a>,
}

impl Assembly<'_> {
    fn graph(&self, mut root: Table) -> Draft {
        let mut sections = Vec::new();
        for kind in SECTIONS {
            if let Some(entry) = root.take(kind.section()) {
                sections.push((kind, entry));
            }
        }
        let globals = self.top(root);
        let (tests, globals) = globals.unwrap_or_default();
        let graph = Graph {
            tests,
            globals: Arc::new(globals),
            ..Graph::default()
        };
        let mut draft = Draft {
            graph,
            broken: Vec::new(),
            inputs: Vec::new(),
        };
        for (kind, section) in sections {
            let Value::Table(components) = section.node.value else {
                self.shared.say(
                    Diagnostic::error(
                        section.key_place,
                        kind.section(),
                        format!("`{}` must be a table", kind.section()),
                    )
                    .with_help(format!("write [{}.NAME]", kind.section())),
                );
                continue;
            };
            for component in components.0 {
                self.component(kind, component, &mut draft);
            }
        }
        draft
    }

    /// What is no component.
    fn top(&self, mut root: Table) -> Option<(Vec<super::TestCase>, Globals)> {
        for name in LATER {
            if let Some(entry) = root.take(name) {
                self.shared.say(
                    Diagnostic::error(
                        entry.key_place,
                        name,
                        format!("`{name}` comes with a later version"),
                    )
                    .with_help(format!("remove [{name}] for now")),
                );
            }
        }
        let place = Place {
            file: 0,
            start: 0,
            end: 0,
        };
        let reader = Reader {
            shared: self.shared,
            table: &root,
            place,
            path: String::new(),
            others: &["sources", "transforms", "sinks"],
            what: "a configuration".to_owned(),
        };
        let top: Top = reader.read()?;
        check::redaction(&top.redaction, &root, self.shared);
        let globals = Globals {
            data_dir: top.data_dir,
            cluster: top.cluster,
            host: self.shared.env.host(),
            admin: top.admin,
            redaction: top.redaction,
            log: top.log,
        };
        Some((top.tests, globals))
    }

    fn component(&self, kind: Kind, entry: Entry, draft: &mut Draft) {
        let id = entry.key;
        let path = format!("{}.{id}", kind.section());
        let say = |d: Diagnostic| self.shared.say(d);
        let name_is_good = !id.is_empty()
            && id
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        if !name_is_good {
            let better: String = id
                .to_lowercase()
                .chars()
                .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
                .collect();
            say(Diagnostic::error(
                entry.key_place,
                &path,
                format!("{id:?} cannot be the name of a component"),
            )
            .with_help(format!(
                "names are lower-case letters, digits and _: write [{}.{better}]",
                kind.section()
            )));
        }
        let Value::Table(table) = entry.node.value else {
            say(Diagnostic::error(
                entry.key_place,
                &path,
                format!("`{path}` must be a table, not {}", entry.node.value.sort()),
            )
            .with_help(format!("write [{path}] and below it type = \"…\"")));
            draft.broken.push((kind, id));
            return;
        };
        let other = draft
            .graph
            .nodes()
            .find(|n| n.id == id)
            .map(|n| (n.kind, n.place));
        if let Some((other, place)) = other {
            say(Diagnostic::error(
                entry.key_place,
                &path,
                format!("a {other} is already called {id:?}"),
            )
            .with_also(place, format!("the {other} {id:?}"))
            .with_help(
                "names are one list for sources, transforms and sinks: rename one of the two",
            ));
            return;
        }
        let place = entry.key_place;
        let meaning = self.filled(&table);
        let keys = match kind {
            Kind::Source => SOURCE_KEYS,
            Kind::Transform => TRANSFORM_KEYS,
            Kind::Sink => SINK_KEYS,
        };
        // A key of the engine that this kind of component does not take gets its own words, not "unknown".
        let (engine, own) = table.split(|key| SINK_KEYS.contains(&key));
        let (engine, foreign) = engine.split(|key| keys.contains(&key));
        let engine_keys = Reader {
            shared: self.shared,
            table: &engine,
            place,
            path: path.clone(),
            others: &[],
            what: format!("the {kind} \"{id}\""),
        }
        .read::<EngineKeys>();
        let type_name = match engine.get("type") {
            Some(Entry {
                node:
                    Tree {
                        value: Value::Text(name),
                        place,
                    },
                ..
            }) => Some((name.clone(), *place)),
            Some(_) => None,
            None => {
                let known = suggest::list(self.registry.of(kind).map(|e| e.type_name), '"');
                say(Diagnostic::error(
                    place,
                    &path,
                    format!("the {kind} \"{id}\" does not say its type"),
                )
                .with_help(format!("add type = \"…\", one of {known}")));
                None
            }
        };
        let found = type_name.and_then(|(name, at)| self.type_of(kind, &name, at, &path));
        if let Some(inputs) = engine_keys.as_ref().and_then(|k| k.inputs.as_ref()) {
            let written = inputs
                .iter()
                .map(|i| (i.get().clone(), i.place()))
                .collect();
            draft.inputs.push(WrittenInputs {
                id: id.clone(),
                kind,
                place: inputs.place(),
                written,
            });
        } else if kind != Kind::Source && engine.get("inputs").is_none() {
            draft.inputs.push(WrittenInputs {
                id: id.clone(),
                kind,
                place,
                written: Vec::new(),
            });
        }
        let Some(component) = found else {
            draft.broken.push((kind, id));
            return;
        };
        let mut foreign_is_own = Table::default();
        for key in foreign.0 {
            // A source may well have an option of its own that sinks share, such as `request`.
            if has_property(&component, &key.key) {
                foreign_is_own.0.push(key);
            } else {
                let belongs = if TRANSFORM_KEYS.contains(&key.key.as_str()) {
                    "transforms and sinks"
                } else {
                    "sinks"
                };
                let full = format!("{path}.{}", key.key);
                say(Diagnostic::error(
                    key.key_place,
                    full,
                    format!("a {kind} takes no `{}`: it belongs to {belongs}", key.key),
                )
                .with_help("remove it here"));
            }
        }
        let own = Table(own.0.into_iter().chain(foreign_is_own.0).collect());
        let what = format!("type \"{}\"", component.type_name);
        let reader = Reader {
            shared: self.shared,
            table: &own,
            place,
            path: path.clone(),
            others: keys,
            what,
        };
        let parsed = (component.parse)(&reader);
        let (Some(parsed), Some(keys)) = (parsed, engine_keys) else {
            draft.broken.push((kind, id));
            return;
        };
        let engine = self.engine(&keys, &component, &path, &id);
        let node = Node {
            id,
            kind,
            type_name: component.type_name,
            stateful: component.stateful,
            network: component.network,
            inputs: Vec::new(),
            outputs: parsed.outputs(),
            engine,
            component: parsed,
            place,
            entry: component,
            meaning,
        };
        match kind {
            Kind::Source => draft.graph.sources.push(node),
            Kind::Transform => draft.graph.transforms.push(node),
            Kind::Sink => draft.graph.sinks.push(node),
        }
    }

    fn type_of(
        &self,
        kind: Kind,
        name: &str,
        at: Place,
        path: &str,
    ) -> Option<crate::component::Entry> {
        if let Some(entry) = self.registry.find(kind, name) {
            return Some(*entry);
        }
        let path = format!("{path}.type");
        let elsewhere = self.registry.iter().find(|e| e.type_name == name);
        let names = || self.registry.of(kind).map(|e| e.type_name);
        let all = format!("{kind}s are {}", suggest::list(names(), '"'));
        let help = match (suggest::nearest(name, names()), elsewhere) {
            (_, Some(other)) => format!(
                "\"{name}\" is a {}: put it under [{}.…]; {all}",
                other.kind,
                other.kind.section()
            ),
            (Some(meant), None) => format!("did you mean \"{meant}\"? {all}"),
            (None, None) => all,
        };
        self.shared.say(
            Diagnostic::error(at, path, format!("there is no {kind} of type {name:?}"))
                .with_help(help),
        );
        None
    }

    /// The engine's options with defaults, and what is wrong with them together.
    fn engine(
        &self,
        keys: &EngineKeys,
        entry: &crate::component::Entry,
        path: &str,
        id: &str,
    ) -> EngineOptions {
        let say = |d: Diagnostic| self.shared.say(d);
        if let Some(workers) = &keys.workers
            && workers.get().get() > 1
            && entry.workers == Workers::One
        {
            let why = if entry.stateful {
                "it remembers, and its memory is one"
            } else {
                "it writes in order, and one alone can"
            };
            say(Diagnostic::error(
                workers.place(),
                format!("{path}.workers"),
                format!(
                    "{} \"{id}\" of type \"{}\" runs once: {why}",
                    entry.kind, entry.type_name
                ),
            )
            .with_help("remove workers, or write workers = 1"));
        }
        check::engine(keys, path, self.shared);
        if let Some(request) = &keys.request
            && !entry.network
        {
            say(Diagnostic::warning(
                request.place(),
                format!("{path}.request"),
                format!(
                    "type \"{}\" writes over no network, so `request` does nothing",
                    entry.type_name
                ),
            )
            .with_help("remove it"));
        }
        EngineOptions {
            workers: keys.workers.as_ref().map(|w| *w.get()),
            kind: entry.workers,
            batch: Batch::resolve(&keys.batch, entry.batch),
            buffer: keys
                .buffer
                .as_ref()
                .map(|b| b.get().clone())
                .unwrap_or_default(),
            request: keys
                .request
                .as_ref()
                .map(|r| r.get().clone())
                .unwrap_or_default(),
            on_failure: keys
                .on_failure
                .as_ref()
                .map_or(OnFailure::Warn, |o| *o.get()),
            failure_after: keys.failure_after.unwrap_or(Duration::from_secs(60)),
            healthcheck: keys.healthcheck.unwrap_or(true),
        }
    }

    /// A table with its variables filled in, for comparison only; what cannot be filled in stays as written.
    fn filled(&self, table: &Table) -> Table {
        fn node(tree: &Tree, env: &dyn Env) -> Tree {
            let value = match &tree.value {
                Value::Text(text) => Value::Text(
                    interpolate::fill(text, env, &mut Vec::new())
                        .map_or_else(|_| text.clone(), |t| t.into_owned()),
                ),
                Value::List(items) => {
                    Value::List(items.iter().map(|item| node(item, env)).collect())
                }
                Value::Table(table) => Value::Table(all(table, env)),
                other => other.clone(),
            };
            Tree {
                place: tree.place,
                value,
            }
        }
        fn all(table: &Table, env: &dyn Env) -> Table {
            Table(
                table
                    .0
                    .iter()
                    .map(|e| Entry {
                        node: node(&e.node, env),
                        ..e.clone()
                    })
                    .collect(),
            )
        }
        all(table, self.shared.env)
    }
}

fn has_property(entry: &crate::component::Entry, key: &str) -> bool {
    let schema = entry.schema(&mut schemars::SchemaGenerator::default());
    schema
        .get("properties")
        .is_some_and(|p| p.get(key).is_some())
}

/// For a caller that has only the errors of one component.
impl From<Diagnostics> for BuildErrors {
    fn from(diagnostics: Diagnostics) -> Self {
        diagnostics
            .items
            .into_iter()
            .map(|d| crate::component::BuildError::new(d.message))
            .fold(BuildErrors::new(), |mut all, e| {
                all.push(e);
                all
            })
    }
}
