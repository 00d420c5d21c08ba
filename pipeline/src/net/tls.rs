//! TLS for whatever connects or listens: one crypto provider, one set of options, files that can be read again.
//!
//! - `ca_file` replaces the roots of the machine, it does not add to them: who names an authority means that one
//! - `fingerprint` alone decides when it is set (PVE's certificates are self-signed); with `ca_file` both must agree
//! - files are read when the component is built, and again after [`reload_files`]; files that have become unreadable
//!   or wrong leave what was read before in force

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, OnceLock};

use parking_lot::Mutex;
use rustls::client::WebPkiServerVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use schemars::JsonSchema;
use serde::Deserialize;

use super::verify::{Fingerprint, Verifier};
use super::{OptionError, Secret};

/// The largest certificate or key file that is read [bytes]: the whole Mozilla bundle is 220 KiB.
const MAX_FILE: u64 = 4 << 20;

/// `tls = { … }`: how a peer is believed and how we prove who we are.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TlsOptions {
    /// PEM file of the authorities that are believed, instead of the machine's own.
    pub ca_file: Option<PathBuf>,
    /// PEM file of our own certificate and its chain.
    pub crt_file: Option<PathBuf>,
    /// PEM file of the private key that belongs to `crt_file`.
    pub key_file: Option<PathBuf>,
    /// Password of an encrypted `key_file` (PKCS #8, PBES2 with PBKDF2 and AES).
    pub key_pass: Option<Secret>,
    /// Whether the peer's certificate must lead to an authority that is believed.
    pub verify_certificate: bool,
    /// Whether the peer's certificate must name the host that was asked for.
    pub verify_hostname: bool,
    /// SHA-256 fingerprints of the server's certificate, `"7D:3A:…"`; one of them must be it, and no authority is asked.
    pub fingerprint: Vec<String>,
}

impl Default for TlsOptions {
    fn default() -> Self {
        Self {
            ca_file: None,
            crt_file: None,
            key_file: None,
            key_pass: None,
            verify_certificate: true,
            verify_hostname: true,
            fingerprint: Vec::new(),
        }
    }
}

impl TlsOptions {
    /// Whether any file stands behind these options, so that reading again can change something.
    fn has_files(&self) -> bool {
        self.ca_file.is_some() || self.crt_file.is_some()
    }

    /// Everything that is wrong with them, not only the first.
    pub(super) fn mistakes(&self) -> Vec<OptionError> {
        let mut mistakes: Vec<OptionError> = self
            .fingerprint
            .iter()
            .filter_map(|text| pin(text).err())
            .collect();
        let authorities = self.ca_file.iter().filter_map(|file| roots_of(file).err());
        mistakes.extend(authorities);
        mistakes.extend(self.own_certificate().err());
        mistakes
    }

    /// What a client of these options believes and shows. `alpn` is what it speaks, like `http/1.1`.
    pub fn client(&self, alpn: &[&str]) -> Result<ClientConfig, OptionError> {
        let provider = provider();
        let pins = self.pins()?;
        let chain: Option<Arc<dyn rustls::client::danger::ServerCertVerifier>> =
            if !self.verify_certificate {
                None
            } else if let Some(file) = &self.ca_file {
                Some(chain(roots_of(file)?, &provider).map_err(|why| at("ca_file", file, &why))?)
            } else if !pins.is_empty() {
                None
            } else {
                Some(native_chain()?)
            };
        if chain.is_none() && pins.is_empty() {
            tracing::warn!(
                "tls.verify_certificate is off: whoever stands between us and the server can read and change what is sent; \
                 tls.fingerprint protects a self-signed certificate"
            );
        } else if chain.is_some() && !self.verify_hostname {
            tracing::warn!(
                "tls.verify_hostname is off: any server with a certificate of a believed authority is accepted"
            );
        }
        let verifier = Verifier {
            pins,
            chain,
            hostname: self.verify_hostname,
            provider: Arc::clone(&provider),
        };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| OptionError::new("tls", e.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match self.own_certificate()? {
            Some((chain, key)) => builder
                .with_client_auth_cert(chain, key)
                .map_err(|e| OptionError::new("tls.crt_file", e.to_string()))?,
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Ok(config)
    }

    /// What a listener of these options shows, and, with `ca_file`, which clients it lets in.
    pub fn server(&self, alpn: &[&str]) -> Result<ServerConfig, OptionError> {
        let provider = provider();
        let Some((certificates, key)) = self.own_certificate()? else {
            return Err(OptionError::new(
                "tls",
                "a listener needs crt_file and key_file",
            ));
        };
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|e| OptionError::new("tls", e.to_string()))?;
        let builder = match &self.ca_file {
            Some(file) => {
                let roots = Arc::new(roots_of(file)?);
                let clients = WebPkiClientVerifier::builder_with_provider(roots, provider)
                    .build()
                    .map_err(|e| at("ca_file", file, &e.to_string()))?;
                builder.with_client_cert_verifier(clients)
            }
            None => builder.with_no_client_auth(),
        };
        let mut config = builder
            .with_single_cert(certificates, key)
            .map_err(|e| OptionError::new("tls.crt_file", e.to_string()))?;
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Ok(config)
    }

    fn pins(&self) -> Result<Vec<Fingerprint>, OptionError> {
        self.fingerprint.iter().map(|text| pin(text)).collect()
    }

    fn own_certificate(
        &self,
    ) -> Result<Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>, OptionError> {
        let (crt, key) = match (&self.crt_file, &self.key_file) {
            (None, None) => return Ok(None),
            (Some(crt), Some(key)) => (crt, key),
            (Some(_), None) => {
                return Err(OptionError::new(
                    "tls.key_file",
                    "crt_file needs a key_file beside it",
                ));
            }
            (None, Some(_)) => {
                return Err(OptionError::new(
                    "tls.crt_file",
                    "key_file needs a crt_file beside it",
                ));
            }
        };
        let certificates = certificates(crt, "crt_file")?;
        let pem = read(key, "key_file")?;
        let key = match &self.key_pass {
            Some(password) => super::pkcs8::decrypt_pem(&pem, password.expose())
                .map_err(|why| at("key_file", key, &why))?,
            None => PrivateKeyDer::from_pem_slice(&pem).map_err(|e| {
                let locked = memchr::memmem::find(&pem, b"ENCRYPTED").is_some();
                let why = if locked {
                    "is encrypted: set tls.key_pass".to_owned()
                } else {
                    format!("holds no private key: {e}")
                };
                at("key_file", key, &why)
            })?,
        };
        Ok(Some((certificates, key)))
    }
}

/// The one crypto provider of the process; the first call also makes it rustls's default, for libraries that ask for that.
pub fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
        // An error means that somebody installed one before, and then that one stays for the libraries.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        Arc::new(rustls::crypto::aws_lc_rs::default_provider())
    });
    Arc::clone(&PROVIDER)
}

