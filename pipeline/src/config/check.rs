//! The graph as a whole: who takes what from whom, and what makes no sense together.

use std::collections::BTreeSet;

use super::de::Shared;
use super::diagnostic::Diagnostic;
use super::graph::{Graph, Node, OutputRef};
use super::load::{Draft, WrittenInputs};
use super::options::{BufferKind, EngineKeys, OnFailure, Redaction};
use super::suggest;
use super::tree::Table;
use super::words;
use crate::component::{Kind, Place, Spot};

/// What of the engine's options this version does not have yet, or what contradicts itself.
pub(super) fn engine(keys: &EngineKeys, path: &str, shared: &Shared<'_>) {
    let say = |d: Diagnostic| shared.say(d);
    if let Some(buffer) = &keys.buffer
        && buffer.get().kind == BufferKind::Disk
    {
        say(Diagnostic::error(buffer.place(), format!("{path}.buffer"), "the disk queue comes with a later version")
            .with_help("remove buffer: nothing is lost without it, since a source's position waits for the sink's answer"));
    }
    if let Some(on_failure) = &keys.on_failure
        && *on_failure.get() != OnFailure::Warn
    {
        let word = if *on_failure.get() == OnFailure::Hold {
            "hold"
        } else {
            "exec"
        };
        say(Diagnostic::error(
            on_failure.place(),
            format!("{path}.on_failure"),
            format!("on_failure = \"{word}\" comes with a later version"),
        )
        .with_help("remove it, or write on_failure = \"warn\""));
    }
    if let Some(size) = &keys.batch.max_size
        && size.get().get() == 0
    {
        say(Diagnostic::error(
            size.place(),
            format!("{path}.batch.max_size"),
            "a batch of no bytes can hold no event",
        )
        .with_help("write max_size = \"1MiB\""));
    }
    if let Some(request) = &keys.request
        && request.get().retry_initial_backoff > request.get().retry_max_backoff
    {
        let (first, most) = (
            request.get().retry_initial_backoff,
            request.get().retry_max_backoff,
        );
        say(Diagnostic::error(
            request.place(),
            format!("{path}.request"),
            format!(
                "the first wait before a repetition ({first}) is longer than the longest ({most})"
            ),
        )
        .with_help(format!("write retry_max_backoff = \"{first}\" or more")));
    }
    if let Some(request) = &keys.request
        && request.get().timeout.is_zero()
    {
        say(Diagnostic::error(
            request.place(),
            format!("{path}.request.timeout"),
            "a wait of no time ends before any answer",
        )
        .with_help("write timeout = \"60s\""));
    }
}

/// The list of secret keys can be made longer, not shorter.
pub(super) fn redaction(redaction: &Redaction, root: &Table, shared: &Shared<'_>) {
    if redaction.allow_unsafe {
        let place = root
            .get("redaction")
            .map_or(Place::NONE, |entry| entry.key_place);
        shared.say(
            Diagnostic::warning(
                place,
                "redaction.allow_unsafe",
                "nothing can be taken off the built-in list in this version",
            )
            .with_help("remove allow_unsafe"),
        );
    }
}

/// Resolves inputs and looks at the graph as a whole.
pub(super) fn graph(draft: &mut Draft, shared: &Shared<'_>) {
    let broken: Vec<String> = draft.broken.iter().map(|(_, id)| id.clone()).collect();
    let mut taken = BTreeSet::new();
    let inputs = std::mem::take(&mut draft.inputs);
    for wanted in &inputs {
        let resolved = resolve(wanted, &draft.graph, &broken, shared);
        taken.extend(resolved.iter().cloned());
        let nodes = draft
            .graph
            .transforms
            .iter_mut()
            .chain(&mut draft.graph.sinks);
        if let Some(node) = nodes.into_iter().find(|node| node.id == wanted.id) {
            node.inputs = resolved;
        }
    }
    let any = |kind: Kind| {
        draft.graph.nodes().any(|n| n.kind == kind) || draft.broken.iter().any(|(k, _)| *k == kind)
    };
    for (kind, what, help) in [
        (
            Kind::Source,
            "nothing comes in: there is no source",
            "add [sources.NAME] with type = \"…\"",
        ),
        (
            Kind::Sink,
            "nothing goes out: there is no sink",
            "add [sinks.NAME] with type = \"…\" and inputs = [\"…\"]",
        ),
    ] {
        if !any(kind) {
            shared.say(
                Diagnostic::error(
                    Place {
                        file: 0,
                        start: 0,
                        end: 0,
                    },
                    kind.section(),
                    what,
                )
                .with_help(help),
            );
        }
    }
    let cyclic = cycles(&draft.graph, &inputs, shared);
    untaken(&draft.graph, &taken, &inputs, &broken, shared);
    if !cyclic {
        order(&mut draft.graph.transforms);
        slow_neighbours(&draft.graph, shared);
    }
    tests(&draft.graph, &broken, shared);
}

