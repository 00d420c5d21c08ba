//! `rules test`: the tests that rules bring along, in a time of their own.

use std::fmt::Write;
use std::sync::Arc;

use transforms::anomaly;
use transforms::rules::RuleSet;

use super::{From, unknown};
use crate::exit::Exit;
use crate::say;

/// Arguments of `rules test`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Rule files, folders and patterns; without one, the rules that are in force.
    #[arg(value_name = "FILE", conflicts_with_all = ["rules", "config"])]
    files: Vec<String>,
    /// Only this rule.
    #[arg(long, value_name = "ID")]
    rule: Option<String>,
    #[command(flatten)]
    from: From,
}

/// 0 where all tests hold, 1 where one does not, 2 where there is none, 78 where a rule cannot be loaded.
pub(super) fn run(args: &Args) -> Result<Exit, Exit> {
    let mut from = args.from.clone();
    if !args.files.is_empty() {
        from.rules = args.files.clone();
    }
    let (options, cx) = from.loading()?;
    let (set, told) = RuleSet::load(&options, &cx);
    if !told.is_empty() {
        say::aside(&told.render(say::colour_on_stderr()));
    }
    if let Some(id) = &args.rule
        && set.rule(id).is_none()
    {
        return Err(unknown(&set, id));
    }
    let set = Arc::new(set);
    let tested = anomaly::run_tests(&options, &cx, &set, args.rule.as_deref());
    if tested.is_empty() {
        say::error("no rule has a test; write [[rule.test]] behind it");
        return Ok(Exit::Failed);
    }
    let mut out = String::new();
    let width = tested.iter().map(|one| one.rule.len()).max().unwrap_or(0);
    let mut failed = 0;
    for one in &tested {
        let word = if one.wrong.is_empty() { "ok" } else { "FAILED" };
        _ = writeln!(
            out,
            "{word:<6}  {:<width$}  {:>3} alerts  {}",
            one.rule,
            one.alerts,
            pipeline::printable(&one.test)
        );
        if !one.wrong.is_empty() {
            failed += 1;
            _ = writeln!(out, "        {}: {}", one.place, one.wrong.join("; "));
        }
    }
    _ = writeln!(out, "{} good, {failed} failed", tested.len() - failed);
    say::write(&out);
    Ok(match (told.errors(), failed) {
        (1.., _) => Exit::BadConfig,
        (_, 0) => Exit::Done,
        _ => Exit::Found,
    })
}
