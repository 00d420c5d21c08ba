//! JetStream: chunks of messages become batches of events, each answered for on its own.

use std::sync::Arc;
use std::time::Duration;

use async_nats::Message as Received;
use pipeline::net::nats::NatsConnector;
use pipeline::telemetry::Stage;
use pipeline::told::Told;
use pipeline::{
    ComponentMetrics, Event, EventId, LaneId, Reason, ReasonKind, SourceError, SourceOut, Stopped,
};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::config::JetStream;
use super::consumer::{Found, Way};
use super::decode::Message;
use super::pull::{Chunk, News, Puller, State, Word};
use super::reply::Origin;
use super::{IDLE, Nats};

/// The wait while dead letters cannot be written.
const AGAIN: Duration = Duration::from_secs(1);

pub(super) async fn run(
    source: &Nats,
    options: &JetStream,
    out: SourceOut,
) -> Result<(), SourceError> {
    let (to, chunks) = unbounded_channel();
    let (words, heard) = unbounded_channel();
    let start = Start {
        id: source.id.clone(),
        connector: Arc::clone(&source.connector),
        options: options.clone(),
        subjects: source.subjects.clone(),
        metrics: Arc::clone(out.metrics()),
        to,
    };
    // The connection lives where it outlives the source: answers come in after the last message was read.
    out.beside(start.run(heard));
    let key = format!("{}/{}", options.stream, options.consumer);
    let lane = out.lane(&key);
    let mut taking = Taking {
        source,
        options,
        lane,
        seen: out.position(&key),
        whole: false,
        out,
        words,
    };
    match taking.run(chunks).await {
        Ok(()) | Err(End::Stopped) => Ok(()),
        Err(End::Failed(why)) => Err(SourceError(why)),
    }
}

/// Everything it takes to begin pulling.
struct Start {
    id: String,
    connector: Arc<NatsConnector>,
    options: JetStream,
    subjects: Vec<String>,
    metrics: Arc<ComponentMetrics>,
    to: UnboundedSender<News>,
}

impl Start {
    async fn run(self, heard: UnboundedReceiver<Word>) {
        let gone = self.to.clone();
        let begun = tokio::select! {
            begun = self.begin() => begun,
            () = gone.closed() => return,
        };
        match begun {
            Ok(puller) => {
                drop(gone);
                puller.run(heard).await;
            }
            Err(why) => {
                // The source is there, or nobody needs to know.
                let _ = gone.send(News::Failed(why));
            }
        }
    }

    async fn begin(self) -> Result<Puller, String> {
        let way = Way {
            id: self.id,
            connector: self.connector,
            options: self.options,
            subjects: self.subjects,
        };
        let (nats, Found { consumer, whole }) = way.connect().await?;
        // If the source is gone, the puller ends at once.
        let _ = self.to.send(News::Found { whole });
        Ok(Puller {
            way,
            nats,
            consumer,
            metrics: self.metrics,
            to: self.to,
            state: State::new(),
        })
    }
}

/// Why reading ended.
enum End {
    Stopped,
    Failed(String),
}

impl From<Stopped> for End {
    fn from(_: Stopped) -> Self {
        End::Stopped
    }
}

/// The last delivery that was taken: if the next one of the consumer skips messages, the stream has lost them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
struct Seen {
    delivery: u64,
    sequence: u64,
}

impl Seen {
    /// Goes on to a message; gives the sequences between that are missing.
    fn go_on(seen: &mut Option<Seen>, origin: Origin) -> Option<(u64, u64)> {
        let before = *seen;
        let again = origin.delivered > 1;
        let sequence = match before {
            Some(before) if again => before.sequence.max(origin.sequence),
            _ => origin.sequence,
        };
        *seen = Some(Seen {
            delivery: origin.delivery,
            sequence,
        });
        // Where others share the consumer, the deliveries between went to them.
        let before = before.filter(|before| before.delivery + 1 == origin.delivery)?;
        (!again && origin.sequence > before.sequence + 1)
            .then(|| (before.sequence + 1, origin.sequence - 1))
    }
}

struct Taking<'a> {
    source: &'a Nats,
    options: &'a JetStream,
    lane: LaneId,
    seen: Option<Seen>,
    /// Whether every message of the stream comes here.
    whole: bool,
    out: SourceOut,
    words: UnboundedSender<Word>,
}

