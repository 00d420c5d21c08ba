//! From the bytes of a body to JSON objects: decompressed within bounds, parsed within bounds.
//!
//! - all or nothing: a body with a mistake in it gives its place, and no event
//! - what a body may unfold to is bounded before it unfolds: bytes, objects, members, values, depth

use std::fmt;
use std::io::Read;

use flate2::bufread::MultiGzDecoder;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::budget::Lease;
use super::wire::Broken;

/// Most members of one object. An event has room for no more.
const MAX_MEMBERS: usize = pipeline::event::MAX_FIELDS;
/// Most values of one event, all depths together.
const MAX_VALUES: usize = 16 * 1024;
/// The longest name of a member [bytes].
const MAX_NAME: usize = 1024;
/// The window of Zstandard that is taken, as a power of two: 8 MiB, as its own tools do.
const MAX_WINDOW: u32 = 23;

/// How a body is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    /// Not at all.
    Plain,
    /// gzip.
    Gzip,
    /// Zstandard.
    Zstd,
}

impl Coding {
    /// From `Content-Encoding`.
    pub(super) fn of(said: Option<&str>) -> Result<Coding, Broken> {
        match said.map(|said| said.trim().to_ascii_lowercase()).as_deref() {
            None | Some("" | "identity") => Ok(Coding::Plain),
            Some("gzip" | "x-gzip") => Ok(Coding::Gzip),
            Some("zstd") => Ok(Coding::Zstd),
            Some(_) => Err(Broken::refused(
                415,
                "bodies are compressed with gzip, zstd, or not at all",
            )),
        }
    }
}

/// Decompresses a body to at most `limit` bytes, taken from `lease` as they come.
pub(super) fn unpack(
    body: Vec<u8>,
    coding: Coding,
    limit: usize,
    lease: &mut Lease,
) -> Result<Vec<u8>, Broken> {
    let packed = body.len();
    let mut reader: Box<dyn Read + '_> = match coding {
        Coding::Plain => return Ok(body),
        Coding::Gzip => Box::new(MultiGzDecoder::new(&body[..])),
        Coding::Zstd => {
            let broken = |why: std::io::Error| broken_packing(&why);
            let mut decoder =
                zstd::stream::read::Decoder::with_buffer(&body[..]).map_err(broken)?;
            decoder.window_log_max(MAX_WINDOW).map_err(broken)?;
            Box::new(decoder)
        }
    };
    let mut plain = Vec::new();
    let mut piece = vec![0; 64 << 10];
    loop {
        let n = reader
            .read(&mut piece)
            .map_err(|why| broken_packing(&why))?;
        if n == 0 {
            break;
        }
        if plain.len() + n > limit {
            let why = format!("the body unpacks to more than {limit} bytes; send less at once");
            return Err(Broken::refused(413, why));
        }
        lease.grow(n)?;
        plain.extend_from_slice(&piece[..n]);
    }
    drop(reader);
    drop(body);
    lease.shrink(packed);
    Ok(plain)
}

fn broken_packing(why: &std::io::Error) -> Broken {
    Broken::refused(
        400,
        format!("the body cannot be unpacked: {why}; nothing of it was taken"),
    )
}

/// Hands each object of the body to `take`: of an array, of lines, or the single one there is. Says how many it was.
pub(super) fn objects(
    body: &[u8],
    most: usize,
    mut take: impl FnMut(Map<String, Value>) -> Result<(), Broken>,
) -> Result<usize, Broken> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let is_array = body.trim_ascii_start().first() == Some(&b'[');
    let mut count = 0;
    // What `take` says is kept aside, because a parser knows only its own errors.
    let mut refused = None;
    let mut each = |object: Map<String, Value>| {
        count += 1;
        let result = if count > most {
            let why = format!("more than {most} events; send fewer at once");
            Err(Broken::refused(413, why))
        } else {
            take(object)
        };
        result.map_err(|why| refused = Some(why)).is_ok()
    };
    let mut parser = serde_json::Deserializer::from_slice(body);
    let result = if is_array {
        parser
            .deserialize_seq(Elements(&mut each))
            .and_then(|()| parser.end())
    } else {
        lines(&mut parser, &mut each)
    };
    match (refused, result) {
        (Some(why), _) => Err(why),
        (None, Ok(())) => Ok(count),
        (None, Err(why)) => Err(Broken::refused(
            400,
            format!("{why}; nothing of the request was taken"),
        )),
    }
}

