//! `pvetrail graph`: the components of a configuration and what feeds what.

mod draw;

use std::fmt::Write;
use std::path::PathBuf;

use clap::ValueEnum;
use pipeline::{Graph, SystemEnv};

use crate::exit::Exit;
use crate::{load, say};

/// Arguments of `graph`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Files and folders (`*.toml`) that make up the configuration.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    /// The language of the picture.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// Drawn with box characters, for a terminal.
    Text,
    /// For Markdown.
    Mermaid,
    /// For Graphviz.
    Dot,
}

/// Prints the picture.
pub(crate) fn run(args: &Args) -> Exit {
    let graph = match load::graph(&args.files, &crate::registry(), &SystemEnv) {
        Ok(graph) => graph,
        Err(exit) => return exit,
    };
    say::write(&match args.format {
        Format::Text => draw::draw(&graph),
        Format::Mermaid => mermaid(&graph),
        Format::Dot => dot(&graph),
    });
    Exit::Done
}

fn mermaid(graph: &Graph) -> String {
    let mut text = "flowchart LR\n".to_owned();
    for node in graph.nodes() {
        // Writing into a string cannot fail.
        let _ = writeln!(
            text,
            "  {}[\"{}<br/>{}\"]",
            node.id, node.id, node.type_name
        );
    }
    for node in graph.nodes() {
        for input in &node.inputs {
            let _ = match &input.output {
                Some(output) => writeln!(text, "  {} -->|{output}| {}", input.id, node.id),
                None => writeln!(text, "  {} --> {}", input.id, node.id),
            };
        }
    }
    text
}

fn dot(graph: &Graph) -> String {
    let mut text = "digraph pvetrail {\n  rankdir=LR;\n  node [shape=box];\n".to_owned();
    for node in graph.nodes() {
        let _ = writeln!(
            text,
            "  {:?} [label=\"{}\\n{}\"];",
            node.id, node.id, node.type_name
        );
    }
    for node in graph.nodes() {
        for input in &node.inputs {
            let label = input.output.as_deref().unwrap_or_default();
            let _ = writeln!(text, "  {:?} -> {:?} [label={label:?}];", input.id, node.id);
        }
    }
    text.push_str("}\n");
    text
}
