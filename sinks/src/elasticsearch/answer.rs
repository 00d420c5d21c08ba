//! What the server says to a bulk: one boolean for the usual case, one word for each event for the other.
//!
//! - `errors` is a JSON boolean at the top level: false means that all was taken, and `items` is not looked at
//! - true means that `items` are as many as the actions, in their order; anything else is no answer

use std::borrow::Cow;
use std::fmt;

use pipeline::{EventId, Fate};
use serde::Deserialize;
use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::trouble::Trouble;

#[cfg(test)]
mod tests;

/// What the start of an answer says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Flag {
    /// Everything was taken.
    Clean,
    /// Something was not.
    Errors,
    /// More of the answer is needed.
    More,
    /// This is no answer to a bulk.
    Nonsense(&'static str),
}

/// Looks for `errors` at the top level, however far it is; other values are stepped over, not parsed.
pub(super) fn flag(text: &[u8]) -> Flag {
    let mut cursor = Cursor { text, at: 0 };
    match cursor.flag() {
        Ok(flag) => flag,
        Err(End) => Flag::More,
    }
}

/// The text is over before its meaning is.
struct End;

struct Cursor<'a> {
    text: &'a [u8],
    at: usize,
}

impl Cursor<'_> {
    fn flag(&mut self) -> Result<Flag, End> {
        if self.token()? != b'{' {
            return Ok(Flag::Nonsense("it is no JSON object"));
        }
        loop {
            self.at += 1;
            match self.token()? {
                b'"' => {}
                b'}' => return Ok(Flag::Nonsense("it has no `errors`")),
                _ => return Ok(Flag::Nonsense("it is no JSON object")),
            }
            let start = self.at + 1;
            self.string()?;
            let wanted = &self.text[start..self.at - 1] == b"errors";
            if self.token()? != b':' {
                return Ok(Flag::Nonsense("it is no JSON object"));
            }
            self.at += 1;
            self.token()?;
            let value = self.at;
            self.value()?;
            if wanted {
                return Ok(match &self.text[value..self.at] {
                    b"false" => Flag::Clean,
                    b"true" => Flag::Errors,
                    _ => Flag::Nonsense("its `errors` is no boolean"),
                });
            }
            match self.token()? {
                b',' => {}
                b'}' => return Ok(Flag::Nonsense("it has no `errors`")),
                _ => return Ok(Flag::Nonsense("it is no JSON object")),
            }
        }
    }

    /// The next byte that is no white space.
    fn token(&mut self) -> Result<u8, End> {
        loop {
            match self.text.get(self.at) {
                None => return Err(End),
                Some(b' ' | b'\t' | b'\r' | b'\n') => self.at += 1,
                Some(byte) => return Ok(*byte),
            }
        }
    }

    /// From a quote to behind the next.
    fn string(&mut self) -> Result<(), End> {
        self.at += 1;
        loop {
            let rest = self.text.get(self.at..).ok_or(End)?;
            let hit = memchr::memchr2(b'"', b'\\', rest).ok_or(End)?;
            self.at += hit + 1;
            if rest[hit] == b'"' {
                return Ok(());
            }
            self.at += 1;
        }
    }

    fn value(&mut self) -> Result<(), End> {
        let mut depth = 0_usize;
        loop {
            match *self.text.get(self.at).ok_or(End)? {
                b'"' => self.string()?,
                b'{' | b'[' => {
                    depth += 1;
                    self.at += 1;
                }
                b'}' | b']' if depth > 0 => {
                    depth -= 1;
                    self.at += 1;
                }
                b',' | b'}' | b']' | b' ' | b'\t' | b'\r' | b'\n' if depth == 0 => return Ok(()),
                _ => self.at += 1,
            }
            if depth == 0 && matches!(self.text[self.at - 1], b'"' | b'}' | b']') {
                return Ok(());
            }
        }
    }
}

/// What became of the events of one request.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Outcome {
    /// Those that were not taken, by place.
    pub(super) fates: Vec<(u32, Fate)>,
    /// Those that were there already.
    pub(super) duplicates: u64,
    /// Those that went into a failure store.
    pub(super) redirected: u64,
}

