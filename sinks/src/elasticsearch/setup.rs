//! `setup elasticsearch`: mappings, index templates and a lifecycle policy, put where the sink writes.
//!
//! It can run again and again: each thing is put under one name, and what is there of ours is replaced. The files are
//! `configs/setup/elasticsearch/*.json`, written for Elasticsearch; what OpenSearch calls otherwise is renamed here.

use pipeline::net::Url;
use pipeline::{BuildErrors, Context, Reason, ReasonKind};
use serde_json::{Value, json};

use super::endpoints::{Pool, Server};
use super::send::excerpt;
use super::trouble::Trouble;
use super::{Config, Mode};
use crate::template::Template;

const MAPPINGS: &str = include_str!("../../../configs/setup/elasticsearch/mappings.json");
const SETTINGS: &str = include_str!("../../../configs/setup/elasticsearch/settings.json");
const ILM: (&str, &str) = (
    include_str!("../../../configs/setup/elasticsearch/ilm-monthly.json"),
    include_str!("../../../configs/setup/elasticsearch/ilm-data-stream.json"),
);
const ISM: (&str, &str) = (
    include_str!("../../../configs/setup/elasticsearch/ism-monthly.json"),
    include_str!("../../../configs/setup/elasticsearch/ism-data-stream.json"),
);

/// What the names of all of it begin with.
const NAME: &str = "pvetrail";

/// Above the templates that come with the servers (`logs-*-*` has 100).
const PRIORITY: u32 = 250;

/// One thing that is put, and what became of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// What it is, for people: `index template pvetrail-audit for pve-audit-*`.
    pub what: String,
    /// `PUT`.
    pub method: &'static str,
    /// Path below the server's address.
    pub path: String,
    /// What is sent.
    pub body: Value,
    /// `created`, `updated`, `left out: …`; nothing where it was only shown.
    pub outcome: Option<String>,
}

/// What was done, and on what.
#[derive(Clone, Debug, PartialEq)]
pub struct Setup {
    /// Like `OpenSearch 2.19.4 at http://127.0.0.1:9200`, or that it does not answer.
    pub server: String,
    /// In order.
    pub steps: Vec<Step>,
}

/// Puts everything, or, with `dry_run`, only says what would be put. Without a server a dry run shows what
/// Elasticsearch would get.
pub async fn setup(config: &Config, cx: &Context, dry_run: bool) -> Result<Setup, SetupError> {
    let names = config.names()?;
    let pool = Pool::new(
        cx.http(&config.tls, config.auth.as_ref())?,
        config.endpoints.clone(),
        |root| root.clone(),
    );
    if pool.len() == 0 {
        return Err(SetupError::Server(Reason::new(
            ReasonKind::Missing,
            "`endpoints` is empty",
        )));
    }
    let (place, server) = match find(&pool).await {
        Ok(found) => found,
        Err(why) if dry_run => {
            let server = Server {
                opensearch: false,
                version: "8".to_owned(),
            };
            let steps = plan(config, &names.audit, &names.alert, &server, true);
            return Ok(Setup {
                server: format!("no server ({why}); for Elasticsearch 8"),
                steps,
            });
        }
        Err(why) => return Err(SetupError::Server(why)),
    };
    let root = pool.root(place).clone();
    let name = if server.opensearch {
        "OpenSearch"
    } else {
        "Elasticsearch"
    };
    let shown = format!("{name} {} at {}", server.version, root.origin());
    if dry_run {
        return Ok(Setup {
            server: shown,
            steps: plan(config, &names.audit, &names.alert, &server, true),
        });
    }
    let client = Client { pool: &pool, root };
    let mut done = Vec::new();
    // The policy first, because templates name it; whether there is a lifecycle API shows here.
    let mut policy = lifecycle(config, &names.audit, &names.alert, &server);
    let (outcome, usable) = client.put_policy(&policy, server.opensearch).await?;
    policy.outcome = Some(outcome);
    done.push(policy);
    for mut step in plan(config, &names.audit, &names.alert, &server, usable).split_off(1) {
        step.outcome = Some(client.put(&mut step).await?);
        done.push(step);
    }
    Ok(Setup {
        server: shown,
        steps: done,
    })
}

