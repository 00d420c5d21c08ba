//! How an event is made to fit where there is a longest message: what can be spared goes first, what is required never.

use pipeline::{Event, Field};

/// What is left out, each step together with those before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Trim {
    /// Nothing.
    #[default]
    Nothing,
    /// The raw line.
    Original,
    /// Values of changes; their keys stay.
    Changes,
    /// Parameters of the request.
    Params,
}

impl Trim {
    /// All steps, in their order.
    pub(crate) const STEPS: [Trim; 4] =
        [Trim::Nothing, Trim::Original, Trim::Changes, Trim::Params];
}

/// Leaves out of events what a step leaves out.
pub(crate) struct Trimmer {
    original: Field,
    changes: Field,
    params: Field,
    query: Field,
    truncated: Field,
}

impl Trimmer {
    pub(crate) fn new() -> Trimmer {
        Trimmer {
            original: Field::new("event.original"),
            changes: Field::new("pve.changes"),
            params: Field::new("pve.params"),
            query: Field::new("url.query"),
            truncated: Field::new("pve.truncated"),
        }
    }

    /// A copy of the event without what `trim` leaves out, marked `pve.truncated`.
    pub(crate) fn apply(&self, event: &Event, trim: Trim) -> Event {
        let mut event = event.clone();
        if trim >= Trim::Original {
            event.remove(self.original);
        }
        if trim >= Trim::Changes {
            event.remove(self.changes);
        }
        if trim >= Trim::Params {
            event.remove(self.params);
            event.remove(self.query);
        }
        event.set(self.truncated, true);
        event
    }
}
