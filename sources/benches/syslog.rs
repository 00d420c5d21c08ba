//! What reading one syslog message costs, by its form: the event is there, its fields are not. And what writing it as JSON
//! costs afterwards, with all its fields.
//! `cargo bench -p sources --bench syslog [-- PART-OF-A-NAME]`; `-- FORM --rounds 100` reads so many rounds and no more, for
//! a profiler.
#![allow(clippy::print_stdout, clippy::expect_used)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use pipeline::{Event, JsonWriter, Time, testing};
use sources::syslog::parse::{ParseOptions, Parser};

/// Messages of one round: about what one read brings.
const MESSAGES: usize = 1000;

const TEXTS: [(&str, &str); 4] = [
    (
        "pvedaemon",
        "<root@pam> starting task UPID:pve1:0003A5B2:01C8F2A4:697722A2:qmstart:100:root@pam:",
    ),
    (
        "pvedaemon",
        "authentication failure; rhost=::ffff:10.0.0.7 user=root@pam msg=Authentication failure",
    ),
    (
        "sshd",
        "Failed password for invalid user admin from 203.0.113.9 port 40022 ssh2",
    ),
    ("pmxcfs", "[status] notice: received log"),
];

/// The n-th message of a form; fifty share a second, as those of the yardstick do.
type Form = fn(usize, &str, &str) -> String;

const FORMS: &[(&str, Form)] = &[
    ("rfc5424", |n, app, text| {
        format!(
            "<{}>1 2026-11-20T00:{:02}:{:02}.{:06}Z pve{} {app} {} - - {text}",
            [30, 38, 86, 29][n % 4],
            n / 3000 % 60,
            n / 50 % 60,
            n * 7919 % 1_000_000,
            n % 3 + 1,
            500 + n * 31 % 29_500
        )
    }),
    ("structured data", |n, app, text| {
        format!(
            "<30>1 2026-11-20T00:00:{:02}.5+01:00 pve1 {app} 812 ID47 [origin@1 ip=\"192.0.2.1\" x=\"y\"] {text}",
            n / 50 % 60
        )
    }),
    ("rfc3164", |n, app, text| {
        format!(
            "<30>Nov 20 00:{:02}:{:02} pve{} {app}[{}]: {text}",
            n / 3000 % 60,
            n / 50 % 60,
            n % 3 + 1,
            500 + n * 31 % 29_500
        )
    }),
    ("with RFC 3339 time", |n, app, text| {
        format!(
            "<30>2026-11-20T00:00:{:02}.{:06}+01:00 pve1 {app}[812]: {text}",
            n / 50 % 60,
            n * 7919 % 1_000_000
        )
    }),
    ("json", |n, app, text| {
        format!(
            r#"{{"@timestamp":"2026-11-20T00:00:{:02}.5+01:00","@version":"1","message":" {text}","sysloghost":"pve1","severity":"info","facility":"daemon","programname":"{app}","procid":"812"}}"#,
            n / 50 % 60
        )
    }),
    ("refused", |_, app, text| format!("{app}: {text}")),
];

struct Bench {
    parser: Parser,
    frames: Vec<String>,
    now: Time,
}

impl Bench {
    fn new(form: Form) -> Bench {
        let frames = (0..MESSAGES)
            .map(|n| {
                let (app, text) = TEXTS[n % TEXTS.len()];
                form(n, app, text)
            })
            .collect();
        Bench {
            parser: Parser::new(&ParseOptions::default()),
            frames,
            now: Time::parse("2026-11-20T00:00:30Z").expect("a time"),
        }
    }

    fn events(&self) -> Vec<Event> {
        testing::line_events("192.0.2.1", self.frames.iter().map(String::as_bytes))
    }

    /// Time for one message [ns].
    fn round(&mut self, events: &mut [Event]) -> f64 {
        let sender = self.parser.sender(None, Some("192.0.2.1"));
        let begin = Instant::now();
        for event in events.iter_mut() {
            black_box(self.parser.parse(black_box(event), &sender, self.now));
        }
        begin.elapsed().as_nanos() as f64 / events.len() as f64
    }
}

/// Time for the JSON of one message [ns].
fn write(writer: &mut JsonWriter, events: &[Event], body: &mut Vec<u8>) -> f64 {
    body.clear();
    let begin = Instant::now();
    for event in events {
        writer.write(event, body);
    }
    black_box(&body);
    begin.elapsed().as_nanos() as f64 / events.len() as f64
}

fn main() {
    let mut args = std::env::args().skip(1).filter(|arg| arg != "--bench");
    let wanted = args.next().unwrap_or_default();
    let rounds: Option<usize> = args.nth(1).and_then(|rounds| rounds.parse().ok());
    println!(
        "{:<20} {:>8} {:>8} {:>6}",
        "form", "best ns", "median", "bytes"
    );
    for (name, form) in FORMS.iter().filter(|(name, _)| name.contains(&wanted)) {
        let mut bench = Bench::new(*form);
        let bytes = bench.frames.iter().map(String::len).sum::<usize>() / MESSAGES;
        let (mut took, mut wrote) = (Vec::new(), f64::MAX);
        let (mut writer, mut body) = (JsonWriter::new(None, None), Vec::new());
        let begin = Instant::now();
        while rounds.map_or_else(
            || begin.elapsed() < Duration::from_millis(1500),
            |rounds| took.len() < rounds,
        ) {
            let mut events = bench.events();
            took.push(bench.round(&mut events));
            wrote = wrote.min(write(&mut writer, &events, &mut body));
        }
        took.sort_by(f64::total_cmp);
        println!(
            "{name:<20} {:>8.1} {:>8.1} {wrote:>8.1} {bytes:>6}",
            took[0],
            took[took.len() / 2]
        );
    }
}
