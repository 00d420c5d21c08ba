//! `syslog` takes messages from other hosts and programs: over UDP, TCP, TLS, and through Unix sockets.
//!
//! - in: RFC 5424, RFC 3164 as it is really written, JSON as rsyslog writes it, CEE; frames counted, or ended by LF or NUL
//! - out: `message`, `@timestamp`, `host.name`, `process.*`, `log.syslog.*`, `log.source.address`, and of a client with a
//!   certificate `tls.client.*`; what cannot be read is an event all the same, tagged `parse_error`
//! - best effort: the protocol has no answers, so what lies in a sender's or a kernel's buffer when either side dies is
//!   lost, and over UDP what the kernel has no room for. Where that matters, read the journal or the files on the node
//!   itself, or let the sender publish into JetStream

mod connection;
mod content;
mod datagram;
mod desk;
mod drops;
mod frame;
pub mod parse;
mod stream;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use async_trait::async_trait;
use pipeline::net::{ListenAt, ListenOptions, ListenTls, Networks};
use pipeline::units::{Bytes, Duration};
use pipeline::{
    BuildError, BuildErrors, Context, Source, SourceConfig, SourceError, SourceOut, Stopped,
};
use schemars::JsonSchema;
use serde::Deserialize;

use self::desk::Desk;
use self::parse::{Format, ParseOptions};

/// Longest message that can be asked for.
const LONGEST: Bytes = Bytes::mib(16);

/// Takes syslog messages: UDP, TCP, TLS and Unix sockets, RFC 5424 and 3164.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// How messages arrive. `tls` makes `tcp` into TLS.
    mode: Mode,
    /// Where to listen, for `tcp` and `udp`: usually port 514, and 6514 with TLS.
    address: Option<SocketAddr>,
    /// The socket's file, for `unix` and `unix_datagram`.
    path: Option<PathBuf>,
    /// Mode of that file; whoever may write to it may send.
    #[serde(default = "socket_file_mode")]
    socket_file_mode: u32,
    /// Of a longer message the head is kept, with the length and the hash of the whole.
    #[serde(default = "max_length")]
    max_length: Bytes,
    /// Receive buffer asked of the kernel; `udp` asks for 8 MiB unless told otherwise, because what does not fit there is
    /// lost.
    receive_buffer: Option<Bytes>,
    /// The networks whose peers are heard; everybody where it is left out.
    permit_origin: Option<Networks>,
    /// Certificate and key; with `ca_file` every client must show a certificate, with `allowed_names` one of these names.
    tls: Option<ListenTls>,
    /// Most connections at once; the next ones wait.
    #[serde(default = "connection_limit")]
    connection_limit: usize,
    /// Most connections from one address (one /64 of IPv6); more are refused.
    #[serde(default = "connection_limit_per_peer")]
    connection_limit_per_peer: usize,
    /// Longest time a client may take for the TLS handshake.
    #[serde(default = "handshake_timeout")]
    handshake_timeout: Duration,
    /// A connection that is silent for so long is closed. By default it may be silent forever: most senders notice only
    /// with their next message, and lose it.
    idle_timeout: Option<Duration>,
    /// A message whose end does not come is taken as it is after so long.
    #[serde(default = "frame_timeout")]
    frame_timeout: Duration,
    /// How messages are written; by default found out for each.
    #[serde(default)]
    format: Format,
    /// Zone of times that are written without one: a name like `Europe/Berlin`, `UTC`, or `local`.
    #[serde(default = "timezone")]
    timezone: String,
    /// Other zones for some senders: networks or addresses, and their zone.
    #[serde(default)]
    timezones: BTreeMap<String, String>,
    /// What the id of an event is made of.
    #[serde(default)]
    id: Ids,
    /// `host.name` where a message comes through a Unix socket and names none.
    host: Option<String>,
}

/// How messages arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Mode {
    /// Datagrams over the network: nobody learns what was lost.
    Udp,
    /// Connections over the network.
    Tcp,
    /// Connections through a socket of this machine.
    #[serde(alias = "unix_stream")]
    Unix,
    /// Datagrams through a socket of this machine, like `/dev/log`.
    UnixDatagram,
}

