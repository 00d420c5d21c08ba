//! What an operator may choose, and what is made of it.

use std::num::NonZeroUsize;
use std::sync::Arc;

use pipeline::net::nats::{NatsAuth, NatsConnector, NatsUrl};
use pipeline::{
    BuildError, BuildErrors, Context, Duration, Field, Source, SourceConfig, Tls, fields,
};
use schemars::JsonSchema;
use serde::Deserialize;

use super::Nats;
use super::decode::Decoder;

/// Reads messages from a NATS JetStream stream, each answered for when its event is delivered, or by core NATS.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// One server or several of one cluster: `"nats://a:4222"`, several with commas, or a list; `tls://` asks for TLS.
    pub url: NatsUrl,
    /// What is listened to, one subject or several, with `*` for a token and `>` for the rest. With JetStream the filter
    /// of a consumer that is made here; an existing one has its own.
    #[serde(default)]
    pub subject: Option<Subjects>,
    /// Core NATS: of all that listen under this name, each message goes to one.
    #[serde(default)]
    pub queue: Option<String>,
    /// The stream and the consumer that messages are pulled from. Without it core NATS, which keeps nothing.
    #[serde(default)]
    pub jetstream: Option<JetStream>,
    /// How a message becomes an event. Its id is the event's own, else `Nats-Msg-Id`: one of 32 hex digits as it is,
    /// another one hashed with the name of the stream, by core NATS with the subject.
    #[serde(default)]
    pub decoding: Decoding,
    /// A field that holds the subject of the message, like `nats.subject`; none where it is not said.
    #[serde(default)]
    pub subject_key_field: Option<String>,
    /// How the server's own tools show this connection.
    #[serde(default)]
    pub connection_name: Option<String>,
    /// Who we say we are.
    #[serde(default)]
    pub auth: Option<NatsAuth>,
    /// Whom we believe. Present: TLS, whatever the address says.
    #[serde(default)]
    pub tls: Option<Tls>,
}

/// One subject, or several.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Subjects {
    /// One.
    One(String),
    /// Several.
    Many(Vec<String>),
}

impl Subjects {
    fn list(&self) -> Vec<String> {
        match self {
            Subjects::One(one) => vec![one.clone()],
            Subjects::Many(many) => many.clone(),
        }
    }
}

/// `jetstream = { … }`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JetStream {
    /// The stream.
    pub stream: String,
    /// The durable consumer. Several programs that name the same one share its messages.
    pub consumer: String,
    /// How messages are asked for.
    #[serde(default)]
    pub batch_config: BatchConfig,
    /// Whether the stream and the consumer are made if they are not there. A stream needs `subject`.
    #[serde(default)]
    pub create: bool,
    /// For a consumer that is made: how long the server waits for an answer before it delivers a message again. While a
    /// message is under way the server is told so at half of it.
    #[serde(default = "ack_wait")]
    pub ack_wait: Duration,
    /// For a consumer that is made: messages that may be under way at once, for all that share it. A transform that
    /// remembers holds answers until its state is saved: 50 000 there.
    #[serde(default = "max_ack_pending")]
    pub max_ack_pending: NonZeroUsize,
    /// Whether the server has to confirm that it has got the answer, so that a message is not delivered again because an
    /// answer was lost.
    #[serde(default)]
    pub double_ack: bool,
    /// A message that came more often than this and never reached an end becomes a dead letter; 0: never.
    #[serde(default = "max_deliveries")]
    pub max_deliveries: u64,
    /// The JetStream domain, for leaf nodes.
    #[serde(default)]
    pub domain: Option<String>,
}

fn ack_wait() -> Duration {
    Duration::from_secs(30)
}

fn max_ack_pending() -> NonZeroUsize {
    NonZeroUsize::new(1000).expect("1000 is not 0")
}

fn max_deliveries() -> u64 {
    100
}

/// `batch_config = { … }`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BatchConfig {
    /// Messages asked for at once.
    pub batch: NonZeroUsize,
}

impl Default for BatchConfig {
    fn default() -> Self {
        BatchConfig {
            batch: NonZeroUsize::new(200).expect("200 is not 0"),
        }
    }
}

/// `decoding = { … }`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Decoding {
    /// What a message is.
    pub codec: MessageCodec,
}

/// What a message is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MessageCodec {
    /// What begins like a JSON object is one; one that cannot be read, and everything else, is text.
    #[default]
    Auto,
    /// A JSON object; what is none becomes a dead letter.
    Json,
    /// Text, whatever it looks like.
    Text,
}

/// Under way at once, where a transform that remembers lies behind.
const WITH_STATE: usize = 50_000;

impl SourceConfig for Config {
    const TYPE: &'static str = "nats";
    const EXAMPLE: &'static str = r#"url = "tls://nats1:4222,tls://nats2:4222"
jetstream = { stream = "AUDIT", consumer = "aggregators" }
auth = { strategy = "credentials_file", credentials_file = { path = "/etc/pvetrail/nats.creds" } }"#;

