//! Several sources that tell the same day together: none runs ahead of the slowest, as on a node, where all records grow
//! at the same time.

use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// Which day is told: seed, and when it begins [ms since 1970].
pub(super) type Day = (u64, i64);

/// So far one may be ahead of the slowest [ms of the day].
const LEAD: i64 = 5000;
/// Between two looks, where nobody says anything.
const LOOK: Duration = Duration::from_millis(200);

static STAGES: Mutex<Vec<(Day, Weak<Stage>)>> = Mutex::new(Vec::new());

#[derive(Default)]
struct Stage {
    /// How far each has told [ms since 1970].
    parts: Mutex<Vec<i64>>,
    moved: Notify,
}

/// One who tells.
pub(super) struct Part {
    stage: Arc<Stage>,
    place: usize,
    together: usize,
}

impl Part {
    /// Joins those who tell this day; `together` is how many they will be.
    pub(super) fn join(day: Day, together: usize) -> Part {
        let mut stages = STAGES.lock();
        stages.retain(|(_, stage)| stage.strong_count() > 0);
        let known = stages
            .iter()
            .find(|(of, _)| *of == day)
            .and_then(|(_, stage)| stage.upgrade());
        let stage = known.unwrap_or_else(|| {
            let stage = Arc::new(Stage::default());
            stages.push((day, Arc::downgrade(&stage)));
            stage
        });
        let mut parts = stage.parts.lock();
        parts.push(i64::MIN);
        let place = parts.len() - 1;
        drop(parts);
        stage.moved.notify_waiters();
        Part {
            stage,
            place,
            together,
        }
    }

    /// Says that this part has told everything before `when`, and whether it may go on to there.
    pub(super) fn reaches(&self, when: i64) -> bool {
        if self.together < 2 {
            return true;
        }
        let mut parts = self.stage.parts.lock();
        let moved = parts[self.place] < when;
        parts[self.place] = when;
        let all = parts.len() >= self.together;
        let slowest = parts.iter().copied().min().unwrap_or(when);
        drop(parts);
        if moved {
            self.stage.moved.notify_waiters();
        }
        all && when - LEAD <= slowest
    }

    /// Waits until another has moved, or for a moment.
    pub(super) async fn moved(&self) {
        // Whoever moved just before is seen at the next look.
        let _ = tokio::time::timeout(LOOK, self.stage.moved.notified()).await;
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // Nobody waits for one who has left.
        self.stage.parts.lock()[self.place] = i64::MAX;
        self.stage.moved.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_runs_ahead_of_the_slowest_and_nobody_waits_for_one_who_left() {
        let one = Part::join((7, 0), 2);
        assert!(!one.reaches(0), "the other is not there yet");
        let other = Part::join((7, 0), 2);
        assert!(!one.reaches(0));
        assert!(other.reaches(0));
        assert!(one.reaches(LEAD));
        assert!(!one.reaches(LEAD + 1));
        drop(other);
        assert!(one.reaches(1_000_000));
        assert!(Part::join((8, 0), 1).reaches(i64::MAX));
    }
}
