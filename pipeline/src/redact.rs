//! Redaction: secrets are replaced before anything stores, sends or prints the text they stand in.
//!
//! - in: raw bytes of one read (many lines), or one text, or the name of a parsed field
//! - out: the ranges to replace, sorted, disjoint, none of them across a newline
//!
//! One vectorised pass looks for *anchors*: short pieces that every known shape of a secret must hold (`PVE`, the tail of a
//! key's name, `://`, …). Only where one stands does a recogniser of [`shapes`] look closer, so text without secrets costs
//! one scan and no allocation. A ticket's, token's or password's neighbours always survive: a line is evidence.

mod keys;
mod pem;
mod shapes;
mod values;

#[cfg(test)]
mod tests;

use std::ops::Range;

use aho_corasick::{AhoCorasick, Anchored, Input, MatchKind, packed};
use aws_lc_rs::hmac;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use keys::Keys;

/// What stands where a secret stood in mode `mask`.
pub const MASK: &str = "[redacted]";

/// What takes the place of a secret.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RedactMode {
    /// `[redacted]`.
    #[default]
    Mask,
    /// `hmac:` and 16 hex digits, keyed per installation: equal secrets stay recognisable as equal, and nothing else.
    Hash,
    /// Nothing.
    Drop,
}

/// The operator's say in redaction. The built-in shapes and keys cannot be taken away here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RedactOptions {
    /// What takes the place of a secret.
    pub mode: RedactMode,
    /// More names of keys whose values are secret, in any case; `*name` means any key that ends so.
    pub keys: Vec<String>,
}

/// Finds and replaces secrets. Built once, shared by every source.
#[derive(Debug)]
pub struct Redactor {
    anchors: Anchors,
    keys: Keys,
    mode: RedactMode,
    hash_key: hmac::Key,
}

impl Redactor {
    /// `installation_key` keys the digests of mode `hash`; the other modes do not use it.
    #[must_use]
    pub fn new(options: &RedactOptions, installation_key: &[u8]) -> Self {
        let keys = Keys::new(&options.keys);
        Self {
            anchors: Anchors::new(&keys),
            keys,
            mode: options.mode,
            hash_key: hmac::Key::new(hmac::HMAC_SHA256, installation_key),
        }
    }

    /// The ranges of `text` that hold secrets, into `hits` (cleared first): sorted, disjoint, none across a newline.
    /// `text` should consist of whole lines, since a secret that begins in the next buffer cannot be seen.
    pub fn find(&self, text: &[u8], hits: &mut Vec<Range<usize>>) {
        hits.clear();
        let mut at = 0;
        let mut unsigned = shapes::Unsigned::default();
        while let Some((shape, found)) = self.anchors.next(text, at) {
            at = found.start + 1;
            let before = hits.len();
            shapes::look(self, shape, text, found, &mut unsigned, hits);
            if let Some(end) = hits[before..].iter().map(|hit| hit.end).max() {
                at = at.max(end);
            }
        }
        if hits.len() > 1 {
            merge(hits);
        }
    }

    /// Appends `text` to `out` with every range of `hits` replaced.
    pub fn apply(&self, text: &[u8], hits: &[Range<usize>], out: &mut Vec<u8>) {
        let mut from = 0;
        for hit in hits {
            out.extend_from_slice(&text[from..hit.start]);
            self.replacement(&text[hit.clone()], out);
            from = hit.end;
        }
        out.extend_from_slice(&text[from..]);
    }

    /// `text` without its secrets, or `None` where it holds none.
    #[must_use]
    pub fn redact(&self, text: &[u8]) -> Option<Vec<u8>> {
        let mut hits = Vec::new();
        self.find(text, &mut hits);
        if hits.is_empty() {
            return None;
        }
        let mut out = Vec::with_capacity(text.len());
        self.apply(text, &hits, &mut out);
        Some(out)
    }