/// Objects behind one another, with or without line ends between them.
fn lines<'de>(
    parser: &mut serde_json::Deserializer<serde_json::de::SliceRead<'de>>,
    each: &mut dyn FnMut(Map<String, Value>) -> bool,
) -> serde_json::Result<()> {
    // `end` looks behind blanks for more, and is the only way to ask.
    while parser.end().is_err() {
        let object = Object.deserialize(&mut *parser)?;
        if !each(object) {
            return Ok(());
        }
    }
    Ok(())
}

struct Elements<'a>(&'a mut dyn FnMut(Map<String, Value>) -> bool);

impl<'de> Visitor<'de> for Elements<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of events")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while let Some(object) = list.next_element_seed(Object)? {
            if !(self.0)(object) {
                return Err(A::Error::custom("enough"));
            }
        }
        Ok(())
    }
}

/// An object that stands for an event.
struct Object;

impl<'de> DeserializeSeed<'de> for Object {
    type Value = Map<String, Value>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Object {
    type Value = Map<String, Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an event, which is a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Self::Value, A::Error> {
        let mut left = MAX_VALUES;
        Bounded(&mut left).members(members)
    }
}

/// Any value, as long as there are not too many. The depth is bounded by the parser (128).
struct Bounded<'a>(&'a mut usize);

impl Bounded<'_> {
    fn one<E: Error>(&mut self) -> Result<(), E> {
        *self.0 = self
            .0
            .checked_sub(1)
            .ok_or_else(|| E::custom(format!("an event with more than {MAX_VALUES} values")))?;
        Ok(())
    }

    fn members<'de, A: MapAccess<'de>>(
        self,
        mut members: A,
    ) -> Result<Map<String, Value>, A::Error> {
        let mut map = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            if name.len() > MAX_NAME {
                return Err(A::Error::custom(format!(
                    "a name of more than {MAX_NAME} bytes"
                )));
            }
            if map.len() >= MAX_MEMBERS {
                return Err(A::Error::custom(format!(
                    "an object with more than {MAX_MEMBERS} members"
                )));
            }
            let value = members.next_value_seed(Bounded(self.0))?;
            map.insert(name, value);
        }
        Ok(map)
    }
}

