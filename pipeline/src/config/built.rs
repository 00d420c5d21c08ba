//! Builds every component once, and finds the place of whatever it has to say against its configuration.

use super::assemble::Draft;
use super::de::Shared;
use super::diagnostic::{Diagnostic, Severity};
use super::graph::Node;
use super::tree::{Node as Tree, Table, Value};
use super::words;
use crate::component::{BuildError, Place, Spot};

/// Builds every component and throws the result away, so that patterns and conditions are compiled before anything starts.
pub(super) fn build(draft: &Draft, shared: &Shared<'_>) {
    for node in draft.graph.nodes() {
        let (errors, warnings) = build_one(node, draft);
        for error in errors {
            say(error, Severity::Error, node, shared);
        }
        for warning in warnings {
            say(warning, Severity::Warning, node, shared);
        }
    }
    for node in &draft.half {
        // What it says about a value that is there holds; what it misses may be what was left out.
        let about_values = |e: &BuildError| matches!(e.spot, Spot::Value(_) | Spot::Inside(..));
        let (errors, _) = build_one(node, draft);
        for error in errors.into_iter().filter(about_values) {
            say(error, Severity::Error, node, shared);
        }
    }
}

/// What it says against its configuration: errors, and what is only doubtful.
fn build_one(node: &Node, draft: &Draft) -> (Vec<BuildError>, Vec<BuildError>) {
    let broken = &draft.graph.tables.broken;
    if node.component.tables().iter().any(|id| broken.contains(id)) {
        // The table's own mistake has been told.
        return (Vec::new(), Vec::new());
    }
    let cx = draft.graph.context(node);
    let built = node.component.build(&cx);
    (
        built.err().into_iter().flatten().collect(),
        cx.take_warnings(),
    )
}

fn say(error: BuildError, severity: Severity, node: &Node, shared: &Shared<'_>) {
    let path = format!("{}.{}", node.kind.section(), node.id);
    let (place, path) = match &error.spot {
        Spot::Component => (node.place, path),
        Spot::Key(key) => (
            place_of(&node.meaning, key).unwrap_or(node.place),
            words::join(&path, key),
        ),
        Spot::Value(place) => (*place, path_of(&node.meaning, *place, &path)),
        Spot::Inside(place, range) => (
            shared.files.inside(*place, range.clone()).unwrap_or(*place),
            path_of(&node.meaning, *place, &path),
        ),
    };
    let (message, help) = words::of_build(&error, words::last(&path));
    let place = if place.is_known() { place } else { node.place };
    shared.say(Diagnostic {
        help,
        note: error.note,
        severity,
        ..Diagnostic::error(place, path, message)
    });
}

/// Where the value of a key path (`route[0].receiver`) stands; of what is not there, the nearest table above it.
pub(super) fn place_of(table: &Table, path: &str) -> Option<Place> {
    let (key, rest) = path.split_once('.').unwrap_or((path, ""));
    let (name, index) = key.split_once('[').unwrap_or((key, ""));
    let entry = table.get(name)?;
    let mut node = &entry.node;
    let mut place = node.place;
    let index = index.trim_end_matches(']').parse::<usize>().ok();
    if let (Some(index), Value::List(items)) = (index, &node.value)
        && let Some(item) = items.get(index)
    {
        node = item;
        place = item.place;
    }
    match &node.value {
        Value::Table(inner) if !rest.is_empty() => Some(place_of(inner, rest).unwrap_or(place)),
        _ => Some(place),
    }
}

/// The key path of the value at `place`.
fn path_of(table: &Table, place: Place, path: &str) -> String {
    fn look(node: &Tree, place: Place, path: &str) -> Option<String> {
        if node.place == place {
            return Some(path.to_owned());
        }
        match &node.value {
            Value::Table(table) => walk(table, place, path),
            Value::List(items) => items
                .iter()
                .enumerate()
                .find_map(|(i, item)| look(item, place, &format!("{path}[{i}]"))),
            _ => None,
        }
    }
    fn walk(table: &Table, place: Place, path: &str) -> Option<String> {
        table
            .0
            .iter()
            .find_map(|entry| look(&entry.node, place, &words::join(path, &entry.key)))
    }
    walk(table, place, path).unwrap_or_else(|| path.to_owned())
}
