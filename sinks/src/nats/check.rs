//! What a look at the stream tells before an event is lost to it.

use std::time::Duration;

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::context::{CreateStreamErrorKind, GetStreamErrorKind, RequestErrorKind};
use async_nats::jetstream::stream::{
    Config as StreamConfig, DiscardPolicy, RetentionPolicy, StorageType,
};
use futures::TryStreamExt as _;
use pipeline::{Reason, ReasonKind};

use super::config::JetStream;
use super::subject::{is_covered, overlaps};
use super::{Connection, Mode, Sending};

/// A duplicate is to be known at least this long: our waits between two attempts are shorter.
const WINDOW: Duration = Duration::from_secs(15 * 60);

impl Sending {
    /// Looks whether the messages will be kept, and warns of what would lose them later.
    pub(super) async fn check(&mut self) -> Result<(), Reason> {
        let Some(connection) = &self.connection else {
            return Err(Reason::new(ReasonKind::Connection, "no connection"));
        };
        let pattern = self.subject.pattern();
        let found = match &self.mode {
            Mode::Core => {
                self.warn("core NATS keeps nothing: who does not listen at that moment never sees an event, and nobody \
                           can tell how many were lost; `jetstream = true` keeps them".to_owned());
                return Ok(());
            }
            Mode::JetStream(options) => stream(connection, options, &pattern).await?,
        };
        let warnings = match found {
            Found::Config(config) => warnings(&config, &pattern),
            Found::Unknown(why) => vec![format!(
                "the stream cannot be looked at ({why}), so nothing is known about what it keeps"
            )],
        };
        for warning in warnings {
            self.warn(warning);
        }
        Ok(())
    }

    /// Once for each thing: a check runs again and again.
    fn warn(&mut self, warning: String) {
        if !self.warned.contains(&warning) {
            tracing::warn!(component_id = self.id, "{warning}");
            self.warned.push(warning);
        }
    }
}

enum Found {
    Config(Box<StreamConfig>),
    /// We may publish, but not ask.
    Unknown(String),
}

/// Makes the stream if it is not there: before the first event, whether anybody looks at it or not.
pub(super) async fn ensure(
    connection: &Connection,
    options: &JetStream,
    pattern: &str,
) -> Result<(), Reason> {
    stream(connection, options, pattern).await.map(drop)
}

/// The stream that takes what is published to `pattern`; made, if that was asked for.
async fn stream(
    connection: &Connection,
    options: &JetStream,
    pattern: &str,
) -> Result<Found, Reason> {
    let context = &connection.context;
    let name = match &options.stream {
        Some(name) => name.clone(),
        None => {
            let missing = || {
                Reason::new(
                    ReasonKind::Missing,
                    format!(
                        "no stream listens to \"{pattern}\"; make one, or set `jetstream = false` if nothing has to be kept"
                    ),
                )
            };
            match names(connection, pattern).await {
                Ok(names) => match names.into_iter().next() {
                    Some(name) => name,
                    None => return Err(missing()),
                },
                Err(Asked::No(why)) => return Ok(Found::Unknown(why)),
                Err(Asked::Failed(reason)) => return Err(reason),
            }
        }
    };
    let error = match context.get_stream(&name).await {
        Ok(stream) => {
            let config = stream.cached_info().config.clone();
            let none = !config
                .subjects
                .iter()
                .any(|subject| overlaps(pattern, subject));
            // What a stream takes from others, or under other names, is not for us to judge.
            if none && config.subject_transform.is_none() && !config.subjects.is_empty() {
                let subjects = config.subjects.join(", ");
                return Err(Reason::new(
                    ReasonKind::Missing,
                    format!(
                        "the stream {name} does not listen to \"{pattern}\", only to {subjects}"
                    ),
                ));
            }
            return Ok(Found::Config(Box::new(config)));
        }
        Err(error) => error,
    };
    match error.kind() {
        GetStreamErrorKind::JetStream(why) if why.error_code() == ErrorCode::STREAM_NOT_FOUND => {
            if !options.create {
                return Err(Reason::new(
                    ReasonKind::Missing,
                    format!("there is no stream {name}; make it, or set `jetstream.create = true`"),
                ));
            }
            create(connection, &name, pattern).await
        }
        GetStreamErrorKind::JetStream(why) => Err(Reason::new(ReasonKind::Server, why.to_string())),
        // No answer: the right to ask is missing, or JetStream is not there.
        _ => match no_answer(connection, &error.to_string()) {
            Asked::No(why) => Ok(Found::Unknown(why)),
            Asked::Failed(reason) => Err(reason),
        },
    }
}

