//! NATS for whoever connects to it: options, the connection, and its troubles in plain words.
//!
//! A connection that broke comes back by itself, without end. What a component needs to know about that is in [`Link`]:
//! how often it broke (answers owed before a break never come), and what the server forbade.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_nats::{
    Client, ConnectError, ConnectErrorKind, ConnectOptions, Event, ServerAddr, ServerError,
};
use parking_lot::Mutex;
use rustls::ClientConfig;
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::sync::watch;
use zeroize::Zeroizing;

use super::tls::{ClientTls, TlsOptions, provider};
use super::{OptionError, Secret};
use crate::component::{Reason, ReasonKind};
use crate::telemetry::Limited;

#[cfg(test)]
mod tests;

/// Longest wait for one server to take a connection.
const CONNECTING: Duration = Duration::from_secs(5);
/// A silent connection is asked this often whether it still lives; two questions without an answer end it.
const PING: Duration = Duration::from_secs(15);
/// Messages of one subscription that may wait: more than is ever asked for at once.
const WAITING: usize = 64 * 1024;
/// Longest wait between two attempts to connect again.
const LAST_WAIT: Duration = Duration::from_secs(5);

/// One server or several of one cluster: `"nats://a:4222"`, `"nats://a:4222,nats://b:4222"`, or a list.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum NatsUrl {
    /// One, or several with commas between them.
    One(String),
    /// A list.
    Many(Vec<String>),
}

impl NatsUrl {
    fn each(&self) -> impl Iterator<Item = &str> {
        let all: Vec<&str> = match self {
            NatsUrl::One(text) => text.split(',').collect(),
            NatsUrl::Many(list) => list.iter().map(String::as_str).collect(),
        };
        all.into_iter().map(str::trim)
    }
}

/// `auth = { strategy = …, … }`: who we say we are, under the names Vector uses.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(tag = "strategy", rename_all = "snake_case", deny_unknown_fields)]
pub enum NatsAuth {
    /// A user and a password.
    UserPassword {
        /// Who.
        user_password: UserPassword,
    },
    /// One token for all.
    Token {
        /// Which.
        token: Token,
    },
    /// An Ed25519 key.
    Nkey {
        /// Which.
        nkey: Nkey,
    },
    /// A file with a JWT and the key that belongs to it, as `nsc` writes it; it is read at every connection.
    CredentialsFile {
        /// Where.
        credentials_file: CredentialsFile,
    },
}

/// A user and a password.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UserPassword {
    /// The user.
    pub user: String,
    /// Its password.
    pub password: Secret,
}

/// A token.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// The token.
    pub value: Secret,
}

/// An Ed25519 key.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Nkey {
    /// The public key, `U…`; it follows from the seed and is checked against it.
    #[serde(default)]
    pub nkey: Option<String>,
    /// The seed, `SU…`.
    pub seed: Secret,
}

/// Where the credentials are.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CredentialsFile {
    /// Path of the file.
    pub path: PathBuf,
}

impl NatsAuth {
    fn key(&self) -> &'static str {
        match self {
            NatsAuth::UserPassword { .. } => "auth.user_password",
            NatsAuth::Token { .. } => "auth.token.value",
            NatsAuth::Nkey { .. } => "auth.nkey.seed",
            NatsAuth::CredentialsFile { .. } => "auth.credentials_file.path",
        }
    }
}

/// What is needed to connect, checked; the connection itself is made by [`connect`](NatsConnector::connect).
pub struct NatsConnector {
    servers: Vec<ServerAddr>,
    name: String,
    id: String,
    auth: Option<NatsAuth>,
    tls: Option<ClientTls>,
    /// What the present connection was made with.
    used: Mutex<Option<Arc<ClientConfig>>>,
    logs: Arc<Logs>,
}

#[derive(Default)]
struct Logs {
    broke: Limited,
    back: Limited,
    trouble: Limited,
}

