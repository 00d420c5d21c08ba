//! Durations and sizes as an operator writes them: `"10m"`, `"1h30m"`, `"64MiB"`.
//!
//! A bare number is refused on purpose: `timeout = 10` does not say ten of what. The refusal names what to write.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::{Serialize, Serializer};

/// What cannot be read as a unit. The first line says why, the second what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitError {
    why: String,
    remedy: String,
}

impl UnitError {
    fn new(why: impl Into<String>, remedy: impl Into<String>) -> Self {
        UnitError {
            why: why.into(),
            remedy: remedy.into(),
        }
    }
}

impl fmt::Display for UnitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}", self.why, self.remedy)
    }
}

impl std::error::Error for UnitError {}

/// A length of time [ns], written `"10m"`, `"1h30m"` or `"250ms"`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration(std::time::Duration);

const TIMES: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
    ("d", 86_400_000_000_000),
    ("w", 604_800_000_000_000),
];

impl Duration {
    /// So many seconds.
    pub const fn from_secs(secs: u64) -> Self {
        Duration(std::time::Duration::from_secs(secs))
    }

    /// So many milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Duration(std::time::Duration::from_millis(millis))
    }

    /// As the standard library's duration.
    pub const fn get(self) -> std::time::Duration {
        self.0
    }

    /// Whole nanoseconds; what does not fit into 63 bits (292 years) becomes the largest number that does.
    pub fn as_nanos(self) -> i64 {
        i64::try_from(self.0.as_nanos()).unwrap_or(i64::MAX)
    }

    /// No time at all.
    pub const fn is_zero(self) -> bool {
        self.0.is_zero()
    }
}

impl From<Duration> for std::time::Duration {
    fn from(value: Duration) -> Self {
        value.0
    }
}

impl From<std::time::Duration> for Duration {
    fn from(value: std::time::Duration) -> Self {
        Duration(value)
    }
}

/// Cuts `"12ms rest"` into 12, `"ms"` and what follows. Fractions are allowed: the number comes as (whole, tenths…).
fn number_and_unit(text: &str) -> Option<(&str, &str, &str)> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, rest) = text.split_at(digits);
    let rest = rest.trim_start_matches(' ');
    let letters = rest
        .find(|c: char| !c.is_alphabetic())
        .unwrap_or(rest.len());
    let (unit, rest) = rest.split_at(letters);
    (!number.is_empty()).then_some((number, unit, rest))
}

/// `number × scale` in whole units, rounded down; `None` where it is no number or does not fit.
fn scaled(number: &str, scale: u64) -> Option<u64> {
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(scale);
    }
    let (whole, part) = number.split_once('.')?;
    if part.is_empty() || part.len() > 9 || whole.is_empty() || part.contains('.') {
        return None;
    }
    let whole = whole.parse::<u64>().ok()?.checked_mul(scale)?;
    let part = part.parse::<u128>().ok()? * u128::from(scale)
        / 10_u128.pow(u32::try_from(part.len()).ok()?);
    whole.checked_add(u64::try_from(part).ok()?)
}

impl FromStr for Duration {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let example =
            "write a number and a unit (ns us ms s m h d w), like \"30s\", \"10m\" or \"1h30m\"";
        let mut rest = text.trim();
        if rest.is_empty() {
            return Err(UnitError::new("a duration is missing here", example));
        }
        let mut total: u64 = 0;
        while !rest.is_empty() {
            let Some((number, unit, after)) = number_and_unit(rest) else {
                return Err(UnitError::new(
                    format!("{text:?} is not a duration"),
                    example,
                ));
            };
            let Some((_, scale)) = TIMES
                .iter()
                .find(|(name, _)| *name == unit || (*name == "us" && unit == "µs"))
            else {
                let why = if unit.is_empty() {
                    format!("{text:?} does not say {number} of what")
                } else {
                    format!("{unit:?} is not a unit of time")
                };
                let remedy = match unit {
                    "" if number == rest => {
                        format!("write \"{number}s\" for seconds, \"{number}ms\" for milliseconds")
                    }
                    "M" | "min" | "mins" | "minute" | "minutes" => {
                        format!("write \"{number}m\" for minutes")
                    }
                    "sec" | "secs" | "second" | "seconds" => {
                        format!("write \"{number}s\" for seconds")
                    }
                    "H" | "hour" | "hours" | "hr" => format!("write \"{number}h\" for hours"),
                    "D" | "day" | "days" => format!("write \"{number}d\" for days"),
                    "msec" | "millis" => format!("write \"{number}ms\" for milliseconds"),
                    _ => example.to_owned(),
                };
                return Err(UnitError::new(why, remedy));
            };
            let Some(sum) = scaled(number, *scale).and_then(|part| total.checked_add(part)) else {
                return Err(UnitError::new(
                    format!("{text:?} is no number that fits"),
                    "the longest duration is 584 years",
                ));
            };
            total = sum;
            rest = after.trim_start_matches(' ');
        }
        Ok(Duration(std::time::Duration::from_nanos(total)))
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = u64::try_from(self.0.as_nanos()).unwrap_or(u64::MAX);
        if rest == 0 {
            return f.write_str("0s");
        }
        for (unit, scale) in TIMES.iter().rev().filter(|(unit, _)| *unit != "w") {
            if rest >= *scale {
                write!(f, "{}{unit}", rest / scale)?;
                rest %= scale;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Duration;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration in quotes, like \"30s\"")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Duration, E> {
                text.parse().map_err(E::custom)
            }
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Duration, E> {
                Err(E::custom(bare(
                    number,
                    ["s", "seconds"],
                    ["ms", "milliseconds"],
                )))
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Duration, E> {
                Err(E::custom(bare(
                    number,
                    ["s", "seconds"],
                    ["ms", "milliseconds"],
                )))
            }
            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Duration, E> {
                Err(E::custom(bare(
                    number,
                    ["s", "seconds"],
                    ["ms", "milliseconds"],
                )))
            }
        }
        deserializer.deserialize_any(Text)
    }
}

