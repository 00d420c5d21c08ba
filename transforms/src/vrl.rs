//! Programs and conditions in VRL, the language of Vector's `remap`: the one place that knows it.
//!
//! A program sees an event through its own [`target`]: only the paths that it reads or writes ever become values of VRL
//! ([`layout`], [`load`]), and what it changed goes back when it has ended well ([`write`]).
//!
//! Conditions that only compare fields need no interpreter ([`native`]).
//!
//! - `.` is the event, with `@timestamp` (a timestamp) and `event.id` (a text that cannot be set)
//! - an object that loses its last field is gone; an empty object that is set stays
//! - `%` is the program's own for the time of one event: empty at its beginning, forgotten at its end
//! - no function reads the environment or opens a connection; `now()` is the engine's clock

mod compile;
mod condition;
mod functions;
mod guard;
mod layout;
mod load;
mod merge;
mod native;
mod run;
mod target;
mod tree;
mod values;
mod write;

pub(crate) use compile::{Compiled, Use, Written, compile, zone};
pub(crate) use condition::{Condition, Shared, Text, condition};
pub(crate) use guard::Budget;
pub(crate) use run::{Ran, Runner};

#[cfg(test)]
mod hostile;
#[cfg(test)]
mod oracle;
#[cfg(test)]
mod tests;
