//! Why a rule holds for an event, or which test failed and on what value.

use pipeline::{Event, ValueRef};

use super::path::Root;
use super::rule::Rule;
use super::selection::{Selection, Test};

/// What a rule says about one event.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// Whether it is a match: of a counting rule, whether it counts.
    pub matches: bool,
    /// Whether the calendar allows it; `None`: the rule has none.
    pub in_time: Option<bool>,
    /// Each selection, in the order of its bit; at the end what excludes, if the rule has that.
    pub selections: Vec<Explained>,
    /// The group it belongs to; `None`: it belongs to none.
    pub group: Option<String>,
}

/// One selection.
#[derive(Clone, Debug, PartialEq)]
pub struct Explained {
    /// Its name.
    pub name: String,
    /// Whether it holds.
    pub holds: bool,
    /// Whether the rule waits for it, or it takes the event out: then holding is no match.
    pub excludes: bool,
    /// Lists of tests, one of which must hold as a whole.
    pub either: Vec<Vec<Line>>,
}

/// One test.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// Key and value as written.
    pub test: String,
    /// Whether it holds.
    pub holds: bool,
    /// What the event has there, as JSON; nothing where the field is absent.
    pub found: Vec<String>,
}

/// Most values shown of one field.
const MOST: usize = 8;

impl Rule {
    /// Holds every test against an event.
    pub fn explain(&self, event: &Event) -> Explanation {
        let bits = self.holds(event);
        let excluded = self.exclude.as_ref().is_some_and(|one| one.holds(event));
        let mut selections: Vec<Explained> = self
            .selections
            .iter()
            .map(|one| explained(one, event, false))
            .collect();
        selections.extend(self.exclude.iter().map(|one| explained(one, event, true)));
        let at = event.timestamp();
        Explanation {
            matches: !excluded && self.matches(bits, at),
            in_time: self.during.is_some().then(|| self.in_time(at)),
            selections,
            group: self.group(event, bits).map(|key| key.to_string()),
        }
    }
}

fn explained(selection: &Selection, event: &Event, excludes: bool) -> Explained {
    let line = |test: &Test| {
        let mut found = Vec::new();
        let mut more = 0;
        test.path.any(Root::Event(event), &mut |value| {
            if found.len() < MOST {
                found.push(shown(value));
            } else {
                more += 1;
            }
            false
        });
        if more > 0 {
            found.push(format!("… {more} more"));
        }
        Line {
            test: test.written.to_string(),
            holds: test.holds(Root::Event(event)),
            found,
        }
    };
    let lines = |tests: &Vec<Test>| tests.iter().map(line).collect();
    Explained {
        name: selection.name.to_string(),
        holds: selection.holds(event),
        excludes,
        either: selection.either.iter().map(lines).collect(),
    }
}

fn shown(value: ValueRef<'_>) -> String {
    let text = value.to_json().to_string();
    match text.char_indices().nth(200) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