/// Reads an answer whose `errors` is true. `ids` are those of the actions, in their order; `create` says which action
/// it was. An error means that the answer says nothing.
pub(super) fn read<'i>(
    text: &[u8],
    ids: impl ExactSizeIterator<Item = EventId> + 'i,
    create: bool,
) -> Result<Outcome, String> {
    let actions = ids.len();
    let mut outcome = Outcome::default();
    let mut seen = 0;
    let mut sieve = Sieve {
        ids: Box::new(ids),
        create,
        seen: &mut seen,
        outcome: &mut outcome,
    };
    let mut json = serde_json::Deserializer::from_slice(text);
    json.deserialize_map(Top { sieve: &mut sieve })
        .and_then(|()| json.end())
        .map_err(|e| format!("it cannot be read: {e}"))?;
    if seen != actions {
        return Err(format!("it has {seen} items for {actions} events"));
    }
    Ok(outcome)
}

/// Takes the items one by one, so that a long answer costs no memory.
struct Sieve<'s, 'i> {
    ids: Box<dyn ExactSizeIterator<Item = EventId> + 'i>,
    create: bool,
    seen: &'s mut usize,
    outcome: &'s mut Outcome,
}

struct Top<'t, 's, 'i> {
    sieve: &'t mut Sieve<'s, 'i>,
}

impl<'de> Visitor<'de> for Top<'_, '_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the answer to a bulk")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            if key == "items" {
                map.next_value_seed(Items { sieve: self.sieve })?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

struct Items<'t, 's, 'i> {
    sieve: &'t mut Sieve<'s, 'i>,
}

impl<'de> DeserializeSeed<'de> for Items<'_, '_, '_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Items<'_, '_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of items")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while let Some(item) = items.next_element::<Item<'de>>()? {
            let Some(id) = self.sieve.ids.next() else {
                return Err(de::Error::custom("more items than events"));
            };
            if let Some(theirs) = &item.0.id
                && EventId::parse(theirs) != Some(id)
            {
                return Err(de::Error::custom(
                    "the items are in another order than the events",
                ));
            }
            let place = *self.sieve.seen;
            *self.sieve.seen += 1;
            let outcome = &mut *self.sieve.outcome;
            match item.0.judge(self.sieve.create) {
                Judgement::Taken => {}
                Judgement::Duplicate => outcome.duplicates += 1,
                Judgement::Redirected => outcome.redirected += 1,
                Judgement::Fate(fate) => outcome
                    .fates
                    .push((u32::try_from(place).unwrap_or(u32::MAX), fate)),
                Judgement::Nothing => return Err(de::Error::custom("an item has no status")),
            }
        }
        Ok(())
    }
}

/// `{"create": {…}}`.
struct Item<'a>(Detail<'a>);

impl<'de> Deserialize<'de> for Item<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Only;
        impl<'de> Visitor<'de> for Only {
            type Value = Item<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an item with one action")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Item<'de>, A::Error> {
                let Some((_, detail)) = map.next_entry::<Cow<'de, str>, Detail<'de>>()? else {
                    return Err(de::Error::custom("an item without an action"));
                };
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Item(detail))
            }
        }
        deserializer.deserialize_map(Only)
    }
}

#[derive(Deserialize)]
struct Detail<'a> {
    #[serde(rename = "_id", default, borrow)]
    id: Option<Cow<'a, str>>,
    #[serde(rename = "_index", default, borrow)]
    index: Option<Cow<'a, str>>,
    #[serde(default)]
    status: Option<u16>,
    #[serde(default, borrow)]
    error: Option<&'a RawValue>,
    #[serde(default, borrow)]
    failure_store: Option<Cow<'a, str>>,
}

enum Judgement {
    Taken,
    Duplicate,
    Redirected,
    Fate(Fate),
    Nothing,
}

impl Detail<'_> {
    fn judge(&self, create: bool) -> Judgement {
        let Some(status) = self.status else {
            return Judgement::Nothing;
        };
        match status {
            200..=299 if self.failure_store.as_deref() == Some("used") => {
                return Judgement::Redirected;
            }
            200..=299 => return Judgement::Taken,
            409 if create => return Judgement::Duplicate,
            _ => {}
        }
        let error = self
            .error
            .map(|raw| Trouble::read(raw.get()))
            .unwrap_or_default();
        Judgement::Fate(error.fate(status, self.index.as_deref()))
    }
}
