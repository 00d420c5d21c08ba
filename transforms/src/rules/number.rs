//! Numbers by value: 104, 104.0 and "104" are the same.

use std::cmp::Ordering;

use pipeline::ValueRef;

/// A number that does not lose whole ones above 2⁵³.
#[derive(Clone, Copy, Debug)]
pub(super) enum Number {
    Int(i64),
    Float(f64),
}

impl Number {
    /// The number that a value is or spells.
    pub(super) fn of(value: ValueRef<'_>) -> Option<Number> {
        match value {
            ValueRef::Int(number) => Some(Number::Int(number)),
            ValueRef::Float(number) => Some(Number::Float(number)),
            ValueRef::Str(text) => Number::parse(text),
            _ => None,
        }
    }

    /// Digits, with sign, fraction and exponent; no "inf", no "nan", nothing long.
    pub(super) fn parse(text: &str) -> Option<Number> {
        let first = text.trim_start_matches(['-', '+']).bytes().next()?;
        if text.len() > 40 || !(first.is_ascii_digit() || first == b'.') {
            return None;
        }
        match text.parse::<i64>() {
            Ok(number) => Some(Number::Int(number)),
            Err(_) => text.parse::<f64>().ok().map(Number::Float),
        }
    }

    pub(super) fn as_f64(self) -> f64 {
        match self {
            Number::Int(number) => number as f64,
            Number::Float(number) => number,
        }
    }

    /// `None` with what is no number at all.
    pub(super) fn compare(self, other: Number) -> Option<Ordering> {
        match (self, other) {
            (Number::Int(one), Number::Int(other)) => Some(one.cmp(&other)),
            (Number::Int(one), Number::Float(other)) => exactly(one, other),
            (Number::Float(one), Number::Int(other)) => exactly(other, one).map(Ordering::reverse),
            (Number::Float(one), Number::Float(other)) => one.partial_cmp(&other),
        }
    }
}

fn exactly(whole: i64, other: f64) -> Option<Ordering> {
    let rough = (whole as f64).partial_cmp(&other)?;
    if rough != Ordering::Equal {
        return Some(rough);
    }
    // Both are near enough that the float is whole, and fits into 128 bits.
    Some(i128::from(whole).cmp(&(other as i128)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_are_compared_exactly() {
        let big = (1_i64 << 53) + 1;
        let compare = |one, other| Number::compare(one, other);
        assert_eq!(
            compare(Number::Int(big), Number::Float((1_i64 << 53) as f64)),
            Some(Ordering::Greater)
        );
        assert_eq!(
            compare(Number::Int(i64::MAX), Number::Float(i64::MAX as f64)),
            Some(Ordering::Less)
        );
        assert_eq!(
            compare(Number::Float(104.0), Number::Int(104)),
            Some(Ordering::Equal)
        );
        assert_eq!(compare(Number::Float(f64::NAN), Number::Int(0)), None);
        assert!(
            Number::parse("inf").is_none()
                && Number::parse("NaN").is_none()
                && Number::parse("-").is_none()
        );
        assert!(matches!(Number::parse("1e3"), Some(Number::Float(v)) if v == 1000.0));
    }
}
