//! NATS for whoever connects to it: options, the connection, and its troubles in plain words.
//!
//! A connection that broke comes back by itself, without end. What a component needs to know about that is in [`Link`]:
//! how often it broke (answers owed before a break never come), and what the server forbade.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_nats::connection::State;
use async_nats::{AuthError, Client, ConnectError, ConnectErrorKind, ConnectOptions, ServerAddr};
use parking_lot::Mutex;
use rustls::ClientConfig;
use tokio::sync::watch;

use super::OptionError;
use super::tls::{ClientTls, TlsOptions, provider};
use crate::component::{Reason, ReasonKind};

mod link;
mod options;
#[cfg(test)]
mod tests;

pub use link::Link;
use link::{Logs, note};
pub use options::{CredentialsFile, NatsAuth, NatsUrl, Nkey, Token, UserPassword};
use options::{check_seed, server, shown, sign_in};

/// Longest wait for one server to take a connection.
const CONNECTING: Duration = Duration::from_secs(5);
/// A silent connection is asked this often whether it still lives; two questions without an answer end it.
const PING: Duration = Duration::from_secs(15);
/// Whoever waits for a connection looks this often.
const LOOK: Duration = Duration::from_millis(20);
/// Messages of one subscription that may wait: more than is ever asked for at once.
const WAITING: usize = 64 * 1024;
/// Longest wait between two attempts to connect again.
const LAST_WAIT: Duration = Duration::from_secs(5);

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

    /// Whether there is a connection. The client itself is asked, for what it tells by events may be crowded out.
    pub fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    /// Waits until there is a connection, at most for `patience`.
    ///
    /// # Errors
    /// There is none, and why.
    pub async fn connected(&self, patience: Duration) -> Result<(), Reason> {
        let end = tokio::time::Instant::now() + patience;
        while !self.is_connected() && tokio::time::Instant::now() < end {
            tokio::time::sleep(LOOK).await;
        }
        if self.is_connected() {
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
        let mut options = self
            .log_in()
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
        let mut with = None;
        if let Some(tls) = &self.tls {
            let config = tls
                .current()
                .map_err(|why| Reason::new(ReasonKind::Connection, why.to_string()))?;
            with = Some(Arc::clone(&config));
            options = options
                .require_tls(true)
                .tls_client_config(ClientConfig::clone(&config));
        }
        let client = options
            .connect(self.servers.clone())
            .await
            .map_err(|why| self.reason(&why))?;
        *self.used.lock() = with;
        Ok(Nats { client, link })
    }

    fn log_in(&self) -> ConnectOptions {
        let options = ConnectOptions::new();
        match &self.auth {
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
                let path = credentials_file.path.clone();
                // Asked at every attempt: the file may have been renewed since the connection broke.
                ConnectOptions::with_auth_callback(move |nonce| {
                    let answer = sign_in(&path, &nonce).map_err(AuthError::new);
                    std::future::ready(answer)
                })
            }
        }
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
