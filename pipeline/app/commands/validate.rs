//! `pvetrail validate`: every mistake of a configuration in one run.

use std::path::PathBuf;

use clap::ValueEnum;
use pipeline::SystemEnv;

use crate::exit::Exit;
use crate::say;

/// Arguments of `validate`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Files and folders (`*.toml`) that make up the configuration.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    /// How the mistakes are told.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// For people, with the lines they are in.
    Text,
    /// A JSON array.
    Json,
}

/// 0 where it holds, 78 where it does not.
pub(crate) fn run(args: &Args) -> Exit {
    let registry = crate::registry();
    let (exit, told, graph) = match pipeline::load(&args.files, &registry, &SystemEnv) {
        Ok((graph, mut warnings)) => {
            pipeline::queue::warnings(&graph).for_each(|warning| warnings.push(warning));
            (Exit::Done, warnings, Some(graph))
        }
        Err(mistakes) => (Exit::BadConfig, mistakes, None),
    };
    match args.format {
        Format::Json => {
            say::line(told.to_json());
        }
        Format::Text => {
            say::aside(&told.render(say::colour_on_stderr()));
            if let Some(graph) = graph {
                let (sources, transforms, sinks) = (
                    graph.sources.len(),
                    graph.transforms.len(),
                    graph.sinks.len(),
                );
                say::line(format!(
                    "good: {sources} sources, {transforms} transforms, {sinks} sinks"
                ));
            }
        }
    }
    exit
}
