//! Where events go: each sink beside the reader of what it wrote.

pub mod console;
pub mod elasticsearch;
mod encode;

use pipeline::Registry;

/// Makes every sink known under its `type`.
pub fn register(registry: &mut Registry) {
    registry.sink::<console::Config>();
    registry.sink::<elasticsearch::Config>();
}
