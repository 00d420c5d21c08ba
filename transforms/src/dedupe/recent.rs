//! The last so many distinct keys: a ring in the order they came, and an index into it by hash.
//!
//! The index is open addressing with linear probing, at most half full. A slot holds 32 bits of the hash, whose upper
//! bits say where its search began, and a place in the ring, so that finding, entering and removing look at the ring
//! only where the 32 bits agree. Nothing is allocated per key.

/// A key: an event id, or 128 bits of a SHA-256.
pub(super) type Key = [u64; 2];

/// Keys looked up together.
const TOGETHER: usize = 32;

/// Whether a key was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    New,
    Before,
}

pub(super) struct Recent {
    /// Keys; the oldest is at `next` once the ring is full.
    ring: Vec<Key>,
    /// Event time of each key [ns], where a window needs it.
    times: Option<Vec<i64>>,
    most: usize,
    next: usize,
    /// 0, or hash << 32 | place in the ring + 1.
    slots: Vec<u64>,
    /// Size of `slots` as a power of two.
    bits: u32,
    /// Ids are hashes, but of text that an attacker writes: without a secret he could line them up.
    secret: Key,
}

impl Recent {
    pub(super) fn new(most: usize, with_times: bool) -> Recent {
        let bits = (most * 2).next_power_of_two().trailing_zeros().max(4);
        let secret = [random(), random()];
        Recent {
            ring: Vec::new(),
            times: with_times.then(Vec::new),
            most,
            next: 0,
            slots: vec![0; 1 << bits],
            bits,
            secret,
        }
    }

    /// Number of keys.
    pub(super) fn len(&self) -> usize {
        self.ring.len()
    }

