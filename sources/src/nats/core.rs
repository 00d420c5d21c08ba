//! Core NATS: listening, and nothing more.

use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::{Message as Received, Subscriber};
use futures::stream::select_all;
use futures::{FutureExt as _, StreamExt as _};
use pipeline::telemetry::Stage;
use pipeline::{EventId, Reason, ReasonKind, SourceError, SourceOut, Stopped};

use super::decode::Message;
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
    let mut messages = select_all(subscribers);
    let lane = out.lane("core");
    let mut link = nats.link();
    let (mut taken_so_far, mut lost) = (0_u64, 0);
    loop {
        let first = tokio::select! {
            () = out.stopped() => return Ok(Next::End),
            message = tokio::time::timeout(IDLE, messages.next()) => message,
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
        let first = match first {
            Ok(Some(first)) => first,
            Ok(None) => return Err(SourceError("the subscription ended".to_owned())),
            Err(_) => {
                // Nothing waits any more, and the client reads on this very thread: what came and was not taken is lost.
                let came = nats.client.statistics().in_messages.load(Ordering::Relaxed);
                let lost_now = came.saturating_sub(taken_so_far);
                if lost_now > lost {
                    out.metrics().discarded.add(lost_now - lost);
                    out.metrics()
                        .error("slow_consumer", Stage::Receiving, lost_now - lost);
                    lost = lost_now;
                }
                if source.connector.is_stale() {
                    return Ok(Next::Anew);
                }
                match out.idle(lane).await {
                    Ok(()) => continue,
                    Err(Stopped) => return Ok(Next::End),
                }
            }
        };
        let mut bytes = first.payload.len();
        let mut taken = vec![first];
        while taken.len() < AT_ONCE && bytes < BYTES_AT_ONCE {
            let Some(Some(message)) = messages.next().now_or_never() else {
                break;
            };
            bytes += message.payload.len();
            taken.push(message);
        }
        taken_so_far += taken.len() as u64;
        out.metrics().received_bytes.add(["nats"], bytes as u64);
        let mut events = Vec::with_capacity(taken.len());
        for message in taken {
            match decode(source, &message, ids, out) {
                Ok(event) => events.push(event),
                Err((mut event, why)) => {
                    let reason = Reason::new(ReasonKind::Mapping, why);
                    while let Err(why) = out.bury(std::slice::from_mut(&mut event), &reason, 1) {
                        pipeline::log_limited!(
                            error,
                            component_id = source.id,
                            why,
                            "dead letters cannot be written; the source waits"
                        );
                        tokio::select! {
                            () = tokio::time::sleep(AGAIN) => {}
                            () = out.stopped() => return Ok(Next::End),
                        }
                    }
                }
            }
        }
        if out.send(lane, events, &()).await.is_err() {
            return Ok(Next::End);
        }
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
) -> Result<pipeline::Event, (pipeline::Event, String)> {
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
