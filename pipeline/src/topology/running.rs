//! The running graph: how its tasks are wired, started, changed and ended.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::Options;
use super::guard::{Guard, Hold, Watched};
use super::health::SinkHealth;
use super::node::Node;
use super::plan::{UnitKind, UnitPlan, plan};
use super::unit::Unit;
use crate::config::{BufferKind, Graph, OutputRef};
use crate::dlq::DeadLetters;
use crate::queue;
use crate::redact::{RedactMode, Redactor};
use crate::table::Keeper;
use crate::telemetry::Telemetry;
use crate::told::Told;

/// What all tasks share.
pub(crate) struct Shared {
    pub(crate) data_dir: PathBuf,
    pub(crate) redactor: Arc<Redactor>,
    pub(crate) dead_letters: Arc<DeadLetters>,
    pub(crate) telemetry: Arc<Telemetry>,
    pub(crate) starts: Mutex<HashMap<String, Arc<AtomicU32>>>,
    pub(crate) abort: CancellationToken,
    /// Closed while a sink must not miss anything and cannot take it.
    pub(crate) hold: Arc<Hold>,
    healths: Mutex<HashMap<String, SinkHealth>>,
    /// The same of the disk queues in front of sinks.
    queues: Mutex<HashMap<String, SinkHealth>>,
}

impl Shared {
    /// The health of the sink, the same before and after it was built anew.
    pub(crate) fn health(&self, node: &Node) -> SinkHealth {
        health_of(&self.healths, node)
    }

    /// The same of the disk queue in front of the sink.
    pub(crate) fn queue_health(&self, node: &Node) -> SinkHealth {
        health_of(&self.queues, node)
    }

    /// The health of whoever owes the sources of this sink the word "delivered".
    fn debtor(&self, node: &Node) -> SinkHealth {
        match node.engine().buffer.kind {
            BufferKind::Memory => self.health(node),
            BufferKind::Disk => self.queue_health(node),
        }
    }
}

fn health_of(healths: &Mutex<HashMap<String, SinkHealth>>, node: &Node) -> SinkHealth {
    let mut healths = healths.lock();
    let health = healths
        .entry(node.id.clone())
        .or_insert_with(|| SinkHealth::new(&node.id, node.clock.clone()));
    health.clone()
}

/// A running graph.
pub struct Topology {
    graph: Arc<Graph>,
    options: Options,
    shared: Shared,
    units: Vec<Unit>,
    guard: Guard,
    tables: Keeper,
}

/// How long a reload waits for whoever has to end, and for the answers owed to a source that changes.
const RELOAD_PATIENCE: Duration = Duration::from_secs(10);

impl Topology {
    /// Starts every component of `graph`.
    pub async fn start(graph: Graph, options: Options) -> Result<Topology, String> {
        let graph = Arc::new(graph);
        let telemetry = &options.telemetry;
        telemetry.own_events().set_clock(options.clock.clone());
        telemetry.tell(Told::new("PVE-9001", "pvetrail started"));
        let data_dir = graph.globals.data_dir.clone();
        queue::readable(&graph, &data_dir).map_err(|why| why.to_string())?;
        tell_orphans(&graph);
        let dead_letters = Arc::new(DeadLetters::new(&data_dir, options.clock.clone()));
        let shared = Shared {
            redactor: Arc::new(redactor(&graph, &data_dir)?),
            data_dir,
            dead_letters,
            telemetry: Arc::clone(&options.telemetry),
            starts: Mutex::default(),
            abort: CancellationToken::new(),
            hold: Hold::new(),
            healths: Mutex::default(),
            queues: Mutex::default(),
        };
        let mut topology = Topology {
            graph: Arc::clone(&graph),
            guard: Guard::start(Arc::clone(&shared.hold), Arc::clone(&options.telemetry)),
            options,
            shared,
            units: Vec::new(),
            tables: Keeper::default(),
        };
        for plan in plan(&graph) {
            let unit = topology.unit(plan, None)?;
            topology.units.push(unit);
        }
        topology.wire();
        topology.keep_tables()?;
        topology.start_new()?;
        topology.watch();
        topology.options.telemetry.set_started();
        Ok(topology)
    }

    /// From now on the tables of this graph are read again when their files change.
    fn keep_tables(&mut self) -> Result<(), String> {
        let tables: Vec<_> = self.graph.tables.iter().cloned().collect();
        self.options.telemetry.set_tables(tables.clone());
        self.tables.keep(tables)
    }

    fn unit(&self, plan: UnitPlan, inlet: Option<crate::lane::LaneSender>) -> Result<Unit, String> {
        let dead_letters: Arc<dyn super::DeadLetterBox> =
            Arc::clone(&self.shared.dead_letters) as _;
        let nodes = plan
            .nodes
            .iter()
            .map(|id| Node::new(&self.graph, id, &self.options, &dead_letters).map(Arc::new))
            .collect::<Option<Vec<_>>>()
            .ok_or("a component is missing in its own graph")?;
        Ok(Unit::new(plan, nodes, inlet))
    }

