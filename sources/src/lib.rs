//! Where events come from: one file per kind of source.

pub mod demo;
pub mod file;
pub mod http;
pub mod internal;
pub mod journald;
pub mod nats;
pub mod pve_api;
pub mod pve_config;
pub mod pve_tasks;
pub mod stdin;
pub mod syslog;

use pipeline::Registry;

/// Makes every source known under its `type`.
pub fn register(registry: &mut Registry) {
    registry.source::<demo::Config>();
    registry.source::<file::Config>();
    registry.source::<http::Config>();
    registry.source::<internal::Config>();
    registry.source::<journald::Config>();
    registry.source::<nats::Config>();
    registry.source::<pve_config::Config>();
    registry.source::<pve_api::Config>();
    registry.source::<pve_tasks::Config>();
    registry.source::<stdin::Config>();
    registry.source::<syslog::Config>();
}
