//! `pvetrail dlq`: look at the dead letters, send them again, or remove them.
//!
//! All of it may be done while the program runs: a file is changed aside and renamed, and the running program appends to
//! whatever then stands there (`pipeline::dlq`). Two commands that change the same letters refuse each other.

mod retry;
mod show;

use std::path::PathBuf;

use pipeline::dlq::{self, AtWork, Decision, Filter, Line};
use pipeline::{Duration, SystemEnv, Time};

use crate::exit::Exit;
use crate::{load, say};

/// Arguments of `dlq`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Count the dead letters by component and reason.
    Ls {
        #[command(flatten)]
        place: Place,
        /// One JSON object a line.
        #[arg(long)]
        json: bool,
    },
    /// Show dead letters, oldest first: why, how often tried, and the event.
    Show {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        which: Which,
        /// Most letters to show; 0 shows all.
        #[arg(long, value_name = "N", default_value_t = 20)]
        limit: u64,
        /// One JSON object a line, as it is stored.
        #[arg(long)]
        json: bool,
    },
    /// Write dead letters once more with the sink that refused them, and remove what is delivered.
    Retry(retry::Args),
    /// Remove dead letters for good.
    Purge {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        which: Which,
        /// Remove all of them, also lines that cannot be read.
        #[arg(long, conflicts_with_all = ["component", "reason", "id", "older_than"])]
        all: bool,
    },
}

/// Where the dead letters are.
#[derive(Debug, clap::Args)]
struct Place {
    /// The configuration, which says where the data is.
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The folder of the data, instead of a configuration.
    #[arg(long, value_name = "DIR", conflicts_with = "files")]
    data_dir: Option<PathBuf>,
}

impl Place {
    fn find(&self) -> Result<PathBuf, Exit> {
        if let Some(data_dir) = &self.data_dir {
            return Ok(data_dir.clone());
        }
        if self.files.is_empty() {
            return Ok(PathBuf::from(pipeline::config::DATA_DIR));
        }
        let graph = load::graph(&self.files, &crate::registry(), &SystemEnv)?;
        Ok(graph.globals.data_dir.clone())
    }
}

/// Which letters are meant.
#[derive(Clone, Debug, clap::Args)]
struct Which {
    /// Only those of this component.
    #[arg(long, value_name = "ID")]
    component: Option<String>,
    /// Only those with this kind of reason, as `ls` names it.
    #[arg(long, value_name = "KIND")]
    reason: Option<String>,
    /// Only events whose id begins with this.
    #[arg(long, value_name = "EVENT_ID")]
    id: Option<String>,
    /// Only those that are dead for longer than this (`"7d"`).
    #[arg(long, value_name = "DURATION")]
    older_than: Option<Duration>,
}

impl Which {
    fn filter(&self) -> Filter {
        let now = pipeline::Clock::system().now();
        Filter {
            component: self.component.clone(),
            reason: self.reason.clone(),
            id: self.id.as_ref().map(|id| id.to_ascii_lowercase()),
            before: self
                .older_than
                .map(|age| Time(now.0.saturating_sub(age.as_nanos()))),
        }
    }
}

/// Does what was asked; 1 where dead letters are left (`ls`, `retry`) or none was found (`show`).
pub(crate) fn run(args: &Args) -> Exit {
    let done = match &args.what {
        What::Ls { place, json } => show::ls(place, *json),
        What::Show {
            place,
            which,
            limit,
            json,
        } => show::show(place, which, *limit, *json),
        What::Retry(args) => retry::run(args),
        What::Purge { place, which, all } => purge(place, which, *all),
    };
    done.unwrap_or_else(|exit| exit)
}

/// Says what went wrong with a file.
fn failed(why: std::io::Error) -> Exit {
    say::error(format!("the dead letters: {why}"));
    Exit::Failed
}

fn purge(place: &Place, which: &Which, all: bool) -> Result<Exit, Exit> {
    let filter = which.filter();
    if filter.is_open() && !all {
        say::error(
            "say which: --component, --reason, --id or --older-than; or --all, and every dead letter is gone for good",
        );
        return Err(Exit::Failed);
    }
    let data_dir = place.find()?;
    let mut removed = 0;
    for component in components(&data_dir, &filter)? {
        let _at_work = AtWork::on(&data_dir, &component).map_err(failed)?;
        for (path, _) in dlq::lines(&data_dir, &component).map_err(failed)? {
            let edited = dlq::edit(&path, |_, line| match line {
                Line::Letter(letter) if all || filter.takes(letter) => Decision::Remove,
                Line::Unreadable(_) if all => Decision::Remove,
                _ => Decision::Keep,
            });
            removed += edited.map_err(failed)?.removed;
        }
    }
    say::line(format!("{removed} removed"));
    Ok(Exit::Done)
}

/// The components with dead letters that the filter lets through.
fn components(data_dir: &std::path::Path, filter: &Filter) -> Result<Vec<String>, Exit> {
    let mut components = dlq::components(data_dir).map_err(failed)?;
    components.retain(|id| filter.component.as_ref().is_none_or(|wanted| wanted == id));
    Ok(components)
}