    #[inline]
    fn hash(&self, key: Key) -> u32 {
        let product = u128::from(key[0] ^ self.secret[0]) * u128::from(key[1] ^ self.secret[1]);
        let folded = (product >> 64) as u64 ^ product as u64;
        // Where one factor is zero the product says nothing about the other: one key in 2^63.
        (folded.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u32
    }

    #[inline]
    fn home(&self, hash: u32) -> usize {
        (hash >> (32 - self.bits)) as usize
    }

    /// Whether the key is among the last ones, and within `window` [ns] of its event time. If not, it is remembered.
    #[inline]
    pub(super) fn see(&mut self, key: Key, time: i64, window: i64) -> Seen {
        self.see_hashed(key, self.hash(key), time, window)
    }

    /// The same for several keys with their times, said to `told` in their order. The index is larger than a cache that
    /// is near, so all of its slots that are needed are asked for at once instead of one after the other.
    #[inline]
    pub(super) fn see_all(&mut self, keys: &[(Key, i64)], window: i64, mut told: impl FnMut(Seen)) {
        let mut hashes = [0; TOGETHER];
        for keys in keys.chunks(TOGETHER) {
            let mut slots = 0;
            for ((key, _), hash) in keys.iter().zip(&mut hashes) {
                *hash = self.hash(*key);
                slots ^= self.slots[self.home(*hash)];
            }
            if self.ring.len() == self.most {
                // The next ones to be replaced.
                for key in self.ring[self.next..].iter().take(keys.len()) {
                    slots ^= self.slots[self.home(self.hash(*key))];
                }
            }
            std::hint::black_box(slots);
            for ((key, time), hash) in keys.iter().zip(hashes) {
                told(self.see_hashed(*key, hash, *time, window));
            }
        }
    }

    #[inline]
    fn see_hashed(&mut self, key: Key, hash: u32, time: i64, window: i64) -> Seen {
        let mask = self.slots.len() - 1;
        let mut at = self.home(hash);
        loop {
            let slot = self.slots[at];
            if slot == 0 {
                break;
            }
            if (slot >> 32) as u32 == hash {
                let place = slot as u32 as usize - 1;
                if self.ring[place] == key {
                    return self.again(place, time, window);
                }
            }
            at = (at + 1) & mask;
        }
        if self.ring.len() < self.most {
            let place = self.ring.len();
            self.ring.push(key);
            if let Some(times) = &mut self.times {
                times.push(time);
            }
            self.slots[at] = u64::from(hash) << 32 | (place as u64 + 1);
        } else {
            self.replace_oldest(key, hash, time);
        }
        Seen::New
    }

    /// The key is there; whether it counts depends on the time between the two.
    #[inline]
    fn again(&mut self, place: usize, time: i64, window: i64) -> Seen {
        let Some(times) = &mut self.times else {
            return Seen::Before;
        };
        if times[place].abs_diff(time) <= window.unsigned_abs() {
            return Seen::Before;
        }
        // It keeps its place in the ring: forgotten a little earlier than if it were new, never later.
        times[place] = time;
        Seen::New
    }

    #[inline]
    fn replace_oldest(&mut self, key: Key, hash: u32, time: i64) {
        let place = self.next;
        self.next = if place + 1 == self.most { 0 } else { place + 1 };
        self.remove(self.ring[place], place);
        self.ring[place] = key;
        if let Some(times) = &mut self.times {
            times[place] = time;
        }
        self.enter(hash, place);
    }

    #[inline]
    fn enter(&mut self, hash: u32, place: usize) {
        let mask = self.slots.len() - 1;
        let mut at = self.home(hash);
        while self.slots[at] != 0 {
            at = (at + 1) & mask;
        }
        self.slots[at] = u64::from(hash) << 32 | (place as u64 + 1);
    }

    /// Takes a key out of the index and closes the gap.
    #[inline]
    fn remove(&mut self, key: Key, place: usize) {
        let hash = self.hash(key);
        let mask = self.slots.len() - 1;
        let wanted = u64::from(hash) << 32 | (place as u64 + 1);
        let mut gap = self.home(hash);
        while self.slots[gap] != wanted {
            debug_assert_ne!(self.slots[gap], 0, "every key of the ring is in the index");
            gap = (gap + 1) & mask;
        }
        let mut at = gap;
        loop {
            at = (at + 1) & mask;
            let slot = self.slots[at];
            if slot == 0 {
                break;
            }
            // It may move to the gap unless its search begins behind the gap.
            let home = self.home((slot >> 32) as u32);
            if at.wrapping_sub(home) & mask >= at.wrapping_sub(gap) & mask {
                self.slots[gap] = slot;
                gap = at;
            }
        }
        self.slots[gap] = 0;
    }

    /// 4 bytes of count, 1 byte whether times follow, then the keys from the oldest on, 16 bytes each, and 8 of time.
    pub(super) fn save(&self, to: &mut Vec<u8>) {
        to.reserve(5 + self.ring.len() * if self.times.is_some() { 24 } else { 16 });
        to.extend_from_slice(&(self.ring.len() as u32).to_le_bytes());
        to.push(u8::from(self.times.is_some()));
        let (new, old) = self.ring.split_at(self.next);
        for [high, low] in old.iter().chain(new) {
            to.extend_from_slice(&high.to_le_bytes());
            to.extend_from_slice(&low.to_le_bytes());
        }
        if let Some(times) = &self.times {
            let (new, old) = times.split_at(self.next);
            for time in old.iter().chain(new) {
                to.extend_from_slice(&time.to_le_bytes());
            }
        }
    }

    /// Reads that again; where fewer keys may be kept now, the newest.
    pub(super) fn load(&mut self, from: &[u8]) -> Result<(), String> {
        let cut = || "the saved keys are cut short".to_owned();
        let (count, rest) = from.split_first_chunk::<4>().ok_or_else(cut)?;
        let (with_times, rest) = rest.split_first().ok_or_else(cut)?;
        let count = u32::from_le_bytes(*count) as usize;
        let (keys, times) = rest.split_at_checked(count * 16).ok_or_else(cut)?;
        let expected = if *with_times == 0 { 0 } else { count * 8 };
        if times.len() != expected {
            return Err(cut());
        }
        *self = Recent::new(self.most, self.times.is_some());
        for n in count.saturating_sub(self.most)..count {
            let key = [word(keys, n * 2), word(keys, n * 2 + 1)];
            // Saved without times, then given a window: outside of every window.
            let time = if expected == 0 {
                i64::MIN
            } else {
                word(times, n) as i64
            };
            let place = self.ring.len();
            self.ring.push(key);
            if let Some(times) = &mut self.times {
                times.push(time);
            }
            self.enter(self.hash(key), place);
        }
        Ok(())
    }
}

fn word(bytes: &[u8], n: usize) -> u64 {
    bytes[n * 8..n * 8 + 8]
        .iter()
        .rev()
        .fold(0, |word, byte| word << 8 | u64::from(*byte))
}

/// From the seeds of the standard library, which come from the system.
fn random() -> u64 {
    use std::hash::{BuildHasher as _, Hasher as _};
    std::hash::RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The same, so slow that it is plainly right.
    #[derive(Default)]
    struct Plain {
        keys: Vec<(Key, i64)>,
    }

    impl Plain {
        fn see(&mut self, key: Key, time: i64, window: Option<i64>, most: usize) -> Seen {
            if let Some((_, held)) = self.keys.iter_mut().find(|(held, _)| *held == key) {
                return match window {
                    Some(window) if held.abs_diff(time) > window as u64 => {
                        *held = time;
                        Seen::New
                    }
                    _ => Seen::Before,
                };
            }
            if self.keys.len() == most {
                self.keys.remove(0);
            }
            self.keys.push((key, time));
            Seen::New
        }
    }

    proptest! {
        #[test]
        fn it_agrees_with_the_plain_one_and_survives_a_restart(
            most in 1_usize..24,
            window in proptest::option::of(0_i64..40),
            events in proptest::collection::vec((0_u64..48, -60_i64..60), 1..400),
            restarts in proptest::collection::vec(0_usize..400, 0..4),
        ) {
            let (mut plain, mut recent) = (Plain::default(), Recent::new(most, window.is_some()));
            for (n, (key, time)) in events.into_iter().enumerate() {
                if restarts.contains(&n) {
                    let mut saved = Vec::new();
                    recent.save(&mut saved);
                    recent = Recent::new(most, window.is_some());
                    recent.load(&saved).unwrap();
                }
                let key = [key % 3, key];
                let expected = plain.see(key, time, window, most);
                let seen = if n % 2 == 0 {
                    recent.see(key, time, window.unwrap_or(i64::MAX))
                } else {
                    let mut seen = None;
                    recent.see_all(&[(key, time)], window.unwrap_or(i64::MAX), |said| seen = Some(said));
                    seen.unwrap()
                };
                prop_assert_eq!(seen, expected);
                prop_assert_eq!(recent.slots.iter().filter(|slot| **slot != 0).count(), plain.keys.len());
            }
        }

        #[test]
        fn many_at_once_are_the_same_as_one_by_one(
            most in 1_usize..80,
            keys in proptest::collection::vec((0_u64..120, -60_i64..60), 1..300),
            size in 1_usize..70,
        ) {
            let (mut one, mut many) = (Recent::new(most, true), Recent::new(most, true));
            let keys: Vec<_> = keys.into_iter().map(|(key, time)| ([key, 7], time)).collect();
            let expected: Vec<_> = keys.iter().map(|(key, time)| one.see(*key, *time, 40)).collect();
            let mut seen = Vec::new();
            keys.chunks(size).for_each(|keys| many.see_all(keys, 40, |said| seen.push(said)));
            prop_assert_eq!(seen, expected);
        }

        #[test]
        fn nonsense_is_refused_and_never_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let mut recent = Recent::new(4, true);
            let _ = recent.load(&bytes);
            recent.see([1, 2], 0, 1);
        }
    }

