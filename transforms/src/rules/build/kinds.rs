//! What each type of rule needs, and what makes no sense in it.

use super::*;

const DAY: u64 = 86_400;

/// Most matches or values of one group a number can ask for; they have to be remembered.
const MOST_COUNTED: usize = 100_000;

impl Builder<'_, '_> {
    pub(super) fn kind(&mut self, table: &mut RuleTable, selections: &[Selection]) -> Option<Kind> {
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
                if let (Some(before), None) = (&table.unless_before, &table.unless) {
                    self.wrong(
                        before.place(),
                        "unless_before",
                        "nothing is named that could come before",
                        "add unless = \"SELECTION\"",
                    );
                }
                let before = table.unless_before.as_ref();
                let before = before.map_or(Duration::from_secs(0), |before| *before.get());
                Some(Kind::Event {
                    hold,
                    unless,
                    before,
                })
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
                let names = self.need("fields", table.fields.clone(), "[\"user.id\"]", at)?;
                if names.is_empty() {
                    self.wrong(
                        at,
                        "fields",
                        "`fields` is empty: there is nothing to be new",
                        "add fields = [\"user.id\"]",
                    );
                }
                let fields: Vec<Group> = names
                    .iter()
                    .filter_map(|name| self.group(name, "fields", table, selections))
                    .collect();
                let seen = table.seen.take();
                let seen = seen.and_then(|name| self.bit(&name, "seen", selections));
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
                if !known.is_empty() && known.len() >= names.len() {
                    self.wrong(
                        self.place("known").unwrap_or(at),
                        "known",
                        "if all of it must be known, nothing can be new",
                        "leave one of `fields` out of `known`",
                    );
                }
                Some(Kind::NewTerm {
                    fields,
                    seen,
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

    /// A number that no group can hold so many matches or values for would never be reached.
    pub(super) fn held(&mut self, kind: &Kind, limits: &Limits, at: Place) {
        let (condition, most, help) = match kind {
            Kind::EventCount { condition } => (
                condition,
                MOST_COUNTED,
                format!("write at most {MOST_COUNTED}, over a shorter timespan"),
            ),
            Kind::ValueCount { condition, .. } => (
                condition,
                limits.max_values,
                format!("raise max_values (to {MOST_COUNTED} at most), or lower the number"),
            ),
            _ => return,
        };
        if condition.greatest() > most as f64 {
            let message = format!("a group holds {most} at most, so {condition} cannot be told");
            let place = self.place("condition").unwrap_or(at);
            self.wrong(place, "condition", message, help);
        }
        if limits.max_values > MOST_COUNTED {
            let place = self.place("max_values").unwrap_or(at);
            let message = format!("a group holds {MOST_COUNTED} values at most");
            self.wrong(place, "max_values", message, "write less");
        }
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
}
