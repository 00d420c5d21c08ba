//! From the bytes of a file to what it says.
//!
//! - in: any bytes, at most [`MOST_PARSED`] of them
//! - out: objects and their keys without secrets; lines that nobody understands are kept as such, nothing is an error

mod firewall;
mod guest;
mod sections;
mod users;

use std::borrow::Cow;

use super::guard::Guard;
use super::kinds::{Form, Place};
use super::model::{Builder, Doc};

/// Files longer than this are told by their hash alone [bytes].
pub(super) const MOST_PARSED: usize = 4 << 20;

/// What a file is, beside its bytes.
pub(super) struct File<'a> {
    pub(super) path: &'a str,
    pub(super) place: &'a Place,
    /// When it was written [ns since 1970].
    pub(super) modified: i64,
    /// `vm` or `ct`, of the guest that a firewall belongs to.
    pub(super) guest: &'static str,
}

/// Understands a file; says besides whether some of it was past a bound.
pub(super) fn parse(file: &File<'_>, bytes: &[u8], guard: &Guard) -> (Doc, bool) {
    let mut to = Builder::new(guard, file.path, file.place.node.as_deref());
    let text = String::from_utf8_lossy(bytes);
    match &file.place.form {
        Form::Guest { kind, vmid } => guest::parse(&text, (kind, vmid), &mut to),
        Form::Sections(which) => sections::parse(&text, which, &mut to),
        Form::Users => users::parse(&text, &mut to),
        Form::Firewall(scope) => {
            let scope = match scope.strip_prefix("guest/") {
                Some(vmid) => Cow::Owned(format!("{}/{vmid}", file.guest)),
                None => Cow::Borrowed(&**scope),
            };
            firewall::parse(&text, &scope, &mut to);
        }
        Form::Plain { kind, id } => plain(&text, (kind, id), &mut to),
        Form::Corosync => corosync(&text, file.path, &mut to),
        Form::Cron => cron(&text, &mut to),
        Form::Ini => ini(&text, file.path, &mut to),
        Form::Certificate(id) => certificate(bytes, id, file.path, &mut to),
        Form::Key => {
            to.object("file", file.path);
            to.put_secret(("file", file.path), "content", bytes);
        }
        Form::Other => other(bytes, file.path, &mut to),
    }
    let over = to.is_over();
    (to.finish(file.modified), over)
}

/// What is too long to be understood, by the keyed digest of its bytes.
pub(super) fn opaque(file: &File<'_>, bytes: u64, mac: &[u8], guard: &Guard) -> Doc {
    let mut to = Builder::new(guard, file.path, file.place.node.as_deref());
    to.put_secret(("file", file.path), "content", mac);
    to.put(("file", file.path), "bytes", &bytes.to_string());
    to.finish(file.modified)
}

/// Lines `key: value`, and a description in lines that begin with `#`.
fn plain(text: &str, name: (&str, &str), to: &mut Builder<'_>) {
    to.object(name.0, name.1);
    let mut notes = Notes::default();
    for line in text.lines() {
        if notes.takes(line) || line.trim().is_empty() {
            continue;
        }
        match key_value(line) {
            Some((key, value)) => to.put(name, key, value),
            None => to.unparsed(line),
        }
    }
    notes.put(name, "description", to);
}

/// `key: value` at the beginning of a line.
fn key_value(line: &str) -> Option<(&str, &str)> {
    let (key, value) = line.split_once(':')?;
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (!key.is_empty() && key.bytes().all(good)).then(|| (key, value.trim()))
}

/// Lines of a description, as PVE writes them: `#` in front, special characters escaped with `%`.
#[derive(Default)]
struct Notes(String);

impl Notes {
    /// Whether the line was one.
    fn takes(&mut self, line: &str) -> bool {
        let Some(note) = line.strip_prefix('#') else {
            return false;
        };
        if !self.0.is_empty() {
            self.0.push('\n');
        }
        self.0.push_str(&unescape(note));
        true
    }

    fn put(self, name: (&str, &str), key: &str, to: &mut Builder<'_>) {
        if !self.0.is_empty() {
            to.put_as(name, key, "description", self.0.trim_end());
        }
    }
}

/// `%3A` to `:`; what is no escape stays.
fn unescape(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let digits = bytes.get(at + 1..at + 3).filter(|_| *byte == b'%');
        let code = digits
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        out.push(code.unwrap_or(*byte));
        at += if code.is_some() { 3 } else { 1 };
    }
    Cow::Owned(String::from_utf8_lossy(&out).into_owned())
}

