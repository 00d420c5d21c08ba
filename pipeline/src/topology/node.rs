//! One component of the running graph, as all of its instances share it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::DeadLetterBox;
use super::port::Ports;
use crate::clock::Clock;
use crate::component::{Component, Context, Key};
use crate::config::{EngineOptions, Graph};
use crate::telemetry::{ComponentMetrics, Kind, Stage};

/// One component of the running graph.
pub(crate) struct Node {
    pub(crate) id: String,
    pub(crate) type_name: &'static str,
    graph: Arc<Graph>,
    cx: Context,
    pub(crate) ports: Ports,
    pub(crate) metrics: Arc<ComponentMetrics>,
    pub(crate) clock: Clock,
    pub(crate) dead_letters: Arc<dyn DeadLetterBox>,
    panics: AtomicU32,
    quiet: AtomicU32,
}

/// A component that panicked this often on what it was given is fed one event at a time, to find the one.
const PANICS: u32 = 2;
/// After so many quiet batches a panic is history [batches].
const QUIET: u32 = 256;

impl Node {
    /// The component `id` of `graph`, with the counters of `telemetry`.
    pub(crate) fn new(
        graph: &Arc<Graph>,
        id: &str,
        options: &super::Options,
        dead_letters: &Arc<dyn DeadLetterBox>,
    ) -> Option<Node> {
        let node = graph.node(id)?;
        let kind = match node.kind {
            crate::component::Kind::Source => Kind::Source,
            crate::component::Kind::Transform => Kind::Transform,
            crate::component::Kind::Sink => Kind::Sink,
        };
        let metrics = options.telemetry.component(id, kind, node.type_name);
        Some(Node {
            id: id.to_owned(),
            type_name: node.type_name,
            ports: Ports::new(&node.outputs, &metrics),
            cx: graph.context(node),
            graph: Arc::clone(graph),
            metrics,
            clock: options.clock.clone(),
            dead_letters: Arc::clone(dead_letters),
            panics: AtomicU32::new(0),
            quiet: AtomicU32::new(0),
        })
    }

    /// The engine's options of this component.
    pub(crate) fn engine(&self) -> &EngineOptions {
        &self.config().engine
    }

    /// Its inputs, as the configuration names them.
    pub(crate) fn inputs(&self) -> Vec<String> {
        self.config()
            .inputs
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    /// The sources whose events come here, by way of whatever stands between.
    pub(crate) fn sources(&self) -> Vec<String> {
        let (mut open, mut seen) = (vec![self.id.clone()], Vec::new());
        while let Some(id) = open.pop() {
            if seen.contains(&id) {
                continue;
            }
            let inputs = self.graph.node(&id).map(|node| &node.inputs[..]);
            open.extend(
                inputs
                    .unwrap_or_default()
                    .iter()
                    .map(|input| input.id.clone()),
            );
            seen.push(id);
        }
        let sources = self.graph.sources.iter().map(|source| source.id.clone());
        sources.filter(|source| seen.contains(source)).collect()
    }

    fn config(&self) -> &crate::config::Node {
        self.graph
            .node(&self.id)
            .expect("a node is made from a graph that has it")
    }

    /// A new running part. It was built once when the configuration was read, so a failure here is news.
    pub(crate) fn build(&self) -> Result<Component, String> {
        self.config()
            .component
            .build(&self.cx)
            .map_err(|errors| errors.to_string())
    }

    /// What belongs together among the events of a sink, if that is not all or nothing.
    pub(crate) fn key(&self) -> Result<Option<Box<dyn Key>>, String> {
        self.config()
            .component
            .key(&self.cx)
            .map_err(|errors| errors.to_string())
    }

    /// Notes a panic.
    pub(crate) fn panicked(&self, why: &str) {
        self.panics.fetch_add(1, Ordering::Relaxed);
        self.quiet.store(0, Ordering::Relaxed);
        self.metrics.panics.add(1);
        self.metrics.error("panic", Stage::Processing, 1);
        tracing::error!(
            component_id = self.id,
            component_type = self.type_name,
            panic = why,
            "a component panicked; its batch is sent again, and nothing is lost"
        );
    }

    /// Notes that a batch went well.
    pub(crate) fn went_well(&self) {
        if self.panics.load(Ordering::Relaxed) > 0
            && self.quiet.fetch_add(1, Ordering::Relaxed) >= QUIET
        {
            self.panics.store(0, Ordering::Relaxed);
        }
    }

    /// Whether events have to be fed one at a time.
    pub(crate) fn is_careful(&self) -> bool {
        self.panics.load(Ordering::Relaxed) >= PANICS
    }
}

/// The message of a panic.
pub(crate) fn panic_text(payload: &(dyn std::any::Any + Send)) -> String {
    if let Some(text) = payload.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        "a panic without a message".to_owned()
    }
}
