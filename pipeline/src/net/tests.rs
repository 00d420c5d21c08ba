//! The client against servers that behave and servers that do not.

use std::time::Duration;

use super::receiver::{Answer, receiver};
use super::*;
use crate::net::http::HttpOptions;

pub(in crate::net) mod tls;

fn client() -> Http {
    Http::new(&HttpOptions::default()).unwrap()
}

fn with_tls(tls: TlsOptions) -> Http {
    Http::new(&HttpOptions {
        tls,
        ..HttpOptions::default()
    })
    .unwrap()
}

async fn text(http: &Http, url: &Url) -> Result<String, HttpError> {
    Ok(String::from_utf8(http.get(url).send().await?.bytes(1 << 20).await?).unwrap())
}

#[tokio::test]
async fn a_connection_is_used_again_for_answers_of_every_framing() {
    let server = receiver()
        .then(Answer::new(200, "with a length"))
        .then(Answer::new(200, "in several small chunks").chunked())
        .then(Answer::new(204, ""))
        .then(Answer::new(200, ""))
        .start()
        .await;
    let (http, url) = (client(), server.url("x"));
    for expected in ["with a length", "in several small chunks", "", ""] {
        assert_eq!(text(&http, &url).await.unwrap(), expected);
    }
    let head = http.request("HEAD", &url).send().await.unwrap();
    assert_eq!(head.bytes(10).await.unwrap(), b"");
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn credentials_and_headers_are_sent_and_never_printed() {
    let server = receiver().start().await;
    let options = HttpOptions {
        auth: Some(Auth::Basic {
            user: "pve".into(),
            password: "hunter2".into(),
        }),
        headers: [("X-Tenant".to_owned(), Secret::from("t1"))].into(),
        ..HttpOptions::default()
    };
    let http = Http::new(&options).unwrap();
    let body = b"{\"a\":1}";
    let url = server.url("_bulk").with("pipeline", "p");
    assert!(
        http.post(&url)
            .body("application/json", body)
            .send()
            .await
            .unwrap()
            .is_success()
    );
    let seen = &server.requests()[0];
    assert_eq!(
        (seen.method.as_str(), seen.path.as_str(), &*seen.text()),
        ("POST", "/_bulk?pipeline=p", "{\"a\":1}")
    );
    assert_eq!(seen.header("authorization"), Some("Basic cHZlOmh1bnRlcjI="));
    assert_eq!(seen.header("x-tenant"), Some("t1"));
    assert_eq!(seen.header("content-length"), Some("7"));
    assert!(!format!("{options:?} {http:?}").contains("hunter2"));
}

#[test]
fn headers_that_cannot_be_sent_are_refused_when_the_client_is_built() {
    for (name, value, why) in [
        ("a b", "x", "name of a header"),
        ("X", "a\nb", "line break"),
        ("Host", "x", "itself"),
        ("Content-Length", "1", "itself"),
    ] {
        let headers = [(name.to_owned(), Secret::from(value))].into();
        let error = Http::new(&HttpOptions {
            headers,
            ..HttpOptions::default()
        })
        .unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
        assert!(error.key.starts_with("request.headers."));
    }
}

#[tokio::test]
async fn a_large_body_arrives_whole_and_a_refusal_of_it_is_heard_before_its_end() {
    let server = receiver().start().await;
    let http = client();
    let body: Vec<u8> = (0..24_u32 << 20).map(|i| (i % 251) as u8).collect();
    let url = server.url("");
    assert!(
        http.post(&url)
            .body("x/y", &body)
            .send()
            .await
            .unwrap()
            .is_success()
    );
    assert!(server.requests()[0].body == body);

    server.then(Answer::new(413, "too large").early());
    let answer = http.post(&url).body("x/y", &body).send().await.unwrap();
    assert_eq!(answer.status(), 413);
    assert_eq!(answer.excerpt(100).await, "too large");
    // That connection is not used again.
    assert!(
        http.post(&url)
            .body("x/y", b"small")
            .send()
            .await
            .unwrap()
            .is_success()
    );
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn a_kept_connection_that_died_is_replaced_without_an_error() {
    let server = receiver()
        .then(Answer::new(200, "one").header("Connection", "keep-alive"))
        .start()
        .await;
    let http = client();
    assert_eq!(text(&http, &server.url("")).await.unwrap(), "one");
    let port = server.port();
    drop(server);
    let server = receiver()
        .answers(|_| Some(Answer::new(200, "two")))
        .start_at(port)
        .await;
    assert_eq!(text(&http, &server.url("")).await.unwrap(), "two");
}

#[tokio::test]
async fn what_breaks_is_an_error_with_a_kind() {
    let server = receiver()
        .then(Answer::silent())
        .then(Answer::new(200, "0123456789").cut(42))
        .then(
            Answer::new(200, "in several small chunks")
                .chunked()
                .cut(80),
        )
        .then(Answer::raw("SSH-2.0-OpenSSH_9.2\r\n\r\n"))
        .then(Answer::raw(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        ))
        .then(Answer::raw(format!(
            "HTTP/1.1 200 OK\r\nX: {}\r\n\r\n",
            "x".repeat(70_000)
        )))
        .then(Answer::raw(format!(
            "HTTP/1.1 200 OK\r\n{}\r\n",
            "A: b\r\n".repeat(500)
        )))
        .then(Answer::new(200, "x".repeat(2 << 20)))
        .then(Answer::new(200, "x".repeat(2 << 20)).chunked())
        .start()
        .await;
    let (http, url) = (client(), server.url(""));
    // A body that ends with its connection is whole, so a cut one needs a length or chunks to be seen.
    for kind in [
        "closed", "closed", "closed", "protocol", "protocol", "protocol", "protocol", "too_long",
        "too_long",
    ] {
        let error = text(&http, &url).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
    }
    let gone = server.url("");
    drop(server);
    // The port may answer until the task that held it is gone.
    let error = loop {
        match text(&http, &gone).await {
            Err(error) if error.to_string().contains("refused") => break error,
            _ => tokio::task::yield_now().await,
        }
    };
    assert_eq!(error.kind(), "connect");
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_left_after_the_timeout() {
    let server = receiver().then(Answer::hang()).start().await;
    let url = server.url("");
    let http = client();
    let error = http
        .get(&url)
        .timeout(Duration::from_millis(50))
        .send()
        .await
        .err()
        .unwrap();
    assert_eq!(error.kind(), "timeout");
}

#[tokio::test]
async fn no_redirect_is_followed() {
    let server = receiver()
        .then(Answer::new(302, "").header("Location", "http://127.0.0.1:1/"))
        .start()
        .await;
    let answer = client().get(&server.url("")).send().await.unwrap();
    assert_eq!(
        (answer.status(), answer.header("location")),
        (302, Some("http://127.0.0.1:1/"))
    );
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn no_answer_breaks_the_client() {
    let mut random = fastrand::Rng::with_seed(3);
    let pieces = [
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.0 200\r\n",
        "HTTP/1.1 100 Continue\r\n\r\n",
        "HTTP/1.1 204 -\r\n",
        "\r\n",
        "\n",
        "\r\n\r\n",
        "Content-Length: 5\r\n",
        "Content-Length: 99999999999\r\n",
        "Content-Length: -1\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Transfer-Encoding: gzip\r\n",
        "Connection: keep-alive\r\n",
        "5\r\nhello\r\n",
        "0\r\n\r\n",
        "ffffffffffffffff\r\n",
        "0\r\nA: b\r\n",
        "\u{0}",
        "é: ü\r\n",
    ];
    let server = receiver().start().await;
    let (http, url) = (client(), server.url(""));
    for _ in 0..1500 {
        let mut answer = String::from(if random.bool() { pieces[0] } else { "" });
        for _ in 0..random.usize(0..8) {
            answer.push_str(random.choice(pieces).unwrap());
        }
        server.then(Answer::raw(answer.clone()));
        let read = async {
            match http.get(&url).timeout(Duration::from_secs(5)).send().await {
                Ok(answer) => answer.bytes(1 << 16).await.map(|_| ()),
                Err(why) => Err(why),
            }
        };
        // The server closes behind each of them, so only a loop of our own could take that long.
        assert!(
            !matches!(read.await, Err(HttpError::Timeout(_))),
            "{answer:?}"
        );
    }
}
