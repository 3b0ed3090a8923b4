//! The API: status codes, error bodies, and the client library `toxiproxy_rust` against it.

mod support;

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use serde_json::json;
use support::{Rig, echo, round_trip, within};
use toxiproxy_rust::client::Client;
use toxiproxy_rust::proxy::ProxyPack;

/// Method, path, body; then the status and how the error begins.
const CASES: [(&str, &str, &str, u16, &str); 19] = [
    ("GET", "/version", "", 200, ""),
    (
        "POST",
        "/proxies",
        r#"{"name":"p","upstream":"a:1"}"#,
        409,
        "proxy already exists",
    ),
    (
        "POST",
        "/proxies",
        r#"{"upstream":"a:1"}"#,
        400,
        "missing required field: name",
    ),
    (
        "POST",
        "/proxies",
        r#"{"name":"q"}"#,
        400,
        "missing required field: upstream",
    ),
    (
        "POST",
        "/proxies",
        r#"{"name":"q","upstream":"a"}"#,
        400,
        "bad request body: ",
    ),
    (
        "POST",
        "/proxies",
        r#"{"name":1}"#,
        400,
        "bad request body: ",
    ),
    ("POST", "/proxies", "{", 400, "bad request body: "),
    ("GET", "/proxies/none", "", 404, "proxy not found"),
    ("DELETE", "/proxies/none", "", 404, "proxy not found"),
    ("POST", "/proxies/none", "{}", 404, "proxy not found"),
    (
        "POST",
        "/proxies/none/toxics",
        r#"{"type":"latency"}"#,
        404,
        "proxy not found",
    ),
    ("GET", "/proxies/p/toxics/none", "", 404, "toxic not found"),
    (
        "DELETE",
        "/proxies/p/toxics/none",
        "",
        404,
        "toxic not found",
    ),
    (
        "POST",
        "/proxies/p/toxics",
        r#"{"type":"gremlin"}"#,
        400,
        "invalid toxic type",
    ),
    (
        "POST",
        "/proxies/p/toxics",
        r#"{"type":"latency","stream":"up"}"#,
        400,
        "stream was invalid",
    ),
    (
        "POST",
        "/proxies/p/toxics",
        r#"{"type":"latency"}"#,
        200,
        "",
    ),
    (
        "POST",
        "/proxies/p/toxics",
        r#"{"type":"latency"}"#,
        409,
        "toxic already exists",
    ),
    ("GET", "/elsewhere", "", 404, "no such path"),
    ("PUT", "/proxies", "", 405, "method not allowed"),
];

#[tokio::test]
async fn answers_like_toxiproxy() {
    let rig = Rig::new(echo().await).await;
    for (method, path, body, expected, error) in CASES {
        let (status, answer) = rig.call_text(method, path, body, "test").await;
        assert_eq!(status, expected, "{method} {path} {body}: {answer}");
        if expected == 200 {
            assert!(
                answer.get("error").is_none(),
                "{method} {path} {body}: {answer}"
            );
            continue;
        }
        let said = answer["error"].as_str().expect("an error");
        assert!(said.starts_with(error), "{method} {path} {body}: {answer}");
        assert_eq!(answer["status"], json!(expected), "{method} {path} {body}");
    }
    let (status, _) = rig.call_text("GET", "/proxies", "", "Mozilla/5.0").await;
    assert_eq!(status, 403);
}

#[tokio::test]
async fn refuses_faults_without_effect() {
    let rig = Rig::new(echo().await).await;
    for (kind, attributes) in [
        ("latency", json!({ "latencyy": 100 })),
        ("latency", json!({ "latency": -1 })),
        ("bandwidth", json!({})),
        ("slicer", json!({})),
        ("http_error", json!({ "status": 42 })),
        ("http_error", json!({ "rate": 0 })),
        ("http_error", json!({ "method": "eth_call" })),
    ] {
        let toxic = json!({ "type": kind, "attributes": attributes });
        let (status, answer) = rig
            .call("POST", "/proxies/p/toxics", Some(toxic.clone()))
            .await;
        assert_eq!(status, 400, "{toxic}: {answer}");
    }
    let toxic = json!({ "type": "timeout", "toxicity": 1.5 });
    assert_eq!(
        rig.call("POST", "/proxies/p/toxics", Some(toxic)).await.0,
        400
    );
    assert_eq!(
        rig.call("GET", "/proxies/p/toxics", None).await.1,
        json!([])
    );
}

