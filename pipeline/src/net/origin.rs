//! `permit_origin`: the networks whose peers are heard.

use std::borrow::Cow;
use std::net::IpAddr;

use ipnet::IpNet;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error as _};

/// Networks (`"192.0.2.0/24"`) and single addresses. A peer of IPv4 that came over an IPv6 socket counts as IPv4.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks(Vec<IpNet>);

impl Networks {
    /// Whether the address lies in one of them.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn parse(text: &str) -> Result<IpNet, String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(address.to_canonical().into());
    }
    text.parse().map_err(|_| {
        format!("{text:?} is no network; write one like \"192.0.2.0/24\", \"2001:db8::/32\" or a single address")
    })
}

impl<'de> Deserialize<'de> for Networks {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let texts = Vec::<String>::deserialize(deserializer)?;
        let networks = texts
            .iter()
            .map(|text| parse(text))
            .collect::<Result<_, _>>();
        networks.map(Networks).map_err(D::Error::custom)
    }
}

impl JsonSchema for Networks {
    fn schema_name() -> Cow<'static, str> {
        "Networks".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "array",
            "items": { "type": "string" },
            "description": "Networks like \"192.0.2.0/24\", and single addresses"
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_lie_in_networks_however_they_are_written() {
        let networks: Networks =
            serde_json::from_str(r#"["192.0.2.0/24", "::1", "2001:db8::/32"]"#).unwrap();
        for inside in ["192.0.2.9", "::ffff:192.0.2.9", "::1", "2001:db8:1::9"] {
            assert!(networks.contains(inside.parse().unwrap()), "{inside}");
        }
        for outside in ["192.0.3.1", "::2", "127.0.0.1"] {
            assert!(!networks.contains(outside.parse().unwrap()), "{outside}");
        }
        let wrong = serde_json::from_str::<Networks>(r#"["192.0.2.0/33"]"#).unwrap_err();
        assert!(wrong.to_string().contains("is no network"), "{wrong}");
    }
}
