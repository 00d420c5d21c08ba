//! The list of the components this program knows: plain lines in each crate's `register`, no link-time magic.

use std::fmt;

use schemars::{Schema, SchemaGenerator};

use super::run::{Key, Sink, Source, Stateful, Transform};
use super::{
    BatchDefaults, BuildErrors, Context, Kind, SinkConfig, SourceConfig, StatefulConfig,
    TransformConfig, Workers,
};
use crate::config::de::Reader;
use crate::table::{TableConfig, TableEntry};

/// The running part of a component, just built.
pub enum Component {
    /// A source.
    Source(Box<dyn Source>),
    /// A transform without memory.
    Transform(Box<dyn Transform>),
    /// A transform that remembers.
    Stateful(Box<dyn Stateful>),
    /// A sink.
    Sink(Box<dyn Sink>),
}

/// A parsed configuration of some component, whose type nobody needs to know.
pub trait AnyConfig: Send + Sync {
    /// Makes the running part. Pure.
    fn build(&self, cx: &Context) -> Result<Component, BuildErrors>;
    /// What belongs together, for a sink whose workers are chosen by key; nobody else has one.
    fn key(&self, _cx: &Context) -> Result<Option<Box<dyn Key>>, BuildErrors> {
        Ok(None)
    }
    /// How many of a sink may run side by side where the operator does not say it; `None` for what is no sink.
    fn workers(&self) -> Option<Workers> {
        None
    }
    /// Names of its further outputs, besides the unnamed one and `errors`.
    fn outputs(&self) -> Vec<String>;
    /// What `validate` warns of although it is right as it stands, and what to do instead.
    fn caution(&self) -> Option<(String, String)> {
        None
    }
    /// Names of the enrichment tables it uses.
    fn tables(&self) -> Vec<String> {
        Vec::new()
    }
    /// The configuration itself, for commands that know its type.
    fn as_any(&self) -> &dyn std::any::Any;
}

impl fmt::Debug for dyn AnyConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AnyConfig")
    }
}

struct AnySource<C>(C);
struct AnyTransform<C>(C);
struct AnyStateful<C>(C);
struct AnySink<C>(C);

impl<C: SourceConfig> AnyConfig for AnySource<C> {
    fn build(&self, cx: &Context) -> Result<Component, BuildErrors> {
        self.0.build(cx).map(Component::Source)
    }
    fn caution(&self) -> Option<(String, String)> {
        self.0.caution()
    }
    fn outputs(&self) -> Vec<String> {
        self.0.outputs()
    }
    fn as_any(&self) -> &dyn std::any::Any {
        &self.0
    }
}

impl<C: TransformConfig> AnyConfig for AnyTransform<C> {
    fn build(&self, cx: &Context) -> Result<Component, BuildErrors> {
        self.0.build(cx).map(Component::Transform)
    }
    fn outputs(&self) -> Vec<String> {
        self.0.outputs()
    }
    fn tables(&self) -> Vec<String> {
        self.0.tables()
    }
    fn as_any(&self) -> &dyn std::any::Any {
        &self.0
    }
}

impl<C: StatefulConfig> AnyConfig for AnyStateful<C> {
    fn build(&self, cx: &Context) -> Result<Component, BuildErrors> {
        self.0.build(cx).map(Component::Stateful)
    }
    fn outputs(&self) -> Vec<String> {
        self.0.outputs()
    }
    fn tables(&self) -> Vec<String> {
        self.0.tables()
    }
    fn as_any(&self) -> &dyn std::any::Any {
        &self.0
    }
}

impl<C: SinkConfig> AnyConfig for AnySink<C> {
    fn build(&self, cx: &Context) -> Result<Component, BuildErrors> {
        self.0.build(cx).map(Component::Sink)
    }
    fn workers(&self) -> Option<Workers> {
        Some(self.0.workers())
    }
    fn key(&self, cx: &Context) -> Result<Option<Box<dyn Key>>, BuildErrors> {
        match C::WORKERS {
            Workers::ByKey => self.0.key(cx),
            Workers::Any | Workers::One => Ok(None),
        }
    }
    fn outputs(&self) -> Vec<String> {
        Vec::new()
    }
    fn as_any(&self) -> &dyn std::any::Any {
        &self.0
    }
}

