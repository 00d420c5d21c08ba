//! `pvetrail queue`: look at the disk queues in front of sinks, and mend them.
//!
//! `check` and `dump` change nothing and may be run beside the program; `repair` refuses while it runs.

use std::path::{Path, PathBuf};

use pipeline::printable::printable;
use pipeline::queue::{self, OpenError, Report};
use pipeline::{Event, JsonWriter, SystemEnv};
use serde_json::json;

use crate::exit::Exit;
use crate::{load, say};

/// Arguments of `queue`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Read every record, and say what is in the queues and what is damaged.
    Check {
        #[command(flatten)]
        place: Place,
        /// One JSON object for each queue.
        #[arg(long)]
        json: bool,
    },
    /// Write the events that wait as one JSON object a line, as they are stored.
    Dump {
        #[command(flatten)]
        place: Place,
        /// Also events that were delivered and whose file is not deleted yet.
        #[arg(long)]
        all: bool,
        /// At most so many events; 0 means all.
        #[arg(long, value_name = "N", default_value_t = 0)]
        limit: u64,
    },
    /// Put damaged parts aside so that only good records are left. Stop the program first.
    Repair {
        #[command(flatten)]
        place: Place,
    },
}

/// Where the queues are.
#[derive(Debug, clap::Args)]
struct Place {
    /// The configuration, which says where the data is; or the folder of one queue.
    #[arg(value_name = "FILE|DIR")]
    paths: Vec<PathBuf>,
    /// The folder of the data, instead of a configuration.
    #[arg(long, value_name = "DIR", conflicts_with = "paths")]
    data_dir: Option<PathBuf>,
    /// Only the queue of this sink.
    #[arg(long, value_name = "ID")]
    sink: Option<String>,
}

impl Place {
    /// The queues, by the names of their sinks.
    fn find(&self) -> Result<Vec<(String, PathBuf)>, Exit> {
        if let [folder] = &self.paths[..]
            && queue::is_queue(folder)
        {
            let name = folder.file_name().unwrap_or_default().to_string_lossy();
            return Ok(vec![(name.into_owned(), folder.clone())]);
        }
        let data_dir = match &self.data_dir {
            Some(data_dir) => data_dir.clone(),
            None if self.paths.is_empty() => PathBuf::from(pipeline::config::DATA_DIR),
            None => {
                let graph = load::graph(&self.paths, &crate::registry(), &SystemEnv)?;
                graph.globals.data_dir.clone()
            }
        };
        let mut queues = queue::queues(&data_dir).map_err(|why| {
            say::error(format!("{}: {why}", queue::folder(&data_dir).display()));
            Exit::Failed
        })?;
        if let Some(wanted) = &self.sink {
            queues.retain(|(id, _)| id == wanted);
            if queues.is_empty() {
                say::error(format!(
                    "there is no queue of a sink {wanted:?} in {}",
                    queue::folder(&data_dir).display()
                ));
                return Err(Exit::Failed);
            }
        }
        Ok(queues)
    }
}

/// Does what was asked: 0 where all is well, 1 where something is damaged (`check`, `dump`), 2 failed.
pub(crate) fn run(args: &Args) -> Exit {
    let done = match &args.what {
        What::Check { place, json } => check(place, *json),
        What::Dump { place, all, limit } => dump(place, *all, *limit),
        What::Repair { place } => repair(place),
    };
    done.unwrap_or_else(|exit| exit)
}

fn check(place: &Place, as_json: bool) -> Result<Exit, Exit> {
    let queues = place.find()?;
    if queues.is_empty() && !as_json {
        say::line("no disk queues");
    }
    let mut exit = Exit::Done;
    for (id, folder) in queues {
        let report = match queue::read(&folder, false, |_| true) {
            Ok(report) => report,
            Err(why) => {
                failed(&why);
                exit = Exit::Failed;
                continue;
            }
        };
        if !report.findings.is_empty() && exit == Exit::Done {
            exit = Exit::Found;
        }
        let said = if as_json {
            say::line(say::safe_json(&in_json(&id, &folder, &report).to_string()))
        } else {
            tell(&id, &report)
        };
        if !said {
            break;
        }
    }
    Ok(exit)
}

fn in_json(id: &str, folder: &Path, report: &Report) -> serde_json::Value {
    let findings: Vec<_> = report
        .findings
        .iter()
        .map(|one| json!({ "code": one.code, "events": one.lost, "text": one.text }))
        .collect();
    json!({
        "sink": id, "folder": folder, "files": report.files, "bytes": report.bytes, "records": report.records,
        "events": report.events, "waiting": report.waiting, "lost": report.lost, "damaged_files": report.aside, "in_use": report.in_use,
        "findings": findings,
    })
}

/// For people; `false` once nobody reads it.
fn tell(id: &str, report: &Report) -> bool {
    let used = if report.in_use {
        ", in use by a running program"
    } else {
        ""
    };
    let mut said = say::line(format!(
        "{}: {} events wait; {} events in {} records, {} files, {} bytes{used}",
        printable(id),
        report.waiting,
        report.events,
        report.records,
        report.files,
        report.bytes
    ));
    for finding in &report.findings {
        let lost = match finding.lost {
            0 => String::new(),
            n => format!(" ({n} events)"),
        };
        let text = format!("  {}: {}{lost}", finding.code, finding.text);
        said = said && say::line(printable(&text));
    }
    if report.lost > 0 {
        said = said
            && say::line(format!(
                "  {} events were found lost by an earlier `queue repair`",
                report.lost
            ));
    }
    if report.aside > 0 {
        said = said
            && say::line(format!(
                "  {} files with damaged bytes were put aside earlier (*.damaged); delete them when you need them no more",
                report.aside
            ));
    }
    if !report.findings.is_empty() {
        said = said
            && say::line(
                "  `pvetrail queue repair` puts damaged parts aside; the program itself passes them, too",
            );
    }
    said
}

fn dump(place: &Place, all: bool, limit: u64) -> Result<Exit, Exit> {
    let left = std::cell::Cell::new(if limit == 0 { u64::MAX } else { limit });
    let mut writer = JsonWriter::new(None, None);
    let mut line = Vec::new();
    let mut each = |event: &Event| {
        line.clear();
        writer.write(event, &mut line);
        left.set(left.get().saturating_sub(1));
        // The writer writes nothing but UTF-8.
        say::line(say::safe_json(&String::from_utf8_lossy(&line))) && left.get() > 0
    };
    let mut exit = Exit::Done;
    for (id, folder) in place.find()? {
        if left.get() == 0 {
            break;
        }
        let report = queue::read(&folder, all, &mut each).map_err(|why| failed(&why))?;
        for finding in report.findings {
            let text = format!("{id}: {}: {}", finding.code, finding.text);
            say::error(printable(&text));
            exit = Exit::Found;
        }
    }
    Ok(exit)
}

fn repair(place: &Place) -> Result<Exit, Exit> {
    let mut mended = false;
    for (id, folder) in place.find()? {
        for deed in queue::repair(&folder).map_err(|why| failed(&why))?.deeds {
            mended = true;
            say::line(printable(&format!("{id}: {deed}")));
        }
    }
    if !mended {
        say::line("nothing is damaged");
    }
    Ok(Exit::Done)
}

/// Says what went wrong.
fn failed(why: &OpenError) -> Exit {
    say::error(printable(&why.to_string()));
    Exit::Failed
}
