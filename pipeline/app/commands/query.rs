//! `pvetrail query`: what happened, who did it, from where, out of the store that the `sqlite` sink writes.
//!
//! It reads one snapshot and never writes to the store, so it may run at any time. That somebody read is itself an event
//! (`PVE-9041`), left in `data_dir/inbox` for the running program or its next start.

mod explode;
mod group;
mod history;
mod list;
pub(super) mod out;
mod show;
pub(super) mod trace;
pub(super) mod when;

use std::path::{Path, PathBuf};

use clap::{Subcommand, ValueEnum};
use pipeline::{Catalogue, Language, SystemEnv, config};
use sinks::sqlite::{self, By, Filter, Reader, Trouble, TroubleKind};

use crate::exit::Exit;
use crate::{load, say};

use out::Format;
use when::Zone;

const EXAMPLES: &str = "\
Questions people ask:
  who deleted guest 104              pvetrail query --object guest/104 --action '*-destroy'
  failed logins, last 24 hours       pvetrail query --action login --failed --since 24h
  what somebody did                  pvetrail query --user alice@pve
  logins: who, when, from where      pvetrail query --action login --outcome success
  which guests were migrated         pvetrail query --action '*-migrate'
  consoles opened in 30 days         pvetrail query --code '23*' --since 30d
  what changed on an object          pvetrail query --object vm/104 --explode
  five failures or more by user      pvetrail query --failed --by user --min-count 5
  one event with its evidence        pvetrail query show 61791690
  what an object was like            pvetrail query history vm/104

Words of one option are alternatives (--user alice,bob), options add up. `*` stands for any text, `?` for one letter.
Exit code: 0 found, 1 nothing found, 2 failed, 78 bad configuration.";

/// Arguments of `query`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: Option<What>,
    #[command(flatten)]
    question: Question,
}

/// Arguments of `access`: words that people try.
#[derive(Debug, clap::Args)]
pub(crate) struct Access {
    #[command(subcommand)]
    what: Log,
}

#[derive(Debug, Subcommand)]
enum Log {
    /// The same as `query`.
    Log(Box<Args>),
}

impl Access {
    /// The question behind it.
    pub(crate) fn log(&self) -> &Args {
        let Log::Log(args) = &self.what;
        args
    }
}

/// What else can be asked.
#[derive(Debug, Subcommand)]
enum What {
    /// One event as a person reads it, with its evidence, its changes, and what belongs to it.
    Show(show::Args),
    /// What an object was like, and from when to when.
    History(history::Args),
}

/// Where the store is.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Place {
    /// The file of the store.
    #[arg(long, value_name = "FILE", conflicts_with = "config", global = true)]
    pub(super) store: Option<PathBuf>,
    /// The configuration whose `sqlite` sink writes it; without either, /var/lib/pvetrail/search.db.
    #[arg(short, long, value_name = "FILE", global = true)]
    pub(super) config: Vec<PathBuf>,
}

