//! What happens to events on their way: one file per kind of transform.

pub mod dedupe;
pub mod enrich;
pub mod grok;
pub mod join;
pub mod tables;

use pipeline::Registry;

/// Makes every transform known under its `type`.
pub fn register(registry: &mut Registry) {
    registry.stateful::<dedupe::Config>();
    registry.stateful::<join::Config>();
    registry.transform::<enrich::Config>();
    registry.transform::<grok::Config>();
    registry.table::<tables::FileTable>();
    registry.table::<tables::NetworksTable>();
    registry.table::<tables::GeoipTable>();
}
