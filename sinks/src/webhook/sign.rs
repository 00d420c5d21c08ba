//! `sign = { header, hmac_sha256 }`: a signature over what is sent, with its time, so that nobody can send it again later.

use aws_lc_rs::hmac;
use pipeline::{BuildError, BuildErrors, Secret, Time};
use schemars::JsonSchema;
use serde::Deserialize;

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

/// Signs bodies.
pub(super) struct Signer {
    header: String,
    key: hmac::Key,
    form: SignForm,
}

impl Signer {
    pub(super) fn new(sign: &Sign) -> Result<Signer, BuildErrors> {
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
    pub(super) fn header(&self) -> &str {
        &self.header
    }

    /// Its value for `body`, sent `now`.
    pub(super) fn value(&self, body: &[u8], now: Time) -> String {
        let seconds = now.0.div_euclid(pipeline::clock::SECOND).to_string();
        let mut context = hmac::Context::with_key(&self.key);
        if self.form == SignForm::Timestamped {
            context.update(seconds.as_bytes());
            context.update(b".");
        }
        context.update(body);
        let tag = context.sign();
        let hex: String = tag
            .as_ref()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        match self.form {
            SignForm::Timestamped => format!("t={seconds},v1={hex}"),
            SignForm::Plain => format!("sha256={hex}"),
        }
    }
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
}
