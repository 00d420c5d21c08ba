//! Times as senders write them, and what they mean.
//!
//! Messages of one sender mostly share their minute with the one before, so the minute is worked out once: a calendar, a year
//! that is not written, a zone. What is left is two digits, a fraction and an offset.

use jiff::civil;
use jiff::tz::{AmbiguousOffset, TimeZone};
use pipeline::Time;
use pipeline::clock::days_from_civil;

use super::scan::{number, skip_spaces, two};

const SECOND: i64 = 1_000_000_000;
/// How long a minute worked out is believed: which year and which side of a clock change is meant depends on now [ns].
const BELIEVED: i64 = 60 * SECOND;

/// When a message came, and the zone its sender writes times in where they have no offset.
#[derive(Clone, Copy)]
pub(super) struct Moment {
    pub(super) now: Time,
    pub(super) zone: u16,
}

/// Reads times, and remembers the last minute of each form.
pub(super) struct Stamps {
    zones: Vec<TimeZone>,
    iso: Known,
    local: Known,
    bsd: Known,
}

/// A minute that was worked out.
struct Known {
    text: [u8; 16],
    zone: u16,
    read_at: i64,
    /// Its first second [s since 1970]; for `iso` as if it were UTC.
    minute: i64,
}

impl Default for Known {
    /// A text that no message can hold.
    fn default() -> Known {
        Known {
            text: [0xff; 16],
            zone: 0,
            read_at: 0,
            minute: 0,
        }
    }
}

impl Known {
    #[inline]
    fn holds(&self, text: &[u8; 16], moment: Moment) -> bool {
        self.text == *text
            && self.zone == moment.zone
            && moment.now.0.wrapping_sub(self.read_at).unsigned_abs() < BELIEVED as u64
    }
}

/// A date and a minute without a zone.
#[derive(Clone, Copy)]
struct Civil {
    year: i64,
    month: u32,
    day: u32,
    hour: i64,
    minute: i64,
}

impl Civil {
    /// `None` where there is no such day or minute.
    fn new(year: i64, month: u32, day: u32, hour: i64, minute: i64) -> Option<Civil> {
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let days = match month {
            4 | 6 | 9 | 11 => 30,
            2 => 28 + u32::from(leap),
            1..=12 => 31,
            _ => return None,
        };
        let fits = (1..=days).contains(&day) && hour < 24 && minute < 60;
        fits.then_some(Civil {
            year,
            month,
            day,
            hour,
            minute,
        })
    }

    /// Seconds since 1970 if it were UTC.
    fn as_utc(self) -> i64 {
        days_from_civil(self.year, self.month, self.day) * 86_400
            + self.hour * 3600
            + self.minute * 60
    }
}

impl Stamps {
    pub(super) fn new(zones: Vec<TimeZone>) -> Stamps {
        Stamps {
            zones,
            iso: Known::default(),
            local: Known::default(),
            bsd: Known::default(),
        }
    }

    /// A time in any form, and where it ends: before a space, a colon, or with the text.
    #[inline]
    pub(super) fn any(&mut self, text: &[u8], at: usize, moment: Moment) -> Option<(Time, usize)> {
        let (time, end) = match text.get(at)? {
            b'0'..=b'9' => self
                .iso(text, at, moment, true)
                .or_else(|| epoch(text, at))?,
            b'A'..=b'Z' | b'a'..=b'z' => self.bsd(text, at, moment)?,
            // Cisco's marks for a clock that is not synchronised.
            b'*' | b'.' => self.bsd(text, at + 1, moment)?,
            _ => return None,
        };
        matches!(text.get(end), None | Some(b' ' | b':')).then_some((time, end))
    }

