//! One rule from its TOML: everything looked up, compiled and held against the sense of its type.

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
const DAY: u64 = 86_400;
/// Most selections of one rule: a bit each.
const MOST_SELECTIONS: usize = 64;

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
        let tests = testing::read(self.table, self.path, &group_by, self.docs);
        Some(Rule {
            name: table.name.into(),
            severity: table.severity,
            version: table.version,
            tags: table.tags.into_iter().map(Into::into).collect(),
            status: table.status.map(|status| status.name().into()),
            enabled: table.enabled,
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
            limits: Limits {
                max_groups: limit(&table.max_groups, 50_000).max(1),
                max_values: limit(&table.max_values, 1000).max(1),
            },
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
            ("dedupe", &[Event]),
            ("every", &[Absence]),
            ("grace", &[Absence]),
            ("expect", &[Absence]),
            ("learn", &[Absence]),
            ("forget", &[Absence]),
            ("fields", &[NewTerm]),
            ("known", &[NewTerm]),
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

    fn kind(&mut self, table: &mut RuleTable, selections: &[Selection]) -> Option<Kind> {
        let (sort, at) = (*table.sort, table.sort.place());
        match sort {
            Sort::Event => {
                let hold = table.hold.as_ref().map(|hold| *hold.get());
                let unless = table
                    .unless
                    .as_ref()
                    .and_then(|name| self.bit(name, "unless", selections));
                match (&table.hold, &table.unless) {
                    (Some(hold), None) => self.wrong(
                        hold.place(),
                        "hold",
                        "`hold` waits for nothing",
                        "add unless = \"SELECTION\"",
                    ),
                    (None, Some(unless)) => self.wrong(
                        unless.place(),
                        "unless",
                        "`unless` needs to know how long to wait",
                        "add hold = \"60s\"",
                    ),
                    (Some(hold), _) if hold.is_zero() => self.wrong(
                        hold.place(),
                        "hold",
                        "`hold` must be longer than nothing",
                        "write hold = \"60s\"",
                    ),
                    _ => {}
                }
                Some(Kind::Event { hold, unless })
            }
            Sort::EventCount | Sort::ValueCount | Sort::ValueSum | Sort::ValueAvg => {
                self.span("timespan", table.timespan.as_ref(), None, at);
                let table_of = self.need("condition", table.condition.take(), "{ gte = 3 }", at)?;
                self.counted(sort, table_of)
            }
            Sort::Temporal | Sort::TemporalOrdered => {
                self.span("timespan", table.timespan.as_ref(), None, at);
                self.sequence(table, selections)
            }
            Sort::Absence => Some(Kind::Absence {
                every: self.span("every", table.every.as_ref(), None, at)?,
                grace: self.span("grace", table.grace.as_ref(), Some(0), at)?,
                expect: Vec::new(),
                learn: match (&table.learn, self.table.get("expect")) {
                    (Some(learn), _) => Some(*learn.get()),
                    (None, Some(_)) => None,
                    // One group for all need not be learned.
                    (None, None) if table.group_by.is_empty() => None,
                    (None, None) => self.need("learn", None, "\"7d\"", at),
                },
                forget: self.span("forget", table.forget.as_ref(), Some(30 * DAY), at)?,
            }),
            Sort::NewTerm => {
                let names = self.need("fields", table.fields.take(), "[\"user.id\"]", at)?;
                if names.is_empty() {
                    self.wrong(
                        at,
                        "fields",
                        "`fields` is empty: there is nothing to be new",
                        "add fields = [\"user.id\"]",
                    );
                }
                let fields: Vec<Path> = names
                    .iter()
                    .map(|name| self.field(name, "fields"))
                    .collect();
                let mut known = Vec::new();
                for name in table.known.take().unwrap_or_default() {
                    match names.iter().position(|field| **field == *name) {
                        Some(n) => known.push(n),
                        None => {
                            let help =
                                match nearest(&name, names.iter().map(|field| field.as_str())) {
                                    Some(meant) => format!("did you mean \"{meant}\"?"),
                                    None => "name one of `fields`".to_owned(),
                                };
                            self.wrong(
                                name.place(),
                                "known",
                                format!("\"{}\" is none of `fields`", name.get()),
                                help,
                            );
                        }
                    }
                }
                if !known.is_empty() && known.len() >= fields.len() {
                    self.wrong(
                        self.place("known").unwrap_or(at),
                        "known",
                        "if all of it must be known, nothing can be new",
                        "leave one of `fields` out of `known`",
                    );
                }
                Some(Kind::NewTerm {
                    fields,
                    known,
                    history: self.span("history", table.history.as_ref(), Some(30 * DAY), at)?,
                    warmup: self.span("warmup", table.warmup.as_ref(), Some(7 * DAY), at)?,
                })
            }
            Sort::Spike => self.spike(table),
        }
    }

    fn spike(&mut self, table: &RuleTable) -> Option<Kind> {
        let at = table.sort.place();
        let window = self.span("timespan", table.timespan.as_ref(), None, at)?;
        let number = |value: &Option<Spanned<f64>>| value.as_ref().map(|n| *n.get());
        let min = self.need("min", number(&table.min), "30", at)?;
        let factor = self.need("factor", number(&table.factor), "5", at)?;
        let floor = number(&table.floor).unwrap_or(0.0);
        for (key, value, least) in [
            ("min", min, 0.0),
            ("factor", factor, 0.0),
            ("floor", floor, 0.0),
        ] {
            if !value.is_finite() || value < least {
                self.wrong(
                    self.place(key).unwrap_or(at),
                    key,
                    format!("`{key}` cannot be {value}"),
                    format!("write {key} = 3"),
                );
            }
        }
        let baseline = match self
            .need("baseline", table.baseline.as_ref(), "\"14d\"", at)?
            .get()
        {
            Baseline::Windows(windows) => *windows,
            Baseline::For(time) => {
                u32::try_from(time.as_nanos() / window.as_nanos().max(1)).unwrap_or(u32::MAX)
            }
        };
        if !(24..=100_000).contains(&baseline) {
            let message = format!("`baseline` is {baseline} windows, and it takes 24 to 100000");
            self.wrong(
                self.place("baseline").unwrap_or(at),
                "baseline",
                message,
                "write baseline = \"14d\" with timespan = \"1h\"",
            );
        }
        Some(Kind::Spike {
            min,
            factor,
            baseline,
            floor,
        })
    }

    fn condition(&mut self, table: &ConditionTable, place: Place, counts: bool) -> Condition {
        let all = [
            (Compare::Gt, table.gt),
            (Compare::Gte, table.gte),
            (Compare::Lt, table.lt),
            (Compare::Lte, table.lte),
            (Compare::Eq, table.eq),
            (Compare::Neq, table.neq),
        ];
        let condition = Condition(
            all.into_iter()
                .filter_map(|(how, bound)| Some((how, bound?)))
                .collect(),
        );
        if condition.0.is_empty() {
            self.wrong(
                place,
                "condition",
                "`condition` compares with nothing",
                "write condition = { gte = 3 }",
            );
        } else if condition.0.iter().any(|(_, bound)| !bound.is_finite())
            || !condition.can_hold(counts)
        {
            let of = if counts {
                "a number of events"
            } else {
                "a number"
            };
            let message = format!("this condition can never hold: {of} is not {condition}");
            self.wrong(place, "condition", message, "remove one of the comparisons");
        }
        condition
    }

    fn counted(&mut self, sort: Sort, table: Spanned<ConditionTable>) -> Option<Kind> {
        let counts = matches!(sort, Sort::EventCount | Sort::ValueCount);
        let place = table.place();
        let condition = self.condition(&table, place, counts);
        if sort == Sort::EventCount {
            if let Some(field) = &table.field {
                self.wrong(
                    field.place(),
                    "condition.field",
                    "events are counted, not the values of a field",
                    "remove `field`, or write type = \"value_count\"",
                );
            }
            return Some(Kind::EventCount { condition });
        }
        let Some(names) = &table.field else {
            self.wrong(
                place,
                "condition",
                "this type needs `field` in its condition",
                "write condition = { field = \"user.id\", gte = 5 }",
            );
            return None;
        };
        let fields: Vec<Path> = names
            .0
            .iter()
            .map(|name| self.field_at(name, names.place(), "condition.field"))
            .collect();
        if fields.is_empty() || (fields.len() > 1 && sort != Sort::ValueCount) {
            self.wrong(
                names.place(),
                "condition.field",
                "this type needs one field",
                "write field = \"pve.vmid\"",
            );
        }
        let field = fields.first().cloned()?;
        match sort {
            Sort::ValueCount => Some(Kind::ValueCount { fields, condition }),
            Sort::ValueSum => Some(Kind::ValueSum { field, condition }),
            _ => {
                let tumbling = self.table.get("window").is_some_and(|entry| match &entry.node.value {
                    Value::Text(text) => text == "tumbling",
                    Value::Table(table) => table.get("type").is_some_and(|entry| matches!(&entry.node.value, Value::Text(text) if text == "tumbling")),
                    _ => false,
                });
                if !tumbling {
                    self.wrong(
                        self.place("window").unwrap_or(place),
                        "window",
                        "a mean needs tumbling windows",
                        "write window = \"tumbling\"",
                    );
                }
                Some(Kind::ValueAvg { field, condition })
            }
        }
    }

    fn sequence(&mut self, table: &mut RuleTable, selections: &[Selection]) -> Option<Kind> {
        let at = table.sort.place();
        let names = self.need("rules", table.rules.take(), "[\"first\", \"second\"]", at)?;
        let mut stages = Vec::new();
        for name in &names {
            if let Some(n) = selections.iter().position(|one| *one.name == **name) {
                stages.push(Stage::Selection(n));
            } else if **name == **table.id {
                self.wrong(
                    name.place(),
                    "rules",
                    "the rule refers to itself",
                    "name a selection, or another rule",
                );
            } else if self.around.ids.contains(name.get()) {
                stages.push(Stage::Rule(name.as_str().into()));
            } else {
                let known = selections
                    .iter()
                    .map(|one| &*one.name)
                    .chain(self.around.ids.iter().map(String::as_str));
                let help = match nearest(name, known) {
                    Some(meant) => format!("did you mean {meant:?}?"),
                    None => format!("add [rule.select.{}], or name the id of a rule", name.get()),
                };
                self.wrong(
                    name.place(),
                    "rules",
                    format!(
                        "there is neither a selection nor a rule called {:?}",
                        name.get()
                    ),
                    help,
                );
            }
        }
        if names.len() < 2 || names.len() > 16 {
            self.wrong(
                self.place("rules").unwrap_or(at),
                "rules",
                "a sequence has 2 to 16 stages",
                "name at least two selections or rules",
            );
        }
        let without = table
            .without
            .as_ref()
            .and_then(|name| self.bit(name, "without", selections));
        Some(Kind::Temporal {
            stages,
            ordered: *table.sort == Sort::TemporalOrdered,
            without,
        })
    }

    fn when(
        &mut self,
        table: &RuleTable,
        kind: Option<&Kind>,
        selections: &[Selection],
    ) -> Option<When> {
        let at = table.sort.place();
        if let Kind::Temporal {
            stages, without, ..
        } = kind?
        {
            let stage = |stage: &Stage| match stage {
                Stage::Selection(n) => 1 << n,
                Stage::Rule(_) => 0,
            };
            let mask = stages
                .iter()
                .map(stage)
                .fold(without.map_or(0, |n| 1_u64 << n), |all, bit| all | bit);
            self.unused(mask, selections);
            return Some(When::Any(mask));
        }
        let hidden = match kind? {
            Kind::Event {
                unless: Some(n), ..
            } => 1 << n,
            _ => 0,
        };
        let graver = table.escalate.iter().filter_map(|one| one.when.as_ref());
        let graver =
            graver.filter_map(|name| selections.iter().position(|one| *one.name == **name));
        let graver = graver.fold(0, |all, n| all | 1_u64 << n);
        let names: Vec<&str> = selections.iter().map(|one| &*one.name).collect();
        let when = match &table.when {
            Some(text) => match When::parse(text, &names, hidden) {
                Ok(when) => when,
                Err(mistake) => {
                    let place = self.docs.inside(text.place(), mistake.range);
                    self.wrong(place, "when", mistake.message, mistake.help);
                    return None;
                }
            },
            None => {
                let all =
                    (0..selections.len()).fold(0, |all, n| all | 1_u64 << n) & !hidden & !graver;
                if all == 0 {
                    let (message, help) = (
                        "the rule selects nothing",
                        "add [rule.select.NAME] with at least one test",
                    );
                    self.wrong(at, "select", message, help);
                    return None;
                }
                When::All(all)
            }
        };
        if !when.can_hold() {
            let place = table.when.as_ref().map_or(at, Spanned::place);
            self.wrong(
                place,
                "when",
                "this can never hold",
                "remove the part that contradicts the other",
            );
        }
        self.unused(when.names() | hidden | graver, selections);
        Some(when)
    }

    fn unused(&mut self, used: u64, selections: &[Selection]) {
        let Some(Value::Table(written)) = self.table.get("select").map(|entry| &entry.node.value)
        else {
            return;
        };
        for (n, (selection, entry)) in selections.iter().zip(&written.0).enumerate() {
            if used & (1 << n) == 0 {
                let message = format!("nobody uses the selection {:?}", &*selection.name);
                let path = format!("{}.select.{}", self.path, selection.name);
                self.docs.say(
                    Diagnostic::warning(entry.key_place, path, message)
                        .with_help("name it in `when`, or remove it"),
                );
            }
        }
    }

    fn escalate(&mut self, table: &RuleTable, selections: &[Selection]) -> Vec<Escalate> {
        let mut all = Vec::new();
        for one in &table.escalate {
            let when = one
                .when
                .as_ref()
                .and_then(|name| self.bit(name, "escalate", selections));
            if one.count.is_none() && one.when.is_none() {
                let place = self.place("escalate").unwrap_or(table.sort.place());
                self.wrong(
                    place,
                    "escalate",
                    "this does not say from which count on",
                    "write { count = 10, severity = \"critical\" }",
                );
            }
            all.push(Escalate {
                count: one.count.unwrap_or(1),
                severity: one.severity,
                when,
            });
        }
        all
    }

    fn during(&mut self, table: &RuleTable) -> Option<(Arc<Calendar>, bool)> {
        if let (Some(_), Some(outside)) = (&table.during, &table.outside) {
            self.wrong(
                outside.place(),
                "outside",
                "a rule has `during` or `outside`, not both",
                "make one calendar of the two",
            );
        }
        let (name, inside, key) = match (&table.during, &table.outside) {
            (Some(name), _) => (name, true, "during"),
            (None, Some(name)) => (name, false, "outside"),
            (None, None) => return None,
        };
        if let Some(calendar) = self.around.calendars.get(name.get()) {
            return Some((Arc::clone(calendar), inside));
        }
        let help = match nearest(name, self.around.calendars.keys().map(String::as_str)) {
            Some(meant) => format!("did you mean \"{meant}\"?"),
            None => format!("add [[calendar]] with name = \"{}\"", name.get()),
        };
        self.wrong(
            name.place(),
            key,
            format!("there is no calendar called \"{}\"", name.get()),
            help,
        );
        None
    }

    fn groups(&mut self, table: &RuleTable, selections: &[Selection]) -> Vec<Group> {
        let mut groups = Vec::new();
        for name in &table.group_by {
            if table
                .group_by
                .iter()
                .filter(|other| **other.get() == **name.get())
                .count()
                > 1
            {
                self.wrong(
                    name.place(),
                    "group_by",
                    format!("\"{}\" stands here twice", name.get()),
                    "remove one of the two",
                );
            }
            let Some(fields) = table.aliases.get(name.get()) else {
                let known: Vec<&str> = table.aliases.keys().map(String::as_str).collect();
                let path = match (nearest(name, known), self.around.names.fields.check(name)) {
                    (Some(meant), Err(_)) => {
                        self.wrong(
                            name.place(),
                            "group_by",
                            format!("there is neither a field nor an alias \"{}\"", name.get()),
                            format!("did you mean \"{meant}\"?"),
                        );
                        continue;
                    }
                    _ => self.field(name, "group_by"),
                };
                groups.push(Group::new(name, Some(path), Vec::new()));
                continue;
            };
            let mut aliases = Vec::new();
            for (selection, field) in fields {
                let key = format!("aliases.{}.{selection}", name.get());
                let selection = Spanned::new(selection.clone(), field.place());
                let path = self.field(field, &key);
                if let Some(n) = self.bit(&selection, &key, selections) {
                    aliases.push((1 << n, path));
                }
            }
            groups.push(Group::new(name, None, aliases));
        }
        for alias in table.aliases.keys() {
            if !table.group_by.iter().any(|name| name.get() == alias) {
                let place = self.place("aliases").unwrap_or(Place::NONE);
                self.wrong(
                    place,
                    "aliases",
                    format!("nobody uses the alias \"{alias}\""),
                    format!("add group_by = [\"{alias}\"], or remove it"),
                );
            }
        }
        groups.sort_by(|one, other| one.name.cmp(&other.name));
        groups
    }

    fn window(&mut self, table: &RuleTable) -> Option<Window> {
        let Some(window) = &table.window else {
            return Some(Window::Sliding);
        };
        match window.get() {
            WindowTable::Sliding => Some(Window::Sliding),
            WindowTable::Session { gap: Some(gap) } if !gap.is_zero() => {
                Some(Window::Session { gap: *gap })
            }
            WindowTable::Session { .. } => {
                self.wrong(
                    window.place(),
                    "window",
                    "a session needs to know which pause ends it",
                    "write window = { type = \"session\", gap = \"10m\" }",
                );
                None
            }
            WindowTable::Tumbling { zone: None } => Some(Window::Tumbling { zone: None }),
            WindowTable::Tumbling { zone: Some(name) } => match calendar::zone(name) {
                Some(zone) => Some(Window::Tumbling { zone: Some(zone) }),
                None => {
                    self.wrong(
                        window.place(),
                        "window.zone",
                        format!("there is no time zone \"{name}\""),
                        zone_help(name),
                    );
                    None
                }
            },
        }
    }

    fn expected(&mut self, entry: &Entry, groups: &[Group]) -> Vec<group::GroupKey> {
        let Value::List(items) = &entry.node.value else {
            self.wrong(
                entry.key_place,
                "expect",
                "`expect` is a list of groups",
                "write expect = [\"pve1\", \"pve2\"]",
            );
            return Vec::new();
        };
        let mut keys = Vec::new();
        for item in items {
            match testing::group(item, groups) {
                Ok(key) => keys.push(key),
                Err((message, help)) => self.wrong(item.place, "expect", message, help),
            }
        }
        keys
    }

    /// The codes of events that can mean something to the rule.
    fn codes(
        &mut self,
        when: Option<&When>,
        kind: &Kind,
        selections: &[Selection],
        at: Place,
    ) -> Option<Vec<u16>> {
        let of = |n: usize| selections.get(n).and_then(codes_of);
        let mut all = when?.codes(&of);
        // What only refers to other rules sees no event itself.
        if matches!(kind, Kind::Temporal { stages, without: None, .. } if stages.iter().all(|stage| matches!(stage, Stage::Rule(_))))
        {
            return Some(Vec::new());
        }
        if all.as_ref().is_some_and(Vec::is_empty) {
            self.wrong(
                at,
                "when",
                "this can never hold: no event has all these codes at once",
                "look at the tests of `event.code`",
            );
        }
        if let (
            Kind::Event {
                unless: Some(n), ..
            },
            Some(codes),
        ) = (kind, &mut all)
        {
            match of(*n) {
                Some(more) => {
                    codes.extend(more);
                    codes.sort_unstable();
                    codes.dedup();
                }
                None => all = None,
            }
        }
        all
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
