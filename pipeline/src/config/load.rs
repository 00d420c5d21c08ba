//! Files and folders become one tree, the tree becomes a graph.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use zeroize::Zeroize;

use super::assemble::{SECTIONS, assemble};
use super::built;
use super::check;
use super::de::{Reader, Shared};
use super::diagnostic::{Diagnostic, Diagnostics, Files, Severity};
use super::env::Env;
use super::graph::Graph;
use super::tables;
use super::tree::{self, Entry, Node as Tree, Table, Value};
use crate::component::{AnyConfig, BuildErrors, Kind, Place, Registry};

/// Reads files and folders (`*.toml`, by name) as one configuration.
///
/// Comes back with the graph and its warnings, or with everything that is wrong. Every component has been built once, and
/// nothing started.
pub fn load(
    paths: &[PathBuf],
    registry: &Registry,
    env: &dyn Env,
) -> Result<(Graph, Diagnostics), Diagnostics> {
    let mut files = Files::default();
    let mut found = Vec::new();
    let tables = read_files(paths, env, &mut files, &mut found);
    // A file that could not be read as a whole may hold what seems to be missing.
    let whole = found.iter().all(|d| d.severity != Severity::Error);
    let broken_lines: Vec<(u32, usize)> = found.iter().map(|d| line_of(&files, d)).collect();
    let root = merge(tables, &files, &mut found);
    let shared = Shared::new(env, &files);
    let mut draft = assemble(root, registry, &shared);
    check::graph(&mut draft, &shared);
    built::build(&draft, &shared);
    let (later, mut revealed) = (shared.found.into_inner(), shared.revealed.into_inner());
    let later = later
        .into_iter()
        .filter(|d| whole || !(d.guess || broken_lines.contains(&line_of(&files, d))));
    found.extend(later.map(|d| conceal(d, &revealed)));
    revealed.iter_mut().for_each(|(value, _)| value.zeroize());
    let diagnostics = Diagnostics::new(Arc::new(files), found);
    if diagnostics.errors() > 0 {
        Err(diagnostics)
    } else {
        Ok((draft.graph, diagnostics))
    }
}

fn line_of(files: &Files, diagnostic: &Diagnostic) -> (u32, usize) {
    let place = diagnostic.place;
    (place.file, files.line_column(place.file, place.start).line)
}

/// Parses the keys of one component alone, without the engine's: for tests and for manual pages.
pub fn parse_component(
    kind: Kind,
    type_name: &str,
    toml: &str,
    registry: &Registry,
    env: &dyn Env,
) -> Result<Box<dyn AnyConfig>, Diagnostics> {
    let mut files = Files::default();
    let file = files.add(format!("{type_name}.toml"), toml.to_owned());
    let mut found = Vec::new();
    let table = tree::parse(&files, file, &mut found);
    let shared = Shared::new(env, &files);
    shared.found.borrow_mut().extend(found);
    let place = Place::start_of(file);
    let parsed = match registry.find(kind, type_name) {
        Some(entry) => {
            let what = format!("type \"{type_name}\"");
            (entry.parse)(&Reader {
                shared: &shared,
                table: &table,
                place,
                path: String::new(),
                others: &[],
                what,
            })
        }
        None => {
            shared.say(Diagnostic::error(
                Place::NONE,
                "",
                format!("there is no {kind} of type {type_name:?}"),
            ));
            None
        }
    };
    let found = shared.found.into_inner();
    match parsed {
        Some((parsed, true)) if found.is_empty() => Ok(parsed),
        _ => Err(Diagnostics::new(Arc::new(files), found)),
    }
}

/// No message repeats what a variable, a file or a credential stood for.
fn conceal(mut diagnostic: Diagnostic, revealed: &[(String, String)]) -> Diagnostic {
    for (value, written) in revealed {
        // Of short values ("1", "pve") nothing can be learnt, and replacing them would garble the message.
        if value.len() < 6 {
            continue;
        }
        let hide = |text: &mut String| {
            if text.contains(value.as_str()) {
                *text = text.replace(value.as_str(), written);
            }
        };
        hide(&mut diagnostic.message);
        for text in [&mut diagnostic.help, &mut diagnostic.note]
            .into_iter()
            .flatten()
        {
            hide(text);
        }
    }
    diagnostic
}

