//! Tasks as `pve_tasks` and `pve_api` tell them.

use pipeline::pve::{Exit, TaskType, Upid};
use pipeline::{Event, Time, Value, ValueRef};

use super::guests::of_task;
use super::names::NAMES;
use super::seen::{Record, Seen};

/// What a task's start or end says; `None` where its UPID is none.
pub(super) fn understand(event: &Event) -> Option<Seen> {
    let n = &*NAMES;
    let upid = Upid::parse(event.str(n.upid)?).ok()?;
    let phase = event.str(n.phase).unwrap_or("end");
    let status = event.str(n.status);
    let exit = (phase != "start").then(|| Exit::of(status.unwrap_or_default()));
    let mut seen = of_task(upid, exit);
    if let Some(guest) = phase
        .strip_prefix("guest/")
        .and_then(|vmid| vmid.parse::<i64>().ok())
    {
        seen.vmid = Some(guest);
        seen.object_id = Some(guest.to_string());
    }
    if let Some(exit) = exit {
        seen = seen.with(n.result, exit.result());
        if let Exit::Warnings(count) = exit {
            seen = seen.with(n.warnings, i64::from(count));
        }
        if matches!(exit, Exit::Error | Exit::Unknown) {
            seen = seen.because(status.unwrap_or_default());
        }
        let time = |field| match event.get(field) {
            Some(ValueRef::Time(Time(at))) => Some(at),
            _ => None,
        };
        if let (Some(start), Some(end)) = (time(n.start), time(n.end)) {
            seen.more.retain(|(field, _)| *field != n.start);
            seen = seen.with(n.duration, Value::Int((end - start).max(0)));
        }
    }
    let starts = TaskType::find(upid.kind).is_some_and(TaskType::starts);
    if phase == "start" && !starts {
        seen.record = Record::Evidence;
    }
    // The run of several guests is told guest by guest; the job as a whole is their frame.
    if upid.kind == "vzdump" && upid.user == "root@pam" {
        seen.actor = Some("schedule");
    }
    // Its log says so, which only its source has read.
    if event.str(n.actor) == Some("ha") {
        seen.actor = Some("ha");
    }
    Some(seen)
}