/// Makes every client and listener read its certificate and key files again before its next connection.
pub fn reload_files() {
    GENERATION.fetch_add(1, Ordering::Release);
}

/// How often the files were asked to be read again.
pub(super) static GENERATION: AtomicU64 = AtomicU64::new(0);

/// A client configuration that follows its files.
pub(super) struct ClientTls {
    options: TlsOptions,
    alpn: &'static [&'static str],
    current: Mutex<(u64, Option<Arc<ClientConfig>>)>,
}

impl ClientTls {
    /// Reads the files now, so that a mistake is told when the component is built; the machine's own roots wait for
    /// the first connection, because most clients never need them.
    pub(super) fn new(
        options: TlsOptions,
        alpn: &'static [&'static str],
    ) -> Result<Self, OptionError> {
        let generation = GENERATION.load(Ordering::Acquire);
        let own =
            options.has_files() || !options.fingerprint.is_empty() || !options.verify_certificate;
        let config = if own {
            Some(Arc::new(options.client(alpn)?))
        } else {
            None
        };
        Ok(Self {
            options,
            alpn,
            current: Mutex::new((generation, config)),
        })
    }

    pub(super) fn current(&self) -> Result<Arc<ClientConfig>, OptionError> {
        let generation = GENERATION.load(Ordering::Acquire);
        let mut current = self.current.lock();
        let stale = current.0 != generation && self.options.has_files();
        if let (Some(config), false) = (&current.1, stale) {
            return Ok(Arc::clone(config));
        }
        match (self.options.client(self.alpn), &current.1) {
            (Ok(config), _) => {
                let config = Arc::new(config);
                *current = (generation, Some(Arc::clone(&config)));
                Ok(config)
            }
            (Err(why), Some(old)) => {
                tracing::error!("{why}; what was read before stays in force");
                let old = Arc::clone(old);
                current.0 = generation;
                Ok(old)
            }
            (Err(why), None) => Err(why),
        }
    }
}

fn pin(text: &str) -> Result<Fingerprint, OptionError> {
    Fingerprint::parse(text).map_err(|why| OptionError::new("tls.fingerprint", why))
}

fn read(file: &Path, key: &'static str) -> Result<Vec<u8>, OptionError> {
    let open = || -> std::io::Result<Vec<u8>> {
        let size = std::fs::metadata(file)?.len();
        if size > MAX_FILE {
            return Err(std::io::Error::other(format!(
                "{size} bytes are too many for certificates"
            )));
        }
        std::fs::read(file)
    };
    open().map_err(|e| at(key, file, &e.to_string()))
}

fn at(key: &'static str, file: &Path, why: &str) -> OptionError {
    OptionError::new(["tls", key].join("."), format!("{}: {why}", file.display()))
}

fn certificates(
    file: &Path,
    key: &'static str,
) -> Result<Vec<CertificateDer<'static>>, OptionError> {
    let pem = read(file, key)?;
    let mut found = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        found.push(certificate.map_err(|e| at(key, file, &e.to_string()))?);
    }
    if found.is_empty() {
        return Err(at(key, file, "holds no `-----BEGIN CERTIFICATE-----`"));
    }
    Ok(found)
}

fn roots_of(file: &Path) -> Result<RootCertStore, OptionError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file, "ca_file")? {
        roots
            .add(certificate)
            .map_err(|e| at("ca_file", file, &e.to_string()))?;
    }
    Ok(roots)
}

fn chain(
    roots: RootCertStore,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<WebPkiServerVerifier>, String> {
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
        .build()
        .map_err(|e| e.to_string())
}

fn native_chain() -> Result<Arc<WebPkiServerVerifier>, OptionError> {
    static NATIVE: OnceLock<Result<Arc<WebPkiServerVerifier>, String>> = OnceLock::new();
    NATIVE
        .get_or_init(|| {
            let found = rustls_native_certs::load_native_certs();
            let mut roots = RootCertStore::empty();
            // A few unreadable roots among a hundred are common and harm nobody.
            roots.add_parsable_certificates(found.certs);
            if roots.is_empty() {
                let why: String = found.errors.iter().map(|e| format!(" ({e})")).collect();
                return Err(format!(
                    "this machine has no root certificates{why}; install ca-certificates, or set tls.ca_file or tls.fingerprint"
                ));
            }
            chain(roots, &provider())
        })
        .clone()
        .map_err(|why| OptionError::new("tls.ca_file", why))
}
