//! Small steps over bytes. Places count from the start of the event's buffer, so that what is found is a span already.

use pipeline::Span;

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// Where a word that begins at `at` ends: at the first space or control character, or with the text.
#[inline]
pub(super) fn word_end(text: &[u8], mut at: usize) -> usize {
    while let Some(chunk) = text.get(at..).and_then(<[u8]>::first_chunk::<8>) {
        let word = u64::from_le_bytes(*chunk);
        // The high bit of each byte of at most 0x20. A borrow can only mark a byte behind one that is marked rightly.
        let found = word.wrapping_sub(ONES * 0x21) & !word & HIGH;
        if found != 0 {
            return at + (found.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    while text.get(at).is_some_and(|byte| *byte > b' ') {
        at += 1;
    }
    at
}

/// Where something else than a space stands, from `at` on.
#[inline]
pub(super) fn skip_spaces(text: &[u8], mut at: usize) -> usize {
    while text.get(at) == Some(&b' ') {
        at += 1;
    }
    at
}

/// The span from one place to another.
#[inline]
pub(super) fn span(from: usize, to: usize) -> Span {
    // A buffer is addressed with 32 bits everywhere (`pipeline::Span`), so neither number is cut.
    Span {
        at: from as u32,
        len: to.saturating_sub(from) as u32,
    }
}

/// Two digits as a number.
#[inline]
pub(super) fn two(tens: u8, ones: u8) -> Option<i64> {
    let (tens, ones) = (tens.wrapping_sub(b'0'), ones.wrapping_sub(b'0'));
    (tens < 10 && ones < 10).then(|| i64::from(tens) * 10 + i64::from(ones))
}

/// A text of 1 to 18 digits as a number.
#[inline]
pub(super) fn number(text: &[u8]) -> Option<i64> {
    if text.is_empty() || text.len() > 18 {
        return None;
    }
    let mut sum = 0;
    for byte in text {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        sum = sum * 10 + i64::from(digit);
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_word_ends_where_the_plain_way_says(text in proptest::collection::vec(prop_oneof![any::<u8>(), Just(b'a'), Just(b' ')], 0..40), at in 0_usize..45) {
            let plain = text.iter().skip(at).position(|byte| *byte <= b' ').map_or(at.max(text.len()), |n| at + n);
            prop_assert_eq!(word_end(&text, at), plain);
        }
    }

    #[test]
    fn numbers_are_digits_and_nothing_else() {
        assert_eq!(number(b"0042"), Some(42));
        assert_eq!(number(b"999999999999999999"), Some(999_999_999_999_999_999));
        for wrong in [&b""[..], b"-1", b"1 ", b"9999999999999999999"] {
            assert_eq!(number(wrong), None);
        }
        assert_eq!(two(b'5', b'9'), Some(59));
        assert_eq!(two(b' ', b'9'), None);
    }
}
