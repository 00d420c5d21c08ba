//! Reads the time out of a captured text.

use jiff::fmt::strtime::BrokenDownTime;
use jiff::tz::TimeZone;
use pipeline::Time;
use pipeline::clock::days_from_civil;

const SECOND: i64 = 1_000_000_000;

/// A format, ready.
#[derive(Clone, Debug)]
pub(super) struct Stamp {
    format: Format,
    zone: TimeZone,
    /// The last text and what it meant: lines of one second say the same.
    last: (Vec<u8>, Time),
}

#[derive(Clone, Debug)]
enum Format {
    /// Digits at known places, offset included: no library needed.
    Fixed(Vec<Part>),
    /// What `strptime` says.
    Strptime(String),
    /// RFC 3339 or the forms of ISO 8601 near it.
    Iso8601,
    /// Seconds since 1970, fraction allowed.
    Unix,
    /// Milliseconds since 1970.
    UnixMs,
}

#[derive(Clone, Copy, Debug)]
enum Part {
    Year,
    Month,
    MonthName,
    Day,
    Hour,
    Minute,
    Second,
    Offset,
    Byte(u8),
}

impl Stamp {
    /// `%d/%m/%Y:%H:%M:%S %z`, `iso8601`, `unix` or `unix_ms`; the zone holds where the text has none.
    pub(super) fn new(format: &str, zone: Option<&str>) -> Result<Stamp, Vec<StampError>> {
        let mut errors = Vec::new();
        let zone = match zone {
            None | Some("local") => TimeZone::system(),
            Some("UTC" | "Z") => TimeZone::UTC,
            Some(name) => TimeZone::get(name).unwrap_or_else(|_| {
                errors.push(StampError::Zone(name.to_owned()));
                TimeZone::UTC
            }),
        };
        let format = match format {
            "iso8601" | "rfc3339" => Format::Iso8601,
            "unix" => Format::Unix,
            "unix_ms" => Format::UnixMs,
            _ => {
                errors.extend(unknown_directive(format).map(StampError::Format));
                fixed(format).map_or_else(|| Format::Strptime(format.to_owned()), Format::Fixed)
            }
        };
        if !errors.is_empty() {
            return Err(errors);
        }
        Ok(Stamp {
            format,
            zone,
            last: (Vec::new(), Time(0)),
        })
    }

    /// The time that a text says; `now` gives the year to texts that have none.
    pub(super) fn read(&mut self, text: &str, now: Time) -> Option<Time> {
        if !self.last.0.is_empty() && self.last.0 == text.as_bytes() {
            return Some(self.last.1);
        }
        let time = match &self.format {
            Format::Fixed(parts) => read_fixed(parts, text.as_bytes())?,
            Format::Iso8601 => self.iso8601(text)?,
            Format::Unix => unix(text)?,
            Format::UnixMs => Time(text.trim().parse::<i64>().ok()?.checked_mul(1_000_000)?),
            Format::Strptime(format) => return self.strptime(format, text, now),
        };
        self.last.0.clear();
        self.last.0.extend_from_slice(text.as_bytes());
        self.last.1 = time;
        Some(time)
    }

    fn iso8601(&self, text: &str) -> Option<Time> {
        let text = text.trim();
        if let Ok(time) = text.parse::<jiff::Timestamp>() {
            return nanoseconds(time);
        }
        // A comma before the fraction, and texts without a zone.
        let text = text.replace(',', ".");
        if let Ok(time) = text.parse::<jiff::Timestamp>() {
            return nanoseconds(time);
        }
        let local: jiff::civil::DateTime = text.parse().ok()?;
        nanoseconds(self.zone.to_timestamp(local).ok()?)
    }

    fn strptime(&self, format: &str, text: &str, now: Time) -> Option<Time> {
        let mut parsed = BrokenDownTime::parse(format, text).ok()?;
        if parsed.timestamp().is_some() {
            return nanoseconds(parsed.to_timestamp().ok()?);
        }
        if parsed.year().is_none() {
            return self.nearest(&mut parsed, now);
        }
        self.of(&parsed)
    }

    fn of(&self, parsed: &BrokenDownTime) -> Option<Time> {
        if parsed.offset().is_some() {
            return nanoseconds(parsed.to_timestamp().ok()?);
        }
        nanoseconds(self.zone.to_timestamp(parsed.to_datetime().ok()?).ok()?)
    }

