//! Secrets once more, where the parts of a line are known: parameters of a query in any spelling, and arguments of commands.
//!
//! At the edge of a source only what a raw text shows can be found. Here a name is a name: `pass%77ord=x` is a password, and
//! the value of `-sshkeys` ends where the next argument begins. What is replaced is replaced in every field that has it.

use std::borrow::Cow;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::OnceLock;

use pipeline::{Context, Event, RedactMode, RedactOptions, Redactor, Value, fields};

use super::names::NAMES;
use super::seen::{Seen, cut};

/// Most parameters of one call that are kept.
const MOST: usize = 64;
/// Longest value of a parameter [bytes].
const LONGEST: usize = 1 << 10;

/// Finds and replaces them.
pub(super) struct Secrets {
    options: RedactOptions,
    /// The key of the installation, for mode `hash`.
    key: PathBuf,
    redactor: OnceLock<Redactor>,
}

impl Secrets {
    pub(super) fn new(cx: &Context) -> Secrets {
        Secrets {
            options: cx.globals().redaction.options(),
            key: cx.data_dir().join("installation.key"),
            redactor: OnceLock::new(),
        }
    }

    /// Made with the first event: the engine writes the key while it starts.
    fn redactor(&self) -> &Redactor {
        self.redactor.get_or_init(|| {
            let mut options = self.options.clone();
            let mut key = Vec::new();
            if options.mode == RedactMode::Hash {
                match std::fs::read(&self.key) {
                    Ok(read) if read.len() == 32 => key = read,
                    // Without the key a digest could be guessed.
                    _ => options.mode = RedactMode::Mask,
                }
            }
            Redactor::new(&options, &key)
        })
    }

    /// Of a line of the access log: the query, and the parameters in it.
    pub(super) fn of_query(&self, event: &mut Event) {
        let n = &*NAMES;
        let Some(query) = event.str(n.query).map(str::to_owned) else {
            return;
        };
        if let Some(clean) = self.query(&query) {
            self.replace(event, &query, &clean);
            event.set(n.query, clean);
        }
        let params = self.params(&query);
        if !params.is_empty() {
            event.set(n.params, Value::Map(params));
        }
    }

    /// Of what was understood of a line: the arguments it names.
    pub(super) fn of_line(&self, event: &mut Event, seen: &mut Seen) {
        let n = &*NAMES;
        for (field, value) in &mut seen.more {
            if *field == n.command
                && let Value::Str(text) = value
                && let Some(clean) = self.arguments(text)
            {
                self.replace(event, text, &clean);
                *text = clean;
            }
        }
    }

    /// Replaces a text in the line it was read from.
    fn replace(&self, event: &mut Event, text: &str, clean: &str) {
        for field in [NAMES.original, fields::MESSAGE] {
            if let Some(line) = event.str(field)
                && line.contains(text)
            {
                let line = line.replace(text, clean);
                event.set(field, line);
            }
        }
        // The buffer still holds the clear text.
        event.detach();
    }

    fn query(&self, query: &str) -> Option<String> {
        let redactor = self.redactor();
        let mut hits = Vec::new();
        let mut at = 0;
        for pair in query.split('&') {
            if let Some((name, value)) = pair.split_once('=')
                && !value.is_empty()
                && redactor.is_secret_key(&decode(name))
            {
                let start = at + name.len() + 1;
                hits.push(start..start + value.len());
            }
            at += pair.len() + 1;
        }
        self.apply(query, &hits)
    }

