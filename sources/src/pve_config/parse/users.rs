//! `user.cfg`: users, groups, pools, roles, tokens, and who has which role where.

use super::super::model::Builder;

pub(super) fn parse(text: &str, to: &mut Builder<'_>) {
    for line in text.lines() {
        let line = line.trim_end();
        if line.trim_start().is_empty() || line.trim_start().starts_with('#') {
            continue;
        }
        let parts: Vec<&str> = line.splitn(16, ':').collect();
        let part = |at: usize| parts.get(at).copied().unwrap_or_default().trim();
        let id = part(1);
        if id.is_empty() {
            to.unparsed(line);
            continue;
        }
        let named = |kind: &'static str, keys: &[&str], to: &mut Builder<'_>| {
            to.object(kind, id);
            for (at, key) in keys.iter().enumerate() {
                let value = part(at + 2);
                if !value.is_empty() {
                    to.put((kind, id), key, &escaped(value));
                }
            }
        };
        match part(0) {
            "user" => named(
                "user",
                &[
                    "enable",
                    "expire",
                    "firstname",
                    "lastname",
                    "email",
                    "comment",
                    "keys",
                ],
                to,
            ),
            "token" => named("token", &["expire", "privsep", "comment"], to),
            "group" => {
                to.object("group", id);
                to.members(("group", id), "members", part(2));
                comment(("group", id), part(3), to);
            }
            "pool" => {
                to.object("pool", id);
                comment(("pool", id), part(2), to);
                to.members(("pool", id), "vms", part(3));
                to.members(("pool", id), "storage", part(4));
            }
            "role" => {
                to.object("role", id);
                to.members(("role", id), "privs", part(2));
            }
            "acl" => acl(id, part(2), part(3), part(4), to),
            _ => to.unparsed(line),
        }
    }
}

fn comment(name: (&str, &str), value: &str, to: &mut Builder<'_>) {
    if !value.is_empty() {
        to.put(name, "comment", &escaped(value));
    }
}

/// PVE writes special characters of names and comments with `%`.
fn escaped(value: &str) -> std::borrow::Cow<'_, str> {
    super::unescape(value)
}

/// One object for each member and role, however PVE has put them into lines.
fn acl(propagate: &str, path: &str, members: &str, roles: &str, to: &mut Builder<'_>) {
    let split = |text: &str| -> Vec<String> {
        let parts = text.split([',', ';', ' ']).map(str::trim);
        let parts = parts.filter(|part| !part.is_empty());
        parts.map(str::to_owned).collect()
    };
    let roles = split(roles);
    for member in split(members) {
        for role in &roles {
            let id = format!("{path}|{member}|{role}");
            let text = format!("propagate={propagate} path={path} member={member} role={role}");
            if !to.has("acl", &id) {
                to.put(("acl", &id), "acl", &text);
            }
        }
    }
}
