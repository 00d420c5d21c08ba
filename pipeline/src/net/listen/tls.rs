//! TLS of a listener: its certificate, which clients it lets in, and files that may be replaced while it runs.
//!
//! - files are looked at before every handshake and every few seconds, so the connection after a renewal has the new
//!   certificate; a file that has become unreadable or wrong leaves what was read before in force, and says so
//! - looking happens off the async threads and with a time limit: certificates may lie on `/etc/pve`, which hangs
//!   without a quorum

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use rustls::ServerConfig;
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::task::JoinHandle;

use super::super::subject::AllowedNames;
use super::super::tls::GENERATION;
use super::super::{OptionError, Secret, TlsOptions};

/// Longest time a handshake waits for the files.
const PATIENCE: Duration = Duration::from_secs(2);
/// Clocks of file systems tick this coarsely: a younger file may change again without a sign.
const COARSE: Duration = Duration::from_millis(20);

/// `tls = { … }` of whatever listens.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListenTls {
    /// PEM file of our certificate and its chain.
    pub crt_file: PathBuf,
    /// PEM file of the private key that belongs to `crt_file`.
    pub key_file: PathBuf,
    /// Password of an encrypted `key_file`.
    pub key_pass: Option<Secret>,
    /// PEM file of authorities: every client must show a certificate that leads to one of them. Without it no client is
    /// asked for one.
    pub ca_file: Option<PathBuf>,
    /// Of those clients only the ones are let in whose certificate has one of these as an alternative name:
    /// `agent.example`, `*.example` (one label), an address.
    #[serde(default)]
    pub allowed_names: Vec<String>,
}

impl ListenTls {
    fn options(&self) -> TlsOptions {
        TlsOptions {
            ca_file: self.ca_file.clone(),
            crt_file: Some(self.crt_file.clone()),
            key_file: Some(self.key_file.clone()),
            key_pass: self.key_pass.clone(),
            ..TlsOptions::default()
        }
    }

    fn files(&self) -> impl Iterator<Item = &Path> {
        [
            Some(&self.crt_file),
            Some(&self.key_file),
            self.ca_file.as_ref(),
        ]
        .into_iter()
        .flatten()
        .map(PathBuf::as_path)
    }

    pub(super) fn allowed(&self) -> Result<AllowedNames, OptionError> {
        if self.ca_file.is_none() && !self.allowed_names.is_empty() {
            return Err(OptionError::new(
                "tls.allowed_names",
                "no client is asked for a certificate; set tls.ca_file to the authority that signs theirs",
            ));
        }
        AllowedNames::new(&self.allowed_names)
            .map_err(|why| OptionError::new("tls.allowed_names", why))
    }

    /// Everything that is wrong with them.
    pub fn mistakes(&self) -> Vec<OptionError> {
        let options = self.options();
        let mut mistakes = options.mistakes();
        if mistakes.is_empty() {
            // Key and certificate may each be good and still not belong together.
            mistakes.extend(options.server(&[]).err());
        }
        mistakes.extend(self.allowed().err());
        mistakes
    }
}

/// What tells one state of a file from another; `None`: it is not there.
type Stamp = Option<(u64, u64, i64, i64, u64)>;

/// A server configuration that follows its files.
pub(super) struct ServerTls {
    options: Arc<ListenTls>,
    alpn: &'static [&'static str],
    current: Mutex<Arc<ServerConfig>>,
    seen: tokio::sync::Mutex<Seen>,
}

struct Seen {
    stamps: Vec<Stamp>,
    generation: u64,
    /// A look that took longer than anyone would wait for.
    hanging: Option<JoinHandle<Looked>>,
}

/// What a look at the files came to.
struct Looked {
    /// Empty where the next look has to read again.
    stamps: Vec<Stamp>,
    generation: u64,
    /// `None` where nothing changed.
    read: Option<Result<ServerConfig, OptionError>>,
}

impl ServerTls {
    /// Reads the files now.
    pub(super) fn new(
        options: ListenTls,
        alpn: &'static [&'static str],
    ) -> Result<Self, OptionError> {
        let options = Arc::new(options);
        let looked = look(&options, alpn, &[], u64::MAX);
        let config = looked
            .read
            .expect("no generation is u64::MAX, so the files are read")?;
        Ok(Self {
            options,
            alpn,
            current: Mutex::new(Arc::new(config)),
            seen: tokio::sync::Mutex::new(Seen {
                stamps: looked.stamps,
                generation: looked.generation,
                hanging: None,
            }),
        })
    }

    /// The configuration for the next handshake, after a look at the files.
    pub(super) async fn current(&self) -> Arc<ServerConfig> {
        if tokio::time::timeout(PATIENCE, self.look()).await.is_err() {
            crate::log_limited!(
                warn,
                file = %self.options.crt_file.display(),
                "the TLS files cannot be looked at in time; what was read before stays in force"
            );
        }
        Arc::clone(&self.current.lock())
    }

    async fn look(&self) {
        let mut seen = self.seen.lock().await;
        if seen.hanging.is_none() {
            let (options, alpn) = (Arc::clone(&self.options), self.alpn);
            let (stamps, generation) = (seen.stamps.clone(), seen.generation);
            seen.hanging = Some(tokio::task::spawn_blocking(move || {
                look(&options, alpn, &stamps, generation)
            }));
        }
        // Where nobody waits any longer it stays there, so that a hanging file system holds one thread and not many.
        let Some(job) = seen.hanging.as_mut() else {
            return;
        };
        let looked = job.await;
        seen.hanging = None;
        let Ok(looked) = looked else {
            // It panicked, which the program has told of; the next one looks again.
            return;
        };
        seen.generation = looked.generation;
        match looked.read {
            None => {}
            Some(Ok(config)) => {
                *self.current.lock() = Arc::new(config);
                seen.stamps = looked.stamps;
                tracing::info!(file = %self.options.crt_file.display(), "TLS files were read again");
            }
            // The stamps stay what they were, so the next look tries again.
            Some(Err(why)) => {
                crate::log_limited!(error, "{why}; what was read before stays in force");
            }
        }
    }
}

/// Reads the files if they are not what they were.
fn look(
    options: &ListenTls,
    alpn: &'static [&'static str],
    stamps: &[Stamp],
    generation: u64,
) -> Looked {
    // Asked for before the files are read, so that a request or a change in between is seen by the next look.
    let asked = GENERATION.load(Ordering::Acquire);
    let found: Vec<Stamp> = options.files().map(stamp).collect();
    let read = (found != stamps || asked != generation).then(|| options.options().server(alpn));
    let stamps = if found.iter().all(|stamp| settled(*stamp)) {
        found
    } else {
        Vec::new()
    };
    Looked {
        stamps,
        generation: asked,
        read,
    }
}

fn stamp(file: &Path) -> Stamp {
    let about = std::fs::metadata(file).ok()?;
    Some((
        about.dev(),
        about.ino(),
        about.ctime(),
        about.ctime_nsec(),
        about.len(),
    ))
}

/// Whether a later change of the file would show.
fn settled(stamp: Stamp) -> bool {
    let Some((_, _, secs, nanos, _)) = stamp else {
        return true;
    };
    let age = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .ok()
        .and_then(|now| {
            now.checked_sub(Duration::new(
                u64::try_from(secs).ok()?,
                u32::try_from(nanos).ok()?,
            ))
        });
    age.is_some_and(|age| age > COARSE)
}
