//! Listening, for whatever takes connections: TCP or a Unix socket, TLS with or without clients' certificates, limits.
//!
//! - a connection is turned away, counted and told of when its peer is not in `permit_origin`, has too many connections,
//!   does not finish its handshake in time, or shows a certificate that is not let in
//! - when the most connections are open in all, the next ones wait in the kernel's queue and lose nothing
//! - handshakes run beside one another, so a slow one holds up nobody

mod gate;
mod socket;
mod stream;
#[cfg(test)]
mod tests;
mod tls;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Interval, MissedTickBehavior};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use self::gate::{Gate, Place};
use self::socket::{Incoming, Socket};
pub use self::socket::{SocketFile, bind_unix};
use self::stream::Io;
pub use self::stream::Stream;
pub use self::tls::ListenTls;
use self::tls::ServerTls;
use super::origin::Networks;
use super::subject::{AllowedNames, names_of};
use super::{OptionError, subject};
use crate::printable;
use crate::telemetry::ComponentMetrics;

/// TLS files are looked at this often even if nobody connects.
const LOOK: Duration = Duration::from_secs(5);
/// A system that has no file left for a connection gets this long to find one.
const BREATH: Duration = Duration::from_millis(200);

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAt {
    /// A TCP address.
    Tcp(SocketAddr),
    /// A Unix stream socket, and the mode of its file (`0o600`).
    Unix(PathBuf, u32),
}

/// Where to listen, to whom, and how much of it.
#[derive(Clone, Debug)]
pub struct ListenOptions {
    /// Where.
    pub at: ListenAt,
    /// The component's own `tls`.
    pub tls: Option<ListenTls>,
    /// What is spoken inside TLS, like `http/1.1`.
    pub alpn: &'static [&'static str],
    /// The networks whose peers are heard; `None`: all.
    pub permit_origin: Option<Networks>,
    /// Most connections open at once [connections].
    pub connection_limit: usize,
    /// Most of them from one address, or one /64 of IPv6 [connections].
    pub connection_limit_per_peer: usize,
    /// Longest time from the connection to the end of the TLS handshake.
    pub handshake_timeout: Duration,
    /// Connections on which nothing comes or goes for so long are ended.
    pub idle_timeout: Option<Duration>,
    /// Receive buffer asked of the kernel for each connection [bytes].
    pub receive_buffer: Option<usize>,
}

impl ListenOptions {
    /// Everybody may connect, 1024 times in all and 128 times each, and be silent for as long as they like.
    pub fn new(at: ListenAt) -> Self {
        Self {
            at,
            tls: None,
            alpn: &[],
            permit_origin: None,
            connection_limit: 1024,
            connection_limit_per_peer: 128,
            handshake_timeout: Duration::from_secs(10),
            idle_timeout: None,
            receive_buffer: None,
        }
    }

    /// Everything that is wrong with them, for `build`. Reads the TLS files.
    pub fn mistakes(&self) -> Vec<OptionError> {
        let mut mistakes = self.tls.as_ref().map_or_else(Vec::new, ListenTls::mistakes);
        for (key, number) in [
            ("connection_limit", self.connection_limit),
            ("connection_limit_per_peer", self.connection_limit_per_peer),
        ] {
            if number == 0 {
                mistakes.push(OptionError::new(
                    key,
                    "nobody could connect; write 1 or more",
                ));
            }
        }
        if self.permit_origin.as_ref().is_some_and(Networks::is_empty) {
            mistakes.push(OptionError::new(
                "permit_origin",
                "an empty list lets nobody in; name a network, or leave it out to hear everyone",
            ));
        }
        mistakes
    }
}

/// Who is at the other end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// Its address; IPv4 is said as such even on an IPv6 socket. `None` on a Unix socket.
    pub address: Option<SocketAddr>,
    /// The alternative names of its certificate, where one was asked for.
    pub names: Vec<String>,
    /// The subject of its certificate as RFC 4514 writes it, `CN=agent,O=Example`.
    pub subject: Option<String>,
}

