//! Facility and severity: one number at the start of a message, two codes and two names in the event.

use std::sync::LazyLock;

use pipeline::{Preset, fields};

use super::{Read, Refusal};

/// The largest number: facility 23, severity 7.
pub(super) const LARGEST: u8 = 191;
/// What RFC 3164 takes where there is none: a notice of a user's program.
pub(super) const DEFAULT: u8 = 13;

const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv",
    "ftp", "ntp", "audit", "alert", "clock", "local0", "local1", "local2", "local3", "local4",
    "local5", "local6", "local7",
];
const SEVERITIES: [&str; 8] = [
    "emerg", "alert", "crit", "err", "warning", "notice", "info", "debug",
];

/// The fields of every priority.
pub(super) static PRESETS: LazyLock<Box<[Preset]>> = LazyLock::new(|| {
    (0..=LARGEST)
        .map(|priority| {
            let preset = Preset::default().int(fields::SYSLOG_PRIORITY, i64::from(priority));
            let preset = with_facility(preset, priority / 8);
            with_severity(preset, priority % 8)
        })
        .collect()
});

/// The code and the name of a facility (0–23).
pub(crate) fn with_facility(preset: Preset, code: u8) -> Preset {
    let name = FACILITIES[usize::from(code) % FACILITIES.len()];
    preset
        .int(fields::SYSLOG_FACILITY_CODE, i64::from(code))
        .text(fields::SYSLOG_FACILITY_NAME, name)
}

/// The code and the name of a severity (0–7).
pub(crate) fn with_severity(preset: Preset, code: u8) -> Preset {
    let name = SEVERITIES[usize::from(code) % SEVERITIES.len()];
    preset
        .int(fields::SYSLOG_SEVERITY_CODE, i64::from(code))
        .text(fields::SYSLOG_SEVERITY_NAME, name)
}

/// Reads `<13>` and says where it ends.
#[inline]
pub(super) fn read(text: &[u8], at: usize, read: &mut Read) -> Result<usize, Refusal> {
    let Some(rest) = text.get(at..).filter(|rest| rest.first() == Some(&b'<')) else {
        return Err(Refusal::new("it begins without a priority like <13>", at));
    };
    let mut priority = 0_u32;
    for (n, byte) in rest[1..].iter().take(4).enumerate() {
        match byte {
            b'0'..=b'9' if n < 3 => priority = priority * 10 + u32::from(byte - b'0'),
            b'>' if n > 0 => {
                let Some(priority) = u8::try_from(priority).ok().filter(|p| *p <= LARGEST) else {
                    return Err(Refusal::new("its priority is above 191", at));
                };
                (read.facility, read.severity) = (Some(priority / 8), Some(priority % 8));
                return Ok(at + n + 2);
            }
            _ => break,
        }
    }
    Err(Refusal::new(
        "between < and > there is no number of up to three digits",
        at,
    ))
}

/// The code of a facility by name or number.
pub(super) fn facility(text: &str) -> Option<u8> {
    if let Ok(code) = text.parse::<u8>() {
        return (code < 24).then_some(code);
    }
    let name = match text.to_ascii_lowercase().as_str() {
        "security" => "auth",
        "kernel" => "kern",
        other => return position(&FACILITIES, other),
    };
    position(&FACILITIES, name)
}

/// The code of a severity by name or number.
pub(super) fn severity(text: &str) -> Option<u8> {
    if let Ok(code) = text.parse::<u8>() {
        return (code < 8).then_some(code);
    }
    let name = match text.to_ascii_lowercase().as_str() {
        "panic" | "emergency" => "emerg",
        "critical" => "crit",
        "error" => "err",
        "warn" => "warning",
        "informational" => "info",
        other => return position(&SEVERITIES, other),
    };
    position(&SEVERITIES, name)
}

fn position(names: &[&str], wanted: &str) -> Option<u8> {
    let place = names.iter().position(|name| *name == wanted)?;
    u8::try_from(place).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_told_back() {
        for (code, name) in FACILITIES.iter().enumerate() {
            assert_eq!(facility(name), u8::try_from(code).ok());
            assert!(name.len() <= Preset::LONGEST);
        }
        assert_eq!(facility("10"), Some(10));
        assert_eq!((facility("24"), facility("local8")), (None, None));
        assert_eq!((severity("Error"), severity("6")), (Some(3), Some(6)));
        assert_eq!((severity("8"), severity("loud")), (None, None));
    }

    #[test]
    fn a_priority_is_up_to_three_digits_in_brackets() {
        let of = |text: &str| {
            let mut read = Read::default();
            super::read(text.as_bytes(), 0, &mut read)
                .map(|end| (read.facility.unwrap(), read.severity.unwrap(), end))
                .ok()
        };
        assert_eq!(of("<0>x"), Some((0, 0, 3)));
        assert_eq!(of("<191>"), Some((23, 7, 5)));
        assert_eq!(of("<030>x"), Some((3, 6, 5)));
        for wrong in [
            "", "<", "<>", "<192>", "<999>", "<1234>", "<a>", "<13", "13>", "< 1>", "<-1>",
        ] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
    }
}