    /// Without a year the nearest to now is meant, last year's December in January included.
    fn nearest(&self, parsed: &mut BrokenDownTime, now: Time) -> Option<Time> {
        let year = jiff::Timestamp::from_nanosecond(i128::from(now.0))
            .ok()?
            .to_zoned(self.zone.clone())
            .year();
        let mut best: Option<Time> = None;
        for year in [year - 1, year, year + 1] {
            if parsed.set_year(Some(year)).is_err() {
                continue;
            }
            let Some(time) = self.of(parsed) else {
                continue;
            };
            if best.is_none_or(|best| (time.0 - now.0).abs() < (best.0 - now.0).abs()) {
                best = Some(time);
            }
        }
        best
    }
}

/// Why a format can not be used.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum StampError {
    /// The format itself.
    Format(String),
    /// No such zone.
    Zone(String),
}

/// What is no directive of `strptime` in a format.
fn unknown_directive(format: &str) -> Option<String> {
    if !format.contains('%') {
        return Some("it has no `%`".to_owned());
    }
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            continue;
        }
        let kind = chars
            .by_ref()
            .find(|c| !"-_^#.:".contains(*c) && !c.is_ascii_digit());
        if !kind.is_some_and(|kind| "%AaBbCcDdeFfGgHhIjklMmNnPpQqRrSsTtUuVvWwXxYyZz".contains(kind))
        {
            let kind = kind.map(String::from).unwrap_or_default();
            return Some(format!("`%{kind}` is no directive"));
        }
    }
    None
}

fn nanoseconds(time: jiff::Timestamp) -> Option<Time> {
    i64::try_from(time.as_nanosecond()).ok().map(Time)
}

fn unix(text: &str) -> Option<Time> {
    let (whole, fraction) = text.trim().split_once('.').unwrap_or((text.trim(), ""));
    let seconds: i64 = whole.parse().ok()?;
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let digits: String = fraction
        .chars()
        .chain("000000000".chars())
        .take(9)
        .collect();
    let part: i64 = digits.parse().ok()?;
    let part = if whole.starts_with('-') { -part } else { part };
    seconds.checked_mul(SECOND)?.checked_add(part).map(Time)
}

/// The parts of a format of fixed width that says everything, or nothing.
fn fixed(format: &str) -> Option<Vec<Part>> {
    let mut parts = Vec::new();
    let mut bytes = format.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            parts.push(Part::Byte(byte));
            continue;
        }
        let part = match bytes.next()? {
            b'Y' => Part::Year,
            b'm' => Part::Month,
            b'b' | b'h' => Part::MonthName,
            b'd' => Part::Day,
            b'H' => Part::Hour,
            b'M' => Part::Minute,
            b'S' => Part::Second,
            b'z' => Part::Offset,
            b'%' => Part::Byte(b'%'),
            b'T' => {
                parts.extend([Part::Hour, Part::Byte(b':'), Part::Minute, Part::Byte(b':')]);
                Part::Second
            }
            _ => return None,
        };
        parts.push(part);
    }
    let has = |wanted: fn(&Part) -> bool| parts.iter().filter(|part| wanted(part)).count() == 1;
    let whole = has(|part| matches!(part, Part::Year))
        && has(|part| matches!(part, Part::Month | Part::MonthName))
        && has(|part| matches!(part, Part::Day))
        && has(|part| matches!(part, Part::Hour))
        && has(|part| matches!(part, Part::Minute))
        && has(|part| matches!(part, Part::Second))
        && has(|part| matches!(part, Part::Offset));
    whole.then_some(parts)
}

