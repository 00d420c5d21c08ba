//! What stands before the message in a line of a syslog file, in both forms that Debian has written.
//!
//! `2026-01-26T09:40:11.123456+01:00 pve1 sshd[4410]: text` and `Jan 26 09:45:10 pve1 sshd[4702]: text`. Both may stand in
//! one file, after an upgrade.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use pipeline::{Event, Span, Time, fields};

use super::names::NAMES;

/// The line in parts.
struct Header<'a> {
    at: Time,
    node: &'a str,
    program: &'a str,
    pid: Option<i64>,
    text: &'a str,
}

/// Takes the header off, if there is one: time, node, program and pid become fields, the message keeps its text.
pub(super) fn take_off(event: &mut Event, now: Time, zone: &TimeZone) -> bool {
    let n = &*NAMES;
    let Some(span) = event.span(fields::MESSAGE) else {
        let Some(line) = event.str(fields::MESSAGE).map(str::to_owned) else {
            return false;
        };
        let Some(header) = read(&line, now, zone) else {
            return false;
        };
        event.set_str(n.original, &line);
        event.set_str(fields::MESSAGE, header.text);
        put(event, &header);
        return true;
    };
    let line = event.str(fields::MESSAGE).unwrap_or_default().to_owned();
    let Some(header) = read(&line, now, zone) else {
        return false;
    };
    event.set_span(n.original, span);
    let at = span.at + (line.len() - header.text.len()) as u32;
    event.set_span(
        fields::MESSAGE,
        Span {
            at,
            len: header.text.len() as u32,
        },
    );
    put(event, &header);
    true
}

fn put(event: &mut Event, header: &Header<'_>) {
    let n = &*NAMES;
    event.set_timestamp(header.at);
    event.set_str(n.node, header.node);
    event.set_str(n.process, header.program);
    if let Some(pid) = header.pid {
        event.set(n.pid, pid);
    }
}

fn read<'a>(line: &'a str, now: Time, zone: &TimeZone) -> Option<Header<'a>> {
    let first = *line.as_bytes().first()?;
    let (at, rest) = if first.is_ascii_digit() {
        let (stamp, rest) = line.split_once(' ')?;
        (Time::parse(stamp)?, rest)
    } else {
        let (stamp, rest) = line.split_at_checked(15)?;
        (traditional(stamp, now, zone)?, rest.strip_prefix(' ')?)
    };
    let (node, rest) = rest.split_once(' ')?;
    let is_name = |text: &str| {
        !text.is_empty()
            && text
                .bytes()
                .all(|c| c.is_ascii_alphanumeric() || b"-._/()@+~".contains(&c))
    };
    if !is_name(node) {
        return None;
    }
    let (tag, text) = rest.split_once(':')?;
    let (program, pid) = match tag.strip_suffix(']').and_then(|tag| tag.split_once('[')) {
        Some((program, pid)) => (program, Some(pid.parse().ok()?)),
        None => (tag, None),
    };
    if !is_name(program) {
        return None;
    }
    let node = super::short(node);
    Some(Header {
        at,
        node,
        program,
        pid,
        text: text.strip_prefix(' ').unwrap_or(text),
    })
}

/// `Jan 26 09:45:10`, in the year in which it lies nearest to now.
fn traditional(stamp: &str, now: Time, zone: &TimeZone) -> Option<Time> {
    let here = jiff::Timestamp::from_nanosecond(i128::from(now.0))
        .ok()?
        .to_zoned(zone.clone());
    let months = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let month = months.iter().position(|name| stamp.starts_with(name))? as i8 + 1;
    let number = |range| {
        stamp
            .get::<std::ops::Range<usize>>(range)?
            .trim()
            .parse::<i8>()
            .ok()
    };
    let (day, hour, minute, second) = (
        number(4..6)?,
        number(7..9)?,
        number(10..12)?,
        number(13..15)?,
    );
    let years = [here.year() - 1, here.year(), here.year() + 1];
    let times = years.iter().filter_map(|year| {
        let civil = DateTime::new(*year, month, day, hour, minute, second, 0).ok()?;
        let zoned = civil.to_zoned(zone.clone()).ok()?;
        Some(Time::from_secs(zoned.timestamp().as_second()))
    });
    times.min_by_key(|time| (time.0 - now.0).abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_a_line_are_read() {
        let now = Time::parse("2026-01-26T09:00:00Z").unwrap();
        let line = "2026-01-26T09:40:11.123456+01:00 pve1 sshd[4410]: Accepted publickey for root";
        let zone = &TimeZone::UTC;
        let header = read(line, now, zone).unwrap();
        assert_eq!(
            (header.node, header.program, header.pid),
            ("pve1", "sshd", Some(4410))
        );
        assert_eq!(header.text, "Accepted publickey for root");
        assert_eq!(
            header.at,
            Time::parse("2026-01-26T08:40:11.123456Z").unwrap()
        );
        let header = read(
            "Jan 26 09:45:10 pve1.example sudo:    alice : TTY=pts/0",
            now,
            zone,
        )
        .unwrap();
        assert_eq!(
            (header.node, header.program, header.pid),
            ("pve1", "sudo", None)
        );
        assert_eq!(header.text, "   alice : TTY=pts/0");
        // A line of December that is read in January is of last year.
        let header = read("Dec 31 23:59:59 pve1 x: y", now, zone).unwrap();
        assert!(header.at < now);
        for none in [
            "",
            "hello",
            "Jan 26 09:45:10 pve1",
            "Xyz 26 09:45:10 pve1 a: b",
            "2026 pve1 a: b",
            "Jan 26 09:45:1é pve1 a: b",
            "Jaé 26 09:45:10 pve1 a: b",
            "(Té            x",
        ] {
            assert!(read(none, now, zone).is_none(), "{none}");
        }
    }
}
