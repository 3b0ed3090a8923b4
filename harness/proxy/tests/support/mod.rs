//! A running proxy server, a small HTTP client for its API, and upstreams to put behind it.

#![allow(dead_code, reason = "each test binary uses its own part")]

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use firedrill_proxy::{Config, ProxyConfig, Server};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// No step of a test takes longer, or it hangs.
pub const DEADLINE: Duration = Duration::from_secs(5);

pub async fn within<T>(what: &str, step: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, step).await {
        Ok(value) => value,
        Err(_) => panic!("{what} took longer than {DEADLINE:?}"),
    }
}

/// A server with one proxy `p` in front of an upstream.
pub struct Rig {
    pub api: SocketAddr,
    pub proxy: SocketAddr,
}

impl Rig {
    pub async fn new(upstream: SocketAddr) -> Self {
        let config = Config {
            api_addr: "127.0.0.1:0".parse().expect("address"),
            proxies: vec![ProxyConfig {
                name: "p".into(),
                listen: "127.0.0.1:0".into(),
                upstream: upstream.to_string(),
                enabled: true,
            }],
        };
        let server = Server::bind(config).await.expect("bind");
        let rig = Self {
            api: server.api_addr(),
            proxy: server.proxy_addr("p").await.expect("listening"),
        };
        tokio::spawn(server.run(std::future::pending()));
        rig
    }

    pub async fn call(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let text = body.map(|body| body.to_string()).unwrap_or_default();
        self.call_text(method, path, &text, "test").await
    }

    pub async fn call_text(
        &self,
        method: &str,
        path: &str,
        text: &str,
        agent: &str,
    ) -> (u16, Value) {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: t\r\nUser-Agent: {agent}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{text}",
            text.len()
        );
        let mut api = within("connecting to the API", TcpStream::connect(self.api))
            .await
            .expect("connect");
        api.write_all(request.as_bytes()).await.expect("send");
        let mut answer = String::new();
        within("the API's answer", api.read_to_string(&mut answer))
            .await
            .expect("answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("head and body");
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok())
            .expect("status");
        (
            status,
            if body.is_empty() {
                Value::Null
            } else {
                serde_json::from_str(body).expect("JSON")
            },
        )
    }

    /// Adds a toxic named `t` on this stream.
    pub async fn add(&self, kind: &str, stream: &str, attributes: Value) {
        let toxic =
            json!({ "name": "t", "type": kind, "stream": stream, "attributes": attributes });
        let (status, body) = self.call("POST", "/proxies/p/toxics", Some(toxic)).await;
        assert_eq!(status, 200, "{body}");
    }

    pub async fn remove(&self) {
        assert_eq!(
            self.call("DELETE", "/proxies/p/toxics/t", None).await.0,
            204
        );
    }

    /// What toxic `t` touched: bytes, connections, requests.
    pub async fn touched(&self) -> (u64, u64, u64) {
        let (status, toxic) = self.call("GET", "/proxies/p/toxics/t", None).await;
        assert_eq!(status, 200, "{toxic}");
        let count = |key: &str| toxic[key].as_u64().expect("count");
        (
            count("touched_bytes"),
            count("touched_connections"),
            count("touched_requests"),
        )
    }

    pub async fn connect(&self) -> TcpStream {
        let stream = within("connecting to the proxy", TcpStream::connect(self.proxy))
            .await
            .expect("connect");
        stream.set_nodelay(true).expect("nodelay");
        stream
    }
}

/// Sends back what it receives.
pub async fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let addr = listener.local_addr().expect("address");
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = client.split();
                let _ = tokio::io::copy(&mut from, &mut to).await;
                let _ = to.shutdown().await;
            });
        }
    });
    addr
}

/// One message there and back.
pub async fn round_trip(stream: &mut TcpStream, message: &[u8]) -> std::io::Result<()> {
    stream.write_all(message).await?;
    let mut back = vec![0; message.len()];
    within("the echo", stream.read_exact(&mut back)).await?;
    assert_eq!(back, message);
    Ok(())
}

/// Everything until the end of the stream, and how it ended.
pub async fn drain(stream: &mut TcpStream) -> (Vec<u8>, std::io::Result<()>) {
    let mut all = Vec::new();
    let end = within("the end of the stream", stream.read_to_end(&mut all)).await;
    (all, end.map(|_| ()))
}
