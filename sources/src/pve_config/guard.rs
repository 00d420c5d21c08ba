//! Takes secrets out of values before anybody else sees them, and still notices when one changes.
//!
//! What is taken out leaves `[redacted]` and 128 bits of an HMAC under the key of this installation: equal secrets stay
//! recognisable as equal, and nobody without the key can try short ones.

use std::borrow::Cow;
use std::sync::{Arc, LazyLock};

use aws_lc_rs::hmac;
use pipeline::Redactor;
use pipeline::lines::hex;
use pipeline::redact::MASK;
use regex::{Captures, Regex};

use super::model::Held;

/// Longest value that is kept and told; of a longer one the head, its length and its hash [bytes].
const LONGEST: usize = 4 << 10;

/// A longer value is kept by its digest and its head alone [bytes].
const LOOKED_THROUGH: usize = 64 << 10;

/// Keys of PVE's files whose values are secrets or hold some where nothing in them says so: second factors of users, and
/// what notifications and metrics send along, in base64.
const SECRET: &[&str] = &[
    "keys",
    "headers",
    "otel-headers",
    "body",
    "apitoken",
    "x-token",
];

/// A word like "password" in notes, and what follows it on its line.
static NOTED: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        r#"(?i)((?:(?-u:\b)[0-9A-Za-z_]*pass(?:word|wd|wort|phrase|code)?|(?-u:\b)(?:kennwort|pwd|pw|pin|secret)|(?-u:\b)[0-9A-Za-z_]*token|api[ _-]?key|private[ _-]?key|credentials?|zugangsdaten)s?[*_`"'\])]*[ \t]*(?:[:=]|->|=>|(?-u:\b)is(?-u:\b)|(?-u:\b)lautet(?-u:\b))[*_`"' \t]*)([^\s*_`"'][^\r\n]*)"#,
    )
});
/// A line that is only such a word, so that the secret stands on the next.
static HEADED: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        r"(?im)^([^0-9A-Za-z_\n]*(?:[0-9A-Za-z_]*pass(?:word|wd|wort|phrase)?|kennwort|secret|[0-9A-Za-z_]*token|api[ _-]?key|credentials?|zugangsdaten)s?[^0-9A-Za-z_\n]*\r?\n\s*)([^\r\n]+)",
    )
});
/// `name=value` in a list of properties, on a command line, in an environment.
static PAIR: LazyLock<Regex> =
    LazyLock::new(|| regex(r#"([A-Za-z0-9_.-]{2,64})=("[^"\n]*"|'[^'\n]*'|[^,\s;&"'\x00]+)"#));
/// `user:password@host` without a scheme in front.
static BEFORE_AT: LazyLock<Regex> =
    LazyLock::new(|| regex(r"([^\s:/@,=]+:)([^\s@/,]+)(@[A-Za-z0-9\[])"));
/// What qemu takes as a secret or hands to the guest.
static QEMU: LazyLock<Regex> = LazyLock::new(|| {
    regex(r"((?:secret|fw_cfg|fw-cfg|type=11)\S*?[,:](?:data|string|value)=)([^,\s]+)")
});

fn regex(text: &str) -> Regex {
    Regex::new(text).expect("these expressions are constants, and a test uses each")
}

pub(super) struct Guard {
    redactor: Arc<Redactor>,
    key: hmac::Key,
}

impl Guard {
    pub(super) fn new(redactor: Arc<Redactor>, installation_key: &[u8]) -> Guard {
        let own = hmac::Key::new(hmac::HMAC_SHA256, installation_key);
        // Another use of the same key gets another key, so that no digest says anything about those of another use.
        let key = hmac::sign(&own, b"pvetrail pve_config 1");
        Guard {
            redactor,
            key: hmac::Key::new(hmac::HMAC_SHA256, key.as_ref()),
        }
    }

    /// A digest to which parts are added one by one.
    pub(super) fn digest(&self) -> hmac::Context {
        hmac::Context::with_key(&self.key)
    }

    fn mac(&self, value: &[u8]) -> String {
        hex(&hmac::sign(&self.key, value).as_ref()[..16])
    }

    /// All of it is a secret.
    pub(super) fn mask(&self, value: &[u8]) -> Held {
        Held::Masked(MASK.to_owned(), self.mac(value))
    }

    /// The value of `key`, without secrets.
    pub(super) fn hold(&self, key: &str, value: &str) -> Held {
        if value.is_empty() {
            return Held::Clear(String::new());
        }
        if self.is_secret(key) {
            return self.mask(value.as_bytes());
        }
        if value.len() > LOOKED_THROUGH {
            // The hash of clear text could be tried; the digest cannot.
            let head = self
                .clean(&value[..value.floor_char_boundary(LOOKED_THROUGH)])
                .into_owned();
            let head = &head[..head.floor_char_boundary(LONGEST / 4)];
            let text = format!("{head}… ({} bytes)", value.len());
            return Held::Masked(text, self.mac(value.as_bytes()));
        }
        let clean = self.clean(value);
        match (&clean, cut(&clean)) {
            (Cow::Borrowed(_), None) => Held::Clear(value.to_owned()),
            (Cow::Borrowed(_), Some(cut)) => Held::Clear(cut),
            (Cow::Owned(clean), cut) => {
                let text = cut.unwrap_or_else(|| clean.clone());
                Held::Masked(text, self.mac(value.as_bytes()))
            }
        }
    }

    fn is_secret(&self, key: &str) -> bool {
        let last = key.rsplit('/').next().unwrap_or(key);
        self.redactor.is_secret_key(last)
            || SECRET.iter().any(|known| known.eq_ignore_ascii_case(last))
            || telling(last)
    }

    /// `text` without what looks like a secret anywhere in it.
    pub(super) fn clean<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let mut clean: Cow<'t, str> = match self.redactor.redact_str(text) {
            Some(redacted) => Cow::Owned(redacted),
            None => Cow::Borrowed(text),
        };
        let pairs = |found: &Captures<'_>| {
            let (name, value) = (&found[1], &found[2]);
            let name = name.trim_start_matches('-');
            if value == MASK || !(self.redactor.is_secret_key(name) || telling(name)) {
                return found[0].to_owned();
            }
            format!("{}={MASK}", &found[1])
        };
        if clean.contains('=') {
            step(&mut clean, |text| PAIR.replace_all(text, pairs));
            step(&mut clean, |text| {
                QEMU.replace_all(text, format!("${{1}}{MASK}"))
            });
        }
        if clean.contains('@') {
            step(&mut clean, |text| {
                BEFORE_AT.replace_all(text, format!("${{1}}{MASK}${{3}}"))
            });
        }
        let noted = |found: &Captures<'_>| match found[2].starts_with(MASK) {
            true => found[0].to_owned(),
            false => format!("{}{MASK}", &found[1]),
        };
        step(&mut clean, |text| NOTED.replace_all(text, noted));
        if clean.contains('\n') {
            step(&mut clean, |text| HEADED.replace_all(text, noted));
        }
        clean
    }

    /// Whether both are the same value, though one of them was held when other keys counted as secret.
    pub(super) fn same(&self, a: &Held, b: &Held) -> bool {
        match (a, b) {
            (Held::Clear(a), Held::Clear(b)) => a == b,
            (Held::Masked(_, a), Held::Masked(_, b)) => a == b,
            (Held::Clear(clear), Held::Masked(_, mac))
            | (Held::Masked(_, mac), Held::Clear(clear)) => self.mac(clear.as_bytes()) == *mac,
        }
    }

    /// Two values of the same key, one after the other.
    pub(super) fn join(&self, a: &Held, b: &Held) -> Held {
        let mut text = format!("{}\n{}", a.text(), b.text());
        if let Some(cut) = cut(&text) {
            text = cut;
        }
        match (a, b) {
            (Held::Clear(_), Held::Clear(_)) => Held::Clear(text),
            _ => Held::Masked(text, self.both(a, b)),
        }
    }

    /// Two values that look the same without their secrets.
    pub(super) fn twin(&self, a: &Held, b: &Held) -> Held {
        match (a, b) {
            (Held::Masked(_, one), Held::Masked(_, two)) if one == two => a.clone(),
            _ => Held::Masked(a.text().to_owned(), self.both(a, b)),
        }
    }

    fn both(&self, a: &Held, b: &Held) -> String {
        let mac = |held: &Held| match held {
            Held::Masked(_, mac) => mac.clone(),
            Held::Clear(text) => self.mac(text.as_bytes()),
        };
        self.mac(format!("{} {}", mac(a), mac(b)).as_bytes())
    }
}

