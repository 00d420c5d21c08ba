//! HTTP/1.1 as a server hears it: heads and bodies that are bounded in bytes and in time, and answers.
//!
//! Strict where leniency helps nobody: two lengths, a length beside chunks, a chunk without a size are refused.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout, timeout_at};

use super::budget::Lease;

/// The longest head of a request [bytes].
const MAX_HEAD: usize = 16 << 10;
/// Most headers of a request.
const MAX_HEADERS: usize = 64;
/// The longest line of chunk framing, and all trailers together [bytes].
const MAX_LINE: usize = 4 << 10;
/// Read at once [bytes].
const PIECE: usize = 16 << 10;
/// After an answer that came before the end of a request its rest is swallowed, so that the answer is not lost with the
/// connection: so much of it [bytes], so long.
const SWALLOWED: usize = 4 << 20;
const SWALLOWING: Duration = Duration::from_secs(2);
/// Longest wait for a peer to take its answer.
const ANSWERING: Duration = Duration::from_secs(10);

/// Why a request is answered before it was understood, or the connection ended without a word.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Broken {
    /// Nobody is there to be answered.
    Gone,
    /// It is answered with a status and a sentence, and the connection closed.
    Refused(u16, String),
}

impl Broken {
    pub(super) fn refused(status: u16, why: impl Into<String>) -> Broken {
        Broken::Refused(status, why.into())
    }
}

/// How long the body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Length {
    /// So many bytes.
    Known(u64),
    /// In chunks.
    Chunked,
}

/// The head of a request.
#[derive(Debug)]
pub(super) struct Head {
    /// `POST`
    pub(super) method: String,
    /// The path without its query.
    pub(super) path: String,
    /// How long the body is.
    pub(super) length: Length,
    /// Whether the connection may stay.
    pub(super) keep_alive: bool,
    /// Whether the peer waits for a word before it sends the body.
    pub(super) waits: bool,
    headers: Vec<(String, String)>,
}

impl Head {
    /// The first header of this name, whatever its case.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let mut all = self.headers.iter();
        all.find(|(held, _)| held.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }
}

/// A connection, and what was read of it but not yet used.
pub(super) struct Wire<S> {
    stream: S,
    buffer: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    pub(super) fn new(stream: S) -> Self {
        Wire {
            stream,
            buffer: Vec::new(),
        }
    }

    /// Whether a request has begun.
    pub(super) fn holds_something(&self) -> bool {
        !self.buffer.is_empty()
    }

    /// Waits for the first byte of a request; false when the peer has gone. Dropping the future loses nothing.
    pub(super) async fn begins(&mut self) -> bool {
        self.holds_something() || matches!(self.fill().await, Ok(n) if n > 0)
    }

    async fn fill(&mut self) -> std::io::Result<usize> {
        self.buffer.reserve(PIECE);
        self.stream.read_buf(&mut self.buffer).await
    }

    /// Reads a head.
    pub(super) async fn head(&mut self, until: Instant) -> Result<Head, Broken> {
        loop {
            // Empty lines before a request are forgiven, as RFC 9112 asks.
            let blank = self
                .buffer
                .iter()
                .take_while(|b| matches!(b, b'\r' | b'\n'));
            let blank = blank.count();
            self.buffer.drain(..blank);
            if let Some((head, length)) = parse(&self.buffer)? {
                self.buffer.drain(..length);
                return Ok(head);
            }
            if self.buffer.len() >= MAX_HEAD {
                return Err(Broken::refused(431, "the head of the request is too long"));
            }
            match timeout_at(until, self.fill()).await {
                Ok(Ok(0)) | Ok(Err(_)) => return Err(Broken::Gone),
                Ok(Ok(_)) => {}
                Err(_) => {
                    return Err(Broken::refused(
                        408,
                        "the head of the request took too long",
                    ));
                }
            }
        }
    }

    /// Tells a peer that waits for it to send the body.
    pub(super) async fn go_on(&mut self) -> Result<(), Broken> {
        self.send(b"HTTP/1.1 100 Continue\r\n\r\n").await
    }

    /// Reads a body of at most `limit` bytes; what it takes is taken from `lease`.
    pub(super) async fn body(
        &mut self,
        length: Length,
        limit: usize,
        lease: &mut Lease,
        until: Instant,
    ) -> Result<Vec<u8>, Broken> {
        let read = self.body_slowly(length, limit, lease);
        timeout_at(until, read).await.unwrap_or_else(|_| {
            Err(Broken::refused(
                408,
                "the body of the request took too long",
            ))
        })
    }

