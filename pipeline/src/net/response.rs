//! The answer to a request: its head at once, its body in pieces and never more of it than was asked for.

use std::time::Duration;

use tokio::time::Instant;

use super::connection::{Connection, Head};
use super::http::{Http, HttpError};

/// The longest line of chunk framing [bytes].
const MAX_LINE: usize = 4 << 10;

/// Most bytes of trailers behind a chunked body.
const MAX_TRAILERS: usize = 16 << 10;

/// The longest `Retry-After` that is believed.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// Where in the body the connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Body {
    /// So many bytes are left.
    Length(u64),
    /// A line with a chunk's size is next.
    Size,
    /// So many bytes of a chunk are left.
    Chunk(u64),
    /// The line end behind a chunk is next.
    ChunkEnd,
    /// Trailers are next, of which so many bytes were read.
    Trailers(usize),
    /// Until the connection closes.
    UntilClose,
    /// Nothing more.
    Done,
}

/// An answer. Dropped before its end, it takes its connection with it.
pub struct Response {
    head: Head,
    body: Body,
    http: Http,
    place: String,
    deadline: Instant,
    connection: Option<Connection>,
}

impl Response {
    pub(super) fn new(
        head: Head,
        bodyless: bool,
        http: Http,
        place: String,
        deadline: Instant,
        connection: Connection,
    ) -> Result<Self, HttpError> {
        let body = framing(&head, bodyless)?;
        let mut response = Self {
            head,
            body,
            http,
            place,
            deadline,
            connection: Some(connection),
        };
        response.finish_if_done();
        Ok(response)
    }

    /// The status, like 200.
    pub fn status(&self) -> u16 {
        self.head.status
    }

    /// Whether it is 2xx.
    pub fn is_success(&self) -> bool {
        self.head.status / 100 == 2
    }

    /// The first header of this name, whatever its case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.header(name)
    }

    /// How long the server asks us to wait: seconds, or a date measured against the server's own `Date`. At most 1 h.
    pub fn retry_after(&self) -> Option<Duration> {
        retry_after(self.header("retry-after")?, self.header("date"))
    }

    /// The next piece of the body, `None` at its end.
    pub async fn chunk(&mut self) -> Result<Option<&[u8]>, HttpError> {
        let deadline = self.deadline;
        match tokio::time::timeout_at(deadline, self.next_length()).await {
            Ok(Ok(0)) => Ok(None),
            Ok(Ok(n)) => Ok(self.connection.as_mut().map(|c| c.take(n))),
            Ok(Err(why)) => {
                self.connection = None;
                Err(why)
            }
            Err(_) => {
                self.connection = None;
                Err(HttpError::Timeout("the rest of the answer"))
            }
        }
    }

    /// Appends the whole body; fails, and closes, when it is longer than `limit` bytes.
    pub async fn read_into(&mut self, out: &mut Vec<u8>, limit: usize) -> Result<(), HttpError> {
        let before = out.len();
        if let Body::Length(n) = self.body
            && n > limit as u64
        {
            self.connection = None;
            return Err(HttpError::TooLong { limit });
        }
        while let Some(piece) = self.chunk().await? {
            if out.len() - before + piece.len() > limit {
                self.connection = None;
                return Err(HttpError::TooLong { limit });
            }
            out.extend_from_slice(piece);
        }
        Ok(())
    }

    /// The whole body, at most `limit` bytes.
    pub async fn bytes(mut self, limit: usize) -> Result<Vec<u8>, HttpError> {
        let mut out = Vec::new();
        self.read_into(&mut out, limit).await?;
        Ok(out)
    }

    /// The start of the body for a message to a person: printable, in one line, at most `most` characters. Reads no
    /// more than that, so a connection with a longer answer is closed.
    pub async fn excerpt(mut self, most: usize) -> String {
        let mut seen = Vec::new();
        // What broke while reading an error's text does not matter beside the error.
        while let Ok(Some(piece)) = self.chunk().await {
            seen.extend_from_slice(piece);
            if seen.len() > most * 4 {
                break;
            }
        }
        excerpt(&seen, most)
    }

    /// Reads to the end without keeping anything, so that the connection can be used again; gives up, and closes,
    /// behind `limit` bytes.
    pub async fn drain(mut self, limit: usize) {
        let mut seen = 0;
        while let Ok(Some(piece)) = self.chunk().await {
            seen += piece.len();
            if seen > limit {
                return;
            }
        }
    }

    /// Makes sure that something of the body can be taken; 0 at its end.
    async fn next_length(&mut self) -> Result<usize, HttpError> {
        loop {
            self.finish_if_done();
            let Some(connection) = &mut self.connection else {
                return Ok(0);
            };
            let ahead = connection.ahead();
            if let Body::Length(left) | Body::Chunk(left) = &mut self.body
                && !ahead.is_empty()
            {
                let n = ahead
                    .len()
                    .min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= n as u64;
                if *left == 0 {
                    // The piece is handed out first; what follows it is looked at in the next call.
                    self.body = if matches!(self.body, Body::Chunk(_)) {
                        Body::ChunkEnd
                    } else {
                        Body::Length(0)
                    };
                }
                return Ok(n);
            }
            match &mut self.body {
                Body::UntilClose if !ahead.is_empty() => return Ok(ahead.len()),
                Body::Size | Body::ChunkEnd | Body::Trailers(_) => {
                    let Some(length) = memchr::memchr(b'\n', ahead).map(|at| at + 1) else {
                        if ahead.len() > MAX_LINE {
                            return Err(HttpError::Protocol(
                                "a line of chunk framing does not end".to_owned(),
                            ));
                        }
                        if connection.fill().await? == 0 {
                            return Err(closed());
                        }
                        continue;
                    };
                    let line = connection.take(length).trim_ascii();
                    self.body = after_line(self.body, line)?;
                    continue;
                }
                Body::Length(_) | Body::Chunk(_) | Body::UntilClose | Body::Done => {}
            }
            if connection.fill().await? == 0 {
                if self.body != Body::UntilClose {
                    return Err(closed());
                }
                self.body = Body::Done;
                self.head.keep_alive = false;
            }
        }
    }

    /// At the end of the body the connection goes back to where the next request finds it.
    fn finish_if_done(&mut self) {
        if matches!(self.body, Body::Length(0) | Body::Done)
            && let Some(connection) = self.connection.take()
            && self.head.keep_alive
            && connection.is_reusable()
        {
            self.http
                .put_back(std::mem::take(&mut self.place), connection);
        }
    }
}

