//! `webhook` sends each batch by one HTTP request: `[{"host": {"name": "pve1"}, …}, …]`, UTF-8, or in another form.
//!
//! - 2xx: delivered · 408, 425, 429, 5xx, no answer: again, when the other side says so
//! - 401, 403: held and tried again, never given up · 413: smaller requests · any other: refused, and the engine halves
//!   the batch to find the one
//! - a redirect is refused with the address it leads to; what was signed for one place is sent to no other

mod alertmanager;
mod config;
mod form;
mod send;
mod slack;
mod template;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use pipeline::net::{Sign, Signer};
use pipeline::{
    Auth, BatchDefaults, BuildErrors, Bytes, ComponentMetrics, Compression, Context, Events, Fate,
    Http, Sink, SinkConfig, Tls, Url, Workers, WriteError, Written,
};
use schemars::JsonSchema;
use serde::Deserialize;

use self::form::{Form, Room};
use self::send::Sent;
use crate::compress::Compressor;

pub use self::config::{Codec, Encoding, Method};

/// Bodies are cut here whatever the batch says [bytes].
const MAX_BODY: usize = 16 << 20;

/// How long a limit learnt from a 413 holds, before a larger body is tried again.
const LIMIT_HOLDS: Duration = Duration::from_secs(3600);

/// Sends events to an address by HTTP: as JSON to another pvetrail or to any receiver, as a message to a chat, as alerts
/// to Alertmanager, or in a form of your own.
///
/// Every request carries `Idempotency-Key`: the id of its event, or, for several, a digest of their ids in their order; for
/// a message of `notify` the alert's id and the transition, like `…-opened`, and each message has a request of its own. A
/// request that is tried again has the same key, so a receiver that remembers keys takes nothing twice. A receiver that
/// looks at `event.id` needs no key.
///
/// With `sign` a request carries `t=<seconds since 1970>,v1=<hex>`: HMAC-SHA-256, by the secret, of the seconds as they
/// are written there, a full stop, and the bytes of the body as they were sent (compressed, if `compression` is on). To
/// check it: refuse `t` that is more than five minutes from now, compute the same over the raw body, and compare in
/// constant time. In Python: `hmac.compare_digest(v1, hmac.new(key, t.encode() + b"." + body, "sha256").hexdigest())`.
///
/// What the answers mean: 2xx delivered; 408, 425, 429, 5xx and no answer: tried again for ever, after `Retry-After` where
/// it is said; 401 and 403: the same, since only a person can help; 413: sent in smaller pieces; anything else: the batch
/// is halved until the one event is found that is refused, which becomes a dead letter with the answer. Redirects are not
/// followed. 404, 405, 410 and redirects are about the address and not about an event: all events of the request become
/// dead letters at once, to be sent again by `pvetrail dlq retry`.
///
/// `json` and `ndjson` have two requests under way, unless `workers` says otherwise; the forms for people and alerts have
/// one, so that they arrive in their order.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where to send. Its path is never printed: with many services it is the secret.
    pub uri: Url,
    /// `post` or `put`.
    #[serde(default)]
    pub method: Method,
    /// The form of a request.
    #[serde(default)]
    pub encoding: Encoding,
    /// A signature over the body, so that the receiver knows who sent it and when.
    #[serde(default)]
    pub sign: Option<Sign>,
    /// Who we say we are.
    #[serde(default)]
    pub auth: Option<Auth>,
    /// Whom we believe, and our own certificate.
    #[serde(default)]
    pub tls: Tls,
    /// Compression of bodies; another pvetrail takes both.
    #[serde(default)]
    pub compression: Compression,
    /// How hard to compress: gzip 0 to 9, zstd 1 to 22; 1 where it is not said.
    #[serde(default)]
    pub compression_level: Option<u32>,
}

