//! `pvetrail`: joins sources, transforms, sinks and the engine into one program.
//!
//! `cli` reads the command line, each file of `commands` does one command, `admin` answers over HTTP while a graph runs.

mod admin;
mod cli;
mod commands;
mod exit;
mod live;
mod load;
mod node;
mod past;
mod say;
mod watchman;

use std::process::ExitCode;

use clap::Parser;
use pipeline::Registry;

use exit::Exit;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // With huge pages every thread's first small allocation takes 2 MiB: 21 instead of 50 MiB on the access road, at the
    // same speed. Where the kernel does not know the call, more memory is all that is lost.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    // The only provider in this program; a second call, from a library, would be refused and is harmless.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let cli = match cli::Cli::try_parse() {
        Ok(cli) => cli,
        Err(help) => {
            let exit = if help.use_stderr() {
                Exit::Failed
            } else {
                Exit::Done
            };
            // Nobody reads the help: nothing to do about that.
            let _ = help.print();
            return exit.into();
        }
    };
    commands::run(cli).into()
}

/// Every component this program knows.
pub(crate) fn registry() -> Registry {
    let mut registry = Registry::new();
    sources::register(&mut registry);
    transforms::register(&mut registry);
    sinks::register(&mut registry);
    registry
}
