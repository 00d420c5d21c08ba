//! From files to a graph of components, or to everything that is wrong with them.
//!
//! The way: parse each file with its syntax errors ([`tree`]) → merge ([`load`]) → read each table into its struct, all
//! mistakes at once ([`de`], [`words`]) → look at the graph as a whole ([`check`]) → build every component and throw the
//! result away, so that patterns and conditions are compiled before anything starts.

mod assemble;
mod built;
mod check;
pub(crate) mod de;
mod diagnostic;
mod diff;
pub mod document;
mod engine;
mod env;
mod fault;
mod graph;
mod inputs;
mod interpolate;
mod load;
mod manual;
mod needs;
mod options;
mod render;
mod schema;
mod suggest;
mod tables;
mod tree;
mod values;
mod words;

pub use diagnostic::{Diagnostic, Diagnostics, Files, Severity};
pub use diff::Changes;
pub use env::{Env, FakeEnv, SystemEnv};
pub use graph::{Graph, Node, OutputRef};
pub use load::{load, parse_component};
pub use manual::{manual, options};
pub use options::{
    Admin, Batch, Buffer, BufferKind, DATA_DIR, EngineOptions, Globals, Language, Log, LogFormat,
    OnFailure, Redaction, Request, TestCase, TestInput, TestOutput,
};
pub use schema::schema;
pub use suggest::nearest;
pub(crate) use tables::parse_table;

#[cfg(test)]
mod tests;
