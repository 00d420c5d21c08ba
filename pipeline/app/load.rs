//! A configuration read from files, with everything that is wrong told at once.

use std::path::PathBuf;

use pipeline::config::{self, Log};
use pipeline::{Env, Graph, Registry, telemetry};

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

/// Sets the program's log up as the configuration says; the command line's word goes first.
pub(crate) fn logs(options: &Log, level: Option<&str>) -> Result<(), String> {
    let format = match options.format {
        config::LogFormat::Auto => telemetry::LogFormat::Auto,
        config::LogFormat::Text => telemetry::LogFormat::Human,
        config::LogFormat::Json => telemetry::LogFormat::Json,
    };
    telemetry::init_logs(level.unwrap_or(&options.level), format)
}

/// Runs `work` on a runtime of its own.
pub(crate) fn block_on(work: impl Future<Output = Exit>) -> Exit {
    let done = block_on_any(async { Ok(work.await) });
    done.unwrap_or_else(|why| {
        say::error(why);
        Exit::Failed
    })
}

/// The same, for what gives more than an exit code.
pub(crate) fn block_on_any<T>(work: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("pvetrail")
        .build()
        .map_err(|why| format!("cannot start: {why}"))?;
    let done = runtime.block_on(work);
    // A write that hangs in the kernel must not hold the end up.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    done
}