/// All outputs by name, those that can be taken.
fn outputs(graph: &Graph) -> Vec<OutputRef> {
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
fn resolve(
    wanted: &WrittenInputs,
    graph: &Graph,
    broken: &[String],
    shared: &Shared<'_>,
) -> Vec<OutputRef> {
    let path = format!("{}.{}.inputs", wanted.kind.section(), wanted.id);
    if wanted.written.is_empty() {
        let example = outputs(graph)
            .into_iter()
            .find(|o| o.id != wanted.id)
            .map_or("…".to_owned(), |o| o.to_string());
        shared.say(
            Diagnostic::error(
                wanted.place,
                &path,
                format!(
                    "the {} \"{}\" takes no events: it has no inputs",
                    wanted.kind, wanted.id
                ),
            )
            .with_help(format!("add inputs = [\"{example}\"]")),
        );
        return Vec::new();
    }
    let all = outputs(graph);
    let mut resolved: Vec<OutputRef> = Vec::new();
    for (i, (text, place)) in wanted.written.iter().enumerate() {
        let path = format!("{path}[{i}]");
        let mut found: Vec<OutputRef> = if text.contains('*') {
            // A pattern means outputs that carry events on: `.errors` only where it is named. Nobody feeds itself by one.
            let errors = text.ends_with(".errors");
            let hits = all.iter().filter(|o| {
                o.id != wanted.id && o.is_errors() == errors && glob(text, &o.to_string())
            });
            hits.cloned().collect()
        } else {
            all.iter()
                .filter(|o| o.to_string() == *text)
                .cloned()
                .collect()
        };
        let id = text.split('.').next().unwrap_or_default();
        if found.is_empty()
            && !broken
                .iter()
                .any(|b| b == id || (text.contains('*') && glob(id, b)))
        {
            shared.say(nothing_called(text, *place, path, wanted, graph, &all));
        }
        if let Some(twice) = found.iter().find(|o| resolved.contains(o))
            && !text.contains('*')
        {
            shared.say(
                Diagnostic::warning(
                    *place,
                    format!("{}.{}.inputs[{i}]", wanted.kind.section(), wanted.id),
                    format!("\"{twice}\" is taken twice"),
                )
                .with_help("remove one of the two; each event arrives once"),
            );
        }
        found.retain(|o| !resolved.contains(o));
        resolved.extend(found);
    }
    resolved
}

fn nothing_called(
    text: &str,
    place: Place,
    path: String,
    wanted: &WrittenInputs,
    graph: &Graph,
    all: &[OutputRef],
) -> Diagnostic {
    let me = format!("{} \"{}\"", wanted.kind, wanted.id);
    let (id, output) = text
        .split_once('.')
        .map_or((text, None), |(id, output)| (id, Some(output)));
    let names: Vec<String> = all
        .iter()
        .filter(|o| !o.is_errors() && o.id != wanted.id)
        .map(ToString::to_string)
        .collect();
    if text.contains('*') {
        let help = format!(
            "there are {}",
            suggest::list(names.iter().map(String::as_str), '"')
        );
        return Diagnostic::error(
            place,
            path,
            format!("{me} takes \"{text}\", which matches nothing"),
        )
        .with_help(help);
    }
    match graph.node(id) {
        Some(node) if node.kind == Kind::Sink => Diagnostic::error(
            place,
            path,
            format!("{me} takes \"{text}\", which is a sink: nothing comes out of it"),
        )
        .with_also(node.place, format!("the sink \"{id}\""))
        .with_help("take what the sink takes"),
        Some(node) => {
            let own: Vec<String> = all
                .iter()
                .filter(|o| o.id == id)
                .map(ToString::to_string)
                .collect();
            let nearest = suggest::nearest(text, own.iter().map(String::as_str));
            let meant = nearest
                .map(|m| format!("did you mean \"{m}\"? "))
                .unwrap_or_default();
            let has = suggest::list(own.iter().map(String::as_str), '"');
            let what = match output {
                Some(output) => format!("but \"{id}\" has no output \"{output}\""),
                None => format!("but \"{id}\" sends everything by its named outputs"),
            };
            Diagnostic::error(place, path, format!("{me} takes \"{text}\", {what}"))
                .with_also(node.place, format!("the {} \"{id}\"", node.kind))
                .with_help(format!("{meant}its outputs are {has}"))
        }
        None => {
            let help = match suggest::nearest(text, names.iter().map(String::as_str)) {
                Some(meant) => format!("did you mean \"{meant}\"?"),
                None if names.is_empty() => "there is nothing to take events from yet".to_owned(),
                None => format!(
                    "there are {}",
                    suggest::list(names.iter().map(String::as_str), '"')
                ),
            };
            Diagnostic::error(
                place,
                path,
                format!("{me} takes \"{text}\", which nothing is called"),
            )
            .with_help(help)
        }
    }
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

/// Says each cycle once, with its whole path. Whether there was one.
fn cycles(graph: &Graph, inputs: &[WrittenInputs], shared: &Shared<'_>) -> bool {
    #[derive(Clone, Copy, PartialEq)]
    enum Seen {
        No,
        Open,
        Done,
    }
    struct Walk<'a> {
        nodes: &'a [Node],
        seen: Vec<Seen>,
        way: Vec<usize>,
        found: Vec<Vec<usize>>,
    }
    impl Walk<'_> {
        fn go(&mut self, at: usize) {
            self.seen[at] = Seen::Open;
            self.way.push(at);
            for input in &self.nodes[at].inputs {
                let Some(next) = self.nodes.iter().position(|n| n.id == input.id) else {
                    continue;
                };
                match self.seen[next] {
                    Seen::No => self.go(next),
                    Seen::Open => {
                        let start = self.way.iter().position(|n| *n == next).unwrap_or(0);
                        self.found.push(self.way[start..].to_vec());
                    }
                    Seen::Done => {}
                }
            }
            self.way.pop();
            self.seen[at] = Seen::Done;
        }
    }
    let nodes = &graph.transforms;
    let mut walk = Walk {
        nodes,
        seen: vec![Seen::No; nodes.len()],
        way: Vec::new(),
        found: Vec::new(),
    };
    for at in 0..nodes.len() {
        if walk.seen[at] == Seen::No {
            walk.go(at);
        }
    }
    for circle in &walk.found {
        // The walk went against the stream; people read with it.
        let mut ids: Vec<&str> = circle.iter().rev().map(|n| nodes[*n].id.as_str()).collect();
        let smallest = ids
            .iter()
            .enumerate()
            .min_by_key(|(_, id)| **id)
            .map_or(0, |(n, _)| n);
        ids.rotate_left(smallest);
        let first = ids[0];
        ids.push(first);
        let written = inputs.iter().find(|i| i.id == first);
        let place = written.map_or(Place::NONE, |w| w.place);
        let message = if ids.len() == 2 {
            format!("\"{first}\" takes its own events")
        } else {
            format!("events would go round in a circle: {}", ids.join(" → "))
        };
        let giver = ids[ids.len() - 2];
        shared.say(
            Diagnostic::error(place, format!("transforms.{first}.inputs"), message)
                .with_help(format!("take \"{giver}\" out of the inputs of \"{first}\", or out of another on the way")),
        );
    }
    !walk.found.is_empty()
}

