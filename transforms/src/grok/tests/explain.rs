//! What `grok explain` and `grok try` tell.

use crate::grok::*;

fn attempt(patterns: &[&str], line: &str) -> Attempt {
    try_line(
        patterns,
        Library::shared(Spelling::EcsV1),
        Options::default(),
        line,
    )
    .unwrap()
}

fn failures(attempt: &Attempt) -> &[Failure] {
    match &attempt.result {
        Tried::NoMatch(failures) => failures,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_line_that_stops_matching_is_marked_where_it_does() {
    let tried = attempt(
        &["%{IP:client.ip} %{WORD:method} %{URIPATH:url.path}$"],
        "192.0.2.1 GET x/y",
    );
    let [failure] = failures(&tried) else {
        panic!("one pattern, one failure")
    };
    assert_eq!(failure.matched, "%{IP:client.ip} %{WORD:method} ");
    assert_eq!(failure.stops_at, "%{URIPATH:url.path}");
    assert_eq!(failure.at, "192.0.2.1 GET ".len());
    let text = tried.to_string();
    assert!(
        text.contains("  192.0.2.1 GET x/y\n                ^ %{URIPATH:url.path} expected"),
        "{text}"
    );
}

#[test]
fn a_library_pattern_is_opened_to_see_where_it_stops() {
    let line = r#"192.0.2.1 - frank [10/Xxx/2025:13:55:36 -0700] "GET / HTTP/1.0" 200 2326"#;
    let tried = attempt(&["%{COMMONAPACHELOG}"], line);
    let [failure] = failures(&tried) else {
        panic!("one pattern, one failure")
    };
    assert_eq!(failure.within[..2], ["COMMONAPACHELOG", "HTTPD_COMMONLOG"]);
    assert_eq!(failure.at, line.find("Xxx").unwrap(), "{failure:?}");
}

#[test]
fn a_match_tells_what_it_captured_and_no_escape_reaches_the_terminal() {
    let tried = attempt(
        &["^nothing$", "%{INT:n:int} %{GREEDYDATA:text}"],
        "x 7 \u{1b}[31mred",
    );
    let Tried::Match {
        pattern: 1,
        captures,
        ..
    } = &tried.result
    else {
        panic!("{tried:?}")
    };
    assert_eq!(
        captures[0],
        Captured {
            field: "n".into(),
            cast: Cast::Int,
            text: "7".into(),
            place: 2..3
        }
    );
    assert!(!tried.to_string().contains('\u{1b}'));
}

#[test]
fn patterns_say_which_engine_runs_them_and_why() {
    let library = Library::shared(Spelling::EcsV1);
    let told = explain("%{PVEPROXY_ACCESS}", library, Options::default()).unwrap();
    assert_eq!(told.engine, Engine::Scan);
    assert!(told.anchored);
    assert_eq!(told.required.as_deref(), Some(" - "));
    assert!(
        told.groups
            .iter()
            .any(|group| group.field == "http.response.status_code" && group.cast == Cast::Int)
    );
    let told = explain(r"(?<a>\w+) \k<a>", library, Options::default()).unwrap();
    assert_eq!(told.engine, Engine::Fancy);
    assert!(
        told.to_string()
            .contains("no: it asks for a captured text once more"),
        "{told}"
    );
    let told = explain(r"(?<=a|bc)x(?<y>\d+)", library, Options::default()).unwrap();
    assert_eq!(told.engine, Engine::Fancy, "{told}");
}

#[test]
fn errors_say_where_and_what_to_write_instead() {
    let library = Library::shared(Spelling::EcsV1);
    for (text, offset, what, help) in [
        (
            "a %{IPV5:x}",
            4,
            "no pattern is called `IPV5`",
            "did you mean `IPV4`?",
        ),
        (
            "%{NUMBR}",
            2,
            "no pattern is called `NUMBR`",
            "did you mean `NUMBER`?",
        ),
        (
            "%{IP:x:integer}",
            7,
            "no type is called `integer`",
            "types are `int`, `float` and `boolean`",
        ),
        ("%{IP", 0, "a `%{` that is never closed", ""),
        (
            "%{IP:a..b}",
            5,
            "`a..b` is no name of a field",
            "write it like source.ip",
        ),
        ("x(y", 1, "a group that is never closed", "add `)`"),
        ("x)y", 1, "a `)` that closes nothing", ""),
        ("x[a-", 1, "a set of characters that is never closed", ""),
        ("[z-a]", 1, "a range from `z` down to `a`", ""),
        ("*a", 0, "`*` has nothing before it to repeat", ""),
        ("a{5,2}", 1, "a repetition from 5 to fewer", ""),
        ("a{1,100000}", 1, "a repetition of more than 1000 times", ""),
        (r"(?<a>x)\1", 7, r"`\1` counts groups", "name the group"),
        ("[%{INT}]", 1, "a `%{…}` inside a set of characters", ""),
        (
            r"\p{Nope}",
            0,
            "no property of characters is called `Nope`",
            "",
        ),
        (r"a\", 1, "a `\\` at the very end", ""),
    ] {
        let error = Pattern::new(text, library, Options::default()).unwrap_err();
        assert_eq!(error.offset, offset, "{text}: {error}");
        assert!(error.what.contains(what), "{text}: {error}");
        assert!(
            error.help.as_deref().unwrap_or_default().contains(help),
            "{text}: {error}"
        );
    }
    let mut own = Library::empty();
    own.add("A", "%{B}");
    own.add("B", "x%{C:c}");
    own.add("C", "%{A}");
    let error = Pattern::new("..%{A}", &own, Options::default()).unwrap_err();
    assert_eq!(
        (error.offset, error.what.as_str()),
        (2, "`A` contains itself: A → B → C → A")
    );
    own.add("C", "(");
    let error = Pattern::new("..%{A}", &own, Options::default()).unwrap_err();
    assert_eq!(error.within, ["A", "B", "C"]);
    assert_eq!(
        error.what,
        "in the definition of C, at 0: a group that is never closed"
    );
}