/// Why nothing, or not all, was put.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The configuration cannot work.
    #[error("{0}")]
    Config(#[from] BuildErrors),
    /// The server does not answer or refuses.
    #[error("{}", .0.text)]
    Server(Reason),
}

async fn find(pool: &std::sync::Arc<Pool>) -> Result<(usize, Server), Reason> {
    let mut last = Reason::new(ReasonKind::Missing, "no endpoint");
    for place in 0..pool.len() {
        let origin = pool.root(place).origin();
        last = match pool.ask(place).await {
            Ok((200, Some(server))) => return Ok((place, server)),
            Ok((401 | 403, _)) => Reason::new(
                ReasonKind::Forbidden,
                format!(
                    "{origin} refuses these credentials; setting up takes more rights than writing"
                ),
            ),
            Ok((status, _)) => Reason::new(
                ReasonKind::Nonsense,
                format!("{origin} answered {status} and is no search server"),
            ),
            Err(why) => why.reason(),
        };
    }
    Err(last)
}

/// All steps, the policy first.
fn plan(
    config: &Config,
    audit: &Template,
    alert: &Template,
    server: &Server,
    lifecycle_api: bool,
) -> Vec<Step> {
    let mut steps = vec![lifecycle(config, audit, alert, server)];
    let mut mappings = parsed(MAPPINGS);
    if server.opensearch {
        for_opensearch(&mut mappings);
    }
    steps.push(Step {
        what: "mappings of audit events".to_owned(),
        method: "PUT",
        path: format!("_component_template/{NAME}-mappings"),
        body: json!({ "template": { "mappings": mappings }, "_meta": { "managed_by": NAME } }),
        outcome: None,
    });
    let mut wanted = vec![audit];
    if pattern(alert) != pattern(audit) {
        wanted.push(alert);
    }
    for template in wanted {
        let pattern = pattern(template);
        let mut settings = parsed(SETTINGS);
        if !server.opensearch {
            if lifecycle_api {
                settings["index"]["lifecycle"] = json!({ "name": policy_name(config.mode) });
            }
            // Fields beyond the limit are kept unsearchable instead of refusing the event.
            if at_least(server, 8, 14) {
                settings["index"]["mapping"]["total_fields"]["ignore_dynamic_beyond_limit"] =
                    json!(true);
            }
        }
        let mut body = json!({
            "index_patterns": [pattern],
            "priority": PRIORITY,
            "composed_of": [format!("{NAME}-mappings")],
            "template": { "settings": settings },
            "_meta": { "managed_by": NAME },
        });
        if config.mode == Mode::DataStream {
            body["data_stream"] = json!({});
        }
        steps.push(Step {
            what: format!("template of {pattern}"),
            method: "PUT",
            path: format!(
                "_index_template/{NAME}-{}",
                template.prefix().trim_end_matches(['-', '.'])
            ),
            body,
            outcome: None,
        });
    }
    steps
}

fn lifecycle(config: &Config, audit: &Template, alert: &Template, server: &Server) -> Step {
    let files = if server.opensearch { ISM } else { ILM };
    let (file, after) = match config.mode {
        Mode::Bulk => (files.0, "123 days after an index was made"),
        Mode::DataStream => (files.1, "92 days after a roll-over"),
    };
    let mut body = parsed(file);
    let path = if server.opensearch {
        let mut patterns = vec![pattern(audit), pattern(alert)];
        patterns.dedup();
        body["policy"]["ism_template"][0]["index_patterns"] = json!(patterns);
        format!("_plugins/_ism/policies/{}", policy_name(config.mode))
    } else {
        format!("_ilm/policy/{}", policy_name(config.mode))
    };
    Step {
        what: format!("lifecycle policy, deletes {after}"),
        method: "PUT",
        path,
        body,
        outcome: None,
    }
}