/// A connection, and who is at its other end.
pub struct Accepted {
    /// To read and to write; it holds its place among the connections until it is dropped.
    pub stream: Stream,
    /// Who is there.
    pub peer: Peer,
}

/// A bound address.
pub struct Listener {
    socket: Socket,
    desk: Arc<Desk>,
    handshakes: JoinSet<Option<Accepted>>,
    look: Interval,
}

/// What handshakes share.
struct Desk {
    gate: Arc<Gate>,
    tls: Option<ServerTls>,
    allowed: Option<AllowedNames>,
    permit_origin: Option<Networks>,
    handshake_timeout: Duration,
    idle_timeout: Option<Duration>,
}

impl Listener {
    /// Binds, inside a runtime. With `metrics` the connections are counted there. The error is one sentence for people.
    pub fn bind(
        options: &ListenOptions,
        metrics: Option<Arc<ComponentMetrics>>,
    ) -> Result<Self, String> {
        let (tls, allowed) = match &options.tls {
            Some(tls) => (
                Some(ServerTls::new(tls.clone(), options.alpn).map_err(|e| e.to_string())?),
                Some(tls.allowed().map_err(|e| e.to_string())?),
            ),
            None => (None, None),
        };
        let socket = Socket::bind(&options.at, options.receive_buffer)?;
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Self {
            socket,
            desk: Arc::new(Desk {
                gate: Gate::new(
                    options.connection_limit,
                    options.connection_limit_per_peer,
                    metrics,
                ),
                tls,
                allowed,
                permit_origin: options.permit_origin.clone(),
                handshake_timeout: options.handshake_timeout,
                idle_timeout: options.idle_timeout,
            }),
            handshakes: JoinSet::new(),
            look,
        })
    }

    /// The bound TCP address, with the port that was chosen where 0 was asked for.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.socket.local_addr()
    }

    /// The next connection that is let in. Dropping the future loses none.
    pub async fn accept(&mut self) -> Accepted {
        loop {
            tokio::select! {
                Some(done) = self.handshakes.join_next(), if !self.handshakes.is_empty() => {
                    // A handshake that panicked has told so, and its connection is closed.
                    if let Ok(Some(accepted)) = done {
                        return accepted;
                    }
                }
                (permit, incoming) = incoming(&self.desk.gate, &self.socket) => match incoming {
                    Ok(incoming) => {
                        if let Some(accepted) = self.take(permit, incoming) {
                            return accepted;
                        }
                    }
                    Err(why) => {
                        crate::log_limited!(warn, %why, "a connection cannot be accepted");
                        self.desk.gate.refused("system");
                        tokio::time::sleep(BREATH).await;
                    }
                },
                _ = self.look.tick() => self.look_at_files(),
            }
        }
    }

    /// Renewed and broken files are told of even when nobody connects.
    fn look_at_files(&mut self) {
        let desk = Arc::clone(&self.desk);
        if desk.tls.is_some() {
            self.handshakes.spawn(async move {
                if let Some(tls) = &desk.tls {
                    tls.current().await;
                }
                None
            });
        }
    }

    /// A connection without TLS is ready at once; one with TLS begins its handshake.
    fn take(
        &mut self,
        permit: tokio::sync::OwnedSemaphorePermit,
        incoming: Incoming,
    ) -> Option<Accepted> {
        let (stream, address) = match incoming {
            Incoming::Unix(stream) => {
                let place = self.desk.gate.enter(permit, None)?;
                return Some(self.desk.accepted(Io::Unix(stream), place, Peer::default()));
            }
            Incoming::Tcp(stream, address) => (stream, canonical(address)),
        };
        let desk = &self.desk;
        if let Some(networks) = &desk.permit_origin
            && !networks.contains(address.ip())
        {
            desk.refuse(
                address,
                "origin",
                "its address is in no network of permit_origin",
            );
            return None;
        }
        let Some(place) = desk.gate.enter(permit, Some(address.ip())) else {
            let why = "its address has as many connections as connection_limit_per_peer allows";
            desk.refuse(address, "peer_limit", why);
            return None;
        };
        if desk.tls.is_some() {
            let desk = Arc::clone(desk);
            self.handshakes
                .spawn(async move { desk.handshake(stream, address, place).await });
            return None;
        }
        let peer = Peer {
            address: Some(address),
            ..Peer::default()
        };
        Some(desk.accepted(Io::Tcp(stream), place, peer))
    }
}

