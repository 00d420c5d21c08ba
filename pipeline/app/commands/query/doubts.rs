//! A slip of the pen must not read as "nobody did it": words that can fit nothing are said.

use pipeline::{Catalogue, config, printable};
use sinks::sqlite::{Known, Reader, is_source};

use super::Question;
use crate::exit::Exit;
use crate::say;

/// Most names of a store that are listed.
const LISTED: usize = 10;

impl Question {
    /// Before the store is asked.
    pub(super) fn doubts(&self) -> Result<(), Exit> {
        let lists = [
            ("--user", &self.user),
            ("--action", &self.action),
            ("--object", &self.object),
            ("--node", &self.node),
            ("--source", &self.source),
            ("--code", &self.code),
        ];
        for (name, words) in lists {
            if words.iter().any(|word| word.trim().is_empty()) {
                say::error(format!("{name} has no word in it"));
                return Err(Exit::Failed);
            }
        }
        for word in &self.source {
            if !is_source(word) {
                say::error(format!(
                    "{:?} is no address and no network; write 192.0.2.7, 192.0.2.0/24, 2001:db8::/32, or 192.0.2.*",
                    printable(word)
                ));
                return Err(Exit::Failed);
            }
        }
        let rows = Catalogue::builtin().rows();
        for word in self.action.iter().filter(|word| !is_wild(word)) {
            let known = || rows.iter().map(|row| row.action.as_str());
            doubt("action", word, word, known);
        }
        for word in self.code.iter().filter(|word| !is_wild(word)) {
            let code = word.to_ascii_uppercase();
            let code = match code.starts_with("PVE-") {
                true => code,
                false => format!("PVE-{code}"),
            };
            doubt("event ID", word, &code, || {
                rows.iter().map(|row| row.code.as_str())
            });
        }
        Ok(())
    }

    /// Why nothing may have been found.
    pub(super) fn nothing(&self, reader: &Reader) {
        for (what, words, known) in [
            ("node", &self.node, Known::Nodes),
            ("user", &self.user, Known::Users),
        ] {
            for word in words.iter().filter(|word| !is_wild(word)) {
                unknown(reader, what, word, known);
            }
        }
        let more = if self.all {
            ""
        } else {
            "; --all looks at evidence too"
        };
        match reader.span() {
            Ok(Some((first, last))) => say::aside(&format!(
                "nothing found; the store holds {first} to {last}{more}\n"
            )),
            _ => say::aside("nothing found; the store is empty\n"),
        }
    }
}

fn is_wild(word: &str) -> bool {
    word.contains(['*', '?'])
}

fn doubt<'a, I: Iterator<Item = &'a str>>(
    what: &str,
    word: &str,
    meant: &str,
    known: impl Fn() -> I,
) {
    if known().any(|known| known == meant) {
        return;
    }
    let remedy = match config::nearest(meant, known()) {
        Some(meant) => format!("; did you mean {meant}?"),
        None => "; `pvetrail list events` names them all".to_owned(),
    };
    say::aside(&format!(
        "note: the catalogue has no {what} {:?}{remedy}\n",
        printable(word)
    ));
}

/// Says that the store has nobody, or no place, of this name.
fn unknown(reader: &Reader, what: &str, word: &str, known: Known) {
    // A store that cannot be read has said so before.
    let Ok(Some(names)) = reader.names(known) else {
        return;
    };
    // Of a token its user is looked for, of a user without realm the name.
    let of = word
        .rfind('@')
        .and_then(|at| word[at..].find('!').map(|n| at + n));
    let user = of.map_or(word, |at| &word[..at]);
    let is_it = |name: &String| {
        let bare = name
            .rsplit_once('@')
            .map_or(name.as_str(), |(bare, _)| bare);
        name == user || (what == "user" && !user.contains('@') && bare == user)
    };
    if names.iter().any(is_it) {
        return;
    }
    let nearest = config::nearest(user, names.iter().map(String::as_str));
    let remedy = match nearest {
        Some(meant) => format!("; did you mean {}?", printable(meant)),
        None if names.len() <= LISTED => format!("; it has {}", printable(&names.join(", "))),
        None => String::new(),
    };
    say::aside(&format!(
        "note: the store has no {what} {:?}{remedy}\n",
        printable(word)
    ));
}
