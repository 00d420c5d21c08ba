//! `nats` publishes events, each as one message under its own id, into a JetStream stream or by core NATS.
//!
//! - JetStream: delivered when the stream has answered; known already under its id: delivered, counted as a duplicate ·
//!   no stream there, full, no answer, connection gone: again, under the same id · too large, wrong stream: dead letter
//! - core: delivered when the server has read it; whoever does not listen at that moment never sees it
//! - one connection, up to `max_in_flight` messages without their answer, in order

mod check;
mod config;
mod judge;
mod publish;
mod subject;

use std::sync::Arc;
use std::time::Duration;

use crate::SLOW;
use async_nats::jetstream;
use async_trait::async_trait;
use bytes::Bytes;
use pipeline::net::nats::{Nats, NatsConnector};
use pipeline::telemetry::Stage;
use pipeline::{ComponentMetrics, Events, Fate, Reason, ReasonKind, Sink, WriteError, Written};

pub use self::config::{Config, JetStream, JetStreamChoice};
use self::publish::Message;
use self::subject::Subject;
use crate::encode::LineEncoder;

/// Longest wait for a connection before a write is given back to the engine.
const PATIENCE: Duration = Duration::from_secs(5);
struct Sending {
    id: String,
    connector: NatsConnector,
    subject: Subject,
    encoder: LineEncoder,
    mode: Mode,
    connection: Option<Connection>,
    /// Whether core NATS answers when it has read everything; not where our rights are too narrow to ask.
    may_ask: bool,
    /// What was warned about already.
    warned: Vec<String>,
    metrics: Option<Arc<ComponentMetrics>>,
}

enum Mode {
    Core,
    JetStream(JetStream),
}

struct Connection {
    nats: Nats,
    context: jetstream::Context,
}

#[async_trait]
impl Sink for Sending {
    async fn write(&mut self, events: Events) -> Result<Written, WriteError> {
        self.connect().await.map_err(again)?;
        let (messages, bytes) = self.encode(&events);
        let fates = match &self.mode {
            Mode::JetStream(_) => self.publish(messages).await,
            Mode::Core => self.publish_core(messages).await.map(|fates| (fates, 0)),
        };
        let (fates, duplicates) = fates.map_err(again)?;
        let written = Written {
            bytes,
            duplicates,
            ..Written::default()
        };
        if fates.is_empty() {
            return Ok(written);
        }
        // Where nothing at all went out and only a person can help, the engine should have some patience.
        if fates.len() == events.len()
            && let Some((_, Fate::Retry(first))) = fates.first()
            && fates.iter().all(|(_, fate)| matches!(fate, Fate::Retry(_)))
        {
            return Err(again(first.clone()));
        }
        Err(WriteError::Partly(fates, written))
    }

    fn counts(&mut self, metrics: &Arc<ComponentMetrics>) {
        self.metrics = Some(Arc::clone(metrics));
    }

    async fn healthcheck(&mut self) -> Result<(), Reason> {
        self.connect().await?;
        self.check().await
    }

    async fn close(&mut self) -> Result<(), Reason> {
        let Some(connection) = self.connection.take() else {
            return Ok(());
        };
        connection
            .nats
            .client
            .drain()
            .await
            .map_err(|why| Reason::new(ReasonKind::Connection, why.to_string()))
    }
}

/// The whole write again; soon where it may heal by itself.
fn again(reason: Reason) -> WriteError {
    let slow = matches!(
        reason.kind,
        ReasonKind::Blocked | ReasonKind::Forbidden | ReasonKind::Missing
    );
    WriteError::Retry {
        reason,
        after: slow.then_some(SLOW),
    }
}

impl Sending {
    /// Makes a connection if there is none, or another one where the certificates have changed.
    async fn connect(&mut self) -> Result<(), Reason> {
        if self.connection.is_some() && self.connector.is_stale() {
            // What it held is answered: a write ends with its last answer.
            self.connection = None;
        }
        if self.connection.is_none() {
            let nats = self.connector.connect().await?;
            let context = match &self.mode {
                Mode::Core => jetstream::new(nats.client.clone()),
                Mode::JetStream(options) => options.context(nats.client.clone()),
            };
            let connection = Connection { nats, context };
            if let Mode::JetStream(options) = &self.mode
                && options.create
            {
                check::ensure(&connection, options, &self.subject.pattern()).await?;
            }
            self.connection = Some(connection);
        }
        match &self.connection {
            Some(connection) => connection.nats.connected(PATIENCE).await,
            None => Err(Reason::new(ReasonKind::Connection, "no connection")),
        }
    }

    /// The messages of the events, all in one piece of memory, and how long they are together [bytes].
    fn encode(&mut self, events: &Events) -> (Vec<Message>, u64) {
        let mut text = Vec::with_capacity(events.len() * 256);
        let mut ends = Vec::with_capacity(events.len());
        let mut unsafe_subjects = 0_usize;
        for event in events.iter() {
            let mut subject = String::with_capacity(64);
            if self.subject.write(event, &mut subject) {
                unsafe_subjects += 1;
            }
            self.encoder.write(event, &mut text);
            // The line break that ends every line.
            text.pop();
            ends.push((event.id(), subject, text.len()));
        }
        if unsafe_subjects > 0 {
            if let Some(metrics) = &self.metrics {
                metrics.error("unsafe_subject", Stage::Sending, unsafe_subjects as u64);
            }
            pipeline::log_limited!(
                warn,
                component_id = self.id,
                events = unsafe_subjects,
                "a value cannot stand in a subject as it is; `_` takes the place of what cannot"
            );
        }
        let bytes = text.len() as u64;
        let text = Bytes::from(text);
        let mut from = 0;
        let messages = ends.into_iter().map(|(id, subject, to)| {
            let body = text.slice(from..to);
            from = to;
            Message {
                id,
                subject: Arc::from(subject),
                body,
            }
        });
        (messages.collect(), bytes)
    }
}
