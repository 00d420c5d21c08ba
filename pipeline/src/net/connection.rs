//! One HTTP/1.1 connection: made (through a proxy and TLS where needed), used for one exchange at a time, used again.
//!
//! The body is written from where it was built, without a copy or a hand-over to another task; the answer is looked for
//! while the body is still being written, because a server that refuses it says so early and then closes.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::http::HttpError;
use super::proxy::Proxy;
use super::url::Url;

/// The read buffer [bytes]; the head of an answer must fit into it.
const BUFFER: usize = 32 << 10;

/// Most headers of an answer.
pub(super) const MAX_HEADERS: usize = 100;

/// The bytes below, plain or encrypted.
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    pub(super) fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(tcp) => tcp,
            Self::Tls(tls) => tls.get_ref().0,
        }
    }

    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(tcp) => Pin::new(tcp).poll_write_vectored(cx, slices),
            Self::Tls(tls) => Pin::new(&mut **tls).poll_write_vectored(cx, slices),
        }
    }

    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(_) => Poll::Ready(Ok(())),
            Self::Tls(tls) => Pin::new(&mut **tls).poll_flush(cx),
        }
    }

    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Self::Tls(tls) => Pin::new(&mut **tls).poll_read(cx, buf),
        }
    }

    pub(super) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Self::Tls(tls) => Pin::new(&mut **tls).poll_shutdown(cx),
        }
    }
}

/// The head of an answer.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) keep_alive: bool,
}

impl Head {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, v)| v.as_str())
    }
}

/// An open connection and what has been read ahead from it.
pub(super) struct Connection {
    stream: Stream,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    /// Whether an exchange went over it before.
    pub(super) used: bool,
    pub(super) idle_since: Instant,
    /// Whether the body of the running exchange was written to its end.
    written: bool,
}

/// What a connection is made with.
pub(super) struct Dial<'a> {
    pub(super) url: &'a Url,
    pub(super) proxy: Option<&'a Proxy>,
    pub(super) tls: Option<Arc<rustls::ClientConfig>>,
    /// How long an unanswered packet keeps a connection alive.
    pub(super) silence: Duration,
}

impl Dial<'_> {
    pub(super) async fn connect(self) -> Result<Connection, HttpError> {
        let (host, port) = self.proxy.map_or((self.url.host(), self.url.port()), |p| {
            (p.host.as_str(), p.port)
        });
        let tcp = dial(host, port, self.silence).await?;
        let mut connection = Connection::new(Stream::Plain(tcp));
        let Some(config) = self.tls else {
            return Ok(connection);
        };
        if let Some(proxy) = self.proxy {
            connection.tunnel(self.url, proxy).await?;
        }
        let Stream::Plain(tcp) = connection.stream else {
            return Err(HttpError::Protocol("a tunnel inside a tunnel".to_owned()));
        };
        let name =
            ServerName::try_from(self.url.host().to_owned()).map_err(|e| HttpError::Tls {
                server: self.url.origin(),
                why: e.to_string(),
            })?;
        let tls = TlsConnector::from(config)
            .connect(name, tcp)
            .await
            .map_err(|e| HttpError::Tls {
                server: self.url.origin(),
                why: tls_reason(&e),
            })?;
        Ok(Connection::new(Stream::Tls(Box::new(tls))))
    }
}