    async fn body_slowly(
        &mut self,
        length: Length,
        limit: usize,
        lease: &mut Lease,
    ) -> Result<Vec<u8>, Broken> {
        let mut body = Vec::new();
        match length {
            Length::Known(announced) => {
                let announced = usize::try_from(announced).unwrap_or(usize::MAX);
                if announced > limit {
                    return Err(too_large(limit));
                }
                self.piece(announced, limit, lease, &mut body).await?;
            }
            Length::Chunked => {
                loop {
                    let size = chunk_size(&self.line().await?)?;
                    if size == 0 {
                        break;
                    }
                    self.piece(size, limit, lease, &mut body).await?;
                    if !self.line().await?.is_empty() {
                        return Err(Broken::refused(400, "a chunk is longer than it said"));
                    }
                }
                let mut trailers = 0;
                loop {
                    let line = self.line().await?;
                    trailers += line.len();
                    if line.is_empty() {
                        break;
                    }
                    if trailers > MAX_LINE {
                        return Err(Broken::refused(400, "the trailers are too long"));
                    }
                }
            }
        }
        Ok(body)
    }

    /// So many bytes more of the body. Memory is taken as they come, not as they are announced.
    async fn piece(
        &mut self,
        mut size: usize,
        limit: usize,
        lease: &mut Lease,
        body: &mut Vec<u8>,
    ) -> Result<(), Broken> {
        if size > limit - body.len() {
            return Err(too_large(limit));
        }
        while size > 0 {
            if self.buffer.is_empty() && !matches!(self.fill().await, Ok(n) if n > 0) {
                return Err(Broken::Gone);
            }
            let take = size.min(self.buffer.len());
            lease.grow(take)?;
            body.extend_from_slice(&self.buffer[..take]);
            self.buffer.drain(..take);
            size -= take;
        }
        Ok(())
    }

    /// A line of chunk framing, without its end.
    async fn line(&mut self) -> Result<Vec<u8>, Broken> {
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.buffer) {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return Ok(line.trim_ascii_end().to_vec());
            }
            if self.buffer.len() > MAX_LINE {
                return Err(Broken::refused(400, "a line of chunk framing does not end"));
            }
            if !matches!(self.fill().await, Ok(n) if n > 0) {
                return Err(Broken::Gone);
            }
        }
    }

    /// Answers; the connection can be used again when `keep_alive`.
    pub(super) async fn answer(&mut self, answer: &Answer, keep_alive: bool) -> Result<(), Broken> {
        self.send(&answer.written(keep_alive)).await
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        let send = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        match timeout(ANSWERING, send).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Broken::Gone),
        }
    }

    /// Ends the connection behind an answer, whatever of the request is still under way.
    pub(super) async fn end(mut self) {
        let end = async {
            self.stream.shutdown().await?;
            let mut left = SWALLOWED;
            let mut piece = vec![0; PIECE];
            while left > 0 {
                match self.stream.read(&mut piece).await? {
                    0 => break,
                    n => left = left.saturating_sub(n),
                }
            }
            std::io::Result::Ok(())
        };
        // However it ends, it has ended.
        let _ = timeout(SWALLOWING, end).await;
    }
}

fn too_large(limit: usize) -> Broken {
    Broken::refused(
        413,
        format!("the body is longer than {limit} bytes; send less at once"),
    )
}

fn chunk_size(line: &[u8]) -> Result<usize, Broken> {
    let digits = line.split(|b| *b == b';').next().unwrap_or_default();
    let digits = digits.trim_ascii();
    let hex = !digits.is_empty() && digits.len() <= 15 && digits.iter().all(u8::is_ascii_hexdigit);
    std::str::from_utf8(digits)
        .ok()
        .filter(|_| hex)
        .and_then(|text| usize::from_str_radix(text, 16).ok())
        .ok_or_else(|| Broken::refused(400, "a chunk has no size"))
}

