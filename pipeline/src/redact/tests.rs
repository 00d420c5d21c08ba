//! What is secret goes, what stands beside it stays, and no bytes do harm.

use proptest::prelude::*;

use super::*;

fn redacted(text: &str) -> String {
    Redactor::default()
        .redact_str(text)
        .unwrap_or_else(|| text.to_owned())
}

#[test]
fn what_is_secret_goes_and_its_neighbours_stay() {
    let uuid = "0f1e2d3c-aaaa-bbbb-cccc-0123456789ab";
    let cases = [
        (
            "GET /x?node=pve1&vncticket=PVEVNC%3A65F1A2B3%3A%3Aabc%2Bdef%3D&port=5900 HTTP/1.1",
            "GET /x?node=pve1&vncticket=[redacted]&port=5900 HTTP/1.1",
        ),
        (
            "\"GET /v?port=1&vncticket=PVEVNC:65F1A2B3::abc+d/ef= HTTP/1.1\" 101 -",
            "\"GET /v?port=1&vncticket=[redacted] HTTP/1.1\" 101 -",
        ),
        (
            "PVEAuthCookie=PVE:root@pam:65F1A2B3::c2ln+/bmF0dXJl==; path=/",
            "PVEAuthCookie=[redacted]; path=/",
        ),
        (
            "cookie PVE%3Aroot%40pam%3A65F1A2B3%3A%3Ac2ln tail",
            "cookie [redacted] tail",
        ),
        ("x PVETFA:abc::def y", "x [redacted] y"),
        (
            "twice PVE%253Aroot%2540pam%253A65F1A2B3%253A%253Ac2ln&x=1",
            "twice [redacted]&x=1",
        ),
        (
            &format!("Authorization: PVEAPIToken=root@pam!mon={uuid} next"),
            "Authorization: PVEAPIToken=root@pam!mon=[redacted] next",
        ),
        (
            &format!("PVEAPIToken%3Droot%40pam%21mon%3D{uuid}%2Chost%3D10.0.0.1"),
            "PVEAPIToken%3Droot%40pam%21mon%3D[redacted]%2Chost%3D10.0.0.1",
        ),
        (
            &format!("PBSAPIToken=back@pbs!pve:{uuid} x"),
            "PBSAPIToken=back@pbs!pve:[redacted] x",
        ),
        ("PVEAPIToken=c2VjcmV0= x", "PVEAPIToken=[redacted] x"),
        (
            &format!(
                "target-endpoint=apitoken=PVEAPIToken=root@pam!mig={uuid},host=10.0.0.9,fingerprint=AA:BB"
            ),
            "target-endpoint=apitoken=[redacted],host=10.0.0.9,fingerprint=AA:BB",
        ),
        (
            &format!(
                "?target-endpoint=apitoken%3DPVEAPIToken%3Droot%40pam%21mig%3D{uuid}%2Chost%3Dx HTTP/1.1"
            ),
            "?target-endpoint=apitoken%3D[redacted]%2Chost%3Dx HTTP/1.1",
        ),
        (
            "Authorization: Bearer eyJhbGciOi.J9.x_y-z= rest",
            "Authorization: Bearer [redacted] rest",
        ),
        (
            "authorization=bearer%20Zm9vYmFy9",
            "authorization=bearer%20[redacted]",
        ),
        (
            "got Bearer 0123456789abcdef here",
            "got Bearer [redacted] here",
        ),
        (
            "Authorization: Basic cm9vdDpwdw== ok",
            "Authorization: Basic [redacted] ok",
        ),
        (
            "open cifs://bob:hunter2@nas/share now",
            "open cifs://bob:[redacted]@nas/share now",
        ),
        (
            "https://u:p@ss:word@host:8006/x",
            "https://u:[redacted]@host:8006/x",
        ),
        (
            "storage add nas --username bob --password 'hun ter2' --share x",
            "storage add nas --username bob --password '[redacted]' --share x",
        ),
        (
            "<root@pam> update VM 100: -ciuser bob -cipassword hunter2 -memory 8192",
            "<root@pam> update VM 100: -ciuser bob -cipassword [redacted] -memory 8192",
        ),
        (
            "<root@pam> update VM 100: -sshkeys ssh-rsa%20AAAAB3 -tags x",
            "<root@pam> update VM 100: -sshkeys [redacted] -tags x",
        ),
        (
            "POST /api2/json/access/ticket?username=root@pam&password=hunter2,x;y HTTP/1.1",
            "POST /api2/json/access/ticket?username=root@pam&password=[redacted] HTTP/1.1",
        ),
        (
            "\"GET /x?token=abc\" 200 12",
            "\"GET /x?token=[redacted]\" 200 12",
        ),
        (
            "scsi0: nas:1,password=hunter2,size=3G",
            "scsi0: nas:1,password=[redacted],size=3G",
        ),
        (
            r#"{"username":"root@pam","password":"hun\"ter2","otp": "123456"}"#,
            r#"{"username":"root@pam","password":"[redacted]","otp": "[redacted]"}"#,
        ),
        (
            r#"{"m":"{\"password\":\"hun\\\"ter2\",\"n\":1}"}"#,
            r#"{"m":"{\"password\":\"[redacted]\",\"n\":1}"}"#,
        ),
        (
            r#"{"secret": 12345, "n": 1, "sshkeys":["a]b","c"],"x":null}"#,
            r#"{"secret": [redacted], "n": 1, "sshkeys":[redacted],"x":null}"#,
        ),
        (
            "$VAR1 = { 'password' => 'hunter2', 'user' => 'bob' };",
            "$VAR1 = { 'password' => '[redacted]', 'user' => 'bob' };",
        ),
        (
            "?filter=%7B%22password%22%3A%22hunter2%22%2C%22n%22%3A1%7D&x=1",
            "?filter=%7B%22password%22%3A%22[redacted]%22%2C%22n%22%3A1%7D&x=1",
        ),
        (
            "CSRFPreventionToken: 65F1A2B3:c2lnbmF0dXJl ok",
            "CSRFPreventionToken: [redacted] ok",
        ),
        (
            "PassWord=hunter2 MY_API_KEY=hunter2 client_secret=hunter2",
            "PassWord=[redacted] MY_API_KEY=[redacted] client_secret=[redacted]",
        ),
        ("password = hunter2 # x", "password = [redacted] # x"),
        (
            "POST /nodes/pve1/certificates/custom?key=abc&force=1",
            "POST /nodes/pve1/certificates/custom?key=[redacted]&force=1",
        ),
        (
            "\"CONNECT pvespiceproxy:697724c8:100:pve1:61000::0f0f0f:61000 HTTP/1.1\" 200 -",
            "\"CONNECT pvespiceproxy:697724c8:100:pve1:61000::[redacted]:61000 HTTP/1.1\" 200 -",
        ),
        (
            "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\nabc=\n-----END RSA PRIVATE KEY-----\nnext line",
            "-----BEGIN RSA PRIVATE KEY-----\n[redacted]\n[redacted]\n-----END RSA PRIVATE KEY-----\nnext line",
        ),
        (
            "key: -----BEGIN PRIVATE KEY-----\\nMIIEow\\n-----END PRIVATE KEY----- x",
            "key: -----BEGIN PRIVATE KEY-----[redacted]-----END PRIVATE KEY----- x",
        ),
        (
            "bWlk\nZGxl\n-----END PRIVATE KEY-----",
            "[redacted]\n[redacted]\n-----END PRIVATE KEY-----",
        ),
    ];
    for (text, wanted) in cases {
        assert_eq!(redacted(text), wanted, "of {text}");
        assert_eq!(redacted(wanted), wanted, "a second time");
    }
}

