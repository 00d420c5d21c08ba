//! What Slack documents about the messages it takes, as far as ours use it, and messages made of whatever there is.

use pipeline::Field;
use proptest::prelude::*;

use super::*;

/// Everything that is wrong with a message by Slack's pages on incoming webhooks, blocks and text.
fn mistakes(message: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let mut check = |holds: bool, what: &str| {
        if !holds {
            found.push(what.to_owned());
        }
    };
    let length = |text: &Value| text.as_str().map_or(0, |text| text.chars().count());
    let keys = |value: &Value, known: &[&str]| {
        value
            .as_object()
            .is_some_and(|object| object.keys().all(|key| known.contains(&key.as_str())))
    };
    check(
        keys(message, &["text", "blocks"]),
        "a message has text and blocks",
    );
    check(
        (1..=40_000).contains(&length(&message["text"])),
        "the text of a message",
    );
    let empty = Vec::new();
    let blocks = message["blocks"].as_array().unwrap_or(&empty);
    check(
        (1..=50).contains(&blocks.len()),
        "a message has 1 to 50 blocks",
    );
    let text = |object: &Value, most: usize, check: &mut dyn FnMut(bool, &str)| {
        check(
            keys(object, &["type", "text", "verbatim"]),
            "a text has no other keys",
        );
        check(object["type"] == "mrkdwn", "the type of a text");
        check(
            (1..=most).contains(&length(&object["text"])),
            "the length of a text",
        );
        let plain = object["text"].as_str().unwrap_or_default();
        check(!plain.contains(['<', '>']), "markup in a text");
        let entity = |rest: &str| {
            ["&amp;", "&lt;", "&gt;"]
                .iter()
                .any(|e| rest.starts_with(e))
        };
        check(
            plain.match_indices('&').all(|(at, _)| entity(&plain[at..])),
            "a bare ampersand",
        );
    };
    for block in blocks {
        match block["type"].as_str() {
            Some("section") => {
                check(
                    keys(block, &["type", "text"]),
                    "a section has no other keys",
                );
                text(&block["text"], 3000, &mut check);
            }
            Some("context") => {
                check(
                    keys(block, &["type", "elements"]),
                    "a context has no other keys",
                );
                let elements = block["elements"].as_array().unwrap_or(&empty);
                check(
                    (1..=10).contains(&elements.len()),
                    "a context has 1 to 10 elements",
                );
                for element in elements {
                    text(element, 3000, &mut check);
                }
            }
            other => check(false, &format!("a block of type {other:?}")),
        }
    }
    found
}

fn messages(events: Vec<Event>) -> Vec<Value> {
    let (slack, events) = (Slack::default(), Events::of(events));
    let room = Room {
        events: usize::MAX,
        bytes: MAX_BODY,
    };
    let (mut out, mut from, mut all) = (Vec::new(), 0, Vec::new());
    while from < events.len() {
        out.clear();
        from += slack.fill(&events, from, room, &mut out);
        all.push(serde_json::from_slice(&out).unwrap());
    }
    all
}

use crate::webhook::slack::Slack;

#[test]
fn an_alert_is_a_message_a_person_understands() {
    // Fields are known from when the sink is built.
    _ = Slack::default();
    let alert = event(
        7,
        json!({
            "rule.name": "vm_destroyed", "rule.id": "PVR-202", "event.severity": 10, "message": "six guests destroyed in ten minutes by eve@pve",
            "user.id": "eve@pve", "event.action": "vm-destroy", "host.name": "pve1", "source.ip": "203.0.113.9",
            "pve.alert.id": "a1", "pve.alert.count": 6, "pve.object.id": "104",
        }),
    );
    let mut over = alert.clone();
    over.set(Field::new("pve.notify.transition"), "resolved");
    let all = messages(vec![alert, over]);
    assert_eq!(mistakes(&all[0]), [""; 0]);
    let blocks = all[0]["blocks"].as_array().unwrap();
    let title = |n: usize| blocks[n]["text"]["text"].as_str().unwrap().to_owned();
    assert_eq!(
        title(0),
        "*🔴 critical: PVR-202 vm_destroyed*\nsix guests destroyed in ten minutes by eve@pve"
    );
    assert!(title(2).starts_with("*🔴 critical (resolved): PVR-202 vm_destroyed*"));
    let words: Vec<&str> = blocks[1]["elements"]
        .as_array()
        .unwrap()
        .iter()
        .map(|element| element["text"].as_str().unwrap())
        .collect();
    let at = words[5];
    assert!(at.starts_with("at: 20"), "{at}");
    let expected = [
        "user: eve@pve",
        "action: vm-destroy",
        "object: 104",
        "node: pve1",
        "from: 203.0.113.9",
        at,
        "count: 6",
        "alert: a1",
    ];
    assert_eq!(words, expected);
}

#[test]
fn many_events_become_several_messages_and_none_is_left_out() {
    let events =
        (0..200).map(|n| event(n, json!({ "message": "&".repeat(1000) + &n.to_string() })));
    let all = messages(events.collect());
    assert!(all.len() > 8);
    let mut told = 0;
    for message in &all {
        assert_eq!(mistakes(message), [""; 0]);
        told += message["blocks"].as_array().unwrap().len() / 2;
        assert!(message.to_string().chars().count() < 16_000);
    }
    assert_eq!(told, 200);
}

#[test]
fn nobody_is_called_by_what_an_event_says() {
    let all = messages(vec![event(
        1,
        json!({ "message": "<!channel> <@U1> <https://evil.example|click> & `x`", "user.id": "<!here>" }),
    )]);
    assert_eq!(mistakes(&all[0]), [""; 0]);
    assert!(
        all[0].to_string().contains("&lt;!channel&gt;"),
        "{}",
        all[0]
    );
}

proptest! {
    #[test]
    fn any_event_makes_a_message_that_slack_takes(text in "\\PC{0,400}", other in "[\\x00-\\xff]{0,60}", times in 1..40_usize, level in -3..20_i64) {
        let one = |n: u64| event(n, json!({
            "message": text.repeat(times), "rule.name": other.clone(), "user.id": other.clone(), "host.name": text.clone(), "event.severity": level,
        }));
        for message in messages((0..30).map(one).collect()) {
            prop_assert_eq!(mistakes(&message), Vec::<String>::new());
        }
    }
}
