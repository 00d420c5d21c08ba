//! `pvetrail grok`: patterns tried on lines, and how they are matched.

use std::io::{self, BufRead, IsTerminal};
use std::path::PathBuf;

use pipeline::printable;
use transforms::grok::{GrokError, Library, Options, Spelling, Tried, explain, try_line};

use crate::exit::Exit;
use crate::say;

/// Longest line that is read from standard input [bytes].
const LONGEST: usize = 1 << 20;

/// Arguments of `grok`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Try a pattern on lines: what it captures, or where it stops matching.
    Try {
        #[command(flatten)]
        words: Words,
        /// Further patterns, asked in order where the first does not match.
        #[arg(long = "or", value_name = "PATTERN")]
        others: Vec<String>,
        /// The pattern.
        pattern: String,
        /// The lines; those of standard input, where none is given.
        lines: Vec<String>,
    },
    /// Say which engine matches a pattern and why, and what it captures.
    Explain {
        #[command(flatten)]
        words: Words,
        /// The patterns.
        #[arg(required = true, value_name = "PATTERN")]
        patterns: Vec<String>,
    },
}

/// What `%{NAME}` means.
#[derive(Debug, clap::Args)]
struct Words {
    /// The older names of fields in the built-in patterns, instead of those of ECS.
    #[arg(long)]
    legacy: bool,
    /// Folders or files with patterns of your own, one a line: `NAME pattern`.
    #[arg(long, value_name = "PATH")]
    patterns_dir: Vec<PathBuf>,
    /// A pattern of your own.
    #[arg(short = 'D', long, value_name = "NAME=PATTERN", value_parser = definition)]
    define: Vec<(String, String)>,
}

fn definition(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, pattern)) if !name.is_empty() => Ok((name.to_owned(), pattern.to_owned())),
        _ => Err("write it as NAME=PATTERN".to_owned()),
    }
}

impl Words {
    fn library(&self) -> Result<Library, String> {
        let mut library = Library::builtin(if self.legacy {
            Spelling::Legacy
        } else {
            Spelling::EcsV1
        });
        for path in &self.patterns_dir {
            library.add_path(path).map_err(|why| why.to_string())?;
        }
        for (name, pattern) in &self.define {
            library.add(name.clone(), pattern.clone());
        }
        Ok(library)
    }
}

/// 0 where every line matches, 1 where one does not, 2 where a pattern is none.
pub(crate) fn run(args: &Args) -> Exit {
    let done = match &args.what {
        What::Explain { words, patterns } => words
            .library()
            .and_then(|library| explain_all(patterns, &library)),
        What::Try {
            words,
            others,
            pattern,
            lines,
        } => {
            let patterns: Vec<&str> = std::iter::once(pattern)
                .chain(others)
                .map(String::as_str)
                .collect();
            words
                .library()
                .and_then(|library| try_all(&patterns, &library, lines))
        }
    };
    done.unwrap_or_else(|why| {
        say::error(why);
        Exit::Failed
    })
}

fn explain_all(patterns: &[String], library: &Library) -> Result<Exit, String> {
    for (n, pattern) in patterns.iter().enumerate() {
        let explanation =
            explain(pattern, library, Options::default()).map_err(|why| pointed(pattern, &why))?;
        if patterns.len() > 1 {
            say::line(format!(
                "{}{}",
                if n > 0 { "\n" } else { "" },
                printable(pattern)
            ));
        }
        say::write(&explanation.to_string());
    }
    Ok(Exit::Done)
}

fn try_all(patterns: &[&str], library: &Library, lines: &[String]) -> Result<Exit, String> {
    // Compiled once more for each line, which a person does not notice; wrong ones are told before the first line is read.
    for pattern in patterns {
        explain(pattern, library, Options::default()).map_err(|why| pointed(pattern, &why))?;
    }
    let mut exit = Exit::Done;
    let mut attempt = |line: &str| -> Result<bool, String> {
        let attempt =
            try_line(patterns, library, Options::default(), line).map_err(|why| why.to_string())?;
        if !matches!(attempt.result, Tried::Match { .. }) {
            exit = Exit::Found;
        }
        Ok(say::write(&attempt.to_string()))
    };
    if !lines.is_empty() {
        for line in lines {
            if !attempt(line)? {
                break;
            }
        }
        return Ok(exit);
    }
    let input = io::stdin().lock();
    if input.is_terminal() {
        say::error("lines are read from the keyboard; Ctrl-D ends");
    }
    for line in input.split(b'\n') {
        let mut line = line.map_err(|why| format!("standard input: {why}"))?;
        line.truncate(LONGEST);
        if !attempt(String::from_utf8_lossy(&line).trim_end_matches('\r'))? {
            break;
        }
    }
    Ok(exit)
}

/// The error with the pattern above it and a mark below the place.
fn pointed(pattern: &str, why: &GrokError) -> String {
    let before = printable(&pattern[..pattern.floor_char_boundary(why.offset)])
        .chars()
        .count();
    let mut text = format!(
        "{}\n  {}\n  {}^",
        why.what,
        printable(pattern),
        " ".repeat(before)
    );
    if !why.within.is_empty() {
        text.push_str(&format!("\n  in %{{{}}}", why.within.join("} → %{")));
    }
    if let Some(help) = &why.help {
        text.push_str(&format!("\n  {help}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_stands_below_the_place() {
        let why = explain(
            "ab %{NOPE:x}",
            &Library::builtin(Spelling::EcsV1),
            Options::default(),
        )
        .unwrap_err();
        let text = pointed("ab %{NOPE:x}", &why);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[1], "  ab %{NOPE:x}");
        assert!(
            lines[2].trim_end().ends_with('^') && lines[2].len() >= 6,
            "{text}"
        );
    }

    #[test]
    fn definitions_are_split_at_the_first_sign() {
        assert_eq!(definition("A=b=c"), Ok(("A".to_owned(), "b=c".to_owned())));
        assert!(definition("=x").is_err() && definition("x").is_err());
    }
}
