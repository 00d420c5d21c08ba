//! CEF: columns, escapes, lengths, and values of a wrong kind.

use super::*;
use pipeline::{EventId, Time};

fn event(json: serde_json::Value) -> Event {
    let mut event = Event::new(
        EventId::parse("61791690892583253bd5b90d498bf7cd").unwrap(),
        Time::parse("2026-03-14T23:41:11Z").unwrap(),
    );
    for (path, value) in json.as_object().unwrap() {
        event.set(Field::new(path), Value::from_json(value.clone()));
    }
    event
}

fn cef(event: &Event, trim: Trim) -> String {
    let mut out = Vec::new();
    Cef::new().write(event, trim, &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn an_audit_event_has_all_its_columns() {
    let mut event = event(serde_json::json!({
        "event.code": "PVE-9014", "event.action": "source-gap", "event.outcome": "failure", "event.severity": 8,
        "event.category": ["process"], "user.id": "m.keller@pam", "source.ip": "203.0.113.45", "host.name": "pve1",
        "orchestrator.cluster.name": "prod", "http.request.method": "DELETE", "url.path": "/api2/extjs/nodes/pve1/qemu/104",
        "url.query": "purge=1", "pve.object.type": "vm", "pve.object.id": "104", "pve.vmid": 104,
        "pve.source.attribution": "matched", "pve.token.id": "ci",
        "pve.changes": [{"key": "cores", "old": "2", "new": "8"}],
        "message": "m.keller@pam destroyed VM 104", "event.original": "raw"
    }));
    event.set(
        Field::new("event.start"),
        Time::parse("2026-03-14T23:41:07Z").unwrap(),
    );
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        cef(&event, Trim::Nothing),
        format!(
            "CEF:0|pvetrail|audit|{version}|PVE-9014|Input is missing|8|rt=1773531671000 \
             externalId=61791690892583253bd5b90d498bf7cd start=1773531667000 act=source-gap outcome=failure cat=process \
             suser=m.keller@pam src=203.0.113.45 dvchost=pve1 deviceExternalId=prod requestMethod=DELETE \
             request=/api2/extjs/nodes/pve1/qemu/104?purge\\=1 cs1=vm cs1Label=objectType cs2=104 cs2Label=objectId \
             cs4=cores cs4Label=changeKey cs5=2 cs5Label=oldValue cs6=8 cs6Label=newValue cs3=ci cs3Label=tokenId \
             cn1=104 cn1Label=vmid flexString2=matched flexString2Label=sourceBasis msg=m.keller@pam destroyed VM 104"
        )
    );
    let short = cef(&event, Trim::Params);
    assert!(
        short.contains(" cs4=cores "),
        "the key of a change stays: {short}"
    );
    assert!(
        !short.contains("cs5=") && !short.contains("purge"),
        "{short}"
    );
}

#[test]
fn an_event_without_a_code_goes_under_its_message() {
    let line = cef(
        &event(serde_json::json!({"message": "a|b\\c=d\nsecond\r\u{1b}[2J"})),
        Trim::Nothing,
    );
    let version = env!("CARGO_PKG_VERSION");
    let head =
        format!("CEF:0|pvetrail|audit|{version}|PVE-0000|a\\|b\\\\c=d second \u{fffd}[2J|1|");
    assert!(line.starts_with(&head), "{line}");
    assert!(
        line.ends_with("msg=a|b\\\\c\\=d\\nsecond\\r\u{fffd}[2J"),
        "{line}"
    );
    assert_eq!(line.lines().count(), 1);
    let line = cef(&event(serde_json::json!({})), Trim::Nothing);
    assert!(line.contains("|PVE-0000|unclassified|1|rt="), "{line}");
}

#[test]
fn long_texts_are_cut_in_characters_and_say_so() {
    let long = "ä".repeat(2000);
    let line = cef(
        &event(
            serde_json::json!({"message": long, "host.name": "h".repeat(100), "event.action": "x".repeat(64)}),
        ),
        Trim::Nothing,
    );
    let name = line.split('|').nth(5).unwrap();
    assert_eq!(name.chars().count(), 512);
    assert!(name.ends_with('…'));
    let msg = line.split(" msg=").nth(1).unwrap();
    assert_eq!(msg.chars().count(), 1023);
    assert!(line.contains(&format!("dvchost={} ", "h".repeat(100))));
    assert!(line.contains(&format!("act={}… ", "x".repeat(62))));
}

#[test]
fn a_value_of_a_wrong_kind_never_stops_the_writer() {
    let line = cef(
        &event(serde_json::json!({
            "event.severity": "high", "source.port": "ssh", "event.start": "yesterday", "pve.vmid": {"a": 1},
            "event.code": 7, "pve.changes": [3], "user.id": {"name": "eve"}, "source.ip": []
        })),
        Trim::Nothing,
    );
    assert!(line.contains("|PVE-0000|unclassified|1|rt="), "{line}");
    assert!(line.contains("suser={\"name\":\"eve\"}"), "{line}");
    assert!(
        !line.contains("spt=") && !line.contains("src=") && !line.contains("cn1="),
        "{line}"
    );
}