/// Outputs that nobody takes.
fn untaken(
    graph: &Graph,
    taken: &BTreeSet<OutputRef>,
    inputs: &[WrittenInputs],
    broken: &[String],
    shared: &Shared<'_>,
) {
    // An input that meant nothing probably meant one of these: its own error is enough.
    let dangling: Vec<&str> = inputs
        .iter()
        .flat_map(|w| &w.written)
        .map(|(text, _)| text.as_str())
        .filter(|text| !outputs(graph).iter().any(|o| o.to_string() == **text))
        .collect();
    for output in outputs(graph) {
        if taken.contains(&output) || output.is_errors() {
            continue;
        }
        let name = output.to_string();
        let meant = dangling
            .iter()
            .any(|text| suggest::nearest(text, [name.as_str()]).is_some() || glob(text, &name));
        let Some(node) = graph.node(&output.id) else {
            continue;
        };
        if meant || broken.contains(&output.id) {
            continue;
        }
        let path = format!("{}.{}", node.kind.section(), node.id);
        let diagnostic = match (&output.output, node.kind) {
            (Some(_), _) => {
                let message =
                    format!("nobody takes \"{name}\": its events are left out and counted");
                Diagnostic::warning(node.place, path, message).with_help(format!(
                    "add \"{name}\" to the inputs of a transform or a sink"
                ))
            }
            (None, Kind::Source) => Diagnostic::error(
                node.place,
                path,
                format!("nobody takes the events of the source \"{name}\""),
            )
            .with_help(format!(
                "add \"{name}\" to the inputs of a transform or a sink, or remove the source"
            )),
            // Who takes only a named output (`watch.alerts`) means it: the unnamed one passes the rest along.
            (None, _) if taken.iter().any(|t| t.id == output.id && !t.is_errors()) => continue,
            (None, _) => Diagnostic::error(
                node.place,
                path,
                format!("nobody takes what comes out of \"{name}\""),
            )
            .with_help(format!(
                "add \"{name}\" to the inputs of a transform or a sink, or remove the transform"
            )),
        };
        shared.say(diagnostic);
    }
}

