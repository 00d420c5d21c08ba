//! Messages that were cut or split by the rules of their senders are whole again.

use std::time::Duration as Length;

use pipeline::testing::{self, Outcome, StatefulBench, json};
use pipeline::{Buffer, EventId, Kind, Span, events};

use super::*;

mod split;

const HOSTD: &str =
    "info hostd[2099857] [Originator@6876 sub=Vimsvc.ha-eventmgr opID=esxui-c2f-8b54 user=root] ";

/// What a program of a host says.
fn said(host: &str, text: &str) -> serde_json::Value {
    json!({"host.name": host, "process.name": "Hostd", "process.pid": 2_099_857, "message": text})
}

fn feed(bench: &mut StatefulBench, texts: &[&str]) -> Outcome {
    bench.feed(testing::events(texts.iter().map(|text| said("esx1", text))))
}

fn messages(out: &Outcome) -> Vec<String> {
    let message = |event: serde_json::Value| event["message"].as_str().unwrap().to_owned();
    out.json().into_iter().map(message).collect()
}

fn truncated(out: &Outcome) -> Vec<bool> {
    let truncated = |event: serde_json::Value| event["pve"]["truncated"] == true;
    out.json().into_iter().map(truncated).collect()
}

#[test]
fn further_lines_go_to_the_message_before_them() {
    let mut bench = testing::stateful::<Config>("");
    let first = format!("{HOSTD}Throw vim.fault.InvalidLogin");
    let second = format!("{HOSTD}Result:");
    let events = testing::events(
        [
            first.as_str(),
            "--> (vim.fault.InvalidLogin) {",
            "-->    msg = \"\"",
            "-->",
            "--> }",
            &second,
        ]
        .map(|text| said("esx1", text)),
    );
    let ids: Vec<String> = events.iter().map(|e| e.id().to_string()).collect();
    let out = bench.feed(events);
    assert_eq!(out.kept(), [0]);
    assert_eq!(
        messages(&out),
        [format!(
            "{first}\n(vim.fault.InvalidLogin) {{\n   msg = \"\"\n\n}}"
        )]
    );
    assert_eq!(
        (out.filtered(), out.joined(), truncated(&out)),
        (4, 4, vec![false])
    );
    assert_eq!(out.json()[0]["pve"]["links"], json!(ids[1..5]));
    assert_eq!(out.json()[0]["event"]["id"], json!(ids[0]));
    // The last one waits no longer than two seconds.
    assert!(bench.wait(Length::from_millis(1999)).events().is_empty());
    let out = bench.wait(Length::from_millis(1));
    assert_eq!(
        (messages(&out), truncated(&out)),
        (vec![second], vec![false])
    );
}

#[test]
fn senders_programs_and_processes_are_kept_apart() {
    let mut bench = testing::stateful::<Config>("");
    let text = |word: &str| format!("{HOSTD}{word}");
    let out = bench.feed(testing::events([
        said("a", &text("one")), said("b", &text("two")), said("a", "--> of a"), said("b", "--> of b"), said("c", "--> of c"),
        json!({"host.name": "a", "process.name": "Vpxa", "process.pid": 2_099_857, "message": "--> of vpxa"}),
        json!({"host.name": "a", "process.name": "Hostd", "process.pid": 7, "message": "--> of seven"}),
        json!({"host.name": "a", "process.name": "sshd", "message": "Accepted password for root"}),
        json!({"host.name": "a"}),
    ]));
    assert_eq!(out.kept(), [7, 8], "what nothing can follow is not held");
    let out = bench.wait(Length::from_secs(2));
    let expected = [
        (format!("{}\nof a", text("one")), false),
        (format!("{}\nof b", text("two")), false),
        ("--> of c".to_owned(), true),
        ("--> of vpxa".to_owned(), true),
        ("--> of seven".to_owned(), true),
    ];
    assert_eq!(
        messages(&out)
            .into_iter()
            .zip(truncated(&out))
            .collect::<Vec<_>>(),
        expected
    );
}

/// A message whose frame, by the estimate, is `len` long.
fn of_len(len: usize, fill: char) -> String {
    let front = 5 + 24 + 1 + "esx1".len() + 1 + "Hostd[2099857]: ".len();
    let fill: String = std::iter::repeat_n(fill, len - front - HOSTD.len()).collect();
    format!("{HOSTD}{fill}")
}

