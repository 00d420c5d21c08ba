//! A rule as it is evaluated: everything looked up, compiled and filled in.

use std::collections::BTreeMap;
use std::sync::Arc;

use pipeline::{Duration, Event, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::calendar::Calendar;
use super::group::{Group, GroupKey};
use super::path::Path;
use super::selection::Selection;
use super::testing::RuleTest;
use super::when::When;

/// How grave an alert is.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// For the record.
    Info,
    /// Look at it some day.
    Low,
    /// Look at it this week.
    Medium,
    /// Look at it today.
    High,
    /// Look at it now.
    Critical,
}

impl Severity {
    /// `event.severity`: 1, 3, 5, 8 or 10.
    pub fn number(self) -> i64 {
        match self {
            Severity::Info => 1,
            Severity::Low => 3,
            Severity::Medium => 5,
            Severity::High => 8,
            Severity::Critical => 10,
        }
    }

    /// The word.
    pub fn name(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Low => "low",
            Severity::Medium => "medium",
            Severity::High => "high",
            Severity::Critical => "critical",
        }
    }

    /// The severity of a word.
    pub fn parse(word: &str) -> Option<Severity> {
        use Severity::{Critical, High, Info, Low, Medium};
        [Info, Low, Medium, High, Critical]
            .into_iter()
            .find(|one| one.name() == word)
    }
}

/// What becomes of an event that has not all fields of `group_by`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Missing {
    /// It belongs to the group of the unknown, so that hiding a field does not hide the event.
    #[default]
    Bucket,
    /// It is left out.
    Skip,
}

/// Which events are counted together.
#[derive(Clone, Debug, Default)]
pub enum Window {
    /// (t − timespan, t].
    #[default]
    Sliding,
    /// [k·timespan, (k+1)·timespan) from the epoch, or from local midnight of a zone.
    Tumbling {
        /// Days start at midnight there.
        zone: Option<jiff::tz::TimeZone>,
    },
    /// Events that follow one another within the gap, at most a timespan long.
    Session {
        /// A longer pause ends the session.
        gap: Duration,
    },
}

/// One end of a sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// An event for which this selection holds: its bit.
    Selection(usize),
    /// A firing of the rule with this id.
    Rule(Box<str>),
}

/// A severity that an alert gets when it has grown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Escalate {
    /// From so many matches on.
    pub count: u64,
    /// It is that grave.
    pub severity: Severity,
    /// Only with a match for which the selection with this bit holds too.
    pub when: Option<usize>,
}

/// What is counted, compared or expected.
#[derive(Clone, Debug)]
pub enum Kind {
    /// Every match fires.
    Event {
        /// Only after so long, if nothing of `unless` came.
        hold: Option<Duration>,
        /// The bit of the selection that calls it off.
        unless: Option<usize>,
        /// It calls off too when it came so long before.
        before: Duration,
    },
    /// The number of matches.
    EventCount {
        /// What it must be.
        condition: Condition,
    },
    /// The number of different values.
    ValueCount {
        /// Of these fields together.
        fields: Vec<Path>,
        /// What it must be.
        condition: Condition,
    },
    /// The sum of a field.
    ValueSum {
        /// Which.
        field: Path,
        /// What it must be.
        condition: Condition,
    },
    /// The mean of a field.
    ValueAvg {
        /// Which.
        field: Path,
        /// What it must be.
        condition: Condition,
    },
    /// One match of each stage.
    Temporal {
        /// What must come.
        stages: Vec<Stage>,
        /// Whether in that order.
        ordered: bool,
        /// The bit of the selection that cancels when it comes in between.
        without: Option<usize>,
    },
    /// A match that does not come.
    Absence {
        /// At least so often one is expected,
        every: Duration,
        /// and so much later it is missed.
        grace: Duration,
        /// Of these groups.
        expect: Vec<GroupKey>,
        /// Groups seen for so long are expected too.
        learn: Option<Duration>,
        /// Until they were not seen for so long.
        forget: Duration,
    },
    /// A tuple that was not seen before.
    NewTerm {
        /// The tuple: fields, or aliases.
        fields: Vec<Group>,
        /// The bit of the selection whose matches only make known.
        seen: Option<usize>,
        /// Places in `fields` whose part must be known already.
        known: Vec<usize>,
        /// How long a sight is remembered.
        history: Duration,
        /// How long after the start nothing is said.
        warmup: Duration,
    },
    /// Far more than usual.
    Spike {
        /// At least so many in a window,
        min: f64,
        /// and so many times the usual.
        factor: f64,
        /// So many windows before are the usual [windows].
        baseline: u32,
        /// The usual is never taken for less.
        floor: f64,
    },
}

pub use super::condition::Condition;

/// Bounds of a rule's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most groups at once [groups].
    pub max_groups: usize,
    /// Most different values of one group [values].
    pub max_values: usize,
}

