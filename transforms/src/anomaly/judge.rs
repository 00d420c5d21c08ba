//! Looks at events for a rule of the rule language, and says what its windows have to know of it.

use std::sync::Arc;

use pipeline::{Event, Time, ValueRef};
use xxhash_rust::xxh3::Xxh3;

use super::spec::{Cut, Grade, Judge, Measure, Shape, Spec, Step, Test, UNLESS, WITHOUT, Watched};
use crate::rules::{Condition, EXCLUDED, Group, Kind, Path, Rule, Severity, Stage, Window};

/// A rule of the rule language.
struct Judged {
    rule: Arc<Rule>,
    values: Values,
}

/// What counts of an event.
enum Values {
    Nothing,
    /// A tuple, the places of its known part, and whether a part is another field for each selection.
    Tuple(Vec<Part>, Vec<usize>, bool),
    Number(Path),
}

/// One part of a tuple.
#[derive(Clone)]
enum Part {
    Field(Path),
    Alias(Group),
}

impl Part {
    fn path(&self, selections: u64) -> Option<&Path> {
        match self {
            Part::Field(path) => Some(path),
            Part::Alias(group) => group.path(selections),
        }
    }
}

/// What the windows have to know of a rule.
pub(super) fn watch(rule: &Arc<Rule>) -> Watched {
    let (shape, values) = shape(rule);
    let spec = Spec {
        id: rule.id.clone(),
        meaning: rule.meaning,
        shape,
        cut: match &rule.window {
            Window::Sliding => Cut::Sliding,
            Window::Tumbling { zone } => Cut::Tumbling(zone.clone()),
            Window::Session { gap } => Cut::Session(gap.as_nanos()),
        },
        timespan: rule.timespan.as_nanos(),
        lateness: rule.lateness.as_nanos(),
        resolve_after: rule.resolve_after.as_nanos(),
        reopen: rule.reopen.as_nanos(),
        repeat: rule.repeat.as_nanos(),
        single: matches!(rule.kind, Kind::Event { .. }) && rule.dedupe.is_none(),
        internal: rule.internal || !rule.enabled,
        enabled: rule.enabled,
        grade: grade(rule.severity),
        escalate: rule
            .escalate
            .iter()
            .map(|step| Step {
                count: step.count,
                selection: step.when.map_or(0, |bit| 1 << bit),
                grade: grade(step.severity),
            })
            .collect(),
        before: match &rule.kind {
            Kind::Event { before, .. } => before.as_nanos(),
            _ => 0,
        },
        max_groups: rule.limits.max_groups.max(1),
        max_values: rule.limits.max_values.max(1),
    };
    let spec = match &rule.kind {
        // Its windows lie side by side whatever the rule says of others.
        Kind::Spike { .. } if matches!(spec.cut, Cut::Sliding) => Spec {
            cut: Cut::Tumbling(None),
            ..spec
        },
        Kind::ValueAvg { .. } if matches!(spec.cut, Cut::Sliding) => Spec {
            cut: Cut::Tumbling(None),
            ..spec
        },
        _ => spec,
    };
    Watched {
        spec: Arc::new(spec),
        judge: Arc::new(Judged {
            rule: Arc::clone(rule),
            values,
        }),
    }
}

fn grade(severity: Severity) -> Grade {
    match severity {
        Severity::Info => Grade::Info,
        Severity::Low => Grade::Low,
        Severity::Medium => Grade::Medium,
        Severity::High => Grade::High,
        Severity::Critical => Grade::Critical,
    }
}

fn test(condition: &Condition) -> Test {
    let held = condition.clone();
    Test {
        holds: Arc::new(move |value| held.holds(value)),
        grows: condition.only_grows(),
        needs: condition.needs(),
    }
}

