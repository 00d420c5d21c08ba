//! Who may in, at a real nats-server: every kind of login, certificates on both sides, and what is said when it fails.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

#[allow(dead_code, reason = "each test uses its part")]
mod support;

use std::path::Path;

use nkeys::KeyPair;
use serde_json::{Value, json};
use support::nats::{Nats, Which};
use support::store::Store;
use support::{Ground, append, lines};

/// A log into a stream, and out of it again into a store, both with the same login.
fn graph(ground: &Ground, nats: &Nats, store: &Store, login: &str) -> String {
    format!(
        r#"
[admin]
address = "127.0.0.1:0"

[sources.in]
type = "file"
include = ["{}"]

[sinks.out]
type = "nats"
inputs = ["in"]
url = "{url}"
subject = "pve.audit"
jetstream = {{ stream = "AUDIT", create = true }}
batch = {{ timeout = "50ms" }}
request = {{ retry_initial_backoff = "20ms", retry_max_backoff = "200ms" }}
{login}

[sources.again]
type = "nats"
url = "{url}"
jetstream = {{ stream = "AUDIT", consumer = "agg", create = true }}
{login}

[sinks.es]
type = "elasticsearch"
inputs = ["again"]
endpoints = ["{}"]
batch = {{ timeout = "50ms" }}
"#,
        ground.path("in.log").display(),
        store.uri(),
        url = nats.url,
    )
}

/// Everything goes through with `right`; with each of `wrong` the log says why not, and no secret.
fn goes_through(nats: &Nats, right: &str, wrong: &[(&str, &str)], secrets: &[&str]) {
    let (store, ground) = (Store::start(), Ground::new());
    ground.configure(&graph(&ground, nats, &store, right));
    append(&ground.path("in.log"), &lines(0..100));
    let program = ground.start();
    ground.until("all are there", || store.len() == 100);
    assert_eq!(program.stop(), Some(0), "{}", ground.log());
    let mut logs = ground.log();
    for (login, why) in wrong {
        let ground = Ground::new();
        ground.configure(&graph(&ground, nats, &store, login));
        append(&ground.path("in.log"), &lines(0..100));
        let program = ground.start();
        // The sink and the source both say so.
        ground.until(why, || ground.log().matches(why).count() >= 2);
        drop(program);
        logs += &ground.log();
    }
    for secret in secrets {
        assert!(!logs.contains(secret), "{secret} is in the log: {logs}");
    }
    assert_eq!(store.len(), 100);
}

const REFUSED: &str = "refuses the login (Authorization Violation); check auth.";

#[test]
fn a_user_with_a_password() {
    for which in [Which::Newest, Which::Floor] {
        let flags = ["--user", "agent", "--pass", "r1ght-w0rd"];
        let Some(nats) = Nats::start_as(which, &flags, |_| Vec::new()) else {
            return;
        };
        let login = |password: &str| {
            format!(
                "auth = {{ strategy = \"user_password\", user_password = {{ user = \"agent\", password = \"{password}\" }} }}"
            )
        };
        let wrong = login("wr0ng-w0rd");
        goes_through(
            &nats,
            &login("r1ght-w0rd"),
            &[
                (&wrong, REFUSED),
                ("", "the server wants a login: set `auth`"),
            ],
            &["r1ght-w0rd", "wr0ng-w0rd"],
        );
    }
}

#[test]
fn a_token() {
    let Some(nats) = Nats::start(&["--auth", "t0ps3cr3t"]) else {
        return;
    };
    let login = |token: &str| {
        format!("auth = {{ strategy = \"token\", token = {{ value = \"{token}\" }} }}")
    };
    let wrong = login("0th3r");
    goes_through(
        &nats,
        &login("t0ps3cr3t"),
        &[(&wrong, REFUSED)],
        &["t0ps3cr3t", "0th3r"],
    );
}

