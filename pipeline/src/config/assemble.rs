//! The merged tree becomes a graph whose inputs are still words: engine's keys from the component's own, each read by its struct.

use std::sync::Arc;

use schemars::SchemaGenerator;

use super::check;
use super::de::{Reader, Shared};
use super::diagnostic::Diagnostic;
use super::engine;
use super::env::Env;
use super::graph::{Graph, Node};
use super::interpolate;
use super::options::{EngineKeys, Globals, SINK_KEYS, SOURCE_KEYS, TRANSFORM_KEYS, TestCase, Top};
use super::suggest;
use super::tables;
use super::tree::{Entry, Node as Tree, Table, Value};
use crate::component::{self, Kind, Place, Registry};

pub(super) const SECTIONS: [Kind; 3] = [Kind::Source, Kind::Transform, Kind::Sink];

/// Sections of later versions, better refused by name than as unknown.
const LATER: [&str; 3] = ["report", "peer", "retention"];

/// A graph in the making: what the checks need besides what runs.
pub(super) struct Draft {
    pub(super) graph: Graph,
    /// Components some of whose values were wrong and have been left out: built only to look at the others.
    pub(super) half: Vec<Node>,
    /// Every component that was written, also those that could not be read and are not in the graph.
    pub(super) written: Vec<Written>,
}

/// A component as far as it can be known without understanding it.
pub(super) struct Written {
    pub(super) kind: Kind,
    pub(super) id: String,
    /// Its name in the file.
    pub(super) place: Place,
    /// Its inputs as written; `None` where the key is absent.
    pub(super) inputs: Option<Vec<(String, Place)>>,
    /// Where they stand.
    pub(super) inputs_place: Place,
}

impl Draft {
    /// Whether a component is written but could not be read: no further errors about it.
    pub(super) fn is_broken(&self, id: &str) -> bool {
        self.graph.node(id).is_none() && self.written.iter().any(|w| w.id == id)
    }
}

/// Reads everything; what is wrong is in `shared`.
pub(super) fn assemble(mut root: Table, registry: &Registry, shared: &Shared<'_>) -> Draft {
    let mut sections = Vec::new();
    for kind in SECTIONS {
        if let Some(entry) = root.take(kind.section()) {
            sections.push((kind, entry));
        }
    }
    let tables = root.take(tables::SECTION);
    let tables = tables.map(|section| tables::open(section, registry, shared));
    let (tests, globals) = top(root, shared).unwrap_or_default();
    let graph = Graph {
        tests,
        globals: Arc::new(globals),
        tables: tables.unwrap_or_default(),
        ..Graph::default()
    };
    let mut draft = Draft {
        graph,
        half: Vec::new(),
        written: Vec::new(),
    };
    for (kind, section) in sections {
        let Value::Table(components) = section.node.value else {
            let name = kind.section();
            shared.say(
                Diagnostic::error(section.key_place, name, format!("`{name}` must be a table"))
                    .with_help(format!("write [{name}.NAME]")),
            );
            continue;
        };
        for entry in components.0 {
            let path = format!("{}.{}", kind.section(), entry.key);
            Assembly {
                registry,
                shared,
                kind,
                path,
            }
            .component(entry, &mut draft);
        }
    }
    draft
}

/// What is no component.
fn top(mut root: Table, shared: &Shared<'_>) -> Option<(Vec<TestCase>, Globals)> {
    for name in LATER {
        if let Some(entry) = root.take(name) {
            let message = format!("`{name}` comes with a later version");
            shared.say(
                Diagnostic::error(entry.key_place, name, message)
                    .with_help(format!("remove [{name}]")),
            );
        }
    }
    let reader = Reader {
        shared,
        table: &root,
        place: Place::start_of(0),
        path: String::new(),
        others: &["sources", "transforms", "sinks", tables::SECTION],
        what: "a configuration".to_owned(),
    };
    let (top, _) = reader.read::<Top>()?;
    check::admin(&top.admin, &root, shared);
    check::redaction(&top.redaction, &root, shared);
    check::log(&top.log, &root, shared);
    let globals = Globals {
        data_dir: top.data_dir,
        cluster: top.cluster,
        language: top.language,
        host: shared.env.host(),
        admin: top.admin,
        redaction: top.redaction,
        log: top.log,
    };
    Some((top.tests, globals))
}

/// One component in the making.
struct Assembly<'a> {
    registry: &'a Registry,
    shared: &'a Shared<'a>,
    kind: Kind,
    path: String,
}

