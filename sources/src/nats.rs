//! `nats` reads messages from a JetStream stream, each answered for when its event is delivered, or by core NATS.
//!
//! - in: a JSON object (another pvetrail's event keeps its id and fields), or text
//! - out: the object's fields, or `message`; `nats.delivered` where a message came for the second time or more
//! - id: the event's own, else `Nats-Msg-Id`: 32 hex digits as they are; one of another form counts within its stream, by
//!   core within its subject
//! - JetStream: a durable pull consumer; acknowledged after delivery, kept alive by `+WPI` until then, never NAK; a message
//!   that can go nowhere is first durable in the dead letters, then terminated
//! - core: what comes while nobody listens, or faster than it is taken, is lost; the latter is counted and told (PVE-9014)

mod config;
mod consumer;
mod core;
mod decode;
mod line;
mod losses;
mod pull;
mod reply;
mod stream;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pipeline::net::nats::NatsConnector;
use pipeline::{Source, SourceError, SourceOut};

pub use self::config::{BatchConfig, Config, Decoding, JetStream, MessageCodec, Subjects};
use self::decode::Decoder;

/// Silence is told of this often.
const IDLE: Duration = Duration::from_secs(1);

struct Nats {
    id: String,
    connector: Arc<NatsConnector>,
    decoder: Decoder,
    subjects: Vec<String>,
    queue: Option<String>,
    jetstream: Option<JetStream>,
}

#[async_trait]
impl Source for Nats {
    async fn run(&mut self, out: SourceOut) -> Result<(), SourceError> {
        match &self.jetstream {
            Some(options) => stream::run(self, options, out).await,
            None => core::run(self, out).await,
        }
    }
}
