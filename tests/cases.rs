//! Every folder of `tests/cases`, as `pvetrail test tests/cases` runs it.

use std::path::{Path, PathBuf};

use pipeline::Registry;
use pipeline::case::{CaseResult, find_cases, run_folder};

/// Cases at work at the same time.
const AT_ONCE: usize = 16;

fn registry() -> Registry {
    let mut registry = Registry::new();
    sources::register(&mut registry);
    transforms::register(&mut registry);
    sinks::register(&mut registry);
    registry
}

#[test]
fn every_case_shows_what_its_name_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let folders = find_cases(&root).expect("tests/cases can be read");
    assert!(
        !folders.is_empty(),
        "there are no cases in {}",
        root.display()
    );
    // Those with a source of their own wait for its words of silence, so they wait side by side.
    let results: Vec<CaseResult> = std::thread::scope(|scope| {
        let parts = folders.chunks(folders.len().div_ceil(AT_ONCE));
        let run = |part: &[PathBuf]| -> Vec<CaseResult> {
            let registry = registry();
            let run = |folder: &PathBuf| run_folder(folder, &registry, false);
            part.iter().map(run).collect()
        };
        let at_work: Vec<_> = parts.map(|part| scope.spawn(move || run(part))).collect();
        let done = at_work.into_iter().map(|work| work.join());
        done.flat_map(|part| part.expect("a case that panics is a failed one"))
            .collect()
    });
    let failed: Vec<CaseResult> = results
        .into_iter()
        .filter(|result| !result.passed())
        .collect();
    let told: Vec<String> = failed.iter().map(ToString::to_string).collect();
    assert!(
        failed.is_empty(),
        "{} of {} cases failed\n{}",
        failed.len(),
        folders.len(),
        told.join("\n")
    );
}

/// Runs the same cases as above, but writes down what comes out: `cargo test --test cases -- --ignored bless`.
#[test]
#[ignore = "writes into tests/cases: cargo test --test cases -- --ignored bless"]
fn bless() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    for folder in find_cases(&root).expect("tests/cases can be read") {
        let result = run_folder(&folder, &registry(), true);
        assert!(result.passed(), "{result}");
    }
}
