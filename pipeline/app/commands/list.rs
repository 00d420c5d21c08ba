//! `pvetrail list`: the components there are and the manual page of each; the event IDs, and what leads to each of them.

mod reference;

use pipeline::{Kind, Language};

use crate::exit::Exit;
use crate::say;

/// Arguments of `list`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The manual page of this type of component, or of this event ID (`PVE-2002`). `events` lists all event IDs, `tasks` every
    /// type of task of Proxmox VE with its event ID, `endpoints` every API call that may change something, `rules` the language of detection rules.
    #[arg(value_name = "TYPE|CODE|events|tasks|endpoints|rules")]
    name: Option<String>,
    /// One JSON object per line, for `events`, `tasks`, `endpoints` and event IDs.
    #[arg(long)]
    json: bool,
    /// The language of names in tables; JSON and pages have all.
    #[arg(long, alias = "lang", value_enum, default_value_t = In::En)]
    language: In,
}

/// A language on the command line.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum In {
    /// English.
    En,
    /// German.
    De,
}

/// Prints the list, or one page.
pub(crate) fn run(args: &Args) -> Exit {
    let Some(name) = &args.name else {
        if args.json {
            say::error("--json is for events, tasks, endpoints and event IDs");
            return Exit::Failed;
        }
        components();
        return Exit::Done;
    };
    let language = match args.language {
        In::En => Language::En,
        In::De => Language::De,
    };
    if name == "rules" && !args.json {
        say::write(&transforms::rules::manual());
        return Exit::Done;
    }
    if let Some(listed) = reference::find(name) {
        say::write(&if args.json {
            listed.json()
        } else {
            listed.text(language)
        });
        return Exit::Done;
    }
    let registry = crate::registry();
    match pipeline::config::manual(&registry, name) {
        Some(_) if args.json => {
            say::error("a manual page is Markdown; for JSON there is `pvetrail generate schema`");
            Exit::Failed
        }
        Some(page) => {
            say::write(&page);
            Exit::Done
        }
        None => {
            let names = registry
                .iter()
                .map(|entry| entry.type_name)
                .chain(registry.tables().map(|entry| entry.type_name))
                .chain(reference::names());
            let (what, all) = match name.to_ascii_uppercase().starts_with("PVE-") {
                true => ("event ID", "`pvetrail list events`"),
                false => ("component", "`pvetrail list`"),
            };
            let remedy = match pipeline::config::nearest(name, names) {
                Some(meant) => format!("did you mean \"{meant}\"?"),
                None => format!("{all} names them all"),
            };
            let name = pipeline::printable(name);
            say::error(format!("there is no {what} \"{name}\"; {remedy}"));
            Exit::Failed
        }
    }
}

fn components() {
    let registry = crate::registry();
    for kind in [Kind::Source, Kind::Transform, Kind::Sink] {
        say::line(format!("{}:", kind.section()));
        for entry in registry.of(kind) {
            say::line(format!("  {:<16} {}", entry.type_name, entry.summary()));
        }
    }
    say::line("enrichment_tables:");
    for entry in registry.tables() {
        say::line(format!("  {:<16} {}", entry.type_name, entry.summary()));
    }
}
