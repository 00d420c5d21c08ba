//! Where messages come in, and how they are asked for.

use std::time::Duration;

use async_nats::Subscriber;
use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::consumer::pull::BatchConfig;
use pipeline::net::nats::{Link, Nats};
use tokio::sync::watch;

/// How long the server keeps a request that is not filled.
const EXPIRES: Duration = Duration::from_secs(30);
/// While it does, it says this often that it is still there.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// What is not taken yet, beyond which nothing more is asked for [bytes].
pub(super) const WAITING: usize = 4 << 20;
/// Where messages come in.
pub(super) struct Line {
    pub(super) inbox: String,
    pub(super) messages: Subscriber,
    pub(super) link: watch::Receiver<Link>,
    /// How often the connection had broken when that was last looked at.
    breaks: u64,
}

impl Line {
    pub(super) async fn new(nats: &Nats) -> Result<Line, String> {
        let inbox = nats.client.new_inbox();
        let messages = nats.client.subscribe(inbox.clone()).await;
        let messages = messages.map_err(|why| format!("cannot listen to the answers: {why}"))?;
        let mut link = nats.link();
        let breaks = link.borrow_and_update().breaks;
        Ok(Line {
            inbox,
            messages,
            link,
            breaks,
        })
    }

    /// Whether the connection broke since the last look.
    pub(super) fn broke(&mut self) -> bool {
        let now = self.link.borrow_and_update().breaks;
        std::mem::replace(&mut self.breaks, now) != now
    }
}

/// A request for `batch` messages, within what the consumer allows.
pub(super) fn request(nats: &Nats, consumer: &PullConsumer, batch: usize) -> BatchConfig {
    let largest = nats.client.server_info().max_payload;
    let limits = &consumer.cached_info().config;
    let mut request = BatchConfig {
        batch,
        expires: Some(EXPIRES),
        // One message of any size must fit, or the request is never filled.
        max_bytes: WAITING.max(largest.saturating_add(64 * 1024)),
        idle_heartbeat: HEARTBEAT,
        ..BatchConfig::default()
    };
    let at_most = |limit: i64, wanted: usize| match usize::try_from(limit) {
        Ok(limit) if limit > 0 => wanted.min(limit),
        _ => wanted,
    };
    request.batch = at_most(limits.max_batch, request.batch);
    request.max_bytes = at_most(limits.max_bytes, request.max_bytes);
    if !limits.max_expires.is_zero() && limits.max_expires < EXPIRES {
        request.expires = Some(limits.max_expires);
        if limits.max_expires < HEARTBEAT * 2 {
            request.idle_heartbeat = Duration::ZERO;
        }
    }
    request
}
