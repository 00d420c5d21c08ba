//! The program's own events, codes `PVE-90nn`: what a component or the engine has to say that an auditor must see.
//!
//! Telling never waits and never fails. What is told lies in a ring until an `internal` source takes it; without such a
//! source the ring keeps the latest [`UNHEARD`] and every telling is only counted (`own_events_total`). A source that is
//! held up longer than the ring lasts learns how many it missed.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::clock::{Clock, Time};
use crate::event::{Field, Value};

/// Kept while nobody listens [events].
const UNHEARD: usize = 256;
/// Kept for listeners that are held up [events].
const HEARD: usize = 16 * 1024;
/// A text is cut at this length [bytes].
const LONGEST: usize = 1024;

/// `event.outcome`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Outcome {
    /// It went well.
    #[default]
    Success,
    /// It did not.
    Failure,
    /// Nobody knows.
    Unknown,
}

impl Outcome {
    /// As ECS spells it.
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Success => "success",
            Outcome::Failure => "failure",
            Outcome::Unknown => "unknown",
        }
    }
}

/// One event of the program's own.
#[derive(Clone, Debug)]
pub struct Told {
    /// Its row in the catalogue, like `PVE-9014`.
    pub code: &'static str,
    /// When it was told.
    pub at: Time,
    /// How it ended.
    pub outcome: Outcome,
    /// One sentence for a person.
    pub message: String,
    /// `event.reason`.
    pub reason: Option<String>,
    /// `pve.object.type` and `pve.object.id`; by default the component that tells it.
    pub object: Option<(&'static str, String)>,
    /// Further fields.
    pub fields: Vec<(Field, Value)>,
}

impl Told {
    /// An event that went well, about the component that tells it. `code` is a row of the catalogue.
    #[must_use]
    pub fn new(code: &'static str, message: impl Into<String>) -> Told {
        Told {
            code,
            at: Time(0),
            outcome: Outcome::Success,
            message: cut(message.into()),
            reason: None,
            object: None,
            fields: Vec::new(),
        }
    }

    /// How it ended.
    #[must_use]
    pub fn outcome(mut self, outcome: Outcome) -> Told {
        self.outcome = outcome;
        self
    }

    /// It did not go well, and why.
    #[must_use]
    pub fn failed(mut self, reason: impl Into<String>) -> Told {
        self.outcome = Outcome::Failure;
        self.reason = Some(cut(reason.into()));
        self
    }

    /// What it is about, where that is not the component itself.
    #[must_use]
    pub fn object(mut self, kind: &'static str, id: impl Into<String>) -> Told {
        self.object = Some((kind, cut(id.into())));
        self
    }

    /// One field more.
    #[must_use]
    pub fn field(mut self, field: Field, value: impl Into<Value>) -> Told {
        self.fields.push((field, value.into()));
        self
    }
}

fn cut(mut text: String) -> String {
    if text.len() > LONGEST {
        text.truncate(text.floor_char_boundary(LONGEST));
        text.push('…');
    }
    text
}

/// Where the program's own events wait for whoever takes them.
#[derive(Debug)]
pub struct OwnEvents {
    /// Tells this run of the program from every other.
    run: u64,
    ring: Mutex<Ring>,
    more: Notify,
}

#[derive(Debug)]
struct Ring {
    clock: Clock,
    told: VecDeque<Arc<Told>>,
    /// The number of the first in `told`.
    first: u64,
    listeners: usize,
}

/// What a listener gets: the events from its place on, and how many of them are gone for good.
#[derive(Debug)]
pub struct Heard {
    /// The number of the first of `told`.
    pub first: u64,
    /// What was told.
    pub told: Vec<Arc<Told>>,
    /// Events between the place asked for and `first` that are kept no longer.
    pub missed: u64,
}

impl Default for OwnEvents {
    fn default() -> Self {
        OwnEvents {
            run: fastrand::u64(..),
            ring: Mutex::new(Ring {
                clock: Clock::system(),
                told: VecDeque::new(),
                first: 0,
                listeners: 0,
            }),
            more: Notify::new(),
        }
    }
}

impl OwnEvents {
    /// A number that tells this run of the program from others.
    pub fn run(&self) -> u64 {
        self.run
    }

