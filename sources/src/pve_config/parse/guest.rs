//! `qemu-server/<vmid>.conf` and `lxc/<vmid>.conf`: the running configuration, what waits for the next start, snapshots.

use super::super::model::Builder;
use super::{Notes, key_value};

/// Keys below a section are called `snapshot/<name>/<key>`, `pending/<key>`, `cloudinit/<key>`.
pub(super) fn parse(text: &str, name: (&str, &str), to: &mut Builder<'_>) {
    to.object(name.0, name.1);
    let mut section = String::new();
    let mut notes = Notes::default();
    for line in text.lines() {
        let line = line.trim_end();
        if notes.takes(line) || line.is_empty() {
            continue;
        }
        if let Some(head) = line
            .strip_prefix('[')
            .and_then(|line| line.strip_suffix(']'))
        {
            let done = std::mem::take(&mut notes);
            done.put(name, &format!("{section}description"), to);
            section = match head {
                _ if head.eq_ignore_ascii_case("pending") => "pending/".to_owned(),
                "special:cloudinit" => "cloudinit/".to_owned(),
                _ => format!("snapshot/{head}/"),
            };
            continue;
        }
        match key_value(line) {
            // A description may stand on one line, too.
            Some(("description", note)) => {
                notes.takes(&format!("#{note}"));
            }
            Some((key, value)) => to.put_as(name, &format!("{section}{key}"), key, value),
            None => to.unparsed(line),
        }
    }
    notes.put(name, &format!("{section}description"), to);
}