    /// Leads every output to the lanes of those that take it.
    fn wire(&self) {
        let inlets: HashMap<&str, &crate::lane::LaneSender> = self
            .units
            .iter()
            .filter_map(|unit| Some((unit.plan.nodes.first()?.as_str(), unit.inlet.as_ref()?)))
            .collect();
        for unit in &self.units {
            for (n, node) in unit.nodes.iter().enumerate() {
                let fused = unit.plan.nodes.get(n + 1);
                let names = self
                    .graph
                    .node(&node.id)
                    .map(|node| node.outputs.clone())
                    .unwrap_or_default();
                for output in [None, Some("errors".to_owned())]
                    .into_iter()
                    .chain(names.into_iter().map(Some))
                {
                    let name = output.clone().unwrap_or_default();
                    let taken = OutputRef {
                        id: node.id.clone(),
                        output,
                    };
                    let lanes = self
                        .graph
                        .takers(&taken)
                        .filter(|taker| !(name.is_empty() && fused == Some(&taker.id)))
                        .filter_map(|taker| {
                            let input = taker.inputs.iter().position(|input| *input == taken)?;
                            Some(inlets.get(taker.id.as_str())?.as_input(input))
                        })
                        .collect();
                    if let Some(port) = node.ports.find(&name) {
                        port.lead_to(lanes);
                    }
                }
            }
        }
    }

    /// Starts what does not run yet: sinks first, sources last.
    fn start_new(&mut self) -> Result<(), String> {
        let shared = &self.shared;
        self.units
            .iter_mut()
            .rev()
            .filter(|unit| !unit.is_running())
            .try_for_each(|unit| unit.start(shared))
    }

    /// Tells the guard which sinks there are, and forgets what is known of others.
    fn watch(&self) {
        let sinks = self
            .units
            .iter()
            .filter(|unit| unit.plan.kind == UnitKind::Sink);
        let sinks = sinks.filter_map(|unit| unit.nodes.first());
        let watched: Vec<_> = sinks
            .map(|node| {
                let engine = node.engine();
                Watched {
                    health: self.shared.debtor(node),
                    metrics: Arc::clone(&node.metrics),
                    type_name: node.type_name,
                    on_failure: engine.on_failure,
                    after: engine.failure_after.get(),
                    command: engine.failure_command.clone(),
                    timeout: engine.failure_timeout.get(),
                }
            })
            .collect();
        let graph = Arc::clone(&self.graph);
        for healths in [&self.shared.healths, &self.shared.queues] {
            healths.lock().retain(|id, _| graph.node(id).is_some());
        }
        self.guard.watch(watched);
    }

    /// Waits until every source has ended by itself (a file given on standard input, a counted demo). What the program
    /// tells about itself has no end and is not waited for.
    pub async fn sources_ended(&mut self) {
        let mut others = false;
        for unit in &mut self.units {
            if unit
                .nodes
                .first()
                .is_none_or(|node| node.type_name != "internal")
            {
                others |= unit.plan.kind == UnitKind::Source;
                unit.source_ended().await;
            }
        }
        if !others {
            // With nothing to end there is no end.
            std::future::pending::<()>().await;
        }
    }

    /// Changes the running graph into `graph`. Components that are the same go on; a graph that cannot be built changes
    /// nothing. Says what changed.
    pub async fn reload(&mut self, graph: Graph) -> Result<crate::config::Changes, String> {
        let changes = self.graph.changes(&graph);
        if changes.is_empty() {
            return Ok(changes);
        }
        if graph.globals.data_dir != self.graph.globals.data_dir {
            return Err("data_dir cannot change while the program runs; restart it".to_owned());
        }
        queue::readable(&graph, &self.shared.data_dir).map_err(|why| why.to_string())?;
        let redaction_changed = graph.globals.redaction != self.graph.globals.redaction;
        let redactor = Arc::new(redactor(&graph, &self.shared.data_dir)?);
        let same: HashSet<&str> = changes.unchanged.iter().map(String::as_str).collect();
        let graph = Arc::new(graph);
        let plans = plan(&graph);
        let keeps = |unit: &Unit| {
            plans.contains(&unit.plan)
                && unit.plan.nodes.iter().all(|id| same.contains(id.as_str()))
                && !(redaction_changed && unit.plan.kind == UnitKind::Source)
        };
        let (mut kept, mut going): (Vec<Unit>, Vec<Unit>) =
            std::mem::take(&mut self.units).into_iter().partition(keeps);
        self.graph = Arc::clone(&graph);
        self.shared.redactor = redactor;
        for plan in plans {
            if let Some(n) = kept.iter().position(|unit| unit.plan == plan) {
                self.units.push(kept.swap_remove(n));
                continue;
            }
            let before = going.iter().find(|unit| unit.has_successor(&plan));
            let unit = self.unit(plan, before.and_then(|unit| unit.inlet.clone()))?;
            self.units.push(unit);
        }
        // What goes on feeds the new lanes from here on, in one step: no event falls between the old and the new.
        self.wire();
        self.keep_tables()?;
        self.end_units(&mut going).await?;
        self.start_new()?;
        self.watch();
        let graph = Arc::clone(&self.graph);
        self.options
            .telemetry
            .retain(|id, _| graph.node(id).is_some());
        self.options.telemetry.reloaded();
        tell_orphans(&graph);
        self.options.telemetry.tell(Told::new(
            "PVE-9003",
            format!("the configuration was loaded anew: {changes}"),
        ));
        Ok(changes)
    }

