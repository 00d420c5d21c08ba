//! What is wrong with a queue just now: its word for `/ready`, and lines in the log that do not fill it.

use std::sync::Arc;

use parking_lot::Mutex;

use super::files::has_no_room;
use crate::component::{Reason, ReasonKind};
use crate::telemetry::{ComponentMetrics, Health, Limited};
use crate::topology::SinkHealth;

/// What a part of the queue has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Begin.
    Open,
    /// Make events durable.
    Write,
    /// Read them.
    Read,
    /// Remember how far it is emptied, and delete.
    Release,
}

const PARTS: usize = 4;
type Now = [Option<Wrong>; PARTS];

impl Part {
    /// Whether the sources have no answer while it does not do its work.
    fn owes(self) -> bool {
        matches!(self, Part::Open | Part::Write)
    }
}

/// What is wrong with a queue just now.
pub(super) struct Trouble {
    health: SinkHealth,
    metrics: Arc<ComponentMetrics>,
    now: Mutex<Now>,
    log: [Limited; PARTS],
}

#[derive(Clone)]
struct Wrong {
    text: String,
    /// It does not do its work; otherwise it only waits for the sink.
    fails: bool,
}

impl Trouble {
    pub(super) fn new(health: SinkHealth, metrics: Arc<ComponentMetrics>) -> Trouble {
        metrics.health().set(Health::Healthy);
        Trouble {
            health,
            metrics,
            now: Mutex::default(),
            log: Default::default(),
        }
    }

    /// This part does its work.
    pub(super) fn well(&self, part: Part) {
        if part.owes() {
            self.health.succeeds();
        }
        let mut now = self.now.lock();
        if now[part as usize].take().is_some_and(|wrong| wrong.fails) {
            tracing::info!(
                component_id = self.health.id(),
                "the disk queue can {} again",
                word(part)
            );
        }
        self.tell(&now);
    }

    /// This part cannot do its work; it is tried again.
    pub(super) fn fails(&self, part: Part, code: &'static str, why: &dyn std::fmt::Display) {
        if part.owes() {
            let reason = Reason::new(ReasonKind::Disk, why.to_string());
            self.health.lacks_success(self.health.now(), reason);
        }
        self.metrics.buffer_errors.add([code], 1);
        let text = format!("the disk queue cannot {}: {why}", word(part));
        if let Some(held_back) = self.log[part as usize].pass() {
            tracing::error!(
                component_id = self.health.id(),
                held_back,
                "{text}; nothing is lost, it is tried again"
            );
        }
        let mut now = self.now.lock();
        now[part as usize] = Some(Wrong { text, fails: true });
        self.tell(&now);
    }

    /// The queue is full, which is no failure of its own.
    pub(super) fn full(&self, bytes: u64) {
        let text = format!(
            "the disk queue is full ({bytes} bytes); everything that feeds it waits until its sink has taken some"
        );
        let reason = Reason::new(ReasonKind::Busy, text.clone());
        self.health.lacks_success(self.health.now(), reason);
        if let Some(held_back) = self.log[Part::Write as usize].pass() {
            tracing::warn!(component_id = self.health.id(), held_back, "{text}");
        }
        let mut now = self.now.lock();
        now[Part::Write as usize] = Some(Wrong { text, fails: false });
        self.tell(&now);
    }

    fn tell(&self, now: &Now) {
        let worst = now.iter().flatten().max_by_key(|wrong| wrong.fails);
        self.metrics.health().set(match worst {
            None => Health::Healthy,
            Some(Wrong { text, fails: true }) => Health::Failing(text.clone()),
            Some(Wrong { text, .. }) => Health::Degraded(text.clone()),
        });
    }
}

fn word(part: Part) -> &'static str {
    match part {
        Part::Open => "begin",
        Part::Write => "take events",
        Part::Read => "give events",
        Part::Release => "delete what was delivered",
    }
}

/// The word of the metric for an error of the file system.
pub(super) fn code(why: &std::io::Error) -> &'static str {
    if has_no_room(why) { "disk_full" } else { "io" }
}
