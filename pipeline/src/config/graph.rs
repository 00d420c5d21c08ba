//! A configuration that holds: components, their connections, and what applies to all of them.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use super::options::{EngineOptions, Globals, TestCase};
use super::tree::{Table, Value};
use crate::component::{AnyConfig, Context, Entry, Kind, Place};
use crate::table::Tables;

/// One output of one component: `parsed`, `watch.alerts`, `parsed.errors`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OutputRef {
    /// The component.
    pub id: String,
    /// The output's name; `None` is the one without a name.
    pub output: Option<String>,
}

impl OutputRef {
    /// Whether it is the output of events that could not be worked on.
    pub fn is_errors(&self) -> bool {
        self.output.as_deref() == Some("errors")
    }
}

impl fmt::Display for OutputRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.output {
            Some(output) => write!(f, "{}.{output}", self.id),
            None => f.write_str(&self.id),
        }
    }
}

/// One component of the graph.
pub struct Node {
    /// The operator's name for it.
    pub id: String,
    /// Source, transform or sink.
    pub kind: Kind,
    /// The word after `type =`.
    pub type_name: &'static str,
    /// Whether it remembers.
    pub stateful: bool,
    /// Whether it writes over a network.
    pub network: bool,
    /// Where its events come from, patterns resolved; empty for a source.
    pub inputs: Vec<OutputRef>,
    /// Names of its further outputs, besides the unnamed one and `errors`.
    pub outputs: Vec<String>,
    /// The engine's options.
    pub engine: EngineOptions,
    /// Its own configuration.
    pub component: Box<dyn AnyConfig>,
    /// Where it begins in the files.
    pub place: Place,
    pub(crate) entry: Entry,
    /// All its keys, with a digest of what their variables stand for, to see whether it changed.
    pub(crate) meaning: Table,
}

impl Node {
    /// The texts under one of the component's keys, as they stand in the files: one, or those of a list.
    pub fn texts(&self, key: &str) -> Vec<&str> {
        fn text(value: &Value) -> Option<&str> {
            match value {
                Value::Text(text) => Some(text.as_str()),
                _ => None,
            }
        }
        match self.meaning.get(key).map(|entry| &entry.node.value) {
            Some(Value::List(items)) => items.iter().filter_map(|item| text(&item.value)).collect(),
            Some(value) => text(value).into_iter().collect(),
            None => Vec::new(),
        }
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ({})", self.kind, self.id, self.type_name)
    }
}

/// A configuration that holds.
#[derive(Debug, Default)]
pub struct Graph {
    /// Where events come in, in the order of the files.
    pub sources: Vec<Node>,
    /// What changes, chooses or makes events; each after those it takes events from.
    pub transforms: Vec<Node>,
    /// Where events go out, in the order of the files.
    pub sinks: Vec<Node>,
    /// The configuration's own tests.
    pub tests: Vec<TestCase>,
    /// What holds for the whole program.
    pub globals: Arc<Globals>,
    /// What events are looked up in.
    pub tables: Tables,
}

impl Graph {
    /// Sources, transforms and sinks.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.sources
            .iter()
            .chain(&self.transforms)
            .chain(&self.sinks)
    }

    /// The component with that id.
    pub fn node(&self, id: &str) -> Option<&Node> {
        self.nodes().find(|node| node.id == id)
    }

    /// Who takes an output.
    pub fn takers<'a>(&'a self, output: &'a OutputRef) -> impl Iterator<Item = &'a Node> {
        self.nodes()
            .filter(move |node| node.inputs.contains(output))
    }

    /// What `build` of this component gets to know.
    pub fn context(&self, node: &Node) -> Context {
        Context {
            id: node.id.clone(),
            kind: node.kind,
            type_name: node.type_name,
            globals: Arc::clone(&self.globals),
            request: node.engine.request.clone(),
            batch: node.engine.batch,
            tables: self.tables.clone(),
            warnings: Arc::default(),
            feeds_state: self.feeds_state(&node.id),
        }
    }

    /// Whether a transform that remembers lies behind a component, however far.
    fn feeds_state(&self, id: &str) -> bool {
        let mut reached = BTreeSet::from([id]);
        // Each comes after those it takes events from.
        self.transforms.iter().any(|transform| {
            let behind = transform
                .inputs
                .iter()
                .any(|input| reached.contains(input.id.as_str()));
            if behind {
                reached.insert(transform.id.as_str());
            }
            behind && transform.stateful
        })
    }
}
