//! Runs a scan program over one line.

use memchr::memmem::Finder;

use super::place::{byte_at, holds};
use super::program::{END, Op, Program};
use super::recognise;

/// No place: a capture that took no part.
pub(in crate::grok) const UNSET: u32 = u32::MAX;

/// What one start costs [units of fuel].
const START_COST: i64 = 2;
/// Work after which an automaton is asked whether more of it can lead anywhere [units of fuel].
const ASK_AFTER: i64 = 12;

/// What became of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::grok) enum Verdict {
    /// It matches; the places are in `Memory::slots`.
    Match {
        /// Where the match begins.
        start: u32,
        /// Where it ends.
        end: u32,
    },
    /// It does not match.
    NoMatch,
    /// Not from any start before this; whether one further on is worth trying is cheaper to ask an automaton.
    Unlikely {
        /// The next start.
        from: u32,
    },
    /// Another engine has to say.
    Undecided,
}

/// What a worker keeps between lines.
#[derive(Debug, Default)]
pub(in crate::grok) struct Memory {
    /// Places of captures, start and end by turns, `UNSET` where a capture took no part.
    pub(in crate::grok) slots: Vec<u32>,
    pub(super) stack: Vec<Back>,
    memos: Vec<u32>,
    pub(super) fuel: i64,
    filled: i64,
}

/// A way not taken yet, or something to undo.
#[derive(Clone, Copy, Debug)]
pub(super) enum Back {
    Goto {
        pc: u32,
        pos: u32,
    },
    /// Ends from `low` to below `at` of the run before `pc`.
    Run {
        pc: u32,
        low: u32,
        at: u32,
    },
    /// Ends above `at` to `high` of the lazy run before `pc`.
    Lazy {
        pc: u32,
        at: u32,
        high: u32,
    },
    Restore {
        slot: u32,
        value: u32,
    },
    /// All ways from this memo at this place have failed.
    Memo {
        memo: u16,
        pos: u32,
    },
}

/// Why a run ends without an answer.
struct GaveUp;

impl Program {
    /// Searches the first match in a line that begins at `from` or later. With `ask`, it may answer `Unlikely`.
    pub(in crate::grok) fn search(
        &self,
        line: &[u8],
        from: usize,
        ask: bool,
        memory: &mut Memory,
    ) -> Verdict {
        // A little per byte and some for short lines: what a linear engine would cost.
        let fuel = 512 + 8 * line.len() as i64;
        memory.fuel = fuel;
        memory.filled = fuel;
        memory.memos.clear();
        memory.memos.resize(self.memos, UNSET);
        memory.slots.clear();
        memory.slots.resize(self.slots, UNSET);
        memory.stack.clear();
        let first = &self.sets[self.first as usize];
        let mut sought = self.required.is_none();
        let mut at = from;
        loop {
            if !self.anchored {
                while at < line.len() && !first[line[at] as usize] {
                    at += 1;
                }
            }
            if at >= line.len() && !first[END] {
                return Verdict::NoMatch;
            }
            memory.fuel -= START_COST;
            if memory.fuel < 0 {
                return Verdict::Undecided;
            }
            match self.run(line, 0, at, memory) {
                Ok(Some(end)) => {
                    return Verdict::Match {
                        start: at as u32,
                        end: end as u32,
                    };
                }
                Ok(None) => {}
                Err(GaveUp) => return Verdict::Undecided,
            }
            if self.anchored || at >= line.len() {
                return Verdict::NoMatch;
            }
            at += 1;
            if !sought {
                // Sought only now: a line that matches at once does not pay for it.
                let found = |text: &Finder<'_>| text.find(&line[at - 1..]).is_some();
                if !self.required.as_ref().is_some_and(found) {
                    return Verdict::NoMatch;
                }
                sought = true;
            }
            if ask && fuel - memory.fuel > ASK_AFTER {
                return Verdict::Unlikely { from: at as u32 };
            }
        }
    }

