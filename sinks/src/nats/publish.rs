//! Sending, and waiting for the answers in a window.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::client::RequestErrorKind;
use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::publish::PublishAck;
use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use pipeline::net::nats::Link;
use pipeline::{EventId, Fate, Reason, ReasonKind};
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

use super::judge::judge;
use super::{Mode, Sending};

/// How long core NATS may take to say that it has read everything.
const READ_WITHIN: Duration = Duration::from_secs(10);

/// One event on its way.
pub(super) struct Message {
    pub(super) id: EventId,
    pub(super) subject: Arc<str>,
    pub(super) body: Bytes,
}

/// A message without its answer.
struct Flying {
    place: u32,
    subject: Arc<str>,
    until: Instant,
    answer: BoxFuture<'static, Result<PublishAck, PublishError>>,
}

/// What became of a write so far.
struct Outcome {
    fates: Vec<(u32, Fate)>,
    duplicates: u64,
    link: watch::Receiver<Link>,
    /// How often the connection had broken, and the server had forbidden something, when the write began.
    breaks: u64,
    denials: u64,
}

impl Outcome {
    fn new(mut link: watch::Receiver<Link>) -> Self {
        let now = link.borrow_and_update().clone();
        Outcome {
            fates: Vec::new(),
            duplicates: 0,
            link,
            breaks: now.breaks,
            denials: now.denials,
        }
    }

    fn broke(&self) -> bool {
        self.link.borrow().breaks != self.breaks
    }

    /// That the server forbade to publish there, if it did since the write began.
    fn forbidden(&self, subject: &str) -> Option<Fate> {
        let link = self.link.borrow();
        let denial = link.denial.as_ref()?;
        (link.denials != self.denials && link.forbids(subject)).then(|| {
            let text = format!("the server forbids it: {denial}");
            Fate::Retry(Reason::new(ReasonKind::Forbidden, text))
        })
    }

    /// The connection broke: an answer that is not here yet will not come.
    fn lost(&mut self, place: u32) {
        let text = "the connection broke before the answer; sent again under the same id";
        let reason = Reason::new(ReasonKind::Connection, text);
        self.fates.push((place, Fate::Retry(reason)));
    }

    /// Waits for one answer.
    async fn settle(&mut self, mut flying: Flying) {
        let answer = loop {
            let forbidden = self.forbidden(&flying.subject);
            if forbidden.is_some() || self.broke() {
                // What the server has answered before still counts.
                break match ((&mut flying.answer).now_or_never(), forbidden) {
                    (Some(answer), _) => answer,
                    (None, Some(fate)) => return self.fates.push((flying.place, fate)),
                    (None, None) => return self.lost(flying.place),
                };
            }
            tokio::select! {
                biased;
                answer = timeout_at(flying.until, &mut flying.answer) => {
                    break answer.unwrap_or_else(|_| Err(PublishError::new(PublishErrorKind::TimedOut)));
                }
                changed = self.link.changed() => {
                    if changed.is_err() {
                        return self.lost(flying.place);
                    }
                }
            }
        };
        self.judge(flying.place, &flying.subject, answer);
    }

    fn judge(&mut self, place: u32, subject: &str, answer: Result<PublishAck, PublishError>) {
        match judge(subject, answer) {
            Ok(duplicate) => self.duplicates += u64::from(duplicate),
            Err(fate) => {
                let fate = self.forbidden(subject).unwrap_or(fate);
                self.fates.push((place, fate));
            }
        }
    }
}

