//! Pulls messages, keeps those alive that are under way, and answers for those that have an end.
//!
//! It runs beside the source and outlives it: answers come in after the last message was read. Only as much is asked for
//! as the source takes soon, so that nothing waits here without the server being told that it is under way.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::consumer::PullConsumer;
use async_nats::{Message, Subscriber};
use bytes::Bytes;
use futures::{FutureExt as _, StreamExt as _};
use pipeline::net::nats::Nats;
use pipeline::telemetry::Stage;
use pipeline::{ComponentMetrics, Verdict};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::consumer::Way;
use super::line::{Line, WAITING, request};
use super::reply::{Origin, confirm, origin};

/// A server silent for this long has forgotten our request.
const SILENCE: Duration = Duration::from_secs(13);
/// Handed to the source at once [bytes].
const AT_ONCE: usize = 256 * 1024;
/// Everything that waits for time is looked at this often.
const TICK: Duration = Duration::from_millis(250);
/// The wait after an answer that says "not now".
const NOT_NOW: Duration = Duration::from_millis(500);
/// So many of these in a row, and the consumer itself is asked for.
const DOUBTS: u32 = 4;
/// Longest wait at the end for the server's word that it has read everything.
const LAST_WORD: Duration = Duration::from_secs(2);
const ACK: Bytes = Bytes::from_static(b"+ACK");
const IN_PROGRESS: Bytes = Bytes::from_static(b"+WPI");
const TERMINATE: Bytes = Bytes::from_static(b"+TERM");

/// Messages that are answered for together.
pub(super) struct Chunk {
    pub(super) ticket: u64,
    pub(super) messages: Vec<(Message, Origin)>,
}

/// What the source is told.
pub(super) enum News {
    /// The consumer is found; it gets every message of its stream, or only some.
    Found { whole: bool },
    /// Messages.
    Chunk(Chunk),
    /// Nothing more comes, and why.
    Failed(String),
}

/// What becomes of a chunk.
pub(super) enum Word {
    /// The engine has it.
    Taken(u64),
    /// The message at a place of it is durable in the dead letters.
    Buried(u64, usize),
    /// The rest has an end.
    Answered(u64, Verdict),
}

/// What the server is owed for one chunk.
struct Owed {
    /// Where each answer goes; none where it was given.
    replies: Vec<Option<Box<str>>>,
    bytes: usize,
    /// When the server was last told, or knew by itself, that these are under way.
    touched: Instant,
    taken: bool,
}

pub(super) struct Puller {
    pub(super) way: Way,
    pub(super) nats: Nats,
    pub(super) consumer: PullConsumer,
    pub(super) metrics: Arc<ComponentMetrics>,
    pub(super) to: UnboundedSender<News>,
    pub(super) state: State,
}

pub(super) struct State {
    owed: HashMap<u64, Owed>,
    next: u64,
    /// Messages that were asked for and have not come.
    asked: usize,
    /// Messages and bytes that the source has not taken yet.
    waiting: (usize, usize),
    heard: Instant,
    not_before: Instant,
    doubts: u32,
    confirming: JoinSet<()>,
}

impl State {
    pub(super) fn new() -> Self {
        State {
            owed: HashMap::new(),
            next: 0,
            asked: 0,
            waiting: (0, 0),
            heard: Instant::now(),
            not_before: Instant::now(),
            doubts: 0,
            confirming: JoinSet::new(),
        }
    }
}

impl Puller {
    /// Runs until the source is gone and every chunk has an end.
    pub(super) async fn run(mut self, mut words: UnboundedReceiver<Word>) {
        let mut line = match Line::new(&self.nats).await {
            Ok(line) => line,
            Err(why) => return self.fail(why),
        };
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut pulling = true;
        loop {
            let outcome = if pulling {
                self.ask(&line.inbox).await
            } else {
                Ok(())
            };
            let outcome = match outcome {
                Err(why) => Err(why),
                Ok(()) => tokio::select! {
                    word = words.recv() => match word {
                        Some(word) => {
                            self.hear(word).await;
                            Ok(())
                        }
                        None => break,
                    },
                    message = line.messages.next(), if pulling => match message {
                        Some(message) => self.take(message, &mut line.messages).await,
                        None => Err("the connection is gone".to_owned()),
                    },
                    () = self.to.closed(), if pulling => {
                        pulling = false;
                        // What it took before it went.
                        while let Ok(word) = words.try_recv() {
                            self.hear(word).await;
                        }
                        // What the server sends from here on has nobody to go to.
                        let _ = line.messages.unsubscribe().await;
                        // What the source did not take comes again, to whoever pulls next.
                        self.state.owed.retain(|_, owed| owed.taken);
                        Ok(())
                    }
                    _ = tick.tick() => {
                        self.keep_alive().await;
                        if pulling && self.way.connector.is_stale() {
                            self.renew(&mut line).await;
                        }
                        Ok(())
                    }
                    changed = line.link.changed(), if pulling => match changed {
                        Ok(()) => {
                            if line.broke() {
                                // The server has forgotten what we asked for.
                                self.state.asked = 0;
                            }
                            Ok(())
                        }
                        Err(_) => Err("the connection is gone".to_owned()),
                    }
                },
            };
            if let Err(why) = outcome {
                self.fail(why);
                pulling = false;
            }
        }
        while self.state.confirming.join_next().await.is_some() {}
        if let Err(why) = self.nats.client.flush().await {
            tracing::warn!(component_id = self.way.id, %why, "the last answers did not reach the server; those messages come again");
        }
        // The system may still hold what was flushed, and ending the connection with unread messages takes that back: a
        // question behind the last answer is answered when the server has read both. Without one, messages come again.
        if tokio::time::timeout(LAST_WORD, self.consumer.get_info())
            .await
            .is_err()
        {
            tracing::warn!(
                component_id = self.way.id,
                "the server did not confirm the last answers; those messages may come again"
            );
        }
        // Everything is said; a connection that does not end in order ends by being dropped.
        let _ = self.nats.client.drain().await;
    }

