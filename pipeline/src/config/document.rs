//! TOML files that are no configuration of the graph (rules, lists) and are read with the same care: every mistake in one
//! run, each with its place, its key path and its remedy, and in the same form.

use std::ops::Range;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use super::de::{Reader, Shared};
use super::diagnostic::{Diagnostic, Diagnostics, Files, Severity};
use super::env::SystemEnv;
use super::tree;
pub use super::tree::{Entry, Node, Table, Value};
use crate::component::Place;

/// Files being read, and what was found wrong with them so far.
#[derive(Debug, Default)]
pub struct Documents {
    files: Files,
    found: Vec<Diagnostic>,
}

impl Documents {
    /// Parses one file. Its syntax errors are noted; what could be read comes back all the same.
    pub fn add(&mut self, name: impl Into<String>, text: impl Into<String>) -> (Place, Table) {
        let file = self.files.add(name.into(), text.into());
        let table = tree::parse(&self.files, file, &mut self.found);
        (Place::start_of(file), table)
    }

    /// Reads a table into its struct: every unknown key, wrong type and missing key is noted. Texts are taken as written.
    /// Comes back with what could be read, and with whether nothing was wrong.
    pub fn read<T: DeserializeOwned + JsonSchema>(
        &mut self,
        table: &Table,
        place: Place,
        path: &str,
        what: &str,
    ) -> Option<(T, bool)> {
        let mut shared = Shared::new(&SystemEnv, &self.files);
        shared.literal = true;
        let reader = Reader {
            shared: &shared,
            table,
            place,
            path: path.to_owned(),
            others: &[],
            what: what.to_owned(),
        };
        let read = reader.read();
        let found = shared.found.into_inner();
        self.found.extend(found);
        read
    }

    /// Notes a mistake.
    pub fn say(&mut self, diagnostic: Diagnostic) {
        self.found.push(diagnostic);
    }

    /// The place of some bytes of a parsed string, or of the whole string where its quotes do not allow to tell.
    pub fn inside(&self, string: Place, range: Range<usize>) -> Place {
        self.files.inside(string, range).unwrap_or(string)
    }

    /// `site.toml:41:11`.
    pub fn describe(&self, place: Place) -> String {
        self.files.describe(place)
    }

    /// How many errors were noted so far: what grew while something was read had a mistake in it.
    pub fn errors(&self) -> usize {
        let error = |found: &&Diagnostic| found.severity == Severity::Error;
        self.found.iter().filter(error).count()
    }

    /// All that was noted, in the order of the files.
    pub fn finish(self) -> Diagnostics {
        Diagnostics::new(Arc::new(self.files), self.found)
    }
}
