//! Packed events are the same when they are unpacked, and no bytes make the unpacker panic.

use std::sync::Arc;

use proptest::prelude::*;

use super::super::buffer::Pool;
use super::super::fields;
use super::*;

fn pack(events: &[Event]) -> Vec<u8> {
    let mut packer = Packer::default();
    events.iter().for_each(|event| packer.push(event));
    packer.note(Time(77), 4711);
    let mut out = Vec::new();
    packer.finish(&mut out);
    assert!(packer.is_empty() && packer.places.iter().all(|place| *place == 0));
    out
}

fn unpack(block: &[u8]) -> Result<Block, &'static str> {
    Unpacker::default().unpack(block, Vec::new(), &Arc::default())
}

/// Everything that an event says.
fn told(event: &Event) -> (EventId, Time, Option<u64>, Vec<(Field, Value)>) {
    let fields = event.iter().map(|(field, value)| (field, value.to_owned()));
    let mut fields: Vec<_> = fields.collect();
    for (_, value) in &mut fields {
        // NaN is not equal to itself.
        if let Value::Float(number) = value {
            *value = Value::Int(number.to_bits() as i64);
        }
    }
    (event.id(), event.timestamp(), event.ordinal(), fields)
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        any::<i64>().prop_map(|n| Value::Float(n as f64 / 3.0)),
        any::<i64>().prop_map(|n| Value::Time(Time(n))),
        "\\PC{0,40}".prop_map(Value::Str),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::List),
            proptest::collection::vec(("[a-z.]{0,8}", inner), 0..4).prop_map(Value::Map),
        ]
    })
}

/// What is done to an event: a value for a field, or a piece of its buffer.
#[derive(Clone, Debug)]
enum Deed {
    Set(u8, Value),
    Span(u8, u8, u8),
}

fn any_deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        (any::<u8>(), any_value()).prop_map(|(field, value)| Deed::Set(field, value)),
        (any::<u8>(), any::<u8>(), any::<u8>())
            .prop_map(|(field, at, len)| Deed::Span(field, at, len)),
    ]
}

fn field(n: u8) -> Field {
    const SOME: [Field; 6] = [
        fields::MESSAGE,
        fields::HOST_NAME,
        fields::SOURCE_IP,
        fields::TAGS,
        fields::PVE_EXTRA,
        fields::USER_NAME,
    ];
    SOME[usize::from(n) % SOME.len()]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn events_come_back_as_they_were(
        texts in proptest::collection::vec("\\PC{0,60}", 1..3),
        made in proptest::collection::vec((any::<[u64; 2]>(), any::<i64>(), any::<u64>(), any::<prop::sample::Index>(), proptest::collection::vec(any_deed(), 0..12)), 0..12),
    ) {
        let buffers: Vec<Buffer> = texts.into_iter().map(Buffer::new).collect();
        let mut events = Vec::new();
        for (id, time, ordinal, buffer, deeds) in made {
            let mut event = Event::new(EventId(id), Time(time));
            event.set_ordinal(ordinal);
            let buffer = buffer.get(&buffers).clone();
            event.set_buffer(buffer.clone());
            for deed in deeds {
                match deed {
                    Deed::Set(n, value) => event.set(field(n), value),
                    Deed::Span(n, at, len) => {
                        let text = buffer.text();
                        let at = text.floor_char_boundary(usize::from(at).min(text.len()));
                        let end = text.floor_char_boundary((at + usize::from(len)).min(text.len()));
                        event.set_span(field(n), Span { at: at as u32, len: (end - at) as u32 });
                    }
                }
            }
            events.push(event);
        }
        let block = pack(&events);
        let back = unpack(&block).unwrap();
        prop_assert_eq!((back.seen_to, back.bytes), (Time(77), 4711));
        let (there, here): (Vec<_>, Vec<_>) = (events.iter().map(told).collect(), back.events.iter().map(told).collect());
        prop_assert_eq!(there, here);
    }

    #[test]
    fn what_is_no_block_is_refused_without_harm(at in any::<prop::sample::Index>(), to in any::<u8>(), cut in any::<prop::sample::Index>()) {
        let mut event = Event::new(EventId([1, 2]), Time(3));
        event.set(fields::MESSAGE, "a text that is long enough to be owned");
        event.set(fields::TAGS, Value::List(vec!["a".into(), Value::Map(vec![("k".to_owned(), 1_i64.into())])]));
        let mut block = pack(&[event.clone(), event]);
        let at = at.index(block.len());
        block[at] = to;
        // Whatever it says: it is read or refused, and nothing else happens.
        let _ = unpack(&block).map(|block| block.events.iter().for_each(|event| { event.to_json(); }));
        block.truncate(cut.index(block.len()));
        prop_assert!(unpack(&block).is_err());
    }
}

#[test]
fn the_line_is_kept_once_and_the_host_once_for_all() {
    let line = "root@pam logged in from 203.0.113.7, which is a sentence of some length";
    let buffer = Buffer::new(format!("pve1.example{line}{line}"));
    let whole = line.len() as u32;
    let events: Vec<Event> = [12, 12 + whole]
        .into_iter()
        .map(|at| {
            let mut event = Event::new(EventId([0, u64::from(at)]), Time(0));
            event.set_buffer(buffer.clone());
            event.set_span(fields::HOST_NAME, Span { at: 0, len: 12 });
            event.set_span(fields::USER_NAME, Span { at, len: 8 });
            event.set_span(
                fields::SOURCE_IP,
                Span {
                    at: at + 24,
                    len: 11,
                },
            );
            event.set_span(fields::EVENT_ORIGINAL, Span { at, len: whole });
            event
        })
        .collect();
    let mut packer = Packer::default();
    events.iter().for_each(|event| packer.push(event));
    assert_eq!(packer.texts.len(), buffer.text().len());
    let mut block = Vec::new();
    packer.finish(&mut block);
    let pool = Arc::new(Pool::default());
    let used = vec![Event::new(EventId([9, 9]), Time(9)); 5];
    let back = Unpacker::default().unpack(&block, used, &pool).unwrap();
    assert_eq!(
        back.events.iter().map(told).collect::<Vec<_>>(),
        events.iter().map(told).collect::<Vec<_>>()
    );
    assert_eq!(back.events[1].str(fields::SOURCE_IP), Some("203.0.113.7"));
}

#[test]
fn values_nested_too_deep_become_text_and_are_read() {
    let mut deep = Value::Int(1);
    for _ in 0..DEEPEST + 8 {
        deep = Value::List(vec![deep]);
    }
    let mut event = Event::new(EventId([1, 2]), Time(3));
    event.set(fields::PVE_EXTRA, deep.clone());
    let back = unpack(&pack(&[event])).unwrap();
    let json = back.events[0].to_json()["pve"]["extra"].to_string();
    assert!(
        json.ends_with(&"]".repeat(DEEPEST)) && json.contains("[[1]]"),
        "{json}"
    );
}

#[test]
fn a_block_takes_as_many_names_as_there_are_places() {
    let mut packer = Packer::default();
    let mut event = Event::new(EventId([1, 2]), Time(3));
    event.set(fields::MESSAGE, 1_i64);
    packer.push(&event);
    assert!(packer.has_room_for(&event));
    for n in 1..MOST_NAMES {
        packer.name(Field::new(&format!("room.for.{n}")));
    }
    assert!(!packer.has_room_for(&event));
}
