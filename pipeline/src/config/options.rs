//! Options of the program and of the engine: everything in a configuration that no component owns.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::component::{BatchDefaults, Spanned, Workers};
use crate::net::{ListenTls, Secret};
use crate::redact::{RedactMode, RedactOptions};
use crate::units::{Bytes, Duration};

/// What holds for the whole program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Globals {
    /// Where the program keeps what must survive a restart.
    pub data_dir: PathBuf,
    /// The operator's name for the cluster.
    pub cluster: Option<String>,
    /// The language of sentences in events.
    pub language: Language,
    /// The name of this host.
    pub host: String,
    /// The admin server.
    pub admin: Admin,
    /// What is removed from events before anything else sees them.
    pub redaction: Redaction,
    /// The program's own log.
    pub log: Log,
}

/// Where data lives unless the operator says otherwise.
pub const DATA_DIR: &str = "/var/lib/pvetrail";

impl Default for Globals {
    fn default() -> Self {
        Globals {
            data_dir: PathBuf::from(DATA_DIR),
            cluster: None,
            language: Language::default(),
            host: String::new(),
            admin: Admin::default(),
            redaction: Redaction::default(),
            log: Log::default(),
        }
    }
}

/// The top level of a file, without its components.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Top {
    /// Where the program keeps what must survive a restart: positions, state, dead letters.
    pub(crate) data_dir: PathBuf,
    /// Your name for the cluster; it becomes a field and a label.
    pub(crate) cluster: Option<String>,
    /// The language of the sentence that `event_id` and `correlate` write into `message`.
    pub(crate) language: Language,
    /// The admin server: metrics, health, console.
    pub(crate) admin: Admin,
    /// What is removed from events before anything else sees them.
    pub(crate) redaction: Redaction,
    /// The program's own log.
    pub(crate) log: Log,
    /// Tests of this configuration, run by `pvetrail test`.
    pub(crate) tests: Vec<TestCase>,
}

impl Default for Top {
    fn default() -> Self {
        Top {
            data_dir: PathBuf::from(DATA_DIR),
            cluster: None,
            language: Language::default(),
            admin: Admin::default(),
            redaction: Redaction::default(),
            log: Log::default(),
            tests: Vec::new(),
        }
    }
}

/// A language the catalogue speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Language {
    /// English.
    #[default]
    En,
    /// German.
    De,
}

/// The admin server.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Admin {
    /// `false` opens no port.
    pub enabled: bool,
    /// Where it listens; only this machine unless told otherwise.
    pub address: SocketAddr,
    /// TLS for it.
    pub tls: Option<ListenTls>,
    /// What an operator shows: health, metrics, reload.
    pub operator_token: Option<Secret>,
    /// What an auditor shows: health, metrics.
    pub auditor_token: Option<Secret>,
}

impl Default for Admin {
    fn default() -> Self {
        Admin {
            enabled: true,
            address: SocketAddr::from(([127, 0, 0, 1], 8687)),
            tls: None,
            operator_token: None,
            auditor_token: None,
        }
    }
}

/// What is removed from events before anything else sees them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Redaction {
    /// Further keys whose values are secrets, besides the built-in list; `*` may stand at the beginning.
    pub keys: Vec<String>,
    /// What takes the place of a secret.
    pub mode: RedactMode,
    /// Whether the built-in list may be made shorter; nothing in this version makes it shorter.
    pub allow_unsafe: bool,
}

impl Redaction {
    /// As the redactor takes it.
    pub fn options(&self) -> RedactOptions {
        RedactOptions {
            mode: self.mode,
            keys: self.keys.clone(),
        }
    }
}

/// The program's own log.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// `error`, `warn`, `info`, `debug`, `trace`, or per module as in `info,pipeline=debug`.
    pub level: String,
    /// How a line looks.
    pub format: LogFormat,
}

