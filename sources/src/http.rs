//! `http` takes events by POST, and answers 200 when every one of them has a good end.
//!
//! - in: a JSON array of events, JSON objects in lines, or a single object; gzip, zstd or plain
//! - out: the events of another pvetrail under their own ids and times; PVE's notifications in our fields; all others with
//!   an id of this run and the time of their coming
//! - all or nothing: a body with a mistake is answered by its place, and nothing of it is taken
//! - back-pressure is told (429), bounded in time and in bytes; nobody but the sender remembers what was not taken

mod birth;
mod budget;
mod decode;
mod known;
mod serve;
#[cfg(test)]
mod tests;
mod wire;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use async_trait::async_trait;
use pipeline::net::{ListenAt, ListenOptions, ListenTls, Listener, Networks, Sign, Signer};
use pipeline::{
    Auth, BuildError, BuildErrors, Bytes, Clock, Context, Source, SourceConfig, SourceError,
    SourceOut, Stopped,
};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::birth::Names;
use self::budget::Budget;
use self::serve::{Desk, Submission};

/// Silence is told of this often.
const IDLE: Duration = Duration::from_secs(1);
/// Requests that wait for the engine beside the one it is at.
const AHEAD: usize = 16;
/// Large bodies read at once: reading takes several times the memory of what is read.
const READERS: usize = 2;

/// Takes events by HTTP and answers when they are delivered: from another pvetrail's `webhook`, from PVE's webhook
/// notifications, from whatever can POST JSON.
///
/// What is taken: a JSON array of objects, JSON objects behind one another (a line each, or not), or a single one, plain or
/// by `Content-Encoding: gzip` or `zstd`. An object with an `event.id` of 32 hexadecimal digits keeps it, and its
/// `@timestamp`; others get an id of this run, or, where the request has an `Idempotency-Key`, one made of that key, its sender and the
/// body, so that the same request again is the same events. A name no component of this graph knows is kept under
/// `pve.extra`.
///
/// What the answers mean: 200: every event is stored, queued on disk, left out by a filter or in the dead letters. 429: not
/// now, `Retry-After` says when. 503: the program is stopping, or the events failed; the same again. 400: broken, with line
/// and column; nothing of the request was taken. 401: no token or a wrong one. 413: too much at once. 415: another
/// compression. A request is taken whole or not at all.
///
/// For the notifications of PVE make a webhook target (Datacenter, Notifications) with method POST, the address of this
/// source, the header `Content-Type: application/json`, the header `Authorization: Bearer {{ secrets.token }}` with a
/// secret called `token`, and this body:
///
/// `{"title": "{{ escape title }}", "message": "{{ escape message }}", "severity": "{{ severity }}", "timestamp": {{ timestamp }}, "fields": {{ json fields }}}`
///
/// Its title becomes `message`, its text `pve.notification.message`, and `severity`, `type`, `job-id` and `hostname` become
/// `event.severity` and `pve.notification.severity`, `event.action` and `pve.notification.type`, `pve.notification.job_id`
/// and `host.name`. PVE sends a notification once and never again: what is not answered with 200 is lost on its side.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where to listen, an address and a port.
    pub address: SocketAddr,
    /// The path events are sent to; every other is answered with 404.
    #[serde(default = "path")]
    pub path: String,
    /// `post` or `put`.
    #[serde(default)]
    pub method: Method,
    /// Who may send: any of these. Several let a token be changed without a gap.
    #[serde(default)]
    pub auth: Vec<Auth>,
    /// A signature every request must have, as `webhook` makes it; one that is older than 5 minutes is refused.
    #[serde(default)]
    pub sign: Option<Sign>,
    /// `true`: whoever reaches the address may write events. Needed where there is neither `auth` nor `sign` nor a
    /// `tls.ca_file`, and the address is not this machine's own.
    #[serde(default)]
    pub anonymous: bool,
    /// TLS; with `ca_file` every client shows a certificate.
    #[serde(default)]
    pub tls: Option<ListenTls>,
    /// The networks whose senders are heard; all where it is not said.
    #[serde(default)]
    pub permit_origin: Option<Networks>,
    /// The longest body, before and after it is unpacked.
    #[serde(default = "max_size")]
    pub max_size: Bytes,
    /// Most events of one request.
    #[serde(default = "max_events")]
    pub max_events: usize,
    /// What all requests without an answer may hold in memory; more is answered with 429.
    #[serde(default = "max_held")]
    pub max_held: Bytes,
    /// Longest wait for delivery before a request is answered with 429. Keep it below the sender's own patience (60 s with
    /// `webhook`).
    #[serde(default = "answer_timeout")]
    pub answer_timeout: pipeline::Duration,
    /// Longest time from the first byte of a body to its last.
    #[serde(default = "body_timeout")]
    pub body_timeout: pipeline::Duration,
    /// Longest silence between two requests of one connection.
    #[serde(default = "keep_alive")]
    pub keep_alive: pipeline::Duration,
    /// Most connections at once; the next ones wait.
    #[serde(default = "connection_limit")]
    pub connection_limit: usize,
    /// Most connections from one address, or one /64 of IPv6.
    #[serde(default = "connection_limit_per_peer")]
    pub connection_limit_per_peer: usize,
}

