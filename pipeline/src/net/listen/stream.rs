//! One accepted connection: plain, Unix or TLS, with its idle limit and the place it takes.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, Sleep};
use tokio_rustls::server::TlsStream;

use super::gate::Place;

/// A connection. Dropping it closes it and gives its place to the next.
pub struct Stream {
    io: Io,
    idle: Option<Idle>,
    _place: Place,
}

pub(super) enum Io {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Measures silence. The timer is moved only when it rings, so traffic costs one reading of the clock.
struct Idle {
    limit: Duration,
    last: Instant,
    timer: Pin<Box<Sleep>>,
}

impl Stream {
    pub(super) fn new(io: Io, place: Place, idle: Option<Duration>) -> Self {
        let mut stream = Self {
            io,
            idle: None,
            _place: place,
        };
        stream.limit_silence(idle);
        stream
    }

    /// Reading and writing end with [`io::ErrorKind::TimedOut`] when nothing came or went for so long.
    pub fn limit_silence(&mut self, limit: Option<Duration>) {
        self.idle = limit.map(|limit| Idle {
            limit,
            last: Instant::now(),
            timer: Box::pin(tokio::time::sleep(limit)),
        });
    }

    /// Whether what is read was encrypted.
    pub fn is_tls(&self) -> bool {
        matches!(self.io, Io::Tls(_))
    }

    /// What `poll` comes to, or the end of patience.
    fn or_idle<T>(
        &mut self,
        cx: &mut Context<'_>,
        poll: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let Some(idle) = &mut self.idle else {
            return poll;
        };
        if poll.is_ready() {
            idle.last = Instant::now();
            return poll;
        }
        loop {
            ready!(idle.timer.as_mut().poll(cx));
            let until = idle.last + idle.limit;
            if until <= Instant::now() {
                let why = format!("nothing came for {:?}", idle.limit);
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, why)));
            }
            idle.timer.as_mut().reset(until);
        }
    }
}

macro_rules! each {
    ($stream:expr, $io:ident => $do:expr) => {
        match &mut $stream.io {
            Io::Tcp($io) => $do,
            Io::Unix($io) => $do,
            Io::Tls($io) => {
                let $io = $io.as_mut();
                $do
            }
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let poll = each!(self, io => Pin::new(io).poll_read(cx, buffer));
        self.or_idle(cx, poll)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let poll = each!(self, io => Pin::new(io).poll_write(cx, bytes));
        self.or_idle(cx, poll)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let poll = each!(self, io => Pin::new(io).poll_write_vectored(cx, slices));
        self.or_idle(cx, poll)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.io {
            Io::Tcp(io) => io.is_write_vectored(),
            Io::Unix(io) => io.is_write_vectored(),
            Io::Tls(io) => io.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = each!(self, io => Pin::new(io).poll_flush(cx));
        self.or_idle(cx, poll)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = each!(self, io => Pin::new(io).poll_shutdown(cx));
        self.or_idle(cx, poll)
    }
}
