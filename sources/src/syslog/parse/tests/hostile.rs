//! What nobody should send.

use super::{PEER, at, parse};

/// Frames that are no messages, and a part of the reason that is told.
const REFUSED: &[(&str, &str)] = &[
    ("", "it is empty"),
    ("\0\0\0", "nothing but NUL"),
    ("\r\n", "nothing but NUL and line ends"),
    (
        "no priority",
        "it begins without a priority like <13> (byte 1)",
    ),
    ("Oct 11 22:14:15 pve1 su: text", "without a priority"),
    (
        "<192>Oct 11 22:14:15 pve1 su: text",
        "its priority is above 191",
    ),
    ("<999>1 - - - - - - text", "its priority is above 191"),
    ("<19000021>x", "no number of up to three digits"),
    ("<>x", "no number"),
    ("<abc>x", "no number"),
    ("<13", "no number"),
    ("<13>", "a priority and nothing else"),
    ("<13>\0\n", "a priority and nothing else"),
    (
        "<13>1 2026-02-30T00:00:00Z h a p m - text",
        "its timestamp cannot be read (byte 7)",
    ),
    (
        "<13>1 2026-01-02T00:00:00.1234567890Z h a p m - text",
        "timestamp",
    ),
    ("<13>1 - h a p", "in its process id"),
    ("<13>1 - h  p m - text", "in its application name (byte 11)"),
    ("<13>1 - h a p m text", "in its structured data"),
    ("<13>1 - h a p m [x", "in its structured data"),
    ("<13>1 - h a p m [x y]", "in its structured data"),
    ("<13>1 - h a p m [x y=\"z]", "in its structured data"),
    ("<13>1 - h a p m [=]", "in its structured data"),
    ("<13>1 - h a p m [x]text", "in its structured data"),
];

#[test]
fn what_cannot_be_read_keeps_its_text_and_says_why() {
    for (frame, why) in REFUSED {
        let event = parse(frame);
        assert_eq!(event["message"], *frame);
        assert_eq!(
            event["tags"],
            serde_json::json!(["parse_error"]),
            "{frame:?}"
        );
        let told = at(&event, "error.message").as_str().unwrap();
        assert!(told.contains(why), "{frame:?}: {told}");
        assert_eq!(at(&event, "log.syslog.priority"), 13, "{frame:?}");
        if !frame.contains(" h ") {
            assert_eq!(at(&event, "host.name"), PEER, "{frame:?}");
        }
    }
}
