//! One connection: requests are heard one after the other, and each is answered when its events have an end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use pipeline::event::digest_parts;
use pipeline::net::{Accepted, Signer};
use pipeline::telemetry::Stage;
use pipeline::{Clock, ComponentMetrics, Event, PendingVerdict, Verdict};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::Limits;
use super::birth::{Ids, Names, Request};
use super::budget::{Budget, Lease};
use super::decode::{Coding, objects, unpack};
use super::known::{Before, Known, Name};
use super::wire::{Answer, Broken, Head, Wire};

/// Bodies beyond this are read on another thread, because they would hold up everybody here [bytes].
const ASIDE: usize = 32 << 10;
/// What an event takes beside what it holds [bytes].
const PER_EVENT: usize = 64;
/// What a peer is told to wait that comes too early [s].
const COME_AGAIN: &str = "1";

/// Events on their way to the engine, and who waits for their answer.
pub(super) struct Submission {
    pub(super) events: Vec<Event>,
    /// Told once there was room for them.
    pub(super) sent: oneshot::Sender<PendingVerdict>,
}

/// What all connections share.
pub(super) struct Desk {
    pub(super) path: String,
    pub(super) method: &'static str,
    /// Digests of the `Authorization` that are let in; none: everybody is.
    pub(super) allowed: Vec<[u8; 32]>,
    /// What is said to those who show none.
    pub(super) challenge: &'static str,
    pub(super) signer: Option<Arc<Signer>>,
    pub(super) limits: Limits,
    pub(super) budget: Arc<Budget>,
    pub(super) names: Names,
    pub(super) run: u64,
    pub(super) next: AtomicU64,
    pub(super) clock: Clock,
    pub(super) metrics: Arc<ComponentMetrics>,
    pub(super) known: Arc<Known>,
    pub(super) submit: mpsc::Sender<Submission>,
    /// Set when no new request is taken.
    pub(super) closing: CancellationToken,
    /// Large bodies that are read at once.
    pub(super) readers: Semaphore,
}

/// The digest that a header's value is compared by, so that neither its length nor its start is told by the time it takes.
pub(super) fn digest(value: &str) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest_parts(&[value.as_bytes()]).as_ref());
    out
}

impl Desk {
    /// Serves a connection to its end.
    pub(super) async fn serve(self: Arc<Self>, accepted: Accepted) {
        let Accepted { stream, peer } = accepted;
        let peer = peer.address.map(|address| address.to_string());
        let mut wire = Wire::new(stream);
        let mut first = true;
        loop {
            let wait = if first {
                self.limits.head_timeout
            } else {
                self.limits.keep_alive
            };
            let began = tokio::select! {
                biased;
                began = wire.begins() => began,
                () = self.closing.cancelled() => false,
                () = tokio::time::sleep(wait) => false,
            };
            if !began {
                return;
            }
            first = false;
            match self.request(&mut wire, peer.as_deref()).await {
                Next::Request => {}
                Next::End => return wire.end().await,
                Next::Gone => return,
            }
        }
    }

    /// Hears and answers one request.
    async fn request<S: AsyncRead + AsyncWrite + Unpin>(
        self: &Arc<Self>,
        wire: &mut Wire<S>,
        peer: Option<&str>,
    ) -> Next {
        let (answer, keep) = match self.hear(wire, peer).await {
            Ok((answer, keep)) => (answer, keep && !self.closing.is_cancelled()),
            Err(Broken::Gone) => {
                self.metrics.error("connection_broken", Stage::Receiving, 1);
                return Next::Gone;
            }
            Err(Broken::Refused(status, why)) => {
                pipeline::log_limited!(
                    warn,
                    peer,
                    status,
                    "a request was refused: {}",
                    pipeline::printable(&why)
                );
                (refusal(status, &why, self), false)
            }
        };
        let mut digits = [0; 3];
        self.metrics
            .http_answered
            .add([number(answer.status, &mut digits)], 1);
        match wire.answer(&answer, keep).await {
            Ok(()) if keep => Next::Request,
            Ok(()) => Next::End,
            Err(_) => Next::Gone,
        }
    }

