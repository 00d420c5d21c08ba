//! `filter` lets an event through when a condition holds.
//!
//! - in: any event
//! - out: the events for which `condition` is true, in their order; the others are left out and counted
//! - no answer (a field is absent, a type is another): the event passes, marked, and also out of `.errors`

use std::sync::OnceLock;

use pipeline::{Batch, BuildErrors, Context, Outputs, Transform, TransformConfig};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::vrl::{self, Condition};

/// Lets events through for which a condition holds.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// A VRL expression that is true or false, like `.host.name == "pve1"`; or `{ type = "vrl", source = '…' }`.
    condition: vrl::Text,
    /// Compiled once for all workers.
    #[serde(skip)]
    #[schemars(skip)]
    ready: OnceLock<Result<vrl::Shared, BuildErrors>>,
}

impl TransformConfig for Config {
    const TYPE: &'static str = "filter";
    const EXAMPLE: &'static str = r#"condition = '.user.name != "backup"'"#;

    fn build(&self, cx: &Context) -> Result<Box<dyn Transform>, BuildErrors> {
        let condition = self
            .ready
            .get_or_init(|| vrl::condition(&self.condition, cx));
        let condition = condition.as_ref().map_err(Clone::clone)?.ready();
        Ok(Box::new(Filter { condition }))
    }
}

struct Filter {
    condition: Condition,
}

impl Transform for Filter {
    fn apply(&mut self, mut batch: Batch, out: &mut Outputs) {
        let now = out.now();
        let left_out = batch.retain(|event| match self.condition.holds(event, now) {
            Ok(holds) => holds,
            Err(why) => {
                // One too many is better than one lost.
                out.error(event, why);
                true
            }
        });
        self.condition.let_go();
        out.filtered(left_out);
        out.push(batch);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pipeline::{events, testing};

    #[test]
    fn an_event_without_the_field_passes_and_is_marked() {
        let mut filter = testing::transform::<Config>("condition = 'int!(.port) > 1024'");
        let out = filter.feed(events![{"port": 22}, {"port": 8006}, {"user": "root@pam"}]);
        // Places in the input, from 0.
        assert_eq!(out.kept(), [1, 2]);
        assert_eq!(out.errors(), [2]);
        assert_eq!(out.filtered(), 1);
    }

    #[test]
    fn a_condition_may_say_its_language() {
        let toml = r#"condition = { type = "vrl", source = 'exists(.user.name) || .n == 7' }"#;
        let mut filter = testing::transform::<Config>(toml);
        let out = filter.feed(events![{"user": {"name": "root"}}, {"n": 7}, {"n": 8}]);
        assert_eq!(out.kept(), [0, 7]);
        assert!(out.errors().is_empty());
    }
}
