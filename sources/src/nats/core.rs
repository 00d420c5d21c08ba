//! Core NATS: listening, and nothing more.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use async_nats::{Message as Received, Subscriber};
use futures::stream::{SelectAll, select_all};
use futures::{FutureExt as _, StreamExt as _};
use pipeline::net::nats::Link;
use pipeline::telemetry::Stage;
use pipeline::{Event, EventId, LaneId, Reason, ReasonKind, SourceError, SourceOut, Stopped};
use tokio::sync::watch;

use super::decode::Message;
use super::losses::Losses;
use super::{IDLE, Nats};

/// Messages that wait for us before the library throws the next away [messages].
const WAITING: usize = 16 * 1024;
/// Sent on at once [messages], [bytes].
const AT_ONCE: usize = 1000;
const BYTES_AT_ONCE: usize = 256 * 1024;
/// The wait while dead letters cannot be written.
const AGAIN: Duration = Duration::from_secs(1);

pub(super) async fn run(source: &Nats, mut out: SourceOut) -> Result<(), SourceError> {
    let mut ids = Ids {
        run: fastrand::u64(..),
        next: 0,
    };
    // One turn for each set of certificates.
    while let Next::Anew = listen(source, &mut out, &mut ids).await? {
        tracing::info!(
            component_id = source.id,
            "connecting anew, with the certificates as they are now"
        );
    }
    Ok(())
}

/// Why listening ended.
enum Next {
    Anew,
    End,
}

async fn listen(source: &Nats, out: &mut SourceOut, ids: &mut Ids) -> Result<Next, SourceError> {
    let connected = source.connector.connect_with(WAITING).await;
    let nats = connected.map_err(|why| SourceError(why.text))?;
    let mut subscribers = Vec::new();
    for subject in &source.subjects {
        let subscribed: Result<Subscriber, _> = match &source.queue {
            Some(queue) => {
                nats.client
                    .queue_subscribe(subject.clone(), queue.clone())
                    .await
            }
            None => nats.client.subscribe(subject.clone()).await,
        };
        let failed = |why: String| SourceError(format!("cannot listen to \"{subject}\": {why}"));
        subscribers.push(subscribed.map_err(|why| failed(why.to_string()))?);
    }
    nats.client.flush().await?;
    let room = (WAITING * subscribers.len()) as u64;
    let mut listening = Listening {
        source,
        ids,
        lane: out.lane("core"),
        losses: Losses::new(nats.client.statistics(), Arc::clone(out.metrics()), room),
        out,
        messages: select_all(subscribers),
        room,
    };
    let ended = listening.run(nats.link()).await;
    listening.finish().await;
    ended
}

/// One connection.
struct Listening<'r> {
    source: &'r Nats,
    out: &'r mut SourceOut,
    ids: &'r mut Ids,
    lane: LaneId,
    messages: SelectAll<Subscriber>,
    losses: Losses,
    /// Most messages that may wait.
    room: u64,
}

