//! What holds for every event and every program.
use pipeline::testing::{self, Json, json};
use pipeline::{Buffer, Context, Event, EventId, Field, Kind, Span, Time, Value, fields};
use proptest::prelude::*;
use vrl::compiler::runtime::Runtime;
use vrl::compiler::{TargetValue, TimeZone};
use vrl::value::{ObjectMap, Secrets, Value as Vrl};

use super::{Budget, Ran, Runner, Use, Written, compile};

const NOW: Time = Time(1_773_529_200_000_000_000);

pub(super) fn runner(program: &str) -> Runner {
    let cx = Context::for_tests(Kind::Transform, "remap");
    let source = program.to_owned().into();
    let compiled = compile(Written::Here(&source), Use::Remap, &cx);
    Runner::new(
        &compiled.unwrap_or_else(|why| panic!("{program}: {why}")),
        TimeZone::Local,
        Budget::default(),
    )
}

/// Names that events of these tests have; some lie above others, some are known to nobody.
const PATHS: &[&str] = &[
    "message",
    "host.name",
    "a",
    "a.b",
    "a.b.c",
    "a.b.d",
    "a.e",
    "event.code",
    "user.name",
    "n",
    "tags",
    "pve.extra",
    "deep.er.than.most",
];

fn leaf() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        (-10i64..10).prop_map(Value::Int),
        (-1000i64..1000).prop_map(|halves| Value::Float(halves as f64 / 2.0)),
        (0i64..4_000_000_000_000).prop_map(|ms| Value::Time(Time(ms * 1_000_000))),
        "[ -~äß€\\n]{0,20}".prop_map(Value::Str),
        "(pve1|pve2|root@pam|401|backup)".prop_map(Value::Str),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    leaf().prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::List),
            proptest::collection::vec(("[a-d.@ ]{1,4}", inner), 0..4).prop_map(|members| {
                let mut seen = std::collections::BTreeMap::new();
                seen.extend(members);
                Value::Map(seen.into_iter().collect())
            }),
        ]
    })
}

