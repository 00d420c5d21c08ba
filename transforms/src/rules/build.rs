//! One rule from its TOML: everything looked up, compiled and held against the sense of its type.

mod kinds;
mod refers;

use std::collections::BTreeMap;
use std::sync::Arc;

use pipeline::config::document::{Documents, Entry, Table, Value};
use pipeline::config::{Diagnostic, nearest};
use pipeline::{Duration, Place, Spanned};

use super::calendar::{self, Calendar};
use super::compile::{self, Names};
use super::condition::{Compare, Condition};
use super::group::{self, Group};
use super::path::Path;
use super::rule::{Escalate, Kind, Limits, Rule, Stage, Window};
use super::selection::{Check, How, Selection};
use super::table::{Baseline, ConditionTable, Dedupe, RuleTable, Sort, WindowTable};
use super::testing;
use super::when::When;

const MINUTE: u64 = 60;
const HOUR: u64 = 3600;
/// Most selections of one rule: a bit each, and one for what is excluded.
const MOST_SELECTIONS: usize = 63;

/// What a rule may refer to.
pub(super) struct Around<'a> {
    pub(super) names: Names<'a>,
    pub(super) calendars: &'a BTreeMap<String, Arc<Calendar>>,
    /// Ids of all rules.
    pub(super) ids: &'a [String],
}

/// A rule as it stands in a file, after profile and overrides.
pub(super) struct Written<'a> {
    pub(super) table: &'a Table,
    pub(super) place: Place,
    pub(super) path: String,
    pub(super) overridden: Vec<(String, String)>,
}

/// The rule, if nothing is wrong with it; what is wrong is in `docs`.
pub(super) fn rule(
    written: Written<'_>,
    around: &Around<'_>,
    docs: &mut Documents,
) -> Option<Rule> {
    let before = docs.errors();
    let what = match written.table.get("id").map(|entry| &entry.node.value) {
        Some(Value::Text(id)) => format!("rule \"{id}\""),
        _ => "this rule".to_owned(),
    };
    let read = docs.read::<RuleTable>(written.table, written.place, &written.path, &what);
    let Some((table, _)) = read else {
        // What can be said without the rest is said all the same.
        let mut builder = Builder {
            table: written.table,
            path: &written.path,
            around,
            docs,
        };
        builder.selections();
        return None;
    };
    let mut builder = Builder {
        table: written.table,
        path: &written.path,
        around,
        docs,
    };
    let rule = builder.rule(table, written.place, written.overridden);
    (docs.errors() == before).then_some(rule).flatten()
}

struct Builder<'a, 'd> {
    table: &'a Table,
    path: &'a str,
    around: &'a Around<'a>,
    docs: &'d mut Documents,
}

impl Builder<'_, '_> {
    fn wrong(
        &mut self,
        place: Place,
        key: &str,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        let path = match key {
            "" => self.path.to_owned(),
            key => format!("{}.{key}", self.path),
        };
        self.docs
            .say(Diagnostic::error(place, path, message).with_help(help));
    }

    fn place(&self, key: &str) -> Option<Place> {
        self.table.get(key).map(|entry| entry.key_place)
    }

    fn selections(&mut self) -> Vec<Selection> {
        let entries: &[Entry] = match self.table.get("select") {
            None => &[],
            Some(entry) => match &entry.node.value {
                Value::Table(table) => &table.0,
                _ => {
                    self.wrong(
                        entry.key_place,
                        "select",
                        "`select` is a table of selections",
                        "write [rule.select.NAME]",
                    );
                    &[]
                }
            },
        };
        if let Some(entry) = entries.get(MOST_SELECTIONS) {
            let message = format!("a rule has at most {MOST_SELECTIONS} selections");
            self.wrong(entry.key_place, "select", message, "split the rule in two");
        }
        let mut all = Vec::new();
        for entry in entries.iter().take(MOST_SELECTIONS) {
            let path = format!("{}.select.{}", self.path, entry.key);
            let letters = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
            if entry.key.is_empty()
                || !entry.key.chars().all(letters)
                || ["and", "or", "not", "of", "them", "1"].contains(&entry.key.as_str())
            {
                self.wrong(
                    entry.key_place,
                    "select",
                    format!("{:?} cannot be the name of a selection", entry.key),
                    "use letters, digits, `_` and `-`, and no word of `when`",
                );
            }
            all.push(compile::selection(
                &entry.key,
                &entry.node,
                &path,
                &self.around.names,
                self.docs,
            ));
        }
        all
    }

