//! A connection for protocols without answers: bytes go out, and TCP itself is asked how far they came.
//!
//! [`Wire::settle`] waits until the other machine's kernel has acknowledged every byte and then looks whether the other
//! side is still there. What the receiving program had not yet taken from its kernel when it died is lost all the same:
//! nothing short of an answer from the program can tell.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::task::Poll;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::ReadBuf;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

use super::connection::{Stream, dial, tls_reason};
use super::http::HttpError;
use super::tls::ClientTls;
use super::{OptionError, TlsOptions};

/// How connections to one place are made.
pub struct Dialer {
    host: String,
    port: u16,
    tls: Option<ClientTls>,
    /// How long an unanswered packet keeps a connection alive.
    silence: Duration,
}

impl Dialer {
    /// To `host:port`; with `tls` encrypted. Reads the TLS files, so a mistake in them is told here.
    pub fn new(
        host: &str,
        port: u16,
        tls: Option<&TlsOptions>,
        silence: Duration,
    ) -> Result<Dialer, OptionError> {
        Ok(Dialer {
            host: host.to_owned(),
            port,
            tls: tls
                .map(|tls| ClientTls::new(tls.clone(), &[]))
                .transpose()?,
            silence,
        })
    }

    /// Connects, and shakes hands where TLS is spoken. The error is a sentence for people.
    pub async fn connect(&self) -> Result<Wire, String> {
        let server = format!("{}:{}", self.host, self.port);
        let tcp = dial(&self.host, self.port, self.silence)
            .await
            .map_err(|why: HttpError| why.to_string())?;
        let Some(tls) = &self.tls else {
            return Ok(Wire(Stream::Plain(tcp)));
        };
        let config = tls.current().map_err(|why| why.to_string())?;
        let name =
            ServerName::try_from(self.host.clone()).map_err(|why| format!("{server}: {why}"))?;
        let shake = TlsConnector::from(config).connect(name, tcp);
        match tokio::time::timeout(self.silence, shake).await {
            Ok(Ok(stream)) => Ok(Wire(Stream::Tls(Box::new(stream)))),
            Ok(Err(why)) => Err(format!("no TLS with {server}: {}", tls_reason(&why))),
            Err(_) => Err(format!("no TLS with {server} within {:?}", self.silence)),
        }
    }
}

/// Shows `host:port`, with the scheme `tls://` or `tcp://`.
impl std::fmt::Display for Dialer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = if self.tls.is_some() { "tls" } else { "tcp" };
        write!(f, "{scheme}://{}:{}", self.host, self.port)
    }
}

/// An open connection on which only we speak.
pub struct Wire(Stream);

impl Wire {
    /// Writes everything, and gives up at once when the other side has closed. `patience` is the longest time in which
    /// not one byte goes out.
    pub async fn write_all(&mut self, bytes: &[u8], patience: Duration) -> io::Result<()> {
        let mut sent = 0;
        while sent < bytes.len() {
            let wrote = poll_fn(|cx| {
                if let Poll::Ready(why) = self.closed(cx) {
                    return Poll::Ready(Err(why));
                }
                self.0.poll_write(cx, &[IoSlice::new(&bytes[sent..])])
            });
            sent += match tokio::time::timeout(patience, wrote).await {
                Ok(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(wrote) => wrote?,
                Err(_) => return Err(stuck(patience)),
            };
        }
        let flushed = poll_fn(|cx| self.0.poll_flush(cx));
        tokio::time::timeout(patience, flushed)
            .await
            .unwrap_or_else(|_| Err(stuck(patience)))
    }

    /// Waits until the other machine has acknowledged every byte and the other side has not closed. `patience` is the
    /// longest time without progress.
    pub async fn settle(&mut self, patience: Duration) -> io::Result<()> {
        let mut last = u32::MAX;
        let mut moved = Instant::now();
        let mut wait = Duration::from_micros(50);
        loop {
            let left = unacknowledged(self.0.tcp())?;
            self.look().await?;
            if left == 0 {
                return Ok(());
            }
            if left < last {
                (last, moved) = (left, Instant::now());
            } else if moved.elapsed() > patience {
                return Err(stuck(patience));
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(Duration::from_millis(20));
        }
    }

    /// An error if the other side has closed or reset the connection.
    pub async fn look(&mut self) -> io::Result<()> {
        poll_fn(|cx| match self.closed(cx) {
            Poll::Ready(why) => Poll::Ready(Err(why)),
            Poll::Pending => Poll::Ready(Ok(())),
        })
        .await
    }

    /// Ready once the other side has closed. What it says meanwhile is thrown away: it has nothing to say.
    fn closed(&mut self, cx: &mut std::task::Context<'_>) -> Poll<io::Error> {
        let mut bytes = [0; 256];
        loop {
            let mut buffer = ReadBuf::new(&mut bytes);
            match self.0.poll_read(cx, &mut buffer) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(why)) => return Poll::Ready(why),
                Poll::Ready(Ok(())) if buffer.filled().is_empty() => {
                    let why = "the other side has closed the connection";
                    return Poll::Ready(io::Error::new(io::ErrorKind::UnexpectedEof, why));
                }
                Poll::Ready(Ok(())) => {}
            }
        }
    }

