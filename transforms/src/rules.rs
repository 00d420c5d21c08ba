//! The language of detection rules: TOML files become compiled rules, indexed by the event IDs they name.
//!
//! ```toml
//! schema = 1
//! [[rule]]
//! id = "SITE-001"
//! name = "mass_delete"
//! severity = "critical"
//! type = "event_count"
//! timespan = "10m"
//! condition = { gt = 5 }
//! [rule.select.destroyed]
//! "event.code" = ["PVE-2002", "PVE-2102"]
//! "event.outcome" = "success"
//! ```
//!
//! `rules/table.rs` has every key, `rules/compile.rs` the tests of a selection, `rules/load.rs` which file counts when two
//! say different things. Evaluating a rule allocates nothing; `anomaly` does the rest: windows, states, alerts.

mod build;
mod calendar;
mod compile;
mod condition;
mod explain;
mod fields;
mod fold;
mod group;
mod load;
mod manual;
mod meaning;
mod number;
mod pack;
mod path;
mod rule;
mod selection;
mod table;
mod testing;
#[cfg(test)]
mod tests;
mod when;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use pipeline::config::Diagnostics;
use pipeline::{Event, Spanned, fields as known};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use calendar::{Calendar, tumbling};
pub use explain::{Explained, Explanation, Line};
pub use group::{Group, GroupKey};
pub use manual::{manual, schema};
pub use path::Path;
pub use rule::{
    Condition, EXCLUDED, Escalate, Kind, Limits, Missing, Rule, Severity, Stage, Window,
};
pub use testing::{Row, RuleTest, START};

/// How much the built-in rules tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// What everyday work does is recorded and not sent.
    #[default]
    Quiet,
    /// Every single one.
    Strict,
}

impl Profile {
    /// The word.
    pub fn name(self) -> &'static str {
        match self {
            Profile::Quiet => "quiet",
            Profile::Strict => "strict",
        }
    }
}

/// Which rules are in force, as the `anomaly` transform and the commands say it.
#[derive(Clone, Debug)]
pub struct Options {
    /// "builtin", files, folders, and patterns whose last part has `*` or `?`.
    pub rules: Vec<Spanned<String>>,
    /// How much the built-in rules tell.
    pub profile: Profile,
    /// Lists that count more than those of the files: values, or "file:PATH" with one value a line.
    pub lists: BTreeMap<String, Vec<String>>,
    /// A file with `[override."ID"]` that counts more than all others; it need not be there.
    pub overrides: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            rules: vec!["builtin".to_owned().into()],
            profile: Profile::default(),
            lists: BTreeMap::new(),
            overrides: None,
        }
    }
}

/// The name of the override file that `rules enable` and `disable` write below the data folder.
pub const OVERRIDES: &str = "rules-overrides.toml";

/// What loading depends on besides the options.
#[derive(Clone, Debug, Default)]
pub struct LoadCx {
    /// Where relative paths start; empty: where the program was started.
    pub base: PathBuf,
    /// The override file where the options name none.
    pub overrides: Option<PathBuf>,
    /// Lists that count more than all others, for tests.
    pub lists: BTreeMap<String, Vec<String>>,
    /// What the program itself knows (the addresses of `cluster_nodes`): it comes to what the list says, wherever that stands.
    pub added: BTreeMap<String, Vec<String>>,
    /// Further rule files by name and text, for tests and for `rules check` of what is not saved.
    pub texts: Vec<(String, String)>,
}

/// All rules that could be loaded, ready to be asked. It never changes: a reload makes a new one.
#[derive(Clone, Debug, Default)]
pub struct RuleSet {
    rules: Vec<Arc<Rule>>,
    by_id: BTreeMap<Box<str>, u32>,
    /// For each code the place of its list in `lists`; the first list is that of codes that nobody names.
    by_code: Vec<u16>,
    meeting: Vec<Box<[u32]>>,
    lists: BTreeMap<String, Vec<String>>,
    calendars: BTreeMap<String, Arc<Calendar>>,
    files: Vec<PathBuf>,
}

/// Codes have four digits.
const CODES: usize = 10_000;

