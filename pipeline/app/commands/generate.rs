//! `pvetrail generate`: files for other programs.

use crate::exit::Exit;
use crate::say;

/// Arguments of `generate`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// The JSON Schema of a configuration, for editors.
    Schema,
}

/// Prints it to standard output.
pub(crate) fn run(args: &Args) -> Exit {
    match args.what {
        What::Schema => {
            let schema = pipeline::config::schema(&crate::registry());
            say::line(format!("{schema:#}"));
        }
    }
    Exit::Done
}
