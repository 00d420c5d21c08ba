//! What is asked for, and the SQL that finds it.
//!
//! Words of one kind are alternatives, kinds add up. A pattern becomes the list of the values that are there and fit, so that
//! an index can be walked; where they are too many it is checked row by row. The index is the one with the fewest rows.

use jiff::tz::TimeZone;
use pipeline::{Catalogue, Time};
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

use super::matching::{Pattern, glob, is_wild};
use super::resolve::{distinct, offer_functions};

/// Most values an index is walked for; more are checked row by row.
pub(super) const MOST_WALKED: usize = 64;
/// Counting how many rows an index would give ends here.
pub(super) const MANY: i64 = 5_000;

/// What is asked for. Words of one list are alternatives, lists add up, an empty one asks for nothing.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Users, with or without realm, or one token of a user (`alice@pve!ci`); `*` and `?`.
    pub users: Vec<String>,
    /// Actions like `vm-destroy`; `*` and `?`.
    pub actions: Vec<String>,
    /// Objects: `vm/104`, `user/*`, a type, an id or a name; `guest/104` is the guest whatever it is about.
    pub objects: Vec<String>,
    /// Numbers of guests.
    pub vmids: Vec<i64>,
    /// Nodes; `*` and `?`.
    pub nodes: Vec<String>,
    /// Addresses, networks, or texts with `*`.
    pub sources: Vec<String>,
    /// Codes: `PVE-2002`, `2002`, `20??`.
    pub codes: Vec<String>,
    /// Outcomes.
    pub outcomes: Vec<String>,
    /// Kinds (`event`, `alert`, `state`); all but `state` where none is asked for.
    pub kinds: Vec<String>,
    /// From this time on.
    pub from: Option<Time>,
    /// Before this time.
    pub to: Option<Time>,
    /// Only at these hours of the day.
    pub between: Option<Hours>,
    /// Words of the sentence, the user, the object; `*` at the end of a word.
    pub text: Option<String>,
    /// Evidence and states too, not only what happened.
    pub all: bool,
    /// Only what changed keys.
    pub changed: bool,
}

/// Hours of the day, over midnight where the end lies before the beginning.
#[derive(Clone, Debug)]
pub struct Hours {
    /// From this minute of the day on [min].
    pub from: i64,
    /// Before this one [min].
    pub to: i64,
    /// Whose day.
    pub zone: TimeZone,
}

/// What an index is walked for: a condition, and its parameters.
pub(super) type Walk = (String, Vec<Value>);

/// How rows are found.
pub(super) struct Plan {
    /// The index that is walked.
    pub(super) index: &'static str,
    /// What it is walked for, one walk each; the parameters with it.
    pub(super) walks: Vec<Walk>,
    /// About how many rows that gives; `MANY` means at least that many.
    pub(super) rows: i64,
    /// All conditions, for each row.
    pub(super) all: String,
    /// Their parameters.
    pub(super) params: Vec<Value>,
}

impl Plan {
    /// Whether walking gives so few rows that they can be sorted.
    pub(super) fn is_small(&self) -> bool {
        self.rows < MANY
    }
}

/// One kind of condition: for each row, and for an index if one can be walked.
#[derive(Default)]
pub(super) struct Condition {
    pub(super) sql: String,
    pub(super) params: Vec<Value>,
    pub(super) walk: Option<(&'static str, Vec<Walk>)>,
}

impl Filter {
    /// Looks at the store and decides.
    pub(super) fn plan(&self, db: &Connection) -> rusqlite::Result<Plan> {
        let mut patterns: Vec<Vec<Pattern>> = Vec::new();
        let mut conditions = Vec::new();
        let names = |words: &[String]| words.iter().cloned().map(Pattern::Name).collect::<Vec<_>>();
        let sources = self
            .sources
            .iter()
            .map(|word| Pattern::source(word))
            .collect();
        for (column, index, wanted) in [
            ("source", "events_source", sources),
            ("node", "events_node", names(&self.nodes)),
        ] {
            if let Some(condition) = column_condition(db, column, index, wanted, &mut patterns)? {
                conditions.push(condition);
            }
        }
        conditions.extend(self.users_asked(db, &mut patterns)?);
        conditions.extend(self.codes());
        conditions.extend(self.vmids());
        conditions.extend(self.objects_asked(db)?);
        conditions.extend(self.outcomes());
        conditions.extend(self.text(db)?);
        self.rest(&mut conditions);
        offer_functions(db, patterns, self.between.clone())?;
        self.choose(db, conditions)
    }

