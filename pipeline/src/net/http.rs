//! `Http`: a client for one component. Connections are kept and used again; nothing is done per event.
//!
//! - no redirect is followed: a server that answers one gets no credentials at another place
//! - proxies come from the environment, never for this machine itself
//! - credentials stand in headers that are never printed

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::auth::Auth;
use super::connection::{Connection, Dial};
use super::proxy::Proxies;
use super::response::Response;
use super::tls::{ClientTls, TlsOptions};
use super::url::Url;
use super::{OptionError, Secret};
use crate::component::{Reason, ReasonKind};

/// Connections to one server that wait for their next request.
const MAX_IDLE: usize = 8;

/// How long a connection may wait; load balancers commonly cut at 60 s.
const IDLE: Duration = Duration::from_secs(50);

/// What a client is built from.
#[derive(Clone, Debug)]
pub struct HttpOptions {
    /// Whom to believe and how to prove who we are.
    pub tls: TlsOptions,
    /// Credentials for every request.
    pub auth: Option<Auth>,
    /// Headers for every request; their values may be secrets.
    pub headers: BTreeMap<String, Secret>,
    /// From the first byte of a request to the last of its answer.
    pub timeout: Duration,
    /// Until a connection stands, TLS included.
    pub connect_timeout: Duration,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            tls: TlsOptions::default(),
            auth: None,
            headers: BTreeMap::new(),
            timeout: Duration::from_secs(60),
            connect_timeout: Duration::from_secs(10),
        }
    }
}

impl HttpOptions {
    /// Everything that keeps a client from being built, not only the first.
    pub fn mistakes(&self) -> Vec<OptionError> {
        let mut mistakes = self.tls.mistakes();
        mistakes.extend(self.auth.as_ref().and_then(|auth| auth.header().err()));
        let headers = self.headers.iter();
        mistakes.extend(headers.filter_map(|(name, value)| self.check_header(name, value).err()));
        mistakes
    }

    fn check_header(&self, name: &str, value: &Secret) -> Result<(), OptionError> {
        let wrong = |why: &str| OptionError::new(format!("request.headers.{name}"), why);
        check_name(name).map_err(|why| wrong(&why))?;
        if !value
            .expose()
            .bytes()
            .all(|b| b == b'\t' || (b >= 0x20 && b != 0x7f))
        {
            return Err(wrong(
                "a header's value has no line break or control character in it",
            ));
        }
        if self.auth.is_some() && name.eq_ignore_ascii_case("authorization") {
            return Err(wrong("`auth` sets this header already"));
        }
        Ok(())
    }
}

/// Why there is no answer. Each of these is worth another try: nothing here says that the request was wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    /// No connection.
    #[error("cannot connect to {server}: {why}")]
    Connect {
        /// `host:port` or origin.
        server: String,
        /// The system's word.
        why: String,
    },
    /// The peer is not believed, or does not speak TLS.
    #[error("no TLS with {server}: {why}")]
    Tls {
        /// The origin.
        server: String,
        /// What was wrong with it.
        why: String,
    },
    /// It took longer than allowed.
    #[error("timed out waiting for {0}")]
    Timeout(&'static str),
    /// The connection broke.
    #[error("the server broke off: {why}")]
    Closed {
        /// Before a single byte of an answer had come.
        early: bool,
        /// The system's word.
        why: String,
    },
    /// What came is not HTTP.
    #[error("{0}")]
    Protocol(String),
    /// More than was asked for.
    #[error("the answer is longer than {limit} bytes")]
    TooLong {
        /// The limit [bytes].
        limit: usize,
    },
    /// TLS files or roots that cannot be used.
    #[error(transparent)]
    Options(#[from] OptionError),
}

impl HttpError {
    /// A word for metrics: `connect`, `tls`, `timeout`, `closed`, `protocol`, `too_long`, `options`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Connect { .. } => "connect",
            Self::Tls { .. } => "tls",
            Self::Timeout(_) => "timeout",
            Self::Closed { .. } => "closed",
            Self::Protocol(_) => "protocol",
            Self::TooLong { .. } => "too_long",
            Self::Options(_) => "options",
        }
    }

    /// What a sink tells the engine.
    pub fn reason(&self) -> Reason {
        let kind = match self {
            Self::Timeout(_) => ReasonKind::Timeout,
            Self::Protocol(_) | Self::TooLong { .. } => ReasonKind::Nonsense,
            _ => ReasonKind::Connection,
        };
        Reason::new(kind, self.to_string())
    }
}

