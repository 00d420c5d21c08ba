//! Time: nanoseconds since 1970 UTC, and the one place where the system clock is read.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// A point in time [ns since 1970-01-01T00:00:00Z].
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Time(pub i64);

/// Nanoseconds in a second.
pub const SECOND: i64 = 1_000_000_000;

impl Time {
    /// The earliest time there is; a lane that has seen nothing is here.
    pub const MIN: Time = Time(i64::MIN);

    /// From whole seconds since 1970.
    pub fn from_secs(secs: i64) -> Time {
        Time(secs.saturating_mul(SECOND))
    }

    /// Later by `duration`.
    pub fn after(self, duration: Duration) -> Time {
        Time(
            self.0
                .saturating_add(i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)),
        )
    }

    /// Time passed since `earlier`; zero when it lies in the future.
    pub fn since(self, earlier: Time) -> Duration {
        Duration::from_nanos(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Year, month (1–12), day (1–31) in UTC.
    pub fn date(self) -> (i64, u32, u32) {
        civil(self.0.div_euclid(SECOND * 86_400))
    }

    /// Writes `2026-03-14T22:58:03.412Z`, 24 bytes. Years outside 0–9999 are written as the nearest of these.
    pub fn write(self, out: &mut [u8; 24]) {
        let millis = self
            .0
            .div_euclid(1_000_000)
            .clamp(-62_167_219_200_000, 253_402_300_799_999);
        let (day, in_day) = (millis.div_euclid(86_400_000), millis.rem_euclid(86_400_000));
        let (year, month, day) = civil(day);
        *out = *b"0000-00-00T00:00:00.000Z";
        digits(&mut out[0..4], year as u64);
        digits(&mut out[5..7], u64::from(month));
        digits(&mut out[8..10], u64::from(day));
        let in_day = in_day as u64;
        digits(&mut out[11..13], in_day / 3_600_000);
        digits(&mut out[14..16], in_day / 60_000 % 60);
        digits(&mut out[17..19], in_day / 1000 % 60);
        digits(&mut out[20..23], in_day % 1000);
    }

    /// Reads RFC 3339 with any number of fraction digits and any offset.
    pub fn parse(text: &str) -> Option<Time> {
        let at: jiff::Timestamp = text.parse().ok()?;
        i64::try_from(at.as_nanosecond()).ok().map(Time)
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; 24];
        self.write(&mut text);
        f.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

fn digits(out: &mut [u8], mut value: u64) {
    for digit in out.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

/// Days since 1970 to a date of the proleptic Gregorian calendar.
fn civil(days: i64) -> (i64, u32, u32) {
    // Years are counted from March so that the leap day is the last of its year.
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = (day_of_year - (153 * month + 2) / 5 + 1) as u32;
    let month = if month < 10 { month + 3 } else { month - 9 } as u32;
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// A date to days since 1970. `month` is 1–12.
pub fn days_from_civil(year: i64, month: u32, day: u32) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month = i64::from(if month > 2 { month - 3 } else { month + 9 });
    let day_of_year = (153 * month + 2) / 5 + i64::from(day) - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// Where the engine takes the time from: the system, or a test that moves it by hand.
#[derive(Clone, Debug, Default)]
pub struct Clock(Option<Arc<AtomicI64>>);

impl Clock {
    /// The system's clock.
    pub fn system() -> Clock {
        Clock(None)
    }

    /// A clock that stands at `start` until it is moved.
    pub fn manual(start: Time) -> Clock {
        Clock(Some(Arc::new(AtomicI64::new(start.0))))
    }

    /// The time now.
    pub fn now(&self) -> Time {
        match &self.0 {
            Some(at) => Time(at.load(Ordering::Relaxed)),
            None => {
                let since = SystemTime::now()
                    .duration_since(UNIX_EPOCH)
                    .unwrap_or_default();
                Time(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
            }
        }
    }

    /// Sets a manual clock; the system's is left alone.
    pub fn set(&self, now: Time) {
        if let Some(at) = &self.0 {
            at.store(now.0, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_agree_with_jiff_over_five_centuries() {
        for days in (-100_000..100_000).step_by(17) {
            let ours = Time(days * 86_400 * SECOND + 12_345_678_901_234);
            let Ok(theirs) = jiff::Timestamp::from_nanosecond(i128::from(ours.0)) else {
                continue;
            };
            let expected = theirs.strftime("%Y-%m-%dT%H:%M:%S").to_string();
            assert_eq!(&ours.to_string()[..19], expected);
            let (year, month, day) = ours.date();
            assert_eq!(
                days_from_civil(year, month, day),
                ours.0.div_euclid(86_400 * SECOND)
            );
        }
    }

    #[test]
    fn reads_what_it_writes_and_any_offset() {
        let time = Time::parse("2026-03-14T23:58:03.412907+01:00").expect("a valid time");
        assert_eq!(time.to_string(), "2026-03-14T22:58:03.412Z");
        assert_eq!(
            Time::parse(&time.to_string()),
            Some(Time(time.0 / 1_000_000 * 1_000_000))
        );
        assert_eq!(Time::parse("yesterday"), None);
    }
}