    async fn hear<S: AsyncRead + AsyncWrite + Unpin>(
        self: &Arc<Self>,
        wire: &mut Wire<S>,
        peer: Option<&str>,
    ) -> Result<(Answer, bool), Broken> {
        let head = wire.head(Instant::now() + self.limits.head_timeout).await?;
        self.permit(&head)?;
        let coding = Coding::of(head.header("content-encoding"))?;
        if head.waits {
            wire.go_on().await?;
        }
        let mut lease = self.budget.lease();
        let until = Instant::now() + self.limits.body_timeout;
        let body = tokio::select! {
            biased;
            body = wire.body(head.length, self.limits.max_size, &mut lease, until) => body?,
            () = self.closing.cancelled() => return Err(Broken::refused(503, "the program is stopping")),
        };
        self.metrics.received_bytes.add(["http"], body.len() as u64);
        if let Some(signer) = &self.signer {
            let value = head.header(signer.header()).unwrap_or_default();
            if let Err(why) = signer.check(value, &body, self.clock.now()) {
                return Err(Broken::refused(
                    401,
                    format!("the signature in {} {why}", signer.header()),
                ));
            }
        }
        let name = head.header("idempotency-key").map(|key| {
            // Two senders may well use the same key for the same words.
            let sender = peer.and_then(|peer| peer.rsplit_once(':'));
            let sender = sender.map_or("", |(address, _port)| address);
            let token = head.header("authorization").unwrap_or_default();
            let parts = [sender, token, key].map(str::as_bytes);
            let digest = digest_parts(&[parts[0], parts[1], parts[2], &body]);
            let mut name = Name::default();
            name.copy_from_slice(&digest.as_ref()[..16]);
            name
        });
        match name.map_or(Before::Never, |name| self.known.before(&name)) {
            Before::Never => {}
            Before::Done(count) => return Ok((Answer::taken(count), head.keep_alive)),
            Before::UnderWay(count, outcome) => {
                drop((body, lease));
                let until = Instant::now() + self.limits.answer_timeout;
                let answer = judge(timeout_at(until, outcome).await.ok(), count)?;
                return Ok((answer, head.keep_alive));
            }
        }
        let large = body.len() > ASIDE || coding != Coding::Plain;
        let (events, lease) = if large {
            let (desk, peer) = (Arc::clone(self), peer.map(str::to_owned));
            let _turn = self.readers.acquire().await.map_err(|_| Broken::Gone)?;
            let work = move || desk.read(body, coding, lease, name, peer.as_deref());
            tokio::task::spawn_blocking(work)
                .await
                .map_err(|_| Broken::refused(500, "the request could not be read"))??
        } else {
            self.read(body, coding, lease, name, peer)?
        };
        if events.is_empty() {
            return Ok((Answer::taken(0), head.keep_alive));
        }
        let answer = self.deliver(events, lease, name).await?;
        Ok((answer, head.keep_alive))
    }

    /// Whether the request is for us, and from somebody who may.
    fn permit(&self, head: &Head) -> Result<(), Broken> {
        if !self.allowed.is_empty() {
            let shown = digest(head.header("authorization").unwrap_or_default());
            let equal = |held: &[u8; 32]| {
                aws_lc_rs::constant_time::verify_slices_are_equal(held, &shown).is_ok()
            };
            // All are looked at, so that the place of the right one is not told by the time it takes.
            if !self
                .allowed
                .iter()
                .fold(false, |found, held| equal(held) | found)
            {
                let why = match head.header("authorization") {
                    None => "this needs an `Authorization` header",
                    Some(_) => "the `Authorization` is not one that is known here",
                };
                return Err(Broken::refused(401, why));
            }
        }
        if head.path != self.path {
            return Err(Broken::refused(404, "nothing is taken at this path"));
        }
        if head.method != self.method {
            return Err(Broken::refused(
                405,
                format!("events are sent by {}", self.method),
            ));
        }
        Ok(())
    }

