//! One accepted connection: plain, Unix or TLS, with its idle limit and the place it takes.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
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

    /// Waits until there may be something to read. What TLS has decrypted already is not seen here: read until
    /// [`try_read`](Self::try_read) has nothing more before waiting.
    pub async fn readable(&self) -> io::Result<()> {
        match &self.io {
            Io::Tcp(io) => io.readable().await,
            Io::Unix(io) => io.readable().await,
            Io::Tls(io) => io.get_ref().0.readable().await,
        }
    }

    /// Reads what is there without waiting; [`io::ErrorKind::WouldBlock`] where there is nothing, 0 at the end.
    pub fn try_read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match &mut self.io {
            Io::Tcp(io) => poll_now(io, into),
            Io::Unix(io) => poll_now(io, into),
            Io::Tls(io) => poll_now(io.as_mut(), into),
        }
    }

    /// Tells the peer that this is the end, as far as that can be said without waiting.
    pub fn say_goodbye(&mut self) {
        let mut nobody = Context::from_waker(Waker::noop());
        // Whoever has gone already, or has no room for the word, learns it from the connection's end.
        let _ = Pin::new(self).poll_shutdown(&mut nobody);
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

/// A read that brings less than there is room for tells the runtime that nothing is left, which `try_read` of tokio's own
/// does not.
fn poll_now(io: &mut (impl AsyncRead + Unpin), into: &mut [u8]) -> io::Result<usize> {
    let mut buffer = ReadBuf::new(into);
    let mut nobody = Context::from_waker(Waker::noop());
    match Pin::new(io).poll_read(&mut nobody, &mut buffer) {
        Poll::Ready(Ok(())) => Ok(buffer.filled().len()),
        Poll::Ready(Err(why)) => Err(why),
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
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