/// Transforms in the order in which events pass them; the graph has no circle.
fn order(transforms: &mut Vec<Node>) {
    let mut waiting = std::mem::take(transforms);
    while !waiting.is_empty() {
        let ready = waiting.iter().position(|node| {
            !node
                .inputs
                .iter()
                .any(|i| waiting.iter().any(|other| other.id == i.id))
        });
        transforms.push(waiting.remove(ready.unwrap_or(0)));
    }
}

/// One source before two network sinks without a queue: the slower one slows the faster one down.
fn slow_neighbours(graph: &Graph, shared: &Shared<'_>) {
    for source in &graph.sources {
        let mut reached = BTreeSet::from([source.id.as_str()]);
        for transform in &graph.transforms {
            if transform
                .inputs
                .iter()
                .any(|i| reached.contains(i.id.as_str()))
            {
                reached.insert(&transform.id);
            }
        }
        let fed = graph.sinks.iter().filter(|sink| {
            let queue = sink.engine.buffer.kind == BufferKind::Disk;
            sink.network && !queue && sink.inputs.iter().any(|i| reached.contains(i.id.as_str()))
        });
        let fed: Vec<&str> = fed.map(|sink| sink.id.as_str()).collect();
        if fed.len() > 1 {
            let sinks = suggest::list(fed.iter().copied(), '"');
            shared.say(
                Diagnostic::warning(
                    source.place,
                    format!("sources.{}", source.id),
                    format!("the source \"{}\" feeds {sinks} over the network, and none has a queue: the slowest sets the pace of all", source.id),
                )
                .with_help("nothing is lost by it; a disk queue, which comes with a later version, takes the wait away"),
            );
        }
    }
}

