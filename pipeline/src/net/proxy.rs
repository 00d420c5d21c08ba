//! Proxies as the environment names them: `http_proxy`, `https_proxy`, `all_proxy`, `no_proxy`, small or capital.
//!
//! This machine itself is never reached through a proxy, whatever the environment says.

use std::fmt;
use std::net::IpAddr;

use zeroize::Zeroizing;

use super::auth::base64;
use super::url::{Url, is_loopback};

/// A proxy that speaks plain HTTP.
#[derive(Clone)]
pub(super) struct Proxy {
    pub(super) host: String,
    pub(super) port: u16,
    /// A whole header line, `Proxy-Authorization: Basic …\r\n`, or nothing.
    pub(super) authorization: Zeroizing<String>,
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// Which proxy serves which address.
#[derive(Clone, Debug, Default)]
pub(super) struct Proxies {
    http: Option<Proxy>,
    https: Option<Proxy>,
    exceptions: Vec<Exception>,
}

#[derive(Clone, Debug)]
enum Exception {
    All,
    /// The name itself and what is below it.
    Domain(String),
    Network(IpAddr, u8),
}

impl Proxies {
    /// From the environment; a variable that cannot be used is told, and then counts as unset.
    pub(super) fn from_environment(variable: impl Fn(&str) -> Option<String>) -> Self {
        let any = |name: &str| {
            variable(name)
                .or_else(|| variable(&name.to_ascii_uppercase()))
                .filter(|v| !v.trim().is_empty())
        };
        let proxy = |name: &str| {
            let text = Zeroizing::new(any(name).or_else(|| any("all_proxy"))?);
            match Proxy::parse(&text) {
                Ok(proxy) => Some(proxy),
                Err(why) => {
                    // The value may hold a password, so it is not printed.
                    tracing::warn!("the environment's {name} is not used: {why}");
                    None
                }
            }
        };
        let exceptions = any("no_proxy").map(|list| {
            list.split([',', ' '])
                .filter_map(Exception::parse)
                .collect()
        });
        Self {
            http: proxy("http_proxy"),
            https: proxy("https_proxy"),
            exceptions: exceptions.unwrap_or_default(),
        }
    }

    pub(super) fn of(&self, url: &Url) -> Option<&Proxy> {
        let proxy = if url.is_https() {
            &self.https
        } else {
            &self.http
        };
        let proxy = proxy.as_ref()?;
        let host = url.host();
        if is_loopback(host) || self.exceptions.iter().any(|e| e.covers(host)) {
            return None;
        }
        Some(proxy)
    }
}

impl Proxy {
    fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let with_scheme = Zeroizing::new(if text.contains("://") {
            text.to_owned()
        } else {
            format!("http://{text}")
        });
        let url = ::url::Url::parse(&with_scheme).map_err(|e| e.to_string())?;
        if url.scheme() != "http" {
            return Err(format!(
                "only http:// proxies are spoken to, not {}://",
                url.scheme()
            ));
        }
        let host = url
            .host_str()
            .filter(|h| !h.is_empty())
            .ok_or("it names no host")?;
        let authorization = if url.username().is_empty() {
            Zeroizing::new(String::new())
        } else {
            let mut pair = Zeroizing::new(percent_decoded(url.username()));
            pair.push(b':');
            pair.extend_from_slice(&Zeroizing::new(percent_decoded(
                url.password().unwrap_or_default(),
            )));
            Zeroizing::new(format!(
                "Proxy-Authorization: Basic {}\r\n",
                &*base64(&pair)
            ))
        };
        let host = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        Ok(Self {
            host,
            port: url.port().unwrap_or(80),
            authorization,
        })
    }
}

fn percent_decoded(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let pair = bytes
            .get(at + 1..at + 3)
            .and_then(|p| u8::from_str_radix(std::str::from_utf8(p).ok()?, 16).ok());
        match (byte, pair) {
            (b'%', Some(value)) => {
                out.push(value);
                at += 3;
            }
            _ => {
                out.push(byte);
                at += 1;
            }
        }
    }
    out
}

