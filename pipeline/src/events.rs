//! What a sink is given to write: the events of one or several batches, shared and read-only.

use std::sync::Arc;

use crate::batch::Batch;
use crate::event::Event;

/// Events to write. Cloning it copies no event, so it may move into `spawn_blocking`.
#[derive(Clone)]
pub struct Events {
    whole: Arc<Whole>,
    /// Places of those that are left to write; `None` means all.
    picked: Option<Arc<[u32]>>,
}

struct Whole {
    batches: Vec<Batch>,
    /// For each batch the number of events before it.
    starts: Vec<usize>,
    len: usize,
}

impl Events {
    pub(crate) fn new(batches: Vec<Batch>) -> Events {
        let mut len = 0;
        let starts = batches
            .iter()
            .map(|batch| {
                let start = len;
                len += batch.events.len();
                start
            })
            .collect();
        Events {
            whole: Arc::new(Whole {
                batches,
                starts,
                len,
            }),
            picked: None,
        }
    }

    /// Events that came from nowhere and owe nothing: for tests and for dead letters that are tried again.
    pub fn of(events: Vec<Event>) -> Events {
        let mark = crate::mark::Mark {
            lane: crate::mark::LaneId::new("", ""),
            start: 0,
            seen_to: crate::clock::Time::MIN,
            idle: false,
            over: false,
        };
        Events::new(vec![Batch::new(events, mark, crate::ack::Ack::nobody())])
    }

    /// Only the events at these places, counted in `self`.
    pub(crate) fn pick(&self, places: impl Iterator<Item = usize>) -> Events {
        let picked = places.map(|n| self.place(n) as u32).collect();
        Events {
            whole: Arc::clone(&self.whole),
            picked: Some(picked),
        }
    }

    fn place(&self, n: usize) -> usize {
        self.picked.as_ref().map_or(n, |picked| picked[n] as usize)
    }

    /// Number of events.
    pub fn len(&self) -> usize {
        self.picked
            .as_ref()
            .map_or(self.whole.len, |picked| picked.len())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The event at a place from 0.
    pub fn get(&self, n: usize) -> Option<&Event> {
        if n >= self.len() {
            return None;
        }
        let place = self.place(n);
        let batch = self.whole.starts.partition_point(|start| *start <= place) - 1;
        self.whole.batches[batch]
            .events
            .get(place - self.whole.starts[batch])
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Event> {
        let all = if self.picked.is_none() {
            &self.whole.batches[..]
        } else {
            &[]
        };
        let picked = self.picked.as_deref().unwrap_or_default();
        all.iter()
            .flat_map(|batch| &batch.events)
            .chain((0..picked.len()).filter_map(|n| self.get(n)))
    }

    /// The batches again, unless someone else still looks at them.
    pub(crate) fn into_batches(self) -> Result<Vec<Batch>, Events> {
        let Events { whole, picked } = self;
        match Arc::try_unwrap(whole) {
            Ok(whole) => Ok(whole.batches),
            Err(whole) => Err(Events { whole, picked }),
        }
    }

    /// Copies of the batches.
    pub(crate) fn copies(&self) -> Vec<Batch> {
        self.whole.batches.iter().map(Batch::copy).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{EventId, Time};

    fn batch(ids: std::ops::Range<u64>) -> Batch {
        let mark = crate::mark::Mark {
            lane: crate::mark::LaneId::new("t", "t"),
            start: 0,
            seen_to: Time(0),
            idle: false,
            over: false,
        };
        Batch::new(
            ids.map(|n| Event::new(EventId([0, n]), Time(0))).collect(),
            mark,
            crate::ack::Ack::nobody(),
        )
    }

    #[test]
    fn places_run_over_the_batches_and_picks_of_picks_still_find_them() {
        let events = Events::new(vec![batch(0..3), batch(3..3), batch(3..7)]);
        let ids = |events: &Events| events.iter().map(|e| e.id().0[1]).collect::<Vec<_>>();
        assert_eq!(ids(&events), [0, 1, 2, 3, 4, 5, 6]);
        assert_eq!(events.get(4).map(|e| e.id().0[1]), Some(4));
        let odd = events.pick([1, 3, 5].into_iter());
        assert_eq!(ids(&odd), [1, 3, 5]);
        assert_eq!(ids(&odd.pick([1, 2].into_iter())), [3, 5]);
        assert!(odd.get(3).is_none());
    }
}