impl Taking<'_> {
    async fn run(&mut self, mut chunks: UnboundedReceiver<News>) -> Result<(), End> {
        loop {
            let next = tokio::select! {
                () = self.out.stopped() => return Err(End::Stopped),
                next = tokio::time::timeout(IDLE, chunks.recv()) => next,
            };
            match next {
                Ok(Some(News::Found { whole })) => self.whole = whole,
                Ok(Some(News::Chunk(chunk))) => self.take(chunk).await?,
                Ok(Some(News::Failed(why))) => return Err(End::Failed(why)),
                Ok(None) => {
                    return Err(End::Failed("the task that pulls messages died".to_owned()));
                }
                Err(_) => self.out.idle(self.lane).await?,
            }
        }
    }

    async fn take(&mut self, chunk: Chunk) -> Result<(), End> {
        let ticket = chunk.ticket;
        let mut events = Vec::with_capacity(chunk.messages.len());
        for (place, (message, origin)) in chunk.messages.into_iter().enumerate() {
            if let Some((from, to)) = Seen::go_on(&mut self.seen, origin)
                && self.whole
            {
                self.tell_gap(from, to);
            }
            match self.decode(&message, origin) {
                Ok(event) => events.push(event),
                Err((event, reason)) => {
                    let attempts = u32::try_from(origin.delivered).unwrap_or(u32::MAX);
                    self.bury(event, &reason, attempts).await?;
                    self.say(Word::Buried(ticket, place));
                }
            }
        }
        let words = self.words.clone();
        let tell = move |verdict| {
            // Nobody hears it only when the whole program goes.
            let _ = words.send(Word::Answered(ticket, verdict));
        };
        self.out
            .send_telling(self.lane, events, &self.seen, tell)
            .await?;
        self.say(Word::Taken(ticket));
        Ok(())
    }

    /// Limits, or somebody, took messages away before they were read.
    fn tell_gap(&self, from: u64, to: u64) {
        let (stream, count) = (&self.options.stream, to - from + 1);
        let why = format!(
            "the stream {stream} lost {count} messages ({from} to {to}) before they were read"
        );
        tracing::error!(component_id = self.source.id, "{why}");
        let metrics = self.out.metrics();
        metrics.gaps.add(["stream"], 1);
        metrics.tell(Told::new("PVE-9014", format!("Input is missing: {why}")).failed(why));
    }

    fn say(&self, word: Word) {
        // Whoever pulls ends after us, or has said why it cannot go on.
        let _ = self.words.send(word);
    }

    /// The event of a message, or what goes to the dead letters instead.
    fn decode(&self, message: &Received, origin: Origin) -> Result<Event, (Event, Reason)> {
        let stream = self.options.stream.as_str();
        let headers = message.headers.as_ref();
        let id = headers.and_then(|headers| headers.get(async_nats::header::NATS_MESSAGE_ID));
        let described = Message {
            body: &message.payload,
            subject: &message.subject,
            id: id.map(|id| id.as_str()),
            stream: Some(stream),
            at: origin.published,
            delivered: origin.delivered,
        };
        // The time tells a stream that was made anew, and counts from 1 again, from the one before.
        let made = || {
            EventId::of_parts(&[
                b"pve-audit/1",
                b"nats",
                stream.as_bytes(),
                &origin.sequence.to_le_bytes(),
                &origin.published.0.to_le_bytes(),
            ])
        };
        let event = match self.source.decoder.decode(&described, made) {
            Ok((event, marked)) => {
                if marked {
                    self.out.metrics().error("undecodable", Stage::Receiving, 1);
                }
                event
            }
            Err(dead) => {
                self.out.metrics().error("undecodable", Stage::Receiving, 1);
                let reason = Reason::new(ReasonKind::Mapping, dead.why);
                return Err((*dead.event, reason));
            }
        };
        let most = self.options.max_deliveries;
        if most > 0 && origin.delivered > most {
            let why = format!(
                "delivered {} times, and never reached an end",
                origin.delivered
            );
            return Err((event, Reason::new(ReasonKind::Rejected, why)));
        }
        Ok(event)
    }

    /// Makes a dead letter, however long that takes: before it is durable nothing may be said about the message.
    async fn bury(
        &mut self,
        mut event: Event,
        reason: &Reason,
        attempts: u32,
    ) -> Result<(), Stopped> {
        while let Err(why) = self
            .out
            .bury(std::slice::from_mut(&mut event), reason, attempts)
        {
            pipeline::log_limited!(
                error,
                component_id = self.source.id,
                why,
                "dead letters cannot be written; the source waits"
            );
            tokio::select! {
                () = tokio::time::sleep(AGAIN) => {}
                () = self.out.stopped() => return Err(Stopped),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_left_out_between_two_deliveries_are_missing() {
        let mut seen = None;
        let mut next = |delivery, sequence, delivered| {
            let origin = Origin {
                sequence,
                delivery,
                delivered,
                published: pipeline::Time(0),
            };
            Seen::go_on(&mut seen, origin)
        };
        assert_eq!(
            next(1, 10, 1),
            None,
            "where a consumer begins is its own affair"
        );
        assert_eq!(next(2, 11, 1), None);
        assert_eq!(next(3, 14, 1), Some((12, 13)));
        assert_eq!(next(4, 10, 2), None, "one that comes again");
        assert_eq!(next(5, 15, 1), None, "and what follows it");
        assert_eq!(next(9, 40, 1), None, "deliveries to others in between");
        assert_eq!(next(10, 41, 1), None);
        assert_eq!(next(11, 1, 1), None, "a stream made anew");
        assert_eq!(next(12, 2, 1), None);
    }
}
