//! Addresses of clients as lines write them: a few hundred of them come again and again, and are read as numbers once.

use std::ops::Range;

use super::seen::fold;

/// Addresses remembered [addresses]; where two have the same place the later one stays.
const PLACES: usize = 1024;
/// Longest text that is remembered [bytes]; that of an address with a mapped one in it.
const LONGEST: usize = 46;

#[derive(Clone, Copy)]
struct Known {
    text: [u8; LONGEST],
    len: u8,
    /// Where in the text the address begins that is shown, and how long it is [bytes].
    start: u8,
    shown: u8,
}

/// The texts that are known to be addresses.
#[derive(Default)]
pub(super) struct Addresses(Vec<Known>);

impl Addresses {
    /// Where in the text the address stands that is shown ([`fold`]); `None` where it is no address.
    pub(super) fn fold(&mut self, text: &str) -> Option<Range<usize>> {
        let of = |text: &str| {
            let shown = fold(text)?;
            let start = shown.as_ptr().addr() - text.as_ptr().addr();
            Some(start..start + shown.len())
        };
        let bytes = text.as_bytes();
        if bytes.len() > LONGEST || bytes.is_empty() {
            return of(text);
        }
        if self.0.is_empty() {
            let none = Known {
                text: [0; LONGEST],
                len: 0,
                start: 0,
                shown: 0,
            };
            self.0 = vec![none; PLACES];
        }
        let held = &mut self.0[place(bytes)];
        if usize::from(held.len) == bytes.len() && held.text.starts_with(bytes) {
            let start = usize::from(held.start);
            return Some(start..start + usize::from(held.shown));
        }
        let shown = of(text)?;
        held.text[..bytes.len()].copy_from_slice(bytes);
        (held.len, held.start, held.shown) =
            (bytes.len() as u8, shown.start as u8, shown.len() as u8);
        Some(shown)
    }
}

/// The place of a text: its last eight bytes tell most addresses apart.
fn place(bytes: &[u8]) -> usize {
    let tail = &bytes[bytes.len().saturating_sub(8)..];
    let word = tail
        .iter()
        .fold(0_u64, |word, byte| word << 8 | u64::from(*byte));
    let mixed = (word ^ bytes.len() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 54) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remembered_address_is_told_as_one_that_is_read() {
        let mut addresses = Addresses::default();
        let texts = (0..5000_u32).flat_map(|n| {
            let [_, a, b, c] = n.wrapping_mul(2_654_435).to_be_bytes();
            [
                format!("10.{a}.{b}.{c}"),
                format!("::ffff:10.{a}.{b}.{c}"),
                format!("fe80::{n:x}%vmbr{a}"),
                format!("no-{n}"),
                format!("10.{a}.{b}.{c}.{a}"),
                format!("{n:0>60}"),
            ]
        });
        let texts: Vec<String> = texts.chain(["".to_owned(), "::1".to_owned()]).collect();
        for text in texts.iter().chain(&texts) {
            let shown = addresses.fold(text).map(|at| &text[at]);
            assert_eq!(shown, fold(text), "{text}");
        }
    }
}
