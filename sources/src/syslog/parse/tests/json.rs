//! JSON messages.

use super::{Json, at, brief, parse};

/// Frame, and what becomes of it: time, host, application, process, text.
pub(super) const READ: &[(&str, &str)] = &[
    // The recipe for Logstash that everybody copies.
    (
        r#"{"@timestamp":"2026-01-02T01:02:03.5+01:00","@version":"1","message":" text","sysloghost":"pve1","severity":"info","facility":"daemon","programname":"pvedaemon","procid":"812"}"#,
        "2026-01-02T00:02:03.500Z pve1 pvedaemon 812 |text",
    ),
    // The widespread mistake in it: jsonf inside quotes, or in the place of a value.
    (
        r#"{"@timestamp":"2026-01-02T01:02:03.5+01:00","message":""msg":" say \"hi\""","sysloghost":"pve1","programname":"pvedaemon","procid":"812"}"#,
        "2026-01-02T00:02:03.500Z pve1 pvedaemon 812 |say \"hi\"",
    ),
    (
        r#"{"@timestamp":"2026-01-02T01:02:03.5+01:00","message":""msg":"text"","sysloghost":"pve1"}"#,
        "2026-01-02T00:02:03.500Z pve1 - - |text",
    ),
    (
        r#"{"@timestamp":"2026-01-02T01:02:03.5+01:00","message":"msg":" text","sysloghost":"pve1","programname":"pvedaemon","procid":"812"}"#,
        "2026-01-02T00:02:03.500Z pve1 pvedaemon 812 |text",
    ),
    (
        r#"{"timestamp":""timereported":"2026-01-02T00:02:03Z"","message":""msg":"text"","host":""hostname":"pve1""}"#,
        "2026-01-02T00:02:03.000Z pve1 - - |text",
    ),
    (
        r#"{"message":""msg":" text","sysloghost":"pve1"}"#,
        "refused",
    ),
    // All properties.
    (
        r#"{ "msg": " text", "rawmsg": "x", "timereported": "2026-01-02T00:02:03Z", "hostname": "pve1", "syslogtag": "pvedaemon[812]:", "pri": "30", "syslogfacility": "3", "syslogseverity": "6", "timegenerated": "2026-01-02T00:09:09Z", "programname": "pvedaemon", "structured-data": "-", "app-name": "pvedaemon", "procid": "812", "msgid": "-", "uuid": null, "$!": {"a": 1} }"#,
        "2026-01-02T00:02:03.000Z pve1 pvedaemon 812 |text",
    ),
    (
        r#"{"syslogtag":"su[9]:","msg":"text"}"#,
        "- 192.0.2.99 su 9 |text",
    ),
    (
        r#"{"host":"p\u0076e1","program":"s\u0075","pid":9,"message":"a\nb \ud83d\ude00 \ud83d"}"#,
        "- pve1 su 9 |a\nb \u{1f600} \u{fffd}",
    ),
    (r#"<30>{"message":"text"}"#, "- 192.0.2.99 - - |text"),
    (r#"{"a":1}"#, r#"- 192.0.2.99 - - |{"a":1}"#),
    ("{}", "- 192.0.2.99 - - |{}"),
    (
        r#"{"time":1767312123,"msg":"text"}"#,
        "2026-01-02T00:02:03.000Z 192.0.2.99 - - |text",
    ),
    (r#"{"time":"never","msg":"text"}"#, "- 192.0.2.99 - - |text"),
    // CEE.
    (
        r#"<30>Jan  2 01:02:03 pve1 app[7]: @cee:{"msg":"text","user":"a"}"#,
        "2026-01-02T00:02:03.000Z pve1 app 7 |text",
    ),
    (
        r#"<30>1 - pve1 app 7 - - @cee: {"user":"a"}"#,
        r#"- pve1 app 7 |@cee: {"user":"a"}"#,
    ),
    (r#"@cee: {"msg":"text","host":"pve1"}"#, "- pve1 - - |text"),
    // Without the mark an object in a text is text.
    (
        r#"<30>Jan  2 01:02:03 pve1 app[7]: {"msg":"text"}"#,
        r#"2026-01-02T00:02:03.000Z pve1 app 7 |{"msg":"text"}"#,
    ),
];

fn why(event: &Json) -> &str {
    at(event, "error.message").as_str().unwrap_or_default()
}

#[test]
fn each_form_is_read() {
    let mut wrong = Vec::new();
    for (frame, expected) in READ {
        let event = parse(frame);
        let got = if event.get("tags").is_some() {
            assert_eq!(event["message"], *frame);
            "refused".to_owned()
        } else {
            brief(&event)
        };
        if got != *expected {
            wrong.push(format!(
                "{frame}\n  want {expected:?}\n  got  {got:?} {}",
                why(&event)
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn facility_severity_and_what_has_no_field_are_kept() {
    let event = parse(
        r#"{"severity":"warn","facility":"4","level":"loud","fromhost-ip":"192.0.2.1","uuid":null,"$!":{"a":[1,{"b":true}]},"structured-data":"[x y=\"1\"]","msg":"text"}"#,
    );
    assert_eq!(at(&event, "log.syslog.priority"), 36);
    assert_eq!(at(&event, "log.syslog.facility.name"), "auth");
    assert_eq!(at(&event, "log.syslog.severity.name"), "warning");
    let extra = serde_json::json!({
        "level": "loud", "fromhost-ip": "192.0.2.1", "uuid": null, "$!": {"a": [1, {"b": true}]},
    });
    assert_eq!(at(&event, "pve.extra"), &extra);
    assert_eq!(
        at(&event, "log.syslog.structured_data"),
        &serde_json::json!({"x": {"y": "1"}})
    );
    let one = parse(r#"{"severity":"err","msg":"text"}"#);
    assert_eq!(at(&one, "log.syslog.severity.code"), 3);
    assert!(at(&one, "log.syslog.priority").is_null());
    let other = parse(r#"{"pri":"30","severity":"debug","msg":"text"}"#);
    assert_eq!(at(&other, "log.syslog.priority"), 30);
}

#[test]
fn what_cee_says_beside_its_text_is_kept() {
    let event =
        parse(r#"<30>Jan  2 01:02:03 pve1 app[7]: @cee:{"msg":"text","host":"evil","n":7}"#);
    assert_eq!(at(&event, "host.name"), "pve1");
    let extra = serde_json::json!({"host": "evil", "n": 7});
    assert_eq!(at(&event, "pve.extra"), &extra);
}

#[test]
fn bad_json_is_refused_with_its_place() {
    let deep = |n: usize| format!("{{\"a\":{}{}}}", "[".repeat(n), "]".repeat(n));
    let many = |n: usize| {
        let members: Vec<String> = (0..n).map(|n| format!("\"k{n}\":{n}")).collect();
        format!("{{{}}}", members.join(","))
    };
    for (frame, told) in [
        (deep(10_000), "its JSON is nested more than 64 levels deep"),
        (deep(64), "its JSON is nested more than 64 levels deep"),
        (
            "{\"a\":".repeat(10_000),
            "its JSON is nested more than 64 levels deep",
        ),
        (
            format!("<13>{}", "{".repeat(10_000)),
            "a JSON member begins with its name in quotes",
        ),
        (many(1025), "its JSON has more than 1024 members"),
        (
            format!("{{\"a\":[{}1]}}", "1,".repeat(2000)),
            "its JSON has more than 1024 members",
        ),
        (r#"{"a":1"#.to_owned(), "parted by commas (byte 7)"),
        (
            r#"{"a":1} x"#.to_owned(),
            "behind the JSON object stands something else",
        ),
        (r#"{"a":}"#.to_owned(), "has no value"),
        (r#"{"a" 1}"#.to_owned(), "stands a colon"),
        (r#"{"a":"b}"#.to_owned(), "does not end"),
        (
            r#"{"a":"\x"}"#.to_owned(),
            "an escape in a JSON string is none",
        ),
        (r#"{"a":[1}"#.to_owned(), "is no JSON"),
        (r#"{"a":"b"c":"d"}"#.to_owned(), "parted by commas"),
        (r#"{"a":""b""}"#.to_owned(), "ends inside itself"),
        ("@cee: text".to_owned(), "begins with {"),
        (
            "<30>Jan  2 01:02:03 pve1 app[7]: @cee:{".to_owned(),
            "name in quotes",
        ),
    ] {
        let event = parse(&frame);
        assert!(why(&event).contains(told), "{told}: {}", why(&event));
        assert_eq!(event["message"], frame.as_str());
        assert_eq!(event["tags"], serde_json::json!(["parse_error"]));
    }
    let half = parse(r#"<30>{"host":"evil","program":"su","severity":"debug""#);
    assert_eq!(at(&half, "host.name"), "192.0.2.99");
    assert!(at(&half, "process.name").is_null());
    assert_eq!(at(&half, "log.syslog.priority"), 30);
    for good in [deep(63), many(1024)] {
        let event = parse(&good);
        assert!(event.get("tags").is_none(), "{}", why(&event));
    }
}
