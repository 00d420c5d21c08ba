//! An Elasticsearch and a Loki that only count: every bulk is answered with "no errors", every push with 204, and it ends
//! when it has seen enough.
//!
//! It proves nothing about correctness, and keeps nothing: a body is counted as it comes in, so that on two cores it
//! takes as little as possible from the program under test.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock, mpsc};
use std::time::Instant;

#[derive(Default)]
struct Seen {
    documents: AtomicU64,
    requests: AtomicU64,
    bytes: AtomicU64,
    first: OnceLock<Instant>,
}

impl Seen {
    /// One request more; tells `done` when these documents are the last that were wanted.
    fn add(
        &self,
        bytes: u64,
        documents: u64,
        wanted: u64,
        done: &mpsc::Sender<Instant>,
    ) -> io::Result<()> {
        self.first.get_or_init(Instant::now);
        self.requests.fetch_add(1, Relaxed);
        self.bytes.fetch_add(bytes, Relaxed);
        let before = self.documents.fetch_add(documents, Relaxed);
        if before < wanted && before + documents >= wanted {
            done.send(Instant::now()).map_err(io::Error::other)?;
        }
        Ok(())
    }
}

/// Prints its port, then, once `wanted` documents have come, `documents requests bytes seconds` from the first byte to
/// the last, and ends.
pub(crate) fn serve(wanted: u64) -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut out = io::stdout();
    writeln!(out, "{}", listener.local_addr()?.port())?;
    out.flush()?;
    let seen = Arc::new(Seen::default());
    let (done, finished) = mpsc::channel();
    let counted = Arc::clone(&seen);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (seen, done) = (Arc::clone(&counted), done.clone());
            // A connection that breaks is the client's to mend.
            std::thread::spawn(move || drop(connection(stream, &seen, wanted, &done)));
        }
    });
    let last: Instant = finished.recv().map_err(io::Error::other)?;
    let first = seen.first.get().copied().unwrap_or(last);
    writeln!(
        out,
        "{} {} {} {:.6}",
        seen.documents.load(Relaxed),
        seen.requests.load(Relaxed),
        seen.bytes.load(Relaxed),
        (last - first).as_secs_f64()
    )?;
    // Whoever still waits for an answer gets it before this process is gone.
    out.flush()?;
    io::copy(&mut io::stdin(), &mut io::sink()).map(drop)
}

struct Head {
    length: usize,
    chunked: bool,
    post: bool,
    loki: bool,
    waits: bool,
    bodiless: bool,
}

fn connection(
    mut stream: TcpStream,
    seen: &Seen,
    wanted: u64,
    done: &mpsc::Sender<Instant>,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0u8; 1 << 20];
    let mut held = 0;
    loop {
        let (head_end, head) = loop {
            if let Some(at) = memchr::memmem::find(&buffer[..held], b"\r\n\r\n") {
                break (at + 4, parse(&buffer[..at]));
            }
            match stream.read(&mut buffer[held..])? {
                0 => return Ok(()),
                n => held += n,
            }
        };
        buffer.copy_within(head_end..held, 0);
        held -= head_end;
        if head.waits {
            stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        if head.loki {
            let (body, rest) = whole(&mut stream, &mut buffer, held, head.length)?;
            held = rest;
            stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n")?;
            seen.add(body.len() as u64, entries(&body)?, wanted, done)?;
            continue;
        }
        let mut count = Counter::default();
        if head.chunked {
            held = chunks(&mut stream, &mut buffer, held, &mut count)?;
        } else {
            held = exactly(&mut stream, &mut buffer, held, head.length, &mut count)?;
        }
        if head.post && count.bytes > 0 {
            answer(
                &mut stream,
                r#"{"took":1,"errors":false,"items":[]}"#,
                false,
            )?;
            seen.add(count.bytes, count.documents(), wanted, done)?;
        } else {
            let hello = r#"{"name":"counting","cluster_name":"counting","version":{"number":"8.19.4","build_flavor":"default"},"tagline":"You Know, for Search"}"#;
            answer(&mut stream, hello, head.bodiless)?;
        }
    }
}

fn answer(stream: &mut TcpStream, body: &str, bodiless: bool) -> io::Result<()> {
    let text = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-elastic-product: Elasticsearch\r\ncontent-length: {}\r\n\r\n{}",
        body.len(),
        if bodiless { "" } else { body }
    );
    stream.write_all(text.as_bytes())
}

