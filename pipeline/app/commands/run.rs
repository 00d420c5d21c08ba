//! `pvetrail run`: the graph of these files, until told to stop.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::Watcher;
use pipeline::{Graph, SystemEnv};
use tokio::sync::{mpsc, oneshot};

use crate::admin::ReloadRequest;
use crate::exit::Exit;
use crate::live::{self, Job};
use crate::{load, say};

/// How long files must lie still before they are read again: an editor writes more than once.
const STILL: Duration = Duration::from_millis(500);

/// Arguments of `run`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Files and folders (`*.toml`) that make up the configuration.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    /// Where the program keeps what must survive a restart, instead of what the configuration says.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,

    /// Reload whenever one of the files changes, besides on SIGHUP.
    #[arg(long)]
    watch: bool,
}

/// 0 where everything was delivered, 1 where something was left for the next start, 2 failed, 78 bad configuration.
pub(crate) fn run(args: Args, level: Option<&str>) -> Exit {
    let registry = crate::registry();
    let mut graph = match load::graph(&args.files, &registry, &SystemEnv) {
        Ok(graph) => graph,
        Err(exit) => return exit,
    };
    place(&mut graph, args.data_dir.as_deref());
    if let Err(why) = load::logs(&graph.globals.log, level) {
        say::error(why);
        return Exit::BadConfig;
    }
    let (files, data_dir) = (args.files.clone(), args.data_dir.clone());
    let reader: live::Reader = Box::new(move || {
        let (mut graph, warnings) = pipeline::load(&files, &registry, &SystemEnv)?;
        if !warnings.is_empty() {
            say::aside(&warnings.render(say::colour_on_stderr()));
        }
        place(&mut graph, data_dir.as_deref());
        Ok(graph)
    });
    let job = Job::new(graph, Some(reader));
    let watcher = match args
        .watch
        .then(|| watch(&args.files, job.reloads.0.clone()))
        .transpose()
    {
        Ok(watcher) => watcher,
        Err(why) => {
            say::error(format!("cannot watch the files: {why}"));
            return Exit::Failed;
        }
    };
    let exit = load::block_on(live::run(job));
    drop(watcher);
    exit
}

fn place(graph: &mut Graph, data_dir: Option<&Path>) {
    if let Some(dir) = data_dir {
        dir.clone_into(&mut Arc::make_mut(&mut graph.globals).data_dir);
    }
}

/// Asks for a reload once changes of the files have come to rest. The folders are watched, since an editor puts a new file in
/// the old one's place.
fn watch(
    files: &[PathBuf],
    ask: mpsc::Sender<ReloadRequest>,
) -> Result<notify::RecommendedWatcher, notify::Error> {
    let (tell, told) = std::sync::mpsc::channel();
    let wanted = files.to_vec();
    let mut watcher =
        notify::recommended_watcher(move |event: Result<notify::Event, notify::Error>| {
            if event.is_ok_and(|event| {
                !event.kind.is_access() && event.paths.iter().any(|path| concerns(path, &wanted))
            }) {
                // The other end lives as long as this closure.
                let _ = tell.send(());
            }
        })?;
    for file in files {
        let folder = if file.is_dir() {
            file.as_path()
        } else {
            parent(file)
        };
        watcher.watch(folder, notify::RecursiveMode::NonRecursive)?;
    }
    std::thread::spawn(move || {
        while told.recv().is_ok() {
            while told.recv_timeout(STILL).is_ok() {}
            let (answer, _) = oneshot::channel();
            if ask.blocking_send(answer).is_err() {
                return;
            }
        }
    });
    Ok(watcher)
}

fn parent(file: &Path) -> &Path {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Whether a changed path is one of the files, or a `*.toml` in one of the folders.
fn concerns(path: &Path, wanted: &[PathBuf]) -> bool {
    wanted.iter().any(|file| {
        let is_file = file.file_name() == path.file_name();
        is_file || (file.is_dir() && path.extension().is_some_and(|end| end == "toml"))
    })
}
