//! `name@realm` and `name@realm!token` (`PVE/AccessControl.pm`).

use std::borrow::Cow;

/// Who is meant, in parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct User<'a> {
    /// The name; may hold `@` and `!` itself.
    pub name: &'a str,
    /// The realm: `pam`, `pve`, one of the operator's.
    pub realm: Option<&'a str>,
    /// The name of the API token.
    pub token: Option<&'a str>,
    id: &'a str,
}

impl<'a> User<'a> {
    /// Takes a text apart at its last `@` and the first `!` behind that. Never fails: what has no realm is a name.
    #[must_use]
    pub fn parse(text: &'a str) -> User<'a> {
        let Some(at) = text.rfind('@') else {
            return User {
                name: text,
                realm: None,
                token: None,
                id: text,
            };
        };
        let (realm, token) = match text[at + 1..].split_once('!') {
            Some((realm, token)) => (realm, Some(token)),
            None => (&text[at + 1..], None),
        };
        User {
            name: &text[..at],
            realm: Some(realm),
            token,
            id: &text[..at + 1 + realm.len()],
        }
    }

    /// `name@realm`, without the token.
    #[must_use]
    pub fn id(&self) -> Cow<'a, str> {
        Cow::Borrowed(self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_at_parts_name_and_realm() {
        let user = User::parse("a!b@c@corp-ad!ci");
        assert_eq!(
            (user.name, user.realm, user.token),
            ("a!b@c", Some("corp-ad"), Some("ci"))
        );
        assert_eq!(user.id(), "a!b@c@corp-ad");
        let user = User::parse("root");
        assert_eq!((user.name, user.realm, user.token), ("root", None, None));
        assert_eq!(User::parse("x@pve").id(), "x@pve");
        assert_eq!(User::parse("@").id(), "@");
    }
}