fn parse(head: &[u8]) -> Head {
    let text = String::from_utf8_lossy(head).to_ascii_lowercase();
    let value = |name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .map(str::trim)
    };
    Head {
        length: value("content-length")
            .and_then(|v| v.parse().ok())
            .unwrap_or(0),
        chunked: value("transfer-encoding").is_some_and(|v| v.contains("chunked")),
        post: text.starts_with("post") || text.starts_with("put"),
        loki: text.starts_with("post /loki/"),
        waits: value("expect").is_some(),
        bodiless: text.starts_with("head"),
    }
}

/// Two lines make a document; a line without anything in it counts for nothing (rsyslog writes one after every document).
#[derive(Default)]
struct Counter {
    bytes: u64,
    lines: u64,
    /// Whether the last byte seen ended a line, or nothing has been seen.
    at_start: Option<bool>,
}

impl Counter {
    fn see(&mut self, part: &[u8]) {
        let Some(&last) = part.last() else { return };
        // One past the newline before, in this part's own count; what came before the part is at 0.
        let mut line = if self.at_start.unwrap_or(true) {
            Some(0)
        } else {
            None
        };
        for at in memchr::memchr_iter(b'\n', part) {
            self.lines += u64::from(line != Some(at));
            line = Some(at + 1);
        }
        self.bytes += part.len() as u64;
        self.at_start = Some(last == b'\n');
    }

    fn documents(&self) -> u64 {
        (self.lines + u64::from(self.at_start == Some(false))) / 2
    }
}

/// Counts `length` bytes, of which `held` are in `buffer`; says how many bytes beyond them it holds.
fn exactly(
    stream: &mut TcpStream,
    buffer: &mut [u8],
    held: usize,
    length: usize,
    count: &mut Counter,
) -> io::Result<usize> {
    let mine = held.min(length);
    count.see(&buffer[..mine]);
    buffer.copy_within(mine..held, 0);
    let mut rest = length - mine;
    while rest > 0 {
        let room = rest.min(buffer.len());
        match stream.read(&mut buffer[..room])? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => {
                count.see(&buffer[..n]);
                rest -= n;
            }
        }
    }
    Ok(held - mine)
}

fn chunks(
    stream: &mut TcpStream,
    buffer: &mut [u8],
    mut held: usize,
    count: &mut Counter,
) -> io::Result<usize> {
    loop {
        let (at, size) = loop {
            if let Some(at) = memchr::memmem::find(&buffer[..held], b"\r\n") {
                let digits = std::str::from_utf8(&buffer[..at]).map_err(io::Error::other)?;
                let digits = digits.split(';').next().unwrap_or_default().trim();
                break (
                    at + 2,
                    usize::from_str_radix(digits, 16).map_err(io::Error::other)?,
                );
            }
            match stream.read(&mut buffer[held..])? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                n => held += n,
            }
        };
        buffer.copy_within(at..held, 0);
        held = exactly(stream, buffer, held - at, size, count)?;
        while held < 2 {
            match stream.read(&mut buffer[held..])? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                n => held += n,
            }
        }
        buffer.copy_within(2..held, 0);
        held -= 2;
        if size == 0 {
            return Ok(held);
        }
    }
}

/// Reads a body of `length` bytes, of which `held` are in `buffer`; says how many bytes beyond them that holds.
fn whole(
    stream: &mut TcpStream,
    buffer: &mut [u8],
    held: usize,
    length: usize,
) -> io::Result<(Vec<u8>, usize)> {
    let mine = held.min(length);
    let mut body = buffer[..mine].to_vec();
    buffer.copy_within(mine..held, 0);
    body.resize(length, 0);
    stream.read_exact(&mut body[mine..])?;
    Ok((body, held - mine))
}

/// Entries of a push in Loki's protobuf.
fn entries(body: &[u8]) -> io::Result<u64> {
    let push = snap::raw::Decoder::new()
        .decompress_vec(body)
        .map_err(io::Error::other)?;
    let mut count = 0;
    fields(&push, &mut |tag, stream| {
        if tag == 0x0a {
            fields(stream, &mut |tag, _| {
                count += u64::from(tag == 0x12);
                Ok(())
            })?;
        }
        Ok(())
    })?;
    Ok(count)
}

/// Each field of a message whose fields are all messages or texts.
fn fields(mut message: &[u8], each: &mut dyn FnMut(u8, &[u8]) -> io::Result<()>) -> io::Result<()> {
    while let Some((tag, mut rest)) = message.split_first() {
        let (mut len, mut shift) = (0_usize, 0);
        while let Some((byte, behind)) = rest.split_first() {
            len |= usize::from(byte & 0x7f) << shift;
            (rest, shift) = (behind, shift + 7);
            if byte & 0x80 == 0 || shift > 28 {
                break;
            }
        }
        if len > rest.len() {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let (field, behind) = rest.split_at(len);
        each(*tag, field)?;
        message = behind;
    }
    Ok(())
}
