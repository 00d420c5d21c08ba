//! `hostname()`, the host as `host.name` says it, and `now()`, the time by the engine's clock, so that in a test it stands
//! still.

use vrl::prelude::*;

use super::Host;
use crate::vrl::target::NOW;

/// `hostname()`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hostname;

/// The same as VRL calls it.
#[derive(Clone, Copy, Debug)]
pub(super) struct GetHostname;

/// `now()`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now;

macro_rules! without_arguments {
    ($function:ident, $name:literal, $usage:literal, $kind:ident, $compile:expr) => {
        impl Function for $function {
            fn identifier(&self) -> &'static str {
                $name
            }
            fn usage(&self) -> &'static str {
                $usage
            }
            fn category(&self) -> &'static str {
                Category::System.as_ref()
            }
            fn return_kind(&self) -> u16 {
                kind::$kind
            }
            fn examples(&self) -> &'static [Example] {
                &[]
            }
            fn compile(
                &self,
                _: &TypeState,
                ctx: &mut FunctionCompileContext,
                _: ArgumentList,
            ) -> Compiled {
                let compile: fn(&FunctionCompileContext) -> Compiled = $compile;
                compile(ctx)
            }
        }
    };
}
without_arguments!(Hostname, "hostname", "The name of this host.", BYTES, host);
without_arguments!(
    GetHostname,
    "get_hostname",
    "The name of this host.",
    BYTES,
    host
);
without_arguments!(Now, "now", "The time now.", TIMESTAMP, |_| Ok(
    NowFn.as_expr()
));

fn host(ctx: &FunctionCompileContext) -> Compiled {
    let name = ctx.get_external_context::<Host>();
    let name = Value::from(name.map_or("", |host| host.0.as_str()));
    Ok(HostFn { name }.as_expr())
}

#[derive(Clone, Debug)]
struct HostFn {
    name: Value,
}

impl FunctionExpression for HostFn {
    fn resolve(&self, _: &mut Context) -> Resolved {
        Ok(self.name.clone())
    }
    fn type_def(&self, _: &TypeState) -> TypeDef {
        TypeDef::bytes().infallible()
    }
}

#[derive(Clone, Debug)]
struct NowFn;

impl FunctionExpression for NowFn {
    fn resolve(&self, ctx: &mut Context) -> Resolved {
        let now = ctx.target().target_get(&NOW)?;
        now.cloned().ok_or_else(|| "there is no clock".into())
    }
    fn type_def(&self, _: &TypeState) -> TypeDef {
        TypeDef::timestamp().infallible()
    }
}
