//! Numbers of captured texts, as Logstash's `:int` and `:float` read them (Ruby's `to_i` and `to_f`).
//!
//! - what stands in front counts, `12ms` is 12; a text without a number is 0
//! - an integer beyond 64 bits, which Logstash would keep, stays text here, as no store could index it as a number

/// The integer at the start of a text; `None` beyond 64 bits.
pub fn int(text: &str) -> Option<i64> {
    let text = text.trim_start_matches(|c: char| c.is_ascii_whitespace());
    let (negative, digits) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let mut value = 0i64;
    let mut after_digit = false;
    for byte in digits.bytes() {
        match byte {
            b'0'..=b'9' => {
                let digit = i64::from(byte - b'0');
                value = value.checked_mul(10)?;
                value = if negative {
                    value.checked_sub(digit)?
                } else {
                    value.checked_add(digit)?
                };
                after_digit = true;
            }
            // One underscore between digits is Ruby's way of grouping them.
            b'_' if after_digit => after_digit = false,
            _ => break,
        }
    }
    Some(value)
}

/// The decimal number at the start of a text, 0 where there is none.
pub fn float(text: &str) -> f64 {
    let text = text.trim_start_matches(|c: char| c.is_ascii_whitespace());
    let bytes = text.as_bytes();
    let digits = |mut at: usize| {
        while at < bytes.len() && bytes[at].is_ascii_digit() {
            at += 1;
        }
        at
    };
    let start = usize::from(matches!(bytes.first(), Some(b'+' | b'-')));
    let mut end = digits(start);
    let whole = end > start;
    if bytes.get(end) == Some(&b'.') && digits(end + 1) > end + 1 {
        end = digits(end + 1);
    } else if !whole {
        return 0.0;
    }
    if let Some(b'e' | b'E') = bytes.get(end) {
        let sign = end + 1 + usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        if digits(sign) > sign {
            end = digits(sign);
        }
    }
    text[..end].parse().unwrap_or(0.0)
}

/// `true` or `false`, in any case.
pub fn boolean(text: &str) -> Option<bool> {
    match text {
        _ if text.eq_ignore_ascii_case("true") => Some(true),
        _ if text.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_ruby_reads_them() {
        let ints = [
            ("200", Some(200)),
            ("-7", Some(-7)),
            ("+7", Some(7)),
            ("12ms", Some(12)),
            ("-", Some(0)),
            ("", Some(0)),
        ];
        for (text, value) in ints.into_iter().chain([
            ("1_000", Some(1000)),
            ("1__0", Some(1)),
            ("1.9", Some(1)),
            (" 5", Some(5)),
        ]) {
            assert_eq!(int(text), value, "{text:?}");
        }
        assert_eq!(int("9223372036854775807"), Some(i64::MAX));
        assert_eq!(int("-9223372036854775808"), Some(i64::MIN));
        assert_eq!(int("9223372036854775808"), None);
        for (text, value) in [
            ("0.001", 0.001),
            (".5", 0.5),
            ("-1e3", -1000.0),
            ("3.", 3.0),
            ("1.5ms", 1.5),
            ("x", 0.0),
            ("2e", 2.0),
        ] {
            assert_eq!(float(text), value, "{text:?}");
        }
    }
}