#[test]
fn what_was_cut_at_a_limit_goes_on_in_what_is_no_beginning() {
    let mut bench = testing::stateful::<Config>("");
    let (cut, rest) = (of_len(1024, 'x'), "yy and the rest");
    let out = feed(&mut bench, &[&cut, rest, "and something of its own"]);
    // A rest that is shorter than the limit is the last one.
    assert_eq!(
        messages(&out),
        [
            format!("{cut}{rest}"),
            "and something of its own".to_owned()
        ]
    );
    assert_eq!((out.joined(), truncated(&out)), (1, vec![false, false]));
}

#[test]
fn what_was_cut_and_has_no_rest_is_marked() {
    let mut bench = testing::stateful::<Config>("");
    for (limit, near) in [
        (480, true),
        (1024, true),
        (1180, true),
        (1024 - 40, false),
        (600, false),
        (2000, false),
    ] {
        let cut = of_len(limit, 'x');
        assert!(feed(&mut bench, &[&cut]).kept().is_empty());
        let next = format!("{HOSTD}next");
        feed(&mut bench, &[&next]);
        let out = bench.wait(Length::from_secs(2));
        let mut marks: Vec<_> = messages(&out).into_iter().zip(truncated(&out)).collect();
        marks.retain(|(message, _)| *message != next);
        // What was not cut was let go by the message behind it.
        assert_eq!(
            marks,
            if near { vec![(cut, true)] } else { vec![] },
            "{limit}"
        );
    }
    // One that is no beginning is not held, and marked all the same.
    let long = "z".repeat(1024 - 5 - 24 - 1 - 4 - 1 - 16);
    let out = feed(&mut bench, &[&long]);
    assert_eq!((out.kept(), truncated(&out)), (vec![0], vec![true]));
    // The end of a line that was cut is lost when another line follows.
    let cut = of_len(1024, 'x');
    feed(&mut bench, &[&cut, "--> a line"]);
    assert_eq!(truncated(&bench.wait(Length::from_secs(2))), [true]);
}

#[test]
fn the_length_of_a_frame_is_known_to_the_byte_where_its_header_is_there() {
    let rules = Rules::new(&Config::default()).unwrap();
    for (header, octets) in [
        ("<166>2026-03-14T22:58:03.412Z esx1 Hostd: ", ""),
        (
            "<14>1 2026-03-14T22:58:03.412345+00:00 esx1 Hostd 7 - - ",
            "1024 ",
        ),
    ] {
        for (len, cut) in [
            (1024, true),
            (1016, true),
            (1015, false),
            (1032, true),
            (1033, false),
        ] {
            let text = "x".repeat(len - header.len());
            let before = "<13>another frame\n";
            let buffer = format!("{before}{octets}{header}{text}\n<14>next");
            let mut event = Event::new(EventId([1, 2]), Time(0));
            let find = |part: &str| Span {
                at: buffer.find(part).unwrap() as u32,
                len: part.len() as u32,
            };
            let (host, message) = (find("esx1"), find(&text));
            event.set_buffer(Buffer::new(buffer.clone()));
            event.set_span(fields::SYSLOG_HOSTNAME, host);
            event.set_span(fields::MESSAGE, message);
            assert_eq!(rules.is_full(&event, text.len()), cut, "{header} {len}");
        }
    }
}

/// Part `part` of `parts` of the event `id`.
fn part(id: u32, part: u32, parts: u32, text: &str) -> String {
    format!("Event [{id}] [{part}-{parts}] {text}")
}

