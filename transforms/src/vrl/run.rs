//! One worker's program: runs it on one event after the other.

use std::sync::Arc;

use pipeline::{Event, EventId, Time};
use vrl::compiler::runtime::{Runtime, Terminate};
use vrl::compiler::{Program, TimeZone};
use vrl::value::Value as Vrl;

use super::compile::Compiled;
use super::guard::{Budget, Control};
use super::target::{Seen, View};

/// Most events made out of one.
const MOST_PARTS: usize = 10_000;

/// A program with everything it needs to run.
pub(crate) struct Runner {
    compiled: Arc<Compiled>,
    /// A copy of its own, because functions keep what they need between calls in it.
    program: Program,
    runtime: Runtime,
    view: View,
    zone: TimeZone,
    budget: Budget,
}

/// What became of an event.
pub(crate) enum Ran {
    /// It is what the program made of it.
    Done,
    /// The program made several out of it, or none.
    Split(Vec<Event>),
    /// The program said `abort`; the event is as it was.
    Aborted(String),
    /// The program could not end; the event is as it was.
    Failed(String),
}

impl Runner {
    pub(crate) fn new(compiled: &Arc<Compiled>, zone: TimeZone, budget: Budget) -> Runner {
        Runner {
            program: compiled.program.clone(),
            runtime: Runtime::default(),
            view: View::new(&compiled.layout),
            compiled: Arc::clone(compiled),
            zone,
            budget,
        }
    }

    /// Runs it on an event and changes that, or not at all.
    pub(crate) fn run(&mut self, event: &mut Event, now: Time) -> Ran {
        match self.resolve(event, now) {
            Ok(_) => {}
            Err(Stopped::Aborted(why)) => return Ran::Aborted(why),
            Err(Stopped::Failed(why)) => return Ran::Failed(why),
        }
        let layout = &self.compiled.layout;
        if let Some(list) = self.view.take_list(layout) {
            return match self.split(event, list) {
                Ok(events) => Ran::Split(events),
                Err(why) => Ran::Failed(why),
            };
        }
        match self.view.write(layout, event) {
            Ok(()) => Ran::Done,
            Err(why) => Ran::Failed(why),
        }
    }

    /// Whether the condition holds.
    pub(crate) fn holds(&mut self, event: &Event, now: Time) -> Result<bool, String> {
        if let Some(test) = &self.compiled.native
            && let Some(holds) = self.view.ask(&self.compiled.layout, event, test)
        {
            return Ok(holds);
        }
        match self.resolve(event, now) {
            Ok(Vrl::Boolean(holds)) => Ok(holds),
            Ok(other) => Err(format!(
                "the condition is neither true nor false, but a value of kind {}",
                other.kind_str()
            )),
            Err(Stopped::Aborted(why) | Stopped::Failed(why)) => Err(why),
        }
    }

    /// Lets go of what the last events held.
    pub(crate) fn let_go(&mut self) {
        self.view.let_go();
        self.runtime.clear();
    }

    fn resolve(&mut self, event: &Event, now: Time) -> Result<Vrl, Stopped> {
        let layout = &self.compiled.layout;
        if !self.runtime.is_empty() {
            self.runtime.clear();
        }
        self.view.begin(layout, event, now);
        let mut seen = Seen {
            view: &mut self.view,
            layout,
            event,
            begun: std::cell::Cell::new(false),
        };
        let result = if self.compiled.loops {
            let mut control = Control::new(self.budget);
            let result = self.runtime.resolve_with_control(
                &mut seen,
                &self.program,
                &self.zone,
                &mut control,
            );
            match result {
                Err(Terminate::Interrupted) => return Err(Stopped::Failed(control.why())),
                other => other,
            }
        } else {
            self.runtime.resolve(&mut seen, &self.program, &self.zone)
        };
        result.map_err(|stopped| match stopped {
            Terminate::Abort(why) => Stopped::Aborted(why.to_string()),
            other => Stopped::Failed(self.compiled.in_lines(&other.to_string())),
        })
    }

    /// One event for each value. Their ids follow from the id of the one they were made of, and from their place.
    fn split(&mut self, event: &Event, list: Vec<Vrl>) -> Result<Vec<Event>, String> {
        if list.len() > MOST_PARTS {
            return Err(format!(
                "the program makes {} events out of one; at most {MOST_PARTS} are made",
                list.len()
            ));
        }
        let parent = event.id().to_string();
        let one = |(place, value): (usize, Vrl)| {
            let mut made = Event::new(part_id(&parent, place), event.timestamp());
            if let Some(buffer) = event.buffer() {
                made.set_buffer(buffer.clone());
            }
            self.view.write_whole(&mut made, value)?;
            Ok(made)
        };
        list.into_iter().enumerate().map(one).collect()
    }
}

/// The id of the event that was made as number `place` out of another.
fn part_id(parent: &str, place: usize) -> EventId {
    EventId::of_parts(&[
        b"pve-audit/1",
        b"part",
        parent.as_bytes(),
        place.to_string().as_bytes(),
    ])
}

enum Stopped {
    Aborted(String),
    Failed(String),
}
