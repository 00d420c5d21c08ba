//! A case in its folder: run it, compare what comes out with what is written there, or write it there.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value;

use super::bench::Bench;
use super::input::Input;
use super::told::{TestResult, run_tests};
use super::{HOST, START, trees};
use crate::component::Registry;
use crate::config::{Env, Graph, SystemEnv, load};

/// Differences shown for one file; the rest is counted.
const MOST_SHOWN: usize = 8;

/// What became of a case.
#[derive(Debug)]
pub struct CaseResult {
    /// The folder.
    pub folder: PathBuf,
    /// Its name: the sentence that it shows.
    pub name: String,
    /// How it ended.
    pub verdict: CaseVerdict,
    /// The `[[tests]]` of its `graph.toml`.
    pub tests: Vec<TestResult>,
}

/// How a case ended.
#[derive(Debug, PartialEq)]
pub enum CaseVerdict {
    /// What came out is what is written there.
    Same,
    /// It was written down; whether anything changed.
    Blessed(bool),
    /// Something else came out: for each file its name and the differences.
    Different(Vec<(String, Vec<String>)>),
    /// It could not be run.
    Broken(String),
}

impl CaseResult {
    /// Whether all is as it should be.
    pub fn passed(&self) -> bool {
        matches!(self.verdict, CaseVerdict::Same | CaseVerdict::Blessed(_))
            && self.tests.iter().all(TestResult::passed)
    }
}

impl fmt::Display for CaseResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.passed() { "ok" } else { "FAILED" };
        write!(f, "{word} {}", self.folder.display())?;
        match &self.verdict {
            CaseVerdict::Same | CaseVerdict::Blessed(false) => {}
            CaseVerdict::Blessed(true) => f.write_str(" (written)")?,
            CaseVerdict::Broken(why) => write!(f, "\n  {}", why.trim_end().replace('\n', "\n  "))?,
            CaseVerdict::Different(files) => {
                for (file, lines) in files {
                    write!(f, "\n  {file}:")?;
                    for line in lines {
                        write!(f, "\n    {line}")?;
                    }
                }
            }
        }
        for test in self.tests.iter().filter(|test| !test.passed()) {
            write!(f, "\n  {}", test.to_string().replace('\n', "\n  "))?;
        }
        Ok(())
    }
}