    /// Times are taken from this clock from now on.
    pub(crate) fn set_clock(&self, clock: Clock) {
        self.ring.lock().clock = clock;
    }

    /// Tells one; `by` is the kind and id of the component it is about if it does not say so itself.
    pub(crate) fn tell(&self, mut told: Told, by: Option<(&'static str, Cow<'_, str>)>) {
        if told.object.is_none() {
            told.object = by.map(|(kind, id)| (kind, id.into_owned()));
        }
        let mut ring = self.ring.lock();
        told.at = ring.clock.now();
        ring.told.push_back(Arc::new(told));
        let most = if ring.listeners > 0 { HEARD } else { UNHEARD };
        while ring.told.len() > most {
            ring.told.pop_front();
            ring.first += 1;
        }
        drop(ring);
        self.more.notify_waiters();
    }

    /// From now on more is kept, until what this gives is dropped.
    pub fn listen(self: &Arc<Self>) -> Listening {
        self.ring.lock().listeners += 1;
        Listening(Arc::clone(self))
    }
}

/// Somebody listens.
#[derive(Debug)]
pub struct Listening(Arc<OwnEvents>);

impl Listening {
    /// At most `most` events, from number `next` on.
    pub fn since(&self, next: u64, most: usize) -> Heard {
        let ring = self.0.ring.lock();
        let first = next.max(ring.first);
        let skip = usize::try_from(first - ring.first).unwrap_or(usize::MAX);
        Heard {
            first,
            told: ring.told.iter().skip(skip).take(most).cloned().collect(),
            missed: first - next,
        }
    }

    /// Waits until something is told that has number `next` or more.
    pub async fn more(&self, next: u64) {
        loop {
            let told = self.0.more.notified();
            {
                let ring = self.0.ring.lock();
                if ring.first + ring.told.len() as u64 > next {
                    return;
                }
            }
            told.await;
        }
    }

    /// A number that tells this run of the program from others.
    pub fn run(&self) -> u64 {
        self.0.run
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.0.ring.lock().listeners -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_hears_what_was_told_before_it_came_and_how_much_is_gone() {
        let own = Arc::new(OwnEvents::default());
        own.set_clock(Clock::manual(Time::from_secs(7)));
        for n in 0..UNHEARD + 3 {
            own.tell(
                Told::new("PVE-9011", n.to_string()),
                Some(("source", "a".into())),
            );
        }
        let listening = own.listen();
        let heard = listening.since(0, 2);
        assert_eq!((heard.first, heard.missed, heard.told.len()), (3, 3, 2));
        assert_eq!(heard.told[0].message, "3");
        assert_eq!(heard.told[0].at, Time::from_secs(7));
        assert_eq!(heard.told[0].object, Some(("source", "a".to_owned())));
        for n in 0..10 {
            own.tell(Told::new("PVE-9011", n.to_string()), None);
        }
        let heard = listening.since(5, usize::MAX);
        assert_eq!((heard.missed, heard.told.len()), (0, UNHEARD + 3 + 10 - 5));
    }

    #[tokio::test]
    async fn waiting_ends_with_the_next_one() {
        let own = Arc::new(OwnEvents::default());
        let listening = own.listen();
        let wait = listening.more(0);
        let tell = async { own.tell(Told::new("PVE-9001", "x".repeat(5000)), None) };
        futures::join!(wait, tell);
        let heard = listening.since(0, 10);
        assert_eq!(heard.told.len(), 1);
        assert!(heard.told[0].message.len() < 1100);
        listening.more(0).await;
    }
}
