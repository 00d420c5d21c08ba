//! A condition: a VRL expression that is true or false for an event.

use std::sync::Arc;

use pipeline::{BuildError, BuildErrors, Context, Event, Spanned, TextOr, Time};
use schemars::JsonSchema;
use serde::Deserialize;

use super::compile::{Compiled, Use, Written, compile};
use super::guard::Budget;
use super::run::Runner;

/// A condition as it is written: VRL alone, or with its language as Vector writes it.
pub(crate) type Text = TextOr<Typed>;

/// A condition with its language.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Typed {
    /// The language; `vrl` is the only one.
    r#type: Spanned<String>,
    /// A VRL expression that is true or false.
    source: Spanned<String>,
}

/// Compiles a condition, for all workers at once.
pub(crate) fn condition(text: &Text, cx: &Context) -> Result<Shared, BuildErrors> {
    let source = match text {
        TextOr::Text(source) => source,
        TextOr::Table(Typed {
            r#type: language, ..
        }) if language.get() != "vrl" => {
            return Err(BuildError::at(
                language,
                format!("no condition is written in `{}`", language.get()),
            )
            .help("write type = \"vrl\", or the VRL expression alone")
            .into());
        }
        TextOr::Table(Typed { source, .. }) => source,
    };
    compile(Written::Here(source), Use::Condition, cx).map(Shared)
}

/// A compiled condition, shared by all workers.
#[derive(Clone, Debug)]
pub(crate) struct Shared(Arc<Compiled>);

/// One worker's condition.
pub(crate) struct Condition {
    runner: Runner,
}

impl Shared {
    /// Makes one ready to be asked.
    pub(crate) fn ready(&self) -> Condition {
        Condition {
            runner: Runner::new(&self.0, vrl::compiler::TimeZone::Local, Budget::default()),
        }
    }
}

impl Condition {
    /// Whether it holds for the event; why that cannot be said.
    pub(crate) fn holds(&mut self, event: &Event, now: Time) -> Result<bool, String> {
        self.runner.holds(event, now)
    }

    /// Lets go of what the last events held.
    pub(crate) fn let_go(&mut self) {
        self.runner.let_go();
    }
}
