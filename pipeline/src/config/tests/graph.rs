//! What a good configuration becomes.
use std::path::PathBuf;

use super::{FakeEnv, load, load_in, load_text, mistakes, registry};
use crate::component::Component;
use crate::config::{BufferKind, Changes, Graph, OnFailure, manual, schema};
use crate::redact::RedactMode;
use crate::units::{Bytes, Duration};

fn good() -> Graph {
    match load_text(include_str!("good.toml")) {
        Ok((graph, warnings)) => {
            assert!(warnings.is_empty(), "{warnings}");
            graph
        }
        Err(errors) => panic!("{errors}"),
    }
}

#[test]
fn a_good_file_becomes_a_graph() {
    let graph = good();
    let globals = &graph.globals;
    assert_eq!(globals.data_dir, PathBuf::from("/var/lib/x"));
    assert_eq!(globals.cluster.as_deref(), Some("prod"));
    assert_eq!(globals.host, "testhost");
    assert!(!globals.admin.enabled);
    assert_eq!(globals.redaction.options().mode, RedactMode::Hash);
    assert_eq!(globals.redaction.options().keys, ["pin"]);
    let inputs = |id: &str| {
        graph
            .node(id)
            .unwrap()
            .inputs
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    };
    assert_eq!(inputs("parsed"), ["access"]);
    assert_eq!(inputs("ways"), ["parsed.errors"]);
    assert_eq!(inputs("web"), ["watch", "watch.alerts", "ways.bad"]);
    let web = graph.node("web").unwrap();
    assert_eq!(web.engine.batch.max_events, 10);
    assert_eq!(web.engine.batch.max_size, Bytes::mib(1));
    assert_eq!(web.engine.request.timeout, Duration::from_secs(5));
    assert_eq!(web.engine.request.headers["X"].expose(), "y");
    assert_eq!(web.engine.on_failure, OnFailure::Warn);
    assert_eq!(web.engine.buffer.kind, BufferKind::Memory);
    assert_eq!(
        graph.node("parsed").unwrap().engine.workers.unwrap().get(),
        2
    );
    assert_eq!(
        graph.tests[0].inputs[0].advance,
        Some(Duration::from_secs(30))
    );
    assert!(matches!(
        web.component.build(&graph.context(web)),
        Ok(Component::Sink(_))
    ));
}

#[test]
fn transforms_come_in_the_order_in_which_events_pass_them() {
    let toml = "sources.in.type = \"lines\"\n[transforms.c]\ntype = \"window\"\nwindow = \"1s\"\ninputs = [\"b\"]\n[transforms.b]\ntype = \"window\"\nwindow = \"1s\"\ninputs = [\"a\", \"in\"]\n[transforms.a]\ntype = \"window\"\nwindow = \"1s\"\ninputs = [\"in\"]\n[sinks.o]\ntype = \"hole\"\ninputs = [\"c\", \"*.alerts\"]\n";
    let (graph, _) = load_text(toml).unwrap();
    let ids: Vec<&str> = graph.transforms.iter().map(|n| n.id.as_str()).collect();
    assert_eq!(ids, ["a", "b", "c"]);
    let sink = graph.node("o").unwrap();
    let inputs: Vec<String> = sink.inputs.iter().map(ToString::to_string).collect();
    assert_eq!(inputs, ["c", "c.alerts", "b.alerts", "a.alerts"]);
}

#[test]
fn a_pattern_takes_neither_errors_nor_its_own_output() {
    let toml = "sources.in.type = \"lines\"\n[transforms.t]\ntype = \"window\"\nwindow = \"1s\"\ninputs = [\"*\"]\n[sinks.o]\ntype = \"hole\"\ninputs = [\"t*\", \"*.errors\"]\n";
    let (graph, _) = load_text(toml).unwrap();
    let inputs = |id: &str| {
        graph
            .node(id)
            .unwrap()
            .inputs
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    };
    assert_eq!(inputs("t"), ["in"]);
    assert_eq!(inputs("o"), ["t", "t.alerts", "in.errors", "t.errors"]);
}

#[test]
fn a_slow_neighbour_is_a_warning() {
    let toml = "sources.in.type = \"lines\"\n[sinks.a]\ntype = \"http\"\nuri = \"http://a\"\ninputs = [\"in\"]\n[sinks.b]\ntype = \"http\"\nuri = \"http://b\"\ninputs = [\"in\"]\n";
    let all = mistakes(toml);
    assert!(
        all.len() == 1
            && all[0].starts_with(
                "1:9 sources.in: the source \"in\" feeds \"a\" and \"b\" over the network"
            ),
        "{all:?}"
    );
    assert!(load_text(toml).is_ok());
}

#[test]
fn files_of_a_folder_are_one_configuration() {
    let env = FakeEnv::new()
        .with_file(
            "d/20-out.toml",
            "[sinks.o]\ntype = \"hole\"\ninputs = [\"in\", \"in2\"]\n",
        )
        .with_file("d/10-in.toml", "[sources.in]\ntype = \"lines\"\n")
        .with_file("d/notes.txt", "not TOML")
        .with_file("more.toml", "[sources.in2]\ntype = \"lines\"\n");
    let paths = [PathBuf::from("d"), PathBuf::from("more.toml")];
    let (graph, _) = load(&paths, &registry(), &env).unwrap();
    let ids: Vec<&str> = graph.nodes().map(|n| n.id.as_str()).collect();
    assert_eq!(ids, ["in", "in2", "o"]);
}

