//! One stream, push by push, until each of its events has an end or must wait.
//!
//! A refused push is sent again without the lines that the answer tells apart by their time or length; where it tells
//! nothing, the two halves are sent. What the server has taken of it meanwhile it recognises. So only the line goes that
//! the server refuses even alone, and it goes with the server's own words.

use std::ops::Range;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use pipeline::{Clock, Events, Fate, Reason, ReasonKind, WriteError, Written};

use super::answer::{self, Answer, Fault};
use super::body::{Entry, restamp};
use super::{Fates, Group, Loki, OldEvents, event_of};
use crate::SLOW;

/// So often the lines an answer tells apart are taken out before halves are tried [times].
const ROUNDS: u8 = 8;
/// So much of an answer is read and kept as a reason [characters].
const WORDS: usize = 1000;
/// A push is not made smaller than this because the server is busy [bytes].
const LEAST: usize = 1024;

/// What became of a write so far.
#[derive(Default)]
pub(super) struct Outcome {
    fates: Fates,
    refused: usize,
    bytes: u64,
    /// Events delivered under another time than their own.
    pub(super) restamped: u64,
    /// Why a stream waits.
    waits: Option<Stop>,
}

/// Why nothing more can be sent now.
pub(super) struct Stop {
    pub(super) reason: Reason,
    pub(super) after: Option<Duration>,
}

impl Outcome {
    pub(super) fn refuse(&mut self, place: u32, reason: Reason) {
        self.refused += 1;
        self.fates.push((place, Fate::Refused(reason)));
    }

    /// Every entry that has no end yet is to be sent again.
    pub(super) fn again(&mut self, entries: &[Entry], reason: &Reason) {
        let open = entries.iter().filter(|entry| !entry.done);
        self.fates
            .extend(open.map(|entry| (entry.place, Fate::Retry(reason.clone()))));
    }

    /// The word for the engine.
    pub(super) fn said(self, events: usize, stop: Option<Stop>) -> Result<Written, WriteError> {
        let written = Written {
            bytes: self.bytes,
            ..Written::default()
        };
        if self.fates.is_empty() {
            return Ok(written);
        }
        // Where nothing at all has an end and only patience helps, the engine should have some.
        if self.refused == 0
            && self.fates.len() == events
            && let Some(Stop { reason, after }) = stop.or(self.waits)
        {
            return Err(WriteError::Retry { reason, after });
        }
        Err(WriteError::Partly(self.fates, written))
    }
}

impl Loki {
    /// Sends the events of one stream. What it returns concerns all other streams as well.
    pub(super) async fn push(
        &mut self,
        events: &Events,
        group: &mut Group,
        out: &mut Outcome,
    ) -> Option<Stop> {
        let Group { stream, entries } = group;
        // What is still to be sent, the first last: order within a stream is kept.
        let mut todo: Vec<(Range<usize>, u8)> = vec![(0..entries.len(), 0)];
        while let Some((range, rounds)) = todo.pop() {
            let limit = self.limit;
            let most_line = self.body.most_line;
            let filled = self.body.fill(events, stream, &mut entries[range.clone()], limit, |entry| {
                entry.done = true;
                let text = format!(
                    "a line of {} bytes is longer than the server takes ({most_line}, `limits.max_line_size`)",
                    entry.line
                );
                out.refuse(entry.place, Reason::new(ReasonKind::TooLarge, text));
            });
            let end = range.start + filled.seen;
            if end < range.end {
                todo.push((end..range.end, 0));
            }
            let range = range.start..end;
            if filled.count == 0 {
                continue;
            }
            let halves = |todo: &mut Vec<_>, range: Range<usize>| {
                let middle = range.start + range.len() / 2;
                todo.push((middle..range.end, 0));
                todo.push((range.start..middle, 0));
            };
            let said = self.send(stream.tenant.as_deref()).await;
            match said {
                Answer::Taken => {
                    self.proven.store(true, Relaxed);
                    out.bytes += self.body.sent().len() as u64;
                    // What was too much for a busy server may not be later.
                    self.limit = self.most.min(self.limit + self.limit / 8 + 1);
                    let mut newest = stream.newest.load(Relaxed);
                    for entry in entries[range].iter_mut().filter(|entry| !entry.done) {
                        entry.done = true;
                        newest = newest.max(entry.time);
                        out.restamped += u64::from(entry.moved > 0);
                    }
                    stream.newest.store(newest, Relaxed);
                }
                Answer::Again {
                    reason,
                    after,
                    all,
                    fewer,
                } => {
                    if fewer && filled.count > 1 {
                        self.limit = (self.body.len() / 2).max(LEAST);
                    }
                    out.again(entries, &reason);
                    let stop = Stop { reason, after };
                    if all {
                        return Some(stop);
                    }
                    out.waits = Some(stop);
                    return None;
                }
                Answer::TooLarge(reason) if filled.count == 1 => {
                    refuse_all(&mut entries[range], &reason, out);
                }
                Answer::TooLarge(_) => {
                    self.limit = (self.body.len() / 2).max(LEAST);
                    halves(&mut todo, range);
                }
                Answer::Refused(Fault::Strange, mut reason)
                    if filled.count == 1 && !self.proven.load(Relaxed) =>
                {
                    // Only a Loki that took such pushes before can mean an event. Else it is the address or a proxy.
                    reason
                        .text
                        .push_str("; this is not what Loki says, so nothing is given up for it");
                    reason.kind = ReasonKind::Nonsense;
                    out.again(entries, &reason);
                    let after = Some(SLOW);
                    return Some(Stop { reason, after });
                }
                Answer::Refused(fault, reason) => {
                    let part = &mut entries[range.clone()];
                    let told_apart =
                        rounds < ROUNDS && self.take_out(events, part, fault, &reason, out);
                    if told_apart {
                        todo.push((range, rounds + 1));
                    } else if filled.count > 1 {
                        halves(&mut todo, range);
                    } else {
                        let alone = part.iter_mut().find(|entry| !entry.done);
                        let is_about_time = matches!(fault, Fault::TooOld(_) | Fault::TooNew(_));
                        if let Some(entry) = alone
                            && !(is_about_time && self.restamp(events, entry))
                        {
                            refuse_all(part, &reason, out);
                        } else {
                            todo.push((range, ROUNDS));
                        }
                    }
                }
            }
        }
        None
    }

