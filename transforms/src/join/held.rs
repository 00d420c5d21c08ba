//! All messages that may still go on: by the key that their parts share, and by the time since when they wait.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use pipeline::{Outputs, StateError, Time};

use super::message::Message;

/// Most messages of one key that wait for the rest of what was cut [messages].
const MOST_OF_ONE: usize = 8;

type Key = Arc<[u8]>;

#[derive(Debug)]
struct Waiting {
    key: Key,
    message: Message,
    since: Time,
    /// [bytes]
    size: usize,
}

#[derive(Debug)]
pub(super) struct Held {
    /// By a number that grows.
    messages: BTreeMap<u64, Waiting>,
    /// Numbers of the messages of a key, the newest last.
    by_key: HashMap<Key, Vec<u64>>,
    next: u64,
    /// [bytes]
    size: usize,
    most: usize,
    most_size: usize,
    /// Just loaded: since when they wait is not known.
    fresh: bool,
}

impl Held {
    /// At most so many messages, and so many bytes.
    pub(super) fn new(most: usize, most_size: usize) -> Held {
        Held {
            messages: BTreeMap::new(),
            by_key: HashMap::new(),
            next: 0,
            size: 0,
            most,
            most_size,
            fresh: false,
        }
    }

    /// Messages that were loaded wait from now on: the time in which the program stood still was nobody's pause.
    pub(super) fn begin(&mut self, now: Time) {
        if std::mem::take(&mut self.fresh) {
            self.messages
                .values_mut()
                .for_each(|waiting| waiting.since = now);
        }
    }

    /// Number of messages.
    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }

    pub(super) fn get(&self, number: u64) -> Option<&Message> {
        self.messages.get(&number).map(|waiting| &waiting.message)
    }

    /// The newest message of a key.
    pub(super) fn last(&self, key: &[u8]) -> Option<u64> {
        self.by_key.get(key)?.last().copied()
    }

    /// The newest message of a key that was cut, about the same piece of work if the rest says about which it is.
    pub(super) fn last_cut(&self, key: &[u8], operation: Option<&str>) -> Option<u64> {
        let numbers = self.by_key.get(key)?;
        let cut = |number: &&u64| self.get(**number).is_some_and(|message| message.cut);
        let same = |number: &&u64| {
            let held = self.get(**number).and_then(|m| m.operation.as_deref());
            operation.is_none() || held == operation
        };
        numbers.iter().rev().filter(cut).find(same).copied()
    }

    /// Takes out the messages of a key that were not cut, and those that are too many.
    pub(super) fn take_whole(&mut self, key: &[u8]) -> Vec<Message> {
        let Some(numbers) = self.by_key.get(key) else {
            return Vec::new();
        };
        let too_many = numbers.len().saturating_sub(MOST_OF_ONE - 1);
        let gone: Vec<u64> = numbers
            .iter()
            .enumerate()
            .filter(|(n, number)| {
                *n < too_many || self.get(**number).is_some_and(|message| !message.cut)
            })
            .map(|(_, number)| *number)
            .collect();
        gone.into_iter()
            .filter_map(|number| self.take(number))
            .collect()
    }

    /// Adds a message; the oldest are let go where there are too many.
    pub(super) fn put(&mut self, key: &[u8], mut message: Message, now: Time, out: &mut Outputs) {
        message.detach();
        self.enter(key, message, now);
        self.bound(out);
    }

    fn enter(&mut self, key: &[u8], message: Message, since: Time) {
        let key: Key = match self.by_key.get_key_value(key) {
            Some((key, _)) => Arc::clone(key),
            None => key.into(),
        };
        let number = self.next;
        self.next += 1;
        self.by_key
            .entry(Arc::clone(&key))
            .or_default()
            .push(number);
        let size = message.size() + key.len() + size_of::<Waiting>();
        self.size += size;
        let waiting = Waiting {
            key,
            message,
            since,
            size,
        };
        self.messages.insert(number, waiting);
    }

    /// Changes a message, and knows afterwards how large it is.
    pub(super) fn change(&mut self, number: u64, change: impl FnOnce(&mut Message)) {
        if let Some(waiting) = self.messages.get_mut(&number) {
            change(&mut waiting.message);
            self.size -= waiting.size;
            waiting.size = waiting.message.size() + waiting.key.len() + size_of::<Waiting>();
            self.size += waiting.size;
        }
    }

    /// Lets the oldest go while there are too many, or too much.
    pub(super) fn bound(&mut self, out: &mut Outputs) {
        while self.messages.len() > self.most
            || self.size > self.most_size && self.messages.len() > 1
        {
            let Some(oldest) = self.messages.keys().next().copied() else {
                return;
            };
            if let Some(message) = self.take(oldest) {
                out.evicted(1);
                message.release(out);
            }
        }
    }

    pub(super) fn take(&mut self, number: u64) -> Option<Message> {
        let waiting = self.messages.remove(&number)?;
        self.size -= waiting.size;
        if let Some(numbers) = self.by_key.get_mut(&waiting.key) {
            numbers.retain(|held| *held != number);
            if numbers.is_empty() {
                self.by_key.remove(&waiting.key);
            }
        }
        Some(waiting.message)
    }

    /// The oldest message, if it has waited for so long.
    pub(super) fn take_expired(&mut self, now: Time, timeout: Duration) -> Option<Message> {
        let (number, oldest) = self.messages.first_key_value()?;
        // A clock that was set back must not make anybody wait for an hour.
        let expired = now.since(oldest.since) >= timeout || oldest.since > now;
        let number = *number;
        expired.then(|| self.take(number)).flatten()
    }

    /// Number, then for each key and message.
    pub(super) fn save(&self, to: &mut Vec<u8>) {
        to.extend_from_slice(&(self.messages.len() as u64).to_le_bytes());
        for waiting in self.messages.values() {
            write_part(&waiting.key, to);
            waiting.message.save(to);
        }
    }

    pub(super) fn load(&mut self, from: &[u8]) -> Result<(), StateError> {
        let short = || StateError("the held messages are cut short".to_owned());
        let (count, mut rest) = from.split_first_chunk::<8>().ok_or_else(short)?;
        let mut held = Held::new(self.most, self.most_size);
        for _ in 0..u64::from_le_bytes(*count) {
            let key = read_part(&mut rest)?.to_vec();
            let message = Message::load(&mut rest)?;
            held.enter(&key, message, Time::MIN);
        }
        if !rest.is_empty() {
            return Err(StateError("something follows the held messages".to_owned()));
        }
        held.fresh = true;
        *self = held;
        Ok(())
    }
}

/// Appends bytes behind their length.
pub(super) fn write_part(part: &[u8], to: &mut Vec<u8>) {
    to.extend_from_slice(&(part.len() as u64).to_le_bytes());
    to.extend_from_slice(part);
}

/// Takes them from the front again.
pub(super) fn read_part<'a>(from: &mut &'a [u8]) -> Result<&'a [u8], StateError> {
    let short = || StateError("a held message is cut short".to_owned());
    let (len, rest) = from.split_first_chunk::<8>().ok_or_else(short)?;
    let len = usize::try_from(u64::from_le_bytes(*len)).map_err(|_| short())?;
    let (part, rest) = rest.split_at_checked(len).ok_or_else(short)?;
    *from = rest;
    Ok(part)
}
