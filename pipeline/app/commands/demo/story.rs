//! The whole day at once: into a store, and from there the answer to what the day asks.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Parser;
use pipeline::Graph;
use pipeline::config::FakeEnv;
use sinks::sqlite::{Filter, Reader};
use sources::demo::Day;

use super::{Args, NAME, replay, shipped};
use crate::cli::{Cli, Command};
use crate::commands::query;
use crate::exit::Exit;
use crate::{load, say};

/// The name of the store in its folder.
const STORE: &str = "search.db";

/// Tells the day and asks who did it.
pub(super) fn run(args: &Args) -> Exit {
    match tell(args) {
        Ok(()) => Exit::Done,
        Err(why) => {
            say::error(why);
            Exit::Failed
        }
    }
}

fn tell(args: &Args) -> Result<(), String> {
    let day = args.day()?;
    let began = Instant::now();
    let folder = match &args.store {
        Some(folder) => folder.clone(),
        None => own_folder()?,
    };
    let store = empty(&folder)?;
    let graph = graph(args, &folder)?;
    let cluster = graph.globals.cluster.clone().unwrap_or_default();
    if let Some(path) = &args.truth {
        write_truth(&day, &cluster, path)?;
    }
    let told = load::block_on_any(replay::run(&graph, &day, None))?;
    drop(graph);
    let (from, to) = (day.start, day.start.after(day.lasts));
    if args.month {
        say::line(format_args!(
            "A month of a cluster of three nodes, {} to {} UTC: {} entries in seven records became {} events of one\n\
             trail, told in {:.1} s. What would have paged somebody?\n\n  pvetrail rules run --replay --store {}",
            short(&from.to_string()),
            short(&to.to_string()),
            told.entries,
            told.events,
            began.elapsed().as_secs_f64(),
            shell(&[store.display().to_string()]),
        ));
        return Ok(());
    }
    say::line(format_args!(
        "The day of a cluster of three nodes, {} to {} UTC: {} entries in seven records became {} events of one\n\
         trail, told in {:.1} s. Last night somebody deleted ten guests. Who, and from where?",
        short(&from.to_string()),
        short(&to.to_string()),
        told.entries,
        told.events,
        began.elapsed().as_secs_f64(),
    ));
    let store = store.display().to_string();
    // A day that was wished for is not the last one.
    let when = match &args.start {
        None => vec!["--since".to_owned(), "24h".to_owned()],
        Some(_) => vec![
            "--from".to_owned(),
            from.to_string(),
            "--to".to_owned(),
            to.to_string(),
        ],
    };
    let ask = |words: &[&str]| {
        let mut line = vec!["query".to_owned(), "--store".to_owned(), store.clone()];
        line.extend(words.iter().map(|word| (*word).to_owned()));
        line.extend(when.iter().cloned());
        line
    };
    answer(&ask(&["--action", "vm-destroy"]))?;
    say::line("\nAnd what that rests on, for the last of them:");
    let last = last_destroyed(Path::new(&store))?;
    answer(&["query", "show", "--store", &store, &last].map(str::to_owned))?;
    say::line("\nAsk further:");
    for (words, what) in [
        (
            &["--user", "m.keller@pam"][..],
            "what else that account did",
        ),
        (
            &["--action", "login", "--failed", "--by", "source"],
            "who tried passwords",
        ),
        (&["--code", "23*"], "consoles that were opened"),
        (
            &["--action", "acl-*", "--explode"],
            "rights that changed, before and after",
        ),
        (&["--action", "*-migrate"], "guests that moved"),
        (
            &["--action", "vm-destroy", "--lang", "de"],
            "the same in German",
        ),
    ] {
        say::line(format_args!(
            "  # {what}\n  pvetrail {}",
            shell(&ask(words))
        ));
    }
    say::line(format_args!(
        "\nThe store stays in {}. Your own node: pvetrail generate pve",
        folder.display()
    ));
    Ok(())
}

/// The shipped graph with the store alone.
fn graph(args: &Args, folder: &Path) -> Result<Graph, String> {
    let mut graph = shipped(folder)?;
    graph.insert("language".to_owned(), args.lang.as_str().into());
    if let Some(sinks) = graph.get_mut("sinks").and_then(toml::Value::as_table_mut) {
        sinks.remove("screen");
    }
    let text = toml::to_string(&graph).map_err(|why| why.to_string())?;
    let env = FakeEnv::new().with_file(NAME, &text);
    pipeline::load(&[PathBuf::from(NAME)], &crate::registry(), &env)
        .map(|(graph, _)| graph)
        .map_err(|mistakes| mistakes.render(false))
}

