//! `pve_config` watches the configuration of a cluster under `/etc/pve` and tells every change, key by key.
//!
//! - in: the files below one folder, guests, users, rights, storage, firewall, jobs, realms, HA, SDN and the rest; never a
//!   folder called `priv`, and never a private key
//! - out: one event for each object that was created, changed or deleted, with what each key was and is (`pve.changes`); a
//!   guest that moved to another node is one change of its `node`; secrets are redacted, and their change is told
//! - state: what every file said last, without secrets, and the events that are not delivered yet; what changed while the
//!   program was stopped is told at its start, with the tag `changed_while_stopped`
//! - besides: what guests are called and in which pool they are goes into the inventory that `enrich` serves

mod diff;
mod guard;
mod keep;
mod kinds;
mod model;
mod names;
mod parse;
mod reader;
mod rules;
mod scan;
mod tell;
mod watch;

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use pipeline::pve::Inventory;
use pipeline::{
    BuildError, BuildErrors, Context, Duration, Source, SourceConfig, SourceError, SourceOut,
};
use schemars::JsonSchema;
use serde::Deserialize;

/// Watches the configuration of a cluster and tells every change, key by key.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The folder that is watched, with all folders in it; those called `priv` are never entered.
    path: PathBuf,
    /// Time between two looks.
    interval: Duration,
    /// A file system that has not answered for so long counts as frozen, which is told as PVE-9012.
    timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            path: PathBuf::from("/etc/pve"),
            interval: Duration::from_secs(2),
            timeout: Duration::from_secs(10),
        }
    }
}

impl SourceConfig for Config {
    const TYPE: &'static str = "pve_config";
    const EXAMPLE: &'static str = r#"path = "/etc/pve""#;

    fn build(&self, cx: &Context) -> Result<Box<dyn Source>, BuildErrors> {
        let mut errors = BuildErrors::new();
        if !self.path.is_absolute() {
            errors.push(
                BuildError::key("path", format!("{:?} is no absolute path", self.path))
                    .help(r#"write the folder of the cluster's configuration, like "/etc/pve""#),
            );
        }
        if self
            .path
            .components()
            .any(|part| part.as_os_str() == "priv")
        {
            errors.push(
                BuildError::key(
                    "path",
                    "folders called priv hold secrets and are never read",
                )
                .help(r#"write the folder above it, like "/etc/pve""#),
            );
        }
        let source = PveConfig {
            id: cx.id().to_owned(),
            cluster: cx.cluster().unwrap_or_default().to_owned(),
            host: cx.host().to_owned(),
            data_dir: cx.data_dir().to_owned(),
            inventory: cx.inventory(),
            config: self.clone(),
        };
        errors.finish(Box::new(source) as Box<dyn Source>)
    }
}

struct PveConfig {
    id: String,
    cluster: String,
    host: String,
    data_dir: PathBuf,
    inventory: Arc<Inventory>,
    config: Config,
}

#[async_trait]
impl Source for PveConfig {
    async fn run(&mut self, mut out: SourceOut) -> Result<(), SourceError> {
        watch::watch(self, &mut out).await
    }
}
