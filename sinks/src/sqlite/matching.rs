//! What a word of a question fits: a name with `*` and `?`, a user with or without realm, an address or a network.

use std::net::IpAddr;

use ipnet::IpNet;

/// One word of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Pattern {
    /// A name; `*` stands for any text, `?` for one letter.
    Name(String),
    /// A user: without `@` of any realm.
    User(String),
    /// A network.
    Net(IpNet),
}

impl Pattern {
    /// A source: an address, a network like `192.0.2.0/24`, or a name with `*`.
    pub(super) fn source(word: &str) -> Pattern {
        let word = word.trim();
        if let Ok(net) = word.parse::<IpNet>() {
            return Pattern::Net(net.trunc());
        }
        match word.parse::<IpAddr>() {
            Ok(ip) => Pattern::Name(ip.to_canonical().to_string()),
            Err(_) => Pattern::Name(word.to_owned()),
        }
    }

    /// The only text it can fit, if there is only one.
    pub(super) fn exact(&self) -> Option<&str> {
        match self {
            Pattern::Name(name) => (!is_wild(name)).then_some(name),
            Pattern::User(name) => (!is_wild(name) && name.contains('@')).then_some(name),
            Pattern::Net(_) => None,
        }
    }

    /// What every text begins with that it fits.
    pub(super) fn beginning(&self) -> &str {
        match self {
            Pattern::Name(name) | Pattern::User(name) => {
                let end = name.find(['*', '?']).unwrap_or(name.len());
                &name[..end]
            }
            Pattern::Net(_) => "",
        }
    }

    /// Whether it fits.
    pub(super) fn fits(&self, text: &str) -> bool {
        match self {
            Pattern::Name(name) => glob(name, text),
            Pattern::User(name) if name.contains('@') => glob(name, text),
            Pattern::User(name) => {
                let user = text.rsplit_once('@').map_or(text, |(user, _)| user);
                glob(name, user) || glob(name, text)
            }
            Pattern::Net(net) => text
                .parse::<IpAddr>()
                .is_ok_and(|ip| net.contains(&ip.to_canonical())),
        }
    }
}

/// Whether a word can be a source: an address, a network, or a text with `*` or `?`.
pub fn is_source(word: &str) -> bool {
    let word = word.trim();
    is_wild(word) || word.parse::<IpAddr>().is_ok() || word.parse::<IpNet>().is_ok()
}

/// Whether a word holds `*` or `?`.
pub(super) fn is_wild(word: &str) -> bool {
    word.contains(['*', '?'])
}

/// Whether the whole text fits, in time linear in both but for the last `*`.
pub(super) fn glob(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(letter) if *letter == '?' || *letter == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match star {
                // The last star takes one letter more.
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    (p, t) = (at + 1, taken + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|letter| *letter == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_and_question_marks() {
        for (pattern, text, fits) in [
            ("alice*", "alice@pve", true),
            ("*@pam", "root@pam", true),
            ("*@pam", "root@pve", false),
            ("a*b*c", "axxbyybzc", true),
            ("a*b*c", "axxbyybz", false),
            ("20??", "2002", true),
            ("20??", "20021", false),
            ("", "", true),
            ("*", "", true),
            ("", "x", false),
        ] {
            assert_eq!(glob(pattern, text), fits, "{pattern} {text}");
        }
    }

    #[test]
    fn a_user_without_realm_is_one_of_any_realm() {
        let user = |word: &str| Pattern::User(word.to_owned());
        assert!(user("alice").fits("alice@pve") && user("alice").fits("alice"));
        assert!(!user("alice").fits("alice2@pve") && !user("alice@pam").fits("alice@pve"));
        assert!(user("al*").fits("alice@pve") && user("*@pve").fits("alice@pve"));
    }

    #[test]
    fn what_can_be_a_source() {
        for word in [
            "192.0.2.7",
            "192.0.2.0/24",
            "2001:db8::1",
            "::ffff:192.0.2.1",
            "192.0.*",
        ] {
            assert!(is_source(word), "{word}");
        }
        for word in ["300.1.1.1", "10.0.0.0/99", "pve1", "", "192.0.2"] {
            assert!(!is_source(word), "{word}");
        }
    }

    #[test]
    fn a_network_holds_its_addresses_in_both_spellings() {
        let net = Pattern::source("192.0.2.77/24");
        assert!(net.fits("192.0.2.1") && !net.fits("192.0.3.1") && !net.fits("x"));
        assert!(Pattern::source("2001:db8::/32").fits("2001:db8::1"));
        assert_eq!(
            Pattern::source("::ffff:192.0.2.1"),
            Pattern::Name("192.0.2.1".into())
        );
    }
}
