//! Names of keys whose values are secret.
//!
//! - a parsed field or parameter has the whole list
//! - in raw text the two words that mean too much elsewhere (`key`, `value`) count only where a query or a property string
//!   is unmistakable, so that a sentence with "key" in it survives

/// The whole name, in any case.
const EXACT: &[&str] = &[
    "password",
    "confirmation-password",
    "cipassword",
    "passwd",
    "otp",
    "tfa-challenge",
    "secret",
    "token",
    "apitoken",
    "keyring",
    "encryption-key",
    "master-pubkey",
    "client-key",
    "private-key",
    "ticket",
    "vncticket",
    "csrfpreventiontoken",
    "sshkeys",
    "ssh-public-keys",
    "key",
    "value",
];

/// The end of the name, in any case; `-` and `_` are the same here.
const SUFFIX: &[&str] = &["password", "secret", "-token", "apikey", "api-key"];

/// Three to five last letters of every name above, as they are written in the wild: what the search looks for.
const TAILS: &[&str] = &[
    "ord", "ORD", "swd", "cret", "CRET", "cket", "CKET", "oken", "OKEN", "otp", "llenge", "yring",
    "key", "Key", "KEY", "alue",
];

/// How sure one can be, from the name alone, that raw text after it is a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weight {
    /// The name means a secret wherever it is followed by a value.
    Always,
    /// `key`: in a query or a property string.
    InList,
    /// `value`: in a query.
    InQuery,
}

/// The built-in names and the operator's.
#[derive(Debug)]
pub(super) struct Keys {
    exact: Vec<String>,
    suffix: Vec<String>,
}

impl Keys {
    pub(super) fn new(more: &[String]) -> Self {
        let mut exact = Vec::new();
        let mut suffix = Vec::new();
        for name in more {
            match name.strip_prefix('*') {
                Some("") => {}
                Some(end) => suffix.push(end.to_ascii_lowercase().replace('_', "-")),
                None if name.is_empty() => {}
                None => exact.push(name.to_ascii_lowercase()),
            }
        }
        Self { exact, suffix }
    }

    /// What the search must look for so that no key is missed: the last bytes of each name.
    pub(super) fn tails(&self) -> Vec<String> {
        let mut tails: Vec<String> = TAILS.iter().map(|tail| (*tail).to_owned()).collect();
        for name in self.exact.iter().chain(&self.suffix) {
            let at = name.len().saturating_sub(3);
            let Some(tail) = name.get(at..) else { continue };
            let mut capital = tail.to_owned();
            capital[..1].make_ascii_uppercase();
            for form in [tail.to_owned(), tail.to_ascii_uppercase(), capital] {
                let covered = tails.iter().any(|known| form.ends_with(known.as_str()));
                if !covered {
                    tails.push(form);
                }
            }
        }
        tails
    }

    /// Whether the value of a parsed field of this name is secret. Of a dotted path the last part counts.
    pub(super) fn parsed(&self, name: &[u8]) -> bool {
        let last = name.rsplit(|byte| *byte == b'.').next().unwrap_or(name);
        self.known(last)
    }

    /// What the name says about the text after it, if anything.
    pub(super) fn weight(&self, name: &[u8]) -> Option<Weight> {
        let name = name.rsplit(|byte| *byte == b'.').next().unwrap_or(name);
        if name.eq_ignore_ascii_case(b"key") {
            return Some(Weight::InList);
        }
        if name.eq_ignore_ascii_case(b"value") {
            return Some(Weight::InQuery);
        }
        self.known(name).then_some(Weight::Always)
    }

    fn known(&self, name: &[u8]) -> bool {
        let own_exact = self.exact.iter().map(String::as_str);
        let own_suffix = self.suffix.iter().map(String::as_str);
        EXACT
            .iter()
            .copied()
            .chain(own_exact)
            .any(|known| same(name, known.as_bytes()))
            || SUFFIX.iter().copied().chain(own_suffix).any(|end| {
                name.len() >= end.len() && same(&name[name.len() - end.len()..], end.as_bytes())
            })
    }
}

/// Equal but for case, and for `_` where the known name has `-`.
fn same(name: &[u8], known: &[u8]) -> bool {
    name.len() == known.len()
        && name
            .iter()
            .zip(known)
            .all(|(a, b)| a.eq_ignore_ascii_case(b) || (*a == b'_' && *b == b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_name_has_an_anchor() {
        for name in EXACT.iter().chain(SUFFIX) {
            assert!(TAILS.iter().any(|tail| name.contains(tail)), "{name}");
        }
    }
}
