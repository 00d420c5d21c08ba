//! Appending many small pieces to a body without asking for room, and without a call, for each.
//!
//! This is the one file of the engine with `unsafe`: an event is written as some twenty pieces of some ten bytes, and with
//! `extend_from_slice` the checks and calls cost more than the bytes do (`cargo bench --bench roads`, job *access*). All of
//! it stays behind two functions; the property tests below compare them with the plain way.
#![allow(unsafe_code)]

/// A piece of text that is copied in whole steps of [`STEP`] bytes, whatever its length.
pub(super) struct Piece {
    /// Padded with zeros to a multiple of the step.
    bytes: Box<[u8]>,
    len: usize,
}

const STEP: usize = 32;

impl Piece {
    pub(super) fn new(text: &[u8]) -> Piece {
        let mut bytes = text.to_vec();
        bytes.resize(text.len().next_multiple_of(STEP), 0);
        Piece {
            bytes: bytes.into_boxed_slice(),
            len: text.len(),
        }
    }

    #[cfg(test)]
    pub(super) fn text(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// Appends the piece.
    #[inline(always)]
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        out.reserve(self.bytes.len());
        let end = out.len();
        let mut at = 0;
        while at < self.bytes.len() {
            // SAFETY: `reserve` made room for all padded bytes behind `end`; `at + STEP <= bytes.len()` because that is a
            // multiple of STEP; the two memories are different allocations. Only the `len` bytes that were copied from
            // initialised memory become part of the vector.
            unsafe {
                std::ptr::copy_nonoverlapping(
                    self.bytes.as_ptr().add(at),
                    out.as_mut_ptr().add(end + at),
                    STEP,
                );
            }
            at += STEP;
        }
        // SAFETY: `len <= bytes.len()`, all of which has just been written behind `end`.
        unsafe { out.set_len(end + self.len) };
    }
}

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// The high bit of each byte that JSON wants escaped: below a space, a quote, a backslash. A borrow can mark a byte above
/// such a one falsely, never one where there is none at all.
#[inline(always)]
pub(super) fn special(word: u64) -> u64 {
    let below_space = word.wrapping_sub(ONES * 0x20) & !word;
    let zero = |x: u64| x.wrapping_sub(ONES) & !x;
    (below_space | zero(word ^ (ONES * 0x22)) | zero(word ^ (ONES * 0x5c))) & HIGH
}

/// Appends `text` if none of its bytes needs escaping, and says whether it did. If not, `out` is as it was.
#[inline(always)]
pub(super) fn put_plain(text: &[u8], out: &mut Vec<u8>) -> bool {
    let len = text.len();
    out.reserve(len + 8);
    let end = out.len();
    let from = text.as_ptr();
    let mut seen = 0;
    // SAFETY: all reads lie inside `text`: whole words before `len`, and for the rest either the last eight bytes (when
    // `len >= 8`) or a copy of fewer. All writes lie inside the `len + 8` bytes that `reserve` made room for. `text` is
    // borrowed from another allocation, so the two do not overlap. `set_len` covers only bytes written here.
    unsafe {
        let to = out.as_mut_ptr().add(end);
        if len >= 8 {
            let mut at = 0;
            while at + 8 <= len {
                let word = from.add(at).cast::<u64>().read_unaligned();
                seen |= special(u64::from_le(word));
                to.add(at).cast::<u64>().write_unaligned(word);
                at += 8;
            }
            let word = from.add(len - 8).cast::<u64>().read_unaligned();
            seen |= special(u64::from_le(word));
            to.add(len - 8).cast::<u64>().write_unaligned(word);
        } else if len >= 4 {
            let low = u64::from(from.cast::<u32>().read_unaligned());
            let high = u64::from(from.add(len - 4).cast::<u32>().read_unaligned());
            seen = special(low | high << 32);
            to.cast::<u32>().write_unaligned(low as u32);
            to.add(len - 4).cast::<u32>().write_unaligned(high as u32);
        } else {
            let mut at = 0;
            while at < len {
                let byte = *from.add(at);
                seen |= u64::from(byte < 0x20 || byte == b'"' || byte == b'\\');
                *to.add(at) = byte;
                at += 1;
            }
        }
        if seen == 0 {
            out.set_len(end + len);
        }
    }
    seen == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn needs_escape(byte: &u8) -> bool {
        *byte < 0x20 || *byte == b'"' || *byte == b'\\'
    }

    proptest! {
        #[test]
        fn plain_text_is_appended_and_other_text_leaves_no_trace(
            before in proptest::collection::vec(any::<u8>(), 0..20),
            text in proptest::collection::vec(any::<u8>(), 0..70),
        ) {
            let mut out = before.clone();
            let put = put_plain(&text, &mut out);
            prop_assert_eq!(put, !text.iter().any(needs_escape));
            prop_assert_eq!(&out[..before.len()], &before[..]);
            prop_assert_eq!(&out[before.len()..], if put { &text[..] } else { &[] });
        }

        #[test]
        fn text_without_a_special_byte_is_always_plain(text in "[ !#-\\[\\]-~\u{80}-\u{2fff}]{0,60}") {
            let mut out = Vec::new();
            prop_assert!(put_plain(text.as_bytes(), &mut out));
            prop_assert_eq!(out, text.as_bytes());
        }

        #[test]
        fn a_piece_is_appended_whole(before in proptest::collection::vec(any::<u8>(), 0..20), text in proptest::collection::vec(any::<u8>(), 0..100)) {
            let mut out = before.clone();
            Piece::new(&text).put(&mut out);
            prop_assert_eq!(&out[..before.len()], &before[..]);
            prop_assert_eq!(&out[before.len()..], &text[..]);
        }
    }
}
