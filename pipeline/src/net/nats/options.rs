//! What an operator writes: servers and a login, under the names Vector uses.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use async_nats::{Auth, ServerAddr};
use schemars::JsonSchema;
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::net::Secret;

/// One server or several of one cluster: `"nats://a:4222"`, `"nats://a:4222,nats://b:4222"`, or a list.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum NatsUrl {
    /// One, or several with commas between them.
    One(String),
    /// A list.
    Many(Vec<String>),
}

impl NatsUrl {
    pub(super) fn each(&self) -> impl Iterator<Item = &str> {
        let all: Vec<&str> = match self {
            NatsUrl::One(text) => text.split(',').collect(),
            NatsUrl::Many(list) => list.iter().map(String::as_str).collect(),
        };
        all.into_iter().map(str::trim)
    }
}

/// `auth = { strategy = …, … }`: who we say we are, under the names Vector uses.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(tag = "strategy", rename_all = "snake_case", deny_unknown_fields)]
pub enum NatsAuth {
    /// A user and a password.
    UserPassword {
        /// Who.
        user_password: UserPassword,
    },
    /// One token for all.
    Token {
        /// Which.
        token: Token,
    },
    /// An Ed25519 key.
    Nkey {
        /// Which.
        nkey: Nkey,
    },
    /// A file with a JWT and the key that belongs to it, as `nsc` writes it; it is read at every connection.
    CredentialsFile {
        /// Where.
        credentials_file: CredentialsFile,
    },
}

/// A user and a password.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UserPassword {
    /// The user.
    pub user: String,
    /// Its password.
    pub password: Secret,
}

/// A token.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// The token.
    pub value: Secret,
}

/// An Ed25519 key.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Nkey {
    /// The public key, `U…`; it follows from the seed and is checked against it.
    #[serde(default)]
    pub nkey: Option<String>,
    /// The seed, `SU…`.
    pub seed: Secret,
}

/// Where the credentials are.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CredentialsFile {
    /// Path of the file.
    pub path: PathBuf,
}

impl NatsAuth {
    /// The option that holds the secret.
    pub(super) fn key(&self) -> &'static str {
        match self {
            NatsAuth::UserPassword { .. } => "auth.user_password",
            NatsAuth::Token { .. } => "auth.token.value",
            NatsAuth::Nkey { .. } => "auth.nkey.seed",
            NatsAuth::CredentialsFile { .. } => "auth.credentials_file.path",
        }
    }
}

/// The address without its login, and the login.
pub(super) fn server(text: &str) -> Result<(ServerAddr, Option<NatsAuth>), String> {
    // Never the whole text in a message: a password may be in it.
    let scheme = text.split_once("://").map(|(scheme, _)| scheme);
    match scheme {
        None | Some("nats" | "tls") => {}
        Some(other) => {
            return Err(format!(
                "{other}:// is not spoken here; an address is like nats://host:4222 or tls://host:4222"
            ));
        }
    }
    let with_scheme = if scheme.is_some() {
        text.to_owned()
    } else {
        format!("nats://{text}")
    };
    let mut url = ::url::Url::parse(&with_scheme)
        .map_err(|why| format!("an address is like nats://host:4222: {why}"))?;
    if url.host_str().is_none_or(str::is_empty) {
        return Err("an address is like nats://host:4222: the host is missing".to_owned());
    }
    let decoded = |text: &str| decode(text).ok_or("the login in the address is no text");
    let login = match (url.username(), url.password()) {
        ("", None) => None,
        (token, None) => Some(NatsAuth::Token {
            token: Token {
                value: decoded(token)?.into(),
            },
        }),
        (user, Some(password)) => Some(NatsAuth::UserPassword {
            user_password: UserPassword {
                user: decoded(user)?,
                password: decoded(password)?.into(),
            },
        }),
    };
    // Both fail only for addresses without a host.
    let _ = (url.set_username(""), url.set_password(None));
    let address = ServerAddr::from_url(url).map_err(|why| why.to_string())?;
    Ok((address, login))
}

/// `%41` is `A`.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
        let value = digit(rest.next())? * 16 + digit(rest.next())?;
        bytes.push(u8::try_from(value).ok()?);
    }
    String::from_utf8(bytes).ok()
}

/// The address, for people.
pub(super) fn shown(server: &ServerAddr) -> String {
    let host = server.host();
    let scheme = server.scheme();
    if host.contains(':') && !host.starts_with('[') {
        return format!("{scheme}://[{host}]:{}", server.port());
    }
    format!("{scheme}://{host}:{}", server.port())
}

/// Whether the seed is one, and belongs to the public key that stands beside it.
pub(super) fn check_seed(nkey: &Nkey) -> Result<(), (&'static str, &'static str)> {
    let seed = nkey.seed.expose().trim();
    let pair = nkeys::KeyPair::from_seed(seed).map_err(|_| {
        (
            "auth.nkey.seed",
            "is no seed of a user's key; it begins with SU",
        )
    })?;
    match &nkey.nkey {
        Some(public) if public.trim() != pair.public_key() => Err((
            "auth.nkey.nkey",
            "does not belong to the seed; it can be left out",
        )),
        _ => Ok(()),
    }
}

/// A larger file holds no credentials [bytes].
const MAX_CREDENTIALS: u64 = 64 * 1024;

/// What the credentials in a file answer to the server's challenge.
pub(super) fn sign_in(path: &Path, nonce: &[u8]) -> Result<Auth, String> {
    let bad = |why: String| format!("{}: {why}", path.display());
    let read = || -> std::io::Result<Zeroizing<String>> {
        let mut text = Zeroizing::new(String::new());
        let file = std::fs::File::open(path)?;
        file.take(MAX_CREDENTIALS).read_to_string(&mut text)?;
        Ok(text)
    };
    let text = read().map_err(|why| bad(why.to_string()))?;
    let (Some(jwt), Some(seed)) = (
        section(&text, "NATS USER JWT"),
        section(&text, "USER NKEY SEED"),
    ) else {
        return Err(bad("is no credentials file as `nsc` writes it".to_owned()));
    };
    let pair = nkeys::KeyPair::from_seed(seed)
        .map_err(|_| bad("its seed is none of a user's key".to_owned()))?;
    let signature = pair.sign(nonce).map_err(|why| bad(why.to_string()))?;
    let mut auth = Auth::new();
    auth.jwt = Some(jwt.to_owned());
    auth.signature = Some(signature);
    Ok(auth)
}

/// The line between `-----BEGIN <name>-----` and its end.
fn section<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let begin = format!("BEGIN {name}");
    let mut lines = text.lines().map(str::trim);
    lines.find(|line| line.starts_with("---") && line.contains(&begin))?;
    lines
        .find(|line| !line.is_empty())
        .filter(|line| !line.starts_with('-'))
}
