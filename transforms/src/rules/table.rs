//! The keys of rule files, as they are written. Their comments are the manual.

mod values;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use pipeline::{Duration, Spanned};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, IgnoredAny, SeqAccess, Visitor};

use super::rule::{Missing, Severity};
pub(super) use values::{Baseline, Dedupe, Texts, WindowTable};

/// A table or value that is read by hand, from the tree.
#[derive(Clone, Copy, Debug)]
pub(super) struct Raw;

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Raw, D::Error> {
        IgnoredAny::deserialize(from).map(|_| Raw)
    }
}

impl JsonSchema for Raw {
    fn schema_name() -> Cow<'static, str> {
        "Any".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!(true)
    }
}

/// A rule file.
#[derive(Clone, Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(
    dead_code,
    reason = "what is read from the tree stands here for its name and its comment"
)]
pub(super) struct FileTable {
    /// 1.
    pub(super) schema: Spanned<u32>,
    /// Fields of your own, which a `remap` makes.
    #[serde(default)]
    pub(super) fields: Vec<String>,
    /// Names for lists of values, to be used as "@NAME": a list, or { file = "one value a line", values = [more] }.
    pub(super) lists: Option<Raw>,
    /// Hours of a week by name, for `during` and `outside`.
    pub(super) calendar: Option<Raw>,
    /// The rules.
    pub(super) rule: Option<Raw>,
    /// By id of a rule (`*` and `?` allowed): other values of `condition`, `timespan`, `severity`, `enabled`, `exclude`.
    #[serde(rename = "override")]
    pub(super) changed: Option<Raw>,
    /// By profile and id: other values of these and of `dedupe` and `record_only`.
    pub(super) profile: Option<Raw>,
}

/// Hours of a week.
#[derive(Clone, Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CalendarTable {
    /// Its name.
    pub(super) name: Spanned<String>,
    /// A time zone of IANA, like "Europe/Berlin".
    pub(super) zone: Spanned<String>,
    /// Weekdays: mon tue wed thu fri sat sun.
    pub(super) days: Vec<Spanned<String>>,
    /// The first minute, like "08:00".
    pub(super) from: Spanned<String>,
    /// The first minute that is not inside any more; before `from` it lies on the next day.
    pub(super) to: Spanned<String>,
    /// Dates that are outside as a whole, like "2026-12-25".
    #[serde(default)]
    pub(super) holidays: Vec<Spanned<String>>,
}

/// What a number must be; several comparisons must all hold.
#[derive(Clone, Debug, Default, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ConditionTable {
    /// Greater.
    pub(super) gt: Option<f64>,
    /// Greater or equal.
    pub(super) gte: Option<f64>,
    /// Less.
    pub(super) lt: Option<f64>,
    /// Less or equal.
    pub(super) lte: Option<f64>,
    /// Equal.
    pub(super) eq: Option<f64>,
    /// Not equal.
    pub(super) neq: Option<f64>,
    /// Types `value_*`: the field, for `value_count` also a list of fields.
    pub(super) field: Option<Spanned<Texts>>,
}

/// What makes a rule fire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Sort {
    /// Every match. `dedupe` (default 1 h) is how long the alert stays open after its last one and counts more of its
    /// group; `hold` with `unless` waits whether something else comes.
    Event,
    /// `condition` on the number of matches within `timespan`.
    EventCount,
    /// `condition` on the number of different values of `condition.field`.
    ValueCount,
    /// `condition` on the sum of `condition.field`.
    ValueSum,
    /// `condition` on the mean of `condition.field`, in tumbling windows.
    ValueAvg,
    /// One match of each of `rules` within `timespan`, in any order.
    Temporal,
    /// The same in this order.
    TemporalOrdered,
    /// No match for longer than `every` and `grace`, of the groups in `expect` or those learned (`learn`, `forget`).
    Absence,
    /// A tuple of `fields` that was not seen for `history`.
    NewTerm,
    /// In a window of `timespan` at least `min`, and `factor` times the mean of the `baseline` before (at least `floor`).
    Spike,
}

