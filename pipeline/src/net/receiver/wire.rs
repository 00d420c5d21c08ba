//! The bytes of HTTP/1.1 as the test server reads and writes them.

use tokio::io::{AsyncRead, AsyncReadExt};

use super::{Answer, Received};

/// The largest request that is taken [bytes].
const MAX_REQUEST: usize = 256 << 20;

pub(super) fn parse(head: &str) -> Option<Received> {
    let mut lines = head.split("\r\n");
    let mut first = lines.next()?.split(' ');
    let (method, path) = (first.next()?.to_owned(), first.next()?.to_owned());
    let headers = lines
        .filter_map(|l| l.split_once(':'))
        .map(|(n, v)| (n.to_ascii_lowercase(), v.trim().to_owned()))
        .collect();
    Some(Received {
        method,
        path,
        headers,
        body: Vec::new(),
    })
}

pub(super) async fn body(
    stream: &mut (impl AsyncRead + Unpin),
    buffer: &mut Vec<u8>,
    request: &Received,
) -> Option<Vec<u8>> {
    if request.header("transfer-encoding").is_some() {
        let mut body = Vec::new();
        loop {
            let line_end = loop {
                if let Some(at) = memchr::memchr(b'\n', buffer) {
                    break at + 1;
                }
                if stream.read_buf(buffer).await.ok()? == 0 {
                    return None;
                }
            };
            let size =
                usize::from_str_radix(std::str::from_utf8(&buffer[..line_end]).ok()?.trim(), 16)
                    .ok()?;
            buffer.drain(..line_end);
            if size > MAX_REQUEST || !read_to(stream, buffer, size + 2).await {
                return None;
            }
            body.extend_from_slice(&buffer[..size]);
            buffer.drain(..size + 2);
            if size == 0 {
                return Some(body);
            }
        }
    }
    let length = request
        .header("content-length")
        .map_or(Some(0), |v| v.parse::<usize>().ok())?;
    if length > MAX_REQUEST || !read_to(stream, buffer, length).await {
        return None;
    }
    let rest = buffer.split_off(length);
    Some(std::mem::replace(buffer, rest))
}

async fn read_to(
    stream: &mut (impl AsyncRead + Unpin),
    buffer: &mut Vec<u8>,
    length: usize,
) -> bool {
    while buffer.len() < length {
        if !matches!(stream.read_buf(buffer).await, Ok(n) if n > 0) {
            return false;
        }
    }
    true
}

pub(super) fn written(answer: &Answer) -> Vec<u8> {
    let mut out = format!("HTTP/1.1 {} -\r\n", answer.status).into_bytes();
    for (name, value) in &answer.headers {
        out.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    if answer.chunked {
        out.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
        for piece in answer.body.chunks(7) {
            out.extend_from_slice(format!("{:x};ext=1\r\n", piece.len()).as_bytes());
            out.extend_from_slice(piece);
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b"0\r\nX-Trailer: 1\r\n\r\n");
    } else {
        if answer.status != 204 {
            out.extend_from_slice(format!("Content-Length: {}\r\n", answer.body.len()).as_bytes());
        }
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(&answer.body);
    }
    out
}
