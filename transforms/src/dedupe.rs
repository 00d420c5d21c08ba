//! `dedupe` lets each event through once.
//!
//! - in: any event; two are the same if they have the same `event.id`, or the same values in `fields`
//! - out: the first of each, in their order; the others are counted and left out by name
//! - no answer (an event has none of the `fields`): it passes; what cannot be told apart is not thrown away
//! - state: the keys of the last `cache.num_events` distinct events, 16 bytes each (24 with `window`)

mod key;
mod recent;

use pipeline::{
    BuildError, BuildErrors, Context, Duration, Event, Outputs, StateError, Stateful,
    StatefulConfig, Time,
};
use schemars::JsonSchema;
use serde::Deserialize;

use key::Keys;
use recent::{Key, Recent, Seen};

/// Most keys that may be remembered [keys]: 2.4 GiB with their index.
const MOST_EVENTS: usize = 50_000_000;

/// Lets each event through once.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What makes two events the same, instead of `event.id`: a list of fields, `{ match = [...] }` for the same, or
    /// `{ ignore = [...] }` for all fields but these.
    fields: Option<Fields>,
    /// How much is remembered.
    #[serde(default)]
    cache: Cache,
    /// Only an event at most this much later or earlier (by `@timestamp`) than the first is its copy; without, any is.
    window: Option<Duration>,
}

/// What makes two events the same.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
enum Fields {
    /// The values of these fields.
    List(Vec<String>),
    /// The values of these fields.
    Match {
        /// Dotted paths.
        r#match: Vec<String>,
    },
    /// The values of all other fields.
    Ignore {
        /// Dotted paths.
        ignore: Vec<String>,
    },
}

/// How much is remembered.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Cache {
    /// Distinct events remembered; the oldest is forgotten for the next [events].
    num_events: usize,
}

impl Default for Cache {
    fn default() -> Self {
        Cache {
            num_events: 100_000,
        }
    }
}

impl StatefulConfig for Config {
    const TYPE: &'static str = "dedupe";
    const EXAMPLE: &'static str = "cache = { num_events = 100_000 }";

    fn build(&self, _: &Context) -> Result<Box<dyn Stateful>, BuildErrors> {
        let mut errors = BuildErrors::new();
        let most = self.cache.num_events;
        if most == 0 || most > MOST_EVENTS {
            errors.push(
                BuildError::key(
                    "cache.num_events",
                    format!("{most} is not between 1 and {MOST_EVENTS}"),
                )
                .help("write how many distinct events may lie between an event and its copy"),
            );
        }
        if self.window.is_some_and(Duration::is_zero) {
            errors.push(
                BuildError::key("window", "a window of no length finds no copies").help(
                    "write a length like \"10m\", or leave it out to look at all events remembered",
                ),
            );
        }
        let keys = match &self.fields {
            None => Keys::Id,
            Some(Fields::List(paths) | Fields::Match { r#match: paths }) => {
                if paths.is_empty() {
                    errors.push(
                        BuildError::key("fields", "no field is named, so no event is like another")
                            .help("name fields, or leave `fields` out to compare `event.id`"),
                    );
                }
                Keys::of(paths)
            }
            Some(Fields::Ignore { ignore }) => Keys::but(ignore),
        };
        if !errors.is_empty() {
            return Err(errors);
        }
        let window = self.window.map(Duration::as_nanos);
        Ok(Box::new(Dedupe {
            keys,
            recent: Recent::new(most, window.is_some()),
            window: window.unwrap_or(i64::MAX),
            batch: Vec::new(),
            copies: Vec::new(),
        }))
    }
}

struct Dedupe {
    keys: Keys,
    recent: Recent,
    /// [ns]
    window: i64,
    /// Keys of the batch at hand, and the places of copies in it.
    batch: Vec<(Key, i64)>,
    copies: Vec<usize>,
}

impl Stateful for Dedupe {
    fn apply(&mut self, event: Event, out: &mut Outputs) {
        let Some(key) = self.keys.of_event(&event) else {
            return out.emit(event);
        };
        match self.recent.see(key, event.timestamp().0, self.window) {
            Seen::New => out.emit(event),
            Seen::Before => {
                out.duplicates(1);
                out.filtered(1);
            }
        }
    }

