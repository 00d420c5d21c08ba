//! A graph fed by hand on one thread, with a clock that moves as it is told: what happened in a day passes in seconds,
//! and the transforms see the day's own time.

use super::bench::Bench;
use crate::ack::Ack;
use crate::batch::Batch;
use crate::clock::{SECOND, Time};
use crate::config::Graph;
use crate::event::Event;
use crate::events::Events;
use crate::mark::{LaneId, Mark};

/// The state of what remembers is put aside this often, in the day's own time.
const SAVE: i64 = 10 * 60 * SECOND;

/// A graph whose sources are fed by hand and whose sinks are read by hand.
pub struct Replay<'g> {
    bench: Bench<'g>,
    saved: Time,
}

impl<'g> Replay<'g> {
    /// Builds the transforms; the clock stands at `start`.
    pub fn new(graph: &'g Graph, start: Time) -> Result<Replay<'g>, String> {
        let mut bench = Bench::new(graph, start)?;
        bench.keep_events();
        Ok(Replay {
            bench,
            saved: start,
        })
    }

    /// Sends events from where the source `source` stands, in the order of their lane.
    pub fn feed(&mut self, source: &str, lane: &str, events: Vec<Event>) {
        self.bench
            .feed_events(source, LaneId::new(source, lane), events);
        self.bench.flow();
    }

    /// Moves the clock on. Every source says that everything before `to` was read.
    pub fn move_to(&mut self, to: Time) {
        if self.bench.skip_to(to) && to.0 - self.saved.0 >= SAVE {
            self.saved = to;
            self.bench.settle();
        }
    }

    /// What arrived at the sink of this name since it was asked last.
    pub fn take(&mut self, sink: &str) -> Vec<Event> {
        self.bench.take(sink)
    }
}

/// Events to hand to a sink that is written to by hand.
#[must_use]
pub fn to_write(events: Vec<Event>) -> Events {
    let mark = Mark {
        lane: LaneId::new("replay", ""),
        start: 0,
        seen_to: Time::MIN,
        idle: false,
        over: false,
    };
    Events::new(vec![Batch::new(events, mark, Ack::nobody())])
}