/// Nested blocks; nodes are known by their name, other blocks of the same name by their place.
fn corosync(text: &str, path: &str, to: &mut Builder<'_>) {
    const ID: &str = "corosync";
    let id = if path.ends_with(".new") {
        "corosync.new"
    } else {
        ID
    };
    let name = ("cluster", id);
    to.object(name.0, name.1);
    let mut way: Vec<String> = Vec::new();
    let mut seen = std::collections::HashMap::new();
    let mut block: Vec<(String, String)> = Vec::new();
    let mut flush = |way: &[String], block: &mut Vec<(String, String)>, to: &mut Builder<'_>| {
        if block.is_empty() {
            return;
        }
        let mut path = way.join(".");
        let named = block
            .iter()
            .find(|(key, _)| key == "name" || key == "linknumber");
        if let Some((_, name)) = named
            && way.len() > 1 | usize::from(way.last().is_some_and(|last| last == "interface"))
        {
            path = format!("{path}[{name}]");
        }
        let again = seen.entry(path.clone()).or_insert(0_u32);
        *again += 1;
        if *again > 1 {
            path = format!("{path}#{again}");
        }
        for (key, value) in block.drain(..) {
            // Here a token is what goes round the ring, in milliseconds.
            let secret = if key.starts_with("token") { "" } else { &key };
            to.put_as(name_of(id), &format!("{path}.{key}"), secret, &value);
        }
    };
    for line in text.lines() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(block_name) = line.strip_suffix('{') {
            flush(&way, &mut block, to);
            if way.len() < 8 {
                way.push(block_name.trim().to_owned());
            } else {
                to.unparsed(line);
            }
        } else if line == "}" {
            flush(&way, &mut block, to);
            way.pop();
        } else {
            match line.split_once(':') {
                Some((key, value)) => block.push((key.trim().to_owned(), value.trim().to_owned())),
                None => to.unparsed(line),
            }
        }
    }
    flush(&way, &mut block, to);
}

fn name_of(id: &str) -> (&'static str, &str) {
    ("cluster", id)
}

/// The old list of backup jobs: every line counts, and `PATH=` does not.
fn cron(text: &str, to: &mut Builder<'_>) {
    for line in text.lines().map(str::trim) {
        if !line.is_empty() && !line.starts_with('#') && !line.starts_with("PATH=") {
            to.member(("backup_job", "vzdump.cron"), "line", line);
        }
    }
}

/// `[section]` and `key = value`.
fn ini(text: &str, path: &str, to: &mut Builder<'_>) {
    to.object("file", path);
    let mut section = String::new();
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(name) = line
            .strip_prefix('[')
            .and_then(|line| line.strip_suffix(']'))
        {
            section = format!("{}/", name.trim());
            continue;
        }
        match line.split_once('=') {
            Some((key, value)) => {
                let key = key.trim();
                to.put_as(
                    ("file", path),
                    &format!("{section}{key}"),
                    key,
                    value.trim(),
                );
            }
            None => to.unparsed(line),
        }
    }
}

/// The fingerprints of the certificates in a file, as PVE shows them.
fn certificate(bytes: &[u8], id: &str, path: &str, to: &mut Builder<'_>) {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject as _;
    let name = ("certificate", id);
    to.put(name, "file", path);
    let mut found = 0;
    for certificate in CertificateDer::pem_slice_iter(bytes).take(32).flatten() {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &certificate);
        let hex: Vec<String> = digest.as_ref().iter().map(|b| format!("{b:02X}")).collect();
        to.member(name, "fingerprint", &hex.join(":"));
        found += 1;
    }
    if found == 0 {
        to.put_secret(name, "content", bytes);
    }
}

/// Anything else: the hash of what may be shown, and the digest of the whole, should it hold secrets.
fn other(bytes: &[u8], path: &str, to: &mut Builder<'_>) {
    let name = ("file", path);
    let clean = std::str::from_utf8(bytes)
        .ok()
        .map(|text| to.guard().clean(text));
    match clean {
        Some(Cow::Borrowed(text)) => {
            to.put(name, "content", &pipeline::lines::sha256(text.as_bytes()));
        }
        // What holds secrets, or is no text and may hold any, is told without a hash that could be tried.
        _ => to.put_secret(name, "content", bytes),
    }
    to.put(name, "bytes", &bytes.len().to_string());
}

#[cfg(test)]
mod tests;
