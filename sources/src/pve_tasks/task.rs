//! A task as an event. Whoever reads it, from PVE's files or over its API, makes the same event with the same id.
//!
//! - in: a UPID, and what was found about its task
//! - out: `pve.origin` = `task`, `pve.task.{upid,phase,status,log}`, `event.{start,end}`, `host.name`, `message`

use pipeline::lines::sha256;
use pipeline::pve::Exit;
use pipeline::{Event, EventId, Field, Time, Value, fields};

/// Longest `message` or `pve.task.status`; of a longer one the head is kept [bytes].
const LONGEST: usize = 64 << 10;
/// Longest `pve.task.log` [bytes].
pub(crate) const LONGEST_LOG: usize = 8 << 10;
/// Lines of a task's log that go with a task that did not end well.
pub(crate) const LOG_LINES: usize = 20;

/// Who a task is, from its UPID.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Task<'a> {
    /// The whole UPID.
    pub(crate) upid: &'a str,
    /// The node that ran it.
    pub(crate) node: &'a str,
    /// When it began.
    pub(crate) start: Time,
}

/// Makes events of tasks.
#[derive(Clone, Debug)]
pub(crate) struct Tasks {
    cluster: String,
    origin: Field,
    upid: Field,
    phase: Field,
    status: Field,
    log: Field,
    vmid: Field,
    start: Field,
    end: Field,
}

impl Tasks {
    /// `cluster` is the operator's name for it (`Context::cluster`); it is part of every id.
    pub(crate) fn new(cluster: &str) -> Tasks {
        Tasks {
            cluster: cluster.to_owned(),
            origin: Field::new("pve.origin"),
            upid: Field::new("pve.task.upid"),
            phase: Field::new("pve.task.phase"),
            status: Field::new("pve.task.status"),
            log: Field::new("pve.task.log"),
            vmid: Field::new("pve.vmid"),
            start: Field::new("event.start"),
            end: Field::new("event.end"),
        }
    }

    /// `phase` is `start`, `end` or `guest/<vmid>` (`audit_event.md` 6).
    pub(crate) fn id(&self, upid: &str, phase: &str) -> EventId {
        EventId::of_parts(&[
            b"pve-audit/1",
            b"task",
            self.cluster.as_bytes(),
            upid.as_bytes(),
            phase.as_bytes(),
        ])
    }

    fn event(&self, task: Task<'_>, phase: &str, at: Time, line: &str) -> Event {
        let mut event = Event::new(self.id(task.upid, phase), at);
        event.set(self.origin, "task");
        event.set(self.upid, task.upid);
        event.set(self.phase, phase);
        event.set(self.start, Value::Time(task.start));
        event.set_str(fields::HOST_NAME, task.node);
        set_cut(&mut event, fields::MESSAGE, line);
        event
    }

    /// The task runs. `line` is what was found, or the UPID.
    pub(crate) fn start(&self, task: Task<'_>, line: &str) -> Event {
        self.event(task, "start", task.start, line)
    }

    /// The task ended, at `end`, with this exit text, which is `""` where PVE has none. `line` is what was found, or the
    /// UPID and the status.
    pub(crate) fn end(&self, task: Task<'_>, end: Time, status: &str, line: &str) -> Event {
        let mut event = self.event(task, "end", end, line);
        event.set(self.end, Value::Time(end));
        set_cut(&mut event, self.status, status);
        event
    }

    /// What a backup of several guests came to for one of them. `began` and `end` are of this guest, where they are known.
    pub(crate) fn guest(
        &self,
        task: Task<'_>,
        vmid: u32,
        (began, end): (Option<Time>, Time),
        status: &str,
    ) -> Event {
        let line = format!("{} guest {vmid}: {status}", task.upid);
        let mut event = self.event(task, &format!("guest/{vmid}"), end, &line);
        event.set(self.start, Value::Time(began.unwrap_or(task.start)));
        event.set(self.end, Value::Time(end));
        event.set(self.vmid, i64::from(vmid));
        set_cut(&mut event, self.status, status);
        event
    }

    /// What stands where a task should stand and is none. `place` says in which list (`index`, `active`, an endpoint), and
    /// `host` where it was read.
    pub(crate) fn broken(
        &self,
        (place, host): (&str, &str),
        text: &str,
        why: &str,
        at: Time,
    ) -> Event {
        let id = EventId::of_parts(&[
            b"pve-audit/1",
            b"task",
            self.cluster.as_bytes(),
            host.as_bytes(),
            text.as_bytes(),
            b"broken",
        ]);
        let mut event = Event::new(id, at);
        event.set(self.origin, "task");
        event.set_str(fields::HOST_NAME, host);
        set_cut(&mut event, fields::MESSAGE, text);
        event.add_tag("parse_error");
        event.set(
            fields::ERROR_MESSAGE,
            format!("this line of {place} is no task: {why}"),
        );
        event
    }

    /// Adds the end of the task's log, as [`tail`] gives it.
    pub(crate) fn add_log(&self, event: &mut Event, log: String) {
        if !log.is_empty() {
            event.set(self.log, log);
        }
    }
}

/// Whether the end of the log goes with a task that ended so: it is one of those that did not end well, or nobody knows.
pub(crate) fn wants_log(status: &str) -> bool {
    Exit::of(status) != Exit::Ok
}