async fn create(connection: &Connection, name: &str, pattern: &str) -> Result<Found, Reason> {
    let config = StreamConfig {
        name: name.to_owned(),
        subjects: vec![pattern.to_owned()],
        storage: StorageType::File,
        retention: RetentionPolicy::Limits,
        discard: DiscardPolicy::New,
        duplicate_window: WINDOW,
        ..StreamConfig::default()
    };
    match connection.context.create_stream(config).await {
        Ok(stream) => {
            tracing::info!(stream = name, subject = pattern, "made the stream");
            Ok(Found::Config(Box::new(stream.cached_info().config.clone())))
        }
        Err(why) => {
            let text = match why.kind() {
                CreateStreamErrorKind::JetStream(said) => said.to_string(),
                _ => why.to_string(),
            };
            Err(Reason::new(
                ReasonKind::Missing,
                format!("cannot make the stream {name}: {text}"),
            ))
        }
    }
}

enum Asked {
    /// We are not allowed to ask.
    No(String),
    Failed(Reason),
}

/// A question without an answer: forbidden, or nobody there.
fn no_answer(connection: &Connection, why: &str) -> Asked {
    let link = connection.nats.link();
    let link = link.borrow();
    match &link.denial {
        Some(denial) if denial.contains("$JS.API") => Asked::No(denial.to_string()),
        _ => Asked::Failed(Reason::new(
            ReasonKind::Missing,
            format!(
                "JetStream does not answer ({why}); it is switched on by `jetstream {{}}` in the server's configuration"
            ),
        )),
    }
}

/// Streams that listen to something of `pattern`.
async fn names(connection: &Connection, pattern: &str) -> Result<Vec<String>, Asked> {
    let context = &connection.context;
    // A subject without wildcards has at most one stream.
    let found = context.stream_by_subject(pattern).await;
    match found {
        Ok(name) => Ok(vec![name]),
        Err(why) => match why.kind() {
            async_nats::jetstream::context::GetStreamByNameErrorKind::NotFound => Ok(Vec::new()),
            _ => {
                // The list of names tells a missing right from a missing JetStream.
                match context.stream_names().try_next().await {
                    Ok(_) => Ok(Vec::new()),
                    Err(inner) if inner.kind() == RequestErrorKind::Other => Err(Asked::Failed(
                        Reason::new(ReasonKind::Server, inner.to_string()),
                    )),
                    Err(inner) => Err(no_answer(connection, &inner.to_string())),
                }
            }
        },
    }
}

/// What in a stream's configuration loses events without a word.
fn warnings(config: &StreamConfig, pattern: &str) -> Vec<String> {
    let name = &config.name;
    let mut warnings = Vec::new();
    if config.duplicate_window < WINDOW {
        warnings.push(format!(
            "the stream {name} knows duplicates for {:?} only; what is sent again later than that is stored twice: set its \
             duplicate window to 15 minutes or more",
            config.duplicate_window
        ));
    }
    if !config
        .subjects
        .iter()
        .any(|subject| is_covered(pattern, subject))
    {
        warnings.push(format!(
            "the stream {name} does not listen to all of \"{pattern}\", only to {}; what it does not listen to is tried \
             again without end",
            config.subjects.join(", ")
        ));
    }
    let bounded =
        config.max_messages > 0 || config.max_bytes > 0 || config.max_messages_per_subject > 0;
    if config.discard == DiscardPolicy::Old && bounded {
        warnings.push(format!(
            "the stream {name} throws its oldest messages away when it is full (discard = old), without a word; for an audit \
             trail set discard = new"
        ));
    }
    if config.retention == RetentionPolicy::Interest {
        warnings.push(format!(
            "the stream {name} keeps only what a consumer is interested in; without one, events published to \"{pattern}\" vanish"
        ));
    }
    if config.no_ack {
        warnings.push(format!("the stream {name} gives no answers (no_ack), so every message is sent again until it does"));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_that_would_lose_something_is_warned_about() {
        let good = StreamConfig {
            name: "AUDIT".to_owned(),
            subjects: vec!["pve.>".to_owned()],
            duplicate_window: WINDOW,
            discard: DiscardPolicy::New,
            max_bytes: 1 << 30,
            ..StreamConfig::default()
        };
        assert_eq!(warnings(&good, "pve.*"), Vec::<String>::new());
        assert!(warnings(&good, "*.x")[0].contains("does not listen to all"));
        let bad = StreamConfig {
            duplicate_window: Duration::from_secs(120),
            discard: DiscardPolicy::Old,
            retention: RetentionPolicy::Interest,
            no_ack: true,
            ..good
        };
        let said = warnings(&bad, "pve.>").join("\n");
        for word in ["120s only", "discard = old", "vanish", "no_ack"] {
            assert!(said.contains(word), "{word}: {said}");
        }
    }
}
