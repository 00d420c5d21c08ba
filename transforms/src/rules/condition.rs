//! What a number must be: `{ gte = 3 }`; several comparisons are all to hold.

use std::fmt;

/// One comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compare {
    Gt,
    Gte,
    Lt,
    Lte,
    Eq,
    Neq,
}

impl Compare {
    fn holds(self, value: f64, bound: f64) -> bool {
        match self {
            Compare::Gt => value > bound,
            Compare::Gte => value >= bound,
            Compare::Lt => value < bound,
            Compare::Lte => value <= bound,
            Compare::Eq => value == bound,
            Compare::Neq => value != bound,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Compare::Gt => "gt",
            Compare::Gte => "gte",
            Compare::Lt => "lt",
            Compare::Lte => "lte",
            Compare::Eq => "eq",
            Compare::Neq => "neq",
        }
    }
}

/// Comparisons that must all hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Condition(pub(super) Vec<(Compare, f64)>);

impl Condition {
    /// Whether the value is as it must be.
    pub fn holds(&self, value: f64) -> bool {
        self.0.iter().all(|(how, bound)| how.holds(value, *bound))
    }

    /// Whether it stays true when the value grows: it may fire on arrival. Otherwise it waits for the watermark.
    pub fn only_grows(&self) -> bool {
        self.0
            .iter()
            .all(|(how, _)| matches!(how, Compare::Gt | Compare::Gte))
    }

    /// The least whole number that is enough, if it only grows: N of "gte N".
    pub fn needs(&self) -> Option<u64> {
        if !self.only_grows() {
            return None;
        }
        let least = |(how, bound): &(Compare, f64)| match how {
            Compare::Gt => bound.floor() + 1.0,
            _ => bound.ceil(),
        };
        Some(self.0.iter().map(least).fold(0.0, f64::max) as u64)
    }

    /// The greatest number it compares with.
    pub(super) fn greatest(&self) -> f64 {
        self.0.iter().map(|(_, bound)| *bound).fold(0.0, f64::max)
    }

    /// Whether some number fulfils it; `counts`: some whole number from 0 on.
    pub(super) fn can_hold(&self, counts: bool) -> bool {
        let near = |(_, bound): &(Compare, f64)| {
            [
                bound - 1.0,
                bound - 0.5,
                *bound,
                bound + 0.5,
                bound + 1.0,
                bound.floor(),
                bound.ceil(),
            ]
        };
        let mut candidates: Vec<f64> = self.0.iter().flat_map(near).chain([0.0, 1.0]).collect();
        // Between any two bounds there may be room for a number, and a `neq` may take the first one away.
        candidates.sort_by(f64::total_cmp);
        let between: Vec<f64> = candidates
            .windows(2)
            .map(|pair| f64::midpoint(pair[0], pair[1]))
            .collect();
        candidates.extend(between);
        let allowed =
            |value: &f64| value.is_finite() && (!counts || (*value >= 0.0 && value.fract() == 0.0));
        candidates
            .iter()
            .filter(|value| allowed(value))
            .any(|value| self.holds(*value))
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (how, bound)) in self.0.iter().enumerate() {
            let comma = if n > 0 { ", " } else { "" };
            write!(f, "{comma}{} {bound}", how.name())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn needs_is_the_least_that_holds() {
        for (how, bound, needs) in [
            (Compare::Gt, 5.0, 6),
            (Compare::Gte, 3.0, 3),
            (Compare::Gt, 2.5, 3),
            (Compare::Gte, -1.0, 0),
        ] {
            let condition = Condition(vec![(how, bound)]);
            assert_eq!(condition.needs(), Some(needs));
            assert!(condition.holds(needs as f64));
        }
        assert_eq!(Condition(vec![(Compare::Lt, 5.0)]).needs(), None);
    }

    #[test]
    fn what_can_never_hold_is_seen() {
        let can = |list: &[(Compare, f64)], counts| Condition(list.to_vec()).can_hold(counts);
        assert!(!can(&[(Compare::Gt, 5.0), (Compare::Lt, 3.0)], true));
        assert!(!can(&[(Compare::Gt, 5.0), (Compare::Lt, 6.0)], true));
        assert!(can(&[(Compare::Gt, 5.0), (Compare::Lt, 6.0)], false));
        assert!(!can(&[(Compare::Lt, 0.0)], true));
        assert!(can(&[(Compare::Gte, 3.0), (Compare::Neq, 3.0)], true));
        assert!(can(
            &[
                (Compare::Gte, 3.0),
                (Compare::Neq, 3.0),
                (Compare::Neq, 4.0),
                (Compare::Lt, 6.0)
            ],
            true
        ));
    }
}
