//! `alerts silence`: made, listed, taken back. The running program finds it within a second and records it (`PVE-9105`).

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Subcommand;
use pipeline::{SystemEnv, config, inbox};
use transforms::notify::silence::{Silence, Store};
use transforms::notify::{Values, Written};

use super::super::query::out::{Cell, Format, Out};
use crate::exit::Exit;
use crate::{load, say};

#[derive(Debug, Subcommand)]
pub(super) enum What {
    /// Hold back messages about the alerts that are like this: `rule=PVR-201 node=pve1,pve2`.
    Add(Add),
    /// The silences that hold, the one that ends first in front.
    Ls(Ls),
    /// Take a silence back.
    Rm(Rm),
}

/// Whose silences.
#[derive(Clone, Debug, clap::Args)]
struct Home {
    /// The configuration that runs; its folder of data is where silences lie.
    #[arg(short, long, value_name = "FILE", conflicts_with = "data_dir")]
    config: Vec<PathBuf>,
    /// The folder of data itself; without either, /var/lib/pvetrail.
    #[arg(long, value_name = "FOLDER")]
    data_dir: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(super) struct Add {
    #[command(flatten)]
    home: Home,
    /// Fields and their values: severity, rule, node, user, cluster, object, vmid, label.NAME, a dotted path; several values
    /// with commas, `*` for any text.
    #[arg(required = true, value_name = "FIELD=VALUE")]
    matching: Vec<String>,
    /// For how long.
    #[arg(long = "for", value_name = "DURATION")]
    span: pipeline::Duration,
    /// Why; it is part of the audit trail.
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

#[derive(Debug, clap::Args)]
pub(super) struct Ls {
    #[command(flatten)]
    home: Home,
    /// Those too that ended within the last day.
    #[arg(long)]
    all: bool,
    /// table, json, ndjson, csv.
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: Format,
}

#[derive(Debug, clap::Args)]
pub(super) struct Rm {
    #[command(flatten)]
    home: Home,
    /// Its id, or the beginning of it.
    id: String,
}

impl Home {
    fn store(&self) -> Result<Store, Exit> {
        let folder = match &self.data_dir {
            Some(folder) => folder.clone(),
            None if self.config.is_empty() => PathBuf::from(config::DATA_DIR),
            None => {
                let graph = load::graph(&self.config, &crate::registry(), &SystemEnv)?;
                graph.globals.data_dir.clone()
            }
        };
        if !folder.is_dir() {
            say::error(format!(
                "there is no folder {}; name the configuration with -c, or the folder with --data-dir",
                folder.display()
            ));
            return Err(Exit::Failed);
        }
        Ok(Store::new(&folder))
    }
}

pub(super) fn run(what: &What) -> Result<Exit, Exit> {
    match what {
        What::Add(args) => add(args),
        What::Ls(args) => ls(args),
        What::Rm(args) => rm(args),
    }
}

/// Who runs this: the account, and behind `sudo` the one who asked it.
fn author() -> String {
    let uid = rustix::process::getuid().as_raw();
    let account = inbox::user_name(uid).unwrap_or_else(|| uid.to_string());
    match std::env::var("SUDO_USER") {
        Ok(user) if uid == 0 && !user.is_empty() => format!("{user} (as {account})"),
        _ => account,
    }
}

fn failed(why: impl std::fmt::Display) -> Exit {
    say::error(why);
    Exit::Failed
}

/// `rule=PVR-201,PVR-202` as a matcher.
fn written(words: &[String]) -> Result<Written, String> {
    let mut written: Written = BTreeMap::new();
    for word in words {
        let Some((field, values)) = word.split_once('=') else {
            return Err(format!(
                "{word:?} is no field with its value; write it like rule=PVR-201"
            ));
        };
        let values = values.split(',').map(str::to_owned).collect();
        if written
            .insert(field.to_owned(), Values::Several(values))
            .is_some()
        {
            return Err(format!(
                "{field} stands there twice; write its values with commas"
            ));
        }
    }
    Ok(written)
}

fn add(args: &Add) -> Result<Exit, Exit> {
    let store = args.home.store()?;
    let now = pipeline::Clock::system().now();
    let until = now.after(args.span.get());
    let matching = written(&args.matching).map_err(failed)?;
    let silence = Silence::new(matching, now, until, &author(), &args.reason).map_err(failed)?;
    let (id, about) = (silence.id.clone(), silence.about());
    store.add(silence, now).map_err(failed)?;
    say::line(format!(
        "{id} silences {} until {until}",
        pipeline::printable(&about)
    ));
    Ok(Exit::Done)
}

fn ls(args: &Ls) -> Result<Exit, Exit> {
    let now = pipeline::Clock::system().now();
    let mut silences = args.home.store()?.all().map_err(failed)?;
    silences.retain(|silence| args.all || silence.is_active(now));
    silences.sort_by_key(|silence| silence.until);
    let mut out = Out::new(
        args.format,
        vec!["id", "state", "until", "about", "author", "reason", "made"],
    );
    for silence in &silences {
        let state = match (&silence.removed, silence.is_active(now)) {
            (Some(_), _) => "removed",
            (None, true) => "active",
            (None, false) => "expired",
        };
        let goes_on = match args.format {
            Format::Json | Format::Ndjson => {
                out.json(&transforms::notify::silence::to_json(silence, now).to_string())
            }
            Format::Table | Format::Csv => out.row(&[
                Cell::Text(&silence.id),
                Cell::Text(state),
                Cell::Owned(silence.until.to_string()),
                Cell::Owned(silence.about()),
                Cell::Text(&silence.author),
                Cell::Text(&silence.reason),
                Cell::Owned(silence.made.to_string()),
            ]),
        };
        if !goes_on {
            break;
        }
    }
    let rows = out.finish()?;
    Ok(if rows == 0 { Exit::Found } else { Exit::Done })
}

fn rm(args: &Rm) -> Result<Exit, Exit> {
    let now = pipeline::Clock::system().now();
    let removed = args
        .home
        .store()?
        .remove(&args.id, &author(), now)
        .map_err(failed)?;
    match removed {
        Some(silence) => {
            say::line(format!(
                "{} is taken back ({})",
                silence.id,
                pipeline::printable(&silence.about())
            ));
            Ok(Exit::Done)
        }
        None => Err(failed(format!(
            "no silence that holds has an id that begins with {:?}, or several have; `alerts silence ls` shows them",
            args.id
        ))),
    }
}
