//! The admin server as a client sees it: health, tokens and roles, reload, certificates that are replaced.

use pipeline::Health;
use pipeline::telemetry::Kind;

use super::*;

struct Server {
    url: String,
    telemetry: Arc<Telemetry>,
    reloads: mpsc::Receiver<ReloadRequest>,
    admin: super::Server,
    folder: tempfile::TempDir,
}

async fn server(toml: &str) -> Result<Server, String> {
    let mut options: Admin = toml::from_str(toml).unwrap();
    options.address.set_port(0);
    let telemetry = Telemetry::new("pve1", "0.1.0");
    let (ask, reloads) = mpsc::channel(1);
    let folder = tempfile::tempdir().unwrap();
    let admin = super::Server::start(&options, Arc::clone(&telemetry), ask, folder.path())?;
    let port = admin.address().unwrap().port();
    Ok(Server {
        url: format!("http://127.0.0.1:{port}"),
        telemetry,
        reloads,
        admin,
        folder,
    })
}

async fn ask(request: reqwest::RequestBuilder) -> (u16, String) {
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

fn client() -> reqwest::Client {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().unwrap()
}

#[tokio::test]
async fn it_is_alive_before_it_is_ready_and_says_what_is_missing() {
    let server = server("").await.unwrap();
    let sink = server
        .telemetry
        .component("es", Kind::Sink, "elasticsearch");
    assert_eq!(
        ask(client().get(format!("{}/health", server.url))).await.0,
        200
    );
    sink.health()
        .set(Health::Failing("connection refused".to_owned()));
    server.telemetry.set_started();
    let (status, text) = ask(client().get(format!("{}/ready", server.url))).await;
    assert_eq!(status, 503);
    assert!(text.contains("connection refused"), "{text}");
    sink.health().set(Health::Healthy);
    assert_eq!(
        ask(client().get(format!("{}/ready", server.url))).await.0,
        200
    );
    let (status, text) = ask(client().get(format!("{}/metrics", server.url))).await;
    assert_eq!(status, 200);
    assert!(text.contains("component_id=\"es\""), "{text}");
}

#[tokio::test]
async fn reload_answers_with_what_changed_or_why_not() {
    let server = server("").await.unwrap();
    let (url, mut reloads, _admin) = (server.url, server.reloads, server.admin);
    tokio::spawn(async move {
        reloads
            .recv()
            .await
            .unwrap()
            .send(Ok(json!({ "added": ["a"] })))
            .unwrap();
        reloads
            .recv()
            .await
            .unwrap()
            .send(Err(json!({ "error": "no" })))
            .unwrap();
    });
    let url = format!("{url}/reload");
    assert_eq!(ask(client().get(&url)).await.0, 405);
    assert_eq!(
        ask(client().post(&url)).await,
        (200, "{\"added\":[\"a\"]}".to_owned())
    );
    assert_eq!(
        ask(client().post(&url)).await,
        (422, "{\"error\":\"no\"}".to_owned())
    );
    assert_eq!(
        ask(client().post(&url).header("origin", "http://evil.example"))
            .await
            .0,
        403
    );
    assert_eq!(ask(client().post(&url)).await.0, 503);
}

#[tokio::test]
async fn a_token_guards_what_is_worth_guarding() {
    let server = server("operator_token = \"s3cret\"").await.unwrap();
    let url = format!("{}/metrics", server.url);
    assert_eq!(ask(client().get(&url)).await.0, 401);
    assert_eq!(ask(client().get(&url).bearer_auth("s3creT")).await.0, 401);
    assert_eq!(ask(client().get(&url).bearer_auth("s3cret")).await.0, 200);
    assert_eq!(
        ask(client().get(format!("{}/health", server.url))).await.0,
        200
    );
}

#[tokio::test]
async fn the_auditor_reads_and_does_not_reload() {
    let server = server("operator_token = \"op\"\nauditor_token = \"au\"")
        .await
        .unwrap();
    let metrics = format!("{}/metrics", server.url);
    let reload = format!("{}/reload", server.url);
    assert_eq!(ask(client().get(&metrics).bearer_auth("au")).await.0, 200);
    assert_eq!(ask(client().post(&reload).bearer_auth("au")).await.0, 403);
    assert_eq!(ask(client().post(&reload)).await.0, 401);
    drop(server.reloads);
    assert_eq!(ask(client().post(&reload).bearer_auth("op")).await.0, 503);
    assert!(
        server
            .telemetry
            .encode()
            .contains("pvetrail_admin_refused_total{host=\"pve1\"} 1")
    );
}

#[tokio::test]
async fn options_change_without_a_restart_and_wrong_ones_change_nothing() {
    let mut server = server("").await.unwrap();
    let url = format!("{}/metrics", server.url);
    let mut options = server.admin.options.clone();
    options.operator_token = toml::from_str::<Admin>("operator_token = \"new\"")
        .unwrap()
        .operator_token;
    server.admin.change(&options).await.unwrap();
    assert_eq!(ask(client().get(&url)).await.0, 401);
    assert_eq!(ask(client().get(&url).bearer_auth("new")).await.0, 200);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut wrong = options.clone();
    wrong.address = taken.local_addr().unwrap();
    assert!(
        server
            .admin
            .change(&wrong)
            .await
            .unwrap_err()
            .contains("set another address")
    );
    let url = format!("http://{}/metrics", server.admin.address().unwrap());
    assert_eq!(ask(client().get(&url).bearer_auth("new")).await.0, 200);
    options.enabled = false;
    server.admin.change(&options).await.unwrap();
    assert!(client().get(&url).send().await.is_err());
}

#[tokio::test]
async fn certificates_are_replaced_while_it_runs() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let renew = |names: &str| {
        let made =
            rcgen::generate_simple_self_signed([names.to_owned(), "localhost".to_owned()]).unwrap();
        let write = |name: &str, text: String| {
            let part = file("part");
            std::fs::write(&part, text).unwrap();
            std::fs::rename(&part, file(name)).unwrap();
        };
        write("key.pem", made.signing_key.serialize_pem());
        write("crt.pem", made.cert.pem());
        made.cert.pem()
    };
    let trusting = |pem: &str| {
        let authority = reqwest::Certificate::from_pem(pem.as_bytes()).unwrap();
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        reqwest::Client::builder()
            .no_proxy()
            .tls_certs_only([authority])
            .build()
            .unwrap()
    };
    let first = renew("one.example");
    let toml = format!(
        "tls = {{ crt_file = \"{}\", key_file = \"{}\" }}",
        file("crt.pem").display(),
        file("key.pem").display()
    );
    let server = server(&toml).await.unwrap();
    let url = format!(
        "https://localhost:{}/health",
        server.admin.address().unwrap().port()
    );
    assert_eq!(ask(trusting(&first).get(&url)).await.0, 200);
    let second = renew("two.example");
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while trusting(&second).get(&url).send().await.is_err() {
        assert!(
            std::time::Instant::now() < deadline,
            "the new certificate is not shown"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(trusting(&first).get(&url).send().await.is_err());
    std::fs::write(file("crt.pem"), "garbage").unwrap();
    assert_eq!(
        ask(trusting(&second).get(&url)).await.0,
        200,
        "the old one goes on"
    );
}

#[tokio::test]
async fn other_machines_are_not_let_in_without_a_token() {
    let why = server("address = \"0.0.0.0:1\"").await.err().unwrap();
    assert!(why.contains("operator_token"), "{why}");
}

#[tokio::test]
async fn silences_are_made_listed_and_taken_back_in_the_file_of_the_command() {
    let server = server("operator_token = \"op\"\nauditor_token = \"au\"")
        .await
        .unwrap();
    let url = format!("{}/silences", server.url);
    let store = Store::new(server.folder.path());
    let body = r#"{"match": {"rule": "PVR-201", "node": ["pve1", "pve2"]}, "for": "2h", "author": "alice", "reason": "planned"}"#;
    let post = |token: &str, body: &str| {
        let request = client().post(&url).bearer_auth(token);
        ask(request.body(body.to_owned()))
    };
    assert_eq!(ask(client().get(&url)).await.0, 401);
    assert_eq!(post("au", body).await.0, 403);
    assert!(store.all().unwrap().is_empty());
    let (status, text) = post("op", body).await;
    assert_eq!(status, 201, "{text}");
    let made: Value = serde_json::from_str(&text).unwrap();
    let held = store.all().unwrap();
    assert_eq!(made["id"], *held[0].id);
    assert_eq!(
        (held[0].about(), &*held[0].author),
        ("node=pve1,pve2 rule=PVR-201".to_owned(), "alice")
    );
    // Both roles may look.
    let (status, text) = ask(client().get(&url).bearer_auth("au")).await;
    assert_eq!(status, 200);
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), json!([made]));
    for (wrong, says) in [
        ("{", "EOF"),
        (
            r#"{"match": {}, "for": "2h", "author": "a", "reason": "b"}"#,
            "all alerts",
        ),
        (
            r#"{"match": {"rule": "x"}, "author": "a", "reason": "b"}"#,
            "say `for`",
        ),
        (
            r#"{"match": {"rule": "x"}, "for": "2h", "author": "a", "reason": " "}"#,
            "reason",
        ),
        (
            r#"{"match": {"nonsense": "x"}, "for": "2h", "author": "a", "reason": "b"}"#,
            "nonsense",
        ),
        (
            r#"{"match": {"rule": "x"}, "until": "tomorrow", "author": "a", "reason": "b"}"#,
            "is no time",
        ),
        (
            r#"{"match": {"rule": "x"}, "until": "2001-01-01T00:00:00Z", "author": "a", "reason": "b"}"#,
            "ends before",
        ),
        (
            r#"{"match": {"rule": "x"}, "for": "2h", "author": "a", "reason": "b", "more": 1}"#,
            "more",
        ),
    ] {
        let (status, text) = post("op", wrong).await;
        assert!(
            status == 422 && text.contains(says),
            "{wrong}: {status} {text}"
        );
    }
    let foreign = client()
        .post(&url)
        .bearer_auth("op")
        .header("origin", "http://evil.example");
    assert_eq!(ask(foreign.body(body)).await.0, 403);
    let id = held[0].id.clone();
    let end = |token: &str, query: &str| {
        ask(client()
            .delete(format!("{url}/{id}{query}"))
            .bearer_auth(token))
    };
    assert_eq!(end("au", "?author=bob").await.0, 403);
    assert_eq!(end("op", "").await.0, 400);
    assert_eq!(end("op", "?author=bob").await.0, 200);
    assert_eq!(end("op", "?author=bob").await.0, 404);
    assert_eq!(store.all().unwrap()[0].removed.as_ref().unwrap().1, "bob");
    let get = |query: &str| ask(client().get(format!("{url}{query}")).bearer_auth("op"));
    assert_eq!(get("").await, (200, "[]".to_owned()));
    assert!(get("?all=true").await.1.contains(&id));
}