    fn build(&self, cx: &Context) -> Result<Box<dyn Source>, BuildErrors> {
        self.warn(cx);
        let mut errors = BuildErrors::new();
        let connector = NatsConnector::new(
            cx.id(),
            &self.url,
            self.connection_name.as_deref(),
            self.auth.as_ref(),
            self.tls.as_ref(),
        )
        .map_err(|mistakes| {
            errors.extend(
                mistakes
                    .into_iter()
                    .map(|why| BuildError::key(why.key, why.message)),
            );
        });
        let subjects = self
            .subject
            .as_ref()
            .map(Subjects::list)
            .unwrap_or_default();
        for subject in &subjects {
            if let Err(why) = check_subject(subject) {
                errors.push(BuildError::key("subject", format!("{subject:?} {why}")));
            }
        }
        match &self.jetstream {
            None if subjects.is_empty() => errors.push(
                BuildError::new("neither `subject` nor `jetstream` says what is read")
                    .help("add `subject = \"pve.>\"`, or `jetstream = { stream = \"AUDIT\", consumer = \"aggregators\" }`"),
            ),
            None => {}
            Some(options) => self.check_jetstream(options, &subjects, &mut errors),
        }
        let field = self.subject_key_field.as_ref().and_then(|path| {
            if path.is_empty() || path.split('.').any(str::is_empty) {
                let why = "is written like `nats.subject`";
                errors.push(BuildError::key("subject_key_field", why));
                return None;
            }
            if [fields::EVENT_ID, fields::TIMESTAMP].contains(&Field::new(path)) {
                let why = "names a field that every event has already";
                errors.push(BuildError::key("subject_key_field", why));
                return None;
            }
            Some(Field::new(path))
        });
        let Ok(connector) = connector else {
            return Err(errors);
        };
        errors.finish(Box::new(Nats {
            id: cx.id().to_owned(),
            connector: Arc::new(connector),
            decoder: Decoder::new(self.decoding.codec, field),
            subjects,
            queue: self.queue.clone(),
            jetstream: self.jetstream.clone(),
        }) as Box<dyn Source>)
    }
}

impl Config {
    /// What works, but not well.
    fn warn(&self, cx: &Context) {
        match &self.jetstream {
            None => cx.warn(
                BuildError::new(
                    "core NATS keeps nothing: what is published while this source does not run, or faster than it is \
                     taken, is lost",
                )
                .help("read from a stream: `jetstream = { stream = \"AUDIT\", consumer = \"aggregators\" }`"),
            ),
            Some(options) if cx.feeds_state() && options.max_ack_pending.get() < WITH_STATE => {
                let why = format!(
                    "is {} and a transform behind this source remembers: it holds answers until its state is saved, and \
                     the source waits for that most of the time",
                    options.max_ack_pending
                );
                cx.warn(
                    BuildError::key("jetstream.max_ack_pending", why)
                        .help("set it to 50000, here and at the consumer"),
                );
            }
            Some(_) => {}
        }
    }

    fn check_jetstream(&self, options: &JetStream, subjects: &[String], errors: &mut BuildErrors) {
        for (key, name) in [
            ("jetstream.stream", &options.stream),
            ("jetstream.consumer", &options.consumer),
        ] {
            let bad = |c: char| c.is_whitespace() || c.is_control() || ".*>/\\".contains(c);
            if name.is_empty() || name.contains(bad) {
                let why = "is a name without blanks, dots, `*`, `>` and slashes";
                errors.push(BuildError::key(key, why));
            }
        }
        if self.queue.is_some() {
            errors.push(
                BuildError::key("queue", "is of core NATS")
                    .help("with JetStream, whoever names the same consumer shares its messages"),
            );
        }
        if !subjects.is_empty() && !options.create {
            errors.push(
                BuildError::key(
                    "subject",
                    "has no effect on a consumer that is there already",
                )
                .help("remove it, or set `jetstream.create = true`"),
            );
        }
        if options.ack_wait.get() < std::time::Duration::from_secs(1) {
            errors.push(BuildError::key("jetstream.ack_wait", "is at least \"1s\""));
        }
        if options.batch_config.batch.get() > 10_000 {
            errors.push(BuildError::key(
                "jetstream.batch_config.batch",
                "is at most 10000",
            ));
        }
    }
}

/// Whether it can be listened to.
fn check_subject(subject: &str) -> Result<(), &'static str> {
    if subject.is_empty() || subject.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err("is no subject: it has blanks, or nothing at all");
    }
    let mut tokens = subject.split('.').peekable();
    while let Some(token) = tokens.next() {
        if token.is_empty() {
            return Err("is no subject: there is nothing between two dots");
        }
        if token == ">" && tokens.peek().is_some() {
            return Err("is no subject: `>` comes last");
        }
        if token.len() > 1 && token.contains(['*', '>']) {
            return Err("is no subject: a wildcard stands alone between dots");
        }
    }
    Ok(())
}