fn closed() -> HttpError {
    HttpError::Closed {
        early: false,
        why: "it closed the connection in the middle of its answer".to_owned(),
    }
}

fn after_line(body: Body, line: &[u8]) -> Result<Body, HttpError> {
    match body {
        Body::Size => {
            let digits = line
                .split(|b| *b == b';')
                .next()
                .unwrap_or_default()
                .trim_ascii();
            let size = std::str::from_utf8(digits)
                .ok()
                .filter(|d| d.len() <= 15 && !d.starts_with('+'));
            match size.and_then(|d| u64::from_str_radix(d, 16).ok()) {
                Some(0) => Ok(Body::Trailers(0)),
                Some(n) => Ok(Body::Chunk(n)),
                None => Err(HttpError::Protocol(
                    "a chunk of the answer has no size".to_owned(),
                )),
            }
        }
        Body::ChunkEnd if line.is_empty() => Ok(Body::Size),
        Body::ChunkEnd => Err(HttpError::Protocol(
            "a chunk of the answer is longer than it said".to_owned(),
        )),
        Body::Trailers(_) if line.is_empty() => Ok(Body::Done),
        Body::Trailers(seen) if seen + line.len() < MAX_TRAILERS => {
            Ok(Body::Trailers(seen + line.len() + 1))
        }
        Body::Trailers(_) => Err(HttpError::Protocol(
            "the trailers of the answer do not end".to_owned(),
        )),
        other => Ok(other),
    }
}

