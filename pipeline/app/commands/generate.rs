//! `pvetrail generate`: files for other programs, and a first graph for a node.

mod pve;

use crate::exit::Exit;
use crate::say;

/// The unit that is shipped.
const UNIT: &str = include_str!("../../../configs/systemd/pvetrail.service");

/// Arguments of `generate`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// A graph for this node, from what is found on it, with a comment on everything.
    Pve(pve::Args),
    /// The unit for systemd, which runs the program without root.
    Unit,
    /// The JSON Schema of a configuration, for editors; `schema rules` is that of a rule file.
    Schema {
        /// Of what.
        #[arg(value_enum, default_value_t = Of::Config)]
        of: Of,
    },
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Of {
    Config,
    Rules,
}

/// Prints it to standard output.
pub(crate) fn run(args: &Args) -> Exit {
    match &args.what {
        What::Pve(args) => return pve::run(args),
        What::Unit => {
            say::write(UNIT);
        }
        What::Schema { of } => {
            let schema = match of {
                Of::Config => pipeline::config::schema(&crate::registry()),
                Of::Rules => transforms::rules::schema(),
            };
            say::line(format!("{schema:#}"));
        }
    }
    Exit::Done
}