/// All cases in and below `root`: folders with a `graph.toml`, by name.
pub fn find_cases(root: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut open = vec![root.to_owned()];
    while let Some(folder) = open.pop() {
        if folder.join("graph.toml").is_file() {
            found.push(folder);
            continue;
        }
        for entry in std::fs::read_dir(&folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                open.push(entry.path());
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Runs the case in `folder`; `bless` writes down what comes out instead of comparing it.
pub fn run_folder(folder: &Path, registry: &Registry, bless: bool) -> CaseResult {
    let name = folder
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .replace('-', " ");
    let mut result = CaseResult {
        folder: folder.to_owned(),
        name,
        verdict: CaseVerdict::Same,
        tests: Vec::new(),
    };
    let run = catch_unwind(AssertUnwindSafe(|| {
        run(folder, registry, bless, &mut result.tests)
    }));
    result.verdict = match run {
        Ok(Ok(verdict)) => verdict,
        Ok(Err(why)) => CaseVerdict::Broken(why),
        Err(panic) => {
            let why = crate::topology::node::panic_text(&*panic);
            CaseVerdict::Broken(format!("a component panicked: {why}"))
        }
    };
    result
}

fn run(
    folder: &Path,
    registry: &Registry,
    bless: bool,
    tests: &mut Vec<TestResult>,
) -> Result<CaseVerdict, String> {
    let tree = Tree::new();
    let env = CaseEnv {
        folder,
        tree: &tree.0,
    };
    let read = || -> Result<Graph, String> {
        let (graph, _) = load(&[folder.join("graph.toml")], registry, &env)
            .map_err(|found| found.to_string())?;
        Ok(graph)
    };
    let graph = read()?;
    *tests = run_tests(&graph);
    let mut inputs = Vec::new();
    for (n, source) in graph.sources.iter().enumerate() {
        let states = trees::states(folder, &source.id);
        inputs.push(match states.is_empty() {
            true => Input::read(folder, &source.id, START)?,
            false => trees::read(read()?, n, &states, &tree.0, START)?,
        });
    }
    if inputs.iter().all(|input| input.end.is_none()) {
        return if tests.is_empty() {
            Err(
                "there is neither in.log nor in.jsonl nor in/1, nor a [[tests]] in graph.toml; write one"
                    .to_owned(),
            )
        } else {
            Ok(CaseVerdict::Same)
        };
    }
    let mut bench = Bench::new(&graph, START)?;
    bench.run(&inputs)?;
    compare(folder, &graph, &bench, bless)
}

fn compare(
    folder: &Path,
    graph: &Graph,
    bench: &Bench<'_>,
    bless: bool,
) -> Result<CaseVerdict, String> {
    let (mut different, mut changed) = (Vec::new(), false);
    for sink in &graph.sinks {
        let file = match graph.sinks.len() {
            1 => "out.jsonl".to_owned(),
            _ => format!("out.{}.jsonl", sink.id),
        };
        let path = folder.join(&file);
        let came = bench.seen.get(&sink.id).map_or(&[][..], Vec::as_slice);
        let written = match std::fs::read_to_string(&path) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(format!("cannot read {}: {error}", path.display())),
        };
        if bless {
            let text: String = came.iter().map(|event| format!("{event}\n")).collect();
            if written.as_deref() != Some(&text) {
                changed = true;
                std::fs::write(&path, text)
                    .map_err(|error| format!("cannot write {}: {error}", path.display()))?;
            }
            continue;
        }
        let Some(written) = written else {
            let lines = vec![format!(
                "missing; {} events came out; look at them with --bless",
                came.len()
            )];
            different.push((file, lines));
            continue;
        };
        let lines = differences(&written, came);
        if !lines.is_empty() {
            different.push((file, lines));
        }
    }
    Ok(match (bless, different.is_empty()) {
        (true, _) => CaseVerdict::Blessed(changed),
        (false, true) => CaseVerdict::Same,
        (false, false) => CaseVerdict::Different(different),
    })
}

/// Line by line, field by field.
fn differences(written: &str, came: &[Value]) -> Vec<String> {
    let expected: Vec<&str> = written
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    let mut found = Vec::new();
    for n in 0..expected.len().max(came.len()) {
        match (expected.get(n), came.get(n)) {
            (Some(text), Some(event)) => match serde_json::from_str::<Value>(text) {
                Ok(value) => compare_events(n + 1, &value, event, &mut found),
                Err(why) => found.push(format!("line {}: is no JSON: {why}", n + 1)),
            },
            (Some(text), None) => found.push(format!("line {}: did not come: {text}", n + 1)),
            (None, Some(event)) => found.push(format!("line {}: came besides: {event}", n + 1)),
            (None, None) => {}
        }
    }
    if found.len() > MOST_SHOWN {
        let more = found.len() - MOST_SHOWN;
        found.truncate(MOST_SHOWN);
        found.push(format!("and {more} more"));
    }
    found
}

fn compare_events(line: usize, expected: &Value, came: &Value, found: &mut Vec<String>) {
    let (mut left, mut right) = (Vec::new(), Vec::new());
    flatten("", expected, &mut left);
    flatten("", came, &mut right);
    let paths: BTreeSet<&String> = left.iter().chain(&right).map(|(path, _)| path).collect();
    for path in paths {
        let of = |side: &[(String, Value)]| {
            side.iter()
                .find(|(held, _)| held == path)
                .map(|(_, value)| value.clone())
        };
        match (of(&left), of(&right)) {
            (Some(expected), Some(came)) if expected == came => {}
            (Some(expected), Some(came)) => {
                found.push(format!("line {line}: {path}: {came} instead of {expected}"))
            }
            (Some(expected), None) => {
                found.push(format!("line {line}: {path}: absent instead of {expected}"))
            }
            (None, Some(came)) => {
                found.push(format!("line {line}: {path}: {came} instead of nothing"))
            }
            (None, None) => {}
        }
    }
}

fn flatten(path: &str, value: &Value, into: &mut Vec<(String, Value)>) {
    match value {
        Value::Object(members) if !members.is_empty() => {
            for (name, value) in members {
                let below = if path.is_empty() {
                    name.clone()
                } else {
                    format!("{path}.{name}")
                };
                flatten(&below, value, into);
            }
        }
        other => into.push((path.to_owned(), other.clone())),
    }
}

/// Where the states of a source's folder are laid out; gone with the case.
struct Tree(PathBuf);

impl Tree {
    fn new() -> Tree {
        static NUMBERS: AtomicU64 = AtomicU64::new(1);
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        let name = format!("pvetrail-case-{}-{number}", std::process::id());
        Tree(std::env::temp_dir().join(name))
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        for folder in [self.0.clone(), self.0.with_extension("data")] {
            // Most cases have none; what stays is in the folder for temporary files.
            let _ = std::fs::remove_dir_all(folder);
        }
    }
}

/// Files as they are, but no variables and always the same host.
struct CaseEnv<'a> {
    folder: &'a Path,
    tree: &'a Path,
}

impl Env for CaseEnv<'_> {
    /// `${CASE}` is the case's folder, for the files that lie in it; `${TREE}` is where a source finds the states of `in`.
    fn var(&self, name: &str) -> Option<String> {
        match name {
            "CASE" => Some(self.folder.display().to_string()),
            "TREE" => Some(self.tree.display().to_string()),
            _ => None,
        }
    }

    fn read(&self, path: &Path) -> io::Result<String> {
        SystemEnv.read(path)
    }

    fn folder(&self, path: &Path) -> Option<io::Result<Vec<PathBuf>>> {
        SystemEnv.folder(path)
    }

    fn host(&self) -> String {
        HOST.to_owned()
    }
}