impl Exception {
    fn parse(entry: &str) -> Option<Self> {
        let entry = entry.trim();
        if entry.is_empty() {
            return None;
        }
        if entry == "*" {
            return Some(Self::All);
        }
        let (address, bits) = entry
            .split_once('/')
            .map_or((entry, None), |(a, b)| (a, b.parse::<u8>().ok()));
        if let Ok(ip) = address
            .trim_start_matches('[')
            .trim_end_matches(']')
            .parse::<IpAddr>()
        {
            return Some(Self::Network(ip, bits.unwrap_or(128)));
        }
        // A port behind a name narrows nothing here: an exception for one port is an exception for the host.
        let name = entry.split(':').next().unwrap_or(entry);
        let name = name
            .trim_start_matches('*')
            .trim_start_matches('.')
            .to_ascii_lowercase();
        (!name.is_empty()).then_some(Self::Domain(name))
    }

    fn covers(&self, host: &str) -> bool {
        match self {
            Self::All => true,
            Self::Domain(name) => {
                let host = host.trim_end_matches('.').to_ascii_lowercase();
                host.strip_suffix(name.as_str())
                    .is_some_and(|before| before.is_empty() || before.ends_with('.'))
            }
            Self::Network(network, bits) => match (network, host.parse::<IpAddr>()) {
                (IpAddr::V4(network), Ok(IpAddr::V4(ip))) => {
                    let unused = 32 - u32::from(*bits).min(32);
                    u64::from(network.to_bits()) >> unused == u64::from(ip.to_bits()) >> unused
                }
                (IpAddr::V6(network), Ok(IpAddr::V6(ip))) => {
                    let unused = 128 - u32::from(*bits).min(128);
                    unused == 128 || network.to_bits() >> unused == ip.to_bits() >> unused
                }
                _ => false,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(pairs: &[(&str, &str)]) -> Proxies {
        Proxies::from_environment(|name| {
            pairs
                .iter()
                .find(|(k, _)| *k == name)
                .map(|(_, v)| (*v).to_owned())
        })
    }

    fn via(proxies: &Proxies, url: &str) -> Option<String> {
        proxies
            .of(&Url::parse(url).unwrap())
            .map(|p| format!("{p:?}"))
    }

    #[test]
    fn this_machine_is_never_reached_through_a_proxy() {
        let p = proxies(&[("ALL_PROXY", "http://proxy:3128")]);
        for url in [
            "http://127.0.0.1:9200",
            "https://localhost:9200",
            "http://[::1]",
            "http://a.localhost",
            "http://[::ffff:127.0.0.1]",
        ] {
            assert_eq!(via(&p, url), None, "{url}");
        }
        assert_eq!(via(&p, "https://es1:9200").as_deref(), Some("proxy:3128"));
    }

    #[test]
    fn each_scheme_has_its_proxy_and_no_proxy_its_exceptions() {
        let p = proxies(&[
            ("https_proxy", "10.0.0.1:8080"),
            ("HTTP_PROXY", "http://plain"),
            (
                "no_proxy",
                "soc.example, .corp, 192.0.2.0/24,2001:db8::/32,10.1.1.1",
            ),
        ]);
        assert_eq!(
            via(&p, "https://example.com").as_deref(),
            Some("10.0.0.1:8080")
        );
        assert_eq!(via(&p, "http://example.com").as_deref(), Some("plain:80"));
        for url in [
            "https://soc.example",
            "https://a.soc.example",
            "https://x.corp",
            "https://192.0.2.9",
            "https://[2001:db8::1]",
            "https://10.1.1.1",
        ] {
            assert_eq!(via(&p, url), None, "{url}");
        }
        for url in [
            "https://notsoc.example",
            "https://192.0.3.1",
            "https://[2001:db9::1]",
            "https://10.1.1.2",
        ] {
            assert!(via(&p, url).is_some(), "{url}");
        }
        assert_eq!(
            via(
                &proxies(&[("http_proxy", "p"), ("NO_PROXY", "*")]),
                "http://x"
            ),
            None
        );
    }

    #[test]
    fn a_password_in_the_environment_is_used_and_not_printed() {
        let p = proxies(&[("http_proxy", "http://user:p%40ss@proxy:1")]);
        let proxy = p.of(&Url::parse("http://x").unwrap()).unwrap();
        assert_eq!(
            &**proxy.authorization,
            "Proxy-Authorization: Basic dXNlcjpwQHNz\r\n"
        );
        assert!(!format!("{p:?}").contains("p%40ss"));
        assert!(proxies(&[("http_proxy", "socks5://x")]).http.is_none());
    }
}