    /// Ends the tasks of `going`, and gives what waits in front of them to their successors, which begin at once.
    ///
    /// The last of the graph come first: whoever waits for room in a lane gets it from the successor. Those without a
    /// successor come last, for they end when their lane does, and that is held open by whoever still waits to send.
    async fn end_units(&mut self, going: &mut [Unit]) -> Result<(), String> {
        let successor = |units: &[Unit], unit: &Unit| {
            units
                .iter()
                .position(|new| !new.is_running() && unit.has_successor(&new.plan))
        };
        let (succeeded, ending): (Vec<_>, Vec<_>) = going
            .iter_mut()
            .partition(|unit| successor(&self.units, unit).is_some());
        for unit in succeeded.iter().chain(&ending) {
            if unit.plan.kind == UnitKind::Source || successor(&self.units, unit).is_some() {
                unit.tell_to_end();
            }
        }
        let deadline = tokio::time::Instant::now() + RELOAD_PATIENCE;
        for unit in succeeded.into_iter().rev() {
            unit.inlet = None;
            let waiting = match tokio::time::timeout_at(deadline, unit.ended()).await {
                Ok(waiting) => waiting,
                // It waits for somebody who may be down for hours: a receiver that does not answer.
                Err(_) => {
                    unit.abort();
                    unit.ended().await
                }
            };
            if let Some(n) = successor(&self.units, unit) {
                self.units[n].take_over(waiting);
                self.wire();
                self.units[n].start(&self.shared)?;
            }
        }
        futures::future::join_all(ending.into_iter().map(end_for_good)).await;
        Ok(())
    }

    /// Ends the program's work: sources stop, everything drains, positions are stored. After `grace` what is left stays
    /// undelivered, to be read again at the next start. Says whether everything was delivered.
    pub async fn stop(mut self) -> bool {
        let grace = self.options.grace;
        self.options
            .telemetry
            .tell(Told::new("PVE-9002", "pvetrail stops"));
        let abort = self.shared.abort.clone();
        let timer = tokio::spawn(async move {
            tokio::time::sleep(grace).await;
            abort.cancel();
        });
        for unit in self
            .units
            .iter()
            .filter(|unit| unit.plan.kind == UnitKind::Source)
        {
            unit.tell_to_end();
        }
        for unit in &mut self.units {
            unit.inlet = None;
            unit.ended().await;
        }
        let mut all = true;
        for unit in &mut self.units {
            all &= unit.settle(Duration::from_secs(2)).await;
        }
        timer.abort();
        all &= self.units.iter().all(|unit| unit.stay() == 0);
        all && !self.shared.abort.is_cancelled()
    }

    /// The graph that runs.
    pub fn graph(&self) -> &Arc<Graph> {
        &self.graph
    }
}

/// Says which disk queues hold events that nobody delivers.
fn tell_orphans(graph: &Graph) {
    for orphan in queue::orphans(graph) {
        tracing::warn!("{}; {}", orphan.message(), orphan.help());
    }
}

/// Ends a task that nobody comes after.
async fn end_for_good(unit: &mut Unit) {
    // What is no source ends when it has worked off what is there: nobody feeds it any more.
    unit.inlet = None;
    if tokio::time::timeout(RELOAD_PATIENCE, unit.ended())
        .await
        .is_err()
    {
        // It cannot get rid of it. What it holds fails, and goes once more to those that are left.
        unit.abort();
        unit.ended().await;
    }
    unit.settle(RELOAD_PATIENCE).await;
}

/// The redactor that the configuration asks for.
pub fn redactor(graph: &Graph, data_dir: &std::path::Path) -> Result<Redactor, String> {
    let options = graph.globals.redaction.options();
    let key = if options.mode == RedactMode::Hash {
        installation_key(data_dir)?
    } else {
        Vec::new()
    };
    Ok(Redactor::new(&options, &key))
}

/// The key of this installation, made once: equal secrets of one installation get equal digests, and no others.
pub fn installation_key(data_dir: &std::path::Path) -> Result<Vec<u8>, String> {
    use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
    let path = data_dir.join("installation.key");
    match std::fs::read(&path) {
        Ok(key) if key.len() == 32 => return Ok(key),
        Ok(_) => {
            return Err(format!(
                "{} is damaged; delete it (digests of redacted secrets change then)",
                path.display()
            ));
        }
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => {}
        Err(why) => return Err(format!("cannot read {}: {why}", path.display())),
    }
    let mut key = vec![0; 32];
    SystemRandom::new()
        .fill(&mut key)
        .map_err(|_| "the system gives no random numbers".to_owned())?;
    crate::position::write_durably(&path, &key)
        .map_err(|why| format!("cannot write {}: {why}", path.display()))?;
    Ok(key)
}
