//! The demo's second sink: it keeps nothing but counts.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use pipeline::{
    BuildError, BuildErrors, Context, Event, Events, Field, Sink, SinkConfig, Workers, WriteError,
    Written, fields, printable,
};
use schemars::JsonSchema;
use serde::Deserialize;

/// Addresses counted one by one; the demo's attackers are few [addresses].
const ADDRESSES: usize = 1000;

/// What is worth a look.
#[derive(Debug)]
pub(super) struct Tally {
    record: Field,
    pub events: AtomicU64,
    pub logins: AtomicU64,
    pub failed_logins: AtomicU64,
    pub deletions: AtomicU64,
    /// Failed logins by address.
    tried_from: Mutex<HashMap<String, u64>>,
    /// Who deleted last.
    deleted_by: Mutex<Option<String>>,
}

impl Default for Tally {
    fn default() -> Self {
        Tally {
            record: Field::new("pve.record"),
            events: AtomicU64::default(),
            logins: AtomicU64::default(),
            failed_logins: AtomicU64::default(),
            deletions: AtomicU64::default(),
            tried_from: Mutex::default(),
            deleted_by: Mutex::default(),
        }
    }
}

impl Tally {
    fn count(&self, event: &Event) {
        self.events.fetch_add(1, Ordering::Relaxed);
        let primary = event.str(self.record) == Some("primary");
        match event.str(fields::EVENT_CODE) {
            Some("PVE-1001") if primary => {
                self.logins.fetch_add(1, Ordering::Relaxed);
            }
            Some("PVE-1002") if primary => {
                self.failed_logins.fetch_add(1, Ordering::Relaxed);
                if let Some(address) = event.str(fields::SOURCE_IP) {
                    let mut tried = self.tried_from.lock();
                    if tried.len() < ADDRESSES || tried.contains_key(address) {
                        *tried.entry(address.to_owned()).or_default() += 1;
                    }
                }
            }
            Some("PVE-2002" | "PVE-2102" | "PVE-5111" | "PVE-5112") if primary => {
                self.deletions.fetch_add(1, Ordering::Relaxed);
                *self.deleted_by.lock() = event.str(fields::USER_ID).map(str::to_owned);
            }
            _ => {}
        }
    }

    /// One line for the bottom of the screen.
    pub(super) fn line(&self, rate: u64) -> String {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        format!(
            "{} events · {rate}/s · {} logins · {} failed · {} deletions · Ctrl-C ends",
            get(&self.events),
            get(&self.logins),
            get(&self.failed_logins),
            get(&self.deletions)
        )
    }

    /// What was to be seen.
    pub(super) fn summary(&self, took: Duration) -> String {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let mut text = format!(
            "{} events in {:.0} s: {} logins, {} failed ones, {} deletions",
            get(&self.events),
            took.as_secs_f64(),
            get(&self.logins),
            get(&self.failed_logins),
            get(&self.deletions)
        );
        let tried = self.tried_from.lock();
        if let Some((address, times)) = tried
            .iter()
            .max_by_key(|(address, times)| (**times, address.as_str()))
            .filter(|(_, times)| **times >= 10)
        {
            let address = address.strip_prefix("::ffff:").unwrap_or(address);
            text.push_str(&format!(
                "\n{times} of the failed logins came from {}",
                printable(address)
            ));
            if let Some(user) = self.deleted_by.lock().as_deref() {
                text.push_str(&format!("; then {} deleted", printable(user)));
            }
        }
        text.push_str("\nyour own node: `pvetrail demo --print-config` shows where to begin");
        text
    }
}

/// Where the sink finds what it counts into; there is one demo in a process.
static TALLY: OnceLock<Arc<Tally>> = OnceLock::new();

pub(super) fn offer(tally: &Arc<Tally>) {
    // A second offer is of a test; it counts into the first.
    let _ = TALLY.set(Arc::clone(tally));
}

/// Counts what is worth a look.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Config {}

impl SinkConfig for Config {
    const TYPE: &'static str = "demo_tally";
    const WORKERS: Workers = Workers::One;
    const EXAMPLE: &'static str = "";

    fn build(&self, _: &Context) -> Result<Box<dyn Sink>, BuildErrors> {
        let tally = TALLY
            .get()
            .ok_or_else(|| BuildError::new("is for `pvetrail demo` only"))?;
        Ok(Box::new(Counting(Arc::clone(tally))))
    }
}

struct Counting(Arc<Tally>);

#[async_trait]
impl Sink for Counting {
    async fn write(&mut self, events: Events) -> Result<Written, WriteError> {
        events.iter().for_each(|event| self.0.count(event));
        Ok(Written::default())
    }
}