    /// The bit of a selection.
    fn bit(
        &mut self,
        name: &Spanned<String>,
        key: &str,
        selections: &[Selection],
    ) -> Option<usize> {
        if let Some(n) = selections.iter().position(|one| *one.name == **name) {
            return Some(n);
        }
        let help = match nearest(name, selections.iter().map(|one| &*one.name)) {
            Some(meant) => format!("did you mean {meant:?}?"),
            None => format!("add [rule.select.{}]", name.get()),
        };
        self.wrong(
            name.place(),
            key,
            format!("there is no selection called {:?}", name.get()),
            help,
        );
        None
    }

    fn field(&mut self, name: &Spanned<String>, key: &str) -> Path {
        self.field_at(name, name.place(), key)
    }

    fn field_at(&mut self, name: &str, place: Place, key: &str) -> Path {
        if let Err(help) = self.around.names.fields.check(name) {
            self.wrong(place, key, format!("no event has a field \"{name}\""), help);
        }
        Path::new(name)
    }

    fn rule(
        &mut self,
        mut table: RuleTable,
        place: Place,
        overridden: Vec<(String, String)>,
    ) -> Option<Rule> {
        let id = table.id.get().clone();
        let ok = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_' || c == '.';
        if id.is_empty() || id.len() > 64 || !id.chars().all(ok) {
            self.wrong(
                table.id.place(),
                "id",
                format!("{id:?} is no id"),
                "use up to 64 letters, digits, `-`, `_` and `.`, like \"SITE-001\"",
            );
        }
        let selections = self.selections();
        let exclude = self.table.get("exclude").map(|entry| {
            compile::selection(
                "exclude",
                &entry.node,
                &format!("{}.exclude", self.path),
                &self.around.names,
                self.docs,
            )
        });
        self.fitting(*table.sort);
        let kind = self.kind(&mut table, &selections);
        let when = self.when(&table, kind.as_ref(), &selections);
        let during = self.during(&table);
        let group_by = self.groups(&table, &selections);
        let window = self.window(&table);
        let mut kind = kind?;
        if let (Kind::Absence { expect, .. }, Some(entry)) = (&mut kind, self.table.get("expect")) {
            *expect = self.expected(entry, &group_by);
        }
        let codes = self.codes(when.as_ref(), &kind, &selections, table.sort.place());
        if group_by.is_empty() && matches!(kind, Kind::Absence { learn: Some(_), .. }) {
            self.wrong(
                table.sort.place(),
                "learn",
                "`learn` learns groups, and there is only one",
                "add `group_by`, or remove `learn`",
            );
        }
        let timespan = table
            .timespan
            .as_ref()
            .map_or(Duration::from_secs(0), |span| *span.get());
        let dedupe = match table.dedupe.as_ref().map(|dedupe| *dedupe.get()) {
            Some(Dedupe::None) => None,
            Some(Dedupe::For(time)) => Some(time),
            None => Some(Duration::from_secs(HOUR)),
        };
        let resolve_after = table.resolve_after.unwrap_or(match kind {
            Kind::Event { .. } => dedupe.unwrap_or(Duration::from_secs(0)),
            _ => timespan.max(Duration::from_secs(15 * MINUTE)),
        });
        let escalate = self.escalate(&table, &selections);
        let limit = |value: &Option<Spanned<u32>>, default: usize| {
            value.as_ref().map_or(default, |n| *n.get() as usize)
        };
        let limits = Limits {
            max_groups: limit(&table.max_groups, 50_000).max(1),
            max_values: limit(&table.max_values, 1000).max(1),
        };
        self.held(&kind, &limits, table.sort.place());
        let tests = testing::read(self.table, self.path, &group_by, self.docs);
        Some(Rule {
            name: table.name.into(),
            severity: table.severity,
            version: table.version,
            tags: table.tags.into_iter().map(Into::into).collect(),
            status: table.status.map(|status| status.name().into()),
            enabled: table.enabled,
            feeds: false,
            internal: table.internal,
            record_only: table.record_only,
            missing: table.missing,
            timespan,
            window: window?,
            lateness: table.lateness.unwrap_or(Duration::from_secs(10 * MINUTE)),
            resolve_after,
            reopen: table.reopen.unwrap_or(Duration::from_secs(10 * MINUTE)),
            dedupe,
            repeat: table.repeat.unwrap_or(Duration::from_secs(4 * HOUR)),
            escalate,
            notify: table.notify.map(Into::into),
            labels: table.labels,
            explain: table.explain.into(),
            false_positives: table.false_positives.into_iter().map(Into::into).collect(),
            response: table.response.into_iter().map(Into::into).collect(),
            limits,
            meaning: super::meaning::hash(
                self.table,
                during.as_ref().map(|(calendar, _)| &**calendar),
            ),
            tests,
            overridden,
            place: self.docs.describe(place),
            codes,
            source: super::meaning::toml(self.table),
            when: when?,
            id: id.into(),
            kind,
            group_by,
            selections,
            exclude,
            during,
        })
    }

