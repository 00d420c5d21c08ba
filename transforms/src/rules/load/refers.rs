//! Rules that refer to rules.

use super::*;

/// Ids of the rules whose firings a rule waits for.
fn refers(rule: &Rule) -> Vec<Box<str>> {
    match &rule.kind {
        Kind::Temporal { stages, .. } => stages
            .iter()
            .filter_map(|stage| match stage {
                Stage::Rule(id) => Some(id.clone()),
                Stage::Selection(_) => None,
            })
            .collect(),
        _ => Vec::new(),
    }
}

/// A rule that is switched off goes on without alerts where one that is switched on waits for it: who switches off failed
/// logins does not mean the break-in behind them.
pub(super) fn feed(rules: &mut [Rule]) {
    loop {
        let wanted: BTreeSet<Box<str>> = rules
            .iter()
            .filter(|rule| rule.enabled || rule.feeds)
            .flat_map(refers)
            .collect();
        let off = |rule: &&mut Rule| !rule.enabled && !rule.feeds && wanted.contains(&rule.id);
        let mut more = false;
        for rule in rules.iter_mut().filter(off) {
            rule.feeds = true;
            more = true;
        }
        if !more {
            return;
        }
    }
}

/// Takes out rules that refer to rules which could not be loaded, and those that refer to themselves through others.
pub(super) fn circles(
    rules: &mut Vec<Rule>,
    places: &HashMap<Box<str>, (Place, String)>,
    docs: &mut Documents,
) {
    let tell = |docs: &mut Documents, id: &str, message: String, help: &str| {
        let (place, path) = places
            .get(id)
            .cloned()
            .unwrap_or((Place::NONE, String::new()));
        docs.say(Diagnostic::error(place, format!("{path}.rules"), message).with_help(help));
    };
    loop {
        let missing = rules.iter().position(|rule| {
            refers(rule)
                .iter()
                .any(|id| !rules.iter().any(|other| other.id == *id))
        });
        let Some(n) = missing else {
            break;
        };
        let gone = refers(&rules[n])
            .into_iter()
            .find(|id| !rules.iter().any(|other| other.id == *id))
            .unwrap_or_default();
        tell(
            docs,
            &rules[n].id,
            format!(
                "rule \"{}\" refers to \"{gone}\", which could not be loaded",
                rules[n].id
            ),
            "mend that one first",
        );
        rules.remove(n);
    }
    // What refers to nothing that is left is in no circle; what remains at the end is in one, or leads to one.
    let mut open: Vec<usize> = (0..rules.len()).collect();
    loop {
        let before = open.len();
        let ids: BTreeSet<Box<str>> = open.iter().map(|n| rules[*n].id.clone()).collect();
        open.retain(|n| refers(&rules[*n]).iter().any(|id| ids.contains(id)));
        if open.len() == before {
            break;
        }
    }
    for n in open.iter().rev() {
        let rule = rules.remove(*n);
        let message = format!(
            "rule \"{}\" refers to itself through \"{}\"",
            rule.id,
            refers(&rule).join("\", \"")
        );
        tell(docs, &rule.id, message, "take one of them out of `rules`");
    }
}