fn framing(head: &Head, bodyless: bool) -> Result<Body, HttpError> {
    if bodyless || matches!(head.status, 204 | 304) {
        return Ok(Body::Done);
    }
    if let Some(encoding) = head.header("transfer-encoding") {
        // Chunked is the last coding, and we asked for no other.
        return if encoding.eq_ignore_ascii_case("chunked") {
            Ok(Body::Size)
        } else {
            Err(HttpError::Protocol(format!(
                "the answer is encoded as `{}`",
                excerpt(encoding.as_bytes(), 40)
            )))
        };
    }
    let mut lengths = head
        .headers
        .iter()
        .filter(|(n, _)| n.eq_ignore_ascii_case("content-length"))
        .map(|(_, v)| v);
    match lengths.next() {
        None => Ok(Body::UntilClose),
        Some(first) if lengths.all(|v| v == first) => match first.parse::<u64>() {
            Ok(n) if first.bytes().all(|b| b.is_ascii_digit()) => Ok(Body::Length(n)),
            _ => Err(HttpError::Protocol(
                "the length of the answer is no number".to_owned(),
            )),
        },
        Some(_) => Err(HttpError::Protocol("the answer has two lengths".to_owned())),
    }
}

fn retry_after(value: &str, date: Option<&str>) -> Option<Duration> {
    let wait = match value.trim().parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let parse = |text: &str| {
                jiff::fmt::rfc2822::parse(text.trim())
                    .ok()
                    .map(|z| z.timestamp())
            };
            // Against the server's own clock, so that a difference between ours and its does not count.
            let now = date.and_then(parse).unwrap_or_else(jiff::Timestamp::now);
            Duration::try_from(parse(value)?.duration_since(now)).unwrap_or(Duration::ZERO)
        }
    };
    Some(wait.min(MAX_RETRY_AFTER))
}

/// Bytes of a server's text as one printable line of at most `most` characters.
pub(super) fn excerpt(bytes: &[u8], most: usize) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(most * 4)]);
    let mut line = String::new();
    let mut blank = false;
    for (n, c) in text
        .chars()
        .filter(|c| !c.is_control() || c.is_whitespace())
        .enumerate()
    {
        if n >= most {
            line.push('…');
            break;
        }
        let space = c.is_whitespace();
        if !(space && blank) {
            line.push(if space { ' ' } else { c });
        }
        blank = space;
    }
    line.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date_by_the_servers_clock() {
        assert_eq!(retry_after(" 7 ", None), Some(Duration::from_secs(7)));
        let date = Some("Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(
            retry_after("Sun, 06 Nov 1994 08:50:07 GMT", date),
            Some(Duration::from_secs(30))
        );
        assert_eq!(
            retry_after("Sun, 06 Nov 1994 08:00:00 GMT", date),
            Some(Duration::ZERO)
        );
        assert_eq!(retry_after("999999999", None), Some(MAX_RETRY_AFTER));
        assert_eq!(retry_after("soon", None), None);
    }

    #[test]
    fn an_excerpt_is_one_printable_line() {
        assert_eq!(
            excerpt(b"<html>\r\n  <b>\x1b[31mno\x1b[0m\xff</b>", 40),
            "<html> <b>[31mno[0m\u{fffd}</b>"
        );
        assert_eq!(excerpt("äöüß".as_bytes(), 2), "äö…");
    }

    #[test]
    fn hostile_framing_is_an_error() {
        let head = |pairs: &[(&str, &str)]| Head {
            status: 200,
            headers: pairs
                .iter()
                .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
                .collect(),
            keep_alive: true,
        };
        assert_eq!(
            framing(&head(&[("Content-Length", "5")]), false).unwrap(),
            Body::Length(5)
        );
        assert_eq!(
            framing(
                &head(&[("content-length", "5"), ("Content-Length", "5")]),
                false
            )
            .unwrap(),
            Body::Length(5)
        );
        assert_eq!(framing(&head(&[]), false).unwrap(), Body::UntilClose);
        assert!(
            framing(
                &head(&[("content-length", "5"), ("content-length", "6")]),
                false
            )
            .is_err()
        );
        assert!(framing(&head(&[("content-length", "+5")]), false).is_err());
        assert!(framing(&head(&[("content-length", "99999999999999999999")]), false).is_err());
        assert!(framing(&head(&[("transfer-encoding", "gzip, chunked")]), false).is_err());
        assert!(after_line(Body::Size, b"fffffffffffffffff").is_err());
        assert!(after_line(Body::Size, b"").is_err());
        assert_eq!(
            after_line(Body::Size, b"1f;name=x").unwrap(),
            Body::Chunk(31)
        );
        assert!(after_line(Body::ChunkEnd, b"x").is_err());
    }
}
