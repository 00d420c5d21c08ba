//! Where all senders' messages come together: one page for what is there, one lane for all of it.
//!
//! A page holds messages of many senders, each stretch with its sender. The engine makes the events of a page, the parser
//! reads each with what is known of its sender, and the whole goes on as one batch.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use pipeline::net::Peer;
use pipeline::telemetry::{Counter, Stage};
use pipeline::{
    Event, Field, LaneId, LineBatch, LineConstants, LineIds, SourceOut, Stopped, Time, Value,
    fields,
};

use super::content::ContentIds;
use super::parse::{Outcome, ParseOptions, Parser};
use super::{Ids, Settings};
use crate::stdin::run_id;

/// A page is handed over when it holds so much [bytes].
const FULL: usize = 192 * 1024;
/// Or so many messages.
const CROWDED: usize = 1024;
/// After a page with fewer messages, and less text, there is a short rest, in which more may come: handing over costs as
/// much for one message as for a thousand [messages, bytes].
const FEW: usize = 256;
const LITTLE: usize = 64 * 1024;
const REST: Duration = Duration::from_millis(1);
/// Senders with a counter of their own; the others share one [senders].
const COUNTED: usize = 200;

/// Who sends.
pub(super) struct Sender {
    ip: Option<IpAddr>,
    /// Its address, which is the host where a message names none.
    host: Option<String>,
    /// `log.source.address`, with the port.
    address: String,
    subject: String,
    names: Vec<String>,
    received: Arc<Counter>,
}

/// A stretch of a page.
struct Stretch {
    /// Messages of the page up to its end.
    until: usize,
    sender: Arc<Sender>,
}

/// The source's side of the engine.
pub(super) struct Desk {
    pub(super) out: SourceOut,
    lane: LaneId,
    constants: LineConstants,
    page: Option<LineBatch>,
    stretches: Vec<Stretch>,
    /// Number of the next message.
    pub(super) number: u64,
    parser: Parser,
    content: Option<ContentIds>,
    tls: TlsFields,
    counted: HashMap<IpAddr, Arc<Counter>>,
}

struct TlsFields {
    subject: Field,
    names: Field,
}

impl Desk {
    pub(super) fn new(
        out: SourceOut,
        id: &str,
        host: &str,
        parse: &ParseOptions,
        settings: &Settings,
    ) -> Self {
        let run = run_id(host, id);
        for (old, _) in out.positions::<serde::de::IgnoredAny>() {
            out.forget(&old);
        }
        Self {
            lane: out.lane(&format!("syslog#{run:016x}")),
            out,
            constants: LineConstants {
                host: host.to_owned(),
                path: None,
                ids: LineIds::Counter(run),
            },
            page: None,
            stretches: Vec::new(),
            number: 0,
            parser: Parser::new(parse),
            content: (settings.ids == Ids::Content).then(ContentIds::default),
            tls: TlsFields {
                subject: Field::new("tls.client.subject"),
                names: Field::new("tls.client.x509.alternative_names"),
            },
            counted: HashMap::new(),
        }
    }

    /// What is known of a peer, for all its messages.
    pub(super) fn sender(&mut self, peer: Peer) -> Arc<Sender> {
        let ip = peer.address.map(|address| address.ip());
        Arc::new(Sender {
            ip,
            host: ip.map(|ip| ip.to_string()),
            address: peer.address.map(shown).unwrap_or_default(),
            subject: peer.subject.unwrap_or_default(),
            names: peer.names,
            received: self.counter(ip),
        })
    }

    fn counter(&mut self, ip: Option<IpAddr>) -> Arc<Counter> {
        let family = &self.out.metrics().peer_received_events;
        let Some(ip) = ip else {
            return family.with(["local"]);
        };
        if let Some(known) = self.counted.get(&ip) {
            return Arc::clone(known);
        }
        if self.counted.len() >= COUNTED {
            return family.with(["other"]);
        }
        let counter = family.with([&ip.to_string()]);
        self.counted.insert(ip, Arc::clone(&counter));
        counter
    }

    /// The page, and the number of its next message. What a sender writes on it belongs between
    /// [`begin`](Self::begin) and [`end`](Self::end).
    pub(super) fn page(&mut self) -> (&mut LineBatch, &mut u64) {
        let page = self
            .page
            .get_or_insert_with(|| self.out.lines(&self.constants));
        (page, &mut self.number)
    }

