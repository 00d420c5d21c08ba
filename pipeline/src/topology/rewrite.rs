//! Writes events once more that a sink had refused: the same halving and repeating as in a running program, but with an end.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::health::{HealthState, SinkHealth};
use super::job::Job;
use super::retry::Pace;
use super::writer::{BuildSink, KnownSize, Logs, Shared, Writer};
use crate::ack::Ack;
use crate::batch::Batch;
use crate::clock::{Clock, Time};
use crate::component::Reason;
use crate::event::Event;
use crate::mark::{LaneId, Mark};
use crate::telemetry::{Kind, Telemetry};

/// What became of one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The other side has it.
    Delivered,
    /// Refused again.
    Refused(Reason),
    /// Time was up before anyone said; the last reason, if there was one.
    Undone(Option<Reason>),
}

/// One sink, for writing by hand.
pub struct Rewriter {
    writer: Writer,
    health: SinkHealth,
    abort: CancellationToken,
    end_at: Instant,
}

impl Rewriter {
    /// A sink that is given up on once `patience` has passed; nothing is written to the dead letters.
    pub fn new(
        id: &str,
        type_name: &'static str,
        build: BuildSink,
        pace: Pace,
        patience: Duration,
    ) -> Rewriter {
        let abort = CancellationToken::new();
        let shared = Arc::new(Shared {
            id: id.to_owned(),
            type_name,
            build,
            pace,
            dead_letters: None,
            hand_over: CancellationToken::new(),
            abort: abort.clone(),
            known_size: KnownSize::default(),
            logs: Logs::default(),
        });
        let health = SinkHealth::new(id, Clock::system());
        let metrics = Telemetry::new("", "").component(id, Kind::Sink, type_name);
        let writer = Writer::new(shared, Arc::clone(&metrics), health.worker(metrics));
        Rewriter {
            writer,
            health,
            abort,
            end_at: Instant::now() + patience,
        }
    }

    /// Whether time is up: what is written from now on stays undone.
    pub fn is_over(&self) -> bool {
        self.abort.is_cancelled()
    }

    /// Writes the events, in order, and says of each what became of it.
    pub async fn write(&mut self, events: Vec<Event>) -> Vec<End> {
        let mark = Mark {
            lane: LaneId::new("", ""),
            start: 0,
            seen_to: Time::MIN,
            idle: false,
            over: false,
        };
        let mut job = Job::new(vec![Batch::new(events, mark, Ack::nobody())]);
        let mut ends = vec![End::Delivered; job.events.len()];
        if !self.is_over() {
            let mut work = std::pin::pin!(self.writer.work(&mut job));
            let mut over = false;
            loop {
                tokio::select! {
                    biased;
                    _ = &mut work => break,
                    () = tokio::time::sleep_until(self.end_at), if !over => {
                        self.abort.cancel();
                        over = true;
                    }
                }
            }
        }
        let last = match self.health.state() {
            HealthState::Healthy => None,
            HealthState::Failing { reason, .. } => Some(reason),
        };
        for place in job.undone() {
            ends[place as usize] = End::Undone(last.clone());
        }
        for dead in job.dead {
            ends[dead.place as usize] = End::Refused(dead.reason);
        }
        ends
    }

    /// Closes the sink.
    pub async fn close(self) {
        self.writer.close().await;
    }
}
