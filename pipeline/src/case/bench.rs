//! The graph on one thread: every transform works off what waits before it, in the order of the graph, until all is quiet.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::ops::Range;
use std::path::PathBuf;

use super::input::{self, Input, Item};
use crate::ack::{Ack, Verdict};
use crate::batch::Batch;
use crate::clock::{SECOND, Time};
use crate::component::{Component, Transform};
use crate::config::{Graph, Node, OutputRef};
use crate::event::{Event, EventId};
use crate::lines::{LineBatch, LineConstants, LineIds, LineMemory};
use crate::mark::{LaneId, Mark};
use crate::outputs::Outputs;
use crate::redact::Redactor;
use crate::source_out::redact_event;
use crate::state::{Setup, Wrapper};

/// Most idle marks while the clock moves once; a longer move makes longer steps.
const MOST_STEPS: i64 = 600;

/// A graph whose sources and sinks are replaced by lists.
pub(super) struct Bench<'g> {
    graph: &'g Graph,
    stages: Vec<Stage>,
    waiting: Vec<VecDeque<Batch>>,
    routes: HashMap<OutputRef, Vec<(Target, u16)>>,
    /// What came out of every output and arrived at every sink, as JSON, by name.
    pub(super) seen: BTreeMap<String, Vec<serde_json::Value>>,
    /// Instead of that, the events that arrived at every sink, by its place in the graph.
    arrived: Option<Vec<Vec<Event>>>,
    memory: LineMemory,
    redactor: Redactor,
    hits: Vec<Range<usize>>,
    pub(super) now: Time,
    fed: u64,
    /// Transforms in front of which tests put events: lanes of their own, which fall idle like those of sources.
    inserted: BTreeSet<usize>,
    /// Lanes that are fed by hand, by the place of their source: each falls idle by itself, as those of a real source do.
    lanes: BTreeMap<usize, Vec<LaneId>>,
}

#[derive(Clone, Copy)]
enum Target {
    Stage(usize),
    Sink(usize),
}

struct Stage {
    id: String,
    outputs: Vec<String>,
    work: Work,
    out: Outputs,
}

enum Work {
    Transform(Box<dyn Transform>),
    Stateful(Box<Wrapper>),
}

