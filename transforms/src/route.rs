//! `route` sends events to outputs by conditions: `[transforms.x.route] name = 'condition'` is the output `x.name`.
//!
//! - in: any event
//! - out: each event by every output whose condition holds, under the same id; with `mode = "first"` by the first one only,
//!   in the order in which they are written · what none of them takes leaves by `_unmatched`
//! - no answer (a field is absent, a type is another): the condition does not hold; the event is marked, and leaves a copy
//!   by `.errors`

use std::collections::BTreeMap;
use std::fmt;
use std::sync::OnceLock;

use pipeline::{
    Batch, BuildError, BuildErrors, Context, Event, Outputs, Transform, TransformConfig,
};
use schemars::JsonSchema;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

use crate::vrl::{self, Condition};

/// The output of what no condition takes.
const UNMATCHED: &str = "_unmatched";

/// Sends events to outputs by conditions.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Outputs and the conditions in VRL under which events leave by them.
    #[schemars(with = "BTreeMap<String, vrl::Text>")]
    route: Routes,
    /// Whether an event leaves by all outputs that take it, or by the first of them.
    #[serde(default)]
    mode: Mode,
    /// Events that no condition takes leave by `_unmatched`; `false` leaves them out, counted.
    #[serde(default = "yes")]
    reroute_unmatched: bool,
    /// Compiled once for all workers.
    #[serde(skip)]
    #[schemars(skip)]
    ready: OnceLock<Result<Vec<vrl::Shared>, BuildErrors>>,
}

/// By how many outputs an event leaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Mode {
    /// By every output whose condition holds.
    #[default]
    All,
    /// By the first output whose condition holds.
    First,
}

fn yes() -> bool {
    true
}

/// The outputs in the order in which they are written.
#[derive(Debug)]
struct Routes(Vec<(String, vrl::Text)>);

impl<'de> Deserialize<'de> for Routes {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Routes, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Routes;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table of outputs and their conditions")
            }
            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Routes, M::Error> {
                let mut routes = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    routes.push(entry);
                }
                Ok(Routes(routes))
            }
        }
        from.deserialize_map(InOrder)
    }
}

impl TransformConfig for Config {
    const TYPE: &'static str = "route";
    const EXAMPLE: &'static str = r#"route.failed = '.http.response.status_code == 401 || .http.response.status_code == 403'
route.tasks = 'exists(.pve.task.upid)'"#;
    const MAIN_OUTPUT: bool = false;

    fn build(&self, cx: &Context) -> Result<Box<dyn Transform>, BuildErrors> {
        let ready = self.ready.get_or_init(|| self.compile(cx));
        let shared = ready.as_ref().map_err(Clone::clone)?;
        Ok(Box::new(Route {
            branches: shared.iter().map(Branch::new).collect(),
            first: self.mode == Mode::First,
            reroute: self.reroute_unmatched,
        }))
    }

    fn outputs(&self) -> Vec<String> {
        let names = self.route.0.iter().map(|(name, _)| name.clone());
        let unmatched = self.reroute_unmatched.then(|| UNMATCHED.to_owned());
        names.chain(unmatched).collect()
    }
}

impl Config {
    fn compile(&self, cx: &Context) -> Result<Vec<vrl::Shared>, BuildErrors> {
        let mut errors = BuildErrors::new();
        if self.route.0.is_empty() {
            errors.push(
                BuildError::key("route", "no output is named")
                    .help("write route.NAME = '…' with a condition in VRL"),
            );
        }
        for (name, _) in &self.route.0 {
            let letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
            let taken = ["errors", "_default", UNMATCHED].contains(&name.as_str());
            if taken {
                errors.push(
                    BuildError::key(
                        format!("route.{name}"),
                        format!("`{name}` is an output of every route"),
                    )
                    .help("choose another name"),
                );
            } else if name.is_empty() || !name.chars().all(letter) {
                errors.push(
                    BuildError::key(
                        format!("route.{name}"),
                        format!("{name:?} is no name for an output"),
                    )
                    .help("use lower-case letters, digits and `_`"),
                );
            }
        }
        let conditions = self
            .route
            .0
            .iter()
            .map(|(_, text)| vrl::condition(text, cx));
        let ready: Vec<_> = conditions
            .filter_map(|compiled| errors.take(compiled))
            .collect();
        errors.finish(ready)
    }
}

