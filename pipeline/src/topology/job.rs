//! One write on its way to its end: which of its events are still to be written, and which answers are still owed.
//!
//! Places are counted over all events of the write. While everything goes well there is one range and nothing is done
//! per event; halving and `Partly` make smaller sets of places, tried in the order of the events.

use std::ops::Range;
use std::sync::Arc;

use crate::ack::{Ack, Verdict};
use crate::batch::Batch;
use crate::clock::Time;
use crate::component::Reason;
use crate::event::Event;
use crate::events::Events;

/// Some places of a write, ascending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Places {
    Range(Range<u32>),
    Some(Vec<u32>),
}

impl Places {
    pub(crate) fn len(&self) -> usize {
        match self {
            Places::Range(range) => range.len(),
            Places::Some(places) => places.len(),
        }
    }

    fn get(&self, n: usize) -> u32 {
        match self {
            Places::Range(range) => range.start + n as u32,
            Places::Some(places) => places[n],
        }
    }

    fn cut(self, at: usize) -> (Places, Places) {
        match self {
            Places::Range(range) => {
                let middle = range.start + at as u32;
                (
                    Places::Range(range.start..middle),
                    Places::Range(middle..range.end),
                )
            }
            Places::Some(mut places) => {
                let rest = places.split_off(at);
                (Places::Some(places), Places::Some(rest))
            }
        }
    }
}

/// Events that are written together.
#[derive(Debug)]
pub(crate) struct Set {
    pub(crate) places: Places,
    /// Writes in which its events have been.
    pub(crate) attempts: u32,
    /// Panics of the sink on exactly this set.
    pub(crate) panics: u32,
}

/// An event that was refused, on its way to the dead letters.
#[derive(Clone, Debug)]
pub(crate) struct Dead {
    pub(crate) place: u32,
    pub(crate) reason: Reason,
    pub(crate) attempts: u32,
}

/// One write on its way to its end.
pub(crate) struct Job {
    pub(crate) events: Events,
    bytes: usize,
    /// Its batches, in order.
    parts: Vec<Part>,
    /// What is to be written, the next one last.
    todo: Vec<Set>,
    /// Refused, and not yet durable in the dead letters.
    pub(crate) dead: Vec<Dead>,
}

struct Part {
    places: Range<u32>,
    /// Events of it that are this job's.
    mine: usize,
    /// Events without an end.
    open: usize,
    ack: Option<Ack>,
    /// When its source handed it over.
    seen_to: Time,
}

impl Job {
    pub(crate) fn new(mut batches: Vec<Batch>) -> Job {
        let mut parts = Vec::with_capacity(batches.len());
        let (mut len, mut bytes) = (0, 0);
        for batch in &mut batches {
            bytes += batch.bytes;
            let places = len..len + batch.events.len() as u32;
            len = places.end;
            // Answers are kept here: a sink that holds on to its events for longer than the write must not hold them up.
            let ack = std::mem::replace(&mut batch.ack, Ack::nobody());
            parts.push(Part {
                open: places.len(),
                mine: places.len(),
                places,
                ack: Some(ack),
                seen_to: batch.mark.seen_to,
            });
        }
        let all = Set {
            places: Places::Range(0..len),
            attempts: 0,
            panics: 0,
        };
        let todo = if len == 0 { Vec::new() } else { vec![all] };
        let mut job = Job {
            events: Events::new(batches),
            bytes,
            parts,
            todo,
            dead: Vec::new(),
        };
        job.answer();
        job
    }

    /// Deals the events of a job that nobody has begun out to `hands`: one job for each that gets any, with its number.
    /// `to` says for each event which. The jobs share the events and owe an answer each; order stays within each of them.
    pub(crate) fn deal(mut self, to: &[u32], hands: usize) -> Vec<(usize, Job)> {
        debug_assert_eq!(to.len(), self.events.len());
        if let Some(first) = to.first()
            && to.iter().all(|hand| hand == first)
        {
            return vec![(*first as usize, self)];
        }
        let mut places: Vec<Vec<u32>> = vec![Vec::new(); hands];
        for (place, hand) in (0..).zip(to) {
            places[*hand as usize].push(place);
        }
        let jobs = (0..).zip(places).filter(|(_, places)| !places.is_empty());
        let jobs: Vec<(usize, Job)> = jobs
            .map(|(hand, places)| (hand, self.of_hand(places)))
            .collect();
        // Each of them owes its own now.
        for ack in self.parts.iter_mut().filter_map(|part| part.ack.take()) {
            ack.delivered();
        }
        jobs
    }

