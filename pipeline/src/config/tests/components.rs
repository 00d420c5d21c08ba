//! Made-up components that have every sort of option, and do nothing.

use std::collections::BTreeMap;
use std::path::PathBuf;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::batch::Batch;
use crate::clock::Time;
use crate::component::{
    BuildError, BuildErrors, Context, Encoding, Registry, Sink, SinkConfig, Source, SourceConfig,
    SourceError, Spanned, StateError, Stateful, StatefulConfig, Transform, TransformConfig,
    Workers, WriteError, Written,
};
use crate::event::Event;
use crate::events::Events;
use crate::net::{Auth, Secret, TlsOptions};
use crate::outputs::Outputs;
use crate::source_out::SourceOut;
use crate::units::{Bytes, Duration};

pub(super) fn registry() -> Registry {
    let mut registry = Registry::new();
    registry.source::<Lines>();
    registry.transform::<Match>();
    registry.transform::<Split>();
    registry.stateful::<Window>();
    registry.sink::<Http>();
    registry.sink::<Writer>();
    registry.sink::<Hole>();
    registry
}

struct Nothing;

#[async_trait]
impl Source for Nothing {
    async fn run(&mut self, _: SourceOut) -> Result<(), SourceError> {
        Ok(())
    }
}

impl Transform for Nothing {
    fn apply(&mut self, batch: Batch, out: &mut Outputs) {
        out.push(batch);
    }
}

impl Stateful for Nothing {
    fn apply(&mut self, event: Event, out: &mut Outputs) {
        out.emit(event);
    }
    fn advance(&mut self, _: Time, _: &mut Outputs) {}
    fn save(&self, _: &mut Vec<u8>) {}
    fn load(&mut self, _: &[u8]) -> Result<(), StateError> {
        Ok(())
    }
}

#[async_trait]
impl Sink for Nothing {
    async fn write(&mut self, _: Events) -> Result<Written, WriteError> {
        Ok(Written::default())
    }
}

/// Reads lines.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[derive(Default)]
pub(super) struct Lines {
    /// Files to read.
    include: Vec<PathBuf>,
    /// Files to leave alone.
    exclude: Vec<PathBuf>,
    /// Longest line.
    max_line_size: Option<Bytes>,
    /// How long a rotated file is kept open.
    rotate_wait: Option<Duration>,
    /// Where to begin.
    read_from: ReadFrom,
    /// Lines that belong together.
    multiline: Option<Multiline>,
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum ReadFrom {
    #[default]
    Beginning,
    End,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Multiline {
    /// How a first line looks.
    start: Spanned<String>,
    /// When to stop waiting.
    timeout: Duration,
}

impl SourceConfig for Lines {
    const TYPE: &'static str = "lines";
    const EXAMPLE: &'static str = "include = [\"/var/log/*.log\"]\nread_from = \"end\"";
    fn build(&self, _: &Context) -> Result<Box<dyn Source>, BuildErrors> {
        let _ = (
            &self.include,
            &self.exclude,
            &self.max_line_size,
            &self.rotate_wait,
        );
        let _ = (
            &self.read_from,
            self.multiline.as_ref().map(|m| (&m.start, &m.timeout)),
        );
        Ok(Box::new(Nothing))
    }
}

/// Takes lines apart by patterns. A pattern is wrong from its first `!` on.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Match {
    /// Patterns; the first that matches wins.
    patterns: Vec<Spanned<String>>,
    /// Patterns of your own, by name.
    #[serde(default)]
    definitions: BTreeMap<String, Spanned<String>>,
}

impl TransformConfig for Match {
    const TYPE: &'static str = "match";
    const EXAMPLE: &'static str = "patterns = ['%{IP}']";
    fn build(&self, _: &Context) -> Result<Box<dyn Transform>, BuildErrors> {
        let mut errors = BuildErrors::new();
        for pattern in self.patterns.iter().chain(self.definitions.values()) {
            if let Some(at) = pattern.find('!') {
                let error = BuildError::inside(pattern, at..at + 1, "a pattern has no \"!\"");
                errors.push(error.help("remove it"));
            }
        }
        if self.patterns.is_empty() {
            errors.push(BuildError::key("patterns", "there is no pattern"));
        }
        errors.finish(Box::new(Nothing))
    }
}

/// Sends events several ways.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Split {
    /// Conditions by the name of their output.
    route: BTreeMap<String, Spanned<String>>,
}