    /// Makes events of a body; the lease holds what they hold when it is done.
    fn read(
        &self,
        body: Vec<u8>,
        coding: Coding,
        mut lease: Lease,
        named: Option<Name>,
        peer: Option<&str>,
    ) -> Result<(Vec<Event>, Lease), Broken> {
        let body = unpack(body, coding, self.limits.max_size, &mut lease)?;
        let ids = match named {
            Some(name) => Ids::Named(name),
            // Numbers for as many as there may be: there is no end to them.
            None => Ids::Run(
                self.run,
                self.next
                    .fetch_add(self.limits.max_events as u64, Ordering::Relaxed),
            ),
        };
        let request = Request {
            now: self.clock.now(),
            peer,
            ids,
        };
        let mut events = Vec::new();
        objects(&body, self.limits.max_events, |object| {
            let event = request.event(&self.names, events.len() as u64, object);
            let event = event.map_err(|why| {
                let place = events.len() + 1;
                Broken::refused(
                    400,
                    format!("event {place}: {why}; nothing of the request was taken"),
                )
            })?;
            lease.grow(event.size() + PER_EVENT)?;
            events.push(event);
            Ok(())
        })
        .inspect_err(|why| {
            if matches!(why, Broken::Refused(400, _)) {
                self.metrics.error("parser_failed", Stage::Receiving, 1);
            }
        })?;
        lease.shrink(body.len());
        Ok((events, lease))
    }

    /// Hands the events on and waits until all of them have a good end.
    async fn deliver(
        &self,
        events: Vec<Event>,
        lease: Lease,
        name: Option<Name>,
    ) -> Result<Answer, Broken> {
        let until = Instant::now() + self.limits.answer_timeout;
        let count = events.len();
        let (sent, told) = oneshot::channel();
        let submission = Submission { events, sent };
        let verdict = async move {
            let pending: PendingVerdict = told.await.ok()?;
            pending.wait().await.ok()
        };
        if let Some(name) = name {
            let submit = self.submit.clone();
            let outcome = self.known.set_out(name, count, async move {
                let _held = lease;
                submit.send(submission).await.ok()?;
                verdict.await
            });
            return judge(timeout_at(until, outcome).await.ok(), count);
        }
        match timeout_at(until, self.submit.send(submission)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return judge(Some(None), count),
            Err(_) => {
                return Err(Broken::refused(
                    429,
                    "there is no room for more; nothing was taken",
                ));
            }
        }
        let verdict = timeout_at(until, verdict).await;
        drop(lease);
        judge(verdict.ok(), count)
    }
}

/// The answer to events that were handed on: `None` where there is no verdict in time, `Some(None)` where there will be
/// none.
fn judge(verdict: Option<Option<Verdict>>, count: usize) -> Result<Answer, Broken> {
    let (status, why) = match verdict {
        Some(Some(Verdict::Delivered)) => return Ok(Answer::taken(count)),
        Some(Some(Verdict::Failed)) => (503, "the events could not be delivered; send them again"),
        Some(None) => (
            503,
            "the program stops before the events are delivered; send them again",
        ),
        None => (
            429,
            "the events are not delivered yet, but may still be; send them again: with an `event.id` or an `Idempotency-Key` they count once",
        ),
    };
    Err(Broken::refused(status, why))
}

/// What becomes of the connection.
enum Next {
    Request,
    End,
    Gone,
}

fn refusal(status: u16, why: &str, desk: &Desk) -> Answer {
    let answer = Answer::refused(status, why);
    match status {
        401 => answer.header("WWW-Authenticate", desk.challenge),
        405 => answer.header("Allow", desk.method),
        415 => answer.header("Accept-Encoding", "gzip, zstd"),
        429 | 503 => answer.header("Retry-After", COME_AGAIN),
        _ => answer,
    }
}

fn number(status: u16, digits: &mut [u8; 3]) -> &str {
    for (place, by) in [100, 10, 1].into_iter().enumerate() {
        digits[place] = b'0' + (status / by % 10) as u8;
    }
    std::str::from_utf8(digits).unwrap_or_default()
}
