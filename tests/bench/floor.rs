//! The floor: the bare work of the job *access* in one thread and nothing else. It reads, splits lines, scans ten
//! fields, writes the bulk body, sends it and reads the answer; no ids worth the name, no acknowledgement, no position,
//! no configuration. Machines differ; a pipeline's distance from this does not.

#![allow(
    unsafe_code,
    reason = "a floor with a bounds check per piece would be a quarter too high, and flatter what stands on it"
)]

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::Path;

use memchr::memchr;
use memchr::memmem;

/// What is written before each of the ten values.
const KEYS: [&[u8]; 10] = [
    br#"{"client_ip":""#,
    br#"","user":""#,
    br#"","day":""#,
    br#"","time":""#,
    br#"","tz":""#,
    br#"","method":""#,
    br#"","request":""#,
    br#"","http_version":""#,
    br#"","status":""#,
    br#"","bytes":""#,
];

/// A body longer than this is sent [bytes].
const BODY: usize = 1 << 20;

pub(crate) fn run(file: &Path, port: u16) -> io::Result<()> {
    let mut file = File::open(file)?;
    let mut socket = TcpStream::connect(("127.0.0.1", port))?;
    socket.set_nodelay(true)?;
    let mut text = vec![0u8; 512 << 10];
    let mut body = Body {
        bytes: vec![0u8; 2 * BODY],
        end: 0,
    };
    let (mut held, mut number) = (0, 0u64);
    loop {
        let read = file.read(&mut text[held..])?;
        if read == 0 {
            break;
        }
        let end = held + read;
        let mut at = 0;
        while let Some(length) = memchr(b'\n', &text[at..end]) {
            number += 1;
            body.document(&text[at..at + length], number);
            at += length + 1;
            if body.end > BODY {
                body.send(&mut socket)?;
            }
        }
        text.copy_within(at..end, 0);
        held = end - at;
    }
    if body.end > 0 {
        body.send(&mut socket)?;
    }
    // Whoever measures reads the counters of a process that still lives, and ends it.
    io::copy(&mut io::stdin(), &mut io::sink()).map(drop)
}

struct Body {
    bytes: Vec<u8>,
    end: usize,
}

/// Where the next byte goes, in memory that `Body::document` has made sure is large enough for the whole document.
struct Cursor(*mut u8);

impl Cursor {
    #[inline(always)]
    fn put(&mut self, text: &[u8]) {
        // SAFETY: `document` has room for twice the line and 512 bytes; keys and id take 250, and a value twice its length.
        unsafe {
            std::ptr::copy_nonoverlapping(text.as_ptr(), self.0, text.len());
            self.0 = self.0.add(text.len());
        }
    }

    /// Eight bytes at a time, until one of them wants escaping.
    #[inline(always)]
    fn put_escaped(&mut self, text: &[u8]) {
        const ONES: u64 = 0x0101_0101_0101_0101;
        const TOPS: u64 = 0x8080_8080_8080_8080;
        let has_zero = |x: u64| x.wrapping_sub(ONES) & !x & TOPS;
        let mut at = 0;
        while at + 8 <= text.len() {
            let word = u64::from_le_bytes(
                text[at..at + 8]
                    .try_into()
                    .expect("eight bytes were asked for"),
            );
            let below_blank = word.wrapping_sub(ONES * 0x20) & !word & TOPS;
            if below_blank
                | has_zero(word ^ (ONES * u64::from(b'"')))
                | has_zero(word ^ (ONES * u64::from(b'\\')))
                != 0
            {
                break;
            }
            self.put(&word.to_le_bytes());
            at += 8;
        }
        for &byte in &text[at..] {
            if byte == b'"' || byte == b'\\' {
                self.put(b"\\");
            }
            self.put(&[byte]);
        }
    }
}

impl Body {
    fn document(&mut self, line: &[u8], number: u64) {
        let need = self.end + 2 * line.len() + 512;
        if need > self.bytes.len() {
            self.bytes.resize(need, 0);
        }
        let start = self.bytes.as_mut_ptr();
        // SAFETY: `end` is within `bytes`.
        let mut out = Cursor(unsafe { start.add(self.end) });
        out.put(br#"{"create":{"_index":"pve-audit-2026.11","_id":""#);
        let mut id = [b'0'; 32];
        let mut rest = number;
        for digit in id.iter_mut().rev().take(16) {
            *digit = b"0123456789abcdef"[(rest & 15) as usize];
            rest >>= 4;
        }
        out.put(&id);
        out.put(b"\"}}\n");
        if let Some(fields) = scan(line) {
            for (key, value) in KEYS.iter().zip(fields) {
                out.put(key);
                out.put_escaped(value);
            }
        }
        out.put(b"\"}\n");
        // SAFETY: both point into `bytes`.
        self.end =
            usize::try_from(unsafe { out.0.offset_from(start) }).expect("the cursor only moves on");
    }

    fn send(&mut self, socket: &mut TcpStream) -> io::Result<()> {
        let head = format!(
            "POST /_bulk HTTP/1.1\r\nhost: floor\r\ncontent-type: application/x-ndjson\r\ncontent-length: {}\r\n\r\n",
            self.end
        );
        socket.write_all(head.as_bytes())?;
        socket.write_all(&self.bytes[..self.end])?;
        self.end = 0;
        let mut answer = [0u8; 4096];
        let mut got = 0;
        loop {
            let read = socket.read(&mut answer[got..])?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            got += read;
            // The counting stand-in's answer ends with the only "]}" in it.
            if memmem::find(&answer[..got], b"\r\n\r\n").is_some() && answer[..got].ends_with(b"]}")
            {
                return Ok(());
            }
        }
    }
}

/// The ten fields of an access line.
fn scan(line: &[u8]) -> Option<[&[u8]; 10]> {
    let mut rest = line;
    let mut take = |end: &'static [u8]| {
        let mut at = 0;
        while *rest.get(at)? != end[0] {
            at += 1;
        }
        let field = &rest[..at];
        rest = rest[at..].strip_prefix(end)?;
        Some(field)
    };
    let address = take(b" - ")?;
    let user = take(b" [")?;
    let day = take(b":")?;
    let time = take(b" ")?;
    let zone = take(b"] \"")?;
    let method = take(b" ")?;
    let request = take(b" HTTP/")?;
    let version = take(b"\" ")?;
    let status = take(b" ")?;
    (time.len() == 8 && status.iter().all(u8::is_ascii_digit)).then_some([
        address, user, day, time, zone, method, request, version, status, rest,
    ])
}