struct Route {
    branches: Vec<Branch>,
    first: bool,
    reroute: bool,
}

/// One output.
struct Branch {
    condition: Condition,
    /// Events of the batch at hand that leave by it.
    events: Vec<Event>,
    /// Whether the event at hand leaves by it.
    holds: bool,
}

impl Branch {
    fn new(shared: &vrl::Shared) -> Branch {
        Branch {
            condition: shared.ready(),
            events: Vec::new(),
            holds: false,
        }
    }
}

impl Transform for Route {
    fn apply(&mut self, mut batch: Batch, out: &mut Outputs) {
        let mut unmatched = Vec::new();
        for mut event in std::mem::take(&mut batch.events) {
            let last = self.ask(&mut event, out);
            let Some(last) = last else {
                unmatched.push(event);
                continue;
            };
            for branch in self.branches[..last]
                .iter_mut()
                .filter(|branch| branch.holds)
            {
                branch.events.push(event.clone());
            }
            self.branches[last].events.push(event);
        }
        // Every output hears of the batch, also where none of its events leaves by it: it carries the mark.
        for (n, branch) in self.branches.iter_mut().enumerate() {
            branch.condition.let_go();
            out.push_to(n, batch.beside(std::mem::take(&mut branch.events)));
        }
        if self.reroute {
            batch.events = unmatched;
            out.push_to(self.branches.len(), batch);
        } else {
            out.filtered(unmatched.len());
            batch.ack.delivered();
        }
    }
}

impl Route {
    /// Finds out by which outputs the event leaves, and says the last of them.
    fn ask(&mut self, event: &mut Event, out: &mut Outputs) -> Option<usize> {
        let now = out.now();
        let (mut last, mut trouble) = (None, None);
        for (n, branch) in self.branches.iter_mut().enumerate() {
            branch.holds = (last.is_none() || !self.first)
                && branch.condition.holds(event, now).unwrap_or_else(|why| {
                    trouble.get_or_insert(why);
                    false
                });
            if branch.holds {
                last = Some(n);
            }
        }
        if let Some(why) = trouble {
            out.error(event, why);
        }
        last
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pipeline::events;
    use pipeline::testing::{self, TransformBench};

    fn route(options: &str) -> TransformBench {
        let routes = "route.small = '.n < 10 ?? false'\nroute.even = 'mod(int!(.n), 2) == 0'\nroute.text = 'is_string(.text)'\n";
        testing::transform::<Config>(&format!("{options}\n{routes}"))
    }

    #[test]
    fn an_event_leaves_by_every_output_that_takes_it() {
        let out = route("").feed(events![{"n": 1}, {"n": 2}, {"n": 12}, {"n": 13}, {"text": "x"}]);
        assert_eq!(out.sent("small"), [1, 2]);
        assert_eq!(out.sent("even"), [2, 12]);
        assert_eq!(out.sent("_unmatched"), [13]);
        // The last has no number, so one condition cannot be told; the others can.
        assert_eq!(out.sent("text"), [4]);
        assert_eq!(out.errors(), [4]);
        assert!(out.kept().is_empty());
    }

    #[test]
    fn or_by_the_first_one_only() {
        let out = route("mode = \"first\"").feed(events![{"n": 1}, {"n": 2}, {"n": 12}]);
        assert_eq!(out.sent("small"), [1, 2]);
        assert_eq!(out.sent("even"), [12]);
    }

    #[test]
    fn what_nobody_takes_can_be_left_out() {
        let out = route("reroute_unmatched = false").feed(events![{"n": 13}, {"n": 2}]);
        assert_eq!(out.filtered(), 1);
        assert_eq!(out.sent("even"), [2]);
    }
}