/// What the id of an event is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Ids {
    /// The receiver's run and a counter: every message that arrives is an event of its own.
    #[default]
    Counter,
    /// Host, time, program, process, text, and how many the same there were before: for two receivers that get the same
    /// messages, whose events then have the same ids. A message that says no time has an id of its receiver's alone.
    Content,
}

fn socket_file_mode() -> u32 {
    0o600
}

fn max_length() -> Bytes {
    Bytes::kib(100)
}

fn connection_limit() -> usize {
    1024
}

fn connection_limit_per_peer() -> usize {
    128
}

fn handshake_timeout() -> Duration {
    Duration::from_secs(10)
}

fn frame_timeout() -> Duration {
    Duration::from_secs(30)
}

fn timezone() -> String {
    "local".to_owned()
}

impl SourceConfig for Config {
    const TYPE: &'static str = "syslog";
    const EXAMPLE: &'static str = "mode = \"tcp\"\naddress = \"0.0.0.0:514\"";

    fn build(&self, cx: &Context) -> Result<Box<dyn Source>, BuildErrors> {
        let mut errors = BuildErrors::new();
        let at = errors.take(self.at());
        if !(480..=LONGEST.get()).contains(&self.max_length.get()) {
            let why = format!("{} is no length for a message", self.max_length);
            errors.push(BuildError::key("max_length", why).help(format!(
                "write something between \"480B\", which everyone must take, and \"{LONGEST}\"; \"100KiB\" is the default"
            )));
        }
        let parse = errors.take(ParseOptions::new(
            self.format,
            &self.timezone,
            &self.timezones,
        ));
        let receive_buffer = match self.mode {
            Mode::Udp => Some(self.receive_buffer.unwrap_or(Bytes::mib(8))),
            _ => self.receive_buffer,
        };
        let listen = ListenOptions {
            tls: self.tls.clone(),
            permit_origin: self.permit_origin.clone(),
            connection_limit: self.connection_limit,
            connection_limit_per_peer: self.connection_limit_per_peer,
            handshake_timeout: self.handshake_timeout.get(),
            receive_buffer: receive_buffer.map(Bytes::as_usize),
            ..ListenOptions::new(at.clone().unwrap_or(ListenAt::Unix(PathBuf::new(), 0)))
        };
        let mistakes = listen.mistakes().into_iter();
        errors.extend(mistakes.map(|e| BuildError::key(e.key, e.message)));
        let Some(parse) = parse else {
            return Err(errors);
        };
        errors.finish(Box::new(Syslog {
            mode: self.mode,
            listen,
            parse,
            settings: Settings {
                max_length: self.max_length.as_usize(),
                idle_timeout: self.idle_timeout.map(Duration::get),
                frame_timeout: self.frame_timeout.get(),
                ids: self.id,
            },
            id: cx.id().to_owned(),
            host: self.host.clone().unwrap_or_else(|| cx.host().to_owned()),
        }) as Box<dyn Source>)
    }

    fn caution(&self) -> Option<(String, String)> {
        let why = match self.mode {
            Mode::Udp => {
                "syslog over UDP is best effort: what the network or the kernel drops, nobody sends again"
            }
            _ => {
                "syslog is best effort: it has no answers, so what is under way when either side dies is lost"
            }
        };
        let help = "for evidence read the journal or the files on the node itself, or let the node publish into JetStream";
        Some((why.to_owned(), help.to_owned()))
    }
}