    /// What follows comes from this sender.
    pub(super) fn begin(&mut self, sender: &Arc<Sender>) {
        let same = self
            .stretches
            .last()
            .is_some_and(|last| Arc::ptr_eq(&last.sender, sender));
        if same {
            return;
        }
        let subject = self.tls.subject;
        let first = self.stretches.is_empty();
        let before = self.stretches.last().map(|last| Arc::clone(&last.sender));
        let (page, _) = self.page();
        let had = |of: fn(&Sender) -> &str| before.as_ref().map_or("", |before| of(before));
        if !first || !sender.address.is_empty() {
            page.share(fields::LOG_SOURCE_ADDRESS, &sender.address);
        }
        if !sender.subject.is_empty() || !had(|sender| &sender.subject).is_empty() {
            page.share(subject, &sender.subject);
        }
        self.stretches.push(Stretch {
            until: 0,
            sender: Arc::clone(sender),
        });
    }

    /// So far what came from this sender.
    pub(super) fn end(&mut self) {
        let messages = self.page.as_ref().map_or(0, LineBatch::len);
        let Some(last) = self.stretches.len().checked_sub(1) else {
            return;
        };
        let before = last.checked_sub(1).map_or(0, |n| self.stretches[n].until);
        let stretch = &mut self.stretches[last];
        stretch
            .sender
            .received
            .add((messages - stretch.until.max(before)) as u64);
        stretch.until = messages;
    }

    /// Whether the page should go before more is read.
    pub(super) fn is_full(&self) -> bool {
        self.page
            .as_ref()
            .is_some_and(|page| page.text().len() >= FULL || page.len() >= CROWDED)
    }

    /// Room left on the page [bytes].
    pub(super) fn room(&self) -> usize {
        FULL.saturating_sub(self.page.as_ref().map_or(0, |page| page.text().len()))
    }

    /// Hands the page over, and rests if it was small.
    pub(super) async fn flush_and_rest(&mut self) -> Result<(), Stopped> {
        let small = self
            .page
            .as_ref()
            .is_some_and(|page| page.len() < FEW && page.text().len() < LITTLE);
        self.flush().await?;
        if small {
            tokio::time::sleep(REST).await;
        }
        Ok(())
    }

    /// Hands the page over; waits while whoever comes behind has no room.
    pub(super) async fn flush(&mut self) -> Result<(), Stopped> {
        let Some(page) = self.page.take() else {
            return Ok(());
        };
        if page.is_empty() {
            // Only beginnings came; what was said of their senders must not pile up.
            self.stretches.clear();
            return Ok(());
        }
        let (parser, stretches) = (&mut self.parser, &self.stretches);
        let (content, names) = (&mut self.content, self.tls.names);
        let sent = self
            .out
            .send_lines_with(self.lane, page, &self.number, |events, now, metrics| {
                let mut failed = 0;
                let mut from = 0;
                for stretch in stretches {
                    let Some(events) = events.get_mut(from..stretch.until) else {
                        break;
                    };
                    from = stretch.until;
                    failed += read(parser, content, names, events, &stretch.sender, now);
                }
                metrics.error("parser_failed", Stage::Receiving, failed);
            })
            .await;
        self.stretches.clear();
        sent
    }

    /// All that has arrived is read.
    pub(super) async fn idle(&mut self) -> Result<(), Stopped> {
        self.out.idle(self.lane).await
    }

    pub(super) fn error(&self, kind: &'static str, n: u64) {
        if n > 0 {
            self.out.metrics().error(kind, Stage::Receiving, n);
        }
    }
}

/// Reads the messages of one sender; says how many could not be read.
fn read(
    parser: &mut Parser,
    content: &mut Option<ContentIds>,
    names: Field,
    events: &mut [Event],
    sender: &Sender,
    now: Time,
) -> u64 {
    let who = parser.sender(sender.ip, sender.host.as_deref());
    let mut failed = 0;
    for event in events {
        failed += u64::from(parser.parse(event, &who, now) == Outcome::Failed);
        if !sender.names.is_empty() {
            let list = sender.names.iter().map(|name| Value::from(name.as_str()));
            event.set(names, Value::List(list.collect()));
        }
        if let Some(content) = content {
            content.give(event, now);
        }
    }
    failed
}

/// `192.0.2.1:514`, `[2001:db8::1]:514`.
fn shown(address: SocketAddr) -> String {
    SocketAddr::new(address.ip().to_canonical(), address.port()).to_string()
}
