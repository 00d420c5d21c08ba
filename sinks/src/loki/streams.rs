//! Which stream an event belongs to: its tenant and its labels, and a bound on how many of either there are.
//!
//! A label with a million values would be a million streams, and Loki refuses some thousand. So each label keeps the first
//! values it meets, and later ones become the `overflow` value; the same with whole streams. What was decided once stays,
//! for all workers alike, so that a stream always belongs to the same one.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use hashbrown::HashMap;
use parking_lot::Mutex;
use pipeline::{Event, Key};
use xxhash_rust::xxh3::xxh3_64;

use super::template::Template;

/// How many of what there may be.
#[derive(Clone, Debug)]
pub(super) struct Bounds {
    /// Bytes of one value [bytes].
    pub(super) value: usize,
    /// Values of one label that are kept apart.
    pub(super) values: usize,
    /// Streams, without those of the overflow.
    pub(super) streams: usize,
    /// Tenants.
    pub(super) tenants: usize,
    /// The value that takes the place of others.
    pub(super) overflow: String,
}

/// One stream.
#[derive(Debug)]
pub(super) struct Stream {
    /// Its place among all.
    pub(super) number: usize,
    /// The value of `X-Scope-OrgID`.
    pub(super) tenant: Option<String>,
    /// `{a="b", c="d"}`
    pub(super) labels: String,
    /// `{"a":"b","c":"d"}`
    pub(super) json: String,
    /// Labels whose value here is the overflow.
    pub(super) overflow: Vec<String>,
    /// The latest time that the server has taken [ns].
    pub(super) newest: AtomicI64,
    key: u64,
}

/// Why an event belongs to no stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NoTenant {
    /// The field that names the tenant is absent.
    Absent,
    /// What it says is none.
    Odd(String),
    /// There are too many already.
    TooMany(String),
}

/// All streams of one sink, for all of its workers.
#[derive(Debug)]
pub(super) struct Streams {
    /// By name.
    labels: Vec<(String, Template)>,
    tenant: Option<Template>,
    bounds: Bounds,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    /// For each label the values that are kept apart.
    values: Vec<HashSet<Box<str>>>,
    tenants: HashSet<Box<str>>,
    streams: HashMap<String, Arc<Stream>>,
    /// Of them, those that are not the overflow of all labels.
    made: usize,
}

/// Between two values, and in place of one that is absent or too long: no text has these bytes.
const END: u8 = 0xff;
const ABSENT: u8 = 0xfe;
const TOO_LONG: u8 = 0xfd;

/// Combinations one worker remembers the stream of; more are looked up in the common table.
const REMEMBERED: usize = 4096;

impl Streams {
    pub(super) fn new(
        labels: Vec<(String, Template)>,
        tenant: Option<Template>,
        bounds: Bounds,
    ) -> Streams {
        let table = Table {
            values: vec![HashSet::new(); labels.len()],
            ..Table::default()
        };
        Streams {
            labels,
            tenant,
            bounds,
            table: Mutex::new(table),
        }
    }

    /// Writes down what decides on the stream of an event.
    #[inline]
    fn describe(&self, event: &Event, out: &mut Vec<u8>) {
        out.clear();
        let templates = self.labels.iter().map(|(_, template)| template);
        for template in self.tenant.iter().chain(templates) {
            let start = out.len();
            if !template.write(event, out) {
                out.push(ABSENT);
            } else if out.len() - start > self.bounds.value {
                out.truncate(start);
                out.push(TOO_LONG);
            }
            out.push(END);
        }
    }

    /// Finds the stream for such a description, and makes it if there is room.
    #[cold]
    fn find(&self, described: &[u8]) -> Result<Arc<Stream>, NoTenant> {
        let mut table = self.table.lock();
        let mut parts = described.split(|byte| *byte == END);
        let tenant = match &self.tenant {
            Some(_) => Some(table.tenant(parts.next().unwrap_or_default(), &self.bounds)?),
            None => None,
        };
        let mut labels: Vec<Label> = Vec::with_capacity(self.labels.len());
        for (n, part) in parts.take(self.labels.len()).enumerate() {
            let (name, template) = &self.labels[n];
            let fixed = template.is_fixed();
            let (value, overflow) = match table.value(n, part, fixed, &self.bounds) {
                Chosen::Absent => continue,
                Chosen::Value(value) => (value, false),
                Chosen::Overflow => (self.bounds.overflow.clone(), true),
            };
            labels.push(Label {
                name: name.clone(),
                value,
                fixed,
                overflow,
            });
        }
        let mut labels_text = text(&labels);
        if !table
            .streams
            .contains_key(&name(tenant.as_deref(), &labels_text))
        {
            if table.made < self.bounds.streams {
                table.made += 1;
            } else {
                // One for each tenant and no more: what comes from the event overflows, all of it at once.
                for label in labels.iter_mut().filter(|label| !label.fixed) {
                    label.value.clone_from(&self.bounds.overflow);
                    label.overflow = true;
                }
                labels_text = text(&labels);
            }
        }
        let name = name(tenant.as_deref(), &labels_text);
        if let Some(known) = table.streams.get(&name) {
            return Ok(Arc::clone(known));
        }
        let stream = Arc::new(Stream {
            number: table.streams.len(),
            json: json(&labels),
            overflow: labels
                .into_iter()
                .filter(|label| label.overflow)
                .map(|label| label.name)
                .collect(),
            newest: AtomicI64::new(i64::MIN),
            key: xxh3_64(name.as_bytes()),
            labels: labels_text,
            tenant,
        });
        table.streams.insert(name, Arc::clone(&stream));
        Ok(stream)
    }
}

