//! A program with one `syslog` source, and certificates for those who send to it.

use std::net::{TcpStream, UdpSocket};

use serde_json::Value;

use super::{Ground, Program};

/// A program with one `syslog` source, whose events end up in a file.
pub struct Road {
    pub ground: Ground,
    pub program: Program,
    pub port: u16,
}

impl Road {
    /// `source` are the source's own keys; `PORT` in them is a free one.
    pub fn start(source: &str) -> Road {
        Road::into(
            "type = \"console\"\nencoding = { codec = \"json\" }",
            source,
        )
    }

    /// The same with another sink.
    pub fn into(sink: &str, source: &str) -> Road {
        let ground = Ground::new();
        let port = free_port();
        let source = source
            .replace("PORT", &port.to_string())
            .replace("GROUND", &ground.path("").display().to_string());
        ground.configure(&format!(
            r#"
[admin]
address = "127.0.0.1:0"

[sources.in]
type = "syslog"
timezone = "UTC"
{source}

[sinks.out]
inputs = ["in"]
{sink}
batch = {{ timeout = "10ms" }}
"#
        ));
        let program = ground.start();
        ground.until("the source listens", || {
            ground.log().contains("listening for syslog")
        });
        Road {
            ground,
            program,
            port,
        }
    }

    pub fn events(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.ground.path("printed")).unwrap_or_default();
        // The last line may still be on its way.
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        text[..whole]
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// Waits for so many events.
    pub fn expect(&self, n: usize) -> Vec<Value> {
        self.ground.until(&format!("{n} events are there"), || {
            self.events().len() >= n
        });
        self.events()
    }

    pub fn tcp(&self) -> TcpStream {
        TcpStream::connect(("127.0.0.1", self.port)).unwrap()
    }

    pub fn errors(&self, kind: &str) -> f64 {
        let label = format!("error_type=\"{kind}\"");
        let metrics = self.ground.metrics();
        let of = metrics.iter().filter(|(name, _)| {
            name.starts_with("component_errors_total") && name.contains(&label)
        });
        of.map(|(_, value)| value).sum()
    }
}

pub fn free_port() -> u16 {
    // One that is free for both.
    loop {
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = tcp.local_addr().unwrap().port();
        if UdpSocket::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

pub fn messages(events: &[Value]) -> Vec<&str> {
    events
        .iter()
        .map(|event| event["message"].as_str().unwrap())
        .collect()
}

/// An authority, a server and clients that it signed.
pub struct Pki {
    folder: tempfile::TempDir,
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
}

impl Pki {
    pub fn new() -> Pki {
        let folder = tempfile::tempdir().unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let mut parameters = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
        parameters
            .distinguished_name
            .push(rcgen::DnType::CommonName, "authority of this test");
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let ca = parameters.self_signed(&key).unwrap();
        std::fs::write(folder.path().join("ca.pem"), ca.pem()).unwrap();
        let pki = Pki {
            folder,
            issuer: rcgen::Issuer::new(parameters, key),
        };
        pki.sign("server", &["localhost", "127.0.0.1"]);
        pki.sign("renewed", &["localhost", "127.0.0.1"]);
        pki.sign("client", &["agent.example", "192.0.2.7"]);
        pki.sign("other", &["other.example"]);
        pki
    }

    pub fn sign(&self, name: &str, hosts: &[&str]) {
        let key = rcgen::KeyPair::generate().unwrap();
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let mut parameters = rcgen::CertificateParams::new(hosts).unwrap();
        parameters.distinguished_name = rcgen::DistinguishedName::new();
        parameters
            .distinguished_name
            .push(rcgen::DnType::OrganizationName, "Example");
        parameters
            .distinguished_name
            .push(rcgen::DnType::CommonName, name);
        let certificate = parameters.signed_by(&key, &self.issuer).unwrap();
        std::fs::write(self.file(&format!("{name}.pem")), certificate.pem()).unwrap();
        std::fs::write(self.file(&format!("{name}.key")), key.serialize_pem()).unwrap();
    }

    pub fn file(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    /// A source with TLS that lets in clients of this authority with one of these names.
    pub fn source(&self, allowed: &[&str]) -> String {
        format!(
            "mode = \"tcp\"\naddress = \"127.0.0.1:PORT\"\nhandshake_timeout = \"2s\"\n\
             tls = {{ crt_file = {:?}, key_file = {:?}, ca_file = {:?}, allowed_names = {allowed:?} }}",
            self.file("server.pem"),
            self.file("server.key"),
            self.file("ca.pem"),
        )
    }

    /// A connection whose handshake is done, as far as the client knows.
    pub fn connect(&self, road: &Road, own: Option<&str>) -> std::io::Result<Client> {
        let options = pipeline::Tls {
            ca_file: Some(self.file("ca.pem")),
            crt_file: own.map(|own| self.file(&format!("{own}.pem"))),
            key_file: own.map(|own| self.file(&format!("{own}.key"))),
            ..pipeline::Tls::default()
        };
        let config = std::sync::Arc::new(options.client(&[]).unwrap());
        let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
        let session = rustls::ClientConnection::new(config, name).unwrap();
        let mut client = rustls::StreamOwned::new(session, road.tcp());
        while client.conn.is_handshaking() {
            client.conn.complete_io(&mut client.sock)?;
        }
        Ok(client)
    }
}

/// A TLS connection of the test's own.
pub type Client = rustls::StreamOwned<rustls::ClientConnection, TcpStream>;

pub fn refused(road: &Road, reason: &str) -> f64 {
    let label = format!("reason=\"{reason}\"");
    let metrics = road.ground.metrics();
    let of = metrics
        .iter()
        .filter(|(name, _)| name.starts_with("connection_refused_total") && name.contains(&label));
    of.map(|(_, value)| value).sum()
}
