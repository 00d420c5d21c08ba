//! Whom the client believes, and what it shows of itself; with and without a proxy between.

use super::*;

/// An authority, what it signed, and files of both.
pub(in crate::net) struct Pki {
    pub(in crate::net) folder: tempfile::TempDir,
    server_fingerprint: String,
}

impl Pki {
    pub(in crate::net) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let mut parameters = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
        let name = folder.path().display().to_string();
        parameters
            .distinguished_name
            .push(rcgen::DnType::CommonName, name);
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let ca = parameters.self_signed(&key).unwrap();
        std::fs::write(folder.path().join("ca.pem"), ca.pem()).unwrap();
        let issuer = rcgen::Issuer::new(parameters, key);
        let mut fingerprint = String::new();
        for (name, host) in [
            ("server", "localhost"),
            ("other", "elsewhere.example"),
            ("client", "agent"),
        ] {
            let key = rcgen::KeyPair::generate().unwrap();
            let parameters = rcgen::CertificateParams::new(vec![host.to_owned()]).unwrap();
            let certificate = parameters.signed_by(&key, &issuer).unwrap();
            std::fs::write(folder.path().join(format!("{name}.pem")), certificate.pem()).unwrap();
            std::fs::write(
                folder.path().join(format!("{name}.key")),
                key.serialize_pem(),
            )
            .unwrap();
            if name == "server" {
                fingerprint = Fingerprint::of(certificate.der()).to_string();
            }
        }
        Self {
            folder,
            server_fingerprint: fingerprint,
        }
    }

    pub(in crate::net) fn file(&self, name: &str) -> Option<std::path::PathBuf> {
        Some(self.folder.path().join(name))
    }

    fn listener(&self, name: &str, clients: bool) -> rustls::ServerConfig {
        let options = TlsOptions {
            crt_file: self.file(&format!("{name}.pem")),
            key_file: self.file(&format!("{name}.key")),
            ca_file: if clients { self.file("ca.pem") } else { None },
            ..TlsOptions::default()
        };
        options.server(&["http/1.1"]).unwrap()
    }
}

#[tokio::test]
async fn a_server_is_believed_by_its_authority_and_its_name() {
    let pki = Pki::new();
    let server = receiver().tls(pki.listener("server", false)).start().await;
    let other = receiver().tls(pki.listener("other", false)).start().await;
    let ca = TlsOptions {
        ca_file: pki.file("ca.pem"),
        ..TlsOptions::default()
    };
    let http = with_tls(ca.clone());
    assert!(text(&http, &server.url("")).await.is_ok());
    assert!(text(&http, &server.url("")).await.is_ok());
    assert_eq!(server.connections(), 1, "TLS connections are kept too");

    let error = text(&http, &other.url("")).await.unwrap_err();
    assert_eq!(error.kind(), "tls");
    assert!(
        text(
            &with_tls(TlsOptions {
                verify_hostname: false,
                ..ca
            }),
            &other.url("")
        )
        .await
        .is_ok()
    );

    let strangers = Pki::new();
    let strict = with_tls(TlsOptions {
        ca_file: strangers.file("ca.pem"),
        verify_hostname: false,
        ..TlsOptions::default()
    });
    let error = text(&strict, &server.url("")).await.unwrap_err();
    assert!(error.to_string().contains("tls.ca_file"), "{error}");
    let blind = with_tls(TlsOptions {
        verify_certificate: false,
        ..TlsOptions::default()
    });
    assert!(text(&blind, &server.url("")).await.is_ok());
}

