//! The scan engine: a pattern as a short program that walks a line once, going back only where it must.
//!
//! It takes the same ways as Logstash's engine, in the same order; what makes it quick is that most choices are
//! decided by the next byte (both sides of every choice know which bytes they can begin with), that a run of one set of
//! characters is one step, and that the usual names have hand-written code. A line on which it would go back too often is
//! handed to the next engine, and so is one with characters beyond ASCII where the pattern tells these apart.

mod compile;
mod first;
mod place;
mod program;
pub(super) mod recognise;
mod runs;
mod vm;

pub(super) use compile::compile;
pub(super) use program::Program;
pub(super) use vm::{Memory, UNSET, Verdict};