    fn of_hand(&self, places: Vec<u32>) -> Job {
        let parts = self.parts.iter().map(|part| {
            let at = |end| places.partition_point(|place| *place < end);
            let mine = at(part.places.end) - at(part.places.start);
            // Whoever holds nothing of a part owes nothing for it; an empty one waits for all of them.
            let owes = mine > 0 || part.places.is_empty();
            Part {
                places: part.places.clone(),
                mine,
                open: mine,
                ack: if owes { part.ack.clone() } else { None },
                seen_to: part.seen_to,
            }
        });
        let parts = parts.collect();
        let all = Set {
            places: Places::Some(places),
            attempts: 0,
            panics: 0,
        };
        let mut job = Job {
            events: self.events.clone(),
            bytes: self.bytes,
            parts,
            todo: vec![all],
            dead: Vec::new(),
        };
        job.answer();
        job
    }

    /// Cuts what is still to be written into sets no larger than `most` bytes, as the events are held in memory.
    pub(crate) fn cap(&mut self, most: usize) {
        for set in std::mem::take(&mut self.todo) {
            let mut pieces = vec![];
            let (mut bytes, mut rest, mut taken) = (0, set.places.clone(), 0);
            for n in 0..set.places.len() {
                let size = self.event(set.places.get(n)).map_or(0, Event::size);
                if bytes + size > most && n > taken {
                    let (piece, others) = rest.cut(n - taken);
                    pieces.push(piece);
                    (rest, taken, bytes) = (others, n, 0);
                }
                bytes += size;
            }
            pieces.push(rest);
            let sets = pieces.into_iter().rev().map(|places| Set { places, ..set });
            self.todo.extend(sets);
        }
    }

    pub(crate) fn event(&self, place: u32) -> Option<&Event> {
        self.events.get(place as usize)
    }

    /// Memory that the events of `set` stand for [bytes].
    pub(crate) fn size(&self, set: &Set) -> usize {
        (0..set.places.len())
            .filter_map(|n| self.event(set.places.get(n)))
            .map(Event::size)
            .sum()
    }

    /// The part of the write's bytes that `len` events are, as their source estimated it [bytes].
    pub(crate) fn share(&self, len: usize) -> usize {
        (self.bytes as u128 * len as u128 / self.events.len().max(1) as u128) as usize
    }

    /// The next events to write.
    pub(crate) fn next(&mut self) -> Option<Set> {
        self.todo.pop()
    }

    /// What the sink is given for `set`.
    pub(crate) fn of(&self, set: &Set) -> Events {
        if set.places.len() == self.events.len() {
            return self.events.clone();
        }
        self.events
            .pick((0..set.places.len()).map(|n| set.places.get(n) as usize))
    }

    /// Writes the set again, before all others.
    pub(crate) fn again(&mut self, set: Set) {
        self.todo.push(set);
    }

    /// Writes the two halves of the set, before all others.
    pub(crate) fn halve(&mut self, set: Set) {
        let middle = set.places.len() / 2;
        let (first, second) = set.places.cut(middle);
        for places in [second, first] {
            // A sink that panicked three times on the whole has to do it once on a part, and three times on one event.
            let panics = if places.len() > 1 {
                set.panics.saturating_sub(1)
            } else {
                0
            };
            self.todo.push(Set {
                places,
                attempts: set.attempts,
                panics,
            });
        }
    }

    /// All events of the set were delivered.
    pub(crate) fn delivered(&mut self, set: &Set) {
        self.close(&set.places);
    }

    /// Every event of the set was refused for the same reason.
    pub(crate) fn refused(&mut self, set: &Set, reason: &Reason) {
        for n in 0..set.places.len() {
            self.dead.push(Dead {
                place: set.places.get(n),
                reason: reason.clone(),
                attempts: set.attempts,
            });
        }
    }

