//! The engine's options of one component: defaults filled in, contradictions and what this version lacks refused.

use super::de::Shared;
use super::diagnostic::Diagnostic;
use super::options::{Batch, Buffer, BufferKind, EngineKeys, EngineOptions, OnFailure};
use crate::component::{Entry, Workers};
use crate::units::{Bytes, Duration};

/// The engine's options with defaults, and what is wrong with them together.
pub(super) fn options(
    keys: &EngineKeys,
    entry: &Entry,
    path: &str,
    id: &str,
    shared: &Shared<'_>,
) -> EngineOptions {
    let say = |d: Diagnostic| shared.say(d);
    if let Some(workers) = &keys.workers
        && workers.get().get() > 1
        && entry.workers == Workers::One
    {
        let why = if entry.stateful {
            "it remembers, and its memory is one"
        } else {
            "it writes in order, and one alone can"
        };
        say(Diagnostic::error(
            workers.place(),
            format!("{path}.workers"),
            format!(
                "{} \"{id}\" of type \"{}\" runs once: {why}",
                entry.kind, entry.type_name
            ),
        )
        .with_help("remove workers, or write workers = 1"));
    }
    together(keys, path, shared);
    if let Some(request) = &keys.request
        && !entry.network
    {
        say(Diagnostic::warning(
            request.place(),
            format!("{path}.request"),
            format!(
                "type \"{}\" writes over no network, so `request` does nothing",
                entry.type_name
            ),
        )
        .with_help("remove it"));
    }
    EngineOptions {
        workers: keys.workers.as_ref().map(|w| *w.get()),
        kind: entry.workers,
        batch: Batch::resolve(&keys.batch, entry.batch),
        buffer: keys
            .buffer
            .as_ref()
            .map(|b| Buffer::resolve(b.get()))
            .unwrap_or_default(),
        request: keys
            .request
            .as_ref()
            .map(|r| r.get().clone())
            .unwrap_or_default(),
        on_failure: keys
            .on_failure
            .as_ref()
            .map_or(OnFailure::Warn, |o| *o.get()),
        failure_after: keys.failure_after.unwrap_or(Duration::from_secs(60)),
        failure_command: keys
            .failure_command
            .as_ref()
            .map(|command| command.get().clone())
            .unwrap_or_default(),
        failure_timeout: keys
            .failure_timeout
            .unwrap_or(Duration::from_secs(30))
            .min(Duration::from_secs(30)),
        healthcheck: keys.healthcheck.unwrap_or(true),
    }
}

/// What of the engine's options this version does not have yet, or what contradicts itself.
fn together(keys: &EngineKeys, path: &str, shared: &Shared<'_>) {
    let say = |d: Diagnostic| shared.say(d);
    if let Some(buffer) = &keys.buffer
        && buffer.get().kind == BufferKind::Disk
        && let Some(size) = &buffer.get().max_size
        && size.get().get() < crate::queue::LEAST
    {
        let least = Bytes::mib(1);
        say(Diagnostic::error(
            size.place(),
            format!("{path}.buffer.max_size"),
            format!("a disk queue of {} is smaller than {least}, which is what is written to it at once", size.get()),
        )
        .with_help("write max_size = \"1GiB\", or how much disk you can spare"));
    }
    failure(keys, path, shared);
    if let Some(size) = &keys.batch.max_size
        && size.get().get() == 0
    {
        say(Diagnostic::error(
            size.place(),
            format!("{path}.batch.max_size"),
            "a batch of no bytes can hold no event",
        )
        .with_help("write max_size = \"1MiB\""));
    }
    if let Some(request) = &keys.request
        && request.get().retry_initial_backoff > request.get().retry_max_backoff
    {
        let (first, most) = (
            request.get().retry_initial_backoff,
            request.get().retry_max_backoff,
        );
        say(Diagnostic::error(
            request.place(),
            format!("{path}.request"),
            format!(
                "the first wait before a repetition ({first}) is longer than the longest ({most})"
            ),
        )
        .with_help(format!("write retry_max_backoff = \"{first}\" or more")));
    }
    if let Some(request) = &keys.request
        && request.get().timeout.is_zero()
    {
        say(Diagnostic::error(
            request.place(),
            format!("{path}.request.timeout"),
            "a wait of no time ends before any answer",
        )
        .with_help("write timeout = \"60s\""));
    }
}

/// What `on_failure` and its companions say together.
fn failure(keys: &EngineKeys, path: &str, shared: &Shared<'_>) {
    let exec = keys
        .on_failure
        .as_ref()
        .filter(|on_failure| *on_failure.get() == OnFailure::Exec);
    match (exec, &keys.failure_command) {
        (Some(exec), None) => shared.say(
            Diagnostic::error(
                exec.place(),
                format!("{path}.on_failure"),
                "on_failure = \"exec\" needs a command to run",
            )
            .with_help("add failure_command = [\"/usr/local/bin/page-me\"]"),
        ),
        (_, Some(command)) if command.get().iter().all(String::is_empty) => shared.say(
            Diagnostic::error(
                command.place(),
                format!("{path}.failure_command"),
                "a command needs a program to run",
            )
            .with_help("write failure_command = [\"/usr/local/bin/page-me\"]"),
        ),
        (None, Some(command)) => shared.say(
            Diagnostic::warning(
                command.place(),
                format!("{path}.failure_command"),
                "the command never runs, for on_failure is not \"exec\"",
            )
            .with_help("write on_failure = \"exec\", or remove failure_command"),
        ),
        _ => {}
    }
    let longest = Duration::from_secs(30);
    if let Some(timeout) = keys.failure_timeout.filter(|timeout| *timeout > longest) {
        shared.say(Diagnostic::warning(
            exec.map_or(
                crate::component::Place::NONE,
                crate::component::Spanned::place,
            ),
            format!("{path}.failure_timeout"),
            format!("a command may take {longest} at most, so {timeout} counts as that"),
        ));
    }
}
