//! From the tree of values to a component's struct, in such a way that one run finds every mistake.
//!
//! serde stops at the first error. So the reader writes it down, leaves the offending value out and reads again, until
//! nothing new turns up; unknown keys do not even stop it. What is missing is said once per table, all keys at a time.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use super::diagnostic::{Diagnostic, Files};
use super::env::Env;
use super::fault::{Inner, Problem};
use super::needs;
use super::tree::{Entry, Table, Value};
use super::values::{self, Named, Path, Step};
use super::words;
use crate::component::Place;

/// Most mistakes reported for one table: beyond that the file is not what it seems to be.
const MOST: usize = 100;

/// What all readers of one load share.
pub(crate) struct Shared<'a> {
    pub(crate) env: &'a dyn Env,
    pub(crate) files: &'a Files,
    pub(crate) found: RefCell<Vec<Diagnostic>>,
    /// What variables, files and credentials stood for, so that no message shows it.
    pub(crate) revealed: RefCell<Vec<(String, String)>>,
    /// Whether texts are taken as written, with no `${…}` in them.
    pub(crate) literal: bool,
}

impl<'a> Shared<'a> {
    pub(crate) fn new(env: &'a dyn Env, files: &'a Files) -> Self {
        Shared {
            env,
            files,
            found: RefCell::default(),
            revealed: RefCell::default(),
            literal: false,
        }
    }

    pub(crate) fn say(&self, diagnostic: Diagnostic) {
        self.found.borrow_mut().push(diagnostic);
    }
}

/// Reads one table into a struct.
pub(crate) struct Reader<'a> {
    pub(crate) shared: &'a Shared<'a>,
    pub(crate) table: &'a Table,
    /// Where the table begins, for what is missing in it.
    pub(crate) place: Place,
    /// Key path of the table.
    pub(crate) path: String,
    /// Keys that are known here but read by someone else, for did-you-mean.
    pub(crate) others: &'a [&'static str],
    /// What the table is, for messages: `type "file"`, `[admin]`.
    pub(crate) what: String,
}