impl<'de> DeserializeSeed<'de> for Bounded<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(mut self, from: D) -> Result<Value, D::Error> {
        self.one()?;
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Bounded<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = list.next_element_seed(Bounded(&mut *self.0))? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Value, A::Error> {
        self.members(members).map(Value::Object)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::super::budget::Budget;
    use super::*;

    fn read(body: &str) -> Result<Vec<Value>, (u16, String)> {
        let mut all = Vec::new();
        let result = objects(body.as_bytes(), 100, |object| {
            all.push(Value::Object(object));
            Ok(())
        });
        match result {
            Ok(n) => {
                assert_eq!(n, all.len());
                Ok(all)
            }
            Err(Broken::Refused(status, why)) => Err((status, why)),
            Err(Broken::Gone) => panic!("gone"),
        }
    }

    #[test]
    fn arrays_lines_and_single_objects_are_read() {
        let two: Vec<Value> = vec![
            serde_json::json!({"a": 1}),
            serde_json::json!({"b": [null, true, -1.5, "x", {"c": {}}]}),
        ];
        let b = r#"{"b": [null, true, -1.5, "x", {"c": {}}]}"#;
        for body in [
            format!("[{{\"a\": 1}}, {b}]"),
            format!("\u{feff} [\n{{\"a\":1}},\n{b}]\r\n"),
            format!("{{\"a\":1}}\n{b}"),
            format!("{{\"a\":1}}\r\n\r\n{b}\r\n"),
            format!("{{\n  \"a\": 1\n}}\n{b}\n"),
        ] {
            assert_eq!(read(&body).unwrap(), two, "{body}");
        }
        assert_eq!(read("").unwrap().len(), 0);
        assert_eq!(read(" \n ").unwrap().len(), 0);
        assert_eq!(read("[]").unwrap().len(), 0);
        assert_eq!(read("{}").unwrap(), [serde_json::json!({})]);
    }

    #[test]
    fn a_mistake_is_told_with_its_place() {
        let cases = [
            ("{\"a\":1}\n{\"a\":}\n{\"a\":2}", "line 2 column 6"),
            ("{\"a\":1}\nhello", "line 2 column 1"),
            ("{\"a\":1}\n{\"a\":1", "line 2"),
            ("[{\"a\":1},\n 7]", "line 2 column 2"),
            ("[{\"a\":1},\n[]]", "line 2"),
            ("[{\"a\":1}] x", "line 1 column 11"),
            ("[{\"a\":1}", "line 1"),
            ("\"text\"", "line 1"),
            ("{\"a\":\"\u{1}\"}", "line 1"),
        ];
        for (body, place) in cases {
            let (status, why) = read(body).unwrap_err();
            assert_eq!(status, 400, "{body}");
            assert!(why.contains(place), "{body}: {why}");
            assert!(why.ends_with("nothing of the request was taken"), "{why}");
        }
        assert!(objects(b"{\"a\":\"\xff\"}", 9, |_| Ok(())).is_err());
    }

    #[test]
    fn nothing_unfolds_beyond_its_bounds() {
        let deep = format!("{}{}", "{\"a\":".repeat(10_000), "}".repeat(10_000));
        assert!(
            read(&deep).unwrap_err().1.contains("recursion limit"),
            "{:?}",
            read(&deep)
        );
        let deep = format!("[{}{}]", "[".repeat(10_000), "]".repeat(10_000));
        assert_eq!(read(&deep).unwrap_err().0, 400);
        let members: Vec<String> = (0..=MAX_MEMBERS).map(|n| format!("\"k{n}\":1")).collect();
        assert!(
            read(&format!("{{{}}}", members.join(",")))
                .unwrap_err()
                .1
                .contains("members")
        );
        let values = vec!["[]"; MAX_VALUES].join(",");
        assert!(
            read(&format!("{{\"a\":[{values}]}}"))
                .unwrap_err()
                .1
                .contains("values")
        );
        assert!(
            read(&format!("{{\"{}\":1}}", "k".repeat(MAX_NAME + 1)))
                .unwrap_err()
                .1
                .contains("name")
        );
        let (status, why) = read(&"{}".repeat(101)).unwrap_err();
        assert_eq!(status, 413, "{why}");
        assert_eq!(
            read(&format!("[{}]", vec!["{}"; 101].join(",")))
                .unwrap_err()
                .0,
            413
        );
    }

    #[test]
    fn a_body_unpacks_to_its_limit_and_no_further() {
        let bomb = vec![b' '; 50 << 20];
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        gzip.write_all(&bomb).unwrap();
        let gzip = gzip.finish().unwrap();
        let zst = zstd::encode_all(&bomb[..], 19).unwrap();
        assert!(gzip.len() < 60_000 && zst.len() < 60_000);
        let budget = Budget::new(8 << 20);
        for (body, coding) in [(gzip, Coding::Gzip), (zst, Coding::Zstd)] {
            let mut lease = budget.lease();
            lease.grow(body.len()).unwrap();
            let error = unpack(body.clone(), coding, 1 << 20, &mut lease).unwrap_err();
            assert!(matches!(error, Broken::Refused(413, _)), "{error:?}");
            let cut = body[..body.len() / 2].to_vec();
            let error = unpack(cut, coding, 100 << 20, &mut lease).unwrap_err();
            assert!(matches!(error, Broken::Refused(400 | 413, _)), "{error:?}");
            let error = unpack(b"no such thing".to_vec(), coding, 1 << 20, &mut lease).unwrap_err();
            assert!(matches!(error, Broken::Refused(400, _)), "{error:?}");
        }
        assert_eq!(budget.held(), 0);
        let mut lease = budget.lease();
        let small = zstd::encode_all(&b"hello"[..], 1).unwrap();
        lease.grow(small.len()).unwrap();
        assert_eq!(
            unpack(small, Coding::Zstd, 5, &mut lease).unwrap(),
            b"hello"
        );
        assert_eq!(budget.held(), 5);
        assert!(matches!(
            Coding::of(Some("br")),
            Err(Broken::Refused(415, _))
        ));
        assert_eq!(Coding::of(Some("GZIP")), Ok(Coding::Gzip));
    }

    proptest! {
        #[test]
        fn no_bytes_break_the_reader(bytes in prop::collection::vec(any::<u8>(), 0..200), coding in 0..3_u8) {
            let coding = [Coding::Plain, Coding::Gzip, Coding::Zstd][usize::from(coding)];
            let mut lease = Budget::new(1 << 20).lease();
            if let Ok(plain) = unpack(bytes, coding, 1 << 16, &mut lease) {
                let _ = objects(&plain, 10, |_| Ok(()));
            }
        }

        #[test]
        fn no_text_like_json_breaks_the_reader(text in "[\\[\\]{}:,\"0-9a-z \\n\\\\-]{0,60}") {
            let read = read(&text);
            if let Ok(whole) = serde_json::from_str::<Value>(&text) {
                prop_assert_eq!(read.is_ok(), whole.is_object() || whole.as_array().is_some_and(|list| list.iter().all(Value::is_object)));
            }
        }
    }
}
