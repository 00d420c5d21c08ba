//! What was read becomes fields of the event.

use pipeline::{Buffer, Event, Preset, Span, Value, fields};

use super::{Outcome, Rare, Read, Sender, bytes, priority, scan};

/// Writes what was read into the event.
#[inline]
pub(super) fn parsed(
    event: &mut Event,
    sender: &Sender<'_>,
    read: &mut Read,
    pid: Option<i64>,
    lines: Option<Lines>,
) {
    match lines {
        None => event.set_span(fields::MESSAGE, read.message),
        Some(Lines::Fewer(len)) => {
            let at = read.message.at;
            event.set_span(fields::MESSAGE, Span { at, len });
        }
        Some(Lines::Rewritten(text)) => event.set(fields::MESSAGE, text),
    }
    header(event, sender, read, pid);
    if let Some(rare) = read.rare.take() {
        rare_parts(event, *rare);
    }
}

#[inline]
fn header(event: &mut Event, sender: &Sender<'_>, read: &Read, pid: Option<i64>) {
    match (read.facility, read.severity) {
        (Some(facility), Some(severity)) => {
            let priority = usize::from(facility) * 8 + usize::from(severity);
            if let Some(preset) = priority::PRESETS.get(priority) {
                event.push_preset(preset);
            }
        }
        (None, None) => {}
        (Some(code), None) => {
            event.push_preset(&priority::with_facility(Preset::default(), code));
        }
        (None, Some(code)) => {
            event.push_preset(&priority::with_severity(Preset::default(), code));
        }
    }
    if let Some(time) = read.time {
        // The sender's clock says when it happened, ours when it was told.
        event.push_time(fields::EVENT_CREATED, event.timestamp());
        event.set_timestamp(time);
    }
    let mut put = |field, span: Span| {
        if span.len > 0 {
            event.push_span(field, span);
        }
    };
    put(fields::SYSLOG_VERSION, read.version);
    put(fields::SYSLOG_HOSTNAME, read.host);
    put(fields::SYSLOG_APPNAME, read.app);
    put(fields::PROCESS_NAME, read.app);
    put(fields::SYSLOG_PROCID, read.process);
    put(fields::SYSLOG_MSGID, read.message_id);
    if let Some(pid) = pid {
        event.push_int(fields::PROCESS_PID, pid);
    }
    if read.host.len > 0 {
        event.set_span(fields::HOST_NAME, read.host);
    } else {
        name_peer(event, sender);
    }
}

/// The event of a message that cannot be read: its whole text, why, and what was certain before that.
#[cold]
pub(super) fn failed(
    event: &mut Event,
    sender: &Sender<'_>,
    read: &mut Read,
    why: &str,
) -> Outcome {
    read.facility.get_or_insert(priority::DEFAULT / 8);
    read.severity.get_or_insert(priority::DEFAULT % 8);
    let pid = {
        let text = event.buffer().map_or("", Buffer::text);
        scan::number(bytes(text, read.process))
    };
    header(event, sender, read, pid);
    event.add_tag("parse_error");
    let why = match event.str(fields::ERROR_MESSAGE) {
        Some(before) => format!("{before}; {why}"),
        None => why.to_owned(),
    };
    event.set(fields::ERROR_MESSAGE, why);
    Outcome::Failed
}

fn rare_parts(event: &mut Event, rare: Rare) {
    if let Some(pid) = rare.pid {
        event.set(fields::PROCESS_PID, pid);
    }
    if let Some(data) = rare.data {
        event.set(fields::SYSLOG_STRUCTURED_DATA, data);
    }
    for (field, text) in rare.rewritten {
        event.set(field, text);
    }
    if !rare.extra.is_empty() {
        event.set(fields::PVE_EXTRA, Value::Map(rare.extra));
    }
}

/// A host that does not name itself is called by the address it sends from.
fn name_peer(event: &mut Event, sender: &Sender<'_>) {
    if let Some(address) = sender.address
        && event.str(fields::HOST_NAME) != Some(address)
    {
        event.set_str(fields::HOST_NAME, address);
    }
}

/// A text in which a daemon in between had written line ends as `#012`.
pub(super) enum Lines {
    /// They were at its end only; so many bytes are left without them.
    Fewer(u32),
    /// The text with line ends.
    Rewritten(String),
}

/// Undoes `#012`. Before a digit it is left alone: "ticket #0123" is no line end.
#[cold]
pub(super) fn newlines(text: &[u8]) -> Option<Lines> {
    const MARK: &[u8] = b"#012";
    let mut end = text.len();
    while text[..end].ends_with(MARK) {
        end -= MARK.len();
    }
    let kept = &text[..end];
    let mut out = Vec::new();
    let mut done = 0;
    for at in memchr::memchr_iter(b'#', kept) {
        if at >= done
            && kept[at..].starts_with(MARK)
            && !kept.get(at + 4).is_some_and(u8::is_ascii_digit)
        {
            out.extend_from_slice(&kept[done..at]);
            out.push(b'\n');
            done = at + MARK.len();
        }
    }
    if done == 0 {
        return (end < text.len()).then_some(Lines::Fewer(end as u32));
    }
    out.extend_from_slice(&kept[done..]);
    // Cut at ASCII bytes of a valid text, so nothing is replaced.
    Some(Lines::Rewritten(String::from_utf8_lossy(&out).into_owned()))
}
