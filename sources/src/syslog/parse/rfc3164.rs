//! `<30>Oct 11 22:14:15 pve1 pvedaemon[812]: text`: what RFC 3164 found in use, and what is written under its name since.
//!
//! Nothing in it is certain but the priority. A time is read in every form that senders use; without one there is no host
//! name either, for then the first word may be anything. A word that ends in `:` or `[n]` is a tag, never a host.

use std::net::Ipv6Addr;

use pipeline::Span;

use super::Read;
use super::scan::{skip_spaces, span, word_end};
use super::stamp::{Moment, Stamps};

/// Longest tag; the RFC says 32, systemd units have longer names [bytes].
const LONGEST_TAG: usize = 128;

/// A tag: who speaks, its process, and where the text begins.
pub(super) struct Tag {
    pub(super) name: Span,
    pub(super) process: Span,
    pub(super) end: usize,
}

/// Reads what follows the priority. Whatever it is, it is a message.
#[inline]
pub(super) fn read(text: &[u8], at: usize, stamps: &mut Stamps, moment: Moment, read: &mut Read) {
    let mut at = skip_spaces(text, at);
    if let Some((time, end)) = stamps.any(text, at, moment) {
        read.time = Some(time);
        // Cisco's devices write a colon behind the time.
        at = skip_spaces(text, end + usize::from(text.get(end) == Some(&b':')));
        if let Some(found) = tag(text, at) {
            return take(text, found, read);
        }
        let end = word_end(text, at);
        if is_host(text, at, end) {
            read.host = span(at, end);
            at = skip_spaces(text, end);
            if text.get(at..at + 2) == Some(b": ") {
                at = skip_spaces(text, at + 2);
            }
        }
    }
    match tag(text, at) {
        Some(found) => take(text, found, read),
        None => read.message = span(at, text.len()),
    }
}

#[inline]
fn take(text: &[u8], tag: Tag, read: &mut Read) {
    read.app = tag.name;
    read.process = tag.process;
    read.message = span(tag.end, text.len());
}

/// The tag at `at`, if the word there is one: `name:`, `name[812]:` with or without a text right behind it, `name[812]`.
#[inline]
pub(super) fn tag(text: &[u8], at: usize) -> Option<Tag> {
    let end = word_end(text, at);
    let word = text.get(at..end)?;
    let close = match word {
        [.., b']', b':'] => Some(word.len() - 2),
        [.., b':'] => None,
        _ => Some(memchr::memchr(b']', word)?),
    };
    let (name, process, after) = match close {
        None => (word.len() - 1, span(0, 0), word.len()),
        Some(close) => {
            let open = memchr::memchr(b'[', &word[..close])?;
            let colon = word.get(close + 1) == Some(&b':');
            let inside = &word[open + 1..close];
            let fits = match word.get(close + 1) {
                Some(b':') => !inside.is_empty(),
                None => super::scan::number(inside).is_some(),
                Some(_) => false,
            };
            if !fits {
                return None;
            }
            let process = span(at + open + 1, at + close);
            (open, process, close + 1 + usize::from(colon))
        }
    };
    if name == 0 || name > LONGEST_TAG || (close.is_none() && is_address(word)) {
        return None;
    }
    let after = at + after;
    Some(Tag {
        name: span(at, at + name),
        process,
        // One space parts tag and text; more of them are the text's own.
        end: after + usize::from(text.get(after) == Some(&b' ')),
    })
}

/// `2001:db8::` ends in a colon and is a host all the same.
fn is_address(word: &[u8]) -> bool {
    word.starts_with(b":")
        || memchr::memchr(b':', &word[..word.len() - 1]).is_some_and(|_| {
            std::str::from_utf8(word).is_ok_and(|word| word.parse::<Ipv6Addr>().is_ok())
        })
}

/// Whether a word behind a time can be a host: made of the letters of names and addresses, and not all there is.
#[inline]
fn is_host(text: &[u8], at: usize, end: usize) -> bool {
    let word = &text[at.min(end)..end];
    let letters = |byte: &u8| {
        byte.is_ascii_alphanumeric()
            || matches!(
                byte,
                b'.' | b'-' | b'_' | b':' | b'/' | b'%' | b'@' | b'(' | b')' | b'[' | b']'
            )
    };
    !word.is_empty()
        && text.get(end) == Some(&b' ')
        && word.iter().all(letters)
        // What a daemon says of itself when its neighbour repeats itself.
        && !(word == b"last" && text[end..].starts_with(b" message repeated "))
}
