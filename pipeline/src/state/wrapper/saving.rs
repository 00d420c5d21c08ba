//! When and how the state is saved, and what may happen once it is.

use std::path::Path;
use std::time::Duration;

use super::super::file::{Done, Image, Made, Outcome, Step, Work};
use super::super::lanes::NO_OPINION;
use super::{Pending, Stage, Wrapper};
use crate::batch::Batch;
use crate::clock::Time;
use crate::event::Event;
use crate::mark::Mark;
use crate::outputs::Outputs;

/// How long made events wait for company before they are saved together.
const GROUP: Duration = Duration::from_millis(50);
/// Inputs held, at least, before that alone causes a snapshot [bytes].
const HELD_BYTES: usize = 64 << 20;
/// A large state is saved when this many times its size is held.
const HELD_PER_STATE: usize = 32;
/// Answers held before that alone causes a snapshot.
const HELD_ACKS: usize = 65_536;
/// Snapshots for the sake of what is held come at most so often.
const LEAST_INTERVAL: Duration = Duration::from_secs(1);
/// Wait after a snapshot that could not be written.
const RETRY: Duration = Duration::from_secs(5);

impl Wrapper {
    /// The next blocking work to do, if any; run it elsewhere and call [`done`](Self::done). One at a time.
    pub fn next_step(&mut self, now: Time) -> Option<Step> {
        if self.in_flight || self.broken || self.roll_back_due || self.book.has_failed() {
            return None;
        }
        if let Some(pending) = &mut self.pending {
            let Stage::Written(aside) = &pending.stage else {
                return None;
            };
            if !self.book.is_settled(pending.epoch) || self.not_before.is_some_and(|at| now < at) {
                return None;
            }
            let work = Work::Commit {
                aside: aside.clone(),
                path: self.path.clone(),
            };
            pending.stage = Stage::Committing;
            self.in_flight = true;
            return Some(Step {
                generation: self.generation,
                work,
            });
        }
        if !self.dirty || self.due().is_some_and(|at| now < at) {
            return None;
        }
        Some(self.begin(now))
    }

    /// When a snapshot is due; `None` means at once.
    pub(super) fn due(&self) -> Option<Time> {
        if self.stopping {
            return self.not_before;
        }
        let mut at = self.saved_at.after(self.interval);
        if let Some(made) = self.made_at {
            at = at.min(made.after(GROUP));
        }
        let enough = HELD_BYTES.max(HELD_PER_STATE * self.last_size);
        if self.held_bytes >= enough || self.held.len() >= HELD_ACKS {
            at = at.min(self.saved_at.after(LEAST_INTERVAL));
        }
        Some(self.not_before.map_or(at, |least| at.max(least)))
    }

    /// When to ask for the next step, if nothing else happens before.
    pub fn next_due(&self) -> Option<Time> {
        if self.in_flight || !self.dirty && self.pending.is_none() {
            return None;
        }
        if self.pending.is_some() {
            return self.not_before;
        }
        self.due()
    }

    /// Ends the epoch and writes down what the state is now.
    pub(super) fn begin(&mut self, now: Time) -> Step {
        let mut state = Vec::with_capacity(self.last_size + self.last_size / 8);
        self.transform.save(&mut state);
        self.last_size = state.len();
        let meaning = self.transform.meaning();
        let image = Image::new(
            self.setup.type_name,
            meaning,
            &self.lanes,
            &self.setup.inputs,
            &self.outbox,
            state,
            now,
        );
        self.steps += 1;
        let aside = self
            .path
            .with_extension(format!("state.new-{}", self.steps));
        self.pending = Some(Pending {
            epoch: self.epoch,
            stage: Stage::Writing,
            bytes: 0,
        });
        self.epoch += 1;
        self.dirty = false;
        self.made_at = None;
        self.not_before = None;
        self.saved_at = now;
        self.held_bytes = 0;
        self.interval = (self.interval * 2).min(self.setup.interval);
        self.in_flight = true;
        let work = Work::Write {
            image: Box::new(image),
            aside,
        };
        Step {
            generation: self.generation,
            work,
        }
    }

    /// Takes the result of a step. What may leave now is in `out` afterwards.
    pub fn done(&mut self, done: Done, out: &mut Outputs) {
        self.in_flight = false;
        let now = out.now();
        if done.generation != self.generation {
            if let Ok(Outcome::Written(aside, _)) = done.result {
                // Of a state that was given up; if it stays, the next start removes it.
                let _ = std::fs::remove_file(aside);
            }
            return self.tick(out);
        }
        match done.result {
            Ok(Outcome::Written(aside, bytes)) => {
                if let Some(pending) = &mut self.pending {
                    pending.stage = Stage::Written(aside);
                    pending.bytes = bytes;
                }
            }
            Ok(Outcome::Committed) => self.release(now, out),
            Err((path, error)) => self.not_saved(&path, &error, now),
        }
        self.tick(out);
    }

    /// The pending snapshot is current: its inputs are answered, and what was made for it leaves.
    pub(super) fn release(&mut self, now: Time, out: &mut Outputs) {
        let Some(pending) = self.pending.take() else {
            return;
        };
        self.counts.snapshots += 1;
        self.counts.snapshot_bytes += pending.bytes;
        while self
            .held
            .front()
            .is_some_and(|held| held.epoch <= pending.epoch)
        {
            if let Some(held) = self.held.pop_front() {
                held.ack.delivered();
            }
        }
        self.lanes.released(now);
        let (leaving, staying) = std::mem::take(&mut self.outbox)
            .into_iter()
            .partition(|made: &Made| made.epoch <= pending.epoch);
        self.outbox = staying;
        self.send_made(leaving, out);
    }

    #[cold]
    pub(super) fn not_saved(&mut self, path: &Path, error: &std::io::Error, now: Time) {
        self.counts.failed_snapshots += 1;
        self.not_before = Some(now.after(RETRY));
        tracing::error!(
            component_id = self.setup.id, path = %path.display(), %error,
            "cannot save the state; its inputs stay unanswered and it is tried again in 5 s; free space on the disk or mend the folder"
        );
        match &mut self.pending {
            Some(Pending {
                stage: stage @ Stage::Committing,
                ..
            }) => {
                // The file is there and good; only making it current failed. `commit` may be repeated.
                *stage = Stage::Written(
                    self.path
                        .with_extension(format!("state.new-{}", self.steps)),
                );
            }
            _ => {
                // The next snapshot covers this epoch too.
                self.pending = None;
                self.dirty = true;
            }
        }
    }

    /// Events of the transform's own leave.
    pub(super) fn send_made(&mut self, made: Vec<Made>, out: &mut Outputs) {
        if made.is_empty() {
            return;
        }
        // The next snapshot is the first that need not hold them.
        self.dirty = true;
        let mut by_output: Vec<(usize, Vec<Event>)> = Vec::new();
        for Made { output, event, .. } in made {
            match by_output.iter_mut().find(|(held, _)| *held == output) {
                Some((_, events)) => events.push(event),
                None => by_output.push((output, vec![event])),
            }
        }
        for (output, events) in by_output {
            let mark = Mark {
                lane: self.own_lane,
                start: 0,
                seen_to: NO_OPINION,
                idle: false,
                over: false,
            };
            out.named
                .push((output, Batch::new(events, mark, self.book.owe(self.epoch))));
        }
    }

    /// Nothing comes in: what is held is saved soon rather than at the end of the interval.
    pub fn hurry(&mut self) {
        self.interval = self.interval.min(LEAST_INTERVAL);
    }
}
