//! The identifier of a task, until `pipeline::pve` has it.
use pipeline::Time;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Upid<'a> {
    pub(crate) node: &'a str,
    pub(crate) pid: u32,
    pub(crate) pstart: u64,
    pub(crate) start: Time,
    pub(crate) kind: &'a str,
    pub(crate) id: &'a str,
    #[allow(dead_code, reason = "gone with this file")]
    pub(crate) user: &'a str,
}

impl Upid<'_> {
    pub(crate) fn parse(text: &str) -> Result<Upid<'_>, String> {
        let parts: Vec<&str> = text.split(':').collect();
        let [head, node, pid, pstart, start, kind, id, user, last] = parts[..] else {
            return Err("a UPID has 9 parts".to_owned());
        };
        let hex = |t: &str, lens: &[usize]| {
            if lens.contains(&t.len()) && t.bytes().all(|c| c.is_ascii_hexdigit()) {
                u64::from_str_radix(t, 16).map_err(|e| e.to_string())
            } else {
                Err("no hex".to_owned())
            }
        };
        let word = |t: &str| !t.contains(|c: char| c.is_whitespace() || c == '/');
        let good_node = !node.is_empty()
            && node.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-')
            && !node.starts_with('-')
            && !node.ends_with('-');
        if head != "UPID" || !last.is_empty() || !good_node || kind.is_empty() || user.is_empty() {
            return Err("a part is wrong".to_owned());
        }
        if !(word(kind) && word(id) && word(user)) {
            return Err("a space".to_owned());
        }
        Ok(Upid {
            node,
            pid: hex(pid, &[8])? as u32,
            pstart: hex(pstart, &[8, 9])?,
            start: Time::from_secs(hex(start, &[8])? as i64),
            kind,
            id,
            user,
        })
    }
}
