//! Who may do what: users, tokens, second factors, groups, roles, realms, ACL entries, as objects.

use pipeline::SourceOut;
use serde_json::Value;

use super::client::{Client, Queue, Trouble};
use super::objects::{Keys, Objects, keep};
use super::rows::text;
use super::{Collect, rights};

/// The key of its lane.
pub(super) const LANE: &str = "access";

/// One answer, or why there is none.
type Asked = (&'static str, Result<Value, Trouble>);

/// What is asked, and the types of objects that the answer holds.
const QUESTIONS: [(&str, &[&str]); 6] = [
    ("access/users", &["user", "token"]),
    ("access/acl", &["acl"]),
    ("access/roles", &["role"]),
    ("access/groups", &["group"]),
    ("access/domains", &["realm"]),
    ("access/tfa", &["tfa"]),
];

/// What the token may see. It is asked before and behind the rest: what is seen of the others counts only if all could be.
pub(super) const RIGHTS: &str = "access/permissions";

/// Asks for everything.
pub(super) async fn ask(client: &Client) -> Vec<Asked> {
    let mut answers = Vec::with_capacity(QUESTIONS.len() + 2);
    let rights = async || {
        let answer = client.get(Queue::Own, RIGHTS, &[]).await;
        (RIGHTS, answer.map(|mut whole| whole["data"].take()))
    };
    answers.push(rights().await);
    for (path, _) in QUESTIONS {
        let query: &[(&str, &str)] = match path {
            "access/users" => &[("full", "1")],
            _ => &[],
        };
        let answer = client.list(Queue::Own, path, query).await;
        let general = answer.as_ref().is_err_and(Trouble::is_general);
        answers.push((path, answer));
        if general {
            return answers;
        }
    }
    answers.push(rights().await);
    answers
}

/// Whether the token could see all while it was asked.
pub(super) fn is_whole(answers: &[Asked]) -> bool {
    let rights = answers.iter().filter(|(path, _)| *path == RIGHTS);
    let held = rights.filter(|(_, answer)| {
        let held = |data| rights::check(data, &[Collect::Access]);
        answer
            .as_ref()
            .is_ok_and(|data| held(data).iter().all(|right| right.held))
    });
    held.count() == 2
}

/// The objects in the answers, and the types that were read whole.
pub(super) fn read(answers: &[Asked], out: &SourceOut) -> (Vec<&'static str>, Objects) {
    let mut types = Vec::new();
    let mut objects = Objects::new();
    for (path, answer) in answers {
        let Ok(Value::Array(rows)) = answer else {
            continue;
        };
        if *path == RIGHTS {
            continue;
        }
        let kinds = QUESTIONS.iter().find(|(known, _)| known == path);
        types.extend(kinds.map_or(&[][..], |(_, kinds)| kinds));
        for row in rows {
            one(path, row, out, &mut objects);
        }
    }
    (types, objects)
}

fn one(path: &str, row: &Value, out: &SourceOut, objects: &mut Objects) {
    let word = |name: &str| text(row.get(name));
    let keys = |names: &[&str]| -> Keys {
        let held = names.iter().filter_map(|name| {
            let value = list(row.get(*name)?)?;
            Some(((*name).to_owned(), keep(name, &value, out)))
        });
        held.collect()
    };
    match path {
        "access/users" => {
            let Some(user) = word("userid") else { return };
            for token in row["tokens"].as_array().map_or(&[][..], Vec::as_slice) {
                let Some(id) = text(token.get("tokenid")) else {
                    continue;
                };
                let held = ["privsep", "expire", "comment"].iter().filter_map(|name| {
                    let value = text(token.get(*name))?;
                    Some(((*name).to_owned(), keep(name, &value, out)))
                });
                objects.insert(("token", format!("{user}!{id}")), held.collect());
            }
            let names = [
                "enable",
                "expire",
                "firstname",
                "lastname",
                "email",
                "comment",
                "groups",
                "keys",
                "totp-locked",
                "tfa-locked-until",
            ];
            objects.insert(("user", user), keys(&names));
        }
        "access/acl" => {
            let (Some(path), Some(member), Some(role)) =
                (word("path"), word("ugid"), word("roleid"))
            else {
                return;
            };
            // As `user.cfg` writes a group.
            let at = match word("type").as_deref() {
                Some("group") => "@",
                _ => "",
            };
            let id = format!("{path}|{at}{member}|{role}");
            objects.insert(("acl", id), keys(&["propagate"]));
        }
        "access/roles" => {
            // Those that are built in change with the release only.
            let special = row.get("special").and_then(|v| text(Some(v)));
            if let (Some(role), None | Some("0" | "")) = (word("roleid"), special.as_deref()) {
                objects.insert(("role", role), keys(&["privs"]));
            }
        }
        "access/groups" => {
            if let Some(group) = word("groupid") {
                objects.insert(("group", group), keys(&["users", "comment"]));
            }
        }
        "access/domains" => {
            if let Some(realm) = word("realm") {
                objects.insert(
                    ("realm", realm),
                    keys(&["type", "comment", "tfa", "default"]),
                );
            }
        }
        "access/tfa" => {
            let Some(user) = word("userid") else { return };
            for factor in row["entries"].as_array().map_or(&[][..], Vec::as_slice) {
                let Some(id) = text(factor.get("id")) else {
                    continue;
                };
                let names = ["type", "description", "enable", "created"];
                let held = names.iter().filter_map(|name| {
                    let value = text(factor.get(*name))?;
                    Some(((*name).to_owned(), keep(name, &value, out)))
                });
                objects.insert(("tfa", format!("{user}/{id}")), held.collect());
            }
        }
        _ => {}
    }
}

/// A text; of a list, written as one or as a text with commas, its parts in their order.
fn list(value: &Value) -> Option<String> {
    match value {
        Value::Array(parts) => {
            let mut parts: Vec<String> = parts.iter().filter_map(|part| text(Some(part))).collect();
            parts.sort();
            Some(parts.join(","))
        }
        Value::String(whole) if whole.contains(',') && !whole.contains(' ') => {
            let mut parts: Vec<&str> = whole.split(',').collect();
            parts.sort_unstable();
            Some(parts.join(","))
        }
        other => text(Some(other)),
    }
}

/// The users among the objects.
pub(super) fn users(objects: &Objects) -> std::collections::BTreeSet<String> {
    let users = objects.keys().filter(|(kind, _)| *kind == "user");
    users.map(|(_, id)| id.clone()).collect()
}
