//! `file` follows log files through rotation, truncation and compression.
//!
//! - in: files that match `include`, plain or gzip, each line an event; several lines where `multiline` says so
//! - out: `message`, `host.name`, `log.file.path`; `@timestamp` is the time of reading until a transform knows better
//! - state: one position per generation of a log, stored once everything before it is answered

mod adopt;
mod discover;
mod family;
mod files;
mod follow;
pub(crate) mod identity;
mod keep;
pub(crate) mod lines;
pub(crate) mod multiline;
mod notes;
pub(crate) mod page;
mod position;
mod reader;
mod recognise;
mod rotate;
mod run;
pub(crate) mod wake;

#[cfg(test)]
mod chaos_tests;
#[cfg(test)]
mod reading_tests;
#[cfg(test)]
mod rotation_tests;
#[cfg(test)]
mod testing;

use std::sync::Arc;

use pipeline::units::{Bytes, Duration};
use pipeline::{BuildError, BuildErrors, Context, Source, SourceConfig};
use schemars::JsonSchema;
use serde::Deserialize;

use self::discover::Globs;
use self::files::Settings;
use self::multiline::Multiline;
use self::run::{File, Origin};

/// Longest line that can be asked for: a batch holds at least one.
const LONGEST: Bytes = Bytes::mib(64);

/// Follows log files through rotation, truncation and compression.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Paths, or patterns with `*`, `?`, `[…]` and `**`. Rotated and gzipped siblings may be named too: each generation of
    /// a log is read once.
    include: Vec<String>,
    /// What is left out all the same; a pattern without `/` is compared with the file's name alone.
    #[serde(default)]
    exclude: Vec<String>,
    /// Where a file is begun that is there at the very first start.
    #[serde(default)]
    read_from: ReadFrom,
    /// Files that have not changed for so long are left alone until they do.
    ignore_older: Option<Duration>,
    /// Of a longer line the head is kept, with the length and the hash of the whole.
    #[serde(default = "max_line_size")]
    max_line_size: Bytes,
    /// A rotated file is closed after so much silence; daemons write to it for a while.
    #[serde(default = "rotate_wait")]
    rotate_wait: Duration,
    /// Most files held open at once; the others are opened when they grow.
    #[serde(default = "max_open_files")]
    max_open_files: usize,
    /// Several lines that are one event.
    multiline: Option<Multiline>,
    /// How a line is read that is not UTF-8; its bytes are kept in `pve.raw_b64` either way.
    #[serde(default)]
    encoding: Encoding,
    /// One name for all files of this source, where rotation does not follow the usual names. It is part of every event's
    /// id.
    family: Option<String>,
    /// `host.name` of the events, where the files come from another host. It is part of every event's id.
    host: Option<String>,
}

/// Where a file is begun.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum ReadFrom {
    /// At its first byte.
    #[default]
    Beginning,
    /// After its last whole line.
    End,
}

/// How a line is read that is not UTF-8.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub(crate) enum Encoding {
    /// Its bad bytes are replaced by U+FFFD.
    #[default]
    #[serde(rename = "utf-8")]
    Utf8,
    /// It is read as Latin-1, as PVE's own daemons write it to syslog.
    #[serde(rename = "latin-1")]
    Latin1,
}

fn max_line_size() -> Bytes {
    Bytes::mib(1)
}

fn rotate_wait() -> Duration {
    Duration::from_secs(60)
}

fn max_open_files() -> usize {
    512
}

impl SourceConfig for Config {
    const TYPE: &'static str = "file";
    const EXAMPLE: &'static str = r#"include = ["/var/log/pveproxy/access.log*"]"#;

    fn build(&self, cx: &Context) -> Result<Box<dyn Source>, BuildErrors> {
        let mut errors = BuildErrors::new();
        if self.include.is_empty() {
            errors.push(
                BuildError::key("include", "no file is named")
                    .help(r#"write paths or patterns, like ["/var/log/pveproxy/access.log*"]"#),
            );
        }
        let globs = errors.take(Globs::new(&self.include, &self.exclude).map_err(|error| {
            BuildError::key(
                format!("{}[{}]", error.list, error.at),
                format!("this is no pattern: {}", error.why),
            )
            .help(r#"write an absolute path, with "*", "?" or "[…]" where it varies"#)
        }));
        errors.take(check_line_size(self.max_line_size));
        if self.max_open_files == 0 {
            errors.push(
                BuildError::key("max_open_files", "nothing can be read without an open file")
                    .help("write 1 or more; 512 is the default"),
            );
        }
        if self.family.as_deref() == Some("") {
            errors.push(
                BuildError::key("family", "a family needs a name")
                    .help("leave it out to name each family after its path"),
            );
        }
        let multiline = match &self.multiline {
            Some(multiline) => errors.take(multiline.compile()),
            None => None,
        };
        let Some(globs) = globs else {
            return Err(errors);
        };
        let settings = Settings {
            globs,
            family: self.family.clone(),
            from_end: self.read_from == ReadFrom::End,
            ignore_older: self.ignore_older.map(Duration::get),
            max_line: self.max_line_size.get() as usize,
            rotate_wait: self.rotate_wait.get(),
            multiline,
            max_open: self.max_open_files,
        };
        let origin = Origin {
            cluster: cx.cluster().unwrap_or_default().to_owned(),
            host: self.host.clone().unwrap_or_else(|| cx.host().to_owned()),
        };
        errors.finish(
            Box::new(File::new(Arc::new(settings), origin, self.encoding)) as Box<dyn Source>,
        )
    }
}

/// Is this a length a line may have?
pub(crate) fn check_line_size(size: Bytes) -> Result<(), BuildError> {
    if (64..=LONGEST.get()).contains(&size.get()) {
        return Ok(());
    }
    Err(
        BuildError::key("max_line_size", format!("{size} is no length for a line")).help(format!(
            "write something between \"64B\" and \"{LONGEST}\"; \"1MiB\" is the default"
        )),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use pipeline::Kind;

    /// What `build` says to a configuration, one line per mistake.
    fn mistakes(toml: &str) -> Vec<String> {
        let config: Config = toml::from_str(toml).unwrap();
        match config.build(&Context::for_tests(Kind::Source, "file")) {
            Ok(_) => Vec::new(),
            Err(errors) => errors.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn every_mistake_is_told_at_its_place() {
        assert!(mistakes(Config::EXAMPLE).is_empty());
        let told = mistakes(
            "include = [\"/a\", \"b.log\"]\nmax_line_size = \"1B\"\nmax_open_files = 0\nfamily = \"\"\nmultiline = { start = '(' }",
        );
        let begins: Vec<&str> = told
            .iter()
            .map(|told| told.split(':').next().unwrap())
            .collect();
        assert_eq!(
            begins,
            [
                "include[1]",
                "max_line_size",
                "max_open_files",
                "family",
                "this is no regular expression"
            ],
            "{told:#?}"
        );
    }
}
