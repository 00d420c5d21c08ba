//! Who is asked for: users, users of any realm, and tokens of users.

use rusqlite::Connection;
use rusqlite::types::Value;

use super::filter::{Condition, Filter, MOST_WALKED, Walk, column_condition, escaped};
use super::matching::{Pattern, is_wild};

impl Filter {
    pub(super) fn users_asked(
        &self,
        db: &Connection,
        patterns: &mut Vec<Vec<Pattern>>,
    ) -> rusqlite::Result<Option<Condition>> {
        let (mut users, mut tokens) = (Vec::new(), Vec::new());
        for word in &self.users {
            match token(word) {
                Some(pair) => tokens.push(pair),
                None => users.push(Pattern::User(word.clone())),
            }
        }
        let users = column_condition(db, "user", "events_user", users, patterns)?;
        if tokens.is_empty() {
            return Ok(users);
        }
        const BOTH: &str = "user GLOB ? AND token GLOB ?";
        let pairs = tokens.iter().map(|(user, token)| {
            let pair = [user, token].map(|word| Value::from(escaped(word)));
            (format!("({BOTH})"), pair.to_vec())
        });
        let (mut sql, params): (Vec<String>, Vec<_>) = pairs.unzip();
        let mut params: Vec<Value> = params.into_iter().flatten().collect();
        let exact = tokens.iter().all(|(user, _)| !is_wild(user));
        let mut walks: Option<Vec<Walk>> = exact.then(|| {
            let walk = |(user, _): &(String, String)| {
                ("user = ?".to_owned(), vec![Value::from(user.clone())])
            };
            tokens.iter().map(walk).collect()
        });
        if let Some(users) = users {
            sql.push(users.sql);
            params.extend(users.params);
            walks = walks.zip(users.walk).map(|(mut walks, (_, more))| {
                walks.extend(more);
                walks
            });
        }
        Ok(Some(Condition {
            sql: format!("({})", sql.join(" OR ")),
            params,
            walk: walks
                .filter(|walks| walks.len() <= MOST_WALKED)
                .map(|walks| ("events_user", walks)),
        }))
    }
}

/// The user and the token of `alice@pve!ci`; a name may hold `!`, a realm none.
fn token(word: &str) -> Option<(String, String)> {
    let realm = word.rfind('@')?;
    let mark = realm + word[realm..].find('!')?;
    Some((word[..mark].to_owned(), word[mark + 1..].to_owned()))
}