fn policy_name(mode: Mode) -> &'static str {
    match mode {
        Mode::Bulk => "pvetrail-monthly",
        Mode::DataStream => "pvetrail-data-stream",
    }
}

/// `pve-audit-*`, or the name itself where it never changes.
fn pattern(template: &Template) -> String {
    let prefix = template.prefix();
    if template.is_fixed() {
        prefix.to_owned()
    } else {
        format!("{prefix}*")
    }
}

fn at_least(server: &Server, major: u32, minor: u32) -> bool {
    let mut numbers = server
        .version
        .split('.')
        .map(|n| n.parse::<u32>().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (major, minor)
}

fn parsed(file: &str) -> Value {
    serde_json::from_str(file)
        .expect("the files of configs/setup/elasticsearch are JSON, a test reads them")
}

/// Types that OpenSearch has under another name, or not at all.
fn for_opensearch(mappings: &mut Value) {
    rename_types(
        mappings,
        &[("flattened", "flat_object"), ("match_only_text", "text")],
    );
}

fn rename_types(value: &mut Value, names: &[(&str, &str)]) {
    match value {
        Value::Object(map) => {
            let kind = map.get("type").and_then(Value::as_str);
            if let Some((_, new)) = names.iter().find(|(old, _)| Some(*old) == kind) {
                map.insert("type".to_owned(), json!(new));
                if *new == "flat_object" {
                    // It knows no limit of its own.
                    map.remove("ignore_above");
                }
            }
            map.values_mut()
                .for_each(|value| rename_types(value, names));
        }
        Value::Array(list) => list.iter_mut().for_each(|value| rename_types(value, names)),
        _ => {}
    }
}

struct Client<'a> {
    pool: &'a Pool,
    root: Url,
}

impl Client<'_> {
    async fn call(
        &self,
        method: &'static str,
        url: &Url,
        body: Option<&Value>,
    ) -> Result<(u16, Vec<u8>), SetupError> {
        let text = body.map(Value::to_string).unwrap_or_default();
        let mut request = self.pool.http().request(method, url);
        if body.is_some() {
            request = request.body("application/json", text.as_bytes());
        }
        let answer = request
            .send()
            .await
            .map_err(|why| SetupError::Server(why.reason()))?;
        let status = answer.status();
        let said = answer
            .bytes(1 << 20)
            .await
            .map_err(|why| SetupError::Server(why.reason()))?;
        Ok((status, said))
    }

    async fn put(&self, step: &mut Step) -> Result<String, SetupError> {
        let url = self.root.join(&step.path);
        let (before, _) = self.call("GET", &url, None).await?;
        let done = if before == 404 { "created" } else { "updated" };
        let (status, said) = self.call(step.method, &url, Some(&step.body)).await?;
        if matches!(status, 200 | 201) {
            return Ok(done.to_owned());
        }
        // A build without the module that has this type; `text` finds the same, and takes more room.
        if status == 400 && memchr::memmem::find(&said, b"[match_only_text]").is_some() {
            rename_types(&mut step.body, &[("match_only_text", "text")]);
            let (status, said) = self.call(step.method, &url, Some(&step.body)).await?;
            if matches!(status, 200 | 201) {
                return Ok(format!(
                    "{done}, with `text` because this server has no `match_only_text`"
                ));
            }
            return Err(refused(step.method, &url, status, &said));
        }
        Err(refused(step.method, &url, status, &said))
    }

    /// Also says whether there is a policy now that templates can name.
    async fn put_policy(
        &self,
        step: &Step,
        opensearch: bool,
    ) -> Result<(String, bool), SetupError> {
        let mut url = self.root.join(&step.path);
        let (before, said) = self.call("GET", &url, None).await?;
        if opensearch && before == 200 {
            // It replaces a policy only for one who has seen it.
            let seen: Value = serde_json::from_slice(&said).unwrap_or_default();
            for key in ["if_seq_no", "if_primary_term"] {
                let value = &seen[&key.replace("if", "")];
                url = url.with(key, &value.to_string());
            }
        }
        let (status, said) = self.call(step.method, &url, Some(&step.body)).await?;
        match status {
            200 | 201 => Ok((
                if before == 200 { "updated" } else { "created" }.to_owned(),
                true,
            )),
            // Builds without the lifecycle module, and hosted ones that keep it to themselves.
            400 | 404 | 405 | 410 if before != 200 && !is_about_the_policy(&said) => Ok((
                format!("left out: this server has no lifecycle API ({status})"),
                false,
            )),
            _ => Err(refused(step.method, &url, status, &said)),
        }
    }
}

