//! `pve_api` asks the API of a cluster: tasks of every node, the cluster log, nodes and quorum, the inventory, who may do what.
//!
//! - in: `https://NODE:8006/api2/json`, with a token; any node answers for the whole cluster
//! - out: tasks as `pve_tasks` tells them, under the same ids · entries of the cluster log as the journal of their node has
//!   them · states (`event.kind` = `state`) of guests, nodes and storages · changed users, tokens, second factors, groups,
//!   roles, realms, ACL entries, and nodes that go or come, as changed objects
//! - a node that is away keeps nobody waiting; what it did meanwhile is read when it is back. What cannot be read, for
//!   whatever reason, is told with what it costs (PVE-9012), and what was lost for good as PVE-9014
//! - state: per node the tasks told that are still in its lists; entries told; a hash of each state; access objects

mod access;
mod client;
mod cluster_log;
mod details;
mod node;
mod objects;
mod poll;
mod rights;
mod rows;
mod states;
mod troubles;

use std::sync::Arc;

use async_trait::async_trait;
use jiff::tz::TimeZone;
use pipeline::net::HttpOptions;
use pipeline::pve::{Inventory, User};
use pipeline::{
    BuildError, BuildErrors, Context, Duration, Http, Secret, Source, SourceConfig, SourceError,
    SourceOut, Tls, Url,
};
use schemars::JsonSchema;
use serde::Deserialize;

use client::Client;

/// PVE itself waits 30 s for a node that it passes a call on to.
const TIMEOUT: std::time::Duration = std::time::Duration::from_secs(35);

/// Asks the API of a Proxmox VE cluster for everything that it tells a reader.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// A node of the cluster; it answers for all of them.
    endpoint: Option<Url>,
    /// Several nodes; when one does not answer the next is asked.
    #[serde(default)]
    endpoints: Vec<Url>,
    /// The API token, as `USER@REALM!ID=SECRET`. It needs the role PVEAuditor on `/`, and Sys.Syslog for the cluster log.
    token: Secret,
    /// Whom we believe. PVE's certificates are signed by the cluster's own authority: name it (`ca_file`, which is
    /// `/etc/pve/pve-root-ca.pem`), or pin the certificate (`fingerprint`), which changes when it is renewed.
    #[serde(default)]
    tls: Tls,
    /// How often it is asked whether a task began or ended, and for the cluster log and the state of the nodes.
    #[serde(default = "five_seconds")]
    interval: Duration,
    /// What is asked for.
    #[serde(default = "everything")]
    collect: Vec<Collect>,
    /// Without a stored position, begin with what runs now, and leave out what has ended.
    #[serde(default)]
    since_now: bool,
    /// The zone in which the logs of backups write their times: a name like `Europe/Berlin`, `UTC`, or `local`.
    #[serde(default = "local")]
    timezone: String,
}

fn five_seconds() -> Duration {
    Duration::from_secs(5)
}

fn everything() -> Vec<Collect> {
    vec![
        Collect::Tasks,
        Collect::ClusterLog,
        Collect::Status,
        Collect::Inventory,
        Collect::Access,
    ]
}

fn local() -> String {
    "local".to_owned()
}

/// What can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Collect {
    /// Tasks of every node, each from its start to its end.
    Tasks,
    /// The log that all nodes share.
    ClusterLog,
    /// Which nodes are online, and whether the cluster has a quorum.
    Status,
    /// Guests, nodes and storages, with names and pools for `enrich`.
    Inventory,
    /// Users, tokens, second factors, groups, roles, realms, ACL entries.
    Access,
}

impl SourceConfig for Config {
    const TYPE: &'static str = "pve_api";
    const EXAMPLE: &'static str = r#"endpoints = ["https://pve1.example:8006", "https://pve2.example:8006"]
token = "pvetrail@pve!audit=4f1c2a54-3b0e-4c62-9a38-0a6d5b0c7d11"
tls = { fingerprint = ["7D:3A:90:51:2C:EE:4B:18:6F:0D:93:A2:5C:71:E8:04:BB:1F:66:D9:3E:82:57:C0:A4:19:FD:70:2B:8C:E5:36"] }
collect = ["tasks", "cluster_log", "status", "inventory", "access"]"#;

