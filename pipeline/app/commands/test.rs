//! `pvetrail test`: folders of cases, and the `[[tests]]` of a configuration, each on one thread with a clock of its own.

use std::io;
use std::path::{Path, PathBuf};

use pipeline::case::{self, CaseVerdict};
use pipeline::{Registry, SystemEnv};

use crate::exit::Exit;
use crate::{load, say};

/// Arguments of `test`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Configurations with `[[tests]]`, and folders of cases (`graph.toml`, `in.log`, `out.jsonl`).
    #[arg(value_name = "FILE|FOLDER", default_value = "tests/cases")]
    paths: Vec<PathBuf>,

    /// Make what comes out of the cases what should come out.
    #[arg(long)]
    bless: bool,
}

/// How many went well, and how many did not.
#[derive(Default)]
struct Score {
    good: usize,
    failed: usize,
    blessed: usize,
}

/// 0 where all went well, 1 where one failed, 2 where there is none, 78 where a configuration does not hold.
pub(crate) fn run(args: &Args) -> Exit {
    let registry = crate::registry();
    let mut score = Score::default();
    for path in &args.paths {
        let cases = match cases(path) {
            Ok(cases) => cases,
            Err(why) => {
                say::error(format!("{}: {why}", path.display()));
                return Exit::Failed;
            }
        };
        if cases.is_empty() {
            if let Err(exit) = told(path, &registry, &mut score) {
                return exit;
            }
            continue;
        }
        for folder in cases {
            run_case(&folder, &registry, args.bless, &mut score);
        }
    }
    let Score {
        good,
        failed,
        blessed,
    } = score;
    if good + failed + blessed == 0 {
        say::error(
            "there is no test here: a configuration has [[tests]], a case is a folder with graph.toml, in.log and out.jsonl",
        );
        return Exit::Failed;
    }
    let changed = if args.bless {
        format!(", {blessed} blessed")
    } else {
        String::new()
    };
    say::line(format!("{good} good, {failed} failed{changed}"));
    if failed > 0 { Exit::Found } else { Exit::Done }
}

/// The cases below a folder; a file, or a folder without any, is a configuration.
fn cases(path: &Path) -> io::Result<Vec<PathBuf>> {
    // A missing path is worth its own message, not "no tests here".
    if path.metadata()?.is_dir() {
        case::find_cases(path)
    } else {
        Ok(Vec::new())
    }
}

fn run_case(folder: &Path, registry: &Registry, bless: bool, score: &mut Score) {
    let result = case::run_folder(folder, registry, bless);
    if !result.passed() {
        score.failed += 1;
        say::line(&result);
    } else if result.verdict == CaseVerdict::Blessed(true) {
        score.blessed += 1;
        say::line(format!("blessed: {}", result.name));
    } else {
        score.good += 1;
    }
}

/// The configuration's own tests.
fn told(path: &Path, registry: &Registry, score: &mut Score) -> Result<(), Exit> {
    let graph = load::graph(&[path.to_owned()], registry, &SystemEnv)?;
    for result in case::run_tests(&graph) {
        if result.passed() {
            score.good += 1;
        } else {
            score.failed += 1;
            say::line(&result);
        }
    }
    Ok(())
}
