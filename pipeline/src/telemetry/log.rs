//! The program's own log: for people on a terminal, one JSON object a line elsewhere.
//!
//! What a message quotes came from outside: secrets are replaced, and control characters written as escapes, in both forms.

use std::fmt::{self, Debug, Write};
use std::io::{self, IsTerminal};
use std::sync::LazyLock;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::printable::{printable, push_printable};
use crate::redact::{MASK, Redactor};
use crate::{Clock, Time};

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// `Human` on a terminal, `Json` elsewhere.
    #[default]
    Auto,
    /// Time, level, text, fields.
    Human,
    /// One JSON object a line.
    Json,
}

/// Sends the log to standard error. `level` is `error`, `warn`, `info`, `debug`, `trace`, or a list of directives as
/// `tracing-subscriber` reads them (`info,pipeline::topology=debug`).
///
/// # Errors
/// If `level` cannot be read, or a log has been set up before.
pub fn init_logs(level: &str, format: LogFormat) -> Result<(), String> {
    // Libraries that tell every connection drown what the operator asked for; `async_nats` calls each attempt an error,
    // and `net::nats` says once what happened.
    let directives = if level.contains(['=', ',']) {
        level.to_owned()
    } else {
        format!(
            "{level},hyper=warn,hyper_util=warn,reqwest=warn,rustls=warn,h2=warn,async_nats=off"
        )
    };
    let filter =
        EnvFilter::try_new(&directives).map_err(|why| format!("log level \"{level}\": {why}"))?;
    let terminal = io::stderr().is_terminal();
    let human = match format {
        LogFormat::Auto => terminal,
        LogFormat::Human => true,
        LogFormat::Json => false,
    };
    let colour =
        human && terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .event_format(Lines { human, colour })
        .try_init()
        .map_err(|why| format!("the log is set up already: {why}"))
}

/// Writes one event as one line.
#[derive(Clone, Copy, Debug)]
struct Lines {
    human: bool,
    colour: bool,
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut out: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let meta = event.metadata();
        let line = if self.human {
            human(Clock::system().now(), *meta.level(), &fields, self.colour)
        } else {
            json(Clock::system().now(), *meta.level(), meta.target(), &fields)
        };
        writeln!(out, "{line}")
    }
}

/// The fields of one event; numbers and booleans keep their kind.
#[derive(Default)]
struct Fields {
    message: String,
    others: Vec<(&'static str, serde_json::Value)>,
}

/// The built-in shapes of secrets: an answer quoted in an error may hold what we sent.
static REDACTOR: LazyLock<Redactor> = LazyLock::new(Redactor::default);

impl Fields {
    fn add_text(&mut self, field: &Field, text: String) {
        let text = if REDACTOR.is_secret_key(field.name()) {
            MASK.to_owned()
        } else {
            REDACTOR.redact_str(&text).unwrap_or(text)
        };
        self.add(field, text.into());
    }

    fn add(&mut self, field: &Field, value: serde_json::Value) {
        match (field.name(), value) {
            ("message", serde_json::Value::String(text)) => self.message = text,
            (name, value) => self.others.push((name, value)),
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.add_text(field, format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add_text(field, value.to_owned());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let mut text = value.to_string();
        let mut cause = value.source();
        while let Some(deeper) = cause {
            let _ = write!(text, ": {deeper}");
            cause = deeper.source();
        }
        self.add_text(field, text);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value.into());
    }
}

fn human(now: Time, level: Level, fields: &Fields, colour: bool) -> String {
    let (name, code) = match level {
        Level::ERROR => ("error", "31"),
        Level::WARN => ("warn ", "33"),
        Level::INFO => ("info ", "32"),
        Level::DEBUG => ("debug", "34"),
        Level::TRACE => ("trace", "35"),
    };
    let mut line = now.to_string();
    let (dim, end) = if colour {
        ("\x1b[2m", "\x1b[0m")
    } else {
        ("", "")
    };
    if colour {
        let _ = write!(line, " \x1b[{code}m{name}{end} ");
    } else {
        let _ = write!(line, " {name} ");
    }
    push_printable(&fields.message, &mut line);
    for (name, value) in &fields.others {
        let _ = write!(line, " {dim}{name}={end}");
        match value {
            serde_json::Value::String(text)
                if text.is_empty() || text.contains([' ', '"', '=']) =>
            {
                let _ = write!(line, "\"{}\"", printable(&text.replace('"', "\\\"")));
            }
            serde_json::Value::String(text) => push_printable(text, &mut line),
            other => {
                let _ = write!(line, "{other}");
            }
        }
    }
    line
}

/// What is always there comes first, in the order in which it is read.
fn json(now: Time, level: Level, target: &str, fields: &Fields) -> String {
    let mut line = String::from("{");
    let mut add = |name: &str, value: &serde_json::Value| {
        let comma = if line.len() > 1 { "," } else { "" };
        let value = match value {
            serde_json::Value::String(text) => serde_json::Value::from(printable(text)).to_string(),
            other => other.to_string(),
        };
        // Names are those of the program's own fields; writing into a string cannot fail.
        let _ = write!(line, "{comma}\"{name}\":{value}");
    };
    add("@timestamp", &now.to_string().into());
    add("log.level", &level.as_str().to_ascii_lowercase().into());
    add("message", &fields.message.as_str().into());
    for (name, value) in &fields.others {
        add(name, value);
    }
    add("log.logger", &target.into());
    line.push('}');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields() -> Fields {
        Fields {
            message: "bad \x1b[2Jline\n".to_owned(),
            others: vec![
                ("path", "/a b".into()),
                ("n", 3.into()),
                ("why", "x\u{9b}y".into()),
            ],
        }
    }

    #[test]
    fn people_see_one_line_without_escape_sequences_of_others() {
        let line = human(Time(0), Level::WARN, &fields(), false);
        assert_eq!(
            line,
            "1970-01-01T00:00:00.000Z warn  bad \\x1b[2Jline\\n path=\"/a b\" n=3 why=x\\x9by"
        );
        let line = human(Time(0), Level::WARN, &fields(), true);
        assert!(
            line.contains("\x1b[33mwarn \x1b[0m bad \\x1b[2J"),
            "{line:?}"
        );
    }

    #[test]
    fn machines_get_an_object() {
        let line = json(Time(0), Level::ERROR, "pipeline::x", &fields());
        let object: serde_json::Value = serde_json::from_str(&line).expect("one object");
        assert_eq!(object["log.level"], "error");
        assert_eq!(object["message"], "bad \\x1b[2Jline\\n");
        assert_eq!(object["n"], 3);
        assert_eq!(object["why"], "x\\x9by");
    }
}
