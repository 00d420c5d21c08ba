//! Functions of VRL whose result can be larger than any bound, with one: what was packed small, a place far behind the end
//! of a list, a text times a number from an event. What else packs texts (`decode_snappy`, `decode_lz4`) believes any
//! length that is claimed, and is not offered; neither is what goes as deep as its text does (`parse_xml`,
//! `parse_ruby_hash`, `unflatten`), for a line of 8 KB would overflow the stack and end the program.

use std::io::Read;

use vrl::compiler::expression::{Expr, Op};
use vrl::parser::ast::{Node, Opcode};
use vrl::prelude::*;

/// Longest text that any of them makes [bytes].
const LONGEST: usize = 16 << 20;
/// Places of a list that can be set.
const PLACES: i64 = 100_000;

/// Longest path that can be set [parts].
const DEPTH: usize = 64;

/// Names of VRL's functions that are not offered.
pub(super) const NOT_OFFERED: &[&str] = &[
    "decode_snappy",
    "decode_lz4",
    "parse_xml",
    "parse_ruby_hash",
    "unflatten",
];
/// The name of [`Product`]; no program can write it.
pub(crate) const PRODUCT: &str = "|product|";

const VALUE: Parameter = Parameter::required("value", kind::BYTES, "The packed text.");

/// A function that unpacks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unpack {
    name: &'static str,
    unpack: fn(&[u8]) -> std::io::Result<Vec<u8>>,
}

impl Unpack {
    pub(super) const ALL: [Unpack; 3] = [
        Unpack {
            name: "decode_gzip",
            unpack: |packed| read(flate2::read::MultiGzDecoder::new(packed)),
        },
        Unpack {
            name: "decode_zlib",
            unpack: |packed| read(flate2::read::ZlibDecoder::new(packed)),
        },
        Unpack {
            name: "decode_zstd",
            unpack: |packed| read(zstd::stream::read::Decoder::new(packed)?),
        },
    ];
}

fn read(from: impl Read) -> std::io::Result<Vec<u8>> {
    let mut text = Vec::new();
    from.take(LONGEST as u64 + 1).read_to_end(&mut text)?;
    match text.len() > LONGEST {
        true => Err(std::io::Error::other(format!(
            "it is longer than {} MiB",
            LONGEST >> 20
        ))),
        false => Ok(text),
    }
}

impl Function for Unpack {
    fn identifier(&self) -> &'static str {
        self.name
    }
    fn usage(&self) -> &'static str {
        "Unpacks a text."
    }
    fn category(&self) -> &'static str {
        Category::Codec.as_ref()
    }
    fn return_kind(&self) -> u16 {
        kind::BYTES
    }
    fn examples(&self) -> &'static [Example] {
        &[]
    }
    fn parameters(&self) -> &'static [Parameter] {
        const PARAMETERS: &[Parameter] = &[VALUE];
        PARAMETERS
    }
    fn compile(
        &self,
        _: &TypeState,
        _: &mut FunctionCompileContext,
        arguments: ArgumentList,
    ) -> Compiled {
        let value = arguments.required("value");
        Ok(UnpackFn {
            value,
            unpack: self.unpack,
        }
        .as_expr())
    }
}

#[derive(Clone, Debug)]
struct UnpackFn {
    value: Box<dyn Expression>,
    unpack: fn(&[u8]) -> std::io::Result<Vec<u8>>,
}

impl FunctionExpression for UnpackFn {
    fn resolve(&self, ctx: &mut Context) -> Resolved {
        let packed = self.value.resolve(ctx)?.try_bytes()?;
        let text =
            (self.unpack)(&packed).map_err(|why| format!("the text cannot be unpacked: {why}"))?;
        Ok(Value::Bytes(text.into()))
    }
    fn type_def(&self, _: &TypeState) -> TypeDef {
        TypeDef::bytes().fallible()
    }
}

/// VRL's `set`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Set;