impl RuleSet {
    /// Reads everything. What is wrong is told all at once, each at its place; a rule that cannot be loaded does not stop
    /// the others.
    pub fn load(options: &Options, cx: &LoadCx) -> (RuleSet, Diagnostics) {
        Path::make_known();
        let loaded = load::load(options, cx);
        let mut set = RuleSet {
            rules: loaded.rules.into_iter().map(Arc::new).collect(),
            lists: loaded.lists,
            calendars: loaded.calendars,
            files: loaded.files,
            ..RuleSet::default()
        };
        set.index();
        (set, loaded.docs.finish())
    }

    fn index(&mut self) {
        let enabled = |rule: &Arc<Rule>| rule.enabled || rule.feeds;
        self.by_id = (0..)
            .zip(&self.rules)
            .map(|(n, rule)| (rule.id.clone(), n))
            .collect();
        let always: Vec<u32> = (0..)
            .zip(&self.rules)
            .filter(|(_, rule)| enabled(rule) && rule.codes.is_none())
            .map(|(n, _)| n)
            .collect();
        let mut lists: BTreeMap<u16, Vec<u32>> = BTreeMap::new();
        for (n, rule) in (0..).zip(&self.rules).filter(|(_, rule)| enabled(rule)) {
            for code in rule.codes.iter().flatten() {
                lists.entry(*code).or_insert_with(|| always.clone()).push(n);
            }
        }
        self.by_code = vec![0; CODES];
        self.meeting = vec![always.into()];
        for (code, mut list) in lists {
            list.sort_unstable();
            list.dedup();
            if let Some(place) = self.by_code.get_mut(usize::from(code)) {
                *place =
                    u16::try_from(self.meeting.len()).expect("there are no more lists than codes");
                self.meeting.push(list.into());
            }
        }
    }

    /// All rules, in the order of the files; also those that are switched off.
    pub fn rules(&self) -> &[Arc<Rule>] {
        &self.rules
    }

    /// The rule with this id.
    pub fn rule(&self, id: &str) -> Option<&Arc<Rule>> {
        self.place(id).and_then(|n| self.rules.get(n as usize))
    }

    /// Its place in [`RuleSet::rules`].
    pub fn place(&self, id: &str) -> Option<u32> {
        self.by_id.get(id).copied()
    }

    /// Places of the rules that can match an event of this code (those that are switched on, and those that feed them);
    /// `None`: one without a code of ours.
    #[inline]
    pub fn meeting(&self, code: Option<u16>) -> &[u32] {
        let list = code
            .and_then(|code| self.by_code.get(usize::from(code)))
            .copied()
            .unwrap_or(0);
        self.meeting.get(usize::from(list)).map_or(&[], |list| list)
    }

    /// The lists in force.
    pub fn lists(&self) -> &BTreeMap<String, Vec<String>> {
        &self.lists
    }

    /// The calendars in force, for `mute` of a receiver too.
    pub fn calendars(&self) -> &BTreeMap<String, Arc<Calendar>> {
        &self.calendars
    }

    /// The files that were read (rules, lists, overrides): when one of them changes, load again.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }
}

/// Whether rules see an event: the primary record of something, and no alert of our own.
pub fn sees(event: &Event) -> bool {
    let record = Path::is_primary(event);
    record && event.str(known::EVENT_KIND) != Some("alert")
}

/// The number of an event's code.
#[inline]
pub fn code(event: &Event) -> Option<u16> {
    code_of(event.str(known::EVENT_CODE)?)
}

/// `PVE-2002` → 2002.
#[inline]
fn code_of(text: &str) -> Option<u16> {
    let [p, v, e, b'-', digits @ ..] = text.as_bytes() else {
        return None;
    };
    let pve = p.eq_ignore_ascii_case(&b'P')
        && v.eq_ignore_ascii_case(&b'V')
        && e.eq_ignore_ascii_case(&b'E');
    if !pve || digits.len() != 4 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(
        digits
            .iter()
            .fold(0, |number, digit| number * 10 + u16::from(digit - b'0')),
    )
}
