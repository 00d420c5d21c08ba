//! `setup loki`: looks at the limits of a server and says what must change, there or here, so that nothing is refused.
//!
//! Loki needs nothing installed, and its limits are set in its own configuration, so nothing is written. What it tells of
//! them (`GET /config`) is its whole configuration; limits of single tenants are not in there.

use std::collections::HashMap;
use std::time::Duration;

use pipeline::net::{Http, Url};
use pipeline::{BuildErrors, Context, Reason, ReasonKind};

use super::Config;

/// The longest configuration that is read [bytes]; one has some 100 KiB.
const MAX_CONFIG: usize = 4 << 20;

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setup {
    /// Like `Loki 3.7.8 at http://127.0.0.1:3100`.
    pub server: String,
    /// In no order of importance.
    pub findings: Vec<Finding>,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// It is as it should be.
    Good(String),
    /// It loses nothing, but somebody should know.
    Note(String),
    /// Events would be refused, or stored in another way than they are meant to.
    Change(String),
}

/// Why nothing could be found out.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SetupError {
    /// The configuration does not hold.
    #[error("{0}")]
    Config(BuildErrors),
    /// The server does not answer, or not as Loki does.
    #[error("{0}")]
    Server(Reason),
}

impl From<BuildErrors> for SetupError {
    fn from(errors: BuildErrors) -> Self {
        SetupError::Config(errors)
    }
}

/// Asks the server of this configuration for its limits.
pub async fn setup(config: &Config, cx: &Context) -> Result<Setup, SetupError> {
    let made = config.make(cx)?;
    let push = config.path.trim_matches('/');
    let text = config.endpoint.path_and_query();
    if text.trim_matches('/').ends_with(push) {
        let why = "`endpoint` names the place for pushes alone; write the address of the server, and the rest into `path`";
        return Err(SetupError::Server(Reason::new(ReasonKind::Missing, why)));
    }
    let origin = config.endpoint.origin();
    let told = get(&made.http, &config.endpoint.join("config")).await?;
    let server = Server::read(&told);
    if server.0.is_empty() {
        let why = format!("{origin} does not tell its configuration as Loki does");
        return Err(SetupError::Server(Reason::new(ReasonKind::Nonsense, why)));
    }
    let version = match get(
        &made.http,
        &config.endpoint.join("loki/api/v1/status/buildinfo"),
    )
    .await
    {
        Ok(text) => serde_json::from_str::<serde_json::Value>(&text)
            .ok()
            .and_then(|info| {
                info["version"]
                    .as_str()
                    .map(|v| pipeline::printable(v).into_owned())
            }),
        Err(_) => None,
    };
    let version = version.unwrap_or_else(|| "of an unknown version".to_owned());
    let labels = config
        .labels
        .as_ref()
        .map_or(super::config::LABELS.len(), |labels| labels.len());
    Ok(Setup {
        server: format!("Loki {version} at {origin}"),
        findings: server.compare(config, labels),
    })
}

