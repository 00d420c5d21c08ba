//! What requests look like in each form.

use super::*;

async fn sent(encoding: Value, events: Vec<Event>) -> Vec<Received> {
    let server = receiver().start().await;
    let mut sink = sink(&server, json!({ "encoding": encoding }));
    sink.write(Events::of(events)).await.unwrap();
    server.requests()
}

/// One request, as JSON.
async fn one(encoding: Value, events: Vec<Event>) -> Value {
    let requests = sent(encoding, events).await;
    assert_eq!(requests.len(), 1);
    body(&requests[0])
}

#[tokio::test]
async fn lines_and_chosen_fields() {
    let events = vec![
        event(1, json!({ "host.name": "pve1" })),
        event(2, json!({})),
    ];
    let requests = sent(
        json!({ "codec": "ndjson", "only_fields": ["host"] }),
        events,
    )
    .await;
    assert_eq!(
        requests[0].text(),
        concat!(
            r#"{"@timestamp":"2026-03-14T22:58:03.412Z","event":{"id":"00000000000000000000000000000001"},"host":{"name":"pve1"}}"#,
            "\n",
            r#"{"@timestamp":"2026-03-14T22:58:03.412Z","event":{"id":"00000000000000000000000000000002"}}"#,
            "\n",
        )
    );
    assert_eq!(
        requests[0].header("content-type"),
        Some("application/x-ndjson")
    );
}

#[tokio::test]
async fn a_template_of_one_event_makes_a_request_for_each() {
    let template = r#"{"title": "{{ event.user.name }} on {{ event.host.name }}", "text": {{ event.message }}, "n": {{ event["no.such"] | default(0) }}, "all": {{ event.user }}}"#;
    let evil = "\", \"admin\": true, \"x\": \"\\\u{1}\n</script>";
    let events = vec![
        event(
            1,
            json!({ "user.name": "eve", "host.name": "pve1", "message": evil }),
        ),
        event(2, json!({ "user.name": evil, "host.name": "pve2" })),
    ];
    let requests = sent(json!({ "codec": "template", "template": template }), events).await;
    assert_eq!(requests.len(), 2);
    assert_eq!(
        body(&requests[0]),
        json!({ "title": "eve on pve1", "text": evil, "n": 0, "all": { "name": "eve" } })
    );
    assert_eq!(body(&requests[1])["title"], format!("{evil} on pve2"));
    assert_eq!(body(&requests[1]).as_object().unwrap().len(), 4);
    assert_eq!(
        requests[1].header("idempotency-key"),
        Some("00000000000000000000000000000002")
    );
}

#[tokio::test]
async fn blocks_and_lists_of_a_template_keep_their_escaping() {
    let template = r#"{%- set greeting %}hello {{ events[0].message }}{% endset -%}
{"text": "{{ greeting }}", "lines": [{% for e in events %}{{ e.message | upper }}{% if not loop.last %}, {% endif %}{% endfor %}], "quoted": "{{ events | length }} and {{ events[0].user }}"}"#;
    let events = vec![
        event(1, json!({ "message": "\"a\"", "user.name": "\"x\"" })),
        event(2, json!({ "message": "b" })),
    ];
    let made = one(json!({ "codec": "template", "template": template }), events).await;
    assert_eq!(
        made,
        json!({ "text": "hello \"a\"", "lines": ["\"A\"", "B"], "quoted": "2 and {\"name\":\"\\\"x\\\"\"}" })
    );
}

#[tokio::test]
async fn a_form_and_a_page_are_escaped_in_their_way() {
    let events = || vec![event(1, json!({ "message": "a&b=<c> d" }))];
    let form = sent(json!({ "codec": "template", "content_type": "application/x-www-form-urlencoded", "template": "text={{ event.message }}&v=1" }), events()).await;
    assert_eq!(form[0].text(), "text=a%26b%3D%3Cc%3E%20d&v=1");
    let page = sent(json!({ "codec": "template", "content_type": "text/html; charset=utf-8", "template": "<b>{{ event.message }}</b>" }), events()).await;
    assert_eq!(page[0].text(), "<b>a&amp;b=&lt;c&gt; d</b>");
    let text = sent(json!({ "codec": "template", "content_type": "text/plain", "template": "{{ event.message }}" }), events()).await;
    assert_eq!(text[0].text(), "a&b=<c> d");
}

