//! Lines become events; what is secret or no UTF-8 is written anew.

use super::*;

fn constants() -> LineConstants {
    LineConstants {
        host: "pve1".to_owned(),
        path: Some("/var/log/x".to_owned()),
        ids: LineIds::Place(7),
    }
}

fn make(text: &[u8]) -> Made {
    let mut memory = LineMemory::default();
    let mut lines = LineBatch::new(&constants(), &mut memory);
    lines.extend(text);
    let mut at = 0;
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        let len = line.strip_suffix(b"\n").unwrap_or(line).len();
        lines.line(at..at + len, at as u64);
        at += line.len();
    }
    lines.finish(
        &mut memory,
        &Redactor::new(&Default::default(), &[]),
        &mut Vec::new(),
        Time(5),
    )
}

#[test]
fn lines_become_events_with_their_place() {
    let made = make(b"first line\nsecond\n");
    let json: Vec<_> = made.events.iter().map(Event::to_json).collect();
    assert_eq!(json[0]["message"], "first line");
    assert_eq!(json[1]["message"], "second");
    assert_eq!(json[1]["host"]["name"], "pve1");
    assert_eq!(json[1]["log"]["file"]["path"], "/var/log/x");
    assert_eq!(made.events[1].ordinal(), Some(12));
    assert_ne!(made.events[0].id(), made.events[1].id());
    assert_eq!(
        made.events[0].id(),
        make(b"first line\nother\n").events[0].id()
    );
}

#[test]
fn what_is_not_utf8_is_replaced_and_its_bytes_are_kept() {
    let made = make(b"good\nm\xfcller\nalso \xc3\xbc good\n");
    assert_eq!(made.undecodable, 1);
    assert_eq!(made.events[1].str(fields::MESSAGE), Some("m\u{fffd}ller"));
    assert_eq!(
        made.events[1].str(fields::PVE_RAW_B64),
        Some(base64(b"m\xfcller").as_str())
    );
    assert_eq!(made.events[2].str(fields::MESSAGE), Some("also ü good"));
    assert!(!made.events[2].has(fields::PVE_RAW_B64));
}

#[test]
fn latin1_is_read_where_it_is_asked_for() {
    let mut memory = LineMemory::default();
    let mut lines = LineBatch::new(&constants(), &mut memory);
    lines.read_latin1();
    lines.extend(b"j\xfcrgen@pve\n\xc3\xbc\n");
    lines.line(0..10, 0);
    lines.line(11..13, 11);
    let redactor = Redactor::new(&Default::default(), &[]);
    let made = lines.finish(&mut memory, &redactor, &mut Vec::new(), Time(5));
    assert_eq!(made.events[0].str(fields::MESSAGE), Some("j\u{fc}rgen@pve"));
    assert_eq!(
        made.events[0].str(fields::PVE_RAW_B64),
        Some(base64(b"j\xfcrgen@pve").as_str())
    );
    assert_eq!(made.events[1].str(fields::MESSAGE), Some("\u{fc}"));
}

#[test]
fn secrets_are_gone_before_the_event_is_there() {
    let made = make(b"a\nGET /x?vncticket=PVEVNC:5F3A::c2VjcmV0 HTTP/1.1\nb\n");
    assert_eq!(made.redacted, 1);
    let text = made.events[1]
        .buffer()
        .map(|buffer| buffer.text().to_owned())
        .unwrap_or_default();
    assert!(!text.contains("c2VjcmV0"), "{text}");
    assert_eq!(made.events[2].str(fields::MESSAGE), Some("b"));
}

#[test]
fn what_lines_share_stands_beside_them_even_if_the_buffer_is_written_anew() {
    for (first, rewritten) in [(&b"a"[..], false), (b"\xfc", true)] {
        let mut memory = LineMemory::default();
        let mut lines = LineBatch::new(&constants(), &mut memory);
        lines.share(fields::LOG_SOURCE_ADDRESS, "192.0.2.1:514");
        let at = lines.text().len();
        lines.extend(first);
        lines.line(at..at + 1, 1);
        lines.extend(b" taken back");
        lines.cut(at + 1);
        lines.share(fields::LOG_SOURCE_ADDRESS, "[2001:db8::1]:514");
        let at = lines.text().len();
        lines.extend(b"bc");
        lines.line(at..at + 1, 2);
        lines.line(at + 1..at + 2, 3);
        lines.share(fields::LOG_SOURCE_ADDRESS, "");
        let at = lines.text().len();
        lines.extend(b"d");
        lines.line(at..at + 1, 4);
        let redactor = Redactor::new(&Default::default(), &[]);
        let made = lines.finish(&mut memory, &redactor, &mut Vec::new(), Time(5));
        let address = |n: usize| made.events[n].str(fields::LOG_SOURCE_ADDRESS);
        assert_eq!(address(0), Some("192.0.2.1:514"));
        assert_eq!(address(1), Some("[2001:db8::1]:514"));
        assert_eq!(address(2), Some("[2001:db8::1]:514"));
        assert_eq!(address(3), None);
        let texts: Vec<_> = made
            .events
            .iter()
            .filter_map(|e| e.str(fields::MESSAGE))
            .collect();
        assert_eq!(texts[1..], ["b", "c", "d"]);
        assert_eq!(made.undecodable > 0, rewritten);
        let whole = made.events[0].buffer().unwrap().text();
        assert!(!whole.contains("taken"), "{whole}");
    }
}

#[test]
fn base64_pads() {
    assert_eq!(
        [
            base64(b""),
            base64(b"f"),
            base64(b"fo"),
            base64(b"foo"),
            base64(b"foob")
        ],
        ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg=="]
    );
}

/// Texts put in one behind the other with nothing between, as a sender's counted frames are.
fn glued(texts: &[&str]) -> Vec<String> {
    let mut memory = LineMemory::default();
    let mut lines = LineBatch::new(&constants(), &mut memory);
    for (n, text) in texts.iter().enumerate() {
        let at = lines.text().len();
        lines.extend(text.as_bytes());
        lines.line(at..at + text.len(), n as u64);
    }
    let redactor = Redactor::new(&Default::default(), &[]);
    let made = lines.finish(&mut memory, &redactor, &mut Vec::new(), Time(5));
    let said = |event: &Event| event.str(fields::MESSAGE).unwrap_or_default().to_owned();
    made.events.iter().map(said).collect()
}

#[test]
fn a_secret_at_the_end_of_a_text_leaves_the_next_text_alone() {
    assert_eq!(
        glued(&[
            "update VM 100: -sshkeys ssh-rsa%20AAAA",
            "2026-01-26T09:40:12+01:00 pve1 qm[2]: hello",
            "x password=\"never closed",
            "who did it",
            "GET /x?token=abc",
            "&last=1",
        ]),
        [
            "update VM 100: -sshkeys [redacted]",
            "2026-01-26T09:40:12+01:00 pve1 qm[2]: hello",
            "x password=\"[redacted]",
            "who did it",
            "GET /x?token=[redacted]",
            "&last=1",
        ]
    );
    // A key over several texts is one all the same.
    let key = glued(&[
        "-----BEGIN PRIVATE KEY-----",
        "TWVhc3VyZQ==",
        "-----END PRIVATE KEY-----",
        "after",
    ]);
    assert!(!key.concat().contains("TWVhc3VyZQ"), "{key:?}");
    assert_eq!(key[3], "after");
}
