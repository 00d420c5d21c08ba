//! `sign = { header, hmac_sha256 }`: a signature over what is sent, with its time, so that nobody can send it again later.

use std::time::Duration;

use aws_lc_rs::hmac;
use schemars::JsonSchema;
use serde::Deserialize;

use super::Secret;
use crate::clock::{SECOND, Time};
use crate::component::{BuildError, BuildErrors};
use crate::lines::hex;

/// `sign = { … }`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sign {
    /// The header that carries the signature.
    #[serde(default = "header")]
    pub header: String,
    /// The secret both sides know; at least 16 bytes.
    pub hmac_sha256: Secret,
    /// What the header says.
    #[serde(default)]
    pub form: SignForm,
}

fn header() -> String {
    "X-Pvetrail-Signature".to_owned()
}

/// What the header of a signature says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SignForm {
    /// `t=<seconds>,v1=<hex>` over the seconds, a full stop and the body: it grows old.
    #[default]
    Timestamped,
    /// `sha256=<hex>` over the body alone, as GitHub does it: it is good for ever.
    Plain,
}

/// Shorter secrets can be guessed [bytes].
const SHORTEST: usize = 16;

/// A signature older or newer than this is refused: time enough for clocks that differ, not for a replay.
const WINDOW: Duration = Duration::from_secs(300);

/// Signs bodies, and checks signatures.
pub struct Signer {
    header: String,
    key: hmac::Key,
    form: SignForm,
}

impl Signer {
    /// Checks the options.
    pub fn new(sign: &Sign) -> Result<Signer, BuildErrors> {
        let mut errors = BuildErrors::new();
        let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        if sign.header.is_empty() || !sign.header.bytes().all(token) {
            errors.push(BuildError::key("sign.header", "is no name of a header"));
        }
        let key = sign.hmac_sha256.expose().as_bytes();
        if key.len() < SHORTEST {
            errors.push(
                BuildError::key(
                    "sign.hmac_sha256",
                    format!("has {} bytes, a secret has at least {SHORTEST}", key.len()),
                )
                .help("make one by `openssl rand -base64 32`"),
            );
        }
        errors.finish(Signer {
            header: sign.header.clone(),
            key: hmac::Key::new(hmac::HMAC_SHA256, key),
            form: sign.form,
        })
    }

    /// The name of the header.
    pub fn header(&self) -> &str {
        &self.header
    }

    /// Its value for `body`, sent `now`.
    pub fn value(&self, body: &[u8], now: Time) -> String {
        let seconds = now.0.div_euclid(SECOND).to_string();
        let tag = self.context(&seconds, body).sign();
        let hex = hex(tag.as_ref());
        match self.form {
            SignForm::Timestamped => format!("t={seconds},v1={hex}"),
            SignForm::Plain => format!("sha256={hex}"),
        }
    }

    /// Whether `value` is a signature of `body` that is not too old; the error says what is wrong with it.
    pub fn check(&self, value: &str, body: &[u8], now: Time) -> Result<(), &'static str> {
        let (seconds, hex) = match self.form {
            SignForm::Plain => (
                "",
                value.strip_prefix("sha256=").ok_or("is not `sha256=…`")?,
            ),
            SignForm::Timestamped => value
                .strip_prefix("t=")
                .and_then(|rest| rest.split_once(",v1="))
                .ok_or("is not `t=…,v1=…`")?,
        };
        let tag = bytes(hex).ok_or("is no hexadecimal number")?;
        let expected = self.context(seconds, body).sign();
        aws_lc_rs::constant_time::verify_slices_are_equal(expected.as_ref(), &tag)
            .map_err(|_| "is not that of this body by this secret")?;
        if self.form == SignForm::Timestamped {
            let sent = seconds.parse::<i64>().map_err(|_| "has no time")?;
            let sent = Time::from_secs(sent);
            if now.since(sent).max(sent.since(now)) > WINDOW {
                return Err("is more than 5 minutes old, or from a clock that is wrong");
            }
        }
        Ok(())
    }

    fn context(&self, seconds: &str, body: &[u8]) -> hmac::Context {
        let mut context = hmac::Context::with_key(&self.key);
        if self.form == SignForm::Timestamped {
            context.update(seconds.as_bytes());
            context.update(b".");
        }
        context.update(body);
        context
    }
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    if !hex.len().is_multiple_of(2)
        || hex.len() > 128
        || !hex.bytes().all(|b| b.is_ascii_hexdigit())
    {
        return None;
    }
    let pairs = (0..hex.len()).step_by(2);
    pairs
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signer(form: SignForm) -> Signer {
        let sign = Sign {
            header: header(),
            hmac_sha256: "It's a Secret to Everybody".into(),
            form,
        };
        Signer::new(&sign).unwrap()
    }

    #[test]
    fn the_plain_form_is_that_of_githubs_documented_example() {
        // The pair that GitHub's page on validating deliveries gives for testing.
        assert_eq!(
            signer(SignForm::Plain).value(b"Hello, World!", Time(0)),
            "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
        );
    }

    #[test]
    fn the_timestamped_form_is_the_plain_one_of_time_and_body() {
        let body = br#"[{"n":1}]"#;
        let signed = signer(SignForm::Timestamped).value(body, Time::from_secs(1_773_529_200));
        let joined = signer(SignForm::Plain).value(b"1773529200.[{\"n\":1}]", Time(0));
        let hex = joined.strip_prefix("sha256=").unwrap();
        assert_eq!(signed, format!("t=1773529200,v1={hex}"));
    }

    #[test]
    fn a_short_secret_and_a_header_that_is_none_are_both_told() {
        let sign = Sign {
            header: "X Sign".to_owned(),
            hmac_sha256: "short".into(),
            form: SignForm::Plain,
        };
        let Err(errors) = Signer::new(&sign) else {
            panic!("it was taken");
        };
        assert_eq!(errors.iter().count(), 2, "{errors}");
    }

    #[test]
    fn a_signature_is_checked_by_secret_body_and_time() {
        let signer = signer(SignForm::Timestamped);
        let at = Time::from_secs(1_773_529_200);
        let value = signer.value(b"body", at);
        assert_eq!(
            signer.check(&value, b"body", at.after(Duration::from_secs(299))),
            Ok(())
        );
        for (value, body, now) in [
            (value.as_str(), &b"bodY"[..], at),
            (&value, b"body", at.after(Duration::from_secs(301))),
            (&value, b"body", Time::from_secs(1_773_529_200 - 301)),
            (&value.replace("t=1", "t=2"), b"body", at),
            (&value[..value.len() - 2], b"body", at),
            ("t=,v1=", b"body", at),
            ("", b"body", at),
            ("t=1,v1=\u{e4}\u{e4}", b"body", at),
        ] {
            assert!(signer.check(value, body, now).is_err(), "{value}");
        }
    }
}