async fn get(http: &Http, url: &Url) -> Result<String, SetupError> {
    let failed = |kind, text| SetupError::Server(Reason::new(kind, text));
    let answer = http
        .get(url)
        .send()
        .await
        .map_err(|why| SetupError::Server(why.reason()))?;
    let (status, origin) = (answer.status(), url.origin());
    if status != 200 {
        let (kind, path) = (ReasonKind::Server, url.path_and_query().into_owned());
        let text = format!(
            "{origin} answers {status} to GET {path}: {}",
            answer.excerpt(200).await
        );
        return Err(failed(kind, text));
    }
    let bytes = answer
        .bytes(MAX_CONFIG)
        .await
        .map_err(|why| SetupError::Server(why.reason()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// A server's configuration: values by their path, like `limits_config.max_line_size`.
struct Server(HashMap<String, String>);

impl Server {
    /// Reads the YAML that Loki writes: two spaces a level, one `key: value` a line. Lists are not looked at.
    fn read(text: &str) -> Server {
        let mut path: Vec<(usize, String)> = Vec::new();
        let mut values = HashMap::new();
        for line in text.lines() {
            let indent = line.len() - line.trim_start().len();
            let Some((key, value)) = line.trim().split_once(':') else {
                continue;
            };
            if key.starts_with(['-', '#']) {
                continue;
            }
            path.retain(|(deep, _)| *deep < indent);
            path.push((indent, key.to_owned()));
            let value = value.trim().trim_matches('"');
            if !value.is_empty() {
                let names: Vec<&str> = path.iter().map(|(_, name)| name.as_str()).collect();
                values.insert(names.join("."), value.to_owned());
            }
        }
        values.retain(|name, _| {
            name.starts_with("limits_config.") || OTHERS.contains(&name.as_str())
        });
        Server(values)
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    fn compare(&self, config: &Config, labels: usize) -> Vec<Finding> {
        let mut found = Vec::new();
        let ours = &config.limits;
        let metadata = ours.max_metadata_entries > 0;
        let mut most = |name: &str, ours: u64, option: &str, of: fn(&str) -> Option<u64>| {
            let Some(text) = self.text(&format!("limits_config.{name}")) else {
                return;
            };
            // 0 is no limit.
            found.push(match of(text) {
                Some(theirs) if theirs > 0 && theirs < ours => Finding::Change(format!(
                    "{name} is {text} there and more here: raise it in Loki, or lower `limits.{option}`"
                )),
                Some(_) => Finding::Good(format!("{name} = {text}")),
                None => Finding::Note(format!("{name} is `{text}`, which is not understood")),
            });
        };
        most(
            "max_line_size",
            ours.max_line_size.get(),
            "max_line_size",
            size,
        );
        most(
            "max_label_names_per_series",
            labels as u64,
            "max_label_names",
            count,
        );
        most(
            "max_label_value_length",
            ours.max_label_value.get(),
            "max_label_value",
            count,
        );
        most(
            "max_global_streams_per_user",
            ours.max_streams as u64,
            "max_streams",
            count,
        );
        if metadata {
            most(
                "max_structured_metadata_size",
                ours.max_metadata_size.get(),
                "max_metadata_size",
                size,
            );
            most(
                "max_structured_metadata_entries_count",
                ours.max_metadata_entries as u64,
                "max_metadata_entries",
                count,
            );
        }
        let secs = |time: pipeline::Duration| time.get().as_secs();
        if self.text("limits_config.reject_old_samples") == Some("true") {
            most(
                "reject_old_samples_max_age",
                secs(ours.max_age),
                "max_age",
                seconds,
            );
        }
        most(
            "creation_grace_period",
            secs(ours.max_future),
            "max_future",
            seconds,
        );
        self.others(config, &mut found);
        found
    }

    /// What is no limit of the same name on both sides.
    fn others(&self, config: &Config, found: &mut Vec<Finding>) {
        let ours = &config.limits;
        let is = |name: &str, value: &str| self.text(name) == Some(value);
        if is("limits_config.allow_structured_metadata", "false") && ours.max_metadata_entries > 0 {
            found.push(Finding::Change("structured metadata is switched off: write allow_structured_metadata: true in Loki (schema v13), or `limits = { max_metadata_entries = 0 }` here".to_owned()));
        }
        if is("limits_config.max_line_size_truncate", "true") {
            found.push(Finding::Change("max_line_size_truncate cuts long lines without a word: write max_line_size_truncate: false".to_owned()));
        }
        if is("limits_config.unordered_writes", "false") {
            found.push(Finding::Change("unordered_writes: false refuses whatever is older than the latest of its stream: write true".to_owned()));
        }
        if is("limits_config.shard_streams.enabled", "true") {
            found.push(Finding::Note("shard_streams spreads a stream over others, and what must be sent again may then be stored twice, under the same event_id: write shard_streams: {enabled: false} where that matters".to_owned()));
        }
        if let Some(age) = self.text("ingester.max_chunk_age").and_then(seconds)
            && age / 2 < ours.max_behind.get().as_secs()
        {
            found.push(Finding::Change(format!("max_chunk_age is {age} s: write `limits = {{ max_behind = \"{}s\" }}` (half of it)", age / 2)));
        }
        if let Some(most) = self
            .text("server.grpc_server_max_recv_msg_size")
            .and_then(count)
            && most < ours.max_push_size.get() + (64 << 10)
        {
            found.push(Finding::Change(format!("grpc_server_max_recv_msg_size is {most} B: raise it in Loki, or lower `limits.max_push_size`")));
        }
        let kept = self
            .text("limits_config.retention_period")
            .and_then(seconds)
            .unwrap_or(0);
        if !is("compactor.retention_enabled", "true") || kept == 0 {
            found.push(Finding::Note("retention is off, so everything is kept for ever: it needs compactor.retention_enabled, delete_request_store and limits_config.retention_period".to_owned()));
        }
    }
}

/// What is looked at outside of `limits_config`.
const OTHERS: [&str; 3] = [
    "ingester.max_chunk_age",
    "server.grpc_server_max_recv_msg_size",
    "compactor.retention_enabled",
];

fn count(text: &str) -> Option<u64> {
    text.parse().ok()
}

/// `256KB`, in steps of 1024.
fn size(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: f64 = digits.trim().parse().ok()?;
    let unit = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "kb" | "kib" => 1024.0,
        "mb" | "mib" => 1024.0 * 1024.0,
        "gb" | "gib" => 1024.0 * 1024.0 * 1024.0,
        _ => return None,
    };
    Some((number * unit) as u64)
}

/// `1w`, `2h0m0s`.
fn seconds(text: &str) -> Option<u64> {
    let mut sum = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u32 = rest[..end].parse().ok()?;
        rest = &rest[end..];
        let end = rest
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(rest.len());
        let unit = match &rest[..end] {
            "ms" => Duration::from_millis(1),
            "s" => Duration::from_secs(1),
            "m" => Duration::from_secs(60),
            "h" => Duration::from_secs(3600),
            "d" => Duration::from_secs(86_400),
            "w" => Duration::from_secs(7 * 86_400),
            "y" => Duration::from_secs(365 * 86_400),
            _ => return None,
        };
        sum = sum.checked_add(unit.checked_mul(number)?)?;
        rest = &rest[end..];
    }
    Some(sum.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOLD: &str = "target: all\nserver:\n  http_listen_port: 3100\n  grpc_server_max_recv_msg_size: 4194304\nlimits_config:\n  max_line_size: 100KB\n  max_label_names_per_series: 15\n  max_label_value_length: 2048\n  reject_old_samples: true\n  reject_old_samples_max_age: 1w\n  creation_grace_period: 10m0s\n  allow_structured_metadata: false\n  shard_streams:\n    enabled: true\n    desired_rate: 1536KB\n  retention_stream: []\nother:\n  max_line_size: 1\ningester:\n  max_chunk_age: 1h0m0s\ncompactor:\n  retention_enabled: false\n";

    #[test]
    fn what_differs_is_told_and_what_does_not_is_good() {
        let config: Config =
            serde_json::from_value(serde_json::json!({ "endpoint": "http://l" })).unwrap();
        let found = Server::read(TOLD).compare(&config, 7);
        let of = |wanted: &dyn Fn(&Finding) -> Option<&String>| -> Vec<String> {
            found
                .iter()
                .filter_map(wanted)
                .map(|text| text.split([' ', ':']).next().unwrap().to_owned())
                .collect()
        };
        let change = of(&|f| {
            if let Finding::Change(text) = f {
                Some(text)
            } else {
                None
            }
        });
        assert_eq!(change, ["max_line_size", "structured", "max_chunk_age"]);
        let note = of(&|f| {
            if let Finding::Note(text) = f {
                Some(text)
            } else {
                None
            }
        });
        assert_eq!(note, ["shard_streams", "retention"]);
        let good = of(&|f| {
            if let Finding::Good(text) = f {
                Some(text)
            } else {
                None
            }
        });
        assert_eq!(
            good,
            [
                "max_label_names_per_series",
                "max_label_value_length",
                "reject_old_samples_max_age",
                "creation_grace_period"
            ]
        );
    }

    #[test]
    fn sizes_and_times_are_as_loki_writes_them() {
        assert_eq!(size("256KB"), Some(262_144));
        assert_eq!(size("64"), Some(64));
        assert_eq!(size("x"), None);
        assert_eq!(seconds("1w"), Some(604_800));
        assert_eq!(seconds("2h0m0s"), Some(7200));
        assert_eq!(seconds("1h30m"), Some(5400));
        assert_eq!(seconds("0s"), Some(0));
        assert_eq!(seconds("5"), None);
    }
}