impl Config {
    /// Where to listen, if what is said fits together.
    fn at(&self) -> Result<ListenAt, BuildErrors> {
        let mut errors = BuildErrors::new();
        let mut not = |key: &str, given: bool, why: &str, help: &str| {
            if given {
                errors.push(BuildError::key(key, why).help(help));
            }
        };
        let network = matches!(self.mode, Mode::Udp | Mode::Tcp);
        not(
            "path",
            network && self.path.is_some(),
            "a network has no path",
            r#"leave it out, or write mode = "unix" or "unix_datagram""#,
        );
        not(
            "address",
            !network && self.address.is_some(),
            "a Unix socket has no address",
            r#"leave it out, or write mode = "tcp" or "udp""#,
        );
        not(
            "permit_origin",
            !network && self.permit_origin.is_some(),
            "who writes to a Unix socket has no address",
            "leave it out; socket_file_mode says who may write",
        );
        not(
            "tls",
            self.mode != Mode::Tcp && self.tls.is_some(),
            "TLS is spoken over TCP only",
            r#"write mode = "tcp", or leave it out"#,
        );
        let at = match (network, self.address, &self.path) {
            (true, Some(address), _) => Some(ListenAt::Tcp(address)),
            (false, _, Some(path)) => Some(ListenAt::Unix(path.clone(), self.socket_file_mode)),
            (true, None, _) => {
                let why = "this mode needs an address to listen on";
                errors.push(BuildError::new(why).help(r#"write address = "0.0.0.0:514""#));
                None
            }
            (false, _, None) => {
                let why = "this mode needs the path of its socket";
                errors
                    .push(BuildError::new(why).help(r#"write path = "/run/pvetrail/syslog.sock""#));
                None
            }
        };
        match at {
            Some(at) => errors.finish(at),
            None => Err(errors),
        }
    }
}

/// What the parts of a running source have to know.
#[derive(Clone, Debug)]
struct Settings {
    /// Longest message that is kept whole [bytes].
    max_length: usize,
    idle_timeout: Option<std::time::Duration>,
    frame_timeout: std::time::Duration,
    ids: Ids,
}

/// The running source.
struct Syslog {
    mode: Mode,
    listen: ListenOptions,
    parse: ParseOptions,
    settings: Settings,
    id: String,
    host: String,
}

#[async_trait]
impl Source for Syslog {
    async fn run(&mut self, out: SourceOut) -> Result<(), SourceError> {
        let desk = Desk::new(out, &self.id, &self.host, &self.parse, &self.settings);
        let ended = match self.mode {
            Mode::Tcp | Mode::Unix => stream::run(&self.listen, &self.settings, desk).await?,
            Mode::Udp | Mode::UnixDatagram => {
                datagram::run(&self.listen, &self.settings, desk).await?
            }
        };
        // To be told to stop is how every run ends.
        let Err(Stopped) = ended;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pipeline::Kind;

    /// What `build` says to a configuration, one line per mistake.
    fn mistakes(toml: &str) -> Vec<String> {
        let config: Config = toml::from_str(toml).unwrap();
        match config.build(&Context::for_tests(Kind::Source, "syslog")) {
            Ok(_) => Vec::new(),
            Err(errors) => errors.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn every_mistake_is_told_with_its_remedy() {
        assert!(mistakes(Config::EXAMPLE).is_empty());
        assert!(mistakes("mode = 'unix_stream'\npath = '/run/x.sock'").is_empty());
        let told = mistakes(
            "mode = 'udp'\npath = '/x'\nmax_length = '1B'\ntimezone = 'Mars'\nconnection_limit = 0\npermit_origin = []\n\
             tls = { crt_file = '/no.pem', key_file = '/no.key' }",
        );
        for key in [
            "path: ",
            "tls: TLS is spoken",
            "this mode needs an address",
            "max_length: ",
            "timezone",
            "tls.crt_file: ",
            "connection_limit: ",
            "permit_origin: ",
        ] {
            assert!(
                told.iter().any(|told| told.starts_with(key)),
                "{key}: {told:#?}"
            );
        }
        let told =
            mistakes("mode = 'unix_datagram'\naddress = '127.0.0.1:514'\npermit_origin = ['::1']");
        assert_eq!(told.len(), 3, "{told:#?}");
    }

    #[test]
    fn whoever_relies_on_it_is_cautioned() {
        let config: Config = toml::from_str("mode = 'udp'\naddress = '[::]:514'").unwrap();
        assert!(config.caution().unwrap().0.contains("best effort"));
    }
}
