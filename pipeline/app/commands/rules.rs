//! `pvetrail rules`: which detection rules there are, what they mean, and why one fires or does not.

mod explain;
mod list;
mod replay;
mod switch;
mod test;

use std::path::{Path, PathBuf};

use pipeline::{Spanned, SystemEnv, config};
use transforms::anomaly;
use transforms::rules::{LoadCx, Options, Profile, RuleSet};

use crate::exit::Exit;
use crate::{load, say};

/// Arguments of `rules`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// All rules, one line each.
    List(list::List),
    /// One rule as it is in force, with what it means and what to do when it fires.
    Show(list::Show),
    /// Read rule files and tell every mistake with its place and its remedy.
    Check(Check),
    /// Run the tests that rules bring along.
    Test(test::Args),
    /// What the rules would have made of events that are past: alerts by day and rule.
    Run(replay::Args),
    /// Hold one event against a rule: which test holds, which does not, and on what value.
    Explain(explain::Args),
    /// Switch a rule on.
    Enable(switch::Args),
    /// Switch a rule off.
    Disable(switch::Args),
}

#[derive(Debug, clap::Args)]
struct Check {
    /// Rule files, folders, patterns; "builtin" is the pack.
    #[arg(value_name = "FILE", required = true)]
    files: Vec<String>,
    /// The profile that is looked at too.
    #[arg(long, value_name = "quiet|strict", default_value = "quiet", value_parser = profile)]
    profile: Profile,
    /// Load the pack with them, where they refer to its rules, lists or calendars.
    #[arg(long)]
    with_builtin: bool,
    /// The mistakes as JSON.
    #[arg(long)]
    json: bool,
}

/// Which rules are spoken of.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct From {
    /// The configuration whose `anomaly` transform says which rules there are; without one, those that are built in.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: Vec<PathBuf>,
    /// Rule files, folders and patterns instead; "builtin" is the pack.
    #[arg(long, value_name = "FILE", conflicts_with = "config")]
    pub(crate) rules: Vec<String>,
    /// The profile, where no configuration says it.
    #[arg(long, value_name = "quiet|strict", value_parser = profile)]
    pub(crate) profile: Option<Profile>,
}

fn profile(word: &str) -> Result<Profile, String> {
    [Profile::Quiet, Profile::Strict]
        .into_iter()
        .find(|one| one.name() == word)
        .ok_or_else(|| "it is quiet or strict".to_owned())
}

/// 0 done, 1 found something wrong or no match, 2 failed, 78 a rule does not hold.
pub(crate) fn run(args: &Args) -> Exit {
    let done = match &args.what {
        What::List(args) => list::list(args),
        What::Show(args) => list::show(args),
        What::Check(args) => Ok(check(args)),
        What::Test(args) => test::run(args),
        What::Run(args) => replay::run(args),
        What::Explain(args) => explain::run(args),
        What::Enable(args) => switch::run(args, true),
        What::Disable(args) => switch::run(args, false),
    };
    done.unwrap_or_else(|exit| exit)
}

/// What decides what the rules do.
pub(crate) struct Found {
    pub(crate) options: Options,
    pub(crate) cx: LoadCx,
    /// The operator's name for the cluster, which goes into the ids of alerts.
    pub(crate) cluster: Option<String>,
    /// Memory for all rules together [bytes].
    pub(crate) budget: usize,
}

impl From {
    /// What the rules are loaded with: the same that the running program loads, the cluster's own nodes among it.
    pub(crate) fn loading(&self) -> Result<(Options, LoadCx), Exit> {
        let Found { options, cx, .. } = self.find()?;
        Ok((options, cx))
    }

    /// Whatever decides what the rules do.
    pub(crate) fn find(&self) -> Result<Found, Exit> {
        let mut found = if self.config.is_empty() {
            let watch = anomaly::Config::default();
            let (mut options, cx) = watch.loading(Path::new(config::DATA_DIR));
            if !self.rules.is_empty() {
                options.rules = self.rules.iter().cloned().map(Spanned::from).collect();
            }
            Found {
                options,
                cx,
                cluster: None,
                budget: watch.budget(),
            }
        } else {
            let graph = load::graph(&self.config, &crate::registry(), &SystemEnv)?;
            let watch = graph
                .transforms
                .iter()
                .find_map(|node| node.component.as_any().downcast_ref::<anomaly::Config>());
            let Some(watch) = watch else {
                say::error(
                    "the configuration has no transform of type anomaly; add one, or name rule files with --rules",
                );
                return Err(Exit::Failed);
            };
            let (options, cx) = watch.loading(&graph.globals.data_dir);
            Found {
                options,
                cx,
                cluster: graph.globals.cluster.clone(),
                budget: watch.budget(),
            }
        };
        if let Some(profile) = self.profile {
            found.options.profile = profile;
        }
        Ok(found)
    }

    /// The rules; what is wrong with some of them goes to standard error.
    pub(crate) fn load(&self) -> Result<RuleSet, Exit> {
        let (options, cx) = self.loading()?;
        let (set, told) = RuleSet::load(&options, &cx);
        if !told.is_empty() {
            say::aside(&told.render(say::colour_on_stderr()));
        }
        Ok(set)
    }
}

/// Says that there is no such rule, and which one may be meant.
pub(crate) fn unknown(set: &RuleSet, id: &str) -> Exit {
    let ids = set.rules().iter().flat_map(|rule| [&*rule.id, &*rule.name]);
    let remedy = match config::nearest(id, ids) {
        Some(meant) => format!("did you mean \"{meant}\"?"),
        None => "`pvetrail rules list` names them all".to_owned(),
    };
    say::error(format!(
        "there is no rule \"{}\"; {remedy}",
        pipeline::printable(id)
    ));
    Exit::Failed
}

fn check(args: &Check) -> Exit {
    let mut rules: Vec<Spanned<String>> = args.files.iter().cloned().map(Spanned::from).collect();
    if args.with_builtin {
        rules.insert(0, "builtin".to_owned().into());
    }
    let options = Options {
        rules,
        profile: args.profile,
        ..Options::default()
    };
    let (set, told) = RuleSet::load(&options, &LoadCx::default());
    if args.json {
        say::line(say::safe_json(&told.to_json().to_string()));
    } else {
        say::aside(&told.render(say::colour_on_stderr()));
        let rules = set.rules().len();
        say::line(format!(
            "{rules} rule{} can be loaded",
            if rules == 1 { "" } else { "s" }
        ));
    }
    if told.errors() > 0 {
        Exit::BadConfig
    } else {
        Exit::Done
    }
}

#[cfg(test)]
mod tests;
