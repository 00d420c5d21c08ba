//! The id of an event: 128 bits, made where the event is born (`audit_event.md` 6).

use std::fmt;

use serde::{Deserialize, Serialize};

/// 128 bits, written as 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct EventId(pub [u64; 2]);

impl EventId {
    /// The first 128 bits of a digest.
    pub fn from_digest(digest: &[u8]) -> EventId {
        let half = |at: usize| {
            digest
                .iter()
                .skip(at)
                .take(8)
                .fold(0_u64, |word, byte| word << 8 | u64::from(*byte))
        };
        EventId([half(0), half(8)])
    }

    /// SHA-256 over length-prefixed parts, for what is born once in a while (a task, an alert), never for a line.
    pub fn of_parts(parts: &[&[u8]]) -> EventId {
        EventId::from_digest(digest_parts(parts).as_ref())
    }

    /// Reads 32 hexadecimal digits.
    pub fn parse(text: &str) -> Option<EventId> {
        if text.len() != 32 || !text.bytes().all(|c| c.is_ascii_hexdigit()) {
            return None;
        }
        Some(EventId([
            u64::from_str_radix(&text[..16], 16).ok()?,
            u64::from_str_radix(&text[16..], 16).ok()?,
        ]))
    }

    /// Writes 32 lower-case hexadecimal digits.
    #[inline]
    pub fn write_hex(self, out: &mut [u8; 32]) {
        for (half, word) in out.chunks_exact_mut(16).zip(self.0) {
            half.copy_from_slice(&hex_word(word));
        }
    }
}

/// SHA-256 over parts, each preceded by its length as 8 bytes little-endian.
pub fn digest_parts(parts: &[&[u8]]) -> aws_lc_rs::digest::Digest {
    let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_le_bytes());
        context.update(part);
    }
    context.finish()
}

/// Sixteen digits, eight at a time: each nibble of the word moves into a byte of its own, then digits get `0` added and
/// letters besides what lies between `9` and `a`.
#[inline]
fn hex_word(word: u64) -> [u8; 16] {
    const LOW: u64 = 0x0f0f_0f0f_0f0f_0f0f;
    let digits = |half: u64| {
        let spread = (half | half << 16) & 0x0000_ffff_0000_ffff;
        let spread = (spread | spread << 8) & 0x00ff_00ff_00ff_00ff;
        let nibbles = (spread | spread << 4) & LOW;
        let letters = (nibbles + 0x0606_0606_0606_0606) >> 4 & 0x0101_0101_0101_0101;
        (nibbles + 0x3030_3030_3030_3030 + letters * 0x27).to_be_bytes()
    };
    let mut out = [0; 16];
    out[..8].copy_from_slice(&digits(word >> 32));
    out[8..].copy_from_slice(&digits(word & 0xffff_ffff));
    out
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}{:016x}", self.0[0], self.0[1])
    }
}

impl fmt::Debug for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for EventId {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for EventId {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<EventId, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
        EventId::parse(&text)
            .ok_or_else(|| serde::de::Error::custom("an event id is 32 hexadecimal digits"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        let id = EventId([0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210]);
        let mut hex = [0; 32];
        id.write_hex(&mut hex);
        assert_eq!(&hex, b"0123456789abcdeffedcba9876543210");
        assert_eq!(EventId::parse(&id.to_string()), Some(id));
        assert_eq!(EventId::parse("0123"), None);
        assert_eq!(EventId::parse("+123456789abcdeffedcba9876543210"), None);
    }
}
