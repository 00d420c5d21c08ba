//! The graph as a whole: what goes round in circles, what nobody takes, what makes no sense together.

use std::collections::BTreeSet;

use tracing_subscriber::EnvFilter;

use super::assemble::Draft;
use super::de::Shared;
use super::diagnostic::Diagnostic;
use super::graph::{Graph, Node, OutputRef};
use super::inputs::{glob, outputs, resolve};
use super::options::{Admin, BufferKind, Log, Redaction};
use super::suggest;
use super::tables;
use super::tree::Table;
use crate::component::{Kind, Place};
use crate::net::ListenTls;

/// The log's level is understood, before the log exists that would have to say that it is not.
pub(super) fn log(log: &Log, root: &Table, shared: &Shared<'_>) {
    if let Err(why) = log.level.parse::<EnvFilter>() {
        let entry = root.at("log").and_then(|log| log.get("level"));
        let place = entry.map_or(Place::NONE, |entry| entry.node.place);
        let message = format!("`level` is not understood: {why}");
        shared.say(Diagnostic::error(place, "log.level", message).with_help(
            "write \"error\", \"warn\", \"info\", \"debug\" or \"trace\", or one per module as in \"info,pipeline=debug\"",
        ));
    }
}

/// The admin server can listen, and not to everybody.
pub(super) fn admin(admin: &Admin, root: &Table, shared: &Shared<'_>) {
    if !admin.enabled {
        return;
    }
    let section = root
        .get("admin")
        .map_or(Place::NONE, |entry| entry.key_place);
    let at = |key: &str| {
        let table = root.at("admin")?;
        Some(table.get(key)?.node.place)
    };
    let reachable = !admin.address.ip().is_loopback();
    if reachable && admin.operator_token.is_none() && admin.auditor_token.is_none() {
        let message = format!(
            "{} can be reached from other machines, and no token is asked for",
            admin.address
        );
        shared.say(
            Diagnostic::error(at("address").unwrap_or(section), "admin.address", message)
                .with_help("set operator_token as well, like \"${cred:operator_token}\""),
        );
    }
    if reachable
        && admin.tls.is_none()
        && (admin.operator_token.is_some() || admin.auditor_token.is_some())
    {
        shared.say(
            Diagnostic::warning(
                at("address").unwrap_or(section),
                "admin.address",
                "tokens travel in clear text",
            )
            .with_help("set tls = { crt_file = \"…\", key_file = \"…\" }"),
        );
    }
    let mistakes = admin
        .tls
        .as_ref()
        .map_or_else(Vec::new, ListenTls::mistakes);
    for mistake in mistakes {
        let place = at("tls").unwrap_or(section);
        shared.say(Diagnostic::error(
            place,
            format!("admin.{}", mistake.key),
            mistake.message,
        ));
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
    let resolved: Vec<Vec<OutputRef>> = draft
        .written
        .iter()
        .map(|wanted| resolve(wanted, draft, shared))
        .collect();
    let taken: BTreeSet<OutputRef> = resolved.iter().flatten().cloned().collect();
    for (wanted, inputs) in draft.written.iter().zip(resolved) {
        let graph = &mut draft.graph;
        let mut nodes = graph.transforms.iter_mut().chain(&mut graph.sinks);
        if let Some(node) = nodes.find(|node| node.id == wanted.id) {
            node.inputs = inputs;
        }
    }
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
        if !draft.written.iter().any(|w| w.kind == kind) {
            shared.say(
                Diagnostic::error(Place::start_of(0), kind.section(), what)
                    .with_help(help)
                    .guessed(),
            );
        }
    }
    let cyclic = cycles(draft, shared);
    untaken(draft, &taken, shared);
    if !cyclic {
        order(&mut draft.graph.transforms);
        slow_neighbours(&draft.graph, shared);
        cautions(&draft.graph, shared);
    }
    tests(draft, shared);
    tables::unused(draft, shared);
}

/// Says each cycle once, with its whole path. Whether there was one.
fn cycles(draft: &Draft, shared: &Shared<'_>) -> bool {
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
    let nodes = &draft.graph.transforms;
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
        let written = draft.written.iter().find(|w| w.id == first);
        let place = written.map_or(Place::NONE, |w| w.inputs_place);
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
fn untaken(draft: &Draft, taken: &BTreeSet<OutputRef>, shared: &Shared<'_>) {
    let graph = &draft.graph;
    // An input that meant nothing probably meant one of these: its own error is enough.
    let known = outputs(graph);
    let dangling: Vec<&str> = draft
        .written
        .iter()
        .flat_map(|w| w.inputs.iter().flatten())
        .map(|(text, _)| text.as_str())
        .filter(|text| !known.iter().any(|o| o.to_string() == **text))
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
        if meant {
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
        shared.say(diagnostic.guessed());
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

/// What sources have to say about themselves.
fn cautions(graph: &Graph, shared: &Shared<'_>) {
    for node in &graph.sources {
        let Some((message, help)) = node.component.caution() else {
            continue;
        };
        let path = format!("sources.{}", node.id);
        shared.say(Diagnostic::warning(node.place, path, message).with_help(help));
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
                .with_help("nothing is lost by it; buffer = { type = \"disk\", max_size = \"1GiB\" } on the slow one takes the wait away"),
            );
        }
    }
}

/// The places that the configuration's own tests name.
fn tests(draft: &Draft, shared: &Shared<'_>) {
    let graph = &draft.graph;
    let all: Vec<String> = outputs(graph).iter().map(ToString::to_string).collect();
    let ids: Vec<&str> = graph.nodes().map(|n| n.id.as_str()).collect();
    let known_broken = |text: &str| draft.is_broken(text.split('.').next().unwrap_or_default());
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