/// A client. Clones share its connections.
#[derive(Clone)]
pub struct Http(Arc<Inner>);

struct Inner {
    tls: ClientTls,
    proxies: Proxies,
    /// Header lines of every request, each with its line end.
    common: Zeroizing<String>,
    timeout: Duration,
    connect_timeout: Duration,
    idle: Mutex<Vec<(String, Connection)>>,
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Http")
    }
}

impl Http {
    /// Checks the options and reads their files; connects to nothing.
    pub fn new(options: &HttpOptions) -> Result<Self, OptionError> {
        Self::with_environment(options, |name| std::env::var(name).ok())
    }

    pub(super) fn with_environment(
        options: &HttpOptions,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, OptionError> {
        let mut common = Zeroizing::new(format!(
            "User-Agent: pvetrail/{}\r\nAccept: */*\r\n",
            env!("CARGO_PKG_VERSION")
        ));
        if let Some(auth) = &options.auth {
            common.push_str("Authorization: ");
            common.push_str(&auth.header()?);
            common.push_str("\r\n");
        }
        for (name, value) in &options.headers {
            options.check_header(name, value)?;
            for part in [name, ": ", value.expose(), "\r\n"] {
                common.push_str(part);
            }
        }
        Ok(Self(Arc::new(Inner {
            tls: ClientTls::new(options.tls.clone(), &["http/1.1"])?,
            proxies: Proxies::from_environment(variable),
            common,
            timeout: options.timeout,
            connect_timeout: options.connect_timeout,
            idle: Mutex::new(Vec::new()),
        })))
    }

    /// A request with `method`, a word in capitals.
    pub fn request<'a>(&'a self, method: &'static str, url: &'a Url) -> Request<'a> {
        Request {
            http: self,
            method,
            url: Cow::Borrowed(url),
            headers: Zeroizing::new(String::new()),
            body: None,
            timeout: self.0.timeout,
            idempotent: !matches!(method, "POST" | "PATCH"),
        }
    }

    /// A GET.
    pub fn get<'a>(&'a self, url: &'a Url) -> Request<'a> {
        self.request("GET", url)
    }

    /// A POST.
    pub fn post<'a>(&'a self, url: &'a Url) -> Request<'a> {
        self.request("POST", url)
    }

    /// A PUT.
    pub fn put<'a>(&'a self, url: &'a Url) -> Request<'a> {
        self.request("PUT", url)
    }

    pub(super) fn put_back(&self, place: String, mut connection: Connection) {
        connection.used = true;
        connection.idle_since = Instant::now();
        let mut idle = self.0.idle.lock();
        idle.retain(|(_, c)| c.idle_since.elapsed() < IDLE);
        if idle.iter().filter(|(p, _)| *p == place).count() < MAX_IDLE {
            idle.push((place, connection));
        }
    }

    /// A connection that was used before and still stands.
    fn take_idle(&self, place: &str) -> Option<Connection> {
        let mut idle = self.0.idle.lock();
        while let Some(at) = idle.iter().rposition(|(p, _)| p == place) {
            let (_, connection) = idle.swap_remove(at);
            if connection.idle_since.elapsed() < IDLE && connection.is_quiet() {
                return Some(connection);
            }
        }
        None
    }
}

fn check_name(name: &str) -> Result<(), String> {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if name.is_empty() || !name.bytes().all(token) {
        return Err("is no name of a header".to_owned());
    }
    let ours = [
        "host",
        "content-length",
        "transfer-encoding",
        "connection",
        "user-agent",
        "accept",
        "expect",
        "content-encoding",
    ];
    if ours.iter().any(|o| name.eq_ignore_ascii_case(o)) {
        return Err("this header is set by the program itself".to_owned());
    }
    Ok(())
}

