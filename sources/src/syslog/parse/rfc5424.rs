//! `<30>1 2026-11-20T10:00:00.5Z pve1 pvedaemon 812 ID1 [a@1 k="v"] text`: RFC 5424.
//!
//! Seven words with one space between them, any of them `-`; then structured data; then anything. A name longer than the
//! RFC allows is taken as it is and told of: a cut name is worse than a long one.

use pipeline::Value;

use super::scan::{span, word_end};
use super::stamp::{Moment, Stamps};
use super::{Read, Refusal, data};

/// Longest host name, application name, process id and message id the RFC allows [bytes].
const LONGEST: [u32; 4] = [255, 48, 128, 32];

/// Where the version ends if one stands at `at`: one to three digits, the first no zero, and a space.
#[inline]
pub(super) fn version_end(text: &[u8], at: usize) -> Option<usize> {
    let rest = text.get(at..)?;
    if !matches!(rest.first(), Some(b'1'..=b'9')) {
        return None;
    }
    let digits = 1 + rest[1..]
        .iter()
        .take(3)
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    (digits <= 3 && rest.get(digits) == Some(&b' ')).then_some(at + digits)
}

/// Whether what stands behind a version looks like this format: `-` or a year and a hyphen. "<13>5 disks failed" does not.
#[inline]
pub(super) fn looks_like(text: &[u8], at: usize) -> bool {
    match text.get(at..) {
        Some([b'-', rest @ ..]) => rest.first().is_none_or(|byte| *byte == b' '),
        Some(rest) => {
            let digits = rest.iter().take(4).take_while(|byte| byte.is_ascii_digit());
            // A message cut off inside its year is one of this format, too.
            match digits.count() {
                4 => rest.get(4).is_none_or(|byte| *byte == b'-'),
                n => n > 0 && rest.len() == n,
            }
        }
        None => false,
    }
}

/// Reads what follows the priority; `at` is where the version begins and `end` where it ends.
#[inline]
pub(super) fn read(
    text: &[u8],
    at: usize,
    end: usize,
    stamps: &mut Stamps,
    moment: Moment,
    read: &mut Read,
) -> Result<(), Refusal> {
    let version = span(at, end);
    let mut at = end + 1;
    if text.get(at) == Some(&b'-') {
        at += 1;
    } else {
        let (time, end) = stamps
            .iso(text, at, moment, false)
            .ok_or(Refusal::new("its timestamp cannot be read", at))?;
        (read.time, at) = (Some(time), end);
    }
    let mut words = [span(0, 0); 4];
    let names = ["host name", "application name", "process id", "message id"];
    for (n, word) in words.iter_mut().enumerate() {
        if text.get(at) != Some(&b' ') {
            return Err(Refusal::of_part(names[n], at));
        }
        let end = word_end(text, at + 1);
        if end == at + 1 || text.get(end) != Some(&b' ') {
            return Err(Refusal::of_part(names[n], at + 1));
        }
        *word = span(at + 1, end);
        if word.len > LONGEST[n] {
            overlong(names[n], word.len, LONGEST[n]);
        }
        // `-` is how a sender says that it knows nothing.
        if word.len == 1 && text.get(at + 1) == Some(&b'-') {
            word.len = 0;
        }
        at = end;
    }
    at += 1;
    let (elements, end) = match text.get(at..at + 2) {
        Some(b"- ") => (Ok(None), at + 1),
        _ => data_field(text, at),
    };
    // Words behind a time are a header even if the data is wrong; five words behind a hyphen may be any sentence.
    if elements.is_ok() || read.time.is_some() {
        read.version = version;
        [read.host, read.app, read.process, read.message_id] = words;
    }
    if let Some(elements) = elements? {
        read.rare().data = Some(elements);
    }
    at = end + usize::from(end < text.len());
    // A mark that the text is UTF-8, not a part of it.
    if text.get(at..at + 3) == Some(b"\xef\xbb\xbf") {
        at += 3;
    }
    read.message = span(at, text.len());
    Ok(())
}

/// Structured data with what has to follow it, and where it ends.
#[inline(never)]
fn data_field(text: &[u8], at: usize) -> (Result<Option<Value>, Refusal>, usize) {
    let (elements, end) = match text.get(at) {
        Some(b'-') => (None, at + 1),
        Some(b'[') => match data::read(text, at) {
            Ok((elements, end)) => (Some(elements), end),
            Err(why) => return (Err(why), at),
        },
        _ => return (Err(Refusal::of_part("structured data", at)), at),
    };
    match text.get(end) {
        None | Some(b' ') => (Ok(elements), end),
        Some(_) => (Err(Refusal::of_part("structured data", end)), end),
    }
}

#[cold]
fn overlong(part: &str, bytes: u32, allowed: u32) {
    pipeline::log_limited!(
        warn,
        part,
        bytes,
        allowed,
        "a syslog message has a longer part than RFC 5424 allows; it is kept as it is"
    );
}

/// Tells of a name in structured data that is longer than the RFC allows [32 bytes].
#[cold]
pub(super) fn overlong_name(bytes: usize) {
    overlong(
        "name in structured data",
        u32::try_from(bytes).unwrap_or(u32::MAX),
        data::LONGEST_NAME as u32,
    );
}