fn read_files(
    paths: &[PathBuf],
    env: &dyn Env,
    files: &mut Files,
    found: &mut Vec<Diagnostic>,
) -> Vec<(u32, Table)> {
    let mut wanted = Vec::new();
    for path in paths {
        match env.folder(path) {
            None => wanted.push(path.clone()),
            Some(Ok(list)) if list.is_empty() => found.push(
                Diagnostic::error(
                    Place::NONE,
                    "",
                    format!(
                        "the folder {} has no file whose name ends with .toml",
                        path.display()
                    ),
                )
                .with_help("give a file, or put one there"),
            ),
            Some(Ok(list)) => wanted.extend(list),
            Some(Err(error)) => found.push(unreadable(path, &error)),
        }
    }
    if paths.is_empty() {
        found.push(
            Diagnostic::error(Place::NONE, "", "no configuration was given")
                .with_help("name a file or a folder of *.toml files"),
        );
    }
    wanted.dedup();
    let mut tables = Vec::new();
    for path in wanted {
        match env.read(&path) {
            Ok(text) => {
                let file = files.add(path.display().to_string(), text);
                tables.push((file, tree::parse(files, file, found)));
            }
            Err(error) => found.push(unreadable(&path, &error)),
        }
    }
    tables
}

fn unreadable(path: &Path, error: &std::io::Error) -> Diagnostic {
    let help = match error.kind() {
        std::io::ErrorKind::NotFound => {
            "check the path; relative paths start where the program was started"
        }
        std::io::ErrorKind::PermissionDenied => {
            "let this user read it (chmod, chown), or run as one who may"
        }
        std::io::ErrorKind::InvalidData => "save it as UTF-8",
        _ => "a configuration is a text file of at most 16 MiB, or a folder of such files",
    };
    let why = match error.kind() {
        std::io::ErrorKind::NotFound => "there is no such file or folder".to_owned(),
        std::io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    };
    Diagnostic::error(
        Place::NONE,
        "",
        format!("{} cannot be read: {why}", path.display()),
    )
    .with_help(help)
}

/// One tree of all files. Sections of components and lists of tables add up; anything else may be said once.
fn merge(tables: Vec<(u32, Table)>, files: &Files, found: &mut Vec<Diagnostic>) -> Table {
    let mut root = Table::default();
    for (_, table) in tables {
        for entry in table.0 {
            let section = SECTIONS.iter().any(|kind| kind.section() == entry.key)
                || entry.key == tables::SECTION;
            let Some(at) = root.0.iter().position(|known| known.key == entry.key) else {
                root.0.push(entry);
                continue;
            };
            let known = &mut root.0[at];
            match (&mut known.node.value, entry.node.value) {
                (Value::Table(known), Value::Table(more)) if section => {
                    for component in more.0 {
                        match known.get(&component.key) {
                            Some(first) => found.push(clash(
                                &format!("{}.{}", entry.key, component.key),
                                first,
                                &component,
                                files,
                            )),
                            None => known.0.push(component),
                        }
                    }
                }
                (Value::List(known), Value::List(more)) if entry.key == "tests" => {
                    known.extend(more)
                }
                (_, value) => {
                    let again = Entry {
                        node: Tree {
                            value,
                            ..entry.node
                        },
                        ..entry
                    };
                    found.push(clash(&again.key, &root.0[at], &again, files));
                }
            }
        }
    }
    root
}

fn clash(path: &str, first: &Entry, again: &Entry, files: &Files) -> Diagnostic {
    Diagnostic::error(
        again.key_place,
        path,
        format!(
            "`{path}` is already set at {}",
            files.describe(first.key_place)
        ),
    )
    .with_also(first.key_place, "first set here")
    .with_help("keep one of the two, or give them different names")
}

/// For a caller that has only the errors of one component.
impl From<Diagnostics> for BuildErrors {
    fn from(diagnostics: Diagnostics) -> Self {
        diagnostics
            .items
            .into_iter()
            .map(|d| crate::component::BuildError::new(d.message))
            .fold(BuildErrors::new(), |mut all, e| {
                all.push(e);
                all
            })
    }
}