fn step<'t>(clean: &mut Cow<'t, str>, replace: impl for<'x> Fn(&'x str) -> Cow<'x, str>) {
    if let Cow::Owned(changed) = replace(clean)
        && changed != **clean
    {
        *clean = Cow::Owned(changed);
    }
}

/// Names that give a secret away: `DB_PASS`, `gitlab_token`, `rootpw`.
fn telling(name: &str) -> bool {
    const INSIDE: &[&str] = &[
        "passw",
        "secret",
        "token",
        "apikey",
        "api_key",
        "api-key",
        "credential",
        "privkey",
        "private_key",
        "private-key",
        "privatekey",
        "passphrase",
        "kennwort",
    ];
    const END: &[&str] = &[
        "_pass", "-pass", "_pw", "-pw", "_pwd", "-pwd", "rootpw", "_psk",
    ];
    let name = name.to_ascii_lowercase();
    INSIDE.iter().any(|word| name.contains(word))
        || END.iter().any(|word| name.ends_with(word))
        || name == "pass"
        || name == "pw"
        || name == "psk"
}

/// The head, the length and the hash of a text that is too long.
fn cut(text: &str) -> Option<String> {
    if text.len() <= LONGEST {
        return None;
    }
    let head = &text[..text.floor_char_boundary(LONGEST / 4)];
    let hash = pipeline::lines::sha256(text.as_bytes());
    Some(format!("{head}… ({} bytes, {hash})", text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard() -> Guard {
        Guard::new(Arc::default(), b"installation")
    }

    #[test]
    fn what_looks_like_a_secret_is_gone_and_its_surroundings_stay() {
        let guard = guard();
        for (key, value, left) in [
            ("cipassword", "$5$abc", "[redacted]"),
            ("sshkeys", "ssh-ed25519%20AAAA", "[redacted]"),
            ("memory", "2048", "2048"),
            (
                "net0",
                "virtio=BC:24:11:00:00:01,bridge=vmbr0",
                "virtio=BC:24:11:00:00:01,bridge=vmbr0",
            ),
            (
                "efidisk0",
                "local:1,efitype=4m,pre-enrolled-keys=1",
                "local:1,efitype=4m,pre-enrolled-keys=1",
            ),
            (
                "args",
                "-object secret,id=s0,data=hunter2 -vnc :1",
                "-object secret,id=s0,data=[redacted] -vnc :1",
            ),
            (
                "args",
                "-x password=hunter2,id=3",
                "-x password=[redacted],id=3",
            ),
            ("lxc.environment", "DB_PASS=hunter2", "DB_PASS=[redacted]"),
            (
                "http_proxy",
                "http://u:hunter2@proxy:3128",
                "http://u:[redacted]@proxy:3128",
            ),
            ("portal", "u:hunter2@proxy", "u:[redacted]@proxy"),
            (
                "description",
                "web\nroot password: hunter2\nport 80",
                "web\nroot password: [redacted]\nport 80",
            ),
            (
                "description",
                "**Passwort:** `hunter2`",
                "**Passwort:** `[redacted]",
            ),
            (
                "description",
                "Password\nhunter2\nbye",
                "Password\n[redacted]\nbye",
            ),
            (
                "header",
                "name=Authorization,value=QmVhcmVy",
                "name=Authorization,value=[redacted]",
            ),
            ("comment", "token=abc", "token=[redacted]"),
            (
                "comment",
                "passwords are kept in the safe",
                "passwords are kept in the safe",
            ),
            ("token", "abc", "[redacted]"),
        ] {
            let held = guard.hold(key, value);
            assert_eq!(held.text(), left, "{key}");
            assert_eq!(held.is_masked(), left.contains(MASK), "{key}");
        }
    }

    #[test]
    fn a_changed_secret_is_noticed_and_a_new_rule_for_secrets_is_no_change() {
        let guard = guard();
        let [one, two] = ["a", "b"].map(|value| guard.hold("cipassword", value));
        assert!(!guard.same(&one, &two) && guard.same(&one, &guard.hold("cipassword", "a")));
        assert!(guard.same(&one, &Held::Clear("a".into())));
        let other = Guard::new(Arc::default(), b"another").hold("cipassword", "a");
        assert!(!guard.same(&one, &other));
    }

    #[test]
    fn a_long_value_is_cut_and_its_change_is_noticed() {
        let guard = guard();
        let long = "ü".repeat(100_000);
        let [one, two] = [long.clone(), long + "x"].map(|value| guard.hold("description", &value));
        assert!(one.text().len() < LONGEST && !guard.same(&one, &two));
    }
}
