//! What a rule has seen before: tuples and parts of them, with their first and last sight.
//!
//! - state: at most so many terms as the rule may hold; of more, those seen longest ago leave a trace in 512 KiB of bits. A term
//!   that is not known but may be one of those is not told as new: a false alarm is worse than a missed one, and the rule is
//!   marked `degraded` meanwhile

use hashbrown::HashMap;

use super::codec::{Put, Take};
use super::spec::Stamp;
use pipeline::StateError;

/// Words of one filter [words of 64 bits].
const WORDS: usize = 1 << 15;
/// Terms one filter takes before the other begins; about 1 in 40 unknown terms is then taken for one of them [terms].
const MOST_TRACES: u32 = 250_000;

/// Terms by hash.
#[derive(Default)]
pub(super) struct Terms {
    held: HashMap<u64, (Stamp, i64)>,
    gone: Traces,
}

/// What was given up, in two generations.
#[derive(Default)]
struct Traces {
    newer: Vec<u64>,
    older: Vec<u64>,
    count: u32,
}

impl Traces {
    fn places(term: u64) -> impl Iterator<Item = (usize, u64)> {
        let (one, two) = (term as u32, (term >> 32) as u32 | 1);
        (0..4_u32).map(move |n| {
            let bit = one.wrapping_add(two.wrapping_mul(n)) as usize % (WORDS * 64);
            (bit / 64, 1 << (bit % 64))
        })
    }

    fn put(&mut self, term: u64) {
        if self.count >= MOST_TRACES {
            self.older = std::mem::take(&mut self.newer);
            self.count = 0;
        }
        if self.newer.is_empty() {
            self.newer = vec![0; WORDS];
        }
        for (word, bit) in Self::places(term) {
            self.newer[word] |= bit;
        }
        self.count += 1;
    }

    fn may_have(&self, term: u64) -> bool {
        [&self.newer, &self.older].into_iter().any(|words| {
            !words.is_empty() && Self::places(term).all(|(word, bit)| words[word] & bit != 0)
        })
    }
}

impl Terms {
    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.held.allocation_size() + (self.gone.newer.len() + self.gone.older.len()) * 8
    }

    /// First and last sight; of one that was given up only that it was before everything.
    pub(super) fn seen(&self, term: u64) -> Option<(Stamp, i64)> {
        let held = self.held.get(&term).copied();
        held.or_else(|| {
            let once = Stamp::at(i64::MIN);
            self.gone.may_have(term).then_some((once, i64::MAX))
        })
    }

    pub(super) fn put(&mut self, term: u64, first: Stamp, last: i64) {
        self.held.insert(term, (first, last));
    }

    /// Seen again, or for the first time; says when that first time was.
    pub(super) fn see(&mut self, term: u64, stamp: Stamp) -> Stamp {
        let (first, last) = match self.seen(term) {
            // One that was given up was seen some time before.
            Some((first, i64::MAX)) => (first, stamp.time),
            Some((first, last)) => (first, last.max(stamp.time)),
            None => (stamp, stamp.time),
        };
        let first = first.min(stamp);
        self.put(term, first, last);
        first
    }

    /// Forgets what was seen last before `old`, and if that is not enough, of what is left the half seen longest ago. Says how
    /// many of these there were.
    pub(super) fn forget(&mut self, old: i64, most: usize) -> usize {
        self.held.retain(|_, seen| seen.1 >= old);
        let before = self.held.len();
        if before > most {
            let mut times: Vec<(i64, u64)> =
                self.held.iter().map(|(term, s)| (s.1, *term)).collect();
            let middle = before - most / 2 - 1;
            let (_, edge, _) = times.select_nth_unstable(middle);
            let edge = *edge;
            let gone = &mut self.gone;
            self.held.retain(|term, seen| {
                let stays = (seen.1, *term) > edge;
                if !stays {
                    gone.put(*term);
                }
                stays
            });
        }
        self.held.shrink_to_fit();
        before - self.held.len()
    }

    pub(super) fn save(&self, put: &mut Put<'_>) {
        put.len(self.held.len());
        let mut terms: Vec<_> = self.held.iter().collect();
        terms.sort_unstable_by_key(|seen| seen.0);
        for (term, (first, last)) in terms {
            put.u64(*term);
            put.stamp(*first);
            put.i64(*last);
        }
        put.u32(self.gone.count);
        for words in [&self.gone.newer, &self.gone.older] {
            put.len(words.len());
            words.iter().for_each(|word| put.u64(*word));
        }
    }

    pub(super) fn load(take: &mut Take<'_>) -> Result<Terms, StateError> {
        let mut terms = Terms::default();
        for _ in 0..take.len()? {
            let term = take.u64()?;
            terms.put(term, take.stamp()?, take.i64()?);
        }
        terms.gone.count = take.u32()?;
        for words in [&mut terms.gone.newer, &mut terms.gone.older] {
            *words = (0..take.len()?)
                .map(|_| take.u64())
                .collect::<Result<_, _>>()?;
            if !words.is_empty() && words.len() != WORDS {
                return Err(StateError("traces of terms are cut short".to_owned()));
            }
        }
        Ok(terms)
    }
}