impl SinkConfig for Config {
    const TYPE: &'static str = "webhook";
    const WORKERS: Workers = Workers::Any;
    const NETWORK: bool = true;
    const BATCH: BatchDefaults = BatchDefaults {
        max_events: 1000,
        max_size: Bytes::mib(1),
        timeout: pipeline::Duration::from_secs(1),
    };
    const EXAMPLE: &'static str = r#"uri = "https://soc.example/pve"
auth = { strategy = "bearer", token = "Y2hhbmdlIG1lIHRvIHlvdXIgb3du" }
sign = { header = "X-Pvetrail-Signature", hmac_sha256 = "dGhpcyB0b28gaXMgYSBzZWNyZXQ=" }
compression = "gzip""#;

    fn build(&self, cx: &Context) -> Result<Box<dyn Sink>, BuildErrors> {
        send::make_known();
        Ok(Box::new(self.make(cx)?))
    }

    fn workers(&self) -> Workers {
        match self.encoding.codec {
            // An alert that is opened after it was resolved would stand for ever.
            Codec::Slack | Codec::Alertmanager | Codec::Template => Workers::One,
            Codec::Json | Codec::Ndjson => Workers::Any,
        }
    }
}

struct Webhook {
    uri: Url,
    method: &'static str,
    http: Http,
    form: Form,
    signer: Option<Signer>,
    compressor: Compressor,
    /// The body, used again for every request.
    body: Vec<u8>,
    /// The largest body that is sent [bytes].
    limit: usize,
    /// When a larger one is tried again.
    limit_until: Option<Instant>,
    metrics: Option<Arc<ComponentMetrics>>,
}

#[async_trait]
impl Sink for Webhook {
    fn counts(&mut self, metrics: &Arc<ComponentMetrics>) {
        self.metrics = Some(Arc::clone(metrics));
    }

    async fn write(&mut self, events: Events) -> Result<Written, WriteError> {
        if self
            .limit_until
            .is_some_and(|until| until <= Instant::now())
        {
            (self.limit, self.limit_until) = (MAX_BODY, None);
        }
        let mut written = Written::default();
        let mut fates: Vec<(u32, Fate)> = Vec::new();
        let place = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let messages = send::has_messages(&events);
        let mut from = 0;
        // Most events of the next request: halved when one of several requests is refused, to find whom it is about.
        let mut most = usize::MAX;
        while from < events.len() {
            let room = Room {
                events: match messages {
                    true => most.min(send::together(&events, from)),
                    false => most,
                },
                bytes: self.limit,
            };
            let filled = self.form.fill(&events, from, room, &mut self.body);
            let count = filled.count.max(1);
            let sent = match filled.refused {
                Some(reason) => Sent::Refused(reason),
                None => self.send(&events, from, count).await,
            };
            match sent {
                Sent::Taken { bytes } => written.bytes += bytes,
                Sent::TooLarge(_) if count > 1 => {
                    self.limit = (self.body.len() / 2).max(1);
                    self.limit_until = Some(Instant::now() + LIMIT_HOLDS);
                    tracing::warn!(
                        "a body of {} bytes is too large for the receiver, the next has {}",
                        self.body.len(),
                        self.limit
                    );
                    continue;
                }
                Sent::Again { reason, after } if from == 0 => {
                    return Err(WriteError::Retry { reason, after });
                }
                // What was written before stays written; the rest comes back alone.
                Sent::Again { reason, .. } => {
                    let rest = from..events.len();
                    fates.extend(rest.map(|n| (place(n), Fate::Retry(reason.clone()))));
                    break;
                }
                // About the address: no half of the batch would fare better.
                Sent::Misplaced(reason) => {
                    let all = from..from + count;
                    fates.extend(all.map(|n| (place(n), Fate::Refused(reason.clone()))));
                }
                Sent::TooLarge(reason) | Sent::Refused(reason) if count == 1 => {
                    fates.push((place(from), Fate::Refused(reason)));
                }
                Sent::TooLarge(reason) | Sent::Refused(reason) if count == events.len() => {
                    return Err(WriteError::Refused { reason });
                }
                Sent::TooLarge(_) | Sent::Refused(_) => {
                    most = count / 2;
                    continue;
                }
            }
            from += count;
            most = most.saturating_mul(2);
        }
        if fates.is_empty() {
            return Ok(written);
        }
        Err(WriteError::Partly(fates, written))
    }
}