/// How it is shown.
#[derive(Clone, Debug, clap::Args)]
struct Look {
    /// Whose clock: `UTC`, `local`, `Europe/Berlin`.
    #[arg(long, value_name = "ZONE", default_value = "UTC", global = true)]
    zone: Zone,
    /// table, json, ndjson, csv.
    #[arg(long, value_name = "FORMAT", default_value = "table", global = true)]
    format: Format,
    /// The sentence of each event in this language instead of the one it was stored with: en, de.
    #[arg(long, value_name = "LANG", global = true)]
    lang: Option<Lang>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Lang {
    En,
    De,
}

impl From<Lang> for Language {
    fn from(lang: Lang) -> Language {
        match lang {
            Lang::En => Language::En,
            Lang::De => Language::De,
        }
    }
}

/// What is asked for.
#[derive(Debug, clap::Args)]
struct Question {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    look: Look,
    /// Who: `alice@pve`, `alice` of any realm, `al*`.
    #[arg(long, value_name = "USER", value_delimiter = ',')]
    user: Vec<String>,
    /// What was done: `vm-destroy`, `*-migrate`; `pvetrail list events` names them all.
    #[arg(long, value_name = "ACTION", value_delimiter = ',')]
    action: Vec<String>,
    /// What it was done to: `vm/104`, `user/*`, a type, an id, a name; `guest/104` is all about that guest.
    #[arg(long, value_name = "OBJECT")]
    object: Vec<String>,
    /// The number of a guest.
    #[arg(long, value_name = "N", value_delimiter = ',')]
    vmid: Vec<i64>,
    /// Where it happened.
    #[arg(long, value_name = "NODE", value_delimiter = ',')]
    node: Vec<String>,
    /// From where: an address or a network (`192.0.2.0/24`).
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',')]
    source: Vec<String>,
    /// Event IDs: `PVE-2002`, `2002`, `20??`.
    #[arg(long, value_name = "CODE", value_delimiter = ',')]
    code: Vec<String>,
    /// How it ended: success, failure, unknown.
    #[arg(long, value_name = "OUTCOME", value_delimiter = ',', value_parser = ["success", "failure", "unknown"])]
    outcome: Vec<String>,
    /// Only what failed: `--outcome failure`.
    #[arg(long, conflicts_with = "outcome", num_args = 0..=1, default_missing_value = "1", value_name = "1", hide_possible_values = true)]
    failed: Option<u8>,
    /// event, alert, state, pipeline_error; all but state where it is not said.
    #[arg(long, value_name = "KIND", value_delimiter = ',')]
    kind: Vec<String>,
    /// From this time on: `2026-03-14`, `"2026-03-14 18:00"`, `2026-03-14T18:00:00Z`.
    #[arg(long, value_name = "TIME", conflicts_with = "since")]
    from: Option<String>,
    /// Before this time; a day alone is meant with all its hours.
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// The last so many hours or days: `24h`, `30d`.
    #[arg(long, alias = "last", value_name = "DURATION")]
    since: Option<pipeline::Duration>,
    /// Only at these hours of the day, in `--zone`: `18:00-08:00`.
    #[arg(long, value_name = "HH:MM-HH:MM")]
    between: Option<String>,
    /// Words of the sentence, the user or the object; `*` at the end of a word.
    #[arg(long, value_name = "WORDS")]
    text: Option<String>,
    /// The evidence and the states of objects too, not only what happened.
    #[arg(long)]
    all: bool,
    /// Count by this instead of listing.
    #[arg(long, value_name = "KEY", conflicts_with = "explode")]
    by: Option<Key>,
    /// Only what is there so many times; by user where `--by` does not say by what.
    #[arg(
        long,
        alias = "count",
        value_name = "N",
        default_value_t = 1,
        conflicts_with = "explode"
    )]
    min_count: i64,
    /// One row for each changed key: what it was, what it is.
    #[arg(long)]
    explode: bool,
    /// The newest so many, 0 for all; 100 in a table and all elsewhere where it is not said.
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
}

/// By what rows are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Key {
    User,
    Source,
    Action,
    Code,
    Object,
    Vmid,
    Node,
    Outcome,
    Origin,
    Kind,
    Day,
    Hour,
}

impl From<Key> for By {
    fn from(key: Key) -> By {
        match key {
            Key::User => By::User,
            Key::Source => By::Source,
            Key::Action => By::Action,
            Key::Code => By::Code,
            Key::Object => By::Object,
            Key::Vmid => By::Vmid,
            Key::Node => By::Node,
            Key::Outcome => By::Outcome,
            Key::Origin => By::Origin,
            Key::Kind => By::Kind,
            Key::Day => By::Day,
            Key::Hour => By::Hour,
        }
    }
}

/// 0 found, 1 nothing found, 2 failed, 78 bad configuration.
pub(crate) fn run(args: &Args) -> Exit {
    // Events are read back with the names that sentences ask for.
    Catalogue::builtin();
    let question = &args.question;
    if args.what.is_some() && question.is_some() {
        say::error(
            "`show` and `history` take no filter; --store, -c, --zone, --format and --lang are for all of them",
        );
        return Exit::Failed;
    }
    let done = match &args.what {
        Some(What::Show(args)) => show::run(args, question),
        Some(What::History(args)) => history::run(args, question),
        None => ask(question),
    };
    done.unwrap_or_else(|exit| exit)
}

