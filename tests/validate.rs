//! `pvetrail validate`, `graph`, `list` and `generate schema` as an operator meets them, with the real components.

use std::path::Path;
use std::process::{Command, Output};

use pipeline::config::{self, FakeEnv};
use pipeline::{Kind, Registry};

fn registry() -> Registry {
    let mut registry = Registry::new();
    sources::register(&mut registry);
    transforms::register(&mut registry);
    sinks::register(&mut registry);
    registry
}

/// Runs the program in the repository's folder, so that paths in its words are the same everywhere.
fn pvetrail(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_pvetrail"))
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env_remove("ES_KEY")
        .env("NO_COLOR", "1")
        .output()
        .expect("the program has been built with this test")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("the program writes UTF-8")
}

/// Compares with a file of this folder; `BLESS=1` rewrites it.
fn golden(name: &str, actual: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/bad")
        .join(name);
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, actual).expect("the repository can be written");
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(actual, expected, "BLESS=1 rewrites tests/bad/{name}");
}

#[test]
fn twelve_mistakes_are_twelve_messages_each_with_its_place_and_remedy() {
    let output = pvetrail(&["validate", "tests/bad/twelve.toml"]);
    assert_eq!(output.status.code(), Some(78));
    golden("twelve.txt", &text(&output.stderr));

    let output = pvetrail(&["validate", "--format", "json", "tests/bad/twelve.toml"]);
    assert_eq!(output.status.code(), Some(78));
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let told = told.as_array().expect("a list");
    assert_eq!(told.len(), 12);
    let file = std::fs::read_to_string(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bad/twelve.toml"),
    )
    .expect("the fixture is there");
    let mut lines: Vec<u64> = Vec::new();
    for mistake in told {
        assert_eq!(mistake["severity"], "error");
        assert!(mistake["help"].is_string(), "{mistake} has no remedy");
        let line = mistake["line"].as_u64().expect("a line");
        assert!(line >= 1 && line <= file.lines().count() as u64);
        lines.push(line);
    }
    lines.dedup();
    assert_eq!(lines.len(), 12, "each is on a line of its own");
}

#[test]
fn mistakes_in_programs_are_told_at_their_line_and_doubts_as_warnings() {
    let output = pvetrail(&["validate", "tests/bad/vrl.toml"]);
    assert_eq!(output.status.code(), Some(78));
    golden("vrl.txt", &text(&output.stderr));
}

#[test]
fn mistakes_in_the_templates_of_webhook_are_told_at_their_place() {
    let output = pvetrail(&["validate", "tests/bad/webhook.toml"]);
    assert_eq!(output.status.code(), Some(78));
    golden("webhook.txt", &text(&output.stderr));
}

#[test]
fn a_mistake_in_a_pattern_points_into_the_pattern() {
    let toml = "sources.in.type = \"stdin\"\n[transforms.t]\ntype = \"grok\"\ninputs = [\"in\"]\npatterns = ['%{IP:a} (%{NOPE:b}']\n[sinks.out]\ntype = \"blackhole\"\ninputs = [\"t\"]\n";
    let env = FakeEnv::new().with_file("x.toml", toml);
    let errors = config::load(&["x.toml".into()], &registry(), &env).expect_err("a bad pattern");
    let line = toml.lines().nth(4).expect("five lines");
    let places: Vec<String> = errors
        .iter()
        .map(|d| errors.files().describe(d.place))
        .collect();
    let column = line.find("NOPE").expect("it is there") + 1;
    // Either the brace before the name or the name itself is a fair place.
    assert!(
        places
            .iter()
            .any(|p| (column - 2..=column).any(|c| *p == format!("x.toml:5:{c}"))),
        "{places:?}"
    );
}

#[test]
fn every_example_in_the_manual_parses() {
    let registry = registry();
    for entry in registry.iter() {
        let parsed = config::parse_component(
            entry.kind,
            entry.type_name,
            entry.example,
            &registry,
            &FakeEnv::new(),
        );
        if let Err(errors) = parsed {
            panic!("the example of {entry:?}:\n{errors}");
        }
        assert!(
            !entry.summary().is_empty(),
            "{entry:?} has no sentence about it"
        );
        let page = config::manual(&registry, entry.type_name).expect("it is registered");
        assert!(page.contains(entry.example.trim()), "{page}");
        // Every option says what it is: a line of the list ends with its sentence.
        for line in page.lines().filter(|l| l.trim_start().starts_with("- `")) {
            assert!(
                line.contains("): ") || line.contains("`: "),
                "{entry:?}: {line}"
            );
        }
    }
    assert!(registry.of(Kind::Source).count() >= 3);
    for table in registry.tables() {
        assert!(
            !table.summary().is_empty(),
            "{table:?} has no sentence about it"
        );
        let page = config::manual(&registry, table.type_name).expect("it is registered");
        assert!(page.contains(table.example.trim()), "{page}");
        for line in page.lines().filter(|l| l.trim_start().starts_with("- `")) {
            assert!(
                line.contains("): ") || line.contains("`: "),
                "{table:?}: {line}"
            );
        }
    }
}

#[test]
fn every_shipped_graph_holds() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/graphs");
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).expect("shipped graphs are there") {
        let path = entry.expect("a readable folder").path();
        if path.extension().is_some_and(|e| e == "toml") {
            let output = pvetrail(&["validate", &path.to_string_lossy()]);
            assert!(output.status.success(), "{}", text(&output.stderr));
            seen += 1;
        }
    }
    assert!(seen > 0);
}

#[test]
fn a_graph_is_drawn_in_three_languages() {
    let toml = "[sources.access]\ntype = \"stdin\"\n[transforms.parsed]\ntype = \"grok\"\ninputs = [\"access\"]\npatterns = ['%{IP:source.ip}']\n[sinks.out]\ntype = \"blackhole\"\ninputs = [\"parsed\"]\n[sinks.bad]\ntype = \"console\"\ninputs = [\"parsed.errors\", \"access\"]\n";
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("g.toml");
    std::fs::write(&path, toml).expect("it can be written");
    let path = path.to_string_lossy();
    let drawn = pvetrail(&["graph", &path]);
    golden("../graph.txt", &text(&drawn.stdout));
    let mermaid = text(&pvetrail(&["graph", "--format", "mermaid", &path]).stdout);
    assert!(mermaid.starts_with("flowchart LR\n"));
    assert!(mermaid.contains("  parsed -->|errors| bad\n"), "{mermaid}");
    let dot = text(&pvetrail(&["graph", "--format", "dot", &path]).stdout);
    assert!(dot.starts_with("digraph pvetrail {\n"));
    assert!(
        dot.contains("  \"parsed\" -> \"out\" [label=\"\"];\n"),
        "{dot}"
    );
}

#[test]
fn list_and_schema_know_the_same_components() {
    let list = text(&pvetrail(&["list"]).stdout);
    let schema: serde_json::Value =
        serde_json::from_slice(&pvetrail(&["generate", "schema"]).stdout).expect("JSON");
    for entry in registry().iter() {
        assert!(list.contains(entry.type_name), "{list}");
        let variants = &schema["properties"][entry.kind.section()]["additionalProperties"]["oneOf"];
        let known = variants.as_array().is_some_and(|variants| {
            variants
                .iter()
                .any(|v| v["properties"]["type"]["const"] == entry.type_name)
        });
        assert!(known, "{entry:?} is not in the schema");
    }
    let unknown = pvetrail(&["list", "elastic"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(
        text(&unknown.stderr).contains("elasticsearch"),
        "{}",
        text(&unknown.stderr)
    );
}
