//! `auth = { … }`: who we say we are to a server, and strings that are never printed.

use std::fmt;

use schemars::JsonSchema;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::OptionError;

/// A password, key or token: it can be used, but neither printed nor found in memory after its last use.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// The secret itself, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self::from(text.to_owned())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

impl JsonSchema for Secret {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Secret".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "A secret, best as `${cred:name}`, `${file:/path}` or `${VAR}`"
        })
    }
}

/// `auth = { strategy = "basic" | "bearer" | "api_key", … }`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(tag = "strategy", rename_all = "snake_case", deny_unknown_fields)]
pub enum Auth {
    /// A user and a password.
    Basic {
        /// The user.
        user: String,
        /// Its password.
        password: Secret,
    },
    /// A token, sent as `Authorization: Bearer …`.
    Bearer {
        /// The token.
        token: Secret,
    },
    /// An API key as Elasticsearch hands it out: the encoded form, or `id:key`.
    ApiKey {
        /// The key.
        api_key: Secret,
    },
}

impl Auth {
    /// The value of the `Authorization` header.
    pub fn header(&self) -> Result<Zeroizing<String>, OptionError> {
        let (value, key) = match self {
            Self::Basic { user, password } => {
                if user.contains(':') {
                    return Err(OptionError::new(
                        "auth.user",
                        "a user of basic authentication has no colon in it",
                    ));
                }
                let pair = Zeroizing::new(format!("{user}:{}", password.expose()));
                (
                    Zeroizing::new(format!("Basic {}", &*base64(pair.as_bytes()))),
                    "auth.password",
                )
            }
            Self::Bearer { token } => (
                Zeroizing::new(format!("Bearer {}", token.expose().trim())),
                "auth.token",
            ),
            Self::ApiKey { api_key } => {
                let key = api_key.expose().trim();
                // The encoded form is base64, which has no colon.
                let encoded = if key.contains(':') {
                    base64(key.as_bytes())
                } else {
                    Zeroizing::new(key.to_owned())
                };
                (
                    Zeroizing::new(format!("ApiKey {}", &*encoded)),
                    "auth.api_key",
                )
            }
        };
        if value.ends_with(' ') {
            return Err(OptionError::new(key, "is empty"));
        }
        if !value.bytes().all(|b| (0x20..0x7f).contains(&b)) {
            return Err(OptionError::new(
                key,
                "holds a character that no HTTP header can carry (a line break, perhaps)",
            ));
        }
        Ok(value)
    }
}

/// Standard base64 with padding.
pub(super) fn base64(bytes: &[u8]) -> Zeroizing<String> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let word = u32::from(three[0]) << 16
            | u32::from(three.get(1).copied().unwrap_or(0)) << 8
            | u32::from(three.get(2).copied().unwrap_or(0));
        for place in 0..4 {
            let digit = (word >> (18 - 6 * place)) & 63;
            out.push(if place <= three.len() {
                char::from(DIGITS[digit as usize])
            } else {
                '='
            });
        }
    }
    Zeroizing::new(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_rfc_4648() {
        for (plain, encoded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
        ] {
            assert_eq!(&*base64(plain.as_bytes()), encoded);
        }
    }

    #[test]
    fn each_strategy_has_its_header_and_none_is_printed() {
        let of = |json: &str| serde_json::from_str::<Auth>(json).unwrap();
        let basic = of(r#"{"strategy": "basic", "user": "Aladdin", "password": "open sesame"}"#);
        assert_eq!(
            &**basic.header().unwrap(),
            "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="
        );
        assert!(!format!("{basic:?}").contains("sesame"));
        let key = of(r#"{"strategy": "api_key", "api_key": "id:key"}"#);
        assert_eq!(&**key.header().unwrap(), "ApiKey aWQ6a2V5");
        let encoded = of(r#"{"strategy": "api_key", "api_key": "aWQ6a2V5"}"#);
        assert_eq!(encoded.header().unwrap(), key.header().unwrap());
        assert_eq!(
            &**of(r#"{"strategy": "bearer", "token": "t0k\n"}"#)
                .header()
                .unwrap(),
            "Bearer t0k"
        );
    }

    #[test]
    fn what_no_header_can_carry_is_refused_when_it_is_built() {
        let token = Auth::Bearer {
            token: "a\r\nX-Evil: 1".into(),
        };
        assert!(
            token
                .header()
                .unwrap_err()
                .to_string()
                .contains("auth.token")
        );
        assert!(Auth::Bearer { token: "".into() }.header().is_err());
        assert!(
            Auth::Basic {
                user: "a:b".into(),
                password: "c".into()
            }
            .header()
            .is_err()
        );
    }
}
