//! Requests in pieces, and what is none.

use super::super::budget::Budget;
use super::*;

/// What is made of these bytes, fed in pieces of every size.
async fn read(bytes: &[u8], piece: usize) -> Result<(Head, Vec<u8>), Broken> {
    let (mut ours, theirs) = tokio::io::duplex(piece);
    let bytes = bytes.to_vec();
    let feed = tokio::spawn(async move {
        let _ = ours.write_all(&bytes).await;
        ours
    });
    let mut wire = Wire::new(theirs);
    let until = Instant::now() + Duration::from_secs(5);
    let result = async {
        let head = wire.head(until).await?;
        let mut lease = Budget::new(1 << 20).lease();
        let body = wire.body(head.length, 100, &mut lease, until).await?;
        Ok((head, body))
    };
    let result = result.await;
    feed.abort();
    result
}

#[tokio::test]
async fn requests_are_read_however_they_are_cut() {
    let plain = b"POST /in?x=1 HTTP/1.1\r\nHost: a\r\nX-Y:  z \r\nContent-Length: 4\r\n\r\nbody";
    let chunked = b"\r\nPOST http://a/in HTTP/1.1\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n3;x=y\r\nbod\r\n01\r\ny\r\n0\r\nT: 1\r\n\r\n";
    for piece in [1, 2, 3, 7, 64, 4096] {
        for (bytes, keeps) in [(&plain[..], true), (chunked, false)] {
            let (head, body) = read(bytes, piece).await.unwrap();
            assert_eq!((head.method.as_str(), head.path.as_str()), ("POST", "/in"));
            assert_eq!((body.as_slice(), head.keep_alive), (&b"body"[..], keeps));
        }
    }
    let (head, _) = read(plain, 4096).await.unwrap();
    assert_eq!(head.header("x-y"), Some("z"));
}

#[tokio::test]
async fn what_is_not_clear_or_too_much_is_refused() {
    let cases: [(&str, u16); 13] = [
        (
            "POST / HTTP/1.1\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\n",
            400,
        ),
        ("POST / HTTP/1.1\r\nContent-Length: +4\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nContent-Length: \r\n\r\n", 400),
        (
            "POST / HTTP/1.1\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n",
            501,
        ),
        (
            "POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            501,
        ),
        ("POST / HTTP/1.1\r\nContent-Length: 101\r\n\r\n", 413),
        ("POST / HTTP/1.1\r\nContent-Length: 209715200\r\n\r\n", 413),
        (
            "POST / HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\n",
            413,
        ),
        (
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\n",
            413,
        ),
        (
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n",
            400,
        ),
        ("POST / HTTP/2.0\r\n\r\n", 505),
        ("\u{16}\u{3}\u{1}\u{2}hello", 400),
    ];
    for (text, status) in cases {
        match read(text.as_bytes(), 4096).await {
            Err(Broken::Refused(said, _)) => assert_eq!(said, status, "{text}"),
            other => panic!("{text}: {other:?}"),
        }
    }
    let long = format!("POST / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(MAX_HEAD));
    let many = format!(
        "POST / HTTP/1.1\r\n{}\r\n",
        "X: y\r\n".repeat(MAX_HEADERS + 1)
    );
    let endless = format!("POST /{}", "x".repeat(2 * MAX_HEAD));
    for text in [long, many, endless] {
        let error = read(text.as_bytes(), 1 << 20).await.unwrap_err();
        assert!(matches!(error, Broken::Refused(431, _)), "{error:?}");
    }
}
