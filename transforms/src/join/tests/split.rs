//! Whatever is split as a sender splits it, and however that is mixed, comes out whole.

use std::collections::VecDeque;
use std::time::Duration as Length;

use pipeline::testing::{self, Outcome};
use proptest::prelude::*;

use super::{HOSTD, part, said};
use crate::join::Config;

/// How a sender splits a text: where, and in what way.
#[derive(Clone, Debug)]
enum Split {
    Lines,
    /// At least so long [bytes].
    Cut(usize),
    Numbered(Vec<usize>),
}

/// One message of one host, as it is sent.
#[derive(Clone, Debug)]
struct Sent {
    whole: String,
    parts: Vec<String>,
}

fn split(text: &str, way: &Split, id: u32) -> Sent {
    match way {
        Split::Lines => {
            let whole = format!("{HOSTD}{text}");
            let mut lines = whole.split('\n');
            let first = lines.next().unwrap().to_owned();
            let parts = std::iter::once(first)
                .chain(lines.map(|line| format!("--> {line}").trim_end().to_owned()));
            let parts: Vec<_> = parts.collect();
            // A sender takes spaces off the end of a line; then that is its text.
            let kept: Vec<_> = whole
                .split('\n')
                .enumerate()
                .map(|(n, line)| if n == 0 { line } else { line.trim_end() })
                .collect();
            Sent {
                whole: kept.join("\n"),
                parts,
            }
        }
        Split::Cut(least) => {
            let flat = text.replace('\n', " ");
            // At least once cut, each piece as long as the sender makes any.
            let front = 5 + 24 + 1 + "esx1".len() + 1 + "Hostd[2099857]: ".len();
            let mut whole = format!("{HOSTD}opID={id} {flat}");
            let last_is_full = |len: usize| {
                let last = front + len % (1024 - front);
                last <= front + 4
                    || [480, 1024, 1180]
                        .iter()
                        .any(|limit| last.abs_diff(*limit) <= 20)
            };
            while whole.len() < 1024 - front + *least || last_is_full(whole.len()) {
                whole.push_str("fill ");
            }
            let (mut parts, mut rest) = (Vec::new(), whole.as_str());
            while !rest.is_empty() {
                let at = rest.floor_char_boundary((1024 - front).min(rest.len()));
                parts.push(rest[..at].to_owned());
                rest = &rest[at..];
            }
            Sent { whole, parts }
        }
        Split::Numbered(places) => {
            let flat = text.replace('\n', " ");
            let mut places: Vec<_> = places
                .iter()
                .map(|at| flat.floor_char_boundary(at % (flat.len() + 1)))
                .collect();
            places.extend([0, flat.len()]);
            places.sort_unstable();
            let pieces: Vec<&str> = places
                .windows(2)
                .map(|pair| &flat[pair[0]..pair[1]])
                .collect();
            let count = pieces.len() as u32;
            let parts: Vec<_> = pieces
                .iter()
                .zip(1..)
                .map(|(piece, n)| part(id, n, count, piece))
                .collect();
            Sent {
                whole: part(id, 1, count, &flat),
                parts,
            }
        }
    }
}

fn way() -> impl Strategy<Value = Split> {
    prop_oneof![
        Just(Split::Lines),
        (40_usize..6000).prop_map(Split::Cut),
        proptest::collection::vec(0_usize..400, 1..6).prop_map(Split::Numbered),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn whatever_is_split_and_however_it_is_mixed_comes_out_whole(
        hosts in proptest::collection::vec(
            proptest::collection::vec(("[a-z\u{e4}\u{20ac} \n]{0,400}", way()), 1..4),
            1..5
        ),
        order in proptest::collection::vec(any::<u16>(), 64),
        restarts in proptest::collection::vec(0_usize..64, 0..3),
        shuffled in any::<bool>(),
    ) {
        let mut bench = testing::stateful::<Config>("");
        let mut expected = Vec::new();
        let mut queues: Vec<VecDeque<serde_json::Value>> = Vec::new();
        let mut id = 0;
        for (n, messages) in hosts.iter().enumerate() {
            let host = format!("esx{n}");
            let mut queue = VecDeque::new();
            for (text, way) in messages {
                id += 1;
                let mut sent = split(text, way, id);
                expected.push((host.clone(), sent.whole));
                if shuffled && matches!(way, Split::Numbered(_)) {
                    sent.parts.reverse();
                }
                queue.extend(sent.parts.iter().map(|part| said(&host, part)));
                if matches!(way, Split::Cut(_)) {
                    // What is no beginning behind one that was cut cannot be told from its rest.
                    expected.push((host.clone(), HOSTD.to_owned()));
                    queue.push_back(said(&host, HOSTD));
                }
            }
            queues.push(queue);
        }
        let (mut came, mut parts, mut joined, mut step) = (Vec::new(), 0, 0, 0);
        let mut note = |out: &Outcome, joined: &mut u64| {
            *joined += out.joined();
            for event in out.json() {
                let text = |path: &str| event.pointer(path).unwrap().as_str().unwrap().to_owned();
                assert_eq!(event["pve"]["truncated"], serde_json::Value::Null, "{event}");
                came.push((text("/host/name"), text("/message")));
            }
        };
        while queues.iter().any(|queue| !queue.is_empty()) {
            let place = usize::from(order[step % order.len()]) + step;
            let open: Vec<_> = (0..queues.len()).filter(|n| !queues[*n].is_empty()).collect();
            let queue = &mut queues[open[place % open.len()]];
            let event = queue.pop_front().unwrap();
            parts += 1;
            note(&bench.feed(testing::events([event])), &mut joined);
            if restarts.contains(&step) {
                bench.restart();
            }
            step += 1;
        }
        note(&bench.wait(Length::ZERO), &mut joined);
        note(&bench.wait(Length::from_secs(2)), &mut joined);
        expected.sort();
        came.sort();
        prop_assert_eq!(&came, &expected);
        prop_assert_eq!(parts, expected.len() as u64 + joined);
    }
}
