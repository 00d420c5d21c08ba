//! `grok` reads fields out of a line by patterns like `%{IP:client_ip} %{WORD:method}`.

mod ast;
pub mod cast;
mod classes;
mod engine;
mod expand;
mod fancy;
mod library;
mod regex;
mod scan;
mod syntax;

pub use engine::{Counts, Engine, Grok, GrokError, Options, Outcome, Pattern, Scratch};
pub use expand::{Cast, Group};
pub use library::{Library, LibraryError, Spelling};

#[cfg(test)]
mod tests;
