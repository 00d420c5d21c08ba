//! What the words in `inputs` mean.

use super::assemble::{Draft, Written};
use super::de::Shared;
use super::diagnostic::Diagnostic;
use super::graph::{Graph, OutputRef};
use super::suggest;
use crate::component::{Kind, Place};

/// All outputs by name, those that can be taken.
pub(super) fn outputs(graph: &Graph) -> Vec<OutputRef> {
    let mut all = Vec::new();
    for node in graph.sources.iter().chain(&graph.transforms) {
        if node.entry.main_output {
            all.push(OutputRef {
                id: node.id.clone(),
                output: None,
            });
        }
        all.extend(node.outputs.iter().map(|name| OutputRef {
            id: node.id.clone(),
            output: Some(name.clone()),
        }));
        all.push(OutputRef {
            id: node.id.clone(),
            output: Some("errors".to_owned()),
        });
    }
    all
}

/// What the written inputs of one component mean.
pub(super) fn resolve(wanted: &Written, draft: &Draft, shared: &Shared<'_>) -> Vec<OutputRef> {
    let all = outputs(&draft.graph);
    let path = format!("{}.{}.inputs", wanted.kind.section(), wanted.id);
    if wanted.kind == Kind::Source {
        return Vec::new();
    }
    let Some(written) = &wanted.inputs else {
        let message = format!("the {} \"{}\" has no inputs", wanted.kind, wanted.id);
        shared.say(
            Diagnostic::error(wanted.place, &path, message)
                .with_help(format!("add inputs = [\"{}\"]", example(wanted, &all)))
                .guessed(),
        );
        return Vec::new();
    };
    // An empty list is told apart from one whose items were no text, which has been reported.
    if written.is_empty() && draft.graph.node(&wanted.id).is_some() {
        let message = format!(
            "the {} \"{}\" takes no events: its inputs are empty",
            wanted.kind, wanted.id
        );
        shared.say(
            Diagnostic::error(wanted.inputs_place, &path, message)
                .with_help(format!("write inputs = [\"{}\"]", example(wanted, &all))),
        );
    }
    let mut resolved: Vec<OutputRef> = Vec::new();
    for (i, (text, place)) in written.iter().enumerate() {
        let path = format!("{path}[{i}]");
        let mut found = matching(text, wanted, &all);
        if found.is_empty() && !means_broken(text, draft) {
            shared.say(nothing_called(text, *place, path, wanted, draft, &all));
        } else if let Some(twice) = found.iter().find(|o| resolved.contains(o))
            && !text.contains('*')
        {
            let message = format!("\"{twice}\" is taken twice");
            shared.say(
                Diagnostic::warning(*place, path, message)
                    .with_help("remove one of the two; each event arrives once"),
            );
        }
        found.retain(|o| !resolved.contains(o));
        resolved.extend(found);
    }
    resolved
}

fn example(wanted: &Written, all: &[OutputRef]) -> String {
    let other = all.iter().find(|o| o.id != wanted.id);
    other.map_or_else(|| "…".to_owned(), ToString::to_string)
}

fn matching(text: &str, wanted: &Written, all: &[OutputRef]) -> Vec<OutputRef> {
    if !text.contains('*') {
        return all
            .iter()
            .filter(|o| o.to_string() == text)
            .cloned()
            .collect();
    }
    // A pattern means outputs that carry events on: `.errors` only where it is named. Nobody feeds itself by one.
    let errors = text.ends_with(".errors");
    let hits = all
        .iter()
        .filter(|o| o.id != wanted.id && o.is_errors() == errors && glob(text, &o.to_string()));
    hits.cloned().collect()
}

/// Whether the name is that of a component that could not be read, so that its outputs are unknown.
fn means_broken(text: &str, draft: &Draft) -> bool {
    let id = text.split('.').next().unwrap_or_default();
    draft.written.iter().any(|w| {
        w.kind != Kind::Sink && draft.is_broken(&w.id) && (w.id == id || glob(text, &w.id))
    })
}

fn nothing_called(
    text: &str,
    place: Place,
    path: String,
    wanted: &Written,
    draft: &Draft,
    all: &[OutputRef],
) -> Diagnostic {
    let me = format!("{} \"{}\"", wanted.kind, wanted.id);
    let error = |what: String| {
        Diagnostic::error(
            place,
            path.clone(),
            format!("{me} takes \"{text}\", {what}"),
        )
    };
    let (id, output) = text
        .split_once('.')
        .map_or((text, None), |(id, output)| (id, Some(output)));
    let mut names: Vec<String> = all
        .iter()
        .filter(|o| !o.is_errors() && o.id != wanted.id)
        .map(ToString::to_string)
        .collect();
    let broken = draft
        .written
        .iter()
        .filter(|w| w.kind != Kind::Sink && draft.is_broken(&w.id));
    names.extend(broken.map(|w| w.id.clone()));
    let names = || names.iter().map(String::as_str);
    let there_are = || match names().count() {
        0 => "there is nothing to take events from yet".to_owned(),
        1 => format!("there is {}", suggest::list(names(), '"')),
        _ => format!("there are {}", suggest::list(names(), '"')),
    };
    if text.contains('*') {
        return error("which matches nothing".to_owned())
            .with_help(there_are())
            .guessed();
    }
    if let Some(sink) = draft
        .written
        .iter()
        .find(|w| w.id == id && w.kind == Kind::Sink)
    {
        return error("which is a sink: nothing comes out of it".to_owned())
            .with_also(sink.place, format!("the sink \"{id}\""))
            .with_help("take what the sink takes");
    }
    let Some(node) = draft.graph.node(id) else {
        let help = match suggest::nearest(text, names()) {
            Some(meant) => format!("did you mean \"{meant}\"?"),
            None => there_are(),
        };
        return error("which nothing is called".to_owned())
            .with_help(help)
            .guessed();
    };
    let own: Vec<String> = all
        .iter()
        .filter(|o| o.id == id)
        .map(ToString::to_string)
        .collect();
    let own = || own.iter().map(String::as_str);
    let meant = match suggest::nearest(text, own().filter(|name| *name != id)) {
        Some(meant) => format!("did you mean \"{meant}\"? "),
        None => String::new(),
    };
    let what = match output {
        Some(output) => format!("but \"{id}\" has no output \"{output}\""),
        None => format!("but \"{id}\" sends everything by its named outputs"),
    };
    error(what)
        .with_also(node.place, format!("the {} \"{id}\"", node.kind))
        .with_help(format!(
            "{meant}its outputs are {}",
            suggest::list(own(), '"')
        ))
}

/// `*` stands for any letters, dots included.
pub(super) fn glob(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else {
        return rest.is_empty();
    };
    for part in middle {
        let Some(at) = rest.find(part) else {
            return false;
        };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}
