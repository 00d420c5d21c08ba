//! Durations and sizes as people write them.
use super::*;

fn nanos(text: &str) -> Result<u128, String> {
    text.parse::<Duration>()
        .map(|d| d.get().as_nanos())
        .map_err(|e| e.to_string())
}

#[test]
fn durations_are_read_as_people_write_them() {
    assert_eq!(nanos("10m"), Ok(600_000_000_000));
    assert_eq!(nanos("1h30m"), Ok(5_400_000_000_000));
    assert_eq!(nanos("1h 30m"), Ok(5_400_000_000_000));
    assert_eq!(nanos("250ms"), Ok(250_000_000));
    assert_eq!(nanos("1.5s"), Ok(1_500_000_000));
    assert_eq!(nanos("0s"), Ok(0));
    assert_eq!(nanos("2µs"), Ok(2_000));
}

#[test]
fn a_refused_duration_says_what_to_write() {
    for (text, remedy) in [
        ("10", "write \"10s\" for seconds"),
        ("5 minutes", "write \"5m\" for minutes"),
        ("5M", "write \"5m\" for minutes"),
        ("", "a number and a unit"),
        ("soon", "a number and a unit"),
        ("-1s", "a number and a unit"),
        ("9999999999999999999s", "584 years"),
        ("1..5s", "584 years"),
    ] {
        let error = nanos(text).expect_err(text);
        assert!(error.contains(remedy), "{text}: {error}");
    }
}

#[test]
fn sizes_are_read_and_refused_with_a_remedy() {
    assert_eq!("64MiB".parse::<Bytes>().map(Bytes::get), Ok(64 << 20));
    assert_eq!("1GB".parse::<Bytes>().map(Bytes::get), Ok(1_000_000_000));
    assert_eq!("1.5 KiB".parse::<Bytes>().map(Bytes::get), Ok(1536));
    for (text, remedy) in [
        ("64", "write \"64B\" for bytes, \"64MiB\""),
        ("64M", "write \"64MiB\""),
        ("64mib", "write \"64MiB\""),
        ("1GiB2", "a number and a unit"),
        ("99999999999TiB", "the largest size"),
    ] {
        let error = text.parse::<Bytes>().expect_err(text).to_string();
        assert!(error.contains(remedy), "{text}: {error}");
    }
}

#[test]
fn a_bare_number_is_refused_with_both_readings() {
    let error = serde_json::from_str::<Duration>("10")
        .expect_err("refused")
        .to_string();
    assert!(
        error.contains("write \"10s\" for seconds, \"10ms\" for milliseconds"),
        "{error}"
    );
    let error = serde_json::from_str::<Bytes>("10")
        .expect_err("refused")
        .to_string();
    assert!(error.contains("write \"10B\" for bytes"), "{error}");
}

proptest::proptest! {
    #[test]
    fn what_is_printed_reads_back_the_same(ns in proptest::prelude::any::<u64>(), bytes in proptest::prelude::any::<u64>()) {
        let duration = Duration(std::time::Duration::from_nanos(ns));
        proptest::prop_assert_eq!(duration.to_string().parse::<Duration>(), Ok(duration));
        proptest::prop_assert_eq!(Bytes(bytes).to_string().parse::<Bytes>(), Ok(Bytes(bytes)));
    }

    #[test]
    fn no_text_makes_the_parsers_panic(text in ".*") {
        let _ = text.parse::<Duration>();
        let _ = text.parse::<Bytes>();
    }
}
