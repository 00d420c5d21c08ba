//! Events counted by what they have in common.

use pipeline::Time;
use rusqlite::params_from_iter;
use rusqlite::types::Value;

use super::filter::{Filter, indexed};
use super::read::Reader;
use super::trouble::Trouble;

/// By what rows are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "they are named like the columns")]
pub enum By {
    User,
    Source,
    Action,
    Code,
    Object,
    Vmid,
    Node,
    Outcome,
    Origin,
    Kind,
    /// The day, UTC.
    Day,
    /// The hour of that day, UTC.
    Hour,
}

impl By {
    /// The key, and beside it what an address rests on.
    fn sql(self) -> (&'static str, &'static str) {
        let key = match self {
            By::User => "user",
            By::Source => return ("coalesce(source, candidates)", "source_basis"),
            By::Action => "action",
            By::Code => "code",
            By::Object => "object_type || '/' || object_id",
            By::Vmid => "vmid",
            By::Node => "node",
            By::Outcome => "outcome",
            By::Origin => "origin",
            By::Kind => "kind",
            By::Day => "strftime('%Y-%m-%d', time / 1000, 'unixepoch')",
            By::Hour => "strftime('%Y-%m-%dT%H:00Z', time / 1000, 'unixepoch')",
        };
        (key, "NULL")
    }
}

/// Rows that have a key in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// What they have in common; empty where they have nothing there.
    pub key: String,
    /// What the address rests on, where the key is one.
    pub source_basis: String,
    /// How many.
    pub count: i64,
    /// How many of them failed.
    pub failed: i64,
    /// Different addresses among them.
    pub sources: i64,
    /// The first.
    pub first: Time,
    /// The last.
    pub last: Time,
}

impl Reader {
    /// Counts the rows by what they have in common, the most first; those with at least `least`, `limit` of them (0: all).
    pub fn groups(
        &self,
        filter: &Filter,
        by: By,
        least: i64,
        limit: usize,
    ) -> Result<Vec<Group>, Trouble> {
        self.try_groups(filter, by, least, limit)
            .map_err(|why| self.trouble(&why))
    }

    fn try_groups(
        &self,
        filter: &Filter,
        by: By,
        least: i64,
        limit: usize,
    ) -> rusqlite::Result<Vec<Group>> {
        let plan = filter.plan(&self.db)?;
        let (key, basis) = by.sql();
        let (index, walk, mut params) = match plan.walks.as_slice() {
            [(walk, params)] => (plan.index, walk.clone(), params.clone()),
            walks if plan.is_small() && !plan.index.is_empty() => {
                // Few rows: one by one, by their numbers.
                let union: Vec<String> = walks
                    .iter()
                    .map(|(walk, _)| {
                        format!(
                            "SELECT seq FROM events {} WHERE {walk}",
                            indexed(plan.index)
                        )
                    })
                    .collect();
                let params = walks
                    .iter()
                    .flat_map(|(_, params)| params.clone())
                    .collect();
                let walk = match union.is_empty() {
                    true => "0".to_owned(),
                    false => format!("seq IN ({})", union.join(" UNION ")),
                };
                ("", walk, params)
            }
            _ => ("events_time", "1".to_owned(), Vec::<Value>::new()),
        };
        params.extend(plan.params);
        let limit = if limit == 0 {
            i64::MAX
        } else {
            i64::try_from(limit).unwrap_or(i64::MAX)
        };
        let sql = format!(
            "SELECT coalesce(CAST({key} AS TEXT), ''), coalesce({basis}, ''), count(*), sum(outcome IS 'failure'),
                    count(DISTINCT source), min(time), max(time)
             FROM events {} WHERE {walk} AND {} GROUP BY 1, 2 HAVING count(*) >= {least} ORDER BY 3 DESC, 1, 2 LIMIT {limit}",
            indexed(index),
            plan.all
        );
        let mut statement = self.db.prepare(&sql)?;
        let time = |millis: i64| Time(millis.saturating_mul(1_000_000));
        statement
            .query_map(params_from_iter(params), |row| {
                Ok(Group {
                    key: row.get(0)?,
                    source_basis: row.get(1)?,
                    count: row.get(2)?,
                    failed: row.get(3)?,
                    sources: row.get(4)?,
                    first: time(row.get(5)?),
                    last: time(row.get(6)?),
                })
            })?
            .collect()
    }
}
