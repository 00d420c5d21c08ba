//! The command line.

use clap::{Parser, Subcommand};

use crate::commands::{
    alerts, demo, dlq, doctor, generate, graph, grok, list, policy, query, queue, rules, run,
    setup, test, validate,
};

/// Turns what Proxmox VE writes about itself into an audit trail people can rely on.
#[derive(Debug, Parser)]
#[command(
    name = "pvetrail",
    version,
    propagate_version = true,
    max_term_width = 120
)]
pub(crate) struct Cli {
    /// How much the program's own log says: error, warn, info, debug, trace, or per module (`info,pipeline=debug`).
    #[arg(
        long,
        global = true,
        env = "PVETRAIL_LOG",
        value_name = "LEVEL",
        display_order = 100
    )]
    pub log_level: Option<String>,

    #[command(subcommand)]
    pub command: Command,
}

/// What there is to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the graph of these files and folders until told to stop.
    Run(run::Args),
    /// Show a believable cluster without having one: no configuration needed.
    Demo(demo::Args),
    /// Check files and folders, and tell every mistake with its place and its remedy.
    Validate(validate::Args),
    /// Run the tests of a configuration, or folders of cases.
    Test(test::Args),
    /// Draw the graph of a configuration.
    Graph(graph::Args),
    /// List the components there are, or show the manual page of one.
    List(list::Args),
    /// Try grok patterns and see how they are matched.
    Grok(grok::Args),
    /// The detection rules: which there are, what they mean, why one fires or does not; switch one on or off.
    Rules(rules::Args),
    /// Ask the search store what happened, who did it, and from where.
    Query(Box<query::Args>),
    /// List alerts, count them, show one with its evidence, and silence messages about some.
    Alerts(Box<alerts::Args>),
    /// What people try: `access log` is `query`.
    #[command(hide = true)]
    Access(query::Access),
    /// Look at the dead letters, send them again, or remove them.
    Dlq(dlq::Args),
    /// Look at the disk queues in front of sinks, and mend them.
    Queue(queue::Args),
    /// Say how much of which event is recorded, and which rule says so.
    Policy(policy::Args),
    /// Prepare a store for what a configuration will write into it.
    Setup(setup::Args),
    /// Write a graph for this node, and files for other programs.
    Generate(generate::Args),
    /// Say what is missing on this node, what that costs, and how to get it.
    Doctor(doctor::Args),
}
