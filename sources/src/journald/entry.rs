//! One entry as `journalctl -o json` prints it: texts, arrays of numbers where a value is no text, arrays of those where a
//! field comes several times.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::place::{Gap, Place};

/// Most fields of an entry that are kept; journald takes as many from a program.
pub(super) const MOST_FIELDS: usize = 1024;
/// Room beyond that for what journald itself says of the program, which stands behind what the program said.
const MOST_TRUSTED: usize = 128;
/// What journald says when it threw entries of a unit away, because there were too many.
const SUPPRESSED: &str = "a596d6fe7bfa4994828e72309e95d61e";

/// One value as it is printed.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Raw {
    /// Too large to be printed, or nothing.
    Null,
    Text(String),
    Bytes(Vec<u8>),
    Many(Vec<Raw>),
    /// Only inside of an array, on its way to become bytes.
    Number(u64),
}

/// One entry.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Entry {
    pub(super) fields: Vec<(String, Raw)>,
    /// Values for which there was no room.
    pub(super) left_out: u64,
}

impl Entry {
    pub(super) fn read(text: &[u8]) -> Result<Entry, String> {
        serde_json::from_slice(text).map_err(|why| format!("it is no JSON object: {why}"))
    }

    fn get(&self, field: &str) -> Option<&Raw> {
        self.fields
            .iter()
            .find(|(held, _)| held == field)
            .map(|(_, raw)| raw)
    }

    /// The text of a field; the first where it has several.
    pub(super) fn text(&self, field: &str) -> Option<&str> {
        match self.get(field)? {
            Raw::Text(text) => Some(text),
            Raw::Many(all) => all.iter().find_map(|raw| match raw {
                Raw::Text(text) => Some(text.as_str()),
                _ => None,
            }),
            _ => None,
        }
    }

    pub(super) fn number(&self, field: &str) -> Option<i64> {
        self.text(field)?.trim().parse().ok()
    }

    /// Whether the field has this value, among others perhaps.
    pub(super) fn has(&self, field: &str, value: &str) -> bool {
        let is = |raw: &Raw| matches!(raw, Raw::Text(text) if text == value);
        match self.get(field) {
            Some(Raw::Many(all)) => all.iter().any(is),
            Some(raw) => is(raw),
            None => false,
        }
    }

    pub(super) fn cursor(&self) -> Option<&str> {
        self.text("__CURSOR")
    }

    /// Where it stands in the journal.
    pub(super) fn place(&self) -> Option<Place> {
        let mut place = Place::of_cursor(self.cursor()?)?;
        if let (Some(id), Some(number)) = (self.text("__SEQNUM_ID"), self.number("__SEQNUM")) {
            place.seqnum_id = id.to_owned();
            place.seqnum = number.unsigned_abs();
        }
        if let Some(boot) = self.text("_BOOT_ID") {
            place.boot = boot.to_owned();
        }
        place.machine = self.text("_MACHINE_ID").unwrap_or_default().to_owned();
        Some(place)
    }

    /// The entry says that others were thrown away.
    pub(super) fn suppressed(&self, place: &Place) -> Option<Gap> {
        if !self.has("MESSAGE_ID", SUPPRESSED) {
            return None;
        }
        let unit = self.text("OBJECT_SYSTEMD_UNIT").or(self.text("UNIT"));
        let text = self.text("MESSAGE").unwrap_or_default();
        // `Suppressed 27 messages from pvedaemon.service`
        let said = text.split(' ').nth(1).and_then(|word| word.parse().ok());
        let missing = self.number("N_DROPPED").map(i64::unsigned_abs).or(said);
        Some(Gap::suppressed(place, missing, unit.unwrap_or_default()))
    }
}

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Entry, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Entry;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entry, A::Error> {
                let mut fields: Vec<(String, Raw)> = Vec::with_capacity(32);
                let mut left_out = 0;
                while let Some(name) = map.next_key::<String>()? {
                    let raw: Raw = map.next_value()?;
                    let trusted = if name.starts_with('_') {
                        MOST_TRUSTED
                    } else {
                        0
                    };
                    let room = fields.len() < MOST_FIELDS + trusted;
                    match fields.iter_mut().find(|(held, _)| *held == name) {
                        // Old versions print a field again for each of its values.
                        Some((_, Raw::Many(all))) => all.push(raw),
                        Some((_, held)) => {
                            let first = std::mem::replace(held, Raw::Null);
                            *held = Raw::Many(vec![first, raw]);
                        }
                        None if room => fields.push((name, raw)),
                        None => left_out += 1,
                    }
                }
                Ok(Entry { fields, left_out })
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Raw, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Raw;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value of the journal")
            }
            fn visit_str<E>(self, text: &str) -> Result<Raw, E> {
                Ok(Raw::Text(text.to_owned()))
            }
            fn visit_string<E>(self, text: String) -> Result<Raw, E> {
                Ok(Raw::Text(text))
            }
            fn visit_unit<E>(self) -> Result<Raw, E> {
                Ok(Raw::Null)
            }
            fn visit_u64<E>(self, number: u64) -> Result<Raw, E> {
                Ok(Raw::Number(number))
            }
            fn visit_i64<E>(self, number: i64) -> Result<Raw, E> {
                Ok(Raw::Text(number.to_string()))
            }
            fn visit_f64<E>(self, number: f64) -> Result<Raw, E> {
                Ok(Raw::Text(number.to_string()))
            }
            fn visit_bool<E>(self, is: bool) -> Result<Raw, E> {
                Ok(Raw::Text(is.to_string()))
            }
            /// Numbers are the bytes of one value; everything else is a value of its own.
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Raw, A::Error> {
                let (mut bytes, mut many) = (Vec::new(), Vec::new());
                while let Some(raw) = seq.next_element::<Raw>()? {
                    match raw {
                        Raw::Number(number) if many.is_empty() => {
                            bytes.push(u8::try_from(number).unwrap_or(b'?'));
                        }
                        Raw::Number(number) => many.push(Raw::Text(number.to_string())),
                        raw => many.push(raw),
                    }
                }
                Ok(match many.is_empty() {
                    true => Raw::Bytes(bytes),
                    false => Raw::Many(many),
                })
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Raw::Null)
            }
        }
        deserializer.deserialize_any(Any)
    }
}
