//! Every form in which messages are written.

use pipeline::{Time, testing};

use super::super::{Format, ParseOptions, Parser};
use super::{at, brief, parse, parse_as, parse_with, parser};

/// Frame, and what becomes of it: time, host, application, process, text.
pub(super) const READ: &[(&str, &str)] = &[
    // RFC 3164.
    (
        "<30>Jan  2 01:02:03 pve1 pvedaemon[812]: text",
        "2026-01-02T00:02:03.000Z pve1 pvedaemon 812 |text",
    ),
    (
        "<30>Jan 02 01:02:03 pve1 pvedaemon[812]: text",
        "2026-01-02T00:02:03.000Z pve1 pvedaemon 812 |text",
    ),
    (
        "<30>Jan 2 01:02:03 pve1 pvedaemon[812]: text",
        "2026-01-02T00:02:03.000Z pve1 pvedaemon 812 |text",
    ),
    (
        "<30>Jan  2 01:02:03.250 pve1 su: text",
        "2026-01-02T00:02:03.250Z pve1 su - |text",
    ),
    (
        "<30>Jan  2 01:02:03,250 pve1 su: text",
        "2026-01-02T00:02:03.250Z pve1 su - |text",
    ),
    (
        "<30>Jul  2 2024 01:02:03 pve1 su: text",
        "2024-07-01T23:02:03.000Z pve1 su - |text",
    ),
    (
        "<30>Jul  2 01:02:03 2024 pve1 su: text",
        "2024-07-01T23:02:03.000Z pve1 su - |text",
    ),
    (
        "<30>2026-01-02T01:02:03.123456+01:00 pve1 sshd[44]: text",
        "2026-01-02T00:02:03.123Z pve1 sshd 44 |text",
    ),
    (
        "<30>2026-01-02T00:02:03Z pve1 sshd[44]: text",
        "2026-01-02T00:02:03.000Z pve1 sshd 44 |text",
    ),
    (
        "<30>2026-01-02T01:02:03 pve1 sshd[44]: text",
        "2026-01-02T00:02:03.000Z pve1 sshd 44 |text",
    ),
    (
        "<30>2026-01-02 01:02:03,5 pve1 sshd[44]: text",
        "2026-01-02T00:02:03.500Z pve1 sshd 44 |text",
    ),
    (
        "<30>2026-01-02 05:02:03 +0500 pve1 sshd[44]: text",
        "2026-01-02T00:02:03.000Z pve1 sshd 44 |text",
    ),
    (
        "<30>1767312123 pve1 sshd[44]: text",
        "2026-01-02T00:02:03.000Z pve1 sshd 44 |text",
    ),
    (
        "<30>1767312123.25 pve1 sshd[44]: text",
        "2026-01-02T00:02:03.250Z pve1 sshd 44 |text",
    ),
    (
        "<30>1767312123250 pve1 sshd[44]: text",
        "2026-01-02T00:02:03.250Z pve1 sshd 44 |text",
    ),
    (
        "<134>1 1767312123.25 MX84 flows src=192.0.2.1",
        "2026-01-02T00:02:03.250Z MX84 - - |flows src=192.0.2.1",
    ),
    // A host is missing, or the time as well.
    (
        "<30>Jan  2 01:02:03 pvedaemon[812]: text",
        "2026-01-02T00:02:03.000Z 192.0.2.99 pvedaemon 812 |text",
    ),
    (
        "<30>Jan  2 01:02:03 kernel: text",
        "2026-01-02T00:02:03.000Z 192.0.2.99 kernel - |text",
    ),
    (
        "<30>pvedaemon[812]: text",
        "- 192.0.2.99 pvedaemon 812 |text",
    ),
    ("<30>kernel: text", "- 192.0.2.99 kernel - |text"),
    ("<13>Use the BFG!", "- 192.0.2.99 - - |Use the BFG!"),
    ("<13>5 disks failed", "- 192.0.2.99 - - |5 disks failed"),
    (
        "<13>Jan  2 01:02:03 10.0.0.99 Use the BFG!",
        "2026-01-02T00:02:03.000Z 10.0.0.99 - - |Use the BFG!",
    ),
    (
        "<13>Jan  2 01:02:03 last message repeated 3 times",
        "2026-01-02T00:02:03.000Z 192.0.2.99 - - |last message repeated 3 times",
    ),
    (
        "<13>Jan  2 01:02:03 pve1 last message repeated 3 times",
        "2026-01-02T00:02:03.000Z pve1 - - |last message repeated 3 times",
    ),
    (
        "<13>Jan  2 01:02:03 \"quoted\" words",
        "2026-01-02T00:02:03.000Z 192.0.2.99 - - |\"quoted\" words",
    ),
    (
        "<13>Jan  2 01:02:03 alone",
        "2026-01-02T00:02:03.000Z 192.0.2.99 - - |alone",
    ),
    // Tags.
    (
        "<30>Jan  2 01:02:03 pve1 sudo:    alice : TTY=pts/0",
        "2026-01-02T00:02:03.000Z pve1 sudo - |   alice : TTY=pts/0",
    ),
    (
        "<30>Jan  2 01:02:03 pve1 corosync[1298]:   [KNET  ] link",
        "2026-01-02T00:02:03.000Z pve1 corosync 1298 |  [KNET  ] link",
    ),
    (
        "<30>Jan  2 01:02:03 pve1 postfix/smtpd[9]:text",
        "2026-01-02T00:02:03.000Z pve1 postfix/smtpd 9 |text",
    ),
    (
        "<30>Jan  2 01:02:03 pve1 sshd[9] text",
        "2026-01-02T00:02:03.000Z pve1 sshd 9 |text",
    ),
    (
        "<30>Jan  2 01:02:03 pve1 (sd-pam)[9]: text",
        "2026-01-02T00:02:03.000Z pve1 (sd-pam) 9 |text",
    ),
    (
        "<30>Jan  2 01:02:03 pve1 tag:text",
        "2026-01-02T00:02:03.000Z pve1 - - |tag:text",
    ),
    (
        "<30>Jan  2 01:02:03 pve1 see [1] there: text",
        "2026-01-02T00:02:03.000Z pve1 - - |see [1] there: text",
    ),
    ("<13>kernel:", "- 192.0.2.99 kernel - |"),
    (
        "<30>Jan  2 01:02:03 2001:db8::1 su: text",
        "2026-01-02T00:02:03.000Z 2001:db8::1 su - |text",
    ),
    (
        "<30>Jan  2 01:02:03 2001:db8:: su: text",
        "2026-01-02T00:02:03.000Z 2001:db8:: su - |text",
    ),
    // Devices.
    (
        "<166>Jul 06 2025 20:33:28: %ASA-6-302016: Teardown",
        "2025-07-06T18:33:28.000Z 192.0.2.99 %ASA-6-302016 - |Teardown",
    ),
    (
        "<166>Jul 06 2025 20:33:28 asa1 : %ASA-6-302016: Teardown",
        "2025-07-06T18:33:28.000Z asa1 %ASA-6-302016 - |Teardown",
    ),
    (
        "<189>*Jan  2 01:02:03.123: %SYS-5-CONFIG_I: Configured",
        "2026-01-02T00:02:03.123Z 192.0.2.99 %SYS-5-CONFIG_I - |Configured",
    ),
    // ESXi and vCenter.
    (
        "<166>2026-01-02T00:02:03.123Z esx1.example.com Hostd: info hostd[2100] [Originator@6876 sub=Vimsvc opID=a1] Event 100",
        "2026-01-02T00:02:03.123Z esx1.example.com Hostd - |info hostd[2100] [Originator@6876 sub=Vimsvc opID=a1] Event 100",
    ),
    (
        "<14>2026-01-02T00:02:03.123Z esx1 shell[2099]: [root]: esxcli",
        "2026-01-02T00:02:03.123Z esx1 shell 2099 |[root]: esxcli",
    ),
    (
        "<14>1 2026-01-02T00:02:03.123456+00:00 vc1 vpxd 4711 - - Event [1] [alice@vsphere.local]",
        "2026-01-02T00:02:03.123Z vc1 vpxd 4711 |Event [1] [alice@vsphere.local]",
    ),
    // RFC 5424.
    (
        "<30>1 2026-01-02T00:02:03.5Z pve1 pvedaemon 812 - - text",
        "2026-01-02T00:02:03.500Z pve1 pvedaemon 812 |text",
    ),
    ("<30>1 - - - - - -", "- 192.0.2.99 - - |"),
    ("<30>1 - - - - - - text", "- 192.0.2.99 - - |text"),
    (
        "<30>1 2026-01-02T00:02:03Z pve1 su - ID47 - \u{feff}text",
        "2026-01-02T00:02:03.000Z pve1 su - |text",
    ),
    (
        "<30>1 2026-01-02T01:02:03 pve1 su - - - text",
        "2026-01-02T00:02:03.000Z pve1 su - |text",
    ),
    (
        "<30>1 2026-01-02T00:02:60.5Z pve1 su - - - text",
        "2026-01-02T00:02:59.500Z pve1 su - |text",
    ),
    // What stands around a message.
    ("<30>kernel: text\n\0", "- 192.0.2.99 kernel - |text"),
    ("<30>kernel: text\r\n", "- 192.0.2.99 kernel - |text"),
    ("\0\n<30>kernel: text", "- 192.0.2.99 kernel - |text"),
    (
        "<30> Jan  2 01:02:03 pve1 su: text",
        "2026-01-02T00:02:03.000Z pve1 su - |text",
    ),
    ("<30>kernel: one\ntwo\n", "- 192.0.2.99 kernel - |one\ntwo"),
    (
        "<30>kernel: one#012two#012#012",
        "- 192.0.2.99 kernel - |one\ntwo",
    ),
    ("<30>kernel: text#012", "- 192.0.2.99 kernel - |text"),
    (
        "<30>kernel: ticket #0123 and # and #01",
        "- 192.0.2.99 kernel - |ticket #0123 and # and #01",
    ),
];

