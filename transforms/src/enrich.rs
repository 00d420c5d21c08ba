//! `enrich` adds to an event what tables know about it.
//!
//! - in: any event
//! - out: all of them, in their order; each with the values of the rows that its fields lead to
//! - with `inventory`, events about a guest get its name, pool and tags, as `pve_api` and `pve_config` keep them
//! - no answer (no row for the key): the event goes on as it is, or with the `default` values, and is counted as a miss;
//!   an event without the field is not looked up at all

mod inventory;

use std::collections::BTreeMap;

use pipeline::table::{LookupReader, Table, Wanted, push_key};
use pipeline::{
    Batch, BuildError, BuildErrors, Context, Event, Field, Outputs, Spanned, Transform,
    TransformConfig, Value, ValueRef,
};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::tables::write_key;

/// Adds to an event what tables know about it.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What is looked up, one after the other: a later one can use what an earlier one found.
    #[serde(default)]
    lookups: Vec<LookupConfig>,
    /// Whether events about a guest (`pve.vmid`) get `pve.object.name`, `pve.object.pool` and `pve.object.tags` from what
    /// a `pve_api` or `pve_config` source of this program has seen; the sentence of `event_id` then has the name, too. A guest that was destroyed is known for 24 h. It comes before
    /// `lookups`, which can use them, and belongs behind `event_id`.
    #[serde(default)]
    inventory: bool,
}

/// One look into one table.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct LookupConfig {
    /// The name of the table, as in `[enrichment_tables.NAME]`.
    table: Spanned<String>,
    /// Which row: `{ column = "field" }`; with several, all must agree. For tables of type `file`.
    #[serde(default)]
    r#match: BTreeMap<String, String>,
    /// The field with the address. For tables of type `networks` and `geoip`.
    field: Option<String>,
    /// What is taken from the row: columns and the fields they go to, or a list of columns that go below `prefix`;
    /// without, all columns that are not in `match`.
    fields: Option<Fields>,
    /// What stands before the name of a column to make it a field. For `geoip` it is what stands before the last part
    /// of `field`, so that `source.ip` gives `source.geo.country_name`.
    prefix: Option<String>,
    /// Whether `PVE1` and `pve1` are two keys.
    #[serde(default = "yes")]
    case_sensitive: bool,
    /// What two rows with the same key are.
    #[serde(default)]
    on_duplicate: OnDuplicate,
    /// Values for columns where there is no row.
    #[serde(default)]
    default: BTreeMap<String, Plain>,
    /// Whether a field that is there already gets the value of the table.
    #[serde(default = "yes")]
    overwrite: bool,
}

fn yes() -> bool {
    true
}

/// What is taken from a row.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
enum Fields {
    /// Columns that go below `prefix`.
    List(Vec<String>),
    /// Columns and the fields they go to.
    Map(BTreeMap<String, String>),
}

/// What two rows with the same key are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum OnDuplicate {
    /// A mistake in the table, told when it is read.
    #[default]
    Error,
    /// The first one counts.
    First,
}

/// A value in the configuration.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
enum Plain {
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
}

impl Plain {
    fn value(&self) -> Value {
        match self {
            Plain::Bool(v) => Value::Bool(*v),
            Plain::Int(v) => Value::Int(*v),
            Plain::Float(v) => Value::Float(*v),
            Plain::Text(v) => Value::Str(v.clone()),
        }
    }
}

impl TransformConfig for Config {
    const TYPE: &'static str = "enrich";
    const EXAMPLE: &'static str = r#"lookups = [
  { table = "guests", match = { vmid = "pve.vmid" }, fields = { owner = "pve.object.owner" } },
  { table = "geo", field = "source.ip" },
]"#;

    fn build(&self, cx: &Context) -> Result<Box<dyn Transform>, BuildErrors> {
        let mut errors = BuildErrors::new();
        if self.lookups.is_empty() && !self.inventory {
            errors.push(
                BuildError::key("lookups", "is empty, so that nothing is added")
                    .help("add { table = \"…\", match = { column = \"field\" }, prefix = \"…\" }, or inventory = true"),
            );
        }
        let mut lookups = Vec::new();
        for (n, config) in self.lookups.iter().enumerate() {
            lookups.extend(errors.take(config.build(n, cx)));
        }
        let names = self
            .inventory
            .then(|| inventory::Names::new(cx.inventory(), cx.language()));
        errors.finish(Box::new(Enrich {
            names,
            lookups,
            key: Vec::new(),
            part: Vec::new(),
        }) as Box<dyn Transform>)
    }

    fn tables(&self) -> Vec<String> {
        let tables = self.lookups.iter();
        tables.map(|lookup| lookup.table.get().clone()).collect()
    }
}

