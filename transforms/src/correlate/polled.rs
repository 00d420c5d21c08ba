//! Whose a change is that the API was asked for: all that is known of its time is between which two questions it lies, a
//! minute apart. A call is its author only if it is the only one in all that time, and nothing of that time is unread.

use std::collections::BTreeSet;

use pipeline::Time;

use super::author::Author;
use super::line::Resolved;
use super::pool::{At, Window};
use super::sessions::CLOCKS;
use super::{Correlate, SECOND};

/// Lines have whole seconds.
const BEFORE: i64 = SECOND;
/// A call is answered, and its line written, so much after what it wrote.
const AFTER: i64 = 5 * SECOND;

/// The key of all entries of the ACL.
const ACL: &str = "object\nacl\n";

impl Correlate {
    /// Who wrote what two looks at the API differ by, the first of which was at `since`.
    pub(super) fn author_of_polled(&self, no: u64, since: Time, forced: bool) -> Author {
        let Some(change) = self.changes.get(&no) else {
            return Author::Nobody;
        };
        let (from, to) = (since.0 - BEFORE, change.time.0 + AFTER);
        let around = Window {
            before: to - from + CLOCKS,
            after: AFTER + CLOCKS,
        };
        let mut lines: BTreeSet<At> = BTreeSet::new();
        let mut unsure = forced || change.facts.vague || !self.leaders(no).is_empty();
        for key in &change.keys {
            let Some(pool) = self.pools.get(key) else {
                continue;
            };
            let near = pool.near(change.time.0, around);
            if near.is_empty() {
                continue;
            }
            // A call never names its entry of the ACL and may change nothing: in a minute there is room for a hand beside it.
            unsure |= near.len() > 256 || &**key == ACL;
            lines.extend(near.iter().take(256));
            // Another difference that such a call may have made.
            let after = Window {
                before: CLOCKS,
                after: around.before,
            };
            let others = pool.takers(change.time.0, after);
            unsure |= others.len() > 256;
            unsure |= others.iter().take(256).any(|act| {
                self.changes.get(&act.1).is_some_and(|other| {
                    let begins = match other.facts.polled {
                        true => other.facts.since.map_or(i64::MIN, |since| since.0 - BEFORE),
                        false => other.time.0,
                    };
                    let own = act.1 == no || !self.leaders(act.1).is_empty();
                    !own && begins <= to && other.time.0 >= from
                })
            });
        }
        let mut fits: Vec<u64> = Vec::new();
        let (mut candidates, mut evidence) = (Vec::new(), Vec::new());
        for (time, line) in &lines {
            let Some(found) = self.lines.get(line) else {
                // The journal tells no change of what the API is asked for.
                unsure = true;
                continue;
            };
            match self.hosts.ahead(&found.host, &change.host, change.time) {
                Some(skew) if !(from..=to).contains(&(time - skew)) => continue,
                Some(_) => {}
                // Whether it came in that time is not known.
                None => unsure = true,
            }
            fits.push(*line);
            let resolved = self.resolve(*line);
            unsure |= !matches!(resolved, Resolved::One { .. });
            candidates.extend(resolved.addresses());
            evidence.push(found.id);
        }
        match fits.as_slice() {
            [] => Author::Nobody,
            [one]
                if !unsure
                    && self.names_all(*one, change)
                    && self.hosts.read_over(
                        from,
                        to,
                        &change.host,
                        change.time,
                        self.watermark,
                    ) =>
            {
                Author::One(*one)
            }
            _ => Author::Several(candidates, evidence),
        }
    }
}
