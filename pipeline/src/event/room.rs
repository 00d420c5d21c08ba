//! Appending many small pieces to a body without a call, and without growing it, for each.
//!
//! This is the one file of the engine with `unsafe`: an event is written as some twenty pieces of some ten bytes, and with
//! `extend_from_slice` the checks and calls cost more than the bytes do (`cargo bench --bench roads`, job *access*). All of
//! it stays behind [`Room`], whose methods check that there is room; the property tests below compare it with the plain way.
#![allow(
    unsafe_code,
    reason = "pieces of known length are copied without a check and a call each"
)]

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
}

/// The end of a vector, to be filled. The vector has its new length when this is dropped.
pub(super) struct Room<'a> {
    out: &'a mut Vec<u8>,
    /// Bytes written so far, those that were there included; never more than the capacity, all of them initialised.
    len: usize,
}

impl<'a> Room<'a> {
    pub(super) fn at_the_end_of(out: &'a mut Vec<u8>) -> Room<'a> {
        let len = out.len();
        Room { out, len }
    }

    #[inline(always)]
    fn make(&mut self, bytes: usize) {
        if self.out.capacity() - self.len < bytes {
            self.grow(bytes);
        }
    }

    #[cold]
    #[inline(never)]
    fn grow(&mut self, bytes: usize) {
        // SAFETY: the first `len` bytes are initialised and lie within the capacity.
        unsafe { self.out.set_len(self.len) };
        self.out.reserve(bytes);
    }

    /// Lets somebody else write to the vector.
    pub(super) fn with<T>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        // SAFETY: as in `grow`.
        unsafe { self.out.set_len(self.len) };
        let result = write(self.out);
        self.len = self.out.len();
        result
    }

    /// Appends a piece.
    #[inline(always)]
    pub(super) fn piece(&mut self, piece: &Piece) {
        let padded = piece.bytes.len();
        self.make(padded);
        let mut at = 0;
        while at < padded {
            // SAFETY: `make` saw room for all padded bytes behind `len`; `at + STEP <= padded`, because that is a multiple
            // of STEP; the two memories are different allocations, for one is borrowed and the other borrowed mutably.
            unsafe {
                let to = self.out.as_mut_ptr().add(self.len + at);
                std::ptr::copy_nonoverlapping(piece.bytes.as_ptr().add(at), to, STEP);
            }
            at += STEP;
        }
        self.len += piece.len;
    }

    /// Appends so many bytes of known number.
    #[inline(always)]
    pub(super) fn array<const N: usize>(&mut self, bytes: &[u8; N]) {
        self.make(N);
        // SAFETY: `make` saw room for N bytes behind `len`, and the two do not overlap.
        unsafe {
            let to = self.out.as_mut_ptr().add(self.len);
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, N);
        }
        self.len += N;
    }

    /// Appends `text` if none of its bytes needs escaping, and says whether it did. If not, nothing was appended.
    #[inline(always)]
    pub(super) fn plain(&mut self, text: &[u8]) -> bool {
        let len = text.len();
        self.make(len);
        let from = text.as_ptr();
        let mut seen = 0;
        // SAFETY: all reads lie inside `text`: whole words before `len`, then the last word of it, or fewer bytes. All
        // writes lie in the same places behind `self.len`, where `make` saw room for `len` bytes. `text` is borrowed and
        // `out` is borrowed mutably, so they do not overlap.
        unsafe {
            let to = self.out.as_mut_ptr().add(self.len);
            if len >= 8 {
                let mut at = 0;
                while at + 8 < len {
                    let word = from.add(at).cast::<u64>().read_unaligned();
                    seen |= special(u64::from_le(word));
                    to.add(at).cast::<u64>().write_unaligned(word);
                    at += 8;
                }
                let word = from.add(len - 8).cast::<u64>().read_unaligned();
                seen |= special(u64::from_le(word));
                to.add(len - 8).cast::<u64>().write_unaligned(word);
            } else if len >= 4 {
                let low = from.cast::<u32>().read_unaligned();
                let high = from.add(len - 4).cast::<u32>().read_unaligned();
                seen = special(u64::from(low) | u64::from(high) << 32);
                to.cast::<u32>().write_unaligned(low);
                to.add(len - 4).cast::<u32>().write_unaligned(high);
            } else {
                for at in 0..len {
                    let byte = *from.add(at);
                    seen |= u64::from(byte < 0x20 || byte == b'"' || byte == b'\\');
                    *to.add(at) = byte;
                }
            }
        }
        if seen == 0 {
            self.len += len;
        }
        seen == 0
    }
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        // SAFETY: the first `len` bytes are initialised and lie within the capacity.
        unsafe { self.out.set_len(self.len) };
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
            let put = Room::at_the_end_of(&mut out).plain(&text);
            prop_assert_eq!(put, !text.iter().any(needs_escape));
            prop_assert_eq!(&out[..before.len()], &before[..]);
            prop_assert_eq!(&out[before.len()..], if put { &text[..] } else { &[] });
        }

        #[test]
        fn text_without_a_special_byte_is_always_plain(text in "[ !#-\\[\\]-~\u{80}-\u{2fff}]{0,60}") {
            let mut out = Vec::new();
            prop_assert!(Room::at_the_end_of(&mut out).plain(text.as_bytes()));
            prop_assert_eq!(out, text.as_bytes());
        }

        #[test]
        fn pieces_stand_one_behind_the_other(
            before in proptest::collection::vec(any::<u8>(), 0..20),
            pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..100), 0..8),
        ) {
            let mut out = before.clone();
            let mut expected = before;
            let mut room = Room::at_the_end_of(&mut out);
            for piece in &pieces {
                room.piece(&Piece::new(piece));
                room.array(b"|");
                room.with(|out| out.push(b'+'));
                expected.extend_from_slice(piece);
                expected.extend_from_slice(b"|+");
            }
            drop(room);
            prop_assert_eq!(out, expected);
        }
    }
}
