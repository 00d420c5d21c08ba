//! The scan engine: a pattern as a short program that walks an ASCII line once, going back only where it must.
//!
//! It takes the same ways as Logstash's engine, in the same order; what makes it quick is that most choices are
//! decided by the next byte (both sides of every choice know which bytes they can begin with), that a run of one set of
//! characters is one step, and that the usual names have hand-written code. A line on which it would go back too often,
//! or that is not ASCII, is handed to the next engine.

mod compile;
mod first;
mod program;
pub(super) mod recognise;
mod vm;

pub(super) use compile::compile;
pub(super) use program::Program;
pub(super) use vm::{Memory, UNSET, Verdict};
