//! Runs of one set of characters: where they end, longest or shortest first.

use super::place::byte_at;
use super::program::{Kind, Program, Run};
use super::recognise;
use super::vm::{Back, Memory};

impl Program {
    /// The longest end of a run, and the way back to the shorter ones.
    #[inline]
    pub(super) fn greedy(
        &self,
        line: &[u8],
        run: &Run,
        pos: usize,
        memory: &mut Memory,
        pc: usize,
    ) -> Option<usize> {
        let limit = line.len().min(pos.saturating_add(run.max as usize));
        let longest = self.extent(line, run, pos, limit);
        memory.fuel -= ((longest - pos) >> 4) as i64;
        let low = pos + run.min as usize;
        if longest < low {
            return None;
        }
        let next = &self.sets[run.next as usize];
        if run.single {
            return next[byte_at(line, longest)].then_some(longest);
        }
        let end = self.last_end(line, run, low, longest, &mut memory.fuel)?;
        if end > low {
            memory.stack.push(Back::Run {
                pc: pc as u32 + 1,
                low: low as u32,
                at: end as u32,
            });
        }
        Some(end)
    }

    /// The shortest end of a lazy run, and the way back to the longer ones.
    #[inline]
    pub(super) fn lazy(
        &self,
        line: &[u8],
        run: &Run,
        pos: usize,
        memory: &mut Memory,
        pc: usize,
    ) -> Option<usize> {
        let most = line.len().min(pos.saturating_add(run.max as usize));
        let low = pos + run.min as usize;
        if low > most {
            return None;
        }
        if run.kind != Kind::Any && self.extent(line, run, pos, low) < low {
            return None;
        }
        let end = self.first_end(line, run, low, low, most, &mut memory.fuel)?;
        if end < most {
            memory.stack.push(Back::Lazy {
                pc: pc as u32 + 1,
                at: end as u32,
                high: most as u32,
            });
        }
        Some(end)
    }

    /// Where the bytes of a run's set end, at `limit` the latest.
    #[inline]
    fn extent(&self, line: &[u8], run: &Run, pos: usize, limit: usize) -> usize {
        match run.kind {
            Kind::Any => limit,
            Kind::NotSpace => recognise::not_space(line, pos, limit),
            Kind::Table => {
                let set = &self.sets[run.set as usize];
                let mut end = pos;
                while end < limit && set[line[end] as usize] {
                    end += 1;
                }
                end
            }
        }
    }

    /// The last end from `low` to `high` that the next byte agrees with.
    #[inline]
    pub(super) fn last_end(
        &self,
        line: &[u8],
        run: &Run,
        low: usize,
        high: usize,
        fuel: &mut i64,
    ) -> Option<usize> {
        let next = &self.sets[run.next as usize];
        let mut end = high;
        loop {
            if next[byte_at(line, end)] {
                *fuel -= ((high - end) >> 4) as i64;
                return Some(end);
            }
            if end <= low {
                *fuel -= ((high - end) >> 4) as i64;
                return None;
            }
            end -= 1;
        }
    }

    /// The first end from `low` to `high` that the next byte agrees with; the bytes from `from` have to be of the set.
    #[inline]
    pub(super) fn first_end(
        &self,
        line: &[u8],
        run: &Run,
        from: usize,
        low: usize,
        high: usize,
        fuel: &mut i64,
    ) -> Option<usize> {
        let next = &self.sets[run.next as usize];
        let set = &self.sets[run.set as usize];
        if low > from && !set[byte_at(line, from)] {
            return None;
        }
        let mut end = low;
        let found = loop {
            if end > high {
                break None;
            }
            if next[byte_at(line, end)] {
                break Some(end);
            }
            if end == high || !set[line[end] as usize] {
                break None;
            }
            end += 1;
        };
        *fuel -= ((end - low) >> 4) as i64;
        found
    }
}
