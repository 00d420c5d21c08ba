//! When nobody is to be disturbed: hours of some days in a time zone.

use jiff::civil::{Date, Time as Clock, Weekday};
use jiff::tz::TimeZone;
use pipeline::{BuildError, BuildErrors, Time};
use schemars::JsonSchema;
use serde::Deserialize;

/// Hours of some days.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Written {
    /// How `mute` calls it.
    pub(super) name: String,
    /// A time zone of IANA, like `Europe/Berlin`.
    zone: String,
    /// Days of the week: `mon` to `sun`; all where it is not said.
    #[serde(default)]
    days: Vec<String>,
    /// The hour it begins, like `22:00`.
    from: String,
    /// The hour it ends; one before `from` is one of the next day. The hours belong to the day on which they begin.
    to: String,
    /// Days on which it does not hold, like `2026-12-25`.
    #[serde(default)]
    holidays: Vec<String>,
}

/// A calendar that was read.
#[derive(Clone, Debug)]
pub(super) struct Calendar {
    zone: TimeZone,
    days: Vec<Weekday>,
    from: Clock,
    to: Clock,
    holidays: Vec<Date>,
}

const DAYS: [(&str, Weekday); 7] = [
    ("mon", Weekday::Monday),
    ("tue", Weekday::Tuesday),
    ("wed", Weekday::Wednesday),
    ("thu", Weekday::Thursday),
    ("fri", Weekday::Friday),
    ("sat", Weekday::Saturday),
    ("sun", Weekday::Sunday),
];

impl Calendar {
    /// Reads the calendar that stands at `key`.
    pub(super) fn new(written: &Written, key: &str) -> Result<Calendar, BuildErrors> {
        let mut errors = BuildErrors::new();
        let wrong = |part: &str, why: String, help: &str| {
            BuildErrors::from(BuildError::key(format!("{key}.{part}"), why).help(help))
        };
        let zone = TimeZone::get(&written.zone).map_err(|_| {
            let why = format!("{:?} is no time zone", written.zone);
            wrong(
                "zone",
                why,
                "write a name of IANA, like \"Europe/Berlin\" or \"UTC\"",
            )
        });
        let zone = errors.take(zone);
        let mut days: Vec<Weekday> = Vec::new();
        for (n, day) in written.days.iter().enumerate() {
            match DAYS.iter().find(|(name, _)| name == day) {
                Some((_, day)) => days.push(*day),
                None => errors.extend(wrong(
                    &format!("days[{n}]"),
                    format!("{day:?} is no day of the week"),
                    "write mon, tue, wed, thu, fri, sat or sun",
                )),
            }
        }
        if days.is_empty() {
            days = DAYS.map(|(_, day)| day).to_vec();
        }
        let mut hour = |part: &str, text: &str| {
            let read = Clock::strptime("%H:%M", text);
            errors.take(read.map_err(|_| {
                wrong(
                    part,
                    format!("{text:?} is no hour of a day"),
                    "write it like \"22:00\"",
                )
            }))
        };
        let (from, to) = (hour("from", &written.from), hour("to", &written.to));
        if from.is_some() && from == to {
            errors.extend(wrong(
                "to",
                "is the hour at which it begins".to_owned(),
                "write another one",
            ));
        }
        let mut holidays = Vec::new();
        for (n, day) in written.holidays.iter().enumerate() {
            match day.parse::<Date>() {
                Ok(day) => holidays.push(day),
                Err(_) => errors.extend(wrong(
                    &format!("holidays[{n}]"),
                    format!("{day:?} is no day"),
                    "write it like \"2026-12-25\"",
                )),
            }
        }
        match (zone, from, to) {
            (Some(zone), Some(from), Some(to)) => errors.finish(Calendar {
                zone,
                days,
                from,
                to,
                holidays,
            }),
            _ => Err(errors),
        }
    }

    /// Whether it holds at that time.
    pub(super) fn holds(&self, at: Time) -> bool {
        let Ok(at) = jiff::Timestamp::from_nanosecond(i128::from(at.0)) else {
            return false;
        };
        let local = at.to_zoned(self.zone.clone()).datetime();
        let (day, clock) = (local.date(), local.time());
        let on = |day: Date| self.days.contains(&day.weekday()) && !self.holidays.contains(&day);
        if self.from < self.to {
            return on(day) && self.from <= clock && clock < self.to;
        }
        (clock >= self.from && on(day)) || (clock < self.to && day.yesterday().is_ok_and(on))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_night_belongs_to_the_day_it_begins_and_follows_the_clock() {
        let written: Written = toml::from_str(
            "name = 'n'\nzone = 'Europe/Berlin'\ndays = ['fri']\nfrom = '22:00'\nto = '06:00'\nholidays = ['2026-04-03']",
        )
        .unwrap();
        let night = Calendar::new(&written, "calendar[0]").unwrap();
        let at = |text: &str| night.holds(Time::parse(text).unwrap());
        // Friday the 27th, still winter time; the 10th of April is in summer time.
        assert!(!at("2026-03-27T20:59:59Z") && at("2026-03-27T21:00:00Z"));
        assert!(at("2026-03-28T04:59:59Z") && !at("2026-03-28T05:00:00Z"));
        assert!(at("2026-04-10T20:00:00Z") && !at("2026-04-10T19:59:59Z"));
        assert!(!at("2026-04-03T21:00:00Z"), "a holiday");
        assert!(!at("2026-03-28T21:00:00Z"), "a Saturday");
    }

    #[test]
    fn every_mistake_is_told() {
        let written: Written = toml::from_str(
            "name = 'n'\nzone = 'Berlin'\ndays = ['fr']\nfrom = '25:00'\nto = '6'\nholidays = ['x']",
        )
        .unwrap();
        let errors = Calendar::new(&written, "calendar[0]").unwrap_err();
        assert_eq!(errors.iter().count(), 5, "{errors}");
    }
}