/// One rule.
#[derive(Clone, Debug)]
pub struct Rule {
    /// `PVR-202`: stable, never used again.
    pub id: Box<str>,
    /// One word for people.
    pub name: Box<str>,
    /// How grave its alerts are.
    pub severity: Severity,
    /// Grows when its author changes it.
    pub version: u32,
    /// `attack.t1485` and others.
    pub tags: Vec<Box<str>>,
    /// Whether its author trusts it: `stable`, `test`, `experimental`, `deprecated`.
    pub status: Option<Box<str>>,
    /// Whether it is evaluated.
    pub enabled: bool,
    /// Whether it is evaluated all the same, without alerts of its own: a rule that is switched on waits for it.
    pub feeds: bool,
    /// Whether it only feeds other rules and never alerts.
    pub internal: bool,
    /// Whether its alerts are recorded and not sent.
    pub record_only: bool,
    /// What makes it fire.
    pub kind: Kind,
    /// What its matches are grouped by.
    pub group_by: Vec<Group>,
    /// What becomes of events without those fields.
    pub missing: Missing,
    /// Length of a window; zero where the type has none.
    pub timespan: Duration,
    /// Sort of window.
    pub window: Window,
    /// How late an event may come.
    pub lateness: Duration,
    /// An alert is over so long after its last firing.
    pub resolve_after: Duration,
    /// A firing so soon after that opens the same alert again.
    pub reopen: Duration,
    /// Type `event`: further matches count for so long; `None`: one alert for each event.
    pub dedupe: Option<Duration>,
    /// A reminder that often; zero: never.
    pub repeat: Duration,
    /// Graver when it grows.
    pub escalate: Vec<Escalate>,
    /// The route of its messages.
    pub notify: Option<Box<str>>,
    /// For routes and receivers.
    pub labels: BTreeMap<String, String>,
    /// What it means, for the person who is paged.
    pub explain: Box<str>,
    /// When it fires without reason.
    pub false_positives: Vec<Box<str>>,
    /// What to do.
    pub response: Vec<Box<str>>,
    /// Bounds of its state.
    pub limits: Limits,
    /// Changes when its state would mean something else.
    pub meaning: [u8; 16],
    /// Its own tests.
    pub tests: Vec<RuleTest>,
    /// Keys that a profile or an override changed, and where: (key, place).
    pub overridden: Vec<(String, String)>,
    /// Where it stands: `rules/site.toml:12:1`.
    pub place: String,
    /// The codes it can match, if it names any.
    pub codes: Option<Vec<u16>>,
    /// The rule as TOML, after profile and overrides.
    pub source: String,
    pub(super) selections: Vec<Selection>,
    pub(super) exclude: Option<Selection>,
    pub(super) when: When,
    pub(super) during: Option<(Arc<Calendar>, bool)>,
}

/// The bit of [`Rule::holds`] that says that the event is excluded.
pub const EXCLUDED: u64 = 1 << 63;

impl Rule {
    /// Which selections hold for this event, as bits; [`EXCLUDED`] alone where the event never counts.
    #[inline]
    pub fn holds(&self, event: &Event) -> u64 {
        let mut bits = 0;
        for (n, selection) in self.selections.iter().enumerate() {
            bits |= u64::from(selection.holds(event)) << n;
        }
        // A condition like `not x` holds where no selection does.
        if (bits != 0 || self.when.holds(0))
            && self.exclude.as_ref().is_some_and(|one| one.holds(event))
        {
            return EXCLUDED;
        }
        bits
    }

    /// Whether these bits are a match at this time: `when` and the calendar. Of a sequence: whether one of its stages (or
    /// what cancels it) is there. What `hold` waits for (`unless`) is no match: look at its bit.
    #[inline]
    pub fn matches(&self, bits: u64, at: Time) -> bool {
        bits & EXCLUDED == 0 && self.when.holds(bits) && self.in_time(at)
    }

    /// Whether the calendar allows it.
    pub fn in_time(&self, at: Time) -> bool {
        self.during
            .as_ref()
            .is_none_or(|(calendar, inside)| calendar.inside(at) == *inside)
    }

    /// The group of an event; `bits` says which selections' aliases count (of a stage: that bit alone). `None`: it belongs
    /// to none.
    pub fn group(&self, event: &Event, bits: u64) -> Option<GroupKey> {
        let mut text = String::with_capacity(64);
        self.group_into(event, bits, &mut text)
            .then(|| GroupKey::from(text.as_str()))
    }

    /// Writes the key of the group ([`GroupKey::canonical_json`]) into `out`, so that a known group costs no allocation.
    /// False: it belongs to none.
    pub fn group_into(&self, event: &Event, bits: u64, out: &mut String) -> bool {
        super::group::write(&self.group_by, self.missing, event, bits, out)
    }

    /// Names of the selections, in the order of their bits.
    pub fn selections(&self) -> impl Iterator<Item = &str> {
        self.selections.iter().map(|one| &*one.name)
    }

    /// `attack.t1578.003` → `T1578.003`.
    pub fn techniques(&self) -> impl Iterator<Item = String> {
        self.tags.iter().filter_map(|tag| {
            let id = tag.strip_prefix("attack.t")?;
            id.starts_with(|c: char| c.is_ascii_digit())
                .then(|| format!("T{id}"))
        })
    }
}
