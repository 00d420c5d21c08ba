//! What happens to events on their way: one file per kind of transform.

pub mod dedupe;
pub mod grok;

use pipeline::Registry;

/// Makes every transform known under its `type`.
pub fn register(registry: &mut Registry) {
    registry.stateful::<dedupe::Config>();
    registry.transform::<grok::Config>();
}