    fn build(&self, cx: &Context) -> Result<Box<dyn Source>, BuildErrors> {
        let mut errors = BuildErrors::new();
        let mut endpoints: Vec<Url> = self.endpoint.iter().cloned().collect();
        endpoints.extend(self.endpoints.iter().cloned());
        if endpoints.is_empty() {
            errors.push(
                BuildError::key("endpoint", "nothing says which cluster is asked")
                    .help(r#"add endpoint = "https://NODE:8006""#),
            );
        }
        if self.endpoint.is_some() && !self.endpoints.is_empty() {
            errors.push(
                BuildError::key("endpoints", "says the same as `endpoint`")
                    .help("write all of them into `endpoints`"),
            );
        }
        for url in endpoints
            .iter()
            .filter(|url| !url.is_https() && !url.is_loopback())
        {
            errors.push(
                BuildError::key(
                    "endpoints",
                    format!("{} would carry the token in clear", url.origin()),
                )
                .help("PVE speaks https, on port 8006"),
            );
        }
        let token = self.token.expose().trim();
        let name = token.split_once('=').map(|(name, _)| name.to_owned());
        let parsed = name.as_deref().map(User::parse);
        let whole = parsed.is_some_and(|user| user.realm.is_some() && user.token.is_some());
        let plain = token.bytes().all(|b| (0x21..0x7f).contains(&b));
        if !whole || !plain || token.ends_with('=') {
            errors.push(
                BuildError::key("token", "is no API token")
                    .help("write USER@REALM!ID=SECRET, best from a file: ${cred:pve_token}"),
            );
        }
        if self.collect.is_empty() {
            errors.push(
                BuildError::key("collect", "is empty, so that nothing is asked for").help(
                    r#"write collect = ["tasks", "cluster_log", "status", "inventory", "access"]"#,
                ),
            );
        }
        let interval = std::time::Duration::from(self.interval);
        if interval < std::time::Duration::from_millis(100) {
            errors.push(
                BuildError::key("interval", "is shorter than the nodes can bear")
                    .help("write \"1s\" or more; \"5s\" is what PVE itself looks at"),
            );
        }
        let zone = match self.timezone.as_str() {
            "local" => Ok(TimeZone::system()),
            "UTC" => Ok(TimeZone::UTC),
            name => TimeZone::get(name).map_err(|_| {
                BuildError::key("timezone", format!("there is no time zone {name:?}")).help(
                    r#"write a name like "Europe/Berlin", "UTC", or "local" for this machine's"#,
                )
            }),
        };
        let zone = errors.take(zone.map_err(BuildErrors::from));
        let options = HttpOptions {
            tls: self.tls.clone(),
            headers: [(
                "Authorization".to_owned(),
                Secret::from(format!("PVEAPIToken={token}")),
            )]
            .into(),
            timeout: TIMEOUT,
            ..HttpOptions::default()
        };
        let http = match Http::new(&options) {
            Ok(http) => Some(http),
            Err(first) => {
                let mistakes = options.mistakes();
                let all = if mistakes.is_empty() {
                    vec![first]
                } else {
                    mistakes
                };
                errors.extend(all.into_iter().map(|e| BuildError::key(e.key, e.message)));
                None
            }
        };
        let (Some(zone), Some(http), Some(name)) = (zone, http, name) else {
            return Err(errors);
        };
        let source = PveApi {
            id: cx.id().to_owned(),
            cluster: cx.cluster().unwrap_or_default().to_owned(),
            host: cx.host().to_owned(),
            token: name,
            client: Arc::new(Client::new(http, endpoints, TIMEOUT)),
            inventory: cx.inventory(),
            config: self.clone(),
            interval,
            zone,
            data_dir: cx.data_dir().to_owned(),
        };
        errors.finish(Box::new(source) as Box<dyn Source>)
    }
}

struct PveApi {
    id: String,
    cluster: String,
    /// The host that this runs on.
    host: String,
    /// Who the token is, without its secret.
    token: String,
    client: Arc<Client>,
    inventory: Arc<Inventory>,
    config: Config,
    interval: std::time::Duration,
    zone: TimeZone,
    data_dir: std::path::PathBuf,
}

#[async_trait]
impl Source for PveApi {
    async fn run(&mut self, out: SourceOut) -> Result<(), SourceError> {
        let key = pipeline::installation_key(&self.data_dir).map_err(SourceError)?;
        let seal = objects::Seal::new(&key);
        // Stopped: whoever runs us knows why.
        let _stopped = poll::Poller::new(self, seal, out).run().await;
        Ok(())
    }
}
