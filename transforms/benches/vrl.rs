//! What a program costs per event in `remap`, beside the same program in VRL's own runtime over whole events of VRL's own.
//! `cargo bench -p transforms --bench vrl [-- PART-OF-A-NAME]`
//!
//! - *ours*: a batch of events as a source of lines makes them goes through the transform
//! - *convert*: each event becomes one object of VRL, the program runs, and an event is made of what is left
//! - *bare*: the same without the ways in and out, as if events had been objects of VRL all along
//!
//! The job *vrl* promises *ours* at most 0.7 of *convert*. `parse_grok` is Oniguruma's there and our own here.
#![allow(clippy::print_stdout, clippy::expect_used)]

use std::hint::black_box;
use std::time::Instant;

use pipeline::testing::{self, TransformBench};
use pipeline::{Buffer, Event, EventId, Field, Span, Time, Value, ValueRef};
use vrl::compiler::runtime::Runtime;
use vrl::compiler::{Program, TargetValue, TimeZone};
use vrl::value::{ObjectMap, Secrets, Value as Vrl};

const GROK: &str = r#"s'%{IP:client_ip} - %{NOTSPACE:user} \[%{NOTSPACE:day}:%{TIME:time} %{ISO8601_TIMEZONE:tz}\] "%{WORD:method} %{NOTSPACE:request} HTTP/%{NUMBER:http_version}" %{INT:status} %{INT:bytes}'"#;

/// Name, kind of transform, program. `GROK` stands for the pattern.
const PROGRAMS: &[(&str, &str, &str)] = &[
    (
        "job vrl: merge the fields of a line",
        "remap",
        r#". |= parse_grok!(string!(.message), GROK)
.status = to_int!(.status)
.bytes = to_int!(.bytes)
.http_version = to_float!(.http_version)
if .status >= 400 {
  .outcome = "failure"
} else {
  .outcome = "success"
}
del(.message)"#,
    ),
    (
        "the same, field by field",
        "remap",
        r#"line = parse_grok!(string!(.message), GROK)
.client_ip = line.client_ip
.user = line.user
.request = line.request
.status = to_int!(line.status)
.bytes = to_int!(line.bytes)
if .status >= 400 { .outcome = "failure" } else { .outcome = "success" }
del(.message)"#,
    ),
    (
        "without grok: casts, a condition, a deletion",
        "remap",
        r#".port = to_int!(.message_port || "8006")
if starts_with(string!(.host.name), "pve") { .node = upcase(string!(.host.name)) }
.length = length(string!(.message))
del(.log.file.path)"#,
    ),
    ("whole event, nothing done", "remap", ". = ."),
    (
        "regex, json out",
        "remap",
        r#".method = parse_regex!(string!(.message), r'"(?P<method>[A-Z]+) ').method
.copy = encode_json({"host": .host.name, "path": .log.file.path})"#,
    ),
    (
        "filter: one comparison",
        "filter",
        r#".host.name == "pve1""#,
    ),
    (
        "filter: several",
        "filter",
        r#"exists(.message) && (.host.name != "pve2" || contains(string!(.message), "401")) && !ends_with(string!(.log.file.path), ".gz")"#,
    ),
];

const EVENTS: usize = 1000;
const RUNS: usize = 60;

