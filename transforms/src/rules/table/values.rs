//! Values that may be written in more than one way.

use super::*;

/// One text or several.
#[derive(Clone, Debug, Default)]
pub(in crate::rules) struct Texts(pub(in crate::rules) Vec<String>);

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Texts, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Texts;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or a list of strings")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Texts, E> {
                Ok(Texts(vec![text.to_owned()]))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Texts, A::Error> {
                let mut all = Vec::new();
                while let Some(item) = items.next_element::<String>()? {
                    all.push(item);
                }
                Ok(Texts(all))
            }
        }
        from.deserialize_any(Read)
    }
}

impl JsonSchema for Texts {
    fn schema_name() -> Cow<'static, str> {
        "Texts".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }] })
    }
}

/// A duration, or the word `none`.
#[derive(Clone, Copy, Debug)]
pub(in crate::rules) enum Dedupe {
    None,
    For(Duration),
}

impl<'de> Deserialize<'de> for Dedupe {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Dedupe, D::Error> {
        let text = String::deserialize(from)?;
        match text.as_str() {
            "none" => Ok(Dedupe::None),
            text => text.parse().map(Dedupe::For).map_err(de::Error::custom),
        }
    }
}

impl JsonSchema for Dedupe {
    fn schema_name() -> Cow<'static, str> {
        "Dedupe".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "duration" })
    }
}

/// A number of windows, or how long they are together.
#[derive(Clone, Copy, Debug)]
pub(in crate::rules) enum Baseline {
    Windows(u32),
    For(Duration),
}

impl<'de> Deserialize<'de> for Baseline {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Baseline, D::Error> {
        struct Read;
        impl Visitor<'_> for Read {
            type Value = Baseline;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration in quotes, like \"14d\", or a number of windows")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Baseline, E> {
                text.parse().map(Baseline::For).map_err(E::custom)
            }
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Baseline, E> {
                let windows = u32::try_from(number).ok().filter(|n| *n > 0);
                windows
                    .map(Baseline::Windows)
                    .ok_or_else(|| E::custom("must be 1 or more windows"))
            }
        }
        from.deserialize_any(Read)
    }
}

impl JsonSchema for Baseline {
    fn schema_name() -> Cow<'static, str> {
        "Baseline".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "type": "string", "format": "duration" }, { "type": "integer" }] })
    }
}

/// The sort of window, where it has more to say than its name.
#[derive(Clone, Debug)]
pub(in crate::rules) enum WindowTable {
    Sliding,
    Tumbling { zone: Option<String> },
    Session { gap: Option<Duration> },
}

impl<'de> Deserialize<'de> for WindowTable {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<WindowTable, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = WindowTable;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"sliding\", \"tumbling\" or { type = \"session\", gap = \"10m\" }")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<WindowTable, E> {
                window(text, None, None)
            }
            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<WindowTable, A::Error> {
                let (mut sort, mut zone, mut gap) = (None, None, None);
                while let Some(key) = map.next_key::<String>()? {
                    match key.as_str() {
                        "type" => sort = Some(map.next_value::<String>()?),
                        "zone" => zone = Some(map.next_value()?),
                        "gap" => gap = Some(map.next_value()?),
                        key => {
                            let message = format!(
                                "a window has no key `{key}`; its keys are `type`, `zone` and `gap`"
                            );
                            return Err(de::Error::custom(message));
                        }
                    }
                }
                window(sort.as_deref().unwrap_or_default(), zone, gap)
            }
        }
        fn window<E: de::Error>(
            sort: &str,
            zone: Option<String>,
            gap: Option<Duration>,
        ) -> Result<WindowTable, E> {
            match (sort, zone, gap) {
                ("sliding", None, None) => Ok(WindowTable::Sliding),
                ("tumbling", zone, None) => Ok(WindowTable::Tumbling { zone }),
                ("session", None, gap) => Ok(WindowTable::Session { gap }),
                ("sliding" | "tumbling", _, Some(_)) => {
                    Err(E::custom("only a session has a gap; remove `gap`"))
                }
                ("sliding" | "session", Some(_), _) => Err(E::custom(
                    "only a tumbling window has a zone; remove `zone`",
                )),
                (other, ..) => {
                    let known = ["sliding", "tumbling", "session"];
                    let help = match pipeline::config::nearest(other, known) {
                        Some(meant) => format!("did you mean \"{meant}\"?"),
                        None => "it can be \"sliding\", \"tumbling\" or \"session\"".to_owned(),
                    };
                    Err(E::custom(format!("there is no window {other:?}; {help}")))
                }
            }
        }
        from.deserialize_any(Read)
    }
}

impl JsonSchema for WindowTable {
    fn schema_name() -> Cow<'static, str> {
        "Window".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "type": "string" }, { "type": "object" }] })
    }
}
