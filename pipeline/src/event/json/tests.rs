//! JSON by shape, held against what serde_json says of the same event.

use super::super::EventId;
use super::*;
use proptest::prelude::*;

fn naive(text: &[u8]) -> Option<usize> {
    text.iter()
        .position(|byte| *byte < 0x20 || *byte == b'"' || *byte == b'\\')
}

proptest! {
    #[test]
    fn the_first_special_byte_is_the_first(text in proptest::collection::vec(any::<u8>(), 0..64)) {
        prop_assert_eq!(first_special(&text), naive(&text));
    }

    #[test]
    fn any_text_comes_back(text in ".{0,80}", other in "[\\x00-\\x7f]{0,40}") {
        let mut event = Event::new(EventId([7, 8]), Time(1));
        event.set(fields::MESSAGE, text.clone());
        event.set(fields::USER_NAME, other.clone());
        let json = event.to_json();
        prop_assert_eq!(json["message"].as_str(), Some(text.as_str()));
        prop_assert_eq!(json["user"]["name"].as_str(), Some(other.as_str()));
    }
}

#[test]
fn members_of_one_parent_stand_together() {
    let mut event = Event::new(EventId([0, 1]), Time(0));
    event.set(fields::HTTP_METHOD, "GET");
    event.set(fields::SOURCE_IP, "192.0.2.1");
    event.set(fields::HTTP_STATUS, 200_i64);
    let mut out = Vec::new();
    JsonWriter::new(None, None).write(&event, &mut out);
    let expected = concat!(
        r#"{"@timestamp":"1970-01-01T00:00:00.000Z","event":{"id":"00000000000000000000000000000001"},"#,
        r#""http":{"request":{"method":"GET"},"response":{"status_code":200}},"source":{"ip":"192.0.2.1"}}"#
    );
    assert_eq!(std::str::from_utf8(&out).unwrap(), expected);
}

#[test]
fn only_and_except_cover_what_lies_below() {
    let mut event = Event::new(EventId([0, 1]), Time(0));
    event.set(fields::HTTP_METHOD, "GET");
    event.set(fields::HTTP_STATUS, 200_i64);
    event.set(fields::SOURCE_IP, "192.0.2.1");
    let mut out = Vec::new();
    JsonWriter::new(Some(&[Field::new("http")]), Some(&[fields::HTTP_STATUS]))
        .write(&event, &mut out);
    assert_eq!(
        std::str::from_utf8(&out).unwrap(),
        r#"{"http":{"request":{"method":"GET"}}}"#
    );
}

#[test]
fn more_shapes_than_are_kept_are_still_written_right() {
    let mut writer = JsonWriter::new(None, None);
    let names: Vec<Field> = (0..12)
        .map(|n| Field::new(&format!("shape.n{n}")))
        .collect();
    for bits in 0_u32..3000 {
        let mut event = Event::new(EventId([0, 1]), Time(0));
        for (n, field) in names.iter().enumerate() {
            if bits >> n & 1 == 1 {
                event.set(*field, n as u32);
            }
        }
        let mut out = Vec::new();
        writer.write(&event, &mut out);
        let json: serde_json::Value = serde_json::from_slice(&out).unwrap();
        let members = json["shape"].as_object().map_or(0, serde_json::Map::len);
        assert_eq!(members, bits.count_ones() as usize);
    }
    assert!(writer.shapes.len() <= MOST_SHAPES);
}