    /// `2026-11-20T10:00:00.123456+01:00`; a comma may stand for the point. Without an offset it is the sender's time. A
    /// space may stand for the `T` where that is allowed.
    #[inline]
    pub(super) fn iso(
        &mut self,
        text: &[u8],
        at: usize,
        moment: Moment,
        spaced: bool,
    ) -> Option<(Time, usize)> {
        let rest = text.get(at..)?;
        let head = rest.first_chunk::<16>()?;
        // An offset makes it the same whenever and from wherever it comes.
        if self.iso.text != *head {
            self.iso.minute = iso_minute(head)?.as_utc();
            self.iso.text = *head;
        }
        if head[10] == b' ' && !spaced {
            return None;
        }
        let (seconds, mut end) = seconds(rest, 16)?;
        let minute = match rest.get(end) {
            Some(b'Z' | b'z') => {
                end += 1;
                self.iso.minute
            }
            Some(sign @ (b'+' | b'-')) => {
                let (offset, after) = offset(rest, end + 1)?;
                end = after;
                let offset = if *sign == b'-' { -offset } else { offset };
                self.iso.minute - offset
            }
            Some(b' ') if spaced && offset_behind(rest, end).is_some() => {
                let (offset, after) = offset_behind(rest, end)?;
                end = after;
                self.iso.minute - offset
            }
            _ => self.local_minute(head, moment)?,
        };
        Some((time(minute, seconds)?, at + end))
    }

    #[inline]
    fn local_minute(&mut self, head: &[u8; 16], moment: Moment) -> Option<i64> {
        if !self.local.holds(head, moment) {
            let minute = self.in_zone(iso_minute(head)?, moment)?;
            self.local = Known {
                text: *head,
                zone: moment.zone,
                read_at: moment.now.0,
                minute,
            };
        }
        Some(self.local.minute)
    }

    /// `Oct 11 22:14:15`, day padded with a space, a zero or not at all; a fraction, and a year before or behind the time.
    #[inline]
    pub(super) fn bsd(&mut self, text: &[u8], at: usize, moment: Moment) -> Option<(Time, usize)> {
        let rest = text.get(at..)?;
        let mut head = [0; 16];
        head[..12].copy_from_slice(rest.first_chunk::<12>()?);
        let (minute, end, tail) =
            if self.bsd.holds(&head, moment) && year_behind(rest, 12).is_none() {
                (self.bsd.minute, 12, 0)
            } else {
                self.bsd_minute(rest, &head, moment)?
            };
        let (seconds, end) = seconds(rest, end)?;
        Some((time(minute, seconds)?, at + end + tail))
    }

    /// The minute, where its text ends, and how much follows the seconds that belongs to the time.
    #[cold]
    fn bsd_minute(
        &mut self,
        rest: &[u8],
        head: &[u8; 16],
        moment: Moment,
    ) -> Option<(i64, usize, usize)> {
        let (date, before, end) = bsd_date(rest)?;
        let behind = year_behind(rest, end).filter(|_| before.is_none());
        if let Some(year) = before.or(behind) {
            let date = Civil::new(year, date.month, date.day, date.hour, date.minute)?;
            let tail = if behind.is_some() { " 2026".len() } else { 0 };
            return Some((self.in_zone(date, moment)?, end, tail));
        }
        let minute = self.nearest(date, moment)?;
        if end == 12 {
            self.bsd = Known {
                text: *head,
                zone: moment.zone,
                read_at: moment.now.0,
                minute,
            };
        }
        Some((minute, end, 0))
    }

    /// Of last year, this and the next, the one nearest to now.
    #[cold]
    fn nearest(&self, date: Civil, moment: Moment) -> Option<i64> {
        let (year, _, _) = moment.now.date();
        (year - 1..=year + 1)
            .filter_map(|year| Civil::new(year, date.month, date.day, date.hour, date.minute))
            .filter_map(|date| self.in_zone(date, moment))
            .min_by_key(|minute| minute.abs_diff(moment.now.0.div_euclid(SECOND)))
    }

