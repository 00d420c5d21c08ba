//! What the program says about itself: metrics under Vector's names, health, and logs.
//!
//! Every worker of every component counts into a [`ComponentMetrics`] of its own: plain relaxed atomics, no lock and no
//! hash. Adding up happens when somebody scrapes. A worker that has ended leaves its counts behind, so a reload never makes a
//! counter go back.

mod component;
mod health;
mod limited;
mod log;
mod metric;
mod own;
mod process;
mod samples;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use prometheus::TextEncoder;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;

pub use component::{ComponentMetrics, Stage};
pub use health::{Health, HealthCell};
pub use limited::Limited;
pub use log::{LogFormat, init_logs};
pub use metric::{Counter, Family, Gauge, Gauges, Histogram};

#[doc(hidden)]
pub use tracing;

use samples::{Families, Samples};

pub use crate::component::Kind;
use crate::table::Table;
use crate::told::{OwnEvents, Told};

/// What stands before every name.
const PREFIX: &str = "pvetrail_";

/// The books of one running program.
#[derive(Debug)]
pub struct Telemetry {
    host: String,
    version: String,
    began: Instant,
    began_at: f64,
    components: Mutex<Vec<Component>>,
    started: AtomicBool,
    reloads: Counter,
    load_errors: Counter,
    admin_refused: Counter,
    own_events: Arc<OwnEvents>,
    /// Sinks for whose sake every source waits.
    held: Mutex<Vec<String>>,
    tables: Mutex<Vec<Arc<Table>>>,
}

#[derive(Debug)]
struct Component {
    id: String,
    kind: Kind,
    component_type: String,
    workers: Vec<Arc<ComponentMetrics>>,
    /// What workers counted that have ended.
    past: Samples,
    past_totals: Totals,
}

/// A component and how it is.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct ComponentHealth {
    /// Its name in the graph.
    pub id: String,
    /// `source`, `transform`, `sink` or `enrichment_table`.
    pub kind: &'static str,
    /// Its type, like `elasticsearch`.
    #[serde(rename = "type")]
    pub component_type: String,
    /// The worst word of its workers.
    #[serde(flatten)]
    pub health: Health,
}

/// Events of a whole component so far, for lines that a person reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Events taken in.
    pub received: u64,
    /// Events passed on or delivered, over all outputs.
    pub sent: u64,
    /// Events left out by name.
    pub filtered: u64,
    /// Events put into the dead letters.
    pub dead_lettered: u64,
}

impl Totals {
    fn of(worker: &ComponentMetrics) -> Self {
        Self {
            received: worker.received_events.get(),
            sent: worker.sent_events.total(),
            filtered: worker.filtered.get(),
            dead_lettered: worker.dead_lettered.total(),
        }
    }

    fn add(&mut self, more: Totals) {
        self.received += more.received;
        self.sent += more.sent;
        self.filtered += more.filtered;
        self.dead_lettered += more.dead_lettered;
    }
}

impl Telemetry {
    /// `host` becomes the label of that name.
    #[must_use]
    pub fn new(host: &str, version: &str) -> Arc<Self> {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Arc::new(Self {
            host: host.to_owned(),
            version: version.to_owned(),
            began: Instant::now(),
            began_at: now.as_secs_f64(),
            components: Mutex::default(),
            started: AtomicBool::new(false),
            reloads: Counter::default(),
            load_errors: Counter::default(),
            admin_refused: Counter::default(),
            own_events: Arc::default(),
            held: Mutex::default(),
            tables: Mutex::default(),
        })
    }

    /// The enrichment tables of the running graph: they are counted, and one whose file is broken is told of.
    pub(crate) fn set_tables(&self, tables: Vec<Arc<Table>>) {
        *self.tables.lock() = tables;
    }

    /// Counters for one more worker of component `id`. Call it once per worker and keep what it gives: when that is dropped,
    /// its counts stay in the sum and its gauges go.
    #[must_use]
    pub fn component(&self, id: &str, kind: Kind, component_type: &str) -> Arc<ComponentMetrics> {
        let worker = Arc::new(ComponentMetrics::new(component::Teller {
            own: Arc::clone(&self.own_events),
            kind,
            id: id.to_owned(),
        }));
        let mut components = self.components.lock();
        let known = components
            .iter_mut()
            .find(|one| one.id == id && one.kind == kind);
        match known {
            Some(component) if component.component_type == component_type => {
                component.fold();
                component.workers.push(Arc::clone(&worker));
            }
            Some(component) => *component = Component::new(id, kind, component_type, &worker),
            None => components.push(Component::new(id, kind, component_type, &worker)),
        }
        worker
    }

    /// Forgets the components for which `keep` says no: after a reload, those that are no longer in the graph.
    pub fn retain(&self, mut keep: impl FnMut(&str, Kind) -> bool) {
        self.components.lock().retain(|one| keep(&one.id, one.kind));
    }