impl Default for Log {
    fn default() -> Self {
        Log {
            level: "info".to_owned(),
            format: LogFormat::Auto,
        }
    }
}

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Keys of a component that the engine reads.
pub(crate) const SOURCE_KEYS: &[&str] = &["type"];
pub(crate) const TRANSFORM_KEYS: &[&str] = &["type", "inputs", "workers"];
pub(crate) const SINK_KEYS: &[&str] = &[
    "type",
    "inputs",
    "workers",
    "batch",
    "buffer",
    "request",
    "on_failure",
    "failure_after",
    "failure_command",
    "failure_timeout",
    "healthcheck",
];

/// The engine's keys of one component, as written.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct EngineKeys {
    /// Which component it is.
    #[serde(rename = "type")]
    pub(crate) type_name: Option<Spanned<String>>,
    /// Where its events come from: `id`, `id.output`, `id.errors`, or a pattern with `*`.
    pub(crate) inputs: Option<Spanned<Vec<Spanned<String>>>>,
    /// How many run side by side; chosen by kind where it is not said.
    pub(crate) workers: Option<Spanned<NonZeroUsize>>,
    /// When a batch is full.
    pub(crate) batch: BatchKeys,
    /// Where events wait for a slow sink.
    pub(crate) buffer: Option<Spanned<BufferKeys>>,
    /// How one write over the network is done.
    pub(crate) request: Option<Spanned<Request>>,
    /// What happens when the sink has had no success for `failure_after`.
    pub(crate) on_failure: Option<Spanned<OnFailure>>,
    /// How long a sink may be without success.
    pub(crate) failure_after: Option<Duration>,
    /// The program that `on_failure = "exec"` runs, with its arguments.
    pub(crate) failure_command: Option<Spanned<Vec<String>>>,
    /// How long that program may take.
    pub(crate) failure_timeout: Option<Duration>,
    /// Whether the sink is asked at start whether it can be reached.
    pub(crate) healthcheck: Option<bool>,
}

#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct BatchKeys {
    /// Most events of one write.
    pub(crate) max_events: Option<NonZeroUsize>,
    /// Most bytes of one write.
    pub(crate) max_size: Option<Spanned<Bytes>>,
    /// Longest wait of the first event of a batch.
    pub(crate) timeout: Option<Duration>,
}

/// When a batch is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Most events of one write.
    pub max_events: usize,
    /// Most bytes of one write, as the events are held in memory.
    pub max_size: Bytes,
    /// Longest wait of the first event of a batch.
    pub timeout: Duration,
}

impl Batch {
    pub(crate) fn resolve(keys: &BatchKeys, defaults: BatchDefaults) -> Self {
        Batch {
            max_events: keys
                .max_events
                .map_or(defaults.max_events, NonZeroUsize::get),
            max_size: keys
                .max_size
                .as_ref()
                .map_or(defaults.max_size, |size| *size.get()),
            timeout: keys.timeout.unwrap_or(defaults.timeout),
        }
    }
}

impl Default for Batch {
    fn default() -> Self {
        Batch::resolve(&BatchKeys::default(), BatchDefaults::DEFAULT)
    }
}

/// How one write over the network is done.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Request {
    /// Longest wait for an answer.
    pub timeout: Duration,
    /// How many writes may wait for their answer at once; chosen by the sink's workers where it is not said.
    pub concurrency: Option<NonZeroUsize>,
    /// Wait before the first repetition.
    pub retry_initial_backoff: Duration,
    /// Longest wait before a repetition.
    pub retry_max_backoff: Duration,
    /// Further HTTP headers.
    pub headers: BTreeMap<String, Secret>,
}

impl Default for Request {
    fn default() -> Self {
        Request {
            timeout: Duration::from_secs(60),
            concurrency: None,
            retry_initial_backoff: Duration::from_secs(1),
            retry_max_backoff: Duration::from_secs(60),
            headers: BTreeMap::new(),
        }
    }
}