/// One rule.
#[derive(Clone, Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(
    dead_code,
    reason = "what is read from the tree stands here for its name and its comment"
)]
pub(super) struct RuleTable {
    /// Stable, and never used again for another rule.
    pub(super) id: Spanned<String>,
    /// One word for people.
    pub(super) name: String,
    /// How grave it is.
    pub(super) severity: Severity,
    /// What makes it fire.
    #[serde(rename = "type")]
    pub(super) sort: Spanned<Sort>,
    /// Grows when you change the rule.
    #[serde(default = "one")]
    pub(super) version: u32,
    /// Techniques (`attack.t1485`) and words of your own.
    #[serde(default)]
    pub(super) tags: Vec<String>,
    /// `stable`, `test`, `experimental` or `deprecated`.
    pub(super) status: Option<Status>,
    /// Whether it is evaluated.
    #[serde(default = "yes")]
    pub(super) enabled: bool,
    /// It feeds other rules and never alerts itself.
    #[serde(default)]
    pub(super) internal: bool,
    /// Its alerts are recorded and not sent.
    #[serde(default)]
    pub(super) record_only: bool,
    /// Selections by name: tables of tests on fields, or lists of such tables.
    pub(super) select: Option<Raw>,
    /// Which of them must hold: `and or not ( )`, `1 of x_*`, `all of x_*`, `1 of them`. All of them, where it is not said.
    pub(super) when: Option<Spanned<String>>,
    /// A selection of what never counts.
    pub(super) exclude: Option<Raw>,
    /// Only within this calendar.
    pub(super) during: Option<Spanned<String>>,
    /// Only outside of this calendar.
    pub(super) outside: Option<Spanned<String>>,
    /// Fields (or aliases) whose values make a group of their own; none: one group.
    #[serde(default)]
    pub(super) group_by: Vec<Spanned<String>>,
    /// One name for different fields of different selections: `aliases.who = { grant = "user.target.id", act = "user.id" }`.
    #[serde(default)]
    pub(super) aliases: BTreeMap<String, BTreeMap<String, Spanned<String>>>,
    /// What becomes of events that have not all fields of `group_by`.
    #[serde(default)]
    pub(super) missing: Missing,
    /// Length of the window.
    pub(super) timespan: Option<Spanned<Duration>>,
    /// `"sliding"` (default), `"tumbling"`, `{ type = "tumbling", zone = "…" }` or `{ type = "session", gap = "10m" }`.
    pub(super) window: Option<Spanned<WindowTable>>,
    /// How late an event may come and still be counted (10 min).
    pub(super) lateness: Option<Duration>,
    /// What the number must be: `{ gte = 3 }`, of `value_*` with `field`.
    pub(super) condition: Option<Spanned<ConditionTable>>,
    /// Types `temporal*`: selections, or ids of rules.
    pub(super) rules: Option<Vec<Spanned<String>>>,
    /// Types `temporal*`: the selection that cancels between first and last.
    pub(super) without: Option<Spanned<String>>,
    /// Type `event`: fires only after so long,
    pub(super) hold: Option<Spanned<Duration>>,
    /// if no event of this selection and of the same group came.
    pub(super) unless: Option<Spanned<String>>,
    /// It calls off too when it came so long before the match (0 s).
    pub(super) unless_before: Option<Spanned<Duration>>,
    /// Type `absence`: how often a match is expected.
    pub(super) every: Option<Spanned<Duration>>,
    /// Type `absence`: how much later it is missed.
    pub(super) grace: Option<Spanned<Duration>>,
    /// Type `absence`: the groups that are expected: values of the one field of `group_by`, or tables.
    pub(super) expect: Option<Raw>,
    /// Type `absence`: groups seen within so long after the start are expected.
    pub(super) learn: Option<Spanned<Duration>>,
    /// Type `absence`: a group not seen for so long is expected no more (30 d).
    pub(super) forget: Option<Spanned<Duration>>,
    /// Type `new_term`: the tuple, of fields or aliases.
    pub(super) fields: Option<Vec<Spanned<String>>>,
    /// Type `new_term`: parts of it that must be known already.
    pub(super) known: Option<Vec<Spanned<String>>>,
    /// Type `new_term`: a selection whose matches make a tuple known and never fire.
    pub(super) seen: Option<Spanned<String>>,
    /// Type `new_term`: how long a sight is remembered (30 d).
    pub(super) history: Option<Spanned<Duration>>,
    /// Type `new_term`: how long after the start nothing is said (7 d).
    pub(super) warmup: Option<Spanned<Duration>>,
    /// Type `spike`: the least number in a window.
    pub(super) min: Option<Spanned<f64>>,
    /// Type `spike`: how many times the usual.
    pub(super) factor: Option<Spanned<f64>>,
    /// Type `spike`: how far back the usual goes, as a duration or a number of windows.
    pub(super) baseline: Option<Spanned<Baseline>>,
    /// Type `spike`: the usual is never taken for less.
    pub(super) floor: Option<Spanned<f64>>,
    /// Type `event`: how long further matches count for the same alert (1 h); "none": one alert for each event.
    pub(super) dedupe: Option<Spanned<Dedupe>>,
    /// An alert is over so long after its last firing (the timespan, at least 15 min; of `event` its `dedupe`).
    pub(super) resolve_after: Option<Duration>,
    /// A firing so soon after that opens the same alert again (10 min).
    pub(super) reopen: Option<Duration>,
    /// A reminder that often while it is open (4 h); "0s": never.
    pub(super) repeat: Option<Duration>,
    /// Graver when it grows: `[{ count = 10, severity = "critical" }]`.
    #[serde(default)]
    pub(super) escalate: Vec<EscalateTable>,
    /// The route of its messages.
    pub(super) notify: Option<String>,
    /// For routes and receivers.
    #[serde(default)]
    pub(super) labels: BTreeMap<String, String>,
    /// Most groups remembered at once (50 000) [groups].
    pub(super) max_groups: Option<Spanned<u32>>,
    /// Most different values of one group (1 000) [values].
    pub(super) max_values: Option<Spanned<u32>>,
    /// What it means, for the person who is paged.
    #[serde(default)]
    pub(super) explain: String,
    /// When it fires without reason.
    #[serde(default)]
    pub(super) false_positives: Vec<String>,
    /// What to do.
    #[serde(default)]
    pub(super) response: Vec<String>,
    /// Its own tests, run by `rules test`.
    pub(super) test: Option<Raw>,
}

