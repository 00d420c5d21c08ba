//! A configuration read from files, with everything that is wrong told at once.

use std::path::PathBuf;

use pipeline::{Env, Graph, Registry};

use crate::exit::Exit;
use crate::say;

/// The graph of these files and folders; its warnings go to standard error. Mistakes are told there too, and end the program
/// with exit code 78.
pub(crate) fn graph(files: &[PathBuf], registry: &Registry, env: &dyn Env) -> Result<Graph, Exit> {
    match pipeline::load(files, registry, env) {
        Ok((graph, warnings)) => {
            if !warnings.is_empty() {
                say::aside(&warnings.render(say::colour_on_stderr()));
            }
            Ok(graph)
        }
        Err(mistakes) => {
            say::aside(&mistakes.render(say::colour_on_stderr()));
            Err(Exit::BadConfig)
        }
    }
}
