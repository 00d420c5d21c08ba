//! What an operator may choose, and what is made of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use pipeline::{BuildError, BuildErrors, Bytes, Codec, Compression, Context, Duration, Encoding};
use schemars::JsonSchema;
use serde::Deserialize;

use super::body::{Body, Form, Metadata};
use super::streams::{Bounds, Finder, Streams};
use super::template::Template;
use super::{Config, Loki, Times};
use crate::compress::Compressor;
use crate::encode::{LineEncoder, Reader};

/// How a push looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// Protobuf in snappy, Loki's own.
    #[default]
    Protobuf,
    /// JSON, for proxies that understand nothing else.
    Json,
}

/// What becomes of an event whose time the server would refuse: too old, too far behind the latest of its stream, or too
/// far in the future.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OldEvents {
    /// It goes under the time of sending; its true time stands in the structured metadata, as `event_time`.
    #[default]
    Restamp,
    /// It goes to the dead letters.
    Dlq,
    /// It is sent as it is; what the server refuses goes to the dead letters.
    Accept,
}

/// `limits = { … }`: what the server allows, and how many streams there may be.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Longest line (`max_line_size`); a longer one goes to the dead letters.
    pub max_line_size: Bytes,
    /// Most labels of a stream (`max_label_names_per_series`).
    pub max_label_names: usize,
    /// Longest name of a label (`max_label_name_length`).
    pub max_label_name: Bytes,
    /// Longest value of a label (`max_label_value_length`); a longer one becomes `overflow`.
    pub max_label_value: Bytes,
    /// Most structured metadata of one event (`max_structured_metadata_size`); what finds no room stands in the line.
    pub max_metadata_size: Bytes,
    /// Most pieces of it (`max_structured_metadata_entries_count`); 0 for a server that takes none.
    pub max_metadata_entries: usize,
    /// How old an event may be (`reject_old_samples_max_age`).
    pub max_age: Duration,
    /// How far in the future it may be (`creation_grace_period`).
    pub max_future: Duration,
    /// How far behind the latest event of its stream (half of `max_chunk_age`).
    pub max_behind: Duration,
    /// Largest push, before compression; the server takes 4 MiB.
    pub max_push_size: Bytes,
    /// Most values of one label; further ones become `overflow`.
    pub max_label_values: usize,
    /// Most streams; further ones become one, in which every label that comes from events is `overflow`.
    pub max_streams: usize,
    /// Most tenants; events of further ones go to the dead letters.
    pub max_tenants: usize,
    /// The value of a label in place of one that is too long or one too many.
    pub overflow: String,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_line_size: Bytes::kib(256),
            max_label_names: 15,
            max_label_name: Bytes::kib(1),
            max_label_value: Bytes::kib(2),
            max_metadata_size: Bytes::kib(64),
            max_metadata_entries: 128,
            max_age: Duration::from_secs(7 * 86_400),
            max_future: Duration::from_secs(600),
            max_behind: Duration::from_secs(3600),
            max_push_size: Bytes::mib(1),
            max_label_values: 100,
            max_streams: 1000,
            max_tenants: 100,
            overflow: "overflow".to_owned(),
        }
    }
}

/// Labels unless the operator says otherwise. All have some tens of values.
pub(super) const LABELS: [(&str, &str); 7] = [
    ("cluster", "{{ orchestrator.cluster.name }}"),
    ("node", "{{ host.name }}"),
    ("dataset", "{{ event.dataset }}"),
    ("severity", "{{ event.severity }}"),
    ("outcome", "{{ event.outcome }}"),
    ("code_family", "{{ code_family }}"),
    // Every stream has at least one label by this.
    ("service_name", "pvetrail"),
];

/// Structured metadata unless the operator says otherwise: what people search for and what has too many values for a label.
const METADATA: [(&str, &str); 7] = [
    ("event_id", "{{ event.id }}"),
    ("code", "{{ event.code }}"),
    ("action", "{{ event.action }}"),
    ("user", "{{ user.id }}"),
    ("source_ip", "{{ source.ip }}"),
    ("vmid", "{{ pve.vmid }}"),
    ("upid", "{{ pve.task.upid }}"),
];

/// Fields with many values, each with what lies below it.
const MANY: &str = "@timestamp agent.id client destination error event.created event.duration event.end event.hash event.id \
    event.original event.reason event.start group.name http.request http.response.body log.file.path log.offset log.source \
    log.syslog.msgid log.syslog.procid log.syslog.structured_data message process.args process.command_line process.pid \
    pve.changes pve.links pve.object pve.params pve.raw_b64 pve.source pve.task pve.token pve.vmid related source trace url \
    user user_agent";
/// But for these.
const FEW: &str = "http.request.method pve.object.type pve.source.attribution pve.source.via pve.task.phase \
    pve.task.result pve.task.type user.domain";

