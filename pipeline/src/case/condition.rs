//! Conditions of tests, as far as they can be told without VRL: `.rule.id == "PVR-202" && .count != 3 && exists(.user.name)`.

use serde_json::Value;

/// Comparisons that must all hold.
#[derive(Debug, PartialEq)]
pub(super) struct Condition(Vec<Term>);

#[derive(Debug, PartialEq)]
struct Term {
    path: String,
    test: Test,
}

#[derive(Debug, PartialEq)]
enum Test {
    Is(Value),
    IsNot(Value),
    Exists(bool),
}

impl Condition {
    pub(super) fn parse(text: &str) -> Result<Condition, String> {
        let terms = split(text).into_iter().map(|term| {
            Term::parse(term.trim()).ok_or_else(|| {
                format!(
                    "{:?} cannot be checked: tests know `.path == value`, `.path != value`, `exists(.path)` and `!exists(.path)` joined by `&&`; use `fields` for the rest",
                    term.trim()
                )
            })
        });
        Ok(Condition(terms.collect::<Result<_, _>>()?))
    }

    pub(super) fn holds(&self, event: &Value) -> bool {
        self.0.iter().all(|term| {
            let held = event.pointer(&term.path);
            match &term.test {
                Test::Is(value) => held.unwrap_or(&Value::Null) == value,
                Test::IsNot(value) => held.unwrap_or(&Value::Null) != value,
                Test::Exists(wanted) => held.is_some() == *wanted,
            }
        })
    }
}

/// At `&&` outside of quotes.
fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut from, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '&' if !quoted && text[at..].starts_with("&&") && at >= from => {
                parts.push(&text[from..at]);
                from = at + 2;
            }
            _ => {}
        }
    }
    parts.push(&text[from..]);
    parts
}

impl Term {
    fn parse(text: &str) -> Option<Term> {
        for (word, wanted) in [("exists(", true), ("!exists(", false)] {
            if let Some(path) = text
                .strip_prefix(word)
                .and_then(|rest| rest.strip_suffix(')'))
            {
                return Some(Term {
                    path: pointer(path.trim())?,
                    test: Test::Exists(wanted),
                });
            }
        }
        let at = text.find(['=', '!'])?;
        let (path, rest) = text.split_at(at);
        let (is, value) = match rest.split_at_checked(2)? {
            ("==", value) => (true, value),
            ("!=", value) => (false, value),
            _ => return None,
        };
        let value = serde_json::from_str(value.trim()).ok()?;
        let test = if is {
            Test::Is(value)
        } else {
            Test::IsNot(value)
        };
        Some(Term {
            path: pointer(path.trim())?,
            test,
        })
    }
}

/// `.a.b` as a JSON pointer; `."@timestamp"` and `.@timestamp` too.
fn pointer(path: &str) -> Option<String> {
    let names = path.strip_prefix('.')?;
    let plain = |c: char| c.is_alphanumeric() || "_@-\"".contains(c);
    if names.is_empty()
        || names
            .split('.')
            .any(|name| name.is_empty() || !name.chars().all(plain))
    {
        return None;
    }
    Some(format!("/{}", names.replace('"', "").replace('.', "/")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comparisons_are_joined_and_the_rest_is_refused() {
        let event = serde_json::json!({"rule": {"id": "PVR && 202"}, "n": 3, "@timestamp": "x"});
        let holds = |text: &str| Condition::parse(text).unwrap().holds(&event);
        assert!(holds(r#".rule.id == "PVR && 202" && .n == 3"#));
        assert!(holds(
            r#"exists(.rule.id) && !exists(.rule.name) && .n != 4"#
        ));
        assert!(holds(r#"."@timestamp" == "x" && .nothing == null"#));
        assert!(!holds(r#".n == "3""#));
        for refused in [
            "length(.a) > 3",
            ".a == b",
            ".a",
            "",
            ".n == 3 || .n == 4",
            "..a == 1",
        ] {
            assert!(
                Condition::parse(refused).unwrap_err().contains("fields"),
                "{refused}"
            );
        }
    }
}