    /// Says goodbye, so that the other side knows that nothing is missing.
    pub async fn close(mut self, patience: Duration) -> io::Result<()> {
        let done = poll_fn(|cx| self.0.poll_shutdown(cx));
        tokio::time::timeout(patience, done)
            .await
            .unwrap_or_else(|_| Err(stuck(patience)))
    }
}

fn stuck(patience: Duration) -> io::Error {
    let why = format!(
        "the other side has taken nothing for {} s",
        patience.as_secs_f32()
    );
    io::Error::new(io::ErrorKind::TimedOut, why)
}

/// Bytes that TCP holds because the other machine has not acknowledged them [bytes].
#[cfg(any(
    target_arch = "x86_64",
    target_arch = "x86",
    target_arch = "aarch64",
    target_arch = "arm",
    target_arch = "riscv64",
    target_arch = "loongarch64",
    target_arch = "s390x"
))]
#[allow(
    unsafe_code,
    reason = "no safe wrapper knows SIOCOUTQ, and without it nobody can tell sent from acknowledged"
)]
fn unacknowledged(tcp: &TcpStream) -> io::Result<u32> {
    use rustix::ioctl::{Getter, Opcode, ioctl};
    /// `SIOCOUTQ` of `linux/sockios.h`, the same number as `TIOCOUTQ` of `asm-generic/ioctls.h`.
    const SIOCOUTQ: Opcode = 0x5411;
    // SAFETY: SIOCOUTQ writes one `int` to where its argument points (tcp(7)), which is what this getter gives it, and
    // touches nothing else; the descriptor is open for as long as `tcp` is borrowed.
    let left: i32 = unsafe { ioctl(tcp, Getter::<SIOCOUTQ, i32>::new())? };
    Ok(u32::try_from(left).unwrap_or(0))
}

/// Here TCP cannot be asked; what was written counts as come.
#[cfg(not(any(
    target_arch = "x86_64",
    target_arch = "x86",
    target_arch = "aarch64",
    target_arch = "arm",
    target_arch = "riscv64",
    target_arch = "loongarch64",
    target_arch = "s390x"
)))]
#[expect(clippy::unnecessary_wraps, reason = "the other one can fail")]
fn unacknowledged(_: &TcpStream) -> io::Result<u32> {
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt as _;
    use tokio::net::TcpListener;

    const PATIENCE: Duration = Duration::from_secs(10);

    async fn pair() -> (Wire, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let dialer = Dialer::new("127.0.0.1", port, None, PATIENCE).unwrap();
        let (wire, accepted) = futures::join!(dialer.connect(), listener.accept());
        (wire.unwrap(), accepted.unwrap().0)
    }

    #[tokio::test]
    async fn what_the_other_kernel_has_not_taken_is_not_settled() {
        let (mut wire, mut other) = pair().await;
        // More than both kernels' buffers hold.
        let bytes = vec![b'x'; 32 << 20];
        let write = async {
            wire.write_all(&bytes, PATIENCE).await.unwrap();
            wire.settle(PATIENCE).await.unwrap();
        };
        let read = async {
            let mut all = vec![0; bytes.len()];
            other.read_exact(&mut all).await.unwrap();
            all
        };
        let ((), read) = futures::join!(write, read);
        assert!(read == bytes);
        assert_eq!(unacknowledged(wire.0.tcp()).unwrap(), 0);
    }

    #[tokio::test]
    async fn a_receiver_that_takes_nothing_is_given_up() {
        let (mut wire, _other) = pair().await;
        let bytes = vec![b'x'; 32 << 20];
        let why = wire
            .write_all(&bytes, Duration::from_millis(200))
            .await
            .unwrap_err();
        assert_eq!(why.kind(), io::ErrorKind::TimedOut);
        let why = wire.settle(Duration::from_millis(200)).await.unwrap_err();
        assert_eq!(why.kind(), io::ErrorKind::TimedOut, "{why}");
        assert!(unacknowledged(wire.0.tcp()).unwrap() > 0);
    }

    #[tokio::test]
    async fn a_receiver_that_closes_is_noticed_even_if_all_was_acknowledged() {
        let (mut wire, other) = pair().await;
        wire.write_all(b"hello", PATIENCE).await.unwrap();
        drop(other);
        let deadline = Instant::now() + PATIENCE;
        while wire.settle(PATIENCE).await.is_ok() {
            assert!(Instant::now() < deadline);
            tokio::task::yield_now().await;
        }
        assert!(wire.write_all(b"more", PATIENCE).await.is_err());
    }
}
