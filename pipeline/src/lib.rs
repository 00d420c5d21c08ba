//! The engine of pvetrail: events, the lanes they travel in, the answers owed for them, and what every component shares.

pub mod ack;
pub mod batch;
pub mod case;
pub mod catalogue;
pub mod clock;
pub mod component;
pub mod config;
mod disk;
pub mod dlq;
pub mod event;
pub mod events;
pub mod inbox;
pub mod lane;
pub mod lines;
pub mod mark;
pub mod net;
pub mod outputs;
mod position;
pub mod printable;
pub mod pve;
pub mod queue;
pub mod redact;
mod source_out;
pub mod state;
pub mod table;
pub mod telemetry;
pub mod testing;
pub mod told;
pub mod topology;
pub mod units;

pub use ack::{Ack, Creditor, Verdict};
pub use batch::Batch;
pub use catalogue::Catalogue;
pub use clock::{Clock, Time};
pub use component::{
    AnyConfig, BatchDefaults, BuildError, BuildErrors, Codec, Component, Compression, Context,
    Encoding, Fate, Key, Kind, Place, Reason, ReasonKind, Registry, Sink, SinkConfig, Source,
    SourceConfig, SourceError, Spanned, StateError, Stateful, StatefulConfig, TextOr, Transform,
    TransformConfig, Workers, WriteError, Written,
};
pub use config::{Diagnostics, Env, Graph, Language, OutputRef, SystemEnv, load};
pub use event::{
    Buffer, Event, EventId, Field, JsonWriter, Preset, Shared, Span, Value, ValueRef, fields,
};
pub use events::Events;
pub use lines::{LineBatch, LineConstants, LineFacts, LineIds};
pub use mark::{LaneId, Mark};
pub use net::{Auth, Http, Secret, TlsOptions as Tls, Url};
pub use outputs::Outputs;
pub use position::write_durably;
pub use printable::{printable, push_printable};
pub use redact::{RedactMode, RedactOptions, Redactor};
pub use source_out::{PendingVerdict, SourceOut, Stopped};
pub use table::{TableConfig, TableError};
pub use telemetry::{ComponentMetrics, Health, Telemetry};
pub use told::{Outcome, Told};
pub use topology::installation_key;
pub use units::{Bytes, Duration};