    /// Another connection, with the certificates as they are now: the present one would come back with the old ones.
    /// An answer goes to a subject, whatever the connection, so nothing under way is touched by it.
    async fn renew(&mut self, line: &mut Line) {
        let renewed = match self.way.connect().await {
            Ok((nats, found)) => Line::new(&nats).await.map(|line| (nats, found, line)),
            Err(why) => Err(why),
        };
        match renewed {
            Ok((nats, found, new)) => {
                let old = std::mem::replace(&mut self.nats, nats);
                self.consumer = found.consumer;
                self.state.asked = 0;
                *line = new;
                // What it still had to say is said, or comes again.
                let _ = old.client.drain().await;
                tracing::info!(
                    component_id = self.way.id,
                    "connected anew, with the certificates as they are now"
                );
            }
            Err(why) => {
                pipeline::log_limited!(
                    warn,
                    component_id = self.way.id,
                    why,
                    "cannot connect with the new certificates; the present connection stays"
                );
            }
        }
    }

    /// Messages asked for at once.
    fn batch(&self) -> usize {
        self.way.options.batch_config.batch.get()
    }

    /// Tells the source why nothing more comes; if it is gone, nobody needs to know.
    fn fail(&self, why: String) {
        let _ = self.to.send(News::Failed(why));
    }

    /// Asks for more if there is room.
    async fn ask(&mut self, inbox: &str) -> Result<(), String> {
        let batch = self.batch();
        let state = &mut self.state;
        let (messages, bytes) = state.waiting;
        if state.asked > batch / 2
            || messages >= batch
            || bytes >= WAITING
            || Instant::now() < state.not_before
            || !self.nats.is_connected()
        {
            return Ok(());
        }
        let request = request(&self.nats, &self.consumer, batch);
        if state.asked == 0 {
            state.heard = Instant::now();
        }
        state.asked += request.batch;
        let sent = self.consumer.request_batch(request, inbox.into()).await;
        sent.map_err(|why| format!("cannot ask for messages: {why}"))
    }

    /// Takes a message, and what else is there already, and hands it to the source.
    async fn take(&mut self, first: Message, more: &mut Subscriber) -> Result<(), String> {
        self.state.heard = Instant::now();
        let (mut messages, mut replies, mut bytes) = (Vec::new(), Vec::new(), 0);
        let mut next = Some(first);
        while let Some(message) = next {
            match message.status {
                None => {
                    let origin = message.reply.as_deref().and_then(origin);
                    if let (Some(origin), Some(reply)) = (origin, &message.reply) {
                        self.state.asked = self.state.asked.saturating_sub(1);
                        self.state.doubts = 0;
                        bytes += message.payload.len();
                        replies.push(Some(Box::from(reply.as_str())));
                        messages.push((message, origin));
                    } else {
                        self.metrics
                            .error("unexpected_message", Stage::Receiving, 1);
                        pipeline::log_limited!(
                            warn,
                            component_id = self.way.id,
                            "a message in our inbox is none of the stream's; it is ignored"
                        );
                    }
                }
                Some(status) => self.status(status.as_u16(), &message).await?,
            }
            if messages.len() >= self.batch() || bytes >= AT_ONCE {
                break;
            }
            next = more.next().now_or_never().flatten();
        }
        if messages.is_empty() {
            return Ok(());
        }
        self.metrics.received_bytes.add(["nats"], bytes as u64);
        let state = &mut self.state;
        let ticket = state.next;
        state.next += 1;
        state.waiting.0 += messages.len();
        state.waiting.1 += bytes;
        let owed = Owed {
            replies,
            bytes,
            touched: Instant::now(),
            taken: false,
        };
        state.owed.insert(ticket, owed);
        // If the source is gone, the next turn notices.
        let _ = self.to.send(News::Chunk(Chunk { ticket, messages }));
        Ok(())
    }

