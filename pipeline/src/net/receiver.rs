//! A small HTTP server for tests: it answers from a script, remembers what it was sent, and can misbehave.
//!
//! `testing::receiver().busy_first(1).start().await` listens on a free port of loopback until it is dropped.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::Url;

mod wire;

/// A request as it came.
#[derive(Clone, Debug, Default)]
pub struct Received {
    /// `POST`.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Headers in their order, names in small letters.
    pub headers: Vec<(String, String)>,
    /// The body, chunks joined, still compressed.
    pub body: Vec<u8>,
}

impl Received {
    /// The first header of this name (small letters).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.body)
    }
}

/// What is answered.
#[derive(Clone, Debug)]
pub struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    chunked: bool,
    manner: Manner,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Manner {
    Whole,
    /// Closes without a word.
    Silent,
    /// Closes behind so many bytes of the answer.
    Cut(usize),
    /// Sends these bytes and nothing else.
    Raw,
    /// Answers on the head of the request, before its body is read, and closes.
    Early,
    /// Takes the request and never answers.
    Hang,
}

impl Answer {
    /// With this status and body.
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: body.into(),
            chunked: false,
            manner: Manner::Whole,
        }
    }

    /// 200 with a JSON body.
    pub fn json(body: impl Into<Vec<u8>>) -> Self {
        Self::new(200, body).header("Content-Type", "application/json")
    }

    /// With one more header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Its body.
    pub fn into_body(self) -> Vec<u8> {
        self.body
    }

    /// In chunks of a few bytes instead of with a length.
    #[must_use]
    pub fn chunked(self) -> Self {
        Self {
            chunked: true,
            ..self
        }
    }

    /// On the head alone: the body is not read, the connection is closed.
    #[must_use]
    pub fn early(self) -> Self {
        Self {
            manner: Manner::Early,
            ..self
        }
    }

    /// Only the first `bytes` of the answer, then the connection closes.
    #[must_use]
    pub fn cut(self, bytes: usize) -> Self {
        Self {
            manner: Manner::Cut(bytes),
            ..self
        }
    }

    /// Takes the request and closes without a word.
    pub fn silent() -> Self {
        Self {
            manner: Manner::Silent,
            ..Self::new(0, "")
        }
    }

    /// Takes the request and never answers.
    pub fn hang() -> Self {
        Self {
            manner: Manner::Hang,
            ..Self::new(0, "")
        }
    }

    /// These bytes and nothing else.
    pub fn raw(bytes: impl Into<Vec<u8>>) -> Self {
        Self {
            manner: Manner::Raw,
            ..Self::new(0, bytes)
        }
    }
}

type Handler = Arc<dyn Fn(&Received) -> Option<Answer> + Send + Sync>;

/// A server not yet started.
#[derive(Default)]
pub struct Builder {
    script: VecDeque<Answer>,
    handlers: Vec<Handler>,
    tls: Option<Arc<rustls::ServerConfig>>,
}

/// A server that answers everything with 200 and nothing, unless told otherwise.
pub fn receiver() -> Builder {
    Builder::default()
}

impl Builder {
    /// 400 for a body of which `poison` is true.
    #[must_use]
    pub fn refuses(self, poison: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        self.answers(move |request| poison(&request.text()).then(|| Answer::new(400, "poison")))
    }

    /// 429 for the first `times` requests.
    #[must_use]
    pub fn busy_first(self, times: usize) -> Self {
        (0..times).fold(self, |b, _| b.then(Answer::new(429, "busy")))
    }

    /// One more answer of a script; each is given once, in order, before any other rule is asked.
    #[must_use]
    pub fn then(mut self, answer: Answer) -> Self {
        self.script.push_back(answer);
        self
    }

    /// A rule; the first that has an answer gives it.
    #[must_use]
    pub fn answers(
        mut self,
        rule: impl Fn(&Received) -> Option<Answer> + Send + Sync + 'static,
    ) -> Self {
        self.handlers.push(Arc::new(rule));
        self
    }

    /// Speaks TLS.
    #[must_use]
    pub fn tls(mut self, config: rustls::ServerConfig) -> Self {
        self.tls = Some(Arc::new(config));
        self
    }

    /// Listens on a free port of loopback.
    pub async fn start(self) -> Receiver {
        self.start_at(0).await
    }

    /// Listens on a certain port of loopback, where another receiver stood before.
    pub async fn start_at(self, port: u16) -> Receiver {
        let listener = listen(port).await;
        let port = listener
            .local_addr()
            .expect("a listener has an address")
            .port();
        let https = self.tls.is_some();
        let shared = Arc::new(Shared {
            script: Mutex::new(self.script),
            handlers: self.handlers,
            seen: Mutex::new(Vec::new()),
            connections: AtomicUsize::new(0),
            changed: Notify::new(),
        });
        let acceptor = self.tls.map(TlsAcceptor::from);
        let task = tokio::spawn(accept(listener, acceptor, Arc::clone(&shared)));
        Receiver {
            port,
            https,
            shared,
            task,
        }
    }
}

struct Shared {
    script: Mutex<VecDeque<Answer>>,
    handlers: Vec<Handler>,
    seen: Mutex<Vec<Received>>,
    connections: AtomicUsize,
    changed: Notify,
}

