//! How much of an event is recorded: levels by code, node, guest and outcome. The first rule that fits decides.
//!
//! The files are TOML:
//!
//! ```toml
//! [[rule]]
//! code = ["PVE-1013", "PVE-43??"]   # `?` is one digit, `*` the rest; all codes where it is not said
//! node = "pve-test"                 # a name or a list
//! vmid = [9000, 9001]
//! outcome = "success"
//! level = "none"                    # none, metadata, params, full
//! ```
//!
//! The file of the node is read before that of the cluster, so a node can say otherwise. Logins, everything about users and
//! rights, destroyed guests, deleted backups and the program's own events are never recorded below `metadata`.

pub(crate) mod watch;

use std::fmt;
use std::path::{Path, PathBuf};

use pipeline::catalogue::{Catalogue, Row};
use serde::Deserialize;

/// How much of an event is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// It is counted, and nothing else.
    None,
    /// Who, what, when, where, with which outcome.
    Metadata,
    /// Besides, the parameters of the call and the line itself.
    Params,
    /// Besides, what changed from what to what.
    Full,
}

impl Level {
    /// The word in the policy and in `pve.level`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Level::None => "none",
            Level::Metadata => "metadata",
            Level::Params => "params",
            Level::Full => "full",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Many<T> {
    One(T),
    More(Vec<T>),
}

impl<T> Many<T> {
    fn into_vec(self) -> Vec<T> {
        match self {
            Many::One(one) => vec![one],
            Many::More(more) => more,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleFile {
    #[serde(default)]
    rule: Vec<RuleTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleTable {
    code: Option<Many<String>>,
    node: Option<Many<String>>,
    vmid: Option<Many<i64>>,
    outcome: Option<Many<String>>,
    level: Level,
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Numbers of the rows of the catalogue it is about; empty: all.
    codes: Vec<usize>,
    nodes: Vec<String>,
    vmids: Vec<i64>,
    outcomes: Vec<String>,
    level: Level,
    /// File and number of the rule, for people.
    pub from: String,
}

/// All rules that are in force.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    rules: Vec<Rule>,
}

/// What a decision depends on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Subject<'a> {
    /// Number of the row in the catalogue.
    pub row: usize,
    /// `host.name`.
    pub node: &'a str,
    /// The guest.
    pub vmid: Option<i64>,
    /// `event.outcome`.
    pub outcome: &'a str,
    /// Whether it says what changed.
    pub changes: bool,
}

/// The file of the cluster, which its file system gives to every node.
pub const CLUSTER_FILE: &str = "/etc/pve/pvetrail/policy.toml";
/// The file of the node.
pub const NODE_FILE: &str = "/etc/pvetrail/policy.toml";

/// Where the policy stands where nobody says otherwise, the most particular first.
#[must_use]
pub fn default_files() -> Vec<PathBuf> {
    vec![NODE_FILE.into(), CLUSTER_FILE.into()]
}

impl Policy {
    /// Reads one file; the error names the place.
    pub fn parse(text: &str, path: &Path) -> Result<Policy, String> {
        let place = path.display();
        let file: RuleFile = toml::from_str(text).map_err(|why| {
            let line = why
                .span()
                .map(|span| text[..span.start].matches('\n').count() + 1);
            let line = line.map_or_else(String::new, |line| format!(":{line}"));
            format!("{place}{line}: {}", why.message())
        })?;
        let mut rules = Vec::new();
        for (n, table) in file.rule.into_iter().enumerate() {
            let from = format!("{place}, rule {}", n + 1);
            let rule = Rule::of(table, from.clone()).map_err(|why| format!("{from}: {why}"))?;
            rules.push(rule);
        }
        Ok(Policy { rules })
    }

    /// The rules of this one, then those of another.
    #[must_use]
    pub fn then(mut self, other: Policy) -> Policy {
        self.rules.extend(other.rules);
        self
    }

    /// Whether nobody said anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Number of rules.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// The level of an event, and the rule that decided, if one did.
    #[must_use]
    pub fn decide(&self, subject: Subject<'_>) -> (Level, Option<&Rule>) {
        let rule = self.rules.iter().find(|rule| rule.fits(subject));
        let level = match rule {
            Some(rule) => rule.level,
            None => builtin(subject),
        };
        let row = &Catalogue::builtin().rows()[subject.row];
        let level = if is_protected(row) {
            level.max(Level::Metadata)
        } else {
            level
        };
        (level, rule)
    }
}

/// One of the levels that events of a code may get, and which of them do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The level.
    pub level: Level,
    /// Which events it holds for: `vmid 9000; outcome success`. Empty: all that no line before it holds for.
    pub only: String,
    /// The rule that says so; `None` for what is built in.
    pub from: Option<String>,
    /// The rule asks for less than must be recorded.
    pub raised: bool,
}

impl Policy {
    /// What holds for a row of the catalogue, the first that fits decides; on one node, if one is named.
    #[must_use]
    pub fn decisions(&self, row: usize, node: Option<&str>) -> Vec<Decision> {
        let protected = is_protected(&Catalogue::builtin().rows()[row]);
        let mut decisions: Vec<Decision> = Vec::new();
        for rule in &self.rules {
            let elsewhere = node.is_some_and(|node| {
                !rule.nodes.is_empty() && !rule.nodes.iter().any(|held| held == node)
            });
            if elsewhere || !rule.codes.is_empty() && !rule.codes.contains(&row) {
                continue;
            }
            let mut only = Vec::new();
            if node.is_none() && !rule.nodes.is_empty() {
                only.push(format!("node {}", rule.nodes.join(", ")));
            }
            if !rule.vmids.is_empty() {
                let vmids: Vec<String> = rule.vmids.iter().map(i64::to_string).collect();
                only.push(format!("vmid {}", vmids.join(", ")));
            }
            if !rule.outcomes.is_empty() {
                only.push(format!("outcome {}", rule.outcomes.join(", ")));
            }
            let only = only.join("; ");
            // A rule whose events an earlier one has decided says nothing.
            if decisions.iter().any(|held| held.only == only) {
                continue;
            }
            let raised = protected && rule.level < Level::Metadata;
            let all = only.is_empty();
            decisions.push(Decision {
                level: if raised { Level::Metadata } else { rule.level },
                only,
                from: Some(rule.from.clone()),
                raised,
            });
            if all {
                return decisions;
            }
        }
        let level = |changes| {
            builtin(Subject {
                row,
                changes,
                ..Subject::default()
            })
        };
        if level(true) != level(false) {
            decisions.push(Decision {
                level: level(true),
                only: "what says what changed".to_owned(),
                from: None,
                raised: false,
            });
        }
        decisions.push(Decision {
            level: level(false),
            only: String::new(),
            from: None,
            raised: false,
        });
        decisions
    }
}

/// Numbers of the rows whose code a pattern means: `?` is one character, `*` at the end is the rest.
#[must_use]
pub fn rows_like(pattern: &str) -> Vec<usize> {
    let rows = Catalogue::builtin().rows();
    (0..rows.len())
        .filter(|n| fits(pattern, &rows[*n].code))
        .collect()
}

/// The text of a policy file; `None` where there is none.
pub fn read_file(path: &Path) -> std::io::Result<Option<String>> {
    watch::read(path)
}

/// What holds where no rule says anything: reads without their line, changes whole, all else with its line.
fn builtin(subject: Subject<'_>) -> Level {
    match Catalogue::builtin().rows()[subject.row].code.as_str() {
        "PVE-1013" => Level::Metadata,
        _ if subject.changes => Level::Full,
        _ => Level::Params,
    }
}

/// The least that must be recorded of events of a row.
#[must_use]
pub fn least(row: &Row) -> Level {
    if is_protected(row) {
        Level::Metadata
    } else {
        Level::None
    }
}

/// Whether it must be recorded: logins, users and rights, destroyed guests, deleted backups, the program itself.
#[must_use]
pub fn is_protected(row: &Row) -> bool {
    match row
        .code
        .strip_prefix("PVE-")
        .and_then(|digits| digits.parse().ok())
        .unwrap_or(0u16)
    {
        // The reads of open browsers are no logins.
        1013 | 1014 => false,
        1001..=1099 | 3000..=3999 | 9000..=9199 => true,
        2002 | 2102 | 5111 | 8501 | 8502 | 8523 => true,
        _ => false,
    }
}

impl Rule {
    fn of(table: RuleTable, from: String) -> Result<Rule, String> {
        let rows = Catalogue::builtin().rows();
        let mut codes = Vec::new();
        for pattern in table.code.map(Many::into_vec).unwrap_or_default() {
            let found = rows_like(&pattern);
            if found.is_empty() {
                return Err(format!(
                    "no event ID is like {pattern:?}; `pvetrail list events` names them all"
                ));
            }
            if let [one] = found.as_slice()
                && table.level == Level::None
                && is_protected(&rows[*one])
            {
                return Err(format!(
                    "{} ({}) cannot be recorded below \"metadata\"",
                    rows[*one].code, rows[*one].text.en
                ));
            }
            codes.extend(found);
        }
        let outcomes = table.outcome.map(Many::into_vec).unwrap_or_default();
        if let Some(odd) = outcomes
            .iter()
            .find(|word| !["success", "failure", "unknown"].contains(&word.as_str()))
        {
            return Err(format!(
                "outcome {odd:?} is none of \"success\", \"failure\", \"unknown\""
            ));
        }
        Ok(Rule {
            codes,
            nodes: table.node.map(Many::into_vec).unwrap_or_default(),
            vmids: table.vmid.map(Many::into_vec).unwrap_or_default(),
            outcomes,
            level: table.level,
            from,
        })
    }

    /// The level it gives.
    #[must_use]
    pub fn level(&self) -> Level {
        self.level
    }

    fn fits(&self, subject: Subject<'_>) -> bool {
        (self.codes.is_empty() || self.codes.contains(&subject.row))
            && (self.nodes.is_empty() || self.nodes.iter().any(|node| node == subject.node))
            && (self.vmids.is_empty()
                || subject.vmid.is_some_and(|vmid| self.vmids.contains(&vmid)))
            && (self.outcomes.is_empty()
                || self
                    .outcomes
                    .iter()
                    .any(|outcome| outcome == subject.outcome))
    }
}

/// `?` is one character, `*` at the end is the rest.
fn fits(pattern: &str, code: &str) -> bool {
    let (pattern, open) = match pattern.strip_suffix('*') {
        Some(head) => (head, true),
        None => (pattern, false),
    };
    (pattern.len() == code.len() || open && pattern.len() <= code.len())
        && pattern
            .bytes()
            .zip(code.bytes())
            .all(|(p, c)| p == b'?' || p == c)
}

#[cfg(test)]
mod tests;
