//! The bounds: groups of a rule, and the memory of all rules together. What is given up is counted and marks its rule.

use super::{Engine, Memory};
use crate::anomaly::alert::Alert;
use crate::anomaly::spec::{Shape, Spec};

/// Terms one rule remembers [terms].
const MOST_TERMS: usize = 200_000;
/// An alert of its own, with its event, roughly [bytes].
const ALERT: usize = size_of::<Alert>() + 2048;
/// What one event adds at most besides the group it belongs to, roughly [bytes].
const BESIDE: usize = 256;

impl Memory {
    /// Something was given up or left out: what the rule finds may be less than there is.
    pub(super) fn degrade(&mut self) {
        self.degraded = true;
        self.calm = 0;
    }

    /// Everything it holds [bytes].
    pub(in crate::anomaly) fn bytes(&self) -> usize {
        self.store.bytes()
            + self.terms.bytes()
            + self.known.bytes()
            + self.recent.bytes()
            + self.singles.len() * ALERT
    }

    /// Gives up some of what takes most; `false`: nothing can be given up.
    fn give_up(&mut self) -> bool {
        let terms = self.terms.bytes().max(self.known.bytes());
        let recent = self.recent.bytes();
        if recent > terms.max(self.store.bytes()) {
            self.recent.halve();
            return self.recent.bytes() < recent;
        }
        if terms > self.store.bytes() && self.terms.len().max(self.known.len()) > 16 {
            let (most, parts) = (self.terms.len() / 2, self.known.len() / 2);
            let gone = self.terms.forget(i64::MIN, most) + self.known.forget(i64::MIN, parts);
            self.evicted += gone as u64;
            self.degrade();
            return gone > 0;
        }
        // Many at once, so that the sum is not taken for each.
        let mut gone = 0;
        for _ in 0..(self.store.len() / 64).max(1) {
            gone += u64::from(self.store.evict());
        }
        self.evicted += gone;
        if gone > 0 {
            self.degrade();
        }
        gone > 0
    }
}

impl Engine {
    /// Room for one group more of this rule.
    pub(super) fn make_room(&mut self, n: usize, spec: &Spec) -> bool {
        let memory = &mut self.memory[n];
        if memory.store.len() < spec.max_groups && !self.full {
            return true;
        }
        memory.evicted += 1;
        memory.degrade();
        memory.store.evict()
    }

    /// More terms than a rule may hold: those out of its history go first.
    pub(super) fn bound_terms(&mut self, n: usize, spec: &Spec) {
        let most = MOST_TERMS.min(spec.max_groups.saturating_mul(4));
        let memory = &mut self.memory[n];
        if memory.terms.len() <= most && memory.known.len() <= most {
            return;
        }
        let Shape::NewTerm { history, .. } = &spec.shape else {
            return;
        };
        let old = self.watermark.saturating_sub(spec.lateness);
        let old = old.saturating_sub(*history);
        let gone = memory.terms.forget(old, most) + memory.known.forget(old, most);
        memory.evicted += gone as u64;
        if gone > 0 {
            memory.degrade();
        }
    }

    /// Something grew. The sum of everything is taken only when what has grown since could have filled the budget.
    pub(super) fn grew(&mut self, bytes: usize) {
        match self.slack.checked_sub(bytes + BESIDE) {
            Some(slack) => self.slack = slack,
            None => self.fit(),
        }
    }

    /// Gives up what has to be given up for everything to lie within the budget: of the rule that holds most, what was
    /// touched longest ago.
    #[cold]
    pub(in crate::anomaly) fn fit(&mut self) {
        let mut held = self.bytes();
        // Below this much room the sum would be taken for every event.
        let least = self.budget / 64;
        if held > self.budget - least {
            let goal = self.budget - self.budget / 16;
            let mut stuck = vec![false; self.memory.len()];
            while held > goal {
                let memory = &self.memory;
                let largest = (0..memory.len())
                    .filter(|n| !stuck[*n])
                    .max_by_key(|n| memory[*n].bytes());
                let Some(n) = largest else { break };
                let memory = &mut self.memory[n];
                let before = memory.bytes();
                stuck[n] = !memory.give_up() || memory.bytes() >= before;
                held = held - before + memory.bytes();
            }
        }
        // Only open alerts are left: no more of them until some are over.
        self.full = held > self.budget;
        self.slack = self.budget.saturating_sub(held).max(least);
    }

    /// Memory of all rules together [bytes].
    pub(in crate::anomaly) fn bytes(&self) -> usize {
        let rules: usize = self.memory.iter().map(Memory::bytes).sum();
        rules + self.faces.bytes()
    }
}