    /// Runs from one step to `Match` or `Done`. On failure everything it did is undone.
    fn run(
        &self,
        line: &[u8],
        mut pc: usize,
        mut pos: usize,
        memory: &mut Memory,
    ) -> Result<Option<usize>, GaveUp> {
        let base = memory.stack.len();
        loop {
            let goes_on = match self.ops[pc] {
                Op::Byte(byte) => {
                    let goes_on = pos < line.len() && line[pos] == byte;
                    pos += usize::from(goes_on);
                    goes_on
                }
                Op::Literal { at, len } => {
                    let text = &self.literals[at as usize..(at + len) as usize];
                    let goes_on =
                        line.len() - pos >= text.len() && line[pos..pos + text.len()] == *text;
                    if goes_on {
                        pos += text.len();
                    }
                    goes_on
                }
                Op::Set(set) => {
                    let goes_on = pos < line.len() && self.sets[set as usize][line[pos] as usize];
                    if goes_on {
                        let beyond = !line[pos].is_ascii();
                        pos += 1;
                        while beyond && pos < line.len() && line[pos] & 0xC0 == 0x80 {
                            pos += 1;
                        }
                    }
                    goes_on
                }
                Op::Run(ref run) => match self.greedy(line, run, pos, memory, pc) {
                    Some(end) => {
                        pos = end;
                        true
                    }
                    None => false,
                },
                Op::Lazy(ref run) => match self.lazy(line, run, pos, memory, pc) {
                    Some(end) => {
                        pos = end;
                        true
                    }
                    None => false,
                },
                Op::Split { here, there, to } => {
                    let byte = byte_at(line, pos);
                    if self.sets[here as usize][byte] {
                        if self.sets[there as usize][byte] {
                            memory.stack.push(Back::Goto {
                                pc: to,
                                pos: pos as u32,
                            });
                        }
                        true
                    } else {
                        pc = to as usize;
                        continue;
                    }
                }
                Op::SplitTo { here, there, to } => {
                    let byte = byte_at(line, pos);
                    if self.sets[there as usize][byte] {
                        if self.sets[here as usize][byte] {
                            memory.stack.push(Back::Goto {
                                pc: pc as u32 + 1,
                                pos: pos as u32,
                            });
                        }
                        pc = to as usize;
                        continue;
                    }
                    true
                }
                Op::Jump(to) => {
                    memory.fuel -= 1;
                    pc = to as usize;
                    continue;
                }
                Op::Save(slot) => {
                    let value = std::mem::replace(&mut memory.slots[slot as usize], pos as u32);
                    // With nothing to go back to, nothing has to be undone: a failed start clears all of it.
                    if memory.stack.len() > base || base > 0 || value != UNSET {
                        memory.stack.push(Back::Restore { slot, value });
                    }
                    true
                }
                Op::At(anchor) => holds(anchor, line, pos),
                Op::Behind { set, negate } => {
                    (pos > 0 && self.sets[set as usize][line[pos - 1] as usize]) != negate
                }
                Op::Ahead { set, negate } => {
                    (pos < line.len() && self.sets[set as usize][line[pos] as usize]) != negate
                }
                Op::LookAhead { negate, to } => {
                    if self.look(line, pc + 1, pos, negate, memory)? {
                        pc = to as usize;
                        continue;
                    }
                    false
                }
                Op::LookBehind { negate, width, to } => {
                    let holds = match pos.checked_sub(width as usize) {
                        Some(from) => self.look(line, pc + 1, from, negate, memory)?,
                        None => negate,
                    };
                    if holds {
                        pc = to as usize;
                        continue;
                    }
                    false
                }
                Op::Atomic { to } => {
                    let base = memory.stack.len();
                    memory.fuel -= 1;
                    match self.run(line, pc + 1, pos, memory)? {
                        Some(end) => {
                            memory.commit(base);
                            pos = end;
                            pc = to as usize;
                            continue;
                        }
                        None => false,
                    }
                }
                Op::Progress { slot, exit } => {
                    if memory.slots[slot as usize] == pos as u32 {
                        pc = exit as usize;
                        continue;
                    }
                    true
                }
                Op::Memo(memo) => {
                    let failed = memory.memos[memo as usize] == pos as u32;
                    if !failed {
                        memory.stack.push(Back::Memo {
                            memo,
                            pos: pos as u32,
                        });
                    }
                    !failed
                }
                Op::Ipv4 => step(recognise::ipv4(line, pos), &mut pos),
                Op::Quoted => step(recognise::quoted(line, pos), &mut pos),
                Op::Number => step(recognise::number(line, pos), &mut pos),
                Op::Ipv6 => match recognise::ipv6(line, pos) {
                    recognise::Ipv6::Is(end) => {
                        pos = end;
                        true
                    }
                    recognise::Ipv6::IsNot => false,
                    recognise::Ipv6::Zone => return Err(GaveUp),
                },
                Op::Time => match recognise::time(line, pos) {
                    None => false,
                    Some((end, shorter)) => {
                        if let Some(shorter) = shorter {
                            memory.stack.push(Back::Goto {
                                pc: pc as u32 + 1,
                                pos: shorter as u32,
                            });
                        }
                        pos = end;
                        true
                    }
                },
                Op::Done | Op::Match => return Ok(Some(pos)),
            };
            if goes_on {
                pc += 1;
                continue;
            }
            match self.back(line, base, memory)? {
                Some((to, at)) => (pc, pos) = (to, at),
                None => {
                    if base == 0 {
                        memory.slots.fill(UNSET);
                    }
                    return Ok(None);
                }
            }
        }
    }

