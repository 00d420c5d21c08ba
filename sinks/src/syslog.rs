//! `syslog` sends events as RFC 5424 messages over TCP, TLS (RFC 5425) or UDP (RFC 5426), with CEF, JSON or text inside.
//!
//! - TCP, TLS: a write is delivered when the other machine has acknowledged every byte and has not closed; otherwise all
//!   of it is sent again on a new connection, after what was sent in the seconds before (`resend`)
//! - best effort all the same: syslog has no answers. `config` says what is lost when
//! - UDP: nothing is known of a datagram but that it was sent, or that nobody listens; a message is never split

mod config;
mod message;
mod recent;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;
use pipeline::net::{Dialer, Wire};
use pipeline::{Event, Events, Fate, Reason, ReasonKind, Sink, WriteError, Written};
use tokio::net::UdpSocket;
use tokio::time::Instant;

pub use self::config::Config;
use self::config::Framing;
use self::message::{Messages, TooLong};
use self::recent::Recent;

/// Longest wait for goodbye.
const GOODBYE: Duration = Duration::from_secs(2);
const NOBODY: &str = "nobody listens there (ICMP port unreachable); the datagrams are sent again";

struct Syslog {
    messages: Messages,
    /// Longest message [bytes].
    longest: usize,
    transport: Transport,
    /// What is about to be sent; kept for its memory.
    buffer: Vec<u8>,
    scratch: Vec<u8>,
}

enum Transport {
    Stream {
        dialer: Box<Dialer>,
        framing: Framing,
        line: Line,
        patience: Duration,
    },
    Udp {
        host: String,
        port: u16,
        socket: Option<UdpSocket>,
    },
}

/// The one connection, and what may have been lost with the one before.
struct Line {
    /// The sink's own, for the log.
    id: String,
    wire: Option<Wire>,
    recent: Recent,
}

#[async_trait]
impl Sink for Syslog {
    async fn write(&mut self, events: Events) -> Result<Written, WriteError> {
        if matches!(self.transport, Transport::Stream { .. }) {
            self.write_stream(&events).await
        } else {
            self.write_datagrams(&events).await
        }
    }

    async fn healthcheck(&mut self) -> Result<(), Reason> {
        match &mut self.transport {
            Transport::Stream { dialer, line, .. } => line.connected(dialer).await.map(|_| ()),
            Transport::Udp { host, port, socket } => bound(host, *port, socket).await.map(|_| ()),
        }
    }

    async fn close(&mut self) -> Result<(), Reason> {
        if let Transport::Stream { line, .. } = &mut self.transport
            && let Some(wire) = line.wire.take()
        {
            wire.close(GOODBYE).await.map_err(|why| broken(&why))?;
        }
        Ok(())
    }
}

impl Syslog {
    /// All messages in one go, then a look how far they came.
    async fn write_stream(&mut self, events: &Events) -> Result<Written, WriteError> {
        let Transport::Stream {
            dialer,
            framing,
            line,
            patience,
        } = &mut self.transport
        else {
            return Ok(Written::default());
        };
        self.buffer.clear();
        let mut refused = Vec::new();
        for (place, event) in (0_u32..).zip(events.iter()) {
            self.scratch.clear();
            match self.messages.write(event, &mut self.scratch) {
                Ok(()) => framing.frame(&self.scratch, &mut self.buffer),
                Err(TooLong(length)) => {
                    refused.push((place, Fate::Refused(too_long(length, self.longest))));
                }
            }
        }
        let mut bytes = self.buffer.len();
        if bytes > 0 {
            let resent = line.send(dialer, &self.buffer, *patience).await;
            bytes += resent.map_err(again)?;
            let sent = events.len() - refused.len();
            line.recent.keep(&mut self.buffer, sent, Instant::now());
        }
        finish(bytes, refused)
    }

    /// One datagram for each event, in order.
    async fn write_datagrams(&mut self, events: &Events) -> Result<Written, WriteError> {
        let Transport::Udp { host, port, socket } = &mut self.transport else {
            return Ok(Written::default());
        };
        let mut fates = Vec::new();
        let mut bytes = 0;
        for (place, event) in (0_u32..).zip(events.iter()) {
            match datagram(&mut self.messages, event, &mut self.buffer) {
                Ok(()) => {}
                Err(TooLong(length)) => {
                    fates.push((place, Fate::Refused(too_long(length, self.longest))));
                    continue;
                }
            }
            let to = bound(host, *port, socket).await.map_err(again)?;
            if let Err(why) = to.send(&self.buffer).await {
                if is_too_large(&why) {
                    let reason = Reason::new(
                        ReasonKind::TooLarge,
                        format!(
                            "a datagram of {} bytes cannot be sent: {why}; lower max_length",
                            self.buffer.len()
                        ),
                    );
                    fates.push((place, Fate::Refused(reason)));
                    continue;
                }
                // The error is about a datagram before this one, which was the last that nobody took.
                *socket = None;
                let from = place.saturating_sub(1);
                let rest = from..u32::try_from(events.len()).unwrap_or(u32::MAX);
                let reason = unreachable(&why);
                fates.retain(|(place, _)| *place < from);
                fates.extend(rest.map(|place| (place, Fate::Retry(reason.clone()))));
                return Err(WriteError::Partly(fates, Written::default()));
            }
            bytes += self.buffer.len();
        }
        if let Some(open) = socket
            && let Ok(Some(why)) = open.take_error()
            && let Some(last) = u32::try_from(events.len())
                .ok()
                .and_then(|n| n.checked_sub(1))
        {
            *socket = None;
            fates.retain(|(place, _)| *place < last);
            fates.push((last, Fate::Retry(unreachable(&why))));
        }
        finish(bytes, fates)
    }
}

