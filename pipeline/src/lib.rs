//! The engine of pvetrail: events, the lanes they travel in, the answers owed for them, and what every component shares.

pub mod clock;
pub mod event;
pub mod net;
pub mod redact;

pub use clock::{Clock, Time};
pub use event::{Buffer, Event, EventId, Field, JsonWriter, Span, Value, ValueRef, fields};
pub use redact::{RedactMode, RedactOptions, Redactor};
