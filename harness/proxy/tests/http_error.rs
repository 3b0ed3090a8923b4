//! The toxic `http_error`, with an upstream that records what reaches it.

mod support;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::HeaderMap;
use serde_json::json;
use support::{Rig, drain, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

type Seen = Arc<Mutex<Vec<String>>>;

/// Answers every request with its own body, and remembers the bodies.
async fn node() -> (SocketAddr, Seen) {
    async fn answer(
        State(seen): State<Seen>,
        headers: HeaderMap,
        body: String,
    ) -> ([(&'static str, String); 1], String) {
        seen.lock().expect("lock").push(body.clone());
        let probe = headers
            .get("x-probe")
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
            .to_owned();
        ([("X-Probe", probe)], body)
    }
    let seen = Seen::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let addr = listener.local_addr().expect("address");
    let app = Router::new().fallback(answer).with_state(seen.clone());
    tokio::spawn(async move { axum::serve(listener, app).await });
    (addr, seen)
}

fn request(path: &str, body: &str) -> Vec<u8> {
    format!(
        "POST {path} HTTP/1.1\r\nHost: node\r\nX-Probe: kept\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// One request on a connection that stays open: status, head, body.
async fn ask(stream: &mut TcpStream, path: &str, body: &str) -> (u16, String, String) {
    stream.write_all(&request(path, body)).await.expect("send");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(within("the answer", stream.read_u8()).await.expect("head"));
    }
    let head = String::from_utf8(head).expect("text").to_lowercase();
    let length = head
        .split("content-length: ")
        .nth(1)
        .and_then(|rest| rest.lines().next());
    let mut body = vec![
        0;
        length
            .and_then(|length| length.parse().ok())
            .expect("length")
    ];
    within("the body", stream.read_exact(&mut body))
        .await
        .expect("body");
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .expect("status");
    (status, head, String::from_utf8(body).expect("text"))
}

fn call(method: &str) -> String {
    json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": [] }).to_string()
}

#[tokio::test]
async fn limits_a_method_on_a_pooled_connection_and_recovers() {
    let (addr, seen) = node().await;
    let rig = Rig::new(addr).await;
    let mut stream = rig.connect().await;
    // The connection is in use before the fault, as a client's pool would have it.
    assert_eq!(
        ask(&mut stream, "/", &call("eth_sendRawTransaction"))
            .await
            .0,
        200
    );
    let body = r#"{"error":"slow down"}"#;
    let rule = json!({ "status": 429, "retry_after_s": 7, "body": body, "methods": ["eth_sendRawTransaction"] });
    rig.add("http_error", "downstream", rule).await;

    let (status, head, text) = ask(&mut stream, "/", &call("eth_sendRawTransaction")).await;
    assert_eq!((status, text.as_str()), (429, body));
    assert!(
        head.contains("retry-after: 7") && head.contains("application/json"),
        "{head}"
    );
    let (status, head, text) = ask(&mut stream, "/", &call("eth_chainId")).await;
    assert_eq!((status, text), (200, call("eth_chainId")));
    assert!(head.contains("x-probe: kept"), "{head}");
    let batch = format!(
        "[{},{}]",
        call("eth_chainId"),
        call("eth_sendRawTransaction")
    );
    assert_eq!(ask(&mut stream, "/", &batch).await.0, 429);
    assert_eq!(
        seen.lock().expect("lock").len(),
        2,
        "a refused request reached the upstream"
    );
    let (bytes, connections, requests) = rig.touched().await;
    assert_eq!((connections, requests), (1, 2));
    assert_eq!(
        bytes,
        (call("eth_sendRawTransaction").len() + batch.len()) as u64
    );

    rig.remove().await;
    assert_eq!(
        ask(&mut stream, "/", &call("eth_sendRawTransaction"))
            .await
            .0,
        200
    );
}

#[tokio::test]
async fn drops_the_response_after_the_upstream_answered() {
    let (addr, seen) = node().await;
    let rig = Rig::new(addr).await;
    rig.add(
        "http_error",
        "downstream",
        json!({ "drop_response": true, "methods": ["send"] }),
    )
    .await;
    let mut stream = rig.connect().await;
    assert_eq!(ask(&mut stream, "/", &call("read")).await.0, 200);
    stream
        .write_all(&request("/", &call("send")))
        .await
        .expect("send");
    let (answer, _) = drain(&mut stream).await;
    assert_eq!(answer, b"", "the answer was not lost");
    assert_eq!(*seen.lock().expect("lock"), [call("read"), call("send")]);
    assert_eq!(rig.touched().await.2, 1);
}

#[tokio::test]
async fn matches_paths_and_a_share() {
    let (addr, _) = node().await;
    let rig = Rig::new(addr).await;
    rig.add(
        "http_error",
        "downstream",
        json!({ "status": 500, "path": "/v2/*", "rate": 0.5 }),
    )
    .await;
    let mut stream = rig.connect().await;
    let mut failed = 0;
    for _ in 0..200 {
        failed += u32::from(ask(&mut stream, "/v2/key", "x").await.0 == 500);
    }
    // Six standard deviations around a hundred.
    assert!((58..=142).contains(&failed), "{failed} of 200 failed");
    assert_eq!(rig.touched().await.2, u64::from(failed));
    assert_eq!(ask(&mut stream, "/v3", "x").await.0, 200);
}

#[tokio::test]
async fn works_beside_latency_and_sliced_requests() {
    let (addr, _) = node().await;
    let rig = Rig::new(addr).await;
    rig.add("http_error", "downstream", json!({})).await;
    for extra in [
        json!({ "type": "latency", "attributes": { "latency": 60 } }),
        json!({ "type": "slicer", "stream": "upstream", "attributes": { "average_size": 1, "delay": 50 } }),
    ] {
        assert_eq!(
            rig.call("POST", "/proxies/p/toxics", Some(extra)).await.0,
            200
        );
    }
    let mut stream = rig.connect().await;
    let start = std::time::Instant::now();
    assert_eq!(ask(&mut stream, "/", "x").await.0, 503);
    assert!(start.elapsed() >= Duration::from_millis(60));
}

#[tokio::test]
async fn leaves_other_protocols_alone() {
    let rig = Rig::new(support::echo().await).await;
    rig.add("http_error", "downstream", json!({})).await;
    support::round_trip(&mut rig.connect().await, b"*1\r\n$4\r\nPING\r\n")
        .await
        .expect("raw");
    assert_eq!(rig.touched().await, (0, 0, 0));
}
