//! Hand-written code for the library patterns that most lines have. Each gives the same ends as its definition.

/// Where the bytes that are no white space end, at `limit` the latest. Eight at a time.
#[inline]
pub(in crate::grok) fn not_space(line: &[u8], pos: usize, limit: usize) -> usize {
    let mut end = pos;
    while let Some(chunk) = line
        .get(end..end + 8)
        .and_then(|chunk| <[u8; 8]>::try_from(chunk).ok())
    {
        let word = u64::from_le_bytes(chunk);
        // A byte below 0x21 leaves its high bit; all bytes are ASCII.
        let low = word.wrapping_sub(0x2121_2121_2121_2121) & !word & 0x8080_8080_8080_8080;
        if low != 0 {
            end += (low.trailing_zeros() / 8) as usize;
            break;
        }
        end += 8;
    }
    // The rest of the line, and control characters that are no white space.
    while end < line.len() && !matches!(line[end], b'\t'..=b'\r' | b' ') {
        end += 1;
    }
    end.min(limit)
}

/// `IPV4`: four numbers up to 255, of one to three digits; no digit before or behind.
#[inline]
pub(in crate::grok) fn ipv4(line: &[u8], pos: usize) -> Option<usize> {
    if pos > 0 && line[pos - 1].is_ascii_digit() {
        return None;
    }
    let mut at = pos;
    for part in 0..4 {
        if part > 0 {
            if line.get(at) != Some(&b'.') {
                return None;
            }
            at += 1;
        }
        let mut value = 0u32;
        let from = at;
        while at < line.len() && line[at].is_ascii_digit() {
            if at - from == 3 {
                return None;
            }
            value = value * 10 + u32::from(line[at] - b'0');
            at += 1;
        }
        if at == from || value > 255 {
            return None;
        }
    }
    Some(at)
}

/// What a run of address characters is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::grok) enum Ipv6 {
    /// An address that ends here.
    Is(usize),
    /// No address.
    IsNot,
    /// A `%` follows: the definition takes whatever comes behind it.
    Zone,
}

/// `IPV6` where what follows it is no character of an address: then the whole run is one, or there is none.
#[inline]
pub(in crate::grok) fn ipv6(line: &[u8], pos: usize) -> Ipv6 {
    // The first colon comes after four digits at the latest.
    let mut at = pos;
    while at < line.len() && line[at].is_ascii_hexdigit() {
        at += 1;
    }
    if line.get(at) != Some(&b':') || at - pos > 4 {
        return Ipv6::IsNot;
    }
    while at < line.len()
        && matches!(line[at], b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F' | b':' | b'.')
    {
        at += 1;
    }
    match (is_ipv6(&line[pos..at]), line.get(at)) {
        (false, _) => Ipv6::IsNot,
        (true, Some(b'%')) => Ipv6::Zone,
        (true, _) => Ipv6::Is(at),
    }
}

fn is_ipv6(text: &[u8]) -> bool {
    let Some(gap) = text.windows(2).position(|pair| pair == b"::") else {
        return match groups(text) {
            Some((groups, tail)) => groups == 8 && !tail || groups == 6 && tail,
            None => false,
        };
    };
    let left = &text[..gap];
    let right = &text[gap + 2..];
    let before = if left.is_empty() {
        0
    } else {
        match groups(left) {
            Some((groups, false)) => groups,
            _ => return false,
        }
    };
    if right.is_empty() {
        return before <= 7;
    }
    match groups(right) {
        Some((after, false)) => before <= 6 && after + before <= 7,
        Some((after, true)) => before <= 5 && after + before <= 5,
        None => false,
    }
}

/// Counts `h:h:…:h`; true if the last is an IPv4 address, which is not counted.
fn groups(text: &[u8]) -> Option<(usize, bool)> {
    let mut count = 0;
    let mut at = 0;
    loop {
        let from = at;
        while at < text.len() && text[at].is_ascii_hexdigit() {
            at += 1;
        }
        match text.get(at) {
            Some(b'.') => return is_tail(&text[from..]).then_some((count, true)),
            next => {
                if at == from || at - from > 4 {
                    return None;
                }
                count += 1;
                match next {
                    None => return Some((count, false)),
                    Some(b':') => at += 1,
                    Some(_) => return None,
                }
            }
        }
    }
}

/// Four numbers up to 255 without leading zeros: the strict form inside `IPV6`.
fn is_tail(text: &[u8]) -> bool {
    let mut parts = 0;
    for part in text.split(|byte| *byte == b'.') {
        parts += 1;
        let good = matches!(
            part,
            [b'0'..=b'9']
                | [b'1'..=b'9', b'0'..=b'9']
                | [b'1', b'0'..=b'9', b'0'..=b'9']
                | [b'2', b'0'..=b'4', b'0'..=b'9']
                | [b'2', b'5', b'0'..=b'5']
        );
        if !good {
            return false;
        }
    }
    parts == 4
}

/// `BASE10NUM`: a number as long as it goes, no digit, dot or sign before it.
#[inline]
pub(in crate::grok) fn number(line: &[u8], pos: usize) -> Option<usize> {
    if pos > 0 && matches!(line[pos - 1], b'0'..=b'9' | b'.' | b'+' | b'-') {
        return None;
    }
    let digits = |mut at: usize| {
        while at < line.len() && line[at].is_ascii_digit() {
            at += 1;
        }
        at
    };
    let from = pos + usize::from(matches!(line.get(pos), Some(b'+' | b'-')));
    let whole = digits(from);
    if line.get(whole) == Some(&b'.') {
        let end = digits(whole + 1);
        if end > whole + 1 {
            return Some(end);
        }
    }
    (whole > from).then_some(whole)
}

/// `TIME`: its end, and its end without the fraction where it has one. No digit behind either.
#[inline]
pub(in crate::grok) fn time(line: &[u8], pos: usize) -> Option<(usize, Option<usize>)> {
    let digit = |at: usize| {
        line.get(at)
            .filter(|byte| byte.is_ascii_digit())
            .map(|byte| byte - b'0')
    };
    let first = digit(pos)?;
    let mut at = pos + 1;
    if let Some(second) = digit(at) {
        if first > 2 || first == 2 && second > 3 {
            return None;
        }
        at += 1;
    }
    if line.get(at) != Some(&b':') || digit(at + 1)? > 5 {
        return None;
    }
    digit(at + 2)?;
    if line.get(at + 3) != Some(&b':') {
        return None;
    }
    at += 4;
    let first = digit(at)?;
    at += 1;
    if let Some(second) = digit(at) {
        if first > 6 || first == 6 && second != 0 {
            return None;
        }
        at += 1;
        if digit(at).is_some() {
            return None;
        }
    }
    if matches!(line.get(at), Some(b':' | b'.' | b',')) && digit(at + 1).is_some() {
        let mut end = at + 2;
        while digit(end).is_some() {
            end += 1;
        }
        return Some((end, Some(at)));
    }
    Some((at, None))
}

/// `QUOTEDSTRING`: up to the next quote of the same kind that has no backslash before it; no backslash before the first.
#[inline]
pub(in crate::grok) fn quoted(line: &[u8], pos: usize) -> Option<usize> {
    let quote = *line
        .get(pos)
        .filter(|byte| matches!(byte, b'"' | b'\'' | b'`'))?;
    if pos > 0 && line[pos - 1] == b'\\' {
        return None;
    }
    let mut at = pos + 1;
    while at < line.len() {
        at += memchr::memchr2(quote, b'\\', &line[at..])?;
        if line[at] == quote {
            return Some(at + 1);
        }
        at += 2;
    }
    None
}
