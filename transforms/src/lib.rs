//! What happens to events on their way: one file per kind of transform.

pub mod anomaly;
pub mod correlate;
pub mod dedupe;
pub mod enrich;
pub mod event_id;
pub mod filter;
pub mod grok;
pub mod join;
pub mod notify;
pub mod remap;
pub mod route;
pub mod rules;
pub mod tables;
mod vrl;

use pipeline::Registry;

/// Makes every transform known under its `type`.
pub fn register(registry: &mut Registry) {
    registry.stateful::<anomaly::Config>();
    registry.stateful::<correlate::Config>();
    registry.stateful::<dedupe::Config>();
    registry.stateful::<join::Config>();
    registry.stateful::<notify::Config>();
    registry.transform::<enrich::Config>();
    registry.transform::<event_id::Config>();
    registry.transform::<filter::Config>();
    registry.transform::<grok::Config>();
    registry.transform::<remap::Config>();
    registry.transform::<route::Config>();
    registry.table::<tables::FileTable>();
    registry.table::<tables::NetworksTable>();
    registry.table::<tables::GeoipTable>();
}