/// When an alert becomes graver.
#[derive(Clone, Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct EscalateTable {
    /// From so many matches on.
    pub(super) count: Option<u64>,
    /// Only with a match for which this selection holds too.
    pub(super) when: Option<Spanned<String>>,
    /// It is that grave.
    pub(super) severity: Severity,
}

/// How far its author trusts it.
#[derive(Clone, Copy, Debug, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Status {
    /// It is good.
    Stable,
    /// It is being tried.
    Test,
    /// It may be nonsense.
    Experimental,
    /// Another one takes its place.
    Deprecated,
}

impl Status {
    pub(super) fn name(self) -> &'static str {
        match self {
            Status::Stable => "stable",
            Status::Test => "test",
            Status::Experimental => "experimental",
            Status::Deprecated => "deprecated",
        }
    }
}

fn one() -> u32 {
    1
}

fn yes() -> bool {
    true
}

/// One test of a rule.
#[derive(Clone, Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(
    dead_code,
    reason = "what is read from the tree stands here for its name and its comment"
)]
pub(super) struct TestTable {
    /// What it shows.
    #[serde(default)]
    pub(super) name: String,
    /// When it begins (Monday, 2 March 2026, 12:00 UTC).
    pub(super) start: Option<Spanned<String>>,
    /// Rows of events: `{ n = 5, every = "60s", at = "1m", code = "PVE-2002", "user.id" = "u{n}@pve" }`.
    pub(super) events: Raw,
    /// How many alerts it opens.
    pub(super) alerts: u32,
    /// How long event time goes on after the last event; as long as it takes, where it is not said.
    pub(super) advance: Option<Duration>,
    /// Lists that are other ones in this test.
    #[serde(default)]
    pub(super) lists: BTreeMap<String, Vec<String>>,
    /// The greatest count that one of the alerts has at the end.
    pub(super) count: Option<u64>,
    /// The gravest severity at the end.
    pub(super) severity: Option<Severity>,
    /// Groups of the alerts, in any order.
    pub(super) groups: Option<Raw>,
}