/// A running server; dropping it closes its port and its connections.
pub struct Receiver {
    port: u16,
    https: bool,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Receiver {
    /// Where it listens, like `http://127.0.0.1:40123`; by name where it speaks TLS.
    pub fn uri(&self) -> String {
        if self.https {
            format!("https://localhost:{}", self.port)
        } else {
            format!("http://127.0.0.1:{}", self.port)
        }
    }

    /// The same, parsed, with `path` behind it.
    pub fn url(&self, path: &str) -> Url {
        Url::parse(&self.uri())
            .expect("our own address is one")
            .join(path)
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What has come so far.
    pub fn requests(&self) -> Vec<Received> {
        self.shared.seen.lock().clone()
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Adds to the script of the running server.
    pub fn then(&self, answer: Answer) {
        self.shared.script.lock().push_back(answer);
    }

    /// Waits until `holds` is true of what has come; panics after 20 s, because a test must end.
    pub async fn until(&self, holds: impl Fn(&[Received]) -> bool) {
        let wait = async {
            loop {
                let changed = self.shared.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                if holds(&self.shared.seen.lock()) {
                    return;
                }
                changed.await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), wait)
            .await
            .expect("the requests waited for come within 20 s");
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The one who held a certain port before may still be letting go of it.
async fn listen(port: u16) -> TcpListener {
    let mut tries = 0;
    loop {
        match TcpListener::bind(("127.0.0.1", port)).await {
            Ok(listener) => return listener,
            Err(why) if tries >= 1000 => panic!("port {port} of loopback stays taken: {why}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
        tries += 1;
    }
}

async fn accept(listener: TcpListener, acceptor: Option<TlsAcceptor>, shared: Arc<Shared>) {
    // Dropped with this task, and its connections with it.
    let mut open = tokio::task::JoinSet::new();
    while let Ok((tcp, _)) = listener.accept().await {
        let _ = tcp.set_nodelay(true);
        shared.connections.fetch_add(1, Ordering::SeqCst);
        let shared = Arc::clone(&shared);
        match acceptor.clone() {
            None => open.spawn(serve(tcp, shared)),
            Some(acceptor) => open.spawn(async move {
                match acceptor.accept(tcp).await {
                    Ok(tls) => serve(tls, shared).await,
                    Err(_) => None,
                }
            }),
        };
    }
}

/// Serves one connection; `None` when it is over.
async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, shared: Arc<Shared>) -> Option<()> {
    let mut buffer = Vec::new();
    loop {
        let head_end = loop {
            if let Some(at) = memchr::memmem::find(&buffer, b"\r\n\r\n") {
                break at + 4;
            }
            if stream.read_buf(&mut buffer).await.ok()? == 0 {
                return None;
            }
            if !buffer[0].is_ascii_uppercase() {
                // What servers of plain HTTP say to a TLS handshake.
                stream
                    .write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
                    .await
                    .ok()?;
                return None;
            }
        };
        let head = String::from_utf8_lossy(&buffer[..head_end]).into_owned();
        buffer.drain(..head_end);
        let mut request = wire::parse(&head)?;
        let early = shared
            .script
            .lock()
            .pop_front_if(|a| a.manner == Manner::Early);
        if let Some(answer) = early {
            shared.see(request);
            stream.write_all(&wire::written(&answer)).await.ok()?;
            stream.shutdown().await.ok()?;
            // Closing with unread data resets the connection, and the answer with it, so the rest is swallowed.
            let mut rest = vec![0; 64 << 10];
            while matches!(stream.read(&mut rest).await, Ok(n) if n > 0) {}
            return None;
        }
        request.body = wire::body(&mut stream, &mut buffer, &request).await?;
        let scripted = shared.script.lock().pop_front();
        let answer = scripted
            .or_else(|| shared.handlers.iter().find_map(|rule| rule(&request)))
            .unwrap_or_else(|| Answer::new(200, ""));
        let head_only = request.method == "HEAD";
        shared.see(request);
        match answer.manner {
            Manner::Silent => return None,
            Manner::Hang => std::future::pending().await,
            Manner::Raw => {
                stream.write_all(&answer.body).await.ok()?;
                stream.shutdown().await.ok()?;
                return None;
            }
            Manner::Cut(bytes) => {
                let whole = wire::written(&answer);
                stream
                    .write_all(&whole[..bytes.min(whole.len())])
                    .await
                    .ok()?;
                stream.shutdown().await.ok()?;
                return None;
            }
            Manner::Whole | Manner::Early => {
                let mut whole = wire::written(&answer);
                if head_only {
                    let head =
                        memchr::memmem::find(&whole, b"\r\n\r\n").map_or(whole.len(), |at| at + 4);
                    whole.truncate(head);
                }
                stream.write_all(&whole).await.ok()?;
                stream.flush().await.ok()?;
                if answer
                    .headers
                    .iter()
                    .any(|(n, v)| n.eq_ignore_ascii_case("connection") && v == "close")
                {
                    stream.shutdown().await.ok()?;
                    return None;
                }
            }
        }
    }
}

impl Shared {
    fn see(&self, request: Received) {
        self.seen.lock().push(request);
        self.changed.notify_waiters();
    }
}
