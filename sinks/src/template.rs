//! Names that follow the time of an event: `pve-audit-%Y.%m`, `/var/log/pve/%Y-%m-%d.log`. All in UTC.
//!
//! A name holds for a whole hour, day, month or year; it comes with that span, so that nobody makes it for each event.

use std::ops::Range;

use pipeline::Time;

/// Nanoseconds in an hour.
const HOUR: i64 = 3_600_000_000_000;

/// How often the name changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Grain {
    Hour,
    Day,
    Month,
    Year,
    Never,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Year,
    Month,
    Day,
    Hour,
}

/// A template that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Template {
    parts: Vec<Part>,
    grain: Grain,
}

/// A name and the times for which it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    /// The name.
    pub(crate) name: String,
    /// The first time it holds for [ns].
    pub(crate) from: i64,
    /// The first it does not hold for any more [ns].
    pub(crate) to: i64,
}

impl Named {
    /// Whether it holds at `time`.
    #[inline]
    pub(crate) fn holds(&self, time: Time) -> bool {
        self.from <= time.0 && time.0 < self.to
    }
}

impl Template {
    /// Reads it; the error names the range of bytes that is wrong.
    pub(crate) fn parse(text: &str) -> Result<Self, (Range<usize>, String)> {
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut grain = Grain::Never;
        let mut chars = text.char_indices();
        while let Some((at, c)) = chars.next() {
            if c != '%' {
                plain.push(c);
                continue;
            }
            let (end, kind) = chars
                .next()
                .map_or((at + 1, '\0'), |(i, k)| (i + k.len_utf8(), k));
            let (part, fine) = match kind {
                'Y' => (Part::Year, Grain::Year),
                'm' => (Part::Month, Grain::Month),
                'd' => (Part::Day, Grain::Day),
                'H' => (Part::Hour, Grain::Hour),
                '%' => {
                    plain.push('%');
                    continue;
                }
                _ => return Err((at..end, "a name knows %Y, %m, %d and %H".to_owned())),
            };
            grain = grain.min(fine);
            if !plain.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut plain)));
            }
            parts.push(part);
        }
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        Ok(Self { parts, grain })
    }

    /// Everything before the first part that changes: `pve-audit-`.
    pub(crate) fn prefix(&self) -> &str {
        match self.parts.first() {
            Some(Part::Text(text)) => text,
            _ => "",
        }
    }

    /// Whether the name is the same for ever.
    pub(crate) fn is_fixed(&self) -> bool {
        self.grain == Grain::Never
    }

    /// The name at `time`.
    pub(crate) fn name(&self, time: Time) -> Named {
        // Room to look around the year without leaving the range of times.
        let clamped = Time(
            time.0
                .clamp(i64::MIN + 800 * 24 * HOUR, i64::MAX - 800 * 24 * HOUR),
        );
        let (year, month, day) = clamped.date();
        let hour = clamped.0.rem_euclid(24 * HOUR) / HOUR;
        let name = self.parts.iter().map(|part| match part {
            Part::Text(text) => text.clone(),
            Part::Year => format!("{year:04}"),
            Part::Month => format!("{month:02}"),
            Part::Day => format!("{day:02}"),
            Part::Hour => format!("{hour:02}"),
        });
        let midnight = clamped.0 - clamped.0.rem_euclid(24 * HOUR);
        // Walking days needs no calendar of its own, and happens once for each month.
        let edge = |step: i64, same: &dyn Fn((i64, u32, u32)) -> bool| {
            let mut at = midnight;
            while same(Time(at + step).date()) {
                at += step;
            }
            at
        };
        let around = |same: &dyn Fn((i64, u32, u32)) -> bool| {
            (edge(-24 * HOUR, same), edge(24 * HOUR, same) + 24 * HOUR)
        };
        let (from, to) = match self.grain {
            Grain::Never => (i64::MIN, i64::MAX),
            Grain::Hour => (midnight + hour * HOUR, midnight + (hour + 1) * HOUR),
            Grain::Day => (midnight, midnight + 24 * HOUR),
            Grain::Month => around(&|date| (date.0, date.1) == (year, month)),
            Grain::Year => around(&|date| date.0 == year),
        };
        // The very ends of time belong to the last names there are.
        let (from, to) = (from.min(time.0), to.max(time.0.saturating_add(1)));
        Named {
            name: name.collect(),
            from,
            to,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(template: &str, time: &str) -> String {
        Template::parse(template)
            .unwrap()
            .name(Time::parse(time).unwrap())
            .name
    }

    #[test]
    fn names_follow_the_time_of_the_event_in_utc() {
        assert_eq!(
            name("pve-audit-%Y.%m", "2026-03-31T23:59:59.999Z"),
            "pve-audit-2026.03"
        );
        assert_eq!(
            name("pve-audit-%Y.%m", "2026-04-01T00:30:00+02:00"),
            "pve-audit-2026.03"
        );
        assert_eq!(
            name("a-%Y.%m.%d-%H", "2024-02-29T07:00:00Z"),
            "a-2024.02.29-07"
        );
        assert_eq!(name("a-%Y", "1970-01-01T00:00:00Z"), "a-1970");
        assert_eq!(name("100%%", "1970-01-01T00:00:00Z"), "100%");
    }

    #[test]
    fn a_name_holds_for_just_the_times_that_give_it() {
        for template in ["x-%Y.%m", "x-%Y.%m.%d", "x-%Y.%m.%d.%H", "x-%Y", "x"] {
            let template = Template::parse(template).unwrap();
            let mut time = 951_782_400_i64; // 2000-02-29
            let mut kept = template.name(Time::from_secs(time));
            for step in 0..4000_i64 {
                time += (step * 7919) % 100_000 - 30_000;
                let at = Time::from_secs(time);
                let fresh = template.name(at);
                assert_eq!(
                    kept.holds(at),
                    kept.name == fresh.name,
                    "{template:?} at {at}"
                );
                kept = fresh;
            }
        }
    }

    #[test]
    fn no_time_breaks_a_name() {
        for time in [i64::MIN, i64::MIN + 1, -1, 0, i64::MAX - 1, i64::MAX] {
            for template in ["x-%Y.%m", "x-%Y.%m.%d-%H", "x-%Y", "x"] {
                let named = Template::parse(template).unwrap().name(Time(time));
                assert!(named.name.len() < 20 && named.from <= time, "{named:?}");
                assert!(named.holds(Time(time)) || time == i64::MAX);
            }
        }
    }

    #[test]
    fn an_unknown_part_is_told_with_its_place() {
        assert_eq!(Template::parse("a-%Q").unwrap_err().0, 2..4);
        assert_eq!(Template::parse("a-%").unwrap_err().0, 2..3);
        assert_eq!(
            Template::parse("pve-audit-%Y.%m").unwrap().prefix(),
            "pve-audit-"
        );
    }
}
