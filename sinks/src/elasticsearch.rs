//! `elasticsearch` writes events into Elasticsearch or OpenSearch by `_bulk`, each under its own id.
//!
//! - 200/201, and 409 for `create`: delivered, the latter counted as a duplicate · 429, 5xx: those events again
//! - blocked index, missing right, wrong credentials: held and tried again, never given up
//! - a document that does not fit its mapping: dead letter with all the server said
//! - an answer that is none (a proxy's page, half a body): everything again, which the ids make safe

mod answer;
mod body;
mod config;
mod endpoints;
mod index;
mod send;
mod setup;
#[cfg(test)]
mod tests;
mod trouble;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::SLOW;
use async_trait::async_trait;
use pipeline::{
    Auth, BatchDefaults, BuildErrors, Bytes, Compression, Context, Encoding, Events, Fate, Reason,
    ReasonKind, Sink, SinkConfig, Tls, Url, Workers, WriteError, Written,
};
use schemars::JsonSchema;
use serde::Deserialize;

use self::body::Encoder;
use self::endpoints::Pool;
use self::send::Sent;
use crate::compress::Compressor;

pub use self::config::{Bulk, BulkAction, DataStream, Mode};
pub use self::setup::{Setup, SetupError, Step, setup};

/// Bodies are cut here whatever the batch says [bytes]; a server's own limit is 100 MB by default.
const MAX_BODY: usize = 32 << 20;

/// How long a limit learnt from a 413 holds, before a larger body is tried again.
const LIMIT_HOLDS: Duration = Duration::from_secs(3600);

/// Writes events into Elasticsearch or OpenSearch, each under its own id, so that writing twice stores once.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Addresses of the cluster; those that answer take turns.
    pub endpoints: Vec<Url>,
    /// Plain indices, or data streams.
    #[serde(default)]
    pub mode: Mode,
    /// Where to, in `bulk` mode.
    #[serde(default)]
    pub bulk: Bulk,
    /// Where to, in `data_stream` mode.
    #[serde(default)]
    pub data_stream: DataStream,
    /// An ingest pipeline that the server runs over each document.
    #[serde(default)]
    pub pipeline: Option<String>,
    /// Further parameters of every request, like `{ routing = "pve" }`.
    #[serde(default)]
    pub query: BTreeMap<String, String>,
    /// Who we say we are.
    #[serde(default)]
    pub auth: Option<Auth>,
    /// Whom we believe.
    #[serde(default)]
    pub tls: Tls,
    /// Which fields of an event are written. `@timestamp` always is.
    #[serde(default)]
    pub encoding: Encoding,
    /// Compression of bodies; worth it on slow links only. Elasticsearch takes gzip, not zstd.
    #[serde(default)]
    pub compression: Compression,
    /// How hard to compress: gzip 0 to 9, zstd 1 to 22; 1 where it is not said.
    #[serde(default)]
    pub compression_level: Option<u32>,
}

impl SinkConfig for Config {
    const TYPE: &'static str = "elasticsearch";
    const WORKERS: Workers = Workers::Any;
    const NETWORK: bool = true;
    const BATCH: BatchDefaults = BatchDefaults {
        max_events: 5000,
        max_size: Bytes::mib(1),
        timeout: pipeline::Duration::from_secs(1),
    };
    const EXAMPLE: &'static str = r#"endpoints = ["https://es1:9200", "https://es2:9200"]
auth = { strategy = "api_key", api_key = "VnVhQ2ZHY0JDZGJrUW0tZTVhT3g6dWkybHAyYXhUTm1zeWFrdzl0dk5udw==" }
bulk = { index = "pve-audit-%Y.%m" }"#;

    fn build(&self, cx: &Context) -> Result<Box<dyn Sink>, BuildErrors> {
        Ok(Box::new(self.make(cx)?))
    }
}

struct Elasticsearch {
    pool: Arc<Pool>,
    encoder: Encoder,
    compressor: Compressor,
    create: bool,
    /// The body, used again for every request.
    body: Vec<u8>,
    /// The answer, likewise.
    answer: Vec<u8>,
    /// The largest body that is sent [bytes].
    limit: usize,
    /// When a larger one is tried again.
    limit_until: Option<Instant>,
    /// Whether the server has taken a bulk of this configuration before.
    proven: bool,
}

#[async_trait]
impl Sink for Elasticsearch {
    async fn write(&mut self, events: Events) -> Result<Written, WriteError> {
        if self
            .limit_until
            .is_some_and(|until| until <= Instant::now())
        {
            (self.limit, self.limit_until) = (MAX_BODY, None);
        }
        let mut written = Written::default();
        let mut fates: Vec<(u32, Fate)> = Vec::new();
        let mut from = 0;
        while from < events.len() {
            let count = self.encoder.fill(&events, from, self.limit, &mut self.body);
            let place = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
            match self.send(&events, from, count).await {
                Sent::Judged(outcome) => {
                    self.proven = true;
                    written.bytes += self.compressor.sent(&self.body).len() as u64;
                    written.duplicates += outcome.duplicates;
                    written.redirected += outcome.redirected;
                    fates.extend(
                        outcome
                            .fates
                            .into_iter()
                            .map(|(n, fate)| (n + place(from), fate)),
                    );
                }
                Sent::TooLarge(_) if count > 1 => {
                    self.limit = (self.body.len() / 2).max(1);
                    self.limit_until = Some(Instant::now() + LIMIT_HOLDS);
                    tracing::warn!(
                        "a body of {} bytes is too large for the server, the next has {}",
                        self.body.len(),
                        self.limit
                    );
                    continue;
                }
                Sent::TooLarge(reason) => fates.push((place(from), Fate::Refused(reason))),
                Sent::Refused(reason) if count == events.len() => {
                    return Err(WriteError::Refused { reason });
                }
                Sent::Again { reason, after } if from == 0 => {
                    return Err(WriteError::Retry { reason, after });
                }
                // What was written before stays written; the rest comes back alone.
                Sent::Refused(reason) | Sent::Again { reason, .. } => {
                    fates.extend(
                        (from..events.len()).map(|n| (place(n), Fate::Retry(reason.clone()))),
                    );
                    break;
                }
            }
            from += count;
        }
        if fates.is_empty() {
            return Ok(written);
        }
        // Where nothing at all was stored and only patience helps, the engine should have some.
        if fates.len() == events.len()
            && let Some((_, Fate::Retry(first))) = fates.first()
            && fates
                .iter()
                .all(|(_, fate)| matches!(fate, Fate::Retry(r) if is_slow(r.kind)))
        {
            return Err(WriteError::Retry {
                reason: first.clone(),
                after: Some(SLOW),
            });
        }
        Err(WriteError::Partly(fates, written))
    }

    async fn healthcheck(&mut self) -> Result<(), Reason> {
        let place = self.pool.pick();
        let origin = self.pool.root(place).origin();
        match self.pool.ask(place).await {
            Ok((401, _)) => Err(Reason::new(
                ReasonKind::Forbidden,
                format!("{origin} does not know these credentials (401)"),
            )),
            // A key that may only write may not ask.
            Ok((200 | 403, _)) => Ok(()),
            Ok((status, _)) => Err(Reason::new(
                ReasonKind::Server,
                format!("{origin} answered {status} to `GET /`"),
            )),
            Err(why) => Err(why.reason()),
        }
    }
}

/// Whether it takes a person, or a long time, to heal.
fn is_slow(kind: ReasonKind) -> bool {
    matches!(
        kind,
        ReasonKind::Blocked | ReasonKind::Forbidden | ReasonKind::Missing
    )
}