    /// Deals with the entries that an answer tells apart from the others; `false` if it tells none.
    fn take_out(
        &self,
        events: &Events,
        entries: &mut [Entry],
        fault: Fault,
        reason: &Reason,
        out: &mut Outcome,
    ) -> bool {
        let mut any = false;
        for entry in entries.iter_mut().filter(|entry| !entry.done) {
            let meant = match fault {
                Fault::TooOld(Some(oldest)) => entry.time < oldest.0,
                Fault::TooNew(Some(newest)) => entry.time >= newest.0,
                Fault::TooLong(Some(most)) => entry.line as usize > most,
                Fault::Stream => true,
                _ => false,
            };
            if !meant {
                continue;
            }
            any = true;
            let is_about_time = matches!(fault, Fault::TooOld(_) | Fault::TooNew(_));
            if !(is_about_time && self.restamp(events, entry)) {
                entry.done = true;
                out.refuse(entry.place, reason.clone());
            }
        }
        any
    }

    /// Gives an entry another time, if that is wanted and may still help.
    fn restamp(&self, events: &Events, entry: &mut Entry) -> bool {
        let Some(event) = event_of(events, entry) else {
            return false;
        };
        let now = Clock::system().now();
        entry.time = match (self.old_events, entry.moved) {
            (OldEvents::Restamp, 0) => restamp(event, now),
            // The latest of the stream may lie a little in the future.
            (OldEvents::Restamp, 1) => now.0,
            _ => return false,
        };
        entry.moved += 1;
        true
    }

    /// Compresses the body and sends it.
    async fn send(&mut self, tenant: Option<&str>) -> Answer {
        if let Err(why) = self.body.finish().await {
            let text = format!("the push cannot be compressed: {why}");
            return Answer::Again {
                reason: Reason::new(ReasonKind::Rejected, text),
                after: None,
                all: true,
                fewer: false,
            };
        }
        let (kind, encoding) = self.body.kind();
        // What arrives twice is stored once, so a connection that broke may be tried again at once.
        let mut request = self
            .http
            .post(&self.url)
            .idempotent()
            .body(kind, self.body.sent());
        if let Some(encoding) = encoding {
            request = request.header("Content-Encoding", encoding);
        }
        if let Some(tenant) = tenant {
            request = request.header("X-Scope-OrgID", tenant);
        }
        let began = Instant::now();
        match request.send().await {
            Ok(got) => {
                let (status, after) = (got.status(), got.retry_after());
                if let Some(metrics) = &self.metrics {
                    metrics.http_requests.add(1);
                    metrics.http_answer(status, began.elapsed());
                }
                let text = got.excerpt(WORDS).await;
                answer::read(status, &text, after)
            }
            Err(why) => Answer::Again {
                reason: why.reason(),
                after: None,
                all: true,
                fewer: false,
            },
        }
    }
}

fn refuse_all(entries: &mut [Entry], reason: &Reason, out: &mut Outcome) {
    for entry in entries.iter_mut().filter(|entry| !entry.done) {
        entry.done = true;
        out.refuse(entry.place, reason.clone());
    }
}