async fn incoming(
    gate: &Gate,
    socket: &Socket,
) -> (tokio::sync::OwnedSemaphorePermit, std::io::Result<Incoming>) {
    let permit = gate.room().await;
    (permit, socket.accept().await)
}

impl Desk {
    async fn handshake(
        &self,
        stream: TcpStream,
        address: SocketAddr,
        place: Place,
    ) -> Option<Accepted> {
        let tls = self.tls.as_ref()?;
        let shake = async {
            let acceptor = TlsAcceptor::from(tls.current().await);
            acceptor.accept(stream).await
        };
        let stream = match tokio::time::timeout(self.handshake_timeout, shake).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                let (reason, why) = explain(&error);
                self.refuse(address, reason, &why);
                return None;
            }
            Err(_) => {
                self.refuse(
                    address,
                    "handshake_timeout",
                    "its TLS handshake took too long",
                );
                return None;
            }
        };
        let subject::Names { subject, names } = peer_names(&stream);
        if let Some(allowed) = &self.allowed
            && !allowed.allow(&names)
        {
            let why = format!(
                "its certificate has the alternative names {names:?}, none of which is in tls.allowed_names"
            );
            self.refuse(address, "name", &why);
            return None;
        }
        let peer = Peer {
            address: Some(address),
            names,
            subject,
        };
        Some(self.accepted(Io::Tls(Box::new(stream)), place, peer))
    }

    fn accepted(&self, io: Io, mut place: Place, peer: Peer) -> Accepted {
        place.opened();
        Accepted {
            stream: Stream::new(io, place, self.idle_timeout),
            peer,
        }
    }

    fn refuse(&self, address: SocketAddr, reason: &'static str, why: &str) {
        self.gate.refused(reason);
        crate::log_limited!(
            warn,
            %address,
            reason,
            "a connection was turned away: {}",
            printable(why)
        );
    }
}

fn peer_names(stream: &TlsStream<TcpStream>) -> subject::Names {
    let certificates = stream.get_ref().1.peer_certificates();
    certificates
        .and_then(|chain| chain.first())
        .map_or_else(subject::Names::default, |own| names_of(own))
}

/// Why a handshake failed: a word for the counter, and a sentence for people.
fn explain(error: &std::io::Error) -> (&'static str, String) {
    let tls = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match tls {
        Some(rustls::Error::NoCertificatesPresented) => (
            "no_certificate",
            "it shows no certificate, and tls.ca_file asks for one".to_owned(),
        ),
        Some(rustls::Error::InvalidCertificate(why)) => (
            "certificate",
            format!("its certificate is not accepted: {why:?}"),
        ),
        Some(rustls::Error::InvalidMessage(_)) => (
            "handshake",
            "what it sends is no TLS; does it know that this port wants TLS?".to_owned(),
        ),
        Some(rustls::Error::AlertReceived(alert)) => (
            "handshake",
            format!("it ended the TLS handshake: {alert:?}; does it trust our certificate?"),
        ),
        Some(other) => ("handshake", other.to_string()),
        None => ("handshake", format!("its TLS handshake ended: {error}")),
    }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        IpAddr::V4(v4) => SocketAddr::from((v4, address.port())),
        IpAddr::V6(_) => address,
    }
}
