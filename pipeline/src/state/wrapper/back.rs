//! Back to the saved state: at the start, after a failed output, and after a panic.

use super::super::book::Book;
use super::super::file::{self, Made, StateTrouble};
use super::super::lanes::Lanes;
use super::{Pending, Stage, Wrapper, build};
use crate::batch::Batch;
use crate::clock::Time;
use crate::event::{Event, EventId};
use crate::mark::Mark;
use crate::outputs::Outputs;

/// An event on which the transform panicked this often is left out.
const PANICS: u32 = 3;
/// After a panic so many batches are fed one event at a time [batches].
const CAREFUL: u32 = 256;
/// Events remembered for having caused a panic; more begin anew [events].
const MOST_SUSPECTS: usize = 10_000;

impl Wrapper {
    /// Back to the current snapshot; everything held fails, so that its sources repeat it.
    pub(super) fn roll_back(&mut self, out: &mut Outputs) {
        let committing = matches!(
            self.pending,
            Some(Pending {
                stage: Stage::Committing,
                ..
            })
        );
        if committing && self.in_flight {
            // Which of the two snapshots is the current one shows when the step is done.
            self.roll_back_due = true;
            return;
        }
        self.roll_back_due = false;
        if !self.broken {
            self.counts.rollbacks += 1;
            tracing::warn!(
                component_id = self.setup.id,
                held = self.held.len(),
                "an output failed; back to the saved state, and the inputs since then are read again"
            );
        }
        self.generation += 1;
        self.book = Book::new(&self.wake);
        if let Some(Pending {
            stage: Stage::Written(aside),
            ..
        }) = self.pending.take()
        {
            // If it stays, the next start removes it.
            let _ = std::fs::remove_file(aside);
        }
        self.held.clear();
        self.held_bytes = 0;
        self.outbox.clear();
        self.poisoned.clear();
        out.clear();
        self.dirty = false;
        self.made_at = None;
        self.applying = None;
        match build(&self.setup) {
            Ok(transform) => self.transform = transform,
            Err(trouble) => return self.break_down(&trouble),
        }
        self.broken = false;
        match self.load(out.now(), out) {
            Ok(None) => {}
            Ok(Some(trouble)) => {
                tracing::error!(component_id = self.setup.id, "{trouble}");
            }
            Err(trouble) => self.break_down(&trouble),
        }
    }

    #[cold]
    pub(super) fn break_down(&mut self, trouble: &StateTrouble) {
        if !std::mem::replace(&mut self.broken, true) {
            tracing::error!(
                component_id = self.setup.id,
                "{trouble}; nothing is taken in until that is mended"
            );
        }
    }

    /// Gives the transform, which is fresh, the current snapshot.
    pub(super) fn load(
        &mut self,
        now: Time,
        out: &mut Outputs,
    ) -> Result<Option<StateTrouble>, StateTrouble> {
        self.lanes = Lanes::default();
        let meaning = self.transform.meaning();
        let (path, type_name) = (&self.path, self.setup.type_name);
        let found =
            file::load(path, type_name, &meaning, &self.setup.inputs, now).map_err(|source| {
                StateTrouble::Io {
                    doing: "read",
                    path: path.clone(),
                    source,
                }
            })?;
        let Some(found) = found else {
            return Ok(None);
        };
        let loaded = found.and_then(|loaded| {
            self.transform
                .load(&loaded.state)
                .map_err(|error| error.to_string())?;
            Ok(loaded)
        });
        match loaded {
            Ok(loaded) => {
                self.last_size = loaded.state.len();
                self.lanes = loaded.lanes;
                let mut made = Vec::new();
                for (output, event) in loaded.outbox {
                    let Some(output) = self.transform.way_out(output, &event) else {
                        tracing::warn!(
                            component_id = self.setup.id,
                            event_id = %event.id(),
                            "an event that waited in the saved state has no output any more and is left out"
                        );
                        continue;
                    };
                    made.push(Made {
                        epoch: self.epoch,
                        output,
                        event,
                    });
                }
                self.send_made(made, out);
                Ok(None)
            }
            Err(why) => {
                self.counts.useless += 1;
                let aside = file::put_aside(path, now)?;
                // It may have read half of what it could not use.
                self.transform = build(&self.setup)?;
                self.transform.forgotten(&why, out);
                Ok(Some(StateTrouble::Useless {
                    path: path.clone(),
                    why,
                    aside,
                    type_name,
                }))
            }
        }
    }

    /// The transform panicked in [`feed`](Self::feed). Says how often it did so on the same event.
    pub fn panicked(&mut self, out: &mut Outputs) -> u32 {
        let mut times = 1;
        // Fed one by one, the next time shows which event it was.
        self.careful = CAREFUL;
        if let Some(id) = self.applying.take() {
            if self.suspects.len() >= MOST_SUSPECTS {
                self.suspects.clear();
            }
            let suspect = self.suspects.entry(id).or_insert(0);
            *suspect += 1;
            times = *suspect;
        }
        self.roll_back(out);
        times
    }

    pub(super) fn is_poison(&self, id: EventId) -> bool {
        self.suspects.get(&id).is_some_and(|times| *times >= PANICS)
    }

    #[cold]
    pub(super) fn leave_out(&mut self, event: Event, mark: &Mark) {
        self.counts.poisoned += 1;
        let ack = self.book.owe(self.epoch);
        self.poisoned
            .push(Batch::new(vec![event], mark.clone(), ack));
    }

    /// Events left out because the transform panics on them: make them durable in the dead letters, then answer.
    pub fn take_poisoned(&mut self) -> Vec<Batch> {
        std::mem::take(&mut self.poisoned)
    }
}