fn bare(number: impl fmt::Display, first: [&str; 2], second: [&str; 2]) -> UnitError {
    UnitError::new(
        format!("{number} does not say {number} of what"),
        format!(
            "write \"{number}{}\" for {}, \"{number}{}\" for {}",
            first[0], first[1], second[0], second[1]
        ),
    )
}

impl JsonSchema for Duration {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "format": "duration",
            "pattern": r"^\s*([0-9.]+ *(ns|us|µs|ms|s|m|h|d|w) *)+$|\$\{",
        })
    }
}

/// An amount of memory or disk [bytes], written `"64MiB"` or `"1GB"`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(u64);

const SIZES: [(&str, u64); 9] = [
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
];

impl Bytes {
    /// So many bytes.
    pub const fn new(bytes: u64) -> Self {
        Bytes(bytes)
    }

    /// So many times 1024 bytes.
    pub const fn kib(n: u64) -> Self {
        Bytes(n << 10)
    }

    /// So many times 1024² bytes.
    pub const fn mib(n: u64) -> Self {
        Bytes(n << 20)
    }

    /// The number of bytes.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The number of bytes, for lengths in memory; capped at what this machine can address.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl FromStr for Bytes {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let example =
            "write a number and a unit (B KiB MiB GiB TiB, KB MB GB TB), like \"64MiB\" or \"1GB\"";
        let trimmed = text.trim();
        let Some((number, unit, "")) = number_and_unit(trimmed) else {
            let why = if trimmed.is_empty() {
                "a size is missing here".to_owned()
            } else {
                format!("{text:?} is not a size")
            };
            return Err(UnitError::new(why, example));
        };
        // "kB" and "kb" mean what they look like; a small "m" is a minute, and "64M" is read differently by every program.
        let Some((_, scale)) = SIZES
            .iter()
            .find(|(name, _)| *name == unit || (unit == "kB" && *name == "KB"))
        else {
            if unit.is_empty() {
                return Err(bare(number, ["B", "bytes"], ["MiB", "mebibytes"]));
            }
            let near = SIZES.iter().map(|(name, _)| *name).find(|name| {
                name.eq_ignore_ascii_case(unit)
                    || (name.len() == 3 && name[..1].eq_ignore_ascii_case(unit))
            });
            let remedy = near.map_or_else(
                || example.to_owned(),
                |name| format!("write \"{number}{name}\""),
            );
            return Err(UnitError::new(
                format!("{unit:?} is not a unit of size"),
                remedy,
            ));
        };
        scaled(number, *scale).map(Bytes).ok_or_else(|| {
            UnitError::new(
                format!("{text:?} is no number that fits"),
                "the largest size is 16777215TiB",
            )
        })
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, scale) in [SIZES[4], SIZES[3], SIZES[2], SIZES[1]] {
            if self.0 != 0 && self.0.is_multiple_of(scale) {
                return write!(f, "{}{unit}", self.0 / scale);
            }
        }
        write!(f, "{}B", self.0)
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Bytes;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size in quotes, like \"64MiB\"")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Bytes, E> {
                text.parse().map_err(E::custom)
            }
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Bytes, E> {
                Err(E::custom(bare(
                    number,
                    ["B", "bytes"],
                    ["MiB", "mebibytes"],
                )))
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Bytes, E> {
                Err(E::custom(bare(
                    number,
                    ["B", "bytes"],
                    ["MiB", "mebibytes"],
                )))
            }
            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Bytes, E> {
                Err(E::custom(bare(
                    number,
                    ["B", "bytes"],
                    ["MiB", "mebibytes"],
                )))
            }
        }
        deserializer.deserialize_any(Text)
    }
}

impl JsonSchema for Bytes {
    fn schema_name() -> Cow<'static, str> {
        "Bytes".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "format": "bytes",
            "pattern": r"^\s*[0-9.]+ *(B|KiB|MiB|GiB|TiB|kB|KB|MB|GB|TB)\s*$|\$\{",
        })
    }
}

#[cfg(test)]
mod tests;
