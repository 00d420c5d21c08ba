//! What an operator may choose, and what is made of it.

use std::fmt;
use std::num::NonZeroUsize;

use async_nats::Client;
use async_nats::jetstream::Context as JetStreamContext;
use async_nats::jetstream::context::ContextBuilder;
use pipeline::net::nats::{NatsAuth, NatsConnector, NatsUrl};
use pipeline::{
    BatchDefaults, BuildError, BuildErrors, Bytes, Codec, Context, Duration, Encoding, Sink,
    SinkConfig, Tls, Workers,
};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

use super::subject::Subject;
use super::{Mode, Sending};
use crate::encode::{LineEncoder, Reader};

/// Publishes events to NATS, each as one message: into a JetStream stream, which answers for it, or by core NATS.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// One server or several of one cluster: `"nats://a:4222"`, several with commas, or a list; `tls://` asks for TLS.
    pub url: NatsUrl,
    /// What is published to. `{{ host.name }}` stands for the value of a field, which becomes exactly one token; `none`
    /// where the event has no such field.
    pub subject: String,
    /// Whether a stream answers for each message. `true`, or a table with more; `false` is core NATS, which keeps
    /// nothing: who does not listen at that moment never sees the event.
    #[serde(default)]
    pub jetstream: JetStreamChoice,
    /// How the server's own tools show this connection.
    #[serde(default)]
    pub connection_name: Option<String>,
    /// Who we say we are.
    #[serde(default)]
    pub auth: Option<NatsAuth>,
    /// Whom we believe. Present: TLS, whatever the address says.
    #[serde(default)]
    pub tls: Option<Tls>,
    /// How an event is written: `json`, `text` or `logfmt`.
    #[serde(default)]
    pub encoding: Encoding,
}

/// `jetstream = { … }`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct JetStream {
    /// The stream that has to take the messages; one that ends up in another is refused by the server. Any stream that
    /// listens to the subject where it is not said.
    pub stream: Option<String>,
    /// Messages that may wait for their answer at once.
    pub max_in_flight: NonZeroUsize,
    /// Longest wait for an answer; then the message is sent again under the same id.
    pub ack_timeout: Duration,
    /// Whether the stream is made if it is not there: kept on disk, full means refused (`discard = new`), duplicates
    /// known for 15 minutes. It needs `stream`.
    pub create: bool,
    /// The JetStream domain, for leaf nodes.
    pub domain: Option<String>,
}

impl Default for JetStream {
    fn default() -> Self {
        JetStream {
            stream: None,
            max_in_flight: NonZeroUsize::new(256).expect("256 is not 0"),
            ack_timeout: Duration::from_secs(10),
            create: false,
            domain: None,
        }
    }
}

impl JetStream {
    /// For publishing with a window of our own: the library's bounds must never be the narrower ones.
    pub(super) fn context(&self, client: Client) -> JetStreamContext {
        let builder = ContextBuilder::new()
            .timeout(self.ack_timeout.get())
            .ack_timeout(std::time::Duration::from_secs(1))
            .max_ack_inflight(self.max_in_flight.get().saturating_mul(4).min(1 << 20));
        match &self.domain {
            Some(domain) => builder.domain(domain).build(client),
            None => builder.build(client),
        }
    }
}

/// `jetstream = true`, `false`, or a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JetStreamChoice(pub Option<JetStream>);

impl Default for JetStreamChoice {
    fn default() -> Self {
        JetStreamChoice(Some(JetStream::default()))
    }
}

impl<'de> Deserialize<'de> for JetStreamChoice {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = JetStreamChoice;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true, false or a table like { stream = \"AUDIT\" }")
            }

            fn visit_bool<E>(self, yes: bool) -> Result<JetStreamChoice, E> {
                Ok(JetStreamChoice(yes.then(JetStream::default)))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<JetStreamChoice, A::Error> {
                let table = JetStream::deserialize(MapAccessDeserializer::new(map))?;
                Ok(JetStreamChoice(Some(table)))
            }
        }
        from.deserialize_any(Either)
    }
}

impl JsonSchema for JetStreamChoice {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "JetStreamChoice".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let table = generator.subschema_for::<JetStream>();
        schemars::json_schema!({ "anyOf": [{ "type": "boolean" }, table], "default": true })
    }
}

impl SinkConfig for Config {
    const TYPE: &'static str = "nats";
    const WORKERS: Workers = Workers::One;
    const NETWORK: bool = true;
    const BATCH: BatchDefaults = BatchDefaults {
        max_events: 2000,
        max_size: Bytes::mib(1),
        timeout: Duration::from_secs(1),
    };
    const EXAMPLE: &'static str = r#"url = "tls://nats1:4222,tls://nats2:4222"
subject = "pve.audit.{{ host.name }}"
jetstream = { stream = "AUDIT" }
auth = { strategy = "credentials_file", credentials_file = { path = "/etc/pvetrail/nats.creds" } }"#;

    fn build(&self, cx: &Context) -> Result<Box<dyn Sink>, BuildErrors> {
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
        let subject = Subject::parse(&self.subject).map_err(|(range, why)| {
            let rest = self.subject.get(range.start..).unwrap_or_default();
            errors.push(
                BuildError::key("subject", format!("{why} (at `{rest}`)"))
                    .help("write it like `pve.audit.{{ host.name }}`"),
            );
        });
        if self.encoding.codec == Codec::Pretty {
            errors.push(
                BuildError::key("encoding.codec", "`pretty` is for people at a terminal")
                    .help("write \"json\", \"text\" or \"logfmt\""),
            );
        }
        let mode = match &self.jetstream.0 {
            None => Mode::Core,
            Some(options) => {
                if options.create && options.stream.is_none() {
                    errors.push(
                        BuildError::key(
                            "jetstream.create",
                            "a stream that is to be made needs a name",
                        )
                        .help("add `stream = \"AUDIT\"`"),
                    );
                }
                if let Some(name) = &options.stream
                    && !is_stream_name(name)
                {
                    let why = "the name of a stream has no blank, dot, `*`, `>` or slash in it";
                    errors.push(BuildError::key("jetstream.stream", why));
                }
                if options.max_in_flight.get() > 65_536 {
                    errors.push(BuildError::key(
                        "jetstream.max_in_flight",
                        "is at most 65536",
                    ));
                }
                Mode::JetStream(options.clone())
            }
        };
        match (connector, subject) {
            (Ok(connector), Ok(subject)) => errors.finish(Box::new(Sending {
                id: cx.id().to_owned(),
                connector,
                subject,
                encoder: LineEncoder::new(&self.encoding, Reader::default()),
                mode,
                connection: None,
                may_ask: true,
                warned: Vec::new(),
                metrics: None,
            }) as Box<dyn Sink>),
            _ => Err(errors),
        }
    }
}

fn is_stream_name(name: &str) -> bool {
    !name.is_empty()
        && !name.contains(|c: char| c.is_whitespace() || c.is_control() || ".*>/\\".contains(c))
}