#[test]
fn ordinary_text_is_left_alone() {
    for text in [
        "::ffff:192.0.2.10 - - [26/01/2026:09:15:02 +0100] \"PUT /api2/json/access/password HTTP/1.1\" 200 13",
        "::ffff:192.0.2.10 - - [26/01/2026:09:15:02 +0100] \"POST /api2/extjs/access/ticket HTTP/1.1\" 200 763",
        "UPID:pve1:0003A5B2:01C8F2A4:697722A2:qmstart:100:root@pam:",
        "PVE: the product, and PVE::Tools::run_command at /usr/share/perl5/PVE/Tools.pm line 12",
        "authentication failure; rhost=::ffff:192.0.2.50 user=root@pam msg=no password",
        "<root@pam> changed password for user 'alice@pve'",
        "pveproxy[1601]: authentication failure: no such token 'monitor' for user 'svc@pve'",
        "the bearer authentication scheme; a basic understanding of the key = idea",
        "update VM 100: -delete cipassword -cipassword <hidden> -memory 1",
        "order=5 monkey=3 tokenid=ci keyboard=de value=7 next-key=1x",
        "https://root@pam:8006/ and ftp://host:21/a@b",
        "GET /-----BEGIN PRIVATE KEY----- HTTP/1.1\" 200 12\nnext line stays too",
        "{\"key\":\"memory\",\"value\":\"8192\",\"password\":null,\"ticket\":\"\"}",
        "-----BEGIN CERTIFICATE-----\nMIIabc\n-----END CERTIFICATE-----",
    ] {
        assert_eq!(Redactor::default().redact_str(text), None, "of {text}");
    }
}