/// A request on its way to being sent.
pub struct Request<'a> {
    http: &'a Http,
    method: &'static str,
    url: Cow<'a, Url>,
    headers: Zeroizing<String>,
    body: Option<&'a [u8]>,
    timeout: Duration,
    idempotent: bool,
}

impl<'a> Request<'a> {
    /// One more header. Name and value come from the program, not from data.
    ///
    /// A character that would end the line early is left out.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push_str(name);
        self.headers.push_str(": ");
        self.headers
            .extend(value.chars().filter(|c| !c.is_control()));
        self.headers.push_str("\r\n");
        self
    }

    /// The body, sent from where it lies.
    #[must_use]
    pub fn body(mut self, content_type: &str, body: &'a [u8]) -> Self {
        self.body = Some(body);
        self.header("Content-Type", content_type)
    }

    /// Another limit than the client's, from the first byte sent to the last byte of the answer.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Doing it twice does no harm, so it may be sent again at once when a kept connection turns out to be dead.
    #[must_use]
    pub fn idempotent(mut self) -> Self {
        self.idempotent = true;
        self
    }

    /// Sends it and waits for the head of the answer, whatever its status.
    pub async fn send(self) -> Result<Response, HttpError> {
        let deadline = Instant::now() + self.timeout;
        match tokio::time::timeout_at(deadline, self.exchange(deadline)).await {
            Ok(answer) => answer,
            Err(_) => Err(HttpError::Timeout("an answer")),
        }
    }

    async fn exchange(self, deadline: Instant) -> Result<Response, HttpError> {
        let inner = &*self.http.0;
        let proxy = inner.proxies.of(&self.url);
        let place = self.url.origin();
        let head = self.head(
            proxy
                .filter(|_| !self.url.is_https())
                .map(|p| p.authorization.as_str()),
        );
        loop {
            let mut connection = match self.http.take_idle(&place) {
                Some(connection) => connection,
                None => {
                    let tls = if self.url.is_https() {
                        Some(inner.tls.current()?)
                    } else {
                        None
                    };
                    let dial = Dial {
                        url: &self.url,
                        proxy,
                        tls,
                        silence: inner.timeout,
                    };
                    match tokio::time::timeout(inner.connect_timeout, dial.connect()).await {
                        Ok(connection) => connection?,
                        Err(_) => return Err(HttpError::Timeout("a connection")),
                    }
                }
            };
            match connection
                .exchange(&head, self.body.unwrap_or_default())
                .await
            {
                Ok(answer) => {
                    let http = self.http.clone();
                    return Response::new(
                        answer,
                        self.method == "HEAD",
                        http,
                        place,
                        deadline,
                        connection,
                    );
                }
                // A server may close a kept connection at the very moment we use it again. Each turn takes one kept
                // connection away, and a new one is never tried twice.
                Err(HttpError::Closed { early: true, .. })
                    if connection.used && self.idempotent => {}
                Err(why) => return Err(why),
            }
        }
    }

    fn head(&self, proxy_authorization: Option<&str>) -> Zeroizing<Vec<u8>> {
        let common = &self.http.0.common;
        let mut head = Zeroizing::new(Vec::with_capacity(512 + common.len() + self.headers.len()));
        head.extend_from_slice(self.method.as_bytes());
        head.push(b' ');
        if proxy_authorization.is_some() {
            head.extend_from_slice(self.url.origin().as_bytes());
        }
        head.extend_from_slice(self.url.path_and_query().as_bytes());
        head.extend_from_slice(b" HTTP/1.1\r\nHost: ");
        head.extend_from_slice(self.url.authority().as_bytes());
        head.extend_from_slice(b"\r\n");
        head.extend_from_slice(proxy_authorization.unwrap_or_default().as_bytes());
        head.extend_from_slice(common.as_bytes());
        head.extend_from_slice(self.headers.as_bytes());
        if self.body.is_some() || matches!(self.method, "POST" | "PUT" | "PATCH") {
            let length = self.body.map_or(0, <[u8]>::len);
            write!(&mut *head, "Content-Length: {length}\r\n")
                .expect("writing into memory does not fail");
        }
        head.extend_from_slice(b"\r\n");
        head
    }
}