    /// Seconds since 1970. Where clocks were set back and a time comes twice, the one nearer to now; where they were set
    /// forward and it never comes, as if they had not been.
    #[cold]
    fn in_zone(&self, date: Civil, moment: Moment) -> Option<i64> {
        let at = civil::DateTime::new(
            i16::try_from(date.year).ok()?,
            i8::try_from(date.month).ok()?,
            i8::try_from(date.day).ok()?,
            i8::try_from(date.hour).ok()?,
            i8::try_from(date.minute).ok()?,
            0,
            0,
        )
        .ok()?;
        let zone = self.zones.get(usize::from(moment.zone))?;
        let now = moment.now.0.div_euclid(SECOND);
        let as_utc = date.as_utc();
        Some(match zone.to_ambiguous_timestamp(at).offset() {
            AmbiguousOffset::Unambiguous { offset } => as_utc - i64::from(offset.seconds()),
            AmbiguousOffset::Gap { before, .. } => as_utc - i64::from(before.seconds()),
            AmbiguousOffset::Fold { before, after } => {
                let first = as_utc - i64::from(before.seconds());
                let second = as_utc - i64::from(after.seconds());
                if now.abs_diff(first) <= now.abs_diff(second) {
                    first
                } else {
                    second
                }
            }
        })
    }
}

#[inline]
fn time(minute: i64, nanoseconds: i64) -> Option<Time> {
    minute
        .checked_mul(SECOND)?
        .checked_add(nanoseconds)
        .map(Time)
}

/// `2026-11-20T10:00`.
fn iso_minute(head: &[u8; 16]) -> Option<Civil> {
    let [
        y1,
        y2,
        y3,
        y4,
        b'-',
        m1,
        m2,
        b'-',
        d1,
        d2,
        b'T' | b't' | b' ',
        h1,
        h2,
        b':',
        n1,
        n2,
    ] = *head
    else {
        return None;
    };
    Civil::new(
        two(y1, y2)? * 100 + two(y3, y4)?,
        two(m1, m2)? as u32,
        two(d1, d2)? as u32,
        two(h1, h2)?,
        two(n1, n2)?,
    )
}

/// `:15`, `:15.123456` or `:15,123` [ns], and where it ends. A leap second is told as the one before it.
#[inline]
fn seconds(rest: &[u8], at: usize) -> Option<(i64, usize)> {
    let [b':', tens, ones] = *rest.get(at..)?.first_chunk::<3>()? else {
        return None;
    };
    let whole = two(tens, ones).filter(|seconds| *seconds <= 60)?.min(59);
    let mut end = at + 3;
    let mut part = 0;
    if let Some(b'.' | b',') = rest.get(end) {
        (part, end) = fraction(rest, end + 1)?;
    }
    Some((whole * SECOND + part, end))
}

/// The digits behind the point [ns], one to nine of them, and where they end.
#[inline]
fn fraction(rest: &[u8], at: usize) -> Option<(i64, usize)> {
    // Microseconds are what nearly everybody writes.
    if let Some([a, b, c, d, e, f, behind]) = rest.get(at..).and_then(<[u8]>::first_chunk::<7>)
        && !behind.is_ascii_digit()
        && let (Some(high), Some(middle), Some(low)) = (two(*a, *b), two(*c, *d), two(*e, *f))
    {
        return Some(((high * 10_000 + middle * 100 + low) * 1000, at + 6));
    }
    let (mut part, mut scale, mut end) = (0, SECOND, at);
    while let Some(digit) = rest.get(end).map(|byte| byte.wrapping_sub(b'0')) {
        if digit > 9 {
            break;
        }
        scale /= 10;
        if scale == 0 {
            return None;
        }
        part += i64::from(digit) * scale;
        end += 1;
    }
    (end > at).then_some((part, end))
}

