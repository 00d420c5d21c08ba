//! The engine's options of one component: defaults filled in, contradictions and what this version lacks refused.

use super::de::Shared;
use super::diagnostic::Diagnostic;
use super::options::{Batch, BufferKind, EngineKeys, EngineOptions, OnFailure};
use crate::component::{Entry, Workers};
use crate::units::Duration;

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
            .map(|b| b.get().clone())
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
        healthcheck: keys.healthcheck.unwrap_or(true),
    }
}

/// What of the engine's options this version does not have yet, or what contradicts itself.
fn together(keys: &EngineKeys, path: &str, shared: &Shared<'_>) {
    let say = |d: Diagnostic| shared.say(d);
    if let Some(buffer) = &keys.buffer
        && buffer.get().kind == BufferKind::Disk
    {
        say(Diagnostic::error(buffer.place(), format!("{path}.buffer"), "the disk queue comes with a later version")
            .with_help("remove buffer: nothing is lost without it, since a source's position waits for the sink's answer"));
    }
    if let Some(on_failure) = &keys.on_failure
        && *on_failure.get() != OnFailure::Warn
    {
        let word = if *on_failure.get() == OnFailure::Hold {
            "hold"
        } else {
            "exec"
        };
        say(Diagnostic::error(
            on_failure.place(),
            format!("{path}.on_failure"),
            format!("on_failure = \"{word}\" comes with a later version"),
        )
        .with_help("remove it, or write on_failure = \"warn\""));
    }
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
