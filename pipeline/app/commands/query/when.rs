//! Points in time as people write them, and back.

use std::str::FromStr;

use jiff::civil::{Date, DateTime, Time as Clock};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use pipeline::Time;
use sinks::sqlite::Hours;

/// Whose clock.
#[derive(Clone, Debug)]
pub(in crate::commands) struct Zone(TimeZone);

impl FromStr for Zone {
    type Err = String;

    fn from_str(name: &str) -> Result<Zone, String> {
        match name {
            "UTC" | "utc" | "Z" => Ok(Zone(TimeZone::UTC)),
            "local" => Ok(Zone(TimeZone::system())),
            name => TimeZone::get(name).map(Zone).map_err(|_| {
                format!("{name:?} is no time zone; write UTC, local, or a name like Europe/Berlin")
            }),
        }
    }
}

impl Zone {
    pub(in crate::commands) fn get(&self) -> &TimeZone {
        &self.0
    }

    pub(in crate::commands) fn is_utc(&self) -> bool {
        self.0 == TimeZone::UTC
    }

    /// RFC 3339 with milliseconds, for machines.
    pub(in crate::commands) fn exact(&self, time: Time) -> String {
        if self.is_utc() {
            return time.to_string();
        }
        match self.local(time) {
            Some(local) => local.strftime("%Y-%m-%dT%H:%M:%S%.3f%:z").to_string(),
            None => time.to_string(),
        }
    }

    /// To the second, for people.
    pub(in crate::commands) fn short(&self, time: Time) -> String {
        match self.local(time) {
            Some(local) if self.is_utc() => local.strftime("%Y-%m-%d %H:%M:%SZ").to_string(),
            Some(local) => local.strftime("%Y-%m-%d %H:%M:%S%:z").to_string(),
            None => time.to_string(),
        }
    }

    fn local(&self, time: Time) -> Option<jiff::Zoned> {
        let at = Timestamp::from_nanosecond(i128::from(time.0)).ok()?;
        Some(at.to_zoned(self.0.clone()))
    }
}

/// The beginning of what is written.
pub(in crate::commands) fn from(text: &str, zone: &TimeZone) -> Result<Time, String> {
    point(text, zone, false)
}

/// The end of what is written: of a day, its last moment.
pub(in crate::commands) fn to(text: &str, zone: &TimeZone) -> Result<Time, String> {
    point(text, zone, true)
}

fn point(text: &str, zone: &TimeZone, end: bool) -> Result<Time, String> {
    let text = text.trim();
    let wrong = || {
        format!(
            "{text:?} is no point in time; write 2026-03-14, \"2026-03-14 18:00\" or 2026-03-14T18:00:00Z"
        )
    };
    if let Ok(at) = text.parse::<Timestamp>() {
        return nanos(at).ok_or_else(wrong);
    }
    let local = if text.len() == "2026-03-14".len() {
        let day: Date = text.parse().map_err(|_| wrong())?;
        let day = if end {
            day.checked_add(1.day()).map_err(|_| wrong())?
        } else {
            day
        };
        day.at(0, 0, 0, 0)
    } else {
        text.parse::<DateTime>().map_err(|_| wrong())?
    };
    let zoned = local.to_zoned(zone.clone()).map_err(|_| wrong())?;
    nanos(zoned.timestamp()).ok_or_else(wrong)
}

fn nanos(at: Timestamp) -> Option<Time> {
    i64::try_from(at.as_nanosecond()).ok().map(Time)
}

/// Hours of the day.
pub(in crate::commands) fn between(text: &str, zone: &TimeZone) -> Result<Hours, String> {
    let wrong = || format!("{text:?} are no hours of the day; write them like 18:00-08:00");
    let (from, to) = text.split_once('-').ok_or_else(wrong)?;
    let minute = |text: &str| -> Result<i64, String> {
        let text = text.trim();
        if text == "24:00" {
            return Ok(24 * 60);
        }
        let clock = Clock::strptime("%H:%M", text).map_err(|_| wrong())?;
        Ok(i64::from(clock.hour()) * 60 + i64::from(clock.minute()))
    };
    let hours = Hours {
        from: minute(from)?,
        to: minute(to)?,
        zone: zone.clone(),
    };
    if hours.from == hours.to {
        return Err(format!(
            "{text:?} has no minute in it; leave it out for the whole day"
        ));
    }
    Ok(hours)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_meant_with_all_its_hours_and_a_clock_is_that_of_the_zone() {
        let berlin: Zone = "Europe/Berlin".parse().unwrap();
        let at = |text: &str| Time::parse(text).unwrap();
        assert_eq!(
            from("2026-03-14", &TimeZone::UTC).unwrap(),
            at("2026-03-14T00:00:00Z")
        );
        assert_eq!(
            to("2026-03-14", &TimeZone::UTC).unwrap(),
            at("2026-03-15T00:00:00Z")
        );
        assert_eq!(
            from("2026-03-14 18:00", berlin.get()).unwrap(),
            at("2026-03-14T17:00:00Z")
        );
        assert_eq!(
            to("2026-07-14T18:00:30", berlin.get()).unwrap(),
            at("2026-07-14T16:00:30Z")
        );
        assert_eq!(
            from("2026-03-14T18:00:00+05:00", berlin.get()).unwrap(),
            at("2026-03-14T13:00:00Z")
        );
        assert!(from("yesterday", &TimeZone::UTC).is_err());
        assert!(from("2026-13-14", &TimeZone::UTC).is_err());
        assert!("Europe/Nowhere".parse::<Zone>().is_err());
        assert_eq!(
            berlin.short(at("2026-03-14T17:00:00Z")),
            "2026-03-14 18:00:00+01:00"
        );
        assert_eq!(
            berlin.exact(at("2026-03-14T17:00:00.5Z")),
            "2026-03-14T18:00:00.500+01:00"
        );
    }

    #[test]
    fn hours_of_the_night() {
        let hours = between("18:00-08:30", &TimeZone::UTC).unwrap();
        assert_eq!((hours.from, hours.to), (1080, 510));
        assert!(between("18:00", &TimeZone::UTC).is_err());
        assert!(between("25:00-08:00", &TimeZone::UTC).is_err());
        assert!(between("08:00-08:00", &TimeZone::UTC).is_err());
    }
}
