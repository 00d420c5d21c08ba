//! The admin server: metrics, health, readiness, reload. It listens on this machine only, unless told otherwise.
//!
//! - `GET /health`: the process is alive · `GET /ready`: every source is started and every sink does its work, else 503 and why
//! - `GET /metrics`: Prometheus' text format · `POST /reload`: reads the configuration again; from this machine only
//! - with a token configured, everything but `/health` and `/ready` wants `Authorization: Bearer …`

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use pipeline::Telemetry;
use pipeline::config::Admin;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};

/// What a reload comes to: what changed, or why nothing did.
pub(crate) type Reloaded = Result<Value, Value>;

/// Asks the engine to reload; the answer comes back through it.
pub(crate) type ReloadRequest = oneshot::Sender<Reloaded>;

/// What the answers are made from.
struct Desk {
    telemetry: Arc<Telemetry>,
    reload: mpsc::Sender<ReloadRequest>,
    /// Any of these opens the doors that need one.
    tokens: Vec<String>,
}

/// Begins to listen. The server ends with the runtime it was started in.
pub(crate) async fn start(
    options: &Admin,
    telemetry: Arc<Telemetry>,
    reload: mpsc::Sender<ReloadRequest>,
) -> Result<SocketAddr, String> {
    let address = options.address;
    if options.tls.is_some() {
        return Err("[admin] tls is not offered by this version; put a proxy in front, or listen on 127.0.0.1".to_owned());
    }
    let tokens: Vec<String> = [&options.operator_token, &options.auditor_token]
        .into_iter()
        .flatten()
        .map(|token| token.expose().to_owned())
        .collect();
    if !address.ip().is_loopback() && tokens.is_empty() {
        return Err(format!(
            "[admin] address = \"{address}\" can be reached from other machines: set operator_token as well"
        ));
    }
    let help = "set another [admin] address, or enabled = false";
    let listener = TcpListener::bind(address)
        .await
        .map_err(|why| format!("cannot listen on {address}: {why}; {help}"))?;
    let bound = listener.local_addr().map_err(|why| why.to_string())?;
    let desk = Arc::new(Desk {
        telemetry,
        reload,
        tokens,
    });
    let service = router(desk).into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move {
        if let Err(why) = axum::serve(listener, service).await {
            tracing::error!(%why, "the admin server has ended");
        }
    });
    Ok(bound)
}

fn router(desk: Arc<Desk>) -> Router {
    let guarded = Router::new()
        .route("/metrics", get(metrics))
        .route("/reload", post(reload))
        .route_layer(middleware::from_fn_with_state(Arc::clone(&desk), guard));
    Router::new()
        .route(
            "/health",
            get(async || Json(json!({ "status": "alive", "version": env!("CARGO_PKG_VERSION") }))),
        )
        .route("/ready", get(ready))
        .merge(guarded)
        .with_state(desk)
}

/// Lets requests with one of the tokens through, and all of them where there is none.
async fn guard(State(desk): State<Arc<Desk>>, request: Request, next: Next) -> Response {
    let shown = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "));
    let allowed = desk.tokens.is_empty()
        || shown.is_some_and(|shown| {
            desk.tokens
                .iter()
                .any(|token| same(token.as_bytes(), shown.as_bytes()))
        });
    if !allowed {
        let challenge = [(header::WWW_AUTHENTICATE, "Bearer")];
        return (
            StatusCode::UNAUTHORIZED,
            challenge,
            Json(json!({ "error": "a token is needed: Authorization: Bearer …" })),
        )
            .into_response();
    }
    next.run(request).await
}

/// Compares without telling by its time how much was right.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len()
        && a.iter()
            .zip(b)
            .fold(0, |difference, (a, b)| difference | (a ^ b))
            == 0
}

async fn metrics(State(desk): State<Arc<Desk>>) -> Response {
    let kind = [(
        header::CONTENT_TYPE,
        "text/plain; version=0.0.4; charset=utf-8",
    )];
    (kind, desk.telemetry.encode()).into_response()
}

async fn ready(State(desk): State<Arc<Desk>>) -> Response {
    let ready = desk.telemetry.is_ready();
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (
        status,
        Json(json!({
            "ready": ready,
            "held_by": desk.telemetry.held(),
            "components": desk.telemetry.health(),
        })),
    )
        .into_response()
}

async fn reload(
    State(desk): State<Arc<Desk>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
) -> Response {
    // A page in a browser on this machine can send a POST here too; it cannot leave its origin out.
    let foreign = request.headers().contains_key(header::ORIGIN);
    if !peer.ip().to_canonical().is_loopback() || foreign {
        return (
            StatusCode::FORBIDDEN,
            Json(json!({ "error": "reload is for programs on this machine only" })),
        )
            .into_response();
    }
    let (answer, answered) = oneshot::channel();
    if desk.reload.send(answer).await.is_err() {
        return (
            StatusCode::SERVICE_UNAVAILABLE,
            Json(json!({ "error": "the program is stopping" })),
        )
            .into_response();
    }
    match answered.await {
        Ok(Ok(changes)) => Json(changes).into_response(),
        Ok(Err(why)) => (StatusCode::UNPROCESSABLE_ENTITY, Json(why)).into_response(),
        Err(_) => (
            StatusCode::SERVICE_UNAVAILABLE,
            Json(json!({ "error": "the program is stopping" })),
        )
            .into_response(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use pipeline::Health;
    use pipeline::telemetry::Kind;

    use super::*;

    struct Server {
        url: String,
        telemetry: Arc<Telemetry>,
        reloads: mpsc::Receiver<ReloadRequest>,
    }

    async fn server(toml: &str) -> Result<Server, String> {
        let mut options: Admin = toml::from_str(toml).unwrap();
        options.address.set_port(0);
        let telemetry = Telemetry::new("pve1", "0.1.0");
        let (ask, reloads) = mpsc::channel(1);
        let bound = start(&options, Arc::clone(&telemetry), ask).await?;
        Ok(Server {
            url: format!("http://127.0.0.1:{}", bound.port()),
            telemetry,
            reloads,
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
        let mut server = server("").await.unwrap();
        tokio::spawn(async move {
            server
                .reloads
                .recv()
                .await
                .unwrap()
                .send(Ok(json!({ "added": ["a"] })))
                .unwrap();
            server
                .reloads
                .recv()
                .await
                .unwrap()
                .send(Err(json!({ "error": "no" })))
                .unwrap();
        });
        let url = format!("{}/reload", server.url);
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
    async fn other_machines_are_not_let_in_without_a_token() {
        let why = server("address = \"0.0.0.0:1\"").await.err().unwrap();
        assert!(why.contains("operator_token"), "{why}");
    }
}
