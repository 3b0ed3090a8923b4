//! The HTTP/1.1 relay of one connection, for the toxic `http_error`.
//!
//! One connection to the upstream per connection of the client, as in the raw relay, so that keep-alive,
//! idle timeouts and resets of the upstream still reach the client. Requests that no rule hits pass
//! through with their headers, bodies and header case as they came.
//! Must NOT know: the other toxics, the API.

use std::collections::{HashMap, HashSet};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Either, Full};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::http1::SendRequest;
use hyper::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::DuplexStream;
use tokio::net::TcpStream;

use crate::pump::Live;
use crate::toxic::{HttpError, Kind, Toxic};

/// A longer request body isn't looked into, and matches no method.
const BODY_BYTES: usize = 8 * 1024 * 1024;
/// How long the upstream may take to answer a request whose answer is lost.
const LOST_ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// How long an answer under way may take after the upstream closed.
const FINISH_TIMEOUT: Duration = Duration::from_secs(10);

type Outgoing = Response<Either<Incoming, Full<Bytes>>>;

/// Why a request gets no answer: the connection closes instead.
#[derive(Debug, thiserror::Error)]
enum NoAnswer {
    #[error("the answer is lost on purpose")]
    Lost,
    #[error("the upstream took longer than {LOST_ANSWER_TIMEOUT:?} to answer")]
    Late,
    #[error("the connection broke off: {0}")]
    Broken(#[from] hyper::Error),
}

/// Serves the client's requests from `client`, relaying to `server`, until either side is done.
pub async fn serve(client: DuplexStream, server: TcpStream, live: Live) {
    let handshake = hyper::client::conn::http1::Builder::new()
        .preserve_header_case(true)
        .handshake(TokioIo::new(server))
        .await;
    let (sender, upstream) = match handshake {
        Ok(parts) => parts,
        Err(error) => {
            tracing::debug!(%error, "can't speak HTTP to the upstream");
            return;
        }
    };
    let relay = Relay {
        sender: tokio::sync::Mutex::new(sender),
        live,
        felt: Mutex::default(),
    };
    let service = service_fn(|request| relay.handle(request));
    let serving = hyper::server::conn::http1::Builder::new()
        .preserve_header_case(true)
        .half_close(true)
        .auto_date_header(false)
        .serve_connection(TokioIo::new(client), service);
    let mut serving = std::pin::pin!(serving);
    tokio::select! {
        _ = serving.as_mut() => return,
        _ = upstream => {}
    }
    // The upstream closed: what it sent is still passed on, then the client's connection closes too.
    serving.as_mut().graceful_shutdown();
    let _ = tokio::time::timeout(FINISH_TIMEOUT, serving).await;
}

struct Relay {
    sender: tokio::sync::Mutex<SendRequest<Replay>>,
    live: Live,
    felt: Mutex<Felt>,
}

/// What this connection has to do with each toxic, by id.
#[derive(Default)]
struct Felt {
    /// Whether toxicity took hold of this connection.
    chosen: HashMap<u64, bool>,
    counted: HashSet<u64>,
}

impl Relay {
    async fn handle(&self, request: Request<Incoming>) -> Result<Outgoing, NoAnswer> {
        let rules = self.rules();
        let (parts, body) = request.into_parts();
        if rules.is_empty() {
            return self
                .forward(Request::from_parts(
                    parts,
                    Replay {
                        head: None,
                        rest: Some(body),
                    },
                ))
                .await;
        }
        let (head, rest) = read_head(body).await?;
        let methods = if rest.is_none() {
            json_rpc_methods(&head)
        } else {
            Vec::new()
        };
        let hit = rules.iter().find_map(|toxic| match &toxic.kind {
            Kind::HttpError(rule) if is_hit(rule, parts.uri.path(), &methods) => {
                Some((toxic, rule))
            }
            _ => None,
        });
        if let Some((toxic, _)) = hit {
            self.count(toxic, head.len());
        }
        let body = Replay {
            head: Some(head).filter(|head| !head.is_empty()),
            rest,
        };
        match hit {
            None => self.forward(Request::from_parts(parts, body)).await,
            Some((_, rule)) if rule.drop_response => {
                let forwarded = self.forward(Request::from_parts(parts, body));
                tokio::time::timeout(LOST_ANSWER_TIMEOUT, lose(forwarded))
                    .await
                    .map_err(|_| NoAnswer::Late)?
            }
            Some((_, rule)) => Ok(answer(rule)),
        }
    }

    async fn forward(&self, request: Request<Replay>) -> Result<Outgoing, NoAnswer> {
        let response = {
            let mut sender = self.sender.lock().await;
            sender.ready().await?;
            sender.send_request(request)
        };
        Ok(response.await?.map(Either::Left))
    }

    /// The rules that hold for this connection.
    fn rules(&self) -> Vec<Arc<Toxic>> {
        let mut felt = self.felt.lock().unwrap_or_else(PoisonError::into_inner);
        let toxics = self.live.borrow().clone();
        let mut holds = |toxic: &Toxic| {
            *felt
                .chosen
                .entry(toxic.id)
                .or_insert_with(|| rand::random_bool(toxic.toxicity))
        };
        toxics
            .iter()
            .filter(|toxic| matches!(toxic.kind, Kind::HttpError(_)) && holds(toxic))
            .cloned()
            .collect()
    }