    /// The parameters of a query, decoded, without secrets.
    fn params(&self, query: &str) -> Vec<(String, Value)> {
        let redactor = self.redactor();
        let mut params: Vec<(String, Value)> = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (decode(name), decode(value));
            // What keeps a browser from answering out of its cache.
            if name == "_dc" || name.is_empty() || params.iter().any(|(held, _)| *held == name) {
                continue;
            }
            if params.len() == MOST {
                break;
            }
            let value = if redactor.is_secret_key(&name) {
                redactor.redact_value(&value)
            } else {
                let value = cut(&value, LONGEST);
                redactor
                    .redact_str(value)
                    .unwrap_or_else(|| value.to_owned())
            };
            params.push((cut(&name, 256).to_owned(), Value::Str(value)));
        }
        params
    }

    /// `-name value -name value`, as PVE logs what a guest was changed to, and as its commands are called. A value ends where
    /// the next argument begins: it may hold spaces, and a piece too much is better gone than one too few.
    fn arguments(&self, text: &str) -> Option<String> {
        let redactor = self.redactor();
        let mut hits: Vec<Range<usize>> = Vec::new();
        let starts: Vec<usize> = text
            .match_indices('-')
            .map(|(at, _)| at)
            .filter(|at| {
                let behind = text[..*at].bytes().next_back();
                let next = text[*at..].trim_start_matches('-').bytes().next();
                behind.is_none_or(|c| c == b' ') && next.is_some_and(|c| c.is_ascii_alphabetic())
            })
            .collect();
        for (n, at) in starts.iter().enumerate() {
            let end = starts.get(n + 1).copied().unwrap_or(text.len());
            let argument = &text[*at..end];
            let named = argument.trim_start_matches('-');
            let Some(stop) = named.find([' ', '=']) else {
                continue;
            };
            let (name, value) = (&named[..stop], named[stop + 1..].trim_end());
            if !value.is_empty() && redactor.is_secret_key(name) {
                let start = end - (named.len() - stop - 1);
                hits.push(start..start + value.len());
            }
        }
        self.apply(text, &hits)
    }

    fn apply(&self, text: &str, hits: &[Range<usize>]) -> Option<String> {
        if hits.is_empty() {
            return None;
        }
        let redactor = self.redactor();
        let mut out = String::with_capacity(text.len());
        let mut from = 0;
        for hit in hits {
            out.push_str(&text[from..hit.start]);
            out.push_str(&redactor.redact_value(&text[hit.clone()]));
            from = hit.end;
        }
        out.push_str(&text[from..]);
        (out != text).then_some(out)
    }
}

/// `%xx` and `+`, as the server reads them.
fn decode(text: &str) -> Cow<'_, str> {
    match text.contains('+') {
        true => Cow::Owned(pipeline::pve::decode(&text.replace('+', " ")).into_owned()),
        false => pipeline::pve::decode(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pipeline::{Kind, events};
    use proptest::prelude::*;

    fn secrets() -> Secrets {
        Secrets::new(&Context::for_tests(Kind::Transform, "event_id"))
    }

    #[test]
    fn a_password_in_any_spelling_is_gone_from_every_field() {
        let line =
            "x \"PUT /api2/json/a?pass%77ord=hunter2&cores=2&_dc=1&note=a+b HTTP/1.1\" 200 2";
        let query = "pass%77ord=hunter2&cores=2&_dc=1&note=a+b";
        let mut event = events![{"url": {"query": query}, "event": {"original": line}}].remove(0);
        secrets().of_query(&mut event);
        let json = event.to_json();
        assert!(!json.to_string().contains("hunter2"), "{json}");
        assert_eq!(
            json["pve"]["params"],
            serde_json::json!({"password": "[redacted]", "cores": "2", "note": "a b"})
        );
        assert_eq!(
            json["url"]["query"],
            "pass%77ord=[redacted]&cores=2&_dc=1&note=a+b"
        );
    }

    #[test]
    fn the_value_of_an_argument_ends_where_the_next_begins() {
        let clean = |text| secrets().arguments(text);
        assert_eq!(
            clean("-sshkeys ssh-rsa%20AAA x -cores 2 -cipassword a b-c").as_deref(),
            Some("-sshkeys [redacted] -cores 2 -cipassword [redacted]")
        );
        assert_eq!(
            clean("/usr/bin/pvesh set /access/password --password=hunter2 --userid a@pve")
                .as_deref(),
            Some("/usr/bin/pvesh set /access/password --password=[redacted] --userid a@pve")
        );
        for none in [
            "-cores 2",
            "",
            "-",
            "-cipassword",
            "-cipassword <hidden>",
            "resize --disk scsi0 --size +10G",
        ] {
            assert_eq!(clean(none), None, "{none}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(-[a-z]{0,3}|password|key|=|&|%[0-9a-f]?|é|-| ){0,12}") {
            let secrets = secrets();
            let _ = secrets.arguments(&text);
            let _ = secrets.query(&text);
            let _ = secrets.params(&text);
        }
    }
}