/// Whether a field has too many values for a label.
fn has_many_values(path: &str) -> bool {
    let below = |upper: &str| {
        path.strip_prefix(upper)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    MANY.split_whitespace().any(below) && !FEW.split_whitespace().any(|few| few == path)
}

/// Names both sides take as they are.
fn is_name(name: &str) -> bool {
    let first = |c: char| c.is_ascii_alphabetic() || c == '_';
    name.starts_with(first) && name.chars().all(|c| first(c) || c.is_ascii_digit())
}

/// Options or their defaults, by name, read as templates.
fn templates(
    key: &str,
    given: Option<&BTreeMap<String, String>>,
    defaults: &[(&str, &str)],
    errors: &mut BuildErrors,
) -> Vec<(String, Template)> {
    let owned = |(name, text): &(&str, &str)| ((*name).to_owned(), (*text).to_owned());
    let all: Vec<(String, String)> = match given {
        Some(given) => given.iter().map(|(n, t)| (n.clone(), t.clone())).collect(),
        None => defaults.iter().map(owned).collect(),
    };
    let mut read = Vec::with_capacity(all.len());
    for (name, text) in all {
        let path = format!("{key}.{name}");
        if !is_name(&name) {
            errors.push(
                BuildError::key(path, format!("`{name}` is no name that Loki takes"))
                    .help("a name has letters, digits and `_`, and starts with no digit"),
            );
            continue;
        }
        match Template::parse(&text) {
            Ok(template) => read.push((name, template)),
            Err((range, why)) => {
                let rest = text.get(range).unwrap_or_default();
                errors.push(
                    BuildError::key(path, format!("{why} (at `{rest}`)"))
                        .help("write it like `{{ host.name }}` or `{{ user.domain:-none }}`"),
                );
            }
        }
    }
    read
}

impl Config {
    fn labels(&self, errors: &mut BuildErrors) -> Vec<(String, Template)> {
        let limits = &self.limits;
        let mut labels = templates("labels", self.labels.as_ref(), &LABELS, errors);
        labels.sort_by(|(a, _), (b, _)| a.cmp(b));
        if labels.len() > limits.max_label_names {
            let why = format!(
                "{} labels, and Loki takes {}",
                labels.len(),
                limits.max_label_names
            );
            errors.push(
                BuildError::key("labels", why)
                    .help("put some into `structured_metadata`, or raise `limits.max_label_names` with the server's"),
            );
        }
        for (name, template) in &labels {
            let path = format!("labels.{name}");
            if name.starts_with("__") {
                errors.push(BuildError::key(
                    path.clone(),
                    "names that start with `__` are Loki's own",
                ));
            }
            if name.len() > limits.max_label_name.as_usize() {
                errors.push(BuildError::key(
                    path.clone(),
                    format!("is longer than {}", limits.max_label_name),
                ));
            }
            for field in template
                .fields()
                .filter(|field| has_many_values(field.path()))
            {
                let field = field.path();
                let why = format!(
                    "`{field}` has too many values for a label: each would be a stream of its own"
                );
                errors.push(BuildError::key(path.clone(), why).help(format!(
                    "write structured_metadata = {{ {name} = \"{{{{ {field} }}}}\" }} and search by `| {name}=\"…\"`"
                )));
            }
        }
        labels
    }

    /// The streams of this sink: one table for all of its workers, made when it is first asked for.
    fn streams(&self, cx: &Context) -> Result<Arc<Streams>, BuildErrors> {
        let mut errors = BuildErrors::new();
        let limits = &self.limits;
        let mut labels = self.labels(&mut errors);
        if self.labels.is_none()
            && let Some(cluster) = cx.cluster()
            && let Some((_, template)) = labels.iter_mut().find(|(name, _)| name == "cluster")
        {
            // What no event says yet, the operator has said for all of them.
            let cluster: String = cluster.chars().filter(|c| !"{}".contains(*c)).collect();
            let text = format!("{{{{ orchestrator.cluster.name:-{cluster} }}}}");
            if let Ok(read) = Template::parse(&text) {
                *template = read;
            }
        }
        let tenant = self.tenant_id.as_ref().and_then(|text| {
            let wrong = |(_, why)| BuildError::key("tenant_id", why);
            errors.take(Template::parse(text).map_err(wrong))
        });
        if limits.overflow.is_empty() || limits.overflow.len() > limits.max_label_value.as_usize() {
            errors.push(BuildError::key(
                "limits.overflow",
                "is a word that fits into a label",
            ));
        }
        let bounds = Bounds {
            value: limits.max_label_value.as_usize(),
            values: limits.max_label_values,
            streams: limits.max_streams,
            tenants: limits.max_tenants,
            overflow: limits.overflow.clone(),
        };
        let streams = errors.finish(()).map(|()| {
            self.streams
                .get_or_init(|| Arc::new(Streams::new(labels, tenant, bounds)))
        })?;
        Ok(Arc::clone(streams))
    }

    fn metadata(&self, errors: &mut BuildErrors) -> Metadata {
        let limits = &self.limits;
        let key = "structured_metadata";
        let mut entries = templates(key, self.structured_metadata.as_ref(), &METADATA, errors);
        // Who is searched for by anything is found by its id, whatever else was chosen.
        let (name, text) = METADATA[0];
        if let (None, Ok(template)) = (
            entries.iter().position(|(n, _)| n == name),
            Template::parse(text),
        ) {
            entries.insert(0, (name.to_owned(), template));
        }
        // The true time has its place too.
        if limits.max_metadata_entries == 0 {
            entries.clear();
        } else if entries.len() >= limits.max_metadata_entries {
            let why = format!(
                "{} pieces, `event_id` and `event_time` included, and Loki takes {}",
                entries.len() + 1,
                limits.max_metadata_entries
            );
            errors.push(
                BuildError::key(key, why).help(
                    "take some out, or raise `limits.max_metadata_entries` with the server's",
                ),
            );
        }
        Metadata {
            entries,
            most: limits.max_metadata_size.as_usize(),
            event_time: limits.max_metadata_entries > 0,
        }
    }

    fn form(&self, errors: &mut BuildErrors) -> Form {
        let mut wrong = |why: &str, help: &str| {
            errors.push(BuildError::key("compression", why).help(help));
        };
        match (self.format, self.compression) {
            (Format::Protobuf, Some(_)) => wrong(
                "protobuf is always in snappy",
                "leave it out, or write format = \"json\"",
            ),
            (Format::Json, Some(Compression::Zstd)) => {
                wrong("Loki takes gzip, not zstd", "write compression = \"gzip\"")
            }
            _ => {}
        }
        if self.format == Format::Protobuf {
            return Form::Protobuf(Box::new(snap::raw::Encoder::new()));
        }
        let compression = self.compression.unwrap_or(Compression::Gzip);
        let compressor = errors.take(Compressor::new(compression, None));
        Form::Json(compressor.unwrap_or_default())
    }

    fn body(&self, errors: &mut BuildErrors) -> Body {
        let encoding = Encoding {
            except_fields: self
                .encoding
                .except_fields
                .clone()
                .or_else(|| Some(vec!["event.original".to_owned()])),
            ..self.encoding.clone()
        };
        if !matches!(encoding.codec, Codec::Json | Codec::Logfmt | Codec::Text) {
            let why = "a line of Loki is `json`, `logfmt` or `text`";
            errors.push(BuildError::key("encoding.codec", why).help("leave it out for json"));
        }
        let whole = Encoding {
            codec: Codec::Json,
            only_fields: None,
            ..encoding.clone()
        };
        let lines = LineEncoder::new(&encoding, Reader::default());
        let spare = LineEncoder::new(&whole, Reader::default());
        let (form, metadata) = (self.form(errors), self.metadata(errors));
        let most_line = self.limits.max_line_size.as_usize();
        Body::new(form, (lines, spare), metadata, most_line)
    }

    /// What tells the workers apart.
    pub(super) fn finder(&self, cx: &Context) -> Result<Finder, BuildErrors> {
        self.streams(cx).map(Finder::new)
    }

    pub(super) fn make(&self, cx: &Context) -> Result<Loki, BuildErrors> {
        let mut errors = BuildErrors::new();
        let finder = errors.take(self.finder(cx));
        let body = self.body(&mut errors);
        let http = errors.take(cx.http(&self.tls, self.auth.as_ref()));
        let limits = &self.limits;
        for (key, size) in [
            ("limits.max_line_size", limits.max_line_size),
            ("limits.max_push_size", limits.max_push_size),
        ] {
            if size.get() == 0 || size.get() > 128 << 20 {
                errors.push(BuildError::key(key, "is between 1 B and 128 MiB"));
            }
        }
        let (Some(finder), Some(http)) = (finder, http) else {
            return Err(errors);
        };
        let here = self.endpoint.path_and_query();
        let push = self.path.trim_matches('/');
        let url = match here.trim_matches('/').ends_with(push) {
            true => self.endpoint.clone(),
            false => self.endpoint.join(push),
        };
        let ready = match here.trim_matches('/').ends_with(push) {
            true => None,
            false => Some(self.endpoint.join("ready")),
        };
        errors.finish(Loki {
            url,
            ready,
            http,
            finder,
            body,
            old_events: self.old_events,
            times: Times {
                age: limits.max_age.get(),
                future: limits.max_future.get(),
                behind: limits.max_behind.get(),
            },
            limit: limits.max_push_size.as_usize(),
            most: limits.max_push_size.as_usize(),
            proven: Arc::clone(&self.proven),
            groups: Vec::new(),
            places: Vec::new(),
            metrics: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_allowed_and_what_has_many_values_is_not() {
        for (name, text) in LABELS {
            let template = Template::parse(text).unwrap();
            assert!(
                !template.fields().any(|field| has_many_values(field.path())),
                "{name}"
            );
        }
        for path in [
            "user.id",
            "user",
            "pve.vmid",
            "source.ip",
            "source.geo.city",
            "pve.task.upid",
            "event.id",
            "message",
        ] {
            assert!(has_many_values(path), "{path}");
        }
        for path in [
            "user.domain",
            "userspace",
            "pve.task.type",
            "event.code",
            "event.action",
            "process.name",
        ] {
            assert!(!has_many_values(path), "{path}");
        }
    }
}