    fn codes(&self) -> Vec<Condition> {
        let rows = Catalogue::builtin().rows();
        let mut conditions = Vec::new();
        if !self.codes.is_empty() {
            let wanted: Vec<String> = self
                .codes
                .iter()
                .map(|code| {
                    let code = code.to_ascii_uppercase();
                    if code.starts_with("PVE-") {
                        code
                    } else {
                        format!("PVE-{code}")
                    }
                })
                .collect();
            let known = |pattern: &String| -> Vec<String> {
                if !is_wild(pattern) {
                    return vec![pattern.clone()];
                }
                let fit = rows.iter().filter(|row| glob(pattern, &row.code));
                fit.map(|row| row.code.clone()).collect()
            };
            conditions.push(values(
                "code",
                Some("events_code"),
                wanted.iter().flat_map(known),
            ));
        }
        if !self.actions.is_empty() {
            let fits = |action: &str| self.actions.iter().any(|wanted| glob(wanted, action));
            let known: Vec<_> = rows.iter().filter(|row| fits(&row.action)).collect();
            if known.is_empty() {
                let one =
                    |wanted: &String| ("action GLOB ?".to_owned(), Value::from(escaped(wanted)));
                conditions.push(any(self.actions.iter().map(one)));
            } else {
                let codes = known.iter().map(|row| row.code.clone());
                conditions.push(values("code", Some("events_code"), codes));
            }
        }
        conditions
    }

    fn vmids(&self) -> Option<Condition> {
        (!self.vmids.is_empty()).then(|| guests(&self.vmids))
    }

    fn outcomes(&self) -> Option<Condition> {
        if self.outcomes.is_empty() {
            return None;
        }
        let mut condition = values("outcome", None, self.outcomes.iter().cloned());
        if self.outcomes == ["failure"] {
            condition.walk = Some((
                "events_failed",
                vec![("outcome = 'failure'".to_owned(), Vec::new())],
            ));
        }
        Some(condition)
    }

    fn text(&self, db: &Connection) -> rusqlite::Result<Option<Condition>> {
        let Some(question) = self.text.as_deref().and_then(words) else {
            return Ok(None);
        };
        let found: i64 = db
            .prepare("SELECT count(*) FROM (SELECT 1 FROM words WHERE words MATCH ?1 LIMIT ?2)")?
            .query_row(rusqlite::params![question, MANY], |row| row.get(0))?;
        let sql = "seq IN (SELECT rowid FROM words WHERE words MATCH ?)".to_owned();
        let params = vec![Value::from(question)];
        // No index by time: few rows are sorted, many are met on the way through time.
        let walk = (found < MANY).then(|| ("", vec![(sql.clone(), params.clone())]));
        Ok(Some(Condition { sql, params, walk }))
    }

    fn rest(&self, conditions: &mut Vec<Condition>) {
        let mut add = |sql: &str| {
            conditions.push(Condition {
                sql: sql.to_owned(),
                ..Condition::default()
            });
        };
        if !self.all {
            add("(record IS NULL OR record <> 'evidence')");
            if self.kinds.is_empty() {
                add("(kind IS NULL OR kind <> 'state')");
            }
        }
        if self.changed {
            add("EXISTS (SELECT 1 FROM changes WHERE event = seq)");
        }
        if self.between.is_some() {
            add("in_hours(time)");
        }
        if !self.kinds.is_empty() {
            conditions.push(values("kind", None, self.kinds.iter().cloned()));
        }
    }