/// How the connection is.
#[derive(Clone, Debug, Default)]
pub struct Link {
    /// Whether there is one now.
    pub connected: bool,
    /// How often it broke. An answer that was owed before a break does not come any more.
    pub breaks: u64,
    /// How often the server forbade something.
    pub denials: u64,
    /// What it forbade last, in its words, like `Permissions Violation for Publish to "x"`.
    pub denial: Option<Arc<str>>,
    /// Why there is no connection, if that is known.
    pub trouble: Option<Arc<str>>,
    /// Messages of subscriptions that came faster than they were taken, and that the library threw away.
    pub lost: u64,
}

impl Link {
    /// Whether the last thing forbidden was to publish to this subject.
    pub fn forbids(&self, subject: &str) -> bool {
        self.denial.as_ref().is_some_and(|denial| {
            denial.to_ascii_lowercase().contains("publish")
                && denial.contains(&format!("\"{subject}\""))
        })
    }
}

/// A connection. It lives as long as its last clone.
#[derive(Clone)]
pub struct Nats {
    /// The client.
    pub client: Client,
    link: watch::Receiver<Link>,
}

impl fmt::Debug for Nats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Nats({:?})", *self.link.borrow())
    }
}

impl Nats {
    /// How the connection is, and a way to wait for changes.
    pub fn link(&self) -> watch::Receiver<Link> {
        self.link.clone()
    }

    /// Waits until there is a connection, at most for `patience`.
    ///
    /// # Errors
    /// There is none, and why.
    pub async fn connected(&self, patience: Duration) -> Result<(), Reason> {
        let mut link = self.link.clone();
        let waited = tokio::time::timeout(patience, link.wait_for(|link| link.connected)).await;
        if matches!(waited, Ok(Ok(_))) {
            return Ok(());
        }
        let why = self.link.borrow().trouble.clone();
        let why = why.map_or_else(String::new, |why| format!(": {why}"));
        let kind = if why.to_ascii_lowercase().contains("authorization") {
            ReasonKind::Forbidden
        } else {
            ReasonKind::Connection
        };
        Err(Reason::new(
            kind,
            format!("no connection to the NATS server{why}"),
        ))
    }

    /// The version of the server, like `2.10.4`.
    pub fn version(&self) -> String {
        self.client.server_info().version
    }

    /// Refuses what an older server would silently ignore.
    ///
    /// # Errors
    /// The server is older than `(major, minor)`.
    pub fn needs(&self, what: &str, (major, minor): (i64, i64)) -> Result<(), Reason> {
        if self.client.is_server_compatible(major, minor, 0) {
            return Ok(());
        }
        Err(Reason::new(
            ReasonKind::Rejected,
            format!(
                "{what} needs nats-server {major}.{minor} or newer, and this one is {}, which would ignore it without a word",
                self.version()
            ),
        ))
    }
}