/// Where events wait for a slow sink; full means that everything before it waits, never loss.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct BufferKeys {
    /// In memory, or on disk.
    #[serde(rename = "type")]
    pub(crate) kind: BufferKind,
    /// How much may wait; 4 MiB in memory and 1 GiB on disk where it is not said.
    pub(crate) max_size: Option<Spanned<Bytes>>,
}

/// Where events wait for a slow sink; full means that everything before it waits, never loss.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Buffer {
    /// In memory, or on disk.
    pub kind: BufferKind,
    /// How much may wait.
    pub max_size: Bytes,
}

impl Buffer {
    pub(crate) fn resolve(keys: &BufferKeys) -> Self {
        let usual = match keys.kind {
            BufferKind::Memory => Bytes::mib(4),
            BufferKind::Disk => Bytes::mib(1024),
        };
        Buffer {
            kind: keys.kind,
            max_size: keys.max_size.as_ref().map_or(usual, |size| *size.get()),
        }
    }
}

impl Default for Buffer {
    fn default() -> Self {
        Buffer::resolve(&BufferKeys::default())
    }
}

/// In memory, or on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BufferKind {
    /// In memory; what waits there has not been answered for and is read again after a restart.
    #[default]
    Memory,
    /// On disk below `data_dir`, where it survives a restart; what is there has been answered for.
    Disk,
}

/// What happens when a sink has had no success for `failure_after`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// It is said, and tried again.
    #[default]
    Warn,
    /// Besides, all sources of the graph wait until it delivers again, and `/ready` answers 503.
    Hold,
    /// Besides, `failure_command` runs, once each time.
    Exec,
}

/// The engine's options of one component, defaults filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineOptions {
    /// How many run side by side, if the operator said so.
    pub workers: Option<NonZeroUsize>,
    /// How many may.
    pub kind: Workers,
    /// When a batch is full.
    pub batch: Batch,
    /// Where events wait.
    pub buffer: Buffer,
    /// How one write is done.
    pub request: Request,
    /// What happens when nothing gets through.
    pub on_failure: OnFailure,
    /// After how long.
    pub failure_after: Duration,
    /// What runs then, with its arguments.
    pub failure_command: Vec<String>,
    /// Longest time it may take.
    pub failure_timeout: Duration,
    /// Whether the sink is asked at start whether it can be reached.
    pub healthcheck: bool,
}

/// One test of a configuration.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TestCase {
    /// A sentence that says what is promised.
    pub name: String,
    /// What goes in.
    pub inputs: Vec<TestInput>,
    /// What must come out.
    #[serde(default)]
    pub outputs: Vec<TestOutput>,
    /// Outputs from which nothing may come.
    #[serde(default)]
    pub no_outputs_from: Vec<Spanned<String>>,
}

/// What goes into a test.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TestInput {
    /// The component that gets it.
    pub insert_at: Spanned<String>,
    /// A raw line, as a source would read it.
    #[serde(default)]
    pub line: Option<String>,
    /// Or an event by its fields, dotted.
    #[serde(default)]
    pub fields: Option<serde_json::Map<String, serde_json::Value>>,
    /// How often.
    #[serde(default = "one")]
    pub repeat: u64,
    /// How far the clock goes on before each repetition.
    #[serde(default)]
    pub advance: Option<Duration>,
}

fn one() -> u64 {
    1
}

/// What must come out of a test.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TestOutput {
    /// The output it is taken from: `id` or `id.output`.
    pub extract_from: Spanned<String>,
    /// How many events; any number but none where it is not said.
    #[serde(default)]
    pub count: Option<u64>,
    /// What must hold for each of them (VRL).
    #[serde(default)]
    pub condition: Option<Spanned<String>>,
    /// Fields that each of them must have with these values.
    #[serde(default)]
    pub fields: Option<serde_json::Map<String, serde_json::Value>>,
}
