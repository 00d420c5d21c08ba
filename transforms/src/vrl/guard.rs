//! Bounds for a program on one event: steps, time, and memory.
//!
//! VRL repeats nothing but the block of a function like `for_each`, once for each element of something. So only a program
//! with such a block can go on for long, or let a value grow with every turn; only there steps are counted, and at the
//! beginning of each turn the memory is looked at that the event and the variables hold which such blocks set. VRL copies
//! a value that it appends to, so looking at it costs little beside.

use std::ops::ControlFlow;
use std::time::Instant;

use pipeline::{BuildError, Duration};
use schemars::JsonSchema;
use serde::Deserialize;
use vrl::compiler::ExpressionError;
use vrl::compiler::runtime::ExecutionControl;
use vrl::parser::ast::Ident;
use vrl::prelude::*;

use super::target;

/// The guard's name as a function; no program can write it.
pub(super) const NAME: &str = "|memory|";

/// Most memory that the variables of a program and what it changed of the event may hold at the beginning of a turn
/// [bytes]. One turn can only multiply it by what is written in its block.
const MOST_MEMORY: usize = 32 << 20;
/// Most values nested in one another, at the beginning of a turn.
const MOST_DEPTH: usize = 64;
/// Steps between two looks at the clock.
const STEPS_PER_LOOK: u64 = 256;

/// How long a program may work on one event.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Budget {
    /// Expressions evaluated, those of repeated blocks each time [steps].
    pub(crate) steps: u64,
    /// Time by the clock.
    pub(crate) time: Duration,
}

impl Default for Budget {
    fn default() -> Budget {
        Budget {
            steps: 1_000_000,
            time: Duration::from_secs(1),
        }
    }
}

impl Budget {
    /// What is wrong with it.
    pub(crate) fn mistake(self) -> Option<BuildError> {
        if self.steps == 0 {
            return Some(
                BuildError::key("budget.steps", "no program ends within 0 steps")
                    .help("the default is 1_000_000"),
            );
        }
        self.time.is_zero().then(|| {
            BuildError::key("budget.time", "no program ends within no time")
                .help("the default is \"1s\"")
        })
    }
}

/// Counts the steps of one run.
pub(super) struct Control {
    budget: Budget,
    steps: u64,
    begun: Instant,
    /// Which bound was met.
    pub(super) spent: Option<String>,
}

impl Control {
    pub(super) fn new(budget: Budget) -> Control {
        Control {
            budget,
            steps: 0,
            begun: Instant::now(),
            spent: None,
        }
    }

    /// Why the run was ended.
    pub(super) fn why(self) -> String {
        self.spent.unwrap_or_else(|| {
            format!("the program needs more than {} MiB for this event, or nests values deeper than {MOST_DEPTH}", MOST_MEMORY >> 20)
        })
    }
}

impl ExecutionControl for Control {
    #[inline]
    fn checkpoint(&mut self) -> ControlFlow<()> {
        self.steps += 1;
        if self.steps > self.budget.steps {
            self.spent = Some(format!(
                "the program did not end within {} steps (`budget.steps`)",
                self.budget.steps
            ));
            return ControlFlow::Break(());
        }
        if self.steps.is_multiple_of(STEPS_PER_LOOK)
            && self.begun.elapsed() > self.budget.time.get()
        {
            self.spent = Some(format!(
                "the program did not end within {} (`budget.time`)",
                self.budget.time
            ));
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }
}

/// Looks at the memory that the variables named in its argument hold, and the event.
#[derive(Clone, Copy, Debug)]
pub(super) struct Guard;

impl Function for Guard {
    fn identifier(&self) -> &'static str {
        NAME
    }
    fn usage(&self) -> &'static str {
        "Ends the program when it holds too much."
    }
    fn category(&self) -> &'static str {
        Category::Debug.as_ref()
    }
    fn return_kind(&self) -> u16 {
        kind::NULL
    }
    fn examples(&self) -> &'static [Example] {
        &[]
    }
    fn parameters(&self) -> &'static [Parameter] {
        const PARAMETERS: &[Parameter] =
            &[Parameter::required("names", kind::BYTES, "The variables.")];
        PARAMETERS
    }
    fn compile(
        &self,
        state: &TypeState,
        _: &mut FunctionCompileContext,
        arguments: ArgumentList,
    ) -> Compiled {
        let names = arguments.required_literal("names", state)?;
        let names = names
            .try_bytes_utf8_lossy()
            .unwrap_or_default()
            .into_owned();
        let variables = names.lines().map(Ident::new).collect();
        Ok(GuardFn { variables }.as_expr())
    }
}

#[derive(Clone, Debug)]
struct GuardFn {
    variables: Vec<Ident>,
}

impl FunctionExpression for GuardFn {
    fn resolve(&self, ctx: &mut Context) -> Resolved {
        let mut look = Look {
            memory: 0,
            deep: false,
        };
        for variable in &self.variables {
            if let Some(value) = ctx.state().variable(variable) {
                look.at(value, 0);
            }
        }
        if look.is_too_much() || ctx.target().get_secret(target::TOO_MUCH).is_some() {
            return Err(ExpressionError::Interrupted);
        }
        Ok(Value::Null)
    }
    fn type_def(&self, _: &TypeState) -> TypeDef {
        TypeDef::null().infallible()
    }
}

/// A look at how much memory values hold.
pub(super) struct Look {
    memory: usize,
    deep: bool,
}

impl Look {
    /// Whether these values hold too much together.
    pub(super) fn finds_too_much<'a>(values: impl Iterator<Item = &'a Value>) -> bool {
        let mut look = Look {
            memory: 0,
            deep: false,
        };
        values.for_each(|value| look.at(value, 0));
        look.is_too_much()
    }

    fn is_too_much(&self) -> bool {
        self.deep || self.memory > MOST_MEMORY
    }

    fn at(&mut self, value: &Value, depth: usize) {
        self.memory += size_of::<Value>();
        self.deep |= depth > MOST_DEPTH;
        match value {
            Value::Bytes(bytes) => self.memory += bytes.len(),
            Value::String(text) => self.memory += text.len(),
            Value::Array(list) => {
                for value in list {
                    if self.is_too_much() {
                        return;
                    }
                    self.at(value, depth + 1);
                }
            }
            Value::Object(members) => {
                for (key, value) in members {
                    if self.is_too_much() {
                        return;
                    }
                    self.memory += size_of::<KeyString>() + key.len();
                    self.at(value, depth + 1);
                }
            }
            _ => {}
        }
    }
}