fn main() {
    let only = std::env::args().skip(1).find(|word| !word.starts_with('-'));
    println!(
        "{:<46} {:>8} {:>8} {:>8} {:>10} {:>7}",
        "ns per event", "ours", "convert", "bare", "÷ convert", "÷ bare"
    );
    for (name, kind, program) in PROGRAMS {
        if only
            .as_ref()
            .is_some_and(|part| !name.contains(part.as_str()))
        {
            continue;
        }
        let program = program.replace("GROK", GROK);
        let mut ours = Ours::new(kind, &program);
        let mut theirs = Theirs::new(&program);
        let template = events();
        let (mut own, mut convert, mut bare) = (Vec::new(), Vec::new(), Vec::new());
        // Interleaved, so that whatever disturbs the machine disturbs all three.
        for _ in 0..RUNS {
            own.push(ours.time(template.clone()));
            convert.push(theirs.time_convert(&template));
            bare.push(theirs.time_bare(&template));
        }
        let (own, convert, bare) = (median(own), median(convert), median(bare));
        println!(
            "{name:<46} {own:>8.0} {convert:>8.0} {bare:>8.0} {:>10.2} {:>7.2}",
            own / convert,
            own / bare
        );
    }
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Events as a source of lines makes them: places in one buffer.
fn events() -> Vec<Event> {
    let mut text = String::from("pve1/var/log/pveproxy/access.log");
    let (host, path) = (Span { at: 0, len: 4 }, Span { at: 4, len: 28 });
    let users = [
        "root@pam",
        "automation@pve!terraform",
        "monitoring@pve!prom",
        "-",
    ];
    let mut spans = Vec::new();
    for n in 0..EVENTS {
        let at = text.len() as u32;
        text.push_str(&format!(
            "192.168.1.{} - {} [20/11/2026:00:{:02}:{:02} +0100] \"GET /api2/json/nodes/pve{}/qemu/{}/rrddata?timeframe=hour&cf=AVERAGE HTTP/1.1\" {} {}",
            10 + n % 50,
            users[n % users.len()],
            n / 60 % 60,
            n % 60,
            1 + n % 3,
            100 + n,
            [200, 200, 401, 500][n % 4],
            10 + 83 * n
        ));
        spans.push(Span {
            at,
            len: text.len() as u32 - at,
        });
    }
    let buffer = Buffer::new(text);
    let fields = [
        Field::new("message"),
        Field::new("host.name"),
        Field::new("log.file.path"),
    ];
    let event = |(n, line): (usize, Span)| {
        let mut event = Event::new(EventId([1, n as u64]), Time::from_secs(1_773_529_200));
        event.set_buffer(buffer.clone());
        for (field, span) in fields.into_iter().zip([line, host, path]) {
            event.set_span(field, span);
        }
        event
    };
    spans.into_iter().enumerate().map(event).collect()
}

struct Ours(TransformBench);

impl Ours {
    fn new(kind: &str, program: &str) -> Ours {
        Ours(match kind {
            "filter" => testing::transform::<transforms::filter::Config>(&format!(
                "condition = '''{program}'''"
            )),
            _ => testing::transform::<transforms::remap::Config>(&format!(
                "source = '''\n{program}\n'''"
            )),
        })
    }

    fn time(&mut self, events: Vec<Event>) -> f64 {
        let begun = Instant::now();
        let out = black_box(self.0.run(events));
        let took = begun.elapsed().as_nanos() as f64 / EVENTS as f64;
        assert!(!out.is_empty());
        took
    }
}

struct Theirs {
    program: Program,
    runtime: Runtime,
}

impl Theirs {
    fn new(program: &str) -> Theirs {
        let compiled =
            vrl::compiler::compile(program, &vrl::stdlib::all()).expect("the program compiles");
        Theirs {
            program: compiled.program,
            runtime: Runtime::default(),
        }
    }

    fn run(&mut self, value: Vrl) -> Vrl {
        let mut target = TargetValue {
            value,
            metadata: Vrl::Object(ObjectMap::new()),
            secrets: Secrets::default(),
        };
        let result = self
            .runtime
            .resolve(&mut target, &self.program, &TimeZone::default());
        black_box(result.expect("the program ends well"));
        self.runtime.clear();
        target.value
    }

    fn time_convert(&mut self, events: &[Event]) -> f64 {
        let begun = Instant::now();
        for event in events {
            let value = self.run(into_vrl(event));
            black_box(out_of_vrl(value, event));
        }
        begun.elapsed().as_nanos() as f64 / EVENTS as f64
    }

    fn time_bare(&mut self, events: &[Event]) -> f64 {
        let values: Vec<Vrl> = events.iter().map(into_vrl).collect();
        let mut left = Vec::with_capacity(values.len());
        let begun = Instant::now();
        for value in values {
            left.push(self.run(value));
        }
        let took = begun.elapsed().as_nanos() as f64 / EVENTS as f64;
        black_box(left);
        took
    }
}

/// One object of VRL with everything that is in an event.
fn into_vrl(event: &Event) -> Vrl {
    let mut object = Vrl::Object(ObjectMap::new());
    object.insert(vrl::path!("@timestamp"), time(event.timestamp()));
    for (field, value) in event.iter() {
        let path: Vec<_> = field
            .path()
            .split('.')
            .map(vrl::path::OwnedSegment::field)
            .collect();
        object.insert(&path, value_of(value));
    }
    object
}

fn time(time: Time) -> Vrl {
    Vrl::Timestamp(chrono::DateTime::from_timestamp_nanos(time.0))
}

fn value_of(value: ValueRef<'_>) -> Vrl {
    match value {
        ValueRef::Str(text) => Vrl::from(text),
        ValueRef::Int(number) => Vrl::Integer(number),
        ValueRef::Bool(truth) => Vrl::Boolean(truth),
        ValueRef::Time(at) => time(at),
        _ => Vrl::Null,
    }
}

/// A fresh event with everything that is in an object of VRL.
fn out_of_vrl(value: Vrl, from: &Event) -> Event {
    let mut event = Event::new(from.id(), from.timestamp());
    if let Vrl::Object(members) = value {
        for (key, value) in members {
            event.set_tree(&key, back(value));
        }
    }
    event
}

fn back(value: Vrl) -> Value {
    match value {
        Vrl::Bytes(bytes) => Value::Str(String::from_utf8_lossy(&bytes).into_owned()),
        Vrl::String(text) => Value::Str(text.into()),
        Vrl::Integer(number) => Value::Int(number),
        Vrl::Float(number) => Value::Float(number.into_inner()),
        Vrl::Boolean(truth) => Value::Bool(truth),
        Vrl::Timestamp(at) => Value::Time(Time(at.timestamp_nanos_opt().unwrap_or_default())),
        Vrl::Object(members) => Value::Map(
            members
                .into_iter()
                .map(|(key, value)| (key.to_string(), back(value)))
                .collect(),
        ),
        Vrl::Array(list) => Value::List(list.into_iter().map(back).collect()),
        Vrl::Regex(_) | Vrl::Null => Value::Null,
    }
}
