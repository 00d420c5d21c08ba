//! `pvetrail query`: what happened, who did it, from where, out of the store that the `sqlite` sink writes.
//!
//! It reads one snapshot and never writes to the store, so it may run at any time. That somebody read is itself an event
//! (`PVE-9041`), left in `data_dir/inbox` for the running program or its next start.

mod doubts;
mod explode;
mod group;
mod history;
mod list;
pub(super) mod out;
mod place;
mod show;
pub(super) mod trace;
pub(super) mod when;

use clap::{Subcommand, ValueEnum};
use pipeline::{Catalogue, Language};
use sinks::sqlite::{By, Filter, Trouble};

use crate::exit::Exit;
use crate::say;

use out::Format;
pub(super) use place::Place;
pub(crate) use place::{Store, one_event, store};
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
    /// Who: `alice@pve`, `alice` of any realm, `al*`; `alice@pve!ci` is one of her tokens.
    #[arg(long, value_name = "USER", value_delimiter = ',')]
    user: Vec<String>,
    /// What was done: `vm-destroy`, `*-migrate`; `pvetrail list events` names them all.
    #[arg(long, value_name = "ACTION", value_delimiter = ',')]
    action: Vec<String>,
    /// What it was done to: `vm/104`, `user/*`, a type, an id, a name like `db-prod-1`; `guest/104` is all about that guest.
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
    #[arg(long, value_name = "KIND", value_delimiter = ',', value_parser = ["event", "alert", "state", "pipeline_error"], hide_possible_values = true)]
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
    question.doubts()?;
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
        question.nothing(&reader);
    }
    store.leave_trace(rows);
    Ok(if rows == 0 { Exit::Found } else { Exit::Done })
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

    /// Rows at most; 0 is all of them.
    fn limit(&self) -> usize {
        self.limit.unwrap_or(match self.look.format {
            Format::Table => 100,
            _ => 0,
        })
    }
}

/// Says what went wrong with the store.
pub(super) fn failed(why: Trouble) -> Exit {
    say::error(why);
    Exit::Failed
}