    /// The index with the fewest rows within the time asked for.
    fn choose(&self, db: &Connection, conditions: Vec<Condition>) -> rusqlite::Result<Plan> {
        let (range, bounds) = self.range();
        let mut best: Option<(&'static str, Vec<Walk>, i64)> = None;
        for condition in &conditions {
            let Some((index, walks)) = &condition.walk else {
                continue;
            };
            let mut rows = 0;
            for (sql, params) in walks {
                let by = indexed(index);
                let text = format!(
                    "SELECT count(*) FROM (SELECT 1 FROM events {by} WHERE {sql} AND {range} LIMIT {MANY})"
                );
                let params = params.iter().chain(&bounds);
                rows += db
                    .prepare(&text)?
                    .query_row(params_from_iter(params), |row| row.get::<_, i64>(0))?;
            }
            if best.as_ref().is_none_or(|(.., fewest)| rows < *fewest) {
                best = Some((index, walks.clone(), rows));
            }
        }
        let (mut all, mut params) = (vec![range.clone()], bounds.clone());
        for condition in conditions {
            all.push(condition.sql);
            params.extend(condition.params);
        }
        let (index, walks, rows) = match best {
            Some(best) => best,
            None => ("events_time", vec![("1".to_owned(), Vec::new())], MANY),
        };
        Ok(Plan {
            index,
            walks,
            rows,
            all: all.join(" AND "),
            params,
        })
    }

    fn range(&self) -> (String, Vec<Value>) {
        let millis = |time: Time| time.0.div_euclid(1_000_000);
        let from = self.from.map_or(i64::MIN, millis);
        let to = self.to.map_or(i64::MAX, millis);
        (
            "time >= ? AND time < ?".to_owned(),
            vec![Value::from(from), Value::from(to)],
        )
    }
}

/// How a walked index is named in SQL; nothing for the words, which are no index of `events`.
pub(super) fn indexed(index: &str) -> String {
    if index.is_empty() {
        String::new()
    } else {
        format!("INDEXED BY {index}")
    }
}

/// All about these guests, whatever each event is about.
pub(super) fn guests(vmids: &[i64]) -> Condition {
    let values = || vmids.iter().map(|vmid| Value::from(*vmid));
    let walks = values().map(|vmid| ("vmid = ?".to_owned(), vec![vmid]));
    Condition {
        sql: format!("vmid IN ({})", marks(vmids.len())),
        params: values().collect(),
        walk: (vmids.len() <= MOST_WALKED).then(|| ("events_vmid", walks.collect())),
    }
}

fn marks(n: usize) -> String {
    vec!["?"; n].join(", ")
}

/// `column` is one of these values.
fn values(
    column: &'static str,
    index: Option<&'static str>,
    wanted: impl Iterator<Item = String>,
) -> Condition {
    let wanted: Vec<String> = wanted.collect();
    let walks = || {
        wanted
            .iter()
            .map(|value| (format!("{column} = ?"), vec![Value::from(value.clone())]))
    };
    Condition {
        sql: format!("{column} IN ({})", marks(wanted.len())),
        walk: index
            .filter(|_| wanted.len() <= MOST_WALKED)
            .map(|index| (index, walks().collect())),
        params: wanted.iter().cloned().map(Value::from).collect(),
    }
}

fn any(parts: impl Iterator<Item = (String, Value)>) -> Condition {
    let (sql, params): (Vec<String>, Vec<Value>) = parts.unzip();
    Condition {
        sql: format!("({})", sql.join(" OR ")),
        params,
        walk: None,
    }
}

/// SQL's GLOB knows brackets too; ours does not.
pub(super) fn escaped(pattern: &str) -> String {
    pattern.replace('[', "[[]")
}

pub(super) fn column_condition(
    db: &Connection,
    column: &'static str,
    index: &'static str,
    wanted: Vec<Pattern>,
    patterns: &mut Vec<Vec<Pattern>>,
) -> rusqlite::Result<Option<Condition>> {
    if wanted.is_empty() {
        return Ok(None);
    }
    let mut found = Vec::new();
    let mut few = true;
    for pattern in &wanted {
        if let Some(exact) = pattern.exact() {
            found.push(exact.to_owned());
            continue;
        }
        match distinct(db, column, index, pattern.beginning())? {
            Some(values) => found.extend(values.into_iter().filter(|value| pattern.fits(value))),
            None => few = false,
        }
    }
    found.sort_unstable();
    found.dedup();
    if few && found.len() <= 1000 {
        return Ok(Some(values(column, Some(index), found.into_iter())));
    }
    patterns.push(wanted);
    Ok(Some(Condition {
        sql: format!("fits({}, {column})", patterns.len() - 1),
        ..Condition::default()
    }))
}

/// Each word of the question as a phrase of its own, so that nothing in it is an operator.
fn words(question: &str) -> Option<String> {
    let phrase = |word: &str| {
        let (word, star) = match word.strip_suffix('*') {
            Some(beginning) => (beginning, "*"),
            None => (word, ""),
        };
        let word = word.replace(['"', '\0'], " ");
        (word.chars().any(char::is_alphanumeric)).then(|| format!("\"{word}\"{star}"))
    };
    let phrases: Vec<String> = question.split_whitespace().filter_map(phrase).collect();
    (!phrases.is_empty()).then(|| phrases.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_word_of_a_question_is_an_operator() {
        assert_eq!(words("disk full"), Some("\"disk\" \"full\"".to_owned()));
        assert_eq!(
            words("a\"b OR NOT x*"),
            Some("\"a b\" \"OR\" \"NOT\" \"x\"*".to_owned())
        );
        assert_eq!(words(" - * \" "), None);
    }
}
