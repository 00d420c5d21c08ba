//! How a component is configured: one struct per type, deserialized from its TOML table, from which the running part is built.

use std::fmt;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use super::run::{Key, Sink, Source, Stateful, Transform};
use super::{BuildErrors, Context};
use crate::units::{Bytes, Duration};

/// What a component is to the graph; also the metric label `component_kind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Events come in.
    Source,
    /// Events are changed, chosen or made.
    Transform,
    /// Events go out.
    Sink,
}

impl Kind {
    /// `source`, `transform` or `sink`.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Source => "source",
            Kind::Transform => "transform",
            Kind::Sink => "sink",
        }
    }

    /// The section of the file: `sources`, `transforms` or `sinks`.
    pub fn section(self) -> &'static str {
        match self {
            Kind::Source => "sources",
            Kind::Transform => "transforms",
            Kind::Sink => "sinks",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How many of a sink may run side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workers {
    /// Any number; each gets whole batches, in no order between them.
    Any,
    /// Any number; what has the same key ([`SinkConfig::key`]) goes to the same worker, in order.
    ByKey,
    /// One, because order or a file belongs to it alone.
    One,
}

/// When a batch is full, unless the operator says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchDefaults {
    /// Most events of one write.
    pub max_events: usize,
    /// Most bytes of one write, as the events are held in memory.
    pub max_size: Bytes,
    /// Longest wait of the first event of a batch.
    pub timeout: Duration,
}

impl BatchDefaults {
    /// 1000 events, 1 MiB, one second.
    pub const DEFAULT: BatchDefaults = BatchDefaults {
        max_events: 1000,
        max_size: Bytes::mib(1),
        timeout: Duration::from_secs(1),
    };
}

/// The configuration of a source.
pub trait SourceConfig: DeserializeOwned + JsonSchema + Send + Sync + 'static {
    /// The word after `type =`.
    const TYPE: &'static str;
    /// The component's own keys as an operator writes them, for the manual page; tested to parse.
    const EXAMPLE: &'static str;
    /// One sentence for lists; the first line of the struct's doc comment where this is empty.
    const SUMMARY: &'static str = "";

    /// Makes the running part. Pure: opens no file for writing, listens on nothing, connects nowhere.
    fn build(&self, cx: &Context) -> Result<Box<dyn Source>, BuildErrors>;

    /// What `validate` warns of although it is right as it stands, and what to do instead: two sentences.
    fn caution(&self) -> Option<(String, String)> {
        None
    }

    /// Names of further outputs (`id.name`), besides the unnamed one and `.errors`.
    fn outputs(&self) -> Vec<String> {
        Vec::new()
    }
}

/// The configuration of a transform that keeps no memory.
pub trait TransformConfig: DeserializeOwned + JsonSchema + Send + Sync + 'static {
    /// The word after `type =`.
    const TYPE: &'static str;
    /// The component's own keys as an operator writes them, for the manual page; tested to parse.
    const EXAMPLE: &'static str;
    /// One sentence for lists; the first line of the struct's doc comment where this is empty.
    const SUMMARY: &'static str = "";
    /// `false` where every event leaves by a named output (`route`), so that nobody has to take the unnamed one.
    const MAIN_OUTPUT: bool = true;

    /// Makes the running part; called once per worker. Pure.
    fn build(&self, cx: &Context) -> Result<Box<dyn Transform>, BuildErrors>;

    /// Names of further outputs (`id.name`), besides the unnamed one and `.errors`.
    fn outputs(&self) -> Vec<String> {
        Vec::new()
    }

    /// Names of the enrichment tables it uses, so that a reload knows whom a changed table concerns.
    fn tables(&self) -> Vec<String> {
        Vec::new()
    }
}

/// The configuration of a transform that remembers.
pub trait StatefulConfig: DeserializeOwned + JsonSchema + Send + Sync + 'static {
    /// The word after `type =`.
    const TYPE: &'static str;
    /// The component's own keys as an operator writes them, for the manual page; tested to parse.
    const EXAMPLE: &'static str;
    /// One sentence for lists; the first line of the struct's doc comment where this is empty.
    const SUMMARY: &'static str = "";
    /// `false` where every event leaves by a named output (`notify`), so that nobody has to take the unnamed one.
    const MAIN_OUTPUT: bool = true;

    /// Makes the running part. Pure.
    fn build(&self, cx: &Context) -> Result<Box<dyn Stateful>, BuildErrors>;

    /// Names of further outputs (`id.name`), besides the unnamed one and `.errors`.
    fn outputs(&self) -> Vec<String> {
        Vec::new()
    }

    /// Names of the enrichment tables it uses, so that a reload knows whom a changed table concerns.
    fn tables(&self) -> Vec<String> {
        Vec::new()
    }
}

/// The configuration of a sink.
pub trait SinkConfig: DeserializeOwned + JsonSchema + Send + Sync + 'static {
    /// The word after `type =`.
    const TYPE: &'static str;
    /// The component's own keys as an operator writes them, for the manual page; tested to parse.
    const EXAMPLE: &'static str;
    /// One sentence for lists; the first line of the struct's doc comment where this is empty.
    const SUMMARY: &'static str = "";
    /// How many may run side by side.
    const WORKERS: Workers;
    /// When a batch is full, unless the operator says otherwise.
    const BATCH: BatchDefaults = BatchDefaults::DEFAULT;
    /// Whether it writes over a network, so that `request` makes sense and two of them behind one source deserve a queue.
    const NETWORK: bool = false;

    /// Makes the running part; called once per worker. Pure.
    fn build(&self, cx: &Context) -> Result<Box<dyn Sink>, BuildErrors>;

    /// How many may run side by side in this configuration, where nobody says how many do: a form in which order counts
    /// may want one.
    fn workers(&self) -> Workers {
        Self::WORKERS
    }

    /// What belongs together, where [`WORKERS`](Self::WORKERS) is [`Workers::ByKey`]; made once, beside the workers. Pure.
    /// Without it everything belongs together, and one worker writes it.
    fn key(&self, _cx: &Context) -> Result<Option<Box<dyn Key>>, BuildErrors> {
        Ok(None)
    }
}
