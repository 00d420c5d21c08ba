//! The admin server: metrics, health, readiness, reload. It listens on this machine only, unless told otherwise.
//!
//! - `GET /health`: the process is alive · `GET /ready`: every source is started and every sink does its work, else 503 and why
//! - `GET /metrics`: Prometheus' text format · `POST /reload`: reads the configuration again; from this machine only
//! - `GET /silences`, `POST /silences`, `DELETE /silences/ID`: the silences of `alerts silence`, changed from this machine only
//! - with a token configured, everything but `/health` and `/ready` wants `Authorization: Bearer …`: the operator's token
//!   opens all of these, the auditor's only `/metrics` and the list of silences
//! - TLS files are read again when they change; the rest of `[admin]` takes effect with a reload

mod silences;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, Extension, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::serve::IncomingStream;
use axum::{Json, Router};
use parking_lot::RwLock;
use pipeline::config::Admin;
use pipeline::event::digest_parts;
use pipeline::net::{ListenAt, ListenOptions, Listener};
use pipeline::{Secret, Telemetry};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use transforms::notify::silence::Store;

/// What a reload comes to: what changed, or why nothing did.
pub(crate) type Reloaded = Result<Value, Value>;

/// Asks the engine to reload; the answer comes back through it.
pub(crate) type ReloadRequest = oneshot::Sender<Reloaded>;

/// What the answers are made from.
struct Desk {
    telemetry: Arc<Telemetry>,
    reload: mpsc::Sender<ReloadRequest>,
    tokens: RwLock<Tokens>,
    silences: Store,
}

/// Who may come in. Without any token everybody may.
#[derive(Default)]
struct Tokens {
    operator: Option<Secret>,
    auditor: Option<Secret>,
}

impl Tokens {
    fn of(options: &Admin) -> Tokens {
        Tokens {
            operator: options.operator_token.clone(),
            auditor: options.auditor_token.clone(),
        }
    }