impl Assembly<'_> {
    fn component(&self, entry: Entry, draft: &mut Draft) {
        let Entry {
            key: id,
            key_place: place,
            node,
        } = entry;
        if !self.name(&id, place, draft) {
            return;
        }
        let Value::Table(table) = node.value else {
            let message = format!("`{}` must be a table, not {}", self.path, node.value.sort());
            self.error(place, message)
                .help(format!("write [{}] and below it type = \"…\"", self.path));
            draft.written.push(Written {
                kind: self.kind,
                id,
                place,
                inputs: Some(Vec::new()),
                inputs_place: place,
            });
            return;
        };
        let meaning = meaning(&table, self.shared.env);
        // A key of the engine that this kind of component does not take gets its own words, not "unknown".
        let (engine, own) = table.split(|key| SINK_KEYS.contains(&key));
        let (engine, foreign) = engine.split(|key| self.keys().contains(&key));
        draft.written.push(self.written(id.clone(), place, &engine));
        let engine_keys = Reader {
            shared: self.shared,
            table: &engine,
            place,
            path: self.path.clone(),
            others: &[],
            what: format!("the {} \"{id}\"", self.kind),
        }
        .read::<EngineKeys>();
        let Some(component) = self.type_of(&id, place, &engine) else {
            return;
        };
        let own = self.with_its_own(own, foreign, &component);
        let parsed = (component.parse)(&Reader {
            shared: self.shared,
            table: &own,
            place,
            path: self.path.clone(),
            others: self.keys(),
            what: format!("type \"{}\"", component.type_name),
        });
        let engine = engine_keys.map(|(keys, whole)| {
            let options = engine::options(&keys, &component, &self.path, &id, self.shared);
            (options, whole)
        });
        let (Some((parsed, own_whole)), Some((mut engine, engine_whole))) = (parsed, engine) else {
            return;
        };
        if engine.workers.is_none()
            && let Some(kind) = parsed.workers()
        {
            engine.kind = kind;
        }
        let nodes = match self.kind {
            _ if !(own_whole && engine_whole) => &mut draft.half,
            Kind::Source => &mut draft.graph.sources,
            Kind::Transform => &mut draft.graph.transforms,
            Kind::Sink => &mut draft.graph.sinks,
        };
        nodes.push(Node {
            id,
            kind: self.kind,
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
        });
    }

    /// The engine's keys of this kind of component.
    fn keys(&self) -> &'static [&'static str] {
        match self.kind {
            Kind::Source => SOURCE_KEYS,
            Kind::Transform => TRANSFORM_KEYS,
            Kind::Sink => SINK_KEYS,
        }
    }

    fn error(&self, place: Place, message: String) -> Saying<'_> {
        Saying {
            shared: self.shared,
            diagnostic: Some(Diagnostic::error(place, &self.path, message)),
        }
    }

    /// Whether the name can be used; a bad spelling is reported and used all the same.
    fn name(&self, id: &str, place: Place, draft: &Draft) -> bool {
        let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        if id.is_empty() || !id.bytes().all(good) {
            let better: String = id
                .to_lowercase()
                .chars()
                .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
                .collect();
            let section = self.kind.section();
            self.error(place, format!("{id:?} cannot be the name of a component"))
                .help(format!(
                    "names are lower-case letters, digits and _: write [{section}.{better}]"
                ));
        }
        let Some(other) = draft.written.iter().find(|w| w.id == id) else {
            return true;
        };
        let message = format!("a {} is already called {id:?}", other.kind);
        let mut said = self.error(place, message);
        said.also(other.place, format!("the {} {id:?}", other.kind));
        said.help("names are one list for sources, transforms and sinks: rename one of the two");
        false
    }

    /// The inputs as they stand in the tree, so that a mistake in another key does not hide them.
    fn written(&self, id: String, place: Place, engine: &Table) -> Written {
        let entry = engine.get("inputs");
        let texts = |items: &[Tree]| {
            let texts = items.iter().filter_map(|item| match &item.value {
                Value::Text(text) => Some((text.clone(), item.place)),
                _ => None,
            });
            texts.collect()
        };
        let inputs = match (entry.map(|e| &e.node.value), self.kind) {
            (Some(Value::List(items)), _) => Some(texts(items)),
            // A single name without brackets is a mistake that has been reported, and is clear.
            (Some(_), _) => entry.map(|e| texts(std::slice::from_ref(&e.node))),
            (None, Kind::Source) => Some(Vec::new()),
            (None, _) => None,
        };
        Written {
            kind: self.kind,
            id,
            place,
            inputs,
            inputs_place: entry.map_or(place, |e| e.node.place),
        }
    }

    /// The component that `type` names.
    fn type_of(&self, id: &str, place: Place, engine: &Table) -> Option<component::Entry> {
        let names = || self.registry.of(self.kind).map(|e| e.type_name);
        let (name, at) = match engine.get("type").map(|e| &e.node) {
            Some(Tree {
                value: Value::Text(name),
                place,
            }) => (name, *place),
            // Reported by the reader of the engine's keys.
            Some(_) => return None,
            None => {
                let message = format!("the {} \"{id}\" does not say its type", self.kind);
                let known = suggest::either(names(), '"');
                self.error(place, message)
                    .guess()
                    .help(format!("add type = {known}"));
                return None;
            }
        };
        if let Some(entry) = self.registry.find(self.kind, name) {
            return Some(*entry);
        }
        let all = format!("{}s are {}", self.kind, suggest::list(names(), '"'));
        let elsewhere = self.registry.iter().find(|e| e.type_name == name);
        let help = match (elsewhere, suggest::nearest(name, names())) {
            (Some(other), _) => format!(
                "\"{name}\" is a {}: put it under [{}.{id}]; {all}",
                other.kind,
                other.kind.section()
            ),
            (None, Some(meant)) => format!("did you mean \"{meant}\"? {all}"),
            (None, None) => all,
        };
        let message = format!("there is no {} of type {name:?}", self.kind);
        let path = format!("{}.type", self.path);
        self.shared
            .say(Diagnostic::error(at, path, message).with_help(help));
        None
    }

    /// The component's own keys, with those the engine gives to other kinds but the component knows itself.
    fn with_its_own(&self, own: Table, foreign: Table, component: &component::Entry) -> Table {
        let mut all = own.0;
        for entry in foreign.0 {
            let schema = component.schema(&mut SchemaGenerator::default());
            let properties = schema.get("properties");
            if properties.is_some_and(|p| p.get(&entry.key).is_some()) {
                all.push(entry);
                continue;
            }
            let belongs = match TRANSFORM_KEYS.contains(&entry.key.as_str()) {
                true => "transforms and sinks",
                false => "sinks",
            };
            let message = format!(
                "a {} takes no `{}`: it belongs to {belongs}",
                self.kind, entry.key
            );
            let path = format!("{}.{}", self.path, entry.key);
            self.shared
                .say(Diagnostic::error(entry.key_place, path, message).with_help("remove it here"));
        }
        Table(all)
    }
}

