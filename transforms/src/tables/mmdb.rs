//! A writer of small MaxMind databases, for tests. The format is published: a binary tree over the bits of an address, then
//! the records, then a map that describes both.

use std::collections::HashMap;

use ipnet::IpNet;
use serde_json::{Value, json};

/// A database in the making.
pub(crate) struct Mmdb {
    kind: String,
    /// Two ways out of each node.
    nodes: Vec<[Way; 2]>,
    data: Vec<u8>,
    places: HashMap<String, usize>,
}

#[derive(Clone, Copy)]
enum Way {
    Nothing,
    Node(usize),
    /// Place in the data [bytes].
    Data(usize),
}

impl Mmdb {
    /// An empty database of a type like `GeoLite2-City`.
    pub(crate) fn new(kind: &str) -> Mmdb {
        Mmdb {
            kind: kind.to_owned(),
            nodes: vec![[Way::Nothing; 2]],
            data: Vec::new(),
            places: HashMap::new(),
        }
    }

    /// The addresses of `network`, none of which was said before, have this record.
    pub(crate) fn with(mut self, network: &str, record: &Value) -> Mmdb {
        let network: IpNet = network.parse().expect("a network");
        let (bits, len) = match network {
            // Where a database of both kinds keeps IPv4.
            IpNet::V4(net) => (u128::from(u32::from(net.addr())), 96 + net.prefix_len()),
            IpNet::V6(net) => (u128::from(net.addr()), net.prefix_len()),
        };
        let data = &mut self.data;
        let place = *self.places.entry(record.to_string()).or_insert_with(|| {
            let place = data.len();
            encode(record, data);
            place
        });
        let mut node = 0;
        for bit in 0..len {
            let side = usize::from(bits >> (127 - bit) & 1 == 1);
            if bit + 1 == len {
                self.nodes[node][side] = Way::Data(place);
                break;
            }
            node = match self.nodes[node][side] {
                Way::Node(next) => next,
                _ => {
                    self.nodes.push([Way::Nothing; 2]);
                    let next = self.nodes.len() - 1;
                    self.nodes[node][side] = Way::Node(next);
                    next
                }
            };
        }
        self
    }

    /// The file.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let count = self.nodes.len();
        let mut file = Vec::new();
        for way in self.nodes.iter().flatten() {
            let record = match way {
                Way::Nothing => count,
                Way::Node(node) => *node,
                Way::Data(place) => count + 16 + place,
            };
            file.extend_from_slice(&(record as u32).to_be_bytes()[1..]);
        }
        file.extend_from_slice(&[0; 16]);
        file.extend_from_slice(&self.data);
        file.extend_from_slice(b"\xab\xcd\xefMaxMind.com");
        let metadata = [
            ("node_count", 6, json!(count)),
            ("record_size", 5, json!(24)),
            ("ip_version", 5, json!(6)),
            ("database_type", 0, json!(self.kind)),
            ("languages", 0, json!(["en"])),
            ("binary_format_major_version", 5, json!(2)),
            ("binary_format_minor_version", 5, json!(0)),
            ("build_epoch", 9, json!(1_700_000_000)),
            ("description", 0, json!({"en": "made for a test"})),
        ];
        control(7, metadata.len(), &mut file);
        for (key, kind, value) in metadata {
            encode(&json!(key), &mut file);
            match value.as_u64() {
                Some(number) => whole(kind, number, &mut file),
                None => encode(&value, &mut file),
            }
        }
        file
    }
}

fn encode(value: &Value, to: &mut Vec<u8>) {
    match value {
        Value::String(text) => {
            control(2, text.len(), to);
            to.extend_from_slice(text.as_bytes());
        }
        Value::Number(number) => match number.as_u64() {
            Some(number) => whole(6, number, to),
            None => {
                control(3, 8, to);
                to.extend_from_slice(&number.as_f64().expect("a number").to_be_bytes());
            }
        },
        Value::Bool(is) => control(14, usize::from(*is), to),
        Value::Array(list) => {
            control(11, list.len(), to);
            list.iter().for_each(|value| encode(value, to));
        }
        Value::Object(map) => {
            control(7, map.len(), to);
            for (key, value) in map {
                encode(&json!(key), to);
                encode(value, to);
            }
        }
        Value::Null => panic!("there is no null in a MaxMind database"),
    }
}

/// A whole number of 16 (type 5), 32 (6) or 64 (9) bits.
fn whole(kind: u8, number: u64, to: &mut Vec<u8>) {
    let len = match kind {
        5 => 2,
        6 => 4,
        _ => 8,
    };
    control(kind, len, to);
    to.extend_from_slice(&number.to_be_bytes()[8 - len..]);
}

/// The type and the length of what follows.
fn control(kind: u8, len: usize, to: &mut Vec<u8>) {
    let (short, rest): (u8, &[u8]) = match len {
        0..29 => (len as u8, &[]),
        29..285 => (29, &[(len - 29) as u8]),
        _ => (30, &((len - 285) as u16).to_be_bytes()),
    };
    if kind > 7 {
        to.extend_from_slice(&[short, kind - 7]);
    } else {
        to.push(kind << 5 | short);
    }
    to.extend_from_slice(rest);
}
