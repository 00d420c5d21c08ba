//! Events that travel together.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::ack::{Ack, Verdict};
use crate::event::Event;
use crate::mark::Mark;

/// Events that travel together, where they come from, and the answer owed for them.
#[derive(Debug)]
pub struct Batch {
    /// The events, in the order of their lane.
    pub events: Vec<Event>,
    /// Where they come from.
    pub mark: Mark,
    /// The answer owed for them.
    pub ack: Ack,
    /// Memory they stand for [bytes]; an estimate made at the source, for the bounds of lanes.
    pub(crate) bytes: usize,
    pub(crate) home: Option<Arc<Husks>>,
    /// By which input of the component in front of which it waits it came.
    pub(crate) input: u16,
}

impl Batch {
    /// A batch of `events`.
    pub fn new(events: Vec<Event>, mark: Mark, ack: Ack) -> Batch {
        let bytes = events.iter().map(Event::size).sum();
        Batch {
            events,
            mark,
            ack,
            bytes,
            home: None,
            input: 0,
        }
    }

    /// A batch without events, which carries its mark.
    pub fn empty(mark: Mark, ack: Ack) -> Batch {
        Batch {
            events: Vec::new(),
            mark,
            ack,
            bytes: 0,
            home: None,
            input: 0,
        }
    }

    /// Another batch from the same place, owing the same answer: for events that leave by another output.
    pub fn beside(&self, events: Vec<Event>) -> Batch {
        Batch::new(events, self.mark.clone(), self.ack.clone())
    }

    /// A copy that owes an answer of its own.
    pub(crate) fn copy(&self) -> Batch {
        Batch {
            events: self.events.clone(),
            mark: self.mark.clone(),
            ack: self.ack.clone(),
            bytes: self.bytes,
            home: None,
            input: 0,
        }
    }

    /// Keeps the events for which `keep` is true and says how many were left out.
    pub fn retain(&mut self, keep: impl FnMut(&mut Event) -> bool) -> usize {
        let before = self.events.len();
        self.events.retain_mut(keep);
        before - self.events.len()
    }

    /// Memory it stands for as it is now [bytes]: parsed events are several times as large as the text they came from. The
    /// first event speaks for all.
    pub(crate) fn weight(&self) -> usize {
        let one = self.events.first().map_or(0, Event::footprint);
        self.bytes.max(one * self.events.len())
    }

    /// Ends the batch with one word and gives its memory back.
    pub(crate) fn end(self, verdict: Verdict) {
        let Batch {
            events, ack, home, ..
        } = self;
        if let Some(home) = home {
            home.put(events);
        }
        ack.answer(verdict);
    }
}

/// Lists of used events, whose memory the next batch of the same source takes over.
#[derive(Debug)]
pub(crate) struct Husks {
    lists: Mutex<VecDeque<Vec<Event>>>,
    most: usize,
}

impl Default for Husks {
    fn default() -> Husks {
        Husks::of(KEPT)
    }
}

/// Lists kept by one source [lists].
const KEPT: usize = 32;
/// A longer list is freed, not kept [events].
const LONGEST_KEPT: usize = 16_384;

impl Husks {
    /// Keeps so many lists.
    pub(crate) fn of(most: usize) -> Husks {
        Husks {
            lists: Mutex::default(),
            most,
        }
    }

    pub(crate) fn take(&self) -> Vec<Event> {
        self.lists.lock().pop_front().unwrap_or_default()
    }

    pub(crate) fn put(&self, mut events: Vec<Event>) {
        if events.is_empty() || events.len() > LONGEST_KEPT {
            return;
        }
        for event in &mut events {
            event.clear();
        }
        let mut kept = self.lists.lock();
        if kept.len() < self.most {
            kept.push_back(events);
        }
    }
}