#[test]
fn a_forged_private_key_cannot_black_out_the_lines_after_it() {
    let text = "GET /-----BEGIN PRIVATE KEY-----\nroot@pam logged in from 203.0.113.9\n-----END PRIVATE KEY-----\n";
    assert!(redacted(text).contains("root@pam logged in from 203.0.113.9"));
}

#[test]
fn a_line_full_of_beginnings_is_one_walk_and_hides_nothing() {
    let noise = "PVE:".repeat(200_000);
    let text = format!(
        "{noise} PVEVNC:65F1A2B3::{} spiceproxy:{}",
        "s".repeat(9000),
        "spiceproxy:".repeat(50_000)
    );
    let out = redacted(&text);
    assert!(out.starts_with(&noise));
    assert!(
        out.contains(" [redacted] spiceproxy:"),
        "the whole signature goes"
    );
}

#[test]
fn a_digest_tells_equal_secrets_and_no_more() {
    let options = RedactOptions {
        mode: RedactMode::Hash,
        keys: Vec::new(),
    };
    let ours = Redactor::new(&options, b"installation one");
    let theirs = Redactor::new(&options, b"installation two");
    let first = ours.redact_str("password=hunter2 x").unwrap();
    assert_eq!(first.len(), "password=hmac:0123456789abcdef x".len());
    assert!(
        first.starts_with("password=hmac:") && first.ends_with(" x"),
        "{first}"
    );
    assert_eq!(ours.redact_str("password=hunter2 x").unwrap(), first);
    assert_ne!(theirs.redact_str("password=hunter2 x").unwrap(), first);
    assert_eq!(ours.redact_str(&first), None);
    for text in [
        "https://u:pw@h/",
        "Authorization: Bearer abcd1234",
        "-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----",
        "pvespiceproxy:1:2::ab:3",
    ] {
        let once = ours.redact_str(text).unwrap();
        assert_eq!(ours.redact_str(&once), None, "{once}");
    }
}

#[test]
fn dropping_leaves_the_name() {
    let options = RedactOptions {
        mode: RedactMode::Drop,
        keys: Vec::new(),
    };
    let redactor = Redactor::new(&options, &[]);
    assert_eq!(
        redactor.redact_str("a?password=x&b=1").unwrap(),
        "a?password=&b=1"
    );
}

#[test]
fn the_operator_can_add_keys() {
    let keys = vec!["vaultpin".to_owned(), "*_seed".to_owned()];
    let redactor = Redactor::new(
        &RedactOptions {
            mode: RedactMode::Mask,
            keys,
        },
        &[],
    );
    assert_eq!(
        redactor.redact_str("VaultPin=12 totp_seed=AB x=1").unwrap(),
        "VaultPin=[redacted] totp_seed=[redacted] x=1"
    );
    assert!(redactor.is_secret_key("vaultpin") && redactor.is_secret_key("pve.params.totp-seed"));
}

#[test]
fn names_of_parsed_fields() {
    let redactor = Redactor::default();
    for name in [
        "password",
        "pve.params.cipassword",
        "CSRFPreventionToken",
        "client-secret",
        "ssh-public-keys",
        "my_apikey",
        "value",
    ] {
        assert!(redactor.is_secret_key(name), "{name}");
    }
    for name in [
        "user.name",
        "tokenid",
        "pve.token.id",
        "keyboard",
        "memory",
        "",
    ] {
        assert!(!redactor.is_secret_key(name), "{name}");
    }
    assert_eq!(redactor.redact_value("hunter2"), MASK);
    assert_eq!(redactor.redact_value(MASK), MASK);
}

