//! Time stamps in their written forms, held against jiff.

use super::*;
use proptest::prelude::*;

fn stamps() -> (Stamps, Moment) {
    let moment = Moment {
        now: Time::parse("2026-01-02T00:00:00Z").unwrap(),
        zone: 0,
    };
    (
        Stamps::new(vec![TimeZone::get("Europe/Berlin").unwrap()]),
        moment,
    )
}

proptest! {
    #[test]
    fn a_time_with_an_offset_is_what_jiff_says(
        at in 0_i64..4_000_000_000, fraction in "(\\.[0-9]{1,9})?", offset in -1439_i64..1440,
    ) {
        let local = jiff::Timestamp::from_second(at + offset * 60).unwrap();
        let sign = if offset < 0 { '-' } else { '+' };
        let (hours, minutes) = (offset.abs() / 60, offset.abs() % 60);
        let text = format!("{}{fraction}{sign}{hours:02}:{minutes:02}", local.strftime("%Y-%m-%dT%H:%M:%S"));
        let (mut stamps, moment) = stamps();
        let (time, end) = stamps.iso(text.as_bytes(), 0, moment, false).unwrap();
        prop_assert_eq!(end, text.len());
        prop_assert_eq!(Some(time), Time::parse(&text), "{}", text);
    }

    #[test]
    fn a_time_without_an_offset_is_what_jiff_says(at in 0_i64..4_000_000_000) {
        let (mut stamps, moment) = stamps();
        let zone = stamps.zones[0].clone();
        let civil = zone.to_datetime(jiff::Timestamp::from_second(at).unwrap());
        let meant = zone.to_ambiguous_zoned(civil);
        prop_assume!(!meant.is_ambiguous());
        let meant = Time::from_secs(meant.compatible().unwrap().timestamp().as_second());
        for text in [civil.strftime("%Y-%m-%dT%H:%M:%S"), civil.strftime("%b %e %Y %H:%M:%S"), civil.strftime("%b %d %H:%M:%S %Y ")] {
            let text = text.to_string();
            let (time, end) = stamps.any(text.as_bytes(), 0, moment).unwrap();
            prop_assert_eq!(end, text.trim_end().len());
            prop_assert_eq!(time, meant, "{}", text);
        }
    }

    #[test]
    fn any_bytes_are_a_time_or_none(text in "[0-9TZ:. +-]{0,40}|(Jan|Feb) [ 0-9:.]{0,30}") {
        let (mut stamps, moment) = stamps();
        // Twice, so that what was remembered of the first time is used.
        let first = stamps.any(text.as_bytes(), 0, moment);
        prop_assert_eq!(stamps.any(text.as_bytes(), 0, moment), first);
    }
}

#[test]
fn what_is_no_time_is_none() {
    let (mut stamps, moment) = stamps();
    for text in [
        "2026-02-29T00:00:00Z",
        "2026-13-01T00:00:00Z",
        "2026-00-01T00:00:00Z",
        "2026-01-00T00:00:00Z",
        "2026-01-01T24:00:00Z",
        "2026-01-01T00:60:00Z",
        "2026-01-01T00:00:61Z",
        "2026-01-01T00:00:00.Z",
        "2026-01-01T00:00:00.1234567890Z",
        "2026-01-01T00:00:00+24:00",
        "2026-01-01T00:00:00+01:60",
        "2026-01-01T00:00:00+1",
        "2026-01-01T00:00Z",
        "0000-01-01T00:00:00Z",
        "9999-01-01T00:00:00Z",
        "Feb 30 00:00:00",
        "Feb 29 00:00:00",
        "Foo 11 00:00:00",
        "Oct 111 00:00:00",
        "Oct 11 0:00:00",
        "176731212",
        "17673121233",
        "1767312123.",
        "1767312123.1234567890",
    ] {
        assert_eq!(stamps.any(text.as_bytes(), 0, moment), None, "{text}");
    }
}
