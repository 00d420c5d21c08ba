//! Firewall files: options, aliases, IP sets, rules in their order, security groups.

use super::super::model::Builder;

/// `scope` is `cluster`, `node/pve1`, `vm/210`, `ct/211`, `vnet/blue`.
pub(super) fn parse(text: &str, scope: &str, to: &mut Builder<'_>) {
    enum At {
        Nowhere,
        Options,
        Aliases,
        Set(String),
        Rules,
        Group(String),
    }
    let mut at = At::Nowhere;
    for line in text.lines() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if line.starts_with('[') {
            let (head, comment) = commented(line);
            let head = head.trim_start_matches('[').trim_end_matches(']');
            let (word, name) = head.split_once(char::is_whitespace).unwrap_or((head, ""));
            let name = name.trim();
            at = match word.to_ascii_lowercase().as_str() {
                "options" => At::Options,
                "aliases" => At::Aliases,
                "rules" => {
                    to.list(scope);
                    At::Rules
                }
                "ipset" => {
                    let id = format!("{scope}/{}", name.to_lowercase());
                    to.object("ipset", &id);
                    if let Some(comment) = comment {
                        to.put(("ipset", &id), "comment", comment);
                    }
                    At::Set(id)
                }
                "group" => {
                    to.object("firewall_group", name);
                    if let Some(comment) = comment {
                        to.put(("firewall_group", name), "comment", comment);
                    }
                    let list = format!("group/{name}");
                    to.list(&list);
                    At::Group(list)
                }
                _ => {
                    to.unparsed(line);
                    At::Nowhere
                }
            };
            continue;
        }
        match &at {
            At::Nowhere => to.unparsed(line),
            At::Options => match line.split_once(':') {
                Some((key, value)) => {
                    to.put(("firewall_options", scope), key.trim(), value.trim());
                }
                None => to.unparsed(line),
            },
            At::Aliases => {
                let (body, comment) = commented(line);
                let mut words = body.split_whitespace();
                match (words.next(), words.next(), words.next()) {
                    (Some(name), Some(cidr), None) => {
                        let id = format!("{scope}/{}", name.to_lowercase());
                        to.put(("alias", &id), "cidr", cidr);
                        if let Some(comment) = comment {
                            to.put(("alias", &id), "comment", comment);
                        }
                    }
                    _ => to.unparsed(line),
                }
            }
            At::Set(id) => to.member(("ipset", id), "cidr", line),
            At::Rules => rule(line, scope, to),
            At::Group(list) => rule(line, list, to),
        }
    }
}

/// A line and what follows `#`.
fn commented(line: &str) -> (&str, Option<&str>) {
    match line.split_once('#') {
        Some((body, comment)) => (
            body.trim(),
            Some(comment.trim()).filter(|it| !it.is_empty()),
        ),
        None => (line.trim(), None),
    }
}

/// `|IN SSH(ACCEPT) -i net0 -source 10.0.0.0/8 -p tcp -dport 22 -log info # why`; `|` in front turns a rule off.
fn rule(line: &str, list: &str, to: &mut Builder<'_>) {
    let (body, comment) = commented(line);
    let (enable, body) = match body.strip_prefix('|') {
        Some(body) => ("0", body),
        None => ("1", body),
    };
    let mut words = body.split_whitespace();
    let direction = words.next().unwrap_or_default().to_ascii_lowercase();
    let target = words.next().unwrap_or_default();
    let mut parts: Vec<(&str, &str)> = vec![("enable", enable), ("type", &direction)];
    match target
        .strip_suffix(')')
        .and_then(|target| target.split_once('('))
    {
        Some((name, action)) => parts.extend([("macro", name), ("action", action)]),
        None => parts.push(("action", target)),
    }
    let mut rest: Vec<&str> = Vec::new();
    while let Some(word) = words.next() {
        let key = match word.trim_start_matches('-') {
            _ if !word.starts_with('-') => {
                rest.push(word);
                continue;
            }
            "p" | "proto" => "proto",
            "i" | "iface" => "iface",
            other => other,
        };
        parts.push((key, words.next().unwrap_or_default()));
    }
    let rest = rest.join(" ");
    if !rest.is_empty() {
        parts.push(("iface", &rest));
    }
    if let Some(comment) = comment {
        parts.push(("comment", comment));
    }
    to.rule(list, &parts);
}