impl<'g> Bench<'g> {
    pub(super) fn new(graph: &'g Graph, start: Time) -> Result<Bench<'g>, String> {
        let mut routes: HashMap<OutputRef, Vec<(Target, u16)>> = HashMap::new();
        let transforms = graph
            .transforms
            .iter()
            .enumerate()
            .map(|(n, node)| (node, Target::Stage(n)));
        let sinks = graph
            .sinks
            .iter()
            .enumerate()
            .map(|(n, node)| (node, Target::Sink(n)));
        for (node, target) in transforms.chain(sinks) {
            for (n, input) in node.inputs.iter().enumerate() {
                let input_number = u16::try_from(n).unwrap_or(u16::MAX);
                routes
                    .entry(input.clone())
                    .or_default()
                    .push((target, input_number));
            }
        }
        let stages = graph
            .transforms
            .iter()
            .map(|node| Stage::new(graph, node, start));
        Ok(Bench {
            graph,
            stages: stages.collect::<Result<_, _>>()?,
            waiting: graph.transforms.iter().map(|_| VecDeque::new()).collect(),
            routes,
            seen: BTreeMap::new(),
            arrived: None,
            memory: LineMemory::default(),
            redactor: Redactor::new(
                &graph.globals.redaction.options(),
                b"a case has no secret of its own",
            ),
            hits: Vec::new(),
            now: start,
            fed: 0,
            inserted: BTreeSet::new(),
            lanes: BTreeMap::new(),
        })
    }

    /// Feeds every source what it reads, merged by (time, source, place), and moves the clock along.
    pub(super) fn run(&mut self, inputs: &[Input]) -> Result<(), String> {
        let mut times: Vec<Time> = inputs
            .iter()
            .flat_map(|i| i.items.iter().map(|item| item.time).chain(i.end))
            .collect();
        times.sort_unstable();
        times.dedup();
        let mut rest: Vec<&[Item]> = inputs.iter().map(|input| &input.items[..]).collect();
        for time in times {
            self.move_clock(time);
            for (source, rest) in rest.iter_mut().enumerate() {
                let (now, later) = rest.split_at(rest.partition_point(|item| item.time <= time));
                *rest = later;
                for run in now.chunk_by(|a, b| a.is_event == b.is_event) {
                    let id = &self.graph.sources[source].id;
                    self.feed(id, run)?;
                }
            }
            self.settle();
        }
        self.idle();
        Ok(())
    }

    /// Moves the clock on; meanwhile every source says once a second that there is nothing to read.
    pub(super) fn move_clock(&mut self, to: Time) {
        let way = to.0.saturating_sub(self.now.0);
        if way <= 0 {
            return;
        }
        let steps = (way / SECOND).clamp(1, MOST_STEPS);
        let from = self.now.0;
        for step in 1..=steps {
            self.now = Time(from + (i128::from(way) * i128::from(step) / i128::from(steps)) as i64);
            self.idle();
        }
    }

    /// From here on events are kept as they arrive at the sinks, and nothing else is written down.
    pub(super) fn keep_events(&mut self) {
        self.arrived = Some(self.graph.sinks.iter().map(|_| Vec::new()).collect());
    }

    /// What arrived at a sink since it was asked last.
    pub(super) fn take(&mut self, sink: &str) -> Vec<Event> {
        let place = self.graph.sinks.iter().position(|node| node.id == sink);
        let kept = place.and_then(|n| self.arrived.as_mut()?.get_mut(n));
        kept.map(std::mem::take).unwrap_or_default()
    }

    /// Sends events of one lane from where the source `id` stands.
    pub(super) fn feed_events(&mut self, id: &str, lane: LaneId, mut events: Vec<Event>) {
        for event in &mut events {
            redact_event(event, &self.redactor);
        }
        if let Some(n) = self.graph.sources.iter().position(|node| node.id == id) {
            let lanes = self.lanes.entry(n).or_default();
            if !lanes.contains(&lane) {
                lanes.push(lane);
            }
        }
        let mark = Mark {
            lane,
            start: 0,
            seen_to: self.now,
            idle: false,
            over: false,
        };
        self.route(id, None, Batch::new(events, mark, Ack::nobody()));
    }

    /// Moves the clock on in steps of ten seconds at most, so that nobody waits in vain for a word that comes with the same
    /// step; says whether it moved.
    pub(super) fn skip_to(&mut self, to: Time) -> bool {
        let moves = to > self.now;
        while to > self.now {
            self.now = to.min(Time(self.now.0.saturating_add(10 * SECOND)));
            self.mark_sources();
            self.flow();
        }
        moves
    }

    fn idle(&mut self) {
        self.mark_sources();
        self.settle();
    }

    /// Every source says that it has read everything up to now.
    fn mark_sources(&mut self) {
        let graph = self.graph;
        for (n, source) in graph.sources.iter().enumerate() {
            let by_hand = self.lanes.get(&n).cloned().unwrap_or_default();
            for lane in by_hand.into_iter().chain([lane(&source.id)]) {
                let mark = Mark {
                    lane,
                    start: 0,
                    seen_to: self.now,
                    idle: true,
                    over: false,
                };
                self.route(&source.id, None, Batch::empty(mark, Ack::nobody()));
            }
        }
        for n in self.inserted.clone() {
            let mark = Mark {
                lane: lane(&graph.transforms[n].id),
                start: 0,
                seen_to: self.now,
                idle: true,
                over: false,
            };
            self.waiting[n].push_back(Batch::empty(mark, Ack::nobody()));
        }
    }

    /// Makes events of lines (or of JSON) and sends them from where the source `id` stands.
    fn feed(&mut self, id: &str, items: &[Item]) -> Result<(), String> {
        let events = self.events(id, items)?;
        let mark = Mark {
            lane: lane(id),
            start: 0,
            seen_to: self.now,
            idle: false,
            over: false,
        };
        self.route(id, None, Batch::new(events, mark, Ack::nobody()));
        Ok(())
    }

    fn events(&mut self, id: &str, items: &[Item]) -> Result<Vec<Event>, String> {
        if items.first().is_some_and(|item| item.is_event) {
            let events = items.iter().map(|item| {
                let json = serde_json::from_slice(&item.text).map_err(|why| {
                    format!(
                        "{:?} is no event: {why}",
                        String::from_utf8_lossy(&item.text)
                    )
                })?;
                let mut event = input::event(json, id, item.offset, self.now)?;
                event.set_ordinal(item.offset + 1);
                Ok(event)
            });
            return events.collect();
        }
        let constants = LineConstants {
            host: self.graph.globals.host.clone(),
            path: Some("in.log".to_owned()),
            ids: LineIds::Place(EventId::of_parts(&[b"case", id.as_bytes()]).0[0]),
        };
        let mut lines = LineBatch::new(&constants, &mut self.memory);
        for item in items {
            let at = lines.text().len();
            lines.extend(&item.text);
            // As in the file: what is looked for in a text ends there.
            lines.extend(b"\n");
            lines.line(at..at + item.text.len(), item.offset);
        }
        Ok(lines
            .finish(&mut self.memory, &self.redactor, &mut self.hits, self.now)
            .events)
    }

    /// One raw line, or one event, put in front of a component (behind it, for a source), as `[[tests]]` do.
    pub(super) fn insert(&mut self, at: &str, item: Inserted<'_>) -> Result<(), String> {
        let n = self.fed;
        self.fed += 1;
        let mut events = match item {
            Inserted::Line(line) => {
                let item = Item {
                    time: self.now,
                    offset: n,
                    text: line.as_bytes().to_vec(),
                    is_event: false,
                };
                self.events(at, std::slice::from_ref(&item))?
            }
            Inserted::Event(json) => vec![input::event(json.clone(), at, n, self.now)?],
        };
        events.iter_mut().for_each(|event| event.set_ordinal(n + 1));
        let mark = Mark {
            lane: lane(at),
            start: 0,
            seen_to: self.now,
            idle: false,
            over: false,
        };
        let batch = Batch::new(events, mark, Ack::nobody());
        let is = |node: &Node| node.id == at;
        if self.graph.sources.iter().any(is) {
            self.route(at, None, batch);
        } else if let Some(n) = self.graph.transforms.iter().position(is) {
            self.inserted.insert(n);
            self.waiting[n].push_back(batch);
        } else if let Some(n) = self.graph.sinks.iter().position(is) {
            self.arrive(Target::Sink(n), 0, batch);
        } else {
            return Err(format!("there is no component called {at:?} to insert at"));
        }
        self.settle();
        Ok(())
    }

    /// Works until nothing waits anywhere; transforms stand in the order of the graph's file, so one may feed one before it.
    pub(super) fn flow(&mut self) {
        while self.waiting.iter().any(|waiting| !waiting.is_empty()) {
            for n in 0..self.stages.len() {
                while let Some(batch) = self.waiting[n].pop_front() {
                    self.stages[n].apply(batch, self.now);
                    self.hand_out(n);
                }
            }
        }
    }

    /// Works until nothing waits anywhere and everything remembered is saved.
    pub(super) fn settle(&mut self) {
        loop {
            self.flow();
            let mut quiet = true;
            for n in 0..self.stages.len() {
                while self.stages[n].step(self.now) {
                    quiet = false;
                    self.hand_out(n);
                }
            }
            if quiet {
                return;
            }
        }
    }

    fn hand_out(&mut self, n: usize) {
        let stage = &mut self.stages[n];
        let id = stage.id.clone();
        let named = std::mem::take(&mut stage.out.named);
        let named: Vec<_> = named
            .into_iter()
            .filter_map(|(output, batch)| Some((stage.outputs.get(output)?.clone(), batch)))
            .collect();
        let errors = stage.out.aside_errors.take();
        let main = std::mem::take(&mut stage.out.main);
        for (output, batch) in named {
            self.route(&id, Some(&output), batch);
        }
        if let Some(batch) = errors {
            self.route(&id, Some("errors"), batch);
        }
        for batch in main {
            self.route(&id, None, batch);
        }
    }

    fn route(&mut self, id: &str, output: Option<&str>, batch: Batch) {
        let from = OutputRef {
            id: id.to_owned(),
            output: output.map(str::to_owned),
        };
        self.note(&from.to_string(), &batch);
        let takers = self.routes.get(&from).cloned().unwrap_or_default();
        let Some(((last, last_input), others)) = takers.split_last() else {
            return batch.end(Verdict::Delivered);
        };
        for (target, input) in others {
            self.arrive(*target, *input, batch.copy());
        }
        self.arrive(*last, *last_input, batch);
    }

    fn arrive(&mut self, target: Target, input: u16, mut batch: Batch) {
        batch.input = input;
        match target {
            Target::Stage(n) => self.waiting[n].push_back(batch),
            Target::Sink(n) => {
                if let Some(arrived) = &mut self.arrived {
                    arrived[n].append(&mut batch.events);
                } else {
                    let id = &self.graph.sinks[n].id;
                    self.note(id, &batch);
                }
                batch.end(Verdict::Delivered);
            }
        }
    }

    fn note(&mut self, name: &str, batch: &Batch) {
        if !batch.events.is_empty() && self.arrived.is_none() {
            let seen = self.seen.entry(name.to_owned()).or_default();
            seen.extend(batch.events.iter().map(Event::to_json));
        }
    }
}

/// What a test puts in.
pub(super) enum Inserted<'a> {
    Line(&'a str),
    Event(&'a serde_json::Map<String, serde_json::Value>),
}

fn lane(source: &str) -> LaneId {
    LaneId::new(source, "in.log")
}

impl Stage {
    fn new(graph: &Graph, node: &Node, start: Time) -> Result<Stage, String> {
        let cx = graph.context(node);
        let mut out = Outputs::new(node.type_name, true);
        out.set_now(start);
        let work = match node
            .component
            .build(&cx)
            .map_err(|errors| errors.to_string())?
        {
            Component::Transform(transform) => Work::Transform(transform),
            Component::Stateful(stateful) => {
                // Asked for once: nothing fails here, so nothing is rolled back.
                let built = parking_lot::Mutex::new(Some(stateful));
                let setup = Setup {
                    id: node.id.clone(),
                    type_name: node.type_name,
                    // Nothing is ever written there: the steps are pretended.
                    folder: PathBuf::from("/nonexistent/pvetrail-case"),
                    // Everything is handed over in order of time here, by a clock of its own.
                    sources: Vec::new(),
                    inputs: node.inputs.iter().map(ToString::to_string).collect(),
                    outputs: node.outputs.len(),
                    interval: crate::state::INTERVAL,
                    build: Box::new(move || {
                        built
                            .lock()
                            .take()
                            .ok_or_else(|| "it is built once".to_owned())
                    }),
                };
                let (mut wrapper, _) =
                    Wrapper::open(setup, start, &mut out).map_err(|trouble| trouble.to_string())?;
                // Everything is saved as soon as it can be, so that what is made leaves at once.
                wrapper.stop();
                Work::Stateful(Box::new(wrapper))
            }
            Component::Source(_) | Component::Sink(_) => {
                return Err(format!("{:?} is no transform", node.id));
            }
        };
        Ok(Stage {
            id: node.id.clone(),
            outputs: node.outputs.clone(),
            work,
            out,
        })
    }

    fn apply(&mut self, batch: Batch, now: Time) {
        self.out.set_now(now);
        match &mut self.work {
            Work::Transform(transform) => {
                let beside = batch.beside(Vec::new());
                transform.apply(batch, &mut self.out);
                let erred = std::mem::take(&mut self.out.erred);
                self.out.aside_errors = (!erred.is_empty()).then(|| beside.beside(erred));
                beside.ack.delivered();
            }
            Work::Stateful(wrapper) => {
                let input = usize::from(batch.input);
                wrapper.feed(input, batch, &mut self.out);
            }
        }
    }

    /// Saves, if there is something to save; says whether there was.
    fn step(&mut self, now: Time) -> bool {
        let Work::Stateful(wrapper) = &mut self.work else {
            return false;
        };
        self.out.set_now(now);
        match wrapper.next_step(now) {
            Some(step) => {
                wrapper.done(step.pretend(), &mut self.out);
                true
            }
            None => false,
        }
    }
}