/// What is done to an event to make it.
#[derive(Clone, Debug)]
enum Step {
    Set(usize, Value),
    Span(usize, u32, u32),
    Dynamic(usize, String, Value),
    Remove(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let path = 0..PATHS.len();
    prop_oneof![
        4 => (path.clone(), value()).prop_map(|(path, value)| Step::Set(path, value)),
        2 => (path.clone(), 0u32..30, 0u32..30).prop_map(|(path, at, len)| Step::Span(path, at, len)),
        2 => (path.clone(), "[a-e.]{1,3}", value()).prop_map(|(path, key, value)| Step::Dynamic(path, key, value)),
        1 => path.prop_map(Step::Remove),
    ]
}

pub(super) fn any_event() -> impl Strategy<Value = Event> {
    (
        proptest::collection::vec(step(), 0..12),
        any::<[u64; 2]>(),
        0i64..4_000_000_000_000,
    )
        .prop_map(|(steps, id, ms)| {
            let mut event = Event::new(EventId(id), Time(ms * 1_000_000));
            event.set_buffer(Buffer::new(
                "Grüße von pve1: 401 für root@pam, und noch mehr Text".to_owned(),
            ));
            for step in steps {
                match step {
                    Step::Set(path, value) => event.set(Field::new(PATHS[path]), value),
                    Step::Dynamic(path, key, value) => {
                        event.set_dynamic(Field::new(PATHS[path]), &key, value)
                    }
                    Step::Remove(path) => event.remove_tree(Field::new(PATHS[path])),
                    Step::Span(path, at, len) => {
                        let text = event.buffer().unwrap().text().to_owned();
                        let at = text.floor_char_boundary(at as usize);
                        let end = text.floor_char_boundary(at + len as usize);
                        event.set_span(
                            Field::new(PATHS[path]),
                            Span {
                                at: at as u32,
                                len: (end - at) as u32,
                            },
                        );
                    }
                }
            }
            event
        })
}

/// The event as one object of VRL: what a program that could see all of it would see.
pub(super) fn whole(event: &Event) -> Vrl {
    let mut members = event.to_json();
    members["@timestamp"] = Json::Null;
    let mut whole = of_json(members);
    // JSON knows no times, and writes fewer digits of them.
    for (field, value) in event.iter() {
        if let Value::Time(_) | Value::List(_) | Value::Map(_) = value.to_owned()
            && !matches!(value, pipeline::ValueRef::Map(_))
        {
            let path: Vec<_> = field
                .path()
                .split('.')
                .map(vrl::path::OwnedSegment::field)
                .collect();
            whole.insert(&path, super::values::to_vrl(value));
        }
    }
    whole.insert(
        vrl::path!("@timestamp"),
        super::values::time(event.timestamp()),
    );
    whole
}

fn of_json(json: Json) -> Vrl {
    match json {
        Json::Object(members) => Vrl::Object(
            members
                .into_iter()
                .map(|(key, value)| (key.into(), of_json(value)))
                .collect(),
        ),
        Json::Array(list) => Vrl::Array(list.into_iter().map(of_json).collect()),
        Json::Number(number) if number.is_f64() => Vrl::from_f64_or_zero(number.as_f64().unwrap()),
        Json::Number(number) => Vrl::Integer(number.as_i64().unwrap()),
        Json::String(text) => Vrl::from(text),
        Json::Bool(truth) => Vrl::Boolean(truth),
        Json::Null => Vrl::Null,
    }
}

/// What VRL's own runtime makes of it.
pub(super) fn in_vrl(program: &str, event: &Event) -> (Result<Vrl, String>, Vrl) {
    let compiled = vrl::compiler::compile(program, &vrl::stdlib::all())
        .unwrap_or_else(|why| panic!("{program}: {why:?}"));
    let mut target = TargetValue {
        value: whole(event),
        metadata: Vrl::Object(ObjectMap::new()),
        secrets: Secrets::default(),
    };
    let result = Runtime::default().resolve(&mut target, &compiled.program, &TimeZone::Local);
    (result.map_err(|why| why.to_string()), target.value)
}

/// Whether a name from data has dots in it and reads like the path of a field. Such a name may be taken for that field,
/// where VRL keeps the two apart.
fn reads_like_a_path(members: &Json, above: &str) -> bool {
    let Json::Object(members) = members else {
        return false;
    };
    members.iter().any(|(name, value)| {
        let path = format!("{above}{name}");
        let like = |known: &&str| {
            format!("{known}.").starts_with(&format!("{path}."))
                || path.starts_with(&format!("{known}."))
        };
        name.contains('.') && PATHS.iter().any(like)
            || reads_like_a_path(value, &format!("{path}."))
    })
}

fn json_of(value: Vrl) -> Json {
    super::values::from_vrl(value).as_ref().to_json()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, max_global_rejects: 6000, ..ProptestConfig::default() })]

    #[test]
    fn a_program_that_does_nothing_changes_nothing(event in any_event()) {
        // With what has to be there, because setting it sets a null otherwise.
        for (there, program) in [
            (".", "."), (".", ". = ."), (".", ". |= {}"), (".a", "x = .a; .a = x"), (".event", ".event = .event"),
            (".pve", ".pve = .pve"), (".n", ".n = .n"), (".", "exists(.a.b.c) && exists(.a)"),
            (".", ".@timestamp = .@timestamp"), (".a.b", ".a.b = .a.b; x = .a.b.c"),
        ] {
            if in_vrl(&format!("exists({there})"), &event).0 == Ok(Vrl::Boolean(false)) {
                continue;
            }
            let mut after = event.clone();
            let ran = runner(program).run(&mut after, NOW);
            prop_assert!(matches!(ran, Ran::Done), "{}", program);
            prop_assert_eq!(after.to_json(), event.to_json(), "{}", program);
            prop_assert_eq!(after.timestamp(), event.timestamp());
            prop_assert_eq!(after.id(), event.id());
        }
    }

    #[test]
    fn a_program_on_cells_makes_what_it_makes_on_the_whole_event(event in any_event(), which in 0usize..14, more in 0usize..14) {
        let programs = [
            ".a.b = 1", ".a = {\"b\": {\"c\": 1}, \"z\": [1]}", ".a.b.c = .host.name", ".x = .a", ".x = .a.b.c",
            ".host = {\"name\": \"new\", \"os\": \"pve\"}", ".message = to_string(.n) ?? \"none\"", ".tags = [1, \"two\"]",
            ".tags[2] = true", ".x = exists(.a.b) || exists(.deep.er)", ".event.code = length(string(.message) ?? \"\")",
            ".deep.er = null", ".user.name = downcase(string(.user.name) ?? \"X\")", ".list = [.a.b.d, .n]",
        ];
        let program = format!("{}\n{}", programs[which], programs[more]);
        // Some of them do not go together.
        prop_assume!(vrl::compiler::compile(&program, &vrl::stdlib::all()).is_ok());
        prop_assume!(!reads_like_a_path(&event.to_json(), ""));
        let mut ours = event.clone();
        let ran = runner(&program).run(&mut ours, NOW);
        prop_assert!(matches!(ran, Ran::Done), "{}", program);
        // Names that only data knows are kept elsewhere; the ones here are all known.
        let (result, mut theirs) = in_vrl(&program, &event);
        prop_assert!(result.is_ok());
        theirs.insert(vrl::path!("@timestamp"), Vrl::Null);
        let mut ours = ours.to_json();
        ours["@timestamp"] = Json::Null;
        prop_assert_eq!(ours, json_of(theirs), "{}", program);
    }
}