impl Sending {
    /// Publishes into JetStream and waits for every answer: what became of those that are not delivered, and how many
    /// were there already.
    pub(super) async fn publish(
        &self,
        messages: Vec<Message>,
    ) -> Result<(Vec<(u32, Fate)>, u64), Reason> {
        let (Some(connection), Mode::JetStream(options)) = (&self.connection, &self.mode) else {
            return Err(Reason::new(ReasonKind::Connection, "no connection"));
        };
        let window = options.max_in_flight.get();
        let patience = options.ack_timeout.get();
        let mut flying: VecDeque<Flying> = VecDeque::with_capacity(window.min(messages.len()));
        let mut outcome = Outcome::new(connection.nats.link());
        for (place, message) in messages.into_iter().enumerate() {
            let place = u32::try_from(place).unwrap_or(u32::MAX);
            if flying.len() >= window
                && let Some(first) = flying.pop_front()
            {
                outcome.settle(first).await;
            }
            if outcome.broke() {
                outcome.lost(place);
                continue;
            }
            let mut publish = PublishMessage::build()
                .message_id(message.id.to_string())
                .payload(message.body);
            if let Some(stream) = &options.stream {
                publish = publish.expected_stream(stream);
            }
            let sent = connection
                .context
                .send_publish(message.subject.to_string(), publish)
                .await;
            match sent {
                Ok(answer) => flying.push_back(Flying {
                    place,
                    subject: message.subject,
                    until: Instant::now() + patience,
                    answer: answer.into_future(),
                }),
                Err(why) => outcome.judge(place, &message.subject, Err(why)),
            }
        }
        while let Some(first) = flying.pop_front() {
            outcome.settle(first).await;
        }
        Ok((outcome.fates, outcome.duplicates))
    }

    /// Publishes by core NATS, and waits until the server has read everything.
    pub(super) async fn publish_core(
        &mut self,
        messages: Vec<Message>,
    ) -> Result<Vec<(u32, Fate)>, Reason> {
        let Some(connection) = &self.connection else {
            return Err(Reason::new(ReasonKind::Connection, "no connection"));
        };
        let client = &connection.nats.client;
        let mut outcome = Outcome::new(connection.nats.link());
        let mut subjects = Vec::with_capacity(messages.len());
        for (place, message) in messages.into_iter().enumerate() {
            let place = u32::try_from(place).unwrap_or(u32::MAX);
            let mut headers = HeaderMap::new();
            headers.insert(async_nats::header::NATS_MESSAGE_ID, message.id.to_string());
            let published = client
                .publish_with_headers(message.subject.to_string(), headers, message.body)
                .await;
            match published {
                Ok(()) => subjects.push((place, message.subject)),
                Err(why)
                    if why.kind() == async_nats::client::PublishErrorKind::MaxPayloadExceeded =>
                {
                    let reason = Reason::new(ReasonKind::TooLarge, why.to_string());
                    outcome.fates.push((place, Fate::Refused(reason)));
                }
                Err(why) => return Err(Reason::new(ReasonKind::Connection, why.to_string())),
            }
        }
        let broken = |why: &str| Reason::new(ReasonKind::Connection, why.to_owned());
        match timeout(READ_WITHIN, client.flush()).await {
            Ok(Ok(())) => {}
            Ok(Err(why)) => return Err(broken(&why.to_string())),
            Err(_) => return Err(broken("the server does not read")),
        }
        if self.may_ask {
            // A connection is read in order: whoever answers this has read all that came before it.
            let nobody = client.new_inbox();
            let asked = tokio::select! {
                asked = timeout(READ_WITHIN, client.request(nobody.clone(), Bytes::new())) => asked.ok(),
                denied = outcome.link.wait_for(|link| link.forbids(&nobody)) => { drop(denied); None }
            };
            let read = match &asked {
                Some(Ok(_)) => true,
                Some(Err(why)) => why.kind() == RequestErrorKind::NoResponders,
                None => false,
            };
            if !read && !outcome.broke() {
                self.may_ask = false;
                tracing::info!(
                    component_id = self.id,
                    "the server does not let us ask whether it has read everything; what was handed to it counts as delivered"
                );
            }
        }
        if outcome.broke() {
            return Err(broken(
                "the connection broke while events were under way; they are sent again, so some may come twice",
            ));
        }
        for (place, subject) in subjects {
            if let Some(fate) = outcome.forbidden(&subject) {
                outcome.fates.push((place, fate));
            }
        }
        Ok(outcome.fates)
    }
}
