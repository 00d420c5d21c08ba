//! `sqlite` keeps events in one file that `pvetrail query` searches: by user, address, object, time, words.
//!
//! - one transaction for each batch; delivered means that it survives a kill and, by default, a power cut
//! - an event that is there already, by its id, counts as delivered
//! - a full disk, a lock of another process, a damaged file: the batch waits and is tried again without end
//! - readers never wait for the writer, and the writer never for them (write-ahead log)

mod blocks;
mod columns;
mod count;
mod filter;
mod matching;
mod objects;
mod read;
mod resolve;
mod rows;
mod schema;
mod things;
mod trouble;
mod users;
mod write;

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use pipeline::{
    BatchDefaults, BuildError, BuildErrors, Bytes, Context, Duration, Events, Sink, SinkConfig,
    Workers, WriteError, Written,
};
use schemars::JsonSchema;
use serde::Deserialize;

pub use count::{By, Group};
pub use filter::{Filter, Hours};
pub use matching::is_source;
pub use read::{Bodies, Known, Reader};
pub use rows::{ChangeRow, Row, Sample, State};
pub use trouble::{Trouble, TroubleKind};

use self::write::Writer;

/// The file's name in `data_dir` where the configuration names none.
pub const FILE: &str = "search.db";

/// Keeps events in one file that `pvetrail query` searches.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The file; `search.db` in `data_dir` where it is not said. Made with mode 0600; its `-wal` and `-shm` lie beside it.
    path: Option<PathBuf>,
    /// What an answered batch survives: `power` (a power cut: one `fsync` for each batch) or `kill` (the end of the program,
    /// not of the machine).
    survives: Survives,
}

/// What an answered batch survives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Survives {
    #[default]
    Power,
    Kill,
}

impl Config {
    /// The file, with `data_dir` of the configuration it stands in.
    pub fn file(&self, data_dir: &Path) -> PathBuf {
        match &self.path {
            Some(path) => path.clone(),
            None => data_dir.join(FILE),
        }
    }
}

impl SinkConfig for Config {
    const TYPE: &'static str = "sqlite";
    const WORKERS: Workers = Workers::One;
    const BATCH: BatchDefaults = BatchDefaults {
        max_events: 10_000,
        max_size: Bytes::mib(8),
        timeout: Duration::from_secs(1),
    };
    const EXAMPLE: &'static str = r#"path = "/var/lib/pvetrail/search.db""#;

    fn build(&self, cx: &Context) -> Result<Box<dyn Sink>, BuildErrors> {
        let mut errors = BuildErrors::new();
        let path = self.file(cx.data_dir());
        if path.file_name().is_none() || path.as_os_str().to_string_lossy().ends_with('/') {
            errors.push(
                BuildError::key("path", "names no file").help("like `/var/lib/pvetrail/search.db`"),
            );
        }
        let durable = self.survives == Survives::Power;
        errors.finish(Box::new(Sqlite {
            writer: Some(Writer::new(path, durable)),
        }))
    }
}

struct Sqlite {
    /// Away only while it writes.
    writer: Option<Writer>,
}

#[async_trait]
impl Sink for Sqlite {
    async fn write(&mut self, events: Events) -> Result<Written, WriteError> {
        let Some(mut writer) = self.writer.take() else {
            return Err(write::lost());
        };
        let work = tokio::task::spawn_blocking(move || {
            let result = writer.write(&events);
            (writer, result)
        });
        // A panic in there goes on here, and the engine builds the sink anew.
        match work.await {
            Ok((writer, result)) => {
                self.writer = Some(writer);
                result
            }
            Err(why) => match why.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Err(write::lost()),
            },
        }
    }
}

#[cfg(test)]
mod tests;
