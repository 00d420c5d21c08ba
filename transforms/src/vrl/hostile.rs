//! Programs and events that mean harm, or happen to do it.
use pipeline::testing::{self, json};
use pipeline::{Context, Event, Kind, events};

use super::tests::runner;
use super::{Ran, Use, Written, compile};
use crate::remap;

fn run(program: &str, event: &mut Event) -> Result<(), String> {
    match runner(program).run(event, pipeline::Time(0)) {
        Ran::Done => Ok(()),
        Ran::Failed(why) | Ran::Aborted(why) => Err(why),
        Ran::Split(events) => Err(format!("{} events", events.len())),
    }
}

fn list(length: usize) -> Event {
    testing::events([json!({"list": vec![1; length], "text": "abc", "n": 1_000_000_000_000_i64})])
        .remove(0)
}

#[test]
fn a_program_that_never_ends_is_an_error_of_its_event() {
    let source = "source = '''\nn = 0\nfor_each(array!(.list)) -> |_i, a| { for_each(array!(.list)) -> |_j, b| { for_each(array!(.list)) -> |_k, c| { n = n + 1 } } }\n.n = n\n'''\nbudget.steps = 50_000";
    let mut remap = testing::transform::<remap::Config>(source);
    let out = remap.feed(events![{"list": [1, 2]}, {"list": vec![1; 1000]}, {"list": [1]}]);
    assert_eq!(out.kept(), [0, 1, 2]);
    assert_eq!(out.errors(), [1]);
    let out = out.json();
    assert_eq!(
        out[1]["error"]["message"],
        "the program did not end within 50000 steps (`budget.steps`)"
    );
    assert!(out[1].get("n").is_none());
    assert_eq!(out[2]["n"], 1);
}

#[test]
fn or_within_its_time() {
    let source = "source = '''\nfor_each(array!(.list)) -> |_i, _a| { for_each(array!(.list)) -> |_j, b| { x = upcase(string!(.text)) } }\n'''\nbudget = { steps = 1_000_000_000_000, time = \"20ms\" }";
    let mut remap = testing::transform::<remap::Config>(source);
    let out = remap.feed(events![{"list": vec![1; 5000], "text": "x".repeat(1000)}]);
    assert_eq!(
        out.json()[0]["error"]["message"],
        "the program did not end within 20ms (`budget.time`)"
    );
}

#[test]
fn what_grows_with_every_turn_is_ended_before_the_memory_is() {
    for program in [
        "x = string!(.text); for_each(array!(.list)) -> |_i, _v| { x = x + x }; .x = x",
        "x = [1]; for_each(array!(.list)) -> |_i, _v| { x = append(x, x) }; .x = x",
        "x = {}; for_each(array!(.list)) -> |_i, _v| { x = {\"a\": x, \"b\": x} }; .x = x",
        ".x = .text; for_each(array!(.list)) -> |_i, _v| { .x = string!(.x) + string!(.x) }",
        "%x = .text; for_each(array!(.list)) -> |_i, _v| { %x = string!(%x) + string!(%x) }",
        ". = {\"x\": .text, \"list\": .list}; for_each(array!(.list)) -> |_i, _v| { .x = string!(.x) + string!(.x) }",
        "for_each(array!(.list)) -> |_i, _v| { . |= {\"m\": [.m, .m]} }",
    ] {
        let mut event = list(10_000);
        let before = event.to_json();
        let why = run(program, &mut event).unwrap_err();
        assert!(
            why.contains("MiB for this event") || why.contains("steps"),
            "{program}: {why}"
        );
        assert_eq!(event.to_json(), before);
    }
}

#[test]
fn values_that_nest_with_every_turn_are_ended_before_the_stack_is() {
    let mut event = list(50_000);
    let why = run(
        "x = []; for_each(array!(.list)) -> |_i, _v| { x = [x] }; .x = x",
        &mut event,
    )
    .unwrap_err();
    assert!(why.contains("nests"), "{why}");
    // A little of it becomes part of the event, its depths as text.
    let mut event = list(40);
    run(
        "x = []; for_each(array!(.list)) -> |_i, _v| { x = [x] }; .x = x",
        &mut event,
    )
    .unwrap();
    assert!(event.to_json()["x"][0][0][0].is_array());
}

#[test]
fn one_number_of_an_event_makes_no_memory_of_its_size() {
    for program in [
        ".x = string!(.text) * int!(.n)",
        ".x = int!(.n) * string!(.text)",
        ".x = set!([], [.n], 1)",
        ".x = set!({}, [\"a\", -1000000, \"b\"], 1)",
        ".x = range!(0, .n)",
        ".x = random_bytes!(int!(.n))",
    ] {
        let mut event = list(1);
        let why = run(program, &mut event).unwrap_err();
        assert!(!why.is_empty());
        assert!(event.to_json().get("x").is_none(), "{program}");
    }
    let mut event = list(1);
    run(".x = string!(.text) * length(string!(.text)); .y = int!(.n) * int!(.n); .z = set!([], [2], 1)", &mut event).unwrap();
    let json = event.to_json();
    assert_eq!(
        (&json["x"], &json["z"]),
        (&json!("abcabcabc"), &json!([null, null, 1]))
    );
    assert_eq!(
        json["y"],
        json!(1_000_000_000_000_i64.wrapping_mul(1_000_000_000_000))
    );
}

