//! Acts on one side, the lines that may be about them on the other, and the question which line is whose.
//!
//! Every act has at most one line and every line at most one act, and a line comes within a window around the act. Who
//! takes the nearest line guesses; so what is asked here is what holds **in every way of sharing the lines out**:
//!
//! - an act is *sure* of having a line when it has one however the lines are shared out. With fewer lines than acts some
//!   act has none, and every act that might be that one is not sure of any;
//! - of a sure act it may still be open which line it has. That does not matter where all of them come from one address.
//!
//! - state: places in time, sorted; the lines and acts themselves are kept elsewhere

use std::collections::BTreeSet;
use std::ops::Range;

use hashbrown::HashMap;

/// A point in time [ns] and the number of what happened then.
pub(super) type At = (i64, u64);

/// How much earlier and later than the act its line may be [ns].
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub(super) before: i64,
    pub(super) after: i64,
}

impl Window {
    /// Whether a line that is so much later than an act [ns] lies in it.
    pub(super) fn holds(self, later: i64) -> bool {
        (-self.before..=self.after).contains(&later)
    }
}

/// Acts of one kind by one user on one object, and the lines that fit such an act.
#[derive(Debug, Default)]
pub(super) struct Pool {
    pub(super) acts: Places,
    pub(super) lines: Places,
}

/// Most acts in a row that are looked at together; more than this many away, one has no say [acts].
const MOST_TOGETHER: usize = 16_384;
/// Most acts and lines of which it is worked out which line belongs to which act [acts].
pub(super) const MOST_PEELED: usize = 64;

/// Places in time, sorted. What is new comes in at the end and what is old goes out in front, and neither moves the others.
#[derive(Debug, Default)]
pub(super) struct Places {
    list: Vec<At>,
    /// Before it stands what has gone out.
    first: usize,
}

impl Places {
    fn insert(&mut self, at: At) {
        if self.list.capacity() == 0 {
            // Nearly every pool has one act and one line.
            self.list.reserve_exact(1);
        }
        let place = self.first + self.partition_point(|held| *held < at);
        self.list.insert(place, at);
    }

    fn remove(&mut self, at: At) {
        let Ok(place) = self.binary_search(&at) else {
            return;
        };
        if place < self.len() / 2 {
            let from = self.first;
            self.list.copy_within(from..from + place, from + 1);
            self.first += 1;
        } else {
            self.list.remove(self.first + place);
        }
        if self.is_empty() {
            *self = Places::default();
        } else if self.first > self.list.len() / 2 {
            self.list.drain(..self.first);
            self.list.shrink_to(self.list.len() * 2);
            self.first = 0;
        }
    }
}

impl std::ops::Deref for Places {
    type Target = [At];

    fn deref(&self) -> &[At] {
        &self.list[self.first..]
    }
}

impl From<Vec<At>> for Places {
    fn from(list: Vec<At>) -> Places {
        Places { list, first: 0 }
    }
}

impl FromIterator<At> for Places {
    fn from_iter<T: IntoIterator<Item = At>>(places: T) -> Places {
        Vec::from_iter(places).into()
    }
}

impl Pool {
    /// Lines at most so much earlier or later than `at`.
    pub(super) fn near(&self, at: i64, window: Window) -> &[At] {
        &self.lines[near(&self.lines, at, window)]
    }

    /// Acts whose window holds a line of that time.
    pub(super) fn takers(&self, line: i64, window: Window) -> &[At] {
        let turned = Window {
            before: window.after,
            after: window.before,
        };
        &self.acts[near(&self.acts, line, turned)]
    }

    /// Everything that has to do with the act at `at`, directly or by way of others.
    pub(super) fn plan(&self, at: i64, window: Window) -> Plan {
        let reach = window.before + window.after;
        let middle = self.acts.partition_point(|(time, _)| *time < at);
        let (mut first, mut last) = (middle, middle);
        let linked = |a: i64, b: i64| b - a <= reach;
        while first > 0
            && last - first < MOST_TOGETHER / 2
            && linked(
                self.acts[first - 1].0,
                self.acts.get(first).map_or(at, |act| act.0),
            )
        {
            first -= 1;
        }
        while last < self.acts.len()
            && last - first < MOST_TOGETHER
            && linked(
                last.checked_sub(1).map_or(at, |l| self.acts[l].0.max(at)),
                self.acts[last].0,
            )
        {
            last += 1;
        }
        let acts = &self.acts[first..last];
        let from = acts.first().map_or(at, |act| act.0.min(at)) - window.before;
        let to = acts.last().map_or(at, |act| act.0.max(at)) + window.after;
        let low = self.lines.partition_point(|line| line.0 < from);
        let high = self.lines.partition_point(|line| line.0 <= to);
        Plan::new(acts, &self.lines[low..high.max(low)], window)
    }
}

