//! Clients that are let in and clients that are not, certificates that are replaced, sockets that were left behind.

use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use super::*;
use crate::component::Kind;
use crate::net::TlsOptions;
use crate::net::tests::tls::Pki;
use crate::telemetry::Telemetry;

fn options() -> ListenOptions {
    ListenOptions::new(ListenAt::Tcp("127.0.0.1:0".parse().unwrap()))
}

fn metrics() -> Arc<ComponentMetrics> {
    Telemetry::new("test", "0").component("in", Kind::Source, "syslog")
}

fn refused(metrics: &ComponentMetrics, reason: &str) -> u64 {
    metrics.connections_refused.with([reason]).get()
}

fn tls(pki: &Pki, allowed: &[&str]) -> ListenTls {
    ListenTls {
        crt_file: pki.file("server.pem").unwrap(),
        key_file: pki.file("server.key").unwrap(),
        key_pass: None,
        ca_file: pki.file("ca.pem"),
        allowed_names: allowed.iter().map(|name| (*name).to_owned()).collect(),
    }
}

type Client = tokio_rustls::client::TlsStream<TcpStream>;

/// Connects, says `hello`, and waits for one byte: only then does a client of TLS 1.3 know that it was let in.
async fn connect(at: SocketAddr, pki: &Pki, own: Option<&str>) -> std::io::Result<Client> {
    let options = TlsOptions {
        ca_file: pki.file("ca.pem"),
        crt_file: own.and_then(|own| pki.file(&format!("{own}.pem"))),
        key_file: own.and_then(|own| pki.file(&format!("{own}.key"))),
        verify_hostname: false,
        ..TlsOptions::default()
    };
    let connector = TlsConnector::from(Arc::new(options.client(&[]).unwrap()));
    let name = ServerName::try_from("localhost").unwrap();
    let mut client = connector
        .connect(name, TcpStream::connect(at).await?)
        .await?;
    client.write_all(b"hello").await?;
    client.read_u8().await?;
    Ok(client)
}

/// Lets in whoever may, answers with one byte, and gives the peers and their connections.
fn serve(mut listener: Listener) -> tokio::sync::mpsc::UnboundedReceiver<(Peer, Stream)> {
    let (tell, told) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        loop {
            let mut accepted = listener.accept().await;
            let mut hello = [0; 5];
            let greeted = accepted.stream.read_exact(&mut hello).await;
            if greeted.is_ok() && &hello == b"hello" {
                accepted.stream.write_all(b"!").await.unwrap();
                accepted.stream.flush().await.unwrap();
            }
            if tell.send((accepted.peer, accepted.stream)).is_err() {
                return;
            }
        }
    });
    told
}

