//! `Url`: where an HTTP server is.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;

use schemars::JsonSchema;
use serde::Deserialize;

/// An `http` or `https` address. It carries no user and no password: these belong into `auth`, which is never printed.
#[derive(Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct Url(::url::Url);

impl Url {
    /// Reads it; the error says what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let url = match ::url::Url::parse(text) {
            Ok(url) => url,
            Err(::url::ParseError::RelativeUrlWithoutBase) => {
                return Err("an address starts with http:// or https://".to_owned());
            }
            Err(why) => return Err(why.to_string()),
        };
        if !matches!(url.scheme(), "http" | "https") {
            // `es1:9200` parses as the scheme `es1`.
            return Err("an address starts with http:// or https://".to_owned());
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(
                "an address has no user and password in it; write them into `auth`".to_owned(),
            );
        }
        if url.host_str().is_none_or(str::is_empty) {
            return Err("the host is missing".to_owned());
        }
        Ok(Self(url))
    }

    /// Whether TLS is spoken.
    pub fn is_https(&self) -> bool {
        self.0.scheme() == "https"
    }

    /// The host, an IPv6 address without its brackets.
    pub fn host(&self) -> &str {
        self.0
            .host_str()
            .unwrap_or_default()
            .trim_start_matches('[')
            .trim_end_matches(']')
    }

    /// The port, written or implied.
    pub fn port(&self) -> u16 {
        self.0.port_or_known_default().unwrap_or(80)
    }

    /// `host:port` as it stands in a `Host` header: without a port that the scheme implies.
    pub fn authority(&self) -> Cow<'_, str> {
        let host = self.0.host_str().unwrap_or_default();
        match self.0.port() {
            Some(port) => Cow::Owned(format!("{host}:{port}")),
            None => Cow::Borrowed(host),
        }
    }

    /// Path and query as they stand in a request line.
    pub fn path_and_query(&self) -> Cow<'_, str> {
        match self.0.query() {
            Some(query) => Cow::Owned(format!("{}?{query}", self.0.path())),
            None => Cow::Borrowed(self.0.path()),
        }
    }

    /// The query, if there is one.
    pub fn query(&self) -> Option<&str> {
        self.0.query()
    }

    /// This address with `path` (like `_bulk`) behind its own path, and without its query.
    pub fn join(&self, path: &str) -> Self {
        let mut url = self.0.clone();
        let base = url.path().trim_end_matches('/').to_owned();
        url.set_path(&format!("{base}/{}", path.trim_start_matches('/')));
        url.set_query(None);
        Self(url)
    }

    /// This address with one more `name=value` in its query.
    pub fn with(&self, name: &str, value: &str) -> Self {
        let mut url = self.0.clone();
        url.query_pairs_mut().append_pair(name, value);
        Self(url)
    }

    /// `scheme://host:port` alone: what may be printed, since paths and queries of web hooks are secrets.
    pub fn origin(&self) -> String {
        format!("{}://{}", self.0.scheme(), self.authority())
    }

    /// Whether it is this very machine.
    pub fn is_loopback(&self) -> bool {
        is_loopback(self.host())
    }
}

/// Whether `host` means this machine.
pub(super) fn is_loopback(host: &str) -> bool {
    match host.parse::<IpAddr>() {
        Ok(ip) => ip.to_canonical().is_loopback(),
        Err(_) => {
            let name = host.trim_end_matches('.').to_ascii_lowercase();
            name == "localhost" || name.ends_with(".localhost")
        }
    }
}

impl TryFrom<String> for Url {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
    }
}

impl std::str::FromStr for Url {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::parse(text)
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.origin())
    }
}

impl JsonSchema for Url {
    fn schema_name() -> Cow<'static, str> {
        "Url".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "format": "uri", "pattern": "^https?://" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_apart_and_extended() {
        let url = Url::parse("https://[::1]:9200/base/?x=1").unwrap();
        assert!(url.is_https() && url.is_loopback());
        assert_eq!(
            (url.host(), url.port(), &*url.authority()),
            ("::1", 9200, "[::1]:9200")
        );
        assert_eq!(url.path_and_query(), "/base/?x=1");
        let bulk = url.join("_bulk").with("pipeline", "a b");
        assert_eq!(bulk.path_and_query(), "/base/_bulk?pipeline=a+b");
        assert_eq!(Url::parse("http://es1:80/").unwrap().authority(), "es1");
    }

    #[test]
    fn a_wrong_address_says_what_to_write() {
        for (text, why) in [
            ("es1:9200", "http://"),
            ("/x", "http://"),
            ("ftp://x", "http://"),
            ("http://", "empty host"),
            ("http://u:p@x", "auth"),
        ] {
            let error = Url::parse(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
            assert!(!error.contains("u:p"));
        }
    }

    #[test]
    fn what_is_printed_holds_no_path() {
        let hook = Url::parse("https://hooks.example/T0/secret").unwrap();
        assert_eq!(format!("{hook:?}"), "https://hooks.example");
        assert_eq!(hook.origin(), "https://hooks.example");
    }
}