    fn count(&self, toxic: &Toxic, bytes: usize) {
        toxic.counters.add_request();
        toxic.counters.add_bytes(bytes);
        let mut felt = self.felt.lock().unwrap_or_else(PoisonError::into_inner);
        if felt.counted.insert(toxic.id) {
            toxic.counters.add_connection();
        }
    }
}

/// Waits for the whole answer and then loses it.
async fn lose(
    forwarded: impl Future<Output = Result<Outgoing, NoAnswer>>,
) -> Result<Outgoing, NoAnswer> {
    let mut body = forwarded.await?.into_body();
    while let Some(frame) = body.frame().await {
        if frame.is_err() {
            break;
        }
    }
    Err(NoAnswer::Lost)
}

fn is_hit(rule: &HttpError, path: &str, methods: &[String]) -> bool {
    let path_fits = rule
        .path
        .as_deref()
        .is_none_or(|wanted| match wanted.strip_suffix('*') {
            Some(prefix) => path.starts_with(prefix),
            None => path == wanted,
        });
    let method_fits =
        rule.methods.is_empty() || rule.methods.iter().any(|wanted| methods.contains(wanted));
    path_fits && method_fits && (rule.rate >= 1.0 || rand::random_bool(rule.rate))
}

/// The methods of a JSON-RPC call or batch; none when the text is neither.
fn json_rpc_methods(body: &[u8]) -> Vec<String> {
    #[derive(serde::Deserialize)]
    struct Call {
        method: String,
    }
    #[derive(serde::Deserialize)]
    #[serde(untagged)]
    enum Message {
        One(Call),
        Batch(Vec<serde_json::Value>),
    }
    match serde_json::from_slice(body) {
        Ok(Message::One(call)) => vec![call.method],
        Ok(Message::Batch(calls)) => calls
            .iter()
            .filter_map(|call| Some(call.get("method")?.as_str()?.to_owned()))
            .collect(),
        Err(_) => Vec::new(),
    }
}

fn answer(rule: &HttpError) -> Outgoing {
    let body = rule.body.clone().unwrap_or_default();
    let content_type = match serde_json::from_str::<serde::de::IgnoredAny>(&body) {
        Ok(_) => "application/json",
        Err(_) => "text/plain; charset=utf-8",
    };
    let mut response = Response::new(Either::Right(Full::new(Bytes::from(body))));
    // The status was checked when the toxic was added.
    *response.status_mut() =
        StatusCode::from_u16(rule.status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    if let Some(seconds) = rule.retry_after_s {
        response
            .headers_mut()
            .insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// Reads a body up to the limit; what is left of a longer one comes second.
async fn read_head(mut body: Incoming) -> Result<(Bytes, Option<Incoming>), hyper::Error> {
    let mut head = BytesMut::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            head.extend_from_slice(&data);
        }
        if head.len() > BODY_BYTES {
            return Ok((head.freeze(), Some(body)));
        }
    }
    Ok((head.freeze(), None))
}

/// A request's body: what was read of it, then the rest.
struct Replay {
    head: Option<Bytes>,
    rest: Option<Incoming>,
}

impl Body for Replay {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        if let Some(head) = self.head.take() {
            return Poll::Ready(Some(Ok(Frame::data(head))));
        }
        match &mut self.rest {
            Some(rest) => Pin::new(rest).poll_frame(context),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.head.is_none() && self.rest.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let read = self.head.as_ref().map_or(0, |head| head.len() as u64);
        let rest = self
            .rest
            .as_ref()
            .map_or(SizeHint::with_exact(0), Body::size_hint);
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(read));
        if let Some(upper) = rest.upper().and_then(|upper| upper.checked_add(read)) {
            hint.set_upper(upper);
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_methods_of_calls_and_batches() {
        assert_eq!(
            json_rpc_methods(br#"{"id":1,"method":"eth_call","params":[]}"#),
            ["eth_call"]
        );
        assert_eq!(
            json_rpc_methods(br#"[{"method":"a"},7,{"method":"b"}]"#),
            ["a", "b"]
        );
        assert!(json_rpc_methods(b"method").is_empty());
        assert!(json_rpc_methods(br#"{"method":1}"#).is_empty());
    }

    #[test]
    fn rules_match_by_path_and_method() {
        let rule = |path: Option<&str>, methods: &[&str]| HttpError {
            path: path.map(Into::into),
            methods: methods.iter().map(|method| (*method).to_owned()).collect(),
            ..HttpError::default()
        };
        let sent = [
            "eth_chainId".to_owned(),
            "eth_sendRawTransaction".to_owned(),
        ];
        assert!(is_hit(&rule(None, &[]), "/", &[]));
        assert!(is_hit(
            &rule(Some("/v2/*"), &["eth_sendRawTransaction"]),
            "/v2/key",
            &sent
        ));
        assert!(!is_hit(&rule(Some("/v2"), &[]), "/v2/key", &sent));
        assert!(!is_hit(&rule(None, &["eth_call"]), "/", &sent));
    }
}
