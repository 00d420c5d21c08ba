//! What profiles and overrides change in rules.

use super::*;

impl Loading {
    pub(super) fn overrides(&mut self, entry: Entry, section: &str, profile: bool) {
        let Value::Table(table) = entry.node.value else {
            return self.say(
                entry.key_place,
                section,
                format!("`{section}` is a table by id of rules"),
                format!("write [{section}.\"PVR-103\"]"),
            );
        };
        let allowed: &[&str] = if profile { &PROFILE } else { &OVERRIDE };
        for id in table.0 {
            let section = format!("{section}.\"{}\"", id.key);
            let Value::Table(keys) = &id.node.value else {
                self.say(
                    id.key_place,
                    &section,
                    "this is a table of other values",
                    format!("write [{section}]"),
                );
                continue;
            };
            for key in &keys.0 {
                if !allowed.contains(&key.key.as_str()) {
                    let help = match nearest(&key.key, allowed.iter().copied()) {
                        Some(meant) => format!("did you mean `{meant}`?"),
                        None => format!(
                            "what can be changed is {}; for more copy the rule under an id of its own",
                            allowed.join(", ")
                        ),
                    };
                    self.say(
                        key.key_place,
                        &format!("{section}.{}", key.key),
                        format!("`{}` cannot be changed here", key.key),
                        help,
                    );
                }
            }
            self.changes.push(Change {
                id,
                section,
                profile,
            });
        }
    }

    pub(super) fn profiles(&mut self, entry: Entry, profile: Profile) {
        let Value::Table(table) = entry.node.value else {
            return self.say(
                entry.key_place,
                "profile",
                "`profile` is a table by name of profiles",
                "write [profile.quiet.\"PVR-201\"]",
            );
        };
        for one in table.0 {
            if !["quiet", "strict"].contains(&one.key.as_str()) {
                let help = nearest(&one.key, ["quiet", "strict"])
                    .map_or("there are quiet and strict".to_owned(), |meant| {
                        format!("did you mean \"{meant}\"?")
                    });
                self.say(
                    one.key_place,
                    "profile",
                    format!("there is no profile \"{}\"", one.key),
                    help,
                );
            } else if one.key == profile.name() {
                let section = format!("profile.{}", one.key);
                self.overrides(one, &section, true);
            }
        }
    }

    /// Puts the values of profile and overrides into the rules' tables, so that what is wrong with them has its place.
    pub(super) fn change(&mut self, ids: &[String]) {
        let mut changes = std::mem::take(&mut self.changes);
        changes.sort_by_key(|change| !change.profile);
        for change in changes {
            let pattern: Vec<char> = change.id.key.chars().collect();
            let like = |id: &str| fold::glob(id.chars(), &pattern);
            let Value::Table(keys) = &change.id.node.value else {
                continue;
            };
            if !ids.iter().any(|id| like(id)) {
                // A profile may speak of rules of the pack that are not loaded.
                if !change.profile {
                    let help = match nearest(&change.id.key, ids.iter().map(String::as_str)) {
                        Some(meant) => format!("did you mean \"{meant}\"?"),
                        None => "`pvetrail rules list` names them all".to_owned(),
                    };
                    self.say(
                        change.id.key_place,
                        &change.section,
                        format!("there is no rule \"{}\"", change.id.key),
                        help,
                    );
                }
                continue;
            }
            let mut used: BTreeSet<&str> = BTreeSet::new();
            for found in &mut self.rules {
                if !id_of(&found.table).is_some_and(|(id, _)| like(&id)) {
                    continue;
                }
                for key in keys
                    .0
                    .iter()
                    .filter(|key| PROFILE.contains(&key.key.as_str()))
                {
                    used.insert(&key.key);
                    // Of a selection that takes things out, another one takes out more.
                    let mut entry = key.clone();
                    if let (true, Some(before)) = (key.key == "exclude", found.table.get("exclude"))
                    {
                        entry.node.value =
                            Value::List(tables(before).chain(tables(key)).cloned().collect());
                    }
                    // The field of a condition stays the rule's, where only the number changes.
                    if let (true, Some(Value::Table(before))) = (
                        key.key == "condition",
                        found.table.get("condition").map(|entry| &entry.node.value),
                    ) && let (Some(field), Value::Table(table)) =
                        (before.get("field"), &mut entry.node.value)
                        && table.get("field").is_none()
                    {
                        table.0.push(field.clone());
                    }
                    let place = self.docs.describe(key.key_place);
                    found.table.take(&key.key);
                    found.table.0.push(entry);
                    found.overridden.push((key.key.clone(), place));
                }
            }
        }
    }
}

fn tables(entry: &Entry) -> Box<dyn Iterator<Item = &Node> + '_> {
    match &entry.node.value {
        Value::List(items) => Box::new(items.iter()),
        _ => Box::new(std::iter::once(&entry.node)),
    }
}
