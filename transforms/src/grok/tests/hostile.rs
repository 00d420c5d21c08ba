//! Lines and patterns made to hurt: bounded in time and memory, never a panic, never a wrong "no match".

use std::time::{Duration, Instant};

use crate::grok::*;

fn grok(pattern: &str, only: Option<Engine>) -> Grok {
    let options = Options {
        only,
        ..Options::default()
    };
    Grok::new(vec![
        Pattern::new(pattern, Library::shared(Spelling::EcsV1), options).unwrap(),
    ])
}

fn outcome(pattern: &str, line: &str) -> Outcome {
    let grok = grok(pattern, None);
    grok.matches(&mut grok.scratch(), line)
}

/// Far more than any of this takes, far less than going back without end would.
const LONG: Duration = Duration::from_secs(60);

#[test]
fn patterns_that_explode_elsewhere_end() {
    let start = Instant::now();
    let line = format!("{}!", "a".repeat(40_000));
    for pattern in [
        r"^(a+)+$",
        r"^(a|a)*$",
        r"^(a|aa)+$",
        r"(.*a){12}$",
        r"^(\w+\s?)*$",
        r"(x+x+)+y",
        r"^(([a-z])+.)+[A-Z]([a-z])+$",
    ] {
        assert_eq!(outcome(pattern, &line), Outcome::NoMatch, "{pattern}");
    }
    assert!(start.elapsed() < LONG, "{:?}", start.elapsed());
}

#[test]
fn a_spent_budget_is_no_miss() {
    let line = format!("{}!", "a".repeat(200));
    // Only going back can say this.
    let pattern = r"^(?<x>a)\k<x>(a|a)*(a|a)*(a|a)*$";
    let start = Instant::now();
    assert_eq!(outcome(pattern, &line), Outcome::Spent(0));
    assert!(start.elapsed() < LONG, "{:?}", start.elapsed());
    assert_eq!(outcome(pattern, "aaa"), Outcome::Match(0));
}

#[test]
fn a_line_of_a_mebibyte_is_read_in_linear_time() {
    let start = Instant::now();
    for unit in [
        "a",
        " ",
        "1",
        "1.",
        ":",
        "\0",
        "\"",
        "é",
        "ab:cd:",
        "- - [",
        "GET / HTTP/1.1\" 200 ",
    ] {
        let line = unit.repeat((1 << 20) / unit.len());
        for pattern in [
            "%{PVEPROXY_ACCESS}",
            "%{COMBINEDAPACHELOG}",
            "%{IP:a} %{IP:b} x",
            "%{NOTSPACE:a} foo",
        ] {
            assert_eq!(
                outcome(pattern, &line),
                Outcome::NoMatch,
                "{pattern} on {unit:?}"
            );
        }
        let all = outcome("%{GREEDYDATA:all}", &line);
        assert_eq!(all, Outcome::Match(0));
    }
    assert!(start.elapsed() < 4 * LONG, "{:?}", start.elapsed());
}

#[test]
fn no_byte_and_no_length_makes_a_panic() {
    let library = Library::shared(Spelling::EcsV1);
    let patterns = library
        .names()
        .into_iter()
        .map(|name| format!("%{{{name}}}"));
    let mut random = fastrand::Rng::with_seed(11);
    for pattern in patterns.step_by(7) {
        let grok = grok(&pattern, None);
        let mut scratch = grok.scratch();
        for length in 0..40 {
            let line: String = (0..length)
                .map(|_| char::from_u32(random.u32(..0x250)).unwrap_or('\0'))
                .collect();
            grok.matches(&mut scratch, &line);
        }
    }
}

#[test]
fn patterns_that_grow_without_end_are_refused() {
    let mut library = Library::empty();
    library.add("A0", "(?:abcdefgh|ijklmnop)");
    for level in 1..30 {
        library.add(format!("A{level}"), format!("%{{A{}}}%{{A{0}}}", level - 1));
    }
    let error = Pattern::new("%{A29}", &library, Options::default()).unwrap_err();
    assert!(error.what.contains("pieces"), "{error}");
    let deep = format!("{}x{}", "(".repeat(5_000), ")".repeat(5_000));
    let error = Pattern::new(&deep, &library, Options::default()).unwrap_err();
    assert!(error.what.contains("deep"), "{error}");
    let counted = "((a{1000}){1000}){1000}";
    assert!(Pattern::new(counted, &library, Options::default()).is_err());
    let long = "a".repeat(100_000);
    assert!(Pattern::new(&long, &library, Options::default()).is_err());
}
