//! Each row of the table of answers.

use super::*;

#[tokio::test]
async fn a_mixed_answer_is_told_event_by_event() {
    let server = server()
        .answers(|r| {
            Some(judged(r, |n, _| match n {
                1 => (409, "version_conflict_engine_exception"),
                2 => (429, "es_rejected_execution_exception"),
                3 => (400, "document_parsing_exception"),
                _ => (201, ""),
            }))
        })
        .start()
        .await;
    match sink(&server, json!({})).write(events(5)).await {
        Err(WriteError::Partly(fates, written)) => {
            assert_eq!(written.duplicates, 1);
            assert!(
                matches!(&fates[..], [(2, Fate::Retry(_)), (3, Fate::Refused(_))]),
                "{fates:?}"
            );
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_blocked_index_and_a_missing_right_are_waited_for() {
    for (status, kind, expected) in [
        (403, "cluster_block_exception", ReasonKind::Blocked),
        (429, "cluster_block_exception", ReasonKind::Blocked),
        (403, "security_exception", ReasonKind::Forbidden),
    ] {
        let server = server()
            .answers(move |r| Some(judged(r, |_, _| (status, kind))))
            .start()
            .await;
        let (seen, text, after) = retry(sink(&server, json!({})).write(events(3)).await);
        assert_eq!((seen, after), (expected, Some(SLOW)), "{text}");
    }
}

#[tokio::test]
async fn every_refusal_of_a_request_keeps_its_events() {
    for (answer, kind, slow) in [
        (
            Answer::new(401, "Unauthorized"),
            ReasonKind::Forbidden,
            true,
        ),
        (
            Answer::new(
                403,
                r#"{"error":{"type":"security_exception","reason":"x"},"status":403}"#,
            ),
            ReasonKind::Forbidden,
            true,
        ),
        (Answer::new(404, "not here"), ReasonKind::Missing, true),
        (
            Answer::new(400, "The plain HTTP request was sent to HTTPS port"),
            ReasonKind::Rejected,
            true,
        ),
        (
            Answer::new(
                400,
                r#"{"error":{"type":"illegal_argument_exception","reason":"x"},"status":400}"#,
            ),
            ReasonKind::Rejected,
            true,
        ),
        (
            Answer::new(301, "").header("Location", "https://x"),
            ReasonKind::Nonsense,
            true,
        ),
        (Answer::new(415, "zstd?"), ReasonKind::Rejected, true),
        (Answer::new(429, ""), ReasonKind::Busy, false),
        (Answer::new(500, "oops"), ReasonKind::Server, false),
        (Answer::new(502, "bad gateway"), ReasonKind::Server, false),
        (Answer::new(503, ""), ReasonKind::Server, false),
        (Answer::silent(), ReasonKind::Connection, false),
        (Answer::json(CLEAN).cut(70), ReasonKind::Connection, false),
        (
            Answer::new(200, "<html>\n<body>Please log in</body>"),
            ReasonKind::Nonsense,
            false,
        ),
        (Answer::new(200, ""), ReasonKind::Nonsense, false),
        (
            Answer::json(r#"{"acknowledged":true}"#),
            ReasonKind::Nonsense,
            false,
        ),
        (
            Answer::json(r#"{"errors":"false","items":[]}"#),
            ReasonKind::Nonsense,
            false,
        ),
        (
            Answer::json(r#"{"errors":true,"items":[]}"#),
            ReasonKind::Nonsense,
            false,
        ),
    ] {
        let shown = format!("{answer:?}");
        let (seen, text, after) = retry(written_after(answer).await);
        assert_eq!(seen, kind, "{shown}: {text}");
        assert_eq!(after.is_some(), slow, "{shown}: {text}");
    }
    let (_, text, _) = retry(written_after(Answer::new(200, "<html>Please log in")).await);
    assert!(
        text.contains("did not answer like a search server") && text.contains("Please log in"),
        "{text}"
    );
    let (_, _, after) = retry(written_after(Answer::new(429, "").header("Retry-After", "7")).await);
    assert_eq!(after, Some(Duration::from_secs(7)));
}

#[tokio::test]
async fn a_pretty_printed_answer_is_read_like_any_other() {
    let pretty = "{\n  \"took\" : 3,\n  \"errors\" : false,\n  \"items\" : [ ]\n}";
    assert!(written_after(Answer::json(pretty).chunked()).await.is_ok());
    let server = server()
        .answers(|r| {
            let compact: Value = serde_json::from_slice(
                &judged(r, |_, _| (400, "mapper_parsing_exception")).into_body(),
            )
            .unwrap();
            Some(Answer::json(
                serde_json::to_string_pretty(&compact).unwrap(),
            ))
        })
        .start()
        .await;
    assert!(
        matches!(sink(&server, json!({})).write(events(2)).await, Err(WriteError::Partly(f, _)) if f.len() == 2)
    );
}

#[tokio::test]
async fn a_request_is_refused_only_by_a_server_that_took_one_before() {
    let poison = |r: &Received| r.text().contains("line 7\"");
    let bad = r#"{"error":{"type":"x_content_parse_exception","reason":"bad"},"status":400}"#;
    let server = server()
        .answers(move |r| {
            Some(if poison(r) {
                Answer::new(400, bad)
            } else {
                Answer::json(CLEAN)
            })
        })
        .start()
        .await;
    let mut sink = sink(&server, json!({}));
    assert_eq!(retry(sink.write(events(8)).await).0, ReasonKind::Rejected);
    sink.write(events(3)).await.unwrap();
    assert!(matches!(
        sink.write(events(8)).await,
        Err(WriteError::Refused { .. })
    ));
}

#[tokio::test]
async fn a_body_too_large_is_sent_in_parts_and_one_event_too_large_is_refused_alone() {
    let server = server()
        .answers(|r| (r.body.len() > 2000).then(|| Answer::new(413, "too large")))
        .answers(|r| (r.method == "POST").then(|| judged(r, |_, _| (201, ""))))
        .start()
        .await;
    let mut sink = sink(&server, json!({}));
    let big = Events::of(
        (0..40)
            .map(|n| {
                event(
                    n,
                    if n == 17 {
                        json!({ "message": "x".repeat(3000) })
                    } else {
                        json!({})
                    },
                )
            })
            .collect(),
    );
    match sink.write(big).await {
        Err(WriteError::Partly(fates, written)) => {
            assert!(
                matches!(&fates[..], [(17, Fate::Refused(r))] if r.kind == ReasonKind::TooLarge),
                "{fates:?}"
            );
            assert!(written.bytes > 4000);
        }
        other => panic!("{other:?}"),
    }
    let stored: usize = bulks(&server)
        .iter()
        .filter(|r| r.body.len() <= 2000)
        .map(|r| r.text().lines().count() / 2)
        .sum();
    assert_eq!(stored, 39, "each of the others was stored once");
    // The limit is remembered: nothing too large is tried again.
    let before = bulks(&server).len();
    sink.write(events(40)).await.unwrap();
    assert!(
        bulks(&server)[before..]
            .iter()
            .all(|r| r.body.len() <= 2000)
    );
}

#[tokio::test]
async fn what_was_stored_before_a_failure_is_not_sent_again() {
    let server = server().start().await;
    server.then(Answer::new(413, ""));
    server.then(Answer::json(CLEAN));
    server.then(Answer::new(429, ""));
    // Those that ask who it is take no answer of the script.
    let config: Config = serde_json::from_value(json!({ "endpoints": [server.uri()] })).unwrap();
    let mut sink = config
        .make(&Context::for_tests(Kind::Sink, "elasticsearch"))
        .unwrap();
    sink.pool.introduced();
    match sink.write(events(10)).await {
        Err(WriteError::Partly(fates, written)) => {
            let first = u64::from(fates[0].0);
            assert!(first > 0 && written.bytes > 0);
            assert_eq!(
                fates.iter().map(|(n, _)| u64::from(*n)).collect::<Vec<_>>(),
                (first..10).collect::<Vec<_>>()
            );
            assert!(
                fates
                    .iter()
                    .all(|(_, f)| matches!(f, Fate::Retry(r) if r.kind == ReasonKind::Busy))
            );
        }
        other => panic!("{other:?}"),
    }
}