impl Reader<'_> {
    /// The struct, without the values that were wrong where it can do without them; and whether none was.
    pub(crate) fn read<T: DeserializeOwned + JsonSchema>(&self) -> Option<(T, bool)> {
        let state = State {
            reader: self,
            left_out: RefCell::default(),
            failed: Cell::new(false),
        };
        let here = Path {
            parent: None,
            step: Step::Key(""),
        };
        for _ in 0..MOST {
            let root = Named {
                state: &state,
                table: self.table,
                place: self.place,
                path: &here,
            };
            let error = match T::deserialize(root) {
                Ok(value) => return Some((value, !state.failed.get())),
                Err(error) => *error.0,
            };
            state.failed.set(true);
            let entry = self.report::<T>(&state, error)?;
            if !state.left_out.borrow_mut().insert(entry) {
                return None;
            }
        }
        None
    }

    /// Writes the error down and returns the place of the value to leave out next time, if there is one.
    fn report<T: JsonSchema>(&self, state: &State<'_>, error: Inner) -> Option<Place> {
        let place = error.place.unwrap_or(self.place);
        let full = words::join(&self.path, &error.path);
        match &error.kind {
            Problem::Said => {}
            Problem::Missing(key) => {
                let at_root = place == self.place;
                let path = if at_root { "" } else { &error.path };
                self.missing::<T>(state, key, place, path, &error.left_out);
                return (!at_root).then_some(error.leave_out).flatten();
            }
            // From a table that serde buffers (a tagged enum): the key is found by its name.
            Problem::Unknown { key, known } => {
                if let Some((Value::Table(table), _)) = &error.node
                    && let Some(entry) = table.get(key)
                {
                    let (message, help) = words::unknown_key(
                        key,
                        &entry.node,
                        known,
                        &[],
                        &format!("`{}`", error.path),
                    );
                    self.shared.say(
                        Diagnostic::error(entry.key_place, words::join(&full, key), message)
                            .with_help(help),
                    );
                } else {
                    self.shared.say(Diagnostic::error(
                        place,
                        &full,
                        format!("there is no key `{key}` here"),
                    ));
                }
            }
            Problem::Type { got, expected } => {
                // From such a table the value comes without its place too: the one that reads like it is meant.
                let inner = error
                    .node
                    .as_ref()
                    .and_then(|(value, _)| values::meant(value, got));
                let (place, full, node) = match inner {
                    Some(entry) => {
                        let node = Some((entry.node.value.clone(), false));
                        (entry.node.place, words::join(&full, &entry.key), node)
                    }
                    None => (place, full, error.node),
                };
                let problem = Problem::Type {
                    got: got.clone(),
                    expected: expected.clone(),
                };
                self.wrong(&problem, node.as_ref(), place, full);
            }
            problem => self.wrong(problem, error.node.as_ref(), place, full),
        }
        error.leave_out
    }

    fn wrong(&self, problem: &Problem, node: Option<&(Value, bool)>, place: Place, path: String) {
        let (message, help) = words::say(problem, node, &path, &self.what);
        self.shared.say(Diagnostic {
            help,
            ..Diagnostic::error(place, path, message)
        });
    }

    /// Every required key that the table at `path` lacks; at least `first`, which serde asked for.
    fn missing<T: JsonSchema>(
        &self,
        state: &State<'_>,
        first: &str,
        place: Place,
        path: &str,
        left_out: &[String],
    ) {
        let full = words::join(&self.path, path);
        let table = if path.is_empty() {
            Some(self.table)
        } else {
            self.table.at(path)
        };
        let mut needs = needs::needs::<T>(path);
        if !needs.iter().any(|need| need.key == first) {
            needs.insert(0, needs::need(&serde_json::Value::Null, first));
        }
        for need in needs {
            // A key that is there but wrong has been reported as that.
            let there = table.is_some_and(|table| table.get(&need.key).is_some());
            if there || left_out.contains(&need.key) || state.misspelt(&full, &need.key) {
                continue;
            }
            let subject = match path {
                "" => self.what.clone(),
                _ => format!("`{path}`"),
            };
            let message = format!("{subject} needs `{}`{}", need.key, need.about);
            self.shared.say(
                Diagnostic::error(place, &full, message)
                    .with_help(format!("add {} = {}", need.key, need.sample))
                    .guessed(),
            );
        }
    }
}

pub(super) struct State<'a> {
    pub(super) reader: &'a Reader<'a>,
    /// Places of values that are left out, since they have been reported.
    left_out: RefCell<HashSet<Place>>,
    failed: Cell<bool>,
}

impl State<'_> {
    pub(super) fn skips(&self, place: Place) -> bool {
        self.left_out.borrow().contains(&place)
    }

    /// Whether an unknown key of the table at `path` was already taken for a misspelling of `key`.
    fn misspelt(&self, path: &str, key: &str) -> bool {
        let help = format!("did you mean `{key}`?");
        let written = format!("write {key} = ");
        self.reader.shared.found.borrow().iter().any(|d| {
            words::parent(&d.path) == path
                && d.help
                    .as_ref()
                    .is_some_and(|h| *h == help || h.starts_with(&written))
        })
    }

    pub(super) fn unknown(&self, entry: &Entry, expected: &[&str], path: &Path<'_>) {
        self.failed.set(true);
        let others = if path.parent.is_none() {
            self.reader.others
        } else {
            &[]
        };
        let full = words::join(&words::join(&self.reader.path, &path.text()), &entry.key);
        let what = if path.parent.is_none() {
            self.reader.what.clone()
        } else {
            format!("`{}`", path.text())
        };
        let (message, help) = words::unknown_key(&entry.key, &entry.node, expected, others, &what);
        self.reader
            .shared
            .say(Diagnostic::error(entry.key_place, full, message).with_help(help));
    }
}