impl Listening<'_> {
    async fn run(&mut self, mut link: watch::Receiver<Link>) -> Result<Next, SourceError> {
        loop {
            let first = tokio::select! {
                () = self.out.stopped() => return Ok(Next::End),
                message = tokio::time::timeout(IDLE, self.messages.next()) => message,
                changed = link.changed() => {
                    let now = link.borrow_and_update().clone();
                    if let Some(denial) = now.denial.filter(|denial| denial.to_ascii_lowercase().contains("subscription")) {
                        return Err(SourceError(format!("the server forbids it: {denial}")));
                    }
                    if changed.is_err() {
                        return Err(SourceError("the connection is gone".to_owned()));
                    }
                    continue;
                }
            };
            let handed_over = match first {
                Ok(Some(first)) => {
                    let handed_over = self.hand_over(first).await;
                    self.losses.glance();
                    handed_over
                }
                Ok(None) => return Err(SourceError("the subscription ended".to_owned())),
                Err(_) => {
                    self.losses.look();
                    if self.source.connector.is_stale() {
                        return Ok(Next::Anew);
                    }
                    self.out.idle(self.lane).await
                }
            };
            if let Err(Stopped) = handed_over {
                return Ok(Next::End);
            }
        }
    }

    /// Hands over a message, and those that wait behind it.
    async fn hand_over(&mut self, first: Received) -> Result<(), Stopped> {
        let mut bytes = first.payload.len();
        let mut taken = vec![first];
        while taken.len() < AT_ONCE && bytes < BYTES_AT_ONCE {
            let Some(Some(message)) = self.messages.next().now_or_never() else {
                break;
            };
            bytes += message.payload.len();
            taken.push(message);
        }
        let mut owed = taken.len() as u64;
        self.losses.took(owed);
        let metrics = self.out.metrics();
        metrics.received_bytes.add(["nats"], bytes as u64);
        let mut events = Vec::with_capacity(taken.len());
        for message in taken {
            match decode(self.source, &message, self.ids, self.out) {
                Ok(event) => events.push(event),
                Err((event, why)) => {
                    let buried = self.bury(event, why).await;
                    buried.inspect_err(|_| self.losses.gave_up(owed))?;
                    owed -= 1;
                }
            }
        }
        let sent = {
            let mut sending = pin!(self.out.send(self.lane, events, &()));
            loop {
                tokio::select! {
                    biased;
                    sent = &mut sending => break sent,
                    () = tokio::time::sleep(IDLE) => self.losses.glance(),
                }
            }
        };
        sent.inspect_err(|_| self.losses.gave_up(owed))
    }

    async fn bury(&mut self, mut event: Event, why: String) -> Result<(), Stopped> {
        let reason = Reason::new(ReasonKind::Mapping, why);
        while let Err(why) = self.out.bury(std::slice::from_mut(&mut event), &reason, 1) {
            pipeline::log_limited!(
                error,
                component_id = self.source.id,
                why,
                "dead letters cannot be written; the source waits"
            );
            self.losses.glance();
            tokio::select! {
                () = tokio::time::sleep(AGAIN) => {}
                () = self.out.stopped() => return Err(Stopped),
            }
        }
        Ok(())
    }

    /// Hands over what came before the end, whatever that is, and counts what cannot be.
    async fn finish(&mut self) {
        for subscriber in self.messages.iter_mut() {
            // Where there is no connection any more, nothing comes.
            let _ = tokio::time::timeout(AGAIN, subscriber.unsubscribe()).await;
        }
        for _ in 0..self.room {
            let next = tokio::task::unconstrained(self.messages.next()).now_or_never();
            let Some(Some(message)) = next else { break };
            if self.hand_over(message).await.is_err() {
                break;
            }
        }
        self.losses.end();
    }
}

/// Ids for messages that have none: nothing can be read twice, so nothing may be taken for the same.
struct Ids {
    run: u64,
    next: u64,
}

fn decode(
    source: &Nats,
    message: &Received,
    ids: &mut Ids,
    out: &SourceOut,
) -> Result<Event, (Event, String)> {
    let headers = message.headers.as_ref();
    let id = headers.and_then(|headers| headers.get(async_nats::header::NATS_MESSAGE_ID));
    let message = Message {
        body: &message.payload,
        subject: &message.subject,
        id: id.map(|id| id.as_str()),
        stream: None,
        at: out.now(),
        delivered: 1,
    };
    let decoded = source.decoder.decode(&message, || {
        ids.next += 1;
        EventId([ids.run, ids.next])
    });
    match decoded {
        Ok((event, marked)) => {
            if marked {
                out.metrics().error("undecodable", Stage::Receiving, 1);
            }
            Ok(event)
        }
        Err(dead) => {
            out.metrics().error("undecodable", Stage::Receiving, 1);
            Err((*dead.event, dead.why))
        }
    }
}
