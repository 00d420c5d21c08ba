//! Benches for the tests of components: feed one, look at what comes out.
//!
//! ```
//! # use pipeline::{Batch, BuildErrors, Context, Outputs, Transform, TransformConfig};
//! # #[derive(serde::Deserialize, schemars::JsonSchema)]
//! # struct Config {}
//! # impl TransformConfig for Config {
//! #     const TYPE: &'static str = "all";
//! #     const EXAMPLE: &'static str = "";
//! #     fn build(&self, _: &Context) -> Result<Box<dyn Transform>, BuildErrors> { Ok(Box::new(All)) }
//! # }
//! # struct All;
//! # impl Transform for All { fn apply(&mut self, batch: Batch, out: &mut Outputs) { out.push(batch) } }
//! use pipeline::{events, testing};
//!
//! let mut all = testing::transform::<Config>("");
//! let out = all.feed(events![{"port": 22}, {"user": "root@pam"}]);
//! assert_eq!(out.kept(), [0, 1]);
//! ```
//! An event is called by its field `n` if it has one, else by its place in the input from 0. The clock stands at
//! [`case::START`](crate::case::START) until it is moved. A mistake in a test is a panic that says what it is.

mod queue;
mod road;
mod transform;

use std::cell::Cell;
use std::sync::Arc;

pub use queue::{QueueBench, RecordBench, access_batch};
pub use road::{SinkBench, SinkOutcome, SourceBench, sink, source};
pub use serde_json::{Map, Value as Json, json};
pub use transform::{
    Outcome, StatefulBench, TransformBench, stateful, stateful_in, transform, transform_with,
};

pub use crate::net::receiver::{Answer, Received, Receiver, receiver};

use crate::case::START;
use crate::clock::Time;
use crate::component::{AnyConfig, Context, Kind, Registry};
use crate::event::{Event, EventId, Field, ValueRef};
use crate::table::{Table, TableConfig};

/// Events from JSON objects, dotted or nested: `events![{"port": 22}, {"user.name": "root"}]`. Each has an id of its own
/// and happens at the same time, unless it says otherwise.
#[macro_export]
macro_rules! events {
    ($($json:tt),* $(,)?) => {
        $crate::testing::events([$($crate::testing::json!($json)),*])
    };
}

thread_local! {
    static MADE: Cell<u64> = const { Cell::new(0) };
}

/// What [`events!`](crate::events) calls.
pub fn events(list: impl IntoIterator<Item = Json>) -> Vec<Event> {
    let event = |json| {
        let Json::Object(members) = json else {
            panic!("an event is a JSON object, not {json}");
        };
        let n = MADE.replace(MADE.get() + 1);
        let event = crate::case::event(members, "events!", n, START);
        event.unwrap_or_else(|why| panic!("{why}"))
    };
    list.into_iter().map(event).collect()
}

/// What events are called, by their ids.
struct Names(Vec<(EventId, i64)>);

impl Names {
    fn of(events: &[Event]) -> Names {
        let field = Field::new("n");
        let name = |(place, event): (usize, &Event)| {
            let n = event.get(field).and_then(ValueRef::as_int);
            (event.id(), n.unwrap_or(place as i64))
        };
        Names(events.iter().enumerate().map(name).collect())
    }

    /// The name; an event that was not fed has none.
    fn get(&self, id: EventId) -> Option<i64> {
        self.0
            .iter()
            .find(|(held, _)| *held == id)
            .map(|(_, name)| *name)
    }

    /// Names of those that were fed.
    fn all<'a>(&self, events: impl IntoIterator<Item = &'a Event>) -> Vec<i64> {
        events
            .into_iter()
            .filter_map(|event| self.get(event.id()))
            .collect()
    }
}

/// The component's own keys, read as from a file.
fn parse(
    kind: Kind,
    type_name: &'static str,
    toml: &str,
    registry: &Registry,
) -> (Box<dyn AnyConfig>, Context) {
    let env = crate::config::SystemEnv;
    match crate::config::parse_component(kind, type_name, toml, registry, &env) {
        Ok(config) => (config, Context::for_tests(kind, type_name)),
        Err(found) => panic!("{found}"),
    }
}

/// An enrichment table configured by `toml`, its own keys only, or what is wrong with it or with its file.
pub fn table<C: TableConfig>(id: &str, toml: &str) -> Result<Arc<Table>, String> {
    let mut registry = Registry::new();
    registry.table::<C>();
    crate::config::parse_table(id, C::TYPE, toml, &registry)
}

/// A time some way after the start of every test: `at("61 s")`.
pub fn at(after: &str) -> Time {
    let after: String = after.chars().filter(|c| !c.is_whitespace()).collect();
    match after.parse::<crate::units::Duration>() {
        Ok(after) => START.after(after.get()),
        Err(why) => panic!("{after:?} is no length of time: {why}"),
    }
}

/// Events as a source of lines makes them, each `line` one read from `host`: bytes that are not UTF-8 replaced, the text in
/// `message`.
pub fn line_events<'a>(host: &str, lines: impl IntoIterator<Item = &'a [u8]>) -> Vec<Event> {
    let constants = crate::lines::LineConstants {
        host: host.to_owned(),
        path: None,
        ids: crate::lines::LineIds::Counter(1),
    };
    let mut memory = crate::lines::LineMemory::default();
    let mut batch = crate::lines::LineBatch::new(&constants, &mut memory);
    for (n, line) in lines.into_iter().enumerate() {
        let at = batch.text().len();
        batch.extend(line);
        batch.extend(b"\n");
        batch.line(at..at + line.len(), n as u64);
    }
    let redactor = crate::redact::Redactor::new(&Default::default(), &[]);
    batch
        .finish(&mut memory, &redactor, &mut Vec::new(), START)
        .events
}