#[test]
fn a_reload_sees_what_changed_and_nothing_else() {
    let old = "# a\nsources.in.type = \"lines\"\n[sinks.same]\ntype = \"http\"\nuri = \"http://a\"\nport = 1\ninputs = [\"in\"]\n[sinks.key]\ntype = \"http\"\nuri = \"http://b\"\ntoken = \"${TOKEN}\"\ninputs = [\"in\"]\n[sinks.gone]\ntype = \"hole\"\ninputs = [\"in\"]\n[sinks.rewired]\ntype = \"hole\"\ninputs = [\"in\"]\n";
    let new = "[sinks.same]\ninputs = [\"in\"]\nport = 1\n# moved\nuri = \"http://a\"\ntype = \"http\"\n[sinks.key]\ntype = \"http\"\nuri = \"http://b\"\ntoken = \"${TOKEN}\"\ninputs = [\"in\"]\n[sinks.fresh]\ntype = \"hole\"\ninputs = [\"in\"]\n[sinks.rewired]\ntype = \"hole\"\ninputs = [\"in.errors\"]\n[sources.in]\ntype = \"lines\"\n";
    let at = |toml: &str, token: &str| {
        load_in(&FakeEnv::new().with_var("TOKEN", token), toml)
            .unwrap()
            .0
    };
    let changes = at(old, "first secret").changes(&at(new, "second secret"));
    let names = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
    let expected = Changes {
        added: names(&["fresh"]),
        removed: names(&["gone"]),
        changed: names(&["key", "rewired"]),
        unchanged: names(&["in", "same"]),
        globals: false,
    };
    assert_eq!(changes, expected);
    assert!(at(old, "x").changes(&at(old, "x")).is_empty());
    assert!(
        at(old, "x")
            .changes(&at(&format!("cluster = \"c\"\n{old}"), "x"))
            .globals
    );
}

#[test]
fn nothing_of_a_graph_shows_its_secrets() {
    let env = FakeEnv::new().with_var("TOKEN", "correct horse");
    let (graph, _) = load_in(
        &env,
        &super::sink("token = \"${TOKEN}\", request.headers = { A = \"plain horse\" }"),
    )
    .unwrap();
    let node = graph.node("out").unwrap();
    let shown = format!("{graph:?} {:?} {:?}", node.engine, node.meaning);
    // What is written openly in the file is in the tree of the file; what a variable stands for is not.
    assert!(!shown.contains("correct horse"), "{shown}");
    assert!(!format!("{graph:?} {:?}", node.engine).contains("horse"));
}

#[test]
fn the_schema_knows_every_component_and_option() {
    let schema = schema(&registry());
    let text = schema.to_string();
    for word in [
        "\"lines\"",
        "\"window\"",
        "max_events",
        "inputs",
        "\"propertyNames\"",
        "deny",
        "hmac",
    ] {
        assert_eq!(text.contains(word), word != "deny", "{word}");
    }
    let sinks = schema["properties"]["sinks"]["additionalProperties"]["oneOf"]
        .as_array()
        .unwrap();
    let http = &sinks[0];
    assert_eq!(http["properties"]["type"]["const"], "http");
    assert_eq!(
        http["required"],
        serde_json::json!(["type", "inputs", "uri"])
    );
    assert_eq!(http["additionalProperties"], false);
    // What must look like something may be a variable; names may not.
    let patterns: Vec<&str> = text
        .match_indices("\"pattern\":\"")
        .map(|(at, found)| text[at + found.len()..].split('"').next().unwrap())
        .collect();
    assert!(patterns.len() > 3);
    for pattern in patterns {
        assert_eq!(
            pattern.ends_with(r"|\\$\\{"),
            pattern != "^[a-z0-9_]+$",
            "{pattern}"
        );
    }
    // Every reference leads somewhere.
    for found in text.match_indices("\"#/$defs/") {
        let name = text[found.0 + 9..].split('"').next().unwrap();
        assert!(schema["$defs"][name].is_object(), "{name}");
    }
}

#[test]
fn a_manual_page_has_every_option_and_the_example() {
    let page = manual(&registry(), "http").unwrap();
    for line in [
        "# http (a sink)",
        "Sends events over the network.",
        "uri = \"https://soc.example/pve\"",
        "- `uri` (string, required): Where to.",
        "- `max_body` (size): A limit.",
        "  - `ca_file` (string): ",
        "  - `strategy = \"bearer\"`: A token, sent as `Authorization: Bearer …`.\n    - `token` (string, required): The token.",
        "- `inputs` (list of string, required): Where its events come from",
        "  - `timeout` (duration, default `\"1m\"`): Longest wait for an answer.",
    ] {
        assert!(page.contains(line), "{line} is missing in:\n{page}");
    }
    assert_eq!(manual(&registry(), "none"), None);
}
