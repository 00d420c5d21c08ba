//! Components: what they do while they run, how they are configured, and the list of those this program knows.
//!
//! A component's file implements one of [`SourceConfig`], [`TransformConfig`], [`StatefulConfig`], [`SinkConfig`] for its
//! `Config` struct and is named once in its crate's `register`. Nothing else of the program knows it by name.

mod context;
mod errors;
mod options;
mod registry;
pub mod run;
mod spanned;
mod traits;

pub use context::Context;
pub use errors::{BuildError, BuildErrors, Spot};
pub use options::{Codec, Compression, Encoding};
pub use registry::{AnyConfig, Component, Entry, Registry};
pub use run::{
    Fate, Key, Reason, ReasonKind, Sink, Source, SourceError, StateError, Stateful, Transform,
    WriteError, Written,
};
pub(crate) use spanned::{LITERAL, SPANNED, say_place};
pub use spanned::{Place, Spanned, TextOr};
pub use traits::{
    BatchDefaults, Kind, SinkConfig, SourceConfig, StatefulConfig, TransformConfig, Workers,
};