    /// Tells one of the program's own events, about the program as a whole unless it says otherwise.
    pub fn tell(&self, told: Told) {
        self.own_events
            .tell(told, Some(("pipeline", self.host.as_str().into())));
    }

    /// Where the program's own events wait.
    #[must_use]
    pub fn own_events(&self) -> &Arc<OwnEvents> {
        &self.own_events
    }

    /// Every source has been started: the program is at work.
    pub fn set_started(&self) {
        self.started.store(true, Ordering::Relaxed);
    }

    /// Counts a reload that took effect.
    pub fn reloaded(&self) {
        self.reloads.add(1);
    }

    /// Counts a configuration that could not be loaded.
    pub fn load_error(&self) {
        self.load_errors.add(1);
    }

    /// Counts a request that came to the admin server without a token or with a wrong one.
    pub fn admin_refused(&self) {
        self.admin_refused.add(1);
    }

    /// Every component and how it is, in the order of their making.
    #[must_use]
    pub fn health(&self) -> Vec<ComponentHealth> {
        let mut components = self.components.lock();
        components.iter_mut().for_each(Component::fold);
        let health = |one: &Component| {
            let worst = one
                .workers
                .iter()
                .map(|worker| worker.health().get())
                .reduce(Health::worse);
            ComponentHealth {
                id: one.id.clone(),
                kind: one.kind.name(),
                component_type: one.component_type.clone(),
                health: worst.unwrap_or(Health::Finished),
            }
        };
        let mut all: Vec<_> = components.iter().map(health).collect();
        drop(components);
        all.extend(self.tables.lock().iter().map(|table| {
            let state = table.state();
            ComponentHealth {
                id: state.id,
                kind: "enrichment_table",
                component_type: state.type_name.to_owned(),
                // The rows of before are in force, so it does its work.
                health: state.trouble.map_or(Health::Healthy, Health::Degraded),
            }
        }));
        all
    }

    /// Whether every source has been started and every component does its work.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.started.load(Ordering::Relaxed)
            && self.held.lock().is_empty()
            && self.health().iter().all(|one| one.health.is_ready())
    }

    /// For the sake of these sinks every source waits now (`on_failure = "hold"`).
    pub(crate) fn set_held(&self, sinks: Vec<String>) {
        *self.held.lock() = sinks;
    }

    /// The sinks for whose sake every source waits; none in good times.
    #[must_use]
    pub fn held(&self) -> Vec<String> {
        self.held.lock().clone()
    }

    /// What one component has done so far.
    #[must_use]
    pub fn totals(&self, id: &str) -> Totals {
        let components = self.components.lock();
        let mut totals = Totals::default();
        for component in components.iter().filter(|one| one.id == id) {
            totals.add(component.past_totals);
            component
                .workers
                .iter()
                .for_each(|worker| totals.add(Totals::of(worker)));
        }
        totals
    }

    /// Everything, in Prometheus' text format.
    #[must_use]
    pub fn encode(&self) -> String {
        TextEncoder::new()
            .encode_to_string(&self.families())
            .expect("every family has a name, a type and at least one metric")
    }

    fn families(&self) -> Vec<MetricFamily> {
        let mut families = Families::default();
        for component in self.components.lock().iter_mut() {
            component.fold();
            let mut samples = component.past.clone();
            for worker in &component.workers {
                worker.read(component.kind, true, &mut samples);
            }
            let labels = [
                ("component_id", component.id.as_str()),
                ("component_kind", component.kind.name()),
                ("component_type", component.component_type.as_str()),
                ("host", self.host.as_str()),
            ];
            samples.expose(PREFIX, &labels, &mut families);
        }
        self.own(&mut families);
        self.of_tables(&mut families);
        process::read(&mut families);
        families.into_vec()
    }
}

impl Component {
    fn new(id: &str, kind: Kind, component_type: &str, worker: &Arc<ComponentMetrics>) -> Self {
        Self {
            id: id.to_owned(),
            kind,
            component_type: component_type.to_owned(),
            workers: vec![Arc::clone(worker)],
            past: Samples::default(),
            past_totals: Totals::default(),
        }
    }

    /// Keeps the counts of workers that only this list still holds, and lets them go.
    fn fold(&mut self) {
        let Self {
            kind,
            workers,
            past,
            past_totals,
            ..
        } = self;
        workers.retain(|worker| {
            let live = Arc::strong_count(worker) > 1;
            if !live {
                worker.read(*kind, false, past);
                past_totals.add(Totals::of(worker));
            }
            live
        });
    }
}

