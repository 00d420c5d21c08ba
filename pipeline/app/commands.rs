//! The commands, one file each.

pub(crate) mod alerts;
pub(crate) mod demo;
pub(crate) mod dlq;
pub(crate) mod doctor;
pub(crate) mod generate;
pub(crate) mod graph;
pub(crate) mod grok;
pub(crate) mod list;
pub(crate) mod policy;
pub(crate) mod query;
pub(crate) mod queue;
pub(crate) mod rules;
pub(crate) mod run;
pub(crate) mod setup;
pub(crate) mod test;
pub(crate) mod validate;

use crate::cli::{Cli, Command};
use crate::exit::Exit;

/// Does what the command line asks for.
pub(crate) fn run(cli: Cli) -> Exit {
    let level = cli.log_level.as_deref();
    match cli.command {
        Command::Run(args) => run::run(args, level),
        Command::Demo(args) => demo::run(&args, level),
        Command::Test(args) => test::run(&args),
        Command::Validate(args) => validate::run(&args),
        Command::Graph(args) => graph::run(&args),
        Command::List(args) => list::run(&args),
        Command::Grok(args) => grok::run(&args),
        Command::Alerts(args) => alerts::run(&args),
        Command::Dlq(args) => dlq::run(&args),
        Command::Policy(args) => policy::run(&args),
        Command::Rules(args) => rules::run(&args),
        Command::Query(args) => query::run(&args),
        Command::Access(args) => query::run(args.log()),
        Command::Queue(args) => queue::run(&args),
        Command::Setup(args) => setup::run(&args),
        Command::Generate(args) => generate::run(&args),
        Command::Doctor(args) => doctor::run(&args),
    }
}