/// The last [`LOG_LINES`] of `text`, which is whole lines and has no secrets any more, cut at [`LONGEST_LOG`]: of all lines
/// the last are kept, of a line that is too long its head.
pub(crate) fn tail(text: &str) -> String {
    let text = text.trim_end_matches(['\n', '\r', '\0']);
    let mut kept: Vec<&str> = Vec::new();
    let mut room = LONGEST_LOG;
    for line in text.rsplit('\n').take(LOG_LINES) {
        let line = line.trim_end_matches('\r');
        // One byte for the end of the line.
        if line.len() < room {
            room -= line.len() + 1;
            kept.push(line);
            continue;
        }
        if room > "…".len() + 1 {
            kept.push(&line[..line.floor_char_boundary(room - "…".len() - 1)]);
            let mut out = kept.iter().rev().copied().collect::<Vec<_>>();
            let head = format!("{}…", out.remove(0));
            return std::iter::once(head.as_str())
                .chain(out)
                .collect::<Vec<_>>()
                .join("\n");
        }
        break;
    }
    kept.reverse();
    kept.join("\n")
}

/// Sets a text; of one that is too long the head, with the length and the hash of the whole.
fn set_cut(event: &mut Event, field: Field, text: &str) {
    if text.len() <= LONGEST {
        event.set_str(field, text);
        return;
    }
    event.set_str(field, &text[..text.floor_char_boundary(LONGEST)]);
    if field == fields::MESSAGE {
        event.set(fields::PVE_TRUNCATED, true);
        event.set(fields::PVE_ORIGINAL_BYTES, text.len() as i64);
        event.set(fields::EVENT_HASH, sha256(text.as_bytes()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pipeline::testing::json;

    const UPID: &str = "UPID:pve1:0001A6B3:00F3C1D2:69B5F213:qmdestroy:104:m.keller@pam:";

    fn task() -> Task<'static> {
        Task {
            upid: UPID,
            node: "pve1",
            start: Time::from_secs(0x69B5_F213),
        }
    }

    #[test]
    fn an_end_says_who_when_and_how() {
        let tasks = Tasks::new("prod");
        let line = format!("{UPID} 69B5F217 OK");
        let event = tasks.end(task(), Time::from_secs(0x69B5_F217), "OK", &line);
        assert_eq!(
            event.to_json(),
            json!({
                "@timestamp": "2026-03-14T23:41:11.000Z",
                "event": {
                    "id": tasks.id(UPID, "end").to_string(),
                    "start": "2026-03-14T23:41:07.000Z",
                    "end": "2026-03-14T23:41:11.000Z",
                },
                "pve": {"origin": "task", "task": {"upid": UPID, "phase": "end", "status": "OK"}},
                "host": {"name": "pve1"},
                "message": line,
            })
        );
    }

    #[test]
    fn ids_differ_by_phase_cluster_and_task_and_by_nothing_else() {
        let tasks = Tasks::new("prod");
        // Fixed for all time: a store knows a task by it.
        assert_eq!(
            tasks.id(UPID, "end").to_string(),
            "5925a8b69db57679b6929630901acee1"
        );
        assert_ne!(tasks.id(UPID, "end"), tasks.id(UPID, "start"));
        assert_ne!(tasks.id(UPID, "end"), Tasks::new("").id(UPID, "end"));
        let guest = tasks.guest(task(), 104, (None, task().start), "OK");
        assert_eq!(guest.id(), tasks.id(UPID, "guest/104"));
        let end = tasks.end(task(), task().start, "OK", "as the API has it");
        assert_eq!(end.id(), tasks.id(UPID, "end"));
    }

    #[test]
    fn the_tail_of_a_log_is_twenty_lines_and_eight_kibibytes_at_most() {
        let log: String = (0..100).map(|n| format!("line {n}\n")).collect();
        let lines: Vec<String> = (80..100).map(|n| format!("line {n}")).collect();
        assert_eq!(tail(&log), lines.join("\n"));
        let long = format!("first\n{}\nTASK ERROR: no\n", "ü".repeat(10_000));
        let kept = tail(&long);
        assert!(kept.len() <= LONGEST_LOG && kept.len() > LONGEST_LOG - 8);
        assert!(kept.starts_with("üü") && kept.ends_with("…\nTASK ERROR: no"));
        assert_eq!(tail(""), "");
        assert_eq!(tail("TASK OK\r\n\0"), "TASK OK");
        let wide = format!("{}\n{}\n", "a".repeat(5000), "b".repeat(5000));
        let kept = tail(&wide);
        assert!(kept.starts_with("aaa") && kept.contains("…\nbbb"));
        let full = format!("lost\n{}", "b".repeat(LONGEST_LOG - 1));
        assert_eq!(tail(&full).len(), LONGEST_LOG - 1);
    }

    #[test]
    fn a_text_that_is_too_long_is_cut_and_says_so() {
        let tasks = Tasks::new("");
        let line = "x".repeat(LONGEST + 10);
        let event = tasks.broken(("index", "pve1"), &line, "it has no fields", Time(7));
        assert_eq!(event.str(fields::MESSAGE).map(str::len), Some(LONGEST));
        assert!(event.has(fields::PVE_TRUNCATED) && event.has(fields::EVENT_HASH));
        assert_eq!(
            event.str(fields::ERROR_MESSAGE),
            Some("this line of index is no task: it has no fields")
        );
    }
}