/// `01:00`, `0100` or `01` [s], and where it ends.
fn offset(rest: &[u8], at: usize) -> Option<(i64, usize)> {
    let digits = rest.get(at..)?;
    let hours = two(*digits.first()?, *digits.get(1)?).filter(|hours| *hours < 24)?;
    let colon = usize::from(digits.get(2) == Some(&b':'));
    let minutes = match (digits.get(2 + colon), digits.get(3 + colon)) {
        (Some(tens), Some(ones)) => two(*tens, *ones),
        _ => None,
    };
    match minutes {
        Some(minutes) => (minutes < 60).then_some((hours * 3600 + minutes * 60, at + 4 + colon)),
        None => (colon == 0).then_some((hours * 3600, at + 2)),
    }
}

/// ` +0100 ` as a word of its own [s], and where it ends.
#[cold]
fn offset_behind(rest: &[u8], at: usize) -> Option<(i64, usize)> {
    let sign = rest
        .get(at + 1)
        .filter(|sign| matches!(sign, b'+' | b'-'))?;
    let (offset, end) = offset(rest, at + 2)?;
    let whole = end >= at + 6 && rest.get(end) == Some(&b' ');
    whole.then_some((if *sign == b'-' { -offset } else { offset }, end))
}

/// `Oct 11 22:14` or `Oct 11 2026 22:14`: date, year, and where it ends. The date's own year is a leap year, so that every
/// day there can be is one.
#[cold]
fn bsd_date(rest: &[u8]) -> Option<(Civil, Option<i64>, usize)> {
    const NAMES: &[u8; 36] = b"janfebmaraprmayjunjulaugsepoctnovdec";
    let name = rest.get(..3)?;
    let month = 1 + NAMES
        .chunks_exact(3)
        .position(|known| known.eq_ignore_ascii_case(name))?;
    if rest.get(3) != Some(&b' ') {
        return None;
    }
    let mut at = skip_spaces(rest, 3);
    let day_end = at + digits(rest, at);
    let day = number(&rest[at..day_end]).filter(|_| day_end - at <= 2)?;
    if rest.get(day_end) != Some(&b' ') {
        return None;
    }
    at = day_end + 1;
    let year = (digits(rest, at) == 4 && rest.get(at + 4) == Some(&b' '))
        .then(|| number(&rest[at..at + 4]))
        .flatten();
    if year.is_some() {
        at += 5;
    }
    let [h1, h2, b':', n1, n2] = *rest.get(at..)?.first_chunk::<5>()? else {
        return None;
    };
    let date = Civil::new(
        2000,
        month as u32,
        u32::try_from(day).ok()?,
        two(h1, h2)?,
        two(n1, n2)?,
    )?;
    Some((date, year, at + 5))
}

/// `:15 2026 `: a year behind the time, where the time's minute ends at `at` and its second has no fraction.
#[inline]
fn year_behind(rest: &[u8], at: usize) -> Option<i64> {
    let [b' ', year @ .., b' '] = rest.get(at + 3..at + 9)? else {
        return None;
    };
    number(year).filter(|year| (1970..2100).contains(year))
}

fn digits(text: &[u8], at: usize) -> usize {
    text.get(at..)
        .unwrap_or_default()
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count()
}

/// Seconds since 1970 with or without a fraction, or milliseconds: ten digits or thirteen, which is every time between 2001
/// and 2286.
#[cold]
pub(super) fn epoch(text: &[u8], at: usize) -> Option<(Time, usize)> {
    let len = digits(text, at);
    let whole = number(&text[at..at + len])?;
    match len {
        10 => {
            let mut part = 0;
            let mut end = at + len;
            if text.get(end) == Some(&b'.') {
                let digits = digits(text, end + 1);
                let shown = number(&text[end + 1..end + 1 + digits]).filter(|_| digits <= 9)?;
                part = shown * 10_i64.pow(9 - u32::try_from(digits).ok()?);
                end += 1 + digits;
            }
            Some((time(whole, part)?, end))
        }
        13 => Some((Time(whole.checked_mul(1_000_000)?), at + len)),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
