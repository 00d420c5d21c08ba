//! A rule as the windows see it: lengths in nanoseconds, tests on numbers, and someone who looks at events.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::tz::TimeZone;
use pipeline::{Event, EventId, Time};

/// One second [ns].
pub(super) const SECOND: i64 = 1_000_000_000;
/// The role of an event that calls a held match off.
pub(super) const UNLESS: u64 = 1 << 63;
/// The role of an event that breaks a sequence.
pub(super) const WITHOUT: u64 = 1 << 62;

/// A moment in the order of events: by time, then by id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Stamp {
    /// [ns since 1970]
    pub(super) time: i64,
    pub(super) id: EventId,
}

impl Stamp {
    pub(super) fn new(time: i64, id: EventId) -> Stamp {
        Stamp { time, id }
    }

    /// Before every event of that time.
    pub(super) fn at(time: i64) -> Stamp {
        Stamp {
            time,
            id: EventId([0, 0]),
        }
    }
}

/// How grave an alert is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Grade {
    Info,
    Low,
    Medium,
    High,
    Critical,
}

impl Grade {
    /// The word of the rule language.
    pub(super) fn word(self) -> &'static str {
        ["info", "low", "medium", "high", "critical"][self as usize]
    }

    /// `event.severity`.
    pub(super) fn number(self) -> i64 {
        [1, 3, 5, 8, 10][self as usize]
    }

    /// The grade with this place in the order, from 0; the last where there is none.
    pub(super) fn of(place: u8) -> Grade {
        match place {
            0 => Grade::Info,
            1 => Grade::Low,
            2 => Grade::Medium,
            3 => Grade::High,
            _ => Grade::Critical,
        }
    }
}

/// What a number has to be.
#[derive(Clone)]
pub(super) struct Test {
    pub(super) holds: Arc<dyn Fn(f64) -> bool + Send + Sync>,
    /// Whether it stays true when the number grows.
    pub(super) grows: bool,
    /// The least whole number that passes, where it grows.
    pub(super) needs: Option<u64>,
}

/// What is measured of the matches in a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Measure {
    Count,
    Distinct,
    Sum,
    Mean,
}

/// How a group's matches are cut into windows.
#[derive(Clone)]
pub(super) enum Cut {
    /// (t - timespan, t]
    Sliding,
    /// [k·timespan, (k+1)·timespan), days from local midnight where there is a zone.
    Tumbling(Option<TimeZone>),
    /// Chained while the gap is smaller than this [ns].
    Session(i64),
}

/// What a rule waits for.
#[derive(Clone)]
pub(super) enum Shape {
    /// Every match; with `hold` only if it is not called off for so long [ns].
    Event { hold: Option<i64> },
    /// A number over a window.
    Window { measure: Measure, test: Test },
    /// One match of each stage.
    Sequence {
        stages: usize,
        ordered: bool,
        without: bool,
        /// Stages that are other rules, by id.
        rules: Vec<(usize, Box<str>)>,
    },
    /// A match that does not come [ns].
    Absence {
        every: i64,
        grace: i64,
        expect: Vec<String>,
        learn: i64,
        forget: i64,
    },
    /// A tuple never seen [ns].
    NewTerm {
        history: i64,
        warmup: i64,
        known: bool,
    },
    /// Many more than usual.
    Spike {
        min: f64,
        factor: f64,
        baseline: u32,
        floor: f64,
    },
}

/// When an alert becomes graver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// From so many matches on,
    pub(super) count: u64,
    /// where this selection held for one of them (its bit; 0: any match will do),
    pub(super) selection: u64,
    /// it is that grave.
    pub(super) grade: Grade,
}

impl Shape {
    /// Of how many events time has yet to decide [events].
    pub(super) fn waits(&self) -> usize {
        match self {
            Shape::Absence { .. } => 1,
            Shape::Event { hold: Some(_) } | Shape::Sequence { without: true, .. } => usize::MAX,
            Shape::Window { measure, test } => match measure {
                Measure::Count | Measure::Distinct if test.grows => 0,
                _ => usize::MAX,
            },
            _ => 0,
        }
    }

