//! Firewall rules have no name but their place: which of them came, went, changed or moved.
//!
//! The longest common run of rules stays where it is; a rule above which another came has not changed. A rule that is
//! gone here and there again elsewhere was moved; what is left between the same neighbours was changed.

use super::diff::{Changed, Row, Way, rows};
use super::guard::Guard;
use super::model::{Doc, Held, Keys, Rules};

/// Past so many comparisons the common run is looked for at both ends alone.
const MOST_COMPARED: usize = 4_000_000;

pub(super) fn diff(old: Option<&Doc>, new: Option<&Doc>, guard: &Guard, to: &mut Vec<Changed>) {
    let rules = |doc: Option<&'_ Doc>| -> Vec<Rules> {
        doc.map(|doc| doc.rules.clone()).unwrap_or_default()
    };
    let (before, after) = (rules(old), rules(new));
    let mut scopes: Vec<&str> = before.iter().chain(&after).map(|one| &*one.scope).collect();
    scopes.sort_unstable();
    scopes.dedup();
    for scope in scopes {
        let of = |rules: &[Rules]| -> Vec<Keys> {
            let found = rules.iter().find(|one| one.scope == scope);
            found.map(|one| one.list.clone()).unwrap_or_default()
        };
        lists(scope, &of(&before), &of(&after), guard, to);
    }
}

fn lists(scope: &str, old: &[Keys], new: &[Keys], guard: &Guard, to: &mut Vec<Changed>) {
    let (before, after) = (signs(old), signs(new));
    let pairs = common(&before, &after);
    let gone = Left::new(old.len(), pairs.iter().map(|pair| pair.0));
    let mut come = Left::new(new.len(), pairs.iter().map(|pair| pair.1));
    let mut gone: Vec<(usize, usize)> = gone.0;
    // Moved: the same rule elsewhere.
    come.0.retain(|(at, _)| {
        let Some(place) = gone.iter().position(|(was, _)| before[*was] == after[*at]) else {
            return true;
        };
        let (was, _) = gone.remove(place);
        let row = Row::plain("pos", Some(was.to_string()), Some(at.to_string()));
        to.push(changed(Way::Change, scope, *at, vec![row], Some(&new[*at])));
        false
    });
    // Changed: between the same two that stayed.
    come.0.retain(|(at, gap)| {
        let Some(place) = gone.iter().position(|(_, there)| there == gap) else {
            return true;
        };
        let (was, _) = gone.remove(place);
        let rows = rows(&old[was], &new[*at], guard);
        if !rows.is_empty() {
            to.push(changed(Way::Change, scope, *at, rows, Some(&new[*at])));
        }
        false
    });
    for (at, _) in gone {
        let rows = rows(&old[at], &Keys::new(), guard);
        to.push(changed(Way::Deletion, scope, at, rows, None));
    }
    for (at, _) in come.0 {
        let rows = rows(&Keys::new(), &new[at], guard);
        to.push(changed(Way::Creation, scope, at, rows, Some(&new[at])));
    }
}

/// Places that are in no pair, each with how many pairs lie before it.
struct Left(Vec<(usize, usize)>);

impl Left {
    fn new(len: usize, paired: impl Iterator<Item = usize>) -> Left {
        let mut is_paired = vec![false; len];
        for at in paired {
            is_paired[at] = true;
        }
        let mut before = 0;
        let mut left = Vec::new();
        for (at, paired) in is_paired.into_iter().enumerate() {
            match paired {
                true => before += 1,
                false => left.push((at, before)),
            }
        }
        Left(left)
    }
}

/// A number for each rule; equal rules have equal ones.
fn signs(rules: &[Keys]) -> Vec<u64> {
    let sign = |rule: &Keys| {
        let mut hash = xxhash_rust::xxh3::Xxh3::new();
        for (key, held) in rule {
            let mac = match held {
                Held::Clear(_) => "",
                Held::Masked(_, mac) => mac,
            };
            for part in [key, held.text(), mac] {
                hash.update(part.as_bytes());
                hash.update(&[0]);
            }
        }
        hash.digest()
    };
    rules.iter().map(sign).collect()
}

fn changed(way: Way, scope: &str, at: usize, rows: Vec<Row>, now: Option<&Keys>) -> Changed {
    let whole = |keys: &Keys| {
        let mut parts: Vec<String> = keys
            .iter()
            .filter(|(key, _)| *key != "comment")
            .map(|(key, held)| format!("{key}={}", held.text()))
            .collect();
        parts.sort_unstable();
        parts.join(" ")
    };
    Changed {
        rule: now.map(whole),
        way,
        kind: "firewall_rule".to_owned(),
        id: format!("{scope}/rules/{at}"),
        name: None,
        rows,
    }
}

/// Places of the longest common run, old and new, ascending.
fn common(old: &[u64], new: &[u64]) -> Vec<(usize, usize)> {
    let same = |a: usize, b: usize| old[a] == new[b];
    let shorter = old.len().min(new.len());
    let head = (0..shorter).take_while(|at| same(*at, *at)).count();
    let tail = (1..=shorter - head)
        .take_while(|back| same(old.len() - back, new.len() - back))
        .count();
    let (n, m) = (old.len() - head - tail, new.len() - head - tail);
    let mut pairs: Vec<(usize, usize)> = (0..head).map(|at| (at, at)).collect();
    if n > 0 && m > 0 && n * m <= MOST_COMPARED {
        let mut longest = vec![0_u16; (n + 1) * (m + 1)];
        let place = |a: usize, b: usize| a * (m + 1) + b;
        for a in (0..n).rev() {
            for b in (0..m).rev() {
                longest[place(a, b)] = match same(head + a, head + b) {
                    true => longest[place(a + 1, b + 1)] + 1,
                    false => longest[place(a + 1, b)].max(longest[place(a, b + 1)]),
                };
            }
        }
        let (mut a, mut b) = (0, 0);
        while a < n && b < m {
            if same(head + a, head + b) {
                pairs.push((head + a, head + b));
                (a, b) = (a + 1, b + 1);
            } else if longest[place(a + 1, b)] >= longest[place(a, b + 1)] {
                a += 1;
            } else {
                b += 1;
            }
        }
    }
    pairs.extend(
        (0..tail)
            .rev()
            .map(|back| (old.len() - 1 - back, new.len() - 1 - back)),
    );
    pairs
}
