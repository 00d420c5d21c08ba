//! Names that many lines share, kept once: nodes, users, and the keys of pools.

use std::sync::Arc;

use hashbrown::HashSet;

/// Fewer than these are never looked through [words].
const LEAST: usize = 1024;

/// Memory of a word beside its text [bytes].
const WORD: usize = 40;

/// The one copy of each word that is in use.
#[derive(Debug, Default)]
pub(super) struct Words {
    words: HashSet<Arc<str>>,
    /// So many, and those that nobody uses any more go.
    most: usize,
    /// Length of all together [bytes].
    length: usize,
}

impl Words {
    /// The word, as all that use it share it.
    pub(super) fn one(&mut self, text: &str) -> Arc<str> {
        if let Some(word) = self.words.get(text) {
            return Arc::clone(word);
        }
        if self.words.len() >= self.most.max(LEAST) {
            self.sweep();
        }
        let word: Arc<str> = text.into();
        self.length += text.len();
        self.words.insert(Arc::clone(&word));
        word
    }

    /// Lets go of those that nobody uses.
    pub(super) fn sweep(&mut self) {
        let length = &mut self.length;
        self.words.retain(|word| {
            let used = Arc::strong_count(word) > 1;
            if !used {
                *length -= word.len();
            }
            used
        });
        // Half of what is looked through is new at least, whatever an attacker makes up.
        self.most = self.words.len() * 2;
    }

    /// The same where `used` words at most are in use, and many more are kept: what a busy day left goes in the night.
    pub(super) fn trim(&mut self, used: usize) {
        if self.words.len() > LEAST && self.words.len() / 4 > used {
            self.sweep();
            self.words.shrink_to(self.words.len() * 2);
        }
    }

    /// Memory it stands for [bytes].
    pub(super) fn size(&self) -> usize {
        self.length + self.words.len() * WORD
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_kept_once_and_only_while_it_is_used() {
        let mut words = Words::default();
        let used = words.one("pve1");
        assert!(Arc::ptr_eq(&used, &words.one("pve1")));
        for n in 0..10 * LEAST {
            words.one(&n.to_string());
        }
        assert!(words.words.len() <= LEAST, "{}", words.words.len());
        assert!(Arc::ptr_eq(&used, &words.one("pve1")));
        words.sweep();
        assert_eq!(words.size(), 4 + WORD);
    }

    #[test]
    fn what_a_busy_day_left_goes() {
        let mut words = Words::default();
        let used = words.one("pve1");
        for n in 0..10 * LEAST {
            words.one(&n.to_string());
        }
        words.most = 0;
        let kept: Vec<_> = (0..2 * LEAST).map(|n| words.one(&n.to_string())).collect();
        words.trim(LEAST);
        assert!(words.words.len() > 2 * LEAST);
        drop(kept);
        words.trim(1);
        assert_eq!(words.words.len(), 1);
        assert!(Arc::ptr_eq(&used, &words.one("pve1")));
    }
}
