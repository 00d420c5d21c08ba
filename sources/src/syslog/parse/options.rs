//! What an operator says about the messages of a source.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use jiff::tz::TimeZone;
use pipeline::{BuildError, BuildErrors};
use schemars::JsonSchema;
use serde::Deserialize;

/// How messages are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Found out for each message.
    #[default]
    Auto,
    /// `<30>Oct 11 22:14:15 pve1 pvedaemon[812]: text`, in all its variations.
    Rfc3164,
    /// `<30>1 2026-11-20T10:00:00Z pve1 pvedaemon 812 - - text`; what is not is an error.
    Rfc5424,
    /// A JSON object, with or without a priority in front; what is not is an error.
    Json,
}

/// What was said, checked.
#[derive(Clone, Debug)]
pub struct ParseOptions {
    pub(super) format: Format,
    /// The first is that of all senders that no network names.
    pub(super) zones: Vec<TimeZone>,
    pub(super) networks: Networks,
}

impl Default for ParseOptions {
    /// Any format, and times without an offset in this machine's zone.
    fn default() -> ParseOptions {
        ParseOptions {
            format: Format::Auto,
            zones: vec![TimeZone::system()],
            networks: Networks::default(),
        }
    }
}

impl ParseOptions {
    /// Checks what stands in the keys `timezone` (a name like `Europe/Berlin`, `UTC`, or `local`) and `timezones` (addresses
    /// or networks, like `192.0.2.0/24`, and the zone of those senders).
    pub fn new(
        format: Format,
        timezone: &str,
        timezones: &BTreeMap<String, String>,
    ) -> Result<ParseOptions, BuildErrors> {
        let mut errors = BuildErrors::new();
        let first = errors.take(zone("timezone", timezone));
        let mut zones: Vec<TimeZone> = first.into_iter().collect();
        let mut networks = Vec::new();
        for (place, (network, name)) in timezones.iter().enumerate() {
            let net = network
                .parse::<IpNet>()
                .or_else(|_| network.parse::<IpAddr>().map(IpNet::from))
                .map_err(|_| {
                    BuildError::key(
                        "timezones",
                        format!("{network:?} is no address and no network"),
                    )
                    .help(r#"write "192.0.2.7" or "192.0.2.0/24""#)
                });
            let net = errors.take(net);
            let zone = errors.take(zone("timezones", name));
            if let (Some(net), Some(zone), Ok(number)) = (net, zone, u16::try_from(place + 1)) {
                networks.push((net.trunc(), number));
                zones.push(zone);
            }
        }
        // The narrowest network that holds an address says its zone.
        networks.sort_by_key(|(net, _)| std::cmp::Reverse(net.prefix_len()));
        errors.finish(ParseOptions {
            format,
            zones,
            networks: Networks(networks.into()),
        })
    }
}

fn zone(key: &str, name: &str) -> Result<TimeZone, BuildError> {
    match name {
        "local" => Ok(TimeZone::system()),
        "UTC" | "Z" => Ok(TimeZone::UTC),
        name => TimeZone::get(name).map_err(|_| {
            BuildError::key(key, format!("there is no time zone {name:?}"))
                .help(r#"write a name like "Europe/Berlin", "UTC", or "local" for this machine's"#)
        }),
    }
}

/// Networks with the number of their zone, the narrowest first.
#[derive(Clone, Debug, Default)]
pub(super) struct Networks(std::sync::Arc<[(IpNet, u16)]>);

impl Networks {
    pub(super) fn zone(&self, ip: IpAddr) -> u16 {
        // A socket for both families calls an IPv4 sender `::ffff:192.0.2.7`.
        let ip = ip.to_canonical();
        let found = self.0.iter().find(|(net, _)| net.contains(&ip));
        found.map_or(0, |(_, zone)| *zone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(timezone: &str, zones: &[(&str, &str)]) -> Result<ParseOptions, Vec<String>> {
        let zones = zones
            .iter()
            .map(|(net, zone)| ((*net).to_owned(), (*zone).to_owned()))
            .collect();
        ParseOptions::new(Format::Auto, timezone, &zones)
            .map_err(|errors| errors.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn the_narrowest_network_says_the_zone() {
        let options = options(
            "UTC",
            &[
                ("10.0.0.0/8", "Europe/Berlin"),
                ("10.1.0.0/16", "Asia/Tokyo"),
                ("10.1.2.3", "UTC"),
                ("2001:db8::/32", "America/New_York"),
            ],
        )
        .unwrap();
        let zone = |ip: &str| {
            let zone = options.networks.zone(ip.parse().unwrap());
            options.zones[usize::from(zone)].iana_name().unwrap()
        };
        assert_eq!(zone("10.9.9.9"), "Europe/Berlin");
        assert_eq!(zone("10.1.9.9"), "Asia/Tokyo");
        assert_eq!(zone("::ffff:10.1.9.9"), "Asia/Tokyo");
        assert_eq!(zone("10.1.2.3"), "UTC");
        assert_eq!(zone("2001:db8::1"), "America/New_York");
        assert_eq!(zone("192.0.2.1"), "UTC");
    }

    #[test]
    fn every_mistake_is_told() {
        let told = options("Mars", &[("10.0.0.0/33", "UTC"), ("10.0.0.0/8", "Moon")]).unwrap_err();
        assert_eq!(told.len(), 3, "{told:#?}");
        assert!(told[0].starts_with("timezone"), "{told:#?}");
    }
}