impl NatsConnector {
    /// Checks the options. `id` is the component's, for the log; `name` is how the server's tools show the connection.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn new(
        id: &str,
        url: &NatsUrl,
        name: Option<&str>,
        auth: Option<&NatsAuth>,
        tls: Option<&TlsOptions>,
    ) -> Result<NatsConnector, Vec<OptionError>> {
        let mut mistakes = Vec::new();
        let mut wrong = |key: &str, why: String| mistakes.push(OptionError::new(key, why));
        let mut servers = Vec::new();
        let mut in_url = None;
        for text in url.each() {
            match server(text) {
                Ok((address, user)) => {
                    in_url = in_url.or(user);
                    servers.push(address);
                }
                Err(why) => wrong("url", why),
            }
        }
        if servers.is_empty() && mistakes.is_empty() {
            mistakes.push(OptionError::new("url", "no server is named"));
        }
        let mut wrong = |key: &str, why: &str| mistakes.push(OptionError::new(key, why));
        let auth = match (auth.cloned(), in_url) {
            (Some(_), Some(_)) => {
                wrong(
                    "url",
                    "has a login in it, and there is `auth` besides; keep one of them",
                );
                None
            }
            (auth, in_url) => auth.or(in_url),
        };
        match &auth {
            Some(NatsAuth::UserPassword { user_password }) if user_password.user.is_empty() => {
                wrong("auth.user_password.user", "is empty");
            }
            Some(NatsAuth::Token { token }) if token.value.expose().trim().is_empty() => {
                wrong("auth.token.value", "is empty");
            }
            Some(NatsAuth::Nkey { nkey }) => {
                if let Err((key, why)) = check_seed(nkey) {
                    wrong(key, why);
                }
            }
            _ => {}
        }
        if let Some(tls) = tls {
            mistakes.extend(tls.mistakes());
        }
        let tls = match tls {
            Some(tls) if mistakes.is_empty() => match ClientTls::new(tls.clone(), &[]) {
                Ok(tls) => Some(tls),
                Err(why) => {
                    mistakes.push(why);
                    None
                }
            },
            _ => None,
        };
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        Ok(NatsConnector {
            servers,
            name: name.unwrap_or("pvetrail").to_owned(),
            id: id.to_owned(),
            auth,
            tls,
            used: Mutex::new(None),
            logs: Arc::default(),
        })
    }

    /// The servers, for people.
    pub fn servers(&self) -> String {
        let all: Vec<String> = self.servers.iter().map(shown).collect();
        all.join(", ")
    }

    /// Whether the certificates on the disk are others than those the present connection was made with.
    pub fn is_stale(&self) -> bool {
        let Some(tls) = &self.tls else { return false };
        let used = self.used.lock();
        match (&*used, tls.current()) {
            (Some(used), Ok(now)) => !Arc::ptr_eq(used, &now),
            _ => false,
        }
    }

    /// Connects, once, to the first of the servers that lets us in.
    ///
    /// # Errors
    /// None does, and why.
    pub async fn connect(&self) -> Result<Nats, Reason> {
        self.connect_with(WAITING).await
    }

    /// The same; of a subscription, `waiting` messages may wait to be taken before the next are thrown away.
    ///
    /// # Errors
    /// None does, and why.
    pub async fn connect_with(&self, waiting: usize) -> Result<Nats, Reason> {
        // The library asks rustls for its default where it makes a configuration of its own.
        provider();
        let (tell, link) = watch::channel(Link::default());
        let tell = Arc::new(tell);
        let (id, logs) = (self.id.clone(), Arc::clone(&self.logs));
        let told = Arc::clone(&tell);
        let mut options = ConnectOptions::new()
            .name(&self.name)
            .connection_timeout(CONNECTING)
            .ping_interval(PING)
            .max_reconnects(None)
            .subscription_capacity(waiting)
            .reconnect_delay_callback(wait)
            .event_callback(move |event| {
                note(&told, &event, &id, &logs);
                std::future::ready(())
            });
        if let Some(tls) = &self.tls {
            let config = tls
                .current()
                .map_err(|why| Reason::new(ReasonKind::Connection, why.to_string()))?;
            *self.used.lock() = Some(Arc::clone(&config));
            options = options
                .require_tls(true)
                .tls_client_config(ClientConfig::clone(&config));
        }
        options = self.log_in(options).await?;
        let client = options
            .connect(self.servers.clone())
            .await
            .map_err(|why| self.reason(&why))?;
        tell.send_modify(|link| link.connected = true);
        Ok(Nats { client, link })
    }

    async fn log_in(&self, options: ConnectOptions) -> Result<ConnectOptions, Reason> {
        Ok(match &self.auth {
            None => options,
            Some(NatsAuth::UserPassword { user_password }) => options.user_and_password(
                user_password.user.clone(),
                user_password.password.expose().to_owned(),
            ),
            Some(NatsAuth::Token { token }) => {
                options.token(token.value.expose().trim().to_owned())
            }
            Some(NatsAuth::Nkey { nkey }) => options.nkey(nkey.seed.expose().trim().to_owned()),
            Some(NatsAuth::CredentialsFile { credentials_file }) => {
                let path = &credentials_file.path;
                let bad = |why: String| {
                    Reason::new(
                        ReasonKind::Forbidden,
                        format!("auth.credentials_file.path: {}: {why}", path.display()),
                    )
                };
                let text = tokio::fs::read_to_string(path)
                    .await
                    .map(Zeroizing::new)
                    .map_err(|why| bad(why.to_string()))?;
                options
                    .credentials(&text)
                    .map_err(|why| bad(format!("is no credentials file: {why}")))?
            }
        })
    }

    /// What a failed attempt means, and what to do about it.
    fn reason(&self, error: &ConnectError) -> Reason {
        let servers = self.servers();
        let cause = cause(error);
        let login = match &self.auth {
            None => "the server wants a login: set `auth`".to_owned(),
            Some(auth) => format!("check {}", auth.key()),
        };
        let (kind, text) = match error.kind() {
            ConnectErrorKind::AuthorizationViolation => (
                ReasonKind::Forbidden,
                format!("{servers} refuses the login (Authorization Violation); {login}"),
            ),
            ConnectErrorKind::Authentication => (
                ReasonKind::Forbidden,
                format!("cannot sign the login of {servers}: {cause}; {login}"),
            ),
            ConnectErrorKind::TimedOut => (
                ReasonKind::Timeout,
                format!("{servers} does not answer within {CONNECTING:?}"),
            ),
            ConnectErrorKind::Tls => (
                ReasonKind::Connection,
                format!("no TLS with {servers}: {cause}{}", roots(&cause)),
            ),
            ConnectErrorKind::Dns => (
                ReasonKind::Connection,
                format!("{servers} cannot be resolved: {cause}"),
            ),
            ConnectErrorKind::ServerParse
            | ConnectErrorKind::Io
            | ConnectErrorKind::MaxReconnects => {
                let hint = if cause.contains("expected INFO") {
                    "; it speaks TLS first, or is no NATS server"
                } else if self.tls.is_none() && cause.to_ascii_lowercase().contains("certificate") {
                    "; set tls.ca_file to the authority of the server's certificate"
                } else {
                    ""
                };
                (
                    ReasonKind::Connection,
                    format!("cannot connect to {servers}: {cause}{hint}"),
                )
            }
        };
        Reason::new(kind, text)
    }
}