fn near(list: &[At], at: i64, window: Window) -> Range<usize> {
    let low = list.partition_point(|held| held.0 < at - window.before);
    let high = list.partition_point(|held| held.0 <= at + window.after);
    low..high.max(low)
}

/// Acts and lines that have to do with one another, and how the lines can be shared out.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) acts: Vec<At>,
    pub(super) lines: Vec<At>,
    window: Window,
    /// For each act one line, in one of the ways that give lines to as many acts as can be.
    given: Vec<Option<usize>>,
    /// Acts that go without in some of these ways.
    unsure: Vec<bool>,
}

impl Plan {
    fn new(acts: &[At], lines: &[At], window: Window) -> Plan {
        // All windows are equally long, so giving the earliest line to the earliest act serves as many as can be.
        let mut given = vec![None; acts.len()];
        let mut next = 0;
        for (act, given) in acts.iter().zip(&mut given) {
            while next < lines.len() && lines[next].0 < act.0 - window.before {
                next += 1;
            }
            if next < lines.len() && lines[next].0 <= act.0 + window.after {
                *given = Some(next);
                next += 1;
            }
        }
        let mut plan = Plan {
            acts: acts.to_vec(),
            lines: lines.to_vec(),
            window,
            given,
            unsure: vec![false; acts.len()],
        };
        plan.find_unsure();
        plan
    }

    /// Who goes without could have the line of another, who then goes without instead, and so on.
    fn find_unsure(&mut self) {
        let mut open: Vec<usize> = (0..self.acts.len())
            .filter(|act| self.given[*act].is_none())
            .collect();
        if open.is_empty() {
            return;
        }
        let mut holder = vec![None; self.lines.len()];
        for (act, line) in self.given.iter().enumerate() {
            if let Some(line) = line {
                holder[*line] = Some(act);
            }
        }
        let mut unseen: BTreeSet<usize> = (0..self.lines.len()).collect();
        while let Some(act) = open.pop() {
            if std::mem::replace(&mut self.unsure[act], true) {
                continue;
            }
            let reach = near(&self.lines, self.acts[act].0, self.window);
            let lines: Vec<usize> = unseen.range(reach).copied().collect();
            for line in lines {
                unseen.remove(&line);
                open.extend(holder[line]);
            }
        }
    }

    /// The place of an act.
    pub(super) fn place(&self, act: At) -> Option<usize> {
        self.acts.binary_search(&act).ok()
    }

    /// Whether the act has a line, however they are shared out.
    pub(super) fn is_sure(&self, place: usize) -> bool {
        self.unsure.get(place) == Some(&false)
    }

    /// A line that the act may have.
    pub(super) fn given(&self, place: usize) -> Option<At> {
        let line = (*self.given.get(place)?)?;
        self.lines.get(line).copied()
    }

    /// The places of all lines that the act may have.
    pub(super) fn reach(&self, place: usize) -> Range<usize> {
        near(&self.lines, self.acts[place].0, self.window)
    }

    /// The one line of an act, where it can be told although there are several: every act has one, and no other way of
    /// sharing them out leaves nobody without.
    pub(super) fn only(&self, place: usize) -> Option<At> {
        let count = self.acts.len();
        if count != self.lines.len() || count > MOST_PEELED || !self.is_sure(place) {
            return None;
        }
        let mut acts: BTreeSet<usize> = (0..count).collect();
        let mut lines: BTreeSet<usize> = (0..count).collect();
        loop {
            let by_act = acts.iter().find_map(|act| {
                let mut free = lines.range(self.reach(*act));
                let line = *free.next()?;
                free.next().is_none().then_some((*act, line))
            });
            let pair = by_act.or_else(|| {
                lines.iter().find_map(|line| {
                    let mut takers = acts.iter().filter(|act| self.reach(**act).contains(line));
                    let act = *takers.next()?;
                    takers.next().is_none().then_some((act, *line))
                })
            });
            let (act, line) = pair?;
            if act == place {
                return self.lines.get(line).copied();
            }
            acts.remove(&act);
            lines.remove(&line);
        }
    }
}

/// Pools by what their acts and lines have in common.
#[derive(Debug, Default)]
pub(super) struct Pools {
    pools: HashMap<Box<str>, Pool>,
    /// [bytes]
    size: usize,
}

/// Memory of a pool beside its key and entries [bytes].
const POOL: usize = 96;

