//! The stream and the consumer: found, or made where that was asked for, and refused where they would lose something.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::consumer::pull::Config as PullConfig;
use async_nats::jetstream::consumer::{
    AckPolicy, Config as AnyConfig, Consumer, DeliverPolicy, Info, PullConsumer,
};
use async_nats::jetstream::context::{ContextBuilder, GetStreamErrorKind};
use async_nats::jetstream::stream::{
    Config as StreamConfig, DiscardPolicy, RetentionPolicy, StorageType, Stream,
};
use async_nats::jetstream::{Context, ErrorCode};
use futures::TryStreamExt as _;
use pipeline::net::nats::{Nats, NatsConnector};

use super::config::JetStream;

/// Longest wait for an answer about a stream or consumer.
const ASKING: Duration = Duration::from_secs(10);
/// A stream that is made here knows duplicates for this long.
const WINDOW: Duration = Duration::from_secs(15 * 60);

pub(super) struct Found {
    pub(super) consumer: PullConsumer,
    /// Whether it gets every message of a stream that loses them to limits alone, so that one left out is missing.
    pub(super) whole: bool,
}

/// How to get to the consumer, again and again.
pub(super) struct Way {
    pub(super) id: String,
    pub(super) connector: Arc<NatsConnector>,
    pub(super) options: JetStream,
    pub(super) subjects: Vec<String>,
}

impl Way {
    /// Connects and finds it; the error is for people.
    pub(super) async fn connect(&self) -> Result<(Nats, Found), String> {
        let nats = self.connector.connect().await.map_err(|why| why.text)?;
        let found = find(&self.id, &nats, &self.options, &self.subjects).await?;
        Ok((nats, found))
    }
}

/// Finds the consumer; the error is for people.
async fn find(
    id: &str,
    nats: &Nats,
    options: &JetStream,
    subjects: &[String],
) -> Result<Found, String> {
    let builder = ContextBuilder::new().timeout(ASKING);
    let context = match &options.domain {
        Some(domain) => builder.domain(domain).build(nats.client.clone()),
        None => builder.build(nats.client.clone()),
    };
    let stream = find_stream(&context, options, subjects).await?;
    let name = &options.consumer;
    let consumer = match stream.get_consumer::<AnyConfig>(name).await {
        Ok(consumer) => consumer,
        Err(_) => {
            let there = stream.consumer_info(name).await;
            match there.map_err(|why| why.kind()) {
                Ok(_) => {
                    return Err(format!(
                        "the consumer {name} cannot be read; it may be of a newer kind than this program knows"
                    ));
                }
                Err(async_nats::jetstream::context::ConsumerInfoErrorKind::NotFound) => {}
                Err(why) => {
                    return Err(format!(
                        "the consumer {name} of the stream {} cannot be asked for: {why}",
                        options.stream
                    ));
                }
            }
            if !options.create {
                return Err(format!(
                    "the stream {} has no consumer {name}; make it (pull, explicit acknowledgement), or set `jetstream.create = true`",
                    options.stream
                ));
            }
            create(nats, &stream, options, subjects).await?
        }
    };
    let info = consumer.cached_info().clone();
    check(id, &info, options)?;
    let limits = stream.cached_info().config.retention == RetentionPolicy::Limits;
    let filters = filters(&info);
    let mut subjects = stream.cached_info().config.subjects.iter();
    let whole = filters.is_empty()
        || subjects.all(|subject| filters.iter().any(|filter| covers(filter, subject)));
    let whole = limits && whole;
    let consumer = stream
        .get_consumer::<PullConfig>(name)
        .await
        .map_err(|why| format!("the consumer {name} cannot be pulled from: {why}"))?;
    Ok(Found { consumer, whole })
}

async fn find_stream(
    context: &Context,
    options: &JetStream,
    subjects: &[String],
) -> Result<Stream, String> {
    let name = &options.stream;
    let error = match context.get_stream(name).await {
        Ok(stream) => return Ok(stream),
        Err(error) => error,
    };
    match error.kind() {
        GetStreamErrorKind::JetStream(why) if why.error_code() == ErrorCode::STREAM_NOT_FOUND => {
            if !options.create || subjects.is_empty() {
                return Err(format!(
                    "there is no stream {name}; make it, or set `jetstream.create = true` and `subject`"
                ));
            }
        }
        GetStreamErrorKind::JetStream(why) => return Err(format!("the stream {name}: {why}")),
        _ => {
            return Err(format!(
                "JetStream does not answer about the stream {name} ({error}); it is switched on by `jetstream {{}}` in the \
                 server's configuration, and this user needs the right to ask $JS.API"
            ));
        }
    }
    let config = StreamConfig {
        name: name.clone(),
        subjects: subjects.to_vec(),
        storage: StorageType::File,
        retention: RetentionPolicy::Limits,
        discard: DiscardPolicy::New,
        duplicate_window: WINDOW,
        ..StreamConfig::default()
    };
    let made = context.create_stream(config).await;
    made.map_err(|why| format!("cannot make the stream {name}: {why}"))?;
    tracing::info!(stream = name, ?subjects, "made the stream");
    context
        .get_stream(name)
        .await
        .map_err(|why| format!("the stream {name} was made and is not there: {why}"))
}