async fn until(condition: impl Fn() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(
            tokio::time::Instant::now() < deadline,
            "it never came to pass"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_client_is_let_in_by_its_certificate_and_its_name() {
    let pki = Pki::new();
    let metrics = metrics();
    let listener = Listener::bind(
        &ListenOptions {
            tls: Some(tls(&pki, &["agent"])),
            ..options()
        },
        Some(Arc::clone(&metrics)),
    )
    .unwrap();
    let at = listener.local_addr().unwrap();
    let mut let_in = serve(listener);

    let client = connect(at, &pki, Some("client")).await.unwrap();
    let (peer, stream) = let_in.recv().await.unwrap();
    assert_eq!(peer.names, ["agent"]);
    assert_eq!(peer.subject.as_deref(), Some("CN=rcgen self signed cert"));
    assert_eq!(peer.address.unwrap().ip().to_string(), "127.0.0.1");
    assert!(stream.is_tls());
    assert_eq!(metrics.open_connections.get(), 1.0);
    drop((client, stream));
    assert_eq!(metrics.open_connections.get(), 0.0);
    assert_eq!(metrics.connections_shutdown.get(), 1);

    assert!(connect(at, &pki, None).await.is_err());
    assert_eq!(refused(&metrics, "no_certificate"), 1);
    assert!(connect(at, &pki, Some("other")).await.is_err());
    assert_eq!(refused(&metrics, "name"), 1);
    let stranger = Pki::new();
    for file in ["client.pem", "client.key"] {
        let to = pki.folder.path().join(file.replace("client", "stranger"));
        std::fs::copy(stranger.folder.path().join(file), to).unwrap();
    }
    assert!(connect(at, &pki, Some("stranger")).await.is_err());
    assert_eq!(refused(&metrics, "certificate"), 1);

    let mut plain = TcpStream::connect(at).await.unwrap();
    plain
        .write_all(b"<13>no TLS at all, but long enough for a record\n")
        .await
        .unwrap();
    until(|| refused(&metrics, "handshake") == 1).await;
    assert_eq!(metrics.connections_established.get(), 1);
}

#[tokio::test]
async fn a_handshake_that_never_ends_is_ended_and_holds_up_nobody() {
    let pki = Pki::new();
    let metrics = metrics();
    let listener = Listener::bind(
        &ListenOptions {
            tls: Some(tls(&pki, &[])),
            handshake_timeout: Duration::from_secs(3),
            ..options()
        },
        Some(Arc::clone(&metrics)),
    )
    .unwrap();
    let at = listener.local_addr().unwrap();
    let mut let_in = serve(listener);
    let mut slow = TcpStream::connect(at).await.unwrap();
    slow.write_all(&[0x16]).await.unwrap();
    connect(at, &pki, Some("client")).await.unwrap();
    let_in.recv().await.unwrap();
    assert_eq!(refused(&metrics, "handshake_timeout"), 0);
    assert_eq!(slow.read(&mut [0]).await.unwrap_or(0), 0);
    assert_eq!(refused(&metrics, "handshake_timeout"), 1);
}

#[tokio::test]
async fn replaced_files_hold_for_the_next_connection_and_broken_ones_for_none() {
    let pki = Pki::new();
    let listener = Listener::bind(
        &ListenOptions {
            tls: Some(tls(&pki, &[])),
            ..options()
        },
        None,
    )
    .unwrap();
    let at = listener.local_addr().unwrap();
    let _let_in = serve(listener);
    let shown = async || {
        let client = connect(at, &pki, Some("client")).await.unwrap();
        client.get_ref().1.peer_certificates().unwrap()[0].to_vec()
    };
    let replace = |name: &str, with: &[u8]| {
        let file = pki.folder.path().join(name);
        let new = file.with_extension("new");
        std::fs::write(&new, with).unwrap();
        std::fs::rename(new, file).unwrap();
    };
    let read = |name: &str| std::fs::read(pki.folder.path().join(name)).unwrap();
    let first = shown().await;
    let (old_crt, old_key) = (read("server.pem"), read("server.key"));
    replace("server.pem", b"no certificate");
    assert_eq!(shown().await, first);
    // The certificate is there before its key is.
    replace("server.pem", &read("other.pem"));
    assert_eq!(shown().await, first);
    replace("server.key", &read("other.key"));
    let second = shown().await;
    assert_ne!(second, first);
    std::fs::remove_file(pki.folder.path().join("server.key")).unwrap();
    assert_eq!(shown().await, second);
    replace("server.key", &old_key);
    replace("server.pem", &old_crt);
    assert_eq!(shown().await, first);
    // Written over in place, as an editor does.
    std::fs::write(pki.folder.path().join("server.key"), read("other.key")).unwrap();
    std::fs::write(pki.folder.path().join("server.pem"), read("other.pem")).unwrap();
    assert_eq!(shown().await, second);
}

#[tokio::test]
async fn strangers_and_crowds_are_turned_away() {
    let metrics = metrics();
    let networks = serde_json::from_str(r#"["192.0.2.0/24"]"#).unwrap();
    let mut listener = Listener::bind(
        &ListenOptions {
            permit_origin: Some(networks),
            ..options()
        },
        Some(Arc::clone(&metrics)),
    )
    .unwrap();
    let at = listener.local_addr().unwrap();
    let mut stranger = TcpStream::connect(at).await.unwrap();
    tokio::select! {
        _ = listener.accept() => panic!("127.0.0.1 is in no permitted network"),
        end = stranger.read_u8() => assert!(end.is_err()),
    }
    assert_eq!(refused(&metrics, "origin"), 1);

    let mut listener = Listener::bind(
        &ListenOptions {
            connection_limit: 3,
            connection_limit_per_peer: 2,
            ..options()
        },
        Some(Arc::clone(&metrics)),
    )
    .unwrap();
    let at = listener.local_addr().unwrap();
    let mut clients = Vec::new();
    let mut held = Vec::new();
    for _ in 0..2 {
        clients.push(TcpStream::connect(at).await.unwrap());
        held.push(listener.accept().await);
    }
    let mut third = TcpStream::connect(at).await.unwrap();
    tokio::select! {
        _ = listener.accept() => panic!("two are the most for one address"),
        end = third.read_u8() => assert!(end.is_err()),
    }
    assert_eq!(refused(&metrics, "peer_limit"), 1);
    held.clear();
    let _fourth = TcpStream::connect(at).await.unwrap();
    listener.accept().await;
}

#[tokio::test]
async fn when_all_places_are_taken_the_next_waits_and_loses_nothing() {
    let mut listener = Listener::bind(
        &ListenOptions {
            connection_limit: 1,
            ..options()
        },
        None,
    )
    .unwrap();
    let at = listener.local_addr().unwrap();
    let _first = TcpStream::connect(at).await.unwrap();
    let held = listener.accept().await;
    let mut second = TcpStream::connect(at).await.unwrap();
    second.write_all(b"hello").await.unwrap();
    let early = tokio::time::timeout(Duration::from_millis(50), listener.accept()).await;
    assert!(early.is_err());
    drop(held);
    let mut accepted = listener.accept().await;
    let mut hello = [0; 5];
    accepted.stream.read_exact(&mut hello).await.unwrap();
    assert_eq!(&hello, b"hello");
}

#[tokio::test]
async fn silence_ends_a_connection_where_it_is_limited() {
    let mut listener = Listener::bind(
        &ListenOptions {
            idle_timeout: Some(Duration::from_millis(200)),
            ..options()
        },
        None,
    )
    .unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    let mut stream = listener.accept().await.stream;
    let began = std::time::Instant::now();
    let talk = async {
        for _ in 0..10 {
            client.write_all(b".").await.unwrap();
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let listen = async {
        let mut heard = 0;
        loop {
            match stream.read(&mut [0; 8]).await {
                Ok(n) => heard += n,
                Err(why) => return (heard, why.kind()),
            }
        }
    };
    let ((), heard) = tokio::join!(talk, listen);
    assert_eq!(heard, (10, std::io::ErrorKind::TimedOut));
    assert!(began.elapsed() >= Duration::from_millis(500));
}

#[tokio::test]
async fn a_unix_socket_has_its_mode_and_replaces_a_dead_one() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("syslog.sock");
    let options = ListenOptions::new(ListenAt::Unix(path.clone(), 0o620));
    let mut listener = Listener::bind(&options, None).unwrap();
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o620);
    let again = Listener::bind(&options, None).err().unwrap();
    assert!(again.contains("another program listens"), "{again}");
    // The one who asked was a connection too.
    assert!(listener.accept().await.stream.read_u8().await.is_err());
    let mut client = UnixStream::connect(&path).await.unwrap();
    client.write_all(b"x").await.unwrap();
    let mut accepted = listener.accept().await;
    assert_eq!(accepted.peer, Peer::default());
    assert_eq!(accepted.stream.read_u8().await.unwrap(), b'x');
    drop(listener);
    assert!(!path.exists());

    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "std leaves its file behind");
    drop(Listener::bind(&options, None).unwrap());
    std::fs::write(&path, "a file").unwrap();
    let error = Listener::bind(&options, None).err().unwrap();
    assert!(error.contains("no socket"), "{error}");
}

#[test]
fn mistakes_are_told_together() {
    let folder = tempfile::tempdir().unwrap();
    let options = ListenOptions {
        tls: Some(ListenTls {
            crt_file: folder.path().join("no.pem"),
            key_file: folder.path().join("no.key"),
            key_pass: None,
            ca_file: None,
            allowed_names: vec!["agent".to_owned()],
        }),
        connection_limit: 0,
        ..options()
    };
    let keys: Vec<String> = options.mistakes().into_iter().map(|e| e.key).collect();
    assert_eq!(
        keys,
        ["tls.crt_file", "tls.allowed_names", "connection_limit"]
    );
}