impl fmt::Debug for NatsConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NatsConnector({})", self.servers())
    }
}

/// The address without its login, and the login.
fn server(text: &str) -> Result<(ServerAddr, Option<NatsAuth>), String> {
    // Never the whole text in a message: a password may be in it.
    let scheme = text.split_once("://").map(|(scheme, _)| scheme);
    match scheme {
        None | Some("nats" | "tls") => {}
        Some(other) => {
            return Err(format!(
                "{other}:// is not spoken here; an address is like nats://host:4222 or tls://host:4222"
            ));
        }
    }
    let with_scheme = if scheme.is_some() {
        text.to_owned()
    } else {
        format!("nats://{text}")
    };
    let mut url = ::url::Url::parse(&with_scheme)
        .map_err(|why| format!("an address is like nats://host:4222: {why}"))?;
    if url.host_str().is_none_or(str::is_empty) {
        return Err("an address is like nats://host:4222: the host is missing".to_owned());
    }
    let decoded = |text: &str| decode(text).ok_or("the login in the address is no text");
    let login = match (url.username(), url.password()) {
        ("", None) => None,
        (token, None) => Some(NatsAuth::Token {
            token: Token {
                value: decoded(token)?.into(),
            },
        }),
        (user, Some(password)) => Some(NatsAuth::UserPassword {
            user_password: UserPassword {
                user: decoded(user)?,
                password: decoded(password)?.into(),
            },
        }),
    };
    // Both fail only for addresses without a host.
    let _ = (url.set_username(""), url.set_password(None));
    let address = ServerAddr::from_url(url).map_err(|why| why.to_string())?;
    Ok((address, login))
}

/// `%41` is `A`.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
        let value = digit(rest.next())? * 16 + digit(rest.next())?;
        bytes.push(u8::try_from(value).ok()?);
    }
    String::from_utf8(bytes).ok()
}