/// Reads a table; also says whether all of it was right.
type Parse = fn(&Reader<'_>) -> Option<(Box<dyn AnyConfig>, bool)>;

/// One type of component.
#[derive(Clone, Copy)]
pub struct Entry {
    /// Source, transform or sink.
    pub kind: Kind,
    /// The word after `type =`.
    pub type_name: &'static str,
    /// Its keys, as an operator writes them.
    pub example: &'static str,
    /// Whether it remembers, and therefore runs once.
    pub stateful: bool,
    /// Whether its unnamed output carries events.
    pub main_output: bool,
    /// How many may run side by side; for sources and stateful transforms one.
    pub workers: Workers,
    /// When a batch is full, unless the operator says otherwise; for sinks.
    pub batch: BatchDefaults,
    /// Whether it writes over a network; for sinks.
    pub network: bool,
    summary: &'static str,
    schema: fn(&mut SchemaGenerator) -> Schema,
    /// Its configuration without the values that were wrong, and whether none was.
    pub(crate) parse: Parse,
}

impl Entry {
    /// One sentence about it.
    pub fn summary(&self) -> String {
        if !self.summary.is_empty() {
            return self.summary.to_owned();
        }
        let schema = (self.schema)(&mut SchemaGenerator::default());
        let text = schema
            .get("description")
            .and_then(|d| d.as_str())
            .unwrap_or_default();
        text.lines()
            .take_while(|line| !line.trim().is_empty())
            .collect::<Vec<_>>()
            .join(" ")
    }

    /// The JSON Schema of its own keys.
    pub fn schema(&self, generator: &mut SchemaGenerator) -> Schema {
        (self.schema)(generator)
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.kind, self.type_name)
    }
}

/// The components this program knows, in the order they were named.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    entries: Vec<Entry>,
    tables: Vec<TableEntry>,
}

impl Registry {
    /// An empty one.
    pub fn new() -> Self {
        Registry::default()
    }

    /// Adds a source.
    pub fn source<C: SourceConfig>(&mut self) {
        self.add(Entry {
            kind: Kind::Source,
            type_name: C::TYPE,
            example: C::EXAMPLE,
            stateful: false,
            main_output: true,
            workers: Workers::One,
            batch: BatchDefaults::DEFAULT,
            network: false,
            summary: C::SUMMARY,
            schema: |generator| C::json_schema(generator),
            parse: |reader| {
                let (c, whole) = reader.read::<C>()?;
                Some((Box::new(AnySource(c)) as Box<dyn AnyConfig>, whole))
            },
        });
    }

    /// Adds a transform without memory.
    pub fn transform<C: TransformConfig>(&mut self) {
        self.add(Entry {
            kind: Kind::Transform,
            type_name: C::TYPE,
            example: C::EXAMPLE,
            stateful: false,
            main_output: C::MAIN_OUTPUT,
            workers: Workers::Any,
            batch: BatchDefaults::DEFAULT,
            network: false,
            summary: C::SUMMARY,
            schema: |generator| C::json_schema(generator),
            parse: |reader| {
                let (c, whole) = reader.read::<C>()?;
                Some((Box::new(AnyTransform(c)) as Box<dyn AnyConfig>, whole))
            },
        });
    }

    /// Adds a transform that remembers.
    pub fn stateful<C: StatefulConfig>(&mut self) {
        self.add(Entry {
            kind: Kind::Transform,
            type_name: C::TYPE,
            example: C::EXAMPLE,
            stateful: true,
            main_output: C::MAIN_OUTPUT,
            workers: Workers::One,
            batch: BatchDefaults::DEFAULT,
            network: false,
            summary: C::SUMMARY,
            schema: |generator| C::json_schema(generator),
            parse: |reader| {
                let (c, whole) = reader.read::<C>()?;
                Some((Box::new(AnyStateful(c)) as Box<dyn AnyConfig>, whole))
            },
        });
    }

    /// Adds a sink.
    pub fn sink<C: SinkConfig>(&mut self) {
        self.add(Entry {
            kind: Kind::Sink,
            type_name: C::TYPE,
            example: C::EXAMPLE,
            stateful: false,
            main_output: false,
            workers: C::WORKERS,
            batch: C::BATCH,
            network: C::NETWORK,
            summary: C::SUMMARY,
            schema: |generator| C::json_schema(generator),
            parse: |reader| {
                let (c, whole) = reader.read::<C>()?;
                Some((Box::new(AnySink(c)) as Box<dyn AnyConfig>, whole))
            },
        });
    }

    /// Adds a type of enrichment table.
    pub fn table<C: TableConfig>(&mut self) {
        let entry = TableEntry::new::<C>();
        assert!(
            self.tables.iter().all(|t| t.type_name != entry.type_name),
            "{entry:?} is registered twice"
        );
        self.tables.push(entry);
    }

    /// The types of enrichment tables.
    pub fn tables(&self) -> impl Iterator<Item = &TableEntry> {
        self.tables.iter()
    }

    /// A type that is named twice would make the first one unreachable: a mistake in our own `register`, found by any test.
    fn add(&mut self, entry: Entry) {
        assert!(
            self.find(entry.kind, entry.type_name).is_none(),
            "{entry:?} is registered twice"
        );
        self.entries.push(entry);
    }

    /// The component of that kind and type.
    pub fn find(&self, kind: Kind, type_name: &str) -> Option<&Entry> {
        self.entries
            .iter()
            .find(|e| e.kind == kind && e.type_name == type_name)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    /// All of one kind.
    pub fn of(&self, kind: Kind) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(move |e| e.kind == kind)
    }
}