/// rustls's text, with the remedy where there is one.
pub(super) fn tls_reason(error: &io::Error) -> String {
    use rustls::{CertificateError, Error};
    let inner = error.get_ref().and_then(|e| e.downcast_ref::<Error>());
    match inner {
        Some(Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {
            "nobody we believe has signed its certificate; set tls.ca_file, or tls.fingerprint for a self-signed one".to_owned()
        }
        Some(Error::InvalidMessage(_)) => "it does not speak TLS; is the address http:// in truth?".to_owned(),
        // Ours from the fingerprint check: the text is complete.
        Some(Error::General(why)) => why.clone(),
        Some(other) => other.to_string(),
        None => error.to_string(),
    }
}

pub(super) async fn dial(host: &str, port: u16, silence: Duration) -> Result<TcpStream, HttpError> {
    let failed = |why: String| HttpError::Connect {
        server: format!("{host}:{port}"),
        why,
    };
    let addresses: Vec<SocketAddr> = tokio::net::lookup_host((host, port))
        .await
        .map_err(|e| failed(format!("the name is not known: {e}")))?
        .collect();
    let mut last = "the name has no address".to_owned();
    for address in addresses {
        match tokio::time::timeout(Duration::from_secs(5), TcpStream::connect(address)).await {
            Ok(Ok(tcp)) => {
                // None of these is needed to talk; a kernel without one of them is no reason not to.
                let _ = tcp.set_nodelay(true);
                let _ = rustix::net::sockopt::set_socket_keepalive(&tcp, true);
                let _ = rustix::net::sockopt::set_tcp_keepidle(&tcp, Duration::from_secs(30));
                let limit = u32::try_from(silence.as_millis()).unwrap_or(u32::MAX);
                let _ = rustix::net::sockopt::set_tcp_user_timeout(&tcp, limit);
                return Ok(tcp);
            }
            Ok(Err(e)) => last = e.to_string(),
            Err(_) => last = format!("{address} did not answer within 5 s"),
        }
    }
    Err(failed(last))
}

impl Connection {
    fn new(stream: Stream) -> Self {
        Self {
            stream,
            buffer: vec![0; BUFFER].into_boxed_slice(),
            start: 0,
            end: 0,
            used: false,
            idle_since: Instant::now(),
            written: true,
        }
    }

    async fn tunnel(&mut self, url: &Url, proxy: &Proxy) -> Result<(), HttpError> {
        let host = if url.host().contains(':') {
            format!("[{}]", url.host())
        } else {
            url.host().to_owned()
        };
        let target = format!("{host}:{}", url.port());
        let head = zeroize::Zeroizing::new(format!(
            "CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{}\r\n",
            proxy.authorization.as_str()
        ));
        let answer = self.exchange(head.as_bytes(), &[]).await?;
        if answer.status / 100 != 2 {
            return Err(HttpError::Connect {
                server: url.origin(),
                why: format!("the proxy {proxy:?} answered {} to CONNECT", answer.status),
            });
        }
        if self.start != self.end {
            return Err(HttpError::Protocol(format!(
                "the proxy {proxy:?} spoke before the server did"
            )));
        }
        Ok(())
    }

    /// Whether the other side has neither closed nor said anything since the last exchange.
    pub(super) fn is_quiet(&self) -> bool {
        use rustix::net::{RecvFlags, recv};
        let mut byte = [0_u8; 1];
        let seen = recv(
            self.stream.tcp(),
            &mut byte,
            RecvFlags::PEEK | RecvFlags::DONTWAIT,
        );
        self.start == self.end && matches!(seen, Err(rustix::io::Errno::WOULDBLOCK))
    }

    /// Whether another exchange can follow this one.
    pub(super) fn is_reusable(&self) -> bool {
        self.written && self.start == self.end
    }

    /// Sends a request and reads the head of its answer.
    pub(super) async fn exchange(&mut self, head: &[u8], body: &[u8]) -> Result<Head, HttpError> {
        self.written = false;
        let total = head.len() + body.len();
        let mut sent = 0;
        let mut flushed = false;
        let mut broken: Option<io::Error> = None;
        poll_fn(|cx| {
            loop {
                while sent < total && broken.is_none() {
                    let slices;
                    let rest = if let Some(left) = head.get(sent..).filter(|h| !h.is_empty()) {
                        slices = [IoSlice::new(left), IoSlice::new(body)];
                        &slices[..]
                    } else {
                        slices = [IoSlice::new(&body[sent - head.len()..]), IoSlice::new(&[])];
                        &slices[..1]
                    };
                    match self.stream.poll_write(cx, rest) {
                        Poll::Ready(Ok(0)) => broken = Some(io::ErrorKind::WriteZero.into()),
                        Poll::Ready(Ok(n)) => sent += n,
                        // The answer may already lie here: a server that refuses a body answers, then closes.
                        Poll::Ready(Err(e)) => broken = Some(e),
                        Poll::Pending => break,
                    }
                }
                if sent == total && !flushed && broken.is_none() {
                    match self.stream.poll_flush(cx) {
                        Poll::Ready(Ok(())) => flushed = true,
                        Poll::Ready(Err(e)) => broken = Some(e),
                        Poll::Pending => {}
                    }
                    self.written = flushed;
                }
                if let Some(answer) = self.parse_head()? {
                    return Poll::Ready(Ok(answer));
                }
                match ready!(self.poll_fill(cx)) {
                    Ok(0) => {
                        let why = broken.take().map_or_else(
                            || "it closed the connection".to_owned(),
                            |e| e.to_string(),
                        );
                        return Poll::Ready(Err(HttpError::Closed {
                            early: self.start == self.end,
                            why,
                        }));
                    }
                    Ok(_) => {}
                    Err(e) => {
                        let why = broken.take().unwrap_or(e).to_string();
                        return Poll::Ready(Err(HttpError::Closed {
                            early: self.start == self.end,
                            why,
                        }));
                    }
                }
            }
        })
        .await
    }

    /// The head of a final answer, if all of it is here; interim answers (1xx) are read over.
    fn parse_head(&mut self) -> Result<Option<Head>, HttpError> {
        loop {
            let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
            let mut parsed = httparse::Response::new(&mut headers);
            let length = match parsed.parse(&self.buffer[self.start..self.end]) {
                Ok(httparse::Status::Complete(length)) => length,
                Ok(httparse::Status::Partial)
                    if self.start == 0 && self.end == self.buffer.len() =>
                {
                    return Err(HttpError::Protocol(format!(
                        "the head of the answer is longer than {BUFFER} bytes"
                    )));
                }
                Ok(httparse::Status::Partial) => return Ok(None),
                Err(why) => {
                    return Err(HttpError::Protocol(format!(
                        "this is no HTTP answer ({why}); is the port right, and http or https?"
                    )));
                }
            };
            let status = parsed.code.unwrap_or(0);
            let http11 = parsed.version == Some(1);
            if (100..200).contains(&status) && status != 101 {
                self.start += length;
                continue;
            }
            let headers: Vec<(String, String)> = parsed
                .headers
                .iter()
                .map(|h| {
                    (
                        h.name.to_owned(),
                        String::from_utf8_lossy(h.value).trim().to_owned(),
                    )
                })
                .collect();
            self.start += length;
            let mut head = Head {
                status,
                headers,
                keep_alive: false,
            };
            let connection = head
                .header("connection")
                .unwrap_or_default()
                .to_ascii_lowercase();
            head.keep_alive = if http11 {
                !connection.contains("close")
            } else {
                connection.contains("keep-alive")
            };
            return Ok(Some(head));
        }
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.end == self.buffer.len() && self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        let mut room = ReadBuf::new(&mut self.buffer[self.end..]);
        ready!(self.stream.poll_read(cx, &mut room))?;
        let n = room.filled().len();
        self.end += n;
        Poll::Ready(Ok(n))
    }

    /// Reads more; 0 at the end of the stream.
    pub(super) async fn fill(&mut self) -> Result<usize, HttpError> {
        poll_fn(|cx| self.poll_fill(cx))
            .await
            .map_err(|e| HttpError::Closed {
                early: false,
                why: e.to_string(),
            })
    }

    /// What has been read and not yet taken.
    pub(super) fn ahead(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Takes `n` bytes of [`ahead`](Self::ahead) and gives them back.
    pub(super) fn take(&mut self, n: usize) -> &[u8] {
        let from = self.start;
        self.start = (self.start + n).min(self.end);
        &self.buffer[from..self.start]
    }
}
