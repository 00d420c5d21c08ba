//! What an operator may choose, and what is made of it.

use std::collections::BTreeMap;

use pipeline::net::Signer;
use pipeline::{BuildError, BuildErrors, Context, Duration, Field, JsonWriter, Spanned, fields};
use schemars::JsonSchema;
use serde::Deserialize;

use super::alertmanager::Alerts;
use super::form::Form;
use super::slack::Slack;
use super::template::Template;
use super::{Config, MAX_BODY, Webhook};
use crate::compress::Compressor;

/// The method of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// POST.
    #[default]
    Post,
    /// PUT.
    Put,
}

/// The form of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Codec {
    /// A JSON array of all events of a batch.
    #[default]
    Json,
    /// One JSON object a line.
    Ndjson,
    /// As `template` says.
    Template,
    /// A message for Slack's incoming webhooks, and for what takes the same (Mattermost, Rocket.Chat).
    Slack,
    /// Alerts for Alertmanager's `/api/v2/alerts`.
    Alertmanager,
}

/// `encoding = { … }`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Encoding {
    /// The form of a request.
    pub codec: Codec,
    /// `json`, `ndjson`: only these fields, by their dotted path; a parent names its children. `@timestamp` and `event.id`
    /// always are.
    pub only_fields: Option<Vec<String>>,
    /// `json`, `ndjson`: all but these fields.
    pub except_fields: Option<Vec<String>>,
    /// `template`: the body, in the language of Jinja. `event` is the event, and each goes by a request of its own; or
    /// `events` is the list of all events of a batch. A field is `event.user.name` or `event["user.name"]`; one that an
    /// event lacks is an error of that event, unless the template asks first: `event["source.ip"] | default("nowhere")`,
    /// `{% if event["source.ip"] is defined %}`. Where the body is JSON a value is written as JSON, and inside a string of
    /// the template as a part of that string: no text of an event ends what the template began.
    pub template: Option<Spanned<String>>,
    /// `template`: the `Content-Type`, which also decides how values are escaped: as JSON, HTML or XML, a form's fields, or
    /// not at all. JSON where it is not said.
    pub content_type: Option<String>,
    /// `alertmanager`: labels by name, each the value of a field, beside `alertname`; they are what Alertmanager tells
    /// alerts apart by, so they must be the same while an alert stands. Where it is not said: `rule_id`, `alert_id` (the
    /// event's own id where it is no alert), `severity`, `cluster`.
    pub labels: Option<BTreeMap<String, String>>,
    /// `alertmanager`: annotations by name, likewise. Where it is not said: `summary`, `description`, `reason`, `node`,
    /// `user`, `object`, `address`, `event_id`.
    pub annotations: Option<BTreeMap<String, String>>,
    /// `alertmanager`: how long an alert stands that nobody resolves; 24 h where it is not said.
    pub stands_for: Option<Duration>,
}

impl Encoding {
    /// A key that the chosen form has no use for is a mistake, not a wish to be ignored.
    fn unused(&self, errors: &mut BuildErrors) {
        let json = matches!(self.codec, Codec::Json | Codec::Ndjson);
        let template = self.codec == Codec::Template;
        let alerts = self.codec == Codec::Alertmanager;
        let keys = [
            (
                "only_fields",
                self.only_fields.is_some(),
                json,
                "`json` and `ndjson`",
            ),
            (
                "except_fields",
                self.except_fields.is_some(),
                json,
                "`json` and `ndjson`",
            ),
            ("template", self.template.is_some(), template, "`template`"),
            (
                "content_type",
                self.content_type.is_some(),
                template,
                "`template`",
            ),
            ("labels", self.labels.is_some(), alerts, "`alertmanager`"),
            (
                "annotations",
                self.annotations.is_some(),
                alerts,
                "`alertmanager`",
            ),
            (
                "stands_for",
                self.stands_for.is_some(),
                alerts,
                "`alertmanager`",
            ),
        ];
        for (key, said, used, by) in keys {
            if said && !used {
                errors.push(BuildError::key(
                    format!("encoding.{key}"),
                    format!("is for the codec {by}"),
                ));
            }
        }
    }

    fn writer(&self) -> JsonWriter {
        let always = [fields::TIMESTAMP, fields::EVENT_ID];
        let paths =
            |list: &Vec<String>| list.iter().map(|path| Field::new(path)).collect::<Vec<_>>();
        let only = self.only_fields.as_ref().map(|list| {
            let mut only = paths(list);
            only.extend(always);
            only
        });
        let except = self.except_fields.as_ref().map(|list| {
            let mut except = paths(list);
            except.retain(|field| !always.contains(field));
            except
        });
        JsonWriter::new(only.as_deref(), except.as_deref())
    }

    fn form(&self) -> Result<Form, BuildErrors> {
        let mut errors = BuildErrors::new();
        self.unused(&mut errors);
        let form = match self.codec {
            Codec::Json => Some(Form::Json(self.writer())),
            Codec::Ndjson => Some(Form::Ndjson(self.writer())),
            Codec::Slack => Some(Form::Slack(Slack::default())),
            Codec::Alertmanager => errors.take(Alerts::new(self)).map(Form::Alertmanager),
            Codec::Template => match &self.template {
                Some(text) => {
                    let content_type = self.content_type.as_deref();
                    let template = errors.take(Template::new(text, content_type));
                    template.map(|template| Form::Template(Box::new(template)))
                }
                None => {
                    let why = "the codec `template` needs it";
                    errors.push(
                        BuildError::key("encoding.template", why)
                            .help(r#"like `template = '{"text": {{ event.message }}}'`"#),
                    );
                    None
                }
            },
        };
        match form {
            Some(form) => errors.finish(form),
            None => Err(errors),
        }
    }
}

impl Config {
    pub(super) fn make(&self, cx: &Context) -> Result<Webhook, BuildErrors> {
        let mut errors = BuildErrors::new();
        let http = errors.take(cx.http(&self.tls, self.auth.as_ref()));
        let form = errors.take(self.encoding.form());
        let compressor = errors.take(Compressor::new(self.compression, self.compression_level));
        let signer = errors.take(self.sign.as_ref().map(Signer::new).transpose());
        let taken = |name: &str| {
            cx.request()
                .headers
                .keys()
                .any(|k| k.eq_ignore_ascii_case(name))
        };
        for name in ["Idempotency-Key", "Content-Type"] {
            if taken(name) {
                let help = if name == "Content-Type" {
                    "the codec decides; for `template` write `encoding.content_type`"
                } else {
                    "it is made of the ids of the events"
                };
                let key = format!("request.headers.{name}");
                errors.push(BuildError::key(key, "is set by the sink").help(help));
            }
        }
        if let Some(sign) = &self.sign
            && taken(&sign.header)
        {
            errors.push(BuildError::key(
                "sign.header",
                "`request.headers` sets it too",
            ));
        }
        let (Some(http), Some(form), Some(compressor), Some(signer)) =
            (http, form, compressor, signer)
        else {
            return Err(errors);
        };
        errors.finish(Webhook {
            uri: self.uri.clone(),
            method: match self.method {
                Method::Post => "POST",
                Method::Put => "PUT",
            },
            http,
            form,
            signer,
            compressor,
            body: Vec::new(),
            limit: MAX_BODY,
            limit_until: None,
            metrics: None,
        })
    }
}
