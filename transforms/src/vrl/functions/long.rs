//! `replace` and `join` of VRL, asked first how long their result could become: one line of 60 KB in the place of each of
//! its own letters would be gigabytes.

use vrl::prelude::*;

/// Longest text that either of them could make [bytes].
const LONGEST: usize = 64 << 20;

/// The functions, the argument that is gone through and the one that is written again and again.
const BOUNDED: &[(&str, &str, &str)] =
    &[("replace", "value", "with"), ("join", "value", "separator")];

/// VRL's own function, with a bound where it needs one.
pub(super) fn bounded(theirs: Box<dyn Function>) -> Box<dyn Function> {
    let name = theirs.identifier();
    match BOUNDED.iter().find(|(known, _, _)| *known == name) {
        Some((_, through, again)) => Box::new(Long {
            theirs,
            through,
            again,
        }),
        None => theirs,
    }
}

#[derive(Debug)]
struct Long {
    theirs: Box<dyn Function>,
    through: &'static str,
    again: &'static str,
}

impl Function for Long {
    fn identifier(&self) -> &'static str {
        self.theirs.identifier()
    }
    fn usage(&self) -> &'static str {
        self.theirs.usage()
    }
    fn category(&self) -> &'static str {
        self.theirs.category()
    }
    fn return_kind(&self) -> u16 {
        self.theirs.return_kind()
    }
    fn examples(&self) -> &'static [Example] {
        self.theirs.examples()
    }
    fn parameters(&self) -> &'static [Parameter] {
        self.theirs.parameters()
    }
    fn compile(
        &self,
        state: &TypeState,
        ctx: &mut FunctionCompileContext,
        arguments: ArgumentList,
    ) -> Compiled {
        let through = arguments.required(self.through);
        let again = arguments.optional(self.again);
        let theirs = self.theirs.compile(state, ctx, arguments)?;
        Ok(match again {
            Some(again) => Box::new(LongFn {
                theirs,
                through,
                again,
            }),
            None => theirs,
        })
    }
}

#[derive(Clone, Debug)]
struct LongFn {
    theirs: Box<dyn Expression>,
    through: Box<dyn Expression>,
    again: Box<dyn Expression>,
}

impl Expression for LongFn {
    fn resolve(&self, ctx: &mut Context) -> Resolved {
        let length = |value: &Value| match value {
            Value::Bytes(bytes) => bytes.len(),
            Value::String(text) => text.len(),
            Value::Array(values) => values.len(),
            _ => 0,
        };
        let again = self.again.resolve(ctx)?;
        let long = length(&again);
        // Short ones, which are nearly all, are not gone through twice.
        if long > 64 {
            let through = length(&self.through.resolve(ctx)?);
            // A `$1` of a regular expression stands for a part of the text, over all matches for no more than all of it.
            let parts = match &again {
                Value::Bytes(bytes) => bytes.iter().filter(|byte| **byte == b'$').count(),
                _ => 0,
            };
            let most = through
                .saturating_add(1)
                .saturating_mul(long.saturating_add(parts));
            if most > LONGEST {
                return Err(format!(
                    "the result could have {most} bytes: at most {} MiB are made",
                    LONGEST >> 20
                )
                .into());
            }
        }
        self.theirs.resolve(ctx)
    }
    fn type_info(&self, state: &TypeState) -> TypeInfo {
        // As fallible as VRL says: what is refused here is an event that nobody expects.
        self.theirs.type_info(state)
    }
}
