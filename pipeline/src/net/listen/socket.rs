//! The socket itself: bound, and, for Unix, its file made and taken away.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use socket2::{Domain, Protocol, SockAddr, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use super::ListenAt;

/// Connections that may wait to be accepted [connections]; the kernel's own limit is the lower one.
const BACKLOG: i32 = 1024;
/// A peer that vanished without a word is noticed after this time and eight unanswered questions.
const KEEPALIVE: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);

pub(super) enum Socket {
    Tcp(TcpListener),
    Unix(
        UnixListener,
        #[expect(dead_code, reason = "held for its end")] SocketFile,
    ),
}

pub(super) enum Incoming {
    Tcp(TcpStream, SocketAddr),
    Unix(UnixStream),
}

impl Socket {
    pub(super) fn bind(at: &ListenAt, receive_buffer: Option<usize>) -> Result<Self, String> {
        match at {
            ListenAt::Tcp(address) => bind_tcp(*address, receive_buffer)
                .map(Self::Tcp)
                .map_err(|why| format!("cannot listen on {address}: {why}")),
            ListenAt::Unix(path, mode) => {
                let (socket, file) = bind_unix(path, *mode, Type::STREAM)?;
                let listen = || {
                    socket.listen(BACKLOG)?;
                    UnixListener::from_std(socket.into())
                };
                let listener = listen()
                    .map_err(|why| format!("cannot listen on {}: {why}", path.display()))?;
                Ok(Self::Unix(listener, file))
            }
        }
    }

    pub(super) fn local_addr(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok(),
            Self::Unix(..) => None,
        }
    }

    pub(super) async fn accept(&self) -> io::Result<Incoming> {
        match self {
            Self::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                // Answers are small and waited for; nobody gains from holding them back.
                stream.set_nodelay(true)?;
                Ok(Incoming::Tcp(stream, address))
            }
            Self::Unix(listener, _) => {
                let (stream, _) = listener.accept().await?;
                Ok(Incoming::Unix(stream))
            }
        }
    }
}

fn bind_tcp(address: SocketAddr, receive_buffer: Option<usize>) -> io::Result<TcpListener> {
    let socket = socket2::Socket::new(
        Domain::for_address(address),
        Type::STREAM.nonblocking().cloexec(),
        Some(Protocol::TCP),
    )?;
    // A restart must not wait for connections of the run before to be forgotten.
    socket.set_reuse_address(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE)
        .with_interval(KEEPALIVE_INTERVAL);
    // What is set on the listener holds for what it accepts.
    socket.set_tcp_keepalive(&keepalive)?;
    if let Some(bytes) = receive_buffer {
        socket.set_recv_buffer_size(bytes)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// The file of a Unix socket, taken away at the end if it is still ours.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path) == Some(self.identity) {
            // One that cannot be taken away is found dead and replaced at the next start.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    let about = std::fs::symlink_metadata(path).ok()?;
    Some((about.dev(), about.ino()))
}

/// Binds a Unix socket of this type to `path`, replacing the file of a dead one. Only `mode` decides who may write.
pub fn bind_unix(
    path: &Path,
    mode: u32,
    kind: Type,
) -> Result<(socket2::Socket, SocketFile), String> {
    let at = |why: &dyn std::fmt::Display| format!("cannot listen on {}: {why}", path.display());
    let address = SockAddr::unix(path).map_err(|why| at(&why))?;
    if let Ok(about) = std::fs::symlink_metadata(path) {
        if !about.file_type().is_socket() {
            return Err(at(&"a file of that name is there, and it is no socket"));
        }
        let probe = socket2::Socket::new(Domain::UNIX, kind, None).map_err(|why| at(&why))?;
        match probe.connect(&address) {
            Err(why) if why.kind() == io::ErrorKind::ConnectionRefused => {
                std::fs::remove_file(path).map_err(|why| at(&why))?;
            }
            Err(why) if why.kind() == io::ErrorKind::NotFound => {}
            _ => return Err(at(&"another program listens there")),
        }
    }
    let socket = socket2::Socket::new(Domain::UNIX, kind.nonblocking().cloexec(), None)
        .map_err(|why| at(&why))?;
    socket.bind(&address).map_err(|why| at(&why))?;
    let made = std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode & 0o777))
        .map_err(|why| at(&why))
        .and_then(|()| identity(path).ok_or_else(|| at(&"its file has gone")));
    match made {
        Ok(identity) => Ok((
            socket,
            SocketFile {
                path: path.to_owned(),
                identity,
            },
        )),
        Err(why) => {
            // The reason is told; a file left behind is found dead at the next start.
            let _ = std::fs::remove_file(path);
            Err(why)
        }
    }
}