fn shape(rule: &Rule) -> (Shape, Values) {
    let window = |measure, condition: &Condition| Shape::Window {
        measure,
        test: test(condition),
    };
    match &rule.kind {
        Kind::Event { hold, .. } => {
            let hold = hold.map(|hold| hold.as_nanos());
            (Shape::Event { hold }, Values::Nothing)
        }
        Kind::EventCount { condition } => (window(Measure::Count, condition), Values::Nothing),
        Kind::ValueCount { fields, condition } => (
            window(Measure::Distinct, condition),
            Values::Tuple(
                fields.iter().cloned().map(Part::Field).collect(),
                Vec::new(),
                false,
            ),
        ),
        Kind::ValueSum { field, condition } => (
            window(Measure::Sum, condition),
            Values::Number(field.clone()),
        ),
        Kind::ValueAvg { field, condition } => (
            window(Measure::Mean, condition),
            Values::Number(field.clone()),
        ),
        Kind::Temporal {
            stages,
            ordered,
            without,
        } => {
            let rules = stages
                .iter()
                .enumerate()
                .filter_map(|(n, stage)| match stage {
                    Stage::Rule(id) => Some((n, id.clone())),
                    Stage::Selection(_) => None,
                });
            let shape = Shape::Sequence {
                stages: stages.len(),
                ordered: *ordered,
                without: without.is_some(),
                rules: rules.collect(),
            };
            (shape, Values::Nothing)
        }
        Kind::Absence {
            every,
            grace,
            expect,
            learn,
            forget,
        } => {
            let shape = Shape::Absence {
                every: every.as_nanos(),
                grace: grace.as_nanos(),
                expect: expect
                    .iter()
                    .map(|key| key.canonical_json().to_owned())
                    .collect(),
                learn: learn.map_or(0, |learn| learn.as_nanos()),
                forget: forget.as_nanos(),
            };
            (shape, Values::Nothing)
        }
        Kind::NewTerm {
            fields,
            known,
            history,
            warmup,
            ..
        } => {
            let shape = Shape::NewTerm {
                history: history.as_nanos(),
                warmup: warmup.as_nanos(),
                known: !known.is_empty(),
            };
            let by_selection = fields.iter().any(Group::is_alias);
            let parts = fields.iter().cloned().map(Part::Alias).collect();
            (shape, Values::Tuple(parts, known.clone(), by_selection))
        }
        Kind::Spike {
            min,
            factor,
            baseline,
            floor,
        } => {
            let shape = Shape::Spike {
                min: *min,
                factor: *factor,
                baseline: *baseline,
                floor: *floor,
            };
            (shape, Values::Nothing)
        }
    }
}

impl Judged {
    /// The selections that hold, where they decide which field counts.
    fn selections(&self, event: &Event, wanted: bool) -> u64 {
        if wanted { self.rule.holds(event) } else { 0 }
    }

    /// The selection whose aliases count; `None`: those that hold.
    fn stage_bits(&self, stage: usize) -> Option<u64> {
        Some(match &self.rule.kind {
            Kind::Temporal {
                stages, without, ..
            } => match stages.get(stage) {
                Some(Stage::Selection(bit)) => 1 << bit,
                Some(Stage::Rule(_)) => 0,
                None => without.map_or(0, |bit| 1 << bit),
            },
            Kind::Event { unless, .. } if stage == 1 => unless.map_or(0, |bit| 1 << bit),
            _ => return None,
        })
    }
}

impl Judge for Judged {
    fn roles(&self, event: &Event, at: Time) -> (u64, u64) {
        let bits = self.rule.holds(event);
        let matches = || u64::from(self.rule.matches(bits, at));
        let has = |bit: &Option<usize>| bit.is_some_and(|bit| bits & (1 << bit) != 0);
        let roles = match &self.rule.kind {
            Kind::Temporal {
                stages, without, ..
            } => {
                if bits == 0 || bits == EXCLUDED || !self.rule.in_time(at) {
                    return (0, 0);
                }
                let mut roles = if has(without) { WITHOUT } else { 0 };
                for (n, stage) in stages.iter().enumerate() {
                    if let Stage::Selection(bit) = stage
                        && bits & (1 << bit) != 0
                    {
                        roles |= 1 << n;
                    }
                }
                roles
            }
            Kind::Event { unless, .. } if has(unless) => UNLESS | matches(),
            Kind::NewTerm { seen, .. } if has(seen) => UNLESS,
            // A condition like `not x` may hold where no selection does.
            _ => matches(),
        };
        (roles, bits)
    }

    fn group(&self, event: &Event, stage: usize, selections: u64, to: &mut String) -> bool {
        let bits = self.stage_bits(stage).unwrap_or(selections);
        self.rule.group_into(event, bits, to)
    }

    fn value(&self, event: &Event) -> Option<u64> {
        match &self.values {
            Values::Nothing => Some(0),
            Values::Number(path) => path.number(event).map(f64::to_bits),
            Values::Tuple(parts, _, by_selection) => {
                let bits = self.selections(event, *by_selection);
                hash(parts.iter().map(|part| part.path(bits)), event)
            }
        }
    }

    fn known(&self, event: &Event) -> Option<u64> {
        match &self.values {
            Values::Tuple(parts, known, by_selection) => {
                let bits = self.selections(event, *by_selection);
                let parts = known.iter().filter_map(|n| parts.get(*n));
                hash(parts.map(|part| part.path(bits)), event)
            }
            _ => None,
        }
    }
}

/// One number for a tuple; `None` where a part of it is absent.
fn hash<'a>(paths: impl Iterator<Item = Option<&'a Path>>, event: &Event) -> Option<u64> {
    let mut hash = Xxh3::new();
    for path in paths {
        path?.first(event, |value| match value {
            ValueRef::Str(text) => {
                hash.update(&(text.len() as u64).to_le_bytes());
                hash.update(text.as_bytes());
            }
            ValueRef::Int(number) => hash.update(&number.to_le_bytes()),
            ValueRef::Bool(held) => hash.update(&[u8::from(held)]),
            ValueRef::Float(number) => hash.update(&number.to_bits().to_le_bytes()),
            ValueRef::Time(time) => hash.update(&time.0.to_le_bytes()),
            other => hash.update(other.to_json().to_string().as_bytes()),
        })?;
    }
    Some(hash.digest())
}