impl Function for Set {
    fn identifier(&self) -> &'static str {
        "set"
    }
    fn usage(&self) -> &'static str {
        "Sets what stands at a path that is made while the program runs."
    }
    fn category(&self) -> &'static str {
        Category::Path.as_ref()
    }
    fn return_kind(&self) -> u16 {
        kind::OBJECT | kind::ARRAY
    }
    fn examples(&self) -> &'static [Example] {
        &[]
    }
    fn parameters(&self) -> &'static [Parameter] {
        const PARAMETERS: &[Parameter] = &[
            Parameter::required("value", kind::OBJECT | kind::ARRAY, "The object or list."),
            Parameter::required("path", kind::ARRAY, "The names and places of the path."),
            Parameter::required("data", kind::ANY, "What is set there."),
        ];
        PARAMETERS
    }
    fn compile(
        &self,
        _: &TypeState,
        _: &mut FunctionCompileContext,
        arguments: ArgumentList,
    ) -> Compiled {
        let [value, path, data] = ["value", "path", "data"].map(|name| arguments.required(name));
        Ok(SetFn { value, path, data }.as_expr())
    }
}

#[derive(Clone, Debug)]
struct SetFn {
    value: Box<dyn Expression>,
    path: Box<dyn Expression>,
    data: Box<dyn Expression>,
}

impl FunctionExpression for SetFn {
    fn resolve(&self, ctx: &mut Context) -> Resolved {
        let path = self.path.resolve(ctx)?.try_array()?;
        let mut value = self.value.resolve(ctx)?;
        let data = self.data.resolve(ctx)?;
        if path.len() > DEPTH {
            let parts = path.len();
            return Err(format!("a path of {parts} parts is too long: at most {DEPTH}").into());
        }
        for part in &path {
            if let Value::Integer(place) = part
                && place.unsigned_abs() > PLACES.unsigned_abs()
            {
                return Err(
                    format!("no list has a place {place}: at most {PLACES} can be set").into(),
                );
            }
        }
        let path = vrl::path::OwnedValuePath::try_from(path)?;
        value.insert(&path, data);
        Ok(value)
    }
    fn type_def(&self, state: &TypeState) -> TypeDef {
        let value = self.value.type_def(state);
        let mut made = TypeDef::from(Kind::never()).fallible();
        if value.is_array() {
            made = made.or_array(Collection::any());
        }
        if value.is_object() {
            made = made.or_object(Collection::any());
        }
        made
    }
}

/// `a * b` where neither is written as a number: a text can be repeated only so often.
#[derive(Clone, Copy, Debug)]
pub(super) struct Product;

impl Function for Product {
    fn identifier(&self) -> &'static str {
        PRODUCT
    }
    fn usage(&self) -> &'static str {
        "Multiplies."
    }
    fn category(&self) -> &'static str {
        Category::Number.as_ref()
    }
    fn return_kind(&self) -> u16 {
        kind::ANY
    }
    fn examples(&self) -> &'static [Example] {
        &[]
    }
    fn parameters(&self) -> &'static [Parameter] {
        const PARAMETERS: &[Parameter] = &[
            Parameter::required("left", kind::ANY, "The one."),
            Parameter::required("right", kind::ANY, "The other."),
        ];
        PARAMETERS
    }
    fn compile(
        &self,
        state: &TypeState,
        ctx: &mut FunctionCompileContext,
        arguments: ArgumentList,
    ) -> Compiled {
        let part = |name| Node::<Expr>::new(ctx.span(), arguments.required_expr(name));
        let code = Node::new(ctx.span(), Opcode::Mul);
        let product = Op::new(part("left"), code, part("right"), state)
            .map_err(|why| Box::new(why) as Box<dyn DiagnosticMessage>)?;
        let [left, right] = ["left", "right"].map(|name| arguments.required(name));
        Ok(Box::new(ProductFn {
            left,
            right,
            product,
        }))
    }
}

#[derive(Clone, Debug)]
struct ProductFn {
    left: Box<dyn Expression>,
    right: Box<dyn Expression>,
    product: Op,
}

impl Expression for ProductFn {
    fn resolve(&self, ctx: &mut Context) -> Resolved {
        let (left, right) = (self.left.resolve(ctx)?, self.right.resolve(ctx)?);
        let times = match (&left, &right) {
            (Value::Integer(times), text) | (text, Value::Integer(times)) => {
                let length = match text {
                    Value::Bytes(bytes) => bytes.len(),
                    Value::String(text) => text.len(),
                    _ => 0,
                };
                usize::try_from(*times).unwrap_or(0).saturating_mul(length)
            }
            _ => 0,
        };
        if times > LONGEST {
            return Err(format!(
                "a text of {times} bytes is too long: at most {} MiB are made",
                LONGEST >> 20
            )
            .into());
        }
        Ok(left.try_mul(right)?)
    }
    fn type_info(&self, state: &TypeState) -> TypeInfo {
        self.product.type_info(state)
    }
}