fn refused(method: &str, url: &Url, status: u16, said: &[u8]) -> SetupError {
    let said = Trouble::of_answer(said).map_or_else(|| excerpt(said), |trouble| trouble.text);
    let text = format!("{method} {}: {status}: {said}", url.path_and_query());
    let kind = if matches!(status, 401 | 403) {
        ReasonKind::Forbidden
    } else {
        ReasonKind::Rejected
    };
    SetupError::Server(Reason::new(kind, text))
}

/// Whether a refusal means the policy itself: then it is an error, not a missing API.
fn is_about_the_policy(said: &[u8]) -> bool {
    let text = String::from_utf8_lossy(said);
    !(text.contains("no handler found")
        || text.contains("Incorrect HTTP method")
        || text.contains("invalid index name")
        || text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaves(value: &Value, path: &str, out: &mut Vec<(String, Value)>) {
        let Some(properties) = value.get("properties").and_then(Value::as_object) else {
            return;
        };
        for (name, field) in properties {
            let path = if path.is_empty() {
                name.clone()
            } else {
                format!("{path}.{name}")
            };
            if field.get("properties").is_some() {
                leaves(field, &path, out);
            } else {
                out.push((path, field.clone()));
            }
        }
    }

    #[test]
    fn the_mapping_is_that_of_the_schema() {
        let mappings = parsed(MAPPINGS);
        let mut fields = Vec::new();
        leaves(&mappings, "", &mut fields);
        assert!(
            (110..=170).contains(&fields.len()),
            "{} fields",
            fields.len()
        );
        let kind = |path: &str| {
            let (_, field) = fields
                .iter()
                .find(|(p, _)| p == path)
                .unwrap_or_else(|| panic!("{path} is mapped"));
            field["type"].as_str().unwrap().to_owned()
        };
        for (path, expected) in [
            ("@timestamp", "date"),
            ("event.id", "keyword"),
            ("event.code", "keyword"),
            ("event.severity", "long"),
            ("event.duration", "long"),
            ("message", "match_only_text"),
            ("user.target.id", "keyword"),
            ("source.ip", "ip"),
            ("pve.source.candidates", "ip"),
            ("pve.vmid", "long"),
            ("pve.params", "flattened"),
            ("pve.changes.old", "keyword"),
            ("http.response.status_code", "long"),
            ("related.ip", "ip"),
            ("pve.task.upid", "keyword"),
            ("log.offset", "long"),
            ("process.pid", "long"),
            ("pve.truncated", "boolean"),
            ("orchestrator.cluster.name", "keyword"),
        ] {
            assert_eq!(kind(path), expected, "{path}");
        }
        let pve = &mappings["properties"]["pve"];
        assert_eq!(pve["dynamic"], json!(false));
        assert_eq!(pve["properties"]["changes"]["type"], "nested");
        let original = &mappings["properties"]["event"]["properties"]["original"];
        assert_eq!(original["index"], json!(false));
    }

    #[test]
    fn opensearch_gets_types_that_it_knows() {
        let mut mappings = parsed(MAPPINGS);
        for_opensearch(&mut mappings);
        let text = mappings.to_string();
        assert!(!text.contains("flattened") && !text.contains("match_only_text"));
        assert!(text.contains("flat_object"));
    }

    #[test]
    fn all_files_are_json() {
        for file in [MAPPINGS, SETTINGS, ILM.0, ILM.1, ISM.0, ISM.1] {
            parsed(file);
        }
    }
}