fn ask(question: &Question) -> Result<Exit, Exit> {
    let filter = question.filter()?;
    question.doubts();
    let store = question.place.find()?;
    let reader = store.open()?;
    // `--count 5` alone asks for repeated failures, and those are somebody's.
    let by = question
        .by
        .or((question.min_count > 1).then_some(Key::User));
    let rows = if let Some(by) = by {
        group::run(question, &filter, by, &reader)?
    } else if question.explode {
        explode::run(question, &filter, &reader)?
    } else {
        list::run(question, &filter, &reader)?
    };
    if rows == 0 {
        nothing(&reader, question.all);
    }
    store.leave_trace(rows);
    Ok(if rows == 0 { Exit::Found } else { Exit::Done })
}

/// Why nothing may have been found: no false "nobody did it".
fn nothing(reader: &Reader, all: bool) {
    let more = if all {
        ""
    } else {
        "; --all looks at evidence too"
    };
    match reader.span() {
        Ok(Some((first, last))) => say::aside(&format!(
            "nothing found; the store holds {first} to {last}{more}\n"
        )),
        _ => say::aside("nothing found; the store is empty\n"),
    }
}

impl Question {
    /// Whether anything is asked for that `show` and `history` do not know.
    fn is_some(&self) -> bool {
        let lists = [
            &self.user,
            &self.action,
            &self.object,
            &self.node,
            &self.source,
            &self.code,
            &self.outcome,
            &self.kind,
        ];
        let texts = [&self.from, &self.to, &self.between, &self.text];
        lists.iter().any(|list| !list.is_empty())
            || texts.iter().any(|text| text.is_some())
            || !self.vmid.is_empty()
            || self.failed.is_some()
            || self.since.is_some()
            || self.by.is_some()
            || self.limit.is_some()
            || self.min_count > 1
            || self.all
            || self.explode
    }

    fn filter(&self) -> Result<Filter, Exit> {
        let zone = self.look.zone.get();
        let failed = |why: String| {
            say::error(why);
            Exit::Failed
        };
        let now = pipeline::Clock::system().now();
        let from = match (&self.from, &self.since) {
            (Some(text), _) => Some(when::from(text, zone).map_err(failed)?),
            (None, Some(span)) => Some(pipeline::Time(now.0.saturating_sub(span.as_nanos()))),
            (None, None) => None,
        };
        let to = self.to.as_ref().map(|text| when::to(text, zone));
        let between = self.between.as_ref().map(|text| when::between(text, zone));
        let outcomes = if self.failed.is_some_and(|wanted| wanted != 0) {
            vec!["failure".to_owned()]
        } else {
            self.outcome.clone()
        };
        Ok(Filter {
            users: self.user.clone(),
            actions: self.action.clone(),
            objects: self.object.clone(),
            vmids: self.vmid.clone(),
            nodes: self.node.clone(),
            sources: self.source.clone(),
            codes: self.code.clone(),
            outcomes,
            kinds: self.kind.clone(),
            from,
            to: to.transpose().map_err(failed)?,
            between: between.transpose().map_err(failed)?,
            text: self.text.clone(),
            all: self.all,
            changed: self.explode,
        })
    }

    /// A slip of the pen must not read as "nobody did it".
    fn doubts(&self) {
        let actions = || {
            Catalogue::builtin()
                .rows()
                .iter()
                .map(|row| row.action.as_str())
        };
        for word in &self.action {
            if !word.contains(['*', '?']) && !actions().any(|action| action == word) {
                let meant = match config::nearest(word, actions()) {
                    Some(meant) => format!("; did you mean {meant}?"),
                    None => String::new(),
                };
                say::aside(&format!(
                    "note: the catalogue has no action {:?}{meant}\n",
                    pipeline::printable(word)
                ));
            }
        }
    }