struct Label {
    name: String,
    value: String,
    fixed: bool,
    overflow: bool,
}

enum Chosen {
    Absent,
    Value(String),
    Overflow,
}

impl Table {
    fn tenant(&mut self, part: &[u8], bounds: &Bounds) -> Result<String, NoTenant> {
        if part == [ABSENT] {
            return Err(NoTenant::Absent);
        }
        let tenant = String::from_utf8_lossy(part);
        // The characters that Loki allows; no two tenants, no way out of the header.
        let allowed = |c: char| c.is_ascii_alphanumeric() || "!-_.*'()".contains(c);
        let odd = tenant.len() > MOST_TENANT || tenant == "." || tenant == "..";
        if odd || !tenant.chars().all(allowed) {
            let shown: String = pipeline::printable(&tenant).chars().take(60).collect();
            return Err(NoTenant::Odd(shown));
        }
        if !self.tenants.contains(&*tenant) {
            if self.tenants.len() >= bounds.tenants {
                return Err(NoTenant::TooMany(tenant.into_owned()));
            }
            self.tenants.insert(tenant.as_ref().into());
        }
        Ok(tenant.into_owned())
    }

    fn value(&mut self, label: usize, part: &[u8], fixed: bool, bounds: &Bounds) -> Chosen {
        if part == [ABSENT] {
            return Chosen::Absent;
        }
        if part == [TOO_LONG] {
            return Chosen::Overflow;
        }
        let value = String::from_utf8_lossy(part);
        let values = &mut self.values[label];
        if !fixed && !values.contains(&*value) {
            if values.len() >= bounds.values {
                return Chosen::Overflow;
            }
            values.insert(value.as_ref().into());
        }
        Chosen::Value(value.into_owned())
    }
}

/// Longest name of a tenant that Loki takes [bytes].
const MOST_TENANT: usize = 150;

/// `{a="b", c="d"}`: the labels are in the order of their names, and whatever stands in a value is escaped.
fn text(labels: &[Label]) -> String {
    let mut out = String::from("{");
    for label in labels {
        if out.len() > 1 {
            out.push_str(", ");
        }
        out.push_str(&label.name);
        out.push_str("=\"");
        for c in label.value.chars() {
            match c {
                '"' | '\\' => out.extend(['\\', c]),
                '\n' => out.push_str("\\n"),
                // Writing into a text cannot fail.
                c if c.is_control() => drop(write!(out, "\\u{:04x}", u32::from(c))),
                c => out.push(c),
            }
        }
        out.push('"');
    }
    out.push('}');
    out
}

fn json(labels: &[Label]) -> String {
    let members = labels
        .iter()
        .map(|label| (label.name.clone(), label.value.clone().into()));
    serde_json::Value::Object(members.collect()).to_string()
}

/// What tells streams apart; no tenant has a brace in its name.
fn name(tenant: Option<&str>, labels: &str) -> String {
    format!("{}{labels}", tenant.unwrap_or_default())
}

/// Finds the streams of events; one for each worker, and one for whoever deals the events out to them.
pub(super) struct Finder {
    streams: Arc<Streams>,
    described: Vec<u8>,
    /// Streams by what describes them.
    known: HashMap<Box<[u8]>, Arc<Stream>>,
    /// The last one, and what described it: events of one stream often come together.
    last: Option<Arc<Stream>>,
    last_described: Vec<u8>,
}

impl Finder {
    pub(super) fn new(streams: Arc<Streams>) -> Finder {
        Finder {
            streams,
            described: Vec::new(),
            known: HashMap::new(),
            last: None,
            last_described: Vec::new(),
        }
    }

    /// The stream of an event.
    #[inline]
    pub(super) fn find(&mut self, event: &Event) -> Result<&Arc<Stream>, NoTenant> {
        self.streams.describe(event, &mut self.described);
        if self.described != self.last_described {
            self.last = None;
        }
        let last = match self.last.take() {
            Some(last) => last,
            None => self.look()?,
        };
        Ok(self.last.insert(last))
    }

    fn look(&mut self) -> Result<Arc<Stream>, NoTenant> {
        let described = &self.described[..];
        let stream = match self.known.get(described) {
            Some(known) => Arc::clone(known),
            None => {
                let stream = self.streams.find(described)?;
                // A million values describe one stream: they are not worth remembering.
                if stream.overflow.is_empty() {
                    if self.known.len() >= REMEMBERED {
                        self.known.clear();
                    }
                    self.known.insert(described.into(), Arc::clone(&stream));
                }
                stream
            }
        };
        std::mem::swap(&mut self.described, &mut self.last_described);
        Ok(stream)
    }
}

