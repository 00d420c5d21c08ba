//! `pvetrail policy show`: how much of which event is recorded, and which rule says so.

use std::fmt::Write;
use std::path::PathBuf;

use pipeline::catalogue::Catalogue;
use pipeline::printable;
use serde_json::json;
use transforms::event_id::policy::{self, Policy};

use crate::exit::Exit;
use crate::say;

/// Arguments of `policy`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Show the level of every event ID: none, metadata, params or full.
    Show(Show),
}

#[derive(Debug, clap::Args)]
struct Show {
    /// What holds on this node alone.
    #[arg(long, value_name = "NODE")]
    node: Option<String>,
    /// Only these event IDs; `?` is one character, `*` at the end the rest: PVE-2002, PVE-20??, PVE-3*.
    #[arg(long, value_name = "CODE")]
    code: Vec<String>,
    /// Policy files, the most particular first; without any, those that a node has.
    #[arg(long, value_name = "FILE")]
    policy: Vec<PathBuf>,
    /// One JSON object per line.
    #[arg(long)]
    json: bool,
}

/// Prints the levels.
pub(crate) fn run(args: &Args) -> Exit {
    let What::Show(show) = &args.what;
    match show.text() {
        Ok(text) => {
            say::write(&text);
            Exit::Done
        }
        Err(exit) => exit,
    }
}

impl Show {
    fn text(&self) -> Result<String, Exit> {
        let (policy, files) = self.read()?;
        let rows = self.rows()?;
        Ok(if self.json {
            self.lines(&policy, &rows)
        } else {
            files + &self.table(&policy, &rows)
        })
    }

    /// All files in one, and what was found in each.
    fn read(&self) -> Result<(Policy, String), Exit> {
        let named = !self.policy.is_empty();
        let files = if named {
            self.policy.clone()
        } else {
            policy::default_files()
        };
        let (mut all, mut told, mut wrong) = (Policy::default(), String::new(), false);
        for file in files {
            let place = printable(&file.to_string_lossy()).into_owned();
            let text = match policy::read_file(&file) {
                Ok(Some(text)) => text,
                Ok(None) if named => {
                    say::error(format!("{place}: there is no such file"));
                    return Err(Exit::Failed);
                }
                Ok(None) => {
                    _ = writeln!(told, "{place}: not there");
                    continue;
                }
                Err(why) => {
                    say::error(format!("{place}: {why}"));
                    return Err(Exit::Failed);
                }
            };
            match Policy::parse(&text, &file) {
                Ok(one) => {
                    let rules = match one.len() {
                        1 => "1 rule".to_owned(),
                        n => format!("{n} rules"),
                    };
                    _ = writeln!(told, "{place}: {rules}");
                    all = all.then(one);
                }
                Err(why) => {
                    say::error(printable(&why));
                    wrong = true;
                }
            }
        }
        match wrong {
            true => Err(Exit::BadConfig),
            false => Ok((all, told + "\n")),
        }
    }

    /// Numbers of the rows that are asked for, in the order of the catalogue.
    fn rows(&self) -> Result<Vec<usize>, Exit> {
        let catalogue = Catalogue::builtin().rows();
        if self.code.is_empty() {
            return Ok((0..catalogue.len()).collect());
        }
        let mut rows = Vec::new();
        for pattern in &self.code {
            let found = policy::rows_like(&pattern.to_ascii_uppercase());
            if found.is_empty() {
                let pattern = printable(pattern);
                let codes = catalogue.iter().map(|row| row.code.as_str());
                let remedy = match pipeline::config::nearest(&pattern, codes) {
                    Some(meant) => format!("did you mean \"{meant}\"?"),
                    None => "`pvetrail list events` names them all".to_owned(),
                };
                say::error(format!("there is no event ID \"{pattern}\"; {remedy}"));
                return Err(Exit::Failed);
            }
            rows.extend(found);
        }
        rows.sort_unstable();
        rows.dedup();
        Ok(rows)
    }

    fn table(&self, policy: &Policy, rows: &[usize]) -> String {
        let catalogue = Catalogue::builtin().rows();
        let mut out = format!("{:<9} {:<26} {:<9} {}\n", "CODE", "ACTION", "LEVEL", "WHY");
        for number in rows {
            let row = &catalogue[*number];
            let decisions = policy.decisions(*number, self.node.as_deref());
            // What nobody decided is told in one line, so that what somebody did stands out.
            let plain = decisions
                .iter()
                .all(|one| one.from.is_none() && !one.raised);
            if let ([some, rest], true) = (decisions.as_slice(), plain) {
                let (code, action) = (&row.code, &row.action);
                let (level, more) = (rest.level.name(), some.level.name());
                _ = writeln!(
                    out,
                    "{code:<9} {action:<26} {level:<9} built in; {more} only for {}",
                    some.only
                );
                continue;
            }
            for (n, one) in decisions.iter().enumerate() {
                let (code, action) = match n {
                    0 => (row.code.as_str(), row.action.as_str()),
                    _ => ("", ""),
                };
                let mut why = one.from.clone().unwrap_or_else(|| "built in".to_owned());
                if one.raised {
                    why.push_str("; less is not possible for this event");
                }
                if !one.only.is_empty() {
                    why = format!("only {} ({why})", one.only);
                }
                let why = printable(&why);
                _ = writeln!(out, "{code:<9} {action:<26} {:<9} {why}", one.level.name());
            }
        }
        out
    }

    fn lines(&self, policy: &Policy, rows: &[usize]) -> String {
        let catalogue = Catalogue::builtin().rows();
        let mut out = String::new();
        for number in rows {
            let row = &catalogue[*number];
            let decisions = policy.decisions(*number, self.node.as_deref());
            let levels: Vec<_> = decisions
                .iter()
                .map(|one| {
                    json!({
                        "level": one.level.name(),
                        "only": one.only,
                        "rule": one.from,
                        "raised": one.raised,
                    })
                })
                .collect();
            let line = json!({
                "code": row.code,
                "action": row.action,
                "node": self.node,
                "least": policy::least(row).name(),
                "levels": levels,
            });
            _ = writeln!(out, "{}", say::safe_json(&line.to_string()));
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_shows_at_the_codes_it_is_about() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("policy.toml");
        std::fs::write(
            &file,
            "[[rule]]\ncode = \"PVE-20??\"\nnode = \"pve2\"\nlevel = \"metadata\"\n",
        )
        .unwrap();
        let show = |node: &str, json| Show {
            node: Some(node.to_owned()),
            code: vec!["pve-2004".to_owned()],
            policy: vec![file.clone()],
            json,
        };
        let text = show("pve2", false).text().unwrap();
        assert!(
            text.contains("PVE-2004  vm-start                   metadata"),
            "{text}"
        );
        assert!(text.contains("policy.toml, rule 1"), "{text}");
        let text = show("pve1", false).text().unwrap();
        let lines = text.lines().filter(|line| line.contains("built in"));
        assert_eq!(lines.count(), 1, "{text}");
        let text = show("pve1", true).text().unwrap();
        let line: serde_json::Value = serde_json::from_str(text.trim()).unwrap();
        assert_eq!(line["levels"][1]["level"], "params", "{text}");
        std::fs::write(&file, "[[rule]]\nlevel = \"much\"\n").unwrap();
        assert_eq!(show("pve1", false).text(), Err(Exit::BadConfig));
    }
}
