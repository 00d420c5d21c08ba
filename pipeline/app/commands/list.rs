//! `pvetrail list`: the components there are, and the manual page of each.

use pipeline::Kind;

use crate::exit::Exit;
use crate::say;

/// Arguments of `list`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The manual page of this type.
    #[arg(value_name = "TYPE")]
    type_name: Option<String>,
}

/// Prints the list, or one page.
pub(crate) fn run(args: &Args) -> Exit {
    let registry = crate::registry();
    if let Some(name) = &args.type_name {
        let Some(page) = pipeline::config::manual(&registry, name) else {
            let names = registry
                .iter()
                .map(|entry| entry.type_name)
                .chain(registry.tables().map(|entry| entry.type_name));
            let remedy = match pipeline::config::nearest(name, names) {
                Some(meant) => format!("did you mean \"{meant}\"?"),
                None => "`pvetrail list` names them all".to_owned(),
            };
            say::error(format!("there is no component \"{name}\"; {remedy}"));
            return Exit::Failed;
        };
        say::write(&page);
        return Exit::Done;
    }
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
    say::line("enrichment_tables:");
    for entry in registry.tables() {
        say::line(format!("  {:<16} {}", entry.type_name, entry.summary()));
    }
    Exit::Done
}