    fn role(&self, shown: Option<&str>) -> Option<Role> {
        if self.operator.is_none() && self.auditor.is_none() {
            return Some(Role::Operator);
        }
        let shown = shown?;
        let is = |token: &Option<Secret>| {
            token
                .as_ref()
                .is_some_and(|token| same(token.expose().as_bytes(), shown.as_bytes()))
        };
        // Both are compared whatever the first says, so the time tells nothing.
        match (is(&self.operator), is(&self.auditor)) {
            (true, _) => Some(Role::Operator),
            (false, true) => Some(Role::Auditor),
            (false, false) => None,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Operator,
    Auditor,
}

/// The listening server.
pub(crate) struct Server {
    options: Admin,
    desk: Arc<Desk>,
    /// Its address and its task; none where no port is open.
    open: Option<(SocketAddr, JoinHandle<()>)>,
}

/// Connections at once, far more than scrapers and people need [connections].
const CONNECTIONS: usize = 256;

impl Server {
    /// Begins to listen, where the options say so. The server ends with this value.
    pub(crate) fn start(
        options: &Admin,
        telemetry: Arc<Telemetry>,
        reload: mpsc::Sender<ReloadRequest>,
        data_dir: &Path,
    ) -> Result<Server, String> {
        let desk = Arc::new(Desk {
            telemetry,
            reload,
            tokens: RwLock::new(Tokens::of(options)),
            silences: Store::new(data_dir),
        });
        let mut server = Server {
            options: options.clone(),
            desk,
            open: None,
        };
        server.listen()?;
        Ok(server)
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.open.as_ref().map(|(address, _)| *address)
    }

    /// Goes on with other options. If these cannot be, the old ones stay in force.
    pub(crate) async fn change(&mut self, options: &Admin) -> Result<(), String> {
        let before = std::mem::replace(&mut self.options, options.clone());
        let place = |admin: &Admin| (admin.enabled, admin.address, admin.tls.clone());
        let moves = place(&before) != place(options);
        if moves {
            // The port may be the same one, so it is given up first.
            self.close().await;
            if let Err(why) = self.listen() {
                self.options = before;
                self.listen()?;
                return Err(why);
            }
        }
        *self.desk.tokens.write() = Tokens::of(options);
        Ok(())
    }

    fn listen(&mut self) -> Result<(), String> {
        if !self.options.enabled {
            return Ok(());
        }
        let address = self.options.address;
        if !address.ip().is_loopback()
            && self.options.operator_token.is_none()
            && self.options.auditor_token.is_none()
        {
            return Err(format!(
                "[admin] address = \"{address}\" can be reached from other machines: set operator_token as well"
            ));
        }
        let options = ListenOptions {
            tls: self.options.tls.clone(),
            alpn: &["http/1.1"],
            connection_limit: CONNECTIONS,
            idle_timeout: Some(Duration::from_secs(300)),
            ..ListenOptions::new(ListenAt::Tcp(address))
        };
        let listener = Listener::bind(&options, None)
            .map_err(|why| format!("[admin] {why}; set another address, or enabled = false"))?;
        let bound = listener.local_addr().unwrap_or(address);
        let door = Door { listener, bound };
        let service = router(Arc::clone(&self.desk)).into_make_service_with_connect_info::<From>();
        let task = tokio::spawn(async move {
            if let Err(why) = axum::serve(door, service).await {
                tracing::error!(%why, "the admin server has ended");
            }
        });
        self.open = Some((bound, task));
        Ok(())
    }

    async fn close(&mut self) {
        if let Some((_, task)) = self.open.take() {
            task.abort();
            // It ends by being called off, which is no failure.
            let _ = task.await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some((_, task)) = &self.open {
            task.abort();
        }
    }
}

/// A listener as the web server takes it.
struct Door {
    listener: Listener,
    bound: SocketAddr,
}

impl axum::serve::Listener for Door {
    type Io = pipeline::net::Stream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let accepted = self.listener.accept().await;
        let peer = accepted.peer.address.unwrap_or(self.bound);
        (accepted.stream, peer)
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        Ok(self.bound)
    }
}

/// Where a request comes from.
#[derive(Clone, Copy)]
struct From(SocketAddr);

impl Connected<IncomingStream<'_, Door>> for From {
    fn connect_info(stream: IncomingStream<'_, Door>) -> Self {
        From(*stream.remote_addr())
    }
}

fn router(desk: Arc<Desk>) -> Router {
    let guarded = Router::new()
        .route("/metrics", get(metrics))
        .route("/reload", post(reload))
        .route("/silences", get(silences::list).post(silences::add))
        .route("/silences/{id}", delete(silences::remove))
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

/// Lets requests with one of the tokens through, and all of them where there is none; puts the role into the request.
async fn guard(State(desk): State<Arc<Desk>>, mut request: Request, next: Next) -> Response {
    let shown = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "));
    let role = desk.tokens.read().role(shown);
    let Some(role) = role else {
        let what = if shown.is_some() {
            "a wrong token"
        } else {
            "no token"
        };
        desk.telemetry.admin_refused();
        pipeline::log_limited!(
            warn,
            path = request.uri().path(),
            "the admin server turned away a request with {what}"
        );
        let challenge = [(header::WWW_AUTHENTICATE, "Bearer")];
        let error = format!(
            "{what} was shown: send Authorization: Bearer … with operator_token or auditor_token of [admin]"
        );
        let body = Json(json!({ "error": error }));
        return (StatusCode::UNAUTHORIZED, challenge, body).into_response();
    };
    request.extensions_mut().insert(role);
    next.run(request).await
}

/// Compares digests, so the time it takes tells nothing of the token: how far two digests agree is chance.
fn same(a: &[u8], b: &[u8]) -> bool {
    digest_parts(&[a]).as_ref() == digest_parts(&[b]).as_ref()
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

/// Whoever changes something shows the operator's token, from this machine.
#[allow(clippy::result_large_err, reason = "the answer is sent as it is")]
fn may_change(
    role: Role,
    peer: SocketAddr,
    headers: &HeaderMap,
    what: &str,
) -> Result<(), Response> {
    let refused =
        |error: String| (StatusCode::FORBIDDEN, Json(json!({ "error": error }))).into_response();
    if role != Role::Operator {
        return Err(refused(format!("{what} wants the operator's token")));
    }
    // A page in a browser on this machine can send a POST here too; it cannot leave its origin out.
    let foreign = headers.contains_key(header::ORIGIN);
    if !peer.ip().to_canonical().is_loopback() || foreign {
        return Err(refused(format!(
            "{what} is for programs on this machine only"
        )));
    }
    Ok(())
}

async fn reload(
    State(desk): State<Arc<Desk>>,
    ConnectInfo(From(peer)): ConnectInfo<From>,
    Extension(role): Extension<Role>,
    request: Request,
) -> Response {
    if let Err(refused) = may_change(role, peer, request.headers(), "a reload") {
        return refused;
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
mod tests;
