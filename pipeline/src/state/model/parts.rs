//! The transform, and the sources with their ledgers.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;

use super::{INPUTS, MADE};
use crate::ack::{Ack, Creditor, Verdict};
use crate::batch::Batch;
use crate::clock::Time;
use crate::component::{StateError, Stateful};
use crate::event::{Event, EventId, Value, fields};
use crate::mark::{LaneId, Mark};
use crate::outputs::Outputs;
use crate::state::{read_event, write_event};

/// Counts every input, keeps some back until time moves on, and makes an event of its own of every seventh.
#[derive(Default)]
pub(super) struct Counting {
    pub(super) counts: BTreeMap<(u64, u64), u64>,
    pub(super) total: u64,
    pub(super) kept: Vec<Event>,
    pub(super) makes: bool,
}

impl Stateful for Counting {
    fn apply(&mut self, event: Event, out: &mut Outputs) {
        let [source, number] = event.id().0;
        *self.counts.entry((source, number)).or_default() += 1;
        self.total += 1;
        if self.makes && self.total.is_multiple_of(7) {
            // Which event is the seventh depends on the order in which the lanes were read.
            let mut made = Event::new(EventId([MADE, self.total]), event.timestamp());
            made.set(fields::MESSAGE, Value::Str(event.id().to_string()));
            out.make(0, made);
        }
        if number % 5 == 0 {
            self.kept.push(event)
        } else {
            out.emit(event)
        }
    }

    fn advance(&mut self, watermark: Time, out: &mut Outputs) {
        for event in std::mem::take(&mut self.kept) {
            if event.timestamp() <= watermark {
                out.emit(event)
            } else {
                self.kept.push(event)
            }
        }
    }

    fn save(&self, to: &mut Vec<u8>) {
        to.extend_from_slice(&(self.counts.len() as u32).to_le_bytes());
        for ((source, number), count) in &self.counts {
            [source, number, count]
                .iter()
                .for_each(|n| to.extend_from_slice(&n.to_le_bytes()));
        }
        self.kept.iter().for_each(|event| write_event(event, to));
    }

    fn load(&mut self, mut from: &[u8]) -> Result<(), StateError> {
        fn take<const N: usize>(from: &mut &[u8]) -> [u8; N] {
            let (head, rest) = from.split_first_chunk().unwrap();
            *from = rest;
            *head
        }
        *self = Counting {
            makes: self.makes,
            ..Counting::default()
        };
        for _ in 0..u32::from_le_bytes(take(&mut from)) {
            let [source, number, count] = [(); 3].map(|()| u64::from_le_bytes(take(&mut from)));
            self.counts.insert((source, number), count);
            self.total += count;
        }
        while !from.is_empty() {
            self.kept.push(read_event(&mut from)?);
        }
        Ok(())
    }
}

/// One start of a source: what it sent and how that was answered. Its position is the contiguous prefix.
pub(super) struct Ledger(pub(super) Mutex<Entries>);

pub(super) struct Entries {
    position: u64,
    entries: VecDeque<(u64, Option<Verdict>)>,
    answered: u64,
    failed: bool,
}

impl Ledger {
    pub(super) fn new(position: u64) -> Arc<Ledger> {
        Arc::new(Ledger(Mutex::new(Entries {
            position,
            entries: VecDeque::new(),
            answered: 0,
            failed: false,
        })))
    }

    pub(super) fn owe(self: &Arc<Self>, to: u64) -> Ack {
        let mut inner = self.0.lock();
        let ticket = inner.answered + inner.entries.len() as u64;
        inner.entries.push_back((to, None));
        Ack::new(self.clone(), ticket)
    }
}

impl Creditor for Ledger {
    fn answered(&self, ticket: u64, verdict: Verdict) {
        let mut inner = self.0.lock();
        let place = (ticket - inner.answered) as usize;
        inner.entries[place].1 = Some(verdict);
        inner.failed |= verdict == Verdict::Failed;
        while inner
            .entries
            .front()
            .is_some_and(|(_, answer)| *answer == Some(Verdict::Delivered))
        {
            inner.position = inner.entries.pop_front().unwrap().0;
            inner.answered += 1;
        }
    }

    fn failing(&self) {
        self.0.lock().failed = true;
    }

    fn is_spoilt(&self) -> bool {
        self.0.lock().failed
    }
}

pub(super) struct Source {
    pub(super) number: u64,
    pub(super) lane: LaneId,
    pub(super) has_ordinals: bool,
    /// On the disk: what is left after a crash.
    pub(super) stored: u64,
    pub(super) ledger: Arc<Ledger>,
    pub(super) start: u32,
    pub(super) sent: u64,
}

impl Source {
    pub(super) fn start_again(&mut self) {
        self.store();
        self.ledger = Ledger::new(self.stored);
        self.sent = self.stored;
        self.start += 1;
    }

    pub(super) fn store(&mut self) {
        self.stored = self.stored.max(self.ledger.0.lock().position);
    }

    pub(super) fn batch(&mut self, most: u64) -> Batch {
        let to = (self.sent + most).min(INPUTS);
        let events = (self.sent + 1..=to).map(|n| {
            let mut event = Event::new(EventId([self.number, n]), Time::from_secs(n as i64));
            event.set_ordinal(if self.has_ordinals { n } else { 0 });
            event
        });
        let events = events.collect();
        self.sent = to;
        let mark = Mark {
            lane: self.lane,
            start: self.start,
            seen_to: Time::from_secs(to as i64),
            idle: false,
            over: false,
        };
        Batch::new(events, mark, self.ledger.owe(to))
    }
}