/// The method of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// POST.
    #[default]
    Post,
    /// PUT.
    Put,
}

fn path() -> String {
    "/".to_owned()
}

fn max_size() -> Bytes {
    Bytes::mib(8)
}

fn max_events() -> usize {
    10_000
}

fn max_held() -> Bytes {
    Bytes::mib(32)
}

fn answer_timeout() -> pipeline::Duration {
    pipeline::Duration::from_secs(30)
}

fn body_timeout() -> pipeline::Duration {
    pipeline::Duration::from_secs(30)
}

fn keep_alive() -> pipeline::Duration {
    pipeline::Duration::from_secs(60)
}

fn connection_limit() -> usize {
    256
}

fn connection_limit_per_peer() -> usize {
    64
}

/// Longest time for the head of a request, and for the first of a connection to begin.
const HEAD: Duration = Duration::from_secs(10);

/// Longest wait for the last answers when the engine has ended.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What bounds a request.
#[derive(Clone, Debug)]
struct Limits {
    max_size: usize,
    max_events: usize,
    head_timeout: Duration,
    body_timeout: Duration,
    answer_timeout: Duration,
    keep_alive: Duration,
}

impl SourceConfig for Config {
    const TYPE: &'static str = "http";
    const EXAMPLE: &'static str = r#"address = "0.0.0.0:8688"
path = "/events"
auth = [{ strategy = "bearer", token = "Y2hhbmdlIG1lIHRvIHlvdXIgb3du" }]
tls = { crt_file = "/etc/pvetrail/server.pem", key_file = "/etc/pvetrail/server.key" }
permit_origin = ["192.0.2.0/24"]"#;

    fn build(&self, cx: &Context) -> Result<Box<dyn Source>, BuildErrors> {
        let mut errors = BuildErrors::new();
        let listen = self.listen();
        errors.extend(
            listen
                .mistakes()
                .into_iter()
                .map(|mistake| BuildError::key(mistake.key, mistake.message)),
        );
        let mut allowed = Vec::new();
        for (n, auth) in self.auth.iter().enumerate() {
            match auth.header() {
                Ok(value) => allowed.push(serve::digest(&value)),
                Err(why) => {
                    let key = why.key.replacen("auth", &format!("auth[{n}]"), 1);
                    errors.push(BuildError::key(key, why.message));
                }
            }
        }
        let proves = !self.auth.is_empty()
            || self.sign.is_some()
            || self.tls.as_ref().is_some_and(|tls| tls.ca_file.is_some());
        if !proves && !self.anonymous && !self.address.ip().is_loopback() {
            errors.push(
                BuildError::key("address", "whoever reaches it could write into the audit trail")
                    .help("say who may: `auth = [{ strategy = \"bearer\", token = \"${cred:token}\" }]`, or `tls` with a `ca_file`; or write `anonymous = true`"),
            );
        }
        if !self.path.starts_with('/') || self.path.contains(['?', '#', ' ']) {
            errors.push(BuildError::key(
                "path",
                "begins with `/` and has no `?`, `#` or blank",
            ));
        }
        if self.max_events == 0 {
            errors.push(BuildError::key(
                "max_events",
                "nothing could be sent; write 1 or more",
            ));
        }
        if self.max_size > self.max_held {
            errors.push(BuildError::key(
                "max_size",
                "is more than `max_held`, so it could never be taken",
            ));
        }
        let signer = errors.take(self.sign.as_ref().map(Signer::new).transpose());
        let basic = matches!(self.auth.first(), Some(Auth::Basic { .. }));
        let http = Http {
            id: cx.id().to_owned(),
            agent: cx.agent_id(),
            config: self.clone(),
            allowed,
            signer: signer.flatten().map(Arc::new),
            challenge: if basic {
                "Basic realm=\"pvetrail\""
            } else {
                "Bearer"
            },
            names: Names::new(),
        };
        errors.finish(Box::new(http) as Box<dyn Source>)
    }
}