#[test]
fn what_was_packed_small_is_not_unpacked_without_end() {
    use std::io::Write;
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    packed.write_all(&vec![b'a'; 40 << 20]).unwrap();
    let packed: Vec<_> = packed.finish().unwrap();
    let hex: String = packed.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut event = testing::events([json!({"hex": hex})]).remove(0);
    let why = run(".x = decode_gzip!(decode_base16!(.hex))", &mut event).unwrap_err();
    assert!(why.contains("longer than 16 MiB"), "{why}");
    run(".x = decode_gzip!(encode_gzip(\"text\")); .y = decode_zlib!(encode_zlib(\"text\")); .z = decode_zstd!(encode_zstd(\"text\"))", &mut event).unwrap();
    let json = event.to_json();
    assert_eq!(
        (&json["x"], &json["y"], &json["z"]),
        (&json!("text"), &json!("text"), &json!("text"))
    );
}

#[test]
fn a_path_from_an_event_goes_only_so_deep() {
    let dots = "a.".repeat(4000);
    let mut event = testing::events([json!({"message": dots})]).remove(0);
    let why = run(
        ".x = set!({}, split(string!(.message), \".\"), 1)",
        &mut event,
    )
    .unwrap_err();
    assert!(why.contains("at most 64"), "{why}");
    run(".x = set!({}, [\"a\", \"b\"], 1)", &mut event).unwrap();
    assert_eq!(event.to_json()["x"]["a"]["b"], 1);
}

#[test]
fn what_goes_as_deep_as_its_text_is_not_offered() {
    for call in [
        "parse_xml!(.x)",
        "parse_ruby_hash!(.x)",
        "unflatten(object!(.x))",
    ] {
        let program = format!(".y = {call}").into();
        let cx = Context::for_tests(Kind::Transform, "remap");
        let why = compile(Written::Here(&program), Use::Remap, &cx)
            .err()
            .unwrap()
            .to_string();
        assert!(why.contains("not offered"), "{call}: {why}");
    }
}

#[test]
fn a_text_in_the_place_of_its_own_letters_is_not_made() {
    let long = "x".repeat(60_000);
    let mut event =
        testing::events([json!({"message": long, "refs": "$0".repeat(30_000)})]).remove(0);
    for program in [
        ".y = replace(string!(.message), \"x\", string!(.message))",
        ".y = replace(string!(.message), r'.+', string!(.refs))",
        ".y = join!(split(string!(.message), \"\"), string!(.message))",
    ] {
        let why = run(program, &mut event).unwrap_err();
        assert!(why.contains("at most 64 MiB"), "{program}: {why}");
    }
    run(
        ".y = replace(string!(.message), \"x\", \"y\"); .z = join!([\"a\", \"b\"], \"-\")",
        &mut event,
    )
    .unwrap();
    assert_eq!(event.to_json()["y"], "y".repeat(60_000));
    assert_eq!(event.to_json()["z"], "a-b");
}

#[test]
fn json_ten_thousand_levels_deep_is_an_error() {
    for text in [
        "[".repeat(10_000) + &"]".repeat(10_000),
        "{\"a\":".repeat(10_000),
        "[".repeat(1 << 20),
    ] {
        let mut event = testing::events([json!({"message": text})]).remove(0);
        let why = run(". |= object!(parse_json!(string!(.message)))", &mut event).unwrap_err();
        assert!(why.contains("parse_json"), "{}", &why[..why.len().min(200)]);
        // What the parser said about so long a text is cut where it is kept.
        let mut remap =
            testing::transform::<remap::Config>("source = '.x = parse_json!(string!(.message))'");
        let out = remap.feed(vec![event]).json();
        assert!(out[0]["error"]["message"].as_str().unwrap().len() <= 1024);
    }
}

#[test]
fn long_texts_pass_and_many_names_are_refused() {
    let mut event = testing::events([json!({"message": "ä".repeat(4 << 20)})]).remove(0);
    run(
        ".upper = upcase(string!(.message)); .parts = length(split(string!(.message), \"ä\"))",
        &mut event,
    )
    .unwrap();
    assert_eq!(event.to_json()["parts"], json!((4 << 20) + 1));

    let names: serde_json::Map<_, _> = (0..5000).map(|n| (format!("name{n}"), json!(n))).collect();
    let mut event =
        testing::events([json!({"message": serde_json::to_string(&names).unwrap(), "kept": 1})])
            .remove(0);
    let known = pipeline::Field::count();
    let before = event.to_json();
    let why = run(". |= object!(parse_json!(string!(.message)))", &mut event).unwrap_err();
    assert_eq!(why, "an event has at most 1024 fields");
    assert_eq!(event.to_json(), before);
    // Names from data are never interned, however many there are; the program's own are few.
    assert!(pipeline::Field::count() < known + 100);
}

#[test]
fn a_list_of_a_million_events_is_not_made() {
    let mut event = list(20_000);
    let why = run(
        ". = map_values(array!(.list)) -> |_v| { {\"a\": 1} }",
        &mut event,
    )
    .unwrap_err();
    assert_eq!(
        why,
        "the program makes 20000 events out of one; at most 10000 are made"
    );
}

#[test]
fn unnest_sees_the_whole_event() {
    let mut event = testing::events([json!({"host": {"name": "pve1"}, "list": [1, 2]})]).remove(0);
    let Ran::Split(events) = runner(". = unnest!(.list)").run(&mut event, pipeline::Time(0)) else {
        panic!("it makes two events");
    };
    let made: Vec<_> = events
        .iter()
        .map(|event| {
            (
                event.to_json()["host"]["name"].clone(),
                event.to_json()["list"].clone(),
            )
        })
        .collect();
    assert_eq!(made, [(json!("pve1"), json!(1)), (json!("pve1"), json!(2))]);
}