#[test]
fn a_name_with_dots_from_data_is_read_by_its_path() {
    let mut event = testing::events([json!({})]).remove(0);
    event.set_dynamic(Field::new("a"), "b.d", true.into());
    let mut program = runner(".x = .a.\"b.d\"; .y = .a.b.d");
    assert!(matches!(program.run(&mut event, NOW), Ran::Done));
    let json = event.to_json();
    assert_eq!(json["x"], json!(true));
    assert_eq!(json["y"], json!(true));
    assert_eq!(json["a"], json!({"b.d": true}));
}

#[test]
fn a_program_sees_an_object_of_known_and_unknown_names_as_one() {
    let mut event = testing::events([json!({"host": {"name": "pve1"}})]).remove(0);
    event.set_dynamic(Field::new("host"), "colour", "grey".into());
    let mut program = runner(".keys = keys!(.host); .host.colour = \"red\"; .copy = .host");
    assert!(matches!(program.run(&mut event, NOW), Ran::Done));
    let json = event.to_json();
    assert_eq!(json["keys"], json!(["colour", "name"]));
    assert_eq!(json["host"], json!({"name": "pve1", "colour": "red"}));
    assert_eq!(json["copy"], json["host"]);
}

#[test]
fn a_text_that_is_a_piece_of_the_buffer_stays_one() {
    let mut event = Event::new(EventId([1, 2]), NOW);
    event.set_buffer(Buffer::new(
        "a long line, of which a part is taken".to_owned(),
    ));
    event.set_span(fields::MESSAGE, Span { at: 0, len: 37 });
    let mut program = runner(
        "parsed = parse_grok!(string!(.message), \"^%{DATA:before}, %{GREEDYDATA:after}$\")\n.x = parsed.after; .y = .message; .z = upcase(string!(.message))",
    );
    assert!(matches!(program.run(&mut event, NOW), Ran::Done));
    assert_eq!(event.span(Field::new("x")), Some(Span { at: 13, len: 24 }));
    assert_eq!(event.span(Field::new("y")), event.span(fields::MESSAGE));
    assert_eq!(event.span(Field::new("z")), None);
}