#[test]
fn numbered_parts_come_in_any_order_and_one_that_is_missing_is_told() {
    let mut bench = testing::stateful::<Config>("");
    let parts = [
        part(7, 1, 3, "[vim.event.UserLogin] a"),
        part(7, 2, 3, "b"),
        part(7, 3, 3, "c"),
    ];
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0], [1, 0, 2]] {
        let texts = order.map(|n: usize| parts[n].as_str());
        let other = part(8, 1, 2, "of another");
        let out = feed(&mut bench, &[texts[0], &other, texts[1], texts[2]]);
        assert_eq!(messages(&out), [format!("{}bc", parts[0])], "{order:?}");
        // The first part is the event, wherever it came.
        let first = order.iter().position(|n| *n == 0).unwrap();
        assert_eq!(out.kept(), [[0, 2, 3][first]], "{order:?}");
        assert_eq!((out.joined(), truncated(&out)), (2, vec![false]));
        let out = bench.wait(Length::from_secs(2));
        assert_eq!((messages(&out), truncated(&out)), (vec![other], vec![true]));
    }
    feed(&mut bench, &[&parts[2], &parts[1]]);
    let out = bench.wait(Length::from_secs(2));
    assert_eq!(
        (messages(&out), truncated(&out)),
        (vec![format!("{}c", parts[1])], vec![true])
    );
    // One of one is whole, and so is one with a number that makes no sense.
    let (single, wrong) = (part(9, 1, 1, "whole"), part(9, 3, 2, "what"));
    feed(&mut bench, &[&single, &wrong]);
    let out = bench.wait(Length::from_secs(2));
    assert_eq!(truncated(&out), [false]);
    // The same number again, about something else.
    let again = part(7, 1, 2, "again");
    let out = feed(
        &mut bench,
        &[&part(7, 1, 2, "first"), &again, &part(7, 2, 2, "!")],
    );
    assert_eq!(
        messages(&out),
        [part(7, 1, 2, "first"), format!("{again}!")]
    );
    assert_eq!(truncated(&out), [true, false]);
}

#[test]
fn memory_is_bounded_and_nothing_is_lost_by_it() {
    let mut bench = testing::stateful::<Config>("max_open = 3\nmax_size = '200B'");
    let all: Vec<String> = (0..5).map(|n| format!("{HOSTD}{n}")).collect();
    let out = bench.feed(testing::events(
        all.iter()
            .zip(0..)
            .map(|(text, n)| said(&format!("esx{n}"), text)),
    ));
    assert_eq!(
        (out.kept(), out.evicted(), truncated(&out)),
        (vec![0, 1], 2, vec![false, false])
    );
    // Longer than allowed: both halves go on, marked.
    let more = format!("--> {}", "m".repeat(150));
    let out = bench.feed(testing::events([said("esx4", &more)]));
    assert_eq!(
        (messages(&out), truncated(&out)),
        (vec![all[4].clone()], vec![true])
    );
    let out = bench.wait(Length::from_secs(2));
    assert_eq!(
        (messages(&out), truncated(&out)),
        (
            vec![all[2].clone(), all[3].clone(), more],
            vec![false, false, true]
        )
    );

    let mut bench = testing::stateful::<Config>("max_held = '8KiB'");
    let (mut received, mut came) = (0, 0);
    for n in 0..200 {
        let long = format!("{HOSTD}{}", "l".repeat(900));
        let out = bench.feed(testing::events([said(&format!("esx{n}"), &long)]));
        received += 1;
        came += out.events().len();
        assert!(received - came <= 8, "{received} {came}");
    }
    came += bench.wait(Length::from_secs(2)).events().len();
    assert_eq!(received, came);
}

#[test]
fn one_key_with_many_that_were_cut_keeps_a_few() {
    let mut bench = testing::stateful::<Config>("");
    let mut came = 0;
    for n in 0..50 {
        let cut = of_len(1024, 'x').replace("8b54", &format!("{n:04}"));
        came += feed(&mut bench, &[&cut]).events().len();
    }
    assert_eq!(came, 50 - 8);
    // The rest says whose it is.
    let out = feed(&mut bench, &["opID=esxui-c2f-0045 is mine"]);
    assert!(out.kept().is_empty());
    let out = bench.wait(Length::from_secs(2));
    let joined: Vec<_> = messages(&out)
        .into_iter()
        .filter(|m| m.ends_with("is mine"))
        .collect();
    assert_eq!(joined.len(), 1);
    assert!(joined[0].contains("opID=esxui-c2f-0045 user"), "{joined:?}");
}

#[test]
fn a_part_that_happened_at_another_time_is_another_message() {
    let mut bench = testing::stateful::<Config>("");
    let first = format!("{HOSTD}one");
    let at = |text: &str, time: &str| {
        let mut event = said("esx1", text);
        event["@timestamp"] = json!(time);
        event
    };
    let out = bench.feed(testing::events([
        at(&first, "2026-03-14T22:58:03.000Z"),
        at("--> near", "2026-03-14T22:58:05.000Z"),
        at("--> far", "2026-03-14T22:58:05.001Z"),
    ]));
    assert_eq!(
        (messages(&out), truncated(&out)),
        (vec![format!("{first}\nnear")], vec![false])
    );
    let out = bench.wait(Length::from_secs(2));
    assert_eq!(
        (messages(&out), truncated(&out)),
        (vec!["--> far".to_owned()], vec![true])
    );
}