#[tokio::test]
async fn creates_moves_and_deletes_proxies() {
    let upstream = echo().await;
    let rig = Rig::new("127.0.0.1:1".parse().expect("address")).await;
    let (status, proxy) = rig
        .call(
            "POST",
            "/proxies/p",
            Some(json!({ "upstream": upstream.to_string() })),
        )
        .await;
    assert_eq!(status, 200, "{proxy}");
    round_trip(&mut rig.connect().await, b"moved")
        .await
        .expect("moved");
    let clash =
        json!({ "name": "q", "listen": rig.proxy.to_string(), "upstream": upstream.to_string() });
    let (status, answer) = rig.call("POST", "/proxies", Some(clash)).await;
    assert_eq!(status, 500, "{answer}");
    let list = json!([
        { "name": "p", "listen": rig.proxy.to_string(), "upstream": upstream.to_string() },
        { "name": "q", "listen": "127.0.0.1:0", "upstream": upstream.to_string(), "enabled": false },
    ]);
    let (status, answer) = rig.call("POST", "/populate", Some(list)).await;
    assert_eq!(
        (status, answer["proxies"].as_array().map(Vec::len)),
        (201, Some(2)),
        "{answer}"
    );
    assert_eq!(answer["proxies"][1]["enabled"], json!(false));
    assert_eq!(rig.call("POST", "/reset", None).await.0, 204);
    let (_, all) = rig.call("GET", "/proxies", None).await;
    assert_eq!(
        (&all["q"]["enabled"], &all["q"]["name"]),
        (&json!(true), &json!("q"))
    );
    assert_eq!(rig.call("DELETE", "/proxies/p", None).await.0, 204);
    assert!(tokio::net::TcpStream::connect(rig.proxy).await.is_err());
}

#[tokio::test]
async fn stops_when_told() {
    let config = firedrill_proxy::Config::from_args("127.0.0.1:0", "p=127.0.0.1:0=127.0.0.1:1")
        .expect("valid");
    let server = firedrill_proxy::Server::bind(config).await.expect("bind");
    let (api, proxy) = (
        server.api_addr(),
        server.proxy_addr("p").await.expect("listening"),
    );
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let task = tokio::spawn(server.run(async { drop(stopped.await) }));
    assert!(tokio::net::TcpStream::connect(proxy).await.is_ok());
    stop.send(()).expect("running");
    within("the shutdown", task)
        .await
        .expect("join")
        .expect("orderly");
    for addr in [api, proxy] {
        assert!(
            tokio::net::TcpStream::connect(addr).await.is_err(),
            "{addr} still listens"
        );
    }
    let taken = std::net::TcpListener::bind("127.0.0.1:0")
        .expect("bind")
        .local_addr()
        .expect("address");
    let config =
        firedrill_proxy::Config::from_args(&taken.to_string(), "p=192.0.2.1:1=a:1").expect("valid");
    let error = firedrill_proxy::serve(config, std::future::pending())
        .await
        .expect_err("foreign address");
    assert!(error.to_string().contains("proxy `p`"), "{error}");
}

fn blocking_round_trip(addr: &str) -> std::io::Result<Duration> {
    let start = Instant::now();
    let mut stream = std::net::TcpStream::connect(addr)?;
    stream.set_read_timeout(Some(support::DEADLINE))?;
    stream.write_all(b"ping")?;
    stream.read_exact(&mut [0; 4])?;
    Ok(start.elapsed())
}

fn drive_client(api: std::net::SocketAddr, upstream: &str) {
    let client = Client::new(api);
    assert!(client.is_running());
    assert!(client.version().expect("version").contains("2.12"));
    let pack = ProxyPack::new("rpc".into(), "127.0.0.1:0".into(), upstream.into());
    let created = client.populate(vec![pack]).expect("populate");
    let addr = created[0].proxy_pack.listen.clone();
    let proxy = client.find_proxy("rpc").expect("find");
    proxy
        .with_latency("downstream".into(), 80, 0, 1.0)
        .apply(|| assert!(blocking_round_trip(&addr).expect("slow") >= Duration::from_millis(80)))
        .expect("apply");
    assert!(proxy.toxics().expect("toxics").is_empty());
    assert!(blocking_round_trip(&addr).expect("fast") < Duration::from_millis(80));
    proxy
        .with_down(|| assert!(blocking_round_trip(&addr).is_err(), "down"))
        .expect("down");
    blocking_round_trip(&addr).expect("up");
    proxy
        .with_bandwidth("upstream".into(), 10, 1.0)
        .with_slicer("downstream".into(), 2048, 128, 0, 0.8)
        .with_slow_close("downstream".into(), 5, 1.0)
        .with_limit_data("upstream".into(), 2, 1.0)
        .with_timeout("downstream".into(), 5, 1.0);
    let toxics = proxy.toxics().expect("toxics");
    assert_eq!(toxics.len(), 5);
    assert_eq!(
        (toxics[0].name.as_str(), toxics[0].attributes["rate"]),
        ("bandwidth_upstream", 10)
    );
    assert_eq!(client.all().expect("all").len(), 2);
    client.reset().expect("reset");
    assert!(
        client
            .find_and_reset_proxy("rpc")
            .expect("find")
            .toxics()
            .expect("toxics")
            .is_empty()
    );
    proxy.delete().expect("delete");
    assert!(client.find_proxy("rpc").is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn serves_the_rust_client() {
    let upstream = echo().await;
    let rig = Rig::new(upstream).await;
    let api = rig.api;
    tokio::task::spawn_blocking(move || drive_client(api, &upstream.to_string()))
        .await
        .expect("client");
}