#[test]
fn each_form_is_read() {
    let mut wrong = Vec::new();
    for (frame, expected) in READ {
        let event = parse(frame);
        if brief(&event) != *expected || event.get("tags").is_some() {
            wrong.push(format!(
                "{frame:?}\n  want {expected:?}\n  got  {:?} {}",
                brief(&event),
                event["error"]
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_field_of_a_message_is_there() {
    let event = parse(
        r#"<165>1 2026-01-02T00:02:03.5Z pve1.example.com evntslog 812 ID47 [exampleSDID@32473 iut="3" eventID="10\"1\]1\\"][other@1 ip="a" ip="b"] text"#,
    );
    let syslog = serde_json::json!({
        "priority": 165,
        "facility": {"code": 20, "name": "local4"},
        "severity": {"code": 5, "name": "notice"},
        "version": "1",
        "hostname": "pve1.example.com",
        "appname": "evntslog",
        "procid": "812",
        "msgid": "ID47",
        "structured_data": {
            "exampleSDID@32473": {"iut": "3", "eventID": "10\"1]1\\"},
            "other@1": {"ip": ["a", "b"]},
        },
    });
    assert_eq!(event["log"]["syslog"], syslog);
    assert_eq!(event["host"]["name"], "pve1.example.com");
    assert_eq!(
        event["process"],
        serde_json::json!({"name": "evntslog", "pid": 812})
    );
    assert_eq!(event["message"], "text");
}

#[test]
fn structured_data_that_comes_twice_becomes_a_list() {
    let event = parse(r#"<13>1 - - - - - [a x="1"][b.c][a x="2" x="3"][a] text"#);
    assert_eq!(
        at(&event, "log.syslog.structured_data"),
        &serde_json::json!({"a": [{"x": "1"}, {"x": ["2", "3"]}, {}], "b.c": {}})
    );
    assert_eq!(event["message"], "text");
}

#[test]
fn a_process_id_that_is_no_number_stays_a_text() {
    let event = parse("<13>1 - h a worker-7 - - text");
    assert_eq!(at(&event, "log.syslog.procid"), "worker-7");
    assert!(at(&event, "process.pid").is_null());
}

#[test]
fn without_a_year_the_nearest_is_meant() {
    let read = |stamp: &str, now: &str| {
        let frame = format!("<13>{stamp} pve1 su: text");
        let (event, _) = parse_with(&mut parser(Format::Auto), frame.as_bytes(), now);
        event.timestamp().to_string()
    };
    for (stamp, now, meant) in [
        (
            "Dec 31 23:59:58",
            "2026-01-01T00:00:10Z",
            "2025-12-31T22:59:58.000Z",
        ),
        (
            "Jan  1 02:00:00",
            "2025-12-31T23:59:58Z",
            "2026-01-01T01:00:00.000Z",
        ),
        (
            "Jan 15 12:00:00",
            "2025-12-20T00:00:00Z",
            "2026-01-15T11:00:00.000Z",
        ),
        (
            "Dec 15 12:00:00",
            "2026-01-20T00:00:00Z",
            "2025-12-15T11:00:00.000Z",
        ),
        (
            "Feb 29 12:00:00",
            "2028-03-01T00:00:00Z",
            "2028-02-29T11:00:00.000Z",
        ),
        // Clocks go back at three: the second half past two is an hour after the first.
        (
            "Oct 25 02:30:00",
            "2026-10-25T00:31:00Z",
            "2026-10-25T00:30:00.000Z",
        ),
        (
            "Oct 25 02:30:00",
            "2026-10-25T01:31:00Z",
            "2026-10-25T01:30:00.000Z",
        ),
        // Clocks go forward at two: half past two never comes.
        (
            "Mar 29 02:30:00",
            "2026-03-29T01:31:00Z",
            "2026-03-29T01:30:00.000Z",
        ),
    ] {
        assert_eq!(read(stamp, now), meant, "{stamp} seen at {now}");
    }
}

#[test]
fn a_minute_is_worked_out_anew_when_now_has_moved() {
    let mut parser = parser(Format::Auto);
    let frame = b"<13>Oct 25 02:30:05 pve1 su: text";
    for (now, meant) in [
        ("2026-10-25T00:30:30Z", "2026-10-25T00:30:05.000Z"),
        ("2026-10-25T01:30:30Z", "2026-10-25T01:30:05.000Z"),
        ("2030-10-25T01:30:30Z", "2030-10-25T00:30:05.000Z"),
    ] {
        let (event, _) = parse_with(&mut parser, frame, now);
        assert_eq!(event.timestamp().to_string(), meant);
    }
}

#[test]
fn each_sender_has_its_zone() {
    let zones = [("192.0.2.0/24".to_owned(), "Asia/Tokyo".to_owned())].into();
    let mut parser = Parser::new(&ParseOptions::new(Format::Auto, "UTC", &zones).unwrap());
    let now = Time::parse("2026-01-02T00:00:00Z").unwrap();
    let mut read = |ip: &str, frame: &str| {
        let mut event = testing::line_events("r", [frame.as_bytes()]).remove(0);
        let sender = parser.sender(ip.parse().ok(), Some(ip));
        parser.parse(&mut event, &sender, now);
        event.timestamp().to_string()
    };
    // The same text from two senders, one right after the other.
    for frame in [
        "<13>Jan  2 09:00:01 h su: x",
        "<13>2026-01-02T09:00:01 h su: x",
    ] {
        assert_eq!(read("192.0.2.7", frame), "2026-01-02T00:00:01.000Z");
        assert_eq!(read("198.51.100.7", frame), "2026-01-02T09:00:01.000Z");
        assert_eq!(read("192.0.2.7", frame), "2026-01-02T00:00:01.000Z");
    }
    let frame = "<13>2026-01-02T09:00:01+02:00 h su: x";
    assert_eq!(read("192.0.2.7", frame), "2026-01-02T07:00:01.000Z");
    assert_eq!(read("198.51.100.7", frame), "2026-01-02T07:00:01.000Z");
}

#[test]
fn a_format_that_was_asked_for_takes_no_other() {
    let new = "<13>1 2026-01-02T00:02:03Z h a - - - text";
    let old = "<13>Jan  2 01:02:03 h a: text";
    let json = r#"<13>{"message":"text"}"#;
    for (format, frame, text) in [
        (Format::Rfc5424, new, "text"),
        (Format::Rfc5424, old, old),
        (Format::Rfc5424, json, json),
        (Format::Rfc3164, old, "text"),
        (
            Format::Rfc3164,
            new,
            "1 2026-01-02T00:02:03Z h a - - - text",
        ),
        (Format::Rfc3164, json, r#"{"message":"text"}"#),
        (Format::Json, json, "text"),
        (Format::Json, new, new),
        (Format::Json, old, old),
    ] {
        let event = parse_as(format, frame);
        assert_eq!(event["message"], text, "{format:?} {frame}");
        let failed = event.get("tags").is_some();
        assert_eq!(failed, text == frame, "{format:?} {frame}");
    }
}