impl Key for Finder {
    fn of(&mut self, event: &Event) -> u64 {
        // Whoever has no stream is refused by whichever worker gets it.
        self.find(event).map_or(0, |stream| stream.key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pipeline::events;

    fn streams(labels: &[(&str, &str)], tenant: Option<&str>, bounds: Bounds) -> Arc<Streams> {
        let parse = |text: &str| Template::parse(text).unwrap();
        let labels = labels
            .iter()
            .map(|(name, text)| ((*name).to_owned(), parse(text)))
            .collect();
        Arc::new(Streams::new(labels, tenant.map(parse), bounds))
    }

    fn bounds(values: usize, streams: usize) -> Bounds {
        Bounds {
            value: 10,
            values,
            streams,
            tenants: 2,
            overflow: "overflow".to_owned(),
        }
    }

    #[test]
    fn labels_are_what_the_templates_say_and_whatever_stands_in_them_is_escaped() {
        let streams = streams(
            &[("a", "{{ a }}"), ("b", "{{ b }}"), ("s", "fixed")],
            None,
            bounds(9, 9),
        );
        let mut finder = Finder::new(streams);
        let events = events![
            {"a": "x", "b": 7}, {"b": "q\"\\\n\u{7}"}, {"a": "", "b": null}, {"a": "12345678901"}, {"a": "x", "b": 7}
        ];
        let found: Vec<Arc<Stream>> = events
            .iter()
            .map(|event| Arc::clone(finder.find(event).unwrap()))
            .collect();
        let labels: Vec<&str> = found.iter().map(|stream| stream.labels.as_str()).collect();
        assert_eq!(labels[0], r#"{a="x", b="7", s="fixed"}"#);
        assert_eq!(labels[1], r#"{b="q\"\\\n\u0007", s="fixed"}"#);
        assert_eq!(labels[2], r#"{s="fixed"}"#);
        assert_eq!(
            labels[3], r#"{a="overflow", s="fixed"}"#,
            "too long for a label"
        );
        assert_eq!(found[3].overflow, ["a"]);
        assert_eq!(found[0].json, r#"{"a":"x","b":"7","s":"fixed"}"#);
        assert!(Arc::ptr_eq(&found[0], &found[4]));
    }

    #[test]
    fn a_million_values_are_a_bounded_number_of_streams_the_same_for_every_worker() {
        let streams = streams(&[("a", "{{ a }}"), ("b", "{{ b }}")], None, bounds(10, 50));
        let mut finders: Vec<Finder> = (0..3).map(|_| Finder::new(Arc::clone(&streams))).collect();
        let mut random = fastrand::Rng::with_seed(1);
        let mut seen: HashMap<(u32, u32), String> = HashMap::new();
        for _ in 0..20_000 {
            let (a, b) = (random.u32(..1000), random.u32(..20));
            let event = &events![{ "a": a, "b": b }][0];
            let finder = random.choice(&mut finders).unwrap();
            let stream = finder.find(event).unwrap();
            let before = seen.entry((a, b)).or_insert_with(|| stream.labels.clone());
            assert_eq!(*before, stream.labels, "what was decided once stays");
        }
        let labels: HashSet<&String> = seen.values().collect();
        assert!(labels.len() <= 51, "{}", labels.len());
        assert!(labels.contains(&r#"{a="overflow", b="overflow"}"#.to_owned()));
        assert!(finders.iter().all(|finder| finder.known.len() <= 50));
    }

    #[test]
    fn a_tenant_is_a_plain_word_and_there_are_not_too_many() {
        let mut finder = Finder::new(streams(&[("a", "1")], Some("{{ t }}"), bounds(9, 9)));
        let events = events![
            {"t": "one"}, {"t": "a|b"}, {}, {"t": "x\r\nx-evil: 1"}, {"t": "two"}, {"t": "three"}, {"t": ".."}, {"t": "one"}
        ];
        let mut said = Vec::new();
        for event in &events {
            said.push(
                finder
                    .find(event)
                    .map(|stream| stream.tenant.clone().unwrap()),
            );
        }
        assert_eq!(said[0].as_deref(), Ok("one"));
        assert!(matches!(&said[1], Err(NoTenant::Odd(text)) if text == "a|b"));
        assert_eq!(said[2], Err(NoTenant::Absent));
        assert!(matches!(&said[3], Err(NoTenant::Odd(text)) if !text.contains(['\r', '\n'])));
        assert_eq!(said[4].as_deref(), Ok("two"));
        assert_eq!(said[5], Err(NoTenant::TooMany("three".to_owned())));
        // Longer than `bounds.value` would be absent from a label, and must not be another tenant.
        assert!(said[6].is_err());
        assert_eq!(said[7].as_deref(), Ok("one"));
    }
}
