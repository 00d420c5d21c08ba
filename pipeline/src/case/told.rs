//! The tests that a configuration brings along: `[[tests]]`.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde_json::Value;

use super::START;
use super::bench::{Bench, Inserted};
use super::condition::Condition;
use crate::config::{Graph, OutputRef, TestCase, TestOutput};

/// What became of one of a configuration's own tests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestResult {
    /// Its name.
    pub name: String,
    /// Everything that is not as it should be.
    pub failures: Vec<String>,
}

impl TestResult {
    /// Whether all is as it should be.
    pub fn passed(&self) -> bool {
        self.failures.is_empty()
    }
}

impl fmt::Display for TestResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.passed() { "ok" } else { "FAILED" };
        write!(f, "{word} test {:?}", self.name)?;
        for failure in &self.failures {
            write!(f, "\n  {failure}")?;
        }
        Ok(())
    }
}

/// Runs all `[[tests]]` of a graph, each on a graph of its own.
pub fn run_tests(graph: &Graph) -> Vec<TestResult> {
    let run = |test: &TestCase| {
        let failures = catch_unwind(AssertUnwindSafe(|| run(graph, test)));
        let failures = match failures {
            Ok(Ok(failures)) => failures,
            Ok(Err(why)) => vec![why],
            Err(panic) => vec![format!(
                "a component panicked: {}",
                crate::topology::node::panic_text(&*panic)
            )],
        };
        TestResult {
            name: test.name.clone(),
            failures,
        }
    };
    graph.tests.iter().map(run).collect()
}

fn run(graph: &Graph, test: &TestCase) -> Result<Vec<String>, String> {
    let mut failures = Vec::new();
    let conditions = test.outputs.iter().map(|output| {
        output
            .condition
            .as_ref()
            .map(|text| Condition::parse(text))
            .transpose()
    });
    let conditions: Vec<Option<Condition>> = conditions.collect::<Result<_, _>>()?;
    for from in test
        .outputs
        .iter()
        .map(|output| &output.extract_from)
        .chain(&test.no_outputs_from)
    {
        if let Some(why) = unknown(graph, from) {
            failures.push(why);
        }
    }
    if !failures.is_empty() {
        return Ok(failures);
    }
    let mut bench = Bench::new(graph, START)?;
    for input in &test.inputs {
        for _ in 0..input.repeat {
            if let Some(advance) = input.advance {
                bench.move_clock(bench.now.after(advance.get()));
            }
            let item = match (&input.line, &input.fields) {
                (Some(line), None) => Inserted::Line(line),
                (None, Some(fields)) => Inserted::Event(fields),
                _ => return Err("an input is either a `line` or `fields`".to_owned()),
            };
            bench.insert(&input.insert_at, item)?;
        }
    }
    for (output, condition) in test.outputs.iter().zip(&conditions) {
        let events = bench
            .seen
            .get(output.extract_from.as_str())
            .map_or(&[][..], Vec::as_slice);
        check(output, condition.as_ref(), events, &mut failures);
    }
    for from in &test.no_outputs_from {
        let events = bench.seen.get(from.as_str()).map_or(&[][..], Vec::as_slice);
        if let Some(first) = events.first() {
            failures.push(format!(
                "{} events came out of {:?}, none was to: {first}",
                events.len(),
                from.as_str()
            ));
        }
    }
    Ok(failures)
}

/// Why nothing can ever be taken from `from`.
fn unknown(graph: &Graph, from: &str) -> Option<String> {
    let (id, output) = match from.split_once('.') {
        Some((id, output)) => (id, Some(output)),
        None => (from, None),
    };
    let Some(node) = graph.node(id) else {
        return Some(format!(
            "there is no component called {id:?} to take events from"
        ));
    };
    let name = OutputRef {
        id: id.to_owned(),
        output: output.map(str::to_owned),
    };
    match output {
        Some(output) if !name.is_errors() && !node.outputs.iter().any(|held| held == output) => {
            Some(format!(
                "{id:?} has no output called {output:?}; it has {:?} and \"errors\"",
                node.outputs
            ))
        }
        _ => None,
    }
}

fn check(
    output: &TestOutput,
    condition: Option<&Condition>,
    events: &[Value],
    failures: &mut Vec<String>,
) {
    let from = output.extract_from.as_str();
    let fits = |event: &&Value| {
        condition.is_none_or(|condition| condition.holds(event))
            && output
                .fields
                .iter()
                .flatten()
                .all(|(path, value)| at(event, path) == Some(value))
    };
    let fitting = events.iter().filter(fits).count();
    let all_fit = fitting == events.len();
    let wanted = match output.count {
        // A condition chooses: of all alerts, those of one rule.
        Some(count) => fitting as u64 == count && (all_fit || count == 0 || condition.is_some()),
        None => fitting > 0 && all_fit,
    };
    if wanted {
        return;
    }
    let expected = output
        .count
        .map_or("any number but none".to_owned(), |count| count.to_string());
    let mut failure = format!(
        "{} events came out of {from:?}, {fitting} of them as described; expected: {expected}",
        events.len()
    );
    if let Some(other) = events.iter().find(|event| !fits(event)).or(events.first()) {
        failure.push_str(&format!("; one that came: {other}"));
    }
    failures.push(failure);
}

fn at<'a>(event: &'a Value, path: &str) -> Option<&'a Value> {
    event
        .get(path)
        .or_else(|| event.pointer(&format!("/{}", path.replace('.', "/"))))
}
