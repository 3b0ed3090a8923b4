//! Toxiproxy's HTTP API, translated to the registry: its paths, status codes and error bodies.
//!
//! Must NOT know: connections, sockets, what a toxic does.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, USER_AGENT};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::config::ProxyConfig;
use crate::registry::{ProxyChange, ProxyError, Registry, ToxicRequest};

/// The version of Toxiproxy whose API this is.
const TOXIPROXY_VERSION: &str = "2.12.0";
/// A free port on loopback, where a client names no address.
const DEFAULT_LISTEN: &str = "127.0.0.1:0";

type Shared = State<Arc<Registry>>;
type Answer = Result<Response, ProxyError>;

impl IntoResponse for ProxyError {
    fn into_response(self) -> Response {
        let status =
            StatusCode::from_u16(self.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        error(status, &self.to_string())
    }
}

/// All routes of the API.
pub fn router(registry: Arc<Registry>) -> Router {
    let proxy = get(get_proxy)
        .post(update_proxy)
        .patch(update_proxy)
        .delete(delete_proxy);
    let toxic = get(get_toxic)
        .post(update_toxic)
        .patch(update_toxic)
        .delete(delete_toxic);
    Router::new()
        .route("/version", get(version))
        .route("/proxies", get(list).post(create))
        .route("/populate", post(populate))
        .route("/reset", post(reset))
        .route("/proxies/{name}", proxy)
        .route("/proxies/{name}/toxics", get(list_toxics).post(add_toxic))
        .route("/proxies/{name}/toxics/{toxic}", toxic)
        .fallback(async || error(StatusCode::NOT_FOUND, "no such path"))
        .method_not_allowed_fallback(async || {
            error(StatusCode::METHOD_NOT_ALLOWED, "method not allowed")
        })
        .layer(middleware::from_fn(refuse_browsers))
        .with_state(registry)
}

/// A web page that a developer has open must not be able to steer the proxy on loopback.
async fn refuse_browsers(request: Request, next: Next) -> Response {
    let agent = request
        .headers()
        .get(USER_AGENT)
        .and_then(|agent| agent.to_str().ok());
    if agent.is_some_and(|agent| agent.starts_with("Mozilla/")) {
        return error(StatusCode::FORBIDDEN, "User agent not allowed");
    }
    next.run(request).await
}

async fn version() -> Response {
    let own = env!("CARGO_PKG_VERSION");
    answer(
        StatusCode::OK,
        &json!({ "version": TOXIPROXY_VERSION, "server": format!("firedrill-proxy {own}") }),
    )
}

async fn list(State(registry): Shared) -> Response {
    answer(StatusCode::OK, &registry.list().await)
}

async fn create(State(registry): Shared, body: Bytes) -> Answer {
    let proxy: ProxyRequest = parse(&body)?;
    Ok(answer(
        StatusCode::CREATED,
        &registry.create(proxy.into()).await?,
    ))
}

async fn populate(State(registry): Shared, body: Bytes) -> Answer {
    let proxies: Vec<ProxyRequest> = parse(&body)?;
    let (done, failed) = registry
        .populate(proxies.into_iter().map(Into::into).collect())
        .await;
    let Some(failed) = failed else {
        return Ok(answer(StatusCode::CREATED, &json!({ "proxies": done })));
    };
    let status = StatusCode::from_u16(failed.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = json!({ "error": failed.to_string(), "status": status.as_u16(), "proxies": done });
    Ok(answer(status, &body))
}

async fn reset(State(registry): Shared) -> Answer {
    registry.reset().await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn get_proxy(State(registry): Shared, Path(name): Path<String>) -> Answer {
    Ok(answer(StatusCode::OK, &registry.get(&name).await?))
}

async fn update_proxy(State(registry): Shared, Path(name): Path<String>, body: Bytes) -> Answer {
    let change: ProxyChange = parse(&body)?;
    Ok(answer(
        StatusCode::OK,
        &registry.update(&name, change).await?,
    ))
}

async fn delete_proxy(State(registry): Shared, Path(name): Path<String>) -> Answer {
    registry.delete(&name).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn list_toxics(State(registry): Shared, Path(name): Path<String>) -> Answer {
    Ok(answer(StatusCode::OK, &registry.toxics(&name).await?))
}

async fn add_toxic(State(registry): Shared, Path(name): Path<String>, body: Bytes) -> Answer {
    let toxic: ToxicRequest = parse(&body)?;
    Ok(answer(
        StatusCode::OK,
        &registry.add_toxic(&name, toxic).await?,
    ))
}

async fn get_toxic(State(registry): Shared, Path((name, toxic)): Path<(String, String)>) -> Answer {
    Ok(answer(
        StatusCode::OK,
        &registry.toxic(&name, &toxic).await?,
    ))
}

async fn update_toxic(
    State(registry): Shared,
    Path((name, toxic)): Path<(String, String)>,
    body: Bytes,
) -> Answer {
    let change: ToxicRequest = parse(&body)?;
    Ok(answer(
        StatusCode::OK,
        &registry.update_toxic(&name, &toxic, change).await?,
    ))
}

async fn delete_toxic(
    State(registry): Shared,
    Path((name, toxic)): Path<(String, String)>,
) -> Answer {
    registry.remove_toxic(&name, &toxic).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// A proxy as a client describes it; Toxiproxy takes a missing `enabled` for true.
#[derive(Deserialize)]
struct ProxyRequest {
    #[serde(default)]
    name: String,
    #[serde(default)]
    listen: String,
    #[serde(default)]
    upstream: String,
    enabled: Option<bool>,
}

impl From<ProxyRequest> for ProxyConfig {
    fn from(request: ProxyRequest) -> Self {
        let listen = match request.listen {
            empty if empty.is_empty() => DEFAULT_LISTEN.into(),
            // Go's way of saying all interfaces.
            port if port.starts_with(':') => format!("0.0.0.0{port}"),
            listen => listen,
        };
        Self {
            name: request.name,
            listen,
            upstream: request.upstream,
            enabled: request.enabled.unwrap_or(true),
        }
    }
}

/// Parses a body whatever its content type says, as Toxiproxy does.
fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, ProxyError> {
    serde_json::from_slice(body).map_err(|error| ProxyError::BadRequest(error.to_string()))
}

fn answer(status: StatusCode, body: &Value) -> Response {
    (
        status,
        [(CONTENT_TYPE, "application/json")],
        body.to_string(),
    )
        .into_response()
}

fn error(status: StatusCode, message: &str) -> Response {
    answer(
        status,
        &json!({ "error": message, "status": status.as_u16() }),
    )
}