impl LookupConfig {
    fn build(&self, n: usize, cx: &Context) -> Result<Lookup, BuildErrors> {
        let table = cx.table(&self.table)?;
        let mut errors = BuildErrors::new();
        let key = |name: &str| format!("lookups[{n}].{name}");
        let keys = errors.take(self.keys(&table, &key));
        let targets = errors.take(self.targets(&table, &key));
        let (Some(keys), Some(targets)) = (keys, targets) else {
            return Err(errors);
        };
        let wanted = Wanted {
            by: self.r#match.keys().cloned().collect(),
            case_sensitive: self.case_sensitive,
            unique: self.on_duplicate == OnDuplicate::Error,
            columns: targets.iter().map(|(column, _)| column.clone()).collect(),
        };
        let lookup = table.lookup(wanted).map_err(|why| {
            let error = BuildError::at(&self.table, format!("the table {:?}: {why}", table.id()));
            match &why.help {
                Some(help) => error.help(help),
                None => error,
            }
        })?;
        Ok(Lookup {
            reader: lookup.reader(),
            table: table.id().to_owned(),
            keys,
            targets: targets.into_iter().map(|(_, target)| target).collect(),
            fold: !self.case_sensitive && !table.by_address(),
            overwrite: self.overwrite,
        })
    }

    /// The fields that make the key.
    fn keys(&self, table: &Table, key: &dyn Fn(&str) -> String) -> Result<Vec<Field>, BuildErrors> {
        if table.by_address() {
            if !self.r#match.is_empty() {
                let message = "names columns, but this table is asked with an address";
                return Err(BuildError::key(key("match"), message)
                    .help("write field = \"source.ip\" instead")
                    .into());
            }
            let Some(field) = &self.field else {
                let message = format!(
                    "nothing says which field holds the address for the table {:?}",
                    table.id()
                );
                return Err(BuildError::at(&self.table, message)
                    .help("add field = \"source.ip\"")
                    .into());
            };
            return Ok(vec![Field::new(field)]);
        }
        if self.field.is_some() {
            let message = "belongs to tables that are asked with an address";
            let columns = table.columns();
            let column = columns.first().map_or("column", String::as_str);
            return Err(BuildError::key(key("field"), format!("`field` {message}"))
                .help(format!("write match = {{ {column} = \"field\" }} instead"))
                .into());
        }
        if self.r#match.is_empty() {
            let message = format!(
                "nothing says which row of the table {:?} is meant",
                table.id()
            );
            return Err(BuildError::at(&self.table, message)
                .help("add match = { column = \"field\" }")
                .into());
        }
        let mut errors = BuildErrors::new();
        for column in self.r#match.keys() {
            errors.extend(unknown(table, column, key("match")));
        }
        let fields = self.r#match.values().map(|field| Field::new(field));
        errors.finish(fields.collect())
    }

    /// Columns and what becomes of them.
    fn targets(
        &self,
        table: &Table,
        key: &dyn Fn(&str) -> String,
    ) -> Result<Vec<(String, Target)>, BuildErrors> {
        let mut errors = BuildErrors::new();
        let pairs: Vec<(String, String)> = match &self.fields {
            Some(Fields::Map(map)) => map.clone().into_iter().collect(),
            some => {
                let columns = match some {
                    Some(Fields::List(list)) => list.clone(),
                    _ => table
                        .columns()
                        .into_iter()
                        .filter(|column| !self.r#match.contains_key(column))
                        .collect(),
                };
                let Some(prefix) = self.prefix(table) else {
                    let message = format!(
                        "nothing says which fields the columns of {:?} go to",
                        table.id()
                    );
                    return Err(BuildError::at(&self.table, message)
                        .help("add prefix = \"…\", or fields = { column = \"field\" }")
                        .into());
                };
                let join = |column: &String| match prefix.as_str() {
                    "" => column.clone(),
                    prefix => format!("{prefix}.{column}"),
                };
                columns
                    .into_iter()
                    .map(|column| (column.clone(), join(&column)))
                    .collect()
            }
        };
        for (column, _) in &pairs {
            errors.extend(unknown(table, column, key("fields")));
        }
        for column in self.default.keys() {
            if !pairs.iter().any(|(held, _)| held == column) {
                let message =
                    format!("has a value for {column:?}, which is not taken from the table");
                errors.push(
                    BuildError::key(key("default"), message)
                        .help("name a column that `fields` takes"),
                );
            }
        }
        let targets = pairs.into_iter().map(|(column, field)| {
            let target = Target {
                field: Field::new(&field),
                default: self.default.get(&column).map(Plain::value),
            };
            (column, target)
        });
        errors.finish(targets.collect())
    }

    fn prefix(&self, table: &Table) -> Option<String> {
        if self.prefix.is_some() || !table.columns_are_fields() {
            return self.prefix.clone();
        }
        let field = self.field.as_deref().unwrap_or_default();
        Some(
            field
                .rsplit_once('.')
                .map_or("", |(above, _)| above)
                .to_owned(),
        )
    }
}