    /// Whether this group is expected by name.
    pub(super) fn expects(&self, key: &str) -> bool {
        matches!(self, Shape::Absence { expect, .. } if expect.iter().any(|held| held == key))
    }
}

/// A rule without its texts.
#[derive(Clone)]
pub(super) struct Spec {
    pub(super) id: Box<str>,
    /// Changes with what the rule means.
    pub(super) meaning: [u8; 16],
    pub(super) shape: Shape,
    pub(super) cut: Cut,
    /// [ns]
    pub(super) timespan: i64,
    /// [ns]
    pub(super) lateness: i64,
    /// Open for so long after the last firing [ns].
    pub(super) resolve_after: i64,
    /// A firing so long after the end opens the same alert again [ns].
    pub(super) reopen: i64,
    /// Between reminders; 0 = none [ns].
    pub(super) repeat: i64,
    /// One alert for each firing.
    pub(super) single: bool,
    /// Feeds other rules and alerts nobody.
    pub(super) internal: bool,
    /// Whether it is evaluated.
    pub(super) enabled: bool,
    pub(super) grade: Grade,
    pub(super) escalate: Vec<Step>,
    /// What calls a held match off may have come so long before it [ns].
    pub(super) before: i64,
    /// Most groups [groups], and most values in one [values].
    pub(super) max_groups: usize,
    pub(super) max_values: usize,
}

impl Spec {
    /// Whether what happened longer ago than `lateness` may be left out.
    pub(super) fn minds_lateness(&self) -> bool {
        !matches!(self.shape, Shape::Event { hold: None })
    }

    /// Whether what it remembers of its matches does not say which they were. A value is there once, however often it comes.
    pub(super) fn forgets_ids(&self) -> bool {
        !matches!(
            self.shape,
            Shape::Window {
                measure: Measure::Distinct,
                ..
            }
        )
    }

    /// Where the window of a time begins, for windows that do not slide.
    pub(super) fn bucket(&self, time: i64) -> (i64, i64) {
        let zone = match &self.cut {
            Cut::Tumbling(zone) => zone.as_ref(),
            _ => None,
        };
        let length = std::time::Duration::from_nanos(self.timespan.max(1).unsigned_abs());
        let (start, end) = crate::rules::tumbling(Time(time), length.into(), zone);
        (start.0, end.0)
    }
}

/// Looks at events for one rule.
pub(super) trait Judge: Send + Sync {
    /// The roles the event plays: a bit for each stage (bit 0 where there are none), [`UNLESS`], [`WITHOUT`]; and the
    /// selections that hold, for [`group`](Self::group).
    fn roles(&self, event: &Event, at: Time) -> (u64, u64);
    /// Writes its group in that stage as canonical JSON; `false`: it is in none.
    fn group(&self, event: &Event, stage: usize, selections: u64, to: &mut String) -> bool;
    /// The value that counts, as 64 bits: a hash of a tuple, or the bits of a number.
    fn value(&self, event: &Event) -> Option<u64>;
    /// The part of the tuple that has to be known.
    fn known(&self, event: &Event) -> Option<u64>;
}

/// A rule and who looks at events for it.
#[derive(Clone)]
pub(super) struct Watched {
    pub(super) spec: Arc<Spec>,
    pub(super) judge: Arc<dyn Judge>,
}

/// Which rules feed which stages of others.
pub(super) fn feeds(rules: &[Watched]) -> Vec<Vec<(usize, usize)>> {
    let places: BTreeMap<&str, usize> = rules
        .iter()
        .enumerate()
        .map(|(n, rule)| (&*rule.spec.id, n))
        .collect();
    let mut feeds = vec![Vec::new(); rules.len()];
    for (n, rule) in rules.iter().enumerate() {
        if let Shape::Sequence { rules, .. } = &rule.spec.shape {
            for (stage, id) in rules {
                if let Some(from) = places.get(&**id) {
                    feeds[*from].push((n, *stage));
                }
            }
        }
    }
    feeds
}