    /// As [`Redactor::redact`], for text that is UTF-8 already.
    #[must_use]
    pub fn redact_str(&self, text: &str) -> Option<String> {
        // Every range begins and ends at an ASCII byte or at an end of the text, so what is left stays UTF-8.
        self.redact(text.as_bytes())
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Appends what stands in place of `secret` to `out`.
    pub fn replacement(&self, secret: &[u8], out: &mut Vec<u8>) {
        match self.mode {
            RedactMode::Mask => out.extend_from_slice(MASK.as_bytes()),
            RedactMode::Drop => {}
            RedactMode::Hash => {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                out.extend_from_slice(b"hmac:");
                for byte in &hmac::sign(&self.hash_key, secret).as_ref()[..8] {
                    out.push(HEX[usize::from(byte >> 4)]);
                    out.push(HEX[usize::from(byte & 15)]);
                }
            }
        }
    }

    /// What stands in place of the whole value of a field that [`Redactor::is_secret_key`] names.
    #[must_use]
    pub fn redact_value(&self, value: &str) -> String {
        if self.already(value.as_bytes()) {
            return value.to_owned();
        }
        let mut out = Vec::new();
        self.replacement(value.as_bytes(), &mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    /// Whether a parsed field or parameter of this name holds a secret, whatever its value looks like.
    #[must_use]
    pub fn is_secret_key(&self, name: &str) -> bool {
        self.keys.parsed(name.as_bytes())
    }

    /// Whether `value` is what redaction leaves behind (ours, or Proxmox VE's own `<hidden>`).
    fn already(&self, value: &[u8]) -> bool {
        value.is_empty() || value == MASK.as_bytes() || value == b"<hidden>" || is_digest(value)
    }
}

impl Default for Redactor {
    fn default() -> Self {
        Self::new(&RedactOptions::default(), &[])
    }
}

/// `hmac:` and 16 hex digits.
fn is_digest(value: &[u8]) -> bool {
    value.len() == 21 && value.starts_with(b"hmac:") && value[5..].iter().all(u8::is_ascii_hexdigit)
}

/// What kind of secret an anchor may announce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// The tail of a key's name: `password=`, `"token":"…"`, `--secret …`.
    Key,
    /// `PVE`, `PBS`: a ticket or an API token.
    Pve,
    /// `spiceproxy:`: a one-time ticket in a CONNECT line.
    Spice,
    /// `://`: credentials in a URL.
    Url,
    /// `Bearer …`.
    Bearer,
    /// `Basic …` of an Authorization header.
    Basic,
    /// `-----`: a private key in PEM form.
    Pem,
}

/// None shorter than three bytes: the vectorised search tells candidates apart by that many.
const FIXED: &[(&str, Shape)] = &[
    ("PVE", Shape::Pve),
    ("PBS", Shape::Pve),
    ("spiceproxy:", Shape::Spice),
    ("://", Shape::Url),
    ("earer", Shape::Bearer),
    ("EARER", Shape::Bearer),
    ("asic", Shape::Basic),
    ("ASIC", Shape::Basic),
    ("-----", Shape::Pem),
];

/// The search for anchors. The vectorised one exists on CPUs with SSSE3, AVX2 or NEON and for up to 64 anchors.
#[derive(Debug)]
struct Anchors {
    shapes: Vec<Shape>,
    search: Search,
}

#[derive(Debug)]
enum Search {
    Packed(packed::Searcher),
    Automaton(AhoCorasick),
}

impl Anchors {
    fn new(keys: &Keys) -> Self {
        let mut texts: Vec<String> = Vec::new();
        let mut shapes = Vec::new();
        for (text, shape) in FIXED {
            texts.push((*text).to_owned());
            shapes.push(*shape);
        }
        for tail in keys.tails() {
            texts.push(tail);
            shapes.push(Shape::Key);
        }
        let search = match packed::Searcher::new(&texts) {
            Some(searcher) => Search::Packed(searcher),
            None => Search::Automaton(
                AhoCorasick::builder()
                    .match_kind(MatchKind::LeftmostFirst)
                    .build(&texts)
                    .expect("a few hundred short names fit any automaton"),
            ),
        };
        Self { shapes, search }
    }

    fn next(&self, text: &[u8], at: usize) -> Option<(Shape, Range<usize>)> {
        if at >= text.len() {
            return None;
        }
        let (pattern, range) = match &self.search {
            Search::Packed(searcher) => {
                let found = searcher.find_in(text, (at..text.len()).into())?;
                (found.pattern(), found.start()..found.end())
            }
            Search::Automaton(automaton) => {
                let found = automaton.find(Input::new(text).range(at..).anchored(Anchored::No))?;
                (found.pattern(), found.start()..found.end())
            }
        };
        Some((self.shapes[pattern.as_usize()], range))
    }
}

/// Sorts and joins what overlaps. Ranges that only touch stay two.
fn merge(hits: &mut Vec<Range<usize>>) {
    hits.sort_unstable_by_key(|hit| (hit.start, hit.end));
    let mut kept = 0;
    for next in 1..hits.len() {
        if hits[next].start < hits[kept].end {
            hits[kept].end = hits[kept].end.max(hits[next].end);
        } else {
            kept += 1;
            hits[kept] = hits[next].clone();
        }
    }
    hits.truncate(kept + 1);
}
