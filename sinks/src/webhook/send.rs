//! One request, and what its answer means.

use std::time::{Duration, Instant};

use pipeline::net::Response;
use pipeline::{Clock, EventId, Events, Field, Reason, ReasonKind, Url, printable};

use super::Webhook;
use crate::SLOW;

/// The most of an answer that is read to keep its connection [bytes].
const MAX_ANSWER: usize = 256 << 10;

/// What became of one request.
pub(super) enum Sent {
    /// The receiver has it.
    Taken {
        /// What went out [bytes].
        bytes: u64,
    },
    /// All of it is to be sent again.
    Again {
        reason: Reason,
        after: Option<Duration>,
    },
    /// The body is too large.
    TooLarge(Reason),
    /// The receiver refuses what is in it.
    Refused(Reason),
    /// There is nobody at this address who would take anything.
    Misplaced(Reason),
}

impl Webhook {
    /// Sends the body, which holds `count` events from place `from` on.
    pub(super) async fn send(&mut self, events: &Events, from: usize, count: usize) -> Sent {
        if let Err(why) = self.compressor.run_aside(&mut self.body).await {
            let text = format!("the body cannot be compressed: {why}");
            return Sent::Again {
                reason: Reason::new(ReasonKind::Rejected, text),
                after: None,
            };
        }
        let key = idempotency_key(events, from, count);
        let body = self.compressor.sent(&self.body);
        let mut request = self
            .http
            .request(self.method, &self.uri)
            .idempotent()
            .body(self.form.content_type(), body)
            .header("Idempotency-Key", &key);
        if let Some(encoding) = self.compressor.name() {
            request = request.header("Content-Encoding", encoding);
        }
        if let Some(signer) = &self.signer {
            // Each try has its own time, or a long outage would make all that waited look like replays.
            let value = signer.value(body, Clock::system().now());
            request = request.header(signer.header(), &value);
        }
        let bytes = body.len() as u64;
        let began = Instant::now();
        let answer = request.send().await;
        if let Some(metrics) = &self.metrics {
            metrics.http_requests.add(1);
            if let Ok(answer) = &answer {
                metrics.http_answer(answer.status(), began.elapsed());
            }
        }
        match answer {
            Ok(answer) if answer.is_success() => {
                answer.drain(MAX_ANSWER).await;
                Sent::Taken { bytes }
            }
            Ok(answer) => judge(answer, &self.uri).await,
            Err(why) => Sent::Again {
                reason: why.reason(),
                after: None,
            },
        }
    }
}

/// The same for the same events in the same order, whenever they are sent. A message of `notify` brings its own key: the
/// alert's id and the transition.
fn idempotency_key(events: &Events, from: usize, count: usize) -> String {
    let key = Field::new("pve.notify.key");
    let keys = events.iter().skip(from).take(count);
    let keys: Option<Vec<&str>> = keys
        .map(|event| event.str(key).filter(|key| is_plain(key)))
        .collect();
    match keys.as_deref() {
        Some([key]) => return (*key).to_owned(),
        Some(keys) if !keys.is_empty() => {
            return EventId::of_parts(&[b"pvetrail/webhook/2", keys.join("\n").as_bytes()])
                .to_string();
        }
        _ => {}
    }
    let ids = || {
        events
            .iter()
            .skip(from)
            .take(count)
            .map(pipeline::Event::id)
    };
    if count == 1 {
        return ids().map(|id| id.to_string()).collect();
    }
    let mut all = Vec::with_capacity(count * 16);
    for id in ids() {
        all.extend(id.0.iter().flat_map(|half| half.to_be_bytes()));
    }
    EventId::of_parts(&[b"pvetrail/webhook/1", &all]).to_string()
}

/// Whether a text from an event can stand in a header.
fn is_plain(text: &str) -> bool {
    !text.is_empty() && text.len() <= 200 && text.bytes().all(|b| (0x21..0x7f).contains(&b))
}

/// Makes the names known that are looked at here, before an event that has them is read from a queue.
pub(super) fn make_known() {
    Field::new("pve.notify.key");
    Field::new("pve.notify.message");
}

/// Whether there is a message of `notify` among them.
pub(super) fn has_messages(events: &Events) -> bool {
    let message = Field::new("pve.notify.message");
    events.iter().any(|event| event.has(message))
}

/// How many events from place `from` on may go into one request: messages of `notify` that belong together do, and two
/// messages never share a request, so that a repeated one is the same request again.
pub(super) fn together(events: &Events, from: usize) -> usize {
    let message = Field::new("pve.notify.message");
    let mut rest = events.iter().skip(from);
    let Some(first) = rest.next() else { return 0 };
    let first = first.str(message);
    1 + rest.take_while(|event| event.str(message) == first).count()
}

/// What an answer other than 2xx means.
async fn judge(answer: Response, uri: &Url) -> Sent {
    let (status, after) = (answer.status(), answer.retry_after());
    let leads_to = answer
        .header("location")
        .map(|place| destination(place, uri));
    let said = printable(&answer.excerpt(300).await).into_owned();
    let origin = uri.origin();
    let colon = if said.is_empty() { "" } else { ": " };
    let text = format!("{status} from {origin}{colon}{said}");
    let again = |kind, after| Sent::Again {
        reason: Reason::new(kind, text.clone()),
        after,
    };
    match status {
        300..=399 => {
            let place = leads_to.unwrap_or_else(|| "which says not where to".to_owned());
            Sent::Misplaced(Reason::new(
                ReasonKind::Missing,
                format!(
                    "{status} from {origin}, a redirect, {place}; redirects are not followed, so write the right address into `uri`"
                ),
            ))
        }
        401 | 403 => again(ReasonKind::Forbidden, after.or(Some(SLOW))),
        404 | 405 | 410 => Sent::Misplaced(Reason::new(ReasonKind::Missing, text)),
        408 => again(ReasonKind::Timeout, after),
        425 | 429 => again(ReasonKind::Busy, after),
        413 => Sent::TooLarge(Reason::new(ReasonKind::TooLarge, text)),
        500..=599 => again(ReasonKind::Server, after),
        400..=499 => Sent::Refused(Reason::new(ReasonKind::Rejected, text)),
        // 1xx is no answer, and the client knows none above 599.
        _ => again(ReasonKind::Nonsense, after),
    }
}

/// A `Location` in words. The path of a hook is often its secret, so ours is not repeated.
fn destination(location: &str, uri: &Url) -> String {
    let Ok(to) = Url::parse(location) else {
        return if location.starts_with('/') && !location.starts_with("//") {
            "to another path of the same server".to_owned()
        } else {
            "to no address".to_owned()
        };
    };
    let origin = printable(&to.origin()).into_owned();
    if to.path_and_query() == uri.path_and_query() {
        return format!("to the same path at {origin}");
    }
    let path = to.path_and_query().into_owned();
    let path: String = path
        .split('?')
        .next()
        .unwrap_or_default()
        .chars()
        .take(200)
        .collect();
    format!("to {origin}{}", printable(&path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_is_told_without_our_own_path() {
        let uri = Url::parse("http://hooks.example/services/T0/B0/secret").unwrap();
        let told = |place: &str| destination(place, &uri);
        assert_eq!(
            told("https://hooks.example/services/T0/B0/secret"),
            "to the same path at https://hooks.example"
        );
        assert_eq!(
            told("https://login.example/?next=/services/T0/B0/secret"),
            "to https://login.example/"
        );
        assert_eq!(
            told("/services/T0/B0/secret/"),
            "to another path of the same server"
        );
        assert_eq!(told("javascript:alert(1)"), "to no address");
    }
}
