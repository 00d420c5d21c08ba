//! `sha256(value)` and `hmac_sha256(value, key)`: 64 lower-case hexadecimal digits, to make a name unreadable and yet
//! the same everywhere.

use aws_lc_rs::{digest, hmac};
use vrl::prelude::*;

/// `sha256(value)`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sha256;

/// `hmac_sha256(value, key)`.
#[derive(Clone, Copy, Debug)]
pub(super) struct HmacSha256;

const VALUE: Parameter = Parameter::required("value", kind::BYTES, "The text.");
const KEY: Parameter = Parameter::required("key", kind::BYTES, "The key.");

macro_rules! hash {
    ($function:ident, $name:literal, $usage:literal, $parameters:expr, $key:expr) => {
        impl Function for $function {
            fn identifier(&self) -> &'static str {
                $name
            }
            fn usage(&self) -> &'static str {
                $usage
            }
            fn category(&self) -> &'static str {
                Category::Cryptography.as_ref()
            }
            fn return_kind(&self) -> u16 {
                kind::BYTES
            }
            fn examples(&self) -> &'static [Example] {
                &[]
            }
            fn parameters(&self) -> &'static [Parameter] {
                const PARAMETERS: &[Parameter] = $parameters;
                PARAMETERS
            }
            fn compile(
                &self,
                _: &TypeState,
                _: &mut FunctionCompileContext,
                arguments: ArgumentList,
            ) -> Compiled {
                let key: fn(&ArgumentList) -> Option<Box<dyn Expression>> = $key;
                let (value, key) = (arguments.required("value"), key(&arguments));
                Ok(Hash { value, key }.as_expr())
            }
        }
    };
}
hash!(
    Sha256,
    "sha256",
    "The SHA-256 of a text in hexadecimal.",
    &[VALUE],
    |_| None
);
hash!(
    HmacSha256,
    "hmac_sha256",
    "The HMAC with SHA-256 of a text under a key, in hexadecimal.",
    &[VALUE, KEY],
    |arguments| Some(arguments.required("key"))
);

#[derive(Clone, Debug)]
struct Hash {
    value: Box<dyn Expression>,
    key: Option<Box<dyn Expression>>,
}

impl FunctionExpression for Hash {
    fn resolve(&self, ctx: &mut Context) -> Resolved {
        let value = self.value.resolve(ctx)?.try_bytes()?;
        Ok(match &self.key {
            None => hex(digest::digest(&digest::SHA256, &value).as_ref()),
            Some(key) => {
                let key = hmac::Key::new(hmac::HMAC_SHA256, &key.resolve(ctx)?.try_bytes()?);
                hex(hmac::sign(&key, &value).as_ref())
            }
        })
    }
    fn type_def(&self, _: &TypeState) -> TypeDef {
        TypeDef::bytes().infallible()
    }
}

fn hex(bytes: &[u8]) -> Value {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    let digits = digits.map(|digit| b"0123456789abcdef"[usize::from(digit)]);
    Value::Bytes(digits.collect())
}