    /// Undoes up to the last choice and takes its next way.
    fn back(
        &self,
        line: &[u8],
        base: usize,
        memory: &mut Memory,
    ) -> Result<Option<(usize, usize)>, GaveUp> {
        while memory.stack.len() > base {
            memory.fuel -= 1;
            if memory.fuel < 0 {
                return Err(GaveUp);
            }
            let Some(last) = memory.stack.last_mut() else {
                break;
            };
            match last {
                Back::Goto { pc, pos } => {
                    let to = (*pc as usize, *pos as usize);
                    memory.stack.pop();
                    return Ok(Some(to));
                }
                Back::Run { pc, low, at } => {
                    let to = *pc as usize;
                    let Op::Run(run) = &self.ops[to - 1] else {
                        unreachable!("a run's way back stands behind the run")
                    };
                    let (from, below) = (*low as usize, *at as usize);
                    match self.last_end(line, run, from, below - 1, &mut memory.fuel) {
                        Some(end) if end > from => {
                            *at = end as u32;
                            return Ok(Some((to, end)));
                        }
                        found => {
                            memory.stack.pop();
                            if let Some(end) = found {
                                return Ok(Some((to, end)));
                            }
                        }
                    }
                }
                Back::Lazy { pc, at, high } => {
                    let to = *pc as usize;
                    let Op::Lazy(run) = &self.ops[to - 1] else {
                        unreachable!("a run's way back stands behind the run")
                    };
                    let (after, most) = (*at as usize, *high as usize);
                    let found = self.first_end(line, run, after, after + 1, most, &mut memory.fuel);
                    match found {
                        Some(end) if end < most => {
                            *at = end as u32;
                            return Ok(Some((to, end)));
                        }
                        found => {
                            memory.stack.pop();
                            if let Some(end) = found {
                                return Ok(Some((to, end)));
                            }
                        }
                    }
                }
                Back::Restore { slot, value } => {
                    let (slot, value) = (*slot as usize, *value);
                    memory.slots[slot] = value;
                    memory.stack.pop();
                }
                Back::Memo { memo, pos } => {
                    let (memo, pos) = (*memo as usize, *pos);
                    memory.memos[memo] = pos;
                    memory.stack.pop();
                }
            }
        }
        Ok(None)
    }

    fn look(
        &self,
        line: &[u8],
        pc: usize,
        pos: usize,
        negate: bool,
        memory: &mut Memory,
    ) -> Result<bool, GaveUp> {
        // A mark below the part, so that all it saves can be undone.
        let base = memory.stack.len();
        memory.fuel -= 1;
        if memory.fuel < 0 {
            return Err(GaveUp);
        }
        memory.stack.push(Back::Memo {
            memo: 0,
            pos: UNSET,
        });
        let found = self.run(line, pc, pos, memory)?.is_some();
        if negate {
            while memory.stack.len() > base {
                if let Some(Back::Restore { slot, value }) = memory.stack.pop() {
                    memory.slots[slot as usize] = value;
                }
            }
        } else {
            memory.commit(base);
        }
        Ok(found != negate)
    }
}

impl Memory {
    /// The work that the last line took [units of fuel].
    pub(in crate::grok) fn spent(&self) -> i64 {
        self.filled - self.fuel
    }

    /// Drops the ways not taken since `base`; what was saved stays, and can still be undone.
    fn commit(&mut self, base: usize) {
        let mut kept = base;
        for at in base..self.stack.len() {
            if let Back::Restore { .. } = self.stack[at] {
                self.stack[kept] = self.stack[at];
                kept += 1;
            }
        }
        self.stack.truncate(kept);
    }
}

#[inline]
fn step(found: Option<usize>, pos: &mut usize) -> bool {
    match found {
        Some(end) => {
            *pos = end;
            true
        }
        None => false,
    }
}
