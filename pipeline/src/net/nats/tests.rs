//! Options of a NATS connection, and what is said when it fails.

use async_nats::{Event, ServerError};
use tokio::sync::watch;

use super::*;

fn auth(json: &str) -> NatsAuth {
    serde_json::from_str(json).unwrap()
}

fn connector(url: &str, auth: Option<&NatsAuth>) -> Result<NatsConnector, String> {
    let url = NatsUrl::One(url.to_owned());
    NatsConnector::new("in", &url, None, auth, None).map_err(|mistakes| {
        let all: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
        all.join("; ")
    })
}

#[test]
fn an_address_is_one_or_several_and_its_login_is_never_shown() {
    let several = connector("nats://a, tls://user:p%40ss@b:4333,[::1]:4222", None).unwrap();
    assert_eq!(
        several.servers(),
        "nats://a:4222, tls://b:4333, nats://[::1]:4222"
    );
    let Some(NatsAuth::UserPassword { user_password }) = &several.auth else {
        panic!("{:?}", several.auth);
    };
    assert_eq!(user_password.password.expose(), "p@ss");
    assert!(!format!("{several:?}{:?}", several.auth).contains("p@ss"));
    let token = connector("nats://s3cret@a", None).unwrap();
    assert!(matches!(token.auth, Some(NatsAuth::Token { .. })));
}

#[test]
fn mistakes_are_told_without_what_is_secret() {
    for (url, why) in [
        ("http://user:hush@a:80", "http:// is not spoken here"),
        ("nats://user:hush@", "url: an address is like"),
        ("", "url: an address is like"),
        ("nats://a:99999", "url: an address is like"),
    ] {
        let said = connector(url, None).unwrap_err();
        assert!(
            said.contains(why) && !said.contains("hush"),
            "{url}: {said}"
        );
    }
    let token = auth(r#"{"strategy": "token", "token": {"value": "hush"}}"#);
    let twice = connector("nats://user:hush@a", Some(&token)).unwrap_err();
    assert!(
        twice.contains("keep one of them") && !twice.contains("hush"),
        "{twice}"
    );
    let nkey = auth(r#"{"strategy": "nkey", "nkey": {"seed": "SUhush"}}"#);
    let said = connector("nats://a", Some(&nkey)).unwrap_err();
    assert!(
        said.contains("auth.nkey.seed") && !said.contains("SUhush"),
        "{said}"
    );
}

#[test]
fn a_public_key_must_belong_to_its_seed() {
    let pair = nkeys::KeyPair::new_user();
    let nkey = |public: String| NatsAuth::Nkey {
        nkey: Nkey {
            nkey: Some(public),
            seed: pair.seed().unwrap().into(),
        },
    };
    assert!(connector("nats://a", Some(&nkey(pair.public_key()))).is_ok());
    let other = nkeys::KeyPair::new_user().public_key();
    let said = connector("nats://a", Some(&nkey(other))).unwrap_err();
    assert!(said.contains("does not belong to the seed"), "{said}");
}

#[test]
fn waits_grow_to_a_bound_and_differ() {
    assert_eq!(wait(0), Duration::ZERO);
    assert_eq!(wait(1), Duration::ZERO);
    assert!(wait(2) <= Duration::from_millis(50));
    for attempt in [9, 100, usize::MAX] {
        assert!(wait(attempt) <= LAST_WAIT && wait(attempt) >= LAST_WAIT / 2);
    }
}

#[test]
fn breaks_and_refusals_are_kept() {
    let (tell, link) = watch::channel(Link::default());
    let logs = Logs::default();
    let note = |event: Event| note(&tell, &event, "in", &logs);
    note(Event::Connected);
    note(Event::ServerError(ServerError::Other(
        "Permissions Violation for Publish to \"pve.audit\"".to_owned(),
    )));
    note(Event::Disconnected);
    let link = link.borrow();
    assert!(link.breaks == 1 && link.denials == 1);
    assert!(link.forbids("pve.audit") && !link.forbids("pve.aud"));
}

#[test]
fn credentials_are_read_anew_for_every_challenge() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.creds");
    let write = |jwt: &str, pair: &nkeys::KeyPair| {
        let seed = pair.seed().unwrap();
        let text = format!(
            "-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n*** IMPORTANT ***\n\n-----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
        );
        std::fs::write(&path, text).unwrap();
    };
    let (one, two) = (nkeys::KeyPair::new_user(), nkeys::KeyPair::new_user());
    for (jwt, pair) in [("first.x.y", &one), ("second.x.y", &two)] {
        write(jwt, pair);
        let auth = sign_in(&path, b"nonce").unwrap();
        assert_eq!(auth.jwt.as_deref(), Some(jwt));
        pair.verify(b"nonce", &auth.signature.unwrap()).unwrap();
    }
    for text in [
        "",
        "-----BEGIN NATS USER JWT-----\n------END NATS USER JWT------\n",
        "\0\0",
    ] {
        std::fs::write(&path, text).unwrap();
        assert!(
            sign_in(&path, b"n")
                .err()
                .unwrap()
                .contains("no credentials file")
        );
    }
    assert!(
        sign_in(&folder.path().join("absent"), b"n")
            .err()
            .unwrap()
            .contains("absent: No such file")
    );
}