    fn apply_all(&mut self, events: &mut Vec<Event>, out: &mut Outputs) -> bool {
        if !matches!(self.keys, Keys::Id) {
            return false;
        }
        self.batch.clear();
        let ids = events
            .iter()
            .map(|event| (event.id().0, event.timestamp().0));
        self.batch.extend(ids);
        let (copies, mut n) = (&mut self.copies, 0);
        copies.clear();
        self.recent.see_all(&self.batch, self.window, |seen| {
            if seen == Seen::Before {
                copies.push(n);
            }
            n += 1;
        });
        if copies.is_empty() {
            return true;
        }
        out.duplicates(copies.len());
        out.filtered(copies.len());
        let (mut copies, mut n) = (copies.iter().peekable(), 0);
        events.retain(|_| {
            let is_copy = copies.next_if_eq(&&n).is_some();
            n += 1;
            !is_copy
        });
        true
    }

    /// Nothing waits for time to pass: a key outside its window is replaced when it comes again.
    fn advance(&mut self, _: Time, _: &mut Outputs) {}

    fn save(&self, to: &mut Vec<u8>) {
        self.recent.save(to);
    }

    fn remembered(&self) -> usize {
        self.recent.len()
    }

    fn meaning(&self) -> String {
        self.keys.meaning()
    }

    fn load(&mut self, from: &[u8]) -> Result<(), StateError> {
        self.recent.load(from).map_err(StateError)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use pipeline::{events, testing};

    #[test]
    fn each_event_goes_on_once_also_after_a_restart() {
        let mut dedupe = testing::stateful::<Config>("");
        let events = events![{"a": 1}, {"a": 1}];
        assert_eq!(dedupe.feed(events.clone()).kept(), [0, 1]);
        let again = dedupe.feed(events.clone());
        assert_eq!(
            (again.kept(), again.filtered(), again.duplicates()),
            (vec![], 2, 2)
        );
        dedupe.restart();
        assert!(dedupe.feed(events).kept().is_empty());
    }

    #[test]
    fn by_fields_and_what_has_none_of_them_passes() {
        let mut dedupe = testing::stateful::<Config>("fields = ['user', 'port']");
        let out = dedupe.feed(events![
            {"user": "a", "port": 1}, {"port": 1, "user": "a", "else": 2}, {"user": "a"}, {"user": "a", "port": ""},
            {"else": 1}, {"else": 1}
        ]);
        assert_eq!(out.kept(), [0, 2, 3, 4, 5]);
    }

    #[test]
    fn memory_is_bounded_and_a_window_shorter_than_it() {
        let mut dedupe = testing::stateful::<Config>("fields = ['k']\ncache = { num_events = 2 }");
        let out = dedupe.feed(events![{"k": 1}, {"k": 2}, {"k": 3}, {"k": 1}, {"k": 3}]);
        assert_eq!(out.kept(), [0, 1, 2, 3]);
        let mut dedupe = testing::stateful::<Config>("fields = ['k']\nwindow = '10m'");
        let out = dedupe.feed(events![
            {"k": 1, "@timestamp": "2026-03-14T23:00:00Z"}, {"k": 1, "@timestamp": "2026-03-14T23:10:00Z"},
            {"k": 1, "@timestamp": "2026-03-14T23:10:01Z"}, {"k": 1, "@timestamp": "2026-03-14T23:20:01Z"}
        ]);
        assert_eq!(out.kept(), [0, 2]);
        assert!(dedupe.wait(Duration::from_secs(3600)).events().is_empty());
    }

    #[test]
    fn every_mistake_is_told_with_its_remedy() {
        let wrong: Config = Config {
            fields: Some(Fields::List(vec![])),
            cache: Cache { num_events: 0 },
            window: None,
        };
        let cx = Context::for_tests(pipeline::Kind::Transform, "dedupe");
        let Err(errors) = wrong.build(&cx) else {
            panic!("it was built")
        };
        let told: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told.iter().all(|text| text.contains(';')), "{told:?}");
    }
}
