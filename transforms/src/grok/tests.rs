//! Tests of the engines together.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod agree;
mod conformance;
mod explain;
mod hostile;
mod set;
mod vmware;
