//! `rules enable` and `rules disable`: one line in the override file, written whole or not at all.

use std::io;
use std::path::Path;
use std::sync::Arc;

use pipeline::printable;
use transforms::rules::{Kind, Rule, RuleSet, Stage};

use super::{From, unknown};
use crate::exit::Exit;
use crate::say;

/// Arguments of `rules enable` and `rules disable`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Its id.
    #[arg(value_name = "ID")]
    id: String,
    #[command(flatten)]
    from: From,
}

const HEAD: &str =
    "# Written by `pvetrail rules enable` and `rules disable`; may be edited.\nschema = 1\n";

/// Writes it, and says where.
pub(super) fn run(args: &Args, enabled: bool) -> Result<Exit, Exit> {
    let (options, cx) = args.from.loading()?;
    let (set, _) = RuleSet::load(&options, &cx);
    // A rule that its override breaks must be able to get another one.
    if set.rule(&args.id).is_none() {
        return Err(unknown(&set, &args.id));
    }
    let Some(file) = options.overrides.clone().or(cx.overrides.clone()) else {
        say::error("there is no override file; name one with `overrides` in the anomaly transform");
        return Err(Exit::Failed);
    };
    let failed = |why: String| {
        say::error(format!("{}: {why}", file.display()));
        Exit::Failed
    };
    let before = match std::fs::read_to_string(&file) {
        Ok(text) => text,
        Err(why) if why.kind() == io::ErrorKind::NotFound => HEAD.to_owned(),
        Err(why) => return Err(failed(why.to_string())),
    };
    let after = with(&before, &args.id, enabled).map_err(failed)?;
    write(&file, &after).map_err(|why| failed(why.to_string()))?;
    let word = if enabled { "on" } else { "off" };
    say::line(format!(
        "{} is {word}, by {}; a running program reads it within seconds",
        printable(&args.id),
        printable(&file.to_string_lossy())
    ));
    let (set, _) = RuleSet::load(&options, &cx);
    if let Some(waiting) = waiting(&set, &args.id) {
        say::line(format!(
            "It goes on without alerts of its own, for {waiting} waits for it; switch that off too if nobody is to be told"
        ));
    }
    Ok(Exit::Done)
}

/// The rules that keep one evaluated that is switched off.
pub(super) fn waiting(set: &RuleSet, id: &str) -> Option<String> {
    set.rule(id).filter(|rule| rule.feeds)?;
    let waits = |rule: &&Arc<Rule>| {
        let Kind::Temporal { stages, .. } = &rule.kind else {
            return false;
        };
        let is_it = |stage: &Stage| matches!(stage, Stage::Rule(other) if **other == *id);
        (rule.enabled || rule.feeds) && stages.iter().any(is_it)
    };
    let ids: Vec<&str> = set
        .rules()
        .iter()
        .filter(waits)
        .map(|rule| &*rule.id)
        .collect();
    (!ids.is_empty()).then(|| ids.join(", "))
}

/// The text with `enabled` of that rule set; everything else stays as it is written.
fn with(text: &str, id: &str, enabled: bool) -> Result<String, String> {
    let table: toml::Table = text.parse().map_err(|why| format!("is no TOML: {why}"))?;
    let line = format!("enabled = {enabled}");
    let head = format!("[override.{id:?}]");
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let is_head = |text: &String| text.trim() == head || text.trim() == format!("[override.{id}]");
    match lines.iter().position(is_head) {
        Some(at) => {
            let end = lines
                .iter()
                .skip(at + 1)
                .position(|line| line.trim_start().starts_with('['));
            let end = end.map_or(lines.len(), |n| at + 1 + n);
            let key = |text: &String| {
                text.split('=')
                    .next()
                    .is_some_and(|key| key.trim() == "enabled")
            };
            match (at + 1..end).find(|n| key(&lines[*n])) {
                Some(n) => lines[n] = line,
                None => lines.insert(at + 1, line),
            }
        }
        None => lines.extend([String::new(), head, line]),
    }
    let text = lines.join("\n") + "\n";
    // Whatever way the file was written, what is written now must say it, and nothing else be lost.
    let mut after: toml::Table = text.parse().map_err(|_| cannot(id, enabled))?;
    let said = after
        .get("override")
        .and_then(|all| all.get(id))
        .and_then(|one| one.get("enabled"));
    if said != Some(&toml::Value::Boolean(enabled)) {
        return Err(cannot(id, enabled));
    }
    let mut before = table;
    for table in [&mut before, &mut after] {
        if let Some(all) = table
            .get_mut("override")
            .and_then(toml::Value::as_table_mut)
        {
            if let Some(one) = all.get_mut(id).and_then(toml::Value::as_table_mut) {
                one.remove("enabled");
                if one.is_empty() {
                    all.remove(id);
                }
            }
            if all.is_empty() {
                table.remove("override");
            }
        }
    }
    if before == after {
        Ok(text)
    } else {
        Err(cannot(id, enabled))
    }
}

fn cannot(id: &str, enabled: bool) -> String {
    format!(
        "is written in a way that cannot be changed here; write enabled = {enabled} into [override.{id:?}] yourself"
    )
}

fn write(file: &Path, text: &str) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt, chown};
    pipeline::write_durably(file, text.as_bytes())?;
    // Written by root, it must still be readable by the program that runs without root: it belongs to whom the folder does.
    let folder = file
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let (folder, file) = (folder.unwrap_or(Path::new(".")).metadata()?, file);
    if folder.uid() != file.metadata()?.uid() {
        chown(file, Some(folder.uid()), Some(folder.gid()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_that_line_changes() {
        let first = with(HEAD, "PVR-201", false).unwrap();
        assert!(
            first.ends_with("\n[override.\"PVR-201\"]\nenabled = false\n"),
            "{first}"
        );
        let kept = first.replace("enabled", "# mine\nseverity = \"low\"\nenabled");
        let again = with(&kept, "PVR-201", true).unwrap();
        assert_eq!(again, kept.replace("enabled = false", "enabled = true"));
        let both = with(&again, "PVR-202", false).unwrap();
        assert!(
            both.starts_with(&again) && both.ends_with("[override.\"PVR-202\"]\nenabled = false\n"),
            "{both}"
        );
        for text in [
            "schema = 1\noverride = { \"PVR-201\" = { enabled = true } }\n",
            "schema = 1\n[override]\n\"PVR-201\".enabled = true\n",
        ] {
            assert!(
                with(text, "PVR-201", false)
                    .is_err_and(|why| why.contains("cannot be changed here")),
                "{text}"
            );
        }
        assert!(with("schema = [\n", "PVR-201", false).is_err());
    }
}