    /// What the server says instead of a message.
    async fn status(&mut self, status: u16, message: &Message) -> Result<(), String> {
        let said = message.description.clone().unwrap_or_default();
        let lower = said.to_ascii_lowercase();
        let pending = message
            .headers
            .as_ref()
            .and_then(|headers| headers.get("Nats-Pending-Messages"))
            .and_then(|pending| pending.as_str().parse::<usize>().ok());
        let name = &self.consumer.cached_info().name;
        match status {
            // Still there.
            100 => return Ok(()),
            409 if lower.contains("consumer deleted") || lower.contains("consumer is push") => {
                return Err(format!("the consumer {name} is gone ({said})"));
            }
            409 if lower.contains("exceeded maxrequest") => {
                return Err(format!(
                    "the consumer {name} allows less than is asked for ({said}); set `jetstream.batch_config.batch`"
                ));
            }
            _ => {}
        }
        let state = &mut self.state;
        // One request is over; what it had left is not to come any more.
        state.asked = pending.map_or(0, |pending| state.asked.saturating_sub(pending));
        if matches!(status, 404 | 408) || pending.is_some() {
            return Ok(());
        }
        // Nobody answers to the request (503), or something changes there: not now.
        state.not_before = Instant::now() + NOT_NOW;
        state.doubts += 1;
        tracing::debug!(
            component_id = self.way.id,
            status,
            said,
            "no messages at this moment"
        );
        if !state.doubts.is_multiple_of(DOUBTS) {
            return Ok(());
        }
        use async_nats::jetstream::context::ConsumerInfoErrorKind as Kind;
        match self.consumer.get_info().await.map_err(|why| why.kind()) {
            Err(Kind::NotFound | Kind::StreamNotFound) => {
                Err(format!("the consumer {name} is gone"))
            }
            Err(why) => {
                pipeline::log_limited!(
                    warn,
                    component_id = self.way.id,
                    "JetStream does not answer ({why}); it is asked again"
                );
                Ok(())
            }
            Ok(_) => Ok(()),
        }
    }

    async fn hear(&mut self, word: Word) {
        match word {
            Word::Taken(ticket) => {
                if let Some(owed) = self.state.owed.get_mut(&ticket) {
                    owed.taken = true;
                    self.state.waiting.0 -= owed.replies.len();
                    self.state.waiting.1 -= owed.bytes;
                }
            }
            Word::Buried(ticket, place) => {
                let reply = self
                    .state
                    .owed
                    .get_mut(&ticket)
                    .and_then(|owed| owed.replies.get_mut(place)?.take());
                self.answer(reply.into_iter().collect(), TERMINATE).await;
            }
            Word::Answered(ticket, verdict) => {
                let Some(owed) = self.state.owed.remove(&ticket) else {
                    return;
                };
                if !owed.taken {
                    self.state.waiting.0 -= owed.replies.len();
                    self.state.waiting.1 -= owed.bytes;
                }
                // What failed is left alone: the server delivers it again when its time is over.
                if verdict == Verdict::Delivered {
                    self.answer(owed.replies.into_iter().flatten().collect(), ACK)
                        .await;
                }
            }
        }
    }

    /// Gives the last word about messages.
    async fn answer(&mut self, replies: Vec<Box<str>>, word: Bytes) {
        if !self.way.options.double_ack {
            return self.say(replies.iter(), word).await;
        }
        let (client, metrics, id) = (
            self.nats.client.clone(),
            Arc::clone(&self.metrics),
            self.way.id.clone(),
        );
        while self.state.confirming.try_join_next().is_some() {}
        self.state.confirming.spawn(async move {
            let lost = confirm(&client, replies, &word).await;
            if lost > 0 {
                metrics.error("ack_lost", Stage::Receiving, lost);
                pipeline::log_limited!(warn, component_id = id, lost, "the server did not confirm that it knows of delivered messages; they may come again, under the same ids");
            }
        });
    }

    async fn say(&self, replies: impl Iterator<Item = &Box<str>>, word: Bytes) {
        for reply in replies {
            let said = self
                .nats
                .client
                .publish(reply.to_string(), word.clone())
                .await;
            if let Err(why) = said {
                self.metrics.error("ack_lost", Stage::Receiving, 1);
                pipeline::log_limited!(warn, component_id = self.way.id, %why, "cannot answer for a message; it comes again");
            }
        }
    }

    /// Tells the server about everything that has been under way for a quarter of its patience, so that it hears of each
    /// before half of it is over.
    async fn keep_alive(&mut self) {
        let step = self.patience() / 4;
        let now = Instant::now();
        if self.state.asked > 0 && now.duration_since(self.state.heard) > SILENCE {
            self.state.asked = 0;
        }
        if !self.nats.is_connected() {
            return;
        }
        for owed in self.state.owed.values_mut() {
            if now.duration_since(owed.touched) < step {
                continue;
            }
            owed.touched = now;
            for reply in owed.replies.iter().flatten() {
                // One that is not told is told the next time.
                let _ = self
                    .nats
                    .client
                    .publish(reply.to_string(), IN_PROGRESS)
                    .await;
            }
        }
    }

    /// How long the server waits before it delivers a message again.
    fn patience(&self) -> Duration {
        let config = &self.consumer.cached_info().config;
        let backoff = config.backoff.iter().min().copied();
        let wait = backoff.unwrap_or(config.ack_wait);
        if wait.is_zero() {
            Duration::from_secs(30)
        } else {
            wait
        }
    }
}