impl Collector for Telemetry {
    fn desc(&self) -> Vec<&Desc> {
        Vec::new()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.families()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn line<'a>(text: &'a str, start: &str) -> Option<&'a str> {
        text.lines().find(|line| line.starts_with(start))
    }

    #[test]
    fn workers_add_up_and_a_rebuilt_one_never_turns_a_counter_back() {
        let telemetry = Telemetry::new("pve1", "0.1.0");
        let first = telemetry.component("es", Kind::Sink, "elasticsearch");
        let second = telemetry.component("es", Kind::Sink, "elasticsearch");
        first.received_events.add(3);
        second.received_events.add(4);
        first.buffer_bytes.set(10.0);
        first.utilization.set(1.0);
        let labels = "{component_id=\"es\",component_kind=\"sink\",component_type=\"elasticsearch\",host=\"pve1\"}";
        let name = |metric: &str, value: &str| format!("pvetrail_{metric}{labels} {value}");
        let text = telemetry.encode();
        assert!(
            line(&text, &name("component_received_events_total", "7")).is_some(),
            "{text}"
        );
        assert!(
            line(&text, &name("buffer_size_bytes", "10")).is_some(),
            "{text}"
        );
        assert!(line(&text, &name("utilization", "0.5")).is_some(), "{text}");
        drop(first);
        let third = telemetry.component("es", Kind::Sink, "elasticsearch");
        third.received_events.add(1);
        let text = telemetry.encode();
        assert_eq!(telemetry.totals("es").received, 8);
        assert!(
            line(&text, &name("component_received_events_total", "8")).is_some(),
            "{text}"
        );
        assert!(
            line(&text, "pvetrail_buffer_size_bytes").is_none(),
            "{text}"
        );
        telemetry.retain(|id, _| id != "es");
        assert!(
            line(
                &telemetry.encode(),
                "pvetrail_component_received_events_total"
            )
            .is_none()
        );
    }

    #[test]
    fn labels_keep_series_apart_and_their_number_is_bounded() {
        let telemetry = Telemetry::new("h\"o\n", "0.1.0");
        let worker = telemetry.component("a", Kind::Transform, "grok");
        worker.errors.add(["a", "bc"], 1);
        worker.errors.add(["ab", "c"], 2);
        worker.error("parser_failed", Stage::Processing, 5);
        let text = telemetry.encode();
        assert!(
            text.contains("host=\"h\\\"o\\n\",error_type=\"ab\",stage=\"c\"} 2"),
            "{text}"
        );
        assert!(
            text.contains("error_type=\"parser_failed\",stage=\"processing\"} 5"),
            "{text}"
        );
        for n in 0..1000 {
            worker.sent_events.add([&format!("o{n}")], 1);
        }
        assert_eq!(worker.sent_events.total(), 1000);
        let series = telemetry
            .encode()
            .lines()
            .filter(|line| line.starts_with("pvetrail_component_sent_events_total"))
            .count();
        assert_eq!(series, 257);
    }

    #[test]
    fn times_fall_into_their_classes() {
        let telemetry = Telemetry::new("pve1", "0.1.0");
        let worker = telemetry.component("a", Kind::Sink, "console");
        worker.latency.observe_many(Duration::from_millis(20), 10);
        worker.latency.observe(Duration::from_secs(90));
        let text = telemetry.encode();
        for (bound, n) in [("0.01", 0), ("0.025", 10), ("30", 10), ("+Inf", 11)] {
            assert!(
                text.contains(&format!("host=\"pve1\",le=\"{bound}\"}} {n}\n")),
                "{bound}: {text}"
            );
        }
        assert!(
            text.contains("component_latency_seconds_sum") && text.contains("} 90.2\n"),
            "{text}"
        );
    }

    #[test]
    fn the_text_holds_what_the_linter_of_prometheus_asks_for() {
        let telemetry = Telemetry::new("pve1", "0.1.0");
        let worker = telemetry.component("a", Kind::Source, "file");
        worker.received_bytes.add(["file"], 1);
        worker.source_lag.observe(Duration::from_secs(1));
        worker.http_answer(200, Duration::from_secs(1));
        let text = telemetry.encode();
        for line in text.lines().filter(|line| line.starts_with("# TYPE")) {
            let mut words = line.split(' ').skip(2);
            let (name, kind) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
            assert!(
                text.contains(&format!("# HELP {name} ")),
                "{name} has no help"
            );
            assert_eq!(
                kind == "counter",
                name.ends_with("_total"),
                "{name} is a {kind}"
            );
        }
    }

    #[test]
    fn it_is_ready_when_every_component_says_so() {
        let telemetry = Telemetry::new("pve1", "0.1.0");
        let sink = telemetry.component("out", Kind::Sink, "console");
        telemetry.set_started();
        assert!(!telemetry.is_ready());
        assert!(sink.health().set(Health::Healthy));
        assert!(telemetry.is_ready());
        assert!(sink.health().set(Health::Failing("refused".to_owned())));
        assert!(
            !sink
                .health()
                .set(Health::Failing("refused again".to_owned()))
        );
        let health = telemetry.health();
        assert_eq!(
            health[0].health,
            Health::Failing("refused again".to_owned())
        );
        let json = serde_json::to_value(&health).expect("plain data");
        assert_eq!(json[0]["state"], "failing");
        assert_eq!(json[0]["reason"], "refused again");
        drop(sink);
        assert!(telemetry.is_ready());
    }
}