fn read_fixed(parts: &[Part], text: &[u8]) -> Option<Time> {
    let (mut year, mut month, mut day) = (0i64, 0i64, 0i64);
    let (mut hour, mut minute, mut second, mut offset) = (0i64, 0i64, 0i64, 0i64);
    let mut at = 0;
    let number = |at: &mut usize, digits: usize| {
        let text = text.get(*at..*at + digits)?;
        *at += digits;
        text.iter().try_fold(0i64, |sum, byte| {
            byte.is_ascii_digit()
                .then(|| sum * 10 + i64::from(byte - b'0'))
        })
    };
    for part in parts {
        match part {
            Part::Year => year = number(&mut at, 4)?,
            Part::Month => month = number(&mut at, 2)?,
            Part::Day => day = number(&mut at, 2)?,
            Part::Hour => hour = number(&mut at, 2)?,
            Part::Minute => minute = number(&mut at, 2)?,
            Part::Second => second = number(&mut at, 2)?,
            Part::MonthName => {
                const NAMES: &[u8; 36] = b"janfebmaraprmayjunjulaugsepoctnovdec";
                let name = text.get(at..at + 3)?;
                at += 3;
                month = 1 + NAMES
                    .chunks_exact(3)
                    .position(|known| known.eq_ignore_ascii_case(name))?
                    as i64;
            }
            Part::Offset => {
                let sign = match text.get(at)? {
                    b'+' => 1,
                    b'-' => -1,
                    _ => return None,
                };
                at += 1;
                let hours = number(&mut at, 2)?;
                at += usize::from(text.get(at) == Some(&b':'));
                let minutes = number(&mut at, 2)?;
                if hours > 25 || minutes > 59 {
                    return None;
                }
                offset = sign * (hours * 3600 + minutes * 60);
            }
            Part::Byte(byte) => {
                if text.get(at) != Some(byte) {
                    return None;
                }
                at += 1;
            }
        }
    }
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        4 | 6 | 9 | 11 => 30,
        2 => 28 + i64::from(leap),
        1..=12 => 31,
        _ => return None,
    };
    // A leap second is told as the one before it.
    if at != text.len() || day < 1 || day > days || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let days = days_from_civil(year, month as u32, day as u32);
    let seconds = days * 86_400 + hour * 3600 + minute * 60 + second.min(59) - offset;
    seconds.checked_mul(SECOND).map(Time)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(format: &str, zone: Option<&str>, text: &str) -> Option<String> {
        let now = Time::parse("2026-01-02T00:00:00Z").unwrap();
        Stamp::new(format, zone)
            .unwrap()
            .read(text, now)
            .map(|time| time.to_string())
    }

    #[test]
    fn the_access_log_has_the_day_first() {
        let format = "%d/%m/%Y:%H:%M:%S %z";
        assert_eq!(
            read(format, None, "05/01/2026:09:15:02 +0100").unwrap(),
            "2026-01-05T08:15:02.000Z"
        );
        assert_eq!(
            read(format, None, "29/02/2024:23:59:60 -0330").unwrap(),
            "2024-03-01T03:29:59.000Z"
        );
        for wrong in [
            "29/02/2025:00:00:00 +0000",
            "05/13/2026:00:00:00 +0000",
            "05/01/2026:09:15:02 +0100 ",
            "05/Jan/2026:09:15:02 +0100",
            "",
        ] {
            assert_eq!(read(format, None, wrong), None, "{wrong:?}");
        }
        assert_eq!(
            read("%d/%b/%Y:%T %z", None, "26/Jan/2026:09:30:14 +0100").unwrap(),
            "2026-01-26T08:30:14.000Z"
        );
    }

    #[test]
    fn a_text_without_year_or_zone_gets_the_nearest_and_the_given() {
        let format = "%b %d %H:%M:%S";
        assert_eq!(
            read(format, Some("Europe/Berlin"), "Dec 31 23:59:58").unwrap(),
            "2025-12-31T22:59:58.000Z"
        );
        assert_eq!(
            read(format, Some("UTC"), "Jan  3 01:00:00").unwrap(),
            "2026-01-03T01:00:00.000Z"
        );
        assert_eq!(
            read("iso8601", Some("UTC"), "2026-01-26T09:40:11,5").unwrap(),
            "2026-01-26T09:40:11.500Z"
        );
        assert_eq!(
            read("iso8601", None, "2026-01-26T09:40:11.5+01:00").unwrap(),
            "2026-01-26T08:40:11.500Z"
        );
        assert_eq!(
            read("unix", None, "1769415330.25").unwrap(),
            "2026-01-26T08:15:30.250Z"
        );
        assert_eq!(
            read("unix_ms", None, "1769415330250").unwrap(),
            "2026-01-26T08:15:30.250Z"
        );
    }

    #[test]
    fn wrong_formats_and_zones_are_told() {
        let wrong = |format, zone| Stamp::new(format, zone).unwrap_err();
        assert_eq!(
            wrong("yyyy-MM-dd", None),
            [StampError::Format("it has no `%`".to_owned())]
        );
        assert_eq!(
            wrong("%Y %!", None),
            [StampError::Format("`%!` is no directive".to_owned())]
        );
        assert_eq!(
            wrong("%Y", Some("Mars/Olympus")),
            [StampError::Zone("Mars/Olympus".to_owned())]
        );
    }
}
