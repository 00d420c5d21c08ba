//! What an operator may choose, and what is made of it.

use pipeline::{BuildError, BuildErrors, Codec, Context, Field, JsonWriter, Url, fields};
use schemars::JsonSchema;
use serde::Deserialize;

use super::body::Encoder;
use super::endpoints::Pool;
use super::index::{self, Action};
use super::{Config, Elasticsearch, MAX_BODY};
use crate::compress::Compressor;
use crate::template::Template;

/// What is asked of the answer, so that it stays small.
const FILTER: &str = "errors,items.*._id,items.*.status,items.*.error,items.*.failure_store";

/// Plain indices, or data streams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// An index by the time of the event: the same event always meets the same index, so nothing is stored twice.
    #[default]
    Bulk,
    /// A data stream. The server refuses a second copy of an event only until the stream rolls over.
    DataStream,
}

/// `bulk = { … }`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Bulk {
    /// Name of the index, `%Y` `%m` `%d` `%H` by the time of the event; `pve-audit-%Y.%m` where it is not said.
    pub index: Option<String>,
    /// Name of the index for alerts (`event.kind` is `alert`); `pve-alert-%Y.%m` beside `pve-audit-%Y.%m`, else that
    /// of all events.
    pub alert_index: Option<String>,
    /// What to do with each document.
    pub action: BulkAction,
}

/// What to do with a document.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BulkAction {
    /// Store it unless its id is there already.
    #[default]
    Create,
    /// Store it over one with the same id.
    Index,
}

/// `data_stream = { … }`: `<type>-<dataset>-<namespace>`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DataStream {
    /// The first part of the name.
    pub r#type: String,
    /// The second; alerts go into the same with `alert` in place of `audit`.
    pub dataset: String,
    /// The third.
    pub namespace: String,
}

impl Default for DataStream {
    fn default() -> Self {
        Self {
            r#type: "logs".to_owned(),
            dataset: "pve.audit".to_owned(),
            namespace: "default".to_owned(),
        }
    }
}

/// The name of the default index, and what stands there for alerts.
const INDEX: (&str, &str) = ("pve-audit-%Y.%m", "pve-alert-%Y.%m");

/// The names events and alerts are written under.
#[derive(Debug)]
pub(super) struct Names {
    pub(super) audit: Template,
    pub(super) alert: Template,
    pub(super) action: BulkAction,
}

impl Config {
    pub(super) fn names(&self) -> Result<Names, BuildErrors> {
        let mut errors = BuildErrors::new();
        let names = match self.mode {
            Mode::Bulk => {
                let mut read = |key: &str, name: &str| match index::template(name) {
                    Ok(template) => Some(template),
                    Err((range, why)) => {
                        let rest = name.get(range.start..).unwrap_or_default();
                        let why = format!("{why} (at `{rest}`)");
                        errors.push(
                            BuildError::key(key, why).help("write it like `pve-audit-%Y.%m`"),
                        );
                        None
                    }
                };
                let index = self.bulk.index.as_deref().unwrap_or(INDEX.0);
                let alert = if index == INDEX.0 { INDEX.1 } else { index };
                let alert = self.bulk.alert_index.as_deref().unwrap_or(alert);
                let audit = read("bulk.index", index);
                let alert = if alert == index {
                    audit.clone()
                } else {
                    read("bulk.alert_index", alert)
                };
                (audit, alert, self.bulk.action)
            }
            Mode::DataStream => {
                let stream = &self.data_stream;
                let mut read = |dataset: &str| {
                    for (key, part) in [
                        ("type", stream.r#type.as_str()),
                        ("dataset", dataset),
                        ("namespace", &stream.namespace),
                    ] {
                        if part.is_empty() || part.contains(['-', '%']) {
                            let why = "a part of a data stream's name is not empty and has no `-` and no `%`";
                            errors.push(BuildError::key(format!("data_stream.{key}"), why));
                            return None;
                        }
                    }
                    let name = [&stream.r#type, dataset, &stream.namespace].join("-");
                    index::template(&name)
                        .map_err(|(_, why)| errors.push(BuildError::key("data_stream", why)))
                        .ok()
                };
                let audit = read(&stream.dataset);
                let alert = if audit.is_some() {
                    read(&stream.dataset.replace("audit", "alert"))
                } else {
                    None
                };
                // A data stream takes nothing else.
                (audit, alert, BulkAction::Create)
            }
        };
        match names {
            (Some(audit), Some(alert), action) => errors.finish(Names {
                audit,
                alert,
                action,
            }),
            _ => Err(errors),
        }
    }

    fn bulk_url(&self, root: &Url) -> Url {
        let mut url = root.join("_bulk").with("filter_path", FILTER);
        if let Some(pipeline) = &self.pipeline {
            url = url.with("pipeline", pipeline);
        }
        for (name, value) in &self.query {
            url = url.with(name, value);
        }
        url
    }

    fn writer(&self) -> JsonWriter {
        let paths =
            |list: &Vec<String>| list.iter().map(|path| Field::new(path)).collect::<Vec<_>>();
        let only = self.encoding.only_fields.as_ref().map(|list| {
            let mut only = paths(list);
            only.push(fields::TIMESTAMP);
            only
        });
        let except = self.encoding.except_fields.as_ref().map(|list| {
            let mut except = paths(list);
            except.retain(|field| *field != fields::TIMESTAMP);
            except
        });
        JsonWriter::new(only.as_deref(), except.as_deref())
    }

    pub(super) fn make(&self, cx: &Context) -> Result<Elasticsearch, BuildErrors> {
        let mut errors = BuildErrors::new();
        if self.endpoints.is_empty() {
            errors.push(
                BuildError::key("endpoints", "is empty")
                    .help("like `endpoints = [\"https://es1:9200\"]`"),
            );
        }
        if self.encoding.codec != Codec::Json {
            errors
                .push(BuildError::key("encoding.codec", "documents are JSON").help("leave it out"));
        }
        let names = errors.take(self.names());
        let http = errors.take(cx.http(&self.tls, self.auth.as_ref()));
        let compressor = errors.take(Compressor::new(self.compression, self.compression_level));
        let (Some(names), Some(http), Some(compressor)) = (names, http, compressor) else {
            return Err(errors);
        };
        let verb = if names.action == BulkAction::Create {
            "create"
        } else {
            "index"
        };
        let encoder = Encoder::new(
            self.writer(),
            Action::new(names.audit, verb),
            Action::new(names.alert, verb),
        );
        errors.finish(Elasticsearch {
            pool: Pool::new(http, self.endpoints.clone(), |root| self.bulk_url(root)),
            encoder,
            compressor,
            create: names.action == BulkAction::Create,
            body: Vec::new(),
            answer: Vec::new(),
            limit: MAX_BODY,
            limit_until: None,
            proven: false,
        })
    }
}