    /// Rows at most; 0 is all of them.
    fn limit(&self) -> usize {
        self.limit.unwrap_or(match self.look.format {
            Format::Table => 100,
            _ => 0,
        })
    }
}

/// A store, and where to leave the note that it was read.
pub(crate) struct Store {
    file: PathBuf,
    data_dir: Option<PathBuf>,
}

impl Place {
    pub(super) fn find(&self) -> Result<Store, Exit> {
        if let Some(file) = &self.store {
            let folder = file.parent().unwrap_or(Path::new("")).to_owned();
            // Beside a copy of a store somewhere else there is nobody to tell.
            let inbox = folder.join(pipeline::inbox::FOLDER);
            return Ok(Store {
                file: file.clone(),
                data_dir: inbox.is_dir().then_some(folder),
            });
        }
        if self.config.is_empty() {
            let data_dir = PathBuf::from(config::DATA_DIR);
            return Ok(Store {
                file: data_dir.join(sqlite::FILE),
                data_dir: Some(data_dir),
            });
        }
        let graph = load::graph(&self.config, &crate::registry(), &SystemEnv)?;
        let data_dir = graph.globals.data_dir.clone();
        let files: Vec<PathBuf> = graph
            .sinks
            .iter()
            .filter_map(|node| node.component.as_any().downcast_ref::<sqlite::Config>())
            .map(|config| config.file(&data_dir))
            .collect();
        match files.as_slice() {
            [file] => Ok(Store {
                file: file.clone(),
                data_dir: Some(data_dir),
            }),
            [] => {
                say::error(
                    "the configuration has no sink of type sqlite; add one, or name a store with --store",
                );
                Err(Exit::Failed)
            }
            several => {
                let names: Vec<_> = several
                    .iter()
                    .map(|file| file.display().to_string())
                    .collect();
                say::error(format!(
                    "the configuration has several stores; name one with --store: {}",
                    names.join(", ")
                ));
                Err(Exit::Failed)
            }
        }
    }
}

/// The JSON of the one event whose id begins so, from the store at its usual place or that of a configuration.
pub(crate) fn one_event(
    config: &[PathBuf],
    store: Option<&Path>,
    id: &str,
) -> Result<String, Exit> {
    Catalogue::builtin();
    let place = Place {
        store: store.map(Path::to_owned),
        config: config.to_vec(),
    };
    let store = place.find()?;
    let reader = store.open()?;
    let found = reader.find(id, 2).map_err(failed)?;
    let [row] = found.as_slice() else {
        let what = if found.is_empty() {
            "no event has"
        } else {
            "several events have"
        };
        say::error(format!(
            "{what} an id that begins with {}",
            pipeline::printable(id)
        ));
        store.leave_trace(0);
        return Err(Exit::Failed);
    };
    let json = reader.bodies().json(row).map_err(failed)?.to_owned();
    store.leave_trace(1);
    Ok(json)
}

impl Store {
    pub(crate) fn open(&self) -> Result<Reader, Exit> {
        Reader::open(&self.file).map_err(|why| {
            if why.kind == TroubleKind::Missing {
                say::error(format!(
                    "{why}; a store is written by a sink of type sqlite, and named by --store FILE or -c CONFIG"
                ));
            } else {
                say::error(why);
            }
            Exit::Failed
        })
    }

    pub(crate) fn leave_trace(&self, rows: u64) {
        trace::leave(self.data_dir.as_deref(), &self.file, rows);
    }
}

/// The store of a configuration, or that file, for a command that reads all of it.
pub(crate) fn store(config: &[PathBuf], store: Option<&Path>) -> Result<Store, Exit> {
    Catalogue::builtin();
    let place = Place {
        store: store.map(Path::to_owned),
        config: config.to_vec(),
    };
    place.find()
}

/// Says what went wrong with the store.
pub(super) fn failed(why: Trouble) -> Exit {
    say::error(why);
    Exit::Failed
}
