//! Answers as the servers write them, and answers that are none.

use super::*;
use pipeline::ReasonKind;

fn ids(n: u64) -> impl ExactSizeIterator<Item = EventId> {
    (0..n as u32).map(|n| EventId([0, u64::from(n)]))
}

fn item(n: u64, rest: &str) -> String {
    format!(r#"{{"create":{{"_id":"{:032x}",{rest}}}}}"#, n)
}

fn answer(items: &[String]) -> String {
    format!(
        r#"{{"took":3,"errors":true,"items":[{}]}}"#,
        items.join(",")
    )
}

/// The fate of a single event.
fn fate(rest: &str) -> Option<Fate> {
    let outcome = read(answer(&[item(0, rest)]).as_bytes(), ids(1), true).unwrap();
    outcome.fates.into_iter().next().map(|(_, fate)| fate)
}

fn error(status: u16, kind: &str) -> String {
    format!(
        r#""status":{status},"error":{{"type":"{kind}","reason":"because","caused_by":{{"type":"inner","reason":"of this"}}}}"#
    )
}

#[test]
fn errors_is_found_wherever_it_stands_at_the_top_level_and_nowhere_else() {
    for (text, expected) in [
        (r#"{"errors":false,"items":[{"create":{"#, Flag::Clean),
        (r#"{"took":1,"errors":true"#, Flag::More),
        (r#"{"took":1,"errors":true,"#, Flag::Errors),
        (" {\n  \"took\" : 1,\n  \"errors\" : false\n}", Flag::Clean),
        (
            r#"{"items":[{"create":{"errors":false,"x":"}\"]"}}],"errors":true}"#,
            Flag::Errors,
        ),
        (
            r#"{"x":"errors\":false","y":{},"z":[],"errors":true}"#,
            Flag::Errors,
        ),
        (
            r#"{"errors":"false"}"#,
            Flag::Nonsense("its `errors` is no boolean"),
        ),
        (
            r#"{"errors":0,"#,
            Flag::Nonsense("its `errors` is no boolean"),
        ),
        (
            r#"{"errors":falsey}"#,
            Flag::Nonsense("its `errors` is no boolean"),
        ),
        (
            r#"{"acknowledged":true}"#,
            Flag::Nonsense("it has no `errors`"),
        ),
        ("{}", Flag::Nonsense("it has no `errors`")),
        ("<html>", Flag::Nonsense("it is no JSON object")),
        ("[]", Flag::Nonsense("it is no JSON object")),
        (
            r#"{"errors" false}"#,
            Flag::Nonsense("it is no JSON object"),
        ),
        ("", Flag::More),
        (r#"{"err"#, Flag::More),
        (r#"{"a\"#, Flag::More),
    ] {
        assert_eq!(flag(text.as_bytes()), expected, "{text}");
    }
}

#[test]
fn a_cut_answer_is_never_clean() {
    let text = r#"{"took":1,"ingest_took":[{"errors":false}],"note":"\"errors\":false,","errors":true,"items":[]}"#;
    for end in 0..text.len() {
        assert!(
            matches!(flag(&text.as_bytes()[..end]), Flag::More | Flag::Errors),
            "{}",
            &text[..end]
        );
    }
}

#[test]
fn each_row_of_the_table() {
    use ReasonKind::*;
    assert_eq!(fate(r#""status":201"#), None);
    assert_eq!(fate(r#""status":200"#), None);
    for (status, kind, expected) in [
        (429, "es_rejected_execution_exception", Busy),
        (429, "rejected_execution_exception", Busy),
        (500, "exception", Server),
        (502, "x", Server),
        (503, "unavailable_shards_exception", Server),
        (504, "x", Server),
        (403, "cluster_block_exception", Blocked),
        (429, "cluster_block_exception", Blocked),
        (403, "security_exception", Forbidden),
        (418, "teapot", Nonsense),
    ] {
        match fate(&error(status, kind)) {
            Some(Fate::Retry(reason)) => assert_eq!(reason.kind, expected, "{status} {kind}"),
            other => panic!("{status} {kind}: {other:?}"),
        }
    }
    for (status, kind, expected) in [
        (400, "mapper_parsing_exception", Mapping),
        (400, "document_parsing_exception", Mapping),
        (400, "strict_dynamic_mapping_exception", Mapping),
        (404, "index_not_found_exception", Missing),
        (413, "x", TooLarge),
    ] {
        match fate(&error(status, kind)) {
            Some(Fate::Refused(reason)) => {
                assert_eq!(reason.kind, expected, "{status} {kind}");
                assert_eq!(
                    reason.text,
                    format!("{kind}: because; caused by inner: of this")
                );
            }
            other => panic!("{status} {kind}: {other:?}"),
        }
    }
}

#[test]
fn a_conflict_is_a_duplicate_for_create_and_busy_for_index() {
    let text = answer(&[item(0, &error(409, "version_conflict_engine_exception"))]);
    assert_eq!(
        read(text.as_bytes(), ids(1), true).unwrap(),
        Outcome {
            duplicates: 1,
            ..Outcome::default()
        }
    );
    let other = read(text.as_bytes(), ids(1), false).unwrap();
    assert!(matches!(&other.fates[0].1, Fate::Retry(r) if r.kind == ReasonKind::Busy));
}

#[test]
fn a_mixed_answer_names_just_those_that_were_not_taken() {
    let text = answer(&[
        item(0, r#""status":201"#),
        item(1, &error(409, "version_conflict_engine_exception")),
        item(2, &error(429, "es_rejected_execution_exception")),
        item(3, &error(400, "document_parsing_exception")),
        item(4, r#""status":201,"failure_store":"used""#),
    ]);
    let outcome = read(text.as_bytes(), ids(5), true).unwrap();
    assert_eq!((outcome.duplicates, outcome.redirected), (1, 1));
    assert!(
        matches!(
            &outcome.fates[..],
            [(2, Fate::Retry(_)), (3, Fate::Refused(_))]
        ),
        "{outcome:?}"
    );
}

#[test]
fn the_index_without_a_right_is_named() {
    let rest = r#""_index":"pve-audit-2026.11","status":403,"error":{"type":"security_exception","reason":"no permissions"}"#;
    let Some(Fate::Retry(reason)) = fate(rest) else {
        panic!("kept and tried again")
    };
    assert!(reason.text.contains("pve-audit-2026.11"), "{}", reason.text);
}

#[test]
fn an_answer_that_does_not_fit_says_nothing() {
    let good = [item(0, r#""status":201"#), item(1, r#""status":201"#)];
    for (text, why) in [
        (answer(&good[..1]), "1 items for 2"),
        (
            answer(&[good[0].clone(), good[1].clone(), good[1].clone()]),
            "more items",
        ),
        (answer(&[good[1].clone(), good[0].clone()]), "order"),
        (
            answer(&[good[0].clone(), item(1, r#""error":"x""#)]),
            "no status",
        ),
        (
            answer(&[good[0].clone(), "{}".to_owned()]),
            "without an action",
        ),
        (r#"{"errors":true}"#.to_owned(), "0 items"),
        (answer(&good)[..40].to_owned(), "cannot be read"),
        (answer(&good) + "x", "cannot be read"),
    ] {
        let error = read(text.as_bytes(), ids(2), true).unwrap_err();
        assert!(error.contains(why), "{text}: {error}");
    }
}

#[test]
fn a_missing_pipeline_is_not_the_fault_of_the_event() {
    let rest = r#""status":400,"error":{"type":"illegal_argument_exception","reason":"pipeline with id [x] does not exist"}"#;
    assert!(matches!(fate(rest), Some(Fate::Retry(r)) if r.kind == ReasonKind::Missing));
    assert!(
        matches!(fate(r#""status":400,"error":"a text""#), Some(Fate::Refused(r)) if r.text == "a text")
    );
}

proptest::proptest! {
    /// What is stepped over is understood as a real parser understands it, however it is written and cut.
    #[test]
    fn the_quick_look_agrees_with_a_parser(members in members(), pretty: bool, cut in 0..400_usize) {
        let value = serde_json::Value::Object(members);
        let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
        let seen = flag(text.as_bytes());
        match value.get("errors") {
            Some(serde_json::Value::Bool(false)) => proptest::prop_assert_eq!(seen, Flag::Clean),
            Some(serde_json::Value::Bool(true)) => proptest::prop_assert_eq!(seen, Flag::Errors),
            _ => proptest::prop_assert!(matches!(seen, Flag::Nonsense(_))),
        }
        let part = &text.as_bytes()[..cut.min(text.len())];
        if flag(part) == Flag::Clean {
            proptest::prop_assert_eq!(value.get("errors"), Some(&serde_json::Value::Bool(false)));
        }
    }

    #[test]
    fn no_bytes_break_it(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200), text in "[\\[\\]{}\",:\\\\a-f truels0-9]{0,80}") {
        for hostile in [&bytes[..], text.as_bytes()] {
            flag(hostile);
            assert!(read(hostile, ids(3), true).is_err());
        }
    }
}

fn members() -> impl proptest::strategy::Strategy<Value = serde_json::Map<String, serde_json::Value>>
{
    use proptest::prelude::*;
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(serde_json::Value::Bool),
        any::<i32>().prop_map(serde_json::Value::from),
        "[a-z\"\\\\{}\\[\\],: ]{0,8}".prop_map(serde_json::Value::String),
    ];
    let value = leaf.prop_recursive(3, 20, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::Array),
            proptest::collection::btree_map("errors|[a-z\"\\\\]{0,4}", inner, 0..4)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    });
    let key = prop_oneof!["errors", "error", "[a-z\"\\\\]{0,6}"];
    proptest::collection::btree_map(key, value, 0..6).prop_map(|map| map.into_iter().collect())
}
