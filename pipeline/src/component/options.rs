//! Options that several components share, so that they are spelled, documented and refused in the same words everywhere.
//! (`tls` and `auth` belong to `net`.)

use schemars::JsonSchema;
use serde::Deserialize;

/// How an event becomes text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Encoding {
    /// The form of one event.
    pub codec: Codec,
    /// Only these fields, by their dotted path; a parent names its children.
    pub only_fields: Option<Vec<String>>,
    /// All but these fields.
    pub except_fields: Option<Vec<String>>,
}

/// The form of one event. A sink refuses in `build` what it cannot write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Codec {
    /// One JSON object.
    #[default]
    Json,
    /// The text of `message` alone.
    Text,
    /// `key=value key="other value"`
    Logfmt,
    /// The Common Event Format of SIEMs.
    Cef,
    /// For people at a terminal.
    Pretty,
}

/// Compression of what is sent or written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    /// None: cheapest for both ends on a fast network.
    #[default]
    None,
    /// gzip, level 1.
    Gzip,
    /// Zstandard, level 1.
    Zstd,
}
