//! `cargo bench --bench roads`: what a road costs, beside the bare work of it (the floor) and beside rsyslog.
//!
//! Only ratios within one run count, so all programs compared take the same input on the same machine in the same run,
//! their runs interleaved, and the median is told. CPU is user and system time of the pipeline's process alone.
//!
//! - `-- --events N` (2 000 000), `--runs N` (3), `--only access,floor,…`
//! - `-- --big`: besides, 4 GiB of input against 100 MiB of it, for the memory it takes
//! - `-- --dir DIR`: keep input and working files there

#![allow(clippy::print_stdout, reason = "a table is what this program is for")]

mod floor;
mod generate;
mod jetstream;
mod jobs;
mod measure;
mod stand_in;

use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use jobs::{Job, Place};
use measure::Measure;

/// About the length of a line of the access log [bytes].
const LINE: u64 = 121;

struct Options {
    events: u64,
    runs: usize,
    only: Vec<String>,
    big: bool,
    dir: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.first().map(String::as_str) {
        Some("stand-in") => number(arguments.get(1)).and_then(stand_in::serve),
        Some("floor") => number(arguments.get(2)).and_then(|port| {
            floor::run(
                Path::new(&arguments[1]),
                u16::try_from(port).map_err(io::Error::other)?,
            )
        }),
        _ => options(arguments).and_then(|options| bench(&options)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            println!("roads: {why}");
            ExitCode::FAILURE
        }
    }
}

fn number(word: Option<&String>) -> io::Result<u64> {
    word.and_then(|word| word.replace('_', "").parse().ok())
        .ok_or_else(|| io::Error::other("a number is missing"))
}

fn options(arguments: Vec<String>) -> io::Result<Options> {
    let mut options = Options {
        events: 2_000_000,
        runs: 3,
        only: Vec::new(),
        big: false,
        dir: None,
    };
    let mut words = arguments.into_iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--events" => options.events = number(words.next().as_ref())?,
            "--runs" => {
                options.runs = usize::try_from(number(words.next().as_ref())?)
                    .map_err(io::Error::other)?
                    .max(1)
            }
            "--only" => {
                options.only = words
                    .next()
                    .unwrap_or_default()
                    .split(',')
                    .map(str::to_owned)
                    .collect()
            }
            "--big" => options.big = true,
            "--dir" => options.dir = words.next().map(PathBuf::from),
            // Cargo's own word to every benchmark.
            "--bench" => {}
            other => {
                return Err(io::Error::other(format!(
                    "\"{other}\" is not an option of roads"
                )));
            }
        }
    }
    Ok(options)
}

fn bench(options: &Options) -> io::Result<()> {
    let temporary = tempfile::tempdir()?;
    let dir = options.dir.as_deref().unwrap_or(temporary.path());
    fs::create_dir_all(dir)?;
    let place = Place {
        access: dir.join("access.log"),
        syslog: dir.join("syslog.log"),
        work: dir.join("work"),
    };
    generate::access(options.events, BufWriter::new(File::create(&place.access)?))?;
    generate::syslog(options.events, BufWriter::new(File::create(&place.syslog)?))?;

    let mut jobs: Vec<Job> = Job::ALL
        .into_iter()
        .filter(|job| options.only.is_empty() || options.only.iter().any(|n| n == job.name()))
        .collect();
    if jobs.iter().any(|job| job.name().starts_with("rsyslog"))
        && !Command::new(jobs::service("rsyslog"))
            .arg("install")
            .status()?
            .success()
    {
        println!("rsyslog could not be installed: there is no R in this run");
        jobs.retain(|job| !job.name().starts_with("rsyslog"));
    }
    let mut measured: Vec<Vec<Measure>> = vec![Vec::new(); jobs.len()];
    let mut failed = Vec::new();
    for _ in 0..options.runs {
        for (job, of_job) in jobs.iter().zip(&mut measured) {
            match one(*job, options.events, &place) {
                Ok(measure) => of_job.push(measure),
                Err(why) => failed.push(format!("{}: {why}", job.name())),
            }
        }
    }
    let medians: Vec<(Job, Measure)> = jobs
        .into_iter()
        .zip(measured)
        .filter_map(|(job, of_job)| Some((job, median(of_job)?)))
        .collect();
    table(options, &medians);
    for why in failed {
        println!("failed: {why}");
    }
    if options.big {
        big(&place)?;
    }
    Ok(())
}

