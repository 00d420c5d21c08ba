//! What is asked about: objects by type and id, by name, and guests whatever each event is about.

use rusqlite::types::Value;
use rusqlite::{Connection, params};

use super::filter::{Condition, Filter, MANY, MOST_WALKED, escaped, guests};
use super::matching::is_wild;
use super::resolve::{distinct, is_there};

impl Filter {
    pub(super) fn objects_asked(&self, db: &Connection) -> rusqlite::Result<Option<Condition>> {
        let number = |word: &String| word.strip_prefix("guest/")?.parse().ok();
        match self.objects.as_slice() {
            [] => return Ok(None),
            [word] => {
                if let Some(condition) = named(db, word)? {
                    return Ok(Some(condition));
                }
            }
            _ => {}
        }
        let numbers: Option<Vec<i64>> = self.objects.iter().map(number).collect();
        if let Some(numbers) = numbers {
            return Ok(Some(guests(&numbers)));
        }
        let types = distinct(db, "object_type", "events_object", "")?.unwrap_or_default();
        let (mut sql, mut params, mut walks) = (Vec::new(), Vec::new(), Some(Vec::new()));
        let mut add = |text: &str, values: Vec<Value>, index: bool| {
            sql.push(text.to_owned());
            params.extend(values.clone());
            match &mut walks {
                Some(walks) if index => walks.push((text.to_owned(), values)),
                _ => walks = None,
            }
        };
        const BOTH: &str = "object_type = ? AND object_id = ?";
        for word in &self.objects {
            match word.split_once('/') {
                Some(("guest", vmid)) if vmid.parse::<i64>().is_ok() => {
                    add(
                        "vmid = ?",
                        vec![Value::from(vmid.parse::<i64>().unwrap_or(0))],
                        false,
                    );
                }
                Some(("guest", pattern)) if is_wild(pattern) => {
                    let pattern = Value::from(escaped(pattern));
                    add("CAST(vmid AS TEXT) GLOB ?", vec![pattern], false);
                }
                Some((kind, id)) if !is_wild(word) && !kind.is_empty() && !id.is_empty() => {
                    add(
                        BOTH,
                        vec![Value::from(kind.to_owned()), Value::from(id.to_owned())],
                        true,
                    );
                }
                Some((kind, id)) if !kind.is_empty() => {
                    let pattern = if id.is_empty() { "*" } else { id };
                    let values = vec![Value::from(escaped(kind)), Value::from(escaped(pattern))];
                    add("(object_type GLOB ? AND object_id GLOB ?)", values, false);
                }
                _ if types.iter().any(|kind| kind == word) => {
                    add("object_type = ?", vec![Value::from(word.clone())], false);
                }
                _ => {
                    let ids: Vec<&String> = types
                        .iter()
                        .filter(|kind| is_there(db, kind, word).unwrap_or(false))
                        .collect();
                    for kind in &ids {
                        add(
                            BOTH,
                            vec![Value::from((*kind).clone()), Value::from(word.clone())],
                            true,
                        );
                    }
                    if ids.is_empty() {
                        let word = Value::from(escaped(word));
                        let either = "(object_id GLOB ? OR object_name GLOB ?)";
                        add(either, vec![word.clone(), word], false);
                    }
                }
            }
        }
        Ok(Some(Condition {
            sql: format!("({})", sql.join(" OR ")),
            params,
            walk: walks
                .filter(|walks| walks.len() <= MOST_WALKED)
                .map(|walks| ("events_object", walks)),
        }))
    }
}

/// Objects that are called so, by the index of words; `None` where the word is no such name, or too many have it.
fn named(db: &Connection, word: &str) -> rusqlite::Result<Option<Condition>> {
    if is_wild(word) || word.contains(['/', '"', '\0']) || !word.chars().any(char::is_alphanumeric)
    {
        return Ok(None);
    }
    let question = format!("object_name : \"{word}\"");
    let found: i64 = db
        .prepare("SELECT count(*) FROM (SELECT 1 FROM words WHERE words MATCH ?1 LIMIT ?2)")?
        .query_row(params![question, MANY], |row| row.get(0))?;
    let types = distinct(db, "object_type", "events_object", "")?.unwrap_or_default();
    let mut ids = types.iter();
    let is_id = ids.any(|kind| kind == word || is_there(db, kind, word).unwrap_or(false));
    if is_id || found == 0 || found >= MANY {
        return Ok(None);
    }
    let walk = "seq IN (SELECT rowid FROM words WHERE words MATCH ?)".to_owned();
    Ok(Some(Condition {
        sql: "object_name = ?".to_owned(),
        params: vec![Value::from(word.to_owned())],
        walk: Some(("", vec![(walk, vec![Value::from(question)])])),
    }))
}
