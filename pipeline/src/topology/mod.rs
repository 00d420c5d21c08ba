//! The running graph: which tasks there are, how they are wired, started, changed and ended.
//!
//! `plan` says which components share a task; `unit` runs one; `port` is where outputs lead. A task that changes in a
//! reload ends, gives its lane to its successor, and those that feed it feel nothing but a full lane.

mod batcher;
pub(crate) mod chain;
pub(crate) mod group;
pub(crate) mod guard;
mod health;
mod job;
pub(crate) mod node;
pub(crate) mod plan;
pub(crate) mod port;
mod retry;
mod rewrite;
mod running;
pub(crate) mod sink_task;
pub(crate) mod source_task;
mod state_task;
#[cfg(test)]
mod tests;
pub(crate) mod transform_task;
mod unit;
mod writer;

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::component::Reason;
use crate::event::Event;
use crate::telemetry::Telemetry;

pub use health::{HealthState, SinkHealth};
pub(crate) use node::panic_text;
pub(crate) use retry::Backoff;
pub use retry::Pace;
pub use rewrite::{End, Rewriter};
pub(crate) use running::Shared;
pub use running::{Topology, installation_key, redactor};
pub use sink_task::{Limits, SinkEnd, SinkTask, workers};
pub use writer::BuildSink;

/// What a topology is started with.
#[derive(Clone)]
pub struct Options {
    /// Where everything is counted.
    pub telemetry: Arc<Telemetry>,
    /// Where the time comes from.
    pub clock: Clock,
    /// How long a shutdown waits for answers before it leaves events to be sent again.
    pub grace: Duration,
}

/// Where events go that nobody can take.
pub trait DeadLetterBox: Send + Sync {
    /// Makes the events durable with the reason; they are when this returns. It blocks.
    fn append(
        &self,
        component: &str,
        type_name: &str,
        reason: &Reason,
        attempts: u32,
        events: &[Event],
    ) -> Result<(), String>;
}
