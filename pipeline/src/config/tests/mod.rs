//! The loader with made-up components: what is found, where it points, and what it advises.

mod components;
mod graph;
mod mistakes;

use std::path::PathBuf;

use super::{Diagnostics, FakeEnv, Graph, load};
use crate::component::{Kind, Registry};

/// The registry of the made-up components.
fn registry() -> Registry {
    components::registry()
}

/// Loads one file's text.
fn load_text(toml: &str) -> Result<(Graph, Diagnostics), Diagnostics> {
    load_in(&FakeEnv::new(), toml)
}

fn load_in(env: &FakeEnv, toml: &str) -> Result<(Graph, Diagnostics), Diagnostics> {
    let env = env.clone().with_file("site.toml", toml);
    load(&[PathBuf::from("site.toml")], &registry(), &env)
}

/// One line per mistake: `line:column path: message | help`.
fn mistakes_in(env: &FakeEnv, toml: &str) -> Vec<String> {
    let diagnostics = match load_in(env, toml) {
        Ok((_, warnings)) => warnings,
        Err(errors) => errors,
    };
    lines(&diagnostics)
}

fn mistakes(toml: &str) -> Vec<String> {
    mistakes_in(&FakeEnv::new(), toml)
}

fn lines(diagnostics: &Diagnostics) -> Vec<String> {
    diagnostics
        .iter()
        .map(|d| {
            let place = diagnostics.files().describe(d.place);
            let place = place.strip_prefix("site.toml:").unwrap_or(&place);
            let help = d.help.as_deref().unwrap_or("-");
            format!("{place} {}: {} | {help}", d.path, d.message)
        })
        .collect()
}

/// A graph around the keys of one sink, so that only they can be wrong. The sink's first key stands on line 1.
fn sink(keys: &str) -> String {
    format!(
        "sinks.out = {{ type = \"http\", inputs = [\"in\"], uri = \"http://x\", {keys} }}\nsources.in.type = \"lines\"\n"
    )
}

#[test]
fn every_registered_example_parses() {
    for entry in registry().iter() {
        if let Err(errors) = super::parse_component(
            entry.kind,
            entry.type_name,
            entry.example,
            &registry(),
            &FakeEnv::new(),
        ) {
            panic!("the example of {entry:?}:\n{}", errors.render(false));
        }
    }
    assert_eq!(registry().of(Kind::Sink).count(), 3);
}