async fn create(
    nats: &Nats,
    stream: &Stream,
    options: &JetStream,
    subjects: &[String],
) -> Result<Consumer<AnyConfig>, String> {
    let name = &options.consumer;
    if let Some(other) = rival(stream, subjects).await? {
        return Err(format!(
            "the stream {} is a work queue, where each message goes to one consumer, and \"{other}\" takes these already; \
             write `jetstream.consumer = \"{other}\"` to share them with it",
            options.stream
        ));
    }
    let mut config = PullConfig {
        durable_name: Some(name.clone()),
        description: Some("pvetrail".to_owned()),
        deliver_policy: DeliverPolicy::All,
        ack_policy: AckPolicy::Explicit,
        ack_wait: options.ack_wait.get(),
        max_deliver: -1,
        max_ack_pending: i64::try_from(options.max_ack_pending.get()).unwrap_or(i64::MAX),
        ..PullConfig::default()
    };
    match subjects {
        [] => {}
        [one] => config.filter_subject.clone_from(one),
        several => {
            nats.needs("a consumer with several subjects", (2, 10))
                .map_err(|why| why.text)?;
            config.filter_subjects = several.to_vec();
        }
    }
    let made = stream.create_consumer(config).await;
    made.map_err(|why| format!("cannot make the consumer {name}: {why}"))?;
    tracing::info!(
        stream = options.stream,
        consumer = name,
        "made the consumer"
    );
    stream
        .get_consumer::<AnyConfig>(name)
        .await
        .map_err(|why| format!("the consumer {name} was made and is not there: {why}"))
}

/// The consumer of a work queue that takes some of these subjects already.
async fn rival(stream: &Stream, subjects: &[String]) -> Result<Option<String>, String> {
    if stream.cached_info().config.retention != RetentionPolicy::WorkQueue {
        return Ok(None);
    }
    let mut others = stream.consumers();
    let failed = |why: String| format!("cannot list the consumers of a work queue: {why}");
    while let Some(other) = others
        .try_next()
        .await
        .map_err(|why| failed(why.to_string()))?
    {
        let taken = filters(&other);
        let all = taken.is_empty() || subjects.is_empty();
        if all
            || subjects
                .iter()
                .any(|wanted| taken.iter().any(|taken| overlap(wanted, taken)))
        {
            return Ok(Some(other.name));
        }
    }
    Ok(None)
}

fn filters(info: &Info) -> Vec<String> {
    let one = std::iter::once(&info.config.filter_subject).filter(|filter| !filter.is_empty());
    one.chain(&info.config.filter_subjects).cloned().collect()
}

/// Whether some subject matches both.
fn overlap(one: &str, other: &str) -> bool {
    let (mut ones, mut others) = (one.split('.'), other.split('.'));
    loop {
        match (ones.next(), others.next()) {
            (None, None) => return true,
            (Some(">"), Some(_)) | (Some(_), Some(">")) => return true,
            (Some(one), Some(other)) if one == other || one == "*" || other == "*" => {}
            _ => return false,
        }
    }
}

/// Whether everything that matches `subject` also matches `filter`.
fn covers(filter: &str, subject: &str) -> bool {
    let mut tokens = subject.split('.');
    for token in filter.split('.') {
        match (token, tokens.next()) {
            (">", Some(_)) => return true,
            (_, None | Some(">")) => return false,
            ("*", Some(_)) => {}
            (token, Some(other)) if token == other => {}
            _ => return false,
        }
    }
    tokens.next().is_none()
}

/// Refuses a consumer that loses messages by itself, and tells what differs from the options.
fn check(id: &str, info: &Info, options: &JetStream) -> Result<(), String> {
    let config = &info.config;
    let name = &options.consumer;
    if config.deliver_subject.is_some() {
        return Err(format!(
            "the consumer {name} pushes; make one that is pulled from (without a deliver subject)"
        ));
    }
    if config.ack_policy != AckPolicy::Explicit {
        return Err(format!(
            "the consumer {name} does not want an explicit acknowledgement of each message, so those under way in a crash \
             would be lost; make it anew with ack = explicit"
        ));
    }
    if config.headers_only {
        return Err(format!(
            "the consumer {name} delivers headers without bodies"
        ));
    }
    if config.durable_name.is_none() {
        tracing::warn!(
            component_id = id,
            "the consumer {name} is not durable: the server forgets it, and where we are, when nobody pulls for {:?}",
            config.inactive_threshold
        );
    }
    if config.max_deliver > 0 {
        tracing::warn!(
            component_id = id,
            "the consumer {name} gives a message up after {} deliveries, without a word; set its max_deliver to -1, for \
             `jetstream.max_deliveries` here makes a dead letter of it",
            config.max_deliver
        );
    }
    if options.create && config.ack_wait != options.ack_wait.get() {
        tracing::warn!(
            component_id = id,
            "the consumer {name} is there already, and its ack_wait of {:?} counts",
            config.ack_wait
        );
    }
    let pending = i64::try_from(options.max_ack_pending.get()).unwrap_or(i64::MAX);
    if config.max_ack_pending > 0 && config.max_ack_pending != pending {
        tracing::info!(
            component_id = id,
            "the consumer {name} lets {} messages be under way, whatever `jetstream.max_ack_pending` says",
            config.max_ack_pending
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_covers_a_subject_or_a_part_of_it() {
        for (filter, subject, yes) in [
            (">", "pve.>", true),
            ("pve.>", "pve.>", true),
            ("pve.*", "pve.x", true),
            ("pve.*", "pve.*", true),
            ("pve.*", "pve.>", false),
            ("pve.x", "pve.*", false),
            ("pve.x.>", "pve.>", false),
        ] {
            assert_eq!(covers(filter, subject), yes, "{filter} {subject}");
        }
    }

    #[test]
    fn subjects_overlap_or_do_not() {
        for (one, other, yes) in [
            ("a.b", "a.b", true),
            ("a.*", "*.b", true),
            ("a.>", "a.b.c", true),
            (">", "x", true),
            ("a.b", "a.c", false),
            ("a.b", "a.b.c", false),
            ("a.>", "a", false),
        ] {
            assert_eq!(overlap(one, other), yes, "{one} {other}");
            assert_eq!(overlap(other, one), yes, "{other} {one}");
        }
    }
}
