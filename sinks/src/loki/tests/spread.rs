//! Which tenant and which stream an event goes to.

use super::*;

#[tokio::test]
async fn tenants_never_share_a_push_and_who_has_none_is_refused() {
    let server = taking().await;
    let mut sink = sink(&server, json!({ "tenant_id": "{{ t }}" }));
    let batch = vec![
        event(0, json!({ "t": "a" })),
        event(1, json!({ "t": "b" })),
        event(2, json!({})),
        event(3, json!({ "t": "a" })),
        event(4, json!({ "t": "a|b" })),
    ];
    let refused = sink.write(Events::of(batch)).await;
    let Err(WriteError::Partly(fates, _)) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(fates.iter().map(|(n, _)| *n).collect::<Vec<_>>(), [2, 4]);
    let seen: Vec<(Option<String>, Vec<u64>)> = server
        .requests()
        .iter()
        .map(|r| {
            (
                r.header("x-scope-orgid").map(str::to_owned),
                pushed(r).entries.iter().map(Line::n).collect(),
            )
        })
        .collect();
    assert_eq!(
        seen,
        [
            (Some("a".to_owned()), vec![0, 3]),
            (Some("b".to_owned()), vec![1])
        ]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_label_with_a_million_values_is_a_bounded_number_of_streams_in_order() {
    let server = taking().await;
    let options = format!(
        "endpoint = '{}'\nlabels = {{ w = '{{{{ w }}}}' }}\nlimits = {{ max_label_values = 5, max_streams = 4 }}",
        server.uri()
    );
    // Known before the events are made, as in a running program.
    let _ = pipeline::Field::new("w");
    let all: Vec<Event> = (0..20_000)
        .map(|n| event(n, json!({ "w": n % 1000, "n": n })))
        .collect();
    let outcome = testing::sink::<Config>(&options).deliver(all).await;
    assert_eq!(outcome.delivered().len(), 20_000);
    let mut by_stream: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for push in pushes(&server) {
        by_stream
            .entry(push.labels)
            .or_default()
            .extend(push.entries.iter().map(Line::n));
    }
    let names: Vec<&str> = by_stream.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            r#"{w="0"}"#,
            r#"{w="1"}"#,
            r#"{w="2"}"#,
            r#"{w="3"}"#,
            r#"{w="overflow"}"#
        ]
    );
    assert!(
        by_stream.values().all(|n| n.is_sorted()),
        "order is kept within each stream"
    );
    assert_eq!(by_stream.values().map(Vec::len).sum::<usize>(), 20_000);
}