/// A diagnostic that is said when the last word about it has been added.
struct Saying<'a> {
    shared: &'a Shared<'a>,
    diagnostic: Option<Diagnostic>,
}

impl Saying<'_> {
    fn also(&mut self, place: Place, word: String) {
        self.diagnostic = self.diagnostic.take().map(|d| d.with_also(place, word));
    }

    fn guess(mut self) -> Self {
        self.diagnostic = self.diagnostic.take().map(Diagnostic::guessed);
        self
    }

    fn help(self, help: impl Into<String>) {
        if let Some(diagnostic) = self.diagnostic {
            self.shared.say(diagnostic.with_help(help));
        }
    }
}

/// A table in which every string with variables also says, by a digest, what they stand for: enough to see a change, and
/// no secret is kept for it. What cannot be filled in stays as written.
pub(super) fn meaning(table: &Table, env: &dyn Env) -> Table {
    fn node(tree: &Tree, env: &dyn Env) -> Tree {
        let value = match &tree.value {
            Value::Text(text) => Value::Text(match interpolate::fill(text, env, &mut Vec::new()) {
                Ok(filled) if filled != *text => {
                    let digest =
                        aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, filled.as_bytes());
                    format!("{text} {digest:?}")
                }
                _ => text.clone(),
            }),
            Value::List(items) => Value::List(items.iter().map(|item| node(item, env)).collect()),
            Value::Table(table) => Value::Table(meaning(table, env)),
            other => other.clone(),
        };
        Tree {
            place: tree.place,
            value,
        }
    }
    let entries = table.0.iter().map(|entry| Entry {
        node: node(&entry.node, env),
        ..entry.clone()
    });
    Table(entries.collect())
}
