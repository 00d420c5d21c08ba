//! Names that many lines share, kept once: nodes, users, and the keys of pools.

use std::sync::Arc;

use hashbrown::HashSet;

/// Fewer than these are never looked through [words].
const LEAST: usize = 1024;

/// The one copy of each word that is in use.
#[derive(Debug, Default)]
pub(super) struct Words {
    words: HashSet<Arc<str>>,
    /// So many, and those that nobody uses any more go.
    most: usize,
}

impl Words {
    /// The word, as all that use it share it.
    pub(super) fn one(&mut self, text: &str) -> Arc<str> {
        if let Some(word) = self.words.get(text) {
            return Arc::clone(word);
        }
        if self.words.len() >= self.most.max(LEAST) {
            self.words.retain(|word| Arc::strong_count(word) > 1);
            // Half of what is looked through is new at least, whatever an attacker makes up.
            self.most = self.words.len() * 2;
        }
        let word: Arc<str> = text.into();
        self.words.insert(Arc::clone(&word));
        word
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
    }
}
