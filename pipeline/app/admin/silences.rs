//! Silences over HTTP: the file that `alerts silence` changes, and which the running program reads again within a second.
//!
//! - `GET /silences`: those that hold, the one that ends first in front; `?all=true`: those too that ended within a day
//! - `POST /silences` with `{"match": {"rule": "PVR-201"}, "for": "2h", "author": "alice", "reason": "…"}`, or `"until"` with a
//!   time: 201 and the silence · `DELETE /silences/ID?author=alice`: 200 and the silence, 404 where none holds

use std::io;

use axum::body::Bytes;
use axum::extract::{Path, Query};
use pipeline::{Clock, Duration, Time};
use serde::Deserialize;
use transforms::notify::Written;
use transforms::notify::silence::{Silence, Store, to_json};

use super::{
    ConnectInfo, Desk, Extension, From, HeaderMap, IntoResponse, Json, Response, Role, State,
    StatusCode, json, may_change,
};
use std::sync::Arc;

/// Longest request [bytes].
const LONGEST: usize = 64 << 10;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    #[serde(default)]
    all: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct New {
    r#match: Written,
    r#for: Option<Duration>,
    until: Option<String>,
    author: String,
    reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct By {
    author: String,
}

fn wrong(status: StatusCode, why: impl std::fmt::Display) -> Response {
    let error = why.to_string();
    (status, Json(json!({ "error": error }))).into_response()
}

/// Does what waits for a disk or a lock where it holds up nobody.
async fn with<T: Send + 'static>(
    desk: &Desk,
    work: impl FnOnce(&Store) -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let store = desk.silences.clone();
    tokio::task::spawn_blocking(move || work(&store))
        .await
        .unwrap_or_else(|why| Err(io::Error::other(why)))
}

pub(super) async fn list(State(desk): State<Arc<Desk>>, Query(which): Query<Which>) -> Response {
    let now = Clock::system().now();
    match with(&desk, Store::all).await {
        Ok(mut all) => {
            all.retain(|silence| which.all || silence.is_active(now));
            all.sort_by_key(|silence| silence.until);
            let all: Vec<_> = all.iter().map(|silence| to_json(silence, now)).collect();
            Json(all).into_response()
        }
        Err(why) => wrong(StatusCode::INTERNAL_SERVER_ERROR, why),
    }
}

pub(super) async fn add(
    State(desk): State<Arc<Desk>>,
    ConnectInfo(From(peer)): ConnectInfo<From>,
    Extension(role): Extension<Role>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if let Err(refused) = may_change(role, peer, &headers, "a silence") {
        return refused;
    }
    let now = Clock::system().now();
    let silence = match read(&body, now) {
        Ok(silence) => silence,
        Err(why) => return wrong(StatusCode::UNPROCESSABLE_ENTITY, why),
    };
    let json = to_json(&silence, now);
    match with(&desk, move |store| store.add(silence, now)).await {
        Ok(()) => (StatusCode::CREATED, Json(json)).into_response(),
        Err(why) => wrong(StatusCode::INTERNAL_SERVER_ERROR, why),
    }
}

fn read(body: &[u8], now: Time) -> Result<Silence, String> {
    if body.len() > LONGEST {
        return Err(format!("a silence is no longer than {LONGEST} bytes"));
    }
    let new: New = serde_json::from_slice(body).map_err(|why| {
        format!(
            "{why}; write {{\"match\": {{\"rule\": \"PVR-201\"}}, \"for\": \"2h\", \"author\": \"…\", \"reason\": \"…\"}}"
        )
    })?;
    let until = match (new.r#for, new.until) {
        (Some(span), None) => now.after(span.get()),
        (None, Some(until)) => Time::parse(&until).ok_or_else(|| {
            format!("{until:?} is no time; write one like \"2026-03-14T22:58:03Z\"")
        })?,
        _ => return Err("say `for` with a duration, or `until` with a time".to_owned()),
    };
    Silence::new(new.r#match, now, until, &new.author, &new.reason)
}

pub(super) async fn remove(
    State(desk): State<Arc<Desk>>,
    ConnectInfo(From(peer)): ConnectInfo<From>,
    Extension(role): Extension<Role>,
    Path(id): Path<String>,
    Query(by): Query<By>,
    headers: HeaderMap,
) -> Response {
    if let Err(refused) = may_change(role, peer, &headers, "the end of a silence") {
        return refused;
    }
    if by.author.trim().is_empty() {
        let why = "say the author: it is part of the audit trail";
        return wrong(StatusCode::UNPROCESSABLE_ENTITY, why);
    }
    let now = Clock::system().now();
    match with(&desk, move |store| store.remove(&id, &by.author, now)).await {
        Ok(Some(silence)) => Json(to_json(&silence, now)).into_response(),
        Ok(None) => wrong(
            StatusCode::NOT_FOUND,
            "no silence that holds has an id that begins so, or several have",
        ),
        Err(why) => wrong(StatusCode::INTERNAL_SERVER_ERROR, why),
    }
}
