//! Working hours: weekdays, a clock, holidays, in a time zone of the bundled database.

use pipeline::{Duration, Time};

/// Hours of a week, like those in which people work.
#[derive(Clone, Debug, PartialEq)]
pub struct Calendar {
    /// Its name.
    pub name: Box<str>,
    pub(super) zone: jiff::tz::TimeZone,
    /// Bit 0 is Monday.
    pub(super) days: u8,
    /// Seconds after midnight.
    pub(super) from: i32,
    /// Seconds after midnight; before `from`: on the next day.
    pub(super) to: i32,
    pub(super) holidays: Vec<jiff::civil::Date>,
}

/// The words of days, Monday first.
pub(super) const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// The zone of an IANA name in the bundled database: the same on every machine.
pub(super) fn zone(name: &str) -> Option<jiff::tz::TimeZone> {
    jiff::tz::TimeZoneDatabase::bundled().get(name).ok()
}

/// All names of zones.
pub(super) fn zones() -> Vec<String> {
    let database = jiff::tz::TimeZoneDatabase::bundled();
    database.available().map(|name| name.to_string()).collect()
}

impl Calendar {
    /// Whether an instant lies inside: its local weekday is one of the days, its clock in [from, to), its date no holiday.
    /// Hours past midnight belong to the day on which they began.
    pub fn inside(&self, at: Time) -> bool {
        let Some(local) = local(at, &self.zone) else {
            return false;
        };
        let (date, clock) = (local.date(), local.time());
        let clock = i32::from(clock.hour()) * 3600
            + i32::from(clock.minute()) * 60
            + i32::from(clock.second());
        if self.from <= self.to {
            return self.from <= clock && clock < self.to && self.open(date);
        }
        (clock >= self.from && self.open(date))
            || (clock < self.to && date.yesterday().is_ok_and(|day| self.open(day)))
    }

    fn open(&self, date: jiff::civil::Date) -> bool {
        let day = date.weekday().to_monday_zero_offset();
        self.days >> day & 1 == 1 && !self.holidays.contains(&date)
    }

    /// What decides, as text.
    pub(super) fn meaning(&self) -> String {
        let zone = self.zone.iana_name().unwrap_or_default();
        format!(
            "{zone} {} {} {} {:?}",
            self.days, self.from, self.to, self.holidays
        )
    }
}

fn local(at: Time, zone: &jiff::tz::TimeZone) -> Option<jiff::civil::DateTime> {
    let instant = jiff::Timestamp::from_nanosecond(i128::from(at.0)).ok()?;
    Some(zone.to_datetime(instant))
}

/// The tumbling window [start, end) in which an instant lies: multiples of the length from the epoch or, in a zone, whole
/// days from local midnight, and parts of a day counted from it (the last one ends at the next midnight).
pub fn tumbling(at: Time, length: Duration, zone: Option<&jiff::tz::TimeZone>) -> (Time, Time) {
    const DAY: i64 = 86_400 * pipeline::clock::SECOND;
    let length = length.as_nanos().max(1);
    let plain = || {
        let start = at.0.div_euclid(length).saturating_mul(length);
        (Time(start), Time(start.saturating_add(length)))
    };
    let in_zone = |zone: &jiff::tz::TimeZone| {
        let date = local(at, zone)?.date();
        let midnight = |days: i64| -> Option<Time> {
            let span = jiff::Span::new().try_days(days).ok()?;
            let date = jiff::civil::date(1970, 1, 1).checked_add(span).ok()?;
            let start = date
                .to_zoned(zone.clone())
                .ok()?
                .timestamp()
                .as_nanosecond();
            i64::try_from(start).ok().map(Time)
        };
        let day = i64::from(date.since(jiff::civil::date(1970, 1, 1)).ok()?.get_days());
        if length % DAY == 0 {
            let (days, first) = (length / DAY, day.div_euclid(length / DAY));
            return Some((midnight(first * days)?, midnight((first + 1) * days)?));
        }
        let (start, end) = (midnight(day)?, midnight(day + 1)?);
        let from = start.0 + (at.0 - start.0).div_euclid(length) * length;
        Some((Time(from), Time(from.saturating_add(length).min(end.0))))
    };
    zone.and_then(in_zone).unwrap_or_else(plain)
}