/// A head and its length in bytes, `None` while it has no end yet.
fn parse(bytes: &[u8]) -> Result<Option<(Head, usize)>, Broken> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let length = match request.parse(bytes) {
        Ok(httparse::Status::Complete(length)) if length <= MAX_HEAD => length,
        Ok(httparse::Status::Complete(_)) => {
            return Err(Broken::refused(431, "the head of the request is too long"));
        }
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => {
            let why = format!("a request has at most {MAX_HEADERS} headers");
            return Err(Broken::refused(431, why));
        }
        Err(httparse::Error::Version) => {
            return Err(Broken::refused(505, "HTTP/1.1 is spoken here"));
        }
        Err(why) => {
            let hint = if bytes.first() == Some(&0x16) {
                "; this port speaks no TLS"
            } else {
                ""
            };
            return Err(Broken::refused(
                400,
                format!("this is no HTTP: {why}{hint}"),
            ));
        }
    };
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    let headers: Vec<(String, String)> = request
        .headers
        .iter()
        .map(|header| (header.name.to_owned(), text(header.value)))
        .collect();
    let path = request.path.unwrap_or_default();
    // A proxy may send the whole address.
    let path = match path.split_once("://") {
        Some((_, rest)) => rest.find('/').map_or("/", |at| &rest[at..]),
        None => path,
    };
    let path = path.split('?').next().unwrap_or_default().to_owned();
    let mut head = Head {
        method: request.method.unwrap_or_default().to_owned(),
        path,
        length: Length::Known(0),
        keep_alive: request.version == Some(1),
        waits: false,
        headers,
    };
    head.length = body_length(&head)?;
    if let Some(said) = head.header("connection") {
        let says = |word: &str| {
            said.split(',')
                .any(|one| one.trim().eq_ignore_ascii_case(word))
        };
        head.keep_alive = !says("close") && (head.keep_alive || says("keep-alive"));
    }
    head.waits = head
        .header("expect")
        .is_some_and(|said| said.eq_ignore_ascii_case("100-continue"));
    Ok(Some((head, length)))
}

fn body_length(head: &Head) -> Result<Length, Broken> {
    let all = |name: &str| -> Vec<&str> {
        let of = head
            .headers
            .iter()
            .filter(|(held, _)| held.eq_ignore_ascii_case(name));
        of.map(|(_, value)| value.trim()).collect()
    };
    let (codings, lengths) = (all("transfer-encoding"), all("content-length"));
    match (&codings[..], &lengths[..]) {
        ([], []) => Ok(Length::Known(0)),
        ([one], []) if one.eq_ignore_ascii_case("chunked") => Ok(Length::Chunked),
        ([], [one]) if !one.is_empty() && one.bytes().all(|b| b.is_ascii_digit()) => {
            // What is longer than any number is too long in any case.
            Ok(Length::Known(one.parse().unwrap_or(u64::MAX)))
        }
        ([], _) => Err(Broken::refused(400, "the length of the body is not clear")),
        _ => Err(Broken::refused(
            501,
            "bodies come with a length, or chunked",
        )),
    }
}

/// What is said to a request.
#[derive(Debug)]
pub(super) struct Answer {
    /// The status.
    pub(super) status: u16,
    /// Further header lines, each with its end.
    headers: String,
    body: String,
}

impl Answer {
    /// So many events were taken and delivered.
    pub(super) fn taken(events: usize) -> Answer {
        Answer {
            status: 200,
            headers: String::new(),
            body: format!("{{\"events\":{events}}}\n"),
        }
    }

    /// Something else, in a sentence.
    pub(super) fn refused(status: u16, why: &str) -> Answer {
        Answer {
            status,
            headers: String::new(),
            body: format!("{}\n", serde_json::json!({ "error": why })),
        }
    }

    /// With one more header, made by the program and not by data.
    pub(super) fn header(mut self, name: &str, value: &str) -> Answer {
        self.headers.push_str(&format!("{name}: {value}\r\n"));
        self
    }

    fn written(&self, keep_alive: bool) -> Vec<u8> {
        let reason = match self.status {
            200 => "OK",
            400 => "Bad Request",
            401 => "Unauthorized",
            404 => "Not Found",
            405 => "Method Not Allowed",
            408 => "Request Timeout",
            413 => "Content Too Large",
            415 => "Unsupported Media Type",
            429 => "Too Many Requests",
            431 => "Request Header Fields Too Large",
            501 => "Not Implemented",
            503 => "Service Unavailable",
            505 => "HTTP Version Not Supported",
            _ => "",
        };
        let connection = if keep_alive { "keep-alive" } else { "close" };
        format!(
            "HTTP/1.1 {} {reason}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n{}Connection: {connection}\r\n\r\n{}",
            self.status,
            self.body.len(),
            self.headers,
            self.body
        )
        .into_bytes()
    }
}

#[cfg(test)]
mod tests;