/// What to say about a column that the table does not have.
fn unknown(table: &Table, column: &str, key: String) -> Option<BuildError> {
    let columns = table.columns();
    if columns.iter().any(|held| held == column) {
        return None;
    }
    let help = match pipeline::config::nearest(column, columns.iter().map(String::as_str)) {
        Some(meant) => format!("did you mean {meant:?}?"),
        None => format!("its columns are {}", columns.join(", ")),
    };
    let message = format!("the table {:?} has no column {column:?}", table.id());
    Some(BuildError::key(key, message).help(help))
}

struct Enrich {
    names: Option<inventory::Names>,
    lookups: Vec<Lookup>,
    /// The key of the event at hand, and one value of it.
    key: Vec<u8>,
    part: Vec<u8>,
}

struct Lookup {
    reader: LookupReader,
    table: String,
    keys: Vec<Field>,
    targets: Vec<Target>,
    /// Whether keys are compared in small letters.
    fold: bool,
    overwrite: bool,
}

struct Target {
    field: Field,
    default: Option<Value>,
}

impl Transform for Enrich {
    fn apply(&mut self, mut batch: Batch, out: &mut Outputs) {
        if let Some(names) = &self.names {
            names.apply(&mut batch, out);
        }
        for lookup in &mut self.lookups {
            lookup.reader.renew();
            let mut missed = 0;
            for event in &mut batch.events {
                if !lookup.key(event, &mut self.key, &mut self.part) {
                    continue;
                }
                let (targets, overwrite) = (&lookup.targets, lookup.overwrite);
                let found = lookup.reader.index().find(&self.key, &mut |place, value| {
                    targets[place].set(event, value, overwrite);
                });
                if !found {
                    missed += 1;
                    for target in targets {
                        if let Some(value) = &target.default {
                            target.set(event, value.as_ref(), overwrite);
                        }
                    }
                }
            }
            out.missed(&lookup.table, missed);
        }
        out.push(batch);
    }
}

impl Lookup {
    /// Writes the key of an event; false if it has none.
    #[inline]
    fn key(&self, event: &Event, key: &mut Vec<u8>, part: &mut Vec<u8>) -> bool {
        key.clear();
        if let [field] = self.keys[..] {
            return event
                .get(field)
                .is_some_and(|value| write_key(value, self.fold, key));
        }
        self.keys.iter().all(|field| {
            part.clear();
            let can = event
                .get(*field)
                .is_some_and(|value| write_key(value, self.fold, part));
            push_key(key, part);
            can
        })
    }
}

impl Target {
    #[inline]
    fn set(&self, event: &mut Event, value: ValueRef<'_>, overwrite: bool) {
        if !overwrite && event.has(self.field) {
            return;
        }
        match value {
            ValueRef::Str(text) => event.set_str(self.field, text),
            other => event.set(self.field, other.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests;