    #[test]
    fn fewer_keys_than_saved_are_the_newest() {
        let mut recent = Recent::new(8, false);
        (0..12).for_each(|n| {
            recent.see([n, n], 0, i64::MAX);
        });
        let mut saved = Vec::new();
        recent.save(&mut saved);
        let mut fewer = Recent::new(3, false);
        fewer.load(&saved).unwrap();
        assert_eq!(fewer.see([11, 11], 0, i64::MAX), Seen::Before);
        assert_eq!(fewer.see([9, 9], 0, i64::MAX), Seen::Before);
        assert_eq!(fewer.see([8, 8], 0, i64::MAX), Seen::New);
    }

    /// Not a check: prints what a key costs, together and alone:
    /// `cargo test --release -p transforms what_a_key_costs -- --ignored --nocapture`.
    #[test]
    #[ignore = "prints a figure: cargo test --release -p transforms what_a_key_costs -- --ignored --nocapture"]
    #[allow(clippy::print_stderr, reason = "the figure is what it is for")]
    fn what_a_key_costs() {
        const COUNT: u64 = 4_000_000;
        let key = |n: u64| {
            let low = n.wrapping_mul(0xd6e8_feb8_6659_fd93).rotate_left(29);
            ([n.wrapping_mul(0x9e37_79b9_7f4a_7c15), low], 0)
        };
        for together in [false, true] {
            let mut recent = Recent::new(100_000, false);
            let (start, mut new) = (std::time::Instant::now(), 0);
            for n in (0..COUNT).step_by(1000) {
                let keys: Vec<_> = (n..n + 1000).map(key).collect();
                if together {
                    recent.see_all(&keys, i64::MAX, |seen| new += u64::from(seen == Seen::New));
                } else {
                    keys.iter().for_each(|(key, time)| {
                        new += u64::from(recent.see(*key, *time, i64::MAX) == Seen::New);
                    });
                }
            }
            assert_eq!(new, COUNT);
            let each = start.elapsed().as_nanos() as f64 / COUNT as f64;
            eprintln!("together: {together}, {each:.1} ns per key");
        }
    }
}