impl TransformConfig for Split {
    const TYPE: &'static str = "split";
    const EXAMPLE: &'static str = "route = { bad = '.level == \"error\"' }";
    const MAIN_OUTPUT: bool = false;
    fn build(&self, _: &Context) -> Result<Box<dyn Transform>, BuildErrors> {
        Ok(Box::new(Nothing))
    }
    fn outputs(&self) -> Vec<String> {
        self.route.keys().cloned().collect()
    }
}

/// Remembers for a while.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Window {
    /// How long.
    window: Duration,
    /// How many keys at most.
    #[serde(default)]
    max_keys: u32,
}

impl StatefulConfig for Window {
    const TYPE: &'static str = "window";
    const EXAMPLE: &'static str = "window = \"10m\"";
    fn build(&self, _: &Context) -> Result<Box<dyn Stateful>, BuildErrors> {
        let _ = (self.window, self.max_keys);
        Ok(Box::new(Nothing))
    }
    fn outputs(&self) -> Vec<String> {
        vec!["alerts".to_owned()]
    }
}

/// Sends events over the network.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Http {
    /// Where to.
    uri: String,
    /// How to say who we are.
    auth: Option<Auth>,
    /// TLS.
    #[serde(default)]
    tls: TlsOptions,
    /// How an event looks.
    #[serde(default)]
    encoding: Encoding,
    /// The port, for a test of numbers.
    #[serde(default)]
    port: u16,
    /// Whether to, for a test of truth.
    #[serde(default)]
    eager: bool,
    /// A secret.
    token: Option<Secret>,
    /// A limit.
    max_body: Option<Bytes>,
}

impl SinkConfig for Http {
    const TYPE: &'static str = "http";
    const EXAMPLE: &'static str = "uri = \"https://soc.example/pve\"";
    const WORKERS: Workers = Workers::Any;
    const NETWORK: bool = true;
    fn build(&self, _: &Context) -> Result<Box<dyn Sink>, BuildErrors> {
        let mut errors = BuildErrors::new();
        if !self.uri.starts_with("http") {
            let message = format!("{:?} is no address", self.uri);
            errors.push(BuildError::key("uri", message).help("write https://…"));
        }
        if self.tls.crt_file.is_some() != self.tls.key_file.is_some() {
            errors.push(BuildError::key(
                "tls.crt_file",
                "a certificate needs its key",
            ));
        }
        let _ = (
            &self.auth,
            &self.encoding,
            self.port,
            self.eager,
            &self.token,
            self.max_body,
        );
        errors.finish(Box::new(Nothing))
    }
}

/// Writes events into a file.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Writer {
    /// Which.
    path: PathBuf,
}

impl SinkConfig for Writer {
    const TYPE: &'static str = "writer";
    const EXAMPLE: &'static str = "path = \"/tmp/out\"";
    const WORKERS: Workers = Workers::One;
    fn build(&self, _: &Context) -> Result<Box<dyn Sink>, BuildErrors> {
        let _ = &self.path;
        Ok(Box::new(Nothing))
    }
}

/// Swallows events.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Hole {}

impl SinkConfig for Hole {
    const TYPE: &'static str = "hole";
    const EXAMPLE: &'static str = "";
    const WORKERS: Workers = Workers::Any;
    fn build(&self, _: &Context) -> Result<Box<dyn Sink>, BuildErrors> {
        Ok(Box::new(Nothing))
    }
}