#[tokio::test]
async fn a_large_body_arrives_whole_over_tls() {
    let pki = Pki::new();
    let server = receiver().tls(pki.listener("server", false)).start().await;
    let http = with_tls(TlsOptions {
        ca_file: pki.file("ca.pem"),
        ..TlsOptions::default()
    });
    let body: Vec<u8> = (0..6_u32 << 20).map(|i| (i % 251) as u8).collect();
    for _ in 0..2 {
        assert!(
            http.post(&server.url(""))
                .body("x/y", &body)
                .send()
                .await
                .unwrap()
                .is_success()
        );
    }
    assert!(server.requests().iter().all(|r| r.body == body));
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_proxy_gets_whole_addresses_of_plain_servers() {
    let proxy = receiver().start().await;
    let through = format!("http://user:pass@127.0.0.1:{}", proxy.port());
    let http = Http::with_environment(&HttpOptions::default(), |name| {
        (name == "http_proxy").then(|| through.clone())
    });
    let http = http.unwrap();
    let url = Url::parse("http://es1.example:9200/_bulk?x=1").unwrap();
    assert!(http.get(&url).send().await.unwrap().is_success());
    let seen = &proxy.requests()[0];
    assert_eq!(seen.path, "http://es1.example:9200/_bulk?x=1");
    assert_eq!(seen.header("host"), Some("es1.example:9200"));
    assert_eq!(
        seen.header("proxy-authorization"),
        Some("Basic dXNlcjpwYXNz")
    );
}

/// A proxy of one connection: answers CONNECT with `answer`, then hands bytes through to a port of loopback.
async fn tunnel(answer: &'static str, to: u16) -> (u16, tokio::task::JoinHandle<String>) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let task = tokio::spawn(async move {
        let (mut client, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(client.read_u8().await.unwrap());
        }
        client.write_all(answer.as_bytes()).await.unwrap();
        if answer.contains(" 200 ") {
            let mut server = tokio::net::TcpStream::connect(("127.0.0.1", to))
                .await
                .unwrap();
            // It ends with the client, and how it ends matters to nobody.
            let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
        }
        String::from_utf8(head).unwrap()
    });
    (port, task)
}

#[tokio::test]
async fn tls_goes_through_a_proxy_as_if_it_were_not_there() {
    let pki = Pki::new();
    let server = receiver()
        .tls(pki.listener("other", false))
        .answers(|_| Some(Answer::new(200, "hello")))
        .start()
        .await;
    let url = Url::parse("https://elsewhere.example/x").unwrap();
    let options = HttpOptions {
        tls: TlsOptions {
            ca_file: pki.file("ca.pem"),
            ..TlsOptions::default()
        },
        auth: Some(Auth::Bearer {
            token: "t0k".into(),
        }),
        ..HttpOptions::default()
    };
    let client = |port: u16| {
        let through = format!("127.0.0.1:{port}");
        Http::with_environment(&options, move |name| {
            (name == "https_proxy").then(|| through.clone())
        })
        .unwrap()
    };
    let (port, proxy) = tunnel("HTTP/1.1 200 Connection established\r\n\r\n", server.port()).await;
    let http = client(port);
    assert_eq!(text(&http, &url).await.unwrap(), "hello");
    assert_eq!(server.requests()[0].path, "/x");
    drop(http);
    let head = proxy.await.unwrap();
    assert!(
        head.starts_with("CONNECT elsewhere.example:443 HTTP/1.1\r\n"),
        "{head}"
    );
    assert!(
        !head.contains("t0k"),
        "the proxy is not told what is for the server"
    );

    let (port, proxy) = tunnel("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", 0).await;
    let error = text(&client(port), &url).await.unwrap_err();
    assert!(error.to_string().contains("407"), "{error}");
    proxy.await.unwrap();
}

#[tokio::test]
async fn a_pinned_certificate_is_the_only_one_believed() {
    let pki = Pki::new();
    let server = receiver().tls(pki.listener("server", false)).start().await;
    let other = receiver().tls(pki.listener("other", false)).start().await;
    let pinned = TlsOptions {
        fingerprint: vec!["ab".repeat(32), pki.server_fingerprint.clone()],
        ..TlsOptions::default()
    };
    let http = with_tls(pinned.clone());
    assert!(text(&http, &server.url("")).await.is_ok());
    let error = text(&http, &other.url("")).await.unwrap_err().to_string();
    assert!(error.contains("none of tls.fingerprint"), "{error}");
    // With an authority as well, both must agree.
    let both = with_tls(TlsOptions {
        ca_file: Pki::new().file("ca.pem"),
        ..pinned
    });
    assert_eq!(
        text(&both, &server.url("")).await.unwrap_err().kind(),
        "tls"
    );
}

