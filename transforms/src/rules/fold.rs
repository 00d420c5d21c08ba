//! Text compared without case, letter by letter of any script, and without allocating where both sides are ASCII.

use std::borrow::Cow;

/// Every letter in lower case. Letter by letter, so that a part of a folded text is the folded part of a text.
pub(super) fn fold(text: &str) -> String {
    text.chars().flat_map(char::to_lowercase).collect()
}

/// The same, borrowed where nothing changes.
pub(super) fn folded(text: &str) -> Cow<'_, str> {
    let same = |byte: u8| byte.is_ascii() && !byte.is_ascii_uppercase();
    if text.bytes().all(same) {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(fold(text))
    }
}

/// Whether `text` is `wanted`, which is folded.
#[inline]
pub(super) fn equal(text: &str, wanted: &str) -> bool {
    if text.is_ascii() {
        text.eq_ignore_ascii_case(wanted)
    } else {
        text.chars().flat_map(char::to_lowercase).eq(wanted.chars())
    }
}

/// Whether `text` begins with `wanted`, which is folded.
pub(super) fn starts(text: &str, wanted: &str) -> bool {
    let mut letters = text.chars().flat_map(char::to_lowercase);
    wanted.chars().all(|wanted| letters.next() == Some(wanted))
}

/// Whether `text` ends with `wanted`, which is folded.
pub(super) fn ends(text: &str, wanted: &str) -> bool {
    if text.is_ascii() {
        let from = text.len().checked_sub(wanted.len());
        return from
            .is_some_and(|from| text.as_bytes()[from..].eq_ignore_ascii_case(wanted.as_bytes()));
    }
    fold(text).ends_with(wanted)
}

/// Whether `wanted`, which is folded, is in `text`.
pub(super) fn contains(text: &str, wanted: &str) -> bool {
    if !text.is_ascii() {
        return fold(text).contains(wanted);
    }
    let (text, wanted) = (text.as_bytes(), wanted.as_bytes());
    let Some(first) = wanted.first() else {
        return true;
    };
    let other = first.to_ascii_uppercase();
    let Some(last) = text.len().checked_sub(wanted.len()) else {
        return false;
    };
    memchr::memchr2_iter(*first, other, &text[..=last])
        .any(|at| text[at..at + wanted.len()].eq_ignore_ascii_case(wanted))
}

/// Whether `text` is of the form `pattern`: `*` is anything, `?` one letter. Both folded alike, or neither.
pub(super) fn glob(text: impl Iterator<Item = char> + Clone, pattern: &[char]) -> bool {
    // The last star is enough to go back to: what an earlier one could take, the last one can take as well.
    let (mut rest, mut at) = (text, 0);
    let mut star: Option<(usize, _)> = None;
    loop {
        let before = rest.clone();
        match (rest.next(), pattern.get(at)) {
            (_, Some('*')) => {
                at += 1;
                star = Some((at, before.clone()));
                rest = before;
            }
            (None, None) => return true,
            (Some(_), Some('?')) => at += 1,
            (Some(letter), Some(wanted)) if letter == *wanted => at += 1,
            (letter, _) => {
                let Some((after, from)) = &mut star else {
                    return false;
                };
                if letter.is_none() || from.next().is_none() {
                    return false;
                }
                (at, rest) = (*after, from.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn slow_glob(text: &[char], pattern: &[char]) -> bool {
        match (text.first(), pattern.first()) {
            (_, Some('*')) => (0..=text.len()).any(|n| slow_glob(&text[n..], &pattern[1..])),
            (None, None) => true,
            (Some(_), Some('?')) => slow_glob(&text[1..], &pattern[1..]),
            (Some(letter), Some(wanted)) => {
                letter == wanted && slow_glob(&text[1..], &pattern[1..])
            }
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn the_quick_ways_agree_with_folding_both(text in "[aAbBßẞİıKkſsäÄ]{0,8}", part in "[aAbBßẞİıKkſsäÄ]{0,3}") {
            let wanted = fold(&part);
            prop_assert_eq!(equal(&text, &wanted), fold(&text) == wanted);
            prop_assert_eq!(starts(&text, &wanted), fold(&text).starts_with(&wanted));
            prop_assert_eq!(ends(&text, &wanted), fold(&text).ends_with(&wanted));
            prop_assert_eq!(contains(&text, &wanted), fold(&text).contains(&wanted));
            prop_assert_eq!(folded(&text).into_owned(), fold(&text));
        }

        #[test]
        fn a_glob_agrees_with_trying_everything(text in "[abä]{0,9}", pattern in "[abä*?]{0,7}") {
            let (letters, wanted): (Vec<char>, Vec<char>) = (text.chars().collect(), pattern.chars().collect());
            prop_assert_eq!(glob(text.chars(), &wanted), slow_glob(&letters, &wanted));
        }
    }
}
