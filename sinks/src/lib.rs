//! Where events go: each sink beside the reader of what it wrote.

pub mod blackhole;
mod compress;
pub mod console;
pub mod elasticsearch;
mod encode;
pub mod file;
pub mod loki;
pub mod nats;
pub mod sqlite;
pub mod syslog;
mod template;
pub mod webhook;

use std::time::Duration;

use pipeline::Registry;

/// The wait where only a person can help (credentials, a missing right, a full disk): long enough to be no storm, short
/// enough to go on soon after.
const SLOW: Duration = Duration::from_secs(10);

/// Makes every sink known under its `type`.
pub fn register(registry: &mut Registry) {
    registry.sink::<blackhole::Config>();
    registry.sink::<console::Config>();
    registry.sink::<elasticsearch::Config>();
    registry.sink::<file::Config>();
    registry.sink::<loki::Config>();
    registry.sink::<nats::Config>();
    registry.sink::<sqlite::Config>();
    registry.sink::<syslog::Config>();
    registry.sink::<webhook::Config>();
}