fn datagram(messages: &mut Messages, event: &Event, out: &mut Vec<u8>) -> Result<(), TooLong> {
    out.clear();
    messages.write(event, out)
}

fn finish(bytes: usize, fates: Vec<(u32, Fate)>) -> Result<Written, WriteError> {
    let written = Written {
        bytes: bytes as u64,
        ..Written::default()
    };
    if fates.is_empty() {
        Ok(written)
    } else {
        Err(WriteError::Partly(fates, written))
    }
}

impl Line {
    /// The open connection, or a new one where there is none or the other side has closed it.
    async fn connected(&mut self, dialer: &Dialer) -> Result<&mut Wire, Reason> {
        if let Some(open) = &mut self.wire
            && let Err(why) = open.look().await
        {
            self.ended(&why);
        }
        if self.wire.is_none() {
            let made = dialer.connect().await;
            self.wire = Some(made.map_err(|why| Reason::new(ReasonKind::Connection, why))?);
        }
        self.wire
            .as_mut()
            .ok_or_else(|| Reason::new(ReasonKind::Connection, "no connection"))
    }

    /// Sends what may have been lost with the connection before and then these bytes, and waits until the other machine
    /// has them. Says how many bytes were sent besides.
    async fn send(
        &mut self,
        dialer: &Dialer,
        bytes: &[u8],
        patience: Duration,
    ) -> Result<usize, Reason> {
        self.connected(dialer).await?;
        let Some(wire) = &mut self.wire else {
            return Err(Reason::new(ReasonKind::Connection, "no connection"));
        };
        let sent = async {
            for owed in self.recent.owed() {
                wire.write_all(owed, patience).await?;
            }
            wire.write_all(bytes, patience).await?;
            wire.settle(patience).await
        };
        if let Err(why) = sent.await {
            // How much of it was read nobody knows, so all of it goes once more.
            self.ended(&why);
            return Err(broken(&why));
        }
        let Some((events, bytes)) = self.recent.paid(Instant::now()) else {
            return Ok(0);
        };
        tracing::warn!(
            component_id = self.id,
            events,
            bytes,
            "the connection to {dialer} broke, and nobody knows how much was read of what was sent over it; the last events went once more, under the same ids"
        );
        Ok(bytes)
    }

    fn ended(&mut self, why: &io::Error) {
        self.wire = None;
        let in_order = why.kind() == io::ErrorKind::UnexpectedEof;
        self.recent.ended(in_order, Instant::now());
    }
}

/// The socket, connected to the address that the name has now.
async fn bound<'a>(
    host: &str,
    port: u16,
    kept: &'a mut Option<UdpSocket>,
) -> Result<&'a UdpSocket, Reason> {
    let trouble = |why: io::Error| {
        let why = format!("cannot send datagrams to {host}:{port}: {why}");
        Reason::new(ReasonKind::Connection, why)
    };
    if kept.is_none() {
        let mut addresses = tokio::net::lookup_host((host, port))
            .await
            .map_err(trouble)?;
        let to = addresses
            .next()
            .ok_or_else(|| trouble(io::Error::other("the name has no address")))?;
        let from: SocketAddr = if to.is_ipv4() {
            ([0, 0, 0, 0], 0).into()
        } else {
            ([0_u16; 8], 0).into()
        };
        let socket = UdpSocket::bind(from).await.map_err(trouble)?;
        socket.connect(to).await.map_err(trouble)?;
        *kept = Some(socket);
    }
    kept.as_ref()
        .ok_or_else(|| trouble(io::Error::other("no socket")))
}

fn again(reason: Reason) -> WriteError {
    WriteError::Retry {
        reason,
        after: None,
    }
}

fn broken(why: &io::Error) -> Reason {
    let kind = if why.kind() == io::ErrorKind::TimedOut {
        ReasonKind::Timeout
    } else {
        ReasonKind::Connection
    };
    Reason::new(kind, why.to_string())
}

fn unreachable(why: &io::Error) -> Reason {
    let text = if why.kind() == io::ErrorKind::ConnectionRefused {
        NOBODY.to_owned()
    } else {
        why.to_string()
    };
    Reason::new(ReasonKind::Connection, text)
}

fn is_too_large(why: &io::Error) -> bool {
    why.raw_os_error() == Some(rustix::io::Errno::MSGSIZE.raw_os_error())
}

fn too_long(length: usize, longest: usize) -> Reason {
    let text = format!(
        "the message has {length} bytes even without all that can be spared, and max_length is {longest}"
    );
    Reason::new(ReasonKind::TooLarge, text)
}

#[cfg(test)]
mod tests;
