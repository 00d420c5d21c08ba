//! Templates of sentences: text, slots in braces, and choices in brackets.
//!
//! `[user {object}|a user]` is the first half where every slot in it has something to say, else the second.

use super::{Row, Text};

/// The templates of one row.
#[derive(Debug, Default)]
pub(super) struct Sentences {
    pub(super) say: Option<Both>,
    pub(super) failed: Option<Both>,
    pub(super) unknown: Option<Both>,
}

/// One template in each language.
#[derive(Debug)]
pub(super) struct Both {
    pub(super) en: Vec<Part>,
    pub(super) de: Vec<Part>,
}

/// A piece of a template.
#[derive(Debug)]
pub(super) enum Part {
    /// Said as it stands.
    Text(Box<str>),
    /// What the event says.
    Slot(Slot),
    /// The first, if all that it asks for is known.
    Choice(Vec<Part>, Vec<Part>),
}

macro_rules! slots {
    ($($name:ident = $word:literal),* $(,)?) => {
        /// What a template may ask for.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Slot { $($name),* }

        impl Slot {
            fn find(word: &str) -> Option<Slot> {
                match word { $($word => Some(Slot::$name),)* _ => None }
            }
        }
    };
}

slots! {
    User = "user", Target = "target", Effective = "effective", OfUser = "of_user", From = "from", LateFrom = "late_from",
    Node = "node", OnNode = "on_node", OfNode = "of_node", Guest = "guest", Object = "object", OfObject = "of_object",
    Scope = "scope", Rest = "rest", What = "what", Keys = "keys", Changes = "changes", Grant = "grant", Revoke = "revoke",
    Reason = "reason", Command = "command", Request = "request", Path = "path", Count = "count", Text = "text",
    Process = "process", Packet = "packet",
}

impl Sentences {
    pub(super) fn of(row: &Row) -> Result<Sentences, String> {
        let both = |text: &Option<Text>| text.as_ref().map(Both::of).transpose();
        Ok(Sentences {
            say: both(&row.say)?,
            failed: both(&row.failed)?,
            unknown: both(&row.unknown)?,
        })
    }
}

impl Both {
    fn of(text: &Text) -> Result<Both, String> {
        Ok(Both {
            en: parts(&text.en)?,
            de: parts(&text.de)?,
        })
    }
}

/// Reads a template.
pub(super) fn parts(template: &str) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    let mut rest = template;
    while let Some(at) = rest.find(['{', '[']) {
        let (text, after) = rest.split_at(at);
        push_text(text, &mut parts);
        let close = if after.starts_with('{') { '}' } else { ']' };
        let (inside, after) = after[1..]
            .split_once(close)
            .ok_or_else(|| format!("a \"{}\" is not closed in \"{template}\"", &after[..1]))?;
        rest = after;
        parts.push(if close == '}' {
            Part::Slot(Slot::find(inside).ok_or_else(|| {
                format!("\"{{{inside}}}\" in \"{template}\" is nothing that can be said")
            })?)
        } else {
            let (with, without) = inside
                .split_once('|')
                .ok_or_else(|| format!("\"[{inside}]\" in \"{template}\" is no choice"))?;
            Part::Choice(self::parts(with)?, self::parts(without)?)
        });
    }
    push_text(rest, &mut parts);
    Ok(parts)
}

fn push_text(text: &str, parts: &mut Vec<Part>) {
    if !text.is_empty() {
        parts.push(Part::Text(text.into()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_that_asks_for_nonsense_is_refused() {
        assert_eq!(
            parts("{user} did {nonsense}").unwrap_err(),
            "\"{nonsense}\" in \"{user} did {nonsense}\" is nothing that can be said"
        );
        assert_eq!(
            parts("{user").unwrap_err(),
            "a \"{\" is not closed in \"{user\""
        );
        assert_eq!(
            parts("a [b]").unwrap_err(),
            "\"[b]\" in \"a [b]\" is no choice"
        );
        assert!(parts("[{nonsense}|b]").is_err());
    }
}