#[test]
fn what_is_held_survives_a_restart_however_long_it_took() {
    let mut bench = testing::stateful::<Config>("");
    let first = format!("{HOSTD}one");
    let cut = of_len(1024, 'x').replace("8b54", "other");
    feed(
        &mut bench,
        &[
            &cut,
            &first,
            "--> two",
            &part(7, 2, 3, "b"),
            &part(7, 3, 3, "c"),
        ],
    );
    bench.restart();
    let out = feed(
        &mut bench,
        &["--> three", &part(7, 1, 3, "a"), "of the cut one"],
    );
    assert_eq!(messages(&out), [format!("{}bc", part(7, 1, 3, "a"))]);
    bench.restart();
    let out = bench.wait(Length::from_secs(3600));
    assert!(out.events().is_empty(), "it waits anew");
    let out = bench.wait(Length::from_secs(2));
    assert_eq!(
        messages(&out),
        [
            format!("{cut}of the cut one"),
            format!("{first}\ntwo\nthree")
        ]
    );
    let state = bench.saved();
    assert_eq!(state, 0_u64.to_le_bytes(), "nothing is left");
}

#[test]
fn nonsense_is_no_state_and_never_a_panic() {
    let mut bench = testing::stateful::<Config>("");
    feed(&mut bench, &[&format!("{HOSTD}one"), "--> two"]);
    let saved = bench.saved();
    let mut held = Held::new(10, 1 << 20);
    for len in 0..saved.len() {
        assert!(held.load(&saved[..len]).is_err(), "{len}");
    }
    let mut more = saved.clone();
    more.push(0);
    assert!(held.load(&more).is_err());
    held.load(&saved).unwrap();
    for at in 0..saved.len() {
        let mut bent = saved.clone();
        bent[at] ^= 0x55;
        let _ = Held::new(10, 1 << 20).load(&bent);
    }
}

#[test]
fn every_mistake_is_told_with_its_remedy() {
    let mut registry = pipeline::Registry::new();
    registry.stateful::<Config>();
    let env = pipeline::config::FakeEnv::new();
    for (toml, expected) in [
        ("key = []", "key: is empty"),
        ("timeout = '0s'\nmax_open = 0", "max_open: is nothing"),
        ("start = '('", "unclosed group"),
        ("parts = '^(?<id>a)'", "there is no group called \"part\""),
    ] {
        let config =
            pipeline::config::parse_component(Kind::Transform, "join", toml, &registry, &env)
                .unwrap();
        let cx = Context::for_tests(Kind::Transform, "join");
        let told = config.build(&cx).err().unwrap().to_string();
        assert!(told.contains(expected), "{toml}: {told}");
    }
}

#[test]
fn other_senders_have_other_marks() {
    let mut bench = testing::stateful::<Config>(
        "start = ''\ncontinuation = '^\\s+'\nparts = ''\ncut_at = []\nkey = ['host.name']",
    );
    let out = feed(&mut bench, &["one", "  at here", "\tat there", "two"]);
    assert_eq!(messages(&out), ["one\nat here\nat there"]);
    let mut bench = testing::stateful::<Config>(
        "parts = '^(?<id>\\w+)#(?<part>\\d+)/(?<parts>\\d+):'\ncontinuation = ''\ncut_at = []",
    );
    let out = feed(&mut bench, &["m#2/2:b", "m#1/2:a", HOSTD]);
    assert_eq!(messages(&out), ["m#1/2:ab", HOSTD]);
}

#[test]
fn bytes_and_marks_of_parts_stay_with_the_whole() {
    let mut bench = testing::stateful::<Config>("");
    let mut events =
        events![{"pve.raw_b64": "QQ=="}, {"pve.raw_b64": "Qg==", "pve.truncated": true}, {}];
    for (event, text) in events
        .iter_mut()
        .zip([&format!("{HOSTD}a"), "--> b", "--> c"])
    {
        event.set_str(fields::MESSAGE, text);
    }
    bench.feed(events);
    let out = bench.wait(Length::from_secs(2));
    assert_eq!(out.json()[0]["pve"]["raw_b64"], json!(["QQ==", "Qg=="]));
    assert_eq!(truncated(&out), [true]);
}