    /// Keys of other types are mistakes: they would do nothing.
    fn fitting(&mut self, sort: Sort) {
        use Sort::{
            Absence, Event, EventCount, NewTerm, Spike, Temporal, TemporalOrdered, ValueAvg,
            ValueCount, ValueSum,
        };
        const COUNTS: [Sort; 4] = [EventCount, ValueCount, ValueSum, ValueAvg];
        let sequence: &[Sort] = &[Temporal, TemporalOrdered];
        for (key, sorts) in [
            (
                "timespan",
                &[
                    EventCount,
                    ValueCount,
                    ValueSum,
                    ValueAvg,
                    Temporal,
                    TemporalOrdered,
                    Spike,
                ][..],
            ),
            ("window", &COUNTS[..]),
            ("condition", &COUNTS[..]),
            ("rules", sequence),
            ("without", sequence),
            ("hold", &[Event]),
            ("unless", &[Event]),
            ("unless_before", &[Event]),
            ("dedupe", &[Event]),
            ("every", &[Absence]),
            ("grace", &[Absence]),
            ("expect", &[Absence]),
            ("learn", &[Absence]),
            ("forget", &[Absence]),
            ("fields", &[NewTerm]),
            ("known", &[NewTerm]),
            ("seen", &[NewTerm]),
            ("history", &[NewTerm]),
            ("warmup", &[NewTerm]),
            ("min", &[Spike]),
            ("factor", &[Spike]),
            ("baseline", &[Spike]),
            ("floor", &[Spike]),
        ] {
            if let Some(place) = self.place(key)
                && !sorts.contains(&sort)
            {
                self.wrong(
                    place,
                    key,
                    format!("`{key}` has no meaning for this type"),
                    format!("remove `{key}`, or change `type`"),
                );
            }
        }
        if let Some(place) = self.place("when")
            && sequence.contains(&sort)
        {
            self.wrong(
                place,
                "when",
                "`when` has no meaning in a sequence, whose stages are `rules`",
                "remove `when`, and name the selections in `rules`",
            );
        }
    }

    fn need<T>(&mut self, key: &str, value: Option<T>, sample: &str, sort: Place) -> Option<T> {
        if value.is_none() && self.table.get(key).is_none() {
            self.wrong(
                sort,
                key,
                format!("this type needs `{key}`"),
                format!("add {key} = {sample}"),
            );
        }
        value
    }

    fn span(
        &mut self,
        key: &str,
        value: Option<&Spanned<Duration>>,
        default: Option<u64>,
        sort: Place,
    ) -> Option<Duration> {
        match (value, default) {
            (Some(value), _) if value.is_zero() && key != "grace" && key != "warmup" => {
                self.wrong(
                    value.place(),
                    key,
                    format!("`{key}` must be longer than nothing"),
                    format!("write {key} = \"10m\""),
                );
                None
            }
            (Some(value), _) => Some(*value.get()),
            (None, Some(default)) => Some(Duration::from_secs(default)),
            (None, None) => self.need(key, None, "\"10m\"", sort),
        }
    }
}

/// Remedy for an unknown time zone.
pub(super) fn zone_help(name: &str) -> String {
    let zones = calendar::zones();
    match nearest(name, zones.iter().map(String::as_str)) {
        Some(meant) => format!("did you mean \"{meant}\"?"),
        None => "write a name of IANA, like \"Europe/Berlin\"".to_owned(),
    }
}

/// The codes a selection names; `None`: it can hold for any.
fn codes_of(selection: &Selection) -> Option<Vec<u16>> {
    let mut all = Vec::new();
    for tests in &selection.either {
        let mut here: Option<Vec<u16>> = None;
        for test in tests
            .iter()
            .filter(|test| test.path.name() == "event.code" && !test.negated)
        {
            let How::One(checks) = &test.how else {
                continue;
            };
            let [Check::Is(words)] = checks.as_slice() else {
                continue;
            };
            let codes: Vec<u16> = words.texts().filter_map(super::code_of).collect();
            here = Some(match here {
                None => codes,
                Some(before) => before
                    .into_iter()
                    .filter(|code| codes.contains(code))
                    .collect(),
            });
        }
        all.extend(here?);
    }
    all.sort_unstable();
    all.dedup();
    Some(all)
}
