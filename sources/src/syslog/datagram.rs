//! Datagrams: UDP, many at a time, and Unix. One datagram is one message, whatever stands in it.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use pipeline::lines::sha256;
use pipeline::net::listen::{SocketFile, bind_unix};
use pipeline::net::{ListenAt, ListenOptions, Networks, Peer};
use pipeline::{ComponentMetrics, LineFacts, SourceError, Stopped, Told, log_limited};
use quinn_udp::{BATCH_SIZE, RecvMeta, UdpSockRef, UdpSocketState};
use rustix::net::RecvFlags;
use socket2::{Domain, Protocol, Type};
use tokio::io::Interest;
use tokio::net::{UdpSocket, UnixDatagram};
use tokio::time::Instant;

use super::Settings;
use super::desk::{Desk, Sender};
use super::drops::Drops;
use crate::file::lines::cut_at;
use crate::file::page::Page as _;

/// Room for what the kernel hands over at once: one datagram, or several of one sender that it has put together [bytes].
const SLOT: usize = 64 * 1024;
/// Room for one Unix datagram; Linux takes 208 KiB unless told otherwise [bytes].
const UNIX_SLOT: usize = 256 * 1024;
/// Silence is told of, and drops are looked at, this often.
const IDLE: Duration = Duration::from_secs(1);
/// At the end, what lies in the kernel is read for so long.
const LAST_READS: Duration = Duration::from_millis(500);
/// A gap is told of this often at most.
const GAP: Duration = Duration::from_secs(60);
/// Most senders remembered [senders].
const SENDERS: usize = 4096;

/// Serves until told to stop.
pub(super) async fn run(
    listen: &ListenOptions,
    settings: &Settings,
    mut desk: Desk,
) -> Result<Result<Infallible, Stopped>, SourceError> {
    let mut socket = match &listen.at {
        ListenAt::Tcp(address) => {
            Socket::Udp(Box::new(Udp::bind(*address, listen).map_err(|why| {
                SourceError(format!("cannot listen on {address}: {why}"))
            })?))
        }
        ListenAt::Unix(path, mode) => {
            let sender = desk.sender(Peer::default());
            let unix = Unix::bind(path, *mode, listen.receive_buffer, sender);
            Socket::Unix(Box::new(unix.map_err(SourceError)?))
        }
    };
    Ok(serve(&mut socket, settings.max_length, &mut desk).await)
}

async fn serve(
    socket: &mut Socket,
    max_length: usize,
    desk: &mut Desk,
) -> Result<Infallible, Stopped> {
    let mut stopped = pin!(desk.out.stopped());
    let mut tick = tokio::time::interval(IDLE);
    loop {
        tokio::select! {
            () = &mut stopped => break,
            // An error shows again when it is read.
            _ = socket.readable() => {
                while socket.read(desk, max_length) && !desk.is_full() {}
                desk.flush_and_rest().await?;
            }
            _ = tick.tick() => {
                socket.count_drops(desk, false);
                desk.idle().await?;
            }
        }
    }
    let until = Instant::now() + LAST_READS;
    while socket.read(desk, max_length) && Instant::now() < until {
        if desk.is_full() {
            desk.flush().await?;
        }
    }
    socket.count_drops(desk, true);
    desk.flush().await?;
    Err(Stopped)
}

enum Socket {
    Udp(Box<Udp>),
    Unix(Box<Unix>),
}

impl Socket {
    async fn readable(&self) -> io::Result<()> {
        match self {
            Self::Udp(udp) => udp.socket.readable().await,
            Self::Unix(unix) => unix.socket.readable().await,
        }
    }

    /// Reads what is there, up to some bound; false where there was nothing.
    fn read(&mut self, desk: &mut Desk, max_length: usize) -> bool {
        let read = match self {
            Self::Udp(udp) => udp.read(desk, max_length),
            Self::Unix(unix) => unix.read(desk, max_length),
        };
        match read {
            Ok(()) => true,
            Err(why) if why.kind() == io::ErrorKind::WouldBlock => false,
            Err(why) => {
                log_limited!(warn, %why, "a datagram cannot be read");
                desk.error("read_failed", 1);
                false
            }
        }
    }