impl Pools {
    pub(super) fn get(&self, key: &str) -> Option<&Pool> {
        self.pools.get(key)
    }

    /// Memory it stands for [bytes].
    pub(super) fn size(&self) -> usize {
        self.size
    }

    fn at(&mut self, key: &str) -> &mut Pool {
        if !self.pools.contains_key(key) {
            self.size += key.len() + POOL;
        }
        self.size += size_of::<At>();
        self.pools.entry(key.into()).or_default()
    }

    pub(super) fn add_act(&mut self, key: &str, at: At) {
        self.at(key).acts.insert(at);
    }

    pub(super) fn add_line(&mut self, key: &str, at: At) {
        self.at(key).lines.insert(at);
    }

    pub(super) fn remove_act(&mut self, key: &str, at: At) {
        self.change(key, |pool| pool.acts.remove(at));
    }

    pub(super) fn remove_line(&mut self, key: &str, at: At) {
        self.change(key, |pool| pool.lines.remove(at));
    }

    fn change(&mut self, key: &str, change: impl FnOnce(&mut Pool)) {
        let Some(pool) = self.pools.get_mut(key) else {
            return;
        };
        let before = pool.acts.len() + pool.lines.len();
        change(pool);
        let after = pool.acts.len() + pool.lines.len();
        self.size -= (before - after) * size_of::<At>();
        if after == 0 {
            self.pools.remove(key);
            self.size -= key.len() + POOL;
            if self.pools.len() * 8 < self.pools.capacity() {
                self.pools.shrink_to(self.pools.len() * 2);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Window = Window {
        before: 1,
        after: 5,
    };

    fn pool(acts: &[i64], lines: &[i64]) -> Pool {
        let at = |list: &[i64]| {
            list.iter()
                .enumerate()
                .map(|(n, t)| (*t, n as u64))
                .collect()
        };
        Pool {
            acts: at(acts),
            lines: at(lines),
        }
    }

    #[test]
    fn an_act_has_the_line_in_its_window() {
        let plan = pool(&[10, 100], &[9, 30, 105]).plan(10, WINDOW);
        assert_eq!(plan.acts.len(), 1);
        assert!(plan.is_sure(0));
        assert_eq!(plan.given(0), Some((9, 0)));
        assert!(!pool(&[10], &[8, 16]).plan(10, WINDOW).is_sure(0));
    }

    #[test]
    fn two_acts_and_one_line_make_both_unsure_but_not_a_third() {
        let plan = pool(&[10, 12, 17], &[12, 20]).plan(12, WINDOW);
        assert_eq!(plan.acts.len(), 3);
        assert_eq!(
            (0..3).map(|n| plan.is_sure(n)).collect::<Vec<_>>(),
            [false, false, true]
        );
    }

    #[test]
    fn the_second_of_two_lines_is_told_by_the_first() {
        // The line at 10 is too early for the act at 12, so the other one is its own.
        let plan = pool(&[10, 12], &[10, 12]).plan(10, WINDOW);
        assert_eq!(plan.only(0), Some((10, 0)));
        assert_eq!(plan.only(1), Some((12, 1)));
        // Both lines fit both acts.
        let plan = pool(&[10, 11], &[12, 13]).plan(10, WINDOW);
        assert!(plan.is_sure(0) && plan.is_sure(1));
        assert_eq!((plan.only(0), plan.only(1)), (None, None));
    }

    #[test]
    fn places_stay_sorted_whichever_goes_first() {
        let mut places = Places::default();
        let mut plain = std::collections::BTreeSet::new();
        for n in 0..4_000_u64 {
            let at = ((n * 7_919 % 1_000) as i64, n);
            places.insert(at);
            plain.insert(at);
            if n % 3 != 0 {
                // Mostly the oldest, now and then one out of the middle or the newest.
                let gone = match n % 7 {
                    0 => plain.iter().nth(plain.len() / 2),
                    1 => plain.last(),
                    _ => plain.first(),
                };
                let gone = *gone.unwrap();
                places.remove(gone);
                places.remove(gone);
                plain.remove(&gone);
            }
            assert!(places.iter().eq(plain.iter()));
        }
    }

    #[test]
    fn what_is_taken_out_leaves_nothing_behind() {
        let mut pools = Pools::default();
        pools.add_act("a", (1, 1));
        pools.add_line("a", (2, 2));
        pools.remove_act("a", (1, 1));
        pools.remove_line("a", (2, 2));
        pools.remove_line("a", (2, 2));
        assert_eq!((pools.size(), pools.pools.len()), (0, 0));
    }
}
