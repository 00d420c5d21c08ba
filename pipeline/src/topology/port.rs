//! Where an output leads: the lanes of those that take it. A reload changes the list under a running component.

use std::sync::Arc;

use parking_lot::RwLock;

use crate::ack::Verdict;
use crate::batch::Batch;
use crate::lane::LaneSender;
use crate::telemetry::{ComponentMetrics, Counter};

/// One output of one component.
pub(crate) struct Port {
    name: String,
    to: RwLock<Arc<Vec<LaneSender>>>,
    metrics: Arc<ComponentMetrics>,
    sent: Arc<Counter>,
}

impl Port {
    fn new(name: &str, metrics: &Arc<ComponentMetrics>) -> Port {
        let label = if name.is_empty() { "_default" } else { name };
        let sent = metrics.sent_events.with([label]);
        Port {
            name: name.to_owned(),
            to: RwLock::default(),
            metrics: Arc::clone(metrics),
            sent,
        }
    }

    /// Counts what leaves by this output.
    pub(crate) fn count(&self, batch: &Batch) {
        self.sent.add(batch.events.len() as u64);
        self.metrics.sent_event_bytes.add(batch.bytes as u64);
    }

    /// Who takes this output from now on.
    pub(crate) fn lead_to(&self, lanes: Vec<LaneSender>) {
        *self.to.write() = Arc::new(lanes);
    }

    pub(crate) fn is_taken(&self) -> bool {
        !self.to.read().is_empty()
    }

    /// Hands the batch to everyone who takes this output, waiting for room. What nobody takes has ended here, counted.
    pub(crate) async fn send(&self, batch: Batch) {
        self.count(&batch);
        let to = Arc::clone(&self.to.read());
        let Some((last, others)) = to.split_last() else {
            self.metrics.filtered.add(batch.events.len() as u64);
            batch.end(Verdict::Delivered);
            return;
        };
        for lane in others {
            lane.send(batch.copy()).await;
        }
        last.send(batch).await;
    }
}

/// All outputs of one component.
pub(crate) struct Ports {
    pub(crate) main: Port,
    pub(crate) named: Vec<Port>,
    pub(crate) errors: Port,
}

impl Ports {
    pub(crate) fn new(names: &[String], metrics: &Arc<ComponentMetrics>) -> Ports {
        Ports {
            main: Port::new("", metrics),
            named: names.iter().map(|name| Port::new(name, metrics)).collect(),
            errors: Port::new("errors", metrics),
        }
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Port> {
        [&self.main, &self.errors].into_iter().chain(&self.named)
    }

    /// The output called `name`; the unnamed one is `""`.
    pub(crate) fn find(&self, name: &str) -> Option<&Port> {
        self.all().find(|port| port.name == name)
    }
}
