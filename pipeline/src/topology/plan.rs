//! Which components run together in one task.
//!
//! A stateless transform joins the task of the component it takes events from when it is the only one to take that
//! output and takes no other; every other component has a task, and a lane in front of it.

use crate::component::Kind;
use crate::config::{Graph, Node, OutputRef};

/// Components that run in one task, the first in front.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UnitPlan {
    pub(crate) kind: UnitKind,
    pub(crate) nodes: Vec<String>,
}

/// What a task does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UnitKind {
    /// Reads, and runs the transforms fused behind it.
    Source,
    /// Runs stateless transforms, so many at once.
    Chain(usize),
    /// Runs a transform that remembers.
    State,
    /// Writes.
    Sink,
}

/// The tasks of a graph, each after those that feed it.
pub(crate) fn plan(graph: &Graph) -> Vec<UnitPlan> {
    let mut units: Vec<UnitPlan> = graph
        .sources
        .iter()
        .map(|node| UnitPlan {
            kind: UnitKind::Source,
            nodes: vec![node.id.clone()],
        })
        .collect();
    for node in &graph.transforms {
        if let Some(unit) = fuses_into(graph, node, &mut units) {
            unit.nodes.push(node.id.clone());
            continue;
        }
        let workers = node.engine.workers.map_or(1, std::num::NonZeroUsize::get);
        let kind = if node.stateful {
            UnitKind::State
        } else {
            UnitKind::Chain(workers)
        };
        units.push(UnitPlan {
            kind,
            nodes: vec![node.id.clone()],
        });
    }
    units.extend(graph.sinks.iter().map(|node| UnitPlan {
        kind: UnitKind::Sink,
        nodes: vec![node.id.clone()],
    }));
    units
}

fn fuses_into<'a>(
    graph: &Graph,
    node: &Node,
    units: &'a mut [UnitPlan],
) -> Option<&'a mut UnitPlan> {
    let [input] = &node.inputs[..] else {
        return None;
    };
    let wants_workers = node.engine.workers.is_some_and(|workers| workers.get() > 1);
    if node.stateful || node.kind != Kind::Transform || wants_workers || input.output.is_some() {
        return None;
    }
    let only_taker = graph
        .takers(&OutputRef {
            id: input.id.clone(),
            output: None,
        })
        .count()
        == 1;
    let unit = units
        .iter_mut()
        .find(|unit| unit.nodes.last() == Some(&input.id))?;
    (only_taker && matches!(unit.kind, UnitKind::Source | UnitKind::Chain(1))).then_some(unit)
}
