//! The options of the `syslog` sink.

use std::collections::BTreeMap;
use std::io::Write as _;

use pipeline::net::Dialer;
use pipeline::{
    BatchDefaults, BuildError, BuildErrors, Bytes, Codec, Context, Duration, Encoding, Field, Sink,
    SinkConfig, Tls, Workers,
};
use schemars::JsonSchema;
use serde::Deserialize;

use super::message::{Element, Messages};
use super::recent::Recent;
use super::{Line, Syslog, Transport};

/// Sends events as RFC 5424 messages over TCP, TLS or UDP, with CEF, JSON or text inside.
///
/// Best effort: syslog has no answers. Over TCP and TLS an event counts as delivered when the other machine's kernel has
/// it. A program that dies takes with it what it had not read from its kernel, and nobody learns how much that was; so when
/// a connection breaks, what was sent in its last seconds (`resend`) goes once more over the next one, under the same
/// `event.id`, by which the receiver tells doubles. If the connection ends in order it was read to its end, and only what
/// was sent in the 2 s before goes again.
///
/// Measured with rsyslog killed four times while it took 60 000 messages as fast as it could: none lost, some 11 000 twice;
/// with `resend = "0B"` some 500 lost, next to none twice.
///
/// Still lost is what nobody can know of: what a receiver had read before that and not written when it died (a queue in its
/// memory), and what a relay or load balancer in between had taken. If this program is killed, what was not answered
/// comes again from the source's position. Over UDP a datagram may vanish at any place without a word; only a port nobody
/// listens on is noticed, where the network says so. Where every event must be proven to have arrived, use `nats` with
/// JetStream, `elasticsearch` or `webhook`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where the receiver listens: `host:port`.
    address: String,
    /// How to get there; with `tls` it is TCP.
    #[serde(default)]
    mode: Mode,
    /// Speak TLS (RFC 5425); `{}` believes the authorities of this machine.
    tls: Option<Tls>,
    /// How messages are told apart on TCP and TLS.
    #[serde(default)]
    framing: Framing,
    /// What the message holds behind its header: `cef` where nothing is said, or `json`, `text`, `logfmt`.
    encoding: Option<Encoding>,
    /// The facility by its number; 13 is "log audit".
    #[serde(default = "facility")]
    facility: u8,
    /// APP-NAME of the header, at most 48 characters.
    #[serde(default = "app_name")]
    app_name: String,
    /// Longest message the receiver takes; 8 KiB on TCP and TLS, 2 KiB on UDP where nothing is said. A longer one loses
    /// what can be spared.
    max_length: Option<Bytes>,
    /// TCP and TLS: so much of what was sent in the last 10 s goes once more when a connection breaks, because nobody knows
    /// whether it was read. `"0B"`: nothing goes twice, and what was not read is lost.
    #[serde(default = "resend")]
    resend: Bytes,
    /// Structured data: elements by their SD-ID, each with its parameters and the fields they are taken from. The number
    /// behind `@` is that of an enterprise; 32473 is the one for examples.
    #[serde(default = "structured_data")]
    structured_data: BTreeMap<String, BTreeMap<String, String>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Mode {
    /// One connection, in order.
    #[default]
    Tcp,
    /// One datagram for each event; nobody knows whether it arrives.
    Udp,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Framing {
    /// The length in front of each message (RFC 6587, 3.4.1; RFC 5425).
    #[default]
    OctetCounting,
    /// A line feed behind each message, for receivers that know nothing else.
    NewlineDelimited,
}

impl Framing {
    pub(super) fn frame(self, message: &[u8], out: &mut Vec<u8>) {
        match self {
            Framing::OctetCounting => {
                // Writing into a vector cannot fail.
                let _ = write!(out, "{} ", message.len());
                out.extend_from_slice(message);
            }
            Framing::NewlineDelimited => {
                out.extend_from_slice(message);
                out.push(b'\n');
            }
        }
    }
}

fn facility() -> u8 {
    13
}

fn app_name() -> String {
    "pvetrail".to_owned()
}

fn resend() -> Bytes {
    Bytes::mib(8)
}

fn structured_data() -> BTreeMap<String, BTreeMap<String, String>> {
    let parameters = [
        ("id", "event.id"),
        ("code", "event.code"),
        ("action", "event.action"),
        ("outcome", "event.outcome"),
        ("user", "user.id"),
        ("src", "source.ip"),
        ("basis", "pve.source.attribution"),
        ("object", "pve.object.id"),
        ("truncated", "pve.truncated"),
    ];
    let parameters = parameters.map(|(name, field)| (name.to_owned(), field.to_owned()));
    BTreeMap::from([("pvetrail@32473".to_owned(), BTreeMap::from(parameters))])
}

/// Most bytes of a UDP datagram over IPv4.
const DATAGRAM: usize = 65_507;
/// Below this no message of ours has room for its required parts (RFC 5424, 6.1, asks every receiver for 480).
const SHORTEST: usize = 480;

impl SinkConfig for Config {
    const TYPE: &'static str = "syslog";
    const WORKERS: Workers = Workers::One;
    const NETWORK: bool = true;
    const BATCH: BatchDefaults = BatchDefaults {
        max_events: 1000,
        max_size: Bytes::mib(1),
        timeout: Duration::from_secs(1),
    };
    const EXAMPLE: &'static str = r#"address = "siem.example:6514"
tls = { ca_file = "/etc/pvetrail/siem-ca.pem" }
encoding = { codec = "cef" }"#;

    fn build(&self, cx: &Context) -> Result<Box<dyn Sink>, BuildErrors> {
        let mut errors = BuildErrors::new();
        let place = errors.take(host_and_port(&self.address));
        let encoding = self.encoding.clone().unwrap_or(Encoding {
            codec: Codec::Cef,
            ..Encoding::default()
        });
        errors.take(self.fits_together(&encoding));
        let elements = errors.take(elements(&self.structured_data));
        let longest = self.longest();
        if longest < SHORTEST {
            let why = format!(
                "every receiver of RFC 5424 takes {SHORTEST} bytes, so max_length is at least that"
            );
            errors.push(BuildError::key("max_length", why));
        }
        if self.mode == Mode::Udp && longest > DATAGRAM {
            let why = format!("a datagram has at most {DATAGRAM} bytes");
            errors.push(BuildError::key("max_length", why).help("write max_length = \"2KiB\""));
        }
        self.warn(cx);
        let patience: std::time::Duration = cx.request().timeout.into();
        let transport = place.and_then(|(host, port)| match self.mode {
            Mode::Udp => Some(Transport::Udp {
                host,
                port,
                socket: None,
            }),
            Mode::Tcp => Some(Transport::Stream {
                dialer: Box::new(errors.take(Dialer::new(
                    &host,
                    port,
                    self.tls.as_ref(),
                    patience,
                ))?),
                framing: self.framing,
                line: Line {
                    id: cx.id().to_owned(),
                    wire: None,
                    recent: Recent::new(self.resend.as_usize()),
                },
                patience,
            }),
        });
        match (transport, elements) {
            (Some(transport), Some(elements)) => errors.finish(Box::new(Syslog {
                messages: Messages::new(
                    self.facility,
                    &self.app_name,
                    elements,
                    &encoding,
                    longest,
                ),
                longest,
                transport,
                buffer: Vec::new(),
                scratch: Vec::new(),
            }) as Box<dyn Sink>),
            _ => Err(errors),
        }
    }
}

impl Config {
    fn warn(&self, cx: &Context) {
        let what = match self.mode {
            Mode::Udp => "a datagram that gets lost is not noticed",
            Mode::Tcp => "what the receiver had taken and not yet written when it died may be lost",
        };
        cx.warn(
            BuildError::key("address", format!("best effort: syslog has no answers, so {what}"))
                .help("where every event must be proven to have arrived, add a sink of the type `nats` (JetStream), `elasticsearch` or `webhook`"),
        );
    }

    fn longest(&self) -> usize {
        let usual = if self.mode == Mode::Udp { 2048 } else { 8192 };
        self.max_length.map_or(usual, Bytes::as_usize)
    }

    fn fits_together(&self, encoding: &Encoding) -> Result<(), BuildErrors> {
        let mut errors = BuildErrors::new();
        if encoding.codec == Codec::Pretty {
            errors.push(
                BuildError::key("encoding.codec", "`pretty` is for people at a terminal")
                    .help("write \"cef\", \"json\", \"text\" or \"logfmt\""),
            );
        }
        if self.mode == Mode::Udp && self.tls.is_some() {
            errors.push(
                BuildError::key("tls", "there is no TLS over datagrams here")
                    .help("write mode = \"tcp\", or remove tls"),
            );
        }
        if self.mode == Mode::Udp && self.framing != Framing::default() {
            errors.push(
                BuildError::key("framing", "a datagram is a message and needs no framing")
                    .help("remove it"),
            );
        }
        if self.facility > 23 {
            errors.push(BuildError::key(
                "facility",
                "a facility is a number from 0 to 23",
            ));
        }
        let is_name = |name: &str| name.bytes().all(|c| c.is_ascii_graphic());
        if self.app_name.is_empty() || self.app_name.len() > 48 || !is_name(&self.app_name) {
            errors.push(BuildError::key(
                "app_name",
                "has 1 to 48 printable ASCII characters and no blank",
            ));
        }
        errors.finish(())
    }
}

fn host_and_port(address: &str) -> Result<(String, u16), BuildError> {
    let wrong = || {
        BuildError::key("address", format!("`{address}` is no host and port"))
            .help("write it like \"siem.example:6514\" or \"[2001:db8::1]:6514\"")
    };
    let (host, port) = address.rsplit_once(':').ok_or_else(wrong)?;
    let port = port.parse().map_err(|_| wrong())?;
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let host = bare.unwrap_or(host);
    let odd = host.contains(|c: char| c.is_whitespace() || "/@[]".contains(c));
    if host.is_empty() || port == 0 || odd || (bare.is_none() && host.contains(':')) {
        return Err(wrong());
    }
    Ok((host.to_owned(), port))
}

/// The elements, held to the names of RFC 5424, 6.3.2 and 6.3.3.
fn elements(
    written: &BTreeMap<String, BTreeMap<String, String>>,
) -> Result<Vec<Element>, BuildErrors> {
    let mut errors = BuildErrors::new();
    let is_name = |name: &str| {
        (1..=32).contains(&name.len())
            && name
                .bytes()
                .all(|c| c.is_ascii_graphic() && !b"=]\"".contains(&c))
    };
    let mut elements = Vec::new();
    for (id, parameters) in written {
        let key = format!("structured_data.{id}");
        let private = id.split_once('@').is_some_and(|(_, number)| {
            !number.is_empty() && number.bytes().all(|c| c.is_ascii_digit())
        });
        if !is_name(id) || !private {
            errors.push(
                BuildError::key(key.as_str(), "is no name with the number of an enterprise")
                    .help("write it like \"audit@32473\", at most 32 characters"),
            );
        }
        for name in parameters.keys().filter(|name| !is_name(name)) {
            errors.push(BuildError::key(
                format!("{key}.{name}"),
                "a parameter has 1 to 32 printable ASCII characters without `=`, `]`, `\"`",
            ));
        }
        let parameters = parameters
            .iter()
            .map(|(name, field)| (name.clone(), Field::new(field)))
            .collect();
        elements.push((id.clone(), parameters));
    }
    errors.finish(elements)
}