#[tokio::test]
async fn an_event_the_template_cannot_tell_of_is_refused_with_the_reason() {
    let cases = [
        (r#"{"ip": {{ event.source.ip }}}"#, "needs a field"),
        (r#"{"a": {{ event.message | upper }}, }"#, "makes no JSON"),
        (
            r#"{% for a in range(90000) %}{% for b in range(90000) %}{% endfor %}{% endfor %}{{ event.message }}"#,
            "takes too long",
        ),
        (
            r#"{{ "x" * 900000000 }}{{ event.message }}"#,
            "takes too long",
        ),
    ];
    for (template, why) in cases {
        let server = receiver().start().await;
        let mut sink = sink(
            &server,
            json!({ "encoding": { "codec": "template", "template": template } }),
        );
        let error = sink.write(some(2)).await.unwrap_err();
        let WriteError::Partly(fates, _) = &error else {
            panic!("{template}: {error:?}");
        };
        assert!(
            matches!(&fates[1], (1, Fate::Refused(reason)) if reason.text.contains(why)),
            "{template}: {fates:?}"
        );
        assert_eq!(server.requests().len(), 0);
    }
}

#[test]
fn a_mistake_in_a_template_points_at_it() {
    let at = |template: &str| {
        let options = json!({ "uri": "http://127.0.0.1:1/", "encoding": { "codec": "template", "template": template } });
        let errors = build(options)
            .err()
            .unwrap_or_else(|| panic!("{template} is taken"));
        errors
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("\n")
    };
    assert!(
        at("{{ event.message").contains("at byte"),
        "{}",
        at("{{ event.message")
    );
    assert!(
        at("{{ event.message | nosuch }}").contains("nosuch"),
        "{}",
        at("{{ event.message | nosuch }}")
    );
    assert!(at("{{ event.message | safe }}").contains("safe"));
    assert!(
        at("{{ message }}").contains("`message` is nothing a template knows"),
        "{}",
        at("{{ message }}")
    );
    assert!(at("{\"text\": \"hello\"}").contains("says nothing of its events"));
    assert!(at("{{ event.a }} {{ events }}").contains("both"));
}

#[tokio::test]
async fn alerts_have_labels_that_stay_and_end_when_they_are_resolved() {
    // Names are known once a graph is built.
    build(json!({ "uri": "http://127.0.0.1:1/", "encoding": { "codec": "alertmanager" } }))
        .unwrap_or_else(|why| panic!("{why}"));
    let alert = |n: u64, more: Value| {
        let mut all = json!({ "rule.name": "root_login", "rule.id": "PVR-101", "event.severity": 8, "pve.alert.id": "a1", "orchestrator.cluster.name": "prod", "event.start": "2026-03-14T22:50:00Z" });
        all.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        event(n, all)
    };
    let events = vec![
        alert(
            1,
            json!({ "event.code": "PVE-9101", "user.id": "root@pam", "host.name": "pve1" }),
        ),
        alert(
            2,
            json!({ "event.code": "PVE-9103", "user.id": "eve@pam", "host.name": "pve2" }),
        ),
        event(
            3,
            json!({ "event.code": "PVE-2002", "message": "x".repeat(9000) }),
        ),
    ];
    let made = one(json!({ "codec": "alertmanager" }), events).await;
    let labels = json!({ "alertname": "root_login", "rule_id": "PVR-101", "severity": "high", "alert_id": "a1", "cluster": "prod" });
    assert_eq!((&made[0]["labels"], &made[1]["labels"]), (&labels, &labels));
    assert_eq!(made[0]["annotations"]["user"], "root@pam");
    assert_eq!(made[0]["startsAt"], "2026-03-14T22:50:00.000Z");
    assert_eq!(made[1]["endsAt"], "2026-03-14T22:58:03.412Z");
    let ends = pipeline::Time::parse(made[0]["endsAt"].as_str().unwrap()).unwrap();
    assert!(
        ends > pipeline::Clock::system()
            .now()
            .after(Duration::from_secs(23 * 3600))
    );
    assert_eq!(
        made[2]["labels"],
        json!({ "alertname": "PVE-2002", "alert_id": format!("{:032x}", 3) })
    );
    assert_eq!(
        made[2]["annotations"]["description"]
            .as_str()
            .unwrap()
            .chars()
            .count(),
        4096
    );
}

#[test]
fn labels_that_alertmanager_would_not_take_are_told_before() {
    let labels = json!({ "2nd": "user.id", "a-b": "user.id", "__x": "user.id", "alertname": "rule.id", "good_1": "user.id" });
    let options = json!({ "uri": "http://127.0.0.1:1/", "encoding": { "codec": "alertmanager", "labels": labels } });
    assert_eq!(build(options).err().unwrap().iter().count(), 4);
}
