//! One request: sent to one address after the other until one answers, and what the answer means.

use std::sync::Arc;
use std::time::Duration;

use pipeline::net::Response;
use pipeline::{Events, Reason, ReasonKind};

use super::Elasticsearch;
use super::answer::{self, Flag, Outcome};
use super::trouble::Trouble;
use crate::SLOW;

/// The longest answer to a bulk that is read [bytes]; one of 10 000 errors has about 4 MiB.
const MAX_ANSWER: usize = 64 << 20;

/// What became of one request.
pub(super) enum Sent {
    /// The server judged each event.
    Judged(Outcome),
    /// Nothing was stored, and all of it is to be sent again.
    Again {
        reason: Reason,
        after: Option<Duration>,
    },
    /// The body is too large.
    TooLarge(Reason),
    /// The server refuses the request as such.
    Refused(Reason),
}

impl Elasticsearch {
    /// Sends the body to one address after the other until one answers.
    pub(super) async fn send(&mut self, events: &Events, from: usize, count: usize) -> Sent {
        if let Err(why) = self.compressor.run_aside(&mut self.body).await {
            let reason = Reason::new(
                ReasonKind::Rejected,
                format!("the body cannot be compressed: {why}"),
            );
            return Sent::Again {
                reason,
                after: None,
            };
        }
        let mut tried = 0;
        loop {
            let place = self.pool.pick();
            tried += 1;
            let body = self.compressor.sent(&self.body);
            let pool = Arc::clone(&self.pool);
            let mut request = pool
                .http()
                .post(pool.bulk(place))
                .idempotent()
                .body("application/x-ndjson", body);
            if let Some(encoding) = self.compressor.name() {
                request = request.header("Content-Encoding", encoding);
            }
            let (reason, after) = match request.send().await {
                Ok(answer) if matches!(answer.status(), 502..=504) => {
                    let (status, after) = (answer.status(), answer.retry_after());
                    let text = format!(
                        "{status} from {}: {}",
                        pool.root(place).origin(),
                        answer.excerpt(300).await
                    );
                    (Reason::new(ReasonKind::Server, text), after)
                }
                Ok(answer) => {
                    pool.works(place);
                    return self
                        .judge(answer, events, from, count, &pool.root(place).origin())
                        .await;
                }
                Err(why) => (why.reason(), None),
            };
            pool.failed(place, &reason.text);
            if !pool.others(tried) {
                return Sent::Again { reason, after };
            }
        }
    }

    /// What an answer means.
    async fn judge(
        &mut self,
        answer: Response,
        events: &Events,
        from: usize,
        count: usize,
        origin: &str,
    ) -> Sent {
        let (status, after) = (answer.status(), answer.retry_after());
        if status == 200 {
            return self.read(answer, events, from, count, origin).await;
        }
        let body = answer.bytes(256 << 10).await.unwrap_or_default();
        let trouble = Trouble::of_answer(&body);
        let said = match &trouble {
            Some(trouble) => trouble.text.clone(),
            None => excerpt(&body),
        };
        let text = format!("{status} from {origin}: {said}");
        let again = |kind, after| Sent::Again {
            reason: Reason::new(kind, text.clone()),
            after,
        };
        match status {
            401 | 403 => again(ReasonKind::Forbidden, after.or(Some(SLOW))),
            413 => Sent::TooLarge(Reason::new(ReasonKind::TooLarge, text)),
            429 if trouble
                .as_ref()
                .is_some_and(|t| t.kind == "cluster_block_exception") =>
            {
                again(ReasonKind::Blocked, after.or(Some(SLOW)))
            }
            429 => again(ReasonKind::Busy, after),
            408 => again(ReasonKind::Timeout, after),
            500..=599 => again(ReasonKind::Server, after),
            404 => again(ReasonKind::Missing, after.or(Some(SLOW))),
            // Only a server of this kind that took such bulks before can mean an event. Else it is the address, a
            // parameter or a proxy, and nothing is given up for that.
            400 if trouble.is_some() && self.proven => {
                Sent::Refused(Reason::new(ReasonKind::Rejected, text))
            }
            300..=399 => {
                let text =
                    format!("{text} (redirects are not followed; write the address it leads to)");
                Sent::Again {
                    reason: Reason::new(ReasonKind::Nonsense, text),
                    after: Some(SLOW),
                }
            }
            _ => again(ReasonKind::Rejected, after.or(Some(SLOW))),
        }
    }

    /// Reads a 200: only as far as `errors` in the usual case.
    async fn read(
        &mut self,
        mut answer: Response,
        events: &Events,
        from: usize,
        count: usize,
        origin: &str,
    ) -> Sent {
        self.answer.clear();
        self.answer.shrink_to(1 << 20);
        let nonsense = |why: &str, said: &[u8]| {
            let text = format!(
                "{origin} did not answer like a search server, {why}: {}",
                excerpt(said)
            );
            Sent::Again {
                reason: Reason::new(ReasonKind::Nonsense, text),
                after: None,
            }
        };
        let mut flag = Flag::More;
        let mut next_look = 0;
        loop {
            match answer.chunk().await {
                Ok(Some(piece)) => self.answer.extend_from_slice(piece),
                Ok(None) => break,
                Err(why) => {
                    return Sent::Again {
                        reason: why.reason(),
                        after: None,
                    };
                }
            }
            if self.answer.len() > MAX_ANSWER {
                return nonsense("and went on for too long", &self.answer);
            }
            // Each look starts at the beginning, so looks are twice as far apart each time.
            if flag == Flag::More && self.answer.len() >= next_look {
                next_look = self.answer.len() * 2;
                flag = answer::flag(&self.answer);
                if flag == Flag::Clean {
                    answer.drain(MAX_ANSWER).await;
                    return Sent::Judged(Outcome::default());
                }
            }
        }
        if flag == Flag::More {
            flag = answer::flag(&self.answer);
        }
        match flag {
            Flag::Clean => Sent::Judged(Outcome::default()),
            Flag::More => nonsense("the answer is cut", &self.answer),
            Flag::Nonsense(why) => nonsense(why, &self.answer),
            Flag::Errors => {
                let ids: Vec<_> = events
                    .iter()
                    .skip(from)
                    .take(count)
                    .map(pipeline::Event::id)
                    .collect();
                match answer::read(&self.answer, ids.into_iter(), self.create) {
                    Ok(outcome) => Sent::Judged(outcome),
                    Err(why) => nonsense(&why, &self.answer),
                }
            }
        }
    }
}

/// The start of a text from outside, in one line.
pub(super) fn excerpt(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(1200)]);
    let line: Vec<&str> = text.split_whitespace().collect();
    pipeline::printable(&line.join(" "))
        .chars()
        .take(300)
        .collect()
}