    /// Of the set, the events at `again` (counted in the set, ascending) are written again, before all others, those at
    /// `refused` go to the dead letters, and the rest was delivered.
    pub(crate) fn partly(&mut self, set: &Set, again: &[u32], refused: Vec<(u32, Reason)>) {
        let named = |n: &u32| {
            again.binary_search(n).is_ok() || refused.binary_search_by_key(n, |(n, _)| *n).is_ok()
        };
        let delivered = (0..set.places.len() as u32).filter(|n| !named(n));
        let delivered = Places::Some(delivered.map(|n| set.places.get(n as usize)).collect());
        let again: Vec<u32> = again.iter().map(|n| set.places.get(*n as usize)).collect();
        for (n, reason) in refused {
            self.dead.push(Dead {
                place: set.places.get(n as usize),
                reason,
                attempts: set.attempts,
            });
        }
        self.close(&delivered);
        if !again.is_empty() {
            self.todo.push(Set {
                places: Places::Some(again),
                attempts: set.attempts,
                panics: 0,
            });
        }
    }

    /// What was refused so far is durable in the dead letters.
    pub(crate) fn buried(&mut self) {
        let mut places: Vec<u32> = self.dead.drain(..).map(|dead| dead.place).collect();
        places.sort_unstable();
        self.close(&Places::Some(places));
    }

    /// Notes that these events have an end, and answers for the batches that are done.
    fn close(&mut self, places: &Places) {
        match places {
            Places::Range(range) => {
                for part in &mut self.parts {
                    let (start, end) = (
                        range.start.max(part.places.start),
                        range.end.min(part.places.end),
                    );
                    part.open -= end.saturating_sub(start) as usize;
                }
            }
            Places::Some(places) => {
                for place in places {
                    let n = self.parts.partition_point(|part| part.places.end <= *place);
                    if let Some(part) = self.parts.get_mut(n) {
                        part.open -= 1;
                    }
                }
            }
        }
        self.answer();
    }

    /// Answers for every batch that is done, but for an empty one not before those in front of it.
    fn answer(&mut self) {
        let mut open_before = false;
        for part in &mut self.parts {
            let empty = part.places.is_empty();
            if part.open == 0
                && !(empty && open_before)
                && let Some(ack) = part.ack.take()
            {
                ack.delivered();
            }
            open_before |= part.open > 0;
        }
    }

    /// For each batch with events, when its source handed it over, and how many they are.
    pub(crate) fn seen(&self) -> impl Iterator<Item = (Time, u64)> {
        self.parts
            .iter()
            .map(|part| (part.seen_to, part.mine as u64))
    }

    /// Whether every event has an end.
    pub(crate) fn is_done(&self) -> bool {
        self.todo.is_empty() && self.dead.is_empty()
    }

    /// Gives the memory of a job back that is done.
    pub(crate) fn recycle(self) {
        debug_assert!(self.is_done());
        for batch in self.events.into_batches().into_iter().flatten() {
            batch.end(Verdict::Delivered);
        }
    }

    /// Takes a job apart that is not done: batches of the events that have no end yet, with the answers owed for them.
    pub(crate) fn give_up(self) -> Vec<Batch> {
        let mut open = vec![false; self.events.len()];
        for place in self
            .undone()
            .into_iter()
            .chain(self.dead.iter().map(|dead| dead.place))
        {
            open[place as usize] = true;
        }
        // Where the sink still looks at them, as after a write that was broken off, what is left is copied.
        let batches = self
            .events
            .into_batches()
            .unwrap_or_else(|events| events.copies());
        let mut left = Vec::new();
        for (part, mut batch) in self.parts.into_iter().zip(batches) {
            let Some(ack) = part.ack else {
                batch.end(Verdict::Delivered);
                continue;
            };
            let mut open = open[part.places.start as usize..part.places.end as usize].iter();
            batch.retain(|_| open.next().copied().unwrap_or(true));
            batch.ack = ack;
            left.push(batch);
        }
        left
    }

    /// Places of the events that have no end, not counting those that were refused.
    pub(crate) fn undone(&self) -> Vec<u32> {
        self.todo
            .iter()
            .flat_map(|set| (0..set.places.len()).map(|n| set.places.get(n)))
            .collect()
    }

    /// The shared list of events and what was refused among them, for the dead letters.
    pub(crate) fn funeral(&self) -> (Events, Arc<[Dead]>) {
        (self.events.clone(), self.dead.as_slice().into())
    }
}