#[tokio::test]
async fn a_client_shows_its_certificate_and_follows_its_files() {
    let pki = Pki::new();
    let server = receiver().tls(pki.listener("server", true)).start().await;
    let anonymous = with_tls(TlsOptions {
        ca_file: pki.file("ca.pem"),
        ..TlsOptions::default()
    });
    assert!(text(&anonymous, &server.url("")).await.is_err());

    let own = TlsOptions {
        ca_file: pki.file("ca.pem"),
        crt_file: pki.file("client.pem"),
        key_file: pki.file("client.key"),
        ..TlsOptions::default()
    };
    let http = with_tls(own);
    let close = || Answer::new(200, "").header("Connection", "close");
    server.then(close());
    assert!(text(&http, &server.url("")).await.is_ok());

    // A broken file leaves what was read before in force, a good one replaces it.
    let good = std::fs::read(pki.file("client.pem").unwrap()).unwrap();
    std::fs::write(pki.file("client.pem").unwrap(), "half a file").unwrap();
    reload_files();
    server.then(close());
    assert!(text(&http, &server.url("")).await.is_ok());
    std::fs::write(pki.file("client.pem").unwrap(), good).unwrap();
    let strangers = Pki::new();
    std::fs::copy(
        strangers.file("ca.pem").unwrap(),
        pki.file("ca.pem").unwrap(),
    )
    .unwrap();
    reload_files();
    assert_eq!(
        text(&http, &server.url("")).await.unwrap_err().kind(),
        "tls"
    );
}

#[test]
fn tls_files_that_cannot_be_used_are_told_with_their_key() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty.pem");
    std::fs::write(&empty, "nothing here").unwrap();
    let cases = [
        (
            TlsOptions {
                ca_file: Some(folder.path().join("none.pem")),
                ..Default::default()
            },
            "tls.ca_file",
            "No such file",
        ),
        (
            TlsOptions {
                ca_file: Some(empty.clone()),
                ..Default::default()
            },
            "tls.ca_file",
            "BEGIN CERTIFICATE",
        ),
        (
            TlsOptions {
                crt_file: Some(empty.clone()),
                ..Default::default()
            },
            "tls.key_file",
            "needs a key_file",
        ),
        (
            TlsOptions {
                fingerprint: vec!["7D:3A".into()],
                ..Default::default()
            },
            "tls.fingerprint",
            "64",
        ),
    ];
    for (tls, key, why) in cases {
        let error = Http::new(&HttpOptions {
            tls,
            ..HttpOptions::default()
        })
        .unwrap_err();
        assert_eq!(error.key, key, "{error}");
        assert!(error.to_string().contains(why), "{error}");
    }
}

#[tokio::test]
async fn plain_http_to_a_tls_port_and_the_reverse_say_so() {
    let pki = Pki::new();
    let tls = receiver().tls(pki.listener("server", false)).start().await;
    let plain = receiver().start().await;
    let http = with_tls(TlsOptions {
        ca_file: pki.file("ca.pem"),
        ..TlsOptions::default()
    });
    let error = text(
        &http,
        &Url::parse(&format!("https://127.0.0.1:{}", plain.port())).unwrap(),
    )
    .await
    .unwrap_err();
    assert_eq!(error.kind(), "tls", "{error}");
    let error = text(
        &http,
        &Url::parse(&format!("http://127.0.0.1:{}", tls.port())).unwrap(),
    )
    .await
    .unwrap_err();
    assert!(matches!(error.kind(), "protocol" | "closed"), "{error}");
}