fn shown(server: &ServerAddr) -> String {
    let host = server.host();
    let scheme = server.scheme();
    if host.contains(':') && !host.starts_with('[') {
        return format!("{scheme}://[{host}]:{}", server.port());
    }
    format!("{scheme}://{host}:{}", server.port())
}

/// Whether the seed is one, and belongs to the public key that stands beside it.
fn check_seed(nkey: &Nkey) -> Result<(), (&'static str, &'static str)> {
    let seed = nkey.seed.expose().trim();
    let pair = nkeys::KeyPair::from_seed(seed).map_err(|_| {
        (
            "auth.nkey.seed",
            "is no seed of a user's key; it begins with SU",
        )
    })?;
    match &nkey.nkey {
        Some(public) if public.trim() != pair.public_key() => Err((
            "auth.nkey.nkey",
            "does not belong to the seed; it can be left out",
        )),
        _ => Ok(()),
    }
}

/// The innermost reason, which is the one that tells something.
fn cause(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(inner) = innermost.source() {
        innermost = inner;
    }
    innermost.to_string()
}

/// A hint where the library wanted the machine's own roots.
fn roots(cause: &str) -> &'static str {
    if cause.contains("platform certs") {
        "; the client reads the machine's own certificates even beside tls.ca_file: install ca-certificates, or point \
         SSL_CERT_FILE at a readable bundle"
    } else {
        ""
    }
}

/// The wait before the n-th attempt: none at first, then growing, with a part of chance so that a fleet does not knock
/// in one beat.
fn wait(attempt: usize) -> Duration {
    let Some(steps) = attempt.checked_sub(2) else {
        return Duration::ZERO;
    };
    let steps = u32::try_from(steps.min(8)).unwrap_or(8);
    let longest = (Duration::from_millis(50) * 2_u32.pow(steps)).min(LAST_WAIT);
    longest.mul_f64(0.5 + fastrand::f64() / 2.0)
}

/// Keeps what the library tells.
fn note(link: &watch::Sender<Link>, event: &Event, id: &str, logs: &Logs) {
    match event {
        Event::Connected => {
            let mut back = false;
            link.send_modify(|link| {
                back = !link.connected && link.breaks > 0;
                link.connected = true;
                link.trouble = None;
            });
            if back && logs.back.pass().is_some() {
                tracing::info!(component_id = id, "the connection to NATS is back");
            }
        }
        Event::Disconnected => {
            link.send_modify(|link| {
                link.connected = false;
                link.breaks += 1;
            });
            if let Some(held_back) = logs.broke.pass() {
                tracing::warn!(
                    component_id = id,
                    held_back,
                    "the connection to NATS broke; it is made again"
                );
            }
        }
        Event::ServerError(ServerError::Other(text))
            if text.to_ascii_lowercase().contains("permissions violation") =>
        {
            link.send_modify(|link| {
                link.denials += 1;
                link.denial = Some(text.as_str().into());
            });
            if let Some(held_back) = logs.trouble.pass() {
                tracing::error!(
                    component_id = id,
                    held_back,
                    "the NATS server forbids it: {text}"
                );
            }
        }
        Event::SlowConsumer(_) => {
            link.send_modify(|link| link.lost += 1);
            if let Some(held_back) = logs.trouble.pass() {
                tracing::error!(
                    component_id = id,
                    held_back,
                    "messages came faster than they were taken, and core NATS throws away what waits too long; JetStream keeps it"
                );
            }
        }
        Event::ServerError(_) | Event::ClientError(_) => {
            let text = match event {
                Event::ServerError(error) => error.to_string(),
                Event::ClientError(error) => error.to_string(),
                _ => return,
            };
            link.send_modify(|link| link.trouble = Some(text.as_str().into()));
            if let Some(held_back) = logs.trouble.pass() {
                tracing::warn!(component_id = id, held_back, "NATS: {text}");
            }
        }
        Event::LameDuckMode => {
            tracing::info!(
                component_id = id,
                "the NATS server is about to go; another one is looked for"
            );
        }
        Event::Draining | Event::Closed => {}
    }
}
