//! What happened before rules began to look, for those that ask what is new (`new_term`): a search store that is there already.
//!
//! The transform knows no store, and a store no transform: whoever joins them offers one for a folder of data.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use parking_lot::Mutex;
use pipeline::{Event, Time};

use super::engine::Engine;
use super::spec::Shape;
use crate::rules::{self, RuleSet};

/// Events that are past.
pub trait Past: Send + Sync {
    /// Shows those of these codes (like `2002`; empty: all codes) from a time on, in any order; says why that was not all.
    fn each(&self, codes: &[u16], from: Time, show: &mut dyn FnMut(&Event)) -> Result<(), String>;
}

static OFFERED: LazyLock<Mutex<HashMap<PathBuf, Arc<dyn Past>>>> = LazyLock::new(Mutex::default);

/// The past of the program whose data lie in `data_dir`.
pub fn offer(data_dir: &Path, past: Arc<dyn Past>) {
    OFFERED.lock().insert(data_dir.to_owned(), past);
}

/// How far back a `new_term` rule looks, the longest of them [ns], and the codes they look at (empty: all).
fn wanted(set: &RuleSet, engine: &Engine) -> Option<(i64, Vec<u16>)> {
    let (mut longest, mut codes, mut all) = (None, Vec::new(), false);
    for (rule, watched) in set.rules().iter().zip(&engine.rules) {
        if let Shape::NewTerm { history, .. } = &watched.spec.shape
            && (rule.enabled || rule.feeds)
        {
            longest = longest.max(Some(*history));
            match &rule.codes {
                Some(named) => codes.extend(named),
                None => all = true,
            }
        }
    }
    if all {
        codes.clear();
    }
    codes.sort_unstable();
    codes.dedup();
    Some((longest?, codes))
}

/// Makes known what is past; how many events told of something, and what went wrong.
pub(super) fn seed(
    data_dir: &Path,
    set: &RuleSet,
    engine: &mut Engine,
    now: Time,
) -> Option<Result<usize, String>> {
    let past = OFFERED.lock().get(data_dir).cloned()?;
    let (history, codes) = wanted(set, engine)?;
    let from = Time(now.0.saturating_sub(history));
    let mut told = 0;
    let mut show = |event: &Event| {
        if !rules::sees(event) || event.timestamp() > now {
            return;
        }
        let mut used = false;
        for n in set.meeting(rules::code(event)) {
            used |= engine.seed(*n as usize, event);
        }
        told += usize::from(used);
    };
    let read = past.each(&codes, from, &mut show);
    Some(read.map(|()| told))
}

impl Engine {
    /// An event from before it began to look: what it shows is known, and nothing fires. Whether the rule asks for such.
    fn seed(&mut self, n: usize, event: &Event) -> bool {
        let rule = self.rules[n].clone();
        let Shape::NewTerm { known, .. } = &rule.spec.shape else {
            return false;
        };
        let at = event.timestamp();
        let (roles, _) = rule.judge.roles(event, at);
        let Some(term) = rule.judge.value(event).filter(|_| roles != 0) else {
            return false;
        };
        let part = rule.judge.known(event).filter(|_| *known);
        self.know(n, term, part, super::spec::Stamp::new(at.0, event.id()));
        true
    }
}