fn write(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

#[test]
fn an_nkey() {
    let pair = KeyPair::new_user();
    let config = format!(
        "authorization: {{ users: [ {{ nkey: {} }} ] }}",
        pair.public_key()
    );
    let Some(nats) = Nats::start_as(Which::Newest, &[], |folder| {
        vec!["-c".to_owned(), write(folder, "nats.conf", &config)]
    }) else {
        return;
    };
    let login = |pair: &KeyPair| {
        format!(
            "auth = {{ strategy = \"nkey\", nkey = {{ seed = \"{}\" }} }}",
            pair.seed().unwrap()
        )
    };
    let other = KeyPair::new_user();
    let (right, wrong) = (pair.seed().unwrap(), other.seed().unwrap());
    goes_through(
        &nats,
        &login(&pair),
        &[(&login(&other), REFUSED)],
        &[&right, &wrong],
    );
}

/// Base64 for JWTs.
fn encode(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut out = String::new();
    for three in bytes.chunks(3) {
        let word = three.iter().enumerate().fold(0_u32, |word, (n, byte)| {
            word | u32::from(*byte) << (16 - 8 * n)
        });
        for place in 0..=three.len() {
            out.push(char::from(DIGITS[(word >> (18 - 6 * place)) as usize & 63]));
        }
    }
    out
}

/// What `issuer` says about `subject`, as `nsc` would write it.
fn jwt(issuer: &KeyPair, subject: &KeyPair, nats: Value) -> String {
    let head = json!({ "typ": "JWT", "alg": "ed25519-nkey" });
    let claims = json!({
        "jti": "test", "iat": 1_700_000_000, "iss": issuer.public_key(), "name": "test",
        "sub": subject.public_key(), "nats": nats,
    });
    let signed = [head, claims]
        .map(|part| encode(part.to_string().as_bytes()))
        .join(".");
    let signature = encode(&issuer.sign(signed.as_bytes()).unwrap());
    format!("{signed}.{signature}")
}

#[test]
fn a_credentials_file_of_an_operator_and_what_a_user_may_not() {
    let (operator, account, system) = (
        KeyPair::new_operator(),
        KeyPair::new_account(),
        KeyPair::new_account(),
    );
    let no_limits = json!({
        "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1, "leaf": -1,
        "mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1,
    });
    let of_account = |limits: &Value| json!({ "type": "account", "version": 2, "limits": limits });
    let config = format!(
        "operator: {}\nresolver: MEMORY\nsystem_account: {}\nresolver_preload: {{ {}: {}, {}: {} }}",
        jwt(
            &operator,
            &operator,
            json!({ "type": "operator", "version": 2 })
        ),
        system.public_key(),
        account.public_key(),
        jwt(&operator, &account, of_account(&no_limits)),
        system.public_key(),
        jwt(
            &operator,
            &system,
            of_account(
                &json!({ "subs": -1, "data": -1, "payload": -1, "conn": -1, "leaf": -1, "imports": -1, "exports": -1, "wildcards": true })
            )
        ),
    );
    let Some(nats) = Nats::start_as(Which::Newest, &[], |folder| {
        vec!["-c".to_owned(), write(folder, "nats.conf", &config)]
    }) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let credentials = |name: &str, issuer: &KeyPair, rights: Value| {
        let user = KeyPair::new_user();
        let mut claims = json!({ "type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1, "pub": {}, "sub": {} });
        claims["pub"] = rights;
        let token = jwt(issuer, &user, claims);
        let seed = user.seed().unwrap();
        let text = format!(
            "-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n-----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
        );
        let path = write(folder.path(), name, &text);
        let login = format!(
            "auth = {{ strategy = \"credentials_file\", credentials_file = {{ path = \"{path}\" }} }}"
        );
        (login, seed, token)
    };
    let (right, seed, token) = credentials("right.creds", &account, json!({}));
    // Signed by somebody the operator does not know.
    let (wrong, _, _) = credentials("wrong.creds", &KeyPair::new_account(), json!({}));
    let absent = right.replace("right.creds", "absent.creds");
    write(folder.path(), "empty.creds", "nothing");
    let empty = right.replace("right.creds", "empty.creds");
    goes_through(
        &nats,
        &right,
        &[
            (&wrong, REFUSED),
            (&absent, "absent.creds: No such file"),
            (&empty, "is no credentials file"),
        ],
        &[&seed, &token],
    );

    // One who may do everything but publish there.
    let (denied, _, _) = credentials("denied.creds", &account, json!({ "deny": ["pve.audit"] }));
    let (store, ground) = (Store::start(), Ground::new());
    ground.configure(&graph(&ground, &nats, &store, &denied));
    append(&ground.path("in.log"), &lines(0..10));
    let program = ground.start();
    ground.until("it says what is forbidden", || {
        ground
            .log()
            .contains("Permissions Violation for Publish to \\\"pve.audit\\\"")
    });
    ground.until("the sink is failing for that reason", || {
        ground
            .log()
            .contains("the server forbids it: Permissions Violation")
    });
    drop(program);
}

/// An authority, and what it vouches for.
struct Authority {
    issuer: rcgen::CertifiedIssuer<'static, rcgen::KeyPair>,
}

impl Authority {
    fn new(name: &str) -> Authority {
        let mut params = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, name);
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.key_usages = vec![
            rcgen::KeyUsagePurpose::KeyCertSign,
            rcgen::KeyUsagePurpose::DigitalSignature,
        ];
        let key = rcgen::KeyPair::generate().unwrap();
        Authority {
            issuer: rcgen::CertifiedIssuer::self_signed(params, key).unwrap(),
        }
    }

    /// Writes `<name>.pem` and `<name>.key` for these names.
    fn issue(&self, folder: &Path, name: &str, names: &[&str]) -> (String, String) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(names).unwrap();
        params.extended_key_usages = vec![
            rcgen::ExtendedKeyUsagePurpose::ServerAuth,
            rcgen::ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (
            write(folder, &format!("{name}.pem"), &certificate.pem()),
            write(folder, &format!("{name}.key"), &key.serialize_pem()),
        )
    }
}

#[test]
fn certificates_on_both_sides() {
    let folder = tempfile::tempdir().unwrap();
    let (authority, stranger) = (Authority::new("ours"), Authority::new("another"));
    let ca = write(folder.path(), "ca.pem", &authority.issuer.pem());
    let other_ca = write(folder.path(), "other.pem", &stranger.issuer.pem());
    let (server, server_key) =
        authority.issue(folder.path(), "server", &["127.0.0.1", "localhost"]);
    let (client, client_key) = authority.issue(folder.path(), "client", &["agent"]);
    let (strange, strange_key) = stranger.issue(folder.path(), "strange", &["agent"]);
    let flags = [
        "--tls",
        "--tlsverify",
        "--tlscert",
        &server,
        "--tlskey",
        &server_key,
        "--tlscacert",
        &ca,
    ];
    for which in [Which::Newest, Which::Floor] {
        let Some(nats) = Nats::start_as(which, &flags, |_| Vec::new()) else {
            return;
        };
        let login = |ca: &str, crt: &str, key: &str| {
            format!("tls = {{ ca_file = \"{ca}\", crt_file = \"{crt}\", key_file = \"{key}\" }}")
        };
        let anonymous = format!("tls = {{ ca_file = \"{ca}\" }}");
        goes_through(
            &nats,
            &login(&ca, &client, &client_key),
            &[
                (
                    &login(&other_ca, &client, &client_key),
                    "invalid peer certificate: UnknownIssuer",
                ),
                (
                    &login(&ca, &strange, &strange_key),
                    "cannot connect to nats://127.0.0.1",
                ),
                (&anonymous, "cannot connect to nats://127.0.0.1"),
            ],
            &["PRIVATE KEY"],
        );
    }
}

#[test]
fn certificates_are_renewed_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (before, after) = (Authority::new("before"), Authority::new("after"));
    // Both authorities for a while, as one does; then the old one goes.
    let both = before.issuer.pem() + &after.issuer.pem();
    let ca = write(folder.path(), "ca.pem", &both);
    let (server, server_key) = after.issue(folder.path(), "server", &["127.0.0.1"]);
    let (client, client_key) = before.issue(folder.path(), "client", &["agent"]);
    let clients = write(folder.path(), "clients.pem", &both);
    let flags = [
        "--tls",
        "--tlsverify",
        "--tlscert",
        &server,
        "--tlskey",
        &server_key,
        "--tlscacert",
        &clients,
    ];
    let Some(mut nats) = Nats::start_as(Which::Newest, &flags, |_| Vec::new()) else {
        return;
    };
    let (store, ground) = (Store::start(), Ground::new());
    let login = format!(
        "tls = {{ ca_file = \"{ca}\", crt_file = \"{client}\", key_file = \"{client_key}\" }}"
    );
    ground.configure(&graph(&ground, &nats, &store, &login));
    append(&ground.path("in.log"), &lines(0..100));
    let program = ground.start();
    ground.until("all are there", || store.len() == 100);

    after.issue(folder.path(), "client", &["agent"]);
    program.signal("HUP");
    ground.until("the source shows the new one", || {
        ground
            .log()
            .contains("connected anew, with the certificates as they are now")
    });
    append(&ground.path("in.log"), &lines(100..200));
    ground.until("what comes then is there", || store.len() == 200);

    // From here on the old certificate would let nobody in.
    write(folder.path(), "clients.pem", &after.issuer.pem());
    nats.stop();
    nats.again();
    append(&ground.path("in.log"), &lines(200..300));
    ground.until("both are back", || store.len() == 300);
    assert_eq!(program.stop(), Some(0), "{}", ground.log());
}