    fn count_drops(&mut self, desk: &Desk, ends: bool) {
        let Self::Udp(udp) = self else {
            return;
        };
        let dropped = udp.drops.as_mut().map_or(0, Drops::new_ones);
        if dropped > 0 {
            desk.out.metrics().udp_kernel_drops.add(dropped);
            log_limited!(
                warn,
                dropped,
                "the kernel had no room for datagrams and dropped them; raise receive_buffer and net.core.rmem_max, \
                 or let the senders use TCP"
            );
        }
        udp.gap.add(dropped, ends, desk.out.metrics());
    }
}

/// Drops as a gap in the trail, told at most once a minute with how many there were since.
#[derive(Default)]
struct Gap {
    untold: u64,
    told: Option<Instant>,
}

impl Gap {
    /// With `ends` what is left is told now.
    fn add(&mut self, dropped: u64, ends: bool, metrics: &ComponentMetrics) {
        self.untold += dropped;
        let rests = !ends && self.told.is_some_and(|told| told.elapsed() < GAP);
        if self.untold == 0 || rests {
            return;
        }
        let why = format!(
            "the kernel had no room for {} datagrams and dropped them",
            self.untold
        );
        metrics.gaps.add(["udp"], 1);
        metrics.tell(Told::new("PVE-9014", format!("Input is missing: {why}")).failed(why));
        *self = Self {
            untold: 0,
            told: Some(Instant::now()),
        };
    }
}

/// A UDP socket, and room for what comes out of it.
struct Udp {
    socket: UdpSocket,
    state: UdpSocketState,
    slots: Vec<u8>,
    drops: Option<Drops>,
    gap: Gap,
    permit_origin: Option<Networks>,
    /// What is known of a sender; `None` where it is not heard.
    senders: HashMap<SocketAddr, Option<Arc<Sender>>>,
}

impl Udp {
    fn bind(address: SocketAddr, listen: &ListenOptions) -> io::Result<Self> {
        let socket = socket2::Socket::new(
            Domain::for_address(address),
            Type::DGRAM.nonblocking().cloexec(),
            Some(Protocol::UDP),
        )?;
        if let Some(wanted) = listen.receive_buffer {
            let got = grow(&socket, wanted)?;
            if got < wanted {
                tracing::warn!(
                    receive_buffer = wanted,
                    got,
                    "the kernel gives a smaller receive buffer than asked for, and drops what does not fit; raise \
                     net.core.rmem_max, or grant CAP_NET_ADMIN"
                );
            }
        }
        socket.bind(&address.into())?;
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        let socket = UdpSocket::from_std(socket.into())?;
        let bound = socket.local_addr()?;
        tracing::info!(address = %bound, "listening for syslog");
        Ok(Self {
            drops: Drops::of(&socket, bound.is_ipv6()),
            gap: Gap::default(),
            socket,
            state,
            slots: vec![0; BATCH_SIZE * SLOT],
            permit_origin: listen.permit_origin.clone(),
            senders: HashMap::new(),
        })
    }