fn write_truth(day: &Day, cluster: &str, path: &Path) -> Result<(), String> {
    let failed = |why: std::io::Error| format!("{}: {why}", path.display());
    let mut file = std::io::BufWriter::new(fs::File::create(path).map_err(failed)?);
    for truth in day.truth(cluster) {
        serde_json::to_writer(&mut file, &truth).map_err(|why| failed(why.into()))?;
        file.write_all(b"\n").map_err(failed)?;
    }
    file.flush().map_err(failed)
}

/// The beginning of the id of the last guest's end.
fn last_destroyed(store: &Path) -> Result<String, String> {
    let reader = Reader::open(store).map_err(|why| why.to_string())?;
    let filter = Filter {
        actions: vec!["vm-destroy".to_owned()],
        ..Filter::default()
    };
    let mut id = None;
    reader
        .rows(&filter, 1, &mut |row| {
            id = row.id_hex().get(..12).map(str::to_owned);
            true
        })
        .map_err(|why| why.to_string())?;
    id.ok_or_else(|| "the store has no guest that was destroyed".to_owned())
}

/// Shows a question as it is typed, and its answer.
fn answer(words: &[String]) -> Result<(), String> {
    say::line(format_args!("\n$ pvetrail {}", shell(words)));
    let words = std::iter::once("pvetrail").chain(words.iter().map(String::as_str));
    let cli = Cli::try_parse_from(words).map_err(|why| why.to_string())?;
    let Command::Query(args) = cli.command else {
        return Err("a question is no question any more".to_owned());
    };
    match query::run(&args) {
        Exit::Done => Ok(()),
        _ => Err("the store does not answer".to_owned()),
    }
}

/// The words as a shell takes them.
fn shell(words: &[String]) -> String {
    let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
    words.join(" ")
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@,=".contains(c);
    match word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

/// `2026-03-14 21:52` of `2026-03-14T21:52:00.000Z`.
fn short(time: &str) -> String {
    time.get(..16).unwrap_or(time).replace('T', " ")
}

/// A folder among the temporary files that belongs to this user and to nobody else.
fn own_folder() -> Result<PathBuf, String> {
    let user = rustix::process::getuid().as_raw();
    let path = std::env::temp_dir().join(format!("pvetrail-demo-{user}"));
    let failed = |why: std::io::Error| format!("{}: {why}", path.display());
    match fs::DirBuilder::new().mode(0o700).create(&path) {
        Ok(()) => return Ok(path),
        Err(why) if why.kind() == std::io::ErrorKind::AlreadyExists => {}
        Err(why) => return Err(failed(why)),
    }
    // Somebody else may have laid it, or a link, in our way.
    let there = fs::symlink_metadata(&path).map_err(failed)?;
    if there.is_dir() && there.uid() == user && there.mode().trailing_zeros() >= 6 {
        return Ok(path);
    }
    Err(format!(
        "{} is no folder of yours alone; remove it, or name another with --store",
        path.display()
    ))
}

/// The store in its folder, where no earlier day is left.
fn empty(folder: &Path) -> Result<PathBuf, String> {
    fs::create_dir_all(folder).map_err(|why| format!("{}: {why}", folder.display()))?;
    for name in [STORE, "search.db-wal", "search.db-shm"] {
        let path = folder.join(name);
        match fs::remove_file(&path) {
            Ok(()) => {}
            Err(why) if why.kind() == std::io::ErrorKind::NotFound => {}
            Err(why) => return Err(format!("{}: {why}", path.display())),
        }
    }
    // Whoever asks leaves a note there, as beside any other store.
    let inbox = folder.join(pipeline::inbox::FOLDER);
    fs::create_dir_all(&inbox).map_err(|why| format!("{}: {why}", inbox.display()))?;
    Ok(folder.join(STORE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_can_be_typed_as_it_is_shown() {
        let words = ["--action", "*-destroy", "it's"].map(str::to_owned);
        assert_eq!(shell(&words), r"--action '*-destroy' 'it'\''s'");
    }
}
