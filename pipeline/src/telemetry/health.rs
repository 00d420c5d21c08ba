//! How a component is, for `/ready` and the console.

use parking_lot::Mutex;
use serde::Serialize;

/// Whether a component does its work.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "state", content = "reason")]
pub enum Health {
    /// Built, but not at work: `/ready` waits for it.
    #[default]
    Starting,
    /// At work.
    Healthy,
    /// At work, with trouble that heals by itself.
    Degraded(String),
    /// Not at work, and why.
    Failing(String),
    /// Ended as it should (a source that has read everything).
    Finished,
}

impl Health {
    /// Whether `/ready` may answer 200.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        matches!(
            self,
            Health::Healthy | Health::Degraded(_) | Health::Finished
        )
    }

    /// The worse of two workers' words.
    pub(super) fn worse(self, other: Health) -> Health {
        if other.rank() > self.rank() {
            other
        } else {
            self
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Health::Finished => 0,
            Health::Healthy => 1,
            Health::Degraded(_) => 2,
            Health::Starting => 3,
            Health::Failing(_) => 4,
        }
    }
}

/// The current health of one worker.
#[derive(Debug, Default)]
pub struct HealthCell(Mutex<Health>);

impl HealthCell {
    /// Replaces it. True if the state (not merely the reason) is another one than before, which is worth a log line.
    pub fn set(&self, health: Health) -> bool {
        let mut now = self.0.lock();
        let changed = std::mem::discriminant(&*now) != std::mem::discriminant(&health);
        *now = health;
        changed
    }

    /// What was set last; [`Health::Starting`] before.
    #[must_use]
    pub fn get(&self) -> Health {
        self.0.lock().clone()
    }
}