fn one(job: Job, events: u64, place: &Place) -> io::Result<Measure> {
    if place.work.exists() {
        fs::remove_dir_all(&place.work)?;
    }
    fs::create_dir_all(&place.work)?;
    let log = place.work.with_file_name(format!("{}.said", job.name()));
    measure::run(events, &log, |port| job.program(place, port))
}

/// Each figure's own median; none if no run came to its end.
fn median(measures: Vec<Measure>) -> Option<Measure> {
    let middle = |of: fn(&Measure) -> f64| {
        let mut values: Vec<f64> = measures.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied()
    };
    Some(Measure {
        rate: middle(|m| m.rate)?,
        cpu: middle(|m| m.cpu)?,
        peak: middle(|m| m.peak)?,
    })
}

fn table(options: &Options, medians: &[(Job, Measure)]) {
    let cpu = |wanted: Job| {
        medians
            .iter()
            .find(|(job, _)| *job == wanted)
            .map(|(_, m)| m.cpu)
    };
    let (floor, r) = (cpu(Job::Floor), cpu(Job::RsyslogSyslog));
    println!(
        "\n{} events, the median of {} runs\n",
        options.events, options.runs
    );
    println!(
        "{:<16} {:>10} {:>9} {:>9} {:>8} {:>8}  promised",
        "job", "events/s", "CPU µs/ev", "peak MiB", "× floor", "× R"
    );
    for (job, m) in medians {
        let ratio =
            |to: Option<f64>| to.map_or_else(|| "-".to_owned(), |to| format!("{:.3}", m.cpu / to));
        println!(
            "{:<16} {:>10.0} {:>9.3} {:>9.1} {:>8} {:>8}  {}",
            job.name(),
            m.rate,
            m.cpu,
            m.peak,
            ratio(floor),
            ratio(r),
            promised(*job, m, floor, r)
        );
    }
}

/// Every promise of the job with its outcome.
fn promised(job: Job, m: &Measure, floor: Option<f64>, r: Option<f64>) -> String {
    let promise = job.promise();
    let word = |kept: bool| if kept { "kept" } else { "MISSED" };
    let mut said = Vec::new();
    if let (Some(most), Some(floor)) = (promise.floors, floor) {
        said.push(format!("≤ {most} floor: {}", word(m.cpu / floor <= most)));
    }
    if let (Some(most), Some(r)) = (promise.rs, r) {
        said.push(format!("≤ {most} R: {}", word(m.cpu / r <= most)));
    }
    if let Some(least) = promise.rate {
        said.push(format!(
            "≥ {:.1} M/s: {}",
            least / 1e6,
            word(m.rate >= least)
        ));
    }
    if let Some(most) = promise.peak {
        said.push(format!("≤ {most} MiB: {}", word(m.peak <= most)));
    }
    said.join(", ")
}

/// Memory must not follow the length of the input.
fn big(place: &Place) -> io::Result<()> {
    println!(
        "\n{:<16} {:>10} {:>9} {:>9}",
        "access", "events/s", "CPU µs/ev", "peak MiB"
    );
    for (name, bytes) in [("100 MiB", 100 << 20), ("4 GiB", 4u64 << 30)] {
        let events = bytes / LINE;
        generate::access(events, BufWriter::new(File::create(&place.access)?))?;
        let m = one(Job::Access, events, place)?;
        println!("{name:<16} {:>10.0} {:>9.3} {:>9.1}", m.rate, m.cpu, m.peak);
    }
    Ok(())
}