#[test]
fn both_searches_find_the_same() {
    let mut many = vec!["vaultpin".to_owned()];
    many.extend(
        (b'a'..=b'z').flat_map(|a| {
            (b'a'..=b'g').map(move |b| format!("zq{}{}", char::from(a), char::from(b)))
        }),
    );
    let automaton = Redactor::new(
        &RedactOptions {
            mode: RedactMode::Mask,
            keys: many,
        },
        &[],
    );
    assert!(matches!(automaton.anchors.search, Search::Automaton(_)));
    let text = "x?password=1&y=2 PVE:root@pam:65F1A2B3::sig Bearer abcdef12 https://a:b@c/";
    assert_eq!(
        automaton.redact_str(text),
        Redactor::default().redact_str(text)
    );
}

fn secret() -> impl Strategy<Value = String> {
    "[A-Z][A-Za-z0-9]{11,30}".prop_map(|text| format!("{text}9Z"))
}

proptest! {
    #[test]
    fn planted_secrets_never_survive(secret in secret(), form in 0_usize..14, head in "[ -~]{0,40}", tail in "[a-z ]{0,20}") {
        let planted = match form {
            0 => format!("?vncticket={secret}&x=1"),
            1 => format!(" PVE:root@pam:65F1A2B3::{secret}"),
            2 => format!(" PVEAPIToken=a@pve!t={secret}"),
            3 => format!(" Bearer {secret}"),
            4 => format!(" Authorization: Basic {secret}"),
            5 => format!(" https://user:{secret}@host/"),
            6 => format!(" password={secret}"),
            7 => format!(",password={secret},a=b"),
            8 => format!(" \"password\": \"{secret}\""),
            9 => format!(" --password {secret}"),
            10 => format!(" PVEVNC%3A65F1A2B3%3A%3A{secret}"),
            11 => format!("\n-----BEGIN PRIVATE KEY-----\n{secret}\n-----END PRIVATE KEY-----\n"),
            12 => format!("&cipassword%3D{secret}%2Cx"),
            _ => format!(" client-secret='{secret}'"),
        };
        let text = format!("{head}{planted} {tail}");
        let once = redacted(&text);
        prop_assert!(!once.contains(&secret), "{once}");
        prop_assert!(once.ends_with(&tail) || head.contains(['"', '\'']), "{once}");
        prop_assert_eq!(redacted(&once), once);
    }

    #[test]
    fn any_bytes_are_safe_and_ranges_are_in_order(text in proptest::collection::vec(any::<u8>(), 0..300), planted in 0_usize..6) {
        let mut bytes = text;
        let pieces: [&[u8]; 6] = [b"password=", b"PVE:", b"\"token\":\"", b"-----BEGIN PRIVATE KEY-----\n", b"://a:b@", b"Bearer "];
        let at = bytes.len() / 2;
        bytes.splice(at..at, pieces[planted].iter().copied());
        let mut hits = Vec::new();
        Redactor::default().find(&bytes, &mut hits);
        let mut last = 0;
        for hit in &hits {
            prop_assert!(hit.start >= last && hit.start < hit.end && hit.end <= bytes.len());
            prop_assert!(!bytes[hit.clone()].contains(&b'\n'));
            last = hit.end;
        }
        let once = Redactor::default().redact(&bytes).unwrap_or(bytes);
        prop_assert_eq!(Redactor::default().redact(&once), None);
    }
}

#[test]
fn a_secret_at_the_end_of_a_line_leaves_the_next_line_alone() {
    let text = "2026-01-26T09:40:11+01:00 pve1 qm[1]: <root@pam> update VM 100: -sshkeys ssh-rsa%20AAAA\n2026-01-26T09:40:12+01:00 pve1 qm[2]: hello\n";
    let redactor = Redactor::new(&RedactOptions::default(), b"key");
    let redacted = redactor.redact_str(text).unwrap();
    assert_eq!(
        redacted,
        "2026-01-26T09:40:11+01:00 pve1 qm[1]: <root@pam> update VM 100: -sshkeys [redacted]\n2026-01-26T09:40:12+01:00 pve1 qm[2]: hello\n"
    );
}
