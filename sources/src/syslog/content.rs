//! `id = "content"`: ids that two receivers of the same messages agree on.
//!
//! Made of host, time, program, process and text, and of how many messages with all of these there were before: a sender
//! that says the same twice in a second said it twice, whoever listens.
//!
//! - a message that says no time keeps the id of the receiver's run: nothing in it tells it from the same one of tomorrow
//! - the same message with the same time again, after a restart or after 32 768 others, counts as the first one once more

use std::collections::HashMap;

use pipeline::{Event, EventId, Field, Time, ValueRef, fields};

/// Messages that are remembered, for the next that is the same; twice as many at most [messages].
const REMEMBERED: usize = 32 * 1024;

/// How often each message was seen lately.
#[derive(Default)]
pub(super) struct ContentIds {
    seen: HashMap<EventId, u32>,
    before: HashMap<EventId, u32>,
}

impl ContentIds {
    /// Gives a parsed event its id. A message that says no time has the time of reading, `now`, and keeps the id it has.
    pub(super) fn give(&mut self, event: &mut Event, now: Time) {
        if event.timestamp() == now {
            return;
        }
        let text = |field: Field| event.str(field).unwrap_or_default().as_bytes();
        let time = event.timestamp().0;
        let pid = match event.get(fields::PROCESS_PID) {
            Some(ValueRef::Int(pid)) => pid,
            _ => -1,
        };
        let parts = [
            b"pve-audit/1".as_slice(),
            b"syslog",
            text(fields::HOST_NAME),
            &time.to_le_bytes(),
            text(fields::PROCESS_NAME),
            &pid.to_le_bytes(),
            text(fields::MESSAGE),
        ];
        let same = EventId::of_parts(&parts);
        let id = match self.count(same) {
            0 => same,
            times => {
                let [high, low] = same.0.map(u64::to_le_bytes);
                EventId::of_parts(&[&high, &low, &times.to_le_bytes()])
            }
        };
        event.set_id(id);
    }

    /// How often this was seen before.
    fn count(&mut self, id: EventId) -> u32 {
        if self.seen.len() >= REMEMBERED {
            self.before = std::mem::take(&mut self.seen);
        }
        let before = &mut self.before;
        let next = self
            .seen
            .entry(id)
            .or_insert_with(|| before.remove(&id).unwrap_or(0));
        let times = *next;
        *next = next.saturating_add(1);
        times
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(time: i64, text: &str) -> Event {
        let mut event = Event::new(EventId([1, 2]), Time(time));
        event.set(fields::HOST_NAME, "pve1");
        event.set(fields::MESSAGE, text);
        event
    }

    fn ids(events: &[(i64, &str)], now: i64) -> Vec<EventId> {
        let mut content = ContentIds::default();
        let given = events.iter().map(|(time, text)| {
            let mut event = event(*time, text);
            content.give(&mut event, Time(now));
            event.id()
        });
        given.collect()
    }

    #[test]
    fn two_receivers_agree_and_the_same_said_twice_is_two_events() {
        let here = ids(&[(5, "a"), (5, "a"), (5, "b"), (6, "a")], 70);
        let there = ids(&[(5, "b"), (5, "a"), (6, "a"), (5, "a")], 80);
        let mut all = here.clone();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 4);
        assert_eq!(here, [1, 3, 0, 2].map(|n: usize| there[n]));
    }

    #[test]
    fn a_message_without_a_time_keeps_the_id_of_the_receiver() {
        assert_eq!(ids(&[(70, "a"), (70, "a")], 70), [EventId([1, 2]); 2]);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut content = ContentIds::default();
        for n in 0..3 * REMEMBERED as u64 {
            content.count(EventId([n, 0]));
        }
        assert!(content.seen.len() + content.before.len() <= 2 * REMEMBERED);
        assert_eq!(content.count(EventId([3 * REMEMBERED as u64 - 1, 0])), 1);
    }
}
