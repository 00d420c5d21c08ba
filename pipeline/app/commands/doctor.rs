//! `pvetrail doctor`: what is missing on this node, what that costs, and how to get it.
//!
//! Each check says what it found (`good`), what is worth knowing (`note`), or what is missing (`problem`) with its price and
//! the exact commands that mend it. Nothing is changed.

mod facts;
mod files;
mod journal;
mod setting;
mod token;

use std::path::PathBuf;

use serde::Serialize;

use crate::exit::Exit;
use crate::node::{Node, Root};
use crate::say;

/// Arguments of `doctor`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Look at a prepared tree of files instead of this machine.
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,

    /// Files and folders (`*.toml`) of a configuration: whether it holds, and whether it reads what is there.
    #[arg(short, long = "config", value_name = "FILE")]
    config: Vec<PathBuf>,

    /// A token for the API, like audit@pve!trail, instead of that of the configuration: what it may see.
    #[arg(long, value_name = "USER@REALM!NAME")]
    token: Option<String>,

    /// A JSON array of what was found.
    #[arg(long)]
    json: bool,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    Good,
    Note,
    Problem,
}

/// What a check says.
#[derive(Clone, Debug, Serialize)]
struct Finding {
    check: &'static str,
    level: Level,
    what: String,
    /// What is not known for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    costs: Option<String>,
    /// What to do about it, mostly commands.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    remedy: Vec<String>,
}

/// Collects findings.
#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(
        &mut self,
        check: &'static str,
        level: Level,
        what: String,
        costs: &str,
        remedy: &[&str],
    ) {
        self.0.push(Finding {
            check,
            level,
            what,
            costs: (!costs.is_empty()).then(|| costs.to_owned()),
            remedy: remedy.iter().map(|line| (*line).to_owned()).collect(),
        });
    }

    fn good(&mut self, check: &'static str, what: impl Into<String>) {
        self.add(check, Level::Good, what.into(), "", &[]);
    }

    fn note(&mut self, check: &'static str, what: impl Into<String>, costs: &str, remedy: &[&str]) {
        self.add(check, Level::Note, what.into(), costs, remedy);
    }

    fn problem(
        &mut self,
        check: &'static str,
        what: impl Into<String>,
        costs: &str,
        remedy: &[&str],
    ) {
        self.add(check, Level::Problem, what.into(), costs, remedy);
    }
}

/// How the program gets to read what only root and www-data may.
const RIGHTS: &[&str] = &[
    "pvetrail generate unit > /etc/systemd/system/pvetrail.service     # has AmbientCapabilities=CAP_DAC_READ_SEARCH",
    "systemctl daemon-reload && systemctl restart pvetrail",
    "sudo pvetrail doctor                                              # looks again, with the rights of root",
];

/// 0 where nothing is missing, 1 where something is.
pub(crate) fn run(args: &Args) -> Exit {
    let root = Root::new(args.root.as_deref());
    let node = Node::look(&root);
    let mut findings = Findings::default();
    let setting = setting::look(&root, &args.config, &mut findings);
    files::node(&root, &node, &mut findings);
    files::access(&root, &mut findings);
    let survey = files::tasks(&root, &mut findings);
    journal::look(&root, &mut findings);
    files::config(&root, &node, &mut findings);
    files::firewall(&root, &mut findings);
    files::proxy(&root, &mut findings);
    let named = args.token.as_deref().or(setting.token.as_deref());
    token::look(&root, named, setting.given, &mut findings);
    setting::clock(&root, &node, &mut findings);
    setting::space(&root, &setting.data_dir, &mut findings);
    setting::unit(&root, &mut findings);
    facts::look(&root, survey.as_ref(), &mut findings);
    let found = |level| {
        findings
            .0
            .iter()
            .filter(|finding| finding.level == level)
            .count()
    };
    let problems = found(Level::Problem);
    match args.json {
        true => {
            let json = serde_json::to_string_pretty(&findings.0)
                .expect("findings are texts, which always are JSON");
            // Line by line, for the ends of lines are no harm.
            json.lines().for_each(|line| {
                say::line(say::safe_json(line));
            });
        }
        false => {
            findings.0.iter().for_each(show);
            say::line(format!(
                "\n{problems} problems, {} notes, {} good",
                found(Level::Note),
                found(Level::Good)
            ));
        }
    }
    match problems {
        0 => Exit::Done,
        _ => Exit::Found,
    }
}

fn show(finding: &Finding) {
    let level = match finding.level {
        Level::Good => "good",
        Level::Note => "note",
        Level::Problem => "PROBLEM",
    };
    let safe = |text: &str| pipeline::printable(text).into_owned();
    say::line(format!(
        "{level:<8} {:<12} {}",
        finding.check,
        safe(&finding.what)
    ));
    if let Some(costs) = &finding.costs {
        say::line(format!("{:22}costs: {}", "", safe(costs)));
    }
    for line in &finding.remedy {
        say::line(format!("{:22}$ {}", "", safe(line)));
    }
}