/// The places that the configuration's own tests name.
fn tests(graph: &Graph, broken: &[String], shared: &Shared<'_>) {
    let all: Vec<String> = outputs(graph).iter().map(ToString::to_string).collect();
    let ids: Vec<&str> = graph.nodes().map(|n| n.id.as_str()).collect();
    let known_broken = |text: &str| {
        broken
            .iter()
            .any(|b| Some(b.as_str()) == text.split('.').next())
    };
    for (n, test) in graph.tests.iter().enumerate() {
        let wrong = |text: &str, place: Place, key: &str, names: &mut dyn Iterator<Item = &str>| {
            let help = suggest::nearest(text, names).map_or_else(
                || "name a component of this configuration".to_owned(),
                |m| format!("did you mean \"{m}\"?"),
            );
            let message = format!(
                "the test {:?} names \"{text}\", which nothing is called",
                test.name
            );
            shared.say(
                Diagnostic::error(place, format!("tests[{n}].{key}"), message).with_help(help),
            );
        };
        for (i, input) in test.inputs.iter().enumerate() {
            if !ids.contains(&input.insert_at.as_str()) && !known_broken(&input.insert_at) {
                wrong(
                    &input.insert_at,
                    input.insert_at.place(),
                    &format!("inputs[{i}].insert_at"),
                    &mut ids.iter().copied(),
                );
            }
            if input.line.is_some() == input.fields.is_some() {
                let message = format!(
                    "an input of the test {:?} needs either `line` or `fields`",
                    test.name
                );
                shared.say(
                    Diagnostic::error(
                        input.insert_at.place(),
                        format!("tests[{n}].inputs[{i}]"),
                        message,
                    )
                    .with_help(
                        "write line = \"a raw line\", or fields = { \"event.code\" = \"…\" }",
                    ),
                );
            }
        }
        let outputs = test
            .outputs
            .iter()
            .map(|o| &o.extract_from)
            .chain(&test.no_outputs_from);
        for output in outputs {
            if !all.contains(output.get()) && !known_broken(output) {
                wrong(
                    output,
                    output.place(),
                    "outputs",
                    &mut all.iter().map(String::as_str),
                );
            }
        }
        if test.outputs.is_empty() && test.no_outputs_from.is_empty() {
            let place = test
                .inputs
                .first()
                .map_or(Place::NONE, |i| i.insert_at.place());
            shared.say(
                Diagnostic::error(
                    place,
                    format!("tests[{n}]"),
                    format!(
                        "the test {:?} expects nothing, so it cannot fail",
                        test.name
                    ),
                )
                .with_help("add outputs = [{ extract_from = \"…\" }] or no_outputs_from = [\"…\"]"),
            );
        }
    }
}

/// Builds every component and throws the result away, so that patterns and conditions are compiled before anything starts.
pub(super) fn build(graph: &Graph, shared: &Shared<'_>) {
    for node in graph.nodes() {
        let Err(errors) = node.component.build(&graph.context(node)) else {
            continue;
        };
        let path = format!("{}.{}", node.kind.section(), node.id);
        for error in errors {
            let (place, key) = match &error.spot {
                Spot::Component => (node.place, path.clone()),
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
            let place = if place.is_known() { place } else { node.place };
            shared.say(Diagnostic {
                help: error.help,
                note: error.note,
                ..Diagnostic::error(place, key, error.message)
            });
        }
    }
}

/// Where the value of a key path (`route[0].receiver`) stands; of what is not there, the nearest table above it.
fn place_of(table: &Table, path: &str) -> Option<Place> {
    let (key, rest) = path.split_once('.').unwrap_or((path, ""));
    let (name, index) = key.split_once('[').unwrap_or((key, ""));
    let entry = table.get(name)?;
    let mut node = &entry.node;
    let mut place = node.place;
    let index = index.trim_end_matches(']').parse::<usize>().ok();
    if let (Some(index), super::tree::Value::List(items)) = (index, &node.value)
        && let Some(item) = items.get(index)
    {
        node = item;
        place = item.place;
    }
    match &node.value {
        super::tree::Value::Table(inner) if !rest.is_empty() => {
            Some(place_of(inner, rest).unwrap_or(place))
        }
        _ => Some(place),
    }
}

/// The key path of the value at `place`.
fn path_of(table: &Table, place: Place, path: &str) -> String {
    fn look(node: &super::tree::Node, place: Place, path: &str) -> Option<String> {
        if node.place == place {
            return Some(path.to_owned());
        }
        match &node.value {
            super::tree::Value::Table(table) => walk(table, place, path),
            super::tree::Value::List(items) => items
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