    fn read(&mut self, desk: &mut Desk, max_length: usize) -> io::Result<()> {
        let mut metas = [RecvMeta::default(); BATCH_SIZE];
        let mut slots = self.slots.chunks_exact_mut(SLOT);
        let mut slots: [IoSliceMut<'_>; BATCH_SIZE] =
            std::array::from_fn(|_| IoSliceMut::new(slots.next().unwrap_or_default()));
        let (socket, state) = (&self.socket, &self.state);
        let came = socket.try_io(Interest::READABLE, || {
            state.recv(UdpSockRef::from(socket), &mut slots, &mut metas)
        })?;
        for (n, meta) in metas.iter().enumerate().take(came) {
            let Some(sender) = known(
                &mut self.senders,
                self.permit_origin.as_ref(),
                meta.addr,
                desk,
            ) else {
                // The kernel hands several datagrams of one sender over at once.
                let datagrams = meta.len.div_ceil(meta.stride.max(1)).max(1);
                desk.error("origin_not_permitted", datagrams as u64);
                continue;
            };
            let text = self.slots.get(n * SLOT..n * SLOT + meta.len);
            desk.begin(&sender);
            let text = text.unwrap_or_default();
            if text.is_empty() {
                desk.error("empty_frame", 1);
            }
            for datagram in text.chunks(meta.stride.max(1)) {
                write(desk, datagram, datagram.len(), max_length);
            }
            desk.end();
        }
        Ok(())
    }
}

fn known(
    senders: &mut HashMap<SocketAddr, Option<Arc<Sender>>>,
    networks: Option<&Networks>,
    address: SocketAddr,
    desk: &mut Desk,
) -> Option<Arc<Sender>> {
    if let Some(known) = senders.get(&address) {
        return known.clone();
    }
    // Whoever makes up senders costs the others a look in a table.
    if senders.len() >= SENDERS {
        senders.clear();
    }
    let heard = networks.is_none_or(|networks| networks.contains(address.ip()));
    let sender = heard.then(|| {
        desk.sender(Peer {
            address: Some(address),
            ..Peer::default()
        })
    });
    senders.insert(address, sender.clone());
    sender
}

/// A Unix socket that takes datagrams, and room for one.
struct Unix {
    socket: UnixDatagram,
    slot: Vec<u8>,
    sender: Arc<Sender>,
    /// Held for its end.
    _file: SocketFile,
}

impl Unix {
    fn bind(
        path: &Path,
        mode: u32,
        receive_buffer: Option<usize>,
        sender: Arc<Sender>,
    ) -> Result<Self, String> {
        let (socket, file) = bind_unix(path, mode, Type::DGRAM)?;
        let ready = || -> io::Result<UnixDatagram> {
            if let Some(wanted) = receive_buffer {
                grow(&socket, wanted)?;
            }
            UnixDatagram::from_std(socket.into())
        };
        let socket =
            ready().map_err(|why| format!("cannot listen on {}: {why}", path.display()))?;
        tracing::info!(path = %path.display(), "listening for syslog");
        Ok(Self {
            socket,
            slot: vec![0; UNIX_SLOT],
            sender,
            _file: file,
        })
    }

    fn read(&mut self, desk: &mut Desk, max_length: usize) -> io::Result<()> {
        let Self { socket, slot, .. } = self;
        let flags = RecvFlags::TRUNC | RecvFlags::DONTWAIT;
        let (came, whole) = socket.try_io(Interest::READABLE, || {
            rustix::net::recv(&*socket, &mut slot[..], flags).map_err(io::Error::from)
        })?;
        desk.begin(&self.sender);
        write(desk, &self.slot[..came], whole, max_length);
        desk.end();
        Ok(())
    }
}

/// One message that came as a whole; `whole` is its length where the kernel had to cut it.
fn write(desk: &mut Desk, datagram: &[u8], whole: usize, max_length: usize) {
    let text = datagram.strip_suffix(b"\n").unwrap_or(datagram);
    if text.is_empty() {
        desk.error("empty_frame", 1);
        return;
    }
    let cut = whole > datagram.len();
    let kept = cut_at(text, max_length);
    let (page, number) = desk.page();
    let range = page.append(&text[..kept]);
    if kept == text.len() && !cut {
        page.line(range, *number);
    } else {
        let mut facts = LineFacts::default();
        // Of what the kernel cut off nobody knows the hash.
        let hash = if cut { String::new() } else { sha256(text) };
        facts.truncated = Some((if cut { whole } else { text.len() } as u64, hash));
        page.line_with(range, *number, facts);
    }
    *number += 1;
    // Whatever is looked for in a text ends at a newline, and so never in the next sender's.
    page.append(b"\n");
    if kept < text.len() || cut {
        desk.error("frame_too_long", 1);
    }
}

/// Asks for a receive buffer, beyond what is usual if that is allowed, and says what was given [bytes].
fn grow(socket: &socket2::Socket, wanted: usize) -> io::Result<usize> {
    let forced = rustix::net::sockopt::set_socket_recv_buffer_size_force(socket, wanted);
    if forced.is_err() {
        socket.set_recv_buffer_size(wanted)?;
    }
    // The kernel doubles what it is asked for, for its own needs.
    Ok(socket.recv_buffer_size()? / 2)
}