impl Config {
    fn listen(&self) -> ListenOptions {
        ListenOptions {
            tls: self.tls.clone(),
            alpn: &["http/1.1"],
            permit_origin: self.permit_origin.clone(),
            connection_limit: self.connection_limit,
            connection_limit_per_peer: self.connection_limit_per_peer,
            ..ListenOptions::new(ListenAt::Tcp(self.address))
        }
    }
}

struct Http {
    id: String,
    agent: String,
    config: Config,
    allowed: Vec<[u8; 32]>,
    signer: Option<Arc<Signer>>,
    challenge: &'static str,
    names: Names,
}

#[async_trait]
impl Source for Http {
    async fn run(&mut self, mut out: SourceOut) -> Result<(), SourceError> {
        let config = &self.config;
        let listener = Listener::bind(&config.listen(), Some(Arc::clone(out.metrics())));
        let listener = listener.map_err(SourceError)?;
        let address = listener.local_addr().unwrap_or(config.address);
        tracing::info!(component_id = self.id, %address, "events are taken by HTTP");
        let (submit, mut submissions) = mpsc::channel::<Submission>(AHEAD);
        let closing = CancellationToken::new();
        let desk = Desk {
            path: config.path.clone(),
            method: match config.method {
                Method::Post => "POST",
                Method::Put => "PUT",
            },
            allowed: self.allowed.clone(),
            challenge: self.challenge,
            signer: self.signer.clone(),
            limits: Limits {
                max_size: config.max_size.as_usize(),
                max_events: config.max_events,
                head_timeout: HEAD,
                body_timeout: config.body_timeout.get(),
                answer_timeout: config.answer_timeout.get(),
                keep_alive: config.keep_alive.get(),
            },
            budget: Budget::new(config.max_held.as_usize()),
            names: self.names.clone(),
            run: crate::stdin::run_id(&self.agent, &self.id),
            next: AtomicU64::new(0),
            clock: Clock::system(),
            metrics: Arc::clone(out.metrics()),
            known: Arc::default(),
            submit,
            closing: closing.clone(),
            readers: Semaphore::new(READERS),
        };
        // Ends with this run, and every connection with it.
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, Arc::new(desk)));
        let lane = out.lane("requests");
        let mut stopped = std::pin::pin!(out.stopped());
        let mut idle = tokio::time::interval(IDLE);
        idle.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = &mut stopped, if !closing.is_cancelled() => closing.cancel(),
                submission = submissions.recv() => match submission {
                    Some(Submission { events, sent }) => {
                        idle.reset();
                        // Whoever waited has been told to come again: then this must not come as well.
                        if sent.is_closed() {
                            continue;
                        }
                        let Ok(pending) = out.send_for_verdict(lane, events).await else {
                            break;
                        };
                        // Whoever lost patience meanwhile sends it again.
                        let _ = sent.send(pending);
                    }
                    // Every connection has ended, and was answered before.
                    None => return Ok(()),
                },
                _ = idle.tick(), if !closing.is_cancelled() => {
                    if out.idle(lane).await.is_err() {
                        break;
                    }
                }
            }
        }
        // The engine takes nothing any more. Whoever still waits is told so.
        closing.cancel();
        drop(submissions);
        let _ = tokio::time::timeout(LAST_WORDS, tasks.join_next()).await;
        Err(Stopped.into())
    }
}

/// Accepts connections until told to close; ends when the last of them has ended.
async fn accept(mut listener: Listener, desk: Arc<Desk>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = desk.closing.cancelled() => break,
            accepted = listener.accept() => {
                connections.spawn(Arc::clone(&desk).serve(accepted));
            }
            Some(ended) = connections.join_next(), if !connections.is_empty() => told(ended),
        }
    }
    drop(listener);
    while let Some(ended) = connections.join_next().await {
        told(ended);
    }
}

fn told(ended: Result<(), tokio::task::JoinError>) {
    if let Err(why) = ended {
        tracing::error!(%why, "a connection broke off");
    }
}
